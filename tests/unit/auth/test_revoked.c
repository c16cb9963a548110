/* The set of revoked token ids: found, bounded, forgotten when the tokens have expired. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "auth/auth_int.h"
#include "base/mem.h"

#define NOW 1700000000
#define DAY 86400

static bool has(struct auth_revoked *set, const char *jti, int64_t exp_s)
{
	struct auth_ticket t = {.exp_s = exp_s};

	snprintf(t.jti, sizeof(t.jti), "%s", jti);
	return auth_revoked_has(set, &t);
}

static void test_has(void **state)
{
	struct auth_revoked *set = auth_revoked_new(10);

	(void)state;
	assert_false(has(set, "a", NOW + 60));
	assert_true(auth_revoked_add(set, "a", 0, NOW));
	assert_true(auth_revoked_add(set, "a", 0, NOW));
	assert_int_equal(auth_revoked_count(set), 1);
	assert_true(has(set, "a", NOW + 60));
	assert_false(has(set, "A", NOW + 60));
	assert_false(has(set, "", NOW + 60)); /* a token without an id cannot be meant */
	auth_revoked_free(&set);
	assert_null(set);
}

static void test_full(void **state)
{
	struct auth_revoked *set = auth_revoked_new(3);

	(void)state;
	assert_true(auth_revoked_add(set, "unknown", 0, NOW));
	assert_true(auth_revoked_add(set, "short", NOW + 60, NOW));
	assert_true(auth_revoked_add(set, "long", NOW + 9 * DAY, NOW));
	/* None is forgotten for the sake of another, and one that is there may be said again. */
	assert_false(auth_revoked_add(set, "more", 0, NOW));
	assert_true(auth_revoked_add(set, "long", 0, NOW));
	/* An expired token goes, a leeway behind. */
	assert_false(auth_revoked_add(set, "more", 0, NOW + 60));
	assert_true(auth_revoked_add(set, "more", 0, NOW + 2 * DAY));
	assert_int_equal(auth_revoked_count(set), 3);
	assert_true(has(set, "unknown", NOW) && has(set, "long", NOW) && has(set, "more", NOW));
	auth_revoked_free(&set);
}

/* Of two tokens with one id the later counts, and a token that is tried tells its expiry. */
static void test_expiry_is_learned(void **state)
{
	struct auth_revoked *set = auth_revoked_new(1);

	(void)state;
	assert_true(auth_revoked_add(set, "a", 0, NOW));
	assert_true(has(set, "a", NOW + 60));
	assert_true(auth_revoked_add(set, "a", NOW + 3 * DAY, NOW));
	assert_false(auth_revoked_add(set, "b", 0, NOW + 2 * DAY));
	assert_true(has(set, "a", NOW + 60));
	assert_false(auth_revoked_add(set, "b", 0, NOW + 2 * DAY));
	assert_true(auth_revoked_add(set, "b", 0, NOW + 5 * DAY));
	assert_false(has(set, "a", NOW + 60));
	auth_revoked_free(&set);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_has),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_expiry_is_learned),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
