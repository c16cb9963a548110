/* A client's settings follow it from server to server.
 *
 *   query_take, batch_bind ─► settings_touch       a SET is about to be sent: its name is kept
 *   on_ready 'I'           ─► settings_ready       its transaction has ended
 *   relay_end_batch        ─► settings_are_asked   what do these names say now?
 *   lease_send             ─► settings_put         in front of the first batch on a server
 *
 * What a SET has come to is not worked out but asked: the names are read from the text, the
 * values (current_setting) from the server, behind the transaction and before the server can go
 * to anyone else. So ROLLBACK, savepoints, SET LOCAL over SET, values by parameter, and values
 * that mean something else each time (SET DateStyle, TIME ZONE INTERVAL) need no rules of ours.
 * Where anything failed, only what is set in the session counts: a setting that the client may
 * not make would end it when it is replayed. It costs such a transaction one exchange more, of
 * which the client sees nothing unless it is faster than that. Where it fails, or the values
 * cannot be kept, the settings are stuck: the server stays with the client, as with any other
 * state.
 *
 * Settings of the startup are the session's defaults, of which the server knows nothing: a RESET
 * on it goes to its own. So behind each RESET of one, in the same transaction, the startup's value
 * is made (settings_put_back); what comes of the transaction comes of both.
 *
 * Lists are shared by content among the clients of a worker, so that 20,000 clients with the same
 * settings have one copy. */
#include <string.h>
#include <strings.h>

#include "route_int.h"

#define TOUCHED_MAX 64      /* names in one transaction */
#define LIST_BYTES_MAX 8192 /* of names and values, what was asked for at startup apart */

/* What the transaction at hand may have set. */
struct touched {
	struct buf names;  /* "name\0" repeated */
	struct buf values; /* "=value\0", or "\0" for no such setting, in the order of names */
	unsigned n_names, n_values;
	bool resets_all; /* RESET ALL goes before all of the names, and takes hold with its batch */
	bool was_reset;  /* RESET ALL ran, and nobody knows yet whether that lasts */
	bool has_error;  /* something in the transaction failed, maybe a SET that is not allowed */
	bool is_asked, has_failed;
	bool is_stuck;
};

/* ---- lists ---------------------------------------------------------------------------------- */

static bool is_among(const char *name, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcasecmp(name, names[i]) == 0)
			return true;
	return false;
}

/* As PostgreSQL shows a time of a second or more, or none: "15s", "2min", "0". */
static bool is_no_short_time(const char *value)
{
	static const char *const units[] = {"s", "min", "h", "d"};
	size_t digits = strspn(value, "0123456789");

	if (strcmp(value, "0") == 0)
		return true;
	return digits > 0 && value[0] != '0' && is_among(value + digits, units, COUNT_OF(units));
}

/* Settings may stay on a server when it goes to the next client if they cannot keep that one's own
 * from being made: nothing that ends statements, connections or transactions soon. */
static bool lingers(const char *name, const char *value)
{
	static const char *const harmless[] = {
		"application_name",
		"bytea_output",
		"client_encoding",
		"client_min_messages",
		"datestyle",
		"default_text_search_config",
		"escape_string_warning",
		"extra_float_digits",
		"intervalstyle",
		"jit",
		"search_path",
		"standard_conforming_strings",
		"timezone",
		"work_mem",
		"xmloption",
	};
	static const char *const times[] = {
		"idle_in_transaction_session_timeout",
		"lock_timeout",
		"statement_timeout",
		"transaction_timeout",
	};

	if (is_among(name, times, COUNT_OF(times)))
		return !is_no_short_time(value);
	/* An extension's or the application's own. */
	return strchr(name, '.') == NULL && !is_among(name, harmless, COUNT_OF(harmless));
}

static struct settings *list_new(const struct buf *list)
{
	struct settings *s = mem_zalloc(sizeof(*s) + list->len);
	uint64_t pair[2] = {0, 0};

	OBJ_INIT(s, SETTINGS_MAGIC);
	s->refs = 1;
	s->len = list->len;
	memcpy(s->list, list->data, list->len);
	for (const char *name = s->list; name < s->list + s->len;) {
		const char *value = name + strlen(name) + 1, *next = value + strlen(value) + 1;

		if (sql_setting_alters(name)) {
			pair[1] = hash_bytes(name, (size_t)(next - name));
			pair[0] = hash_bytes(pair, sizeof(pair)) | 1;
		}
		s->linger = s->linger || lingers(name, value);
		name = next;
	}
	s->scope = pair[0];
	return s;
}

struct settings *settings_share(struct map *among, const struct buf *list)
{
	uint64_t hash;
	struct map_node *node;
	struct settings *s;

	if (list->len == 0)
		return NULL;
	hash = hash_bytes(list->data, list->len);
	for (node = map_find(among, hash); node != NULL; node = map_find_next(node)) {
		s = CONTAINER_OF(node, struct settings, node);
		if (s->len == list->len && memcmp(s->list, list->data, s->len) == 0) {
			s->refs++;
			return s;
		}
	}
	s = list_new(list);
	s->among = among;
	map_insert(among, &s->node, hash);
	return s;
}

static struct settings *list_get(struct settings *s)
{
	if (s != NULL)
		s->refs++;
	return s;
}

void settings_assign(struct settings **to, struct settings *from)
{
	struct settings *old = *to;

	*to = from;
	if (old == NULL)
		return;
	OBJ_CHECK(old, SETTINGS_MAGIC);
	if (--old->refs > 0)
		return;
	if (old->among != NULL)
		map_remove(old->among, &old->node);
	OBJ_FINI(old, SETTINGS_MAGIC);
	mem_free(old);
}

void settings_ask_for(struct client *c, const struct buf *list)
{
	settings_assign(&c->startup, list->len > 0 ? list_new(list) : NULL);
	settings_assign(&c->settings, list_get(c->startup));
}

void settings_begin(struct client *c, const struct buf *list)
{
	settings_assign(&c->startup, settings_share(&c->env->settings, list));
	settings_assign(&c->settings, list_get(c->startup));
}

static void forget_touched(struct client *c)
{
	if (c->touched == NULL)
		return;
	buf_fini(&c->touched->names);
	buf_fini(&c->touched->values);
	MEM_FREE(&c->touched);
}

void settings_free(struct client *c)
{
	forget_touched(c);
	settings_assign(&c->startup, NULL);
	settings_assign(&c->settings, NULL);
}

/* ---- to the server -------------------------------------------------------------------------- */

static void put_setting(struct buf *list, const char *name, const char *value)
{
	buf_put_cstr(list, name);
	buf_put_cstr(list, value);
}

#define READ_ONLY "default_transaction_read_only"

/* All but the one that would let an analytics node be written to (route_refusal). */
static void put_to_reader(struct client *c, const struct settings *s)
{
	const char *at = settings_list(s), *end = at + settings_len(s);
	struct buf list = {0};

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		put_setting(&list, at, strcasecmp(at, READ_ONLY) == 0 ? "on" : value);
		at = value + strlen(value) + 1;
	}
	server_put_settings(c->server, (const char *)list.data, list.len, false);
	buf_fini(&list);
}

void settings_put(struct client *c, bool is_trial)
{
	/* In the transaction that ran RESET ALL those of the startup hold. */
	const struct settings *s =
		c->touched != NULL && c->touched->was_reset ? c->startup : c->settings;

	if (route_is_to_analytics(c) && client_setting(c, READ_ONLY) != NULL)
		put_to_reader(c, s);
	else
		server_put_settings(c->server, settings_list(s), settings_len(s), is_trial);
	if (s != NULL && s->linger)
		server_note(c->server)->taint |= TAINT_SETTINGS;
}

static bool goes_back(const struct sql_stmt *stmt, const char *name)
{
	return (stmt->bits & SQL_RESETS_ALL) || stmt->resets == sql_setting_key(name, strlen(name));
}

bool settings_go_back(const struct client *c, const struct sql_stmt *stmt)
{
	const char *at = settings_list(c->startup), *end = at + settings_len(c->startup);

	if (stmt->resets == 0 && (stmt->bits & SQL_RESETS_ALL) == 0)
		return false;
	while (at < end && !goes_back(stmt, at)) {
		at += strlen(at) + 1;
		at += strlen(at) + 1;
	}
	return at < end;
}

void settings_put_back(struct client *c, const struct sql_stmt *stmt)
{
	const char *at = settings_list(c->startup), *end = at + settings_len(c->startup);
	bool is_local = (stmt->bits & (SQL_SETS_SESSION | SQL_RESETS_ALL)) == 0;

	if (!settings_go_back(c, stmt))
		return;
	(void)lease_send(c);
	c->startup_is_back = c->startup_is_back || (stmt->bits & SQL_RESETS_ALL);
	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (goes_back(stmt, at))
			server_put_setting_back(c->server, at, value, is_local);
		at = value + strlen(value) + 1;
	}
}

/* ---- what a transaction touches ------------------------------------------------------------- */

static void stick(struct client *c)
{
	struct touched *t = c->touched;

	buf_fini(&t->names);
	buf_fini(&t->values);
	*t = (struct touched){.is_stuck = true};
	server_note(c->server)->taint |= TAINT_PIN | TAINT_SCRUB;
	/* It is too late to refuse the SET. */
	if (!pin_enter(c))
		session_fail(c, CLOSE_CLIENT_PINS);
}

static void touch_name(struct touched *t, const char *name)
{
	const char *end = (const char *)t->names.data + t->names.len;

	for (const char *at = (const char *)t->names.data; at < end; at += strlen(at) + 1)
		if (strcasecmp(at, name) == 0)
			return;
	t->n_names++;
	if (t->n_names <= TOUCHED_MAX && t->names.len + strlen(name) < LIST_BYTES_MAX)
		buf_put_cstr(&t->names, name);
	else
		t->has_failed = true;
}

static void touch_list(struct touched *t, const struct settings *s)
{
	const char *at = settings_list(s), *end = at + settings_len(s);

	while (at < end) {
		touch_name(t, at);
		at += strlen(at) + 1;
		at += strlen(at) + 1;
	}
}

/* Those of the startup may be made behind a RESET ALL though the client had reset them before. */
static void touch_all(struct client *c)
{
	touch_list(c->touched, c->settings);
	touch_list(c->touched, c->startup);
}

void settings_doubt(struct client *c)
{
	if (!c->touched->resets_all)
		return;
	c->touched->resets_all = false;
	if (!c->touched->is_stuck)
		touch_all(c);
}

static void touch_reset(struct client *c, bool is_alone)
{
	struct touched *t = c->touched;

	if (is_alone && c->txn.state == TXN_NONE && t->names.len == 0) {
		t->resets_all = true;
	} else if (!t->is_stuck) {
		touch_all(c);
	}
}

void settings_touch(struct client *c, const struct sql_info *info)
{
	uint32_t bits = 0;

	for (unsigned i = 0; i < info->n_stmts; i++)
		bits |= info->stmts[i].bits;
	if ((bits & (SQL_SETS_SESSION | SQL_RESETS_ALL)) == 0 || c->is_for_session)
		return;
	if (c->touched == NULL)
		c->touched = mem_zalloc(sizeof(*c->touched));
	server_note(c->server)->taint |= TAINT_UNKNOWN;
	if (bits & SQL_RESETS_ALL)
		touch_reset(c, info->n_stmts == 1);
	if (c->touched->is_stuck && !c->touched->resets_all)
		return;
	for (const char *at = info->settings; at < info->settings + info->settings_len;
	     at += strlen(at) + 1)
		touch_name(c->touched, at);
}

void settings_touch_text(struct client *c, const struct text *text)
{
	const char *query = (const char *)text->body;

	settings_touch(c, sql_classify(c->env->sql, query, strlen(query)));
}

/* The startup settings are defaults of the session: they outlive RESET ALL, and are made once more
 * in front of the next statement. The server's next client may be another one: what it had is there
 * still if the RESET ALL was bound and never executed, and the startup's is if it was put back. */
void settings_were_reset(struct client *c, bool has_run)
{
	if (c->touched != NULL)
		c->touched->was_reset = true;
	if (has_run)
		server_forget_settings(c->server);
	server_doubt_settings(c->server, settings_list(c->startup), settings_len(c->startup));
	if (c->startup != NULL && c->startup->linger)
		server_note(c->server)->taint |= TAINT_SETTINGS;
	/* Unless they are there already: what was SET behind the RESET ALL is to stay. */
	if (c->txn.state == TXN_NONE || !c->startup_is_back)
		c->is_fresh = true;
}

void settings_error(struct client *c)
{
	if (c->touched != NULL)
		c->touched->has_error = true;
}

static void know_all(struct client *c)
{
	forget_touched(c);
	server_note(c->server)->taint &= (uint8_t)~TAINT_UNKNOWN;
}

void settings_ready(struct client *c)
{
	struct touched *t = c->touched;

	if (t == NULL)
		return;
	/* Bound and never executed, it has reset nothing. */
	if (c->batch_failed || !c->reset_is_due)
		settings_doubt(c);
	if (t->resets_all) {
		settings_assign(&c->settings, list_get(c->startup));
		t->is_stuck = false;
	}
	if (t->is_stuck)
		stick(c);
	else if (t->names.len == 0)
		know_all(c);
}

/* ---- asking --------------------------------------------------------------------------------- */

bool settings_are_stuck(const struct client *c)
{
	return c->touched != NULL && c->touched->is_stuck;
}

void settings_value(struct client *c, const char *p, size_t len)
{
	struct touched *t = c->touched;

	t->n_values++;
	if (p != NULL) {
		buf_put_u8(&t->values, '=');
		buf_put(&t->values, p, len);
	}
	buf_put_u8(&t->values, 0);
	if (len > SERVER_VALUE_MAX || (p != NULL && memchr(p, 0, len) != NULL))
		t->has_failed = true;
}

void settings_failed(struct client *c)
{
	if (c->touched != NULL)
		c->touched->has_failed = true;
}

/* The value that was asked for: NULL when there is none, or "" where it is no setting; else with
 * its sign in front. */
static const char *new_value(const struct touched *t, const char *name)
{
	const char *value = (const char *)t->values.data;
	const char *at = (const char *)t->names.data, *end = at + t->names.len;

	for (; at < end; at += strlen(at) + 1, value += strlen(value) + 1)
		if (strcasecmp(at, name) == 0)
			return value;
	return NULL;
}

static bool list_has(const char *list, size_t len, const char *name)
{
	for (const char *at = list; at < list + len;) {
		if (strcasecmp(at, name) == 0)
			return true;
		at += strlen(at) + 1;
		at += strlen(at) + 1;
	}
	return false;
}

/* The new values of names that the old list does not have. */
static void put_new(const struct touched *t, const char *old, size_t old_len, struct buf *list)
{
	const char *names = (const char *)t->names.data;

	for (const char *at = names; at < names + t->names.len; at += strlen(at) + 1) {
		const char *value = new_value(t, at);

		if (value[0] == '=' && !list_has(old, old_len, at))
			put_setting(list, at, value + 1);
	}
}

/* What it had, with the new values in their places. */
static void merge(const struct client *c, struct buf *list)
{
	const struct touched *t = c->touched;
	const char *old = settings_list(c->settings);
	size_t old_len = settings_len(c->settings);

	for (const char *at = old; at < old + old_len;) {
		const char *was = at + strlen(at) + 1, *value = new_value(t, at);

		if (value == NULL)
			put_setting(list, at, was);
		else if (value[0] == '=')
			put_setting(list, at, value + 1);
		at = was + strlen(was) + 1;
	}
	put_new(t, old, old_len, list);
}

/* A value is made anew in whatever encoding the server then has, UTF8 or the client's. */
static bool is_readable_anywhere(const struct buf *list)
{
	const char *at = (const char *)list->data, *end = at + list->len;
	bool is_ascii = true, is_other = false;

	for (size_t i = 0; i < list->len; i++)
		is_ascii = is_ascii && list->data[i] < 0x80;
	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcasecmp(at, "client_encoding") == 0 && strcmp(value, "UTF8") != 0)
			is_other = true;
		at = value + strlen(value) + 1;
	}
	return is_ascii || !is_other;
}

static void take_values(struct client *c)
{
	struct touched *t = c->touched;
	struct buf list = {0};
	bool was_reset = t->resets_all;

	if (!t->has_failed && t->n_values == t->n_names)
		merge(c, &list);
	else
		t->has_failed = true;
	if (t->has_failed || list.len > LIST_BYTES_MAX + settings_len(c->startup) ||
	    !is_readable_anywhere(&list)) {
		stick(c);
		buf_fini(&list);
		return;
	}
	settings_assign(&c->settings, settings_share(&c->env->settings, &list));
	/* Behind RESET ALL what was set after it is there: the startup's must be made. */
	if (was_reset)
		server_doubt_settings(c->server, (const char *)list.data, list.len);
	else
		server_note_settings(c->server, (const char *)list.data, list.len);
	buf_fini(&list);
	know_all(c);
	if (c->settings != NULL && c->settings->linger)
		server_note(c->server)->taint |= TAINT_SETTINGS;
}

static void ask(struct client *c)
{
	struct touched *t = c->touched;
	const char *at = (const char *)t->names.data, *end = at + t->names.len;

	t->is_asked = true;
	(void)server_begin(c->server);
	for (; at < end; at += strlen(at) + 1)
		server_put_ask(c->server, at, t->has_error);
	server_put_sync(c->server, FATE_OURS);
	(void)server_end(c->server);
}

bool settings_are_asked(struct client *c)
{
	struct touched *t = c->touched;

	if (t->is_stuck)
		return false;
	if (server_owed(c->server) > 0 || server_note(c->server)->cancelling)
		return true;
	if (!t->is_asked && !t->has_failed) {
		ask(c);
		return true;
	}
	take_values(c);
	return false;
}
