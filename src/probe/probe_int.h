/* What the files of the probe module share: the dialer (dialer.c) hands dials to dial.c and
 * cancels to cancel.c, all on the dialer's thread; the probe (probe.c) hands keys to keeper.c,
 * which fetches with fetch.c, and paths to watch.c, which asks through link.c, all on the probe's
 * thread. */
#ifndef PGUSHER_PROBE_INT_H
#define PGUSHER_PROBE_INT_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "auth_directory.h"
#include "fresh.h"
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

/* ---- peer.c: cancels for other processes' clients ------------------------------------- */

struct peers;
struct peers *peers_new(struct event_base *base);
void peers_add(struct peers *peers, struct peer_cancel *order);
/* Answers all as failed, and from now on every new one. */
void peers_close(struct peers *peers);
void peers_free(struct peers **pp);

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

/* ---- keeper.c: the keys of every [jwt] section ----------------------------------------- */

struct keeper;
/* Reads the files. NULL with the reason in err. */
struct keeper *keeper_new(struct event_base *base, struct conf *conf, char *err, size_t err_size);
/* Borrowed. */
struct auth_keys *keeper_keys(const struct keeper *keeper);
void keeper_start(struct keeper *keeper, probe_keys_fn *on_keys, void *arg);
void keeper_order(struct keeper *keeper, struct keys_order *order);
void keeper_refresh(struct keeper *keeper);
void keeper_set_conf(struct keeper *keeper, struct conf *conf);
/* From any thread. */
void keeper_stats(const struct keeper *keeper, struct probe_keys_stats *out);
/* Answers all, and from now on every new one at once. */
void keeper_close(struct keeper *keeper);
void keeper_free(struct keeper **kp);

/* ---- link.c: a session of the probe's on a node, kept up ------------------------------- */

struct link;
/* The result is valid during the call; asked_us: when the question was sent (monotonic). */
typedef void link_answer_fn(void *arg, const PGresult *result, int64_t asked_us);
struct link_config {
	struct event_base *base;
	struct dialer *dialer;
	struct mailbox *box; /* the probe's */
	struct conf *conf;
	const struct conf_database *database;
	const struct conf_node *node;
	const struct conf_role *role;
	void (*on_up)(void *arg);   /* it may be asked */
	void (*on_down)(void *arg); /* it may not; a question under way gets no answer */
	void *arg;
};
struct link *link_new(const struct link_config *config);
void link_open(struct link *l);
bool link_is_free(const struct link *l);
/* Of a free one; timeout_us 0: five seconds. */
void link_ask(struct link *l, const char *sql, int64_t timeout_us, link_answer_fn *on_answer);
/* Nothing is called any more. */
void link_close(struct link *l);
/* Closed, and every order to the dialer is answered. */
void link_free(struct link **lp);

/* ---- watch.c: heartbeats and the state of every path ------------------------------------ */

#define BEAT_SOURCE "pgusher" /* the row of the heartbeat table that is ours */

struct watch;
struct watch_config {
	struct event_base *base;
	struct dialer *dialer;
	struct mailbox *box;
	struct conf *conf;
	struct fresh *fresh;
	struct audit_queue *audit; /* NULL: nothing is told */
};
struct watch *watch_new(const struct watch_config *config);
/* Before watch_start. */
void watch_on_roles(struct watch *w, probe_roles_fn *on_roles, void *arg);
void watch_start(struct watch *w);
void watch_close(struct watch *w);
void watch_free(struct watch **wp);

/* ---- leader.c: a session on whichever node of a database is its primary ------------------ */

struct leader {
	struct fresh *fresh;
	size_t first, n; /* paths */
	struct link **links;
	bool *is_open;
};
/* on_down: a session was lost, which is in the log already; arg is link_ask's too. */
void leader_init(struct leader *l, const struct watch_config *config,
                 const struct conf_database *database, void (*on_down)(void *arg), void *arg);
/* Its link, opened at the first use, which may not be free; NULL while no node is the primary. */
struct link *leader_link(struct leader *l);
void leader_close(struct leader *l);
void leader_fini(struct leader *l);

/* ---- lister.c: the tenant directory ----------------------------------------------------- */

struct lister;
struct lister *lister_new(const struct watch_config *config, probe_directory_fn *on_directory,
                          void *arg);
void lister_start(struct lister *l);
void lister_close(struct lister *l);
void lister_free(struct lister **lp);

/* ---- catalog.c: the function catalogue -------------------------------------------------- */

/* ---- catalog_query.c */

/* The text of the query, with a NUL, into out. */
void catalog_query(const struct conf_context *context, struct buf *out);

struct cataloguer;
struct cataloguer *cataloguer_new(const struct watch_config *config, probe_catalog_fn *on_catalog,
                                  void *arg);
void cataloguer_start(struct cataloguer *c);
void cataloguer_close(struct cataloguer *c);
void cataloguer_free(struct cataloguer **cp);

/* ---- fetch.c: a document from a URL ---------------------------------------------------- */

struct fetcher;
struct fetch;

/* Valid during the call only. */
struct fetch_result {
	const char *error; /* NULL: there is a body */
	int code;          /* of the error: the same for the same cause */
	const char *body;
	size_t len;
};
typedef void fetch_done_fn(void *arg, const struct fetch_result *result);

struct fetch_order {
	const char *url;     /* https, or http to this machine (checked by conf) */
	const char *ca_file; /* "": the system's */
	size_t max_bytes;
	fetch_done_fn
		*done; /* on the loop, never from within fetch_start; the fetch ends with it */
	void *arg;
};

/* Before the process has other threads: libcurl's global part is not made for them. */
struct fetcher *fetcher_new(struct event_base *base);
/* No fetch is under way. */
void fetcher_free(struct fetcher **fp);
/* The strings are copied. Ends within ten seconds. */
struct fetch *fetch_start(struct fetcher *fetcher, const struct fetch_order *order);
/* Ends it without a word; *fp may be NULL. */
void fetch_forget(struct fetch **fp);

#endif
