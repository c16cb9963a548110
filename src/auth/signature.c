/* From the bytes of a password to signed claims. Everything is bounded and bound before libjwt
 * sees the token: its size, its spelling, its algorithm, its key; for libjwt takes the algorithm
 * from the token's own header (RFC 8725 section 2.1 says what comes of that). Runs on the
 * worker's thread, stateless. Neither the token nor any part of it is ever logged. */
#include <jwt.h>
#include <openssl/err.h>
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
	char *text; /* NUL-terminated for libjwt */
	struct part header, payload, signature;
	json_t *head;
	uint32_t alg;
	const char *kid; /* in head; NULL: none */
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

static bool part_is_base64url(struct part part, uint8_t *scratch)
{
	size_t len;

	return auth_b64_decode(part.at, part.len, scratch, &len);
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

static enum auth_reason token_read_header(struct token *t, const struct conf_jwt *conf,
                                          uint8_t *scratch)
{
	const json_t *alg, *kid, *typ;

	t->head = part_json(t->header, scratch);
	if (t->head == NULL)
		return AUTH_MALFORMED;
	alg = json_object_get(t->head, "alg");
	kid = json_object_get(t->head, "kid");
	typ = json_object_get(t->head, "typ");
	if (!json_is_string(alg) || (kid != NULL && !json_is_string(kid)))
		return AUTH_MALFORMED;
	t->alg = auth_alg_parse(json_string_value(alg));
	if ((t->alg & conf->algorithms) == 0)
		return AUTH_ALGORITHM;
	/* RFC 7515 section 4.1.11: an extension that must be understood, and we know none. libjwt
	 * 1.x takes no other type than JWT; said here, it is not taken for a bad signature. */
	if (json_object_get(t->head, "crit") != NULL ||
	    (typ != NULL &&
	     (!json_is_string(typ) || strcasecmp(json_string_value(typ), "JWT") != 0)))
		return AUTH_MALFORMED;
	t->kid = json_string_value(kid);
	return AUTH_OK;
}

static bool signature_is_good(const struct token *t, const struct auth_key *key)
{
	static const jwt_alg_t algs[] = {[CONF_ALG_HS256] = JWT_ALG_HS256,
	                                 [CONF_ALG_RS256] = JWT_ALG_RS256,
	                                 [CONF_ALG_ES256] = JWT_ALG_ES256};
	jwt_t *jwt = NULL;
	bool ok;

	ok = jwt_decode(&jwt, t->text, key->material, (int)key->material_len) == 0 && jwt != NULL;
	/* Once more, after the fact: what was checked is what was chosen. */
	ok = ok && jwt_get_alg(jwt) == algs[t->alg] && key->alg == t->alg;
	if (jwt != NULL)
		jwt_free(jwt);
	/* This thread runs TLS: an old error in OpenSSL's queue would be taken for its own. */
	ERR_clear_error();
	return ok;
}

static enum auth_reason token_verify(struct token *t, size_t len, const struct auth_request *req,
                                     uint8_t *scratch, bool *checked)
{
	const struct auth_key *key;
	enum auth_reason reason;

	if (!token_split(t, len) || !part_is_base64url(t->payload, scratch) ||
	    !part_is_base64url(t->signature, scratch))
		return AUTH_MALFORMED;
	reason = token_read_header(t, req->conf, scratch);
	if (reason != AUTH_OK)
		return reason;
	reason = auth_keys_choose(req->keys, t->kid, t->alg, &key);
	if (reason != AUTH_OK)
		return reason;
	if (t->signature.len == 0)
		return AUTH_SIGNATURE;
	*checked = true;
	return signature_is_good(t, key) ? AUTH_OK : AUTH_SIGNATURE;
}

enum auth_reason auth_signature_verify(const struct auth_request *req, json_t **claims,
                                       bool *checked)
{
	struct token t = {0};
	enum auth_reason reason;
	uint8_t *scratch;

	*claims = NULL;
	*checked = false;
	MUST(req->len <= AUTH_TOKEN_MAX); /* auth_verify's promise */
	if (req->len == 0)
		return AUTH_MALFORMED;
	t.text = mem_strndup(req->token, req->len);
	scratch = mem_alloc(AUTH_B64_BYTES(req->len));
	reason = token_verify(&t, req->len, req, scratch, checked);
	if (reason == AUTH_OK) {
		/* Read by ourselves: libjwt would let the last of two equal claims win. */
		*claims = part_json(t.payload, scratch);
		if (*claims == NULL)
			reason = AUTH_MALFORMED;
	}
	json_decref(t.head);
	mem_free(scratch);
	mem_free(t.text);
	return reason;
}
