/* Logging in by SASL OAUTHBEARER (RFC 7628; PostgreSQL's side of it: 55.3): the token comes in an
 * envelope of the mechanism's; behind that it is the token that others give as a password.
 *
 *   sasl_ask                    AuthenticationSASL                               ASKED_BY_SASL
 *   sasl_take ─► take_initial   SASLInitialResponse, perhaps without a message   ASKED_BY_CONTINUE
 *             └► take_message   "n,,^Aauth=Bearer TOKEN^A^A" ─► login_take_token
 *   sasl_refuse                 AuthenticationSASLContinue: JSON says no         ASKED_BY_REFUSAL
 *   sasl_take ─► take_note      the client's ^A, then ErrorResponse
 *
 * A client without a token sends an empty auth, is told in that JSON where to get one, and comes
 * again. On the worker's thread. */
#include <string.h>

#include "sasl.h"
#include "wire_sasl.h"

#define WELL_KNOWN "/.well-known/"

void sasl_ask(struct client *c, struct buf *b)
{
	wire_put_sasl(b, WIRE_OAUTHBEARER);
	c->asked_by = ASKED_BY_SASL;
}

static enum step violation(struct client *c, const char *message, const char *detail)
{
	struct wire_error e = {
		.sqlstate = SQLSTATE_PROTOCOL_VIOLATION, .message = message, .detail = detail};

	return login_fatal(c, CLOSE_CLIENT_PROTOCOL, &e);
}

/* ---- no -------------------------------------------------------------------------------------- */

static void put_text(struct buf *b, const char *text)
{
	buf_put(b, text, strlen(text));
}

/* RFC 7628 section 3.2.2. What is configured needs no escape (conf_oauth_issuer). libpq tries again
 * by itself after invalid_token only, and PostgreSQL says nothing else. */
static void put_failure(const struct conf *conf, struct buf *b)
{
	const char *issuer = conf_oauth_issuer(conf);

	put_text(b, "{ \"status\": \"invalid_token\"");
	if (issuer[0] != '\0') {
		put_text(b, ", \"openid-configuration\": \"");
		put_text(b, issuer);
		if (strstr(issuer, WELL_KNOWN) == NULL)
			put_text(b, WELL_KNOWN "openid-configuration");
		put_text(b, "\"");
	}
	if (conf->oauth.scope[0] != '\0') {
		put_text(b, ", \"scope\": \"");
		put_text(b, conf->oauth.scope);
		put_text(b, "\"");
	}
	put_text(b, " }");
}

enum step sasl_refuse(struct client *c, enum auth_reason reason)
{
	struct buf *b = c->env->backend->scratch;
	struct buf failure = {0};

	put_failure(c->env->conf, &failure);
	wire_put_sasl_continue(b, (const char *)failure.data, failure.len);
	buf_fini(&failure);
	client_put(c, b);
	c->asked_by = ASKED_BY_REFUSAL;
	c->token_fault = (uint8_t)reason;
	if (reason != AUTH_OK)
		c->refused_as = auth_reason_label(reason); /* it may leave without a word */
	return STEP_MORE;
}

bool sasl_was_question(const struct client *c)
{
	return c->asked_by == ASKED_BY_REFUSAL && c->token_fault == AUTH_OK;
}

/* Section 3.2.3: the client's dummy, behind which the exchange may fail. */
static enum step take_note(struct client *c, const uint8_t *p, size_t len)
{
	static const struct wire_error question = {
		.sqlstate = SQLSTATE_INVALID_AUTHORIZATION,
		.message = "no token was given",
		.detail = "The client has asked where to get one, and was told.",
	};

	if (len != 1 || *p != WIRE_KVSEP)
		return violation(c, "malformed OAUTHBEARER message",
		                 "Behind a refusal the client's answer is one separator.");
	if (c->token_fault != AUTH_OK)
		return login_refuse_token(c, (enum auth_reason)c->token_fault);
	session_fatal(c, CLOSE_CLIENT_AUTH, &question);
	return STEP_DONE;
}

/* ---- the token ------------------------------------------------------------------------------- */

static enum step take_message(struct client *c, struct wire_cursor message)
{
	struct wire_bearer bearer;
	struct wire_error e;

	if (wire_bearer_read(message, &bearer, &e) != WIRE_READ_OK)
		return login_fatal(c, CLOSE_CLIENT_PROTOCOL, &e);
	if (bearer.is_question)
		return sasl_refuse(c, AUTH_OK);
	if (bearer.token == NULL)
		return sasl_refuse(c, AUTH_MALFORMED);
	return login_take_token(c, bearer.token, bearer.len);
}

static enum step take_initial(struct client *c, struct wire_cursor body)
{
	const char *mechanism;
	struct wire_cursor response;

	if (wire_sasl_initial_read(body, &mechanism, &response) != WIRE_READ_OK) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	if (strcmp(mechanism, WIRE_OAUTHBEARER) != 0)
		return violation(c, "client selected an invalid SASL authentication mechanism",
		                 "PgUsher offers " WIRE_OAUTHBEARER ".");
	if (response.at != NULL)
		return take_message(c, response);
	wire_put_sasl_continue(c->env->backend->scratch, "", 0);
	client_put(c, c->env->backend->scratch);
	c->asked_by = ASKED_BY_CONTINUE;
	return STEP_MORE;
}

enum step sasl_take(struct client *c, const uint8_t *p, size_t len)
{
	struct wire_cursor body = {p, p + len};

	switch (c->asked_by) {
	case ASKED_BY_SASL:
		return take_initial(c, body);
	case ASKED_BY_CONTINUE:
		return take_message(c, body);
	default:
		return take_note(c, p, len);
	}
}
