/* Cancel requests whose process id is another process's, passed on to it: the way from a worker to
 * the dialer's thread (probe/peer.c) and back. On the worker's thread; the asker's connection stays
 * open until the peer has taken the request, as it does for our own workers' cancels. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "worker/worker_int.h"

#define FORWARD_LOG_US (10 * US_PER_S)

struct forward {
	struct peer_cancel order;
	struct session_env *session;
	struct conf *conf; /* holds the peer's section */
	uint32_t asker;
};

static void on_forwarded(struct mail *mail, void *owner)
{
	struct forward *f = CONTAINER_OF(mail, struct forward, order.mail);

	(void)owner;
	session_cancel_done(f->session, f->asker);
	conf_put(&f->conf);
	mem_free(f);
}

/* A made-up key, or a peer that we are not told of. */
static void drop(struct forwarder *from, int id)
{
	int64_t now_us = clock_mono_us();

	if (from->logged_us != 0 && now_us - from->logged_us < FORWARD_LOG_US)
		return;
	from->logged_us = now_us;
	log_warning("a cancel request was dropped: there is no [peer %d]", id);
}

bool forward_is_wanted(const struct forwarder *from, uint32_t pid)
{
	int own = from->conf->pgusher.peer_id;

	return own != 0 && session_pid_peer(pid) != own;
}

bool forward_cancel(struct forwarder *from, uint32_t asker, const struct wire_cancel *cancel)
{
	int id = session_pid_peer(cancel->pid);
	const struct conf_peer *peer = conf_find_peer(from->conf, id);
	struct forward *f;

	if (peer == NULL || (cancel->pid & SESSION_PID_FORWARDED)) {
		drop(from, id);
		return true;
	}
	f = mem_zalloc(sizeof(*f));
	f->session = from->session;
	f->conf = conf_get(from->conf);
	f->asker = asker;
	f->order.mail.deliver = on_forwarded;
	f->order.reply_to = from->mailbox;
	f->order.peer = peer;
	f->order.cancel = *cancel;
	f->order.cancel.pid |= SESSION_PID_FORWARDED;
	f->order.timeout_us = from->conf->pgusher.cancel_wait_timeout;
	dialer_peer_cancel(from->dialer, &f->order);
	return false;
}
