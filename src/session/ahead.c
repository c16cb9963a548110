/* What an extended batch is about to do, from the message at hand to its Sync, as far as that is
 * here: its messages are one transaction, so where the first one goes all go. Looks, and takes
 * nothing; whatever it does not understand counts as a write, which goes to the primary. On the
 * worker's thread. */
#include <string.h>

#include "route_int.h"

#define AHEAD_MESSAGES_MAX 256
#define AHEAD_PARSES_MAX 16

struct parsed {
	const char *name, *text;
	struct sql_stmt stmt;
};

struct look {
	struct client *c;
	struct ahead *ahead;
	const struct sql_stmt *first; /* of the message at hand, if that is a Parse; then NULL */
	struct parsed parses[AHEAD_PARSES_MAX];
	unsigned n_parses;
	bool executes, reads, has_wish;
	/* Statements of before the batch. Once one is used, none may be closed or replaced: taken
	 * once more (route_repeat), the batch would not find it. */
	bool uses_named, uses_unnamed;
};

/* Of several statements' wishes each one's is kept. */
static void join(struct fresh_wish *a, const struct fresh_wish *b)
{
	bool is_one_for_analytics = (a->consistency == CONF_CONSISTENCY_ANALYTICS) !=
	                            (b->consistency == CONF_CONSISTENCY_ANALYTICS);

	if (is_one_for_analytics)
		a->consistency = CONF_CONSISTENCY_STRONG;
	else if (b->consistency < a->consistency)
		a->consistency = b->consistency;
	if (b->max_lag_us < a->max_lag_us)
		a->max_lag_us = b->max_lag_us;
	if (b->read_your_writes > a->read_your_writes)
		a->read_your_writes = b->read_your_writes;
}

static void want(struct look *l, const char *text)
{
	struct fresh_wish wish = *wish_of(l->c);

	wish_hint(text, strlen(text), &wish);
	if (l->has_wish)
		join(&l->ahead->wish, &wish);
	else
		l->ahead->wish = wish;
	l->has_wish = true;
}

/* False here and below: not for a replica. */
static bool run(struct look *l, const struct sql_stmt *stmt, const char *text)
{
	switch (route_part(l->c, stmt)) {
	case ROUTE_WRITES:
		return false;
	case ROUTE_BEGINS:
		l->ahead->is_block = true;
		l->reads = true;
		break;
	case ROUTE_READS:
		l->reads = true;
		break;
	case ROUTE_NEITHER:
		l->ahead->is_block = true;
		break;
	}
	want(l, text);
	return true;
}

static const struct parsed *parsed_here(const struct look *l, const char *name)
{
	for (unsigned i = l->n_parses; i > 0; i--) {
		if (strcmp(l->parses[i - 1].name, name) == 0)
			return &l->parses[i - 1];
	}
	return NULL;
}

/* Taken once more (route_repeat), a Parse that has made nothing would take away the statement of
 * before that has its name. The message at hand is known to have made one. */
static bool is_taken(const struct look *l, const char *name)
{
	return l->first == NULL && name[0] != '\0' &&
	       (parsed_here(l, name) != NULL || stmt_find(l->c, name) != NULL);
}

static bool see_parse(struct look *l, struct wire_cursor *cur)
{
	const char *name = wire_cursor_cstr(cur);
	const char *text = name != NULL ? wire_cursor_cstr(cur) : NULL;
	struct parsed *p = &l->parses[l->n_parses];
	const struct sql_info *info;

	if (text == NULL || l->n_parses == AHEAD_PARSES_MAX || is_taken(l, name) ||
	    (name[0] == '\0' && l->uses_unnamed))
		return false;
	*p = (struct parsed){.name = name, .text = text};
	if (l->first != NULL) {
		p->stmt = *l->first;
	} else {
		struct sql_own own;

		if (sql_read_own(text, strlen(text), &own))
			return false;
		info = guard_classify(l->c, text, strlen(text));
		if (info->refusal != NULL || info->n_stmts != 1)
			return false;
		p->stmt = info->stmts[0];
	}
	l->n_parses++;
	return true;
}

/* NULL: it is of before the batch. */
static const struct parsed *find_parsed(struct look *l, const char *name)
{
	const struct parsed *p = parsed_here(l, name);

	if (p != NULL)
		return p;
	if (name[0] == '\0')
		l->uses_unnamed = true;
	else
		l->uses_named = true;
	return NULL;
}

static bool see_bind(struct look *l, struct wire_cursor *cur)
{
	const char *portal = wire_cursor_cstr(cur);
	const char *name = portal != NULL ? wire_cursor_cstr(cur) : NULL;
	const struct parsed *p = name != NULL ? find_parsed(l, name) : NULL;
	const struct client_stmt *s;
	const struct text *text;

	if (name == NULL)
		return false;
	if (p != NULL)
		return run(l, &p->stmt, p->text);
	s = name[0] != '\0' ? stmt_find(l->c, name) : NULL;
	if (s != NULL && s->shape != 0)
		l->ahead->told_us = pool_epoch_begun(l->c->pool);
	text = s != NULL ? s->text : name[0] == '\0' ? l->c->unnamed : NULL;
	return text != NULL && run(l, &text->stmt, (const char *)text->body);
}

/* Describe and Close: of a portal all is well. */
static bool see_named(struct look *l, uint8_t type, struct wire_cursor *cur)
{
	bool is_stmt = cur->at < cur->end && *cur->at++ == 'S';
	const char *name = wire_cursor_cstr(cur);

	if (name == NULL)
		return false;
	if (is_stmt && type == 'C')
		return name[0] == '\0' ? !l->uses_unnamed : !l->uses_named;
	if (is_stmt)
		(void)find_parsed(l, name);
	return true;
}

static bool see(struct look *l, uint8_t type, struct wire_cursor *cur)
{
	switch (type) {
	case 'P':
		return see_parse(l, cur);
	case 'B':
		return see_bind(l, cur);
	case 'E':
		l->executes = true;
		return true;
	case 'C':
	case 'D':
		return see_named(l, type, cur);
	case 'H':
		return true;
	default:
		return false;
	}
}

void ahead_look(struct client *c, const struct message *m, const struct sql_stmt *first,
                struct ahead *ahead)
{
	struct look l = {.c = c, .ahead = ahead, .first = m->type == 'P' ? first : NULL};
	const uint8_t *at = m->start, *end = m->start + m->ahead;

	*ahead = (struct ahead){0};
	for (unsigned i = 0; i < AHEAD_MESSAGES_MAX; i++) {
		struct wire_frame f = {0};
		struct wire_cursor cur;

		if (wire_frame_read(at, (size_t)(end - at), &f) != WIRE_READ_OK ||
		    (size_t)(end - at) < WIRE_HEADER_BYTES + (size_t)f.body_len)
			return;
		cur.at = at + WIRE_HEADER_BYTES;
		at = cur.end = cur.at + f.body_len;
		if (f.type == 'S') {
			ahead->reads = l.executes && l.reads;
			ahead->len = (size_t)(at - m->start);
			return;
		}
		if (!see(&l, f.type, &cur))
			return;
		l.first = NULL;
	}
}
