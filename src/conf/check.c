/* Checks that concern more than one key, after every value by itself was found good. The error
 * points at the line that asks for what is missing. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "conf_int.h"
#include "sql.h"

struct check {
	const struct conf_doc *doc;
	const struct conf *conf;
	struct conf_error *err;
};

static bool check_fail(const struct check *c, enum conf_section_id section, size_t i,
                       const char *key, const char *what)
{
	return conf_fail(c->err, c->doc->file, conf_doc_line(c->doc, section, i, key), key, "%s",
	                 what);
}

static bool check_sections(const struct check *c)
{
	for (int id = 0; id < CONF_N_SECTIONS; id++) {
		char label[32];

		if (!conf_sections[id].is_required ||
		    conf_section_count(c->conf, (enum conf_section_id)id) > 0)
			continue;
		snprintf(label, sizeof(label), "[%s NAME]", conf_sections[id].word);
		return conf_fail(c->err, c->doc->file, 0, label, "at least one is needed");
	}
	return true;
}

static bool check_listen(const struct check *c)
{
	const struct conf_pgusher *p = &c->conf->pgusher;

	if (p->listen_addr[0] || p->unix_socket_dir[0])
		return true;
	return check_fail(c, CONF_SECTION_pgusher, 0, "listen_addr",
	                  "empty, and so is unix_socket_dir: there is nothing to listen on");
}

static bool check_client_tls(const struct check *c)
{
	const struct conf_pgusher *p = &c->conf->pgusher;

	if (p->client_tls_sslmode == CONF_TLS_CLIENT_DISABLE)
		return true;
	if (!p->client_tls_key_file[0])
		return check_fail(c, CONF_SECTION_pgusher, 0, "client_tls_sslmode",
		                  "TLS for clients needs client_tls_key_file");
	if (!p->client_tls_cert_file[0])
		return check_fail(c, CONF_SECTION_pgusher, 0, "client_tls_sslmode",
		                  "TLS for clients needs client_tls_cert_file");
	if (p->client_tls_sslmode >= CONF_TLS_CLIENT_VERIFY_CA && !p->client_tls_ca_file[0])
		return check_fail(c, CONF_SECTION_pgusher, 0, "client_tls_sslmode",
		                  "to verify clients, client_tls_ca_file is needed");
	if (strcmp(p->client_tls_ecdhcurve, "none") == 0 && p->client_tls_protocols & CONF_TLS_1_3)
		return check_fail(c, CONF_SECTION_pgusher, 0, "client_tls_ecdhcurve",
		                  "TLS 1.3 always exchanges keys so: with none, "
		                  "client_tls_protocols must not have tlsv1.3");
	return true;
}

/* libpq takes the lowest and the highest version. */
static bool has_gap(uint32_t protocols)
{
	uint32_t lowest = protocols & -protocols, above = protocols + lowest;

	return (protocols & above) != 0;
}

static bool check_server_tls(const struct check *c)
{
	const struct conf_pgusher *p = &c->conf->pgusher;

	if (p->server_tls_sslmode >= CONF_TLS_SERVER_VERIFY_CA && !p->server_tls_ca_file[0])
		return check_fail(c, CONF_SECTION_pgusher, 0, "server_tls_sslmode",
		                  "to verify servers, server_tls_ca_file is needed");
	if (has_gap(p->server_tls_protocols))
		return check_fail(c, CONF_SECTION_pgusher, 0, "server_tls_protocols",
		                  "there is a gap: libpq takes a lowest and a highest version");
	if (p->server_tls_key_file[0] && !p->server_tls_cert_file[0])
		return check_fail(c, CONF_SECTION_pgusher, 0, "server_tls_key_file",
		                  "a key needs its server_tls_cert_file");
	if (p->server_tls_cert_file[0] && !p->server_tls_key_file[0])
		return check_fail(c, CONF_SECTION_pgusher, 0, "server_tls_cert_file",
		                  "a certificate needs its server_tls_key_file");
	return true;
}

static bool check_jwt(const struct check *c, size_t i)
{
	const struct conf_jwt *jwt = &c->conf->jwts[i];

	if (!jwt->jwks_file[0] && !jwt->jwks_url[0])
		return check_fail(c, CONF_SECTION_jwt, i, "jwks_file",
		                  "empty, and so is jwks_url: without keys no token can be "
		                  "checked");
	if (jwt->jwks_ca_file[0] && !jwt->jwks_url[0])
		return check_fail(c, CONF_SECTION_jwt, i, "jwks_ca_file",
		                  "for jwks_url, which is empty");
	if (jwt->jwks_min_refresh == 0)
		return check_fail(c, CONF_SECTION_jwt, i, "jwks_min_refresh",
		                  "0 would let every login with an unknown key ask jwks_url");
	if (!jwt->tenant_claim[0])
		return check_fail(c, CONF_SECTION_jwt, i, "tenant_claim", "empty");
	if (!jwt->role_claim[0])
		return check_fail(c, CONF_SECTION_jwt, i, "role_claim", "empty");
	return true;
}

/* A token belongs to one section only. */
static bool check_issuers(const struct check *c, size_t i)
{
	const struct conf_jwt *jwt = &c->conf->jwts[i];
	char what[CONF_MAX_NAME_BYTES + 96];

	for (size_t other = 0; other < i; other++) {
		const char *name = c->conf->jwts[other].name;

		if (strcmp(c->conf->jwts[other].issuer, jwt->issuer) != 0)
			continue;
		snprintf(what, sizeof(what), "%s in [jwt%s%s]: which would a token belong to?",
		         jwt->issuer[0] ? "the same as" : "empty, as", name[0] ? " " : "", name);
		return check_fail(c, CONF_SECTION_jwt, i, "issuer", what);
	}
	return true;
}

static bool check_jwts(const struct check *c)
{
	for (size_t i = 0; i < c->conf->n_jwts; i++) {
		if (!check_jwt(c, i) || !check_issuers(c, i))
			return false;
	}
	return true;
}

static bool check_nodes(const struct check *c)
{
	for (size_t i = 0; i < c->conf->n_nodes; i++) {
		if (!c->conf->nodes[i].host[0])
			return check_fail(c, CONF_SECTION_node, i, "host", "empty");
	}
	return true;
}

static bool is_address(const char *host)
{
	uint8_t bytes[sizeof(struct in6_addr)];

	return inet_pton(AF_INET, host, bytes) == 1 || inet_pton(AF_INET6, host, bytes) == 1;
}

/* A name would be looked up on the dialer's thread, where all connections to servers begin. */
static bool check_peers(const struct check *c)
{
	for (size_t i = 0; i < c->conf->n_peers; i++) {
		const char *host = c->conf->peers[i].host;

		if (host[0] != '/' && !is_address(host))
			return check_fail(c, CONF_SECTION_peer, i, "host",
			                  "neither a directory (/...) nor an address: names are "
			                  "not looked up");
	}
	return true;
}

/* Who names what every tenant's token has would give every tenant the console. */
static bool check_users(const struct check *c, const char *key, const char *list)
{
	for (size_t i = 0; i < c->conf->n_roles; i++) {
		const struct conf_role *role = &c->conf->roles[i];
		char what[CONF_MAX_NAME_BYTES + 96];

		if (role->tenant != CONF_TENANT_REQUIRED || !conf_list_has(list, role->name))
			continue;
		snprintf(what, sizeof(what), "names \"%s\", which is a role of tenants",
		         role->name);
		return check_fail(c, CONF_SECTION_pgusher, 0, key, what);
	}
	return true;
}

static bool check_console(const struct check *c)
{
	const struct conf_pgusher *p = &c->conf->pgusher;

	if (p->stats_period < 1)
		return check_fail(c, CONF_SECTION_pgusher, 0, "stats_period",
		                  "must be longer than nothing");
	for (size_t i = 0; i < c->conf->n_databases; i++) {
		if (conf_is_console(c->conf->databases[i].name))
			return check_fail(c, CONF_SECTION_database, i, "nodes",
			                  "this section's name is the console's");
	}
	return check_users(c, "admin_users", p->admin_users) &&
	       check_users(c, "stats_users", p->stats_users);
}

static bool check_guard(const struct check *c)
{
	const struct conf_guard *guard = &c->conf->guard;
	char why[160];

	if (!sql_guard_check_list(guard->allow_functions, true, why, sizeof(why)))
		return check_fail(c, CONF_SECTION_guard, 0, "allow_functions", why);
	if (!sql_guard_check_list(guard->deny_functions, false, why, sizeof(why)))
		return check_fail(c, CONF_SECTION_guard, 0, "deny_functions", why);
	if (!sql_guard_check_list(guard->trusted_functions, true, why, sizeof(why)))
		return check_fail(c, CONF_SECTION_guard, 0, "trusted_functions", why);
	return true;
}

/* An analytics node is never a primary: a database of such nodes only could not be written. */
static bool check_databases(const struct check *c)
{
	for (size_t i = 0; i < c->conf->n_databases; i++) {
		const struct conf_database *db = &c->conf->databases[i];
		size_t n_auto = 0;

		for (size_t n = 0; n < db->n_nodes; n++)
			n_auto += db->nodes[n]->role == CONF_NODE_AUTO;
		if (n_auto == 0)
			return check_fail(c, CONF_SECTION_database, i, "nodes",
			                  "at least one node must have role = auto");
	}
	return true;
}

static bool check_context(const struct check *c)
{
	const struct conf_context *context = &c->conf->context;

	if (strcasecmp(context->setting, context->proof_setting) == 0)
		return check_fail(c, CONF_SECTION_context, 0, "proof_setting",
		                  "the same as setting: the tenant and its proof need one each");
	if (context->mode == CONF_CONTEXT_SIGNED && !context->proof_key_file[0])
		return check_fail(c, CONF_SECTION_context, 0, "mode",
		                  "signed needs proof_key_file");
	return true;
}

#define HEARTBEAT_MIN_US (20 * US_PER_MS)
#define CATALOG_MIN_US US_PER_S

static bool check_probe_role(const struct check *c)
{
	const char *name = c->conf->freshness.probe_role;
	const struct conf_role *role = conf_find_role(c->conf, name);
	char what[CONF_MAX_NAME_BYTES + 96];

	if (!name[0])
		return true;
	if (role != NULL && role->tenant == CONF_TENANT_NONE)
		return true;
	snprintf(what, sizeof(what),
	         role == NULL ? "there is no section [role %.64s]"
	                      : "[role %.64s] must have tenant = none",
	         name);
	return check_fail(c, CONF_SECTION_freshness, 0, "probe_role", what);
}

static bool check_freshness(const struct check *c)
{
	const struct conf_freshness *f = &c->conf->freshness;

	if (f->catalog_refresh < CATALOG_MIN_US)
		return check_fail(c, CONF_SECTION_freshness, 0, "catalog_refresh",
		                  "must be at least 1s");
	if (f->heartbeat_interval < HEARTBEAT_MIN_US)
		return check_fail(c, CONF_SECTION_freshness, 0, "heartbeat_interval",
		                  "must be 20 ms at least");
	return check_probe_role(c);
}

static bool check_directory(const struct check *c)
{
	const struct conf_tenants *t = &c->conf->tenants;

	if (!t->directory_query[0])
		return true;
	if (!sql_is_select(t->directory_query, strlen(t->directory_query)))
		return check_fail(c, CONF_SECTION_tenants, 0, "directory_query",
		                  "must be one SELECT, of rows (bigint, boolean)");
	if (!c->conf->freshness.probe_role[0])
		return check_fail(c, CONF_SECTION_tenants, 0, "directory_query",
		                  "needs probe_role in [freshness], which asks it");
	if (t->directory_refresh < US_PER_S / 10)
		return check_fail(c, CONF_SECTION_tenants, 0, "directory_refresh",
		                  "must be 100 ms at least");
	if (conf_database_dbname(&c->conf->databases[0], c->conf->databases[0].name)[0] == '*')
		return check_fail(c, CONF_SECTION_tenants, 0, "directory_query",
		                  "is asked in the first [database], which has no dbname");
	return true;
}

/* The characters of a scope (RFC 6749 section 3.3), which those of a URL are among: what is made of
 * them needs no escape in JSON. */
static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (*text < 0x21 || *text > 0x7e || *text == '"' || *text == '\\')
			return false;
	return true;
}

static bool check_oauth(const struct check *c)
{
	const struct conf_oauth *oauth = &c->conf->oauth;
	const char *scope = oauth->scope;

	if (!is_plain(oauth->issuer) || strpbrk(oauth->issuer, "?#"))
		return check_fail(c, CONF_SECTION_oauth, 0, "issuer",
		                  "an issuer's URL is plain ASCII, without ? and #");
	for (; *scope; scope++)
		if (*scope != ' ' && !is_plain((const char[]){*scope, '\0'}))
			return check_fail(c, CONF_SECTION_oauth, 0, "scope",
			                  "scopes are words of ASCII without quotes and "
			                  "backslashes, separated by blanks");
	return true;
}

const char *conf_oauth_issuer(const struct conf *conf)
{
	if (conf->oauth.issuer[0])
		return conf->oauth.issuer;
	for (size_t i = 0; i < conf->n_jwts; i++) {
		const char *issuer = conf->jwts[i].issuer;

		if (strncmp(issuer, "https://", 8) == 0 && is_plain(issuer))
			return issuer;
	}
	return "";
}

bool conf_check(const struct conf_doc *doc, const struct conf *conf, struct conf_error *err)
{
	const struct check c = {doc, conf, err};

	return check_sections(&c) && check_listen(&c) && check_client_tls(&c) &&
	       check_server_tls(&c) && check_context(&c) && check_jwts(&c) && check_nodes(&c) &&
	       check_databases(&c) && check_peers(&c) && check_console(&c) && check_guard(&c) &&
	       check_freshness(&c) && check_directory(&c) && check_oauth(&c);
}
