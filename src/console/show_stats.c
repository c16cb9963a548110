/* SHOW STATS and its kin: the counters of all workers' pools, by database. Averages are over the
 * time since the last mark but one (one to two periods of stats_period), as PgBouncer's. */
#include <stdio.h>
#include <string.h>

#include "console_int.h"

static enum visit visit_pools(struct console *console, struct round *r)
{
	round_add_pools(console, r);
	return VISIT_DONE;
}

/* PgBouncer's averages: counts and bytes and waiting a second, times a transaction and a query. */
static struct counters averages(const struct counters *now, const struct counters *older,
                                int64_t period_us)
{
	struct counters d, avg;
	double per_s = period_us > 0 ? (double)US_PER_S / (double)period_us : 0;

#define COUNTER(name, doc) d.name = now->name - older->name;
#include "tbl/counters.h"
#undef COUNTER
#define COUNTER(name, doc) avg.name = (uint64_t)((double)d.name * per_s);
#include "tbl/counters.h"
#undef COUNTER
	avg.xact_time_us = d.xact_count > 0 ? d.xact_time_us / d.xact_count : 0;
	avg.query_time_us = d.query_count > 0 ? d.query_time_us / d.query_count : 0;
	return avg;
}

static struct counters averages_of(const struct console *console, const struct pool_sum *sum)
{
	return averages(&sum->now, &sum->older, clock_mono_us() - console->older_us);
}

static void row_counters(struct row *row, const struct counters *c)
{
	row_int(row, (int64_t)c->xact_count);
	row_int(row, (int64_t)c->query_count);
	row_int(row, (int64_t)c->received_bytes);
	row_int(row, (int64_t)c->sent_bytes);
	row_int(row, (int64_t)c->xact_time_us);
	row_int(row, (int64_t)c->query_time_us);
	row_int(row, (int64_t)c->wait_time_us);
}

/* One sum for each database, where each pool had one. */
static void join_databases(struct round *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_sums; i++) {
		size_t at = 0;

		while (at < n && strcmp(r->sums[at].database, r->sums[i].database) != 0)
			at++;
		if (at == n) {
			r->sums[n++] = r->sums[i];
			continue;
		}
		counters_add(&r->sums[at].now, &r->sums[i].now);
		counters_add(&r->sums[at].older, &r->sums[i].older);
	}
	r->n_sums = n;
}

static struct pool_sum total_of(const struct round *r)
{
	struct pool_sum total = {0};

	for (size_t i = 0; i < r->n_sums; i++) {
		counters_add(&total.now, &r->sums[i].now);
		counters_add(&total.older, &r->sums[i].older);
	}
	return total;
}

/* ---- SHOW STATS, STATS_TOTALS, STATS_AVERAGES ------------------------------------------------ */

static const struct column stats[] = {
	{"database", COLUMN_TEXT},
	{"total_xact_count", COLUMN_NUMERIC},
	{"total_query_count", COLUMN_NUMERIC},
	{"total_received", COLUMN_NUMERIC},
	{"total_sent", COLUMN_NUMERIC},
	{"total_xact_time", COLUMN_NUMERIC},
	{"total_query_time", COLUMN_NUMERIC},
	{"total_wait_time", COLUMN_NUMERIC},
	{"avg_xact_count", COLUMN_NUMERIC},
	{"avg_query_count", COLUMN_NUMERIC},
	{"avg_recv", COLUMN_NUMERIC},
	{"avg_sent", COLUMN_NUMERIC},
	{"avg_xact_time", COLUMN_NUMERIC},
	{"avg_query_time", COLUMN_NUMERIC},
	{"avg_wait_time", COLUMN_NUMERIC},
};

static const struct column some_stats[] = {
	{"database", COLUMN_TEXT},       {"xact_count", COLUMN_NUMERIC},
	{"query_count", COLUMN_NUMERIC}, {"bytes_received", COLUMN_NUMERIC},
	{"bytes_sent", COLUMN_NUMERIC},  {"xact_time", COLUMN_NUMERIC},
	{"query_time", COLUMN_NUMERIC},  {"wait_time", COLUMN_NUMERIC},
};

static bool put_stats(struct console *console, struct round *r, bool with_totals,
                      bool with_averages)
{
	join_databases(r);
	for (size_t i = 0; i < r->n_sums; i++) {
		struct counters avg = averages_of(console, &r->sums[i]);
		struct row row = row_begin(&r->rows);

		row_text(&row, r->sums[i].database);
		if (with_totals)
			row_counters(&row, &r->sums[i].now);
		if (with_averages)
			row_counters(&row, &avg);
		row_end(&row);
	}
	return true;
}

static bool finish_stats(struct console *console, struct round *r)
{
	return put_stats(console, r, true, true);
}

static bool finish_totals(struct console *console, struct round *r)
{
	return put_stats(console, r, true, false);
}

static bool finish_averages(struct console *console, struct round *r)
{
	return put_stats(console, r, false, true);
}

ACTION_ROWS(SHOW_STATS, stats, visit_pools, finish_stats);
ACTION_ROWS(SHOW_STATS_TOTALS, some_stats, visit_pools, finish_totals);
ACTION_ROWS(SHOW_STATS_AVERAGES, some_stats, visit_pools, finish_averages);

/* ---- SHOW TOTALS ----------------------------------------------------------------------------- */

static const struct column totals[] = {{"name", COLUMN_TEXT}, {"value", COLUMN_NUMERIC}};

static void put_total(struct round *r, const char *prefix, const char *name, uint64_t value)
{
	char text[64];
	struct row row = row_begin(&r->rows);

	snprintf(text, sizeof(text), "%s_%s", prefix, name);
	row_text(&row, text);
	row_int(&row, (int64_t)value);
	row_end(&row);
}

static void put_all(struct round *r, const char *prefix, const struct counters *c)
{
	put_total(r, prefix, "xact_count", c->xact_count);
	put_total(r, prefix, "query_count", c->query_count);
	put_total(r, prefix, "client_bytes", c->received_bytes);
	put_total(r, prefix, "server_bytes", c->sent_bytes);
	put_total(r, prefix, "xact_time", c->xact_time_us);
	put_total(r, prefix, "query_time", c->query_time_us);
	put_total(r, prefix, "wait_time", c->wait_time_us);
}

static bool finish_sum(struct console *console, struct round *r)
{
	struct pool_sum total = total_of(r);
	struct counters avg = averages_of(console, &total);

	put_all(r, "total", &total.now);
	put_all(r, "avg", &avg);
	return true;
}

ACTION_ROWS(SHOW_TOTALS, totals, visit_pools, finish_sum);

/* ---- once a period --------------------------------------------------------------------------- */

static enum visit visit_mark(struct console *console, struct round *r)
{
	pools_mark_stats(console->env.session->pools);
	console->older_us = console->newer_us;
	console->newer_us = clock_mono_us();
	round_add_pools(console, r);
	return VISIT_DONE;
}

static bool finish_mark(struct console *console, struct round *r)
{
	struct pool_sum total = total_of(r);
	struct counters avg = averages_of(console, &total);

	if (console->env.session->conf->pgusher.log_stats)
		log_info("stats: %llu xacts/s, %llu queries/s, in %llu B/s, out %llu B/s, xact "
		         "%llu us, query %llu us, wait %llu us",
		         (unsigned long long)avg.xact_count, (unsigned long long)avg.query_count,
		         (unsigned long long)avg.received_bytes, (unsigned long long)avg.sent_bytes,
		         (unsigned long long)avg.xact_time_us,
		         (unsigned long long)avg.query_time_us,
		         (unsigned long long)avg.wait_time_us);
	return true;
}

ACTION(MARK_STATS, visit_mark, finish_mark, "");
