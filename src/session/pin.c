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
	if (!(bits & SQL_MAKES_STATE)) {
		server_note(c->server)->taint &= (uint8_t)~TAINT_PIN;
		pin_forget(c);
		return;
	}
	c->pins = bits & SQL_STATE_KINDS;
	c->pin_look = PIN_LOOK_NONE;
	want_look(c);
}

void pin_forget(struct client *c)
{
	c->pins = 0;
	c->pin_look = PIN_LOOK_NONE;
	/* A setting may pin it still. */
	if (c->server == NULL || !(server_note(c->server)->taint & TAINT_PIN))
		pin_leave(c);
}

void pin_leave(struct client *c)
{
	if (c->pin_of != NULL)
		limit_leave(c->env->pools, LIMIT_PINNED, c->pin_of->tenant);
	auth_ticket_put(&c->pin_of);
}

bool pin_enter(struct client *c)
{
	const char *tenant = c->ticket->tenant;
	int max = conf_tenant_limits(c->env->conf, tenant).max_pinned;

	/* Of a service role, and of a pool_mode that keeps servers anyway, there is no limit. */
	if (c->pin_of != NULL || c->is_tenantless || c->is_for_session)
		return true;
	if (!limit_enter(c->env->pools, LIMIT_PINNED, tenant, max))
		return false;
	c->pin_of = auth_ticket_get(c->ticket);
	return true;
}

const struct wire_error *pin_refusal(struct client *c, const struct sql_stmt *stmts, unsigned n,
                                     uint64_t fingerprint)
{
	static const struct wire_error error = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_TOO_MANY_CONNECTIONS,
		.message = "your tenant's sessions keep too many server connections (max_pinned)",
		.hint = "Temporary tables, LISTEN, session advisory locks, cursors WITH HOLD and "
			"PREPARE keep one: end them, or send DISCARD ALL, in another session."};
	uint32_t bits = 0;

	for (unsigned i = 0; i < n; i++)
		bits |= stmts[i].bits;
	if (!(bits & SQL_MAKES_STATE) || pin_enter(c))
		return NULL;
	pool_count_rejected(c->env->pools, c->ticket->tenant);
	report_guard(c, "max_pinned", fingerprint);
	return &error;
}

void pin_value(struct client *c, const char *p, size_t len)
{
	c->pin_look = len == 1 && p[0] == 't' ? PIN_LOOK_GONE : PIN_LOOK_NONE;
}

void pin_failed(struct client *c)
{
	if (c->pin_look != PIN_LOOK_ASKED)
		return;
	/* The client may have ended in the meantime. */
	c->pin_look = c->server != NULL && server_ask_state_otherwise(c->server) ? PIN_LOOK_WANTED
	                                                                         : PIN_LOOK_NONE;
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
