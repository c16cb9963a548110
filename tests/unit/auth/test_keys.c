/* JWK sets: what is taken, left out and refused, and which key a token gets. */
#include <unistd.h>

#include "kit.h"

#define K32 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
#define K31 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg"
#define OCT(rest) "{\"kty\":\"oct\",\"k\":\"" K32 "\"" rest "}"
#define SET(keys) "{\"keys\":[" keys "]}"

/* 0: refused, with a part of the reason. */
static void expect(const char *json, size_t count, const char *why)
{
	char err[256] = "";
	struct auth_jwks *keys = auth_jwks_parse(json, strlen(json), err, sizeof(err));

	if (count == 0) {
		assert_null(keys);
		if (strstr(err, why) == NULL)
			fail_msg("\"%s\" is not in \"%s\"", why, err);
		assert_null(strchr(err, '\n'));
		assert_null(strstr(err, K32));
		return;
	}
	if (keys == NULL)
		fail_msg("%s", err);
	assert_string_equal(err, "");
	assert_int_equal(auth_jwks_count(keys), count);
	auth_jwks_put(&keys);
	assert_null(keys);
}

static void test_sets(void **state)
{
	(void)state;
	expect(OCT(""), 1, NULL);
	expect(SET(OCT("")), 1, NULL);
	expect(SET(OCT("") "," OCT("")), 2, NULL);
	expect(SET(OCT(",\"kid\":\"a\"") "," OCT(",\"kid\":\"b\"")), 2, NULL);
	expect(SET(OCT(",\"kid\":\"a\"") "," OCT(",\"kid\":\"a\"")), 0, "two keys with kid \"a\"");
	expect(SET(OCT(",\"kid\":1")), 0, "\"kid\" is not a string");
	expect(SET(""), 0, "the set is empty");
	expect("{\"keys\":{}}", 0, "neither");
	expect("[]", 0, "neither");
	expect("{}", 0, "neither");
	expect("", 0, "not valid JSON");
	expect("{\"keys\":[", 0, "not valid JSON");
	expect("{\"kty\":\"oct\",\"kty\":\"oct\",\"k\":\"" K32 "\"}", 0, "not valid JSON");
	expect(SET("1,null,\"x\""), 0, "not an object");
}

static void test_left_out(void **state)
{
	(void)state;
	expect(SET(OCT("") ",{\"kty\":\"OKP\",\"crv\":\"Ed25519\"}"), 1, NULL);
	expect(SET("{\"kty\":\"OKP\"}"), 0, "curve Ed25519");
	expect(SET("{\"kty\":\"AKP\"}"), 0, "none of oct, RSA, EC, OKP");
	expect(SET("{\"k\":\"" K32 "\"}"), 0, "none of oct, RSA, EC");
	expect(OCT(",\"use\":\"enc\""), 0, "\"use\" is not sig");
	expect(OCT(",\"use\":\"sig\""), 1, NULL);
	expect(OCT(",\"key_ops\":[\"sign\"]"), 0, "no verify");
	expect(OCT(",\"key_ops\":\"verify\""), 0, "no verify");
	expect(OCT(",\"key_ops\":[\"sign\",\"verify\"]"), 1, NULL);
	expect(OCT(",\"alg\":\"HS256\""), 1, NULL);
	expect(OCT(",\"alg\":\"RS256\""), 0, "\"alg\" is not HS256");
	expect(OCT(",\"alg\":\"HS512\""), 0, "\"alg\" is not HS256");
	expect(OCT(",\"alg\":\"none\""), 0, "\"alg\" is not HS256");
	expect(OCT(",\"alg\":null"), 0, "\"alg\" is not HS256");
	/* The same kid on a key that is left out is no clash. */
	expect(SET(OCT(",\"kid\":\"a\"") "," OCT(",\"kid\":\"a\",\"use\":\"enc\"")), 1, NULL);
}

static void test_oct(void **state)
{
	(void)state;
	expect("{\"kty\":\"oct\",\"k\":\"" K31 "\"}", 0, "at least 32 bytes, not 31");
	expect("{\"kty\":\"oct\",\"k\":\"\"}", 0, "at least 32 bytes, not 0");
	expect("{\"kty\":\"oct\"}", 0, "no \"k\"");
	expect("{\"kty\":\"oct\",\"k\":7}", 0, "no \"k\"");
	expect("{\"kty\":\"oct\",\"k\":\"" K32 "=\"}", 0, "not base64url");
}

/* The public JWK with one member replaced (NULL: removed). */
static char *changed(const struct auth_jwk *jwk, const char *member, const char *value)
{
	json_t *json = auth_jwk_json(jwk, AUTH_JWK_VERIFY);
	char *text;

	if (value != NULL)
		json_object_set_new(json, member, json_string(value));
	else
		json_object_del(json, member);
	text = json_dumps(json, 0);
	json_decref(json);
	return text;
}

static void expect_changed(const struct auth_jwk *jwk, const char *member, const char *value,
                           const char *why)
{
	char *text = changed(jwk, member, value);

	expect(text, 0, why);
	free(text);
}

static void test_rsa(void **state)
{
	char *text = kit_public(&kit_rsa);
	struct auth_jwk weak = {.alg = CONF_ALG_RS256, .pkey = EVP_RSA_gen(1024)};

	(void)state;
	assert_null(strstr(text, "\"d\""));
	expect(text, 1, NULL);
	free(text);
	text = kit_public(&weak);
	expect(text, 0, "2048 to 8192 bits, not 1024");
	free(text);
	auth_jwk_fini(&weak);
	expect_changed(&kit_rsa, "n", NULL, "no \"n\"");
	expect_changed(&kit_rsa, "e", NULL, "no \"e\"");
	expect_changed(&kit_rsa, "e", "AQAA", "not a valid RSA key"); /* 65536: even */
	expect_changed(&kit_rsa, "e", "AQ", "not a valid RSA key");   /* 1 */
	expect_changed(&kit_rsa, "n", "!", "not base64url");
	expect_changed(&kit_rsa, "alg", "RS512", "\"alg\" is not RS256 or PS256");
	expect_changed(&kit_rsa, "kty", "EC", "\"alg\" is not ES256");
}

static void test_ec(void **state)
{
	char *text = kit_public(&kit_ec);

	(void)state;
	expect(text, 1, NULL);
	free(text);
	expect_changed(&kit_ec, "crv", "P-384", "P-256");
	expect_changed(&kit_ec, "crv", NULL, "P-256");
	expect_changed(&kit_ec, "x", NULL, "no \"x\"");
	expect_changed(&kit_ec, "y", "AAAA", "32 bytes");
	expect_changed(&kit_ec, "x", K32, "not a valid point"); /* off the curve */
}

/* Without `alg` an RSA key is for RS256, never for both. */
static void test_pss(void **state)
{
	char *text = changed(&kit_pss, "alg", NULL), err[128];
	struct auth_jwks *jwks = auth_jwks_parse(text, strlen(text), err, sizeof(err));

	(void)state;
	assert_int_equal(jwks->keys[0].alg, CONF_ALG_RS256);
	auth_jwks_put(&jwks);
	free(text);
	text = kit_public(&kit_pss);
	jwks = auth_jwks_parse(text, strlen(text), err, sizeof(err));
	assert_int_equal(jwks->keys[0].alg, CONF_ALG_PS256);
	auth_jwks_put(&jwks);
	free(text);
	expect_changed(&kit_pss, "alg", "PS512", "\"alg\" is not RS256 or PS256");
}

static void test_okp(void **state)
{
	char *text = kit_public(&kit_ed), err[128];
	json_t *json = auth_jwk_json(&kit_ed, AUTH_JWK_SIGN);
	struct auth_jwk jwk;

	(void)state;
	assert_null(strstr(text, "\"d\""));
	expect(text, 1, NULL);
	free(text);
	expect_changed(&kit_ed, "crv", "X25519", "curve Ed25519");
	expect_changed(&kit_ed, "crv", "Ed448", "curve Ed25519");
	expect_changed(&kit_ed, "crv", NULL, "curve Ed25519");
	expect_changed(&kit_ed, "x", NULL, "no \"x\"");
	expect_changed(&kit_ed, "x", "AAAA", "32 bytes");
	expect_changed(&kit_ed, "x", K31, "32 bytes");
	expect_changed(&kit_ed, "alg", "ES256", "\"alg\" is not EdDSA");
	/* A private half that belongs to another public one would sign what nobody can verify. */
	assert_true(auth_jwk_parse(json, AUTH_JWK_SIGN, &jwk, err, sizeof(err)));
	auth_jwk_fini(&jwk);
	json_object_set_new(json, "x", json_string(K32));
	assert_false(auth_jwk_parse(json, AUTH_JWK_SIGN, &jwk, err, sizeof(err)));
	json_decref(json);
}

/* A private JWK in jwks_file verifies, and its private members are not even looked at. */
static void test_private_members_ignored(void **state)
{
	json_t *json = auth_jwk_json(&kit_rsa, AUTH_JWK_SIGN);
	char *text;

	(void)state;
	json_object_set_new(json, "d", json_string("!"));
	text = json_dumps(json, 0);
	expect(text, 1, NULL);
	json_decref(json);
	free(text);
}

static void test_too_many(void **state)
{
	json_t *array = json_array(), *set = json_object();
	char *text;

	(void)state;
	for (int i = 0; i < AUTH_KEYS_MAX + 1; i++)
		json_array_append_new(array, json_object());
	json_object_set_new(set, "keys", array);
	text = json_dumps(set, 0);
	expect(text, 0, "more than 256 keys");
	json_decref(set);
	free(text);
}

static enum auth_reason choose(const struct auth_keys *keys, const char *kid, uint32_t alg,
                               const struct auth_jwk **key)
{
	return auth_issuer_choose(&keys->issuers[0], kid, alg, key);
}

static void test_choose(void **state)
{
	const struct auth_jwk *key;
	struct auth_jwk other;
	struct auth_keys *two;

	(void)state;
	assert_int_equal(choose(kit_keys, "rsa", CONF_ALG_RS256, &key), AUTH_OK);
	assert_string_equal(key->kid, "rsa");
	assert_int_equal(choose(kit_keys, "rsa", CONF_ALG_HS256, &key), AUTH_ALGORITHM);
	assert_int_equal(choose(kit_keys, "RSA", CONF_ALG_RS256, &key), AUTH_UNKNOWN_KEY);
	assert_int_equal(choose(kit_keys, "", CONF_ALG_RS256, &key), AUTH_UNKNOWN_KEY);
	assert_int_equal(choose(kit_keys, NULL, CONF_ALG_ES256, &key), AUTH_OK);
	assert_string_equal(key->kid, "ec");
	assert_int_equal(choose(kit_keys, NULL, CONF_ALG_PS256, &key), AUTH_OK);
	assert_string_equal(key->kid, "pss");

	auth_jwk_generate(CONF_ALG_HS256, &other);
	two = kit_keys_of(&kit_conf, KIT_JWKS(&kit_oct, &other));
	assert_int_equal(choose(two, NULL, CONF_ALG_HS256, &key), AUTH_UNKNOWN_KEY);
	assert_int_equal(choose(two, NULL, CONF_ALG_RS256, &key), AUTH_UNKNOWN_KEY);
	assert_int_equal(choose(two, "oct", CONF_ALG_HS256, &key), AUTH_OK);
	auth_keys_put(&two);
	auth_jwk_fini(&other);
}

static void test_load(void **state)
{
	char path[] = "/tmp/pgusher-keys-XXXXXX", err[256];
	int fd = mkstemp(path);
	struct auth_jwks *keys, *again;

	(void)state;
	assert_true(write(fd, OCT(""), strlen(OCT(""))) > 0);
	keys = auth_jwks_load(path, err, sizeof(err));
	assert_non_null(keys);
	again = auth_jwks_get(keys);
	auth_jwks_put(&keys);
	assert_int_equal(auth_jwks_count(again), 1); /* still there */
	auth_jwks_put(&again);

	assert_int_equal(ftruncate(fd, AUTH_KEY_FILE_MAX + 1), 0);
	assert_null(auth_jwks_load(path, err, sizeof(err)));
	assert_non_null(strstr(err, "longer than 1 MiB"));
	assert_int_equal(ftruncate(fd, 3), 0);
	assert_null(auth_jwks_load(path, err, sizeof(err)));
	assert_memory_equal(err, path, strlen(path));
	close(fd);
	unlink(path);
	assert_null(auth_jwks_load(path, err, sizeof(err)));
	assert_non_null(strstr(err, "No such file"));
	assert_null(auth_jwks_load("/tmp", err, sizeof(err)));
	assert_non_null(strstr(err, "not a regular file"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sets),     cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_oct),      cmocka_unit_test(test_rsa),
		cmocka_unit_test(test_ec),       cmocka_unit_test(test_private_members_ignored),
		cmocka_unit_test(test_too_many), cmocka_unit_test(test_choose),
		cmocka_unit_test(test_load),     cmocka_unit_test(test_pss),
		cmocka_unit_test(test_okp),
	};

	return cmocka_run_group_tests_name("auth/keys", tests, kit_setup, kit_teardown);
}
