/* A client's life, from its first byte to its last: login, queries, transactions, the tenant
 * context, prepared statements. */
#ifndef PGUSHER_SESSION_H
#define PGUSHER_SESSION_H

#include "audit.h"
#include "auth.h"
#include "base/counters.h"
#include "base/map.h"
#include "fresh.h"
#include "pool.h"
#include "sql.h"
#include "wire.h"

struct ssl_ctx_st;
struct client;
struct session_console; /* session_console.h */

/* What a worker lends to its sessions. */
struct session_env {
	const struct conf *conf;
	struct event_base *base;
	struct timers *timers;
	struct pools *pools;
	struct fresh *fresh; /* NULL: nothing is measured, all goes to the primary */
	unsigned route_turn;
	struct backend_env *backend;
	struct sql_cache *sql;            /* for tenants: the guard as configured */
	struct sql_cache *sql_service;    /* for roles with tenant = none: the guard off */
	uint64_t guard_hits[SQL_N_RULES]; /* statements refused, by rule */
	struct auth_cache *auth;
	struct auth_keys *keys; /* replaced when they change */
	struct ssl_ctx_st *tls; /* NULL: clients cannot use TLS; replaced with its files */
	uint8_t *in;            /* read buffer, free between two events */
	size_t in_size;
	struct outvec *to_client;
	struct list clients;   /* all of them */
	struct list dead;      /* to be freed at the loop's edge */
	struct list runnable;  /* whose turn is next, within this event */
	struct list again;     /* who has had its share of this event */
	struct list strangers; /* who has not logged in, by age */
	struct list logins;    /* whose login is about to cost time, when it is its turn */
	unsigned logins_left;  /* how many of those more, in this turn of the loop */
	bool is_running;
	int64_t run_until_us;  /* the share of who is running now */
	int64_t now_us;        /* when that began */
	struct map by_pid;     /* clients by the process id they were told */
	struct map texts;      /* prepared statements' texts, shared by the worker's clients */
	struct map settings;   /* and lists of settings */
	struct map parameters; /* and of what they were told of servers' */
	uint32_t next_pid;
	bool is_draining;             /* shutting down: no new transactions */
	_Atomic int *n_clients;       /* of all workers */
	int client_room;              /* as many may be connected, logged in or not; 0: no limit */
	size_t n_here;                /* of this one */
	size_t n_ready;               /* of these, in PHASE_READY */
	size_t n_consoles;            /* of these, admin clients */
	_Atomic int *n_all_consoles;  /* of n_clients; needed where there is a console */
	struct counters nobody;       /* what clients do that have no pool */
	struct auth_revoked *revoked; /* NULL: none is */
	struct audit_queue *audit;    /* NULL: there is no audit log */
	struct auth_directory *directory; /* NULL: none was loaded yet; session_set_directory */
	bool is_directory_new;            /* clients are to be looked at */
	struct sql_catalog *catalog;      /* NULL: none was loaded; session_set_catalog */
	uint64_t n_catalogs;              /* that there have been */
	const struct session_console *console; /* NULL: there is none */
	void *console_arg;
	/* Hands a cancel to the worker that gave out the key. True: it was this one, done; false:
	 * session_cancel_done follows. asker: the process id of who asks. The key is borrowed. */
	bool (*route_cancel)(void *worker, uint32_t asker, const struct wire_cancel *cancel);
	/* Asks for the next fetch of keys for a section of conf's jwts; session_keys_done follows,
	 * later, with newer keys in `keys` if there are any. */
	void (*await_keys)(void *worker, uint32_t asker, unsigned section);
	/* Something was put on `dead` or `again`: session_edge is wanted when the loop comes
	 * round. */
	void (*wake_edge)(void *worker);
	void *worker;
	unsigned worker_index, n_workers;
};

void session_env_init(struct session_env *env);
/* Takes [guard] from env->conf, now and after a change: statements prepared before stay. */
void session_set_guard(struct session_env *env);
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
/* What a statement's comments, if it begins or ends with some, ask for instead of what is in
 * wish. */
struct fresh_wish;
void wish_hint(const char *text, size_t len, struct fresh_wish *wish);

/* Cancels what the client with this key is doing: ends its wait for a server, or asks the server.
 * Nothing happens for a wrong key or an idle client. */
void session_cancel(struct session_env *env, const struct wire_cancel *cancel);
void session_cancel_done(struct session_env *env, uint32_t asker);
/* is_final: the keys were fetched after they were asked for. */
void session_keys_done(struct session_env *env, uint32_t asker, bool is_final);

/* The process ids that clients are told:
 *
 *   bit 31       0; set by a process that passes a cancel on to its peer, which then never passes
 *                it on again. A client that sets it has only said that it wants less.
 *   bits 24..30  peer_id of the process that gave it out; 0: without peers
 *   bit 23       1: no process of Linux has such a number (PID_MAX_LIMIT, 4194304), so that none is
 *                mistaken for a server's, in a notification or by pg_terminate_backend
 *   bits 0..22   an equal share of the numbers for each worker */
#define SESSION_PID_FORWARDED 0x80000000u
#define SESSION_PID_MARK 0x00800000u
int session_pid_peer(uint32_t pid);
/* Which worker gave it out, of a process id that is ours. */
unsigned session_pid_worker(uint32_t pid, unsigned n_workers);

/* Another configuration, of which the caller holds a reference, behind pools_set_conf; the old one
 * must be there until this returns. Clients whose database or role is gone end, between
 * transactions. */
void session_set_conf(struct session_env *env, const struct conf *conf);

/* Behind pools_follow: clients that have a server of a node that is not the primary any more, or of
 * one of two primaries, end; their transactions are rolled back. */
void session_follow_roles(struct session_env *env);

/* Who is active now; the reference is the env's from here. Clients of others are ended, some at
 * each of the loop's edges. */
void session_set_directory(struct session_env *env, struct auth_directory *directory);

/* The functions of the databases, NULL: nothing is known; the reference is the env's from here. To
 * be called once before the first client. */
struct sql_catalog;
void session_set_catalog(struct session_env *env, struct sql_catalog *catalog);

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
