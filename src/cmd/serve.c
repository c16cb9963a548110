/* `pgusher serve`: reads the configuration, binds, starts the dialer and the workers, and then
 * waits for signals and for a new key file. Only this file and main.c end the process.
 *
 *   SIGTERM         drains: no new clients, transactions finish until shutdown_timeout
 *   SIGINT (Ctrl-C) ends at once; so does a second SIGTERM
 *   SIGHUP          opens the log file again and reads the keys again */
#include <errno.h>
#include <event2/event.h>
#include <getopt.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cmd.h"
#include "conf.h"
#include "net.h"
#include "probe.h"
#include "worker.h"

#define KEY_POLL_MS 500
#define ADDRESSES_MAX 32

struct server_process {
	struct conf *conf;
	struct auth_keys *keys;
	struct stat keys_stat;
	struct dialer *dialer;
	struct worker_shared shared;
	struct event_base *base;
	struct event *events[8];
	unsigned n_events;
	struct mailbox *mailbox;
	unsigned n_ended;
	bool is_draining;
	int ready_fd;        /* of -d: who waits for us to be ready; 0: nobody */
	char unix_path[256]; /* "": none, or no longer ours */
	struct stat unix_stat;
};

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher serve -c FILE [-d] [-v]\n"
	      "  -c FILE  the configuration (see etc/pgusher.ini)\n"
	      "  -d       run in the background (needs logfile)\n"
	      "  -v       log more\n"
	      "SIGTERM lets transactions finish, SIGINT ends at once, SIGHUP opens the log "
	      "again.\n",
	      out);
	return status;
}

static int fail(const char *what, const char *why)
{
	fprintf(stderr, "pgusher: %s%s%s\n", what, why[0] != '\0' ? ": " : "", why);
	return 1;
}

/* ---- keys ----------------------------------------------------------------------------------- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Takes the key file when it has changed; keeps the old keys when it is no good. */
static void reload_keys(struct server_process *p, bool force)
{
	const char *path = p->conf->jwt.jwks_file;
	struct auth_keys *keys;
	struct stat now = {0};
	char err[512];

	if (stat(path, &now) != 0 || (!force && same_file(&now, &p->keys_stat)))
		return;
	p->keys_stat = now;
	keys = auth_keys_load(path, err, sizeof(err));
	if (keys == NULL) {
		log_error("the old keys stay: %s", err);
		return;
	}
	log_info("keys read from %s: %zu", path, auth_keys_count(keys));
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_set_keys(p->shared.workers[i], keys);
	auth_keys_put(&p->keys);
	p->keys = keys;
}

static void on_key_poll(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	reload_keys(arg, false);
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
	    same_file(&now, &p->unix_stat))
		(void)unlink(p->unix_path);
	p->unix_path[0] = '\0';
}

/* ---- signals -------------------------------------------------------------------------------- */

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
	p->is_draining = true;
	/* Nobody is let in any more; whoever comes after us can have the path at once. */
	remove_socket(p);
	drain(p, at_once ? 0 : p->conf->pgusher.shutdown_timeout);
}

static void on_hangup(evutil_socket_t sig, short what, void *arg)
{
	struct server_process *p = arg;

	(void)sig, (void)what;
	if (p->conf->pgusher.logfile[0] != '\0' && !log_open(p->conf->pgusher.logfile))
		log_error("cannot open %s: %s", p->conf->pgusher.logfile, strerror(errno));
	reload_keys(p, true);
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
	MUST(pthread_sigmask(how, &set, NULL) == 0);
}

static void add_event(struct server_process *p, struct event *event, const struct timeval *period)
{
	MUST(event != NULL && event_add(event, period) == 0);
	MUST(p->n_events < COUNT_OF(p->events));
	p->events[p->n_events++] = event;
}

static void watch(struct server_process *p)
{
	struct timeval period = {.tv_usec = KEY_POLL_MS * 1000};

	p->base = event_base_new();
	MUST(p->base != NULL);
	p->mailbox = mailbox_new(p->base, p);
	p->shared.on_end = tell_end;
	p->shared.on_end_arg = p;
	add_event(p, evsignal_new(p->base, SIGTERM, on_terminate, p), NULL);
	add_event(p, evsignal_new(p->base, SIGINT, on_terminate, p), NULL);
	add_event(p, evsignal_new(p->base, SIGHUP, on_hangup, p), NULL);
	add_event(p, event_new(p->base, -1, EV_PERSIST, on_key_poll, p), &period);
}

/* ---- start ---------------------------------------------------------------------------------- */

/* What is open before the first client comes, and a few for that: a loop and its mailbox are four a
 * worker, and each has its listeners. */
static rlim_t least_descriptors(const struct conf *conf)
{
	const char *at = conf->pgusher.listen_addr;
	rlim_t n_listeners = conf->pgusher.unix_socket_dir[0] != '\0';

	while (*(at += strspn(at, ", \t")) != '\0') {
		n_listeners++;
		at += strcspn(at, ", \t");
	}
	return 24 + (rlim_t)conf->pgusher.workers * (4 + n_listeners);
}

static bool raise_descriptor_limit(const struct conf *conf, char *err, size_t err_size)
{
	struct rlimit limit;
	rlim_t want = (rlim_t)conf->pgusher.max_client_conn +
	              (rlim_t)conf->pgusher.max_server_conn * conf->n_nodes + 64;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < least_descriptors(conf)) {
		snprintf(err, err_size,
		         "the descriptor limit (ulimit -n) is %llu: %d workers need at least %llu",
		         (unsigned long long)limit.rlim_max, conf->pgusher.workers,
		         (unsigned long long)least_descriptors(conf));
		return false;
	}
	if (limit.rlim_max < want)
		log_warning("the descriptor limit is %llu; max_client_conn and max_server_conn "
		            "could need %llu (ulimit -n)",
		            (unsigned long long)limit.rlim_max, (unsigned long long)want);
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

	(void)stat(p->conf->jwt.jwks_file, &p->keys_stat);
	p->keys = auth_keys_load(p->conf->jwt.jwks_file, err, err_size);
	if (p->keys == NULL)
		return false;
	if (conf->client_tls_sslmode != CONF_TLS_CLIENT_DISABLE) {
		p->shared.tls = tls_server_context(conf->client_tls_cert_file,
		                                   conf->client_tls_key_file, err, err_size);
		if (p->shared.tls == NULL)
			return false;
	}
	p->dialer = dialer_new();
	p->shared.conf = p->conf;
	p->shared.n_workers = (unsigned)conf->workers;
	p->shared.pools = pools_shared_new(p->conf, p->shared.n_workers);
	p->shared.dialer =
		(struct pool_dialer){.dial = dial, .cancel = cancel, .dialer = p->dialer};
	p->shared.workers = mem_zalloc(p->shared.n_workers * sizeof(p->shared.workers[0]));
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		p->shared.workers[i] = worker_new(&p->shared, i, p->keys);
	return bind_all(p, err, err_size);
}

static void run(struct server_process *p)
{
	watch(p);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_start(p->shared.workers[i]);
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
	if (p->dialer != NULL)
		dialer_free(&p->dialer);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_stop(p->shared.workers[i]);
	for (unsigned i = 0; i < p->shared.n_workers; i++)
		worker_free(&p->shared.workers[i]);
	mem_free(p->shared.workers);
	if (p->shared.pools != NULL)
		pools_shared_free(&p->shared.pools);
	for (unsigned i = 0; i < p->n_events; i++)
		event_free(p->events[i]);
	if (p->base != NULL) {
		mailbox_free(&p->mailbox);
		event_base_free(p->base);
	}
	remove_socket(p);
	SSL_CTX_free(p->shared.tls);
	auth_keys_put(&p->keys);
	conf_put(&p->conf);
	libevent_global_shutdown();
}

static int serve(const char *path, bool background, bool verbose)
{
	struct server_process p = {0};
	struct conf_error conf_err;
	enum daemon_part part = DAEMON_CHILD;
	char err[512] = "";
	int status = 0;

	p.conf = conf_load(path, &conf_err);
	if (p.conf == NULL)
		return fail(conf_err.text, "");
	if (background && p.conf->pgusher.logfile[0] == '\0')
		status = fail("-d needs logfile in the configuration", "");
	else if (p.conf->pgusher.logfile[0] != '\0' && !log_open(p.conf->pgusher.logfile))
		status = fail(p.conf->pgusher.logfile, strerror(errno));
	else if (background)
		part = daemon_start(&p.ready_fd, &status);
	if (part == DAEMON_FAILED)
		status = fail("cannot run in the background", strerror(errno));
	if (verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	if (status == 0 && part == DAEMON_CHILD) {
		if (raise_descriptor_limit(p.conf, err, sizeof(err)) &&
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
