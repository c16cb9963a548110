/* TLS under a stream, on the worker's thread: OpenSSL as the server of clients, and the SSL
 * objects of libpq's connections, which stay libpq's.
 *
 * Both read and write through a BIO of ours (struct tls_bio):
 *  - With read-ahead one recv takes a whole burst of records, and a short one also saves the
 *    recv that would only say EAGAIN. libpq's own BIO costs three for one record.
 *  - It takes every byte that OpenSSL sends, and keeps what the socket does not take (a record
 *    or a flight of the handshake; more than TLS_KEPT_MAX is an error). So OpenSSL never has a
 *    write half done: while it has, an SSL_read that must answer (a KeyUpdate) fails with
 *    "bad length" and ends the connection (measured, OpenSSL 3.0).
 *
 * What must hold: OpenSSL may keep decrypted or still encrypted bytes of which the socket
 * knows nothing, so a TLS stream is readable until SSL_read says WANT_READ. After a fatal error
 * OpenSSL is not asked again. */
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/net_int.h"

/* A record's payload at most; small iovecs are put together up to this. */
#define TLS_RECORD_BYTES 16384
/* A peer that asks OpenSSL for answers and takes none of them is given up. */
#define TLS_KEPT_MAX (4 * TLS_RECORD_BYTES)
/* Partial: a call of SSL_write makes one record, so that we can stop when the peer does. */
#define TLS_MODES                                                                                  \
	(SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |                     \
	 SSL_MODE_RELEASE_BUFFERS)

static const unsigned char alpn_postgresql[] = {10,  'p', 'o', 's', 't', 'g',
                                                'r', 'e', 's', 'q', 'l'};

static ssize_t tls_read(struct stream *s, void *to, size_t cap);
static ssize_t tls_writev(struct stream *s, const struct iovec *iov, int n);
static void tls_close(struct stream *s);

static const struct stream_ops tls_ops = {tls_read, tls_writev, tls_close};

/* ---- the BIO ------------------------------------------------------------------------ */

struct tls_bio {
	struct stream *stream;
	struct buf early;    /* what the owner had read before the handshake */
	struct buf kept;     /* what the peer has not taken */
	BIO *lenders;        /* libpq's, while ours has its place; NULL: not borrowed */
	const char *failure; /* why TLS failed; NULL: it has not */
	bool at_eof;
};

static BIO_METHOD *bio_method;

static int bio_read(BIO *bio, char *to, int cap)
{
	struct tls_bio *b = BIO_get_data(bio);
	size_t len = (size_t)cap;
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (b->early.len > 0) {
		if (len > b->early.len)
			len = b->early.len;
		memcpy(to, b->early.data, len);
		buf_consume(&b->early, len);
		if (b->early.len == 0)
			buf_fini(&b->early);
		return (int)len;
	}
	n = stream_sock_recv(b->stream, to, len);
	if (n > 0)
		return (int)n;
	if (n == STREAM_WAIT)
		BIO_set_retry_read(bio);
	b->at_eof = n == STREAM_EOF;
	return n == STREAM_EOF ? 0 : -1;
}

static int bio_write(BIO *bio, const char *from, int len)
{
	struct tls_bio *b = BIO_get_data(bio);
	struct iovec iov = {(void *)(uintptr_t)from, (size_t)len};
	ssize_t sent = 0;

	BIO_clear_retry_flags(bio);
	if (b->kept.len == 0)
		sent = stream_sock_send(b->stream, &iov, 1);
	if (sent < 0)
		return -1;
	if (sent == len)
		return len;
	if (b->kept.len + iov.iov_len > TLS_KEPT_MAX) {
		errno = ENOBUFS;
		return -1;
	}
	buf_put(&b->kept, from + sent, iov.iov_len - (size_t)sent);
	b->stream->flags |= STREAM_F_TLS_KEEPS;
	stream_watch_writes(b->stream);
	return len;
}

static long bio_ctrl(BIO *bio, int cmd, long num, void *arg)
{
	struct tls_bio *b = BIO_get_data(bio);

	(void)num, (void)arg;
	if (cmd == BIO_CTRL_EOF)
		return b->at_eof;
	return cmd == BIO_CTRL_FLUSH || cmd == BIO_CTRL_DUP;
}

static int bio_destroy(BIO *bio)
{
	struct tls_bio *b = BIO_get_data(bio);

	buf_fini(&b->early);
	buf_fini(&b->kept);
	mem_free(b);
	return 1;
}

static void bio_method_init(void)
{
	int type = BIO_get_new_index();

	MUST(type != -1);
	bio_method = BIO_meth_new(type | BIO_TYPE_SOURCE_SINK, "pgusher stream");
	MUST(bio_method != NULL);
	MUST(BIO_meth_set_read(bio_method, bio_read) == 1);
	MUST(BIO_meth_set_write(bio_method, bio_write) == 1);
	MUST(BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1);
	MUST(BIO_meth_set_destroy(bio_method, bio_destroy) == 1);
}

static BIO *bio_new(struct stream *s, const void *early, size_t early_len)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct tls_bio *b = mem_zalloc(sizeof(*b));
	BIO *bio;

	MUST(pthread_once(&once, bio_method_init) == 0);
	bio = BIO_new(bio_method);
	MUST(bio != NULL);
	b->stream = s;
	buf_put(&b->early, early, early_len);
	BIO_set_data(bio, b);
	BIO_set_init(bio, 1);
	return bio;
}

static struct tls_bio *bio_of(const struct stream *s)
{
	return BIO_get_data(SSL_get_wbio(s->tls));
}

size_t tls_kept_bytes(const struct stream *s)
{
	return bio_of(s)->kept.len;
}

ssize_t tls_send_kept(struct stream *s)
{
	struct buf *kept = &bio_of(s)->kept;
	ssize_t sent = 1;
	size_t done = 0;

	while (sent > 0 && done < kept->len) {
		struct iovec rest = {kept->data + done, kept->len - done};

		sent = stream_sock_send(s, &rest, 1);
		done += sent > 0 ? (size_t)sent : 0;
	}
	buf_consume(kept, done);
	if (kept->len > 0)
		return sent;
	buf_fini(kept);
	s->flags &= ~STREAM_F_TLS_KEEPS;
	return 1;
}

/* ---- errors ------------------------------------------------------------------------- */

/* The reason of the oldest queued error, which is the one nearest to the cause. */
const char *tls_reason(char *text, size_t size)
{
	unsigned long code = ERR_peek_error();
	const char *reason = ERR_reason_error_string(code);

	if (code == 0)
		snprintf(text, size, "no reason given");
	else if (ERR_SYSTEM_ERROR(code))
		snprintf(text, size, "%s", strerror(ERR_GET_REASON(code)));
	else if (reason != NULL)
		snprintf(text, size, "%s", reason);
	else
		ERR_error_string_n(code, text, size);
	return text;
}

/* Words of OpenSSL's, which are never freed. */
static const char *failure_of(const SSL *tls)
{
	long verdict = SSL_get_verify_result(tls);
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED)
		return X509_verify_cert_error_string(verdict);
	if (reason != NULL)
		return reason;
	return ERR_peek_error() == 0 && errno != 0 ? "the connection broke" : "no reason given";
}

static ssize_t tls_fatal(struct stream *s)
{
	s->flags |= STREAM_F_TLS_DEAD;
	bio_of(s)->failure = failure_of(s->tls);
	log_debug("TLS %s failed on descriptor %d: %s",
	          SSL_is_init_finished(s->tls) ? "connection" : "handshake", s->fd,
	          bio_of(s)->failure);
	ERR_clear_error();
	return STREAM_ERROR;
}

const char *stream_tls_failure(const struct stream *s)
{
	return s->tls != NULL ? bio_of(s)->failure : NULL;
}

/* ---- reading and writing ------------------------------------------------------------ */

static ssize_t tls_read_failed(struct stream *s)
{
	switch (SSL_get_error(s->tls, 0)) {
	case SSL_ERROR_WANT_READ:
		return STREAM_WAIT;
	case SSL_ERROR_ZERO_RETURN:
		return STREAM_EOF;
	default:
		return tls_fatal(s);
	}
}

/* Three calls of ERR_clear_error a transaction, of a queue that is empty, cost 0.1 us. */
static void errors_forget(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
	errno = 0;
}

/* Nothing to read, neither here nor in OpenSSL. Not to ask it, where it would only say
 * WANT_READ, saves 0.3 us of the 1.6 us that a small question and its answer cost in it. */
static bool has_nothing(const struct stream *s)
{
	return !(s->flags & STREAM_F_UNDRAINED) && !SSL_has_pending(s->tls) &&
	       bio_of(s)->early.len == 0;
}

static ssize_t tls_read(struct stream *s, void *to, size_t cap)
{
	size_t n;

	if (s->flags & STREAM_F_TLS_DEAD)
		return STREAM_ERROR;
	if (has_nothing(s))
		return STREAM_WAIT;
	errors_forget();
	return SSL_read_ex(s->tls, to, cap, &n) == 1 ? (ssize_t)n : tls_read_failed(s);
}

static ssize_t tls_write(struct stream *s, const void *from, size_t len)
{
	size_t n;

	errors_forget();
	if (SSL_write_ex(s->tls, from, len, &n) == 1)
		return (ssize_t)n;
	switch (SSL_get_error(s->tls, 0)) {
	case SSL_ERROR_WANT_READ:
		s->flags |= STREAM_F_WRITE_NEEDS_READ;
		return STREAM_WAIT;
	case SSL_ERROR_SYSCALL:
		/* The peer's last words may still be there to read. */
		ERR_clear_error();
		return STREAM_ERROR;
	default:
		return tls_fatal(s);
	}
}

static ssize_t tls_writev(struct stream *s, const struct iovec *iov, int n)
{
	uint8_t record[TLS_RECORD_BYTES];
	size_t used = 0;
	ssize_t sent;

	if (s->flags & STREAM_F_TLS_DEAD)
		return STREAM_ERROR;
	if (s->flags & STREAM_F_TLS_KEEPS) {
		sent = tls_send_kept(s);
		if (sent <= 0)
			return sent;
	}
	if (n == 1 || iov[0].iov_len >= sizeof(record))
		return tls_write(s, iov[0].iov_base, iov[0].iov_len);
	for (int i = 0; i < n && used < sizeof(record); i++) {
		size_t len = iov[i].iov_len;

		if (len > sizeof(record) - used)
			len = sizeof(record) - used;
		memcpy(record + used, iov[i].iov_base, len);
		used += len;
	}
	return tls_write(s, record, used);
}

/* ---- beginning and end -------------------------------------------------------------- */

static bool start_tls(struct stream *s, SSL_CTX *ctx, const void *early, size_t len, bool is_direct)
{
	BIO *bio;
	SSL *tls;

	MUST(!(s->flags & STREAM_F_BORROWED));
	if (s->fd < 0 || s->tls != NULL || stream_backlog_bytes(s) > 0 ||
	    (s->flags & STREAM_F_WRITE_FAILED))
		return false;
	ERR_clear_error();
	tls = SSL_new(ctx);
	if (tls == NULL) {
		char text[256];

		log_error("cannot start TLS: %s", tls_reason(text, sizeof(text)));
		return false;
	}
	bio = bio_new(s, early, len);
	SSL_set_bio(tls, bio, bio);
	MUST(SSL_set_app_data(tls, s) == 1);
	SSL_set_accept_state(tls);
	s->tls = tls;
	s->ops = &tls_ops;
	s->flags |= STREAM_F_READABLE | (is_direct ? STREAM_F_TLS_DIRECT : 0);
	return true;
}

bool stream_start_tls(struct stream *s, struct ssl_ctx_st *ctx)
{
	return start_tls(s, ctx, NULL, 0, false);
}

bool stream_start_tls_direct(struct stream *s, struct ssl_ctx_st *ctx, const void *early,
                             size_t len)
{
	return start_tls(s, ctx, early, len, true);
}

bool stream_has_alpn(const struct stream *s)
{
	const unsigned char *name = NULL;
	unsigned len = 0;

	if (s->tls != NULL)
		SSL_get0_alpn_selected(s->tls, &name, &len);
	return len == alpn_postgresql[0] && memcmp(name, alpn_postgresql + 1, len) == 0;
}

/* ---- the client's certificate --------------------------------------------------------- */

/* An embedded zero byte must not cut a name short. */
static bool string_is(const ASN1_STRING *string, const char *name)
{
	size_t len = strlen(name);

	return ASN1_STRING_length(string) == (int)len &&
	       memcmp(ASN1_STRING_get0_data(string), name, len) == 0;
}

/* All strings of names are compared as UTF-8, as the user name is. */
static bool common_name_is(X509 *cert, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);
	unsigned char *utf8 = NULL;
	int at = -1, len;
	bool found = false;

	while (!found && (at = X509_NAME_get_index_by_NID(subject, NID_commonName, at)) >= 0) {
		len = ASN1_STRING_to_UTF8(
			&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
		if (len < 0)
			continue;
		found = (size_t)len == strlen(name) && memcmp(utf8, name, (size_t)len) == 0;
		OPENSSL_free(utf8);
	}
	return found;
}

static bool alternative_name_is(X509 *cert, const char *name)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
	bool found = false;

	for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
		const GENERAL_NAME *alternative = sk_GENERAL_NAME_value(names, i);

		if (alternative->type == GEN_DNS)
			found = string_is(alternative->d.dNSName, name);
		else if (alternative->type == GEN_EMAIL)
			found = string_is(alternative->d.rfc822Name, name);
	}
	GENERAL_NAMES_free(names);
	return found;
}

bool stream_is_certified(const struct stream *s, const char *name)
{
	X509 *cert = s->tls != NULL ? SSL_get0_peer_certificate(s->tls) : NULL;

	return cert != NULL && SSL_get_verify_result(s->tls) == X509_V_OK &&
	       (common_name_is(cert, name) || alternative_name_is(cert, name));
}

/* ---- borrowed ------------------------------------------------------------------------- */

/* What PQfinish needs afterwards is left alone or, the BIO, put back by tls_close. */
void tls_borrow(struct stream *s)
{
	BIO *lenders = SSL_get_wbio(s->tls), *bio = bio_new(s, NULL, 0);

	MUST(BIO_up_ref(lenders) == 1);
	((struct tls_bio *)BIO_get_data(bio))->lenders = lenders;
	SSL_set_bio(s->tls, bio, bio);
	SSL_set_mode(s->tls, TLS_MODES);
	SSL_set_options(s->tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_set_read_ahead(s->tls, 1);
	s->ops = &tls_ops;
}

static void tls_close(struct stream *s)
{
	if (s->flags & STREAM_F_BORROWED) {
		BIO *lenders = bio_of(s)->lenders;

		SSL_set_bio(s->tls, lenders, lenders);
		s->tls = NULL;
		return;
	}
	/* One close_notify, without waiting for the peer's. */
	if (!(s->flags & (STREAM_F_TLS_DEAD | STREAM_F_WRITE_FAILED)) && !stream_has_backlog(s) &&
	    SSL_is_init_finished(s->tls))
		(void)SSL_shutdown(s->tls);
	ERR_clear_error();
	SSL_free(s->tls);
	s->tls = NULL;
	close(s->fd);
}

/* ---- what contexts for clients have in common ---------------------------------------- */

static int on_alpn(SSL *tls, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *offered, unsigned offered_len, void *arg)
{
	unsigned char *chosen = NULL;

	(void)tls, (void)arg;
	if (SSL_select_next_proto(&chosen, out_len, alpn_postgresql, sizeof(alpn_postgresql),
	                          offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

/* Of a client that speaks TLS from its first byte PostgreSQL demands ALPN, so that a protocol
 * that is not PostgreSQL's ends here (the attack is called ALPACA). */
static int on_client_hello(SSL *tls, int *alert, void *arg)
{
	const struct stream *s = SSL_get_app_data(tls);
	const unsigned char *ext;
	size_t len;

	(void)arg;
	if (s == NULL || !(s->flags & STREAM_F_TLS_DIRECT) ||
	    SSL_client_hello_get0_ext(tls, TLSEXT_TYPE_application_layer_protocol_negotiation, &ext,
	                              &len) == 1)
		return SSL_CLIENT_HELLO_SUCCESS;
	*alert = SSL_AD_NO_APPLICATION_PROTOCOL;
	return SSL_CLIENT_HELLO_ERROR;
}

void tls_context_prepare(struct ssl_ctx_st *ctx)
{
	SSL_CTX_set_mode(ctx, TLS_MODES);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	SSL_CTX_set_client_hello_cb(ctx, on_client_hello, NULL);
}
