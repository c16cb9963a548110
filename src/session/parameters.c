/* What a client knows of its server's parameters (ParameterStatus). Servers may differ: another
 * node, or one that was set up again. As PostgreSQL does when a value changes, the client is told
 * in front of the ReadyForQuery behind which it may rely on it. A list of what was told is shared
 * by content among the clients of a worker; whether it holds is one comparison (the key).
 *
 * Not told is in_hot_standby: reads go to and fro between nodes, and what the client is connected
 * to can be written to. Nor application_name, which is the client's own word. */
#include <string.h>

#include "session_int.h"

struct snapshot {
	struct client *client;
	struct buf list;
	uint64_t key;
};

static void add(struct snapshot *s, const char *name, const char *value)
{
	uint64_t key = server_parameter_key(name, value);

	if (key == 0)
		return;
	s->key += key;
	buf_put_cstr(&s->list, name);
	buf_put_cstr(&s->list, value);
}

static void take(struct client *c, struct snapshot *s)
{
	settings_assign(&c->parameters, settings_share(&c->env->parameters, &s->list));
	c->parameters_key = s->key;
	buf_fini(&s->list);
}

static const char *told(const struct client *c, const char *name)
{
	const char *at = settings_list(c->parameters), *end = at + settings_len(c->parameters);

	while (at < end) {
		const char *value = at + strlen(at) + 1;

		if (strcmp(at, name) == 0)
			return value;
		at = value + strlen(value) + 1;
	}
	return NULL;
}

void parameters_begin(struct client *c, const char *list, size_t len)
{
	struct snapshot s = {.client = c};

	for (const char *at = list; at < list + len;) {
		const char *value = at + strlen(at) + 1;

		add(&s, at, value);
		at = value + strlen(value) + 1;
	}
	take(c, &s);
}

static void add_of_server(void *arg, const char *name, const char *value)
{
	add(arg, name, value);
}

void parameters_begin_at(struct client *c, const struct server *server)
{
	struct snapshot s = {.client = c};

	server_each_parameter(server, add_of_server, &s);
	take(c, &s);
}

/* The server itself has told it. */
void parameters_passed(void *owner)
{
	struct client *c = owner;

	parameters_begin_at(c, c->server);
}

static void tell(void *arg, const char *name, const char *value)
{
	struct snapshot *s = arg;
	struct client *c = s->client;
	const char *before = told(c, name);

	if (server_parameter_key(name, value) != 0 &&
	    (before == NULL || strcmp(before, value) != 0)) {
		wire_put_parameter(c->env->backend->scratch, name, value);
		client_put(c, c->env->backend->scratch);
	}
	add(s, name, value);
}

void parameters_tell(struct client *c)
{
	struct snapshot s = {.client = c};

	server_pass_on(c->server);
	server_each_parameter(c->server, tell, &s);
	take(c, &s);
}

void parameters_free(struct client *c)
{
	settings_assign(&c->parameters, NULL);
}
