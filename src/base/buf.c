/* A growable byte buffer. */
#include "base/buf.h"

#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define BUF_MIN_CAP 256

void buf_fini(struct buf *b)
{
	MEM_FREE(&b->data);
	b->len = b->cap = 0;
}

uint8_t *buf_reserve(struct buf *b, size_t more)
{
	if (b->cap - b->len < more) {
		size_t cap = b->cap ? b->cap : BUF_MIN_CAP;

		while (cap < b->len + more)
			cap *= 2;
		b->data = mem_realloc(b->data, cap);
		b->cap = cap;
	}
	return b->data + b->len;
}

void buf_put(struct buf *b, const void *p, size_t len)
{
	if (len == 0)
		return;
	memcpy(buf_reserve(b, len), p, len);
	b->len += len;
}

void buf_put_u8(struct buf *b, uint8_t v)
{
	*buf_reserve(b, 1) = v;
	b->len++;
}

void buf_put_be16(struct buf *b, uint16_t v)
{
	uint8_t *p = buf_reserve(b, 2);

	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	b->len += 2;
}

void buf_put_be32(struct buf *b, uint32_t v)
{
	be32_set(buf_reserve(b, 4), v);
	b->len += 4;
}

void buf_put_cstr(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s) + 1);
}

void buf_consume(struct buf *b, size_t len)
{
	MUST(len <= b->len);
	b->len -= len;
	if (b->len > 0)
		memmove(b->data, b->data + len, b->len);
}
