/* Tenants: how many servers one may hold over all workers, who is woken when one becomes free, and
 * what share of the servers' time each gets. */
#include <stdio.h>
#include <string.h>

#include "unit/pool/kit.h"

static void limit(struct kit *k, int max_server_conn)
{
	k->conf.tenants.max_server_conn = max_server_conn;
	kit_conf_changed(k);
}

/* Opens as many servers as there are names, all idle in the end. */
static void open_idle(struct kit *k, struct pool *pool, int n)
{
	struct seat seats[8];

	for (int i = 0; i < n; i++)
		seat_connected(&seats[i], k, "x", pool);
	for (int i = 0; i < n; i++)
		seat_give(&seats[i]);
	k->log.len = 0;
}

static int held(struct kit *k, struct pool *pool, const char *tenant)
{
	struct seat seat;
	int n;

	seat_init(&seat, k, tenant);
	n = atomic_load(&tenant_of(pool, &seat.waiter)->shared->n_held);
	pool_waiter_fini(&seat.waiter);
	return n;
}

/* ---- the limit of servers ------------------------------------------------------------------ */

static void test_waits_beside_idle_servers(void **state)
{
	struct seat one, two, three, other;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	pool = kit_pool(&k, 0, 0);
	open_idle(&k, pool, 4);
	limit(&k, 2);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	seat_init(&three, &k, "a3");
	seat_init(&other, &k, "b");
	assert_true(seat_take(&one, pool));
	assert_true(seat_take(&two, pool));
	assert_false(seat_take(&three, pool));
	assert_true(pool_is_tenant_full(&three.waiter));
	/* Nobody else waits for it, and nothing is opened for it. */
	assert_true(seat_take(&other, pool));
	assert_int_equal(k.n_dials, 0);
	seat_give(&other);
	assert_null(three.server);
	seat_give(&one);
	assert_log(&k, "granted a3");
	assert_int_equal(held(&k, pool, "a"), 2);
	seat_give(&two);
	seat_give(&three);
	assert_int_equal(held(&k, pool, "a"), 0);
	kit_close(&k);
}

/* No more connections are opened for a tenant than it may use. */
static void test_opens_no_more_than_the_limit(void **state)
{
	struct seat seats[6];
	struct kit k;

	(void)state;
	kit_open(&k, 1, 10);
	limit(&k, 2);
	for (int i = 0; i < 6; i++) {
		seat_init(&seats[i], &k, "a");
		assert_false(seat_take(&seats[i], kit_pool(&k, 0, 0)));
	}
	assert_int_equal(k.n_dials, 2);
	kit_connect(&k);
	kit_connect(&k);
	assert_int_equal(k.n_dials, 0);
	for (int i = 0; i < 6; i++)
		seat_give(&seats[i]);
	assert_int_equal(k.n_dials_ever, 2);
	kit_close(&k);
}

/* The tenant is full on one worker; its other client, on another worker, is woken all the same. */
static void test_woken_on_another_worker(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	open_idle(&k, kit_pool(&k, 0, 0), 1);
	open_idle(&k, kit_pool(&k, 1, 0), 1);
	limit(&k, 1);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_mail(&k);
	assert_null(two.server);
	seat_give(&one);
	kit_mail(&k);
	assert_log(&k, "granted a2");
	seat_give(&two);
	kit_close(&k);
}

/* The connection breaks instead of being given back. */
static void test_woken_by_a_broken_connection(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	open_idle(&k, kit_pool(&k, 0, 0), 1);
	open_idle(&k, kit_pool(&k, 1, 0), 1);
	limit(&k, 1);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	pool_drop(one.server, CLOSE_SERVER_LOST);
	kit_mail(&k);
	assert_log(&k, "closed; granted a2");
	seat_give(&two);
	kit_close(&k);
}

/* The worker that is woken has lost its client in the meantime: the next one is woken. */
static void test_wake_is_passed_on(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 3, 5);
	for (unsigned w = 0; w < 3; w++)
		open_idle(&k, kit_pool(&k, w, 0), 1);
	limit(&k, 1);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	seat_init(&three, &k, "a3");
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_pass(&k, 10 * US_PER_MS);
	assert_false(seat_take(&three, kit_pool(&k, 2, 0)));
	seat_give(&one); /* the letter goes to the longest waiting one */
	pool_wait_end(&two.waiter);
	kit_mail(&k);
	assert_log(&k, "granted a3");
	seat_give(&three);
	kit_close(&k);
}

/* Two pools of one worker: the client that waits in the other one is woken, too. */
static void test_woken_in_another_pool(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	open_idle(&k, kit_pool(&k, 0, 0), 1);
	open_idle(&k, kit_pool(&k, 0, 1), 1);
	limit(&k, 1);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	seat_init(&three, &k, "a3");
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_false(seat_take(&two, kit_pool(&k, 0, 1)));
	assert_false(seat_take(&three, kit_pool(&k, 0, 0)));
	seat_give(&one);
	kit_mail(&k);
	assert_log(&k, "granted a3");
	seat_give(&three);
	kit_mail(&k);
	assert_log(&k, "granted a2");
	seat_give(&two);
	kit_close(&k);
}

/* Who waits at his limit takes no server away from another worker, nor a place. */
static void test_blocked_is_not_hungry(void **state)
{
	struct seat one, two, other;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 2);
	limit(&k, 1);
	seat_connected(&one, &k, "a1", kit_pool(&k, 0, 0));
	seat_init(&two, &k, "a2");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_pass(&k, 100 * US_PER_MS);
	assert_int_equal(k.n_dials, 0);
	seat_connected(&other, &k, "b", kit_pool(&k, 0, 0));
	seat_give(&other);
	assert_false(list_is_empty(&kit_pool(&k, 0, 0)->idle));
	pool_wait_end(&two.waiter);
	seat_give(&one);
	kit_close(&k);
}

/* A limit that is lifted, by RELOAD, lets those go who wait at it. */
static void test_limit_is_lifted(void **state)
{
	struct seat one, two;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	pool = kit_pool(&k, 0, 0);
	open_idle(&k, pool, 2);
	limit(&k, 1);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	assert_true(seat_take(&one, pool));
	assert_false(seat_take(&two, pool));
	limit(&k, 0);
	kit_pass(&k, US_PER_S);
	assert_log(&k, "granted a2");
	seat_give(&one);
	seat_give(&two);
	assert_int_equal(held(&k, pool, "a"), 0);
	kit_close(&k);
}

/* A service role is under no tenant's limit. */
static void test_service_role_is_free(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	limit(&k, 1);
	k.roles[0].tenant = CONF_TENANT_NONE;
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_connected(&two, &k, "a", kit_pool(&k, 0, 0));
	seat_give(&one);
	seat_give(&two);
	kit_close(&k);
}

/* At the end of the process mailboxes are gone when the last servers are given back: nobody is
 * written to. */
static void test_nobody_is_woken_at_the_end(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	open_idle(&k, kit_pool(&k, 0, 0), 1);
	open_idle(&k, kit_pool(&k, 1, 0), 1);
	limit(&k, 1);
	seat_init(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	pools_stop(k.workers[0].pools);
	pools_stop(k.workers[1].pools);
	k.log.len = 0;
	seat_give(&one);
	kit_mail(&k);
	assert_log(&k, "closed");
	pool_wait_end(&two.waiter);
	kit_close(&k);
}

/* ---- shares -------------------------------------------------------------------------------- */

#define CROWD 40

struct crowd {
	struct kit *k;
	struct pool *pool;
	struct seat seats[CROWD];
	int n, n_granted[128]; /* by tenant */
};

static void crowd_add(struct crowd *c, const char *tenant, int n)
{
	for (; n > 0; n--) {
		struct seat *seat = &c->seats[c->n++];

		seat_init(seat, c->k, tenant);
		(void)seat_take(seat, c->pool);
	}
}

/* The holder of a server keeps it for as long as its tenant's leases last, then asks again. */
static void crowd_turn(struct crowd *c, int64_t lease_us)
{
	for (int i = 0; i < c->n; i++) {
		struct seat *seat = &c->seats[i];

		if (seat->server == NULL)
			continue;
		c->n_granted[(unsigned char)seat->name[0]]++;
		kit_pass(c->k, lease_us);
		seat_give(seat);
		(void)seat_take(seat, c->pool);
		return;
	}
	fail();
}

static void crowd_end(struct crowd *c)
{
	for (int i = 0; i < c->n; i++)
		pool_wait_end(&c->seats[i].waiter);
	for (int i = 0; i < c->n; i++) {
		if (c->seats[i].server != NULL)
			seat_give(&c->seats[i]);
	}
	kit_close(c->k);
}

static void crowd_open(struct crowd *c, struct kit *k)
{
	memset(c, 0, sizeof(*c));
	c->k = k;
	kit_open(k, 1, 1);
	c->pool = kit_pool(k, 0, 0);
}

/* Weights 1 and 3, leases of one length: of 4000 grants 1000 and 3000. */
static void test_weights(void **state)
{
	struct crowd c;
	struct kit k;

	(void)state;
	crowd_open(&c, &k);
	k.tenants[0] = (struct conf_tenant){.name = "b",
	                                    .max_client_conn = CONF_INHERIT,
	                                    .max_server_conn = CONF_INHERIT,
	                                    .weight = 3,
	                                    .query_wait_timeout = CONF_INHERIT};
	k.conf.n_tenant = 1;
	crowd_add(&c, "a", 10);
	crowd_add(&c, "b", 10);
	kit_connect(&k);
	for (int i = 0; i < 4000; i++)
		crowd_turn(&c, 2 * US_PER_MS);
	assert_in_range(c.n_granted['b'], 2950, 3050);
	assert_in_range(c.n_granted['a'], 950, 1050);
	crowd_end(&c);
}

/* What is shared is the time: who takes four times as long is served a fourth as often. */
static void test_time_is_shared(void **state)
{
	struct crowd c;
	struct kit k;

	(void)state;
	crowd_open(&c, &k);
	crowd_add(&c, "a", 10);
	crowd_add(&c, "b", 10);
	kit_connect(&k);
	for (int i = 0; i < 4000; i++) {
		bool is_a = false;

		for (int s = 0; s < 10; s++)
			is_a = is_a || c.seats[s].server != NULL;
		crowd_turn(&c, (is_a ? 4 : 1) * US_PER_MS);
	}
	assert_in_range(c.n_granted['a'], 780, 820);
	crowd_end(&c);
}

/* One client against a flood: it comes back at once each time, and each time waits for one lease
 * of the other tenant's at most. */
static void test_one_against_a_flood(void **state)
{
	struct crowd c;
	struct kit k;

	(void)state;
	crowd_open(&c, &k);
	crowd_add(&c, "a", CROWD - 1);
	kit_connect(&k);
	for (int i = 0; i < 300; i++)
		crowd_turn(&c, US_PER_MS);
	crowd_add(&c, "b", 1);
	memset(c.n_granted, 0, sizeof(c.n_granted));
	for (int i = 0; i < 1000; i++) {
		crowd_turn(&c, US_PER_MS);
		assert_true(c.n_granted['a'] - c.n_granted['b'] <= 2);
	}
	assert_in_range(c.n_granted['b'], 495, 505);
	crowd_end(&c);
}

/* Who was idle for long gets no credit for it: the two share from now on. */
static void test_idleness_is_no_credit(void **state)
{
	struct crowd c;
	struct kit k;

	(void)state;
	crowd_open(&c, &k);
	crowd_add(&c, "a", 5);
	crowd_add(&c, "c", 5);
	kit_connect(&k);
	for (int i = 0; i < 2000; i++)
		crowd_turn(&c, US_PER_MS);
	crowd_add(&c, "b", 10);
	memset(c.n_granted, 0, sizeof(c.n_granted));
	for (int i = 0; i < 300; i++)
		crowd_turn(&c, US_PER_MS);
	assert_in_range(c.n_granted['a'], 95, 105);
	assert_in_range(c.n_granted['b'], 95, 105);
	assert_in_range(c.n_granted['c'], 95, 105);
	crowd_end(&c);
}

/* A tenant with many clients does not take all servers before its first lease has ended. */
static void test_charged_at_the_grant(void **state)
{
	struct seat holders[4], a[4], b[4];
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 4);
	pool = kit_pool(&k, 0, 0);
	for (int i = 0; i < 4; i++)
		seat_connected(&holders[i], &k, "x", pool);
	for (int i = 0; i < 4; i++) {
		seat_init(&a[i], &k, "a");
		assert_false(seat_take(&a[i], pool));
	}
	for (int i = 0; i < 4; i++) {
		seat_init(&b[i], &k, "b");
		assert_false(seat_take(&b[i], pool));
	}
	k.log.len = 0;
	kit_pass(&k, US_PER_MS);
	for (int i = 0; i < 4; i++)
		seat_give(&holders[i]);
	assert_log(&k, "granted a; granted b; granted a; granted b");
	for (int i = 0; i < 2; i++) {
		seat_give(&a[i]);
		seat_give(&b[i]);
	}
	for (int i = 2; i < 4; i++) {
		seat_give(&a[i]);
		seat_give(&b[i]);
	}
	kit_close(&k);
}

/* The flood is on the worker that frees a server, the other tenant's client on another one, and has
 * only just come: the server goes there. */
static void test_claims_count_over_workers(void **state)
{
	struct seat flood[6], one;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&flood[0], &k, "a", kit_pool(&k, 0, 0));
	for (int i = 1; i < 6; i++) {
		seat_init(&flood[i], &k, "a");
		assert_false(seat_take(&flood[i], kit_pool(&k, 0, 0)));
	}
	for (int i = 0; i < 4; i++) {
		kit_pass(&k, 100 * US_PER_MS);
		seat_give(&flood[i]);
	}
	seat_init(&one, &k, "b");
	assert_false(seat_take(&one, kit_pool(&k, 1, 0)));
	kit_pass(&k, 20 * US_PER_MS);
	seat_give(&flood[4]);
	kit_mail(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_mail(&k);
	assert_non_null(flood[5].server);
	seat_give(&flood[5]);
	kit_close(&k);
}

/* ---- pool_size ----------------------------------------------------------------------------- */

static void test_pool_size(void **state)
{
	struct seat one, two, three, other;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 10);
	k.databases[0].pool_size = 2;
	kit_conf_changed(&k);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 0));
	seat_init(&three, &k, "c");
	assert_false(seat_take(&three, kit_pool(&k, 0, 0)));
	assert_int_equal(k.n_dials, 0);
	/* Another pool is not concerned, and keeps its idle servers. */
	seat_connected(&other, &k, "d", kit_pool(&k, 0, 1));
	seat_give(&other);
	assert_false(list_is_empty(&kit_pool(&k, 0, 1)->idle));
	seat_give(&one);
	assert_non_null(three.server);
	seat_give(&two);
	seat_give(&three);
	assert_int_equal(atomic_load(&kit_pool(&k, 0, 0)->shared->n_full), 0);
	kit_close(&k);
}

/* The pool's only connection is another worker's: closed there, it makes room here. */
static void test_pool_size_over_workers(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 10);
	k.conf.pgusher.default_pool_size = 1;
	kit_conf_changed(&k);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_mail(&k);
	assert_int_equal(k.n_dials, 0);
	pool_drop(one.server, CLOSE_SERVER_LOST);
	kit_mail(&k);
	kit_connect(&k);
	assert_non_null(two.server);
	seat_give(&two);
	kit_close(&k);
}

/* A login that fails gives its place in the pool back. */
static void test_pool_size_after_a_failure(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 2, 10);
	k.conf.pgusher.default_pool_size = 1;
	kit_conf_changed(&k);
	seat_init(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(seat_take(&one, kit_pool(&k, 0, 1)));
	assert_false(seat_take(&two, kit_pool(&k, 1, 1)));
	assert_int_equal(k.n_dials, 1);
	kit_fail(&k, "08001", "no");
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	assert_non_null(two.server);
	pool_wait_end(&one.waiter);
	seat_give(&two);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_waits_beside_idle_servers),
		cmocka_unit_test(test_opens_no_more_than_the_limit),
		cmocka_unit_test(test_woken_on_another_worker),
		cmocka_unit_test(test_woken_by_a_broken_connection),
		cmocka_unit_test(test_wake_is_passed_on),
		cmocka_unit_test(test_woken_in_another_pool),
		cmocka_unit_test(test_blocked_is_not_hungry),
		cmocka_unit_test(test_limit_is_lifted),
		cmocka_unit_test(test_service_role_is_free),
		cmocka_unit_test(test_nobody_is_woken_at_the_end),
		cmocka_unit_test(test_weights),
		cmocka_unit_test(test_time_is_shared),
		cmocka_unit_test(test_one_against_a_flood),
		cmocka_unit_test(test_idleness_is_no_credit),
		cmocka_unit_test(test_charged_at_the_grant),
		cmocka_unit_test(test_claims_count_over_workers),
		cmocka_unit_test(test_pool_size),
		cmocka_unit_test(test_pool_size_over_workers),
		cmocka_unit_test(test_pool_size_after_a_failure),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
