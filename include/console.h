/* The admin console: PgBouncer's commands and some of our own, for clients of the database pgusher.
 * Each worker has a console; what concerns all workers goes round them by mail. */
#ifndef PGUSHER_CONSOLE_H
#define PGUSHER_CONSOLE_H

#include "fresh.h"
#include "session_console.h"

/* What only the main thread can do. It is embedded in what the console sends: console_order_done
 * answers it, from any thread. */
enum console_order_kind {
	ORDER_RELOAD,
	ORDER_SET,              /* key = value, of [pgusher] */
	ORDER_SHUTDOWN,         /* at once */
	ORDER_SHUTDOWN_SERVERS, /* when no server is in use any more */
	ORDER_SHUTDOWN_CLIENTS, /* when the last client has gone */
};
struct console_order {
	struct mail mail; /* whoever takes the order sets deliver and posts it */
	enum console_order_kind kind;
	const char *key, *value; /* ORDER_SET; the asker's */
	/* Answer: what went wrong, "" is success; and what else there is to say. */
	char error[512], notice[512];
};
/* The order is the console's again. Not after the workers' ends: then console_order_drop. */
void console_order_done(struct console_order *order);
void console_order_drop(struct console_order *order);

struct console_main {
	void (*take)(void *arg, struct console_order *order); /* called on a worker's thread */
	void *arg;
};

/* Made before the workers, freed after them. */
struct console_shared;
struct console_shared *console_shared_new(unsigned n_workers, const struct console_main *main);
void console_shared_free(struct console_shared **shared);
/* PAUSE or RESUME of everything, from any thread, nothing said in answer. */
void console_signal(struct console_shared *shared, bool pause);

struct console;
struct console_env {
	struct console_shared *shared;
	unsigned worker;
	struct session_env *session;
	struct pools_shared *pools;
	const struct fresh *fresh;
	struct mailbox *mailbox;
	struct timers *timers;
};
/* Lives on one worker; all of them are there before the first one runs. */
struct console *console_new(const struct console_env *env);
/* When all workers' loops have ended: what still arrives is dropped. */
void console_stop(struct console *console);
void console_free(struct console **console);

/* session_env.console; the console itself is session_env.console_arg. */
extern const struct session_console console_session;

#endif
