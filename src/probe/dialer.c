/* The dialer: a thread with an event loop of its own, on which everything of libpq that may
 * block or costs milliseconds happens (name look-ups, TLS handshakes, SCRAM), so that no
 * worker ever waits for it.
 *
 *   worker: dialer_dial ─ letter ─► on_dial_letter ─► dial_begin … dial.c ─ order ─► worker
 *   worker: dialer_cancel ─ letter ─► on_cancel_letter ─► cancels_add … ─ order ─► worker
 *   worker: dialer_peer_cancel ─ letter ─► on_peer_letter ─► peers_add … ─ order ─► worker
 *
 * An order's own mail carries the answer, so the way here is made in a letter that wraps it.
 * Everything behind `box` belongs to the dialer's thread; after dialer_free has joined that,
 * to the caller of dialer_free. Each order is answered exactly once. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "probe/probe_int.h"

#define DIALER_MAGIC 0x4449414cu /* DIAL */

struct dialer {
	uint32_t magic;
	bool is_stopping; /* the thread has ended: orders still in the box are refused */
	pthread_t thread;
	struct event_base *base;
	struct mailbox *box;
	struct list attempts;
	struct cancels *cancels;
	struct peers *peers;
};

struct dial_letter {
	struct mail mail;
	struct dial *order;
};

struct cancel_letter {
	struct mail mail;
	struct cancel_order *order;
};

struct peer_letter {
	struct mail mail;
	struct peer_cancel *order;
};

static void on_dial_letter(struct mail *mail, void *owner)
{
	struct dial_letter *letter = CONTAINER_OF(mail, struct dial_letter, mail);
	struct dial *order = letter->order;
	struct dialer *d = owner;

	OBJ_CHECK(d, DIALER_MAGIC);
	mem_free(letter);
	if (d->is_stopping)
		dial_refuse(order);
	else
		dial_begin(order, d->base, &d->attempts);
}

static void on_cancel_letter(struct mail *mail, void *owner)
{
	struct cancel_letter *letter = CONTAINER_OF(mail, struct cancel_letter, mail);
	struct cancel_order *order = letter->order;
	struct dialer *d = owner;

	OBJ_CHECK(d, DIALER_MAGIC);
	mem_free(letter);
	cancels_add(d->cancels, order);
}

static void on_peer_letter(struct mail *mail, void *owner)
{
	struct peer_letter *letter = CONTAINER_OF(mail, struct peer_letter, mail);
	struct peer_cancel *order = letter->order;
	struct dialer *d = owner;

	OBJ_CHECK(d, DIALER_MAGIC);
	mem_free(letter);
	peers_add(d->peers, order);
}

static void on_stop_letter(struct mail *mail, void *owner)
{
	struct dialer *d = owner;

	OBJ_CHECK(d, DIALER_MAGIC);
	mem_free(mail);
	event_base_loopbreak(d->base);
}

/* libpq fills what it is not told from the environment, and sends some variables (PGTZ,
 * PGDATESTYLE, PGGEQO) or obeys them (PGSERVICE) whatever it is told. What our own
 * connections look like is for the ini file alone to say. */
static void environment_forget_pg(void)
{
	char name[256];
	char **var = environ;

	while (var != NULL && *var != NULL) {
		const char *equals = strchr(*var, '=');
		size_t len = equals == NULL ? 0 : (size_t)(equals - *var);

		if (strncmp(*var, "PG", 2) != 0 || strncmp(*var, "PGUSHER", 7) == 0 || len < 2 ||
		    len >= sizeof(name)) {
			var++;
			continue;
		}
		memcpy(name, *var, len);
		name[len] = '\0';
		MUST_SYS(unsetenv(name) == 0);
		var = environ; /* unsetenv moves the entries */
	}
}

static void *dialer_main(void *arg)
{
	struct dialer *d = arg;

	OBJ_CHECK(d, DIALER_MAGIC);
	(void)pthread_setname_np(pthread_self(), "dialer");
	event_base_loop(d->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

struct dialer *dialer_new(void)
{
	struct dialer *d = mem_zalloc(sizeof(*d));
	sigset_t all, old;

	environment_forget_pg();
	OBJ_INIT(d, DIALER_MAGIC);
	list_init(&d->attempts);
	d->base = event_base_new();
	MUST_SYS(d->base != NULL);
	d->box = mailbox_new(d->base, d);
	d->cancels = cancels_new(d->base, d->box);
	d->peers = peers_new(d->base);
	/* Signals are the main thread's; this one and the helpers it starts inherit the mask. */
	sigfillset(&all);
	MUST(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
	MUST(pthread_create(&d->thread, NULL, dialer_main, d) == 0);
	MUST(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
	return d;
}

void dialer_dial(struct dialer *d, struct dial *order)
{
	struct dial_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(d, DIALER_MAGIC);
	MUST(order->reply_to != NULL && order->mail.deliver != NULL);
	letter->mail.deliver = on_dial_letter;
	letter->order = order;
	mailbox_post(d->box, &letter->mail);
}

void dialer_cancel(struct dialer *d, struct cancel_order *order)
{
	struct cancel_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(d, DIALER_MAGIC);
	MUST(order->reply_to != NULL && order->mail.deliver != NULL);
	letter->mail.deliver = on_cancel_letter;
	letter->order = order;
	mailbox_post(d->box, &letter->mail);
}

void dialer_peer_cancel(struct dialer *d, struct peer_cancel *order)
{
	struct peer_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(d, DIALER_MAGIC);
	MUST(order->reply_to != NULL && order->mail.deliver != NULL);
	letter->mail.deliver = on_peer_letter;
	letter->order = order;
	mailbox_post(d->box, &letter->mail);
}

void dialer_free(struct dialer **dp)
{
	struct dialer *d = *dp;
	struct mail *stop = mem_zalloc(sizeof(*stop));

	OBJ_CHECK(d, DIALER_MAGIC);
	*dp = NULL;
	stop->deliver = on_stop_letter;
	mailbox_post(d->box, stop);
	MUST(pthread_join(d->thread, NULL) == 0);
	d->is_stopping = true;
	dial_end_all(&d->attempts);
	cancels_close(d->cancels);
	peers_close(d->peers);
	mailbox_free(&d->box); /* delivers what is left: orders to refuse, couriers to forget */
	cancels_free(&d->cancels);
	peers_free(&d->peers);
	event_base_free(d->base);
	OBJ_FINI(d, DIALER_MAGIC);
	mem_free(d);
}
