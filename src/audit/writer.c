/* The writer's thread: from the queues to the sink.
 *
 *   collect   records from the queues, and its own ("dropped", "torn")
 *   render    lines, each with the digest of the one before
 *   send      writes; what the sink did not take stays, in order
 *   nap       5 ms after there was something, so that a busy log wakes nobody;
 *             then asleep until a producer writes to the eventfd
 *
 * While the sink fails (a full disk, a reader that is slow) the queues fill up, and producers drop
 * and count; the batch at hand waits. After a rotation its lines are rendered anew, for the chain
 * may go on from another line. The same holds where another configuration names another file
 * (change.c). */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "audit_int.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define NAP_MS 5
#define RETRY_MIN_US (50 * US_PER_MS)
#define RETRY_MAX_US (2 * US_PER_S)
/* At the end, for a sink that takes nothing. */
#define GIVE_UP_US (2 * US_PER_S)

/* ---- waiting --------------------------------------------------------------------------------- */

void audit_wake_always(struct audit *a)
{
	const uint64_t one = 1;

	while (write(a->wake_fd, &one, sizeof(one)) < 0)
		MUST_SYS(errno == EINTR);
}

/* The fence is the other half of the one in sleep_until_woken: either the producer sees that the
 * writer sleeps, or the writer sees the record. */
void audit_wake(struct audit *a)
{
	if (a == NULL)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	if (atomic_load_explicit(&a->is_asleep, memory_order_relaxed) &&
	    atomic_exchange(&a->is_asleep, false))
		audit_wake_always(a);
}

void audit_order(struct audit *a, _Atomic bool *what)
{
	atomic_store(what, true);
	audit_wake_always(a);
}

/* Until the sink takes bytes (if that is asked for), an order comes, or the time is over. */
static void wait_for(struct audit *a, bool for_room, int64_t timeout_us)
{
	struct pollfd fds[] = {{.fd = a->wake_fd, .events = POLLIN},
	                       {.fd = a->sink.fd, .events = POLLOUT}};
	int ms = timeout_us < 0 ? -1 : (int)((timeout_us + US_PER_MS - 1) / US_PER_MS);
	uint64_t count;

	(void)poll(fds, for_room ? 2 : 1, ms);
	if (fds[0].revents & POLLIN)
		(void)!read(a->wake_fd, &count, sizeof(count));
}

bool audit_has_records(struct audit *a)
{
	for (unsigned i = 0; i < a->n_queues; i++) {
		struct audit_queue *q = a->queues[i];

		if (audit_queue_look(q) != NULL ||
		    atomic_load_explicit(&q->n_dropped, memory_order_relaxed) != q->dropped_told)
			return true;
	}
	return false;
}

static bool has_changed(struct audit *a)
{
	return atomic_load(&a->events) != a->events_told;
}

static bool has_work(struct audit *a)
{
	return audit_has_records(a) || has_changed(a) || atomic_load(&a->next) != NULL ||
	       atomic_load(&a->is_stopping) || atomic_load(&a->is_reopening);
}

static void sleep_until_woken(struct audit *a)
{
	atomic_store_explicit(&a->is_asleep, true, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	if (!has_work(a))
		wait_for(a, false, -1);
	atomic_store_explicit(&a->is_asleep, false, memory_order_relaxed);
}

/* ---- collecting ------------------------------------------------------------------------------ */

static void keep_latest(struct audit *a, const struct audit_record *r)
{
	if (r->event == AUDIT_STATEMENTS)
		return;
	MUST(pthread_mutex_lock(&a->latest_lock) == 0);
	a->latest[a->n_latest++ % AUDIT_LATEST] = *r;
	MUST(pthread_mutex_unlock(&a->latest_lock) == 0);
}

/* A record of the log's own, behind those in the batch; there is always room. */
void audit_append(struct audit *a, const struct audit_record *r)
{
	MUST(a->n_batch < COUNT_OF(a->batch));
	a->batch[a->n_batch++] = *r;
	keep_latest(a, r);
}

void audit_say(struct audit *a, const char *reason, uint64_t n)
{
	audit_append(a, &(struct audit_record){.event = AUDIT_SELF,
	                                       .wall_us = clock_wall_us(),
	                                       .reason = reason,
	                                       .n = n});
}

static void collect_from(struct audit *a, struct audit_queue *q)
{
	const struct audit_record *r;

	while (a->n_batch < AUDIT_BATCH && (r = audit_queue_look(q)) != NULL) {
		a->batch[a->n_batch++] = *r;
		keep_latest(a, r);
		audit_queue_drop(q);
	}
}

static void collect(struct audit *a)
{
	uint64_t dropped = 0;

	for (unsigned i = 0; i < a->n_queues; i++) {
		collect_from(a, a->queues[i]);
		dropped += audit_queue_dropped(a->queues[i]);
	}
	if (dropped > 0) {
		atomic_fetch_add_explicit(&a->n_dropped, dropped, memory_order_relaxed);
		audit_say(a, "dropped", dropped);
	}
	if (has_changed(a))
		audit_say_events(a, "changed");
}

/* ---- rendering ------------------------------------------------------------------------------- */

/* The lines of the batch that are not written yet. */
void audit_render(struct audit *a)
{
	const uint8_t *prev = a->digest;
	size_t start;

	a->text.len = 0;
	a->n_sent = 0;
	if (a->ends_torn)
		buf_put_u8(&a->text, '\n');
	for (unsigned i = a->n_done; i < a->n_batch; i++) {
		start = a->text.len;
		audit_line_put(&a->text, &a->batch[i], prev);
		a->ends[i] = a->text.len;
		hash_sha256(a->text.data + start, a->text.len - start, a->digests[i]);
		prev = a->digests[i];
	}
}

static void note_sent(struct audit *a, size_t n)
{
	a->n_sent += n;
	a->ends_torn = false;
	while (a->n_done < a->n_batch && a->ends[a->n_done] <= a->n_sent) {
		memcpy(a->digest, a->digests[a->n_done++], SHA256_BYTES);
		atomic_fetch_add_explicit(&a->n_written, 1, memory_order_relaxed);
	}
	if (a->n_done < a->n_batch)
		return;
	a->n_batch = a->n_done = 0;
	a->text.len = a->n_sent = 0;
}

/* ---- the sink -------------------------------------------------------------------------------- */

static bool is_torn(const struct audit_record *r)
{
	return r->event == AUDIT_SELF && strcmp(r->reason, "torn") == 0;
}

void audit_insert(struct audit *a, const struct audit_record *r)
{
	keep_latest(a, r);
	if (a->n_done > 0) {
		a->batch[--a->n_done] = *r;
		return;
	}
	MUST(a->n_batch < COUNT_OF(a->batch));
	memmove(&a->batch[1], &a->batch[0], a->n_batch * sizeof(a->batch[0]));
	a->n_batch++;
	a->batch[0] = *r;
}

/* The record of what was torn comes first in a file. */
void audit_insert_torn(struct audit *a)
{
	struct audit_record r = {.event = AUDIT_SELF,
	                         .wall_us = clock_wall_us(),
	                         .reason = "torn",
	                         .n = a->sink.torn_bytes};

	log_warning("%s: the last line was torn (%llu bytes), and has been ended", a->sink.path,
	            (unsigned long long)a->sink.torn_bytes);
	audit_hex(r.action, a->sink.whole);
	a->ends_torn = true;
	/* In the place of one that was not written before the next rotation. */
	if (a->n_done < a->n_batch && is_torn(&a->batch[a->n_done]))
		a->n_done++;
	audit_insert(a, &r);
}

enum sink_open audit_open(struct audit *a, char *err, size_t err_size)
{
	enum sink_open done = sink_open(&a->sink, err, err_size);

	if (done != SINK_OPENED || a->sink.is_same)
		return done;
	a->ends_torn = false;
	if (a->sink.has_tail)
		memcpy(a->digest, a->sink.digest, SHA256_BYTES);
	if (a->sink.torn_bytes > 0)
		audit_insert_torn(a);
	audit_render(a);
	return done;
}

/* Once, until it goes again. */
static void fail(struct audit *a, const char *why)
{
	if (!a->is_failing)
		log_warning("audit: nothing can be written to %s: %s; it is tried again, and what "
		            "the queues cannot hold is dropped and counted",
		            a->file, why);
	a->is_failing = true;
	a->retry_us = a->retry_us == 0 ? RETRY_MIN_US : 2 * a->retry_us;
	if (a->retry_us > RETRY_MAX_US)
		a->retry_us = RETRY_MAX_US;
}

static void succeed(struct audit *a)
{
	if (a->is_failing)
		log_warning("audit: %s is written again", a->file);
	a->is_failing = false;
	a->retry_us = 0;
}

static void reopen(struct audit *a)
{
	char err[512];

	if (atomic_exchange(&a->is_reopening, false) &&
	    audit_open(a, err, sizeof(err)) != SINK_OPENED)
		log_error("audit: %s; the log stays where it was", err);
}

/* A file that another process had, a syslog daemon that was away. */
static bool is_open(struct audit *a)
{
	char err[512];

	if (a->sink.kind == SINK_NONE ||
	    (a->sink.fd >= 0 && !(a->is_failing && a->sink.kind == SINK_SYSLOG)))
		return true;
	if (audit_open(a, err, sizeof(err)) == SINK_OPENED)
		return true;
	fail(a, err);
	return false;
}

void audit_send_once(struct audit *a)
{
	ssize_t n = sink_write(&a->sink, a->text.data + a->n_sent, a->text.len - a->n_sent);

	if (n > 0)
		note_sent(a, (size_t)n);
}

/* False: not now. */
static bool send_batch(struct audit *a)
{
	ssize_t n;

	if (!is_open(a)) {
		wait_for(a, false, a->retry_us);
		return false;
	}
	n = sink_write(&a->sink, a->text.data + a->n_sent, a->text.len - a->n_sent);
	if (n > 0) {
		note_sent(a, (size_t)n);
		if (a->n_batch == 0) /* a whole batch: no flicker on a disk that is nearly full */
			succeed(a);
		return true;
	}
	if (n < 0)
		fail(a, strerror(errno));
	wait_for(a, n == 0, n == 0 ? RETRY_MAX_US / 4 : a->retry_us);
	return false;
}

/* ---- the loop -------------------------------------------------------------------------------- */

static bool is_given_up(struct audit *a)
{
	if (!atomic_load(&a->is_stopping))
		return false;
	if (a->give_up_us == 0)
		a->give_up_us = clock_mono_us() + GIVE_UP_US;
	return clock_mono_us() > a->give_up_us;
}

static void send_all(struct audit *a)
{
	while (a->n_batch > 0 && !is_given_up(a)) {
		reopen(a);
		if (send_batch(a))
			a->give_up_us = 0; /* it moves */
		else
			audit_switch(a);
	}
}

static size_t count_left(const struct audit *a)
{
	size_t left = a->n_batch - a->n_done;

	for (unsigned i = 0; i < a->n_queues; i++)
		left += atomic_load(&a->queues[i]->head) - atomic_load(&a->queues[i]->tail);
	return left;
}

static void run(struct audit *a)
{
	bool was_busy = false;

	for (;;) {
		bool is_stopping = atomic_load(&a->is_stopping);

		reopen(a);
		collect(a);
		if (a->n_batch > 0) {
			audit_render(a);
			send_all(a);
			was_busy = true;
			if (is_given_up(a))
				return;
			audit_switch(a);
		} else if (atomic_load(&a->next) != NULL) {
			audit_switch(a);
		} else if (is_stopping) {
			return;
		} else if (was_busy) {
			wait_for(a, false, NAP_MS * US_PER_MS);
			was_busy = false;
		} else {
			sleep_until_woken(a);
		}
	}
}

void *audit_writer(void *arg)
{
	struct audit *a = arg;
	const uint64_t one = 1;
	size_t left;

	OBJ_CHECK(a, AUDIT_MAGIC);
	run(a);
	if (a->sink.kind != SINK_NONE)
		audit_say(a, "stopped", 0);
	audit_render(a);
	send_all(a);
	left = count_left(a);
	if (left > 0)
		log_warning("audit: %zu events could not be written to %s in time", left, a->file);
	while (write(a->done_fd, &one, sizeof(one)) < 0)
		MUST_SYS(errno == EINTR);
	return NULL;
}
