/* The watch: heartbeats, and what every path says of itself. One session (link.c) a path; every
 * heartbeat_interval each is asked, and the primary's is beaten first:
 *
 *   on_tick ─► eye_turn ─► [lock ─►] [beat ─►] read ─► on_read ─► fresh_set
 *
 * One PgUsher of all that serve a database beats: the one that has a session's advisory lock on the
 * primary, which goes with its session. The lock only saves work. Two that beat do no harm, as the
 * number comes from a sequence; so whoever finds the newest heartbeat older than two intervals
 * beats, too, lock or not: a writer that hangs with its lock does not stop the heart.
 *
 * Which node is the primary is fresh's to say; this one only tells what each node says. On the
 * probe's thread, but for making and freeing. */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fresh_beats.h"
#include "probe/probe_int.h"

#define WATCH_MAGIC 0x77617463u /* watc */
#define TABLE_RETRY_US (5 * US_PER_S)
#define SETTLE_US (2 * US_PER_S) /* at the start nobody waits longer for a silent node */
#define SQL_MAX 1536

struct eye {
	struct watch *watch;
	struct heart *heart;
	size_t path;
	struct link *link; /* NULL: there is nothing to ask */
	struct fresh_view view;
	bool is_set_up, has_lock;
	enum fresh_fault table_fault; /* why the table is not asked; until retry_us */
	int64_t retry_us;
	const char *fence;         /* NULL: none; what the audit log has been told of */
	enum fresh_role told_role; /* what on_roles has been told of */
	bool told_down;
	int64_t behind_us; /* the primary's clock less its newest heartbeat, at the last reading */
	int64_t answered_us;
};

/* A database's heart. */
struct heart {
	size_t first; /* path */
	int primary;
	uint32_t timeline;
	bool is_contested, is_undecided;
	int told_primary;
	struct beats beats;
};

struct watch {
	uint32_t magic;
	struct watch_config config;
	struct event *tick;
	struct eye *eyes; /* by path */
	size_t n_eyes;
	struct heart *hearts; /* by database */
	size_t n_hearts;
	probe_roles_fn *on_roles; /* NULL: nobody asks */
	void *on_roles_arg;
	int64_t started_us;
};

static const struct conf *conf_of(const struct eye *eye)
{
	return eye->watch->config.conf;
}

/* ---- what is said --------------------------------------------------------------------------- */

static void heart_say_undecided(const struct eye *eye, bool is_undecided)
{
	const char *name = fresh_database(eye->watch->config.fresh, eye->path)->name;

	if (is_undecided)
		log_error("probe: database \"%s\": two nodes of one timeline say that they are "
		          "its primary: nothing is sent to either, until one of them is stopped "
		          "or made a standby",
		          name);
	else
		log_info("probe: database \"%s\": it is decided which node is the primary", name);
}

/* Why no statement is sent to a node that says that it is the primary. One that is silent is as it
 * was before. */
static const char *eye_fence(const struct eye *eye)
{
	const struct fresh *fresh = eye->watch->config.fresh;
	struct fresh_view view;

	fresh_look(fresh, eye->path, &view);
	if (view.role != FRESH_PRIMARY)
		return NULL;
	if (view.fault == FRESH_DOWN)
		return eye->fence;
	if (fresh_is_undecided(fresh, eye->heart->first))
		return "two primaries of one timeline";
	return fresh_primary(fresh, eye->heart->first, NULL) == (int)eye->path
	               ? NULL
	               : "another primary is ahead";
}

static void eye_audit_fence(struct eye *eye)
{
	const struct watch_config *config = &eye->watch->config;
	const char *fence = eye_fence(eye);
	struct audit_record *r;

	if (fence == eye->fence)
		return;
	r = audit_begin(config->audit, AUDIT_ROUTE);
	if (r != NULL) {
		r->outcome = fence != NULL ? "fenced" : "released";
		r->reason = fence != NULL ? fence : eye->fence;
		AUDIT_COPY(r->database, fresh_database(config->fresh, eye->path)->name);
		AUDIT_COPY(r->node, fresh_node(config->fresh, eye->path)->name);
		audit_commit(config->audit);
	}
	eye->fence = fence;
}

static void heart_audit_fences(struct watch *w, const struct heart *heart)
{
	for (size_t i = 0; i < w->n_eyes; i++) {
		if (w->eyes[i].heart == heart)
			eye_audit_fence(&w->eyes[i]);
	}
}

/* It may be the primary, for all that we know. */
static bool eye_is_unheard(const struct eye *eye)
{
	const struct conf_node *node = fresh_node(eye->watch->config.fresh, eye->path);

	return eye->view.fault == FRESH_NEW && node->role == CONF_NODE_AUTO;
}

/* Started beside an old primary that is still there, we may hear of it first. */
static void heart_settle(struct watch *w, const struct heart *heart)
{
	bool is_late = clock_mono_us() - w->started_us > SETTLE_US;

	if (!fresh_is_unsettled(w->config.fresh, heart->first))
		return;
	for (size_t i = 0; i < w->n_eyes && !is_late; i++) {
		if (w->eyes[i].heart == heart && eye_is_unheard(&w->eyes[i]))
			return;
	}
	fresh_set_unsettled(w->config.fresh, heart->first, false);
	if (w->on_roles != NULL)
		w->on_roles(w->on_roles_arg);
}

/* Of what workers go by. */
static void eye_tell(struct eye *eye)
{
	const struct fresh *fresh = eye->watch->config.fresh;
	struct heart *heart = eye->heart;
	int primary = fresh_primary(fresh, heart->first, NULL);
	bool is_undecided = fresh_is_undecided(fresh, heart->first);
	bool is_down = eye->view.fault == FRESH_DOWN;

	if (is_undecided != heart->is_undecided)
		heart_say_undecided(eye, is_undecided);
	else if (primary == heart->told_primary && eye->view.role == eye->told_role &&
	         is_down == eye->told_down)
		return;
	heart->is_undecided = is_undecided;
	heart->told_primary = primary;
	eye->told_role = eye->view.role;
	eye->told_down = is_down;
	if (eye->watch->on_roles != NULL)
		eye->watch->on_roles(eye->watch->on_roles_arg);
}

static void eye_publish(struct eye *eye, enum fresh_fault fault)
{
	struct fresh *fresh = eye->watch->config.fresh;

	if (fault != eye->view.fault && fresh_fault_hint(fault)[0] != '\0')
		log_warning("probe: node \"%s\" database \"%s\": %s: %s",
		            fresh_node(fresh, eye->path)->name,
		            fresh_database(fresh, eye->path)->name, fresh_fault_word(fault),
		            fresh_fault_hint(fault));
	eye->view.fault = fault;
	fresh_set(fresh, eye->path, &eye->view);
	heart_audit_fences(eye->watch, eye->heart);
	eye_tell(eye);
	heart_settle(eye->watch, eye->heart);
}

/* By a heartbeat that the primary has not shown yet. Its next reading tells whether it has it;
 * until then what was known before holds. Another primary's may be ahead for ever. */
static enum fresh_fault eye_measure_ahead(struct eye *eye, int64_t had_us)
{
	if (eye->heart->beats.asked_us >= eye->answered_us)
		return FRESH_FOREIGN;
	eye->view.has_us = had_us;
	if (had_us != FRESH_NEVER)
		return FRESH_NONE;
	return eye->view.fault == FRESH_FOREIGN ? FRESH_FOREIGN : FRESH_NO_BEAT;
}

/* What a path has, by its newest heartbeat. */
static void eye_measure(struct eye *eye)
{
	const struct heart *heart = eye->heart;
	enum fresh_fault fault = FRESH_NONE;
	int64_t had_us = eye->view.has_us;

	eye->view.has_us = FRESH_NEVER;
	if (heart->primary == (int)eye->path) {
		eye->view.has_us = eye->view.seen_us;
		fault = eye->table_fault;
	} else if (eye->table_fault != FRESH_NONE) {
		fault = eye->table_fault;
	} else if (heart->primary == FRESH_NO_PATH) {
		fault = FRESH_NO_PRIMARY;
	} else if (eye->view.role == FRESH_PRIMARY ||
	           (eye->view.role == FRESH_REPLICA && eye->view.timeline != 0 &&
	            eye->view.timeline != heart->timeline)) {
		fault = FRESH_FOREIGN;
	} else if (eye->view.beat_id == 0 || heart->beats.n == 0) {
		fault = FRESH_NO_BEAT;
	} else if (beats_is_ahead(&heart->beats, eye->view.beat_id)) {
		fault = eye_measure_ahead(eye, had_us);
	} else {
		eye->view.has_us = beats_find(&heart->beats, eye->view.beat_id, eye->view.beat_us);
		fault = eye->view.has_us == FRESH_NEVER ? FRESH_FOREIGN : FRESH_NONE;
	}
	eye_publish(eye, fault);
}

/* A path may have shown a heartbeat before the primary did. */
static void heart_measure_others(struct watch *w, const struct heart *heart)
{
	for (size_t i = 0; i < w->n_eyes; i++) {
		struct eye *eye = &w->eyes[i];

		if (eye->heart == heart && (int)i != heart->primary && eye->is_set_up)
			eye_measure(eye);
	}
}

/* ---- the primary ---------------------------------------------------------------------------- */

static void heart_say_contested(const struct eye *eye, bool is_contested)
{
	const char *name = fresh_database(eye->watch->config.fresh, eye->path)->name;

	if (is_contested)
		log_error("probe: database \"%s\": two nodes say that they are its primary; the "
		          "one with the highest timeline, then the furthest position counts",
		          name);
	else
		log_info("probe: database \"%s\" has one primary again", name);
}

/* After the view of a node that may be it was published. */
static void heart_elect(struct eye *eye)
{
	struct fresh *fresh = eye->watch->config.fresh;
	struct heart *heart = eye->heart;
	bool is_contested;
	int primary = fresh_primary(fresh, heart->first, &is_contested);
	uint32_t timeline = primary == FRESH_NO_PATH ? 0 : eye->watch->eyes[primary].view.timeline;

	if (is_contested != heart->is_contested)
		heart_say_contested(eye, is_contested);
	heart->is_contested = is_contested;
	if (primary == heart->primary && timeline == heart->timeline)
		return;
	beats_clear(&heart->beats);
	for (size_t i = 0; i < eye->watch->n_eyes; i++) {
		if (eye->watch->eyes[i].heart == heart)
			eye->watch->eyes[i].view.has_us = FRESH_NEVER;
	}
	heart->primary = primary;
	heart->timeline = timeline;
	if (primary != FRESH_NO_PATH)
		log_info("probe: database \"%s\": the primary is node \"%s\", timeline %u",
		         fresh_database(fresh, eye->path)->name,
		         fresh_node(fresh, (size_t)primary)->name, timeline);
}

/* ---- asking --------------------------------------------------------------------------------- */

static void eye_read(struct eye *eye);

/* A lock, or a standby's conflict with recovery: a VACUUM of the table is enough. */
static bool is_passing(const char *sqlstate)
{
	return strncmp(sqlstate, "40", 2) == 0 || strcmp(sqlstate, "55P03") == 0 ||
	       strcmp(sqlstate, "57014") == 0;
}

/* A table that is not there, or not ours to use, is asked for again now and then. */
static void eye_table_failed(struct eye *eye, const PGresult *result)
{
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (sqlstate == NULL)
		sqlstate = "";
	if (strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "3F000") == 0)
		eye->table_fault = FRESH_NO_TABLE;
	else if (strcmp(sqlstate, "42501") == 0)
		eye->table_fault = FRESH_NO_GRANT;
	else
		eye->table_fault = FRESH_BAD_TABLE;
	if (eye->table_fault != eye->view.fault)
		log_warning("probe: node \"%s\": %s: %s",
		            fresh_node(eye->watch->config.fresh, eye->path)->name,
		            conf_of(eye)->freshness.heartbeat_table,
		            PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	eye->retry_us = clock_mono_us() + (is_passing(sqlstate) ? 0 : TABLE_RETRY_US);
}

static int64_t number_at(const PGresult *result, int column)
{
	return PQgetisnull(result, 0, column) ? 0
	                                      : strtoll(PQgetvalue(result, 0, column), NULL, 10);
}

static void eye_take(struct eye *eye, const PGresult *result, int64_t asked_us)
{
	struct fresh_view *view = &eye->view;
	bool is_analytics =
		fresh_node(eye->watch->config.fresh, eye->path)->role == CONF_NODE_ANALYTICS;
	int64_t clock_us = number_at(result, 3);

	if (is_analytics)
		view->role = FRESH_ANALYTICS;
	else
		view->role = PQgetvalue(result, 0, 0)[0] == 't' ? FRESH_REPLICA : FRESH_PRIMARY;
	view->position = (uint64_t)number_at(result, 1);
	view->timeline = (uint32_t)number_at(result, 2);
	view->clock_us = clock_us - asked_us;
	view->beat_id = number_at(result, 4);
	view->beat_us = number_at(result, 5);
	view->seen_us = asked_us;
	eye->answered_us = clock_mono_us();
	eye->behind_us = clock_us - view->beat_us;
	fresh_set(eye->watch->config.fresh, eye->path, view);
	heart_elect(eye);
	if (eye->heart->primary == (int)eye->path && eye->table_fault == FRESH_NONE)
		beats_note(
			&eye->heart->beats,
			&(struct beats_reading){asked_us, clock_us, view->beat_id, view->beat_us});
}

static void on_read(void *arg, const PGresult *result, int64_t asked_us)
{
	struct eye *eye = arg;

	if (PQresultStatus(result) != PGRES_TUPLES_OK || PQntuples(result) != 1) {
		if (eye->table_fault != FRESH_NONE)
			return;
		eye_table_failed(eye, result);
		eye_read(eye);
		return;
	}
	eye_take(eye, result, asked_us);
	eye_measure(eye);
	if (eye->heart->primary == (int)eye->path)
		heart_measure_others(eye->watch, eye->heart);
}

/* One answer has it all, so that the heartbeat and the clock are of one moment. */
static void eye_read(struct eye *eye)
{
	const char *columns = "NULL, NULL", *from = "";
	char sql[SQL_MAX], join[SQL_MAX / 4];

	if (eye->table_fault == FRESH_NONE) {
		columns = "b.id, (extract(epoch FROM b.timestamp) * 1000000)::bigint";
		snprintf(join, sizeof(join), " LEFT JOIN %s b ON b.source = '" BEAT_SOURCE "'",
		         conf_of(eye)->freshness.heartbeat_table);
		from = join;
	}
	snprintf(sql, sizeof(sql),
	         "SELECT r, CASE WHEN r"
	         " THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')"
	         " ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') END::bigint,"
	         " CASE WHEN r THEN (SELECT received_tli FROM pg_stat_get_wal_receiver())"
	         " ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int END,"
	         " (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, %s"
	         " FROM (SELECT pg_is_in_recovery() AS r) AS node%s",
	         columns, from);
	link_ask(eye->link, sql, 0, on_read);
}

/* ---- the beat ------------------------------------------------------------------------------- */

static void on_beaten(void *arg, const PGresult *result, int64_t asked_us)
{
	struct eye *eye = arg;

	(void)asked_us;
	if (PQresultStatus(result) != PGRES_COMMAND_OK)
		eye_table_failed(eye, result);
	eye_read(eye);
}

/* synchronous_commit = local: replicas get what is flushed, so off would delay the heartbeat by the
 * WAL writer's nap, and on might wait for a synchronous replica that is away. */
static void eye_beat(struct eye *eye)
{
	char sql[SQL_MAX];

	snprintf(sql, sizeof(sql),
	         "INSERT INTO %s AS t (source, timestamp)"
	         " VALUES ('" BEAT_SOURCE "', clock_timestamp())"
	         " ON CONFLICT (source)"
	         " DO UPDATE SET id = EXCLUDED.id, timestamp = clock_timestamp()",
	         conf_of(eye)->freshness.heartbeat_table);
	link_ask(eye->link, sql, 0, on_beaten);
}

/* Set back clocks make it negative. */
static bool beat_is_stale(const struct eye *eye)
{
	return eye->behind_us < 0 ||
	       eye->behind_us > 2 * conf_of(eye)->freshness.heartbeat_interval;
}

static void beat_or_read(struct eye *eye)
{
	if (eye->has_lock || beat_is_stale(eye))
		eye_beat(eye);
	else
		eye_read(eye);
}

static void on_locked(void *arg, const PGresult *result, int64_t asked_us)
{
	struct eye *eye = arg;

	(void)asked_us;
	eye->has_lock = PQresultStatus(result) == PGRES_TUPLES_OK && PQntuples(result) == 1 &&
	                PQgetvalue(result, 0, 0)[0] == 't';
	if (eye->has_lock)
		log_info("probe: this PgUsher writes the heartbeats of database \"%s\"",
		         fresh_database(eye->watch->config.fresh, eye->path)->name);
	beat_or_read(eye);
}

/* 0x50677573 is "Pgus". */
static void eye_lock(struct eye *eye)
{
	char sql[SQL_MAX];

	snprintf(sql, sizeof(sql), "SELECT pg_try_advisory_lock(%d, hashtext('%s'))", 0x50677573,
	         conf_of(eye)->freshness.heartbeat_table);
	link_ask(eye->link, sql, 0, on_locked);
}

static void eye_turn(struct eye *eye)
{
	if (eye->link == NULL || !eye->is_set_up || !link_is_free(eye->link))
		return;
	if (eye->table_fault != FRESH_NONE && clock_mono_us() >= eye->retry_us)
		eye->table_fault = FRESH_NONE;
	if (eye->heart->primary != (int)eye->path || eye->table_fault != FRESH_NONE)
		eye_read(eye);
	else if (!eye->has_lock)
		eye_lock(eye);
	else
		eye_beat(eye);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct watch *w = arg;

	(void)fd, (void)what;
	OBJ_CHECK(w, WATCH_MAGIC);
	for (size_t i = 0; i < w->n_eyes; i++)
		eye_turn(&w->eyes[i]);
	for (size_t i = 0; i < w->n_hearts; i++)
		heart_settle(w, &w->hearts[i]);
}

/* ---- sessions ------------------------------------------------------------------------------- */

static void on_set_up(void *arg, const PGresult *result, int64_t asked_us)
{
	struct eye *eye = arg;

	(void)asked_us;
	if (PQresultStatus(result) == PGRES_FATAL_ERROR)
		log_warning("probe: node \"%s\": %s",
		            fresh_node(eye->watch->config.fresh, eye->path)->name,
		            PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY));
	eye->is_set_up = true;
	eye_read(eye);
}

/* The server must notice soon that we are gone: the lock is our session's. */
static void on_up(void *arg)
{
	struct eye *eye = arg;

	link_ask(eye->link,
	         "SET search_path = pg_catalog; SET synchronous_commit = local;"
	         " SET statement_timeout = '4s'; SET lock_timeout = '1s';"
	         " SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1;"
	         " SET tcp_keepalives_count = 3",
	         0, on_set_up);
}

/* A standby that starts again may show less than it did, so what it had is void. Its role stays: a
 * primary that is away is still the primary, until another one comes. */
static void on_down(void *arg)
{
	struct eye *eye = arg;

	eye->is_set_up = false;
	eye->has_lock = false;
	eye->table_fault = FRESH_NONE;
	eye->view.has_us = FRESH_NEVER;
	eye_publish(eye, FRESH_DOWN);
	heart_elect(eye);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void eye_init(struct eye *eye, const struct conf_role *role)
{
	const struct watch_config *config = &eye->watch->config;
	const struct conf_database *database = fresh_database(config->fresh, eye->path);
	struct link_config link = {.base = config->base,
	                           .dialer = config->dialer,
	                           .box = config->box,
	                           .conf = config->conf,
	                           .database = database,
	                           .node = fresh_node(config->fresh, eye->path),
	                           .role = role,
	                           .on_up = on_up,
	                           .on_down = on_down,
	                           .arg = eye};

	fresh_look(config->fresh, eye->path, &eye->view);
	if (role == NULL) {
		eye->view.fault = FRESH_NO_ROLE; /* said once for all of them */
		eye_publish(eye, FRESH_NO_ROLE);
	} else if (strcmp(conf_database_dbname(database, database->name), "*") == 0) {
		eye_publish(eye, FRESH_NO_DBNAME);
	} else {
		eye->link = link_new(&link);
	}
}

struct watch *watch_new(const struct watch_config *config)
{
	struct watch *w = mem_zalloc(sizeof(*w));
	const struct conf_role *role =
		conf_find_role(config->conf, config->conf->freshness.probe_role);

	OBJ_INIT(w, WATCH_MAGIC);
	w->config = *config;
	w->n_eyes = fresh_count(config->fresh);
	w->n_hearts = config->conf->n_databases;
	w->eyes = mem_zalloc(w->n_eyes * sizeof(w->eyes[0]));
	w->hearts = mem_zalloc(w->n_hearts * sizeof(w->hearts[0]));
	for (size_t i = 0; i < w->n_hearts; i++) {
		struct heart *heart = &w->hearts[i];

		heart->first = (size_t)fresh_find(config->fresh, &config->conf->databases[i]);
		heart->primary = heart->told_primary = FRESH_NO_PATH;
		beats_clear(&heart->beats);
	}
	for (size_t i = 0; i < w->n_eyes; i++) {
		struct eye *eye = &w->eyes[i];

		eye->watch = w;
		eye->heart = &w->hearts[fresh_database(config->fresh, i) - config->conf->databases];
		eye->path = i;
		eye_init(eye, role);
	}
	w->tick = event_new(config->base, -1, EV_PERSIST, on_tick, w);
	MUST(w->tick != NULL);
	return w;
}

void watch_on_roles(struct watch *w, probe_roles_fn *on_roles, void *arg)
{
	OBJ_CHECK(w, WATCH_MAGIC);
	w->on_roles = on_roles;
	w->on_roles_arg = arg;
}

void watch_start(struct watch *w)
{
	int64_t us = w->config.conf->freshness.heartbeat_interval;
	struct timeval tv = {us / US_PER_S, us % US_PER_S};

	OBJ_CHECK(w, WATCH_MAGIC);
	if (w->config.conf->freshness.probe_role[0] == '\0')
		log_info("probe: no probe_role in [freshness]: the lag of replicas is not known");
	w->started_us = clock_mono_us();
	for (size_t i = 0; i < w->n_eyes; i++) {
		if (w->eyes[i].link == NULL)
			continue;
		fresh_set_unsettled(w->config.fresh, w->eyes[i].heart->first,
		                    fresh_database(w->config.fresh, i)->n_nodes > 1);
		link_open(w->eyes[i].link);
	}
	MUST(event_add(w->tick, &tv) == 0);
}

void watch_close(struct watch *w)
{
	OBJ_CHECK(w, WATCH_MAGIC);
	event_del(w->tick);
	for (size_t i = 0; i < w->n_eyes; i++) {
		if (w->eyes[i].link != NULL)
			link_close(w->eyes[i].link);
	}
}

void watch_free(struct watch **wp)
{
	struct watch *w = *wp;

	*wp = NULL;
	OBJ_CHECK(w, WATCH_MAGIC);
	for (size_t i = 0; i < w->n_eyes; i++) {
		if (w->eyes[i].link != NULL)
			link_free(&w->eyes[i].link);
	}
	event_free(w->tick);
	mem_free(w->eyes);
	mem_free(w->hearts);
	OBJ_FINI(w, WATCH_MAGIC);
	mem_free(w);
}
