/* Broken invariants end the process: to test one, a child breaks it. */
#ifndef PGUSHER_TESTS_UNIT_BASE_DEATH_H
#define PGUSHER_TESTS_UNIT_BASE_DEATH_H

#include <stdbool.h>
#include <stddef.h>

/* Runs f in a child process. True when it ended by abort(); what it wrote to stderr is in said,
 * cut to size and NUL-terminated. */
bool death_of(void (*f)(void), char *said, size_t size);

#endif
