/* Couriers for libpq before 17, whose PQcancel blocks, at a dead host for minutes: each is a
 * detached thread, so that neither dials nor the other cancels wait for it.
 *
 * A courier owns a copy (PGcancel) of what it needs to know, so it needs nobody's PGconn once
 * it is sent. It comes back as a letter in the dialer's box and is freed there; if the dialer
 * is gone by then (`gate`, the only thing shared, under its lock), it frees itself. All other
 * functions here run on the dialer's thread. */
#include "probe/probe_int.h"

#ifndef LIBPQ_HAS_ASYNC_CANCEL

#include <pthread.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

#define COURIER_STACK_BYTES (256 * 1024)

struct gate {
	pthread_mutex_t lock;
	struct mailbox *box; /* NULL: closed */
	unsigned refs;       /* the dialer and each thread */
};

struct couriers {
	struct gate *gate;
	courier_back_fn *on_back;
	void *arg;
};

struct courier {
	struct mail mail;
	struct couriers *couriers; /* the dialer's thread only, as is job */
	void *job;                 /* NULL: forgotten */
	struct gate *gate;
	PGcancel *cancel;
	bool ok;
};

/* With the lock, which it gives up. */
static void gate_put_unlock(struct gate *gate)
{
	unsigned refs = --gate->refs;

	MUST(pthread_mutex_unlock(&gate->lock) == 0);
	if (refs > 0)
		return;
	MUST(pthread_mutex_destroy(&gate->lock) == 0);
	mem_free(gate);
}

static void courier_free(struct courier *courier)
{
	PQfreeCancel(courier->cancel);
	mem_free(courier);
}

static void *courier_main(void *arg)
{
	struct courier *courier = arg;
	struct gate *gate = courier->gate;
	char err[256];

	courier->ok = PQcancel(courier->cancel, err, sizeof(err)) == 1;
	if (!courier->ok)
		log_debug("a cancel failed: %s", err);
	MUST(pthread_mutex_lock(&gate->lock) == 0);
	if (gate->box != NULL)
		mailbox_post(gate->box, &courier->mail);
	else
		courier_free(courier);
	gate_put_unlock(gate);
	return NULL;
}

static void on_courier_mail(struct mail *mail, void *owner)
{
	struct courier *courier = CONTAINER_OF(mail, struct courier, mail);
	struct couriers *couriers = courier->couriers;
	void *job = courier->job;
	bool ok = courier->ok;

	(void)owner;
	courier_free(courier);
	couriers->on_back(couriers->arg, job, ok);
}

static bool courier_start(struct courier *courier)
{
	pthread_attr_t attr;
	pthread_t thread;
	bool ok;

	MUST(pthread_attr_init(&attr) == 0);
	MUST(pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED) == 0);
	MUST(pthread_attr_setstacksize(&attr, COURIER_STACK_BYTES) == 0);
	ok = pthread_create(&thread, &attr, courier_main, courier) == 0;
	MUST(pthread_attr_destroy(&attr) == 0);
	return ok;
}

struct couriers *couriers_new(struct event_base *base, struct mailbox *box,
                              courier_back_fn *on_back, void *arg)
{
	struct couriers *couriers = mem_zalloc(sizeof(*couriers));

	(void)base;
	couriers->gate = mem_zalloc(sizeof(*couriers->gate));
	couriers->gate->box = box;
	couriers->gate->refs = 1;
	MUST(pthread_mutex_init(&couriers->gate->lock, NULL) == 0);
	couriers->on_back = on_back;
	couriers->arg = arg;
	return couriers;
}

struct courier *courier_send(struct couriers *couriers, PGconn *conn, void *job)
{
	PGcancel *cancel = PQgetCancel(conn);
	struct gate *gate = couriers->gate;
	struct courier *courier;

	if (cancel == NULL)
		return NULL;
	courier = mem_zalloc(sizeof(*courier));
	courier->mail.deliver = on_courier_mail;
	courier->couriers = couriers;
	courier->job = job;
	courier->gate = gate;
	courier->cancel = cancel;
	MUST(pthread_mutex_lock(&gate->lock) == 0);
	gate->refs++;
	MUST(pthread_mutex_unlock(&gate->lock) == 0);
	if (courier_start(courier))
		return courier;
	log_warning("no thread for a cancel");
	courier_free(courier);
	MUST(pthread_mutex_lock(&gate->lock) == 0);
	gate_put_unlock(gate);
	return NULL;
}

void courier_forget(struct courier **cp)
{
	(*cp)->job = NULL; /* it comes back when PQcancel does */
	*cp = NULL;
}

void couriers_close(struct couriers *couriers)
{
	MUST(pthread_mutex_lock(&couriers->gate->lock) == 0);
	couriers->gate->box = NULL;
	MUST(pthread_mutex_unlock(&couriers->gate->lock) == 0);
}

void couriers_free(struct couriers **cp)
{
	struct couriers *couriers = *cp;

	*cp = NULL;
	MUST(pthread_mutex_lock(&couriers->gate->lock) == 0);
	MUST(couriers->gate->box == NULL);
	gate_put_unlock(couriers->gate);
	mem_free(couriers);
}

#endif
