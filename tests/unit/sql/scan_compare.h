/* Compares our lexer with the reference, token by token; for cmocka tests. */
#ifndef PGUSHER_TESTS_SCAN_COMPARE_H
#define PGUSHER_TESTS_SCAN_COMPARE_H

#include <stdio.h>
#include <string.h>

#include "scan_reference.h"
#include "sql/sql_int.h"

/* The kind that the reference must give for ours; 0: any. */
static inline uint32_t reference_kind(enum sql_token_kind kind)
{
	switch (kind) {
	case TOKEN_UQUOTED:
		return REFERENCE_UIDENT;
	case TOKEN_STRING:
	case TOKEN_ESCAPED:
		return REFERENCE_SCONST;
	case TOKEN_USTRING:
		return REFERENCE_USCONST;
	case TOKEN_BITS:
		return REFERENCE_BCONST;
	case TOKEN_HEX:
		return REFERENCE_XCONST;
	case TOKEN_INTEGER:
		return REFERENCE_ICONST;
	case TOKEN_NUMBER:
		return REFERENCE_FCONST;
	case TOKEN_PARAM:
		return REFERENCE_PARAM;
	default:
		return 0;
	}
}

/* Where the server continues a literal behind a -- comment, libpg_query does not: it returns
 * comments as tokens. (Two literals side by side are a syntax error to its grammar, so that
 * the statement is unparsed if it comes there.) */
static inline bool is_continued_past_comment(const struct sql_token *token,
                                             const struct reference_token *want)
{
	return token->start == want->start && token->is_split;
}

/* libpg_query does not tell where U&'' and U&"" end; where the next token starts does. */
static inline bool reference_has_end(const struct reference_token *want)
{
	return want->kind != REFERENCE_USCONST && want->kind != REFERENCE_UIDENT;
}

static inline bool may_fail_later(const char *text)
{
	/* Escapes that name no character, which we do not look into. */
	return strchr(text, '\\') != NULL || strcasestr(text, "u&") != NULL;
}

/* Returns whether the text had no error. */
static inline bool compare(const char *text)
{
	struct reference reference;
	struct sql_lexer lexer;
	struct sql_token token;
	size_t i = 0;
	bool ok;

	reference_scan(text, &reference);
	ok = !reference.has_error;
	sql_lexer_init(&lexer, text, strlen(text));
	for (sql_lexer_next(&lexer, &token); token.kind != TOKEN_END && token.kind != TOKEN_BAD;
	     sql_lexer_next(&lexer, &token), i++) {
		const struct reference_token *want = &reference.tokens[i];
		uint32_t kind = reference_kind(token.kind);

		if (reference.has_error)
			continue;
		if (i == reference.n || reference.tokens == NULL) {
			fail_msg("%s: a token too many at %u", text, token.start);
			return false;
		}
		if (is_continued_past_comment(&token, want))
			break;
		if (token.start != want->start ||
		    (token.end != want->end && reference_has_end(want)) ||
		    (kind != 0 && kind != want->kind))
			fail_msg("%s: token %zu is %u-%u kind %d, not %u-%u kind %u", text, i,
			         token.start, token.end, token.kind, want->start, want->end,
			         want->kind);
	}
	if (reference.has_error && token.kind != TOKEN_BAD && !may_fail_later(text))
		fail_msg("%s: the scanner finds an error, we do not", text);
	if (!reference.has_error && token.kind != TOKEN_END && token.kind != TOKEN_BAD) {
		reference_free(&reference);
		return ok;
	}
	/* A stray byte is a token to the scanner, and an error to the grammar. */
	if (!reference.has_error && token.kind == TOKEN_END && i != reference.n)
		fail_msg("%s: %zu tokens, not %zu", text, i, reference.n);
	reference_free(&reference);
	return ok;
}

#endif
