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
/* Answers what is under way as failed, joins the thread. No order may be given any more; the
 * mailboxes they reply to must still be there. */
void dialer_free(struct dialer **d);

#endif
