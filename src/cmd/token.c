/* `pgusher token`: tokens and keys for development and tests. Runs on the main thread and exits;
 * nothing of the proxy is running beside it. All that knows keys or claims is in src/auth. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cmd.h"

#define TTL_DEFAULT_S 3600
#define TTL_MAX_S (INT64_C(100) * 366 * 24 * 3600)

static const char help[] =
	"usage: pgusher token --key FILE {--tenant ID | --no-tenant} [--role R]... [options]\n"
	"       pgusher token --key FILE --public [--kid K]\n"
	"       pgusher token --new-key ALG [--kid K]\n"
	"\n"
	"Prints a signed JSON Web Token, to be used as the password. For development and tests.\n"
	"\n"
	"  --key FILE           private key: a JWK, a JWK set, or PEM (RSA, EC P-256, Ed25519)\n"
	"  --tenant ID          the tenant: digits without leading zero\n"
	"  --no-tenant          no tenant claim, for a role with tenant = none\n"
	"  --role R             database role; given again, the claim is a list\n"
	"  --ttl TIME           how long it is valid: 90, 90s, 15min, 1h (default 1h)\n"
	"  --kid K              which key of the set, and the header's kid\n"
	"  --alg A              HS256, RS256, ES256, PS256 or EdDSA; must fit the key\n"
	"  --claim NAME=VALUE   another claim; VALUE is JSON, or else a string\n"
	"  --issuer I           iss\n"
	"  --audience A         aud\n"
	"  --tenant-claim NAME  name of the tenant's claim (default tenant_id)\n"
	"  --role-claim NAME    name of the role's claim (default role)\n"
	"\n"
	"  --new-key ALG        print a fresh private key instead, as a JWK\n"
	"  --public             print the public JWK set of --key's keys instead; an HS256 key "
	"has\n"
	"                       none, its file itself is the proxy's jwks_file\n"
	"  --help               this text\n"
	"\n"
	"A key set for the proxy, and a login:\n"
	"  pgusher token --new-key ES256 > key.json\n"
	"  pgusher token --key key.json --public > jwks.json\n"
	"  PGPASSWORD=$(pgusher token --key key.json --tenant 123 --role app) \\\n"
	"    psql -h 127.0.0.1 -p 6432 -U app eav\n";

struct options {
	struct auth_mint mint;
	const char **roles, **claims; /* NULL-terminated once parsed; room for argc each */
	size_t n_roles, n_claims;
	const char *new_key;
	bool public, no_tenant, help;
};

enum {
	OPT_KEY = 256,
	OPT_TENANT,
	OPT_NO_TENANT,
	OPT_ROLE,
	OPT_TTL,
	OPT_KID,
	OPT_ALG,
	OPT_CLAIM,
	OPT_ISSUER,
	OPT_AUDIENCE,
	OPT_TENANT_CLAIM,
	OPT_ROLE_CLAIM,
	OPT_NEW_KEY,
	OPT_PUBLIC,
	OPT_HELP
};

static const struct option long_options[] = {
	{"key", required_argument, NULL, OPT_KEY},
	{"tenant", required_argument, NULL, OPT_TENANT},
	{"no-tenant", no_argument, NULL, OPT_NO_TENANT},
	{"role", required_argument, NULL, OPT_ROLE},
	{"ttl", required_argument, NULL, OPT_TTL},
	{"kid", required_argument, NULL, OPT_KID},
	{"alg", required_argument, NULL, OPT_ALG},
	{"claim", required_argument, NULL, OPT_CLAIM},
	{"issuer", required_argument, NULL, OPT_ISSUER},
	{"audience", required_argument, NULL, OPT_AUDIENCE},
	{"tenant-claim", required_argument, NULL, OPT_TENANT_CLAIM},
	{"role-claim", required_argument, NULL, OPT_ROLE_CLAIM},
	{"new-key", required_argument, NULL, OPT_NEW_KEY},
	{"public", no_argument, NULL, OPT_PUBLIC},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

/* The ini file's durations (a number of seconds, or with ms, s, min, h), in whole seconds; false
 * for anything else and for none. */
static bool parse_ttl(const char *text, int64_t *out_s)
{
	static const struct {
		const char *suffix;
		int64_t ms;
	} units[] = {{"", 1000}, {"s", 1000}, {"ms", 1}, {"min", 60000}, {"h", 3600000}};
	char *end;
	long long n;

	if (text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	n = strtoll(text, &end, 10);
	if (errno != 0 || n > TTL_MAX_S * 1000)
		return false;
	for (size_t i = 0; i < COUNT_OF(units); i++) {
		if (strcmp(end, units[i].suffix) != 0)
			continue;
		if (n > TTL_MAX_S * 1000 / units[i].ms)
			return false;
		*out_s = n * units[i].ms / 1000;
		return *out_s > 0;
	}
	return false;
}

static int usage_error(const char *what)
{
	fprintf(stderr, "pgusher token: %s; see pgusher token --help\n", what);
	return 2;
}

/* Where a plain string option goes; NULL for the others. */
static const char **string_option(struct options *o, int opt)
{
	switch (opt) {
	case OPT_KEY:
		return &o->mint.key_file;
	case OPT_TENANT:
		return &o->mint.tenant;
	case OPT_KID:
		return &o->mint.kid;
	case OPT_ALG:
		return &o->mint.alg;
	case OPT_ISSUER:
		return &o->mint.issuer;
	case OPT_AUDIENCE:
		return &o->mint.audience;
	case OPT_TENANT_CLAIM:
		return &o->mint.tenant_claim;
	case OPT_ROLE_CLAIM:
		return &o->mint.role_claim;
	case OPT_NEW_KEY:
		return &o->new_key;
	default:
		return NULL;
	}
}

/* 0, or the exit status. */
static int take_option(struct options *o, int opt, char *arg)
{
	const char **string = string_option(o, opt);

	if (string != NULL)
		*string = arg;
	else if (opt == OPT_ROLE)
		o->roles[o->n_roles++] = arg;
	else if (opt == OPT_CLAIM)
		o->claims[o->n_claims++] = arg;
	else if (opt == OPT_NO_TENANT)
		o->no_tenant = true;
	else if (opt == OPT_PUBLIC)
		o->public = true;
	else if (opt == OPT_HELP)
		o->help = true;
	else if (opt != OPT_TTL)
		return 2; /* getopt has said which */
	else if (!parse_ttl(arg, &o->mint.ttl_s))
		return usage_error("--ttl is not a time such as 90s, 15min or 1h");
	return 0;
}

static int parse_options(struct options *o, int argc, char **argv)
{
	int opt, status;

	opterr = 0;
	optind = 0; /* glibc: start over, whatever was parsed before */
	while ((opt = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (opt == '?')
			return usage_error("unknown option, or one without its value");
		status = take_option(o, opt, optarg);
		if (status != 0)
			return status;
	}
	if (o->help)
		return 0;
	if (optind < argc)
		return usage_error("an argument too many");
	if (o->new_key != NULL)
		return o->mint.key_file == NULL && !o->public
		               ? 0
		               : usage_error("--new-key goes without --key and --public");
	if (o->mint.key_file == NULL)
		return usage_error("--key is missing");
	if (!o->public && (o->mint.tenant != NULL) == o->no_tenant)
		return usage_error("one of --tenant and --no-tenant is needed");
	return 0;
}

static int run(const struct options *o)
{
	char err[512], *out;
	bool ok;

	if (o->help)
		return printf("%s", help) < 0 || fflush(stdout) != 0;
	if (o->new_key != NULL)
		out = auth_key_new(o->new_key, o->mint.kid, err, sizeof(err));
	else if (o->public)
		out = auth_key_public(o->mint.key_file, o->mint.kid, err, sizeof(err));
	else
		out = auth_mint(&o->mint, err, sizeof(err));
	if (out == NULL) {
		fprintf(stderr, "pgusher token: %s\n", err);
		return 1;
	}
	ok = printf("%s\n", out) > 0 && fflush(stdout) == 0;
	if (!ok)
		fprintf(stderr, "pgusher token: standard output: %s\n", strerror(errno));
	mem_free(out);
	return ok ? 0 : 1;
}

int cmd_token(int argc, char **argv)
{
	struct options o = {.mint = {.tenant_claim = "tenant_id",
	                             .role_claim = "role",
	                             .now_s = clock_wall_s(),
	                             .ttl_s = TTL_DEFAULT_S}};
	int status;

	o.roles = mem_zalloc((size_t)(argc + 1) * sizeof(o.roles[0]));
	o.claims = mem_zalloc((size_t)(argc + 1) * sizeof(o.claims[0]));
	o.mint.roles = o.roles;
	o.mint.claims = o.claims;
	status = parse_options(&o, argc, argv);
	if (status == 0)
		status = run(&o);
	mem_free(o.roles);
	mem_free(o.claims);
	return status;
}
