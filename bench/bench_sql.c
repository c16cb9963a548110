/* What classifying costs: a statement that the cache knows, one that it does not, and the
 * steps of a hit. Run: build/bench/bench_sql (see the Makefile), or
 *   gcc -O2 -Iinclude -Isrc bench/bench_sql.c build/libpgusher.a -lpg_query -lcrypto */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sql/sql_int.h"

#define ROUNDS 7

static const char *const names[] = {"app.current_tenant_id", "app.tenant_proof", NULL};

static const char *const texts[] = {
	"SELECT abalance FROM pgbench_accounts WHERE aid = 12345;",
	"UPDATE pgbench_accounts SET abalance = abalance + -4321 WHERE aid = 12345;",
	("SELECT e.entity_id, j.hot_attrs FROM entities e JOIN entity_jsonb j USING (entity_id) "
         "WHERE j.hot_attrs @> '{\"environment\":\"production\"}' AND e.updated_at > now() - "
         "interval '1 day' ORDER BY e.updated_at DESC LIMIT 100"),
	"BEGIN",
	"SET LOCAL work_mem = '64MB'",
	"SELECT set_config('app.other', '123', true)",
};

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

enum what { HIT, NORMALISE, HASH, MISS };

static void run_once(enum what what, struct sql_cache *cache, struct sql_rules *rules,
                     struct buf *scratch, struct sql_class *class, const char *text, size_t len)
{
	struct sql_key key;

	switch (what) {
	case HIT:
		sql_classify(cache, text, len);
		break;
	case NORMALISE:
		sql_normalise(scratch, text, len, &key);
		break;
	case HASH:
		hash_bytes(text, len);
		break;
	case MISS:
		sql_class_read(class, rules, text, len);
		break;
	}
}

/* The best of some rounds, in nanoseconds: the machine is shared. */
static double measure(enum what what, const char *text)
{
	struct sql_cache *cache = sql_cache_new(names, 1000);
	struct sql_rules *rules = sql_rules_new(names);
	const struct sql_guard guard = {.mode = SQL_GUARD_STRICT};
	struct buf scratch = {0};
	struct sql_class class = {0};
	size_t len = strlen(text);
	int n = what == MISS ? 5000 : 300000;
	double best = 0;

	sql_cache_set_guard(cache, &guard);
	rules->mode = guard.mode;
	for (int round = 0; round < ROUNDS; round++) {
		double start = now_ns(), ns;

		for (int i = 0; i < n; i++)
			run_once(what, cache, rules, &scratch, &class, text, len);
		ns = (now_ns() - start) / n;
		if (round == 0 || ns < best)
			best = ns;
	}
	sql_class_fini(&class);
	buf_fini(&scratch);
	sql_rules_free(&rules);
	sql_cache_free(&cache);
	return best;
}

int main(void)
{
	printf("%8s %10s %6s %8s  %s\n", "hit ns", "normalise", "hash", "miss ns", "statement");
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		printf("%8.0f %10.0f %6.0f %8.0f  %.60s\n", measure(HIT, texts[i]),
		       measure(NORMALISE, texts[i]), measure(HASH, texts[i]),
		       measure(MISS, texts[i]), texts[i]);
	return 0;
}
