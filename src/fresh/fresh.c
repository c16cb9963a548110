/* Paths and their lag. Why it is a bound, and needs nobody's clock but ours:
 *
 *   A heartbeat is a row with a number that rises. One that was committed on the primary after a
 *   moment s stands in the WAL behind everything that was committed before s. So a path that
 *   shows it has all of that: has(path) >= s, and its data are at most (now - s) old, whenever
 *   that is asked. What is stored is s; the lag grows by itself in whatever silence.
 *
 *   From the primary we know such an s for each heartbeat (beats.c), from two readings there:
 *   (a) a reading that was asked for at t0 and did not show the heartbeat: its commit came after
 *       t0, for the answer's snapshot was taken after the question was sent. s = t0.
 *   (b) one that shows it, asked for at t0: it has the heartbeat's stamp h and the primary's
 *       clock c, read after t0. The stamp was made c - h before that: s = t0 - (c - h). The
 *       round trip's error is on the safe side, because t0 is the earliest moment that c can be
 *       of. The clocks' difference cancels out.
 *   The later of the two counts, (b) at most t0. Should the primary's clock be set between h and
 *   c, (b) is wrong by that much, and (a) and t0 hold the error within one interval between two
 *   readings.
 *
 *   The primary itself has, when it answers a question asked at t0, all that was committed before
 *   t0: the same rule.
 *
 * A view is written by one thread and read by many. Its sequence is odd while it is written; the
 * fields are stored with release and loaded with acquire, so whoever has seen a new field sees the
 * odd sequence behind it, and reads again. No fences: the thread sanitizer does not know them. */
#include "fresh.h"

#include <stdatomic.h>

#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/mem.h"

#define FRESH_MAGIC 0xf7e50001u
#define WRITERS 4096 /* a power of two: 32 kB */

#define VIEW_FIELDS(FIELD)                                                                         \
	FIELD(enum fresh_role, role)                                                               \
	FIELD(enum fresh_fault, fault)                                                             \
	FIELD(int64_t, has_us)                                                                     \
	FIELD(int64_t, seen_us)                                                                    \
	FIELD(int64_t, beat_id)                                                                    \
	FIELD(int64_t, beat_us)                                                                    \
	FIELD(int64_t, clock_us)                                                                   \
	FIELD(uint64_t, position)                                                                  \
	FIELD(uint32_t, timeline)

struct path {
	const struct conf_database *database;
	const struct conf_node *node;
	size_t first, n; /* its database's paths */
	_Atomic uint32_t sequence;
#define FIELD(type, name) _Atomic(type) name;
	VIEW_FIELDS(FIELD)
#undef FIELD
	/* Of the first one: what fresh_primary says. */
	_Atomic int primary;
	_Atomic bool is_contested, is_undecided, is_unsettled;
	_Atomic int weight; /* RELOAD may change it */
	/* By workers. */
	_Atomic int64_t left_out_us;
	_Atomic uint64_t reads, fallbacks;
};

struct fresh {
	uint32_t magic;
	struct conf *conf;
	size_t n;
	_Atomic int64_t writes_us[WRITERS];
	struct path paths[];
};

const char *fresh_role_name(enum fresh_role role)
{
	static const char *const names[] = {"unknown", "primary", "replica", "analytics"};

	MUST((size_t)role < COUNT_OF(names));
	return names[role];
}

static const struct {
	const char *word, *hint;
} faults[] = {
#define FRESH_FAULT(name, word_, hint_) [FRESH_##name] = {(word_), (hint_)},
	FRESH_FAULTS(FRESH_FAULT)
#undef FRESH_FAULT
};

const char *fresh_fault_word(enum fresh_fault fault)
{
	MUST((size_t)fault < COUNT_OF(faults));
	return faults[fault].word;
}

const char *fresh_fault_hint(enum fresh_fault fault)
{
	MUST((size_t)fault < COUNT_OF(faults));
	return faults[fault].hint;
}

/* ---- life ----------------------------------------------------------------------------------- */

static void add_database(struct fresh *f, const struct conf_database *database)
{
	const struct fresh_view nothing = {
		.fault = FRESH_NEW, .has_us = FRESH_NEVER, .seen_us = FRESH_NEVER};
	size_t first = f->n;

	for (size_t i = 0; i < database->n_nodes; i++) {
		struct path *p = &f->paths[f->n++];

		p->database = database;
		p->node = database->nodes[i];
		p->first = first;
		p->n = database->n_nodes;
		atomic_init(&p->primary, FRESH_NO_PATH);
		atomic_init(&p->left_out_us, FRESH_NEVER);
		atomic_init(&p->weight, p->node->weight);
	}
	for (size_t i = first; i < f->n; i++)
		fresh_set(f, i, &nothing);
}

struct fresh *fresh_new(struct conf *conf)
{
	struct fresh *f;
	size_t n = 0;

	for (size_t i = 0; i < conf->n_databases; i++)
		n += conf->databases[i].n_nodes;
	f = mem_zalloc(sizeof(*f) + n * sizeof(f->paths[0]));
	OBJ_INIT(f, FRESH_MAGIC);
	f->conf = conf_get(conf);
	for (size_t i = 0; i < conf->n_databases; i++)
		add_database(f, &conf->databases[i]);
	for (size_t i = 0; i < WRITERS; i++)
		atomic_init(&f->writes_us[i], FRESH_NEVER);
	return f;
}

void fresh_free(struct fresh **fp)
{
	struct fresh *f = *fp;

	*fp = NULL;
	OBJ_CHECK(f, FRESH_MAGIC);
	conf_put(&f->conf);
	OBJ_FINI(f, FRESH_MAGIC);
	mem_free(f);
}

/* ---- reading -------------------------------------------------------------------------------- */

static const struct path *path_of(const struct fresh *f, size_t path)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	MUST(path < f->n);
	return &f->paths[path];
}

size_t fresh_count(const struct fresh *f)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	return f->n;
}

const struct conf_database *fresh_database(const struct fresh *f, size_t path)
{
	return path_of(f, path)->database;
}

const struct conf_node *fresh_node(const struct fresh *f, size_t path)
{
	return path_of(f, path)->node;
}

int fresh_weight(const struct fresh *f, size_t path)
{
	return atomic_load_explicit(&path_of(f, path)->weight, memory_order_relaxed);
}

void fresh_take_weights(struct fresh *f, const struct conf *conf)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	for (size_t i = 0; i < f->n; i++) {
		const struct conf_node *node = conf_find_node(conf, f->paths[i].node->name);

		if (node != NULL)
			atomic_store_explicit(&f->paths[i].weight, node->weight,
			                      memory_order_relaxed);
	}
}

int fresh_find(const struct fresh *f, const struct conf_database *database)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	for (size_t i = 0; i < f->n; i += f->paths[i].n) {
		if (f->paths[i].database == database)
			return (int)i;
	}
	return FRESH_NO_PATH;
}

int fresh_find_name(const struct fresh *f, const char *section, size_t *n)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	for (size_t i = 0; i < f->n; i += f->paths[i].n) {
		if (strcmp(f->paths[i].database->name, section) != 0)
			continue;
		*n = f->paths[i].n;
		return (int)i;
	}
	return FRESH_NO_PATH;
}

int64_t fresh_lag_us(const struct fresh *f, size_t path, int64_t now_us)
{
	int64_t has_us = atomic_load_explicit(&path_of(f, path)->has_us, memory_order_acquire);

	if (has_us == FRESH_NEVER)
		return FRESH_INFINITE;
	/* `now` may have been read before the probe's last answer came. */
	return has_us < now_us ? now_us - has_us : 0;
}

bool fresh_has(const struct fresh *f, size_t path, int64_t since_us)
{
	int64_t has_us = atomic_load_explicit(&path_of(f, path)->has_us, memory_order_acquire);

	return has_us != FRESH_NEVER && has_us >= since_us;
}

enum fresh_role fresh_role(const struct fresh *f, size_t path)
{
	return atomic_load_explicit(&path_of(f, path)->role, memory_order_acquire);
}

enum fresh_fault fresh_fault(const struct fresh *f, size_t path)
{
	return atomic_load_explicit(&path_of(f, path)->fault, memory_order_acquire);
}

void fresh_look(const struct fresh *f, size_t path, struct fresh_view *view)
{
	const struct path *p = path_of(f, path);
	uint32_t before, after;

	do {
		before = atomic_load_explicit(&p->sequence, memory_order_acquire);
#define FIELD(type, name) view->name = atomic_load_explicit(&p->name, memory_order_acquire);
		VIEW_FIELDS(FIELD)
#undef FIELD
		after = atomic_load_explicit(&p->sequence, memory_order_relaxed);
	} while (before != after || before % 2 != 0);
}

int fresh_primary(const struct fresh *f, size_t first, bool *is_contested)
{
	const struct path *p = path_of(f, first);

	MUST(p->first == first);
	if (is_contested != NULL)
		*is_contested = atomic_load_explicit(&p->is_contested, memory_order_relaxed);
	return atomic_load_explicit(&p->primary, memory_order_acquire);
}

bool fresh_is_undecided(const struct fresh *f, size_t first)
{
	return atomic_load_explicit(&path_of(f, first)->is_undecided, memory_order_relaxed);
}

bool fresh_is_unsettled(const struct fresh *f, size_t first)
{
	return atomic_load_explicit(&path_of(f, first)->is_unsettled, memory_order_acquire);
}

/* ---- what workers tell each other ------------------------------------------------------------ */

static void raise(_Atomic int64_t *to, int64_t us)
{
	int64_t now = atomic_load_explicit(to, memory_order_relaxed);

	while (now < us && !atomic_compare_exchange_weak_explicit(
				   to, &now, us, memory_order_release, memory_order_relaxed))
		;
}

void fresh_leave_out(struct fresh *f, size_t path, int64_t now_us)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	MUST(path < f->n);
	raise(&f->paths[path].left_out_us, now_us);
}

bool fresh_is_left_out(const struct fresh *f, size_t path)
{
	const struct path *p = path_of(f, path);
	int64_t us = atomic_load_explicit(&p->left_out_us, memory_order_acquire);

	return us != FRESH_NEVER && atomic_load_explicit(&p->seen_us, memory_order_acquire) <= us;
}

uint64_t fresh_written_database(const struct fresh *f, size_t path, const char *name)
{
	const char *dbname = conf_database_dbname(fresh_database(f, path), name);

	for (size_t i = 0; i < f->n; i += f->paths[i].n) {
		const struct conf_database *d = f->paths[i].database;

		if (f->paths[i].n > 1 && strcmp(conf_database_dbname(d, d->name), dbname) == 0)
			return hash_bytes(dbname, strlen(dbname)) | 1;
	}
	return 0;
}

uint64_t fresh_writer(uint64_t database, const char *tenant)
{
	return hash_bytes(tenant, strlen(tenant)) + database;
}

void fresh_note_write(struct fresh *f, uint64_t writer, int64_t now_us)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	raise(&f->writes_us[writer % WRITERS], now_us);
}

int64_t fresh_last_write(const struct fresh *f, uint64_t writer)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	return atomic_load_explicit(&f->writes_us[writer % WRITERS], memory_order_acquire);
}

void fresh_count_read(struct fresh *f, size_t path, bool is_fallback)
{
	struct path *p = &f->paths[path];

	MUST(path < f->n);
	atomic_fetch_add_explicit(&p->reads, 1, memory_order_relaxed);
	if (is_fallback)
		atomic_fetch_add_explicit(&p->fallbacks, 1, memory_order_relaxed);
}

void fresh_counts(const struct fresh *f, size_t path, uint64_t *reads, uint64_t *fallbacks)
{
	const struct path *p = path_of(f, path);

	*reads = atomic_load_explicit(&p->reads, memory_order_relaxed);
	*fallbacks = atomic_load_explicit(&p->fallbacks, memory_order_relaxed);
}

/* ---- writing -------------------------------------------------------------------------------- */

static bool have_both_answered(const struct fresh_view *a, const struct fresh_view *b)
{
	int64_t apart;

	if (a->seen_us == FRESH_NEVER || b->seen_us == FRESH_NEVER)
		return false;
	apart = a->seen_us - b->seen_us;
	return apart < FRESH_CONTEST_US && apart > -FRESH_CONTEST_US;
}

/* A primary that was cut off stays on its timeline, whatever it goes on to write. Of one timeline
 * the one that is left counts: whoever stopped the other has decided it. */
static bool is_ahead(const struct fresh_view *a, const struct fresh_view *b)
{
	if (a->timeline != b->timeline)
		return a->timeline > b->timeline;
	if (!have_both_answered(a, b))
		return a->seen_us > b->seen_us;
	return a->position > b->position;
}

static bool are_both_there(const struct fresh_view *a, const struct fresh_view *b)
{
	return a->fault != FRESH_DOWN && b->fault != FRESH_DOWN && have_both_answered(a, b);
}

/* Of the paths before `path`, is there another of the primary's timeline? */
static bool has_twin(const struct fresh *f, size_t first, size_t path)
{
	struct fresh_view mine, view;

	fresh_look(f, path, &mine);
	for (size_t i = first; i < path; i++) {
		fresh_look(f, i, &view);
		if (view.role == FRESH_PRIMARY && view.timeline == mine.timeline &&
		    have_both_answered(&view, &mine))
			return true;
	}
	return false;
}

static void elect(struct fresh *f, size_t first)
{
	struct path *head = &f->paths[first];
	struct fresh_view best = {0}, view;
	int primary = FRESH_NO_PATH;
	bool is_contested = false, is_undecided = false;

	for (size_t i = first; i < first + head->n; i++) {
		fresh_look(f, i, &view);
		if (view.role != FRESH_PRIMARY)
			continue;
		if (primary != FRESH_NO_PATH)
			is_contested = is_contested || are_both_there(&view, &best);
		/* A higher timeline decides what came before. */
		if (primary == FRESH_NO_PATH || view.timeline > best.timeline)
			is_undecided = false;
		else if (view.timeline == best.timeline)
			is_undecided = is_undecided || has_twin(f, first, i);
		if (primary == FRESH_NO_PATH || is_ahead(&view, &best)) {
			primary = (int)i;
			best = view;
		}
	}
	atomic_store_explicit(&head->is_contested, is_contested, memory_order_relaxed);
	atomic_store_explicit(&head->is_undecided, is_undecided, memory_order_relaxed);
	atomic_store_explicit(&head->primary, primary, memory_order_release);
}

void fresh_set(struct fresh *f, size_t path, const struct fresh_view *view)
{
	struct path *p = &f->paths[path];
	uint32_t sequence = atomic_load_explicit(&p->sequence, memory_order_relaxed);

	OBJ_CHECK(f, FRESH_MAGIC);
	MUST(path < f->n);
	atomic_store_explicit(&p->sequence, sequence + 1, memory_order_relaxed);
#define FIELD(type, name) atomic_store_explicit(&p->name, view->name, memory_order_release);
	VIEW_FIELDS(FIELD)
#undef FIELD
	atomic_store_explicit(&p->sequence, sequence + 2, memory_order_release);
	elect(f, p->first);
}

void fresh_set_unsettled(struct fresh *f, size_t first, bool is_unsettled)
{
	OBJ_CHECK(f, FRESH_MAGIC);
	MUST(first < f->n);
	atomic_store_explicit(&f->paths[first].is_unsettled, is_unsettled, memory_order_release);
}
