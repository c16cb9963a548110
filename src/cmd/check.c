/* `pgusher check -c FILE`: the configuration, the files that it names, the keys and the
 * certificate, and no connection to anything. */
#include <getopt.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "auth.h"
#include "backend_proof.h"
#include "cmd.h"
#include "conf.h"
#include "net_tls.h"

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher check -c FILE\n"
	      "Reads the configuration and everything it names, and connects nowhere.\n"
	      "Prints nothing and exits 0 when all is well; else file:line: key: what is wrong.\n",
	      out);
	return status;
}

static int fail(const struct conf *conf, const char *section, const char *key, const char *what)
{
	fprintf(stderr, "%s:%d: %s: %s\n", conf->path, conf_line(conf, section, key), key, what);
	return 1;
}

/* Only the first section's lines are kept. */
static int fail_jwt(const struct conf *conf, size_t i, const char *key, const char *what)
{
	if (i == 0)
		return fail(conf, "jwt", key, what);
	fprintf(stderr, "%s: [jwt %s]: %s: %s\n", conf->path, conf->jwts[i].name, key, what);
	return 1;
}

static bool ca_file_is_good(const char *path)
{
	X509_STORE *store = X509_STORE_new();
	bool ok = store != NULL && X509_STORE_load_file(store, path) == 1;

	X509_STORE_free(store);
	return ok;
}

static int check_jwt(const struct conf *conf, size_t i)
{
	const struct conf_jwt *jwt = &conf->jwts[i];
	struct auth_jwks *jwks;
	char err[512];

	if (jwt->jwks_file[0] != '\0') {
		jwks = auth_jwks_load(jwt->jwks_file, err, sizeof(err));
		if (jwks == NULL)
			return fail_jwt(conf, i, "jwks_file", err);
		auth_jwks_put(&jwks);
	}
	if (jwt->jwks_ca_file[0] != '\0' && !ca_file_is_good(jwt->jwks_ca_file)) {
		snprintf(err, sizeof(err), "%s: no certificates in PEM", jwt->jwks_ca_file);
		return fail_jwt(conf, i, "jwks_ca_file", err);
	}
	return 0;
}

static int check_proof(const struct conf *conf)
{
	struct proof_key *key;
	char err[512];

	if (conf->context.proof_key_file[0] == '\0')
		return 0;
	key = proof_key_load(conf->context.proof_key_file, err, sizeof(err));
	if (key == NULL)
		return fail(conf, "context", "proof_key_file", err);
	proof_key_put(&key);
	return 0;
}

static int check_tls(const struct conf *conf)
{
	struct tls_error err;
	SSL_CTX *tls;

	if (!tls_check_for_servers(&conf->pgusher, &err))
		return fail(conf, "pgusher", err.key, err.text);
	if (conf->pgusher.client_tls_sslmode == CONF_TLS_CLIENT_DISABLE)
		return 0;
	tls = tls_context_for_clients(&conf->pgusher, &err);
	if (tls == NULL)
		return fail(conf, "pgusher", err.key, err.text);
	SSL_CTX_free(tls);
	return 0;
}

static int check_audit(const struct conf *conf)
{
	char err[512];

	return audit_check(conf, err, sizeof(err)) ? 0 : fail(conf, "audit", "file", err);
}

static int check_named(const struct conf *conf)
{
	for (size_t i = 0; i < conf->n_jwts; i++) {
		if (check_jwt(conf, i) != 0)
			return 1;
	}
	if (check_proof(conf) != 0 || check_audit(conf) != 0)
		return 1;
	return check_tls(conf);
}

int cmd_check(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *path = NULL;
	struct conf_error err;
	struct conf *conf;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (opt == 'h')
			return usage(stdout, 0);
		if (opt != 'c')
			return usage(stderr, 2);
		path = optarg;
	}
	if (path == NULL || optind != argc)
		return usage(stderr, 2);
	conf = conf_load(path, &err);
	if (conf == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	status = check_named(conf);
	conf_put(&conf);
	return status;
}
