/* The lister: asks directory_query and hands out who is active. It has sessions of its own, so that
 * 100,000 rows do not hold up a heartbeat: on whichever node is the primary of the first database.
 *
 *   on_tick ─► link_ask ─► on_rows ─► publish ─► on_directory (every worker)
 *
 * What fails leaves the last answer as it is, and is tried again at the next turn. On the probe's
 * thread. */
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/probe_int.h"

#define LISTER_MAGIC 0x6c697374u /* list */
#define TICK_US (100 * US_PER_MS)
#define RETRY_US US_PER_S
#define QUERY_US (30 * US_PER_S)
/* pg_type.h */
#define OID_BOOL 16
#define OID_INT8 20
#define OID_INT2 21
#define OID_INT4 23

struct lister {
	uint32_t magic;
	struct watch_config config;
	struct event *tick;
	struct leader leader;
	int64_t due_us, asked_us; /* what was answered last */
	char failed[6];           /* SQLSTATE that the log has */
	struct auth_directory *directory;
	probe_directory_fn *on_directory;
	void *arg;
};

static void publish(struct lister *l, struct auth_directory *directory)
{
	if (l->directory != NULL && auth_directory_equals(l->directory, directory)) {
		auth_directory_put(&directory);
		return;
	}
	log_info("tenant directory: %zu active tenants", auth_directory_count(directory));
	auth_directory_put(&l->directory);
	l->directory = directory;
	l->on_directory(l->arg, directory);
}

/* The statement is the configuration's; what the server says of it names no tenant. */
static void say_failure(struct lister *l, const char *sqlstate, const char *message)
{
	if (strncmp(l->failed, sqlstate, 5) == 0)
		return;
	memcpy(l->failed, sqlstate, 5);
	log_warning("tenant directory: directory_query failed: %s %s; %s", sqlstate, message,
	            l->directory != NULL ? "the last answer stays" : "nobody is let in yet");
}

static bool is_integer(Oid type)
{
	return type == OID_INT8 || type == OID_INT4 || type == OID_INT2;
}

static struct auth_directory *read_rows(const PGresult *result)
{
	size_t n_rows = (size_t)PQntuples(result), n = 0;
	int64_t *active = mem_alloc((n_rows + 1) * sizeof(active[0]));
	struct auth_directory *directory;

	for (size_t i = 0; i < n_rows; i++) {
		if (!PQgetisnull(result, (int)i, 0) && PQgetvalue(result, (int)i, 1)[0] == 't')
			active[n++] = strtoll(PQgetvalue(result, (int)i, 0), NULL, 10);
	}
	directory = auth_directory_new(active, n);
	mem_free(active);
	return directory;
}

static void on_rows(void *arg, const PGresult *result, int64_t asked_us)
{
	struct lister *l = arg;
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	/* Of a node that was the primary when it was asked. */
	if (asked_us < l->asked_us)
		return;
	l->asked_us = asked_us;
	l->due_us = asked_us + RETRY_US;
	if (PQresultStatus(result) != PGRES_TUPLES_OK) {
		say_failure(l, sqlstate != NULL ? sqlstate : "XX000",
		            sqlstate != NULL ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
		                             : "no rows");
	} else if (PQnfields(result) != 2 || !is_integer(PQftype(result, 0)) ||
	           PQftype(result, 1) != OID_BOOL) {
		say_failure(l, "42804", "its columns must be (bigint, boolean)");
	} else {
		l->due_us = asked_us + l->config.conf->tenants.directory_refresh;
		l->failed[0] = '\0';
		publish(l, read_rows(result));
	}
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct lister *l = arg;
	struct link *link;

	(void)fd, (void)what;
	OBJ_CHECK(l, LISTER_MAGIC);
	link = leader_link(&l->leader);
	if (link != NULL && link_is_free(link) && clock_mono_us() >= l->due_us)
		link_ask(link, l->config.conf->tenants.directory_query, QUERY_US, on_rows);
}

/* A lost session is in the log already (link.c). */
static void on_down(void *arg)
{
	struct lister *l = arg;

	l->due_us = 0;
}

struct lister *lister_new(const struct watch_config *config, probe_directory_fn *on_directory,
                          void *arg)
{
	struct lister *l = mem_zalloc(sizeof(*l));

	OBJ_INIT(l, LISTER_MAGIC);
	l->config = *config;
	l->on_directory = on_directory;
	l->arg = arg;
	leader_init(&l->leader, config, &config->conf->databases[0], on_down, l);
	l->tick = event_new(config->base, -1, EV_PERSIST, on_tick, l);
	MUST(l->tick != NULL);
	return l;
}

void lister_start(struct lister *l)
{
	struct timeval tv = {0, TICK_US};

	OBJ_CHECK(l, LISTER_MAGIC);
	MUST(event_add(l->tick, &tv) == 0);
}

void lister_close(struct lister *l)
{
	OBJ_CHECK(l, LISTER_MAGIC);
	event_del(l->tick);
	leader_close(&l->leader);
}

void lister_free(struct lister **lp)
{
	struct lister *l = *lp;

	*lp = NULL;
	OBJ_CHECK(l, LISTER_MAGIC);
	leader_fini(&l->leader);
	event_free(l->tick);
	auth_directory_put(&l->directory);
	OBJ_FINI(l, LISTER_MAGIC);
	mem_free(l);
}
