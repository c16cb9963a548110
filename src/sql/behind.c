/* Code by the back door: a statement runs users' functions that it does not name. A row's function
 * may be written as its column, an operator or a cast has one, a view calls some, and what is
 * written to a table passes triggers, defaults, checks and policies. The catalogue has a row for
 * each; names count in whichever schema, for the search path is not known here. Pure. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
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

unsigned sql_behind_type(const struct sql_rules *rules, uint32_t type)
{
	char name[16];
	int len = snprintf(name, sizeof(name), "#%u", (unsigned)type);

	return facts_behind(rules, 1u << SQL_THING_TYPE, name, (size_t)len);
}

static unsigned behind(const struct sql_rules *rules, unsigned things,
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

/* ---- what the walk meets -------------------------------------------------------------------- */

void sql_walk_note(struct sql_walk *walk, const char *what, const struct sql_json_string *name)
{
	if (walk->why.what != NULL)
		return;
	walk->why.what = what;
	if (name != NULL)
		snprintf(walk->why.name, sizeof(walk->why.name), "%.*s", (int)name->len, name->p);
}

void sql_walk_behind(struct sql_walk *walk, unsigned things, const struct sql_json_string *s)
{
	unsigned facts = behind(walk->rules, things, s);

	if (facts == 0)
		return;
	if ((facts & SQL_FUNCTION_OPAQUE) != 0)
		walk->bits |= SQL_OPAQUE;
	if ((facts & SQL_FUNCTION_ON_WRITE) != 0)
		walk->write_bits |= SQL_OPAQUE;
	if ((facts & SQL_FUNCTION_SETS_CONTEXT) != 0 && walk->refusal == NULL)
		walk->refusal = sql_rules_refuse(walk->rules, SQL_RULE_FUNCTION_SETTINGS);
	if ((facts & SQL_FUNCTION_VOLATILE) != 0)
		sql_walk_note(walk, "has a volatile function behind", s);
	if ((facts & SQL_FUNCTION_NOT_THERE) != 0)
		sql_walk_note(walk, "reads what a replica cannot read", s);
}

/* item's row type, '(1,2)'::item: what is cast to it passes the checks of its columns' domains,
 * as what is written to it does. */
void sql_walk_type(struct sql_walk *walk, const char *type)
{
	const char *last = NULL;
	struct sql_json_string s;

	for (const char *name = sql_json_first(sql_json_get(type, "names")); name != NULL;
	     name = sql_json_next(name))
		last = sql_json_get(sql_json_get(name, "String"), "sval");
	if (sql_json_string(last, &s) && (behind(walk->rules, 1u << SQL_THING_RELATION, &s) &
	                                  (SQL_FUNCTION_OPAQUE | SQL_FUNCTION_ON_WRITE)) != 0)
		walk->bits |= SQL_OPAQUE;
}

static void meet_operator(struct sql_walk *walk, const char *name)
{
	struct sql_json_string s = {.p = name, .len = strlen(name)};

	sql_walk_behind(walk, 1u << SQL_THING_OPERATOR, &s);
}

/* CASE x WHEN, USING, NATURAL JOIN, IN (SELECT ...). */
void sql_walk_equals(struct sql_walk *walk, const char *value)
{
	(void)value;
	meet_operator(walk, "=");
}

/* BETWEEN, with or without NOT and SYMMETRIC. */
void sql_walk_kind(struct sql_walk *walk, const char *kind)
{
	static const char *const names[] = {"<", ">", "<=", ">="};
	struct sql_json_string s;

	if (!sql_json_string(kind, &s) || memmem(s.p, s.len, "BETWEEN", 7) == NULL)
		return;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		meet_operator(walk, names[i]);
}
