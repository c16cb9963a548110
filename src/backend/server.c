/* A server connection's life. libpq opened it and finishes it; between the two only we speak
 * on its socket (and through its SSL object). The note is the pool's. */
#include <stdio.h>
#include <string.h>

#include "backend_int.h"

static void server_on_writable(void *owner)
{
	struct server *s = owner;

	OBJ_CHECK(s, SERVER_MAGIC);
	s->sink->on_drained(s->sink_owner);
}

static const struct stream_events server_events = {
	.on_readable = server_on_readable,
	.on_writable = server_on_writable,
};

/* What libpq keeps of the parameters reported at login. */
static void learn_parameters(struct server *s)
{
	static const char *const names[] = {
		"server_version",
		"server_encoding",
		"client_encoding",
		"application_name",
		"default_transaction_read_only",
		"in_hot_standby",
		"is_superuser",
		"session_authorization",
		"DateStyle",
		"IntervalStyle",
		"TimeZone",
		"integer_datetimes",
		"standard_conforming_strings",
		"scram_iterations",
		"search_path",
	};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		const char *value = PQparameterStatus(s->conn, names[i]);

		if (value != NULL)
			server_set_parameter(s, names[i], value);
	}
}

struct server *server_new(struct backend_env *env, PGconn *conn)
{
	struct server *s = mem_zalloc(sizeof(*s));

	OBJ_INIT(s, SERVER_MAGIC);
	s->env = env;
	s->conn = conn;
	s->status = 'I';
	s->ring_cap = EXPECT_MIN_CAP;
	s->ring = mem_alloc(s->ring_cap * sizeof(s->ring[0]));
	server_draw_prefix(s);
	map_init(&s->stmts);
	list_init(&s->stmts_lru);
	s->next_stmt_id = SERVER_STMT_FIRST_ID;
	list_init(&s->note.link);
	list_init(&s->again_link);
	learn_parameters(s);
	if (env->fake != NULL)
		stream_init_fake(&s->stream, env->fake, &server_events, s);
	else
		stream_init_borrowed(&s->stream, env->base, PQsocket(conn),
		                     PQsslStruct(conn, "OpenSSL"), &server_events, s);
	return s;
}

void server_free(struct server **sp)
{
	struct server *s = *sp;

	*sp = NULL;
	OBJ_CHECK(s, SERVER_MAGIC);
	list_remove(&s->note.link);
	list_remove(&s->again_link);
	stream_fini(&s->stream);
	PQfinish(s->conn);
	server_forget_prepared(s);
	for (uint32_t i = 0; i < s->n_parameters; i++) {
		mem_free(s->parameters[i].name);
		mem_free(s->parameters[i].value);
	}
	mem_free(s->parameters);
	mem_free(s->settings);
	mem_free(s->ring);
	buf_fini(&s->held);
	OBJ_FINI(s, SERVER_MAGIC);
	mem_free(s);
}

struct stream *server_stream(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return &s->stream;
}

void server_set_sink(struct server *s, const struct sink_ops *ops, void *owner)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	s->sink = ops;
	s->sink_owner = owner;
}

const struct sink_ops *server_sink(const struct server *s, void **owner)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	if (owner != NULL)
		*owner = s->sink_owner;
	return s->sink;
}

void server_detach(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	MUST(server_is_quiet(s));
	list_remove(&s->note.link);
	list_remove(&s->again_link);
	stream_detach(&s->stream);
	s->env = NULL;
}

void server_attach(struct server *s, struct backend_env *env)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	MUST(s->env == NULL);
	s->env = env;
	stream_attach(&s->stream, env->base, s);
}

void server_resume(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	s->paused = false;
	server_on_readable(s);
}

void backend_edge(struct backend_env *env)
{
	struct list turn;
	struct list *link;

	list_init(&turn);
	list_move(&turn, &env->again);
	while ((link = list_pop_front(&turn)) != NULL)
		server_on_readable(LIST_MEMBER(link, struct server, again_link));
}

void server_look(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	if (s->paused || stream_peer(&s->stream) == STREAM_PEER_THERE)
		return;
	stream_recheck(&s->stream);
	server_on_readable(s);
}

void server_pause(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	s->paused = true;
}

char server_status(const struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return s->status;
}

bool server_is_quiet(const struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	/* With a batch open, the server is in an implicit transaction even when all replies have
	 * come (Flush), and its last ReadyForQuery says nothing about that. */
	return s->count == 0 && !s->skipping && !s->batch_open && s->body_left == 0 &&
	       s->held.len == 0 && s->lost == CLOSE_NONE && stream_backlog_bytes(&s->stream) == 0;
}

uint32_t server_owed(const struct server *s)
{
	return s->count;
}

bool server_is_mid_message(const struct server *s)
{
	return s->body_left > 0 && s->body_passes;
}

bool server_has_said_why(const struct server *s)
{
	return s->has_said_why;
}

bool server_is_standby(const struct server *s)
{
	return s->standby;
}

bool server_was_promoted(const struct server *s)
{
	return s->was_standby && !s->standby;
}

size_t server_backlog_bytes(const struct server *s)
{
	return stream_backlog_bytes(&s->stream);
}

PGconn *server_conn(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return s->conn;
}

const char *server_last_error(const struct server *s)
{
	return s->last_error;
}

uint32_t server_pid(const struct server *s)
{
	return (uint32_t)PQbackendPID(s->conn);
}

uint32_t server_n_prepared(const struct server *s)
{
	return s->stmts.count;
}

size_t server_bytes(void)
{
	return sizeof(struct server);
}

struct server_note *server_note(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return &s->note;
}

struct server *server_of_link(struct list *link)
{
	struct server *s = LIST_MEMBER(link, struct server, note.link);

	OBJ_CHECK(s, SERVER_MAGIC);
	return s;
}

void server_tell_cancelled(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	s->sink->on_cancelled(s->sink_owner);
}

/* ---- parameters ---------------------------------------------------------------------- */

static struct server_parameter *find_parameter(const struct server *s, const char *name)
{
	for (uint32_t i = 0; i < s->n_parameters; i++) {
		if (strcmp(s->parameters[i].name, name) == 0)
			return &s->parameters[i];
	}
	return NULL;
}

const char *server_parameter(const struct server *s, const char *name)
{
	const struct server_parameter *p = find_parameter(s, name);

	return p != NULL ? p->value : NULL;
}

uint64_t server_parameters_key(const struct server *s)
{
	return s->parameters_key;
}

uint64_t server_parameter_key(const char *name, const char *value)
{
	uint64_t pair[2];

	if (strcmp(name, "application_name") == 0 || strcmp(name, "in_hot_standby") == 0)
		return 0;
	pair[0] = hash_bytes(name, strlen(name));
	pair[1] = hash_bytes(value, strlen(value));
	return hash_bytes(pair, sizeof(pair)) | 1;
}

void server_each_parameter(const struct server *s,
                           void (*visit)(void *arg, const char *name, const char *value), void *arg)
{
	for (uint32_t i = 0; i < s->n_parameters; i++)
		visit(arg, s->parameters[i].name, s->parameters[i].value);
}

static void server_set_standby(struct server *s, bool is_standby)
{
	s->standby = is_standby;
	s->was_standby = s->was_standby || is_standby;
}

void server_set_parameter(struct server *s, const char *name, const char *value)
{
	struct server_parameter *p = find_parameter(s, name);

	if (strcmp(name, "in_hot_standby") == 0)
		server_set_standby(s, strcmp(value, "on") == 0);
	if (p == NULL) {
		if (s->n_parameters == SERVER_PARAMETERS_MAX)
			return;
		s->parameters = mem_realloc(s->parameters,
		                            (s->n_parameters + 1) * sizeof(s->parameters[0]));
		p = &s->parameters[s->n_parameters++];
		p->name = mem_strdup(name);
		p->value = NULL;
	}
	if (p->value != NULL)
		s->parameters_key -= server_parameter_key(name, p->value);
	s->parameters_key += server_parameter_key(name, value);
	mem_free(p->value);
	p->value = mem_strdup(value);
}
