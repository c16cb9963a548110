/* Intrusive hash map: the member embeds a `struct map_node`, the map holds the buckets and
 * grows by doubling. Hashes are the caller's (base/hash.h: keyed, so that clients cannot
 * choose collisions). The map does not own its members. */
#ifndef PGUSHER_BASE_MAP_H
#define PGUSHER_BASE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_node {
	struct map_node *next;
	uint64_t hash;
};

struct map {
	struct map_node **buckets; /* NULL until the first insert */
	uint32_t n_buckets;
	uint32_t count;
};

void map_init(struct map *map);
/* Frees the buckets; the members are untouched. */
void map_fini(struct map *map);
/* Duplicates are the caller's affair: the newest is found first. */
void map_insert(struct map *map, struct map_node *node, uint64_t hash);
void map_remove(struct map *map, struct map_node *node);
/* The first node with this hash, or the next one after `node`; NULL when there is none. */
struct map_node *map_find(const struct map *map, uint64_t hash);
struct map_node *map_find_next(const struct map_node *node);
/* Calls visit for every member; visit may free the member it is given. */
void map_each(struct map *map, void (*visit)(struct map_node *node, void *arg), void *arg);

#endif
