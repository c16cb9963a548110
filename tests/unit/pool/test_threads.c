/* Workers on threads of their own that share the limits (of the node, a pool and each tenant), lend
 * servers, close each other's idle ones and wake each other's tenants (run it under
 * -fsanitize=thread as well). Each worker has clients that take a server, keep
 * it for a turn of the loop and give it back, from one of two pools; all of them must be served to
 * the end, also while all workers take one configuration after the other, with other limits. */
#include <event2/event.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/conf_int.h"
#include "pool/pool_int.h"
#include "unit/base/cm.h"

#define WORKERS 3
#define CLIENTS 6 /* a worker */
#define ROUNDS 300
#define SERVERS 4
#define TENANT_SERVERS 2
#define POOL_SIZE 3 /* of the first database */
#define CONFS 20
#define CONF_ROUNDS (ROUNDS / CONFS) /* of the first client */
#define TIME_LIMIT_S 90

struct party;
struct worker;

struct client {
	struct pool_waiter waiter;
	struct mail mail; /* to ourselves: the next turn of the loop */
	struct worker *worker;
	struct server *server;
	int n_served;
	uint32_t random;
};

struct worker {
	struct party *party;
	pthread_t thread;
	struct event_base *base;
	struct mailbox *mailbox;
	struct timers *timers;
	struct outvec to_server;
	struct buf scratch;
	uint8_t in[1024];
	struct backend_env backend;
	struct pools *pools;
	struct client clients[CLIENTS];
	int n_done;
	struct mail end;
};

/* One after the other, each with its own limits. */
struct variant {
	struct conf conf;
	struct conf_database databases[2];
	struct mail mail[WORKERS];
};

struct party {
	struct conf conf;
	struct variant variants[CONFS];
	bool is_changing;
	struct conf_node node;
	const struct conf_node *nodes[1];
	struct conf_database databases[2];
	struct conf_role role;
	struct pools_shared *shared;
	struct worker workers[WORKERS];
	char dir[64];
	int listen_fd;
	_Atomic int n_leased, most_leased, n_workers_done, n_dials, n_errors;
	_Atomic int n_of_tenant[2], most_of_tenant[2];
};

/* ---- the dialer, on the asker's own thread ------------------------------------------------- */

static void dial(void *dialer, struct dial *order)
{
	struct party *p = dialer;
	char info[128];

	snprintf(info, sizeof(info), "host=%s port=1", p->dir);
	order->conn = PQconnectStart(info);
	if (PQsocket(order->conn) < 0)
		p->n_errors++;
	p->n_dials++;
	mailbox_post(order->reply_to, &order->mail);
}

static void cancel(void *dialer, struct cancel_order *order)
{
	(void)dialer, (void)order;
	MUST_NOT_REACH();
}

/* ---- clients ------------------------------------------------------------------------------- */

static void sink_bytes(void *owner, const void *p, size_t len)
{
	(void)owner, (void)p, (void)len;
}

static void sink_reply(void *owner, const struct expect *e, enum expect_outcome outcome)
{
	(void)owner, (void)e, (void)outcome;
}

static bool sink_ready(void *owner, char status)
{
	(void)owner, (void)status;
	return true;
}

static void sink_nothing(void *owner)
{
	(void)owner;
}

static bool sink_settled(void *owner)
{
	(void)owner;
	return true;
}

static void sink_lost(void *owner, enum close_reason reason)
{
	(void)owner, (void)reason;
	MUST_NOT_REACH();
}

static const struct sink_ops client_sink = {
	.on_bytes = sink_bytes,
	.on_reply = sink_reply,
	.on_ready = sink_ready,
	.on_copy_in = sink_nothing,
	.on_flush = sink_nothing,
	.on_settled = sink_settled,
	.on_cancelled = sink_nothing,
	.on_drained = sink_nothing,
	.on_lost = sink_lost,
};

static void count(_Atomic int *count, _Atomic int *most)
{
	int n = atomic_fetch_add(count, 1) + 1, old = atomic_load(most);

	while (n > old && !atomic_compare_exchange_weak(most, &old, n))
		;
}

static int tenant_index(const struct client *c)
{
	return c->waiter.tenant[0] - '1';
}

static void client_has(struct client *c, struct server *server)
{
	struct party *p = c->worker->party;
	int tenant = tenant_index(c);

	count(&p->n_leased, &p->most_leased);
	count(&p->n_of_tenant[tenant], &p->most_of_tenant[tenant]);
	c->server = server;
	server_set_sink(server, &client_sink, c);
	mailbox_post(c->worker->mailbox, &c->mail);
}

static void on_granted(struct pool_waiter *w, struct server *server)
{
	client_has(CONTAINER_OF(w, struct client, waiter), server);
}

static void on_refused(struct pool_waiter *w, const struct wire_error *error)
{
	(void)w, (void)error;
	MUST_NOT_REACH();
}

static void client_take(struct client *c)
{
	struct party *p = c->worker->party;
	const struct conf_database *db;
	struct server *server;

	c->random = c->random * 1103515245 + 12345;
	/* Mostly the same pool, so that servers are lent; now and then the other. */
	db = &p->databases[(c->random >> 16) % 16 == 0];
	server = pool_acquire(pool_find(c->worker->pools, db, db->name, &p->role), &c->waiter);
	if (server != NULL)
		client_has(c, server);
}

static void on_end(struct mail *mail, void *owner)
{
	struct worker *w = owner;

	(void)mail;
	event_base_loopbreak(w->base);
}

static void worker_done(struct worker *w)
{
	struct party *p = w->party;

	/* It stays to lend until the others are done too. */
	if (atomic_fetch_add(&p->n_workers_done, 1) + 1 < WORKERS)
		return;
	for (int i = 0; i < WORKERS; i++)
		mailbox_post(p->workers[i].mailbox, &p->workers[i].end);
}

static void on_conf(struct mail *mail, void *owner)
{
	struct worker *w = owner;
	struct variant *v = CONTAINER_OF(mail - (w - w->party->workers), struct variant, mail);

	pools_set_conf(w->pools, &v->conf);
}

/* The limits go up and down, so that some wait for what only another configuration allows. To all
 * workers by mail, as RELOAD does: while two work by different limits, one opens what the other
 * closes. */
static void change_conf(struct party *p, int n_served)
{
	int v = n_served / CONF_ROUNDS;

	if (n_served % CONF_ROUNDS != 0 || v >= CONFS)
		return;
	for (int i = 0; i < WORKERS; i++) {
		p->variants[v].mail[i].deliver = on_conf;
		mailbox_post(p->workers[i].mailbox, &p->variants[v].mail[i]);
	}
}

static void on_turn(struct mail *mail, void *owner)
{
	struct client *c = CONTAINER_OF(mail, struct client, mail);
	struct worker *w = owner;
	struct server *server = c->server;

	if (server != NULL) {
		c->server = NULL;
		w->party->n_leased--;
		w->party->n_of_tenant[tenant_index(c)]--;
		pool_release(server);
		c->n_served++;
		if (w->party->is_changing && c == &w->party->workers[0].clients[0])
			change_conf(w->party, c->n_served);
	}
	if (c->n_served < ROUNDS)
		client_take(c);
	else if (++w->n_done == CLIENTS)
		worker_done(w);
}

/* ---- workers ------------------------------------------------------------------------------- */

static void *worker_main(void *arg)
{
	struct timeval limit = {TIME_LIMIT_S, 0};
	struct worker *w = arg;

	event_base_loopexit(w->base, &limit);
	event_base_dispatch(w->base);
	return NULL;
}

static void on_edge(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	backend_edge(&((struct worker *)arg)->backend);
}

static void wake_edge(void *worker)
{
	struct timeval now = {0};

	MUST(event_base_once(((struct worker *)worker)->base, -1, EV_TIMEOUT, on_edge, worker,
	                     &now) == 0);
}

static void open_worker(struct party *p, unsigned index)
{
	struct worker *w = &p->workers[index];
	struct pools_env env = {.shared = p->shared,
	                        .conf = &p->conf,
	                        .backend = &w->backend,
	                        .dialer = {dial, cancel, p},
	                        .worker = index};

	w->party = p;
	w->end.deliver = on_end;
	w->base = event_base_new();
	env.mailbox = w->mailbox = mailbox_new(w->base, w);
	env.timers = w->timers = timers_new(w->base);
	w->backend = (struct backend_env){.base = w->base,
	                                  .in = w->in,
	                                  .in_size = sizeof(w->in),
	                                  .to_server = &w->to_server,
	                                  .scratch = &w->scratch,
	                                  .setting = "app.current_tenant_id",
	                                  .wake_edge = wake_edge,
	                                  .worker = w};
	list_init(&w->backend.again);
	w->pools = pools_new(&env);
	for (int i = 0; i < CLIENTS; i++) {
		struct client *c = &w->clients[i];

		c->worker = w;
		c->random = index * CLIENTS + (uint32_t)i;
		c->mail.deliver = on_turn;
		pool_waiter_init(&c->waiter);
		c->waiter.tenant = i % 2 ? "1" : "2";
		c->waiter.on_granted = on_granted;
		c->waiter.on_refused = on_refused;
		mailbox_post(w->mailbox, &c->mail);
	}
}

static void make_variants(struct party *p)
{
	for (int i = 0; i < CONFS; i++) {
		struct variant *v = &p->variants[i];

		v->conf = p->conf;
		v->conf.generation = (uint64_t)i + 1;
		atomic_init(&v->conf.refs, 1);
		memcpy(v->databases, p->databases, sizeof(v->databases));
		v->conf.databases = v->databases;
		v->databases[0].pool_size = 1 + i % POOL_SIZE;
		v->conf.pgusher.max_server_conn = 2 + i % (SERVERS - 1);
		v->conf.tenants.max_server_conn = 1 + i % TENANT_SERVERS;
		v->conf.tenants.weight = 1 + i % 5;
	}
}

static void open_party(struct party *p)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memset(p, 0, sizeof(*p));
	snprintf(p->dir, sizeof(p->dir), "/tmp/pgusher-test-XXXXXX");
	assert_non_null(mkdtemp(p->dir));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/.s.PGSQL.1", p->dir);
	p->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(p->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	/* Nobody accepts: all that were ever opened fit. */
	assert_int_equal(listen(p->listen_fd, 4096), 0);
	p->node.name = "a";
	p->node.host = "";
	p->nodes[0] = &p->node;
	for (int i = 0; i < 2; i++) {
		p->databases[i].name = i == 0 ? "one" : "two";
		p->databases[i].dbname = p->databases[i].name;
		p->databases[i].nodes = p->nodes;
		p->databases[i].n_nodes = 1;
	}
	p->role.name = "app";
	p->role.password = "";
	OBJ_INIT(&p->conf, CONF_MAGIC);
	p->conf.tenants.weight = 1;
	p->conf.tenants.max_server_conn = TENANT_SERVERS;
	p->databases[0].pool_size = POOL_SIZE;
	atomic_init(&p->conf.refs, 1);
	p->conf.databases = p->databases;
	p->conf.n_databases = 2;
	p->conf.roles = &p->role;
	p->conf.n_roles = 1;
	p->conf.nodes = &p->node;
	p->conf.n_nodes = 1;
	p->conf.pgusher.max_server_conn = SERVERS;
	p->conf.pgusher.server_login_retry = US_PER_S;
	p->conf.pgusher.server_lifetime = 3600 * US_PER_S;
	make_variants(p);
	p->shared = pools_shared_new(WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		open_worker(p, i);
}

static void close_party(struct party *p)
{
	char path[128];

	for (int i = 0; i < WORKERS; i++)
		pools_stop(p->workers[i].pools);
	for (int i = 0; i < WORKERS; i++)
		mailbox_free(&p->workers[i].mailbox);
	for (int i = 0; i < WORKERS; i++) {
		struct worker *w = &p->workers[i];

		pools_free(&w->pools);
		timers_free(&w->timers);
		buf_fini(&w->scratch);
		event_base_free(w->base);
	}
	assert_int_equal(atomic_load(&p->shared->nodes[0]->n_servers), 0);
	assert_int_equal(atomic_load(&p->shared->nodes[0]->n_starving), 0);
	pools_shared_free(&p->shared);
	close(p->listen_fd);
	snprintf(path, sizeof(path), "%s/.s.PGSQL.1", p->dir);
	unlink(path);
	rmdir(p->dir);
}

static void run_party(bool is_changing)
{
	static struct party p;

	log_set_level(LOG_LEVEL_ERROR);
	open_party(&p);
	p.is_changing = is_changing;
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(
			pthread_create(&p.workers[i].thread, NULL, worker_main, &p.workers[i]), 0);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(p.workers[i].thread, NULL);
	for (int i = 0; i < WORKERS; i++) {
		for (int c = 0; c < CLIENTS; c++)
			assert_int_equal(p.workers[i].clients[c].n_served, ROUNDS);
	}
	assert_int_equal(p.n_errors, 0);
	assert_in_range(p.most_leased, 2, SERVERS);
	for (int i = 0; i < 2; i++)
		assert_in_range(p.most_of_tenant[i], 1, TENANT_SERVERS);
	close_party(&p);
}

static void test_all_are_served(void **state)
{
	(void)state;
	run_party(false);
}

static void test_while_limits_change(void **state)
{
	(void)state;
	run_party(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_served),
		cmocka_unit_test(test_while_limits_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
