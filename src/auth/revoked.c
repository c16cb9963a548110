/* Revoked token ids: a bounded set, searched at each login with a token that has an id. An id goes
 * out when its token has expired by itself; whoever revokes a token that nobody has used here does
 * not know when that is, and the token tells when it is tried. When it is full the next one is
 * refused, aloud: forgetting one would let a stolen token in again. */
#include <string.h>

#include "auth_int.h"
#include "base/assert.h"
#include "base/mem.h"

#define REVOKED_MAGIC 0xa07e40cd
/* An id outlives its token by this, because of the leeway. */
#define KEEP_S 86400

struct revoked {
	struct map_node node;
	struct list link;
	int64_t exp_s; /* 0: not known */
	char jti[];
};

struct auth_revoked {
	uint32_t magic;
	size_t max_entries;
	struct map by_jti;
	struct list all;
};

struct auth_revoked *auth_revoked_new(size_t max_entries)
{
	struct auth_revoked *revoked = mem_zalloc(sizeof(*revoked));

	OBJ_INIT(revoked, REVOKED_MAGIC);
	revoked->max_entries = max_entries;
	map_init(&revoked->by_jti);
	list_init(&revoked->all);
	return revoked;
}

static void drop(struct auth_revoked *revoked, struct revoked *r)
{
	map_remove(&revoked->by_jti, &r->node);
	list_remove(&r->link);
	mem_free(r);
}

void auth_revoked_free(struct auth_revoked **revokedp)
{
	struct auth_revoked *revoked = *revokedp;

	*revokedp = NULL;
	OBJ_CHECK(revoked, REVOKED_MAGIC);
	while (!list_is_empty(&revoked->all))
		drop(revoked, LIST_MEMBER(revoked->all.next, struct revoked, link));
	map_fini(&revoked->by_jti);
	OBJ_FINI(revoked, REVOKED_MAGIC);
	mem_free(revoked);
}

static struct revoked *find(const struct auth_revoked *revoked, const char *jti)
{
	struct map_node *node = map_find(&revoked->by_jti, hash_bytes(jti, strlen(jti)));

	for (; node != NULL; node = map_find_next(node)) {
		struct revoked *r = CONTAINER_OF(node, struct revoked, node);

		if (strcmp(r->jti, jti) == 0)
			return r;
	}
	return NULL;
}

static void drop_expired(struct auth_revoked *revoked, int64_t now_s)
{
	LIST_FOREACH(link, &revoked->all) {
		struct revoked *r = LIST_MEMBER(link, struct revoked, link);

		if (r->exp_s != 0 && r->exp_s + KEEP_S < now_s)
			drop(revoked, r);
	}
}

bool auth_revoked_add(struct auth_revoked *revoked, const char *jti, int64_t exp_s, int64_t now_s)
{
	struct revoked *r = find(revoked, jti);
	size_t size = strlen(jti) + 1;

	OBJ_CHECK(revoked, REVOKED_MAGIC);
	MUST(size > 1 && size <= sizeof(((struct auth_ticket *)NULL)->jti));
	if (r != NULL) {
		/* Two tokens may have one id: the later one counts. */
		if (exp_s > r->exp_s)
			r->exp_s = exp_s;
		return true;
	}
	if (revoked->by_jti.count >= revoked->max_entries)
		drop_expired(revoked, now_s);
	if (revoked->by_jti.count >= revoked->max_entries)
		return false;
	r = mem_zalloc(sizeof(*r) + size);
	r->exp_s = exp_s;
	memcpy(r->jti, jti, size);
	list_push_back(&revoked->all, &r->link);
	map_insert(&revoked->by_jti, &r->node, hash_bytes(jti, size - 1));
	return true;
}

bool auth_revoked_has(struct auth_revoked *revoked, const struct auth_ticket *t)
{
	struct revoked *r;

	OBJ_CHECK(revoked, REVOKED_MAGIC);
	if (revoked->by_jti.count == 0 || t->jti[0] == '\0')
		return false;
	r = find(revoked, t->jti);
	if (r != NULL && t->exp_s > r->exp_s)
		r->exp_s = t->exp_s;
	return r != NULL;
}

size_t auth_revoked_count(const struct auth_revoked *revoked)
{
	OBJ_CHECK(revoked, REVOKED_MAGIC);
	return revoked->by_jti.count;
}
