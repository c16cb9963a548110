/* Heartbeats by number. A path's heartbeat need not be one that we have seen on the primary (of
 * another PgUsher's we may miss some): then the next older one that we have is a bound, too. But
 * number and stamp must fit between their neighbours: a node that follows another primary has
 * numbers of its own, which would tell nothing.
 *
 * The list is never cleared for want of room: when it is full, every other one of its older half
 * goes, so that it reaches back further and further, ever coarser: to the safe side. What is older
 * than the first of them (we have only just started) is measured by the primary's clock. */
#include <string.h>

#include "base/assert.h"
#include "fresh.h"
#include "fresh_beats.h"

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

void beats_clear(struct beats *b)
{
	b->n = 0;
	b->asked_us = FRESH_NEVER;
	b->clock_us = 0;
}

static void thin_out(struct beats *b)
{
	size_t half = BEATS_MAX / 2, kept = 0;

	for (size_t i = 0; i < half; i += 2)
		b->all[kept++] = b->all[i];
	memmove(&b->all[kept], &b->all[half], (b->n - half) * sizeof(b->all[0]));
	b->n -= half - kept;
}

/* (a) and (b) of fresh.c; FRESH_NEVER where neither says anything. */
static int64_t has_of(const struct beats *b, const struct beats_reading *r)
{
	int64_t by_clock = FRESH_NEVER;

	if (r->clock_us >= r->stamp_us)
		by_clock = r->asked_us - (r->clock_us - r->stamp_us);
	return by_clock > b->asked_us ? by_clock : least(b->asked_us, r->asked_us);
}

void beats_note(struct beats *b, const struct beats_reading *r)
{
	const struct beat *newest = b->n > 0 ? &b->all[b->n - 1] : NULL;
	struct beat beat = {r->id, r->stamp_us, FRESH_NEVER};

	/* The table was made anew, or its sequence set back: another history. */
	if (newest != NULL &&
	    (r->id < newest->id || (r->id == newest->id && r->stamp_us != newest->stamp_us))) {
		b->n = 0;
		newest = NULL;
	}
	if (r->id != 0 && (newest == NULL || r->id > newest->id))
		beat.has_us = has_of(b, r);
	b->asked_us = r->asked_us;
	b->clock_us = r->clock_us - r->asked_us;
	if (beat.has_us == FRESH_NEVER)
		return;
	if (b->n == BEATS_MAX)
		thin_out(b);
	b->all[b->n++] = beat;
}

/* How many there are up to and with this number. */
static size_t count_up_to(const struct beats *b, int64_t id)
{
	size_t low = 0, high = b->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (b->all[middle].id <= id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool beats_is_ahead(const struct beats *b, int64_t id)
{
	return b->n > 0 && id > b->all[b->n - 1].id;
}

int64_t beats_find(const struct beats *b, int64_t id, int64_t stamp_us)
{
	size_t n = count_up_to(b, id);
	const struct beat *at = n > 0 ? &b->all[n - 1] : NULL;
	const struct beat *next = n < b->n ? &b->all[n] : NULL;

	if (b->n == 0 || id == 0)
		return FRESH_NEVER;
	if (next != NULL && stamp_us > next->stamp_us)
		return FRESH_NEVER;
	if (at == NULL)
		return least(stamp_us - b->clock_us, next->has_us);
	if (stamp_us < at->stamp_us || (id == at->id && stamp_us != at->stamp_us))
		return FRESH_NEVER;
	return at->has_us;
}
