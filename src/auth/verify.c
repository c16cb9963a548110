/* auth_verify: a token to a verdict. Cold, it goes through signature.c and claims.c; warm, the
 * ticket comes from the cache. Both ways end in ticket_admit, which holds whatever may differ
 * between two calls with the same token: the time, revocation, the role asked for, its tenant rule,
 * the tenant directory, how it came. Runs on the worker's thread; tickets belong to it, so their
 * counter is a plain number. */
#include <string.h>

#include "auth_directory.h"
#include "auth_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"

#define TICKET_MAGIC 0xa0711c8eu

const char *auth_reason_label(enum auth_reason r)
{
	static const char *const labels[] = {
#define AUTH_REASON(name, label, text) [AUTH_##name] = (label),
		AUTH_REASONS(AUTH_REASON)
#undef AUTH_REASON
	};

	MUST((size_t)r < COUNT_OF(labels));
	return labels[r];
}

const char *auth_reason_text(enum auth_reason r)
{
	static const char *const texts[] = {
#define AUTH_REASON(name, label, text) [AUTH_##name] = (text),
		AUTH_REASONS(AUTH_REASON)
#undef AUTH_REASON
	};

	MUST((size_t)r < COUNT_OF(texts));
	return texts[r];
}

/* ---- tickets ---------------------------------------------------------------------------- */

struct auth_ticket *auth_ticket_new(void)
{
	struct auth_ticket *t = mem_zalloc(sizeof(*t));

	OBJ_INIT(t, TICKET_MAGIC);
	t->refs = 1;
	return t;
}

struct auth_ticket *auth_ticket_get(struct auth_ticket *t)
{
	OBJ_CHECK(t, TICKET_MAGIC);
	t->refs++;
	return t;
}

void auth_ticket_put(struct auth_ticket **tp)
{
	struct auth_ticket *t = *tp;

	*tp = NULL;
	if (t == NULL)
		return;
	OBJ_CHECK(t, TICKET_MAGIC);
	MUST(t->refs > 0);
	if (--t->refs > 0)
		return;
	mem_free(t->roles);
	OBJ_FINI(t, TICKET_MAGIC);
	mem_free(t);
}

bool auth_ticket_allows_role(const struct auth_ticket *t, const char *role)
{
	OBJ_CHECK(t, TICKET_MAGIC);
	for (const char *at = t->roles; *at != '\0'; at += strlen(at) + 1)
		if (strcmp(at, role) == 0)
			return true;
	return false;
}

/* ---- the verdict ------------------------------------------------------------------------ */

/* RFC 7519 sections 4.1.4 and 4.1.5: exp is the first second that is too late, nbf the first
 * that is not too early. All dates are below 10^12, so nothing overflows. */
static enum auth_reason ticket_admit(const struct auth_ticket *t, const struct auth_request *req)
{
	if (req->is_exposed && t->requires_tls)
		return AUTH_TLS_REQUIRED;
	if (req->now_s >= t->exp_s + t->leeway_s)
		return AUTH_EXPIRED;
	if (req->now_s + t->leeway_s < t->nbf_s)
		return AUTH_NOT_YET_VALID;
	if (req->revoked != NULL && auth_revoked_has(req->revoked, t))
		return AUTH_REVOKED;
	if (req->tenant_required && t->tenant[0] == '\0')
		return AUTH_NO_TENANT;
	if (!auth_ticket_allows_role(t, req->role))
		return AUTH_ROLE;
	if (!req->needs_directory || !req->tenant_required)
		return AUTH_OK;
	if (req->directory == NULL)
		return AUTH_NO_DIRECTORY;
	return auth_directory_has(req->directory, t->tenant) ? AUTH_OK : AUTH_NOT_ACTIVE;
}

/* A new reference, from the signature up. */
static enum auth_reason ticket_build(struct auth_cache *cache, const struct auth_request *req,
                                     struct auth_ticket **ticket)
{
	struct auth_verdict verdict;
	enum auth_reason reason = auth_signature_verify(req, &verdict);

	if (cache != NULL && verdict.is_checked)
		cache->stats.signature_checks++;
	if (reason == AUTH_OK)
		reason = auth_claims_check(verdict.claims, verdict.issuer->conf, ticket);
	json_decref(verdict.claims);
	return reason;
}

int auth_refetch(const struct auth_request *req, enum auth_reason reason)
{
	struct auth_verdict verdict;

	if ((reason != AUTH_UNKNOWN_KEY && reason != AUTH_NO_KEYS) || req->len > AUTH_TOKEN_MAX)
		return -1;
	/* Read once more rather than carried through every verdict: this is rare. */
	(void)auth_signature_verify(req, &verdict);
	json_decref(verdict.claims);
	if (verdict.issuer == NULL || verdict.issuer->conf->jwks_url[0] == '\0')
		return -1;
	return (int)(verdict.issuer - req->keys->issuers);
}

enum auth_reason auth_verify(struct auth_cache *cache, const struct auth_request *req,
                             struct auth_ticket **ticket)
{
	struct auth_ticket *known = NULL, *t = NULL;
	uint8_t digest[SHA256_BYTES];
	enum auth_reason reason;

	MUST(req->role != NULL && req->keys != NULL);
	*ticket = NULL;
	if (req->len > AUTH_TOKEN_MAX) /* before even the digest is paid for */
		return AUTH_MALFORMED;
	if (cache != NULL) {
		hash_sha256(req->token, req->len, digest);
		known = auth_cache_find(cache, req, digest);
	}
	if (known != NULL) {
		t = auth_ticket_get(known);
	} else {
		reason = ticket_build(cache, req, &t);
		if (reason != AUTH_OK)
			return reason;
	}
	reason = ticket_admit(t, req);
	if (cache != NULL && known != NULL && reason == AUTH_EXPIRED)
		auth_cache_remove(cache, digest);
	else if (cache != NULL && known == NULL && reason != AUTH_EXPIRED)
		auth_cache_insert(cache, digest, t);
	if (reason == AUTH_OK)
		*ticket = auth_ticket_get(t);
	auth_ticket_put(&t);
	return reason;
}
