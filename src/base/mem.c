/* Allocation that cannot fail. */
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

void *mem_alloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	MUST_SYS(p != NULL);
	return p;
}

void *mem_zalloc(size_t size)
{
	void *p = calloc(1, size ? size : 1);

	MUST_SYS(p != NULL);
	return p;
}

void *mem_realloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	MUST_SYS(p != NULL);
	return p;
}

void *mem_dup(const void *p, size_t len)
{
	void *copy = mem_alloc(len);

	if (len > 0)
		memcpy(copy, p, len);
	return copy;
}

char *mem_strndup(const char *s, size_t len)
{
	char *copy = mem_alloc(len + 1);

	if (len > 0)
		memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}

char *mem_strdup(const char *s)
{
	return mem_strndup(s, strlen(s));
}

void mem_free(void *p)
{
	free(p);
}
