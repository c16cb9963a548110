/* The `options` startup parameter: split at blanks with backslash escapes as PostgreSQL's
 * pg_split_opts does, `-c name=value`, `-cname=value` and `--name=value` as its
 * process_postgres_switches takes them. Everything else is refused. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "unit/base/cm.h"
#include "wire.h"

/* "name=value|name=value|" and then "." where the list ends well, "!" where it is refused. */
static void split(const char *options, char *out, size_t size)
{
	char name[WIRE_OPTION_MAX], value[WIRE_OPTION_MAX];
	enum wire_read r;
	size_t n = 0;

	out[0] = '\0';
	while ((r = wire_startup_option(&options, name, value)) == WIRE_READ_OK && n < size)
		n += (size_t)snprintf(out + n, size - n, "%s=%s|", name, value);
	assert_true(n + 2 < size);
	snprintf(out + n, size - n, "%s", r == WIRE_READ_SHORT ? "." : "!");
	if (r == WIRE_READ_SHORT)
		assert_string_equal(options, "");
}

static const struct {
	const char *options, *want;
} cases[] = {
	{"", "."},
	{" \t\n\v\f\r ", "."},
	{"-c geqo=off", "geqo=off|."},
	{"-cgeqo=off", "geqo=off|."},
	{"--geqo=off", "geqo=off|."},
	{"  -c   geqo=off  ", "geqo=off|."},
	{"-c\ngeqo=off\t--jit=off", "geqo=off|jit=off|."},
	{"-c a=1 -c b=2 --c=3 -cd=4", "a=1|b=2|c=3|d=4|."},
	/* The first = ends the name. */
	{"-c a=b=c", "a=b=c|."},
	{"--a==", "a==|."},
	/* An empty value is one. */
	{"-c a=", "a=|."},
	{"--a= --b=", "a=|b=|."},
	/* Escapes: the next character, whatever it is. */
	{"-c a=x\\ y", "a=x y|."},
	{"-c a=\\\\", "a=\\|."},
	{"-c a=\\\\\\ z", "a=\\ z|."},
	{"-c a=\\n", "a=n|."},
	{"--DateStyle=ISO,\\ MDY -c b=1", "DateStyle=ISO, MDY|b=1|."},
	{"\\-c a=1", "a=1|."},
	{"-c a\\=1", "a=1|."},
	{"-c a=\\\t", "a=\t|."},
	/* One at the very end stands for itself. */
	{"-c a=x\\", "a=x\\|."},
	/* A quote is nothing special. */
	{"-c a='x y'", "a='x|!"},
	{"-c a=\"1\"", "a=\"1\"|."},
	/* Dashes in names are underscores, in values they are themselves. */
	{"--statement-timeout=1-2", "statement_timeout=1-2|."},
	{"-c work-mem=4MB", "work_mem=4MB|."},
	/* What a tenant would like to sneak in arrives under its plain name. */
	{"-c app.current_tenant_id=2", "app.current_tenant_id=2|."},
	{"-c ap\\p.current\\_tenant_id=2", "app.current_tenant_id=2|."},
	{"--app.current-tenant-id=2", "app.current_tenant_id=2|."},
	/* Refused. */
	{"-c", "!"},
	{"-c ", "!"},
	{"-c geqo", "!"},
	{"-cgeqo", "!"},
	{"--geqo", "!"},
	{"--", "!"},
	{"-c =1", "!"},
	{"--=1", "!"},
	{"-c= 1", "!"},
	{"-B 64", "!"},
	{"-", "!"},
	{"geqo=off", "!"},
	{"-d 5", "!"},
	{"\\ -c a=1", "!"},
	{"-C a=1", "!"},
	{"-c a=1 rest", "a=1|!"},
	{"-c a=1 -s", "a=1|!"},
};

static void test_cases(void **state)
{
	char got[256];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		/* On the heap to its last byte: a sanitizer sees a step too far. */
		char *options = mem_strdup(cases[i].options);

		split(options, got, sizeof(got));
		if (strcmp(got, cases[i].want) != 0)
			fail_msg("options \"%s\": \"%s\", not \"%s\"", cases[i].options, got,
			         cases[i].want);
		mem_free(options);
	}
}

/* A word of WIRE_OPTION_MAX - 1 bytes just fits, in all three spellings; a longer one is refused,
 * escaped or not. */
static void test_long_words(void **state)
{
	static const char *const heads[] = {"-c a=", "-ca=", "--a="};
	static const size_t word_head[] = {2, 4, 4};
	char name[WIRE_OPTION_MAX], value[WIRE_OPTION_MAX];

	(void)state;
	for (size_t i = 0; i < COUNT_OF(heads); i++) {
		size_t fits = WIRE_OPTION_MAX - 1 - word_head[i];

		for (size_t len = fits - 1; len <= fits + 2; len++) {
			struct buf b = {0};
			const char *at;

			buf_put(&b, heads[i], strlen(heads[i]));
			memset(buf_reserve(&b, len), 'v', len);
			b.len += len;
			buf_put_u8(&b, '\0');
			at = (const char *)b.data;
			assert_int_equal(wire_startup_option(&at, name, value),
			                 len <= fits ? WIRE_READ_OK : WIRE_READ_BAD);
			if (len <= fits)
				assert_int_equal(strlen(value), len);
			buf_fini(&b);
		}
	}
}

static void test_long_escaped_word(void **state)
{
	char name[WIRE_OPTION_MAX], value[WIRE_OPTION_MAX];
	struct buf b = {0};
	const char *at;

	(void)state;
	buf_put(&b, "--a=", 4);
	for (int i = 0; i < WIRE_OPTION_MAX - 1 - 4; i++)
		buf_put(&b, "\\ ", 2);
	buf_put_u8(&b, '\0');
	at = (const char *)b.data;
	assert_int_equal(wire_startup_option(&at, name, value), WIRE_READ_OK);
	assert_int_equal(strlen(value), WIRE_OPTION_MAX - 1 - 4);
	assert_int_equal(value[0], ' ');
	b.len--;
	buf_put_cstr(&b, "\\ ");
	at = (const char *)b.data;
	assert_int_equal(wire_startup_option(&at, name, value), WIRE_READ_BAD);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_long_words),
		cmocka_unit_test(test_long_escaped_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
