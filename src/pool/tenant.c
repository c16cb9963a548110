/* Tenants: what each worker's pool knows of one (struct tenant_queue), what all workers share
 * (struct tenant_shared), leases, and the limit of servers that one tenant may hold.
 *
 * The limit (max_server_conn of [tenants]) is a count over all workers, tenant_shared.n_held. A
 * queue whose tenant is at its limit is blocked: it stands outside the order of turns. The rule by
 * which no wake-up is lost:
 *
 *   a worker that blocks   1. shows it: blocked_us[worker] = since when the first of them waits
 *                          2. looks at the count once more
 *   a lease that ends      1. takes itself off the count
 *                          2. looks for a worker that shows it, takes what it shows away, and
 *                             wakes it (by letter, if it is another)
 *   a worker that is woken unblocks its queues of this tenant, serves who can be served, and if
 *                          there is still room, wakes the next
 *
 * So a blocked queue is always shown, or a letter to its worker is under way. A worker whose
 * clients have meanwhile gone, or wait for something else, passes the letter on.
 *
 * All of it on the worker's thread; only tenant_shared is touched by several. A tenant without a
 * limit costs no atomic. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

/* How much longer another worker's client must have waited before ours is passed over. */
#define PREFER_OWN_US (5 * US_PER_MS)
/* The average lease weighs the latest one by an eighth. */
#define LEASE_AVERAGE 8

static uint64_t tenant_hash(const char *tenant)
{
	return hash_bytes(tenant, strlen(tenant));
}

/* ---- shared by all workers ----------------------------------------------------------------- */

static struct tenant_shared *shared_find(struct pools_shared *shared, const char *name)
{
	struct map_node *node = map_find(&shared->tenants, tenant_hash(name));

	for (; node != NULL; node = map_find_next(node)) {
		struct tenant_shared *t = CONTAINER_OF(node, struct tenant_shared, node);

		if (strcmp(t->name, name) == 0)
			return t;
	}
	return NULL;
}

static struct tenant_shared *shared_new(struct pools_shared *shared, const char *name)
{
	size_t shown = shared->n_workers * sizeof(_Atomic int64_t);
	struct tenant_shared *t = mem_zalloc(sizeof(*t) + shown);

	MUST(strlen(name) < sizeof(t->name));
	snprintf(t->name, sizeof(t->name), "%s", name);
	map_insert(&shared->tenants, &t->node, tenant_hash(name));
	return t;
}

/* The account of one pool; those that were made stay as long as the tenant does. */
static struct tenant_account *account_of(struct tenant_shared *t, unsigned pool)
{
	struct tenant_account *a;

	for (a = t->accounts; a != NULL; a = a->next) {
		if (a->pool == pool)
			return a;
	}
	a = mem_zalloc(sizeof(*a));
	a->pool = pool;
	a->next = t->accounts;
	t->accounts = a;
	return a;
}

static void shared_get(struct tenant_queue *q)
{
	struct pools_shared *shared = q->pool->pools->env.shared;

	MUST(pthread_mutex_lock(&shared->tenants_lock) == 0);
	q->shared = shared_find(shared, q->name);
	if (q->shared == NULL)
		q->shared = shared_new(shared, q->name);
	q->shared->refs++;
	q->account = account_of(q->shared, q->pool->shared->id);
	MUST(pthread_mutex_unlock(&shared->tenants_lock) == 0);
}

static void shared_ref(struct pools_shared *shared, struct tenant_shared *t)
{
	MUST(pthread_mutex_lock(&shared->tenants_lock) == 0);
	t->refs++;
	MUST(pthread_mutex_unlock(&shared->tenants_lock) == 0);
}

static void shared_put(struct pools_shared *shared, struct tenant_shared *t)
{
	bool is_last;

	MUST(pthread_mutex_lock(&shared->tenants_lock) == 0);
	is_last = --t->refs == 0;
	if (is_last)
		map_remove(&shared->tenants, &t->node);
	MUST(pthread_mutex_unlock(&shared->tenants_lock) == 0);
	if (!is_last)
		return;
	while (t->accounts != NULL) {
		struct tenant_account *a = t->accounts;

		t->accounts = a->next;
		mem_free(a);
	}
	mem_free(t);
}

void pool_count_rejected(struct pools *pools, const char *tenant)
{
	struct pools_shared *shared = pools->env.shared;
	struct tenant_shared *t;

	MUST(pthread_mutex_lock(&shared->tenants_lock) == 0);
	t = shared_find(shared, tenant);
	if (t != NULL)
		atomic_fetch_add_explicit(&t->n_rejected, 1, memory_order_relaxed);
	MUST(pthread_mutex_unlock(&shared->tenants_lock) == 0);
}

/* ---- a worker's ---------------------------------------------------------------------------- */

static struct tenant_queue *tenant_find(struct pool *pool, const char *tenant)
{
	struct map_node *node = map_find(&pool->by_tenant, tenant_hash(tenant));

	for (; node != NULL; node = map_find_next(node)) {
		struct tenant_queue *q = CONTAINER_OF(node, struct tenant_queue, node);

		if (strcmp(q->name, tenant) == 0)
			return q;
	}
	return NULL;
}

/* The role of a service has no tenant, or any: limits are not for it. */
static void read_limits(struct tenant_queue *q, const struct conf *conf)
{
	q->limits = conf_tenant_limits(conf, q->name);
	q->conf_generation = conf->generation;
	if (q->limits.weight < 1)
		q->limits.weight = 1;
	if (q->pool->role != NULL && q->pool->role->tenant == CONF_TENANT_NONE)
		q->limits.max_server_conn = 0;
}

static inline int max_servers(struct tenant_queue *q)
{
	const struct conf *conf = q->pool->pools->env.conf;

	if (q->conf_generation != conf->generation)
		read_limits(q, conf);
	return q->limits.max_server_conn;
}

static struct tenant_queue *tenant_new(struct pool *pool, const char *tenant)
{
	struct tenant_queue *q = mem_zalloc(sizeof(*q));

	MUST(strlen(tenant) < sizeof(q->name));
	snprintf(q->name, sizeof(q->name), "%s", tenant);
	q->pool = pool;
	list_init(&q->waiters);
	map_insert(&pool->by_tenant, &q->node, tenant_hash(tenant));
	shared_get(q);
	read_limits(q, pool->pools->env.conf);
	return q;
}

static void tenant_free(struct map_node *node, void *arg)
{
	struct tenant_queue *q = CONTAINER_OF(node, struct tenant_queue, node);

	(void)arg;
	map_remove(&q->pool->by_tenant, &q->node);
	shared_put(q->pool->pools->env.shared, q->shared);
	mem_free(q);
}

static void tenant_settle(struct tenant_queue *q)
{
	if (q->n_users == 0 && q->n_leases == 0)
		tenant_free(&q->node, NULL);
}

void tenants_free(struct pool *pool)
{
	map_each(&pool->by_tenant, tenant_free, NULL);
	map_fini(&pool->by_tenant);
	mem_free(pool->turns);
}

struct tenant_queue *tenant_of(struct pool *pool, struct pool_waiter *w)
{
	struct tenant_queue *q = w->queue;

	if (q != NULL && q->pool == pool && strcmp(q->name, w->tenant) == 0)
		return q;
	pool_waiter_fini(w);
	q = tenant_find(pool, w->tenant);
	if (q == NULL)
		q = tenant_new(pool, w->tenant);
	q->n_users++;
	w->queue = q;
	return q;
}

void pool_waiter_enter(struct pool *pool, struct pool_waiter *w)
{
	(void)tenant_of(pool, w);
}

void pool_waiter_fini(struct pool_waiter *w)
{
	struct tenant_queue *q = w->queue;

	MUST(!w->is_waiting);
	w->queue = NULL;
	if (q == NULL)
		return;
	q->n_users--;
	tenant_settle(q);
}

int64_t pool_wait_timeout_us(const struct pool_waiter *w)
{
	(void)max_servers(w->queue);
	return w->queue->limits.query_wait_timeout;
}

bool pool_is_tenant_full(const struct pool_waiter *w)
{
	return w->queue != NULL && w->queue->is_blocked;
}

/* ---- the limit ----------------------------------------------------------------------------- */

static int room_of(const struct tenant_shared *t, int max)
{
	return max == 0 ? INT_MAX : max - atomic_load(&t->n_held);
}

int tenant_room(struct tenant_queue *q)
{
	return room_of(q->shared, max_servers(q));
}

/* One more held server; false: there are max already. */
static bool hold(struct tenant_queue *q, struct server *server, int max)
{
	int now = atomic_load(&q->shared->n_held);

	while (now < max) {
		if (atomic_compare_exchange_weak(&q->shared->n_held, &now, now + 1)) {
			server_note(server)->is_capped = true;
			return true;
		}
	}
	return false;
}

static void show_block(struct tenant_queue *q)
{
	const struct pool_waiter *w = LIST_FIRST(&q->waiters, struct pool_waiter, in_tenant);
	int64_t since_us = w != NULL ? w->since_us : clock_mono_us();

	if (!q->is_blocked) {
		q->is_blocked = true;
		q->pool->pools->n_blocked++;
	}
	atomic_store(&q->shared->blocked_us[q->pool->pools->env.worker], since_us);
}

void tenant_forget_block(struct tenant_queue *q)
{
	if (!q->is_blocked)
		return;
	q->is_blocked = false;
	q->pool->pools->n_blocked--;
}

static void unblock(struct tenant_queue *q)
{
	tenant_forget_block(q);
	queue_unblock(q);
}

bool tenant_enter(struct tenant_queue *q, struct server *server)
{
	int max = max_servers(q);

	if (max == 0 || hold(q, server, max))
		return true;
	show_block(q);
	if (hold(q, server, max)) {
		tenant_forget_block(q);
		return true;
	}
	queue_block(q);
	return false;
}

bool tenant_block(struct tenant_queue *q)
{
	show_block(q);
	if (tenant_room(q) > 0) {
		tenant_forget_block(q);
		return false;
	}
	queue_block(q);
	return true;
}

/* ---- waking -------------------------------------------------------------------------------- */

/* The worker whose clients of this tenant have waited longest; n_workers: none waits. */
static unsigned longest_blocked(const struct pools *pools, const struct tenant_shared *t)
{
	unsigned n = pools->env.shared->n_workers, longest = n;
	int64_t longest_us = INT64_MAX;

	for (unsigned w = 0; w < n; w++) {
		int64_t since_us = atomic_load(&t->blocked_us[w]);

		if (since_us == 0)
			continue;
		since_us -= w == pools->env.worker ? PREFER_OWN_US : 0;
		if (since_us < longest_us) {
			longest_us = since_us;
			longest = w;
		}
	}
	return longest;
}

static void post_wake(struct pools *pools, struct tenant_shared *t, unsigned worker)
{
	shared_ref(pools->env.shared, t);
	lend_wake_tenant(pools, t, worker);
}

/* There is room for one more. True: it is this worker that shall see to it. */
static bool wake(struct pools *pools, struct tenant_shared *t)
{
	unsigned w;

	if (pools->is_stopped)
		return false;
	do {
		w = longest_blocked(pools, t);
		if (w == pools->env.shared->n_workers)
			return false;
	} while (atomic_exchange(&t->blocked_us[w], 0) == 0);
	if (w == pools->env.worker)
		return true;
	post_wake(pools, t, w);
	return false;
}

/* What is blocked here must be shown, or there must be a letter under way. */
static void show_blocks_again(struct pools *pools, struct tenant_shared *t)
{
	if (pools->is_stopped)
		return;
	for (unsigned i = 0; i < pools->n_pools && pools->n_blocked > 0; i++) {
		struct tenant_queue *q =
			pools->pools[i] != NULL ? tenant_find(pools->pools[i], t->name) : NULL;

		if (q == NULL || !q->is_blocked)
			continue;
		show_block(q);
		if (tenant_room(q) > 0) {
			post_wake(pools, t, pools->env.worker);
			return;
		}
	}
}

void tenant_on_wake(struct pools *pools, struct tenant_shared *t)
{
	int max = conf_tenant_limits(pools->env.conf, t->name).max_server_conn;

	for (unsigned i = 0; i < pools->n_pools && !pools->is_stopped; i++) {
		struct pool *pool = pools->pools[i];
		struct tenant_queue *q = pool != NULL ? tenant_find(pool, t->name) : NULL;

		if (q == NULL || q->n_waiters == 0)
			continue;
		unblock(q);
		pool_serve(pool);
	}
	if (!pools->is_stopped && room_of(t, max) > 0 && wake(pools, t))
		post_wake(pools, t, pools->env.worker);
	shared_put(pools->env.shared, t);
}

/* Limits may have been raised or lifted by a new configuration. */
void tenants_look_again(struct pool *pool)
{
	LIST_FOREACH(link, &pool->waiters) {
		struct pool_waiter *w = LIST_MEMBER(link, struct pool_waiter, in_pool);

		if (w->queue->is_blocked && tenant_room(w->queue) > 0)
			unblock(w->queue);
		queue_recount(w->queue);
	}
	pool_serve(pool);
}

/* ---- leases -------------------------------------------------------------------------------- */

static void charge(struct tenant_queue *q, int64_t us)
{
	int64_t by = us * USED_SCALE / q->limits.weight;
	int64_t now = atomic_fetch_add_explicit(&q->account->used, by, memory_order_relaxed) + by;

	atomic_raise(&q->pool->shared->ceiling, now);
	queue_update(q);
}

void tenant_lease_begin(struct tenant_queue *q, struct server *server, int64_t charged_us)
{
	struct server_note *note = server_note(server);

	q->n_leases++;
	pool_load(q->pool, 1);
	note->tenant = q;
	note->charged_us = charged_us;
	if (charged_us > 0)
		charge(q, charged_us);
}

struct tenant_queue *tenant_lease_end(struct server *server, int64_t now_us)
{
	struct server_note *note = server_note(server);
	struct tenant_queue *q = note->tenant;
	int64_t us = now_us - note->used_us;

	if (q == NULL)
		return NULL;
	note->tenant = NULL;
	pool_load(q->pool, -1);
	us = us > 0 ? us : 1;
	q->server_us += (uint64_t)us;
	if (note->charged_us > 0 || q->pool->n_waiters > 0) {
		charge(q, us - note->charged_us);
		q->pool->lease_us += (us - q->pool->lease_us) / LEASE_AVERAGE;
		q->pool->lease_us = q->pool->lease_us > 0 ? q->pool->lease_us : 1;
	}
	if (!note->is_capped) {
		q->n_leases--;
		tenant_settle(q);
		return NULL;
	}
	note->is_capped = false;
	atomic_fetch_sub(&q->shared->n_held, 1);
	if (wake(q->pool->pools, q->shared) && q->is_blocked)
		unblock(q);
	return q;
}

/* The room that it left was not taken here, or not all of it: somebody else may want it. */
void tenant_lease_ended(struct tenant_queue *q)
{
	struct pools *pools = q->pool->pools;

	if (tenant_room(q) > 0 && wake(pools, q->shared))
		post_wake(pools, q->shared, pools->env.worker);
	if (pools->n_blocked > 0)
		show_blocks_again(pools, q->shared);
	q->n_leases--;
	tenant_settle(q);
}
