/* SASL as PostgreSQL wraps it (55.3), and its mechanism OAUTHBEARER (RFC 7628 section 3). Pure;
 * what is read points into the message. */
#ifndef PGUSHER_WIRE_SASL_H
#define PGUSHER_WIRE_SASL_H

#include "wire.h"

#define WIRE_OAUTHBEARER "OAUTHBEARER"
#define WIRE_KVSEP 0x01 /* behind each pair; by itself the answer to an error */

/* AuthenticationSASL, which offers this mechanism alone. */
void wire_put_sasl(struct buf *b, const char *mechanism);
/* AuthenticationSASLContinue. */
void wire_put_sasl_continue(struct buf *b, const char *data, size_t len);

/* The body of a SASLInitialResponse. response->at is NULL where the client sent none. */
enum wire_read wire_sasl_initial_read(struct wire_cursor body, const char **mechanism,
                                      struct wire_cursor *response);

/* What a client's first message of OAUTHBEARER says. */
struct wire_bearer {
	const char *token; /* not NUL-terminated; NULL: there is none, or what is no bearer token */
	size_t len;
	bool is_question; /* without a token: where are they to be had (RFC 7628 section 4.3)? */
};
/* OK, or BAD with e's code, message and detail set to constants. */
enum wire_read wire_bearer_read(struct wire_cursor message, struct wire_bearer *out,
                                struct wire_error *e);

#endif
