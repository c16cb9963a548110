/* What the session module's files share. */
#ifndef PGUSHER_SESSION_INT_H
#define PGUSHER_SESSION_INT_H

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "fresh_route.h"
#include "session.h"
#include "stmts.h"
#include "txn.h"

#define CLIENT_MAGIC 0xc11e4701
#define CLIENT_STMT_MAGIC 0xc11e4702
#define TEXT_MAGIC 0xc11e4703
#define SETTINGS_MAGIC 0xc11e4704

/* A client that does not take its replies has at most this much kept for it. */
#define CLIENT_BACKLOG_MAX 65536
#define CLIENT_STMTS_MAX 65536            /* prepared statements of one client */
#define CLIENT_STMT_BYTES_MAX (16u << 20) /* and their texts together */
#define CLIENT_PORTALS_MAX 1024           /* named portals in one transaction */
#define NAME_MAX_BYTES 64                 /* PostgreSQL's NAMEDATALEN */

enum step { STEP_MORE, STEP_WAIT, STEP_DONE };

enum phase {
	PHASE_STARTUP,  /* SSLRequest, CancelRequest, StartupMessage */
	PHASE_PASSWORD, /* the token */
	PHASE_KEYS,     /* waits for the issuer's keys to be fetched */
	PHASE_WELCOME,  /* waits for a server to learn its parameters from */
	PHASE_CANCEL,   /* a CancelRequest is on its way to another worker */
	PHASE_READY,    /* takes queries */
	PHASE_CONSOLE,  /* an admin client: takes the console's commands */
	PHASE_CLOSED,
	PHASE_COUNT
};

/* In PHASE_READY: which of the client's messages may be taken now. */
enum flow {
	FLOW_OPEN,
	FLOW_WAIT_SERVER,  /* in the pool's queue; the message that needs the server is kept */
	FLOW_WAIT_REPLIES, /* a statement of own.c in a batch: until nothing is owed before it */
	FLOW_WAIT_READY,   /* a Query or Sync was sent: nothing more until its ReadyForQuery */
	FLOW_COPY_START,   /* an Execute of COPY FROM STDIN was sent: until the server's word */
	FLOW_COPY_IN,      /* CopyData, CopyDone, CopyFail */
};

/* Settings of a client's, shared by the clients of a worker that have the same. */
struct settings {
	uint32_t magic;
	uint32_t refs;
	struct map *among; /* where it is shared: in env; NULL: nowhere */
	bool linger;       /* taken back before the server goes to anyone else */
	struct map_node node;
	uint64_t scope; /* stands for those that statements are parsed under; 0: none of them */
	size_t len;
	char list[]; /* "name\0value\0" repeated */
};

/* A simple Query that is sent in pieces, because the context must be set between them. */
struct script {
	char *text;
	size_t len;
	struct sql_stmt *stmts;
	unsigned n_stmts, next; /* the piece under way ends before stmts[next] */
	bool has_block;         /* in a block of ours, which ends with it */
};

/* Whether what pins the server is still there (pin.c). */
enum pin_look {
	PIN_LOOK_NONE,
	PIN_LOOK_WANTED,
	PIN_LOOK_ASKED,
	PIN_LOOK_GONE,
};

/* What routing keeps of a client that has read (route.c). */
struct route {
	struct client *client;
	struct pool_waiter waiter; /* at the path's pool */
	struct pool *pool; /* where the lease at hand is, or is to be; NULL: at the primary */
	size_t path;       /* if has_path; the latest */
	bool has_path;
	struct fresh_ask ask;
	int64_t told_us;                   /* of the batch at hand: struct ahead */
	enum conf_consistency consistency; /* of the read at hand, if is_decided */
	enum fresh_verdict why;            /* what the audit log was told last */
	bool is_decided, is_refused;
	bool is_primary_only; /* the read at hand: it was elsewhere already */
	bool is_acquiring;
	bool has_failed; /* the error that came is not for the client: it is repeated */
	bool may_write;  /* what is repeated: whatever its functions are labelled */
	struct buf kept; /* the read's messages, until something of its answer was passed on */
	const struct wire_error *cancelled; /* instead of its repetition; static; NULL: none */
};

/* The transaction's end that was sent in the batch at hand. */
enum txn_end { TXN_END_NONE, TXN_END_COMMIT, TXN_END_ROLLBACK };

/* Where a statement ran, how late that was at most when it was sent, and what it asked for. */
struct source {
	const char *node; /* its name, for good; NULL: none was sent yet */
	int64_t lag_us;   /* or FRESH_INFINITE */
	enum conf_consistency consistency;
};

struct client {
	uint32_t magic;
	struct stream stream;
	struct session_env *env;
	struct list link;     /* env.clients or env.dead */
	struct list run_link; /* env.runnable or env.again */
	struct list stranger_link;
	struct map_node by_pid;
	struct peer peer;
	enum phase phase;
	enum flow flow;
	enum close_reason closing; /* CLOSE_NONE: it lives; acted upon at the end of the event */
	enum close_reason leaving; /* the same, between transactions */

	struct buf held;    /* input that could not be taken yet; no memory when empty */
	uint32_t body_left; /* of a message that is taken in pieces */
	bool body_passes;
	bool is_running; /* session_run is at work further up the stack */
	bool is_told;    /* the reason of the end, already */
	bool is_parked;  /* on env.logins: nothing is taken until its turn */

	/* Login. */
	bool tls_asked, gss_asked, is_encrypted;
	bool keys_are_final; /* fetched since the token came: no reason to wait for others */
	bool keys_ordered;   /* of a token that was refused; no answer yet */
	bool has_long_key;   /* it speaks protocol 3.2: welcome.c, its cancel key */
	uint8_t asked_by;    /* for its token: enum asked_by of sasl.h */
	uint8_t token_fault; /* refused by SASL: enum auth_reason; AUTH_OK: there was none */
	uint32_t pid, secret;
	char *database, *user;
	bool is_tenantless; /* its role works without a tenant */
	struct pool *pool;
	struct admin *admin;        /* of an admin client */
	bool is_counted;            /* among those that limits are for */
	struct auth_ticket *ticket; /* whose tenant the next statement has */
	struct identity *identity;  /* NULL: usher.token was never set */
	/* Whose statements left something in the session of the server at hand; NULL: nobody's.
	 * And whether another tenant's did so, too. */
	struct auth_ticket *state_of;
	bool state_is_mixed;
	char *startup_token; /* usher.token among the startup options, until it is checked */
	/* settings.c: those of the startup, which RESET ALL goes back to; with them what was SET
	 * since, made on every server (NULL: none); what is being set (NULL: nothing). */
	struct settings *startup, *settings;
	struct touched *touched;
	/* wish.c: by the ini, and what wish_of puts together. */
	struct fresh_wish wish_default, wish;
	struct wishes *wishes;       /* what was SET; NULL: nothing ever */
	struct source source;        /* of the last statement that was sent */
	struct source told;          /* as ParameterStatus said */
	struct settings *parameters; /* parameters.c: as the client was told them; and their key */
	uint64_t parameters_key;
	uint32_t pins; /* SQL_STATE_*: what pins the server at hand */
	enum pin_look pin_look;
	struct auth_ticket *pin_of; /* whose max_pinned it counts for; NULL: it does not */
	struct timer finish_timer;  /* the client has said all it will say */

	/* Deadlines (deadline.c): when the query and the transaction at hand began, when it last
	 * said or got something; 0: none. */
	struct timer deadline_timer;
	int64_t deadline_us, busy_us, in_txn_us, heard_us;

	/* The lease. */
	struct server *server;
	struct pool_waiter waiter;
	struct timer wait_timer;
	uint32_t lease;      /* counts leases, so that what was on an earlier one is not believed */
	bool is_fresh;       /* nothing was sent on it yet */
	bool is_for_session; /* pool_mode = session: it ends with the client */
	bool sending;        /* between server_begin and server_end */

	/* The transaction and the batch at hand. */
	struct txn txn;
	enum txn_end end;
	bool end_is_last; /* in its Query */
	bool end_is_told; /* an Execute: on_reply says whether it ran */
	/* The tenant context went out in the transaction at hand; and in the one before `end`. */
	bool context_given, given_before_end;
	bool is_chained;    /* the transaction at hand was begun by AND CHAIN */
	bool batch_open;    /* extended messages were taken since the last Sync */
	bool batch_failed;  /* everything up to Sync is skipped */
	bool copy_ate_sync; /* a Sync was taken in COPY, as the server would have done */
	bool copy_is_simple;
	bool script_goes_on;
	bool batch_ended;     /* ReadyForQuery 'I' has passed: the server may be released */
	uint32_t batch_bits;  /* enum sql_bits of what was sent in it */
	bool has_defined;     /* SQL_DEFINES, in the transaction at hand */
	bool reset_is_due;    /* of them SQL_RESETS_ALL: identity_reset has not been told yet */
	bool startup_is_back; /* settings_put_back has made the startup's behind the RESET ALL */
	uint32_t alterations; /* statements with SQL_ALTERS, or that may do so, on this lease */
	uint32_t n_personal;  /* the serial of its newest personal statement */
	/* The schema's, drawn when the transaction at hand changed it; 0: it did not. */
	uint64_t epoch;
	uint64_t shape; /* of the statement whose description is coming in */
	struct script *script;
	struct buf refusal; /* the error that a refusal under way is answered with */
	bool is_refused;    /* no server was to be had: `refused` says why */
	struct wire_error refused;

	/* Routing (route.c). */
	int first_path; /* of its database; FRESH_NO_PATH: there is nothing to choose from */
	size_t n_paths;
	bool may_route;
	bool has_written; /* in what has been sent since the last ReadyForQuery without a block */
	uint64_t writer, written_database; /* fresh_writer, fresh_written_database */
	int64_t wrote_us;                  /* when the answer to its last write came; FRESH_NEVER */
	struct route *route;               /* NULL: it has not read yet */

	/* Counting (monotonic microseconds). */
	struct counters *counters; /* the pool's, env->nobody before the login */
	int64_t query_us;          /* when the latest query was sent */
	int64_t xact_us;           /* when the transaction's first one was */
	bool is_query_timed, is_xact_timed;
	int64_t connected_s; /* wall clock */

	/* The audit log (report.c). */
	uint64_t session_id;        /* random */
	uint64_t query_fingerprint; /* of the Query at hand */
	const char *refused_as;     /* the login: a constant, NULL: by the close reason's label */
	bool is_let_in;
	struct report {
		uint32_t n_sent; /* statements that have not been reported yet */
		bool has_rows, is_failed;
		bool is_blamed; /* the error in sqlstate has found its statement */
		int64_t rows, from_us;
		const char *node; /* its name, for good */
		char sqlstate[AUDIT_SQLSTATE_BYTES];
		char tag[AUDIT_ACTION_BYTES];
	} * report; /* NULL: statements are not reported */

	/* Prepared statements and portals. */
	struct map stmts;
	struct text *unnamed;  /* the unnamed statement */
	bool unnamed_restored; /* in this batch, because a Parse was skipped */
	struct sql_stmt unnamed_portal;
	struct text *own_portal;         /* where that is a SQL_OWN statement */
	uint8_t own_is_binary;           /* its columns, a bit each */
	bool own_is_done;                /* its row was sent */
	struct client_stmt *deallocates; /* the statement that a DEALLOCATE bound to it names */
	/* The unnamed portal: the server said that it is there, since the last Query; and Binds of
	 * it that it has not answered yet. */
	bool is_portal_bound;
	uint32_t portal_binds;
	struct client_portal *portals;
	uint32_t n_portals;
	size_t stmt_bytes; /* of the texts of its named statements */
};

/* A message of the client's. */
struct message {
	uint8_t type;
	uint32_t body_len;
	const uint8_t *start; /* the header */
	const uint8_t *body;
	size_t have;  /* bytes of the body that are here */
	size_t ahead; /* bytes that are here from start on, those of later messages too */
};

/* session.c */
void session_run(struct client *c);
/* For what costs a good part of a millisecond before anybody has proved who he is: false when this
 * turn of the loop has had its share; then the client is run again when it is its turn. */
bool session_may_login(struct client *c);
void session_fail(struct client *c, enum close_reason reason);
void session_fatal(struct client *c, enum close_reason reason, const struct wire_error *e);
void session_settle(struct client *c);
bool session_is_idle(const struct client *c);
/* All clients; visit may end the one at hand, and others with it (the end of one may set others
 * going, which then end). A client may be visited twice. False: enough. */
void session_each(struct session_env *env, bool (*visit)(struct client *c, void *arg), void *arg);
/* Why it ends between transactions; CLOSE_NONE: it does not. */
enum close_reason session_leaving(const struct client *c);
struct outvec *client_out(struct client *c);
void client_put(struct client *c, struct buf *b);
void client_put_bare(struct client *c, uint8_t type);
void client_put_ready(struct client *c);
void client_put_error(struct client *c, const struct wire_error *e);
void client_flush(struct client *c);

/* login.c: steps before PHASE_READY */
/* *hint: what the client may do about a refusal, or NULL. */
enum auth_reason login_verify(struct client *c, const char *token, size_t len,
                              struct auth_ticket **ticket, const char **hint);
enum step session_step_startup(struct client *c, const uint8_t *p, size_t n, size_t *used);
enum step session_step_password(struct client *c, const uint8_t *p, size_t n, size_t *used);

/* deadline.c */
void deadline_fire(struct timer *timer);
void deadline_login(struct client *c);
/* All places are taken: c's neighbours who should have logged in by now lose theirs, up to the
 * first that is enough. False: nobody has. */
bool deadline_make_place(struct session_env *env, const struct client *c);
void deadline_heard(struct client *c);
void deadline_sent(struct client *c);
void deadline_replied(struct client *c);
void deadline_ready(struct client *c);

/* directory.c: the tenant directory */
bool directory_is_wanted(const struct client *c);
void directory_apply(struct session_env *env);

/* limit.c: limits on clients. NULL: it is in and counted; else why not. */
const char *client_limit_enter(struct client *c);
void client_limit_leave(struct client *c);

/* identity.c: usher.token */
/* The token that it logged in with. */
const struct auth_ticket *identity_login(const struct client *c);
/* Whichever of its tokens has this jti: the one that counts now, or one that it can go back to. */
const struct auth_ticket *identity_find(const struct client *c, const char *jti);
/* The first of them for which it holds; NULL: for none. */
const struct auth_ticket *identity_any(const struct client *c,
                                       bool (*holds)(const void *arg, const struct auth_ticket *),
                                       const void *arg);
/* The token that counts now. */
bool identity_is_revoked(const struct client *c);
void identity_free(struct client *c);
/* The token of the startup options. False: the login is refused. */
bool identity_begin(struct client *c, const char *token, size_t len);
/* An end of the transaction that was sent has come true: every reply is here, and none an error. */
void identity_settle(struct client *c);
/* SET or RESET of usher.token. in_txn: it ends, or takes hold, with a transaction. False: e says
 * why not. */
bool identity_change(struct client *c, const struct sql_own *own, bool in_txn,
                     struct wire_error *e);
void identity_sent(struct client *c, const struct sql_stmt *stmt);
void identity_ended(struct client *c);
void identity_stays(struct client *c);
void identity_leaves(struct client *c, uint32_t bits);
bool identity_left(const struct client *c);
/* Why these cannot be sent: the tenant has changed by itself in the middle of a string, a batch or
 * a chain, where the server cannot be cleaned. NULL: they can. */
const struct wire_error *identity_refusal(struct client *c, const struct sql_stmt *stmts,
                                          unsigned n, uint64_t fingerprint);
void identity_forget_left(struct client *c);
void identity_ready(struct client *c, char status);
bool identity_is_end(enum sql_kind kind);
void identity_end(struct client *c, bool committed);
void identity_reset(struct client *c, bool in_txn);
void identity_savepoint(struct client *c, const struct sql_stmt *stmt);

/* settings.c: a client's settings follow it */
static inline const char *settings_list(const struct settings *s)
{
	return s != NULL ? s->list : NULL;
}
static inline size_t settings_len(const struct settings *s)
{
	return s != NULL ? s->len : 0;
}
/* As asked for at startup, not judged yet: nobody else's. */
void settings_ask_for(struct client *c, const struct buf *list);
/* Judged: made on every server from now on. */
void settings_begin(struct client *c, const struct buf *list);
void settings_free(struct client *c);
/* The one list of this content among these; NULL for an empty one. And *to holds `from`, whose
 * reference it takes, instead of what it did. */
struct settings *settings_share(struct map *among, const struct buf *list);
void settings_assign(struct settings **to, struct settings *from);
/* Makes them on the server at hand, between server_begin and server_end. */
void settings_put(struct client *c, bool is_trial);
/* A setting of the startup is reset by it: to the startup's value, which the server's RESET does
 * not know. settings_put_back makes it, behind the statement that was sent, in its transaction. */
bool settings_go_back(const struct client *c, const struct sql_stmt *stmt);
void settings_put_back(struct client *c, const struct sql_stmt *stmt);
/* A statement with SQL_SETS_SESSION is about to be sent. */
void settings_touch(struct client *c, const struct sql_info *info);
void settings_touch_text(struct client *c, const struct text *text);
/* The transaction may end in another way than its batch. */
void settings_doubt(struct client *c);
/* RESET ALL or DISCARD ALL has run on the server; or may have, being bound in the batch. */
void settings_were_reset(struct client *c, bool has_run);
/* ReadyForQuery with 'I'. */
void settings_ready(struct client *c);
/* The server, which has nothing else to do, is asked what was set. True: it has not said all. */
bool settings_are_asked(struct client *c);
void settings_value(struct client *c, const char *p, size_t len);
void settings_failed(struct client *c);
/* A batch has failed. */
void settings_error(struct client *c);
/* They could not be read, so the server is pinned. */
bool settings_are_stuck(const struct client *c);

/* own.c: statements about usher.*, by both protocols */
enum own_setting {
#define OWN_SETTING(name, word, access, values) OWN_##name,
#include "tbl/own_settings.h"
#undef OWN_SETTING
	OWN_SETTINGS
};
/* An error whose message is made for it. */
struct own_error {
	struct wire_error e;
	char message[256];
};
/* usher.NAME of the startup options, but for usher.token. False: it cannot be set to this. */
bool own_begin(struct client *c, const char *name, const char *value, struct own_error *error);
enum step own_query(struct client *c, const struct sql_own *own);
/* STEP_MORE: the server owes nothing more. Else the message is taken again when that is so. */
enum step own_turn(struct client *c);
/* STEP_MORE: it is its turn, or it is refused (batch_failed). */
enum step own_parse(struct client *c, const char *text);
enum step own_bind(struct client *c, const struct message *m, struct text *text, const char *portal,
                   const uint8_t *rest);
enum step own_describe(struct client *c, const char *text, bool is_statement);
enum step own_execute(struct client *c, uint32_t max_rows);

/* answer.c: what SHOW of them answers */
struct answer {
	enum own_setting setting;
	const char *column; /* NULL: the setting's own name */
	uint8_t n_columns;  /* 0: no row */
	bool is_null;
};
/* is_binary: a bit for each column. */
void answer_put_columns(struct buf *b, const struct answer *a, uint8_t is_binary);
void answer_put_row(struct client *c, struct buf *b, const struct answer *a, uint8_t is_binary);

/* wish.c: how fresh answers must be */
/* For the session, or with the transaction at hand (in_txn). value: NUL-terminated, NULL: the
 * startup's. False: there is no such value. */
bool wish_set(struct client *c, enum own_setting setting, const char *value, bool in_txn,
              bool is_local);
/* Before the login is done: what RESET goes back to. */
bool wish_begin(struct client *c, enum own_setting setting, const char *value);
void wish_free(struct client *c);
/* RESET ALL, DISCARD ALL has run; in_txn: in a transaction that is not over. */
void wish_reset(struct client *c, bool in_txn);
/* The transaction is over. */
void wish_end(struct client *c, bool committed);
/* Its end is on its way, and what follows runs only if it comes true; or it did not. */
void wish_assume_end(struct client *c, bool commits);
void wish_assume_none(struct client *c);
/* Nobody knows whether it was committed. */
void wish_doubt(struct client *c);
/* As identity_savepoint. */
void wish_savepoint(struct client *c, const struct sql_stmt *stmt);
bool wish_reports(const struct client *c);
/* The ini's defaults, at login and after each change. */
void wish_set_conf(struct client *c);
/* What the next statement asks for by ini, claims and settings; holds until the next call. */
const struct fresh_wish *wish_of(struct client *c);

/* source.c: where statements ran, as clients are told */
#define SOURCE_LAG_MAX 24 /* of the text of a lag, with its NUL */
void source_lag_text(int64_t lag_us, char text[SOURCE_LAG_MAX]);
double source_lag_seconds(int64_t lag_us);
const char *source_indicator(int64_t lag_us);
/* ParameterStatus of what has changed since the last ones. */
void wish_report(struct client *c);

/* pin.c: what pins the client's server, and whether it is gone */
void pin_note(struct client *c, uint32_t bits);
void pin_discarded(struct client *c, uint32_t bits);
/* The client is among those that keep a server, from now until pin_forget; false: its tenant has
 * too many. */
bool pin_enter(struct client *c);
/* The same before these statements are sent, if one of them makes state: NULL, or how they are
 * refused. */
const struct wire_error *pin_refusal(struct client *c, const struct sql_stmt *stmts, unsigned n,
                                     uint64_t fingerprint);
/* The client has ended. */
void pin_leave(struct client *c);
/* Nothing does: where the server is given back. */
void pin_forget(struct client *c);
/* As settings_are_asked. */
bool pin_is_looked_at(struct client *c);
void pin_value(struct client *c, const char *p, size_t len);
/* The server does not say. */
void pin_failed(struct client *c);
/* For people: "temp table, listen"; "" where nothing does. */
void pin_describe(const struct client *c, char *text, size_t size);

/* welcome.c */
void welcome_start(struct client *c);
/* A process id and secret; false, and the client is to be closed, when they are used up. */
bool welcome_draw_key(struct client *c);
/* BackendKeyData with it. */
void welcome_put_key(const struct client *c, struct buf *b);
struct client *welcome_find(struct session_env *env, uint32_t pid);
const char *client_setting(const struct client *c, const char *name);
void client_put_application_name(struct buf *b, const char *value);

/* admin.c: the console's clients */
bool admin_is_wanted(const struct client *c);
/* The user that we run as, over the unix socket: he needs no token. */
bool admin_is_local(const struct client *c);
bool admin_enter(struct client *c);
bool admin_admit(struct client *c);
void admin_leave(struct client *c);
void admin_free(struct client *c);
enum step session_step_console(struct client *c, const uint8_t *p, size_t n, size_t *used);

/* ready.c */
enum step session_step_ready(struct client *c, const uint8_t *p, size_t n, size_t *used);
/* kind: of the statement at hand; BEGIN may come before SET LOCAL usher.token. */
bool ready_is_expired(struct client *c, enum sql_kind kind);
/* The same before a whole Query. */
bool ready_is_string_expired(struct client *c, const struct sql_stmt *stmts, unsigned n);

/* guard.c */
/* sql_classify, under the rules that hold for this client's role. */
const struct sql_info *guard_classify(struct client *c, const char *text, size_t len);
/* Which rules those are, of all that there have been. */
uint64_t guard_rules_of(const struct client *c);
/* What a Parse prepares, whose text is classified: body is what stands behind the name in it. */
struct sql_stmt guard_stmt(struct client *c, const struct sql_info *info, const uint8_t *body,
                           size_t len);
/* A prepared statement was let through when it was parsed; the rules may be others by now, and
 * what is known of the functions behind it. NULL: it is let through still. */
const struct sql_info *guard_judge_again(struct client *c, struct text *text);
/* Counts it, and reports it to the audit log. */
void guard_note(struct client *c, const struct sql_refusal *refusal, uint64_t fingerprint);
/* The same; the error as the client gets it, with the refusal's strings. */
struct wire_error guard_refuse(struct client *c, const struct sql_refusal *refusal,
                               uint64_t fingerprint);

/* query.c: the simple protocol */
enum step query_take(struct client *c, const struct message *m);
enum step query_refuse(struct client *c, const struct wire_error *e);
enum step query_function(struct client *c, const struct message *m);
/* At a ReadyForQuery: is there more to send of the Query that it is for? query_go_on does. */
bool query_has_more(struct client *c);
void query_go_on(struct client *c);
void script_free(struct client *c);

/* batch.c: the extended protocol */
enum step batch_parse(struct client *c, const struct message *m);
enum step batch_bind(struct client *c, const struct message *m);
enum step batch_describe(struct client *c, const struct message *m);
enum step batch_execute(struct client *c, const struct message *m);
enum step batch_close(struct client *c, const struct message *m);
enum step batch_flush(struct client *c, const struct message *m);
enum step batch_sync(struct client *c, const struct message *m);
enum step batch_refuse(struct client *c, const struct wire_error *e);

/* prepare.c */
/* A Parse of this is sent. */
void prepare_note(struct client *c, const struct sql_stmt *stmt);
/* Makes the client's named statement known to the server at hand. STEP_MORE: it is; STEP_DONE: it
 * is another by now, and refused; STEP_WAIT: the server is asked. */
enum step prepare_named(struct client *c, struct client_stmt *s, struct server_stmt_ref *ref);
/* The same for the unnamed one. */
void prepare_unnamed(struct client *c);

/* lease.c: getting a server, and what goes in front of the client's bytes */
enum lease { LEASE_OK, LEASE_WAIT, LEASE_REFUSED };
enum lease lease_get(struct client *c);
enum step lease_none(struct client *c, bool in_batch);
struct outvec *lease_send(struct client *c);
void lease_sent(struct client *c);
bool lease_begin(struct client *c);
bool lease_context(struct client *c);
bool lease_before(struct client *c, const struct sql_stmt *stmt);
void lease_after(struct client *c, const struct sql_stmt *stmt);
void lease_give_back(struct client *c);
void lease_granted(struct pool_waiter *w, struct server *server);
void lease_refused(struct pool_waiter *w, const struct wire_error *e);
void lease_start_wait(struct client *c);
void lease_timeout(struct timer *timer);
void lease_waited(struct client *c, const struct pool_waiter *w);
void lease_attach(struct client *c, struct server *server);
void lease_end_wait(struct client *c, const struct wire_error *e);

/* parameters.c: what the client was told of the server's parameters */
/* At login: "name\0value\0" repeated, or what this server has reported. */
void parameters_begin(struct client *c, const char *list, size_t len);
void parameters_begin_at(struct client *c, const struct server *server);
void parameters_free(struct client *c);
/* A ParameterStatus was passed on. */
void parameters_passed(void *owner, const char *name, const char *value);
void parameters_tell(struct client *c);
/* Before ReadyForQuery: of the server at hand, where they are others. */
static inline void parameters_report(struct client *c)
{
	if (server_parameters_key(c->server) != c->parameters_key)
		parameters_tell(c);
}

/* relay.c */
extern const struct sink_ops session_sink;
bool relay_end_batch(struct client *c);

/* report.c: the audit log */
void report_begin(struct client *c);
/* Statements may be wanted now, or no more. */
void report_set_conf(struct client *c);
void report_free(struct client *c);
void report_login(struct client *c);
void report_end(struct client *c);
/* A SET or RESET of usher.token. reason: NULL where it was taken. */
void report_token(struct client *c, const char *reason);
/* fingerprint: 0 where there is no statement. */
void report_guard(struct client *c, const char *rule, uint64_t fingerprint);
/* Before server_expect. */
void report_sent(struct client *c, struct expect *e, uint64_t fingerprint, enum sql_kind kind);
void report_tag(void *owner, const struct expect *e, const char *tag, size_t len);
void report_sqlstate(void *owner, const char *sqlstate);
void report_outcome(struct client *c, const struct expect *e, enum expect_outcome outcome);
void report_ready(struct client *c);
/* A read did not get what it asked for. path: where it went instead, or FRESH_NO_PATH. */
void report_route(struct client *c, int path, const struct fresh_choice *choice);

#endif
