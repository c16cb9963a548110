/* Which path a read goes to: what the probe has measured, against what the statement asks for.
 * Pure; src/fresh/route.c has the rules. */
#ifndef PGUSHER_FRESH_ROUTE_H
#define PGUSHER_FRESH_ROUTE_H

#include "fresh.h"

/* What a path is to one read: FRESH_VERDICT(NAME, "words"). From NOT_THERE on it could have been
 * the one, each nearer to it than the one before. */
#define FRESH_VERDICTS(FRESH_VERDICT)                                                              \
	FRESH_VERDICT(IS_PRIMARY, "the primary")                                                   \
	FRESH_VERDICT(NO_REPLICA, "not a replica")                                                 \
	FRESH_VERDICT(NO_ANALYTICS, "not an analytics node")                                       \
	FRESH_VERDICT(NO_WEIGHT, "weight is 0")                                                    \
	FRESH_VERDICT(NOT_THERE, "down")                                                           \
	FRESH_VERDICT(NO_SERVER, "no connection to it")                                            \
	FRESH_VERDICT(NO_LAG, "its lag is not known")                                              \
	FRESH_VERDICT(TOO_LATE, "too far behind")                                                  \
	FRESH_VERDICT(LACKS_WRITE, "lacks the latest write")                                       \
	FRESH_VERDICT(FITS, "fits")

enum fresh_verdict {
#define FRESH_VERDICT(name, words) FRESH_##name,
	FRESH_VERDICTS(FRESH_VERDICT)
#undef FRESH_VERDICT
};
const char *fresh_verdict_words(enum fresh_verdict verdict);

struct fresh_ask {
	struct fresh_wish wish;
	int64_t since_us; /* what was committed by then must be there; FRESH_NEVER: nothing must */
	int64_t now_us;
	int64_t analytics_target_us, analytics_max_us;
	bool serves_late; /* the analytics node answers however late it is */
	/* How many are at work or wait at a path; FRESH_NO_LOAD: nobody can be served there. */
	unsigned (*load)(void *arg, size_t path);
	void *arg;
	unsigned turn; /* among equals: another number, another choice */
};
#define FRESH_NO_LOAD UINT32_MAX

/* One path at ask->now_us, but for its load. */
enum fresh_verdict fresh_judge(const struct fresh *fresh, size_t path, const struct fresh_ask *ask);

struct fresh_choice {
	int path;        /* FRESH_NO_PATH: the primary, wherever that is */
	int64_t lag_us;  /* the path's; 0 at the primary */
	bool is_refused; /* nobody may answer it: an analytics node that is too late, or none */
	bool is_late;    /* an analytics node past its target: the client is to be told */
	/* What kept it from the best of the other paths, where it is the primary or refused. */
	enum fresh_verdict why;
	bool is_fallback; /* the primary because of that: another path was asked for */
};
/* first: fresh_find. For statements that only read. */
void fresh_route(const struct fresh *fresh, size_t first, size_t n, const struct fresh_ask *ask,
                 struct fresh_choice *choice);

#endif
