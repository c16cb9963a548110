/* The active tenants as a sorted array: 8 bytes each, 17 steps to find one of 100,000. A tenant
 * that is not in it is not active, for whatever reason. */
#include "auth_directory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"

#define DIRECTORY_MAGIC 0xa0d18ec7u

struct auth_directory {
	uint32_t magic;
	atomic_uint refs;
	size_t n;
	int64_t active[];
};

static int compare(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

struct auth_directory *auth_directory_new(const int64_t *active, size_t n)
{
	struct auth_directory *d = mem_zalloc(sizeof(*d) + n * sizeof(active[0]));

	OBJ_INIT(d, DIRECTORY_MAGIC);
	atomic_init(&d->refs, 1);
	d->n = n;
	if (n > 0)
		memcpy(d->active, active, n * sizeof(active[0]));
	qsort(d->active, n, sizeof(d->active[0]), compare);
	return d;
}

struct auth_directory *auth_directory_get(struct auth_directory *d)
{
	OBJ_CHECK(d, DIRECTORY_MAGIC);
	atomic_fetch_add(&d->refs, 1);
	return d;
}

void auth_directory_put(struct auth_directory **dp)
{
	struct auth_directory *d = *dp;

	*dp = NULL;
	if (d == NULL)
		return;
	OBJ_CHECK(d, DIRECTORY_MAGIC);
	if (atomic_fetch_sub(&d->refs, 1) > 1)
		return;
	OBJ_FINI(d, DIRECTORY_MAGIC);
	mem_free(d);
}

size_t auth_directory_count(const struct auth_directory *d)
{
	OBJ_CHECK(d, DIRECTORY_MAGIC);
	return d->n;
}

bool auth_directory_equals(const struct auth_directory *a, const struct auth_directory *b)
{
	OBJ_CHECK(a, DIRECTORY_MAGIC);
	OBJ_CHECK(b, DIRECTORY_MAGIC);
	return a->n == b->n && memcmp(a->active, b->active, a->n * sizeof(a->active[0])) == 0;
}

bool auth_directory_has(const struct auth_directory *d, const char *tenant)
{
	int64_t id = strtoll(tenant, NULL, 10);

	OBJ_CHECK(d, DIRECTORY_MAGIC);
	return tenant[0] != '\0' &&
	       bsearch(&id, d->active, d->n, sizeof(d->active[0]), compare) != NULL;
}
