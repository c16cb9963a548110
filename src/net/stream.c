/* Streams: one connection each, read and written by its owner on the worker's thread.
 *
 *   on_event ─► stream_ready ─► flush the backlog ─► owner's on_writable
 *                            └► owner's on_readable ─► stream_read ─► ops->read
 *   owner ─► stream_writev ─► ops->writev, the rest into the backlog ─► stream_watch_writes
 *
 * The socket is registered for reading once, edge-triggered. It is registered for writing only
 * while something waits for room: on a unix socket each read of the peer's is a write edge,
 * which cost a second wake-up a round trip (6 to 13 µs, measured with libevent 2.1.12). So a
 * steady transaction needs no epoll_ctl, only a stalled peer does.
 *
 * A short read means that the socket is drained, and saves the recv that would say so. That
 * must not lose what follows the bytes: a FIN is reported as EV_CLOSED, by TCP and by unix
 * sockets (measured), and then the reading goes on until it ends in 0. A reset that comes
 * together with bytes cannot be told from bytes by libevent: see stream_recheck.
 *
 * An owner may end or detach the stream in any callback, so nothing here touches it after one
 * without having asked `gone`. */
#include "net.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/assert.h"
#include "net/net_int.h"

#define STREAM_MAGIC 0x57f2ea31u
/* iovecs of one writev; far below every IOV_MAX. */
#define STREAM_WINDOW 64

static ssize_t plain_read(struct stream *s, void *to, size_t cap);
static void plain_close(struct stream *s);
static void on_event(evutil_socket_t fd, short what, void *arg);

static const struct stream_ops plain_ops = {plain_read, stream_sock_send, plain_close};

/* ---- the socket --------------------------------------------------------------------- */

ssize_t stream_sock_recv(struct stream *s, void *to, size_t cap)
{
	ssize_t n;

	if (!(s->flags & STREAM_F_UNDRAINED))
		return STREAM_WAIT;
	do {
		n = recv(s->fd, to, cap, MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		if ((size_t)n < cap && !(s->flags & STREAM_F_HANG_UP))
			s->flags &= ~STREAM_F_UNDRAINED;
		return n;
	}
	if (n == 0)
		return STREAM_EOF;
	if (errno != EAGAIN && errno != EWOULDBLOCK)
		return STREAM_ERROR;
	s->flags &= ~STREAM_F_UNDRAINED;
	return STREAM_WAIT;
}

ssize_t stream_sock_send(struct stream *s, const struct iovec *iov, int n)
{
	/* sendmsg takes no const, and changes nothing. */
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};
	ssize_t sent;

	do {
		sent = n == 1 ? send(s->fd, iov->iov_base, iov->iov_len,
		                     MSG_NOSIGNAL | MSG_DONTWAIT)
		              : sendmsg(s->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return sent;
	return errno == EAGAIN || errno == EWOULDBLOCK ? STREAM_WAIT : STREAM_ERROR;
}

static ssize_t plain_read(struct stream *s, void *to, size_t cap)
{
	ssize_t n = stream_sock_recv(s, to, cap);

	if (!(s->flags & STREAM_F_UNDRAINED))
		s->flags &= ~STREAM_F_READABLE;
	return n;
}

static void plain_close(struct stream *s)
{
	if (!(s->flags & STREAM_F_BORROWED))
		close(s->fd);
}

/* ---- registration ------------------------------------------------------------------- */

static void stream_register(struct stream *s, struct event_base *base)
{
	/* The kernel reports what is there when the descriptor joins, but the owner may also
	 * read at once. */
	s->flags |= STREAM_F_READABLE | STREAM_F_UNDRAINED;
	MUST(event_assign(&s->event, base, s->fd, EV_READ | EV_CLOSED | EV_ET | EV_PERSIST,
	                  on_event, s) == 0);
	MUST_SYS(event_add(&s->event, NULL) == 0);
}

static void stream_unregister(struct stream *s)
{
	if (s->gone != NULL)
		*s->gone = true;
	s->gone = NULL;
	if (s->write_event != NULL)
		event_free(s->write_event);
	s->write_event = NULL;
	if (s->fd >= 0 && !(s->flags & STREAM_F_DETACHED))
		MUST_SYS(event_del(&s->event) == 0);
}

void stream_watch_writes(struct stream *s)
{
	bool wanted = stream_has_backlog(s);

	if (s->fd < 0 || (s->flags & STREAM_F_DETACHED) || wanted == (s->write_event != NULL))
		return;
	if (!wanted) {
		event_free(s->write_event);
		s->write_event = NULL;
		return;
	}
	/* epoll tells of room that came between our last try and this registration. */
	s->write_event = event_new(event_get_base(&s->event), s->fd, EV_WRITE | EV_ET | EV_PERSIST,
	                           on_event, s);
	MUST(s->write_event != NULL);
	MUST_SYS(event_add(s->write_event, NULL) == 0);
}

static void stream_setup(struct stream *s, int fd, const struct stream_ops *ops,
                         const struct stream_events *events, void *owner)
{
	memset(s, 0, sizeof(*s));
	OBJ_INIT(s, STREAM_MAGIC);
	s->fd = fd;
	s->ops = ops;
	s->events = events;
	s->owner = owner;
}

void stream_init(struct stream *s, struct event_base *base, int fd,
                 const struct stream_events *events, void *owner)
{
	MUST(fd >= 0);
	stream_setup(s, fd, &plain_ops, events, owner);
	stream_register(s, base);
}

void stream_init_borrowed(struct stream *s, struct event_base *base, int fd, struct ssl_st *tls,
                          const struct stream_events *events, void *owner)
{
	MUST(fd >= 0);
	stream_setup(s, fd, &plain_ops, events, owner);
	s->flags |= STREAM_F_BORROWED;
	stream_register(s, base);
	if (tls == NULL)
		return;
	s->tls = tls;
	tls_borrow(s);
	/* Bytes that OpenSSL took from the socket before cause no edge. */
	event_active(&s->event, EV_READ, 0);
}

void stream_init_fake(struct stream *s, const struct stream_ops *ops,
                      const struct stream_events *events, void *owner)
{
	stream_setup(s, -1, ops, events, owner);
	s->flags |= STREAM_F_READABLE;
}

void stream_detach(struct stream *s)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	MUST(s->fd >= 0 && (s->flags & STREAM_F_BORROWED) && !(s->flags & STREAM_F_DETACHED));
	stream_unregister(s);
	s->flags |= STREAM_F_DETACHED;
}

void stream_attach(struct stream *s, struct event_base *base, void *owner)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	MUST(s->flags & STREAM_F_DETACHED);
	s->flags &= ~STREAM_F_DETACHED;
	s->owner = owner;
	stream_register(s, base);
	stream_watch_writes(s);
	if (s->tls != NULL)
		event_active(&s->event, EV_READ, 0);
}

/* ---- reading ------------------------------------------------------------------------ */

ssize_t stream_read(struct stream *s, void *to, size_t cap)
{
	ssize_t n;

	OBJ_CHECK(s, STREAM_MAGIC);
	MUST(cap > 0);
	s->flags |= STREAM_F_READABLE;
	n = s->ops->read(s, to, cap);
	if (n == STREAM_WAIT && (s->flags & STREAM_F_WRITE_FAILED)) {
		s->flags |= STREAM_F_READABLE;
		return STREAM_ERROR;
	}
	if (n == STREAM_WAIT)
		s->flags &= ~STREAM_F_READABLE;
	return n;
}

bool stream_is_readable(const struct stream *s)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	return s->flags & STREAM_F_READABLE;
}

enum stream_peer stream_peer(const struct stream *s)
{
	struct pollfd pfd = {.fd = s->fd, .events = POLLRDHUP};

	OBJ_CHECK(s, STREAM_MAGIC);
	if (s->flags & STREAM_F_WRITE_FAILED)
		return STREAM_PEER_GONE; /* the kernel has told its error already */
	if (s->fd < 0 || poll(&pfd, 1, 0) <= 0)
		return STREAM_PEER_THERE;
	if (pfd.revents & (POLLERR | POLLNVAL))
		return STREAM_PEER_GONE;
	/* A unix socket whose other end is closed may still hold unread requests. */
	return pfd.revents & (POLLRDHUP | POLLHUP) ? STREAM_PEER_FINISHED : STREAM_PEER_THERE;
}

void stream_recheck(struct stream *s)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	s->flags |= STREAM_F_READABLE | STREAM_F_UNDRAINED;
}

/* ---- writing ------------------------------------------------------------------------ */

/* What of the caller's iovecs is still to be sent. */
struct unsent {
	const struct iovec *iov;
	int n;
	size_t offset; /* into iov[0] */
};

/* The next iovecs to send, without empty ones; 0: all is sent. */
static int unsent_window(const struct unsent *u, struct iovec window[STREAM_WINDOW])
{
	size_t offset = u->offset;
	int used = 0;

	for (int i = 0; i < u->n && used < STREAM_WINDOW; i++) {
		if (u->iov[i].iov_len > offset) {
			window[used].iov_base = (char *)u->iov[i].iov_base + offset;
			window[used++].iov_len = u->iov[i].iov_len - offset;
		}
		offset = 0;
	}
	return used;
}

static void unsent_advance(struct unsent *u, size_t len)
{
	while (u->n > 0 && u->iov->iov_len - u->offset <= len) {
		len -= u->iov->iov_len - u->offset;
		u->offset = 0;
		u->iov++;
		u->n--;
	}
	u->offset += len;
}

/* Sends until all is gone or the peer takes no more, so that a write edge must follow. */
static bool unsent_send(struct unsent *u, struct stream *s)
{
	struct iovec window[STREAM_WINDOW];
	ssize_t sent;
	int n;

	while ((n = unsent_window(u, window)) > 0) {
		sent = s->ops->writev(s, window, n);
		if (sent < 0)
			return false;
		if (sent == STREAM_WAIT)
			break;
		unsent_advance(u, (size_t)sent);
	}
	return true;
}

static void unsent_keep(const struct unsent *u, struct buf *out)
{
	size_t offset = u->offset;

	for (int i = 0; i < u->n; i++) {
		buf_put(out, (const char *)u->iov[i].iov_base + offset, u->iov[i].iov_len - offset);
		offset = 0;
	}
}

static void write_failed(struct stream *s)
{
	/* Whatever the last read found: there is news now, if only the error. */
	s->flags |= STREAM_F_WRITE_FAILED | STREAM_F_UNDRAINED | STREAM_F_READABLE;
	s->flags &= ~(STREAM_F_WRITE_NEEDS_READ | STREAM_F_TLS_KEEPS);
	buf_fini(&s->out);
}

bool stream_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct unsent u = {iov, n, 0};

	OBJ_CHECK(s, STREAM_MAGIC);
	if (s->flags & STREAM_F_WRITE_FAILED)
		return false;
	if (s->out.len == 0 && !unsent_send(&u, s)) {
		write_failed(s);
		return false;
	}
	if (u.n > 0)
		unsent_keep(&u, &s->out);
	stream_watch_writes(s);
	return true;
}

bool stream_has_backlog(const struct stream *s)
{
	return s->out.len > 0 || (s->flags & STREAM_F_TLS_KEEPS);
}

size_t stream_backlog_bytes(const struct stream *s)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	return s->out.len + (s->flags & STREAM_F_TLS_KEEPS ? tls_kept_bytes(s) : 0);
}

/* Sends what it can of the backlog; true when that was all. */
static bool stream_flush(struct stream *s)
{
	size_t done = 0;
	ssize_t sent = 1;

	if (s->flags & STREAM_F_TLS_KEEPS)
		sent = tls_send_kept(s);
	while (sent > 0 && done < s->out.len) {
		struct iovec rest = {s->out.data + done, s->out.len - done};

		sent = s->ops->writev(s, &rest, 1);
		done += sent > 0 ? (size_t)sent : 0;
	}
	if (sent < 0) {
		write_failed(s);
		return false;
	}
	buf_consume(&s->out, done);
	if (s->out.len == 0)
		buf_fini(&s->out);
	return !stream_has_backlog(s);
}

/* ---- events ------------------------------------------------------------------------- */

/* The edges are in s->flags before the first callback, so that whatever it reads is counted. */
static void stream_ready(struct stream *s, bool readable, bool writable)
{
	bool flushed = false, gone = false, *outer = s->gone;

	if (stream_has_backlog(s) && (writable || (s->flags & STREAM_F_WRITE_NEEDS_READ))) {
		s->flags &= ~STREAM_F_WRITE_NEEDS_READ;
		flushed = stream_flush(s);
	}
	/* The owner hears of it by reading. */
	if (writable && (s->flags & STREAM_F_WRITE_FAILED))
		readable = true;
	if (readable)
		s->flags |= STREAM_F_READABLE;
	stream_watch_writes(s);
	s->gone = &gone;
	if (flushed)
		s->events->on_writable(s->owner);
	if (!gone && readable && (s->flags & STREAM_F_READABLE))
		s->events->on_readable(s->owner);
	if (!gone)
		s->gone = outer;
	else if (outer != NULL)
		*outer = true;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct stream *s = arg;

	(void)fd;
	OBJ_CHECK(s, STREAM_MAGIC);
	if (what & (EV_READ | EV_CLOSED))
		s->flags |= STREAM_F_UNDRAINED;
	if (what & EV_CLOSED)
		s->flags |= STREAM_F_HANG_UP;
	stream_ready(s, what & (EV_READ | EV_CLOSED), what & EV_WRITE);
}

void stream_fake_event(struct stream *s, bool readable, bool writable)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	MUST(s->fd < 0);
	stream_ready(s, readable, writable);
}

void stream_fini(struct stream *s)
{
	OBJ_CHECK(s, STREAM_MAGIC);
	if (stream_has_backlog(s))
		(void)stream_flush(s);
	stream_unregister(s);
	s->ops->close(s);
	buf_fini(&s->out);
	OBJ_FINI(s, STREAM_MAGIC);
}
