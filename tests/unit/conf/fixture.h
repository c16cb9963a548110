/* For the tests of conf: a scratch folder with the files that an ini file can name, and
 * configurations in which '@' stands for that folder. */
#ifndef PGUSHER_TESTS_CONF_FIXTURE_H
#define PGUSHER_TESTS_CONF_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "conf.h"

/* What every configuration needs besides what a test is about. */
#define JWT "[jwt]\njwks_file = @/jwks.json\n"
#define NODE "[node a]\nhost = localhost\n"
#define DATABASE "[database d]\nnodes = a\n"
#define ROLE "[role app]\n"
#define REST JWT NODE DATABASE ROLE
/* A key of [pgusher] in line 2. */
#define PGUSHER(line) "[pgusher]\n" line "\n" REST

static char fixture_dir[64];

static inline void fixture_write(const char *name, const char *content, mode_t mode)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", fixture_dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(content, f);
	assert_int_equal(fclose(f), 0);
	assert_int_equal(chmod(path, mode), 0);
}

static inline int fixture_setup(void **state)
{
	(void)state;
	snprintf(fixture_dir, sizeof(fixture_dir), "/tmp/pgusher-conf-XXXXXX");
	assert_non_null(mkdtemp(fixture_dir));
	fixture_write("jwks.json", "{\"keys\":[]}", 0644);
	fixture_write("key.pem", "key", 0600);
	fixture_write("cert.pem", "cert", 0644);
	fixture_write("password", "s3cret\n", 0600);
	return 0;
}

static inline int fixture_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture_dir);
	return system(command);
}

/* text with '@' replaced, NUL-terminated; freed with mem_free. */
static inline char *fixture_text(const char *text)
{
	struct buf out = {0};

	for (; *text; text++) {
		if (*text == '@')
			buf_put(&out, fixture_dir, strlen(fixture_dir));
		else
			buf_put_u8(&out, (uint8_t)*text);
	}
	buf_put_u8(&out, 0);
	return (char *)out.data;
}

static inline struct conf *fixture_parse(const char *text, struct conf_error *err)
{
	char *ini = fixture_text(text);
	struct conf *conf = conf_parse(ini, strlen(ini), "t.ini", err);

	mem_free(ini);
	return conf;
}

/* A configuration that must be good. */
static inline struct conf *fixture_good(const char *text)
{
	struct conf_error err;
	struct conf *conf = fixture_parse(text, &err);

	if (!conf)
		fail_msg("refused: %s", err.text);
	assert_string_equal(err.text, "");
	return conf;
}

/* A configuration that must be refused with just this line. */
static inline void fixture_bad(const char *text, const char *line)
{
	struct conf_error err;
	struct conf *conf = fixture_parse(text, &err);
	char *expected = fixture_text(line);

	if (conf) {
		conf_put(&conf);
		fail_msg("accepted, instead of: %s", expected);
	}
	assert_string_equal(err.text, expected);
	mem_free(expected);
}

#endif
