/* base/assert.h: what a broken invariant says, and that magics catch stale pointers. */
#include "base/assert.h"

#include <errno.h>
#include <string.h>

#include "unit/base/cm.h"
#include "unit/base/death.h"

#define THING_MAGIC 0x7e57a001u

struct thing {
	uint32_t magic;
};

static void break_must(void)
{
	MUST(1 + 1 == 3);
}

static void break_must_sys(void)
{
	errno = ENOENT;
	MUST_SYS(1 + 1 == 3);
}

static void reach_what_must_not(void)
{
	MUST_NOT_REACH();
}

static void check_null(void)
{
	struct thing *thing = NULL;

	OBJ_CHECK(thing, THING_MAGIC);
}

static void check_after_fini(void)
{
	struct thing thing;

	OBJ_INIT(&thing, THING_MAGIC);
	OBJ_FINI(&thing, THING_MAGIC);
	OBJ_CHECK(&thing, THING_MAGIC);
}

static void test_says_what_was_broken_and_where(void **state)
{
	char said[256];

	(void)state;
	assert_true(death_of(break_must, said, sizeof(said)));
	assert_non_null(strstr(said, "break_must"));
	assert_non_null(strstr(said, "test_assert.c:"));
	assert_non_null(strstr(said, "1 + 1 == 3\n"));
	assert_true(death_of(break_must_sys, said, sizeof(said)));
	assert_non_null(strstr(said, strerror(ENOENT)));
	assert_true(death_of(reach_what_must_not, said, sizeof(said)));
	assert_non_null(strstr(said, "not reached"));
}

static void do_nothing_wrong(void)
{
	struct thing thing;

	OBJ_INIT(&thing, THING_MAGIC);
	OBJ_CHECK(&thing, THING_MAGIC);
	OBJ_FINI(&thing, THING_MAGIC);
	MUST(1 + 1 == 2);
	MUST_SYS(1 + 1 == 2);
}

static void test_silent_when_all_is_well(void **state)
{
	char said[256];

	(void)state;
	assert_false(death_of(do_nothing_wrong, said, sizeof(said)));
	assert_string_equal(said, "");
}

static void test_magics_catch_null_and_dead_objects(void **state)
{
	char said[256];

	(void)state;
	assert_true(death_of(check_null, said, sizeof(said)));
	assert_true(death_of(check_after_fini, said, sizeof(said)));
	assert_non_null(strstr(said, "check_after_fini"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_says_what_was_broken_and_where),
		cmocka_unit_test(test_silent_when_all_is_well),
		cmocka_unit_test(test_magics_catch_null_and_dead_objects),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
