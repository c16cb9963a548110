/* The cache of verified tokens: what is remembered, what is checked again on every hit, and what
 * ends an entry. Signature checks are counted by the cache itself. */
#include "base/clock.h"
#include "kit.h"

static struct auth_cache *cache;

static int cache_setup(void **state)
{
	kit_reset(state);
	cache = auth_cache_new(4);
	return 0;
}

static int cache_teardown(void **state)
{
	(void)state;
	auth_cache_free(&cache);
	assert_null(cache);
	return 0;
}

static enum auth_reason ask(const struct auth_request *req)
{
	struct auth_ticket *ticket;
	enum auth_reason reason = auth_verify(cache, req, &ticket);

	assert_int_equal(reason == AUTH_OK, ticket != NULL);
	auth_ticket_put(&ticket);
	return reason;
}

static void expect_stats(uint64_t hits, uint64_t checks, size_t entries)
{
	struct auth_cache_stats stats;

	auth_cache_stats(cache, &stats);
	assert_int_equal(stats.hits, hits);
	assert_int_equal(stats.signature_checks, checks);
	assert_int_equal(stats.entries, entries);
}

static void test_hit(void **state)
{
	char *token = kit_hs256(GOOD);
	struct auth_request req = kit_request(token);
	struct auth_ticket *first, *second;

	(void)state;
	assert_false(auth_is_cached(cache, &req));
	assert_int_equal(auth_verify(cache, &req, &first), AUTH_OK);
	expect_stats(0, 1, 1);
	assert_int_equal(auth_verify(cache, &req, &second), AUTH_OK);
	expect_stats(1, 1, 1);
	assert_ptr_equal(first, second);
	assert_true(auth_is_cached(cache, &req));
	req.len--;
	assert_false(auth_is_cached(cache, &req));
	req.len++;
	expect_stats(1, 1, 1);
	auth_ticket_put(&first);
	auth_cache_clear(cache);
	assert_false(auth_is_cached(cache, &req));
	expect_stats(1, 1, 0);
	assert_string_equal(second->tenant, "123"); /* the caller's own reference */
	auth_ticket_put(&second);
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(1, 2, 1);
	mem_free(token);
}

static void test_checked_on_every_hit(void **state)
{
	char *token = kit_hs256("{\"exp\":1700000100,\"nbf\":1699999990,\"role\":\"app\"}");
	struct auth_request req = kit_request(token);

	(void)state;
	kit_conf.require_tls = true;
	req.tenant_required = false;
	assert_int_equal(ask(&req), AUTH_OK);
	req.tenant_required = true;
	assert_int_equal(ask(&req), AUTH_NO_TENANT);
	req.tenant_required = false;
	req.is_exposed = true;
	assert_int_equal(ask(&req), AUTH_TLS_REQUIRED);
	req.is_exposed = false;
	req.role = "other";
	assert_int_equal(ask(&req), AUTH_ROLE);
	req.role = "app";
	req.now_s = 1699999989;
	assert_int_equal(ask(&req), AUTH_NOT_YET_VALID);
	req.now_s = NOW;
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(5, 1, 1);
	mem_free(token);
}

/* A first refusal for who asks or when does not cost the next caller a signature check. */
static void test_refused_first(void **state)
{
	char *token = kit_hs256(GOOD);
	struct auth_request req = kit_request(token);

	(void)state;
	req.role = "other";
	assert_int_equal(ask(&req), AUTH_ROLE);
	req.role = "app";
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(1, 1, 1);
	mem_free(token);
}

static void test_expiry(void **state)
{
	char *token = kit_hs256(GOOD);
	struct auth_request req = kit_request(token);

	(void)state;
	kit_conf.leeway = 10 * US_PER_S;
	assert_int_equal(ask(&req), AUTH_OK);
	req.now_s = 1700000109;
	assert_int_equal(ask(&req), AUTH_OK);
	req.now_s = 1700000110;
	assert_int_equal(ask(&req), AUTH_EXPIRED);
	expect_stats(2, 1, 0); /* dropped */
	assert_int_equal(ask(&req), AUTH_EXPIRED);
	expect_stats(2, 2, 0); /* and never entered again */
	mem_free(token);
}

static void test_refusals_are_not_kept(void **state)
{
	char *token = kit_hs256("{\"exp\":1700000100,\"role\":\"app\",\"tenant_id\":\"x\"}");
	char *forged = kit_hs256(GOOD);
	struct auth_request req = kit_request(token), bad = kit_request(forged);
	char *last = strrchr(forged, '.') + 1;

	(void)state;
	*last = *last == 'A' ? 'B' : 'A';
	assert_int_equal(ask(&req), AUTH_NO_TENANT);
	assert_int_equal(ask(&bad), AUTH_SIGNATURE);
	expect_stats(0, 2, 0);
	mem_free(token);
	mem_free(forged);
}

static void test_lru(void **state)
{
	char *tokens[5], payload[128];
	struct auth_cache_stats stats;
	struct auth_request req;

	(void)state;
	for (int i = 0; i < 5; i++) {
		snprintf(payload, sizeof(payload),
		         "{\"exp\":1700000100,\"role\":\"app\",\"tenant_id\":%d}", i);
		tokens[i] = kit_hs256(payload);
	}
	for (int i = 0; i < 4; i++) {
		req = kit_request(tokens[i]);
		assert_int_equal(ask(&req), AUTH_OK);
	}
	req = kit_request(tokens[0]); /* used again: now 1 is the oldest */
	assert_int_equal(ask(&req), AUTH_OK);
	req = kit_request(tokens[4]);
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(1, 5, 4);
	req = kit_request(tokens[0]);
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(2, 5, 4);
	req = kit_request(tokens[1]);
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(2, 6, 4);
	auth_cache_stats(cache, &stats);
	assert_int_equal(stats.evicted, 2);
	for (int i = 0; i < 5; i++)
		mem_free(tokens[i]);
}

/* Even without auth_cache_clear: no verdict under keys or a configuration that were replaced. */
static void test_other_keys(void **state)
{
	char *token = kit_hs256(GOOD);
	struct auth_request req = kit_request(token);
	struct conf_jwt strict = kit_conf;
	struct auth_keys *other = kit_keys_of(&kit_conf, KIT_JWKS(&kit_rsa)), *stricter;

	(void)state;
	assert_int_equal(ask(&req), AUTH_OK);
	req.keys = other;
	assert_int_equal(ask(&req), AUTH_UNKNOWN_KEY);
	req.keys = kit_keys;
	assert_int_equal(ask(&req), AUTH_OK);
	strict.issuer = "someone";
	stricter = kit_keys_of(&strict, KIT_JWKS(&kit_oct));
	req.keys = stricter;
	assert_int_equal(ask(&req), AUTH_ISSUER);
	auth_keys_put(&stricter);
	auth_keys_put(&other);
	mem_free(token);
}

static void test_no_cache(void **state)
{
	char *token = kit_hs256(GOOD);
	struct auth_request req = kit_request(token);

	(void)state;
	auth_cache_free(&cache);
	cache = auth_cache_new(0);
	assert_int_equal(ask(&req), AUTH_OK);
	assert_int_equal(ask(&req), AUTH_OK);
	expect_stats(0, 2, 0);
	mem_free(token);
}

#define T(name) cmocka_unit_test_setup_teardown(name, cache_setup, cache_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_hit),
		T(test_checked_on_every_hit),
		T(test_refused_first),
		T(test_expiry),
		T(test_refusals_are_not_kept),
		T(test_lru),
		T(test_other_keys),
		T(test_no_cache),
	};

	return cmocka_run_group_tests_name("auth/cache", tests, kit_setup, kit_teardown);
}
