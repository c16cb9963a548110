/* The limit of connections a node, held by all pools of all workers together; and making room for
 * another pool. No server changes hands here: see test_lend.c. */
#include <stdio.h>
#include <string.h>

#include "unit/pool/kit.h"

static void test_two_workers_share_the_limit(void **state)
{
	struct seat seats[2][4];
	struct kit k;
	int n_served = 0;

	(void)state;
	kit_open(&k, 2, 3);
	for (int i = 0; i < 4; i++) {
		for (unsigned w = 0; w < 2; w++) {
			seat_init(&seats[w][i], &k, "a");
			assert_false(seat_take(&seats[w][i], kit_pool(&k, w, 0)));
		}
	}
	assert_int_equal(k.n_dials, 3);
	assert_int_equal(kit_servers(&k, 0), 3);
	while (k.n_dials > 0)
		kit_connect(&k);
	kit_mail(&k);
	assert_int_equal(k.n_dials_ever, 3);
	for (int i = 0; i < 4; i++)
		n_served += (seats[0][i].server != NULL) + (seats[1][i].server != NULL);
	assert_int_equal(n_served, 3);
	for (int i = 0; i < 8; i++)
		pool_wait_end(&seats[i % 2][i / 2].waiter);
	for (int i = 0; i < 8; i++) {
		if (seats[i % 2][i / 2].server != NULL)
			seat_give(&seats[i % 2][i / 2]);
	}
	kit_close(&k);
}

/* The limit is a node's: what is on another does not count. */
static void test_limit_is_a_nodes(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0)); /* on a */
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 2)); /* on b */
	assert_int_equal(kit_servers(&k, 0), 1);
	assert_int_equal(kit_servers(&k, 1), 1);
	seat_give(&one);
	seat_give(&two);
	kit_close(&k);
}

/* Pools of any name on node a, which has no other node to go to. */
static struct pool *pool_named(struct kit *k, unsigned worker, const char *dbname)
{
	return pool_find(k->workers[worker].pools, &k->databases[3], dbname, &k->roles[0]);
}

/* A dial that fails, or a connection that is closed, gives its place to who could not have one. */
static void test_place_is_passed_on(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 1);
	seat_init(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(seat_take(&one, pool_named(&k, 0, "x")));
	assert_false(seat_take(&two, pool_named(&k, 1, "y")));
	assert_int_equal(k.n_dials, 1);
	kit_fail(&k, "08001", "connection refused");
	assert_int_equal(k.n_dials, 1);
	assert_string_equal(k.dials[0]->dbname, "y");
	kit_connect(&k);
	assert_non_null(two.server);
	pool_wait_end(&one.waiter);
	/* The same when it is closed; the third waits in the worker that closes it. */
	seat_init(&three, &k, "c");
	assert_false(seat_take(&three, pool_named(&k, 1, "z")));
	assert_int_equal(k.n_dials, 0);
	pool_drop(two.server, CLOSE_SERVER_LOST);
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	assert_non_null(three.server);
	seat_give(&three);
	kit_close(&k);
}

/* ---- making room --------------------------------------------------------------------------- */

/* A pool that may not open another connection closes the least recently used idle one of another
 * pool of its worker. */
static void test_evicts_the_oldest(void **state)
{
	struct seat one, two, three;
	struct server *younger;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 2);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 0));
	younger = two.server;
	seat_give(&one);
	kit_pass(&k, 1000);
	seat_give(&two);
	assert_log(&k, "granted a; granted b");
	seat_connected(&three, &k, "c", kit_pool(&k, 0, 1));
	assert_log(&k, "closed; granted c");
	assert_int_equal(kit_servers(&k, 0), 2);
	/* The younger one is still there. */
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_ptr_equal(one.server, younger);
	seat_give(&one);
	seat_give(&three);
	kit_close(&k);
}

/* Of several pools, that whose idle server is older. */
static void test_evicts_from_the_pool_with_the_oldest(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	for (int older = 0; older < 2; older++) {
		kit_open(&k, 1, 2);
		seat_connected(&one, &k, "a", pool_named(&k, 0, "x"));
		seat_connected(&two, &k, "b", pool_named(&k, 0, "y"));
		seat_give(older == 0 ? &one : &two);
		kit_pass(&k, 1000);
		seat_give(older == 0 ? &two : &one);
		seat_connected(&three, &k, "c", pool_named(&k, 0, "z"));
		assert_int_equal(seat_take(&one, pool_named(&k, 0, "x")), older == 1);
		pool_wait_end(&one.waiter);
		if (one.server != NULL)
			seat_give(&one);
		seat_give(&three);
		kit_close(&k);
	}
}

/* What is on another node makes no room on this one, and what is in use is not closed. */
static void test_evicts_only_where_it_helps(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0)); /* on a, in use */
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 2)); /* on b, idle */
	seat_give(&two);
	seat_init(&three, &k, "c");
	assert_false(seat_take(&three, kit_pool(&k, 0, 1)));
	assert_log(&k, "granted a; granted b");
	assert_int_equal(k.n_dials, 0);
	/* Given back, it makes room. */
	seat_give(&one);
	kit_mail(&k);
	assert_log(&k, "closed");
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	assert_non_null(three.server);
	seat_give(&three);
	kit_close(&k);
}

/* Its own waiters come before another pool's need. */
static void test_own_waiter_first(void **state)
{
	struct seat one, own, other;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 0, 1)));
	seat_init(&own, &k, "b");
	assert_false(seat_take(&own, kit_pool(&k, 0, 0)));
	seat_give(&one);
	assert_non_null(own.server);
	seat_give(&own);
	kit_mail(&k);
	kit_connect(&k);
	assert_non_null(other.server);
	seat_give(&other);
	kit_close(&k);
}

/* The one who asked for room is gone: nothing more is closed. */
static void test_need_ends_with_the_waiter(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 1)));
	assert_int_equal(atomic_load(&k.shared->nodes[0]->n_starving), 1);
	pool_wait_end(&two.waiter);
	assert_int_equal(atomic_load(&k.shared->nodes[0]->n_starving), 0);
	kit_mail(&k);
	seat_give(&one);
	kit_mail(&k);
	assert_log(&k, "granted a");
	assert_int_equal(k.n_dials, 0);
	kit_close(&k);
}

/* Another worker's idle server of another pool is closed when asked, and the place taken. */
static void test_evicts_in_another_worker(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 3, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_give(&one);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 2, 1)));
	assert_int_equal(k.n_dials, 0);
	kit_mail(&k);
	assert_log(&k, "granted a; closed");
	assert_int_equal(k.n_dials, 1);
	assert_ptr_equal(k.dials[0]->reply_to, k.workers[2].mailbox);
	kit_connect(&k);
	assert_log(&k, "granted b");
	seat_give(&two);
	kit_close(&k);
}

/* Failed over: the pool counts as starving on the node where it was, until it is served. */
static void test_starving_follows_the_node(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 1)); /* on a */
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 0, 0)));
	assert_int_equal(atomic_load(&k.shared->nodes[0]->n_starving), 1);
	atomic_store(&kit_pool(&k, 0, 0)->shared->node, 1);
	seat_give(&one);
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	assert_ptr_equal(k.dials[0]->node, &k.nodes[1]);
	kit_connect(&k);
	assert_non_null(two.server);
	assert_int_equal(atomic_load(&k.shared->nodes[0]->n_starving), 0);
	assert_int_equal(atomic_load(&k.shared->nodes[1]->n_starving), 0);
	seat_give(&two);
	kit_close(&k);
}

/* The limits are counted exactly whatever happens, in any order. */
static void test_any_order(void **state)
{
	enum { SEATS = 12, STEPS = 3000 };
	struct seat seats[SEATS];
	uint32_t random = 12345;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	for (int i = 0; i < SEATS; i++) {
		char name[] = {(char)('a' + i % 4), '\0'};

		seat_init(&seats[i], &k, name);
	}
	for (int step = 0; step < STEPS; step++) {
		struct seat *seat = &seats[(random >> 16) % SEATS];
		int n_used = 0;

		random = random * 1103515245 + 12345;
		switch ((random >> 16) % 8) {
		case 0:
			if (k.n_dials > 0)
				kit_fail(&k, "08001", "no");
			break;
		case 1:
		case 2:
			if (k.n_dials > 0)
				kit_connect(&k);
			break;
		case 3:
			pool_wait_end(&seat->waiter);
			break;
		case 4:
			kit_pass(&k, 70 * US_PER_MS);
			break;
		case 5:
			if (seat->server != NULL) {
				pool_drop(seat->server, CLOSE_SERVER_LOST);
				seat->server = NULL;
			}
			break;
		default:
			if (seat->server != NULL)
				seat_give(seat);
			else if (!pool_is_waiting(&seat->waiter))
				seat_take(seat, kit_pool(&k, 0, (int)(random >> 20) % 2));
			break;
		}
		for (int i = 0; i < SEATS; i++)
			n_used += seats[i].server != NULL;
		assert_true(n_used <= 3 * 2);
		assert_in_range(kit_servers(&k, 0), 0, 3);
		assert_in_range(kit_servers(&k, 1), 0, 3);
	}
	for (int i = 0; i < SEATS; i++) {
		pool_wait_end(&seats[i].waiter);
		if (seats[i].server != NULL)
			seat_give(&seats[i]);
	}
	assert_int_equal(atomic_load(&k.shared->nodes[0]->n_starving), 0);
	assert_int_equal(atomic_load(&k.shared->nodes[1]->n_starving), 0);
	assert_true(k.n_dials_ever > 100);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_two_workers_share_the_limit),
		cmocka_unit_test(test_limit_is_a_nodes),
		cmocka_unit_test(test_place_is_passed_on),
		cmocka_unit_test(test_evicts_the_oldest),
		cmocka_unit_test(test_evicts_from_the_pool_with_the_oldest),
		cmocka_unit_test(test_evicts_only_where_it_helps),
		cmocka_unit_test(test_own_waiter_first),
		cmocka_unit_test(test_need_ends_with_the_waiter),
		cmocka_unit_test(test_evicts_in_another_worker),
		cmocka_unit_test(test_starving_follows_the_node),
		cmocka_unit_test(test_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
