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
#define POOLS_MAX 4096 /* databases times roles times the places that each has servers at */
#define WORKERS_MAX 256
#define KNOWN_TEXTS 65536 /* a power of two */
#define EPOCH_SLOTS 256
#define TENANT_NAME_MAX 32
/* Server time is counted in these parts of a microsecond, so that weights divide it. */
#define USED_SCALE 1024

/* One PostgreSQL server, by name and address, as all workers see it. Like a pool it outlives the
 * configuration that it came with, because connections do; neither is freed before the registry. */
struct pool_node {
	char *name, *host;
	uint16_t port;
	_Atomic int n_servers; /* connections open or being opened */
	/* Pools (of any worker) that may not open one, under the registry's lock, and whose turn
	 * is next among them: place.c. */
	struct list starving;
	_Atomic int n_starving;
	_Atomic(struct pool_shared *) heir;
};

/* What one worker's clients have or want of a pool. A cache line each: every lease writes it. */
struct pool_load {
	_Atomic unsigned n;
	char line[64 - sizeof(unsigned)];
};

/* One pool as all workers see it: by names, which mean something in every configuration. */
struct pool_shared {
	unsigned id;      /* index in pools_shared.pools */
	unsigned home_id; /* of the pool at the primary, its own if it is that */
	char *section, *role;
	char *name;            /* the database's, for people; under [database *] its dbname */
	char *where;           /* the node's name; "": the primary, wherever that is */
	_Atomic unsigned node; /* index in the database's nodes: where the primary was last seen */
	struct pool_load *loads; /* by worker */
	/* Servers that an older configuration opened are closed when they are free. Written by
	 * each worker that takes a configuration with another login. */
	_Atomic uint64_t valid_from;
	_Atomic int n_servers; /* open or being opened, at all workers */
	_Atomic int n_alive;   /* of these, open */
	/* By worker: since when the first client of the tenant whose turn is next there waits
	 * (monotonic microseconds), 0: nobody does. */
	_Atomic int64_t oldest_us[WORKERS_MAX];
	/* Server time used (tenant_account.used) by the tenant whose turn is next there; where the
	 * last one that had a turn stood; the most that any tenant has. */
	_Atomic int64_t least_used[WORKERS_MAX];
	_Atomic int64_t floor, ceiling;
	_Atomic int n_full; /* pools (of any worker) that want more servers than pool_size */
	/* What the newest connection reported at login, "name\0value\0" repeated; under the
	 * registry's lock. The version grows with each change, 0: nothing yet. */
	struct buf parameters;
	_Atomic unsigned parameters_version;
};

struct pools_shared {
	unsigned n_workers;
	struct pools *by_worker[WORKERS_MAX];
	_Atomic uint64_t known[KNOWN_TEXTS];                /* keyed hashes of pool and digest */
	_Atomic uint64_t epochs[EPOCH_SLOTS], epochs_drawn; /* epoch.c */
	_Atomic int64_t epochs_begun[EPOCH_SLOTS];
	pthread_mutex_t lock; /* making a pool or node; a pool's parameters */
	struct pool_shared *pools[POOLS_MAX];
	unsigned n_pools;
	struct pool_node **nodes;
	size_t n_nodes;
	pthread_mutex_t counts_lock;
	struct map counts; /* limit.c */
	pthread_mutex_t tenants_lock;
	struct map tenants; /* struct tenant_shared */
};

/* Server time of one pool that a tenant has used, over its weight. */
struct tenant_account {
	struct tenant_account *next;
	unsigned pool; /* pool_shared.id */
	_Atomic int64_t used;
};

/* A tenant as all workers see it, as long as one of them has a queue for it. */
struct tenant_shared {
	struct map_node node;
	int refs;                        /* under tenants_lock, as are the next two */
	struct tenant_account *accounts; /* those that are there stay */
	char name[TENANT_NAME_MAX];
	_Atomic int n_held; /* servers that count for its max_server_conn */
	_Atomic uint64_t n_rejected;
	_Atomic int64_t blocked_us[]; /* by worker, see tenant.c */
};

/* A tenant as one worker's pool sees it, as long as it has clients here or leases. */
struct tenant_queue {
	struct map_node node; /* pool.by_tenant */
	struct pool *pool;
	struct tenant_shared *shared;
	struct tenant_account *account;
	struct list waiters;
	unsigned n_waiters;
	unsigned n_wanted; /* servers that they could use now */
	unsigned n_users;  /* waiters that refer to it, whether they wait or not */
	unsigned n_leases;
	uint64_t server_us; /* the length of all its leases that have ended */
	/* Its place in the order of turns. */
	unsigned at;     /* index in pool.turns, and 1; 0: it is not there */
	int64_t used;    /* the account when it was last looked at */
	uint64_t turn;   /* among equals: who had one longest ago */
	bool is_blocked; /* at its limit, with waiters */
	struct conf_limits limits;
	uint64_t conf_generation; /* of the configuration that limits are from */
	char name[TENANT_NAME_MAX];
};

struct pool {
	uint32_t magic;
	struct pools *pools;
	struct pool_shared *shared;
	/* In the configuration at hand; NULL: gone. */
	const struct conf_database *database;
	const struct conf_role *role;
	const struct conf_node *where; /* of a pool at one node */
	int path; /* in env.fresh: its node's, or the first of the database's; or FRESH_NO_PATH */
	/* Of one at the primary: those at the database's nodes, each NULL until it is asked for. */
	struct pool **at;
	size_t n_at;
	struct list idle;     /* servers, most recently used first */
	struct list busy;     /* servers leased, cleaned, or waiting for their cancel to end */
	struct list waiters;  /* all of them, longest waiting first */
	struct map by_tenant; /* struct tenant_queue */
	struct tenant_queue **turns; /* those whose turn may come: a heap, the next one first */
	unsigned n_turns, turns_room;
	uint64_t last_turn;
	int64_t lease_us; /* how long a lease takes on average, while there are waiters */
	unsigned n_waiters, n_dialing;
	unsigned n_wanted; /* servers that the waiters could use now */
	bool is_full;      /* counted in n_full */
	/* Under the registry's lock; only this worker changes it. */
	struct list in_starving;
	struct pool_node *starving_on; /* NULL: it does not starve */
	int64_t starving_since_us;
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
	struct timer keep;        /* place_look */
	unsigned n_blocked;       /* struct tenant_queue */
	uint64_t conf_generation; /* what the last sweep saw */
	bool is_stopped;
	bool is_paused;     /* all of them */
	struct list paused; /* struct paused_name */
	struct list disabled;
};

/* pool.c */
void pool_offer(struct server *server);
void pool_recycle(struct server *server);
void pool_close(struct server *server, enum close_reason reason);
void pool_set_idle(struct server *server);
/* Idle servers go to those who wait, and more are opened for the others. */
void pool_serve(struct pool *pool);
/* Of a fresh connection: one that somebody has used may show what he has set. */
void pool_learn_parameters(struct pool *pool, const struct server *server);
struct pool *pool_of_shared(struct pools *pools, struct pool_shared *shared);
/* A client has a lease or waits (+1), or does no longer (-1). */
void pool_load(struct pool *pool, int change);

/* queue.c */
void queue_push(struct pool *pool, struct pool_waiter *w);
/* Whose turn it is: the lease of the server has begun. NULL: nobody may have it. */
struct pool_waiter *queue_grant(struct pool *pool, struct server *server);
void queue_remove(struct pool_waiter *w);
void queue_refuse_all(struct pool *pool, const struct wire_error *error);
/* Out of the order of turns; into it, if somebody waits. */
void queue_block(struct tenant_queue *q);
void queue_unblock(struct tenant_queue *q);
/* Its account has changed. */
void queue_update(struct tenant_queue *q);
void queue_show(struct pool *pool);
/* Its limit may have changed. */
void queue_recount(struct tenant_queue *q);

/* tenant.c */
void tenants_free(struct pool *pool);
/* The waiter's, for the tenant that it has now. */
struct tenant_queue *tenant_of(struct pool *pool, struct pool_waiter *w);
/* May the tenant have this server? It counts then. False: it is blocked. */
bool tenant_enter(struct tenant_queue *q, struct server *server);
/* Another try to find it full: true, and it is blocked. */
bool tenant_block(struct tenant_queue *q);
void tenant_forget_block(struct tenant_queue *q);
/* How many servers more it may have. */
int tenant_room(struct tenant_queue *q);
/* A letter has come. */
void tenant_on_wake(struct pools *pools, struct tenant_shared *t);
void tenants_look_again(struct pool *pool);
void tenant_lease_begin(struct tenant_queue *q, struct server *server, int64_t charged_us);
/* Not NULL: tenant_lease_ended follows, when the server has gone where it goes. */
struct tenant_queue *tenant_lease_end(struct server *server, int64_t now_us);
void tenant_lease_ended(struct tenant_queue *q);

/* dial.c */
void pool_want(struct pool *pool);
/* No server will come: the login is refused, or the pool's one node does not answer; and there is
 * no connection to wait for. */
bool pool_is_hopeless(const struct pool *pool);
void pool_retry(struct timer *timer);
/* What kept it from dialling is over. */
void pool_forget_failure(struct pool *pool);

/* where.c */
static inline bool where_is_fixed(const struct pool *pool)
{
	return pool->shared->where[0] != '\0';
}
/* Of a pool that is not gone. */
const struct conf_node *pool_candidate(const struct pool *pool);
struct pool_node *pool_node(const struct pool *pool);
/* What this pool's node is called in the configuration at hand. */
void where_resolve(struct pool *pool);
/* Nobody can say which node is the primary: no server is used. */
bool where_is_undecided(const struct pool *pool);
/* There is no primary, as far as is known; why, in error. */
bool where_is_unsettled(const struct pool *pool);
bool where_lacks_primary(const struct pool *pool, struct wire_error *error);
/* RELOAD has taken its node out of the database: no server will come. */
bool where_is_lost(const struct pool *pool, struct wire_error *error);
/* There is no primary on this node. */
void where_next(struct pool *pool, const struct conf_node *failed);
/* Why a fresh connection is not for this pool, for the log; NULL: it is. */
const char *where_objection(const struct pool *pool, const struct pool_node *node, bool is_standby);
/* The server is not, or no longer, what the pool is for: closed when it is free. */
bool where_is_wrong(struct server *server);

/* place.c */
/* A place for one more connection; is it one that other pools want, too? False: there is none, and
 * whoever could help has been asked. */
bool place_find(struct pool *pool, struct pool_node *node, bool *is_contended);
/* The pool asks for no place any more, so others need not make room for it. */
void place_unwanted(struct pool *pool);
/* Is the server to be closed, so that another pool gets its place: though its own clients wait,
 * or if they do not? */
bool place_gives_way(struct server *server);
bool place_is_spare(struct server *server);
/* Closes the least recently used idle server of the node that makes room for this pool; NULL: for
 * none, because there are too many. */
bool place_make_room(struct pools *pools, const struct pool_node *node,
                     const struct pool_shared *heir);
void place_look(struct timer *timer);

/* lend.c */
bool lend_to_hungrier(struct pool *pool, struct server *server);
void lend_ask(struct pool *pool);
void lend_borrow(struct pool *pool);
/* A connection of this pool has been closed, or was not opened. */
void lend_slot_freed(struct pool *pool, const struct pool_node *node);
void lend_wake_tenant(struct pools *pools, struct tenant_shared *t, unsigned worker);
bool lend_is_starving(const struct pool_node *node);

/* clean.c */
extern const struct sink_ops pool_idle_sink;
bool clean_start(struct server *server);
bool clean_is_at_work(const struct server *server);

/* reload.c */
/* What of the configuration at hand the pool is for. */
void pool_resolve(struct pool *pool);
bool pool_is_gone(const struct pool *pool);
bool node_is_same(const struct conf_node *a, const struct conf_node *b);
/* Opened by a configuration with another login. */
bool pool_is_stale(const struct pool *pool, const struct server_note *note);
/* A limit was lowered. */
bool pool_is_over(const struct pool *pool, const struct pool_node *node);
struct pool_node **nodes_of(struct pools_shared *shared, const struct conf *conf);
void nodes_fini(struct pools_shared *shared);

/* pause.c */
void pool_close_idle(struct pool *pool, enum close_reason reason);
bool pause_has(const struct pools *pools, const char *database);
void pause_fini(struct pools *pools);

static inline void atomic_raise(_Atomic int64_t *value, int64_t to)
{
	int64_t now = atomic_load_explicit(value, memory_order_relaxed);

	while (now < to && !atomic_compare_exchange_weak(value, &now, to))
		;
}

static inline struct pool *pool_of(struct server *server)
{
	struct pool *pool = server_note(server)->pool;

	OBJ_CHECK(pool, POOL_MAGIC);
	return pool;
}

#endif
