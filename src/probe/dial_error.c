/* Reads libpq's error text of a failed login. libpq has no call that gives the SQLSTATE of
 * one; with PQERRORS_VERBOSE the server's code is in the text. Pure, any thread.
 *
 * The text has one head line an attempt (several addresses; sslmode=prefer tries twice), each
 * perhaps with more lines behind it (DETAIL, HINT, LOCATION):
 *
 *   connection to server at "h" (::1), port 5432 failed: FATAL:  28P01: password …
 *   LOCATION:  auth_failed, auth.c:338
 *   connection to server at "h" (127.0.0.1), port 5432 failed: Connection refused
 *
 * The last head line with a code is the one to tell, else the last head line, else the first
 * line. The severity is in the server's language, so only its shape is looked at. */
#include <string.h>

#include "base/mem.h"
#include "probe/probe_int.h"

#define HEAD "connection to server "
#define FAILED " failed: "
#define SQLSTATE_LEN 5

struct line {
	const char *text;
	size_t len;
	const char *code; /* inside text; NULL: none */
};

static bool is_sqlstate(const char *p)
{
	for (int i = 0; i < SQLSTATE_LEN; i++) {
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'A' && p[i] <= 'Z')))
			return false;
	}
	return true;
}

/* The code in `… failed: SEVERITY:  CODE: text`, and nowhere else. */
static const char *line_code(const char *text, size_t len)
{
	const char *end = text + len, *severity, *colon;

	severity = memmem(text, len, FAILED, strlen(FAILED));
	if (severity == NULL)
		return NULL;
	severity += strlen(FAILED);
	colon = memchr(severity, ':', (size_t)(end - severity));
	if (colon == NULL || colon == severity || end - colon < 3 + SQLSTATE_LEN + 2 ||
	    memcmp(colon, ":  ", 3) != 0)
		return NULL;
	colon += 3;
	if (!is_sqlstate(colon) || memcmp(colon + SQLSTATE_LEN, ": ", 2) != 0)
		return NULL;
	return colon;
}

static struct line line_choose(const char *text)
{
	struct line chosen = {text, strcspn(text, "\n"), NULL};

	while (*text != '\0') {
		struct line line = {text, strcspn(text, "\n"), NULL};

		if (strncmp(text, HEAD, strlen(HEAD)) == 0) {
			line.code = line_code(line.text, line.len);
			if (line.code != NULL || chosen.code == NULL)
				chosen = line;
		}
		text += line.len;
		text += *text == '\n';
	}
	return chosen;
}

/* Appends what fits, control characters as spaces. */
static size_t message_put(char *to, size_t at, size_t size, const char *from, size_t len)
{
	for (size_t i = 0; i < len && at + 1 < size; i++) {
		unsigned char c = (unsigned char)from[i];

		to[at++] = c < 0x20 || c == 0x7f ? ' ' : (char)c;
	}
	return at;
}

/* Drops a character of UTF-8 at the end that was cut in the middle. */
static size_t message_trim(const char *text, size_t len)
{
	size_t start = len, needs;
	unsigned char lead;

	while (start > 0 && ((unsigned char)text[start - 1] & 0xc0) == 0x80)
		start--;
	if (start == 0)
		return len;
	lead = (unsigned char)text[--start];
	needs = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
	return len - start < needs ? start : len;
}

void dial_error_read(const char *text, char sqlstate[6], char *message, size_t size)
{
	struct line line = line_choose(text);
	const char *end = line.text + line.len, *rest = line.text;
	size_t len = 0;

	memcpy(sqlstate, line.code != NULL ? line.code : "08001", SQLSTATE_LEN);
	sqlstate[SQLSTATE_LEN] = '\0';
	if (line.code != NULL) {
		len = message_put(message, 0, size, line.text, (size_t)(line.code - line.text));
		rest = line.code + SQLSTATE_LEN + 2;
	}
	len = message_put(message, len, size, rest, (size_t)(end - rest));
	if (len + 1 == size)
		len = message_trim(message, len);
	message[len] = '\0';
}
