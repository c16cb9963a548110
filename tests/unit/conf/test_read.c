/* The ini file's form: lines, comments, sections, keys, and what inih would let pass. */
#include "fixture.h"

static void test_comments_and_blanks(void **state)
{
	struct conf *conf = fixture_good("\xef\xbb\xbf# comment\r\n"
	                                 "\t; listen_port = 1\r\n"
	                                 "  [ pgusher ]  ; comment\r\n"
	                                 "\r\n"
	                                 "listen_port\t=  7000   ; comment = 1\r\n"
	                                 "   max_client_conn=10\t;comment\r\n"
	                                 "max_server_conn : 11\r\n"
	                                 "logfile =   ; none\r\n" REST "\n\n");

	(void)state;
	assert_int_equal(conf->pgusher.listen_port, 7000);
	/* Indented, it would be the rest of listen_port's value to inih. */
	assert_int_equal(conf->pgusher.max_client_conn, 10);
	assert_int_equal(conf->pgusher.max_server_conn, 11);
	assert_string_equal(conf->pgusher.logfile, "");
	conf_put(&conf);
	conf = fixture_good("\xef\xbb\xbf[pgusher]\nlisten_port = 7000\n" REST);
	assert_int_equal(conf->pgusher.listen_port, 7000);
	conf_put(&conf);
	conf = fixture_good(JWT "issuer = a;b # c = d  ; comment\n" NODE DATABASE "[role app]");
	assert_string_equal(conf->jwts[0].issuer, "a;b # c = d");
	conf_put(&conf);
}

static void test_bad_lines(void **state)
{
	(void)state;
	fixture_bad(REST "[pgusher]\nlisten_port\n",
	            "t.ini:9: neither a [section] nor key = value");
	fixture_bad("hello\n" REST, "t.ini:1: neither a [section] nor key = value");
	/* The first error is told, whoever found it. */
	fixture_bad("[pgusher]\nlisten_port\nnonsense = 1\n",
	            "t.ini:2: neither a [section] nor key = value");
	fixture_bad("[pgusher]\nnonsense = 1\nlisten_port\n", "t.ini:2: nonsense: unknown key");
	fixture_bad("listen_port = 1\n" REST,
	            "t.ini:1: listen_port: the key is not in any [section]");
	fixture_bad(PGUSHER("listen_addr = a\x01"
	                    "b"),
	            "t.ini:2: there is a control character in the line");
	fixture_bad(PGUSHER("= 1"), "t.ini:2: unknown key");
}

static void test_zero_byte(void **state)
{
	static const char text[] = "[pgusher]\nlisten_addr = a\0b\n";
	struct conf_error err;

	(void)state;
	assert_null(conf_parse(text, sizeof(text) - 1, "t.ini", &err));
	assert_string_equal(err.text, "t.ini:2: there is a control character in the line");
}

/* inih cuts what is longer than its buffer of 200 bytes. */
static void test_long_lines(void **state)
{
	struct conf_error err;
	char text[2048];
	struct conf *conf;

	(void)state;
	snprintf(text, sizeof(text), "; %0400d\n" JWT "issuer = %0188d\n" NODE DATABASE ROLE, 0, 0);
	conf = fixture_good(text);
	assert_int_equal(strlen(conf->jwts[0].issuer), 188);
	conf_put(&conf);
	snprintf(text, sizeof(text), JWT "issuer = %0189d\n" NODE DATABASE ROLE, 0);
	assert_null(fixture_parse(text, &err));
	assert_string_equal(err.text, "t.ini:3: the line is longer than 197 bytes");
	assert_int_equal(err.line, 3);
	snprintf(text, sizeof(text), JWT "issuer = a ; %0189d\n" NODE DATABASE ROLE, 0);
	assert_null(fixture_parse(text, &err));
	assert_string_equal(err.text, "t.ini:3: the line is longer than 197 bytes");
}

static void test_sections(void **state)
{
	(void)state;
	fixture_bad("[pgusher\n" REST, "t.ini:1: ']' is missing");
	fixture_bad("[pgusher] listen_port = 1\n" REST, "t.ini:1: there is more behind ']'");
	fixture_bad("[]\n" REST, "t.ini:1: []: unknown section");
	fixture_bad("[pgusher main]\n" REST, "t.ini:1: [pgusher main]: this section takes no name");
	fixture_bad(REST "[node]\nhost = h\n",
	            "t.ini:8: [node]: the section needs a name behind its kind");
	fixture_bad(REST "[node b,c]\nhost = h\n",
	            "t.ini:8: [node b,c]: a node's name has letters, digits, '_', '.' and '-' "
	            "only");
	/* An empty section is one too: inih says nothing of it. */
	fixture_bad("[metrics]\n" REST, "t.ini:1: [metrics]: unknown section");
	fixture_bad("[pgushr]\n" REST,
	            "t.ini:1: [pgushr]: unknown section (did you mean [pgusher]?)");
	fixture_bad("[nodes a]\n" REST,
	            "t.ini:1: [nodes a]: unknown section (did you mean [node NAME]?)");
	fixture_bad("[databases]\n" REST,
	            "t.ini:1: [databases]: unknown section (did you mean [database NAME]?)");
	fixture_bad("[jwtjwtjwtjwtjwtjwtjwtjwtjwtjwtjwtjwtjwt]\n" REST,
	            "t.ini:1: [jwtjwtjwtjwtjwtjwtjwtjwtjwtjwtjwtjwtjwt]: unknown section");
}

static void test_duplicates(void **state)
{
	struct conf *conf;

	(void)state;
	fixture_bad(PGUSHER("listen_port = 1\nworkers = 1\nlisten_port = 1"),
	            "t.ini:4: listen_port: the key is set twice, first in line 2");
	fixture_bad("[pgusher]\n[pgusher]\n" REST,
	            "t.ini:2: [pgusher]: the section is there twice, first in line 1");
	fixture_bad(REST "[node a]\nhost = other\n",
	            "t.ini:8: [node a]: the section is there twice, first in line 3");
	fixture_bad(REST "[ role  app ]\n",
	            "t.ini:8: [role  app]: the section is there twice, first in line 7");
	/* The same key, or name, elsewhere is another one. */
	conf = fixture_good(REST "[node app]\nhost = h\n[role a]\ntenant = none\n[role d]\n");
	assert_int_equal(conf->n_nodes, 2);
	assert_int_equal(conf->n_roles, 3);
	conf_put(&conf);
}

static void test_unknown_keys(void **state)
{
	(void)state;
	fixture_bad(PGUSHER("listen_prot = 1"),
	            "t.ini:2: listen_prot: unknown key (did you mean listen_port?)");
	fixture_bad(PGUSHER("maxclientconn = 1"),
	            "t.ini:2: maxclientconn: unknown key (did you mean max_client_conn?)");
	fixture_bad(PGUSHER("issuer = x"),
	            "t.ini:2: issuer: unknown key (did you mean issuer of section [jwt]?)");
	fixture_bad(REST "pasword_file = x\n",
	            "t.ini:8: pasword_file: unknown key (did you mean password_file?)");
	fixture_bad(JWT "nodes = a\n" NODE DATABASE ROLE,
	            "t.ini:3: nodes: unknown key (did you mean nodes of section [database NAME]?)");
	/* As close to [context]'s mode. */
	fixture_bad(REST "[node b]\nmole = auto\n",
	            "t.ini:9: mole: unknown key (did you mean role?)");
	fixture_bad(PGUSHER("auth_file = users.txt"), "t.ini:2: auth_file: unknown key");
	fixture_bad(PGUSHER("LISTEN_PORT = 1"),
	            "t.ini:2: LISTEN_PORT: unknown key (did you mean listen_port?)");
	fixture_bad(REST "password = hunter2\n", "t.ini:8: password: unknown key");
	fixture_bad(PGUSHER("averyveryveryveryveryverylongkeythatnobodymeant = 1"),
	            "t.ini:2: averyveryveryveryveryverylongkeythatnobodymeant: unknown key");
}

/* Names longer than inih's 50 bytes for a section, up to PostgreSQL's 63. */
static void test_long_names(void **state)
{
	struct conf_error err;
	struct conf *conf;
	char text[1024], name[65];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[63] = '\0';
	snprintf(text, sizeof(text), JWT NODE ROLE "[database %s]\nnodes = a\n", name);
	conf = fixture_good(text);
	assert_string_equal(conf->databases[0].name, name);
	conf_put(&conf);
	name[63] = 'n';
	name[64] = '\0';
	snprintf(text, sizeof(text), JWT NODE ROLE "[database %s]\nnodes = a\n", name);
	assert_null(fixture_parse(text, &err));
	assert_string_equal(err.what, "the name is longer than 63 bytes");
	assert_int_equal(err.line, 6);
}

static void test_too_many_sections(void **state)
{
	struct buf text = {0};
	struct conf_error err;

	(void)state;
	for (int i = 0; i < 4097; i++) {
		char line[32];

		snprintf(line, sizeof(line), "[role r%d]\n", i);
		buf_put(&text, line, strlen(line));
	}
	assert_null(conf_parse((const char *)text.data, text.len, "t.ini", &err));
	assert_string_equal(err.text, "t.ini:4097: [role r4096]: more than 4096 sections");
	buf_fini(&text);
}

static void test_error_fields(void **state)
{
	struct conf_error err;

	(void)state;
	assert_null(fixture_parse(PGUSHER("listen_port = 0"), &err));
	assert_string_equal(err.file, "t.ini");
	assert_int_equal(err.line, 2);
	assert_string_equal(err.key, "listen_port");
	assert_string_equal(err.what, "\"0\" is not a whole number from 1 to 65535");
}

static void test_load(void **state)
{
	struct conf_error err;
	char path[128], line[256], *text = fixture_text(PGUSHER("listen_port = 7001"));
	struct conf *conf;

	(void)state;
	fixture_write("good.ini", text, 0644);
	mem_free(text);
	snprintf(path, sizeof(path), "%s/good.ini", fixture_dir);
	conf = conf_load(path, &err);
	assert_non_null(conf);
	assert_string_equal(conf->path, path);
	assert_int_equal(conf->pgusher.listen_port, 7001);
	conf_put(&conf);
	assert_null(conf);

	fixture_write("bad.ini", "[pgusher]\nworkers = x\n", 0644);
	snprintf(path, sizeof(path), "%s/bad.ini", fixture_dir);
	assert_null(conf_load(path, &err));
	snprintf(line, sizeof(line), "%s:2: workers: \"x\" is not a whole number from 1 to 256",
	         path);
	assert_string_equal(err.text, line);

	fixture_write("empty.ini", "", 0644);
	snprintf(path, sizeof(path), "%s/empty.ini", fixture_dir);
	assert_null(conf_load(path, &err));
	assert_int_equal(strncmp(err.text, path, strlen(path)), 0);

	assert_null(conf_load("/nonexistent/pgusher.ini", &err));
	assert_string_equal(err.text, "/nonexistent/pgusher.ini: cannot read the configuration: No "
	                              "such file or directory");
	assert_null(conf_load("/tmp", &err));
	assert_string_equal(err.text, "/tmp: cannot read the configuration: not a regular file");
}

static void test_too_large(void **state)
{
	size_t size = (1 << 20) + 1;
	char *text = mem_alloc(size + 1), path[128];
	struct conf_error err;

	(void)state;
	memset(text, '#', size);
	text[size] = '\0';
	assert_null(conf_parse(text, size, "t.ini", &err));
	assert_string_equal(err.text, "t.ini: too large");
	fixture_write("large.ini", text, 0644);
	snprintf(path, sizeof(path), "%s/large.ini", fixture_dir);
	assert_null(conf_load(path, &err));
	assert_string_equal(err.what, "cannot read the configuration: too large");
	mem_free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_comments_and_blanks),
		cmocka_unit_test(test_bad_lines),
		cmocka_unit_test(test_zero_byte),
		cmocka_unit_test(test_long_lines),
		cmocka_unit_test(test_sections),
		cmocka_unit_test(test_duplicates),
		cmocka_unit_test(test_unknown_keys),
		cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_too_many_sections),
		cmocka_unit_test(test_error_fields),
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_too_large),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
