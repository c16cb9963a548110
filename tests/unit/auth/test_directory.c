/* The tenant directory: found, not found, the same, many. And what a token is told by it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "auth_directory.h"
#include "base/mem.h"

static void test_has(void **state)
{
	const int64_t active[] = {456, 123, INT64_MAX};
	struct auth_directory *d = auth_directory_new(active, 3);

	(void)state;
	assert_int_equal(auth_directory_count(d), 3);
	assert_true(auth_directory_has(d, "123"));
	assert_true(auth_directory_has(d, "456"));
	assert_true(auth_directory_has(d, "9223372036854775807"));
	assert_false(auth_directory_has(d, "12"));
	assert_false(auth_directory_has(d, "0"));
	assert_false(auth_directory_has(d, ""));
	auth_directory_put(&d);
	assert_null(d);
	auth_directory_put(&d);
}

static void test_empty_lets_nobody_in(void **state)
{
	struct auth_directory *d = auth_directory_new(NULL, 0);

	(void)state;
	assert_false(auth_directory_has(d, "123"));
	assert_false(auth_directory_has(d, "0"));
	auth_directory_put(&d);
}

static void test_equals(void **state)
{
	struct auth_directory *a = auth_directory_new((int64_t[]){1, 2}, 2);
	struct auth_directory *b = auth_directory_new((int64_t[]){2, 1}, 2);
	struct auth_directory *c = auth_directory_new((int64_t[]){1, 3}, 2);
	struct auth_directory *again = auth_directory_get(a);

	(void)state;
	assert_true(auth_directory_equals(a, b));
	assert_false(auth_directory_equals(a, c));
	auth_directory_put(&a);
	assert_true(auth_directory_equals(again, b));
	auth_directory_put(&again);
	auth_directory_put(&b);
	auth_directory_put(&c);
}

static void test_many(void **state)
{
	enum { N = 200000 };
	int64_t *all = mem_alloc(N * sizeof(all[0]));
	struct auth_directory *d;
	char tenant[24];

	(void)state;
	for (int64_t i = 0; i < N; i++)
		all[i] = (N - i) * 3;
	d = auth_directory_new(all, N);
	for (int64_t i = 1; i <= N; i++) {
		snprintf(tenant, sizeof(tenant), "%lld", (long long)i * 3);
		assert_true(auth_directory_has(d, tenant));
		snprintf(tenant, sizeof(tenant), "%lld", (long long)i * 3 + 1);
		assert_false(auth_directory_has(d, tenant));
	}
	auth_directory_put(&d);
	mem_free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_has),
		cmocka_unit_test(test_empty_lets_nobody_in),
		cmocka_unit_test(test_equals),
		cmocka_unit_test(test_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
