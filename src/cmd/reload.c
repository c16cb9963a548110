/* RELOAD, SIGHUP and the console's SET: another configuration takes the place of the one at hand,
 * whole or not at all.
 *
 *   read or set ─► everything that can fail ─► p->conf ─ letters ─► each worker (worker_set_conf)
 *                  (check_all)                       └─ letter ──► probe ─ keys ─► each worker
 *                                                                     └─ on_done: the answer
 *
 * A configuration is immutable and counted: whoever points into one has a reference, and the last
 * one frees it. All this is the main thread's, and the probe takes letters in order, so changes
 * never overlap. */
#include <errno.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "backend_proof.h"
#include "base/assert.h"
#include "base/log.h"
#include "base/mem.h"
#include "fresh.h"
#include "net_tls.h"
#include "serve_int.h"

#define WHY_SIZE 512 /* of console_order.error */

struct change {
	struct conf *conf;
	bool is_set; /* by SET: files are not read again */
	SSL_CTX *tls;
	struct proof_key *proof_key;
	struct audit_change *audit;
	int client_room;
};

/* ---- what can fail --------------------------------------------------------------------------- */

bool serve_make_tls(const struct conf *conf, struct ssl_ctx_st **tls, char *err, size_t err_size)
{
	struct tls_error why;
	bool ok = tls_check_for_servers(&conf->pgusher, &why);

	*tls = NULL;
	if (ok && conf->pgusher.client_tls_sslmode != CONF_TLS_CLIENT_DISABLE) {
		*tls = tls_context_for_clients(&conf->pgusher, &why);
		ok = *tls != NULL;
	}
	if (!ok)
		snprintf(err, err_size, "%s:%d: %s: %s", conf->path,
		         conf_line(conf, "pgusher", why.key), why.key, why.text);
	return ok;
}

bool serve_load_proof_key(const struct conf *conf, struct proof_key **key, char *err,
                          size_t err_size)
{
	char why[400];

	*key = NULL;
	if (conf->context.mode != CONF_CONTEXT_SIGNED)
		return true;
	*key = proof_key_load(conf->context.proof_key_file, why, sizeof(why));
	if (*key == NULL)
		snprintf(err, err_size, "%s:%d: proof_key_file: %s", conf->path,
		         conf_line(conf, "context", "proof_key_file"), why);
	return *key != NULL;
}

static bool open_log(const struct server_process *p, const struct change *change, char *err,
                     size_t err_size)
{
	const char *path = change->conf->pgusher.logfile;
	bool is_same = strcmp(path, p->conf->pgusher.logfile) == 0;

	/* SIGHUP opens it again, because it may have been moved away. */
	if (is_same && (change->is_set || path[0] == '\0'))
		return true;
	if (path[0] == '\0' && p->is_background) {
		snprintf(err, err_size, "logfile: a process in the background needs one");
		return false;
	}
	if (log_open(path[0] != '\0' ? path : NULL))
		return true;
	snprintf(err, err_size, "%s:%d: logfile: cannot open %s: %s", change->conf->path,
	         conf_line(change->conf, "pgusher", "logfile"), path, strerror(errno));
	return false;
}

static bool open_audit(const struct server_process *p, struct change *change, char *err,
                       size_t err_size)
{
	const struct conf *conf = change->conf;
	char why[512] = "a process in the background has no stdout";

	if (!(p->is_background && serve_says_to_nobody(conf)) &&
	    audit_prepare(p->shared.audit, conf, &change->audit, why, sizeof(why)))
		return true;
	snprintf(err, err_size, "%s:%d: file: %s", conf->path, conf_line(conf, "audit", "file"),
	         why);
	return false;
}

/* The log last: it is the only one that has an effect. */
static bool check_all(const struct server_process *p, struct change *change, char *err,
                      size_t err_size)
{
	const struct conf *conf = change->conf;

	return serve_make_tls(conf, &change->tls, err, err_size) &&
	       serve_load_proof_key(conf, &change->proof_key, err, err_size) &&
	       serve_client_room(conf, &change->client_room, err, err_size) &&
	       probe_check_files(change->is_set ? p->conf : NULL, conf, err, err_size) &&
	       open_audit(p, change, err, err_size) && open_log(p, change, err, err_size);
}

/* ---- what takes a restart -------------------------------------------------------------------- */

static void add_name(void *arg, const struct conf_option *option)
{
	bool is_main = strcmp(option->section, "pgusher") == 0;
	char *names = arg;
	size_t len = strlen(names);

	snprintf(names + len, WHY_SIZE - len, "%s%s%s%s", len > 0 ? ", " : "",
	         is_main ? "" : option->section, is_main ? "" : ".", option->key);
}

/* notice: of WHY_SIZE, "" where there is nothing to say. */
static void keep_old(const struct conf *old, struct conf *fresh, char *notice)
{
	char names[WHY_SIZE] = "";
	size_t len;

	notice[0] = '\0';
	if (conf_reload_check(old, fresh, add_name, names) > 0)
		snprintf(notice, WHY_SIZE, "until a restart these stay as they were: %.250s",
		         names);
	/* The probe's links are made once. */
	len = strlen(notice);
	if (fresh->freshness.probe_role[0] != '\0' && !conf_has_same_places(old, fresh))
		snprintf(notice + len, WHY_SIZE - len,
		         "%sthe nodes or databases are others now: until a restart the probe "
		         "measures "
		         "those it began with, and users' functions count as unknown",
		         len > 0 ? "; " : "");
}

/* ---- handing out ----------------------------------------------------------------------------- */

struct reload_letter {
	struct probe_conf_order order;
	struct server_process *p;
	struct console_order *asker; /* NULL: a signal */
};

static void answer(struct server_process *p, struct console_order *asker)
{
	if (asker == NULL)
		return;
	if (p->n_ended == p->shared.n_workers)
		console_order_drop(asker);
	else
		console_order_done(asker);
}

/* The probe has sent the workers their keys. */
static void on_done(struct mail *mail, void *owner)
{
	struct probe_conf_order *order = CONTAINER_OF(mail, struct probe_conf_order, mail);
	struct reload_letter *letter = CONTAINER_OF(order, struct reload_letter, order);

	(void)owner;
	answer(letter->p, letter->asker);
	conf_put(&order->conf);
	mem_free(letter);
}

static void tell_probe(struct server_process *p, struct console_order *asker)
{
	struct reload_letter *letter = mem_zalloc(sizeof(*letter));

	letter->p = p;
	letter->asker = asker;
	letter->order.mail.deliver = on_done;
	letter->order.reply_to = p->mailbox;
	letter->order.conf = conf_get(p->conf);
	probe_set_conf(p->probe, &letter->order);
}

static void take(struct server_process *p, struct change *change)
{
	conf_put(&p->conf);
	p->conf = p->shared.conf = change->conf;
	p->shared.client_room = change->client_room;
	SSL_CTX_free(p->shared.tls);
	p->shared.tls = change->tls;
	proof_key_put(&p->shared.proof_key);
	p->shared.proof_key = change->proof_key;
	/* Before the workers hear of it: they ask the queues what is wanted. */
	audit_take(p->shared.audit, &change->audit);
	if (p->shared.fresh != NULL)
		fresh_take_weights(p->shared.fresh, p->conf);
	for (unsigned i = 0; i < p->shared.n_workers; i++) {
		worker_set_conf(p->shared.workers[i], p->conf, change->client_room);
		worker_set_tls(p->shared.workers[i], p->shared.tls);
		if (p->shared.proof_key != NULL)
			worker_set_proof_key(p->shared.workers[i], p->shared.proof_key);
	}
}

static void refuse(struct server_process *p, struct change *change, struct console_order *order,
                   const char *why)
{
	log_error("the old configuration stays: %s", why);
	if (order != NULL)
		snprintf(order->error, sizeof(order->error), "the old configuration stays: %.440s",
		         why);
	SSL_CTX_free(change->tls);
	proof_key_put(&change->proof_key);
	audit_change_free(&change->audit);
	if (change->conf != NULL)
		conf_put(&change->conf);
	answer(p, order);
}

void serve_reload(struct server_process *p, struct console_order *order)
{
	struct change change = {0};
	struct conf_error conf_err;
	char why[1024], notice[WHY_SIZE];

	change.conf = conf_load(p->conf->path, &conf_err);
	if (change.conf == NULL) {
		refuse(p, &change, order, conf_err.text);
		return;
	}
	keep_old(p->conf, change.conf, notice);
	if (!check_all(p, &change, why, sizeof(why))) {
		refuse(p, &change, order, why);
		return;
	}
	take(p, &change);
	audit_reopen(p->shared.audit);
	log_info("configuration read from %s", p->conf->path);
	if (p->shared.tls != NULL)
		log_info("certificate read from %s", p->conf->pgusher.client_tls_cert_file);
	if (p->shared.proof_key != NULL)
		log_info("proof key read from %s", p->conf->context.proof_key_file);
	if (notice[0] != '\0')
		log_warning("%s", notice);
	if (order != NULL)
		snprintf(order->notice, sizeof(order->notice), "%s", notice);
	tell_probe(p, order);
}

void serve_set(struct server_process *p, struct console_order *order)
{
	struct change change = {.is_set = true};
	struct conf_error conf_err;
	char why[1024];

	change.conf = conf_set(p->conf, order->key, order->value, &conf_err);
	if (change.conf == NULL) {
		snprintf(order->error, sizeof(order->error), "%s: %.380s", conf_err.key,
		         conf_err.what);
		answer(p, order);
		return;
	}
	keep_old(p->conf, change.conf, order->notice);
	order->notice[0] = '\0';
	if (!check_all(p, &change, why, sizeof(why))) {
		refuse(p, &change, order, why);
		return;
	}
	take(p, &change);
	log_info("SET %s", order->key);
	answer(p, order);
}
