/* The judge of our lexer: the tokens of libpg_query's scanner, which is PostgreSQL's own,
 * without the comments. Used by the lexer's unit test and by the fuzzer. */
#ifndef PGUSHER_TESTS_SCAN_REFERENCE_H
#define PGUSHER_TESTS_SCAN_REFERENCE_H

#include <pg_query.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/assert.h"
#include "base/mem.h"

struct reference_token {
	uint32_t start, end, kind;
};

struct reference {
	bool has_error;
	size_t n;
	struct reference_token *tokens;
};

/* Values of `enum Token` in pg_query.proto. */
enum {
	REFERENCE_UIDENT = 259,
	REFERENCE_FCONST = 260,
	REFERENCE_SCONST = 261,
	REFERENCE_USCONST = 262,
	REFERENCE_BCONST = 263,
	REFERENCE_XCONST = 264,
	REFERENCE_ICONST = 266,
	REFERENCE_PARAM = 267,
	REFERENCE_SQL_COMMENT = 275,
	REFERENCE_C_COMMENT = 276,
};

static inline uint64_t reference_varint(const uint8_t **p)
{
	uint64_t value = 0;

	for (unsigned shift = 0;; shift += 7) {
		uint8_t byte = *(*p)++;

		value |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return value;
	}
}

/* One ScanToken message: start = 1, end = 2, token = 4, keyword_kind = 5; zeroes left out. */
static inline struct reference_token reference_token_read(const uint8_t *p, const uint8_t *end)
{
	struct reference_token token = {0};

	while (p < end) {
		uint64_t tag = reference_varint(&p), value = reference_varint(&p);

		MUST((tag & 7) == 0);
		if (tag >> 3 == 1)
			token.start = (uint32_t)value;
		else if (tag >> 3 == 2)
			token.end = (uint32_t)value;
		else if (tag >> 3 == 4)
			token.kind = (uint32_t)value;
	}
	return token;
}

/* text is NUL-terminated. */
static inline void reference_scan(const char *text, struct reference *out)
{
	PgQueryScanResult result = pg_query_scan(text);

	*out = (struct reference){.has_error = result.error != NULL};
	if (!out->has_error && result.pbuf.len > 0) {
		const uint8_t *p = (const uint8_t *)result.pbuf.data, *end = p + result.pbuf.len;

		/* A token message takes four bytes at least. */
		out->tokens = mem_zalloc((result.pbuf.len / 4 + 1) * sizeof(out->tokens[0]));
		while (p < end) {
			uint64_t tag = reference_varint(&p), value = reference_varint(&p);

			if (tag != (2 << 3 | 2))
				continue; /* the version */
			out->tokens[out->n] = reference_token_read(p, p + value);
			p += value;
			if (out->tokens[out->n].kind != REFERENCE_SQL_COMMENT &&
			    out->tokens[out->n].kind != REFERENCE_C_COMMENT)
				out->n++;
		}
	}
	pg_query_free_scan_result(result);
}

static inline void reference_free(struct reference *r)
{
	MEM_FREE(&r->tokens);
}

#endif
