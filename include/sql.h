/* What a statement is, by PostgreSQL's own parser (libpg_query), remembered by normalised text.
 * Pure: no I/O, no clock. A cache belongs to one thread. */
#ifndef PGUSHER_SQL_H
#define PGUSHER_SQL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "sql_guard.h"

/* The statement's part in transaction control; everything else is SQL_DATA. */
enum sql_kind {
	SQL_EMPTY,    /* nothing, or only a comment */
	SQL_DATA,     /* may read or write data: needs the tenant context */
	SQL_BEGIN,    /* BEGIN, START TRANSACTION */
	SQL_COMMIT,   /* COMMIT, END */
	SQL_ROLLBACK, /* ROLLBACK, ABORT */
	SQL_COMMIT_CHAIN,
	SQL_ROLLBACK_CHAIN,
	SQL_SAVEPOINT,
	SQL_RELEASE,
	SQL_ROLLBACK_TO,
	SQL_PREPARE_TRANSACTION,
	SQL_SET_TRANSACTION, /* SET TRANSACTION, SET CONSTRAINTS: passes before the context */
	SQL_SHOW,            /* SHOW of a server's own setting: passes before the context */
	SQL_COPY_IN,         /* COPY ... FROM STDIN: SQL_DATA that asks the client for data */
	SQL_NO_TRANSACTION,  /* cannot run in a transaction block: VACUUM, CREATE DATABASE, ... */
	SQL_OWN,             /* sql_read_own's: never sent, and never sql_classify's answer */
	SQL_UNPARSED,        /* the parser does not know it: treated as SQL_DATA and SQL_OPAQUE */
};

/* Independent facts. */
enum sql_bits {
	SQL_BARE = 1u << 0,         /* SQL_BEGIN without any option */
	SQL_SETS_SESSION = 1u << 1, /* SET, RESET, set_config(.., false): outlives transactions;
	                              which ones, sql_info.settings tells */
	SQL_RESETS_ALL = 1u << 2,   /* RESET ALL, DISCARD ALL: takes the context away too */
	SQL_MAKES_STATE = 1u << 3,  /* temp table, cursor WITH HOLD, LISTEN, session advisory lock,
	                              PREPARE, LOAD, a setting that is more than its value:
	                              lives on in the server's session */
	SQL_OPAQUE = 1u << 4,       /* runs code we cannot see into: CALL, DO, EXECUTE of SQL text,
	                              a function that runs SQL text */
	SQL_ENDS_INSIDE = 1u << 5,  /* may commit inside: CALL, DO */
	SQL_NAMES_PREPARED = 1u << 6, /* SQL EXECUTE, DEALLOCATE */
	SQL_DISCARDS = 1u << 7,       /* DISCARD ALL, DEALLOCATE ALL: forgets prepared statements */
	SQL_START_WORD = 1u << 8,     /* spelled START TRANSACTION (its command tag differs) */
	SQL_ALTERS = 1u << 9,         /* what statements behind it in the session mean, or how they
	                                 are planned, may change: SET [LOCAL], a temporary table */
	SQL_READ_ONLY = 1u << 10, /* reads and does nothing else: a standby can run it, and nothing
	                                 of it is missed on the primary. With SQL_OPAQUE: it calls a
	                                 user's function that is not volatile. DECLARE and FETCH
	                                 too: their cursor lives where the transaction is. */
	SQL_BEGINS_READ_ONLY = 1u << 11, /* SQL_BEGIN with READ ONLY, and not SERIALIZABLE */
	SQL_ONLY_SETS = 1u << 12,        /* SET, SET LOCAL, RESET: of a setting, which is no data */
	SQL_DEFINES = 1u << 13, /* CREATE, ALTER of what others name: the catalogue is old */
	SQL_DROPS = 1u << 14,   /* DROP of what others name */
	/* With SQL_MAKES_STATE: what. */
	SQL_STATE_TEMP = 1u << 24,
	SQL_STATE_LISTEN = 1u << 25,
	SQL_STATE_LOCK = 1u << 26,
	SQL_STATE_CURSOR = 1u << 27,
	SQL_STATE_PREPARED = 1u << 28,
	SQL_STATE_SETTING = 1u << 29,
	SQL_STATE_OTHER = 1u << 30,
	SQL_ENDS_STATE = 1u << 31, /* may take some of it away: DROP, UNLISTEN, CLOSE ... */
};

#define SQL_STATE_KINDS 0x7f000000u

struct sql_stmt {
	enum sql_kind kind;
	uint32_t bits; /* enum sql_bits */
	/* Of its whole text, where that is one statement: sql_info.fingerprint. */
	uint64_t fingerprint;
	/* Where it is in the text, without the semicolon; only where n_stmts > 1. */
	uint32_t start_bytes, len_bytes;
	uint64_t savepoint; /* of SAVEPOINT, RELEASE, ROLLBACK TO: stands for its name */
	/* Of RESET, SET [LOCAL] TO DEFAULT: sql_setting_key of the setting; else 0. */
	uint64_t resets;
};

struct sql_info {
	unsigned n_stmts; /* 0: nothing but white space and comments */
	const struct sql_stmt *stmts;
	const struct sql_refusal *refusal; /* NULL: allowed; holds as long as stmts does */
	/* With SQL_SETS_SESSION: the settings that it may have set for the session when it has run,
	 * "name\0" repeated. RESET ALL names none. */
	const char *settings;
	size_t settings_len;
	/* The same for texts that differ in literals, comments and white space only, in every
	 * process; never 0. Literals are not in it. */
	uint64_t fingerprint;
};

/* Longer texts are refused by the session before they get here. */
#define SQL_TEXT_MAX (16u << 20)

struct sql_cache;
/* protected: names of settings that no client may change, NULL-terminated, copied.
 * max_entries: statements remembered, least recently used out first. */
struct sql_cache *sql_cache_new(const char *const *protected_settings, size_t max_entries);
void sql_cache_free(struct sql_cache **cache);

/* Never NULL; belongs to the cache and holds until the next call. The text need not be
 * NUL-terminated; one with a NUL byte inside is SQL_UNPARSED. The calling thread needs a stack
 * of 2 MB: the parser recurses, and texts that nest too deep for that are SQL_UNPARSED. */
const struct sql_info *sql_classify(struct sql_cache *cache, const char *text, size_t len);

/* What statements with a parameter of this type do beside: SQL_OPAQUE, or 0. */
uint32_t sql_parameter_bits(struct sql_cache *cache, uint32_t type);

/* Why a statement is not SQL_READ_ONLY. */
struct sql_why {
	const char *what; /* what it does, behind "it "; NULL: it is */
	char name[64];    /* of what; "": nothing that has a name */
};
/* Of the first statement of the text that is not. Costs a parse each time: for who asks. */
void sql_why_not_read_only(struct sql_cache *cache, const char *text, size_t len,
                           struct sql_why *why);

/* A function that a text calls by its name. */
struct sql_call {
	char schema[64], name[64]; /* as written and folded, cut; schema: "" where there is none */
	unsigned facts;            /* enum sql_function_facts */
};
/* All of them, in order, each once; appended to calls. A parse, too. */
void sql_calls(struct sql_cache *cache, const char *text, size_t len, struct buf *calls);

/* Is the text one SELECT, without a statement in it that changes rows or makes a table? Nothing is
 * said of the functions that it calls. Needs no cache, and a parse. */
bool sql_is_select(const char *text, size_t len);

/* For people. Of the lowest of the bits; NULL: nothing that they need to know. */
const char *sql_kind_words(enum sql_kind kind);
const char *sql_bit_words(uint32_t bits);

/* What texts that differ in their literals have in common, with a NUL, appended to out: ? stands
 * for a literal, white space and comments are one blank. Statements whose literals matter (SET,
 * DO, CREATE ...) keep them: for who sent it, not for logs. */
void sql_normal_text(const char *text, size_t len, struct buf *out);

/* The name in `DEALLOCATE [PREPARE] name`, as PostgreSQL folds it, with a NUL. False for any
 * other text, ALL included, and for a name that does not fit. */
bool sql_deallocate_name(const char *text, size_t len, char *name, size_t size);

/* True where the same text may mean something else to each session that parses it: it holds a date
 * that hangs on when that is ('now', 'today'), or names a cursor or an SQL PREPARE. */
bool sql_is_personal(const char *text, size_t len);
/* False for settings that change neither what statements mean nor how they are planned. */
bool sql_setting_alters(const char *name);
/* Stands for the setting's name, which PostgreSQL reads without case; never 0. */
uint64_t sql_setting_key(const char *name, size_t len);

/* A statement about one of PgUsher's own settings, and nothing else:
 *   SET [SESSION | LOCAL] usher.x { = | TO } { 'value' | word | number | DEFAULT }
 *   RESET usher.x, SHOW usher.x
 *   SELECT current_setting('usher.x' [, missing_ok]), SELECT set_config('usher.x', 'value', local)
 * usher.token takes only 'value' or DEFAULT, and none of the functions. */
#define SQL_OWN_NAME_MAX 64
enum sql_own_verb {
	SQL_OWN_SET,
	SQL_OWN_RESET,
	SQL_OWN_SHOW,
	SQL_OWN_CURRENT_SETTING,
	SQL_OWN_SET_CONFIG,
};
struct sql_own {
	enum sql_own_verb verb;
	bool is_local, is_missing_ok;
	char name[SQL_OWN_NAME_MAX]; /* what is behind usher. in lower case */
	const char *value;           /* in the text, not NUL-terminated; NULL: the default */
	size_t len;
};
/* False for any other text. A statement of this kind is not for sql_classify. */
bool sql_read_own(const char *text, size_t len, struct sql_own *own);

struct sql_cache_stats {
	uint64_t hits, misses, parse_errors;
	size_t entries, bytes;
};
void sql_cache_stats(const struct sql_cache *cache, struct sql_cache_stats *out);

/* True where startup options or parameters name a setting that clients may not touch: the
 * protected ones, role, session_authorization, row_security and session_replication_role.
 * Compared as PostgreSQL does, without case. Settings that only some values are refused of
 * (client_encoding, standard_conforming_strings) are not among them: classify a SET of them. */
bool sql_is_protected_setting(const struct sql_cache *cache, const char *name);

#endif
