/* Tokens in bulk, for logins that nobody has seen before: mint KEY.pem KID COUNT TENANT ROLE prints
 * COUNT different ones signed RS256, one a line. `pgusher token` makes one a process; this reads the
 * key once and is as fast as OpenSSL signs. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void die(const char *what)
{
	fprintf(stderr, "mint: %s\n", what);
	exit(1);
}

/* Base64 for URLs without padding (RFC 7515, section 2); out has room for 4/3 of it and a NUL. */
static void base64url(const void *data, size_t len, char *out)
{
	int n = EVP_EncodeBlock((unsigned char *)out, data, (int)len);

	while (n > 0 && out[n - 1] == '=')
		out[--n] = '\0';
	for (; n > 0; n--) {
		if (out[n - 1] == '+')
			out[n - 1] = '-';
		if (out[n - 1] == '/')
			out[n - 1] = '_';
	}
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *file = fopen(path, "re");
	EVP_PKEY *key = file != NULL ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : NULL;

	if (key == NULL)
		die("no private key in the file");
	fclose(file);
	return key;
}

static void print_token(EVP_PKEY *key, EVP_MD_CTX *ctx, const char *head, const char *claims)
{
	char text[2048], body[1024], encoded[1024];
	unsigned char signature[512];
	size_t len = sizeof(signature);

	base64url(claims, strlen(claims), body);
	snprintf(text, sizeof(text), "%s.%s", head, body);
	if (EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSign(ctx, signature, &len, (unsigned char *)text, strlen(text)) != 1)
		die("cannot sign");
	base64url(signature, len, encoded);
	printf("%s.%s\n", text, encoded);
}

int main(int argc, char **argv)
{
	long count = argc == 6 ? strtol(argv[3], NULL, 10) : 0;
	char json[512], head[1024];
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY *key;

	if (count < 1 || ctx == NULL) {
		fputs("usage: mint KEY.pem KID COUNT TENANT ROLE\n", stderr);
		return 2;
	}
	key = read_key(argv[1]);
	snprintf(json, sizeof(json), "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"%s\"}", argv[2]);
	base64url(json, strlen(json), head);
	for (long i = 0; i < count; i++) {
		snprintf(
			json, sizeof(json),
			"{\"tenant_id\":\"%s\",\"role\":\"%s\",\"exp\":%lld,\"jti\":\"bench-%ld\"}",
			argv[4], argv[5], (long long)time(NULL) + 12 * 3600, i);
		print_token(key, ctx, head, json);
	}
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return fflush(stdout) != 0;
}
