/* A client's life, from its first byte to its last: login, queries, transactions, the tenant
 * context, prepared statements. */
#ifndef PGUSHER_SESSION_H
#define PGUSHER_SESSION_H

#include "auth.h"
#include "base/map.h"
#include "pool.h"
#include "sql.h"

struct ssl_ctx_st;
struct client;

/* What a worker lends to its sessions. */
struct session_env {
	const struct conf *conf;
	struct event_base *base;
	struct timers *timers;
	struct pools *pools;
	struct backend_env *backend;
	struct sql_cache *sql;
	struct auth_cache *auth;
	struct auth_keys *keys; /* replaced when the key file changes */
	struct ssl_ctx_st *tls; /* NULL: clients cannot use TLS */
	uint8_t *in;            /* read buffer, free between two events */
	size_t in_size;
	struct outvec *to_client;
	struct list clients;  /* all of them */
	struct list dead;     /* to be freed at the loop's edge */
	struct list runnable; /* whose turn is next, within this event */
	struct list again;    /* who has had its share of this event */
	struct list logins;   /* whose login is about to cost time, when it is its turn */
	unsigned logins_left; /* how many of those more, in this turn of the loop */
	bool is_running;
	int64_t run_until_us; /* the share of who is running now */
	struct map by_pid;    /* clients by the process id they were told */
	struct map texts;     /* prepared statements' texts, shared by the worker's clients */
	uint32_t next_pid;
	bool is_draining;       /* shutting down: no new transactions */
	_Atomic int *n_clients; /* of all workers */
	/* Hands a cancel to the worker that gave out the key. True: it was this one, done; false:
	 * session_cancel_done follows. asker: the process id of who asks. */
	bool (*route_cancel)(void *worker, uint32_t asker, uint32_t pid, uint32_t secret);
	/* Something was put on `dead` or `again`: session_edge is wanted when the loop comes
	 * round. */
	void (*wake_edge)(void *worker);
	void *worker;
	unsigned worker_index, n_workers;
};

void session_env_init(struct session_env *env);
/* All clients must be gone. */
void session_env_fini(struct session_env *env);

/* Takes over an accepted descriptor. */
void session_accept(struct session_env *env, int fd, const struct peer *peer);
/* The same over a stream of a test's. */
struct client *session_accept_fake(struct session_env *env, const struct stream_ops *ops,
                                   const struct peer *peer);
/* The client on env->clients. */
struct client *session_of_link(struct list *link);
/* Ends it, with the reason told to the client where there is one. */
void session_close(struct client *client, enum close_reason reason);
/* Cancels what the client with this key is doing: ends its wait for a server, or asks the server.
 * Nothing happens for a wrong key or an idle client. */
void session_cancel(struct session_env *env, uint32_t pid, uint32_t secret);
void session_cancel_done(struct session_env *env, uint32_t asker);
/* Which worker gave out this process id. */
unsigned session_pid_worker(uint32_t pid, unsigned n_workers);
/* From now on clients are closed where they are between transactions, and the others when
 * theirs ends. */
void session_drain(struct session_env *env);
/* Once a second: finds clients whose connection broke unnoticed. */
void session_sweep(struct session_env *env);
/* At the loop's edge: the next turn of those on env->again and env->logins, and the end of those
 * on env->dead. */
void session_edge(struct session_env *env);
/* Frees the clients on env->dead. */
void session_reap(struct session_env *env);

#endif
