/* Lending servers between workers.
 *
 * A worker that has waiters shows whose turn is next: how much server time that tenant has used
 * (pool_shared.least_used), and since when its client waits (oldest_us). One that frees a server
 * gives it to the worker whose tenant has the best claim; where claims are about equal to the
 * longest waiting one, with a preference for its own clients, because a server that changes hands
 * costs two registrations and a wake-up. So no worker's clients starve while another's are
 * served, and no connection idles while anyone waits. A worker
 * that may not open another connection asks the others once (LETTER_ASK): they lend an idle
 * one of the same pool, or close an idle one of another pool of that node. One whose logins fail
 * asks for an idle one only (LETTER_BORROW).
 *
 * The order matters: a waiter is shown before the letter is sent, and a server is made idle
 * before the next letter is read, so either the letter finds the server or the release finds
 * the waiter. */
#include "pool_int.h"

/* How much longer another worker's client must have waited before ours is passed over. */
#define PREFER_OWN_US (5 * US_PER_MS)
/* Tenants whose server time differs by less than this have the same claim to the next server. */
#define EQUAL_CLAIM (5 * US_PER_MS * USED_SCALE)

enum letter_kind { LETTER_ASK, LETTER_BORROW, LETTER_SERVER, LETTER_SLOT, LETTER_TENANT };

struct letter {
	struct mail mail;
	enum letter_kind kind;
	struct pools *to;
	struct pool_shared *pool;     /* LETTER_ASK, LETTER_BORROW, LETTER_SERVER */
	struct pool_node *node;       /* LETTER_ASK */
	struct server *server;        /* LETTER_SERVER */
	struct tenant_shared *tenant; /* LETTER_TENANT: a reference */
	unsigned from;
};

static void letter_deliver(struct mail *mail, void *owner);

static void letter_post(struct letter letter)
{
	struct letter *copy = mem_dup(&letter, sizeof(letter));

	copy->mail.deliver = letter_deliver;
	mailbox_post(copy->to->env.mailbox, &copy->mail);
}

static void lend(struct pool *pool, struct server *server, unsigned worker)
{
	server_detach(server);
	server_note(server)->pool = NULL;
	letter_post((struct letter){.kind = LETTER_SERVER,
	                            .to = pool->pools->env.shared->by_worker[worker],
	                            .pool = pool->shared,
	                            .server = server});
}

/* The least that any worker's next tenant has used; INT64_MAX: nobody waits. */
static int64_t least_used(const struct pool *pool)
{
	const struct pool_shared *shared = pool->shared;
	int64_t least = INT64_MAX;

	for (unsigned w = 0; w < pool->pools->env.shared->n_workers; w++) {
		int64_t used;

		if (atomic_load(&shared->oldest_us[w]) == 0)
			continue;
		used = atomic_load_explicit(&shared->least_used[w], memory_order_relaxed);
		least = used < least ? used : least;
	}
	return least;
}

/* Of the workers whose next tenants have the best claim, the one whose client waits longest. */
bool lend_to_hungrier(struct pool *pool, struct server *server)
{
	const struct pool_shared *shared = pool->shared;
	unsigned n = pool->pools->env.shared->n_workers, me = pool->pools->env.worker;
	unsigned hungriest = me;
	int64_t oldest_us = INT64_MAX, least;

	if (n == 1)
		return false;
	if (pool->n_turns > 0)
		queue_show(pool);
	least = least_used(pool);
	for (unsigned w = 0; w < n && least != INT64_MAX; w++) {
		int64_t since_us = atomic_load(&shared->oldest_us[w]);

		if (since_us == 0 ||
		    atomic_load_explicit(&shared->least_used[w], memory_order_relaxed) - least >
		            EQUAL_CLAIM)
			continue;
		since_us -= w == me ? PREFER_OWN_US : 0;
		if (since_us > oldest_us || (since_us == oldest_us && w != me))
			continue;
		oldest_us = since_us;
		hungriest = w;
	}
	if (hungriest == me)
		return false;
	lend(pool, server, hungriest);
	return true;
}

bool lend_is_starving(const struct pool_node *node)
{
	return atomic_load(&node->n_starving) > 0;
}

static void ask_all(struct pool *pool, enum letter_kind kind)
{
	const struct pools_shared *shared = pool->pools->env.shared;

	for (unsigned w = 0; w < shared->n_workers; w++) {
		if (w == pool->pools->env.worker)
			continue;
		letter_post((struct letter){.kind = kind,
		                            .to = shared->by_worker[w],
		                            .pool = pool->shared,
		                            .node = pool_node(pool),
		                            .from = pool->pools->env.worker});
	}
}

void lend_ask(struct pool *pool)
{
	ask_all(pool, LETTER_ASK);
}

void lend_borrow(struct pool *pool)
{
	if (pool->n_wanted > 0 && atomic_load(&pool->shared->n_alive) > 0 && !pool_is_gone(pool))
		ask_all(pool, LETTER_BORROW);
}

static void want_all(struct pools *pools)
{
	for (unsigned i = 0; i < pools->n_pools; i++) {
		if (pools->pools[i] != NULL && pools->pools[i]->n_wanted > 0)
			pool_want(pools->pools[i]);
	}
}

void lend_slot_freed(struct pool *pool, const struct pool_node *node)
{
	const struct pools *pools = pool->pools;
	const struct pools_shared *shared = pools->env.shared;

	if (pools->is_stopped ||
	    (!lend_is_starving(node) && atomic_load(&pool->shared->n_full) == 0))
		return;
	/* To ourselves by mail as well: the caller is in the middle of something. */
	for (unsigned w = 0; w < shared->n_workers; w++)
		letter_post((struct letter){.kind = LETTER_SLOT, .to = shared->by_worker[w]});
}

void lend_wake_tenant(struct pools *pools, struct tenant_shared *t, unsigned worker)
{
	letter_post((struct letter){
		.kind = LETTER_TENANT, .to = pools->env.shared->by_worker[worker], .tenant = t});
}

static void on_ask(struct pools *pools, const struct letter *letter)
{
	struct pool *pool = pool_of_shared(pools, letter->pool);
	struct list *link = list_is_empty(&pool->idle) ? NULL : pool->idle.next;

	if (pools->is_stopped)
		return;
	/* One that has begun to say something (half a notice) cannot move. */
	if (link != NULL && pool->n_turns == 0 && server_is_quiet(server_of_link(link)))
		lend(pool, server_of_link(link), letter->from);
	else if (letter->kind == LETTER_ASK)
		(void)place_make_room(pools, letter->node, letter->pool);
}

static void on_server(struct pools *pools, const struct letter *letter)
{
	struct pool *pool = pool_of_shared(pools, letter->pool);

	server_attach(letter->server, pools->env.backend);
	server_note(letter->server)->pool = pool;
	server_set_sink(letter->server, &pool_idle_sink, letter->server);
	pool_offer(letter->server);
}

static void letter_deliver(struct mail *mail, void *owner)
{
	struct letter *letter = CONTAINER_OF(mail, struct letter, mail);

	(void)owner;
	OBJ_CHECK(letter->to, POOLS_MAGIC);
	switch (letter->kind) {
	case LETTER_ASK:
	case LETTER_BORROW:
		on_ask(letter->to, letter);
		break;
	case LETTER_SERVER:
		on_server(letter->to, letter);
		break;
	case LETTER_SLOT:
		want_all(letter->to);
		break;
	case LETTER_TENANT:
		tenant_on_wake(letter->to, letter->tenant);
		break;
	}
	mem_free(letter);
}
