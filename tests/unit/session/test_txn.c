/* The transaction tracker against a model of PostgreSQL (txn_model.h), exhaustively.
 *
 * A world is what the server is in, what the tracker believes, and what a session has under way.
 * From each world every move is made that a client could make next: any statement with any bits
 * and any luck, as a Query alone, as one of several in a Query, or in a batch; Sync; and the
 * session's own choices (keeping a BEGIN back, hearing of an error before the Sync or not, refusing
 * without a server). All worlds that can be reached are visited once, shortest way first, so this
 * is every sequence of every length (savepoints nest MODEL_SAVEPOINTS_MAX deep), and what fails
 * is shown with the shortest sequence that leads there. What must hold:
 *
 * - no statement that needs the context runs in the server without it (except behind transaction
 *   control that our parser does not know, up to ReadyForQuery 'I': it then sees no row);
 * - it is not asked for before what must go without, in a failed transaction, or twice in one where
 *   nothing can have taken it away;
 * - after each ReadyForQuery the tracker's status is the server's.
 *
 * The moves drive the tracker as query.c, batch.c, lease.c and relay.c do. That the search finds
 * something is seen by running it on trackers with faults. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "session/txn.h"
#include "unit/base/cm.h"
#include "unit/session/txn_model.h"

/* ---- statements ---------------------------------------------------------------------------- */

static const struct event {
	const char *name;
	struct sql_stmt stmt;
	enum model_effect effect;
} events[] = {
/* clang-format off */
#define EVENT(name, kind, bits, effect) {name, {SQL_##kind, bits, 0, 0, 0, 0, 0}, EFFECT_##effect}
	/* clang-format on */
	EVENT("(empty)", EMPTY, 0, NONE),
	EVENT("SELECT", DATA, 0, DATA),
	EVENT("SET x", DATA, SQL_SETS_SESSION, DATA),
	EVENT("LISTEN", DATA, SQL_MAKES_STATE, DATA),
	EVENT("EXECUTE", DATA, SQL_NAMES_PREPARED, DATA),
	EVENT("DEALLOCATE ALL", DATA, SQL_NAMES_PREPARED | SQL_DISCARDS, DATA),
	EVENT("RESET ALL", DATA, SQL_SETS_SESSION | SQL_RESETS_ALL, RESET_ALL),
	EVENT("CALL", DATA, SQL_OPAQUE | SQL_ENDS_INSIDE, DATA),
	EVENT("CALL with COMMIT", DATA, SQL_OPAQUE | SQL_ENDS_INSIDE, COMMIT_INSIDE),
	EVENT("COPY FROM STDIN", COPY_IN, 0, DATA),
	EVENT("BEGIN", BEGIN, SQL_BARE, BEGIN),
	EVENT("BEGIN READ ONLY", BEGIN, 0, BEGIN),
	EVENT("COMMIT", COMMIT, 0, COMMIT),
	EVENT("ROLLBACK", ROLLBACK, 0, ROLLBACK),
	EVENT("COMMIT AND CHAIN", COMMIT_CHAIN, 0, COMMIT_CHAIN),
	EVENT("ROLLBACK AND CHAIN", ROLLBACK_CHAIN, 0, ROLLBACK_CHAIN),
	EVENT("SAVEPOINT", SAVEPOINT, 0, SAVEPOINT),
	EVENT("RELEASE inner", RELEASE, 0, RELEASE),
	EVENT("RELEASE outer", RELEASE, 0, RELEASE_OUTER),
	EVENT("ROLLBACK TO inner", ROLLBACK_TO, 0, ROLLBACK_TO),
	EVENT("ROLLBACK TO outer", ROLLBACK_TO, 0, ROLLBACK_TO_OUTER),
	EVENT("PREPARE TRANSACTION", PREPARE_TRANSACTION, 0, PREPARE_TRANSACTION),
	EVENT("SET TRANSACTION", SET_TRANSACTION, 0, SET_TRANSACTION),
	EVENT("VACUUM", NO_TRANSACTION, 0, VACUUM),
	EVENT("ALTER SYSTEM", NO_TRANSACTION, 0, ALTER_SYSTEM),
	EVENT("DISCARD ALL", NO_TRANSACTION, SQL_RESETS_ALL | SQL_DISCARDS, DISCARD_ALL),
	/* What our parser does not know may be anything. */
	EVENT("? (SELECT)", UNPARSED, SQL_OPAQUE, DATA),
	EVENT("? (RESET ALL)", UNPARSED, SQL_OPAQUE, RESET_ALL),
	EVENT("? (CALL with COMMIT)", UNPARSED, SQL_OPAQUE, COMMIT_INSIDE),
	EVENT("? (BEGIN)", UNPARSED, SQL_OPAQUE, BEGIN),
	EVENT("? (COMMIT)", UNPARSED, SQL_OPAQUE, COMMIT),
	EVENT("? (COMMIT AND CHAIN)", UNPARSED, SQL_OPAQUE, COMMIT_CHAIN),
	EVENT("? (SAVEPOINT)", UNPARSED, SQL_OPAQUE, SAVEPOINT),
	EVENT("? (ROLLBACK TO)", UNPARSED, SQL_OPAQUE, ROLLBACK_TO),
#undef EVENT
};
#define N_EVENTS ((int)COUNT_OF(events))

/* After this the context may be gone, whether it succeeds or is skipped. */
static bool may_take_context(const struct event *e)
{
	switch (e->effect) {
	case EFFECT_NONE:
	case EFFECT_DATA:
	case EFFECT_BEGIN:
	case EFFECT_SAVEPOINT:
	case EFFECT_RELEASE:
	case EFFECT_RELEASE_OUTER:
	case EFFECT_ROLLBACK_TO:
	case EFFECT_ROLLBACK_TO_OUTER:
	case EFFECT_SET_TRANSACTION:
		return e->stmt.kind == SQL_UNPARSED || (e->stmt.bits & SQL_ENDS_INSIDE);
	default:
		return true;
	}
}

/* Up to the next ReadyForQuery 'I', rows may be missing after this: which transaction it is that
 * goes on is anybody's guess. */
static bool is_unknown_control(const struct event *e)
{
	return e->stmt.kind == SQL_UNPARSED && e->effect >= EFFECT_BEGIN;
}

/* Transaction control that opens, closes or configures, and what runs outside transactions. */
static bool goes_without(enum sql_kind kind)
{
	return kind != SQL_DATA && kind != SQL_COPY_IN && kind != SQL_UNPARSED &&
	       kind != SQL_SAVEPOINT && kind != SQL_RELEASE;
}

/* ---- worlds -------------------------------------------------------------------------------- */

enum mode { MODE_BETWEEN, MODE_BATCH, MODE_ALONE, MODE_SEVERAL };

struct world {
	struct model server;
	struct txn txn;
	uint8_t mode;      /* enum mode */
	bool in_batch;     /* the Query under way was sent inside a batch */
	uint8_t n_sent;    /* statements of the Query (or piece of one) under way; 2: or more */
	bool query_failed; /* the rest of it is not run */
	bool is_told;      /* the session knows that the batch failed, and sends nothing more */
	char deferred;     /* the client sees this status, but the BEGIN was not sent; 0: none */
	bool is_asked;     /* the context was asked for, and nothing may have taken it since */
	bool is_lost;      /* transaction control that our parser does not know, until 'I' */
};

enum move_kind {
	MOVE_EXECUTE,
	MOVE_SYNC,
	MOVE_LEARN,     /* the session hears of the error in the batch */
	MOVE_QUERY,     /* of one statement */
	MOVE_QUERY_OF,  /* of several: the first */
	MOVE_NEXT,      /* another */
	MOVE_NEXT_LAST, /* another, alone in the new piece that it begins */
	MOVE_QUERY_END,
	MOVE_DEFER,  /* BEGIN, which the session keeps back */
	MOVE_REFUSE, /* the session refuses something without having a server */
	MOVE_KIND_COUNT
};

struct move {
	uint8_t kind, luck, event;
};

/* The tracker under test, so that a faulty one can take its place. */
struct tracker {
	bool (*needs_context)(const struct txn *t, const struct sql_stmt *stmt);
	void (*sent)(struct txn *t, const struct sql_stmt *stmt);
	void (*ready)(struct txn *t, char status);
	void (*failed_here)(struct txn *t);
};

static const struct tracker ours = {txn_needs_context, txn_sent, txn_ready, txn_failed_here};

/* A move's outcome: another world, none (it cannot be made here), or what is wrong. */
static const char *const no_move = "";

static const char *check_status(const struct world *w, char status)
{
	return txn_status(&w->txn) == status ? NULL : "the status is not the server's";
}

static const char *ready(struct world *w, const struct tracker *t)
{
	char status = model_ready(&w->server);

	t->ready(&w->txn, status);
	w->mode = MODE_BETWEEN;
	w->in_batch = w->query_failed = w->is_told = false;
	w->n_sent = 0;
	if (status == 'I')
		w->is_asked = w->is_lost = false;
	return check_status(w, status);
}

static const char *ask(struct world *w, const struct event *e)
{
	if (goes_without(e->stmt.kind))
		return "asked before what must go without";
	if (w->is_asked)
		return "asked twice";
	if (!model_set_context(&w->server))
		return "asked in a failed transaction";
	w->is_asked = true;
	txn_context_sent(&w->txn);
	return NULL;
}

/* lease_begin, lease_before, the statement itself, lease_after. */
static const char *send(struct world *w, const struct tracker *t, const struct event *e,
                        enum model_luck luck, enum model_way way)
{
	const char *wrong = NULL;

	if (w->txn.is_deferred) {
		w->txn.is_deferred = false;
		w->deferred = 0;
		(void)model_run(&w->server, EFFECT_BEGIN, LUCK_GOOD, WAY_EXTENDED);
	}
	/* In a Query only in front of its first statement. */
	if ((way == WAY_EXTENDED || w->n_sent == 0) && t->needs_context(&w->txn, &e->stmt))
		wrong = ask(w, e);
	if (wrong == NULL && !w->server.is_skipping && !w->query_failed) {
		enum model_result result = model_run(&w->server, e->effect, luck, way);

		w->query_failed = result == MODEL_FAILED && way != WAY_EXTENDED;
		if (result == MODEL_NO_CONTEXT && !w->is_lost)
			wrong = "ran without the context";
	}
	t->sent(&w->txn, &e->stmt);
	w->is_lost |= is_unknown_control(e);
	if (may_take_context(e) || w->server.block == MODEL_DEFAULT)
		w->is_asked = false;
	return wrong;
}

static const char *execute(struct world *w, const struct tracker *t, const struct event *e,
                           enum model_luck luck)
{
	bool ends = e->stmt.kind == SQL_COMMIT || e->stmt.kind == SQL_ROLLBACK;

	if (w->mode > MODE_BATCH || w->is_told)
		return no_move;
	if (w->txn.is_deferred && w->txn.state == TXN_FAILED && !ends)
		return no_move; /* refused by the session */
	w->mode = MODE_BATCH;
	return send(w, t, e, luck, WAY_EXTENDED);
}

/* ---- Queries ------------------------------------------------------------------------------- */

static const char *query_statement(struct world *w, const struct tracker *t, const struct event *e,
                                   enum model_luck luck)
{
	const char *wrong =
		send(w, t, e, luck, w->mode == MODE_ALONE ? WAY_QUERY_ALONE : WAY_QUERY_OF_SEVERAL);

	w->n_sent += w->n_sent < 2;
	return wrong;
}

static const char *query(struct world *w, const struct tracker *t, const struct event *e,
                         enum model_luck luck, enum mode mode)
{
	bool ends =
		mode == MODE_ALONE && (e->stmt.kind == SQL_COMMIT || e->stmt.kind == SQL_ROLLBACK);

	if (w->mode > MODE_BATCH || w->is_told)
		return no_move;
	if (w->deferred && w->mode == MODE_BETWEEN && ends) {
		/* It has never been. */
		if (luck != LUCK_GOOD)
			return no_move;
		w->deferred = 0;
		t->ready(&w->txn, 'I');
		return check_status(w, 'I');
	}
	if (w->deferred && w->txn.state == TXN_FAILED)
		return no_move;
	w->in_batch = w->mode == MODE_BATCH;
	w->mode = (uint8_t)mode;
	w->n_sent = 0;
	return query_statement(w, t, e, luck);
}

static const char *query_end(struct world *w, const struct tracker *t)
{
	/* There is one or are several, as was said when it began. */
	if (w->mode < MODE_ALONE || (w->mode == MODE_SEVERAL && w->n_sent < 2))
		return no_move;
	if (!w->server.is_skipping)
		return ready(w, t);
	/* The batch before it had failed: only a Sync ends it. */
	w->mode = MODE_BATCH;
	w->is_told = true;
	return NULL;
}

/* Where the context is needed again, the Query is cut, and the rest is sent when this has
 * succeeded (query.c). */
static const char *query_next(struct world *w, const struct tracker *t, const struct event *e,
                              enum model_luck luck, enum mode mode)
{
	bool is_over = w->query_failed || w->server.is_skipping;
	const char *wrong;

	if (w->mode < MODE_ALONE)
		return no_move;
	if (!t->needs_context(&w->txn, &e->stmt)) {
		if (w->mode == MODE_ALONE || mode == MODE_ALONE)
			return no_move;
		return query_statement(w, t, e, luck);
	}
	wrong = query_end(w, t);
	if (wrong != NULL || is_over)
		return wrong;
	w->mode = (uint8_t)mode;
	return query_statement(w, t, e, luck);
}

/* ---- the session's own --------------------------------------------------------------------- */

static const char *defer(struct world *w)
{
	if (w->mode != MODE_BETWEEN || w->server.block != MODEL_DEFAULT || w->deferred)
		return no_move;
	w->txn.state = TXN_BLOCK;
	w->txn.is_deferred = true;
	w->deferred = 'T';
	return check_status(w, 'T');
}

static const char *refuse(struct world *w, const struct tracker *t)
{
	if (w->mode != MODE_BETWEEN || w->server.block != MODEL_DEFAULT)
		return no_move;
	t->failed_here(&w->txn);
	if (w->deferred)
		w->deferred = 'E';
	return check_status(w, w->deferred ? w->deferred : 'I');
}

static const char *sync(struct world *w, const struct tracker *t)
{
	if (w->mode > MODE_BATCH)
		return no_move;
	return w->deferred ? check_status(w, w->deferred) : ready(w, t);
}

static const char *learn(struct world *w)
{
	if (w->mode != MODE_BATCH || !w->server.is_skipping || w->is_told)
		return no_move;
	w->is_told = true;
	return NULL;
}

static const char *make(struct world *w, const struct tracker *t, struct move m)
{
	const struct event *e = &events[m.event];

	if (m.luck == LUCK_FAILS_ENDING && !model_may_fail_ending(&w->server, e->effect))
		return no_move;
	switch ((enum move_kind)m.kind) {
	case MOVE_EXECUTE:
		return execute(w, t, e, m.luck);
	case MOVE_QUERY:
		return query(w, t, e, m.luck, MODE_ALONE);
	case MOVE_QUERY_OF:
		return query(w, t, e, m.luck, MODE_SEVERAL);
	case MOVE_NEXT:
		return query_next(w, t, e, m.luck, MODE_SEVERAL);
	case MOVE_NEXT_LAST:
		return query_next(w, t, e, m.luck, MODE_ALONE);
	case MOVE_QUERY_END:
		return query_end(w, t);
	case MOVE_SYNC:
		return sync(w, t);
	case MOVE_LEARN:
		return learn(w);
	case MOVE_DEFER:
		return defer(w);
	case MOVE_REFUSE:
		return refuse(w, t);
	case MOVE_KIND_COUNT:
		break;
	}
	return no_move;
}

static bool has_statement(enum move_kind kind)
{
	return kind == MOVE_EXECUTE || kind == MOVE_QUERY || kind == MOVE_QUERY_OF ||
	       kind == MOVE_NEXT || kind == MOVE_NEXT_LAST;
}

/* ---- the search ---------------------------------------------------------------------------- */

struct node {
	struct world world;
	int parent;
	struct move move; /* that led here */
};

#define KEY_BITS 25

struct search {
	const struct tracker *tracker;
	struct node *nodes;
	int n, cap;
	uint8_t *seen; /* bitmap by key */
	uint64_t n_moves;
	int of_kind[MOVE_KIND_COUNT]; /* moves that could be made */
	const char *wrong;            /* what the last move of the last node showed */
};

static void add_bits(uint32_t *key, unsigned n_bits, unsigned value)
{
	assert_true(value < 1u << n_bits);
	*key = *key << n_bits | value;
}

static uint32_t key_of(const struct world *w)
{
	uint32_t key = 0;

	add_bits(&key, 3, w->server.block);
	add_bits(&key, 1, w->server.has_context);
	add_bits(&key, 1, w->server.is_piped);
	add_bits(&key, 1, w->server.is_skipping);
	add_bits(&key, 2, w->server.n_savepoints);
	for (int i = 0; i < MODEL_SAVEPOINTS_MAX; i++)
		add_bits(&key, 1, w->server.saved[i]);
	add_bits(&key, 2, w->txn.state);
	add_bits(&key, 1, w->txn.has_context);
	add_bits(&key, 1, w->txn.is_deferred);
	add_bits(&key, 2, w->mode);
	add_bits(&key, 1, w->in_batch);
	add_bits(&key, 2, w->n_sent);
	add_bits(&key, 1, w->query_failed);
	add_bits(&key, 1, w->is_told);
	add_bits(&key, 2, w->deferred == 0 ? 0 : w->deferred == 'T' ? 1 : 2);
	add_bits(&key, 1, w->is_asked);
	add_bits(&key, 1, w->is_lost);
	return key;
}

static void add_node(struct search *s, const struct world *w, int parent, struct move m)
{
	uint32_t key = key_of(w);

	assert_true(key < 1u << KEY_BITS);
	if (s->wrong == NULL && (s->seen[key / 8] & 1u << key % 8))
		return;
	s->seen[key / 8] |= (uint8_t)(1u << key % 8);
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 1024;
		s->nodes = mem_realloc(s->nodes, (size_t)s->cap * sizeof(s->nodes[0]));
	}
	s->nodes[s->n++] = (struct node){*w, parent, m};
}

static bool try_move(struct search *s, int from, struct move m)
{
	struct world w = s->nodes[from].world;

	s->wrong = make(&w, s->tracker, m);
	if (s->wrong == no_move) {
		s->wrong = NULL;
		return true;
	}
	s->n_moves++;
	s->of_kind[m.kind]++;
	add_node(s, &w, from, m);
	return s->wrong == NULL;
}

static bool try_moves(struct search *s, int from, enum move_kind kind)
{
	int n_events = has_statement(kind) ? N_EVENTS : 1;
	int n_lucks = has_statement(kind) ? LUCK_COUNT : 1;

	for (int event = 0; event < n_events; event++) {
		for (int luck = 0; luck < n_lucks; luck++) {
			struct move m = {(uint8_t)kind, (uint8_t)luck, (uint8_t)event};

			if (!try_move(s, from, m))
				return false;
		}
	}
	return true;
}

/* Breadth first. Ends when there is nothing new, or with s->wrong. */
static void search(struct search *s, const struct tracker *tracker)
{
	const struct world start = {0};

	memset(s, 0, sizeof(*s));
	s->tracker = tracker;
	s->seen = mem_zalloc((1u << KEY_BITS) / 8);
	add_node(s, &start, -1, (struct move){0, 0, 0});
	for (int from = 0; from < s->n; from++) {
		for (int kind = 0; kind < MOVE_KIND_COUNT; kind++) {
			if (!try_moves(s, from, (enum move_kind)kind))
				return;
		}
	}
}

static void search_end(struct search *s)
{
	mem_free(s->nodes);
	mem_free(s->seen);
}

static void print_way(const struct search *s, int at)
{
	static const char *const words[] = {
		"execute",    "Sync",         "(error is heard)",   "Query",    "Query of", "then",
		"then, last", "end of Query", "(BEGIN, kept back)", "(refused)"};
	static const char *const lucks[] = {"", ", which fails", ", which fails while it ends"};
	const struct move *m = &s->nodes[at].move;

	if (s->nodes[at].parent < 0)
		return;
	print_way(s, s->nodes[at].parent);
	if (has_statement(m->kind))
		print_message("  %s %s%s\n", words[m->kind], events[m->event].name, lucks[m->luck]);
	else
		print_message("  %s\n", words[m->kind]);
}

static void test_every_sequence(void **state)
{
	struct search s;

	(void)state;
	search(&s, &ours);
	if (s.wrong != NULL) {
		print_message("%s:\n", s.wrong);
		print_way(&s, s.n - 1);
		fail();
	}
	print_message("%d worlds, %llu moves\n", s.n, (unsigned long long)s.n_moves);
	for (int kind = 0; kind < MOVE_KIND_COUNT; kind++)
		assert_true(s.of_kind[kind] > 0);
	assert_true(s.n > 500);
	search_end(&s);
}

/* ---- trackers with faults ------------------------------------------------------------------ */

static bool never(const struct txn *t, const struct sql_stmt *stmt)
{
	(void)t, (void)stmt;
	return false;
}

static bool not_before_savepoint(const struct txn *t, const struct sql_stmt *stmt)
{
	return stmt->kind != SQL_SAVEPOINT && txn_needs_context(t, stmt);
}

static bool before_begin(const struct txn *t, const struct sql_stmt *stmt)
{
	return (stmt->kind == SQL_BEGIN && t->state == TXN_NONE && !t->has_context) ||
	       txn_needs_context(t, stmt);
}

static bool always_for_data(const struct txn *t, const struct sql_stmt *stmt)
{
	return stmt->kind == SQL_DATA || txn_needs_context(t, stmt);
}

static bool when_failed(const struct txn *t, const struct sql_stmt *stmt)
{
	struct txn other = *t;

	other.state = TXN_NONE;
	return txn_needs_context(&other, stmt);
}

/* The effect of `sent` on has_context is left out for the statements that `spared` names. */
static bool (*spared)(const struct sql_stmt *stmt);

static void sent_sparing(struct txn *t, const struct sql_stmt *stmt)
{
	bool had = t->has_context;

	txn_sent(t, stmt);
	if (spared(stmt))
		t->has_context = had;
}

static bool is_commit(const struct sql_stmt *stmt)
{
	return stmt->kind == SQL_COMMIT;
}

static bool is_rollback(const struct sql_stmt *stmt)
{
	return stmt->kind == SQL_ROLLBACK;
}

static bool is_commit_chain(const struct sql_stmt *stmt)
{
	return stmt->kind == SQL_COMMIT_CHAIN;
}

static bool is_prepare(const struct sql_stmt *stmt)
{
	return stmt->kind == SQL_PREPARE_TRANSACTION;
}

static bool is_unparsed(const struct sql_stmt *stmt)
{
	return stmt->kind == SQL_UNPARSED;
}

static bool is_reset_all(const struct sql_stmt *stmt)
{
	return stmt->bits & SQL_RESETS_ALL;
}

static bool is_call(const struct sql_stmt *stmt)
{
	return stmt->bits & SQL_ENDS_INSIDE;
}

static void ready_keeps_context(struct txn *t, char status)
{
	bool had = t->has_context;

	txn_ready(t, status);
	t->has_context = had;
}

static void ready_knows_no_failure(struct txn *t, char status)
{
	txn_ready(t, status == 'E' ? 'T' : status);
}

static void nothing_failed_here(struct txn *t)
{
	(void)t;
}

static const struct fault {
	const char *name;
	struct tracker tracker;
	bool (*spared)(const struct sql_stmt *stmt);
	const char *wrong;
} faults[] = {
#define WITHOUT "ran without the context"
#define STATUS "the status is not the server's"
/* clang-format off */
#define FAULT_NEEDS(f, wrong) {#f, {f, txn_sent, txn_ready, txn_failed_here}, NULL, wrong}
#define FAULT_SENT(f)                                                                              \
	{#f, {txn_needs_context, sent_sparing, txn_ready, txn_failed_here}, f, WITHOUT}
#define FAULT_READY(f, wrong) {#f, {txn_needs_context, txn_sent, f, txn_failed_here}, NULL, wrong}
	/* clang-format on */
	FAULT_NEEDS(never, WITHOUT),
	FAULT_NEEDS(not_before_savepoint, WITHOUT),
	FAULT_NEEDS(before_begin, "asked before what must go without"),
	FAULT_NEEDS(always_for_data, "asked twice"),
	FAULT_NEEDS(when_failed, "asked in a failed transaction"),
	FAULT_SENT(is_commit),
	FAULT_SENT(is_rollback),
	FAULT_SENT(is_commit_chain),
	FAULT_SENT(is_prepare),
	FAULT_SENT(is_unparsed),
	FAULT_SENT(is_reset_all),
	FAULT_SENT(is_call),
	FAULT_READY(ready_keeps_context, WITHOUT),
	FAULT_READY(ready_knows_no_failure, STATUS),
	{"nothing_failed_here",
         {txn_needs_context, txn_sent, txn_ready, nothing_failed_here},
         NULL,
         STATUS},
};

static void test_the_search_finds_faults(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(faults); i++) {
		struct search s;

		spared = faults[i].spared;
		search(&s, &faults[i].tracker);
		if (s.wrong == NULL)
			fail_msg("the fault \"%s\" was not found", faults[i].name);
		if (strcmp(s.wrong, faults[i].wrong) != 0) {
			print_way(&s, s.n - 1);
			fail_msg("the fault \"%s\" showed as: %s", faults[i].name, s.wrong);
		}
		search_end(&s);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_sequence),
		cmocka_unit_test(test_the_search_finds_faults),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
