/* The keys of every issuer, each under its [jwt] section: which section a token belongs to, and
 * which key of that section is to verify it. The token's iss is looked at before anything is
 * verified, only to choose; the keys then tried are that section's alone, so a key of one issuer
 * never vouches for another's token, whatever kid it names. Immutable once built, counted, shared
 * between threads. */
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define KEYS_MAGIC 0xa07ce7a5u

static const char *source_name(const struct auth_issuer *issuer, const struct auth_jwks *jwks)
{
	return jwks == issuer->file ? issuer->conf->jwks_file : issuer->conf->jwks_url;
}

/* ---- life -------------------------------------------------------------------------------- */

static bool is_shadowed(const struct auth_issuer *issuer, const struct auth_jwks *jwks,
                        const struct auth_jwk *jwk)
{
	const struct auth_jwk *first;

	if (jwks == issuer->file || issuer->file == NULL || jwk->kid == NULL)
		return false;
	first = auth_jwks_find(issuer->file, jwk->kid);
	return first != NULL && (first->pkey == NULL || jwk->pkey == NULL ||
	                         EVP_PKEY_eq(first->pkey, jwk->pkey) != 1);
}

static void warn_shadowed(const struct auth_issuer *issuer)
{
	for (size_t i = 0; issuer->url != NULL && i < issuer->url->n_keys; i++) {
		const struct auth_jwk *jwk = &issuer->url->keys[i];

		if (is_shadowed(issuer, issuer->url, jwk))
			log_warning(
				"two keys with kid \"%.64s\": that of %s counts, not that of %s",
				jwk->kid, issuer->conf->jwks_file, issuer->conf->jwks_url);
	}
}

struct auth_keys *auth_keys_of(const struct conf_jwt *sections, size_t n,
                               struct auth_jwks *const *files, struct auth_jwks *const *urls)
{
	struct auth_keys *keys = mem_zalloc(sizeof(*keys));

	OBJ_INIT(keys, KEYS_MAGIC);
	atomic_init(&keys->refs, 1);
	keys->issuers = mem_zalloc(n * sizeof(keys->issuers[0]));
	keys->n_issuers = n;
	for (size_t i = 0; i < n; i++) {
		keys->issuers[i].conf = &sections[i];
		keys->issuers[i].file = files[i] != NULL ? auth_jwks_get(files[i]) : NULL;
		keys->issuers[i].url = urls[i] != NULL ? auth_jwks_get(urls[i]) : NULL;
		warn_shadowed(&keys->issuers[i]);
	}
	return keys;
}

struct auth_keys *auth_keys_new(struct conf *conf, struct auth_jwks *const *files,
                                struct auth_jwks *const *urls)
{
	struct auth_keys *keys = auth_keys_of(conf->jwts, conf->n_jwts, files, urls);

	keys->conf = conf_get(conf);
	return keys;
}

struct auth_keys *auth_keys_get(struct auth_keys *keys)
{
	OBJ_CHECK(keys, KEYS_MAGIC);
	atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
	return keys;
}

void auth_keys_put(struct auth_keys **keysp)
{
	struct auth_keys *keys = *keysp;

	*keysp = NULL;
	if (keys == NULL)
		return;
	OBJ_CHECK(keys, KEYS_MAGIC);
	if (atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (size_t i = 0; i < keys->n_issuers; i++) {
		auth_jwks_put(&keys->issuers[i].file);
		auth_jwks_put(&keys->issuers[i].url);
	}
	mem_free(keys->issuers);
	if (keys->conf != NULL)
		conf_put(&keys->conf);
	OBJ_FINI(keys, KEYS_MAGIC);
	mem_free(keys);
}

/* ---- what is there ------------------------------------------------------------------------ */

static size_t issuer_count(const struct auth_issuer *issuer)
{
	return (issuer->file != NULL ? issuer->file->n_keys : 0) +
	       (issuer->url != NULL ? issuer->url->n_keys : 0);
}

size_t auth_keys_count(const struct auth_keys *keys)
{
	size_t n = 0;

	OBJ_CHECK(keys, KEYS_MAGIC);
	for (size_t i = 0; i < keys->n_issuers; i++)
		n += issuer_count(&keys->issuers[i]);
	return n;
}

size_t auth_keys_missing(const struct auth_keys *keys)
{
	size_t n = 0;

	OBJ_CHECK(keys, KEYS_MAGIC);
	for (size_t i = 0; i < keys->n_issuers; i++)
		n += issuer_count(&keys->issuers[i]) == 0;
	return n;
}

bool auth_keys_require_tls(const struct auth_keys *keys)
{
	OBJ_CHECK(keys, KEYS_MAGIC);
	for (size_t i = 0; i < keys->n_issuers; i++)
		if (!keys->issuers[i].conf->require_tls)
			return false;
	return true;
}

static void jwks_each(const struct auth_issuer *issuer, const struct auth_jwks *jwks,
                      auth_key_visit_fn *visit, void *arg)
{
	int64_t read_us;

	if (jwks == NULL)
		return;
	read_us = atomic_load_explicit(&jwks->read_us, memory_order_relaxed);
	for (size_t i = 0; i < jwks->n_keys; i++) {
		const struct auth_jwk *jwk = &jwks->keys[i];
		struct auth_key_info info = {
			.section = issuer->conf->name,
			.issuer = issuer->conf->issuer,
			.kid = jwk->kid != NULL ? jwk->kid : "",
			.alg = auth_alg_name(jwk->alg),
			.use = "sig",
			.source = source_name(issuer, jwks),
			.age_s = (clock_mono_us() - read_us) / US_PER_S,
			.is_shadowed = is_shadowed(issuer, jwks, jwk),
		};

		visit(arg, &info);
	}
}

void auth_keys_each(const struct auth_keys *keys, auth_key_visit_fn *visit, void *arg)
{
	OBJ_CHECK(keys, KEYS_MAGIC);
	for (size_t i = 0; i < keys->n_issuers; i++) {
		jwks_each(&keys->issuers[i], keys->issuers[i].file, visit, arg);
		jwks_each(&keys->issuers[i], keys->issuers[i].url, visit, arg);
	}
}

/* ---- choosing ----------------------------------------------------------------------------- */

const struct auth_issuer *auth_keys_issuer(const struct auth_keys *keys, const json_t *claims)
{
	const json_t *iss = json_object_get(claims, "iss");
	const struct auth_issuer *any = NULL;

	OBJ_CHECK(keys, KEYS_MAGIC);
	/* RFC 7519 section 4.1.1: a string. Nothing else is anybody's. */
	if (iss != NULL && !json_is_string(iss))
		return NULL;
	for (size_t i = 0; i < keys->n_issuers; i++) {
		const char *own = keys->issuers[i].conf->issuer;

		if (own[0] == '\0')
			any = &keys->issuers[i];
		else if (iss != NULL && strcmp(json_string_value(iss), own) == 0)
			return &keys->issuers[i];
	}
	return any;
}

/* Of a key set the only key for alg; a second one sets *several. */
static const struct auth_jwk *jwks_only(const struct auth_jwks *jwks, uint32_t alg,
                                        const struct auth_jwk *found, bool *several)
{
	for (size_t i = 0; jwks != NULL && i < jwks->n_keys; i++) {
		const struct auth_jwk *jwk = &jwks->keys[i];

		if (jwk->alg != alg)
			continue;
		/* The same key may be in the file and behind the URL. */
		if (found != NULL &&
		    (found->pkey == NULL || EVP_PKEY_eq(found->pkey, jwk->pkey) != 1))
			*several = true;
		found = found != NULL ? found : jwk;
	}
	return found;
}

enum auth_reason auth_issuer_choose(const struct auth_issuer *issuer, const char *kid, uint32_t alg,
                                    const struct auth_jwk **key)
{
	bool several = false;

	*key = NULL;
	if (issuer_count(issuer) == 0)
		return AUTH_NO_KEYS;
	if (kid != NULL) {
		if (issuer->file != NULL)
			*key = auth_jwks_find(issuer->file, kid);
		if (*key == NULL && issuer->url != NULL)
			*key = auth_jwks_find(issuer->url, kid);
		if (*key == NULL)
			return AUTH_UNKNOWN_KEY;
		return (*key)->alg == alg ? AUTH_OK : AUTH_ALGORITHM;
	}
	*key = jwks_only(issuer->file, alg, NULL, &several);
	*key = jwks_only(issuer->url, alg, *key, &several);
	/* Where two would fit, the token must say which. */
	return *key != NULL && !several ? AUTH_OK : AUTH_UNKNOWN_KEY;
}
