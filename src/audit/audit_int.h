/* What the audit module's files share. */
#ifndef PGUSHER_AUDIT_INT_H
#define PGUSHER_AUDIT_INT_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "audit.h"
#include "base/buf.h"
#include "base/hash.h"

#define AUDIT_MAGIC 0xa0d17001u
#define AUDIT_QUEUE_MAGIC 0xa0d17002u

/* No line of ours is nearly as long. */
#define AUDIT_LINE_MAX 16384

/* ---- line.c: pure ------------------------------------------------------------------------ */

/* Appends the record as a line: {"prev":"<64 digits>", ... }\n */
void audit_line_put(struct buf *out, const struct audit_record *r,
                    const uint8_t prev[SHA256_BYTES]);
void audit_hex(char out[AUDIT_DIGEST_HEX], const uint8_t digest[SHA256_BYTES]);

/* ---- chain.c: pure ------------------------------------------------------------------------ */

/* What a line says of the one before it: 64 digits in the line. NULL: it is not one of ours. */
const char *audit_line_prev(const char *line, size_t len);
/* The same of a record "torn": the last whole line's digest. NULL: it is no such record. */
const char *audit_line_after(const char *line, size_t len);

/* ---- ring.c ------------------------------------------------------------------------------- */

struct audit_queue {
	uint32_t magic;
	_Atomic uint32_t events; /* 1 << enum audit_event; set by the main thread */
	struct audit *audit;
	struct audit_record *records;
	uint32_t size; /* a power of two */
	/* The producer's, on cache lines of its own. */
	uint8_t apart[64];
	_Atomic uint32_t head;
	uint32_t tail_seen;
	_Atomic uint64_t n_dropped;
	/* The writer's. */
	uint8_t apart_too[64];
	_Atomic uint32_t tail;
	uint64_t dropped_told;
};

struct audit_queue *audit_queue_new(struct audit *audit, uint32_t events, uint32_t size);
void audit_queue_free(struct audit_queue **qp);
/* The oldest record, until audit_queue_drop; NULL: empty. */
const struct audit_record *audit_queue_look(struct audit_queue *queue);
void audit_queue_drop(struct audit_queue *queue);
/* Records dropped since this was last asked. */
uint64_t audit_queue_dropped(struct audit_queue *queue);
/* writer.c: something was put into a queue. NULL is fine. */
void audit_wake(struct audit *audit);

/* ---- sink.c: where lines go ------------------------------------------------------------------ */

enum sink_kind { SINK_NONE, SINK_FILE, SINK_STDOUT, SINK_SYSLOG };

struct sink {
	enum sink_kind kind;
	const char *path; /* of the file or the socket; the owner's */
	int fd;           /* -1: it is not open (a file that another process has) */
	/* What the last sink_open found. */
	bool is_same;  /* the file that was open already */
	bool has_tail; /* there are lines: what the chain goes on from */
	uint8_t digest[SHA256_BYTES];
	uint8_t whole[SHA256_BYTES]; /* of its last whole line, where a torn one follows */
	uint64_t torn_bytes;
};

enum sink_open { SINK_OPENED, SINK_LOCKED, SINK_FAILED };
/* Opens what `file` of [audit] names, or opens it anew; on failure what was open stays, and why is
 * in err. The text stays the caller's. */
void sink_init(struct sink *sink, const char *file);
enum sink_open sink_open(struct sink *sink, char *err, size_t err_size);
void sink_close(struct sink *sink);
/* Could it be opened? Makes and locks nothing. */
bool sink_check(const struct sink *sink, char *err, size_t err_size);
/* Bytes that it took, 0: it takes none now, -1 with errno. */
ssize_t sink_write(struct sink *sink, const void *p, size_t len);

/* ---- writer.c: the thread's own -------------------------------------------------------------- */

#define AUDIT_BATCH 128
#define AUDIT_BATCH_OWN 5 /* the log's own: torn, started, dropped, changed, stopped */

struct audit {
	uint32_t magic;
	char *file;  /* as in the configuration; the sink's path points into it */
	char *named; /* the same, or what the next one is; the main thread's */
	struct sink sink;
	struct audit_change *_Atomic next; /* where the log goes on; NULL: here */
	_Atomic uint32_t events;           /* what the queues have */
	uint32_t events_told;
	struct audit_queue **queues;
	unsigned n_queues;
	pthread_t thread;
	int wake_fd, done_fd;
	_Atomic bool is_asleep, is_stopping, is_reopening;
	_Atomic uint64_t n_written, n_dropped;

	/* Records that are on their way out, and their lines. */
	struct audit_record batch[AUDIT_BATCH + AUDIT_BATCH_OWN];
	size_t ends[AUDIT_BATCH + AUDIT_BATCH_OWN]; /* of the lines in text */
	uint8_t digests[AUDIT_BATCH + AUDIT_BATCH_OWN][SHA256_BYTES];
	unsigned n_batch, n_done; /* of these, written */
	struct buf text;
	size_t n_sent;                /* of text */
	bool ends_torn;               /* a torn line must be ended first */
	uint8_t digest[SHA256_BYTES]; /* of the last line written */

	bool is_failing;
	int64_t retry_us;   /* how long to the next try */
	int64_t give_up_us; /* when stopping; 0: not yet */

	pthread_mutex_t latest_lock;
	struct audit_record latest[AUDIT_LATEST];
	uint64_t n_latest; /* ever */
};

void *audit_writer(void *arg);
/* The record becomes the first one of the batch. */
void audit_insert(struct audit *a, const struct audit_record *r);
void audit_insert_torn(struct audit *a);
/* One try to write the batch. */
void audit_send_once(struct audit *a);
bool audit_has_records(struct audit *a);
/* Before its thread runs, or on it: */
enum sink_open audit_open(struct audit *a, char *err, size_t err_size);
void audit_append(struct audit *a, const struct audit_record *r);
void audit_say(struct audit *a, const char *reason, uint64_t n);
void audit_render(struct audit *a);
/* From any thread. */
void audit_order(struct audit *a, _Atomic bool *what);
void audit_wake_always(struct audit *a);

/* ---- change.c -------------------------------------------------------------------------------- */

struct audit_change {
	char *file;
	bool is_elsewhere; /* else only the events change */
	struct sink sink;
	uint32_t events;
};

uint32_t audit_event_bits(const struct conf_audit *conf);
/* The writer's: goes on elsewhere if that is asked for, and due. */
void audit_switch(struct audit *a);
void audit_say_events(struct audit *a, const char *reason);

/* ---- audit.c: a log without its thread, for tests ------------------------------------------- */

struct audit *audit_make(const char *file, uint32_t events, unsigned n_queues, uint32_t n_records);
void audit_start(struct audit *a);

#endif
