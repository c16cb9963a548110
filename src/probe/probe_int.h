/* What the files of the probe module share: the dialer (dialer.c) hands dials to dial.c and
 * cancels to cancel.c. All of it is the dialer thread's alone. */
#ifndef PGUSHER_PROBE_INT_H
#define PGUSHER_PROBE_INT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "probe.h"

/* ---- dial.c: connection attempts ------------------------------------------------------ */

/* Begins an attempt and puts it on the list; it answers the order, leaves the list and frees
 * itself. */
void dial_begin(struct dial *order, struct event_base *base, struct list *attempts);
/* Answers an order that was not begun. */
void dial_refuse(struct dial *order);
/* Ends every attempt on the list as failed. */
void dial_end_all(struct list *attempts);

/* ---- dial_tls.c ------------------------------------------------------------------------- */

struct conf_pgusher;
/* From now on the TLS connections that libpq begins on this thread have the cipher suites of
 * server_tls_ciphers and server_tls13_ciphers; they are copied. To be called before each call of
 * libpq that may begin a handshake. */
void dial_tls_use(const struct conf_pgusher *conf);
/* ssl_min_protocol_version and ssl_max_protocol_version; bits of enum conf_tls_protocol. */
const char *dial_tls_lowest(uint32_t protocols);
const char *dial_tls_highest(uint32_t protocols);

/* ---- dial_error.c --------------------------------------------------------------------- */

/* Reads libpq's error text of a failed login (verbosity PQERRORS_VERBOSE): the server's
 * SQLSTATE, 08001 when there is none, and one line of text without it. */
void dial_error_read(const char *text, char sqlstate[6], char *message, size_t size);

/* ---- cancel.c: queue, limit and deadline of cancels ----------------------------------- */

struct cancels;
struct cancels *cancels_new(struct event_base *base, struct mailbox *box);
void cancels_add(struct cancels *cancels, struct cancel_order *order);
/* Answers all as failed, and from now on every new one. */
void cancels_close(struct cancels *cancels);
/* Closed, and what the couriers had posted is delivered. */
void cancels_free(struct cancels **cp);

/* ---- couriers: cancel_async.c (libpq 17 and later) or cancel_thread.c ----------------- */

struct couriers;
struct courier;
typedef void courier_back_fn(void *arg, void *job, bool ok);

/* on_back is called once for each courier sent, with its job, or NULL when that was
 * forgotten meanwhile. */
struct couriers *couriers_new(struct event_base *base, struct mailbox *box,
                              courier_back_fn *on_back, void *arg);
/* Sends one off with a cancel for conn; NULL when that is impossible. */
struct courier *courier_send(struct couriers *couriers, PGconn *conn, void *job);
/* The job is void; may call on_back at once. */
void courier_forget(struct courier **cp);
/* No courier comes back any more, those whose letter is already in the box aside. */
void couriers_close(struct couriers *couriers);
void couriers_free(struct couriers **cp);

#endif
