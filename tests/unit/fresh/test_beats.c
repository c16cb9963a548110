/* The bound on a path's lag, against a world where everything is known: a primary with any clock,
 * heartbeats, replicas that are late by any time. The bound must never be below the truth. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "fresh.h"
#include "fresh_beats.h"

#define HOUR (3600 * US_PER_S)
#define WALL (INT64_C(1700000000) * US_PER_S)
#define BEAT_US (250 * US_PER_MS)

static struct beats beats;

static int setup(void **state)
{
	(void)state;
	beats_clear(&beats);
	return 0;
}

/* A reading asked for at asked_us; the primary's clock is `skew` ahead of ours, the answer took
 * half_us to be made. */
static void note(int64_t asked_us, int64_t half_us, int64_t skew, int64_t id, int64_t stamp_us)
{
	struct beats_reading r = {asked_us, asked_us + half_us + skew, id, stamp_us};

	beats_note(&beats, &r);
}

static void test_nothing(void **state)
{
	(void)state;
	assert_true(beats_find(&beats, 1, WALL) == FRESH_NEVER);
	note(1000, 10, WALL, 0, 0);
	assert_true(beats_find(&beats, 1, WALL) == FRESH_NEVER);
	assert_true(beats_find(&beats, 0, 0) == FRESH_NEVER);
}

/* The round trip's error goes to the safe side: the stamp was made at 5000, not before. */
static void test_bound_is_on_the_safe_side(void **state)
{
	int64_t has;

	(void)state;
	note(10000, 700, WALL, 1, WALL + 5000);
	has = beats_find(&beats, 1, WALL + 5000);
	assert_true(has == 5000 - 700);
}

/* The reading before did not show it: that is a bound without any clock. */
static void test_reading_before_is_a_bound(void **state)
{
	(void)state;
	note(10000, 0, WALL, 1, WALL + 9000);
	/* A clock that was set forward by an hour behind the stamp. */
	note(20000, 0, WALL + HOUR, 2, WALL + 15000);
	assert_true(beats_find(&beats, 2, WALL + 15000) == 10000);
	/* And one set back: the stamp is of the future. */
	note(30000, 0, WALL, 3, WALL + HOUR + 25000);
	assert_true(beats_find(&beats, 3, WALL + HOUR + 25000) == 20000);
}

static void test_first_of_the_future_is_unknown(void **state)
{
	(void)state;
	note(10000, 0, WALL, 1, WALL + HOUR);
	assert_true(beats_find(&beats, 1, WALL + HOUR) == FRESH_NEVER);
}

static void test_skew_cancels_out(void **state)
{
	static const int64_t skews[] = {0, HOUR, -HOUR, WALL, WALL + HOUR};

	(void)state;
	for (size_t i = 0; i < sizeof(skews) / sizeof(skews[0]); i++) {
		beats_clear(&beats);
		note(US_PER_S, 100, skews[i], 7, skews[i] + US_PER_S - 1000);
		assert_true(beats_find(&beats, 7, skews[i] + US_PER_S - 1000) ==
		            US_PER_S - 1000 - 100);
	}
}

/* A number that we have not seen lies between two that we have, or is ahead of all. */
static void test_between_and_ahead(void **state)
{
	(void)state;
	note(10000, 0, WALL, 10, WALL + 9000);
	note(20000, 0, WALL, 20, WALL + 19000);
	assert_true(beats_find(&beats, 15, WALL + 14000) == 9000);
	assert_true(beats_find(&beats, 30, WALL + 29000) == 19000);
	assert_true(beats_is_ahead(&beats, 21) && !beats_is_ahead(&beats, 20));
}

/* Older than all that we have seen: by the primary's clock, and never better than the first. */
static void test_older_than_the_first(void **state)
{
	(void)state;
	note(100 * US_PER_S, 500, WALL, 10, WALL + 99 * US_PER_S);
	assert_true(beats_find(&beats, 3, WALL + 40 * US_PER_S) == 40 * US_PER_S - 500);
	assert_true(beats_find(&beats, 3, WALL + 99 * US_PER_S + 1) == FRESH_NEVER);
}

/* A node that follows another primary: its numbers fit, its stamps do not. */
static void test_another_history(void **state)
{
	(void)state;
	note(10000, 0, WALL, 10, WALL + 9000);
	note(20000, 0, WALL, 20, WALL + 19000);
	assert_true(beats_find(&beats, 20, WALL + 19001) == FRESH_NEVER);
	assert_true(beats_find(&beats, 10, WALL + 8999) == FRESH_NEVER);
	assert_true(beats_find(&beats, 30, WALL + 18000) == FRESH_NEVER);
	assert_true(beats_find(&beats, 15, WALL + 20000) == FRESH_NEVER);
	assert_true(beats_find(&beats, 5, WALL + 20000) == FRESH_NEVER);
}

/* The sequence wraps, or the table is made anew: what was known is void, and what comes is known
 * at once by the reading before. */
static void test_numbers_begin_anew(void **state)
{
	(void)state;
	note(10000, 0, WALL, INT32_MAX, WALL + 9000);
	note(20000, 0, WALL, 1, WALL + 19000);
	assert_true(beats_find(&beats, INT32_MAX, WALL + 9000) == FRESH_NEVER);
	assert_true(beats_find(&beats, 1, WALL + 19000) == 19000);
}

static void test_silence(void **state)
{
	(void)state;
	note(10000, 0, WALL, 1, WALL + 9000);
	note(50 * US_PER_S, 0, WALL, 1, WALL + 9000);
	assert_true(beats_find(&beats, 1, WALL + 9000) == 9000);
}

/* However long it runs, it reaches back to the beginning, and stays in order. */
static void test_thinned_out(void **state)
{
	(void)state;
	for (int64_t i = 1; i <= 100000; i++)
		note(i * BEAT_US, 0, WALL, i, WALL + i * BEAT_US - 1);
	assert_true(beats.n <= BEATS_MAX);
	for (int64_t i = 1; i <= 100000; i += 777) {
		int64_t has = beats_find(&beats, i, WALL + i * BEAT_US - 1);

		assert_true(has != FRESH_NEVER && has <= i * BEAT_US - 1);
	}
	assert_true(beats_find(&beats, 100000, WALL + 100000 * BEAT_US - 1) ==
	            100000 * BEAT_US - 1);
}

/* Random worlds: heartbeats at random moments, readings in between them, a primary's clock that is
 * set now and then. With a clock that is never set the bound holds exactly; with one that is, it
 * may be off by the time between two readings, and by no more. */
static void random_world(bool sets_clock)
{
	int64_t now = US_PER_S, skew = WALL, stamp[64] = {0}, made[64] = {0}, gap, has;
	int n = 0;

	beats_clear(&beats);
	for (int64_t last = now; n < 60; last = now) {
		if (sets_clock && rand() % 4 == 0)
			skew += (rand() % 7201 - 3600) * US_PER_S;
		now += rand() % 300000;
		made[++n] = now;
		stamp[n] = now + skew;
		if (sets_clock && rand() % 4 == 0)
			skew += (rand() % 7201 - 3600) * US_PER_S;
		now += rand() % 300000;
		note(now, rand() % 5000, skew, n, stamp[n]);
		gap = now - last;
		has = beats_find(&beats, n, stamp[n]);
		if (has != FRESH_NEVER)
			assert_true(has <= made[n] + (sets_clock ? gap : 0));
		for (int i = 1; i < n && !sets_clock; i++) {
			has = beats_find(&beats, i, stamp[i]);
			assert_true(has != FRESH_NEVER && has <= made[i]);
		}
	}
}

static void test_random(void **state)
{
	(void)state;
	srand(4711);
	for (int i = 0; i < 300; i++) {
		random_world(false);
		random_world(true);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing, setup),
		cmocka_unit_test_setup(test_bound_is_on_the_safe_side, setup),
		cmocka_unit_test_setup(test_reading_before_is_a_bound, setup),
		cmocka_unit_test_setup(test_first_of_the_future_is_unknown, setup),
		cmocka_unit_test_setup(test_skew_cancels_out, setup),
		cmocka_unit_test_setup(test_between_and_ahead, setup),
		cmocka_unit_test_setup(test_older_than_the_first, setup),
		cmocka_unit_test_setup(test_another_history, setup),
		cmocka_unit_test_setup(test_numbers_begin_anew, setup),
		cmocka_unit_test_setup(test_silence, setup),
		cmocka_unit_test_setup(test_thinned_out, setup),
		cmocka_unit_test_setup(test_random, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
