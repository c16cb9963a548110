/* Value types: how the text behind a key becomes a field, and a field becomes text again for
 * SHOW CONFIG and for RELOAD's comparison. One row of conf_types a type; numbers are in
 * number.c. A parse function leaves its reason in conf_setter.why. Parsing runs on the thread
 * that loads, formatting on any. */
#include <assert.h>
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conf_int.h"

/* sun_path has 108 bytes; the socket's name behind the directory takes up to 18. */
#define DIR_MAX_BYTES 88
#define WORKERS_MAX 256
#define PEER_ID_MAX 127 /* seven bits of a process id; see include/session.h */

/* ---- lists ---------------------------------------------------------------------------- */

struct slice {
	const char *p; /* not NUL-terminated */
	size_t len;
};

/* Takes the next part, blanks trimmed, off a comma list; false when *at is NULL, the end. */
static bool slice_next(const char **at, struct slice *part)
{
	const char *p = *at;

	if (!p)
		return false;
	part->p = p;
	part->len = strcspn(p, ",");
	*at = p[part->len] == ',' ? p + part->len + 1 : NULL;
	while (part->len > 0 && isspace((unsigned char)*part->p)) {
		part->p++;
		part->len--;
	}
	while (part->len > 0 && isspace((unsigned char)part->p[part->len - 1]))
		part->len--;
	return true;
}

static bool slice_is(const struct slice *part, const char *word)
{
	return strlen(word) == part->len && memcmp(word, part->p, part->len) == 0;
}

/* ---- words ---------------------------------------------------------------------------- */

static const struct conf_word bool_words[] = {
	{"yes", 1, NULL},   {"no", 0, NULL}, {"on", 1, NULL}, {"off", 0, NULL}, {"true", 1, NULL},
	{"false", 0, NULL}, {"1", 1, NULL},  {"0", 0, NULL},  {NULL, 0, NULL},
};

static const struct conf_word pool_mode_words[] = {
	{"transaction", CONF_POOL_TRANSACTION, NULL},
	{"session", CONF_POOL_SESSION, NULL},
	{"statement", 0, "is not supported"},
	{NULL, 0, NULL},
};

static const struct conf_word auth_type_words[] = {
	{"password", CONF_AUTH_PASSWORD, NULL},
	{"oauth", CONF_AUTH_OAUTH, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word database_pool_mode_words[] = {
	{"default", CONF_POOL_DEFAULT, NULL},
	{"transaction", CONF_POOL_TRANSACTION, NULL},
	{"session", CONF_POOL_SESSION, NULL},
	{"statement", 0, "is not supported"},
	{NULL, 0, NULL},
};

static const struct conf_word tls_client_words[] = {
	{"disable", CONF_TLS_CLIENT_DISABLE, NULL},
	{"allow", CONF_TLS_CLIENT_ALLOW, NULL},
	{"prefer", CONF_TLS_CLIENT_ALLOW, NULL},
	{"require", CONF_TLS_CLIENT_REQUIRE, NULL},
	{"verify-ca", CONF_TLS_CLIENT_VERIFY_CA, NULL},
	{"verify-full", CONF_TLS_CLIENT_VERIFY_FULL, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word tls_dhe_words[] = {
	{"auto", CONF_TLS_DHE_AUTO, NULL},
	{"none", CONF_TLS_DHE_NONE, NULL},
	{"legacy", CONF_TLS_DHE_LEGACY, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word tls_server_words[] = {
	{"disable", CONF_TLS_SERVER_DISABLE, NULL},
	{"allow", CONF_TLS_SERVER_ALLOW, NULL},
	{"prefer", CONF_TLS_SERVER_PREFER, NULL},
	{"require", CONF_TLS_SERVER_REQUIRE, NULL},
	{"verify-ca", CONF_TLS_SERVER_VERIFY_CA, NULL},
	{"verify-full", CONF_TLS_SERVER_VERIFY_FULL, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word node_role_words[] = {
	{"auto", CONF_NODE_AUTO, NULL},
	{"analytics", CONF_NODE_ANALYTICS, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word consistency_words[] = {
	{"strong", CONF_CONSISTENCY_STRONG, NULL},
	{"bounded", CONF_CONSISTENCY_BOUNDED, NULL},
	{"eventual", CONF_CONSISTENCY_EVENTUAL, NULL},
	{"analytics", CONF_CONSISTENCY_ANALYTICS, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word tenant_mode_words[] = {
	{"required", CONF_TENANT_REQUIRED, NULL},
	{"none", CONF_TENANT_NONE, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word audit_event_words[] = {{"auth", CONF_AUDIT_AUTH, NULL},
                                                     {"guard", CONF_AUDIT_GUARD, NULL},
                                                     {"admin", CONF_AUDIT_ADMIN, NULL},
                                                     {"route", CONF_AUDIT_ROUTE, NULL},
                                                     {"statements", CONF_AUDIT_STATEMENTS, NULL},
                                                     {0}};

static const struct conf_word guard_mode_words[] = {
	{"strict", SQL_GUARD_STRICT, NULL},
	{"standard", SQL_GUARD_STANDARD, NULL},
	{"off", SQL_GUARD_OFF, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word context_mode_words[] = {
	{"plain", CONF_CONTEXT_PLAIN, NULL},
	{"signed", CONF_CONTEXT_SIGNED, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word read_your_writes_words[] = {
	{"off", CONF_RYW_OFF, NULL},
	{"session", CONF_RYW_SESSION, NULL},
	{"tenant", CONF_RYW_TENANT, NULL},
	{NULL, 0, NULL},
};

static const struct conf_word analytics_fallback_words[] = {
	{"refuse", CONF_ANALYTICS_REFUSE, NULL},
	{"serve", CONF_ANALYTICS_SERVE, NULL},
	{NULL, 0, NULL},
};

/* Algorithms are bits. Anything not here is refused, so a new one of RFC 7518 cannot slip in. */
static const struct conf_word alg_words[] = {
	{"HS256", CONF_ALG_HS256, NULL},
	{"RS256", CONF_ALG_RS256, NULL},
	{"ES256", CONF_ALG_ES256, NULL},
	{"PS256", CONF_ALG_PS256, NULL},
	{"EdDSA", CONF_ALG_EDDSA, NULL},
	{"none", 0, "is never allowed: such a token is not signed"},
	{NULL, 0, NULL},
};

static void words_put(const struct conf_word *words, struct buf *out)
{
	const char *comma = "";

	for (; words->word; words++) {
		if (words->refusal)
			continue;
		conf_put_text(out, comma);
		conf_put_text(out, words->word);
		comma = ", ";
	}
}

static bool word_is_not_known(struct conf_setter *s, const struct conf_type *type,
                              const struct slice *part)
{
	struct buf words = {0};

	words_put(type->words, &words);
	snprintf(s->why, sizeof(s->why), "\"%.*s\" is none of %.*s",
	         (int)(part->len < 64 ? part->len : 64), part->p, (int)words.len,
	         (const char *)words.data);
	buf_fini(&words);
	return false;
}

static bool word_is_refused(struct conf_setter *s, const struct conf_word *word)
{
	snprintf(s->why, sizeof(s->why), "\"%s\" %s", word->word, word->refusal);
	return false;
}

static bool word_parse(struct conf_setter *s, const struct conf_type *type, const char *text,
                       int *value)
{
	struct slice all = {text, strlen(text)};
	const struct conf_word *w;

	for (w = type->words; w->word && strcasecmp(w->word, text) != 0; w++)
		;
	if (!w->word)
		return word_is_not_known(s, type, &all);
	if (w->refusal)
		return word_is_refused(s, w);
	*value = w->value;
	return true;
}

static const char *word_of(const struct conf_word *words, int value)
{
	for (; words->word; words++) {
		if (!words->refusal && words->value == value)
			return words->word;
	}
	MUST_NOT_REACH();
}

static bool enum_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                       const char *text)
{
	int value;

	if (!word_parse(s, type, text, &value))
		return false;
	memcpy(field, &value, sizeof(value));
	return true;
}

static void enum_format(const struct conf_type *type, const void *field, struct buf *out)
{
	int value;

	memcpy(&value, field, sizeof(value));
	conf_put_text(out, word_of(type->words, value));
}

static_assert(sizeof(enum conf_pool_mode) == sizeof(int), "enum fields are copied as int");

static bool bool_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                       const char *text)
{
	bool *flag = field;
	int value;

	if (!word_parse(s, type, text, &value))
		return false;
	*flag = value != 0;
	return true;
}

static void bool_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const bool *flag = field;

	conf_put_text(out, word_of(type->words, *flag));
}

static bool bits_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                       const char *text)
{
	uint32_t *algs = field, bits = 0;
	struct slice part;

	while (slice_next(&text, &part)) {
		const struct conf_word *w;

		/* RFC 7515, 4.1.1: names of algorithms are case-sensitive. */
		for (w = type->words; w->word && !slice_is(&part, w->word); w++)
			;
		if (!w->word)
			return word_is_not_known(s, type, &part);
		if (w->refusal)
			return word_is_refused(s, w);
		bits |= (uint32_t)w->value;
	}
	*algs = bits;
	return true;
}

static void bits_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const uint32_t *algs = field;
	const char *comma = "";

	for (const struct conf_word *w = type->words; w->word; w++) {
		if (!(*algs & (uint32_t)w->value))
			continue;
		conf_put_text(out, comma);
		conf_put_text(out, w->word);
		comma = ", ";
	}
}

/* ---- strings -------------------------------------------------------------------------- */

static bool string_set(struct conf_setter *s, void *field, const char *text)
{
	const char **string = field;

	*string = conf_memory_strndup(s->conf, text, strlen(text));
	return true;
}

static bool string_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                         const char *text)
{
	(void)type;
	return string_set(s, field, text);
}

static void string_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const char *const *string = field;

	(void)type;
	conf_put_text(out, *string);
}

static bool file_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                       const char *text)
{
	const char *why = *text ? conf_file_check(text) : NULL;

	(void)type;
	if (!why)
		return string_set(s, field, text);
	snprintf(s->why, sizeof(s->why), "cannot read \"%.128s\": %s", text, why);
	return false;
}

static bool dir_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                      const char *text)
{
	const char *why = *text ? conf_dir_check(text) : NULL;

	(void)type;
	if (!why && strlen(text) > DIR_MAX_BYTES)
		why = "too long for a unix socket";
	if (!why)
		return string_set(s, field, text);
	snprintf(s->why, sizeof(s->why), "cannot use \"%.128s\": %s", text, why);
	return false;
}

/* One part of a name, as PostgreSQL takes it unquoted. */
static const char *name_part_parse(const char *p)
{
	if (!isalpha((unsigned char)*p) && *p != '_')
		return NULL;
	while (isalnum((unsigned char)*p) || *p == '_')
		p++;
	return p;
}

static bool is_dotted(const char *text)
{
	const char *p = name_part_parse(text);

	p = p && *p == '.' ? name_part_parse(p + 1) : NULL;
	return p && *p == '\0';
}

static bool guc_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                      const char *text)
{
	(void)type;
	if (is_dotted(text) && strlen(text) <= CONF_MAX_NAME_BYTES)
		return string_set(s, field, text);
	snprintf(s->why, sizeof(s->why),
	         "\"%.64s\" is not two names joined by a dot (as app.current_tenant_id), of %d "
	         "characters at most",
	         text, CONF_MAX_NAME_BYTES);
	return false;
}

/* It is written into statements as it is: nothing that would need quotes. */
static bool table_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                        const char *text)
{
	(void)type;
	if (is_dotted(text) && strlen(text) <= (size_t)2 * CONF_MAX_NAME_BYTES + 1)
		return string_set(s, field, text);
	snprintf(s->why, sizeof(s->why),
	         "\"%.64s\" is not a schema and a table joined by a dot (as "
	         "public.replication_heartbeat), of letters, digits and _",
	         text);
	return false;
}

/* ---- nodes ---------------------------------------------------------------------------- */

static const struct conf_node *node_by_slice(const struct conf *conf, const struct slice *name)
{
	for (size_t i = 0; i < conf->n_nodes; i++) {
		if (slice_is(name, conf->nodes[i].name))
			return &conf->nodes[i];
	}
	return NULL;
}

static bool database_has_node(const struct conf_database *db, const struct conf_node *node)
{
	for (size_t i = 0; i < db->n_nodes; i++) {
		if (db->nodes[i] == node)
			return true;
	}
	return false;
}

/* The only list of nodes is a database's, and it fills two fields of it. */
static bool node_list_parse(struct conf_setter *s, const struct conf_type *type, void *field,
                            const char *text)
{
	struct conf_database *db = CONTAINER_OF(field, struct conf_database, nodes);
	struct slice part;

	(void)type;
	db->n_nodes = 0;
	/* Each node at most once, so that there is room for all. */
	db->nodes = conf_memory_alloc(s->conf, s->conf->n_nodes * sizeof(db->nodes[0]));
	while (slice_next(&text, &part)) {
		const struct conf_node *node = node_by_slice(s->conf, &part);
		int len = (int)(part.len < 64 ? part.len : 64);

		if (part.len == 0) {
			snprintf(s->why, sizeof(s->why), "a node's name is missing");
			return false;
		}
		if (!node || database_has_node(db, node)) {
			snprintf(s->why, sizeof(s->why),
			         node ? "node \"%.*s\" is named twice"
			              : "there is no section [node %.*s]",
			         len, part.p);
			return false;
		}
		db->nodes[db->n_nodes++] = node;
	}
	return true;
}

static void node_list_format(const struct conf_type *type, const void *field, struct buf *out)
{
	const struct conf_database *db =
		CONTAINER_OF((void *)(uintptr_t)field, struct conf_database, nodes);

	(void)type;
	for (size_t i = 0; i < db->n_nodes; i++) {
		conf_put_text(out, i > 0 ? ", " : "");
		conf_put_text(out, db->nodes[i]->name);
	}
}

/* ---- the table ------------------------------------------------------------------------ */

#define ENUM(words_)                                                                               \
	{                                                                                          \
		.size = sizeof(int), .parse = enum_parse, .format = enum_format, .words = (words_) \
	}
#define TEXT(doc_, parse_)                                                                         \
	{                                                                                          \
		.doc = (doc_), .parse = (parse_), .format = string_format                          \
	}
#define NUMBER(doc_, ctype, kind, min_, max_)                                                      \
	{                                                                                          \
		.doc = (doc_), .size = sizeof(ctype), .parse = conf_##kind##_parse,                \
		.format = conf_##kind##_format, .min = (min_), .max = (max_)                       \
	}

const struct conf_type conf_types[CONF_N_TYPES] = {
	[CONF_TYPE_BOOL] = {.doc = "yes, no",
                            .size = sizeof(bool),
                            .parse = bool_parse,
                            .format = bool_format,
                            .words = bool_words},
	[CONF_TYPE_INT] = NUMBER("number", int, int, 0, INT_MAX),
	[CONF_TYPE_COUNT] = NUMBER("number, 1 or more", int, int, 1, INT_MAX),
	[CONF_TYPE_PORT] = NUMBER("port, 1 to 65535", uint16_t, port, 1, UINT16_MAX),
	[CONF_TYPE_WORKERS] = {.doc = "auto, or a number from 1 to 256",
                               .size = sizeof(int),
                               .parse = conf_workers_parse,
                               .format = conf_int_format,
                               .min = 1,
                               .max = WORKERS_MAX},
	[CONF_TYPE_PEER_ID] = NUMBER("number from 0 to 127", int, int, 0, PEER_ID_MAX),
	[CONF_TYPE_DURATION] = NUMBER("time", int64_t, duration, 0, 0),
	[CONF_TYPE_INHERIT_INT] = NUMBER("number", int, inherit_int, 0, INT_MAX),
	[CONF_TYPE_INHERIT_COUNT] = NUMBER("number, 1 or more", int, inherit_int, 1, INT_MAX),
	[CONF_TYPE_INHERIT_DURATION] = NUMBER("time", int64_t, inherit_duration, 0, 0),
	[CONF_TYPE_STRING] = TEXT("text", string_parse),
	[CONF_TYPE_FILE] = TEXT("file", file_parse),
	[CONF_TYPE_DIR] = TEXT("directory", dir_parse),
	[CONF_TYPE_URL] = TEXT("URL", conf_url_parse),
	[CONF_TYPE_GUC] = TEXT("setting's name", guc_parse),
	[CONF_TYPE_TABLE] = TEXT("table's name", table_parse),
	[CONF_TYPE_POOL_MODE] = ENUM(pool_mode_words),
	[CONF_TYPE_DATABASE_POOL_MODE] = ENUM(database_pool_mode_words),
	[CONF_TYPE_AUTH_TYPE] = ENUM(auth_type_words),
	[CONF_TYPE_TLS_CLIENT_MODE] = ENUM(tls_client_words),
	[CONF_TYPE_TLS_SERVER_MODE] = ENUM(tls_server_words),
	[CONF_TYPE_TLS_PROTOCOLS] = {.doc = "list of secure, all, tlsv1.0 to tlsv1.3",
                                     .size = sizeof(uint32_t),
                                     .parse = conf_protocols_parse,
                                     .format = conf_protocols_format},
	[CONF_TYPE_TLS_CIPHERS] = TEXT("OpenSSL's cipher list", conf_ciphers_parse),
	[CONF_TYPE_TLS_SUITES] = TEXT("list of TLS 1.3 suites", conf_suites_parse),
	[CONF_TYPE_TLS_CURVE] = TEXT("auto, none, or groups", conf_curve_parse),
	[CONF_TYPE_TLS_DHE] = ENUM(tls_dhe_words),
	[CONF_TYPE_NODE_ROLE] = ENUM(node_role_words),
	[CONF_TYPE_CONSISTENCY] = ENUM(consistency_words),
	[CONF_TYPE_TENANT_MODE] = ENUM(tenant_mode_words),
	[CONF_TYPE_CONTEXT_MODE] = ENUM(context_mode_words),
	[CONF_TYPE_GUARD_MODE] = ENUM(guard_mode_words),
	[CONF_TYPE_READ_YOUR_WRITES] = ENUM(read_your_writes_words),
	[CONF_TYPE_ANALYTICS_FALLBACK] = ENUM(analytics_fallback_words),
	[CONF_TYPE_ALGS] = {.doc = "list of HS256, RS256, ES256, PS256, EdDSA",
                            .size = sizeof(uint32_t),
                            .parse = bits_parse,
                            .format = bits_format,
                            .words = alg_words},
	[CONF_TYPE_AUDIT_EVENTS] = {.doc = "list of auth, guard, admin, route, statements",
                                    .size = sizeof(uint32_t),
                                    .parse = bits_parse,
                                    .format = bits_format,
                                    .words = audit_event_words},
	[CONF_TYPE_NODE_LIST] = {.doc = "list of nodes",
                                 .parse = node_list_parse,
                                 .format = node_list_format},
};

const char *conf_tls_server_mode_name(enum conf_tls_server_mode mode)
{
	return word_of(tls_server_words, (int)mode);
}

const char *conf_consistency_name(enum conf_consistency consistency)
{
	return word_of(consistency_words, (int)consistency);
}

const char *conf_read_your_writes_name(enum conf_read_your_writes mode)
{
	return word_of(read_your_writes_words, (int)mode);
}

static bool word_read(const struct conf_word *words, const char *text, int *value)
{
	for (; words->word; words++) {
		if (strcasecmp(words->word, text) != 0)
			continue;
		*value = words->value;
		return true;
	}
	return false;
}

bool conf_consistency_read(const char *text, enum conf_consistency *consistency)
{
	int value;

	if (!word_read(consistency_words, text, &value))
		return false;
	*consistency = (enum conf_consistency)value;
	return true;
}

bool conf_read_your_writes_read(const char *text, enum conf_read_your_writes *mode)
{
	int value;

	if (!word_read(read_your_writes_words, text, &value))
		return false;
	*mode = (enum conf_read_your_writes)value;
	return true;
}

bool conf_auth_type_read(const char *text, enum conf_auth_type *type)
{
	int value;

	if (!word_read(auth_type_words, text, &value))
		return false;
	*type = (enum conf_auth_type)value;
	return true;
}
