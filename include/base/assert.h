/* Assertions and object magics. They stay on in release builds: a proxy that has lost
 * track of whose bytes it holds must stop, not guess.
 *
 * MUST       a programming error otherwise
 * MUST_SYS   a system call that cannot fail in a correct program; prints errno
 *
 * A long-lived object starts with `uint32_t magic`, set by OBJ_INIT and checked at every
 * entry of its module with OBJ_CHECK. */
#ifndef PGUSHER_BASE_ASSERT_H
#define PGUSHER_BASE_ASSERT_H

#include <stdbool.h>
#include <stdint.h>

_Noreturn void assert_fail(const char *func, const char *file, int line, const char *what,
                           bool with_errno);

#define MUST(cond)                                                                                 \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			assert_fail(__func__, __FILE__, __LINE__, #cond, false);                   \
	} while (0)

#define MUST_SYS(cond)                                                                             \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			assert_fail(__func__, __FILE__, __LINE__, #cond, true);                    \
	} while (0)

#define MUST_NOT_REACH() assert_fail(__func__, __FILE__, __LINE__, "not reached", false)

#define OBJ_INIT(obj, magic_)                                                                      \
	do {                                                                                       \
		(obj)->magic = (magic_);                                                           \
	} while (0)
#define OBJ_CHECK(obj, magic_) MUST((obj) != NULL && (obj)->magic == (magic_))
/* Marks an object dead: a later OBJ_CHECK on a stale pointer fails. */
#define OBJ_FINI(obj, magic_)                                                                      \
	do {                                                                                       \
		OBJ_CHECK(obj, magic_);                                                            \
		(obj)->magic = 0;                                                                  \
	} while (0)

#endif
