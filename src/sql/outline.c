/* What texts that are not parsed do, as far as the words between their literals tell: how the
 * statements of a long text start, and what a DO block or a function's body makes. Pure.
 *
 * A search for names (text.c) is only worth something where names cannot be spelled in pieces,
 * and where nothing is made that runs later: a literal that becomes a function's body is code
 * in which all the spellings begin anew. */
#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "sql_int.h"

static bool token_is_any(const char *text, const struct sql_token *t, const char *const *words)
{
	for (; *words != NULL; words++)
		if (sql_token_is(text, t, *words))
			return true;
	return false;
}

/* ---- statements */

static bool may_start(const char *text, const struct sql_token *t)
{
	/* What follows these is their own, and is searched. Not here: DISCARD and DEALLOCATE, for
	 * they must be seen to be followed, and PREPARE, DECLARE, DROP, ALTER, GRANT... */
	static const char *const harmless[] = {
		"set",    "reset",    "show",      "begin",    "start", "commit",  "end",
		"abort",  "rollback", "savepoint", "release",  "lock",  "analyze", "analyse",
		"notify", "close",    "listen",    "unlisten", NULL,
	};

	if (sql_token_is_char(text, t, '('))
		return true;
	return t->kind == TOKEN_IDENT &&
	       (sql_word_is_plain_start(text + t->start, t->end - t->start) ||
	        token_is_any(text, t, harmless));
}

bool sql_text_starts_plain(const char *text, size_t len)
{
	struct sql_lexer lexer;
	struct sql_token t;
	bool at_start = true;

	sql_lexer_init(&lexer, text, len);
	for (;;) {
		sql_lexer_next(&lexer, &t);
		if (t.kind == TOKEN_END)
			return true;
		/* From here on servers may cut the text in ways that we do not know. */
		if (t.kind == TOKEN_BAD)
			return !at_start && memchr(text + t.start, ';', len - t.start) == NULL;
		if (sql_token_is_char(text, &t, ';'))
			at_start = true;
		else if (at_start && !may_start(text, &t))
			return false;
		else
			at_start = false;
	}
}

/* A quote, a comment, and another quote. */
static bool may_split(const char *text, size_t len)
{
	const char *end = text + len, *at = memchr(text, '\'', len);

	at = at != NULL ? memmem(at, (size_t)(end - at), "--", 2) : NULL;
	return at != NULL && memchr(at, '\'', (size_t)(end - at)) != NULL;
}

bool sql_text_splits_literals(const char *text, size_t len)
{
	struct sql_lexer lexer;
	struct sql_token t;

	if (memmem(text, len, "--", 2) == NULL)
		return false;
	sql_lexer_init(&lexer, text, len);
	do {
		sql_lexer_next(&lexer, &t);
		if (t.is_split)
			return true;
	} while (t.kind != TOKEN_END && t.kind != TOKEN_BAD);
	return t.kind == TOKEN_BAD && may_split(text + t.start, len - t.start);
}

/* ---- code */

/* t is the token behind CREATE. What is made must not be code, nor a way to call a function or
 * to reach a table by another name. */
static bool creates_code(struct sql_lexer *lexer, const char *text, struct sql_token *t)
{
	static const char *const before[] = {"temp",     "temporary", "local", "global",
	                                     "unlogged", "unique",    NULL};
	static const char *const allowed[] = {"table",  "index",        "sequence",
	                                      "schema", "materialized", "statistics",
	                                      "type",   "domain",       NULL};

	while (token_is_any(text, t, before))
		sql_lexer_next(lexer, t);
	return !token_is_any(text, t, allowed);
}

/* E'a\b' and U&'..' are other text than they seem, and so is a literal in several pieces. */
static bool hides_text(const struct sql_token *t)
{
	return t->kind == TOKEN_BAD || t->kind == TOKEN_ESCAPED || t->kind == TOKEN_USTRING ||
	       t->kind == TOKEN_UQUOTED || t->is_continued;
}

/* GRANT and REVOKE of roles, which have no ON before their TO or FROM; DROP and REASSIGN OWNED BY.
 * in_grant: where ON has not come yet. */
static bool changes_roles(const char *text, const struct sql_token *t, bool *in_grant,
                          bool *is_owned)
{
	static const char *const starts[] = {"grant", "revoke", NULL};
	static const char *const targets[] = {"to", "from", NULL};
	bool was_owned = *is_owned;

	*is_owned = sql_token_is(text, t, "owned");
	if (token_is_any(text, t, starts))
		*in_grant = true;
	else if (sql_token_is(text, t, "on") || sql_token_is_char(text, t, ';'))
		*in_grant = false;
	return (*in_grant && token_is_any(text, t, targets)) ||
	       (was_owned && sql_token_is(text, t, "by"));
}

enum sql_code_fault sql_code_check(const char *text, size_t len)
{
	static const char *const conflict_actions[] = {"nothing", "update", NULL};
	bool in_grant = false, is_owned = false, is_create = false, is_do = false;
	struct sql_lexer lexer;
	struct sql_token t;

	sql_lexer_init(&lexer, text, len);
	for (sql_lexer_next(&lexer, &t);; sql_lexer_next(&lexer, &t)) {
		if ((is_create && creates_code(&lexer, text, &t)) ||
		    (is_do && !token_is_any(text, &t, conflict_actions)))
			return SQL_CODE_NESTED;
		if (t.kind == TOKEN_END)
			return SQL_CODE_FINE;
		if (hides_text(&t))
			return SQL_CODE_HIDDEN;
		if (changes_roles(text, &t, &in_grant, &is_owned))
			return SQL_CODE_ROLES;
		is_create = sql_token_is(text, &t, "create");
		is_do = sql_token_is(text, &t, "do");
	}
}
