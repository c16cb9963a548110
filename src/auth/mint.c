/* Making tokens and keys, for development and tests (`pgusher token`). Blocking, not for a
 * worker's thread. Key files may be a JWK, a JWK set, or PEM. What is minted here passes
 * auth_verify under the same names of claims, unless extra claims say otherwise. */
#include <jwt.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#define KID_RANDOM_BYTES 8
#define JTI_RANDOM_BYTES 16

/* ---- key files -------------------------------------------------------------------------- */

static bool key_has_kid(const json_t *json, const char *kid)
{
	const char *own = json_string_value(json_object_get(json, "kid"));

	return kid == NULL || (own != NULL && strcmp(own, kid) == 0);
}

/* The first private key of the set with this kid (NULL: any); "kid" of a key without one is
 * what the caller said, only where the file holds that one key. */
static bool set_pick(const json_t *array, const char *kid, struct auth_jwk *jwk, char *err,
                     size_t err_size)
{
	bool alone = json_array_size(array) == 1;
	const json_t *one;
	size_t i;

	snprintf(err, err_size, "no key with that kid");
	json_array_foreach(array, i, one)
	{
		bool nameless = alone && json_object_get(one, "kid") == NULL;

		if (!nameless && !key_has_kid(one, kid))
			continue;
		if (!auth_jwk_parse(one, AUTH_JWK_SIGN, jwk, err, err_size))
			continue;
		if (jwk->kid == NULL && kid != NULL)
			jwk->kid = mem_strdup(kid);
		return true;
	}
	return false;
}

static bool text_is_pem(const char *text)
{
	return strstr(text, "-----BEGIN ") != NULL;
}

static bool parse_pem_as(const char *text, size_t len, const char *kid, struct auth_jwk *jwk,
                         char *err, size_t err_size)
{
	if (!auth_jwk_parse_pem(text, len, jwk, err, err_size))
		return false;
	if (kid != NULL)
		jwk->kid = mem_strdup(kid);
	return true;
}

static bool text_pick(const char *text, size_t len, const char *kid, struct auth_jwk *jwk,
                      char *err, size_t err_size)
{
	json_t *array;
	bool ok;

	if (text_is_pem(text))
		return parse_pem_as(text, len, kid, jwk, err, err_size);
	array = auth_jwks_parse_json(text, len, err, err_size);
	if (array == NULL)
		return false;
	ok = set_pick(array, kid, jwk, err, err_size);
	json_decref(array);
	return ok;
}

static bool key_load(const char *path, const char *kid, struct auth_jwk *jwk, char *err,
                     size_t err_size)
{
	char why[160], *text;
	size_t len;
	bool ok;

	text = auth_jwks_read_file(path, &len, err, err_size);
	if (text == NULL)
		return false;
	ok = text_pick(text, len, kid, jwk, why, sizeof(why));
	if (!ok)
		snprintf(err, err_size, "%s: %s", path, why);
	auth_secret_free(text, len);
	return ok;
}

/* ---- claims ----------------------------------------------------------------------------- */

static void put_string(json_t *claims, const char *name, const char *value)
{
	if (value != NULL)
		json_object_set_new(claims, name, json_string(value));
}

static void put_roles(json_t *claims, const char *name, const char *const *roles)
{
	json_t *array;

	if (roles == NULL || roles[0] == NULL)
		return;
	if (roles[1] == NULL) {
		put_string(claims, name, roles[0]);
		return;
	}
	array = json_array();
	for (size_t i = 0; roles[i] != NULL; i++)
		json_array_append_new(array, json_string(roles[i]));
	json_object_set_new(claims, name, array);
}

/* "name=value". */
static bool put_extra(json_t *claims, const char *extra, char *err, size_t err_size)
{
	const char *eq = strchr(extra, '=');
	json_t *value;
	char *name;
	int rc;

	if (eq == NULL || eq == extra) {
		snprintf(err, err_size, "claim \"%.64s\": not of the form name=value", extra);
		return false;
	}
	value = json_loads(eq + 1, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, NULL);
	if (value == NULL)
		value = json_string(eq + 1);
	name = mem_strndup(extra, (size_t)(eq - extra));
	rc = json_object_set_new(claims, name, value);
	if (rc != 0)
		snprintf(err, err_size, "claim \"%.64s\": not UTF-8", name);
	mem_free(name);
	return rc == 0;
}

static json_t *mint_claims(const struct auth_mint *mint, char *err, size_t err_size)
{
	uint8_t unique[JTI_RANDOM_BYTES];
	char *jti;
	json_t *claims;

	if (mint->tenant != NULL && !auth_is_tenant(mint->tenant, strlen(mint->tenant))) {
		snprintf(err, err_size,
		         "tenant \"%.32s\": not 1 to 19 digits without leading zero, or above "
		         "9223372036854775807",
		         mint->tenant);
		return NULL;
	}
	claims = json_object();
	MUST(claims != NULL);
	random_bytes(unique, sizeof(unique));
	jti = auth_b64_encode(unique, sizeof(unique));
	put_string(claims, "jti", jti);
	mem_free(jti);
	json_object_set_new(claims, "iat", json_integer(mint->now_s));
	json_object_set_new(claims, "exp", json_integer(mint->now_s + mint->ttl_s));
	put_string(claims, "iss", mint->issuer);
	put_string(claims, "aud", mint->audience);
	put_string(claims, mint->tenant_claim, mint->tenant);
	put_roles(claims, mint->role_claim, mint->roles);
	for (size_t i = 0; mint->claims != NULL && mint->claims[i] != NULL; i++) {
		if (!put_extra(claims, mint->claims[i], err, err_size)) {
			json_decref(claims);
			return NULL;
		}
	}
	return claims;
}

/* ---- signing ---------------------------------------------------------------------------- */

/* What libjwt has in every version that we meet. */
static char *mint_by_libjwt(const struct auth_jwk *jwk, const json_t *claims)
{
	static const jwt_alg_t algs[] = {[CONF_ALG_HS256] = JWT_ALG_HS256,
	                                 [CONF_ALG_RS256] = JWT_ALG_RS256,
	                                 [CONF_ALG_ES256] = JWT_ALG_ES256};
	char *text = json_dumps(claims, JSON_COMPACT), *token = NULL, *copy = NULL;
	size_t len;
	uint8_t *material = auth_jwk_material(jwk, AUTH_JWK_SIGN, &len);
	jwt_t *jwt = NULL;

	MUST(text != NULL && jwt_new(&jwt) == 0);
	if (jwt_add_grants_json(jwt, text) == 0 &&
	    (jwk->kid == NULL || jwt_add_header(jwt, "kid", jwk->kid) == 0) &&
	    jwt_set_alg(jwt, algs[jwk->alg], material, (int)len) == 0)
		token = jwt_encode_str(jwt);
	if (token != NULL)
		copy = mem_strdup(token);
	/* libjwt allocates with malloc unless told otherwise, and 1.10 has no function to free. */
	free(token);
	free(text);
	jwt_free(jwt);
	auth_secret_free(material, len);
	ERR_clear_error();
	return copy;
}

/* The JSON's base64url behind what is there. */
static void put_part(struct buf *out, const json_t *json)
{
	char *text = json_dumps(json, JSON_COMPACT), *part;

	MUST(text != NULL);
	part = auth_b64_encode(text, strlen(text));
	buf_put(out, part, strlen(part));
	mem_free(part);
	free(text);
}

/* What libjwt 1.10 (Debian 12) lacks: PS256 and EdDSA. */
static char *mint_by_openssl(const struct auth_jwk *jwk, const json_t *claims)
{
	json_t *header = json_object();
	uint8_t sig[AUTH_SIGNATURE_MAX];
	struct buf out = {0};
	size_t len;
	char *part;

	put_string(header, "alg", auth_alg_name(jwk->alg));
	put_string(header, "typ", "JWT");
	put_string(header, "kid", jwk->kid);
	put_part(&out, header);
	json_decref(header);
	buf_put_u8(&out, '.');
	put_part(&out, claims);
	len = auth_crypto_sign(jwk, (const char *)out.data, out.len, sig);
	if (len == 0) {
		buf_fini(&out);
		return NULL;
	}
	buf_put_u8(&out, '.');
	part = auth_b64_encode(sig, len);
	buf_put_cstr(&out, part);
	mem_free(part);
	return (char *)out.data;
}

static char *mint_sign(const struct auth_jwk *jwk, const json_t *claims)
{
	if (jwk->alg == CONF_ALG_PS256 || jwk->alg == CONF_ALG_EDDSA)
		return mint_by_openssl(jwk, claims);
	return mint_by_libjwt(jwk, claims);
}

char *auth_mint(const struct auth_mint *mint, char *err, size_t err_size)
{
	struct auth_jwk jwk;
	char *token = NULL;
	json_t *claims;

	if (!key_load(mint->key_file, mint->kid, &jwk, err, err_size))
		return NULL;
	if (mint->alg != NULL && auth_alg_parse(mint->alg) != jwk.alg) {
		snprintf(err, err_size, "%s: the key is for %s, not %.16s", mint->key_file,
		         auth_alg_name(jwk.alg), mint->alg);
		auth_jwk_fini(&jwk);
		return NULL;
	}
	claims = mint_claims(mint, err, err_size);
	if (claims != NULL) {
		token = mint_sign(&jwk, claims);
		if (token == NULL)
			snprintf(err, err_size, "%s: the key could not sign", mint->key_file);
	}
	if (token != NULL && strlen(token) > AUTH_TOKEN_MAX) {
		snprintf(err, err_size, "the token would have %zu bytes, more than %d",
		         strlen(token), AUTH_TOKEN_MAX);
		MEM_FREE(&token);
	}
	json_decref(claims);
	auth_jwk_fini(&jwk);
	return token;
}

/* ---- keys ------------------------------------------------------------------------------- */

/* As one of ours to be freed with mem_free. */
static char *json_text(json_t *json)
{
	char *dump = json_dumps(json, JSON_INDENT(2)), *text;

	MUST(dump != NULL);
	text = mem_strdup(dump);
	OPENSSL_cleanse(dump, strlen(dump));
	free(dump);
	json_decref(json);
	return text;
}

char *auth_key_new(const char *alg, const char *kid, char *err, size_t err_size)
{
	char fresh[2 * KID_RANDOM_BYTES + 1], *text;
	uint32_t bit = auth_alg_parse(alg);
	struct auth_jwk jwk;

	if (bit == 0) {
		snprintf(err, err_size,
		         "algorithm \"%.16s\": not HS256, RS256, ES256, PS256 or EdDSA", alg);
		return NULL;
	}
	random_hex(fresh, KID_RANDOM_BYTES);
	auth_jwk_generate(bit, &jwk);
	jwk.kid = mem_strdup(kid != NULL ? kid : fresh);
	text = json_text(auth_jwk_json(&jwk, AUTH_JWK_SIGN));
	auth_jwk_fini(&jwk);
	return text;
}

static json_t *public_of_pem(const char *text, size_t len, const char *kid, char *err,
                             size_t err_size)
{
	json_t *keys = json_array();
	struct auth_jwk jwk;

	if (!parse_pem_as(text, len, kid, &jwk, err, err_size)) {
		json_decref(keys);
		return NULL;
	}
	json_array_append_new(keys, auth_jwk_json(&jwk, AUTH_JWK_VERIFY));
	auth_jwk_fini(&jwk);
	return keys;
}

static json_t *public_of_json(const char *text, size_t len, const char *kid, char *err,
                              size_t err_size)
{
	json_t *array = auth_jwks_parse_json(text, len, err, err_size), *keys;
	const json_t *one;
	struct auth_jwk jwk;
	size_t i;

	if (array == NULL)
		return NULL;
	keys = json_array();
	snprintf(err, err_size, "no such RSA, EC or OKP key");
	json_array_foreach(array, i, one)
	{
		if (!key_has_kid(one, kid) ||
		    !auth_jwk_parse(one, AUTH_JWK_VERIFY, &jwk, err, err_size))
			continue;
		if (jwk.pkey != NULL)
			json_array_append_new(keys, auth_jwk_json(&jwk, AUTH_JWK_VERIFY));
		else
			snprintf(err, err_size,
			         "an oct key is secret on both sides; "
			         "use the key file itself as jwks_file");
		auth_jwk_fini(&jwk);
	}
	json_decref(array);
	if (json_array_size(keys) == 0) {
		json_decref(keys);
		keys = NULL;
	}
	return keys;
}

char *auth_key_public(const char *key_file, const char *kid, char *err, size_t err_size)
{
	char why[160], *text;
	json_t *keys, *set;
	size_t len;

	text = auth_jwks_read_file(key_file, &len, err, err_size);
	if (text == NULL)
		return NULL;
	if (text_is_pem(text))
		keys = public_of_pem(text, len, kid, why, sizeof(why));
	else
		keys = public_of_json(text, len, kid, why, sizeof(why));
	auth_secret_free(text, len);
	if (keys == NULL) {
		snprintf(err, err_size, "%s: %s", key_file, why);
		return NULL;
	}
	set = json_object();
	MUST(set != NULL && json_object_set_new(set, "keys", keys) == 0);
	return json_text(set);
}
