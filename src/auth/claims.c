/* Signed claims to a ticket (RFC 7519 section 4): whatever holds for as long as keys and
 * configuration do. What depends on the time, the role asked for or the [role] section is in
 * verify.c. Wrong types are refused, not guessed at. Pure, on the worker's thread. */
#include <stdio.h>
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/mem.h"

#define DATE_MAX_S INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define PATH_COMPONENT_MAX 128
#define TENANT_DIGITS_MAX 19

/* ---- the tenant ------------------------------------------------------------------------- */

bool auth_is_tenant(const char *s, size_t len)
{
	static const char bigint_max[] = "9223372036854775807";

	if (len == 0 || len > TENANT_DIGITS_MAX || (s[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return len < TENANT_DIGITS_MAX || memcmp(s, bigint_max, TENANT_DIGITS_MAX) <= 0;
}

/* A claim by name, or by a path a.b through objects; a claim with the dotted name goes first,
 * for namespaced ones ("https://example.com/tenant"). NULL: not there. */
static const json_t *claim_find(const json_t *claims, const char *path)
{
	const json_t *at = json_object_get(claims, path);
	char name[PATH_COMPONENT_MAX];

	if (at != NULL || strchr(path, '.') == NULL)
		return at;
	for (at = claims; at != NULL && path != NULL;) {
		size_t len = strcspn(path, ".");

		if (len == 0 || len >= sizeof(name))
			return NULL;
		memcpy(name, path, len);
		name[len] = '\0';
		path = path[len] == '.' ? path + len + 1 : NULL;
		at = json_object_get(at, name);
	}
	return at;
}

/* A string of digits or an integer; a claim that is there must be valid, also where the role
 * needs no tenant. */
static bool claim_tenant(const json_t *claims, const char *path, char out[AUTH_TENANT_MAX])
{
	const json_t *claim = claim_find(claims, path);

	if (claim == NULL)
		return true;
	if (json_is_integer(claim) && json_integer_value(claim) >= 0) {
		snprintf(out, AUTH_TENANT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(claim));
		return true;
	}
	if (!json_is_string(claim) ||
	    !auth_is_tenant(json_string_value(claim), json_string_length(claim)))
		return false;
	memcpy(out, json_string_value(claim), json_string_length(claim) + 1);
	return true;
}

/* ---- dates, names ----------------------------------------------------------------------- */

/* A NumericDate (RFC 7519 section 2) rounded to the side that refuses. */
static bool claim_date(const json_t *claim, bool round_up, int64_t *out)
{
	double real;

	if (json_is_integer(claim)) {
		*out = json_integer_value(claim);
		return *out >= 0 && *out <= DATE_MAX_S;
	}
	if (!json_is_real(claim))
		return false;
	real = json_real_value(claim);
	if (!(real >= 0 && real <= (double)DATE_MAX_S))
		return false;
	*out = (int64_t)real;
	if (round_up && (double)*out < real)
		++*out;
	return true;
}

static bool string_is(const json_t *claim, const char *wanted)
{
	return json_is_string(claim) && strcmp(json_string_value(claim), wanted) == 0;
}

/* A string, or an array with it in it. */
static bool audience_has(const json_t *claim, const char *wanted)
{
	const json_t *one;
	size_t i;

	json_array_foreach(claim, i, one) if (string_is(one, wanted)) return true;
	return string_is(claim, wanted);
}

static bool role_is_name(const json_t *claim)
{
	return json_is_string(claim) && json_string_length(claim) > 0;
}

/* The names in ticket->roles' form. None where the claim is not a name or a list of names: then
 * no role is allowed. */
static char *claim_roles(const json_t *claim)
{
	struct buf names = {0};
	const json_t *one;
	size_t i;

	if (role_is_name(claim))
		buf_put_cstr(&names, json_string_value(claim));
	json_array_foreach(claim, i, one)
	{
		if (!role_is_name(one)) {
			names.len = 0;
			break;
		}
		buf_put_cstr(&names, json_string_value(one));
	}
	buf_put_u8(&names, 0);
	/* Kept as long as the token: a buffer's smallest size is 256 bytes. */
	return mem_realloc(names.data, names.len);
}

/* What usher.consistency and usher.max_lag take, a number being seconds. Refused when it is wrong,
 * as every claim is: whoever asks for strong must not get less by a typing error. */
static bool claim_wishes(const json_t *claims, struct auth_ticket *ticket)
{
	const json_t *consistency = json_object_get(claims, "consistency");
	const json_t *max_lag = json_object_get(claims, "max_lag");
	char digits[24] = "";

	ticket->has_consistency = consistency != NULL;
	ticket->has_max_lag = max_lag != NULL;
	if (consistency != NULL &&
	    (!json_is_string(consistency) ||
	     !conf_consistency_read(json_string_value(consistency), &ticket->consistency)))
		return false;
	if (json_is_integer(max_lag))
		snprintf(digits, sizeof(digits), "%" JSON_INTEGER_FORMAT,
		         json_integer_value(max_lag));
	return max_lag == NULL ||
	       conf_duration_read(json_is_string(max_lag) ? json_string_value(max_lag) : digits,
	                          &ticket->max_lag_us);
}

/* Cut at the border of a UTF-8 character; jansson lets only valid UTF-8 in. */
static void copy_cut(char *out, size_t size, const char *s)
{
	size_t len = strlen(s);

	if (len >= size) {
		len = size - 1;
		while (len > 0 && ((uint8_t)s[len] & 0xc0) == 0x80)
			len--;
	}
	memcpy(out, s, len);
	out[len] = '\0';
}

/* ---- all together ----------------------------------------------------------------------- */

static enum auth_reason claims_check_dates(const json_t *claims, struct auth_ticket *ticket)
{
	const json_t *exp = json_object_get(claims, "exp"), *nbf = json_object_get(claims, "nbf");
	const json_t *iat = json_object_get(claims, "iat");
	int64_t issued_s;

	if (exp == NULL)
		return AUTH_NO_EXP;
	if (!claim_date(exp, false, &ticket->exp_s) ||
	    (nbf != NULL && !claim_date(nbf, true, &ticket->nbf_s)) ||
	    (iat != NULL && !claim_date(iat, false, &issued_s)))
		return AUTH_MALFORMED;
	return AUTH_OK;
}

static enum auth_reason claims_read(const json_t *claims, const struct conf_jwt *conf,
                                    struct auth_ticket *ticket)
{
	const json_t *jti = json_object_get(claims, "jti");
	enum auth_reason reason = claims_check_dates(claims, ticket);

	if (reason != AUTH_OK)
		return reason;
	if (jti != NULL && !json_is_string(jti))
		return AUTH_MALFORMED;
	if (jti != NULL)
		copy_cut(ticket->jti, sizeof(ticket->jti), json_string_value(jti));
	if (conf->issuer[0] != '\0' && !string_is(json_object_get(claims, "iss"), conf->issuer))
		return AUTH_ISSUER;
	if (conf->audience[0] != '\0' &&
	    !audience_has(json_object_get(claims, "aud"), conf->audience))
		return AUTH_AUDIENCE;
	if (!claim_tenant(claims, conf->tenant_claim, ticket->tenant))
		return AUTH_NO_TENANT;
	if (!claim_wishes(claims, ticket))
		return AUTH_WISH;
	ticket->roles = claim_roles(claim_find(claims, conf->role_claim));
	return AUTH_OK;
}

enum auth_reason auth_claims_check(const json_t *claims, const struct conf_jwt *conf,
                                   struct auth_ticket **ticket)
{
	enum auth_reason reason;

	*ticket = auth_ticket_new();
	(*ticket)->leeway_s = conf->leeway / US_PER_S;
	(*ticket)->requires_tls = conf->require_tls;
	reason = claims_read(claims, conf, *ticket);
	if (reason != AUTH_OK)
		auth_ticket_put(ticket);
	return reason;
}
