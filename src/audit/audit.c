/* The audit log's life, and what others may see of it. On the main thread; audit_latest and
 * audit_counts from any. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "audit_int.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"

/* Records of one queue: at 500 bytes each, 2 MB a worker, touched as they are used. */
#define QUEUE_RECORDS 4096
#define STOP_TIMEOUT_MS 5000

static void audit_release(struct audit *a)
{
	struct audit_change *next;

	for (unsigned i = 0; i < a->n_queues; i++)
		audit_queue_free(&a->queues[i]);
	mem_free(a->queues);
	sink_close(&a->sink);
	next = atomic_load(&a->next);
	audit_change_free(&next);
	close(a->wake_fd);
	close(a->done_fd);
	buf_fini(&a->text);
	mem_free(a->file);
	mem_free(a->named);
	MUST(pthread_mutex_destroy(&a->latest_lock) == 0);
	OBJ_FINI(a, AUDIT_MAGIC);
	mem_free(a);
}

struct audit *audit_make(const char *file, uint32_t events, unsigned n_queues, uint32_t n_records)
{
	struct audit *a = mem_zalloc(sizeof(*a));

	OBJ_INIT(a, AUDIT_MAGIC);
	a->file = mem_strdup(file);
	a->named = mem_strdup(file);
	atomic_init(&a->events, events);
	a->events_told = events;
	a->n_queues = n_queues;
	a->queues = mem_zalloc(n_queues * sizeof(a->queues[0]));
	for (unsigned i = 0; i < n_queues; i++)
		a->queues[i] = audit_queue_new(a, events, n_records);
	a->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	a->done_fd = eventfd(0, EFD_CLOEXEC);
	MUST_SYS(a->wake_fd >= 0 && a->done_fd >= 0);
	MUST(pthread_mutex_init(&a->latest_lock, NULL) == 0);
	sink_init(&a->sink, a->file);
	return a;
}

void audit_start(struct audit *a)
{
	MUST(pthread_create(&a->thread, NULL, audit_writer, a) == 0);
}

bool audit_new(const struct conf *conf, unsigned n_queues, struct audit **out, char *err,
               size_t err_size)
{
	struct audit *a = audit_make(conf->audit.file, audit_event_bits(&conf->audit), n_queues,
	                             QUEUE_RECORDS);

	*out = NULL;
	switch (audit_open(a, err, err_size)) {
	case SINK_FAILED:
		audit_release(a);
		return false;
	case SINK_LOCKED:
		log_warning("audit: %s; its end is waited for", err);
		break;
	case SINK_OPENED:
		break;
	}
	if (a->sink.kind != SINK_NONE)
		audit_say_events(a, "started");
	audit_render(a);
	audit_start(a);
	*out = a;
	return true;
}

struct audit_queue *audit_queue(struct audit *a, unsigned i)
{
	return a != NULL ? a->queues[i] : NULL;
}

void audit_reopen(struct audit *a)
{
	OBJ_CHECK(a, AUDIT_MAGIC);
	audit_order(a, &a->is_reopening);
}

/* A thread that hangs in a write (a dead network file system) is left behind, with all it has. */
void audit_free(struct audit **audit)
{
	struct audit *a = *audit;
	struct pollfd done;

	*audit = NULL;
	if (a == NULL)
		return;
	OBJ_CHECK(a, AUDIT_MAGIC);
	audit_order(a, &a->is_stopping);
	done = (struct pollfd){.fd = a->done_fd, .events = POLLIN};
	while (poll(&done, 1, STOP_TIMEOUT_MS) < 0 && errno == EINTR)
		;
	if (!(done.revents & POLLIN)) {
		log_warning("audit: writing to %s hangs, and is given up", a->named);
		return;
	}
	MUST(pthread_join(a->thread, NULL) == 0);
	audit_release(a);
}

struct audit_counts audit_counts(struct audit_queue *queue)
{
	struct audit *a = queue != NULL ? queue->audit : NULL;

	if (a == NULL)
		return (struct audit_counts){0};
	return (struct audit_counts){
		.written = atomic_load_explicit(&a->n_written, memory_order_relaxed),
		.dropped = atomic_load_explicit(&a->n_dropped, memory_order_relaxed),
	};
}

size_t audit_latest(struct audit_queue *queue, struct audit_record *out, size_t max)
{
	struct audit *a = queue != NULL ? queue->audit : NULL;
	uint64_t n;

	if (a == NULL)
		return 0;
	MUST(pthread_mutex_lock(&a->latest_lock) == 0);
	n = a->n_latest < AUDIT_LATEST ? a->n_latest : AUDIT_LATEST;
	n = n < max ? n : max;
	for (uint64_t i = 0; i < n; i++)
		out[i] = a->latest[(a->n_latest - n + i) % AUDIT_LATEST];
	MUST(pthread_mutex_unlock(&a->latest_lock) == 0);
	return (size_t)n;
}
