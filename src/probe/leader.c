/* Sessions on every node of a database, of which that of the primary is used: for what only the
 * primary is asked, beside the heartbeats. On the probe's thread. */
#include "base/mem.h"
#include "probe/probe_int.h"

static void on_up(void *arg)
{
	(void)arg;
}

void leader_init(struct leader *l, const struct watch_config *config,
                 const struct conf_database *database, void (*on_down)(void *arg), void *arg)
{
	struct link_config link = {
		.base = config->base,
		.dialer = config->dialer,
		.box = config->box,
		.conf = config->conf,
		.database = database,
		.role = conf_find_role(config->conf, config->conf->freshness.probe_role),
		.on_up = on_up,
		.on_down = on_down,
		.arg = arg};

	l->fresh = config->fresh;
	l->first = (size_t)fresh_find(config->fresh, database);
	l->n = database->n_nodes;
	l->links = mem_zalloc(l->n * sizeof(struct link *));
	l->is_open = mem_zalloc(l->n * sizeof(l->is_open[0]));
	for (size_t i = 0; i < l->n; i++) {
		link.node = database->nodes[i];
		l->links[i] = link_new(&link);
	}
}

struct link *leader_link(struct leader *l)
{
	int primary = fresh_primary(l->fresh, l->first, NULL);
	size_t i;

	if (primary == FRESH_NO_PATH)
		return NULL;
	i = (size_t)primary - l->first;
	if (!l->is_open[i])
		link_open(l->links[i]);
	l->is_open[i] = true;
	return l->links[i];
}

void leader_close(struct leader *l)
{
	for (size_t i = 0; i < l->n; i++)
		link_close(l->links[i]);
}

void leader_fini(struct leader *l)
{
	for (size_t i = 0; i < l->n; i++)
		link_free(&l->links[i]);
	mem_free(l->links);
	mem_free(l->is_open);
}
