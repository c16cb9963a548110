/* The console's statements: what is a command, and which. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "console/console_int.h"

/* In a block of just its size, so that a sanitizer sees a look beyond its end. */
static enum parse parse(const char *text, struct command *c)
{
	char *copy = mem_strdup(text);
	enum parse result = console_parse(copy, c);

	mem_free(copy);
	return result;
}

static void check(const char *text, enum console_command id, const char *arg)
{
	struct command c;

	if (parse(text, &c) != PARSE_OK)
		fail_msg("%s: no command", text);
	if (c.id != id || strcmp(c.arg, arg) != 0)
		fail_msg("%s: command %d, argument '%s'", text, (int)c.id, c.arg);
}

static void check_bad(const char *text)
{
	struct command c;

	if (parse(text, &c) != PARSE_BAD)
		fail_msg("%s: taken", text);
}

static void check_statement(const char *text, const char *statement)
{
	struct command c;

	if (console_parse(text, &c) != PARSE_OK || c.id != COMMAND_EXPLAIN_ROUTE)
		fail_msg("%s: nothing to explain", text);
	if (c.is_admins || c.arg[0] != '\0' || strcmp(c.statement, statement) != 0)
		fail_msg("%s: explains '%s'", text, c.statement);
}

static void check_setting(const char *text, const char *value)
{
	struct command c;

	check(text, COMMAND_SET_OPTION, parse(text, &c) == PARSE_OK ? c.arg : "");
	if (!c.is_admins || strcmp(c.setting, value) != 0)
		fail_msg("%s: set to '%s'", text, c.setting);
}

static void test_words(void **state)
{
	(void)state;
	check("SHOW CLIENTS", COMMAND_SHOW_CLIENTS, "CLIENTS");
	check("show clients;", COMMAND_SHOW_CLIENTS, "clients");
	check(" \r\n\tShow \n Stats_Totals \t ; \n", COMMAND_SHOW_STATS_TOTALS, "Stats_Totals");
	check("\"show\" \"help\"", COMMAND_SHOW_HELP, "help");
	check("show\t'help'", COMMAND_SHOW_HELP, "help");
	check("RELOAD", COMMAND_RELOAD, "");
	check_bad("SHOWCLIENTS");
	check_bad("SHOW");
	check_bad("SHOW ;");
	check_bad("SHOW nosuch");
	check_bad("SHOW CLIENTS clients");
	check_bad("SHOW CLIENTS; SHOW CLIENTS");
	check_bad("RELOAD;;");
	check_bad("RELOAD now");
	check_bad("SELECT 1");
	check_bad("-- SHOW CLIENTS");
}

static void test_statements(void **state)
{
	(void)state;
	check_statement("EXPLAIN ROUTE SELECT 1", "SELECT 1");
	check_statement(" explain\nRoute\t SELECT ';', \"x\" /* ; */ ; ",
	                "SELECT ';', \"x\" /* ; */ ; ");
	check_statement("EXPLAIN ROUTE/*max_lag='1s'*/ SELECT 1", "/*max_lag='1s'*/ SELECT 1");
	check_bad("EXPLAIN");
	check_bad("EXPLAIN ROUTE");
	check_bad("EXPLAIN ROUTE ; ");
	check_bad("EXPLAIN ROUTES SELECT 1");
	check_bad("EXPLAIN SELECT 1");
}

static void test_arguments(void **state)
{
	char text[128];

	(void)state;
	check("PAUSE", COMMAND_PAUSE, "");
	check("PAUSE eav", COMMAND_PAUSE, "eav");
	check("PAUSE \"My db\";", COMMAND_PAUSE, "My db");
	check("PAUSE \"a\"\"b\"", COMMAND_PAUSE, "a\"b");
	check("REVOKE 'it''s'", COMMAND_REVOKE, "it's");
	check("REVOKE 3f2504e0-4f89-11d3:x.y@z", COMMAND_REVOKE, "3f2504e0-4f89-11d3:x.y@z");
	check("KILL_CLIENT 0x1f", COMMAND_KILL_CLIENT, "0x1f");
	check("SHUTDOWN wait_for_servers", COMMAND_SHUTDOWN, "wait_for_servers");
	check_bad("PAUSE a b");
	check_bad("PAUSE \"\"");
	check_bad("PAUSE \"a");
	check_bad("PAUSE 'a");
	check_bad("PAUSE a\"b\"");
	check_bad("PAUSE*");
	check_bad("KILL_CLIENT");
	check_bad("KILL_CLIENT;");
	check_bad("REVOKE");
	/* As long as it may be, and one more. */
	memset(text, 'a', sizeof(text));
	memcpy(text, "PAUSE ", 6);
	text[6 + CONSOLE_ARG_MAX - 1] = '\0';
	check(text, COMMAND_PAUSE, text + 6);
	memcpy(text + 6 + CONSOLE_ARG_MAX - 1, "a", 2);
	check_bad(text);
	text[6] = text[6 + CONSOLE_ARG_MAX - 1] = '"';
	check_bad("PAUSE \"\"\"");
	assert_int_equal(parse(text, &(struct command){0}), PARSE_OK);
}

static void test_empty(void **state)
{
	static const char *const texts[] = {"", ";", " ", " \n;\t"};
	struct command c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++)
		assert_int_equal(parse(texts[i], &c), PARSE_EMPTY);
	check_bad(";;");
}

static void test_parameters(void **state)
{
	struct command c;

	(void)state;
	check("SET client_encoding TO 'UTF8'", COMMAND_SET, "");
	check("set DateStyle=ISO;", COMMAND_SET, "");
	check("SET SESSION extra_float_digits = 3", COMMAND_SET, "");
	check_bad("SET");
	check_bad("SET client_encoding");
	check("SET max_client_conn = 5", COMMAND_SET_OPTION, "max_client_conn");
	check_setting("SET max_client_conn TO 5 ; ", "5");
	check_setting("set admin_users='dba, o''ps';", "dba, o'ps");
	check_setting("SET logfile = ''", "");
	check_setting("SET query_timeout = 5 min", "5 min");
	check_bad("SET max_client_conn");
	check_bad("SET max_client_conn = ");
	check_bad("SET max_client_conn = 5; SHUTDOWN");
	check_bad("SET logfile = 'a' 'b'");
	check_bad("SET datestyle = ISO; SHUTDOWN");
	assert_int_equal(parse("SHOW DateStyle", &c), PARSE_OK);
	assert_int_equal(c.id, COMMAND_PARAM);
	assert_string_equal(c.param, "datestyle");
	assert_string_equal(c.value, "ISO");
}

/* What stats_users may not do: all but looking. */
static void test_access(void **state)
{
	static const char *const looks[] = {"SHOW CLIENTS", "SHOW KEYS", "SHOW HELP",
	                                    "SHOW DateStyle", "SET DateStyle = ISO"};
	static const char *const acts[] = {"KILL",      "KILL a",   "KILL_CLIENT 1",
	                                   "PAUSE",     "RELOAD",   "RESUME",
	                                   "RECONNECT", "REVOKE x", "SHUTDOWN"};
	struct command c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(looks); i++) {
		assert_int_equal(parse(looks[i], &c), PARSE_OK);
		assert_false(c.is_admins);
	}
	for (size_t i = 0; i < COUNT_OF(acts); i++) {
		assert_int_equal(parse(acts[i], &c), PARSE_OK);
		assert_true(c.is_admins);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),      cmocka_unit_test(test_statements),
		cmocka_unit_test(test_arguments),  cmocka_unit_test(test_empty),
		cmocka_unit_test(test_parameters), cmocka_unit_test(test_access),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
