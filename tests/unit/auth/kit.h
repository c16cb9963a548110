/* What the auth tests share: a key for each algorithm, a set with all of them, a configuration, and
 * a signer that shares no code with src/auth and signs any header over any payload. */
#ifndef PGUSHER_TEST_AUTH_KIT_H
#define PGUSHER_TEST_AUTH_KIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "auth/auth_int.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

#define NOW 1700000000

static struct auth_jwk kit_oct, kit_rsa, kit_ec, kit_pss, kit_ed;
static struct auth_keys *kit_keys; /* kids "oct", "rsa", "ec", "pss", "ed" of kit_conf's issuer */
static struct conf_jwt kit_conf;

static inline char *kit_public(const struct auth_jwk *jwk)
{
	json_t *json = auth_jwk_json(jwk, AUTH_JWK_VERIFY);
	char *text = json_dumps(json, JSON_COMPACT);

	json_decref(json);
	return text;
}

/* A set of the given keys (ends with NULL), public halves. */
static inline struct auth_jwks *kit_jwks(const struct auth_jwk *const *all)
{
	json_t *array = json_array(), *set = json_object();
	struct auth_jwks *jwks;
	char err[256] = "", *text;

	for (; *all != NULL; all++)
		json_array_append_new(array, auth_jwk_json(*all, AUTH_JWK_VERIFY));
	json_object_set_new(set, "keys", array);
	text = json_dumps(set, 0);
	json_decref(set);
	jwks = auth_jwks_parse(text, strlen(text), err, sizeof(err));
	free(text);
	if (jwks == NULL)
		fail_msg("%s", err);
	return jwks;
}
#define KIT_JWKS(...) kit_jwks((const struct auth_jwk *const[]){__VA_ARGS__, NULL})

/* Takes over the reference: the keys of one section. */
static inline struct auth_keys *kit_keys_of(const struct conf_jwt *conf, struct auth_jwks *jwks)
{
	struct auth_jwks *none = NULL;
	struct auth_keys *keys = auth_keys_of(conf, 1, &jwks, &none);

	auth_jwks_put(&jwks);
	return keys;
}

static inline void kit_generate(uint32_t alg, const char *kid, struct auth_jwk *jwk)
{
	auth_jwk_generate(alg, jwk);
	jwk->kid = mem_strdup(kid);
}

static inline int kit_setup(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	kit_generate(CONF_ALG_HS256, "oct", &kit_oct);
	kit_generate(CONF_ALG_RS256, "rsa", &kit_rsa);
	kit_generate(CONF_ALG_ES256, "ec", &kit_ec);
	kit_generate(CONF_ALG_PS256, "pss", &kit_pss);
	kit_generate(CONF_ALG_EDDSA, "ed", &kit_ed);
	kit_keys = kit_keys_of(&kit_conf, KIT_JWKS(&kit_oct, &kit_rsa, &kit_ec, &kit_pss, &kit_ed));
	return 0;
}

static inline int kit_teardown(void **state)
{
	(void)state;
	auth_jwk_fini(&kit_oct);
	auth_jwk_fini(&kit_rsa);
	auth_jwk_fini(&kit_ec);
	auth_jwk_fini(&kit_pss);
	auth_jwk_fini(&kit_ed);
	auth_keys_put(&kit_keys);
	return 0;
}

/* Before every test. */
static inline int kit_reset(void **state)
{
	(void)state;
	memset(&kit_conf, 0, sizeof(kit_conf));
	kit_conf.name = kit_conf.jwks_file = kit_conf.jwks_url = kit_conf.jwks_ca_file = "";
	kit_conf.issuer = kit_conf.audience = "";
	kit_conf.tenant_claim = "tenant_id";
	kit_conf.role_claim = "role";
	kit_conf.algorithms =
		CONF_ALG_HS256 | CONF_ALG_RS256 | CONF_ALG_ES256 | CONF_ALG_PS256 | CONF_ALG_EDDSA;
	return 0;
}

static inline char *kit_join(const char *a, const char *b)
{
	size_t size = strlen(a) + strlen(b) + 2;
	char *joined = mem_alloc(size);

	snprintf(joined, size, "%s.%s", a, b);
	return joined;
}

static inline size_t kit_ecdsa_raw(const uint8_t *der, size_t len, uint8_t raw[64])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

	MUST(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32) == 32);
	MUST(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32) == 32);
	ECDSA_SIG_free(sig);
	return 64;
}

/* Of PS256; RFC 7518 section 3.5 wants the digest's. */
static int kit_salt_len = 32;

/* base64url of the signature over text. */
static inline char *kit_signature(const struct auth_jwk *jwk, const char *text)
{
	uint8_t sig[1024], raw[64];
	size_t len = sizeof(sig);
	unsigned hmac_len = 0;
	EVP_PKEY_CTX *pctx;
	EVP_MD_CTX *ctx;

	if (jwk->secret != NULL) {
		HMAC(EVP_sha256(), jwk->secret, (int)jwk->secret_len, (const uint8_t *)text,
		     strlen(text), sig, &hmac_len);
		return auth_b64_encode(sig, hmac_len);
	}
	ctx = EVP_MD_CTX_new();
	MUST(EVP_DigestSignInit(ctx, &pctx, jwk->alg == CONF_ALG_EDDSA ? NULL : EVP_sha256(), NULL,
	                        jwk->pkey) == 1);
	if (jwk->alg == CONF_ALG_PS256)
		MUST(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
		     EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, kit_salt_len) == 1);
	MUST(EVP_DigestSign(ctx, sig, &len, (const uint8_t *)text, strlen(text)) == 1);
	EVP_MD_CTX_free(ctx);
	if (jwk->alg == CONF_ALG_ES256)
		return auth_b64_encode(raw, kit_ecdsa_raw(sig, len, raw));
	return auth_b64_encode(sig, len);
}

static inline char *kit_sign_n(const struct auth_jwk *jwk, const char *header, const char *payload,
                               size_t payload_len)
{
	char *head = auth_b64_encode(header, strlen(header));
	char *body = auth_b64_encode(payload, payload_len);
	char *text = kit_join(head, body), *sig = kit_signature(jwk, text);
	char *token = kit_join(text, sig);

	mem_free(head);
	mem_free(body);
	mem_free(text);
	mem_free(sig);
	return token;
}

static inline char *kit_sign(const struct auth_jwk *jwk, const char *header, const char *payload)
{
	return kit_sign_n(jwk, header, payload, strlen(payload));
}

/* The payload under the oct key. */
static inline char *kit_hs256(const char *payload)
{
	return kit_sign(&kit_oct, "{\"alg\":\"HS256\",\"kid\":\"oct\"}", payload);
}

static inline struct auth_request kit_request(const char *token)
{
	return (struct auth_request){.keys = kit_keys,
	                             .token = token,
	                             .len = strlen(token),
	                             .role = "app",
	                             .tenant_required = true,
	                             .now_s = NOW};
}

/* The verdict on a token for role app, tenant required; frees the token. tenant may be NULL. */
static inline enum auth_reason kit_verdict(char *token, char tenant[AUTH_TENANT_MAX])
{
	struct auth_request req = kit_request(token);
	struct auth_ticket *ticket;
	enum auth_reason reason = auth_verify(NULL, &req, &ticket);

	assert_int_equal(reason == AUTH_OK, ticket != NULL);
	if (ticket != NULL && tenant != NULL)
		memcpy(tenant, ticket->tenant, AUTH_TENANT_MAX);
	auth_ticket_put(&ticket);
	mem_free(token);
	return reason;
}

#define assert_reason(token, wanted)                                                               \
	assert_string_equal(auth_reason_label(kit_verdict(token, NULL)), auth_reason_label(wanted))

#define GOOD "{\"exp\":1700000100,\"tenant_id\":\"123\",\"role\":\"app\"}"

#endif
