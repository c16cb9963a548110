/* Replays of amounts: peers that take no bytes, in both directions, and messages that are larger
 * than any buffer. What one side does not take is not read from the other, so that memory stays
 * bounded. Traps 17 (COPY OUT, a client that stops reading) and 19. */
#include "replay.h"

#define BLOCK 8192
/* More than PgUsher may ever keep for one connection: its backlog's limit and one read. */
#define KEPT_MAX (4 * 65536)

static char block[BLOCK + 1];

static struct msg *a_block(void)
{
	memset(block, 'x', BLOCK);
	return COPY_DATA(block);
}

/* Lets a say this many blocks and returns how many bytes of them PgUsher has not read. */
static size_t says_blocks(struct actor *a, size_t n)
{
	struct msg *m = a_block();

	for (size_t i = 0; i < n && a->stream != NULL; i++)
		actor_sends(a, MSGS(m), __FILE__, __LINE__);
	return a->out.len;
}

/* What has come is n blocks, the last ones perhaps not yet. */
static void got_blocks(struct actor *a, size_t n)
{
	size_t size = BLOCK + WIRE_HEADER_BYTES;

	assert_int_equal(a->in.len, n * size);
	for (size_t i = 0; i < n; i++) {
		const uint8_t *p = a->in.data + i * size;

		assert_int_equal(p[0], 'd');
		assert_int_equal(be32_get(p + 1), 4 + BLOCK);
		assert_memory_equal(p + WIRE_HEADER_BYTES, block, BLOCK);
	}
	buf_fini(&a->in);
}

static void client_that_does_not_read(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t to stdout"));
	server_gets(s, CONTEXT("123"), QUERY("copy t to stdout"));
	server_says(s, CONTEXT_DONE("123"), COPY_OUT);
	client_gets(c, COPY_OUT);
	actor_stops(c);
	assert_true(says_blocks(s, 200) > 200 * BLOCK - KEPT_MAX);
	assert_int_equal(c->in.len, 0);
	actor_takes(c);
	got_blocks(c, 200);
	server_says(s, COPY_DONE, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COPY_DONE, COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

/* It reads a little, and stops again, and so on. */
static void client_that_reads_in_bits(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t to stdout"));
	server_gets(s, CONTEXT("123"), QUERY("copy t to stdout"));
	server_says(s, CONTEXT_DONE("123"), COPY_OUT);
	client_gets(c, COPY_OUT);
	c->room = 0;
	(void)says_blocks(s, 50);
	for (int i = 0; i < 50 * (BLOCK + WIRE_HEADER_BYTES) / 1000 + 1; i++) {
		assert_true(c->stream->out.len < KEPT_MAX);
		c->room = 1000;
		actor_takes(c);
	}
	c->room = SIZE_MAX;
	actor_takes(c);
	got_blocks(c, 50);
	server_says(s, COPY_DONE, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COPY_DONE, COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

static void client_that_vanishes_without_reading(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t to stdout"));
	server_gets(s, CONTEXT("123"), QUERY("copy t to stdout"));
	actor_stops(c);
	server_says(s, CONTEXT_DONE("123"), COPY_OUT);
	(void)says_blocks(s, 100);
	actor_breaks(c);
	actor_takes(c);
	is_closed(c);
	assert_ptr_equal(cancel_waiting(t), s);
	cancel_ends(t, true);
	is_closed(s);
}

/* All of a result was taken from the server: that is free for others, though the client has
 * not read it. */
static void slow_client_does_not_hold_the_server(struct replay *t)
{
	struct actor *a, *b, *s;

	replay_start(t, "max_server_conn = 1");
	replay_warm(t, &a, &s);
	b = client_logs_in(t, "456");
	actor_stops(a);
	client_sends(a, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), ROW("1"), COMPLETE("SELECT 1"), READY('I'));
	gets_nothing(a);
	round_trip(b, s, "456");
	actor_takes(a);
	client_gets(a, ROW("1"), COMPLETE("SELECT 1"), READY('I'));
}

static void pipelining_client_that_does_not_read(struct replay *t)
{
	struct msg *many[20001] = {NULL};
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	for (size_t i = 0; i < 20000; i++)
		many[i] = QUERY("");
	actor_stops(c);
	actor_sends(c, many, __FILE__, __LINE__);
	assert_true(c->stream->out.len < KEPT_MAX);
	assert_true(c->client != NULL && c->out.len > 0);
	actor_takes(c);
	assert_int_equal(c->out.len, 0);
	assert_int_equal(c->in.len, 20000 * (5 + 6));
	buf_fini(&c->in);
	round_trip(c, s, "123");
}

static void server_that_does_not_read(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy t from stdin"));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	actor_stops(s);
	assert_true(says_blocks(c, 200) > 200 * BLOCK - KEPT_MAX);
	assert_int_equal(s->in.len, 0);
	actor_takes(s);
	got_blocks(s, 200);
	client_sends(c, COPY_DONE);
	server_gets(s, COPY_DONE);
	server_says(s, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

static void server_that_takes_a_query_later(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	actor_stops(s);
	client_sends(c, PARSE("", "select 1"), BIND("", ""));
	client_sends(c, EXECUTE(""), SYNC);
	actor_takes(s);
	server_gets(s, PARSE("", "select 1"), CONTEXT("123"), BIND("", ""), EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("SELECT 1"),
	            READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

/* Neither reads: both wait, and nothing is lost when they go on. */
static void nobody_reads(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	actor_stops(c);
	actor_stops(s);
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), ROW("1"),
	            COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'));
	client_sends(c, QUERY("select 2"), QUERY("select 3"));
	actor_takes(s);
	server_gets(s, QUERY("select 2"));
	actor_takes(c);
	client_gets(c, ROW("1"), COMPLETE("SELECT 1"), READY('T'));
	server_says(s, ROW("2"), COMPLETE("SELECT 1"), READY('T'));
	client_gets(c, ROW("2"), COMPLETE("SELECT 1"), READY('T'));
	server_gets(s, QUERY("select 3"));
}

/* ---- large messages --------------------------------------------------------------------- */

/* A message of n blocks in its body, in pieces, with no piece kept. */
static void is_streamed(struct actor *from, struct actor *to, size_t n)
{
	struct msg *m;

	memset(block, 'x', BLOCK);
	m = RAW(block, BLOCK);
	for (size_t i = 0; i < n; i++) {
		actor_sends(from, MSGS(m), __FILE__, __LINE__);
		assert_int_equal(from->out.len, 0);
		assert_int_equal(to->in.len, BLOCK);
		assert_memory_equal(to->in.data, block, BLOCK);
		to->in.len = 0;
	}
}

static void large_row(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), HEADER('D', 4 + 1000 * BLOCK));
	client_gets(c, HEADER('D', 4 + 1000 * BLOCK));
	is_streamed(s, c, 1000);
	server_says(s, COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	round_trip(c, s, "123");
}

static void large_copy_data(struct replay *t)
{
	struct actor *c, *s;

	replay_warm(t, &c, &s);
	client_sends(c, QUERY("copy t from stdin"));
	server_gets(s, CONTEXT("123"), QUERY("copy t from stdin"));
	server_says(s, CONTEXT_DONE("123"), COPY_IN);
	client_gets(c, COPY_IN);
	client_sends(c, HEADER('d', 4 + 1000 * BLOCK));
	server_gets(s, HEADER('d', 4 + 1000 * BLOCK));
	is_streamed(c, s, 1000);
	client_sends(c, COPY_DONE);
	server_gets(s, COPY_DONE);
	server_says(s, COMPLETE("COPY 1"), READY('I'));
	client_gets(c, COMPLETE("COPY 1"), READY('I'));
	round_trip(c, s, "123");
}

/* Only its head is looked at: the names. */
static void large_bind(struct replay *t)
{
	/* portal "", statement "", no formats, one value of 1000 blocks less the 2 at the end. */
	static const uint32_t value_bytes = 1000 * BLOCK - 2;
	uint8_t head[5 + 1 + 1 + 2 + 2 + 4] = {'B'};
	struct actor *c, *s;

	be32_set(head + 1, (uint32_t)(sizeof(head) - 1 + 1000 * BLOCK));
	head[10] = 1;
	be32_set(head + 11, value_bytes);
	replay_warm(t, &c, &s);
	memset(block, 'x', BLOCK);
	client_sends(c, PARSE("", "insert into t values ($1)"), RAW((char *)head, sizeof(head)),
	             RAW(block, BLOCK));
	server_gets(s, PARSE("", "insert into t values ($1)"), CONTEXT("123"),
	            RAW((char *)head, sizeof(head)), RAW(block, BLOCK));
	is_streamed(c, s, 999);
	client_sends(c, EXECUTE(""), SYNC);
	server_gets(s, EXECUTE(""), SYNC);
	server_says(s, PARSE_COMPLETE, CONTEXT_DONE("123"), BIND_COMPLETE, COMPLETE("INSERT 0 1"),
	            READY('I'));
	client_gets(c, PARSE_COMPLETE, BIND_COMPLETE, COMPLETE("INSERT 0 1"), READY('I'));
	round_trip(c, s, "123");
}

/* An error while a large Bind is on its way: the rest of it goes on, the server skips it. */
static void error_during_a_large_bind(struct replay *t)
{
	uint8_t head[5 + 1 + 1 + 2 + 2 + 4] = {'B'};
	struct actor *c, *s;

	be32_set(head + 1, (uint32_t)(sizeof(head) - 1 + 10 * BLOCK));
	head[10] = 1;
	be32_set(head + 11, 10 * BLOCK - 2);
	replay_warm(t, &c, &s);
	memset(block, 'x', BLOCK);
	client_sends(c, PARSE("", "select x"), RAW((char *)head, sizeof(head)), RAW(block, BLOCK));
	server_gets(s, PARSE("", "select x"), CONTEXT("123"), RAW((char *)head, sizeof(head)),
	            RAW(block, BLOCK));
	server_says(s, SERVER_ERROR("42703", "no x"));
	client_gets(c, SERVER_ERROR("42703", "no x"));
	is_streamed(c, s, 9);
	client_sends(c, EXECUTE(""), SYNC);
	server_gets(s, SYNC);
	server_says(s, READY('I'));
	client_gets(c, READY('I'));
	round_trip(c, s, "123");
}

/* A statement must be read as a whole to be understood, and there is an end to that. */
static void statement_that_is_too_long(struct replay *t)
{
	static const size_t n = (size_t)(SQL_TEXT_MAX / BLOCK) + 1;
	struct actor *c, *s;
	struct msg *m;

	replay_warm(t, &c, &s);
	memset(block, ' ', BLOCK);
	m = RAW(block, BLOCK);
	client_sends(c, HEADER('Q', (uint32_t)(4 + n * BLOCK)));
	client_gets(c, REFUSED("54000", "too long"), READY('I'));
	for (size_t i = 0; i < n; i++) {
		actor_sends(c, MSGS(m), __FILE__, __LINE__);
		assert_int_equal(c->out.len, 0);
	}
	gets_nothing(c);
	gets_nothing(s);
	client_sends(c, HEADER('P', (uint32_t)(4 + n * BLOCK)));
	client_gets(c, REFUSED("54000", "too long"));
	for (size_t i = 0; i < n; i++)
		actor_sends(c, MSGS(m), __FILE__, __LINE__);
	client_sends(c, BIND("", ""), SYNC);
	client_gets(c, READY('I'));
	gets_nothing(s);
	round_trip(c, s, "123");
}

static void large_error_and_notice(struct replay *t)
{
	char *text = mem_zalloc(200001);
	struct actor *c, *s;

	memset(text, 'y', 200000);
	replay_warm(t, &c, &s);
	client_sends(c, QUERY("select 1"));
	server_gets(s, CONTEXT("123"), QUERY("select 1"));
	server_says(s, CONTEXT_DONE("123"), NOTICE(text), SERVER_ERROR("XX000", text), READY('I'));
	client_gets(c, NOTICE(text), SERVER_ERROR("XX000", text), READY('I'));
	mem_free(text);
	round_trip(c, s, "123");
}

/* A query larger than the read buffer, cut where the buffer ends. */
static void large_query(struct replay *t)
{
	char *sql = mem_zalloc(300001);
	struct actor *c, *s;

	memset(sql, ' ', 300000);
	memcpy(sql, "select 1", 8);
	replay_warm(t, &c, &s);
	client_sends(c, QUERY(sql));
	server_gets(s, CONTEXT("123"), QUERY(sql));
	server_says(s, CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(c, COMPLETE("SELECT 1"), READY('I'));
	mem_free(sql);
	round_trip(c, s, "123");
}

static const struct scenario scenarios[] = {
	SCENARIO_WHOLE(client_that_does_not_read),
	SCENARIO_WHOLE(client_that_reads_in_bits),
	SCENARIO_WHOLE(client_that_vanishes_without_reading),
	SCENARIO_WHOLE(slow_client_does_not_hold_the_server),
	SCENARIO_WHOLE(pipelining_client_that_does_not_read),
	SCENARIO_WHOLE(server_that_does_not_read),
	SCENARIO(server_that_takes_a_query_later),
	SCENARIO_WHOLE(nobody_reads),
	SCENARIO_WHOLE(large_row),
	SCENARIO_WHOLE(large_copy_data),
	SCENARIO_WHOLE(large_bind),
	SCENARIO_WHOLE(error_during_a_large_bind),
	SCENARIO_WHOLE(statement_that_is_too_long),
	SCENARIO_WHOLE(large_error_and_notice),
	SCENARIO_WHOLE(large_query),
};

int main(void)
{
	return replay_run("replay/pressure", scenarios, COUNT_OF(scenarios));
}
