/* From a text to its cache key, and from a key to the text that is parsed. Pure; allocates
 * only when scratch has to grow.
 *
 * Why a hit may be trusted: a normalised key is not a digest of the statement, it *is* the
 * statement that gets classified (sql_key_render puts dummy literals in and that is parsed).
 * So two texts with one key cannot get different classes; what remains to be shown, and is
 * fuzzed, is that the literals of a normalised statement do not matter to its class. They do
 * in statements that name certain functions, and in any statement that sets or creates
 * something: those are keyed by their exact text.
 *
 * Hot path: a hit on a 100-byte statement costs this file about 200 ns (bench/bench_sql.c). */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sql_int.h"

/* Placeholder bytes. A text with such bytes outside its literals is keyed exactly, so they
 * cannot be forged. */
enum placeholder {
	HOLD_STRING = 1,
	HOLD_INTEGER,
	HOLD_NUMBER,
	HOLD_BITS,
	HOLD_HEX,
	HOLD_LAST = HOLD_HEX,
};

/* Scratch that a huge text has grown is not kept. */
#define SCRATCH_KEEP_BYTES (256u << 10)

/* Words that this file acts on. */
enum word {
	WORD_OTHER,
	WORD_AS,
	WORD_IN,
	WORD_FROM,
	WORD_INTO,
	WORD_WITH,
	WORD_ARRAY,
	WORD_FLOAT,
	WORD_INSERT,
	WORD_SELECT,
	WORD_VALUES,
};

/* Folding: a list that goes on and on with the same thing has the class of a short one, so
 * that a bulk INSERT of any length is one entry, and cheap to parse. Only where the grammar
 * has nothing but a list:
 *   INSERT ... VALUES (1,'a'),(2,'b')   the second row goes, its tokens are the first's
 *   IN (1,2,3), ARRAY[1,2,3]            the second and the third literal go */
enum fold {
	FOLD_OFF,
	FOLD_ROWS_NEXT,  /* behind VALUES or a row: a bracket opens the next row */
	FOLD_ROWS_IN,    /* in a row, row_depth brackets open inside it */
	FOLD_ROWS_COMMA, /* behind a row */
	FOLD_ITEM_NEXT,  /* behind the list's bracket or comma: an item comes */
	FOLD_ITEM_COMMA, /* behind an item that is one literal */
};

struct normaliser {
	const char *text;
	char *out; /* has room for the whole text */
	uint32_t len;
	/* The token before. */
	enum word last_word; /* WORD_OTHER where it is no word */
	char last_self;      /* 0 where it is no TOKEN_SELF */
	bool last_is_literal;
	bool after_float;   /* float or float(: its number is judged by the grammar */
	bool may_fold_rows; /* INSERT, and no query yet */
	enum fold fold;
	unsigned row_depth;
	uint32_t row_start;            /* of the row or item under way, in out */
	uint32_t kept_start, kept_end; /* of the last one that stayed; 0 and 0: none */
};

static enum word word_match(const char *word, uint32_t len, const char *lower, enum word match)
{
	return strlen(lower) == len && strncasecmp(word, lower, len) == 0 ? match : WORD_OTHER;
}

static enum word word_find(const char *word, uint32_t len)
{
	switch (word[0] | 0x20) {
	case 'a':
		return len == 2 ? word_match(word, len, "as", WORD_AS)
		                : word_match(word, len, "array", WORD_ARRAY);
	case 'f':
		return len == 4 ? word_match(word, len, "from", WORD_FROM)
		                : word_match(word, len, "float", WORD_FLOAT);
	case 'i':
		if (len == 2)
			return word_match(word, len, "in", WORD_IN);
		return len == 4 ? word_match(word, len, "into", WORD_INTO)
		                : word_match(word, len, "insert", WORD_INSERT);
	case 's':
		return word_match(word, len, "select", WORD_SELECT);
	case 'v':
		return word_match(word, len, "values", WORD_VALUES);
	case 'w':
		return word_match(word, len, "with", WORD_WITH);
	default:
		return WORD_OTHER;
	}
}

static uint8_t placeholder_for(enum sql_token_kind kind)
{
	switch (kind) {
	case TOKEN_STRING:
		return HOLD_STRING;
	case TOKEN_INTEGER:
		return HOLD_INTEGER;
	case TOKEN_NUMBER:
		return HOLD_NUMBER;
	case TOKEN_BITS:
		return HOLD_BITS;
	case TOKEN_HEX:
		return HOLD_HEX;
	default:
		return 0;
	}
}

static bool is_letter(uint8_t c)
{
	return c >= 0x80 || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

/* False where a dummy literal in this place might run into its neighbours and be cut into
 * other tokens than the real one. */
static bool literal_stands_alone(const struct normaliser *n, const struct sql_token *token)
{
	uint8_t before = token->start > 0 ? (uint8_t)n->text[token->start - 1] : ' ';

	if (token->has_gap)
		return true;
	/* 'a'$$b$$ is two strings, 'x''x' one. Digits end a parameter. */
	if (n->last_is_literal || (before >= '0' && before <= '9'))
		return false;
	if (token->kind == TOKEN_INTEGER || token->kind == TOKEN_NUMBER)
		return before != '.' && before != '$' && before != '_' && !is_letter(before);
	/* u&$$x$$ must not become u&'x'. */
	return before != '&' || n->text[token->start] == '\'';
}

static void put(struct normaliser *n, const void *bytes, uint32_t len)
{
	memcpy(n->out + n->len, bytes, len);
	n->len += len;
}

/* A row or item has ended: it goes, with the comma before it, where the last one that stayed
 * has the same bytes. */
static void fold_drop_repeated(struct normaliser *n)
{
	uint32_t len = n->len - n->row_start;

	if (n->kept_end != 0 && len == n->kept_end - n->kept_start &&
	    memcmp(n->out + n->row_start, n->out + n->kept_start, len) == 0) {
		n->len = n->kept_end;
		return;
	}
	n->kept_start = n->row_start;
	n->kept_end = n->len;
}

static void fold_begin(struct normaliser *n, enum fold fold)
{
	n->fold = fold;
	n->kept_start = n->kept_end = 0;
}

/* An item that is one literal is known to be one only at the comma or bracket behind it. */
static void fold_on_item(struct normaliser *n, const struct sql_token *token, char self)
{
	bool is_literal = placeholder_for(token->kind) != 0;

	if (n->fold == FOLD_ITEM_NEXT && is_literal) {
		n->row_start = n->len - 1;
		n->fold = FOLD_ITEM_COMMA;
	} else if (n->fold == FOLD_ITEM_COMMA && self == ',') {
		uint32_t comma_len = n->len - n->row_start - 1;
		char comma[2]; /* with the space that may be before it */

		MUST(comma_len <= sizeof(comma));
		memcpy(comma, n->out + n->row_start + 1, comma_len);
		n->len = n->row_start + 1;
		fold_drop_repeated(n);
		put(n, comma, comma_len);
		n->fold = FOLD_ITEM_NEXT;
	} else {
		n->fold = FOLD_OFF;
	}
}

static void fold_on_row(struct normaliser *n, char self)
{
	if (n->fold == FOLD_ROWS_NEXT && self == '(') {
		n->row_start = n->len - 1;
		n->row_depth = 0;
		n->fold = FOLD_ROWS_IN;
	} else if (n->fold == FOLD_ROWS_COMMA && self == ',') {
		n->fold = FOLD_ROWS_NEXT;
	} else if (n->fold != FOLD_ROWS_IN) {
		n->fold = FOLD_OFF;
	} else if (self == '(') {
		n->row_depth++;
	} else if (self == ')' && n->row_depth > 0) {
		n->row_depth--;
	} else if (self == ')') {
		fold_drop_repeated(n);
		n->fold = FOLD_ROWS_COMMA;
	}
}

/* word, self: what this token is; n->last_*: what the token before it was. */
static void fold_on_token(struct normaliser *n, const struct sql_token *token, enum word word,
                          char self)
{
	if (n->fold == FOLD_ITEM_NEXT || n->fold == FOLD_ITEM_COMMA)
		fold_on_item(n, token, self);
	else if (n->fold != FOLD_OFF)
		fold_on_row(n, self);
	if (n->fold != FOLD_OFF)
		return;
	if (word == WORD_SELECT || word == WORD_FROM || word == WORD_WITH) {
		n->may_fold_rows = false;
	} else if (word == WORD_VALUES && n->may_fold_rows) {
		n->may_fold_rows = false;
		/* INSERT INTO values (a), INSERT INTO t AS values (a): names. */
		if (n->last_word != WORD_AS && n->last_word != WORD_INTO && n->last_self != '.')
			fold_begin(n, FOLD_ROWS_NEXT);
	} else if ((self == '(' && n->last_word == WORD_IN) ||
	           (self == '[' && n->last_word == WORD_ARRAY)) {
		fold_begin(n, FOLD_ITEM_NEXT);
	}
}

/* A byte of a quoted identifier that the key would take for a placeholder. */
static bool has_placeholder(const char *name, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		if ((uint8_t)name[i] <= HOLD_LAST)
			return true;
	return false;
}

/* False: the literals of this statement have to stay. */
static bool may_add(const struct normaliser *n, const struct sql_token *token, enum word word)
{
	const char *start = n->text + token->start;
	uint32_t len = token->end - token->start;

	switch (token->kind) {
	case TOKEN_STRING:
	case TOKEN_INTEGER:
	case TOKEN_NUMBER:
	case TOKEN_BITS:
	case TOKEN_HEX:
		return !n->after_float && literal_stands_alone(n, token);
	case TOKEN_IDENT:
		return word != WORD_OTHER ||
		       (!sql_name_keeps_literals(start, len) && !sql_has_dotted_i(start, len));
	case TOKEN_QUOTED:
		return !sql_name_keeps_literals(start + 1, len - 2) && !has_placeholder(start, len);
	case TOKEN_PARAM:
	case TOKEN_OP:
	case TOKEN_SELF:
		return true;
	default:
		return false;
	}
}

static void add_token(struct normaliser *n, const struct sql_token *token, enum word word)
{
	const char *start = n->text + token->start;
	uint32_t len = token->end - token->start;
	uint8_t hold = placeholder_for(token->kind);
	char self = token->kind == TOKEN_SELF ? *start : 0;

	if (token->has_gap && n->len > 0)
		n->out[n->len++] = ' ';
	if (hold != 0)
		put(n, &hold, 1);
	else
		put(n, start, len);
	fold_on_token(n, token, word, self);
	n->after_float = word == WORD_FLOAT || (n->last_word == WORD_FLOAT && self == '(');
	n->last_word = word;
	n->last_self = self;
	n->last_is_literal = hold != 0;
}

static enum word word_of(const struct normaliser *n, const struct sql_token *token)
{
	return token->kind == TOKEN_IDENT
	               ? word_find(n->text + token->start, token->end - token->start)
	               : WORD_OTHER;
}

/* False: the text must be keyed exactly. */
static bool normalise(struct normaliser *n, size_t len)
{
	struct sql_lexer lexer;
	struct sql_token token;
	enum word word;

	if (len > 0 && memchr(n->text, 0, len) != NULL)
		return false;
	sql_lexer_init(&lexer, n->text, len);
	sql_lexer_next(&lexer, &token);
	if (token.kind == TOKEN_END)
		return true;
	if (n->text[token.start] != '(' &&
	    !sql_word_is_plain_start(n->text + token.start, token.end - token.start))
		return false;
	n->may_fold_rows = word_of(n, &token) == WORD_INSERT;
	while (token.kind != TOKEN_END && n->text[token.start] != ';') {
		word = word_of(n, &token);
		if (!may_add(n, &token, word))
			return false;
		add_token(n, &token, word);
		sql_lexer_next(&lexer, &token);
	}
	/* Offsets into the text are part of the answer for several statements. */
	while (token.kind == TOKEN_SELF && n->text[token.start] == ';')
		sql_lexer_next(&lexer, &token);
	return token.kind == TOKEN_END;
}

void sql_normalise(struct buf *scratch, const char *text, size_t len, struct sql_key *key)
{
	struct normaliser n = {.text = text};

	scratch->len = 0;
	if (scratch->cap > SCRATCH_KEEP_BYTES && len < SCRATCH_KEEP_BYTES)
		buf_fini(scratch);
	n.out = (char *)buf_reserve(scratch, len + 1);
	if (normalise(&n, len))
		*key = (struct sql_key){.bytes = n.out, .len = n.len};
	else
		*key = (struct sql_key){.bytes = text, .len = len, .is_exact = true};
}

void sql_key_render(const struct sql_key *key, struct buf *out)
{
	static const struct {
		const char *text;
		size_t len;
	} dummies[HOLD_LAST + 1] = {
		[HOLD_STRING] = {"'x'", 3}, [HOLD_INTEGER] = {"1", 1}, [HOLD_NUMBER] = {"1.5", 3},
		[HOLD_BITS] = {"b'1'", 4},  [HOLD_HEX] = {"x'1'", 4},
	};
	size_t from = 0;

	out->len = 0;
	for (size_t i = 0; !key->is_exact && i < key->len; i++) {
		uint8_t c = (uint8_t)key->bytes[i];

		if (c == 0 || c > HOLD_LAST)
			continue;
		buf_put(out, key->bytes + from, i - from);
		buf_put(out, dummies[c].text, dummies[c].len);
		from = i + 1;
	}
	buf_put(out, key->bytes + from, key->len - from);
	buf_put_u8(out, 0);
	out->len--;
}

void sql_normal_text(const char *text, size_t len, struct buf *out)
{
	struct buf scratch = {0};
	struct sql_key key;

	sql_normalise(&scratch, text, len, &key);
	for (size_t i = 0; i < key.len; i++) {
		uint8_t c = (uint8_t)key.bytes[i];

		buf_put_u8(out, !key.is_exact && c > 0 && c <= HOLD_LAST ? '?' : c);
	}
	buf_put_u8(out, 0);
	buf_fini(&scratch);
}
