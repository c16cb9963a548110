/* Reads constants and arguments from libpg_query's tree. Pure.
 *
 * A value counts as constant only where nothing that the server does later can change it. */
#include <stdio.h>
#include <string.h>

#include "sql_int.h"

/* Casts of casts are followed this far: each is a pass over what it casts. */
#define CASTS_MAX 2

static const char *string_of(const char *node)
{
	return sql_json_get(sql_json_get(node, "String"), "sval");
}

/* Whether the TypeCast leaves its text as it is: 'x'::varchar(1) does not. Nor may 'x'::text: types
 * in pg_temp come before those of pg_catalog, and anybody can make one there whose cast to
 * PostgreSQL's text returns what he likes. (The grammar itself writes pg_catalog.varchar.) */
static bool cast_keeps_text(const char *cast)
{
	const char *type = sql_json_get(cast, "typeName");
	const char *schema, *name;

	if (sql_json_get(type, "typmods") != NULL || sql_json_get(type, "arrayBounds") != NULL)
		return false;
	schema = sql_json_first(sql_json_get(type, "names"));
	name = schema != NULL ? sql_json_next(schema) : NULL;
	if (name == NULL || sql_json_next(name) != NULL ||
	    !sql_json_is(string_of(schema), "pg_catalog"))
		return false;
	return sql_json_is(string_of(name), "text") || sql_json_is(string_of(name), "varchar");
}

bool sql_read_constant(const char *node, struct buf *out)
{
	const char *cast, *constant;
	struct sql_json_string s;

	for (int casts = 0; (cast = sql_json_get(node, "TypeCast")) != NULL; casts++) {
		if (casts == CASTS_MAX || !cast_keeps_text(cast))
			return false;
		node = sql_json_get(cast, "arg");
	}
	constant = sql_json_get(node, "A_Const");
	if (sql_json_string(sql_json_get(sql_json_get(constant, "sval"), "sval"), &s) ||
	    sql_json_string(sql_json_get(sql_json_get(constant, "fval"), "fval"), &s)) {
		sql_json_decode(&s, out);
		return true;
	}
	if (sql_json_get(constant, "ival") != NULL) {
		long value = sql_json_int(sql_json_get(sql_json_get(constant, "ival"), "ival"), 0);
		char digits[24];
		int len = snprintf(digits, sizeof(digits), "%ld", value);

		buf_put(out, digits, (size_t)len + 1);
		return true;
	}
	return false;
}

const char *sql_call_args(const char *call)
{
	return sql_json_is_true(sql_json_get(call, "func_variadic"))
	               ? NULL
	               : sql_json_first(sql_json_get(call, "args"));
}
