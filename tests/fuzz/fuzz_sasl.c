/* libFuzzer: any bytes as a client's SASL messages. The first byte says what the rest is: 'i' the
 * body of a SASLInitialResponse, else a message of OAUTHBEARER.
 *
 * What must hold, beyond not reading past the end:
 * - what is malformed is told by constants: none of the client's bytes (a token) comes back;
 * - a token lies in the message, behind an `auth=`, and is made of what tokens are made of;
 * - a message with nothing but that token in it is read as the same token. */
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "wire_sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct wire_bearer *bearer)
{
	struct buf plain = {0};
	struct wire_bearer again;
	struct wire_error e;

	buf_put(&plain, "n,,\1auth=Bearer ", 16);
	buf_put(&plain, bearer->token, bearer->len);
	buf_put(&plain, "\1\1", 2);
	MUST(wire_bearer_read((struct wire_cursor){plain.data, plain.data + plain.len}, &again,
	                      &e) == WIRE_READ_OK);
	MUST(!again.is_question && again.len == bearer->len);
	MUST(memcmp(again.token, bearer->token, again.len) == 0);
	buf_fini(&plain);
}

static void check_message(struct wire_cursor c)
{
	struct wire_bearer bearer;
	struct wire_error e = {0};
	const char *first = (const char *)c.at, *end = (const char *)c.end;

	if (wire_bearer_read(c, &bearer, &e) != WIRE_READ_OK) {
		MUST(bearer.token == NULL && !bearer.is_question && e.message != NULL);
		MUST(strcmp(e.sqlstate, "08P01") == 0 || strcmp(e.sqlstate, "0A000") == 0);
		return;
	}
	MUST(end[-1] == WIRE_KVSEP && end[-2] == WIRE_KVSEP);
	if (bearer.token == NULL)
		return;
	MUST(!bearer.is_question && bearer.len > 0);
	MUST(bearer.token >= first + 16 && bearer.token + bearer.len <= end - 2);
	for (size_t i = 0; i < bearer.len; i++)
		MUST(bearer.token[i] > 0x20 && bearer.token[i] < 0x7f);
	check_again(&bearer);
}

static void check_initial(struct wire_cursor c)
{
	const char *mechanism;
	struct wire_cursor response;

	if (wire_sasl_initial_read(c, &mechanism, &response) != WIRE_READ_OK)
		return;
	MUST((const uint8_t *)mechanism == c.at && response.end == c.end);
	if (response.at == NULL)
		return;
	MUST(response.at == c.at + strlen(mechanism) + 5 && response.at <= response.end);
	check_message(response);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	struct wire_cursor c;

	if (size == 0)
		return 0;
	/* To the byte, so that the sanitizer sees every step behind its end. */
	copy = mem_dup(data + 1, size - 1);
	c = (struct wire_cursor){copy, copy + size - 1};
	if (data[0] == 'i')
		check_initial(c);
	else
		check_message(c);
	mem_free(copy);
	return 0;
}
