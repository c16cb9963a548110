/* Who waits for a server, and whose turn it is. */
#include <stdio.h>
#include <string.h>

#include "unit/pool/kit.h"

#define SEATS_MAX 32

/* Takes a server with `holder`, queues the others in the order of their names ("a1 a2 b1"). */
static void queue(struct kit *k, struct pool *pool, struct seat *seats, const char *names)
{
	int n = 0, len;

	for (; sscanf(names, " %15s%n", seats[n].name, &len) == 1; names += len) {
		char name[16];

		snprintf(name, sizeof(name), "%s", seats[n].name);
		seat_init(&seats[n], k, name);
		assert_false(seat_take(&seats[n], pool));
		assert_true(pool_is_waiting(&seats[n].waiter));
		assert_true(++n < SEATS_MAX);
	}
}

static struct seat *who_has(struct seat *seats)
{
	for (int i = 0; i < SEATS_MAX; i++) {
		if (seats[i].server != NULL)
			return &seats[i];
	}
	return NULL;
}

/* The one server goes round until nobody waits. */
static void serve_all(struct seat *holder, struct seat *seats)
{
	struct seat *seat;

	seat_give(holder);
	while ((seat = who_has(seats)) != NULL)
		seat_give(seat);
}

static void check_order(const char *queued, const char *served)
{
	struct seat holder, seats[SEATS_MAX] = {0};
	struct pool *pool;
	struct kit k;

	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&holder, &k, "x", pool);
	assert_log(&k, "granted x");
	queue(&k, pool, seats, queued);
	assert_log(&k, "");
	serve_all(&holder, seats);
	assert_log(&k, served);
	kit_close(&k);
}

static void test_one_tenant_in_order(void **state)
{
	(void)state;
	check_order("a1 a2 a3 a4", "granted a1; granted a2; granted a3; granted a4");
}

static void test_tenants_take_turns(void **state)
{
	(void)state;
	check_order("a1 a2 a3 b1 b2 c1",
	            "granted a1; granted b1; granted c1; granted a2; granted b2; granted a3");
	check_order("a1 b1 b2 b3 b4", "granted a1; granted b1; granted b2; granted b3; granted b4");
}

/* A flood costs its own tenant: who comes last, but of another tenant, is served second. */
static void test_flood(void **state)
{
	(void)state;
	check_order("a1 a2 a3 a4 a5 a6 a7 b1",
	            "granted a1; granted b1; granted a2; granted a3; granted a4; granted a5; "
	            "granted a6; granted a7");
}

/* Who comes while the server goes round begins where the others are: it is served next, or next but
 * one. */
static void test_late_comer(void **state)
{
	struct seat holder, seats[SEATS_MAX] = {0}, late;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&holder, &k, "x", pool);
	queue(&k, pool, seats, "a1 a2 a3 b1 b2");
	seat_give(&holder);
	seat_give(who_has(seats));
	seat_init(&late, &k, "c1");
	assert_false(seat_take(&late, pool));
	seat_give(who_has(seats));
	assert_non_null(late.server);
	serve_all(&late, seats);
	assert_log(&k, "granted x; granted a1; granted b1; granted c1; granted a2; granted b2; "
	               "granted a3");
	kit_close(&k);
}

/* A tenant that comes back at once, each time it was served, does not keep another out. */
static void test_two_that_come_back(void **state)
{
	struct seat one, two;
	struct pool *pool;
	struct kit k;
	int n_served = 0;

	(void)state;
	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&one, &k, "a", pool);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, pool));
	for (int i = 0; i < 20; i++) {
		struct seat *has = i % 2 ? &two : &one;

		assert_non_null(has->server);
		seat_give(has);
		assert_false(seat_take(has, pool));
		n_served++;
	}
	assert_int_equal(n_served, 20);
	pool_wait_end(&two.waiter);
	seat_give(&one);
	kit_close(&k);
}

static void test_wait_end(void **state)
{
	struct seat holder, seats[SEATS_MAX] = {0};
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&holder, &k, "x", pool);
	queue(&k, pool, seats, "a1 a2 b1 a3 c1");
	pool_wait_end(&seats[0].waiter); /* first of its tenant */
	pool_wait_end(&seats[2].waiter); /* the only one */
	assert_false(pool_is_waiting(&seats[0].waiter));
	pool_wait_end(&seats[0].waiter); /* again: nothing */
	k.log.len = 0;
	serve_all(&holder, seats);
	assert_log(&k, "granted a2; granted c1; granted a3");
	/* Gone without having been told anything, it may come again. */
	assert_true(seat_take(&seats[0], pool));
	seat_give(&seats[0]);
	kit_close(&k);
}

/* The oldest waiter's time is shown to the other workers, and 0 when nobody waits. */
static void test_oldest_is_shown(void **state)
{
	struct seat holder, seats[SEATS_MAX] = {0};
	struct pool *pool;
	struct kit k;
	int64_t first_us;

	(void)state;
	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&holder, &k, "x", pool);
	assert_int_equal(atomic_load(&pool->shared->oldest_us[0]), 0);
	first_us = k.now_us;
	queue(&k, pool, seats, "a1");
	kit_pass(&k, 1000);
	queue(&k, pool, seats + 1, "b1");
	assert_int_equal(atomic_load(&pool->shared->oldest_us[0]), first_us);
	pool_wait_end(&seats[0].waiter);
	assert_int_equal(atomic_load(&pool->shared->oldest_us[0]), first_us + 1000);
	pool_wait_end(&seats[1].waiter);
	assert_int_equal(atomic_load(&pool->shared->oldest_us[0]), 0);
	seat_give(&holder);
	kit_close(&k);
}

/* ---- refusal ------------------------------------------------------------------------------- */

/* A login that the server itself refuses is told to all who wait, and to those who come until the
 * next try. */
static void test_refused(void **state)
{
	struct seat seats[SEATS_MAX] = {0}, late;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	pool = kit_pool(&k, 0, 0);
	queue(&k, pool, seats, "a1 a2 b1");
	kit_fail(&k, "28P01", "password authentication failed for user \"app\"");
	assert_log(&k, "refused a1; refused a2; refused b1");
	for (int i = 0; i < 3; i++) {
		assert_string_equal(seats[i].refused.severity, "ERROR");
		assert_string_equal(seats[i].refused.sqlstate, SQLSTATE_CANNOT_CONNECT_NOW);
		/* Not who logs in where: clients are tenants. */
		assert_string_equal(seats[i].refused.detail, "Node \"a\": SQLSTATE 28P01.");
	}
	seat_init(&late, &k, "c1");
	assert_false(seat_take(&late, pool));
	assert_log(&k, "refused c1");
	assert_false(pool_is_waiting(&late.waiter));
	assert_int_equal(k.n_dials, 0);
	/* The next try is for who comes then. */
	kit_pass(&k, 200 * US_PER_MS);
	assert_false(seat_take(&late, pool));
	assert_true(pool_is_waiting(&late.waiter));
	kit_connect(&k);
	assert_log(&k, "granted c1");
	seat_give(&late);
	kit_close(&k);
}

/* While the pool has a server, clients wait for it, whatever becomes of a login for one more. */
static void test_not_refused_while_servers_live(void **state)
{
	struct seat holder, waiter, late;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	pool = kit_pool(&k, 0, 0);
	seat_connected(&holder, &k, "h", pool);
	seat_init(&waiter, &k, "w");
	seat_init(&late, &k, "l");
	assert_false(seat_take(&waiter, pool));
	kit_fail(&k, "28P01", "password authentication failed for user \"app\"");
	assert_false(seat_take(&late, pool));
	assert_log(&k, "granted h");
	seat_give(&holder);
	seat_give(&waiter);
	assert_log(&k, "granted w; granted l");
	/* The last one is gone: nothing to wait for. */
	pool_drop(late.server, CLOSE_SERVER_LOST);
	late.server = NULL;
	assert_false(seat_take(&waiter, pool));
	assert_log(&k, "closed; refused w");
	kit_close(&k);
}

static struct pool *again_pool;

static void take_again(struct seat *seat)
{
	seat->on_turn = NULL;
	assert_false(seat_take(seat, again_pool));
}

/* Who asks again from within its refusal is refused again, once, and not for ever. */
static void test_refused_asks_again(void **state)
{
	struct seat seats[SEATS_MAX] = {0};
	struct kit k;

	(void)state;
	kit_open(&k, 1, 2);
	again_pool = kit_pool(&k, 0, 0);
	queue(&k, again_pool, seats, "a1 b1");
	seats[0].on_turn = take_again;
	kit_fail(&k, "3D000", "database \"one\" does not exist");
	assert_log(&k, "refused a1; refused a1; refused b1");
	kit_close(&k);
}

/* A server that is only out of reach may come back: those who wait go on waiting. */
static void test_unreachable_is_not_refused(void **state)
{
	struct seat seats[SEATS_MAX] = {0};
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	queue(&k, kit_pool(&k, 0, 0), seats, "a1");
	kit_fail(&k, "08001", "connection refused");
	assert_log(&k, "");
	assert_true(pool_is_waiting(&seats[0].waiter));
	pool_wait_end(&seats[0].waiter);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_tenant_in_order),
		cmocka_unit_test(test_tenants_take_turns),
		cmocka_unit_test(test_flood),
		cmocka_unit_test(test_late_comer),
		cmocka_unit_test(test_two_that_come_back),
		cmocka_unit_test(test_wait_end),
		cmocka_unit_test(test_oldest_is_shown),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_not_refused_while_servers_live),
		cmocka_unit_test(test_refused_asks_again),
		cmocka_unit_test(test_unreachable_is_not_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
