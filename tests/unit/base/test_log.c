/* base/log.h: one event is one line, whatever is in it; levels; files and rotation; threads. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "unit/base/cm.h"

static char dir[] = "/tmp/pgusher-test-log-XXXXXX";
static char path[64], path_old[64];

static int setup(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/log", dir);
	snprintf(path_old, sizeof(path_old), "%s/log.1", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_open(NULL);
	unlink(path);
	unlink(path_old);
	return rmdir(dir);
}

/* Each test begins with an empty file at the default level. */
static int begin(void **state)
{
	(void)state;
	unlink(path);
	unlink(path_old);
	log_set_level(LOG_LEVEL_INFO);
	return log_open(path) ? 0 : -1;
}

/* The file's text, in a buffer of ours; "" where it is not there. */
static char *slurp(const char *name)
{
	static char text[1 << 20];
	FILE *f = fopen(name, "r");
	size_t len = 0;

	if (f != NULL) {
		len = fread(text, 1, sizeof(text) - 1, f);
		fclose(f);
	}
	text[len] = '\0';
	return text;
}

static int count_lines(const char *text)
{
	int n = 0;

	for (; *text != '\0'; text++)
		n += *text == '\n';
	return n;
}

static void test_a_line_has_time_pid_level_text(void **state)
{
	int year, month, day, hour, minute, second, ms, pid, end = 0;
	const char *text;

	(void)state;
	log_info("hello %d %s", 42, "world");
	text = slurp(path);
	assert_int_equal(sscanf(text, "%4d-%2d-%2d %2d:%2d:%2d.%3d UTC [%d] INFO %n", &year, &month,
	                        &day, &hour, &minute, &second, &ms, &pid, &end),
	                 8);
	assert_int_equal(pid, (int)getpid());
	assert_string_equal(text + end, "hello 42 world\n");
}

static void test_newlines_inside_cannot_forge_a_line(void **state)
{
	const char *text;

	(void)state;
	log_warning("user %s refused", "x\n2030-01-01 00:00:00.000 UTC [1] INFO ok\r\n");
	text = slurp(path);
	assert_int_equal(count_lines(text), 1);
	assert_null(strchr(text, '\r'));
	assert_non_null(strstr(text, "user x 2030-01-01"));
	assert_non_null(strstr(text, "ok   refused\n"));
}

static void test_long_lines_are_cut_and_still_end(void **state)
{
	char *longest = mem_alloc(5000);
	const char *text;

	(void)state;
	memset(longest, 'a', 4999);
	longest[4999] = '\0';
	log_error("%s", longest);
	log_error("next");
	text = slurp(path);
	assert_int_equal(count_lines(text), 2);
	assert_true(strchr(text, '\n') - text < 1024);
	assert_true(strchr(text, '\n') - text > 900);
	assert_non_null(strstr(text, "ERROR next\n"));
	mem_free(longest);
}

/* Every length around the buffer's: none may lose the line end or write past it. */
static void test_lengths_around_the_limit(void **state)
{
	char fill[1100];
	int n = 0;

	(void)state;
	for (size_t len = 900; len < 1050; len++, n++) {
		memset(fill, 'b', len);
		fill[len] = '\0';
		log_info("%s", fill);
	}
	assert_int_equal(count_lines(slurp(path)), n);
}

static void test_levels_above_are_dropped(void **state)
{
	const char *text;

	(void)state;
	log_debug("dropped");
	assert_false(log_is_on(LOG_LEVEL_DEBUG));
	log_set_level(LOG_LEVEL_ERROR);
	log_info("dropped");
	log_warning("dropped");
	log_error("kept 1");
	log_set_level(LOG_LEVEL_DEBUG);
	assert_true(log_is_on(LOG_LEVEL_DEBUG));
	log_debug("kept 2");
	text = slurp(path);
	assert_int_equal(count_lines(text), 2);
	assert_null(strstr(text, "dropped"));
	assert_non_null(strstr(text, "ERROR kept 1\n"));
	assert_non_null(strstr(text, "DEBUG kept 2\n"));
}

static void test_reopening_follows_a_rotation(void **state)
{
	(void)state;
	log_info("before");
	assert_int_equal(rename(path, path_old), 0);
	log_info("still the old file");
	assert_true(log_open(path));
	log_info("after");
	assert_int_equal(count_lines(slurp(path_old)), 2);
	assert_int_equal(count_lines(slurp(path)), 1);
	assert_non_null(strstr(slurp(path), "after"));
}

static void test_a_file_that_cannot_be_opened_changes_nothing(void **state)
{
	(void)state;
	errno = 0;
	assert_false(log_open("/nonexistent/dir/log"));
	assert_int_equal(errno, ENOENT);
	log_info("goes on");
	assert_non_null(strstr(slurp(path), "goes on"));
}

static void test_appends_and_is_not_for_everyone(void **state)
{
	struct stat st;

	(void)state;
	log_info("one");
	assert_true(log_open(path));
	log_info("two");
	assert_int_equal(count_lines(slurp(path)), 2);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07, 0);
}

static void is_quoted(const char *s, const char *want)
{
	assert_string_equal(LOG_QUOTE(s), want);
}

static void test_what_a_client_chose_is_quoted(void **state)
{
	char name[200],
		want[] = "\"ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd\"";

	(void)state;
	is_quoted("app", "\"app\"");
	is_quoted("", "\"\"");
	is_quoted(NULL, "\"\"");
	is_quoted("app database=eav", "\"app database=eav\"");
	is_quoted("a\"b\\c\n\t\x7f", "\"a\\x22b\\x5cc\\x0a\\x09\\x7f\"");
	/* CSI as a C1 control, a bidi override, bytes that are no UTF-8. */
	is_quoted("\xc2\x9b"
	          "31m\xe2\x80\xae\xff",
	          "\"\\xc2\\x9b31m\\xe2\\x80\\xae\\xff\"");
	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	is_quoted(name, want);
	memset(name, '\n', sizeof(name) - 1);
	assert_int_equal(strlen(LOG_QUOTE(name)), 4 * LOG_QUOTED_BYTES + 2);
}

static void test_what_looks_like_a_token_is_not_shown(void **state)
{
	(void)state;
	is_quoted("eyJhbGciOiJFUzI1NiJ9.eyJyb2xlIjoiYXBwIn0.c2ln", "(a token?)");
	is_quoted("eyJ..", "(a token?)");
	is_quoted("eyJ.x", "\"eyJ.x\"");
	is_quoted("=eyJhbGciOiJFUzI1NiJ9.e30.c2ln", "(a token?)");
}

enum { N_THREADS = 4, N_LINES = 500 };

static void *write_lines(void *arg)
{
	for (int i = 0; i < N_LINES; i++)
		log_info("<%s>", (const char *)arg);
	return NULL;
}

static void test_lines_of_several_threads_do_not_mix(void **state)
{
	static char texts[N_THREADS][20] = {"aaaaaaaaaaaaaaaa", "bbbbbbbb", "cccc", "dd"};
	pthread_t threads[N_THREADS];
	int n[N_THREADS] = {0};
	char *save = NULL;

	(void)state;
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, texts[i]), 0);
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	for (char *line = strtok_r(slurp(path), "\n", &save); line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		const char *open = strchr(line, '<');

		assert_non_null(open);
		for (int i = 0; i < N_THREADS; i++) {
			size_t len = strlen(texts[i]);

			n[i] += strncmp(open + 1, texts[i], len) == 0 &&
			        strcmp(open + 1 + len, ">") == 0;
		}
	}
	for (int i = 0; i < N_THREADS; i++)
		assert_int_equal(n[i], N_LINES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_line_has_time_pid_level_text, begin),
		cmocka_unit_test_setup(test_newlines_inside_cannot_forge_a_line, begin),
		cmocka_unit_test_setup(test_long_lines_are_cut_and_still_end, begin),
		cmocka_unit_test_setup(test_lengths_around_the_limit, begin),
		cmocka_unit_test_setup(test_levels_above_are_dropped, begin),
		cmocka_unit_test_setup(test_reopening_follows_a_rotation, begin),
		cmocka_unit_test_setup(test_a_file_that_cannot_be_opened_changes_nothing, begin),
		cmocka_unit_test_setup(test_appends_and_is_not_for_everyone, begin),
		cmocka_unit_test(test_what_a_client_chose_is_quoted),
		cmocka_unit_test(test_what_looks_like_a_token_is_not_shown),
		cmocka_unit_test_setup(test_lines_of_several_threads_do_not_mix, begin),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
