/* What the harness's own files share. */
#ifndef PGUSHER_TESTS_REPLAY_INT_H
#define PGUSHER_TESTS_REPLAY_INT_H

#include "replay.h"

struct msg {
	struct msg *next; /* all of the test's, for messages_free */
	bool is_raw;      /* body has the bytes, header included if there is one */
	uint8_t type;
	struct buf body;      /* may hold "{ours}", "{theirs}" */
	const char *severity; /* not NULL: any ErrorResponse with these */
	const char *sqlstate, *text;
};

/* libpq's connection is ours: see actor.c. */
struct pg_conn {
	struct actor *actor;
};

extern const struct stream_ops client_ops, server_ops;

/* message.c */
void messages_free(void);
/* The message's bytes as they go over the wire to or from this actor. */
void message_render(const struct msg *m, const struct actor *a, struct buf *out);

/* compare.c */
/* True when `in` is exactly these messages; else the difference has been printed. With
 * may_be_cut the actor need not have got the end of them. */
bool compare_messages(struct actor *a, struct msg *const *msgs, bool may_be_cut);
/* Fails the test with a message. */
_Noreturn void replay_fail(const char *file, int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* actor.c */
struct actor *actor_new(struct replay *t, bool is_server, const char *name);
void actor_free(struct actor *a);
/* Gives all writers that have room some. True: something was taken. */
bool actor_pump(struct actor *a);

/* replica.c */
/* What the probe would have measured; NULL where the configuration has no replica. */
struct fresh *replica_new(struct conf *conf);

/* world.c */
/* Whose client this is, of the one replay that is running. */
struct actor *world_client_of(const struct client *client);

#endif
