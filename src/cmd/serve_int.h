/* What the files of `pgusher serve` share: serve.c starts and ends it, reload.c changes its
 * configuration. All of it belongs to the main thread. */
#ifndef PGUSHER_CMD_SERVE_INT_H
#define PGUSHER_CMD_SERVE_INT_H

#include <event2/event.h>
#include <sys/stat.h>

#include "conf.h"
#include "net.h"
#include "probe.h"
#include "worker.h"

struct server_process {
	struct conf *conf;
	struct dialer *dialer;
	struct probe *probe;
	struct worker_shared shared;
	struct event_base *base;
	struct event *events[8];
	unsigned n_events;
	struct mailbox *mailbox;
	unsigned n_ended;
	bool is_draining; /* after a signal: the next one ends at once */
	bool is_background;
	int ready_fd;        /* of -d: who waits for us to be ready; 0: nobody */
	char unix_path[256]; /* "": none, or no longer ours */
	struct stat unix_stat;
};

/* serve.c: how many clients there are descriptors for; 0: unlimited. False with the reason in err.
 */
bool serve_client_room(const struct conf *conf, int *room, char *err, size_t err_size);
/* True where the audit log would go to a stdout that a process in the background has not. */
bool serve_says_to_nobody(const struct conf *conf);

/* reload.c */
/* The context for clients that conf asks for, NULL for none, and whether libpq will be able to use
 * the files of server_tls_*. False with the reason, "file:line: key: what is wrong", in err. */
bool serve_make_tls(const struct conf *conf, struct ssl_ctx_st **tls, char *err, size_t err_size);
/* The key of proofs; NULL in a plain context. */
bool serve_load_proof_key(const struct conf *conf, struct proof_key **key, char *err,
                          size_t err_size);
/* Reads the file again. order: the console's, answered when all have the new configuration; NULL:
 * the log is told only. */
void serve_reload(struct server_process *p, struct console_order *order);
/* Sets one option; order->key and value say which. */
void serve_set(struct server_process *p, struct console_order *order);

#endif
