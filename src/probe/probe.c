/* The probe: a thread with an event loop of its own for what goes on beside the clients. It keeps
 * the keys (keeper.c), watches the paths (watch.c), lists the tenants (lister.c) and reads what
 * functions there are (catalog.c).
 *
 *   worker: probe_await_keys ─ letter ─► on_keys_letter ─► keeper_order … ─ order ─► worker
 *
 * An order's own mail carries the answer, so the way here is made in a letter that wraps it.
 * Everything behind `box` belongs to the probe's thread while that runs, before and after it to the
 * caller. Each order is answered exactly once. */
#include <event2/event.h>
#include <pthread.h>
#include <signal.h>

#include "base/assert.h"
#include "base/mem.h"
#include "probe/probe_int.h"

#define PROBE_MAGIC 0x50524f42u /* PROB */

struct probe {
	uint32_t magic;
	bool is_started, is_running;
	pthread_t thread;
	struct event_base *base;
	struct mailbox *box;
	struct keeper *keeper;
	struct watch *watch; /* NULL: nothing is watched */
	struct watch_config watch_config;
	struct lister *lister;         /* NULL: there is no directory_query */
	struct cataloguer *cataloguer; /* NULL: there is no probe_role */
};

struct keys_letter {
	struct mail mail;
	struct keys_order *order;
};

static void on_keys_letter(struct mail *mail, void *owner)
{
	struct keys_letter *letter = CONTAINER_OF(mail, struct keys_letter, mail);
	struct keys_order *order = letter->order;
	struct probe *p = owner;

	OBJ_CHECK(p, PROBE_MAGIC);
	mem_free(letter);
	keeper_order(p->keeper, order);
}

struct conf_letter {
	struct mail mail;
	struct probe_conf_order *order;
};

static void on_conf_letter(struct mail *mail, void *owner)
{
	struct conf_letter *letter = CONTAINER_OF(mail, struct conf_letter, mail);
	struct probe_conf_order *order = letter->order;
	struct probe *p = owner;

	OBJ_CHECK(p, PROBE_MAGIC);
	mem_free(letter);
	keeper_set_conf(p->keeper, order->conf);
	mailbox_post(order->reply_to, &order->mail);
}

static void on_refresh_letter(struct mail *mail, void *owner)
{
	struct probe *p = owner;

	OBJ_CHECK(p, PROBE_MAGIC);
	mem_free(mail);
	keeper_refresh(p->keeper);
}

static void on_stop_letter(struct mail *mail, void *owner)
{
	struct probe *p = owner;

	OBJ_CHECK(p, PROBE_MAGIC);
	mem_free(mail);
	event_base_loopbreak(p->base);
}

static void post_bare(struct probe *p, void (*deliver)(struct mail *mail, void *owner))
{
	struct mail *mail = mem_zalloc(sizeof(*mail));

	OBJ_CHECK(p, PROBE_MAGIC);
	mail->deliver = deliver;
	mailbox_post(p->box, mail);
}

void probe_await_keys(struct probe *p, struct keys_order *order)
{
	struct keys_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(order->reply_to != NULL && order->mail.deliver != NULL);
	letter->mail.deliver = on_keys_letter;
	letter->order = order;
	mailbox_post(p->box, &letter->mail);
}

void probe_set_conf(struct probe *p, struct probe_conf_order *order)
{
	struct conf_letter *letter = mem_zalloc(sizeof(*letter));

	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(order->reply_to != NULL && order->mail.deliver != NULL);
	letter->mail.deliver = on_conf_letter;
	letter->order = order;
	mailbox_post(p->box, &letter->mail);
}

void probe_refresh_keys(struct probe *p)
{
	post_bare(p, on_refresh_letter);
}

struct auth_keys *probe_keys(const struct probe *p)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(!p->is_started);
	return keeper_keys(p->keeper);
}

void probe_keys_stats(const struct probe *p, struct probe_keys_stats *out)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	keeper_stats(p->keeper, out);
}

static void *probe_main(void *arg)
{
	struct probe *p = arg;

	OBJ_CHECK(p, PROBE_MAGIC);
	(void)pthread_setname_np(pthread_self(), "probe");
	event_base_loop(p->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

struct probe *probe_new(struct conf *conf, char *err, size_t err_size)
{
	struct probe *p = mem_zalloc(sizeof(*p));

	OBJ_INIT(p, PROBE_MAGIC);
	p->base = event_base_new();
	MUST_SYS(p->base != NULL);
	p->box = mailbox_new(p->base, p);
	p->keeper = keeper_new(p->base, conf, err, err_size);
	if (p->keeper == NULL)
		probe_free(&p);
	return p;
}

void probe_start(struct probe *p, probe_keys_fn *on_keys, void *arg)
{
	sigset_t all, old;

	OBJ_CHECK(p, PROBE_MAGIC);
	keeper_start(p->keeper, on_keys, arg);
	if (p->watch != NULL)
		watch_start(p->watch);
	if (p->lister != NULL)
		lister_start(p->lister);
	if (p->cataloguer != NULL)
		cataloguer_start(p->cataloguer);
	p->is_started = p->is_running = true;
	/* Signals are the main thread's; this one and libcurl's helpers inherit the mask. */
	sigfillset(&all);
	MUST(pthread_sigmask(SIG_SETMASK, &all, &old) == 0);
	MUST(pthread_create(&p->thread, NULL, probe_main, p) == 0);
	MUST(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
}

void probe_watch(struct probe *p, struct conf *conf, struct dialer *dialer, struct fresh *fresh,
                 struct audit_queue *audit)
{
	struct watch_config config = {.base = p->base,
	                              .dialer = dialer,
	                              .box = p->box,
	                              .conf = conf,
	                              .fresh = fresh,
	                              .audit = audit};

	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(!p->is_started && p->watch == NULL);
	p->watch_config = config;
	p->watch = watch_new(&config);
}

void probe_on_roles(struct probe *p, probe_roles_fn *on_roles, void *arg)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(!p->is_started && p->watch != NULL);
	watch_on_roles(p->watch, on_roles, arg);
}

void probe_list_tenants(struct probe *p, probe_directory_fn *on_directory, void *arg)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(!p->is_started && p->watch != NULL && p->lister == NULL);
	p->lister = lister_new(&p->watch_config, on_directory, arg);
}

void probe_list_functions(struct probe *p, probe_catalog_fn *on_catalog, void *arg)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	MUST(!p->is_started && p->watch != NULL && p->cataloguer == NULL);
	p->cataloguer = cataloguer_new(&p->watch_config, on_catalog, arg);
}

void probe_stop(struct probe *p)
{
	OBJ_CHECK(p, PROBE_MAGIC);
	if (p->is_running) {
		post_bare(p, on_stop_letter);
		MUST(pthread_join(p->thread, NULL) == 0);
	}
	p->is_running = false;
	if (p->watch != NULL)
		watch_close(p->watch);
	if (p->lister != NULL)
		lister_close(p->lister);
	if (p->cataloguer != NULL)
		cataloguer_close(p->cataloguer);
}

void probe_free(struct probe **pp)
{
	struct probe *p = *pp;

	*pp = NULL;
	OBJ_CHECK(p, PROBE_MAGIC);
	probe_stop(p);
	if (p->keeper != NULL)
		keeper_close(p->keeper);
	mailbox_free(&p->box); /* delivers what is left: orders, which a closed keeper answers, and
	                         * the dialer's answers, which a closed watch drops */
	if (p->keeper != NULL)
		keeper_free(&p->keeper);
	if (p->watch != NULL)
		watch_free(&p->watch);
	if (p->lister != NULL)
		lister_free(&p->lister);
	if (p->cataloguer != NULL)
		cataloguer_free(&p->cataloguer);
	event_base_free(p->base);
	OBJ_FINI(p, PROBE_MAGIC);
	mem_free(p);
}
