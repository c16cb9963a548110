/* base/mem.h: copies are copies, empty ones too, and MEM_FREE nulls its owner. */
#include "base/mem.h"

#include <string.h>

#include "unit/base/cm.h"
#include "unit/base/death.h"

static void test_zalloc_gives_zeroes(void **state)
{
	static const char zeroes[512];
	char *p = mem_zalloc(sizeof(zeroes));

	(void)state;
	assert_memory_equal(p, zeroes, sizeof(zeroes));
	MEM_FREE(&p);
	assert_null(p);
	MEM_FREE(&p);
}

static void test_empty_requests_give_memory(void **state)
{
	void *p[] = {mem_alloc(0), mem_zalloc(0), mem_realloc(NULL, 0), mem_dup(NULL, 0),
	             mem_realloc(mem_alloc(5), 0)};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(p); i++) {
		assert_non_null(p[i]);
		mem_free(p[i]);
	}
}

static void test_copies(void **state)
{
	char text[] = "abcdef";
	char *whole = mem_strdup(text), *part = mem_strndup(text, 3), *none = mem_strndup(NULL, 0);
	char *bytes = mem_dup("a\0b", 3);

	(void)state;
	text[0] = 'X';
	assert_string_equal(whole, "abcdef");
	assert_string_equal(part, "abc");
	assert_string_equal(none, "");
	assert_memory_equal(bytes, "a\0b", 3);
	whole = mem_realloc(whole, 10000);
	assert_string_equal(whole, "abcdef");
	mem_free(whole);
	mem_free(part);
	mem_free(none);
	mem_free(bytes);
}

static void ask_for_too_much(void)
{
	/* volatile: the compiler knows that no object is so large. */
	volatile size_t size = SIZE_MAX / 2;

	mem_free(mem_alloc(size));
}

static void test_running_out_ends_the_process(void **state)
{
	char said[1024];

	(void)state;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	skip(); /* the sanitizers' malloc ends the process by itself */
#endif
	assert_true(death_of(ask_for_too_much, said, sizeof(said)));
	assert_non_null(strstr(said, "mem_alloc"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zalloc_gives_zeroes),
		cmocka_unit_test(test_empty_requests_give_memory),
		cmocka_unit_test(test_copies),
		cmocka_unit_test(test_running_out_ends_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
