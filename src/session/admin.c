/* An admin client: its login, and its statements in both protocols. It has no pool, no server and
 * no tenant, and so no way to PostgreSQL; what it says goes to the console (env->console), which
 * answers by session_console_answer, perhaps much later. Until then nothing more is taken from it
 * (FLOW_WAIT_READY).
 *
 *   admin_is_wanted ─► admin_enter           the same user over the unix socket: no password
 *                   └► admin_admit           else a token, its role in admin_users or stats_users
 *   session_step_console ─► env->console->query ┄┄► session_console_answer
 *
 * The console's statements have no parameters and answer in text, so a prepared statement is its
 * text, and a portal too. */
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "session_console.h"
#include "session_int.h"

#define AUTH_OK_CODE 0
#define MESSAGE_MAX 65536
#define TEXTS_MAX 64 /* prepared statements of one client, and portals */

struct admin_text {
	struct admin_text *next;
	char *name, *text;
};

struct admin {
	bool is_admin;
	bool is_simple; /* the answer awaited is a Query's */
	bool is_failed; /* everything up to Sync is skipped */
	struct admin_text *statements, *portals;
};

/* ---- login ----------------------------------------------------------------------------------- */

bool admin_is_wanted(const struct client *c)
{
	return c->env->console != NULL && conf_is_console(c->database);
}

/* What drivers want to know; PgBouncer says the same. */
static void put_parameters(struct buf *b, const struct client *c)
{
	const char *name = client_setting(c, "application_name");

	wire_put_parameter(b, "server_version", PGUSHER_VERSION "/pgusher");
	wire_put_parameter(b, "client_encoding", "UTF8");
	wire_put_parameter(b, "server_encoding", "UTF8");
	wire_put_parameter(b, "DateStyle", "ISO, MDY");
	wire_put_parameter(b, "TimeZone", "UTC");
	wire_put_parameter(b, "standard_conforming_strings", "on");
	wire_put_parameter(b, "integer_datetimes", "on");
	wire_put_parameter(b, "is_superuser", "on");
	client_put_application_name(b, name != NULL ? name : "");
}

/* Behind what is in the scratch buffer. */
static void enter(struct client *c, bool is_admin)
{
	struct buf *b = c->env->backend->scratch;

	if (!welcome_draw_key(c)) {
		b->len = 0;
		return;
	}
	list_remove(&c->stranger_link);
	c->admin = mem_zalloc(sizeof(*c->admin));
	c->admin->is_admin = is_admin;
	c->env->n_consoles++;
	atomic_fetch_add(c->env->n_all_consoles, 1);
	wire_put_auth(b, AUTH_OK_CODE);
	put_parameters(b, c);
	welcome_put_key(c, b);
	wire_put_ready(b, 'I');
	client_put(c, b);
	timer_cancel(c->env->timers, &c->deadline_timer);
	c->phase = PHASE_CONSOLE;
	report_login(c);
	log_info("client %s uses the console as user=%s (%s)", c->peer.text, LOG_QUOTE(c->user),
	         is_admin ? "admin" : "stats");
}

bool admin_is_local(const struct client *c)
{
	return admin_is_wanted(c) && c->peer.is_unix && c->peer.uid == (int64_t)geteuid();
}

bool admin_enter(struct client *c)
{
	if (!admin_is_local(c))
		return false;
	enter(c, true);
	return true;
}

/* The token is good, and the user name is in its role claim. */
bool admin_admit(struct client *c)
{
	const struct conf_pgusher *conf = &c->env->conf->pgusher;
	bool is_admin = conf_list_has(conf->admin_users, c->user);

	if (!is_admin && !conf_list_has(conf->stats_users, c->user))
		return false;
	enter(c, is_admin);
	return true;
}

/* ---- texts by name --------------------------------------------------------------------------- */

static struct admin_text **text_at(struct admin_text **list, const char *name)
{
	while (*list != NULL && strcmp((*list)->name, name) != 0)
		list = &(*list)->next;
	return list;
}

static void text_drop(struct admin_text **at)
{
	struct admin_text *t = *at;

	if (t == NULL)
		return;
	*at = t->next;
	mem_free(t->name);
	mem_free(t->text);
	mem_free(t);
}

/* In the place of one with this name. False: there are too many. */
static bool text_put_named(struct admin_text **list, const char *name, const char *text)
{
	struct admin_text *t;
	unsigned n = 0;

	text_drop(text_at(list, name));
	for (t = *list; t != NULL; t = t->next)
		n++;
	if (n >= TEXTS_MAX)
		return false;
	t = mem_zalloc(sizeof(*t));
	t->name = mem_strdup(name);
	t->text = mem_strdup(text);
	t->next = *list;
	*list = t;
	return true;
}

/* The client is gone, and is freed later. */
void admin_leave(struct client *c)
{
	if (c->admin == NULL)
		return;
	c->env->n_consoles--;
	atomic_fetch_sub(c->env->n_all_consoles, 1);
}

void admin_free(struct client *c)
{
	if (c->admin == NULL)
		return;
	while (c->admin->statements != NULL)
		text_drop(&c->admin->statements);
	while (c->admin->portals != NULL)
		text_drop(&c->admin->portals);
	MEM_FREE(&c->admin);
}

/* ---- the extended protocol ------------------------------------------------------------------- */

static enum step fail(struct client *c, const char *sqlstate, const char *message)
{
	struct wire_error e = {.severity = "ERROR", .sqlstate = sqlstate, .message = message};

	client_put_error(c, &e);
	c->admin->is_failed = true;
	return STEP_MORE;
}

static enum step malformed(struct client *c)
{
	session_fail(c, CLOSE_CLIENT_PROTOCOL);
	return STEP_DONE;
}

static enum step take_parse(struct client *c, struct wire_cursor *cur)
{
	const char *name = wire_cursor_cstr(cur);
	const char *text = name != NULL ? wire_cursor_cstr(cur) : NULL;
	struct buf *b = c->env->backend->scratch;

	if (text == NULL)
		return malformed(c);
	if (name[0] != '\0' && *text_at(&c->admin->statements, name) != NULL)
		return fail(c, SQLSTATE_DUPLICATE_STATEMENT, "prepared statement already exists");
	if (!c->env->console->describe(c->env->console_arg, text, b)) {
		client_put(c, b);
		c->admin->is_failed = true;
		return STEP_MORE;
	}
	b->len = 0;
	if (!text_put_named(&c->admin->statements, name, text))
		return fail(c, SQLSTATE_PROGRAM_LIMIT, "too many prepared statements");
	client_put_bare(c, '1');
	return STEP_MORE;
}

static bool take_be16(struct wire_cursor *cur, uint16_t *value)
{
	if (cur->end - cur->at < 2)
		return false;
	*value = be16_get(cur->at);
	cur->at += 2;
	return true;
}

/* The result's formats: is one of them binary? */
static bool wants_binary(struct wire_cursor *cur, uint16_t n)
{
	uint16_t format;

	while (n-- > 0) {
		if (!take_be16(cur, &format) || format != 0)
			return true;
	}
	return false;
}

static enum step take_bind(struct client *c, struct wire_cursor *cur)
{
	const char *portal = wire_cursor_cstr(cur);
	const char *name = portal != NULL ? wire_cursor_cstr(cur) : NULL;
	const struct admin_text *statement;
	uint16_t n_formats, n_values, n_results;

	if (name == NULL || !take_be16(cur, &n_formats) || cur->end - cur->at < 2 * n_formats)
		return malformed(c);
	cur->at += 2 * n_formats;
	if (!take_be16(cur, &n_values))
		return malformed(c);
	if (n_values > 0)
		return fail(c, SQLSTATE_PROTOCOL_VIOLATION,
		            "the console's statements have no parameters");
	if (!take_be16(cur, &n_results))
		return malformed(c);
	if (wants_binary(cur, n_results))
		return fail(c, SQLSTATE_FEATURE_NOT_SUPPORTED,
		            "the console answers in text format only");
	statement = *text_at(&c->admin->statements, name);
	if (statement == NULL)
		return fail(c, SQLSTATE_UNDEFINED_STATEMENT, "prepared statement does not exist");
	if (!text_put_named(&c->admin->portals, portal, statement->text))
		return fail(c, SQLSTATE_PROGRAM_LIMIT, "too many portals");
	client_put_bare(c, '2');
	return STEP_MORE;
}

/* 'S' or 'P' and a name: the list that the name is in, NULL: malformed. */
static struct admin_text **take_target(struct client *c, struct wire_cursor *cur, const char **name)
{
	uint8_t kind = cur->at < cur->end ? *cur->at++ : 0;

	*name = wire_cursor_cstr(cur);
	if (*name == NULL || (kind != 'S' && kind != 'P'))
		return NULL;
	return kind == 'S' ? &c->admin->statements : &c->admin->portals;
}

static enum step no_such(struct client *c, struct admin_text **list)
{
	if (list == &c->admin->statements)
		return fail(c, SQLSTATE_UNDEFINED_STATEMENT, "prepared statement does not exist");
	return fail(c, SQLSTATE_UNDEFINED_CURSOR, "portal does not exist");
}

static enum step take_describe(struct client *c, struct wire_cursor *cur)
{
	static const uint8_t no_parameters[] = {'t', 0, 0, 0, 6, 0, 0};
	struct buf *b = c->env->backend->scratch;
	const char *name;
	struct admin_text **list = take_target(c, cur, &name), *t;

	if (list == NULL)
		return malformed(c);
	t = *text_at(list, name);
	if (t == NULL)
		return no_such(c, list);
	if (list == &c->admin->statements)
		buf_put(b, no_parameters, sizeof(no_parameters));
	c->admin->is_failed = !c->env->console->describe(c->env->console_arg, t->text, b);
	client_put(c, b);
	return STEP_MORE;
}

static enum step take_close(struct client *c, struct wire_cursor *cur)
{
	const char *name;
	struct admin_text **list = take_target(c, cur, &name);

	if (list == NULL)
		return malformed(c);
	text_drop(text_at(list, name));
	client_put_bare(c, '3');
	return STEP_MORE;
}

/* ---- asking ---------------------------------------------------------------------------------- */

static enum step ask(struct client *c, const char *text, bool is_simple)
{
	struct session_asker asker = {
		.pid = c->pid, .secret = c->secret, .is_admin = c->admin->is_admin};

	if (c->ticket != NULL && ready_is_expired(c, SQL_SHOW))
		return STEP_DONE;
	c->admin->is_simple = is_simple;
	c->flow = FLOW_WAIT_READY;
	c->query_us = c->env->now_us;
	c->env->console->query(c->env->console_arg, &asker, c->user, text, is_simple);
	return STEP_MORE;
}

static enum step take_execute(struct client *c, struct wire_cursor *cur)
{
	const char *name = wire_cursor_cstr(cur);
	const struct admin_text *portal;

	if (name == NULL)
		return malformed(c);
	portal = *text_at(&c->admin->portals, name);
	if (portal == NULL)
		return no_such(c, &c->admin->portals);
	return ask(c, portal->text, false);
}

static enum step take_query(struct client *c, struct wire_cursor *cur)
{
	const char *text = wire_cursor_cstr(cur);

	if (text == NULL || cur->at != cur->end)
		return malformed(c);
	return ask(c, text, true);
}

static enum step take_sync(struct client *c)
{
	c->admin->is_failed = false;
	while (c->admin->portals != NULL)
		text_drop(&c->admin->portals);
	client_put_ready(c);
	return STEP_MORE;
}

static struct client *find_asker(struct session_env *env, const struct session_asker *asker)
{
	struct map_node *node = map_find(&env->by_pid, asker->pid);
	struct client *c = node != NULL ? CONTAINER_OF(node, struct client, by_pid) : NULL;

	if (c == NULL || c->phase != PHASE_CONSOLE ||
	    !secret_equals(&c->secret, &asker->secret, sizeof(c->secret)))
		return NULL;
	return c;
}

bool session_console_is_there(struct session_env *env, const struct session_asker *asker)
{
	return find_asker(env, asker) != NULL;
}

void session_console_answer(struct session_env *env, const struct session_asker *asker,
                            const struct buf *messages, bool is_error)
{
	struct client *c = find_asker(env, asker);

	if (c == NULL)
		return;
	MUST(c->flow == FLOW_WAIT_READY);
	c->flow = FLOW_OPEN;
	outvec_ref(client_out(c), messages->data, messages->len);
	if (c->admin->is_simple)
		client_put_ready(c);
	else
		c->admin->is_failed = is_error;
	client_flush(c);
	session_run(c);
	session_settle(c);
}

/* ---- messages -------------------------------------------------------------------------------- */

static enum step take(struct client *c, uint8_t type, struct wire_cursor *cur)
{
	if (type == 'X') {
		session_fail(c, CLOSE_CLIENT_TERMINATE);
		return STEP_DONE;
	}
	if (c->admin->is_failed && type != 'S')
		return STEP_MORE;
	switch (type) {
	case 'Q':
		return take_query(c, cur);
	case 'P':
		return take_parse(c, cur);
	case 'B':
		return take_bind(c, cur);
	case 'D':
		return take_describe(c, cur);
	case 'E':
		return take_execute(c, cur);
	case 'C':
		return take_close(c, cur);
	case 'S':
		return take_sync(c);
	case 'H':
		return STEP_MORE; /* all is sent when the event ends */
	default:
		return malformed(c);
	}
}

enum step session_step_console(struct client *c, const uint8_t *p, size_t n, size_t *used)
{
	struct wire_frame f = {0};
	struct wire_cursor cur;
	enum wire_read r = wire_frame_read(p, n, &f);

	if (r == WIRE_READ_SHORT)
		return STEP_WAIT;
	if (r == WIRE_READ_BAD || f.body_len > MESSAGE_MAX)
		return malformed(c);
	if (n < WIRE_HEADER_BYTES + (size_t)f.body_len)
		return STEP_WAIT;
	*used = WIRE_HEADER_BYTES + (size_t)f.body_len;
	cur.at = p + WIRE_HEADER_BYTES;
	cur.end = cur.at + f.body_len;
	return take(c, f.type, &cur);
}
