/* libFuzzer: the token and key parsers. The first byte says what the rest is:
 *   't' a token as a client sends it: never let in, for nobody outside has the keys
 *   'p' a payload, and 'h' a header, under a good signature: what libjwt and we make of it
 *   'k' a JWK set
 * Whatever is let in must have a tenant that PostgreSQL takes as a bigint. */
#include <openssl/hmac.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct auth_jwk oct, rsa, ec;
static struct auth_keys *keys;
static struct auth_cache *cache;
static struct conf_jwt conf = {
	.issuer = "",
	.audience = "",
	.tenant_claim = "tenant_id",
	.role_claim = "realm.roles",
	.algorithms = CONF_ALG_HS256 | CONF_ALG_RS256 | CONF_ALG_ES256,
	.leeway = 30 * US_PER_S,
};

static void generate(json_t *array, uint32_t alg, const char *kid, struct auth_jwk *jwk)
{
	auth_jwk_generate(alg, jwk);
	jwk->kid = mem_strdup(kid);
	json_array_append_new(array, auth_jwk_json(jwk, AUTH_JWK_VERIFY));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	json_t *set = json_object(), *array = json_array();
	char err[256], *text;

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	generate(array, CONF_ALG_HS256, "oct", &oct);
	generate(array, CONF_ALG_RS256, "rsa", &rsa);
	generate(array, CONF_ALG_ES256, "ec", &ec);
	json_object_set_new(set, "keys", array);
	text = json_dumps(set, 0);
	keys = auth_keys_parse(text, strlen(text), err, sizeof(err));
	MUST(keys != NULL);
	free(text);
	json_decref(set);
	cache = auth_cache_new(16);
	return 0;
}

static enum auth_reason verify(const char *token, size_t len)
{
	struct auth_request req = {.keys = keys,
	                           .conf = &conf,
	                           .token = token,
	                           .len = len,
	                           .role = "app",
	                           .now_s = 1700000000};
	struct auth_ticket *first, *second;
	enum auth_reason reason = auth_verify(cache, &req, &first);

	MUST((reason == AUTH_OK) == (first != NULL));
	if (first == NULL)
		return reason;
	MUST(first->tenant[0] == '\0' || auth_is_tenant(first->tenant, strlen(first->tenant)));
	MUST(first->exp_s > req.now_s - 30 && auth_ticket_allows_role(first, "app"));
	/* Warm and cold must agree. */
	MUST(auth_verify(cache, &req, &second) == AUTH_OK && second == first);
	auth_ticket_put(&first);
	auth_ticket_put(&second);
	return reason;
}

static char *join(const char *a, const char *b)
{
	size_t size = strlen(a) + strlen(b) + 2;
	char *joined = mem_alloc(size);

	snprintf(joined, size, "%s.%s", a, b);
	return joined;
}

static void verify_signed(const char *header, size_t header_len, const char *payload,
                          size_t payload_len)
{
	char *head = auth_b64_encode(header, header_len);
	char *body = auth_b64_encode(payload, payload_len);
	char *text = join(head, body), *sig, *token;
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;

	HMAC(EVP_sha256(), oct.secret, (int)oct.secret_len, (const uint8_t *)text, strlen(text),
	     mac, &mac_len);
	sig = auth_b64_encode(mac, mac_len);
	token = join(text, sig);
	verify(token, strlen(token));
	mem_free(head);
	mem_free(body);
	mem_free(text);
	mem_free(sig);
	mem_free(token);
}

static void parse_keys(const char *text, size_t len)
{
	char err[256] = "";
	struct auth_keys *parsed = auth_keys_parse(text, len, err, sizeof(err));

	MUST((parsed == NULL) == (err[0] != '\0'));
	if (parsed == NULL)
		return;
	MUST(auth_keys_count(parsed) > 0 && auth_keys_count(parsed) <= AUTH_KEYS_MAX);
	auth_keys_put(&parsed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char header[] = "{\"alg\":\"HS256\",\"kid\":\"oct\"}";
	static const char payload[] =
		"{\"exp\":1700000100,\"tenant_id\":1,\"realm\":{\"roles\":[\"app\"]}}";
	const char *text = (const char *)data + 1;

	if (size == 0)
		return 0;
	size--;
	if (data[0] == 't')
		MUST(verify(text, size) != AUTH_OK);
	else if (data[0] == 'p')
		verify_signed(header, sizeof(header) - 1, text, size);
	else if (data[0] == 'h')
		verify_signed(text, size, payload, sizeof(payload) - 1);
	else if (data[0] == 'k')
		parse_keys(text, size);
	return 0;
}
