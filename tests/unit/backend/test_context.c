/* The answer to the tenant context: checked before anything behind it is passed on. */
#include "unit/backend/kit.h"
#include <string.h>

/* The answer to our set_config, then the client's own row in the same read. */
static void context_row(struct kit *k, const void *body, size_t len, const char *tenant)
{
	kit_open(k);
	(void)server_begin(k->server);
	server_put_context(k->server, tenant);
	assert_true(server_end(k->server));
	kit_expect(k, EXPECT_QUERY, FATE_PASS);
	say(k, "12");
	if (body != NULL)
		say_raw(k, 'D', body, len);
	say_complete(k, "SELECT 1");
	say_row(k, "secret");
	say_complete(k, "SELECT 1");
	say_ready(k, 'I');
	kit_deliver(k);
}

static void test_context_right(void **state)
{
	static const char *const tenants[] = {"4711", "0", "9223372036854775807"};
	struct kit k;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(tenants); i++) {
		uint8_t body[64] = {0, 1, 0, 0, 0, (uint8_t)strlen(tenants[i])};

		memcpy(body + 6, tenants[i], strlen(tenants[i]));
		context_row(&k, body, 6 + strlen(tenants[i]), tenants[i]);
		assert_passed(&k, "DCZ");
		assert_log(&k, "ready I");
		kit_close(&k);
	}
}

static void test_context_wrong(void **state)
{
	static const struct {
		const char *body;
		size_t len;
	} rows[] = {
		{"\0\1\0\0\0\4"
	         "4712",
	         10}, /* another tenant */
		{"\0\1\0\0\0\3"
	         "471",
	         9}, /* a shorter one */
		{"\0\1\0\0\0\5"
	         "47110",
	         11}, /* a longer one */
		{"\0\1\0\0\0\4"
	         "47110",
	         11}, /* bytes behind it */
		{"\0\1\0\0\0\4"
	         "471",
	         9},                         /* cut */
		{"\0\1\0\0\0\0", 6},         /* the empty string */
		{"\0\1\xff\xff\xff\xff", 6}, /* NULL */
		{"\0\2\0\0\0\4"
	         "4711\0\0\0\0",
	         14}, /* another column */
		{"\0\2\0\0\0\4"
	         "4711",
	         10},        /* another column, cut */
		{"\0\0", 2}, /* no column */
		{"\0", 1},
		{"", 0},
	};
	struct kit k;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		/* To the byte, behind a message of its own: no look behind its end. */
		char *body = mem_dup(rows[i].body, rows[i].len);

		context_row(&k, body, rows[i].len, "4711");
		assert_passed(&k, "");
		assert_log(&k, "lost server_context");
		kit_close(&k);
		mem_free(body);
	}
}

/* No row at all is no echo. */
static void test_context_missing(void **state)
{
	struct kit k;

	(void)state;
	context_row(&k, NULL, 0, "4711");
	assert_passed(&k, "");
	assert_log(&k, "lost server_context");
	kit_close(&k);
}

/* Each must be echoed: the echo of the one before does not count. */
static void test_context_missing_later(void **state)
{
	struct kit k;

	(void)state;
	context_row(&k,
	            "\0\1\0\0\0\4"
	            "4711",
	            10, "4711");
	kit_clear(&k);
	(void)server_begin(k.server);
	server_put_context(k.server, "4711");
	assert_true(server_end(k.server));
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say(&k, "2");
	say_complete(&k, "SELECT 0");
	kit_deliver(&k);
	assert_log(&k, "lost server_context");
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_context_right),
		cmocka_unit_test(test_context_wrong),
		cmocka_unit_test(test_context_missing),
		cmocka_unit_test(test_context_missing_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
