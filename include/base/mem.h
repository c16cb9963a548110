/* Allocation that cannot fail: running out of memory ends the process with a message.
 * What is allocated here is freed with mem_free. */
#ifndef PGUSHER_BASE_MEM_H
#define PGUSHER_BASE_MEM_H

#include <stddef.h>

void *mem_alloc(size_t size);
void *mem_zalloc(size_t size);
void *mem_realloc(void *p, size_t size);
char *mem_strdup(const char *s);
/* A NUL-terminated copy of len bytes. */
char *mem_strndup(const char *s, size_t len);
void *mem_dup(const void *p, size_t len);
void mem_free(void *p);

/* mem_free that also nulls the owner's pointer. */
#define MEM_FREE(pp)                                                                               \
	do {                                                                                       \
		mem_free(*(pp));                                                                   \
		*(pp) = NULL;                                                                      \
	} while (0)

/* Versions of clang-format disagree on whether the minus is binary. */
/* clang-format off */
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr) - offsetof(type, member)))
/* clang-format on */
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
