/* The worker: owns one event_base and all that runs on it, and wires the modules together.
 *
 *   listener ─► session_accept      clients
 *   mailbox  ─► letters             dial answers, lent servers, cancels, keys, drain
 *   edge     ─► backend_edge, session_edge   when the loop comes round
 *
 * One read buffer for clients and one for servers serve all connections of the thread, for bytes
 * are dealt with in place and only a rest is kept. */
#include "worker.h"

#include <event2/event.h>
#include <openssl/ssl.h>
#include <pthread.h>

#include "auth_directory.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "sql_catalog.h"
#include "worker/worker_int.h"

#define WORKER_MAGIC 0x304be401
#define READ_BUFFER_BYTES 65536
#define SQL_CACHE_ENTRIES 10000
#define AUTH_CACHE_ENTRIES 20000
#define REVOKED_ENTRIES 10000
#define LISTENERS_MAX 64
#define SWEEP_US US_PER_S
#define DRAIN_POLL_US (50 * US_PER_MS)

struct worker {
	uint32_t magic;
	unsigned index;
	struct worker_shared *shared;
	pthread_t thread;
	struct event_base *base;
	struct mailbox *mailbox;
	struct timers *timers;
	struct conf *conf; /* the worker's reference */
	struct event *edge;
	struct listener *listeners[LISTENERS_MAX];
	unsigned n_listeners;
	struct backend_env backend;
	struct session_env session;
	struct console *console;
	struct outvec to_server, to_client;
	struct buf scratch;
	uint8_t server_in[READ_BUFFER_BYTES], client_in[READ_BUFFER_BYTES];
	struct timer sweep;
	struct forwarder forwarder;
	bool is_catalog_void; /* the databases are not those that the probe reads */
	/* Shutting down. */
	struct timer drain;
	int64_t drain_until_us;
	bool waits_for_clients;
};

/* ---- letters -------------------------------------------------------------------------------- */

struct cancel_letter {
	struct mail mail;
	struct worker *from;
	uint32_t asker;
	struct wire_cancel cancel;
};

struct keys_letter {
	struct mail mail;
	struct auth_keys *keys;
};

struct keys_wait {
	struct keys_order order;
	uint32_t asker;
};

struct tls_letter {
	struct mail mail;
	SSL_CTX *tls;
};

struct proof_letter {
	struct mail mail;
	struct proof_key *key;
};

struct conf_letter {
	struct mail mail;
	struct conf *conf;
	int client_room;
};

struct drain_letter {
	struct mail mail;
	int64_t timeout_us;
	bool waits_for_clients;
};

static void on_cancel_done(struct mail *mail, void *owner)
{
	struct cancel_letter *letter = CONTAINER_OF(mail, struct cancel_letter, mail);
	struct worker *w = owner;

	session_cancel_done(&w->session, letter->asker);
	mem_free(letter);
}

static void on_cancel(struct mail *mail, void *owner)
{
	struct cancel_letter *letter = CONTAINER_OF(mail, struct cancel_letter, mail);
	struct worker *w = owner;

	session_cancel(&w->session, &letter->cancel);
	letter->mail.deliver = on_cancel_done;
	mailbox_post(letter->from->mailbox, &letter->mail);
}

static bool route_cancel(void *worker, uint32_t asker, const struct wire_cancel *cancel)
{
	struct worker *w = worker;
	unsigned index = session_pid_worker(cancel->pid, w->shared->n_workers);
	struct cancel_letter *letter;
	struct wire_cancel ours = *cancel;

	if (forward_is_wanted(&w->forwarder, cancel->pid))
		return forward_cancel(&w->forwarder, asker, cancel);
	ours.pid &= ~SESSION_PID_FORWARDED;
	if (index == w->index) {
		session_cancel(&w->session, &ours);
		return true;
	}
	letter = mem_zalloc(sizeof(*letter));
	letter->mail.deliver = on_cancel;
	letter->from = w;
	letter->asker = asker;
	letter->cancel = ours;
	mailbox_post(w->shared->workers[index]->mailbox, &letter->mail);
	return false;
}

static void on_keys(struct mail *mail, void *owner)
{
	struct keys_letter *letter = CONTAINER_OF(mail, struct keys_letter, mail);
	struct worker *w = owner;

	auth_keys_put(&w->session.keys);
	w->session.keys = letter->keys;
	auth_cache_clear(w->session.auth);
	mem_free(letter);
}

void worker_set_keys(struct worker *w, struct auth_keys *keys)
{
	struct keys_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_keys;
	letter->keys = auth_keys_get(keys);
	mailbox_post(w->mailbox, &letter->mail);
}

struct directory_letter {
	struct mail mail;
	struct auth_directory *directory;
};

static void on_directory(struct mail *mail, void *owner)
{
	struct directory_letter *letter = CONTAINER_OF(mail, struct directory_letter, mail);
	struct worker *w = owner;

	session_set_directory(&w->session, letter->directory);
	mem_free(letter);
}

void worker_set_directory(struct worker *w, struct auth_directory *directory)
{
	struct directory_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_directory;
	letter->directory = auth_directory_get(directory);
	mailbox_post(w->mailbox, &letter->mail);
}

struct catalog_letter {
	struct mail mail;
	struct sql_catalog *catalog;
};

static void on_catalog(struct mail *mail, void *owner)
{
	struct catalog_letter *letter = CONTAINER_OF(mail, struct catalog_letter, mail);
	struct worker *w = owner;

	if (w->is_catalog_void)
		sql_catalog_put(&letter->catalog);
	else
		session_set_catalog(&w->session, letter->catalog);
	mem_free(letter);
}

void worker_set_catalog(struct worker *w, struct sql_catalog *catalog)
{
	struct catalog_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_catalog;
	letter->catalog = sql_catalog_get(catalog);
	mailbox_post(w->mailbox, &letter->mail);
}

static void on_roles(struct mail *mail, void *owner)
{
	struct worker *w = owner;

	pools_follow(w->session.pools);
	session_follow_roles(&w->session);
	mem_free(mail);
}

void worker_follow_roles(struct worker *w)
{
	struct mail *mail = mem_zalloc(sizeof(*mail));

	OBJ_CHECK(w, WORKER_MAGIC);
	mail->deliver = on_roles;
	mailbox_post(w->mailbox, mail);
}

static void on_keys_done(struct mail *mail, void *owner)
{
	struct keys_order *order = CONTAINER_OF(mail, struct keys_order, mail);
	struct keys_wait *wait = CONTAINER_OF(order, struct keys_wait, order);
	struct worker *w = owner;

	session_keys_done(&w->session, wait->asker, order->is_final);
	mem_free(wait);
}

static void await_keys(void *worker, uint32_t asker, unsigned section)
{
	struct worker *w = worker;
	struct keys_wait *wait = mem_zalloc(sizeof(*wait));

	wait->order.mail.deliver = on_keys_done;
	wait->order.reply_to = w->mailbox;
	wait->order.section = section;
	wait->asker = asker;
	probe_await_keys(w->shared->probe, &wait->order);
}

static SSL_CTX *tls_get(SSL_CTX *tls)
{
	if (tls != NULL)
		MUST(SSL_CTX_up_ref(tls) == 1);
	return tls;
}

/* Connections that are there keep the context that they began with. */
static void on_tls(struct mail *mail, void *owner)
{
	struct tls_letter *letter = CONTAINER_OF(mail, struct tls_letter, mail);
	struct worker *w = owner;

	SSL_CTX_free(w->session.tls);
	w->session.tls = letter->tls;
	mem_free(letter);
}

void worker_set_tls(struct worker *w, struct ssl_ctx_st *tls)
{
	struct tls_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_tls;
	letter->tls = tls_get(tls);
	mailbox_post(w->mailbox, &letter->mail);
}

static void on_proof_key(struct mail *mail, void *owner)
{
	struct proof_letter *letter = CONTAINER_OF(mail, struct proof_letter, mail);
	struct worker *w = owner;

	prover_free(&w->backend.prover);
	w->backend.prover = prover_new(letter->key);
	proof_key_put(&letter->key);
	mem_free(letter);
}

void worker_set_proof_key(struct worker *w, struct proof_key *key)
{
	struct proof_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_proof_key;
	letter->key = proof_key_get(key);
	mailbox_post(w->mailbox, &letter->mail);
}

/* Nothing of this thread points into the old one behind this; who does elsewhere (a dial, a cancel
 * to a peer) has a reference. */
static void on_conf(struct mail *mail, void *owner)
{
	struct conf_letter *letter = CONTAINER_OF(mail, struct conf_letter, mail);
	struct worker *w = owner;
	struct conf *old = w->conf;

	w->conf = letter->conf;
	w->backend.max_prepared_statements = (uint32_t)w->conf->pgusher.max_prepared_statements;
	w->backend.setting = w->conf->context.setting;
	w->backend.proof_setting = w->conf->context.proof_setting;
	w->backend.reports = audit_wants(w->session.audit, AUDIT_STATEMENTS);
	w->forwarder.conf = w->conf;
	w->session.client_room = letter->client_room;
	pools_set_conf(w->session.pools, w->conf);
	session_set_conf(&w->session, w->conf);
	session_set_guard(&w->session);
	/* The catalogue is of the old databases, now and whenever the probe has a newer one. */
	if (!conf_has_same_places(old, w->conf)) {
		session_set_catalog(&w->session, NULL);
		w->is_catalog_void = true;
	}
	conf_put(&old);
	mem_free(letter);
}

void worker_set_conf(struct worker *w, struct conf *conf, int client_room)
{
	struct conf_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_conf;
	letter->conf = conf_get(conf);
	letter->client_room = client_room;
	mailbox_post(w->mailbox, &letter->mail);
}

/* ---- the end -------------------------------------------------------------------------------- */

static void close_all_clients(struct worker *w)
{
	while (!list_is_empty(&w->session.clients))
		session_close(session_of_link(w->session.clients.next), CLOSE_SHUTDOWN);
	session_edge(&w->session);
}

static void on_drain_poll(struct timer *timer)
{
	struct worker *w = CONTAINER_OF(timer, struct worker, drain);
	/* As long as anybody has a client, the console needs all workers. */
	bool is_empty = w->waits_for_clients ? w->shared->n_clients == w->shared->n_consoles
	                                     : list_is_empty(&w->session.clients);
	bool is_done = is_empty && pools_busy(w->session.pools) == 0;

	if (!is_done && clock_mono_us() < w->drain_until_us) {
		timer_arm(w->timers, timer, DRAIN_POLL_US);
		return;
	}
	close_all_clients(w);
	event_base_loopbreak(w->base);
}

static void on_drain(struct mail *mail, void *owner)
{
	struct drain_letter *letter = CONTAINER_OF(mail, struct drain_letter, mail);
	struct worker *w = owner;

	w->drain_until_us = clock_mono_us() + letter->timeout_us;
	w->waits_for_clients = letter->waits_for_clients;
	mem_free(letter);
	for (unsigned i = 0; i < w->n_listeners; i++)
		listener_free(&w->listeners[i]);
	w->n_listeners = 0;
	if (!w->waits_for_clients)
		session_drain(&w->session);
	timer_cancel(w->timers, &w->drain);
	timer_arm(w->timers, &w->drain, 0);
}

static void post_drain(struct worker *w, int64_t timeout_us, bool waits_for_clients)
{
	struct drain_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(w, WORKER_MAGIC);
	letter->mail.deliver = on_drain;
	letter->timeout_us = timeout_us;
	letter->waits_for_clients = waits_for_clients;
	mailbox_post(w->mailbox, &letter->mail);
}

void worker_drain(struct worker *w, int64_t timeout_us)
{
	post_drain(w, timeout_us, false);
}

void worker_wait_clients(struct worker *w)
{
	post_drain(w, INT64_MAX / 2, true);
}

static void on_sweep(struct timer *timer)
{
	struct worker *w = CONTAINER_OF(timer, struct worker, sweep);

	session_sweep(&w->session);
	timer_arm(w->timers, timer, SWEEP_US);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void on_accept(void *arg, int fd, const struct peer *peer)
{
	struct worker *w = arg;

	session_accept(&w->session, fd, peer);
}

static void on_edge(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;

	(void)fd, (void)what;
	backend_edge(&w->backend);
	session_edge(&w->session);
}

static void wake_edge(void *worker)
{
	struct worker *w = worker;

	struct timeval now = {0};

	/* Behind the events that are waiting already. */
	MUST(event_add(w->edge, &now) == 0);
}

static void init_backend(struct worker *w)
{
	const struct conf *conf = w->conf;

	w->backend = (struct backend_env){
		.base = w->base,
		.in = w->server_in,
		.in_size = sizeof(w->server_in),
		.to_server = &w->to_server,
		.scratch = &w->scratch,
		.max_prepared_statements = (uint32_t)conf->pgusher.max_prepared_statements,
		.setting = conf->context.setting,
		.proof_setting = conf->context.proof_setting,
		.wake_edge = wake_edge,
		.worker = w,
		.reports = audit_wants(audit_queue(w->shared->audit, w->index), AUDIT_STATEMENTS),
	};
	if (w->shared->proof_key != NULL)
		w->backend.prover = prover_new(w->shared->proof_key);
	list_init(&w->backend.again);
}

static void init_session(struct worker *w, struct auth_keys *keys)
{
	struct conf *conf = w->conf;
	const char *protected_settings[] = {conf->context.setting, conf->context.proof_setting,
	                                    NULL};
	struct pools_env pools = {
		.shared = w->shared->pools,
		.conf = conf,
		.fresh = w->shared->fresh,
		.backend = &w->backend,
		.mailbox = w->mailbox,
		.timers = w->timers,
		.dialer = w->shared->dialer,
		.worker = w->index,
	};

	w->session = (struct session_env){
		.conf = conf,
		.base = w->base,
		.timers = w->timers,
		.pools = pools_new(&pools),
		.fresh = w->shared->fresh,
		.backend = &w->backend,
		.sql = sql_cache_new(protected_settings, SQL_CACHE_ENTRIES),
		.sql_service = sql_cache_new(protected_settings, SQL_CACHE_ENTRIES),
		.auth = auth_cache_new(AUTH_CACHE_ENTRIES),
		.revoked = auth_revoked_new(REVOKED_ENTRIES),
		.keys = auth_keys_get(keys),
		.tls = tls_get(w->shared->tls),
		.in = w->client_in,
		.in_size = sizeof(w->client_in),
		.to_client = &w->to_client,
		.n_clients = &w->shared->n_clients,
		.client_room = w->shared->client_room,
		.n_all_consoles = &w->shared->n_consoles,
		.audit = audit_queue(w->shared->audit, w->index),
		.route_cancel = route_cancel,
		.await_keys = await_keys,
		.wake_edge = wake_edge,
		.worker = w,
		.worker_index = w->index,
		.n_workers = w->shared->n_workers,
	};
	session_set_guard(&w->session);
	session_set_catalog(&w->session, NULL);
	session_env_init(&w->session);
}

static void init_console(struct worker *w)
{
	struct console_env env = {
		.shared = w->shared->console,
		.worker = w->index,
		.session = &w->session,
		.pools = w->shared->pools,
		.fresh = w->shared->fresh,
		.mailbox = w->mailbox,
		.timers = w->timers,
	};

	w->console = console_new(&env);
	w->session.console = &console_session;
	w->session.console_arg = w->console;
}

struct worker *worker_new(struct worker_shared *shared, unsigned index, struct auth_keys *keys)
{
	struct worker *w = mem_zalloc(sizeof(*w));

	OBJ_INIT(w, WORKER_MAGIC);
	w->shared = shared;
	w->index = index;
	w->conf = conf_get(shared->conf);
	w->base = event_base_new();
	MUST(w->base != NULL);
	w->mailbox = mailbox_new(w->base, w);
	w->timers = timers_new(w->base);
	w->edge = event_new(w->base, -1, 0, on_edge, w);
	MUST(w->edge != NULL);
	timer_init(&w->drain, on_drain_poll);
	timer_init(&w->sweep, on_sweep);
	timer_arm(w->timers, &w->sweep, SWEEP_US);
	init_backend(w);
	init_session(w, keys);
	w->forwarder = (struct forwarder){.conf = w->conf,
	                                  .dialer = shared->peer_dialer,
	                                  .mailbox = w->mailbox,
	                                  .session = &w->session};
	init_console(w);
	return w;
}

void worker_listen(struct worker *w, int fd)
{
	OBJ_CHECK(w, WORKER_MAGIC);
	MUST(w->n_listeners < LISTENERS_MAX);
	w->listeners[w->n_listeners++] = listener_new(w->base, fd, on_accept, w);
}

static void *run(void *arg)
{
	struct worker *w = arg;

	MUST(event_base_loop(w->base, EVLOOP_NO_EXIT_ON_EMPTY) >= 0);
	w->shared->on_end(w->shared->on_end_arg);
	return NULL;
}

void worker_start(struct worker *w)
{
	OBJ_CHECK(w, WORKER_MAGIC);
	MUST(pthread_create(&w->thread, NULL, run, w) == 0);
}

void worker_join(struct worker *w)
{
	OBJ_CHECK(w, WORKER_MAGIC);
	MUST(pthread_join(w->thread, NULL) == 0);
}

void worker_stop(struct worker *w)
{
	OBJ_CHECK(w, WORKER_MAGIC);
	pools_stop(w->session.pools);
	console_stop(w->console);
}

void worker_free(struct worker **wp)
{
	struct worker *w = *wp;

	*wp = NULL;
	OBJ_CHECK(w, WORKER_MAGIC);
	for (unsigned i = 0; i < w->n_listeners; i++)
		listener_free(&w->listeners[i]);
	mailbox_free(&w->mailbox);
	timer_cancel(w->timers, &w->sweep);
	timer_cancel(w->timers, &w->drain);
	close_all_clients(w);
	console_free(&w->console);
	pools_free(&w->session.pools);
	session_env_fini(&w->session);
	sql_cache_free(&w->session.sql);
	sql_cache_free(&w->session.sql_service);
	auth_cache_free(&w->session.auth);
	auth_revoked_free(&w->session.revoked);
	auth_keys_put(&w->session.keys);
	SSL_CTX_free(w->session.tls);
	prover_free(&w->backend.prover);
	conf_put(&w->conf);
	timers_free(&w->timers);
	event_free(w->edge);
	event_base_free(w->base);
	buf_fini(&w->scratch);
	OBJ_FINI(w, WORKER_MAGIC);
	mem_free(w);
}
