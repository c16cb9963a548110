/* Reads the tree that libpg_query writes, in place: no allocation, no recursion.
 *
 * Not a JSON parser for the world: the text comes from libpg_query in this process, compact
 * (no white space), well formed, NUL-terminated. jansson took 5 to 10 times as long as
 * parsing the SQL itself (measured: 790 ms against 67 ms for a 2 MB INSERT, and 300 MB of
 * memory), refuses text in encodings other than UTF-8, and nests at most 2,048 deep. */
#include <stdlib.h>
#include <string.h>

#include "sql_int.h"

/* One past the string whose first quote is at p. */
static const char *string_end(const char *p)
{
	for (p++;; p += 2) {
		/* Not strcspn: a sanitizer's measures the whole rest each time. */
		while (*p != '"' && *p != '\\' && *p != '\0')
			p++;
		if (*p != '\\')
			return *p == '"' ? p + 1 : p;
	}
}

static const char *scalar_end(const char *p)
{
	while (*p != ',' && *p != ']' && *p != '}' && *p != '\0')
		p++;
	return p;
}

const char *sql_json_end(const char *value)
{
	unsigned depth = 0;
	const char *p = value;

	do {
		switch (*p) {
		case '"':
			p = string_end(p);
			break;
		case '{':
		case '[':
			depth++;
			p++;
			break;
		case '}':
		case ']':
			depth--;
			p++;
			break;
		case '\0':
			return p;
		default:
			p++;
			if (depth == 0)
				p = scalar_end(p);
		}
	} while (depth > 0);
	return p;
}

/* From where a member or an element may start to its value. */
static const char *value_at(const char *p)
{
	if (*p == '}' || *p == ']' || *p == '\0')
		return NULL;
	if (*p == '"') {
		const char *end = string_end(p);

		if (*end == ':')
			return end + 1;
	}
	return p;
}

const char *sql_json_first(const char *container)
{
	if (container == NULL || (*container != '{' && *container != '['))
		return NULL;
	return value_at(container + 1);
}

const char *sql_json_next(const char *value)
{
	const char *p = sql_json_end(value);

	return *p == ',' ? value_at(p + 1) : NULL;
}

const char *sql_json_get(const char *object, const char *key)
{
	size_t len = strlen(key);
	const char *p;

	if (object == NULL || *object != '{')
		return NULL;
	for (p = object + 1; *p == '"'; p++) {
		const char *end = string_end(p);

		/* p to end is the key with its quotes, end is at the colon. */
		if ((size_t)(end - p) == len + 2 && memcmp(p + 1, key, len) == 0)
			return end + 1;
		p = sql_json_end(end + 1);
		if (*p != ',')
			break;
	}
	return NULL;
}

bool sql_json_string(const char *value, struct sql_json_string *out)
{
	const char *end;

	if (value == NULL || *value != '"')
		return false;
	end = string_end(value);
	out->p = value + 1;
	out->len = (size_t)(end - value) - 2;
	out->has_escapes = memchr(out->p, '\\', out->len) != NULL;
	return true;
}

bool sql_json_is(const char *value, const char *text)
{
	struct sql_json_string s;

	return sql_json_string(value, &s) && s.len == strlen(text) && memcmp(s.p, text, s.len) == 0;
}

bool sql_json_is_true(const char *value)
{
	return value != NULL && strncmp(value, "true", 4) == 0;
}

long sql_json_int(const char *value, long otherwise)
{
	if (value == NULL || !(*value == '-' || (*value >= '0' && *value <= '9')))
		return otherwise;
	return strtol(value, NULL, 10);
}

void sql_json_decode(const struct sql_json_string *s, struct buf *out)
{
	for (size_t i = 0; i < s->len; i++) {
		char c = s->p[i];

		if (c != '\\') {
			buf_put_u8(out, (uint8_t)c);
			continue;
		}
		c = s->p[++i];
		if (c == 'u') {
			char digits[5] = {0};

			/* libpg_query escapes single bytes only. */
			memcpy(digits, s->p + i + 1, 4);
			buf_put_u8(out, (uint8_t)strtoul(digits, NULL, 16));
			i += 4;
			continue;
		}
		buf_put_u8(out, (uint8_t)(c == 'b'   ? '\b'
		                          : c == 'f' ? '\f'
		                          : c == 'n' ? '\n'
		                          : c == 'r' ? '\r'
		                          : c == 't' ? '\t'
		                                     : c));
	}
	buf_put_u8(out, 0);
}

const char *sql_json_scan(const char *p, const char *end, struct sql_json_string *key)
{
	while ((p = memchr(p, '"', (size_t)(end - p))) != NULL) {
		const char *after = string_end(p);

		if (*after == ':') {
			key->p = p + 1;
			key->len = (size_t)(after - p) - 2;
			key->has_escapes = false;
			return after + 1;
		}
		p = after;
	}
	return NULL;
}
