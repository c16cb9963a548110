/* A client's prepared statements, made known to the server at hand: in front of the message that
 * uses one, with a Parse of its text of which the client sees nothing but an error. On the client's
 * worker; the texts are stmts.c's. */
#include <string.h>

#include "session_int.h"

static void put_parse(struct client *c, const char *name, const struct text *text)
{
	struct buf *b = c->env->backend->scratch;
	struct outvec *v = lease_send(c);

	buf_put_u8(b, 'P');
	buf_put_be32(b, (uint32_t)(4 + strlen(name) + 1 + text->len));
	buf_put_cstr(b, name);
	outvec_copy(v, b->data, b->len);
	b->len = 0;
	outvec_copy(v, text->body, text->len);
}

/* The server parses the text: it reads the literals, and one of a composite type passes the checks
 * of its domains, which are code of users. */
void prepare_note(struct client *c, const struct sql_stmt *stmt)
{
	uint32_t bits = stmt->bits & SQL_OPAQUE;

	c->batch_bits |= bits;
	identity_leaves(c, bits);
}

/* As PostgreSQL says it of a statement that it has kept (plancache.c). */
static enum step refuse_changed(struct client *c)
{
	static const struct wire_error changed = {
		.severity = "ERROR",
		.sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
		.message = "cached plan must not change result type"};

	(void)batch_refuse(c, &changed);
	return STEP_DONE;
}

enum step prepare_named(struct client *c, struct client_stmt *s, struct server_stmt_ref *ref)
{
	struct expect e = {.kind = EXPECT_PARSE, .fate = FATE_SWALLOW};
	uint64_t epoch = s->epoch;

	if (s->is_changed)
		return refuse_changed(c);
	(void)lease_send(c);
	stmt_place(c, s, ref);
	if (!ref->is_new)
		return STEP_MORE;
	e.server_stmt = ref->id;
	prepare_note(c, &s->text->stmt);
	put_parse(c, ref->name, s->text);
	server_expect(c->server, &e);
	if (s->epoch == epoch || s->shape == 0)
		return STEP_MORE;
	shape_ask(c, s, ref);
	return STEP_WAIT;
}

void prepare_unnamed(struct client *c)
{
	struct expect e = {.kind = EXPECT_PARSE, .fate = FATE_SWALLOW, .is_unnamed = true};

	if (c->unnamed->lease == c->lease)
		return;
	prepare_note(c, &c->unnamed->stmt);
	put_parse(c, "", c->unnamed);
	server_expect(c->server, &e);
	c->unnamed->lease = c->lease;
}
