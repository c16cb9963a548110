/* Result sets in text format. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "console_int.h"

/* pg_type.h: oid and typlen. */
static const struct {
	uint32_t oid;
	uint16_t len;
} types[] = {
	[COLUMN_TEXT] = {25, UINT16_MAX},
	[COLUMN_INT4] = {23, 4},
	[COLUMN_INT8] = {20, 8},
	[COLUMN_NUMERIC] = {1700, UINT16_MAX},
};

static size_t begin(struct buf *b, uint8_t type)
{
	buf_put_u8(b, type);
	buf_put_be32(b, 0);
	return b->len - 4;
}

static void end(struct buf *b, size_t at)
{
	be32_set(b->data + at, (uint32_t)(b->len - at));
}

void columns_put(struct buf *b, const struct column *columns, size_t n)
{
	size_t at = begin(b, 'T');

	buf_put_be16(b, (uint16_t)n);
	for (size_t i = 0; i < n; i++) {
		buf_put_cstr(b, columns[i].name);
		buf_put_be32(b, 0); /* of no table */
		buf_put_be16(b, 0);
		buf_put_be32(b, types[columns[i].type].oid);
		buf_put_be16(b, types[columns[i].type].len);
		buf_put_be32(b, UINT32_MAX); /* no type modifier */
		buf_put_be16(b, 0);          /* text */
	}
	end(b, at);
}

struct row row_begin(struct buf *b)
{
	struct row r = {.b = b};

	r.at = begin(b, 'D');
	buf_put_be16(b, 0);
	return r;
}

static void row_bytes(struct row *r, const char *p, size_t len)
{
	buf_put_be32(r->b, (uint32_t)len);
	buf_put(r->b, p, len);
	r->n++;
}

void row_text(struct row *r, const char *text)
{
	if (text != NULL) {
		row_bytes(r, text, strlen(text));
		return;
	}
	buf_put_be32(r->b, UINT32_MAX);
	r->n++;
}

void row_int(struct row *r, int64_t value)
{
	char digits[24], *at = digits + sizeof(digits);
	uint64_t rest = value < 0 ? -(uint64_t)value : (uint64_t)value;

	do {
		*--at = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	if (value < 0)
		*--at = '-';
	row_bytes(r, at, (size_t)(digits + sizeof(digits) - at));
}

/* PgBouncer's form, in UTC whatever TZ says. */
void row_time(struct row *r, int64_t wall_s)
{
	time_t t = (time_t)wall_s;
	char text[64];
	struct tm tm;

	if (gmtime_r(&t, &tm) == NULL ||
	    strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) == 0)
		text[0] = '\0';
	row_text(r, text);
}

void row_end(struct row *r)
{
	uint8_t *n = r->b->data + r->at + 4;

	n[0] = (uint8_t)(r->n >> 8);
	n[1] = (uint8_t)r->n;
	end(r->b, r->at);
}
