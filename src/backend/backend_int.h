/* What the backend module's files share. */
#ifndef PGUSHER_BACKEND_INT_H
#define PGUSHER_BACKEND_INT_H

#include "backend.h"
#include "base/assert.h"
#include "base/map.h"
#include "base/mem.h"

#define SERVER_MAGIC 0x5e4fe401
#define EXPECT_MIN_CAP 16
#define SERVER_NAME_PREFIX_MAX 24
#define SERVER_PARAMETERS_MAX 64

/* Our own statements on every server; ids below SERVER_STMT_FIRST_ID. */
enum fixed_stmt {
	FIXED_NONE,
	FIXED_BEGIN,
	FIXED_CONTEXT,
	FIXED_SETTING,
	FIXED_ASK,
	FIXED_ASK_SET,
	FIXED_STATE,
	FIXED_COMMIT,
	FIXED_STATE_FUNCTION,
	FIXED_SETTING_BACK,
	FIXED_COUNT
};
#define SERVER_STMT_FIRST_ID 16

struct server_stmt {
	struct map_node node;
	struct list lru;
	uint32_t id;
	bool is_doubtful;
	uint64_t epoch; /* server_note_epoch */
	uint8_t digest[SHA256_BYTES];
};

struct server_parameter {
	char *name, *value;
};

struct server {
	uint32_t magic;
	struct stream stream;
	struct backend_env *env;
	PGconn *conn;
	const struct sink_ops *sink;
	void *sink_owner;
	struct server_note note;
	struct list again_link; /* on env->again */

	/* Expected replies: a ring, `head` the oldest. */
	struct expect *ring;
	uint32_t ring_cap, head, count;
	bool skipping;   /* after an error the server ignores everything up to Sync */
	bool batch_open; /* the last message sent is not one that ends with ReadyForQuery */

	/* The message being read. */
	struct buf held;    /* the beginning of one, kept between two reads */
	uint32_t body_left; /* of a message handed on in pieces */
	uint8_t body_type;
	bool body_passes;
	const uint8_t *run; /* bytes for the client, not yet handed over */
	size_t run_len;

	char status;
	bool paused;
	enum close_reason lost; /* CLOSE_NONE: it lives */
	bool has_said_why;
	bool standby, was_standby;
	char last_error[160];

	char prefix[SERVER_NAME_PREFIX_MAX]; /* of clients' statements' names; random */
	/* Our own statements' names: another random prefix, which no error message shows. */
	char fixed_names[FIXED_COUNT][SERVER_STMT_NAME_MAX];
	bool fixed_ready[FIXED_COUNT];
	bool asks_function; /* server_ask_state_otherwise */
	bool echoed;        /* the context's row has come, and was right */
	bool keeps_implicit;
	bool is_kept; /* the transaction of the Query that is just ending */
	struct map stmts;
	struct list stmts_lru; /* most recently used first */
	uint32_t next_stmt_id;
	char *settings; /* made on it: "name\0value\0"... */
	bool settings_are_trial;
	bool settings_are_doubtful; /* the names are all that may be made, the values no longer */
	size_t settings_len;
	struct server_parameter *parameters; /* reported; SERVER_PARAMETERS_MAX at most */
	uint32_t n_parameters;
	uint64_t parameters_key;
};

/* reply.c */
/* What was expected did not come, or will not: it failed or is skipped. */
void server_note_failure(struct server *s, const struct expect *e, enum expect_outcome outcome);
void server_on_readable(void *owner);
void server_set_parameter(struct server *s, const char *name, const char *value);

/* send.c */
/* A tenant in its one spelling, 1 to 19 digits (auth_is_tenant). */
bool backend_tenant_number(const char *text, size_t len, int64_t *number);

/* stmts.c */
void server_draw_prefix(struct server *s);

static inline struct expect *expect_at(struct server *s, uint32_t i)
{
	return &s->ring[(s->head + i) & (s->ring_cap - 1)];
}

static inline struct expect *expect_head(struct server *s)
{
	return s->count > 0 ? expect_at(s, 0) : NULL;
}

#endif
