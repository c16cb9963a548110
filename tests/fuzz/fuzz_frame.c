/* libFuzzer: any bytes as what a server says, to the reader of its messages.
 *
 * The first byte says how the rest is cut into reads (0: not at all), the second how many batches
 * were asked for. What must hold, beyond not reading past the end:
 * - what the client gets and what the sink is told does not depend on the cuts;
 * - the client gets whole messages only, but for the last, and no more bytes than were said, our
 *   own answers aside;
 * - ReadyForQuery is passed as often as the owner said so, once for each Sync and Query at most;
 * - nothing follows on_lost, and what is kept between two reads is bounded. */
#include <string.h>

#include "backend/backend_int.h"
#include "base/log.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BATCHES_MAX 8
#define TENANT "42"
#define HELD_MAX 131072

static struct run {
	const uint8_t *data;
	size_t size, at, chunk;
	struct iovec runs[4096];
	size_t n_runs;
	struct buf bytes; /* what the client gets */
	struct buf log;   /* what the sink is told */
	unsigned n_ready;
	bool is_lost;
} * current;

static ssize_t say(struct stream *s, void *to, size_t cap)
{
	struct run *r = current;
	size_t len = r->size - r->at;

	(void)s;
	if (len == 0)
		return STREAM_WAIT;
	if (len > r->chunk)
		len = r->chunk;
	if (len > cap)
		len = cap;
	memcpy(to, r->data + r->at, len);
	r->at += len;
	return (ssize_t)len;
}

static ssize_t take(struct stream *s, const struct iovec *iov, int n)
{
	size_t len = 0;

	(void)s;
	for (int i = 0; i < n; i++)
		len += iov[i].iov_len;
	return (ssize_t)len;
}

static void closed(struct stream *s)
{
	(void)s;
}

static void flush(struct run *r)
{
	for (size_t i = 0; i < r->n_runs; i++)
		buf_put(&r->bytes, r->runs[i].iov_base, r->runs[i].iov_len);
	r->n_runs = 0;
}

static void on_bytes(void *owner, const void *p, size_t len)
{
	struct run *r = owner;

	MUST(len > 0 && !r->is_lost);
	if (r->n_runs == COUNT_OF(r->runs))
		flush(r);
	r->runs[r->n_runs++] = (struct iovec){(void *)(uintptr_t)p, len};
}

static void on_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	struct run *r = owner;

	MUST(!r->is_lost);
	buf_put_u8(&r->log, e->kind);
	buf_put_u8(&r->log, e->fate);
	buf_put_u8(&r->log, (uint8_t)outcome);
}

static bool on_ready(void *owner, char status)
{
	struct run *r = owner;

	MUST(status == 'I' || status == 'T' || status == 'E');
	buf_put_u8(&r->log, (uint8_t)status);
	r->n_ready++;
	return true;
}

static void on_copy_in(void *owner)
{
	buf_put_u8(&((struct run *)owner)->log, 'G');
}

static void on_flush(void *owner)
{
	flush(owner);
}

static bool on_settled(void *owner)
{
	(void)owner;
	return true;
}

static void on_other(void *owner)
{
	(void)owner;
}

static void on_lost(void *owner, enum close_reason reason)
{
	struct run *r = owner;

	MUST(!r->is_lost);
	r->is_lost = true;
	buf_put_u8(&r->log, (uint8_t)reason);
}

static const struct sink_ops sink = {
	.on_bytes = on_bytes,
	.on_reply = on_reply,
	.on_ready = on_ready,
	.on_copy_in = on_copy_in,
	.on_flush = on_flush,
	.on_settled = on_settled,
	.on_cancelled = on_other,
	.on_drained = on_other,
	.on_lost = on_lost,
};

static void expect(struct server *s, enum expect_kind kind, enum expect_fate fate, uint8_t reply)
{
	struct expect e = {.kind = (uint8_t)kind,
	                   .fate = (uint8_t)fate,
	                   .answer = reply,
	                   .alone = true,
	                   .tell = true};

	server_expect(s, &e);
}

static void ask(struct server *s, unsigned n_batches)
{
	for (unsigned i = 0; i < n_batches; i++) {
		(void)server_begin(s);
		server_put_context(s, TENANT);
		(void)server_end(s);
		expect(s, EXPECT_PARSE, FATE_PASS, 0);
		expect(s, EXPECT_BIND, FATE_PASS, 0);
		expect(s, EXPECT_CLOSE, FATE_ANSWER, '3');
		expect(s, EXPECT_DESCRIBE, FATE_PASS, 0);
		expect(s, EXPECT_EXECUTE, FATE_PASS, 0);
		expect(s, EXPECT_SYNC, FATE_PASS, 0);
		expect(s, EXPECT_QUERY, i % 2 ? FATE_OURS : FATE_PASS, 0);
	}
}

/* Whole messages, but for the last. */
static unsigned count_ready(const struct buf *b)
{
	struct wire_frame f = {0};
	unsigned n = 0;

	for (size_t at = 0; at < b->len; at += WIRE_HEADER_BYTES + (size_t)f.body_len) {
		if (wire_frame_read(b->data + at, b->len - at, &f) != WIRE_READ_OK)
			MUST(b->len - at < WIRE_HEADER_BYTES);
		n += f.type == 'Z';
		MUST(f.type != 'Z' || f.body_len == 1);
	}
	return n;
}

static void listen_to(struct run *r, unsigned n_batches)
{
	static const struct stream_ops ops = {say, take, closed};
	static struct outvec to_server;
	static struct buf scratch;
	static uint8_t in[8192];
	struct backend_env env = {.in = in,
	                          .in_size = sizeof(in),
	                          .to_server = &to_server,
	                          .scratch = &scratch,
	                          .max_prepared_statements = 2,
	                          .setting = "app.current_tenant_id",
	                          .fake = &ops};
	struct server *s = server_new(&env, NULL);

	current = r;
	server_set_sink(s, &sink, r);
	ask(s, n_batches);
	stream_fake_event(server_stream(s), true, false);
	MUST(r->is_lost || r->at == r->size);
	MUST(s->held.cap <= HELD_MAX);
	MUST(count_ready(&r->bytes) == r->n_ready && r->n_ready <= 2 * n_batches);
	MUST(r->bytes.len <= r->size + (size_t)n_batches * WIRE_HEADER_BYTES);
	server_free(&s);
}

static void run_fini(struct run *r)
{
	buf_fini(&r->bytes);
	buf_fini(&r->log);
}

static bool is_same(const struct buf *a, const struct buf *b)
{
	return a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run whole, cut;
	unsigned n_batches;

	if (size < 2)
		return 0;
	n_batches = data[1] % (BATCHES_MAX + 1);
	whole = (struct run){.data = data + 2, .size = size - 2, .chunk = SIZE_MAX};
	cut = (struct run){
		.data = data + 2, .size = size - 2, .chunk = data[0] == 0 ? SIZE_MAX : data[0]};
	listen_to(&whole, n_batches);
	listen_to(&cut, n_batches);
	MUST(whole.is_lost == cut.is_lost && whole.n_ready == cut.n_ready);
	MUST(is_same(&whole.bytes, &cut.bytes) && is_same(&whole.log, &cut.log));
	run_fini(&whole);
	run_fini(&cut);
	return 0;
}
