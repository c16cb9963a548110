/* The cache: what hits, what is thrown out, and that its bounds hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sql.h"

static const char *const no_names[] = {NULL};

static struct sql_cache_stats stats_of(const struct sql_cache *cache)
{
	struct sql_cache_stats stats;

	sql_cache_stats(cache, &stats);
	return stats;
}

static const struct sql_info *classify(struct sql_cache *cache, const char *text)
{
	return sql_classify(cache, text, strlen(text));
}

static bool hits(struct sql_cache *cache, const char *text)
{
	uint64_t before = stats_of(cache).hits;

	classify(cache, text);
	return stats_of(cache).hits > before;
}

static void test_hits_and_misses(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 10);
	const struct sql_info *first;

	(void)state;
	first = classify(cache, "SELECT a FROM t WHERE b = 1");
	assert_ptr_equal(classify(cache, "SELECT a FROM t WHERE b = 234;"), first);
	assert_ptr_equal(classify(cache, "SELECT a\n FROM t /* x */ WHERE b = 5"), first);
	assert_ptr_not_equal(classify(cache, "SELECT a FROM t WHERE b = '1'"), first);
	assert_int_equal(stats_of(cache).hits, 2);
	assert_int_equal(stats_of(cache).misses, 2);
	assert_int_equal(stats_of(cache).entries, 2);
	assert_int_equal(stats_of(cache).parse_errors, 0);
	assert_false(hits(cache, "SET a.b = 1"));
	assert_true(hits(cache, "SET a.b = 1"));
	assert_false(hits(cache, "SET a.b = 2"));
	assert_false(hits(cache, "SET a.b = 1;"));
	sql_cache_free(&cache);
}

static void test_parse_errors_are_remembered(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 10);

	(void)state;
	assert_false(hits(cache, "SHOW FROM FROM"));
	assert_true(hits(cache, "SHOW FROM FROM"));
	assert_false(hits(cache, "SELECT FROM FROM 1"));
	assert_true(hits(cache, "SELECT FROM FROM 2"));
	assert_int_equal(stats_of(cache).parse_errors, 2);
	sql_cache_free(&cache);
}

/* A statement that the parser does not know hits too, but its literals still count. */
static void test_literals_of_unparsed_texts(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 10);

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_null(classify(cache, "SELECT FROM FROM 'a'")->refusal);
		assert_non_null(classify(cache, "SELECT FROM FROM 'set_config'")->refusal);
		assert_non_null(classify(cache, "SELECT FROM FROM 'SET_CONFIG'")->refusal);
	}
	assert_int_equal(stats_of(cache).misses, 1);
	assert_int_equal(stats_of(cache).hits, 5);
	sql_cache_free(&cache);
}

/* The key of SELECT 'a' is SELECT and a placeholder byte; a text of just these bytes is
 * another thing. */
static void test_forged_keys(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 10);

	(void)state;
	assert_int_equal(classify(cache, "SELECT 'a'")->stmts[0].kind, SQL_DATA);
	for (char hold = 1; hold < 10; hold++) {
		char text[] = "SELECT ?";

		text[7] = hold;
		assert_int_equal(classify(cache, text)->stmts[0].kind,
		                 hold == '\t' ? SQL_DATA : SQL_UNPARSED);
	}
	assert_int_equal(classify(cache, "SELECT 'b'")->stmts[0].kind, SQL_DATA);
	sql_cache_free(&cache);
}

static void test_least_recently_used_goes(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 3);

	(void)state;
	classify(cache, "SELECT a");
	classify(cache, "SELECT b");
	classify(cache, "SELECT c");
	assert_true(hits(cache, "SELECT a"));
	classify(cache, "SELECT d"); /* b goes */
	assert_int_equal(stats_of(cache).entries, 3);
	assert_true(hits(cache, "SELECT a"));
	assert_true(hits(cache, "SELECT c"));
	assert_true(hits(cache, "SELECT d"));
	assert_false(hits(cache, "SELECT b")); /* a goes */
	assert_false(hits(cache, "SELECT a"));
	sql_cache_free(&cache);
}

static void test_bytes_are_bounded(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 100);
	char *text = mem_alloc(60001);

	(void)state;
	for (int i = 0; i < 100; i++) {
		snprintf(text, 60001, "SELECT a%d, b%059000d", i, i);
		assert_int_equal(classify(cache, text)->stmts[0].kind, SQL_DATA);
		assert_true(stats_of(cache).bytes <= (1u << 20));
	}
	assert_in_range(stats_of(cache).entries, 10, 17);
	/* All room is given back. */
	for (int i = 0; i < 100; i++) {
		snprintf(text, 60001, "SELECT a%d", i);
		classify(cache, text);
	}
	assert_int_equal(stats_of(cache).entries, 100);
	assert_true(stats_of(cache).bytes < 100 * 500);
	mem_free(text);
	sql_cache_free(&cache);
}

static void test_long_keys_are_not_kept(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 100);
	char *text = mem_alloc(100001);
	const struct sql_info *info;

	(void)state;
	snprintf(text, 100001, "BEGIN; SELECT '%090000d'", 1);
	for (int i = 0; i < 2; i++) {
		info = classify(cache, text);
		assert_int_equal(info->n_stmts, 2);
		assert_int_equal(info->stmts[0].kind, SQL_BEGIN);
		assert_int_equal(info->stmts[1].kind, SQL_DATA);
	}
	assert_int_equal(stats_of(cache).misses, 2);
	assert_int_equal(stats_of(cache).entries, 0);
	/* A long literal alone makes no long key. */
	snprintf(text, 100001, "SELECT '%090000d'", 1);
	assert_false(hits(cache, text));
	assert_true(hits(cache, "SELECT 'x'"));
	mem_free(text);
	sql_cache_free(&cache);
}

static void test_no_entries(void **state)
{
	struct sql_cache *cache = sql_cache_new(no_names, 0);

	(void)state;
	assert_int_equal(classify(cache, "BEGIN")->stmts[0].kind, SQL_BEGIN);
	assert_int_equal(classify(cache, "SELECT 1")->stmts[0].kind, SQL_DATA);
	assert_int_equal(classify(cache, "")->n_stmts, 0);
	assert_int_equal(stats_of(cache).entries, 0);
	sql_cache_free(&cache);
}

static void test_caches_are_apart(void **state)
{
	static const char *const names[] = {"a.b", NULL};
	struct sql_cache *guarded = sql_cache_new(names, 10);
	struct sql_cache *free_for_all = sql_cache_new(no_names, 10);

	(void)state;
	for (int i = 0; i < 2; i++) {
		assert_non_null(classify(guarded, "SET a.b = 1")->refusal);
		assert_null(classify(free_for_all, "SET a.b = 1")->refusal);
	}
	sql_cache_free(&guarded);
	sql_cache_free(&free_for_all);
	sql_cache_free(&free_for_all); /* nothing to free is fine */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_hits_and_misses),
		cmocka_unit_test(test_parse_errors_are_remembered),
		cmocka_unit_test(test_literals_of_unparsed_texts),
		cmocka_unit_test(test_forged_keys),
		cmocka_unit_test(test_least_recently_used_goes),
		cmocka_unit_test(test_bytes_are_bounded),
		cmocka_unit_test(test_long_keys_are_not_kept),
		cmocka_unit_test(test_no_entries),
		cmocka_unit_test(test_caches_are_apart),
	};

	return cmocka_run_group_tests_name("sql cache", tests, NULL, NULL);
}
