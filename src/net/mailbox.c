/* Mailboxes: how threads talk. Any thread posts, by one compare-and-swap on the head of a
 * stack; the owner's thread swaps the whole stack out, turns it round and delivers.
 *
 * The eventfd is written only when the box was empty, so a busy box costs no system call. It is
 * registered edge-triggered and never read: each write is an edge, and the counter would take
 * centuries to fill.
 *
 * What must hold: a letter pushed onto an empty box is followed by a write, and the owner swaps
 * only after being woken; so whoever finds the box not empty may rely on a wake-up that has not
 * been answered yet. */
#include <errno.h>
#include <event2/event.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/mem.h"
#include "net.h"

#define MAILBOX_MAGIC 0x3a11b0c5u

struct mailbox {
	uint32_t magic;
	int wake_fd;
	void *owner;
	bool is_delivering;
	struct event event;
	_Atomic(struct mail *) newest;
};

void mailbox_post(struct mailbox *box, struct mail *mail)
{
	const uint64_t one = 1;
	struct mail *before;

	OBJ_CHECK(box, MAILBOX_MAGIC);
	MUST(mail->deliver != NULL);
	before = atomic_load_explicit(&box->newest, memory_order_relaxed);
	do {
		mail->next = before;
	} while (!atomic_compare_exchange_weak_explicit(
		&box->newest, &before, mail, memory_order_release, memory_order_relaxed));
	if (before != NULL)
		return;
	while (write(box->wake_fd, &one, sizeof(one)) < 0)
		MUST_SYS(errno == EINTR);
}

/* False when the box was empty. */
static bool mailbox_drain(struct mailbox *box)
{
	struct mail *mail, *next, *oldest = NULL;

	mail = atomic_exchange_explicit(&box->newest, NULL, memory_order_acquire);
	if (mail == NULL)
		return false;
	for (; mail != NULL; mail = next) {
		next = mail->next;
		mail->next = oldest;
		oldest = mail;
	}
	box->is_delivering = true;
	for (mail = oldest; mail != NULL; mail = next) {
		next = mail->next;
		mail->deliver(mail, box->owner);
	}
	box->is_delivering = false;
	return true;
}

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct mailbox *box = arg;

	(void)fd, (void)what;
	OBJ_CHECK(box, MAILBOX_MAGIC);
	(void)mailbox_drain(box);
}

struct mailbox *mailbox_new(struct event_base *base, void *owner)
{
	struct mailbox *box = mem_zalloc(sizeof(*box));

	OBJ_INIT(box, MAILBOX_MAGIC);
	box->owner = owner;
	atomic_init(&box->newest, NULL);
	box->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	MUST_SYS(box->wake_fd >= 0);
	MUST(event_assign(&box->event, base, box->wake_fd, EV_READ | EV_ET | EV_PERSIST, on_mail,
	                  box) == 0);
	MUST_SYS(event_add(&box->event, NULL) == 0);
	return box;
}

void mailbox_free(struct mailbox **boxp)
{
	struct mailbox *box = *boxp;

	OBJ_CHECK(box, MAILBOX_MAGIC);
	MUST(!box->is_delivering);
	MUST_SYS(event_del(&box->event) == 0);
	while (mailbox_drain(box))
		;
	/* Not before: the last deliveries may still post here. */
	*boxp = NULL;
	close(box->wake_fd);
	OBJ_FINI(box, MAILBOX_MAGIC);
	mem_free(box);
}
