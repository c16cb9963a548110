/* What libpq has no parameter for: the cipher suites of its TLS connections (libpq 15 to 18).
 *
 * libpq makes a new SSL_CTX for each connection and begins the handshake in the same call, so
 * there is no moment to reach in between. But OpenSSL tells who asked of each new SSL_CTX, and
 * calls its info callback where a handshake begins, before the ClientHello is put together; libpq
 * uses neither.
 *
 *   dial_tls_use ─► PQconnectPoll ─► SSL_CTX_new ─► on_context_new: installs on_info
 *                                └─► SSL_connect ─► on_info: sets the suites
 *
 * What is wanted is kept for each thread (and so holds for the cancels of libpq 17, which come from
 * the dialer's thread too), so a context that another thread makes (a worker's, or
 * the main thread's for clients) is left alone. */
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conf.h"
#include "probe/probe_int.h"

/* The ini file's longest line is shorter. */
#define LIST_MAX 512

static _Thread_local struct {
	bool is_on;
	char ciphers[LIST_MAX]; /* "": OpenSSL's own choice */
	char suites[LIST_MAX];
} wanted;

static void on_info(const SSL *tls, int where, int value)
{
	SSL *changed = (SSL *)(uintptr_t)tls;

	(void)value;
	if (!(where & SSL_CB_HANDSHAKE_START) || !wanted.is_on)
		return;
	/* The configuration's reader has asked OpenSSL for each. */
	if (wanted.ciphers[0] != '\0')
		MUST(SSL_set_cipher_list(changed, wanted.ciphers) == 1);
	if (wanted.suites[0] != '\0')
		MUST(SSL_set_ciphersuites(changed, wanted.suites) == 1);
}

static void on_context_new(void *ctx, void *ptr, CRYPTO_EX_DATA *data, int index, long l, void *p)
{
	(void)ptr, (void)data, (void)index, (void)l, (void)p;
	if (wanted.is_on)
		SSL_CTX_set_info_callback(ctx, on_info);
}

static void watch_contexts(void)
{
	MUST(SSL_CTX_get_ex_new_index(0, NULL, on_context_new, NULL, NULL) >= 0);
}

static void list_set(char to[LIST_MAX], const char *list)
{
	size_t len = list != NULL ? strlen(list) : 0;

	MUST(len < LIST_MAX);
	memcpy(to, list != NULL ? list : "", len + 1);
}

void dial_tls_use(const struct conf_pgusher *conf)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	MUST(pthread_once(&once, watch_contexts) == 0);
	list_set(wanted.ciphers, conf_tls_cipher_list(conf->server_tls_ciphers));
	list_set(wanted.suites, conf->server_tls13_ciphers);
	wanted.is_on = true;
}

/* libpq's words, which have no gap between them (conf/check.c). */
static const char *version_word(uint32_t bit)
{
	switch (bit) {
	case CONF_TLS_1_0:
		return "TLSv1";
	case CONF_TLS_1_1:
		return "TLSv1.1";
	case CONF_TLS_1_2:
		return "TLSv1.2";
	case CONF_TLS_1_3:
		return "TLSv1.3";
	default:
		MUST_NOT_REACH();
	}
}

const char *dial_tls_lowest(uint32_t protocols)
{
	return version_word(protocols & -protocols);
}

const char *dial_tls_highest(uint32_t protocols)
{
	uint32_t bit = CONF_TLS_1_3;

	while (!(protocols & bit))
		bit >>= 1;
	return version_word(bit);
}
