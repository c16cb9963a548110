/* libFuzzer: the token and key parsers. The first byte says what the rest is:
 *   't' a token as a client sends it: never let in, for nobody outside has the keys
 *   'p' a payload, and 'h' a header, under a good signature: what we make of it
 *   'k' a JWK set
 *   'i' a payload under the good signature of the second issuer: let in by that one alone
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

#define SECTION(issuer_, name_)                                                                    \
	{                                                                                          \
		.name = (name_), .issuer = (issuer_), .audience = "", .tenant_claim = "tenant_id", \
		.role_claim = "realm.roles", .leeway = 30 * US_PER_S, .jwks_file = "",             \
		.jwks_url = "",                                                                    \
		.algorithms = CONF_ALG_HS256 | CONF_ALG_RS256 | CONF_ALG_ES256 | CONF_ALG_PS256 |  \
		              CONF_ALG_EDDSA                                                       \
	}

static struct auth_jwk oct, rsa, ec, pss, ed, other;
static struct auth_keys *keys;
static struct auth_cache *cache;
/* Both have a key "oct". */
static const struct conf_jwt sections[2] = {SECTION("", ""), SECTION("other", "other")};

static void generate(json_t *array, uint32_t alg, const char *kid, struct auth_jwk *jwk)
{
	auth_jwk_generate(alg, jwk);
	jwk->kid = mem_strdup(kid);
	json_array_append_new(array, auth_jwk_json(jwk, AUTH_JWK_VERIFY));
}

static struct auth_jwks *parse_set(json_t *array)
{
	json_t *set = json_object();
	struct auth_jwks *jwks;
	char err[256], *text;

	json_object_set_new(set, "keys", array);
	text = json_dumps(set, 0);
	jwks = auth_jwks_parse(text, strlen(text), err, sizeof(err));
	MUST(jwks != NULL);
	free(text);
	json_decref(set);
	return jwks;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	json_t *first = json_array(), *second = json_array();
	struct auth_jwks *files[2], *urls[2] = {NULL, NULL};

	(void)argc, (void)argv;
	log_set_level(LOG_LEVEL_ERROR);
	generate(first, CONF_ALG_HS256, "oct", &oct);
	generate(first, CONF_ALG_RS256, "rsa", &rsa);
	generate(first, CONF_ALG_ES256, "ec", &ec);
	generate(first, CONF_ALG_PS256, "pss", &pss);
	generate(first, CONF_ALG_EDDSA, "ed", &ed);
	generate(second, CONF_ALG_HS256, "oct", &other);
	files[0] = parse_set(first);
	files[1] = parse_set(second);
	keys = auth_keys_of(sections, 2, files, urls);
	auth_jwks_put(&files[0]);
	auth_jwks_put(&files[1]);
	cache = auth_cache_new(16);
	return 0;
}

static enum auth_reason verify(const char *token, size_t len)
{
	struct auth_request req = {
		.keys = keys, .token = token, .len = len, .role = "app", .now_s = 1700000000};
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

static enum auth_reason verify_signed(const struct auth_jwk *jwk, const char *header,
                                      size_t header_len, const char *payload, size_t payload_len)
{
	char *head = auth_b64_encode(header, header_len);
	char *body = auth_b64_encode(payload, payload_len);
	char *text = join(head, body), *sig, *token;
	uint8_t mac[EVP_MAX_MD_SIZE];
	unsigned mac_len = 0;
	enum auth_reason reason;

	HMAC(EVP_sha256(), jwk->secret, (int)jwk->secret_len, (const uint8_t *)text, strlen(text),
	     mac, &mac_len);
	sig = auth_b64_encode(mac, mac_len);
	token = join(text, sig);
	reason = verify(token, strlen(token));
	mem_free(head);
	mem_free(body);
	mem_free(text);
	mem_free(sig);
	mem_free(token);
	return reason;
}

/* Whether the payload is the second issuer's, as jansson reads it. */
static void verify_other(const char *header, const char *payload, size_t len)
{
	enum auth_reason reason = verify_signed(&other, header, strlen(header), payload, len);
	json_t *claims = json_loadb(payload, len, 0, NULL);
	const char *iss = json_string_value(json_object_get(claims, "iss"));

	MUST(reason != AUTH_OK || (iss != NULL && strcmp(iss, "other") == 0));
	json_decref(claims);
}

static void parse_keys(const char *text, size_t len)
{
	char err[256] = "";
	struct auth_jwks *parsed = auth_jwks_parse(text, len, err, sizeof(err));

	MUST((parsed == NULL) == (err[0] != '\0'));
	if (parsed == NULL)
		return;
	MUST(auth_jwks_count(parsed) > 0 && auth_jwks_count(parsed) <= AUTH_KEYS_MAX);
	auth_jwks_put(&parsed);
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
		verify_signed(&oct, header, sizeof(header) - 1, text, size);
	else if (data[0] == 'i')
		verify_other(header, text, size);
	else if (data[0] == 'h')
		verify_signed(&oct, text, size, payload, sizeof(payload) - 1);
	else if (data[0] == 'k')
		parse_keys(text, size);
	return 0;
}
