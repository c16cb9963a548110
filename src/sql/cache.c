/* The classification cache. It belongs to one worker; nothing here is shared.
 *
 *   sql_classify -> sql_normalise (normalise.c)    text to key, in the cache's own scratch
 *                -> hash_bytes, cache_find         whole keys compared, not only their hashes
 *                -> on a miss: sql_key_render, sql_class_read (classify.c), cache_add
 *
 * Entries hang in a map and on a list by last use. Both their number and their bytes are
 * bounded; keys that are too long are classified each time, their answer is kept until the
 * next call only. */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/map.h"
#include "base/mem.h"
#include "sql_catalog.h"
#include "sql_int.h"

#define SQL_CACHE_MAGIC 0x5c1a55c4u
#define KEY_KEEP_BYTES (64u << 10)
/* What an entry may take on average; a text of pgbench's takes about 250. */
#define ENTRY_MEAN_BYTES 2048u
#define CACHE_MIN_BYTES (1u << 20)

struct entry {
	struct map_node node;
	struct list by_use;
	struct sql_info info;
	bool is_exact;
	bool is_unparsed; /* and normalised: whether it is refused hangs on the literals too */
	uint32_t key_len;
	size_t size_bytes;
	/* The statements, then the key, then the names of settings, follow. */
	struct sql_stmt stmts[];
};

struct sql_cache {
	uint32_t magic;
	struct sql_rules *rules;
	struct map entries;
	struct list by_use; /* the latest first */
	size_t max_entries, max_bytes, bytes;
	uint64_t hits, misses, parse_errors;
	/* Kept from call to call, so that a hit allocates nothing. */
	struct buf scratch, rendered;
	struct sql_class class;
	struct sql_info uncached; /* the answer that has no entry */
};

static char *entry_key(const struct entry *e)
{
	return (char *)(e->stmts + e->info.n_stmts);
}

struct sql_cache *sql_cache_new(const char *const *protected_settings, size_t max_entries)
{
	struct sql_cache *cache = mem_zalloc(sizeof(*cache));

	OBJ_INIT(cache, SQL_CACHE_MAGIC);
	cache->rules = sql_rules_new(protected_settings);
	map_init(&cache->entries);
	list_init(&cache->by_use);
	cache->max_entries = max_entries;
	cache->max_bytes = max_entries * ENTRY_MEAN_BYTES;
	if (cache->max_bytes < CACHE_MIN_BYTES)
		cache->max_bytes = CACHE_MIN_BYTES;
	return cache;
}

static void cache_drop(struct sql_cache *cache, struct entry *e)
{
	map_remove(&cache->entries, &e->node);
	list_remove(&e->by_use);
	cache->bytes -= e->size_bytes;
	mem_free(e);
}

static void cache_drop_oldest(struct sql_cache *cache)
{
	MUST(!list_is_empty(&cache->by_use));
	cache_drop(cache, LIST_MEMBER(cache->by_use.prev, struct entry, by_use));
}

void sql_cache_free(struct sql_cache **cachep)
{
	struct sql_cache *cache = *cachep;

	if (cache == NULL)
		return;
	while (!list_is_empty(&cache->by_use))
		cache_drop_oldest(cache);
	map_fini(&cache->entries);
	buf_fini(&cache->scratch);
	buf_fini(&cache->rendered);
	sql_class_fini(&cache->class);
	sql_rules_free(&cache->rules);
	OBJ_FINI(cache, SQL_CACHE_MAGIC);
	MEM_FREE(cachep);
}

static struct entry *cache_find(const struct sql_cache *cache, const struct sql_key *key,
                                uint64_t hash)
{
	struct map_node *node = map_find(&cache->entries, hash);

	for (; node != NULL; node = map_find_next(node)) {
		struct entry *e = CONTAINER_OF(node, struct entry, node);

		if (e->is_exact == key->is_exact && e->key_len == key->len &&
		    memcmp(entry_key(e), key->bytes, key->len) == 0)
			return e;
	}
	return NULL;
}

/* NULL: it is not kept, the answer is in cache->uncached. */
static struct entry *cache_add(struct sql_cache *cache, const struct sql_key *key, uint64_t hash)
{
	const struct sql_class *class = &cache->class;
	size_t stmts_size = class->n_stmts * sizeof(class->stmts[0]);
	size_t size = sizeof(struct entry) + stmts_size + key->len + class->settings.len;
	struct entry *e;

	/* A syntax error's words are not the entry's to keep. */
	if (key->len > KEY_KEEP_BYTES || size > cache->max_bytes || cache->max_entries == 0 ||
	    class->refusal == &class->syntax) {
		cache->uncached = (struct sql_info){.n_stmts = class->n_stmts,
		                                    .stmts = class->stmts,
		                                    .refusal = class->refusal,
		                                    .settings = (const char *)class->settings.data,
		                                    .settings_len = class->settings.len,
		                                    .fingerprint = class->fingerprint};
		return NULL;
	}
	while (cache->entries.count >= cache->max_entries || cache->bytes + size > cache->max_bytes)
		cache_drop_oldest(cache);
	e = mem_zalloc(size);
	if (stmts_size > 0)
		memcpy(e->stmts, class->stmts, stmts_size);
	e->info = (struct sql_info){.n_stmts = class->n_stmts,
	                            .stmts = e->stmts,
	                            .refusal = class->refusal,
	                            .settings = (const char *)e + size - class->settings.len,
	                            .settings_len = class->settings.len,
	                            .fingerprint = class->fingerprint};
	if (class->settings.len > 0)
		memcpy((char *)e + size - class->settings.len, class->settings.data,
		       class->settings.len);
	e->is_exact = key->is_exact;
	e->is_unparsed =
		!key->is_exact && class->n_stmts == 1 && class->stmts[0].kind == SQL_UNPARSED;
	e->key_len = (uint32_t)key->len;
	e->size_bytes = size;
	if (key->len > 0)
		memcpy(entry_key(e), key->bytes, key->len);
	map_insert(&cache->entries, &e->node, hash);
	list_push_front(&cache->by_use, &e->by_use);
	cache->bytes += size;
	return e;
}

static struct entry *cache_miss(struct sql_cache *cache, const struct sql_key *key, uint64_t hash)
{
	cache->misses++;
	if (cache->rendered.cap > 4 * KEY_KEEP_BYTES)
		buf_fini(&cache->rendered);
	sql_key_render(key, &cache->rendered);
	sql_class_read(&cache->class, cache->rules, (const char *)cache->rendered.data,
	               cache->rendered.len);
	cache->parse_errors += cache->class.is_parse_error;
	cache->class.fingerprint = sql_fingerprint(key);
	if (cache->class.n_stmts == 1)
		cache->class.stmts[0].fingerprint = cache->class.fingerprint;
	return cache_add(cache, key, hash);
}

const struct sql_info *sql_classify(struct sql_cache *cache, const char *text, size_t len)
{
	struct sql_key key;
	struct entry *e;
	uint64_t hash;

	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	MUST(len <= SQL_TEXT_MAX);
	sql_normalise(&cache->scratch, text, len, &key);
	hash = hash_bytes(key.bytes, key.len);
	e = cache_find(cache, &key, hash);
	if (e == NULL) {
		e = cache_miss(cache, &key, hash);
	} else {
		cache->hits++;
		list_remove(&e->by_use);
		list_push_front(&cache->by_use, &e->by_use);
	}
	if (e != NULL && !e->is_unparsed)
		return &e->info;
	if (e != NULL)
		cache->uncached = e->info;
	if (!key.is_exact && cache->uncached.n_stmts == 1 &&
	    cache->uncached.stmts[0].kind == SQL_UNPARSED)
		cache->uncached.refusal = sql_rules_check_unparsed(cache->rules, text, len);
	return &cache->uncached;
}

static void read_anew(struct sql_cache *cache, const char *text, size_t len)
{
	struct buf copy = {0};

	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	MUST(len <= SQL_TEXT_MAX);
	buf_put(&copy, text, len);
	buf_put(&copy, "", 1);
	sql_class_read(&cache->class, cache->rules, (const char *)copy.data, len);
	buf_fini(&copy);
}

uint32_t sql_parameter_bits(struct sql_cache *cache, uint32_t type)
{
	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	/* PostgreSQL's own are below (FirstNormalObjectId). */
	if (type < 16384)
		return 0;
	return (sql_behind_type(cache->rules, type) & SQL_FUNCTION_OPAQUE) != 0 ? SQL_OPAQUE : 0;
}

void sql_why_not_read_only(struct sql_cache *cache, const char *text, size_t len,
                           struct sql_why *why)
{
	read_anew(cache, text, len);
	*why = cache->class.why;
}

void sql_calls(struct sql_cache *cache, const char *text, size_t len, struct buf *calls)
{
	cache->class.calls = calls;
	read_anew(cache, text, len);
	cache->class.calls = NULL;
}

static void cache_forget(struct sql_cache *cache)
{
	while (!list_is_empty(&cache->by_use))
		cache_drop_oldest(cache);
}

static void take_list(char **to, const char *list)
{
	mem_free(*to);
	*to = list != NULL && list[0] != '\0' ? mem_strdup(list) : NULL;
}

void sql_cache_set_guard(struct sql_cache *cache, const struct sql_guard *guard)
{
	struct sql_rules *rules = cache->rules;

	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	rules->mode = guard->mode;
	take_list(&rules->allow, guard->allow_functions);
	take_list(&rules->deny, guard->deny_functions);
	take_list(&rules->trusted, guard->trusted_functions);
	cache_forget(cache);
}

void sql_cache_set_functions(struct sql_cache *cache, const struct sql_functions *functions)
{
	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	cache->rules->functions = functions != NULL ? *functions : (struct sql_functions){0};
	cache_forget(cache);
}

void sql_cache_stats(const struct sql_cache *cache, struct sql_cache_stats *out)
{
	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	*out = (struct sql_cache_stats){
		.hits = cache->hits,
		.misses = cache->misses,
		.parse_errors = cache->parse_errors,
		.entries = cache->entries.count,
		.bytes = cache->bytes,
	};
}

bool sql_is_protected_setting(const struct sql_cache *cache, const char *name)
{
	OBJ_CHECK(cache, SQL_CACHE_MAGIC);
	return sql_rules_protect(cache->rules, name);
}
