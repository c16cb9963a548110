/* From the bytes of a password to signed claims. Everything is bounded and bound before the
 * signature is looked at: the token's size, its spelling, its issuer, its algorithm, its key; the
 * token's header only ever agrees with the key's algorithm or is refused (RFC 8725 section 2.1 says
 * what else comes of it). Runs on the worker's thread, stateless. Neither the token nor any part of
 * it is ever logged. */
#include <string.h>
#include <strings.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/mem.h"

struct part {
	const char *at;
	size_t len;
};

/* A token cut in three, with the decoded header; holds until signature_fini. */
struct token {
	const char *text;
	struct part header, payload, signature;
	json_t *head;
	uint32_t alg;
	const char *kid;  /* in head; NULL: none */
	uint8_t *scratch; /* room for any part of it, decoded */
};

static bool token_split(struct token *t, size_t len)
{
	const char *dot1, *dot2, *end = t->text + len;

	dot1 = memchr(t->text, '.', len);
	if (dot1 == NULL)
		return false;
	dot2 = memchr(dot1 + 1, '.', (size_t)(end - dot1 - 1));
	if (dot2 == NULL)
		return false;
	t->header = (struct part){t->text, (size_t)(dot1 - t->text)};
	t->payload = (struct part){dot1 + 1, (size_t)(dot2 - dot1 - 1)};
	t->signature = (struct part){dot2 + 1, (size_t)(end - dot2 - 1)};
	/* The signature may be missing so far: an unsigned token gets a better reason below. A
	 * third dot fails as a foreign character in it. */
	return t->header.len > 0 && t->payload.len > 0;
}

/* The part as a JSON object, or NULL. Its depth is bounded by its size and by jansson. */
static json_t *part_json(struct part part, uint8_t *scratch)
{
	json_error_t why;
	json_t *json;
	size_t len;

	if (!auth_b64_decode(part.at, part.len, scratch, &len))
		return NULL;
	json = json_loadb((const char *)scratch, len, JSON_REJECT_DUPLICATES, &why);
	if (json != NULL && !json_is_object(json)) {
		json_decref(json);
		json = NULL;
	}
	return json;
}

static enum auth_reason token_read_header(struct token *t)
{
	const json_t *alg, *kid, *typ;

	t->head = part_json(t->header, t->scratch);
	if (t->head == NULL)
		return AUTH_MALFORMED;
	alg = json_object_get(t->head, "alg");
	kid = json_object_get(t->head, "kid");
	typ = json_object_get(t->head, "typ");
	if (!json_is_string(alg) || (kid != NULL && !json_is_string(kid)))
		return AUTH_MALFORMED;
	t->alg = auth_alg_parse(json_string_value(alg));
	if (t->alg == 0)
		return AUTH_ALGORITHM;
	/* RFC 7515 section 4.1.11: an extension that must be understood, and we know none. Another
	 * type than JWT is meant for another use (RFC 8725 section 3.11). */
	if (json_object_get(t->head, "crit") != NULL ||
	    (typ != NULL &&
	     (!json_is_string(typ) || strcasecmp(json_string_value(typ), "JWT") != 0)))
		return AUTH_MALFORMED;
	t->kid = json_string_value(kid);
	return AUTH_OK;
}

/* As far as the signature; on AUTH_OK that is good. */
static enum auth_reason token_verify(struct token *t, size_t len, const struct auth_request *req,
                                     struct auth_verdict *out)
{
	const struct auth_jwk *key;
	enum auth_reason reason;
	size_t sig_len;

	if (!token_split(t, len))
		return AUTH_MALFORMED;
	/* Unverified so far, and good for nothing but choosing the issuer. */
	out->claims = part_json(t->payload, t->scratch);
	if (out->claims == NULL ||
	    !auth_b64_decode(t->signature.at, t->signature.len, t->scratch, &sig_len))
		return AUTH_MALFORMED;
	reason = token_read_header(t);
	if (reason != AUTH_OK)
		return reason;
	out->issuer = auth_keys_issuer(req->keys, out->claims);
	if (out->issuer == NULL)
		return AUTH_ISSUER;
	if ((t->alg & out->issuer->conf->algorithms) == 0)
		return AUTH_ALGORITHM;
	reason = auth_issuer_choose(out->issuer, t->kid, t->alg, &key);
	if (reason != AUTH_OK)
		return reason;
	if (t->signature.len == 0)
		return AUTH_SIGNATURE;
	out->is_checked = true;
	MUST(auth_b64_decode(t->signature.at, t->signature.len, t->scratch, &sig_len));
	/* Header, dot and payload as they came (RFC 7515 section 5.2). */
	return auth_crypto_verify(key, t->header.at, t->header.len + 1 + t->payload.len, t->scratch,
	                          sig_len)
	               ? AUTH_OK
	               : AUTH_SIGNATURE;
}

enum auth_reason auth_signature_verify(const struct auth_request *req, struct auth_verdict *out)
{
	struct token t = {.text = req->token};
	enum auth_reason reason;

	*out = (struct auth_verdict){0};
	MUST(req->len <= AUTH_TOKEN_MAX); /* auth_verify's promise */
	if (req->len == 0)
		return AUTH_MALFORMED;
	t.scratch = mem_alloc(AUTH_B64_BYTES(req->len));
	reason = token_verify(&t, req->len, req, out);
	if (reason != AUTH_OK) {
		json_decref(out->claims);
		out->claims = NULL;
	}
	json_decref(t.head);
	mem_free(t.scratch);
	return reason;
}
