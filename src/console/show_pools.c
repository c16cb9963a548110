/* SHOW POOLS, LISTS, WORKERS and MEM: numbers of all workers, added up on the way. */
#include <malloc.h>
#include <stdio.h>

#include "console_int.h"

static enum visit visit_pools(struct console *console, struct round *r)
{
	round_add_pools(console, r);
	return VISIT_DONE;
}

/* ---- SHOW POOLS ------------------------------------------------------------------------------ */

static const struct column pools[] = {
	{"database", COLUMN_TEXT},
	{"user", COLUMN_TEXT},
	{"cl_active", COLUMN_INT4},
	{"cl_waiting", COLUMN_INT4},
	{"cl_active_cancel_req", COLUMN_INT4},
	{"cl_waiting_cancel_req", COLUMN_INT4},
	{"sv_active", COLUMN_INT4},
	{"sv_active_cancel", COLUMN_INT4},
	{"sv_being_canceled", COLUMN_INT4},
	{"sv_idle", COLUMN_INT4},
	{"sv_used", COLUMN_INT4},
	{"sv_tested", COLUMN_INT4},
	{"sv_login", COLUMN_INT4},
	{"maxwait", COLUMN_INT4},
	{"maxwait_us", COLUMN_INT4},
	{"pool_mode", COLUMN_TEXT},
	{"paused", COLUMN_INT4},
};

static void put_pool(struct buf *b, const char *database, const char *user,
                     const struct pool_info *info, const char *mode)
{
	struct row r = row_begin(b);
	int64_t wait_us = info->oldest_us != 0 ? clock_mono_us() - info->oldest_us : 0;

	/* A login that waits is counted before it is a client. */
	unsigned n_active =
		info->n_clients > info->n_waiters ? info->n_clients - info->n_waiters : 0;

	row_text(&r, database);
	row_text(&r, user);
	row_int(&r, n_active);
	row_int(&r, info->n_waiters);
	row_int(&r, 0); /* cancel requests go by the dialer, and belong to no pool */
	row_int(&r, 0);
	row_int(&r, info->n_active);
	row_int(&r, 0);
	row_int(&r, info->n_cancelling);
	row_int(&r, info->n_idle);
	row_int(&r, 0); /* idle ones are never checked before use */
	row_int(&r, info->n_cleaned);
	row_int(&r, info->n_dialing);
	row_int(&r, wait_us / US_PER_S);
	row_int(&r, wait_us % US_PER_S);
	row_text(&r, mode);
	row_int(&r, info->is_paused);
	row_end(&r);
}

static const char *mode_of(const struct conf *conf, const char *name)
{
	const struct conf_database *database = conf_find_database(conf, name);

	return database != NULL ? conf_pool_mode_name(conf_pool_mode_of(conf, database)) : NULL;
}

static bool finish_pools(struct console *console, struct round *r)
{
	struct pool_info own = {.n_clients = (unsigned)r->totals.n_consoles};

	for (size_t i = 0; i < r->n_sums; i++)
		put_pool(&r->rows, r->sums[i].database, r->sums[i].user, &r->sums[i].info,
		         mode_of(console->env.session->conf, r->sums[i].database));
	put_pool(&r->rows, "pgusher", "pgusher", &own, "statement");
	return true;
}

ACTION_ROWS(SHOW_POOLS, pools, visit_pools, finish_pools);

/* ---- SHOW LISTS ------------------------------------------------------------------------------ */

static const struct column lists[] = {{"list", COLUMN_TEXT}, {"items", COLUMN_INT4}};

static void put_list(struct round *r, const char *name, size_t n)
{
	struct row row = row_begin(&r->rows);

	row_text(&row, name);
	row_int(&row, (int64_t)n);
	row_end(&row);
}

static bool finish_lists(struct console *console, struct round *r)
{
	struct audit_counts audit = audit_counts(console->env.session->audit);
	const struct conf *conf = console->env.session->conf;
	const struct round_totals *t = &r->totals;

	put_list(r, "databases", conf->n_databases + 1);
	put_list(r, "users", conf->n_roles);
	put_list(r, "pools", r->n_sums + 1);
	put_list(r, "free_clients", 0); /* nothing is kept of a client that has gone */
	put_list(r, "used_clients", t->n_clients);
	put_list(r, "login_clients", t->n_logins);
	put_list(r, "free_servers", 0);
	put_list(r, "used_servers", t->n_idle + t->n_active);
	put_list(r, "dns_names", 0); /* names are libpq's affair */
	put_list(r, "dns_zones", 0);
	put_list(r, "dns_queries", 0);
	put_list(r, "dns_pending", 0);
	put_list(r, "workers", console->env.shared->n_workers);
	put_list(r, "audit_written", audit.written);
	put_list(r, "audit_dropped", audit.dropped);
	return true;
}

ACTION_ROWS(SHOW_LISTS, lists, visit_pools, finish_lists);

/* ---- SHOW WORKERS ---------------------------------------------------------------------------- */

static const struct column workers[] = {
	{"worker", COLUMN_INT4},         {"clients", COLUMN_INT4},
	{"consoles", COLUMN_INT4},       {"cl_waiting", COLUMN_INT4},
	{"sv_active", COLUMN_INT4},      {"sv_idle", COLUMN_INT4},
	{"sv_login", COLUMN_INT4},       {"xact_count", COLUMN_NUMERIC},
	{"query_count", COLUMN_NUMERIC}, {"tokens_cached", COLUMN_INT4},
	{"token_hits", COLUMN_NUMERIC},  {"token_checks", COLUMN_NUMERIC},
	{"tokens_revoked", COLUMN_INT4},
};

struct worker_sum {
	unsigned n_waiters, n_active, n_idle, n_dialing;
	struct counters counters;
};

static void add_to_worker(void *arg, const struct pool_info *info)
{
	struct worker_sum *sum = arg;

	sum->n_waiters += info->n_waiters;
	sum->n_active += info->n_active + info->n_cleaned + info->n_cancelling;
	sum->n_idle += info->n_idle;
	sum->n_dialing += info->n_dialing;
	counters_add(&sum->counters, info->counters);
}

static enum visit visit_worker(struct console *console, struct round *r)
{
	const struct session_env *session = console->env.session;
	struct worker_sum sum = {0};
	struct auth_cache_stats tokens;
	struct row row = row_begin(&r->rows);

	pools_each(session->pools, add_to_worker, &sum);
	auth_cache_stats(session->auth, &tokens);
	row_int(&row, console->env.worker);
	row_int(&row, (int64_t)session->n_here);
	row_int(&row, (int64_t)session->n_consoles);
	row_int(&row, sum.n_waiters);
	row_int(&row, sum.n_active);
	row_int(&row, sum.n_idle);
	row_int(&row, sum.n_dialing);
	row_int(&row, (int64_t)sum.counters.xact_count);
	row_int(&row, (int64_t)sum.counters.query_count);
	row_int(&row, (int64_t)tokens.entries);
	row_int(&row, (int64_t)tokens.hits);
	row_int(&row, (int64_t)tokens.signature_checks);
	row_int(&row, (int64_t)auth_revoked_count(session->revoked));
	row_end(&row);
	return VISIT_DONE;
}

ACTION_ROWS(SHOW_WORKERS, workers, visit_worker, NULL);

/* ---- SHOW MEM -------------------------------------------------------------------------------- */

static const struct column mem[] = {
	{"name", COLUMN_TEXT}, {"size", COLUMN_INT4},     {"used", COLUMN_INT4},
	{"free", COLUMN_INT4}, {"memtotal", COLUMN_INT4},
};

static void put_mem(struct round *r, const char *name, size_t size, size_t used, size_t free)
{
	const size_t most = INT32_MAX; /* PgBouncer's columns are int4 */
	size_t total = size * (used + free);
	struct row row = row_begin(&r->rows);

	row_text(&row, name);
	row_int(&row, (int64_t)size);
	row_int(&row, (int64_t)used);
	row_int(&row, (int64_t)free);
	row_int(&row, (int64_t)(total < most ? total : most));
	row_end(&row);
}

static bool finish_mem(struct console *console, struct round *r)
{
	struct mallinfo2 heap = mallinfo2();

	(void)console;
	put_mem(r, "client_cache", session_client_bytes(), r->totals.n_clients, 0);
	put_mem(r, "server_cache", server_bytes(), r->totals.n_idle + r->totals.n_active, 0);
	/* The allocator's own numbers, in kB. */
	put_mem(r, "heap_kb", 1024, (heap.uordblks + heap.hblkhd) / 1024, heap.fordblks / 1024);
	return true;
}

ACTION_ROWS(SHOW_MEM, mem, visit_pools, finish_mem);
