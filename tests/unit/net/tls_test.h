/* What the TLS tests share: certificates and keys in a folder of their own, a context for each
 * side, and many bytes to send. */
#ifndef PGUSHER_TESTS_UNIT_NET_TLS_TEST_H
#define PGUSHER_TESTS_UNIT_NET_TLS_TEST_H

#include "net_test.h"
#include "net_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static struct event_base *base;
static char folder[] = "/tmp/pgusher-tls-XXXXXX";
static char cert_file[100], key_file[100], other_key_file[100], ec_key_file[100];
static char locked_key_file[100], junk_file[100];
static SSL_CTX *server_ctx, *client_ctx;
static struct conf_pgusher tls_conf; /* what server_ctx was made of; a test may change a copy */

/* ---- certificates ------------------------------------------------------------------- */

static inline void write_key(const char *name, EVP_PKEY *key, const char *passphrase)
{
	FILE *f = fopen(name, "w");

	assert_non_null(f);
	assert_int_equal(PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_128_cbc() : NULL,
	                                      (const unsigned char *)passphrase,
	                                      passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
	                 1);
	fclose(f);
}

static inline void write_certificate(EVP_PKEY *key)
{
	X509 *x = X509_new();
	X509_NAME *name = X509_get_subject_name(x);
	FILE *f = fopen(cert_file, "w");

	assert_non_null(f);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_gmtime_adj(X509_getm_notBefore(x), 0);
	X509_gmtime_adj(X509_getm_notAfter(x), 3600);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1,
	                           0);
	X509_set_issuer_name(x, name);
	X509_set_pubkey(x, key);
	assert_true(X509_sign(x, key, EVP_sha256()) > 0);
	assert_int_equal(PEM_write_X509(f, x), 1);
	fclose(f);
	X509_free(x);
}

static inline void name_file(char *to, size_t size, const char *name)
{
	snprintf(to, size, "%s/%s", folder, name);
}

static inline int make_files(void **state)
{
	EVP_PKEY *key, *other, *ec;
	FILE *f;

	(void)state;
	if (mkdtemp(folder) == NULL)
		return 1;
	name_file(cert_file, sizeof(cert_file), "server.crt");
	name_file(key_file, sizeof(key_file), "server.key");
	name_file(other_key_file, sizeof(other_key_file), "other.key");
	name_file(ec_key_file, sizeof(ec_key_file), "ec.key");
	name_file(locked_key_file, sizeof(locked_key_file), "locked.key");
	name_file(junk_file, sizeof(junk_file), "junk");
	key = EVP_RSA_gen(2048);
	other = EVP_RSA_gen(2048);
	ec = EVP_EC_gen("P-256");
	write_key(key_file, key, NULL);
	write_key(other_key_file, other, NULL);
	write_key(ec_key_file, ec, NULL);
	write_key(locked_key_file, key, "secret");
	write_certificate(key);
	f = fopen(junk_file, "w");
	fputs("no PEM at all\n", f);
	fclose(f);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(ec);
	return 0;
}

static inline int remove_files(void **state)
{
	(void)state;
	unlink(cert_file);
	unlink(key_file);
	unlink(other_key_file);
	unlink(ec_key_file);
	unlink(locked_key_file);
	unlink(junk_file);
	return rmdir(folder);
}

static inline int set_up(void **state)
{
	struct tls_error err = {0};

	(void)state;
	base = event_base_new();
	tls_conf = (struct conf_pgusher){
		.client_tls_sslmode = CONF_TLS_CLIENT_ALLOW,
		.client_tls_cert_file = cert_file,
		.client_tls_key_file = key_file,
		.client_tls_protocols = CONF_TLS_SECURE,
	};
	server_ctx = tls_context_for_clients(&tls_conf, &err);
	assert_string_equal(err.text, "");
	assert_non_null(server_ctx);
	client_ctx = SSL_CTX_new(TLS_client_method());
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	SSL_CTX_free(server_ctx);
	SSL_CTX_free(client_ctx);
	event_base_free(base);
	return 0;
}

#define MUCH (3 << 20)

static inline void fill_pattern(uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		p[i] = pattern(i);
}

/* Sends MUCH in pieces from one byte to some records, through a socket that takes little. */
static inline size_t send_much(struct owner *o, uint8_t *much)
{
	unsigned seed = 5;
	struct iovec iov[40];
	size_t at = 0;

	fill_pattern(much, MUCH);
	while (at < MUCH) {
		int n = 0;

		for (; n < 40 && at < MUCH; n++) {
			size_t len = (size_t)rand_r(&seed) % (n % 10 == 3 ? 50000 : 200);

			if (len > MUCH - at)
				len = MUCH - at;
			iov[n].iov_base = much + at;
			iov[n].iov_len = len;
			at += len;
		}
		assert_true(stream_writev(&o->stream, iov, n));
	}
	assert_true(stream_backlog_bytes(&o->stream) > 0);
	memset(much, 0, MUCH);
	return at;
}

#endif
