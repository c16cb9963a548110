/* `pgusher check -c FILE`: the configuration, the files that it names, the keys and the
 * certificate, and no connection to anything. */
#include <getopt.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "auth.h"
#include "cmd.h"
#include "conf.h"
#include "net.h"

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher check -c FILE\n"
	      "Reads the configuration and everything it names, and connects nowhere.\n"
	      "Prints nothing and exits 0 when all is well; else file:line: key: what is wrong.\n",
	      out);
	return status;
}

static int fail(const char *file, const char *key, const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", file, key, what);
	return 1;
}

static int check_named(const struct conf *conf)
{
	char err[512];
	struct auth_keys *keys = auth_keys_load(conf->jwt.jwks_file, err, sizeof(err));

	if (keys == NULL)
		return fail(conf->path, "jwks_file", err);
	auth_keys_put(&keys);
	if (conf->pgusher.client_tls_sslmode != CONF_TLS_CLIENT_DISABLE) {
		SSL_CTX *tls =
			tls_server_context(conf->pgusher.client_tls_cert_file,
		                           conf->pgusher.client_tls_key_file, err, sizeof(err));

		if (tls == NULL)
			return fail(conf->path, "client_tls_cert_file", err);
		SSL_CTX_free(tls);
	}
	return 0;
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
