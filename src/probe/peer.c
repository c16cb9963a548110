/* Cancel requests for the clients of another PgUsher (its peer), which came to us because the
 * kernel, or a load balancer, deals connections out and knows nothing of whose they are. On the
 * dialer's thread only, and non-blocking: a host is an address or a directory, no name.
 *
 *   peers_add ─► waiting ─► job_start: connect ─► job_send ─► the peer closes: answered
 *
 * What must hold: nobody can make many of one. A request is passed on once at most (its process
 * id is marked, see include/session.h), and costs one connection to the peer. Not more than
 * PEER_JOBS_MAX are under way to a peer, so that one that is dead keeps no other from its cancels,
 * and not more than PEER_WAITING_MAX wait for it, for their askers may have gone. Whatever fails is
 * dropped: the key may have been made up. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event_struct.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf.h"
#include "probe/probe_int.h"
#include "wire.h"

#define PEERS_MAGIC 0x50454552u /* PEER */

#define PEER_IDS 128
#define PEER_JOBS_MAX 64 /* under way to one peer; more wait */
#define PEER_WAITING_MAX 10000
#define PEER_TIMEOUT_US (60 * US_PER_S)
#define PEER_RETRY_MS 20 /* a unix socket's queue is full: nothing tells when it is not */
#define PEER_LOG_US (10 * US_PER_S)

struct peers {
	uint32_t magic;
	bool is_closed;
	struct event_base *base;
	struct list waiting[PEER_IDS], sent[PEER_IDS];
	unsigned n_sent[PEER_IDS], n_waiting[PEER_IDS];
	/* Once in a while the log has the newest failure and the number of those before it. */
	int64_t logged_us;
	unsigned n_unlogged;
};

struct peer_job {
	struct list link;
	struct peers *peers;
	struct peer_cancel *order;
	int id;
	int fd; /* -1: waits for its turn, or to try again */
	bool is_waiting, is_sent;
	struct event io, timeout;
};

/* ---- ends --------------------------------------------------------------------------------- */

static void job_log(struct peer_job *job, const char *why)
{
	struct peers *peers = job->peers;
	int64_t now_us = clock_mono_us();

	if (peers->logged_us != 0 && now_us - peers->logged_us < PEER_LOG_US) {
		peers->n_unlogged++;
		return;
	}
	log_warning("a cancel request for peer %d was dropped: %s (%u more before it)", job->id,
	            why, peers->n_unlogged);
	peers->logged_us = now_us;
	peers->n_unlogged = 0;
}

/* why NULL: it was delivered. */
static void job_end(struct peer_job *job, const char *why)
{
	struct peer_cancel *order = job->order;

	if (why != NULL)
		job_log(job, why);
	event_del(&job->io);
	event_del(&job->timeout);
	if (job->fd >= 0)
		close(job->fd);
	list_remove(&job->link);
	job->peers->n_waiting[job->id] -= job->is_waiting;
	mem_free(job);
	order->ok = why == NULL;
	mailbox_post(order->reply_to, &order->mail);
}

/* The end of one that was under way. The caller lets the next one have its turn. */
static void job_done(struct peer_job *job, const char *why)
{
	job->peers->n_sent[job->id]--;
	job_end(job, why);
}

/* ---- one request -------------------------------------------------------------------------- */

/* 0 or errno, as connect_tcp. */
static int connect_unix(struct peer_job *job)
{
	const struct conf_peer *peer = job->order->peer;
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int len = snprintf(to.sun_path, sizeof(to.sun_path), "%s/.s.PGSQL.%u", peer->host,
	                   (unsigned)peer->port);

	if (len < 0 || (size_t)len >= sizeof(to.sun_path))
		return ENAMETOOLONG;
	job->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (job->fd >= 0 && connect(job->fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return 0;
	return errno;
}

/* The first address is taken: a process that several names lead to is not meant here. */
static int connect_tcp(struct peer_job *job)
{
	const struct conf_peer *peer = job->order->peer;
	struct addrinfo hints = {.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST,
	                         .ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	char service[8];
	int code = 0;

	snprintf(service, sizeof(service), "%u", (unsigned)peer->port);
	if (getaddrinfo(peer->host, service, &hints, &list) != 0)
		return EHOSTUNREACH;
	job->fd = socket(list->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (job->fd < 0 || connect(job->fd, list->ai_addr, list->ai_addrlen) != 0)
		code = errno == EINPROGRESS ? 0 : errno;
	freeaddrinfo(list);
	return code;
}

static void on_job_io(evutil_socket_t fd, short what, void *arg);

static void job_watch(struct peer_job *job, short what)
{
	/* It was a timer, or waited for the connection. */
	event_del(&job->io);
	MUST(event_assign(&job->io, job->peers->base, job->fd, what | EV_PERSIST, on_job_io, job) ==
	     0);
	MUST_SYS(event_add(&job->io, NULL) == 0);
}

/* CancelRequest (55.7). A fresh socket takes so few bytes, or is broken. */
static const char *job_send(struct peer_job *job, bool *is_over)
{
	struct buf packet = {0};
	int error = 0;
	bool is_taken;
	socklen_t len = sizeof(error);

	*is_over = true;
	if (getsockopt(job->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
		return strerror(error != 0 ? error : errno);
	wire_put_cancel(&packet, &job->order->cancel);
	is_taken = send(job->fd, packet.data, packet.len, MSG_NOSIGNAL) == (ssize_t)packet.len;
	buf_fini(&packet);
	if (!is_taken)
		return "it takes no bytes";
	job->is_sent = true;
	*is_over = false;
	job_watch(job, EV_READ);
	return NULL;
}

/* Whatever the peer says, it is over when it closes. */
static const char *job_receive(struct peer_job *job, bool *is_over)
{
	char said[512];
	ssize_t n = recv(job->fd, said, sizeof(said), 0);

	*is_over = n <= 0 && !(n < 0 && (errno == EAGAIN || errno == EINTR));
	return n < 0 ? strerror(errno) : NULL;
}

static void job_start(struct peer_job *job)
{
	static const struct timeval pause = {0, PEER_RETRY_MS * 1000};
	int code = job->order->peer->host[0] == '/' ? connect_unix(job) : connect_tcp(job);

	if (code == 0) {
		job_watch(job, EV_WRITE);
	} else if (code == EAGAIN && job->fd >= 0) {
		close(job->fd);
		job->fd = -1;
		MUST_SYS(event_add(&job->io, &pause) == 0);
	} else {
		job_done(job, strerror(code));
	}
}

/* ---- all of them --------------------------------------------------------------------------- */

static void peers_send(struct peers *peers, int id)
{
	struct list *link;

	while (peers->n_sent[id] < PEER_JOBS_MAX &&
	       (link = list_pop_front(&peers->waiting[id])) != NULL) {
		list_push_back(&peers->sent[id], link);
		peers->n_sent[id]++;
		peers->n_waiting[id]--;
		LIST_MEMBER(link, struct peer_job, link)->is_waiting = false;
		job_start(LIST_MEMBER(link, struct peer_job, link));
	}
}

static void on_job_io(evutil_socket_t fd, short what, void *arg)
{
	struct peer_job *job = arg;
	struct peers *peers = job->peers;
	bool is_over = false;
	const char *why;
	int id = job->id;

	(void)fd, (void)what;
	if (job->fd < 0) {
		job_start(job);
	} else {
		why = job->is_sent ? job_receive(job, &is_over) : job_send(job, &is_over);
		if (is_over)
			job_done(job, why);
	}
	peers_send(peers, id);
}

static void on_job_timeout(evutil_socket_t fd, short what, void *arg)
{
	struct peer_job *job = arg;
	struct peers *peers = job->peers;
	int id = job->id;

	(void)fd, (void)what;
	if (job->is_waiting)
		job_end(job, "timeout");
	else
		job_done(job, "timeout");
	peers_send(peers, id);
}

void peers_add(struct peers *peers, struct peer_cancel *order)
{
	int64_t limit_us = order->timeout_us > 0 && order->timeout_us < PEER_TIMEOUT_US
	                           ? order->timeout_us
	                           : PEER_TIMEOUT_US;
	struct timeval limit = {(time_t)(limit_us / US_PER_S), (suseconds_t)(limit_us % US_PER_S)};
	struct peer_job *job;

	OBJ_CHECK(peers, PEERS_MAGIC);
	MUST(order->peer->id > 0 && order->peer->id < PEER_IDS);
	if (peers->is_closed || peers->n_waiting[order->peer->id] >= PEER_WAITING_MAX) {
		order->ok = false;
		mailbox_post(order->reply_to, &order->mail);
		return;
	}
	job = mem_zalloc(sizeof(*job));
	job->peers = peers;
	job->order = order;
	job->id = order->peer->id;
	job->fd = -1;
	job->is_waiting = true;
	peers->n_waiting[job->id]++;
	list_push_back(&peers->waiting[job->id], &job->link);
	MUST(evtimer_assign(&job->io, peers->base, on_job_io, job) == 0);
	MUST(evtimer_assign(&job->timeout, peers->base, on_job_timeout, job) == 0);
	MUST_SYS(evtimer_add(&job->timeout, &limit) == 0);
	peers_send(peers, job->id);
}

struct peers *peers_new(struct event_base *base)
{
	struct peers *peers = mem_zalloc(sizeof(*peers));

	OBJ_INIT(peers, PEERS_MAGIC);
	peers->base = base;
	for (int id = 0; id < PEER_IDS; id++) {
		list_init(&peers->waiting[id]);
		list_init(&peers->sent[id]);
	}
	return peers;
}

void peers_close(struct peers *peers)
{
	struct peer_job *job;

	OBJ_CHECK(peers, PEERS_MAGIC);
	peers->is_closed = true;
	for (int id = 0; id < PEER_IDS; id++) {
		while ((job = LIST_FIRST(&peers->waiting[id], struct peer_job, link)) != NULL)
			job_end(job, "PgUsher is ending");
		while ((job = LIST_FIRST(&peers->sent[id], struct peer_job, link)) != NULL)
			job_done(job, "PgUsher is ending");
	}
}

void peers_free(struct peers **pp)
{
	struct peers *peers = *pp;

	OBJ_CHECK(peers, PEERS_MAGIC);
	MUST(peers->is_closed);
	*pp = NULL;
	OBJ_FINI(peers, PEERS_MAGIC);
	mem_free(peers);
}
