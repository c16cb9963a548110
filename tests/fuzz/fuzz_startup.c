/* libFuzzer: any bytes as a packet before login.
 *
 * What must hold, beyond not reading past the end:
 * - a packet of which a byte is missing is SHORT or BAD, and BAD is known from its length word;
 * - parameters lie in the packet, one after the other, and make up all of it when the list ends
 *   well;
 * - every setting of `options` has a name that is a word without `=` or dashes, and what a walk
 *   makes of it, written down plainly, is read again as the same settings;
 * - a CancelRequest with a key of 1 to 256 bytes is read as it would be written, no other is. */
#include <ctype.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* `--name=value`, escaped so that it is one word again. */
static void put_setting(struct buf *b, const char *name, const char *value)
{
	buf_put(b, "--", 2);
	for (; *name != '\0'; name++) {
		if (isspace((unsigned char)*name) || *name == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, (uint8_t)*name);
	}
	buf_put_u8(b, '=');
	for (; *value != '\0'; value++) {
		if (isspace((unsigned char)*value) || *value == '\\')
			buf_put_u8(b, '\\');
		buf_put_u8(b, (uint8_t)*value);
	}
	buf_put_u8(b, ' ');
}

/* Walks through the settings; what they were, plainly, into b. */
static enum wire_read walk_options(const char *options, struct buf *b)
{
	char name[WIRE_OPTION_MAX], value[WIRE_OPTION_MAX];
	const char *at = options;
	enum wire_read r;

	while ((r = wire_startup_option(&at, name, value)) == WIRE_READ_OK) {
		MUST(name[0] != '\0' && strpbrk(name, "=-") == NULL);
		MUST(strlen(name) + strlen(value) < WIRE_OPTION_MAX);
		put_setting(b, name, value);
	}
	MUST(r == WIRE_READ_BAD || *at == '\0');
	buf_put_u8(b, '\0');
	return r;
}

static void check_options(const char *options)
{
	struct buf plain = {0}, again = {0};

	(void)walk_options(options, &plain);
	/* The plain form is two bytes longer than `-cname=value`, and may be too long for that. */
	if (plain.len < WIRE_OPTION_MAX) {
		MUST(walk_options((const char *)plain.data, &again) == WIRE_READ_SHORT);
		MUST(again.len == plain.len && memcmp(again.data, plain.data, plain.len) == 0);
	}
	buf_fini(&plain);
	buf_fini(&again);
}

static void check_parameters(struct wire_cursor c)
{
	const uint8_t *at = c.at;
	const char *name, *value;
	enum wire_read r;

	while ((r = wire_startup_param(&c, &name, &value)) == WIRE_READ_OK) {
		MUST((const uint8_t *)name == at && name[0] != '\0');
		MUST((const uint8_t *)value == at + strlen(name) + 1);
		at = (const uint8_t *)value + strlen(value) + 1;
		MUST(c.at == at && at <= c.end);
		if (strcmp(name, "options") == 0)
			check_options(value);
	}
	MUST(r == WIRE_READ_BAD || (c.at == c.end && at + 1 == c.end));
}

static void check_cancel(const uint8_t *packet, const struct wire_startup *s)
{
	struct wire_cancel cancel;
	struct buf again = {0};

	if (wire_cancel_read(s->rest, &cancel) != WIRE_READ_OK) {
		MUST(s->total_len <= 12 || s->total_len > 12 + WIRE_CANCEL_KEY_MAX);
		return;
	}
	MUST(cancel.key_len > 0 && cancel.key_len <= WIRE_CANCEL_KEY_MAX);
	wire_put_cancel(&again, &cancel);
	MUST(again.len == s->total_len && memcmp(again.data, packet, again.len) == 0);
	buf_fini(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_startup s = {0}, cut = {0};
	enum wire_read r = wire_startup_read(data, size, &s);
	uint8_t *copy;

	if (r == WIRE_READ_BAD) {
		MUST(size >= 4 && wire_startup_read(data, 4, &cut) == WIRE_READ_BAD);
		return 0;
	}
	if (r == WIRE_READ_SHORT)
		return 0;
	MUST(s.total_len >= 8 && s.total_len <= size && s.total_len <= WIRE_STARTUP_MAX);
	MUST(wire_startup_read(data, s.total_len - 1, &cut) == WIRE_READ_SHORT);
	/* To the byte, so that the sanitizer sees every step behind its end. */
	copy = mem_dup(data, s.total_len);
	MUST(wire_startup_read(copy, s.total_len, &s) == WIRE_READ_OK);
	if (s.code == WIRE_CANCEL_REQUEST)
		check_cancel(copy, &s);
	else
		check_parameters(s.rest);
	mem_free(copy);
	return 0;
}
