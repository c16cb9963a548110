/* Statements that one client must not have parsed for another. Constants like 'now'::timestamptz
 * are worked out when a statement is parsed; FETCH and EXECUTE get their columns from the cursor
 * or the statement that the session has at that time. Read with the lexer: any literal that
 * begins with such a word, for its type is not known here. */
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "sql_int.h"

static bool is_space(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A literal with its quotes: 'x', E'x', $tag$x$tag$. */
static bool is_date(const uint8_t *p, const uint8_t *end)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	const uint8_t *quote = memchr(p + 1, *p == '$' ? '$' : '\'', (size_t)(end - p - 1));

	if (*p != '\'')
		p = quote != NULL ? quote : end - 1;
	for (p++; p < end && is_space(*p);)
		p++;
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		size_t len = strlen(words[i]);

		if ((size_t)(end - p) >= len && strncasecmp((const char *)p, words[i], len) == 0)
			return true;
	}
	return false;
}

bool sql_is_personal(const char *text, size_t len)
{
	static const char *const starts[] = {"fetch", "move", "close", "execute"};
	struct sql_lexer lexer;
	struct sql_token t;

	sql_lexer_init(&lexer, text, len);
	sql_lexer_next(&lexer, &t);
	for (size_t i = 0; i < COUNT_OF(starts); i++)
		if (sql_token_is(text, &t, starts[i]))
			return true;
	for (; t.kind != TOKEN_END && t.kind != TOKEN_BAD; sql_lexer_next(&lexer, &t)) {
		if (t.kind == TOKEN_ESCAPED || t.kind == TOKEN_USTRING)
			return true; /* what it says is not read here */
		if (t.kind == TOKEN_STRING && is_date(lexer.text + t.start, lexer.text + t.end))
			return true;
	}
	return false;
}
