/* The packets before login. Everything is checked against the packet's end before it is read,
 * and the packet's length before anything else. */
#include "wire.h"

#include <ctype.h>
#include <string.h>

const char *wire_cursor_cstr(struct wire_cursor *c)
{
	const uint8_t *nul = memchr(c->at, '\0', (size_t)(c->end - c->at));
	const char *s = (const char *)c->at;

	if (nul == NULL)
		return NULL;
	c->at = nul + 1;
	return s;
}

enum wire_read wire_startup_read(const uint8_t *p, size_t n, struct wire_startup *out)
{
	uint32_t len;

	if (n < 4)
		return WIRE_READ_SHORT;
	len = be32_get(p);
	if (len < 8 || len > WIRE_STARTUP_MAX)
		return WIRE_READ_BAD;
	if (n < len)
		return WIRE_READ_SHORT;
	out->code = be32_get(p + 4);
	out->rest.at = p + 8;
	out->rest.end = p + len;
	out->total_len = len;
	return WIRE_READ_OK;
}

enum wire_read wire_startup_param(struct wire_cursor *c, const char **name, const char **value)
{
	*name = wire_cursor_cstr(c);
	if (*name == NULL)
		return WIRE_READ_BAD;
	if (**name == '\0')
		return c->at == c->end ? WIRE_READ_SHORT : WIRE_READ_BAD;
	*value = wire_cursor_cstr(c);
	return *value != NULL ? WIRE_READ_OK : WIRE_READ_BAD;
}

enum wire_read wire_cancel_read(struct wire_cursor c, struct wire_cancel *out)
{
	size_t len = (size_t)(c.end - c.at);

	if (len <= 4 || len > 4 + WIRE_CANCEL_KEY_MAX)
		return WIRE_READ_BAD;
	out->pid = be32_get(c.at);
	out->key_len = (uint16_t)(len - 4);
	memcpy(out->key, c.at + 4, out->key_len);
	return WIRE_READ_OK;
}

/* One blank-separated word of `options`; a backslash takes the next character as it is. */
static enum wire_read option_word(const char **at, char *word)
{
	const char *p = *at;
	size_t n = 0;

	while (isspace((unsigned char)*p))
		p++;
	if (*p == '\0') {
		*at = p;
		return WIRE_READ_SHORT;
	}
	for (; *p != '\0' && !isspace((unsigned char)*p); p++) {
		if (*p == '\\' && p[1] != '\0')
			p++;
		if (n + 1 >= WIRE_OPTION_MAX)
			return WIRE_READ_BAD;
		word[n++] = *p;
	}
	word[n] = '\0';
	*at = p;
	return WIRE_READ_OK;
}

enum wire_read wire_startup_option(const char **at, char *name, char *value)
{
	char word[WIRE_OPTION_MAX];
	const char *setting = word + 2, *equals;
	enum wire_read r = option_word(at, word);
	size_t len;

	if (r != WIRE_READ_OK)
		return r;
	if (strcmp(word, "-c") == 0) {
		if (option_word(at, word) != WIRE_READ_OK)
			return WIRE_READ_BAD;
		setting = word;
	} else if (strncmp(word, "-c", 2) != 0 && strncmp(word, "--", 2) != 0) {
		return WIRE_READ_BAD;
	}
	equals = strchr(setting, '=');
	if (equals == NULL || equals == setting)
		return WIRE_READ_BAD;
	len = (size_t)(equals - setting);
	for (size_t i = 0; i < len; i++) /* ParseLongOption: dashes stand for underscores */
		name[i] = setting[i] == '-' ? '_' : setting[i];
	name[len] = '\0';
	memcpy(value, equals + 1, strlen(equals + 1) + 1);
	return WIRE_READ_OK;
}
