/* TLS on streams: a real OpenSSL peer on the other end of a socket pair, in the same thread. */
#include "tls_ends.h"

/* ---- tests -------------------------------------------------------------------------- */

static void echo_with_version(int version)
{
	static struct ends e;

	SSL_CTX_set_min_proto_version(client_ctx, version);
	SSL_CTX_set_max_proto_version(client_ctx, version);
	ends_open(&e);
	assert_int_equal(SSL_version(e.client), version);
	client_write(&e, "question", 8);
	assert_true(owner_send(&e.server, "answer", 6));
	PUMP_UNTIL(&e, e.server.in.len == 8 && e.got.len == 6);
	assert_memory_equal(e.server.in.data, "question", 8);
	assert_memory_equal(e.got.data, "answer", 6);
	assert_false(stream_is_readable(&e.server.stream));
	ends_close(&e);
}

static void test_versions(void **state)
{
	static struct ends e;

	(void)state;
	echo_with_version(TLS1_2_VERSION);
	echo_with_version(TLS1_3_VERSION);
	/* Older ones are refused, by us and not only by a distribution's settings. */
	assert_int_equal(SSL_CTX_get_min_proto_version(server_ctx), TLS1_2_VERSION);
	SSL_CTX_set_min_proto_version(client_ctx, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(client_ctx, TLS1_1_VERSION);
	SSL_CTX_set_cipher_list(client_ctx, "ALL:@SECLEVEL=0");
	ends_open_plain(&e);
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	PUMP_UNTIL(&e, e.server.end != 0 && e.client_end != 0);
	assert_int_equal(e.server.end, STREAM_ERROR);
	assert_int_equal(e.client_end, SSL_ERROR_SSL);
	ends_close(&e);
}

static void test_alpn(void **state)
{
	static const unsigned char both[] = "\x02h2\x0apostgresql";
	static const unsigned char wrong[] = "\x02h2";
	const unsigned char *chosen;
	unsigned len;
	static struct ends e;

	(void)state;
	ends_open(&e);
	assert_false(stream_has_alpn(&e.server.stream));
	ends_close(&e);

	SSL_CTX_set_alpn_protos(client_ctx, both, sizeof(both) - 1);
	ends_open(&e);
	SSL_get0_alpn_selected(e.client, &chosen, &len);
	assert_int_equal(len, 10);
	assert_memory_equal(chosen, "postgresql", 10);
	assert_true(stream_has_alpn(&e.server.stream));
	ends_close(&e);

	SSL_CTX_set_alpn_protos(client_ctx, wrong, sizeof(wrong) - 1);
	ends_open_plain(&e);
	assert_false(stream_has_alpn(&e.server.stream));
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	PUMP_UNTIL(&e, e.server.end != 0 && e.client_end != 0);
	assert_int_equal(e.server.end, STREAM_ERROR);
	assert_int_equal(e.client_end, SSL_ERROR_SSL);
	ends_close(&e);
}

/* Records that one recv brought together must all come out without another edge, however
 * small the reads are and wherever the owner pauses. */
static void test_buffered_bytes_keep_it_readable(void **state)
{
	char sent[100], peeked[2000], got[3];
	static struct ends e;
	size_t len = 0;
	ssize_t n;

	(void)state;
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = (char)pattern(i);
	ends_open(&e);
	TURN_UNTIL(base, !stream_is_readable(&e.server.stream));
	e.server.paused = true;
	for (int i = 0; i < 10; i++)
		client_write(&e, sent + 10 * i, 10);
	/* Ten records of 32 bytes at least. */
	PUMP_UNTIL(&e, recv(e.server.stream.fd, peeked, sizeof(peeked), MSG_PEEK) >= 320);
	assert_true(stream_is_readable(&e.server.stream));
	while (len < sizeof(sent)) {
		n = stream_read(&e.server.stream, got, sizeof(got));
		assert_true(n > 0);
		assert_pattern((uint8_t *)sent, len);
		assert_memory_equal(got, sent + len, (size_t)n);
		len += (size_t)n;
		assert_true(stream_is_readable(&e.server.stream));
		/* Nothing more comes from the socket: a pause here must lose nothing. */
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(stream_read(&e.server.stream, got, sizeof(got)), STREAM_WAIT);
	assert_false(stream_is_readable(&e.server.stream));
	ends_close(&e);
}

static void test_large_answers(void **state)
{
	static uint8_t much[MUCH];
	int tiny = 1, updates = 0;
	static struct ends e;

	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX_set_max_proto_version(client_ctx, version);
		ends_open(&e);
		assert_int_equal(SSL_version(e.client), version);
		setsockopt(e.server.stream.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
		send_much(&e.server, much);
		for (int i = 0; i < TURNS_MAX && e.got.len < MUCH; i++) {
			client_read(&e);
			turn(base, i);
			/* Its answer has to wait for the record under way. */
			if (version == TLS1_3_VERSION && i % 40 == 7 && updates++ < 10) {
				SSL_key_update(e.client, SSL_KEY_UPDATE_REQUESTED);
				client_write(&e, "q", 1);
			}
		}
		assert_int_equal(e.got.len, MUCH);
		assert_pattern(e.got.data, MUCH);
		TURN_UNTIL(base, e.server.writable == 1);
		assert_null(e.server.stream.out.data);
		assert_null(e.server.stream.write_event);
		ends_close(&e);
	}
}

static void test_large_questions_and_key_updates(void **state)
{
	static uint8_t much[MUCH];
	static struct ends e;
	size_t at = 0;

	(void)state;
	fill_pattern(much, MUCH);
	ends_open(&e);
	for (int i = 0; at < MUCH; i++) {
		size_t len = MUCH - at < 100000 ? MUCH - at : 100000;

		if (i % 3 == 1)
			assert_int_equal(SSL_key_update(e.client, SSL_KEY_UPDATE_REQUESTED), 1);
		client_write(&e, much + at, len);
		at += len;
		assert_true(owner_send(&e.server, "ok", 2));
		client_read(&e);
	}
	for (int i = 0; i < TURNS_MAX && e.server.in.len < MUCH; i++)
		turn(base, i);
	assert_int_equal(e.server.in.len, MUCH);
	assert_pattern(e.server.in.data, MUCH);
	PUMP_UNTIL(&e, e.got.len == 2 * ((MUCH + 99999) / 100000));
	ends_close(&e);
}

static void test_no_tls_in_the_bytes(void **state)
{
	const char *junk = "GET / HTTP/1.0\r\n\r\nand more of it";
	static struct ends e;
	char got[10];

	(void)state;
	ends_open_plain(&e);
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	assert_int_equal(send(e.client_fd, junk, strlen(junk), 0), strlen(junk));
	TURN_UNTIL(base, e.server.end != 0);
	assert_int_equal(e.server.end, STREAM_ERROR);
	assert_int_equal(stream_read(&e.server.stream, got, sizeof(got)), STREAM_ERROR);
	assert_false(owner_send(&e.server, "x", 1));
	ends_close(&e);
}

static void test_hang_ups(void **state)
{
	static struct ends e;

	(void)state;
	/* With close_notify. */
	ends_open(&e);
	client_write(&e, "bye", 3);
	SSL_shutdown(e.client);
	TURN_UNTIL(base, e.server.end != 0);
	assert_int_equal(e.server.in.len, 3);
	assert_int_equal(e.server.end, STREAM_EOF);
	ends_close(&e);

	/* Without, and only half: the answer still goes out. */
	ends_open(&e);
	client_write(&e, "bye", 3);
	shutdown(e.client_fd, SHUT_WR);
	TURN_UNTIL(base, e.server.end != 0);
	assert_int_equal(e.server.in.len, 3);
	assert_int_equal(e.server.end, STREAM_EOF);
	assert_true(owner_send(&e.server, "answer", 6));
	PUMP_UNTIL(&e, e.got.len == 6);
	ends_close(&e);

	/* In the handshake. */
	ends_open_plain(&e);
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	client_read(&e);
	shutdown(e.client_fd, SHUT_WR);
	TURN_UNTIL(base, e.server.end < 0);
	ends_close(&e);
}

static void test_broken_write_leaves_the_last_words(void **state)
{
	static struct ends e;

	(void)state;
	ends_open(&e);
	e.server.paused = true;
	client_write(&e, "bye", 3);
	shutdown(e.client_fd, SHUT_RDWR);
	close(e.client_fd);
	e.client_fd = -1;
	for (int i = 0; i < 5000 && owner_send(&e.server, "x", 1); i++)
		sleep_ms(1);
	assert_false(owner_send(&e.server, "x", 1));
	owner_read(&e.server);
	assert_int_equal(e.server.in.len, 3);
	assert_true(e.server.end < 0);
	ends_close(&e);
}

static void test_fini_says_goodbye(void **state)
{
	static struct ends e;

	(void)state;
	ends_open(&e);
	assert_true(owner_send(&e.server, "last", 4));
	stream_fini(&e.server.stream);
	PUMP_UNTIL(&e, e.client_end != 0);
	assert_int_equal(e.got.len, 4);
	assert_int_equal(e.client_end, SSL_ERROR_ZERO_RETURN);
	ends_close(&e);

	/* In the middle of a handshake there is nobody to say it to. */
	ends_open_plain(&e);
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	client_read(&e);
	TURN_UNTIL(base, e.server.readable > 0);
	stream_fini(&e.server.stream);
	ends_close(&e);
}

static void test_direct_tls(void **state)
{
	static const unsigned char alpn[] = "\x0apostgresql";
	uint8_t hello[4096];
	static struct ends e;
	ssize_t n;

	(void)state;
	SSL_CTX_set_alpn_protos(client_ctx, alpn, sizeof(alpn) - 1);
	for (size_t cap = 1; cap < sizeof(hello); cap = cap * 3 + 1) {
		ends_open_plain(&e);
		e.server.paused = true;
		client_read(&e);
		TURN_UNTIL(base, e.server.readable > 0);
		n = stream_read(&e.server.stream, hello, cap);
		assert_true(n > 0);
		assert_int_equal(hello[0], 0x16);
		assert_true(
			stream_start_tls_direct(&e.server.stream, server_ctx, hello, (size_t)n));
		memset(hello, 0, sizeof(hello));
		assert_true(stream_is_readable(&e.server.stream));
		e.server.paused = false;
		owner_read(&e.server);
		PUMP_UNTIL(&e, have_shaken_hands(&e));
		assert_true(stream_has_alpn(&e.server.stream));
		client_write(&e, "startup", 7);
		PUMP_UNTIL(&e, e.server.in.len == 7);
		ends_close(&e);
	}
}

/* The handshake itself fails, with an alert that says what is missing. */
static void test_direct_tls_without_alpn(void **state)
{
	static struct ends e;
	uint8_t hello[4096];
	ssize_t n;

	(void)state;
	ends_open_plain(&e);
	e.server.paused = true;
	client_read(&e);
	TURN_UNTIL(base, e.server.readable > 0);
	n = stream_read(&e.server.stream, hello, sizeof(hello));
	assert_true(stream_start_tls_direct(&e.server.stream, server_ctx, hello, (size_t)n));
	assert_null(stream_tls_failure(&e.server.stream));
	e.server.paused = false;
	owner_read(&e.server);
	assert_int_equal(e.server.end, STREAM_ERROR);
	assert_non_null(stream_tls_failure(&e.server.stream));
	ERR_clear_error();
	assert_int_equal(SSL_do_handshake(e.client), -1);
	assert_int_equal(ERR_GET_REASON(ERR_peek_error()),
	                 SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL);
	ends_close(&e);
}

static void test_start_is_refused(void **state)
{
	static const uint8_t much[8 << 20];
	static struct ends e;

	(void)state;
	/* With plain bytes still to send. */
	ends_open_plain(&e);
	assert_true(owner_send(&e.server, much, sizeof(much)));
	assert_true(stream_backlog_bytes(&e.server.stream) > 0);
	assert_false(stream_start_tls(&e.server.stream, server_ctx));
	ends_close(&e);
	/* Twice. */
	ends_open(&e);
	assert_false(stream_start_tls(&e.server.stream, server_ctx));
	ends_close(&e);
}

/* The handshake has to send, and the client's window is full: it goes on when there is room,
 * though nothing more comes to read. */
static void test_handshake_waits_for_room(void **state)
{
	static uint8_t junk[1 << 16];
	size_t in_the_way = 0;
	static struct ends e;
	ssize_t n;
	int tiny = 1;

	(void)state;
	ends_open_plain(&e);
	setsockopt(e.server.stream.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
	for (int i = 0; i < 100; i++) {
		while ((n = send(e.server.stream.fd, junk, sizeof(junk), MSG_NOSIGNAL)) > 0)
			in_the_way += (size_t)n;
		sleep_ms(1);
	}
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	/* The ClientHello, without a look at what comes back; its answer finds no room. */
	SSL_set0_rbio(e.client, BIO_new(BIO_s_mem()));
	assert_int_equal(SSL_get_error(e.client, SSL_do_handshake(e.client)), SSL_ERROR_WANT_READ);
	TURN_UNTIL(base, e.server.stream.write_event != NULL);
	assert_int_equal(e.server.end, 0);
	for (int i = 0; i < TURNS_MAX && in_the_way > 0; i++) {
		n = recv(e.client_fd, junk, in_the_way < sizeof(junk) ? in_the_way : sizeof(junk),
		         0);
		in_the_way -= n > 0 ? (size_t)n : 0;
		turn(base, i);
	}
	assert_int_equal(in_the_way, 0);
	SSL_set_rfd(e.client, e.client_fd);
	PUMP_UNTIL(&e, have_shaken_hands(&e));
	assert_null(e.server.stream.write_event);
	ends_close(&e);
}

/* What is written before the handshake has ended waits for it. */
static void test_write_waits_for_the_handshake(void **state)
{
	static struct ends e;

	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		SSL_CTX_set_max_proto_version(client_ctx, version);
		ends_open_plain(&e);
		assert_true(stream_start_tls(&e.server.stream, server_ctx));
		assert_true(owner_send(&e.server, "hasty", 5));
		assert_int_equal(stream_backlog_bytes(&e.server.stream), 5);
		PUMP_UNTIL(&e, e.got.len == 5);
		assert_memory_equal(e.got.data, "hasty", 5);
		TURN_UNTIL(base, e.server.writable == 1);
		ends_close(&e);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		ON_LOOP(test_versions),
		ON_LOOP(test_alpn),
		ON_LOOP(test_buffered_bytes_keep_it_readable),
		ON_LOOP(test_large_answers),
		ON_LOOP(test_large_questions_and_key_updates),
		ON_LOOP(test_no_tls_in_the_bytes),
		ON_LOOP(test_hang_ups),
		ON_LOOP(test_broken_write_leaves_the_last_words),
		ON_LOOP(test_fini_says_goodbye),
		ON_LOOP(test_direct_tls),
		ON_LOOP(test_direct_tls_without_alpn),
		ON_LOOP(test_start_is_refused),
		ON_LOOP(test_handshake_waits_for_room),
		ON_LOOP(test_write_waits_for_the_handshake),
#undef ON_LOOP
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
