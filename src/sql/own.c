/* Statements about PgUsher's own settings, usher.*: SET, RESET, SHOW, and current_setting or
 * set_config as all that a SELECT does. Read with the lexer and before anything else, so that a
 * token is neither parsed nor remembered; every other spelling, and every other place, is for the
 * guard to refuse (rules.c), or, where it only reads, for the server, who knows no such setting. */
#include <string.h>
#include <strings.h>

#include "sql_int.h"

struct reader {
	struct sql_lexer lexer;
	struct sql_token t; /* the next one */
};

static const char *text_of(const struct reader *r)
{
	return (const char *)r->lexer.text;
}

static bool take_word(struct reader *r, const char *word)
{
	if (!sql_token_is(text_of(r), &r->t, word))
		return false;
	sql_lexer_next(&r->lexer, &r->t);
	return true;
}

static bool take_char(struct reader *r, char c)
{
	if (!sql_token_is_char(text_of(r), &r->t, c))
		return false;
	sql_lexer_next(&r->lexer, &r->t);
	return true;
}

static bool fold(const char *p, size_t len, char name[SQL_OWN_NAME_MAX])
{
	if (len == 0 || len >= SQL_OWN_NAME_MAX)
		return false;
	for (size_t i = 0; i < len; i++)
		name[i] = (char)(p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
	name[len] = '\0';
	return true;
}

/* usher.x, which becomes x. */
static bool take_name(struct reader *r, struct sql_own *own)
{
	const char *text = text_of(r);

	if (!take_word(r, "usher") || !take_char(r, '.') || r->t.kind != TOKEN_IDENT ||
	    !fold(text + r->t.start, r->t.end - r->t.start, own->name))
		return false;
	sql_lexer_next(&r->lexer, &r->t);
	return true;
}

/* 'x' without a quote or backslash in it: there is nothing to undo. */
static bool read_string(const struct reader *r, const char **value, size_t *len)
{
	const char *p = text_of(r) + r->t.start;
	size_t n = r->t.end - r->t.start;

	if (r->t.kind != TOKEN_STRING || n < 2 || p[0] != '\'' || p[n - 1] != '\'' ||
	    memchr(p + 1, '\'', n - 2) != NULL || memchr(p + 1, '\\', n - 2) != NULL)
		return false;
	*value = p + 1;
	*len = n - 2;
	return true;
}

static bool is_token_setting(const struct sql_own *own)
{
	return strcmp(own->name, "token") == 0;
}

/* 'x', DEFAULT, and of all but the token a word or a number. */
static bool take_value(struct reader *r, struct sql_own *own)
{
	if (sql_token_is(text_of(r), &r->t, "default")) {
		own->value = NULL;
	} else if (!read_string(r, &own->value, &own->len)) {
		if (is_token_setting(own) ||
		    (r->t.kind != TOKEN_IDENT && r->t.kind != TOKEN_INTEGER &&
		     r->t.kind != TOKEN_NUMBER))
			return false;
		own->value = text_of(r) + r->t.start;
		own->len = r->t.end - r->t.start;
	}
	sql_lexer_next(&r->lexer, &r->t);
	return true;
}

static bool read_set(struct reader *r, struct sql_own *own)
{
	own->verb = SQL_OWN_SET;
	own->is_local = take_word(r, "local");
	if (!own->is_local)
		(void)take_word(r, "session");
	return take_name(r, own) && (take_char(r, '=') || take_word(r, "to")) && take_value(r, own);
}

/* ---- the functions --------------------------------------------------------------------------- */

/* 'usher.x', which becomes x. Never the token: set_config's text may be remembered. */
static bool take_name_string(struct reader *r, struct sql_own *own)
{
	const char *p;
	size_t len;

	if (!read_string(r, &p, &len) || len < 6 || strncasecmp(p, "usher.", 6) != 0 ||
	    !fold(p + 6, len - 6, own->name) || is_token_setting(own))
		return false;
	sql_lexer_next(&r->lexer, &r->t);
	return true;
}

static bool take_bool(struct reader *r, bool *value)
{
	*value = take_word(r, "true");
	return *value || take_word(r, "false");
}

static bool read_set_config(struct reader *r, struct sql_own *own)
{
	own->verb = SQL_OWN_SET_CONFIG;
	if (!take_char(r, '(') || !take_name_string(r, own) || !take_char(r, ','))
		return false;
	if (!take_word(r, "null")) {
		if (!read_string(r, &own->value, &own->len))
			return false;
		sql_lexer_next(&r->lexer, &r->t);
	}
	return take_char(r, ',') && take_bool(r, &own->is_local) && take_char(r, ')');
}

static bool read_current_setting(struct reader *r, struct sql_own *own)
{
	own->verb = SQL_OWN_CURRENT_SETTING;
	return take_char(r, '(') && take_name_string(r, own) &&
	       (!take_char(r, ',') || take_bool(r, &own->is_missing_ok)) && take_char(r, ')');
}

static bool read_select(struct reader *r, struct sql_own *own)
{
	if (take_word(r, "pg_catalog") && !take_char(r, '.'))
		return false;
	if (take_word(r, "current_setting"))
		return read_current_setting(r, own);
	return take_word(r, "set_config") && read_set_config(r, own);
}

static bool read_statement(struct reader *r, struct sql_own *own)
{
	if (take_word(r, "select"))
		return read_select(r, own);
	if (take_word(r, "set"))
		return read_set(r, own);
	own->verb = SQL_OWN_SHOW;
	if (take_word(r, "show"))
		return take_name(r, own);
	own->verb = SQL_OWN_RESET;
	return take_word(r, "reset") && take_name(r, own);
}

bool sql_read_own(const char *text, size_t len, struct sql_own *own)
{
	struct reader r;

	*own = (struct sql_own){0};
	sql_lexer_init(&r.lexer, text, len);
	sql_lexer_next(&r.lexer, &r.t);
	if (!read_statement(&r, own))
		return false;
	while (take_char(&r, ';'))
		;
	return r.t.kind == TOKEN_END;
}
