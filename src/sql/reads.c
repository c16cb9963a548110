/* What a statement may hold and still do nothing but read, so that a replica can answer it and
 * nothing of it is missed on the primary. All names are judged by what is known; whatever is not
 * known reads and writes. Pure.
 *
 * A user's function is taken at its label, STABLE or IMMUTABLE: PostgreSQL lets it run no command
 * that writes, but does not look into what it calls. */
#include <string.h>

#include "base/mem.h"
#include "sql_int.h"

static const char *const same_on_replica[] = {
#define SAME_ON_REPLICA(name) #name,
#define OF_THE_SERVER(name)
#include "tbl/read_functions.h"
#undef SAME_ON_REPLICA
#undef OF_THE_SERVER
};
static const char *const of_the_server[] = {
#define SAME_ON_REPLICA(name)
#define OF_THE_SERVER(name) #name,
#include "tbl/read_functions.h"
#undef SAME_ON_REPLICA
#undef OF_THE_SERVER
};

static bool has_name(const char *const *names, size_t n, const char *name, size_t len)
{
	for (size_t i = 0; i < n; i++)
		if (strncmp(names[i], name, len) == 0 && names[i][len] == '\0')
			return true;
	return false;
}

static bool begins_with(const char *name, size_t len, const char *prefix)
{
	return len >= strlen(prefix) && memcmp(name, prefix, strlen(prefix)) == 0;
}

const char *sql_function_fault(const struct sql_function_name *f, unsigned facts)
{
	if ((facts & SQL_FUNCTION_KNOWN) == 0)
		return "calls a function that is not known";
	if (begins_with(f->name, f->len, "pg_stat_") ||
	    has_name(of_the_server, COUNT_OF(of_the_server), f->name, f->len))
		return "calls a function about the server or the session";
	if ((facts & SQL_FUNCTION_VOLATILE) == 0)
		return NULL;
	if ((facts & SQL_FUNCTION_USER) == 0 &&
	    has_name(same_on_replica, COUNT_OF(same_on_replica), f->name, f->len))
		return NULL;
	return "calls a volatile function";
}

const char *sql_relation_fault(const char *name, size_t len)
{
	static const char *const views[] = {
		"pg_available_extension_versions",
		"pg_available_extensions",
		"pg_backend_memory_contexts",
		"pg_config",
		"pg_cursors",
		"pg_file_settings",
		"pg_hba_file_rules",
		"pg_ident_file_mappings",
		"pg_locks",
		"pg_prepared_statements",
		"pg_prepared_xacts",
		"pg_replication_origin_status",
		"pg_replication_slots",
		"pg_sequences",
		"pg_settings",
		"pg_shmem_allocations",
	};

	/* All of the cumulative statistics, and what is in progress. pg_statistic is a table. */
	if (begins_with(name, len, "pg_stat_") || begins_with(name, len, "pg_statio_") ||
	    has_name(views, COUNT_OF(views), name, len))
		return "reads a view about the server or the session";
	return NULL;
}

/* The nodes that may be there, besides those that every query has: a CTE that writes, or whatever
 * else a later libpg_query calls a statement, is none of them. */
const char *sql_statement_fault(const struct sql_json_string *key, const char *value, bool is_top)
{
	if (SQL_NAME_IS(key->p, key->len, "SelectStmt"))
		return NULL;
	if (!is_top)
		return "holds a statement that is no query";
	if (SQL_NAME_IS(key->p, key->len, "ExplainStmt") ||
	    SQL_NAME_IS(key->p, key->len, "DeclareCursorStmt") ||
	    SQL_NAME_IS(key->p, key->len, "FetchStmt"))
		return NULL;
	if (!SQL_NAME_IS(key->p, key->len, "CopyStmt"))
		return "is no query";
	if (sql_json_is_true(sql_json_get(value, "is_from")) ||
	    sql_json_is_true(sql_json_get(value, "is_program")) ||
	    sql_json_get(value, "filename") != NULL)
		return "copies from the client, or to or from the server's files";
	return NULL;
}
