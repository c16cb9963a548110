/* A client's server is pinned while something lives there that cannot be moved: what, and whether
 * it is gone.
 *
 * What is made is known from the statements. What is left is not worked out (which of two LISTENs,
 * whose table) but asked, once, behind a transaction that may have removed something: one query
 * over all that PostgreSQL keeps for a session. The server is scrubbed before anybody else gets
 * it in any case, so a wrong answer could cost nobody but the client itself. */
#include <stdio.h>
#include <string.h>

#include "session_int.h"

/* What the query can tell the absence of. */
#define PROVABLE                                                                                   \
	(SQL_STATE_TEMP | SQL_STATE_LISTEN | SQL_STATE_LOCK | SQL_STATE_CURSOR | SQL_STATE_PREPARED)

static void want_look(struct client *c)
{
	if (!c->is_for_session && c->pins != 0 && (c->pins & ~(uint32_t)PROVABLE) == 0)
		c->pin_look = PIN_LOOK_WANTED;
}

/* At the end of a batch with statements of these bits. What was made in a batch that failed, or in
 * a block that may be rolled back, may never have been. */
void pin_note(struct client *c, uint32_t bits)
{
	bool is_unsure = c->batch_failed || c->txn.state != TXN_NONE;

	if (bits & SQL_MAKES_STATE) {
		server_note(c->server)->taint |= TAINT_PIN | TAINT_SCRUB;
		c->pins |= bits & SQL_STATE_KINDS;
	}
	if (((bits & SQL_ENDS_STATE) && !c->batch_failed) ||
	    ((bits & SQL_MAKES_STATE) && is_unsure))
		want_look(c);
}

/* A DISCARD ALL has run in a batch with statements of these bits. What it took away nobody needs to
 * look for; what the batch made may have come behind it. */
void pin_discarded(struct client *c, uint32_t bits)
{
	pin_forget(c);
	c->pins = bits & SQL_STATE_KINDS;
	if (bits & SQL_MAKES_STATE)
		want_look(c);
	else
		server_note(c->server)->taint &= (uint8_t)~TAINT_PIN;
}

void pin_forget(struct client *c)
{
	c->pins = 0;
	c->pin_look = PIN_LOOK_NONE;
}

void pin_value(struct client *c, const char *p, size_t len)
{
	c->pin_look = len == 1 && p[0] == 't' ? PIN_LOOK_GONE : PIN_LOOK_NONE;
}

void pin_failed(struct client *c)
{
	if (c->pin_look == PIN_LOOK_ASKED)
		c->pin_look =
			server_ask_state_otherwise(c->server) ? PIN_LOOK_WANTED : PIN_LOOK_NONE;
}

bool pin_is_looked_at(struct client *c)
{
	struct server_note *note = server_note(c->server);

	if (server_owed(c->server) > 0 || note->cancelling)
		return true;
	switch (c->pin_look) {
	case PIN_LOOK_WANTED:
		c->pin_look = PIN_LOOK_ASKED;
		(void)server_begin(c->server);
		server_put_ask_state(c->server);
		server_put_sync(c->server, FATE_OURS);
		(void)server_end(c->server);
		return true;
	case PIN_LOOK_GONE:
		if (!settings_are_stuck(c))
			note->taint &= (uint8_t)~TAINT_PIN;
		pin_forget(c);
		return false;
	default:
		c->pin_look = PIN_LOOK_NONE;
		return false;
	}
}

void pin_describe(const struct client *c, char *text, size_t size)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} kinds[] = {
		{SQL_STATE_TEMP, "temp table"},     {SQL_STATE_LISTEN, "listen"},
		{SQL_STATE_LOCK, "advisory lock"},  {SQL_STATE_CURSOR, "cursor with hold"},
		{SQL_STATE_PREPARED, "prepare"},    {SQL_STATE_SETTING, "setting"},
		{SQL_STATE_OTHER, "session state"},
	};
	uint32_t pins = c->pins;
	size_t len = 0;

	text[0] = '\0';
	if (c->server == NULL)
		return;
	if (settings_are_stuck(c))
		pins |= SQL_STATE_SETTING;
	if (c->is_for_session)
		len = (size_t)snprintf(text, size, "pool_mode");
	for (size_t i = 0; i < COUNT_OF(kinds) && len < size; i++)
		if (pins & kinds[i].bit)
			len += (size_t)snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "",
			                        kinds[i].name);
}
