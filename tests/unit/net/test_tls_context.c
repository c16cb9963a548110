/* What the configuration says about TLS, as clients meet it: versions, ciphers, groups,
 * certificates, resumption; and what is said of files that are no good. */
#include "tls_ends.h"

#include <openssl/x509v3.h>

/* ---- contexts ------------------------------------------------------------------------ */

/* server_ctx once more, after tls_conf as the test has changed it. */
static void remake(void)
{
	struct tls_error err = {0};

	SSL_CTX_free(server_ctx);
	server_ctx = tls_context_for_clients(&tls_conf, &err);
	assert_string_equal(err.text, "");
	assert_non_null(server_ctx);
}

/* The server gives up the handshake; why NULL: whatever it says of that. */
static void fail_handshake(const char *why)
{
	static struct ends e;

	ends_open_plain(&e);
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	PUMP_UNTIL(&e, e.server.end != 0);
	assert_int_equal(e.server.end, STREAM_ERROR);
	assert_non_null(stream_tls_failure(&e.server.stream));
	if (why != NULL)
		assert_string_equal(stream_tls_failure(&e.server.stream), why);
	ends_close(&e);
}

static void test_protocols(void **state)
{
	static const struct {
		uint32_t protocols;
		int highest; /* what a client that can do all gets */
	} cases[] = {
		{CONF_TLS_1_3, TLS1_3_VERSION},
		{CONF_TLS_1_2, TLS1_2_VERSION},
		{CONF_TLS_SECURE, TLS1_3_VERSION},
		{CONF_TLS_1_0, TLS1_VERSION},
		{CONF_TLS_1_0 | CONF_TLS_1_2, TLS1_2_VERSION},
	};
	static struct ends e;

	(void)state;
	SSL_CTX_set_min_proto_version(client_ctx, TLS1_VERSION);
	SSL_CTX_set_cipher_list(client_ctx, "ALL:@SECLEVEL=0");
	tls_conf.client_tls_ciphers = "ALL:@SECLEVEL=0";
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		tls_conf.client_tls_protocols = cases[i].protocols;
		remake();
		ends_open(&e);
		assert_int_equal(SSL_version(e.client), cases[i].highest);
		ends_close(&e);
	}
	/* Into the gap. */
	SSL_CTX_set_max_proto_version(client_ctx, TLS1_1_VERSION);
	SSL_CTX_set_min_proto_version(client_ctx, TLS1_1_VERSION);
	fail_handshake(NULL);
	tls_conf.client_tls_protocols = CONF_TLS_ALL;
	remake();
	ends_open(&e);
	assert_int_equal(SSL_version(e.client), TLS1_1_VERSION);
	ends_close(&e);
}

static void cipher_is(const char *name)
{
	static struct ends e;

	ends_open(&e);
	assert_string_equal(SSL_get_cipher_name(e.client), name);
	ends_close(&e);
}

static void test_ciphers(void **state)
{
	(void)state;
	tls_conf.client_tls_ciphers = "ECDHE-RSA-AES128-GCM-SHA256";
	tls_conf.client_tls13_ciphers = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256";
	remake();
	cipher_is("TLS_CHACHA20_POLY1305_SHA256");
	SSL_CTX_set_max_proto_version(client_ctx, TLS1_2_VERSION);
	cipher_is("ECDHE-RSA-AES128-GCM-SHA256");
	SSL_CTX_set_cipher_list(client_ctx, "ECDHE-RSA-AES256-GCM-SHA384");
	fail_handshake("no shared cipher");
	tls_conf.client_tls_ciphers = "all";
	remake();
	cipher_is("ECDHE-RSA-AES256-GCM-SHA384");
}

static void test_groups(void **state)
{
	static struct ends e;

	(void)state;
	tls_conf.client_tls_ecdhcurve = "secp384r1";
	remake();
	ends_open(&e);
	assert_int_equal(SSL_get_negotiated_group(e.client), NID_secp384r1);
	ends_close(&e);
	SSL_CTX_set1_groups_list(client_ctx, "X25519");
	fail_handshake("no suitable key share");
	/* TLS 1.2 without curves. */
	tls_conf.client_tls_ecdhcurve = "none";
	tls_conf.client_tls_protocols = CONF_TLS_1_2;
	remake();
	SSL_CTX_set_cipher_list(client_ctx, "kECDHE");
	fail_handshake("no shared cipher");
	SSL_CTX_set_cipher_list(client_ctx, "kECDHE:kRSA");
	cipher_is("AES256-GCM-SHA384");
}

static int dhe_bits(enum conf_tls_dhe dhe)
{
	static struct ends e;
	EVP_PKEY *key;
	int bits;

	tls_conf.client_tls_dheparams = dhe;
	remake();
	ends_open(&e);
	assert_int_equal(SSL_get_peer_tmp_key(e.client, &key), 1);
	bits = EVP_PKEY_get_bits(key);
	EVP_PKEY_free(key);
	ends_close(&e);
	return bits;
}

static void test_dhe(void **state)
{
	(void)state;
	SSL_CTX_set_max_proto_version(client_ctx, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(client_ctx, "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=1");
	assert_int_equal(dhe_bits(CONF_TLS_DHE_AUTO), 2048);
	assert_int_equal(dhe_bits(CONF_TLS_DHE_LEGACY), 2048);
	tls_conf.client_tls_ciphers = "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=1";
	assert_int_equal(dhe_bits(CONF_TLS_DHE_LEGACY), 1024);
	assert_int_equal(dhe_bits(CONF_TLS_DHE_AUTO), 2048);
	tls_conf.client_tls_dheparams = CONF_TLS_DHE_NONE;
	remake();
	fail_handshake("no shared cipher");
}

/* ---- resumption ---------------------------------------------------------------------- */

static SSL_SESSION *kept;

static int on_session(SSL *client, SSL_SESSION *session)
{
	(void)client;
	SSL_SESSION_free(kept);
	kept = session;
	return 1;
}

/* One connection, with the session of the last one. */
static bool resumes(void)
{
	static struct ends e;
	bool was_reused;

	ends_open_plain(&e);
	if (kept != NULL)
		assert_int_equal(SSL_set_session(e.client, kept), 1);
	assert_true(stream_start_tls(&e.server.stream, server_ctx));
	PUMP_UNTIL(&e, have_shaken_hands(&e));
	assert_true(owner_send(&e.server, "x", 1));
	PUMP_UNTIL(&e, e.got.len == 1);
	was_reused = SSL_session_reused(e.client) == 1;
	assert_int_equal(SSL_session_reused(e.server.stream.tls), was_reused);
	/* Else OpenSSL forgets the session. */
	SSL_shutdown(e.client);
	ends_close(&e);
	return was_reused;
}

static void forget_session(void)
{
	SSL_SESSION_free(kept);
	kept = NULL;
}

static void keep_sessions(int version)
{
	forget_session();
	SSL_CTX_set_session_cache_mode(client_ctx,
	                               SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(client_ctx, on_session);
	SSL_CTX_set_max_proto_version(client_ctx, version);
}

static void test_resumption(void **state)
{
	(void)state;
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		keep_sessions(version);
		assert_false(resumes());
		assert_true(resumes());
		assert_true(resumes());
		/* After a reload: another context, the same ticket key. */
		remake();
		assert_true(resumes());
	}
	/* By id. */
	keep_sessions(TLS1_2_VERSION);
	SSL_CTX_set_options(client_ctx, SSL_OP_NO_TICKET);
	assert_false(resumes());
	assert_true(resumes());
	remake();
	assert_false(resumes());
	forget_session();
}

/* ---- clients' certificates ----------------------------------------------------------- */

static char ca_file[100];

static EVP_PKEY *new_key(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");

	assert_non_null(key);
	return key;
}

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(cert, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* Signed by issuer, or by itself: an authority. */
static X509 *new_certificate(const char *cn, int cn_len, EVP_PKEY *key, X509 *issuer,
                             EVP_PKEY *issuer_key, const char *alternative, long expires_s)
{
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	X509_set_version(cert, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), -7200);
	X509_gmtime_adj(X509_getm_notAfter(cert), expires_s);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)cn, cn_len, -1,
	                           0);
	X509_set_pubkey(cert, key);
	X509_set_issuer_name(cert, issuer != NULL ? X509_get_subject_name(issuer) : name);
	if (issuer == NULL)
		add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE");
	if (alternative != NULL)
		add_extension(cert, issuer, NID_subject_alt_name, alternative);
	assert_true(X509_sign(cert, issuer_key != NULL ? issuer_key : key, EVP_sha256()) > 0);
	return cert;
}

static X509 *authority;
static EVP_PKEY *authority_key;

static void make_authority(void)
{
	FILE *f;

	authority_key = new_key();
	authority = new_certificate("authority", -1, authority_key, NULL, NULL, NULL, 3600);
	name_file(ca_file, sizeof(ca_file), "ca.crt");
	f = fopen(ca_file, "w");
	assert_non_null(f);
	assert_int_equal(PEM_write_X509(f, authority), 1);
	fclose(f);
	tls_conf.client_tls_ca_file = ca_file;
	tls_conf.client_tls_sslmode = CONF_TLS_CLIENT_VERIFY_FULL;
	remake();
}

static void drop_authority(void)
{
	X509_free(authority);
	EVP_PKEY_free(authority_key);
	unlink(ca_file);
}

static void client_shows(X509 *cert, EVP_PKEY *key)
{
	assert_int_equal(SSL_CTX_use_certificate(client_ctx, cert), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(client_ctx, key), 1);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static void client_shows_signed(const char *cn, const char *alternative, long expires_s)
{
	EVP_PKEY *key = new_key();

	client_shows(new_certificate(cn, -1, key, authority, authority_key, alternative, expires_s),
	             key);
}

static void is_certified(const char *name, bool expected)
{
	static struct ends e;

	ends_open(&e);
	assert_int_equal(stream_is_certified(&e.server.stream, name), expected);
	ends_close(&e);
}

static void test_client_certificates(void **state)
{
	EVP_PKEY *key;

	(void)state;
	make_authority();
	fail_handshake("peer did not return a certificate");
	client_shows_signed("app", NULL, 3600);
	is_certified("app", true);
	is_certified("ap", false);
	is_certified("app2", false);
	is_certified("", false);
	client_shows_signed("x", "DNS:report,email:app@example.com,URI:app", 3600);
	is_certified("report", true);
	is_certified("app@example.com", true);
	is_certified("x", true);
	is_certified("app", false);
	/* A zero byte does not end a name. */
	key = new_key();
	client_shows(
		new_certificate("app\0.example.com", 16, key, authority, authority_key, NULL, 3600),
		key);
	is_certified("app", false);
	client_shows_signed("app", NULL, -60);
	fail_handshake("certificate has expired");
	/* Its own authority. */
	key = new_key();
	client_shows(new_certificate("app", -1, key, NULL, NULL, NULL, 3600), key);
	fail_handshake("self-signed certificate");
	drop_authority();
}

/* A client's certificate counts for nothing where it is not asked for. */
static void test_unasked_certificate(void **state)
{
	(void)state;
	make_authority();
	tls_conf.client_tls_sslmode = CONF_TLS_CLIENT_REQUIRE;
	remake();
	is_certified("app", false);
	client_shows_signed("app", NULL, 3600);
	is_certified("app", false);
	drop_authority();
}

static void test_certificates_are_not_resumed(void **state)
{
	(void)state;
	make_authority();
	client_shows_signed("app", NULL, 3600);
	for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
		keep_sessions(version);
		assert_false(resumes());
		assert_false(resumes());
	}
	forget_session();
	drop_authority();
}

/* ---- files that are no good ------------------------------------------------------------ */

static void refuse(const char *cert, const char *key, const char *option, const char *file,
                   const char *why)
{
	struct tls_error err = {0};

	tls_conf.client_tls_cert_file = cert;
	tls_conf.client_tls_key_file = key;
	assert_null(tls_context_for_clients(&tls_conf, &err));
	assert_string_equal(err.key, option);
	if (strstr(err.text, file) == NULL || strstr(err.text, why) == NULL)
		fail_msg("\"%s\" should name %s and %s", err.text, file, why);
	assert_int_equal(ERR_peek_error(), 0);
}

static void test_errors_of_files(void **state)
{
#define CERT "client_tls_cert_file"
#define KEY "client_tls_key_file"
	(void)state;
	refuse("/nowhere/server.crt", key_file, CERT, "/nowhere/server.crt", strerror(ENOENT));
	refuse(cert_file, "/nowhere/server.key", KEY, "/nowhere/server.key", strerror(ENOENT));
	refuse(junk_file, key_file, CERT, junk_file, "start line");
	refuse(cert_file, junk_file, KEY, junk_file, "private key");
	refuse(cert_file, other_key_file, KEY, other_key_file, "does not belong");
	refuse(cert_file, ec_key_file, KEY, ec_key_file, "does not belong");
	refuse(cert_file, locked_key_file, KEY, locked_key_file, "passphrase");
	tls_conf.client_tls_sslmode = CONF_TLS_CLIENT_VERIFY_CA;
	tls_conf.client_tls_ca_file = junk_file;
	refuse(cert_file, key_file, "client_tls_ca_file", junk_file, "authorities");
	tls_conf.client_tls_ca_file = "/nowhere/ca.crt";
	refuse(cert_file, key_file, "client_tls_ca_file", "/nowhere/ca.crt", strerror(ENOENT));
#undef CERT
#undef KEY
}

static void server_files(const char *ca, const char *cert, const char *key, const char *option,
                         const char *why)
{
	struct conf_pgusher conf = {
		.server_tls_ca_file = ca, .server_tls_cert_file = cert, .server_tls_key_file = key};
	struct tls_error err = {0};

	assert_int_equal(tls_check_for_servers(&conf, &err), option == NULL);
	if (option == NULL)
		return;
	assert_string_equal(err.key, option);
	if (strstr(err.text, why) == NULL)
		fail_msg("\"%s\" should say %s", err.text, why);
}

static void test_server_files(void **state)
{
	(void)state;
	assert_int_equal(chmod(key_file, 0600), 0);
	server_files("", "", "", NULL, NULL);
	server_files(cert_file, cert_file, key_file, NULL, NULL);
	server_files(junk_file, "", "", "server_tls_ca_file", junk_file);
	server_files("", junk_file, key_file, "server_tls_cert_file", junk_file);
	server_files("", cert_file, other_key_file, "server_tls_key_file", "does not belong");
	assert_int_equal(chmod(key_file, 0644), 0);
	server_files("", cert_file, key_file, "server_tls_key_file", "chmod 6");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		ON_LOOP(test_protocols),
		ON_LOOP(test_ciphers),
		ON_LOOP(test_groups),
		ON_LOOP(test_dhe),
		ON_LOOP(test_resumption),
		ON_LOOP(test_client_certificates),
		ON_LOOP(test_unasked_certificate),
		ON_LOOP(test_certificates_are_not_resumed),
		ON_LOOP(test_errors_of_files),
		ON_LOOP(test_server_files),
#undef ON_LOOP
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
