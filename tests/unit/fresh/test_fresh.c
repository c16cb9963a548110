/* Paths: lag by a clock of the test's own, who is the primary, and views that are never torn (run
 * it under the thread sanitizer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "base/clock.h"
#include "fresh.h"

static const char ini[] = "[jwt]\njwks_url = http://127.0.0.1/keys\n"
			  "[node a]\nhost = 127.0.0.1\n[node b]\nhost = 127.0.0.1\n"
			  "[node c]\nhost = 127.0.0.1\n"
			  "[database one]\nnodes = a, b\n[database two]\nnodes = b, a\n"
			  "[database three]\nnodes = a, b, c\n[role app]\n";

static struct fresh *fresh;

static int setup(void **state)
{
	struct conf_error err;
	struct conf *conf = conf_parse(ini, strlen(ini), "test.ini", &err);

	(void)state;
	if (conf == NULL)
		fail_msg("%s", err.text);
	fresh = fresh_new(conf);
	conf_put(&conf);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fresh_free(&fresh);
	assert_null(fresh);
	return 0;
}

static void test_paths(void **state)
{
	(void)state;
	assert_int_equal(fresh_count(fresh), 7);
	assert_string_equal(fresh_database(fresh, 2)->name, "two");
	assert_string_equal(fresh_node(fresh, 2)->name, "b");
	assert_int_equal(fresh_find(fresh, fresh_database(fresh, 3)), 2);
	assert_int_equal(fresh_find(fresh, &(struct conf_database){0}), FRESH_NO_PATH);
}

static void test_lag(void **state)
{
	struct fresh_view view = {.role = FRESH_REPLICA, .has_us = 5 * US_PER_S};

	(void)state;
	assert_true(fresh_lag_us(fresh, 1, 0) == FRESH_INFINITE);
	assert_false(fresh_has(fresh, 1, FRESH_NEVER));
	fresh_set(fresh, 1, &view);
	assert_true(fresh_lag_us(fresh, 1, 6 * US_PER_S) == US_PER_S);
	/* Nobody says anything any more: it grows by itself. */
	assert_true(fresh_lag_us(fresh, 1, 3605 * US_PER_S) == 3600 * US_PER_S);
	assert_true(fresh_lag_us(fresh, 1, 4 * US_PER_S) == 0);
	assert_true(fresh_has(fresh, 1, 5 * US_PER_S));
	assert_false(fresh_has(fresh, 1, 5 * US_PER_S + 1));
	view.has_us = FRESH_NEVER;
	fresh_set(fresh, 1, &view);
	assert_true(fresh_lag_us(fresh, 1, 6 * US_PER_S) == FRESH_INFINITE);
}

static void set_primary(size_t path, uint32_t timeline, uint64_t position, int64_t seen_us)
{
	fresh_set(fresh, path,
	          &(struct fresh_view){.role = FRESH_PRIMARY,
	                               .timeline = timeline,
	                               .position = position,
	                               .seen_us = seen_us,
	                               .has_us = FRESH_NEVER});
}

static void test_primary(void **state)
{
	bool is_contested = true;

	(void)state;
	assert_int_equal(fresh_primary(fresh, 2, &is_contested), FRESH_NO_PATH);
	assert_false(is_contested);
	set_primary(3, 1, 100, 0);
	assert_int_equal(fresh_primary(fresh, 2, &is_contested), 3);
	assert_false(is_contested);
	assert_int_equal(fresh_primary(fresh, 0, NULL), FRESH_NO_PATH);
}

/* The timeline counts first, then the position; the old one may have written more. */
static void test_two_primaries(void **state)
{
	bool is_contested;

	(void)state;
	set_primary(0, 1, 900, US_PER_S);
	set_primary(1, 2, 100, US_PER_S);
	assert_int_equal(fresh_primary(fresh, 0, &is_contested), 1);
	assert_true(is_contested);
	set_primary(0, 2, 101, US_PER_S);
	assert_int_equal(fresh_primary(fresh, 0, &is_contested), 0);
	assert_true(is_contested);
	/* The one has been silent since long before the other came. */
	set_primary(1, 3, 1, US_PER_S + FRESH_CONTEST_US);
	assert_int_equal(fresh_primary(fresh, 0, &is_contested), 1);
	assert_false(is_contested);
}

/* Of one timeline: until one of them has been silent long enough, or is a standby, or a third one
 * is ahead of both. */
static void test_undecided(void **state)
{
	const struct fresh_view standby = {.role = FRESH_REPLICA, .seen_us = US_PER_S};
	struct fresh_view view;

	(void)state;
	set_primary(0, 1, 900, US_PER_S);
	set_primary(1, 2, 100, US_PER_S);
	assert_false(fresh_is_undecided(fresh, 0));
	set_primary(0, 2, 101, US_PER_S);
	assert_true(fresh_is_undecided(fresh, 0));
	fresh_look(fresh, 0, &view);
	view.fault = FRESH_DOWN;
	fresh_set(fresh, 0, &view);
	assert_true(fresh_is_undecided(fresh, 0));
	set_primary(1, 2, 100, US_PER_S + FRESH_CONTEST_US);
	assert_false(fresh_is_undecided(fresh, 0));
	/* The one that is left, though it has less. */
	assert_int_equal(fresh_primary(fresh, 0, NULL), 1);
	set_primary(0, 2, 101, US_PER_S + FRESH_CONTEST_US);
	assert_true(fresh_is_undecided(fresh, 0));
	fresh_set(fresh, 1, &standby);
	assert_false(fresh_is_undecided(fresh, 0));
	assert_int_equal(fresh_role(fresh, 0), FRESH_PRIMARY);
	assert_int_equal(fresh_role(fresh, 1), FRESH_REPLICA);
	/* The first two are the same; the third one decides. */
	set_primary(4, 1, 1, US_PER_S);
	set_primary(5, 1, 1, US_PER_S);
	assert_true(fresh_is_undecided(fresh, 4));
	set_primary(6, 2, 1, US_PER_S);
	assert_false(fresh_is_undecided(fresh, 4));
	assert_int_equal(fresh_primary(fresh, 4, NULL), 6);
}

static void test_words(void **state)
{
	(void)state;
	assert_string_equal(fresh_role_name(FRESH_ANALYTICS), "analytics");
	assert_string_equal(fresh_fault_word(FRESH_NONE), "ok");
	assert_non_null(strstr(fresh_fault_hint(FRESH_NO_GRANT), "grant SELECT"));
}

/* ---- one writer, several readers ------------------------------------------------------------ */

#define ROUNDS 20000

static _Atomic bool is_over;

/* All fields of a view are made of one number. */
static void *read_all(void *arg)
{
	struct fresh_view view;
	size_t *n_torn = arg;

	while (!is_over) {
		fresh_look(fresh, 0, &view);
		*n_torn += view.seen_us != view.has_us || view.beat_id != view.has_us ||
		           view.position != (uint64_t)view.has_us ||
		           view.timeline != (uint32_t)view.has_us;
		(void)fresh_lag_us(fresh, 0, 1);
		(void)fresh_primary(fresh, 0, NULL);
	}
	return NULL;
}

static void test_torn(void **state)
{
	pthread_t threads[2];
	size_t n_torn[2] = {0};

	(void)state;
	fresh_set(fresh, 0, &(struct fresh_view){.has_us = 0});
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, read_all, &n_torn[i]), 0);
	for (int64_t i = 1; i <= ROUNDS; i++)
		fresh_set(fresh, 0,
		          &(struct fresh_view){.role = FRESH_PRIMARY,
		                               .has_us = i,
		                               .seen_us = i,
		                               .beat_id = i,
		                               .position = (uint64_t)i,
		                               .timeline = (uint32_t)i});
	is_over = true;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(pthread_join(threads[i], NULL), 0);
		assert_int_equal(n_torn[i], 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lag, setup, teardown),
		cmocka_unit_test_setup_teardown(test_primary, setup, teardown),
		cmocka_unit_test_setup_teardown(test_two_primaries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_undecided, setup, teardown),
		cmocka_unit_test_setup_teardown(test_words, setup, teardown),
		cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
