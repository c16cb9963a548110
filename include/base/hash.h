/* Keyed hashing, random bytes, digests and comparison of secrets. */
#ifndef PGUSHER_BASE_HASH_H
#define PGUSHER_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

/* SipHash-2-4 under a key drawn at process start; safe from any thread. */
uint64_t hash_bytes(const void *p, size_t len);
void hash_sha256(const void *p, size_t len, uint8_t out[SHA256_BYTES]);
/* HMAC-SHA-256 under a key drawn at process start; safe from any thread. */
void hash_hmac(const void *p, size_t len, uint8_t out[SHA256_BYTES]);
/* Cryptographically strong random bytes. */
void random_bytes(void *p, size_t len);
/* 2 * len hexadecimal digits and a NUL into out. */
void random_hex(char *out, size_t len);
/* Takes the same time wherever the first difference is. */
bool secret_equals(const void *a, const void *b, size_t len);

#endif
