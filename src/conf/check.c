/* Checks that concern more than one key, after every value by itself was found good. The error
 * points at the line that asks for what is missing. */
#include <stdio.h>
#include <string.h>

#include "conf_int.h"

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

		if (!conf_sections[id].is_named ||
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

static bool check_jwt(const struct check *c)
{
	const struct conf_jwt *jwt = &c->conf->jwt;

	if (!jwt->jwks_file[0])
		return check_fail(c, CONF_SECTION_jwt, 0, "jwks_file",
		                  "empty: without keys no token can be checked");
	if (!jwt->tenant_claim[0])
		return check_fail(c, CONF_SECTION_jwt, 0, "tenant_claim", "empty");
	if (!jwt->role_claim[0])
		return check_fail(c, CONF_SECTION_jwt, 0, "role_claim", "empty");
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

bool conf_check(const struct conf_doc *doc, const struct conf *conf, struct conf_error *err)
{
	const struct check c = {doc, conf, err};

	return check_sections(&c) && check_listen(&c) && check_client_tls(&c) &&
	       check_server_tls(&c) && check_jwt(&c) && check_nodes(&c) && check_databases(&c);
}
