/* The network: streams (plain, TLS, or a test's fake, behind one small vtable), listeners,
 * mailboxes between threads, timers. Everything here belongs to one worker's event_base and
 * is used on its thread only, mailbox_post aside. */
#ifndef PGUSHER_NET_H
#define PGUSHER_NET_H

#include <event2/event_struct.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "base/list.h"

struct event_base;
struct sockaddr;
struct ssl_st;     /* OpenSSL's SSL */
struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

/* ---- streams ------------------------------------------------------------------------ */

struct stream;

struct stream_events {
	/* There may be bytes to read, or the connection broke while kept bytes were sent.
	 * Edge-triggered: it is not said again until the stream was read until STREAM_WAIT, so
	 * an owner who stops earlier must come back by itself. It may come without bytes. */
	void (*on_readable)(void *owner);
	/* All bytes that stream_writev had to keep have been taken by the kernel. */
	void (*on_writable)(void *owner);
	/* Either may end or detach its stream. */
};

enum { STREAM_WAIT = 0, STREAM_EOF = -1, STREAM_ERROR = -2 };

struct stream_ops {
	/* As recv/writev: bytes, or STREAM_WAIT, STREAM_EOF, STREAM_ERROR. */
	ssize_t (*read)(struct stream *s, void *to, size_t cap);
	ssize_t (*writev)(struct stream *s, const struct iovec *iov, int n);
	void (*close)(struct stream *s);
};

/* Embedded in its owner. The fields are the net module's. */
struct stream {
	uint32_t magic;
	int fd;
	const struct stream_ops *ops;
	const struct stream_events *events;
	void *owner;
	struct ssl_st *tls; /* NULL: plain */
	struct buf out;     /* what the peer has not taken; no memory when empty */
	struct event event;
	struct event *write_event; /* NULL while nothing waits for room to write */
	bool *gone;                /* told, while a callback runs, that the stream has ended */
	uint16_t flags;
};

/* Takes over the non-blocking descriptor: registers it once, edge-triggered, for reading.
 * Only while the peer does not take our bytes it is registered for writing too. */
void stream_init(struct stream *s, struct event_base *base, int fd,
                 const struct stream_events *events, void *owner);
/* As stream_init, for a descriptor that libpq opened and still owns: stream_fini leaves it
 * open, and with tls (borrowed, already connected) it speaks through that. */
void stream_init_borrowed(struct stream *s, struct event_base *base, int fd, struct ssl_st *tls,
                          const struct stream_events *events, void *owner);
/* A stream without a descriptor over ops of the caller's (tests). */
void stream_init_fake(struct stream *s, const struct stream_ops *ops,
                      const struct stream_events *events, void *owner);
/* What the loop would say to a fake stream: bytes have come; there is room for the backlog. */
void stream_fake_event(struct stream *s, bool readable, bool writable);
/* From now on a TLS server's side; the handshake goes on inside stream_read. True on success,
 * false when bytes were already buffered or OpenSSL fails. */
bool stream_start_tls(struct stream *s, struct ssl_ctx_st *ctx);
/* The same for a client that speaks TLS from its first byte (PostgreSQL 17's sslnegotiation
 * = direct): early is what was read already. Without ALPN the handshake fails. */
bool stream_start_tls_direct(struct stream *s, struct ssl_ctx_st *ctx, const void *early,
                             size_t len);
/* Why the TLS handshake or connection failed, static; NULL while it has not. */
const char *stream_tls_failure(const struct stream *s);
/* True when the peer showed a certificate that was verified and carries this name: its common
 * name, or a DNS or e-mail name among the alternative ones. */
bool stream_is_certified(const struct stream *s, const char *name);
/* True when the TLS handshake agreed on ALPN `postgresql`. */
bool stream_has_alpn(const struct stream *s);
/* Moves a borrowed stream to another worker: leaves this base; stream_attach joins the next. */
void stream_detach(struct stream *s);
void stream_attach(struct stream *s, struct event_base *base, void *owner);
/* Bytes read, or STREAM_WAIT, STREAM_EOF, STREAM_ERROR. */
ssize_t stream_read(struct stream *s, void *to, size_t cap);
/* True while the last read did not end in STREAM_WAIT: there may be more to read now. */
bool stream_is_readable(const struct stream *s);
/* What became of the peer, asked of the kernel: for an owner who does not read at the moment. */
enum stream_peer {
	STREAM_PEER_THERE,
	STREAM_PEER_FINISHED, /* it will send nothing more (FIN), and may still be reading */
	STREAM_PEER_GONE,     /* the connection was reset */
};
enum stream_peer stream_peer(const struct stream *s);
/* For an owner who needs more bytes before it will write to this stream again (half a
 * message, an unfinished reply): the next stream_read asks the kernel once more. Without it
 * a connection reset that came together with the last bytes shows only in the next write. */
void stream_recheck(struct stream *s);
/* Sends all of iov: what the peer does not take at once is copied and sent later. False when
 * the connection is broken; what the peer had sent before can still be read. */
bool stream_writev(struct stream *s, const struct iovec *iov, int n);
/* Bytes kept by stream_writev; above 0 the owner should stop producing until on_writable. */
size_t stream_backlog_bytes(const struct stream *s);
/* Ends the registration and closes (a borrowed descriptor stays open, and gets no
 * close_notify: that is PQfinish's). One try is made to send the backlog and, under TLS,
 * close_notify. */
void stream_fini(struct stream *s);

/* ---- listeners ---------------------------------------------------------------------- */

struct peer {
	bool is_unix;
	bool is_loopback; /* of TCP */
	int64_t uid;      /* the peer's user when is_unix, else -1 */
	char text[64];    /* "127.0.0.1:40312", "[::1]:40312", "unix" */
};

struct listener;
typedef void listener_fn(void *arg, int fd, const struct peer *peer);

/* A bound, listening, non-blocking socket: TCP with SO_REUSEPORT on host ("*": any, IPv4 and
 * IPv6; a name: the first of its addresses that can be bound, IPv4 first) or a unix socket at
 * path, open to every user. A socket file that nobody answers on is replaced. -1 with the
 * reason in err. */
int listener_bind_tcp(const char *host, uint16_t port, char *err, size_t err_size);
int listener_bind_unix(const char *path, char *err, size_t err_size);
/* Accepts on fd (taken over) until it is freed; accepted descriptors are non-blocking,
 * close-on-exec, TCP_NODELAY, SO_KEEPALIVE, and on_accept's, which may free the listener. When
 * the process is out of descriptors it pauses, and says so in the log once a second at most. */
struct listener *listener_new(struct event_base *base, int fd, listener_fn *on_accept, void *arg);
void listener_free(struct listener **l);

/* ---- mailboxes ---------------------------------------------------------------------- */

/* A letter is embedded in what it carries; deliver runs on the mailbox owner's thread and
 * then owns it. */
struct mail {
	struct mail *next;
	void (*deliver)(struct mail *mail, void *owner);
};

struct mailbox;
struct mailbox *mailbox_new(struct event_base *base, void *owner);
/* From any thread; wakes the owner only if the box was empty. Letters of one sender arrive in
 * the order they were posted. The letter is the box's as soon as this is called. */
void mailbox_post(struct mailbox *box, struct mail *mail);
/* Undelivered letters are delivered first. Not from within a delivery, and only when no other
 * thread is in mailbox_post or will come to it. */
void mailbox_free(struct mailbox **boxp);

/* ---- timers ------------------------------------------------------------------------- */

#define TIMER_TICK_MS 50

struct timer {
	struct list link;
	int64_t due_us;
	void (*fire)(struct timer *timer);
};

/* A hashed timing wheel: arming and cancelling cost a list operation; a timer fires up to one
 * tick late, never early. */
struct timers;
/* base NULL: without a loop; the caller calls timers_run (tests with a faked clock). */
struct timers *timers_new(struct event_base *base);
/* Pending timers are cancelled. Not from within a timer's fire. */
void timers_free(struct timers **t);
/* Fires what is due; the wheel's own event does this once a tick. */
void timers_run(struct timers *t);
/* A fired timer is no longer armed: fire may arm it again, or free it. */
void timer_init(struct timer *timer, void (*fire)(struct timer *timer));
/* Armed again, it moves. A delay below 0 counts as 0. */
void timer_arm(struct timers *t, struct timer *timer, int64_t delay_us);
void timer_cancel(struct timers *t, struct timer *timer);
bool timer_is_armed(const struct timer *timer);

#endif
