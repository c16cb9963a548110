/* DEALLOCATE name: the one statement whose argument the session needs. Read with the lexer; the
 * classifier has said already that it is one. */
#include <string.h>
#include <strings.h>

#include "sql_int.h"

/* Unquoted names are folded to lower case (ASCII, as PostgreSQL does in UTF8), "" in a quoted one
 * stands for ". */
static bool take_name(const struct sql_lexer *lexer, const struct sql_token *t, char *name,
                      size_t size)
{
	const uint8_t *p = lexer->text + t->start, *end = lexer->text + t->end;
	bool quoted = t->kind == TOKEN_QUOTED;
	size_t n = 0;

	if (t->kind != TOKEN_IDENT && !quoted)
		return false;
	if (quoted) {
		p++;
		end--;
	}
	for (; p < end; p++) {
		if (n + 1 >= size)
			return false;
		name[n++] = (char)(!quoted && *p >= 'A' && *p <= 'Z' ? *p + 32 : *p);
		if (quoted && *p == '"')
			p++;
	}
	name[n] = '\0';
	return n > 0;
}

bool sql_deallocate_name(const char *text, size_t len, char *name, size_t size)
{
	struct sql_lexer lexer;
	struct sql_token first, second, third;

	sql_lexer_init(&lexer, text, len);
	sql_lexer_next(&lexer, &first);
	if (!sql_token_is(text, &first, "deallocate"))
		return false;
	sql_lexer_next(&lexer, &second);
	sql_lexer_next(&lexer, &third);
	/* PREPARE is noise before a name, and a name itself. */
	if (sql_token_is(text, &second, "prepare") &&
	    (third.kind == TOKEN_IDENT || third.kind == TOKEN_QUOTED)) {
		second = third;
		sql_lexer_next(&lexer, &third);
	}
	while (third.kind == TOKEN_SELF && text[third.start] == ';')
		sql_lexer_next(&lexer, &third);
	return third.kind == TOKEN_END && !sql_token_is(text, &second, "all") &&
	       take_name(&lexer, &second, name, size);
}
