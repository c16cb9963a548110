/* base/clock.h: the true clocks go on, the fake ones stand still. */
#include "base/clock.h"

#include <time.h>

#include "unit/base/cm.h"

static void test_monotonic_never_goes_back(void **state)
{
	int64_t last = clock_mono_us();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		int64_t now = clock_mono_us();

		assert_true(now >= last);
		last = now;
	}
}

static void test_monotonic_counts_microseconds(void **state)
{
	struct timespec nap = {.tv_nsec = 20 * 1000000};
	int64_t start = clock_mono_us(), took;

	(void)state;
	nanosleep(&nap, NULL);
	took = clock_mono_us() - start;
	assert_true(took >= 20 * US_PER_MS);
	assert_true(took < 20 * US_PER_S);
}

static void test_wall_is_seconds_since_1970(void **state)
{
	int64_t before = (int64_t)time(NULL), now = clock_wall_s();

	(void)state;
	assert_true(now >= before - 1 && now <= before + 60);
}

static void test_fake_clocks_stand_until_the_end(void **state)
{
	(void)state;
	clock_fake(5 * US_PER_S, 1700000000);
	assert_int_equal(clock_mono_us(), 5 * US_PER_S);
	assert_int_equal(clock_mono_us(), 5 * US_PER_S);
	assert_int_equal(clock_wall_s(), 1700000000);
	clock_fake(0, 0);
	assert_int_equal(clock_mono_us(), 0);
	assert_int_equal(clock_wall_s(), 0);
	clock_fake(-1, 0);
	assert_true(clock_wall_s() > 1700000000);
	assert_true(clock_mono_us() > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_monotonic_never_goes_back),
		cmocka_unit_test(test_monotonic_counts_microseconds),
		cmocka_unit_test(test_wall_is_seconds_since_1970),
		cmocka_unit_test(test_fake_clocks_stand_until_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
