/* Pools of up to four workers on one thread, one event_base and a faked clock. The test is the
 * dialer, the clients (struct seat) and the servers, which either speak through fake streams or,
 * where they move between workers, over a unix socket of the test's. */
#ifndef PGUSHER_TESTS_UNIT_POOL_KIT_H
#define PGUSHER_TESTS_UNIT_POOL_KIT_H

#include "conf/conf_int.h"
#include "pool/pool_int.h"
#include "unit/base/cm.h"

#define KIT_WORKERS_MAX 4
#define KIT_ORDERS_MAX 256
#define KIT_FAKES_MAX 64

/* A fake server's bytes. */
struct fake {
	struct stream *stream; /* NULL: unused or closed */
	struct buf sent, said;
	size_t said_at, chunk;
	ssize_t end;
	size_t accept; /* how many bytes it still takes; SIZE_MAX: all */
};

struct kit_worker {
	struct mailbox *mailbox;
	struct timers *timers;
	struct outvec to_server;
	struct buf scratch;
	uint8_t in[4096];
	struct backend_env backend;
	struct pools *pools;
};

struct kit {
	struct event_base *base;
	struct conf conf;
	struct conf_node nodes[3]; /* a and b: role = auto, c: analytics */
	const struct conf_node *lists[4][3];
	struct conf_database databases[4]; /* one: a b, two: a, three: c b, *: a */
	struct conf_role roles[2];
	struct conf_tenant tenants[2]; /* conf.n_tenant of them; kit_conf_changed afterwards */
	struct pools_shared *shared;
	struct fresh *fresh; /* kit_open_measured */
	unsigned n_workers;
	struct kit_worker workers[KIT_WORKERS_MAX];
	int64_t now_us;

	struct dial *dials[KIT_ORDERS_MAX]; /* not answered yet, oldest first */
	int n_dials, n_dials_ever;
	struct cancel_order *cancels[KIT_ORDERS_MAX];
	int n_cancels;
	struct fake fakes[KIT_FAKES_MAX];

	bool is_measured;
	/* Real sockets. */
	bool is_real;
	char dir[64];
	int listen_fd;

	struct buf log; /* NUL-terminated: "granted a1; refused b1; ..." */
};

/* A client that waits for a server, or has one. */
struct seat {
	struct pool_waiter waiter;
	struct kit *kit;
	char name[16]; /* its first character is the tenant */
	char tenant[16];
	struct server *server;
	struct wire_error refused;
	int n_cancelled, n_lost;
	void (*on_turn)(struct seat *seat); /* called when granted or refused */
};

void kit_open(struct kit *k, unsigned n_workers, int max_server_conn);
/* The same where the nodes' roles are measured: none is known yet. */
void kit_open_measured(struct kit *k, unsigned n_workers, int max_server_conn);
/* What nodes[node] of database one says of itself, and all pools hear of it. A silent one keeps its
 * role, as with the probe; then the others are asked once more. */
void kit_says(struct kit *k, int node, enum fresh_role role, uint32_t timeline);
void kit_is_silent(struct kit *k, int node);
/* The same with unix sockets for servers, which can be lent. */
void kit_open_real(struct kit *k, unsigned n_workers, int max_server_conn);
/* Everything must be given back: no waiters, no servers in use. */
void kit_close(struct kit *k);
/* Letters are delivered until there are none. */
void kit_mail(struct kit *k);
/* Moves the clock, and lets timers fire and mail arrive. */
void kit_pass(struct kit *k, int64_t us);

/* Takes the changes of k->conf. */
void kit_conf_changed(struct kit *k);
struct pool *kit_pool(struct kit *k, unsigned worker, int database);
/* Connections open or being opened to nodes[node]. */
int kit_servers(struct kit *k, int node);

/* The oldest dial that was not answered: it connects, or fails. */
void kit_connect(struct kit *k);
void kit_connect_standby(struct kit *k);
void kit_fail(struct kit *k, const char *sqlstate, const char *message);
/* The oldest cancel. */
void kit_cancelled(struct kit *k, bool ok);

void seat_init(struct seat *seat, struct kit *k, const char *name);
/* True: it has a server at once. */
bool seat_take(struct seat *seat, struct pool *pool);
void seat_give(struct seat *seat);
/* A seat that has a server of a new connection. */
void seat_connected(struct seat *seat, struct kit *k, const char *name, struct pool *pool);

/* What a fake server says, read by its owner at once. */
struct fake *fake_of(struct kit *k, struct server *server);
void fake_deliver(struct fake *f);
void fake_reply(struct fake *f, const char *tag, char status); /* to a simple Query */
/* The Queries that it was sent: "ROLLBACK; DISCARD ALL"; then they are forgotten. */
void assert_queries(struct fake *f, const char *want);

/* The log since the last time. */
void assert_log(struct kit *k, const char *want);

#endif
