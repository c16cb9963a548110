/* Bounds the depth of a parse tree by looking at the tokens alone. Pure.
 *
 * libpg_query writes its tree by recursion without a stack check: `SELECT 1+1+1...` with
 * 70,000 terms overran an 8 MB stack (measured; about 120 bytes a level). PostgreSQL's own
 * max_stack_depth refuses such statements anyway, so nothing is lost by not parsing them.
 * What passes here needs 1.5 MB of stack at most: a thread that classifies must have 2 MB. */
#include <string.h>

#include "sql_int.h"

/* Levels of the tree; every token but a literal or a parameter counts as one. */
#define DEPTH_MAX 8000u
/* Open brackets. */
#define BRACKETS_MAX 500u

/* One bracket's contents. Commas part subtrees that do not contain each other. */
struct level {
	uint32_t tokens;  /* since the last comma */
	uint32_t inner;   /* the deepest bracket since the last comma */
	uint32_t deepest; /* of the parts before it */
};

struct depth {
	struct level levels[BRACKETS_MAX];
	unsigned n; /* open brackets */
	/* SELECT 1,2 UNION SELECT 1,2 UNION ... nests across commas, so these never reset
	 * before the statement's end. */
	uint32_t set_operations;
	bool is_deep;
};

static void level_end_part(struct depth *d)
{
	struct level *level = &d->levels[d->n];
	uint32_t depth = level->tokens + level->inner;

	if (depth > level->deepest)
		level->deepest = depth;
	if (level->deepest + d->set_operations > DEPTH_MAX)
		d->is_deep = true;
	level->tokens = level->inner = 0;
}

static void level_open(struct depth *d)
{
	d->levels[d->n].tokens++;
	if (d->n + 1 == BRACKETS_MAX) {
		d->is_deep = true;
		return;
	}
	d->n++;
	memset(&d->levels[d->n], 0, sizeof(d->levels[d->n]));
}

static void level_close(struct depth *d)
{
	uint32_t inner;

	level_end_part(d);
	inner = d->levels[d->n].deepest;
	if (d->n > 0)
		d->n--; /* else a syntax error, and no tree */
	if (inner > d->levels[d->n].inner)
		d->levels[d->n].inner = inner;
}

static void depth_add_self(struct depth *d, char c)
{
	switch (c) {
	case '(':
	case '[':
		level_open(d);
		break;
	case ')':
	case ']':
		level_close(d);
		break;
	case ',':
		level_end_part(d);
		break;
	case ';':
		level_end_part(d);
		if (d->n == 0)
			d->set_operations = 0;
		break;
	default:
		d->levels[d->n].tokens++;
	}
}

static void depth_add_word(struct depth *d, const char *word, size_t len)
{
	d->levels[d->n].tokens++;
	if ((len == 5 && strncasecmp(word, "union", 5) == 0) ||
	    (len == 6 && strncasecmp(word, "except", 6) == 0) ||
	    (len == 9 && strncasecmp(word, "intersect", 9) == 0))
		d->set_operations++;
}

bool sql_text_is_deep(const char *text, size_t len)
{
	struct depth d;
	struct sql_lexer lexer;
	struct sql_token token;

	/* Every level takes a byte at least. */
	if (len < DEPTH_MAX)
		return false;
	d.n = 0;
	d.set_operations = 0;
	d.is_deep = false;
	memset(&d.levels[0], 0, sizeof(d.levels[0]));
	sql_lexer_init(&lexer, text, len);
	do {
		sql_lexer_next(&lexer, &token);
		switch (token.kind) {
		case TOKEN_SELF:
			depth_add_self(&d, text[token.start]);
			break;
		case TOKEN_IDENT:
			depth_add_word(&d, text + token.start, token.end - token.start);
			break;
		case TOKEN_OP:
		case TOKEN_QUOTED:
		case TOKEN_UQUOTED:
			d.levels[d.n].tokens++;
			break;
		case TOKEN_BAD:
			/* We cannot bound what we cannot cut into tokens. */
			d.is_deep = true;
			break;
		default:
			break;
		}
	} while (token.kind != TOKEN_END && !d.is_deep);
	level_end_part(&d);
	return d.is_deep;
}
