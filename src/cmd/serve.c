/* `pgusher serve`: reads the configuration, binds, starts the dialer, the probe and the workers,
 * and then waits for signals. Only this file and main.c end the process.
 *
 *   SIGTERM         drains: no new clients, transactions finish until shutdown_timeout
 *   SIGINT (Ctrl-C) ends at once; so does a second SIGTERM
 *   SIGHUP          RELOAD (reload.c): reads the configuration and what it names again
 *   SIGUSR1         PAUSE; SIGUSR2: RESUME
 *
 * The console's RELOAD, SET and SHUTDOWN come here by mail. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "audit.h"
#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd.h"
#include "serve_int.h"

#define ADDRESSES_MAX 32
/* Log, files that are read, dialer, cancels on their way; then a worker's loop, mail, listeners. */
#define DESCRIPTORS_OWN 128
#define DESCRIPTORS_WORKER 8
#define DESCRIPTORS_CLIENTS_MIN 8

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher serve -c FILE [-d] [-v]\n"
	      "  -c FILE  the configuration (see etc/pgusher.ini)\n"
	      "  -d       run in the background (needs logfile)\n"
	      "  -v       log more\n"
	      "SIGTERM lets transactions finish, SIGINT ends at once, SIGHUP reads the\n"
	      "configuration, keys and certificates and opens the log again, SIGUSR1 is PAUSE, "
	      "SIGUSR2 RESUME.\n",
	      out);
	return status;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "pgusher: %s%s%s\n", what, why[0] != '\0' ? ": " : "", why);
	return 1;
}

/* ---- keys ----------------------------------------------------------------------------------- */

/* On the probe's thread. */
static void set_keys(void *arg, struct auth_keys *keys)
{
	struct server_process *p = arg;

	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_set_keys(p->shared.workers[i], keys);
}

/* On the probe's thread. */
static void set_catalog(void *arg, struct sql_catalog *catalog)
{
	struct server_process *p = arg;

	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_set_catalog(p->shared.workers[i], catalog);
}

static void set_directory(void *arg, struct auth_directory *directory)
{
	struct server_process *p = arg;

	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_set_directory(p->shared.workers[i], directory);
}

static void follow_roles(void *arg)
{
	struct server_process *p = arg;

	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_follow_roles(p->shared.workers[i]);
}

/* ---- the workers' ends ---------------------------------------------------------------------- */

struct end_letter {
	struct mail mail;
};

static void on_end(struct mail *mail, void *owner)
{
	struct server_process *p = owner;

	mem_free(CONTAINER_OF(mail, struct end_letter, mail));
	if (++p->n_ended == p->shared.n_workers)
		event_base_loopbreak(p->base);
}

/* On the worker's thread. */
static void tell_end(void *arg)
{
	struct server_process *p = arg;
	struct end_letter *letter = mem_zalloc(sizeof(*letter));

	letter->mail.deliver = on_end;
	mailbox_post(p->mailbox, &letter->mail);
}

/* ---- the unix socket's file ------------------------------------------------------------------ */

/* Only if it still is the one that we made: another process may have taken the path over. */
static void remove_socket(struct server_process *p)
{
	struct stat now;

	if (p->unix_path[0] != '\0' && lstat(p->unix_path, &now) == 0 &&
	    now.st_ino == p->unix_stat.st_ino && now.st_dev == p->unix_stat.st_dev)
		(void)unlink(p->unix_path);
	p->unix_path[0] = '\0';
}

/* ---- signals -------------------------------------------------------------------------------- */

/* The main thread's own queue is behind the workers', and the probe's behind that. */
static void audit_signal(struct server_process *p, const char *name, const char *action)
{
	struct audit_queue *queue = audit_queue(p->shared.audit, p->shared.n_workers);
	struct audit_record *r = audit_begin(queue, AUDIT_ADMIN);

	if (r == NULL)
		return;
	AUDIT_COPY(r->action, action);
	AUDIT_COPY(r->client, name);
	r->outcome = "accepted";
	audit_commit(queue);
}

static void drain(struct server_process *p, int64_t timeout_us)
{
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_drain(p->shared.workers[i], timeout_us);
}

static void on_terminate(evutil_socket_t sig, short what, void *arg)
{
	struct server_process *p = arg;
	bool at_once = sig == SIGINT || p->is_draining;

	(void)what;
	log_info("%s: %s", sig == SIGINT ? "SIGINT" : "SIGTERM",
	         at_once ? "ending" : "waiting for transactions to end");
	audit_signal(p, sig == SIGINT ? "SIGINT" : "SIGTERM", "SHUTDOWN");
	p->is_draining = true;
	/* Nobody is let in any more; whoever comes after us can have the path at once. */
	remove_socket(p);
	drain(p, at_once ? 0 : p->conf->pgusher.shutdown_timeout);
}

static void on_hangup(evutil_socket_t sig, short what, void *arg)
{
	(void)sig, (void)what;
	audit_signal(arg, "SIGHUP", "RELOAD");
	serve_reload(arg, NULL);
}

static void on_pause_signal(evutil_socket_t sig, short what, void *arg)
{
	struct server_process *p = arg;

	(void)what;
	log_info(sig == SIGUSR1 ? "SIGUSR1: PAUSE" : "SIGUSR2: RESUME");
	audit_signal(p, sig == SIGUSR1 ? "SIGUSR1" : "SIGUSR2",
	             sig == SIGUSR1 ? "PAUSE" : "RESUME");
	console_signal(p->shared.console, sig == SIGUSR1);
}

/* From the first line until there are handlers, so that a signal at the start waits instead of
 * killing; in the other threads for good. SIGINT stays what it is: a start that hangs (a name
 * look-up) can be interrupted. */
static void hold_signals(int how)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	MUST(pthread_sigmask(how, &set, NULL) == 0);
}

/* ---- the console's orders -------------------------------------------------------------------- */

/* The answer is posted before the drain, so the client gets it first. A SIGTERM that comes behind
 * WAIT_FOR_* is the first one: transactions have shutdown_timeout from then on. */
static void shut_down(struct server_process *p, enum console_order_kind kind)
{
	for (unsigned i = 0; i < p->shared.n_workers; i++) {
		if (kind == ORDER_SHUTDOWN_CLIENTS)
			worker_wait_clients(p->shared.workers[i]);
		else
			worker_drain(p->shared.workers[i],
			             kind == ORDER_SHUTDOWN ? 0 : INT64_MAX / 2);
	}
}

static void on_order(struct mail *mail, void *owner)
{
	struct console_order *order = CONTAINER_OF(mail, struct console_order, mail);
	struct server_process *p = owner;
	enum console_order_kind kind = order->kind;

	if (p->n_ended == p->shared.n_workers) {
		console_order_drop(order);
		return;
	}
	if (kind == ORDER_RELOAD) {
		serve_reload(p, order);
		return;
	}
	if (kind == ORDER_SET) {
		serve_set(p, order);
		return;
	}
	/* SHUTDOWN at once is answered by the end, as PgBouncer's. */
	if (kind == ORDER_SHUTDOWN)
		console_order_drop(order);
	else
		console_order_done(order);
	shut_down(p, kind);
}

/* On a worker's thread. */
static void take_order(void *arg, struct console_order *order)
{
	struct server_process *p = arg;

	order->mail.deliver = on_order;
	mailbox_post(p->mailbox, &order->mail);
}

static void add_event(struct server_process *p, struct event *event)
{
	MUST(event != NULL && event_add(event, NULL) == 0);
	MUST(p->n_events < COUNT_OF(p->events));
	p->events[p->n_events++] = event;
}

static void watch(struct server_process *p)
{
	p->base = event_base_new();
	MUST(p->base != NULL);
	p->mailbox = mailbox_new(p->base, p);
	p->shared.on_end = tell_end;
	p->shared.on_end_arg = p;
	add_event(p, evsignal_new(p->base, SIGTERM, on_terminate, p));
	add_event(p, evsignal_new(p->base, SIGINT, on_terminate, p));
	add_event(p, evsignal_new(p->base, SIGHUP, on_hangup, p));
	add_event(p, evsignal_new(p->base, SIGUSR1, on_pause_signal, p));
	add_event(p, evsignal_new(p->base, SIGUSR2, on_pause_signal, p));
}

/* ---- start ---------------------------------------------------------------------------------- */

/* Raises the limit, and sees how many clients that is room for: servers, cancels and our own must
 * have descriptors even when there are more clients than that, or nobody is served any more. */
bool serve_client_room(const struct conf *conf, int *room, char *err, size_t err_size)
{
	rlim_t servers = (rlim_t)conf->pgusher.max_server_conn * conf->n_nodes;
	rlim_t own = DESCRIPTORS_OWN + (rlim_t)conf->pgusher.workers * DESCRIPTORS_WORKER;
	struct rlimit limit;

	*room = 0;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max == RLIM_INFINITY)
		return true;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (servers > limit.rlim_max / 2)
		servers = limit.rlim_max / 2;
	if (limit.rlim_max < servers + own + DESCRIPTORS_CLIENTS_MIN) {
		snprintf(err, err_size, "the descriptor limit (ulimit -n) is %llu, too low",
		         (unsigned long long)limit.rlim_max);
		return false;
	}
	if (limit.rlim_max - servers - own > INT_MAX)
		return true;
	*room = (int)(limit.rlim_max - servers - own);
	if (*room < conf->pgusher.max_client_conn)
		log_warning("the descriptor limit (ulimit -n) is %llu: there is room for about %d "
		            "clients, not for max_client_conn = %d",
		            (unsigned long long)limit.rlim_max, *room,
		            conf->pgusher.max_client_conn);
	return true;
}

static bool bind_address(struct server_process *p, const char *address, char *err, size_t err_size)
{
	for (unsigned i = 0; i < p->shared.n_workers; i++) {
		int fd = listener_bind_tcp(address, p->conf->pgusher.listen_port, err, err_size);

		if (fd < 0)
			return false;
		worker_listen(p->shared.workers[i], fd);
	}
	log_info("listening on %s port %u", address, p->conf->pgusher.listen_port);
	return true;
}

/* A unix socket cannot be bound twice: the workers accept on copies of one descriptor. */
static bool bind_unix(struct server_process *p, char *err, size_t err_size)
{
	int fd;

	snprintf(p->unix_path, sizeof(p->unix_path), "%s/.s.PGSQL.%u",
	         p->conf->pgusher.unix_socket_dir, p->conf->pgusher.listen_port);
	fd = listener_bind_unix(p->unix_path, err, err_size);
	if (fd < 0) {
		p->unix_path[0] = '\0';
		return false;
	}
	(void)lstat(p->unix_path, &p->unix_stat);
	for (unsigned i = 1; i < p->shared.n_workers; i++) {
		int copy = dup(fd);

		MUST_SYS(copy >= 0);
		worker_listen(p->shared.workers[i], copy);
	}
	worker_listen(p->shared.workers[0], fd);
	log_info("listening on %s", p->unix_path);
	return true;
}

/* The unix socket first, as it has one owner: where that is another process, this one must not have
 * been dealt TCP clients, whom its end would reset. */
static bool bind_all(struct server_process *p, char *err, size_t err_size)
{
	char *list = mem_strdup(p->conf->pgusher.listen_addr), *rest = list, *address;
	bool ok = p->conf->pgusher.unix_socket_dir[0] == '\0' || bind_unix(p, err, err_size);

	while (ok && (address = strsep(&rest, ", \t")) != NULL) {
		if (address[0] != '\0')
			ok = bind_address(p, address, err, err_size);
	}
	mem_free(list);
	return ok;
}

static void dial(void *dialer, struct dial *order)
{
	dialer_dial(dialer, order);
}

static void cancel(void *dialer, struct cancel_order *order)
{
	dialer_cancel(dialer, order);
}

static bool prepare(struct server_process *p, char *err, size_t err_size)
{
	const struct conf_pgusher *conf = &p->conf->pgusher;
	const struct console_main console = {.take = take_order, .arg = p};
	char why[512];

	p->probe = probe_new(p->conf, err, err_size);
	if (p->probe == NULL)
		return false;
	if (!serve_load_proof_key(p->conf, &p->shared.proof_key, err, err_size))
		return false;
	if (!serve_make_tls(p->conf, &p->shared.tls, err, err_size))
		return false;
	if (!audit_new(p->conf, (unsigned)conf->workers + 2, &p->shared.audit, why, sizeof(why))) {
		snprintf(err, err_size, "%s:%d: file: %s", p->conf->path,
		         conf_line(p->conf, "audit", "file"), why);
		return false;
	}
	p->dialer = dialer_new();
	p->shared.conf = p->conf;
	p->shared.fresh = fresh_new(p->conf);
	probe_watch(p->probe, p->conf, p->dialer, p->shared.fresh,
	            audit_queue(p->shared.audit, (unsigned)conf->workers + 1));
	probe_on_roles(p->probe, follow_roles, p);
	if (p->conf->tenants.directory_query[0] != '\0')
		probe_list_tenants(p->probe, set_directory, p);
	if (p->conf->freshness.probe_role[0] != '\0')
		probe_list_functions(p->probe, set_catalog, p);
	p->shared.n_workers = (unsigned)conf->workers;
	p->shared.pools = pools_shared_new(p->shared.n_workers);
	p->shared.console = console_shared_new(p->shared.n_workers, &console);
	p->shared.dialer =
		(struct pool_dialer){.dial = dial, .cancel = cancel, .dialer = p->dialer};
	p->shared.peer_dialer = p->dialer;
	p->shared.probe = p->probe;
	p->shared.workers = mem_zalloc(p->shared.n_workers * sizeof(p->shared.workers[0]));
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		p->shared.workers[i] = worker_new(&p->shared, i, probe_keys(p->probe));
	return bind_all(p, err, err_size);
}

static void warn_of_guard(const struct conf *conf)
{
	if (conf->guard.mode == SQL_GUARD_OFF && conf->context.mode == CONF_CONTEXT_PLAIN)
		log_warning("[guard] mode = off with [context] mode = plain: every client can "
		            "choose its "
		            "tenant");
}

static void run(struct server_process *p)
{
	watch(p);
	probe_start(p->probe, set_keys, p);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_start(p->shared.workers[i]);
	warn_of_guard(p->conf);
	log_info("PgUsher %s is ready: %u workers", PGUSHER_VERSION, p->shared.n_workers);
	if (p->ready_fd != 0)
		daemon_ready(p->ready_fd);
	hold_signals(SIG_UNBLOCK);
	MUST(event_base_dispatch(p->base) >= 0);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_join(p->shared.workers[i]);
}

static void finish(struct server_process *p)
{
	if (p->probe != NULL)
		probe_stop(p->probe);
	if (p->dialer != NULL)
		dialer_free(&p->dialer);
	if (p->probe != NULL)
		probe_free(&p->probe);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_stop(p->shared.workers[i]);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_free(&p->shared.workers[i]);
	mem_free(p->shared.workers);
	if (p->shared.pools != NULL)
		pools_shared_free(&p->shared.pools);
	/* Behind the last one who has a queue. */
	audit_free(&p->shared.audit);
	if (p->shared.fresh != NULL)
		fresh_free(&p->shared.fresh);
	if (p->shared.console != NULL)
		console_shared_free(&p->shared.console);
	for (unsigned i = 0; i < p->n_events; i++)
		event_free(p->events[i]);
	if (p->base != NULL) {
		mailbox_free(&p->mailbox);
		event_base_free(p->base);
	}
	remove_socket(p);
	SSL_CTX_free(p->shared.tls);
	proof_key_put(&p->shared.proof_key);
	conf_put(&p->conf);
	libevent_global_shutdown();
}

/* In the background stdout is /dev/null. */
bool serve_says_to_nobody(const struct conf *conf)
{
	return strcmp(conf->audit.file, "stdout") == 0;
}

static int serve(const char *path, bool background, bool verbose)
{
	struct server_process p = {.is_background = background};
	struct conf_error conf_err;
	enum daemon_part part = DAEMON_CHILD;
	char err[1024] = "";
	int status = 0;

	p.conf = conf_load(path, &conf_err);
	if (p.conf == NULL)
		return fail(conf_err.text, "");
	if (background && p.conf->pgusher.logfile[0] == '\0')
		status = fail("-d needs logfile in the configuration", "");
	else if (p.conf->pgusher.logfile[0] != '\0' && !log_open(p.conf->pgusher.logfile))
		status = fail(p.conf->pgusher.logfile, strerror(errno));
	else if (background && serve_says_to_nobody(p.conf))
		status = fail("-d has no stdout for [audit] file = stdout: name a file, or syslog:",
		              "");
	else if (background)
		part = daemon_start(&p.ready_fd, &status);
	if (part == DAEMON_FAILED)
		status = fail("cannot run in the background", strerror(errno));
	if (verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	if (status == 0 && part == DAEMON_CHILD) {
		if (serve_client_room(p.conf, &p.shared.client_room, err, sizeof(err)) &&
		    prepare(&p, err, sizeof(err))) {
			run(&p);
			log_info("PgUsher has ended");
		} else {
			status = fail("cannot start", err);
			if (p.conf->pgusher.logfile[0] != '\0')
				log_error("cannot start: %s", err);
		}
	}
	finish(&p);
	return status;
}

int cmd_serve(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"daemon", no_argument, NULL, 'd'},
	                                        {"verbose", no_argument, NULL, 'v'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {0}};
	const char *path = NULL;
	bool background = false, verbose = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:dvh", options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			path = optarg;
			break;
		case 'd':
			background = true;
			break;
		case 'v':
			verbose = true;
			break;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 2);
		}
	}
	if (path == NULL || optind != argc)
		return usage(stderr, 2);
	signal(SIGPIPE, SIG_IGN);
	hold_signals(SIG_BLOCK);
	return serve(path, background, verbose);
}
