/* What the pool module's files share. */
#ifndef PGUSHER_POOL_INT_H
#define PGUSHER_POOL_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "pool.h"
#include "pool_look.h"

#define POOLS_MAGIC 0x9001501a
#define POOL_MAGIC 0x9001a001
#define WAITER_MAGIC 0x9001a003
#define POOLS_MAX 1024 /* databases times roles */
#define WORKERS_MAX 256
#define KNOWN_TEXTS 65536 /* a power of two */

/* One PostgreSQL server, by name and address, as all workers see it. Like a pool it outlives the
 * configuration that it came with, because connections do; neither is freed before the registry. */
struct pool_node {
	char *name, *host;
	uint16_t port;
	_Atomic int n_servers;  /* connections open or being opened */
	_Atomic int n_starving; /* pools (of any worker) that may not open one */
};

/* One pool as all workers see it: by names, which mean something in every configuration. */
struct pool_shared {
	unsigned id; /* index in pools_shared.pools */
	char *section, *role;
	char *name;            /* the database's, for people; under [database *] its dbname */
	_Atomic unsigned node; /* index in the database's nodes: where the primary was last seen */
	/* Servers that an older configuration opened are closed when they are free. Written by
	 * each worker that takes a configuration with another login. */
	_Atomic uint64_t valid_from;
	_Atomic int n_servers; /* open or being opened, at all workers */
	_Atomic int n_alive;   /* of these, open */
	/* By worker: when its longest waiting client came (monotonic microseconds), 0: none. */
	_Atomic int64_t oldest_us[WORKERS_MAX];
	/* What the newest connection reported at login, "name\0value\0" repeated; under the
	 * registry's lock. The version grows with each change, 0: nothing yet. */
	struct buf parameters;
	_Atomic unsigned parameters_version;
};

struct pools_shared {
	unsigned n_workers;
	struct pools *by_worker[WORKERS_MAX];
	_Atomic uint64_t known[KNOWN_TEXTS]; /* keyed hashes of pool and digest */
	pthread_mutex_t lock;                /* making a pool or node; a pool's parameters */
	struct pool_shared *pools[POOLS_MAX];
	unsigned n_pools;
	struct pool_node **nodes;
	size_t n_nodes;
	pthread_mutex_t counts_lock;
	struct map counts; /* limit.c */
};

struct tenant_queue {
	struct map_node node;
	struct list link; /* in pool.tenants: whose turn is next */
	struct list waiters;
	char tenant[32];
};

struct pool {
	uint32_t magic;
	struct pools *pools;
	struct pool_shared *shared;
	/* In the configuration at hand; NULL: gone. */
	const struct conf_database *database;
	const struct conf_role *role;
	struct list idle;    /* servers, most recently used first */
	struct list busy;    /* servers leased, cleaned, or waiting for their cancel to end */
	struct list waiters; /* all of them, longest waiting first */
	struct list tenants; /* struct tenant_queue with waiters, next turn first */
	struct map by_tenant;
	unsigned n_waiters, n_dialing;
	bool starving; /* counted in node_starving */
	struct pool_node *starving_on;
	/* Login failures. */
	int64_t backoff_us, retry_at_us;
	struct timer retry;
	bool is_refused;       /* the server refuses the login itself: waiting would not help */
	char message[128];     /* for clients: which node, and the SQLSTATE */
	struct buf parameters; /* a copy of the shared ones, and of which version */
	unsigned parameters_version;
	/* The console's (look.c, pause.c). */
	bool is_paused;
	int64_t reconnect_us; /* servers opened by then are closed when they are free */
	unsigned n_clients;
	struct counters counters, newer, older;
};

struct pools {
	uint32_t magic;
	struct pools_env env;
	struct pool_node **nodes;      /* of each of env.conf's nodes */
	struct pool *pools[POOLS_MAX]; /* by shared id */
	unsigned n_pools;              /* highest id + 1 */
	struct timer sweep;
	bool is_stopped;
	bool is_paused;     /* all of them */
	struct list paused; /* struct paused_name */
};

/* pool.c */
void pool_offer(struct server *server);
void pool_recycle(struct server *server);
void pool_close(struct server *server, enum close_reason reason);
void pool_set_idle(struct server *server);
bool pool_make_room(struct pools *pools, const struct pool_node *node);
/* Of a fresh connection: one that somebody has used may show what he has set. */
void pool_learn_parameters(struct pool *pool, const struct server *server);
struct pool *pool_of_shared(struct pools *pools, struct pool_shared *shared);

/* queue.c */
void queue_push(struct pool *pool, struct pool_waiter *w);
struct pool_waiter *queue_pop(struct pool *pool);
void queue_remove(struct pool_waiter *w);
void queue_refuse_all(struct pool *pool, const struct wire_error *error);

/* dial.c */
void pool_want(struct pool *pool);
/* The server refuses the login, and there is no other connection to wait for. */
bool pool_is_hopeless(const struct pool *pool);
/* Of a pool that is not gone. */
const struct conf_node *pool_candidate(const struct pool *pool);
struct pool_node *pool_node(const struct pool *pool);
void pool_retry(struct timer *timer);

/* lend.c */
bool lend_to_hungrier(struct pool *pool, struct server *server);
void lend_ask(struct pool *pool);
void lend_borrow(struct pool *pool);
void lend_slot_freed(struct pools *pools, const struct pool_node *node);
bool lend_is_starving(const struct pool_node *node);

/* clean.c */
extern const struct sink_ops pool_idle_sink;
bool clean_start(struct server *server);
bool clean_is_at_work(const struct server *server);

/* reload.c */
/* What of the configuration at hand the pool is for. */
void pool_resolve(struct pool *pool);
bool pool_is_gone(const struct pool *pool);
/* Opened by a configuration with another login. */
bool pool_is_stale(const struct pool *pool, const struct server_note *note);
/* The limit was lowered. */
bool pool_is_over(const struct pools *pools, const struct pool_node *node);
struct pool_node **nodes_of(struct pools_shared *shared, const struct conf *conf);
void nodes_fini(struct pools_shared *shared);

/* pause.c */
void pool_stop_starving(struct pool *pool);
void pool_close_idle(struct pool *pool, enum close_reason reason);
bool pause_has(const struct pools *pools, const char *database);
void pause_fini(struct pools *pools);

static inline struct pool *pool_of(struct server *server)
{
	struct pool *pool = server_note(server)->pool;

	OBJ_CHECK(pool, POOL_MAGIC);
	return pool;
}

#endif
