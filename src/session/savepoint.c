/* The stacks of savepoints, as savepoint.h says. On the worker's thread. */
#include <string.h>

#include "savepoint.h"

/* Of one transaction. */
#define SAVEPOINTS_MAX 1024

bool savepoint_note(struct buf *stack, const void *entry, size_t size)
{
	if (stack->len >= SAVEPOINTS_MAX * size)
		return false;
	buf_put(stack, entry, size);
	return true;
}

void *savepoint_find(const struct buf *stack, size_t size, uint64_t name)
{
	for (size_t at = stack->len; at > 0; at -= size) {
		uint8_t *entry = stack->data + at - size;

		if (memcmp(entry, &name, sizeof(name)) == 0)
			return entry;
	}
	return NULL;
}
