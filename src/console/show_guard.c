/* SHOW GUARD: the rules, whether they hold for tenants now, and how often they refused something
 * since the start. Each worker counts its own; the round adds them up. */
#include <string.h>

#include "console_int.h"

static const struct column columns[] = {
	{"rule", COLUMN_TEXT}, {"action", COLUMN_TEXT}, {"hits", COLUMN_INT8},
	{"mode", COLUMN_TEXT}, {"rows", COLUMN_TEXT},   {"looks_for", COLUMN_TEXT},
};

static enum visit visit_guard(struct console *console, struct round *r)
{
	for (size_t i = 0; i < SQL_N_RULES; i++)
		r->guard_hits[i] += console->env.session->guard_hits[i];
	return VISIT_DONE;
}

static bool finish_guard(struct console *console, struct round *r)
{
	static const char *const modes[] = {[SQL_GUARD_OFF] = "off",
	                                    [SQL_GUARD_STANDARD] = "standard",
	                                    [SQL_GUARD_STRICT] = "strict"};
	enum sql_guard_mode mode = console->env.session->conf->guard.mode;

	for (int id = SQL_RULE_NONE + 1; id < SQL_N_RULES; id++) {
		const struct sql_rule_info *info = sql_rule_info((enum sql_rule)id);
		struct row row = row_begin(&r->rows);

		row_text(&row, info->refusal.rule);
		row_text(&row, info->mode <= mode ? "refuse" : "allow");
		row_int(&row, (int64_t)r->guard_hits[id]);
		row_text(&row, modes[info->mode]);
		row_text(&row, info->rows);
		row_text(&row, info->looks_for);
		row_end(&row);
	}
	return true;
}

ACTION_ROWS(SHOW_GUARD, columns, visit_guard, finish_guard);
