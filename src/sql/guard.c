/* The guard's rules as a table, the mode that chooses among them, and the lists of functions and
 * views that they are about. Pure.
 *
 * What is listed here is found by name, in any schema: a function of a tenant's that has the name
 * of a guarded one is taken for it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sql_catalog.h"
#include "sql_int.h"

static const struct sql_rule_info rule_infos[SQL_N_RULES] = {
#define GUARD_RULE(id_, name_, rows_, mode_, sqlstate_, message_, hint_, looks_for_)               \
	[SQL_RULE_##id_] = {                                                                       \
		.refusal = {.id = SQL_RULE_##id_,                                                  \
	                    .rule = name_,                                                         \
	                    .message = message_ " (rule " name_ ")",                               \
	                    .hint = hint_,                                                         \
	                    .sqlstate = sqlstate_},                                                \
		.mode = SQL_GUARD_##mode_,                                                         \
		.rows = rows_,                                                                     \
		.looks_for = looks_for_,                                                           \
	},
#include "tbl/guard_rules.h"
#undef GUARD_RULE
};

const struct sql_rule_info *sql_rule_info(enum sql_rule id)
{
	MUST(id > SQL_RULE_NONE && id < SQL_N_RULES);
	return &rule_infos[id];
}

const struct sql_refusal *sql_rules_refuse(const struct sql_rules *rules, enum sql_rule id)
{
	return rule_infos[id].mode <= rules->mode ? &rule_infos[id].refusal : NULL;
}

/* ---- functions and relations of strict mode ----------------------------------------------- */

struct guarded {
	const char *name; /* lower case */
	enum sql_rule rule;
};

/* Two tables, so that most names are compared with few: those that begin with pg_ ... */
static const struct guarded pg_functions[] = {
	{"pg_stat_get_activity", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_activity", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_client_addr", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_client_port", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_dbid", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_io", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_idset", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_pid", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_start", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_subxact", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_userid", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_wait_event", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_wal", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_wait_event_type", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_activity_start", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_backend_xact_start", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_progress_info", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_wal_senders", SQL_RULE_SESSION_VIEWS},
	{"pg_get_aios", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_statements", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_statements_reset", SQL_RULE_SESSION_VIEWS},
	{"pg_prepared_statement", SQL_RULE_SESSION_VIEWS},
	{"pg_prepared_xact", SQL_RULE_SESSION_VIEWS},
	{"pg_cursor", SQL_RULE_SESSION_VIEWS},
	{"pg_lock_status", SQL_RULE_SESSION_VIEWS},
	{"pg_blocking_pids", SQL_RULE_SESSION_VIEWS},
	{"pg_safe_snapshot_blocking_pids", SQL_RULE_SESSION_VIEWS},
	{"pg_isolation_test_session_is_blocked", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_get_numscans", SQL_RULE_STATISTICS},
	{"pg_stat_get_lastscan", SQL_RULE_STATISTICS},
	{"pg_wal_summary_contents", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_returned", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_fetched", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_inserted", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_updated", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_deleted", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_hot_updated", SQL_RULE_STATISTICS},
	{"pg_stat_get_tuples_newpage_updated", SQL_RULE_STATISTICS},
	{"pg_stat_get_blocks_fetched", SQL_RULE_STATISTICS},
	{"pg_stat_get_blocks_hit", SQL_RULE_STATISTICS},
	{"pg_stat_get_live_tuples", SQL_RULE_STATISTICS},
	{"pg_stat_get_dead_tuples", SQL_RULE_STATISTICS},
	{"pg_stat_get_mod_since_analyze", SQL_RULE_STATISTICS},
	{"pg_stat_get_ins_since_vacuum", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_numscans", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_returned", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_fetched", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_inserted", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_updated", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_deleted", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_hot_updated", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_tuples_newpage_updated", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_blocks_fetched", SQL_RULE_STATISTICS},
	{"pg_stat_get_xact_blocks_hit", SQL_RULE_STATISTICS},
	{"pg_cancel_backend", SQL_RULE_BACKEND_SIGNAL},
	{"pg_terminate_backend", SQL_RULE_BACKEND_SIGNAL},
	{"pg_reload_conf", SQL_RULE_BACKEND_SIGNAL},
	{"pg_rotate_logfile", SQL_RULE_BACKEND_SIGNAL},
	{"pg_log_backend_memory_contexts", SQL_RULE_BACKEND_SIGNAL},
	{"pg_promote", SQL_RULE_BACKEND_SIGNAL},
	{"pg_advisory_lock", SQL_RULE_ADVISORY_LOCK},
	{"pg_advisory_lock_shared", SQL_RULE_ADVISORY_LOCK},
	{"pg_advisory_xact_lock", SQL_RULE_ADVISORY_LOCK},
	{"pg_advisory_xact_lock_shared", SQL_RULE_ADVISORY_LOCK},
	{"pg_try_advisory_lock", SQL_RULE_ADVISORY_LOCK},
	{"pg_try_advisory_lock_shared", SQL_RULE_ADVISORY_LOCK},
	{"pg_try_advisory_xact_lock", SQL_RULE_ADVISORY_LOCK},
	{"pg_try_advisory_xact_lock_shared", SQL_RULE_ADVISORY_LOCK},
	{"pg_notify", SQL_RULE_NOTIFY},
	{"pg_logical_emit_message", SQL_RULE_NOTIFY},
	{"pg_read_file", SQL_RULE_SERVER_FILE},
	{"pg_read_file_old", SQL_RULE_SERVER_FILE},
	{"pg_read_binary_file", SQL_RULE_SERVER_FILE},
	{"pg_stat_file", SQL_RULE_SERVER_FILE},
	{"pg_ls_dir", SQL_RULE_SERVER_FILE},
	{"pg_ls_archive_statusdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_logdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_logicalmapdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_logicalsnapdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_replslotdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_summariesdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_tmpdir", SQL_RULE_SERVER_FILE},
	{"pg_ls_waldir", SQL_RULE_SERVER_FILE},
	{"pg_file_read", SQL_RULE_SERVER_FILE},
	{"pg_file_rename", SQL_RULE_SERVER_FILE},
	{"pg_file_settings", SQL_RULE_SERVER_FILE},
	{"pg_file_sync", SQL_RULE_SERVER_FILE},
	{"pg_file_unlink", SQL_RULE_SERVER_FILE},
	{"pg_file_write", SQL_RULE_SERVER_FILE},
	{"pg_current_logfile", SQL_RULE_SERVER_FILE},
	{"pg_show_all_file_settings", SQL_RULE_SERVER_FILE},
	{"pg_hba_file_rules", SQL_RULE_SERVER_FILE},
	{"pg_logfile_rotate", SQL_RULE_SERVER_FILE},
};

/* ... and the others. */
static const struct guarded other_functions[] = {
	{"table_to_xml", SQL_RULE_SESSION_VIEWS},
	{"table_to_xml_and_xmlschema", SQL_RULE_SESSION_VIEWS},
	{"schema_to_xml", SQL_RULE_SESSION_VIEWS},
	{"schema_to_xml_and_xmlschema", SQL_RULE_SESSION_VIEWS},
	{"database_to_xml", SQL_RULE_SESSION_VIEWS},
	{"database_to_xml_and_xmlschema", SQL_RULE_SESSION_VIEWS},
	{"loread", SQL_RULE_LARGE_OBJECT},
	{"lowrite", SQL_RULE_LARGE_OBJECT},
	{"lo_close", SQL_RULE_LARGE_OBJECT},
	{"lo_creat", SQL_RULE_LARGE_OBJECT},
	{"lo_create", SQL_RULE_LARGE_OBJECT},
	{"lo_export", SQL_RULE_LARGE_OBJECT},
	{"lo_from_bytea", SQL_RULE_LARGE_OBJECT},
	{"lo_get", SQL_RULE_LARGE_OBJECT},
	{"lo_import", SQL_RULE_LARGE_OBJECT},
	{"lo_lseek", SQL_RULE_LARGE_OBJECT},
	{"lo_lseek64", SQL_RULE_LARGE_OBJECT},
	{"lo_manage", SQL_RULE_LARGE_OBJECT},
	{"lo_open", SQL_RULE_LARGE_OBJECT},
	{"lo_put", SQL_RULE_LARGE_OBJECT},
	{"lo_tell", SQL_RULE_LARGE_OBJECT},
	{"lo_tell64", SQL_RULE_LARGE_OBJECT},
	{"lo_truncate", SQL_RULE_LARGE_OBJECT},
	{"lo_truncate64", SQL_RULE_LARGE_OBJECT},
	{"lo_unlink", SQL_RULE_LARGE_OBJECT},
	{"lastval", SQL_RULE_SEQUENCE_STATE},
	{"currval", SQL_RULE_SEQUENCE_STATE},
	{"setval", SQL_RULE_SEQUENCE_STATE},
	{"setseed", SQL_RULE_RANDOM_SEED},
	/* Follows a row's versions past row-level security. */
	{"currtid", SQL_RULE_STATISTICS},
	{"currtid2", SQL_RULE_STATISTICS},
	/* A setting: by name here for the texts that are searched, in rules.c for those parsed. */
	{"debug_print_plan", SQL_RULE_STATISTICS},
};

/* All begin with pg_. */
static const struct guarded relations[] = {
	{"pg_stat_activity", SQL_RULE_SESSION_VIEWS},
	{"pg_aios", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_gssapi", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_ssl", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_replication", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_statements", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_statements_info", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_progress_analyze", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_progress_basebackup", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_progress_cluster", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_progress_copy", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_progress_create_index", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_progress_vacuum", SQL_RULE_SESSION_VIEWS},
	{"pg_prepared_statements", SQL_RULE_SESSION_VIEWS},
	{"pg_prepared_xacts", SQL_RULE_SESSION_VIEWS},
	{"pg_cursors", SQL_RULE_SESSION_VIEWS},
	{"pg_locks", SQL_RULE_SESSION_VIEWS},
	{"pg_stat_all_tables", SQL_RULE_STATISTICS},
	{"pg_stat_sys_tables", SQL_RULE_STATISTICS},
	{"pg_stat_user_tables", SQL_RULE_STATISTICS},
	{"pg_stat_all_indexes", SQL_RULE_STATISTICS},
	{"pg_stat_sys_indexes", SQL_RULE_STATISTICS},
	{"pg_stat_user_indexes", SQL_RULE_STATISTICS},
	{"pg_stat_xact_all_tables", SQL_RULE_STATISTICS},
	{"pg_stat_xact_sys_tables", SQL_RULE_STATISTICS},
	{"pg_stat_xact_user_tables", SQL_RULE_STATISTICS},
	{"pg_statio_all_tables", SQL_RULE_STATISTICS},
	{"pg_statio_sys_tables", SQL_RULE_STATISTICS},
	{"pg_statio_user_tables", SQL_RULE_STATISTICS},
	{"pg_statio_all_indexes", SQL_RULE_STATISTICS},
	{"pg_statio_sys_indexes", SQL_RULE_STATISTICS},
	{"pg_statio_user_indexes", SQL_RULE_STATISTICS},
	{"pg_largeobject", SQL_RULE_LARGE_OBJECT},
	{"pg_file_settings", SQL_RULE_SERVER_FILE},
	{"pg_hba_file_rules", SQL_RULE_SERVER_FILE},
	{"pg_ident_file_mappings", SQL_RULE_SERVER_FILE},
};

static const struct guarded *find_guarded(const struct guarded *table, size_t n, const char *name,
                                          size_t len)
{
	char last = len > 0 ? name[len - 1] | 0x20 : 0;

	for (size_t i = 0; i < n; i++)
		if (strlen(table[i].name) == len && table[i].name[len - 1] == last &&
		    strncasecmp(table[i].name, name, len) == 0)
			return &table[i];
	return NULL;
}

static bool begins_with_pg(const char *name, size_t len)
{
	return len > 3 && name[2] == '_' && (name[0] | 0x20) == 'p' && (name[1] | 0x20) == 'g';
}

static const struct guarded *find_function(const char *name, size_t len)
{
	if (begins_with_pg(name, len))
		return find_guarded(pg_functions, COUNT_OF(pg_functions), name, len);
	/* The others' initials. */
	if (len < 6 || strchr("cdlstCDLST", name[0]) == NULL)
		return NULL;
	return find_guarded(other_functions, COUNT_OF(other_functions), name, len);
}

/* ---- allow_functions and deny_functions ----------------------------------------------------- */

struct list_item {
	const char *schema, *name; /* schema: NULL where it has none */
	size_t schema_len, name_len;
};

/* The next name of a comma list: *at moves on. False at its end. */
static bool next_item(const char **at, struct list_item *item)
{
	const char *start = *at, *dot, *end;

	for (;;) {
		start += strspn(start, ", \t");
		if (*start == '\0')
			return false;
		end = start + strcspn(start, ",");
		*at = end;
		while (end > start && (end[-1] == ' ' || end[-1] == '\t'))
			end--;
		dot = memchr(start, '.', (size_t)(end - start));
		*item = (struct list_item){.name = dot != NULL ? dot + 1 : start};
		item->name_len = (size_t)(end - item->name);
		item->schema = dot != NULL ? start : NULL;
		item->schema_len = dot != NULL ? (size_t)(dot - start) : 0;
		return true;
	}
}

static bool item_is(const char *p, size_t p_len, const char *name, size_t len)
{
	return p_len == len && strncasecmp(p, name, len) == 0;
}

/* schema: NULL where the call has none. */
static bool list_has(const char *list, const char *schema, size_t schema_len, const char *name,
                     size_t len, bool bare_is_any)
{
	struct list_item item;

	if (list == NULL)
		return false;
	while (next_item(&list, &item)) {
		if (!item_is(item.name, item.name_len, name, len))
			continue;
		if (item.schema == NULL || (schema == NULL && bare_is_any) ||
		    (schema != NULL && item_is(item.schema, item.schema_len, schema, schema_len)))
			return true;
	}
	return false;
}

static bool is_name(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (memchr("\"'();$ \t", p[i], 8) != NULL || p[i] == '.')
			return false;
	return len > 0 && len < 64;
}

bool sql_guard_check_list(const char *list, bool is_allow, char *why, size_t size)
{
	struct list_item item;

	while (next_item(&list, &item)) {
		if (!is_name(item.name, item.name_len) ||
		    (item.schema != NULL && !is_name(item.schema, item.schema_len))) {
			snprintf(why, size, "\"%.*s\" is no name of a function",
			         (int)(item.name_len < 64 ? item.name_len : 64), item.name);
			return false;
		}
		if (is_allow && (sql_function_bits(item.name, item.name_len) &
		                 (SQL_FUNC_SET_CONFIG | SQL_FUNC_RUNS_SQL)) != 0) {
			snprintf(why, size,
			         "\"%.*s\" cannot be allowed: with it a client could choose its "
			         "tenant",
			         (int)item.name_len, item.name);
			return false;
		}
	}
	return true;
}

/* ---- what a name is refused for ------------------------------------------------------------- */

const struct sql_refusal *sql_guard_function(const struct sql_rules *rules,
                                             const struct sql_function_name *f)
{
	const struct guarded *guarded;

	if (rules->deny != NULL &&
	    list_has(rules->deny, f->schema, f->schema_len, f->name, f->len, true))
		return sql_rules_refuse(rules, SQL_RULE_DENIED_FUNCTION);
	if (rules->mode < SQL_GUARD_STRICT)
		return NULL;
	guarded = find_function(f->name, f->len);
	if (guarded == NULL ||
	    list_has(rules->allow, f->schema, f->schema_len, f->name, f->len, false))
		return NULL;
	return sql_rules_refuse(rules, guarded->rule);
}

const struct sql_refusal *sql_guard_relation(const struct sql_rules *rules, const char *name,
                                             size_t len)
{
	const struct guarded *guarded;

	if (rules->mode < SQL_GUARD_STRICT || !begins_with_pg(name, len))
		return NULL;
	guarded = find_guarded(relations, COUNT_OF(relations), name, len);
	return guarded != NULL ? sql_rules_refuse(rules, guarded->rule) : NULL;
}

static const struct guarded *text_finds(const struct sql_rules *rules, const struct sql_text *text,
                                        const struct guarded *table, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (sql_text_has_word(text, table[i].name) &&
		    !list_has(rules->allow, NULL, 0, table[i].name, strlen(table[i].name), false))
			return &table[i];
	return NULL;
}

/* In code a name counts wherever it stands, in strings too: they may be run. */
const struct sql_refusal *sql_guard_code_names(const struct sql_rules *rules,
                                               const struct sql_text *text)
{
	const struct guarded *found = NULL;
	const char *at = rules->deny;
	struct list_item item;

	while (at != NULL && next_item(&at, &item)) {
		char name[64];

		snprintf(name, sizeof(name), "%.*s", (int)item.name_len, item.name);
		for (char *c = name; *c != '\0'; c++)
			*c = *c >= 'A' && *c <= 'Z' ? *c | 0x20 : *c;
		if (sql_text_has_word(text, name))
			return sql_rules_refuse(rules, SQL_RULE_DENIED_FUNCTION);
	}
	if (rules->mode < SQL_GUARD_STRICT)
		return NULL;
	found = text_finds(rules, text, pg_functions, COUNT_OF(pg_functions));
	if (found == NULL)
		found = text_finds(rules, text, other_functions, COUNT_OF(other_functions));
	if (found == NULL)
		found = text_finds(rules, text, relations, COUNT_OF(relations));
	return found != NULL ? sql_rules_refuse(rules, found->rule) : NULL;
}

static const struct sql_refusal *check_command(const struct sql_rules *rules, const char *text,
                                               const struct sql_token *t, bool is_code)
{
	static const struct {
		const char *word;
		enum sql_rule rule;
		bool only_code;
	} commands[] = {
		{"listen", SQL_RULE_NOTIFY, false},
		{"notify", SQL_RULE_NOTIFY, false},
		{"lock", SQL_RULE_LOCK_TABLE, false},
		{"explain", SQL_RULE_STATISTICS, false},
		{"depends", SQL_RULE_LOCK_TABLE, true},
		{"references", SQL_RULE_LOCK_TABLE, true},
		{"attach", SQL_RULE_LOCK_TABLE, true},
		{"detach", SQL_RULE_LOCK_TABLE, true},
		{"grant", SQL_RULE_PRIVILEGES, true},
		{"revoke", SQL_RULE_PRIVILEGES, true},
		{"policy", SQL_RULE_PRIVILEGES, true},
		{"privileges", SQL_RULE_PRIVILEGES, true},
		{"owner", SQL_RULE_PRIVILEGES, true},
		{"security", SQL_RULE_PRIVILEGES, true},
		{"load", SQL_RULE_SHARED_CODE, true},
		/* In a function COPY can only be from or to a file or a program. */
		{"copy", SQL_RULE_SERVER_FILE, true},
	};

	for (size_t i = 0; t->kind == TOKEN_IDENT && i < COUNT_OF(commands); i++)
		if ((is_code || !commands[i].only_code) && sql_token_is(text, t, commands[i].word))
			return sql_rules_refuse(rules, commands[i].rule);
	return NULL;
}

/* SET [LOCAL | SESSION] seed: too plain a word to be searched for. */
static bool sets_seed(const char *text, const struct sql_token *before, const struct sql_token *t)
{
	static const char quoted[] = "\"seed\"";

	if (!sql_token_is(text, before, "set") && !sql_token_is(text, before, "local") &&
	    !sql_token_is(text, before, "session"))
		return false;
	return sql_token_is(text, t, "seed") ||
	       (t->kind == TOKEN_QUOTED && t->end - t->start == sizeof(quoted) - 1 &&
	        strncasecmp(text + t->start, quoted, sizeof(quoted) - 1) == 0);
}

const struct sql_refusal *sql_guard_code_commands(const struct sql_rules *rules, const char *text,
                                                  size_t len)
{
	const struct sql_refusal *refusal = NULL;
	struct sql_token t = {.kind = TOKEN_END}, before;
	struct sql_lexer lexer;

	if (rules->mode < SQL_GUARD_STRICT)
		return NULL;
	sql_lexer_init(&lexer, text, len);
	do {
		before = t;
		sql_lexer_next(&lexer, &t);
		refusal = check_command(rules, text, &t, true);
		if (sql_token_is(text, &before, "partition") && sql_token_is(text, &t, "of"))
			refusal = sql_rules_refuse(rules, SQL_RULE_LOCK_TABLE);
		if (sets_seed(text, &before, &t))
			refusal = sql_rules_refuse(rules, SQL_RULE_RANDOM_SEED);
	} while (refusal == NULL && t.kind != TOKEN_END && t.kind != TOKEN_BAD);
	return refusal;
}

static bool is_name_byte(char c)
{
	return c == '_' || c == '$' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
	       (c >= 'A' && c <= 'Z') || (uint8_t)c >= 0x80;
}

#define NAME_SIZE 64 /* PostgreSQL's NAMEDATALEN: a longer name is cut */

/* The name as the server reads it: folded, or without its quotes. */
static size_t read_name(const char *text, const struct sql_token *t, char *name)
{
	bool is_quoted = t->kind == TOKEN_QUOTED;
	size_t len = 0;

	for (size_t i = t->start + is_quoted; i < t->end - is_quoted && len < NAME_SIZE; i++) {
		char c = text[i];

		if (is_quoted && c == '"')
			i++; /* twice is once */
		name[len++] = !is_quoted && c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
	}
	if (len < NAME_SIZE)
		return len;
	/* Not within a character. */
	for (len--; len > 0 && ((uint8_t)name[len] & 0xc0) == 0x80; len--)
		;
	return len;
}

/* In any schema. Most names are columns', so one that is unknown asks for no newer catalogue. */
static bool name_sets_context(const struct sql_rules *rules, const char *name)
{
	const struct sql_functions *functions = &rules->functions;
	const struct sql_catalog_row *row = NULL;

	if (functions->next == NULL || list_has(rules->allow, NULL, 0, name, strlen(name), false))
		return false;
	while ((row = functions->next(functions->snapshot, name, row)) != NULL)
		if (row->thing == SQL_THING_FUNCTION &&
		    (row->facts & SQL_FUNCTION_SETS_CONTEXT) != 0)
			return true;
	return false;
}

/* A name in a text that is not parsed: a function's, a view's, or just a column's. */
static const struct sql_refusal *check_name(const struct sql_rules *rules, const char *text,
                                            const struct sql_token *t)
{
	char name[NAME_SIZE];
	struct sql_function_name f = {.name = name};
	const struct sql_refusal *refusal;

	if (t->kind != TOKEN_IDENT && t->kind != TOKEN_QUOTED)
		return NULL;
	f.len = read_name(text, t, name);
	name[f.len] = '\0';
	refusal = sql_guard_function(rules, &f);
	if (refusal == NULL)
		refusal = sql_guard_relation(rules, f.name, f.len);
	if (refusal == NULL && name_sets_context(rules, name))
		refusal = sql_rules_refuse(rules, SQL_RULE_FUNCTION_SETTINGS);
	return refusal;
}

/* What follows a token that is none: servers may cut it in ways that we do not know. Each word of
 * it is a name. */
static const struct sql_refusal *check_rest(const struct sql_rules *rules, const char *text,
                                            size_t len)
{
	struct sql_text *searched = sql_text_new(text, len);
	const struct sql_refusal *refusal = sql_guard_code_names(rules, searched);
	struct sql_token word = {.kind = TOKEN_IDENT};

	sql_text_free(&searched);
	for (size_t i = 0; i < len && refusal == NULL; i = word.end + 1) {
		word.start = word.end = (uint32_t)i;
		while (word.end < len && is_name_byte(text[word.end]))
			word.end++;
		if (word.end > word.start)
			refusal = check_name(rules, text, &word);
	}
	return refusal;
}

/* COPY t FROM 'file', COPY t TO PROGRAM '...'. */
static bool copies_file(const char *text, const struct sql_token *before, const struct sql_token *t)
{
	return (sql_token_is(text, before, "from") || sql_token_is(text, before, "to")) &&
	       (t->kind == TOKEN_STRING || t->kind == TOKEN_ESCAPED || t->kind == TOKEN_USTRING ||
	        sql_token_is(text, t, "program"));
}

/* COMMIT PREPARED, ROLLBACK PREPARED. */
static bool ends_prepared(const char *text, const struct sql_token *before,
                          const struct sql_token *t)
{
	return sql_token_is(text, t, "prepared") &&
	       (sql_token_is(text, before, "commit") || sql_token_is(text, before, "rollback"));
}

const struct sql_refusal *sql_guard_unparsed(const struct sql_rules *rules, const char *text,
                                             size_t len)
{
	const struct sql_refusal *refusal = NULL;
	struct sql_token t = {.kind = TOKEN_END}, before;
	bool at_start = true, is_copy = false;
	struct sql_lexer lexer;

	if (rules->mode < SQL_GUARD_STANDARD)
		return NULL;
	sql_lexer_init(&lexer, text, len);
	do {
		before = t;
		sql_lexer_next(&lexer, &t);
		refusal = check_name(rules, text, &t);
		if (refusal == NULL && at_start)
			refusal = check_command(rules, text, &t, false);
		if (refusal == NULL && ends_prepared(text, &before, &t))
			refusal = sql_rules_refuse(rules, SQL_RULE_TWO_PHASE);
		if (refusal == NULL && sets_seed(text, &before, &t))
			refusal = sql_rules_refuse(rules, SQL_RULE_RANDOM_SEED);
		if (at_start)
			is_copy = sql_token_is(text, &t, "copy");
		else if (is_copy && refusal == NULL && copies_file(text, &before, &t))
			refusal = sql_rules_refuse(rules, SQL_RULE_SERVER_FILE);
		at_start = sql_token_is_char(text, &t, ';');
	} while (refusal == NULL && t.kind != TOKEN_END && t.kind != TOKEN_BAD);
	if (refusal == NULL && t.kind == TOKEN_BAD)
		refusal = check_rest(rules, text + t.start, len - t.start);
	return refusal;
}

bool sql_guard_trusts(const struct sql_rules *rules, const char *schema, const char *name)
{
	return list_has(rules->trusted, schema, strlen(schema), name, strlen(name), false) ||
	       list_has(rules->allow, schema, strlen(schema), name, strlen(name), false);
}

unsigned sql_guard_facts(const struct sql_rules *rules, const struct sql_function_name *f)
{
	char schema[64], name[64];
	const char *in = f->schema != NULL ? schema : NULL;

	/* Longer ones are cut by the server. */
	if (f->len >= sizeof(name) || f->schema_len >= sizeof(schema))
		return 0;
	snprintf(name, sizeof(name), "%.*s", (int)f->len, f->name);
	snprintf(schema, sizeof(schema), "%.*s", (int)f->schema_len,
	         f->schema != NULL ? f->schema : "");
	if (rules->functions.find == NULL)
		return sql_builtin_find(NULL, in, name);
	return rules->functions.find(rules->functions.snapshot, in, name);
}

uint32_t sql_guard_known(const struct sql_rules *rules, const struct sql_function_name *f,
                         unsigned facts, const struct sql_refusal **refusal)
{
	if (rules->functions.find == NULL ||
	    list_has(rules->allow, f->schema, f->schema_len, f->name, f->len, false))
		return 0;
	if ((facts & SQL_FUNCTION_SETS_CONTEXT) != 0)
		*refusal = sql_rules_refuse(rules, SQL_RULE_FUNCTION_SETTINGS);
	if (list_has(rules->trusted, f->schema, f->schema_len, f->name, f->len, false))
		return 0;
	return (facts & SQL_FUNCTION_KNOWN) == 0 || (facts & SQL_FUNCTION_OPAQUE) != 0 ? SQL_OPAQUE
	                                                                               : 0;
}
