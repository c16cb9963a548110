/* Facts that may hide anywhere in a statement: calls of special functions, temporary tables,
 * texts of code, statements inside statements. Pure.
 *
 * The tree is not walked by node type: it is scanned flat for the keys that matter, wherever
 * they stand. So a node type that nobody thought of (or that a later libpg_query adds) cannot
 * hide a set_config call, and there is no recursion whose depth a client could choose. */
#include <string.h>

#include "base/mem.h"
#include "sql_int.h"

/* DECLARE ... WITH HOLD in DeclareCursorStmt.options (CURSOR_OPT_HOLD). */
#define CURSOR_OPTION_HOLD 0x20

/* Handlers that look at a whole node may read this many trees' worth in all. */
#define BUDGET_TREES 2
#define BUDGET_LEAST_BYTES (64u << 10)

static const struct sql_refusal refusal_complex = {
	.rule = "too_complex",
	.message = "statement is too complex to be checked",
	.hint = "Nest fewer calls of functions that change settings or run SQL.",
	.sqlstate = "54001",
};

static void refuse(struct sql_walk *walk, const struct sql_refusal *refusal)
{
	if (walk->refusal == NULL)
		walk->refusal = refusal;
}

/* A node inside a node inside a node... whose handlers all read it to its end would cost the
 * square of the text's length. False: no more. */
static bool may_read(struct sql_walk *walk, const char *node)
{
	size_t len = (size_t)(sql_json_end(node) - node);

	if (len > walk->budget_bytes) {
		walk->budget_bytes = 0;
		walk->refusal = &refusal_complex;
		return false;
	}
	walk->budget_bytes -= len;
	return true;
}

static bool is_temp_schema(const char *value)
{
	struct sql_json_string s;

	/* pg_temp, and the real schemas behind it: pg_temp_3, pg_toast_temp_3. */
	return sql_json_string(value, &s) &&
	       (SQL_NAME_IS(s.p, s.len, "pg_temp") ||
	        (s.len > 8 && memcmp(s.p, "pg_temp_", 8) == 0) ||
	        (s.len > 14 && memcmp(s.p, "pg_toast_temp_", 14) == 0));
}

static void on_set_config(struct sql_walk *walk, const char *call)
{
	refuse(walk, sql_rules_check_set_config(walk->rules, call));
	if (!sql_set_config_is_local(call)) {
		walk->bits |= SQL_SETS_SESSION;
		if (!sql_set_config_names(call, walk->settings))
			walk->bits |= SQL_MAKES_STATE | SQL_STATE_SETTING;
	}
	if (sql_set_config_alters(call))
		walk->bits |= SQL_ALTERS;
	if (sql_set_config_may_name_temp(call))
		walk->bits |= SQL_MAKES_STATE | SQL_STATE_SETTING;
}

static uint32_t function_state(unsigned function_bits)
{
	uint32_t bits = (function_bits & SQL_FUNC_OPAQUE) != 0 ? SQL_OPAQUE : 0;

	if ((function_bits & SQL_FUNC_UNLOCK) != 0)
		bits |= SQL_ENDS_STATE;
	if ((function_bits & SQL_FUNC_STATE) == 0)
		return bits;
	return bits | SQL_MAKES_STATE |
	       ((function_bits & SQL_FUNC_LOCK) != 0 ? SQL_STATE_LOCK : SQL_STATE_OTHER);
}

static void on_func_call(struct sql_walk *walk, const char *call)
{
	const char *names = sql_json_get(call, "funcname"), *last = NULL;
	struct sql_json_string s;
	unsigned bits;

	for (const char *name = sql_json_first(names); name != NULL; name = sql_json_next(name))
		last = sql_json_get(sql_json_get(name, "String"), "sval");
	if (!sql_json_string(last, &s))
		return;
	/* The schema is no part of it: whatever is called set_config is treated as such. */
	bits = sql_function_bits(s.p, s.len);
	if (bits == 0 || !may_read(walk, call))
		return;
	walk->judged_name_end = sql_json_end(names);
	if ((bits & SQL_FUNC_SET_CONFIG) != 0)
		on_set_config(walk, call);
	if ((bits & SQL_FUNC_RUNS_SQL) != 0)
		refuse(walk,
		       sql_rules_check_runs_sql(walk->rules, call, (bits & SQL_FUNC_SECOND) != 0));
	walk->bits |= function_state(bits);
}

/* A name, or part of one: of an operator's or trigger's function, a type, a column. */
static void on_string(struct sql_walk *walk, const char *string)
{
	const char *value = sql_json_get(string, "sval");
	struct sql_json_string s;
	unsigned bits;

	if (is_temp_schema(value))
		walk->bits |= SQL_MAKES_STATE | SQL_STATE_TEMP;
	if (string < walk->judged_name_end || !sql_json_string(value, &s))
		return;
	/* A special function by another way than a call of it: (a.b).ts_stat is ts_stat(a.b), and
	 * CREATE OPERATOR, AGGREGATE, CAST, TRIGGER, TYPE make calls of it that do not name it. */
	bits = sql_function_bits(s.p, s.len);
	if ((bits & SQL_FUNC_SET_CONFIG) != 0)
		refuse(walk, &sql_refusal_set_config_name);
	if ((bits & SQL_FUNC_RUNS_SQL) != 0)
		refuse(walk, &sql_refusal_dynamic_sql);
	walk->bits |= function_state(bits);
}

static void on_schema_name(struct sql_walk *walk, const char *name)
{
	if (is_temp_schema(name))
		walk->bits |= SQL_MAKES_STATE | SQL_STATE_TEMP;
}

static void on_persistence(struct sql_walk *walk, const char *value)
{
	if (!sql_json_is(value, "t"))
		return;
	walk->bits |= SQL_ALTERS;
	if (value >= walk->dropped_temp_end)
		walk->bits |= SQL_MAKES_STATE | SQL_STATE_TEMP;
}

/* A temporary table that its transaction drops is no state of the session. */
static void on_create_table(struct sql_walk *walk, const char *create)
{
	if (may_read(walk, create) &&
	    sql_json_is(sql_json_get(create, "oncommit"), "ONCOMMIT_DROP"))
		walk->dropped_temp_end = sql_json_end(sql_json_get(create, "relation"));
}

static void on_into(struct sql_walk *walk, const char *into)
{
	if (sql_json_is(sql_json_get(into, "onCommit"), "ONCOMMIT_DROP"))
		walk->dropped_temp_end = sql_json_end(sql_json_get(into, "rel"));
}

static void on_set(struct sql_walk *walk, const char *set)
{
	refuse(walk, sql_rules_check_set(walk->rules, set));
	if (!sql_json_is_true(sql_json_get(set, "is_local")) && !sql_set_names(set, walk->settings))
		walk->bits |= SQL_MAKES_STATE;
}

/* UPDATE pg_settings calls set_config, by the rule on that view. */
static void on_update(struct sql_walk *walk, const char *update)
{
	const char *relation = sql_json_get(update, "relation");

	if (sql_json_is(sql_json_get(relation, "relname"), "pg_settings"))
		refuse(walk, &sql_refusal_settings_view);
}

/* So does an UPDATE of a view on it. */
static void on_view(struct sql_walk *walk, const char *view)
{
	if (view >= walk->view_end)
		walk->view_end = sql_json_end(view);
}

static void on_range_var(struct sql_walk *walk, const char *range_var)
{
	if (range_var < walk->view_end &&
	    sql_json_is(sql_json_get(range_var, "relname"), "pg_settings"))
		refuse(walk, &sql_refusal_settings_view);
}

static void on_declare(struct sql_walk *walk, const char *declare)
{
	if ((sql_json_int(sql_json_get(declare, "options"), 0) & CURSOR_OPTION_HOLD) != 0)
		walk->bits |= SQL_MAKES_STATE | SQL_STATE_CURSOR;
}

static void on_do(struct sql_walk *walk, const char *do_stmt)
{
	walk->bits |= SQL_OPAQUE | SQL_ENDS_INSIDE;
	if (may_read(walk, do_stmt))
		refuse(walk, sql_rules_check_do(walk->rules, do_stmt));
}

static void on_call(struct sql_walk *walk, const char *call)
{
	(void)call;
	walk->bits |= SQL_OPAQUE | SQL_ENDS_INSIDE;
}

static void on_create_function(struct sql_walk *walk, const char *create)
{
	if (may_read(walk, create))
		refuse(walk, sql_rules_check_function(walk->rules, create));
}

/* The rule on such names in texts that are not parsed is in code.c. */
static void check_statement_name(struct sql_walk *walk, const char *node)
{
	struct sql_json_string name;

	if (sql_json_string(sql_json_get(node, "name"), &name) &&
	    (name.has_escapes || (name.len >= 4 && memcmp(name.p, "pgu_", 4) == 0)))
		refuse(walk, &sql_refusal_reserved_name);
}

static void on_prepare(struct sql_walk *walk, const char *prepare)
{
	check_statement_name(walk, prepare);
	walk->bits |= SQL_MAKES_STATE | SQL_STATE_PREPARED;
}

static void on_execute(struct sql_walk *walk, const char *execute)
{
	check_statement_name(walk, execute);
	walk->bits |= SQL_NAMES_PREPARED | SQL_OPAQUE;
}

static void on_deallocate(struct sql_walk *walk, const char *deallocate)
{
	check_statement_name(walk, deallocate);
	walk->bits |= SQL_NAMES_PREPARED | SQL_ENDS_STATE;
	if (sql_json_get(deallocate, "name") == NULL)
		walk->bits |= SQL_DISCARDS;
}

static void on_alter_role(struct sql_walk *walk, const char *value)
{
	(void)value;
	refuse(walk, &sql_refusal_alter_role);
}

static void on_listen(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->bits |= SQL_MAKES_STATE | SQL_STATE_LISTEN;
}

static void on_load(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->bits |= SQL_MAKES_STATE | SQL_STATE_OTHER;
}

static void on_end_of_state(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->bits |= SQL_ENDS_STATE;
}

/* A key and its length. */
#define KEY(lit) lit, sizeof(lit) - 1

static const struct {
	const char *name;
	size_t len;
	void (*fn)(struct sql_walk *walk, const char *value);
} keys[] = {
	{KEY("FuncCall"), on_func_call},
	{KEY("String"), on_string},
	{KEY("relpersistence"), on_persistence},
	{KEY("schemaname"), on_schema_name},
	{KEY("RangeVar"), on_range_var},
	{KEY("VariableSetStmt"), on_set},
	{KEY("setstmt"), on_set}, /* of ALTER ROLE, ALTER DATABASE, ALTER SYSTEM */
	{KEY("AlterRoleStmt"), on_alter_role},
	{KEY("AlterRoleSetStmt"), on_alter_role},
	{KEY("AlterDatabaseSetStmt"), on_alter_role},
	{KEY("DropOwnedStmt"), on_alter_role},
	{KEY("ReassignOwnedStmt"), on_alter_role},
	{KEY("GrantRoleStmt"), on_alter_role},
	{KEY("CreateRoleStmt"), on_alter_role},
	{KEY("DropRoleStmt"), on_alter_role},
	{KEY("UpdateStmt"), on_update},
	{KEY("MergeStmt"), on_update},
	{KEY("ViewStmt"), on_view},
	{KEY("RuleStmt"), on_view},
	{KEY("CreateStmt"), on_create_table},
	{KEY("into"), on_into},
	{KEY("intoClause"), on_into},
	{KEY("DeclareCursorStmt"), on_declare},
	{KEY("DoStmt"), on_do},
	{KEY("CallStmt"), on_call},
	{KEY("CreateFunctionStmt"), on_create_function},
	{KEY("ExecuteStmt"), on_execute},
	{KEY("DeallocateStmt"), on_deallocate},
	{KEY("PrepareStmt"), on_prepare},
	{KEY("ListenStmt"), on_listen},
	{KEY("LoadStmt"), on_load},
	{KEY("UnlistenStmt"), on_end_of_state},
	{KEY("ClosePortalStmt"), on_end_of_state},
	{KEY("DropStmt"), on_end_of_state},
	{KEY("DiscardStmt"), on_end_of_state},
};

void sql_walk_statement(struct sql_walk *walk, const char *stmt)
{
	const char *end = sql_json_end(stmt), *value = stmt;
	struct sql_json_string key;

	walk->judged_name_end = walk->dropped_temp_end = walk->view_end = stmt;
	walk->budget_bytes = (size_t)(end - stmt) * BUDGET_TREES + BUDGET_LEAST_BYTES;
	while (walk->refusal != &refusal_complex &&
	       (value = sql_json_scan(value, end, &key)) != NULL)
		for (size_t i = 0; i < COUNT_OF(keys); i++)
			if (keys[i].len == key.len && memcmp(keys[i].name, key.p, key.len) == 0) {
				keys[i].fn(walk, value);
				break;
			}
}
