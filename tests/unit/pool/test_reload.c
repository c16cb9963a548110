/* Another configuration takes the place of the one at hand: which servers and waiters it leaves as
 * they are, also between two workers of which only one has taken it. */
#include <string.h>

#include "unit/pool/kit.h"

/* The kit's configuration again, as the next generation; lists go on pointing to its nodes. */
struct next {
	struct conf conf;
	struct conf_node nodes[3];
	const struct conf_node *lists[4][3];
	struct conf_database databases[4];
	struct conf_role roles[2];
};

static void next_init(struct next *n, const struct conf *from)
{
	n->conf = *from;
	n->conf.generation++;
	memcpy(n->nodes, from->nodes, sizeof(n->nodes));
	memcpy(n->databases, from->databases, sizeof(n->databases));
	memcpy(n->roles, from->roles, sizeof(n->roles));
	n->conf.nodes = n->nodes;
	n->conf.databases = n->databases;
	n->conf.roles = n->roles;
	for (size_t i = 0; i < COUNT_OF(n->databases); i++) {
		n->databases[i].nodes = n->lists[i];
		for (size_t j = 0; j < n->databases[i].n_nodes; j++)
			n->lists[i][j] = &n->nodes[from->databases[i].nodes[j] - from->nodes];
	}
}

static void test_nothing_changed(void **state)
{
	struct seat one;
	struct next n;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	next_init(&n, &k.conf);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_give(&one);
	pools_set_conf(k.workers[0].pools, &n.conf);
	assert_int_equal(kit_servers(&k, 0), 1);
	assert_true(seat_take(&one, kit_pool(&k, 0, 0)));
	seat_give(&one);
	kit_close(&k);
}

/* An idle server closes at once, a used one when it is given back; the next one has the new login.
 */
static void test_another_login(void **state)
{
	struct seat one, two;
	struct next n;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	next_init(&n, &k.conf);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_connected(&two, &k, "a", kit_pool(&k, 0, 0));
	seat_give(&two);
	n.roles[0].password = "another";
	pools_set_conf(k.workers[0].pools, &n.conf);
	assert_int_equal(kit_servers(&k, 0), 1);
	seat_give(&one);
	assert_int_equal(kit_servers(&k, 0), 0);
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	assert_ptr_equal(k.dials[0]->conf, &n.conf);
	assert_string_equal(k.dials[0]->role->password, "another");
	kit_connect(&k);
	assert_non_null(one.server);
	seat_give(&one);
	assert_int_equal(kit_servers(&k, 0), 1);
	kit_close(&k);
}

/* A dial that was under way: its server is not used, its failure says nothing. */
static void test_dials_under_way(void **state)
{
	struct seat one;
	struct next n;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	next_init(&n, &k.conf);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	n.databases[0].dbname = "moved";
	pools_set_conf(k.workers[0].pools, &n.conf);
	kit_connect(&k);
	assert_null(one.server);
	assert_string_equal(k.dials[0]->dbname, "moved");
	kit_connect(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_close(&k);
}

static void test_failure_of_the_old_one(void **state)
{
	struct seat one;
	struct next n;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	next_init(&n, &k.conf);
	seat_init(&one, &k, "a");
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	n.roles[0].password = "right";
	pools_set_conf(k.workers[0].pools, &n.conf);
	kit_fail(&k, "28P01", "wrong password");
	assert_null(one.refused.message);
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_close(&k);
}

/* The first worker has taken it, the second has not: a server of the old login that is lent to the
 * first one is closed there. */
static void test_lent_across_the_change(void **state)
{
	struct seat old, new;
	struct next n;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	next_init(&n, &k.conf);
	seat_connected(&old, &k, "a", kit_pool(&k, 1, 0));
	n.roles[0].password = "another";
	(void)kit_pool(&k, 0, 0);
	pools_set_conf(k.workers[0].pools, &n.conf);
	seat_init(&new, &k, "a");
	assert_false(seat_take(&new, kit_pool(&k, 0, 0)));
	seat_give(&old);
	kit_mail(&k);
	assert_null(new.server);
	assert_int_equal(k.n_dials, 1);
	assert_ptr_equal(k.dials[0]->conf, &n.conf);
	pools_set_conf(k.workers[1].pools, &n.conf);
	kit_connect(&k);
	assert_non_null(new.server);
	seat_give(&new);
	kit_close(&k);
}

static void test_gone_and_back(void **state)
{
	struct seat one;
	struct next without, back;
	struct kit k;
	struct pool *pool;

	(void)state;
	kit_open(&k, 1, 3);
	next_init(&without, &k.conf);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	pool = kit_pool(&k, 0, 0);
	without.databases[0].name = "renamed";
	pools_set_conf(k.workers[0].pools, &without.conf);
	assert_true(pool_lost_database(pool));
	assert_false(pool_lost_role(pool));
	seat_give(&one);
	assert_int_equal(kit_servers(&k, 0), 0);
	next_init(&back, &without.conf);
	back.databases[0].name = "one";
	pools_set_conf(k.workers[0].pools, &back.conf);
	assert_false(pool_lost_database(pool));
	assert_ptr_equal(kit_pool(&k, 0, 0), pool);
	assert_false(seat_take(&one, pool));
	kit_connect(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_close(&k);
}

/* Lowered: idle servers close at once, used ones as they are freed. Raised: who waits is served. */
static void test_server_limit(void **state)
{
	struct next low, high;
	struct seat seats[4];
	struct kit k;

	(void)state;
	kit_open(&k, 1, 3);
	next_init(&low, &k.conf);
	next_init(&high, &low.conf);
	low.conf.pgusher.max_server_conn = 1;
	high.conf.pgusher.max_server_conn = 2;
	for (int i = 0; i < 3; i++)
		seat_connected(&seats[i], &k, "a", kit_pool(&k, 0, 0));
	seat_give(&seats[2]);
	pools_set_conf(k.workers[0].pools, &low.conf);
	assert_int_equal(kit_servers(&k, 0), 2);
	seat_give(&seats[1]);
	assert_int_equal(kit_servers(&k, 0), 1);
	seat_init(&seats[3], &k, "b");
	assert_false(seat_take(&seats[3], kit_pool(&k, 0, 0)));
	assert_int_equal(k.n_dials, 0);
	pools_set_conf(k.workers[0].pools, &high.conf);
	kit_connect(&k);
	assert_non_null(seats[3].server);
	seat_give(&seats[0]);
	seat_give(&seats[3]);
	assert_int_equal(kit_servers(&k, 0), 2);
	kit_close(&k);
}

/* ---- limits that are lifted while clients wait ------------------------------------------- */

static void take_all(struct kit *k, struct seat *seats, int n, unsigned n_workers)
{
	for (int i = 0; i < n; i++) {
		seat_init(&seats[i], k, "a");
		(void)seat_take(&seats[i], kit_pool(k, (unsigned)i % n_workers, 0));
		kit_mail(k);
	}
	while (k->n_dials > 0)
		kit_connect(k);
}

static void set_conf(struct kit *k, struct next *n)
{
	for (unsigned w = 0; w < k->n_workers; w++)
		pools_set_conf(k->workers[w].pools, &n->conf);
	kit_pass(k, 0);
	kit_mail(k);
	while (k->n_dials > 0)
		kit_connect(k);
}

static int n_served(const struct seat *seats, int n)
{
	int served = 0;

	for (int i = 0; i < n; i++)
		served += seats[i].server != NULL;
	return served;
}

static void end_all(struct kit *k, struct seat *seats, int n)
{
	for (int i = 0; i < n; i++)
		pool_wait_end(&seats[i].waiter);
	for (int i = 0; i < n; i++) {
		if (seats[i].server != NULL)
			seat_give(&seats[i]);
	}
	kit_mail(k);
	assert_int_equal(atomic_load(&k->shared->nodes[0]->n_starving), 0);
	assert_int_equal(atomic_load(&kit_pool(k, 0, 0)->shared->n_full), 0);
	kit_close(k);
}

enum limit { LIMIT_OF_NODE, LIMIT_OF_POOL, LIMIT_OF_TENANT, LIMITS };

static void set_limit(struct conf *conf, struct conf_database *db, enum limit limit, int max)
{
	if (limit == LIMIT_OF_NODE)
		conf->pgusher.max_server_conn = max;
	else if (limit == LIMIT_OF_POOL)
		db->pool_size = max;
	else
		conf->tenants.max_server_conn = max;
}

/* On every worker, at once; the clock stands still. */
static void test_lifted_limit(void **state)
{
	struct seat seats[8];
	struct next n;
	struct kit k;

	(void)state;
	for (enum limit limit = 0; limit < LIMITS; limit++) {
		kit_open_real(&k, 2, 6);
		set_limit(&k.conf, &k.databases[0], limit, 1);
		next_init(&n, &k.conf);
		take_all(&k, seats, 8, 2);
		assert_int_equal(n_served(seats, 8), 1);
		set_limit(&n.conf, &n.databases[0], limit, 4);
		set_conf(&k, &n);
		assert_int_equal(n_served(seats, 8), 4);
		end_all(&k, seats, 8);
	}
}

/* The limit goes altogether. */
static void test_no_limit_any_more(void **state)
{
	struct seat seats[6];
	struct next n;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 6);
	k.conf.tenants.max_server_conn = 2;
	next_init(&n, &k.conf);
	take_all(&k, seats, 6, 2);
	assert_int_equal(n_served(seats, 6), 2);
	n.conf.tenants.max_server_conn = 0;
	set_conf(&k, &n);
	assert_int_equal(n_served(seats, 6), 6);
	end_all(&k, seats, 6);
}

/* A smaller pool closes what is too much: idle ones at once, the others when they are free. */
static void test_smaller_pool(void **state)
{
	struct seat seats[5];
	struct next n;
	struct kit k;

	(void)state;
	kit_open(&k, 1, 6);
	next_init(&n, &k.conf);
	take_all(&k, seats, 5, 1);
	seat_give(&seats[0]);
	n.databases[0].pool_size = 2;
	set_conf(&k, &n);
	assert_int_equal(kit_servers(&k, 0), 4);
	seat_give(&seats[1]);
	seat_give(&seats[2]);
	assert_int_equal(kit_servers(&k, 0), 2);
	seat_give(&seats[3]);
	assert_int_equal(kit_servers(&k, 0), 2);
	end_all(&k, seats, 5);
}

/* The database goes while its tenant is at its limit: who waits elsewhere for that is woken. */
static void test_removed_while_blocked(void **state)
{
	struct seat here, there, waits;
	struct next n;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 6);
	k.conf.tenants.max_server_conn = 1;
	next_init(&n, &k.conf);
	seat_connected(&here, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&there, &k, "a");
	assert_false(seat_take(&there, kit_pool(&k, 0, 0)));
	seat_init(&waits, &k, "a");
	assert_false(seat_take(&waits, kit_pool(&k, 1, 1)));
	n.databases[0].name = "renamed";
	set_conf(&k, &n);
	assert_null(there.server);
	pool_wait_end(&there.waiter);
	seat_give(&here);
	kit_mail(&k);
	kit_connect(&k);
	assert_non_null(waits.server);
	seat_give(&waits);
	assert_int_equal(k.workers[0].pools->n_blocked, 0);
	assert_int_equal(k.workers[1].pools->n_blocked, 0);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_changed),
		cmocka_unit_test(test_another_login),
		cmocka_unit_test(test_dials_under_way),
		cmocka_unit_test(test_failure_of_the_old_one),
		cmocka_unit_test(test_lent_across_the_change),
		cmocka_unit_test(test_gone_and_back),
		cmocka_unit_test(test_server_limit),
		cmocka_unit_test(test_lifted_limit),
		cmocka_unit_test(test_no_limit_any_more),
		cmocka_unit_test(test_smaller_pool),
		cmocka_unit_test(test_removed_while_blocked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
