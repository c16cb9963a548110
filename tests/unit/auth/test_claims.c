/* Signed claims to a ticket: tenants, dates, names, roles. Every token here has a good signature. */
#include "base/clock.h"
#include "kit.h"

static char *with_tenant(const char *json)
{
	char payload[256];

	snprintf(payload, sizeof(payload), "{\"exp\":1700000100,\"role\":\"app\",\"tenant_id\":%s}",
	         json);
	return kit_hs256(payload);
}

static void test_tenant_accepted(void **state)
{
	static const char *const good[][2] = {
		{"\"0\"", "0"},
		{"\"1\"", "1"},
		{"0", "0"},
		{"123", "123"},
		{"\"9223372036854775807\"", "9223372036854775807"},
		{"9223372036854775807", "9223372036854775807"},
		{"\"\\u0031\"", "1"}, /* the same string, spelled otherwise */
	};
	char tenant[AUTH_TENANT_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_int_equal(kit_verdict(with_tenant(good[i][0]), tenant), AUTH_OK);
		assert_string_equal(tenant, good[i][1]);
	}
}

static void test_tenant_refused(void **state)
{
	static const char *const bad[] = {
		"\"\"",
		"\"00\"",
		"\"01\"",
		"\"-1\"",
		"-1",
		"\" 1\"",
		"\"1 \"",
		"\"+1\"",
		"\"1.0\"",
		"1.0",
		"1e3",
		"1E3",
		"\"1e3\"",
		"true",
		"false",
		"null",
		"[1]",
		"[\"1\"]",
		"{}",
		"\"0x1\"",
		"\"1\\n\"",
		"\"1,2\"",
		"\"1'\"",
		"\"\\u0661\"", /* an Arabic one */
		"\"\\uff11\"", /* a full-width one */
		"\"9223372036854775808\"",
		"\"9999999999999999999\"",
		"\"10000000000000000000\"",
		"\"00000000000000000001\"",
		"-9223372036854775808",
		"\"123456789012345678901234567890\"",
	};
	struct auth_ticket *ticket;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		char *token = with_tenant(bad[i]);
		struct auth_request req = kit_request(token);

		req.tenant_required = false; /* there, so it must be valid all the same */
		assert_int_equal(auth_verify(NULL, &req, &ticket), AUTH_NO_TENANT);
		assert_null(ticket);
		assert_reason(token, AUTH_NO_TENANT);
	}
}

/* Not JSON, or no number that 64 bits hold: the whole token is. */
static void test_tenant_malformed(void **state)
{
	static const char *const bad[] = {
		"01",
		"00",
		"+1",
		".5",
		"1.",
		"0x10",
		"9223372036854775808",
		"18446744073709551617",
		"\"1\\u0000\"",
		"\"\\u00001\"",
		"\"\\ud800\"",
		"\"\xff\"",
		"1e999",
		"NaN",
		"'1'",
		"1,\"tenant_id\":2",
		"\"1\",\"tenant_id\":\"1\"",
		"1}x",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		enum auth_reason reason = kit_verdict(with_tenant(bad[i]), NULL);

		if (reason != AUTH_MALFORMED)
			fail_msg("%s: %s", bad[i], auth_reason_label(reason));
	}
}

static void test_tenant_missing(void **state)
{
	char *token = kit_hs256("{\"exp\":1700000100,\"role\":\"app\"}");
	struct auth_request req = kit_request(token);
	struct auth_ticket *ticket;

	(void)state;
	req.tenant_required = false;
	assert_int_equal(auth_verify(NULL, &req, &ticket), AUTH_OK);
	assert_string_equal(ticket->tenant, "");
	auth_ticket_put(&ticket);
	assert_reason(token, AUTH_NO_TENANT);
}

static void expect_tenant(const char *claim, const char *json, const char *wanted)
{
	char payload[512], tenant[AUTH_TENANT_MAX] = "";
	enum auth_reason reason;

	kit_conf.tenant_claim = claim;
	snprintf(payload, sizeof(payload), "{\"exp\":1700000100,\"role\":\"app\",%s}", json);
	reason = kit_verdict(kit_hs256(payload), tenant);
	if (wanted == NULL) {
		assert_int_equal(reason, AUTH_NO_TENANT);
		return;
	}
	assert_int_equal(reason, AUTH_OK);
	assert_string_equal(tenant, wanted);
}

static void test_dotted_claim(void **state)
{
	char longest[200];

	(void)state;
	expect_tenant("a.b", "\"a\":{\"b\":5}", "5");
	expect_tenant("a.b", "\"a.b\":6,\"a\":{\"b\":5}", "6");
	expect_tenant("a.b", "\"a.b\":\"x\",\"a\":{\"b\":5}", NULL); /* no second chance */
	expect_tenant("a.b.c", "\"a\":{\"b\":{\"c\":\"7\"}}", "7");
	expect_tenant("a.b.c", "\"a\":{\"b\":7}", NULL);
	expect_tenant("a.b", "\"a\":[5]", NULL);
	expect_tenant("a.b", "\"a\":\"b\"", NULL);
	expect_tenant("a.b", "\"b\":5", NULL);
	expect_tenant("a..b", "\"a\":{\"\":{\"b\":5}}", NULL);
	expect_tenant("a.", "\"a\":{\"\":5}", NULL);
	expect_tenant(".a", "\"a\":5", NULL);
	expect_tenant("https://example.com/tenant", "\"https://example.com/tenant\":8", "8");
	memset(longest, 'x', sizeof(longest) - 3);
	memcpy(longest + sizeof(longest) - 3, ".y", 3);
	expect_tenant(longest, "\"x\":5", NULL);
}

static void expect_claims(const char *json, enum auth_reason wanted)
{
	char payload[512];
	enum auth_reason reason;

	snprintf(payload, sizeof(payload), "{\"tenant_id\":1,\"role\":\"app\"%s}", json);
	reason = kit_verdict(kit_hs256(payload), NULL);
	if (reason != wanted)
		fail_msg("%s: %s", json, auth_reason_label(reason));
}

static void test_exp(void **state)
{
	(void)state;
	expect_claims("", AUTH_NO_EXP);
	expect_claims(",\"exp\":1700000001", AUTH_OK);
	expect_claims(",\"exp\":1700000000", AUTH_EXPIRED); /* "on or after" */
	expect_claims(",\"exp\":1699999999", AUTH_EXPIRED);
	expect_claims(",\"exp\":0", AUTH_EXPIRED);
	expect_claims(",\"exp\":1700000001.0", AUTH_OK);
	expect_claims(",\"exp\":1700000000.9", AUTH_EXPIRED);
	expect_claims(",\"exp\":1.7e10", AUTH_OK);
	expect_claims(",\"exp\":253402300799", AUTH_OK);
	expect_claims(",\"exp\":253402300800", AUTH_MALFORMED);
	expect_claims(",\"exp\":9223372036854775807", AUTH_MALFORMED);
	expect_claims(",\"exp\":1e300", AUTH_MALFORMED);
	expect_claims(",\"exp\":-1", AUTH_MALFORMED);
	expect_claims(",\"exp\":-0.5", AUTH_MALFORMED);
	expect_claims(",\"exp\":\"1700000100\"", AUTH_MALFORMED);
	expect_claims(",\"exp\":null", AUTH_MALFORMED);
	expect_claims(",\"exp\":true", AUTH_MALFORMED);
	expect_claims(",\"exp\":[1700000100]", AUTH_MALFORMED);
}

static void test_nbf_iat(void **state)
{
	(void)state;
	expect_claims(",\"exp\":1700000100,\"nbf\":1700000000", AUTH_OK);
	expect_claims(",\"exp\":1700000100,\"nbf\":1700000001", AUTH_NOT_YET_VALID);
	expect_claims(",\"exp\":1700000100,\"nbf\":1700000000.1", AUTH_NOT_YET_VALID);
	expect_claims(",\"exp\":253402300799,\"nbf\":253402300798", AUTH_NOT_YET_VALID);
	expect_claims(",\"exp\":1700000100,\"nbf\":\"0\"", AUTH_MALFORMED);
	expect_claims(",\"exp\":1700000100,\"nbf\":null", AUTH_MALFORMED);
	expect_claims(",\"exp\":1700000100,\"iat\":1600000000", AUTH_OK);
	expect_claims(",\"exp\":1700000100,\"iat\":1600000000.25", AUTH_OK);
	expect_claims(",\"exp\":1700000100,\"iat\":\"x\"", AUTH_MALFORMED);
}

static void test_leeway(void **state)
{
	(void)state;
	kit_conf.leeway = 30 * US_PER_S;
	expect_claims(",\"exp\":1699999971", AUTH_OK);
	expect_claims(",\"exp\":1699999970", AUTH_EXPIRED);
	expect_claims(",\"exp\":1700000100,\"nbf\":1700000030", AUTH_OK);
	expect_claims(",\"exp\":1700000100,\"nbf\":1700000031", AUTH_NOT_YET_VALID);
}

static void test_issuer(void **state)
{
	(void)state;
	expect_claims(",\"exp\":1700000100,\"iss\":\"anyone\"", AUTH_OK);
	kit_conf.issuer = "me";
	expect_claims(",\"exp\":1700000100,\"iss\":\"me\"", AUTH_OK);
	expect_claims(",\"exp\":1700000100", AUTH_ISSUER);
	expect_claims(",\"exp\":1700000100,\"iss\":\"ME\"", AUTH_ISSUER);
	expect_claims(",\"exp\":1700000100,\"iss\":\"me2\"", AUTH_ISSUER);
	expect_claims(",\"exp\":1700000100,\"iss\":[\"me\"]", AUTH_ISSUER);
}

static void test_audience(void **state)
{
	(void)state;
	expect_claims(",\"exp\":1700000100,\"aud\":\"anything\"", AUTH_OK);
	kit_conf.audience = "db";
	expect_claims(",\"exp\":1700000100,\"aud\":\"db\"", AUTH_OK);
	expect_claims(",\"exp\":1700000100,\"aud\":[\"web\",\"db\"]", AUTH_OK);
	expect_claims(",\"exp\":1700000100,\"aud\":[\"web\",\"dbx\"]", AUTH_AUDIENCE);
	expect_claims(",\"exp\":1700000100,\"aud\":[]", AUTH_AUDIENCE);
	expect_claims(",\"exp\":1700000100,\"aud\":[[\"db\"]]", AUTH_AUDIENCE);
	expect_claims(",\"exp\":1700000100,\"aud\":{\"db\":1}", AUTH_AUDIENCE);
	expect_claims(",\"exp\":1700000100", AUTH_AUDIENCE);
}

static void expect_role(const char *json, enum auth_reason wanted)
{
	char payload[256];
	enum auth_reason reason;

	snprintf(payload, sizeof(payload), "{\"tenant_id\":1,\"exp\":1700000100%s}", json);
	reason = kit_verdict(kit_hs256(payload), NULL);
	if (reason != wanted)
		fail_msg("%s: %s", json, auth_reason_label(reason));
}

static void test_role(void **state)
{
	(void)state;
	expect_role(",\"role\":\"app\"", AUTH_OK);
	expect_role(",\"role\":[\"app\"]", AUTH_OK);
	expect_role(",\"role\":[\"a\",\"app\",\"b\"]", AUTH_OK);
	expect_role("", AUTH_ROLE);
	expect_role(",\"role\":\"App\"", AUTH_ROLE);
	expect_role(",\"role\":\"app2\"", AUTH_ROLE);
	expect_role(",\"role\":\"ap\"", AUTH_ROLE);
	expect_role(",\"role\":\"x,app\"", AUTH_ROLE);
	expect_role(",\"role\":\"\"", AUTH_ROLE);
	expect_role(",\"role\":[]", AUTH_ROLE);
	expect_role(",\"role\":[[\"app\"]]", AUTH_ROLE);
	expect_role(",\"role\":[\"app\",1]", AUTH_ROLE);
	expect_role(",\"role\":[\"app\",\"\"]", AUTH_ROLE);
	expect_role(",\"role\":{\"app\":true}", AUTH_ROLE);
	expect_role(",\"role\":null", AUTH_ROLE);
	expect_role(",\"role\":true", AUTH_ROLE);
	kit_conf.role_claim = "realm.roles";
	expect_role(",\"realm\":{\"roles\":[\"app\"]},\"role\":\"x\"", AUTH_OK);
	expect_role(",\"role\":\"app\"", AUTH_ROLE);
}

static void test_role_empty_name(void **state)
{
	char *token = kit_hs256("{\"tenant_id\":1,\"exp\":1700000100,\"role\":[]}");
	struct auth_request req = kit_request(token);
	struct auth_ticket *ticket;

	(void)state;
	req.role = "";
	assert_int_equal(auth_verify(NULL, &req, &ticket), AUTH_ROLE);
	mem_free(token);
}

static void test_ticket(void **state)
{
	char *token = kit_hs256("{\"tenant_id\":\"7\",\"exp\":1700000100,\"nbf\":1699999000,"
	                        "\"jti\":\"abc\",\"role\":[\"app\",\"admin\"]}");
	struct auth_request req = kit_request(token);
	struct auth_ticket *ticket, *again;

	(void)state;
	assert_int_equal(auth_verify(NULL, &req, &ticket), AUTH_OK);
	mem_free(token);
	assert_int_equal(ticket->exp_s, 1700000100);
	assert_int_equal(ticket->nbf_s, 1699999000);
	assert_string_equal(ticket->tenant, "7");
	assert_string_equal(ticket->jti, "abc");
	assert_memory_equal(ticket->roles, "app\0admin\0", 11);
	assert_true(auth_ticket_allows_role(ticket, "admin"));
	assert_false(auth_ticket_allows_role(ticket, ""));
	again = auth_ticket_get(ticket);
	auth_ticket_put(&ticket);
	assert_null(ticket);
	assert_true(auth_ticket_allows_role(again, "app"));
	auth_ticket_put(&again);
}

static void test_jti(void **state)
{
	char payload[256], *token;
	struct auth_ticket *ticket;
	struct auth_request req;

	(void)state;
	expect_claims(",\"exp\":1700000100,\"jti\":5", AUTH_MALFORMED);
	/* 62 letters, then a two-byte character over the border: cut before it. */
	snprintf(
		payload, sizeof(payload),
		"{\"tenant_id\":1,\"exp\":1700000100,\"role\":\"app\",\"jti\":\"%062d\xc3\xa9xx\"}",
		0);
	token = kit_hs256(payload);
	req = kit_request(token);
	assert_int_equal(auth_verify(NULL, &req, &ticket), AUTH_OK);
	assert_int_equal(strlen(ticket->jti), 62);
	auth_ticket_put(&ticket);
	mem_free(token);
}

static void test_payload_form(void **state)
{
	static const char *const bad[] = {"",      "[]",      "1",
	                                  "\"x\"", "null",    "{",
	                                  "{}{}",  GOOD "x",  "{\"exp\":1700000100,}",
	                                  "nul",   "{'a':1}", ("\xef\xbb\xbf" GOOD)};
	char nul[] = GOOD "\0{}";

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		enum auth_reason reason = kit_verdict(kit_hs256(bad[i]), NULL);

		if (reason != AUTH_MALFORMED && reason != AUTH_SIGNATURE)
			fail_msg("%s: %s", bad[i], auth_reason_label(reason));
	}
	/* libjwt reads up to the NUL and is content; we are not. */
	assert_reason(kit_sign_n(&kit_oct, "{\"alg\":\"HS256\"}", nul, sizeof(nul) - 1),
	              AUTH_MALFORMED);
	assert_reason(kit_hs256("{\"exp\":1,\"exp\":1700000100,\"tenant_id\":1,\"role\":\"app\"}"),
	              AUTH_MALFORMED);
	assert_reason(
		kit_hs256("{\"exp\":1700000100,\"tenant_id\":1,\"role\":\"x\",\"role\":\"app\"}"),
		AUTH_MALFORMED);
	assert_reason(kit_hs256("{\"exp\":1700000100,\"tenant_id\":1,\"role\":\"app\","
	                        "\"deep\":{\"a\":1,\"a\":1}}"),
	              AUTH_MALFORMED);
}

static void test_deep(void **state)
{
	static char payload[AUTH_TOKEN_MAX];
	enum { depth = 5000 };
	enum auth_reason reason;
	size_t n;

	(void)state;
	n = (size_t)snprintf(payload, sizeof(payload), "{\"exp\":1700000100,\"x\":");
	memset(payload + n, '[', depth);
	memset(payload + n + depth, ']', depth);
	memcpy(payload + n + 2 * depth, "}", 2);
	reason = kit_verdict(kit_hs256(payload), NULL);
	assert_true(reason == AUTH_MALFORMED || reason == AUTH_SIGNATURE);
	/* In the header, before any signature. */
	n = (size_t)snprintf(payload, sizeof(payload), "{\"alg\":\"HS256\",\"x\":");
	memset(payload + n, '[', depth);
	payload[n + depth] = '\0';
	assert_reason(kit_sign(&kit_oct, payload, GOOD), AUTH_MALFORMED);
}

static void test_is_tenant(void **state)
{
	(void)state;
	assert_true(auth_is_tenant("0", 1));
	assert_true(auth_is_tenant("9223372036854775807", 19));
	assert_false(auth_is_tenant("9223372036854775808", 19));
	assert_false(auth_is_tenant("", 0));
	assert_false(auth_is_tenant("1\0", 2));
}

#define T(name) cmocka_unit_test_setup(name, kit_reset)

/* The claims that say how fresh a session's reads must be. */
static struct auth_ticket *with_wishes(const char *json, enum auth_reason *reason)
{
	char payload[256];
	struct auth_request req;
	struct auth_ticket *ticket;
	char *token;

	snprintf(payload, sizeof(payload),
	         "{\"exp\":1700000100,\"role\":\"app\",\"tenant_id\":1%s}", json);
	token = kit_hs256(payload);
	req = kit_request(token);
	*reason = auth_verify(NULL, &req, &ticket);
	mem_free(token);
	return ticket;
}

static void test_wishes(void **state)
{
	enum auth_reason reason;
	struct auth_ticket *t = with_wishes("", &reason);

	(void)state;
	assert_int_equal(reason, AUTH_OK);
	assert_false(t->has_consistency);
	assert_false(t->has_max_lag);
	auth_ticket_put(&t);
	t = with_wishes(",\"consistency\":\"Eventual\",\"max_lag\":\"500ms\"", &reason);
	assert_int_equal(reason, AUTH_OK);
	assert_true(t->has_consistency);
	assert_int_equal(t->consistency, CONF_CONSISTENCY_EVENTUAL);
	assert_true(t->has_max_lag);
	assert_int_equal(t->max_lag_us, 500 * US_PER_MS);
	auth_ticket_put(&t);
	t = with_wishes(",\"max_lag\":2", &reason);
	assert_int_equal(reason, AUTH_OK);
	assert_false(t->has_consistency);
	assert_int_equal(t->max_lag_us, 2 * US_PER_S);
	auth_ticket_put(&t);
}

static void test_wishes_refused(void **state)
{
	static const char *const bad[] = {
		"\"consistency\":\"strongest\"",
		"\"consistency\":\"\"",
		"\"consistency\":null",
		"\"consistency\":1",
		"\"consistency\":[\"strong\"]",
		"\"max_lag\":-1",
		"\"max_lag\":0.5",
		"\"max_lag\":\"5 parsecs\"",
		"\"max_lag\":\"\"",
		"\"max_lag\":null",
		"\"max_lag\":true",
		"\"max_lag\":\"9999999999h\"",
	};
	enum auth_reason reason;
	char json[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		snprintf(json, sizeof(json), ",%s", bad[i]);
		assert_null(with_wishes(json, &reason));
		if (reason != AUTH_WISH)
			fail_msg("%s: %s", bad[i], auth_reason_label(reason));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_tenant_accepted),
		T(test_tenant_refused),
		T(test_wishes),
		T(test_wishes_refused),
		T(test_tenant_malformed),
		T(test_tenant_missing),
		T(test_dotted_claim),
		T(test_exp),
		T(test_nbf_iat),
		T(test_leeway),
		T(test_issuer),
		T(test_audience),
		T(test_role),
		T(test_role_empty_name),
		T(test_ticket),
		T(test_jti),
		T(test_payload_form),
		T(test_deep),
		T(test_is_tenant),
	};

	return cmocka_run_group_tests_name("auth/claims", tests, kit_setup, kit_teardown);
}
