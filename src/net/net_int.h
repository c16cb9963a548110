/* What the files of the net module share. */
#ifndef PGUSHER_NET_INT_H
#define PGUSHER_NET_INT_H

#include "net.h"

enum stream_flag {
	/* The last stream_read did not end in STREAM_WAIT. */
	STREAM_F_READABLE = 1 << 0,
	/* The kernel may hold bytes: an edge came and the socket was not drained since. Under
	 * TLS it says less than READABLE, as OpenSSL may hold bytes too. */
	STREAM_F_UNDRAINED = 1 << 1,
	/* The peer's FIN is known, so a short read does not mean drained. */
	STREAM_F_HANG_UP = 1 << 2,
	STREAM_F_BORROWED = 1 << 3,
	STREAM_F_DETACHED = 1 << 4,
	STREAM_F_WRITE_FAILED = 1 << 5,
	/* OpenSSL must not be asked for anything any more. */
	STREAM_F_TLS_DEAD = 1 << 6,
	/* The TLS BIO keeps bytes that the peer has not taken, beside stream.out. */
	STREAM_F_TLS_KEEPS = 1 << 7,
	/* OpenSSL has to read before it can write (a handshake): with the next bytes the backlog
	 * is tried before the owner reads, so that SSL_write finds them. */
	STREAM_F_WRITE_NEEDS_READ = 1 << 8,
	/* TLS from the first byte: ALPN is demanded. */
	STREAM_F_TLS_DIRECT = 1 << 9,
};

/* recv and send on the stream's socket: bytes, STREAM_WAIT, STREAM_EOF or STREAM_ERROR.
 * stream_sock_recv makes no system call when it knows that nothing is there. */
ssize_t stream_sock_recv(struct stream *s, void *to, size_t cap);
ssize_t stream_sock_send(struct stream *s, const struct iovec *iov, int n);
bool stream_has_backlog(const struct stream *s);
/* Registers for writing while there is a backlog, and ends that. */
void stream_watch_writes(struct stream *s);

/* A context for clients: modes, ALPN. */
void tls_context_prepare(struct ssl_ctx_st *ctx);
/* The reason of the oldest queued error of OpenSSL's, in text or static. */
const char *tls_reason(char *text, size_t size);
/* Lays OpenSSL's stream_ops over a stream whose tls is connected already. */
void tls_borrow(struct stream *s);
/* What STREAM_F_TLS_KEEPS tells of: how much, and sending it. 1 when that was all, otherwise
 * STREAM_WAIT or STREAM_ERROR. */
size_t tls_kept_bytes(const struct stream *s);
ssize_t tls_send_kept(struct stream *s);

#endif
