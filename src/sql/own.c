/* SET usher.token: the one setting that PgUsher keeps itself. Read with the lexer and before
 * anything else, so that a token is neither parsed nor remembered; every other spelling, and
 * every other place, is for the guard to refuse (rules.c). */
#include <string.h>
#include <strings.h>

#include "sql_int.h"

static bool is_word(const struct sql_lexer *lexer, const struct sql_token *t, const char *word)
{
	return t->kind == TOKEN_IDENT && t->end - t->start == strlen(word) &&
	       strncasecmp((const char *)lexer->text + t->start, word, strlen(word)) == 0;
}

static bool is_char(const struct sql_lexer *lexer, const struct sql_token *t, char c)
{
	return (t->kind == TOKEN_SELF || t->kind == TOKEN_OP) && t->end - t->start == 1 &&
	       lexer->text[t->start] == (uint8_t)c;
}

/* usher.token at t, which then is what follows. */
static bool take_name(struct sql_lexer *lexer, struct sql_token *t)
{
	static const char *const words[] = {"usher", ".", "token"};

	for (size_t i = 0; i < 3; i++) {
		if (i == 1 ? !is_char(lexer, t, '.') : !is_word(lexer, t, words[i]))
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

	if (is_word(lexer, t, "default")) {
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
	own->is_reset = is_word(&lexer, &t, "reset");
	if (!own->is_reset && !is_word(&lexer, &t, "set"))
		return false;
	sql_lexer_next(&lexer, &t);
	if (!own->is_reset) {
		own->is_local = is_word(&lexer, &t, "local");
		if (own->is_local || is_word(&lexer, &t, "session"))
			sql_lexer_next(&lexer, &t);
	}
	if (!take_name(&lexer, &t))
		return false;
	if (!own->is_reset) {
		if (!is_char(&lexer, &t, '=') && !is_word(&lexer, &t, "to"))
			return false;
		sql_lexer_next(&lexer, &t);
		if (!take_value(&lexer, &t, own))
			return false;
	}
	while (is_char(&lexer, &t, ';'))
		sql_lexer_next(&lexer, &t);
	return t.kind == TOKEN_END;
}
