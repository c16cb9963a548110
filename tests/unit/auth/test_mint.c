/* Minted tokens pass auth_verify, under keys of every form; and `pgusher token` as a user calls
 * it, its exit status and streams included. */
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "cmd/token.c"
#include "kit.h"

#define FILES_DIR "/tmp/pgusher-mint-XXXXXX"

static char dir[sizeof(FILES_DIR)], out[65536], errors[4096];

static const char *file_path(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % COUNT_OF(paths)];

	snprintf(path, sizeof(paths[0]), "%s/%s", dir, name);
	return path;
}

static void file_write(const char *name, const char *text)
{
	FILE *f = fopen(file_path(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void file_read(const char *name, char *text, size_t size)
{
	FILE *f = fopen(file_path(name), "r");

	assert_non_null(f);
	text[fread(text, 1, size - 1, f)] = '\0';
	fclose(f);
}

static void redirect(FILE *stream, const char *name)
{
	int fd = open(file_path(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);

	dup2(fd, fileno(stream));
	close(fd);
}

/* Runs the command in a child; its streams go to `out` and `errors`. */
static int run_token(const char *const *args)
{
	char *argv[40] = {(char *)"token"};
	int argc = 1, status;
	pid_t pid;

	for (; args[argc - 1] != NULL; argc++)
		argv[argc] = (char *)args[argc - 1];
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		redirect(stdout, "out");
		redirect(stderr, "errors");
		status = cmd_token(argc, argv);
		fflush(NULL);
		_exit(status);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	file_read("out", out, sizeof(out));
	file_read("errors", errors, sizeof(errors));
	return WEXITSTATUS(status);
}

#define RUN(...) run_token((const char *const[]){__VA_ARGS__, NULL})

/* The verdict of `now` on what the last run printed, under a key file. */
static enum auth_reason verdict_on_output(const char *jwks, struct auth_ticket **ticket)
{
	char err[256];
	struct auth_jwks *set = auth_jwks_load(file_path(jwks), err, sizeof(err));
	struct auth_keys *keys;
	struct auth_request req = kit_request(out);
	enum auth_reason reason;

	if (set == NULL)
		fail_msg("%s", err);
	keys = kit_keys_of(&kit_conf, set);
	assert_true(req.len > 0 && out[req.len - 1] == '\n');
	req.len--;
	req.keys = keys;
	req.now_s = clock_wall_s();
	reason = auth_verify(NULL, &req, ticket);
	auth_keys_put(&keys);
	return reason;
}

static int mint_setup(void **state)
{
	memcpy(dir, FILES_DIR, sizeof(FILES_DIR));
	kit_reset(state);
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int mint_teardown(void **state)
{
	static const char *const names[] = {"out", "errors", "key", "jwks", "other"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(names); i++)
		unlink(file_path(names[i]));
	return rmdir(dir);
}

static void test_round_trips(void **state)
{
	static const char *const algs[] = {"HS256", "RS256", "ES256", "PS256", "EdDSA"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(algs); i++) {
		struct auth_ticket *ticket;

		assert_int_equal(RUN("--new-key", algs[i]), 0);
		file_write("key", out);
		if (i > 0) {
			assert_int_equal(RUN("--key", file_path("key"), "--public"), 0);
			assert_null(strstr(out, "\"d\""));
		} else {
			assert_int_equal(RUN("--key", file_path("key"), "--public"), 1);
			assert_non_null(strstr(errors, "secret"));
			file_read("key", out, sizeof(out));
		}
		file_write("jwks", out);
		assert_int_equal(RUN("--key", file_path("key"), "--tenant", "123", "--role", "app",
		                     "--alg", algs[i]),
		                 0);
		assert_int_equal(verdict_on_output("jwks", &ticket), AUTH_OK);
		assert_string_equal(ticket->tenant, "123");
		assert_int_equal(strlen(ticket->jti), 22);
		assert_true(ticket->exp_s >= clock_wall_s() + 3595);
		assert_true(ticket->exp_s <= clock_wall_s() + 3600);
		auth_ticket_put(&ticket);
	}
}

static void test_options(void **state)
{
	struct auth_ticket *ticket;

	(void)state;
	assert_int_equal(RUN("--new-key", "HS256", "--kid", "mine"), 0);
	file_write("key", out);
	kit_conf.issuer = "me";
	kit_conf.audience = "db";
	kit_conf.tenant_claim = "org.id";
	kit_conf.role_claim = "roles";
	assert_int_equal(RUN("--key", file_path("key"), "--kid", "mine", "--tenant", "0", "--role",
	                     "x", "--role", "app", "--ttl", "2min", "--issuer", "me", "--audience",
	                     "db", "--tenant-claim", "org.id", "--role-claim", "roles", "--claim",
	                     "jti=abc", "--claim", "n={\"a\":[1]}", "--claim", "eq=a=b"),
	                 0);
	assert_int_equal(verdict_on_output("key", &ticket), AUTH_OK);
	assert_string_equal(ticket->tenant, "0");
	assert_string_equal(ticket->jti, "abc");
	assert_true(auth_ticket_allows_role(ticket, "x"));
	assert_true(ticket->exp_s <= clock_wall_s() + 120);
	auth_ticket_put(&ticket);
}

static void test_no_tenant(void **state)
{
	struct auth_ticket *ticket;

	(void)state;
	assert_int_equal(RUN("--new-key", "HS256"), 0);
	file_write("key", out);
	assert_int_equal(RUN("--key", file_path("key"), "--no-tenant", "--role", "app"), 0);
	assert_int_equal(verdict_on_output("key", &ticket), AUTH_NO_TENANT);
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "5"), 0);
	assert_int_equal(verdict_on_output("key", &ticket), AUTH_ROLE);
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "5", "--claim", "exp=5"), 0);
	assert_int_equal(verdict_on_output("key", &ticket), AUTH_EXPIRED);
}

static void test_pem(void **state)
{
	const struct auth_jwk *keys[] = {&kit_rsa, &kit_ec, &kit_ed};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		size_t len;
		uint8_t *pem = auth_jwk_material(keys[i], AUTH_JWK_SIGN, &len);
		char *text = mem_strndup((char *)pem, len);
		struct auth_ticket *ticket;

		file_write("key", text);
		assert_int_equal(RUN("--key", file_path("key"), "--public", "--kid", "p"), 0);
		file_write("jwks", out);
		assert_int_equal(RUN("--key", file_path("key"), "--kid", "p", "--tenant", "5",
		                     "--role", "app"),
		                 0);
		assert_int_equal(verdict_on_output("jwks", &ticket), AUTH_OK);
		auth_ticket_put(&ticket);
		mem_free(text);
		auth_secret_free(pem, len);
	}
}

/* A set: --kid picks; without it the first. */
static void test_set(void **state)
{
	json_t *set = json_object(), *array = json_array();
	struct auth_ticket *ticket;
	char *text;

	(void)state;
	json_array_append_new(array, auth_jwk_json(&kit_oct, AUTH_JWK_SIGN));
	json_array_append_new(array, auth_jwk_json(&kit_ec, AUTH_JWK_SIGN));
	json_object_set_new(set, "keys", array);
	text = json_dumps(set, 0);
	file_write("key", text);
	free(text);
	json_decref(set);
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "5", "--role", "app"), 0);
	assert_memory_equal(out, "eyJhbGciOiJIUzI1NiIs", 20); /* {"alg":"HS256", */
	assert_int_equal(
		RUN("--key", file_path("key"), "--kid", "ec", "--tenant", "5", "--role", "app"), 0);
	assert_memory_equal(out, "eyJhbGciOiJFUzI1NiIs", 20); /* {"alg":"ES256", */
	assert_int_equal(verdict_on_output("key", &ticket), AUTH_OK);
	auth_ticket_put(&ticket);
	assert_int_equal(RUN("--key", file_path("key"), "--public"), 0);
	assert_null(strstr(out, "oct"));
	assert_non_null(strstr(out, "P-256"));
}

static void expect_one_error_line(void)
{
	char *newline = strchr(errors, '\n');

	assert_string_equal(out, "");
	assert_memory_equal(errors, "pgusher token: ", 15);
	assert_non_null(newline);
	assert_int_equal(newline[1], '\0');
}

static void test_failures(void **state)
{
	static const char *const tenants[] = {"", "01", "-1", "1 ", "9223372036854775808", "x"};
	static char filler[AUTH_TOKEN_MAX];

	(void)state;
	assert_int_equal(RUN("--new-key", "HS256"), 0);
	file_write("key", out);
	for (size_t i = 0; i < COUNT_OF(tenants); i++) {
		assert_int_equal(RUN("--key", file_path("key"), "--tenant", tenants[i]), 1);
		expect_one_error_line();
	}
	assert_int_equal(RUN("--key", file_path("absent"), "--tenant", "1"), 1);
	expect_one_error_line();
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "1", "--alg", "RS256"), 1);
	expect_one_error_line();
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "1", "--alg", "none"), 1);
	expect_one_error_line();
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "1", "--kid", "x"), 1);
	expect_one_error_line();
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "1", "--claim", "x"), 1);
	expect_one_error_line();
	memset(filler, 'x', sizeof(filler) - 1);
	filler[1] = '=';
	assert_int_equal(RUN("--key", file_path("key"), "--tenant", "1", "--claim", filler), 1);
	expect_one_error_line();
	assert_int_equal(RUN("--new-key", "none"), 1);
	expect_one_error_line();
	file_write("other", "{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}");
	assert_int_equal(RUN("--key", file_path("other"), "--tenant", "1"), 1);
	expect_one_error_line();
	/* The public half cannot sign. */
	assert_int_equal(RUN("--new-key", "ES256"), 0);
	file_write("key", out);
	assert_int_equal(RUN("--key", file_path("key"), "--public"), 0);
	file_write("jwks", out);
	assert_int_equal(RUN("--key", file_path("jwks"), "--tenant", "1"), 1);
	expect_one_error_line();
}

static void test_usage(void **state)
{
	static const char *const ttls[] = {"",
	                                   "0",
	                                   "x",
	                                   "-5",
	                                   "1d",
	                                   "1.5h",
	                                   "5 s",
	                                   "500ms",
	                                   "99999999999999999999",
	                                   "99999999999h"};

	(void)state;
	assert_int_equal(RUN("--help"), 0);
	assert_memory_equal(out, "usage: pgusher token", 20);
	assert_string_equal(errors, "");
	assert_int_equal(RUN("--tenant", "1"), 2);
	assert_int_equal(RUN("--key", "k"), 2);
	assert_int_equal(RUN("--key", "k", "--tenant", "1", "--no-tenant"), 2);
	assert_int_equal(RUN("--key", "k", "--tenant", "1", "extra"), 2);
	assert_int_equal(RUN("--key", "k", "--tenant"), 2);
	assert_int_equal(RUN("--bogus"), 2);
	assert_int_equal(RUN("--public"), 2);
	assert_int_equal(RUN("--new-key", "HS256", "--public"), 2);
	assert_non_null(strstr(errors, "--help"));
	expect_one_error_line();
	for (size_t i = 0; i < COUNT_OF(ttls); i++)
		assert_int_equal(RUN("--key", "k", "--tenant", "1", "--ttl", ttls[i]), 2);
}

static void test_ttl(void **state)
{
	static const struct {
		const char *text;
		int64_t s;
	} good[] = {{"90", 90}, {"90s", 90}, {"15min", 900}, {"1h", 3600}, {"2500ms", 2}};
	int64_t s;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(good); i++) {
		assert_true(parse_ttl(good[i].text, &s));
		assert_int_equal(s, good[i].s);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, mint_setup, mint_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_round_trips), T(test_options),  T(test_no_tenant), T(test_pem),
		T(test_set),         T(test_failures), T(test_usage),     T(test_ttl),
	};

	return cmocka_run_group_tests_name("auth/mint", tests, kit_setup, kit_teardown);
}
