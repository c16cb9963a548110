/* The signed context: keys as files spell them, proofs (against Python's hmac), and the bytes that
 * go to a server and must come back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit/backend/kit.h"

#define HEX32 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define BASE64_32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define PROOF_123 "b4f790e269e2e550f2eca6345e9376faa0d07717ab57b099f237fe7c36b34699"
/* Bytes 0 to 79: longer than a block of SHA-256. */
#define BASE64_80                                                                                  \
	"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+P0BB" \
	"QkNERUZHSElKS0xNTk8="
/* Bytes 208 to 254, in both alphabets. */
#define BASE64_URL "0NHS09TV1tfY2drb3N3e3-Dh4uPk5ebn6Onq6-zt7u_w8fLz9PX29_j5-vv8_f4"
#define BASE64_STD "0NHS09TV1tfY2drb3N3e3+Dh4uPk5ebn6Onq6+zt7u/w8fLz9PX29/j5+vv8/f4="

static void proof_of(const char *text, const char *tenant, char proof[PROOF_SIZE])
{
	const char *why;
	struct proof_key *key = proof_key_parse(text, strlen(text), &why);
	struct prover *prover;

	if (key == NULL)
		fail_msg("%s: %s", text, why);
	prover = prover_new(key);
	proof_key_put(&key);
	/* The same again from the same context. */
	for (int i = 0; i < 3; i++) {
		prover_make(prover, "other", 1, "1", proof);
		prover_make(prover, "app", 4711, tenant, proof);
	}
	prover_free(&prover);
}

static void test_vectors(void **state)
{
	static const char *const spellings[] = {HEX32, "  " HEX32 "\r\n", BASE64_32, BASE64_32 "=",
	                                        BASE64_32 "=\n"};
	char proof[PROOF_SIZE], other[PROOF_SIZE];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(spellings); i++) {
		proof_of(spellings[i], "123", proof);
		assert_string_equal(proof, PROOF_123);
	}
	proof_of(BASE64_80, "9223372036854775807", proof);
	assert_string_equal(proof,
	                    "a487593c444ebc559a88dac81c7d657d540070b0f6536ecc255993efa4f38916");
	proof_of(BASE64_URL, "1", proof);
	proof_of(BASE64_STD, "1", other);
	assert_string_equal(proof, other);
}

static void test_bad_keys(void **state)
{
	static const char *const bad[][2] = {
		{"", "less than 32"},
		{"\n", "less than 32"},
		{"0001", "less than 32"},
		{"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e", "less than 32"},
		{HEX32 "\n" HEX32, "neither"},
		{HEX32 "!", "neither"},
		{"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8AA", "neither"},
	};
	char text[1100];
	const char *why;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_null(proof_key_parse(bad[i][0], strlen(bad[i][0]), &why));
		assert_non_null(strstr(why, bad[i][1]));
	}
	memset(text, 'a', sizeof(text));
	assert_null(proof_key_parse(text, sizeof(text), &why));
	assert_non_null(strstr(why, "longer"));
}

static void test_file(void **state)
{
	char path[] = "/tmp/pgusher-proof-XXXXXX", err[256];
	int fd = mkstemp(path);
	struct proof_key *key;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, HEX32 "\n", 65), 65);
	close(fd);
	key = proof_key_load(path, err, sizeof(err));
	assert_non_null(key);
	proof_key_put(&key);
	assert_int_equal(chmod(path, 0644), 0);
	assert_null(proof_key_load(path, err, sizeof(err)));
	assert_non_null(strstr(err, "open to other users"));
	assert_null(strstr(err, "0001"));
	assert_int_equal(unlink(path), 0);
	assert_null(proof_key_load(path, err, sizeof(err)));
	assert_non_null(strstr(err, "No such file"));
}

/* ---- on a server --------------------------------------------------------------------------- */

static void open_signed(struct kit *k)
{
	const char *why;
	struct proof_key *key = proof_key_parse(HEX32, strlen(HEX32), &why);

	kit_open(k);
	k->env.prover = prover_new(key);
	proof_key_put(&key);
}

static void close_signed(struct kit *k)
{
	kit_close(k);
	prover_free(&k->env.prover);
}

static void put_context(struct kit *k, const char *tenant)
{
	(void)server_begin(k->server);
	server_put_context(k->server, tenant);
	assert_true(server_end(k->server));
}

static void proof_on(struct kit *k, const char *tenant, char proof[PROOF_SIZE])
{
	prover_make(k->env.prover, "app", server_pid(k->server), tenant, proof);
}

/* A row of n columns. */
static void say_columns(struct kit *k, const char *const *columns, uint16_t n)
{
	struct buf row = {0};

	buf_put_be16(&row, n);
	for (uint16_t i = 0; i < n; i++) {
		buf_put_be32(&row, (uint32_t)strlen(columns[i]));
		buf_put(&row, columns[i], strlen(columns[i]));
	}
	say_raw(k, 'D', row.data, row.len);
	buf_fini(&row);
}

static void test_bytes(void **state)
{
	char name[SERVER_STMT_NAME_MAX], proof[PROOF_SIZE];
	const char *values[] = {"123", proof};
	struct buf want = {0};
	struct kit k;

	(void)state;
	open_signed(&k);
	proof_on(&k, "123", proof);
	put_context(&k, "123");
	parsed_name(&k, name);
	wire_put_parse(&want, name,
	               "SELECT pg_catalog.set_config('app.current_tenant_id',$1,true),"
	               "pg_catalog.set_config('app.tenant_proof',$2,true)");
	wire_put_bind(&want, name, values, 2);
	wire_put_execute(&want);
	assert_bytes(&k.sent, &want);
	say(&k, "12");
	say_columns(&k, values, 2);
	say_complete(&k, "SELECT 1");
	kit_deliver(&k);
	assert_passed(&k, "");
	assert_log(&k, "");
	assert_int_equal(k.server->count, 0);
	buf_fini(&want);
	close_signed(&k);
}

/* Anything but the tenant and something of a proof's length ends the connection. */
static void test_wrong_echo(void **state)
{
	char proof[PROOF_SIZE];
	const char *const echoes[][3] = {{"124", proof}, {"123", "short"}, {"123"},
	                                 {"", proof},    {proof, "123"},   {"123", proof, "x"}};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(echoes); i++) {
		struct kit k;
		uint16_t n = 0;

		open_signed(&k);
		proof_on(&k, "123", proof);
		put_context(&k, "123");
		say(&k, "12");
		while (n < 3 && echoes[i][n] != NULL)
			n++;
		say_columns(&k, echoes[i], n);
		kit_deliver(&k);
		assert_log(&k, "lost server_context");
		close_signed(&k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),    cmocka_unit_test(test_bad_keys),
		cmocka_unit_test(test_file),       cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_wrong_echo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
