/* base/buf.h: growing, byte order, dropping from the front. */
#include "base/buf.h"

#include <string.h>

#include "unit/base/cm.h"
#include "unit/base/death.h"

static void test_zeroed_memory_is_an_empty_buffer(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_put(&b, "x", 0);
	buf_put(&b, NULL, 0);
	assert_null(b.data);
	buf_consume(&b, 0);
	buf_fini(&b);
	buf_fini(&b);
	assert_int_equal(b.len, 0);
}

static void test_grows_and_keeps_what_it_holds(void **state)
{
	struct buf b = {0};
	size_t cap = 0;
	int times_grown = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		buf_put_u8(&b, (uint8_t)(i * 7));
		times_grown += b.cap != cap;
		cap = b.cap;
	}
	/* By doubling: byte for byte it would take quadratic time. */
	assert_true(times_grown <= 10);
	assert_int_equal(b.len, 100000);
	assert_true(b.cap >= b.len);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(b.data[i], (uint8_t)(i * 7));
	buf_fini(&b);
	assert_null(b.data);
	assert_int_equal(b.cap, 0);
}

static void test_reserve_gives_room_without_using_it(void **state)
{
	struct buf b = {0};
	uint8_t *at;

	(void)state;
	buf_put(&b, "abc", 3);
	at = buf_reserve(&b, 10000);
	assert_ptr_equal(at, b.data + 3);
	assert_true(b.cap - b.len >= 10000);
	assert_int_equal(b.len, 3);
	memset(at, 'z', 10000);
	assert_memory_equal(b.data, "abcz", 4);
	/* What fits is not moved. */
	assert_ptr_equal(buf_reserve(&b, 10000), at);
	buf_fini(&b);
}

static void test_integers_are_big_endian(void **state)
{
	static const uint8_t expected[] = {0xfe, 0x01, 0x02, 0x80, 0x03, 0x04, 0xff};
	struct buf b = {0};

	(void)state;
	buf_put_u8(&b, 0xfe);
	buf_put_be16(&b, 0x0102);
	buf_put_be32(&b, UINT32_C(0x800304ff));
	assert_int_equal(b.len, sizeof(expected));
	assert_memory_equal(b.data, expected, sizeof(expected));
	assert_int_equal(be16_get(b.data + 1), 0x0102);
	assert_int_equal(be32_get(b.data + 3), UINT32_C(0x800304ff));
	be32_set(b.data + 3, UINT32_C(0xdeadbeef));
	assert_int_equal(be32_get(b.data + 3), UINT32_C(0xdeadbeef));
	buf_fini(&b);
}

static void test_strings_carry_their_nul(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_put_cstr(&b, "ab");
	buf_put_cstr(&b, "");
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "ab\0\0", 4);
	buf_fini(&b);
}

static void test_consume_drops_from_the_front(void **state)
{
	struct buf b = {0};

	(void)state;
	buf_put(&b, "abcdef", 6);
	buf_consume(&b, 2);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "cdef", 4);
	buf_consume(&b, 4);
	assert_int_equal(b.len, 0);
	buf_put(&b, "gh", 2);
	assert_memory_equal(b.data, "gh", 2);
	buf_fini(&b);
}

static void consume_too_much(void)
{
	struct buf b = {0};

	buf_put(&b, "ab", 2);
	buf_consume(&b, 3);
}

static void test_consuming_more_than_there_is_dies(void **state)
{
	char said[256];

	(void)state;
	assert_true(death_of(consume_too_much, said, sizeof(said)));
	assert_non_null(strstr(said, "buf_consume"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zeroed_memory_is_an_empty_buffer),
		cmocka_unit_test(test_grows_and_keeps_what_it_holds),
		cmocka_unit_test(test_reserve_gives_room_without_using_it),
		cmocka_unit_test(test_integers_are_big_endian),
		cmocka_unit_test(test_strings_carry_their_nul),
		cmocka_unit_test(test_consume_drops_from_the_front),
		cmocka_unit_test(test_consuming_more_than_there_is_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
