/* SHOW CLIENTS and SHOW SERVERS: one row a connection, built on the thread that owns it. Of 20,000
 * clients each worker builds a few hundred at a time (round_next_pid). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "console_int.h"
#include "net_look.h"

/* PgBouncer 1.18's columns, those that later versions added, ours. */
static const struct column columns[] = {
	{"type", COLUMN_TEXT},
	{"user", COLUMN_TEXT},
	{"database", COLUMN_TEXT},
	{"state", COLUMN_TEXT},
	{"addr", COLUMN_TEXT},
	{"port", COLUMN_INT4},
	{"local_addr", COLUMN_TEXT},
	{"local_port", COLUMN_INT4},
	{"connect_time", COLUMN_TEXT},
	{"request_time", COLUMN_TEXT},
	{"wait", COLUMN_INT4},
	{"wait_us", COLUMN_INT4},
	{"close_needed", COLUMN_INT4},
	{"ptr", COLUMN_TEXT},
	{"link", COLUMN_TEXT},
	{"remote_pid", COLUMN_INT4},
	{"tls", COLUMN_TEXT},
	{"application_name", COLUMN_TEXT},
	{"prepared_statements", COLUMN_INT4},
	{"id", COLUMN_INT4},
	{"tenant", COLUMN_TEXT},
	{"worker", COLUMN_INT4},
	{"node", COLUMN_TEXT},
	{"pinned", COLUMN_TEXT},
	{"session", COLUMN_TEXT},
};

/* What a client and a server both have. */
struct connection {
	const char *type, *user, *database, *state;
	struct net_address remote, local;
	int64_t connected_s, requested_s, wait_us;
	bool close_needed;
	uint32_t id, link;
	uint64_t session; /* 0: of no client */
	uint32_t remote_pid;
	const char *tls, *application_name, *tenant, *node, *pinned;
	uint32_t n_statements;
};

/* PgBouncer shows addresses in memory; ours are process ids, and mean something. */
static void row_id(struct row *r, uint32_t id)
{
	char text[16] = "";

	if (id != 0)
		snprintf(text, sizeof(text), "0x%x", id);
	row_text(r, text);
}

/* As the audit log spells it. */
static void row_session(struct row *r, uint64_t session)
{
	char text[20] = "";

	if (session != 0)
		snprintf(text, sizeof(text), "%016" PRIx64, session);
	row_text(r, text);
}

static void put_connection(struct console *console, struct buf *b, const struct connection *c)
{
	struct row r = row_begin(b);

	row_text(&r, c->type);
	row_text(&r, c->user);
	row_text(&r, c->database);
	row_text(&r, c->state);
	row_text(&r, c->remote.host);
	row_int(&r, c->remote.port);
	row_text(&r, c->local.host);
	row_int(&r, c->local.port);
	row_time(&r, c->connected_s);
	row_time(&r, c->requested_s);
	row_int(&r, c->wait_us / US_PER_S);
	row_int(&r, c->wait_us % US_PER_S);
	row_int(&r, c->close_needed);
	row_id(&r, c->id);
	row_id(&r, c->link);
	row_int(&r, c->remote_pid);
	row_text(&r, c->tls);
	row_text(&r, c->application_name);
	row_int(&r, c->n_statements);
	row_int(&r, c->id);
	row_text(&r, c->tenant);
	row_int(&r, console->env.worker);
	row_text(&r, c->node);
	row_text(&r, c->pinned);
	row_session(&r, c->session);
	row_end(&r);
}

/* A monotonic time as one of the wall clock's. */
static int64_t wall_of(int64_t mono_us)
{
	return clock_wall_s() - (clock_mono_us() - mono_us) / US_PER_S;
}

/* ---- clients --------------------------------------------------------------------------------- */

/* Kept at its coming, so that the kernel need not be asked: "127.0.0.1:40312", "[::1]:40312". */
static void parse_peer(const char *peer, struct net_address *out)
{
	const char *colon = strrchr(peer, ':');
	size_t len = colon != NULL ? (size_t)(colon - peer) : strlen(peer);

	if (peer[0] == '[' && len > 2) {
		peer++;
		len -= 2;
	}
	if (len >= sizeof(out->host))
		len = sizeof(out->host) - 1;
	memcpy(out->host, peer, len);
	out->host[len] = '\0';
	for (out->port = 0; colon != NULL && *++colon >= '0' && *colon <= '9';)
		out->port = (uint16_t)(out->port * 10 + (*colon - '0'));
}

static void put_client(struct console *console, struct round *r, uint32_t pid)
{
	struct session_info info;
	struct connection c = {.type = "C", .id = pid};
	char tls[96];

	if (!session_look(console->env.session, pid, &info))
		return;
	parse_peer(info.peer, &c.remote);
	stream_local(info.stream, &c.local);
	stream_tls(info.stream, tls, sizeof(tls));
	c.user = info.user;
	c.database = info.database;
	c.state = info.state;
	c.connected_s = info.connected_s;
	c.requested_s = info.request_us != 0 ? wall_of(info.request_us) : info.connected_s;
	c.wait_us = info.waiting_us != 0 ? clock_mono_us() - info.waiting_us : 0;
	c.link = info.server_pid;
	c.tls = tls;
	c.application_name = info.application_name;
	c.tenant = info.tenant;
	c.node = "";
	c.pinned = info.pinned;
	c.n_statements = info.n_statements;
	c.session = info.session_id;
	put_connection(console, &r->rows, &c);
}

static enum visit visit_clients(struct console *console, struct round *r)
{
	unsigned n = 0;
	uint32_t pid;

	while ((pid = round_next_pid(console, r, &n)) != 0)
		put_client(console, r, pid);
	return round_slice_ends(r);
}

ACTION_ROWS(SHOW_CLIENTS, columns, visit_clients, NULL);

/* ---- servers --------------------------------------------------------------------------------- */

struct servers {
	struct console *console;
	struct round *round;
};

static void put_server(void *arg, const struct server_info *info)
{
	static const char *const states[] = {[SERVER_IDLE] = "idle",
	                                     [SERVER_ACTIVE] = "active",
	                                     [SERVER_CLEANED] = "tested",
	                                     [SERVER_CANCELLING] = "being_canceled"};
	struct servers *servers = arg;
	struct connection c = {.type = "S", .state = states[info->use]};
	const char *name = server_parameter(info->server, "application_name");
	struct session_info client = {.tenant = ""};
	char tls[96];

	c.id = c.remote_pid = server_pid(info->server);
	c.user = info->pool->user;
	c.database = info->pool->database;
	stream_remote(server_stream(info->server), &c.remote);
	stream_local(server_stream(info->server), &c.local);
	stream_tls(server_stream(info->server), tls, sizeof(tls));
	if (c.remote.port == 0)
		c.remote.port = info->port;
	c.connected_s = wall_of(info->opened_us);
	c.requested_s = wall_of(info->used_us);
	c.close_needed = info->close_needed;
	c.link = session_of_server(info->server);
	if (c.link != 0)
		(void)session_look(servers->console->env.session, c.link, &client);
	c.tls = tls;
	c.application_name = name != NULL ? name : "";
	c.tenant = client.tenant;
	c.node = info->node;
	c.pinned = client.pinned;
	c.session = client.session_id;
	c.n_statements = server_n_prepared(info->server);
	put_connection(servers->console, &servers->round->rows, &c);
}

static enum visit visit_servers(struct console *console, struct round *r)
{
	struct servers servers = {console, r};

	pools_each_server(console->env.session->pools, put_server, &servers);
	return VISIT_DONE;
}

ACTION_ROWS(SHOW_SERVERS, columns, visit_servers, NULL);
