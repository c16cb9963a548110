/* Hints: which comments count, what is in them, and what is none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sql_hint.h"

/* In a block of just its size, so that a sanitizer sees a look beyond its end. */
static bool read_hints(const char *text, size_t len, struct sql_hints *hints)
{
	char *copy = mem_alloc(len > 0 ? len : 1);
	bool may, found;

	memcpy(copy, text, len);
	may = sql_may_have_hints(copy, len);
	found = sql_hints_read(copy, len, hints);
	mem_free(copy);
	if (found && !may)
		fail_msg("%.*s: the quick look misses it", (int)len, text);
	return found;
}

/* "c=strong m=5s r=off", what is not there left out. */
static void check(const char *text, const char *want)
{
	static const char signs[] = {'c', 'm', 'r'};
	struct sql_hints hints;
	char got[3 * (SQL_HINT_VALUE_MAX + 3)] = "";
	size_t n = 0;

	(void)read_hints(text, strlen(text), &hints);
	for (int i = 0; i < SQL_HINT_COUNT; i++)
		if (hints.has[i])
			n += (size_t)snprintf(got + n, sizeof(got) - n, "%s%c=%s", n > 0 ? " " : "",
			                      signs[i], hints.value[i]);
	if (strcmp(got, want) != 0)
		fail_msg("%s: \"%s\", not \"%s\"", text, got, want);
}

static void test_places(void **state)
{
	(void)state;
	check("/* consistency='strong' */ SELECT 1", "c=strong");
	check("/*consistency='strong'*/SELECT 1", "c=strong");
	check(" \n\t/*consistency='strong'*/ SELECT 1", "c=strong");
	check("SELECT 1 /*consistency='strong'*/", "c=strong");
	check("SELECT 1/*consistency='strong'*/ \n", "c=strong");
	check("SELECT 1; /*consistency='strong'*/", "c=strong");
	check("SELECT 1 /*consistency='strong'*/ ; ;", "c=strong");
	check("/*+ SeqScan(a) */ /*consistency='strong'*/ SELECT 1", "c=strong");
	check("SELECT 1 /*consistency='strong'*/ /* by hand */", "c=strong");
	check("/*consistency='eventual'*/ SELECT 1 /*consistency='strong'*/", "c=strong");
	check("/*max_lag='5s'*/ SELECT 1 /*consistency='strong'*/", "c=strong m=5s");
	check("/*consistency='strong'*/", "c=strong");
}

static void test_form(void **state)
{
	(void)state;
	check("/*consistency='bounded',max_lag='500ms'*/ SELECT 1", "c=bounded m=500ms");
	check("/* consistency = 'bounded' , max_lag = '500ms' */ SELECT 1", "c=bounded m=500ms");
	check("/* read_your_writes='off' */ SELECT 1", "r=off");
	check("/*consistency=strong,max_lag=1.5s*/ SELECT 1", "c=strong m=1.5s");
	check("SELECT 1 /*action='%2Fparam*d',consistency='strong',"
	      "traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',"
	      "tracestate='congo%3Dt61rcWkgMzE%2Crojo%3D00f067aa0ba902b7'*/",
	      "c=strong");
	check("SELECT 1 /*name='O\\'Hara',consistency='str%6Fng'*/", "c=strong");
	check("/*consistency='strong',consistency='eventual'*/ SELECT 1", "c=eventual");
	check("/*consistency=''*/ SELECT 1", "c=");
	/* Longer than any that means something, or with a NUL: still a hint, of nothing known. */
	check("/*consistency='0123456789012345678901234567890'*/ SELECT 1",
	      "c=0123456789012345678901234567890");
	check("/*consistency='01234567890123456789012345678901'*/ SELECT 1", "c=");
	check("/*consistency='strong%00x'*/ SELECT 1", "c=");
	check("/*consistency='strong%2'*/ SELECT 1", "c=strong%2");
}

static void test_no_hints(void **state)
{
	(void)state;
	check("", "");
	check("SELECT 1", "");
	check("/**/ SELECT 1", "");
	check("/* strong */ SELECT 1", "");
	check("/* consistency='strong' and more */ SELECT 1", "");
	check("/* see consistency='strong' */ SELECT 1", "");
	check("/* consistency='strong', */ SELECT 1", "");
	check("/* consistency='strong */ SELECT 1", "");
	check("/* consistency= */ SELECT 1", "");
	check("/* ='strong' */ SELECT 1", "");
	check("/* Consistency='strong' */ SELECT 1", "");
	check("/*+ consistency='strong' */ SELECT 1", "");
	check("/* consistency='strong' /* nested */ */ SELECT 1", "");
	check("SELECT /* consistency='strong' */ 1", "");
	check("SELECT 1 /* consistency='strong' */ + 1", "");
	check("-- consistency='strong'\nSELECT 1", "");
	check("/* consistency='strong'", "");
	check("SELECT '/* consistency=''strong'' */'", "");
	check("SELECT $$ /*consistency='strong' $$ -- */", "");
	check("SELECT $$ /*consistency='strong',x=' $$ -- '*/", "");
	check("SELECT 'a /*consistency=' -- */", "");
	check("*/", "");
	check("/*/", "");
	check("/*/ */", "");
}

/* More than any tracer writes is not searched. */
static void test_size(void **state)
{
	char text[8192];

	(void)state;
	snprintf(text, sizeof(text), "SELECT 1 /*x='%4000s',consistency='strong'*/", "");
	check(text, "c=strong");
	snprintf(text, sizeof(text), "SELECT 1 /*x='%5000s',consistency='strong'*/", "");
	check(text, "");
	snprintf(text, sizeof(text), "/*consistency='strong'%5000s*/ SELECT 1", "");
	check(text, "");
}

/* The text ends where its length says. */
static void test_length(void **state)
{
	static const char text[] = "/*consistency='strong'*/";
	struct sql_hints hints;

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_false(read_hints(text, len, &hints));
	assert_true(read_hints(text, sizeof(text) - 1, &hints));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_places),   cmocka_unit_test(test_form),
		cmocka_unit_test(test_no_hints), cmocka_unit_test(test_size),
		cmocka_unit_test(test_length),
	};

	return cmocka_run_group_tests_name("sql hint", tests, NULL, NULL);
}
