/* The transaction tracker: where a client's transaction stands and whether it has its tenant
 * context. Pure: driven by what is sent (statement kinds) and by ReadyForQuery's status. */
#ifndef PGUSHER_SESSION_TXN_H
#define PGUSHER_SESSION_TXN_H

#include <stdbool.h>

#include "sql.h"

enum txn_state {
	TXN_NONE,   /* no transaction block ('I'); what is sent opens an implicit transaction */
	TXN_BLOCK,  /* in a block ('T') */
	TXN_FAILED, /* in a block that failed ('E') */
};

struct txn {
	enum txn_state state;
	bool has_context; /* the context is set in the transaction at hand */
	bool is_deferred; /* in a block whose BEGIN was answered by us and not sent yet */
};

/* Must the context be set before this statement runs? */
bool txn_needs_context(const struct txn *t, const struct sql_stmt *stmt);
/* The context is on its way, in front of what is sent next. */
void txn_context_sent(struct txn *t);
/* The statement was sent: the state is what it will be if it succeeds (if it does not, the server
 * skips the rest of the batch, and txn_ready corrects us). */
void txn_sent(struct txn *t, const struct sql_stmt *stmt);
/* ReadyForQuery: 'I', 'T' or 'E'. */
void txn_ready(struct txn *t, char status);
/* An error was answered by us, without a server: a block whose BEGIN was kept back has failed. */
void txn_failed_here(struct txn *t);
/* ReadyForQuery's status as the client sees it now. */
char txn_status(const struct txn *t);

#endif
