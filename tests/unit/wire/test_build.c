/* Every builder's bytes against what PostgreSQL documentation 55.7 says, written out by hand; and
 * the table of close reasons. */
#include <string.h>

#include "base/mem.h"
#include "unit/base/cm.h"
#include "wire.h"

/* The builders append: something is there before, and stays. */
static const char before[] = "before";
#define BEFORE_LEN (sizeof(before) - 1)

static void begin(struct buf *b)
{
	memset(b, 0, sizeof(*b));
	buf_put(b, before, BEFORE_LEN);
}

static void check(struct buf *b, const char *want, size_t len)
{
	assert_memory_equal(b->data, before, BEFORE_LEN);
	assert_int_equal(b->len, BEFORE_LEN + len);
	if (len > 0)
		assert_memory_equal(b->data + BEFORE_LEN, want, len);
	buf_fini(b);
}

/* A string literal without its own NUL. */
#define CHECK(b, want) check(b, want, sizeof(want) - 1)

static void test_error(void **state)
{
	struct wire_error e = {.severity = "ERROR", .sqlstate = "42501", .message = "no"};
	struct buf b;

	(void)state;
	begin(&b);
	wire_put_error(&b, &e);
	CHECK(&b, "E\0\0\0\x1e"
	          "SERROR\0"
	          "VERROR\0"
	          "C42501\0"
	          "Mno\0"
	          "\0");
	e.severity = "FATAL";
	e.detail = "why";
	e.hint = "";
	begin(&b);
	wire_put_error(&b, &e);
	CHECK(&b, "E\0\0\0\x25"
	          "SFATAL\0"
	          "VFATAL\0"
	          "C42501\0"
	          "Mno\0"
	          "Dwhy\0"
	          "H\0"
	          "\0");
	e = (struct wire_error){
		.severity = "ERROR", .sqlstate = "42601", .message = "no", .position = 12};
	begin(&b);
	wire_put_error(&b, &e);
	CHECK(&b, "E\0\0\0\x22"
	          "SERROR\0"
	          "VERROR\0"
	          "C42601\0"
	          "Mno\0"
	          "P12\0"
	          "\0");
}

static void test_close_reason(void **state)
{
	struct buf b;

	(void)state;
	begin(&b);
	wire_put_close_reason(&b, CLOSE_CLIENT_AUTH);
	CHECK(&b, "E\0\0\0\x29"
	          "SFATAL\0"
	          "VFATAL\0"
	          "C28000\0"
	          "Mtoken refused\0"
	          "\0");
	/* Nothing is said to a peer who has gone, or who is not to know. */
	begin(&b);
	wire_put_close_reason(&b, CLOSE_CLIENT_EOF);
	wire_put_close_reason(&b, CLOSE_SERVER_DIRTY);
	wire_put_close_reason(&b, CLOSE_NONE);
	CHECK(&b, "");
}

static void test_close_reason_table(void **state)
{
	(void)state;
	for (int i = CLOSE_NONE; i < CLOSE_REASON_COUNT; i++) {
		const struct close_reason_info *info = close_reason_info((enum close_reason)i);

		assert_true(info->label[0] != '\0');
		/* A text goes with a SQLSTATE of five, and none with none. */
		assert_int_equal(strlen(info->sqlstate), info->text[0] != '\0' ? 5 : 0);
		for (int j = CLOSE_NONE; j < i; j++)
			assert_string_not_equal(info->label,
			                        close_reason_info((enum close_reason)j)->label);
	}
	assert_string_equal(close_reason_info(CLOSE_SHUTDOWN)->label, "shutdown");
	assert_string_equal(close_reason_info(CLOSE_SHUTDOWN)->sqlstate, "57P01");
}

static void test_login(void **state)
{
	static const struct wire_cancel key = {0x01020304, 4, {0xff, 0xfe, 0xfd, 0xfc}};
	struct wire_cancel long_key = {.pid = 7, .key_len = WIRE_CANCEL_KEY_MAX};
	uint8_t names[] = "_pq_.a\0_pq_.bc";
	const struct buf options = {.data = names, .len = sizeof(names)}, none = {0};
	struct buf b;

	(void)state;
	begin(&b);
	wire_put_auth(&b, 0);
	CHECK(&b, "R\0\0\0\x08\0\0\0\0");
	begin(&b);
	wire_put_auth(&b, 3);
	CHECK(&b, "R\0\0\0\x08\0\0\0\3");
	begin(&b);
	wire_put_parameter(&b, "TimeZone", "UTC");
	CHECK(&b, "S\0\0\0\x11TimeZone\0UTC\0");
	begin(&b);
	wire_put_parameter(&b, "x", "");
	CHECK(&b, "S\0\0\0\x07x\0\0");
	begin(&b);
	wire_put_key_data(&b, &key);
	CHECK(&b, "K\0\0\0\x0c\1\2\3\4\xff\xfe\xfd\xfc");
	begin(&b);
	wire_put_key_data(&b, &long_key);
	assert_int_equal(b.len, BEFORE_LEN + 1 + 4 + 4 + WIRE_CANCEL_KEY_MAX);
	assert_memory_equal(b.data + BEFORE_LEN, "K\0\0\1\x08\0\0\0\7", 9);
	buf_fini(&b);
	begin(&b);
	wire_put_cancel(&b, &key);
	CHECK(&b, "\0\0\0\x10\4\322\26\56\1\2\3\4\xff\xfe\xfd\xfc");
	begin(&b);
	wire_put_negotiate(&b, WIRE_PROTOCOL_3_0, &options, 2);
	CHECK(&b, "v\0\0\0\x1b\0\3\0\0\0\0\0\2_pq_.a\0_pq_.bc\0");
	begin(&b);
	wire_put_negotiate(&b, WIRE_PROTOCOL_3_2, &none, 0);
	CHECK(&b, "v\0\0\0\x0c\0\3\0\2\0\0\0\0");
}

static void test_replies(void **state)
{
	static const char statuses[] = "ITE";
	static const uint8_t bare[] = "123InSHc";
	struct buf b;

	(void)state;
	for (const char *s = statuses; *s != '\0'; s++) {
		char want[] = "Z\0\0\0\5?";

		want[5] = *s;
		begin(&b);
		wire_put_ready(&b, *s);
		check(&b, want, 6);
	}
	begin(&b);
	wire_put_command_complete(&b, "SELECT 1");
	CHECK(&b, "C\0\0\0\x0dSELECT 1\0");
	for (const uint8_t *type = bare; *type != '\0'; type++) {
		char want[] = "?\0\0\0\4";

		want[0] = (char)*type;
		begin(&b);
		wire_put_bare(&b, *type);
		check(&b, want, 5);
	}
}

static void test_requests(void **state)
{
	struct buf b;

	(void)state;
	begin(&b);
	wire_put_query(&b, "SELECT 1; rest", 8);
	CHECK(&b, "Q\0\0\0\x0dSELECT 1\0");
	begin(&b);
	wire_put_query(&b, "", 0);
	CHECK(&b, "Q\0\0\0\5\0");
	begin(&b);
	wire_put_parse(&b, "s1", "SELECT $1");
	CHECK(&b, "P\0\0\0\x13s1\0SELECT $1\0\0\0");
	begin(&b);
	wire_put_parse(&b, "", "");
	CHECK(&b, "P\0\0\0\x08\0\0\0\0");
	begin(&b);
	wire_put_execute(&b);
	CHECK(&b, "E\0\0\0\x09\0\0\0\0\0");
	begin(&b);
	wire_put_close_statement(&b, "s1");
	CHECK(&b, "C\0\0\0\x08Ss1\0");
}

static void test_bind(void **state)
{
	static const char *const values[] = {"42", NULL, ""};
	struct buf b;

	(void)state;
	begin(&b);
	wire_put_bind(&b, "ctx", values, 3);
	CHECK(&b, "B\0\0\0\x1d"
	          "\0ctx\0" /* portal, statement */
	          "\0\0"    /* formats: all text */
	          "\0\3"    /* parameters */
	          "\0\0\0\x02"
	          "42"
	          "\xff\xff\xff\xff" /* NULL */
	          "\0\0\0\0"         /* the empty string is not NULL */
	          "\0\0");           /* result formats: all text */
	begin(&b);
	wire_put_bind(&b, "", NULL, 0);
	CHECK(&b, "B\0\0\0\x0c\0\0\0\0\0\0\0\0");
}

/* Whatever is built is framed as it is read. */
static void test_each_is_one_frame(void **state)
{
	static const char *const values[] = {"v", NULL};
	const struct wire_error e = {.severity = "ERROR", .sqlstate = "XX000", .message = "m"};
	static const uint8_t types[] = "ERSKvZC2QPBEC";
	static const struct wire_cancel key = {.pid = 1, .key_len = 4};
	const struct buf none = {0};
	struct buf b = {0};
	struct wire_frame f = {0};
	size_t at = 0;

	(void)state;
	wire_put_error(&b, &e);
	wire_put_auth(&b, 0);
	wire_put_parameter(&b, "n", "v");
	wire_put_key_data(&b, &key);
	wire_put_negotiate(&b, 0, &none, 0);
	wire_put_ready(&b, 'I');
	wire_put_command_complete(&b, "BEGIN");
	wire_put_bare(&b, '2');
	wire_put_query(&b, "q", 1);
	wire_put_parse(&b, "n", "t");
	wire_put_bind(&b, "n", values, 2);
	wire_put_execute(&b);
	wire_put_close_statement(&b, "n");
	for (const uint8_t *type = types; *type != '\0'; type++) {
		assert_int_equal(wire_frame_read(b.data + at, b.len - at, &f), WIRE_READ_OK);
		assert_int_equal(f.type, *type);
		at += WIRE_HEADER_BYTES + f.body_len;
	}
	assert_int_equal(at, b.len);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_error),
		cmocka_unit_test(test_close_reason),
		cmocka_unit_test(test_close_reason_table),
		cmocka_unit_test(test_login),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_bind),
		cmocka_unit_test(test_each_is_one_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
