/* Tables of names: functions that the guard and the pool must know, and the words that plain
 * statements start with. Pure. */
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sql_int.h"

struct function_name {
	const char *name; /* lower case */
	uint8_t len;
	bool is_prefix;
	uint8_t bits;
};

#define NAME(lit) lit, sizeof(lit) - 1, false
#define PREFIX(lit) lit, sizeof(lit) - 1, true
#define RUNS (SQL_FUNC_RUNS_SQL | SQL_FUNC_OPAQUE)

static const struct function_name functions[] = {
	{NAME("set_config"), SQL_FUNC_SET_CONFIG},
	{NAME("query_to_xml"), RUNS},
	{NAME("query_to_xmlschema"), RUNS},
	{NAME("query_to_xml_and_xmlschema"), RUNS},
	{NAME("ts_stat"), RUNS},
	{NAME("ts_rewrite"), RUNS | SQL_FUNC_SECOND},
	{NAME("xpath_table"), RUNS}, /* contrib/xml2 */
	{PREFIX("crosstab"), RUNS},  /* contrib/tablefunc */
	{NAME("connectby"), RUNS},
	/* Connections that dblink opens outlive the transaction. */
	{PREFIX("dblink"), RUNS | SQL_FUNC_STATE},
	{NAME("cursor_to_xml"), SQL_FUNC_OPAQUE},
	{NAME("pg_advisory_lock"), SQL_FUNC_STATE | SQL_FUNC_LOCK},
	{NAME("pg_advisory_lock_shared"), SQL_FUNC_STATE | SQL_FUNC_LOCK},
	{NAME("pg_try_advisory_lock"), SQL_FUNC_STATE | SQL_FUNC_LOCK},
	{NAME("pg_try_advisory_lock_shared"), SQL_FUNC_STATE | SQL_FUNC_LOCK},
	{PREFIX("pg_advisory_unlock"), SQL_FUNC_UNLOCK},
	{NAME("pg_replication_origin_session_setup"), SQL_FUNC_STATE},
	/* With temporary => true the slot is the session's. */
	{NAME("pg_create_logical_replication_slot"), SQL_FUNC_STATE},
	{NAME("pg_create_physical_replication_slot"), SQL_FUNC_STATE},
};

unsigned sql_function_bits(const char *name, size_t len)
{
	char first = len > 0 ? name[0] | 0x20 : 0;

	for (size_t i = 0; i < COUNT_OF(functions); i++) {
		const struct function_name *f = &functions[i];

		if (f->name[0] != first || len < f->len || (len > f->len && !f->is_prefix))
			continue;
		if (strncasecmp(name, f->name, f->len) == 0)
			return f->bits;
	}
	return 0;
}

bool sql_name_keeps_literals(const char *name, size_t len)
{
	/* Most identifiers end here: the shortest such name is dblink, and there are none with
	 * other initials. test_normalise.c tries every name of the table. */
	static const bool initials[256] = {
		['c'] = true, ['d'] = true, ['q'] = true, ['s'] = true, ['t'] = true, ['x'] = true,
		['C'] = true, ['D'] = true, ['Q'] = true, ['S'] = true, ['T'] = true, ['X'] = true,
	};

	if (len < 6 || !initials[(uint8_t)name[0]])
		return false;
	return (sql_function_bits(name, len) & (SQL_FUNC_SET_CONFIG | SQL_FUNC_RUNS_SQL)) != 0;
}

/* Statements whose literals cannot change what they are: reads, writes of rows, and what runs
 * something prepared before. Not SET, DO, CREATE, ALTER, PREPARE, DECLARE and so on. */
bool sql_word_is_plain_start(const char *word, size_t len)
{
	static const struct {
		char text[8];
		uint8_t len;
	} words[] = {
		{"select", 6}, {"insert", 6}, {"update", 6},  {"delete", 6}, {"with", 4},
		{"values", 6}, {"table", 5},  {"merge", 5},   {"copy", 4},   {"explain", 7},
		{"fetch", 5},  {"move", 4},   {"execute", 7}, {"call", 4},
	};

	for (size_t i = 0; i < COUNT_OF(words); i++)
		if (words[i].len == len && strncasecmp(word, words[i].text, len) == 0)
			return true;
	return false;
}

/* An extension's own, "my.setting", is nothing that the parser or the planner looks at. */
bool sql_setting_alters(const char *name)
{
	static const char *const harmless[] = {
		"application_name",
		"client_min_messages",
		"deadlock_timeout",
		"default_transaction_deferrable",
		"default_transaction_isolation",
		"default_transaction_read_only",
		"idle_in_transaction_session_timeout",
		"idle_session_timeout",
		"lock_timeout",
		"log_min_duration_statement",
		"log_statement",
		"statement_timeout",
		"synchronous_commit",
		"transaction_timeout",
	};

	for (size_t i = 0; i < COUNT_OF(harmless); i++)
		if (strcasecmp(name, harmless[i]) == 0)
			return false;
	return strchr(name, '.') == NULL;
}

uint64_t sql_setting_key(const char *name, size_t len)
{
	char lower[64]; /* PostgreSQL's NAMEDATALEN: longer names may share a key */
	size_t n = len < sizeof(lower) ? len : sizeof(lower);

	for (size_t i = 0; i < n; i++)
		lower[i] = (char)(name[i] >= 'A' && name[i] <= 'Z' ? name[i] + 'a' - 'A' : name[i]);
	return hash_bytes(lower, n) | 1;
}

bool sql_any_runs_sql(bool (*match)(const char *name, const void *arg), const void *arg)
{
	for (size_t i = 0; i < COUNT_OF(functions); i++)
		if ((functions[i].bits & SQL_FUNC_RUNS_SQL) != 0 && match(functions[i].name, arg))
			return true;
	return false;
}
