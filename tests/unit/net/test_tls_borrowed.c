/* TLS streams over an SSL object that somebody else made and ends, as libpq does. */
#include "tls_test.h"

/* As libpq makes it: one BIO, no partial writes, no read-ahead. `far` is the server, a plain
 * OpenSSL object pumped by hand. */
struct lent {
	SSL *near, *far;
	int fd[2];
	struct owner owner;
	struct buf got; /* by far */
};

static void lent_open(struct lent *l)
{
	memset(l, 0, sizeof(*l));
	l->owner.cap = 4096;
	make_pair(AF_INET, l->fd);
	l->near = SSL_new(client_ctx);
	SSL_set_mode(l->near, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_set_fd(l->near, l->fd[0]);
	SSL_set_connect_state(l->near);
	l->far = SSL_new(server_ctx);
	SSL_set_fd(l->far, l->fd[1]);
	SSL_set_accept_state(l->far);
	for (int i = 0; i < TURNS_MAX && SSL_do_handshake(l->near) + SSL_do_handshake(l->far) < 2;
	     i++)
		turn(base, i);
	assert_true(SSL_is_init_finished(l->near) && SSL_is_init_finished(l->far));
}

static void lent_close(struct lent *l)
{
	SSL_free(l->near);
	SSL_free(l->far);
	close(l->fd[0]);
	close(l->fd[1]);
	buf_fini(&l->got);
	buf_fini(&l->owner.in);
}

static void far_read(struct lent *l)
{
	size_t n;

	ERR_clear_error();
	while (SSL_read_ex(l->far, buf_reserve(&l->got, 4096), 4096, &n) == 1)
		l->got.len += n;
}

static void test_borrowed(void **state)
{
	static uint8_t much[MUCH];
	struct event_base *other = event_base_new();
	BIO *before;
	static struct lent l;
	int tiny = 1;

	(void)state;
	lent_open(&l);
	before = SSL_get_rbio(l.near);
	setsockopt(l.fd[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
	stream_init_borrowed(&l.owner.stream, base, l.fd[0], l.near, &owner_events, &l.owner);
	assert_int_equal(SSL_write(l.far, "row", 3), 3);
	assert_int_equal(SSL_write(l.far, "row", 3), 3);
	TURN_UNTIL(base, l.owner.in.len == 6);

	/* It moves with half of its bytes still here. */
	send_much(&l.owner, much);
	stream_detach(&l.owner.stream);
	stream_attach(&l.owner.stream, other, &l.owner);
	for (int i = 0; i < TURNS_MAX && l.got.len < MUCH; i++) {
		far_read(&l);
		turn(other, i);
	}
	assert_int_equal(l.got.len, MUCH);
	assert_pattern(l.got.data, MUCH);
	TURN_UNTIL(other, l.owner.writable == 1);

	/* Given back as it was: libpq can still say goodbye with it. */
	stream_fini(&l.owner.stream);
	assert_ptr_equal(SSL_get_rbio(l.near), before);
	assert_ptr_equal(SSL_get_wbio(l.near), before);
	assert_int_equal(SSL_write(l.near, "X", 1), 1);
	assert_int_equal(SSL_write(l.far, "y", 1), 1);
	wait_for(l.fd[0], POLLIN);
	assert_int_equal(SSL_read(l.near, much, 1), 1);
	wait_for(l.fd[1], POLLIN);
	far_read(&l);
	assert_int_equal(l.got.len, MUCH + 1);
	lent_close(&l);
	event_base_free(other);
}

/* OpenSSL had taken bytes from the socket before we came: no edge will tell of them. */
static void test_borrowed_with_bytes_inside(void **state)
{
	static struct lent l;
	char first, peeked[2000];

	(void)state;
	lent_open(&l);
	SSL_set_read_ahead(l.near, 1);
	assert_int_equal(SSL_write(l.far, "ab", 2), 2);
	assert_int_equal(SSL_write(l.far, "cd", 2), 2);
	/* All that the handshake left over, and two records of 24 bytes. */
	for (int i = 0; i < TURNS_MAX && recv(l.fd[0], peeked, sizeof(peeked), MSG_PEEK) < 48; i++)
		turn(base, i);
	while (SSL_read(l.near, &first, 1) != 1)
		sleep_ms(1);
	stream_init_borrowed(&l.owner.stream, base, l.fd[0], l.near, &owner_events, &l.owner);
	TURN_UNTIL(base, l.owner.in.len == 3);
	assert_memory_equal(l.owner.in.data, "bcd", 3);

	/* And again at another worker. */
	l.owner.paused = true;
	assert_int_equal(SSL_write(l.far, "efgh", 4), 4);
	wait_for(l.fd[0], POLLIN);
	settle(base);
	assert_int_equal(stream_read(&l.owner.stream, &first, 1), 1);
	stream_detach(&l.owner.stream);
	l.owner.paused = false;
	stream_attach(&l.owner.stream, base, &l.owner);
	TURN_UNTIL(base, l.owner.in.len == 6);
	assert_memory_equal(l.owner.in.data, "bcdfgh", 6);

	/* The server goes, without close_notify. */
	close(l.fd[1]);
	TURN_UNTIL(base, l.owner.end != 0);
	assert_int_equal(l.owner.end, STREAM_EOF);
	l.fd[1] = dup(l.fd[0]);
	stream_fini(&l.owner.stream);
	lent_close(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_borrowed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_borrowed_with_bytes_inside, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
