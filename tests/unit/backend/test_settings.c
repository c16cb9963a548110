/* Session settings follow the client: what is sent to make a server's settings equal to his. */
#include <string.h>

#include "unit/backend/kit.h"

/* A settings list from "name=value" strings, NULL-terminated. */
static void list_of(struct buf *b, const char *const *settings)
{
	b->len = 0;
	for (; *settings != NULL; settings++) {
		const char *equals = strchr(*settings, '=');

		buf_put(b, *settings, (size_t)(equals - *settings));
		buf_put_u8(b, '\0');
		buf_put_cstr(b, equals + 1);
	}
}

static void put(struct kit *k, const char *const *settings)
{
	struct buf list = {0};

	list_of(&list, settings);
	(void)server_begin(k->server);
	server_put_settings(k->server, (const char *)list.data, list.len, true);
	assert_true(server_end(k->server));
	/* It keeps a copy. */
	if (list.len > 0)
		memset(list.data, 'x', list.len);
	buf_fini(&list);
}

#define PUT(k, ...) put(k, (const char *const[]){__VA_ARGS__, NULL})
#define PUT_NONE(k) put(k, (const char *const[]){NULL})

/* What must be sent: set_config(name, value, false) for each pair, then Sync. */
struct change {
	const char *name, *value; /* NULL: RESET */
};

static void want_changes(struct kit *k, bool parses, const struct change *changes, size_t n)
{
	static char name[SERVER_STMT_NAME_MAX];
	struct buf want = {0};

	if (parses) {
		parsed_name(k, name);
		wire_put_parse(&want, name, "SELECT pg_catalog.set_config($1,$2,false)");
	}
	for (size_t i = 0; i < n; i++) {
		const char *const values[] = {changes[i].name, changes[i].value};

		wire_put_bind(&want, name, values, 2);
		wire_put_execute(&want);
	}
	if (n > 0)
		wire_put_bare(&want, 'S');
	assert_bytes(&k->sent, &want);
	k->sent.len = 0;
	buf_fini(&want);
}

/* The server does as it is told, and says so; the client hears nothing of it. */
static void succeed(struct kit *k, bool parses, int n)
{
	say(k, parses ? "1" : "");
	for (int i = 0; i < n; i++) {
		say(k, "2");
		say_parameter(k, "TimeZone", "UTC");
		say_row(k, "value");
		say_complete(k, "SELECT 1");
	}
	say_ready(k, 'I');
	kit_deliver(k);
	assert_passed(k, "");
	assert_log(k, "");
	assert_true(server_is_quiet(k->server));
}

static void test_diff(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	PUT_NONE(&k);
	want_changes(&k, false, NULL, 0);
	PUT(&k, "a=1", "b=2", "c=");
	want_changes(&k, true, (struct change[]){{"a", "1"}, {"b", "2"}, {"c", ""}}, 3);
	succeed(&k, true, 3);
	/* The same again costs nothing. */
	PUT(&k, "a=1", "b=2", "c=");
	want_changes(&k, false, NULL, 0);
	assert_int_equal(k.server->count, 0);
	/* One changed, one gone, one new: the one that is gone first. */
	PUT(&k, "a=1", "c=3", "d=4");
	want_changes(&k, false, (struct change[]){{"b", NULL}, {"c", "3"}, {"d", "4"}}, 3);
	succeed(&k, false, 3);
	PUT(&k, "d=4");
	want_changes(&k, false, (struct change[]){{"a", NULL}, {"c", NULL}}, 2);
	succeed(&k, false, 2);
	PUT_NONE(&k);
	want_changes(&k, false, (struct change[]){{"d", NULL}}, 1);
	succeed(&k, false, 1);
	PUT_NONE(&k);
	want_changes(&k, false, NULL, 0);
	kit_close(&k);
}

/* Names and values that begin like others, or swap places. */
static void test_diff_is_by_whole_words(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	PUT(&k, "ab=cd", "x=y");
	want_changes(&k, true, (struct change[]){{"ab", "cd"}, {"x", "y"}}, 2);
	succeed(&k, true, 2);
	PUT(&k, "a=cd", "x=yy");
	want_changes(&k, false, (struct change[]){{"ab", NULL}, {"a", "cd"}, {"x", "yy"}}, 3);
	succeed(&k, false, 3);
	/* A value is not taken for a name. */
	PUT(&k, "cd=a", "yy=x");
	want_changes(&k, false,
	             (struct change[]){{"a", NULL}, {"x", NULL}, {"cd", "a"}, {"yy", "x"}}, 4);
	succeed(&k, false, 4);
	kit_close(&k);
}

/* The same settings in another order are the same settings. */
static void test_other_order(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	PUT(&k, "a=1", "b=2");
	kit_clear(&k);
	succeed(&k, true, 2);
	PUT(&k, "b=2", "a=1");
	assert_sent(&k, "S");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_passed(&k, "");
	kit_close(&k);
}

/* After RESET ALL or DISCARD ALL there is nothing to take back. */
static void test_forget(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	PUT(&k, "a=1");
	want_changes(&k, true, (struct change[]){{"a", "1"}}, 1);
	succeed(&k, true, 1);
	server_forget_settings(k.server);
	PUT(&k, "b=2");
	want_changes(&k, false, (struct change[]){{"b", "2"}}, 1);
	succeed(&k, false, 1);
	kit_close(&k);
}

/* One that the server refuses: the client's own messages behind it are not touched, the server is
 * scrubbed before anyone else gets it. */
static void test_refused(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	PUT(&k, "a=1", "search_path=nonsense", "c=3");
	kit_expect(&k, EXPECT_QUERY, FATE_PASS);
	say(&k, "12");
	say_row(&k, "1");
	say_complete(&k, "SELECT 1");
	say(&k, "2");
	say_error(&k, "invalid value");
	say_ready(&k, 'I');
	say_row(&k, "the client's");
	say_complete(&k, "SELECT 1");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "execute failed; bind skipped; execute skipped; ready I");
	assert_passed(&k, "DCZ");
	assert_string_equal(server_last_error(k.server), "invalid value");
	assert_int_equal(server_note(k.server)->taint, TAINT_SCRUB);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_diff),        cmocka_unit_test(test_diff_is_by_whole_words),
		cmocka_unit_test(test_other_order), cmocka_unit_test(test_forget),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
