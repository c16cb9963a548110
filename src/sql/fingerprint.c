/* What a statement is called in the audit log: 64 bits of the SHA-256 of its text without its
 * literals. Pure. Worked out once for each entry of the cache.
 *
 * A normalised key is that text already. A key that is the text itself may hold secrets in its
 * literals, and whoever reads a digest could try them out: its tokens are taken one by one, and
 * each literal, and all behind what cannot be read, is one mark. */
#include <string.h>

#include "base/hash.h"
#include "sql_int.h"

#define LITERAL 1 /* no text that is normalised has this byte, and in others it is TOKEN_BAD */

static bool is_literal(const struct sql_token *t)
{
	return (t->kind >= TOKEN_STRING && t->kind <= TOKEN_NUMBER) || t->kind == TOKEN_BAD;
}

static void put_token(struct buf *out, const char *text, const struct sql_token *t)
{
	if (out->len > 0)
		buf_put_u8(out, ' ');
	if (is_literal(t)) {
		buf_put_u8(out, LITERAL);
		return;
	}
	for (uint32_t i = t->start; i < t->end; i++) {
		uint8_t c = (uint8_t)text[i];

		if (t->kind == TOKEN_IDENT && c >= 'A' && c <= 'Z')
			c |= 0x20;
		buf_put_u8(out, c);
	}
}

static void put_tokens(struct buf *out, const struct sql_key *key)
{
	struct sql_lexer lexer;
	struct sql_token token;

	sql_lexer_init(&lexer, key->bytes, key->len);
	do {
		sql_lexer_next(&lexer, &token);
		if (token.kind != TOKEN_END)
			put_token(out, key->bytes, &token);
	} while (token.kind != TOKEN_END && token.kind != TOKEN_BAD);
}

uint64_t sql_fingerprint(const struct sql_key *key)
{
	uint8_t digest[SHA256_BYTES];
	struct buf text = {0};
	uint64_t f = 0;

	if (key->is_exact) {
		put_tokens(&text, key);
		hash_sha256(text.data, text.len, digest);
		buf_fini(&text);
	} else {
		hash_sha256(key->bytes, key->len, digest);
	}
	for (unsigned i = 0; i < sizeof(f); i++)
		f = f << 8 | digest[i];
	return f != 0 ? f : 1;
}
