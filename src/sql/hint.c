/* Hints in comments: consistency='bounded',max_lag='500ms', as sqlcommenter writes them: keys and
 * values URL-encoded, other keys (traceparent, route, ...) ignored. Blanks and values without
 * quotes are taken too, because people write them.
 *
 * A comment that is not of this form from its beginning to its end is a comment like any other.
 * What looks like one at the text's end may begin in a literal: where it has one of our keys the
 * lexer is asked, so that the others cost no look at the text. */
#include <string.h>

#include "base/buf.h"
#include "sql_hint.h"
#include "sql_int.h"

/* Of leading comments together, and of trailing ones: traces take less than 1000. */
#define COMMENTS_MAX 4096

struct reader {
	const char *at, *end;
};

static void skip_blanks(struct reader *r)
{
	while (r->at < r->end && sql_hint_is_blank(*r->at))
		r->at++;
}

static bool take_char(struct reader *r, char c)
{
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

/* What needs no encoding in a URL, and the sign of what is encoded. */
static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       (c != '\0' && strchr("-_.~%", c) != NULL);
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* One byte of a value, from %XX, \c or c. */
static char decode(struct reader *r)
{
	char c = *r->at++;

	if (c == '\\' && r->at < r->end)
		return *r->at++;
	if (c == '%' && r->end - r->at >= 2 && digit_of(r->at[0]) >= 0 && digit_of(r->at[1]) >= 0) {
		c = (char)(digit_of(r->at[0]) * 16 + digit_of(r->at[1]));
		r->at += 2;
	}
	return c;
}

/* Up to the quote, or without one as long as it is a word; cut to "" where it does not fit. */
static bool take_value(struct reader *r, char out[SQL_HINT_VALUE_MAX])
{
	bool is_quoted = take_char(r, '\''), fits = true;
	const char *start = r->at;
	size_t n = 0;

	while (r->at < r->end && (is_quoted ? *r->at != '\'' : is_plain(*r->at))) {
		char c = decode(r);

		fits = fits && c != '\0' && n + 1 < SQL_HINT_VALUE_MAX;
		if (fits)
			out[n++] = c;
	}
	out[fits ? n : 0] = '\0';
	return is_quoted ? take_char(r, '\'') : r->at > start;
}

static int key_of(const char *p, size_t len)
{
	static const char *const keys[] = {
		[SQL_HINT_CONSISTENCY] = "consistency",
		[SQL_HINT_MAX_LAG] = "max_lag",
		[SQL_HINT_READ_YOUR_WRITES] = "read_your_writes",
	};

	for (int i = 0; i < SQL_HINT_COUNT; i++)
		if (strlen(keys[i]) == len && memcmp(keys[i], p, len) == 0)
			return i;
	return -1;
}

/* key='value' */
static bool take_pair(struct reader *r, struct sql_hints *hints)
{
	char value[SQL_HINT_VALUE_MAX] = "";
	const char *start = r->at;
	size_t len;
	int key;

	while (r->at < r->end && is_plain(*r->at))
		r->at++;
	len = (size_t)(r->at - start);
	skip_blanks(r);
	if (len == 0 || !take_char(r, '='))
		return false;
	skip_blanks(r);
	if (!take_value(r, value))
		return false;
	key = key_of(start, len);
	if (key >= 0) {
		hints->has[key] = true;
		memcpy(hints->value[key], value, sizeof(value));
	}
	return true;
}

/* Between its signs. All of it or nothing. */
static void read_comment(const char *body, size_t len, struct sql_hints *hints)
{
	struct reader r = {body, body + len};
	struct sql_hints found = *hints;

	do {
		skip_blanks(&r);
		if (!take_pair(&r, &found))
			return;
		skip_blanks(&r);
	} while (take_char(&r, ','));
	if (r.at == r.end)
		*hints = found;
}

/* A run of comments with only blanks between them. One that holds others ends it. */
static void read_comments(const char *at, const char *end, struct sql_hints *hints)
{
	while (end - at >= 4 && at[0] == '/' && at[1] == '*') {
		const char *body = at + 2;
		const char *last = memmem(body, (size_t)(end - body), "*/", 2);

		if (last == NULL || memmem(body, (size_t)(last - body), "/*", 2) != NULL)
			return;
		read_comment(body, (size_t)(last - body), hints);
		for (at = last + 2; at < end && sql_hint_is_blank(*at);)
			at++;
	}
}

/* Where the comment begins that ends right before `end`, `end` where there is none. */
static const char *comment_before(const char *floor, const char *end)
{
	const char *p;

	if (end - floor < 4 || end[-1] != '/' || end[-2] != '*')
		return end;
	for (p = end - 4; p >= floor; p--) {
		if (p[0] == '/' && p[1] == '*')
			return p;
		if (p[0] == '*' && p[1] == '/')
			break;
	}
	return end;
}

/* True where no token has any of [start, end): it is white space and comments. */
static bool is_gap(const char *text, size_t len, size_t start, size_t end)
{
	struct sql_lexer lexer;
	struct sql_token t;

	sql_lexer_init(&lexer, text, len);
	do {
		sql_lexer_next(&lexer, &t);
	} while (t.kind != TOKEN_END && t.kind != TOKEN_BAD && t.end <= start);
	return t.kind != TOKEN_BAD && t.start >= end;
}

/* Where the run of comments begins that ends right before `end`. */
static const char *run_before(const char *floor, const char *end)
{
	const char *start = end, *at = end, *found;

	while ((found = comment_before(floor, at)) < at) {
		start = at = found;
		while (at > floor && sql_hint_is_blank(at[-1]))
			at--;
	}
	return start;
}

static void read_trailing(const char *text, size_t len, struct sql_hints *hints)
{
	struct sql_hints found = *hints;
	const char *end = text + len, *start;

	while (end > text && (sql_hint_is_blank(end[-1]) || end[-1] == ';'))
		end--;
	start = run_before(end - text > COMMENTS_MAX ? end - COMMENTS_MAX : text, end);
	read_comments(start, end, &found);
	if (memcmp(&found, hints, sizeof(found)) != 0 &&
	    is_gap(text, len, (size_t)(start - text), (size_t)(end - text)))
		*hints = found;
}

bool sql_hints_read(const char *text, size_t len, struct sql_hints *hints)
{
	const char *at = text, *end = text + len;

	memset(hints, 0, sizeof(*hints));
	while (at < end && sql_hint_is_blank(*at))
		at++;
	read_comments(at, end - at > COMMENTS_MAX ? at + COMMENTS_MAX : end, hints);
	read_trailing(text, len, hints);
	for (int i = 0; i < SQL_HINT_COUNT; i++)
		if (hints->has[i])
			return true;
	return false;
}
