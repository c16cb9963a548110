/* The proof that stands beside the tenant in a signed context ([context] mode = signed): that
 * PgUsher has set it, for this tenant, on this server connection. sql/signed.sql checks it. */
#ifndef PGUSHER_BACKEND_PROOF_H
#define PGUSHER_BACKEND_PROOF_H

#include <stddef.h>
#include <stdint.h>

#define PROOF_KEY_MIN_BYTES 32
#define PROOF_SIZE 65 /* 64 lower-case hexadecimal digits and a NUL */

/* ---- the key: immutable, counted, shared between threads ---------------------------------- */

struct proof_key;
/* From proof_key_file, which must not be open to other users: one line of hex or base64. NULL with
 * the reason in err. */
struct proof_key *proof_key_load(const char *path, char *err, size_t err_size);
/* From such a line, with or without its end. NULL with the reason in *why. */
struct proof_key *proof_key_parse(const char *text, size_t len, const char **why);
struct proof_key *proof_key_get(struct proof_key *key);
/* NULL is fine. The last one wipes it. */
void proof_key_put(struct proof_key **kp);

/* ---- proofs: a worker's own ---------------------------------------------------------------- */

struct prover;
/* HMAC-SHA256 made ready with the key, which it does not keep. */
struct prover *prover_new(const struct proof_key *key);
/* NULL is fine. */
void prover_free(struct prover **pp);
/* For the tenant, on the server connection of this role and process id. Costs 0.25 us, so
 * none is kept. */
void prover_make(struct prover *p, const char *role, uint32_t pid, const char *tenant,
                 char proof[PROOF_SIZE]);

#endif
