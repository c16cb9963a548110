/* The guard, as sessions use it: which cache a client's statements are classified with, and the
 * count of what was refused. On the worker's thread, as all of the module.
 *
 * Tenants' statements are under [guard]; those of roles with tenant = none only under the rules
 * that PgUsher itself needs. So there are two caches, and each knows its own mode. */
#include <string.h>

#include "session_int.h"
#include "sql_catalog.h"

void session_set_guard(struct session_env *env)
{
	const struct conf_guard *conf = &env->conf->guard;
	const struct sql_guard tenants = {.mode = conf->mode,
	                                  .allow_functions = conf->allow_functions,
	                                  .deny_functions = conf->deny_functions,
	                                  .trusted_functions = conf->trusted_functions};
	const struct sql_guard services = {.mode = SQL_GUARD_OFF,
	                                   .trusted_functions = conf->trusted_functions};

	sql_cache_set_guard(env->sql, &tenants);
	sql_cache_set_guard(env->sql_service, &services);
}

/* Before the first catalogue PostgreSQL's own functions are known, and no others. */
void session_set_catalog(struct session_env *env, struct sql_catalog *catalog)
{
	struct sql_functions functions = {
		.snapshot = catalog, .find = sql_catalog_find, .next = sql_catalog_next};

	if (catalog == NULL)
		functions = (struct sql_functions){.find = sql_builtin_find};
	sql_cache_set_functions(env->sql, &functions);
	sql_cache_set_functions(env->sql_service, &functions);
	sql_catalog_put(&env->catalog);
	env->catalog = catalog;
	env->n_catalogs++;
}

static struct sql_cache *cache_of(const struct client *c)
{
	return c->is_tenantless ? c->env->sql_service : c->env->sql;
}

const struct sql_info *guard_classify(struct client *c, const char *text, size_t len)
{
	return sql_classify(cache_of(c), text, len);
}

uint64_t guard_rules_of(const struct client *c)
{
	/* Both of them only grow. */
	return 2 * (c->env->conf->generation + c->env->n_catalogs) + c->is_tenantless;
}

/* Values of these types run users' code when they are read: what is sent for a domain, and for a
 * composite type with one in it. body: of a Parse, behind the name. */
static uint32_t parameter_bits(struct client *c, const uint8_t *body, size_t len)
{
	const uint8_t *at = body + strlen((const char *)body) + 1, *end = body + len;
	uint32_t bits = 0;

	if (end - at < 2)
		return 0;
	for (at += 2; end - at >= 4; at += 4)
		bits |= sql_parameter_bits(cache_of(c), be32_get(at));
	return bits;
}

struct sql_stmt guard_stmt(struct client *c, const struct sql_info *info, const uint8_t *body,
                           size_t len)
{
	struct sql_stmt stmt = {.kind = SQL_EMPTY};
	uint32_t bits;

	if (info->n_stmts == 1)
		stmt = info->stmts[0];
	else if (info->n_stmts > 1) /* of several the server says that it takes only one */
		stmt.kind = SQL_UNPARSED;
	stmt.fingerprint = info->fingerprint;
	bits = parameter_bits(c, body, len);
	stmt.bits |= bits;
	if (bits != 0)
		stmt.bits &= ~(uint32_t)SQL_READ_ONLY;
	return stmt;
}

const struct sql_info *guard_judge_again(struct client *c, struct text *text)
{
	const char *query = (const char *)text->body;
	const struct sql_info *info;

	if (text->judged_by == guard_rules_of(c))
		return NULL;
	info = guard_classify(c, query, strlen(query));
	if (info->refusal != NULL)
		return info;
	text->stmt = guard_stmt(c, info, text->body, text->len);
	text->judged_by = guard_rules_of(c);
	return NULL;
}

void guard_note(struct client *c, const struct sql_refusal *refusal, uint64_t fingerprint)
{
	c->env->guard_hits[refusal->id]++;
	report_guard(c, refusal->rule, fingerprint);
}

struct wire_error guard_refuse(struct client *c, const struct sql_refusal *refusal,
                               uint64_t fingerprint)
{
	guard_note(c, refusal, fingerprint);
	return (struct wire_error){
		.severity = "ERROR",
		.sqlstate = refusal->sqlstate,
		.message = refusal->message,
		.hint = refusal->hint,
		.position = refusal->position,
	};
}
