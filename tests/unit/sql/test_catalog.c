/* The function catalogue: look-ups by schema and name, parts joined, and PostgreSQL's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sql_catalog.h"

#define KNOWN SQL_FUNCTION_KNOWN
#define USER SQL_FUNCTION_USER
#define OPAQUE SQL_FUNCTION_OPAQUE

static const struct sql_catalog_row first[] = {
	{.schema = "public", .name = "f", .facts = KNOWN | USER},
	{.schema = "pg_catalog", .name = "lower", .facts = KNOWN},
	{.schema = "other", .name = "f", .facts = KNOWN | USER | OPAQUE},
	{.schema = "public", .name = "a", .facts = KNOWN | USER},
};
static const struct sql_catalog_row second[] = {
	{.schema = "public", .name = "a", .facts = KNOWN | USER | OPAQUE},
	{.schema = "pg_catalog", .name = "lower", .facts = KNOWN},
};

static void test_find(void **state)
{
	struct sql_catalog *c = sql_catalog_new(first, 4);

	(void)state;
	assert_int_equal(sql_catalog_find(c, NULL, "f"), KNOWN | USER | OPAQUE);
	assert_int_equal(sql_catalog_find(c, "public", "f"), KNOWN | USER);
	assert_int_equal(sql_catalog_find(c, NULL, "lower"), KNOWN);
	assert_false(sql_catalog_take_miss(c));
	assert_int_equal(sql_catalog_find(c, "public", "lower"), 0);
	assert_true(sql_catalog_take_miss(c));
	assert_false(sql_catalog_take_miss(c));
	assert_int_equal(sql_catalog_find(c, NULL, "F"), 0);
	assert_int_equal(sql_catalog_find(c, NULL, "zz"), 0);
	assert_int_equal(sql_catalog_count(c, SQL_THING_FUNCTION, USER), 3);
	sql_catalog_put(&c);
	assert_null(c);
}

static void test_join(void **state)
{
	struct sql_catalog *parts[] = {sql_catalog_new(first, 4), sql_catalog_new(second, 2), NULL};
	struct sql_catalog *whole = sql_catalog_join(parts, 2, true);
	struct sql_catalog *again = sql_catalog_join(parts, 2, true);
	struct sql_catalog *torn = sql_catalog_join(parts, 3, false);

	(void)state;
	assert_int_equal(sql_catalog_find(whole, NULL, "a"), KNOWN | USER | OPAQUE);
	assert_int_equal(sql_catalog_count(whole, SQL_THING_FUNCTION, 0), 4);
	assert_true(sql_catalog_equals(whole, again));
	assert_false(sql_catalog_equals(whole, torn));
	assert_false(sql_catalog_equals(whole, parts[0]));
	/* A database is missing: what its functions of this name are is not known. */
	assert_int_equal(sql_catalog_find(torn, "public", "f") & KNOWN, 0);
	assert_int_equal(sql_catalog_find(torn, NULL, "lower"), KNOWN);
	for (size_t i = 0; i < 2; i++)
		sql_catalog_put(&parts[i]);
	assert_int_equal(sql_catalog_find(whole, "other", "f"), KNOWN | USER | OPAQUE);
	sql_catalog_put(&whole);
	sql_catalog_put(&again);
	sql_catalog_put(&torn);
}

static void test_builtins(void **state)
{
	(void)state;
	assert_int_equal(sql_builtin_find(NULL, NULL, "lower"), KNOWN);
	assert_int_equal(sql_builtin_find(NULL, "pg_catalog", "RI_FKey_check_ins"),
	                 KNOWN | SQL_FUNCTION_VOLATILE);
	assert_int_equal(sql_builtin_find(NULL, NULL, "now"), KNOWN);
	assert_int_equal(sql_builtin_find(NULL, "public", "lower"), 0);
	assert_int_equal(sql_builtin_find(NULL, NULL, "LOWER"), 0);
	assert_int_equal(sql_builtin_find(NULL, NULL, "upsert_hot_attrs"), 0);
	/* The ends of the table, and its order. */
	assert_int_equal(sql_builtin_find(NULL, NULL, "RI_FKey_cascade_del"),
	                 KNOWN | SQL_FUNCTION_VOLATILE);
	assert_int_equal(sql_builtin_find(NULL, NULL, "xpath_exists"), KNOWN);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_builtins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
