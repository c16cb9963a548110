/* The memory of a snapshot: a chain of blocks that all live until it does, so that nobody has
 * to know which field owns what. Passwords are among them, hence everything is erased before
 * it is given back. Used by the one thread that fills or frees the snapshot. */
#include <openssl/crypto.h>
#include <stdalign.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conf_int.h"

struct conf_memory {
	struct conf_memory *next;
	size_t size; /* of data */
	alignas(max_align_t) uint8_t data[];
};

void *conf_memory_alloc(struct conf *conf, size_t size)
{
	struct conf_memory *block = mem_zalloc(sizeof(*block) + size);

	block->size = size;
	block->next = conf->memory;
	conf->memory = block;
	return block->data;
}

const char *conf_memory_strndup(struct conf *conf, const char *s, size_t len)
{
	char *copy = conf_memory_alloc(conf, len + 1);

	memcpy(copy, s, len);
	return copy;
}

void conf_memory_free(struct conf *conf)
{
	while (conf->memory) {
		struct conf_memory *block = conf->memory;

		conf->memory = block->next;
		OPENSSL_cleanse(block->data, block->size);
		mem_free(block);
	}
}
