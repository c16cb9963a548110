/* What lies between the sessions and the console (console.h), which stands below them in the table
 * of modules: the sessions hand an admin client's statements to these callbacks, and the console
 * looks at the sessions, and ends them, by the functions. All on the worker's thread. */
#ifndef PGUSHER_SESSION_CONSOLE_H
#define PGUSHER_SESSION_CONSOLE_H

#include "base/buf.h"
#include "pool_look.h"
#include "session.h"

/* The client who asks: the answer may come when it is gone. */
struct session_asker {
	uint32_t pid, secret;
	bool is_admin; /* else it may only look */
};

struct session_console {
	/* What Describe is answered with, behind what is in out: RowDescription, NoData, or an
	 * ErrorResponse and false, for a statement that does not exist. */
	bool (*describe)(void *console, const char *text, struct buf *out);
	/* session_console_answer follows once, perhaps before this returns. with_columns: the
	 * rows' description comes in front of them, as for a simple Query. user: for the log. */
	void (*query)(void *console, const struct session_asker *asker, const char *user,
	              const char *text, bool with_columns);
};

/* The answer up to CommandComplete, or with an ErrorResponse at its end. Nothing happens when the
 * client is gone. */
void session_console_answer(struct session_env *env, const struct session_asker *asker,
                            const struct buf *messages, bool is_error);
bool session_console_is_there(struct session_env *env, const struct session_asker *asker);

/* ---- looking -------------------------------------------------------------------------------- */

/* The process ids of all that have logged in, to be freed with mem_free: a long look is taken
 * in pieces, and clients come and go between them. */
uint32_t *session_pids(struct session_env *env, size_t *n);
/* How many have connected and not logged in yet. */
size_t session_n_logins(const struct session_env *env);
/* What a client costs while it is idle. */
size_t session_client_bytes(void);

struct session_info {
	const char *user, *database;
	const char *pool_database; /* NULL: the console's */
	const char *application_name, *tenant;
	const char *state;   /* PgBouncer's word */
	uint64_t session_id; /* as in the audit log */
	const char *peer;    /* "127.0.0.1:40312" */
	const struct stream *stream;
	int64_t connected_s;            /* wall clock */
	int64_t request_us, waiting_us; /* monotonic; 0: no request yet, does not wait */
	uint32_t server_pid;            /* 0: it has none */
	uint32_t n_statements;
	char pinned[128]; /* why it keeps its server; "" */
};
/* False: there is no client with this process id. Valid until the next event. */
bool session_look(struct session_env *env, uint32_t pid, struct session_info *info);
/* Whether the client uses a token with this jti, or can go back to one; its expiry then. */
bool session_has_token(struct session_env *env, uint32_t pid, const char *jti, int64_t *exp_s);
/* Whether it logged in as this tenant, or works for it now. */
bool session_is_of_tenant(struct session_env *env, uint32_t pid, const char *tenant);
/* The process id of the client that has the server, 0: none has. */
uint32_t session_of_server(const struct server *server);

/* Ends it as session_close does. False: there is none. */
bool session_kill(struct session_env *env, uint32_t pid, enum close_reason reason);

#endif
