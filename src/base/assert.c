/* Where a broken invariant ends: a line on stderr and abort(), so that a core is left. */
#include "base/assert.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void assert_fail(const char *func, const char *file, int line, const char *what,
                           bool with_errno)
{
	fprintf(stderr, "pgusher: broken invariant in %s (%s:%d): %s%s%s\n", func, file, line, what,
	        with_errno ? ": " : "", with_errno ? strerror(errno) : "");
	abort();
}
