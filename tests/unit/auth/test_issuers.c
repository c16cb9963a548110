/* Several issuers: which section a token belongs to, and that the keys of one never verify a token
 * of another, whatever kid, algorithm or iss it names. */
#include "base/clock.h"
#include "kit.h"

#define CLAIMS "\"exp\":1700000100,\"tenant_id\":\"123\",\"role\":\"app\""
#define FROM_A "{\"iss\":\"https://a\"," CLAIMS "}"
#define FROM_B "{\"iss\":\"https://b\"," CLAIMS "}"
#define NOBODY "{" CLAIMS "}"
#define ES "{\"alg\":\"ES256\",\"kid\":\"same\"}"

/* Three sections: A and B, each with a key called "same", and one without an issuer. */
enum { A, B, ANY, N };
static struct conf_jwt sections[N];
static struct auth_jwk key[N], b_rsa;

static void use_sections(size_t n)
{
	struct auth_jwks *files[N], *urls[N] = {NULL};

	files[A] = KIT_JWKS(&key[A]);
	files[B] = KIT_JWKS(&key[B], &b_rsa);
	files[ANY] = KIT_JWKS(&key[ANY]);
	auth_keys_put(&kit_keys);
	kit_keys = auth_keys_of(sections, n, files, urls);
	for (size_t i = 0; i < N; i++)
		auth_jwks_put(&files[i]);
}

static int setup(void **state)
{
	kit_reset(state);
	for (size_t i = 0; i < N; i++) {
		sections[i] = kit_conf;
		sections[i].algorithms = CONF_ALG_ES256;
	}
	sections[A].name = "a";
	sections[A].issuer = "https://a";
	sections[B].name = "b";
	sections[B].issuer = "https://b";
	use_sections(N);
	return 0;
}

static int group_setup(void **state)
{
	kit_setup(state);
	for (size_t i = 0; i < N; i++)
		kit_generate(CONF_ALG_ES256, "same", &key[i]);
	kit_generate(CONF_ALG_RS256, "rsa", &b_rsa);
	return 0;
}

static int group_teardown(void **state)
{
	for (size_t i = 0; i < N; i++)
		auth_jwk_fini(&key[i]);
	auth_jwk_fini(&b_rsa);
	return kit_teardown(state);
}

/* ---- choosing ----------------------------------------------------------------------------- */

/* Each key lets in what its own section claims, and nothing else: the same kid in all three. */
static void test_each_its_own(void **state)
{
	static const char *const payloads[N] = {FROM_A, FROM_B, NOBODY};

	(void)state;
	for (size_t k = 0; k < N; k++) {
		for (size_t p = 0; p < N; p++)
			assert_reason(kit_sign(&key[k], ES, payloads[p]),
			              k == p ? AUTH_OK : AUTH_SIGNATURE);
	}
}

static void test_unclaimed(void **state)
{
	(void)state;
	assert_reason(kit_sign(&key[ANY], ES, "{\"iss\":\"https://c\"," CLAIMS "}"), AUTH_OK);
	assert_reason(kit_sign(&key[ANY], ES, "{\"iss\":\"\"," CLAIMS "}"), AUTH_OK);
	assert_reason(kit_sign(&key[A], ES, "{\"iss\":\"https://a/\"," CLAIMS "}"), AUTH_SIGNATURE);
	assert_reason(kit_sign(&key[A], ES, "{\"iss\":\"HTTPS://A\"," CLAIMS "}"), AUTH_SIGNATURE);
	use_sections(ANY); /* without the one for everybody */
	assert_reason(kit_sign(&key[A], ES, "{\"iss\":\"https://c\"," CLAIMS "}"), AUTH_ISSUER);
	assert_reason(kit_sign(&key[A], ES, NOBODY), AUTH_ISSUER);
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_OK);
}

/* RFC 7519 section 4.1.1: iss is a string. Anything else is nobody's, not even the section's that
 * takes what no other claims. */
static void test_iss_types(void **state)
{
	static const char *const bad[] = {"[\"https://a\"]",
	                                  "[\"https://a\",\"https://b\"]",
	                                  "1",
	                                  "null",
	                                  "true",
	                                  "{\"https://a\":1}",
	                                  "[]"};
	char payload[200];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		snprintf(payload, sizeof(payload), "{\"iss\":%s," CLAIMS "}", bad[i]);
		for (size_t k = 0; k < N; k++)
			assert_reason(kit_sign(&key[k], ES, payload), AUTH_ISSUER);
	}
	/* Said twice, cut by a zero: no JSON of ours. */
	assert_reason(
		kit_sign(&key[A], ES, "{\"iss\":\"https://b\",\"iss\":\"https://a\"," CLAIMS "}"),
		AUTH_MALFORMED);
	assert_reason(kit_sign(&key[A], ES, "{\"iss\":\"https://a\\u0000b\"," CLAIMS "}"),
	              AUTH_MALFORMED);
	/* Spelt otherwise it is the same string. */
	assert_reason(kit_sign(&key[A], ES, "{\"iss\":\"https:\\/\\/\\u0061\"," CLAIMS "}"),
	              AUTH_OK);
}

/* ---- confusion ---------------------------------------------------------------------------- */

/* B's public key is no secret: not as a secret for A, where HS256 is allowed, nor for B. */
static void test_hmac_with_anothers_public_key(void **state)
{
	static const char *const headers[] = {"{\"alg\":\"HS256\"}",
	                                      "{\"alg\":\"HS256\",\"kid\":\"rsa\"}",
	                                      "{\"alg\":\"HS256\",\"kid\":\"same\"}"};
	static const char *const payloads[] = {FROM_A, FROM_B, NOBODY};
	struct auth_jwk forged = {.alg = CONF_ALG_HS256};

	(void)state;
	for (size_t i = 0; i < N; i++)
		sections[i].algorithms = CONF_ALG_HS256 | CONF_ALG_RS256 | CONF_ALG_ES256;
	forged.secret = auth_jwk_material(&b_rsa, AUTH_JWK_VERIFY, &forged.secret_len);
	for (size_t h = 0; h < COUNT_OF(headers); h++) {
		for (size_t p = 0; p < COUNT_OF(payloads); p++) {
			enum auth_reason reason =
				kit_verdict(kit_sign(&forged, headers[h], payloads[p]), NULL);

			assert_true(reason == AUTH_UNKNOWN_KEY || reason == AUTH_ALGORITHM);
		}
	}
	auth_jwk_fini(&forged);
}

/* A key that only B has is unknown to A, named or not. */
static void test_anothers_kid(void **state)
{
	static const char *const headers[] = {"{\"alg\":\"RS256\",\"kid\":\"rsa\"}",
	                                      "{\"alg\":\"RS256\"}"};

	(void)state;
	for (size_t i = 0; i < N; i++)
		sections[i].algorithms |= CONF_ALG_RS256;
	for (size_t h = 0; h < COUNT_OF(headers); h++) {
		assert_reason(kit_sign(&b_rsa, headers[h], FROM_B), AUTH_OK);
		assert_reason(kit_sign(&b_rsa, headers[h], FROM_A), AUTH_UNKNOWN_KEY);
		assert_reason(kit_sign(&b_rsa, headers[h], NOBODY), AUTH_UNKNOWN_KEY);
	}
}

/* The header says iss too (RFC 7519 section 5.3 lets it): it chooses nothing. */
static void test_iss_in_the_header(void **state)
{
	static const char header[] = "{\"alg\":\"ES256\",\"kid\":\"same\",\"iss\":\"https://a\","
				     "\"jku\":\"https://evil\",\"jwk\":{\"kty\":\"oct\"}}";

	(void)state;
	assert_reason(kit_sign(&key[A], header, FROM_B), AUTH_SIGNATURE);
	assert_reason(kit_sign(&key[B], header, FROM_B), AUTH_OK);
}

/* ---- each section its own rules ------------------------------------------------------------- */

static void test_own_algorithms(void **state)
{
	(void)state;
	sections[A].algorithms = CONF_ALG_RS256;
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_ALGORITHM);
	assert_reason(kit_sign(&key[B], ES, FROM_B), AUTH_OK);
}

static void test_own_claims(void **state)
{
	char tenant[AUTH_TENANT_MAX];

	(void)state;
	sections[A].audience = "eav";
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_AUDIENCE);
	assert_reason(kit_sign(&key[B], ES, FROM_B), AUTH_OK);
	sections[A].audience = "";
	sections[A].tenant_claim = "org";
	sections[A].role_claim = "roles";
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_NO_TENANT);
	assert_int_equal(
		kit_verdict(kit_sign(&key[A], ES,
	                             "{\"iss\":\"https://a\",\"org\":7,\"roles\":[\"app\"],"
	                             "\"role\":\"x\"," CLAIMS "}"),
	                    NULL),
		AUTH_MALFORMED); /* role twice */
	assert_int_equal(
		kit_verdict(kit_sign(&key[A], ES,
	                             "{\"iss\":\"https://a\",\"org\":7,\"roles\":[\"app\"]," CLAIMS
	                             "}"),
	                    tenant),
		AUTH_OK);
	assert_string_equal(tenant, "7");
	assert_int_equal(kit_verdict(kit_sign(&key[B], ES, FROM_B), tenant), AUTH_OK);
	assert_string_equal(tenant, "123");
}

static void test_own_leeway_and_tls(void **state)
{
	char *a = kit_sign(&key[A], ES, FROM_A), *b = kit_sign(&key[B], ES, FROM_B);
	struct auth_request from_a = kit_request(a), from_b = kit_request(b);
	struct auth_ticket *ticket;

	(void)state;
	sections[A].leeway = 60 * US_PER_S;
	sections[B].require_tls = true;
	from_a.now_s = from_b.now_s = 1700000130;
	assert_int_equal(auth_verify(NULL, &from_a, &ticket), AUTH_OK);
	assert_int_equal(ticket->leeway_s, 60);
	auth_ticket_put(&ticket);
	assert_int_equal(auth_verify(NULL, &from_b, &ticket), AUTH_EXPIRED);
	from_a.now_s = from_b.now_s = NOW;
	from_a.is_exposed = from_b.is_exposed = true;
	assert_int_equal(auth_verify(NULL, &from_a, &ticket), AUTH_OK);
	auth_ticket_put(&ticket);
	assert_int_equal(auth_verify(NULL, &from_b, &ticket), AUTH_TLS_REQUIRED);
	from_b.is_exposed = false;
	assert_int_equal(auth_verify(NULL, &from_b, &ticket), AUTH_OK);
	auth_ticket_put(&ticket);
	assert_false(auth_keys_require_tls(kit_keys));
	for (size_t i = 0; i < N; i++)
		sections[i].require_tls = true;
	assert_true(auth_keys_require_tls(kit_keys));
	mem_free(a);
	mem_free(b);
}

/* ---- file and URL --------------------------------------------------------------------------- */

/* Section A with these two sources. */
static void use_sources(struct auth_jwks *file, struct auth_jwks *url)
{
	auth_keys_put(&kit_keys);
	kit_keys = auth_keys_of(sections, 1, &file, &url);
	auth_jwks_put(&file);
	auth_jwks_put(&url);
}

static int refetch_of(const char *payload)
{
	char *token = kit_sign(&key[B], "{\"alg\":\"ES256\",\"kid\":\"new\"}", payload);
	struct auth_request req = kit_request(token);
	struct auth_ticket *ticket;
	int section = auth_refetch(&req, auth_verify(NULL, &req, &ticket));

	mem_free(token);
	return section;
}

static void test_no_keys_yet(void **state)
{
	(void)state;
	sections[A].jwks_url = "https://a/keys";
	use_sources(NULL, NULL);
	assert_int_equal(auth_keys_missing(kit_keys), 1);
	assert_int_equal(auth_keys_count(kit_keys), 0);
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_NO_KEYS);
	assert_reason(kit_sign(&key[A], "{\"alg\":\"ES256\"}", FROM_A), AUTH_NO_KEYS);
	assert_int_equal(refetch_of(FROM_A), 0);
	assert_int_equal(refetch_of(FROM_B), -1); /* not its issuer */
	use_sources(NULL, KIT_JWKS(&key[A]));
	assert_int_equal(auth_keys_missing(kit_keys), 0);
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_OK);
}

/* Only an unknown key, and only where there is a URL to ask, is a reason to wait. */
static void test_refetch(void **state)
{
	char *token = kit_sign(&key[B], ES, FROM_B);
	struct auth_request req = kit_request(token);

	(void)state;
	assert_int_equal(refetch_of(FROM_B), -1);
	sections[B].jwks_url = "https://b/keys";
	assert_int_equal(refetch_of(FROM_B), B);
	assert_int_equal(refetch_of(FROM_A), -1);
	for (int reason = AUTH_OK; reason <= AUTH_ROLE; reason++) {
		bool waits = reason == AUTH_UNKNOWN_KEY || reason == AUTH_NO_KEYS;

		assert_int_equal(auth_refetch(&req, (enum auth_reason)reason), waits ? B : -1);
	}
	req.token = "x.y";
	req.len = 3;
	assert_int_equal(auth_refetch(&req, AUTH_UNKNOWN_KEY), -1);
	mem_free(token);
}

static void test_both_sources(void **state)
{
	(void)state;
	use_sources(KIT_JWKS(&key[A]), KIT_JWKS(&kit_ec, &kit_rsa));
	assert_int_equal(auth_keys_count(kit_keys), 3);
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_OK);
	assert_reason(kit_sign(&kit_ec, "{\"alg\":\"ES256\",\"kid\":\"ec\"}", FROM_A), AUTH_OK);
	/* Without a kid two would fit; the same key twice is one. */
	assert_reason(kit_sign(&kit_ec, "{\"alg\":\"ES256\"}", FROM_A), AUTH_UNKNOWN_KEY);
	use_sources(KIT_JWKS(&kit_ec), KIT_JWKS(&kit_ec, &kit_rsa));
	assert_reason(kit_sign(&kit_ec, "{\"alg\":\"ES256\"}", FROM_A), AUTH_OK);
	/* One kid, two keys: the file's counts. */
	use_sources(KIT_JWKS(&key[A]), KIT_JWKS(&key[B]));
	assert_reason(kit_sign(&key[A], ES, FROM_A), AUTH_OK);
	assert_reason(kit_sign(&key[B], ES, FROM_A), AUTH_SIGNATURE);
}

/* ---- SHOW KEYS ------------------------------------------------------------------------------ */

static void on_key(void *arg, const struct auth_key_info *info)
{
	char *out = arg;
	size_t len = strlen(out);

	snprintf(out + len, 1000 - len, "[%s|%s|%s|%s|%s|%s|%d%s]", info->section, info->issuer,
	         info->kid, info->alg, info->use, info->source, (int)info->age_s,
	         info->is_shadowed ? "|shadowed" : "");
}

static void test_each(void **state)
{
	struct auth_jwks *url;
	char out[1000] = "";

	(void)state;
	clock_fake(100 * US_PER_S, NOW);
	sections[A].jwks_file = "/keys";
	sections[A].jwks_url = "https://a/keys";
	url = KIT_JWKS(&key[B], &kit_ed);
	use_sources(KIT_JWKS(&key[A]), auth_jwks_get(url));
	clock_fake(107 * US_PER_S, NOW);
	auth_jwks_touch(url);
	clock_fake(110 * US_PER_S, NOW);
	auth_keys_each(kit_keys, on_key, out);
	assert_string_equal(out, "[a|https://a|same|ES256|sig|/keys|10]"
	                         "[a|https://a|same|ES256|sig|https://a/keys|3|shadowed]"
	                         "[a|https://a|ed|EdDSA|sig|https://a/keys|3]");
	auth_jwks_put(&url);
	clock_fake(-1, 0);
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_each_its_own),
		T(test_unclaimed),
		T(test_iss_types),
		T(test_hmac_with_anothers_public_key),
		T(test_anothers_kid),
		T(test_iss_in_the_header),
		T(test_own_algorithms),
		T(test_own_claims),
		T(test_own_leeway_and_tls),
		T(test_no_keys_yet),
		T(test_refetch),
		T(test_both_sources),
		T(test_each),
	};

	return cmocka_run_group_tests_name("auth/issuers", tests, group_setup, group_teardown);
}
