/* Adding up sets of counters. */
#include "base/counters.h"

void counters_add(struct counters *to, const struct counters *from)
{
#define COUNTER(name, doc) to->name += from->name;
#include "tbl/counters.h"
#undef COUNTER
}
