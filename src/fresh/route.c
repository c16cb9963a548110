/* The routing decision.
 *
 *   strong      the primary
 *   bounded     a replica whose lag is within max_lag and that has what read_your_writes asks
 *               for; else the primary
 *   eventual    a replica that is there, with the same regard for read_your_writes, however late
 *               it is otherwise; else the primary
 *   analytics   an analytics node within analytics_max_lag; else one that is there, however late,
 *               if the configuration says so; else nobody. Who asks for data of some minutes ago
 *               does not ask for his own last write
 *
 * A lag that is not known is infinite. A node that follows another history, or says that it is a
 * primary, is no replica at all. Among the paths that fit the one with the least work for its
 * weight is taken. */
#include "fresh_route.h"

#include "base/assert.h"
#include "base/mem.h"

const char *fresh_verdict_words(enum fresh_verdict verdict)
{
	static const char *const words[] = {
#define FRESH_VERDICT(name, words_) [FRESH_##name] = (words_),
		FRESH_VERDICTS(FRESH_VERDICT)
#undef FRESH_VERDICT
	};

	MUST((size_t)verdict < COUNT_OF(words));
	return words[verdict];
}

/* The node answers the probe, and what it shows comes from the primary. */
static bool is_there(const struct fresh *fresh, size_t path)
{
	switch (fresh_fault(fresh, path)) {
	case FRESH_NO_ROLE:
	case FRESH_NO_DBNAME:
	case FRESH_NEW:
	case FRESH_DOWN:
	case FRESH_FOREIGN:
		return false;
	default:
		return true;
	}
}

static enum fresh_verdict judge_role(const struct fresh *fresh, size_t path,
                                     const struct fresh_ask *ask)
{
	enum fresh_role role = fresh_role(fresh, path);
	bool is_analytics = fresh_node(fresh, path)->role == CONF_NODE_ANALYTICS;

	if (ask->wish.consistency == CONF_CONSISTENCY_ANALYTICS)
		return is_analytics ? FRESH_FITS : FRESH_NO_ANALYTICS;
	if (role == FRESH_PRIMARY)
		return FRESH_IS_PRIMARY;
	if (is_analytics || ask->wish.consistency == CONF_CONSISTENCY_STRONG)
		return FRESH_NO_REPLICA;
	return role == FRESH_REPLICA ? FRESH_FITS : FRESH_NOT_THERE;
}

static int64_t max_lag(const struct fresh_ask *ask)
{
	switch (ask->wish.consistency) {
	case CONF_CONSISTENCY_BOUNDED:
		return ask->wish.max_lag_us;
	case CONF_CONSISTENCY_ANALYTICS:
		return ask->serves_late ? FRESH_INFINITE : ask->analytics_max_us;
	default:
		return FRESH_INFINITE;
	}
}

enum fresh_verdict fresh_judge(const struct fresh *fresh, size_t path, const struct fresh_ask *ask)
{
	enum fresh_verdict verdict = judge_role(fresh, path, ask);
	int64_t max_us = max_lag(ask), lag_us;

	if (verdict != FRESH_FITS)
		return verdict;
	if (fresh_weight(fresh, path) == 0)
		return FRESH_NO_WEIGHT;
	if (!is_there(fresh, path))
		return FRESH_NOT_THERE;
	if (fresh_is_left_out(fresh, path))
		return FRESH_NO_SERVER;
	lag_us = fresh_lag_us(fresh, path, ask->now_us);
	if (lag_us == FRESH_INFINITE && max_us != FRESH_INFINITE)
		return FRESH_NO_LAG;
	if (lag_us > max_us)
		return FRESH_TOO_LATE;
	if (ask->since_us != FRESH_NEVER && ask->wish.consistency != CONF_CONSISTENCY_ANALYTICS &&
	    !fresh_has(fresh, path, ask->since_us))
		return FRESH_LACKS_WRITE;
	return FRESH_FITS;
}

/* The same by the work that is there already. */
struct best {
	int path;
	uint64_t load, weight;
	enum fresh_verdict why;
};

/* Is one more at (load, weight) less than one more at best? */
static bool is_less(uint64_t load, uint64_t weight, const struct best *best)
{
	return best->path == FRESH_NO_PATH || (load + 1) * best->weight < (best->load + 1) * weight;
}

static void consider(const struct fresh *fresh, size_t path, const struct fresh_ask *ask,
                     struct best *best)
{
	enum fresh_verdict verdict = fresh_judge(fresh, path, ask);
	uint64_t weight = (uint64_t)fresh_weight(fresh, path);
	unsigned load = 0;

	if (verdict == FRESH_FITS && ask->load != NULL)
		load = ask->load(ask->arg, path);
	if (load == FRESH_NO_LOAD)
		verdict = FRESH_NO_SERVER;
	if (verdict > best->why)
		best->why = verdict;
	if (verdict != FRESH_FITS || !is_less(load, weight, best))
		return;
	best->path = (int)path;
	best->load = load;
	best->weight = weight;
}

void fresh_route(const struct fresh *fresh, size_t first, size_t n, const struct fresh_ask *ask,
                 struct fresh_choice *choice)
{
	struct best best = {.path = FRESH_NO_PATH};
	bool is_analytics = ask->wish.consistency == CONF_CONSISTENCY_ANALYTICS;

	*choice = (struct fresh_choice){.path = FRESH_NO_PATH};
	if (ask->wish.consistency == CONF_CONSISTENCY_STRONG)
		return;
	for (size_t i = 0; i < n; i++)
		consider(fresh, first + (ask->turn + i) % n, ask, &best);
	choice->path = best.path;
	choice->why = best.why;
	if (best.path == FRESH_NO_PATH) {
		choice->is_refused = is_analytics;
		choice->is_fallback = !is_analytics && best.why > FRESH_NO_WEIGHT;
		return;
	}
	choice->lag_us = fresh_lag_us(fresh, (size_t)best.path, ask->now_us);
	choice->is_late = is_analytics && choice->lag_us > ask->analytics_target_us;
}
