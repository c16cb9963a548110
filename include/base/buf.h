/* A growable byte buffer; zeroed memory is a valid empty one. */
#ifndef PGUSHER_BASE_BUF_H
#define PGUSHER_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len; /* bytes in use */
	size_t cap;
};

void buf_fini(struct buf *b);
/* Room for `more` bytes behind len; returns where they go. */
uint8_t *buf_reserve(struct buf *b, size_t more);
void buf_put(struct buf *b, const void *p, size_t len);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_be16(struct buf *b, uint16_t v);
void buf_put_be32(struct buf *b, uint32_t v);
/* The string with its NUL. */
void buf_put_cstr(struct buf *b, const char *s);
/* Drops the first len bytes. */
void buf_consume(struct buf *b, size_t len);

static inline uint32_t be32_get(const void *p)
{
	const uint8_t *b = p;

	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static inline uint16_t be16_get(const void *p)
{
	const uint8_t *b = p;

	return (uint16_t)(b[0] << 8 | b[1]);
}

static inline void be32_set(void *p, uint32_t v)
{
	uint8_t *b = p;

	b[0] = (uint8_t)(v >> 24);
	b[1] = (uint8_t)(v >> 16);
	b[2] = (uint8_t)(v >> 8);
	b[3] = (uint8_t)v;
}

#endif
