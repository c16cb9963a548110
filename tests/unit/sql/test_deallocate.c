/* The name in a DEALLOCATE: folded as the server folds it, or none where the text is anything
 * else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/mem.h"
#include "sql.h"

/* In a block of just its size, so that a sanitizer sees a look beyond its end. */
static bool read_name(const char *text, size_t len, char *name, size_t size)
{
	char *copy = mem_alloc(len > 0 ? len : 1);
	bool found;

	memcpy(copy, text, len);
	found = sql_deallocate_name(copy, len, name, size);
	mem_free(copy);
	return found;
}

static void check_name(const char *text, const char *want)
{
	char name[64] = "unset";

	if (!read_name(text, strlen(text), name, sizeof(name)))
		fail_msg("%s: no name", text);
	if (strcmp(name, want) != 0)
		fail_msg("%s: name %s, not %s", text, name, want);
}

static void check_none(const char *text)
{
	char name[64];

	if (read_name(text, strlen(text), name, sizeof(name)))
		fail_msg("%s: name %s", text, name);
}

static void test_folding(void **state)
{
	(void)state;
	check_name("DEALLOCATE a", "a");
	check_name("deallocate A_1$", "a_1$");
	check_name("DeAllocate AbC", "abc");
	/* Beyond ASCII nothing is folded. */
	check_name("DEALLOCATE \xc3\x89T\xc3\xa9", "\xc3\x89t\xc3\xa9");
}

static void test_quoting(void **state)
{
	(void)state;
	check_name("DEALLOCATE \"A b\"", "A b");
	check_name("DEALLOCATE\"a\"", "a");
	check_name("DEALLOCATE \"a\"\"b\"", "a\"b");
	check_name("DEALLOCATE \"\"\"\"", "\"");
	check_name("DEALLOCATE \";\"", ";");
	check_name("DEALLOCATE \"-- a\"", "-- a");
	check_none("DEALLOCATE \"\"");
	check_none("DEALLOCATE \"a");
	check_none("DEALLOCATE 'a'");
	check_none("DEALLOCATE $$a$$");
	/* Escapes are left to the server. */
	check_none("DEALLOCATE U&\"a\"");
}

static void test_prepare(void **state)
{
	(void)state;
	check_name("DEALLOCATE PREPARE a", "a");
	check_name("deallocate prepare \"A\";", "A");
	check_name("DEALLOCATE PREPARE \"prepare\"", "prepare");
	check_name("DEALLOCATE PREPARE prepare", "prepare");
	check_name("DEALLOCATE Prepare", "prepare");
	check_name("DEALLOCATE Prepare;", "prepare");
	check_name("DEALLOCATE preparea", "preparea");
	check_none("DEALLOCATE \"prepare\" a");
	check_none("DEALLOCATE PREPARE a b");
	check_none("DEALLOCATE PREPARE PREPARE PREPARE");
	check_none("DEALLOCATE PREPARE 'a'");
}

static void test_all(void **state)
{
	(void)state;
	check_none("DEALLOCATE ALL");
	check_none("deallocate all;");
	check_none("DEALLOCATE PREPARE All");
	check_name("DEALLOCATE \"all\"", "all");
	check_name("DEALLOCATE PREPARE \"ALL\"", "ALL");
	check_name("DEALLOCATE all_", "all_");
}

static void test_gaps(void **state)
{
	(void)state;
	check_name("DEALLOCATE a;", "a");
	check_name("DEALLOCATE a ; ", "a");
	check_name("DEALLOCATE a;; ;", "a");
	check_name("\n\tDEALLOCATE\r\na\f", "a");
	check_name("DEALLOCATE/* x /* y */ z */a-- b", "a");
	check_name("-- c\nDEALLOCATE -- d\n PREPARE /**/ a /**/ ; -- e", "a");
	check_none("DEALLOCATE a /* x");
	check_none("DEALLOCATE a\v");
}

static void test_other_texts(void **state)
{
	char name[64];

	(void)state;
	check_none("");
	check_none(" ");
	check_none(";");
	check_none("DEALLOCATE");
	check_none("DEALLOCATE;");
	check_none("DEALLOCATE PREPARE PREPARE 1");
	check_none("DEALLOCATE ; a");
	check_none("; DEALLOCATE a");
	check_none("DEALLOCATE a b");
	check_none("DEALLOCATE a, b");
	check_none("DEALLOCATE a.b");
	check_none("DEALLOCATE (a)");
	check_none("DEALLOCATE 1");
	check_none("DEALLOCATE $1");
	check_none("DEALLOCATE a; SELECT 1");
	check_none("DEALLOCATE a '");
	check_none("DEALLOCATED a");
	check_none("\"deallocate\" a");
	check_none("PREPARE a");
	check_none("EXECUTE a");
	assert_false(read_name("DEALLOCATE a\0b", 14, name, sizeof(name)));
	assert_false(read_name("DEALLOCATE \0", 12, name, sizeof(name)));
}

/* The text ends where its length says. */
static void test_length(void **state)
{
	char name[64];

	(void)state;
	assert_true(read_name("DEALLOCATE abc", 13, name, sizeof(name)));
	assert_string_equal(name, "ab");
	assert_false(read_name("DEALLOCATE abc", 11, name, sizeof(name)));
}

static void test_size(void **state)
{
	static const char *const texts[] = {
		"DEALLOCATE Abc",
		"DEALLOCATE \"Abc\"",
		"DEALLOCATE \"\"\"b\"\"\"",
	};
	static const char *const names[] = {"abc", "Abc", "\"b\""};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		char name[5] = "1234";

		assert_true(read_name(texts[i], strlen(texts[i]), name, 4));
		assert_string_equal(name, names[i]);
		for (size_t size = 1; size < 4; size++) {
			char *small = mem_alloc(size);

			assert_false(read_name(texts[i], strlen(texts[i]), small, size));
			mem_free(small);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_folding), cmocka_unit_test(test_quoting),
		cmocka_unit_test(test_prepare), cmocka_unit_test(test_all),
		cmocka_unit_test(test_gaps),    cmocka_unit_test(test_other_texts),
		cmocka_unit_test(test_length),  cmocka_unit_test(test_size),
	};

	return cmocka_run_group_tests_name("sql deallocate", tests, NULL, NULL);
}
