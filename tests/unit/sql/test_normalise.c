/* Cache keys: which texts share one, which must not, and which keep their literals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sql/sql_int.h"

struct keyed {
	struct buf scratch;
	struct sql_key key;
};

static void keyed_init(struct keyed *k, const char *text)
{
	memset(k, 0, sizeof(*k));
	sql_normalise(&k->scratch, text, strlen(text), &k->key);
}

static bool keys_equal(const char *a, const char *b)
{
	struct keyed ka, kb;
	bool equal;

	keyed_init(&ka, a);
	keyed_init(&kb, b);
	equal = ka.key.is_exact == kb.key.is_exact && ka.key.len == kb.key.len &&
	        memcmp(ka.key.bytes, kb.key.bytes, ka.key.len) == 0;
	buf_fini(&ka.scratch);
	buf_fini(&kb.scratch);
	return equal;
}

static bool is_exact(const char *text)
{
	struct keyed k;
	bool exact;

	keyed_init(&k, text);
	exact = k.key.is_exact;
	if (exact)
		assert_ptr_equal(k.key.bytes, text);
	buf_fini(&k.scratch);
	return exact;
}

static void check_rendered(const char *text, const char *want)
{
	struct keyed k;
	struct buf out = {0};

	keyed_init(&k, text);
	sql_key_render(&k.key, &out);
	if (strcmp((const char *)out.data, want) != 0 || out.len != strlen(want))
		fail_msg("%s: rendered as %s", text, (const char *)out.data);
	buf_fini(&k.scratch);
	buf_fini(&out);
}

static void test_same_key(void **state)
{
	static const char *const pairs[][2] = {
		{"SELECT 1", "SELECT 2;"},
		{"SELECT a FROM t WHERE b='x'", "SELECT a FROM t WHERE b='it''s'"},
		{"SELECT 'a'", "SELECT $$b$$"},
		{"SELECT 'a'", "SELECT E'b'"},
		{"SELECT 'a'", "SELECT 'b'\n'c'"},
		{"SELECT 'a'", "SELECT 'b' -- c\n'c'"},
		{"SELECT\n\t1", " /* x */ SELECT/**/1 -- y"},
		{"SELECT 1.5", "SELECT 2e10"},
		{"SELECT 1.5", "SELECT 99999999999"},
		{"SELECT b'1', x'1'", "SELECT B'01', X'ff'"},
		{"SELECT -1", "SELECT -22"},
		{"SELECT a, 'set_config'", "SELECT a, 'app.current_tenant_id'"},
		{"INSERT INTO t VALUES (1,'a')", "INSERT INTO t VALUES (1,'a'),(2,'b'), (3,'c')"},
		{"INSERT INTO t (a) VALUES (f(1)),(f(2))", "INSERT INTO t (a) VALUES (f(3))"},
		{"INSERT INTO t VALUES (1) RETURNING a",
	         "INSERT INTO t VALUES (1),(2) RETURNING a"},
		{"DELETE FROM t WHERE a IN (1,2)", "DELETE FROM t WHERE a IN (1,2,3,4,5,6)"},
		{"SELECT ARRAY['a','b']", "SELECT ARRAY['a','b','c']"},
		{"SELECT a IN ('x', b, 'c')", "SELECT a IN ('x', 'y', b, 'c')"},
		{"COPY t FROM STDIN (DELIMITER ',')", "COPY t FROM STDIN (DELIMITER ';')"},
		{"EXECUTE p(1)", "EXECUTE p(2)"},
		{"CALL p('a')", "CALL p('b')"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(pairs); i++)
		if (!keys_equal(pairs[i][0], pairs[i][1]))
			fail_msg("different: %s | %s", pairs[i][0], pairs[i][1]);
}

static void test_different_keys(void **state)
{
	static const char *const pairs[][2] = {
		{"SELECT 1", "SELECT '1'"},
		{"SELECT 1", "SELECT 1.0"},
		{"SELECT 1", "SELECT 2147483648"},
		{"SELECT b'1'", "SELECT x'1'"},
		{"SELECT b'1'", "SELECT '1'"},
		{"SELECT 'a' 'b'", "SELECT 'a'\n'b'"},
		{"SELECT 'a' /* c */\n'b'", "SELECT 'a'\n'b'"},
		{"SELECT a b", "SELECT ab"},
		{"SELECT a/**/b", "SELECT ab"},
		{"SELECT a <> b", "SELECT a < > b"},
		{"SELECT a::b", "SELECT a: :b"},
		{"SELECT - -1", "SELECT -1"},
		{"SELECT $1", "SELECT $2"},
		{"SELECT $1", "SELECT 1"},
		{"SELECT \"a\"", "SELECT \"A\""},
		{"SELECT \"a\"", "SELECT a"},
		{"SELECT N'a'", "SELECT 'a'"},
		{"SELECT \"a b\"", "SELECT \"a  b\""},
		{"SELECT 1; SELECT 2", "SELECT 3; SELECT 4"},
		{"SELECT \x01", "SELECT 'a'"},
		{"SELECT \x02", "SELECT 1"},
		{"INSERT INTO t VALUES (1),('a')", "INSERT INTO t VALUES (1)"},
		{"INSERT INTO t VALUES (1),(2,3)", "INSERT INTO t VALUES (1)"},
		{"INSERT INTO t VALUES ((1),(2))", "INSERT INTO t VALUES ((1))"},
		{"INSERT INTO t VALUES (1),(a)", "INSERT INTO t VALUES (1),(b)"},
		{"INSERT INTO values (a),(a) SELECT 1", "INSERT INTO values (a) SELECT 1"},
		{"INSERT INTO t AS values (a),(a) SELECT 1",
	         "INSERT INTO t AS values (a) SELECT 1"},
		{"INSERT INTO t SELECT * FROM u values (a),(a)",
	         "INSERT INTO t SELECT * FROM u values (a)"},
		{"SELECT a IN (1,2)", "SELECT a IN (1)"},
		{"SELECT a IN (1,'x')", "SELECT a IN (1,2)"},
		{"SELECT a IN (1, 1 + b)", "SELECT a IN (1 + b)"},
		{"SELECT a IN (b BETWEEN 1, 1 AND 2)", "SELECT a IN (b BETWEEN 1 AND 2)"},
		{"SELECT f(1,2)", "SELECT f(1)"},
		{"SELECT (1,2) OVERLAPS (3,4)", "SELECT (1,2) OVERLAPS (3)"},
		{"SELECT set_config('a.b', '1', true)", "SELECT set_config('a.c', '1', true)"},
		{"SELECT 1::float(24)", "SELECT 1::float(100)"},
		{"SELECT 1::float ( 24)", "SELECT 1::float ( 100)"},
		{"SET a.b = '1'", "SET a.b = '2'"},
		{"DO 'x'", "DO 'y'"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(pairs); i++)
		if (keys_equal(pairs[i][0], pairs[i][1]))
			fail_msg("one key: %s | %s", pairs[i][0], pairs[i][1]);
}

static void test_exact(void **state)
{
	static const char *const texts[] = {
		"SET work_mem = '1MB'",
		"RESET a",
		"BEGIN",
		"PREPARE p AS SELECT 1",
		"DO 'x'",
		"ALTER TABLE t ADD a text DEFAULT 'x'",
		"CREATE FUNCTION f() RETURNS int AS 'x'",
		"DECLARE c CURSOR FOR SELECT 1",
		"LISTEN a",
		"SELECT 1; SELECT 2",
		"; SELECT 1",
		"SELECT set_config('a', 'b', true)",
		"SELECT Set_Config('a', 'b', true)",
		"SELECT \"set_config\"('a', 'b', true)",
		"SELECT query_to_xml('a', true, true, '')",
		"WITH x AS (SELECT dblink_exec('a')) TABLE x",
		"SELECT U&'a'",
		"SELECT U&\"a\"",
		"SELECT E'\\n'",
		"SELECT 'a",
		"SELECT \"a",
		"SELECT 1a",
		"SELECT 1_0",
		"SELECT 0x1f",
		"SELECT 1e5$1",
		"SELECT $1a",
		"SELECT\v1",
		"SELECT 'a'\v\n'b'",
		"SELECT $a",
		"SELECT \x01",
		"SELECT \"a\x01\"",
		"SELECT 1.5.5",
		"SELECT $1.5",
		"SELECT $$a$$'b'",
		"SELECT u&$$a$$",
		"SELECT u&E'a'",
		"SELECT 1::float(24)",
		"\\d",
	};
	static const char *const not_exact[] = {
		"SELECT 1;",
		"SELECT 1 ; ;",
		"SELECT a|5, ~5, (5)",
		"SELECT '\x01'",
		"(TABLE t)",
		"SELECT current_setting('app.current_tenant_id')",
		"SELECT \"a b\", \xc3\xa9",
		"SELECT a&'x'",
		"SELECT set_configuration, config FROM t",
		"",
		"-- c",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		if (!is_exact(texts[i]))
			fail_msg("normalised: %s", texts[i]);
	for (size_t i = 0; i < COUNT_OF(not_exact); i++)
		if (is_exact(not_exact[i]))
			fail_msg("exact: %s", not_exact[i]);
}

/* Every function whose arguments the guard reads keeps them. */
static void test_special_names(void **state)
{
	static const char *const special[] = {
		"set_config",
		"query_to_xml",
		"query_to_xmlschema",
		"query_to_xml_and_xmlschema",
		"ts_stat",
		"ts_rewrite",
		"xpath_table",
		"crosstab",
		"crosstab4",
		"crosstabn",
		"dblink",
		"dblink_exec",
		"dblink_send_query",
	};
	char text[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(special); i++) {
		snprintf(text, sizeof(text), "SELECT %s('a')", special[i]);
		assert_true(is_exact(text));
		snprintf(text, sizeof(text), "SELECT \"%s\"('a')", special[i]);
		assert_true(is_exact(text));
		snprintf(text, sizeof(text), "SELECT pg_catalog.%c%s('a')", special[i][0] - 32,
		         special[i] + 1);
		assert_true(is_exact(text));
		snprintf(text, sizeof(text), "SELECT _%s('a')", special[i]);
		assert_false(is_exact(text));
	}
}

static void test_rendering(void **state)
{
	(void)state;
	check_rendered("", "");
	check_rendered(" -- c", "");
	check_rendered("SELECT  7 , 'abc'", "SELECT 1 , 'x'");
	check_rendered("SELECT 7.5,b'0',x'ff' /* c */ FROM t;", "SELECT 1.5,b'1',x'1' FROM t");
	check_rendered("INSERT INTO t VALUES (1,'a'), (2,'b')", "INSERT INTO t VALUES (1,'x')");
	check_rendered("INSERT INTO t VALUES (1,(2)),(3, (4))",
	               "INSERT INTO t VALUES (1,(1)),(1, (1))");
	check_rendered("SELECT a IN (1 , 2, 3, 'x')", "SELECT a IN (1, 'x')");
	check_rendered("SELECT a IN (1,2,3)", "SELECT a IN (1,1)");
	check_rendered("SET a = 'b'", "SET a = 'b'");
	check_rendered("SELECT 1; SELECT '2'", "SELECT 1; SELECT '2'");
}

static uint32_t draw(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % below;
}

/* Static ones but for syntax errors, whose words each class has a copy of. */
static bool refusals_equal(const struct sql_refusal *a, const struct sql_refusal *b)
{
	return a == b || (a != NULL && b != NULL && a->sqlstate != NULL && b->sqlstate != NULL &&
	                  strcmp(a->message, b->message) == 0 && a->position == b->position);
}

static bool classes_equal(const struct sql_info *info, const struct sql_class *class)
{
	if (info->n_stmts != class->n_stmts || !refusals_equal(info->refusal, class->refusal))
		return false;
	for (unsigned i = 0; i < class->n_stmts; i++)
		if (info->stmts[i].kind != class->stmts[i].kind ||
		    info->stmts[i].bits != class->stmts[i].bits ||
		    info->stmts[i].start_bytes != class->stmts[i].start_bytes ||
		    info->stmts[i].len_bytes != class->stmts[i].len_bytes)
			return false;
	return true;
}

/* Through the cache, with whatever was there before, every text has the class that it has
 * when it is parsed alone and as it is. */
static void test_random_classes(void **state)
{
	static const char *const pieces[] = {
		"SELECT ",
		"INSERT INTO t ",
		"VALUES (1,'a')",
		",(2,'b')",
		",(3)",
		"(1)",
		"1",
		"2.5",
		"'x'",
		"'y'",
		"E'a'",
		"E'\\x61'",
		"$$q$$",
		"b'1'",
		" IN (",
		" IN (1,2",
		",3",
		")",
		"(",
		",",
		" a ",
		" b ",
		"\"c\"",
		"float",
		"(24)",
		"(100)",
		"::",
		"int",
		" FROM t ",
		" WHERE ",
		"=",
		"-",
		" AND ",
		" AS ",
		";",
		" -- c\n",
		"/* c */",
		"\n",
		" ",
		"set_config",
		"SET ",
		"('app.p','1',true)",
		"('b.c','1',false)",
		"app.p",
		" UNION ",
		"ARRAY[1,2",
		"]",
		"$1",
		"UPDATE t SET a=1",
		"DELETE FROM t",
		"COPY t FROM ",
		"STDIN",
		"'/f'",
		"U&'a'",
		"EXPLAIN ",
		"EXECUTE p",
		"TABLE t",
		"OVERLAPS",
		"(1,2)",
		"BETWEEN 1 ",
		"FETCH ",
		"N'z'",
		"0x1",
		"_0",
		"\v",
		"values ",
	};
	static const char *const names[] = {"app.p", NULL};
	struct sql_cache *cache = sql_cache_new(names, 5000);
	struct sql_rules *rules = sql_rules_new(names);
	struct sql_class class = {0};
	struct sql_cache_stats stats;
	uint32_t seed = 7;
	size_t parsed = 0;

	(void)state;
	for (int i = 0; i < 60000; i++) {
		char text[256], *at = text;
		uint32_t n = 1 + draw(&seed, 6);
		const struct sql_info *info;

		if (draw(&seed, 3) > 0)
			at = stpcpy(at, "SELECT ");
		for (uint32_t k = 0; k < n; k++)
			at = stpcpy(at, pieces[draw(&seed, COUNT_OF(pieces))]);
		sql_class_read(&class, rules, text, strlen(text));
		info = sql_classify(cache, text, strlen(text));
		/* libpg_query, but not the server, takes a string that goes on behind a
		 * -- comment for two. */
		if (class.is_parse_error && strstr(text, "-- c\n") != NULL)
			continue;
		parsed += !class.is_parse_error;
		if (!classes_equal(info, &class))
			fail_msg("%s: kind %d, alone %d", text,
			         info->n_stmts ? (int)info->stmts[0].kind : -1,
			         class.n_stmts ? (int)class.stmts[0].kind : -1);
	}
	sql_cache_stats(cache, &stats);
	assert_true(parsed > 5000);
	assert_true(stats.hits > 5000);
	sql_class_fini(&class);
	sql_rules_free(&rules);
	sql_cache_free(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_key),  cmocka_unit_test(test_different_keys),
		cmocka_unit_test(test_exact),     cmocka_unit_test(test_special_names),
		cmocka_unit_test(test_rendering), cmocka_unit_test(test_random_classes),
	};

	return cmocka_run_group_tests_name("sql normalise", tests, NULL, NULL);
}
