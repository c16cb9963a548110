/* What is known at home: SHOW CONFIG, DATABASES, USERS, KEYS, STATE, VERSION, HELP, and the
 * parameters that drivers set and ask for. */
#include <stdio.h>
#include <string.h>

#include "auth.h"
#include "console_int.h"

/* ---- SHOW CONFIG ----------------------------------------------------------------------------- */

static const struct column config[] = {
	{"key", COLUMN_TEXT},        {"value", COLUMN_TEXT},   {"default", COLUMN_TEXT},
	{"changeable", COLUMN_TEXT}, {"section", COLUMN_TEXT}, {"description", COLUMN_TEXT},
};

/* PgBouncer has one section, and its keys go without: so do those of [pgusher]. */
static void put_option(void *arg, const struct conf_option *option)
{
	struct row r = row_begin(arg);
	char key[256];

	if (strcmp(option->section, "pgusher") == 0)
		snprintf(key, sizeof(key), "%s", option->key);
	else
		snprintf(key, sizeof(key), "%s.%s", option->section, option->key);
	row_text(&r, key);
	row_text(&r, option->value);
	row_text(&r, option->def);
	row_text(&r, option->is_reloadable ? "yes" : "no");
	row_text(&r, option->section);
	row_text(&r, option->doc);
	row_end(&r);
}

static bool finish_config(struct console *console, struct round *r)
{
	conf_each_option(console->env.session->conf, put_option, &r->rows);
	return true;
}

ACTION_ROWS(SHOW_CONFIG, config, NULL, finish_config);

/* ---- SHOW DATABASES -------------------------------------------------------------------------- */

static const struct column databases[] = {
	{"name", COLUMN_TEXT},
	{"host", COLUMN_TEXT},
	{"port", COLUMN_INT4},
	{"database", COLUMN_TEXT},
	{"force_user", COLUMN_TEXT},
	{"pool_size", COLUMN_INT4},
	{"min_pool_size", COLUMN_INT4},
	{"reserve_pool", COLUMN_INT4},
	{"pool_mode", COLUMN_TEXT},
	{"max_connections", COLUMN_INT4},
	{"current_connections", COLUMN_INT4},
	{"paused", COLUMN_INT4},
	{"disabled", COLUMN_INT4},
	{"nodes", COLUMN_TEXT},
};

struct database {
	const char *name, *host, *dbname, *mode, *nodes;
	int port, pool_size, n_servers;
	bool is_paused, is_disabled;
};

static void put_database(struct buf *b, const struct database *d)
{
	struct row r = row_begin(b);

	row_text(&r, d->name);
	row_text(&r, d->host);
	row_int(&r, d->port);
	row_text(&r, d->dbname);
	row_text(&r, NULL);
	row_int(&r, d->pool_size);
	row_int(&r, 0);
	row_int(&r, 0);
	row_text(&r, d->mode);
	row_int(&r, 0);
	row_int(&r, d->n_servers);
	row_int(&r, d->is_paused);
	row_int(&r, d->is_disabled);
	row_text(&r, d->nodes);
	row_end(&r);
}

static void put_conf_database(struct console *console, struct round *r,
                              const struct conf_database *conf)
{
	const struct session_env *session = console->env.session;
	struct buf nodes = {0};
	struct database d = {.name = conf->name,
	                     .host = conf->nodes[0]->host,
	                     .port = conf->nodes[0]->port,
	                     .mode = conf_pool_mode_name(conf_pool_mode_of(session->conf, conf)),
	                     .dbname = conf->dbname[0] != '\0' ? conf->dbname : NULL,
	                     .pool_size = conf_pool_size(session->conf, conf)};

	if (d.pool_size == 0) /* no limit of its own: the node's */
		d.pool_size = session->conf->pgusher.max_server_conn;
	for (size_t i = 0; i < conf->n_nodes; i++) {
		if (i > 0)
			buf_put(&nodes, ", ", 2);
		buf_put(&nodes, conf->nodes[i]->name, strlen(conf->nodes[i]->name));
	}
	buf_put_u8(&nodes, 0);
	d.nodes = (const char *)nodes.data;
	d.n_servers = pools_shared_servers(console->env.pools, conf->name);
	d.is_paused = pools_are_paused(session->pools, conf->name);
	d.is_disabled = pools_are_disabled(session->pools, conf->name);
	put_database(&r->rows, &d);
	buf_fini(&nodes);
}

static bool finish_databases(struct console *console, struct round *r)
{
	const struct conf *conf = console->env.session->conf;
	struct database own = {.name = "pgusher",
	                       .port = conf->pgusher.listen_port,
	                       .dbname = "pgusher",
	                       .mode = "statement",
	                       .nodes = ""};

	for (size_t i = 0; i < conf->n_databases; i++)
		put_conf_database(console, r, &conf->databases[i]);
	put_database(&r->rows, &own);
	return true;
}

ACTION_ROWS(SHOW_DATABASES, databases, NULL, finish_databases);

/* ---- SHOW USERS ------------------------------------------------------------------------------ */

static const struct column users[] = {
	{"name", COLUMN_TEXT}, {"pool_mode", COLUMN_TEXT}, {"tenant", COLUMN_TEXT}};

static bool finish_users(struct console *console, struct round *r)
{
	const struct conf *conf = console->env.session->conf;

	for (size_t i = 0; i < conf->n_roles; i++) {
		struct row row = row_begin(&r->rows);

		row_text(&row, conf->roles[i].name);
		row_text(&row, NULL);
		row_text(&row, conf->roles[i].tenant == CONF_TENANT_REQUIRED ? "required" : "none");
		row_end(&row);
	}
	return true;
}

ACTION_ROWS(SHOW_USERS, users, NULL, finish_users);

/* ---- SHOW KEYS ------------------------------------------------------------------------------- */

static const struct column keys[] = {{"kid", COLUMN_TEXT},    {"alg", COLUMN_TEXT},
                                     {"use", COLUMN_TEXT},    {"source", COLUMN_TEXT},
                                     {"age", COLUMN_INT8},    {"issuer", COLUMN_TEXT},
                                     {"section", COLUMN_TEXT}};

static void put_key(void *arg, const struct auth_key_info *info)
{
	struct round *round = arg;
	struct row row = row_begin(&round->rows);

	row_text(&row, info->kid[0] != '\0' ? info->kid : NULL);
	row_text(&row, info->alg);
	row_text(&row, info->use);
	row_text(&row, info->source);
	row_int(&row, info->age_s);
	row_text(&row, info->issuer[0] != '\0' ? info->issuer : NULL);
	row_text(&row, info->section[0] != '\0' ? info->section : NULL);
	row_end(&row);
}

static bool finish_keys(struct console *console, struct round *r)
{
	auth_keys_each(console->env.session->keys, put_key, r);
	return true;
}

ACTION_ROWS(SHOW_KEYS, keys, NULL, finish_keys);

/* ---- SHOW STATE, VERSION --------------------------------------------------------------------- */

static const struct column state[] = {{"key", COLUMN_TEXT}, {"value", COLUMN_TEXT}};

static void put_state(struct round *r, const char *key, bool value)
{
	struct row row = row_begin(&r->rows);

	row_text(&row, key);
	row_text(&row, value ? "yes" : "no");
	row_end(&row);
}

static bool finish_state(struct console *console, struct round *r)
{
	bool is_paused = pools_are_paused(console->env.session->pools, NULL);

	put_state(r, "active", !is_paused);
	put_state(r, "paused", is_paused);
	put_state(r, "suspended", false);
	return true;
}

ACTION_ROWS(SHOW_STATE, state, NULL, finish_state);

static const struct column version[] = {{"version", COLUMN_TEXT}};

static bool finish_version(struct console *console, struct round *r)
{
	struct row row = row_begin(&r->rows);

	(void)console;
	row_text(&row, "PgUsher " PGUSHER_VERSION);
	row_end(&row);
	return true;
}

ACTION_ROWS(SHOW_VERSION, version, NULL, finish_version);

/* ---- notices --------------------------------------------------------------------------------- */

static void put_notice(struct round *r, const char *message, const char *detail)
{
	struct wire_error notice = {
		.severity = "NOTICE", .sqlstate = "00000", .message = message, .detail = detail};
	size_t at = r->rows.len;

	/* The same fields, another type. */
	wire_put_error(&r->rows, &notice);
	r->rows.data[at] = 'N';
}

static bool finish_help(struct console *console, struct round *r)
{
	(void)console;
	put_notice(r, "Console usage",
	           "\n\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|USERS|VERSION"
	           "\n\tSHOW LISTS|MEM|STATE|KEYS|GUARD|WORKERS|TENANTS|AUDIT|NODES|PATHS"
	           "\n\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS"
	           "\n\tEXPLAIN ROUTE <statement>"
	           "\n\tRELOAD"
	           "\n\tSET key = value"
	           "\n\tPAUSE [<db>]"
	           "\n\tRESUME [<db>]"
	           "\n\tDISABLE <db>"
	           "\n\tENABLE <db>"
	           "\n\tRECONNECT [<db>]"
	           "\n\tWAIT_CLOSE [<db>]"
	           "\n\tKILL [<db>]"
	           "\n\tKILL_CLIENT <id>"
	           "\n\tKILL_TENANT <id>"
	           "\n\tREVOKE '<jti>'"
	           "\n\tSHUTDOWN"
	           "\n\tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS");
	return true;
}

ACTION(SHOW_HELP, NULL, finish_help, "SHOW");

static bool finish_set(struct console *console, struct round *r)
{
	(void)console;
	put_notice(r, "SET ignored", NULL);
	return true;
}

ACTION(SET, NULL, finish_set, "SET");

static bool finish_param(struct console *console, struct round *r)
{
	struct row row = row_begin(&r->rows);

	(void)console;
	row_text(&row, r->command.value);
	row_end(&row);
	return true;
}

ACTION(PARAM, NULL, finish_param, "SHOW");
