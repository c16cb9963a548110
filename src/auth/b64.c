/* base64url as JOSE uses it: no padding, no white space, no second spelling of the same bytes.
 * Other decoders are lenient ('+', '/', '=', stray bits); this one is not, so that
 * no token has variants that verify but have another digest. Pure. */
#include "auth_int.h"
#include "base/mem.h"

/* The value of one character, or -1. */
static int b64_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	return c == '_' ? 63 : -1;
}

bool auth_b64_decode(const char *in, size_t len, uint8_t *out, size_t *out_len)
{
	uint32_t bits = 0;
	int n_bits = 0;
	size_t n = 0;

	if (len % 4 == 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		int value = b64_value(in[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			out[n++] = (uint8_t)(bits >> n_bits);
			bits &= (1u << n_bits) - 1;
		}
	}
	*out_len = n;
	return bits == 0;
}

char *auth_b64_encode(const void *in, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *at = in;
	char *out = mem_alloc(len / 3 * 4 + 5), *to = out;
	uint32_t bits = 0;
	int n_bits = 0;

	for (size_t i = 0; i < len; i++) {
		bits = (bits << 8 | at[i]) & 0xffff;
		n_bits += 8;
		while (n_bits >= 6) {
			n_bits -= 6;
			*to++ = digits[bits >> n_bits & 63];
		}
	}
	if (n_bits > 0)
		*to++ = digits[bits << (6 - n_bits) & 63];
	*to = '\0';
	return out;
}
