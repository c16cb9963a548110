/* See kit.h. */
#include "unit/backend/kit.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

static struct kit *current;

/* ---- the stream ---------------------------------------------------------------------------- */

static ssize_t kit_read(struct stream *s, void *to, size_t cap)
{
	struct kit *k = current;
	size_t len = k->said.len - k->said_at;

	(void)s;
	if (len == 0)
		return k->end;
	if (len > k->chunk)
		len = k->chunk;
	if (len > cap)
		len = cap;
	memcpy(to, k->said.data + k->said_at, len);
	k->said_at += len;
	return (ssize_t)len;
}

static ssize_t kit_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct kit *k = current;
	size_t done = 0;

	(void)s;
	for (int i = 0; i < n && k->accept > 0; i++) {
		size_t len = iov[i].iov_len < k->accept ? iov[i].iov_len : k->accept;

		buf_put(&k->sent, iov[i].iov_base, len);
		k->accept -= k->accept < SIZE_MAX ? len : 0;
		done += len;
	}
	return done > 0 ? (ssize_t)done : STREAM_WAIT;
}

static void kit_closed(struct stream *s)
{
	(void)s;
}

static const struct stream_ops kit_ops = {kit_read, kit_writev, kit_closed};

/* ---- the sink ------------------------------------------------------------------------------ */

static void note(struct kit *k, const char *fmt, const char *a, const char *b)
{
	char text[128];

	snprintf(text, sizeof(text), fmt, a, b);
	if (k->log.len > 0)
		buf_put(&k->log, "; ", 2);
	buf_put(&k->log, text, strlen(text));
}

/* Kept as pointers until on_flush: until then the bytes may not move. */
static void wake_edge(void *worker)
{
	((struct kit *)worker)->n_woken++;
}

static void on_bytes(void *owner, const void *p, size_t len)
{
	struct kit *k = owner;

	assert_true(len > 0);
	assert_true(k->n_runs < KIT_RUNS_MAX);
	k->runs[k->n_runs++] = (struct iovec){(void *)(uintptr_t)p, len};
}

static void on_flush(void *owner)
{
	struct kit *k = owner;

	for (int i = 0; i < k->n_runs; i++)
		buf_put(&k->bytes, k->runs[i].iov_base, k->runs[i].iov_len);
	k->n_runs = 0;
	k->n_flushed++;
	k->now_us += k->us_per_flush;
	clock_fake(k->now_us, 0);
}

static void on_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	static const char *const kinds[] = {"parse", "bind", "describe", "execute",
	                                    "close", "sync", "query",    "function"};
	static const char *const outcomes[] = {"done", "failed", "skipped"};

	note(owner, "%s %s", kinds[e->kind], outcomes[outcome]);
}

static bool on_ready(void *owner, char status)
{
	struct kit *k = owner;
	char text[] = {status, '\0'};

	note(k, "ready %s%s", text, "");
	return k->passes_ready;
}

static void on_copy_in(void *owner)
{
	note(owner, "copy in%s%s", "", "");
}

static bool on_settled(void *owner)
{
	struct kit *k = owner;

	/* Everything was handed over and flushed. */
	assert_int_equal(k->n_runs, 0);
	k->n_settled++;
	if (k->frees_on_settled)
		server_free(&k->server);
	return k->keeps;
}

static void on_cancelled(void *owner)
{
	note(owner, "cancelled%s%s", "", "");
}

static void on_drained(void *owner)
{
	struct kit *k = owner;

	k->n_drained++;
}

static void on_lost(void *owner, enum close_reason reason)
{
	assert_int_equal(((struct kit *)owner)->n_runs, 0);
	note(owner, "lost %s%s", close_reason_info(reason)->label, "");
}

static const struct sink_ops kit_sink = {
	.on_bytes = on_bytes,
	.on_reply = on_reply,
	.on_ready = on_ready,
	.on_copy_in = on_copy_in,
	.on_flush = on_flush,
	.on_settled = on_settled,
	.on_cancelled = on_cancelled,
	.on_drained = on_drained,
	.on_lost = on_lost,
};

/* ---- life ---------------------------------------------------------------------------------- */

void kit_open(struct kit *k)
{
	memset(k, 0, sizeof(*k));
	log_set_level(LOG_LEVEL_ERROR);
	current = k;
	k->accept = k->chunk = SIZE_MAX;
	k->passes_ready = k->keeps = true;
	k->env = (struct backend_env){
		.in = k->in,
		.in_size = sizeof(k->in),
		.to_server = &k->to_server,
		.scratch = &k->scratch,
		.max_prepared_statements = 3,
		.setting = "app.current_tenant_id",
		.proof_setting = "app.tenant_proof",
		.wake_edge = wake_edge,
		.worker = k,
		.fake = &kit_ops,
	};
	list_init(&k->env.again);
	k->now_us = US_PER_S;
	clock_fake(k->now_us, 0);
	/* A connection that never was: it has no parameters and no process id. */
	k->server = server_new(&k->env, PQconnectStart("host=/nonexistent user=app"));
	server_set_sink(k->server, &kit_sink, k);
}

void kit_close(struct kit *k)
{
	if (k->server != NULL)
		server_free(&k->server);
	clock_fake(-1, 0);
	buf_fini(&k->scratch);
	buf_fini(&k->sent);
	buf_fini(&k->said);
	buf_fini(&k->bytes);
	buf_fini(&k->log);
}

void kit_clear(struct kit *k)
{
	assert_int_equal(k->said_at, k->said.len);
	k->sent.len = k->bytes.len = k->log.len = k->said.len = k->said_at = 0;
	k->n_flushed = k->n_settled = k->n_drained = 0;
}

void kit_expect_full(struct kit *k, const struct expect *e)
{
	server_expect(k->server, e);
}

void kit_expect(struct kit *k, enum expect_kind kind, enum expect_fate fate)
{
	struct expect e = {.kind = (uint8_t)kind, .fate = (uint8_t)fate, .alone = true};

	if (fate == FATE_CONTEXT)
		e.tenant = k->tenant;
	server_expect(k->server, &e);
}

/* ---- what the server says ------------------------------------------------------------------ */

void say_raw(struct kit *k, uint8_t type, const void *body, size_t len)
{
	buf_put_u8(&k->said, type);
	buf_put_be32(&k->said, (uint32_t)(4 + len));
	buf_put(&k->said, body, len);
}

void say(struct kit *k, const char *types)
{
	for (; *types != '\0'; types++)
		say_raw(k, (uint8_t)*types, "", 0);
}

void say_row(struct kit *k, const char *value)
{
	size_t len = value != NULL ? strlen(value) : 0;

	buf_put_u8(&k->said, 'D');
	buf_put_be32(&k->said, (uint32_t)(4 + 2 + 4 + len));
	buf_put_be16(&k->said, 1);
	buf_put_be32(&k->said, value != NULL ? (uint32_t)len : UINT32_MAX);
	buf_put(&k->said, value, len);
}

void say_error(struct kit *k, const char *message)
{
	struct wire_error e = {.severity = "ERROR", .sqlstate = "XX000", .message = message};

	wire_put_error(&k->said, &e);
}

void say_complete(struct kit *k, const char *tag)
{
	wire_put_command_complete(&k->said, tag);
}

void say_ready(struct kit *k, char status)
{
	wire_put_ready(&k->said, status);
}

void say_parameter(struct kit *k, const char *name, const char *value)
{
	wire_put_parameter(&k->said, name, value);
}

void kit_deliver(struct kit *k)
{
	/* An owner who answers on_settled with false comes back by itself. */
	do {
		stream_fake_event(server_stream(k->server), true, false);
	} while (k->server != NULL && k->said_at < k->said.len && !k->keeps);
}

/* ---- looking ------------------------------------------------------------------------------- */

void assert_log(struct kit *k, const char *want)
{
	buf_put_u8(&k->log, '\0');
	assert_string_equal((const char *)k->log.data, want);
	k->log.len = 0;
}

static void assert_types(struct buf *b, const char *want)
{
	char got[256];
	size_t at = 0, n = 0;
	struct wire_frame f = {0};

	while (at < b->len && n < sizeof(got) - 1) {
		assert_int_equal(wire_frame_read(b->data + at, b->len - at, &f), WIRE_READ_OK);
		got[n++] = (char)f.type;
		at += WIRE_HEADER_BYTES + f.body_len;
	}
	assert_int_equal(at, b->len);
	got[n] = '\0';
	assert_string_equal(got, want);
	b->len = 0;
}

void assert_passed(struct kit *k, const char *types)
{
	assert_types(&k->bytes, types);
}

void assert_sent(struct kit *k, const char *types)
{
	assert_types(&k->sent, types);
}

void parsed_name(const struct kit *k, char name[SERVER_STMT_NAME_MAX])
{
	struct wire_cursor c = {k->sent.data + WIRE_HEADER_BYTES, k->sent.data + k->sent.len};
	const char *found = wire_cursor_cstr(&c);

	assert_int_equal(k->sent.data[0], 'P');
	assert_non_null(found);
	assert_true(strlen(found) < SERVER_STMT_NAME_MAX - 1);
	snprintf(name, SERVER_STMT_NAME_MAX, "%s", found);
}

void assert_bytes(const struct buf *got, const struct buf *want)
{
	assert_int_equal(got->len, want->len);
	if (want->len > 0)
		assert_memory_equal(got->data, want->data, want->len);
}
