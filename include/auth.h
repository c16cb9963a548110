/* A token to a verdict: JSON Web Tokens (RFC 7519, 7515, 7517, 7518, 8037), verified under keys
 * that are bound beforehand to their algorithm and their issuer. No I/O but reading key files. */
#ifndef PGUSHER_AUTH_H
#define PGUSHER_AUTH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"

struct auth_directory; /* auth_directory.h */

#define AUTH_TOKEN_MAX 16384 /* bytes; a longer password packet is refused */
#define AUTH_TENANT_MAX 20   /* 19 digits and a NUL */

/* AUTH_REASON(NAME, "label", "text for the client") */
#define AUTH_REASONS(AUTH_REASON)                                                                  \
	AUTH_REASON(OK, "ok", "accepted")                                                          \
	AUTH_REASON(MALFORMED, "malformed", "the token (password) is not a well-formed JWT")       \
	AUTH_REASON(NO_EXP, "no_exp", "the token has no expiry (exp)")                             \
	AUTH_REASON(EXPIRED, "expired", "the token has expired")                                   \
	AUTH_REASON(NOT_YET_VALID, "not_yet_valid", "the token is not yet valid")                  \
	AUTH_REASON(ISSUER, "issuer", "the token has the wrong issuer")                            \
	AUTH_REASON(AUDIENCE, "audience", "the token has the wrong audience")                      \
	AUTH_REASON(UNKNOWN_KEY, "unknown_key", "the token is signed with an unknown key")         \
	AUTH_REASON(SIGNATURE, "signature", "the token has a bad signature")                       \
	AUTH_REASON(ALGORITHM, "algorithm", "the token's algorithm is not allowed")                \
	AUTH_REASON(NO_KEYS, "no_keys", "no keys are loaded yet to check the token with")          \
	AUTH_REASON(TLS_REQUIRED, "tls_required",                                                  \
	            "a token of this issuer must come over TLS: connect with sslmode=require")     \
	AUTH_REASON(WISH, "wish", "the token's claim consistency or max_lag has no valid value")   \
	AUTH_REASON(NO_TENANT, "no_tenant", "the token names no valid tenant")                     \
	AUTH_REASON(ROLE, "role", "the token does not allow this role")                            \
	AUTH_REASON(REVOKED, "revoked", "the token has been revoked")                              \
	AUTH_REASON(NOT_ACTIVE, "not_active", "the tenant is not active")                          \
	AUTH_REASON(NO_DIRECTORY, "no_directory",                                                  \
	            "the tenant directory is not loaded yet: try again")

enum auth_reason {
#define AUTH_REASON(name, label, text) AUTH_##name,
	AUTH_REASONS(AUTH_REASON)
#undef AUTH_REASON
};
const char *auth_reason_label(enum auth_reason r);
const char *auth_reason_text(enum auth_reason r);

/* ---- one key set: immutable, counted, shared between threads ---------------------------- */

#define AUTH_KEY_FILE_MAX (1u << 20) /* bytes; a JWK set of a thousand keys has less */

struct auth_jwks;
/* Reads a JWK set (oct, RSA, EC P-256, OKP Ed25519) from a file or from memory. Each key is bound
 * to the one algorithm that its type, and its `alg` if present, allow. NULL with the reason in
 * err. */
struct auth_jwks *auth_jwks_load(const char *path, char *err, size_t err_size);
struct auth_jwks *auth_jwks_parse(const char *json, size_t len, char *err, size_t err_size);
struct auth_jwks *auth_jwks_get(struct auth_jwks *jwks);
/* NULL is fine. */
void auth_jwks_put(struct auth_jwks **jwks);
size_t auth_jwks_count(const struct auth_jwks *jwks);
/* Its source was read again and says the same: it is as good as new. From one thread only. */
void auth_jwks_touch(struct auth_jwks *jwks);

/* ---- the keys of every issuer: immutable, counted, shared between threads ---------------- */

struct conf;
struct auth_keys;
/* Of each [jwt] section of conf (of which a reference is taken) the keys from its file and from its
 * URL, each NULL where there are none; references are taken. Where both have a key with the same
 * kid, the file's counts, and the log says so. */
struct auth_keys *auth_keys_new(struct conf *conf, struct auth_jwks *const *files,
                                struct auth_jwks *const *urls);
struct auth_keys *auth_keys_get(struct auth_keys *keys);
void auth_keys_put(struct auth_keys **keys);
size_t auth_keys_count(const struct auth_keys *keys);
/* How many issuers have no key at all; 0: ready. */
size_t auth_keys_missing(const struct auth_keys *keys);
/* Every issuer wants TLS, so that nobody need be asked for a token without it. */
bool auth_keys_require_tls(const struct auth_keys *keys);

/* One key, for SHOW KEYS; valid during the visit only. */
struct auth_key_info {
	const char *section; /* the name in [jwt NAME]; "" */
	const char *issuer;  /* "": any that no other section claims */
	const char *kid;     /* "": none */
	const char *alg;     /* the only one that it is good for */
	const char *use;     /* "sig" */
	const char *source;  /* the file's path, or the URL */
	int64_t age_s;       /* since its source was last read without fault */
	bool is_shadowed;    /* the file has another key with its kid */
};
typedef void auth_key_visit_fn(void *arg, const struct auth_key_info *info);
void auth_keys_each(const struct auth_keys *keys, auth_key_visit_fn *visit, void *arg);

/* ---- verification -------------------------------------------------------------------- */

/* What a verified token says. Belongs to one thread; counted. */
struct auth_ticket {
	uint32_t magic;
	uint32_t refs;
	int64_t exp_s;                /* seconds since 1970, leeway not added; exp is required */
	int64_t nbf_s;                /* the same for nbf; 0 where there is none */
	int64_t leeway_s;             /* its section's */
	bool requires_tls;            /* its section's require_tls */
	char tenant[AUTH_TENANT_MAX]; /* canonical decimal digits; "" where there is none */
	char jti[64];                 /* "" where there is none; cut when longer */
	char *roles;                  /* the role claim's names, each with its NUL, then a NUL */
	/* The claims consistency and max_lag: its sessions' defaults. */
	bool has_consistency, has_max_lag;
	enum conf_consistency consistency;
	int64_t max_lag_us;
};
struct auth_ticket *auth_ticket_get(struct auth_ticket *t);
void auth_ticket_put(struct auth_ticket **t);
bool auth_ticket_allows_role(const struct auth_ticket *t, const char *role);

/* A tenant id as a token may carry it: 1 to 19 ASCII digits, no leading zero, within bigint. */
bool auth_is_tenant(const char *s, size_t len);

/* Verified tokens by SHA-256 digest, until they expire or keys or configuration change; one a
 * thread, bounded, least recently used out first. Refusals are not remembered. */
struct auth_cache;
struct auth_cache *auth_cache_new(size_t max_entries);
void auth_cache_free(struct auth_cache **cache);
/* After a change of keys or configuration. */
void auth_cache_clear(struct auth_cache *cache);

struct auth_cache_stats {
	uint64_t hits, misses;
	uint64_t signature_checks; /* tokens whose signature was looked at */
	uint64_t evicted;          /* pushed out by newer ones */
	size_t entries;
};
void auth_cache_stats(const struct auth_cache *cache, struct auth_cache_stats *out);

/* Token ids (jti) that are good no more, until the tokens have expired; one set a thread. */
struct auth_revoked;
struct auth_revoked *auth_revoked_new(size_t max_entries);
void auth_revoked_free(struct auth_revoked **revoked);
/* exp_s: when the token expires; 0: not known yet, so it is kept until the token is seen again. An
 * id is as long as auth_ticket.jti at most. False: there is no room for it. */
bool auth_revoked_add(struct auth_revoked *revoked, const char *jti, int64_t exp_s, int64_t now_s);
bool auth_revoked_has(struct auth_revoked *revoked, const struct auth_ticket *t);
size_t auth_revoked_count(const struct auth_revoked *revoked);

struct auth_request {
	const struct auth_keys *keys;
	const char *token; /* not NUL-terminated */
	size_t len;
	const char *role;     /* the startup user name */
	bool tenant_required; /* the [role] section's tenant = required */
	bool is_exposed;      /* it came in plain text from another machine */
	int64_t now_s;
	struct auth_revoked *revoked; /* NULL: none is */
	bool needs_directory;         /* where a tenant is required, it must be in this: */
	const struct auth_directory *directory; /* NULL: not loaded yet */
};
/* AUTH_OK with *ticket set to a reference of the caller's, or why not, with *ticket NULL.
 * cache may be NULL: then every call checks the signature. */
enum auth_reason auth_verify(struct auth_cache *cache, const struct auth_request *req,
                             struct auth_ticket **ticket);
/* After AUTH_UNKNOWN_KEY or AUTH_NO_KEYS: the index in conf's jwts of the token's section, if that
 * has a jwks_url, which may have the key by now; else -1. */
int auth_refetch(const struct auth_request *req, enum auth_reason reason);

/* True when auth_verify would need no signature check: costs a digest. */
bool auth_is_cached(const struct auth_cache *cache, const struct auth_request *req);

/* ---- minting (pgusher token), blocking, not on a worker's thread ------------------------ */

struct auth_mint {
	const char *key_file;      /* a JWK, a JWK set, or PEM (RSA, EC or Ed25519 private key) */
	const char *kid;           /* which key of a set, and the header's kid; NULL: the first */
	const char *alg;           /* NULL: by the key's type */
	const char *tenant;        /* NULL: no tenant claim */
	const char *const *roles;  /* NULL-terminated; one gives a string, several an array */
	const char *const *claims; /* "name=value", NULL-terminated; value is JSON, else a string;
	                              they replace what the other fields gave */
	const char *issuer, *audience; /* NULL: none */
	const char *tenant_claim, *role_claim;
	int64_t now_s, ttl_s;
};
/* The signed token, to be freed with mem_free; NULL with the reason in err. */
char *auth_mint(const struct auth_mint *mint, char *err, size_t err_size);
/* A fresh private key for alg as a JWK; kid NULL: a random one. To be freed with mem_free; NULL
 * with the reason in err. */
char *auth_key_new(const char *alg, const char *kid, char *err, size_t err_size);
/* The public JWK set of a key file (as auth_mint's) but for oct keys; kid, where not NULL, names a
 * PEM key, and of a set the one key to print. As above. An oct key has no public form. */
char *auth_key_public(const char *key_file, const char *kid, char *err, size_t err_size);

#endif
