/* Timers: on a faked clock against a plain list of what is due, and on the loop's own. */
#include "net_test.h"

#include <stdlib.h>

#include "base/clock.h"

#define TICK_US (TIMER_TICK_MS * US_PER_MS)
#define START_US INT64_C(1234567)

struct alarm {
	struct timer timer;
	struct timers *timers;
	int64_t armed_for_us, fired_us;
	int fired;
	int64_t again_us;     /* armed again with this delay when it fires; -1: not */
	struct alarm *victim; /* cancelled when it fires */
	bool mortal;
};

static int64_t now_us;

static void on_alarm(struct timer *timer)
{
	struct alarm *a = CONTAINER_OF(timer, struct alarm, timer);

	assert_false(timer_is_armed(timer));
	a->fired++;
	a->fired_us = clock_mono_us();
	if (a->victim != NULL)
		timer_cancel(a->timers, &a->victim->timer);
	if (a->again_us >= 0)
		timer_arm(a->timers, &a->timer, a->again_us);
	if (a->mortal) {
		memset(a, 0xdb, sizeof(*a));
		mem_free(a);
	}
}

static void alarm_init(struct alarm *a, struct timers *t)
{
	memset(a, 0, sizeof(*a));
	timer_init(&a->timer, on_alarm);
	a->timers = t;
	a->again_us = -1;
}

static void set_clock(int64_t us)
{
	now_us = us;
	clock_fake(us, 0);
}

static int set_up(void **state)
{
	set_clock(START_US);
	*state = timers_new(NULL);
	return 0;
}

static int tear_down(void **state)
{
	struct timers *t = *state;

	timers_free(&t);
	assert_null(t);
	clock_fake(-1, 0);
	return 0;
}

/* Lets time pass in steps of at most step_us. */
static void pass(struct timers *t, int64_t us, int64_t step_us)
{
	int64_t end = now_us + us;

	while (now_us < end) {
		set_clock(now_us + step_us < end ? now_us + step_us : end);
		timers_run(t);
	}
}

static void test_never_early_at_most_a_tick_late(void **state)
{
	static const int64_t delays[] = {0,
	                                 1,
	                                 TICK_US - 1,
	                                 TICK_US,
	                                 TICK_US + 1,
	                                 1000000,
	                                 512 * TICK_US,
	                                 513 * TICK_US,
	                                 3600 * US_PER_S};

	for (size_t i = 0; i < COUNT_OF(delays); i++) {
		struct alarm a;

		alarm_init(&a, *state);
		timer_arm(*state, &a.timer, delays[i]);
		assert_true(timer_is_armed(&a.timer));
		a.armed_for_us = now_us + delays[i];
		pass(*state, delays[i] + TICK_US, 1000);
		assert_int_equal(a.fired, 1);
		assert_true(a.fired_us >= a.armed_for_us);
		assert_true(a.fired_us <= a.armed_for_us + TICK_US);
		assert_false(timer_is_armed(&a.timer));
	}
}

static void test_exact_tick_boundary(void **state)
{
	struct alarm a;

	set_clock(100 * TICK_US);
	alarm_init(&a, *state);
	timers_run(*state);
	timer_arm(*state, &a.timer, 0);
	timers_run(*state);
	pass(*state, TICK_US, TICK_US);
	assert_int_equal(a.fired, 1);
	timer_arm(*state, &a.timer, TICK_US);
	pass(*state, TICK_US, TICK_US);
	assert_int_equal(a.fired, 2);
}

static void test_cancel_and_rearm(void **state)
{
	struct alarm a, b;

	alarm_init(&a, *state);
	alarm_init(&b, *state);
	timer_cancel(*state, &a.timer);
	timer_arm(*state, &a.timer, 10 * TICK_US);
	timer_arm(*state, &b.timer, 10 * TICK_US);
	timer_cancel(*state, &a.timer);
	assert_false(timer_is_armed(&a.timer));
	/* Armed again it moves, and fires once. */
	timer_arm(*state, &b.timer, 20 * TICK_US);
	pass(*state, 15 * TICK_US, TICK_US);
	assert_int_equal(b.fired, 0);
	pass(*state, 100 * TICK_US, TICK_US);
	assert_int_equal(a.fired, 0);
	assert_int_equal(b.fired, 1);
	timer_arm(*state, &a.timer, -5);
	pass(*state, TICK_US, TICK_US);
	assert_int_equal(a.fired, 1);
	timer_arm(*state, &a.timer, INT64_MAX);
	pass(*state, 1000 * TICK_US, TICK_US);
	assert_int_equal(a.fired, 1);
	timer_cancel(*state, &a.timer);
}

static void test_fire_may_do_anything(void **state)
{
	struct alarm *mortal = mem_alloc(sizeof(*mortal));
	struct alarm killer, victim, repeating;

	alarm_init(&killer, *state);
	alarm_init(&victim, *state);
	alarm_init(&repeating, *state);
	alarm_init(mortal, *state);
	mortal->mortal = true;
	killer.victim = &victim;
	repeating.again_us = 0;
	/* All in one tick, and so fired in this order. */
	timer_arm(*state, &killer.timer, TICK_US);
	timer_arm(*state, &mortal->timer, TICK_US);
	timer_arm(*state, &victim.timer, TICK_US);
	timer_arm(*state, &repeating.timer, TICK_US);
	set_clock(now_us + 2 * TICK_US);
	timers_run(*state);
	assert_int_equal(killer.fired, 1);
	assert_int_equal(victim.fired, 0);
	/* Armed for now while firing: the next tick, not an endless loop. */
	assert_int_equal(repeating.fired, 1);
	pass(*state, 5 * TICK_US, TICK_US);
	assert_int_equal(repeating.fired, 6);
	timer_cancel(*state, &repeating.timer);
}

static void test_after_a_long_sleep(void **state)
{
	struct alarm near, far;

	alarm_init(&near, *state);
	alarm_init(&far, *state);
	timer_arm(*state, &near.timer, 3 * TICK_US);
	timer_arm(*state, &far.timer, 10000 * TICK_US);
	/* A stopped process: many rounds were missed. */
	set_clock(now_us + 5000 * TICK_US);
	timers_run(*state);
	assert_int_equal(near.fired, 1);
	assert_int_equal(far.fired, 0);
	set_clock(now_us + 5001 * TICK_US);
	timers_run(*state);
	assert_int_equal(far.fired, 1);
	/* And armed after such a time with nothing pending. */
	set_clock(now_us + 100000 * TICK_US);
	timer_arm(*state, &near.timer, TICK_US);
	pass(*state, 2 * TICK_US, 1000);
	assert_int_equal(near.fired, 2);
}

/* Some thousand timers armed, moved and cancelled at random, against what each should do. */
#define MANY 500

static void check_alarm(struct alarm *a, int64_t before_us)
{
	if (a->armed_for_us < 0) {
		assert_int_equal(a->fired, 0);
		return;
	}
	if (a->fired == 0) {
		assert_true(now_us <= a->armed_for_us + TICK_US);
		return;
	}
	assert_int_equal(a->fired, 1);
	assert_true(a->fired_us > before_us && a->fired_us >= a->armed_for_us);
	a->fired = 0;
	a->armed_for_us = -1;
}

static void test_many_at_random(void **state)
{
	static struct alarm alarms[MANY];
	unsigned seed = 42;

	for (int i = 0; i < MANY; i++) {
		alarm_init(&alarms[i], *state);
		alarms[i].armed_for_us = -1;
	}
	for (int round = 0; round < 4000; round++) {
		int64_t before_us = now_us;

		for (int k = 0; k < 5; k++) {
			struct alarm *a = &alarms[rand_r(&seed) % MANY];
			int64_t delay_us = rand_r(&seed) % (rand_r(&seed) % 4 ? 400000 : 90000000);

			if (rand_r(&seed) % 3 == 0) {
				timer_cancel(*state, &a->timer);
				a->armed_for_us = -1;
			} else {
				timer_arm(*state, &a->timer, delay_us);
				a->armed_for_us = now_us + delay_us;
			}
		}
		set_clock(now_us + 1 + rand_r(&seed) % (rand_r(&seed) % 50 ? 20000 : 60000000));
		timers_run(*state);
		for (int i = 0; i < MANY; i++)
			check_alarm(&alarms[i], before_us);
	}
	for (int i = 0; i < MANY; i++)
		timer_cancel(*state, &alarms[i].timer);
}

static void test_on_the_loop(void **state)
{
	struct event_base *base = event_base_new();
	struct timers *t = timers_new(base);
	struct alarm a;
	int64_t start_us = clock_mono_us();

	(void)state;
	/* Nothing armed: the loop has nothing to wait for. */
	assert_int_equal(event_base_dispatch(base), 1);
	alarm_init(&a, t);
	timer_arm(t, &a.timer, 120 * US_PER_MS);
	/* Returns by itself: after the last timer the wheel stops. */
	assert_int_equal(event_base_dispatch(base), 1);
	assert_int_equal(a.fired, 1);
	assert_true(a.fired_us >= start_us + 120 * US_PER_MS);
	assert_true(a.fired_us < start_us + 2 * US_PER_S);
	/* And starts again. */
	timer_arm(t, &a.timer, 1);
	assert_int_equal(event_base_dispatch(base), 1);
	assert_int_equal(a.fired, 2);
	timer_arm(t, &a.timer, 1);
	timers_free(&t);
	assert_false(timer_is_armed(&a.timer));
	event_base_free(base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define FAKED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		FAKED(test_never_early_at_most_a_tick_late),
		FAKED(test_exact_tick_boundary),
		FAKED(test_cancel_and_rearm),
		FAKED(test_fire_may_do_anything),
		FAKED(test_after_a_long_sleep),
		FAKED(test_many_at_random),
#undef FAKED
		cmocka_unit_test(test_on_the_loop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
