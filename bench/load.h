/* What the load generator's files share. One process owns its connections and runs them on one
 * thread; processes share only `struct result`, in memory that was mapped before the fork, each
 * writing its own. */
#ifndef PGUSHER_BENCH_LOAD_H
#define PGUSHER_BENCH_LOAD_H

#include <openssl/ssl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define US_PER_S 1000000ll
#define BODY_KEPT 768 /* of a message; more is stepped over */

/* ---- options ------------------------------------------------------------------------------- */

enum mode { MODE_IDLE, MODE_LOGINS, MODE_SEND };

/* A line of the file of secrets. */
struct secret {
	const char *password;
	const char *expected; /* first column of every row; NULL: not looked at */
};

struct options {
	enum mode mode;
	const char *host; /* a numeric address, or the directory of a unix socket */
	unsigned port;
	const char *user, *database, *sql;
	struct secret *secrets;
	size_t n_secrets;
	unsigned clients, processes, sources, in_flight;
	unsigned count; /* statements a client; 0: as many as `seconds` allow */
	double seconds, rate;
	bool tls;
};

/* ---- results ------------------------------------------------------------------------------- */

/* Latencies in microseconds, in 32 steps an octave: within 3 %. */
#define STEPS 32
#define OCTAVES 32
#define BUCKETS (STEPS * OCTAVES)

struct result {
	_Atomic int is_ready; /* every login was answered, one way or the other */
	uint64_t logged_in, login_errors;
	uint64_t answers, answers_in_time; /* statements, or logins in MODE_LOGINS */
	uint64_t errors, wrong, unanswered, silent;
	uint64_t answers_min, answers_max; /* of one client */
	uint64_t max_us;
	int64_t began_us, ended_us; /* of the logins of idle and send */
	char first_error[200];
	uint64_t buckets[BUCKETS];
};

void result_add_latency(struct result *r, int64_t us);
void result_error(struct result *r, const char *text);
int64_t now_us(void);

/* ---- one process ---------------------------------------------------------------------------- */

/* Runs clients first, first + step, ... of options; go: a pipe whose end says "begin". */
void worker_main(const struct options *options, struct result *result, unsigned first,
                 unsigned step, int go);

/* ---- one connection ------------------------------------------------------------------------- */

enum phase {
	PHASE_CONNECT,
	PHASE_TLS_ASKED,
	PHASE_TLS,
	PHASE_LOGIN,
	PHASE_READY,
	PHASE_BUSY,
	PHASE_BYE,
	PHASE_CLOSED
};

struct scram;
struct worker;

struct conn {
	struct worker *worker;
	unsigned index; /* among all clients */
	int fd;
	enum phase phase;
	SSL *ssl;
	const struct secret *secret;
	struct scram *scram;
	int64_t since_us; /* what is under way: from here its latency counts */
	int64_t due_us;   /* of its next statement */
	uint64_t answers;
	bool has_failed; /* the statement under way */
	uint8_t *out;
	size_t out_len, out_done;
	/* The message that is coming in. */
	uint8_t head[5];
	unsigned head_len;
	uint32_t body_left, body_len; /* body_len: kept */
	uint8_t body[BODY_KEPT + 1];
};

/* What the worker is told. */
struct conn_events {
	void (*on_ready)(struct conn *c); /* ReadyForQuery, also the first one */
	void (*on_row)(struct conn *c, const char *value, size_t len);
	void (*on_error)(struct conn *c, const char *text); /* ErrorResponse */
	/* in: the phase that it was closed in. It must not be opened again before the event is over,
	 * because the rest of what was read is still on its way. */
	void (*on_closed)(struct conn *c, enum phase in, const char *why);
};

struct conn_env {
	const struct options *options;
	const struct conn_events *events;
	SSL_CTX *tls; /* NULL: plain */
	int epoll;
};

/* The worker's first member. */
struct worker {
	struct conn_env env;
};

void conn_open(struct conn *c, const struct secret *secret);
void conn_query(struct conn *c);
/* Terminate; on_closed comes when the server has closed, too. */
void conn_bye(struct conn *c);
void conn_close(struct conn *c, const char *why);
void conn_event(struct conn *c, uint32_t events);

/* ---- SCRAM-SHA-256 --------------------------------------------------------------------------- */

/* The first message's text; free with scram_free. */
struct scram *scram_new(const char *password, char *first, size_t size);
/* The answer to server-first-message; NULL-terminated input. False: it makes no sense. */
bool scram_answer(struct scram *s, const char *server_first, char *final, size_t size);
void scram_free(struct scram **s);

#endif
