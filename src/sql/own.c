/* SET usher.token: the one setting that PgUsher keeps itself. Read with the lexer and before
 * anything else, so that a token is neither parsed nor remembered; every other spelling, and
 * every other place, is for the guard to refuse (rules.c). */
#include <string.h>
#include <strings.h>

#include "sql_int.h"

static const char *text_of(const struct sql_lexer *lexer)
{
	return (const char *)lexer->text;
}

/* usher.token at t, which then is what follows. */
static bool take_name(struct sql_lexer *lexer, struct sql_token *t)
{
	static const char *const words[] = {"usher", ".", "token"};

	for (size_t i = 0; i < 3; i++) {
		if (i == 1 ? !sql_token_is_char(text_of(lexer), t, '.')
		           : !sql_token_is(text_of(lexer), t, words[i]))
			return false;
		sql_lexer_next(lexer, t);
	}
	return true;
}

/* 'x' and DEFAULT; a quote or backslash is in no token, so there is nothing to undo. */
static bool take_value(struct sql_lexer *lexer, struct sql_token *t, struct sql_own *own)
{
	const char *p = (const char *)lexer->text + t->start;
	size_t len = t->end - t->start;

	if (sql_token_is(text_of(lexer), t, "default")) {
		own->value = NULL;
	} else if (t->kind == TOKEN_STRING && len >= 2 && p[0] == '\'' && p[len - 1] == '\'' &&
	           memchr(p + 1, '\'', len - 2) == NULL && memchr(p + 1, '\\', len - 2) == NULL) {
		own->value = p + 1;
		own->len = len - 2;
	} else {
		return false;
	}
	sql_lexer_next(lexer, t);
	return true;
}

bool sql_read_own(const char *text, size_t len, struct sql_own *own)
{
	struct sql_lexer lexer;
	struct sql_token t;

	*own = (struct sql_own){0};
	sql_lexer_init(&lexer, text, len);
	sql_lexer_next(&lexer, &t);
	own->is_reset = sql_token_is(text, &t, "reset");
	if (!own->is_reset && !sql_token_is(text, &t, "set"))
		return false;
	sql_lexer_next(&lexer, &t);
	if (!own->is_reset) {
		own->is_local = sql_token_is(text, &t, "local");
		if (own->is_local || sql_token_is(text, &t, "session"))
			sql_lexer_next(&lexer, &t);
	}
	if (!take_name(&lexer, &t))
		return false;
	if (!own->is_reset) {
		if (!sql_token_is_char(text, &t, '=') && !sql_token_is(text, &t, "to"))
			return false;
		sql_lexer_next(&lexer, &t);
		if (!take_value(&lexer, &t, own))
			return false;
	}
	while (sql_token_is_char(text, &t, ';'))
		sql_lexer_next(&lexer, &t);
	return t.kind == TOKEN_END;
}
