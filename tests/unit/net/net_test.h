/* What the tests of net share: cmocka, connected socket pairs, a stream's owner that counts
 * and collects, and a loop that turns until something is true. */
#ifndef PGUSHER_TESTS_UNIT_NET_NET_TEST_H
#define PGUSHER_TESTS_UNIT_NET_NET_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net.h"

#define TURNS_MAX 200000

static inline void tcp_pair(int fd[2])
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	socklen_t len = sizeof(addr);
	int listening = socket(AF_INET, SOCK_STREAM, 0);

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(listening, (struct sockaddr *)&addr, len), 0);
	assert_int_equal(listen(listening, 1), 0);
	assert_int_equal(getsockname(listening, (struct sockaddr *)&addr, &len), 0);
	fd[1] = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(fd[1], (struct sockaddr *)&addr, len), 0);
	fd[0] = accept(listening, NULL, NULL);
	assert_true(fd[0] >= 0);
	close(listening);
}

/* fd[0] is for the stream, fd[1] is the peer; both non-blocking. */
static inline void make_pair(int domain, int fd[2])
{
	if (domain == AF_INET)
		tcp_pair(fd);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(fcntl(fd[i], F_SETFL, O_NONBLOCK), 0);
}

static inline void sleep_ms(long ms)
{
	struct timespec ts = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&ts, NULL);
}

/* One of TURNS_MAX turns; loopback TCP delivers later than it returns, on a busy machine by
 * milliseconds. */
static inline void turn(struct event_base *base, int i)
{
	event_base_loop(base, EVLOOP_NONBLOCK);
	if (i % 20 == 19)
		sleep_ms(1);
}

#define TURN_UNTIL(base, cond)                                                                     \
	do {                                                                                       \
		for (int turn_ = 0; turn_ < TURNS_MAX && !(cond); turn_++)                         \
			turn(base, turn_);                                                         \
		assert_true(cond);                                                                 \
	} while (0)

/* For what must not happen: time enough for it to happen all the same. */
static inline void settle(struct event_base *base)
{
	for (int i = 0; i < 3; i++) {
		sleep_ms(1);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

/* Until poll says all of these: what was sent has arrived, without reading it. */
static inline void wait_for(int fd, short what)
{
	struct pollfd p = {fd, what, 0};

	for (int i = 0; i < 10000 && (p.revents & what) != what; i++) {
		assert_true(poll(&p, 1, 1000) >= 0);
		if ((p.revents & what) != what)
			sleep_ms(1);
	}
	assert_int_equal(p.revents & what, what);
}

static inline uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static inline void assert_pattern(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (p[i] != pattern(i))
			fail_msg("byte %zu of %zu is wrong", i, len);
	}
}

#define PIECES 300

/* Pieces of many sizes, some empty, of one pattern; returns the bytes in all. */
static inline size_t cut_pattern(uint8_t *bytes, size_t size, struct iovec iov[PIECES],
                                 unsigned seed)
{
	size_t at = 0;

	for (size_t i = 0; i < size; i++)
		bytes[i] = pattern(i);
	for (int i = 0; i < PIECES; i++) {
		size_t len = (size_t)rand_r(&seed) % (i % 3 == 0 ? 12000 : 40);

		if (i % 11 == 0 || len > size - at)
			len = 0;
		iov[i].iov_base = bytes + at;
		iov[i].iov_len = len;
		at += len;
	}
	return at;
}

/* A stream's owner. */
struct owner {
	struct stream stream;
	struct buf in; /* everything read */
	int readable, writable;
	ssize_t end; /* STREAM_EOF or STREAM_ERROR once seen */
	bool paused; /* on_readable only counts */
	size_t cap;  /* of one read */
};

static inline void owner_read(struct owner *o)
{
	ssize_t n;

	do {
		n = stream_read(&o->stream, buf_reserve(&o->in, o->cap), o->cap);
		if (n > 0)
			o->in.len += (size_t)n;
	} while (n > 0);
	if (n < 0)
		o->end = n;
}

static inline void owner_on_readable(void *arg)
{
	struct owner *o = arg;

	o->readable++;
	if (!o->paused)
		owner_read(o);
}

static inline void owner_on_writable(void *arg)
{
	struct owner *o = arg;

	o->writable++;
}

static const struct stream_events owner_events = {owner_on_readable, owner_on_writable};

static inline bool owner_send(struct owner *o, const void *p, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)p, len};

	return stream_writev(&o->stream, &iov, 1);
}

#endif
