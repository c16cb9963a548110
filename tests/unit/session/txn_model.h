/* A small model of PostgreSQL's own transaction state machine (src/backend/access/transam/xact.c,
 * tcop/postgres.c), written from those, not from ours: what a server does with statements, and
 * whether the tenant setting is there while one runs. Plain values, so that a search can copy and
 * compare states.
 *
 * It was held against PostgreSQL 15.20 once: 30,000 random Queries and 30,000 pipelines of up to
 * four statements, set_config in front of some; every success, failure, skip, status and setting
 * was the same. */
#ifndef PGUSHER_TESTS_UNIT_SESSION_TXN_MODEL_H
#define PGUSHER_TESTS_UNIT_SESSION_TXN_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MODEL_SAVEPOINTS_MAX 2

/* xact.c's TBLOCK states, between two statements. */
enum model_block {
	MODEL_DEFAULT,
	MODEL_STARTED,  /* an implicit transaction: one Query, or a batch up to Sync */
	MODEL_IMPLICIT, /* the same, of a Query with several statements */
	MODEL_INPROGRESS,
	MODEL_ABORT,
};

/* What a statement does to a server, whatever we take it for. */
enum model_effect {
	EFFECT_NONE, /* nothing but white space */
	EFFECT_DATA,
	EFFECT_RESET_ALL,
	EFFECT_COMMIT_INSIDE, /* a procedure that ends with COMMIT */
	EFFECT_BEGIN,
	EFFECT_COMMIT,
	EFFECT_ROLLBACK,
	EFFECT_COMMIT_CHAIN,
	EFFECT_ROLLBACK_CHAIN,
	EFFECT_SAVEPOINT,
	EFFECT_RELEASE,       /* of the innermost savepoint */
	EFFECT_RELEASE_OUTER, /* of the outermost */
	EFFECT_ROLLBACK_TO,
	EFFECT_ROLLBACK_TO_OUTER,
	EFFECT_PREPARE_TRANSACTION,
	EFFECT_SET_TRANSACTION,
	EFFECT_VACUUM, /* commits inside, and goes on in a transaction of its own */
	EFFECT_ALTER_SYSTEM,
	EFFECT_DISCARD_ALL,
};

/* What fate has in store for a statement that the rules would let succeed. */
enum model_luck {
	LUCK_GOOD,
	LUCK_FAILS,        /* an error when it is parsed, bound or run */
	LUCK_FAILS_ENDING, /* of those that end a transaction: an error while they do */
	LUCK_COUNT
};

struct model {
	uint8_t block;    /* enum model_block */
	bool has_context; /* the setting is there */
	bool is_piped;    /* XACT_FLAGS_PIPELINING */
	bool is_skipping; /* after an error in a batch, up to Sync */
	uint8_t n_savepoints;
	bool saved[MODEL_SAVEPOINTS_MAX]; /* has_context when each was made */
};

enum model_result { MODEL_OK, MODEL_FAILED, MODEL_NO_CONTEXT };

/* How a statement reaches the server. */
enum model_way { WAY_EXTENDED, WAY_QUERY_ALONE, WAY_QUERY_OF_SEVERAL };

/* MODEL_NO_CONTEXT: it read data without the setting. */
enum model_result model_run(struct model *m, enum model_effect effect, enum model_luck luck,
                            enum model_way way);
/* The bound set_config in front of a statement. False: in a failed transaction. */
bool model_set_context(struct model *m);
/* The end of a Query, or Sync; ReadyForQuery's status. */
char model_ready(struct model *m);
/* True where LUCK_FAILS_ENDING means something. */
bool model_may_fail_ending(const struct model *m, enum model_effect effect);

#endif
