/* Mailboxes: order, wake-ups, the end, and several threads posting at once (run it under
 * -fsanitize=thread as well). */
#include "net_test.h"

#include <poll.h>
#include <pthread.h>

#define POSTERS 4
#define LETTERS 20000

struct letter {
	struct mail mail;
	int poster, number;
	void (*then)(void *owner);
};

struct reader {
	struct event_base *base;
	struct mailbox *box;
	int next[POSTERS]; /* the number expected of each */
	int got;
};

static void on_letter(struct mail *mail, void *owner)
{
	struct letter *l = CONTAINER_OF(mail, struct letter, mail);
	struct reader *r = owner;

	assert_int_equal(l->number, r->next[l->poster]);
	r->next[l->poster]++;
	r->got++;
	if (l->then != NULL)
		l->then(r);
	if (r->got == POSTERS * LETTERS)
		event_base_loopbreak(r->base);
	mem_free(l);
}

static void post(struct mailbox *box, int poster, int number, void (*then)(void *owner))
{
	struct letter *l = mem_zalloc(sizeof(*l));

	l->mail.deliver = on_letter;
	l->poster = poster;
	l->number = number;
	l->then = then;
	mailbox_post(box, &l->mail);
}

static void open_reader(struct reader *r)
{
	memset(r, 0, sizeof(*r));
	r->base = event_base_new();
	r->box = mailbox_new(r->base, r);
}

static void close_reader(struct reader *r)
{
	mailbox_free(&r->box);
	assert_null(r->box);
	event_base_free(r->base);
}

static void test_order_of_one_sender(void **state)
{
	struct reader r;

	(void)state;
	open_reader(&r);
	event_base_loop(r.base, EVLOOP_NONBLOCK);
	for (int i = 0; i < 10; i++)
		post(r.box, 0, i, NULL);
	assert_int_equal(r.got, 0);
	event_base_loop(r.base, EVLOOP_NONBLOCK);
	assert_int_equal(r.got, 10);
	/* Again, after the first edge was used up. */
	post(r.box, 0, 10, NULL);
	event_base_loop(r.base, EVLOOP_NONBLOCK);
	assert_int_equal(r.got, 11);
	close_reader(&r);
}

static void post_another(void *owner)
{
	struct reader *r = owner;

	post(r->box, 0, r->next[0], NULL);
}

static void test_letter_posted_by_a_delivery(void **state)
{
	struct reader r;

	(void)state;
	open_reader(&r);
	post(r.box, 0, 0, post_another);
	for (int i = 0; i < 3; i++)
		event_base_loop(r.base, EVLOOP_NONBLOCK);
	assert_int_equal(r.got, 2);
	close_reader(&r);
}

static void test_free_delivers_the_rest(void **state)
{
	struct reader r;

	(void)state;
	open_reader(&r);
	for (int i = 0; i < 5; i++)
		post(r.box, 0, i, i == 4 ? post_another : NULL);
	close_reader(&r);
	assert_int_equal(r.got, 6);
}

struct poster {
	struct reader *to;
	int number;
};

static void *poster_main(void *arg)
{
	struct poster *p = arg;

	for (int i = 0; i < LETTERS; i++) {
		post(p->to->box, p->number, i, NULL);
		/* Now and then the reader shall find the box empty. */
		if (i % 1000 == 0)
			sleep_ms(1);
	}
	return NULL;
}

static void test_many_threads(void **state)
{
	struct timeval limit = {60, 0};
	struct poster posters[POSTERS];
	pthread_t threads[POSTERS];
	struct reader r;

	(void)state;
	open_reader(&r);
	for (int i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){&r, i};
		assert_int_equal(pthread_create(&threads[i], NULL, poster_main, &posters[i]), 0);
	}
	event_base_loopexit(r.base, &limit);
	event_base_dispatch(r.base);
	for (int i = 0; i < POSTERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(r.got, POSTERS * LETTERS);
	close_reader(&r);
}

/* A ping-pong between two threads: each lost wake-up would stop it. */
#define VOLLEYS 20000

struct player {
	struct event_base *base;
	struct mailbox *box;
	struct player *other;
	bool begins; /* so the other has the last hit */
	int hits;
};

static void on_ball(struct mail *ball, void *owner)
{
	struct player *p = owner;

	if (++p->hits == VOLLEYS)
		event_base_loopbreak(p->base);
	if (p->hits < VOLLEYS || p->begins)
		mailbox_post(p->other->box, ball);
}

static void *player_main(void *arg)
{
	struct timeval limit = {60, 0};
	struct player *p = arg;

	event_base_loopexit(p->base, &limit);
	event_base_dispatch(p->base);
	return NULL;
}

static void test_no_wake_up_is_lost(void **state)
{
	struct mail ball = {.deliver = on_ball};
	struct player players[2];
	pthread_t thread;

	(void)state;
	for (int i = 0; i < 2; i++) {
		players[i].base = event_base_new();
		players[i].box = mailbox_new(players[i].base, &players[i]);
		players[i].other = &players[1 - i];
		players[i].begins = i == 0;
		players[i].hits = 0;
	}
	assert_int_equal(pthread_create(&thread, NULL, player_main, &players[1]), 0);
	mailbox_post(players[0].box, &ball);
	player_main(&players[0]);
	pthread_join(thread, NULL);
	assert_int_equal(players[0].hits, VOLLEYS);
	assert_int_equal(players[1].hits, VOLLEYS);
	for (int i = 0; i < 2; i++) {
		mailbox_free(&players[i].box);
		event_base_free(players[i].base);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order_of_one_sender),
		cmocka_unit_test(test_letter_posted_by_a_delivery),
		cmocka_unit_test(test_free_delivers_the_rest),
		cmocka_unit_test(test_many_threads),
		cmocka_unit_test(test_no_wake_up_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
