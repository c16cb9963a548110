/* libFuzzer: any bytes as SQL text for the lexer. It starts and ends its tokens where libpg_query's
 * scanner, which is PostgreSQL's own, does. */
#include "../unit/sql/scan_reference.h"
#include "sql_input.h"

static void check_tokens(const char *text, size_t size)
{
	struct reference reference;
	struct sql_lexer lexer;
	struct sql_token token;

	reference_scan(text, &reference);
	sql_lexer_init(&lexer, text, size);
	sql_lexer_next(&lexer, &token);
	for (size_t i = 0; i < reference.n && token.kind != TOKEN_BAD; i++) {
		if (token.kind == TOKEN_END || token.start != reference.tokens[i].start)
			fuzz_die("token", text);
		sql_lexer_next(&lexer, &token);
	}
	if (!reference.has_error && token.kind != TOKEN_BAD && token.kind != TOKEN_END)
		fuzz_die("a token too many", text);
	reference_free(&reference);
}

/* Whatever the bytes are: tokens lie in the text, in order, and end. */
static void check_places(const char *text, size_t size)
{
	struct sql_lexer lexer;
	struct sql_token token;
	size_t at = 0;

	sql_lexer_init(&lexer, text, size);
	do {
		sql_lexer_next(&lexer, &token);
		if (token.start < at || token.end < token.start || token.end > size)
			fuzz_die("place", text);
		if (token.kind != TOKEN_END && token.kind != TOKEN_BAD && token.end == token.start)
			fuzz_die("an empty token", text);
		at = token.end;
	} while (token.kind != TOKEN_END && token.kind != TOKEN_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size > FUZZ_TEXT_MAX)
		return 0;
	text = mem_strndup((const char *)data, size);
	check_places(text, size);
	if (memchr(text, 0, size) == NULL && !may_continue_past_comment(text))
		check_tokens(text, size);
	mem_free(text);
	return 0;
}
