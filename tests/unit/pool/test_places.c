/* Places on a node between pools: who gets the next one, how long a pool keeps its own, and that
 * no wake-up is lost on the way. */
#include <stdio.h>
#include <string.h>

#include "unit/pool/kit.h"

#define KEEP_US (100 * US_PER_MS)

/* The seat's turn ends at once, and it asks again: a busy client. */
static void again(struct kit *k, struct seat *seat, struct pool *pool)
{
	if (seat->server != NULL)
		seat_give(seat);
	kit_mail(k);
	while (k->n_dials > 0)
		kit_connect(k);
	if (seat->server == NULL && !pool_is_waiting(&seat->waiter))
		(void)seat_take(seat, pool);
}

static void leave(struct kit *k, struct seat *seats, int n)
{
	for (int i = 0; i < n; i++)
		pool_wait_end(&seats[i].waiter);
	kit_mail(k);
	while (k->n_dials > 0)
		kit_connect(k);
	for (int i = 0; i < n; i++) {
		pool_wait_end(&seats[i].waiter);
		if (seats[i].server != NULL)
			seat_give(&seats[i]);
	}
	kit_mail(k);
	kit_pass(k, KEEP_US);
	assert_int_equal(atomic_load(&k->shared->nodes[0]->n_starving), 0);
}

/* A pool that has no server gets the next one that a pool with two gives back, though that one's
 * own clients wait, too. */
static void test_the_poorer_pool_is_next(void **state)
{
	struct seat busy[8], other;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 2);
	for (int i = 0; i < 8; i++) {
		seat_init(&busy[i], &k, "a");
		(void)seat_take(&busy[i], kit_pool(&k, 0, 0));
	}
	kit_connect(&k);
	kit_connect(&k);
	kit_pass(&k, KEEP_US);
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 0, 1)));
	assert_int_equal(k.n_dials, 0);
	seat_give(&busy[0]);
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	assert_string_equal(k.dials[0]->database->name, "two");
	kit_connect(&k);
	assert_non_null(other.server);
	/* One each: the rest stays as it is. */
	seat_give(&busy[1]);
	kit_mail(&k);
	assert_int_equal(k.n_dials, 0);
	assert_non_null(busy[2].server);
	leave(&k, busy, 8);
	seat_give(&other);
	kit_close(&k);
}

/* Its place stays the pool's for a while, also when nobody uses it for a moment. */
static void test_a_place_is_kept(void **state)
{
	struct seat busy[4], other;
	struct kit k;
	int n_dials;

	(void)state;
	kit_open(&k, 1, 2);
	for (int i = 0; i < 4; i++) {
		seat_init(&busy[i], &k, "a");
		(void)seat_take(&busy[i], kit_pool(&k, 0, 0));
	}
	kit_connect(&k);
	kit_connect(&k);
	kit_pass(&k, KEEP_US);
	seat_init(&other, &k, "o");
	(void)seat_take(&other, kit_pool(&k, 0, 1));
	seat_give(&busy[0]);
	kit_mail(&k);
	kit_connect(&k);
	n_dials = k.n_dials_ever;
	for (int i = 0; i < 1000; i++) {
		seat_give(&other);
		kit_pass(&k, US_PER_MS);
		assert_true(seat_take(&other, kit_pool(&k, 0, 1)));
	}
	assert_int_equal(k.n_dials_ever, n_dials);
	/* Unused for that long, it is given away. */
	seat_give(&other);
	kit_pass(&k, KEEP_US + US_PER_MS);
	kit_mail(&k);
	assert_int_equal(k.n_dials_ever, n_dials + 1);
	leave(&k, busy, 4);
	kit_close(&k);
}

/* More pools than places: each has its time, and connections are bounded. */
static void test_more_pools_than_places(void **state)
{
	struct seat seats[9];
	int n_turns[3] = {0};
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	for (int i = 0; i < 9; i++) {
		char name[] = {(char)('a' + i % 3), '\0'};

		seat_init(&seats[i], &k, name);
	}
	for (int step = 0; step < 3000; step++) {
		for (int i = 0; i < 9; i++) {
			static const int databases[] = {0, 1, 3};

			if (seats[i].server != NULL)
				n_turns[i % 3]++;
			again(&k, &seats[i], kit_pool(&k, 0, databases[i % 3]));
		}
		kit_pass(&k, US_PER_MS);
	}
	for (int i = 0; i < 3; i++)
		assert_in_range(n_turns[i], (n_turns[0] + n_turns[1] + n_turns[2]) / 4, 100000);
	/* 3 seconds. */
	assert_in_range(k.n_dials_ever, 10, 31);
	leave(&k, seats, 9);
	kit_close(&k);
}

/* A connection was opened for a client here, and lent to one who waited longer: who has it may
 * lose it, and then ours must be told of the place. */
static void test_lent_away_and_lost(void **state)
{
	struct seat first, mine, other;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&first, &k, "f", kit_pool(&k, 0, 0));
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 1, 0)));
	kit_pass(&k, 10 * US_PER_MS);
	pool_drop(first.server, CLOSE_SERVER_LOST);
	first.server = NULL;
	/* The letter of the free place is not read yet. */
	seat_init(&mine, &k, "m");
	assert_false(seat_take(&mine, kit_pool(&k, 0, 0)));
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	kit_mail(&k);
	assert_non_null(other.server);
	pool_drop(other.server, CLOSE_SERVER_LOST);
	other.server = NULL;
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	kit_mail(&k);
	assert_non_null(mine.server);
	seat_give(&mine);
	kit_close(&k);
}

/* A pool whose logins fail does not hold a free place back from the others. */
static void test_failing_heir(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 2);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 1));
	seat_connected(&three, &k, "c", kit_pool(&k, 0, 1));
	kit_pass(&k, KEEP_US);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 0, 3)));
	seat_give(&one);
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	assert_false(seat_take(&one, kit_pool(&k, 0, 1)));
	kit_fail(&k, "08006", "no");
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	assert_string_equal(k.dials[0]->database->name, "two");
	kit_connect(&k);
	assert_non_null(one.server);
	pool_wait_end(&two.waiter);
	seat_give(&one);
	seat_give(&three);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_poorer_pool_is_next),
		cmocka_unit_test(test_a_place_is_kept),
		cmocka_unit_test(test_more_pools_than_places),
		cmocka_unit_test(test_lent_away_and_lost),
		cmocka_unit_test(test_failing_heir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
