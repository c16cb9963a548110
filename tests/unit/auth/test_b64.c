/* base64url: RFC 4648's vectors without padding, and every second spelling refused. */
#include "kit.h"

static void expect_refused(const char *text)
{
	uint8_t out[64];
	size_t len;

	if (auth_b64_decode(text, strlen(text), out, &len))
		fail_msg("accepted: %s", text);
}

static void test_vectors(void **state)
{
	static const char *const pairs[][2] = {
		{"", ""},
		{"f", "Zg"},
		{"fo", "Zm8"},
		{"foo", "Zm9v"},
		{"foob", "Zm9vYg"},
		{"fooba", "Zm9vYmE"},
		{"foobar", "Zm9vYmFy"},
		{"\xff\xef\xbe", "_---"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(pairs); i++) {
		char *text = auth_b64_encode(pairs[i][0], strlen(pairs[i][0]));
		uint8_t out[16];
		size_t len;

		assert_string_equal(text, pairs[i][1]);
		assert_true(auth_b64_decode(text, strlen(text), out, &len));
		assert_int_equal(len, strlen(pairs[i][0]));
		assert_memory_equal(out, pairs[i][0], len);
		mem_free(text);
	}
}

static void test_round_trip(void **state)
{
	(void)state;
	for (size_t n = 0; n < 300; n++) {
		uint8_t in[300], out[AUTH_B64_BYTES(400)];
		char *text;
		size_t len;

		random_bytes(in, n);
		text = auth_b64_encode(in, n);
		assert_true(auth_b64_decode(text, strlen(text), out, &len));
		assert_int_equal(len, n);
		assert_memory_equal(in, out, n);
		assert_true(len <= AUTH_B64_BYTES(strlen(text)));
		mem_free(text);
	}
}

static void test_refused(void **state)
{
	uint8_t out[8];
	size_t len;

	(void)state;
	expect_refused("Z");
	expect_refused("Zm9vY");
	expect_refused("Zg==");
	expect_refused("Zm8=");
	expect_refused("Zm+v");
	expect_refused("Zm/v");
	expect_refused("Zm9v\n");
	expect_refused(" Zm9v");
	expect_refused("Zm.v");
	expect_refused("Zm9\x80");
	expect_refused("Zh");  /* "f" with a stray bit */
	expect_refused("Zm9"); /* "fo" with a stray bit */
	assert_false(auth_b64_decode("Zm\0v", 4, out, &len));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests_name("auth/b64", tests, NULL, NULL);
}
