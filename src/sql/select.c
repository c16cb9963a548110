/* Is a text one SELECT? For SQL that the configuration has. Pure. */
#include <pg_query.h>
#include <string.h>

#include "base/mem.h"
#include "sql_int.h"

/* As keys of the tree: inside of a string of its own their quotes would be escaped. */
static bool has_other(const char *tree)
{
	static const char *const others[] = {
		"\"InsertStmt\":", "\"UpdateStmt\":", "\"DeleteStmt\":", "\"MergeStmt\":",
		"\"intoClause\":"};

	for (size_t i = 0; i < COUNT_OF(others); i++)
		if (strstr(tree, others[i]) != NULL)
			return true;
	return false;
}

bool sql_is_select(const char *text, size_t len)
{
	PgQueryParseResult result;
	const char *first;
	char *copy;
	bool is_select;

	if (len > SQL_TEXT_MAX || memchr(text, 0, len) != NULL || sql_text_is_deep(text, len))
		return false;
	copy = mem_strndup(text, len);
	result = pg_query_parse(copy);
	mem_free(copy);
	first = result.error == NULL ? sql_json_first(sql_json_get(result.parse_tree, "stmts"))
	                             : NULL;
	is_select = first != NULL && sql_json_next(first) == NULL &&
	            sql_json_get(sql_json_get(first, "stmt"), "SelectStmt") != NULL &&
	            !has_other(result.parse_tree);
	pg_query_free_parse_result(result);
	return is_select;
}
