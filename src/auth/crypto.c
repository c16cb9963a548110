/* The signatures themselves, by OpenSSL alone: HS256, RS256, ES256, PS256 (RFC 7518 section 3) and
 * EdDSA with Ed25519 (RFC 8037 section 3.1). Not by libjwt, whose version on Debian 12 has no PS256
 * and none of whose 1.x have EdDSA, and which reads a PEM text for each check (measured, RS256:
 * 350 us by libjwt 1.10, 30 us here). The algorithm is the key's own; nothing of a token chooses
 * it. Keys are only read, so workers share them. Stateless, on any thread. */
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"

#define P256_BYTES 32
#define P256_DER_MAX 72 /* two INTEGERs of 33 bytes in a SEQUENCE */

static void hmac(const struct auth_jwk *jwk, const char *text, size_t len,
                 uint8_t out[SHA256_BYTES])
{
	unsigned n = 0;

	MUST(HMAC(EVP_sha256(), jwk->secret, (int)jwk->secret_len, (const uint8_t *)text, len, out,
	          &n) != NULL);
	MUST(n == SHA256_BYTES);
}

/* ---- ES256: r and s of 32 bytes each (RFC 7518 section 3.4), OpenSSL wants DER ------------- */

static void ecdsa_to_der(const uint8_t *raw, uint8_t der[P256_DER_MAX], size_t *der_len)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(raw, P256_BYTES, NULL);
	BIGNUM *s = BN_bin2bn(raw + P256_BYTES, P256_BYTES, NULL);
	uint8_t *at = der;
	int n;

	MUST(sig != NULL && r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s) == 1);
	n = i2d_ECDSA_SIG(sig, NULL);
	MUST(n > 0 && n <= P256_DER_MAX);
	*der_len = (size_t)i2d_ECDSA_SIG(sig, &at);
	ECDSA_SIG_free(sig);
}

static size_t ecdsa_to_raw(const uint8_t *der, size_t len, uint8_t raw[2 * P256_BYTES])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

	MUST(sig != NULL);
	MUST(BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, P256_BYTES) == P256_BYTES);
	MUST(BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + P256_BYTES, P256_BYTES) == P256_BYTES);
	ECDSA_SIG_free(sig);
	return (size_t)2 * P256_BYTES;
}

/* ---- all of them --------------------------------------------------------------------------- */

/* RFC 7518 section 3.5: the salt is as long as the digest, and MGF1 uses the same one. */
static bool pss_set(const struct auth_jwk *jwk, EVP_PKEY_CTX *pctx)
{
	return jwk->alg != CONF_ALG_PS256 ||
	       (EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) == 1 &&
	        EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) == 1);
}

static const EVP_MD *digest_of(const struct auth_jwk *jwk)
{
	return jwk->alg == CONF_ALG_EDDSA ? NULL : EVP_sha256(); /* Ed25519 has its own inside */
}

static bool pkey_verify(const struct auth_jwk *jwk, const char *text, size_t len,
                        const uint8_t *sig, size_t sig_len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	bool ok;

	MUST(ctx != NULL);
	ok = EVP_DigestVerifyInit(ctx, &pctx, digest_of(jwk), NULL, jwk->pkey) == 1 &&
	     pss_set(jwk, pctx) &&
	     EVP_DigestVerify(ctx, sig, sig_len, (const uint8_t *)text, len) == 1;
	EVP_MD_CTX_free(ctx);
	/* This thread runs TLS: an old error in OpenSSL's queue would be taken for its own. */
	ERR_clear_error();
	return ok;
}

bool auth_crypto_verify(const struct auth_jwk *jwk, const char *text, size_t len,
                        const uint8_t *sig, size_t sig_len)
{
	uint8_t own[SHA256_BYTES], der[P256_DER_MAX];
	size_t der_len;

	switch (jwk->alg) {
	case CONF_ALG_HS256:
		hmac(jwk, text, len, own);
		return sig_len == sizeof(own) && secret_equals(sig, own, sizeof(own));
	case CONF_ALG_ES256:
		if (sig_len != (size_t)2 * P256_BYTES)
			return false;
		ecdsa_to_der(sig, der, &der_len);
		return pkey_verify(jwk, text, len, der, der_len);
	case CONF_ALG_RS256:
	case CONF_ALG_PS256:
	case CONF_ALG_EDDSA:
		return pkey_verify(jwk, text, len, sig, sig_len);
	default:
		MUST_NOT_REACH();
	}
}

size_t auth_crypto_sign(const struct auth_jwk *jwk, const char *text, size_t len, uint8_t *sig)
{
	uint8_t der[AUTH_SIGNATURE_MAX];
	size_t n = sizeof(der);
	EVP_MD_CTX *ctx;
	EVP_PKEY_CTX *pctx;
	bool ok;

	if (jwk->alg == CONF_ALG_HS256) {
		hmac(jwk, text, len, sig);
		return SHA256_BYTES;
	}
	ctx = EVP_MD_CTX_new();
	MUST(ctx != NULL);
	ok = EVP_DigestSignInit(ctx, &pctx, digest_of(jwk), NULL, jwk->pkey) == 1 &&
	     pss_set(jwk, pctx) && EVP_DigestSign(ctx, der, &n, (const uint8_t *)text, len) == 1;
	EVP_MD_CTX_free(ctx);
	ERR_clear_error();
	if (!ok)
		return 0;
	if (jwk->alg == CONF_ALG_ES256)
		return ecdsa_to_raw(der, n, sig);
	memcpy(sig, der, n);
	return n;
}
