/* A thread that speaks just enough of PostgreSQL's protocol to let a login succeed or fail, as
 * its script says, and counts the cancels that reach it. For the tests of this folder. */
#ifndef PGUSHER_TESTS_UNIT_PROBE_FAKE_PG_H
#define PGUSHER_TESTS_UNIT_PROBE_FAKE_PG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"

#define CANCEL_CODE 80877102
#define CANCEL_PID 7
#define CANCEL_KEY 0x01020304

/* What the fake server does with a connection after its startup packet. */
struct script {
	const char *error; /* fields of an ErrorResponse instead of a login, NULL: none */
	size_t error_len;
	const char *encoding;
	const char *strings;    /* standard_conforming_strings */
	const char *in_standby; /* NULL: not reported, as before PostgreSQL 14 */
	bool asks_password;
	bool says_more;     /* a ParameterStatus in one packet with the end of the login */
	const char *answer; /* to a query; NULL: none will come */
};

struct server {
	pthread_t thread;
	int fd;
	uint16_t port;
	const struct script *script;
	struct buf startup; /* the packet's parameters */
	char password[64];  /* as it came */
	char query[128];
	int n_cancels; /* CancelRequests with our key */
	int open[4];   /* connections logged in, closed at the end */
	int n_open;
	bool is_deaf;
};

static int listen_anywhere(uint16_t *port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(fd, 64), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = ntohs(sin.sin_port);
	return fd;
}

static bool read_all(int fd, void *to, size_t len)
{
	return recv(fd, to, len, MSG_WAITALL) == (ssize_t)len;
}

static void put_message(struct buf *out, char type, const void *body, size_t len)
{
	buf_put_u8(out, (uint8_t)type);
	buf_put_be32(out, (uint32_t)len + 4);
	buf_put(out, body, len);
}

static void put_parameter(struct buf *out, const char *name, const char *value)
{
	struct buf body = {0};

	if (value == NULL)
		return;
	buf_put_cstr(&body, name);
	buf_put_cstr(&body, value);
	put_message(out, 'S', body.data, body.len);
	buf_fini(&body);
}

static void send_out(int fd, struct buf *out)
{
	(void)!send(fd, out->data, out->len, MSG_NOSIGNAL);
	buf_fini(out);
}

/* A message's body into text (NUL-terminated); its type, or 0. */
static char read_message(int fd, char *text, size_t size)
{
	uint8_t head[5];
	size_t len;

	memset(text, 0, size);
	if (!read_all(fd, head, sizeof(head)))
		return 0;
	len = be32_get(head + 1) - 4;
	return len < size && read_all(fd, text, len) ? (char)head[0] : 0;
}

static void serve_login(struct server *s, int fd)
{
	const struct script *script = s->script;
	const uint8_t cleartext[4] = {0, 0, 0, 3}, ok[4] = {0}, key[8] = {0, 0, 0, 7, 1, 2, 3, 4};
	struct buf out = {0};

	if (script->asks_password) {
		put_message(&out, 'R', cleartext, 4);
		send_out(fd, &out);
		(void)read_message(fd, s->password, sizeof(s->password));
	}
	if (script->error != NULL) {
		put_message(&out, 'E', script->error, script->error_len);
		send_out(fd, &out);
		return;
	}
	put_message(&out, 'R', ok, 4);
	put_parameter(&out, "server_version", "15.0");
	put_parameter(&out, "server_encoding", "UTF8");
	put_parameter(&out, "client_encoding", script->encoding);
	put_parameter(&out, "standard_conforming_strings", script->strings);
	put_parameter(&out, "in_hot_standby", script->in_standby);
	put_message(&out, 'K', key, 8);
	put_message(&out, 'Z', "I", 1);
	if (script->says_more)
		put_parameter(&out, "application_name", "late");
	send_out(fd, &out);
}

static void serve_query(struct server *s, int fd)
{
	/* One text column of no table. */
	static const char row_type[] = "\0\1c\0\0\0\0\0\0\0\0\0\0\x10\0\1\377\377\377\377\0\0";
	struct buf out = {0}, row = {0};
	const char *answer = s->script->answer;

	if (read_message(fd, s->query, sizeof(s->query)) != 'Q')
		return;
	put_message(&out, 'T', row_type, sizeof(row_type) - 1);
	buf_put_be16(&row, 1);
	buf_put_be32(&row, (uint32_t)strlen(answer));
	buf_put(&row, answer, strlen(answer));
	put_message(&out, 'D', row.data, row.len);
	put_message(&out, 'C', "SELECT 1", 9);
	put_message(&out, 'Z', "I", 1);
	buf_fini(&row);
	send_out(fd, &out);
}

/* False at a cancel. */
static bool serve_startup(struct server *s, int fd)
{
	uint8_t head[8], cancel[8];
	size_t len;

	if (!read_all(fd, head, sizeof(head)))
		return false;
	len = be32_get(head) - sizeof(head);
	if (be32_get(head + 4) == CANCEL_CODE) {
		s->n_cancels += read_all(fd, cancel, sizeof(cancel)) &&
		                be32_get(cancel) == CANCEL_PID &&
		                be32_get(cancel + 4) == CANCEL_KEY;
		return false;
	}
	s->startup.len = 0;
	if (!read_all(fd, buf_reserve(&s->startup, len), len))
		return false;
	s->startup.len = len;
	return true;
}

/* One connection after the other. */
static void *server_main(void *arg)
{
	struct server *s = arg;
	int fd;

	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		if (!serve_startup(s, fd)) {
			close(fd);
			continue;
		}
		serve_login(s, fd);
		if (s->script->error != NULL) {
			close(fd);
			continue;
		}
		if (s->script->answer != NULL)
			serve_query(s, fd);
		assert_true(s->n_open < (int)COUNT_OF(s->open));
		s->open[s->n_open++] = fd;
	}
	return NULL;
}

static void server_start(struct server *s, const struct script *script)
{
	memset(s, 0, sizeof(*s));
	s->script = script;
	s->fd = listen_anywhere(&s->port);
	assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

/* Ends the thread; the port stays open, and connections to it are never answered. */
static void server_go_deaf(struct server *s)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	                          .sin_port = htons(s->port)};

	shutdown(s->fd, SHUT_RDWR);
	assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->fd);
	s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(s->fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)), 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(listen(s->fd, 64), 0);
	s->is_deaf = true;
}

static void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	if (!s->is_deaf)
		assert_int_equal(pthread_join(s->thread, NULL), 0);
	close(s->fd);
	for (int i = 0; i < s->n_open; i++)
		close(s->open[i]);
	buf_fini(&s->startup);
}

#endif
