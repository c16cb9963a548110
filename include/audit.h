/* The audit log: one JSON line an event, to a file, stdout or syslog, each line with the SHA-256 of
 * the line before it. Workers put records into queues of their own, which never block; one thread
 * makes lines of them and writes. */
#ifndef PGUSHER_AUDIT_H
#define PGUSHER_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "conf.h"

/* AUDIT_EVENT(NAME, "word"): but for SELF they are those of [audit] events. */
#define AUDIT_EVENTS(AUDIT_EVENT)                                                                  \
	AUDIT_EVENT(SELF, "audit") /* about the log itself: started, changed, dropped, torn ... */ \
	AUDIT_EVENT(AUTH, "auth")                                                                  \
	AUDIT_EVENT(GUARD, "guard")                                                                \
	AUDIT_EVENT(ADMIN, "admin")                                                                \
	AUDIT_EVENT(ROUTE, "route")                                                                \
	AUDIT_EVENT(STATEMENTS, "statements")

enum audit_event {
#define AUDIT_EVENT(name, word) AUDIT_##name,
	AUDIT_EVENTS(AUDIT_EVENT)
#undef AUDIT_EVENT
};
const char *audit_event_word(enum audit_event event);

#define AUDIT_NAME_BYTES 64   /* roles, databases, addresses; longer ones are cut */
#define AUDIT_ACTION_BYTES 80 /* a console command with its argument */
#define AUDIT_TENANT_BYTES 20
#define AUDIT_SQLSTATE_BYTES 6

/* One event. Strings are NUL-terminated and "" where they do not apply, and then not in the line.
 * Never a literal of a statement, a parameter, a token or a password. */
struct audit_record {
	int64_t wall_us; /* since 1970 */
	enum audit_event event;
	bool has_rows;
	uint64_t session;     /* of the client connection; 0: of none */
	uint64_t fingerprint; /* sql_info.fingerprint; 0: of no statement */
	int64_t rows;
	int64_t duration_us; /* AUDIT_STATEMENTS */
	uint64_t n;          /* AUDIT_SELF: of dropped records, of torn bytes */
	const char *kind;    /* AUDIT_STATEMENTS: a constant; NULL: none */
	const char *outcome; /* a constant: "accepted", "refused", "done", "failed" ... */
	const char *reason;  /* a constant; NULL: none */
	char sqlstate[AUDIT_SQLSTATE_BYTES];
	char tenant[AUDIT_TENANT_BYTES];
	char action[AUDIT_ACTION_BYTES]; /* "login", "token", "close", a command */
	char role[AUDIT_NAME_BYTES];
	char database[AUDIT_NAME_BYTES];
	char client[AUDIT_NAME_BYTES];
	char node[AUDIT_NAME_BYTES];
};

/* Copies a string that a client may have chosen, cut to its place; one that looks like a token is
 * replaced by "(a token?)". */
void audit_copy(char *to, size_t size, const char *from);
#define AUDIT_COPY(field, from) audit_copy((field), sizeof(field), (from))

/* ---- putting events in -------------------------------------------------------------------- */

struct audit;
/* One thread's way into the log: bounded, without locks. */
struct audit_queue;

/* A blank record with its time, to be filled and then committed at once. NULL: events of this kind
 * are not wanted (none are where there is no log, or no queue), or the queue is full: then the
 * event is counted as dropped, which the log says as soon as it can. */
struct audit_record *audit_begin(struct audit_queue *queue, enum audit_event event);
void audit_commit(struct audit_queue *queue);
bool audit_wants(const struct audit_queue *queue, enum audit_event event);

/* ---- life: the main thread's ---------------------------------------------------------------- */

/* Opens the log of conf->audit and starts its thread, also where there is none to keep yet. False,
 * with the reason in err: it cannot be opened. */
bool audit_new(const struct conf *conf, unsigned n_queues, struct audit **out, char *err,
               size_t err_size);
/* NULL when audit is NULL. */
struct audit_queue *audit_queue(struct audit *audit, unsigned i);
/* After a rotation: the file is opened anew, by its thread. */
void audit_reopen(struct audit *audit);

/* Another configuration: what it names is opened first, which may fail, and taken then, which may
 * not. A file that another process has is waited for, as by audit_new. */
struct audit_change;
bool audit_prepare(const struct audit *a, const struct conf *conf, struct audit_change **out,
                   char *err, size_t err_size);
/* From now on these events count; the log goes on where conf says once what has been put in so far
 * is written, or cannot be. */
void audit_take(struct audit *a, struct audit_change **cp);
/* One that is not taken after all; NULL is fine. */
void audit_change_free(struct audit_change **cp);
/* For `pgusher check`: could the log be opened? Makes no file. */
bool audit_check(const struct conf *conf, char *err, size_t err_size);
/* What is in the queues is written first, unless the reader or the disk does not take it: then it
 * is given up after a few seconds, and the log says how much. Nobody may use a queue any more. */
void audit_free(struct audit **audit);

/* ---- looking: from any thread -------------------------------------------------------------- */

struct audit_counts {
	uint64_t written, dropped;
};
struct audit_counts audit_counts(struct audit_queue *queue);

#define AUDIT_LATEST 100
/* The latest events but for AUDIT_STATEMENTS, the oldest first; returns how many. */
size_t audit_latest(struct audit_queue *queue, struct audit_record *out, size_t max);

/* ---- `pgusher audit verify` ----------------------------------------------------------------- */

#define AUDIT_DIGEST_HEX 65 /* with its NUL */

struct audit_verdict {
	uint64_t n_lines;
	bool is_whole;
	uint64_t bad_line;            /* from 1; 0: none, the whole is at fault */
	char what[160];               /* why it is not whole */
	char first[AUDIT_DIGEST_HEX]; /* what the first line says of the line before it */
	char last[AUDIT_DIGEST_HEX]; /* the digest of the last whole line; "" where there is none */
};
/* Reads the stream to its end. after: the digest that the first line must carry, NULL: any. */
void audit_verify(FILE *in, const char *after, struct audit_verdict *out);
/* 64 hexadecimal digits, as the log spells them? */
bool audit_is_digest(const char *text);

#endif
