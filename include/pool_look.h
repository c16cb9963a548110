/* What the console sees of a worker's pools, and what it does to them. All of it on the worker's
 * thread, but pools_shared_*, which may be called from any. */
#ifndef PGUSHER_POOL_LOOK_H
#define PGUSHER_POOL_LOOK_H

#include "base/counters.h"
#include "pool.h"

/* ---- looking -------------------------------------------------------------------------------- */

struct pool_info {
	/* The same at every worker, and of all pools of a database and role: at the primary and at
	 * other nodes. */
	unsigned id;
	const char *database; /* as its clients name it */
	const char *dbname;   /* as the servers do */
	const char *user;
	unsigned n_clients, n_waiters;
	unsigned n_dialing, n_idle;
	unsigned n_active;     /* servers that a client has */
	unsigned n_cleaned;    /* that are rolled back or scrubbed */
	unsigned n_cancelling; /* with a cancel under way */
	int64_t oldest_us;     /* since when its longest waiting client waits; 0: none does */
	const struct counters *counters;
	const struct counters *older; /* where they stood one to two periods ago */
	bool is_paused;
};
void pools_each(struct pools *pools, void (*visit)(void *arg, const struct pool_info *info),
                void *arg);

enum server_use { SERVER_IDLE, SERVER_ACTIVE, SERVER_CLEANED, SERVER_CANCELLING };
struct server_info {
	const struct pool_info *pool;
	struct server *server;
	const char *node;
	uint16_t port;
	enum server_use use;
	int64_t opened_us, used_us;
	bool close_needed; /* when it is free */
};
void pools_each_server(struct pools *pools,
                       void (*visit)(void *arg, const struct server_info *info), void *arg);

/* A tenant in one of the worker's pools. */
struct tenant_info {
	const char *tenant;
	unsigned n_clients, n_active, n_waiters; /* active: servers that they hold */
	uint64_t server_us;                      /* the length of its leases that have ended */
	int64_t oldest_us;                       /* since when the first one waits; 0: none does */
	uint64_t n_rejected;                     /* of all workers */
};
void pools_each_tenant(struct pools *pools,
                       void (*visit)(void *arg, const struct tenant_info *info), void *arg);

/* How many limit_enter has counted, over all workers. */
int limit_count(struct pools *pools, enum limit_kind kind, const char *name);

/* The pool's name for people: pool_info.database. */
const char *pool_database(const struct pool *pool);
/* Of the node that the server is on; stands as long as the registry. */
const char *pool_node_name(struct server *server);
/* Where its clients count; lives as long as the pool. */
struct counters *pool_counters(struct pool *pool);
/* A client has logged in (+1) or is gone (-1). */
void pool_count_client(struct pool *pool, int change);
/* Once every stats_period: averages are since the last but one call. */
void pools_mark_stats(struct pools *pools);

/* ---- doing ---------------------------------------------------------------------------------- */

/* From now on servers are closed as soon as their transactions are over, none is opened, and
 * clients wait, until pools_resume. database NULL: all of them, now and later. */
void pools_pause(struct pools *pools, const char *database);
/* False: it was not paused. */
bool pools_resume(struct pools *pools, const char *database);
/* NULL: are all of them? */
bool pools_are_paused(const struct pools *pools, const char *database);
/* New clients of this database are refused (by their login), or let in again. */
void pools_disable(struct pools *pools, const char *database, bool is_disabled);
bool pools_are_disabled(const struct pools *pools, const char *database);
/* Every server open now is closed as soon as it is free. */
void pools_reconnect(struct pools *pools, const char *database);
/* Server connections of all workers, open or being opened. */
int pools_shared_servers(struct pools_shared *shared, const char *database);
/* The same of one node. */
int pools_shared_node_servers(struct pools_shared *shared, const struct conf_node *node);

#endif
