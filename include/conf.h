/* The configuration: an immutable, counted snapshot of the ini file. Every key is a row of
 * tbl/options.h; the structs' fields (conf_structs.h) are named after the keys.
 *
 * A snapshot is filled by one thread, then only read, from any thread. Its strings, nodes,
 * databases and roles live as long as it does: who keeps a pointer into it keeps a
 * reference. */
#ifndef PGUSHER_CONF_H
#define PGUSHER_CONF_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "conf_structs.h"

struct conf_memory; /* where the snapshot's strings are kept; conf's own */
struct conf_override;

struct conf {
	uint32_t magic;
	atomic_uint refs;
	const char *path;    /* the ini file, as it was named */
	uint64_t generation; /* how many came before it in this process; no other snapshot has it */
	struct conf_pgusher pgusher;
	struct conf_oauth oauth;
	struct conf_context context;
	struct conf_audit audit;
	struct conf_guard guard;
	struct conf_tenants tenants;
	struct conf_freshness freshness;
	struct conf_jwt *jwts; /* at least one of each, in the file's order */
	size_t n_jwts;
	struct conf_node *nodes;
	size_t n_nodes;
	struct conf_database *databases;
	size_t n_databases;
	struct conf_role *roles;
	size_t n_roles;
	struct conf_tenant *tenant; /* may be none */
	size_t n_tenant;
	struct conf_peer *peers; /* may be none */
	size_t n_peers;
	struct conf_memory *memory;
	int *lines; /* of the options of sections that stand once, for conf_line */
	/* What it was made from, for conf_set: the file's text, and what was set over it. */
	const char *text;
	size_t text_len;
	struct conf_override *overrides;
};

/* Why a configuration was refused: `text` is the whole line for people, "file:line: key: what
 * is wrong", without what is unknown (line 0, key ""). For a section, key is "[section]". */
struct conf_error {
	char text[1024];
	char file[256];
	int line;
	char key[96];
	char what[512];
};

/* Reads the file and every file that it names. The caller owns the reference; NULL, with err
 * filled, when anything is wrong. */
struct conf *conf_load(const char *path, struct conf_error *err);
/* The same from memory; name stands for the file in errors. */
struct conf *conf_parse(const char *text, size_t len, const char *name, struct conf_error *err);

/* A copy with one live option of [pgusher] changed, as if the file said so: made from the text that
 * conf was made from, and the files that it names, which are read again. NULL, with err's key and
 * what filled, when that is not possible. */
struct conf *conf_set(const struct conf *conf, const char *key, const char *value,
                      struct conf_error *err);

/* Counted references, from any thread. The last conf_put erases what the snapshot held from
 * memory, passwords included. */
struct conf *conf_get(struct conf *conf);
void conf_put(struct conf **conf);

/* NULL: there is none. A database: the section of this name, else [database *]. */
const struct conf_database *conf_find_database(const struct conf *conf, const char *name);
/* What the database is called on its nodes for a client that asked for `name`: db->dbname,
 * which is empty in a [database *] without one only, else name. */
const char *conf_database_dbname(const struct conf_database *db, const char *name);
const struct conf_role *conf_find_role(const struct conf *conf, const char *name);
/* CONF_POOL_TRANSACTION or CONF_POOL_SESSION, and its name. */
enum conf_pool_mode conf_pool_mode_of(const struct conf *conf, const struct conf_database *db);
const char *conf_pool_mode_name(enum conf_pool_mode mode);
/* The tenant's own section. */
const struct conf_tenant *conf_find_tenant(const struct conf *conf, const char *tenant);
/* What holds for a tenant: its own section's values, and those of [tenants] and [pgusher] where it
 * has none. */
struct conf_limits {
	int max_client_conn, max_server_conn, max_pinned; /* 0: no limit */
	int weight;
	int64_t query_wait_timeout; /* 0: no limit */
};
struct conf_limits conf_tenant_limits(const struct conf *conf, const char *tenant);
/* Of each pool of the database; 0: no limit. */
int conf_pool_size(const struct conf *conf, const struct conf_database *db);
const struct conf_peer *conf_find_peer(const struct conf *conf, int id);
const struct conf_node *conf_find_node(const struct conf *conf, const char *name);

/* Appends a file that holds a secret, max bytes at most and not open to other users. NULL, or why
 * it cannot be read. The caller wipes what is in out; with room for max + 1 bytes it does not
 * move. */
struct buf;
const char *conf_secret_read(const char *path, size_t max, struct buf *out);

/* Is the name in a comma list (admin_users)? */
bool conf_list_has(const char *list, const char *name);
/* Is this what clients name who want the console? */
bool conf_is_console(const char *database);
/* Where the file has this key of a section that stands once ("pgusher", "jwt"), for errors that are
 * found after conf_load; the section's line where it does not set it, 0 where it has none. */
int conf_line(const struct conf *conf, const char *section, const char *key);

/* Who issues tokens, for clients that have none: [oauth]'s issuer, else the first of [jwt] that
 * is an https URL; "": nobody is named. It and [oauth]'s scope need no escape in JSON. */
const char *conf_oauth_issuer(const struct conf *conf);

/* libpq's word for it. */
const char *conf_tls_server_mode_name(enum conf_tls_server_mode mode);
/* What OpenSSL is to be given for a value of client_tls_ciphers or server_tls_ciphers. NULL: its
 * own choice stays. */
const char *conf_tls_cipher_list(const char *value);
const char *conf_read_your_writes_name(enum conf_read_your_writes mode);
const char *conf_consistency_name(enum conf_consistency consistency);
/* The same values from elsewhere (a client's settings, a token's claims), words without case.
 * False: it is none. */
bool conf_consistency_read(const char *text, enum conf_consistency *consistency);
bool conf_read_your_writes_read(const char *text, enum conf_read_your_writes *mode);
bool conf_auth_type_read(const char *text, enum conf_auth_type *type);
bool conf_duration_read(const char *text, int64_t *us);

/* One option as SHOW CONFIG prints it. Everything is valid during the visit only. Secrets are
 * not options. */
struct conf_option {
	const char *section; /* "pgusher", "node primary-a" */
	const char *key;
	const char *value; /* times as seconds, or with a unit where they are not whole ones */
	const char *def;   /* in the same form; NULL: the key is required */
	bool is_reloadable;
	const char *doc;
};
typedef void conf_visit_fn(void *arg, const struct conf_option *option);
/* Visits every option of every section, in the table's and the file's order. */
void conf_each_option(const struct conf *conf, conf_visit_fn *visit, void *arg);

/* Before `fresh` takes the place of `old` on RELOAD, and before anyone else has it: options
 * that need a restart keep old's values in it, and it is the next generation. Returns how many of
 * them the file changed and calls visit (unless NULL) for each, with the value that the file asks
 * for. */
size_t conf_reload_check(const struct conf *old, struct conf *fresh, conf_visit_fn *visit,
                         void *arg);

/* etc/pgusher.ini and docs/configuration.md, from the option table. */
void conf_print_sample_ini(FILE *out);
void conf_print_manual(FILE *out);

/* Whether both have the same databases on the same nodes: what the probe began with. */
bool conf_has_same_places(const struct conf *a, const struct conf *b);

#endif
