/* The routing decision: each rule of src/fresh/route.c and its edges, with a clock of the test's
 * own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "base/clock.h"
#include "fresh_route.h"

#define NOW (1000 * US_PER_S)

enum { PRIMARY, R1, R2, OLAP, N_PATHS };

static const char ini[] = "[jwt]\njwks_url = http://127.0.0.1/keys\n"
			  "[node p]\nhost = 127.0.0.1\n[node r1]\nhost = 127.0.0.1\n"
			  "[node r2]\nhost = 127.0.0.1\nweight = 3\n"
			  "[node olap]\nhost = 127.0.0.1\nrole = analytics\n"
			  "[node off]\nhost = 127.0.0.1\nweight = 0\n"
			  "[database eav]\nnodes = p, r1, r2, olap\n"
			  "[database weightless]\nnodes = p, off\n"
			  "[database writer]\ndbname = eav\nnodes = p\n"
			  "[database alone]\nnodes = p\n[role app]\n";

static struct fresh *fresh;
static unsigned loads[N_PATHS];

static void set(size_t path, enum fresh_role role, enum fresh_fault fault, int64_t lag_us)
{
	fresh_set(fresh, path,
	          &(struct fresh_view){.role = role,
	                               .fault = fault,
	                               .seen_us = NOW,
	                               .has_us = lag_us == FRESH_INFINITE ? FRESH_NEVER
	                                                                  : NOW - lag_us});
}

static int setup(void **state)
{
	struct conf_error err;
	struct conf *conf = conf_parse(ini, strlen(ini), "test.ini", &err);

	(void)state;
	if (conf == NULL)
		fail_msg("%s", err.text);
	fresh = fresh_new(conf);
	conf_put(&conf);
	memset(loads, 0, sizeof(loads));
	set(PRIMARY, FRESH_PRIMARY, FRESH_NONE, 0);
	set(R1, FRESH_REPLICA, FRESH_NONE, US_PER_S);
	set(R2, FRESH_REPLICA, FRESH_NONE, 2 * US_PER_S);
	set(OLAP, FRESH_ANALYTICS, FRESH_NONE, 60 * US_PER_S);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fresh_free(&fresh);
	return 0;
}

static unsigned load(void *arg, size_t path)
{
	(void)arg;
	return loads[path];
}

static struct fresh_ask ask_of(enum conf_consistency consistency)
{
	return (struct fresh_ask){.wish = {.consistency = consistency, .max_lag_us = 5 * US_PER_S},
	                          .since_us = FRESH_NEVER,
	                          .now_us = NOW,
	                          .analytics_target_us = 300 * US_PER_S,
	                          .analytics_max_us = 900 * US_PER_S,
	                          .load = load};
}

static struct fresh_choice choose(const struct fresh_ask *ask)
{
	struct fresh_choice choice;

	fresh_route(fresh, 0, N_PATHS, ask, &choice);
	return choice;
}

static void test_strong(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_STRONG);
	struct fresh_choice choice = choose(&ask);

	(void)state;
	assert_int_equal(choice.path, FRESH_NO_PATH);
	assert_false(choice.is_fallback || choice.is_refused);
	assert_true(choice.lag_us == 0);
}

static void test_bounded(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_BOUNDED);
	struct fresh_choice choice;

	(void)state;
	ask.wish.max_lag_us = US_PER_S; /* the lag itself is within it */
	choice = choose(&ask);
	assert_int_equal(choice.path, R1);
	assert_true(choice.lag_us == US_PER_S);
	ask.wish.max_lag_us--;
	choice = choose(&ask);
	assert_int_equal(choice.path, FRESH_NO_PATH);
	assert_true(choice.is_fallback);
	assert_int_equal(choice.why, FRESH_TOO_LATE);
	assert_true(choice.lag_us == 0);
	/* Time goes by, and nothing is heard. */
	ask.wish.max_lag_us = 5 * US_PER_S;
	ask.now_us = NOW + 3 * US_PER_S + 1;
	assert_int_equal(choose(&ask).path, R1);
	ask.now_us = NOW + 4 * US_PER_S + 1;
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
}

static void test_unknown_is_infinite(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_BOUNDED);

	(void)state;
	ask.wish.max_lag_us = FRESH_INFINITE - 1;
	set(R1, FRESH_REPLICA, FRESH_NO_BEAT, FRESH_INFINITE);
	set(R2, FRESH_REPLICA, FRESH_NO_BEAT, FRESH_INFINITE);
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	assert_int_equal(choose(&ask).why, FRESH_NO_LAG);
	/* eventual does not ask how late, but for a node that is there and follows the primary. */
	ask = ask_of(CONF_CONSISTENCY_EVENTUAL);
	loads[R2] = 9;
	assert_int_equal(choose(&ask).path, R1);
	assert_true(choose(&ask).lag_us == FRESH_INFINITE);
	set(R1, FRESH_REPLICA, FRESH_DOWN, FRESH_INFINITE);
	set(R2, FRESH_REPLICA, FRESH_FOREIGN, FRESH_INFINITE);
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	assert_int_equal(choose(&ask).why, FRESH_NOT_THERE);
	assert_true(choose(&ask).is_fallback);
}

/* One that was promoted, or a second primary, is no replica, however fresh. */
static void test_primaries_are_no_replicas(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_EVENTUAL);

	(void)state;
	set(R1, FRESH_PRIMARY, FRESH_NONE, 0);
	set(R2, FRESH_UNKNOWN, FRESH_NONE, 0);
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	ask = ask_of(CONF_CONSISTENCY_BOUNDED);
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
}

static void test_read_your_writes(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_BOUNDED);

	(void)state;
	ask.since_us = NOW - US_PER_S;
	assert_int_equal(choose(&ask).path, R1);
	ask.since_us++;
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	assert_int_equal(choose(&ask).why, FRESH_LACKS_WRITE);
	assert_true(choose(&ask).is_fallback);
	ask.wish.consistency = CONF_CONSISTENCY_EVENTUAL;
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	ask.wish.consistency = CONF_CONSISTENCY_ANALYTICS;
	assert_int_equal(choose(&ask).path, OLAP);
}

static void test_load_and_weight(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_BOUNDED);

	(void)state;
	/* r2 has three times the weight. */
	assert_int_equal(choose(&ask).path, R2);
	loads[R2] = 1;
	assert_int_equal(choose(&ask).path, R2);
	loads[R2] = 3;
	assert_int_equal(choose(&ask).path, R1);
	loads[R1] = 1;
	assert_int_equal(choose(&ask).path, R2);
	loads[R2] = FRESH_NO_LOAD;
	assert_int_equal(choose(&ask).path, R1);
	loads[R1] = FRESH_NO_LOAD;
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	assert_int_equal(choose(&ask).why, FRESH_NO_SERVER);
	assert_true(choose(&ask).is_fallback);
}

/* Equals take turns. */
static void test_turns(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_BOUNDED);

	(void)state;
	loads[R2] = 2;
	ask.turn = R1;
	assert_int_equal(choose(&ask).path, R1);
	ask.turn = R2;
	assert_int_equal(choose(&ask).path, R2);
}

static void test_weight_zero(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_EVENTUAL);
	struct fresh_choice choice;
	size_t n;
	int first = fresh_find_name(fresh, "weightless", &n);

	(void)state;
	assert_int_equal(first, N_PATHS);
	assert_int_equal(n, 2);
	assert_int_equal(fresh_find_name(fresh, "nobody's", &n), FRESH_NO_PATH);
	set((size_t)first, FRESH_PRIMARY, FRESH_NONE, 0);
	set((size_t)first + 1, FRESH_REPLICA, FRESH_NONE, 0);
	fresh_route(fresh, (size_t)first, n, &ask, &choice);
	assert_int_equal(choice.path, FRESH_NO_PATH);
	/* It was never meant: no fallback. */
	assert_false(choice.is_fallback);
}

static void test_analytics(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_ANALYTICS);

	(void)state;
	assert_int_equal(choose(&ask).path, OLAP);
	assert_false(choose(&ask).is_late);
	set(OLAP, FRESH_ANALYTICS, FRESH_NONE, 300 * US_PER_S + 1);
	assert_int_equal(choose(&ask).path, OLAP);
	assert_true(choose(&ask).is_late);
	set(OLAP, FRESH_ANALYTICS, FRESH_NONE, 900 * US_PER_S + 1);
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
	assert_true(choose(&ask).is_refused);
	assert_false(choose(&ask).is_fallback);
	assert_int_equal(choose(&ask).why, FRESH_TOO_LATE);
	ask.serves_late = true;
	assert_int_equal(choose(&ask).path, OLAP);
	assert_true(choose(&ask).is_late);
	set(OLAP, FRESH_ANALYTICS, FRESH_DOWN, FRESH_INFINITE);
	assert_true(choose(&ask).is_refused);
	assert_int_equal(choose(&ask).why, FRESH_NOT_THERE);
	/* Others never read there. */
	set(OLAP, FRESH_ANALYTICS, FRESH_NONE, 0);
	set(R1, FRESH_REPLICA, FRESH_DOWN, FRESH_INFINITE);
	set(R2, FRESH_REPLICA, FRESH_DOWN, FRESH_INFINITE);
	ask = ask_of(CONF_CONSISTENCY_EVENTUAL);
	assert_int_equal(choose(&ask).path, FRESH_NO_PATH);
}

static void test_left_out(void **state)
{
	struct fresh_ask ask = ask_of(CONF_CONSISTENCY_BOUNDED);

	(void)state;
	loads[R2] = 9;
	assert_int_equal(choose(&ask).path, R1);
	fresh_leave_out(fresh, R1, NOW);
	assert_true(fresh_is_left_out(fresh, R1));
	assert_int_equal(choose(&ask).path, R2);
	assert_int_equal(fresh_judge(fresh, R1, &ask), FRESH_NO_SERVER);
	/* An answer that was asked for before tells nothing. */
	set(R1, FRESH_REPLICA, FRESH_NONE, 0);
	assert_int_equal(choose(&ask).path, R2);
	fresh_set(fresh, R1,
	          &(struct fresh_view){.role = FRESH_REPLICA, .seen_us = NOW + 1, .has_us = NOW});
	assert_int_equal(choose(&ask).path, R1);
}

static void test_writes(void **state)
{
	uint64_t a = fresh_writer(0, "123"), b = fresh_writer(0, "456");

	(void)state;
	assert_true(a == fresh_writer(0, "123"));
	assert_true(a != b && a != fresh_writer(4, "123"));
	assert_true(fresh_last_write(fresh, a) == FRESH_NEVER);
	fresh_note_write(fresh, a, 7);
	fresh_note_write(fresh, a, 5);
	assert_true(fresh_last_write(fresh, a) == 7);
}

/* By the database, through whatever section; none where nobody reads elsewhere. */
static void test_written_databases(void **state)
{
	uint64_t eav = fresh_written_database(fresh, PRIMARY, "eav");

	(void)state;
	assert_true(eav != 0);
	assert_true(eav == fresh_written_database(fresh, N_PATHS + 2, "writer"));
	assert_true(fresh_written_database(fresh, N_PATHS, "weightless") != 0);
	assert_true(fresh_written_database(fresh, N_PATHS, "weightless") != eav);
	assert_true(fresh_written_database(fresh, N_PATHS + 3, "alone") == 0);
}

static void test_words(void **state)
{
	(void)state;
	assert_string_equal(fresh_verdict_words(FRESH_FITS), "fits");
	assert_string_equal(fresh_verdict_words(FRESH_IS_PRIMARY), "the primary");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_strong),
		TEST(test_bounded),
		TEST(test_unknown_is_infinite),
		TEST(test_primaries_are_no_replicas),
		TEST(test_read_your_writes),
		TEST(test_load_and_weight),
		TEST(test_turns),
		TEST(test_weight_zero),
		TEST(test_analytics),
		TEST(test_left_out),
		TEST(test_writes),
		TEST(test_written_databases),
		TEST(test_words),
	};

	return cmocka_run_group_tests_name("fresh/route", tests, NULL, NULL);
}
