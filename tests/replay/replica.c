/* A scenario's second node: what the probe would have measured of it. */
#include "replay_int.h"

enum { PATH_A, PATH_B };

struct fresh *replica_new(struct conf *conf)
{
	struct fresh_view view = {.role = FRESH_PRIMARY,
	                          .has_us = clock_mono_us(),
	                          .seen_us = clock_mono_us(),
	                          .beat_id = 1,
	                          .timeline = 1};
	struct fresh *fresh;

	if (conf->freshness.probe_role[0] == '\0')
		return NULL;
	fresh = fresh_new(conf);
	fresh_set(fresh, PATH_A, &view);
	view.role = FRESH_REPLICA;
	fresh_set(fresh, PATH_B, &view);
	return fresh;
}

void replica_has(struct replay *t, int64_t lag_us)
{
	struct fresh *fresh = replay_session(t)->fresh;
	struct fresh_view view;

	fresh_look(fresh, PATH_B, &view);
	view.seen_us = clock_mono_us();
	view.has_us = view.seen_us - lag_us;
	fresh_set(fresh, PATH_B, &view);
}
