/* From a parsed text to its class: one struct sql_stmt a statement. Pure; the parser is
 * libpg_query, which is PostgreSQL's own and safe to call from any thread.
 *
 * Measured (libpg_query 15-4.0, this machine): its JSON tree takes 4 to 36 us, the protobuf
 * one 17 to 108 us; scanning the JSON in place adds about a tenth. */
#include <pg_query.h>
#include <string.h>
#include <strings.h>

#include "base/hash.h"
#include "base/mem.h"
#include "sql_int.h"

/* A longer text is not parsed but taken as SQL_UNPARSED, for the worker's other clients wait: this
 * much costs it 5 ms, and 80 ms where it is one long list of columns. Literals of plain
 * statements do not count, they are not in the text (normalise.c). */
#define PARSE_TEXT_MAX (128u << 10)
#define COMMENTED_MIN 1024

/* A standby knows no SERIALIZABLE. READ WRITE anywhere among them is taken for what counts. */
static bool begins_read_only(const char *options)
{
	bool is_read_only = false;

	for (const char *p = sql_json_first(options); p != NULL; p = sql_json_next(p)) {
		const char *option = sql_json_get(p, "DefElem");
		const char *value = sql_json_get(sql_json_get(option, "arg"), "A_Const");
		const char *name = sql_json_get(option, "defname");

		if (sql_json_is(name, "transaction_isolation") &&
		    sql_json_is(sql_json_get(sql_json_get(value, "sval"), "sval"), "serializable"))
			return false;
		if (!sql_json_is(name, "transaction_read_only"))
			continue;
		if (sql_json_int(sql_json_get(sql_json_get(value, "ival"), "ival"), 0) != 1)
			return false;
		is_read_only = true;
	}
	return is_read_only;
}

static void read_transaction(const char *node, struct sql_stmt *stmt)
{
	static const struct {
		const char *name;
		enum sql_kind kind, chain;
		uint32_t bits;
	} kinds[] = {
		{"TRANS_STMT_BEGIN", SQL_BEGIN, SQL_BEGIN, 0},
		{"TRANS_STMT_START", SQL_BEGIN, SQL_BEGIN, SQL_START_WORD},
		{"TRANS_STMT_COMMIT", SQL_COMMIT, SQL_COMMIT_CHAIN, 0},
		{"TRANS_STMT_ROLLBACK", SQL_ROLLBACK, SQL_ROLLBACK_CHAIN, 0},
		{"TRANS_STMT_SAVEPOINT", SQL_SAVEPOINT, SQL_SAVEPOINT, 0},
		{"TRANS_STMT_RELEASE", SQL_RELEASE, SQL_RELEASE, 0},
		{"TRANS_STMT_ROLLBACK_TO", SQL_ROLLBACK_TO, SQL_ROLLBACK_TO, 0},
		{"TRANS_STMT_PREPARE", SQL_PREPARE_TRANSACTION, SQL_PREPARE_TRANSACTION, 0},
		{"TRANS_STMT_COMMIT_PREPARED", SQL_NO_TRANSACTION, SQL_NO_TRANSACTION, 0},
		{"TRANS_STMT_ROLLBACK_PREPARED", SQL_NO_TRANSACTION, SQL_NO_TRANSACTION, 0},
	};
	const char *kind = sql_json_get(node, "kind");
	struct sql_json_string name;

	/* A kind that we do not know must not pass for one that we do. */
	stmt->kind = SQL_UNPARSED;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		if (!sql_json_is(kind, kinds[i].name))
			continue;
		stmt->kind = sql_json_is_true(sql_json_get(node, "chain")) ? kinds[i].chain
		                                                           : kinds[i].kind;
		stmt->bits |= kinds[i].bits;
	}
	if (stmt->kind == SQL_BEGIN && sql_json_get(node, "options") == NULL)
		stmt->bits |= SQL_BARE;
	if (sql_json_string(sql_json_get(node, "savepoint_name"), &name))
		stmt->savepoint = hash_bytes(name.p, name.len);
	if (stmt->kind == SQL_BEGIN && begins_read_only(sql_json_get(node, "options")))
		stmt->bits |= SQL_BEGINS_READ_ONLY;
}

/* Settings that live and die with the transaction, however they are set. */
static bool is_transaction_setting(const char *name)
{
	static const char *const names[] = {"transaction_isolation", "transaction_read_only",
	                                    "transaction_deferrable"};
	struct sql_json_string s;

	if (!sql_json_string(name, &s))
		return false;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		if (s.len == strlen(names[i]) && strncasecmp(s.p, names[i], s.len) == 0)
			return true;
	return false;
}

static void read_set(const char *node, struct sql_stmt *stmt)
{
	const char *kind = sql_json_get(node, "kind"), *name = sql_json_get(node, "name");
	bool is_local = sql_json_is_true(sql_json_get(node, "is_local"));
	struct sql_json_string s;

	if (sql_json_is(kind, "VAR_RESET_ALL")) {
		stmt->bits |= SQL_SETS_SESSION | SQL_RESETS_ALL | SQL_ALTERS | SQL_ONLY_SETS;
		return;
	}
	if (is_transaction_setting(name) ||
	    (sql_json_is(kind, "VAR_SET_MULTI") && !sql_json_is(name, "SESSION CHARACTERISTICS"))) {
		stmt->kind = SQL_SET_TRANSACTION;
		return;
	}
	stmt->bits |= SQL_ONLY_SETS;
	if (!is_local)
		stmt->bits |= SQL_SETS_SESSION;
	if ((sql_json_is(kind, "VAR_RESET") || sql_json_is(kind, "VAR_SET_DEFAULT")) &&
	    sql_json_string(name, &s))
		stmt->resets = sql_setting_key(s.p, s.len);
	if (sql_set_alters(node))
		stmt->bits |= SQL_ALTERS;
	if (sql_set_may_name_temp(node))
		stmt->bits |= SQL_MAKES_STATE | SQL_STATE_SETTING;
}

static void read_constraints(const char *node, struct sql_stmt *stmt)
{
	(void)node;
	stmt->kind = SQL_SET_TRANSACTION;
}

/* A server's own setting can be shown without the tenant context; one with a dotted name may be
 * it, and ALL (which the server compares without case, quoted or not) shows it among others. */
static void read_show(const char *node, struct sql_stmt *stmt)
{
	struct sql_json_string name;

	if (sql_json_string(sql_json_get(node, "name"), &name) &&
	    memchr(name.p, '.', name.len) == NULL &&
	    !(name.len == 3 && strncasecmp(name.p, "all", 3) == 0))
		stmt->kind = SQL_SHOW;
}

static void read_no_transaction(const char *node, struct sql_stmt *stmt)
{
	(void)node;
	stmt->kind = SQL_NO_TRANSACTION;
}

static void read_discard(const char *node, struct sql_stmt *stmt)
{
	if (!sql_json_is(sql_json_get(node, "target"), "DISCARD_ALL"))
		return;
	stmt->kind = SQL_NO_TRANSACTION;
	stmt->bits |= SQL_RESETS_ALL | SQL_DISCARDS;
}

static void read_copy(const char *node, struct sql_stmt *stmt)
{
	if (sql_json_is_true(sql_json_get(node, "is_from")) &&
	    !sql_json_is_true(sql_json_get(node, "is_program")) &&
	    sql_json_get(node, "filename") == NULL)
		stmt->kind = SQL_COPY_IN;
}

/* VACUUM, but not ANALYZE, which is the same node. */
static void read_vacuum(const char *node, struct sql_stmt *stmt)
{
	if (sql_json_is_true(sql_json_get(node, "is_vacuumcmd")))
		stmt->kind = SQL_NO_TRANSACTION;
}

/* CLUSTER of all tables. */
static void read_cluster(const char *node, struct sql_stmt *stmt)
{
	if (sql_json_get(node, "relation") == NULL)
		stmt->kind = SQL_NO_TRANSACTION;
}

/* CREATE INDEX and DROP INDEX. */
static void read_concurrent(const char *node, struct sql_stmt *stmt)
{
	if (sql_json_is_true(sql_json_get(node, "concurrent")))
		stmt->kind = SQL_NO_TRANSACTION;
}

/* True where the list holds a DefElem of this name. */
static bool has_option(const char *list, const char *name)
{
	for (const char *p = sql_json_first(list); p != NULL; p = sql_json_next(p))
		if (sql_json_is(sql_json_get(sql_json_get(p, "DefElem"), "defname"), name))
			return true;
	return false;
}

/* As the server's defGetBoolean; what is neither is an error there. */
static bool is_off(const char *arg)
{
	const char *number = sql_json_get(arg, "Integer");
	struct sql_json_string s;

	if (number != NULL)
		return sql_json_get(number, "ival") == NULL; /* 0 is left out */
	return sql_json_string(sql_json_get(sql_json_get(arg, "String"), "sval"), &s) &&
	       ((s.len == 5 && strncasecmp(s.p, "false", 5) == 0) ||
	        (s.len == 3 && strncasecmp(s.p, "off", 3) == 0));
}

/* The last one counts. */
static bool option_is_on(const char *list, const char *name)
{
	bool is_on = false;

	for (const char *p = sql_json_first(list); p != NULL; p = sql_json_next(p)) {
		const char *elem = sql_json_get(p, "DefElem");

		if (sql_json_is(sql_json_get(elem, "defname"), name))
			is_on = !is_off(sql_json_get(elem, "arg"));
	}
	return is_on;
}

static void read_reindex(const char *node, struct sql_stmt *stmt)
{
	const char *kind = sql_json_get(node, "kind");

	if (sql_json_is(kind, "REINDEX_OBJECT_SCHEMA") ||
	    sql_json_is(kind, "REINDEX_OBJECT_SYSTEM") ||
	    sql_json_is(kind, "REINDEX_OBJECT_DATABASE") ||
	    option_is_on(sql_json_get(node, "params"), "concurrently"))
		stmt->kind = SQL_NO_TRANSACTION;
}

/* ALTER DATABASE ... SET TABLESPACE. */
static void read_alter_database(const char *node, struct sql_stmt *stmt)
{
	if (has_option(sql_json_get(node, "options"), "tablespace"))
		stmt->kind = SQL_NO_TRANSACTION;
}

/* ALTER TABLE ... DETACH PARTITION ... CONCURRENTLY. */
static void read_alter_table(const char *node, struct sql_stmt *stmt)
{
	const char *cmd = sql_json_first(sql_json_get(node, "cmds"));

	for (; cmd != NULL; cmd = sql_json_next(cmd)) {
		const char *def = sql_json_get(sql_json_get(cmd, "AlterTableCmd"), "def");

		if (sql_json_is_true(sql_json_get(sql_json_get(def, "PartitionCmd"), "concurrent")))
			stmt->kind = SQL_NO_TRANSACTION;
	}
}

/* Nodes that can be a whole statement and are not just SQL_DATA. */
static const struct {
	const char *name;
	void (*read)(const char *node, struct sql_stmt *stmt);
} statements[] = {
	{"TransactionStmt", read_transaction},
	{"VariableSetStmt", read_set},
	{"ConstraintsSetStmt", read_constraints},
	{"VariableShowStmt", read_show},
	{"DiscardStmt", read_discard},
	{"CopyStmt", read_copy},
	{"VacuumStmt", read_vacuum},
	{"ClusterStmt", read_cluster},
	{"IndexStmt", read_concurrent},
	{"DropStmt", read_concurrent},
	{"ReindexStmt", read_reindex},
	{"AlterTableStmt", read_alter_table},
	{"AlterDatabaseStmt", read_alter_database},
	{"AlterSystemStmt", read_no_transaction},
	{"CreatedbStmt", read_no_transaction},
	{"DropdbStmt", read_no_transaction},
	{"CreateTableSpaceStmt", read_no_transaction},
	{"DropTableSpaceStmt", read_no_transaction},
	{"CreateSubscriptionStmt", read_no_transaction},
	{"AlterSubscriptionStmt", read_no_transaction},
	{"DropSubscriptionStmt", read_no_transaction},
};

static struct sql_stmt *class_add(struct sql_class *class, enum sql_kind kind, uint32_t bits)
{
	struct sql_stmt *stmt;

	if (class->n_stmts == class->cap) {
		class->cap = class->cap > 0 ? class->cap * 2 : 4;
		class->stmts = mem_realloc(class->stmts, class->cap * sizeof(*stmt));
	}
	stmt = &class->stmts[class->n_stmts++];
	*stmt = (struct sql_stmt){.kind = kind, .bits = bits};
	return stmt;
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Where the statement is: libpg_query leaves out zeroes, and a length of zero means all the
 * rest. */
static void read_place(const char *raw, const char *text, size_t len, struct sql_stmt *stmt)
{
	size_t start = (size_t)sql_json_int(sql_json_get(raw, "stmt_location"), 0);
	size_t n = (size_t)sql_json_int(sql_json_get(raw, "stmt_len"), 0);
	size_t end = n > 0 ? start + n : len;

	while (start < end && is_space(text[start]))
		start++;
	while (end > start && is_space(text[end - 1]))
		end--;
	stmt->start_bytes = (uint32_t)start;
	stmt->len_bytes = (uint32_t)(end - start);
}

/* By its node. What is dropped needs no look: what was behind it sends its readers to the primary,
 * which is right for whatever comes in its place. */
static bool defines(const struct sql_json_string *name)
{
	static const char *const beginnings[] = {"Create", "Alter",  "Define",
	                                         "View",   "Rename", "Rule"};

	for (size_t i = 0; i < COUNT_OF(beginnings); i++) {
		size_t len = strlen(beginnings[i]);

		if (name->len > len && memcmp(name->p, beginnings[i], len) == 0)
			return true;
	}
	return false;
}

static void read_statement(struct sql_class *class, const struct sql_rules *rules, const char *node,
                           struct sql_stmt *stmt)
{
	struct sql_walk walk = {
		.rules = rules, .settings = &class->settings, .calls = class->calls};
	struct sql_json_string name;
	const char *body = sql_json_scan(node, sql_json_end(node), &name);

	for (size_t i = 0; body != NULL && i < COUNT_OF(statements); i++)
		if (strlen(statements[i].name) == name.len &&
		    memcmp(statements[i].name, name.p, name.len) == 0)
			statements[i].read(body, stmt);
	sql_walk_statement(&walk, node);
	stmt->bits |= walk.bits;
	if (body != NULL && defines(&name) && !(walk.bits & SQL_STATE_TEMP))
		stmt->bits |= SQL_DEFINES;
	if (body != NULL && name.len == strlen("DropStmt") &&
	    memcmp(name.p, "DropStmt", name.len) == 0)
		stmt->bits |= SQL_DROPS;
	if (stmt->kind == SQL_UNPARSED)
		stmt->bits |= SQL_OPAQUE;
	if (walk.why.what == NULL)
		stmt->bits |= SQL_READ_ONLY;
	else if (class->why.what == NULL)
		class->why = walk.why;
	if (class->refusal == NULL)
		class->refusal = walk.refusal;
}

/* Texts that are not parsed, by why. They are searched for names; but what makes something that
 * runs later under another name must be understood, not searched. */
static const struct sql_refusal refusal_long = {
	.id = SQL_RULE_UNPARSED,
	.rule = "unparsed",
	.sqlstate = "42501",
	.message = "the statement is too long to be checked (rule unparsed)",
	.hint = "Only queries and changes of rows may be longer than 128 kB; send the others one "
		"by one.",
};
static const struct sql_refusal refusal_deep = {
	.id = SQL_RULE_UNPARSED,
	.rule = "unparsed",
	.sqlstate = "42501",
	.message = "the statement is nested too deeply to be checked (rule unparsed)",
	.hint = "Only queries and changes of rows may be nested so deeply.",
};
static const struct sql_refusal refusal_nul = {
	.id = SQL_RULE_UNPARSED,
	.rule = "unparsed",
	.sqlstate = "42501",
	.message = "the statement has a zero byte in it (rule unparsed)",
	.hint = "Send it as the text that PostgreSQL would take.",
};

static const struct sql_refusal refusal_split = {
	.id = SQL_RULE_UNPARSED,
	.rule = "unparsed",
	.sqlstate = "42501",
	.message = "the statement has a literal with a comment between its parts (rule unparsed)",
	.hint = "Write the literal in one piece, or without the comment.",
};

static void read_unparsed(struct sql_class *class, const struct sql_rules *rules, const char *text,
                          size_t len, const struct sql_refusal *why)
{
	class_add(class, SQL_UNPARSED, SQL_OPAQUE);
	class->why.what = "is not parsed";
	class->refusal = sql_rules_check_unparsed(rules, text, len);
	if (class->refusal == NULL && !sql_text_starts_plain(text, len))
		class->refusal = why;
}

/* What the parser says of the text, should the server not be asked. */
static const struct sql_refusal *keep_syntax_error(struct sql_class *class,
                                                   const PgQueryError *error)
{
	class->syntax_message.len = 0;
	buf_put_cstr(&class->syntax_message, error->message);
	class->syntax = (struct sql_refusal){
		.rule = "syntax",
		.message = (const char *)class->syntax_message.data,
		.sqlstate = "42601",
		.position = error->cursorpos > 0 ? (unsigned)error->cursorpos : 0,
	};
	return &class->syntax;
}

/* libpg_query's time grows with the square of the number of comments: 30,000 took it 6 s. */
static const char *without_comments(struct sql_class *class, const char *text, size_t len)
{
	if (len < COMMENTED_MIN ||
	    (memmem(text, len, "/*", 2) == NULL && memmem(text, len, "--", 2) == NULL))
		return text;
	sql_blank_comments(text, len, &class->blanked);
	return (const char *)class->blanked.data;
}

static void read_text(struct sql_class *class, const struct sql_rules *rules, const char *text,
                      size_t len)
{
	PgQueryParseResult result;
	const char *raw;
	bool is_split;

	class->n_stmts = 0;
	class->settings.len = 0;
	class->refusal = NULL;
	class->why = (struct sql_why){0};
	class->is_parse_error = false;
	/* A NUL would end the text early for the parser, but not for the server. */
	if (len > PARSE_TEXT_MAX || memchr(text, 0, len) != NULL || sql_text_is_deep(text, len) ||
	    sql_has_operator_run(text, len)) {
		read_unparsed(class, rules, text, len,
		              len > PARSE_TEXT_MAX           ? &refusal_long
		              : memchr(text, 0, len) != NULL ? &refusal_nul
		                                             : &refusal_deep);
		return;
	}
	result = pg_query_parse(without_comments(class, text, len));
	is_split = sql_text_splits_literals(text, len);
	class->is_parse_error = result.error != NULL || is_split;
	if (class->is_parse_error) {
		read_unparsed(class, rules, text, len,
		              is_split ? &refusal_split : keep_syntax_error(class, result.error));
	} else {
		raw = sql_json_first(sql_json_get(result.parse_tree, "stmts"));
		for (; raw != NULL; raw = sql_json_next(raw)) {
			struct sql_stmt *stmt = class_add(class, SQL_DATA, 0);

			read_statement(class, rules, sql_json_get(raw, "stmt"), stmt);
			read_place(raw, text, len, stmt);
		}
		/* The place in a rendered key would mean nothing to anybody. */
		if (class->n_stmts == 1)
			class->stmts[0].start_bytes = class->stmts[0].len_bytes = 0;
	}
	pg_query_free_parse_result(result);
}

/* What the statements would be to a server that takes the letter for an i: what that one refuses is
 * refused, and what it would do for the session counts. A name may be a keyword there, so that it
 * has no parse tree: that is no reason to refuse. */
static void add_folded(struct sql_class *class, const struct sql_rules *rules, const char *text,
                       size_t len)
{
	struct sql_class folded = {0};
	struct buf copy = {0};
	bool is_same;

	sql_fold_dotted_i(text, len, &copy);
	read_text(&folded, rules, (const char *)copy.data, copy.len);
	is_same = folded.n_stmts == class->n_stmts && !folded.is_parse_error &&
	          folded.settings.len == 0;
	if (class->refusal == NULL && !folded.is_parse_error)
		class->refusal = folded.refusal;
	else if (class->refusal == NULL)
		class->refusal = sql_rules_check_unparsed(rules, (const char *)copy.data, copy.len);
	for (unsigned i = 0; i < class->n_stmts; i++) {
		uint32_t bits = is_same ? folded.stmts[i].bits : SQL_OPAQUE;

		class->stmts[i].bits |= bits & ~(uint32_t)SQL_READ_ONLY;
		class->stmts[i].bits &= bits | ~(uint32_t)SQL_READ_ONLY;
	}
	sql_class_fini(&folded);
	buf_fini(&copy);
}

void sql_class_read(struct sql_class *class, const struct sql_rules *rules, const char *text,
                    size_t len)
{
	read_text(class, rules, text, len);
	if (sql_has_dotted_i(text, len))
		add_folded(class, rules, text, len);
}

void sql_class_fini(struct sql_class *class)
{
	MEM_FREE(&class->stmts);
	buf_fini(&class->blanked);
	buf_fini(&class->syntax_message);
	buf_fini(&class->settings);
	class->n_stmts = class->cap = 0;
}
