/* How a client is asked for its token: as a password (login.c), or by SASL OAUTHBEARER (sasl.c),
 * and what the two files share. */
#ifndef PGUSHER_SASL_H
#define PGUSHER_SASL_H

#include "session_int.h"

/* client.asked_by, in PHASE_PASSWORD: what the next message is to be. */
enum asked_by {
	ASKED_BY_PASSWORD,
	ASKED_BY_SASL,     /* the mechanism, perhaps with its first message */
	ASKED_BY_CONTINUE, /* that message */
	ASKED_BY_REFUSAL,  /* that the client has taken note */
};

/* More than a token: the mechanism, and what is around the token. */
#define SASL_MESSAGE_MAX (AUTH_TOKEN_MAX + 1024)

/* Offers it, behind what is in b. */
void sasl_ask(struct client *c, struct buf *b);
/* The body of the answer. STEP_WAIT: the same once more, later. */
enum step sasl_take(struct client *c, const uint8_t *p, size_t len);
/* The token is not good: says so in the mechanism's way. */
enum step sasl_refuse(struct client *c, enum auth_reason reason);
/* It only asked where tokens are to be had: that was no login. */
bool sasl_was_question(const struct client *c);

/* login.c: the token, however it came. STEP_WAIT: once more, later. */
enum step login_take_token(struct client *c, const char *token, size_t len);
/* The client is told, and so is the log. */
enum step login_fatal(struct client *c, enum close_reason reason, const struct wire_error *e);
enum step login_refuse_token(struct client *c, enum auth_reason reason);

#endif
