/* The token's form, algorithm, key and signature: everything that an attacker without the key
 * can try (isolation.md row 21), and that what is signed properly is let in. */
#include "kit.h"

#define HS "{\"alg\":\"HS256\",\"kid\":\"oct\"}"
#define RS "{\"alg\":\"RS256\",\"kid\":\"rsa\"}"
#define ES "{\"alg\":\"ES256\",\"kid\":\"ec\"}"
#define PS "{\"alg\":\"PS256\",\"kid\":\"pss\"}"
#define ED "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}"

static void test_good(void **state)
{
	(void)state;
	assert_reason(kit_sign(&kit_oct, HS, GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_rsa, RS, GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_ec, ES, GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_pss, PS, GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_ed, ED, GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_pss, "{\"alg\":\"PS256\"}", GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_ed, "{\"alg\":\"EdDSA\"}", GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_oct, "{\"alg\":\"HS256\"}", GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_rsa, "{\"alg\":\"RS256\"}", GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_ec, "{\"alg\":\"ES256\"}", GOOD), AUTH_OK);
	assert_reason(kit_sign(&kit_ec, "{\"alg\":\"ES256\",\"typ\":\"jwt\",\"x\":[1]}", GOOD),
	              AUTH_OK);
}

static void test_form(void **state)
{
	static const char *const bad[] = {
		"",
		".",
		"..",
		"...",
		"a",
		"a.b",
		"e30.e30",
		"e30..",
		".e30.e30",
		"e30.e30.e30.e30",
		"e30.e30.e3=",
		"e30.e30.a b",
		"e30.e30.Zh",
		"{}.{}.x",
		"secret password",
		"W10.e30.e30", /* the header is [] */
		"e30.e30.e30", /* the header has no alg */
	};
	char *huge;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_reason(mem_strdup(bad[i]), AUTH_MALFORMED);
	huge = mem_alloc(AUTH_TOKEN_MAX + 2);
	memset(huge, 'A', AUTH_TOKEN_MAX + 1);
	huge[AUTH_TOKEN_MAX + 1] = '\0';
	assert_reason(huge, AUTH_MALFORMED);
}

/* A token of exactly the limit is let in, one byte more is not; the signature is good in both. */
static void test_size_limit(void **state)
{
	static char payload[AUTH_TOKEN_MAX];
	size_t seen_ok = 0, seen_over = 0;

	(void)state;
	for (int fill = 12130; fill < 12230; fill++) {
		char *token;
		size_t len;

		snprintf(payload, sizeof(payload),
		         "{\"x\":\"%0*d\",\"exp\":1700000100,\"tenant_id\":1,\"role\":\"app\"}",
		         fill, 0);
		token = kit_hs256(payload);
		len = strlen(token);
		if (len >= AUTH_TOKEN_MAX - 1 && len <= AUTH_TOKEN_MAX)
			seen_ok++;
		seen_over += len > AUTH_TOKEN_MAX;
		assert_reason(token, len <= AUTH_TOKEN_MAX ? AUTH_OK : AUTH_MALFORMED);
	}
	assert_true(seen_ok > 0 && seen_over > 0);
}

static void test_embedded_nul(void **state)
{
	char *token = kit_hs256(GOOD), *longer = mem_zalloc(strlen(token) + 20);
	struct auth_request req;
	struct auth_ticket *ticket;

	(void)state;
	memcpy(longer, token, strlen(token));
	req = kit_request(token);
	req.token = longer;
	req.len = strlen(token) + 10;
	assert_int_equal(auth_verify(NULL, &req, &ticket), AUTH_MALFORMED);
	mem_free(longer);
	mem_free(token);
}

/* header over GOOD without a signature, or with an HMAC. */
static char *unsigned_token(const char *header)
{
	char *signed_one = kit_sign(&kit_oct, header, GOOD);

	*(strrchr(signed_one, '.') + 1) = '\0';
	return signed_one;
}

static void test_alg_none(void **state)
{
	static const char *const names[] = {"none",   "None",  "NONE",   "nOnE",   "",
	                                    "hs256",  "Hs256", "HS256 ", "HS384",  "HS512",
	                                    "RS384",  "RS512", "PS384",  "ES384",  "ES512",
	                                    "ES256K", "eddsa", "ps256",  "Ed25519"};
	char header[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		snprintf(header, sizeof(header), "{\"alg\":\"%s\"}", names[i]);
		assert_reason(unsigned_token(header), AUTH_ALGORITHM);
		assert_reason(kit_sign(&kit_oct, header, GOOD), AUTH_ALGORITHM);
		snprintf(header, sizeof(header), "{\"alg\":\"%s\",\"kid\":\"oct\"}", names[i]);
		assert_reason(unsigned_token(header), AUTH_ALGORITHM);
		assert_reason(kit_sign(&kit_oct, header, GOOD), AUTH_ALGORITHM);
	}
}

static void test_header(void **state)
{
	static const char *const bad[] = {
		"{}",
		"{\"alg\":null}",
		"{\"alg\":256}",
		"{\"alg\":[\"HS256\"]}",
		"{\"alg\":\"HS256\",\"alg\":\"HS256\"}",
		"{\"alg\":\"none\",\"alg\":\"HS256\"}",
		"{\"alg\":\"HS256\\u0000\"}",
		"{\"alg\":\"HS256\",\"kid\":1}",
		"{\"alg\":\"HS256\",\"kid\":null}",
		"{\"alg\":\"HS256\",\"crit\":[\"exp\"]}",
		"{\"alg\":\"HS256\",\"crit\":[\"b64\"],\"b64\":false}",
		"{\"alg\":\"HS256\",\"crit\":[]}",
		"{\"alg\":\"HS256\",\"typ\":\"JOSE\"}",
		"{\"alg\":\"HS256\",\"typ\":1}",
		"{\"alg\":\"HS256\"} x",
		"[{\"alg\":\"HS256\"}]",
		"\"HS256\"",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_reason(kit_sign(&kit_oct, bad[i], GOOD), AUTH_MALFORMED);
}

static void test_allow_list(void **state)
{
	(void)state;
	kit_conf.algorithms = CONF_ALG_RS256 | CONF_ALG_ES256;
	assert_reason(kit_sign(&kit_oct, HS, GOOD), AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_rsa, RS, GOOD), AUTH_OK);
	kit_conf.algorithms = CONF_ALG_HS256;
	assert_reason(kit_sign(&kit_rsa, RS, GOOD), AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_ec, ES, GOOD), AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_pss, PS, GOOD), AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_ed, ED, GOOD), AUTH_ALGORITHM);
	kit_conf.algorithms = 0;
	assert_reason(kit_sign(&kit_oct, HS, GOOD), AUTH_ALGORITHM);
	assert_reason(unsigned_token("{\"alg\":\"none\"}"), AUTH_ALGORITHM);
}

static void test_kid(void **state)
{
	(void)state;
	assert_reason(kit_sign(&kit_oct, "{\"alg\":\"HS256\",\"kid\":\"x\"}", GOOD),
	              AUTH_UNKNOWN_KEY);
	assert_reason(kit_sign(&kit_oct, "{\"alg\":\"HS256\",\"kid\":\"\"}", GOOD),
	              AUTH_UNKNOWN_KEY);
	assert_reason(kit_sign(&kit_oct, "{\"alg\":\"HS256\",\"kid\":\"rsa\"}", GOOD),
	              AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_rsa, "{\"alg\":\"RS256\",\"kid\":\"ec\"}", GOOD),
	              AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_rsa, "{\"alg\":\"RS256\",\"kid\":\"oct\"}", GOOD),
	              AUTH_ALGORITHM);
	/* The two of RSA: each key is good for one of them only. */
	assert_reason(kit_sign(&kit_rsa, "{\"alg\":\"PS256\",\"kid\":\"rsa\"}", GOOD),
	              AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_pss, "{\"alg\":\"RS256\",\"kid\":\"pss\"}", GOOD),
	              AUTH_ALGORITHM);
	assert_reason(kit_sign(&kit_ed, "{\"alg\":\"ES256\",\"kid\":\"ed\"}", GOOD),
	              AUTH_ALGORITHM);
}

/* What the key's algorithm says is what is checked: PKCS#1 v1.5 is no PSS, and a PSS with another
 * salt is not PS256. */
static void test_padding(void **state)
{
	static const int salts[] = {0, 20, 31, 33, 64};

	(void)state;
	kit_pss.alg = CONF_ALG_RS256;
	assert_reason(kit_sign(&kit_pss, PS, GOOD), AUTH_SIGNATURE);
	kit_pss.alg = CONF_ALG_PS256;
	kit_rsa.alg = CONF_ALG_PS256;
	assert_reason(kit_sign(&kit_rsa, RS, GOOD), AUTH_SIGNATURE);
	kit_rsa.alg = CONF_ALG_RS256;
	for (size_t i = 0; i < COUNT_OF(salts); i++) {
		kit_salt_len = salts[i];
		assert_reason(kit_sign(&kit_pss, PS, GOOD), AUTH_SIGNATURE);
	}
	kit_salt_len = 32;
}

/* RFC 8037 appendix A.4: somebody else's key and signature. */
static void test_rfc8037(void **state)
{
	static const char jwk[] = "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
				  "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}";
	static const char text[] = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
	static const char sig[] =
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhV"
		"sPt9g7sVvpAr_MuM0KAg";
	struct auth_jwks *jwks;
	uint8_t bytes[AUTH_B64_BYTES(sizeof(sig))];
	char err[128];
	size_t len;

	(void)state;
	jwks = auth_jwks_parse(jwk, strlen(jwk), err, sizeof(err));
	assert_non_null(jwks);
	assert_true(auth_b64_decode(sig, strlen(sig), bytes, &len));
	assert_true(auth_crypto_verify(&jwks->keys[0], text, strlen(text), bytes, len));
	assert_false(auth_crypto_verify(&jwks->keys[0], text, strlen(text) - 1, bytes, len));
	assert_false(auth_crypto_verify(&jwks->keys[0], text, strlen(text), bytes, len - 1));
	auth_jwks_put(&jwks);
}

/* The classic: the RSA public key is no secret, so it must never be one. */
static void test_hmac_with_public_key(void **state)
{
	static const char *const headers[] = {HS, "{\"alg\":\"HS256\"}",
	                                      "{\"alg\":\"HS256\",\"kid\":\"rsa\"}"};
	struct auth_keys *all = kit_keys, *rsa_only;
	struct auth_jwk forged[2] = {{.alg = CONF_ALG_HS256}, {.alg = CONF_ALG_HS256}};

	(void)state;
	rsa_only = kit_keys_of(&kit_conf, KIT_JWKS(&kit_rsa));
	forged[0].secret =
		auth_jwk_material(&kit_rsa, AUTH_JWK_VERIFY, &forged[0].secret_len); /* PEM */
	forged[1].secret_len = (size_t)i2d_PUBKEY(kit_rsa.pkey, NULL);
	forged[1].secret = mem_alloc(forged[1].secret_len);
	for (uint8_t *at = forged[1].secret; at != NULL; at = NULL)
		i2d_PUBKEY(kit_rsa.pkey, &at);
	for (size_t i = 0; i < COUNT_OF(forged); i++) {
		for (size_t h = 0; h < COUNT_OF(headers); h++) {
			enum auth_reason reason;

			reason = kit_verdict(kit_sign(&forged[i], headers[h], GOOD), NULL);
			assert_int_equal(reason, h == 2 ? AUTH_ALGORITHM : AUTH_SIGNATURE);
			kit_keys = rsa_only;
			reason = kit_verdict(kit_sign(&forged[i], headers[h], GOOD), NULL);
			assert_int_equal(reason, h == 2 ? AUTH_ALGORITHM : AUTH_UNKNOWN_KEY);
			kit_keys = all;
		}
		auth_jwk_fini(&forged[i]);
	}
	auth_keys_put(&rsa_only);
}

/* Replaces one of the three parts (0, 1, 2). */
static char *with_part(const char *token, int part, const char *text)
{
	const char *dot1 = strchr(token, '.'), *dot2 = strchr(dot1 + 1, '.');
	size_t size = strlen(token) + strlen(text) + 1;
	char *out = mem_alloc(size);
	int len1 = (int)(dot1 - token), len2 = (int)(dot2 - dot1 - 1);

	if (part == 0)
		snprintf(out, size, "%s%s", text, dot1);
	else if (part == 1)
		snprintf(out, size, "%.*s.%s%s", len1, token, text, dot2);
	else
		snprintf(out, size, "%.*s.%.*s.%s", len1, token, len2, dot1 + 1, text);
	return out;
}

static void test_tampered(void **state)
{
	const struct auth_jwk *keys[] = {&kit_oct, &kit_rsa, &kit_ec, &kit_pss, &kit_ed};
	const char *headers[] = {HS, RS, ES, PS, ED};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		char *token = kit_sign(keys[i], headers[i], GOOD);
		char *payload = auth_b64_encode(GOOD " ", strlen(GOOD) + 1);
		char *header = auth_b64_encode("{\"a\":1}", 7);
		char *spaced = mem_alloc(100), *other;

		assert_reason(with_part(token, 1, payload), AUTH_SIGNATURE);
		assert_reason(with_part(token, 0, header), AUTH_MALFORMED);
		snprintf(spaced, 100, "%s ", headers[i]);
		other = auth_b64_encode(spaced, strlen(spaced));
		assert_reason(with_part(token, 0, other), AUTH_SIGNATURE);
		assert_reason(with_part(token, 2, ""), AUTH_SIGNATURE);
		assert_reason(with_part(token, 2, "AAAA"), AUTH_SIGNATURE);
		mem_free(payload);
		mem_free(header);
		mem_free(spaced);
		mem_free(other);
		mem_free(token);
	}
}

/* Every single character of the signature counts, the last one's unused bits included. */
static void test_signature_bits(void **state)
{
	const struct auth_jwk *keys[] = {&kit_oct, &kit_rsa, &kit_ec, &kit_pss, &kit_ed};
	const char *headers[] = {HS, RS, ES, PS, ED};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		char *token = kit_sign(keys[i], headers[i], GOOD);
		size_t start = (size_t)(strrchr(token, '.') + 1 - token), len = strlen(token);

		for (size_t at = start; at < len; at++) {
			char *bad = mem_strdup(token);
			enum auth_reason reason;

			bad[at] = bad[at] == 'A' ? 'B' : 'A';
			reason = kit_verdict(bad, NULL);
			assert_true(reason == AUTH_SIGNATURE ||
			            (at == len - 1 && reason == AUTH_MALFORMED));
		}
		mem_free(token);
	}
}

static void test_ec_zero_signature(void **state)
{
	static const uint8_t zeros[64];
	char *token = kit_sign(&kit_ec, ES, GOOD), *zero = auth_b64_encode(zeros, 64);
	char *short_one = auth_b64_encode(zeros, 63), *long_one = mem_alloc(200);
	const char *sig = strrchr(token, '.') + 1;

	(void)state;
	assert_reason(with_part(token, 2, zero), AUTH_SIGNATURE);
	assert_reason(with_part(token, 2, short_one), AUTH_SIGNATURE);
	snprintf(long_one, 200, "%sAA", sig);
	assert_reason(with_part(token, 2, long_one), AUTH_SIGNATURE);
	mem_free(token);
	mem_free(zero);
	mem_free(short_one);
	mem_free(long_one);
}

static void test_wrong_key(void **state)
{
	static const uint32_t algs[] = {CONF_ALG_HS256, CONF_ALG_RS256, CONF_ALG_ES256,
	                                CONF_ALG_PS256, CONF_ALG_EDDSA};
	static const char *const headers[] = {HS, RS, ES, PS, ED};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(algs); i++) {
		struct auth_jwk stranger;

		auth_jwk_generate(algs[i], &stranger);
		assert_reason(kit_sign(&stranger, headers[i], GOOD), AUTH_SIGNATURE);
		auth_jwk_fini(&stranger);
	}
}

static void test_reasons_have_texts(void **state)
{
	(void)state;
	for (int i = AUTH_OK; i <= AUTH_ROLE; i++) {
		assert_true(strlen(auth_reason_label((enum auth_reason)i)) > 0);
		assert_true(strlen(auth_reason_text((enum auth_reason)i)) > 0);
	}
	assert_string_equal(auth_reason_label(AUTH_ROLE), "role");
	assert_string_equal(auth_reason_text(AUTH_EXPIRED), "the token has expired");
}

#define T(name) cmocka_unit_test_setup(name, kit_reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_good),
		T(test_form),
		T(test_size_limit),
		T(test_embedded_nul),
		T(test_alg_none),
		T(test_header),
		T(test_allow_list),
		T(test_kid),
		T(test_padding),
		T(test_rfc8037),
		T(test_hmac_with_public_key),
		T(test_tampered),
		T(test_signature_bits),
		T(test_ec_zero_signature),
		T(test_wrong_key),
		T(test_reasons_have_texts),
	};

	return cmocka_run_group_tests_name("auth/signature", tests, kit_setup, kit_teardown);
}
