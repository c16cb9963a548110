/* The cataloguer: reads the functions of every database from its primary, over sessions of its own,
 * and hands out what they are.
 *
 *   on_tick ─► link_ask ─► on_rows ─► publish ─► on_catalog (every worker)
 *
 * It reads them every catalog_refresh, and within MISS_US when somebody called one that is not
 * known, or made or changed something in any of the databases. What fails leaves the last answer
 * as it is. pg_proc can be read by everybody, so the role needs no grants. On the probe's thread.
 *
 * What may leave something in the session? Whatever is not PostgreSQL's own (its oid is below the
 * first that is given out after initdb), but for functions in C that are not VOLATILE: whoever
 * installs those is a superuser, and the label is the author's. The label alone says nothing: a
 * STABLE function in SQL or PL/pgSQL may call set_config or take a session's advisory lock. An
 * aggregate hides functions of its own. */
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/probe_int.h"
#include "sql_catalog.h"

#define CATALOGUER_MAGIC 0x63617461u /* cata */
#define TICK_US (100 * US_PER_MS)
#define RETRY_US US_PER_S
#define MISS_US (5 * US_PER_S)
#define QUERY_US (30 * US_PER_S)

/* The columns of catalog_query's answer: thing, schema, name, via_schema, via, and these. */
#define FIRST_FACT 5
static const uint32_t facts[] = {SQL_FUNCTION_USER,      SQL_FUNCTION_VOLATILE,
                                 SQL_FUNCTION_OPAQUE,    SQL_FUNCTION_SETS_CONTEXT,
                                 SQL_FUNCTION_DEFINER,   SQL_FUNCTION_OF_ROW,
                                 SQL_FUNCTION_NOT_THERE, SQL_FUNCTION_ON_WRITE};

/* A database's part. */
struct shelf {
	struct cataloguer *cataloguer;
	const struct conf_database *database;
	bool is_used;
	struct leader leader;
	int64_t asked_us, due_us;
	int64_t missed_us; /* when it was too old for somebody */
	bool has_failed;   /* the log has it */
	struct sql_catalog *part;
};

struct cataloguer {
	uint32_t magic;
	struct watch_config config;
	struct event *tick;
	struct shelf *shelves;
	size_t n;
	struct sql_catalog *catalog; /* the last one handed out */
	probe_catalog_fn *on_catalog;
	void *arg;
};

/* ---- what is handed out --------------------------------------------------------------------- */

static void publish(struct cataloguer *c)
{
	struct sql_catalog **parts = mem_zalloc(c->n * sizeof(parts[0]));
	struct sql_catalog *catalog;
	bool is_whole = true;

	for (size_t i = 0; i < c->n; i++) {
		parts[i] = c->shelves[i].part;
		is_whole = is_whole && parts[i] != NULL;
	}
	catalog = sql_catalog_join(parts, c->n, is_whole);
	mem_free(parts);
	if (c->catalog != NULL && sql_catalog_equals(c->catalog, catalog)) {
		sql_catalog_put(&catalog);
		return;
	}
	log_info("function catalogue: %zu names, %zu of users' functions, of these %zu with "
	         "volatile "
	         "SECURITY DEFINER ones and %zu whose SET clause would change the tenant%s",
	         sql_catalog_count(catalog, SQL_THING_FUNCTION, 0),
	         sql_catalog_count(catalog, SQL_THING_FUNCTION, SQL_FUNCTION_USER),
	         sql_catalog_count(catalog, SQL_THING_FUNCTION, SQL_FUNCTION_DEFINER),
	         sql_catalog_count(catalog, SQL_THING_FUNCTION, SQL_FUNCTION_SETS_CONTEXT),
	         is_whole ? "" : "; databases are missing");
	sql_catalog_put(&c->catalog);
	c->catalog = catalog;
	c->on_catalog(c->arg, catalog);
}

/* ---- reading -------------------------------------------------------------------------------- */

static void say_failure(struct shelf *s, const PGresult *result)
{
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

	if (!s->has_failed)
		log_warning("function catalogue: database \"%s\": %s; %s", s->database->name,
		            message != NULL ? message : "no rows",
		            s->part != NULL ? "the last answer stays"
		                            : "no function of users counts as known");
	s->has_failed = true;
}

/* NULL where it is NULL. */
static const char *text_at(const PGresult *result, int row, int column)
{
	return PQgetisnull(result, row, column) ? NULL : PQgetvalue(result, row, column);
}

static enum sql_thing thing_at(const PGresult *result, int row)
{
	switch (PQgetvalue(result, row, 0)[0]) {
	case 'o':
		return SQL_THING_OPERATOR;
	case 'r':
		return SQL_THING_RELATION;
	case 't':
		return SQL_THING_TYPE;
	default:
		return SQL_THING_FUNCTION;
	}
}

static struct sql_catalog *read_rows(const PGresult *result)
{
	int n = PQntuples(result);
	struct sql_catalog_row *rows = mem_zalloc(((size_t)n + 1) * sizeof(rows[0]));
	struct sql_catalog *part;

	for (int i = 0; i < n; i++) {
		rows[i] = (struct sql_catalog_row){.thing = thing_at(result, i),
		                                   .schema = PQgetvalue(result, i, 1),
		                                   .name = PQgetvalue(result, i, 2),
		                                   .via_schema = text_at(result, i, 3),
		                                   .via = text_at(result, i, 4),
		                                   .facts = SQL_FUNCTION_KNOWN};
		for (size_t k = 0; k < COUNT_OF(facts); k++)
			if (PQgetvalue(result, i, FIRST_FACT + (int)k)[0] == 't')
				rows[i].facts |= facts[k];
	}
	part = sql_catalog_new(rows, (size_t)n);
	mem_free(rows);
	return part;
}

static void on_rows(void *arg, const PGresult *result, int64_t asked_us)
{
	struct shelf *s = arg;

	/* Of a node that was the primary when it was asked. */
	if (asked_us < s->asked_us)
		return;
	s->asked_us = asked_us;
	s->due_us = asked_us + RETRY_US;
	if (PQresultStatus(result) != PGRES_TUPLES_OK ||
	    PQnfields(result) != FIRST_FACT + (int)COUNT_OF(facts)) {
		say_failure(s, result);
		return;
	}
	s->has_failed = false;
	s->due_us = asked_us + s->cataloguer->config.conf->freshness.catalog_refresh;
	sql_catalog_put(&s->part);
	s->part = read_rows(result);
	publish(s->cataloguer);
}

static void ask(struct shelf *s, struct link *link)
{
	struct buf sql = {0};

	catalog_query(&s->cataloguer->config.conf->context, &sql);
	link_ask(link, (const char *)sql.data, QUERY_US, on_rows);
	buf_fini(&sql);
}

static void look_at(struct shelf *s, bool is_missed, int64_t now_us)
{
	struct link *link = leader_link(&s->leader);

	if (is_missed)
		s->missed_us = now_us;
	/* Also while an answer is under way, which may be too old already. */
	if (s->missed_us > s->asked_us && s->due_us > s->asked_us + MISS_US)
		s->due_us = s->asked_us + MISS_US;
	if (link != NULL && link_is_free(link) && now_us >= s->due_us)
		ask(s, link);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct cataloguer *c = arg;
	bool is_missed = c->catalog != NULL && sql_catalog_take_miss(c->catalog);
	int64_t now_us = clock_mono_us();

	(void)fd, (void)what;
	OBJ_CHECK(c, CATALOGUER_MAGIC);
	for (size_t i = 0; i < c->n; i++)
		if (c->shelves[i].is_used)
			look_at(&c->shelves[i], is_missed, now_us);
}

/* A lost session is in the log already (link.c). */
static void on_down(void *arg)
{
	struct shelf *s = arg;

	s->due_us = 0;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void shelf_init(struct shelf *s, struct cataloguer *c, const struct conf_database *database)
{
	s->cataloguer = c;
	s->database = database;
	/* [database *] without dbname may be any database. */
	if (strcmp(conf_database_dbname(database, database->name), "*") == 0)
		return;
	s->is_used = true;
	leader_init(&s->leader, &c->config, database, on_down, s);
}

struct cataloguer *cataloguer_new(const struct watch_config *config, probe_catalog_fn *on_catalog,
                                  void *arg)
{
	struct cataloguer *c = mem_zalloc(sizeof(*c));

	OBJ_INIT(c, CATALOGUER_MAGIC);
	c->config = *config;
	c->on_catalog = on_catalog;
	c->arg = arg;
	c->n = config->conf->n_databases;
	c->shelves = mem_zalloc(c->n * sizeof(c->shelves[0]));
	for (size_t i = 0; i < c->n; i++)
		shelf_init(&c->shelves[i], c, &config->conf->databases[i]);
	c->tick = event_new(config->base, -1, EV_PERSIST, on_tick, c);
	MUST(c->tick != NULL);
	return c;
}

void cataloguer_start(struct cataloguer *c)
{
	struct timeval tv = {0, TICK_US};

	OBJ_CHECK(c, CATALOGUER_MAGIC);
	MUST(event_add(c->tick, &tv) == 0);
}

void cataloguer_close(struct cataloguer *c)
{
	OBJ_CHECK(c, CATALOGUER_MAGIC);
	event_del(c->tick);
	for (size_t i = 0; i < c->n; i++)
		leader_close(&c->shelves[i].leader);
}

void cataloguer_free(struct cataloguer **cp)
{
	struct cataloguer *c = *cp;

	*cp = NULL;
	OBJ_CHECK(c, CATALOGUER_MAGIC);
	for (size_t i = 0; i < c->n; i++) {
		struct shelf *s = &c->shelves[i];

		leader_fini(&s->leader);
		sql_catalog_put(&s->part);
	}
	event_free(c->tick);
	sql_catalog_put(&c->catalog);
	mem_free(c->shelves);
	OBJ_FINI(c, CATALOGUER_MAGIC);
	mem_free(c);
}
