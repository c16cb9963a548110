/* Where reads go: what the files of src/session/ that look ahead, choose a path and repeat a read
 * share with the others. */
#ifndef PGUSHER_ROUTE_INT_H
#define PGUSHER_ROUTE_INT_H

#include "session_int.h"

/* ahead.c: a batch up to its Sync */
struct ahead {
	bool reads;      /* and does nothing else */
	bool is_block;   /* and begins or ends a transaction block */
	int64_t told_us; /* it uses what was described before: when the epoch began; or 0 */
	size_t len;      /* with the Sync */
	struct fresh_wish wish;
};
void ahead_look(struct client *c, const struct message *m, const struct sql_stmt *first,
                struct ahead *ahead);

/* route.c */
enum route_part { ROUTE_NEITHER, ROUTE_READS, ROUTE_BEGINS, ROUTE_WRITES };
enum route_part route_part(const struct client *c, const struct sql_stmt *stmt);
/* Its database is known. */
void route_begin(struct client *c);
void route_free(struct client *c);
/* Where the message at hand, which needs a server, is to get one; only for who may_route and has
 * none. */
void route_query(struct client *c, const struct message *m, const struct sql_info *info);
void route_batch(struct client *c, const struct message *m, const struct sql_stmt *first);
static inline bool route_is_open(const struct client *c)
{
	return c->may_route && c->server == NULL;
}
/* The server at hand, or the one that is waited for, is not the primary's. */
static inline bool route_is_elsewhere(const struct client *c)
{
	return c->route != NULL && c->route->pool != NULL;
}
/* It can be repeated elsewhere: a read by itself. */
static inline bool route_is_kept(const struct client *c)
{
	return route_is_elsewhere(c) && c->route->kept.len > 0;
}
enum lease route_lease(struct client *c);
/* The analytics node cannot answer: true, and c->refused says so. */
bool route_is_refused(struct client *c);
void route_granted(struct pool_waiter *w, struct server *server);
void route_refused(struct pool_waiter *w, const struct wire_error *error);
bool route_is_waiting(const struct client *c);
/* It has waited long enough. False: it does not wait there. */
bool route_give_up(struct client *c);
/* Nor shall it be asked again: the wait ends with this error. */
bool route_end_wait(struct client *c);
void route_leave(struct client *c);
bool route_is_to_analytics(const struct client *c);
/* Why this cannot be sent to a server that is not the primary's; NULL: it can. */
const struct wire_error *route_refusal(const struct client *c, const struct sql_stmt *stmt);
static inline bool route_has_failed(const struct client *c)
{
	return c->route != NULL && c->route->has_failed;
}
static inline bool route_may_write(const struct client *c)
{
	return c->route != NULL && c->route->may_write;
}
void route_on_error(struct client *c, const char *sqlstate);
void route_on_bytes(struct client *c);
void route_on_flush(struct client *c);
void route_answered(struct client *c);
bool route_is_lost(struct client *c);
bool route_is_stuck(const struct client *c);
void route_repeat(struct client *c);
/* The client has sent a CancelRequest: what is at hand is not to be repeated. error: static. */
void route_cancelled(struct client *c, const struct wire_error *error);
void route_sent(struct client *c);
void route_note_stmt(struct client *c, const struct sql_stmt *stmt);
void route_committed(struct client *c);
void route_wrote(struct client *c);

#endif
