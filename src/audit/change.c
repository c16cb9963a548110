/* Another configuration for the log that runs: other events, another place.
 *
 *   main thread      audit_prepare opens, audit_take leaves the change in a->next
 *   writer's thread  audit_switch ends the old place with "stopped", begins the new one with
 *                    "started"
 *
 * The chain goes over from one to the other: a new file's first line carries the digest of the old
 * one's last. A file that has lines already goes on from those. */
#include <string.h>

#include "audit_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static const struct {
	uint32_t conf;
	enum audit_event event;
} events[] = {
	{CONF_AUDIT_AUTH, AUDIT_AUTH},
	{CONF_AUDIT_GUARD, AUDIT_GUARD},
	{CONF_AUDIT_ADMIN, AUDIT_ADMIN},
	{CONF_AUDIT_ROUTE, AUDIT_ROUTE},
	{CONF_AUDIT_STATEMENTS, AUDIT_STATEMENTS},
};

/* Where there is no log nothing is wanted, so that nobody fills in records for it. */
uint32_t audit_event_bits(const struct conf_audit *conf)
{
	uint32_t bits = 0;

	for (size_t i = 0; conf->file[0] != '\0' && i < COUNT_OF(events); i++) {
		if ((conf->events & events[i].conf) != 0)
			bits |= 1u << events[i].event;
	}
	return bits;
}

/* ---- the main thread's ----------------------------------------------------------------------- */

bool audit_check(const struct conf *conf, char *err, size_t err_size)
{
	struct sink sink;

	sink_init(&sink, conf->audit.file);
	return sink_check(&sink, err, err_size);
}

bool audit_prepare(const struct audit *a, const struct conf *conf, struct audit_change **out,
                   char *err, size_t err_size)
{
	struct audit_change *change = mem_zalloc(sizeof(*change));

	OBJ_CHECK(a, AUDIT_MAGIC);
	*out = change;
	change->events = audit_event_bits(&conf->audit);
	change->file = mem_strdup(conf->audit.file);
	change->is_elsewhere = strcmp(change->file, a->named) != 0;
	sink_init(&change->sink, change->file);
	if (!change->is_elsewhere)
		return true;
	switch (sink_open(&change->sink, err, err_size)) {
	case SINK_FAILED:
		audit_change_free(out);
		return false;
	case SINK_LOCKED:
		log_warning("audit: %s; its end is waited for", err);
		break;
	case SINK_OPENED:
		break;
	}
	return true;
}

void audit_change_free(struct audit_change **cp)
{
	struct audit_change *change = *cp;

	*cp = NULL;
	if (change == NULL)
		return;
	sink_close(&change->sink);
	mem_free(change->file);
	mem_free(change);
}

/* A change that the writer has not come to is nobody's any more when the next one comes. */
void audit_take(struct audit *a, struct audit_change **cp)
{
	struct audit_change *change = *cp;

	*cp = NULL;
	OBJ_CHECK(a, AUDIT_MAGIC);
	atomic_store(&a->events, change->events);
	for (unsigned i = 0; i < a->n_queues; i++)
		atomic_store(&a->queues[i]->events, change->events);
	if (change->is_elsewhere) {
		mem_free(a->named);
		a->named = mem_strdup(change->file);
		change = atomic_exchange(&a->next, change);
	}
	audit_change_free(&change);
	audit_wake_always(a);
}

/* ---- the writer's ---------------------------------------------------------------------------- */

static struct audit_record self(struct audit *a, const char *reason)
{
	struct audit_record r = {.event = AUDIT_SELF, .wall_us = clock_wall_us(), .reason = reason};
	size_t len = 0;

	a->events_told = atomic_load(&a->events);
	for (unsigned event = AUDIT_SELF + 1; event <= AUDIT_STATEMENTS; event++) {
		if ((a->events_told & (1u << event)) == 0)
			continue;
		(void)snprintf(r.action + len, sizeof(r.action) - len, "%s%s", len > 0 ? ", " : "",
		               audit_event_word((enum audit_event)event));
		len = strlen(r.action);
	}
	return r;
}

void audit_say_events(struct audit *a, const char *reason)
{
	struct audit_record r = self(a, reason);

	if (a->sink.kind != SINK_NONE)
		audit_append(a, &r);
}

/* One try: who cannot write there any more goes on elsewhere without it. */
static void say_goodbye(struct audit *a)
{
	if (a->n_batch > 0 || a->is_failing || a->sink.kind == SINK_NONE || a->sink.fd < 0)
		return;
	audit_say(a, "stopped", 0);
	audit_render(a);
	audit_send_once(a);
	a->n_batch = a->n_done = 0;
}

/* Those of the place before, which has not taken them. */
static void drop_introduction(struct audit *a)
{
	for (; a->n_done < a->n_batch; a->n_done++) {
		const struct audit_record *r = &a->batch[a->n_done];

		if (r->event != AUDIT_SELF ||
		    (strcmp(r->reason, "torn") != 0 && strcmp(r->reason, "started") != 0))
			return;
	}
}

static void move(struct audit *a, struct audit_change *change)
{
	sink_close(&a->sink);
	mem_free(a->file);
	a->file = change->file;
	a->sink = change->sink;
	change->file = NULL;
	change->sink.fd = -1;
	a->is_failing = a->ends_torn = false;
	a->retry_us = 0;
	if (a->sink.has_tail)
		memcpy(a->digest, a->sink.digest, SHA256_BYTES);
}

void audit_switch(struct audit *a)
{
	struct audit_change *change;
	struct audit_record started;

	/* Where nothing more is wanted, what was is written first. */
	if (atomic_load(&a->next) == NULL ||
	    (atomic_load(&a->events) == 0 && !a->is_failing && audit_has_records(a)))
		return;
	change = atomic_exchange(&a->next, NULL);
	say_goodbye(a);
	drop_introduction(a);
	move(a, change);
	audit_change_free(&change);
	if (a->sink.kind == SINK_NONE) {
		a->n_batch = a->n_done = 0;
		return;
	}
	started = self(a, "started");
	audit_insert(a, &started);
	if (a->sink.torn_bytes > 0)
		audit_insert_torn(a);
	audit_render(a);
}
