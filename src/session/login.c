/* From the first byte to a verified token (55.2.1, Start-up). Every length is checked before the
 * bytes are looked at, a deadline runs, and nobody is told more than the reason. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "pool_look.h"
#include "route_int.h"
#include "sasl.h"

/* Admin clients get in when max_client_conn is reached: so many more. Anybody can say that he is
 * one and fill these, so the one whom the kernel vouches for is not counted. */
#define CONSOLE_RESERVE 16
#define PLACES_MADE_MAX 1000 /* for one client that comes: about 30 us each */
#define AUTH_REQUEST_CLEARTEXT 3
/* A TLS record with a ClientHello begins so, and no packet: it would be 369 MB long. */
#define TLS_HANDSHAKE 0x16
#define STARTUP_SETTINGS_MAX 64

enum step login_fatal(struct client *c, enum close_reason reason, const struct wire_error *e)
{
	log_info("client %s refused: %s", c->peer.text, e->message);
	session_fatal(c, reason, e);
	return STEP_DONE;
}

static enum step refuse(struct client *c, enum close_reason reason, const char *sqlstate,
                        const char *message, const char *hint)
{
	struct wire_error e = {.sqlstate = sqlstate, .message = message, .hint = hint};

	return login_fatal(c, reason, &e);
}

/* For a name of the client's choice: he is told it as it is. */
static enum step refuse_name(struct client *c, const char *sqlstate, const char *what,
                             const char *name, const char *hint)
{
	char message[256];
	struct wire_error e = {.sqlstate = sqlstate, .message = message, .hint = hint};

	snprintf(message, sizeof(message), "%s \"%s\" is not configured", what, name);
	c->refused_as = what[0] == 'd' ? "unknown_database" : "unknown_role";
	log_info("client %s refused: %s %s is not configured", c->peer.text, what, LOG_QUOTE(name));
	session_fatal(c, CLOSE_CLIENT_AUTH, &e);
	return STEP_DONE;
}

/* ---- before the startup message ------------------------------------------------------------- */

static enum step answer_encryption(struct client *c, bool *asked, bool accept, size_t n,
                                   const struct wire_startup *s)
{
	/* Each at most once; and what came in plain text behind the request must not be taken
	 * for encrypted (CVE-2021-23222). */
	if (*asked || c->is_encrypted || s->total_len != 8 || (accept && n != s->total_len)) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	*asked = true;
	outvec_copy(client_out(c), accept ? "S" : "N", 1);
	client_flush(c);
	if (accept && !stream_start_tls(&c->stream, c->env->tls)) {
		session_fail(c, CLOSE_CLIENT_TLS);
		return STEP_DONE;
	}
	c->is_encrypted = accept;
	return STEP_MORE;
}

/* TLS from the first byte (PostgreSQL 17's sslnegotiation=direct): all that was read is its. */
static enum step take_direct_tls(struct client *c, const uint8_t *p, size_t n, size_t *used)
{
	*used = n;
	c->is_encrypted = stream_start_tls_direct(&c->stream, c->env->tls, p, n);
	if (!c->is_encrypted) {
		session_fail(c, CLOSE_CLIENT_TLS);
		return STEP_DONE;
	}
	return STEP_MORE;
}

/* The connection is closed when the cancel has been taken, not before: a client that waits for that
 * knows that it will not hit its next query. */
static enum step take_cancel(struct client *c, const struct wire_startup *s)
{
	struct wire_cancel cancel;

	if (wire_cancel_read(s->rest, &cancel) != WIRE_READ_OK) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	if (!welcome_draw_key(c))
		return STEP_DONE;
	c->phase = PHASE_CANCEL;
	list_remove(&c->stranger_link);
	if (c->env->route_cancel(c->env->worker, c->pid, &cancel))
		session_fail(c, CLOSE_CLIENT_CANCEL_DONE);
	return STEP_DONE;
}

/* ---- settings ------------------------------------------------------------------------------- */

/* Before the token is checked settings are only kept, a bounded number of them; judging them costs
 * a parse each, which is for those who are let in. */

/* SET name TO 'value', quoted: so that the rules for statements are the rules for startup. */
static void put_set(struct buf *b, const char *name, const char *value)
{
	buf_put(b, "SET \"", 5);
	for (; *name != '\0'; name++) {
		if (*name == '.')
			buf_put(b, "\".\"", 3);
		else if (*name == '"')
			buf_put(b, "\"\"", 2);
		else
			buf_put_u8(b, (uint8_t)*name);
	}
	buf_put(b, "\" TO '", 6);
	for (; *value != '\0'; value++) {
		if (*value == '\'')
			buf_put_u8(b, '\'');
		buf_put_u8(b, (uint8_t)*value);
	}
	buf_put_u8(b, '\'');
}

static bool is_utf8(const char *value)
{
	return strcasecmp(value, "utf8") == 0 || strcasecmp(value, "utf-8") == 0 ||
	       strcasecmp(value, "unicode") == 0;
}

/* Of several values PostgreSQL takes the last. */
static void drop_setting(struct buf *settings, const char *name)
{
	for (size_t at = 0; at < settings->len;) {
		const char *old = (const char *)settings->data + at;
		size_t size = strlen(old) + 1;

		size += strlen(old + size) + 1;
		if (strcasecmp(old, name) != 0) {
			at += size;
			continue;
		}
		memmove(settings->data + at, settings->data + at + size, settings->len - at - size);
		settings->len -= size;
	}
}

static void replace(char **where, const char *value)
{
	mem_free(*where);
	*where = mem_strdup(value);
}

/* Keeps a startup setting for the servers, unless the rules refuse it. */
static enum step judge_setting(struct client *c, struct buf *settings, const char *name,
                               const char *value)
{
	struct buf set = {0};
	const struct sql_info *info;
	const struct sql_refusal *refusal;
	struct own_error error;
	bool makes_state;

	if (strncasecmp(name, "usher.", 6) == 0)
		return own_begin(c, name + 6, value, &error)
		               ? STEP_MORE
		               : refuse(c, CLOSE_CLIENT_UNSUPPORTED, error.e.sqlstate,
		                        error.e.message, error.e.hint);
	/* Every server speaks UTF8 to begin with. */
	if (strcasecmp(name, "client_encoding") == 0 && is_utf8(value))
		return STEP_MORE;
	put_set(&set, name, value);
	info = guard_classify(c, (const char *)set.data, set.len);
	refusal = info->refusal;
	if (refusal != NULL) {
		guard_note(c, refusal, info->fingerprint);
		c->refused_as = refusal->rule;
	}
	makes_state = info->n_stmts != 1 || (info->stmts[0].bits & SQL_MAKES_STATE);
	buf_fini(&set);
	if (refusal != NULL)
		return refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_INSUFFICIENT_PRIVILEGE,
		              refusal->message, refusal->hint);
	if (makes_state)
		return refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_FEATURE_NOT_SUPPORTED,
		              "search_path must not name pg_temp at startup",
		              "SET it in the session.");
	drop_setting(settings, name);
	buf_put_cstr(settings, name);
	buf_put_cstr(settings, value);
	return STEP_MORE;
}

/* What the client asked for is replaced by what of it is made on the servers. */
static enum step judge_settings(struct client *c)
{
	const char *asked = settings_list(c->startup), *end = asked + settings_len(c->startup);
	struct buf settings = {0};
	enum step step = STEP_MORE;

	for (const char *at = asked; at < end && step == STEP_MORE;) {
		const char *value = at + strlen(at) + 1;

		step = judge_setting(c, &settings, at, value);
		at = value + strlen(value) + 1;
	}
	settings_begin(c, &settings);
	buf_fini(&settings);
	return step;
}

struct startup {
	struct buf settings;
	size_t n_settings;
	struct buf unknown; /* names of _pq_. options: all of them are unknown to us */
	size_t n_unknown;
	enum conf_auth_type auth_type;
};

static enum step choose_auth(struct client *c, struct startup *s, const char *value)
{
	return conf_auth_type_read(value, &s->auth_type)
	               ? STEP_MORE
	               : refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_INVALID_PARAMETER,
	                        "invalid value for parameter \"usher.auth\"",
	                        "Available values: password, oauth.");
}

static enum step keep_setting(struct client *c, struct startup *s, const char *name,
                              const char *value)
{
	if (s->n_settings++ == STARTUP_SETTINGS_MAX)
		return refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_PROGRAM_LIMIT,
		              "too many startup settings",
		              "At most 64 are taken; SET the others in the session.");
	if (strcasecmp(name, "usher.token") == 0) {
		replace(&c->startup_token, value);
		return STEP_MORE;
	}
	if (strcasecmp(name, "usher.auth") == 0)
		return choose_auth(c, s, value);
	buf_put_cstr(&s->settings, name);
	buf_put_cstr(&s->settings, value);
	return STEP_MORE;
}

static enum step add_options(struct client *c, struct startup *s, const char *options)
{
	char name[WIRE_OPTION_MAX], value[WIRE_OPTION_MAX];
	enum wire_read r;

	while ((r = wire_startup_option(&options, name, value)) == WIRE_READ_OK) {
		enum step step = keep_setting(c, s, name, value);

		if (step != STEP_MORE)
			return step;
	}
	if (r == WIRE_READ_BAD)
		return refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_FEATURE_NOT_SUPPORTED,
		              "unsupported startup parameter: options",
		              "Only -c name=value and --name=value are taken.");
	return STEP_MORE;
}

static bool means_no(const char *value)
{
	return strcmp(value, "") == 0 || strcmp(value, "0") == 0 || strcasecmp(value, "no") == 0 ||
	       strcasecmp(value, "off") == 0 || strcasecmp(value, "false") == 0;
}

static enum step take_parameter(struct client *c, struct startup *s, const char *name,
                                const char *value)
{
	if (strcmp(name, "user") == 0) {
		replace(&c->user, value);
	} else if (strcmp(name, "database") == 0) {
		replace(&c->database, value);
	} else if (strcmp(name, "options") == 0) {
		return add_options(c, s, value);
	} else if (strcmp(name, "replication") == 0) {
		if (!means_no(value))
			return refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_FEATURE_NOT_SUPPORTED,
			              "replication connections are not supported", NULL);
	} else if (strncmp(name, "_pq_.", 5) == 0) {
		buf_put_cstr(&s->unknown, name);
		s->n_unknown++;
	} else {
		return keep_setting(c, s, name, value);
	}
	return STEP_MORE;
}

static enum step take_parameters(struct client *c, struct startup *s, struct wire_cursor *cur)
{
	const char *name, *value;
	enum wire_read r;

	while ((r = wire_startup_param(cur, &name, &value)) == WIRE_READ_OK) {
		enum step step = take_parameter(c, s, name, value);

		if (step != STEP_MORE)
			return step;
	}
	if (r == WIRE_READ_BAD) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	if (c->user == NULL || c->user[0] == '\0')
		return refuse(c, CLOSE_CLIENT_AUTH, SQLSTATE_INVALID_AUTHORIZATION,
		              "no user name in the startup packet", NULL);
	if (c->database == NULL || c->database[0] == '\0')
		replace(&c->database, c->user);
	return STEP_MORE;
}

/* ---- the startup message -------------------------------------------------------------------- */

/* Would a token cross the network in plain text? */
static bool is_exposed(const struct client *c)
{
	return !c->is_encrypted && !c->peer.is_unix && !c->peer.is_loopback;
}

/* The last places are for cancel requests, and for being told that they are the last. */
static bool has_room(const struct session_env *env)
{
	int room = env->client_room, kept = room >= 1024 ? 64 : room / 16;

	return room == 0 || atomic_load(env->n_clients) <= room - kept;
}

static bool has_place(const struct client *c, int limit)
{
	return has_room(c->env) && (atomic_load(c->env->n_clients) <= limit || admin_is_local(c));
}

static enum step check_admission(struct client *c)
{
	const struct conf *conf = c->env->conf;
	int limit = conf->pgusher.max_client_conn;

	if (c->env->is_draining) {
		session_fail(c, CLOSE_SHUTDOWN);
		return STEP_DONE;
	}
	if (conf->pgusher.client_tls_sslmode >= CONF_TLS_CLIENT_REQUIRE && !c->is_encrypted &&
	    !c->peer.is_unix) {
		session_fail(c, CLOSE_CLIENT_TLS_REQUIRED);
		return STEP_DONE;
	}
	if (conf->pgusher.client_tls_sslmode == CONF_TLS_CLIENT_VERIFY_FULL && c->is_encrypted &&
	    !stream_is_certified(&c->stream, c->user))
		return refuse(c, CLOSE_CLIENT_AUTH, SQLSTATE_INVALID_AUTHORIZATION,
		              "the client certificate is not this user's",
		              "Its common name, or an alternative name, must be the user name.");
	/* Better than to ask for a token that must be refused: it does not go out at all. */
	if (is_exposed(c) && auth_keys_require_tls(c->env->keys)) {
		session_fail(c, CLOSE_CLIENT_TLS_REQUIRED);
		return STEP_DONE;
	}
	if (admin_is_wanted(c))
		limit += CONSOLE_RESERVE;
	for (unsigned n = 0; n < PLACES_MADE_MAX && !has_place(c, limit); n++)
		if (!deadline_make_place(c->env, c))
			break;
	if (!has_place(c, limit)) {
		session_fail(c, has_room(c->env) ? CLOSE_CLIENT_LIMIT : CLOSE_CLIENT_ROOM);
		return STEP_DONE;
	}
	return STEP_MORE;
}

static enum step take_startup(struct client *c, const struct wire_startup *packet)
{
	struct startup s = {.auth_type = c->env->conf->pgusher.auth_type};
	struct wire_cursor cur = packet->rest;
	uint32_t version = packet->code;
	enum step step;

	if (packet->code >> 16 != 3)
		return refuse(c, CLOSE_CLIENT_UNSUPPORTED, SQLSTATE_FEATURE_NOT_SUPPORTED,
		              "unsupported frontend protocol: PgUsher supports 3.0 to 3.2", NULL);
	if (version > WIRE_PROTOCOL_3_2)
		version = WIRE_PROTOCOL_3_2;
	c->has_long_key = version == WIRE_PROTOCOL_3_2;
	step = take_parameters(c, &s, &cur);
	if (step == STEP_MORE)
		step = check_admission(c);
	if (step == STEP_MORE) {
		struct buf *b = c->env->backend->scratch;

		if (version != packet->code || s.n_unknown > 0)
			/* PostgreSQL sends the whole version, not the minor one alone. */
			wire_put_negotiate(b, version, &s.unknown, s.n_unknown);
		settings_ask_for(c, &s.settings);
		if (!admin_enter(c)) {
			if (s.auth_type == CONF_AUTH_OAUTH)
				sasl_ask(c, b);
			else
				wire_put_auth(b, AUTH_REQUEST_CLEARTEXT);
			client_put(c, b);
			c->phase = PHASE_PASSWORD;
		}
	}
	buf_fini(&s.settings);
	buf_fini(&s.unknown);
	return step;
}

enum step session_step_startup(struct client *c, const uint8_t *p, size_t n, size_t *used)
{
	struct wire_startup s;
	enum wire_read r;
	bool tls_offered = c->env->tls != NULL && !c->peer.is_unix;

	if (p[0] == TLS_HANDSHAKE && tls_offered && !c->is_encrypted && !c->tls_asked &&
	    !c->gss_asked)
		return take_direct_tls(c, p, n, used);
	r = wire_startup_read(p, n, &s);
	if (r == WIRE_READ_SHORT)
		return STEP_WAIT;
	if (r == WIRE_READ_BAD) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	*used = s.total_len;
	switch (s.code) {
	case WIRE_SSL_REQUEST:
		return answer_encryption(c, &c->tls_asked, tls_offered, n, &s);
	case WIRE_GSSENC_REQUEST:
		return answer_encryption(c, &c->gss_asked, false, n, &s);
	case WIRE_CANCEL_REQUEST:
		return take_cancel(c, &s);
	default:
		return take_startup(c, &s);
	}
}

/* ---- the token ------------------------------------------------------------------------------ */

static enum step admit(struct client *c)
{
	const struct conf *conf = c->env->conf;
	const struct conf_database *database = conf_find_database(conf, c->database);
	const struct conf_role *role = conf_find_role(conf, c->user);
	const char *refusal;

	if (database == NULL)
		return refuse_name(c, SQLSTATE_UNKNOWN_DATABASE, "database", c->database, NULL);
	if (role == NULL)
		return refuse_name(c, SQLSTATE_INVALID_AUTHORIZATION, "role", c->user,
		                   "PgUsher needs a [role] section for it.");
	c->is_for_session = conf_pool_mode_of(conf, database) == CONF_POOL_SESSION;
	c->pool = pool_find(c->env->pools, database, c->database, role);
	if (c->pool == NULL)
		return refuse(c, CLOSE_CLIENT_LIMIT, SQLSTATE_TOO_MANY_CONNECTIONS,
		              "too many pools (databases times roles)", NULL);
	if (pools_are_disabled(c->env->pools, pool_database(c->pool))) {
		c->pool = NULL;
		return refuse(c, CLOSE_CLIENT_DISABLED, SQLSTATE_CANNOT_CONNECT_NOW,
		              "the database is disabled", "An operator must ENABLE it.");
	}
	wish_set_conf(c);
	route_begin(c);
	pool_count_client(c->pool, 1);
	c->counters = pool_counters(c->pool);
	refusal = client_limit_enter(c);
	if (refusal != NULL)
		return refuse(c, CLOSE_CLIENT_LIMIT, SQLSTATE_TOO_MANY_CONNECTIONS, refusal,
		              "The limit is max_client_conn of its section, or of [tenants].");
	if (conf->pgusher.log_connections)
		log_info("client %s logged in: user=%s database=%s tenant=%s%s", c->peer.text,
		         LOG_QUOTE(c->user), LOG_QUOTE(c->database), c->ticket->tenant,
		         c->is_encrypted ? " tls" : "");
	report_login(c);
	welcome_start(c);
	return STEP_MORE;
}

/* A token of the client's, at login or by SET usher.token. */
static struct auth_request request_for(const struct client *c, const char *token, size_t len)
{
	return (struct auth_request){
		.keys = c->env->keys,
		.token = token,
		.len = len,
		.role = c->user,
		.tenant_required = !c->is_tenantless,
		.is_exposed = is_exposed(c),
		.now_s = clock_wall_s(),
		.revoked = c->env->revoked,
		.needs_directory = directory_is_wanted(c),
		.directory = c->env->directory,
	};
}

/* A statement cannot wait for the issuer's keys, but the next try may find them. One order a
 * client: he can make as many tokens up as he likes. */
static const char *order_keys(struct client *c, const struct auth_request *request,
                              enum auth_reason reason)
{
	int section = auth_refetch(request, reason);

	if (section < 0)
		return NULL;
	if (!c->keys_ordered)
		c->env->await_keys(c->env->worker, c->pid, (unsigned)section);
	c->keys_ordered = c->pid != 0;
	return "The issuer's keys are being fetched: try again.";
}

enum auth_reason login_verify(struct client *c, const char *token, size_t len,
                              struct auth_ticket **ticket, const char **hint)
{
	struct auth_request request = request_for(c, token, len);
	enum auth_reason reason = auth_verify(c->env->auth, &request, ticket);

	*hint = reason == AUTH_UNKNOWN_KEY ? order_keys(c, &request, reason) : NULL;
	return reason;
}

/* The issuer may have the key by now: the login waits for the next fetch of its keys. The token
 * stays where it is, in `held`. */
static bool await_keys(struct client *c, const struct auth_request *request,
                       enum auth_reason reason)
{
	int section = c->keys_are_final ? -1 : auth_refetch(request, reason);

	/* With an identity to come back to. */
	if (section < 0 || !welcome_draw_key(c))
		return false;
	c->phase = PHASE_KEYS;
	c->env->await_keys(c->env->worker, c->pid, (unsigned)section);
	return true;
}

void session_keys_done(struct session_env *env, uint32_t asker, bool is_final)
{
	struct client *c = welcome_find(env, asker);

	if (c != NULL)
		c->keys_ordered = false;
	if (c == NULL || c->phase != PHASE_KEYS)
		return;
	map_remove(&env->by_pid, &c->by_pid);
	c->pid = 0;
	c->keys_are_final = is_final;
	c->phase = PHASE_PASSWORD;
	session_run(c);
}

/* A token seen before costs next to nothing. */
static bool may_check(struct client *c, const char *token, size_t len)
{
	struct auth_request request = request_for(c, token, len);

	return auth_is_cached(c->env->auth, &request) || session_may_login(c);
}

enum step login_refuse_token(struct client *c, enum auth_reason reason)
{
	c->refused_as = auth_reason_label(reason);
	return refuse(c,
	              reason == AUTH_TLS_REQUIRED ? CLOSE_CLIENT_TLS_REQUIRED : CLOSE_CLIENT_AUTH,
	              SQLSTATE_INVALID_AUTHORIZATION, auth_reason_text(reason), NULL);
}

static enum step check_token(struct client *c, const char *token, size_t len)
{
	bool is_console = admin_is_wanted(c);
	const struct conf_role *role = conf_find_role(c->env->conf, c->user);
	struct auth_request request;
	enum auth_reason reason;

	c->is_tenantless = !is_console && role != NULL && role->tenant == CONF_TENANT_NONE;
	request = request_for(c, token, len);
	request.tenant_required = request.tenant_required && !is_console;
	reason = auth_verify(c->env->auth, &request, &c->ticket);
	if (await_keys(c, &request, reason))
		return STEP_WAIT;
	if (reason != AUTH_OK)
		return c->asked_by == ASKED_BY_PASSWORD ? login_refuse_token(c, reason)
		                                        : sasl_refuse(c, reason);
	list_remove(&c->stranger_link);
	if (is_console && admin_admit(c))
		return STEP_MORE;
	if (is_console)
		c->refused_as = "not_an_admin";
	if (is_console)
		return refuse(c, CLOSE_CLIENT_AUTH, SQLSTATE_INVALID_AUTHORIZATION,
		              "this role may not use the console",
		              "The console is for admin_users and stats_users.");
	if (c->startup_token != NULL &&
	    !identity_begin(c, c->startup_token, strlen(c->startup_token)))
		return STEP_DONE;
	MEM_FREE(&c->startup_token);
	return judge_settings(c) == STEP_MORE ? admit(c) : STEP_DONE;
}

enum step login_take_token(struct client *c, const char *token, size_t len)
{
	return may_check(c, token, len) ? check_token(c, token, len) : STEP_WAIT;
}

/* A PasswordMessage: the token and a NUL. */
static enum step take_password(struct client *c, const uint8_t *p, size_t len)
{
	if (len == 0 || memchr(p, '\0', len) != p + len - 1) {
		session_fail(c, CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	return login_take_token(c, (const char *)p, len - 1);
}

enum step session_step_password(struct client *c, const uint8_t *p, size_t n, size_t *used)
{
	bool is_password = c->asked_by == ASKED_BY_PASSWORD;
	struct wire_frame f = {0};
	enum wire_read r = wire_frame_read(p, n, &f);
	enum step step;

	if (r == WIRE_READ_SHORT)
		return STEP_WAIT;
	if (r == WIRE_READ_BAD || f.type != 'p' ||
	    f.body_len > (is_password ? AUTH_TOKEN_MAX + 1 : SASL_MESSAGE_MAX)) {
		session_fail(c, f.type == 'X' ? CLOSE_CLIENT_TERMINATE : CLOSE_CLIENT_PROTOCOL);
		return STEP_DONE;
	}
	if (n < WIRE_HEADER_BYTES + (size_t)f.body_len)
		return STEP_WAIT;
	p += WIRE_HEADER_BYTES;
	step = is_password ? take_password(c, p, f.body_len) : sasl_take(c, p, f.body_len);
	if (step != STEP_WAIT)
		*used = WIRE_HEADER_BYTES + (size_t)f.body_len;
	return step;
}
