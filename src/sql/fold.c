/* The dotted capital I of Turkish. In a database of a one-byte encoding PostgreSQL folds letters
 * beyond ASCII in names without quotes as its locale says (downcase_identifier), and under tr_TR
 * that one is an i: with it, set_config has a name that no parser here knows. Neither the server's
 * encoding nor its locale is known, so a text with that letter is read both ways. Keywords are not
 * folded so, nor are names of settings in a literal. Pure. */
#include <string.h>

#include "sql_int.h"

/* In UTF-8, ISO 8859-9 (and Windows 1254), and ISO 8859-3. */
#define UTF8_FIRST 0xc4
#define UTF8_SECOND 0xb0
#define LATIN5_I 0xdd
#define LATIN3_I 0xa9
/* In front of a letter of ISO 8859-3 where client_encoding = MULE_INTERNAL. */
#define MULE_LATIN3 0x83

static bool is_continuation(uint8_t c)
{
	return (c & 0xc0) == 0x80;
}

/* Of a character of UTF-8; 1 where the byte is none, as in a text of another encoding. */
static size_t char_len(const uint8_t *p, size_t max)
{
	size_t len = 1;

	if ((*p >= 0xc2 && *p <= 0xdf) || (*p == MULE_LATIN3 && max > 1 && p[1] == LATIN3_I))
		len = 2;
	else if (*p >= 0xe0 && *p <= 0xef)
		len = 3;
	else if (*p >= 0xf0 && *p <= 0xf4)
		len = 4;
	if (len > max)
		return 1;
	for (size_t i = 1; i < len; i++)
		if (!is_continuation(p[i]))
			return 1;
	return len;
}

static bool is_dotted_i(const uint8_t *p, size_t len)
{
	if (len == 1)
		return *p == LATIN5_I || *p == LATIN3_I;
	return len == 2 && ((p[0] == UTF8_FIRST && p[1] == UTF8_SECOND) || p[0] == MULE_LATIN3);
}

/* Every text comes by here, and nearly all are ASCII: eight bytes at a time. */
static bool is_ascii(const uint8_t *p, size_t len)
{
	uint64_t seen = 0, word;

	for (; len >= sizeof(word); p += sizeof(word), len -= sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		seen |= word;
	}
	for (; len > 0; p++, len--)
		seen |= *p;
	return (seen & UINT64_C(0x8080808080808080)) == 0;
}

bool sql_has_dotted_i(const char *text, size_t len)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	size_t n;

	if (is_ascii(p, len))
		return false;
	for (; p < end; p += n) {
		n = char_len(p, (size_t)(end - p));
		if (is_dotted_i(p, n))
			return true;
	}
	return false;
}

void sql_fold_dotted_i(const char *text, size_t len, struct buf *out)
{
	const uint8_t *p = (const uint8_t *)text, *end = p + len;
	size_t n;

	out->len = 0;
	for (; p < end; p += n) {
		n = char_len(p, (size_t)(end - p));
		if (is_dotted_i(p, n))
			buf_put_u8(out, 'i');
		else
			buf_put(out, p, n);
	}
	buf_put_u8(out, 0);
	out->len--;
}
