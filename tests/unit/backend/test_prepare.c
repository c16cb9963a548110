/* What is prepared on a server: clients' statements with their LRU, and our own. */
#include <string.h>

#include "unit/backend/kit.h"

/* kit_open allows this many. */
#define PREPARED_MAX 3

static void digest_of(int number, uint8_t digest[SHA256_BYTES])
{
	hash_sha256(&number, sizeof(number), digest);
}

static struct server_stmt_ref prepare(struct kit *k, int number)
{
	uint8_t digest[SHA256_BYTES];
	struct server_stmt_ref ref;

	digest_of(number, digest);
	(void)server_begin(k->server);
	server_prepare(k->server, digest, &ref);
	assert_true(server_end(k->server));
	return ref;
}

/* As a session does with a new one: Parse under its name, which succeeds. */
static struct server_stmt_ref parse(struct kit *k, int number)
{
	struct server_stmt_ref ref = prepare(k, number);
	struct expect e = {.kind = EXPECT_PARSE, .fate = FATE_PASS, .server_stmt = ref.id};

	assert_true(ref.is_new);
	kit_expect_full(k, &e);
	return ref;
}

static void test_shared_by_digest(void **state)
{
	struct server_stmt_ref a, b, again;
	struct kit k;

	(void)state;
	kit_open(&k);
	a = parse(&k, 1);
	b = parse(&k, 2);
	assert_string_not_equal(a.name, b.name);
	assert_int_not_equal(a.id, b.id);
	again = prepare(&k, 1);
	assert_false(again.is_new);
	assert_int_equal(again.id, a.id);
	assert_string_equal(again.name, a.name);
	kit_close(&k);
}

/* No client can name a statement that it has not been told: two servers differ. */
static void test_names_are_random(void **state)
{
	char name[SERVER_STMT_NAME_MAX];
	struct server_stmt_ref ref;
	struct kit k;

	(void)state;
	kit_open(&k);
	ref = prepare(&k, 1);
	snprintf(name, sizeof(name), "%s", ref.name);
	kit_close(&k);
	assert_true(strlen(name) >= 16);
	kit_open(&k);
	ref = prepare(&k, 1);
	assert_string_not_equal(name, ref.name);
	kit_close(&k);
}

static void close_message(struct buf *b, const struct server_stmt_ref *ref)
{
	wire_put_close_statement(b, ref->name);
}

/* The least recently used one makes room, with a Close whose reply nobody sees. */
static void test_lru(void **state)
{
	struct server_stmt_ref refs[PREPARED_MAX + 2];
	struct buf want = {0};
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int i = 0; i < PREPARED_MAX; i++)
		refs[i] = parse(&k, i);
	/* Used: 1 is the oldest now. */
	(void)prepare(&k, 0);
	assert_int_equal(k.sent.len, 0);
	refs[3] = parse(&k, 3);
	close_message(&want, &refs[1]);
	assert_bytes(&k.sent, &want);
	assert_false(prepare(&k, 2).is_new);
	assert_false(prepare(&k, 0).is_new);
	assert_false(prepare(&k, 3).is_new);
	refs[4] = parse(&k, 1);
	assert_int_not_equal(refs[4].id, refs[1].id);
	close_message(&want, &refs[2]);
	assert_bytes(&k.sent, &want);
	/* Parse 0, 1, 2, Close, Parse 3, Close, Parse 1. */
	say(&k, "1113131");
	kit_deliver(&k);
	assert_passed(&k, "11111");
	assert_int_equal(k.server->count, 0);
	assert_int_equal(k.server->stmts.count, PREPARED_MAX);
	buf_fini(&want);
	kit_close(&k);
}

/* A Parse that failed or was skipped has left nothing there. */
static void test_parse_failed(void **state)
{
	struct server_stmt_ref first;
	struct kit k;

	(void)state;
	kit_open(&k);
	first = parse(&k, 1);
	(void)parse(&k, 2);
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_error(&k, "no");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_log(&k, "parse failed; parse skipped; ready I");
	assert_int_not_equal(parse(&k, 1).id, first.id);
	(void)parse(&k, 2);
	kit_close(&k);
}

/* One that is announced while the server skips is not there either. */
static void test_parse_while_skipping(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	kit_expect(&k, EXPECT_BIND, FATE_PASS);
	say_error(&k, "no");
	kit_deliver(&k);
	(void)parse(&k, 1);
	assert_log(&k, "bind failed; parse skipped");
	assert_true(prepare(&k, 1).is_new);
	kit_close(&k);
}

/* An earlier statement's failure does not take a statement away that is there. */
static void test_failure_spares_others(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	(void)parse(&k, 1);
	say(&k, "1");
	kit_deliver(&k);
	kit_expect(&k, EXPECT_PARSE, FATE_PASS); /* an unnamed one */
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_error(&k, "no");
	say_ready(&k, 'I');
	kit_deliver(&k);
	assert_false(prepare(&k, 1).is_new);
	kit_close(&k);
}

static void test_forget(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < PREPARED_MAX; i++)
			(void)parse(&k, i);
		server_forget_prepared(k.server);
		assert_int_equal(k.server->stmts.count, 0);
	}
	/* Nothing was closed: the server has forgotten by itself. */
	assert_int_equal(k.sent.len, 0);
	kit_close(&k);
}

/* max_prepared_statements = 0: each is used once, never two at a time. */
static void test_none_allowed(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	k.env.max_prepared_statements = 0;
	(void)parse(&k, 1);
	assert_sent(&k, "");
	(void)parse(&k, 2);
	assert_sent(&k, "C");
	assert_int_equal(k.server->stmts.count, 1);
	kit_close(&k);
}

/* ---- ours ---------------------------------------------------------------------------------- */

static const char context_sql[] = "SELECT pg_catalog.set_config('app.current_tenant_id',$1,true)";

static void put_context(struct kit *k, const char *tenant)
{
	(void)server_begin(k->server);
	server_put_context(k->server, tenant);
	assert_true(server_end(k->server));
}

static void say_context(struct kit *k, const char *types, const char *tenant)
{
	say(k, types);
	say_row(k, tenant);
	say_complete(k, "SELECT 1");
}

/* Parsed once, then only bound; no Sync, so that what follows is in the same transaction. */
static void test_context_bytes(void **state)
{
	char name[SERVER_STMT_NAME_MAX];
	const char *tenant = "4711";
	struct buf want = {0};
	struct kit k;

	(void)state;
	kit_open(&k);
	put_context(&k, tenant);
	parsed_name(&k, name);
	wire_put_parse(&want, name, context_sql);
	wire_put_bind(&want, name, &tenant, 1);
	wire_put_execute(&want);
	assert_bytes(&k.sent, &want);
	say_context(&k, "12", tenant);
	kit_deliver(&k);
	kit_clear(&k);
	want.len = 0;
	tenant = "4712";
	wire_put_bind(&want, name, &tenant, 1);
	wire_put_execute(&want);
	put_context(&k, tenant);
	assert_bytes(&k.sent, &want);
	say_context(&k, "2", tenant);
	kit_deliver(&k);
	assert_passed(&k, "");
	assert_log(&k, "");
	buf_fini(&want);
	kit_close(&k);
}

static void test_begin_bytes(void **state)
{
	char name[SERVER_STMT_NAME_MAX];
	struct buf want = {0};
	struct kit k;

	(void)state;
	kit_open(&k);
	(void)server_begin(k.server);
	server_put_begin(k.server);
	assert_true(server_end(k.server));
	parsed_name(&k, name);
	wire_put_parse(&want, name, "BEGIN");
	wire_put_bind(&want, name, NULL, 0);
	wire_put_execute(&want);
	assert_bytes(&k.sent, &want);
	say(&k, "12");
	say_complete(&k, "BEGIN");
	kit_deliver(&k);
	assert_passed(&k, "");
	assert_int_equal(k.server->count, 0);
	buf_fini(&want);
	kit_close(&k);
}

/* If the Parse failed, was skipped, or the server has discarded it, it is parsed again. */
static void test_context_parsed_again(void **state)
{
	struct kit k;

	(void)state;
	kit_open(&k);
	put_context(&k, "1");
	assert_sent(&k, "PBE");
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say_error(&k, "no");
	say_ready(&k, 'I');
	kit_deliver(&k);
	put_context(&k, "1");
	assert_sent(&k, "PBE");
	say_context(&k, "12", "1");
	kit_deliver(&k);
	put_context(&k, "1");
	assert_sent(&k, "BE");
	say_context(&k, "2", "1");
	kit_deliver(&k);
	server_forget_prepared(k.server);
	put_context(&k, "1");
	assert_sent(&k, "PBE");
	/* A failure behind the Parse leaves it there. */
	kit_expect(&k, EXPECT_SYNC, FATE_PASS);
	say(&k, "1");
	say_error(&k, "no");
	say_ready(&k, 'I');
	kit_deliver(&k);
	put_context(&k, "1");
	assert_sent(&k, "BE");
	kit_close(&k);
}

/* Who learns the name of a client's statement (pg_prepared_statements) does not learn ours. */
static void test_fixed_names_apart(void **state)
{
	struct server_stmt_ref clients;
	char ours[SERVER_STMT_NAME_MAX];
	struct kit k;

	(void)state;
	kit_open(&k);
	clients = prepare(&k, 1);
	put_context(&k, "1");
	parsed_name(&k, ours);
	*strrchr(clients.name, '_') = '\0';
	*strrchr(ours, '_') = '\0';
	assert_string_not_equal(clients.name, ours);
	k.server->next_stmt_id = UINT32_MAX;
	assert_true(strlen(prepare(&k, 99).name) < SERVER_STMT_NAME_MAX - 1);
	kit_close(&k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shared_by_digest),
		cmocka_unit_test(test_names_are_random),
		cmocka_unit_test(test_lru),
		cmocka_unit_test(test_parse_failed),
		cmocka_unit_test(test_parse_while_skipping),
		cmocka_unit_test(test_failure_spares_others),
		cmocka_unit_test(test_forget),
		cmocka_unit_test(test_none_allowed),
		cmocka_unit_test(test_context_bytes),
		cmocka_unit_test(test_begin_bytes),
		cmocka_unit_test(test_context_parsed_again),
		cmocka_unit_test(test_fixed_names_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
