/* A link: one session of the probe's on a node, kept up. The dialer logs in (names, TLS, SCRAM),
 * then statements are asked here, one at a time and never blocking.
 *
 *   link_open ─► dialer ─ order ─► on_dialed ─► on_up
 *   link_ask  ─► on_event … ─► link_answered ─► the asker's function
 *   lost, or no answer in time: on_down, and open again after a pause that doubles
 *
 * On the probe's thread. The order is embedded, so a link that is being dialled outlives its close
 * until the answer has come. */
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/probe_int.h"

#define LINK_MAGIC 0x6c696e6bu /* link */
#define PAUSE_MIN_US (250 * US_PER_MS)
#define PAUSE_MAX_US (5 * US_PER_S)
#define ANSWER_US (5 * US_PER_S)

struct link {
	uint32_t magic;
	struct link_config config;
	struct dial order;
	bool is_dialing, is_closed;
	char sqlstate[6]; /* of the last failure: the log has it once */
	PGconn *conn;     /* NULL: down */
	struct event event, pause;
	int64_t pause_us;
	/* The question under way. */
	link_answer_fn *on_answer;
	int64_t asked_us, timeout_us;
	PGresult *result;
};

static void listen_on(struct link *l);

/* ---- up and down ---------------------------------------------------------------------------- */

static void dial_again(struct link *l)
{
	l->is_dialing = true;
	dialer_dial(l->config.dialer, &l->order);
}

static void on_pause(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;

	(void)fd, (void)what;
	OBJ_CHECK(l, LINK_MAGIC);
	dial_again(l);
}

static void pause_then_dial(struct link *l)
{
	struct timeval tv;

	l->pause_us = l->pause_us == 0 ? PAUSE_MIN_US : 2 * l->pause_us;
	if (l->pause_us > PAUSE_MAX_US)
		l->pause_us = PAUSE_MAX_US;
	tv = (struct timeval){l->pause_us / US_PER_S, l->pause_us % US_PER_S};
	MUST(event_add(&l->pause, &tv) == 0);
}

/* The message may hold a database's name, which is the configuration's own. */
static void say_failure(struct link *l, const char *sqlstate, const char *message)
{
	if (strcmp(l->sqlstate, sqlstate) == 0)
		return;
	snprintf(l->sqlstate, sizeof(l->sqlstate), "%s", sqlstate);
	log_warning("probe: node \"%s\" database \"%s\": %s %s; it is tried again",
	            l->config.node->name, l->config.database->name, sqlstate, message);
}

static void drop_connection(struct link *l)
{
	event_del(&l->event);
	PQclear(l->result);
	PQfinish(l->conn);
	l->result = NULL;
	l->conn = NULL;
	l->on_answer = NULL;
}

static void link_lose(struct link *l, const char *why)
{
	drop_connection(l);
	say_failure(l, "08006", why);
	pause_then_dial(l);
	l->config.on_down(l->config.arg);
}

static void on_dialed(struct mail *mail, void *owner)
{
	struct dial *order = CONTAINER_OF(mail, struct dial, mail);
	struct link *l = CONTAINER_OF(order, struct link, order);

	(void)owner;
	OBJ_CHECK(l, LINK_MAGIC);
	l->is_dialing = false;
	l->conn = order->conn;
	order->conn = NULL;
	if (l->is_closed) {
		PQfinish(l->conn);
		l->conn = NULL;
		return;
	}
	if (l->conn == NULL) {
		say_failure(l, order->sqlstate, order->message);
		pause_then_dial(l);
		l->config.on_down(l->config.arg);
		return;
	}
	if (l->sqlstate[0] != '\0')
		log_info("probe: node \"%s\" database \"%s\" answers again", l->config.node->name,
		         l->config.database->name);
	l->sqlstate[0] = '\0';
	listen_on(l);
	l->config.on_up(l->config.arg);
}

/* ---- questions ------------------------------------------------------------------------------ */

static void link_answered(struct link *l)
{
	link_answer_fn *on_answer = l->on_answer;
	PGresult *result = l->result;

	l->on_answer = NULL;
	l->result = NULL;
	l->pause_us = 0;
	if (on_answer != NULL && result != NULL)
		on_answer(l->config.arg, result, l->asked_us);
	PQclear(result);
}

/* Of several statements the first error, else the last result. */
static void keep_result(struct link *l, PGresult *result)
{
	if (l->result != NULL && PQresultStatus(l->result) == PGRES_FATAL_ERROR) {
		PQclear(result);
		return;
	}
	PQclear(l->result);
	l->result = result;
}

/* False: the connection is broken. */
static bool take_input(struct link *l)
{
	PGresult *result;
	PGnotify *notify;

	if (PQconsumeInput(l->conn) != 1)
		return false;
	while ((notify = PQnotifies(l->conn)) != NULL)
		PQfreemem(notify);
	while (l->on_answer != NULL && !PQisBusy(l->conn)) {
		result = PQgetResult(l->conn);
		if (result != NULL) {
			keep_result(l, result);
			continue;
		}
		if (PQstatus(l->conn) != CONNECTION_OK)
			return false;
		link_answered(l);
	}
	return PQstatus(l->conn) == CONNECTION_OK;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct link *l = arg;
	bool is_late;

	(void)fd, (void)what;
	OBJ_CHECK(l, LINK_MAGIC);
	if (!take_input(l)) {
		link_lose(l, "the connection was lost");
		return;
	}
	is_late = l->on_answer != NULL && clock_mono_us() - l->asked_us >= l->timeout_us;
	if (is_late)
		link_lose(l, "no answer in time");
	else
		listen_on(l);
}

/* Once more, for what is wanted now. */
static void listen_on(struct link *l)
{
	struct timeval tv;
	int64_t left_us = l->asked_us + l->timeout_us - clock_mono_us();
	bool unsent = PQflush(l->conn) > 0;

	if (left_us < 0)
		left_us = 0;
	tv = (struct timeval){left_us / US_PER_S, left_us % US_PER_S};
	event_del(&l->event);
	MUST(event_assign(&l->event, l->config.base, PQsocket(l->conn),
	                  unsent ? EV_READ | EV_WRITE : EV_READ, on_event, l) == 0);
	MUST(event_add(&l->event, l->on_answer != NULL ? &tv : NULL) == 0);
}

bool link_is_free(const struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	return l->conn != NULL && l->on_answer == NULL;
}

/* An answer may ask the next question, from within take_input: that goes on with it. What cannot be
 * sent shows in the next event. */
void link_ask(struct link *l, const char *sql, int64_t timeout_us, link_answer_fn *on_answer)
{
	MUST(link_is_free(l) && on_answer != NULL);
	l->on_answer = on_answer;
	l->timeout_us = timeout_us > 0 ? timeout_us : ANSWER_US;
	l->asked_us = clock_mono_us();
	(void)PQsendQuery(l->conn, sql);
	listen_on(l);
}

/* ---- life ----------------------------------------------------------------------------------- */

struct link *link_new(const struct link_config *config)
{
	struct link *l = mem_zalloc(sizeof(*l));

	OBJ_INIT(l, LINK_MAGIC);
	l->config = *config;
	l->order.mail.deliver = on_dialed;
	l->order.reply_to = config->box;
	l->order.conf = config->conf;
	l->order.node = config->node;
	l->order.database = config->database;
	l->order.role = config->role;
	MUST(event_assign(&l->event, config->base, -1, 0, on_event, l) == 0);
	MUST(event_assign(&l->pause, config->base, -1, 0, on_pause, l) == 0);
	return l;
}

void link_open(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	dial_again(l);
}

void link_close(struct link *l)
{
	OBJ_CHECK(l, LINK_MAGIC);
	l->is_closed = true;
	event_del(&l->pause);
	if (l->conn != NULL)
		drop_connection(l);
}

void link_free(struct link **lp)
{
	struct link *l = *lp;

	*lp = NULL;
	OBJ_CHECK(l, LINK_MAGIC);
	MUST(l->is_closed && !l->is_dialing);
	OBJ_FINI(l, LINK_MAGIC);
	mem_free(l);
}
