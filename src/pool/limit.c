/* How many clients there are of a tenant, a database or a role, and how many of a tenant keep their
 * server, over all workers, for the limits that configuration sets on them. Asked at login, at the
 * end of a client and where a pin begins or ends, so one lock will do. A count exists while it is
 * not zero. */
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

struct limit_count {
	struct map_node node;
	int n;
	enum limit_kind kind;
	char name[];
};

static uint64_t count_hash(enum limit_kind kind, const char *name)
{
	return hash_bytes(name, strlen(name)) + (uint64_t)kind;
}

static struct limit_count *count_find(struct pools_shared *shared, enum limit_kind kind,
                                      const char *name)
{
	struct map_node *node = map_find(&shared->counts, count_hash(kind, name));

	for (; node != NULL; node = map_find_next(node)) {
		struct limit_count *c = CONTAINER_OF(node, struct limit_count, node);

		if (c->kind == kind && strcmp(c->name, name) == 0)
			return c;
	}
	return NULL;
}

static struct limit_count *count_new(struct pools_shared *shared, enum limit_kind kind,
                                     const char *name)
{
	size_t size = strlen(name) + 1;
	struct limit_count *c = mem_zalloc(sizeof(*c) + size);

	c->kind = kind;
	memcpy(c->name, name, size);
	map_insert(&shared->counts, &c->node, count_hash(kind, name));
	return c;
}

bool limit_enter(struct pools *pools, enum limit_kind kind, const char *name, int max)
{
	struct pools_shared *shared = pools->env.shared;
	struct limit_count *c;
	bool has_room;

	MUST(pthread_mutex_lock(&shared->counts_lock) == 0);
	c = count_find(shared, kind, name);
	has_room = max == 0 || (c != NULL ? c->n : 0) < max;
	if (has_room && c == NULL)
		c = count_new(shared, kind, name);
	if (has_room)
		c->n++;
	MUST(pthread_mutex_unlock(&shared->counts_lock) == 0);
	return has_room;
}

void limit_leave(struct pools *pools, enum limit_kind kind, const char *name)
{
	struct pools_shared *shared = pools->env.shared;
	struct limit_count *c;

	MUST(pthread_mutex_lock(&shared->counts_lock) == 0);
	c = count_find(shared, kind, name);
	MUST(c != NULL);
	if (--c->n == 0) {
		map_remove(&shared->counts, &c->node);
		mem_free(c);
	}
	MUST(pthread_mutex_unlock(&shared->counts_lock) == 0);
}

int limit_count(struct pools *pools, enum limit_kind kind, const char *name)
{
	struct pools_shared *shared = pools->env.shared;
	const struct limit_count *c;
	int n;

	MUST(pthread_mutex_lock(&shared->counts_lock) == 0);
	c = count_find(shared, kind, name);
	n = c != NULL ? c->n : 0;
	MUST(pthread_mutex_unlock(&shared->counts_lock) == 0);
	return n;
}
