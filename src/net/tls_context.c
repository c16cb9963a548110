/* TLS contexts after the configuration: made by the main thread at the start and on reload, then
 * constant and used by all workers.
 *
 * Resumption. TLS 1.3 and TLS 1.2 clients resume by ticket, sealed with a key of this process's
 * own that every context has, whichever worker made it and whenever: it lives as long as the
 * process. TLS 1.2 clients without tickets resume by id from the context's cache, which is
 * locked, but touched by them only. Where clients show certificates nothing is resumed: a
 * certificate that has expired, or whose authority is no longer trusted, ends with its
 * connection. */
#include "net_tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net/net_int.h"

/* Sessions of TLS 1.2 clients without tickets, about a kilobyte each. */
#define TLS_CACHE_SESSIONS 4096
#define TLS_SESSION_TIMEOUT_S 3600
/* OpenSSL's: a name, a key to authenticate with, a key to encrypt with. */
#define TLS_TICKET_KEY_BYTES 80

/* Always false, so that callers can return it. */
static bool fail(struct tls_error *err, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static bool fail(struct tls_error *err, const char *key, const char *fmt, ...)
{
	va_list args;

	err->key = key;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return false;
}

static bool is_set(const char *value)
{
	return value != NULL && value[0] != '\0';
}

/* ---- files ------------------------------------------------------------------------------ */

/* Without this OpenSSL would ask for a passphrase on the terminal. */
static int on_passphrase(char *to, int size, int writing, void *arg)
{
	(void)to, (void)size, (void)writing;
	*(bool *)arg = true;
	return -1;
}

static bool load_key(SSL_CTX *ctx, const char *cert_file, const char *key_file, const char *key,
                     struct tls_error *err)
{
	bool encrypted = false, loaded;
	unsigned long code;
	char text[256];

	SSL_CTX_set_default_passwd_cb(ctx, on_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(ctx, &encrypted);
	loaded = SSL_CTX_use_PrivateKey_file(ctx, key_file, SSL_FILETYPE_PEM) == 1;
	SSL_CTX_set_default_passwd_cb_userdata(ctx, NULL);
	SSL_CTX_set_default_passwd_cb(ctx, NULL);
	if (loaded && SSL_CTX_check_private_key(ctx) == 1)
		return true;
	code = ERR_peek_error();
	if (encrypted)
		return fail(err, key,
		            "cannot load the private key from \"%s\": it is protected by a "
		            "passphrase",
		            key_file);
	if (loaded || (ERR_GET_LIB(code) == ERR_LIB_X509 &&
	               ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH))
		return fail(
			err, key,
			"the private key in \"%s\" does not belong to the certificate in \"%s\"",
			key_file, cert_file);
	return fail(err, key, "cannot load the private key from \"%s\": %s", key_file,
	            tls_reason(text, sizeof(text)));
}

static bool load_chain(SSL_CTX *ctx, const char *file, const char *key, struct tls_error *err)
{
	char text[256];

	if (SSL_CTX_use_certificate_chain_file(ctx, file) == 1)
		return true;
	return fail(err, key, "cannot load the certificate chain from \"%s\": %s", file,
	            tls_reason(text, sizeof(text)));
}

static bool load_authorities(SSL_CTX *ctx, const char *file, const char *key, struct tls_error *err)
{
	char text[256];

	if (SSL_CTX_load_verify_file(ctx, file) == 1)
		return true;
	return fail(err, key, "cannot load certificate authorities from \"%s\": %s", file,
	            tls_reason(text, sizeof(text)));
}

/* ---- clients ---------------------------------------------------------------------------- */

static bool refused(struct tls_error *err, const char *key, const char *value)
{
	char text[256];

	return fail(err, key, "OpenSSL refuses \"%s\": %s", value, tls_reason(text, sizeof(text)));
}

/* Said explicitly, whatever openssl.cnf says: both ends of the range, and the gaps. */
static void set_protocols(SSL_CTX *ctx, uint32_t protocols)
{
	static const struct {
		uint32_t bit;
		int version;
		uint64_t off;
	} versions[] = {
		{CONF_TLS_1_0, TLS1_VERSION, SSL_OP_NO_TLSv1},
		{CONF_TLS_1_1, TLS1_1_VERSION, SSL_OP_NO_TLSv1_1},
		{CONF_TLS_1_2, TLS1_2_VERSION, SSL_OP_NO_TLSv1_2},
		{CONF_TLS_1_3, TLS1_3_VERSION, SSL_OP_NO_TLSv1_3},
	};
	int lowest = 0, highest = 0;

	for (size_t i = 0; i < COUNT_OF(versions); i++) {
		if (protocols & versions[i].bit) {
			lowest = lowest == 0 ? versions[i].version : lowest;
			highest = versions[i].version;
			SSL_CTX_clear_options(ctx, versions[i].off);
		} else {
			SSL_CTX_set_options(ctx, versions[i].off);
		}
	}
	MUST(SSL_CTX_set_min_proto_version(ctx, lowest) == 1);
	MUST(SSL_CTX_set_max_proto_version(ctx, highest) == 1);
}

static bool set_ciphers(SSL_CTX *ctx, const struct conf_pgusher *conf, struct tls_error *err)
{
	const char *list = is_set(conf->client_tls_ciphers)
	                           ? conf_tls_cipher_list(conf->client_tls_ciphers)
	                           : NULL;
	bool no_curves = is_set(conf->client_tls_ecdhcurve) &&
	                 strcmp(conf->client_tls_ecdhcurve, "none") == 0;
	char without_curves[512];

	if (no_curves) {
		if (snprintf(without_curves, sizeof(without_curves), "%s:!kECDHE",
		             list != NULL ? list : "DEFAULT") >= (int)sizeof(without_curves))
			return fail(err, "client_tls_ciphers", "too long");
		list = without_curves;
	}
	if (list != NULL && SSL_CTX_set_cipher_list(ctx, list) != 1)
		return refused(err, "client_tls_ciphers", list);
	if (is_set(conf->client_tls13_ciphers) &&
	    SSL_CTX_set_ciphersuites(ctx, conf->client_tls13_ciphers) != 1)
		return refused(err, "client_tls13_ciphers", conf->client_tls13_ciphers);
	if (!is_set(conf->client_tls_ecdhcurve) || no_curves ||
	    strcmp(conf->client_tls_ecdhcurve, "auto") == 0)
		return true;
	if (SSL_CTX_set1_groups_list(ctx, conf->client_tls_ecdhcurve) != 1)
		return refused(err, "client_tls_ecdhcurve", conf->client_tls_ecdhcurve);
	return true;
}

/* 2: no more than 1024 bits, as far as the security level allows. */
static void set_dhe(SSL_CTX *ctx, enum conf_tls_dhe dhe)
{
	SSL_CTX_set_dh_auto(ctx, dhe == CONF_TLS_DHE_NONE ? 0 : dhe == CONF_TLS_DHE_LEGACY ? 2 : 1);
}

static unsigned char ticket_key[TLS_TICKET_KEY_BYTES];

static void ticket_key_draw(void)
{
	MUST(RAND_bytes(ticket_key, sizeof(ticket_key)) == 1);
}

static void set_resumption(SSL_CTX *ctx)
{
	static const unsigned char id[] = "pgusher";
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	MUST(pthread_once(&once, ticket_key_draw) == 0);
	MUST(SSL_CTX_set_tlsext_ticket_keys(ctx, ticket_key, sizeof(ticket_key)) == 1);
	MUST(SSL_CTX_set_session_id_context(ctx, id, sizeof(id) - 1) == 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_SERVER);
	SSL_CTX_sess_set_cache_size(ctx, TLS_CACHE_SESSIONS);
	SSL_CTX_set_timeout(ctx, TLS_SESSION_TIMEOUT_S);
	/* One does: who resumes gets another. */
	MUST(SSL_CTX_set_num_tickets(ctx, 1) == 1);
}

static bool set_verification(SSL_CTX *ctx, const char *file, struct tls_error *err)
{
	STACK_OF(X509_NAME) * names;
	char text[256];

	if (!load_authorities(ctx, file, "client_tls_ca_file", err))
		return false;
	/* Clients choose among several certificates by these. */
	names = SSL_load_client_CA_file(file);
	if (names == NULL)
		return fail(err, "client_tls_ca_file",
		            "cannot load certificate authorities from \"%s\": %s", file,
		            tls_reason(text, sizeof(text)));
	SSL_CTX_set_client_CA_list(ctx, names);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
	MUST(SSL_CTX_set_num_tickets(ctx, 0) == 1);
	return true;
}

static bool set_up(SSL_CTX *ctx, const struct conf_pgusher *conf, struct tls_error *err)
{
	/* A client that hangs up without close_notify has hung up; the protocol's own framing
	 * shows what was cut off. */
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
	                                 SSL_OP_CIPHER_SERVER_PREFERENCE |
	                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
	tls_context_prepare(ctx);
	set_protocols(ctx, conf->client_tls_protocols);
	set_dhe(ctx, conf->client_tls_dheparams);
	set_resumption(ctx);
	if (!set_ciphers(ctx, conf, err) ||
	    !load_chain(ctx, conf->client_tls_cert_file, "client_tls_cert_file", err) ||
	    !load_key(ctx, conf->client_tls_cert_file, conf->client_tls_key_file,
	              "client_tls_key_file", err))
		return false;
	return conf->client_tls_sslmode < CONF_TLS_CLIENT_VERIFY_CA ||
	       set_verification(ctx, conf->client_tls_ca_file, err);
}

struct ssl_ctx_st *tls_context_for_clients(const struct conf_pgusher *conf, struct tls_error *err)
{
	SSL_CTX *ctx;
	bool ok;
	char text[256];

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_server_method());
	if (ctx == NULL)
		ok = fail(err, "client_tls_sslmode", "cannot set up TLS: %s",
		          tls_reason(text, sizeof(text)));
	else
		ok = set_up(ctx, conf, err);
	ERR_clear_error();
	if (ok)
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

/* ---- servers ---------------------------------------------------------------------------- */

/* libpq refuses such a key at every login. */
static bool check_key_mode(const char *file, struct tls_error *err)
{
	struct stat st;

	if (stat(file, &st) != 0)
		return fail(err, "server_tls_key_file", "cannot read \"%s\": %s", file,
		            strerror(errno));
	if (!(st.st_mode & (st.st_uid == 0 ? S_IWGRP | S_IXGRP | S_IRWXO : S_IRWXG | S_IRWXO)))
		return true;
	return fail(err, "server_tls_key_file",
	            "libpq does not use \"%s\": it is open to %s (chmod %s it)", file,
	            st.st_uid == 0 ? "other users" : "group or other users",
	            st.st_uid == 0 ? "640" : "600");
}

static bool check_server_files(SSL_CTX *ctx, const struct conf_pgusher *conf, struct tls_error *err)
{
	if (is_set(conf->server_tls_ca_file) &&
	    !load_authorities(ctx, conf->server_tls_ca_file, "server_tls_ca_file", err))
		return false;
	if (!is_set(conf->server_tls_cert_file))
		return true;
	return load_chain(ctx, conf->server_tls_cert_file, "server_tls_cert_file", err) &&
	       load_key(ctx, conf->server_tls_cert_file, conf->server_tls_key_file,
	                "server_tls_key_file", err) &&
	       check_key_mode(conf->server_tls_key_file, err);
}

bool tls_check_for_servers(const struct conf_pgusher *conf, struct tls_error *err)
{
	SSL_CTX *ctx;
	bool ok;

	ERR_clear_error();
	ctx = SSL_CTX_new(TLS_client_method());
	MUST(ctx != NULL);
	ok = check_server_files(ctx, conf, err);
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return ok;
}
