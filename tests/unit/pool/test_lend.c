/* Servers that move between workers by letters. A server that moves must leave one event loop and
 * join another, so these have real sockets (libpq's, to a unix socket of the test's); all workers
 * are on one thread, and letters wait until the test lets them be read. */
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit/pool/kit.h"

/* Asked for by a worker that may not open a connection, an idle one of the same pool is lent. */
static void test_idle_is_lent_when_asked(void **state)
{
	struct seat one, two;
	struct server *server;
	struct kit k;

	(void)state;
	kit_open_real(&k, 3, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	server = one.server;
	seat_give(&one);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	assert_null(two.server);
	kit_mail(&k);
	assert_ptr_equal(two.server, server);
	assert_ptr_equal(server_note(server)->pool, kit_pool(&k, 1, 0));
	assert_int_equal(kit_servers(&k, 0), 1);
	assert_int_equal(k.n_dials_ever, 1);
	assert_int_equal(pools_busy(k.workers[0].pools), 0);
	assert_int_equal(pools_busy(k.workers[1].pools), 1);
	/* It stays where it is: the next who asks there has it at once. */
	seat_give(&two);
	assert_true(seat_take(&two, kit_pool(&k, 1, 0)));
	seat_give(&two);
	kit_close(&k);
}

/* One that is in use comes over when it is released, if the client there has waited longer. */
static void test_released_goes_to_who_waited_longer(void **state)
{
	struct seat one, mine, other;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 1, 0)));
	kit_pass(&k, 6 * US_PER_MS);
	seat_init(&mine, &k, "m");
	assert_false(seat_take(&mine, kit_pool(&k, 0, 0)));
	seat_give(&one);
	assert_null(mine.server);
	kit_mail(&k);
	assert_non_null(other.server);
	/* And back again: now this worker's client is the one who waits. */
	seat_give(&other);
	kit_mail(&k);
	assert_non_null(mine.server);
	seat_give(&mine);
	assert_log(&k, "granted a; granted o; granted m");
	kit_close(&k);
}

/* A few milliseconds are not worth a move. */
static void test_own_client_is_preferred(void **state)
{
	struct seat one, mine, other;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 1, 0)));
	kit_pass(&k, 4 * US_PER_MS);
	seat_init(&mine, &k, "m");
	assert_false(seat_take(&mine, kit_pool(&k, 0, 0)));
	seat_give(&one);
	assert_non_null(mine.server);
	/* But without a waiter of its own, anybody's. */
	seat_give(&mine);
	kit_mail(&k);
	assert_non_null(other.server);
	seat_give(&other);
	kit_close(&k);
}

/* Of several workers the one whose client has waited longest. */
static void test_longest_waiting_worker(void **state)
{
	struct seat one, others[3];
	struct kit k;

	(void)state;
	kit_open_real(&k, 4, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	for (int i = 2; i >= 0; i--) {
		seat_init(&others[i], &k, "o");
		assert_false(seat_take(&others[i], kit_pool(&k, (unsigned)i + 1, 0)));
		kit_pass(&k, 10 * US_PER_MS);
	}
	seat_give(&one);
	for (int i = 2; i >= 0; i--) {
		kit_mail(&k);
		assert_non_null(others[i].server);
		seat_give(&others[i]);
	}
	kit_close(&k);
}

/* The client for whom the server was sent has gone in the meantime. */
static void test_lent_in_vain(void **state)
{
	struct seat one, other;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 1, 0)));
	seat_give(&one);
	pool_wait_end(&other.waiter);
	kit_mail(&k);
	assert_log(&k, "granted a");
	/* It is idle there, and is asked for again by who needs it. */
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	kit_mail(&k);
	assert_non_null(one.server);
	seat_give(&one);
	kit_close(&k);
}

/* A worker whose own login is refused gets what others have idle, now and until its next try. */
static void test_idle_is_lent_when_logins_fail(void **state)
{
	struct seat one, two, three;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 5);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_connected(&two, &k, "b", kit_pool(&k, 0, 0));
	seat_connected(&three, &k, "c", kit_pool(&k, 0, 1));
	seat_give(&one);
	seat_give(&two);
	seat_give(&three);
	assert_false(seat_take(&one, kit_pool(&k, 1, 0)));
	kit_fail(&k, "28P01", "password authentication failed");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_mail(&k);
	assert_log(&k, "granted a; granted b; granted c; granted a; granted b");
	/* That of the other pool would not help, and stays. */
	assert_int_equal(kit_servers(&k, 0), 3);
	seat_give(&one);
	seat_give(&two);
	kit_close(&k);
}

/* Waiting for one of the same pool is not waiting for one of another. */
static void test_other_pool_is_not_lent(void **state)
{
	struct seat one, other;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&other, &k, "o");
	assert_false(seat_take(&other, kit_pool(&k, 1, 1)));
	seat_give(&one);
	kit_mail(&k);
	/* Closed, to make room for a new one. */
	assert_int_equal(k.n_dials, 1);
	kit_connect(&k);
	assert_ptr_equal(server_note(other.server)->pool, kit_pool(&k, 1, 1));
	seat_give(&other);
	kit_close(&k);
}

/* Half a notice has come on an idle server: it is not lent while we wait for the rest, and nobody
 * is the worse for it. */
static void test_half_a_notice_when_asked(void **state)
{
	static const char notice[] = "N\0\0\0\x0dSNOTICE\0";
	struct seat one, two;
	struct kit k;
	int fd;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	fd = accept(k.listen_fd, NULL, NULL);
	assert_true(fd >= 0);
	seat_give(&one);
	assert_int_equal(send(fd, notice, 8, 0), 8);
	kit_mail(&k);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	kit_mail(&k);
	/* Lent when the rest is there, or closed and replaced: in any case the client is served. */
	(void)send(fd, notice + 8, sizeof(notice) - 8, MSG_NOSIGNAL);
	kit_mail(&k);
	if (k.n_dials > 0)
		kit_connect(&k);
	assert_non_null(two.server);
	seat_give(&two);
	close(fd);
	kit_close(&k);
}

/* A server that ended on its way is lost in its new place, not in the old one. */
static void test_ends_on_its_way(void **state)
{
	struct seat one, two;
	struct kit k;
	int fd;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	fd = accept(k.listen_fd, NULL, NULL);
	assert_true(fd >= 0);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	seat_give(&one);
	close(fd);
	kit_mail(&k);
	assert_int_equal(two.n_lost, 1);
	assert_int_equal(kit_servers(&k, 0), 0);
	kit_close(&k);
}

/* It speaks in its new place as it did in the old one. */
static void test_speaks_after_the_move(void **state)
{
	static const char reply[] = "C\0\0\0\x0dSELECT 1\0Z\0\0\0\5T";
	static const char query[] = "Q\0\0\0\x0dSELECT 1";
	struct seat one, two;
	char got[64];
	struct kit k;
	int fd;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	fd = accept(k.listen_fd, NULL, NULL);
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	seat_give(&one);
	kit_mail(&k);
	(void)server_begin(two.server);
	server_put_query(two.server, "SELECT 1", FATE_PASS);
	assert_true(server_end(two.server));
	assert_int_equal(recv(fd, got, sizeof(got), 0), sizeof(query));
	assert_memory_equal(got, query, sizeof(query));
	assert_int_equal(send(fd, reply, sizeof(reply) - 1, 0), sizeof(reply) - 1);
	kit_mail(&k);
	assert_int_equal(server_status(two.server), 'T');
	/* Rolled back here, before it goes anywhere. */
	assert_false(seat_take(&one, kit_pool(&k, 0, 0)));
	seat_give(&two);
	kit_mail(&k);
	assert_null(one.server);
	assert_int_equal(send(fd, reply, sizeof(reply) - 2, 0), sizeof(reply) - 2);
	assert_int_equal(send(fd, "I", 1, 0), 1);
	kit_mail(&k);
	assert_non_null(one.server);
	seat_give(&one);
	close(fd);
	kit_close(&k);
}

/* Stopped while letters are on their way: what they carry is closed, nothing is opened. */
static void test_stopped_on_its_way(void **state)
{
	struct seat one, two;
	struct kit k;

	(void)state;
	kit_open_real(&k, 2, 1);
	seat_connected(&one, &k, "a", kit_pool(&k, 0, 0));
	seat_init(&two, &k, "b");
	assert_false(seat_take(&two, kit_pool(&k, 1, 0)));
	seat_give(&one);
	pool_wait_end(&two.waiter);
	for (unsigned i = 0; i < 2; i++)
		pools_stop(k.workers[i].pools);
	kit_mail(&k);
	assert_int_equal(kit_servers(&k, 0), 0);
	assert_int_equal(k.n_dials_ever, 1);
	kit_close(&k);
}

/* Who waits is served in the end, whatever the order, and no connection is lost or made up. */
static void test_any_order(void **state)
{
	enum { SEATS = 16, STEPS = 4000, SERVERS = 4 };
	struct seat seats[SEATS];
	uint32_t random = 4711;
	struct kit k;

	(void)state;
	kit_open_real(&k, 4, SERVERS);
	for (int i = 0; i < SEATS; i++)
		seat_init(&seats[i], &k, "a");
	for (int step = 0; step < STEPS; step++) {
		struct seat *seat = &seats[(random >> 16) % SEATS];

		random = random * 1103515245 + 12345;
		k.log.len = 0;
		if ((random >> 16) % 4 == 0)
			kit_pass(&k, (random >> 20) % 7000);
		else if (k.n_dials > 0 && (random >> 16) % 4 == 1)
			kit_connect(&k);
		else if (seat->server != NULL)
			seat_give(seat);
		else if (!pool_is_waiting(&seat->waiter))
			seat_take(seat, kit_pool(&k, (random >> 24) % 4, 0));
		assert_in_range(kit_servers(&k, 0), 0, SERVERS);
	}
	/* No more come: those who have one give it back until all have had one. */
	for (int step = 0; step < SEATS; step++) {
		for (int i = 0; i < SEATS; i++) {
			if (seats[i].server != NULL)
				seat_give(&seats[i]);
		}
		while (k.n_dials > 0)
			kit_connect(&k);
		kit_pass(&k, 1000);
	}
	for (int i = 0; i < SEATS; i++) {
		assert_false(pool_is_waiting(&seats[i].waiter));
		if (seats[i].server != NULL)
			seat_give(&seats[i]);
	}
	kit_mail(&k);
	assert_int_equal(kit_servers(&k, 0), SERVERS);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_idle_is_lent_when_asked),
		cmocka_unit_test(test_released_goes_to_who_waited_longer),
		cmocka_unit_test(test_own_client_is_preferred),
		cmocka_unit_test(test_longest_waiting_worker),
		cmocka_unit_test(test_lent_in_vain),
		cmocka_unit_test(test_idle_is_lent_when_logins_fail),
		cmocka_unit_test(test_other_pool_is_not_lent),
		cmocka_unit_test(test_half_a_notice_when_asked),
		cmocka_unit_test(test_ends_on_its_way),
		cmocka_unit_test(test_speaks_after_the_move),
		cmocka_unit_test(test_stopped_on_its_way),
		cmocka_unit_test(test_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
