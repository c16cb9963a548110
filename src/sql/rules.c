/* The guard rules: what no client may set, by which spelling soever, and why. Pure.
 *
 * A tenant's context is a setting, so whoever can set it is whoever he likes. The rules refuse
 * each way to set it that can be read from the statement, and each way whose text cannot be
 * read (a name made at run time). What they cannot see, a function that was there before,
 * row-level security has to stand on its own (the signed context). */
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "sql_int.h"

#define OWN_SETTING "usher.token"

struct sql_rules *sql_rules_new(const char *const *protected_settings)
{
	struct sql_rules *rules = mem_zalloc(sizeof(*rules));
	size_t n = 0;

	while (protected_settings[n] != NULL)
		n++;
	rules->mode = SQL_GUARD_STANDARD;
	rules->names = mem_zalloc((n + 2) * sizeof(rules->names[0]));
	for (size_t i = 0; i <= n; i++) {
		rules->names[i] = mem_strdup(i < n ? protected_settings[i] : OWN_SETTING);
		for (char *c = rules->names[i]; *c != '\0'; c++)
			if (*c >= 'A' && *c <= 'Z')
				*c |= 0x20;
	}
	return rules;
}

void sql_rules_free(struct sql_rules **rules)
{
	for (char **name = (*rules)->names; *name != NULL; name++)
		mem_free(*name);
	mem_free((*rules)->names);
	mem_free((*rules)->allow);
	mem_free((*rules)->deny);
	mem_free((*rules)->trusted);
	MEM_FREE(rules);
}

/* ---- settings and their values */

enum value_kind {
	VALUE_DEFAULT, /* RESET, TO DEFAULT */
	VALUE_TEXT,
	VALUE_UNKNOWN, /* not a constant, or not one */
};

struct setting {
	struct buf name; /* with a NUL */
	enum value_kind kind;
	struct buf value; /* with a NUL where kind is VALUE_TEXT */
};

static void setting_fini(struct setting *s)
{
	buf_fini(&s->name);
	buf_fini(&s->value);
}

static bool setting_is(const struct setting *s, const char *name)
{
	return strcasecmp((const char *)s->name.data, name) == 0;
}

static bool is_client_setting(const struct sql_rules *rules, const char *name)
{
	for (char *const *p = rules->names; *p != NULL; p++)
		if (strcasecmp(*p, name) == 0)
			return false;
	return true;
}

/* Settings whose every value but the default is refused. */
static const struct {
	const char *name;
	enum sql_rule rule;
} fixed_settings[] = {
	{"role", SQL_RULE_ROLE_CHANGE},
	{"session_authorization", SQL_RULE_ROLE_CHANGE},
	{"is_superuser", SQL_RULE_ROLE_CHANGE},
	{"row_security", SQL_RULE_ROW_SECURITY},
	{"session_replication_role", SQL_RULE_REPLICATION_ROLE},
	{"seed", SQL_RULE_RANDOM_SEED},
	/* Sends the plan with its estimates, as EXPLAIN does. */
	{"debug_print_plan", SQL_RULE_STATISTICS},
};

static bool setting_name_is_own(const char *name)
{
	return strcasecmp(name, OWN_SETTING) == 0;
}

bool sql_rules_protect(const struct sql_rules *rules, const char *name)
{
	for (size_t i = 0; i < COUNT_OF(fixed_settings); i++)
		if (strcasecmp(fixed_settings[i].name, name) == 0)
			return sql_rules_refuse(rules, fixed_settings[i].rule) != NULL;
	return !is_client_setting(rules, name) &&
	       (setting_name_is_own(name) ||
	        sql_rules_refuse(rules, SQL_RULE_TENANT_SETTING) != NULL);
}

/* As PostgreSQL reads a boolean: any beginning of the word that is not ambiguous. */
static bool text_is_on(const char *text)
{
	size_t len = strlen(text);

	return len > 0 &&
	       (strncasecmp(text, "true", len) == 0 || strncasecmp(text, "yes", len) == 0 ||
	        strcasecmp(text, "on") == 0 || strcmp(text, "1") == 0);
}

/* Encodings in which every byte of a multibyte character is beyond ASCII, so that our lexer
 * and the server's see the same quotes. Names without punctuation and in lower case, as
 * PostgreSQL compares them (pg_char_to_encoding). Not here: SJIS, BIG5, GBK, UHC, GB18030,
 * JOHAB, SHIFT_JIS_2004. */
static bool encoding_is_safe(const char *name)
{
	static const char *const safe[] = {
		"utf8",        "unicode",     "sqlascii",    "muleinternal", "mskoi8r",
		"koi8",        "koi8r",       "koi8u",       "latin1",       "latin2",
		"latin3",      "latin4",      "latin5",      "latin6",       "latin7",
		"latin8",      "latin9",      "latin10",     "iso88591",     "iso88592",
		"iso88593",    "iso88594",    "iso88595",    "iso88596",     "iso88597",
		"iso88598",    "iso88599",    "iso885910",   "iso885913",    "iso885914",
		"iso885915",   "iso885916",   "euccn",       "eucjp",        "eucjis2004",
		"euckr",       "euctw",       "win",         "alt",          "abc",
		"tcvn",        "tcvn5712",    "vscii",       "win866",       "win874",
		"win1250",     "win1251",     "win1252",     "win1253",      "win1254",
		"win1255",     "win1256",     "win1257",     "win1258",      "windows866",
		"windows874",  "windows1250", "windows1251", "windows1252",  "windows1253",
		"windows1254", "windows1255", "windows1256", "windows1257",  "windows1258",
	};
	char clean[32];
	size_t len = 0;

	for (; *name != '\0'; name++) {
		char c = *name;

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		if ((c < 'a' || c > 'z') && (c < '0' || c > '9'))
			continue;
		if (len + 1 == sizeof(clean))
			return false;
		clean[len++] = c;
	}
	clean[len] = '\0';
	for (size_t i = 0; i < COUNT_OF(safe); i++)
		if (strcmp(clean, safe[i]) == 0)
			return true;
	return false;
}

static const struct sql_refusal *check_setting(const struct sql_rules *rules,
                                               const struct setting *s)
{
	const char *value = (const char *)s->value.data;

	if (setting_is(s, OWN_SETTING))
		return sql_rules_refuse(rules, SQL_RULE_USHER_TOKEN);
	if (strncasecmp((const char *)s->name.data, "usher.", 6) == 0)
		return sql_rules_refuse(rules, SQL_RULE_USHER_SETTING);
	if (!is_client_setting(rules, (const char *)s->name.data))
		return sql_rules_refuse(rules, SQL_RULE_TENANT_SETTING);
	if (s->kind == VALUE_DEFAULT)
		return NULL;
	for (size_t i = 0; i < COUNT_OF(fixed_settings); i++)
		if (setting_is(s, fixed_settings[i].name))
			return sql_rules_refuse(rules, fixed_settings[i].rule);
	if (setting_is(s, "standard_conforming_strings") &&
	    (s->kind != VALUE_TEXT || !text_is_on(value)))
		return sql_rules_refuse(rules, SQL_RULE_STRING_SYNTAX);
	if (setting_is(s, "client_encoding") && (s->kind != VALUE_TEXT || !encoding_is_safe(value)))
		return sql_rules_refuse(rules, SQL_RULE_CLIENT_ENCODING);
	return NULL;
}

/* ---- SET and set_config */

static void read_set(const char *set, struct setting *s)
{
	const char *kind = sql_json_get(set, "kind");
	const char *arg = sql_json_first(sql_json_get(set, "args"));
	struct sql_json_string name;

	memset(s, 0, sizeof(*s));
	if (sql_json_string(sql_json_get(set, "name"), &name))
		sql_json_decode(&name, &s->name);
	else
		buf_put_u8(&s->name, 0);
	if (sql_json_is(kind, "VAR_RESET") || sql_json_is(kind, "VAR_SET_DEFAULT"))
		s->kind = VALUE_DEFAULT;
	else if (arg != NULL && sql_json_next(arg) == NULL && sql_read_constant(arg, &s->value))
		s->kind = VALUE_TEXT;
	else
		s->kind = VALUE_UNKNOWN;
}

const struct sql_refusal *sql_rules_check_set(const struct sql_rules *rules, const char *set)
{
	const char *kind = sql_json_get(set, "kind");
	const struct sql_refusal *refusal;
	struct setting s;

	/* SET TRANSACTION and the like name no setting; RESET ALL is the session's affair. */
	if (sql_json_is(kind, "VAR_SET_MULTI") || sql_json_is(kind, "VAR_RESET_ALL"))
		return NULL;
	read_set(set, &s);
	refusal = check_setting(rules, &s);
	setting_fini(&s);
	return refusal;
}

/* False where the name cannot be read. */
static bool read_set_config(const char *call, struct setting *s)
{
	const char *name = sql_call_args(call);
	const char *value = name != NULL ? sql_json_next(name) : NULL;

	memset(s, 0, sizeof(*s));
	if (value == NULL || !sql_read_constant(name, &s->name))
		return false;
	s->kind = sql_read_constant(value, &s->value) ? VALUE_TEXT : VALUE_UNKNOWN;
	return true;
}

const struct sql_refusal *sql_rules_check_set_config(const struct sql_rules *rules,
                                                     const char *call)
{
	const struct sql_refusal *refusal;
	struct setting s;

	if (read_set_config(call, &s))
		refusal = check_setting(rules, &s);
	else
		refusal = sql_rules_refuse(rules, SQL_RULE_SET_CONFIG_UNREADABLE);
	setting_fini(&s);
	return refusal;
}

bool sql_set_config_is_local(const char *call)
{
	const char *arg = sql_call_args(call);

	for (int i = 0; i < 2 && arg != NULL; i++)
		arg = sql_json_next(arg);
	return sql_json_is_true(
		sql_json_get(sql_json_get(sql_json_get(arg, "A_Const"), "boolval"), "boolval"));
}

bool sql_set_alters(const char *set)
{
	struct setting s;
	bool alters;

	read_set(set, &s);
	alters = sql_setting_alters((const char *)s.name.data);
	setting_fini(&s);
	return alters;
}

bool sql_set_config_alters(const char *call)
{
	struct setting s;
	bool alters = !read_set_config(call, &s) || sql_setting_alters((const char *)s.name.data);

	setting_fini(&s);
	return alters;
}

static bool is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

/* False: the name must not be all that is known of it. */
static bool put_name(const char *name, struct buf *names)
{
	/* The transaction's own, and those that can only be set to what they are. */
	static const char *const pointless[] = {
		"transaction_isolation", "transaction_read_only",       "transaction_deferrable",
		"is_superuser",          "standard_conforming_strings",
	};
	/* SET seed is a command, and its value is not shown; temp_buffers cannot be set any more
	 * where a temporary table was used before; another role may be allowed less than setting
	 * the rest takes; and a role that may not set session_replication_role may not set it to
	 * what it is either, so that carrying it over would fail. */
	static const char *const stuck[] = {"seed", "temp_buffers", "role", "session_authorization",
	                                    "session_replication_role"};

	if (is_among(name, stuck, COUNT_OF(stuck)))
		return false;
	if (!is_among(name, pointless, COUNT_OF(pointless)))
		buf_put_cstr(names, name);
	return true;
}

bool sql_set_names(const char *set, struct buf *names)
{
	const char *kind = sql_json_get(set, "kind");
	struct setting s;
	bool done = true;

	if (sql_json_is(kind, "VAR_RESET_ALL"))
		return true;
	if (sql_json_is(kind, "VAR_SET_MULTI")) {
		if (sql_json_is(sql_json_get(set, "name"), "SESSION CHARACTERISTICS"))
			done = put_name("default_transaction_isolation", names) &&
			       put_name("default_transaction_read_only", names) &&
			       put_name("default_transaction_deferrable", names);
		return done;
	}
	read_set(set, &s);
	/* Back to the role of the login is no state. */
	if (s.kind == VALUE_DEFAULT &&
	    (setting_is(&s, "role") || setting_is(&s, "session_authorization")))
		done = true;
	else
		done = put_name((const char *)s.name.data, names);
	setting_fini(&s);
	return done;
}

bool sql_set_config_names(const char *call, struct buf *names)
{
	struct setting s;
	/* One that cannot be read is refused. */
	bool done = !read_set_config(call, &s) || put_name((const char *)s.name.data, names);

	setting_fini(&s);
	return done;
}

static bool may_name_temp(const struct setting *s)
{
	return s->kind == VALUE_UNKNOWN ||
	       (s->kind == VALUE_TEXT &&
	        strcasestr((const char *)s->value.data, "pg_temp") != NULL);
}

bool sql_set_may_name_temp(const char *set)
{
	struct buf value = {0};
	struct sql_json_string name;
	bool may = false;

	/* The names of settings have no case, not even in quotes. */
	if (!sql_json_string(sql_json_get(set, "name"), &name) ||
	    (!name.has_escapes && (name.len != strlen("search_path") ||
	                           strncasecmp(name.p, "search_path", name.len) != 0)))
		return false;
	for (const char *arg = sql_json_first(sql_json_get(set, "args")); arg != NULL && !may;
	     arg = sql_json_next(arg)) {
		value.len = 0;
		may = !sql_read_constant(arg, &value) ||
		      strcasestr((const char *)value.data, "pg_temp") != NULL;
	}
	buf_fini(&value);
	return may;
}

bool sql_set_config_may_name_temp(const char *call)
{
	struct setting s;
	bool may = read_set_config(call, &s) && setting_is(&s, "search_path") && may_name_temp(&s);

	setting_fini(&s);
	return may;
}
