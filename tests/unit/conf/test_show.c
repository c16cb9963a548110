/* Defaults, SHOW CONFIG, what RELOAD keeps, and the generated files. */
#include "fixture.h"

#include "base/clock.h"

/* ---- defaults ------------------------------------------------------------------------------ */

/* Written out a second time on purpose: these are promised to users. */
static const struct {
	const char *section, *key, *value, *def;
	bool is_reloadable;
} promised[] = {
	{"pgusher", "listen_addr", "127.0.0.1", "127.0.0.1", false},
	{"pgusher", "listen_port", "6432", "6432", false},
	{"pgusher", "unix_socket_dir", "", "", false},
	{"pgusher", "workers", NULL, "auto", false},
	{"pgusher", "max_client_conn", "20000", "20000", true},
	{"pgusher", "max_server_conn", "200", "200", true},
	{"pgusher", "default_pool_size", "0", "0", true},
	{"pgusher", "pool_mode", "transaction", "transaction", false},
	{"pgusher", "auth_type", "password", "password", true},
	{"pgusher", "query_wait_timeout", "120", "120", true},
	{"pgusher", "query_timeout", "0", "0", true},
	{"pgusher", "transaction_timeout", "0", "0", true},
	{"pgusher", "idle_transaction_timeout", "0", "0", true},
	{"pgusher", "client_idle_timeout", "0", "0", true},
	{"pgusher", "client_login_timeout", "60", "60", true},
	{"pgusher", "server_connect_timeout", "15", "15", true},
	{"pgusher", "server_idle_timeout", "600", "600", true},
	{"pgusher", "server_lifetime", "3600", "3600", true},
	{"pgusher", "server_login_retry", "15", "15", true},
	{"pgusher", "cancel_wait_timeout", "10", "10", true},
	{"pgusher", "shutdown_timeout", "30", "30", true},
	{"pgusher", "max_prepared_statements", "200", "200", true},
	{"pgusher", "deferred_begin", "yes", "yes", true},
	{"pgusher", "client_tls_sslmode", "disable", "disable", false},
	{"pgusher", "client_tls_key_file", "", "", false},
	{"pgusher", "client_tls_cert_file", "", "", false},
	{"pgusher", "client_tls_ca_file", "", "", false},
	{"pgusher", "client_tls_protocols", "secure", "secure", false},
	{"pgusher", "client_tls_ciphers", "default", "default", false},
	{"pgusher", "client_tls13_ciphers", "", "", false},
	{"pgusher", "client_tls_ecdhcurve", "auto", "auto", false},
	{"pgusher", "client_tls_dheparams", "auto", "auto", false},
	{"pgusher", "server_tls_sslmode", "prefer", "prefer", true},
	{"pgusher", "server_tls_ca_file", "", "", true},
	{"pgusher", "server_tls_key_file", "", "", true},
	{"pgusher", "server_tls_cert_file", "", "", true},
	{"pgusher", "server_tls_protocols", "secure", "secure", true},
	{"pgusher", "server_tls_ciphers", "default", "default", true},
	{"pgusher", "server_tls13_ciphers", "", "", true},
	{"pgusher", "peer_id", "0", "0", false},
	{"pgusher", "logfile", "", "", true},
	{"pgusher", "admin_users", "", "", true},
	{"pgusher", "stats_users", "", "", true},
	{"pgusher", "stats_period", "60", "60", true},
	{"pgusher", "log_stats", "yes", "yes", true},
	{"pgusher", "log_connections", "yes", "yes", true},
	{"pgusher", "log_disconnections", "yes", "yes", true},
	{"jwt", "jwks_file", NULL, "/etc/pgusher/jwks.json", true},
	{"jwt", "jwks_url", "", "", true},
	{"jwt", "jwks_refresh", "300", "300", true},
	{"jwt", "jwks_min_refresh", "10", "10", true},
	{"jwt", "jwks_ca_file", "", "", true},
	{"jwt", "issuer", "", "", true},
	{"jwt", "audience", "", "", true},
	{"jwt", "algorithms", "RS256, ES256", "RS256, ES256", true},
	{"jwt", "tenant_claim", "tenant_id", "tenant_id", true},
	{"jwt", "role_claim", "role", "role", true},
	{"jwt", "leeway", "30", "30", true},
	{"jwt", "require_tls", "yes", "yes", true},
	{"oauth", "issuer", "", "", true},
	{"oauth", "scope", "", "", true},
	{"context", "setting", "app.current_tenant_id", "app.current_tenant_id", false},
	{"context", "mode", "plain", "plain", false},
	{"context", "proof_setting", "app.tenant_proof", "app.tenant_proof", false},
	{"context", "proof_key_file", "", "", true},
	{"audit", "file", "", "", true},
	{"audit", "events", "auth, guard, admin, route", "auth, guard, admin, route", true},
	{"guard", "mode", "strict", "strict", true},
	{"guard", "allow_functions", "", "", true},
	{"guard", "deny_functions", "", "", true},
	{"guard", "trusted_functions", "", "", true},
	{"node a", "host", "localhost", NULL, true},
	{"node a", "port", "5432", "5432", true},
	{"node a", "role", "auto", "auto", true},
	{"node a", "weight", "1", "1", true},
	{"database d", "dbname", "d", "", true},
	{"database d", "nodes", "a", NULL, true},
	{"database d", "consistency", "bounded", "bounded", true},
	{"database d", "pool_mode", "default", "default", true},
	{"database d", "max_client_conn", "0", "0", true},
	{"database d", "pool_size", "", "", true},
	{"role app", "password_file", "", "", true},
	{"role app", "tenant", "required", "required", true},
	{"role app", "max_client_conn", "0", "0", true},
	{"tenants", "max_client_conn", "0", "0", true},
	{"tenants", "max_server_conn", "0", "0", true},
	{"tenants", "max_pinned", "20", "20", true},
	{"tenants", "weight", "1", "1", true},
	{"tenants", "query_wait_timeout", "", "", true},
	{"tenants", "directory_query", "", "", false},
	{"tenants", "directory_refresh", "5", "5", false},
	{"freshness", "probe_role", "", "", false},
	{"freshness", "heartbeat_interval", "250ms", "250ms", false},
	{"freshness", "heartbeat_table", "public.replication_heartbeat",
         "public.replication_heartbeat", false},
	{"freshness", "catalog_refresh", "60", "60", false},
	{"freshness", "max_lag", "5", "5", true},
	{"freshness", "target_lag", "3", "3", true},
	{"freshness", "analytics_target_lag", "300", "300", true},
	{"freshness", "analytics_max_lag", "900", "900", true},
	{"freshness", "analytics_fallback", "refuse", "refuse", true},
	{"freshness", "read_your_writes", "session", "session", true},
};

static void on_promised(void *arg, const struct conf_option *option)
{
	size_t i = (*(size_t *)arg)++;

	assert_true(i < COUNT_OF(promised));
	assert_string_equal(option->section, promised[i].section);
	assert_string_equal(option->key, promised[i].key);
	if (promised[i].value)
		assert_string_equal(option->value, promised[i].value);
	if (promised[i].def)
		assert_string_equal(option->def, promised[i].def);
	else
		assert_null(option->def);
	assert_int_equal(option->is_reloadable, promised[i].is_reloadable);
	assert_true(strlen(option->doc) > 4);
}

static void test_defaults(void **state)
{
	struct conf *conf = fixture_good(REST);
	size_t n = 0;

	(void)state;
	conf_each_option(conf, on_promised, &n);
	assert_int_equal(n, COUNT_OF(promised));
	assert_true(conf->pgusher.query_wait_timeout == 120 * US_PER_S);
	assert_true(conf->jwts[0].leeway == 30 * US_PER_S);
	assert_int_equal(conf->jwts[0].algorithms, CONF_ALG_RS256 | CONF_ALG_ES256);
	conf_put(&conf);
}

/* ---- SHOW CONFIG --------------------------------------------------------------------------- */

/* Everything that is visited, one "section.key=value" a line. */
static void on_line(void *arg, const struct conf_option *option)
{
	struct buf *out = arg;
	char line[512];
	int len = snprintf(line, sizeof(line), "%s.%s=%s\n", option->section, option->key,
	                   option->value);

	buf_put(out, line, (size_t)len);
}

static void test_values(void **state)
{
	static const char *const expected[] = {
		"pgusher.server_lifetime=5400\n",
		"pgusher.server_idle_timeout=1500ms\n",
		"pgusher.cancel_wait_timeout=42us\n",
		"pgusher.deferred_begin=no\n",
		"pgusher.server_tls_sslmode=require\n",
		"jwt.algorithms=HS256, ES256\n",
		"node b.role=analytics\n",
		"database e.nodes=b, a\n",
		"database e.dbname=eav\n",
		"role app.tenant=none\n",
	};
	struct conf *conf =
		fixture_good("[pgusher]\nserver_lifetime = 1.5h\nserver_idle_timeout = 1.5\n"
	                     "cancel_wait_timeout = 42us\ndeferred_begin = off\nserver_tls_sslmode "
	                     "= REQUIRE\n" JWT "algorithms = ES256,HS256\n" NODE
	                     "[node b]\nhost = h\nrole = analytics\n"
	                     "[database e]\ndbname = eav\nnodes = b,a\n" ROLE
	                     "password_file = @/password\ntenant = none\n");
	struct buf out = {0};

	(void)state;
	conf_each_option(conf, on_line, &out);
	buf_put_u8(&out, 0);
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		if (!strstr((const char *)out.data, expected[i]))
			fail_msg("missing: %s in\n%s", expected[i], (const char *)out.data);
	}
	/* The path of a secret is shown, the secret is not. */
	assert_string_equal(conf->roles[0].password, "s3cret");
	assert_non_null(strstr((const char *)out.data, "role app.password_file="));
	assert_null(strstr((const char *)out.data, "s3cret"));
	buf_fini(&out);
	conf_put(&conf);
}

/* ---- RELOAD -------------------------------------------------------------------------------- */

static void test_reload_keeps(void **state)
{
	struct conf *old = fixture_good(PGUSHER("listen_addr = 10.0.0.1\nlisten_port = 7000\n"
	                                        "max_client_conn = 5"));
	struct conf *fresh = fixture_good(PGUSHER(
		"listen_addr = *\nlisten_port = 7001\nmax_client_conn = 6\n"
		"client_tls_sslmode = require\nclient_tls_key_file = @/key.pem\n"
		"client_tls_cert_file = @/cert.pem") "[context]\nsetting = my.tenant\n[role "
	                                             "new]\n[node n]\nhost = n\n");
	struct buf out = {0};
	char *expected = fixture_text("pgusher.listen_addr=*\npgusher.listen_port=7001\n"
	                              "pgusher.client_tls_sslmode=require\n"
	                              "pgusher.client_tls_key_file=@/key.pem\n"
	                              "pgusher.client_tls_cert_file=@/cert.pem\n"
	                              "context.setting=my.tenant\n");

	(void)state;
	assert_int_equal(conf_reload_check(old, fresh, on_line, &out), 6);
	buf_put_u8(&out, 0);
	assert_string_equal((const char *)out.data, expected);
	conf_put(&old);
	/* Kept, also when the old snapshot is gone. */
	assert_string_equal(fresh->pgusher.listen_addr, "10.0.0.1");
	assert_int_equal(fresh->pgusher.listen_port, 7000);
	assert_int_equal(fresh->pgusher.client_tls_sslmode, CONF_TLS_CLIENT_DISABLE);
	assert_string_equal(fresh->pgusher.client_tls_key_file, "");
	assert_string_equal(fresh->context.setting, "app.current_tenant_id");
	/* Taken. */
	assert_int_equal(fresh->pgusher.max_client_conn, 6);
	assert_non_null(conf_find_role(fresh, "new"));
	assert_non_null(conf_find_node(fresh, "n"));
	mem_free(expected);
	buf_fini(&out);
	conf_put(&fresh);
}

static void test_reload_unchanged(void **state)
{
	struct conf *old = fixture_good(PGUSHER("log_connections = yes"));
	struct conf *fresh = fixture_good(PGUSHER("log_connections = no\nlisten_addr = 127.0.0.1"));

	(void)state;
	assert_int_equal(conf_reload_check(old, fresh, NULL, NULL), 0);
	assert_false(fresh->pgusher.log_connections);
	conf_put(&old);
	conf_put(&fresh);
}

/* ---- SET ------------------------------------------------------------------------------------ */

static void test_set(void **state)
{
	struct conf *conf = fixture_good(PGUSHER("query_timeout = 5\nmax_client_conn = 7"));
	struct conf_error err;
	struct conf *one = conf_set(conf, "query_timeout", "6s", &err);
	struct conf *two = conf_set(one, "pool_mode", "session", &err), *three;

	(void)state;
	assert_null(two);
	assert_string_equal(err.key, "pool_mode");
	assert_string_equal(err.what, "it takes a restart to change it");
	assert_null(conf_set(one, "query_timeot", "6s", &err));
	assert_string_equal(err.what, "unknown key (did you mean query_timeout?)");
	assert_null(conf_set(one, "max_client_conn", "many", &err));
	assert_string_equal(err.key, "max_client_conn");
	/* Over what was set before; the ones that it was made from stay as they were. */
	two = conf_set(one, "log_stats", "no", &err);
	three = conf_set(two, "query_timeout", "8s", &err);
	conf_put(&two);
	assert_int_equal(three->pgusher.query_timeout, 8000000);
	assert_false(three->pgusher.log_stats);
	assert_int_equal(three->pgusher.max_client_conn, 7);
	assert_int_equal(one->pgusher.query_timeout, 6000000);
	assert_int_equal(conf->pgusher.query_timeout, 5000000);
	assert_int_equal(conf_reload_check(one, three, NULL, NULL), 0);
	assert_int_equal(three->generation, one->generation + 1);
	conf_put(&conf);
	conf_put(&one);
	conf_put(&three);
}

/* ---- the generated files -------------------------------------------------------------------- */

static char *printed(void (*print)(FILE *out))
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	assert_non_null(f);
	print(f);
	assert_int_equal(fclose(f), 0);
	return text;
}

/* `text` with what is at `from` replaced, in place; `to` is not longer. */
static void replace(char *text, const char *from, const char *to)
{
	char *at = strstr(text, from);

	assert_non_null(at);
	assert_true(strlen(to) <= strlen(from));
	memset(at, ' ', strlen(from));
	memcpy(at, to, strlen(to));
}

/* Takes the ';' off every line from the one that begins with `from` on. */
static void uncomment(char *text, const char *from)
{
	char *at = strstr(text, from);

	assert_non_null(at);
	for (at--; at && at[1]; at = strchr(at + 1, '\n')) {
		if (at[1] == ';')
			at[1] = ' ';
	}
}

/* The sample as it ships asks for its sections; with them it works. Files are relative to the
 * fixture's folder, so that their names fit over those of the sample. */
static void test_sample(void **state)
{
	char *ini = printed(conf_print_sample_ini);
	struct conf_error err;
	struct conf *conf;

	(void)state;
	assert_int_equal(chdir(fixture_dir), 0);
	replace(ini, ";jwks_file = /etc/pgusher/jwks.json", " jwks_file = jwks.json");
	assert_null(conf_parse(ini, strlen(ini), "t.ini", &err));
	assert_string_equal(err.text, "t.ini: [node NAME]: at least one is needed");
	uncomment(ini, ";[node ");
	assert_null(conf_parse(ini, strlen(ini), "t.ini", &err));
	assert_string_equal(err.key, "password_file");
	replace(ini, "/etc/pgusher/app.password", "password");
	conf = conf_parse(ini, strlen(ini), "t.ini", &err);
	assert_string_equal(err.text, "");
	assert_string_equal(conf->nodes[0].name, "primary-a");
	assert_string_equal(conf->nodes[0].host, "10.0.0.10");
	assert_string_equal(conf->databases[0].dbname, "eav");
	assert_string_equal(conf->roles[0].password, "s3cret");
	conf_put(&conf);
	free(ini);
}

/* Each example and default in the sample is a good value. */
static void test_sample_all_uncommented(void **state)
{
	static const char *const files[][2] = {
		{"/var/run/postgresql", "."},
		{"/etc/pgusher/server.key", "key.pem"},
		{"/etc/pgusher/server.crt", "cert.pem"},
		{"/etc/pgusher/clients-ca.crt", "cert.pem"},
		{"/etc/pgusher/root.crt", "cert.pem"},
		{"/etc/pgusher/client.key", "key.pem"},
		{"/etc/pgusher/client.crt", "cert.pem"},
		{"/etc/pgusher/jwks.json", "jwks.json"},
		{"/etc/pgusher/id-ca.crt", "cert.pem"},
		{"/etc/pgusher/app.password", "password"},
		{"/etc/pgusher/proof.key", "password"},
	};
	char *ini = printed(conf_print_sample_ini);
	struct conf_error err;
	struct conf *conf;

	(void)state;
	assert_int_equal(chdir(fixture_dir), 0);
	for (size_t i = 0; i < COUNT_OF(files); i++)
		replace(ini, files[i][0], files[i][1]);
	uncomment(ini, ";listen_addr");
	conf = conf_parse(ini, strlen(ini), "t.ini", &err);
	assert_string_equal(err.text, "");
	assert_string_equal(conf->jwts[0].issuer, "https://id.example.com");
	conf_put(&conf);
	free(ini);
}

static void on_documented(void *arg, const struct conf_option *option)
{
	const char *const *texts = arg;
	char ini[128], manual[128];

	snprintf(ini, sizeof(ini), "\n;%s =", option->key);
	snprintf(manual, sizeof(manual), "| `%s` |", option->key);
	assert_non_null(strstr(texts[0], ini));
	assert_non_null(strstr(texts[1], manual));
	assert_non_null(strstr(texts[1], option->doc));
}

static void test_documents_name_every_key(void **state)
{
	struct conf *conf = fixture_good(REST);
	char *texts[] = {printed(conf_print_sample_ini), printed(conf_print_manual)};

	(void)state;
	conf_each_option(conf, on_documented, texts);
	free(texts[0]);
	free(texts[1]);
	conf_put(&conf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_reload_keeps),
		cmocka_unit_test(test_set),
		cmocka_unit_test(test_reload_unchanged),
		cmocka_unit_test(test_sample),
		cmocka_unit_test(test_sample_all_uncommented),
		cmocka_unit_test(test_documents_name_every_key),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
