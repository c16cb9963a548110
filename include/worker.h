/* A worker: a thread with its own event loop, listeners, clients, pools and caches. Everything that
 * it owns is used on that thread only; others reach it by mail. */
#ifndef PGUSHER_WORKER_H
#define PGUSHER_WORKER_H

#include <stdatomic.h>
#include <stdint.h>

#include "audit.h"
#include "auth.h"
#include "backend_proof.h"
#include "conf.h"
#include "console.h"
#include "fresh.h"
#include "pool.h"
#include "probe.h"

struct ssl_ctx_st;
struct dialer;

/* What all workers have in common; made by main, outlives them. */
struct worker_shared {
	struct conf *conf; /* what workers begin with */
	struct pools_shared *pools;
	struct console_shared *console;
	struct pool_dialer dialer;
	struct dialer *peer_dialer; /* the same one, for cancels that go to peers */
	struct probe *probe;        /* fetches keys */
	struct audit *audit;        /* NULL: there is none; a queue for each worker */
	struct fresh *fresh;        /* how late each path is */
	struct ssl_ctx_st *tls;     /* what workers begin with; NULL: no client TLS */
	_Atomic int n_clients;
	struct proof_key *proof_key; /* what workers begin with; NULL: the context is not signed */
	int client_room;             /* that descriptors suffice for; 0: unlimited */
	_Atomic int n_consoles;      /* of these, admin clients */
	void (*on_end)(void *arg);   /* a worker's loop has ended; called on its thread */
	void *on_end_arg;
	unsigned n_workers;
	struct worker **workers; /* by index; complete before the first one starts */
};

struct worker;
/* A worker with a reference to keys and without listeners; worker_start starts its thread. */
struct worker *worker_new(struct worker_shared *shared, unsigned index, struct auth_keys *keys);
/* Before the start: accept on this bound, listening descriptor, which is taken over. */
void worker_listen(struct worker *w, int fd);
void worker_start(struct worker *w);

/* From any thread: */
/* Another configuration, and for how many clients descriptors suffice then; a reference is taken.
 */
void worker_set_conf(struct worker *w, struct conf *conf, int client_room);
/* New keys; a reference is taken. */
void worker_set_keys(struct worker *w, struct auth_keys *keys);
/* Who is active from now on; a reference is taken. */
void worker_set_directory(struct worker *w, struct auth_directory *directory);
/* The functions of the databases from now on; a reference is taken. */
struct sql_catalog;
void worker_set_catalog(struct worker *w, struct sql_catalog *catalog);
/* A new context for the handshakes to come (the certificate was replaced), NULL for none; a
 * reference is taken. */
void worker_set_tls(struct worker *w, struct ssl_ctx_st *tls);
/* Proofs from now on are made with this key. */
void worker_set_proof_key(struct worker *w, struct proof_key *key);
/* The nodes' roles, which `fresh` has, are others than before. From any thread. */
void worker_follow_roles(struct worker *w);
/* Stops accepting, tells idle clients 57P01, lets transactions finish until timeout_us has passed,
 * then ends the rest and the thread. */
void worker_drain(struct worker *w, int64_t timeout_us);
/* Stops accepting, and ends the thread when the last client has gone, admin clients aside. */
void worker_wait_clients(struct worker *w);

void worker_join(struct worker *w);
/* After all workers were joined and the dialer has answered everything: in two rounds, because
 * letters may be under way between workers. */
void worker_stop(struct worker *w);
void worker_free(struct worker **w);

#endif
