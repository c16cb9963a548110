/* How fresh each path is. A path is a node as one [database] reaches it; nothing here knows how.
 * One writer, the probe; read by every worker without a lock. Pure but for the atomics; src/fresh
 * says why the lag is a bound. Times are microseconds, on our own monotonic clock unless it says
 * whose. */
#ifndef PGUSHER_FRESH_H
#define PGUSHER_FRESH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"

#define FRESH_NEVER INT64_MIN    /* as has_us, seen_us: not yet, or not any more */
#define FRESH_INFINITE INT64_MAX /* as a lag */
#define FRESH_NO_PATH (-1)

enum fresh_role { FRESH_UNKNOWN, FRESH_PRIMARY, FRESH_REPLICA, FRESH_ANALYTICS };
const char *fresh_role_name(enum fresh_role role);

/* Why no lag is known: FRESH_FAULT(NAME, "word", "what to do about it") */
#define FRESH_FAULTS(FRESH_FAULT)                                                                  \
	FRESH_FAULT(NONE, "ok", "")                                                                \
	FRESH_FAULT(NO_ROLE, "no probe_role", "set probe_role in [freshness]")                     \
	FRESH_FAULT(NO_DBNAME, "no dbname", "[database *] needs a dbname to be measured")          \
	FRESH_FAULT(NEW, "not asked yet", "")                                                      \
	FRESH_FAULT(DOWN, "down", "the log says why the probe cannot log in")                      \
	FRESH_FAULT(NO_TABLE, "no heartbeat table", "deploy sql/ to the primary")                  \
	FRESH_FAULT(                                                                               \
		NO_GRANT, "no grant on the heartbeat table",                                       \
		"grant SELECT, INSERT, UPDATE on it, and USAGE on its sequence, to probe_role")    \
	FRESH_FAULT(BAD_TABLE, "the heartbeat table cannot be written",                            \
	            "it needs a unique index on source; the log has the server's words")           \
	FRESH_FAULT(NO_BEAT, "no heartbeat yet", "")                                               \
	FRESH_FAULT(NO_PRIMARY, "no primary", "no node of the database answers as a primary")      \
	FRESH_FAULT(FOREIGN, "heartbeats of another history",                                      \
	            "it does not follow the primary: rebuild it or point it there")

enum fresh_fault {
#define FRESH_FAULT(name, word, hint) FRESH_##name,
	FRESH_FAULTS(FRESH_FAULT)
#undef FRESH_FAULT
};
const char *fresh_fault_word(enum fresh_fault fault);
const char *fresh_fault_hint(enum fresh_fault fault);

/* What is known of a path, as the probe writes it. */
struct fresh_view {
	enum fresh_role role; /* as it last said; it stays when the node falls silent */
	enum fresh_fault fault;
	int64_t has_us;    /* all that was committed on the primary before this is there */
	int64_t seen_us;   /* when its last answer was asked for */
	int64_t beat_id;   /* the newest heartbeat seen there; 0: none */
	int64_t beat_us;   /* its timestamp: the primary's clock, since 1970 */
	int64_t clock_us;  /* the node's clock less ours, at most; exact to one round trip */
	uint64_t position; /* of the WAL: written by a primary, replayed by the others */
	uint32_t timeline;
};

struct fresh;
/* One path for each node of each [database] of conf, of which a reference is taken. */
struct fresh *fresh_new(struct conf *conf);
void fresh_free(struct fresh **fp);

/* ---- any thread ----------------------------------------------------------------------------- */

/* Paths are 0 .. count - 1, those of one database in a row and in the order of its nodes. */
size_t fresh_count(const struct fresh *fresh);
const struct conf_database *fresh_database(const struct fresh *fresh, size_t path);
const struct conf_node *fresh_node(const struct fresh *fresh, size_t path);
/* Of its node, by the newest configuration that fresh_take_weights was given. */
int fresh_weight(const struct fresh *fresh, size_t path);
void fresh_take_weights(struct fresh *fresh, const struct conf *conf);
/* The first path of this database, or FRESH_NO_PATH. */
int fresh_find(const struct fresh *fresh, const struct conf_database *database);
/* The same by the section's name, in whichever configuration; *n: how many paths it has. */
int fresh_find_name(const struct fresh *fresh, const char *section, size_t *n);

/* The path's data may be older than this, never more: FRESH_INFINITE when nothing is known. It
 * grows by itself while the path, the primary or the probe is silent. */
int64_t fresh_lag_us(const struct fresh *fresh, size_t path, int64_t now_us);
/* Is all there that was committed on the primary before since_us? For read-your-writes: the time
 * at which the COMMIT's answer came. */
bool fresh_has(const struct fresh *fresh, size_t path, int64_t since_us);
/* Two of the fields below, without the others. */
enum fresh_role fresh_role(const struct fresh *fresh, size_t path);
enum fresh_fault fresh_fault(const struct fresh *fresh, size_t path);
/* All of it at one moment. */
void fresh_look(const struct fresh *fresh, size_t path, struct fresh_view *view);
/* The path that is the primary of the database of `first` (fresh_find), or FRESH_NO_PATH. Where
 * several say that they are, the one with the highest timeline; of those the one that has not
 * been silent for FRESH_CONTEST_US, then that with the furthest position. *is_contested (unless
 * NULL): two of them have answered within FRESH_CONTEST_US. */
#define FRESH_CONTEST_US (5 * INT64_C(1000000))
int fresh_primary(const struct fresh *fresh, size_t first, bool *is_contested);
/* Two of them have said so within FRESH_CONTEST_US, on one timeline: each may have what the other
 * has not, and nothing can tell which one counts. One that falls silent still counts that long. */
bool fresh_is_undecided(const struct fresh *fresh, size_t first);
/* At the start: not every node has been heard of, and one that has not may be the primary, though
 * another says that it is. */
bool fresh_is_unsettled(const struct fresh *fresh, size_t first);

/* What is asked of an answer: whose defaults are the ini's, then the token's claims, then the
 * session's settings, then the statement's comment. */
struct fresh_wish {
	enum conf_consistency consistency;
	int64_t max_lag_us; /* the budget of CONF_CONSISTENCY_BOUNDED */
	enum conf_read_your_writes read_your_writes;
};

/* ---- what workers tell each other ------------------------------------------------------------ */

/* Somebody could not be served there: no reads go to it until the probe has had an answer that it
 * asked for later. */
void fresh_leave_out(struct fresh *fresh, size_t path, int64_t now_us);
bool fresh_is_left_out(const struct fresh *fresh, size_t path);

/* When a tenant last wrote, of all sessions of this process. Some tenants share a place: then both
 * have written at the later time, which is on the safe side. */
uint64_t fresh_writer(uint64_t database, const char *tenant);
/* The first of these: of the database that clients of the path's section know by this name, the
 * same for all sections that lead to one of its dbname; 0: none of those has several nodes, so
 * nobody will ask. */
uint64_t fresh_written_database(const struct fresh *fresh, size_t path, const char *name);
void fresh_note_write(struct fresh *fresh, uint64_t writer, int64_t now_us);
int64_t fresh_last_write(const struct fresh *fresh, uint64_t writer);

/* Reads that went to this path; and those that would have gone to a replica, had one been fresh
 * enough (they count at the primary). For the console. */
void fresh_count_read(struct fresh *fresh, size_t path, bool is_fallback);
void fresh_counts(const struct fresh *fresh, size_t path, uint64_t *reads, uint64_t *fallbacks);

/* ---- the writer ------------------------------------------------------------------------------ */

void fresh_set(struct fresh *fresh, size_t path, const struct fresh_view *view);
void fresh_set_unsettled(struct fresh *fresh, size_t first, bool is_unsettled);

#endif
