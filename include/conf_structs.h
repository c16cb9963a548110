/* One struct for each section of the ini file, generated from tbl/options.h. A field
 * has its key's name; durations are in microseconds; strings are never NULL. Include conf.h. */
#ifndef PGUSHER_CONF_STRUCTS_H
#define PGUSHER_CONF_STRUCTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sql_guard.h"

/* CONF_POOL_DEFAULT: a database's, that of [pgusher]. */
enum conf_pool_mode { CONF_POOL_TRANSACTION, CONF_POOL_SESSION, CONF_POOL_DEFAULT };
enum conf_auth_type { CONF_AUTH_PASSWORD, CONF_AUTH_OAUTH };
enum conf_tls_client_mode {
	CONF_TLS_CLIENT_DISABLE,
	CONF_TLS_CLIENT_ALLOW,
	CONF_TLS_CLIENT_REQUIRE, /* from here on always */
	CONF_TLS_CLIENT_VERIFY_CA,
	CONF_TLS_CLIENT_VERIFY_FULL
};
enum conf_tls_server_mode {
	CONF_TLS_SERVER_DISABLE,
	CONF_TLS_SERVER_ALLOW,
	CONF_TLS_SERVER_PREFER,
	CONF_TLS_SERVER_REQUIRE,
	CONF_TLS_SERVER_VERIFY_CA,
	CONF_TLS_SERVER_VERIFY_FULL
};
enum conf_tls_protocol {
	CONF_TLS_1_0 = 1,
	CONF_TLS_1_1 = 2,
	CONF_TLS_1_2 = 4,
	CONF_TLS_1_3 = 8,
	CONF_TLS_SECURE = CONF_TLS_1_2 | CONF_TLS_1_3,
	CONF_TLS_ALL = CONF_TLS_1_0 | CONF_TLS_1_1 | CONF_TLS_SECURE
};
enum conf_tls_dhe { CONF_TLS_DHE_AUTO, CONF_TLS_DHE_NONE, CONF_TLS_DHE_LEGACY };
enum conf_node_role { CONF_NODE_AUTO, CONF_NODE_ANALYTICS };
enum conf_consistency {
	CONF_CONSISTENCY_STRONG,
	CONF_CONSISTENCY_BOUNDED,
	CONF_CONSISTENCY_EVENTUAL,
	CONF_CONSISTENCY_ANALYTICS
};
enum conf_tenant_mode { CONF_TENANT_REQUIRED, CONF_TENANT_NONE };
enum conf_context_mode { CONF_CONTEXT_PLAIN, CONF_CONTEXT_SIGNED };
enum conf_read_your_writes { CONF_RYW_OFF, CONF_RYW_SESSION, CONF_RYW_TENANT };
enum conf_analytics_fallback { CONF_ANALYTICS_REFUSE, CONF_ANALYTICS_SERVE };
enum conf_alg {
	CONF_ALG_HS256 = 1,
	CONF_ALG_RS256 = 2,
	CONF_ALG_ES256 = 4,
	CONF_ALG_PS256 = 8,
	CONF_ALG_EDDSA = 16 /* Ed25519 only */
};

/* An INHERIT_ option that is empty. */
#define CONF_INHERIT (-1)

enum conf_audit_event {
	CONF_AUDIT_AUTH = 1,
	CONF_AUDIT_GUARD = 2,
	CONF_AUDIT_ADMIN = 4,
	CONF_AUDIT_ROUTE = 8,
	CONF_AUDIT_STATEMENTS = 16
};

/* The C type of each option type. */
#define CONF_FIELD_BOOL(key) bool key;
#define CONF_FIELD_INT(key) int key;
#define CONF_FIELD_COUNT(key) int key;
#define CONF_FIELD_PORT(key) uint16_t key;
#define CONF_FIELD_WORKERS(key) int key;
#define CONF_FIELD_PEER_ID(key) int key;
#define CONF_FIELD_DURATION(key) int64_t key;
#define CONF_FIELD_INHERIT_INT(key) int key;
#define CONF_FIELD_INHERIT_COUNT(key) int key;
#define CONF_FIELD_INHERIT_DURATION(key) int64_t key;
#define CONF_FIELD_STRING(key) const char *key;
#define CONF_FIELD_FILE(key) const char *key;
#define CONF_FIELD_DIR(key) const char *key;
#define CONF_FIELD_URL(key) const char *key;
#define CONF_FIELD_GUC(key) const char *key;
#define CONF_FIELD_TABLE(key) const char *key;
#define CONF_FIELD_POOL_MODE(key) enum conf_pool_mode key;
#define CONF_FIELD_DATABASE_POOL_MODE(key) enum conf_pool_mode key;
#define CONF_FIELD_AUTH_TYPE(key) enum conf_auth_type key;
#define CONF_FIELD_TLS_CLIENT_MODE(key) enum conf_tls_client_mode key;
#define CONF_FIELD_TLS_SERVER_MODE(key) enum conf_tls_server_mode key;
#define CONF_FIELD_TLS_PROTOCOLS(key) uint32_t key;
#define CONF_FIELD_TLS_CIPHERS(key) const char *key;
#define CONF_FIELD_TLS_SUITES(key) const char *key;
#define CONF_FIELD_TLS_CURVE(key) const char *key;
#define CONF_FIELD_TLS_DHE(key) enum conf_tls_dhe key;
#define CONF_FIELD_NODE_ROLE(key) enum conf_node_role key;
#define CONF_FIELD_CONSISTENCY(key) enum conf_consistency key;
#define CONF_FIELD_TENANT_MODE(key) enum conf_tenant_mode key;
#define CONF_FIELD_GUARD_MODE(key) enum sql_guard_mode key;
#define CONF_FIELD_CONTEXT_MODE(key) enum conf_context_mode key;
#define CONF_FIELD_READ_YOUR_WRITES(key) enum conf_read_your_writes key;
#define CONF_FIELD_ANALYTICS_FALLBACK(key) enum conf_analytics_fallback key;
#define CONF_FIELD_ALGS(key) uint32_t key;
#define CONF_FIELD_AUDIT_EVENTS(key) uint32_t key;
#define CONF_FIELD_NODE_LIST(key)                                                                  \
	const struct conf_node **key;                                                              \
	size_t n_##key;

/* What a struct has besides its options: sections that repeat have a name, and a role the
 * content of its password_file (a secret: no option, so that nothing prints it). */
#define CONF_HEAD_ONCE
#define CONF_HEAD_NAMED const char *name;
#define CONF_HEAD_OPTIONAL const char *name;
#define CONF_HEAD_BOTH const char *name; /* "" of the section without one */
#define CONF_TAIL_pgusher
#define CONF_TAIL_jwt
#define CONF_TAIL_oauth
#define CONF_TAIL_context
#define CONF_TAIL_audit
#define CONF_TAIL_guard
#define CONF_TAIL_node
#define CONF_TAIL_database
#define CONF_TAIL_tenants
#define CONF_TAIL_tenant
#define CONF_TAIL_freshness
#define CONF_TAIL_peer int id;               /* its name */
#define CONF_TAIL_role const char *password; /* "" without password_file */

#define SECTION(section, repeat, example, doc)                                                     \
	struct conf_##section {                                                                    \
		CONF_HEAD_##repeat
#define OPTION(section, key, type, def, reload, doc) CONF_FIELD_##type(key)
#define SECTION_END(section)                                                                       \
	CONF_TAIL_##section                                                                        \
	}                                                                                          \
	;
#include "tbl/options.h"
#undef SECTION
#undef OPTION
#undef SECTION_END

#endif
