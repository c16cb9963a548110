/* What the server says, matched with what it was asked.
 *
 *   server_on_readable   reads into the worker's buffer
 *     consume            steps over the messages; bytes that the client gets are gathered into
 *                        runs, so that a thousand DataRows are one call of on_bytes
 *       frame_start      by its type and the head of the queue: pass, drop, or needed whole
 *       frame_done       pops the queue
 *     on_flush           the sink sends the runs
 *     on_settled         the sink may now release the server
 *
 * DataRows are never looked into, only their headers stepped over; the tenant context's row is
 * the exception: it must be the tenant. Anything that was not expected ends the connection,
 * for then we no longer know whose replies these are. Source: PostgreSQL documentation 55.2. */
#include <stdio.h>
#include <string.h>

#include "backend_int.h"
#include "base/clock.h"
#include "base/log.h"

/* Messages that are looked into are short; a longer one is not one of PostgreSQL's. */
#define WHOLE_MAX 32768
#define READ_MORE_BYTES 16384
#define READ_SHARE_US (2 * US_PER_MS)

enum frame_fate { FRAME_PASS, FRAME_DROP, FRAME_PASS_WHOLE, FRAME_DROP_WHOLE, FRAME_BAD };

static void server_lose(struct server *s, enum close_reason reason)
{
	if (s->lost == CLOSE_NONE)
		s->lost = reason;
}

static void run_end(struct server *s)
{
	if (s->run_len > 0)
		s->sink->on_bytes(s->sink_owner, s->run, s->run_len);
	s->run = NULL;
	s->run_len = 0;
}

static void run_add(struct server *s, const uint8_t *p, size_t len)
{
	if (s->run_len == 0 || s->run + s->run_len != p) {
		run_end(s);
		s->run = p;
	}
	s->run_len += len;
}

/* ---- popping ------------------------------------------------------------------------- */

void server_note_failure(struct server *s, const struct expect *e, enum expect_outcome outcome)
{
	if (e->kind == EXPECT_PARSE)
		server_forget_stmt(s, e->server_stmt);
	if ((e->kind == EXPECT_BIND || e->kind == EXPECT_DESCRIBE) && e->fate == FATE_PASS &&
	    outcome == EXPECT_FAILED && !e->is_outdated)
		server_doubt_stmt(s, e->server_stmt);
	/* The settings are not what we think they are, or a statement that we have forgotten is
	 * still there. */
	if ((e->fate == FATE_OURS && !e->may_fail) ||
	    (e->kind == EXPECT_CLOSE && e->fate == FATE_SWALLOW && !e->may_fail))
		s->note.taint |= TAINT_SCRUB;
}

static void forget_head(struct server *s)
{
	s->head = (s->head + 1) & (s->ring_cap - 1);
	s->count--;
}

static void pop(struct server *s, enum expect_outcome outcome)
{
	struct expect e = *expect_head(s);

	forget_head(s);
	if (outcome != EXPECT_DONE)
		server_note_failure(s, &e, outcome);
	/* Nobody's statements may run under another's settings. */
	if (outcome == EXPECT_FAILED && e.server_stmt == FIXED_SETTING && !s->settings_are_trial)
		server_lose(s, CLOSE_SERVER_SETTINGS);
	if (e.tell || outcome != EXPECT_DONE)
		s->sink->on_reply(s->sink_owner, &e, outcome);
}

static void answer_due(struct server *s)
{
	static const uint8_t parse_complete[] = {'1', 0, 0, 0, 4},
			     close_complete[] = {'3', 0, 0, 0, 4},
			     deallocated[] = "C\0\0\0\017DEALLOCATE";

	while (s->count > 0 && expect_head(s)->fate == FATE_ANSWER) {
		switch (expect_head(s)->answer) {
		case '1':
			run_add(s, parse_complete, sizeof(parse_complete));
			break;
		case '3':
			run_add(s, close_complete, sizeof(close_complete));
			break;
		default:
			MUST(expect_head(s)->answer == 'C');
			run_add(s, deallocated, sizeof(deallocated));
		}
		pop(s, EXPECT_DONE);
	}
}

void server_answer(struct server *s)
{
	answer_due(s);
	run_end(s);
}

void server_pass_on(struct server *s)
{
	run_end(s);
}

void server_forget_expected(struct server *s)
{
	OBJ_CHECK(s, SERVER_MAGIC);
	while (s->count > 0)
		pop(s, EXPECT_SKIPPED);
}

static void pop_done(struct server *s)
{
	pop(s, EXPECT_DONE);
	answer_due(s);
}

/* An error outside a simple query: the server skips to the next Sync, and so does the queue.
 * A query that the client sent alone, with our context in front of it, is skipped as well, and
 * nobody would ever send that Sync: we do. */
static void skip_to_sync(struct server *s)
{
	while (s->count > 0 && expect_head(s)->kind != EXPECT_SYNC) {
		struct expect *e = expect_head(s);

		if (e->kind == EXPECT_QUERY && e->sync_follows) {
			forget_head(s); /* and the empty Parse in front of that Sync */
			forget_head(s);
			return;
		}
		if ((e->kind == EXPECT_QUERY || e->kind == EXPECT_FUNCTION) && e->alone) {
			uint8_t sync[WIRE_HEADER_BYTES] = {'S', 0, 0, 0, 4};
			struct iovec iov = {sync, sizeof(sync)};

			e->kind = EXPECT_SYNC;
			e->is_implicit = false;
			(void)stream_writev(&s->stream, &iov, 1);
			return;
		}
		pop(s, EXPECT_SKIPPED);
	}
	s->skipping = s->count == 0;
}

static void on_error(struct server *s)
{
	struct expect *e = expect_head(s);

	s->echoed = false;
	if (e == NULL)
		return; /* unasked for: the connection is about to end */
	if (e->fate == FATE_REFUSE) {
		const struct buf *error = e->obj;

		run_add(s, error->data, error->len);
	}
	if (e->kind == EXPECT_QUERY || e->kind == EXPECT_SYNC || e->kind == EXPECT_FUNCTION) {
		s->sink->on_reply(s->sink_owner, e, EXPECT_FAILED);
		return;
	}
	pop(s, EXPECT_FAILED);
	skip_to_sync(s);
}

/* ---- one message ----------------------------------------------------------------------- */

/* Messages that a server may send at any time (55.2.7, Asynchronous Operations). */
static bool is_asynchronous(uint8_t type)
{
	return type == 'N' || type == 'S' || type == 'A' || type == 'E';
}

#define OF(kind) (1u << EXPECT_##kind)
/* The kinds of entries that a message may be the reply to. */
static const uint8_t reply_to[256] = {
	['1'] = OF(PARSE),
	['2'] = OF(BIND),
	['3'] = OF(CLOSE),
	['t'] = OF(DESCRIBE),
	['T'] = OF(DESCRIBE) | OF(QUERY),
	['n'] = OF(DESCRIBE),
	['D'] = OF(EXECUTE) | OF(QUERY),
	['C'] = OF(EXECUTE) | OF(QUERY),
	['I'] = OF(EXECUTE) | OF(QUERY),
	['s'] = OF(EXECUTE),
	['d'] = OF(EXECUTE) | OF(QUERY),
	['c'] = OF(EXECUTE) | OF(QUERY),
	['H'] = OF(EXECUTE) | OF(QUERY),
	['G'] = OF(EXECUTE) | OF(QUERY),
	['V'] = OF(FUNCTION),
	['Z'] = OF(SYNC) | OF(QUERY) | OF(FUNCTION),
};
#undef OF

static bool is_expected(const struct expect *e, uint8_t type)
{
	return e != NULL && e->fate != FATE_ANSWER && (reply_to[type] >> e->kind & 1);
}

static bool frame_passes(const struct expect *e, uint8_t type)
{
	if (e == NULL || e->fate == FATE_PASS || type == 'A')
		return true;
	switch (e->fate) {
	case FATE_SWALLOW:
	case FATE_CONTEXT:
		return type == 'E' || type == 'N' || type == 'S';
	case FATE_REFUSE:
		return type == 'N';
	default:
		return false;
	}
}

/* It binds or describes a prepared statement of the client's. */
static bool is_of_stmt(const struct expect *e)
{
	return e != NULL && (e->kind == EXPECT_BIND || e->kind == EXPECT_DESCRIBE) &&
	       e->fate == FATE_PASS && e->server_stmt >= FIXED_COUNT;
}

static bool is_our_failure(const struct expect *e)
{
	return e != NULL && e->fate == FATE_OURS && !e->may_fail;
}

/* It is looked into. */
static bool is_whole(const struct server *s, const struct expect *e, const struct wire_frame *f)
{
	switch (f->type) {
	case 'Z':
	case 'S':
		return true;
	case 'D':
		return e != NULL && (e->fate == FATE_CONTEXT || e->fate == FATE_ASK);
	case 'C':
		return e != NULL && (e->mark == MARK_ENDS_TXN || e->is_reported);
	case 'E':
		return is_our_failure(e) || f->body_len <= WHOLE_MAX;
	case 'A':
		return s->sink->told_pid != NULL && f->body_len <= WHOLE_MAX;
	case 't':
	case 'T':
	case 'n':
		return e != NULL && e->kind == EXPECT_DESCRIBE && e->tell &&
		       f->body_len <= WHOLE_MAX;
	default:
		return false;
	}
}

static enum frame_fate frame_start(struct server *s, const struct wire_frame *f)
{
	const struct expect *e = expect_head(s);
	bool passes = frame_passes(e, f->type);
	bool whole = is_whole(s, e, f);

	if (f->type == '\0' || (!is_asynchronous(f->type) && !is_expected(e, f->type)))
		return FRAME_BAD;
	if (whole && f->body_len > WHOLE_MAX)
		return FRAME_BAD;
	if (whole)
		return passes ? FRAME_PASS_WHOLE : FRAME_DROP_WHOLE;
	return passes ? FRAME_PASS : FRAME_DROP;
}

/* The context's row: the tenant and, if signed, the proof, which the database judges (DataRow,
 * 55.7). */
static bool context_is_right(struct server *s, const uint8_t *body, uint32_t len)
{
	uint32_t n_columns = s->env->prover != NULL ? 2 : 1;
	uint32_t rest = n_columns == 2 ? 4 + PROOF_SIZE - 1 : 0;
	int64_t tenant;

	if (len <= 6 + rest || be16_get(body) != n_columns)
		return false;
	len -= rest;
	return be32_get(body + 2) == len - 6 &&
	       (rest == 0 || be32_get(body + len) == PROOF_SIZE - 1) &&
	       backend_tenant_number((const char *)body + 6, len - 6, &tenant) &&
	       tenant == expect_head(s)->tenant;
}

/* One column (DataRow, 55.7), whose length is -1 for NULL. */
static void hand_value(struct server *s, const uint8_t *body, uint32_t len)
{
	uint32_t value_len = len >= 6 ? be32_get(body + 2) : 0;

	if (len < 6 || be16_get(body) != 1 || (value_len != UINT32_MAX && value_len != len - 6))
		server_lose(s, CLOSE_SERVER_PROTOCOL);
	else if (value_len == UINT32_MAX)
		s->sink->on_value(s->sink_owner, NULL, 0);
	else
		s->sink->on_value(s->sink_owner, (const char *)body + 6, value_len);
}

/* FATAL: the server ends, whatever it was asked (V comes in front of the message). */
static void note_our_error(struct server *s, const uint8_t *body, uint32_t len)
{
	struct wire_cursor c = {body, body + len};

	while (c.at < c.end && *c.at != '\0') {
		uint8_t field = *c.at++;
		const char *text = wire_cursor_cstr(&c);

		if (text == NULL)
			return;
		if (field == 'V' && strcmp(text, "ERROR") != 0) {
			server_lose(s, CLOSE_SERVER_LOST);
			return;
		}
		if (field == 'M') {
			snprintf(s->last_error, sizeof(s->last_error), "%s", text);
			log_warning("server %u refused a statement of ours: %s", server_pid(s),
			            text);
		}
	}
}

static void on_parameter(struct server *s, const uint8_t *body, uint32_t len, bool passes)
{
	struct wire_cursor c = {body, body + len};
	const char *name = wire_cursor_cstr(&c);
	const char *value = name != NULL ? wire_cursor_cstr(&c) : NULL;

	if (value == NULL)
		return;
	server_set_parameter(s, name, value);
	if (passes && s->sink->on_parameter != NULL)
		s->sink->on_parameter(s->sink_owner, name, value);
}

/* Is the transaction of a Query still open that should have ended with it? The Sync that ends it
 * then tells whether it was that, or a block of the client's which nobody saw begin. */
static void look_for_kept(struct server *s, const struct expect *e)
{
	s->is_kept = e->kind == EXPECT_QUERY && e->is_implicit && !e->sync_follows &&
	             s->status == 'T' && s->count == 1;
	if (e->kind == EXPECT_SYNC && e->is_implicit)
		s->keeps_implicit = s->status == 'I';
}

static bool on_ready_is_passed(struct server *s, const uint8_t *body, uint32_t len)
{
	const struct expect *e = expect_head(s);
	bool passes = e->fate == FATE_PASS;

	if (len != 1 || (body[0] != 'I' && body[0] != 'T' && body[0] != 'E')) {
		server_lose(s, CLOSE_SERVER_PROTOCOL);
		return false;
	}
	s->status = (char)body[0];
	look_for_kept(s, e);
	passes = passes && !s->is_kept && !(e->kind == EXPECT_QUERY && e->sync_follows);
	return passes && s->sink->on_ready(s->sink_owner, s->status);
}

/* The Query ends with the Sync instead. */
static void end_kept(struct server *s)
{
	s->is_kept = false;
	pop(s, EXPECT_DONE);
	(void)server_begin(s);
	server_put_implicit_end(s);
	(void)server_end(s);
}

/* The whole message has been passed or dropped. */
static void frame_done(struct server *s, uint8_t type)
{
	struct expect *e = expect_head(s);

	switch (type) {
	case '1':
	case '2':
	case '3':
		pop_done(s);
		break;
	case 'Z':
		if (s->is_kept)
			end_kept(s);
		else
			pop_done(s);
		break;
	case 'T':
	case 'n':
		if (e->kind == EXPECT_DESCRIBE)
			pop_done(s);
		break;
	case 'C':
	case 'I':
	case 's':
		/* No COMMIT answers so: the portal held something else. */
		if (type != 'C' && e->mark == MARK_ENDS_TXN)
			e->mark = MARK_STAYS;
		if (type == 's' && e->is_reported)
			s->sink->on_tag(s->sink_owner, e, NULL, 0);
		if (e->kind == EXPECT_EXECUTE && e->fate == FATE_CONTEXT && !s->echoed)
			server_lose(s, CLOSE_SERVER_CONTEXT);
		else if (e->kind == EXPECT_EXECUTE)
			pop_done(s);
		s->echoed = false;
		break;
	case 'G':
		s->sink->on_copy_in(s->sink_owner);
		break;
	case 'E':
		on_error(s);
		break;
	default:
		break;
	}
}

/* By the command tag. */
static bool ends_transaction(const uint8_t *body, uint32_t len)
{
	static const char *const tags[] = {"COMMIT", "ROLLBACK", "PREPARE TRANSACTION"};

	for (size_t i = 0; i < COUNT_OF(tags); i++)
		if (len == strlen(tags[i]) + 1 && memcmp(body, tags[i], len) == 0)
			return true;
	return false;
}

static void look_at_tag(struct server *s, const uint8_t *body, uint32_t len)
{
	struct expect *e = expect_head(s);

	if (e->mark == MARK_ENDS_TXN && !ends_transaction(body, len))
		e->mark = MARK_STAYS;
	if (e->is_reported)
		s->sink->on_tag(s->sink_owner, e, (const char *)body, len > 0 ? len - 1 : 0);
}

static void tell_sqlstate(struct server *s, const uint8_t *body, uint32_t len)
{
	struct wire_cursor c = {body, body + len};

	while (c.at < c.end && *c.at != '\0') {
		uint8_t field = *c.at++;
		const char *text = wire_cursor_cstr(&c);

		if (text == NULL)
			return;
		if (field == 'C')
			s->sink->on_sqlstate(s->sink_owner, text);
	}
}

/* "cached plan must not change result type", in whatever language (plancache.c): by SQLSTATE and
 * the routine in PostgreSQL's source (55.8). */
static bool says_outdated(const uint8_t *body, uint32_t len)
{
	struct wire_cursor c = {body, body + len};
	bool is_code = false, is_routine = false;

	while (c.at < c.end && *c.at != '\0') {
		uint8_t field = *c.at++;
		const char *text = wire_cursor_cstr(&c);

		if (text == NULL)
			return false;
		is_code = is_code ||
		          (field == 'C' && strcmp(text, SQLSTATE_FEATURE_NOT_SUPPORTED) == 0);
		is_routine =
			is_routine || (field == 'R' && strcmp(text, "RevalidateCachedQuery") == 0);
	}
	return is_code && is_routine;
}

/* It ends the session (field V, 55.8). */
static bool is_fatal(const uint8_t *body, uint32_t len)
{
	struct wire_cursor c = {body, body + len};

	while (c.at < c.end && *c.at != '\0') {
		uint8_t field = *c.at++;
		const char *text = wire_cursor_cstr(&c);

		if (text == NULL)
			return false;
		if (field == 'V')
			return strcmp(text, "FATAL") == 0 || strcmp(text, "PANIC") == 0;
	}
	return false;
}

static void look_at_error(struct server *s, const uint8_t *body, uint32_t len, bool passes)
{
	struct expect *e = expect_head(s);

	if (passes && is_fatal(body, len))
		s->has_said_why = true;

	if (is_of_stmt(e))
		e->is_outdated = says_outdated(body, len);

	if (is_our_failure(e))
		note_our_error(s, body, len);
	if ((s->env->reports || s->note.tells_errors) && s->sink->on_sqlstate != NULL &&
	    (e == NULL || (e->fate != FATE_OURS && e->fate != FATE_ASK && e->fate != FATE_REFUSE)))
		tell_sqlstate(s, body, len);
}

/* A session knows its own notifications by its process id (PostgreSQL documentation, NOTIFY). */
static void put_told_pid(struct server *s, uint8_t *body, uint32_t len)
{
	if (len >= 4 && be32_get(body) == server_pid(s))
		be32_set(body, s->sink->told_pid(s->sink_owner));
}

/* Looks into a message that is here whole. True: the client gets it. */
static bool frame_look(struct server *s, const struct wire_frame *f, uint8_t *body, bool passes)
{
	switch (f->type) {
	case 'Z':
		return on_ready_is_passed(s, body, f->body_len);
	case 'S':
		on_parameter(s, body, f->body_len, passes);
		return passes;
	case 'C':
		look_at_tag(s, body, f->body_len);
		return passes;
	case 'D':
		if (expect_head(s)->fate == FATE_ASK) {
			hand_value(s, body, f->body_len);
			return false;
		}
		s->echoed = context_is_right(s, body, f->body_len);
		if (!s->echoed)
			server_lose(s, CLOSE_SERVER_CONTEXT);
		return false;
	case 't':
	case 'T':
	case 'n':
		if (s->sink->on_described != NULL)
			s->sink->on_described(s->sink_owner, expect_head(s), f->type, body,
			                      f->body_len);
		return passes;
	case 'A':
		put_told_pid(s, body, f->body_len);
		return passes;
	default:
		look_at_error(s, body, f->body_len, passes);
		return passes;
	}
}

/* ---- the stream of messages --------------------------------------------------------------- */

static size_t consume_body(struct server *s, const uint8_t *p, size_t n)
{
	size_t len = n < s->body_left ? n : s->body_left;

	if (s->body_passes)
		run_add(s, p, len);
	s->body_left -= (uint32_t)len;
	if (s->body_left == 0)
		frame_done(s, s->body_type);
	return len;
}

/* The message at p: how many bytes were taken, 0 when more must come first. */
static size_t consume_frame(struct server *s, uint8_t *p, size_t n)
{
	struct wire_frame f = {0};
	enum wire_read r = wire_frame_read(p, n, &f);
	enum frame_fate fate;

	if (r == WIRE_READ_SHORT)
		return 0;
	fate = r == WIRE_READ_OK ? frame_start(s, &f) : FRAME_BAD;
	if (fate == FRAME_BAD) {
		log_warning("server %u sent a '%c' that was not expected", server_pid(s),
		            p[0] >= ' ' && p[0] < 127 ? p[0] : '?');
		server_lose(s, CLOSE_SERVER_PROTOCOL);
		return 0;
	}
	if (fate == FRAME_PASS_WHOLE || fate == FRAME_DROP_WHOLE) {
		if (n < WIRE_HEADER_BYTES + (size_t)f.body_len)
			return 0;
		if (frame_look(s, &f, p + WIRE_HEADER_BYTES, fate == FRAME_PASS_WHOLE))
			run_add(s, p, WIRE_HEADER_BYTES + (size_t)f.body_len);
		if (s->lost == CLOSE_NONE)
			frame_done(s, f.type);
		return WIRE_HEADER_BYTES + (size_t)f.body_len;
	}
	s->body_type = f.type;
	s->body_left = f.body_len;
	s->body_passes = fate == FRAME_PASS;
	if (s->body_passes)
		run_add(s, p, WIRE_HEADER_BYTES);
	if (f.body_len == 0)
		frame_done(s, f.type);
	return WIRE_HEADER_BYTES;
}

static size_t consume(struct server *s, uint8_t *p, size_t n)
{
	size_t at = 0;

	while (at < n && s->lost == CLOSE_NONE) {
		size_t taken = s->body_left > 0 ? consume_body(s, p + at, n - at)
		                                : consume_frame(s, p + at, n - at);

		if (taken == 0)
			break;
		at += taken;
	}
	run_end(s);
	return at;
}

/* One read and what comes of it. True: there may be more. */
static bool read_once(struct server *s)
{
	bool in_held = s->held.len > 0;
	uint8_t *at = s->env->in;
	size_t cap = s->env->in_size, used;
	ssize_t n;

	if (in_held) {
		at = buf_reserve(&s->held, READ_MORE_BYTES);
		cap = s->held.cap - s->held.len;
	}
	n = stream_read(&s->stream, at, cap);
	if (n == STREAM_WAIT)
		return false;
	if (n < 0) {
		server_lose(s, CLOSE_SERVER_LOST);
		return false;
	}
	if (in_held) {
		s->held.len += (size_t)n;
		used = consume(s, s->held.data, s->held.len);
		s->sink->on_flush(s->sink_owner);
		buf_consume(&s->held, used);
		if (s->held.len == 0)
			buf_fini(&s->held);
	} else {
		used = consume(s, at, (size_t)n);
		s->sink->on_flush(s->sink_owner);
		buf_put(&s->held, at + used, (size_t)n - used);
	}
	return s->lost == CLOSE_NONE;
}

/* True: the server has had its share of the worker's time, its next turn comes at the loop's edge.
 * Most have said all after one read, and the clock is not asked. */
static bool share_is_over(struct server *s, int64_t *until_us)
{
	int64_t now_us = clock_mono_us();

	if (*until_us == 0)
		*until_us = now_us + READ_SHARE_US;
	if (now_us <= *until_us)
		return false;
	list_remove(&s->again_link);
	list_push_back(&s->env->again, &s->again_link);
	s->env->wake_edge(s->env->worker);
	return true;
}

void server_on_readable(void *owner)
{
	struct server *s = owner;
	int64_t until_us = 0;

	OBJ_CHECK(s, SERVER_MAGIC);
	while (!s->paused && s->lost == CLOSE_NONE && read_once(s)) {
		if (!s->sink->on_settled(s->sink_owner))
			return;
		if (!stream_is_readable(&s->stream) || share_is_over(s, &until_us))
			return;
	}
	if (s->lost != CLOSE_NONE) {
		log_debug("server %u is lost: %s", server_pid(s),
		          close_reason_info(s->lost)->label);
		s->sink->on_lost(s->sink_owner, s->lost);
	}
}
