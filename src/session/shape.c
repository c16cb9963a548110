/* What a client was told of a prepared statement's parameters and columns, as one number. A
 * statement that is prepared again when the schema may have changed must still be that; where it is
 * not, PostgreSQL would have said so of the statement that it kept: "cached plan must not change
 * result type". The client's Describe is read as it passes; ours comes in front of the message that
 * uses the statement, which waits for the answer. All on the client's worker. */
#include <string.h>

#include "session_int.h"

enum { AFTER_NAME_BYTES = 18 }; /* of a column, RowDescription (55.7) */

/* Names, types and their modifiers: not where a column comes from, nor in which format it comes. */
static uint64_t columns_hash(const uint8_t *body, uint32_t len)
{
	struct wire_cursor cur = {body + 2, body + len};
	struct {
		uint64_t before, name;
		uint32_t type, modifier;
	} column = {.before = 1};

	while (cur.at < cur.end) {
		const char *name = wire_cursor_cstr(&cur);

		if (name == NULL || cur.end - cur.at < AFTER_NAME_BYTES)
			return 0;
		column.name = hash_bytes(name, strlen(name));
		column.type = be32_get(cur.at + 6);
		column.modifier = be32_get(cur.at + 12);
		column.before = hash_bytes(&column, sizeof(column));
		cur.at += AFTER_NAME_BYTES;
	}
	return column.before;
}

/* What is too long to be seen (32 kB) is unknown, and not what it was. */
void shape_described(void *owner, const struct expect *e, uint8_t type, const uint8_t *body,
                     uint32_t len)
{
	struct client *c = owner;
	struct client_stmt *s = e->obj;
	uint64_t pair[2] = {c->shape, 0}, shape;

	if (type == 't') {
		c->shape = hash_bytes(body, len) | 1;
		s->is_changed = e->fate != FATE_PASS;
		return;
	}
	if (type == 'T' && len >= 2)
		pair[1] = columns_hash(body, len);
	shape = c->shape != 0 ? hash_bytes(pair, sizeof(pair)) | 1 : 0;
	c->shape = 0;
	if (e->fate == FATE_PASS)
		s->shape = shape;
	else
		s->is_changed = s->shape != shape;
}

void shape_ask(struct client *c, struct client_stmt *s, const struct server_stmt_ref *ref)
{
	struct expect e = {.kind = EXPECT_DESCRIBE,
	                   .fate = FATE_SWALLOW,
	                   .tell = true,
	                   .server_stmt = ref->id};
	static const uint8_t flush[] = {'H', 0, 0, 0, 4};
	struct outvec *v = lease_send(c);
	struct buf *b = c->env->backend->scratch;

	wire_put_describe_statement(b, ref->name);
	outvec_copy(v, b->data, b->len);
	b->len = 0;
	outvec_copy(v, flush, sizeof(flush));
	e.obj = stmt_get(s);
	server_expect(c->server, &e);
	c->flow = FLOW_WAIT_REPLIES;
}
