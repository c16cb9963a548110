/* Code by the back door: a statement runs users' functions that it does not name. A row's function
 * may be written as its column, an operator or a cast has one, a view calls some, and what is
 * written to a table passes triggers, defaults, checks and policies. The catalogue has a row for
 * each; names count in whichever schema, for the search path is not known here. Pure. */
#include <stdio.h>

#include "sql_catalog.h"
#include "sql_int.h"

static bool is_trusted(const struct sql_rules *rules, const struct sql_catalog_row *row)
{
	if (row->via != NULL)
		return sql_guard_trusts(rules, row->via_schema, row->via);
	return sql_guard_trusts(rules, row->schema, row->name);
}

static unsigned facts_behind(const struct sql_rules *rules, unsigned things, const char *name,
                             size_t len)
{
	const struct sql_functions *functions = &rules->functions;
	const struct sql_catalog_row *row = NULL;
	unsigned facts = 0;
	char text[64];

	if (functions->next == NULL || len >= sizeof(text))
		return 0;
	snprintf(text, sizeof(text), "%.*s", (int)len, name);
	while ((row = functions->next(functions->snapshot, text, row)) != NULL) {
		unsigned more = row->facts;

		if ((things & 1u << row->thing) == 0 ||
		    (row->thing == SQL_THING_FUNCTION && (more & SQL_FUNCTION_OF_ROW) == 0))
			continue;
		if ((more & SQL_FUNCTION_OPAQUE) != 0 && is_trusted(rules, row))
			more &= ~(unsigned)SQL_FUNCTION_OPAQUE;
		/* What only writing runs says nothing of what reading runs. */
		if ((more & SQL_FUNCTION_ON_WRITE) != 0)
			more = (more & SQL_FUNCTION_OPAQUE) != 0 ? SQL_FUNCTION_ON_WRITE : 0;
		facts |= more;
	}
	return facts;
}

unsigned sql_behind(const struct sql_rules *rules, unsigned things,
                    const struct sql_json_string *name)
{
	struct buf decoded = {0};
	unsigned facts;

	/* libpg_query escapes < and >, too: in an operator's name. */
	if (!name->has_escapes)
		return facts_behind(rules, things, name->p, name->len);
	sql_json_decode(name, &decoded);
	facts = facts_behind(rules, things, (const char *)decoded.data, decoded.len - 1);
	buf_fini(&decoded);
	return facts;
}
