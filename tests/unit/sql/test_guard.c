/* The guard's modes, lists and rules. The rules of the standard mode are tested statement by
 * statement in test_classify.c; here are those of strict, every forbidden statement in every
 * wrapping that SQL has for it, and what ordinary clients send, which must pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "guard_statements.h"
#include "sql/sql_int.h"
#include "sql_catalog.h"

static const char *const protected_names[] = {"app.current_tenant_id", "app.tenant_proof", NULL};

static struct sql_cache *new_cache(enum sql_guard_mode mode, const char *allow, const char *deny)
{
	struct sql_cache *cache = sql_cache_new(protected_names, 5000);

	sql_cache_set_guard(cache, &(struct sql_guard){mode, allow, deny, NULL});
	return cache;
}

static const char *rule_of(struct sql_cache *cache, const char *text)
{
	const struct sql_info *info = sql_classify(cache, text, strlen(text));

	return info->refusal != NULL ? info->refusal->rule : "none";
}

static void expect_rule(struct sql_cache *cache, const char *text, const char *rule)
{
	const char *got = rule_of(cache, text);

	if (strcmp(got, rule) != 0)
		fail_msg("%s: rule %s, not %s", text, got, rule);
}

static void test_table_is_whole(void **state)
{
	(void)state;
	for (int id = SQL_RULE_NONE + 1; id < SQL_N_RULES; id++) {
		const struct sql_rule_info *info = sql_rule_info((enum sql_rule)id);

		assert_int_equal(info->refusal.id, id);
		assert_int_equal(strlen(info->refusal.sqlstate), 5);
		assert_non_null(strstr(info->refusal.message, info->refusal.rule));
		assert_true(strlen(info->refusal.hint) > 0 && strlen(info->rows) > 0);
		assert_true(strlen(info->looks_for) > 0);
	}
}

/* Each is refused in its own mode and beyond, and passes below. */
static void test_modes(void **state)
{
	(void)state;
	for (int mode = SQL_GUARD_OFF; mode <= SQL_GUARD_STRICT; mode++) {
		struct sql_cache *cache = new_cache((enum sql_guard_mode)mode, NULL, NULL);

		for (size_t i = 0; i < COUNT_OF(forbidden); i++) {
			bool holds = (int)sql_rule_info(forbidden[i].rule)->mode <= mode;

			expect_rule(cache, forbidden[i].text,
			            holds ? sql_rule_info(forbidden[i].rule)->refusal.rule
			                  : "none");
		}
		sql_cache_free(&cache);
	}
}

static void test_ordinary_statements_pass(void **state)
{
	struct sql_cache *cache = new_cache(SQL_GUARD_STRICT, NULL, NULL);

	(void)state;
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT_OF(ordinary); i++)
			expect_rule(cache, ordinary[i], "none");
	sql_cache_free(&cache);
}

/* ---- wrappings ------------------------------------------------------------------------------ */

/* @ stands for what is wrapped. */
static void wrap(const char *pattern, const char *inner, char *out, size_t size)
{
	size_t at = 0;

	for (; *pattern != '\0'; pattern++) {
		if (*pattern != '@') {
			assert_true(at + 1 < size);
			out[at++] = *pattern;
			continue;
		}
		assert_true(at + strlen(inner) < size);
		memcpy(out + at, inner, strlen(inner));
		at += strlen(inner);
	}
	out[at] = '\0';
}

static void expect_refused(struct sql_cache *cache, const char *text)
{
	const char *rule = rule_of(cache, text);

	if (strcmp(rule, "none") == 0 || strcmp(rule, "syntax") == 0)
		fail_msg("%s: %s", text, rule);
}

static bool holds_in(enum sql_rule rule, enum sql_guard_mode mode)
{
	return sql_rule_info(rule)->mode <= mode;
}

static size_t try_wrappings(enum sql_guard_mode mode)
{
	struct sql_cache *cache = new_cache(mode, NULL, NULL);
	char inner[1024], text[2048];
	size_t n = 0;

	for (size_t i = 0; i < COUNT_OF(forbidden_calls); i++) {
		if (!holds_in(forbidden_calls[i].rule, mode))
			continue;
		for (size_t s = 0; s < COUNT_OF(spellings); s++) {
			char name[128];

			wrap(spellings[s], forbidden_calls[i].name, name, sizeof(name));
			snprintf(inner, sizeof(inner), "%s%s", name, forbidden_calls[i].args);
			for (size_t w = 0; w < COUNT_OF(expression_wrappings); w++, n++) {
				wrap(expression_wrappings[w], inner, text, sizeof(text));
				expect_refused(cache, text);
			}
		}
	}
	for (size_t i = 0; i < COUNT_OF(forbidden_relations); i++) {
		if (!holds_in(forbidden_relations[i].rule, mode))
			continue;
		for (size_t w = 0; w < COUNT_OF(relation_wrappings); w++, n++) {
			wrap(relation_wrappings[w], forbidden_relations[i].text, text,
			     sizeof(text));
			expect_refused(cache, text);
		}
	}
	for (size_t i = 0; i < COUNT_OF(forbidden); i++) {
		if (!holds_in(forbidden[i].rule, mode) || forbidden[i].is_alone)
			continue;
		for (size_t w = 0; w < COUNT_OF(statement_wrappings); w++, n++) {
			wrap(statement_wrappings[w], forbidden[i].text, text, sizeof(text));
			expect_refused(cache, text);
		}
	}
	sql_cache_free(&cache);
	return n;
}

static void test_wrapped(void **state)
{
	(void)state;
	assert_true(try_wrappings(SQL_GUARD_STANDARD) > 200);
	assert_true(try_wrappings(SQL_GUARD_STRICT) > 3000);
}

/* The same where the wrapping is sound SQL: each wrapping with a harmless call passes. */
static void test_wrappings_are_sound(void **state)
{
	struct sql_cache *cache = new_cache(SQL_GUARD_STANDARD, NULL, NULL);
	char text[2048];

	(void)state;
	for (size_t w = 0; w < COUNT_OF(expression_wrappings); w++) {
		wrap(expression_wrappings[w], "lower('x')", text, sizeof(text));
		expect_rule(cache, text, "none");
	}
	for (size_t w = 0; w < COUNT_OF(relation_wrappings); w++) {
		wrap(relation_wrappings[w], "item", text, sizeof(text));
		expect_rule(cache, text, "none");
	}
	sql_cache_free(&cache);
}

/* ---- texts that are not parsed -------------------------------------------------------------- */

static void expect_deep(struct sql_cache *cache, const char *statement, const char *rule)
{
	struct buf text = {0};

	buf_put(&text, statement, strlen(statement));
	for (int i = 0; i < 5000; i++)
		buf_put(&text, " AND true", 9);
	buf_put_u8(&text, 0);
	expect_rule(cache, (const char *)text.data, rule);
	buf_fini(&text);
}

static void test_unparsed(void **state)
{
	struct sql_cache *cache = new_cache(SQL_GUARD_STRICT, NULL, NULL);

	(void)state;
	expect_deep(cache, "SELECT true", "none");
	expect_deep(cache, "SELECT 'pg_cancel_backend, lastval; lock notify'='' AND true", "none");
	expect_deep(cache, "SELECT pg_cancel_backend(1) AND true", "backend_signal");
	expect_deep(cache, "SELECT \"pg_cancel_backend\"(1) AND true", "backend_signal");
	expect_deep(cache, "SELECT 1 FROM pg_stat_activity WHERE true", "session_views");
	expect_deep(cache, "NOTIFY a; SELECT true", "notify");
	expect_deep(cache, "SELECT 1; LISTEN a; SELECT true", "notify");
	expect_deep(cache, "LOCK item; SELECT true", "lock_table");
	expect_deep(cache, "SET SESSION seed = 0.5; SELECT true", "random_seed");
	expect_deep(cache, "SELECT 1; SET \"SEED\" TO 0.5; SELECT true", "random_seed");
	expect_deep(cache, "SELECT 1 OFFSET seed; SELECT true", "none");
	expect_deep(cache, "COPY item TO PROGRAM 'x'; SELECT true", "server_file");
	expect_deep(cache, "COPY item FROM '/etc/passwd'; SELECT true", "server_file");
	expect_deep(cache, "COPY item FROM STDIN; SELECT true", "none");
	expect_rule(cache, "DO $$BEGIN SET seed = 0.5; END$$", "random_seed");
	sql_cache_free(&cache);
}

/* Whatever is refused is so too behind and within what only a newer server's parser knows, if need
 * be with the syntax error. */
static void try_unknown_grammar(enum sql_guard_mode mode)
{
	static const char *const around_calls[] = {
		"SELECT 1 1, @",
		"SELECT 1a, @",
		"SELECT * FROM FROM (SELECT (@))",
		"UPDATE t SET a = 1 1 + @",
	};
	static const char *const around_statements[] = {"SELECT 1 1; @", "@; SELECT 1 1",
	                                                "SELECT 1a; @"};
	struct sql_cache *cache = new_cache(mode, NULL, NULL);
	char inner[1024], text[2048];

	for (size_t i = 0; i < COUNT_OF(forbidden_calls); i++) {
		if (!holds_in(forbidden_calls[i].rule, mode))
			continue;
		snprintf(inner, sizeof(inner), "%s%s", forbidden_calls[i].name,
		         forbidden_calls[i].args);
		for (size_t w = 0; w < COUNT_OF(around_calls); w++) {
			wrap(around_calls[w], inner, text, sizeof(text));
			expect_refused(cache, text);
		}
	}
	for (size_t i = 0; i < COUNT_OF(forbidden); i++) {
		if (!holds_in(forbidden[i].rule, mode))
			continue;
		for (size_t w = 0; w < COUNT_OF(around_statements); w++) {
			wrap(around_statements[w], forbidden[i].text, text, sizeof(text));
			if (strcmp(rule_of(cache, text), "none") == 0)
				fail_msg("mode %d: %s", (int)mode, text);
		}
	}
	sql_cache_free(&cache);
}

static void test_unknown_grammar(void **state)
{
	(void)state;
	try_unknown_grammar(SQL_GUARD_OFF);
	try_unknown_grammar(SQL_GUARD_STANDARD);
	try_unknown_grammar(SQL_GUARD_STRICT);
}

/* In some databases the dotted capital I of Turkish is an i where a name has no quotes. */
static void test_dotted_i(void **state)
{
	struct sql_cache *cache = new_cache(SQL_GUARD_STRICT, NULL, NULL);

	(void)state;
	expect_rule(cache, "SELECT set_conf\xc4\xb0g('app.current_tenant_id', '7', true)",
	            "tenant_setting");
	expect_rule(cache, "SELECT set_conf\xddg('app.current_tenant_id', '7', true)",
	            "tenant_setting");
	expect_rule(cache, "SELECT set_conf\xa9g(a, '7', true)", "set_config_unreadable");
	expect_rule(cache, "SELECT set_conf\x83\xa9g(a, '7', true)", "set_config_unreadable");
	expect_rule(cache, "SELECT set_conf\xc4\xb0g('my.x', '7', true)", "none");
	expect_rule(cache,
	            "SET app.current_tenant_\xc4\xb0"
	            "d = 7",
	            "tenant_setting");
	expect_rule(cache, "SELECT * FROM pg_stat_act\xddvity l\xddmit", "session_views");
	expect_rule(
		cache,
		"SELECT 1 AS l\xddmit FROM a l\xddmit, set_conf\xddg('app.tenant_proof', '', true)",
		"code_text");
	expect_rule(cache, "DO $$BEGIN PERFORM set_conf\xddg('my.x', '', true); END$$",
	            "code_text");
	expect_deep(cache, "SELECT pg_adv\xddsory_lock(1) AND true", "advisory_lock");
	/* \xdd and \xa9 as parts of other letters. */
	expect_rule(cache, "SELECT set_conf\xc3\xa9g(a, '7', true), set_conf\xdd\x80g(a, '')",
	            "none");
	expect_rule(cache, "SELECT \xc4\xb0sim FROM \xc4\xb0tem WHERE a = '\xc4\xb0'", "none");
	expect_rule(cache, "CREATE TABLE pg_temp.a (\xc4\xb0n int, l\xddmit int)", "none");
	sql_cache_free(&cache);
}

/* ---- lists ---------------------------------------------------------------------------------- */

static void test_lists(void **state)
{
	struct sql_cache *cache = new_cache(SQL_GUARD_STRICT, "Lastval, pg_catalog.pg_notify",
	                                    "public.f,  g ,s.lower");

	(void)state;
	expect_rule(cache, "SELECT lastval()", "none");
	expect_rule(cache, "SELECT currval('a')", "sequence_state");
	expect_rule(cache, "SELECT pg_notify('a', 'b')", "notify");
	expect_rule(cache, "SELECT pg_catalog.pg_notify('a', 'b')", "none");
	expect_rule(cache, "SELECT f(1)", "deny_functions");
	expect_rule(cache, "SELECT public.f(1)", "deny_functions");
	expect_rule(cache, "SELECT other.f(1)", "none");
	expect_rule(cache, "SELECT other.G(1)", "deny_functions");
	expect_rule(cache, "CALL g(1)", "deny_functions");
	expect_rule(cache, "CALL public.f(1)", "deny_functions");
	expect_rule(cache, "SELECT pg_catalog.lower('x')", "none");
	expect_rule(cache, "DO $$BEGIN PERFORM G(1); END$$", "deny_functions");
	expect_rule(cache, "DO $$BEGIN PERFORM lastval(); END$$", "none");
	/* A change forgets what is remembered. */
	sql_cache_set_guard(cache, &(struct sql_guard){SQL_GUARD_STRICT, NULL, NULL, NULL});
	expect_rule(cache, "SELECT lastval()", "sequence_state");
	expect_rule(cache, "SELECT f(1)", "none");
	sql_cache_set_guard(cache, &(struct sql_guard){SQL_GUARD_OFF, NULL, "f", NULL});
	expect_rule(cache, "SELECT lastval()", "none");
	expect_rule(cache, "SELECT f(1)", "none");
	sql_cache_free(&cache);
}

static void test_list_checks(void **state)
{
	char why[160];

	(void)state;
	assert_true(sql_guard_check_list("", true, why, sizeof(why)));
	assert_true(sql_guard_check_list("a, b.c ,d", true, why, sizeof(why)));
	assert_false(sql_guard_check_list("a b", true, why, sizeof(why)));
	assert_false(sql_guard_check_list("a.b.c", true, why, sizeof(why)));
	assert_false(sql_guard_check_list("f(int)", false, why, sizeof(why)));
	assert_false(sql_guard_check_list("a, Set_Config", true, why, sizeof(why)));
	assert_false(sql_guard_check_list("public.dblink_exec", true, why, sizeof(why)));
	assert_true(sql_guard_check_list("set_config", false, why, sizeof(why)));
}

/* ---- the function catalogue ----------------------------------------------------------------- */

static unsigned find(const void *snapshot, const char *schema, const char *name)
{
	static const struct {
		const char *schema, *name;
		unsigned facts;
	} rows[] = {
		{"pg_catalog", "lower", SQL_FUNCTION_KNOWN},
		{"pg_catalog", "random", SQL_FUNCTION_KNOWN},
		{"public", "pure", SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER},
		{"public", "noisy", SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_OPAQUE},
		{"public", "as_other",
	         SQL_FUNCTION_KNOWN | SQL_FUNCTION_USER | SQL_FUNCTION_SETS_CONTEXT},
	};
	unsigned facts = 0;

	assert_ptr_equal(snapshot, protected_names);
	for (size_t i = 0; i < COUNT_OF(rows); i++)
		if (strcmp(rows[i].name, name) == 0 &&
		    (schema == NULL || strcmp(rows[i].schema, schema) == 0))
			facts |= rows[i].facts;
	return facts;
}

static bool is_opaque(struct sql_cache *cache, const char *text)
{
	return (sql_classify(cache, text, strlen(text))->stmts[0].bits & SQL_OPAQUE) != 0;
}

static void test_catalogue(void **state)
{
	const struct sql_functions functions = {.snapshot = protected_names, .find = find};
	struct sql_cache *cache = new_cache(SQL_GUARD_STANDARD, NULL, NULL);

	(void)state;
	assert_false(is_opaque(cache, "SELECT noisy()"));
	expect_rule(cache, "SELECT as_other()", "none");
	sql_cache_set_functions(cache, &functions);
	assert_true(is_opaque(cache, "SELECT noisy()"));
	assert_true(is_opaque(cache, "SELECT 1 WHERE (SELECT public.noisy()) > 2"));
	assert_true(is_opaque(cache, "SELECT unheard_of()"));
	assert_true(is_opaque(cache, "SELECT other.pure()"));
	assert_false(is_opaque(cache, "SELECT pure(), lower('x'), pg_catalog.random()"));
	expect_rule(cache, "SELECT as_other()", "function_settings");
	expect_rule(cache, "CALL public.as_other()", "function_settings");
	/* Trusted: it leaves nothing, but its SET clause counts. */
	sql_cache_set_guard(cache, &(struct sql_guard){.mode = SQL_GUARD_STANDARD,
	                                               .trusted_functions = "noisy, as_other"});
	assert_false(is_opaque(cache, "SELECT noisy()"));
	expect_rule(cache, "SELECT as_other()", "function_settings");
	/* Allowed by name: the operator has looked at it. */
	sql_cache_set_guard(cache, &(struct sql_guard){SQL_GUARD_STANDARD, "noisy", NULL, NULL});
	assert_false(is_opaque(cache, "SELECT noisy()"));
	sql_cache_set_functions(cache, NULL);
	assert_false(is_opaque(cache, "SELECT unheard_of()"));
	sql_cache_free(&cache);
}

#define TEN "1234567890"

/* In what only a newer server's parser knows, and in what nests too deep for ours. */
static void test_catalogue_unparsed(void **state)
{
	const struct sql_catalog_row rows[] = {
		{"public", "pure", SQL_FUNCTION_KNOWN, SQL_THING_FUNCTION, NULL, NULL},
		{"public", "as_other", SQL_FUNCTION_SETS_CONTEXT, SQL_THING_FUNCTION, NULL, NULL},
		/* As long as a name can be: "its" and a quote, with 58 more. */
		{"public", "its \"" TEN TEN TEN TEN TEN "12345678", SQL_FUNCTION_SETS_CONTEXT,
	         SQL_THING_FUNCTION, NULL, NULL},
	};
	struct sql_catalog *catalog = sql_catalog_new(rows, COUNT_OF(rows));
	const struct sql_functions functions = {
		.snapshot = catalog, .find = sql_catalog_find, .next = sql_catalog_next};
	struct sql_cache *cache = new_cache(SQL_GUARD_STANDARD, NULL, NULL);

	(void)state;
	sql_cache_set_functions(cache, &functions);
	expect_rule(cache, "SELECT 1 1, As_Other()", "function_settings");
	expect_rule(cache, "SELECT 1 1, public . \"as_other\"()", "function_settings");
	expect_rule(cache, "SELECT 1a, as_other()", "function_settings");
	expect_rule(cache, "SELECT 1 1, \"As_other\"(), 'as_other'", "none");
	expect_rule(cache, "SELECT 1 1, \"its \"\"" TEN TEN TEN TEN TEN TEN "\"()",
	            "function_settings");
	expect_deep(cache, "SELECT as_other() AND true", "function_settings");
	/* The other names are no reason to read the catalogue again. */
	assert_false(sql_catalog_take_miss(catalog));
	sql_cache_set_guard(cache, &(struct sql_guard){SQL_GUARD_STANDARD, "as_other", NULL, NULL});
	expect_rule(cache, "SELECT 1 1, as_other()", "none");
	sql_cache_set_guard(cache, &(struct sql_guard){SQL_GUARD_OFF, NULL, NULL, NULL});
	expect_rule(cache, "SELECT 1 1, as_other()", "none");
	sql_cache_free(&cache);
	sql_catalog_put(&catalog);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_is_whole),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_ordinary_statements_pass),
		cmocka_unit_test(test_wrappings_are_sound),
		cmocka_unit_test(test_wrapped),
		cmocka_unit_test(test_unparsed),
		cmocka_unit_test(test_unknown_grammar),
		cmocka_unit_test(test_dotted_i),
		cmocka_unit_test(test_lists),
		cmocka_unit_test(test_list_checks),
		cmocka_unit_test(test_catalogue),
		cmocka_unit_test(test_catalogue_unparsed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
