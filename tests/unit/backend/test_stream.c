/* The stream of a server's messages: cut at every byte, larger than any buffer, at any time, wrong;
 * and the ends of a connection. */
#include <string.h>

#include "unit/backend/kit.h"

/* ---- cuts ---------------------------------------------------------------------------------- */

/* A conversation with everything in it. */
static void ask_all(struct kit *k, struct buf *refusal)
{
	struct expect answer = {
		.kind = EXPECT_CLOSE, .fate = FATE_ANSWER, .answer = '3', .tell = true};

	kit_expect(k, EXPECT_PARSE, FATE_SWALLOW);
	kit_expect(k, EXPECT_BIND, FATE_SWALLOW);
	kit_expect(k, EXPECT_EXECUTE, FATE_CONTEXT);
	kit_expect(k, EXPECT_PARSE, FATE_PASS);
	kit_expect(k, EXPECT_BIND, FATE_PASS);
	kit_expect(k, EXPECT_DESCRIBE, FATE_PASS);
	kit_expect(k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect_full(k, &answer);
	kit_expect(k, EXPECT_SYNC, FATE_PASS);
	(void)server_begin(k->server);
	server_put_refusal(k->server, refusal, MARK_NONE);
	(void)server_end(k->server);
	kit_expect(k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(k, EXPECT_SYNC, FATE_PASS);
	kit_expect(k, EXPECT_QUERY, FATE_PASS);
	kit_expect(k, EXPECT_QUERY, FATE_OURS);
}

static void say_all(struct kit *k)
{
	say_parameter(k, "TimeZone", "Asia/Tokyo");
	say(k, "12");
	say_row(k, "4711");
	say_complete(k, "SELECT 1");
	say(k, "12");
	say_raw(k, 'N', "SNOTICE\0Mhello\0", 16);
	say_raw(k, 'T', "\0\1x\0\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0", 22);
	say_row(k, "some bytes");
	say_row(k, NULL);
	say_row(k, "");
	say_complete(k, "SELECT 3");
	say_ready(k, 'T');
	say_error(k, "does not exist");
	say_ready(k, 'E');
	say_complete(k, "ROLLBACK");
	say_raw(k, 'A', "\0\0\0\1channel\0\0", 13);
	say_ready(k, 'I');
	say_error(k, "ours");
	say_ready(k, 'I');
}

static const char all_log[] =
	"close done; ready T; bind failed; execute skipped; ready E; ready I; query failed";

struct cuts {
	size_t in_size, first, chunk; /* chunk of the first read, and of the others */
};

static void converse(struct kit *k, struct buf *refusal, struct cuts cuts)
{
	kit_open(k);
	k->tenant = 4711;
	k->env.in_size = cuts.in_size;
	ask_all(k, refusal);
	say_all(k);
	if (cuts.first > 0) {
		size_t len = k->said.len;

		k->said.len = cuts.first;
		kit_deliver(k);
		k->said.len = len;
	}
	k->chunk = cuts.chunk;
	kit_deliver(k);
	assert_log(k, all_log);
	assert_true(server_is_quiet(k->server));
	assert_string_equal(server_parameter(k->server, "TimeZone"), "Asia/Tokyo");
	assert_string_equal(server_last_error(k->server), "ours");
	assert_int_equal(k->server->held.cap, 0);
}

static void test_cut_at_every_byte(void **state)
{
	struct buf refusal = {0}, want = {0};
	struct kit k;
	size_t len;

	(void)state;
	wire_put_command_complete(&refusal, "the refusal");
	converse(&k, &refusal, (struct cuts){KIT_IN_MAX, 0, SIZE_MAX});
	buf_put(&want, k.bytes.data, k.bytes.len);
	assert_passed(&k, "S12NTDDDC3ZCZCAZ");
	len = k.said.len;
	kit_close(&k);
	/* In two. */
	for (size_t first = 1; first < len; first++) {
		converse(&k, &refusal, (struct cuts){KIT_IN_MAX, first, SIZE_MAX});
		assert_bytes(&k.bytes, &want);
		kit_close(&k);
	}
	/* In many. */
	for (size_t chunk = 1; chunk < 40; chunk++) {
		converse(&k, &refusal, (struct cuts){KIT_IN_MAX, 0, chunk});
		assert_bytes(&k.bytes, &want);
		kit_close(&k);
	}
	/* By a small buffer. */
	for (size_t in_size = 1; in_size < 40; in_size++) {
		converse(&k, &refusal, (struct cuts){in_size, in_size % 7, SIZE_MAX});
		assert_bytes(&k.bytes, &want);
		kit_close(&k);
	}
	buf_fini(&refusal);
	buf_fini(&want);
}

/* ---- large messages ------------------------------------------------------------------------ */

#define LARGE_BYTES (3u << 20)
#define SMALL_BUFFER 4096

/* A row of megabytes is handed on as it comes; nothing of it is kept. */
static void test_large_row(void **state)
{
	uint8_t *body = mem_alloc(LARGE_BYTES);
	size_t largest = 0;
	struct kit k;

	(void)state;
	for (size_t i = 0; i < LARGE_BYTES; i++)
		body[i] = (uint8_t)(i * 31 >> 3);
	kit_open(&k);
	k.env.in_size = SMALL_BUFFER;
	k.keeps = false; /* one read at a time */
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(&k, EXPECT_EXECUTE, FATE_SWALLOW);
	say_raw(&k, 'D', body, LARGE_BYTES);
	say_complete(&k, "SELECT 1");
	say_raw(&k, 'D', body, LARGE_BYTES);
	say_complete(&k, "SELECT 1");
	while (k.said_at < k.said.len) {
		size_t before = k.said_at;

		stream_fake_event(server_stream(k.server), true, false);
		assert_true(k.said_at > before && k.said_at - before <= 32768);
		if (k.server->held.cap > largest)
			largest = k.server->held.cap;
	}
	assert_true(largest <= 65536);
	assert_int_equal(k.server->held.cap, 0);
	assert_int_equal(k.bytes.len, WIRE_HEADER_BYTES + LARGE_BYTES + 14);
	assert_memory_equal(k.bytes.data, k.said.data, k.bytes.len);
	assert_true(k.n_flushed > (int)(2 * LARGE_BYTES / 65536));
	kit_close(&k);
	mem_free(body);
}

/* A thousand rows in one read are one run. */
static void test_rows_are_one_run(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	for (int i = 0; i < 1000; i++)
		say_row(&k, "value");
	k.server->sink_owner = &k;
	say_complete(&k, "SELECT 1000");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_int_equal(k.n_flushed, 1);
	assert_bytes(&k.bytes, &k.said);
	kit_close(&k);
}

static void test_mid_message(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_EXECUTE, FATE_PASS);
	kit_expect(&k, EXPECT_EXECUTE, FATE_SWALLOW);
	assert_false(server_is_mid_message(k.server));
	say_row(&k, "value");
	k.said.len -= 3;
	kit_deliver(&k);
	assert_true(server_is_mid_message(k.server));
	k.said.len += 3;
	kit_deliver(&k);
	assert_false(server_is_mid_message(k.server));
	say_complete(&k, "SELECT 1");
	kit_deliver(&k);
	/* Of one that the client does not get, it has got nothing. */
	say_row(&k, "value");
	k.said.len -= 3;
	kit_deliver(&k);
	assert_false(server_is_mid_message(k.server));
	assert_false(server_is_quiet(k.server));
	kit_close(&k);
}

/* ---- what may come at any time --------------------------------------------------------------- */

static void test_asynchronous_when_idle(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	say_raw(&k, 'N', "SNOTICE\0\0", 9);
	say_raw(&k, 'A', "\0\0\0\1c\0p\0", 8);
	say_parameter(&k, "in_hot_standby", "on");
	say_parameter(&k, "server_version", "15.20");
	say_parameter(&k, "server_version", "17.1");
	kit_deliver(&k);
	assert_passed(&k, "NASSS");
	assert_log(&k, "");
	assert_true(server_is_standby(k.server));
	assert_string_equal(server_parameter(k.server, "server_version"), "17.1");
	assert_null(server_parameter(k.server, "server_versio"));
	say_parameter(&k, "in_hot_standby", "off");
	kit_deliver(&k);
	assert_false(server_is_standby(k.server));
	assert_true(server_is_quiet(k.server));
	kit_close(&k);
}

static void count_parameter(void *arg, const char *name, const char *value)
{
	(void)name, (void)value;
	++*(int *)arg;
}

/* A server that makes up parameters does not fill our memory; one that is cut off is ignored. */
static void test_parameters_bounded(void **state)
{
	char name[32];
	int n = 0;
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int i = 0; i < 3 * SERVER_PARAMETERS_MAX; i++) {
		snprintf(name, sizeof(name), "parameter_%d", i);
		say_parameter(&k, name, "x");
	}
	say_raw(&k, 'S', "", 0);
	say_raw(&k, 'S', "parameter_0", 11);
	say_raw(&k, 'S', "parameter_0\0y", 13);
	kit_deliver(&k);
	server_each_parameter(k.server, count_parameter, &n);
	assert_int_equal(n, SERVER_PARAMETERS_MAX);
	assert_string_equal(server_parameter(k.server, "parameter_0"), "x");
	kit_close(&k);
}

/* Who gets notices and parameters that come in the middle of what was asked for him? */
static void test_asynchronous_by_fate(void **state)
{
	static const struct {
		enum expect_fate fate;
		const char *passed;
	} cases[] = {
		{FATE_PASS, "NSA"}, {FATE_SWALLOW, "NSA"}, {FATE_CONTEXT, "NSA"}, {FATE_OURS, "A"}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct kit k;

		kit_open(&k);
		kit_expect(&k, EXPECT_BIND, cases[i].fate);
		say_raw(&k, 'N', "SNOTICE\0\0", 9);
		say_parameter(&k, "TimeZone", "UTC");
		say_raw(&k, 'A', "\0\0\0\1c\0p\0", 8);
		kit_deliver(&k);
		assert_passed(&k, cases[i].passed);
		assert_string_equal(server_parameter(k.server, "TimeZone"), "UTC");
		assert_int_equal(k.server->count, 1);
		kit_close(&k);
	}
}

/* ---- what may not come --------------------------------------------------------------------- */

static void test_unexpected_types(void **state)
{
	/* 55.7: the replies to each kind, behind a Parse that has failed or not; the asynchronous
	 * ones come with all. */
	static const char *const replies[] = {
		"1", "2", "tTn", "DCIsdcHG", "3", "Z", "TDCIdcHGZ", "VZ", "",
	};

	(void)state;
	for (int kind = 0; kind <= EXPECT_FUNCTION + 1; kind++) {
		for (int type = 0; type < 256; type++) {
			bool is_known = type != 0 && (strchr(replies[kind], type) != NULL ||
			                              strchr("NSAE", type) != NULL);
			uint8_t head[] = {(uint8_t)type, 0, 0, 0, 5};
			struct kit k;

			kit_open(&k);
			/* The last: nothing is expected at all. */
			if (kind <= EXPECT_FUNCTION)
				kit_expect(&k, (enum expect_kind)kind, FATE_PASS);
			buf_put(&k.said, head, sizeof(head));
			kit_deliver(&k);
			assert_log(&k, is_known ? "" : "lost server_protocol");
			if (!is_known)
				assert_passed(&k, "");
			kit_close(&k);
		}
	}
}

static void lost_by(struct kit *k, const char *bytes, size_t len, const char *want)
{
	kit_open(k);
	kit_expect(k, EXPECT_QUERY, FATE_PASS);
	buf_put(&k->said, bytes, len);
	kit_deliver(k);
	assert_log(k, want);
	assert_false(server_is_quiet(k->server));
	kit_close(k);
}

static void test_malformed(void **state)
{
	static const char protocol[] = "lost server_protocol";
	struct kit k;

	(void)state;
	lost_by(&k, "D\0\0\0\3", 5, protocol);
	lost_by(&k, "D\x40\0\0\0", 5, protocol);
	lost_by(&k, "D\xff\xff\xff\xff", 5, protocol);
	lost_by(&k, "Z\0\0\0\4", 5, protocol);
	lost_by(&k, "Z\0\0\0\5X", 6, protocol);
	lost_by(&k, "Z\0\0\0\6I\0", 7, protocol);
	/* Too long to be one of those that are looked into. */
	lost_by(&k, "S\0\0\x90\0", 5, protocol);
	lost_by(&k, "Z\0\0\x90\0", 5, protocol);
}

/* What was passed before is flushed, what follows is not looked at. */
static void test_nothing_behind_a_loss(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_PARSE, FATE_PASS);
	kit_expect(&k, EXPECT_BIND, FATE_PASS);
	say(&k, "1");
	say_ready(&k, 'I');
	say(&k, "2");
	kit_deliver(&k);
	assert_log(&k, "lost server_protocol");
	assert_passed(&k, "1");
	kit_close(&k);
}

/* ---- quiet --------------------------------------------------------------------------------- */

/* A batch whose replies have all come (Flush), but not its Sync: the server is in an implicit
 * transaction, whatever the last ReadyForQuery said. It must not pass for a free one. */
static void test_not_quiet_before_sync(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	assert_true(server_is_quiet(k.server));
	for (int kind = EXPECT_PARSE; kind <= EXPECT_CLOSE; kind++) {
		kit_expect(&k, (enum expect_kind)kind, FATE_PASS);
		say(&k, kind == EXPECT_PARSE      ? "1"
		        : kind == EXPECT_BIND     ? "2"
		        : kind == EXPECT_DESCRIBE ? "n"
		        : kind == EXPECT_EXECUTE  ? "s"
		                                  : "3");
		kit_deliver(&k);
		assert_int_equal(k.server->count, 0);
		assert_int_equal(server_status(k.server), 'I');
		assert_false(server_is_quiet(k.server));
		kit_expect(&k, EXPECT_SYNC, FATE_PASS);
		/* The next batch is there before the first one's ReadyForQuery. */
		kit_expect(&k, EXPECT_PARSE, FATE_PASS);
		say_ready(&k, 'I');
		say(&k, "1");
		kit_deliver(&k);
		assert_false(server_is_quiet(k.server));
		kit_expect(&k, EXPECT_QUERY, FATE_PASS);
		say_complete(&k, "SELECT 1");
		say_ready(&k, 'I');
		kit_deliver(&k);
		assert_true(server_is_quiet(k.server));
	}
	kit_close(&k);
}

/* What we answer ourselves opens nothing there. */
static void test_quiet_after_answer(void **state)
{
	struct expect answer = {.kind = EXPECT_PARSE, .fate = FATE_ANSWER, .answer = '1'};
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect_full(&k, &answer);
	assert_false(server_is_quiet(k.server));
	server_answer(k.server);
	assert_true(server_is_quiet(k.server));
	stream_fake_event(server_stream(k.server), true, false);
	kit_close(&k);
}

static void test_not_quiet_in_half_a_message(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	say_raw(&k, 'N', "SNOTICE\0\0", 9);
	for (size_t len = 1; len < k.said.len; len++) {
		size_t all = k.said.len;

		k.said.len = len;
		kit_deliver(&k);
		assert_false(server_is_quiet(k.server));
		k.said.len = all;
	}
	kit_deliver(&k);
	assert_true(server_is_quiet(k.server));
	kit_close(&k);
}

/* ---- the stream ---------------------------------------------------------------------------- */

static void test_backlog(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	k.accept = 3;
	(void)server_begin(k.server);
	server_put_query(k.server, "SELECT 1", FATE_PASS);
	assert_true(server_end(k.server));
	assert_int_equal(server_backlog_bytes(k.server), 14 - 3);
	assert_false(server_is_quiet(k.server));
	/* It waits behind what waits already. */
	(void)server_begin(k.server);
	server_put_sync(k.server, FATE_PASS);
	assert_true(server_end(k.server));
	k.accept = 4;
	stream_fake_event(server_stream(k.server), false, true);
	assert_int_equal(server_backlog_bytes(k.server), 14 - 3 + 5 - 4);
	k.accept = SIZE_MAX;
	assert_int_equal(k.n_drained, 0);
	stream_fake_event(server_stream(k.server), false, true);
	assert_int_equal(k.n_drained, 1);
	assert_int_equal(server_backlog_bytes(k.server), 0);
	assert_sent(&k, "QS");
	kit_close(&k);
}

static void test_pause(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	server_pause(k.server);
	say_complete(&k, "SELECT 1");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_int_equal(k.said_at, 0);
	assert_int_equal(k.n_settled, 0);
	server_resume(k.server);
	assert_passed(&k, "CZ");
	assert_log(&k, "ready I");
	assert_int_equal(k.n_settled, 1);
	kit_close(&k);
}

/* One that always has more to say lets others have their turn, and goes on at the loop's edge; one
 * that has said all asks for none. */
static void test_share(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	for (int i = 0; i < 100; i++)
		say_row(&k, "a row");
	k.chunk = 10;
	k.us_per_flush = US_PER_MS;
	kit_deliver(&k);
	assert_in_range(k.n_settled, 2, 5);
	assert_int_equal(k.n_woken, 1);
	backend_edge(&k.env);
	assert_in_range(k.n_settled, 4, 10);
	assert_int_equal(k.n_woken, 2);
	k.us_per_flush = 0;
	backend_edge(&k.env);
	assert_int_equal(k.said_at, k.said.len);
	assert_int_equal(k.n_woken, 2);
	backend_edge(&k.env);
	kit_close(&k);
}

/* Everything that was said before the end arrives, then the end. */
static void test_end(void **state)
{
	static const ssize_t ends[] = {STREAM_EOF, STREAM_ERROR};
	struct kit k;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(ends); i++) {
		kit_open(&k);
		kit_expect(&k, EXPECT_QUERY, FATE_PASS);
		say_row(&k, "1");
		say_error(&k, "terminating connection due to administrator command");
		k.end = ends[i];
		kit_deliver(&k);
		assert_passed(&k, "DE");
		assert_log(&k, "query failed; lost server_lost");
		assert_false(server_is_quiet(k.server));
		kit_close(&k);
	}
	/* Idle: nobody asked for the last word, but it is passed on. */
	kit_open(&k);
	say_error(&k, "terminating connection due to administrator command");
	k.end = STREAM_EOF;
	kit_deliver(&k);
	assert_passed(&k, "E");
	assert_log(&k, "lost server_lost");
	kit_close(&k);
}

/* on_settled may end the server: nothing is touched after it (a sanitizer's affair). */
static void test_freed_when_settled(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	k.keeps = false;
	k.frees_on_settled = true;
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	say_complete(&k, "SELECT 1");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_null(k.server);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_large_row),
		cmocka_unit_test(test_rows_are_one_run),
		cmocka_unit_test(test_mid_message),
		cmocka_unit_test(test_asynchronous_when_idle),
		cmocka_unit_test(test_parameters_bounded),
		cmocka_unit_test(test_asynchronous_by_fate),
		cmocka_unit_test(test_unexpected_types),
		cmocka_unit_test(test_malformed),
		cmocka_unit_test(test_nothing_behind_a_loss),
		cmocka_unit_test(test_not_quiet_before_sync),
		cmocka_unit_test(test_quiet_after_answer),
		cmocka_unit_test(test_not_quiet_in_half_a_message),
		cmocka_unit_test(test_backlog),
		cmocka_unit_test(test_pause),
		cmocka_unit_test(test_share),
		cmocka_unit_test(test_end),
		cmocka_unit_test(test_freed_when_settled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
