/* The queue of those who wait for a server: one list a tenant, and the tenants in the order of
 * their turns. The next turn is that of the tenant who has used the least server time for its
 * weight, so that one tenant's flood costs only that tenant its own latency.
 *
 * Server time is counted as a CPU scheduler does it (CFS's vruntime), for each pool and tenant,
 * over all workers (tenant_account.used), and only while somebody waits:
 *
 *   grant       what a lease of this pool takes on average is added at once, so that a tenant of
 *               many clients does not take every server before its first lease has ended
 *   lease's end the difference to what it really took
 *   arrival     a tenant of whom nobody waited begins at the floor, which is where the tenant
 *               stood who had the last turn: it gets no credit for having been idle, and does not
 *               wait for others to spend theirs
 *   nobody waits any more: the floor is raised to the ceiling, and what is past is forgotten
 *
 * The order is a heap by what a tenant's `used` was when it was last looked at; it only grows
 * elsewhere (on other workers), so looking at the first one until it is up to date is enough. A
 * tenant at its max_server_conn is blocked: not in the heap until tenant.c unblocks it. Whose turn
 * it is, and since when, is shown to the other workers, who lend by it. */
#include "pool_int.h"

#define TURNS_MIN 16

/* ---- the order of turns -------------------------------------------------------------------- */

static bool comes_before(const struct tenant_queue *a, const struct tenant_queue *b)
{
	return a->used != b->used ? a->used < b->used : a->turn < b->turn;
}

static void place(struct pool *pool, unsigned at, struct tenant_queue *q)
{
	pool->turns[at] = q;
	q->at = at + 1;
}

static void sift_up(struct pool *pool, struct tenant_queue *q)
{
	unsigned at = q->at - 1;

	for (; at > 0 && comes_before(q, pool->turns[(at - 1) / 2]); at = (at - 1) / 2)
		place(pool, at, pool->turns[(at - 1) / 2]);
	place(pool, at, q);
}

static void sift_down(struct pool *pool, struct tenant_queue *q)
{
	unsigned at = q->at - 1, child;

	while ((child = 2 * at + 1) < pool->n_turns) {
		if (child + 1 < pool->n_turns &&
		    comes_before(pool->turns[child + 1], pool->turns[child]))
			child++;
		if (!comes_before(pool->turns[child], q))
			break;
		place(pool, at, pool->turns[child]);
		at = child;
	}
	place(pool, at, q);
}

static void look_at(struct tenant_queue *q)
{
	q->used = atomic_load_explicit(&q->account->used, memory_order_relaxed);
}

static void turns_add(struct tenant_queue *q)
{
	struct pool *pool = q->pool;

	if (pool->n_turns == pool->turns_room) {
		pool->turns_room = pool->turns_room > 0 ? 2 * pool->turns_room : TURNS_MIN;
		pool->turns = mem_realloc(pool->turns, pool->turns_room * sizeof(pool->turns[0]));
	}
	atomic_raise(&q->account->used, atomic_load(&pool->shared->floor));
	look_at(q);
	q->turn = ++pool->last_turn;
	place(pool, pool->n_turns++, q);
	sift_up(pool, q);
}

static void turns_remove(struct tenant_queue *q)
{
	struct pool *pool = q->pool;
	struct tenant_queue *last = pool->turns[--pool->n_turns];
	unsigned at = q->at - 1;

	q->at = 0;
	if (last == q)
		return;
	place(pool, at, last);
	sift_up(pool, last);
	sift_down(pool, last);
}

static struct tenant_queue *turns_first(struct pool *pool)
{
	while (pool->n_turns > 0) {
		struct tenant_queue *q = pool->turns[0];

		if (q->used == atomic_load_explicit(&q->account->used, memory_order_relaxed))
			return q;
		look_at(q);
		sift_down(pool, q);
	}
	return NULL;
}

void queue_update(struct tenant_queue *q)
{
	if (q->at == 0)
		return;
	look_at(q);
	sift_up(q->pool, q);
	sift_down(q->pool, q);
}

/* ---- what others see of it ----------------------------------------------------------------- */

/* How many servers those who wait could use: a tenant no more than its limit leaves it. */
static void count_wanted(struct tenant_queue *q)
{
	unsigned n = 0;

	if (q->at != 0) {
		int room = tenant_room(q);

		n = room < 1 ? 1 : (unsigned)room;
		n = n < q->n_waiters ? n : q->n_waiters;
	}
	q->pool->n_wanted += n - q->n_wanted;
	q->n_wanted = n;
}

static bool is_wanted_anywhere(const struct pool *pool)
{
	for (unsigned w = 0; w < pool->pools->env.shared->n_workers; w++) {
		if (atomic_load(&pool->shared->oldest_us[w]) != 0)
			return true;
	}
	return false;
}

void queue_show(struct pool *pool)
{
	struct pool_shared *shared = pool->shared;
	unsigned me = pool->pools->env.worker;
	struct tenant_queue *q = turns_first(pool);
	int64_t since_us = 0;

	if (q != NULL) {
		since_us = LIST_MEMBER(q->waiters.next, struct pool_waiter, in_tenant)->since_us;
		atomic_store_explicit(&shared->least_used[me], q->used, memory_order_relaxed);
	}
	if (atomic_load_explicit(&shared->oldest_us[me], memory_order_relaxed) != since_us)
		atomic_store(&shared->oldest_us[me], since_us);
	if (pool->n_wanted > 0)
		return;
	place_unwanted(pool);
	if (!is_wanted_anywhere(pool))
		atomic_raise(&shared->floor, atomic_load(&shared->ceiling));
}

/* ---- coming and going ---------------------------------------------------------------------- */

void queue_block(struct tenant_queue *q)
{
	if (q->at != 0)
		turns_remove(q);
	count_wanted(q);
	queue_show(q->pool);
}

void queue_unblock(struct tenant_queue *q)
{
	if (q->at != 0 || q->n_waiters == 0)
		return;
	turns_add(q);
	count_wanted(q);
	queue_show(q->pool);
}

void queue_recount(struct tenant_queue *q)
{
	count_wanted(q);
}

void queue_push(struct pool *pool, struct pool_waiter *w)
{
	struct tenant_queue *q = w->queue;

	MUST(!w->is_waiting);
	w->is_waiting = true;
	w->since_us = clock_mono_us();
	list_push_back(&q->waiters, &w->in_tenant);
	list_push_back(&pool->waiters, &w->in_pool);
	pool->n_waiters++;
	pool_load(pool, 1);
	q->n_waiters++;
	if (q->is_blocked)
		return;
	if (q->at == 0)
		turns_add(q);
	count_wanted(q);
	if (tenant_room(q) > 0 || !tenant_block(q))
		queue_show(pool);
}

void queue_remove(struct pool_waiter *w)
{
	struct tenant_queue *q = w->queue;
	struct pool *pool = q->pool;

	list_remove(&w->in_tenant);
	list_remove(&w->in_pool);
	w->is_waiting = false;
	pool->n_waiters--;
	pool_load(pool, -1);
	if (--q->n_waiters == 0) {
		if (q->at != 0)
			turns_remove(q);
		tenant_forget_block(q);
	}
	count_wanted(q);
	queue_show(pool);
}

struct pool_waiter *queue_grant(struct pool *pool, struct server *server)
{
	struct tenant_queue *q;
	struct pool_waiter *w;

	while ((q = turns_first(pool)) != NULL) {
		if (!tenant_enter(q, server))
			continue; /* blocked: not in the order any more */
		w = LIST_FIRST(&q->waiters, struct pool_waiter, in_tenant);
		atomic_raise(&pool->shared->floor, q->used);
		q->turn = ++pool->last_turn;
		tenant_lease_begin(q, server, pool->lease_us);
		queue_remove(w);
		if (q->n_waiters > 0 && tenant_room(q) <= 0)
			(void)tenant_block(q);
		return w;
	}
	return NULL;
}

void queue_refuse_all(struct pool *pool, const struct wire_error *error)
{
	/* Those who come while we are at it are not in this round. */
	for (unsigned n = pool->n_waiters; n > 0; n--) {
		struct pool_waiter *w = LIST_FIRST(&pool->waiters, struct pool_waiter, in_pool);

		if (w == NULL)
			return;
		queue_remove(w);
		w->on_refused(w, error);
	}
}

void pool_waiter_init(struct pool_waiter *w)
{
	list_init(&w->in_tenant);
	list_init(&w->in_pool);
	w->queue = NULL;
	w->is_waiting = false;
}

bool pool_is_waiting(const struct pool_waiter *w)
{
	return w->is_waiting;
}

void pool_wait_end(struct pool_waiter *w)
{
	if (w->is_waiting)
		queue_remove(w);
}
