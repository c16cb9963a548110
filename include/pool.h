/* Server connections shared by the clients of a worker: leases, the tenant-fair queue of those
 * who wait, the limit of connections a node, and lending between workers. */
#ifndef PGUSHER_POOL_H
#define PGUSHER_POOL_H

#include "backend.h"
#include "conf.h"
#include "fresh.h"

/* ---- what all workers share -------------------------------------------------------------- */

struct pools;
struct pools_shared;
/* Counters of the limits (atomics) and the registry of pools and nodes; made before the workers.
 */
struct pools_shared *pools_shared_new(unsigned n_workers);
void pools_shared_free(struct pools_shared **shared);

/* ---- a worker's pools --------------------------------------------------------------------- */

/* How pools reach the dialer, which is further down in the table of modules. */
struct pool_dialer {
	void (*dial)(void *dialer, struct dial *order);
	void (*cancel)(void *dialer, struct cancel_order *order);
	void *dialer;
};

struct pools_env {
	struct pools_shared *shared;
	struct conf *conf;         /* the caller holds a reference */
	const struct fresh *fresh; /* which nodes are primaries; NULL: nothing is measured */
	struct backend_env *backend;
	struct mailbox *mailbox;
	struct timers *timers;
	struct pool_dialer dialer;
	unsigned worker; /* 0 .. n_workers - 1 */
};
struct pools *pools_new(const struct pools_env *env);
/* Every server is closed, every waiter must be gone. */
void pools_free(struct pools **pools);
/* Once all workers' loops have ended: nothing is opened or lent any more, and what still arrives
 * by mail is closed. */
void pools_stop(struct pools *pools);
/* How many servers the worker has that somebody uses, or that are being cleaned. */
size_t pools_busy(const struct pools *pools);

struct pool;
/* The pool for a database (name: what its client calls it) and role, both of the configuration at
 * hand; made on demand. NULL when there are too many pools. It lives as long as the worker. */
struct pool *pool_find(struct pools *pools, const struct conf_database *database, const char *name,
                       const struct conf_role *role);

/* The same database and role, but at this node of the database only (an index in its nodes); the
 * pool at the primary is `primary`, and stays the one that its clients count for. Its servers are
 * standbys (or of an analytics node): one that has become a primary is closed. Made on demand; NULL
 * when there are too many pools. It lives as long as the worker. Who waits there is refused as soon
 * as the node cannot be logged in to, and may be sent elsewhere. */
struct pool *pool_at(struct pool *primary, unsigned node);
/* Leases and waiters, of all workers. */
unsigned pool_outstanding(const struct pool *pool);
/* Would pool_acquire refuse now? */
bool pool_would_refuse(const struct pool *pool);

/* Another configuration, of which the caller holds a reference; the old one must be there until
 * this returns. Servers whose login is another now (address, database, password) are closed when
 * they are free, those of a database or role that is gone, too. Waiters of such a pool are the
 * caller's to end. */
void pools_set_conf(struct pools *pools, struct conf *conf);
/* The roles that env.fresh knows are others now: idle servers that are no longer where they belong
 * are closed, and who waits for a primary goes on. */
void pools_follow(struct pools *pools);
/* env.fresh's path of a node of the database, by which it is measured, or FRESH_NO_PATH. */
int pool_path(const struct pool *primary, unsigned node);
/* The server was to be the primary, and its node is not (any more), or nobody can say; or it was to
 * be a replica, whose node is such a primary now: what is committed there may be lost. */
bool pool_server_is_fenced(struct server *server);
/* By RELOAD: the section is not there any more. */
bool pool_lost_database(const struct pool *pool);
bool pool_lost_role(const struct pool *pool);
/* The names of the sections; they live as long as the pool. */
const char *pool_section(const struct pool *pool);
const char *pool_role(const struct pool *pool);

/* What servers report at login, as "name\0value\0" repeated; NULL before the first one was
 * connected, by whichever worker. It stands until the next call. */
const char *pool_parameters(struct pool *pool, size_t *len);

/* Statement texts that a server of this pool has parsed, by digest, for all workers; a memory
 * that may forget. A client that prepares one of them need not wait for a server to say so again.
 * */
bool pool_knows_text(const struct pool *pool, const uint8_t digest[SHA256_BYTES]);
void pool_learn_text(struct pool *pool, const uint8_t digest[SHA256_BYTES]);

/* The schema epoch of the pool's database, for all workers: statements that were parsed in another
 * one may have other types, or mean something else. */
uint64_t pool_epoch(const struct pool *pool);
/* Another one begins. */
void pool_epoch_begin(struct pool *pool);
/* When (clock_mono_us) the one at hand began; 0: it is the first. */
int64_t pool_epoch_begun(const struct pool *pool);
/* A number that no epoch has had or will have: for what only one transaction sees. Not 0. */
uint64_t pool_epoch_draw(struct pool *pool);

/* ---- limits on clients ------------------------------------------------------------------- */

/* LIMIT_PINNED: by tenant, of the clients that keep their server. */
enum limit_kind { LIMIT_TENANT, LIMIT_DATABASE, LIMIT_ROLE, LIMIT_PINNED };
/* One more client of this name, over all workers; false: there are max already (0: no limit). */
bool limit_enter(struct pools *pools, enum limit_kind kind, const char *name, int max);
void limit_leave(struct pools *pools, enum limit_kind kind, const char *name);

/* ---- leases ---------------------------------------------------------------------------------- */

/* Embedded in who waits. */
struct pool_waiter {
	struct list in_tenant, in_pool; /* the pool's */
	struct tenant_queue *queue;     /* the tenant's, from the first look at it on */
	bool is_waiting;
	int64_t since_us;
	const char *tenant; /* whose turn it takes; "" without tenant */
	/* Set by the owner. One of them is called, once, unless pool_wait_end came first. */
	void (*on_granted)(struct pool_waiter *w, struct server *server);
	void (*on_refused)(struct pool_waiter *w, const struct wire_error *error);
};
void pool_waiter_init(struct pool_waiter *w);
/* It must not be waiting. */
void pool_waiter_fini(struct pool_waiter *w);
/* Who waits for the first time is known from now on: its tenant is among those that the console
 * shows. */
void pool_waiter_enter(struct pool *pool, struct pool_waiter *w);

/* A server at once, or NULL: then w is queued, or w->on_refused was called before this returned.
 * The caller sets the server's sink. */
struct server *pool_acquire(struct pool *pool, struct pool_waiter *w);
/* True while no connection can be opened: then why, in error. */
bool pool_is_failing(const struct pool *pool, struct wire_error *error);
/* By the console's PAUSE. */
bool pool_is_paused(const struct pool *pool);
bool pool_is_waiting(const struct pool_waiter *w);
void pool_wait_end(struct pool_waiter *w);
/* How long it may wait by its tenant's limits, 0: for ever; whether it waits because its tenant
 * holds max_server_conn servers already. After pool_acquire. */
int64_t pool_wait_timeout_us(const struct pool_waiter *w);
bool pool_is_tenant_full(const struct pool_waiter *w);
/* A client of this tenant was turned away: for the console. */
void pool_count_rejected(struct pools *pools, const char *tenant);

/* Gives a server back, whatever state it is in: rolled back, scrubbed or closed as needed before
 * anybody else gets it. */
void pool_release(struct server *server);
/* The same for a server whose connection is known to be broken or whose state is in doubt. */
void pool_drop(struct server *server, enum close_reason reason);
/* For a server that is still at work for a client who is gone: what it runs is cancelled, then it
 * is closed. */
void pool_abandon(struct server *server);
/* Asks the server to cancel what it runs; nothing else is sent to it until the sink's
 * on_cancelled. */
void pool_cancel(struct server *server);

#endif
