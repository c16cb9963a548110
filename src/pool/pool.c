/* Pools of one worker: who gets a server, when one is closed.
 *
 *   pool_acquire   an idle server, or into the queue (queue.c) and pool_want (dial.c)
 *   pool_release   cleaned (clean.c), then pool_offer
 *   pool_offer     its place to another pool (place.c), to another worker whose client waits
 *                  longer (lend.c), to the tenant whose turn it is, or back to the idle ones
 *
 * A server is on its pool's idle or busy list, or in a letter between two workers. All of it
 * runs on the worker's thread; only pools_shared is touched by several. */
#include <stdio.h>
#include <string.h>

#include "pool_int.h"

#define SWEEP_US US_PER_S
/* What a lease is taken to last before one has. */
#define LEASE_FIRST_US US_PER_MS

/* ---- shared ------------------------------------------------------------------------------ */

struct pools_shared *pools_shared_new(unsigned n_workers)
{
	struct pools_shared *shared = mem_zalloc(sizeof(*shared));

	MUST(n_workers > 0 && n_workers <= WORKERS_MAX);
	shared->n_workers = n_workers;
	MUST(pthread_mutex_init(&shared->lock, NULL) == 0);
	MUST(pthread_mutex_init(&shared->counts_lock, NULL) == 0);
	map_init(&shared->counts);
	MUST(pthread_mutex_init(&shared->tenants_lock, NULL) == 0);
	map_init(&shared->tenants);
	return shared;
}

void pools_shared_free(struct pools_shared **sharedp)
{
	struct pools_shared *shared = *sharedp;

	*sharedp = NULL;
	for (unsigned i = 0; i < shared->n_pools; i++) {
		buf_fini(&shared->pools[i]->parameters);
		mem_free(shared->pools[i]->section);
		mem_free(shared->pools[i]->name);
		mem_free(shared->pools[i]->role);
		mem_free(shared->pools[i]->where);
		mem_free(shared->pools[i]->loads);
		mem_free(shared->pools[i]);
	}
	pthread_mutex_destroy(&shared->lock);
	pthread_mutex_destroy(&shared->counts_lock);
	MUST(shared->counts.count == 0);
	map_fini(&shared->counts);
	pthread_mutex_destroy(&shared->tenants_lock);
	MUST(shared->tenants.count == 0);
	map_fini(&shared->tenants);
	nodes_fini(shared);
	mem_free(shared);
}

/* What tells one pool from another. */
struct names {
	const char *section, *name, *role, *where;
};

static struct pool_shared *shared_new(struct pools_shared *shared, const struct names *names)
{
	struct pool_shared *p = mem_zalloc(sizeof(*p));

	p->section = mem_strdup(names->section);
	p->name = mem_strdup(names->name);
	p->role = mem_strdup(names->role);
	p->where = mem_strdup(names->where);
	p->loads = mem_zalloc(shared->n_workers * sizeof(p->loads[0]));
	p->id = shared->n_pools;
	p->home_id = p->id;
	shared->pools[shared->n_pools++] = p;
	return p;
}

static struct pool_shared *shared_find(struct pools_shared *shared, const struct names *names)
{
	struct pool_shared *found = NULL;

	MUST(pthread_mutex_lock(&shared->lock) == 0);
	for (unsigned i = 0; i < shared->n_pools && found == NULL; i++) {
		struct pool_shared *p = shared->pools[i];

		if (strcmp(p->section, names->section) == 0 && strcmp(p->role, names->role) == 0 &&
		    strcmp(p->name, names->name) == 0 && strcmp(p->where, names->where) == 0)
			found = p;
	}
	if (found == NULL && shared->n_pools < POOLS_MAX)
		found = shared_new(shared, names);
	MUST(pthread_mutex_unlock(&shared->lock) == 0);
	return found;
}

/* ---- a worker's -------------------------------------------------------------------------- */

static void sweep(struct timer *timer);

struct pools *pools_new(const struct pools_env *env)
{
	struct pools *pools = mem_zalloc(sizeof(*pools));

	OBJ_INIT(pools, POOLS_MAGIC);
	pools->env = *env;
	pools->nodes = nodes_of(env->shared, env->conf);
	list_init(&pools->paused);
	list_init(&pools->disabled);
	env->shared->by_worker[env->worker] = pools;
	timer_init(&pools->keep, place_look);
	timer_init(&pools->sweep, sweep);
	timer_arm(env->timers, &pools->sweep, SWEEP_US);
	return pools;
}

static void pool_free(struct pool *pool)
{
	MUST(pool->n_waiters == 0);
	while (!list_is_empty(&pool->idle))
		pool_close(server_of_link(pool->idle.next), CLOSE_SHUTDOWN);
	while (!list_is_empty(&pool->busy))
		pool_close(server_of_link(pool->busy.next), CLOSE_SHUTDOWN);
	timer_cancel(pool->pools->env.timers, &pool->retry);
	tenants_free(pool);
	buf_fini(&pool->parameters);
	mem_free(pool->at);
	OBJ_FINI(pool, POOL_MAGIC);
	mem_free(pool);
}

void pools_free(struct pools **poolsp)
{
	struct pools *pools = *poolsp;

	*poolsp = NULL;
	OBJ_CHECK(pools, POOLS_MAGIC);
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] != NULL)
			pool_free(pools->pools[i]);
	}
	timer_cancel(pools->env.timers, &pools->sweep);
	timer_cancel(pools->env.timers, &pools->keep);
	pause_fini(pools);
	mem_free(pools->nodes);
	OBJ_FINI(pools, POOLS_MAGIC);
	mem_free(pools);
}

void pools_stop(struct pools *pools)
{
	OBJ_CHECK(pools, POOLS_MAGIC);
	pools->is_stopped = true;
}

struct pool *pool_of_shared(struct pools *pools, struct pool_shared *shared)
{
	struct pool *pool = pools->pools[shared->id];

	if (pool != NULL)
		return pool;
	pool = mem_zalloc(sizeof(*pool));
	OBJ_INIT(pool, POOL_MAGIC);
	pool->pools = pools;
	pool->shared = shared;
	list_init(&pool->idle);
	list_init(&pool->busy);
	list_init(&pool->in_starving);
	list_init(&pool->waiters);
	map_init(&pool->by_tenant);
	timer_init(&pool->retry, pool_retry);
	pool->lease_us = LEASE_FIRST_US;
	pool->reconnect_us = INT64_MIN;
	pool->is_paused = pause_has(pools, pool_database(pool));
	pool_resolve(pool);
	pools->pools[shared->id] = pool;
	if (shared->id >= pools->n_pools)
		pools->n_pools = shared->id + 1;
	return pool;
}

struct pool *pool_find(struct pools *pools, const struct conf_database *database, const char *name,
                       const struct conf_role *role)
{
	bool is_any = strcmp(database->name, "*") == 0;
	struct pool_shared *shared =
		shared_find(pools->env.shared,
	                    &(struct names){.section = database->name,
	                                    .name = is_any ? conf_database_dbname(database, name)
	                                                   : database->name,
	                                    .role = role->name,
	                                    .where = ""});

	OBJ_CHECK(pools, POOLS_MAGIC);
	return shared != NULL ? pool_of_shared(pools, shared) : NULL;
}

static struct pool *make_at(struct pool *primary, const struct conf_node *node)
{
	const struct pool_shared *home = primary->shared;
	struct pool_shared *shared =
		shared_find(primary->pools->env.shared, &(struct names){.section = home->section,
	                                                                .name = home->name,
	                                                                .role = home->role,
	                                                                .where = node->name});

	if (shared == NULL)
		return NULL;
	shared->home_id = home->id;
	return pool_of_shared(primary->pools, shared);
}

struct pool *pool_at(struct pool *primary, unsigned node)
{
	OBJ_CHECK(primary, POOL_MAGIC);
	MUST(!where_is_fixed(primary) && !pool_is_gone(primary));
	MUST(node < primary->database->n_nodes);
	if (node >= primary->n_at) {
		size_t n = primary->database->n_nodes;

		primary->at = mem_realloc(primary->at, n * sizeof(primary->at[0]));
		memset(primary->at + primary->n_at, 0,
		       (n - primary->n_at) * sizeof(primary->at[0]));
		primary->n_at = n;
	}
	if (primary->at[node] == NULL)
		primary->at[node] = make_at(primary, primary->database->nodes[node]);
	return primary->at[node];
}

/* ---- what is outstanding ------------------------------------------------------------------- */

void pool_load(struct pool *pool, int change)
{
	_Atomic unsigned *n = &pool->shared->loads[pool->pools->env.worker].n;

	/* Nobody else writes it. */
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (unsigned)change,
	                      memory_order_relaxed);
}

unsigned pool_outstanding(const struct pool *pool)
{
	unsigned n = 0;

	OBJ_CHECK(pool, POOL_MAGIC);
	for (unsigned w = 0; w < pool->pools->env.shared->n_workers; w++)
		n += atomic_load_explicit(&pool->shared->loads[w].n, memory_order_relaxed);
	return n;
}

/* ---- what servers say, and know ------------------------------------------------------------ */

static void put_parameter(void *arg, const char *name, const char *value)
{
	struct buf *b = arg;

	buf_put_cstr(b, name);
	buf_put_cstr(b, value);
}

void pool_learn_parameters(struct pool *pool, const struct server *server)
{
	struct pool_shared *shared = pool->shared;
	pthread_mutex_t *lock = &pool->pools->env.shared->lock;
	struct buf now = {0};

	server_each_parameter(server, put_parameter, &now);
	MUST(pthread_mutex_lock(lock) == 0);
	if (now.len != shared->parameters.len ||
	    (now.len > 0 && memcmp(now.data, shared->parameters.data, now.len) != 0)) {
		struct buf old = shared->parameters;

		shared->parameters = now;
		now = old;
		atomic_fetch_add(&shared->parameters_version, 1);
	}
	MUST(pthread_mutex_unlock(lock) == 0);
	buf_fini(&now);
}

/* Any worker's connection may have taught us; the lock is taken only when there is news. */
const char *pool_parameters(struct pool *pool, size_t *len)
{
	struct pool_shared *shared = pool->shared;
	pthread_mutex_t *lock = &pool->pools->env.shared->lock;

	OBJ_CHECK(pool, POOL_MAGIC);
	if (pool->parameters_version != atomic_load(&shared->parameters_version)) {
		pool->parameters.len = 0;
		MUST(pthread_mutex_lock(lock) == 0);
		buf_put(&pool->parameters, shared->parameters.data, shared->parameters.len);
		pool->parameters_version = atomic_load(&shared->parameters_version);
		MUST(pthread_mutex_unlock(lock) == 0);
	}
	*len = pool->parameters.len;
	return pool->parameters.len > 0 ? (const char *)pool->parameters.data : NULL;
}

/* A keyed 64-bit hash stands for the text, and a newer one takes its slot: a wrong answer either
 * way costs a Parse, or moves its error to the Bind. */
static uint64_t known_key(const struct pool *pool, const uint8_t *digest)
{
	uint8_t key[SHA256_BYTES + sizeof(unsigned)];

	memcpy(key, digest, SHA256_BYTES);
	memcpy(key + SHA256_BYTES, &pool->shared->home_id, sizeof(unsigned));
	return hash_bytes(key, sizeof(key));
}

bool pool_knows_text(const struct pool *pool, const uint8_t digest[SHA256_BYTES])
{
	uint64_t key = known_key(pool, digest);

	return atomic_load_explicit(&pool->pools->env.shared->known[key % KNOWN_TEXTS],
	                            memory_order_relaxed) == key;
}

void pool_learn_text(struct pool *pool, const uint8_t digest[SHA256_BYTES])
{
	uint64_t key = known_key(pool, digest);

	atomic_store_explicit(&pool->pools->env.shared->known[key % KNOWN_TEXTS], key,
	                      memory_order_relaxed);
}

size_t pools_busy(const struct pools *pools)
{
	size_t n = 0;

	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] == NULL)
			continue;
		LIST_FOREACH(link, &pools->pools[i]->busy) {
			n++;
		}
	}
	return n;
}

/* ---- leases ------------------------------------------------------------------------------- */

static void set_busy(struct server *server)
{
	struct server_note *note = server_note(server);

	list_remove(&note->link);
	list_push_back(&pool_of(server)->busy, &note->link);
	note->used_us = clock_mono_us();
}

void pool_set_idle(struct server *server)
{
	struct server_note *note = server_note(server);

	server_set_sink(server, &pool_idle_sink, server);
	list_remove(&note->link);
	list_push_front(&pool_of(server)->idle, &note->link);
	/* What came while nobody was listening: a notice, or the end. */
	server_resume(server);
}

static struct server *acquire_idle(struct pool *pool, struct tenant_queue *q)
{
	struct server *server = server_of_link(pool->idle.next);

	if (!tenant_enter(q, server))
		return NULL;
	tenant_lease_begin(q, server, 0);
	set_busy(server);
	return server;
}

/* By today's configuration and today's roles it would not be opened. */
static bool is_past(struct server *server, enum close_reason *why)
{
	if (pool_is_stale(pool_of(server), server_note(server)))
		*why = CLOSE_SERVER_RECONNECT;
	else if (where_is_wrong(server))
		*why = CLOSE_SERVER_MOVED;
	else
		return false;
	return true;
}

bool pool_would_refuse(const struct pool *pool)
{
	OBJ_CHECK(pool, POOL_MAGIC);
	if (where_is_undecided(pool))
		return true;
	/* At one node nobody but who tries it waits for the outcome. */
	return pool_is_hopeless(pool) && (clock_mono_us() < pool->retry_at_us ||
	                                  (where_is_fixed(pool) && pool->n_dialing > 0));
}

struct server *pool_acquire(struct pool *pool, struct pool_waiter *w)
{
	struct tenant_queue *q = tenant_of(pool, w);
	enum close_reason why;
	struct wire_error error;

	OBJ_CHECK(pool, POOL_MAGIC);
	/* Lent by a worker that had not taken the new configuration yet; or the primary is
	 * another node now. */
	while (!list_is_empty(&pool->idle) && is_past(server_of_link(pool->idle.next), &why))
		pool_close(server_of_link(pool->idle.next), why);
	if (!list_is_empty(&pool->idle)) {
		/* Whoever waits while there is an idle one is blocked. */
		struct server *server =
			pool->n_turns == 0 && !q->is_blocked ? acquire_idle(pool, q) : NULL;

		if (server != NULL)
			return server;
	} else if (pool_would_refuse(pool) && pool_is_failing(pool, &error)) {
		w->on_refused(w, &error);
		return NULL;
	}
	queue_push(pool, w);
	pool_want(pool);
	return NULL;
}

static void want_more(struct pool *pool)
{
	if (pool->n_wanted > pool->n_dialing && pool->starving_on == NULL && !pool->is_full &&
	    pool->backoff_us == 0)
		pool_want(pool);
}

/* A clean server: who gets it? */
void pool_offer(struct server *server)
{
	struct pool *pool = pool_of(server);
	struct server_note *note = server_note(server);
	enum close_reason why;
	struct pool_waiter *w;

	if (pool->pools->is_stopped) {
		pool_close(server, CLOSE_SHUTDOWN);
		return;
	}
	if (pool->is_paused || note->opened_us <= pool->reconnect_us) {
		pool_close(server, pool->is_paused ? CLOSE_SERVER_PAUSED : CLOSE_SERVER_RECONNECT);
		return;
	}
	if (is_past(server, &why)) {
		pool_close(server, why);
		return;
	}
	if (pool_is_over(pool, note->node) || place_gives_way(server)) {
		pool_close(server, CLOSE_SERVER_EVICTED);
		return;
	}
	if (lend_to_hungrier(pool, server)) {
		/* It may have been opened for a client of ours. */
		want_more(pool);
		return;
	}
	w = pool->n_turns > 0 ? queue_grant(pool, server) : NULL;
	if (w != NULL) {
		set_busy(server);
		/* A tenant at its limit may have hidden behind this one's. */
		want_more(pool);
		w->on_granted(w, server);
		return;
	}
	if (place_is_spare(server)) {
		pool_close(server, CLOSE_SERVER_EVICTED);
		return;
	}
	pool_set_idle(server);
}

void pool_serve(struct pool *pool)
{
	while (pool->n_turns > 0 && !list_is_empty(&pool->idle)) {
		struct server *server = server_of_link(pool->idle.next);
		struct pool_waiter *w = queue_grant(pool, server);

		if (w == NULL)
			break;
		set_busy(server);
		w->on_granted(w, server);
	}
	if (pool->n_wanted > 0)
		pool_want(pool);
}

/* A clean server that somebody has used: is it still wanted? */
void pool_recycle(struct server *server)
{
	struct pools *pools = pool_of(server)->pools;
	struct server_note *note = server_note(server);
	int64_t now_us = clock_mono_us();
	struct tenant_queue *q = tenant_lease_end(server, now_us);

	/* Good for pool_set_idle too. */
	note->used_us = now_us;
	if (note->used_us - note->opened_us >= pools->env.conf->pgusher.server_lifetime)
		pool_close(server, CLOSE_SERVER_LIFETIME);
	else
		pool_offer(server);
	if (q != NULL)
		tenant_lease_ended(q);
}

void pool_release(struct server *server)
{
	if (clean_start(server))
		pool_recycle(server);
}

void pool_close(struct server *server, enum close_reason reason)
{
	struct pool *pool = pool_of(server);
	struct server_note *note = server_note(server);
	struct pool_node *node = note->node;
	struct tenant_queue *q;

	if (note->cancelling) {
		/* The cancel borrows its key: the end waits for it. */
		note->is_doomed = true;
		server_set_sink(server, &pool_idle_sink, server);
		server_pause(server);
		return;
	}
	log_debug("server %u closed: %s", server_pid(server), close_reason_info(reason)->label);
	q = note->tenant != NULL ? tenant_lease_end(server, clock_mono_us()) : NULL;
	server_free(&server);
	atomic_fetch_sub(&pool->shared->n_servers, 1);
	atomic_fetch_sub(&pool->shared->n_alive, 1);
	atomic_fetch_sub(&node->n_servers, 1);
	lend_slot_freed(pool, node);
	if (pool->n_wanted > 0)
		pool_want(pool);
	if (q != NULL)
		tenant_lease_ended(q);
}

void pool_drop(struct server *server, enum close_reason reason)
{
	pool_close(server, reason);
}

/* ---- cancel ------------------------------------------------------------------------------- */

struct pool_cancel {
	struct cancel_order order;
	struct server *server;
};

static void cancel_deliver(struct mail *mail, void *owner)
{
	struct cancel_order *order = CONTAINER_OF(mail, struct cancel_order, mail);
	struct pool_cancel *cancel = CONTAINER_OF(order, struct pool_cancel, order);
	struct server *server = cancel->server;
	struct server_note *note = server_note(server);

	(void)owner;
	if (!order->ok) {
		/* It may still arrive: nobody else may be hit by it. */
		log_warning("a cancel did not reach server %u in time", server_pid(server));
		note->taint |= TAINT_DOUBT;
	}
	mem_free(cancel);
	note->cancelling = false;
	if (note->is_doomed)
		pool_close(server, CLOSE_SERVER_DIRTY);
	else
		server_tell_cancelled(server);
}

void pool_cancel(struct server *server)
{
	struct pools_env *env = &pool_of(server)->pools->env;
	struct server_note *note = server_note(server);
	struct pool_cancel *cancel;

	if (note->cancelling)
		return;
	cancel = mem_zalloc(sizeof(*cancel));
	note->cancelling = true;
	cancel->server = server;
	cancel->order.mail.deliver = cancel_deliver;
	cancel->order.reply_to = env->mailbox;
	cancel->order.conn = server_conn(server);
	cancel->order.timeout_us = env->conf->pgusher.cancel_wait_timeout;
	env->dialer.cancel(env->dialer.dialer, &cancel->order);
}

void pool_abandon(struct server *server)
{
	pool_cancel(server);
	pool_close(server, CLOSE_SERVER_DIRTY);
}

/* ---- once a second ------------------------------------------------------------------------ */

static void sweep_pool(struct pool *pool, int64_t now_us)
{
	const struct conf_pgusher *conf = &pool->pools->env.conf->pgusher;

	LIST_FOREACH(link, &pool->busy) {
		server_look(server_of_link(link));
	}
	LIST_FOREACH(link, &pool->idle) {
		struct server *server = server_of_link(link);
		const struct server_note *note = server_note(server);
		enum close_reason why;

		if (conf->server_idle_timeout > 0 &&
		    now_us - note->used_us > conf->server_idle_timeout)
			pool_close(server, CLOSE_SERVER_IDLE);
		else if (now_us - note->opened_us > conf->server_lifetime)
			pool_close(server, CLOSE_SERVER_LIFETIME);
		else if (is_past(server, &why))
			pool_close(server, why);
	}
}

static void sweep(struct timer *timer)
{
	struct pools *pools = CONTAINER_OF(timer, struct pools, sweep);
	int64_t now_us = clock_mono_us();
	bool is_new_conf = pools->conf_generation != pools->env.conf->generation;

	pools->conf_generation = pools->env.conf->generation;
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] == NULL)
			continue;
		sweep_pool(pools->pools[i], now_us);
		if (is_new_conf)
			tenants_look_again(pools->pools[i]);
	}
	timer_arm(pools->env.timers, timer, SWEEP_US);
}
