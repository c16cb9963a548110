/* SHOW TENANTS: who has clients here, what they hold, wait for and have used. A tenant without
 * clients has no row, so there are no more rows than clients, however many tenants there are. Each
 * worker adds what it has, unsorted; home sorts and adds up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "console_int.h"

#define ROOM_MIN 64

static const struct column tenants[] = {
	{"tenant", COLUMN_TEXT},          {"clients", COLUMN_INT4},
	{"active", COLUMN_INT4},          {"waiting", COLUMN_INT4},
	{"server_time", COLUMN_NUMERIC}, /* microseconds, as the times of SHOW STATS */
	{"max_client_conn", COLUMN_INT4}, {"max_server_conn", COLUMN_INT4},
	{"weight", COLUMN_INT4},          {"rejected", COLUMN_NUMERIC},
	{"maxwait", COLUMN_INT4},         {"maxwait_us", COLUMN_INT4},
	{"pinned", COLUMN_INT4},          {"max_pinned", COLUMN_INT4},
};

static void add_tenant(void *arg, const struct tenant_info *info)
{
	struct round *r = arg;
	struct tenant_sum *sum;

	if (info->tenant[0] == '\0') /* of service roles */
		return;
	if (r->n_tenants == r->tenants_room) {
		r->tenants_room = r->tenants_room > 0 ? 2 * r->tenants_room : ROOM_MIN;
		r->tenants = mem_realloc(r->tenants, r->tenants_room * sizeof(r->tenants[0]));
	}
	sum = &r->tenants[r->n_tenants++];
	sum->info = *info;
	sum->info.tenant = NULL;
	snprintf(sum->tenant, sizeof(sum->tenant), "%s", info->tenant);
}

static enum visit visit_tenants(struct console *console, struct round *r)
{
	pools_each_tenant(console->env.session->pools, add_tenant, r);
	return VISIT_DONE;
}

/* They are numbers: shorter ones come first. */
static int compare(const void *a, const void *b)
{
	const struct tenant_sum *x = a, *y = b;
	size_t nx = strlen(x->tenant), ny = strlen(y->tenant);

	return nx != ny ? (nx < ny ? -1 : 1) : strcmp(x->tenant, y->tenant);
}

static void add(struct tenant_info *sum, const struct tenant_info *info)
{
	sum->n_clients += info->n_clients;
	sum->n_active += info->n_active;
	sum->n_waiters += info->n_waiters;
	sum->server_us += info->server_us;
	if (info->oldest_us != 0 && (sum->oldest_us == 0 || info->oldest_us < sum->oldest_us))
		sum->oldest_us = info->oldest_us;
	if (info->n_rejected > sum->n_rejected)
		sum->n_rejected = info->n_rejected;
}

static void put_tenant(struct console *console, struct round *r, const struct tenant_sum *sum)
{
	struct conf_limits limits = conf_tenant_limits(console->env.session->conf, sum->tenant);
	const struct tenant_info *info = &sum->info;
	int64_t wait_us = info->oldest_us != 0 ? clock_mono_us() - info->oldest_us : 0;
	struct row row = row_begin(&r->rows);

	row_text(&row, sum->tenant);
	row_int(&row, info->n_clients);
	row_int(&row, info->n_active);
	row_int(&row, info->n_waiters);
	row_int(&row, (int64_t)info->server_us);
	row_int(&row, limits.max_client_conn);
	row_int(&row, limits.max_server_conn);
	row_int(&row, limits.weight);
	row_int(&row, (int64_t)info->n_rejected);
	row_int(&row, wait_us / US_PER_S);
	row_int(&row, wait_us % US_PER_S);
	row_int(&row, limit_count(console->env.session->pools, LIMIT_PINNED, sum->tenant));
	row_int(&row, limits.max_pinned);
	row_end(&row);
}

static bool finish_tenants(struct console *console, struct round *r)
{
	if (r->n_tenants > 1)
		qsort(r->tenants, r->n_tenants, sizeof(r->tenants[0]), compare);
	for (size_t i = 0, next; i < r->n_tenants; i = next) {
		for (next = i + 1;
		     next < r->n_tenants && compare(&r->tenants[i], &r->tenants[next]) == 0; next++)
			add(&r->tenants[i].info, &r->tenants[next].info);
		put_tenant(console, r, &r->tenants[i]);
	}
	return true;
}

ACTION_ROWS(SHOW_TENANTS, tenants, visit_tenants, finish_tenants);
