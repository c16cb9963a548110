/* What held at each savepoint of the transaction at hand: a stack, the newest last. identity.c and
 * wish.c keep one each, of entries of their own, which begin with the savepoint's name
 * (sql_stmt.savepoint).
 *
 * A savepoint is noted when it is sent. One that is skipped in a failed batch stays, and does no
 * harm unless the client goes back to an older one of the same name. */
#ifndef PGUSHER_SAVEPOINT_H
#define PGUSHER_SAVEPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* False: there are too many, and it is not noted. */
bool savepoint_note(struct buf *stack, const void *entry, size_t size);
/* The newest of this name; NULL: there is none. */
void *savepoint_find(const struct buf *stack, size_t size, uint64_t name);

#endif
