/* Loading a snapshot of the configuration, and what it answers.
 *
 *   conf_load           reads the file
 *     conf_parse
 *       conf_doc_read   text → sections of keys and texts (read.c, inih)
 *       conf_fill       texts and defaults → fields (type.c, number.c)
 *       conf_check      what concerns more than one key (check.c)
 *
 * A snapshot is made by one thread and constant from then on; the count is atomic. */
#include "conf.h"

#include <openssl/crypto.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conf_int.h"

/* ---- filling ---------------------------------------------------------------------------- */

static const size_t section_sizes[CONF_N_SECTIONS] = {
#define SECTION(section, repeat, example, doc)                                                     \
	[CONF_SECTION_##section] = sizeof(struct conf_##section),
#define OPTION(section, key, type, def, reload, doc)
#define SECTION_END(section)
#include "tbl/options.h"
#undef SECTION
#undef OPTION
#undef SECTION_END
};

static size_t doc_count(const struct conf_doc *doc, enum conf_section_id id)
{
	size_t n = 0;

	for (size_t i = 0; i < doc->n_sections; i++)
		n += doc->sections[i].id == id;
	return n;
}

static void *sections_alloc(struct conf_doc *doc, enum conf_section_id id, size_t *n)
{
	*n = doc_count(doc, id);
	return conf_memory_alloc(doc->conf, *n * section_sizes[id]);
}

static const char *name_copy(struct conf_doc *doc, enum conf_section_id id, size_t i)
{
	for (size_t s = 0; s < doc->n_sections; s++) {
		if (doc->sections[s].id == id && i-- == 0)
			return conf_memory_strndup(doc->conf, doc->sections[s].name,
			                           strlen(doc->sections[s].name));
	}
	MUST_NOT_REACH();
}

static void fill_names(struct conf_doc *doc)
{
	struct conf *conf = doc->conf;

	conf->jwts = sections_alloc(doc, CONF_SECTION_jwt, &conf->n_jwts);
	conf->nodes = sections_alloc(doc, CONF_SECTION_node, &conf->n_nodes);
	conf->databases = sections_alloc(doc, CONF_SECTION_database, &conf->n_databases);
	conf->roles = sections_alloc(doc, CONF_SECTION_role, &conf->n_roles);
	conf->tenant = sections_alloc(doc, CONF_SECTION_tenant, &conf->n_tenant);
	conf->peers = sections_alloc(doc, CONF_SECTION_peer, &conf->n_peers);
	if (conf->n_jwts == 0) { /* [jwt] need not be there: its keys have defaults */
		conf->n_jwts = 1;
		conf->jwts = conf_memory_alloc(conf, sizeof(conf->jwts[0]));
		conf->jwts[0].name = "";
	}
	for (size_t i = 0; i < doc_count(doc, CONF_SECTION_jwt); i++)
		conf->jwts[i].name = name_copy(doc, CONF_SECTION_jwt, i);
	for (size_t i = 0; i < conf->n_nodes; i++)
		conf->nodes[i].name = name_copy(doc, CONF_SECTION_node, i);
	for (size_t i = 0; i < conf->n_databases; i++)
		conf->databases[i].name = name_copy(doc, CONF_SECTION_database, i);
	for (size_t i = 0; i < conf->n_roles; i++)
		conf->roles[i].name = name_copy(doc, CONF_SECTION_role, i);
	for (size_t i = 0; i < conf->n_tenant; i++)
		conf->tenant[i].name = name_copy(doc, CONF_SECTION_tenant, i);
	for (size_t i = 0; i < conf->n_peers; i++)
		conf->peers[i].name = name_copy(doc, CONF_SECTION_peer, i);
}

static const struct conf_doc_section *doc_section(const struct conf_doc *doc,
                                                  enum conf_section_id id, size_t i)
{
	for (size_t s = 0; s < doc->n_sections; s++) {
		if (doc->sections[s].id == id && i-- == 0)
			return &doc->sections[s];
	}
	return NULL;
}

/* NULL: the file does not set it. */
static const struct conf_doc_entry *section_entry(const struct conf_doc *doc,
                                                  const struct conf_doc_section *section,
                                                  const struct conf_option_def *option)
{
	for (size_t e = 0; section && e < section->n; e++) {
		if (doc->entries[section->first + e].option == option)
			return &doc->entries[section->first + e];
	}
	return NULL;
}

/* The well-known key file is that of a lone [jwt]: beside a URL it need not be there, and another
 * issuer must never get its keys by saying nothing. */
static const char *option_default(const struct conf_doc *doc,
                                  const struct conf_doc_section *section,
                                  const struct conf_option_def *option)
{
	const struct conf_doc_entry *url;

	if (option != conf_option_find(CONF_SECTION_jwt, "jwks_file"))
		return option->def;
	url = section_entry(doc, section, conf_option_find(CONF_SECTION_jwt, "jwks_url"));
	if ((section && section->name[0]) || (url && url->text[0]))
		return "";
	return option->def;
}

/* The text of an option: the file's, else the default's; NULL when it is required. */
static const char *option_text(const struct conf_doc *doc, const struct conf_doc_section *section,
                               const struct conf_option_def *option, int *line)
{
	const struct conf_doc_entry *entry = section_entry(doc, section, option);

	*line = 0;
	for (const struct conf_override *o = doc->conf->overrides; o; o = o->next) {
		if (o->option == option)
			return o->text;
	}
	*line = section ? section->line : 0;
	if (!entry)
		return option_default(doc, section, option);
	*line = entry->line;
	return entry->text;
}

static bool fill_section(const struct conf_doc *doc, enum conf_section_id id, size_t i,
                         struct conf_error *err)
{
	const struct conf_doc_section *section = doc_section(doc, id, i);
	char *fields = conf_section_at(doc->conf, id, i);
	struct conf_setter setter = {.conf = doc->conf};

	for (size_t o = 0; o < conf_n_options; o++) {
		const struct conf_option_def *option = &conf_options[o];
		const char *text;
		int line;

		if (option->section != id)
			continue;
		text = option_text(doc, section, option, &line);
		if (!text)
			return conf_fail(err, doc->file, line, option->key, "required");
		if (!option->type->parse(&setter, option->type, fields + option->offset, text))
			return conf_fail(err, doc->file, line, option->key, "%s", setter.why);
	}
	return true;
}

/* Cut at the first line's end: whoever writes the file with an editor or echo gets one. */
static const char *password_trim(struct buf *text)
{
	if (text->len > 0 && text->data[text->len - 1] == '\n')
		text->len--;
	if (text->len > 0 && text->data[text->len - 1] == '\r')
		text->len--;
	if (text->len == 0)
		return "the file is empty";
	for (size_t i = 0; i < text->len; i++) {
		if (text->data[i] == '\0' || text->data[i] == '\n')
			return "the file has more than one line, or a zero byte";
	}
	return NULL;
}

static bool fill_password(const struct conf_doc *doc, size_t i, struct conf_error *err)
{
	struct conf_role *role = &doc->conf->roles[i];
	struct buf text = {0};
	const char *why;

	role->password = "";
	if (!role->password_file[0])
		return true;
	/* Room for all of it now: growing would leave copies of the password behind. */
	buf_reserve(&text, CONF_MAX_PASSWORD_BYTES + 1);
	why = conf_secret_read(role->password_file, CONF_MAX_PASSWORD_BYTES, &text);
	if (!why)
		why = password_trim(&text);
	if (!why)
		role->password = conf_memory_strndup(doc->conf, (const char *)text.data, text.len);
	OPENSSL_cleanse(text.data, text.cap);
	buf_fini(&text);
	if (!why)
		return true;
	return conf_fail(err, doc->file, conf_doc_line(doc, CONF_SECTION_role, i, "password_file"),
	                 "password_file", "cannot use \"%.128s\": %s", role->password_file, why);
}

/* The section's name as peer_id reads a number, and written in one way only. */
static bool fill_peer_id(const struct conf_doc *doc, size_t i, struct conf_error *err)
{
	struct conf_peer *peer = &doc->conf->peers[i];
	struct conf_setter setter = {.conf = doc->conf};
	const struct conf_type *type = &conf_types[CONF_TYPE_PEER_ID];
	char label[CONF_MAX_NAME_BYTES + 16];

	if (peer->name[0] >= '1' && peer->name[0] <= '9' &&
	    type->parse(&setter, type, &peer->id, peer->name))
		return true;
	snprintf(label, sizeof(label), "[peer %s]", peer->name);
	return conf_fail(err, doc->file, doc_section(doc, CONF_SECTION_peer, i)->line, label,
	                 "a peer's name is its peer_id, a number from 1 to 127");
}

/* As tokens name it, or it would never be found. */
static bool check_tenant_name(const struct conf_doc *doc, size_t i, struct conf_error *err)
{
	const char *name = doc->conf->tenant[i].name;
	size_t len = strlen(name);
	char label[CONF_MAX_NAME_BYTES + 16];

	if (len <= 19 && strspn(name, "0123456789") == len && (name[0] != '0' || len == 1))
		return true;
	snprintf(label, sizeof(label), "[tenant %s]", name);
	return conf_fail(err, doc->file, doc_section(doc, CONF_SECTION_tenant, i)->line, label,
	                 "a tenant's name is a number without leading zeroes");
}

static void fill_lines(struct conf_doc *doc)
{
	int *lines = conf_memory_alloc(doc->conf, conf_n_options * sizeof(lines[0]));

	for (size_t o = 0; o < conf_n_options; o++)
		lines[o] = conf_doc_line(doc, conf_options[o].section, 0, conf_options[o].key);
	doc->conf->lines = lines;
}

int conf_line(const struct conf *conf, const char *section, const char *key)
{
	const struct conf_option_def *option = conf_option_find(conf_section_find(section), key);

	OBJ_CHECK(conf, CONF_MAGIC);
	MUST(option != NULL && !conf_sections[option->section].is_named);
	return conf->lines[option - conf_options];
}

/* Sections in the table's order: databases are filled after the nodes that they name. */
static bool conf_fill(struct conf_doc *doc, struct conf_error *err)
{
	struct conf *conf = doc->conf;

	fill_names(doc);
	fill_lines(doc);
	for (int id = 0; id < CONF_N_SECTIONS; id++) {
		size_t n = conf_section_count(conf, (enum conf_section_id)id);

		for (size_t i = 0; i < n; i++) {
			if (!fill_section(doc, (enum conf_section_id)id, i, err))
				return false;
		}
	}
	for (size_t i = 0; i < conf->n_databases; i++) {
		struct conf_database *db = &conf->databases[i];

		if (strcmp(db->name, "*") != 0 && !db->dbname[0])
			db->dbname = db->name;
	}
	for (size_t i = 0; i < conf->n_tenant; i++) {
		if (!check_tenant_name(doc, i, err))
			return false;
	}
	for (size_t i = 0; i < conf->n_peers; i++) {
		if (!fill_peer_id(doc, i, err))
			return false;
	}
	for (size_t i = 0; i < conf->n_roles; i++) {
		if (!fill_password(doc, i, err))
			return false;
	}
	return true;
}

/* ---- life ------------------------------------------------------------------------------- */

static struct conf *conf_new(const char *text, size_t len, const char *name)
{
	struct conf *conf = mem_zalloc(sizeof(*conf));

	OBJ_INIT(conf, CONF_MAGIC);
	atomic_init(&conf->refs, 1);
	conf->path = conf_memory_strndup(conf, name, strlen(name));
	conf->text = conf_memory_strndup(conf, text, len);
	conf->text_len = len;
	return conf;
}

static void override(struct conf *conf, const struct conf_option_def *option, const char *text)
{
	struct conf_override *o = conf_memory_alloc(conf, sizeof(*o));

	o->option = option;
	o->text = conf_memory_strndup(conf, text, strlen(text));
	o->next = conf->overrides;
	conf->overrides = o;
}

/* Takes over the reference; NULL when it is no good. */
static struct conf *read_text(struct conf *conf, struct conf_error *err)
{
	struct conf_doc doc = {.file = conf->path, .conf = conf};
	bool ok;

	memset(err, 0, sizeof(*err));
	if (conf->text_len > CONF_MAX_FILE_BYTES)
		ok = conf_fail(err, conf->path, 0, "", "too large");
	else
		ok = conf_doc_read(&doc, conf->text, conf->text_len, err) && conf_fill(&doc, err) &&
		     conf_check(&doc, conf, err);
	conf_doc_fini(&doc);
	if (!ok)
		conf_put(&conf);
	return conf;
}

struct conf *conf_parse(const char *text, size_t len, const char *name, struct conf_error *err)
{
	return read_text(conf_new(text, len, name), err);
}

/* Oldest first, so that each stands before those that it replaces; of those, the latest counts. */
static void copy_overrides(struct conf *to, const struct conf_override *from)
{
	if (from == NULL)
		return;
	copy_overrides(to, from->next);
	override(to, from->option, from->text);
}

struct conf *conf_set(const struct conf *conf, const char *key, const char *value,
                      struct conf_error *err)
{
	const struct conf_option_def *option = conf_option_find(CONF_SECTION_pgusher, key);
	struct conf *fresh;

	OBJ_CHECK(conf, CONF_MAGIC);
	memset(err, 0, sizeof(*err));
	if (option == NULL || !option->is_live) {
		conf_fail(err, conf->path, 0, key, "%s%s",
		          option == NULL ? "unknown key" : "it takes a restart to change it",
		          option == NULL ? conf_option_hint(CONF_SECTION_pgusher, key) : "");
		return NULL;
	}
	fresh = conf_new(conf->text, conf->text_len, conf->path);
	copy_overrides(fresh, conf->overrides);
	override(fresh, option, value);
	return read_text(fresh, err);
}

struct conf *conf_load(const char *path, struct conf_error *err)
{
	struct buf text = {0};
	struct conf *conf = NULL;
	const char *why = conf_file_read(path, CONF_MAX_FILE_BYTES, 0, &text);

	if (why) {
		memset(err, 0, sizeof(*err));
		conf_fail(err, path, 0, "", "cannot read the configuration: %s", why);
	} else {
		buf_reserve(&text, 1); /* an empty file has no memory yet */
		conf = conf_parse((const char *)text.data, text.len, path, err);
	}
	buf_fini(&text);
	return conf;
}

struct conf *conf_get(struct conf *conf)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	MUST(atomic_fetch_add_explicit(&conf->refs, 1, memory_order_relaxed) > 0);
	return conf;
}

void conf_put(struct conf **confp)
{
	struct conf *conf = *confp;

	OBJ_CHECK(conf, CONF_MAGIC);
	*confp = NULL;
	/* Everyone's reads come before the last one's erasing. */
	if (atomic_fetch_sub_explicit(&conf->refs, 1, memory_order_acq_rel) != 1)
		return;
	conf_memory_free(conf);
	OBJ_FINI(conf, CONF_MAGIC);
	mem_free(conf);
}

/* ---- look-ups --------------------------------------------------------------------------- */

const struct conf_database *conf_find_database(const struct conf *conf, const char *name)
{
	const struct conf_database *any = NULL;

	OBJ_CHECK(conf, CONF_MAGIC);
	for (size_t i = 0; i < conf->n_databases; i++) {
		const struct conf_database *db = &conf->databases[i];

		/* A client that asks for a database called "*" gets that section too. */
		if (strcmp(db->name, name) == 0)
			return db;
		if (strcmp(db->name, "*") == 0)
			any = db;
	}
	return any;
}

const char *conf_database_dbname(const struct conf_database *db, const char *name)
{
	return db->dbname[0] ? db->dbname : name;
}

const struct conf_role *conf_find_role(const struct conf *conf, const char *name)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	for (size_t i = 0; i < conf->n_roles; i++) {
		if (strcmp(conf->roles[i].name, name) == 0)
			return &conf->roles[i];
	}
	return NULL;
}

enum conf_pool_mode conf_pool_mode_of(const struct conf *conf, const struct conf_database *db)
{
	return db->pool_mode == CONF_POOL_DEFAULT ? conf->pgusher.pool_mode : db->pool_mode;
}

const char *conf_pool_mode_name(enum conf_pool_mode mode)
{
	return mode == CONF_POOL_SESSION ? "session" : "transaction";
}

const struct conf_tenant *conf_find_tenant(const struct conf *conf, const char *tenant)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	for (size_t i = 0; i < conf->n_tenant; i++) {
		if (strcmp(conf->tenant[i].name, tenant) == 0)
			return &conf->tenant[i];
	}
	return NULL;
}

static int64_t own_or(int64_t own, int64_t general)
{
	return own != CONF_INHERIT ? own : general;
}

struct conf_limits conf_tenant_limits(const struct conf *conf, const char *tenant)
{
	const struct conf_tenants *all = &conf->tenants;
	const struct conf_tenant *own = conf_find_tenant(conf, tenant);
	struct conf_limits limits = {
		.max_client_conn = all->max_client_conn,
		.max_server_conn = all->max_server_conn,
		.max_pinned = all->max_pinned,
		.weight = all->weight,
		.query_wait_timeout =
			own_or(all->query_wait_timeout, conf->pgusher.query_wait_timeout),
	};

	if (own == NULL)
		return limits;
	limits.max_client_conn = (int)own_or(own->max_client_conn, limits.max_client_conn);
	limits.max_server_conn = (int)own_or(own->max_server_conn, limits.max_server_conn);
	limits.max_pinned = (int)own_or(own->max_pinned, limits.max_pinned);
	limits.weight = (int)own_or(own->weight, limits.weight);
	limits.query_wait_timeout = own_or(own->query_wait_timeout, limits.query_wait_timeout);
	return limits;
}

int conf_pool_size(const struct conf *conf, const struct conf_database *db)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	return (int)own_or(db->pool_size, conf->pgusher.default_pool_size);
}

const struct conf_peer *conf_find_peer(const struct conf *conf, int id)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	for (size_t i = 0; i < conf->n_peers; i++) {
		if (conf->peers[i].id == id)
			return &conf->peers[i];
	}
	return NULL;
}

const struct conf_node *conf_find_node(const struct conf *conf, const char *name)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	for (size_t i = 0; i < conf->n_nodes; i++) {
		if (strcmp(conf->nodes[i].name, name) == 0)
			return &conf->nodes[i];
	}
	return NULL;
}

bool conf_list_has(const char *list, const char *name)
{
	size_t len = strlen(name);

	while (len > 0 && *list != '\0') {
		size_t n;

		list += strspn(list, ", \t");
		n = strcspn(list, ", \t");
		if (n == len && memcmp(list, name, n) == 0)
			return true;
		list += n;
	}
	return false;
}

bool conf_is_console(const char *database)
{
	return strcmp(database, "pgusher") == 0 || strcmp(database, "pgbouncer") == 0;
}

static bool is_same_database(const struct conf_database *a, const struct conf_database *b)
{
	bool is_same = strcmp(a->name, b->name) == 0 && strcmp(a->dbname, b->dbname) == 0 &&
	               a->n_nodes == b->n_nodes;

	for (size_t i = 0; is_same && i < a->n_nodes; i++)
		is_same = strcmp(a->nodes[i]->name, b->nodes[i]->name) == 0 &&
		          strcmp(a->nodes[i]->host, b->nodes[i]->host) == 0 &&
		          a->nodes[i]->port == b->nodes[i]->port;
	return is_same;
}

bool conf_has_same_places(const struct conf *a, const struct conf *b)
{
	bool is_same = a->n_databases == b->n_databases;

	for (size_t i = 0; is_same && i < a->n_databases; i++)
		is_same = is_same_database(&a->databases[i], &b->databases[i]);
	return is_same;
}
