/* Which statements only read: a table of those that do, and one of those that do not, with the
 * reason. Each through the cache and without its normaliser, as the whole text and behind another
 * statement. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sql/sql_int.h"
#include "sql_catalog.h"

static const char *const protected_names[] = {"app.current_tenant_id", NULL};

static const struct sql_catalog_row rows[] = {
	{.schema = "public", .name = "pure", .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER},
	{.schema = "public",
         .name = "stable",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_OPAQUE},
	{.schema = "public",
         .name = "writes",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_VOLATILE},
	{.schema = "other",
         .name = "stable",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_VOLATILE},
	{.schema = "mine",
         .name = "random",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_VOLATILE},
	{.schema = "pg_catalog",
         .name = "random",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_VOLATILE},
	{.schema = "pg_catalog", .name = "lower", .facts = SQL_FUNCTION_KNOWN},
	{.schema = "pg_catalog",
         .name = "nextval",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_VOLATILE},
};

static const char *const reads[] = {
	"SELECT 1",
	"select a.b, count(*) FROM a JOIN c USING (d) WHERE e = 'x' GROUP BY 1 HAVING sum(f) > 1",
	"VALUES (1),(2)",
	"TABLE t",
	"WITH RECURSIVE x AS (SELECT 1 UNION ALL SELECT y + 1 FROM x) SELECT * FROM x",
	"SELECT 1 UNION (SELECT 2 EXCEPT SELECT 3)",
	"SELECT * FROM (SELECT 1) a, LATERAL (SELECT 2) b WHERE EXISTS (SELECT 3)",
	"SELECT lower('X'), now(), pg_catalog.upper('y'), current_date, version()",
	"SELECT random(), clock_timestamp(), gen_random_uuid() FROM t TABLESAMPLE bernoulli (1)",
	"SELECT pg_sleep(1)",
	"SELECT row_number() OVER (ORDER BY a), array_agg(b ORDER BY c) FILTER (WHERE d) FROM t",
	"SELECT a -> 'b' ->> 'c', x::int, cast(y AS numeric(3,1)), extract(day FROM z) FROM t",
	"SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace",
	"SELECT * FROM information_schema.tables",
	"SELECT * FROM pg_stats, pg_statistic",
	"SELECT * FROM generate_series(1, $1) g",
	"COPY t TO STDOUT",
	"COPY (SELECT 1) TO STDOUT (FORMAT csv)",
	"EXPLAIN SELECT 1",
	"EXPLAIN (ANALYZE, BUFFERS) SELECT count(*) FROM t",
	"DECLARE c CURSOR FOR SELECT 1",
	"FETCH 10 FROM c",
	"MOVE 10 FROM c",
};

static const struct {
	const char *text, *why, *name;
} others[] = {
	/* locks */
	{"SELECT * FROM t FOR UPDATE", "locks rows", ""},
	{"SELECT * FROM t FOR NO KEY UPDATE", "locks rows", ""},
	{"SELECT * FROM t FOR SHARE OF t SKIP LOCKED", "locks rows", ""},
	{"SELECT * FROM (SELECT * FROM t FOR KEY SHARE) x", "locks rows", ""},
	{"WITH x AS (SELECT * FROM t FOR UPDATE) SELECT 1", "locks rows", ""},
	{"DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE", "locks rows", ""},
	{"SELECT pg_advisory_xact_lock(1)", "calls a volatile function", "pg_advisory_xact_lock"},
	{"SELECT pg_advisory_lock(1)", "calls a volatile function", "pg_advisory_lock"},
	{"LOCK TABLE t", "is no query", ""},
	/* writes */
	{"INSERT INTO t VALUES (1)", "is no query", ""},
	{"UPDATE t SET a = 1", "is no query", ""},
	{"DELETE FROM t", "is no query", ""},
	{"MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE", "is no query", ""},
	{"WITH x AS (INSERT INTO t VALUES (1) RETURNING *) SELECT * FROM x",
         "holds a statement that is no query", ""},
	{"SELECT (WITH x AS (DELETE FROM t RETURNING 1) SELECT 1)",
         "holds a statement that is no query", ""},
	{"EXPLAIN ANALYZE DELETE FROM t", "holds a statement that is no query", ""},
	{"EXPLAIN DELETE FROM t", "holds a statement that is no query", ""},
	{"COPY (DELETE FROM t RETURNING 1) TO STDOUT", "holds a statement that is no query", ""},
	{"COPY t FROM STDIN", "copies from the client, or to or from the server's files", ""},
	{"COPY t TO '/tmp/x'", "copies from the client, or to or from the server's files", ""},
	{"COPY t TO PROGRAM 'x'", "copies from the client, or to or from the server's files", ""},
	{"SELECT * INTO t2 FROM t", "makes a table", ""},
	{"SELECT * INTO TEMP t2 FROM t", "makes a table", ""},
	{"CREATE TABLE t2 AS SELECT 1", "is no query", ""},
	{"EXPLAIN ANALYZE CREATE TABLE t2 AS SELECT 1", "holds a statement that is no query", ""},
	{"REFRESH MATERIALIZED VIEW m", "is no query", ""},
	{"TRUNCATE t", "is no query", ""},
	{"ANALYZE t", "is no query", ""},
	{"VACUUM", "is no query", ""},
	/* functions */
	{"SELECT nextval('s')", "calls a volatile function", "nextval"},
	{"SELECT setval('s', 1), 2", "calls a volatile function", "setval"},
	{"SELECT currval('s')", "calls a volatile function", "currval"},
	{"SELECT lastval()", "calls a volatile function", "lastval"},
	{"SELECT a FROM t WHERE b = (SELECT pg_catalog.nextval('s'))", "calls a volatile function",
         "nextval"},
	{"SELECT pg_notify('a', 'b')", "calls a volatile function", "pg_notify"},
	{"SELECT pg_export_snapshot()", "calls a volatile function", "pg_export_snapshot"},
	{"SELECT pg_is_in_recovery()", "calls a volatile function", "pg_is_in_recovery"},
	{"SELECT pg_current_wal_lsn()", "calls a volatile function", "pg_current_wal_lsn"},
	{"SELECT pg_last_wal_replay_lsn()", "calls a volatile function", "pg_last_wal_replay_lsn"},
	{"SELECT lo_create(1)", "calls a volatile function", "lo_create"},
	{"SELECT setseed(0.5)", "calls a volatile function", "setseed"},
	{"SELECT set_config('a.b', 'c', true)", "calls a volatile function", "set_config"},
	{"SELECT txid_current()", "calls a function about the server or the session",
         "txid_current"},
	{"SELECT pg_current_xact_id()", "calls a function about the server or the session",
         "pg_current_xact_id"},
	{"SELECT pg_backend_pid()", "calls a function about the server or the session",
         "pg_backend_pid"},
	{"SELECT inet_server_addr()", "calls a function about the server or the session",
         "inet_server_addr"},
	{"SELECT pg_stat_get_db_xact_commit(1)", "calls a function about the server or the session",
         "pg_stat_get_db_xact_commit"},
	{"SELECT unheard_of(1)", "calls a function that is not known", "unheard_of"},
	{"EXPLAIN SELECT unheard_of(1)", "calls a function that is not known", "unheard_of"},
	{"SELECT query_to_xml('SELECT 1', true, true, '')", "calls a volatile function",
         "query_to_xml"},
	{"SELECT (a.b).pg_advisory_lock", "calls a function that may do more", "pg_advisory_lock"},
	/* what is there only for the server, or the session */
	{"SELECT * FROM pg_stat_activity", "reads a view about the server or the session",
         "pg_stat_activity"},
	{"SELECT * FROM pg_catalog.pg_locks", "reads a view about the server or the session",
         "pg_locks"},
	{"SELECT * FROM pg_sequences", "reads a view about the server or the session",
         "pg_sequences"},
	{"SELECT * FROM pg_temp.t", "does something for the session", ""},
	{"DECLARE c CURSOR WITH HOLD FOR SELECT 1", "does something for the session", ""},
	{"EXECUTE p", "is no query", ""},
	{"EXPLAIN EXECUTE p", "holds a statement that is no query", ""},
	{"PREPARE p AS SELECT 1", "is no query", ""},
	{"DEALLOCATE p", "is no query", ""},
	{"CLOSE c", "is no query", ""},
	{"DO $$BEGIN END$$", "is no query", ""},
	{"CALL p()", "is no query", ""},
	{"SET a.b = 1", "is no query", ""},
	{"SET LOCAL a.b = 1", "is no query", ""},
	{"SHOW a.b", "is no query", ""},
	{"LISTEN x", "is no query", ""},
	{"BEGIN", "is no query", ""},
	{"SELECT FROM WHERE", "is not parsed", ""},
};

static bool only_reads(const struct sql_stmt *stmt)
{
	return (stmt->bits & SQL_READ_ONLY) != 0;
}

static void check_exact(const struct sql_rules *rules, const char *text, bool expected)
{
	struct sql_class class = {0};

	sql_class_read(&class, rules, text, strlen(text));
	assert_int_equal(class.n_stmts, 1);
	if (only_reads(&class.stmts[0]) != expected)
		fail_msg("%s: exact: it reads %s", text, expected ? "and more" : "only");
	sql_class_fini(&class);
}

static void check(struct sql_cache *cache, const char *text, bool expected)
{
	struct sql_rules *rules = sql_rules_new(protected_names);
	const struct sql_info *info;
	char two[512];

	for (int round = 0; round < 2; round++) {
		info = sql_classify(cache, text, strlen(text));
		assert_int_equal(info->n_stmts, 1);
		if (only_reads(&info->stmts[0]) != expected)
			fail_msg("%s: it reads %s", text, expected ? "and more" : "only");
	}
	if (info->stmts[0].kind != SQL_UNPARSED) {
		snprintf(two, sizeof(two), "DELETE FROM x; %s; SELECT 1", text);
		info = sql_classify(cache, two, strlen(two));
		assert_int_equal(info->n_stmts, 3);
		assert_false(only_reads(&info->stmts[0]));
		assert_int_equal(only_reads(&info->stmts[1]), expected);
		assert_true(only_reads(&info->stmts[2]));
	}
	check_exact(rules, text, expected);
	sql_rules_free(&rules);
}

static void expect_why(struct sql_cache *cache, const char *text, const char *what,
                       const char *name)
{
	struct sql_why why;

	sql_why_not_read_only(cache, text, strlen(text), &why);
	if (what == NULL && why.what != NULL)
		fail_msg("%s: %s %s", text, why.what, why.name);
	if (what == NULL)
		return;
	if (why.what == NULL || strcmp(why.what, what) != 0 || strcmp(why.name, name) != 0)
		fail_msg("%s: %s: %s", text, why.what != NULL ? why.what : "reads only", why.name);
}

static void test_reads(void **state)
{
	struct sql_cache *cache = sql_cache_new(protected_names, 1000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(reads); i++) {
		check(cache, reads[i], true);
		expect_why(cache, reads[i], NULL, NULL);
	}
	sql_cache_free(&cache);
}

static void test_others(void **state)
{
	struct sql_cache *cache = sql_cache_new(protected_names, 1000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(others); i++) {
		check(cache, others[i].text, false);
		expect_why(cache, others[i].text, others[i].why, others[i].name);
	}
	/* Of several, the first that does more. */
	expect_why(cache, "SELECT 1; SELECT nextval('s'); LOCK t", "calls a volatile function",
	           "nextval");
	sql_cache_free(&cache);
}

static void test_users_functions(void **state)
{
	struct sql_catalog *catalog = sql_catalog_new(rows, COUNT_OF(rows));
	struct sql_catalog *torn = sql_catalog_join(&catalog, 1, false);
	struct sql_functions functions = {.snapshot = catalog, .find = sql_catalog_find};
	struct sql_cache *cache = sql_cache_new(protected_names, 1000);

	(void)state;
	sql_cache_set_functions(cache, &functions);
	expect_why(cache, "SELECT pure(), public.stable(), lower('x')", NULL, NULL);
	expect_why(cache, "SELECT pg_catalog.random()", NULL, NULL);
	/* A name without a schema may be any of its functions. */
	expect_why(cache, "SELECT stable()", "calls a volatile function", "stable");
	expect_why(cache, "SELECT random()", "calls a volatile function", "random");
	expect_why(cache, "SELECT writes()", "calls a volatile function", "writes");
	expect_why(cache, "SELECT other.pure()", "calls a function that is not known", "pure");
	/* To allow or to trust one does not say that it only reads. */
	sql_cache_set_guard(cache, &(struct sql_guard){.mode = SQL_GUARD_STANDARD,
	                                               .allow_functions = "writes",
	                                               .trusted_functions = "writes"});
	expect_why(cache, "SELECT writes()", "calls a volatile function", "writes");
	functions.snapshot = torn;
	sql_cache_set_functions(cache, &functions);
	expect_why(cache, "SELECT pure()", "calls a function that is not known", "pure");
	sql_cache_free(&cache);
	sql_catalog_put(&catalog);
	sql_catalog_put(&torn);
}

/* What the catalogue says of things that run code without naming it. */
static const struct sql_catalog_row behind[] = {
	{.schema = "public",
         .name = "of_row",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_VOLATILE |
                  SQL_FUNCTION_OPAQUE | SQL_FUNCTION_OF_ROW},
	{.schema = "public",
         .name = "other",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_VOLATILE},
	{.thing = SQL_THING_OPERATOR,
         .schema = "public",
         .name = "%%",
         .via_schema = "public",
         .via = "f",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_OPAQUE},
	{.thing = SQL_THING_OPERATOR,
         .schema = "public",
         .name = "%%%",
         .via_schema = "public",
         .via = "g",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_VOLATILE},
	{.thing = SQL_THING_RELATION,
         .schema = "public",
         .name = "v",
         .via_schema = "public",
         .via = "f",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_OPAQUE | SQL_FUNCTION_VOLATILE},
	{.thing = SQL_THING_RELATION,
         .schema = "public",
         .name = "t",
         .via_schema = "public",
         .via = "on_row",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_OPAQUE | SQL_FUNCTION_ON_WRITE},
	{.thing = SQL_THING_RELATION,
         .schema = "public",
         .name = "s",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_NOT_THERE},
	{.thing = SQL_THING_TYPE,
         .schema = "public",
         .name = "d",
         .via_schema = "public",
         .via = "f",
         .facts = SQL_FUNCTION_KNOWN | SQL_FUNCTION_VOLATILE},
	{.schema = "pg_catalog", .name = "count", .facts = SQL_FUNCTION_KNOWN},
};

static void test_code_behind(void **state)
{
	static const struct {
		const char *text;
		bool is_opaque;
		const char *why, *name;
	} lines[] = {
		{"SELECT x.of_row FROM x", true, "has a volatile function behind", "of_row"},
		{"SELECT (x).of_row FROM x", true, "has a volatile function behind", "of_row"},
		{"SELECT (x.*).of_row FROM x", true, "has a volatile function behind", "of_row"},
		{"SELECT x.other FROM x", false, NULL, NULL},
		{"SELECT 1 %% 2", true, NULL, NULL},
		{"SELECT 1 OPERATOR(public.%%) 2", true, NULL, NULL},
		{"SELECT 1 %%% 2", false, "has a volatile function behind", "%%%"},
		{"SELECT 1 % 2", false, NULL, NULL},
		{"SELECT * FROM v", true, "has a volatile function behind", "v"},
		{"SELECT * FROM other.v", true, "has a volatile function behind", "v"},
		{"SELECT (SELECT count(*) FROM a JOIN v USING (b))", true,
	         "has a volatile function behind", "v"},
		{"COPY v TO STDOUT", true, "has a volatile function behind", "v"},
		{"SELECT v FROM w", false, NULL, NULL},
		{"SELECT * FROM t", false, NULL, NULL},
		{"INSERT INTO t VALUES (1)", true, "is no query", ""},
		{"WITH x AS (INSERT INTO t VALUES (1)) SELECT 1", true,
	         "holds a statement that is no query", ""},
		{"COPY t FROM STDIN", true,
	         "copies from the client, or to or from the server's files", ""},
		{"SELECT last_value FROM s", false, "reads what a replica cannot read", "s"},
		{"SELECT 1::d, CAST(2 AS public.d)", false, "has a volatile function behind", "d"},
	};
	struct sql_catalog *catalog = sql_catalog_new(behind, COUNT_OF(behind));
	struct sql_functions functions = {
		.snapshot = catalog, .find = sql_catalog_find, .next = sql_catalog_next};
	struct sql_cache *cache = sql_cache_new(protected_names, 1000);

	(void)state;
	sql_cache_set_functions(cache, &functions);
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		const struct sql_info *info =
			sql_classify(cache, lines[i].text, strlen(lines[i].text));

		if (((info->stmts[0].bits & SQL_OPAQUE) != 0) != lines[i].is_opaque)
			fail_msg("%s: opaque", lines[i].text);
		expect_why(cache, lines[i].text, lines[i].why, lines[i].name);
	}
	/* A name that is no function's is nothing that is missing. */
	assert_false(sql_catalog_take_miss(catalog));
	sql_cache_free(&cache);
	sql_catalog_put(&catalog);
}

static void test_transactions(void **state)
{
	static const struct {
		const char *text;
		bool is_read_only;
	} lines[] = {
		{"BEGIN READ ONLY", true},
		{"START TRANSACTION READ ONLY", true},
		{"BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY, DEFERRABLE", true},
		{"BEGIN READ ONLY ISOLATION LEVEL READ COMMITTED", true},
		{"BEGIN", false},
		{"BEGIN READ WRITE", false},
		{"BEGIN READ ONLY, READ WRITE", false},
		{"BEGIN READ WRITE, READ ONLY", false},
		{"BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY", false},
		{"BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE, DEFERRABLE", false},
		{"SET TRANSACTION READ ONLY", false},
		{"COMMIT AND CHAIN", false},
		{"SELECT 1", false},
	};
	struct sql_cache *cache = sql_cache_new(protected_names, 1000);

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		const struct sql_info *info =
			sql_classify(cache, lines[i].text, strlen(lines[i].text));

		if (((info->stmts[0].bits & SQL_BEGINS_READ_ONLY) != 0) != lines[i].is_read_only)
			fail_msg("%s", lines[i].text);
	}
	sql_cache_free(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reads),           cmocka_unit_test(test_others),
		cmocka_unit_test(test_users_functions), cmocka_unit_test(test_code_behind),
		cmocka_unit_test(test_transactions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
