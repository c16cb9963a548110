/* Opening connections: how many, on which node, and what happens when it fails. */
#include <stdio.h>
#include <string.h>

#include "backend/backend_int.h"
#include "unit/pool/kit.h"

/* As many dials as there are waiters, and no more than the limit. */
static void test_as_many_as_wait(void **state)
{
	struct seat seats[5];
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	pool = kit_pool(&k, 0, 0);
	for (int i = 0; i < 5; i++) {
		seat_init(&seats[i], &k, "a");
		assert_false(seat_take(&seats[i], pool));
		assert_int_equal(k.n_dials, i < 3 ? i + 1 : 3);
		assert_int_equal(kit_servers(&k, 0), k.n_dials);
	}
	for (int i = 0; i < 3; i++)
		kit_connect(&k);
	assert_int_equal(k.n_dials_ever, 3);
	for (int i = 0; i < 5; i++) {
		assert_non_null(seats[i].server);
		seat_give(&seats[i]);
	}
	assert_int_equal(k.n_dials_ever, 3);
	assert_log(&k, "granted a; granted a; granted a; granted a; granted a");
	kit_close(&k);
}

/* A server that came free serves who waited for a new one; the new one is idle then. */
static void test_freed_before_connected(void **state)
{
	struct seat one, two, three;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&one, &k, "a", pool);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, pool));
	seat_give(&one);
	assert_non_null(two.server);
	/* Its dial goes on, and is counted for the next who comes. */
	seat_init(&three, &k, "c");
	assert_false(seat_take(&three, pool));
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	assert_non_null(three.server);
	seat_give(&two);
	seat_give(&three);
	assert_true(seat_take(&one, pool));
	assert_int_equal(pools_busy(k.workers[0].pools), 1);
	seat_give(&one);
	kit_close(&k);
}

static void test_waiter_leaves_while_dialing(void **state)
{
	struct seat one;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	pool = kit_pool(&k, 0, 0);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool));
	pool_wait_end(&one.waiter);
	kit_connect(&k);
	assert_log(&k, "");
	assert_true(seat_take(&one, pool));
	seat_give(&one);
	kit_close(&k);
}

static void test_order_is_complete(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	seat_init(&one, &k, "a");
	assert_false(seat_take(
		&one, pool_find(k.workers[0].pools, &k.databases[3], "other", &k.roles[1])));
	assert_ptr_equal(k.dials[0]->conf, &k.conf);
	assert_ptr_equal(k.dials[0]->node, &k.nodes[0]);
	assert_ptr_equal(k.dials[0]->database, &k.databases[3]);
	assert_string_equal(k.dials[0]->dbname, "other");
	assert_ptr_equal(k.dials[0]->role, &k.roles[1]);
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

/* ---- back-off ------------------------------------------------------------------------------ */

/* One failure is one pause, twice as long each time up to server_login_retry, however many wait. */
static void test_back_off(void **state)
{
	static const int64_t pauses_ms[] = {100,  200,  400,   800,   1600,
	                                    3200, 6400, 12800, 15000, 15000};
	struct seat seats[3];
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 1);
	for (int i = 0; i < 3; i++) {
		seat_init(&seats[i], &k, "a");
		assert_false(seat_take(&seats[i], pool));
	}
	for (size_t i = 0; i < COUNT_OF(pauses_ms); i++) {
		assert_int_equal(k.n_dials_ever, i + 1);
		kit_fail(&k, "08001", "connection refused");
		assert_int_equal(kit_servers(&k, 0), 0);
		kit_pass(&k, pauses_ms[i] * US_PER_MS - 1);
		/* Who comes in the meantime waits with the others. */
		assert_int_equal(k.n_dials, 0);
		pool_wait_end(&seats[0].waiter);
		assert_false(seat_take(&seats[0], pool));
		assert_int_equal(k.n_dials, 0);
		kit_pass(&k, TIMER_TICK_MS * US_PER_MS + 1);
		assert_int_equal(k.n_dials, 1);
	}
	/* A success ends it: the next failure begins with the shortest pause. */
	kit_connect(&k);
	for (int i = 0; i < 3; i++)
		pool_wait_end(&seats[i].waiter);
	for (int i = 0; i < 3; i++) {
		if (seats[i].server == NULL)
			continue;
		pool_drop(seats[i].server, CLOSE_SERVER_LOST);
	}
	assert_int_equal(kit_servers(&k, 0), 0);
	assert_false(seat_take(&seats[0], pool));
	kit_fail(&k, "08001", "connection refused");
	kit_pass(&k, 150 * US_PER_MS);
	assert_int_equal(k.n_dials, 1);
	pool_wait_end(&seats[0].waiter);
	kit_close(&k);
}

/* server_login_retry = 0 does not mean as fast as the machine can. */
static void test_back_off_is_never_nothing(void **state)
{
	struct wire_error error;
	struct seat one;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	k.conf.pgusher.server_login_retry = 0;
	pool = kit_pool(&k, 0, 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool));
	for (int i = 1; i < 4; i++) {
		kit_fail(&k, "08001", "connection refused");
		assert_true(pool_is_failing(pool, &error));
		assert_string_equal(error.detail, "Node \"a\": SQLSTATE 08001.");
		kit_pass(&k, 99 * US_PER_MS);
		assert_int_equal(k.n_dials_ever, i);
		kit_pass(&k, TIMER_TICK_MS * US_PER_MS + US_PER_MS);
		assert_int_equal(k.n_dials_ever, i + 1);
	}
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

/* When the pause is over and nobody waits any more, nothing is opened. */
static void test_nobody_waits_after_pause(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	kit_fail(&k, "08001", "connection refused");
	pool_wait_end(&one.waiter);
	kit_pass(&k, US_PER_S);
	assert_int_equal(k.n_dials_ever, 1);
	kit_close(&k);
}

/* The failure of one pool does not hold back another. */
static void test_back_off_is_the_pools(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 2);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	kit_fail(&k, "08001", "connection refused");
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 1));
	seat_give(&two);
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

/* ---- which node ---------------------------------------------------------------------------- */

static const struct conf_node *next_dial(struct kit *k)
{
	kit_pass(k, 20 * US_PER_S);
	assert_int_equal(k->n_dials, 1);
	return k->dials[0]->node;
}

/* One that does not answer, or is a standby, makes the next one the candidate, for all workers. */
static void test_next_node(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_ptr_equal(k.dials[0]->node, &k.nodes[0]);
	kit_fail(&k, "08001", "connection refused");
	assert_ptr_equal(next_dial(&k), &k.nodes[1]);
	assert_int_equal(kit_servers(&k, 0), 0);
	assert_int_equal(kit_servers(&k, 1), 1);
	kit_connect_standby(&k);
	assert_int_equal(kit_servers(&k, 1), 0);
	assert_null(one.server);
	assert_ptr_equal(next_dial(&k), &k.nodes[0]);
	kit_connect_standby(&k);
	assert_ptr_equal(next_dial(&k), &k.nodes[1]);
	/* The other worker looks where this one does. */
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	assert_ptr_equal(k.dials[1]->node, &k.nodes[1]);
	kit_connect(&k);
	kit_connect(&k);
	assert_string_equal(server_note(one.server)->node->name, "b");
	seat_give(&one);
	seat_give(&two);
	kit_close(&k);
}

/* Two failures that are reported one after the other are one step. */
static void test_next_node_once(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	seat_init(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_fail(&k, "08001", "connection refused");
	kit_fail(&k, "08001", "connection refused");
	kit_pass(&k, US_PER_S);
	assert_int_equal(k.n_dials, 2);
	assert_ptr_equal(k.dials[0]->node, &k.nodes[1]);
	assert_ptr_equal(k.dials[1]->node, &k.nodes[1]);
	pool_wait_end(&one.waiter);
	pool_wait_end(&two.waiter);
	kit_close(&k);
}

/* A wrong password is the same everywhere: the primary is not looked for elsewhere. */
static void test_refused_login_stays(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	kit_fail(&k, "28P01", "password authentication failed");
	kit_pass(&k, US_PER_S);
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_ptr_equal(k.dials[0]->node, &k.nodes[0]);
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

/* An analytics node is never asked to be the primary, though it is first in the list. */
static void test_never_analytics(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 2)));
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(k.dials[0]->node, &k.nodes[1]);
		kit_fail(&k, "08001", "connection refused");
		kit_pass(&k, 20 * US_PER_S);
	}
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

/* ---- what servers report ------------------------------------------------------------------- */

static void test_parameters_before_connected(void **state)
{
	struct kit k;
	size_t len = 1;

	(void)state;
	kit_open(&k, 1, 5);
	assert_null(pool_parameters(kit_pool(&k, 0, 0), &len));
	assert_int_equal(len, 0);
	kit_close(&k);
}

/* What one worker's connection reported is known to all: a worker may live on lent ones alone. */
static void test_parameters_are_known_to_all(void **state)
{
	struct seat one;
	const char *told;
	struct kit k;
	size_t len;

	(void)state;
	kit_open(&k, 2, 5);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	server_set_parameter(one.server, "server_version", "15.4");
	pool_learn_parameters(kit_pool(&k, 0, 0), one.server);
	for (unsigned worker = 0; worker < 2; worker++) {
		told = pool_parameters(kit_pool(&k, worker, 0), &len);
		assert_int_equal(len, sizeof("server_version\00015.4"));
		assert_memory_equal(told, "server_version\00015.4", len);
		assert_null(pool_parameters(kit_pool(&k, worker, 1), &len));
	}
	/* PostgreSQL was upgraded. */
	server_set_parameter(one.server, "server_version", "15.5");
	pool_learn_parameters(kit_pool(&k, 0, 0), one.server);
	told = pool_parameters(kit_pool(&k, 1, 0), &len);
	assert_memory_equal(told, "server_version\00015.5", len);
	seat_give(&one);
	kit_close(&k);
}

/* Texts are known for a pool, by all workers. */
static void test_known_texts(void **state)
{
	uint8_t one[SHA256_BYTES] = {1}, two[SHA256_BYTES] = {2};
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	assert_false(pool_knows_text(kit_pool(&k, 0, 0), one));
	pool_learn_text(kit_pool(&k, 0, 0), one);
	assert_true(pool_knows_text(kit_pool(&k, 0, 0), one));
	assert_true(pool_knows_text(kit_pool(&k, 1, 0), one));
	assert_false(pool_knows_text(kit_pool(&k, 0, 0), two));
	/* Another database may not have the tables. */
	assert_false(pool_knows_text(kit_pool(&k, 0, 1), one));
	kit_close(&k);
}

static void test_pools_are_found_again(void **state)
{
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	pool = kit_pool(&k, 0, 0);
	assert_ptr_equal(kit_pool(&k, 0, 0), pool);
	assert_ptr_not_equal(kit_pool(&k, 1, 0), pool);
	assert_ptr_equal(kit_pool(&k, 1, 0)->shared, pool->shared);
	assert_ptr_not_equal(kit_pool(&k, 0, 1), pool);
	assert_ptr_not_equal(pool_find(k.workers[0].pools, &k.databases[0], "one", &k.roles[1]),
	                     pool);
	assert_ptr_not_equal(pool_find(k.workers[0].pools, &k.databases[3], "other", &k.roles[0]),
	                     pool);
	kit_close(&k);
}

/* [database *] lets clients name what they like: there is an end to it. */
static void test_too_many_pools(void **state)
{
	char name[16];
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	for (int i = 0; i < POOLS_MAX; i++) {
		snprintf(name, sizeof(name), "db%d", i);
		assert_non_null(pool_find(k.workers[0].pools, &k.databases[3], name, &k.roles[0]));
	}
	assert_null(pool_find(k.workers[0].pools, &k.databases[3], "another", &k.roles[0]));
	assert_non_null(pool_find(k.workers[0].pools, &k.databases[3], "db7", &k.roles[0]));
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_many_as_wait),
		cmocka_unit_test(test_freed_before_connected),
		cmocka_unit_test(test_waiter_leaves_while_dialing),
		cmocka_unit_test(test_order_is_complete),
		cmocka_unit_test(test_back_off),
		cmocka_unit_test(test_back_off_is_never_nothing),
		cmocka_unit_test(test_nobody_waits_after_pause),
		cmocka_unit_test(test_back_off_is_the_pools),
		cmocka_unit_test(test_next_node),
		cmocka_unit_test(test_next_node_once),
		cmocka_unit_test(test_refused_login_stays),
		cmocka_unit_test(test_never_analytics),
		cmocka_unit_test(test_parameters_before_connected),
		cmocka_unit_test(test_parameters_are_known_to_all),
		cmocka_unit_test(test_known_texts),
		cmocka_unit_test(test_pools_are_found_again),
		cmocka_unit_test(test_too_many_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
