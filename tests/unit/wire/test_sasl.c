/* SASL's envelope and OAUTHBEARER's messages: what clients send, and every malformed form. */
#include <string.h>

#include "base/mem.h"
#include "unit/base/cm.h"
#include "wire_sasl.h"

struct text {
	const char *at;
	size_t len;
};
#define TEXT(s)                                                                                    \
	{                                                                                          \
		(s), sizeof(s) - 1                                                                 \
	}

/* Reads a copy of exactly its bytes, so that a sanitizer sees a look behind its end; token gets what
 * is in it, "" where there is none. */
static enum wire_read read_message(struct text text, struct wire_bearer *bearer,
                                   struct wire_error *e, char *token, size_t size)
{
	uint8_t *copy = mem_dup(text.at, text.len);
	struct wire_cursor c = {copy, copy + text.len};
	enum wire_read r = wire_bearer_read(c, bearer, e);

	token[0] = '\0';
	if (r == WIRE_READ_OK && bearer->token != NULL) {
		assert_true(bearer->len < size);
		memcpy(token, bearer->token, bearer->len);
		token[bearer->len] = '\0';
	}
	mem_free(copy);
	return r;
}

static void test_messages(void **state)
{
	static const struct {
		struct text text;
		const char *token; /* "": what is no bearer token; NULL: a question */
	} cases[] = {
		{TEXT("n,,\1auth=Bearer abc.def-_~+/123==\1\1"), "abc.def-_~+/123=="},
		{TEXT("y,,\1auth=Bearer abc\1\1"), "abc"},
		{TEXT("n,,\1auth=bEARER    abc\1\1"), "abc"},
		{TEXT("n,,\1host=x\1auth=Bearer abc\1port=\1\1"), "abc"},
		{TEXT("n,,\1x=a=b \t\r\n~\1auth=Bearer abc\1\1"), "abc"},
		{TEXT("n,,\1Auth=Bearer x\1auth=Bearer abc\1\1"), "abc"},
		{TEXT("n,,\1auth=\1\1"), NULL},
		{TEXT("n,,\1auth=Bearer\1\1"), ""},
		{TEXT("n,,\1auth=Bearer \1\1"), ""},
		{TEXT("n,,\1auth=Bearer   \1\1"), ""},
		{TEXT("n,,\1auth=Bearer=abc\1\1"), ""},
		{TEXT("n,,\1auth=Bearer\tabc\1\1"), ""},
		{TEXT("n,,\1auth=Basic abc\1\1"), ""},
		{TEXT("n,,\1auth=abc\1\1"), ""},
		{TEXT("n,,\1auth= Bearer abc\1\1"), ""},
		{TEXT("n,,\1auth=Bearer a b\1\1"), ""},
		{TEXT("n,,\1auth=Bearer abc \1\1"), ""},
		{TEXT("n,,\1auth=Bearer a=b\1\1"), ""},
		{TEXT("n,,\1auth=Bearer a!b\1\1"), ""},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct wire_bearer bearer;
		struct wire_error e;
		char token[64];

		assert_int_equal(read_message(cases[i].text, &bearer, &e, token, sizeof(token)),
		                 WIRE_READ_OK);
		assert_int_equal(bearer.is_question, cases[i].token == NULL);
		assert_string_equal(token, cases[i].token != NULL ? cases[i].token : "");
	}
}

static void test_malformed_messages(void **state)
{
	static const struct {
		struct text text;
		const char *detail;
	} cases[] = {
		{TEXT(""), "empty"},
		{TEXT("n,,\1auth=Bearer abc\1\1\0"), "zero byte"},
		{TEXT("n,,\1auth=Bearer a\0bc\1\1"), "zero byte"},
		{TEXT("p=tls-unique,,\1auth=Bearer abc\1\1"), "no channel binding"},
		{TEXT("x,,\1auth=Bearer abc\1\1"), "begin with a channel-binding flag"},
		{TEXT("\1"), "begin with a channel-binding flag"},
		{TEXT("n"), "comma is missing"},
		{TEXT("nn,\1auth=Bearer abc\1\1"), "comma is missing"},
		{TEXT("n,"), "unexpected attribute"},
		{TEXT("n,b=x,\1auth=Bearer abc\1\1"), "unexpected attribute"},
		{TEXT("n,,"), "separator behind the header"},
		{TEXT("n,,auth=Bearer abc\1\1"), "separator behind the header"},
		{TEXT("n,,\1"), "final separator is missing"},
		{TEXT("n,,\1\1"), "no value of auth"},
		{TEXT("n,,\1host=x\1\1"), "no value of auth"},
		{TEXT("n,,\1auth=Bearer abc"), "not terminated"},
		{TEXT("n,,\1auth=Bearer abc\1"), "final separator is missing"},
		{TEXT("n,,\1auth=Bearer abc\1\1\1"), "behind the final separator"},
		{TEXT("n,,\1auth=Bearer abc\1\1x"), "behind the final separator"},
		{TEXT("n,,\1auth\1\1"), "without a value"},
		{TEXT("n,,\1=Bearer abc\1\1"), "empty key"},
		{TEXT("n,,\1au1h=x\1auth=Bearer abc\1\1"), "not made of letters"},
		{TEXT("n,,\1auth =Bearer abc\1\1"), "not made of letters"},
		{TEXT("n,,\1auth=Bearer abc\x7f\1\1"), "must not have"},
		{TEXT("n,,\1auth=Bearer \xc3\xa4\1\1"), "must not have"},
		{TEXT("n,,\1host=\2\1auth=Bearer abc\1\1"), "must not have"},
		{TEXT("n,,\1auth=Bearer abc\1auth=Bearer abc\1\1"), "more than one value"},
		{TEXT("n,,\1auth=\1auth=\1\1"), "more than one value"},
	};
	static const struct text authzid = TEXT("n,a=app,\1auth=Bearer abc\1\1");
	struct wire_bearer bearer;
	struct wire_error e;
	char token[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(read_message(cases[i].text, &bearer, &e, token, sizeof(token)),
		                 WIRE_READ_BAD);
		assert_string_equal(e.sqlstate, "08P01");
		assert_string_equal(e.message, "malformed OAUTHBEARER message");
		if (strstr(e.detail, cases[i].detail) == NULL)
			fail_msg("%zu: %s", i, e.detail);
		assert_null(strstr(e.detail, "abc"));
	}
	assert_int_equal(read_message(authzid, &bearer, &e, token, sizeof(token)), WIRE_READ_BAD);
	assert_string_equal(e.sqlstate, "0A000");
}

/* None but the whole is well-formed. */
static void test_cut_at_every_byte(void **state)
{
	static const struct text whole = TEXT("n,,\1host=x\1auth=Bearer abc\1\1");

	(void)state;
	for (size_t len = 0; len < whole.len; len++) {
		struct wire_bearer bearer;
		struct wire_error e;
		char token[64];

		assert_int_equal(read_message((struct text){whole.at, len}, &bearer, &e, token,
		                              sizeof(token)),
		                 WIRE_READ_BAD);
	}
}

static void test_initial_response(void **state)
{
	static const struct {
		struct text text;
		enum wire_read r;
		long len; /* of the response; -1: none */
	} cases[] = {
		{TEXT("OAUTHBEARER\0\0\0\0\3n,,"), WIRE_READ_OK, 3},
		{TEXT("OAUTHBEARER\0\0\0\0\0"), WIRE_READ_OK, 0},
		{TEXT("OAUTHBEARER\0\xff\xff\xff\xff"), WIRE_READ_OK, -1},
		{TEXT("\0\0\0\0\0"), WIRE_READ_OK, 0},
		{TEXT("OAUTHBEARER"), WIRE_READ_BAD, 0},
		{TEXT("OAUTHBEARER\0"), WIRE_READ_BAD, 0},
		{TEXT("OAUTHBEARER\0\0\0\0"), WIRE_READ_BAD, 0},
		{TEXT("OAUTHBEARER\0\0\0\0\3n,"), WIRE_READ_BAD, 0},
		{TEXT("OAUTHBEARER\0\0\0\0\3n,,,"), WIRE_READ_BAD, 0},
		{TEXT("OAUTHBEARER\0\xff\xff\xff\xffn"), WIRE_READ_BAD, 0},
		{TEXT("OAUTHBEARER\0\xff\xff\xff\xfen,,"), WIRE_READ_BAD, 0},
		{TEXT(""), WIRE_READ_BAD, 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint8_t *copy = mem_dup(cases[i].text.at, cases[i].text.len);
		struct wire_cursor body = {copy, copy + cases[i].text.len}, response;
		const char *mechanism;

		assert_int_equal(wire_sasl_initial_read(body, &mechanism, &response), cases[i].r);
		if (cases[i].r == WIRE_READ_OK) {
			assert_string_equal(mechanism, cases[i].text.at);
			assert_int_equal(response.at != NULL ? response.end - response.at : -1,
			                 cases[i].len);
		}
		mem_free(copy);
	}
}

static void test_what_is_sent(void **state)
{
	struct buf b = {0};

	(void)state;
	wire_put_sasl(&b, WIRE_OAUTHBEARER);
	assert_int_equal(b.len, 1 + 0x15);
	assert_memory_equal(b.data, "R\0\0\0\x15\0\0\0\x0aOAUTHBEARER\0\0", b.len);
	b.len = 0;
	wire_put_sasl_continue(&b, "{}", 2);
	assert_int_equal(b.len, 1 + 0x0a);
	assert_memory_equal(b.data, "R\0\0\0\x0a\0\0\0\x0b{}", b.len);
	b.len = 0;
	wire_put_sasl_continue(&b, "", 0);
	assert_int_equal(b.len, 1 + 8);
	assert_memory_equal(b.data, "R\0\0\0\x08\0\0\0\x0b", b.len);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_messages),          cmocka_unit_test(test_malformed_messages),
		cmocka_unit_test(test_cut_at_every_byte), cmocka_unit_test(test_initial_response),
		cmocka_unit_test(test_what_is_sent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
