/* What must fit together, passwords, look-ups and the life of a snapshot. */
#include "fixture.h"

#include <pthread.h>

static void test_required_sections(void **state)
{
	(void)state;
	fixture_bad(JWT ROLE, "t.ini: [node NAME]: at least one is needed");
	fixture_bad(JWT NODE ROLE, "t.ini: [database NAME]: at least one is needed");
	fixture_bad(JWT NODE DATABASE, "t.ini: [role NAME]: at least one is needed");
	fixture_bad(JWT, "t.ini: [node NAME]: at least one is needed");
}

static void test_required_keys(void **state)
{
	(void)state;
	fixture_bad(REST "[node b]\n", "t.ini:8: host: required");
	fixture_bad(REST "[node b]\nport = 1\n", "t.ini:8: host: required");
	fixture_bad(REST "[node b]\nhost =\n", "t.ini:9: host: empty");
	fixture_bad(REST "[database x]\ndbname = y\n", "t.ini:8: nodes: required");
	fixture_bad("[jwt]\njwks_file =\n" NODE DATABASE ROLE,
	            "t.ini:2: jwks_file: empty, and so is jwks_url: without keys no token can be "
	            "checked");
	fixture_bad(JWT "tenant_claim =\n" NODE DATABASE ROLE, "t.ini:3: tenant_claim: empty");
	fixture_bad(JWT "role_claim = ; none\n" NODE DATABASE ROLE, "t.ini:3: role_claim: empty");
}

#define FILE_KEY "jwks_file = @/jwks.json\n"
#define URL_KEY "jwks_url = https://id/keys\n"

static void test_issuers(void **state)
{
	struct conf *conf =
		fixture_good("[jwt b]\nissuer = b\n" URL_KEY "[jwt]\n" FILE_KEY
	                     "[jwt a]\nissuer = a\nleeway = 5\n" FILE_KEY NODE DATABASE ROLE);

	(void)state;
	assert_int_equal(conf->n_jwts, 3);
	assert_string_equal(conf->jwts[0].name, "b");
	assert_string_equal(conf->jwts[0].jwks_file, "");
	assert_string_equal(conf->jwts[1].name, "");
	assert_string_equal(conf->jwts[2].issuer, "a");
	assert_true(conf->jwts[2].leeway == 5000000 && conf->jwts[1].leeway == 30000000);
	conf_put(&conf);
	/* [jwt] is there only where it is written, or where there is no other. */
	conf = fixture_good("[jwt a]\n" FILE_KEY NODE DATABASE ROLE);
	assert_int_equal(conf->n_jwts, 1);
	assert_string_equal(conf->jwts[0].name, "a");
	conf_put(&conf);
	fixture_bad("[jwt]\n" FILE_KEY "[jwt a]\nissuer = a\n" NODE DATABASE ROLE,
	            "t.ini:3: jwks_file: empty, and so is jwks_url: without keys no token can be "
	            "checked");
	fixture_bad("[jwt]\n" FILE_KEY "issuer = a\n[jwt a]\n" FILE_KEY
	            "issuer = a\n" NODE DATABASE ROLE,
	            "t.ini:6: issuer: the same as in [jwt]: which would a token belong to?");
	fixture_bad("[jwt b]\n" FILE_KEY "[jwt]\n" FILE_KEY NODE DATABASE ROLE,
	            "t.ini:3: issuer: empty, as in [jwt b]: which would a token belong to?");
	fixture_bad(JWT JWT, "t.ini:3: [jwt]: the section is there twice, first in line 1");
	fixture_bad(JWT "[jwt a]\n[jwt a]\n",
	            "t.ini:4: [jwt a]: the section is there twice, first in line 3");
	fixture_bad("[jwt]\n" FILE_KEY "jwks_ca_file = @/cert.pem\n" NODE DATABASE ROLE,
	            "t.ini:3: jwks_ca_file: for jwks_url, which is empty");
	fixture_bad("[jwt]\n" URL_KEY "jwks_min_refresh = 0\n" NODE DATABASE ROLE,
	            "t.ini:3: jwks_min_refresh: 0 would let every login with an unknown key ask "
	            "jwks_url");
}

#define OAUTH(lines) "[oauth]\n" lines REST

static void check_oauth_issuer(const char *text, const char *issuer)
{
	struct conf *conf = fixture_good(text);

	assert_string_equal(conf_oauth_issuer(conf), issuer);
	conf_put(&conf);
}

static void test_oauth(void **state)
{
	(void)state;
	check_oauth_issuer(REST, "");
	check_oauth_issuer(OAUTH("issuer = https://id/x\nscope = openid a:b\n"), "https://id/x");
	check_oauth_issuer(REST "[jwt a]\nissuer = https://a\n" FILE_KEY, "https://a");
	check_oauth_issuer(REST "[jwt a]\nissuer = a\n" FILE_KEY "[jwt b]\nissuer = "
	                        "https://b\n" FILE_KEY "[jwt c]\nissuer = https://c\n" FILE_KEY,
	                   "https://b");
	check_oauth_issuer(OAUTH("issuer = https://id\n") "[jwt a]\nissuer = https://a\n" FILE_KEY,
	                   "https://id");
	check_oauth_issuer(REST "[jwt a]\nissuer = https://a/\"\n" FILE_KEY, "");
	fixture_bad(OAUTH("issuer = http://id\n"),
	            "t.ini:2: issuer: the value is plain http, which is "
	            "for this machine only: whoever is on the way could "
	            "change what it says");
	fixture_bad(OAUTH("issuer = https://id/?a\n"),
	            "t.ini:2: issuer: an issuer's URL is plain ASCII, without ? and #");
	fixture_bad(OAUTH("issuer = https://id/\"\n"),
	            "t.ini:2: issuer: an issuer's URL is plain ASCII, without ? and #");
	fixture_bad(OAUTH("scope = a\"b\n"),
	            "t.ini:2: scope: scopes are words of ASCII without quotes and backslashes, "
	            "separated by blanks");
	fixture_bad(PGUSHER("auth_type = scram-sha-256"),
	            "t.ini:2: auth_type: \"scram-sha-256\" is none of password, oauth");
}

static void test_client_tls(void **state)
{
	struct conf *conf;

	(void)state;
	fixture_bad(PGUSHER("client_tls_sslmode = allow"),
	            "t.ini:2: client_tls_sslmode: TLS for clients needs client_tls_key_file");
	fixture_bad(PGUSHER("client_tls_cert_file = @/cert.pem\nclient_tls_sslmode = require"),
	            "t.ini:3: client_tls_sslmode: TLS for clients needs client_tls_key_file");
	fixture_bad(PGUSHER("client_tls_key_file = @/key.pem\nclient_tls_sslmode = require"),
	            "t.ini:3: client_tls_sslmode: TLS for clients needs client_tls_cert_file");
#define FILES "client_tls_key_file = @/key.pem\nclient_tls_cert_file = @/cert.pem\n"
	fixture_bad(PGUSHER(FILES "client_tls_sslmode = verify-ca"),
	            "t.ini:4: client_tls_sslmode: to verify clients, client_tls_ca_file is needed");
	fixture_bad(PGUSHER(FILES "client_tls_sslmode = verify-full"),
	            "t.ini:4: client_tls_sslmode: to verify clients, client_tls_ca_file is needed");
	fixture_bad(PGUSHER(FILES "client_tls_sslmode = allow\nclient_tls_ecdhcurve = none"),
	            "t.ini:5: client_tls_ecdhcurve: TLS 1.3 always exchanges keys so: with none, "
	            "client_tls_protocols must not have tlsv1.3");
	conf = fixture_good(PGUSHER(FILES
	                            "client_tls_sslmode = allow\nclient_tls_ecdhcurve = none\n"
	                            "client_tls_protocols = tlsv1.2"));
	assert_int_equal(conf_line(conf, "pgusher", "client_tls_ecdhcurve"), 5);
	assert_int_equal(conf_line(conf, "pgusher", "server_tls_ca_file"), 1);
	assert_int_equal(conf_line(conf, "context", "mode"), 0);
	conf_put(&conf);
#undef FILES
}

static void test_server_tls(void **state)
{
	(void)state;
	fixture_bad(PGUSHER("server_tls_sslmode = verify-ca"),
	            "t.ini:2: server_tls_sslmode: to verify servers, server_tls_ca_file is needed");
	fixture_bad(PGUSHER("server_tls_sslmode = verify-full"),
	            "t.ini:2: server_tls_sslmode: to verify servers, server_tls_ca_file is needed");
	fixture_bad(PGUSHER("server_tls_protocols = tlsv1.1,tlsv1.3"),
	            "t.ini:2: server_tls_protocols: there is a gap: libpq takes a lowest and a "
	            "highest version");
	fixture_bad(PGUSHER("server_tls_protocols = tlsv1.0,tlsv1.2,tlsv1.3"),
	            "t.ini:2: server_tls_protocols: there is a gap: libpq takes a lowest and a "
	            "highest version");
	fixture_bad(PGUSHER("server_tls_key_file = @/key.pem"),
	            "t.ini:2: server_tls_key_file: a key needs its server_tls_cert_file");
	fixture_bad(PGUSHER("server_tls_cert_file = @/cert.pem"),
	            "t.ini:2: server_tls_cert_file: a certificate needs its server_tls_key_file");
}

static void test_listen(void **state)
{
	struct conf *conf = fixture_good(PGUSHER("listen_addr =\nunix_socket_dir = @"));

	(void)state;
	assert_string_equal(conf->pgusher.unix_socket_dir, fixture_dir);
	conf_put(&conf);
	fixture_bad(PGUSHER("listen_addr ="),
	            "t.ini:2: listen_addr: empty, and so is unix_socket_dir: there is nothing to "
	            "listen on");
}

static void test_tenants(void **state)
{
	struct conf *conf = fixture_good(REST "[tenants]\nmax_client_conn = 5\n"
	                                      "[tenant 123]\nmax_client_conn = 0\n");

	(void)state;
	assert_int_equal(conf->tenants.max_client_conn, 5);
	assert_int_equal(conf_find_tenant(conf, "123")->max_client_conn, 0);
	assert_null(conf_find_tenant(conf, "12"));
	conf_put(&conf);
	fixture_bad(REST "[tenant 0123]\nmax_client_conn = 1\n",
	            "t.ini:8: [tenant 0123]: a tenant's name is a number without leading zeroes");
	fixture_bad(REST "[tenant x]\nmax_client_conn = 1\n",
	            "t.ini:8: [tenant x]: a tenant's name is a number without leading zeroes");
	fixture_bad(REST "[tenants 1]\n", "t.ini:8: [tenants 1]: this section takes no name");
}

/* What [tenant N] leaves out is as in [tenants], and that as in [pgusher]. */
static void test_tenants_inherit(void **state)
{
	struct conf *conf =
		fixture_good(REST "[tenants]\nmax_server_conn = 5\nweight = 2\n"
	                          "[tenant 123]\nweight = 3\n"
	                          "[tenant 7]\nmax_client_conn = 1\nmax_server_conn = 0\n"
	                          "query_wait_timeout = 200ms\n");
	struct conf_limits limits = conf_tenant_limits(conf, "123");

	(void)state;
	assert_int_equal(limits.max_client_conn, 0);
	assert_int_equal(limits.max_server_conn, 5);
	assert_int_equal(limits.weight, 3);
	assert_int_equal(limits.query_wait_timeout, conf->pgusher.query_wait_timeout);
	limits = conf_tenant_limits(conf, "7");
	assert_int_equal(limits.max_client_conn, 1);
	assert_int_equal(limits.max_server_conn, 0);
	assert_int_equal(limits.weight, 2);
	assert_int_equal(limits.query_wait_timeout, 200000);
	assert_int_equal(conf_tenant_limits(conf, "8").max_server_conn, 5);
	conf_put(&conf);
	fixture_bad(REST "[tenant 1]\nweight = 0\n",
	            "t.ini:9: weight: \"0\" is not a whole number from 1 to 2147483647");
}

static void test_pool_size(void **state)
{
	struct conf *conf = fixture_good(JWT NODE DATABASE "pool_size = 3\n" ROLE);

	(void)state;
	assert_int_equal(conf_pool_size(conf, &conf->databases[0]), 3);
	conf_put(&conf);
	conf = fixture_good("[pgusher]\ndefault_pool_size = 9\n" REST);
	assert_int_equal(conf_pool_size(conf, &conf->databases[0]), 9);
	conf_put(&conf);
	conf = fixture_good("[pgusher]\ndefault_pool_size = 9\n" JWT NODE DATABASE
	                    "pool_size = 0\n" ROLE);
	assert_int_equal(conf_pool_size(conf, &conf->databases[0]), 0);
	conf_put(&conf);
}

static void test_peers(void **state)
{
	struct conf *conf = fixture_good("[pgusher]\npeer_id = 127\n" REST
	                                 "[peer 2]\nhost = @\n[peer 1]\nhost = ::1\nport = 7\n");

	(void)state;
	assert_int_equal(conf->pgusher.peer_id, 127);
	assert_int_equal(conf->n_peers, 2);
	assert_string_equal(conf_find_peer(conf, 2)->host, fixture_dir);
	assert_int_equal(conf_find_peer(conf, 2)->port, 6432);
	assert_int_equal(conf_find_peer(conf, 1)->port, 7);
	assert_null(conf_find_peer(conf, 3));
	conf_put(&conf);
	fixture_bad(REST "[peer 2]\nport = 1\n", "t.ini:8: host: required");
	fixture_bad(REST "[peer 2]\nhost =\n",
	            "t.ini:9: host: neither a directory (/...) nor an address: names "
	            "are not looked up");
	fixture_bad(REST "[peer 2]\nhost = localhost\n",
	            "t.ini:9: host: neither a directory (/...) nor an address: names "
	            "are not looked up");
	fixture_bad(REST "[peer]\nhost = a\n",
	            "t.ini:8: [peer]: the section needs a name behind its kind");
	fixture_bad(REST "[peer 0]\nhost = a\n",
	            "t.ini:8: [peer 0]: a peer's name is its peer_id, a number from 1 to 127");
	fixture_bad(REST "[peer 02]\nhost = a\n",
	            "t.ini:8: [peer 02]: a peer's name is its peer_id, a number from 1 to 127");
	fixture_bad(REST "[peer 128]\nhost = a\n",
	            "t.ini:8: [peer 128]: a peer's name is its peer_id, a number from 1 to 127");
	fixture_bad(PGUSHER("peer_id = 128"),
	            "t.ini:2: peer_id: \"128\" is not a whole number from 0 to 127");
}

static void test_database_without_primary(void **state)
{
	struct conf *conf = fixture_good(REST "[node o]\nhost = o\nrole = analytics\n"
	                                      "[database both]\nnodes = o, a\n");

	(void)state;
	conf_put(&conf);
	fixture_bad(REST "[node o]\nhost = o\nrole = analytics\n[database x]\nnodes = o\n",
	            "t.ini:12: nodes: at least one node must have role = auto");
}

/* ---- passwords --------------------------------------------------------------------------- */

#define PASSWORD(file) REST "password_file = @/" file "\n"

static void password_is(const char *content, const char *password)
{
	struct conf *conf;

	fixture_write("p", content, 0640);
	conf = fixture_good(PASSWORD("p"));
	assert_string_equal(conf->roles[0].password, password);
	conf_put(&conf);
}

static void password_bad(const char *content, const char *line)
{
	fixture_write("p", content, 0600);
	fixture_bad(PASSWORD("p"), line);
}

static void test_passwords(void **state)
{
	static char big[1200];
	struct conf *conf = fixture_good(REST);

	(void)state;
	assert_string_equal(conf->roles[0].password, "");
	assert_string_equal(conf->roles[0].password_file, "");
	conf_put(&conf);
	password_is("s3cret", "s3cret");
	password_is("s3cret\n", "s3cret");
	password_is("s3cret\r\n", "s3cret");
	password_is(" two words \n", " two words ");
	password_bad("", "t.ini:8: password_file: cannot use \"@/p\": the file is empty");
	password_bad("\n", "t.ini:8: password_file: cannot use \"@/p\": the file is empty");
	password_bad("a\nb\n", "t.ini:8: password_file: cannot use \"@/p\": the file has more than "
	                       "one line, or a zero byte");
	memset(big, 'x', 1024);
	password_is(big, big);
	big[1024] = 'x';
	password_bad(big, "t.ini:8: password_file: cannot use \"@/p\": too large");
}

static void test_password_file_mode(void **state)
{
	static const mode_t bad[] = {0604, 0602, 0601, 0644, 0666};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		fixture_write("p", "s3cret\n", bad[i]);
		fixture_bad(PASSWORD("p"), "t.ini:8: password_file: cannot use \"@/p\": open to "
		                           "other users (chmod o= it)");
	}
	fixture_bad(PASSWORD("none"),
	            "t.ini:8: password_file: cannot read \"@/none\": No such file or directory");
}

/* ---- look-ups ---------------------------------------------------------------------------- */

static void test_databases(void **state)
{
	struct conf *conf = fixture_good(REST "[database *]\nnodes = a\n"
	                                      "[database e]\ndbname = eav\nnodes = a\n");
	const struct conf_database *db = conf_find_database(conf, "d");

	(void)state;
	assert_ptr_equal(db, &conf->databases[0]);
	assert_string_equal(db->dbname, "d");
	assert_string_equal(conf_database_dbname(db, "d"), "d");
	db = conf_find_database(conf, "e");
	assert_ptr_equal(db, &conf->databases[2]);
	assert_string_equal(conf_database_dbname(db, "e"), "eav");
	db = conf_find_database(conf, "eav");
	assert_ptr_equal(db, &conf->databases[1]);
	assert_string_equal(db->dbname, "");
	assert_string_equal(conf_database_dbname(db, "eav"), "eav");
	conf_put(&conf);

	conf = fixture_good(JWT NODE ROLE "[database *]\nnodes = a\ndbname = one\n");
	assert_string_equal(conf_database_dbname(conf_find_database(conf, "x"), "x"), "one");
	conf_put(&conf);

	conf = fixture_good(REST);
	assert_null(conf_find_database(conf, "D"));
	assert_null(conf_find_database(conf, ""));
	assert_null(conf_find_database(conf, "*"));
	conf_put(&conf);
}

static void test_roles_and_nodes(void **state)
{
	struct conf *conf = fixture_good(REST "[node b]\nhost = h\n"
	                                      "[role Probe 1]\ntenant = none\n");

	(void)state;
	assert_ptr_equal(conf_find_role(conf, "app"), &conf->roles[0]);
	assert_ptr_equal(conf_find_role(conf, "Probe 1"), &conf->roles[1]);
	assert_int_equal(conf->roles[0].tenant, CONF_TENANT_REQUIRED);
	assert_int_equal(conf->roles[1].tenant, CONF_TENANT_NONE);
	assert_null(conf_find_role(conf, "probe 1"));
	assert_null(conf_find_role(conf, ""));
	assert_ptr_equal(conf_find_node(conf, "b"), &conf->nodes[1]);
	assert_null(conf_find_node(conf, "c"));
	conf_put(&conf);
}

/* ---- life --------------------------------------------------------------------------------- */

static void *get_and_put(void *arg)
{
	for (int i = 0; i < 20000; i++) {
		struct conf *conf = conf_get(arg);

		if (conf->pgusher.listen_port != 6432)
			return arg;
		conf_put(&conf);
	}
	return NULL;
}

static void test_references(void **state)
{
	struct conf *conf = fixture_good(REST), *second = conf_get(conf);
	pthread_t threads[3];

	(void)state;
	conf_put(&conf);
	assert_null(conf);
	for (size_t i = 0; i < COUNT_OF(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, get_and_put, second), 0);
	for (size_t i = 0; i < COUNT_OF(threads); i++) {
		void *failed;

		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
	assert_int_equal(atomic_load(&second->refs), 1);
	conf_put(&second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_required_sections),
		cmocka_unit_test(test_required_keys),
		cmocka_unit_test(test_issuers),
		cmocka_unit_test(test_oauth),
		cmocka_unit_test(test_client_tls),
		cmocka_unit_test(test_server_tls),
		cmocka_unit_test(test_listen),
		cmocka_unit_test(test_tenants),
		cmocka_unit_test(test_tenants_inherit),
		cmocka_unit_test(test_pool_size),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_database_without_primary),
		cmocka_unit_test(test_passwords),
		cmocka_unit_test(test_password_file_mode),
		cmocka_unit_test(test_databases),
		cmocka_unit_test(test_roles_and_nodes),
		cmocka_unit_test(test_references),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
