/* Every value type: what it takes, and the exact line with which it refuses. */
#include "fixture.h"

#include <limits.h>
#include <sched.h>

#include "base/clock.h"

/* Parses a [pgusher] key and gives the whole struct. */
static struct conf_pgusher pgusher_of(const char *line)
{
	char text[1024];
	struct conf *conf;
	struct conf_pgusher p;

	snprintf(text, sizeof(text), "[pgusher]\n%s\n%s", line, REST);
	conf = fixture_good(text);
	p = conf->pgusher;
	conf_put(&conf);
	return p; /* its strings are gone, its numbers are what these tests want */
}

static void test_numbers(void **state)
{
	(void)state;
	assert_int_equal(pgusher_of("max_client_conn = 1").max_client_conn, 1);
	assert_int_equal(pgusher_of("max_client_conn = 2147483647").max_client_conn, INT_MAX);
	assert_int_equal(pgusher_of("max_client_conn = 007").max_client_conn, 7);
	assert_int_equal(pgusher_of("max_prepared_statements = 0").max_prepared_statements, 0);
	fixture_bad(PGUSHER("max_client_conn = 0"),
	            "t.ini:2: max_client_conn: \"0\" is not a whole number from 1 to 2147483647");
	fixture_bad(PGUSHER("max_client_conn = 2147483648"),
	            "t.ini:2: max_client_conn: \"2147483648\" is not a whole number from 1 to "
	            "2147483647");
	fixture_bad(PGUSHER("max_client_conn = 99999999999999999999999999"),
	            "t.ini:2: max_client_conn: \"99999999999999999999999999\" is not a whole "
	            "number from 1 to 2147483647");
	fixture_bad(PGUSHER("max_client_conn = -1"),
	            "t.ini:2: max_client_conn: \"-1\" is not a whole number from 1 to 2147483647");
	fixture_bad(PGUSHER("max_server_conn = 0x10"),
	            "t.ini:2: max_server_conn: \"0x10\" is not a whole number from 1 to "
	            "2147483647");
	fixture_bad(PGUSHER("max_server_conn = 20 # twenty"),
	            "t.ini:2: max_server_conn: \"20 # twenty\" is not a whole number from 1 to "
	            "2147483647");
	fixture_bad(PGUSHER("max_prepared_statements ="),
	            "t.ini:2: max_prepared_statements: \"\" is not a whole number from 0 to "
	            "2147483647");
	fixture_bad(REST "[tenant 1]\nweight = 0\n",
	            "t.ini:9: weight: \"0\" is not a whole number from 1 to 2147483647");
}

static void test_ports(void **state)
{
	(void)state;
	assert_int_equal(pgusher_of("listen_port = 1").listen_port, 1);
	assert_int_equal(pgusher_of("listen_port = 65535").listen_port, 65535);
	fixture_bad(PGUSHER("listen_port = 0"),
	            "t.ini:2: listen_port: \"0\" is not a whole number from 1 to 65535");
	fixture_bad(PGUSHER("listen_port = 65536"),
	            "t.ini:2: listen_port: \"65536\" is not a whole number from 1 to 65535");
	fixture_bad(PGUSHER("listen_port = postgres"),
	            "t.ini:2: listen_port: \"postgres\" is not a whole number from 1 to 65535");
	fixture_bad(REST "[node b]\nhost = h\nport = 5432x\n",
	            "t.ini:10: port: \"5432x\" is not a whole number from 1 to 65535");
}

static void test_workers(void **state)
{
	cpu_set_t set;

	(void)state;
	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	assert_int_equal(pgusher_of("workers = auto").workers, CPU_COUNT(&set));
	assert_int_equal(pgusher_of("workers = 3").workers, 3);
	fixture_bad(PGUSHER("workers = 0"),
	            "t.ini:2: workers: \"0\" is not a whole number from 1 to 256");
	fixture_bad(PGUSHER("workers = 257"),
	            "t.ini:2: workers: \"257\" is not a whole number from 1 to 256");
	fixture_bad(PGUSHER("workers = all"),
	            "t.ini:2: workers: \"all\" is not a whole number from 1 to 256");
}

static const struct {
	const char *text;
	int64_t us;
} good_durations[] = {
	{"0", 0},
	{"120", 120 * US_PER_S},
	{"15.0", 15 * US_PER_S},
	{"1.5", 1500 * US_PER_MS},
	{"0.000001", 1},
	{"0.0000010000", 1},
	{"7us", 7},
	{"250ms", 250 * US_PER_MS},
	{"0.5ms", 500},
	{"30s", 30 * US_PER_S},
	{"5 min", 300 * US_PER_S},
	{"0.5h", 1800 * US_PER_S},
	{"8760h", INT64_C(8760) * 3600 * US_PER_S},
	{"31536000", INT64_C(31536000) * US_PER_S},
};

static const char *const bad_durations[] = {
	"",
	"-1",
	"+1",
	"s",
	"1.",
	".5",
	"1d",
	"1m",
	"1 5",
	"1.0000001",
	"0.5us",
	"1e3",
	"8761h",
	"525601min",
	"31536001",
	"8760.0001h",
	"31536000.1",
	"1s1",
	"1.5.5",
	"inf",
	"0x1",
	"9223372036854775807",
	"99999999999999999999999999h",
	"5124095577h", /* 2^64 microseconds and a little */
};

static void test_durations(void **state)
{
	char text[1024];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good_durations); i++) {
		snprintf(text, sizeof(text), "query_wait_timeout = %s", good_durations[i].text);
		assert_true(pgusher_of(text).query_wait_timeout == good_durations[i].us);
	}
	for (size_t i = 0; i < COUNT_OF(bad_durations); i++) {
		char line[256];

		snprintf(text, sizeof(text), "[pgusher]\nserver_lifetime = %s\n" REST,
		         bad_durations[i]);
		snprintf(line, sizeof(line),
		         "t.ini:2: server_lifetime: \"%s\" is not a time from 0 to 365 days: a "
		         "number of seconds, or one with us, ms, s, min or h",
		         bad_durations[i]);
		fixture_bad(text, line);
	}
}

static void test_booleans(void **state)
{
	static const char *const yes[] = {"yes", "on", "true", "1", "YES", "True"};
	static const char *const no[] = {"no", "off", "false", "0", "No"};
	char text[64];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		snprintf(text, sizeof(text), "deferred_begin = %s", yes[i]);
		assert_true(pgusher_of(text).deferred_begin);
	}
	for (size_t i = 0; i < COUNT_OF(no); i++) {
		snprintf(text, sizeof(text), "deferred_begin = %s", no[i]);
		assert_false(pgusher_of(text).deferred_begin);
	}
	fixture_bad(PGUSHER("deferred_begin = maybe"),
	            "t.ini:2: deferred_begin: \"maybe\" is none of yes, no, on, off, true, false, "
	            "1, 0");
	fixture_bad(PGUSHER("log_connections ="),
	            "t.ini:2: log_connections: \"\" is none of yes, no, on, off, true, false, "
	            "1, 0");
}

static void test_modes(void **state)
{
	(void)state;
	assert_int_equal(pgusher_of("pool_mode = transaction").pool_mode, CONF_POOL_TRANSACTION);
	assert_int_equal(pgusher_of("pool_mode = session").pool_mode, CONF_POOL_SESSION);
	fixture_bad(PGUSHER("pool_mode = statement"),
	            "t.ini:2: pool_mode: \"statement\" is not supported");
	fixture_bad(PGUSHER("pool_mode = pooled"),
	            "t.ini:2: pool_mode: \"pooled\" is none of transaction, session");
	fixture_bad(REST "[context]\nmode = signed\n",
	            "t.ini:9: mode: signed needs proof_key_file");
	fixture_bad(REST "[context]\nmode = signed\nproof_key_file = @/none\n",
	            "t.ini:10: proof_key_file: cannot read \"@/none\": No such file or directory");
	fixture_bad(
		REST "[context]\nproof_setting = APP.current_tenant_id\n",
		"t.ini:9: proof_setting: the same as setting: the tenant and its proof need one "
		"each");
	fixture_bad(REST "[context]\nmode = crypted\n",
	            "t.ini:9: mode: \"crypted\" is none of plain, signed");
	fixture_bad(NODE "role = primary\n" JWT DATABASE ROLE,
	            "t.ini:3: role: \"primary\" is none of auto, analytics");
	fixture_bad(JWT NODE DATABASE "consistency = serializable\n" ROLE,
	            "t.ini:7: consistency: \"serializable\" is none of strong, bounded, eventual, "
	            "analytics");
	fixture_bad(REST "tenant = optional\n",
	            "t.ini:8: tenant: \"optional\" is none of required, none");
}

#define CLIENT_FILES "\nclient_tls_key_file = @/key.pem\nclient_tls_cert_file = @/cert.pem"

static void test_tls_modes(void **state)
{
	static const char *const words[] = {"disable", "allow",     "prefer",
	                                    "require", "verify-ca", "verify-full"};
	char text[128];

	(void)state;
	assert_int_equal(pgusher_of("client_tls_sslmode = disable").client_tls_sslmode,
	                 CONF_TLS_CLIENT_DISABLE);
	assert_int_equal(pgusher_of("client_tls_sslmode = allow" CLIENT_FILES).client_tls_sslmode,
	                 CONF_TLS_CLIENT_ALLOW);
	assert_int_equal(pgusher_of("client_tls_sslmode = prefer" CLIENT_FILES).client_tls_sslmode,
	                 CONF_TLS_CLIENT_ALLOW);
	assert_int_equal(pgusher_of("client_tls_sslmode = Require" CLIENT_FILES).client_tls_sslmode,
	                 CONF_TLS_CLIENT_REQUIRE);
	fixture_bad(PGUSHER("client_tls_sslmode = on"),
	            "t.ini:2: client_tls_sslmode: \"on\" is none of disable, allow, prefer, "
	            "require, verify-ca, verify-full");
	assert_int_equal(pgusher_of("client_tls_ca_file = @/cert.pem\nclient_tls_sslmode = "
	                            "verify-ca" CLIENT_FILES)
	                         .client_tls_sslmode,
	                 CONF_TLS_CLIENT_VERIFY_CA);
	assert_int_equal(pgusher_of("client_tls_ca_file = @/cert.pem\nclient_tls_sslmode = "
	                            "verify-full" CLIENT_FILES)
	                         .client_tls_sslmode,
	                 CONF_TLS_CLIENT_VERIFY_FULL);
	for (size_t i = 0; i < COUNT_OF(words); i++) {
		enum conf_tls_server_mode mode;

		snprintf(text, sizeof(text),
		         "server_tls_sslmode = %s\nserver_tls_ca_file = "
		         "@/cert.pem",
		         words[i]);
		mode = pgusher_of(text).server_tls_sslmode;
		assert_int_equal(mode, (int)(CONF_TLS_SERVER_DISABLE + i));
		assert_string_equal(conf_tls_server_mode_name(mode), words[i]);
	}
	fixture_bad(PGUSHER("server_tls_sslmode = verify"),
	            "t.ini:2: server_tls_sslmode: \"verify\" is none of disable, allow, prefer, "
	            "require, verify-ca, verify-full");
}

static void test_tls_protocols(void **state)
{
	static const struct {
		const char *text;
		uint32_t bits;
	} lists[] = {
		{"secure", CONF_TLS_SECURE},
		{"Default", CONF_TLS_SECURE},
		{"all", CONF_TLS_ALL},
		{"legacy", CONF_TLS_ALL},
		{"tlsv1.3", CONF_TLS_1_3},
		{"TLSv1.2", CONF_TLS_1_2},
		{"tlsv1.1, tlsv1.2", CONF_TLS_1_1 | CONF_TLS_1_2},
		{"tlsv1.0:tlsv1.3", CONF_TLS_1_0 | CONF_TLS_1_3},
		{"all,!tlsv1.0", CONF_TLS_1_1 | CONF_TLS_SECURE},
	};
	char text[128];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lists); i++) {
		snprintf(text, sizeof(text), "client_tls_protocols = %s", lists[i].text);
		assert_int_equal(pgusher_of(text).client_tls_protocols, lists[i].bits);
	}
	fixture_bad(PGUSHER("client_tls_protocols = tlsv1.2, sslv3"),
	            "t.ini:2: client_tls_protocols: \"sslv3\" is none of secure, all, legacy, "
	            "tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3");
	fixture_bad(PGUSHER("client_tls_protocols ="),
	            "t.ini:2: client_tls_protocols: no TLS version is left");
	fixture_bad(PGUSHER("server_tls_protocols = secure,!all"),
	            "t.ini:2: server_tls_protocols: no TLS version is left");
}

static void test_tls_ciphers(void **state)
{
	(void)state;
	assert_null(conf_tls_cipher_list("default"));
	assert_null(conf_tls_cipher_list("fast"));
	assert_null(conf_tls_cipher_list(""));
	assert_string_equal(conf_tls_cipher_list("All"), "ALL:!aNULL:!eNULL");
	(void)pgusher_of("client_tls_ciphers = ECDHE+AESGCM:!aNULL");
	fixture_bad(PGUSHER("client_tls_ciphers = NO-SUCH-CIPHER"),
	            "t.ini:2: client_tls_ciphers: OpenSSL finds no cipher of TLS 1.2 or below in "
	            "\"NO-SUCH-CIPHER\"");
	/* OpenSSL itself passes over the one that it does not know. */
	fixture_bad(PGUSHER("server_tls13_ciphers = TLS_AES_128_GCM_SHA256:TLS_NO_SUCH"),
	            "t.ini:2: server_tls13_ciphers: OpenSSL has no TLS 1.3 suite "
	            "\"TLS_NO_SUCH\"");
	fixture_bad(PGUSHER("client_tls13_ciphers = ECDHE-RSA-AES128-GCM-SHA256"),
	            "t.ini:2: client_tls13_ciphers: OpenSSL has no TLS 1.3 suite "
	            "\"ECDHE-RSA-AES128-GCM-SHA256\"");
	(void)pgusher_of("client_tls_ecdhcurve = X25519:prime256v1");
	fixture_bad(PGUSHER("client_tls_ecdhcurve = X25519:curve9"),
	            "t.ini:2: client_tls_ecdhcurve: OpenSSL has no group \"curve9\"");
	fixture_bad(PGUSHER("client_tls_dheparams = 2048"),
	            "t.ini:2: client_tls_dheparams: \"2048\" is none of auto, none, legacy");
}

static uint32_t algorithms_of(const char *list)
{
	char text[512];
	struct conf *conf;
	uint32_t algs;

	snprintf(text, sizeof(text), JWT "algorithms = %s\n" NODE DATABASE ROLE, list);
	conf = fixture_good(text);
	algs = conf->jwts[0].algorithms;
	conf_put(&conf);
	return algs;
}

static void algorithms_bad(const char *list, const char *what)
{
	char text[512], line[256];

	snprintf(text, sizeof(text), JWT "algorithms = %s\n" NODE DATABASE ROLE, list);
	snprintf(line, sizeof(line), "t.ini:3: algorithms: %s", what);
	fixture_bad(text, line);
}

static void test_algorithms(void **state)
{
	(void)state;
	assert_int_equal(algorithms_of("RS256"), CONF_ALG_RS256);
	assert_int_equal(algorithms_of("HS256,ES256"), CONF_ALG_HS256 | CONF_ALG_ES256);
	assert_int_equal(algorithms_of(" RS256 ,\tES256 , HS256"),
	                 CONF_ALG_HS256 | CONF_ALG_ES256 | CONF_ALG_RS256);
	assert_int_equal(algorithms_of("PS256, EdDSA"), CONF_ALG_PS256 | CONF_ALG_EDDSA);
	algorithms_bad("none", "\"none\" is never allowed: such a token is not signed");
	algorithms_bad("RS256, none", "\"none\" is never allowed: such a token is not signed");
	algorithms_bad("", "\"\" is none of HS256, RS256, ES256, PS256, EdDSA");
	algorithms_bad("RS256,", "\"\" is none of HS256, RS256, ES256, PS256, EdDSA");
	algorithms_bad("rs256", "\"rs256\" is none of HS256, RS256, ES256, PS256, EdDSA");
	algorithms_bad("RS512", "\"RS512\" is none of HS256, RS256, ES256, PS256, EdDSA");
	algorithms_bad("NONE", "\"NONE\" is none of HS256, RS256, ES256, PS256, EdDSA");
	algorithms_bad("RS2566", "\"RS2566\" is none of HS256, RS256, ES256, PS256, EdDSA");
	algorithms_bad("RS256 ES256",
	               "\"RS256 ES256\" is none of HS256, RS256, ES256, PS256, EdDSA");
}

static void setting_bad(const char *name)
{
	char text[512], line[512];

	snprintf(text, sizeof(text), "[context]\nsetting = %s\n" REST, name);
	snprintf(line, sizeof(line),
	         "t.ini:2: setting: \"%.64s\" is not two names joined by a dot (as "
	         "app.current_tenant_id), of 63 characters at most",
	         name);
	fixture_bad(text, line);
}

#define B20 "bbbbbbbbbbbbbbbbbbbb"

/* The name goes into SQL text that PgUsher makes, so only what needs no quoting is taken. */
static void test_settings(void **state)
{
	static const char *const bad[] = {"",      "app",  "app.",    ".app",    "a.b.c",
	                                  "a b.c", "1a.b", "a.1b",    "a.b'",    "a.b;c",
	                                  "a-b.c", "a..b", "\"a\".b", "a.b\"--", "\xc3\xa4.b"};
	struct conf *conf = fixture_good("[context]\nsetting = My_app1._tenant2\n" REST);

	(void)state;
	assert_string_equal(conf->context.setting, "My_app1._tenant2");
	conf_put(&conf);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		setting_bad(bad[i]);
	setting_bad("a." B20 B20 B20 "bb"); /* 64 bytes */
	conf = fixture_good("[context]\nsetting = a." B20 B20 B20 "b\n" REST);
	assert_int_equal(strlen(conf->context.setting), 63);
	conf_put(&conf);
}

static void url_good(const char *url)
{
	char text[512];
	struct conf *conf;

	snprintf(text, sizeof(text), "[jwt]\njwks_url = %s\n" NODE DATABASE ROLE, url);
	conf = fixture_good(text);
	assert_string_equal(conf->jwts[0].jwks_url, url);
	assert_string_equal(conf->jwts[0].jwks_file, "");
	conf_put(&conf);
}

static void url_bad(const char *url, const char *what)
{
	char text[512], line[512];

	snprintf(text, sizeof(text), "[jwt]\njwks_url = %s\n" NODE DATABASE ROLE, url);
	snprintf(line, sizeof(line), "t.ini:2: jwks_url: the value %s", what);
	fixture_bad(text, line);
}

/* As conf sees it: the fixture would replace the '@'. */
static void url_has_user(const char *url)
{
	struct conf_error err;
	char text[256];

	snprintf(text, sizeof(text), "[jwt]\njwks_url = %s\n", url);
	assert_null(conf_parse(text, strlen(text), "t.ini", &err));
	assert_string_equal(err.text, "t.ini:2: jwks_url: the value holds a user name: the log and "
	                              "SHOW CONFIG would tell the password");
}

static void test_url(void **state)
{
	static const char plain[] = "is plain http, which is for this machine only: whoever is on "
				    "the way could change what it says";

	(void)state;
	url_good("https://id.example.com/jwks.json");
	url_good("HTTPS://id.example.com:8443/a?b=c");
	url_good("http://127.0.0.1:80/k");
	url_good("http://127.9.9.9/k");
	url_good("http://localhost/k");
	url_good("http://[::1]:8080/k");
	url_bad("http://id.example.com/k", plain);
	url_bad("http://10.0.0.1/k", plain);
	url_bad("http://127.0.0.1.example.com/k", plain);
	url_bad("http://localhost.example.com/k", plain);
	url_bad("http://[::2]/k", plain);
	url_bad("http://0.0.0.0/k", plain);
	url_has_user("http://127.0.0.1@id.example.com/k");
	url_has_user("https://me:secret@id.example.com/k");
	url_bad("ftp://id.example.com/k", "is not an https URL");
	url_bad("file:///etc/passwd", "is not a URL");
	url_bad("id.example.com/k", "is not a URL");
	url_bad("/etc/jwks.json", "is not a URL");
	url_bad("https://", "is not a URL");
	url_bad("https://a b/", "is not a URL");
}

static void test_files(void **state)
{
	char path[128];

	(void)state;
	fixture_bad("[jwt]\njwks_file = @/none\n" NODE DATABASE ROLE,
	            "t.ini:2: jwks_file: cannot read \"@/none\": No such file or directory");
	fixture_bad(PGUSHER("server_tls_ca_file = @"),
	            "t.ini:2: server_tls_ca_file: cannot read \"@\": not a regular file");
	/* Opening a pipe must not wait for its writer. */
	snprintf(path, sizeof(path), "%s/pipe", fixture_dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	fixture_bad(PGUSHER("client_tls_key_file = @/pipe"),
	            "t.ini:2: client_tls_key_file: cannot read \"@/pipe\": not a regular file");
	fixture_bad(PGUSHER("unix_socket_dir = @/key.pem"),
	            "t.ini:2: unix_socket_dir: cannot use \"@/key.pem\": not a directory");
	fixture_bad(PGUSHER("unix_socket_dir = @/none"),
	            "t.ini:2: unix_socket_dir: cannot use \"@/none\": No such file or directory");
	/* A default that is not there points at nothing, so it has no line. */
	if (access("/etc/pgusher/jwks.json", F_OK) != 0)
		fixture_bad(NODE DATABASE ROLE,
		            "t.ini: jwks_file: cannot read \"/etc/pgusher/jwks.json\": No such "
		            "file or directory");
}

/* root reads everything, so this one asks as nobody. */
static void test_unreadable_file(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(fixture_dir, 0755), 0);
	fixture_write("locked.pem", "", 0);
	assert_int_equal(seteuid(65534), 0);
	fixture_bad(PGUSHER("server_tls_ca_file = @/locked.pem"),
	            "t.ini:2: server_tls_ca_file: cannot read \"@/locked.pem\": Permission denied");
	assert_int_equal(seteuid(0), 0);
}

static void test_long_socket_dir(void **state)
{
	char dir[256], text[1024], line[512];

	(void)state;
	snprintf(dir, sizeof(dir), "%s/%070d", fixture_dir, 0);
	assert_int_equal(mkdir(dir, 0755), 0);
	snprintf(text, sizeof(text), "[pgusher]\nunix_socket_dir = %s\n" REST, dir);
	assert_true(strlen(dir) > 88);
	snprintf(line, sizeof(line),
	         "t.ini:2: unix_socket_dir: cannot use \"%s\": too long for a unix socket", dir);
	fixture_bad(text, line);
}

static void test_node_lists(void **state)
{
	struct conf *conf = fixture_good(JWT "[database d]\nnodes = c ,a\n" ROLE NODE
	                                     "[node b]\nhost = b\n[node c]\nhost = c\n");

	(void)state;
	/* Nodes may come after the databases that name them; their order is the list's. */
	assert_int_equal(conf->databases[0].n_nodes, 2);
	assert_ptr_equal(conf->databases[0].nodes[0], &conf->nodes[2]);
	assert_ptr_equal(conf->databases[0].nodes[1], &conf->nodes[0]);
	conf_put(&conf);
	fixture_bad(JWT NODE ROLE "[database d]\nnodes = a, x\n",
	            "t.ini:7: nodes: there is no section [node x]");
	fixture_bad(JWT NODE ROLE "[database d]\nnodes = a, a\n",
	            "t.ini:7: nodes: node \"a\" is named twice");
	fixture_bad(JWT NODE ROLE "[database d]\nnodes = a,,\n",
	            "t.ini:7: nodes: a node's name is missing");
	fixture_bad(JWT NODE ROLE "[database d]\nnodes =\n",
	            "t.ini:7: nodes: a node's name is missing");
	fixture_bad(JWT ROLE "[database d]\nnodes = a\n",
	            "t.ini:5: nodes: there is no section [node a]");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_workers),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_booleans),
		cmocka_unit_test(test_modes),
		cmocka_unit_test(test_tls_modes),
		cmocka_unit_test(test_tls_protocols),
		cmocka_unit_test(test_tls_ciphers),
		cmocka_unit_test(test_algorithms),
		cmocka_unit_test(test_settings),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_unreadable_file),
		cmocka_unit_test(test_long_socket_dir),
		cmocka_unit_test(test_url),
		cmocka_unit_test(test_node_lists),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
