/* Couriers for libpq 17 and later: a cancel is a connection of its own that is polled on the
 * dialer's event loop, and encrypted as the one it is for. On the dialer's thread only.
 *
 * A courier owns its PGcancelConn, which copies from the worker's PGconn what it needs; as in
 * dial.c its event is armed anew after each step. cancel.c sets the deadline. */
#include "probe/probe_int.h"

#ifdef LIBPQ_HAS_ASYNC_CANCEL

#include <event2/event_struct.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

struct couriers {
	struct event_base *base;
	courier_back_fn *on_back;
	void *arg;
};

struct courier {
	struct couriers *couriers;
	void *job;
	PGcancelConn *conn;
	struct event event;
};

static void courier_free(struct courier *courier)
{
	event_del(&courier->event);
	PQcancelFinish(courier->conn);
	mem_free(courier);
}

static void courier_come_back(struct courier *courier, bool ok)
{
	struct couriers *couriers = courier->couriers;
	void *job = courier->job;

	if (!ok)
		log_debug("a cancel failed: %s", PQcancelErrorMessage(courier->conn));
	courier_free(courier);
	couriers->on_back(couriers->arg, job, ok);
}

static void on_courier_event(evutil_socket_t fd, short what, void *arg);

static void courier_wait(struct courier *courier, short what)
{
	MUST(event_assign(&courier->event, courier->couriers->base, PQcancelSocket(courier->conn),
	                  what, on_courier_event, courier) == 0);
	MUST(event_add(&courier->event, NULL) == 0);
}

static void on_courier_event(evutil_socket_t fd, short what, void *arg)
{
	struct courier *courier = arg;

	(void)fd;
	(void)what;
	switch (PQcancelPoll(courier->conn)) {
	case PGRES_POLLING_READING:
		courier_wait(courier, EV_READ);
		break;
	case PGRES_POLLING_WRITING:
		courier_wait(courier, EV_WRITE);
		break;
	case PGRES_POLLING_OK:
		courier_come_back(courier, true);
		break;
	default:
		courier_come_back(courier, false);
		break;
	}
}

struct couriers *couriers_new(struct event_base *base, struct mailbox *box,
                              courier_back_fn *on_back, void *arg)
{
	struct couriers *couriers = mem_zalloc(sizeof(*couriers));

	(void)box;
	couriers->base = base;
	couriers->on_back = on_back;
	couriers->arg = arg;
	return couriers;
}

struct courier *courier_send(struct couriers *couriers, PGconn *conn, void *job)
{
	PGcancelConn *cancel = PQcancelCreate(conn);
	struct courier *courier;

	MUST(cancel != NULL);
	if (PQcancelStart(cancel) != 1) {
		log_debug("a cancel could not be sent: %s", PQcancelErrorMessage(cancel));
		PQcancelFinish(cancel);
		return NULL;
	}
	courier = mem_zalloc(sizeof(*courier));
	courier->couriers = couriers;
	courier->job = job;
	courier->conn = cancel;
	courier_wait(courier, EV_WRITE);
	return courier;
}

void courier_forget(struct courier **cp)
{
	struct courier *courier = *cp;
	struct couriers *couriers = courier->couriers;

	*cp = NULL;
	courier_free(courier);
	couriers->on_back(couriers->arg, NULL, false);
}

void couriers_close(struct couriers *couriers)
{
	(void)couriers; /* each was forgotten with its job */
}

void couriers_free(struct couriers **cp)
{
	MEM_FREE(cp);
}

#endif
