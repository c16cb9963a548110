/* The defects that the staleness checker is shown to catch. Linked in front of the true functions
 * (ld's --wrap) into build/tests/staleness/pgusher-wrong, a PgUsher for the tests alone.
 * PGUSHER_WRONG says which one is wrong: lag, has. */
#include <stdlib.h>
#include <string.h>

#include "fresh.h"

#define ERROR_US (INT64_C(1500) * 1000)

int64_t __real_fresh_lag_us(const struct fresh *fresh, size_t path, int64_t now_us);
bool __real_fresh_has(const struct fresh *fresh, size_t path, int64_t since_us);
int64_t __wrap_fresh_lag_us(const struct fresh *fresh, size_t path, int64_t now_us);
bool __wrap_fresh_has(const struct fresh *fresh, size_t path, int64_t since_us);

static bool is_wrong(const char *what)
{
	const char *wrong = getenv("PGUSHER_WRONG");

	return wrong != NULL && strcmp(wrong, what) == 0;
}

/* A replica seems fresher than it is. */
int64_t __wrap_fresh_lag_us(const struct fresh *fresh, size_t path, int64_t now_us)
{
	int64_t lag_us = __real_fresh_lag_us(fresh, path, now_us);

	if (lag_us == FRESH_INFINITE || !is_wrong("lag"))
		return lag_us;
	return lag_us > ERROR_US ? lag_us - ERROR_US : 0;
}

/* A replica seems to have everybody's last write. */
bool __wrap_fresh_has(const struct fresh *fresh, size_t path, int64_t since_us)
{
	return is_wrong("has") || __real_fresh_has(fresh, path, since_us);
}
