/* Facts that may hide anywhere in a statement: calls of special functions, temporary tables,
 * texts of code, statements inside statements. Pure.
 *
 * The tree is not walked by node type: it is scanned flat for the keys that matter, wherever
 * they stand. So a node type that nobody thought of (or that a later libpg_query adds) cannot
 * hide a set_config call, and there is no recursion whose depth a client could choose. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "sql_catalog.h"
#include "sql_int.h"

/* DECLARE ... WITH HOLD in DeclareCursorStmt.options (CURSOR_OPT_HOLD). */
#define CURSOR_OPTION_HOLD 0x20
/* LockStmt.mode (lockdefs.h). */
#define LOCK_ROW_EXCLUSIVE 3
#define LOCK_ACCESS_EXCLUSIVE 8

/* Handlers that look at a whole node may read this many trees' worth in all. */
#define BUDGET_TREES 2
#define BUDGET_LEAST_BYTES (64u << 10)

/* Bits of a statement that does more than read. */
#define DOES_MORE                                                                                  \
	(SQL_SETS_SESSION | SQL_MAKES_STATE | SQL_ENDS_STATE | SQL_ENDS_INSIDE | SQL_ALTERS |      \
	 SQL_NAMES_PREPARED)

/* What a name that is no relation's and no called function's may be. */
#define NAMED_THINGS (1u << SQL_THING_FUNCTION | 1u << SQL_THING_OPERATOR | 1u << SQL_THING_TYPE)

static void refuse(struct sql_walk *walk, const struct sql_refusal *refusal)
{
	if (walk->refusal == NULL)
		walk->refusal = refusal;
}

static void refuse_rule(struct sql_walk *walk, enum sql_rule rule)
{
	refuse(walk, sql_rules_refuse(walk->rules, rule));
}

static bool is_too_complex(const struct sql_walk *walk)
{
	return walk->refusal != NULL && walk->refusal->id == SQL_RULE_TOO_COMPLEX;
}

/* A node inside a node inside a node... whose handlers all read it to its end would cost the
 * square of the text's length. False: no more. */
static bool may_read(struct sql_walk *walk, const char *node)
{
	size_t len = (size_t)(sql_json_end(node) - node);

	if (len > walk->budget_bytes) {
		walk->budget_bytes = 0;
		walk->refusal = sql_rules_refuse(walk->rules, SQL_RULE_TOO_COMPLEX);
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

static void note_call(struct sql_walk *walk, const struct sql_function_name *f, unsigned facts)
{
	struct sql_call call = {.facts = facts};
	struct buf *calls = walk->calls;

	snprintf(call.schema, sizeof(call.schema), "%.*s", (int)f->schema_len,
	         f->schema != NULL ? f->schema : "");
	snprintf(call.name, sizeof(call.name), "%.*s", (int)f->len, f->name);
	for (size_t at = 0; at < calls->len; at += sizeof(call))
		if (memcmp(calls->data + at, &call, sizeof(call)) == 0)
			return;
	buf_put(calls, &call, sizeof(call));
}

/* schema: NULL where the call names none. */
static void check_function(struct sql_walk *walk, const char *schema,
                           const struct sql_json_string *name)
{
	struct sql_function_name f = {.name = name->p, .len = name->len};
	const struct sql_refusal *refusal = NULL;
	const char *fault;
	struct sql_json_string s;
	unsigned facts;

	if (sql_json_string(schema, &s)) {
		f.schema = s.p;
		f.schema_len = s.len;
	}
	refuse(walk, sql_guard_function(walk->rules, &f));
	facts = sql_guard_facts(walk->rules, &f);
	if (walk->calls != NULL)
		note_call(walk, &f, facts);
	walk->bits |= sql_guard_known(walk->rules, &f, facts, &refusal);
	refuse(walk, refusal);
	fault = sql_function_fault(&f, facts);
	if (fault != NULL)
		sql_walk_note(walk, fault, name);
}

/* json_populate_record and its like make rows of the type that they are given one of, and those
 * pass the checks of its columns' domains as written ones do. */
static bool fills_rows(const struct sql_json_string *name)
{
	return memmem(name->p, name->len, "populate_record", strlen("populate_record")) != NULL;
}

static void on_func_call(struct sql_walk *walk, const char *call)
{
	const char *names = sql_json_get(call, "funcname"), *last = NULL, *schema = NULL;
	struct sql_json_string s;
	unsigned bits;

	for (const char *name = sql_json_first(names); name != NULL; name = sql_json_next(name)) {
		schema = last;
		last = sql_json_get(sql_json_get(name, "String"), "sval");
	}
	if (!sql_json_string(last, &s))
		return;
	check_function(walk, schema, &s);
	walk->may_write |= fills_rows(&s);
	/* The schema is no part of it: whatever is called set_config is treated as such. */
	bits = sql_function_bits(s.p, s.len);
	walk->judged_name_end = sql_json_end(names);
	if (bits == 0)
		return;
	sql_walk_note(walk, "calls a function that may do more", &s);
	if (!may_read(walk, call))
		return;
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
	refuse(walk, sql_guard_function(walk->rules,
	                                &(struct sql_function_name){.name = s.p, .len = s.len}));
	sql_walk_behind(walk, NAMED_THINGS, &s);
	/* A special function by another way than a call of it: (a.b).ts_stat is ts_stat(a.b), and
	 * CREATE OPERATOR, AGGREGATE, CAST, TRIGGER, TYPE make calls of it that do not name it. */
	bits = sql_function_bits(s.p, s.len);
	if ((bits & SQL_FUNC_SET_CONFIG) != 0)
		refuse_rule(walk, SQL_RULE_SET_CONFIG_UNREADABLE);
	if ((bits & SQL_FUNC_RUNS_SQL) != 0)
		refuse_rule(walk, SQL_RULE_DYNAMIC_SQL);
	if (bits != 0)
		sql_walk_note(walk, "calls a function that may do more", &s);
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
	const char *parent = sql_json_first(sql_json_get(create, "inhRelations"));

	if (!may_read(walk, create))
		return;
	if (sql_json_is(sql_json_get(create, "oncommit"), "ONCOMMIT_DROP"))
		walk->dropped_temp_end = sql_json_end(sql_json_get(create, "relation"));
	if (sql_json_get(create, "partbound") != NULL &&
	    !is_temp_schema(sql_json_get(sql_json_get(parent, "RangeVar"), "schemaname")))
		refuse_rule(walk, SQL_RULE_LOCK_TABLE);
}

static void on_into(struct sql_walk *walk, const char *into)
{
	sql_walk_note(walk, "makes a table", NULL);
	if (sql_json_is(sql_json_get(into, "onCommit"), "ONCOMMIT_DROP"))
		walk->dropped_temp_end = sql_json_end(sql_json_get(into, "rel"));
}

static void on_set(struct sql_walk *walk, const char *set)
{
	refuse(walk, sql_rules_check_set(walk->rules, set));
	if (!sql_json_is_true(sql_json_get(set, "is_local")) && !sql_set_names(set, walk->settings))
		walk->bits |= SQL_MAKES_STATE | SQL_STATE_SETTING;
}

/* UPDATE pg_settings calls set_config, by the rule on that view. */
static void on_update(struct sql_walk *walk, const char *update)
{
	const char *relation = sql_json_get(update, "relation");

	if (sql_json_is(sql_json_get(relation, "relname"), "pg_settings"))
		refuse_rule(walk, SQL_RULE_SETTINGS_VIEW);
}

/* So does an UPDATE of a view on it. */
static void on_view(struct sql_walk *walk, const char *view)
{
	if (view >= walk->view_end)
		walk->view_end = sql_json_end(view);
}

static void on_create_view(struct sql_walk *walk, const char *view)
{
	const char *name = sql_json_get(view, "view");

	on_view(walk, view);
	if (!sql_json_is(sql_json_get(name, "relpersistence"), "t") &&
	    !is_temp_schema(sql_json_get(name, "schemaname")))
		refuse_rule(walk, SQL_RULE_SHARED_CODE);
}

static void on_create_rule(struct sql_walk *walk, const char *rule)
{
	on_view(walk, rule);
	refuse_rule(walk, SQL_RULE_SHARED_CODE);
}

static void on_range_var(struct sql_walk *walk, const char *range_var)
{
	if (range_var < walk->view_end &&
	    sql_json_is(sql_json_get(range_var, "relname"), "pg_settings"))
		refuse_rule(walk, SQL_RULE_SETTINGS_VIEW);
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

static bool is_in_temp(const char *names)
{
	const char *first = sql_json_first(names);

	return first != NULL && sql_json_next(first) != NULL &&
	       sql_json_is(sql_json_get(sql_json_get(first, "String"), "sval"), "pg_temp");
}

static void on_create_function(struct sql_walk *walk, const char *create)
{
	if (!is_in_temp(sql_json_get(create, "funcname")))
		refuse_rule(walk, SQL_RULE_SHARED_CODE);
	if (may_read(walk, create))
		refuse(walk, sql_rules_check_function(walk->rules, create));
}

/* The rule on such names in texts that are not parsed is in code.c. */
static void check_statement_name(struct sql_walk *walk, const char *node)
{
	struct sql_json_string name;

	if (sql_json_string(sql_json_get(node, "name"), &name) &&
	    (name.has_escapes || (name.len >= 4 && memcmp(name.p, "pgu_", 4) == 0)))
		refuse_rule(walk, SQL_RULE_RESERVED_NAME);
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
	refuse_rule(walk, SQL_RULE_ALTER_ROLE);
}

static void on_listen(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->bits |= SQL_MAKES_STATE | SQL_STATE_LISTEN;
	refuse_rule(walk, SQL_RULE_NOTIFY);
}

static void on_load(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->bits |= SQL_MAKES_STATE | SQL_STATE_OTHER;
	refuse_rule(walk, SQL_RULE_SHARED_CODE);
}

static void on_end_of_state(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->bits |= SQL_ENDS_STATE;
}

static void on_shared_code(struct sql_walk *walk, const char *value)
{
	(void)value;
	refuse_rule(walk, SQL_RULE_SHARED_CODE);
}

static void on_privileges(struct sql_walk *walk, const char *value)
{
	(void)value;
	refuse_rule(walk, SQL_RULE_PRIVILEGES);
}

/* ALTER TABLE ... row security, triggers, rules, owner. */
static void on_subtype(struct sql_walk *walk, const char *value)
{
	static const char *const parts[] = {"RowSecurity", "Trig", "Rule", "ChangeOwner"};
	struct sql_json_string s;

	if (!sql_json_string(value, &s))
		return;
	for (size_t i = 0; i < COUNT_OF(parts); i++)
		if (memmem(s.p, s.len, parts[i], strlen(parts[i])) != NULL)
			refuse_rule(walk, SQL_RULE_PRIVILEGES);
}

static void on_notify(struct sql_walk *walk, const char *value)
{
	(void)value;
	refuse_rule(walk, SQL_RULE_NOTIFY);
}

static void on_transaction(struct sql_walk *walk, const char *transaction)
{
	static const char *const kinds[] = {"TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED",
	                                    "TRANS_STMT_ROLLBACK_PREPARED"};
	const char *kind = sql_json_get(transaction, "kind");

	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (sql_json_is(kind, kinds[i]))
			refuse_rule(walk, SQL_RULE_TWO_PHASE);
}

static void on_copy(struct sql_walk *walk, const char *copy)
{
	if (sql_json_is_true(sql_json_get(copy, "is_program")) ||
	    sql_json_get(copy, "filename") != NULL)
		refuse_rule(walk, SQL_RULE_SERVER_FILE);
}

static void on_foreign(struct sql_walk *walk, const char *value)
{
	(void)value;
	refuse_rule(walk, SQL_RULE_SERVER_FILE);
}

/* Up to ROW EXCLUSIVE, locks let others read and write rows. */
static void on_lock(struct sql_walk *walk, const char *lock)
{
	if (sql_json_int(sql_json_get(lock, "mode"), LOCK_ACCESS_EXCLUSIVE) > LOCK_ROW_EXCLUSIVE)
		refuse_rule(walk, SQL_RULE_LOCK_TABLE);
}

/* Both wait for an ACCESS EXCLUSIVE lock before they look whose the table is: VACUUM FULL of a
 * partitioned table on each partition. Whoever comes behind waits with them. */
static void on_vacuum(struct sql_walk *walk, const char *vacuum)
{
	const char *option = sql_json_first(sql_json_get(vacuum, "options"));

	for (; option != NULL; option = sql_json_next(option))
		if (sql_json_is(sql_json_get(sql_json_get(option, "DefElem"), "defname"), "full"))
			refuse_rule(walk, SQL_RULE_LOCK_TABLE);
}

/* Another table that a command on one's own temporary table names is locked before anybody asks
 * whose it is: REFERENCES against writing, a partition or its parent against reading, too. */
static void on_other_table(struct sql_walk *walk, const char *range_var)
{
	if (!is_temp_schema(sql_json_get(range_var, "schemaname")))
		refuse_rule(walk, SQL_RULE_LOCK_TABLE);
}

static void on_partition(struct sql_walk *walk, const char *cmd)
{
	on_other_table(walk, sql_json_get(cmd, "name"));
}

static void on_depends(struct sql_walk *walk, const char *value)
{
	(void)value;
	refuse_rule(walk, SQL_RULE_LOCK_TABLE);
}

/* The planner estimates from, and ANALYZE counts, the rows of all tenants. */
static void on_explain(struct sql_walk *walk, const char *value)
{
	(void)value;
	walk->is_explain = true;
}

static void on_object_type(struct sql_walk *walk, const char *value)
{
	if (sql_json_is(value, "OBJECT_LARGEOBJECT"))
		refuse_rule(walk, SQL_RULE_LARGE_OBJECT);
	if (sql_json_is(value, "OBJECT_POLICY") || sql_json_is(value, "OBJECT_TRIGGER") ||
	    sql_json_is(value, "OBJECT_RULE"))
		refuse_rule(walk, SQL_RULE_PRIVILEGES);
}

static void on_relation_name(struct sql_walk *walk, const char *value)
{
	struct sql_json_string s;
	const char *fault;

	if (!sql_json_string(value, &s))
		return;
	refuse(walk, sql_guard_relation(walk->rules, s.p, s.len));
	sql_walk_behind(walk, 1u << SQL_THING_RELATION, &s);
	fault = sql_relation_fault(s.p, s.len);
	if (fault != NULL)
		sql_walk_note(walk, fault, &s);
}

static void on_locking(struct sql_walk *walk, const char *value)
{
	(void)value;
	sql_walk_note(walk, "locks rows", NULL);
}

/* A key and its length. */
#define KEY(lit) lit, sizeof(lit) - 1

struct key {
	const char *name;
	size_t len;
	void (*fn)(struct sql_walk *walk, const char *value);
};

static const struct key keys[] = {
	{KEY("FuncCall"), on_func_call},
	{KEY("funccall"), on_func_call}, /* of CALL */
	{KEY("String"), on_string},
	{KEY("relpersistence"), on_persistence},
	{KEY("schemaname"), on_schema_name},
	{KEY("RangeVar"), on_range_var},
	{KEY("setstmt"), on_set}, /* of ALTER ROLE, ALTER DATABASE, ALTER SYSTEM */
	{KEY("into"), on_into},
	{KEY("intoClause"), on_into},
	{KEY("relname"), on_relation_name},
	{KEY("typeName"), sql_walk_type},
	{KEY("objtype"), on_object_type},
	{KEY("objectType"), on_object_type},
	{KEY("removeType"), on_object_type},
	{KEY("subtype"), on_subtype},
	{KEY("lockingClause"), on_locking},
	{KEY("pktable"), on_other_table},
	{KEY("PartitionCmd"), on_partition},
	{KEY("kind"), sql_walk_kind},
	{KEY("CaseExpr"), sql_walk_equals},
	{KEY("JoinExpr"), sql_walk_equals},
	{KEY("SubLink"), sql_walk_equals},
};

/* Looked for only where a key ends like that: most do not. */
static const struct key statement_keys[] = {
	{KEY("VariableSetStmt"), on_set},
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
	{KEY("ViewStmt"), on_create_view},
	{KEY("RuleStmt"), on_create_rule},
	{KEY("CreateStmt"), on_create_table},
	{KEY("DeclareCursorStmt"), on_declare},
	{KEY("DoStmt"), on_do},
	{KEY("CallStmt"), on_call},
	{KEY("CreateFunctionStmt"), on_create_function},
	{KEY("ExecuteStmt"), on_execute},
	{KEY("DeallocateStmt"), on_deallocate},
	{KEY("PrepareStmt"), on_prepare},
	{KEY("ListenStmt"), on_listen},
	{KEY("LoadStmt"), on_load},
	{KEY("NotifyStmt"), on_notify},
	{KEY("TransactionStmt"), on_transaction},
	{KEY("CopyStmt"), on_copy},
	{KEY("LockStmt"), on_lock},
	{KEY("VacuumStmt"), on_vacuum},
	{KEY("AlterObjectDependsStmt"), on_depends},
	{KEY("ExplainStmt"), on_explain},
	{KEY("GrantStmt"), on_privileges},
	{KEY("AlterDefaultPrivilegesStmt"), on_privileges},
	{KEY("AlterOwnerStmt"), on_privileges},
	{KEY("CreatePolicyStmt"), on_privileges},
	{KEY("AlterPolicyStmt"), on_privileges},
	{KEY("CreateFdwStmt"), on_foreign},
	{KEY("AlterFdwStmt"), on_foreign},
	{KEY("CreateForeignServerStmt"), on_foreign},
	{KEY("AlterForeignServerStmt"), on_foreign},
	{KEY("CreateForeignTableStmt"), on_foreign},
	{KEY("CreateUserMappingStmt"), on_foreign},
	{KEY("AlterUserMappingStmt"), on_foreign},
	{KEY("ImportForeignSchemaStmt"), on_foreign},
	{KEY("CreateTableSpaceStmt"), on_foreign},
	{KEY("CreateSubscriptionStmt"), on_foreign},
	{KEY("AlterSubscriptionStmt"), on_foreign},
	{KEY("CreateTrigStmt"), on_shared_code},
	{KEY("CreateEventTrigStmt"), on_shared_code},
	{KEY("AlterEventTrigStmt"), on_shared_code},
	{KEY("DefineStmt"), on_shared_code},
	{KEY("CreateOpClassStmt"), on_shared_code},
	{KEY("CreateOpFamilyStmt"), on_shared_code},
	{KEY("AlterOpFamilyStmt"), on_shared_code},
	{KEY("CreateCastStmt"), on_shared_code},
	{KEY("CreateConversionStmt"), on_shared_code},
	{KEY("CreateTransformStmt"), on_shared_code},
	{KEY("CreatePLangStmt"), on_shared_code},
	{KEY("CreateExtensionStmt"), on_shared_code},
	{KEY("AlterExtensionStmt"), on_shared_code},
	{KEY("AlterExtensionContentsStmt"), on_shared_code},
	{KEY("CreateAmStmt"), on_shared_code},
	{KEY("CreatePublicationStmt"), on_shared_code},
	{KEY("AlterPublicationStmt"), on_shared_code},
	{KEY("AlterFunctionStmt"), on_shared_code},
	{KEY("AlterOperatorStmt"), on_shared_code},
	{KEY("AlterTypeStmt"), on_shared_code},
	{KEY("SecLabelStmt"), on_shared_code},
	{KEY("UnlistenStmt"), on_end_of_state},
	{KEY("ClosePortalStmt"), on_end_of_state},
	{KEY("DropStmt"), on_end_of_state},
	{KEY("DiscardStmt"), on_end_of_state},
};

static void visit_key(struct sql_walk *walk, const struct key *table, size_t n,
                      const struct sql_json_string *key, const char *value)
{
	for (size_t i = 0; i < n; i++)
		if (table[i].len == key->len && memcmp(table[i].name, key->p, key->len) == 0) {
			table[i].fn(walk, value);
			return;
		}
}

static void visit_statement(struct sql_walk *walk, const struct sql_json_string *key,
                            const char *value, bool is_top)
{
	const char *fault = sql_statement_fault(key, value, is_top);

	if (fault != NULL) {
		sql_walk_note(walk, fault, NULL);
		walk->may_write = true;
	}
	visit_key(walk, statement_keys, COUNT_OF(statement_keys), key, value);
}

void sql_walk_statement(struct sql_walk *walk, const char *stmt)
{
	const char *end = sql_json_end(stmt), *value = stmt;
	struct sql_json_string key;
	bool is_top = true;

	walk->judged_name_end = walk->dropped_temp_end = walk->view_end = stmt;
	walk->budget_bytes = (size_t)(end - stmt) * BUDGET_TREES + BUDGET_LEAST_BYTES;
	while (!is_too_complex(walk) && (value = sql_json_scan(value, end, &key)) != NULL) {
		if (key.len > 4 && memcmp(key.p + key.len - 4, "Stmt", 4) == 0)
			visit_statement(walk, &key, value, is_top);
		else
			visit_key(walk, keys, COUNT_OF(keys), &key, value);
		is_top = false;
	}
	if (walk->may_write)
		walk->bits |= walk->write_bits;
	if (is_too_complex(walk) || (walk->bits & DOES_MORE) != 0)
		sql_walk_note(walk, "does something for the session", NULL);
	/* What it explains may be refused for more. */
	if (walk->is_explain)
		refuse_rule(walk, SQL_RULE_STATISTICS);
}
