/* One JSON Web Key (RFC 7517 section 4; members by RFC 7518 section 6 and RFC 8037) to a key of
 * OpenSSL's, and back. A key is bound to one algorithm here, by its type and by its own `alg`: that
 * the token's header cannot choose how its signature is checked rests on this. Stateless; used when
 * key sets are loaded and by `pgusher token`, never on a worker's data path. OpenSSL 3 does the
 * numbers. */
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/mem.h"

#define OCT_MIN_BYTES 32  /* RFC 7518 section 3.2 */
#define RSA_MIN_BITS 2048 /* RFC 7518 section 3.3 */
#define RSA_MAX_BITS 8192 /* checking a longer one would cost milliseconds a login */
#define P256_BYTES 32
#define ED25519_BYTES 32
#define NUMBER_MAX_BYTES (RSA_MAX_BITS / 8 + 1)

/* Which JWK member is which OpenSSL parameter. The first two are the public half. */
static const struct {
	const char *member, *param;
} rsa_numbers[] = {
	{"n", OSSL_PKEY_PARAM_RSA_N},          {"e", OSSL_PKEY_PARAM_RSA_E},
	{"d", OSSL_PKEY_PARAM_RSA_D},          {"p", OSSL_PKEY_PARAM_RSA_FACTOR1},
	{"q", OSSL_PKEY_PARAM_RSA_FACTOR2},    {"dp", OSSL_PKEY_PARAM_RSA_EXPONENT1},
	{"dq", OSSL_PKEY_PARAM_RSA_EXPONENT2}, {"qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1},
};
#define RSA_PUBLIC_NUMBERS 2

#define FAIL(...) (snprintf(err, err_size, __VA_ARGS__), false)

/* ---- JSON to key ------------------------------------------------------------------------ */

/* A base64url member's bytes; out holds AUTH_B64_BYTES of max_len characters. */
static bool jwk_bytes(const json_t *json, const char *member, uint8_t *out, size_t max_chars,
                      size_t *len, char *err, size_t err_size)
{
	const json_t *value = json_object_get(json, member);

	if (!json_is_string(value))
		return FAIL("no \"%s\"", member);
	if (json_string_length(value) > max_chars ||
	    !auth_b64_decode(json_string_value(value), json_string_length(value), out, len))
		return FAIL("\"%s\" is not base64url, or too long", member);
	return true;
}

static BIGNUM *jwk_number(const json_t *json, const char *member, char *err, size_t err_size)
{
	enum { max_chars = NUMBER_MAX_BYTES * 4 / 3 + 1 };
	uint8_t bytes[AUTH_B64_BYTES(max_chars)];
	size_t len;
	BIGNUM *number;

	if (!jwk_bytes(json, member, bytes, max_chars, &len, err, err_size))
		return NULL;
	number = BN_bin2bn(bytes, (int)len, NULL);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	MUST(number != NULL);
	return number;
}

static EVP_PKEY *pkey_build(const char *type, OSSL_PARAM_BLD *build, bool with_private)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL), *check;
	EVP_PKEY *pkey = NULL;

	MUST(params != NULL && ctx != NULL);
	if (EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, with_private ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY,
	                      params) != 1)
		pkey = NULL;
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	if (pkey == NULL)
		return NULL;
	/* A point off the curve, an even exponent, a modulus with small factors. */
	check = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	MUST(check != NULL);
	if (EVP_PKEY_public_check(check) != 1) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	EVP_PKEY_CTX_free(check);
	return pkey;
}

static bool jwk_parse_rsa(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
                          char *err, size_t err_size)
{
	size_t n = purpose == AUTH_JWK_SIGN ? COUNT_OF(rsa_numbers) : RSA_PUBLIC_NUMBERS;
	BIGNUM *numbers[COUNT_OF(rsa_numbers)] = {NULL};
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	bool ok = true;

	MUST(build != NULL);
	for (size_t i = 0; ok && i < n; i++) {
		numbers[i] = jwk_number(json, rsa_numbers[i].member, err, err_size);
		ok = numbers[i] != NULL;
		if (ok)
			MUST(OSSL_PARAM_BLD_push_BN(build, rsa_numbers[i].param, numbers[i]));
	}
	if (ok &&
	    (BN_num_bits(numbers[0]) < RSA_MIN_BITS || BN_num_bits(numbers[0]) > RSA_MAX_BITS))
		ok = FAIL("an RSA key must have %d to %d bits, not %d", RSA_MIN_BITS, RSA_MAX_BITS,
		          BN_num_bits(numbers[0]));
	if (ok) {
		jwk->pkey = pkey_build("RSA", build, purpose == AUTH_JWK_SIGN);
		ok = jwk->pkey != NULL || FAIL("not a valid RSA key");
	}
	OSSL_PARAM_BLD_free(build);
	for (size_t i = 0; i < n; i++)
		BN_clear_free(numbers[i]);
	return ok;
}

/* One of x, y, d: RFC 7518 section 6.2 and RFC 8037 section 2 want all 32 bytes. */
static bool jwk_curve_bytes(const json_t *json, const char *member, uint8_t out[P256_BYTES],
                            char *err, size_t err_size)
{
	enum { chars = (P256_BYTES * 4 + 2) / 3 };
	uint8_t bytes[AUTH_B64_BYTES(chars)];
	size_t len;

	if (!jwk_bytes(json, member, bytes, chars, &len, err, err_size))
		return false;
	if (len != P256_BYTES)
		return FAIL("\"%s\" must have %d bytes", member, P256_BYTES);
	memcpy(out, bytes, P256_BYTES);
	OPENSSL_cleanse(bytes, sizeof(bytes));
	return true;
}

static bool jwk_parse_ec(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
                         char *err, size_t err_size)
{
	const char *curve = json_string_value(json_object_get(json, "crv"));
	uint8_t point[1 + 2 * P256_BYTES] = {POINT_CONVERSION_UNCOMPRESSED}, d[P256_BYTES];
	OSSL_PARAM_BLD *build;
	BIGNUM *number = NULL;

	if (curve == NULL || strcmp(curve, "P-256") != 0)
		return FAIL("an EC key must be on the curve P-256");
	if (!jwk_curve_bytes(json, "x", point + 1, err, err_size) ||
	    !jwk_curve_bytes(json, "y", point + 1 + P256_BYTES, err, err_size))
		return false;
	if (purpose == AUTH_JWK_SIGN && !jwk_curve_bytes(json, "d", d, err, err_size))
		return false;

	build = OSSL_PARAM_BLD_new();
	MUST(build != NULL);
	MUST(OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0));
	MUST(OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
	                                      sizeof(point)));
	if (purpose == AUTH_JWK_SIGN) {
		number = BN_bin2bn(d, sizeof(d), NULL);
		MUST(number != NULL);
		MUST(OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, number));
		OPENSSL_cleanse(d, sizeof(d));
	}
	jwk->pkey = pkey_build("EC", build, purpose == AUTH_JWK_SIGN);
	OSSL_PARAM_BLD_free(build);
	BN_clear_free(number);
	return jwk->pkey != NULL || FAIL("not a valid point or key of P-256");
}

static bool jwk_parse_okp(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
                          char *err, size_t err_size)
{
	const char *curve = json_string_value(json_object_get(json, "crv"));
	uint8_t x[ED25519_BYTES], d[ED25519_BYTES], own[ED25519_BYTES];
	size_t len = sizeof(own);

	if (curve == NULL || strcmp(curve, "Ed25519") != 0)
		return FAIL("an OKP key must be on the curve Ed25519");
	if (!jwk_curve_bytes(json, "x", x, err, err_size))
		return false;
	if (purpose == AUTH_JWK_VERIFY) {
		jwk->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, sizeof(x));
		return jwk->pkey != NULL || FAIL("not a valid Ed25519 key");
	}
	if (!jwk_curve_bytes(json, "d", d, err, err_size))
		return false;
	jwk->pkey = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, d, sizeof(d));
	OPENSSL_cleanse(d, sizeof(d));
	if (jwk->pkey != NULL && EVP_PKEY_get_raw_public_key(jwk->pkey, own, &len) == 1 &&
	    len == sizeof(x) && memcmp(own, x, sizeof(x)) == 0)
		return true;
	EVP_PKEY_free(jwk->pkey);
	jwk->pkey = NULL;
	return FAIL("not a valid Ed25519 key: \"x\" does not belong to \"d\"");
}

/* The same for both purposes. */
static bool jwk_parse_oct(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
                          char *err, size_t err_size)
{
	size_t chars = json_string_length(json_object_get(json, "k")); /* 0 for no string */
	size_t room = AUTH_B64_BYTES(chars);
	bool ok;

	(void)purpose;
	jwk->secret = mem_alloc(room);
	ok = jwk_bytes(json, "k", jwk->secret, chars, &jwk->secret_len, err, err_size);
	if (ok && jwk->secret_len < OCT_MIN_BYTES)
		ok = FAIL("an oct key must have at least %d bytes, not %zu", OCT_MIN_BYTES,
		          jwk->secret_len);
	if (!ok) {
		auth_secret_free(jwk->secret, room);
		jwk->secret = NULL;
	}
	return ok;
}

/* RFC 7517 sections 4.2 and 4.3: what the key may be used for. */
static bool jwk_may(const json_t *json, enum auth_jwk_purpose purpose, char *err, size_t err_size)
{
	const char *wanted = purpose == AUTH_JWK_SIGN ? "sign" : "verify";
	const json_t *use = json_object_get(json, "use"), *ops = json_object_get(json, "key_ops");
	const json_t *op;
	size_t i;

	if (use != NULL && (!json_is_string(use) || strcmp(json_string_value(use), "sig") != 0))
		return FAIL("its \"use\" is not sig");
	if (ops == NULL)
		return true;
	json_array_foreach(ops, i, op) if (json_is_string(op) &&
	                                   strcmp(json_string_value(op), wanted) == 0) return true;
	return FAIL("its \"key_ops\" have no %s", wanted);
}

/* What a key type may be used with; the first is for a key that does not say. */
static const struct key_type {
	const char *kty;
	uint32_t alg, other; /* 0: no other */
	bool (*parse)(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
	              char *err, size_t err_size);
} key_types[] = {
	{"oct", CONF_ALG_HS256, 0, jwk_parse_oct},
	{"RSA", CONF_ALG_RS256, CONF_ALG_PS256, jwk_parse_rsa},
	{"EC", CONF_ALG_ES256, 0, jwk_parse_ec},
	{"OKP", CONF_ALG_EDDSA, 0, jwk_parse_okp},
};

static const struct key_type *key_type_find(const json_t *json)
{
	const char *kty = json_string_value(json_object_get(json, "kty"));

	for (size_t i = 0; kty != NULL && i < COUNT_OF(key_types); i++) {
		if (strcmp(key_types[i].kty, kty) == 0)
			return &key_types[i];
	}
	return NULL;
}

/* The one algorithm that the key is good for (RFC 8725 section 3.1), even where its type knows two;
 * 0 with err where `alg` says another. */
static uint32_t jwk_bind(const struct key_type *type, const json_t *json, char *err,
                         size_t err_size)
{
	const json_t *alg = json_object_get(json, "alg");
	uint32_t said;

	if (alg == NULL)
		return type->alg;
	said = json_is_string(alg) ? auth_alg_parse(json_string_value(alg)) : 0;
	if (said != 0 && (said == type->alg || said == type->other))
		return said;
	snprintf(err, err_size, "its \"alg\" is not %s%s%s", auth_alg_name(type->alg),
	         type->other ? " or " : "", type->other ? auth_alg_name(type->other) : "");
	return 0;
}

bool auth_jwk_parse(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
                    char *err, size_t err_size)
{
	const json_t *kid = json_object_get(json, "kid");
	const struct key_type *type = key_type_find(json);
	bool ok;

	memset(jwk, 0, sizeof(*jwk));
	if (!json_is_object(json))
		return FAIL("not an object");
	if (kid != NULL && !json_is_string(kid))
		return FAIL("its \"kid\" is not a string");
	if (type == NULL)
		return FAIL("its \"kty\" is none of oct, RSA, EC, OKP");
	jwk->alg = jwk_bind(type, json, err, err_size);
	if (jwk->alg == 0 || !jwk_may(json, purpose, err, err_size))
		return false;
	ok = type->parse(json, purpose, jwk, err, err_size);
	/* This thread may run TLS: an old error in OpenSSL's queue would be taken for its own. */
	ERR_clear_error();
	if (ok && kid != NULL)
		jwk->kid = mem_strdup(json_string_value(kid));
	return ok;
}

/* ---- PEM, and fresh keys ---------------------------------------------------------------- */

bool auth_jwk_parse_pem(const char *pem, size_t len, struct auth_jwk *jwk, char *err,
                        size_t err_size)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	EVP_PKEY *pkey;
	char curve[32] = "";
	char passphrase[] = ""; /* given, so that OpenSSL does not ask the terminal */

	memset(jwk, 0, sizeof(*jwk));
	MUST(bio != NULL);
	pkey = PEM_read_bio_PrivateKey(bio, NULL, NULL, passphrase);
	BIO_free(bio);
	ERR_clear_error();
	if (pkey == NULL)
		return FAIL("no private key in the PEM file, or one with a passphrase");
	if (EVP_PKEY_is_a(pkey, "RSA") && EVP_PKEY_get_bits(pkey) >= RSA_MIN_BITS &&
	    EVP_PKEY_get_bits(pkey) <= RSA_MAX_BITS)
		jwk->alg = CONF_ALG_RS256;
	else if (EVP_PKEY_is_a(pkey, "EC") &&
	         EVP_PKEY_get_group_name(pkey, curve, sizeof(curve), NULL) == 1 &&
	         strcmp(curve, "prime256v1") == 0)
		jwk->alg = CONF_ALG_ES256;
	else if (EVP_PKEY_is_a(pkey, "ED25519"))
		jwk->alg = CONF_ALG_EDDSA;
	if (jwk->alg == 0) {
		EVP_PKEY_free(pkey);
		return FAIL("a PEM key must be RSA with %d to %d bits, EC on P-256, or Ed25519",
		            RSA_MIN_BITS, RSA_MAX_BITS);
	}
	jwk->pkey = pkey;
	return true;
}

void auth_jwk_generate(uint32_t alg, struct auth_jwk *jwk)
{
	memset(jwk, 0, sizeof(*jwk));
	jwk->alg = alg;
	if (alg == CONF_ALG_HS256) {
		jwk->secret_len = OCT_MIN_BYTES;
		jwk->secret = mem_alloc(jwk->secret_len);
		random_bytes(jwk->secret, jwk->secret_len);
		return;
	}
	if (alg == CONF_ALG_ES256)
		jwk->pkey = EVP_EC_gen("P-256");
	else if (alg == CONF_ALG_EDDSA)
		jwk->pkey = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		jwk->pkey = EVP_RSA_gen(RSA_MIN_BITS);
	MUST(jwk->pkey != NULL);
}

/* ---- key to JSON, and to libjwt (mint.c) ------------------------------------------------ */

static void jwk_put_bytes(json_t *json, const char *member, const uint8_t *bytes, size_t len)
{
	char *text = auth_b64_encode(bytes, len);

	json_object_set_new(json, member, json_string(text));
	OPENSSL_cleanse(text, strlen(text));
	mem_free(text);
}

/* len 0: as many bytes as the number needs. */
static void jwk_put_number(json_t *json, const char *member, const EVP_PKEY *pkey,
                           const char *param, size_t len)
{
	uint8_t bytes[NUMBER_MAX_BYTES];
	BIGNUM *number = NULL;

	MUST(EVP_PKEY_get_bn_param(pkey, param, &number) == 1);
	if (len == 0)
		len = (size_t)BN_num_bytes(number);
	MUST(len <= sizeof(bytes) && BN_bn2binpad(number, bytes, (int)len) == (int)len);
	jwk_put_bytes(json, member, bytes, len);
	OPENSSL_cleanse(bytes, len);
	BN_clear_free(number);
}

static void jwk_put_rsa(json_t *json, const EVP_PKEY *pkey, bool with_private)
{
	size_t n = with_private ? COUNT_OF(rsa_numbers) : RSA_PUBLIC_NUMBERS;

	for (size_t i = 0; i < n; i++)
		jwk_put_number(json, rsa_numbers[i].member, pkey, rsa_numbers[i].param, 0);
}

static void jwk_put_ec(json_t *json, const EVP_PKEY *pkey, bool with_private)
{
	json_object_set_new(json, "crv", json_string("P-256"));
	jwk_put_number(json, "x", pkey, OSSL_PKEY_PARAM_EC_PUB_X, P256_BYTES);
	jwk_put_number(json, "y", pkey, OSSL_PKEY_PARAM_EC_PUB_Y, P256_BYTES);
	if (with_private)
		jwk_put_number(json, "d", pkey, OSSL_PKEY_PARAM_PRIV_KEY, P256_BYTES);
}

static void jwk_put_okp(json_t *json, const EVP_PKEY *pkey, bool with_private)
{
	uint8_t bytes[ED25519_BYTES];
	size_t len = sizeof(bytes);

	json_object_set_new(json, "crv", json_string("Ed25519"));
	MUST(EVP_PKEY_get_raw_public_key(pkey, bytes, &len) == 1);
	jwk_put_bytes(json, "x", bytes, len);
	if (!with_private)
		return;
	len = sizeof(bytes);
	MUST(EVP_PKEY_get_raw_private_key(pkey, bytes, &len) == 1);
	jwk_put_bytes(json, "d", bytes, len);
	OPENSSL_cleanse(bytes, sizeof(bytes));
}

static const char *jwk_kty(const struct auth_jwk *jwk)
{
	for (size_t i = 0; i < COUNT_OF(key_types); i++) {
		if (key_types[i].alg == jwk->alg || key_types[i].other == jwk->alg)
			return key_types[i].kty;
	}
	MUST_NOT_REACH();
}

json_t *auth_jwk_json(const struct auth_jwk *jwk, enum auth_jwk_purpose purpose)
{
	bool with_private = purpose == AUTH_JWK_SIGN;
	json_t *json = json_object();

	MUST(json != NULL);
	json_object_set_new(json, "kty", json_string(jwk_kty(jwk)));
	if (jwk->kid != NULL)
		json_object_set_new(json, "kid", json_string(jwk->kid));
	json_object_set_new(json, "use", json_string("sig"));
	json_object_set_new(json, "alg", json_string(auth_alg_name(jwk->alg)));
	if (jwk->alg == CONF_ALG_HS256)
		jwk_put_bytes(json, "k", jwk->secret, jwk->secret_len);
	else if (jwk->alg == CONF_ALG_ES256)
		jwk_put_ec(json, jwk->pkey, with_private);
	else if (jwk->alg == CONF_ALG_EDDSA)
		jwk_put_okp(json, jwk->pkey, with_private);
	else
		jwk_put_rsa(json, jwk->pkey, with_private);
	return json;
}

uint8_t *auth_jwk_material(const struct auth_jwk *jwk, enum auth_jwk_purpose purpose, size_t *len)
{
	BIO *bio;
	uint8_t *material;
	char *pem;
	long n;

	if (jwk->secret != NULL) {
		*len = jwk->secret_len;
		return mem_dup(jwk->secret, jwk->secret_len);
	}
	bio = BIO_new(BIO_s_secmem());
	MUST(bio != NULL);
	if (purpose == AUTH_JWK_SIGN)
		MUST(PEM_write_bio_PrivateKey(bio, jwk->pkey, NULL, NULL, 0, NULL, NULL) == 1);
	else
		MUST(PEM_write_bio_PUBKEY(bio, jwk->pkey) == 1);
	n = BIO_get_mem_data(bio, &pem);
	MUST(n > 0);
	material = mem_dup(pem, (size_t)n);
	*len = (size_t)n;
	BIO_free(bio);
	return material;
}

void auth_secret_free(void *p, size_t len)
{
	if (p != NULL)
		OPENSSL_cleanse(p, len);
	mem_free(p);
}

void auth_jwk_fini(struct auth_jwk *jwk)
{
	auth_secret_free(jwk->secret, jwk->secret_len);
	EVP_PKEY_free(jwk->pkey);
	MEM_FREE(&jwk->kid);
	memset(jwk, 0, sizeof(*jwk));
}
