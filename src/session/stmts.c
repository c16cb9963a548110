/* A client's prepared statements and portals. The text of a named statement is shared by all
 * clients of the worker that prepared the same; on servers it is known by its digest. Source:
 * PostgreSQL documentation 55.2.3, Extended Query. */
#include <string.h>

#include "session_int.h"

/* ---- texts ------------------------------------------------------------------------------- */

static uint64_t digest_hash(const uint8_t *digest)
{
	return hash_bytes(digest, SHA256_BYTES);
}

static struct text *text_find(struct session_env *env, const uint8_t *digest)
{
	struct map_node *node = map_find(&env->texts, digest_hash(digest));

	for (; node != NULL; node = map_find_next(node)) {
		struct text *t = CONTAINER_OF(node, struct text, node);

		if (memcmp(t->digest, digest, SHA256_BYTES) == 0)
			return t;
	}
	return NULL;
}

struct text *text_get(struct client *c, const uint8_t *body, size_t len,
                      const struct sql_stmt *stmt, bool is_shared)
{
	uint8_t digest[SHA256_BYTES];
	struct text *t;

	if (is_shared) {
		hash_sha256(body, len, digest);
		t = text_find(c->env, digest);
		if (t != NULL) {
			t->refs++;
			t->stmt = *stmt;
			t->judged_by = guard_rules_of(c);
			return t;
		}
	}
	t = mem_alloc(sizeof(*t) + len);
	OBJ_INIT(t, TEXT_MAGIC);
	t->refs = 1;
	t->is_shared = is_shared;
	t->lease = c->lease;
	t->stmt = *stmt;
	t->judged_by = guard_rules_of(c);
	t->len = len;
	memcpy(t->body, body, len);
	if (is_shared) {
		memcpy(t->digest, digest, SHA256_BYTES);
		map_insert(&c->env->texts, &t->node, digest_hash(digest));
	}
	return t;
}

void text_put(struct session_env *env, struct text **tp)
{
	struct text *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	OBJ_CHECK(t, TEXT_MAGIC);
	if (--t->refs > 0)
		return;
	if (t->is_shared)
		map_remove(&env->texts, &t->node);
	OBJ_FINI(t, TEXT_MAGIC);
	mem_free(t);
}

/* ---- named statements ---------------------------------------------------------------------- */

static uint64_t name_hash(const char *name)
{
	return hash_bytes(name, strlen(name));
}

struct client_stmt *stmt_find(struct client *c, const char *name)
{
	struct map_node *node = map_find(&c->stmts, name_hash(name));

	for (; node != NULL; node = map_find_next(node)) {
		struct client_stmt *s = CONTAINER_OF(node, struct client_stmt, node);

		if (!s->is_closing && strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

static uint64_t epoch_at_hand(const struct client *c)
{
	return c->epoch != 0 ? c->epoch : pool_epoch(c->pool);
}

struct client_stmt *stmt_add(struct client *c, const char *name, struct text *text)
{
	size_t size = strlen(name) + 1;
	struct client_stmt *s = mem_zalloc(sizeof(*s) + size);

	OBJ_INIT(s, CLIENT_STMT_MAGIC);
	s->refs = 1;
	s->text = text;
	s->is_listed = true;
	s->is_personal =
		sql_is_personal((const char *)text->body, strlen((const char *)text->body));
	s->serial = s->is_personal ? ++c->n_personal : 0;
	s->is_private = c->alterations > 0;
	s->lease = c->lease;
	s->alterations = c->alterations;
	s->epoch = epoch_at_hand(c);
	memcpy(s->name, name, size);
	map_insert(&c->stmts, &s->node, name_hash(name));
	c->stmt_bytes += text->len;
	return s;
}

void stmts_alter(struct client *c, uint32_t bits)
{
	if (bits & (SQL_ALTERS | SQL_MAKES_STATE | SQL_OPAQUE | SQL_RESETS_ALL))
		c->alterations++;
	/* A DROP beside temporary tables is one of these, as a rule. */
	if ((bits & SQL_DEFINES) || ((bits & SQL_DROPS) && !(c->pins & SQL_STATE_TEMP)))
		c->epoch = pool_epoch_draw(c->pool);
}

/* What failed outside of a block has changed nothing, unless it could commit before it failed: who
 * may not define anything gets nobody's statements parsed again. */
void stmts_ready(struct client *c)
{
	bool is_undone =
		c->batch_failed && c->end == TXN_END_NONE && (c->batch_bits & SQL_ENDS_INSIDE) == 0;

	if (c->epoch == 0)
		return;
	c->epoch = 0;
	if (!is_undone)
		pool_epoch_begin(c->pool);
}

static bool is_shared(const struct client *c, const struct client_stmt *s)
{
	return c->alterations == 0 && !s->is_personal;
}

/* The same text under other settings is another statement, and so it is behind a change of the
 * schema. A text's digest cannot be chosen, nor can the scope, which is a keyed hash, or the epoch:
 * so all in one are as good as side by side. */
static void scoped_digest(const struct client *c, const struct client_stmt *s,
                          uint8_t digest[SHA256_BYTES])
{
	uint64_t first[2];

	memcpy(digest, s->text->digest, SHA256_BYTES);
	memcpy(first, digest, sizeof(first));
	if (c->settings != NULL)
		first[0] ^= c->settings->scope;
	first[1] ^= s->epoch;
	memcpy(digest, first, sizeof(first));
}

/* PostgreSQL works out a statement's names, types and constants when it parses it, and plans it
 * under the settings of that moment. So one that is parsed or run behind a SET, a temporary
 * table or code that may have done either is this client's, on this lease only. */
static void digest_of(struct client *c, struct client_stmt *s, uint8_t digest[SHA256_BYTES])
{
	struct {
		uint8_t text[SHA256_BYTES];
		uint32_t pid, lease, alterations, serial;
	} key = {.pid = c->pid, .serial = s->serial};

	if (is_shared(c, s)) {
		scoped_digest(c, s, digest);
		return;
	}
	scoped_digest(c, s, key.text);
	if (c->alterations > 0) {
		if (!s->is_private || s->lease != c->lease) {
			s->is_private = true;
			s->lease = c->lease;
			s->alterations = c->alterations;
		}
		key.lease = s->lease;
		key.alterations = s->alterations;
	}
	hash_sha256(&key, sizeof(key), digest);
}

/* What a server does not know, or no more, it parses as things are now: in the epoch at hand. */
void stmt_place(struct client *c, struct client_stmt *s, struct server_stmt_ref *ref)
{
	uint8_t digest[SHA256_BYTES];
	uint64_t now;

	digest_of(c, s, digest);
	server_prepare(c->server, digest, ref);
	if (!ref->is_new)
		return;
	now = epoch_at_hand(c);
	if (s->epoch != now) {
		server_forget_stmt(c->server, ref->id);
		s->epoch = now;
		digest_of(c, s, digest);
		server_prepare(c->server, digest, ref);
	}
	if (ref->is_new && is_shared(c, s))
		server_note_epoch(c->server, ref->id, now + 1);
}

/* It tells of a change that was not made through us, unless it is that of an epoch that is over. */
void stmts_outdated(struct client *c, uint32_t server_stmt)
{
	if (server_epoch(c->server, server_stmt) == pool_epoch(c->pool) + 1)
		pool_epoch_begin(c->pool);
}

bool stmt_is_known(struct client *c, struct client_stmt *s)
{
	uint8_t digest[SHA256_BYTES];

	if (!is_shared(c, s))
		return false;
	scoped_digest(c, s, digest);
	return pool_knows_text(c->pool, digest);
}

void stmt_learn(struct client *c, struct client_stmt *s)
{
	uint8_t digest[SHA256_BYTES];

	if (!is_shared(c, s))
		return;
	scoped_digest(c, s, digest);
	pool_learn_text(c->pool, digest);
}

struct client_stmt *stmt_get(struct client_stmt *s)
{
	OBJ_CHECK(s, CLIENT_STMT_MAGIC);
	s->refs++;
	return s;
}

void stmt_put(struct client *c, struct client_stmt *s)
{
	OBJ_CHECK(s, CLIENT_STMT_MAGIC);
	if (--s->refs > 0)
		return;
	MUST(!s->is_listed);
	text_put(c->env, &s->text);
	OBJ_FINI(s, CLIENT_STMT_MAGIC);
	mem_free(s);
}

void stmt_unlist(struct client *c, struct client_stmt *s)
{
	if (!s->is_listed)
		return;
	s->is_listed = false;
	c->stmt_bytes -= s->text->len;
	map_remove(&c->stmts, &s->node);
	stmt_put(c, s);
}

static void forget(struct map_node *node, void *arg)
{
	stmt_unlist(arg, CONTAINER_OF(node, struct client_stmt, node));
}

void stmts_forget(struct client *c)
{
	map_each(&c->stmts, forget, c);
}

/* ---- portals ------------------------------------------------------------------------------- */

static void put_deallocated(struct client *c)
{
	if (c->deallocates != NULL)
		stmt_put(c, c->deallocates);
	c->deallocates = NULL;
}

void portal_deallocates(struct client *c, const struct text *text)
{
	char name[NAME_MAX_BYTES];
	const char *query = (const char *)text->body;
	struct client_stmt *s;

	if (!(text->stmt.bits & SQL_NAMES_PREPARED) ||
	    !sql_deallocate_name(query, strlen(query), name, sizeof(name)))
		return;
	s = stmt_find(c, name);
	if (s != NULL)
		c->deallocates = stmt_get(s);
}

void portal_set(struct client *c, const char *name, const struct sql_stmt *stmt)
{
	struct client_portal *p;
	size_t size = strlen(name) + 1;

	if (name[0] == '\0') {
		text_put(c->env, &c->own_portal);
		put_deallocated(c);
		c->unnamed_portal = *stmt;
		return;
	}
	portal_close(c, name);
	p = mem_zalloc(sizeof(*p) + size);
	p->stmt = *stmt;
	memcpy(p->name, name, size);
	p->next = c->portals;
	c->portals = p;
	c->n_portals++;
}

const struct sql_stmt *portal_find(struct client *c, const char *name)
{
	/* A cursor that SQL declared, or none at all: the server knows. */
	static const struct sql_stmt unknown = {.kind = SQL_DATA};

	if (name[0] == '\0')
		return &c->unnamed_portal;
	for (struct client_portal *p = c->portals; p != NULL; p = p->next) {
		if (strcmp(p->name, name) == 0)
			return &p->stmt;
	}
	return &unknown;
}

void portal_close(struct client *c, const char *name)
{
	for (struct client_portal **at = &c->portals; *at != NULL; at = &(*at)->next) {
		struct client_portal *p = *at;

		if (strcmp(p->name, name) != 0)
			continue;
		*at = p->next;
		c->n_portals--;
		mem_free(p);
		return;
	}
}

void portal_forget_unnamed(struct client *c)
{
	static const struct sql_stmt none = {.kind = SQL_DATA};

	c->is_portal_bound = false;
	c->portal_binds = 0;
	if (c->own_portal != NULL || c->deallocates != NULL)
		portal_set(c, "", &none);
}

void portals_forget(struct client *c)
{
	portal_forget_unnamed(c);
	while (c->portals != NULL) {
		struct client_portal *p = c->portals;

		c->portals = p->next;
		mem_free(p);
	}
	c->n_portals = 0;
}
