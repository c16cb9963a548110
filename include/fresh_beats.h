/* The heartbeats that were seen on the primary of one database, and what a path that shows one of
 * them has. Pure; one thread's. The algebra is at the head of src/fresh/fresh.c. */
#ifndef PGUSHER_FRESH_BEATS_H
#define PGUSHER_FRESH_BEATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BEATS_MAX 1024

struct beat {
	int64_t id;
	int64_t stamp_us; /* the primary's clock */
	int64_t has_us;   /* our monotonic clock: what was committed before is in front of it */
};

struct beats {
	struct beat all[BEATS_MAX]; /* by id */
	size_t n;
	int64_t asked_us; /* the last reading; FRESH_NEVER: none */
	int64_t clock_us; /* the primary's clock less ours, at most */
};

/* One answer of a node. */
struct beats_reading {
	int64_t asked_us; /* when the question was sent: our monotonic clock */
	int64_t clock_us; /* the node's clock at the answer */
	int64_t id;       /* the heartbeat; 0: there is none */
	int64_t stamp_us;
};

/* Forgets all: another node is the primary now, or it has another timeline. */
void beats_clear(struct beats *b);
/* An answer of the primary's. */
void beats_note(struct beats *b, const struct beats_reading *reading);
/* Has the primary not shown it yet? */
bool beats_is_ahead(const struct beats *b, int64_t id);
/* What a path has that shows this heartbeat: a time as beat.has_us; FRESH_NEVER: nothing that can
 * be said, because none is known yet or it is not of this primary's history. */
int64_t beats_find(const struct beats *b, int64_t id, int64_t stamp_us);

#endif
