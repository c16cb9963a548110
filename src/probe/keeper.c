/* The keeper of the keys: one owner for what [jwt] sections name, files and URLs alike. It looks at
 * the files twice a second, fetches the URLs when they are due, and hands out a new immutable set
 * when something has changed. What is no good leaves the old keys in place.
 *
 *   on_poll ─► source_read_file ─┐
 *   source_fetch ─► on_fetched ──┴─► publish ─► on_keys (every worker)
 *
 * A login whose token names an unknown key comes here as an order and is answered after the next
 * fetch, so that a rotation loses no login; fetches start at most every jwks_min_refresh, so that
 * tokens with made-up keys cannot make us flood the issuer. An order that comes while a fetch is
 * under way waits for the next one, for the answer may have been written before the new key was;
 * unless that fetch brings something new, then it tries again at once.
 *
 * Made before the thread starts, then the probe thread's alone, but for the counters. */
#include <event2/event.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "conf.h"
#include "probe/probe_int.h"

#define KEEPER_MAGIC 0x6b656570u /* keep */
#define FILE_POLL_US (500 * US_PER_MS)
#define ORDERS_MAX 100000      /* waiting at once; clients that have gone leave theirs behind */
#define CODE_NO_KEYS INT32_MAX /* fetched, but no key set */

/* One [jwt] section. */
struct source {
	struct keeper *keeper;
	const struct conf_jwt *conf;
	struct stat seen;     /* the file, when it was last read with success */
	char file_error[512]; /* why it cannot be read now; "": it can */
	struct auth_jwks *file, *url;
	uint8_t digest[SHA256_BYTES]; /* of the text that `url` was made from */
	struct fetch *fetch;          /* under way */
	int64_t started_us;           /* the last fetch */
	int code;                     /* why it failed: a fetch_result's; 0: it did not */
	struct event *due;
	struct list asked;   /* orders that the fetch under way will answer */
	struct list waiting; /* orders for the one after it */
};

struct keeper {
	uint32_t magic;
	bool is_closed;
	struct conf *conf;
	struct event_base *base;
	struct fetcher *fetcher;
	struct source *sources; /* of each of conf's jwts */
	struct event *poll;
	struct auth_keys *keys;
	probe_keys_fn *on_keys;
	void *arg;
	size_t n_orders;
	_Atomic uint64_t fetches, fetch_failures, file_reads, file_failures, waits;
};

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static struct timeval after(int64_t us)
{
	return (struct timeval){us / US_PER_S, us % US_PER_S};
}

/* ---- handing out --------------------------------------------------------------------------- */

static struct auth_keys *build(struct keeper *k)
{
	size_t n = k->conf->n_jwts;
	struct auth_jwks **files = mem_alloc(n * sizeof(files[0]));
	struct auth_jwks **urls = mem_alloc(n * sizeof(urls[0]));
	struct auth_keys *keys;

	for (size_t i = 0; i < n; i++) {
		files[i] = k->sources[i].file;
		urls[i] = k->sources[i].url;
	}
	keys = auth_keys_new(k->conf, files, urls);
	mem_free(files);
	mem_free(urls);
	return keys;
}

static void publish(struct keeper *k)
{
	auth_keys_put(&k->keys);
	k->keys = build(k);
	k->on_keys(k->arg, k->keys);
}

static void answer(struct keeper *k, struct keys_order *order, bool is_final)
{
	order->is_final = is_final;
	mailbox_post(order->reply_to, &order->mail);
	k->n_orders--;
}

static void answer_all(struct keeper *k, struct list *orders, bool is_final)
{
	struct list *link;

	while ((link = list_pop_front(orders)) != NULL)
		answer(k, LIST_MEMBER(link, struct keys_order, link), is_final);
}

/* ---- files --------------------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* True: there are new keys. False with err "" where there is nothing new. What could not be read is
 * tried again at the next poll: it may have been half a copy, or not ours to read yet. */
static bool source_load(struct source *s, bool force, char *err, size_t err_size)
{
	const char *path = s->conf->jwks_file;
	struct auth_jwks *fresh;
	struct stat now = {0};

	err[0] = '\0';
	if (path[0] == '\0' || (stat(path, &now) != 0 && !force) ||
	    (!force && same_file(&now, &s->seen)))
		return false;
	fresh = auth_jwks_load(path, err, err_size);
	count(fresh != NULL ? &s->keeper->file_reads : &s->keeper->file_failures);
	if (fresh == NULL)
		return false;
	auth_jwks_put(&s->file);
	s->file = fresh;
	s->seen = now;
	return true;
}

/* Says so once a reason; at an order (RELOAD) every time. */
static void source_note_file(struct source *s, const char *err, bool force)
{
	if (err[0] != '\0' && (force || strcmp(err, s->file_error) != 0))
		log_error("the old keys stay: %s", err);
	snprintf(s->file_error, sizeof(s->file_error), "%s", err);
}

static void read_files(struct keeper *k, bool force)
{
	bool changed = false;

	for (size_t i = 0; i < k->conf->n_jwts; i++) {
		struct source *s = &k->sources[i];
		char err[512];

		if (source_load(s, force, err, sizeof(err))) {
			log_info("keys read from %s: %zu", s->conf->jwks_file,
			         auth_jwks_count(s->file));
			changed = true;
			err[0] = '\0';
		}
		source_note_file(s, err, force);
	}
	if (changed)
		publish(k);
}

static void on_poll(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	read_files(arg, false);
}

/* ---- URLs ---------------------------------------------------------------------------------- */

/* Without its query, which may hold what is nobody's business. */
static int url_len(const struct source *s)
{
	return (int)strcspn(s->conf->jwks_url, "?#");
}

/* Says so once a change. */
static void source_note(struct source *s, int code, const char *why)
{
	if (code == s->code)
		return;
	if (code == 0)
		log_info("keys can be fetched from %.*s again", url_len(s), s->conf->jwks_url);
	else
		log_error("keys cannot be fetched from %.*s: %s; %s", url_len(s), s->conf->jwks_url,
		          why,
		          s->url != NULL ? "those from there stay"
		                         : "there are none from there yet");
	s->code = code;
}

/* Takes what was fetched; true: there are new keys. */
static bool source_take(struct source *s, const struct fetch_result *result)
{
	uint8_t digest[SHA256_BYTES];
	struct auth_jwks *fresh;
	char err[256];

	hash_sha256(result->body, result->len, digest);
	if (s->url != NULL && memcmp(digest, s->digest, sizeof(digest)) == 0) {
		auth_jwks_touch(s->url);
		source_note(s, 0, NULL);
		return false;
	}
	fresh = auth_jwks_parse(result->body, result->len, err, sizeof(err));
	if (fresh == NULL) {
		count(&s->keeper->fetch_failures);
		source_note(s, CODE_NO_KEYS, err);
		return false;
	}
	auth_jwks_put(&s->url);
	s->url = fresh;
	memcpy(s->digest, digest, sizeof(digest));
	source_note(s, 0, NULL);
	log_info("keys fetched from %.*s: %zu", url_len(s), s->conf->jwks_url,
	         auth_jwks_count(fresh));
	return true;
}

/* When the next fetch starts: soon for those who wait and after a failure, but not too soon. */
static void source_schedule(struct source *s)
{
	int64_t period = s->conf->jwks_refresh, left;
	struct timeval in;

	if (s->fetch != NULL)
		return; /* on_fetched will */
	if (!list_is_empty(&s->waiting) || s->code != 0 ||
	    (period > 0 && period < s->conf->jwks_min_refresh))
		period = s->conf->jwks_min_refresh;
	if (period == 0) {
		MUST(event_del(s->due) == 0);
		return;
	}
	left = s->started_us + period - clock_mono_us();
	in = after(left > 0 ? left : 0);
	MUST(event_add(s->due, &in) == 0);
}

static void on_fetched(void *arg, const struct fetch_result *result)
{
	struct source *s = arg;
	bool changed = false;

	s->fetch = NULL;
	if (result->error == NULL) {
		changed = source_take(s, result);
	} else {
		count(&s->keeper->fetch_failures);
		source_note(s, result->code, result->error);
	}
	/* The workers must have the keys before the answers. */
	if (changed) {
		publish(s->keeper);
		answer_all(s->keeper, &s->waiting, false);
	}
	answer_all(s->keeper, &s->asked, true);
	source_schedule(s);
}

static void source_fetch(struct source *s)
{
	const struct fetch_order order = {.url = s->conf->jwks_url,
	                                  .ca_file = s->conf->jwks_ca_file,
	                                  .max_bytes = AUTH_KEY_FILE_MAX,
	                                  .done = on_fetched,
	                                  .arg = s};

	if (s->fetch != NULL)
		return;
	count(&s->keeper->fetches);
	s->started_us = clock_mono_us();
	list_move(&s->asked, &s->waiting);
	s->fetch = fetch_start(s->keeper->fetcher, &order);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	source_fetch(arg);
}

static void fetch_all(struct keeper *k)
{
	for (size_t i = 0; i < k->conf->n_jwts; i++) {
		if (k->sources[i].conf->jwks_url[0] != '\0')
			source_fetch(&k->sources[i]);
	}
}

/* ---- orders -------------------------------------------------------------------------------- */

/* Nothing is loaded, the issuer has just failed to answer, and may not be asked again yet: whoever
 * logs in now is better told so than kept waiting. */
static bool source_is_hopeless(const struct source *s)
{
	return s->file == NULL && s->url == NULL && s->fetch == NULL && s->code != 0 &&
	       clock_mono_us() < s->started_us + s->conf->jwks_min_refresh;
}

void keeper_order(struct keeper *k, struct keys_order *order)
{
	struct source *s;

	OBJ_CHECK(k, KEEPER_MAGIC);
	count(&k->waits);
	k->n_orders++;
	if (k->is_closed || k->n_orders > ORDERS_MAX || order->section >= k->conf->n_jwts) {
		answer(k, order, true);
		return;
	}
	s = &k->sources[order->section];
	if (s->conf->jwks_url[0] == '\0' || source_is_hopeless(s)) {
		answer(k, order, true);
		return;
	}
	list_push_back(&s->waiting, &order->link);
	source_schedule(s);
}

void keeper_refresh(struct keeper *k)
{
	OBJ_CHECK(k, KEEPER_MAGIC);
	read_files(k, true);
	fetch_all(k);
}

/* ---- another configuration ----------------------------------------------------------------- */

static void source_init(struct keeper *k, size_t i);
static void source_fini(struct source *s);

static struct source *source_find(struct source *sources, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(sources[i].conf->name, name) == 0)
			return &sources[i];
	}
	return NULL;
}

/* What was read from the same place is still good. */
static void source_inherit(struct source *s, struct source *old)
{
	if (strcmp(s->conf->jwks_file, old->conf->jwks_file) == 0) {
		s->file = old->file;
		old->file = NULL;
		s->seen = old->seen;
		snprintf(s->file_error, sizeof(s->file_error), "%s", old->file_error);
	}
	if (strcmp(s->conf->jwks_url, old->conf->jwks_url) == 0) {
		s->url = old->url;
		old->url = NULL;
		memcpy(s->digest, old->digest, sizeof(s->digest));
		s->started_us = old->started_us;
		s->code = old->code;
	}
}

/* Orders name sections of the old one: they are told to look again, and come back if they must. */
void keeper_set_conf(struct keeper *k, struct conf *conf)
{
	struct source *old = k->sources;
	size_t n_old = k->conf->n_jwts;
	struct conf *old_conf = k->conf;

	OBJ_CHECK(k, KEEPER_MAGIC);
	if (k->is_closed)
		return;
	k->conf = conf_get(conf);
	k->sources = mem_zalloc(conf->n_jwts * sizeof(k->sources[0]));
	for (size_t i = 0; i < conf->n_jwts; i++) {
		struct source *from = source_find(old, n_old, conf->jwts[i].name);

		source_init(k, i);
		if (from != NULL)
			source_inherit(&k->sources[i], from);
	}
	read_files(k, true);
	publish(k);
	for (size_t i = 0; i < n_old; i++) {
		answer_all(k, &old[i].asked, false);
		answer_all(k, &old[i].waiting, false);
		source_fini(&old[i]);
	}
	mem_free(old);
	conf_put(&old_conf);
	fetch_all(k);
}

static bool names_file(const struct conf *conf, const char *path)
{
	for (size_t i = 0; conf != NULL && i < conf->n_jwts; i++) {
		if (strcmp(conf->jwts[i].jwks_file, path) == 0)
			return true;
	}
	return false;
}

bool probe_check_files(const struct conf *old, const struct conf *fresh, char *err, size_t err_size)
{
	for (size_t i = 0; i < fresh->n_jwts; i++) {
		const struct conf_jwt *jwt = &fresh->jwts[i];
		struct auth_jwks *jwks;
		char why[512];

		if (jwt->jwks_file[0] == '\0' || names_file(old, jwt->jwks_file))
			continue;
		jwks = auth_jwks_load(jwt->jwks_file, why, sizeof(why));
		if (jwks == NULL) {
			snprintf(err, err_size, "%s: [jwt%s%s]: jwks_file: %s", fresh->path,
			         jwt->name[0] != '\0' ? " " : "", jwt->name, why);
			return false;
		}
		auth_jwks_put(&jwks);
	}
	return true;
}

/* ---- life ---------------------------------------------------------------------------------- */

static void source_init(struct keeper *k, size_t i)
{
	struct source *s = &k->sources[i];

	s->keeper = k;
	s->conf = &k->conf->jwts[i];
	list_init(&s->asked);
	list_init(&s->waiting);
	s->due = event_new(k->base, -1, 0, on_due, s);
	MUST(s->due != NULL);
}

/* Its orders are answered. */
static void source_fini(struct source *s)
{
	fetch_forget(&s->fetch);
	auth_jwks_put(&s->file);
	auth_jwks_put(&s->url);
	if (s->due != NULL)
		event_free(s->due);
}

struct keeper *keeper_new(struct event_base *base, struct conf *conf, char *err, size_t err_size)
{
	struct keeper *k = mem_zalloc(sizeof(*k));
	bool ok = true;

	OBJ_INIT(k, KEEPER_MAGIC);
	k->base = base;
	k->conf = conf_get(conf);
	k->fetcher = fetcher_new(base);
	k->sources = mem_zalloc(conf->n_jwts * sizeof(k->sources[0]));
	k->poll = event_new(base, -1, EV_PERSIST, on_poll, k);
	MUST(k->poll != NULL);
	for (size_t i = 0; ok && i < conf->n_jwts; i++) {
		source_init(k, i);
		(void)source_load(&k->sources[i], true, err, err_size);
		ok = err[0] == '\0';
	}
	k->keys = build(k);
	if (!ok)
		keeper_free(&k);
	return k;
}

struct auth_keys *keeper_keys(const struct keeper *k)
{
	OBJ_CHECK(k, KEEPER_MAGIC);
	return k->keys;
}

void keeper_start(struct keeper *k, probe_keys_fn *on_keys, void *arg)
{
	struct timeval period = after(FILE_POLL_US);

	OBJ_CHECK(k, KEEPER_MAGIC);
	k->on_keys = on_keys;
	k->arg = arg;
	MUST(event_add(k->poll, &period) == 0);
	fetch_all(k);
}

void keeper_stats(const struct keeper *k, struct probe_keys_stats *out)
{
	OBJ_CHECK(k, KEEPER_MAGIC);
	out->fetches = atomic_load_explicit(&k->fetches, memory_order_relaxed);
	out->fetch_failures = atomic_load_explicit(&k->fetch_failures, memory_order_relaxed);
	out->file_reads = atomic_load_explicit(&k->file_reads, memory_order_relaxed);
	out->file_failures = atomic_load_explicit(&k->file_failures, memory_order_relaxed);
	out->waits = atomic_load_explicit(&k->waits, memory_order_relaxed);
}

void keeper_close(struct keeper *k)
{
	OBJ_CHECK(k, KEEPER_MAGIC);
	k->is_closed = true;
	for (size_t i = 0; i < k->conf->n_jwts; i++) {
		fetch_forget(&k->sources[i].fetch);
		answer_all(k, &k->sources[i].asked, true);
		answer_all(k, &k->sources[i].waiting, true);
	}
}

void keeper_free(struct keeper **kp)
{
	struct keeper *k = *kp;

	*kp = NULL;
	OBJ_CHECK(k, KEEPER_MAGIC);
	for (size_t i = 0; i < k->conf->n_jwts; i++)
		source_fini(&k->sources[i]);
	mem_free(k->sources);
	event_free(k->poll);
	auth_keys_put(&k->keys);
	fetcher_free(&k->fetcher);
	conf_put(&k->conf);
	OBJ_FINI(k, KEEPER_MAGIC);
	mem_free(k);
}
