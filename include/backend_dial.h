/* Orders to the dialer (include/probe.h), the thread that opens backend connections and
 * delivers cancels with libpq. An order is embedded in what the asker allocates, belongs to
 * the dialer until it is posted back, and is answered exactly once. */
#ifndef PGUSHER_BACKEND_DIAL_H
#define PGUSHER_BACKEND_DIAL_H

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

#include "net.h"

struct conf;

struct dial {
	struct mail mail; /* posted to reply_to when answered; the asker sets deliver */
	struct mailbox *reply_to;
	struct conf *conf; /* a reference of the asker's, who gives it up after the answer */
	const struct conf_node *node;
	const struct conf_database *database;
	/* Under [database *]: the database's name on the node, valid until answered. NULL: the
	 * section's. */
	const char *dbname;
	const struct conf_role *role;
	/* Answer. conn: logged in, idle, non-blocking, nothing left in libpq's buffers; owned by
	 * the asker from here (PQfinish). NULL: failed. */
	PGconn *conn;
	bool is_standby;   /* pg_is_in_recovery() at that moment */
	char sqlstate[6];  /* the server's, 08001 where it was not reached, 00000: no failure */
	char message[256]; /* one line, no secret */
};

struct cancel_order {
	struct mail mail;
	struct mailbox *reply_to;
	PGconn *conn; /* the one whose query is to end; borrowed, and only read, until answered */
	int64_t timeout_us; /* cancel_wait_timeout: answered by then; 0: no limit */
	/* Answer. The server closed the cancel connection after taking it. False: refused,
	 * unreachable or too slow, and it may yet arrive, so nobody else may be given conn. */
	bool ok;
};

#endif
