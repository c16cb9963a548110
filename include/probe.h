/* The service threads. So far: the dialer, which opens backend connections with libpq
 * (PQconnectStart, PQconnectPoll on its own event loop; name look-ups may block it) and
 * delivers cancels. Workers never wait for it: orders go in and come back by mail. */
#ifndef PGUSHER_PROBE_H
#define PGUSHER_PROBE_H

#include "backend_dial.h"

struct dialer;
/* Starts the thread. To be called before the process has other threads: it takes libpq's PG*
 * variables out of the environment, some of which (PGTZ, PGSERVICE) no parameter overrides. */
struct dialer *dialer_new(void);
/* From any thread. The connection attempt ends after conf's server_connect_timeout (0: when
 * the network gives up). */
void dialer_dial(struct dialer *d, struct dial *order);
/* From any thread. */
void dialer_cancel(struct dialer *d, struct cancel_order *order);

/* A cancel request for a client of another PgUsher that shares our port (its peer). Passed on over
 * a connection of its own, which that one closes when it has taken it. */
struct peer_cancel {
	struct mail mail; /* posted to reply_to when answered; the asker sets deliver */
	struct mailbox *reply_to;
	const struct conf_peer *peer; /* of a configuration that the asker has a reference to */
	uint32_t pid, secret;         /* as they are sent */
	int64_t timeout_us;           /* cancel_wait_timeout; 0: PgUsher's own limit */
	bool ok;                      /* answer: the peer has taken it */
};
/* From any thread. What cannot be delivered is dropped; the log says so once in a while. */
void dialer_peer_cancel(struct dialer *d, struct peer_cancel *order);

/* Answers what is under way as failed, joins the thread. No order may be given any more; the
 * mailboxes they reply to must still be there. */
void dialer_free(struct dialer **d);

#endif
