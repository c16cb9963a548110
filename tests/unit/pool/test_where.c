/* Where a pool's servers are: at one node (pool_at), and what happens to them when roles change. */
#include <string.h>

#include "backend/backend_int.h"
#include "unit/pool/kit.h"

/* Node b of database one. */
static struct pool *pool_at_b(struct kit *k, unsigned worker)
{
	return pool_at(kit_pool(k, worker, 0), 1);
}

static void seat_at_b(struct seat *seat, struct kit *k, const char *name)
{
	seat_init(seat, k, name);
	assert_false(seat_take(seat, pool_at_b(k, 0)));
	kit_connect_standby(k);
	assert_non_null(seat->server);
	server_set_parameter(seat->server, "in_hot_standby", "on");
}

/* ---- which pool ---------------------------------------------------------------------------- */

static void test_pools_are_found_again(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k, 2, 5);
	assert_ptr_equal(pool_at_b(&k, 0), pool_at_b(&k, 0));
	assert_ptr_not_equal(pool_at_b(&k, 0), kit_pool(&k, 0, 0));
	assert_ptr_not_equal(pool_at_b(&k, 0), pool_at(kit_pool(&k, 0, 0), 0));
	assert_ptr_equal(pool_at_b(&k, 0)->shared, pool_at_b(&k, 1)->shared);
	assert_ptr_not_equal(pool_at_b(&k, 0), pool_at(kit_pool(&k, 0, 2), 1));
	assert_string_equal(pool_database(pool_at_b(&k, 0)), "one");
	assert_string_equal(pool_role(pool_at_b(&k, 0)), "app");
	kit_close(&k);
}

static void test_too_many_pools(void **state)
{
	char name[16];
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	assert_non_null(pool_at_b(&k, 0));
	for (int i = 0; i < POOLS_MAX - 2; i++) {
		snprintf(name, sizeof(name), "db%d", i);
		assert_non_null(pool_find(k.workers[0].pools, &k.databases[3], name, &k.roles[0]));
	}
	assert_null(pool_at(kit_pool(&k, 0, 0), 0));
	assert_non_null(pool_at_b(&k, 0));
	kit_close(&k);
}

/* A client has one pool, at the primary: what servers report and which texts they know is its. */
static void test_clients_have_one_pool(void **state)
{
	uint8_t text[SHA256_BYTES] = {1};
	struct seat one;
	struct kit k;
	size_t len;

	(void)state;
	kit_open(&k, 1, 5);
	seat_at_b(&one, &k, "a");
	assert_null(pool_parameters(kit_pool(&k, 0, 0), &len));
	pool_learn_text(pool_at_b(&k, 0), text);
	assert_true(pool_knows_text(kit_pool(&k, 0, 0), text));
	seat_give(&one);
	kit_close(&k);
}

/* ---- at one node --------------------------------------------------------------------------- */

/* It dials its node and no other, whatever comes of it. */
static void test_one_node_only(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_init(&one, &k, "a");
	for (int i = 0; i < 3; i++) {
		assert_false(seat_take(&one, pool_at_b(&k, 0)));
		assert_int_equal(k.n_dials, 1);
		assert_ptr_equal(k.dials[0]->node, &k.nodes[1]);
		kit_fail(&k, "08001", "connection refused");
		assert_log(&k, "refused a");
		kit_pass(&k, 20 * US_PER_S);
	}
	/* The search for the primary goes on where it was. */
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_ptr_equal(k.dials[0]->node, &k.nodes[0]);
	pool_wait_end(&one.waiter);
	kit_close(&k);
}

static void test_takes_standbys(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_at_b(&one, &k, "a");
	assert_string_equal(server_note(one.server)->node->name, "b");
	seat_give(&one);
	assert_true(seat_take(&one, pool_at_b(&k, 0)));
	/* The pool at the primary has none of it. */
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 0, 0)));
	pool_wait_end(&two.waiter);
	seat_give(&one);
	kit_close(&k);
}

static void test_takes_no_primary(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, pool_at_b(&k, 0)));
	kit_connect(&k);
	assert_null(one.server);
	assert_log(&k, "refused a");
	assert_string_equal(one.refused.sqlstate, "57P03");
	assert_int_equal(kit_servers(&k, 1), 0);
	kit_close(&k);
}

/* What an analytics node is is nobody's business. */
static void test_analytics_is_either(void **state)
{
	struct seat one, two;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	pool = pool_at(kit_pool(&k, 0, 2), 0);
	seat_init(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(seat_take(&one, pool));
	assert_false(seat_take(&two, pool));
	assert_ptr_equal(k.dials[0]->node, &k.nodes[2]);
	kit_connect(&k);
	kit_connect_standby(&k);
	assert_log(&k, "granted a; granted b");
	server_set_parameter(two.server, "in_hot_standby", "on");
	server_set_parameter(two.server, "in_hot_standby", "off");
	seat_give(&one);
	seat_give(&two);
	assert_log(&k, "");
	kit_close(&k);
}

/* While the node cannot be logged in to, nobody waits there but who tries it again. */
static void test_nobody_waits_for_a_dead_node(void **state)
{
	struct seat one, two;
	struct pool *pool;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	pool = pool_at_b(&k, 0);
	seat_init(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(pool_would_refuse(pool));
	assert_false(seat_take(&one, pool));
	assert_false(seat_take(&two, pool));
	kit_fail(&k, "08001", "connection refused");
	assert_log(&k, "refused a; refused b");
	assert_string_equal(one.refused.detail, "Node \"b\": SQLSTATE 08001.");
	kit_fail(&k, "08001", "connection refused");
	assert_true(pool_would_refuse(pool));
	assert_false(seat_take(&one, pool));
	assert_log(&k, "refused a");
	assert_int_equal(k.n_dials, 0);
	kit_pass(&k, US_PER_S);
	assert_false(pool_would_refuse(pool));
	assert_false(seat_take(&one, pool));
	assert_true(pool_would_refuse(pool));
	assert_false(seat_take(&two, pool));
	assert_log(&k, "refused b");
	kit_connect_standby(&k);
	assert_log(&k, "granted a");
	assert_false(pool_would_refuse(pool));
	seat_give(&one);
	kit_close(&k);
}

/* As long as the pool has a server, those who come may wait for that. */
static void test_waits_for_the_others(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_at_b(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, pool_at_b(&k, 0)));
	kit_fail(&k, "53300", "too many connections");
	assert_false(pool_would_refuse(pool_at_b(&k, 0)));
	assert_log(&k, "granted a");
	seat_give(&one);
	assert_log(&k, "granted b");
	seat_give(&two);
	kit_close(&k);
}

/* ---- what it shares ------------------------------------------------------------------------ */

/* Pools at a node have its places together, and none of another's. */
static void test_places_are_the_nodes(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 1);
	seat_at_b(&one, &k, "a");
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 0));
	assert_int_equal(kit_servers(&k, 0), 1);
	assert_int_equal(kit_servers(&k, 1), 1);
	/* Database three's primary is looked for at b: its turn comes when b has a free place. */
	seat_init(&three, &k, "c");
	assert_false(seat_take(&three, kit_pool(&k, 0, 2)));
	assert_int_equal(k.n_dials, 0);
	kit_pass(&k, US_PER_S);
	seat_give(&one);
	assert_int_equal(k.n_dials, 0);
	kit_mail(&k);
	assert_int_equal(k.n_dials, 1);
	assert_ptr_equal(k.dials[0]->node, &k.nodes[1]);
	kit_connect(&k);
	seat_give(&two);
	seat_give(&three);
	kit_close(&k);
}

static void test_pool_size(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	k.databases[0].pool_size = 1;
	seat_at_b(&one, &k, "a");
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, pool_at_b(&k, 0)));
	assert_int_equal(k.n_dials, 0);
	seat_connected(&three, &k, "c", kit_pool(&k, 0, 0));
	seat_give(&one);
	assert_non_null(two.server);
	seat_give(&two);
	seat_give(&three);
	kit_close(&k);
}

/* A tenant's servers count together, wherever they are. */
static void test_tenants_limit(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	k.conf.tenants.max_server_conn = 1;
	seat_at_b(&one, &k, "a1");
	seat_init(&two, &k, "a2");
	assert_false(seat_take(&two, kit_pool(&k, 0, 0)));
	assert_true(pool_is_tenant_full(&two.waiter));
	seat_give(&one);
	kit_mail(&k);
	kit_connect(&k);
	assert_log(&k, "granted a1; granted a2");
	assert_false(seat_take(&one, pool_at_b(&k, 0)));
	seat_give(&two);
	kit_mail(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_close(&k);
}

static void test_paused(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_at_b(&one, &k, "a");
	pools_pause(k.workers[0].pools, "one");
	seat_give(&one);
	assert_int_equal(kit_servers(&k, 1), 0);
	assert_false(seat_take(&one, pool_at_b(&k, 0)));
	assert_int_equal(k.n_dials, 0);
	assert_true(pools_resume(k.workers[0].pools, "one"));
	kit_connect_standby(&k);
	assert_non_null(one.server);
	pools_reconnect(k.workers[0].pools, "one");
	seat_give(&one);
	assert_int_equal(kit_servers(&k, 1), 0);
	kit_close(&k);
}

/* Leases and waiters, of all workers; a lent server's lease is its new worker's. */
static void test_outstanding(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	assert_int_equal(pool_outstanding(pool_at_b(&k, 0)), 0);
	seat_at_b(&one, &k, "a");
	assert_int_equal(pool_outstanding(pool_at_b(&k, 1)), 1);
	seat_init(&two, &k, "b");
	seat_init(&three, &k, "c");
	assert_false(seat_take(&two, pool_at_b(&k, 1)));
	assert_false(seat_take(&three, pool_at_b(&k, 1)));
	assert_int_equal(pool_outstanding(pool_at_b(&k, 0)), 3);
	assert_int_equal(pool_outstanding(kit_pool(&k, 0, 0)), 0);
	kit_pass(&k, 10 * US_PER_MS);
	seat_give(&one);
	kit_mail(&k);
	assert_non_null(two.server);
	assert_int_equal(pool_outstanding(pool_at_b(&k, 0)), 2);
	pool_wait_end(&three.waiter);
	assert_int_equal(pool_outstanding(pool_at_b(&k, 0)), 1);
	seat_give(&two);
	assert_int_equal(pool_outstanding(pool_at_b(&k, 0)), 0);
	kit_close(&k);
}

/* ---- other roles --------------------------------------------------------------------------- */

/* A standby that says that it is none any more is used by nobody after this. */
static void test_promoted(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_at_b(&one, &k, "a");
	seat_at_b(&two, &k, "b");
	assert_log(&k, "granted a; granted b");
	server_set_parameter(one.server, "in_hot_standby", "off");
	seat_give(&one);
	assert_log(&k, "closed");
	/* Its sister says so while it is idle. */
	struct server *idle = two.server;

	seat_give(&two);
	assert_log(&k, "");
	server_set_parameter(idle, "in_hot_standby", "off");
	assert_false(seat_take(&one, pool_at_b(&k, 0)));
	assert_log(&k, "closed");
	kit_connect(&k);
	assert_log(&k, "refused a");
	kit_close(&k);
}

/* An address at which there is another server now, which is a standby. */
static void test_demoted(void **state)
{
	struct seat one;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 5);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	server_set_parameter(one.server, "in_hot_standby", "on");
	seat_give(&one);
	assert_log(&k, "granted a; closed");
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pools_are_found_again),
		cmocka_unit_test(test_too_many_pools),
		cmocka_unit_test(test_clients_have_one_pool),
		cmocka_unit_test(test_one_node_only),
		cmocka_unit_test(test_takes_standbys),
		cmocka_unit_test(test_takes_no_primary),
		cmocka_unit_test(test_analytics_is_either),
		cmocka_unit_test(test_nobody_waits_for_a_dead_node),
		cmocka_unit_test(test_waits_for_the_others),
		cmocka_unit_test(test_places_are_the_nodes),
		cmocka_unit_test(test_pool_size),
		cmocka_unit_test(test_tenants_limit),
		cmocka_unit_test(test_paused),
		cmocka_unit_test(test_outstanding),
		cmocka_unit_test(test_promoted),
		cmocka_unit_test(test_demoted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
