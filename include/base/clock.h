/* Clocks. Tests replace them with clock_fake. */
#ifndef PGUSHER_BASE_CLOCK_H
#define PGUSHER_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds on a clock that never goes back. */
int64_t clock_mono_us(void);
/* Seconds since 1970-01-01 UTC. */
int64_t clock_wall_s(void);
/* The same in microseconds. */
int64_t clock_wall_us(void);
/* From now on both clocks stand at these values; a negative mono_us ends it. */
void clock_fake(int64_t mono_us, int64_t wall_s);

#define US_PER_MS INT64_C(1000)
#define US_PER_S INT64_C(1000000)

#endif
