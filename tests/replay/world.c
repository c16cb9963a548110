/* The environment of a scenario: what worker.c wires, with a fake dialer and clock, and without a
 * loop that runs by itself. One replay runs at a time. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "replay_int.h"
#include "session/session_int.h"

#define START_MONO_US (1000 * US_PER_S)
#define START_WALL_S 1700000000
#define ACTORS_MAX 64
#define ORDERS_MAX 64
#define SECTIONS_MAX 2 /* [jwt url] and [jwt] */
#define READ_BUFFER_BYTES 65536

struct replay {
	const struct scenario *scenario;
	enum replay_mode mode;
	bool is_started;
	int64_t mono_us, wall_s;
	struct conf *conf;
	struct auth_keys *keys;
	struct event_base *base;
	struct mailbox *mailbox;
	struct timers *timers;
	struct pools_shared *shared;
	struct backend_env backend;
	struct session_env session;
	struct outvec to_server, to_client;
	struct buf scratch;
	uint8_t server_in[READ_BUFFER_BYTES], client_in[READ_BUFFER_BYTES];
	_Atomic int n_clients;
	bool reap, dials_wait, cancels_go_elsewhere;
	struct actor *actors[ACTORS_MAX];
	size_t n_actors;
	struct dial *dials[ORDERS_MAX];
	size_t n_dials;
	struct cancel_order *cancels[ORDERS_MAX];
	size_t n_cancels;
	struct {
		bool is_due;
		uint32_t asker;
		struct wire_cancel cancel;
	} elsewhere;
	uint32_t keys_askers[ORDERS_MAX];
	size_t n_keys_askers;
	struct auth_jwks *file;
	char *token;
	struct buf welcome; /* the last client's */
};

static struct replay *running;
static char dir[64]; /* of the group: key file */

/* ---- the loop --------------------------------------------------------------------------- */

static bool pump(struct replay *t)
{
	bool moved = false;

	for (size_t i = 0; i < t->n_actors; i++)
		moved = actor_pump(t->actors[i]) || moved;
	return moved;
}

/* Mail may cause mail. */
static void deliver(struct replay *t)
{
	for (int i = 0; i < 4; i++)
		MUST(event_base_loop(t->base, EVLOOP_NONBLOCK) >= 0);
}

void replay_turn(struct replay *t)
{
	do {
		deliver(t);
		if (t->reap)
			session_edge(&t->session);
		t->reap = false;
		if (t->elsewhere.is_due) {
			t->elsewhere.is_due = false;
			session_cancel(&t->session, &t->elsewhere.cancel);
			session_cancel_done(&t->session, t->elsewhere.asker);
		}
	} while ((t->mode == REPLAY_TIGHT && pump(t)) || t->reap);
	/* Between two events nobody uses these. */
	MUST(t->to_client.to == NULL && t->to_server.to == NULL && t->scratch.len == 0);
	for (size_t i = 0; i < t->n_actors; i++) {
		if (t->mode == REPLAY_TIGHT)
			t->actors[i]->room = 1;
	}
}

void replay_sleep(struct replay *t, int64_t us)
{
	t->mono_us += us;
	t->wall_s += us / US_PER_S;
	clock_fake(t->mono_us, t->wall_s);
	timers_run(t->timers);
	replay_turn(t);
}

enum replay_mode replay_mode(const struct replay *t)
{
	return t->mode;
}

struct session_env *replay_session(struct replay *t)
{
	return &t->session;
}

size_t replay_busy_servers(const struct replay *t)
{
	return pools_busy(t->session.pools);
}

/* ---- the dialer ------------------------------------------------------------------------- */

static struct actor *actor_add(struct replay *t, bool is_server)
{
	char name[32];
	size_t n = 0;

	MUST(t->n_actors < ACTORS_MAX);
	for (size_t i = 0; i < t->n_actors; i++)
		n += t->actors[i]->is_server == is_server;
	snprintf(name, sizeof(name), "%s %zu", is_server ? "server" : "client", n);
	return t->actors[t->n_actors++] = actor_new(t, is_server, name);
}

static struct actor *answer_connected(struct replay *t, struct dial *order)
{
	struct actor *a = actor_add(t, true);

	order->conn = mem_zalloc(sizeof(*order->conn));
	order->conn->actor = a;
	a->is_standby = order->is_standby = strcmp(order->node->name, "b") == 0;
	snprintf(order->sqlstate, sizeof(order->sqlstate), "00000");
	mailbox_post(order->reply_to, &order->mail);
	return a;
}

static void dial(void *dialer, struct dial *order)
{
	struct replay *t = dialer;

	if (!t->dials_wait) {
		answer_connected(t, order);
		return;
	}
	MUST(t->n_dials < ORDERS_MAX);
	t->dials[t->n_dials++] = order;
}

static struct dial *dial_take(struct replay *t)
{
	struct dial *order = t->dials[0];

	MUST(t->n_dials > 0);
	memmove(t->dials, t->dials + 1, --t->n_dials * sizeof(t->dials[0]));
	return order;
}

void dials_wait(struct replay *t)
{
	t->dials_wait = true;
}

size_t dials_waiting(const struct replay *t)
{
	return t->n_dials;
}

struct actor *dial_connects(struct replay *t)
{
	struct actor *a = answer_connected(t, dial_take(t));

	replay_turn(t);
	return a;
}

void dial_fails(struct replay *t, const char *sqlstate, const char *message)
{
	struct dial *order = dial_take(t);

	snprintf(order->sqlstate, sizeof(order->sqlstate), "%s", sqlstate);
	snprintf(order->message, sizeof(order->message), "%s", message);
	mailbox_post(order->reply_to, &order->mail);
	replay_turn(t);
}

static void cancel(void *dialer, struct cancel_order *order)
{
	struct replay *t = dialer;

	MUST(t->n_cancels < ORDERS_MAX);
	t->cancels[t->n_cancels++] = order;
}

struct actor *cancel_waiting(const struct replay *t)
{
	return t->n_cancels > 0 ? t->cancels[0]->conn->actor : NULL;
}

void cancel_ends(struct replay *t, bool ok)
{
	struct cancel_order *order = t->cancels[0];

	MUST(t->n_cancels > 0);
	memmove(t->cancels, t->cancels + 1, --t->n_cancels * sizeof(t->cancels[0]));
	order->ok = ok;
	mailbox_post(order->reply_to, &order->mail);
	replay_turn(t);
}

/* ---- start and stop --------------------------------------------------------------------- */

static bool route_cancel(void *worker, uint32_t asker, const struct wire_cancel *cancel)
{
	struct replay *t = worker;

	if (!t->cancels_go_elsewhere) {
		session_cancel(&t->session, cancel);
		return true;
	}
	t->elsewhere.is_due = true;
	t->elsewhere.asker = asker;
	t->elsewhere.cancel = *cancel;
	return false;
}

void replay_cancel_elsewhere(struct replay *t)
{
	t->cancels_go_elsewhere = true;
}

/* The keys of the file for every section without a URL, for the others if `fetched`. */
static struct auth_keys *make_keys(struct replay *t, bool fetched)
{
	struct auth_jwks *files[SECTIONS_MAX] = {NULL}, *urls[SECTIONS_MAX] = {NULL};

	MUST(t->conf->n_jwts <= SECTIONS_MAX);
	for (size_t i = 0; i < t->conf->n_jwts; i++) {
		bool has_url = t->conf->jwts[i].jwks_url[0] != '\0';

		files[i] = has_url ? NULL : t->file;
		urls[i] = has_url && fetched ? t->file : NULL;
	}
	return auth_keys_new(t->conf, files, urls);
}

static void await_keys(void *worker, uint32_t asker, unsigned section)
{
	struct replay *t = worker;

	MUST(t->n_keys_askers < ORDERS_MAX && t->conf->jwts[section].jwks_url[0] != '\0');
	t->keys_askers[t->n_keys_askers++] = asker;
}

size_t keys_awaited(const struct replay *t)
{
	return t->n_keys_askers;
}

void keys_fetched(struct replay *t, bool come, bool is_final)
{
	uint32_t asker = t->keys_askers[0];

	MUST(t->n_keys_askers > 0);
	memmove(t->keys_askers, t->keys_askers + 1, --t->n_keys_askers * sizeof(asker));
	if (come) {
		auth_keys_put(&t->keys);
		t->keys = make_keys(t, true);
		t->session.keys = t->keys;
		auth_cache_clear(t->session.auth);
	}
	session_keys_done(&t->session, asker, is_final);
	replay_turn(t);
}

static void wake_edge(void *worker)
{
	struct replay *t = worker;

	t->reap = true;
}

static struct conf *read_conf(const char *ini)
{
	struct conf_error error;
	struct conf *conf;
	char text[4096];

	snprintf(text, sizeof(text),
	         "[pgusher]\nlog_connections = no\nlog_disconnections = no\n%s\n"
	         "[jwt]\njwks_file = %s/keys.json\nalgorithms = HS256\nleeway = 0\n"
	         "[node a]\nhost = a\n[database eav]\nnodes = a%s\n"
	         "[role app]\n[role service]\ntenant = none\n"
	         "[guard]\nmode = standard\n",
	         ini, dir, strstr(ini, "[node b]") != NULL ? ", b" : "");
	conf = conf_parse(text, strlen(text), "replay.ini", &error);
	if (conf == NULL)
		fail_msg("%s", error.text);
	return conf;
}

static void start_session(struct replay *t)
{
	const char *protected_settings[] = {t->conf->context.setting,
	                                    t->conf->context.proof_setting, NULL};
	struct fresh *fresh = replica_new(t->conf);
	struct pools_env pools = {.shared = t->shared,
	                          .conf = t->conf,
	                          .fresh = fresh,
	                          .backend = &t->backend,
	                          .mailbox = t->mailbox,
	                          .timers = t->timers,
	                          .dialer = {dial, cancel, t}};

	t->session = (struct session_env){
		.conf = t->conf,
		.fresh = fresh,
		.base = t->base,
		.timers = t->timers,
		.pools = pools_new(&pools),
		.backend = &t->backend,
		.sql = sql_cache_new(protected_settings, 1000),
		.sql_service = sql_cache_new(protected_settings, 1000),
		.auth = auth_cache_new(100),
		.keys = t->keys,
		.in = t->client_in,
		.in_size = sizeof(t->client_in),
		.to_client = &t->to_client,
		.n_clients = &t->n_clients,
		.route_cancel = route_cancel,
		.await_keys = await_keys,
		.wake_edge = wake_edge,
		.worker = t,
		.n_workers = 1,
	};
	session_set_guard(&t->session);
	session_env_init(&t->session);
}

void replay_start(struct replay *t, const char *ini)
{
	char path[128], err[256];

	MUST(!t->is_started);
	t->is_started = true;
	snprintf(path, sizeof(path), "%s/keys.json", dir);
	t->mono_us = START_MONO_US;
	t->wall_s = START_WALL_S;
	clock_fake(t->mono_us, t->wall_s);
	t->conf = read_conf(ini);
	t->file = auth_jwks_load(path, err, sizeof(err));
	if (t->file == NULL)
		fail_msg("%s", err);
	t->keys = make_keys(t, false);
	t->base = event_base_new();
	t->mailbox = mailbox_new(t->base, t);
	t->timers = timers_new(NULL);
	t->shared = pools_shared_new(1);
	t->backend = (struct backend_env){
		.base = t->base,
		.in = t->server_in,
		.in_size = sizeof(t->server_in),
		.to_server = &t->to_server,
		.scratch = &t->scratch,
		.max_prepared_statements = (uint32_t)t->conf->pgusher.max_prepared_statements,
		.setting = t->conf->context.setting,
		.wake_edge = wake_edge,
		.worker = t,
		.fake = &server_ops,
	};
	list_init(&t->backend.again);
	start_session(t);
}

/* As worker_stop and worker_free. */
static void stop(struct replay *t)
{
	pools_stop(t->session.pools);
	while (t->n_dials > 0)
		dial_fails(t, "57P01", "the test is over");
	while (!list_is_empty(&t->session.clients))
		session_close(session_of_link(t->session.clients.next), CLOSE_SHUTDOWN);
	session_reap(&t->session);
	while (t->n_cancels > 0)
		cancel_ends(t, true);
	mailbox_free(&t->mailbox);
	pools_free(&t->session.pools);
	session_env_fini(&t->session);
	sql_cache_free(&t->session.sql);
	sql_cache_free(&t->session.sql_service);
	auth_cache_free(&t->session.auth);
	auth_keys_put(&t->keys);
	auth_jwks_put(&t->file);
	timers_free(&t->timers);
	pools_shared_free(&t->shared);
	if (t->session.fresh != NULL)
		fresh_free(&t->session.fresh);
	event_base_free(t->base);
	conf_put(&t->conf);
	buf_fini(&t->scratch);
	assert_int_equal(t->n_clients, 0);
}

static int teardown(void **state)
{
	struct replay *t = *state;

	if (t->is_started)
		stop(t);
	for (size_t i = 0; i < t->n_actors; i++)
		actor_free(t->actors[i]);
	buf_fini(&t->welcome);
	mem_free(t->token);
	mem_free(t);
	running = NULL;
	messages_free();
	clock_fake(-1, 0);
	return 0;
}

/* ---- clients ---------------------------------------------------------------------------- */

struct actor *world_client_of(const struct client *client)
{
	for (size_t i = 0; i < running->n_actors; i++) {
		if (running->actors[i]->client == client && running->actors[i]->stream != NULL)
			return running->actors[i];
	}
	MUST_NOT_REACH();
}

const char *replay_token(struct replay *t, const char *tenant, const char *claim)
{
	static const char *const roles[] = {"app", NULL};
	const char *const claims[] = {claim, NULL};
	char path[128], err[256];
	struct auth_mint mint = {.key_file = path,
	                         .tenant = tenant,
	                         .roles = roles,
	                         .claims = claims,
	                         .tenant_claim = "tenant_id",
	                         .role_claim = "role",
	                         .now_s = t->wall_s,
	                         .ttl_s = 3600};

	snprintf(path, sizeof(path), "%s/keys.json", dir);
	mem_free(t->token);
	t->token = auth_mint(&mint, err, sizeof(err));
	if (t->token == NULL)
		fail_msg("%s", err);
	return t->token;
}

struct actor *client_connects_from(struct replay *t, const struct peer *peer)
{
	struct actor *a;

	if (!t->is_started)
		replay_start(t, "");
	a = actor_add(t, false);
	a->client = session_accept_fake(&t->session, &client_ops, peer);
	a->stream = &a->client->stream;
	return a;
}

struct actor *client_connects(struct replay *t)
{
	struct peer peer = {.is_loopback = true, .uid = -1, .text = "127.0.0.1:1"};

	return client_connects_from(t, &peer);
}

struct actor *client_starts(struct replay *t, const char *tenant, const char *const *parameters)
{
	const char *all[32] = {"user", "app", "database", "eav", "usher.report", "off"};
	struct actor *c = client_connects(t);

	for (size_t i = 6; *parameters != NULL; parameters++)
		all[i++] = *parameters;
	client_sends(c, msg_startup(WIRE_PROTOCOL_3_0, all));
	client_gets(c, AUTH(3));
	client_sends(c, PASSWORD(replay_token(t, tenant, NULL)));
	return c;
}

struct actor *client_logs_in(struct replay *t, const char *tenant)
{
	static const char *const none[] = {NULL};
	struct actor *c = client_starts(t, tenant, none);

	client_is_welcome(c);
	return c;
}

/* What the message at p is for: true when it belongs to a welcome and nothing is missing yet. */
static bool is_welcome(struct actor *c, const uint8_t *p, size_t n, bool is_first, bool is_last)
{
	if (is_first)
		return n == 9 && p[0] == 'R' && be32_get(p + 5) == 0;
	if (is_last)
		return n == 6 && p[0] == 'Z' && p[5] == 'I' && c->pid != 0;
	if (p[0] != 'K')
		return p[0] == 'S';
	c->pid = be32_get(p + 5);
	c->secret = be32_get(p + 9);
	return wire_cancel_read((struct wire_cursor){p + 5, p + n}, &c->key) == WIRE_READ_OK;
}

void client_is_welcome_at(struct actor *c, const char *file, int line)
{
	struct buf *b = &c->in;
	size_t at = 0, n;

	for (; at + WIRE_HEADER_BYTES <= b->len; at += n) {
		n = 1 + (size_t)be32_get(b->data + at + 1);
		if (at + n > b->len || !is_welcome(c, b->data + at, n, at == 0, at + n == b->len))
			break;
	}
	if (at == 0 || at != b->len) {
		(void)compare_messages(c, MSGS(AUTH(0)), false);
		replay_fail(file, line, "%s is not welcome", c->name);
	}
	c->t->welcome.len = 0;
	buf_put(&c->t->welcome, b->data, b->len);
	buf_fini(b);
	c->n_writes = 0;
}

const char *client_was_told(const struct actor *c, const char *parameter)
{
	const struct buf *b = &c->t->welcome;

	for (size_t at = 0; at < b->len; at += 1 + (size_t)be32_get(b->data + at + 1)) {
		const char *name = (const char *)b->data + at + WIRE_HEADER_BYTES;

		if (b->data[at] == 'S' && strcmp(name, parameter) == 0)
			return name + strlen(name) + 1;
	}
	return NULL;
}

struct actor *client_cancels_with(struct replay *t, const struct wire_cancel *key)
{
	struct actor *c = client_connects(t);
	struct buf packet = {0};

	wire_put_cancel(&packet, key);
	client_sends(c, RAW((const char *)packet.data, packet.len));
	buf_fini(&packet);
	return c;
}

struct actor *client_cancels(struct replay *t, uint32_t pid, uint32_t secret)
{
	struct wire_cancel key = {.pid = pid, .key_len = 4};

	be32_set(key.key, secret);
	return client_cancels_with(t, &key);
}

struct actor *replay_server(struct replay *t, size_t i)
{
	for (size_t at = 0; at < t->n_actors; at++) {
		if (t->actors[at]->is_server && i-- == 0)
			return t->actors[at];
	}
	return NULL;
}

size_t replay_servers(const struct replay *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_actors; i++)
		n += t->actors[i]->is_server;
	return n;
}

void replay_warm(struct replay *t, struct actor **client, struct actor **server)
{
	*client = client_logs_in(t, "123");
	*server = replay_server(t, 0);
	client_sends(*client, QUERY("select 1"));
	server_gets(*server, FIRST_CONTEXT("123"), QUERY("select 1"));
	server_says(*server, FIRST_CONTEXT_DONE("123"), COMPLETE("SELECT 1"), READY('I'));
	client_gets(*client, COMPLETE("SELECT 1"), READY('I'));
}

void replay_open_block(struct actor *c, struct actor *s)
{
	client_sends(c, QUERY("begin"), QUERY("select 1"));
	server_gets(s, FIRST_DEFERRED_BEGIN, CONTEXT("123"), QUERY("select 1"));
	server_says(s, FIRST_DEFERRED_BEGIN_DONE, CONTEXT_DONE("123"), COMPLETE("SELECT 1"),
	            READY('T'));
	client_gets(c, COMPLETE("BEGIN"), READY('T'), COMPLETE("SELECT 1"), READY('T'));
}

void replay_round_trip(struct actor *c, struct actor *s, const char *tenant, const char *file,
                       int line)
{
	actor_sends(c, MSGS(QUERY("select 1")), file, line);
	actor_gets(s, MSGS(CONTEXT(tenant), QUERY("select 1")), file, line);
	actor_sends(s, MSGS(CONTEXT_DONE(tenant), ROW("1"), COMPLETE("SELECT 1"), READY('I')), file,
	            line);
	actor_gets(c, MSGS(ROW("1"), COMPLETE("SELECT 1"), READY('I')), file, line);
}

/* ---- running ---------------------------------------------------------------------------- */

struct run {
	const struct scenario *scenario;
	enum replay_mode mode;
	char name[120];
};

static int setup(void **state)
{
	const struct run *run = *state;
	struct replay *t = mem_zalloc(sizeof(*t));

	t->scenario = run->scenario;
	t->mode = run->mode;
	running = t;
	*state = t;
	return 0;
}

static void play(void **state)
{
	struct replay *t = *state;

	t->scenario->play(t);
}

static int group_setup(void **state)
{
	char path[128], err[256], *key;
	FILE *f;

	(void)state;
	log_set_level(LOG_LEVEL_ERROR);
	snprintf(dir, sizeof(dir), "/tmp/pgusher-replay-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/keys.json", dir);
	key = auth_key_new("HS256", "test", err, sizeof(err));
	assert_non_null(key);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "{\"keys\":[%s]}", key);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, 0600), 0);
	mem_free(key);
	return 0;
}

static int group_teardown(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/keys.json", dir);
	unlink(path);
	return rmdir(dir);
}

int replay_run(const char *group, const struct scenario *scenarios, size_t n)
{
	static const char *const modes[] = {"whole", "bytes", "drip", "tight"};
	struct run *runs = mem_zalloc(n * REPLAY_MODES * sizeof(*runs));
	struct CMUnitTest *tests = mem_zalloc(n * REPLAY_MODES * sizeof(*tests));
	size_t n_tests = 0;
	int result;

	for (size_t i = 0; i < n * REPLAY_MODES; i++) {
		const struct scenario *scenario = &scenarios[i / REPLAY_MODES];
		struct run *run = &runs[n_tests];

		if ((scenario->modes & 1u << i % REPLAY_MODES) == 0)
			continue;
		run->scenario = scenario;
		run->mode = (enum replay_mode)(i % REPLAY_MODES);
		snprintf(run->name, sizeof(run->name), "%s [%s]", scenario->name, modes[run->mode]);
		tests[n_tests++] = (struct CMUnitTest){.name = run->name,
		                                       .test_func = play,
		                                       .setup_func = setup,
		                                       .teardown_func = teardown,
		                                       .initial_state = run};
	}
	result = _cmocka_run_group_tests(group, tests, n_tests, group_setup, group_teardown);
	mem_free(runs);
	mem_free(tests);
	return result;
}
