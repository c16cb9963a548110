/* SCRAM-SHA-256, the client's side (RFC 5802, 7677), without checking the server's proof: this is
 * a load generator. The salted password is remembered, as drivers do: a thousand logins of one
 * user would otherwise measure our own 4096 rounds. */
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

#define HASH 32
#define NONCE 18

struct scram {
	const char *password;
	char bare[64]; /* client-first-message-bare */
};

static struct {
	char password[1024], salt[128];
	int rounds;
	uint8_t salted[HASH];
} known;

struct scram *scram_new(const char *password, char *first, size_t size)
{
	struct scram *s = calloc(1, sizeof(*s));
	uint8_t raw[NONCE];
	char nonce[NONCE * 2];

	if (s == NULL || RAND_bytes(raw, sizeof(raw)) != 1)
		abort();
	s->password = password;
	EVP_EncodeBlock((unsigned char *)nonce, raw, sizeof(raw));
	snprintf(s->bare, sizeof(s->bare), "n=,r=%s", nonce);
	snprintf(first, size, "n,,%s", s->bare);
	return s;
}

void scram_free(struct scram **s)
{
	free(*s);
	*s = NULL;
}

static void hmac(const uint8_t *key, const char *text, size_t len, uint8_t out[HASH])
{
	unsigned n = HASH;

	if (HMAC(EVP_sha256(), key, HASH, (const unsigned char *)text, len, out, &n) == NULL)
		abort();
}

static bool salted_password(const char *password, const char *salt, int rounds, uint8_t out[HASH])
{
	uint8_t raw[128];
	int len;

	if (known.rounds == rounds && strcmp(known.salt, salt) == 0 &&
	    strcmp(known.password, password) == 0) {
		memcpy(out, known.salted, HASH);
		return true;
	}
	if (strlen(salt) >= sizeof(known.salt) || strlen(password) >= sizeof(known.password))
		return false;
	len = EVP_DecodeBlock(raw, (const unsigned char *)salt, (int)strlen(salt));
	for (size_t i = strlen(salt); len > 0 && i > 0 && salt[i - 1] == '='; i--)
		len--;
	if (len <= 0 || PKCS5_PBKDF2_HMAC(password, (int)strlen(password), raw, len, rounds,
	                                  EVP_sha256(), HASH, out) != 1)
		return false;
	snprintf(known.password, sizeof(known.password), "%s", password);
	snprintf(known.salt, sizeof(known.salt), "%s", salt);
	known.rounds = rounds;
	memcpy(known.salted, out, HASH);
	return true;
}

bool scram_answer(struct scram *s, const char *server_first, char *final, size_t size)
{
	char nonce[128], salt[128], text[600], without[160], proof[64];
	uint8_t salted[HASH], key[HASH], stored[HASH], signature[HASH];
	int rounds, n;

	if (sscanf(server_first, "r=%127[^,],s=%127[^,],i=%d", nonce, salt, &rounds) != 3 ||
	    rounds < 1 || rounds > 1000000 || !salted_password(s->password, salt, rounds, salted))
		return false;
	snprintf(without, sizeof(without), "c=biws,r=%s", nonce);
	n = snprintf(text, sizeof(text), "%s,%s,%s", s->bare, server_first, without);
	if (n < 0 || (size_t)n >= sizeof(text))
		return false;
	hmac(salted, "Client Key", 10, key);
	if (EVP_Digest(key, HASH, stored, NULL, EVP_sha256(), NULL) != 1)
		return false;
	hmac(stored, text, (size_t)n, signature);
	for (int i = 0; i < HASH; i++)
		key[i] ^= signature[i];
	EVP_EncodeBlock((unsigned char *)proof, key, HASH);
	snprintf(final, size, "%s,p=%s", without, proof);
	return true;
}
