/* Where a client's reads go, and what becomes of one that a replica cannot answer.
 *
 *   query_take, batch_parse, _bind ... ─► route_query, route_batch   no server is there yet: which
 *                                                                    path? (fresh_route)
 *   lease_get ─► route_lease             a server of that path, or the turn in its queue
 *     route_granted                      the path is judged once more: the wait took time
 *     route_refused, route_give_up       nobody serves there: to the primary
 *   lease_send ─► route_sent             what the answer is to be known by (client.source)
 *   lease_after ─► route_note_stmt       it may write
 *   on_ready ─► route_wrote              and has: from now on replicas must have it
 *
 * A transaction is on one node. Statements alone, and batches up to their Sync (ahead.c), go to a
 * replica if all of them only read; a block does if it is READ ONLY. All else goes to the primary,
 * and so does whoever has his server for good (pool_mode = session, or pinned).
 *
 * A read's messages are kept until a first byte of the answer has been passed on. When the answer
 * is an error that may be the replica's own (recovery, its shutdown, a table that it has not got
 * yet), or none because the connection breaks, it is dropped and the messages are taken once
 * more, for the primary (route_repeat). Blocks are not repeated, nor what is longer than
 * KEPT_MAX. */
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "pool_look.h"
#include "route_int.h"

#define SQLSTATE_NOT_IN_STATE "55000" /* object_not_in_prerequisite_state */
#define SQLSTATE_READ_ONLY "25006"    /* read_only_sql_transaction */
#define KEPT_MAX 16384
/* For a server of a replica; who waits longer goes to the primary. */
#define PATIENCE_US (500 * US_PER_MS)
/* The probe waits longer for an answer; where its connection breaks, servers' do by themselves. */
#define SILENT_US (3 * US_PER_S)

/* ---- who may ------------------------------------------------------------------------------- */

void route_begin(struct client *c)
{
	const struct fresh *fresh = c->env->fresh;
	size_t n = 0;

	c->first_path = fresh != NULL && c->env->conf->freshness.probe_role[0] != '\0'
	                        ? fresh_find_name(fresh, pool_section(c->pool), &n)
	                        : FRESH_NO_PATH;
	if (n > 0)
		c->written_database = fresh_written_database(fresh, (size_t)c->first_path,
		                                             pool_database(c->pool));
	if (n < 2)
		c->first_path = FRESH_NO_PATH;
	c->n_paths = n;
	c->may_route = c->first_path != FRESH_NO_PATH && !c->is_for_session;
	c->wrote_us = FRESH_NEVER;
}

void route_free(struct client *c)
{
	if (c->route == NULL)
		return;
	pool_wait_end(&c->route->waiter);
	pool_waiter_fini(&c->route->waiter);
	buf_fini(&c->route->kept);
	MEM_FREE(&c->route);
}

static struct route *route_of(struct client *c)
{
	struct route *r = c->route;

	if (r != NULL)
		return r;
	r = c->route = mem_zalloc(sizeof(*r));
	r->client = c;
	pool_waiter_init(&r->waiter);
	r->waiter.on_granted = route_granted;
	r->waiter.on_refused = route_refused;
	return r;
}

/* Paths are those of the configuration that the probe began with; after a RELOAD the database's
 * nodes may be others, or elsewhere. */
static bool are_paths_valid(const struct client *c)
{
	return pool_path(c->pool, 0) == c->first_path;
}

static bool is_on(const char *value)
{
	static const char *const words[] = {"on", "true", "yes", "1"};

	for (size_t i = 0; value != NULL && i < COUNT_OF(words); i++) {
		if (strcasecmp(value, words[i]) == 0)
			return true;
	}
	return false;
}

static bool begins_read_only(const struct client *c, const struct sql_stmt *stmt)
{
	if (stmt->bits & SQL_BEGINS_READ_ONLY)
		return true;
	return (stmt->bits & SQL_BARE) && is_on(client_setting(c, "default_transaction_read_only"));
}

/* A standby refuses it; an analytics node answers for itself. */
static bool is_too_strict(const struct client *c, const struct fresh_wish *wish)
{
	const char *value = client_setting(c, "default_transaction_isolation");

	return wish->consistency != CONF_CONSISTENCY_ANALYTICS && value != NULL &&
	       strcasecmp(value, "serializable") == 0;
}

enum route_part route_part(const struct client *c, const struct sql_stmt *stmt)
{
	if (stmt->bits & SQL_READ_ONLY)
		return ROUTE_READS;
	switch (stmt->kind) {
	case SQL_EMPTY:
	case SQL_COMMIT:
	case SQL_ROLLBACK:
		return ROUTE_NEITHER;
	case SQL_BEGIN:
		return begins_read_only(c, stmt) ? ROUTE_BEGINS : ROUTE_WRITES;
	default:
		return ROUTE_WRITES;
	}
}

/* ---- the decision --------------------------------------------------------------------------- */

static struct pool *pool_of_path(struct client *c, size_t path)
{
	return pool_at(c->pool, (unsigned)(path - (size_t)c->first_path));
}

static unsigned load_of(void *arg, size_t path)
{
	const struct pool *pool = pool_of_path(arg, path);

	return pool == NULL || pool_would_refuse(pool) ? FRESH_NO_LOAD : pool_outstanding(pool);
}

/* Among equals it stays where it was: its answers do not go back in time then, its statements are
 * prepared there, and its place in the tenant's queue need not be made anew. */
static unsigned turn_of(struct client *c)
{
	if (!c->route->has_path)
		return c->env->route_turn++;
	return (unsigned)(c->route->path - (size_t)c->first_path);
}

static void make_ask(struct client *c, const struct fresh_wish *wish, struct fresh_ask *ask)
{
	const struct conf_freshness *conf = &c->env->conf->freshness;

	*ask = (struct fresh_ask){
		.wish = *wish,
		.since_us = wish->read_your_writes == CONF_RYW_OFF ? FRESH_NEVER : c->wrote_us,
		.now_us = clock_mono_us(),
		.analytics_target_us = conf->analytics_target_lag,
		.analytics_max_us = conf->analytics_max_lag,
		.serves_late = conf->analytics_fallback == CONF_ANALYTICS_SERVE,
		.load = load_of,
		.arg = c,
		.turn = turn_of(c),
	};
	if (wish->read_your_writes == CONF_RYW_TENANT) {
		uint64_t writer = fresh_writer(c->written_database, c->ticket->tenant);
		int64_t wrote_us = fresh_last_write(c->env->fresh, writer);

		if (wrote_us > ask->since_us)
			ask->since_us = wrote_us;
	}
	if (c->route->told_us != 0 && c->route->told_us > ask->since_us)
		ask->since_us = c->route->told_us;
	c->route->told_us = 0;
}

static void count(struct client *c, const struct fresh_choice *choice, enum fresh_verdict was)
{
	int path = choice->path;

	if (path == FRESH_NO_PATH)
		path = fresh_primary(c->env->fresh, (size_t)c->first_path, NULL);
	if (path != FRESH_NO_PATH)
		fresh_count_read(c->env->fresh, (size_t)path, choice->is_fallback);
	/* Once, until it is another reason: not each of a thousand reads. */
	if ((choice->is_fallback || choice->is_refused) && choice->why != was)
		report_route(c, path, choice);
}

/* Who asks for the analytics node does not get the primary instead: what is meant for the one can
 * be too much for the other. */
static void refuse_analytics(struct route *r, enum fresh_verdict why)
{
	if (r->consistency != CONF_CONSISTENCY_ANALYTICS)
		return;
	r->is_refused = true;
	r->why = why;
}

/* For a read, or a block of reads. kept: its messages, where it can be repeated. */
static void decide(struct client *c, const struct fresh_wish *wish, const void *kept, size_t len)
{
	struct route *r = route_of(c);
	struct fresh_choice choice;

	r->pool = NULL;
	r->consistency = wish->consistency;
	r->is_decided = true;
	r->is_refused = false;
	r->cancelled = NULL;
	if (r->is_primary_only) {
		r->is_primary_only = false;
		refuse_analytics(r, FRESH_NO_SERVER);
		return;
	}
	if (!are_paths_valid(c)) {
		refuse_analytics(r, FRESH_NO_LAG);
		return;
	}
	if (wish->consistency == CONF_CONSISTENCY_STRONG || is_too_strict(c, wish))
		return;
	make_ask(c, wish, &r->ask);
	fresh_route(c->env->fresh, (size_t)c->first_path, c->n_paths, &r->ask, &choice);
	count(c, &choice, r->why);
	r->why = choice.is_fallback || choice.is_refused ? choice.why : FRESH_FITS;
	r->is_refused = choice.is_refused;
	if (choice.path == FRESH_NO_PATH)
		return;
	r->path = (size_t)choice.path;
	r->has_path = true;
	r->pool = pool_of_path(c, r->path);
	if (len > 0 && len <= KEPT_MAX && wish->consistency != CONF_CONSISTENCY_ANALYTICS)
		buf_put(&r->kept, kept, len);
}

static bool is_due(struct client *c)
{
	if (c->route != NULL)
		c->route->pool = NULL;
	return !c->is_refused && (c->txn.state == TXN_NONE || c->txn.is_deferred);
}

void route_query(struct client *c, const struct message *m, const struct sql_info *info)
{
	const char *text = (const char *)m->body;
	static const struct sql_stmt bare = {.kind = SQL_BEGIN, .bits = SQL_BARE};
	bool is_block = c->txn.is_deferred, reads = false;
	struct fresh_wish wish;

	if (!is_due(c) || c->batch_open || (is_block && !begins_read_only(c, &bare)))
		return;
	for (unsigned i = 0; i < info->n_stmts; i++) {
		enum route_part part = route_part(c, &info->stmts[i]);

		if (part == ROUTE_WRITES)
			return;
		reads = reads || part != ROUTE_NEITHER;
		is_block = is_block || part != ROUTE_READS;
	}
	if (!reads)
		return;
	wish = *wish_of(c);
	wish_hint(text, m->body_len - 1, &wish);
	decide(c, &wish, m->start, is_block ? 0 : WIRE_HEADER_BYTES + (size_t)m->body_len);
}

void route_batch(struct client *c, const struct message *m, const struct sql_stmt *first)
{
	static const struct sql_stmt bare = {.kind = SQL_BEGIN, .bits = SQL_BARE};
	struct ahead ahead;

	if (!is_due(c) || (c->txn.is_deferred && !begins_read_only(c, &bare)))
		return;
	ahead_look(c, m, first, &ahead);
	if (!ahead.reads)
		return;
	route_of(c)->told_us = ahead.told_us;
	decide(c, &ahead.wish, m->start, ahead.is_block || c->txn.is_deferred ? 0 : ahead.len);
}

/* ---- the lease ------------------------------------------------------------------------------ */

static bool still_fits(struct client *c)
{
	struct route *r = c->route;

	r->ask.now_us = clock_mono_us();
	return fresh_judge(c->env->fresh, r->path, &r->ask) == FRESH_FITS;
}

static void attach(struct client *c, struct server *server)
{
	lease_attach(c, server);
	server_note(server)->tells_errors = c->route->kept.len > 0;
}

/* The others stay away from there for a moment. */
static void leave_out(struct route *r)
{
	fresh_leave_out(r->client->env->fresh, r->path, clock_mono_us());
}

/* To the primary. */
static void turn_away(struct route *r)
{
	r->pool = NULL;
	r->is_primary_only = true;
	buf_fini(&r->kept);
}

enum lease route_lease(struct client *c)
{
	struct route *r = c->route;
	struct server *server;
	int64_t timeout_us;

	r->waiter.tenant = c->ticket->tenant;
	r->is_acquiring = true;
	server = pool_acquire(r->pool, &r->waiter);
	r->is_acquiring = false;
	if (server != NULL) {
		attach(c, server);
		return LEASE_OK;
	}
	if (!pool_is_waiting(&r->waiter)) {
		r->is_primary_only = false;
		refuse_analytics(r, FRESH_NO_SERVER);
		return LEASE_REFUSED;
	}
	c->flow = FLOW_WAIT_SERVER;
	timeout_us = r->consistency == CONF_CONSISTENCY_ANALYTICS ? pool_wait_timeout_us(&r->waiter)
	                                                          : PATIENCE_US;
	if (timeout_us > 0)
		timer_arm(c->env->timers, &c->wait_timer, timeout_us);
	return LEASE_WAIT;
}

bool route_is_refused(struct client *c)
{
	struct route *r = c->route;

	if (!r->is_refused)
		return false;
	r->is_refused = r->is_decided = false;
	c->refused = (struct wire_error){
		.severity = "ERROR",
		.sqlstate = SQLSTATE_NOT_IN_STATE,
		.message = "no analytics node can answer within analytics_max_lag",
		.detail = r->why == FRESH_NO_ANALYTICS ? "the database has no analytics node"
	                                               : fresh_verdict_words(r->why),
		.hint = "SHOW PATHS in the console tells how late it is. Set usher.consistency to "
			"bounded or strong to read elsewhere."};
	return true;
}

bool route_is_waiting(const struct client *c)
{
	return c->route != NULL && pool_is_waiting(&c->route->waiter);
}

bool route_end_wait(struct client *c)
{
	if (!route_is_waiting(c))
		return false;
	pool_wait_end(&c->route->waiter);
	c->route->pool = NULL;
	buf_fini(&c->route->kept);
	return true;
}

static void go_on(struct client *c)
{
	c->flow = FLOW_OPEN;
	session_run(c);
}

void route_granted(struct pool_waiter *w, struct server *server)
{
	struct route *r = CONTAINER_OF(w, struct route, waiter);
	struct client *c = r->client;

	OBJ_CHECK(c, CLIENT_MAGIC);
	timer_cancel(c->env->timers, &c->wait_timer);
	lease_waited(c, w);
	if (still_fits(c)) {
		attach(c, server);
	} else {
		turn_away(r);
		pool_release(server);
	}
	go_on(c);
}

void route_refused(struct pool_waiter *w, const struct wire_error *error)
{
	struct route *r = CONTAINER_OF(w, struct route, waiter);
	struct client *c = r->client;

	(void)error;
	OBJ_CHECK(c, CLIENT_MAGIC);
	leave_out(r);
	turn_away(r);
	if (r->is_acquiring)
		return;
	timer_cancel(c->env->timers, &c->wait_timer);
	lease_waited(c, w);
	go_on(c);
}

bool route_give_up(struct client *c)
{
	struct route *r = c->route;

	if (!route_is_waiting(c))
		return false;
	if (!pool_is_tenant_full(&r->waiter))
		leave_out(r);
	pool_wait_end(&r->waiter);
	lease_waited(c, &r->waiter);
	turn_away(r);
	go_on(c);
	return true;
}

/* The server is about to be given back. */
void route_leave(struct client *c)
{
	struct route *r = c->route;

	server_note(c->server)->tells_errors = false;
	r->pool = NULL;
	r->has_failed = r->may_write = false;
	buf_fini(&r->kept);
}

/* ---- repeating ------------------------------------------------------------------------------ */

/* What a standby says that cannot do a thing or does not know it yet: on the primary it may be
 * otherwise. A cancel, a timeout and an error of the data are the client's. */
static bool may_be_the_replica(const char *sqlstate)
{
	static const char *const classes[] = {"08", "42", "58", "XX"};
	static const char *const states[] = {"25006", "0A000", "40001", "40P01", "55000",
	                                     "3F000", "57P01", "57P02", "57P03", "57P05"};

	for (size_t i = 0; i < COUNT_OF(classes); i++) {
		if (strncmp(sqlstate, classes[i], 2) == 0)
			return true;
	}
	for (size_t i = 0; i < COUNT_OF(states); i++) {
		if (strcmp(sqlstate, states[i]) == 0)
			return true;
	}
	return false;
}

void route_on_error(struct client *c, const char *sqlstate)
{
	struct route *r = c->route;

	if (r->kept.len == 0 || !may_be_the_replica(sqlstate))
		return;
	r->has_failed = true;
	r->may_write = r->may_write || strcmp(sqlstate, SQLSTATE_READ_ONLY) == 0;
}

/* More than what one write holds has gone out already when it is asked next. */
void route_on_bytes(struct client *c)
{
	if (c->route->kept.len > 0 && c->env->to_client->n >= OUTVEC_IOVS - 1)
		buf_fini(&c->route->kept);
}

void route_on_flush(struct client *c)
{
	struct outvec *v = c->env->to_client;
	struct route *r = c->route;

	if (v->to != &c->stream || r->kept.len == 0)
		return;
	if (r->has_failed)
		outvec_drop(v);
	else if (v->n > 0)
		buf_fini(&r->kept);
}

/* A message has been, before the server was asked anything that the client sees: taken once more,
 * it would be answered twice. */
void route_answered(struct client *c)
{
	struct wire_frame f = {.type = 'H'};

	while (f.type == 'H' && c->route->kept.len > 0) {
		struct buf *kept = &c->route->kept;

		MUST(wire_frame_read(kept->data, kept->len, &f) == WIRE_READ_OK);
		buf_consume(kept, WIRE_HEADER_BYTES + (size_t)f.body_len);
	}
}

/* What has not been taken yet, of the batch or the Query, is kept, too. */
static bool drop_untaken(struct client *c)
{
	struct wire_frame f = {0};
	size_t len;

	while (c->flow != FLOW_WAIT_READY && f.type != 'S' && f.type != 'Q') {
		if (wire_frame_read(c->held.data, c->held.len, &f) != WIRE_READ_OK)
			return false;
		len = WIRE_HEADER_BYTES + (size_t)f.body_len;
		if (len > c->held.len)
			return false;
		buf_consume(&c->held, len);
	}
	return true;
}

bool route_is_lost(struct client *c)
{
	struct route *r = c->route;

	if (!route_is_kept(c) || c->closing != CLOSE_NONE)
		return false;
	fresh_leave_out(c->env->fresh, r->path, clock_mono_us());
	if (!drop_untaken(c))
		return false;
	/* It did not come as far as to say that it does not. */
	r->has_failed = r->may_write = true;
	route_on_flush(c);
	return true;
}

/* Its node has stopped without a word, and TCP may take hours to find out. */
bool route_is_stuck(const struct client *c)
{
	struct fresh_view view;

	if (c->server == NULL || !route_is_kept(c))
		return false;
	fresh_look(c->env->fresh, c->route->path, &view);
	return view.fault == FRESH_DOWN && clock_mono_us() - view.seen_us >= SILENT_US;
}

/* Statements that its Parses have made, or it would say that they exist. */
static void unprepare(struct client *c, const struct buf *kept)
{
	const uint8_t *at = kept->data, *end = at + kept->len;

	while (at < end) {
		struct wire_frame f = {0};
		struct client_stmt *s;

		MUST(wire_frame_read(at, (size_t)(end - at), &f) == WIRE_READ_OK);
		s = f.type == 'P' ? stmt_find(c, (const char *)at + WIRE_HEADER_BYTES) : NULL;
		if (s != NULL)
			stmt_unlist(c, s);
		at += WIRE_HEADER_BYTES + f.body_len;
	}
}

/* As if nothing of it had been taken yet, but that a cancel has been: then it is refused when it is
 * taken. The server is no longer the client's. */
void route_repeat(struct client *c)
{
	struct route *r = c->route;
	struct buf kept = r->kept;

	MUST(c->server == NULL && kept.len > 0);
	r->kept = (struct buf){0};
	r->pool = NULL;
	r->has_failed = false;
	r->is_primary_only = true;
	unprepare(c, &kept);
	buf_put(&kept, c->held.data, c->held.len);
	buf_fini(&c->held);
	c->held = kept;
	portals_forget(c);
	pin_forget(c);
	txn_ready(&c->txn, 'I');
	/* What SET of usher.* has begun in front of it, in the same batch, goes on. */
	c->context_given = c->given_before_end = false;
	identity_forget_left(c);
	c->batch_failed = c->batch_open = c->batch_ended = false;
	c->unnamed_restored = false;
	c->is_chained = false;
	c->batch_bits = 0;
	c->flow = FLOW_OPEN;
	if (r->cancelled == NULL)
		return;
	r->is_primary_only = false;
	c->is_refused = true;
	c->refused = *r->cancelled;
}

/* The cancel goes to the replica's server, where the read may have failed already. */
void route_cancelled(struct client *c, const struct wire_error *error)
{
	if (c->route != NULL && c->route->kept.len > 0)
		c->route->cancelled = error;
}

/* ---- what is sent --------------------------------------------------------------------------- */

/* In front of the answer: how old it is. */
static void tell_age(struct client *c)
{
	struct wire_error e = {.severity = "NOTICE", .sqlstate = "00000"};
	char message[96], at[32] = "";
	time_t as_of = (time_t)((clock_wall_us() - c->source.lag_us) / US_PER_S);
	struct tm tm;

	if (c->source.lag_us == FRESH_INFINITE)
		snprintf(message, sizeof(message), "data of unknown age from node \"%.32s\"",
		         c->source.node);
	else if (gmtime_r(&as_of, &tm) != NULL &&
	         strftime(at, sizeof(at), "%Y-%m-%d %H:%M:%S", &tm) > 0)
		snprintf(message, sizeof(message), "data as of %s UTC from node \"%.32s\"", at,
		         c->source.node);
	e.message = message;
	wire_put_notice(c->env->backend->scratch, &e);
	client_put(c, c->env->backend->scratch);
}

void route_sent(struct client *c)
{
	struct route *r = c->route;
	bool is_routed = r != NULL && r->pool != NULL;

	c->source = (struct source){.consistency = r != NULL && r->is_decided
	                                                   ? r->consistency
	                                                   : wish_of(c)->consistency};
	if (is_routed) {
		c->source.node = fresh_node(c->env->fresh, r->path)->name;
		c->source.lag_us = fresh_lag_us(c->env->fresh, r->path, clock_mono_us());
		if (r->is_decided && r->consistency == CONF_CONSISTENCY_ANALYTICS &&
		    c->source.lag_us > r->ask.analytics_target_us)
			tell_age(c);
	} else {
		c->source.node = pool_node_name(c->server);
	}
	if (r != NULL)
		r->is_decided = false;
}

/* ---- writes --------------------------------------------------------------------------------- */

void route_note_stmt(struct client *c, const struct sql_stmt *stmt)
{
	bool is_elsewhere = route_is_elsewhere(c);
	uint64_t writer;

	if (stmt->bits & SQL_ONLY_SETS)
		return;
	switch (stmt->kind) {
	case SQL_COMMIT:
	case SQL_ROLLBACK:
		/* What follows in the string or batch runs there, too, and writes where the replica
		 * has been promoted. */
		if (is_elsewhere)
			c->route->may_write = true;
		return;
	case SQL_DATA:
	case SQL_COPY_IN:
	case SQL_NO_TRANSACTION:
	case SQL_UNPARSED:
		break;
	default:
		return;
	}
	if ((is_elsewhere || (stmt->bits & SQL_READ_ONLY)) && !route_may_write(c))
		return;
	writer = fresh_writer(c->written_database, c->ticket->tenant);
	/* Of an earlier transaction in the same batch; its replies have come. */
	if (c->has_written && writer != c->writer)
		fresh_note_write(c->env->fresh, c->writer, clock_mono_us());
	c->has_written = true;
	c->writer = writer;
}

/* By a batch whose Sync may be long in coming: the client is told now, and so may another be. */
void route_committed(struct client *c)
{
	if (c->has_written)
		fresh_note_write(c->env->fresh, c->writer, clock_mono_us());
}

/* What has been sent is there, or not, by now. In a block it is to be noted again at its end. */
void route_wrote(struct client *c)
{
	c->wrote_us = clock_mono_us();
	fresh_note_write(c->env->fresh, c->writer, c->wrote_us);
	if (c->txn.state == TXN_NONE)
		c->has_written = false;
}
