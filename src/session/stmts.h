/* A client's prepared statements and portals: stmts.c, and shape.c, which says whether one is still
 * what the client was told. */
#ifndef PGUSHER_SESSION_STMTS_H
#define PGUSHER_SESSION_STMTS_H

#include "backend.h"
#include "base/hash.h"
#include "base/map.h"
#include "session.h"
#include "sql.h"

struct client;
/* The text of a Parse message, shared by the clients of a worker. */
struct text {
	uint32_t magic;
	uint32_t refs;
	bool is_shared; /* in env.texts */
	uint32_t
		lease; /* of an unnamed statement: on which lease of its client it is known to be */
	struct map_node node;
	uint8_t digest[SHA256_BYTES];
	struct sql_stmt stmt;
	uint64_t judged_by; /* guard_rules_of, when it was last let through */
	size_t len;
	uint8_t body[]; /* query, NUL, parameter types */
};

/* A client's named prepared statement. Servers know it by the digest of its text, and clients
 * share it there, unless it is private (digest_of). */
struct client_stmt {
	uint32_t magic;
	uint32_t refs;
	uint32_t lease, alterations; /* of a private one: where and when it was parsed */
	uint32_t serial;             /* of a personal one: each Parse makes another */
	bool is_private;
	bool is_personal; /* sql_is_personal: private everywhere */
	bool is_changed;  /* not what the client was told of it any more */
	uint64_t epoch;   /* of the schema (pool_epoch), when it was parsed */
	uint64_t shape;   /* stands for what the client was told; 0: it did not ask */
	struct map_node node;
	struct text *text;
	bool is_listed;  /* in client.stmts */
	bool is_closing; /* a Close for it is under way */
	char name[];
};

struct client_portal {
	struct client_portal *next;
	struct sql_stmt stmt;
	char name[];
};

struct text *text_get(struct client *c, const uint8_t *body, size_t len,
                      const struct sql_stmt *stmt, bool is_shared);
void text_put(struct session_env *env, struct text **t);
struct client_stmt *stmt_find(struct client *c, const char *name);
struct client_stmt *stmt_add(struct client *c, const char *name, struct text *text);
void stmt_unlist(struct client *c, struct client_stmt *s);
/* A server of the pool has parsed it before. */
bool stmt_is_known(struct client *c, struct client_stmt *s);
void stmt_learn(struct client *c, struct client_stmt *s);
/* What is sent changes what statements mean. */
void stmts_alter(struct client *c, uint32_t bits);
/* ReadyForQuery with 'I'; the client's end. */
void stmts_ready(struct client *c);
/* A statement that was bound has other columns by now. */
void stmts_outdated(struct client *c, uint32_t server_stmt);
/* What the client's statement is on the server at hand. is_new: the caller sends its Parse. */
void stmt_place(struct client *c, struct client_stmt *s, struct server_stmt_ref *ref);
struct client_stmt *stmt_get(struct client_stmt *s);
void stmt_put(struct client *c, struct client_stmt *s);
void stmts_forget(struct client *c);
void portal_set(struct client *c, const char *name, const struct sql_stmt *stmt);
const struct sql_stmt *portal_find(struct client *c, const char *name);
void portal_close(struct client *c, const char *name);
/* The text is bound to the unnamed portal: notes which of the statements it deallocates. */
void portal_deallocates(struct client *c, const struct text *text);
void portal_forget_unnamed(struct client *c);
void portals_forget(struct client *c);

/* shape.c: what a client was told of a prepared statement */
void shape_described(void *owner, const struct expect *e, uint8_t type, const uint8_t *body,
                     uint32_t len);
/* Of the statement that was just sent. Nothing more is taken until s->is_changed is known. */
void shape_ask(struct client *c, struct client_stmt *s, const struct server_stmt_ref *ref);

#endif
