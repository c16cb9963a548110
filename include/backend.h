/* One server connection: opened by libpq on the dialer's thread, then spoken to by us. It knows
 * what was sent on it and therefore what must come back (the queue of expected replies), which
 * statements are prepared on it, and which settings were made. It belongs to one worker at a
 * time and to one sink, which is handed what the server says. */
#ifndef PGUSHER_BACKEND_H
#define PGUSHER_BACKEND_H

#include "backend_dial.h"
#include "backend_proof.h"
#include "base/hash.h"
#include "net_outvec.h"
#include "wire.h"

/* ---- expected replies ------------------------------------------------------------------ */

enum expect_kind {
	EXPECT_PARSE,
	EXPECT_BIND,
	EXPECT_DESCRIBE,
	EXPECT_EXECUTE,
	EXPECT_CLOSE,
	EXPECT_SYNC,
	EXPECT_QUERY,
	EXPECT_FUNCTION,
};

enum expect_fate {
	FATE_PASS,    /* the client asked: it gets the reply */
	FATE_SWALLOW, /* sent by us for the client's sake: it gets errors only */
	FATE_CONTEXT, /* as FATE_SWALLOW, and the row must be the tenant */
	FATE_OURS,    /* sent by us for ourselves: errors are logged */
	FATE_ASK,     /* the same: its row is handed to on_value, and its error to on_reply */
	FATE_ANSWER,  /* not sent: answered by us in its turn with the message `answer`: '1'
	                 ParseComplete, '3' CloseComplete, 'C' CommandComplete of DEALLOCATE */
	FATE_REFUSE,  /* sent to fail: the server's error is replaced by the message in obj, a
	                 struct buf of the caller's, which on_reply hands back */
};

/* The session's own marks. */
enum expect_mark {
	MARK_NONE,
	MARK_ENDS_TXN, /* EXPECT_EXECUTE of COMMIT, ROLLBACK and the like */
	MARK_STAYS,    /* the same, but its command tag said otherwise */
	MARK_PORTAL,   /* EXPECT_BIND of the client's unnamed portal */
	MARK_UNNAMED,  /* FATE_REFUSE of a Parse of the unnamed statement */
};

struct expect {
	uint8_t kind; /* enum expect_kind */
	uint8_t fate; /* enum expect_fate */
	uint8_t answer;
	bool tell;     /* on_reply is wanted for success too */
	bool may_fail; /* FATE_OURS: its error is what we want; a Close: nothing is left behind */
	bool alone;    /* EXPECT_QUERY, EXPECT_FUNCTION: not inside an extended batch of the
	                         client, who therefore waits for a ReadyForQuery in any case */
	bool is_implicit;     /* EXPECT_QUERY in a batch: no transaction is to be open behind it */
	bool sync_follows;    /* of these: server_put_implicit_end has been called */
	uint8_t mark;         /* enum expect_mark */
	bool is_reported;     /* EXPECT_EXECUTE, EXPECT_QUERY: on_tag is wanted */
	uint8_t sql_kind;     /* of these, the session's own word about what was sent */
	bool is_unnamed;      /* EXPECT_PARSE, EXPECT_CLOSE of the client's unnamed statement */
	bool is_outdated;     /* failed because its statement's result has other columns by now */
	uint32_t server_stmt; /* which of the server's statements, where that matters */
	union {
		void *obj;            /* the caller's */
		int64_t tenant;       /* FATE_CONTEXT: what its row must say */
		uint64_t fingerprint; /* is_reported: the session's */
	};
};

enum expect_outcome {
	EXPECT_DONE,
	EXPECT_FAILED,  /* this one got the ErrorResponse */
	EXPECT_SKIPPED, /* an earlier one did: the server skips to the next Sync */
};

/* ---- sinks ------------------------------------------------------------------------------- */

/* Who has the server. Only on_settled, on_cancelled, on_drained and on_lost may release or drop
 * the server: they are the last call of an event. */
struct sink_ops {
	/* Bytes for the client, which stay where they are until on_flush. */
	void (*on_bytes)(void *owner, const void *p, size_t len);
	void (*on_reply)(void *owner, const struct expect *e, enum expect_outcome outcome);
	/* The end of a FATE_PASS Sync, Query or FunctionCall; true: pass the ReadyForQuery on. */
	bool (*on_ready)(void *owner, char status);
	/* The one value of a FATE_ASK's row; NULL. */
	void (*on_value)(void *owner, const char *p, size_t len);
	/* A command of an entry that is_reported has ended: its tag, without a NUL; NULL: a portal
	 * that has more rows. */
	void (*on_tag)(void *owner, const struct expect *e, const char *tag, size_t len);
	/* env.reports or note.tells_errors: an error came, of the statements of the owner's;
	 * on_reply follows. NULL: not wanted. */
	void (*on_sqlstate)(void *owner, const char *sqlstate);
	/* Of an EXPECT_DESCRIBE that tells: a ParameterDescription, RowDescription or NoData;
	 * none that is longer than 32 kB. NULL: not wanted. */
	void (*on_described)(void *owner, const struct expect *e, uint8_t type, const uint8_t *body,
	                     uint32_t len);
	/* The process id that the owner's client was told: it stands in the notifications of the
	 * server's own session. NULL: they are passed on as they are. */
	uint32_t (*told_pid)(void *owner);
	/* A ParameterStatus was passed on. NULL: not wanted. */
	void (*on_parameter)(void *owner, const char *name, const char *value);
	/* CopyInResponse was passed on. */
	void (*on_copy_in)(void *owner);
	/* What was read has been handed over: send it. */
	void (*on_flush)(void *owner);
	/* After on_flush. False: the server is no longer the owner's. */
	bool (*on_settled)(void *owner);
	/* The cancel that was under way (note.cancelling) has ended. */
	void (*on_cancelled)(void *owner);
	/* Everything sent to the server has left. */
	void (*on_drained)(void *owner);
	/* The connection is broken; the owner drops it. */
	void (*on_lost)(void *owner, enum close_reason reason);
};

/* ---- life -------------------------------------------------------------------------------- */

/* What a worker lends to its servers. */
struct backend_env {
	struct event_base *base;
	uint8_t *in; /* read buffer, free between two events */
	size_t in_size;
	struct outvec *to_server;
	struct buf *scratch; /* where messages are built, empty between two calls */
	uint32_t max_prepared_statements;
	const char *setting; /* the tenant setting's name */
	const char *proof_setting;
	struct prover *prover; /* NULL: the context is not signed */
	/* Servers that had their share of the worker's time; wake_edge asks for backend_edge when
	 * the loop comes round. */
	struct list again;
	void (*wake_edge)(void *worker);
	void *worker;
	bool reports;                  /* errors' SQLSTATEs are wanted */
	const struct stream_ops *fake; /* tests: servers speak through this, not a socket */
};

struct conf_node;
struct server;
/* Takes over a logged-in connection (and finishes it in the end). */
struct server *server_new(struct backend_env *env, PGconn *conn);
/* Says Terminate and closes. */
void server_free(struct server **s);
/* Its stream: to look at, or for tests that play the server. */
struct stream *server_stream(struct server *s);
void server_set_sink(struct server *s, const struct sink_ops *ops, void *owner);
/* The sink set last; its owner, if wanted. */
const struct sink_ops *server_sink(const struct server *s, void **owner);
/* Leaves this worker's event loop, for another worker's. Only when it is idle. */
void server_detach(struct server *s);
void server_attach(struct server *s, struct backend_env *env);
/* The client takes no more: nothing is read until server_resume. */
void server_pause(struct server *s);
void server_resume(struct server *s);
/* At the loop's edge: the next turn of those on env->again. */
void backend_edge(struct backend_env *env);
/* Now and then: a reset that came together with data is not told apart from it, so the connection
 * is looked at, and read to its end if it is broken. */
void server_look(struct server *s);

/* The last ReadyForQuery: 'I', 'T' or 'E'. */
char server_status(const struct server *s);
/* Nothing is owed in either direction. */
bool server_is_quiet(const struct server *s);
/* How many replies are still to come. */
uint32_t server_owed(const struct server *s);
/* A message has been passed on in part. */
bool server_is_mid_message(const struct server *s);
/* A FATAL error was passed on: why it ends. */
bool server_has_said_why(const struct server *s);
bool server_is_standby(const struct server *s);
/* It has said that it is not, after it was. */
bool server_was_promoted(const struct server *s);
size_t server_backlog_bytes(const struct server *s);
/* The parameter's last reported value, NULL when unknown; until the next message. */
const char *server_parameter(const struct server *s, const char *name);
void server_each_parameter(const struct server *s,
                           void (*visit)(void *arg, const char *name, const char *value),
                           void *arg);
/* Stands for what all of them are: a sum of each one's, which is 0 for those that say nothing of
 * the values that clients get (application_name, in_hot_standby). */
uint64_t server_parameters_key(const struct server *s);
uint64_t server_parameter_key(const char *name, const char *value);
/* For a cancel: borrowed, only to be read. */
PGconn *server_conn(struct server *s);
/* The message of the last FATE_OURS statement that failed, "" before. */
const char *server_last_error(const struct server *s);
uint32_t server_pid(const struct server *s);
/* Clients' statements prepared on it; what a server costs while it is idle. */
uint32_t server_n_prepared(const struct server *s);
size_t server_bytes(void);
/* The pool's and the lease's own words about it. */
struct server_note {
	struct list link;
	void *pool;
	struct pool_node *node; /* where it is; the pool's */
	uint64_t generation;    /* of the configuration that it was opened by */
	int64_t opened_us, used_us;
	void *tenant;       /* the pool's: whose lease it is, NULL: nobody's */
	int64_t charged_us; /* server time that its tenant has been charged with already */
	bool is_capped;     /* it counts for its tenant's max_server_conn */
	bool is_contended;  /* the pool's: other pools wanted its place, too */
	uint8_t taint;      /* enum server_taint */
	bool cancelling;    /* a cancel for it is under way: nothing may be sent */
	bool tells_errors;  /* as env.reports, for this lease */
	bool is_doomed;     /* nobody has it: closed when the cancel has ended */
};
enum server_taint {
	TAINT_SCRUB = 1,    /* DISCARD ALL before anyone else gets it */
	TAINT_PIN = 2,      /* session state of its client lives on it: stays with the client */
	TAINT_DOUBT = 4,    /* nobody else may get it at all */
	TAINT_SETTINGS = 8, /* its settings are taken back before anyone else gets it */
	TAINT_UNKNOWN = 16, /* its settings are not known: as TAINT_SCRUB, until they are */
};
struct server_note *server_note(struct server *s);
void server_tell_cancelled(struct server *s);
struct server *server_of_link(struct list *link);

/* ---- sending ------------------------------------------------------------------------------ */

/* Between server_begin and server_end everything goes out in one write. Each message that has
 * a reply is announced with server_expect, in order. */
struct outvec *server_begin(struct server *s);
void server_expect(struct server *s, const struct expect *e);
/* False when the connection is broken: on_lost follows from the event loop. */
bool server_end(struct server *s);
/* Nobody waits for replies any more: every entry is handed back as skipped. The server is good for
 * nothing but server_free afterwards. */
void server_forget_expected(struct server *s);
/* FATE_ANSWER entries whose turn has come are passed to the sink now. */
void server_answer(struct server *s);
/* In on_ready: what the client gets before goes to on_bytes now, so that something of the sink's
 * own can come behind it. */
void server_pass_on(struct server *s);

/* BEGIN, as a bound statement without Sync, so that its failure skips what follows. */
void server_put_begin(struct server *s);
/* COMMIT, which ends a failed block too; its ReadyForQuery is the client's. */
void server_put_commit(struct server *s);
/* A statement that fails, and its Sync: puts the transaction block at hand into the failed state.
 * */
void server_put_failure(struct server *s);
/* The tenant context for the transaction at hand, with its proof where env has a prover. */
void server_put_context(struct server *s, const char *tenant);
/* Closes the unnamed portal, which the two above use. */
void server_put_close_portal(struct server *s);
/* Makes the session settings on the server equal to `settings` ("name\0value\0" repeated, len
 * bytes), in a transaction of its own. If that fails, a trial is told by on_reply; otherwise the
 * connection is given up, for nobody's statements may run under another's settings. */
void server_put_settings(struct server *s, const char *settings, size_t len, bool is_trial);
/* Behind a RESET of the client's, in its transaction: the setting has this value again, for the
 * session or the transaction. In a portal of its own; an error is the client's. */
void server_put_setting_back(struct server *s, const char *name, const char *value, bool is_local);
/* A statement of the client's that came as a Query, up to its Execute; its Sync is to follow. */
void server_put_statement(struct server *s, const char *text, struct expect *execute);
/* Something that only a Sync or a Query ends has been sent. */
bool server_is_in_batch(const struct server *s);
/* The server has been seen to keep the transaction of an is_implicit Query open (PostgreSQL 18). It
 * is ended then, in an exchange of its own; what ends it may as well be sent with the Query, if
 * that is alone and no COPY from the client. */
bool server_keeps_implicit(const struct server *s);
void server_put_implicit_end(struct server *s);
/* Asks for the value of a setting, cut behind one more than SERVER_VALUE_MAX characters (FATE_ASK).
 * NULL: there is no such setting; only_if_set: or nobody has set it in the session, which takes the
 * server a look at all settings. */
#define SERVER_VALUE_MAX 4096
void server_put_ask(struct server *s, const char *name, bool only_if_set);
/* Asks whether nothing lives in its session that outlasts transactions: 't' or 'f'. */
void server_put_ask_state(struct server *s);
/* That failed: from now on it is asked in another way. False: it was already. */
bool server_ask_state_otherwise(struct server *s);
/* It has these settings now: its client set them. */
void server_note_settings(struct server *s, const char *settings, size_t len);
/* It may have any of those that it had, and of these, or not: the next server_put_settings makes or
 * resets them all. */
void server_doubt_settings(struct server *s, const char *settings, size_t len);
/* Bind of a statement that does not exist: fails, and is answered with `error` instead. */
void server_put_refusal(struct server *s, struct buf *error, enum expect_mark mark);
/* A simple query of ours. FATE_PASS: on_ready is called at its end. */
void server_put_query(struct server *s, const char *text, enum expect_fate fate);
void server_put_sync(struct server *s, enum expect_fate fate);

/* ---- prepared statements ------------------------------------------------------------------- */

/* A statement on the server is known by the digest of its Parse body (text and types), so that
 * clients share it; its name there is random. */
#define SERVER_STMT_NAME_MAX 48
struct server_stmt_ref {
	uint32_t id;
	bool is_new; /* not there yet: the caller sends Parse under this name */
	char name[SERVER_STMT_NAME_MAX];
};
/* Finds it, or makes room (closing the least recently used) and a name for it. */
void server_prepare(struct server *s, const uint8_t digest[SHA256_BYTES],
                    struct server_stmt_ref *ref);
/* The next who wants this statement gets it parsed anew: its result's columns may have changed. */
void server_doubt_stmt(struct server *s, uint32_t id);
/* It was not sent. */
void server_forget_stmt(struct server *s, uint32_t id);
/* The caller's word about one that is new, and back: 0 where there is none. */
void server_note_epoch(struct server *s, uint32_t id, uint64_t epoch);
uint64_t server_epoch(struct server *s, uint32_t id);
/* After DISCARD ALL or DEALLOCATE ALL ran on it. */
void server_forget_prepared(struct server *s);
/* After RESET ALL or DISCARD ALL ran on it. */
void server_forget_settings(struct server *s);

#endif
