/* The bound on a tree's depth: what nests has to be found, what is only long has not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "sql/sql_int.h"

struct shape {
	const char *head, *part, *tail;
};

static bool is_deep(const struct shape *shape, size_t n)
{
	size_t size = strlen(shape->head) + n * strlen(shape->part) + strlen(shape->tail) + 1;
	char *text = mem_alloc(size), *at = stpcpy(text, shape->head);
	bool deep;

	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, shape->part);
	stpcpy(at, shape->tail);
	deep = sql_text_is_deep(text, strlen(text));
	mem_free(text);
	return deep;
}

/* Each part nests what is before it, or after it, one deeper. */
static void test_deep(void **state)
{
	static const struct shape shapes[] = {
		{"SELECT 1", "+1", ""},
		{"SELECT 1", "::int", ""},
		{"SELECT ", "NOT ", "a"},
		{"SELECT ", "- ", "a"},
		{"SELECT ", "(", "1"},
		{"SELECT ", "a[", "1"},
		{"SELECT f(1, 2, a)", "||f(1, 2, a)", ""},
		{"SELECT 1, 2", " UNION SELECT 1, 2", ""},
		{"SELECT 1, 2", " except select 1, 2", ""},
		{"SELECT 1, 2", " Intersect SELECT 1, 2", ""},
		{"SELECT x.* FROM (SELECT 1, 2", " UNION SELECT 1, 2", ") x"},
		{"SELECT 'a,'", "||'a,'", ""},
		{"SELECT \"a,\"", "+\"a,\"", ""},
		{"SELECT 1 /*,*/", "+1 /*,*/", ""},
		{"SELECT a", " COLLATE \"C\"", ""},
		{"SELECT 1, 2; SELECT 1", "+1", ""},
		{"SELECT f(2, 3 ", "+4", ")"},
		{"SELECT * FROM t", " JOIN t USING (a, b)", ""},
		{"SELECT 'unterminated", " ", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		if (!is_deep(&shapes[i], 20000))
			fail_msg("not found: %s%s...", shapes[i].head, shapes[i].part);
		if (i + 1 < COUNT_OF(shapes) && is_deep(&shapes[i], 300))
			fail_msg("not deep: %s%s...", shapes[i].head, shapes[i].part);
	}
}

/* The depth inside brackets counts for what is around them. */
static void test_deep_together(void **state)
{
	static const struct shape inside = {"SELECT 1+(1", "+1", ")"};
	static const struct shape outside = {"SELECT (1+1)", "+1", ""};
	char head[16000], *at = stpcpy(head, "SELECT (1");
	struct shape both = {head, "+1", ""};

	(void)state;
	assert_false(is_deep(&inside, 6000));
	assert_false(is_deep(&outside, 6000));
	for (int i = 0; i < 6000; i++)
		at = stpcpy(at, "+1");
	stpcpy(at, ")");
	assert_true(is_deep(&both, 6000));
}

static void test_flat(void **state)
{
	static const struct shape shapes[] = {
		{"SELECT 1", ", a", ""},
		{"SELECT f(1", ", a + 1", ")"},
		{"INSERT INTO t VALUES (1, 2)", ", (a, f(b))", ""},
		{"SELECT ARRAY[1", ", -2", "]"},
		{"SELECT 1", "; SELECT 1 + 1", ""},
		{"SELECT 1 UNION SELECT 2", "; SELECT 1 UNION SELECT 2", ""},
		{"SELECT '", "+", "'"},
		{"SELECT 1 --", "+", ""},
		{"SELECT \"", "+", "\""},
		{"SELECT 1", " ", ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(shapes); i++)
		if (is_deep(&shapes[i], 20000))
			fail_msg("deep: %s%s...", shapes[i].head, shapes[i].part);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_deep),
		cmocka_unit_test(test_deep_together),
		cmocka_unit_test(test_flat),
	};

	return cmocka_run_group_tests_name("sql depth", tests, NULL, NULL);
}
