/* The guard: which statements tenants may not send, and how strict it is. The rules are the rows of
 * tbl/guard_rules.h. Pure, as all of sql.h. */
#ifndef PGUSHER_SQL_GUARD_H
#define PGUSHER_SQL_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sql_cache;

/* A rule holds in its own mode and in all that follow. */
enum sql_guard_mode { SQL_GUARD_OFF, SQL_GUARD_STANDARD, SQL_GUARD_STRICT };

enum sql_rule {
	SQL_RULE_NONE, /* a syntax error, which is no rule's */
#define GUARD_RULE(id, name, rows, mode, sqlstate, message, hint, looks_for) SQL_RULE_##id,
#include "tbl/guard_rules.h"
#undef GUARD_RULE
	SQL_N_RULES
};

/* Why a statement is refused. */
struct sql_refusal {
	enum sql_rule id;
	const char *rule;     /* its name, e.g. "tenant_setting" */
	const char *message;  /* for the client */
	const char *hint;     /* NULL: none */
	const char *sqlstate; /* e.g. 42501 */
	unsigned position;    /* in characters of the text from 1, for the client; 0: none */
};

struct sql_rule_info {
	struct sql_refusal refusal; /* what clients get */
	enum sql_guard_mode mode;   /* the weakest in which it holds */
	const char *rows;           /* of isolation.md */
	const char *looks_for;
};
/* Of every rule but SQL_RULE_NONE. */
const struct sql_rule_info *sql_rule_info(enum sql_rule id);

struct sql_guard {
	enum sql_guard_mode mode;
	/* Comma lists of names, perhaps with a schema; no case; NULL: none. allow takes functions
	 * from the rules of strict and from the catalogue's; deny refuses them in standard and
	 * strict. A name without a schema stands for the function in any schema. With one, allow
	 * means calls that name the schema, and deny also those that name none. */
	const char *allow_functions, *deny_functions;
	/* The operator's word that they leave nothing in the session; as allow. */
	const char *trusted_functions;
};
/* False, with the reason: a list is malformed, or allows what no list may. */
bool sql_guard_check_list(const char *list, bool is_allow, char *why, size_t size);

/* Forgets what is remembered. A new cache is in SQL_GUARD_STANDARD. The strings are copied. */
void sql_cache_set_guard(struct sql_cache *cache, const struct sql_guard *guard);

/* What is known of the functions of a name, all of them together. */
enum sql_function_facts {
	SQL_FUNCTION_KNOWN = 1u << 0,
	SQL_FUNCTION_USER = 1u << 1,         /* one of them is not PostgreSQL's own */
	SQL_FUNCTION_VOLATILE = 1u << 2,     /* one of them is volatile */
	SQL_FUNCTION_SETS_CONTEXT = 1u << 3, /* one has a SET clause for the tenant context */
	SQL_FUNCTION_OPAQUE = 1u << 4,       /* one may leave something in the session */
	SQL_FUNCTION_DEFINER = 1u << 5,      /* one is volatile and SECURITY DEFINER */
	SQL_FUNCTION_OF_ROW = 1u << 6,       /* one can be called as a row's column */
	/* Of what is behind a relation: */
	SQL_FUNCTION_ON_WRITE = 1u << 7,  /* runs when the relation is written to, not when read */
	SQL_FUNCTION_NOT_THERE = 1u << 8, /* no code: a standby cannot read it as the primary can */
};

struct sql_catalog_row;

/* A snapshot of the server's functions. */
struct sql_functions {
	const void *snapshot;
	/* enum sql_function_facts; schema: NULL where the call names none. */
	unsigned (*find)(const void *snapshot, const char *schema, const char *name);
	/* The rows of this name, functions or not, one by one: the first behind NULL; NULL behind
	 * the last. NULL: nothing is known of anything but functions. */
	const struct sql_catalog_row *(*next)(const void *snapshot, const char *name,
	                                      const struct sql_catalog_row *row);
};
/* Forgets what is remembered. NULL: nothing is known, and no function counts as unknown. The
 * struct is copied; the snapshot has to live until the next call or the cache's end. A call of one
 * that is SQL_FUNCTION_OPAQUE or unknown makes its statement SQL_OPAQUE. */
void sql_cache_set_functions(struct sql_cache *cache, const struct sql_functions *functions);

#endif
