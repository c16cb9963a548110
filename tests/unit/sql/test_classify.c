/* What statements are, one table line each. Every line is also classified without the
 * normaliser and, spelled with other white space and comments, through the same cache: the
 * answers must be the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "classify_lines.h"
#include "sql/sql_int.h"

static const char *const protected_names[] = {"app.current_tenant_id", "App.Tenant_Proof", NULL};

static struct sql_cache *new_cache(void)
{
	return sql_cache_new(protected_names, 1000);
}

/* SQL_ALTERS and SQL_DEFINES have tests of their own, and reading has test_reads.c. */
static uint32_t bits_of(const struct sql_info *info, unsigned i)
{
	return info->stmts[i].bits &
	       ~(uint32_t)(SQL_ALTERS | SQL_READ_ONLY | SQL_BEGINS_READ_ONLY | SQL_ONLY_SETS |
	                   SQL_STATE_KINDS | SQL_ENDS_STATE | SQL_DEFINES | SQL_DROPS);
}

static void check_info(const struct line *line, const struct sql_info *info, const char *how)
{
	const char *rule = info->refusal != NULL ? info->refusal->rule : "none";
	unsigned n = line->kind == SQL_EMPTY ? 0 : 1;

	if (info->n_stmts != n)
		fail_msg("%s: %s: %u statements", line->text, how, info->n_stmts);
	if (n == 1 && (info->stmts[0].kind != line->kind || bits_of(info, 0) != line->bits))
		fail_msg("%s: %s: kind %d bits %#x, not kind %d bits %#x", line->text, how,
		         info->stmts[0].kind, bits_of(info, 0), line->kind, line->bits);
	if (strcmp(rule, line->rule != NULL ? line->rule : "none") != 0)
		fail_msg("%s: %s: rule %s", line->text, how, rule);
	if (info->refusal != NULL) {
		assert_true(strlen(info->refusal->message) > 0);
		if (strcmp(info->refusal->sqlstate, "42501") == 0)
			assert_true(strlen(info->refusal->hint) > 0);
	}
}

static void test_lines(void **state)
{
	struct sql_cache *cache = new_cache();

	(void)state;
	assert_true(COUNT_OF(lines) >= 150);
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT_OF(lines); i++)
			check_info(&lines[i],
			           sql_classify(cache, lines[i].text, strlen(lines[i].text)),
			           round == 0 ? "first" : "again");
	sql_cache_free(&cache);
	assert_null(cache);
}

static void test_lines_without_normaliser(void **state)
{
	struct sql_rules *rules = sql_rules_new(protected_names);
	struct sql_class class = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		struct sql_info info;

		sql_class_read(&class, rules, lines[i].text, strlen(lines[i].text));
		info = (struct sql_info){
			.n_stmts = class.n_stmts, .stmts = class.stmts, .refusal = class.refusal};
		check_info(&lines[i], &info, "exact");
	}
	sql_class_fini(&class);
	sql_rules_free(&rules);
}

/* White space and comments around a statement change nothing. */
static void test_lines_dressed_up(void **state)
{
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		char text[512];

		/* A comment may hide words, so texts that are only searched are left out. */
		if (lines[i].kind == SQL_UNPARSED)
			continue;
		snprintf(text, sizeof(text), "/* set_config /* ' */ */ -- $$\n\t%s\r\n--\"'\n",
		         lines[i].text);
		check_info(&lines[i], sql_classify(cache, text, strlen(text)), "dressed up");
	}
	sql_cache_free(&cache);
}

/* In the middle of a text with several statements each is what it is alone. */
static void test_lines_among_others(void **state)
{
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		const struct line *line = &lines[i];
		const struct sql_info *info;
		char text[512];

		if (line->kind == SQL_UNPARSED || line->kind == SQL_EMPTY)
			continue;
		snprintf(text, sizeof(text), "SELECT 1; %s ;COMMIT", line->text);
		info = sql_classify(cache, text, strlen(text));
		if (info->n_stmts != 3 || info->stmts[1].kind != line->kind ||
		    bits_of(info, 1) != line->bits)
			fail_msg("%s: %u statements, kind %d", text, info->n_stmts,
			         info->n_stmts > 1 ? (int)info->stmts[1].kind : -1);
		assert_int_equal(info->stmts[2].kind, SQL_COMMIT);
		assert_string_equal(info->refusal != NULL ? info->refusal->rule : "none",
		                    line->rule != NULL ? line->rule : "none");
	}
	sql_cache_free(&cache);
}

static void check_place(const char *text, const struct sql_stmt *stmt, const char *want)
{
	assert_int_equal(stmt->len_bytes, strlen(want));
	assert_memory_equal(text + stmt->start_bytes, want, strlen(want));
}

static void test_places(void **state)
{
	struct sql_cache *cache = new_cache();
	const char *text = "BEGIN; SELECT ';' /* ; */ ; ;\n\tCOMMIT AND CHAIN;ROLLBACK ";
	const char *tail = "select 1;;select $$;$$;";
	const struct sql_info *info;

	(void)state;
	for (int round = 0; round < 2; round++) {
		info = sql_classify(cache, text, strlen(text));
		assert_int_equal(info->n_stmts, 4);
		check_place(text, &info->stmts[0], "BEGIN");
		check_place(text, &info->stmts[1], "SELECT ';' /* ; */");
		check_place(text, &info->stmts[2], "COMMIT AND CHAIN");
		check_place(text, &info->stmts[3], "ROLLBACK");
		info = sql_classify(cache, tail, strlen(tail));
		assert_int_equal(info->n_stmts, 2);
		check_place(tail, &info->stmts[1], "select $$;$$");
	}
	/* Other places, so another entry: no answer about one text fits the other. */
	info = sql_classify(cache, "select 22;select 3", 18);
	check_place("select 22;select 3", &info->stmts[1], "select 3");
	sql_cache_free(&cache);
}

static void test_nul_bytes(void **state)
{
	static const char text[] = "SELECT 1\0; SET app.current_tenant_id = 2";
	static const char in_string[] = "SELECT 'a\0b'";
	struct sql_cache *cache = new_cache();
	const struct sql_info *info = sql_classify(cache, text, sizeof(text) - 1);

	(void)state;
	assert_int_equal(info->stmts[0].kind, SQL_UNPARSED);
	assert_string_equal(info->refusal->rule, R_CODE);
	info = sql_classify(cache, in_string, sizeof(in_string) - 1);
	assert_int_equal(info->n_stmts, 1);
	assert_int_equal(info->stmts[0].kind, SQL_UNPARSED);
	sql_cache_free(&cache);
}

/* The text ends where len says, not at a NUL. */
static void test_text_without_nul(void **state)
{
	struct sql_cache *cache = new_cache();
	const struct sql_info *info = sql_classify(cache, "BEGINNING", 5);

	(void)state;
	assert_int_equal(info->stmts[0].kind, SQL_BEGIN);
	info = sql_classify(cache, "SELECT 12x", 9);
	assert_int_equal(info->stmts[0].kind, SQL_DATA);
	sql_cache_free(&cache);
}

/* Bytes of any encoding are let through as they are. */
static void test_other_encodings(void **state)
{
	static const char *const texts[] = {
		"SELECT 'caf\xe9', \"na\xefve\" FROM t\xe4",
		"SELECT 'caf\xc3\xa9' AS \xc3\xa9t\xc3\xa9",
		"SELECT \xff\xfe FROM \"\xc3\"",
	};
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		const struct sql_info *info = sql_classify(cache, texts[i], strlen(texts[i]));

		assert_int_equal(info->n_stmts, 1);
		assert_int_equal(info->stmts[0].kind, SQL_DATA);
		assert_null(info->refusal);
	}
	sql_cache_free(&cache);
}

static char *repeat(const char *head, const char *part, size_t n, const char *tail)
{
	size_t part_len = strlen(part), size = strlen(head) + n * part_len + strlen(tail) + 1;
	char *text = mem_alloc(size), *at = stpcpy(text, head);

	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, part);
	stpcpy(at, tail);
	return text;
}

/* Would overrun the stack in libpg_query: comes back unparsed, and searched. */
static void test_deep_statements(void **state)
{
	struct sql_cache *cache = new_cache();
	char *plain = repeat("SELECT 1", "+1", 200000, "");
	char *hiding =
		repeat("SELECT 1", "+1", 200000, ", set_config('app.tenant_proof', '1', true)");

	(void)state;
	assert_int_equal(sql_classify(cache, plain, strlen(plain))->stmts[0].kind, SQL_UNPARSED);
	assert_null(sql_classify(cache, plain, strlen(plain))->refusal);
	assert_non_null(sql_classify(cache, hiding, strlen(hiding))->refusal);
	mem_free(plain);
	mem_free(hiding);
	sql_cache_free(&cache);
}

/* What is refused because it cannot be parsed: in the parser's words, or for its size. */
static void test_refusals_of_unparsed_texts(void **state)
{
	struct sql_cache *cache = new_cache();
	const struct sql_refusal *refusal;
	const struct {
		char *text;
		const char *message;
	} texts[] = {
		{repeat("CREATE TABLE t (a", ",a", 70000, ")"), "too long"},
		{repeat("DO '' /*", "x", 140000, "*/"), "too long"},
		{repeat("SELECT 1; DECLARE c CURSOR FOR SELECT 1", ",a", 70000, ""), "too long"},
		{repeat("SELECT 1; ALTER TABLE t RENAME TO u; SELECT ", "(", 600, ""), "deeply"},
		{repeat("CREATE VIEW v AS SELECT ", "1+", 9000, "1"), "deeply"},
	};

	(void)state;
	for (int round = 0; round < 2; round++) {
		refusal = sql_classify(cache, "SELECT '\xc3\xa9' 1; SELEC", 20)->refusal;
		assert_string_equal(refusal->rule, R_SYNTAX);
		assert_string_equal(refusal->sqlstate, "42601");
		assert_string_equal(refusal->message, "syntax error at or near \"1\"");
		assert_int_equal(refusal->position, 12);
	}
	refusal = sql_classify(cache, "frob", 4)->refusal;
	assert_string_equal(refusal->message, "syntax error at or near \"frob\"");
	assert_int_equal(refusal->position, 1);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		/* Long enough to be deep. */
		char *text = repeat(texts[i].text, " ", 8000, "");

		refusal = sql_classify(cache, text, strlen(text))->refusal;
		assert_string_equal(refusal->rule, "unparsed");
		assert_string_equal(refusal->sqlstate, "42501");
		assert_non_null(strstr(refusal->message, texts[i].message));
		mem_free(text);
		mem_free(texts[i].text);
	}
	refusal = sql_classify(cache, "CREATE\0TABLE", 12)->refusal;
	assert_string_equal(refusal->rule, "unparsed");
	sql_cache_free(&cache);
}

/* Each level would be read to its end, and at each level again. */
static void test_nested_special_calls(void **state)
{
	static const struct {
		const char *open, *close;
		unsigned depth, columns;
		bool is_complex;
	} shapes[] = {
		{"set_config('a.b',", ",true)", 2, 30000, false},
		{"set_config('a.b',", ",true)", 20, 10, false},
		{"set_config('a.b',", ",true)", 400, 40000, true},
		{"ts_rewrite(", ")", 400, 40000, true},
		{"f(", ")", 400, 40000, false},
	};
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		char *open = repeat("SELECT ", shapes[i].open, shapes[i].depth, "ARRAY[a");
		char *middle = repeat(open, ",a", shapes[i].columns, "]");
		char *text = repeat(middle, shapes[i].close, shapes[i].depth, "");
		const struct sql_refusal *refusal =
			sql_classify(cache, text, strlen(text))->refusal;

		if (shapes[i].is_complex) {
			assert_non_null(refusal);
			assert_string_equal(refusal->rule, "too_complex");
			assert_string_equal(refusal->sqlstate, "54001");
		} else {
			assert_null(refusal);
		}
		mem_free(open);
		mem_free(middle);
		mem_free(text);
	}
	sql_cache_free(&cache);
}

/* Lists of literals are no longer than their first elements in the key; a list of columns is
 * looked at up to 128 kB. */
static void test_long_statements(void **state)
{
	static const struct {
		const char *begin, *repeated, *end;
		unsigned times;
		enum sql_kind kind;
	} shapes[] = {
		{"INSERT INTO t VALUES (1,'a')", ", (2,'b')", "", 300000, SQL_DATA},
		{"INSERT INTO t VALUES (1,NULL),(2,3)", ", (now(),'b')", " RETURNING a", 300000,
	         SQL_DATA},
		{"SELECT * FROM t WHERE a IN (0", ",1", ")", 300000, SQL_DATA},
		{"SELECT ARRAY[0", ", 1", "]", 300000, SQL_DATA},
		{"SELECT 0", ",a", " FROM t", 60000, SQL_DATA},
		{"SELECT 0", ",a", " FROM t", 70000, SQL_UNPARSED},
		{"SELECT ", "+", "1", 3000, SQL_UNPARSED},
		{"SET x.y = 1 ", "/**/", "", 30000, SQL_DATA},
		{"BEGIN /* \n */", "/**/", "-- x\n", 30000, SQL_BEGIN},
		{"SELECT '", "x", "'", 300000, SQL_DATA},
		{"SELECT 1 -- ", "x", "\n", 300000, SQL_DATA},
	};
	struct sql_cache *cache = new_cache();
	struct sql_cache_stats stats;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		char *text =
			repeat(shapes[i].begin, shapes[i].repeated, shapes[i].times, shapes[i].end);
		const struct sql_info *info = sql_classify(cache, text, strlen(text));

		assert_int_equal(info->n_stmts, 1);
		assert_int_equal(info->stmts[0].kind, shapes[i].kind);
		mem_free(text);
	}
	sql_cache_stats(cache, &stats);
	assert_int_equal(stats.entries, 7); /* the long lists of columns are not kept */
	sql_cache_free(&cache);
}

static void test_alters(void **state)
{
	static const struct {
		const char *text;
		bool alters;
	} texts[] = {
		{"SELECT 1", false},
		{"SET DateStyle = 'DMY'", true},
		{"SET LOCAL timezone = 'UTC'", true},
		{"RESET work_mem", true},
		{"RESET ALL", true},
		{"SET \"search_path\" TO a", true},
		{"SET LOCAL statement_timeout = 1", false},
		{"SET LOCAL my.setting = 1", false},
		{"SELECT set_config('DateStyle', $1, true)", true},
		{"SELECT set_config('my.setting', $1, true)", false},
		{"CREATE TEMP TABLE t (a int) ON COMMIT DROP", true},
		{"CREATE TEMP TABLE t (a int)", true},
		{"CREATE TABLE t (a int)", false},
	};
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		const struct sql_info *info =
			sql_classify(cache, texts[i].text, strlen(texts[i].text));

		assert_int_equal(info->n_stmts, 1);
		if (((info->stmts[0].bits & SQL_ALTERS) != 0) != texts[i].alters)
			fail_msg("%s", texts[i].text);
	}
	sql_cache_free(&cache);
}

static void test_defines(void **state)
{
	static const char *const defining[] = {
		"CREATE OR REPLACE VIEW v AS SELECT f()",
		"CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"ALTER FUNCTION f() VOLATILE",
		"ALTER VIEW v RENAME TO w",
		"CREATE RULE \"_RETURN\" AS ON SELECT TO t DO INSTEAD SELECT 1",
		"CREATE OPERATOR + (FUNCTION = f, LEFTARG = int)",
		"CREATE POLICY p ON t USING (f())",
		"ALTER POLICY p ON t USING (g())",
		"CREATE DOMAIN d AS int CHECK (f(VALUE))",
		"CREATE CAST (a AS b) WITH FUNCTION f",
		"CREATE MATERIALIZED VIEW m AS SELECT 1",
		"CREATE UNLOGGED TABLE t (a int)",
		"ALTER TABLE t SET UNLOGGED",
		"CREATE FOREIGN TABLE t (a int) SERVER s",
	};
	static const char *const plain[] = {
		"SELECT 1",
		"INSERT INTO t VALUES (1)",
		"CREATE TEMP TABLE t (a int)",
		"DROP VIEW v",
		"SELECT 1 INTO TEMP t",
		"CREATE TEMP VIEW v AS SELECT 1",
		"SET my.x = 1",
		"CREATE TEMP TABLE t AS SELECT 1",
	};
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(defining) + COUNT_OF(plain); i++) {
		bool expected = i < COUNT_OF(defining);
		const char *text = expected ? defining[i] : plain[i - COUNT_OF(defining)];
		const struct sql_info *info = sql_classify(cache, text, strlen(text));

		assert_int_equal(info->n_stmts, 1);
		if (((info->stmts[0].bits & SQL_DEFINES) != 0) != expected)
			fail_msg("%s", text);
		if (((info->stmts[0].bits & SQL_DROPS) != 0) != (strncmp(text, "DROP", 4) == 0))
			fail_msg("%s", text);
	}
	sql_cache_free(&cache);
}

static void test_dated(void **state)
{
	static const char *const dated[] = {
		"SELECT 'now'::timestamptz",
		"SELECT date ' TODAY'",
		"SELECT E'now'",
		"SELECT $a$yesterday$a$",
		"SELECT $$Tomorrow 10:00$$",
		"SELECT E'\\156ow'",
		"SELECT 'now_'",
		"SELECT '00:00today'",
		"SELECT 'no'\n'w'",
		"SELECT '{now}'",
		"SELECT '04:05 today'",
		"SELECT '[now,infinity)'",
		"SELECT ',NOW'",
		"SELECT U&'\\006eow'",
		"FETCH 3 FROM c",
		"/* x */ Execute p(1)",
	};
	static const char *const plain[] = {"SELECT 1",
	                                    "SELECT 'no'",
	                                    "SELECT now()",
	                                    "SELECT ''",
	                                    "SELECT $$$$",
	                                    "SELECT 'to day'",
	                                    "SELECT 'know nowhere'",
	                                    "SELECT 'a",
	                                    "",
	                                    "SELECT E''",
	                                    "SELECT $1",
	                                    "SELECT B'0'"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(dated); i++)
		if (!sql_is_personal(dated[i], strlen(dated[i])))
			fail_msg("%s", dated[i]);
	for (size_t i = 0; i < COUNT_OF(plain); i++)
		if (sql_is_personal(plain[i], strlen(plain[i])))
			fail_msg("%s", plain[i]);
}

/* Statements about usher.* in every spelling that is taken; any other is the classifier's. */
static void test_own(void **state)
{
	static const struct {
		const char *text, *name, *value;
		enum sql_own_verb verb;
		bool is_local, is_missing_ok;
	} taken[] = {
		{"SET usher.token = 'a.b.c'", "token", "a.b.c", SQL_OWN_SET, false, false},
		{"set session USHER.TOKEN to 'a' ; ", "token", "a", SQL_OWN_SET, false, false},
		{"/* c */ SET LOCAL usher . token='a'--", "token", "a", SQL_OWN_SET, true, false},
		{"SET usher.token TO DEFAULT", "token", NULL, SQL_OWN_SET, false, false},
		{"SET LOCAL usher.token = default", "token", NULL, SQL_OWN_SET, true, false},
		{"RESET usher.token", "token", NULL, SQL_OWN_RESET, false, false},
		{"SET usher.token = ''", "token", "", SQL_OWN_SET, false, false},
		{"SHOW usher.token", "token", NULL, SQL_OWN_SHOW, false, false},
		{"SET usher.consistency = strong", "consistency", "strong", SQL_OWN_SET, false,
	         false},
		{"SET LOCAL usher.max_lag TO 5", "max_lag", "5", SQL_OWN_SET, true, false},
		{"SET usher.max_lag = 0.5", "max_lag", "0.5", SQL_OWN_SET, false, false},
		{"SET usher.report = off", "report", "off", SQL_OWN_SET, false, false},
		{"set usher.Tokens = a", "tokens", "a", SQL_OWN_SET, false, false},
		{"SHOW usher.consistency;", "consistency", NULL, SQL_OWN_SHOW, false, false},
		{"select current_setting('usher.X')", "x", NULL, SQL_OWN_CURRENT_SETTING, false,
	         false},
		{"SELECT pg_catalog.current_setting('Usher.x', true)", "x", NULL,
	         SQL_OWN_CURRENT_SETTING, false, true},
		{"SELECT set_config('usher.x', 'a', true);", "x", "a", SQL_OWN_SET_CONFIG, true,
	         false},
		{"SELECT set_config('usher.x', NULL, false)", "x", NULL, SQL_OWN_SET_CONFIG, false,
	         false},
	};
	static const char *const others[] = {
		"",
		"SET",
		"RESET",
		"SHOW",
		"SHOW usher",
		"SHOW usher.x, usher.y",
		"SHOW ALL",
		"SELECT",
		"SELECT current_setting",
		"SELECT current_setting()",
		"SELECT current_setting('work_mem')",
		"SELECT current_setting('usher.')",
		"SELECT current_setting('usher.x') AS a",
		"SELECT current_setting('usher.x'), 1",
		"SELECT current_setting('usher.token')",
		"SELECT public.current_setting('usher.x')",
		"SELECT set_config('usher.token', 'a', false)",
		"SELECT set_config('usher.x', 'a')",
		"SELECT set_config('usher.x', $1, false)",
		"SET usher.token",
		"SET usher.token = ",
		"SET usher.token = 'a",
		"SET usher.token = 'a' 'b'",
		"SET usher.token = 'a', 'b'",
		"SET usher.x = a, b",
		"SET usher.token = 'a'; SELECT 1",
		"SET \"usher\".token = 'a'",
		"SELECT 1",
		"SET usher.token = E'a'",
		"SET usher.token = 'a''b'",
		"SET usher.token = $$a$$",
		"SET usher.token = a",
		"SET usher.x = -1",
		"RESET LOCAL usher.token",
		"RESET usher.token = 'a'",
		"SET LOCAL SESSION usher.token = 'a'",
		"SET usher = 'a'",
	};
	struct sql_own own;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(taken); i++) {
		if (!sql_read_own(taken[i].text, strlen(taken[i].text), &own))
			fail_msg("%s", taken[i].text);
		assert_int_equal(own.verb, taken[i].verb);
		assert_string_equal(own.name, taken[i].name);
		assert_int_equal(own.is_local, taken[i].is_local);
		assert_int_equal(own.is_missing_ok, taken[i].is_missing_ok);
		assert_int_equal(own.value == NULL, taken[i].value == NULL);
		if (own.value == NULL)
			continue;
		assert_int_equal(own.len, strlen(taken[i].value));
		assert_memory_equal(own.value, taken[i].value, own.len);
	}
	for (size_t i = 0; i < COUNT_OF(others); i++)
		if (sql_read_own(others[i], strlen(others[i]), &own))
			fail_msg("%s", others[i]);
}

/* Who sets a savepoint, releases it and goes back to it names the same one. */
static void test_savepoints(void **state)
{
	static const char *const same[] = {"SAVEPOINT A",   "savepoint a /* c */",
	                                   "RELEASE a",     "RELEASE SAVEPOINT \"a\"",
	                                   "ROLLBACK TO a", "ROLLBACK TO SAVEPOINT A"};
	struct sql_cache *cache = new_cache();
	uint64_t first = sql_classify(cache, same[0], strlen(same[0]))->stmts[0].savepoint;

	(void)state;
	assert_true(first != 0);
	for (size_t i = 0; i < COUNT_OF(same); i++)
		assert_true(sql_classify(cache, same[i], strlen(same[i]))->stmts[0].savepoint ==
		            first);
	assert_false(sql_classify(cache, "SAVEPOINT b", 11)->stmts[0].savepoint == first);
	assert_true(sql_classify(cache, "SELECT 1", 8)->stmts[0].savepoint == 0);
	sql_cache_free(&cache);
}

static void test_protected_settings(void **state)
{
	struct sql_cache *cache = new_cache();

	(void)state;
	assert_true(sql_is_protected_setting(cache, "app.current_tenant_id"));
	assert_true(sql_is_protected_setting(cache, "APP.CURRENT_TENANT_ID"));
	assert_true(sql_is_protected_setting(cache, "app.tenant_proof"));
	assert_true(sql_is_protected_setting(cache, "Role"));
	assert_true(sql_is_protected_setting(cache, "session_authorization"));
	assert_true(sql_is_protected_setting(cache, "row_security"));
	assert_false(sql_is_protected_setting(cache, "app.current_tenant"));
	assert_false(sql_is_protected_setting(cache, "search_path"));
	assert_false(sql_is_protected_setting(cache, ""));
	sql_cache_free(&cache);
}

/* No row can have been written by it, so no replica lacks one. */
static void test_only_sets(void **state)
{
	static const struct {
		const char *text;
		bool only_sets;
	} all[] = {
		{"SET work_mem = '1MB'", true},
		{"SET LOCAL work_mem = '1MB'", true},
		{"RESET ALL", true},
		{"SELECT set_config('work_mem', '1MB', false)", false},
		{"SET TRANSACTION READ ONLY", false},
		{"DISCARD ALL", false},
	};
	struct sql_cache *cache = new_cache();

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		const struct sql_info *info = sql_classify(cache, all[i].text, strlen(all[i].text));

		assert_int_equal((info->stmts[0].bits & SQL_ONLY_SETS) != 0, all[i].only_sets);
	}
	sql_cache_free(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_only_sets),
		cmocka_unit_test(test_lines_without_normaliser),
		cmocka_unit_test(test_lines_dressed_up),
		cmocka_unit_test(test_lines_among_others),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_nul_bytes),
		cmocka_unit_test(test_text_without_nul),
		cmocka_unit_test(test_other_encodings),
		cmocka_unit_test(test_deep_statements),
		cmocka_unit_test(test_refusals_of_unparsed_texts),
		cmocka_unit_test(test_nested_special_calls),
		cmocka_unit_test(test_long_statements),
		cmocka_unit_test(test_alters),
		cmocka_unit_test(test_defines),
		cmocka_unit_test(test_dated),
		cmocka_unit_test(test_own),
		cmocka_unit_test(test_savepoints),
		cmocka_unit_test(test_protected_settings),
	};

	return cmocka_run_group_tests_name("sql classify", tests, NULL, NULL);
}
