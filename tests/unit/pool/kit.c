/* See kit.h. */
#include "unit/pool/kit.h"

#include "conf/conf_int.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct kit *current;

static void note(struct kit *k, const char *what, const char *who)
{
	if (k->log.len > 0)
		buf_put(&k->log, "; ", 2);
	buf_put(&k->log, what, strlen(what));
	buf_put(&k->log, who, strlen(who));
}

void assert_log(struct kit *k, const char *want)
{
	buf_put_u8(&k->log, '\0');
	assert_string_equal((const char *)k->log.data, want);
	k->log.len = 0;
}

/* ---- fake streams -------------------------------------------------------------------------- */

static struct fake *find_fake(struct kit *k, const struct stream *s)
{
	for (int i = 0; i < KIT_FAKES_MAX; i++) {
		if (k->fakes[i].stream == s)
			return &k->fakes[i];
	}
	return NULL;
}

static struct fake *get_fake(struct kit *k, struct stream *s)
{
	struct fake *f = find_fake(k, s);

	if (f != NULL)
		return f;
	f = find_fake(k, NULL);
	assert_non_null(f);
	f->stream = s;
	f->chunk = f->accept = SIZE_MAX;
	return f;
}

struct fake *fake_of(struct kit *k, struct server *server)
{
	return get_fake(k, server_stream(server));
}

static ssize_t fake_read(struct stream *s, void *to, size_t cap)
{
	struct fake *f = get_fake(current, s);
	size_t len = f->said.len - f->said_at;

	if (len == 0)
		return f->end;
	if (len > f->chunk)
		len = f->chunk;
	if (len > cap)
		len = cap;
	memcpy(to, f->said.data + f->said_at, len);
	f->said_at += len;
	return (ssize_t)len;
}

static ssize_t fake_writev(struct stream *s, const struct iovec *iov, int n)
{
	struct fake *f = get_fake(current, s);
	size_t done = 0;

	for (int i = 0; i < n && f->accept > 0; i++) {
		size_t len = iov[i].iov_len < f->accept ? iov[i].iov_len : f->accept;

		buf_put(&f->sent, iov[i].iov_base, len);
		f->accept -= f->accept < SIZE_MAX ? len : 0;
		done += len;
	}
	return done > 0 ? (ssize_t)done : STREAM_WAIT;
}

static void fake_close(struct stream *s)
{
	struct fake *f = get_fake(current, s);

	buf_fini(&f->sent);
	buf_fini(&f->said);
	memset(f, 0, sizeof(*f));
	note(current, "closed", "");
}

static const struct stream_ops fake_ops = {fake_read, fake_writev, fake_close};

void fake_deliver(struct fake *f)
{
	stream_fake_event(f->stream, true, false);
}

void fake_reply(struct fake *f, const char *tag, char status)
{
	wire_put_command_complete(&f->said, tag);
	wire_put_ready(&f->said, status);
}

void assert_queries(struct fake *f, const char *want)
{
	struct buf got = {0};
	struct wire_frame frame = {0};

	for (size_t at = 0; at < f->sent.len; at += WIRE_HEADER_BYTES + frame.body_len) {
		assert_int_equal(wire_frame_read(f->sent.data + at, f->sent.len - at, &frame),
		                 WIRE_READ_OK);
		assert_int_equal(frame.type, 'Q');
		if (got.len > 0)
			buf_put(&got, "; ", 2);
		buf_put(&got, f->sent.data + at + WIRE_HEADER_BYTES, frame.body_len - 1);
	}
	buf_put_u8(&got, '\0');
	assert_string_equal((const char *)got.data, want);
	buf_fini(&got);
	f->sent.len = 0;
}

/* ---- the dialer ---------------------------------------------------------------------------- */

static void kit_dial(void *dialer, struct dial *order)
{
	struct kit *k = dialer;

	assert_true(k->n_dials < KIT_ORDERS_MAX);
	assert_non_null(order->conf);
	k->dials[k->n_dials++] = order;
	k->n_dials_ever++;
}

static void kit_cancel(void *dialer, struct cancel_order *order)
{
	struct kit *k = dialer;

	assert_true(k->n_cancels < KIT_ORDERS_MAX);
	k->cancels[k->n_cancels++] = order;
}

static struct dial *first_dial(struct kit *k)
{
	struct dial *dial = k->dials[0];

	assert_true(k->n_dials > 0);
	memmove(&k->dials[0], &k->dials[1], (size_t)--k->n_dials * sizeof(k->dials[0]));
	return dial;
}

static void answer(struct kit *k, struct dial *dial, bool is_standby)
{
	char info[128] = "host=/nonexistent";

	if (k->is_real)
		snprintf(info, sizeof(info), "host=%s port=1", k->dir);
	/* In the one case it never was connected, in the other it has said nothing yet: for the
	 * pool both are logged in. */
	dial->conn = PQconnectStart(info);
	assert_true(!k->is_real || PQsocket(dial->conn) >= 0);
	dial->is_standby = is_standby;
	snprintf(dial->sqlstate, sizeof(dial->sqlstate), "00000");
	mailbox_post(dial->reply_to, &dial->mail);
	kit_mail(k);
}

void kit_connect(struct kit *k)
{
	answer(k, first_dial(k), false);
}

void kit_connect_standby(struct kit *k)
{
	answer(k, first_dial(k), true);
}

void kit_fail(struct kit *k, const char *sqlstate, const char *message)
{
	struct dial *dial = first_dial(k);

	snprintf(dial->sqlstate, sizeof(dial->sqlstate), "%s", sqlstate);
	snprintf(dial->message, sizeof(dial->message), "%s", message);
	mailbox_post(dial->reply_to, &dial->mail);
	kit_mail(k);
}

void kit_cancelled(struct kit *k, bool ok)
{
	struct cancel_order *order = k->cancels[0];

	assert_true(k->n_cancels > 0);
	memmove(&k->cancels[0], &k->cancels[1], (size_t)--k->n_cancels * sizeof(k->cancels[0]));
	order->ok = ok;
	mailbox_post(order->reply_to, &order->mail);
	kit_mail(k);
}

/* ---- life ---------------------------------------------------------------------------------- */

static void init_conf(struct kit *k, int max_server_conn)
{
	static const char *const node_names[] = {"a", "b", "c"};
	static const char *const database_names[] = {"one", "two", "three", "*"};
	static const char *const lists[] = {"ab", "a", "cb", "a"};

	for (size_t i = 0; i < COUNT_OF(k->nodes); i++) {
		k->nodes[i].name = node_names[i];
		k->nodes[i].host = "";
		k->nodes[i].role = i == 2 ? CONF_NODE_ANALYTICS : CONF_NODE_AUTO;
	}
	for (size_t i = 0; i < COUNT_OF(k->databases); i++) {
		k->databases[i].name = database_names[i];
		k->databases[i].dbname = i == 3 ? "" : database_names[i];
		k->databases[i].nodes = k->lists[i];
		k->databases[i].n_nodes = strlen(lists[i]);
		for (size_t n = 0; lists[i][n] != '\0'; n++)
			k->lists[i][n] = &k->nodes[lists[i][n] - 'a'];
	}
	k->roles[0].name = "app";
	k->roles[1].name = "admin";
	k->roles[0].password = k->roles[1].password = "";
	OBJ_INIT(&k->conf, CONF_MAGIC);
	atomic_init(&k->conf.refs, 1);
	k->conf.nodes = k->nodes;
	k->conf.n_nodes = COUNT_OF(k->nodes);
	k->conf.databases = k->databases;
	k->conf.n_databases = COUNT_OF(k->databases);
	k->conf.roles = k->roles;
	k->conf.n_roles = COUNT_OF(k->roles);
	k->conf.magic = CONF_MAGIC;
	for (size_t i = 0; i < COUNT_OF(k->databases); i++)
		k->databases[i].pool_size = CONF_INHERIT;
	k->conf.tenants.weight = 1;
	k->conf.tenants.query_wait_timeout = CONF_INHERIT;
	k->conf.tenant = k->tenants;
	k->conf.pgusher.max_server_conn = max_server_conn;
	k->conf.pgusher.server_login_retry = 15 * US_PER_S;
	k->conf.pgusher.server_lifetime = 3600 * US_PER_S;
	k->conf.pgusher.server_idle_timeout = 600 * US_PER_S;
	k->conf.pgusher.cancel_wait_timeout = 10 * US_PER_S;
}

static void open_worker(struct kit *k, unsigned index)
{
	struct kit_worker *w = &k->workers[index];
	struct pools_env env = {.shared = k->shared,
	                        .conf = &k->conf,
	                        .fresh = k->fresh,
	                        .backend = &w->backend,
	                        .dialer = {kit_dial, kit_cancel, k},
	                        .worker = index};

	env.mailbox = w->mailbox = mailbox_new(k->base, w);
	env.timers = w->timers = timers_new(NULL);
	w->backend = (struct backend_env){
		.base = k->base,
		.in = w->in,
		.in_size = sizeof(w->in),
		.to_server = &w->to_server,
		.scratch = &w->scratch,
		.max_prepared_statements = 10,
		.setting = "app.current_tenant_id",
		.fake = k->is_real ? NULL : &fake_ops,
	};
	list_init(&w->backend.again);
	w->pools = pools_new(&env);
}

static void open_workers(struct kit *k, unsigned n_workers, int max_server_conn)
{
	log_set_level(LOG_LEVEL_ERROR);
	current = k;
	k->now_us = 1000 * US_PER_S;
	clock_fake(k->now_us, 1700000000);
	k->base = event_base_new();
	init_conf(k, max_server_conn);
	k->fresh = k->is_measured ? fresh_new(&k->conf) : NULL;
	k->shared = pools_shared_new(n_workers);
	k->n_workers = n_workers;
	for (unsigned i = 0; i < n_workers; i++)
		open_worker(k, i);
}

void kit_open(struct kit *k, unsigned n_workers, int max_server_conn)
{
	memset(k, 0, sizeof(*k));
	k->listen_fd = -1;
	open_workers(k, n_workers, max_server_conn);
}

void kit_open_measured(struct kit *k, unsigned n_workers, int max_server_conn)
{
	memset(k, 0, sizeof(*k));
	k->listen_fd = -1;
	k->is_measured = true;
	open_workers(k, n_workers, max_server_conn);
}

static void set_view(struct kit *k, int node, const struct fresh_view *view)
{
	fresh_set(k->fresh, (size_t)node, view);
	for (unsigned i = 0; i < k->n_workers; i++)
		pools_follow(k->workers[i].pools);
	kit_mail(k);
}

void kit_says(struct kit *k, int node, enum fresh_role role, uint32_t timeline)
{
	struct fresh_view view = {.role = role,
	                          .has_us = k->now_us,
	                          .seen_us = k->now_us,
	                          .timeline = timeline,
	                          .position = 1};

	set_view(k, node, &view);
}

void kit_is_silent(struct kit *k, int node)
{
	struct fresh_view view;

	fresh_look(k->fresh, (size_t)node, &view);
	view.fault = FRESH_DOWN;
	set_view(k, node, &view);
}

/* Where libpq looks for a server's socket. */
static void socket_path(const struct kit *k, char *path, size_t size)
{
	snprintf(path, size, "%s/.s.PGSQL.1", k->dir);
}

void kit_open_real(struct kit *k, unsigned n_workers, int max_server_conn)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memset(k, 0, sizeof(*k));
	k->is_real = true;
	snprintf(k->dir, sizeof(k->dir), "/tmp/pgusher-test-XXXXXX");
	assert_non_null(mkdtemp(k->dir));
	socket_path(k, addr.sun_path, sizeof(addr.sun_path));
	k->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(k->listen_fd >= 0);
	assert_int_equal(bind(k->listen_fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(k->listen_fd, 1000), 0);
	open_workers(k, n_workers, max_server_conn);
}

static void close_socket(struct kit *k)
{
	char path[128];

	close(k->listen_fd);
	socket_path(k, path, sizeof(path));
	unlink(path);
	rmdir(k->dir);
}

void kit_close(struct kit *k)
{
	for (unsigned i = 0; i < k->n_workers; i++)
		pools_stop(k->workers[i].pools);
	while (k->n_dials > 0)
		kit_fail(k, "08001", "the dialer ends");
	while (k->n_cancels > 0)
		kit_cancelled(k, false);
	kit_mail(k);
	for (unsigned i = 0; i < k->n_workers; i++) {
		assert_int_equal(pools_busy(k->workers[i].pools), 0);
		mailbox_free(&k->workers[i].mailbox);
	}
	for (unsigned i = 0; i < k->n_workers; i++) {
		pools_free(&k->workers[i].pools);
		timers_free(&k->workers[i].timers);
		buf_fini(&k->workers[i].scratch);
	}
	for (size_t i = 0; i < COUNT_OF(k->nodes); i++)
		assert_int_equal(kit_servers(k, (int)i), 0);
	pools_shared_free(&k->shared);
	if (k->fresh != NULL)
		fresh_free(&k->fresh);
	event_base_free(k->base);
	buf_fini(&k->log);
	if (k->is_real)
		close_socket(k);
	clock_fake(-1, 0);
}

void kit_mail(struct kit *k)
{
	/* Each turn delivers what the one before has posted. */
	for (int i = 0; i < 20; i++)
		event_base_loop(k->base, EVLOOP_NONBLOCK);
}

void kit_pass(struct kit *k, int64_t us)
{
	k->now_us += us;
	clock_fake(k->now_us, 1700000000 + k->now_us / US_PER_S);
	for (unsigned i = 0; i < k->n_workers; i++)
		timers_run(k->workers[i].timers);
	kit_mail(k);
}

void kit_conf_changed(struct kit *k)
{
	k->conf.generation++;
}

struct pool *kit_pool(struct kit *k, unsigned worker, int database)
{
	const struct conf_database *db = &k->databases[database];

	return pool_find(k->workers[worker].pools, db, db->name, &k->roles[0]);
}

int kit_servers(struct kit *k, int node)
{
	return atomic_load(&k->shared->nodes[node]->n_servers);
}

/* ---- seats --------------------------------------------------------------------------------- */

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

static void sink_cancelled(void *owner)
{
	((struct seat *)owner)->n_cancelled++;
}

static void sink_lost(void *owner, enum close_reason reason)
{
	struct seat *seat = owner;
	struct server *server = seat->server;

	seat->n_lost++;
	seat->server = NULL;
	pool_drop(server, reason);
}

static const struct sink_ops seat_sink = {
	.on_bytes = sink_bytes,
	.on_reply = sink_reply,
	.on_ready = sink_ready,
	.on_copy_in = sink_nothing,
	.on_flush = sink_nothing,
	.on_settled = sink_settled,
	.on_cancelled = sink_cancelled,
	.on_drained = sink_nothing,
	.on_lost = sink_lost,
};

static void seat_has(struct seat *seat, struct server *server)
{
	seat->server = server;
	server_set_sink(server, &seat_sink, seat);
}

static void seat_granted(struct pool_waiter *w, struct server *server)
{
	struct seat *seat = CONTAINER_OF(w, struct seat, waiter);

	assert_false(pool_is_waiting(w));
	assert_null(seat->server);
	note(seat->kit, "granted ", seat->name);
	seat_has(seat, server);
	if (seat->on_turn != NULL)
		seat->on_turn(seat);
}

static void seat_refused(struct pool_waiter *w, const struct wire_error *error)
{
	struct seat *seat = CONTAINER_OF(w, struct seat, waiter);

	assert_false(pool_is_waiting(w));
	note(seat->kit, "refused ", seat->name);
	seat->refused = *error;
	if (seat->on_turn != NULL)
		seat->on_turn(seat);
}

void seat_init(struct seat *seat, struct kit *k, const char *name)
{
	memset(seat, 0, sizeof(*seat));
	seat->kit = k;
	snprintf(seat->name, sizeof(seat->name), "%s", name);
	snprintf(seat->tenant, sizeof(seat->tenant), "%.1s", name);
	pool_waiter_init(&seat->waiter);
	seat->waiter.tenant = seat->tenant;
	seat->waiter.on_granted = seat_granted;
	seat->waiter.on_refused = seat_refused;
}

bool seat_take(struct seat *seat, struct pool *pool)
{
	struct server *server = pool_acquire(pool, &seat->waiter);

	assert_true(server == NULL || !pool_is_waiting(&seat->waiter));
	if (server != NULL)
		seat_has(seat, server);
	return server != NULL;
}

void seat_give(struct seat *seat)
{
	struct server *server = seat->server;

	assert_non_null(server);
	seat->server = NULL;
	pool_release(server);
}

void seat_connected(struct seat *seat, struct kit *k, const char *name, struct pool *pool)
{
	seat_init(seat, k, name);
	assert_false(seat_take(seat, pool));
	kit_connect(k);
	assert_non_null(seat->server);
}
