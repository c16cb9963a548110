/* Statements that one client must not have parsed for another. Constants like 'now'::timestamptz
 * are worked out when a statement is parsed; FETCH and EXECUTE get their columns from the cursor
 * or the statement that the session has at that time. Read with the lexer: any literal that
 * has such a word in it, for its type is not known here. */
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "sql_int.h"

/* PostgreSQL's date reader takes anything else for a delimiter: 'now_', 'today00:00'. */
static bool is_letter(uint8_t c)
{
	return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

/* A literal, with its quotes, that has such a word anywhere in it: '{now}' is an array's. */
static bool is_date(const uint8_t *p, const uint8_t *end)
{
	static const char *const words[] = {"now", "today", "tomorrow", "yesterday"};
	const uint8_t *start;

	while (p < end) {
		while (p < end && !is_letter(*p))
			p++;
		for (start = p; p < end && is_letter(*p);)
			p++;
		for (size_t i = 0; i < COUNT_OF(words); i++)
			if ((size_t)(p - start) == strlen(words[i]) &&
			    strncasecmp((const char *)start, words[i], strlen(words[i])) == 0)
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
		if (t.kind == TOKEN_ESCAPED || t.kind == TOKEN_USTRING || t.is_continued)
			return true; /* what it says is not read here */
		if (t.kind == TOKEN_STRING && is_date(lexer.text + t.start, lexer.text + t.end))
			return true;
	}
	return false;
}
