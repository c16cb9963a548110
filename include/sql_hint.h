/* What a statement asks of its answer in a comment, consistency='strong' in sqlcommenter's form.
 * Comments that the text begins or ends with count, no others. Pure. */
#ifndef PGUSHER_SQL_HINT_H
#define PGUSHER_SQL_HINT_H

#include <stdbool.h>
#include <stddef.h>

enum sql_hint_key {
	SQL_HINT_CONSISTENCY,
	SQL_HINT_MAX_LAG,
	SQL_HINT_READ_YOUR_WRITES,
	SQL_HINT_COUNT,
};

#define SQL_HINT_VALUE_MAX 32

struct sql_hints {
	bool has[SQL_HINT_COUNT];
	/* Decoded; "" where it is longer than any that means something. */
	char value[SQL_HINT_COUNT][SQL_HINT_VALUE_MAX];
};

static inline bool sql_hint_is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* False for nearly every statement, by its first byte and its last one. */
static inline bool sql_may_have_hints(const char *text, size_t len)
{
	while (len > 0 && sql_hint_is_blank(*text)) {
		text++;
		len--;
	}
	if (len >= 4 && text[0] == '/' && text[1] == '*')
		return true;
	while (len > 0 && (sql_hint_is_blank(text[len - 1]) || text[len - 1] == ';'))
		len--;
	return len >= 4 && text[len - 1] == '/' && text[len - 2] == '*';
}

/* False: there are none. Of several values for one key the last one counts. The text is shorter
 * than SQL_TEXT_MAX. */
bool sql_hints_read(const char *text, size_t len, struct sql_hints *hints);

#endif
