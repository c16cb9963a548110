/* A stream that is TLS's server and a plain OpenSSL client on the other end of a socket pair, in the
 * same thread. */
#ifndef PGUSHER_TESTS_UNIT_NET_TLS_ENDS_H
#define PGUSHER_TESTS_UNIT_NET_TLS_ENDS_H

#include "tls_test.h"

/* ---- two ends ----------------------------------------------------------------------- */

struct ends {
	struct owner server;
	SSL *client;
	int client_fd;
	struct buf got; /* by the client */
	int client_end; /* SSL_get_error, once it is none of the WANTs */
};

static inline void ends_open_plain(struct ends *e)
{
	int fd[2];

	memset(e, 0, sizeof(*e));
	e->server.cap = 4096;
	make_pair(AF_INET, fd);
	e->client_fd = fd[1];
	stream_init(&e->server.stream, base, fd[0], &owner_events, &e->server);
	e->client = SSL_new(client_ctx);
	SSL_set_fd(e->client, fd[1]);
	SSL_set_connect_state(e->client);
	SSL_set_mode(e->client,
	             SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	settle(base);
}

static inline void ends_close(struct ends *e)
{
	if (e->server.stream.magic != 0)
		stream_fini(&e->server.stream);
	SSL_free(e->client);
	ERR_clear_error();
	close(e->client_fd);
	buf_fini(&e->got);
	buf_fini(&e->server.in);
}

static inline void client_read(struct ends *e)
{
	size_t n;

	ERR_clear_error();
	while (SSL_read_ex(e->client, buf_reserve(&e->got, 4096), 4096, &n) == 1)
		e->got.len += n;
	switch (SSL_get_error(e->client, 0)) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		break;
	default:
		e->client_end = SSL_get_error(e->client, 0);
	}
}

static inline bool have_shaken_hands(struct ends *e)
{
	return SSL_is_init_finished(e->client) && SSL_is_init_finished(e->server.stream.tls);
}

/* Lets both ends work until cond. */
#define PUMP_UNTIL(e, cond)                                                                        \
	do {                                                                                       \
		for (int pump_ = 0; pump_ < TURNS_MAX && !(cond); pump_++) {                       \
			client_read(e);                                                            \
			turn(base, pump_);                                                         \
		}                                                                                  \
		assert_true(cond);                                                                 \
	} while (0)

static inline void ends_open(struct ends *e)
{
	ends_open_plain(e);
	assert_true(stream_start_tls(&e->server.stream, server_ctx));
	PUMP_UNTIL(e, have_shaken_hands(e));
	assert_int_equal(e->server.end, 0);
}

static inline void client_write(struct ends *e, const void *p, size_t len)
{
	const char *from = p;
	size_t n, done = 0;

	for (int i = 0; i < TURNS_MAX && done < len; i++) {
		if (SSL_write_ex(e->client, from + done, len - done, &n) == 1)
			done += n;
		else
			turn(base, i);
	}
	assert_int_equal(done, len);
}

#endif
