/* Keyed hashing, random bytes, digests. SipHash-2-4: Aumasson and Bernstein, 2012. The keys are
 * drawn when they are first needed, and stay. */
#include "base/hash.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/assert.h"

static uint64_t sip_key[2];
static pthread_once_t sip_once = PTHREAD_ONCE_INIT;

static void sip_key_draw(void)
{
	random_bytes(sip_key, sizeof(sip_key));
}

struct sip {
	uint64_t v0, v1, v2, v3;
};

static inline uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static inline void sip_round(struct sip *s)
{
	s->v0 += s->v1;
	s->v1 = rotl(s->v1, 13) ^ s->v0;
	s->v0 = rotl(s->v0, 32);
	s->v2 += s->v3;
	s->v3 = rotl(s->v3, 16) ^ s->v2;
	s->v0 += s->v3;
	s->v3 = rotl(s->v3, 21) ^ s->v0;
	s->v2 += s->v1;
	s->v1 = rotl(s->v1, 17) ^ s->v2;
	s->v2 = rotl(s->v2, 32);
}

static inline void sip_absorb(struct sip *s, uint64_t word)
{
	s->v3 ^= word;
	sip_round(s);
	sip_round(s);
	s->v0 ^= word;
}

uint64_t hash_bytes(const void *p, size_t len)
{
	const uint8_t *in = p;
	uint64_t word, last = (uint64_t)len << 56;
	struct sip s;

	pthread_once(&sip_once, sip_key_draw);
	s.v0 = sip_key[0] ^ UINT64_C(0x736f6d6570736575);
	s.v1 = sip_key[1] ^ UINT64_C(0x646f72616e646f6d);
	s.v2 = sip_key[0] ^ UINT64_C(0x6c7967656e657261);
	s.v3 = sip_key[1] ^ UINT64_C(0x7465646279746573);
	for (; len >= 8; in += 8, len -= 8) {
		memcpy(&word, in, 8);
		sip_absorb(&s, word);
	}
	for (size_t i = 0; i < len; i++)
		last |= (uint64_t)in[i] << (8 * i);
	sip_absorb(&s, last);
	s.v2 ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(&s);
	return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

void hash_sha256(const void *p, size_t len, uint8_t out[SHA256_BYTES])
{
	MUST(EVP_Digest(p, len, out, NULL, EVP_sha256(), NULL) == 1);
}

static uint8_t hmac_key[SHA256_BYTES];
static pthread_once_t hmac_once = PTHREAD_ONCE_INIT;

static void hmac_key_draw(void)
{
	random_bytes(hmac_key, sizeof(hmac_key));
}

void hash_hmac(const void *p, size_t len, uint8_t out[SHA256_BYTES])
{
	unsigned n = 0;

	pthread_once(&hmac_once, hmac_key_draw);
	MUST(HMAC(EVP_sha256(), hmac_key, sizeof(hmac_key), p, len, out, &n) != NULL);
	MUST(n == SHA256_BYTES);
}

void random_bytes(void *p, size_t len)
{
	uint8_t *at = p;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		MUST_SYS(n > 0);
		at += n;
		len -= (size_t)n;
	}
}

void random_hex(char *out, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		uint8_t byte;

		random_bytes(&byte, 1);
		out[2 * i] = digits[byte >> 4];
		out[2 * i + 1] = digits[byte & 15];
	}
	out[2 * len] = '\0';
}

bool secret_equals(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}
