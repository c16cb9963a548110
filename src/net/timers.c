/* Timers of one worker: a hashed timing wheel. A timer hangs in the slot of the tick at which
 * it is due, counted from the clock's zero; one that is due in a later round stays in its slot
 * until due_us has come. Arming and cancelling are list operations, a tick looks at one slot:
 * right for timeouts, of which nearly all are cancelled.
 *
 *   tick  = the clock / TIMER_TICK_MS, rounded down
 *   slot  = (due_us / TIMER_TICK_MS, rounded up) modulo TIMERS_SLOTS
 *   done  = the last tick whose slot was looked at; every armed timer hangs behind it
 *
 * The loop's timer runs only while any timer is armed: it is started by the first, and stops at
 * the first tick that finds none. */
#include <event2/event.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/mem.h"
#include "net.h"

#define TIMERS_MAGIC 0x71e5c10cu
#define TIMERS_SLOTS 512
#define TICK_US (TIMER_TICK_MS * US_PER_MS)
/* Far enough to be never, near enough not to overflow. */
#define TIMER_DELAY_MAX_US (INT64_MAX / 4)

struct timers {
	uint32_t magic;
	uint32_t n_armed;
	int64_t done;
	bool has_loop, is_ticking, is_firing;
	struct event tick_event;
	struct list slots[TIMERS_SLOTS];
};

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct timers *t = arg;

	(void)fd, (void)what;
	timers_run(t);
	if (t->n_armed > 0)
		return;
	MUST_SYS(event_del(&t->tick_event) == 0);
	t->is_ticking = false;
}

static void timers_start(struct timers *t)
{
	static const struct timeval tick = {0, TIMER_TICK_MS * 1000};

	if (!t->has_loop || t->is_ticking)
		return;
	MUST_SYS(event_add(&t->tick_event, &tick) == 0);
	t->is_ticking = true;
}

struct timers *timers_new(struct event_base *base)
{
	struct timers *t = mem_zalloc(sizeof(*t));

	OBJ_INIT(t, TIMERS_MAGIC);
	for (int i = 0; i < TIMERS_SLOTS; i++)
		list_init(&t->slots[i]);
	t->has_loop = base != NULL;
	if (t->has_loop)
		MUST(event_assign(&t->tick_event, base, -1, EV_PERSIST, on_tick, t) == 0);
	return t;
}

void timers_free(struct timers **tp)
{
	struct timers *t = *tp;

	*tp = NULL;
	OBJ_CHECK(t, TIMERS_MAGIC);
	MUST(!t->is_firing);
	for (int i = 0; i < TIMERS_SLOTS; i++) {
		while (list_pop_front(&t->slots[i]) != NULL)
			;
	}
	if (t->has_loop)
		MUST_SYS(event_del(&t->tick_event) == 0);
	OBJ_FINI(t, TIMERS_MAGIC);
	mem_free(t);
}

/* Moves what is due in the slots up to this tick to a list of its own: firing may arm and
 * cancel anything. */
static void timers_collect(struct timers *t, int64_t now_us, struct list *due)
{
	int64_t tick = now_us / TICK_US;
	int64_t from = tick - t->done > TIMERS_SLOTS ? tick - TIMERS_SLOTS : t->done;

	while (from < tick) {
		struct list *slot = &t->slots[++from % TIMERS_SLOTS];

		LIST_FOREACH(link, slot) {
			if (LIST_MEMBER(link, struct timer, link)->due_us > now_us)
				continue;
			list_remove(link);
			list_push_back(due, link);
		}
	}
	if (tick > t->done)
		t->done = tick;
}

void timers_run(struct timers *t)
{
	struct list due, *link;

	OBJ_CHECK(t, TIMERS_MAGIC);
	MUST(!t->is_firing);
	t->is_firing = true;
	list_init(&due);
	timers_collect(t, clock_mono_us(), &due);
	while ((link = list_pop_front(&due)) != NULL) {
		struct timer *timer = LIST_MEMBER(link, struct timer, link);

		t->n_armed--;
		timer->fire(timer);
	}
	t->is_firing = false;
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer))
{
	list_init(&timer->link);
	timer->due_us = 0;
	timer->fire = fire;
}

void timer_arm(struct timers *t, struct timer *timer, int64_t delay_us)
{
	int64_t now_us = clock_mono_us(), tick;

	OBJ_CHECK(t, TIMERS_MAGIC);
	timer_cancel(t, timer);
	if (delay_us < 0)
		delay_us = 0;
	if (delay_us > TIMER_DELAY_MAX_US)
		delay_us = TIMER_DELAY_MAX_US;
	timer->due_us = now_us + delay_us;
	tick = (timer->due_us + TICK_US - 1) / TICK_US;
	if (tick <= t->done)
		tick = t->done + 1;
	list_push_back(&t->slots[tick % TIMERS_SLOTS], &timer->link);
	t->n_armed++;
	timers_start(t);
}

void timer_cancel(struct timers *t, struct timer *timer)
{
	OBJ_CHECK(t, TIMERS_MAGIC);
	if (!timer_is_armed(timer))
		return;
	list_remove(&timer->link);
	t->n_armed--;
}

bool timer_is_armed(const struct timer *timer)
{
	return !list_is_empty(&timer->link);
}
