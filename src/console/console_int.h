/* What the console module's files share. */
#ifndef PGUSHER_CONSOLE_INT_H
#define PGUSHER_CONSOLE_INT_H

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "console.h"

#define CONSOLE_MAGIC 0xc0501e01
#define ROUND_MAGIC 0xc0501e02

#define SQLSTATE_SYNTAX_ERROR "42601"
#define SQLSTATE_NOT_IN_STATE "55000" /* object_not_in_prerequisite_state */
#define SQLSTATE_UNDEFINED_OBJECT "42704"

/* ---- parse.c: pure --------------------------------------------------------------------------- */

#define CONSOLE_ARG_MAX 64
#define CONSOLE_VALUE_MAX 256

enum console_command {
#define CONSOLE_COMMAND(name, verb, object, argument, access) COMMAND_##name,
#include "tbl/console_commands.h"
#undef CONSOLE_COMMAND
	COMMAND_SET,   /* a parameter that drivers set: ignored, as PgBouncer does */
	COMMAND_PARAM, /* SHOW of such a one */
	COMMAND_SET_OPTION,
	COMMAND_COUNT
};

struct command {
	enum console_command id;
	bool is_admins;            /* stats_users may not */
	char arg[CONSOLE_ARG_MAX]; /* unquoted; "" where there is none */
	const char *param;         /* COMMAND_SET, COMMAND_PARAM: its name ... */
	const char *value;         /* ... and what it is said to be */
	const char *statement;     /* COMMAND_EXPLAIN_ROUTE: in the text that was parsed */
	/* COMMAND_SET_OPTION: what arg is set to. */
	char setting[CONSOLE_VALUE_MAX];
};

enum parse { PARSE_OK, PARSE_EMPTY, PARSE_BAD };
enum parse console_parse(const char *text, struct command *out);

/* ---- rows.c ---------------------------------------------------------------------------------- */

enum column_type { COLUMN_TEXT, COLUMN_INT4, COLUMN_INT8, COLUMN_NUMERIC };

struct column {
	const char *name;
	enum column_type type;
};

void columns_put(struct buf *b, const struct column *columns, size_t n);

/* One DataRow: begin, a value for each column, end. */
struct row {
	struct buf *b;
	size_t at;
	unsigned n;
};
struct row row_begin(struct buf *b);
void row_text(struct row *r, const char *text); /* NULL: SQL's NULL */
void row_int(struct row *r, int64_t value);
void row_time(struct row *r, int64_t wall_s);
void row_end(struct row *r);

/* ---- rounds ---------------------------------------------------------------------------------- */

/* The sums over all workers of what one pool has. */
struct pool_sum {
	struct pool_info info; /* names, counters: not set */
	char database[CONSOLE_ARG_MAX * 2], user[CONSOLE_ARG_MAX * 2];
	struct counters now, older;
};

/* What one worker's pool, and in the end all of them, have of a tenant. */
struct tenant_sum {
	char tenant[32];
	struct tenant_info info; /* its name is not set */
};

struct round_totals {
	size_t n_clients, n_logins, n_consoles;
	size_t n_idle, n_active, n_dialing;
};

/* A command on its way: a letter that visits the workers one after the other, from the first to the
 * last, and comes home to the one whose client asked. So all workers see all rounds in one
 * order. */
struct round {
	uint32_t magic;
	struct mail mail;
	struct console_order order;
	const struct action *action;
	struct console *at, *home;
	bool has_asker, is_home;
	bool is_ordered; /* the main thread has been asked */
	bool is_settled; /* ... and all workers have done what it told them */
	bool with_columns;
	struct session_asker asker;
	struct command command;
	struct buf rows;
	bool is_error;
	/* What is collected on the way. */
	uint32_t *pids; /* of the worker's clients that are still to be looked at */
	size_t n_pids, next_pid;
	struct pool_sum *sums;
	size_t n_sums;
	struct tenant_sum *tenants;
	size_t n_tenants, tenants_room;
	struct round_totals totals;
	uint64_t guard_hits[SQL_N_RULES];
	size_t n_hit;        /* clients killed; servers that must be closed */
	struct list waiting; /* console.pausers, console.closers */
};

enum visit { VISIT_DONE, VISIT_MORE, VISIT_STOP };

/* How a command is carried out. */
struct action {
	const struct column *columns; /* NULL: it returns no rows */
	size_t n_columns;
	/* On each worker's thread; VISIT_MORE: again when the others on this worker had their turn;
	 * VISIT_STOP: straight home. NULL: the home worker knows all. */
	enum visit (*visit)(struct console *console, struct round *r);
	/* At home: false when the round was kept, to be finished by round_finish. */
	bool (*finish)(struct console *console, struct round *r);
	const char *tag;
};
extern const struct action *const console_actions[COMMAND_COUNT];

struct console {
	uint32_t magic;
	struct console_env env;
	bool is_stopped;
	/* Averages are taken since older_us. */
	int64_t older_us, newer_us;
	struct timer stats_timer; /* at the first worker */
	struct list pausers;      /* rounds of PAUSE that wait for servers to be closed */
	struct list closers;      /* those of WAIT_CLOSE, until they look again */
	struct timer pause_timer, close_timer;
};

struct console_shared {
	unsigned n_workers;
	struct console_main main;
	struct console **by_worker;
};

/* round.c */
struct round *round_new(struct console *home, const struct action *action,
                        const struct session_asker *asker);
/* Sends it on its way, or finishes it at once. */
void round_start(struct round *r);
/* Answers and frees it. */
void round_finish(struct round *r);
/* Goes round all workers and comes home once more: by then they have taken what was posted to them
 * before. */
void round_again(struct round *r);
void round_fail(struct round *r, const char *sqlstate, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* A slice of the clients of the worker at hand: the next one's process id, 0: no more in this
 * turn; then round_slice_ends says what the visit returns. */
uint32_t round_next_pid(struct console *console, struct round *r, unsigned *n);
enum visit round_slice_ends(struct round *r);
void round_add_pools(struct console *console, struct round *r);

/* show_*.c, act.c */
#define CONSOLE_ACTION(name) extern const struct action action_##name;
#define CONSOLE_COMMAND(name, verb, object, argument, access) CONSOLE_ACTION(name)
#include "tbl/console_commands.h"
#undef CONSOLE_COMMAND
CONSOLE_ACTION(SET)
CONSOLE_ACTION(PARAM)
CONSOLE_ACTION(SET_OPTION)
CONSOLE_ACTION(MARK_STATS)
CONSOLE_ACTION(SIGNAL_PAUSE)
CONSOLE_ACTION(SIGNAL_RESUME)

void act_poll_pausers(struct timer *timer);
void act_poll_closers(struct timer *timer);

#define ACTION_ROWS(name_, columns_, visit_, finish_)                                              \
	const struct action action_##name_ = {.columns = (columns_),                               \
	                                      .n_columns = COUNT_OF(columns_),                     \
	                                      .visit = (visit_),                                   \
	                                      .finish = (finish_),                                 \
	                                      .tag = "SHOW"}
#define ACTION(name_, visit_, finish_, tag_)                                                       \
	const struct action action_##name_ = {.visit = (visit_), .finish = (finish_), .tag = (tag_)}

#endif
