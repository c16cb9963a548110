/* Our lexer on SQL that people wrote, and on mutations of it: each compared with libpg_query's
 * scanner. The corpus is the product's own SQL and the statements of the other tests; with
 * LEXER_CORPUS=DIR also the .sql files there (`make check-lexer`: PostgreSQL's regression tests). */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify_lines.h"
#include "guard_statements.h"
#include "scan_compare.h"

#define TEXT_MAX 4000u
#define MUTATIONS_COMMITTED 300
#define MUTATIONS_EXTRA 10

static uint64_t random_state = 0x9e3779b97f4a7c15u;

/* xorshift64: the same texts in every run. */
static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)((random_state >> 11) % n);
}

static const char *const pieces[] = {
	"'",  "\"",  "$$",   "$a$", "$1", "--",  "/*",       "*/", "\n", "\\", "e'",
	"E'", "U&'", "u&\"", "n'",  "b'", "x'",  ".",        "..", ":=", "::", "1e",
	"0x", "1_",  "+",    "-",   "@-", "*/*", ";",        " ",  "\t", "\r", "\f",
	"\v", "&",   "|",    "=>",  "<>", "!=",  "\xc3\xa9", "_",  "''",
};

static void mutate(struct buf *text)
{
	char copy[TEXT_MAX + 64];
	size_t len = text->len - 1, at = random_below((uint32_t)len + 1), cut = 0;
	const char *piece = "";

	if (random_below(3) > 0)
		piece = pieces[random_below((uint32_t)COUNT_OF(pieces))];
	if (random_below(2) > 0)
		cut = random_below(4);
	if (cut > len - at)
		cut = len - at;
	if (len + strlen(piece) >= TEXT_MAX)
		return;
	snprintf(copy, sizeof(copy), "%.*s%s%s", (int)at, (const char *)text->data, piece,
	         (const char *)text->data + at + cut);
	text->len = 0;
	buf_put(text, copy, strlen(copy) + 1);
}

/* n_done: how many texts were compared. */
static void try_text(const char *p, size_t len, int n_mutations, size_t *n_done)
{
	struct buf text = {0};

	if (len == 0 || len >= TEXT_MAX || memchr(p, '\0', len) != NULL)
		return;
	for (int i = 0; i <= n_mutations; i++) {
		text.len = 0;
		buf_put(&text, p, len);
		buf_put_u8(&text, 0);
		for (int k = 0; i > 0 && k <= i % 3; k++)
			mutate(&text);
		(void)compare((const char *)text.data);
		(*n_done)++;
	}
	buf_fini(&text);
}

/* A statement more or less: up to a semicolon at the end of a line. */
static void try_file(const char *path, int n_mutations, size_t *n_done)
{
	FILE *file = fopen(path, "r");
	struct buf text = {0};
	char chunk[4096];
	size_t n;

	if (file == NULL)
		fail_msg("%s: cannot be read", path);
	while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
		buf_put(&text, chunk, n);
	fclose(file);
	buf_put_u8(&text, 0);
	for (const char *at = (const char *)text.data; *at != '\0';) {
		const char *end = strstr(at, ";\n");

		end = end != NULL ? end + 2 : at + strlen(at);
		try_text(at, (size_t)(end - at), n_mutations, n_done);
		at = end;
	}
	buf_fini(&text);
}

static size_t try_folder(const char *folder, int n_mutations)
{
	DIR *dir = opendir(folder);
	size_t n_done = 0;

	if (dir == NULL)
		fail_msg("%s: no such folder (tests run in the source's root)", folder);
	for (const struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		char path[1024];
		size_t len = strlen(entry->d_name);

		if (len < 4 || strcmp(entry->d_name + len - 4, ".sql") != 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		try_file(path, n_mutations, &n_done);
	}
	closedir(dir);
	return n_done;
}

static void test_statements(void **state)
{
	size_t n = 0;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(lines); i++)
		try_text(lines[i].text, strlen(lines[i].text), MUTATIONS_COMMITTED, &n);
	for (size_t i = 0; i < COUNT_OF(forbidden); i++)
		try_text(forbidden[i].text, strlen(forbidden[i].text), MUTATIONS_COMMITTED, &n);
	for (size_t i = 0; i < COUNT_OF(ordinary); i++)
		try_text(ordinary[i], strlen(ordinary[i]), MUTATIONS_COMMITTED, &n);
	assert_true(n > 100000);
}

static void test_files(void **state)
{
	const char *extra = getenv("LEXER_CORPUS");

	(void)state;
	assert_true(try_folder("sql", MUTATIONS_COMMITTED) > 1000);
	if (extra != NULL && extra[0] != '\0')
		print_message("%zu texts from %s\n", try_folder(extra, MUTATIONS_EXTRA), extra);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_statements),
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
