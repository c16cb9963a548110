/* audit: lines and what they escape, the chain with every fault, queues that are full, files that
 * were torn. The writer runs where a test starts it; clocks stand still. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "audit/audit_int.h"
#include "base/clock.h"
#include "base/mem.h"

#define ALL_EVENTS 0x3fu
#define LINES_MAX 64

static char path[] = "/tmp/pgusher-test-audit-XXXXXX";

static int setup(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	clock_fake(1000, 1700000000);
	return fd >= 0 ? close(fd) : -1;
}

static int teardown(void **state)
{
	(void)state;
	clock_fake(-1, 0);
	return unlink(path);
}

/* ---- lines -------------------------------------------------------------------------------- */

static struct audit_record login(const char *role)
{
	struct audit_record r = {.event = AUDIT_AUTH,
	                         .wall_us = INT64_C(1700000000) * US_PER_S + 42,
	                         .session = 0xabc,
	                         .outcome = "accepted"};

	AUDIT_COPY(r.role, role);
	return r;
}

static void assert_role_is_shown(const char *role, const char *shown)
{
	static const uint8_t prev[SHA256_BYTES];
	struct audit_record r = login(role);
	struct buf out = {0};
	char wanted[1024];

	audit_line_put(&out, &r, prev);
	buf_put_u8(&out, 0);
	snprintf(wanted, sizeof(wanted),
	         "\"event\":\"auth\",%s%s%s\"session\":\"0000000000000abc\"",
	         shown[0] != '\0' ? "\"role\":\"" : "", shown, shown[0] != '\0' ? "\"," : "");
	if (strstr((const char *)out.data, wanted) == NULL)
		fail_msg("%s is not in %s", wanted, (const char *)out.data);
	buf_fini(&out);
}

static void test_escaping(void **state)
{
	char longest[AUDIT_NAME_BYTES + 20];

	(void)state;
	assert_role_is_shown("app", "app");
	assert_role_is_shown("", "");
	assert_role_is_shown("a\"b\\c", "a\\u0022b\\u005cc");
	assert_role_is_shown("\n\x01\x7f", "\\u000a\\u0001\\u007f");
	assert_role_is_shown("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
	                     "\\u00e4\\u20ac\\ud83d\\ude00");
	/* Overlong, a surrogate, beyond the last, cut short, a lone continuation. */
	assert_role_is_shown("\xc0\x80", "\\ufffd\\ufffd");
	assert_role_is_shown("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");
	assert_role_is_shown("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd");
	assert_role_is_shown("\xf0\x9f\x98", "\\ufffd\\ufffd\\ufffd");
	assert_role_is_shown("\xa4", "\\ufffd");
	assert_role_is_shown("eyJhbGciOiJub25lIn0.e30.x", "(a token?)");
	assert_role_is_shown(" eyJhbGciOiJub25lIn0.e30.x", "(a token?)");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_role_is_shown(longest, longest + sizeof(longest) - AUDIT_NAME_BYTES);
}

static void test_a_line(void **state)
{
	static const uint8_t prev[SHA256_BYTES] = {0xab};
	struct audit_record r = login("app");
	struct buf out = {0};

	(void)state;
	r.event = AUDIT_STATEMENTS;
	r.fingerprint = 0x1234;
	r.has_rows = true;
	r.duration_us = 17;
	audit_line_put(&out, &r, prev);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data,
	                    "{\"prev\":\"ab00000000000000000000000000000000000000000000000000000000"
	                    "000000\",\"time\":\"2023-11-14T22:13:20.000042Z\",\"event\":"
	                    "\"statements\",\"role\":\"app\",\"session\":\"0000000000000abc\","
	                    "\"outcome\":\"accepted\",\"fingerprint\":\"0000000000001234\","
	                    "\"rows\":0,\"duration_us\":17}\n");
	buf_fini(&out);
}

/* ---- the chain ---------------------------------------------------------------------------- */

struct log {
	char *lines[LINES_MAX];
	size_t n;
};

static void log_add(struct log *log, const char *line, size_t len)
{
	assert_true(log->n < LINES_MAX);
	log->lines[log->n++] = mem_strndup(line, len);
}

/* n lines that follow each other. */
static struct log log_of(size_t n)
{
	uint8_t prev[SHA256_BYTES] = {0};
	struct audit_record r = login("app");
	struct log log = {0};
	struct buf out = {0};

	for (size_t i = 0; i < n; i++) {
		r.session = i;
		out.len = 0;
		audit_line_put(&out, &r, prev);
		hash_sha256(out.data, out.len, prev);
		log_add(&log, (const char *)out.data, out.len);
	}
	buf_fini(&out);
	return log;
}

static struct audit_verdict verify(const struct log *log, const char *after)
{
	struct audit_verdict v;
	struct buf all = {0};
	FILE *in;

	for (size_t i = 0; i < log->n; i++)
		buf_put(&all, log->lines[i], strlen(log->lines[i]));
	in = all.len > 0 ? fmemopen(all.data, all.len, "r") : fopen("/dev/null", "r");
	assert_non_null(in);
	audit_verify(in, after, &v);
	fclose(in);
	buf_fini(&all);
	return v;
}

static void log_free(struct log *log)
{
	for (size_t i = 0; i < log->n; i++)
		mem_free(log->lines[i]);
}

static void test_whole(void **state)
{
	char zeros[AUDIT_DIGEST_HEX];

	(void)state;
	memset(zeros, '0', sizeof(zeros) - 1);
	zeros[sizeof(zeros) - 1] = '\0';
	for (size_t n = 0; n < 5; n++) {
		struct log log = log_of(n);
		struct audit_verdict v = verify(&log, zeros);

		assert_true(v.is_whole);
		assert_int_equal(v.n_lines, n);
		assert_int_equal(strlen(v.last), n > 0 ? 64 : 0);
		log_free(&log);
	}
}

/* Each byte of each line but the last, turned. */
static void test_each_change_shows(void **state)
{
	struct log log = log_of(4);

	(void)state;
	for (size_t i = 0; i + 1 < log.n; i++) {
		for (size_t at = 0; log.lines[i][at] != '\0'; at++) {
			log.lines[i][at] ^= 1;
			if (log.lines[i][at] != '\0')
				assert_false(verify(&log, NULL).is_whole);
			log.lines[i][at] ^= 1;
		}
	}
	assert_true(verify(&log, NULL).is_whole);
	log_free(&log);
}

static void test_removed_moved_repeated(void **state)
{
	struct log log = log_of(6);
	struct log other = log;

	(void)state;
	memmove(&other.lines[2], &other.lines[3], 3 * sizeof(other.lines[0]));
	other.n--;
	assert_int_equal(verify(&other, NULL).bad_line, 3);
	other = log;
	other.lines[2] = log.lines[3];
	other.lines[3] = log.lines[2];
	assert_int_equal(verify(&other, NULL).bad_line, 3);
	other = log;
	other.lines[3] = log.lines[2];
	assert_int_equal(verify(&other, NULL).bad_line, 4);
	log_free(&log);
}

static void test_cut(void **state)
{
	struct log log = log_of(3);
	struct audit_verdict v;

	(void)state;
	log.lines[2][strlen(log.lines[2]) - 1] = '\0';
	v = verify(&log, NULL);
	assert_false(v.is_whole);
	assert_int_equal(v.bad_line, 3);
	assert_int_equal(v.n_lines, 2);
	log_free(&log);
}

/* ---- queues ------------------------------------------------------------------------------- */

static bool put(struct audit_queue *q, enum audit_event event, const char *role)
{
	struct audit_record *r = audit_begin(q, event);

	if (r == NULL)
		return false;
	AUDIT_COPY(r->role, role);
	audit_commit(q);
	return true;
}

static void test_a_full_queue(void **state)
{
	struct audit_queue *q = audit_queue_new(NULL, ALL_EVENTS, 8);
	unsigned n = 0;

	(void)state;
	while (put(q, AUDIT_STATEMENTS, "s"))
		n++;
	assert_int_equal(n, 6); /* the rest is kept for others */
	while (put(q, AUDIT_GUARD, "g"))
		n++;
	assert_int_equal(n, 8);
	assert_int_equal(audit_queue_dropped(q), 2);
	assert_int_equal(audit_queue_dropped(q), 0);
	assert_string_equal(audit_queue_look(q)->role, "s");
	audit_queue_drop(q);
	assert_true(put(q, AUDIT_GUARD, "last"));
	for (; n > 1; n--)
		audit_queue_drop(q);
	assert_string_equal(audit_queue_look(q)->role, "last");
	audit_queue_drop(q);
	assert_null(audit_queue_look(q));
	audit_queue_free(&q);
}

static void test_what_is_not_wanted(void **state)
{
	struct audit_queue *q = audit_queue_new(NULL, 1u << AUDIT_GUARD, 8);

	(void)state;
	assert_false(put(q, AUDIT_AUTH, "a"));
	assert_false(put(NULL, AUDIT_AUTH, "a"));
	assert_true(put(q, AUDIT_GUARD, "g"));
	assert_int_equal(audit_queue_dropped(q), 0);
	audit_queue_free(&q);
}

/* ---- the writer --------------------------------------------------------------------------- */

static struct audit *open_log(unsigned n_queues, uint32_t n_records)
{
	struct audit *a = audit_make(path, ALL_EVENTS, n_queues, n_records);
	char err[256] = "";

	if (audit_open(a, err, sizeof(err)) != SINK_OPENED)
		fail_msg("%s", err);
	return a;
}

static struct audit_verdict verify_file(void)
{
	FILE *in = fopen(path, "r");
	struct audit_verdict v;

	assert_non_null(in);
	audit_verify(in, NULL, &v);
	fclose(in);
	return v;
}

static void write_file(const char *text, size_t len)
{
	FILE *out = fopen(path, "w");

	assert_non_null(out);
	assert_int_equal(fwrite(text, 1, len, out), len);
	assert_int_equal(fclose(out), 0);
}

/* What no room was for is told, once, and all that is written is whole. */
static void test_drops_are_told(void **state)
{
	struct audit *a;

	(void)state;
	write_file("", 0);
	a = open_log(2, 4);
	for (int i = 0; i < 10; i++) {
		put(audit_queue(a, 0), AUDIT_AUTH, "a");
		put(audit_queue(a, 1), AUDIT_AUTH, "b");
	}
	audit_start(a);
	audit_free(&a);
	/* 4 of each, "dropped", "stopped" */
	assert_true(verify_file().is_whole);
	assert_int_equal(verify_file().n_lines, 10);
}

/* A file torn at every byte goes on, and is whole again. */
static void test_torn_anywhere(void **state)
{
	struct log log = log_of(3);
	struct buf all = {0};
	struct audit *a;

	(void)state;
	for (size_t i = 0; i < log.n; i++)
		buf_put(&all, log.lines[i], strlen(log.lines[i]));
	for (size_t len = 0; len <= all.len; len++) {
		struct audit_verdict v;

		write_file((const char *)all.data, len);
		a = open_log(1, 4);
		audit_start(a);
		audit_free(&a);
		v = verify_file();
		if (!v.is_whole)
			fail_msg("cut after %zu bytes: line %d: %s", len, (int)v.bad_line, v.what);
	}
	buf_fini(&all);
	log_free(&log);
}

static void test_the_latest(void **state)
{
	struct audit_record latest[AUDIT_LATEST];
	struct audit *a;

	(void)state;
	write_file("", 0);
	a = open_log(1, 4);
	for (unsigned i = 0; i < 250; i++)
		audit_say(a, i % 2 == 0 ? "even" : "odd", i), a->n_batch = 0;
	assert_int_equal(audit_latest(audit_queue(a, 0), latest, AUDIT_LATEST), AUDIT_LATEST);
	for (unsigned i = 0; i < AUDIT_LATEST; i++)
		assert_int_equal(latest[i].n, 150 + i);
	assert_int_equal(audit_latest(NULL, latest, AUDIT_LATEST), 0);
	audit_start(a);
	audit_free(&a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escaping),
		cmocka_unit_test(test_a_line),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_each_change_shows),
		cmocka_unit_test(test_removed_moved_repeated),
		cmocka_unit_test(test_cut),
		cmocka_unit_test(test_a_full_queue),
		cmocka_unit_test(test_what_is_not_wanted),
		cmocka_unit_test(test_drops_are_told),
		cmocka_unit_test(test_torn_anywhere),
		cmocka_unit_test(test_the_latest),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
