/* Gathers what goes to one stream during one event, and sends it with one system call: slices
 * of the read buffer as they are, and small pieces of ours copied into an arena. A worker has
 * one for each direction; between two events both are empty. */
#ifndef PGUSHER_NET_OUTVEC_H
#define PGUSHER_NET_OUTVEC_H

#include <sys/uio.h>

#include "net.h"

#define OUTVEC_IOVS 64
#define OUTVEC_ARENA_BYTES 16384

struct outvec {
	struct stream *to; /* NULL: nobody is using it */
	int n;
	bool ok; /* false once the stream has failed: the rest is dropped */
	size_t used;
	struct iovec iov[OUTVEC_IOVS];
	uint8_t arena[OUTVEC_ARENA_BYTES];
};

/* Nobody else may be using it. */
void outvec_begin(struct outvec *v, struct stream *to);
/* The bytes must stay where they are until outvec_end or outvec_push. */
void outvec_ref(struct outvec *v, const void *p, size_t len);
void outvec_copy(struct outvec *v, const void *p, size_t len);
/* Sends what is gathered so far: what outvec_ref was given may change afterwards. */
void outvec_push(struct outvec *v);
/* What is gathered is sent to nobody; frees it for the next user. */
void outvec_drop(struct outvec *v);
/* outvec_push, and frees it for the next user. False when the stream is broken. */
bool outvec_end(struct outvec *v);

#endif
