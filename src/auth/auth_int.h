/* What the files of the auth module share: keys, base64url, the steps of a verification. */
#ifndef PGUSHER_AUTH_INT_H
#define PGUSHER_AUTH_INT_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdatomic.h>

#include "auth.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "conf.h"

#define AUTH_KEYS_MAX 256 /* keys of one set */

/* ---- alg.c: the algorithms -------------------------------------------------------------- */

/* "RS256" to CONF_ALG_RS256, exactly spelled; 0 for anything else. */
uint32_t auth_alg_parse(const char *name);
const char *auth_alg_name(uint32_t alg);

/* ---- b64.c: base64url without padding (RFC 7515 section 2), strict ---------------------- */

/* Bytes that len characters can decode to. */
#define AUTH_B64_BYTES(len) ((len) / 4 * 3 + 2)
/* False for a foreign character, an impossible length, or unused bits that are not zero: one
 * byte string has one spelling. out holds AUTH_B64_BYTES(len). */
bool auth_b64_decode(const char *in, size_t len, uint8_t *out, size_t *out_len);
/* To be freed with mem_free. */
char *auth_b64_encode(const void *in, size_t len);

/* ---- jwk.c: one JSON Web Key (RFC 7517, RFC 7518 section 6) ----------------------------- */

/* Either secret (oct) or pkey (RSA, EC, OKP) is set. */
struct auth_jwk {
	char *kid;    /* NULL: none */
	uint32_t alg; /* one bit of enum conf_alg: a key is good for one algorithm only */
	uint8_t *secret;
	size_t secret_len;
	EVP_PKEY *pkey;
};

enum auth_jwk_purpose { AUTH_JWK_VERIFY, AUTH_JWK_SIGN };

/* False with the reason in err, and nothing to free. For AUTH_JWK_VERIFY private members are
 * not looked at; for AUTH_JWK_SIGN they must be there. */
bool auth_jwk_parse(const json_t *json, enum auth_jwk_purpose purpose, struct auth_jwk *jwk,
                    char *err, size_t err_size);
/* A private key in PEM. */
bool auth_jwk_parse_pem(const char *pem, size_t len, struct auth_jwk *jwk, char *err,
                        size_t err_size);
/* A fresh one; alg is one bit of enum conf_alg. */
void auth_jwk_generate(uint32_t alg, struct auth_jwk *jwk);
/* A new reference: the key as a JWK. */
json_t *auth_jwk_json(const struct auth_jwk *jwk, enum auth_jwk_purpose purpose);
/* What libjwt wants to sign: the secret's bytes, or PEM. To be freed with auth_secret_free. */
uint8_t *auth_jwk_material(const struct auth_jwk *jwk, enum auth_jwk_purpose purpose, size_t *len);
/* mem_free that wipes first. */
void auth_secret_free(void *p, size_t len);
void auth_jwk_fini(struct auth_jwk *jwk);

/* ---- crypto.c: signatures (RFC 7518 section 3, RFC 8037 section 3.1) --------------------- */

/* By the key's own algorithm. */
bool auth_crypto_verify(const struct auth_jwk *jwk, const char *text, size_t len,
                        const uint8_t *sig, size_t sig_len);
#define AUTH_SIGNATURE_MAX 1024 /* bytes: RSA with 8192 bits */
/* The length, 0 when the key cannot sign; sig holds AUTH_SIGNATURE_MAX bytes. */
size_t auth_crypto_sign(const struct auth_jwk *jwk, const char *text, size_t len, uint8_t *sig);

/* ---- jwks.c, keys.c --------------------------------------------------------------------- */

struct auth_jwks {
	uint32_t magic;
	atomic_uint refs;
	_Atomic int64_t read_us; /* on the clock that never goes back */
	struct auth_jwk *keys;
	size_t n_keys;
};

/* A [jwt] section and its keys. */
struct auth_issuer {
	const struct conf_jwt *conf;
	struct auth_jwks *file, *url; /* each may be NULL */
};

struct auth_keys {
	uint32_t magic;
	atomic_uint refs;
	struct conf *conf; /* keeps the sections; NULL: somebody else does */
	struct auth_issuer *issuers;
	size_t n_issuers;
};

/* As auth_keys_new, of sections that outlive it. */
struct auth_keys *auth_keys_of(const struct conf_jwt *sections, size_t n,
                               struct auth_jwks *const *files, struct auth_jwks *const *urls);
/* The section for a token with these claims, unverified so far: the one with its iss, else the one
 * without an issuer, else NULL. */
const struct auth_issuer *auth_keys_issuer(const struct auth_keys *keys, const json_t *claims);
/* The issuer's key for a token with this kid (NULL: none) and alg: AUTH_OK, AUTH_NO_KEYS,
 * AUTH_UNKNOWN_KEY, or AUTH_ALGORITHM for a key of another type. */
enum auth_reason auth_issuer_choose(const struct auth_issuer *issuer, const char *kid, uint32_t alg,
                                    const struct auth_jwk **key);
/* NULL: none with this kid. */
const struct auth_jwk *auth_jwks_find(const struct auth_jwks *jwks, const char *kid);
/* The whole file, NUL-terminated, at most AUTH_KEY_FILE_MAX bytes. To be freed with
 * auth_secret_free; NULL with the reason in err. */
char *auth_jwks_read_file(const char *path, size_t *len, char *err, size_t err_size);
/* The JWKs of a parsed key file: a set's array, or a new array of one JWK. A new reference;
 * NULL with the reason in err. */
json_t *auth_jwks_parse_json(const char *text, size_t len, char *err, size_t err_size);

/* ---- signature.c, claims.c, ticket.c: the steps ----------------------------------------- */

/* A token that has been read as far as its signature. */
struct auth_verdict {
	const struct auth_issuer *issuer; /* NULL: none was found */
	json_t *claims;                   /* the caller's reference; only on AUTH_OK */
	bool is_checked;                  /* the signature was looked at */
};
/* Everything up to and including the signature, for at most AUTH_TOKEN_MAX bytes; on AUTH_OK the
 * claims are the payload, an object. */
enum auth_reason auth_signature_verify(const struct auth_request *req, struct auth_verdict *out);
/* The claims that do not depend on who asks when: AUTH_OK with a new ticket, or why not. */
enum auth_reason auth_claims_check(const json_t *claims, const struct conf_jwt *conf,
                                   struct auth_ticket **ticket);
/* A new one with one reference, to be filled by claims.c. */
struct auth_ticket *auth_ticket_new(void);

/* ---- cache.c ---------------------------------------------------------------------------- */

struct auth_cache {
	uint32_t magic;
	size_t max_entries;
	struct map by_digest;
	struct list lru; /* most recently used in front */
	/* What the entries were verified under; another pointer empties the cache. */
	struct auth_keys *keys;
	struct auth_cache_stats stats;
};

/* Borrowed, and now the most recently used; NULL when there is none. */
struct auth_ticket *auth_cache_find(struct auth_cache *cache, const struct auth_request *req,
                                    const uint8_t digest[SHA256_BYTES]);
/* Takes a reference of its own. */
void auth_cache_insert(struct auth_cache *cache, const uint8_t digest[SHA256_BYTES],
                       struct auth_ticket *ticket);
void auth_cache_remove(struct auth_cache *cache, const uint8_t digest[SHA256_BYTES]);

#endif
