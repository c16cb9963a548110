/* One end of a connection, played by the test: the stream that PgUsher reads and writes, and for
 * servers the functions of libpq that the code under test calls, which the linker takes from here
 * instead. Bytes arrive and leave as the replay's mode says; the events follow the real
 * stream's rules: an edge for bytes that have come, none for bytes that were left unread. */
#include <stdio.h>

#include "replay_int.h"

/* In REPLAY_TIGHT: byte after byte at first, then faster, or large messages would take ages. */
#define TIGHT_SLOW_BYTES 2000
#define TIGHT_FAST_BYTES 4096

struct actor *actor_new(struct replay *t, bool is_server, const char *name)
{
	struct actor *a = mem_zalloc(sizeof(*a));

	a->t = t;
	a->is_server = is_server;
	a->room = replay_mode(t) == REPLAY_TIGHT ? 1 : SIZE_MAX;
	snprintf(a->name, sizeof(a->name), "%s", name);
	return a;
}

void actor_free(struct actor *a)
{
	buf_fini(&a->in);
	buf_fini(&a->out);
	mem_free(a);
}

/* ---- streams ---------------------------------------------------------------------------- */

static struct actor *client_of(struct stream *s)
{
	return world_client_of(s->owner);
}

/* The server's stream may be used before server_new has returned. */
static struct actor *server_of(struct stream *s)
{
	struct actor *a = server_conn(s->owner)->actor;

	a->stream = s;
	return a;
}

static ssize_t read_from(struct actor *a, void *to, size_t cap)
{
	size_t n = a->out.len < a->may_read ? a->out.len : a->may_read;

	if (a->is_broken)
		return STREAM_ERROR;
	if (n == 0)
		return a->is_eof && a->out.len == 0 ? STREAM_EOF : STREAM_WAIT;
	if (n > cap)
		n = cap;
	if (replay_mode(a->t) == REPLAY_DRIP)
		n = 1;
	memcpy(to, a->out.data, n);
	buf_consume(&a->out, n);
	a->may_read -= n;
	return (ssize_t)n;
}

static ssize_t write_to(struct actor *a, const struct iovec *iov, int n)
{
	size_t taken = 0;

	if (a->is_broken)
		return STREAM_ERROR;
	if (a->is_stopped || a->room == 0)
		return STREAM_WAIT;
	a->n_writes++;
	for (int i = 0; i < n && a->room > 0; i++) {
		size_t len = iov[i].iov_len < a->room ? iov[i].iov_len : a->room;

		buf_put(&a->in, iov[i].iov_base, len);
		taken += len;
		if (a->room != SIZE_MAX)
			a->room -= len;
	}
	return (ssize_t)taken;
}

static ssize_t client_read(struct stream *s, void *to, size_t cap)
{
	return read_from(client_of(s), to, cap);
}

static ssize_t client_writev(struct stream *s, const struct iovec *iov, int n)
{
	return write_to(client_of(s), iov, n);
}

static void client_close(struct stream *s)
{
	client_of(s)->stream = NULL;
}

const struct stream_ops client_ops = {client_read, client_writev, client_close};

static ssize_t server_read(struct stream *s, void *to, size_t cap)
{
	return read_from(server_of(s), to, cap);
}

static ssize_t server_writev(struct stream *s, const struct iovec *iov, int n)
{
	return write_to(server_of(s), iov, n);
}

static void server_close(struct stream *s)
{
	server_of(s)->stream = NULL;
}

const struct stream_ops server_ops = {server_read, server_writev, server_close};

/* ---- libpq ------------------------------------------------------------------------------ */

const char *PQparameterStatus(const PGconn *conn, const char *name)
{
	static const struct {
		const char *name, *value;
	} reported[] = {
		{"server_version", "15.4"}, {"client_encoding", "UTF8"},
		{"application_name", ""},   {"in_hot_standby", "off"},
		{"TimeZone", "Etc/UTC"},    {"standard_conforming_strings", "on"},
	};

	if (conn->actor->is_standby && strcmp(name, "in_hot_standby") == 0)
		return "on";
	for (size_t i = 0; i < COUNT_OF(reported); i++) {
		if (strcmp(reported[i].name, name) == 0)
			return reported[i].value;
	}
	return NULL;
}

char *PQuser(const PGconn *conn)
{
	static char user[] = "app";

	(void)conn;
	return user;
}

int PQbackendPID(const PGconn *conn)
{
	(void)conn;
	return SERVER_PID;
}

void PQfinish(PGconn *conn)
{
	mem_free(conn);
}

/* ---- what the script does --------------------------------------------------------------- */

static void tell(struct actor *a, bool readable, bool writable)
{
	if (a->stream != NULL)
		stream_fake_event(a->stream, readable, writable);
	replay_turn(a->t);
}

bool actor_pump(struct actor *a)
{
	size_t before = a->in.len;

	if (a->stream == NULL || a->is_stopped || stream_backlog_bytes(a->stream) == 0)
		return false;
	a->room = a->in.len < TIGHT_SLOW_BYTES ? 1 : TIGHT_FAST_BYTES;
	stream_fake_event(a->stream, false, true);
	return a->in.len > before;
}

/* One byte after the other, as long as PgUsher reads; what it does not want to read has come as
 * well in the meantime. */
static void arrive_bytewise(struct actor *a)
{
	while (a->stream != NULL && a->out.len > 0) {
		size_t before = a->out.len;

		a->may_read = 1;
		tell(a, true, false);
		if (a->out.len == before)
			return;
	}
}

void actor_sends(struct actor *a, struct msg *const *msgs, const char *file, int line)
{
	if (a->stream == NULL)
		replay_fail(file, line, "%s cannot send: PgUsher has closed it", a->name);
	for (; *msgs != NULL; msgs++)
		message_render(*msgs, a, &a->out);
	if (replay_mode(a->t) == REPLAY_BYTES)
		arrive_bytewise(a);
	a->may_read = SIZE_MAX;
	tell(a, true, false);
}

void actor_gets(struct actor *a, struct msg *const *msgs, const char *file, int line)
{
	/* A client that takes no bytes cannot be told why it is closed. */
	bool may_be_cut = !a->is_server && a->stream == NULL && replay_mode(a->t) == REPLAY_TIGHT;

	if (!compare_messages(a, msgs, may_be_cut))
		replay_fail(file, line, "%s: not what the script says", a->name);
	buf_fini(&a->in);
	a->n_writes = 0;
}

void actor_hangs_up(struct actor *a)
{
	a->is_eof = true;
	tell(a, true, false);
}

void actor_breaks(struct actor *a)
{
	a->is_broken = true;
	tell(a, true, false);
}

void actor_stops(struct actor *a)
{
	a->is_stopped = true;
}

void actor_takes(struct actor *a)
{
	a->is_stopped = false;
	tell(a, false, true);
}

void check_closed(const struct actor *a, bool closed, const char *file, int line)
{
	if (closed != (a->stream == NULL))
		replay_fail(file, line, "%s is %s", a->name, closed ? "not closed" : "closed");
}

void check_one_write(const struct actor *a, const char *file, int line)
{
	if (replay_mode(a->t) == REPLAY_WHOLE && a->n_writes != 1)
		replay_fail(file, line, "%s got it in %u writes", a->name, a->n_writes);
}
