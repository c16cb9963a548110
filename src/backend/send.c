/* What we send of our own: BEGIN, the tenant context, session settings, refusals, scrubs. All of
 * it goes in front of the client's bytes in the same write.
 *
 * The context is a bound statement without a Sync: the client's Query or batch behind it runs
 * in the same implicit transaction, and an error in it makes the server skip what follows, so
 * nothing can run without it. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backend_int.h"

struct outvec *server_begin(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	outvec_begin(s->env->to_server, &s->stream);
	return s->env->to_server;
}

bool server_end(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return outvec_end(s->env->to_server);
}

void server_expect(struct server *s, const struct expect *e)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	if (s->skipping && e->kind != EXPECT_SYNC) {
		/* The server will not even look at it. */
		server_note_failure(s, e, EXPECT_SKIPPED);
		s->sink->on_reply(s->sink_owner, e, EXPECT_SKIPPED);
		return;
	}
	s->skipping = false;
	if (e->fate != FATE_ANSWER)
		s->batch_open = e->kind != EXPECT_SYNC && e->kind != EXPECT_QUERY &&
		                e->kind != EXPECT_FUNCTION;
	if (s->count == s->ring_cap) {
		struct expect *ring = mem_alloc(2 * (size_t)s->ring_cap * sizeof(ring[0]));

		for (uint32_t i = 0; i < s->count; i++)
			ring[i] = *expect_at(s, i);
		mem_free(s->ring);
		s->ring = ring;
		s->ring_cap *= 2;
		s->head = 0;
	}
	*expect_at(s, s->count) = *e;
	s->count++;
}

static void expect_ours(struct server *s, enum expect_kind kind, enum expect_fate fate)
{
	struct expect e = {.kind = (uint8_t)kind, .fate = (uint8_t)fate, .alone = true};

	server_expect(s, &e);
}

static void scratch_out(struct server *s)
{
	struct buf *b = s->env->scratch;

	outvec_copy(s->env->to_server, b->data, b->len);
	b->len = 0;
}

/* Parses our statement unless it is there, then binds and executes it. */
static void put_fixed(struct server *s, enum fixed_stmt fixed, const char *text,
                      const char *const *values, uint16_t n, enum expect_fate fate)
{
	struct buf *b = s->env->scratch;
	const char *name = s->fixed_names[fixed];
	bool is_own = fate == FATE_OURS || fate == FATE_ASK;
	struct expect e = {
		.fate = is_own ? (uint8_t)fate : FATE_SWALLOW, .server_stmt = fixed, .alone = true};

	if (!s->fixed_ready[fixed]) {
		wire_put_parse(b, name, text);
		s->fixed_ready[fixed] = true;
		e.kind = EXPECT_PARSE;
		server_expect(s, &e);
	}
	wire_put_bind(b, name, values, n);
	e.kind = EXPECT_BIND;
	server_expect(s, &e);
	wire_put_execute(b);
	e.kind = EXPECT_EXECUTE;
	e.fate = (uint8_t)fate;
	/* Several may be under way, for one tenant after the other. */
	if (fate == FATE_CONTEXT)
		MUST(backend_tenant_number(values[0], strlen(values[0]), &e.tenant));
	server_expect(s, &e);
	scratch_out(s);
}

void server_put_begin(struct server *s)
{
	put_fixed(s, FIXED_BEGIN, "BEGIN", NULL, 0, FATE_SWALLOW);
}

void server_put_commit(struct server *s)
{
	put_fixed(s, FIXED_COMMIT, "COMMIT", NULL, 0, FATE_SWALLOW);
	server_put_sync(s, FATE_PASS);
}

bool backend_tenant_number(const char *text, size_t len, int64_t *number)
{
	uint64_t n = 0;

	if (len == 0 || len > 19 || (text[0] == '0' && len > 1))
		return false;
	for (size_t i = 0; i < len; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		n = n * 10 + (uint64_t)(text[i] - '0');
	}
	*number = (int64_t)n;
	return n <= INT64_MAX;
}

void server_put_context(struct server *s, const char *tenant)
{
	char text[384] = "", proof[PROOF_SIZE];
	const char *values[] = {tenant, proof};
	bool is_signed = s->env->prover != NULL;

	/* The settings' names are plain identifiers: conf checks them. */
	if (!s->fixed_ready[FIXED_CONTEXT])
		snprintf(text, sizeof(text),
		         is_signed ? "SELECT pg_catalog.set_config('%s',$1,true),"
		                     "pg_catalog.set_config('%s',$2,true)"
		                   : "SELECT pg_catalog.set_config('%s',$1,true)",
		         s->env->setting, s->env->proof_setting);
	if (is_signed)
		prover_make(s->env->prover, PQuser(s->conn), server_pid(s), tenant, proof);
	put_fixed(s, FIXED_CONTEXT, text, values, is_signed ? 2 : 1, FATE_CONTEXT);
}

void server_put_close_portal(struct server *s)
{
	static const uint8_t message[] = {'C', 0, 0, 0, 6, 'P', '\0'};

	outvec_copy(s->env->to_server, message, sizeof(message));
	expect_ours(s, EXPECT_CLOSE, FATE_SWALLOW);
}

static void put_setting(struct server *s, const char *name, const char *value)
{
	const char *values[] = {name, value};

	put_fixed(s, FIXED_SETTING, "SELECT pg_catalog.set_config($1,$2,false)", values, 2,
	          FATE_OURS);
}

/* The value of name in a "name\0value\0"... list, NULL when it is not there. */
static const char *setting_find(const char *settings, size_t len, const char *name)
{
	for (const char *at = settings; at < settings + len;) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

void server_put_settings(struct server *s, const char *settings, size_t len, bool is_trial)
{
	s->settings_are_trial = is_trial;
	if (len == s->settings_len &&
	    (len == 0 || (!s->settings_are_doubtful && memcmp(settings, s->settings, len) == 0)))
		return;
	for (const char *at = s->settings; at < s->settings + s->settings_len;) {
		const char *value = at + strlen(at) + 1;

		/* set_config with NULL is RESET */
		if (setting_find(settings, len, at) == NULL)
			put_setting(s, at, NULL);
		at = value + strlen(value) + 1;
	}
	for (const char *at = settings, *next; at < settings + len; at = next) {
		const char *value = at + strlen(at) + 1;
		const char *old = setting_find(s->settings, s->settings_len, at);

		next = value + strlen(value) + 1;
		if (old != NULL && strcmp(old, value) == 0 && !s->settings_are_doubtful)
			continue;
		/* Its value may name a half only, the other half then stays as it was. */
		if (old != NULL && strcasecmp(at, "DateStyle") == 0)
			put_setting(s, at, NULL);
		put_setting(s, at, value);
	}
	server_put_sync(s, FATE_OURS);
	server_note_settings(s, settings, len);
}

void server_put_setting_back(struct server *s, const char *name, const char *value, bool is_local)
{
	struct buf *b = s->env->scratch;
	const char *values[] = {name, value, is_local ? "t" : "f"};
	const char *fixed = s->fixed_names[FIXED_SETTING_BACK];
	struct expect e = {.fate = FATE_SWALLOW, .server_stmt = FIXED_SETTING_BACK, .alone = true};

	if (!s->fixed_ready[FIXED_SETTING_BACK]) {
		wire_put_parse(b, fixed, "SELECT pg_catalog.set_config($1,$2,$3)");
		s->fixed_ready[FIXED_SETTING_BACK] = true;
		e.kind = EXPECT_PARSE;
		server_expect(s, &e);
	}
	wire_put_bind_portal(b, fixed, fixed, values, COUNT_OF(values));
	e.kind = EXPECT_BIND;
	server_expect(s, &e);
	wire_put_execute_portal(b, fixed);
	e.kind = EXPECT_EXECUTE;
	server_expect(s, &e);
	wire_put_close_portal(b, fixed);
	e.kind = EXPECT_CLOSE;
	e.may_fail = true; /* then it is gone with its transaction */
	server_expect(s, &e);
	scratch_out(s);
}

void server_put_statement(struct server *s, const char *text, struct expect *execute)
{
	struct buf *b = s->env->scratch;

	wire_put_parse(b, "", text);
	expect_ours(s, EXPECT_PARSE, FATE_SWALLOW);
	wire_put_bind(b, "", NULL, 0);
	expect_ours(s, EXPECT_BIND, FATE_SWALLOW);
	wire_put_execute(b);
	scratch_out(s);
	server_expect(s, execute);
}

void server_note_settings(struct server *s, const char *settings, size_t len)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	mem_free(s->settings);
	s->settings = len > 0 ? mem_dup(settings, len) : NULL;
	s->settings_len = len;
	s->settings_are_doubtful = false;
}

void server_doubt_settings(struct server *s, const char *settings, size_t len)
{
	struct buf list = {0};

	OBJ_CHECK(s, SERVER_MAGIC);
	buf_put(&list, s->settings, s->settings_len);
	for (const char *at = settings; at < settings + len;) {
		const char *value = at + strlen(at) + 1;

		if (setting_find(s->settings, s->settings_len, at) == NULL) {
			buf_put_cstr(&list, at);
			buf_put_cstr(&list, "");
		}
		at = value + strlen(value) + 1;
	}
	server_note_settings(s, (const char *)list.data, list.len);
	s->settings_are_doubtful = true;
	buf_fini(&list);
}

void server_put_ask(struct server *s, const char *name, bool only_if_set)
{
	/* The view does not show the application's own settings: what has no row is asked for. */
	static const char elsewhere[] =
		" WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_settings WHERE"
		" pg_catalog.lower(name) OPERATOR(pg_catalog.=) pg_catalog.lower($1)"
		" AND source OPERATOR(pg_catalog.<>) 'session'))";
	enum fixed_stmt fixed = only_if_set ? FIXED_ASK_SET : FIXED_ASK;
	char text[320] = "";

	if (!s->fixed_ready[fixed])
		snprintf(text, sizeof(text),
		         "SELECT %spg_catalog.left(pg_catalog.current_setting($1,true),%d)%s",
		         only_if_set ? "(SELECT " : "", SERVER_VALUE_MAX + 1,
		         only_if_set ? elsewhere : "");
	put_fixed(s, fixed, text, &name, 1, FATE_ASK);
}

void server_forget_settings(struct server *s)
{
	MEM_FREE(&s->settings);
	s->settings_len = 0;
	s->settings_are_doubtful = false;
}

void server_put_ask_state(struct server *s)
{
	/* All that is left in the temporary schema hangs on it in pg_depend. */
	static const char text[] =
		"SELECT NOT (EXISTS (SELECT FROM pg_catalog.pg_listening_channels())"
		" OR EXISTS (SELECT FROM pg_catalog.pg_cursor() WHERE is_holdable)"
		" OR EXISTS (SELECT FROM pg_catalog.pg_prepared_statement() WHERE from_sql)"
		" OR EXISTS (SELECT FROM pg_catalog.pg_lock_status() WHERE locktype"
		" OPERATOR(pg_catalog.=) 'advisory'"
		" AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid())"
		" OR EXISTS (SELECT FROM pg_catalog.pg_depend WHERE"
		" refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass"
		" AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()))";

	/* sql/hardening.sql, which takes those functions from the role, makes this one. */
	if (s->asks_function)
		put_fixed(s, FIXED_STATE_FUNCTION, "SELECT pgusher_session.is_clean()", NULL, 0,
		          FATE_ASK);
	else
		put_fixed(s, FIXED_STATE, text, NULL, 0, FATE_ASK);
}

bool server_ask_state_otherwise(struct server *s)
{
	bool is_new = !s->asks_function;

	OBJ_CHECK(s, SERVER_MAGIC);
	s->asks_function = true;
	return is_new;
}

static void put_unknown_bind(struct server *s)
{
	/* A name that nothing was ever prepared under. */
	wire_put_bind(s->env->scratch, s->fixed_names[FIXED_NONE], NULL, 0);
	scratch_out(s);
}

void server_put_failure(struct server *s)
{
	struct expect e = {.kind = EXPECT_BIND, .fate = FATE_OURS, .may_fail = true};

	put_unknown_bind(s);
	server_expect(s, &e);
	server_put_sync(s, FATE_OURS);
}

void server_put_refusal(struct server *s, struct buf *error, enum expect_mark mark)
{
	struct expect e = {
		.kind = EXPECT_BIND, .fate = FATE_REFUSE, .mark = (uint8_t)mark, .obj = error};

	put_unknown_bind(s);
	server_expect(s, &e);
}

void server_put_query(struct server *s, const char *text, enum expect_fate fate)
{
	wire_put_query(s->env->scratch, text, strlen(text));
	scratch_out(s);
	expect_ours(s, EXPECT_QUERY, fate);
}

bool server_is_in_batch(const struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return s->batch_open;
}

bool server_keeps_implicit(const struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	return s->keeps_implicit;
}

/* In PostgreSQL 18 a Query behind an Execute without Sync runs in that one's implicit block, which
 * only Sync ends; and at the Query's end the server forgets that a transaction is open, so that a
 * Sync alone would not commit it (measured: the next statement fails, XX000). Any Parse reminds it
 * (postgres.c, start_xact_command). */
void server_put_implicit_end(struct server *s)
{
	struct expect sync = {.kind = EXPECT_SYNC, .fate = FATE_PASS, .is_implicit = true};

	wire_put_parse(s->env->scratch, "", "");
	expect_ours(s, EXPECT_PARSE, FATE_SWALLOW);
	wire_put_bare(s->env->scratch, 'S');
	server_expect(s, &sync);
	scratch_out(s);
}

void server_put_sync(struct server *s, enum expect_fate fate)
{
	wire_put_bare(s->env->scratch, 'S');
	scratch_out(s);
	expect_ours(s, EXPECT_SYNC, fate);
}
