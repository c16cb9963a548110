/* Our lexer cuts tokens where PostgreSQL's does: chosen texts, then a hundred thousand made of
 * the pieces that are easy to get wrong, each compared with libpg_query's scanner. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "scan_compare.h"

static const char *const chosen[] = {
	"",
	" ",
	"select 1",
	"select'a'",
	"'a''b'",
	"'a'\n'b'",
	"'a' 'b'",
	"'a' -- c\n 'b'",
	"'a' /* c */\n'b'",
	"'a'\r'b'",
	"'a'\f\n\t'b' \n 'c'",
	"'a'--c\n--d\n'b'",
	"'a'--c",
	"'a'\n\"b\"",
	"e'a\\'b'",
	"E'a''b'",
	"e'a'\n'b\\'c'",
	"E'\\\\'",
	"E'a\\",
	"E'\\''",
	"b'01'",
	"B''",
	"x'1f'\n'22'",
	"X'zz'",
	"n'a'",
	"N'a''b'",
	"nchar'a'",
	"u'a'",
	"u&'a'",
	"U&'\\0061'\n'b'",
	"u&\"a\"",
	"U&\"a\"\"b\"",
	"u&a",
	"u & 'a'",
	"xu&'a'",
	"xe'a'",
	"eb'a'",
	"_e'a'",
	"\"a\"",
	"\"a\"\"b\"",
	"\"\"",
	"\"\"\"\"",
	"\"a",
	"'a",
	"\"a\nb\"",
	"$$a$$",
	"$a$b$a$",
	"$a$ $b$ $a$",
	"$a$$$a$",
	"$a$ $a $a$",
	"$$ $ $$",
	"$a$b$a$a$",
	"$a$ $b$a$",
	"$\xc3\xa9$x$\xc3\xa9$",
	"$1",
	"$1$2",
	"$12abc",
	"$a",
	"$1$$a$$",
	"$$a$$'b'",
	"$$a",
	"a$$b$$",
	"a$1",
	"$",
	"1",
	"12.5",
	"1.",
	".5",
	"1..2",
	"1...5",
	"1.5..2",
	"1.5.5",
	"1e5",
	"1E+5",
	"1e-5",
	"1.e5",
	".5e1",
	"1e",
	"1e+",
	"1a",
	"1_0",
	"0x1f",
	"1.a",
	"1.5a",
	"2147483647",
	"2147483648",
	"00000000000000000001",
	"99999999999999999999999999",
	"1$1",
	"1e5$1",
	"1e+5$1",
	".5e5$$a$$",
	"1$$a$$",
	"1_",
	"1__0",
	"1.5_0",
	"0x1_f",
	"0o17",
	"0b12",
	"$1_0",
	"1'a'",
	"1\"a\"",
	"1.e",
	"1.e+",
	"a+-1",
	"a=-1",
	"a@-1",
	"a@--1",
	"a--1",
	"a-/* b */-1",
	"a*/* b */b",
	"a/*b*/",
	"+--x\n1",
	"*/*x*/",
	"a<>b",
	"a!=b",
	"a<=b",
	"a=>b",
	"a:=b",
	"a::b",
	"a:b",
	"a: :b",
	"a->>'b'",
	"a#>>b",
	"a||b",
	"a|b",
	"@@@",
	"a?b",
	"a?|b",
	"`a`",
	"!~~*",
	"<->",
	"-+-+",
	"~-",
	"~+-",
	"/*",
	"/**/",
	"/***/",
	"/*/*/",
	"/*/**/*/",
	"/*/ a */b",
	"/* ' */a",
	"/* -- */a",
	"-- /*\na",
	"--a\rb",
	"//*a*/",
	"a;b",
	"a[1:2]",
	"a(b,c)",
	"a.b.*",
	"a..b",
	"\xc3\xa9",
	"\xff",
	"a\xff",
	"%",
	"^",
	"a%b",
	"{",
	"\\",
	"a\vb",
	"'a'\v\n'b'",
	"\x01",
	"select a from t where b = 'c' and d in (1, 2.5, $1) -- e",
};

static void test_chosen_texts(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(chosen); i++)
		compare(chosen[i]);
}

static uint32_t draw(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % below;
}

static void test_random_texts(void **state)
{
	static const char *const pieces[] = {
		"'",  "''",  "\"",     "\\", "$",  "$$", "$a$", "a",  "e",  "E'", "b'", "x'",
		"n'", "U&'", "u&\"",   "u",  "&",  "1",  "9",   ".",  "..", "e5", "+",  "-",
		"--", "/",   "*",      "/*", "*/", "=",  "@",   "?",  "<",  ">",  ":",  "::",
		";",  ",",   "(",      ")",  "[",  "]",  " ",   "\n", "\r", "\t", "_",  "\xc3\xa9",
		"|",  "%",   "select", "$1", "!",  "#",  "^",   "`",  "~",  "\v", "0x", "_1",
	};
	uint32_t seed = 42;
	size_t good = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		char text[128], *at = text;
		uint32_t n = 1 + draw(&seed, 14);

		for (uint32_t k = 0; k < n; k++)
			at = stpcpy(at, pieces[draw(&seed, COUNT_OF(pieces))]);
		good += compare(text);
	}
	/* Else the pieces would test little but errors. */
	assert_true(good > 30000);
}

static void check_kind(const char *text, enum sql_token_kind kind)
{
	struct sql_lexer lexer;
	struct sql_token token;

	sql_lexer_init(&lexer, text, strlen(text));
	sql_lexer_next(&lexer, &token);
	if (token.kind != kind || token.end != strlen(text))
		fail_msg("%s: kind %d to %u", text, token.kind, token.end);
}

/* The kinds that the reference does not tell apart. */
static void test_kinds(void **state)
{
	(void)state;
	check_kind("abc", TOKEN_IDENT);
	check_kind("\"abc\"", TOKEN_QUOTED);
	check_kind("U&\"abc\"", TOKEN_UQUOTED);
	check_kind("E'abc'", TOKEN_STRING);
	check_kind("E'ab\\c'", TOKEN_ESCAPED);
	check_kind("E'ab'\n'\\c'", TOKEN_ESCAPED);
	check_kind("'ab\\c'", TOKEN_STRING);
	check_kind("<>", TOKEN_OP);
	check_kind("::", TOKEN_OP);
	check_kind("[", TOKEN_SELF);
	check_kind("'abc", TOKEN_BAD);
	/* Read in as many ways as there are versions. */
	check_kind("1a", TOKEN_BAD);
	check_kind("1_0", TOKEN_BAD);
	check_kind("1.5_0", TOKEN_BAD);
	check_kind("0x1f", TOKEN_BAD);
	check_kind("0b1", TOKEN_BAD);
	check_kind("1e5$1", TOKEN_BAD);
	check_kind("1.5e5$a", TOKEN_BAD);
	check_kind("1$1", TOKEN_BAD);
	check_kind("$1a", TOKEN_BAD);
	check_kind("$1_0", TOKEN_BAD);
	check_kind("\v1", TOKEN_BAD);
	check_kind("'a'\v\n'b'", TOKEN_BAD);
	check_kind("E'a' -- b\n\v'b'", TOKEN_BAD);
	check_kind("", TOKEN_END);
}

static void test_gaps(void **state)
{
	static const char text[] = "a b/**/c--\n-d";
	static const bool gaps[] = {false, true, true, true, false};
	struct sql_lexer lexer;
	struct sql_token token;

	(void)state;
	sql_lexer_init(&lexer, text, sizeof(text) - 1);
	for (size_t i = 0; i < COUNT_OF(gaps); i++) {
		sql_lexer_next(&lexer, &token);
		assert_int_equal(token.has_gap, gaps[i]);
	}
	sql_lexer_next(&lexer, &token);
	assert_int_equal(token.kind, TOKEN_END);
	sql_lexer_next(&lexer, &token);
	assert_int_equal(token.kind, TOKEN_END);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chosen_texts),
		cmocka_unit_test(test_random_texts),
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_gaps),
	};

	return cmocka_run_group_tests_name("sql lexer", tests, NULL, NULL);
}
