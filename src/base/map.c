/* Intrusive hash map with chained buckets: inserts and removals cost no allocation. */
#include "base/map.h"

#include "base/assert.h"
#include "base/mem.h"

#define MAP_MIN_BUCKETS 16

void map_init(struct map *map)
{
	map->buckets = NULL;
	map->n_buckets = 0;
	map->count = 0;
}

void map_fini(struct map *map)
{
	MEM_FREE(&map->buckets);
	map_init(map);
}

static struct map_node **map_bucket(const struct map *map, uint64_t hash)
{
	return &map->buckets[hash & (map->n_buckets - 1)];
}

static void map_grow(struct map *map)
{
	struct map_node **old = map->buckets;
	uint32_t n_old = map->n_buckets;

	map->n_buckets = n_old ? n_old * 2 : MAP_MIN_BUCKETS;
	map->buckets = mem_zalloc(map->n_buckets * sizeof(map->buckets[0]));
	for (uint32_t i = 0; i < n_old; i++) {
		struct map_node *next, *reversed = NULL;

		/* Twice reversed: of equal hashes the newest must stay in front. */
		for (struct map_node *node = old[i]; node != NULL; node = next) {
			next = node->next;
			node->next = reversed;
			reversed = node;
		}
		for (struct map_node *node = reversed; node != NULL; node = next) {
			struct map_node **bucket = map_bucket(map, node->hash);

			next = node->next;
			node->next = *bucket;
			*bucket = node;
		}
	}
	mem_free(old);
}

void map_insert(struct map *map, struct map_node *node, uint64_t hash)
{
	struct map_node **bucket;

	if (map->count >= map->n_buckets)
		map_grow(map);
	bucket = map_bucket(map, hash);
	node->hash = hash;
	node->next = *bucket;
	*bucket = node;
	map->count++;
}

void map_remove(struct map *map, struct map_node *node)
{
	struct map_node **at;

	MUST(map->count > 0);
	for (at = map_bucket(map, node->hash); *at != node; at = &(*at)->next)
		MUST(*at != NULL);
	*at = node->next;
	node->next = NULL;
	map->count--;
}

static struct map_node *map_skip(struct map_node *node, uint64_t hash)
{
	while (node != NULL && node->hash != hash)
		node = node->next;
	return node;
}

struct map_node *map_find(const struct map *map, uint64_t hash)
{
	return map->count ? map_skip(*map_bucket(map, hash), hash) : NULL;
}

struct map_node *map_find_next(const struct map_node *node)
{
	return map_skip(node->next, node->hash);
}

void map_each(struct map *map, void (*visit)(struct map_node *node, void *arg), void *arg)
{
	for (uint32_t i = 0; i < map->n_buckets; i++) {
		struct map_node *next;

		for (struct map_node *node = map->buckets[i]; node != NULL; node = next) {
			next = node->next;
			visit(node, arg);
		}
	}
}
