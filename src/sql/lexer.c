/* Cuts SQL text into tokens exactly as the scan.l of PostgreSQL 14 to 18 does with
 * standard_conforming_strings on. Pure; reads the text in place, allocates nothing.
 *
 * It must agree with the server about where every token starts and ends, for a literal that
 * ends elsewhere than we think is a way to hide a statement from the guard. Where it cannot
 * (unterminated strings, stray bytes) or where servers differ among themselves it returns
 * TOKEN_BAD, and its callers then take the text as it is. What differs:
 *   123abc, $1abc    two tokens in 14, an error since 15
 *   0x1f, 1_000      two tokens in 14, an error in 15, a number since 16
 *   1e5$1            two tokens up to 15, an error since 16 (e5$1 is an identifier's text)
 *   a vertical tab   an error up to 15, white space since 16
 * tests/unit/sql/test_lexer.c compares it with libpg_query's own scanner, which is that of
 * one version only. */
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "sql_int.h"

enum char_class {
	CC_BAD, /* no token starts with it; zero, so that the table's gaps say so */
	CC_SPACE,
	CC_WORD, /* letters, underscore, anything beyond ASCII */
	CC_DIGIT,
	CC_QUOTE,
	CC_DQUOTE,
	CC_DOLLAR,
	CC_DOT,
	CC_OP,   /* may be part of a longer operator */
	CC_SELF, /* ( ) , ; [ ] */
	CC_COLON,
};

static const uint8_t char_classes[256] = {
	[' '] = CC_SPACE,
	['\t'] = CC_SPACE,
	['\n'] = CC_SPACE,
	['\r'] = CC_SPACE,
	['\f'] = CC_SPACE,
	['A' ... 'Z'] = CC_WORD,
	['a' ... 'z'] = CC_WORD,
	['_'] = CC_WORD,
	[0x80 ... 0xff] = CC_WORD,
	['0' ... '9'] = CC_DIGIT,
	['\''] = CC_QUOTE,
	['"'] = CC_DQUOTE,
	['$'] = CC_DOLLAR,
	['.'] = CC_DOT,
	[':'] = CC_COLON,
	['~'] = CC_OP,
	['!'] = CC_OP,
	['@'] = CC_OP,
	['#'] = CC_OP,
	['^'] = CC_OP,
	['&'] = CC_OP,
	['|'] = CC_OP,
	['`'] = CC_OP,
	['?'] = CC_OP,
	['+'] = CC_OP,
	['-'] = CC_OP,
	['*'] = CC_OP,
	['/'] = CC_OP,
	['%'] = CC_OP,
	['<'] = CC_OP,
	['>'] = CC_OP,
	['='] = CC_OP,
	['('] = CC_SELF,
	[')'] = CC_SELF,
	[','] = CC_SELF,
	[';'] = CC_SELF,
	['['] = CC_SELF,
	[']'] = CC_SELF,
};

/* Bytes that may follow inside an unquoted identifier. */
static const bool word_bytes[256] = {
	['A' ... 'Z'] = true, ['a' ... 'z'] = true,   ['0' ... '9'] = true,
	['_'] = true,         [0x80 ... 0xff] = true, ['$'] = true,
};

static bool is_word_byte(uint8_t c)
{
	return word_bytes[c];
}

static uint8_t byte_at(const struct sql_lexer *lexer, uint32_t at)
{
	return at < lexer->len ? lexer->text[at] : 0;
}

static bool is_digit_at(const struct sql_lexer *lexer, uint32_t at)
{
	return char_classes[byte_at(lexer, at)] == CC_DIGIT;
}

static bool is_newline(uint8_t c)
{
	return c == '\n' || c == '\r';
}

static uint32_t skip_line_comment(const struct sql_lexer *lexer, uint32_t at)
{
	while (at < lexer->len && !is_newline(lexer->text[at]))
		at++;
	return at;
}

/* Past a block comment, which may nest; lexer->len + 1 where it is not terminated. */
static uint32_t skip_block_comment(const struct sql_lexer *lexer, uint32_t at)
{
	unsigned depth = 1;

	at += 2;
	while (at + 1 < lexer->len) {
		const uint8_t *p = lexer->text + at;

		if (p[0] == '/' && p[1] == '*') {
			depth++;
			at += 2;
		} else if (p[0] == '*' && p[1] == '/') {
			at += 2;
			if (--depth == 0)
				return at;
		} else {
			at++;
		}
	}
	return lexer->len + 1;
}

/* Past white space and comments. */
static uint32_t skip_gap(const struct sql_lexer *lexer, uint32_t at)
{
	while (at < lexer->len) {
		uint8_t c = lexer->text[at];

		if (char_classes[c] == CC_SPACE)
			at++;
		else if (c == '-' && byte_at(lexer, at + 1) == '-')
			at = skip_line_comment(lexer, at);
		else if (c == '/' && byte_at(lexer, at + 1) == '*')
			at = skip_block_comment(lexer, at);
		else
			break;
	}
	return at;
}

/* Two literals with nothing but white space and -- comments between them, a newline among
 * it, are one (scan.l: quotecontinue). Returns where the second one's quote is, 0: none. Where
 * a vertical tab lies between them servers differ: lexer->len, at which no literal ends. */
static uint32_t find_continuation(const struct sql_lexer *lexer, uint32_t at)
{
	bool newline = false;

	while (at < lexer->len) {
		uint8_t c = lexer->text[at];

		if (char_classes[c] == CC_SPACE) {
			newline |= is_newline(c);
			at++;
		} else if (c == '-' && byte_at(lexer, at + 1) == '-') {
			at = skip_line_comment(lexer, at);
		} else if (c == '\v') {
			return lexer->len;
		} else {
			return newline && c == '\'' ? at : 0;
		}
	}
	return 0;
}

static void token_bad(struct sql_lexer *lexer, struct sql_token *token)
{
	token->kind = TOKEN_BAD;
	token->end = lexer->pos = lexer->len;
}

static void token_set(struct sql_lexer *lexer, struct sql_token *token, enum sql_token_kind kind,
                      uint32_t end)
{
	token->kind = kind;
	token->end = lexer->pos = end;
}

/* Past the quote that ends the piece whose first byte is at; 0 where there is none. */
static uint32_t skip_quoted(const struct sql_lexer *lexer, uint32_t at, uint8_t quote)
{
	for (;;) {
		const uint8_t *found =
			at < lexer->len ? memchr(lexer->text + at, quote, lexer->len - at) : NULL;

		if (found == NULL)
			return 0;
		at = (uint32_t)(found - lexer->text) + 1;
		if (byte_at(lexer, at) != quote)
			return at;
		at++; /* doubled: stands for itself */
	}
}

/* The same under the rules of E'...': a backslash takes the next byte with it. */
static uint32_t skip_escaped(const struct sql_lexer *lexer, uint32_t at, bool *has_backslash)
{
	while (at < lexer->len) {
		uint8_t c = lexer->text[at];

		if (c == '\\') {
			*has_backslash = true;
			at += 2;
		} else if (c != '\'') {
			at++;
		} else if (byte_at(lexer, at + 1) == '\'') {
			at += 2;
		} else {
			return at + 1;
		}
	}
	return 0;
}

/* B'' and X'': a quote is never part of them. */
static uint32_t skip_digits(const struct sql_lexer *lexer, uint32_t at)
{
	const uint8_t *found =
		at < lexer->len ? memchr(lexer->text + at, '\'', lexer->len - at) : NULL;

	return found != NULL ? (uint32_t)(found - lexer->text) + 1 : 0;
}

static uint32_t skip_piece(const struct sql_lexer *lexer, uint32_t at, enum sql_token_kind kind,
                           bool *has_backslash)
{
	if (kind == TOKEN_ESCAPED)
		return skip_escaped(lexer, at, has_backslash);
	if (kind == TOKEN_BITS || kind == TOKEN_HEX)
		return skip_digits(lexer, at);
	return skip_quoted(lexer, at, '\'');
}

/* quote_at: where the first quote is. kind TOKEN_ESCAPED becomes TOKEN_STRING where there is
 * no backslash. */
static void lex_string(struct sql_lexer *lexer, struct sql_token *token, uint32_t quote_at,
                       enum sql_token_kind kind)
{
	bool has_backslash = false;
	uint32_t at = quote_at, end;

	do {
		token->is_continued = at != quote_at;
		end = skip_piece(lexer, at + 1, kind, &has_backslash);
		if (end == 0) {
			token_bad(lexer, token);
			return;
		}
		at = find_continuation(lexer, end);
		if (at != 0 && memmem(lexer->text + end, at - end, "--", 2) != NULL)
			token->is_split = true;
	} while (at != 0);
	if (kind == TOKEN_ESCAPED && !has_backslash)
		kind = TOKEN_STRING;
	token_set(lexer, token, kind, end);
}

static void lex_quoted_ident(struct sql_lexer *lexer, struct sql_token *token, uint32_t quote_at,
                             enum sql_token_kind kind)
{
	uint32_t end = skip_quoted(lexer, quote_at + 1, '"');

	if (end == 0 || end == quote_at + 2) /* "" is no identifier */
		token_bad(lexer, token);
	else
		token_set(lexer, token, kind, end);
}

/* A letter that changes the meaning of the quote behind it: E'' B'' X'' U&'' U&"". N'' is a
 * keyword and a string to scan.l, so it needs nothing here. */
static bool lex_prefixed(struct sql_lexer *lexer, struct sql_token *token)
{
	uint32_t at = lexer->pos;
	uint8_t letter = lexer->text[at] | 0x20, next = byte_at(lexer, at + 1);

	if (letter == 'u' && next == '&') {
		uint8_t quote = byte_at(lexer, at + 2);

		if (quote == '\'')
			lex_string(lexer, token, at + 2, TOKEN_USTRING);
		else if (quote == '"')
			lex_quoted_ident(lexer, token, at + 2, TOKEN_UQUOTED);
		return quote == '\'' || quote == '"';
	}
	if (next != '\'')
		return false;
	if (letter == 'e')
		lex_string(lexer, token, at + 1, TOKEN_ESCAPED);
	else if (letter == 'b')
		lex_string(lexer, token, at + 1, TOKEN_BITS);
	else if (letter == 'x')
		lex_string(lexer, token, at + 1, TOKEN_HEX);
	return letter == 'e' || letter == 'b' || letter == 'x';
}

static void lex_word(struct sql_lexer *lexer, struct sql_token *token)
{
	const uint8_t *p = lexer->text + lexer->pos + 1, *end = lexer->text + lexer->len;

	if (!is_word_byte(byte_at(lexer, lexer->pos + 1)) && lex_prefixed(lexer, token))
		return;
	while (p < end && is_word_byte(*p))
		p++;
	token_set(lexer, token, TOKEN_IDENT, (uint32_t)(p - lexer->text));
}

static bool fits_int32(const uint8_t *digits, uint32_t len)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < len; i++) {
		value = value * 10 + (digits[i] - '0');
		if (value > INT32_MAX)
			return false;
	}
	return true;
}

/* Integers, decimals, exponents. What may go on an identifier is read in as many ways as there
 * are versions when it stands right behind a number: TOKEN_BAD. (1$1 is cut alike by all, but
 * the grammar knows no use for it.) */
static void lex_number(struct sql_lexer *lexer, struct sql_token *token)
{
	uint32_t start = lexer->pos, at = start;
	enum sql_token_kind kind = TOKEN_INTEGER;
	uint8_t c;

	while (is_digit_at(lexer, at))
		at++;
	/* 1..2 is two integers and a range. */
	if (byte_at(lexer, at) == '.' && byte_at(lexer, at + 1) != '.') {
		kind = TOKEN_NUMBER;
		at++;
		while (is_digit_at(lexer, at))
			at++;
	}
	c = byte_at(lexer, at);
	if (c == 'e' || c == 'E') {
		c = byte_at(lexer, at + 1);
		at += c == '+' || c == '-' ? 2 : 1;
		if (!is_digit_at(lexer, at)) {
			token_bad(lexer, token);
			return;
		}
		kind = TOKEN_NUMBER;
		while (is_digit_at(lexer, at))
			at++;
	}
	if (is_word_byte(byte_at(lexer, at))) {
		token_bad(lexer, token);
		return;
	}
	if (kind == TOKEN_INTEGER && !fits_int32(lexer->text + start, at - start))
		kind = TOKEN_NUMBER;
	token_set(lexer, token, kind, at);
}

/* $1, or a dollar-quoted string. */
static void lex_dollar(struct sql_lexer *lexer, struct sql_token *token)
{
	uint32_t start = lexer->pos, at = start + 1;
	const uint8_t *found;

	if (is_digit_at(lexer, at)) {
		while (is_digit_at(lexer, at))
			at++;
		if (char_classes[byte_at(lexer, at)] == CC_WORD)
			token_bad(lexer, token);
		else
			token_set(lexer, token, TOKEN_PARAM, at);
		return;
	}
	while (char_classes[byte_at(lexer, at)] == CC_WORD || is_digit_at(lexer, at))
		at++;
	if (byte_at(lexer, at) != '$') {
		token_bad(lexer, token);
		return;
	}
	at++;
	/* The first copy of the tag ends it: scan.l gives the last $ of another tag back, so
	 * that copies may overlap with other tags just as in this search. */
	found = memmem(lexer->text + at, lexer->len - at, lexer->text + start, at - start);
	if (found == NULL)
		token_bad(lexer, token);
	else
		token_set(lexer, token, TOKEN_STRING,
		          (uint32_t)(found - lexer->text) + (at - start));
}

/* Signs end a multi-character operator only where it holds one of these (scan.l, for the SQL
 * standard's sake: a=-1). */
static bool op_may_end_in_sign(const uint8_t *op, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if (memchr("~!@#^&|`?%", op[i], 10) != NULL)
			return true;
	return false;
}

/* A run of + and - is as many operators, each found by looking at the whole rest of the run, here
 * as in scan.l: seconds for 20,000 of them. No operator is as long as this (NAMEDATALEN). */
#define OPERATOR_RUN_MAX 64

static void lex_operator(struct sql_lexer *lexer, struct sql_token *token)
{
	const uint8_t *op = lexer->text + lexer->pos;
	uint32_t max = lexer->len - lexer->pos, len = 1;

	for (; len < max && len <= OPERATOR_RUN_MAX && char_classes[op[len]] == CC_OP; len++)
		if ((op[len - 1] == '/' && op[len] == '*') ||
		    (op[len - 1] == '-' && op[len] == '-')) {
			len--; /* a comment starts inside */
			break;
		}
	if (len > OPERATOR_RUN_MAX) {
		token_bad(lexer, token);
		return;
	}
	if (len > 1 && (op[len - 1] == '+' || op[len - 1] == '-') &&
	    !op_may_end_in_sign(op, len - 1))
		while (len > 1 && (op[len - 1] == '+' || op[len - 1] == '-'))
			len--;
	token_set(lexer, token, TOKEN_OP, lexer->pos + len);
}

bool sql_has_operator_run(const char *text, size_t len)
{
	struct sql_lexer lexer;
	struct sql_token token = {0};
	uint32_t run = 0;

	/* Most texts have none, not even in a literal or comment. */
	for (size_t i = 0; i < len && run <= OPERATOR_RUN_MAX; i++)
		run = char_classes[(uint8_t)text[i]] == CC_OP ? run + 1 : 0;
	if (run <= OPERATOR_RUN_MAX)
		return false;
	sql_lexer_init(&lexer, text, len);
	while (token.kind != TOKEN_BAD) {
		sql_lexer_next(&lexer, &token);
		if (token.kind == TOKEN_END)
			return false;
	}
	return token.start < len && char_classes[(uint8_t)text[token.start]] == CC_OP;
}

void sql_blank_comments(const char *text, size_t len, struct buf *out)
{
	struct sql_lexer lexer;
	struct sql_token token;
	uint32_t at = 0;

	out->len = 0;
	buf_put(out, text, len);
	buf_put_u8(out, 0);
	sql_lexer_init(&lexer, text, len);
	do {
		sql_lexer_next(&lexer, &token);
		while (at < token.start) {
			uint32_t end = at + 1;

			if (char_classes[lexer.text[at]] != CC_SPACE) {
				end = lexer.text[at] == '-' ? skip_line_comment(&lexer, at)
				                            : skip_block_comment(&lexer, at);
				end = end < token.start ? end : token.start;
				memset(out->data + at, ' ', end - at);
			}
			at = end;
		}
		at = token.end;
	} while (token.kind != TOKEN_END && token.kind != TOKEN_BAD);
}

void sql_lexer_init(struct sql_lexer *lexer, const char *text, size_t len)
{
	MUST(len <= SQL_TEXT_MAX);
	lexer->text = (const uint8_t *)text;
	lexer->len = (uint32_t)len;
	lexer->pos = 0;
}

void sql_lexer_next(struct sql_lexer *lexer, struct sql_token *token)
{
	uint32_t start = skip_gap(lexer, lexer->pos);
	uint8_t next;

	token->has_gap = start != lexer->pos;
	token->is_continued = token->is_split = false;
	token->start = start;
	if (start >= lexer->len) {
		/* One past the end: a comment that never ends. */
		token_set(lexer, token, start > lexer->len ? TOKEN_BAD : TOKEN_END, lexer->len);
		token->start = lexer->len;
		return;
	}
	lexer->pos = start;
	next = byte_at(lexer, start + 1);
	switch ((enum char_class)char_classes[lexer->text[start]]) {
	case CC_WORD:
		lex_word(lexer, token);
		return;
	case CC_DIGIT:
		lex_number(lexer, token);
		return;
	case CC_QUOTE:
		lex_string(lexer, token, start, TOKEN_STRING);
		return;
	case CC_DQUOTE:
		lex_quoted_ident(lexer, token, start, TOKEN_QUOTED);
		return;
	case CC_DOLLAR:
		lex_dollar(lexer, token);
		return;
	case CC_DOT:
		if (char_classes[next] == CC_DIGIT)
			lex_number(lexer, token);
		else if (next == '.')
			token_set(lexer, token, TOKEN_OP, start + 2);
		else
			token_set(lexer, token, TOKEN_SELF, start + 1);
		return;
	case CC_COLON:
		if (next == ':' || next == '=')
			token_set(lexer, token, TOKEN_OP, start + 2);
		else
			token_set(lexer, token, TOKEN_SELF, start + 1);
		return;
	case CC_OP:
		lex_operator(lexer, token);
		return;
	case CC_SELF:
		token_set(lexer, token, TOKEN_SELF, start + 1);
		return;
	case CC_SPACE:
	case CC_BAD:
		token_bad(lexer, token);
		return;
	}
	MUST_NOT_REACH();
}

bool sql_token_is(const char *text, const struct sql_token *t, const char *word)
{
	return t->kind == TOKEN_IDENT && t->end - t->start == strlen(word) &&
	       strncasecmp(text + t->start, word, strlen(word)) == 0;
}

bool sql_token_is_char(const char *text, const struct sql_token *t, char c)
{
	return (t->kind == TOKEN_SELF || t->kind == TOKEN_OP) && t->end - t->start == 1 &&
	       text[t->start] == c;
}
