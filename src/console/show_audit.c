/* SHOW AUDIT: the latest events of the audit log, all workers' together, the oldest first. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "audit.h"
#include "console_int.h"

static const struct column audit[] = {
	{"time", COLUMN_TEXT},    {"event", COLUMN_TEXT},    {"tenant", COLUMN_TEXT},
	{"role", COLUMN_TEXT},    {"client", COLUMN_TEXT},   {"session", COLUMN_TEXT},
	{"outcome", COLUMN_TEXT}, {"reason", COLUMN_TEXT},   {"fingerprint", COLUMN_TEXT},
	{"action", COLUMN_TEXT},  {"database", COLUMN_TEXT}, {"node", COLUMN_TEXT}};

static void row_word(struct row *row, const char *text)
{
	row_text(row, text != NULL && text[0] != '\0' ? text : NULL);
}

static void row_hex(struct row *row, uint64_t id)
{
	char text[20] = "";

	if (id != 0)
		snprintf(text, sizeof(text), "%016" PRIx64, id);
	row_word(row, text);
}

static void put_record(struct buf *b, const struct audit_record *r)
{
	struct row row = row_begin(b);

	row_time(&row, r->wall_us / US_PER_S);
	row_text(&row, audit_event_word(r->event));
	row_word(&row, r->tenant);
	row_word(&row, r->role);
	row_word(&row, r->client);
	row_hex(&row, r->session);
	row_word(&row, r->outcome);
	row_word(&row, r->reason);
	row_hex(&row, r->fingerprint);
	row_word(&row, r->action);
	row_word(&row, r->database);
	row_word(&row, r->node);
	row_end(&row);
}

static bool finish_audit(struct console *console, struct round *r)
{
	struct audit_record *latest = mem_alloc(AUDIT_LATEST * sizeof(latest[0]));
	size_t n = audit_latest(console->env.session->audit, latest, AUDIT_LATEST);

	for (size_t i = 0; i < n; i++)
		put_record(&r->rows, &latest[i]);
	mem_free(latest);
	return true;
}

ACTION_ROWS(SHOW_AUDIT, audit, NULL, finish_audit);
