/* What the worker module's files share. */
#ifndef PGUSHER_WORKER_INT_H
#define PGUSHER_WORKER_INT_H

#include "conf.h"
#include "probe.h"
#include "session.h"

/* ---- forward.c: cancels for the clients of another process ----------------------------- */

/* Embedded in the worker; its fields are set when the worker is made. */
struct forwarder {
	struct conf *conf;
	struct dialer *dialer;
	struct mailbox *mailbox;
	struct session_env *session;
	int64_t logged_us; /* when a drop was last logged; 0: never */
};

/* Another process gave out this id. */
bool forward_is_wanted(const struct forwarder *from, uint32_t pid);
/* As session_env.route_cancel. */
bool forward_cancel(struct forwarder *from, uint32_t asker, const struct wire_cancel *cancel);

#endif
