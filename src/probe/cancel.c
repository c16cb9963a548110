/* Cancels: the queue, how many are under way at once, and by when each is answered. Who
 * carries one to its server is the couriers' affair. On the dialer's thread only.
 *
 * A job lives from cancels_add until its order is answered; a courier may outlive its job
 * (cancel_thread.c), so couriers are counted by themselves. */
#include <event2/event_struct.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "probe/probe_int.h"

#define CANCELS_MAGIC 0x43414e53u /* CANS */

/* Each one costs the server a process; more wait here. */
#define CANCEL_COURIERS_MAX 32

struct cancels {
	uint32_t magic;
	bool is_closed;
	struct event_base *base;
	struct couriers *couriers;
	unsigned n_out; /* couriers that have not come back */
	struct list waiting;
	struct list sent;
};

struct cancel_job {
	struct list link; /* in waiting or sent */
	struct cancels *cancels;
	struct cancel_order *order;
	struct courier *courier; /* NULL: waiting */
	struct event timeout;
};

static void job_answer(struct cancel_job *job, bool ok)
{
	struct cancel_order *order = job->order;

	event_del(&job->timeout);
	list_remove(&job->link);
	if (job->courier != NULL)
		courier_forget(&job->courier);
	mem_free(job);
	order->ok = ok;
	mailbox_post(order->reply_to, &order->mail);
}

static void cancels_send(struct cancels *cancels)
{
	struct cancel_job *job;

	while (cancels->n_out < CANCEL_COURIERS_MAX) {
		job = LIST_FIRST(&cancels->waiting, struct cancel_job, link);
		if (job == NULL)
			return;
		job->courier = courier_send(cancels->couriers, job->order->conn, job);
		if (job->courier == NULL) {
			job_answer(job, false);
			continue;
		}
		cancels->n_out++;
		list_remove(&job->link);
		list_push_back(&cancels->sent, &job->link);
	}
}

static void on_courier_back(void *arg, void *of, bool ok)
{
	struct cancels *cancels = arg;
	struct cancel_job *job = of;

	OBJ_CHECK(cancels, CANCELS_MAGIC);
	MUST(cancels->n_out > 0);
	cancels->n_out--;
	if (job != NULL) {
		job->courier = NULL;
		job_answer(job, ok);
	}
	if (!cancels->is_closed)
		cancels_send(cancels);
}

static void on_job_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	job_answer(arg, false);
}

struct cancels *cancels_new(struct event_base *base, struct mailbox *box)
{
	struct cancels *cancels = mem_zalloc(sizeof(*cancels));

	OBJ_INIT(cancels, CANCELS_MAGIC);
	cancels->base = base;
	cancels->couriers = couriers_new(base, box, on_courier_back, cancels);
	list_init(&cancels->waiting);
	list_init(&cancels->sent);
	return cancels;
}

void cancels_add(struct cancels *cancels, struct cancel_order *order)
{
	struct timeval limit = {0, 0};
	struct cancel_job *job;

	OBJ_CHECK(cancels, CANCELS_MAGIC);
	if (cancels->is_closed) {
		order->ok = false;
		mailbox_post(order->reply_to, &order->mail);
		return;
	}
	job = mem_zalloc(sizeof(*job));
	job->cancels = cancels;
	job->order = order;
	list_push_back(&cancels->waiting, &job->link);
	MUST(evtimer_assign(&job->timeout, cancels->base, on_job_timeout, job) == 0);
	if (order->timeout_us > 0) {
		limit.tv_sec = (time_t)(order->timeout_us / US_PER_S);
		limit.tv_usec = (suseconds_t)(order->timeout_us % US_PER_S);
		MUST(evtimer_add(&job->timeout, &limit) == 0);
	}
	cancels_send(cancels);
}

void cancels_close(struct cancels *cancels)
{
	struct cancel_job *job;

	OBJ_CHECK(cancels, CANCELS_MAGIC);
	cancels->is_closed = true;
	while ((job = LIST_FIRST(&cancels->waiting, struct cancel_job, link)) != NULL)
		job_answer(job, false);
	while ((job = LIST_FIRST(&cancels->sent, struct cancel_job, link)) != NULL)
		job_answer(job, false);
	couriers_close(cancels->couriers);
}

void cancels_free(struct cancels **cp)
{
	struct cancels *cancels = *cp;

	OBJ_CHECK(cancels, CANCELS_MAGIC);
	MUST(cancels->is_closed && list_is_empty(&cancels->sent));
	*cp = NULL;
	couriers_free(&cancels->couriers);
	OBJ_FINI(cancels, CANCELS_MAGIC);
	mem_free(cancels);
}
