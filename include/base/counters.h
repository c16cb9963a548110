/* A set of counters (tbl/counters.h): plain numbers of one thread. */
#ifndef PGUSHER_BASE_COUNTERS_H
#define PGUSHER_BASE_COUNTERS_H

#include <stdint.h>

struct counters {
#define COUNTER(name, doc) uint64_t name;
#include "tbl/counters.h"
#undef COUNTER
};

void counters_add(struct counters *to, const struct counters *from);

#endif
