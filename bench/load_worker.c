/* One process of the load generator: its clients, when each of them does what, and the counting.
 *
 *   idle, send   every client logs in, some at a time; then all is held until `go` is closed;
 *                idle ends there; send begins there, and ends when each client has had its count
 *                of answers, or after `seconds` and whatever was still to be answered then
 *   logins       after `go` each client logs in, says goodbye, and begins again, for `seconds`
 *
 * With a rate a statement's latency counts from when it was due, not from when it could be sent:
 * a stall is seen by all who would have sent meanwhile. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

#define EVENTS_MAX 256
#define GRACE_US (60 * US_PER_S) /* for what is still unanswered at the end */

struct run {
	struct worker worker; /* first: a connection's worker is its run */
	const struct options *options;
	struct result *result;
	struct conn *conns;
	unsigned n, opened, opening, first, step;
	unsigned alive, busy;
	int go;
	bool is_told_ready, has_begun;
	int64_t end_us;
	uint64_t logins; /* begun in this process */
	/* With a rate: a heap of who is to send next, by due_us. */
	struct conn **heap;
	unsigned heap_len;
	struct conn **again; /* closed and to be opened again */
	unsigned again_len;
};

static struct run *run_of(const struct conn *c)
{
	return (struct run *)c->worker;
}

/* ---- whose turn is it? -------------------------------------------------------------------- */

static void heap_swap(struct run *r, unsigned a, unsigned b)
{
	struct conn *c = r->heap[a];

	r->heap[a] = r->heap[b];
	r->heap[b] = c;
}

static void heap_push(struct run *r, struct conn *c)
{
	unsigned at = r->heap_len++;

	r->heap[at] = c;
	for (; at > 0 && r->heap[at]->due_us < r->heap[(at - 1) / 2]->due_us; at = (at - 1) / 2)
		heap_swap(r, at, (at - 1) / 2);
}

static struct conn *heap_pop(struct run *r)
{
	struct conn *top = r->heap[0];
	unsigned at = 0;

	r->heap[0] = r->heap[--r->heap_len];
	for (;;) {
		unsigned least = at;

		for (unsigned child = 2 * at + 1; child <= 2 * at + 2 && child < r->heap_len;
		     child++) {
			if (r->heap[child]->due_us < r->heap[least]->due_us)
				least = child;
		}
		if (least == at)
			return top;
		heap_swap(r, at, least);
		at = least;
	}
}

/* ---- statements ------------------------------------------------------------------------------ */

static void send_now(struct conn *c, int64_t from_us)
{
	c->since_us = from_us;
	run_of(c)->busy++;
	conn_query(c);
}

static bool has_more(const struct conn *c)
{
	const struct run *r = run_of(c);

	if (r->options->count > 0)
		return c->answers < r->options->count;
	return now_us() < r->end_us;
}

static void next_statement(struct conn *c)
{
	struct run *r = run_of(c);
	int64_t now = now_us();

	if (!has_more(c))
		return;
	if (r->options->rate <= 0) {
		send_now(c, now);
		return;
	}
	c->due_us += (int64_t)(US_PER_S / r->options->rate);
	if (c->due_us <= now)
		send_now(c, c->due_us);
	else
		heap_push(r, c);
}

static void begin_statements(struct run *r)
{
	for (unsigned i = 0; i < r->n; i++) {
		struct conn *c = &r->conns[i];

		if (c->phase != PHASE_READY)
			continue;
		if (r->options->rate > 0) {
			/* Spread over the first period. */
			c->due_us = now_us() - (int64_t)((double)(i + 1) *
			                                 (US_PER_S / r->options->rate) / r->n);
			next_statement(c);
		} else {
			send_now(c, now_us());
		}
	}
}

static void on_answer(struct conn *c)
{
	struct run *r = run_of(c);
	int64_t now = now_us();

	r->busy--;
	r->result->answers++;
	r->result->answers_in_time += r->end_us == 0 || now <= r->end_us;
	r->result->errors += c->has_failed;
	c->answers++;
	result_add_latency(r->result, now - c->since_us);
	r->result->ended_us = now;
	next_statement(c);
}

/* ---- logins ------------------------------------------------------------------------------------ */

static void open_one(struct run *r, struct conn *c)
{
	/* Client i of all processes has secret i; in `logins` each login has the next one. */
	uint64_t number =
		r->options->mode == MODE_LOGINS ? r->first + r->step * r->logins++ : c->index;

	r->opening++;
	r->alive++;
	c->has_failed = false;
	conn_open(c, &r->options->secrets[number % r->options->n_secrets]);
}

static void open_more(struct run *r)
{
	if (r->options->mode == MODE_LOGINS)
		return;
	while (r->opened < r->n && r->opening < r->options->in_flight)
		open_one(r, &r->conns[r->opened++]);
	if (r->is_told_ready || r->opened < r->n || r->opening > 0)
		return;
	r->is_told_ready = true;
	r->result->ended_us = now_us();
	atomic_store(&r->result->is_ready, 1);
}

static void on_login(struct conn *c)
{
	struct run *r = run_of(c);

	r->opening--;
	r->result->logged_in++;
	c->phase = PHASE_READY;
	if (r->options->mode != MODE_LOGINS)
		return;
	result_add_latency(r->result, now_us() - c->since_us);
	r->result->answers++;
	r->result->answers_in_time += now_us() <= r->end_us;
	conn_bye(c);
}

/* ---- what connections tell ------------------------------------------------------------------------ */

static void on_ready(struct conn *c)
{
	if (c->phase == PHASE_LOGIN) {
		on_login(c);
	} else if (c->phase == PHASE_BUSY) {
		c->phase = PHASE_READY;
		on_answer(c);
	}
}

static void on_row(struct conn *c, const char *value, size_t len)
{
	const char *expected = c->secret->expected;

	if (expected != NULL && (strlen(expected) != len || memcmp(expected, value, len) != 0))
		run_of(c)->result->wrong++;
}

static void on_error(struct conn *c, const char *text)
{
	result_error(run_of(c)->result, text);
}

static void on_closed(struct conn *c, enum phase in, const char *why)
{
	struct run *r = run_of(c);

	r->alive--;
	if (in < PHASE_READY) {
		r->opening--;
		r->result->login_errors++;
		if (!c->has_failed)
			result_error(r->result, why);
	} else if (in != PHASE_BYE) {
		r->result->errors++;
		r->busy -= in == PHASE_BUSY;
		result_error(r->result, why);
	}
	if (r->options->mode == MODE_LOGINS && now_us() < r->end_us)
		r->again[r->again_len++] = c;
}

static const struct conn_events events = {on_ready, on_row, on_error, on_closed};

/* ---- the loop ---------------------------------------------------------------------------------------- */

static void begin(struct run *r)
{
	r->has_begun = true;
	r->end_us =
		r->options->count > 0 ? 0 : now_us() + (int64_t)(r->options->seconds * US_PER_S);
	if (r->options->mode == MODE_SEND)
		begin_statements(r);
	for (unsigned i = 0; r->options->mode == MODE_LOGINS && i < r->n; i++)
		open_one(r, &r->conns[i]);
}

static void on_event(struct run *r, const struct epoll_event *event)
{
	char byte;

	if (event->data.ptr != NULL) {
		conn_event(event->data.ptr, event->events);
	} else if (read(r->go, &byte, 1) == 0) {
		(void)epoll_ctl(r->worker.env.epoll, EPOLL_CTL_DEL, r->go, NULL);
		begin(r);
	}
}

static bool is_over(const struct run *r)
{
	int64_t now = now_us();

	if (!r->has_begun)
		return false;
	if (r->options->mode == MODE_IDLE)
		return true;
	if (r->options->mode == MODE_LOGINS)
		return now >= r->end_us && (r->alive == 0 || now >= r->end_us + GRACE_US);
	if (r->busy > 0 && (r->end_us == 0 || now < r->end_us + GRACE_US))
		return false;
	return r->options->count > 0 ? r->heap_len == 0 : now >= r->end_us;
}

static int wait_ms(const struct run *r)
{
	int64_t us = 100000;

	if (r->heap_len > 0)
		us = r->heap[0]->due_us - now_us();
	return us < 0 ? 0 : us > 100000 ? 100 : (int)(us / 1000);
}

static void loop(struct run *r)
{
	struct epoll_event ready[EVENTS_MAX];

	while (!is_over(r)) {
		int n;

		open_more(r);
		while (r->again_len > 0)
			open_one(r, r->again[--r->again_len]);
		while (r->heap_len > 0 && r->heap[0]->due_us <= now_us()) {
			struct conn *c = heap_pop(r);

			if (c->phase == PHASE_READY && has_more(c))
				send_now(c, c->due_us);
		}
		n = epoll_wait(r->worker.env.epoll, ready, EVENTS_MAX, wait_ms(r));
		for (int i = 0; i < n; i++)
			on_event(r, &ready[i]);
	}
}

static void count_up(struct run *r)
{
	struct result *result = r->result;

	result->answers_min = UINT64_MAX;
	for (unsigned i = 0; i < r->n; i++) {
		const struct conn *c = &r->conns[i];

		result->unanswered += c->phase == PHASE_BUSY;
		result->silent += c->answers == 0;
		if (c->answers > result->answers_max)
			result->answers_max = c->answers;
		if (c->answers < result->answers_min)
			result->answers_min = c->answers;
	}
}

static SSL_CTX *tls_context(void)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (tls == NULL)
		abort();
	SSL_CTX_set_mode(tls, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_ENABLE_PARTIAL_WRITE |
	                              SSL_MODE_RELEASE_BUFFERS);
	return tls;
}

void worker_main(const struct options *options, struct result *result, unsigned first,
                 unsigned step, int go)
{
	struct run r = {
		.options = options, .result = result, .first = first, .step = step, .go = go};
	struct epoll_event event = {.events = EPOLLIN | EPOLLHUP, .data.ptr = NULL};

	r.worker.env.options = options;
	r.worker.env.events = &events;
	r.worker.env.tls = options->tls ? tls_context() : NULL;
	r.worker.env.epoll = epoll_create1(EPOLL_CLOEXEC);
	r.n = first < options->clients ? (options->clients - first + step - 1) / step : 0;
	r.conns = calloc(r.n + 1, sizeof(r.conns[0]));
	r.heap = calloc(r.n + 1, sizeof(struct conn *));
	r.again = calloc(r.n + 1, sizeof(struct conn *));
	if (r.worker.env.epoll < 0 || r.conns == NULL || r.heap == NULL || r.again == NULL ||
	    epoll_ctl(r.worker.env.epoll, EPOLL_CTL_ADD, go, &event) != 0)
		abort();
	for (unsigned i = 0; i < r.n; i++)
		r.conns[i] = (struct conn){.worker = &r.worker,
		                           .index = first + i * step,
		                           .fd = -1,
		                           .phase = PHASE_CLOSED};
	result->began_us = now_us();
	if (options->mode == MODE_LOGINS)
		atomic_store(&result->is_ready, 1);
	loop(&r);
	count_up(&r);
}
