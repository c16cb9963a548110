/* One connection of the load generator: its socket, TLS, login and messages. Input goes through one
 * buffer of the process, messages are stepped over as they come, and only the first BODY_KEPT bytes
 * of one are kept. Nothing blocks. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "load.h"

static uint8_t input[65536];

/* ---- output ---------------------------------------------------------------------------------- */

/* What became of a read or write, for plain and TLS alike. */
enum io { IO_OK, IO_WAIT, IO_END };

static enum io ssl_outcome(struct conn *c, int rc)
{
	int error = SSL_get_error(c->ssl, rc);

	ERR_clear_error();
	return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? IO_WAIT : IO_END;
}

static enum io conn_write(struct conn *c, const uint8_t *p, size_t len, size_t *done)
{
	ssize_t n;

	if (c->ssl != NULL && c->phase > PHASE_TLS) {
		int rc = SSL_write_ex(c->ssl, p, len, done);

		return rc == 1 ? IO_OK : ssl_outcome(c, rc);
	}
	n = send(c->fd, p, len, MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? IO_WAIT : IO_END;
	*done = (size_t)n;
	return IO_OK;
}

static enum io conn_read(struct conn *c, size_t *got)
{
	ssize_t n;

	if (c->ssl != NULL) {
		int rc = SSL_read_ex(c->ssl, input, sizeof(input), got);

		return rc == 1 ? IO_OK : ssl_outcome(c, rc);
	}
	/* One byte: what comes behind the answer to SSLRequest is TLS. */
	n = recv(c->fd, input, c->phase == PHASE_TLS_ASKED ? 1 : sizeof(input), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return IO_WAIT;
	*got = n > 0 ? (size_t)n : 0;
	return n > 0 ? IO_OK : IO_END;
}

static void conn_flush(struct conn *c)
{
	while (c->out_done < c->out_len) {
		size_t done = 0;
		enum io io = conn_write(c, c->out + c->out_done, c->out_len - c->out_done, &done);

		/* Also an end is told by the next read, behind what the server had said. */
		if (io != IO_OK)
			return;
		c->out_done += done;
	}
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_done = 0;
}

static void conn_send(struct conn *c, const uint8_t *p, size_t len)
{
	size_t done = 0;

	/* OpenSSL must be given the same bytes again, from any address (moving write buffer). */
	if (c->out == NULL && conn_write(c, p, len, &done) == IO_OK && done == len)
		return;
	c->out = realloc(c->out, c->out_len + len - done);
	if (c->out == NULL)
		abort();
	memcpy(c->out + c->out_len, p + done, len - done);
	c->out_len += len - done;
}

static void put_be32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
}

static void send_message(struct conn *c, char type, const void *body, size_t len)
{
	uint8_t *m = malloc(len + 5);

	if (m == NULL)
		abort();
	m[0] = (uint8_t)type;
	put_be32(m + 1, (uint32_t)len + 4);
	memcpy(m + 5, body, len);
	conn_send(c, m, len + 5);
	free(m);
}

static void send_startup(struct conn *c)
{
	const struct options *o = c->worker->env.options;
	uint8_t m[512] = {0};
	/* user NUL name NUL database NUL name NUL NUL */
	int n = snprintf((char *)m + 8, sizeof(m) - 8, "user%c%s%cdatabase%c%s%c", 0, o->user, 0, 0,
	                 o->database, 0);

	if (n < 0 || (size_t)n + 9 > sizeof(m))
		abort();
	put_be32(m, (uint32_t)n + 9);
	put_be32(m + 4, 196608);
	c->phase = PHASE_LOGIN;
	conn_send(c, m, (size_t)n + 9);
}

void conn_query(struct conn *c)
{
	const char *sql = c->worker->env.options->sql;

	c->phase = PHASE_BUSY;
	c->has_failed = false;
	send_message(c, 'Q', sql, strlen(sql) + 1);
}

void conn_bye(struct conn *c)
{
	c->phase = PHASE_BYE;
	send_message(c, 'X', "", 0);
}

/* ---- messages --------------------------------------------------------------------------------- */

static void send_sasl_first(struct conn *c)
{
	static const char mechanism[] = "SCRAM-SHA-256";
	uint8_t m[256];
	char first[128];
	size_t len;

	if (c->scram != NULL)
		scram_free(&c->scram);
	c->scram = scram_new(c->secret->password, first, sizeof(first));
	len = strlen(first);
	memcpy(m, mechanism, sizeof(mechanism));
	put_be32(m + sizeof(mechanism), (uint32_t)len);
	memcpy(m + sizeof(mechanism) + 4, first, len);
	send_message(c, 'p', m, sizeof(mechanism) + 4 + len);
}

static void on_auth(struct conn *c)
{
	char final[512];

	if (c->body_len < 4)
		return;
	switch ((uint32_t)c->body[2] << 8 | c->body[3]) {
	case 0:  /* ok */
	case 12: /* the server's proof */
		return;
	case 3:
		send_message(c, 'p', c->secret->password, strlen(c->secret->password) + 1);
		return;
	case 10:
		send_sasl_first(c);
		return;
	case 11:
		if (c->scram == NULL ||
		    !scram_answer(c->scram, (char *)c->body + 4, final, sizeof(final))) {
			conn_close(c, "SCRAM failed");
			return;
		}
		send_message(c, 'p', final, strlen(final));
		return;
	default:
		conn_close(c, "the server asks for an authentication that is not known here");
	}
}

/* "SQLSTATE message" of an ErrorResponse. */
static void on_error(struct conn *c)
{
	const char *state = "", *text = "", *at = (char *)c->body;
	const char *end = at + c->body_len; /* there is a NUL */
	char both[200];

	while (at < end && *at != '\0') {
		if (*at == 'C')
			state = at + 1;
		if (*at == 'M')
			text = at + 1;
		at += strlen(at) + 1;
	}
	snprintf(both, sizeof(both), "%s %s", state, text);
	c->has_failed = true;
	c->worker->env.events->on_error(c, both);
}

static void on_row(struct conn *c)
{
	uint32_t len;

	if (c->body_len < 6)
		return;
	memcpy(&len, c->body + 2, sizeof(len));
	len = ntohl(len);
	if (len <= c->body_len - 6)
		c->worker->env.events->on_row(c, (char *)c->body + 6, len);
}

static void on_message(struct conn *c)
{
	c->body[c->body_len] = '\0';
	switch (c->head[0]) {
	case 'R':
		on_auth(c);
		break;
	case 'E':
		on_error(c);
		break;
	case 'D':
		on_row(c);
		break;
	case 'Z':
		scram_free(&c->scram);
		c->worker->env.events->on_ready(c);
		break;
	default:
		break;
	}
}

/* One step: bytes of the header, or of the body. Returns how many. */
static size_t take_some(struct conn *c, const uint8_t *p, size_t n)
{
	size_t take, keep;

	if (c->head_len < sizeof(c->head)) {
		take = sizeof(c->head) - c->head_len < n ? sizeof(c->head) - c->head_len : n;
		memcpy(c->head + c->head_len, p, take);
		c->head_len += (unsigned)take;
		if (c->head_len < sizeof(c->head))
			return take;
		memcpy(&c->body_left, c->head + 1, 4);
		c->body_left = ntohl(c->body_left) - 4;
		c->body_len = 0;
	} else {
		take = c->body_left < n ? c->body_left : n;
		keep = BODY_KEPT - c->body_len < take ? BODY_KEPT - c->body_len : take;
		memcpy(c->body + c->body_len, p, keep);
		c->body_len += (uint32_t)keep;
		c->body_left -= (uint32_t)take;
	}
	if (c->body_left == 0) {
		c->head_len = 0;
		on_message(c);
	}
	return take;
}

/* ---- events ------------------------------------------------------------------------------------ */

static void take_tls_answer(struct conn *c)
{
	if (input[0] != 'S') {
		conn_close(c, "the server refuses TLS");
		return;
	}
	c->ssl = SSL_new(c->worker->env.tls);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
		abort();
	c->phase = PHASE_TLS;
}

/* False: it waits, or is over. */
static bool shake_hands(struct conn *c)
{
	int rc = SSL_connect(c->ssl);

	if (rc == 1) {
		send_startup(c);
		return true;
	}
	if (ssl_outcome(c, rc) == IO_END)
		conn_close(c, "the TLS handshake failed");
	return false;
}

static void conn_readable(struct conn *c)
{
	while (c->phase != PHASE_CLOSED) {
		size_t got = 0, at = 0;
		enum io io;

		if (c->phase == PHASE_TLS && !shake_hands(c))
			return;
		io = conn_read(c, &got);
		if (io == IO_WAIT)
			return;
		if (io == IO_END) {
			conn_close(c, "the server closed the connection");
			return;
		}
		if (c->phase == PHASE_TLS_ASKED) {
			take_tls_answer(c);
			continue;
		}
		while (at < got && c->phase != PHASE_CLOSED)
			at += take_some(c, input + at, got - at);
	}
}

static void connected(struct conn *c)
{
	static const uint8_t ssl_request[] = {0, 0, 0, 8, 4, 210, 22, 47};
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
		conn_close(c, strerror(error));
		return;
	}
	if (c->worker->env.tls == NULL) {
		send_startup(c);
		return;
	}
	c->phase = PHASE_TLS_ASKED;
	conn_send(c, ssl_request, sizeof(ssl_request));
}

void conn_event(struct conn *c, uint32_t events)
{
	if (c->phase == PHASE_CONNECT && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		connected(c);
	if (c->phase == PHASE_CLOSED || c->phase == PHASE_CONNECT)
		return;
	conn_flush(c);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP | EPOLLERR))
		conn_readable(c);
}

/* ---- life --------------------------------------------------------------------------------------- */

static int connect_unix(int fd, const struct options *o)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	snprintf(to.sun_path, sizeof(to.sun_path), "%s/.s.PGSQL.%u", o->host, o->port);
	return connect(fd, (struct sockaddr *)&to, sizeof(to));
}

/* From 127.0.0.1, .2, ...: each has ports of its own. */
static int connect_tcp(const struct conn *c, const struct options *o)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)o->port)};
	struct sockaddr_in from = {.sin_family = AF_INET};
	int on = 1;

	if (inet_pton(AF_INET, o->host, &to.sin_addr) != 1) {
		errno = EINVAL;
		return -1;
	}
	(void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + c->index % o->sources);
	/* The port is chosen when both addresses are known, so it may serve several of them. */
	(void)setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	if (o->sources > 1 && bind(c->fd, (struct sockaddr *)&from, sizeof(from)) != 0)
		return -1;
	return connect(c->fd, (struct sockaddr *)&to, sizeof(to));
}

void conn_open(struct conn *c, const struct secret *secret)
{
	const struct options *o = c->worker->env.options;
	bool is_unix = o->host[0] == '/';
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
	                            .data.ptr = c};

	c->secret = secret;
	c->phase = PHASE_CONNECT;
	c->head_len = 0;
	c->since_us = now_us();
	c->fd = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd < 0 ||
	    ((is_unix ? connect_unix(c->fd, o) : connect_tcp(c, o)) != 0 && errno != EINPROGRESS) ||
	    epoll_ctl(c->worker->env.epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
		conn_close(c, strerror(errno));
}

void conn_close(struct conn *c, const char *why)
{
	enum phase in = c->phase;

	if (in == PHASE_CLOSED)
		return;
	c->phase = PHASE_CLOSED;
	SSL_free(c->ssl);
	c->ssl = NULL;
	scram_free(&c->scram);
	free(c->out);
	c->out = NULL;
	c->out_len = c->out_done = 0;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	c->worker->env.events->on_closed(c, in, why);
}
