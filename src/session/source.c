/* Where statements ran, and how late that was, as clients are told.
 *
 * ParameterStatus goes out in front of ReadyForQuery, where PostgreSQL itself reports settings that
 * have changed: never among the messages of a statement, nor in COPY, and once for a whole batch.
 *
 * A lag is told rounded up, so that it stays a bound: to 0.1 s, from 10 s on to whole seconds. A
 * replica's lag swings with the heartbeat; exact, it would be a message with every statement. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "session_int.h"

#define STEP_US (100 * US_PER_MS)
#define COARSE_US (10 * US_PER_S)

/* In tenths of a second; FRESH_INFINITE stays. */
static int64_t tenths(int64_t lag_us)
{
	int64_t step = lag_us > COARSE_US ? US_PER_S : STEP_US;

	if (lag_us <= 0 || lag_us > INT64_MAX - step)
		return lag_us <= 0 ? 0 : FRESH_INFINITE;
	return (lag_us + step - 1) / step * (step / STEP_US);
}

void source_lag_text(int64_t lag_us, char text[SOURCE_LAG_MAX])
{
	int64_t n = tenths(lag_us);

	if (n == FRESH_INFINITE)
		snprintf(text, SOURCE_LAG_MAX, "Infinity");
	else if (n % 10 == 0)
		snprintf(text, SOURCE_LAG_MAX, "%lld", (long long)(n / 10));
	else
		snprintf(text, SOURCE_LAG_MAX, "%lld.%d", (long long)(n / 10), (int)(n % 10));
}

double source_lag_seconds(int64_t lag_us)
{
	int64_t n = tenths(lag_us);

	return n == FRESH_INFINITE ? (double)INFINITY : (double)n / 10;
}

const char *source_indicator(int64_t lag_us)
{
	int64_t n = tenths(lag_us);

	if (n == FRESH_INFINITE)
		return "stale";
	return n < 10 ? "real-time" : n <= 100 ? "near-real-time" : "delayed";
}

static void put(struct client *c, const char *name, const char *value)
{
	wire_put_parameter(c->env->backend->scratch, name, value);
	client_put(c, c->env->backend->scratch);
}

/* One node may be known by two copies of its name. */
static bool is_same_node(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

void wish_report(struct client *c)
{
	const struct source *now = &c->source;
	bool is_first = c->told.node == NULL;
	char lag[SOURCE_LAG_MAX];

	if (now->node == NULL || (now->node == c->told.node && now->lag_us == c->told.lag_us &&
	                          now->consistency == c->told.consistency))
		return;
	if (!wish_reports(c))
		return;
	server_pass_on(c->server);
	if (!is_same_node(now->node, c->told.node))
		put(c, "usher.data_source", now->node);
	if (is_first || tenths(now->lag_us) != tenths(c->told.lag_us)) {
		source_lag_text(now->lag_us, lag);
		put(c, "usher.data_lag_seconds", lag);
	}
	if (is_first || now->consistency != c->told.consistency)
		put(c, "usher.consistency_level", conf_consistency_name(now->consistency));
	c->told = *now;
}
