/* The service threads. The dialer opens backend connections with libpq (PQconnectStart,
 * PQconnectPoll on its own event loop; name look-ups may block it) and delivers cancels. The
 * probe keeps the keys that tokens are verified under, and measures how late each node is. Workers
 * never wait for either: orders go in and come back by mail. */
#ifndef PGUSHER_PROBE_H
#define PGUSHER_PROBE_H

#include "auth.h"
#include "backend_dial.h"
#include "base/list.h"
#include "wire.h"

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
	struct wire_cancel cancel;    /* as it is sent */
	int64_t timeout_us;           /* cancel_wait_timeout; 0: PgUsher's own limit */
	bool ok;                      /* answer: the peer has taken it */
};
/* From any thread. What cannot be delivered is dropped; the log says so once in a while. */
void dialer_peer_cancel(struct dialer *d, struct peer_cancel *order);

/* Answers what is under way as failed, joins the thread. No order may be given any more; the
 * mailboxes they reply to must still be there. */
void dialer_free(struct dialer **d);

/* ---- the probe ------------------------------------------------------------------------ */

struct conf;
struct probe;

/* Keys that have changed, on the probe's thread; the keys are borrowed. */
typedef void probe_keys_fn(void *arg, struct auth_keys *keys);

/* Reads the key files of every [jwt] section. NULL with the reason in err when one is no good.
 * The configuration's reference is the probe's own. */
struct probe *probe_new(struct conf *conf, char *err, size_t err_size);
/* What those files hold, borrowed; before probe_start only. */
struct auth_keys *probe_keys(const struct probe *p);
/* Starts the thread: fetches every jwks_url, and from then on tells of every change. After
 * dialer_new, which changes the environment. */
void probe_start(struct probe *p, probe_keys_fn *on_keys, void *arg);

/* From the start on: writes and reads heartbeats and tells `fresh` what every path has, and the
 * audit log (NULL: none), through a queue of the probe's own, which node is fenced. Before
 * probe_start; all outlive the probe's thread, conf and fresh the probe. */
struct fresh;
struct audit_queue;
void probe_watch(struct probe *p, struct conf *conf, struct dialer *dialer, struct fresh *fresh,
                 struct audit_queue *audit);
/* Who is the primary, what a node says that it is, or whether it answers, is another than before:
 * fresh knows it. On the probe's thread; after probe_watch, before probe_start. */
typedef void probe_roles_fn(void *arg);
void probe_on_roles(struct probe *p, probe_roles_fn *on_roles, void *arg);
/* The tenant directory has changed, on the probe's thread; it is borrowed. */
typedef void probe_directory_fn(void *arg, struct auth_directory *directory);
/* Loads directory_query's answers; after probe_watch, before probe_start, where it is set. */
void probe_list_tenants(struct probe *p, probe_directory_fn *on_directory, void *arg);
/* The function catalogue has changed, on the probe's thread; it is borrowed. */
struct sql_catalog;
typedef void probe_catalog_fn(void *arg, struct sql_catalog *catalog);
/* Loads it; after probe_watch, before probe_start, where there is a probe_role. */
void probe_list_functions(struct probe *p, probe_catalog_fn *on_catalog, void *arg);
/* Ends the thread: it gives the dialer no orders any more, whose answers may still come. */
void probe_stop(struct probe *p);

/* A wish for keys of a section that are newer than the wish. It comes back by mail behind the
 * next fetch, and behind the new keys if there are any; at once where there is nothing to wait
 * for. */
struct keys_order {
	struct mail mail;
	struct mailbox *reply_to;
	unsigned section; /* in conf's jwts */
	bool is_final;    /* the answer: false, there are new keys, but asked for before the wish */
	struct list link; /* the probe's */
};
/* From any thread. */
void probe_await_keys(struct probe *p, struct keys_order *order);
/* From any thread: reads every file and fetches every URL now. */
void probe_refresh_keys(struct probe *p);

/* Another configuration. It comes back by mail when the workers have been told of the keys of its
 * sections, of which those that could be read or fetched by now are there; every file is read and
 * every URL fetched now. */
struct probe_conf_order {
	struct mail mail; /* the asker sets deliver */
	struct mailbox *reply_to;
	struct conf *conf; /* the asker's reference */
};
/* From any thread. */
void probe_set_conf(struct probe *p, struct probe_conf_order *order);
/* Whether the key files that fresh names can be used: to be asked first. Those that old names are
 * not looked at; NULL: all are. False with the reason in err. */
bool probe_check_files(const struct conf *old, const struct conf *fresh, char *err,
                       size_t err_size);

/* Since the start, all sections together. */
struct probe_keys_stats {
	uint64_t fetches, fetch_failures; /* begun; failed, or no key set came */
	uint64_t file_reads, file_failures;
	uint64_t waits; /* orders: logins that met an unknown key */
};
/* From any thread. */
void probe_keys_stats(const struct probe *p, struct probe_keys_stats *out);
/* Answers every order, joins the thread. No order may be given any more; the mailboxes they
 * reply to must still be there. */
void probe_free(struct probe **p);

#endif
