/* Prepared statements on one server. Clients' statements are found by the digest of their
 * Parse body, least recently used closed first; ours (BEGIN, the context, settings) have fixed
 * ids. All names begin with the server's random prefix, so that no client's SQL can name one. */
#include <stdio.h>
#include <string.h>

#include "backend_int.h"

static uint64_t digest_hash(const uint8_t *digest)
{
	return hash_bytes(digest, SHA256_BYTES);
}

static void stmt_remove(struct server *s, struct server_stmt *stmt)
{
	map_remove(&s->stmts, &stmt->node);
	list_remove(&stmt->lru);
	mem_free(stmt);
}

static struct server_stmt *stmt_find(struct server *s, const uint8_t *digest)
{
	struct map_node *node = map_find(&s->stmts, digest_hash(digest));

	for (; node != NULL; node = map_find_next(node)) {
		struct server_stmt *stmt = CONTAINER_OF(node, struct server_stmt, node);

		if (!stmt->is_doubtful && memcmp(stmt->digest, digest, SHA256_BYTES) == 0)
			return stmt;
	}
	return NULL;
}

static void stmt_name(const struct server *s, uint32_t id, char *name)
{
	snprintf(name, SERVER_STMT_NAME_MAX, "%s_%u", s->prefix, id);
}

static void close_oldest(struct server *s)
{
	struct server_stmt *stmt = LIST_MEMBER(s->stmts_lru.prev, struct server_stmt, lru);
	struct expect e = {.kind = EXPECT_CLOSE, .fate = FATE_SWALLOW};
	char name[SERVER_STMT_NAME_MAX];

	stmt_name(s, stmt->id, name);
	wire_put_close_statement(s->env->scratch, name);
	outvec_copy(s->env->to_server, s->env->scratch->data, s->env->scratch->len);
	s->env->scratch->len = 0;
	server_expect(s, &e);
	stmt_remove(s, stmt);
}

void server_prepare(struct server *s, const uint8_t digest[SHA256_BYTES],
                    struct server_stmt_ref *ref)
{
	struct server_stmt *stmt = stmt_find(s, digest);

	OBJ_CHECK(s, SERVER_MAGIC);
	ref->is_new = stmt == NULL;
	if (stmt == NULL) {
		while (s->stmts.count > 0 && s->stmts.count >= s->env->max_prepared_statements)
			close_oldest(s);
		stmt = mem_zalloc(sizeof(*stmt));
		stmt->id = s->next_stmt_id++;
		memcpy(stmt->digest, digest, SHA256_BYTES);
		map_insert(&s->stmts, &stmt->node, digest_hash(digest));
		list_init(&stmt->lru);
	}
	list_remove(&stmt->lru);
	list_push_front(&s->stmts_lru, &stmt->lru);
	ref->id = stmt->id;
	stmt_name(s, stmt->id, ref->name);
}

static struct server_stmt *stmt_of_id(struct server *s, uint32_t id)
{
	LIST_FOREACH(link, &s->stmts_lru) {
		struct server_stmt *stmt = LIST_MEMBER(link, struct server_stmt, lru);

		if (stmt->id == id)
			return stmt;
	}
	return NULL;
}

void server_forget_stmt(struct server *s, uint32_t id)
{
	struct server_stmt *stmt = stmt_of_id(s, id);

	if (id < FIXED_COUNT)
		s->fixed_ready[id] = false;
	if (stmt != NULL)
		stmt_remove(s, stmt);
}

void server_doubt_stmt(struct server *s, uint32_t id)
{
	struct server_stmt *stmt = stmt_of_id(s, id);

	if (stmt != NULL)
		stmt->is_doubtful = true;
}

void server_note_epoch(struct server *s, uint32_t id, uint64_t epoch)
{
	struct server_stmt *stmt = stmt_of_id(s, id);

	MUST(stmt != NULL);
	stmt->epoch = epoch;
}

uint64_t server_epoch(struct server *s, uint32_t id)
{
	const struct server_stmt *stmt = stmt_of_id(s, id);

	return stmt != NULL ? stmt->epoch : 0;
}

static void draw(char prefix[SERVER_NAME_PREFIX_MAX])
{
	char random[17];

	random_hex(random, 8);
	snprintf(prefix, SERVER_NAME_PREFIX_MAX, "pgu_%s", random);
}

void server_draw_prefix(struct server *s)
{
	char secret[SERVER_NAME_PREFIX_MAX];

	draw(s->prefix);
	draw(secret);
	for (int i = 0; i < FIXED_COUNT; i++)
		snprintf(s->fixed_names[i], sizeof(s->fixed_names[i]), "%s_%d", secret, i);
}

/* What is forgotten may be there all the same (a DEALLOCATE ALL that was not reached), so from now
 * on the names are others. */
void server_forget_prepared(struct server *s)
{
	server_draw_prefix(s);
	while (!list_is_empty(&s->stmts_lru))
		stmt_remove(s, LIST_MEMBER(s->stmts_lru.next, struct server_stmt, lru));
	map_fini(&s->stmts);
	memset(s->fixed_ready, 0, sizeof(s->fixed_ready));
}
