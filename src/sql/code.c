/* The guard rules about code that comes as text: DO blocks, function bodies, arguments that are
 * run as SQL, and whole statements that the parser does not know. Pure.
 *
 * Such texts are not parsed but searched (text.c), so these rules refuse too much rather than
 * too little: a body that only reads the tenant's setting is refused as well. */
#include <string.h>

#include "base/mem.h"
#include "sql_int.h"

/* Commands whose words are too common to be refused alone. They count where they stand
 * together, or anywhere if a comment might stand between them. */
static const struct set_command {
	const char *word;
	enum sql_rule rule;
	const char *together[3];
} set_commands[] = {
	{"role", SQL_RULE_CODE_TEXT, {"setrole", "setlocalrole", "setsessionrole"}},
	{"names", SQL_RULE_CODE_TEXT, {"setnames", "setlocalnames", "setsessionnames"}},
	{"authorization", SQL_RULE_CODE_TEXT, {"sessionauthorization", NULL, NULL}},
};

static bool text_may_have(const struct sql_text *text, const struct set_command *command)
{
	if (sql_text_may_hide_words(text) && sql_text_has_word(text, "set") &&
	    sql_text_has_word(text, command->word))
		return true;
	for (size_t k = 0; k < COUNT_OF(command->together); k++)
		if (command->together[k] != NULL && sql_text_has(text, command->together[k]))
			return true;
	return false;
}

static const struct sql_refusal *check_set_commands(const struct sql_rules *rules,
                                                    const struct sql_text *text)
{
	const struct sql_refusal *refusal = NULL;

	for (size_t i = 0; i < COUNT_OF(set_commands) && refusal == NULL; i++)
		if (text_may_have(text, &set_commands[i]))
			refusal = sql_rules_refuse(rules, set_commands[i].rule);
	return refusal;
}

/* A server that is newer than the parser may well run an EXECUTE that we cannot read, and the
 * names are no secret (pg_prepared_statements). */
static bool text_may_name_reserved(const struct sql_text *text)
{
	static const char *const commands[] = {"execute", "prepare", "deallocate"};

	if (!sql_text_has(text, "pgu_"))
		return false;
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (sql_text_has_word(text, commands[i]))
			return true;
	return false;
}

/* What a text of code may not hold, whatever runs it. */
static const struct sql_refusal *check_text(const struct sql_rules *rules,
                                            const struct sql_text *text)
{
	static const char *const settings[] = {
		"session_authorization",       "row_security",    "session_replication_role",
		"standard_conforming_strings", "client_encoding",
	};
	const struct sql_refusal *refusal;

	if (text_may_name_reserved(text))
		return sql_rules_refuse(rules, SQL_RULE_RESERVED_NAME);
	/* All that follows is for the standard mode. */
	if (rules->mode < SQL_GUARD_STANDARD)
		return NULL;
	if (sql_text_may_set(text, (const char *const *)rules->names))
		return sql_rules_refuse(rules, SQL_RULE_CODE_TEXT);
	refusal = check_set_commands(rules, text);
	if (refusal != NULL)
		return refusal;
	for (size_t i = 0; i < COUNT_OF(settings); i++)
		if (sql_text_has(text, settings[i]))
			return sql_rules_refuse(rules, SQL_RULE_CODE_TEXT);
	if (sql_text_has_word(text, "alter") &&
	    (sql_text_has_word(text, "role") || sql_text_has_word(text, "user") ||
	     sql_text_has_word(text, "database")))
		return sql_rules_refuse(rules, SQL_RULE_ALTER_ROLE);
	/* Whatever it is for: a view on it is as good as it, and has another name. */
	if (sql_text_has(text, "pg_settings"))
		return sql_rules_refuse(rules, SQL_RULE_SETTINGS_VIEW);
	return NULL;
}

/* What it may not do, so that its names can be searched for at all. */
static const struct sql_refusal *check_outline(const struct sql_rules *rules, const char *text,
                                               size_t len)
{
	switch (sql_code_check(text, len)) {
	case SQL_CODE_FINE:
		break;
	case SQL_CODE_HIDDEN:
		return sql_rules_refuse(rules, SQL_RULE_CODE_TEXT);
	case SQL_CODE_NESTED:
		return sql_rules_refuse(rules, SQL_RULE_NESTED_CODE);
	case SQL_CODE_ROLES:
		return sql_rules_refuse(rules, SQL_RULE_ALTER_ROLE);
	}
	return NULL;
}

/* A DO block, a function's body, or an argument that is run. */
static const struct sql_refusal *check_code(const struct sql_rules *rules, const char *code,
                                            size_t len)
{
	struct sql_text *text = sql_text_new(code, len);
	const struct sql_refusal *refusal = check_text(rules, text);

	/* The word anywhere, for what the lexer takes for a string may be run as code later. */
	if (refusal == NULL && (sql_text_has_word(text, "execute") || sql_text_runs_sql(text)))
		refusal = sql_rules_refuse(rules, SQL_RULE_DYNAMIC_SQL);
	if (refusal == NULL)
		refusal = check_outline(rules, code, len);
	if (refusal == NULL)
		refusal = sql_guard_code_names(rules, text);
	if (refusal == NULL)
		refusal = sql_guard_code_commands(rules, code, len);
	sql_text_free(&text);
	return refusal;
}

static const struct sql_refusal *check_string(const struct sql_rules *rules,
                                              const struct sql_json_string *s)
{
	struct buf decoded = {0};
	const struct sql_refusal *refusal;

	sql_json_decode(s, &decoded);
	refusal = check_code(rules, (const char *)decoded.data, decoded.len - 1);
	buf_fini(&decoded);
	return refusal;
}

const struct sql_refusal *sql_rules_check_do(const struct sql_rules *rules, const char *do_stmt)
{
	const struct sql_refusal *refusal = NULL;

	for (const char *option = sql_json_first(sql_json_get(do_stmt, "args"));
	     option != NULL && refusal == NULL; option = sql_json_next(option)) {
		const char *elem = sql_json_get(option, "DefElem");
		struct sql_json_string s;

		if (!sql_json_string(
			    sql_json_get(sql_json_get(sql_json_get(elem, "arg"), "String"), "sval"),
			    &s))
			refusal = sql_rules_refuse(rules, SQL_RULE_DYNAMIC_SQL);
		else if (sql_json_is(sql_json_get(elem, "defname"), "as"))
			refusal = check_string(rules, &s);
		else if (!(s.len == 7 && memcmp(s.p, "plpgsql", 7) == 0))
			refusal = sql_rules_refuse(rules, SQL_RULE_CODE_LANGUAGE);
	}
	return refusal;
}

static bool is_known_language(const char *elem)
{
	const char *name = sql_json_get(sql_json_get(sql_json_get(elem, "arg"), "String"), "sval");

	return sql_json_is(name, "sql") || sql_json_is(name, "plpgsql");
}

/* Nor may a body run SQL made at run time, or be of a language whose strings we do not know:
 * anybody can make a function in pg_temp and hand it any text. */
const struct sql_refusal *sql_rules_check_function(const struct sql_rules *rules,
                                                   const char *create)
{
	const struct sql_refusal *refusal = NULL;

	for (const char *option = sql_json_first(sql_json_get(create, "options"));
	     option != NULL && refusal == NULL; option = sql_json_next(option)) {
		const char *elem = sql_json_get(option, "DefElem");
		const char *item = sql_json_first(
			sql_json_get(sql_json_get(sql_json_get(elem, "arg"), "List"), "items"));
		struct sql_json_string s;

		if (sql_json_is(sql_json_get(elem, "defname"), "language") &&
		    !is_known_language(elem))
			refusal = sql_rules_refuse(rules, SQL_RULE_CODE_LANGUAGE);
		if (!sql_json_is(sql_json_get(elem, "defname"), "as"))
			continue;
		for (; item != NULL && refusal == NULL; item = sql_json_next(item))
			if (sql_json_string(sql_json_get(sql_json_get(item, "String"), "sval"), &s))
				refusal = check_string(rules, &s);
	}
	return refusal;
}

const struct sql_refusal *sql_rules_check_runs_sql(const struct sql_rules *rules, const char *call,
                                                   bool second)
{
	const struct sql_refusal *refusal = NULL;
	const char *arg = sql_call_args(call);

	if (arg != NULL && second) {
		arg = sql_json_next(arg);
		/* ts_rewrite with three arguments runs nothing. */
		if (arg != NULL && sql_json_next(arg) != NULL)
			return NULL;
	}
	if (arg == NULL)
		return sql_json_get(call, "args") == NULL
		               ? NULL
		               : sql_rules_refuse(rules, SQL_RULE_DYNAMIC_SQL);
	for (; arg != NULL && refusal == NULL; arg = sql_json_next(arg)) {
		const char *constant = sql_json_get(arg, "A_Const");
		struct buf text = {0};

		if (sql_read_constant(arg, &text)) {
			refusal = check_code(rules, (const char *)text.data, text.len - 1);
		} else if (constant == NULL) {
			refusal = sql_rules_refuse(rules, SQL_RULE_DYNAMIC_SQL);
		}
		buf_fini(&text);
	}
	return refusal;
}

/* Settings that are guarded in every mode: in a text that may set something they count wherever
 * their names stand. */
static const struct sql_refusal *check_always(const struct sql_rules *rules,
                                              const struct sql_text *text)
{
	static const struct {
		const char *part;
		enum sql_rule rule;
	} settings[] = {
		{"usher.token", SQL_RULE_USHER_TOKEN},
		{"usher.", SQL_RULE_USHER_SETTING},
		{"standard_conforming_strings", SQL_RULE_STRING_SYNTAX},
		{"client_encoding", SQL_RULE_CLIENT_ENCODING},
		{"setnames", SQL_RULE_CLIENT_ENCODING},
	};

	if (!sql_text_has_word(text, "set") && !sql_text_has_word(text, "reset") &&
	    !sql_text_has(text, "set_config"))
		return NULL;
	for (size_t i = 0; i < COUNT_OF(settings); i++)
		if (sql_text_has(text, settings[i].part))
			return sql_rules_refuse(rules, settings[i].rule);
	return NULL;
}

const struct sql_refusal *sql_rules_check_unparsed(const struct sql_rules *rules, const char *text,
                                                   size_t len)
{
	struct sql_text *t = sql_text_new(text, len);
	const struct sql_refusal *refusal = check_text(rules, t);

	if (refusal == NULL)
		refusal = check_always(rules, t);
	if (refusal == NULL && sql_text_runs_sql(t))
		refusal = sql_rules_refuse(rules, SQL_RULE_DYNAMIC_SQL);
	sql_text_free(&t);
	return refusal != NULL ? refusal : sql_guard_unparsed(rules, text, len);
}
