/* How late the nodes are: SHOW NODES says what the probe sees, SHOW PATHS what follows from it. A
 * node has a row for each database that it serves. Known at home. */
#include <stdio.h>
#include <string.h>

#include "console_int.h"
#include "pool_look.h"

#define SECONDS_MAX 40

/* NULL: not known, which counts as infinite. */
static void row_seconds(struct row *r, int64_t us)
{
	char text[SECONDS_MAX];

	snprintf(text, sizeof(text), "%.3f", (double)us / (double)US_PER_S);
	row_text(r, us == FRESH_INFINITE ? NULL : text);
}

/* ---- SHOW NODES ------------------------------------------------------------------------------ */

static const struct column nodes[] = {
	{"node", COLUMN_TEXT},        {"address", COLUMN_TEXT},  {"role", COLUMN_TEXT},
	{"state", COLUMN_TEXT},       {"lag", COLUMN_NUMERIC},   {"heartbeat_age", COLUMN_NUMERIC},
	{"connections", COLUMN_INT4}, {"database", COLUMN_TEXT}, {"timeline", COLUMN_INT8},
	{"position", COLUMN_TEXT},    {"hint", COLUMN_TEXT},
};

static void row_address(struct row *r, const struct conf_node *node)
{
	bool is_v6 = strchr(node->host, ':') != NULL && node->host[0] != '/';
	char text[512];

	snprintf(text, sizeof(text), is_v6 ? "[%s]:%u" : "%s:%u", node->host, node->port);
	row_text(r, text);
}

/* By the primary's clock, as it runs on since it was last asked. */
static int64_t beat_age(const struct fresh *fresh, size_t path, const struct fresh_view *view,
                        int64_t now_us)
{
	int primary =
		fresh_primary(fresh, (size_t)fresh_find(fresh, fresh_database(fresh, path)), NULL);
	struct fresh_view at;

	if (view->beat_id == 0 || primary == FRESH_NO_PATH)
		return FRESH_INFINITE;
	fresh_look(fresh, (size_t)primary, &at);
	return now_us + at.clock_us - view->beat_us;
}

static const char *state_of(const struct fresh *fresh, size_t path, const struct fresh_view *view)
{
	bool is_contested;
	int primary = fresh_primary(fresh, (size_t)fresh_find(fresh, fresh_database(fresh, path)),
	                            &is_contested);

	if (view->role == FRESH_PRIMARY && view->fault != FRESH_DOWN &&
	    fresh_is_undecided(fresh, (size_t)fresh_find(fresh, fresh_database(fresh, path))))
		return "fenced: two primaries of one timeline";
	if (is_contested && view->role == FRESH_PRIMARY && primary != (int)path)
		return "fenced: another primary is ahead";
	return fresh_fault_word(view->fault);
}

static void put_node(struct console *console, struct round *r, size_t path)
{
	const struct fresh *fresh = console->env.fresh;
	const struct conf_node *node = fresh_node(fresh, path);
	int64_t now_us = clock_mono_us();
	struct row row = row_begin(&r->rows);
	struct fresh_view view;
	char position[32];

	fresh_look(fresh, path, &view);
	snprintf(position, sizeof(position), "%X/%X", (unsigned)(view.position >> 32),
	         (unsigned)view.position);
	row_text(&row, node->name);
	row_address(&row, node);
	row_text(&row, fresh_role_name(view.role));
	row_text(&row, state_of(fresh, path, &view));
	row_seconds(&row, fresh_lag_us(fresh, path, now_us));
	row_seconds(&row, beat_age(fresh, path, &view, now_us));
	row_int(&row, pools_shared_node_servers(console->env.pools, node));
	row_text(&row, fresh_database(fresh, path)->name);
	if (view.timeline != 0)
		row_int(&row, view.timeline);
	else
		row_text(&row, NULL);
	row_text(&row, view.seen_us == FRESH_NEVER ? NULL : position);
	row_text(&row,
	         fresh_fault_hint(view.fault)[0] != '\0' ? fresh_fault_hint(view.fault) : NULL);
	row_end(&row);
}

static bool finish_nodes(struct console *console, struct round *r)
{
	for (size_t i = 0; i < fresh_count(console->env.fresh); i++)
		put_node(console, r, i);
	return true;
}

ACTION_ROWS(SHOW_NODES, nodes, NULL, finish_nodes);

/* ---- SHOW PATHS ------------------------------------------------------------------------------ */

static const struct column paths[] = {
	{"path", COLUMN_TEXT},        {"target", COLUMN_NUMERIC}, {"max", COLUMN_NUMERIC},
	{"measured", COLUMN_NUMERIC}, {"usable", COLUMN_TEXT},    {"fallback", COLUMN_TEXT},
	{"reason", COLUMN_TEXT},      {"reads", COLUMN_INT8},     {"fallbacks", COLUMN_INT8},
};

struct path_row {
	const char *name, *usable, *fallback, *reason;
	int64_t target_us, max_us, lag_us;
};

/* The primary has no budget: there is nowhere to go from there. */
static struct path_row path_of(struct console *console, size_t path)
{
	const struct conf_freshness *conf = &console->env.session->conf->freshness;
	const struct fresh *fresh = console->env.fresh;
	size_t first = (size_t)fresh_find(fresh, fresh_database(fresh, path));
	int primary = fresh_is_undecided(fresh, first) ? FRESH_NO_PATH
	                                               : fresh_primary(fresh, first, NULL);
	struct path_row p = {.target_us = conf->target_lag, .max_us = conf->max_lag};
	struct fresh_view view;

	fresh_look(fresh, path, &view);
	p.lag_us = fresh_lag_us(fresh, path, clock_mono_us());
	p.reason = state_of(fresh, path, &view);
	p.fallback = primary != FRESH_NO_PATH ? fresh_node(fresh, (size_t)primary)->name : NULL;
	if (view.role == FRESH_ANALYTICS) {
		p.target_us = conf->analytics_target_lag;
		p.max_us = conf->analytics_max_lag;
	}
	if (primary == (int)path) {
		p.target_us = p.max_us = FRESH_INFINITE;
		p.fallback = NULL;
	}
	p.usable = primary == (int)path ? (view.fault == FRESH_DOWN ? "no" : "yes")
	           : view.role != FRESH_PRIMARY && p.lag_us <= p.max_us ? "yes"
	                                                                : "no";
	if (view.role != FRESH_PRIMARY && view.fault == FRESH_NONE && strcmp(p.usable, "no") == 0)
		p.reason = "too far behind";
	return p;
}

static bool finish_paths(struct console *console, struct round *r)
{
	const struct fresh *fresh = console->env.fresh;

	for (size_t i = 0; i < fresh_count(fresh); i++) {
		struct path_row p = path_of(console, i);
		struct row row = row_begin(&r->rows);
		char name[2 * CONSOLE_ARG_MAX + 2];
		uint64_t reads, fallbacks;

		snprintf(name, sizeof(name), "%s/%s", fresh_database(fresh, i)->name,
		         fresh_node(fresh, i)->name);
		row_text(&row, name);
		row_seconds(&row, p.target_us);
		row_seconds(&row, p.max_us);
		row_seconds(&row, p.lag_us);
		row_text(&row, p.usable);
		row_text(&row, p.fallback);
		row_text(&row, p.reason);
		fresh_counts(fresh, i, &reads, &fallbacks);
		row_int(&row, (int64_t)reads);
		row_int(&row, (int64_t)fallbacks);
		row_end(&row);
	}
	return true;
}

ACTION_ROWS(SHOW_PATHS, paths, NULL, finish_paths);
