/* SASL messages and those of OAUTHBEARER. The grammar (RFC 7628 section 3.1):
 *
 *   message = gs2-header kvsep *( key "=" value kvsep ) kvsep      "n,,^Aauth=Bearer abc^A^A"
 *
 * What is malformed is told apart as PostgreSQL 18 does, so that whoever writes a client sees the
 * same here and there; a token is never part of what is told. Every look is checked against the
 * message's end. */
#include "wire_sasl.h"

#include <string.h>
#include <strings.h>

#define AUTH_REQUEST_SASL 10
#define AUTH_REQUEST_SASL_CONTINUE 11
#define NO_RESPONSE UINT32_MAX
#define SCHEME "Bearer "

/* ---- PostgreSQL's envelope ------------------------------------------------------------------- */

void wire_put_sasl(struct buf *b, const char *mechanism)
{
	buf_put_u8(b, 'R');
	buf_put_be32(b, (uint32_t)(4 + 4 + strlen(mechanism) + 2));
	buf_put_be32(b, AUTH_REQUEST_SASL);
	buf_put_cstr(b, mechanism);
	buf_put_u8(b, 0);
}

void wire_put_sasl_continue(struct buf *b, const char *data, size_t len)
{
	buf_put_u8(b, 'R');
	buf_put_be32(b, (uint32_t)(4 + 4 + len));
	buf_put_be32(b, AUTH_REQUEST_SASL_CONTINUE);
	buf_put(b, data, len);
}

enum wire_read wire_sasl_initial_read(struct wire_cursor body, const char **mechanism,
                                      struct wire_cursor *response)
{
	uint32_t len;

	*mechanism = wire_cursor_cstr(&body);
	if (*mechanism == NULL || body.end - body.at < 4)
		return WIRE_READ_BAD;
	len = be32_get(body.at);
	body.at += 4;
	if ((size_t)(body.end - body.at) != (len != NO_RESPONSE ? len : 0))
		return WIRE_READ_BAD;
	*response = body;
	if (len == NO_RESPONSE)
		response->at = NULL;
	return WIRE_READ_OK;
}

/* ---- OAUTHBEARER ----------------------------------------------------------------------------- */

static enum wire_read malformed(struct wire_error *e, const char *detail)
{
	*e = (struct wire_error){.sqlstate = SQLSTATE_PROTOCOL_VIOLATION,
	                         .message = "malformed OAUTHBEARER message",
	                         .detail = detail};
	return WIRE_READ_BAD;
}

/* The byte at the cursor, which moves on; 0, which no message has inside, at the end. */
static uint8_t take(struct wire_cursor *c)
{
	return c->at < c->end ? *c->at++ : 0;
}

/* Channel binding is not defined for this mechanism; `y` is what a client says that would know how
 * to. An authorization identity would be a second user name. */
static enum wire_read read_gs2_header(struct wire_cursor *c, struct wire_error *e)
{
	uint8_t flag = take(c), next;

	if (flag == 'p')
		return malformed(
			e, "OAUTHBEARER has no channel binding, and the message asks for it.");
	if (flag != 'n' && flag != 'y')
		return malformed(e, "The message does not begin with a channel-binding flag.");
	if (take(c) != ',')
		return malformed(e, "A comma is missing behind the channel-binding flag.");
	next = take(c);
	if (next == 'a') {
		*e = (struct wire_error){
			.sqlstate = SQLSTATE_FEATURE_NOT_SUPPORTED,
			.message = "client uses authorization identity, but it is not supported"};
		return WIRE_READ_BAD;
	}
	if (next != ',')
		return malformed(e, "There is an unexpected attribute in the header.");
	if (take(c) != WIRE_KVSEP)
		return malformed(e, "The separator behind the header is missing.");
	return WIRE_READ_OK;
}

static bool is_alpha(uint8_t byte)
{
	return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
}

static bool is_of_value(uint8_t byte)
{
	return (byte >= 0x20 && byte <= 0x7e) || byte == '\t' || byte == '\r' || byte == '\n';
}

struct pair {
	struct wire_cursor key, value;
};

/* NULL, or what is wrong with it. */
static const char *read_pair(struct wire_cursor text, struct pair *pair)
{
	const uint8_t *equals = memchr(text.at, '=', (size_t)(text.end - text.at));

	if (equals == NULL)
		return "There is a key without a value.";
	pair->key = (struct wire_cursor){text.at, equals};
	pair->value = (struct wire_cursor){equals + 1, text.end};
	if (equals == text.at)
		return "There is an empty key.";
	for (const uint8_t *p = text.at; p < equals; p++)
		if (!is_alpha(*p))
			return "There is a key that is not made of letters.";
	for (const uint8_t *p = equals + 1; p < text.end; p++)
		if (!is_of_value(*p))
			return "There is a value with a character that it must not have.";
	return NULL;
}

/* What is not known is passed over (section 3.1). NULL, or what is wrong; auth->at NULL: there is
 * no such key. */
static const char *read_pairs(struct wire_cursor *c, struct wire_cursor *auth)
{
	struct pair pair;

	auth->at = auth->end = NULL;
	while (c->at < c->end) {
		const uint8_t *end = memchr(c->at, WIRE_KVSEP, (size_t)(c->end - c->at));
		struct wire_cursor text = {c->at, end};
		const char *why;

		if (end == NULL)
			return "A pair of key and value is not terminated.";
		c->at = end + 1;
		if (text.at == end)
			return NULL;
		why = read_pair(text, &pair);
		if (why != NULL)
			return why;
		if (pair.key.end - pair.key.at != 4 || memcmp(pair.key.at, "auth", 4) != 0)
			continue;
		if (auth->at != NULL)
			return "There is more than one value of auth.";
		*auth = pair.value;
	}
	return "The final separator is missing.";
}

static bool is_of_token(uint8_t byte)
{
	return is_alpha(byte) || (byte >= '0' && byte <= '9') ||
	       (byte != '\0' && strchr("-._~+/", byte) != NULL);
}

/* credentials = "Bearer" 1*SP b64token (RFC 6750 section 2.1); the word in any case, as HTTP has
 * it. False: it is something else. */
static bool read_credentials(struct wire_cursor c, struct wire_bearer *out)
{
	const uint8_t *p;

	if (c.end - c.at < (long)strlen(SCHEME) ||
	    strncasecmp((const char *)c.at, SCHEME, strlen(SCHEME)) != 0)
		return false;
	c.at += strlen(SCHEME);
	while (c.at < c.end && *c.at == ' ')
		c.at++;
	p = c.at;
	while (p < c.end && is_of_token(*p))
		p++;
	while (p < c.end && *p == '=')
		p++;
	if (p == c.at || p < c.end)
		return false;
	out->token = (const char *)c.at;
	out->len = (size_t)(c.end - c.at);
	return true;
}

enum wire_read wire_bearer_read(struct wire_cursor message, struct wire_bearer *out,
                                struct wire_error *e)
{
	struct wire_cursor auth;
	const char *why;

	*out = (struct wire_bearer){0};
	if (message.at == message.end)
		return malformed(e, "The message is empty.");
	if (memchr(message.at, '\0', (size_t)(message.end - message.at)) != NULL)
		return malformed(e, "There is a zero byte in the message.");
	if (read_gs2_header(&message, e) != WIRE_READ_OK)
		return WIRE_READ_BAD;
	why = read_pairs(&message, &auth);
	if (why == NULL && auth.at == NULL)
		why = "There is no value of auth.";
	if (why == NULL && message.at < message.end)
		why = "There is more behind the final separator.";
	if (why != NULL)
		return malformed(e, why);
	if (!read_credentials(auth, out))
		out->is_question = auth.at == auth.end;
	return WIRE_READ_OK;
}
