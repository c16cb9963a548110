/* Pools follow the primary that the probe sees: promotions, silence, two primaries. The nodes of
 * database one are a and b. */
#include <string.h>

#include "backend/backend_int.h"
#include "unit/pool/kit.h"

static struct pool *pool_one(struct kit *k)
{
	return kit_pool(k, 0, 0);
}

static void open_with_a(struct kit *k)
{
	kit_open_measured(k, 1, 5);
	kit_says(k, 0, FRESH_PRIMARY, 1);
	kit_says(k, 1, FRESH_REPLICA, 1);
}

static void assert_dials(struct kit *k, int n, int node)
{
	assert_int_equal(k->n_dials, n);
	for (int i = 0; i < n; i++)
		assert_ptr_equal(k->dials[i]->node, &k->nodes[node]);
}

/* ---- one primary --------------------------------------------------------------------------- */

/* It is not looked for by trying: what does not answer there is tried there again. */
static void test_goes_where_it_is(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open_measured(&k, 1, 5);
	kit_says(&k, 0, FRESH_REPLICA, 1);
	kit_says(&k, 1, FRESH_PRIMARY, 1);
	assert_int_equal(pool_path(pool_one(&k), 1), 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	for (int i = 0; i < 3; i++) {
		assert_dials(&k, 1, 1);
		kit_fail(&k, "08001", "connection refused");
		kit_pass(&k, 20 * US_PER_S);
	}
	kit_connect(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_close(&k);
}

/* Servers on the old one are closed: idle ones at once, the others when they are free. Who waits is
 * served by the new one. */
static void test_promotion(void **state)
{
	struct seat idle, busy, waits;
	struct kit k;

	(void)state;
	open_with_a(&k);
	seat_connected(&idle, &k, "a", pool_one(&k));
	seat_connected(&busy, &k, "b", pool_one(&k));
	assert_log(&k, "granted a; granted b");
	seat_give(&idle);
	kit_is_silent(&k, 0);
	assert_log(&k, "");
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	assert_log(&k, "closed");
	assert_true(pool_server_is_fenced(busy.server));
	seat_init(&waits, &k, "c");
	assert_false(seat_take(&waits, pool_one(&k)));
	assert_dials(&k, 1, 1);
	kit_connect(&k);
	assert_log(&k, "granted c");
	assert_false(pool_server_is_fenced(waits.server));
	seat_give(&busy);
	assert_log(&k, "closed");
	seat_give(&waits);
	assert_int_equal(kit_servers(&k, 0), 0);
	kit_close(&k);
}

/* However long the pause after failures has become: who is up is tried at once. */
static void test_no_pause_after_promotion(void **state)
{
	struct wire_error error;
	struct seat one;
	struct kit k;

	(void)state;
	open_with_a(&k);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	kit_is_silent(&k, 0);
	for (int i = 0; i < 8; i++) {
		if (k.dials[0]->node == &k.nodes[0])
			kit_fail(&k, "08001", "connection refused");
		else
			kit_connect_standby(&k);
		if (i < 7)
			kit_pass(&k, 20 * US_PER_S);
	}
	assert_int_equal(k.n_dials, 0);
	assert_true(pool_is_failing(pool_one(&k), &error));
	assert_string_equal(error.sqlstate, "57P03");
	assert_string_equal(error.message, "there is no primary to send this to");
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	assert_dials(&k, 1, 1);
	assert_log(&k, "");
	kit_connect(&k);
	assert_log(&k, "granted a");
	assert_false(pool_is_failing(pool_one(&k), &error));
	seat_give(&one);
	kit_close(&k);
}

/* The primary is silent, so the others are tried; which of them became it first, the probe may not
 * know yet. */
static void test_found_before_the_probe(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	open_with_a(&k);
	kit_is_silent(&k, 0);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	assert_dials(&k, 1, 0);
	kit_fail(&k, "08001", "connection refused");
	kit_pass(&k, 20 * US_PER_S);
	assert_dials(&k, 1, 1);
	kit_connect(&k);
	assert_log(&k, "granted a");
	seat_give(&one);
	assert_true(seat_take(&one, pool_one(&k)));
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	seat_give(&one);
	assert_log(&k, "");
	kit_close(&k);
}

/* An order that was under way when the primary moved. */
static void test_late_connection(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	open_with_a(&k);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	kit_connect(&k);
	assert_log(&k, "");
	kit_pass(&k, US_PER_S);
	assert_dials(&k, 1, 1);
	kit_connect(&k);
	assert_log(&k, "granted a");
	seat_give(&one);
	kit_close(&k);
}

/* ---- more than one ------------------------------------------------------------------------- */

/* The one on the lower timeline is fenced, though it is the only one that answers. */
static void test_fenced(void **state)
{
	struct wire_error error;
	struct seat one;
	struct kit k;

	(void)state;
	open_with_a(&k);
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	kit_is_silent(&k, 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	for (int i = 0; i < 4; i++) {
		assert_dials(&k, 1, 1);
		kit_fail(&k, "08001", "connection refused");
		kit_pass(&k, 20 * US_PER_S);
	}
	assert_true(pool_is_failing(pool_one(&k), &error));
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

/* Until all nodes have been heard of. */
static void test_unsettled(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open_measured(&k, 1, 4);
	fresh_set_unsettled(k.fresh, 0, true);
	kit_says(&k, 0, FRESH_PRIMARY, 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	assert_dials(&k, 0, 0);
	fresh_set_unsettled(k.fresh, 0, false);
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	assert_dials(&k, 1, 1);
	kit_connect(&k);
	assert_log(&k, "granted a");
	seat_give(&one);
	kit_close(&k);
}

static void test_undecided(void **state)
{
	struct seat idle, busy, waits;
	struct kit k;

	(void)state;
	open_with_a(&k);
	k.databases[0].pool_size = 2;
	seat_connected(&idle, &k, "a", pool_one(&k));
	seat_connected(&busy, &k, "b", pool_one(&k));
	seat_init(&waits, &k, "c");
	assert_false(seat_take(&waits, pool_one(&k)));
	pool_wait_end(&waits.waiter);
	seat_give(&idle);
	assert_log(&k, "granted a; granted b");
	kit_says(&k, 1, FRESH_PRIMARY, 1);
	assert_log(&k, "closed");
	assert_true(pool_would_refuse(pool_one(&k)));
	assert_false(seat_take(&waits, pool_one(&k)));
	assert_log(&k, "refused c");
	assert_string_equal(waits.refused.sqlstate, "57P03");
	assert_string_equal(waits.refused.message, "two servers say that they are the primary");
	assert_non_null(waits.refused.hint);
	seat_give(&busy);
	assert_log(&k, "closed");
	assert_int_equal(k.n_dials, 0);
	/* The operator makes one of them a standby. */
	kit_says(&k, 1, FRESH_REPLICA, 1);
	seat_connected(&idle, &k, "a", pool_one(&k));
	assert_string_equal(server_note(idle.server)->node->name, "a");
	seat_give(&idle);
	kit_close(&k);
}

/* Who waits is told, whose connection is under way is not served by it. */
static void test_undecided_while_waiting(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	open_with_a(&k);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	kit_says(&k, 1, FRESH_PRIMARY, 1);
	assert_log(&k, "refused a");
	kit_connect(&k);
	assert_log(&k, "");
	assert_int_equal(kit_servers(&k, 0), 0);
	kit_close(&k);
}

/* ---- at one node --------------------------------------------------------------------------- */

static void test_replica_is_promoted(void **state)
{
	struct seat idle, busy;
	struct pool *pool;
	struct kit k;

	(void)state;
	open_with_a(&k);
	pool = pool_at(pool_one(&k), 1);
	seat_init(&idle, &k, "a");
	seat_init(&busy, &k, "b");
	assert_false(seat_take(&idle, pool));
	assert_false(seat_take(&busy, pool));
	kit_connect_standby(&k);
	kit_connect_standby(&k);
	assert_log(&k, "granted a; granted b");
	seat_give(&idle);
	kit_says(&k, 1, FRESH_PRIMARY, 2);
	assert_log(&k, "closed");
	/* What it answers is right: only the next one goes elsewhere. */
	assert_false(pool_server_is_fenced(busy.server));
	seat_give(&busy);
	assert_log(&k, "closed");
	kit_close(&k);
}

static void test_replica_is_back(void **state)
{
	struct seat one;
	struct pool *pool;
	struct kit k;

	(void)state;
	open_with_a(&k);
	pool = pool_at(pool_one(&k), 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool));
	kit_fail(&k, "08001", "connection refused");
	assert_true(pool_would_refuse(pool));
	kit_says(&k, 1, FRESH_REPLICA, 1);
	assert_false(pool_would_refuse(pool));
	assert_log(&k, "refused a");
	kit_close(&k);
}

/* ---- what is not measured ------------------------------------------------------------------ */

/* Who waits because all servers are busy is not told that there is no primary. */
static void test_nothing_is_said_of_the_unknown(void **state)
{
	struct wire_error error;
	struct seat one;
	struct kit k;

	(void)state;
	kit_open_measured(&k, 1, 5);
	assert_false(pool_is_failing(pool_one(&k), &error));
	seat_connected(&one, &k, "a", pool_one(&k));
	kit_says(&k, 0, FRESH_PRIMARY, 1);
	kit_is_silent(&k, 0);
	assert_false(pool_is_failing(pool_one(&k), &error));
	pool_drop(one.server, CLOSE_SERVER_LOST);
	assert_true(pool_is_failing(pool_one(&k), &error));
	kit_close(&k);
}

/* Before the first answer, and for nodes that the probe did not begin with. */
static void test_unmeasured(void **state)
{
	struct conf next;
	struct conf_database databases[4];
	struct seat one;
	struct kit k;

	(void)state;
	open_with_a(&k);
	kit_says(&k, 0, FRESH_REPLICA, 1);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_one(&k)));
	kit_fail(&k, "08001", "connection refused");
	kit_pass(&k, US_PER_S);
	assert_dials(&k, 1, 1);
	kit_connect(&k);
	assert_log(&k, "granted a");
	seat_give(&one);
	kit_says(&k, 0, FRESH_PRIMARY, 1);
	assert_log(&k, "closed");
	next = k.conf;
	memcpy(databases, k.databases, sizeof(databases));
	next.databases = databases;
	next.generation++;
	databases[0].n_nodes = 1;
	databases[0].nodes = &k.lists[0][1];
	pools_set_conf(k.workers[0].pools, &next);
	assert_int_equal(pool_path(pool_one(&k), 0), FRESH_NO_PATH);
	assert_false(seat_take(&one, pool_one(&k)));
	assert_dials(&k, 1, 1);
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goes_where_it_is),
		cmocka_unit_test(test_promotion),
		cmocka_unit_test(test_no_pause_after_promotion),
		cmocka_unit_test(test_found_before_the_probe),
		cmocka_unit_test(test_late_connection),
		cmocka_unit_test(test_fenced),
		cmocka_unit_test(test_unsettled),
		cmocka_unit_test(test_undecided),
		cmocka_unit_test(test_undecided_while_waiting),
		cmocka_unit_test(test_replica_is_promoted),
		cmocka_unit_test(test_replica_is_back),
		cmocka_unit_test(test_nothing_is_said_of_the_unknown),
		cmocka_unit_test(test_unmeasured),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
