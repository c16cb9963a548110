/* Framing: the header of a message, cut everywhere and with every kind of length; and the cursor
 * over a message's strings. */
#include <string.h>

#include "base/mem.h"
#include "unit/base/cm.h"
#include "wire.h"

/* A header in memory of exactly n bytes, so that a sanitizer sees a look behind its end. */
static enum wire_read read_copy(const uint8_t *p, size_t n, struct wire_frame *f)
{
	uint8_t *copy = mem_dup(p, n);
	enum wire_read r = wire_frame_read(copy, n, f);

	mem_free(copy);
	return r;
}

static enum wire_read read_length(uint32_t len, struct wire_frame *f)
{
	uint8_t head[WIRE_HEADER_BYTES] = {'D'};

	be32_set(head + 1, len);
	return read_copy(head, sizeof(head), f);
}

static void test_header_cut_everywhere(void **state)
{
	static const uint8_t message[] = {'Q', 0, 0, 0, 6, 'x', 0};
	struct wire_frame f = {0};

	(void)state;
	for (size_t n = 0; n < WIRE_HEADER_BYTES; n++)
		assert_int_equal(read_copy(message, n, &f), WIRE_READ_SHORT);
	for (size_t n = WIRE_HEADER_BYTES; n <= sizeof(message); n++) {
		memset(&f, 0, sizeof(f));
		assert_int_equal(read_copy(message, n, &f), WIRE_READ_OK);
		assert_int_equal(f.type, 'Q');
		assert_int_equal(f.body_len, 2);
	}
}

static void test_impossible_lengths(void **state)
{
	static const uint32_t bad[] = {0,          1,          2,          3,         0x40000000,
	                               0x7fffffff, 0x80000000, 0xfffffffe, UINT32_MAX};
	struct wire_frame f = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_int_equal(read_length(bad[i], &f), WIRE_READ_BAD);
}

static void test_lengths_at_the_limits(void **state)
{
	struct wire_frame f = {0};

	(void)state;
	assert_int_equal(read_length(4, &f), WIRE_READ_OK);
	assert_int_equal(f.body_len, 0);
	assert_int_equal(read_length(5, &f), WIRE_READ_OK);
	assert_int_equal(f.body_len, 1);
	assert_int_equal(read_length(0x3fffffff, &f), WIRE_READ_OK);
	assert_int_equal(f.body_len, 0x3ffffffb);
}

/* The length is big-endian: each of its bytes weighs what it should. */
static void test_byte_order(void **state)
{
	static const uint8_t head[] = {'d', 0x01, 0x02, 0x03, 0x04};
	struct wire_frame f = {0};

	(void)state;
	assert_int_equal(read_copy(head, sizeof(head), &f), WIRE_READ_OK);
	assert_int_equal(f.type, 'd');
	assert_int_equal(f.body_len, 0x01020304 - 4);
}

/* What the type is, is not framing's affair. */
static void test_every_type(void **state)
{
	(void)state;
	for (int type = 0; type < 256; type++) {
		uint8_t head[] = {(uint8_t)type, 0, 0, 0, 4};
		struct wire_frame f = {0};

		assert_int_equal(read_copy(head, sizeof(head), &f), WIRE_READ_OK);
		assert_int_equal(f.type, type);
	}
}

static void test_cursor(void **state)
{
	static const uint8_t body[] = {'a', 'b', 0, 0, 'c', 0, 'd'};
	uint8_t *copy = mem_dup(body, sizeof(body));
	struct wire_cursor c = {copy, copy + sizeof(body)};

	(void)state;
	assert_string_equal(wire_cursor_cstr(&c), "ab");
	assert_string_equal(wire_cursor_cstr(&c), "");
	assert_string_equal(wire_cursor_cstr(&c), "c");
	/* Not terminated: refused, again and again, and nothing is taken. */
	assert_null(wire_cursor_cstr(&c));
	assert_null(wire_cursor_cstr(&c));
	assert_ptr_equal(c.at, copy + 6);
	mem_free(copy);
}

static void test_cursor_at_the_end(void **state)
{
	static const uint8_t body[] = {'x', 0};
	uint8_t *copy = mem_dup(body, sizeof(body));
	struct wire_cursor c = {copy, copy + sizeof(body)};

	(void)state;
	assert_string_equal(wire_cursor_cstr(&c), "x");
	assert_ptr_equal(c.at, c.end);
	assert_null(wire_cursor_cstr(&c));
	mem_free(copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_header_cut_everywhere),
		cmocka_unit_test(test_impossible_lengths),
		cmocka_unit_test(test_lengths_at_the_limits),
		cmocka_unit_test(test_byte_order),
		cmocka_unit_test(test_every_type),
		cmocka_unit_test(test_cursor),
		cmocka_unit_test(test_cursor_at_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
