/* A server without a socket: the test writes what PostgreSQL would say, and reads what was sent to
 * it, what the client would get, and what the sink was told. One at a time. */
#ifndef PGUSHER_TESTS_UNIT_BACKEND_KIT_H
#define PGUSHER_TESTS_UNIT_BACKEND_KIT_H

#include "backend/backend_int.h"
#include "base/clock.h"
#include "unit/base/cm.h"

#define KIT_IN_MAX 65536
#define KIT_RUNS_MAX 4096

struct kit {
	struct backend_env env;
	struct outvec to_server;
	struct buf scratch;
	uint8_t in[KIT_IN_MAX];
	struct server *server;

	struct buf sent; /* what the server was sent */
	size_t accept;   /* how many bytes it still takes; SIZE_MAX: all */
	struct buf said; /* what it says */
	size_t said_at;  /* and how much of it was read */
	size_t chunk;    /* read at once at most */
	ssize_t end;     /* behind it: STREAM_WAIT, STREAM_EOF, STREAM_ERROR */

	struct iovec runs[KIT_RUNS_MAX]; /* given to on_bytes since the last on_flush */
	int n_runs;
	struct buf bytes; /* what the client gets */
	struct buf log;   /* NUL-terminated: "parse done; ready I; ..." */
	int n_flushed, n_settled, n_drained;
	int n_woken;          /* how often backend_edge was asked for */
	int64_t now_us;       /* the clock */
	int64_t us_per_flush; /* and how far on_flush turns it */
	bool passes_ready;    /* what on_ready answers */
	bool keeps;           /* what on_settled answers */
	bool frees_on_settled;
	int64_t tenant; /* of the contexts that kit_expect announces */
};

void kit_open(struct kit *k);
void kit_close(struct kit *k);
/* Forgets what was sent, passed and logged so far. */
void kit_clear(struct kit *k);

/* Announces a message without sending one. */
void kit_expect(struct kit *k, enum expect_kind kind, enum expect_fate fate);
void kit_expect_full(struct kit *k, const struct expect *e);

/* What the server says; nothing is read before kit_deliver. */
void say(struct kit *k, const char *types); /* messages without a body */
void say_raw(struct kit *k, uint8_t type, const void *body, size_t len);
void say_row(struct kit *k, const char *value); /* one column; NULL: SQL's NULL */
void say_error(struct kit *k, const char *message);
void say_complete(struct kit *k, const char *tag);
void say_ready(struct kit *k, char status);
void say_parameter(struct kit *k, const char *name, const char *value);
/* Reads all of it, at most `chunk` bytes at a time. */
void kit_deliver(struct kit *k);

/* The log since kit_clear; then it is empty again. */
void assert_log(struct kit *k, const char *want);
/* The types of the messages that the client got, or the server was sent: "1D2". */
void assert_passed(struct kit *k, const char *types);
void assert_sent(struct kit *k, const char *types);
/* The statement's name in the Parse that begins what was sent. */
void parsed_name(const struct kit *k, char name[SERVER_STMT_NAME_MAX]);
void assert_bytes(const struct buf *got, const struct buf *want);

#endif
