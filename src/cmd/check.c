/* `pgusher check -c FILE`: the configuration, the files that it names, the keys and the
 * certificate, and no connection to anything. */
#include <getopt.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "auth.h"
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

static int check_named(const struct conf *conf)
{
	char err[512];
	struct auth_keys *keys = auth_keys_load(conf->jwt.jwks_file, err, sizeof(err));

	if (keys == NULL)
		return fail(conf, "jwt", "jwks_file", err);
	auth_keys_put(&keys);
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
