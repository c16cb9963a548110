/* base/hash.h. The key of hash_bytes is drawn at process start; SipHash's reference vectors are
 * checked all the same, by including the source and putting the reference key in its place. */
#include "base/hash.c"

#include "unit/base/cm.h"

/* The reference implementation's vectors: key 00 01 .. 0f, input 00 01 .. n-1. Numbers of
 * Aumasson and Bernstein's paper (appendix A: n = 15) and of their vectors.h. */
static void test_siphash_reference_vectors(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} vectors[] = {
		{0, UINT64_C(0x726fdb47dd0e0e31)},  {1, UINT64_C(0x74f839c593dc67fd)},
		{7, UINT64_C(0xab0200f58b01d137)},  {8, UINT64_C(0x93f5f5799a932462)},
		{15, UINT64_C(0xa129ca6149be45e5)},
	};
	uint64_t drawn[2];
	uint8_t in[16];

	(void)state;
	hash_bytes("", 0);
	memcpy(drawn, sip_key, sizeof(drawn));
	for (uint8_t i = 0; i < sizeof(in); i++)
		in[i] = i;
	memcpy(sip_key, in, sizeof(sip_key));
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++)
		assert_true(hash_bytes(in, vectors[i].len) == vectors[i].hash);
	memcpy(sip_key, drawn, sizeof(sip_key));
}

/* RFC 4231, test case 2: its key of four bytes is the same with NULs behind it. */
static void test_hmac_reference_vector(void **state)
{
	static const uint8_t mac[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e,
	                              0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
	                              0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83,
	                              0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
	uint8_t drawn[SHA256_BYTES], out[SHA256_BYTES];

	(void)state;
	hash_hmac("", 0, out);
	memcpy(drawn, hmac_key, sizeof(drawn));
	memcpy(memset(hmac_key, 0, sizeof(hmac_key)), "Jefe", 4);
	hash_hmac("what do ya want for nothing?", 28, out);
	assert_memory_equal(out, mac, sizeof(mac));
	memcpy(hmac_key, drawn, sizeof(hmac_key));
	hash_hmac("what do ya want for nothing?", 28, out);
	assert_memory_not_equal(out, mac, sizeof(mac));
}

static void test_equal_bytes_hash_alike_wherever_they_are(void **state)
{
	char at[64];

	(void)state;
	for (size_t offset = 0; offset < 9; offset++) {
		memset(at, 'x', sizeof(at));
		memcpy(at + offset, "SELECT 1 FROM entities", 22);
		assert_true(hash_bytes(at + offset, 22) ==
		            hash_bytes("SELECT 1 FROM entities", 22));
	}
}

static void test_every_bit_and_the_length_count(void **state)
{
	uint8_t bytes[40] = {0};
	uint64_t base = hash_bytes(bytes, sizeof(bytes));

	(void)state;
	for (size_t bit = 0; bit < sizeof(bytes) * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_true(hash_bytes(bytes, sizeof(bytes)) != base);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_true(hash_bytes(bytes, len) != base);
}

static void test_key_is_drawn_once_and_not_zero(void **state)
{
	uint64_t first;

	(void)state;
	first = hash_bytes("abc", 3);
	assert_true(hash_bytes("abc", 3) == first);
	assert_true(sip_key[0] != 0 && sip_key[1] != 0 && sip_key[0] != sip_key[1]);
}

static void test_sha256_of_abc(void **state)
{
	/* FIPS 180-2, appendix B.1, and the digest of nothing. */
	static const uint8_t abc[SHA256_BYTES] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
	                                          0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23,
	                                          0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c,
	                                          0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad};
	static const uint8_t nothing[4] = {0xe3, 0xb0, 0xc4, 0x42};
	uint8_t out[SHA256_BYTES];

	(void)state;
	hash_sha256("abc", 3, out);
	assert_memory_equal(out, abc, sizeof(abc));
	hash_sha256("", 0, out);
	assert_memory_equal(out, nothing, sizeof(nothing));
}

static void test_random_bytes_fill_exactly_what_was_asked(void **state)
{
	uint8_t a[48], b[48];
	size_t zeroes = 0;

	(void)state;
	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	random_bytes(a, 40);
	random_bytes(b, 40);
	assert_memory_not_equal(a, b, 40);
	for (size_t i = 40; i < sizeof(a); i++)
		assert_int_equal(a[i], 0);
	/* 40 random bytes with more than 8 zeroes among them: once in 10^13. */
	for (size_t i = 0; i < 40; i++)
		zeroes += a[i] == 0;
	assert_true(zeroes <= 8);
	random_bytes(a, 0);
}

static void test_random_hex_is_hex_and_terminated(void **state)
{
	char text[2 * 16 + 2];

	(void)state;
	memset(text, '#', sizeof(text));
	random_hex(text, 16);
	assert_int_equal(strlen(text), 32);
	assert_int_equal(strspn(text, "0123456789abcdef"), 32);
	assert_int_equal(text[33], '#');
}

static void test_secrets_compare_by_content(void **state)
{
	(void)state;
	assert_true(secret_equals("abcd", "abcd", 4));
	assert_true(secret_equals("abcX", "abcY", 3));
	assert_false(secret_equals("abcd", "abce", 4));
	assert_false(secret_equals("Xbcd", "abcd", 4));
	assert_true(secret_equals("a", "b", 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_reference_vectors),
		cmocka_unit_test(test_hmac_reference_vector),
		cmocka_unit_test(test_equal_bytes_hash_alike_wherever_they_are),
		cmocka_unit_test(test_every_bit_and_the_length_count),
		cmocka_unit_test(test_key_is_drawn_once_and_not_zero),
		cmocka_unit_test(test_sha256_of_abc),
		cmocka_unit_test(test_random_bytes_fill_exactly_what_was_asked),
		cmocka_unit_test(test_random_hex_is_hex_and_terminated),
		cmocka_unit_test(test_secrets_compare_by_content),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
