/* libFuzzer: any bytes as the content of proof_key_file. What is accepted makes proofs; a refusal
 * says why and leaves nothing behind. */
#include <stdint.h>
#include <string.h>

#include "backend_proof.h"
#include "base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *why;
	struct proof_key *key = proof_key_parse((const char *)data, size, &why);
	struct prover *prover;
	char proof[PROOF_SIZE];

	MUST((key == NULL) == (why != NULL));
	if (key == NULL)
		return 0;
	prover = prover_new(key);
	proof_key_put(&key);
	prover_make(prover, "app", 1, "123", proof);
	MUST(strlen(proof) == PROOF_SIZE - 1);
	prover_free(&prover);
	return 0;
}
