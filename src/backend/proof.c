/* Keys and proofs of the signed context. A proof is HMAC-SHA256 (RFC 2104) over
 * "pgusher proof 1|ROLE|PID|TENANT": the first part keeps it apart from whatever else the key may
 * sign, role and process id bind it to one server connection. Process id and tenant are digits, so
 * no two contexts have the same text, whatever is in a role's name.
 *
 * A key may be used by any thread, a prover by its worker's only. What was secret is wiped. */
#include "backend_proof.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"
#include "conf.h"

#define PROOF_KEY_MAGIC 0x9400f4e1
#define PROVER_MAGIC 0x9400f4e2
#define KEY_FILE_MAX 1024

struct proof_key {
	uint32_t magic;
	atomic_uint refs;
	size_t len;
	uint8_t bytes[KEY_FILE_MAX];
};

struct prover {
	uint32_t magic;
	EVP_MAC_CTX *mac;
};

/* ---- keys ----------------------------------------------------------------------------------- */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool hex_decode(const char *text, size_t len, struct proof_key *key)
{
	if (len % 2 != 0)
		return false;
	key->len = 0;
	for (size_t i = 0; i < len; i += 2) {
		int high = hex_value(text[i]), low = hex_value(text[i + 1]);

		if (high < 0 || low < 0)
			return false;
		key->bytes[key->len++] = (uint8_t)(high << 4 | low);
	}
	return true;
}

static int base64_value(char c)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at;

	if (c == '-' || c == '_')
		c = c == '-' ? '+' : '/';
	at = memchr(digits, c, sizeof(digits) - 1);
	return at != NULL ? (int)(at - digits) : -1;
}

/* Either alphabet, with or without padding (RFC 4648): what `openssl rand -base64` and others write
 * is one line of that. */
static bool base64_decode(const char *text, size_t len, struct proof_key *key)
{
	uint32_t bits = 0;
	unsigned n_bits = 0;

	for (unsigned pad = 0; pad < 2 && len > 0 && text[len - 1] == '='; pad++)
		len--;
	key->len = 0;
	for (size_t i = 0; i < len; i++) {
		int value = base64_value(text[i]);

		if (value < 0)
			return false;
		bits = (bits << 6 | (uint32_t)value) & 0xffff;
		n_bits += 6;
		if (n_bits >= 8) {
			n_bits -= 8;
			key->bytes[key->len++] = (uint8_t)(bits >> n_bits);
		}
	}
	return len % 4 != 1;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Hexadecimal digits alone are hex, though they could be base64, too; so signed.sql reads it. */
struct proof_key *proof_key_parse(const char *text, size_t len, const char **why)
{
	struct proof_key *key = mem_zalloc(sizeof(*key));

	OBJ_INIT(key, PROOF_KEY_MAGIC);
	atomic_init(&key->refs, 1);
	while (len > 0 && is_blank(text[len - 1]))
		len--;
	for (; len > 0 && is_blank(*text); len--)
		text++;
	*why = NULL;
	if (len > KEY_FILE_MAX)
		*why = "longer than 1024 bytes";
	else if (!hex_decode(text, len, key) && !base64_decode(text, len, key))
		*why = "neither hex nor base64 in one line (openssl rand -hex 32)";
	else if (key->len < PROOF_KEY_MIN_BYTES)
		*why = "the key has less than 32 bytes (openssl rand -hex 32)";
	if (*why != NULL)
		proof_key_put(&key);
	return key;
}

struct proof_key *proof_key_load(const char *path, char *err, size_t err_size)
{
	struct proof_key *key = NULL;
	struct buf text = {0};
	const char *why;

	/* Room for all of it now: growing would leave copies behind. */
	buf_reserve(&text, KEY_FILE_MAX + 1);
	why = conf_secret_read(path, KEY_FILE_MAX, &text);
	if (why == NULL)
		key = proof_key_parse((const char *)text.data, text.len, &why);
	OPENSSL_cleanse(text.data, text.cap);
	buf_fini(&text);
	if (key == NULL)
		snprintf(err, err_size, "cannot use \"%.128s\": %s", path, why);
	return key;
}

struct proof_key *proof_key_get(struct proof_key *key)
{
	OBJ_CHECK(key, PROOF_KEY_MAGIC);
	atomic_fetch_add(&key->refs, 1);
	return key;
}

void proof_key_put(struct proof_key **kp)
{
	struct proof_key *key = *kp;

	*kp = NULL;
	if (key == NULL)
		return;
	OBJ_CHECK(key, PROOF_KEY_MAGIC);
	if (atomic_fetch_sub(&key->refs, 1) > 1)
		return;
	OPENSSL_cleanse(key->bytes, sizeof(key->bytes));
	OBJ_FINI(key, PROOF_KEY_MAGIC);
	mem_free(key);
}

/* ---- proofs --------------------------------------------------------------------------------- */

struct prover *prover_new(const struct proof_key *key)
{
	struct prover *p = mem_zalloc(sizeof(*p));
	EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_end()};

	OBJ_INIT(p, PROVER_MAGIC);
	OBJ_CHECK(key, PROOF_KEY_MAGIC);
	MUST(hmac != NULL);
	p->mac = EVP_MAC_CTX_new(hmac);
	EVP_MAC_free(hmac);
	MUST(p->mac != NULL && EVP_MAC_init(p->mac, key->bytes, key->len, params) == 1);
	return p;
}

void prover_free(struct prover **pp)
{
	struct prover *p = *pp;

	*pp = NULL;
	if (p == NULL)
		return;
	OBJ_CHECK(p, PROVER_MAGIC);
	EVP_MAC_CTX_free(p->mac);
	OBJ_FINI(p, PROVER_MAGIC);
	mem_free(p);
}

static void put(struct prover *p, const char *text)
{
	MUST(EVP_MAC_update(p->mac, (const uint8_t *)text, strlen(text)) == 1);
}

void prover_make(struct prover *p, const char *role, uint32_t pid, const char *tenant,
                 char proof[PROOF_SIZE])
{
	static const char digits[] = "0123456789abcdef";
	uint8_t mac[SHA256_BYTES];
	char middle[16];
	size_t len;

	OBJ_CHECK(p, PROVER_MAGIC);
	snprintf(middle, sizeof(middle), "|%u|", pid);
	/* Without a key: the same one again. */
	MUST(EVP_MAC_init(p->mac, NULL, 0, NULL) == 1);
	put(p, "pgusher proof 1|");
	put(p, role);
	put(p, middle);
	put(p, tenant);
	MUST(EVP_MAC_final(p->mac, mac, &len, sizeof(mac)) == 1 && len == sizeof(mac));
	for (size_t i = 0; i < sizeof(mac); i++) {
		proof[2 * i] = digits[mac[i] >> 4];
		proof[2 * i + 1] = digits[mac[i] & 15];
	}
	proof[PROOF_SIZE - 1] = '\0';
}
