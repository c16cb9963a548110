/* Clocks, with a stand-still pair for tests. */
#include "base/clock.h"

#include <time.h>

#include "base/assert.h"

static int64_t fake_mono_us = -1;
static int64_t fake_wall_s;

void clock_fake(int64_t mono_us, int64_t wall_s)
{
	fake_mono_us = mono_us;
	fake_wall_s = wall_s;
}

int64_t clock_mono_us(void)
{
	struct timespec ts;

	if (fake_mono_us >= 0)
		return fake_mono_us;
	/* CLOCK_MONOTONIC stands still while the machine is suspended, and data grow old. */
	MUST_SYS(clock_gettime(CLOCK_BOOTTIME, &ts) == 0);
	return ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}

int64_t clock_wall_s(void)
{
	return fake_mono_us >= 0 ? fake_wall_s : (int64_t)time(NULL);
}

int64_t clock_wall_us(void)
{
	struct timespec ts;

	if (fake_mono_us >= 0)
		return fake_wall_s * US_PER_S;
	MUST_SYS(clock_gettime(CLOCK_REALTIME, &ts) == 0);
	return ts.tv_sec * US_PER_S + ts.tv_nsec / 1000;
}
