/* The packets before login, as real clients send them, cut at every byte, and malformed ones. */
#include <string.h>

#include "base/mem.h"
#include "unit/base/cm.h"
#include "wire.h"

/* What psql 15 sends: length, protocol 3.0, pairs, a final NUL. */
#define PSQL_TEXT                                                                                  \
	"user\0app\0database\0shop\0application_name\0psql\0client_encoding\0UTF8\0options\0"      \
	"-c geqo=off\0"
static const uint8_t psql[] = "\0\0\0\x5f\0\3\0\0" PSQL_TEXT;

static const struct pair {
	const char *name, *value;
} psql_pairs[] = {
	{"user", "app"},
	{"database", "shop"},
	{"application_name", "psql"},
	{"client_encoding", "UTF8"},
	{"options", "-c geqo=off"},
};

/* Reads a copy of exactly n bytes, so that a sanitizer sees a look behind its end. The copy is
 * the caller's. */
static enum wire_read read_copy(const void *p, size_t n, struct wire_startup *s, uint8_t **copy)
{
	*copy = mem_dup(p, n);
	memset(s, 0, sizeof(*s));
	return wire_startup_read(*copy, n, s);
}

static void test_psql(void **state)
{
	struct wire_startup s;
	const char *name, *value;
	uint8_t *copy;

	(void)state;
	assert_int_equal(be32_get(psql), sizeof(psql));
	assert_int_equal(read_copy(psql, sizeof(psql), &s, &copy), WIRE_READ_OK);
	assert_int_equal(s.code, WIRE_PROTOCOL_3_0);
	assert_int_equal(s.total_len, sizeof(psql));
	for (size_t i = 0; i < COUNT_OF(psql_pairs); i++) {
		assert_int_equal(wire_startup_param(&s.rest, &name, &value), WIRE_READ_OK);
		assert_string_equal(name, psql_pairs[i].name);
		assert_string_equal(value, psql_pairs[i].value);
	}
	assert_int_equal(wire_startup_param(&s.rest, &name, &value), WIRE_READ_SHORT);
	mem_free(copy);
}

static void test_cut_at_every_byte(void **state)
{
	struct wire_startup s;
	uint8_t *copy;

	(void)state;
	for (size_t n = 0; n < sizeof(psql); n++) {
		assert_int_equal(read_copy(psql, n, &s, &copy), WIRE_READ_SHORT);
		mem_free(copy);
	}
}

/* The packet ends where its length says, whatever follows. */
static void test_bytes_behind_it(void **state)
{
	uint8_t more[sizeof(psql) + 5];
	struct wire_startup s;
	uint8_t *copy;

	(void)state;
	memcpy(more, psql, sizeof(psql));
	memcpy(more + sizeof(psql), "p\0\0\0\x09", 5);
	assert_int_equal(read_copy(more, sizeof(more), &s, &copy), WIRE_READ_OK);
	assert_int_equal(s.total_len, sizeof(psql));
	assert_ptr_equal(s.rest.end, copy + sizeof(psql));
	mem_free(copy);
}

static enum wire_read read_length(uint32_t len, size_t n)
{
	uint8_t *packet = mem_zalloc(n);
	struct wire_startup s;
	enum wire_read r;

	be32_set(packet, len);
	r = wire_startup_read(packet, n, &s);
	mem_free(packet);
	return r;
}

/* An impossible length is refused with its first four bytes: nobody waits for, or makes room for,
 * what it promises. */
static void test_lengths(void **state)
{
	static const uint32_t bad[] = {0, 3, 4, 7, 10001, 0x00ffffff, 0x7fffffff, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		assert_int_equal(read_length(bad[i], 4), WIRE_READ_BAD);
		assert_int_equal(read_length(bad[i], 12), WIRE_READ_BAD);
	}
	assert_int_equal(read_length(8, 8), WIRE_READ_OK);
	assert_int_equal(read_length(10000, 9999), WIRE_READ_SHORT);
	assert_int_equal(read_length(10000, 10000), WIRE_READ_OK);
}

/* The special requests, as PostgreSQL documentation 55.7 writes them. */
static void test_special_codes(void **state)
{
	static const uint8_t ssl[] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f};
	static const uint8_t gss[] = {0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30};
	static const uint8_t cancel[] = {0, 0, 0,    16,   0x04, 0xd2, 0x16, 0x2e,
	                                 0, 0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc};
	struct wire_startup s;

	(void)state;
	assert_int_equal(wire_startup_read(ssl, sizeof(ssl), &s), WIRE_READ_OK);
	assert_int_equal(s.code, WIRE_SSL_REQUEST);
	assert_ptr_equal(s.rest.at, s.rest.end);
	assert_int_equal(wire_startup_read(gss, sizeof(gss), &s), WIRE_READ_OK);
	assert_int_equal(s.code, WIRE_GSSENC_REQUEST);
	assert_int_equal(wire_startup_read(cancel, sizeof(cancel), &s), WIRE_READ_OK);
	assert_int_equal(s.code, WIRE_CANCEL_REQUEST);
	assert_int_equal(s.rest.end - s.rest.at, 8);
	assert_int_equal(be32_get(s.rest.at), 0x1234);
	assert_int_equal(be32_get(s.rest.at + 4), 0x56789abc);
}

/* 4 bytes of process id and 1 to 256 of key. */
static void test_cancel_keys(void **state)
{
	uint8_t body[4 + WIRE_CANCEL_KEY_MAX + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(body); i++)
		body[i] = (uint8_t)i;
	for (size_t len = 0; len <= sizeof(body); len++) {
		uint8_t *copy = mem_dup(body, len);
		struct wire_cursor c = {copy, copy + len};
		struct wire_cancel cancel;
		enum wire_read r = wire_cancel_read(c, &cancel);

		if (len <= 4 || len == sizeof(body)) {
			assert_int_equal(r, WIRE_READ_BAD);
		} else {
			assert_int_equal(r, WIRE_READ_OK);
			assert_int_equal(cancel.pid, 0x00010203);
			assert_int_equal(cancel.key_len, len - 4);
			assert_memory_equal(cancel.key, body + 4, len - 4);
		}
		mem_free(copy);
	}
}

/* Reads the pairs of a list; the last answer. */
static enum wire_read walk(const void *list, size_t len, int *n_pairs)
{
	uint8_t *copy = mem_dup(list, len);
	struct wire_cursor c = {copy, copy + len};
	const char *name, *value;
	enum wire_read r;

	*n_pairs = 0;
	while ((r = wire_startup_param(&c, &name, &value)) == WIRE_READ_OK)
		(*n_pairs)++;
	mem_free(copy);
	return r;
}

static void test_malformed_lists(void **state)
{
	static const struct {
		const char *list;
		size_t len;
		int n_pairs;
		enum wire_read end;
	} cases[] = {
		{"", 1, 0, WIRE_READ_SHORT},               /* no parameter at all */
		{"", 0, 0, WIRE_READ_BAD},                 /* not even the final NUL */
		{"user\0app\0", 9, 1, WIRE_READ_BAD},      /* no final NUL */
		{"user\0app", 8, 0, WIRE_READ_BAD},        /* value not terminated */
		{"user\0", 5, 0, WIRE_READ_BAD},           /* value missing */
		{"user", 4, 0, WIRE_READ_BAD},             /* name not terminated */
		{"user\0app\0\0x", 11, 1, WIRE_READ_BAD},  /* bytes behind the final NUL */
		{"user\0app\0\0\0", 11, 1, WIRE_READ_BAD}, /* even a NUL */
		{"user\0\0\0", 7, 1, WIRE_READ_SHORT},     /* an empty value is one */
		{"a\0b\0c\0d\0\0", 9, 2, WIRE_READ_SHORT},
	};
	int n_pairs;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		assert_int_equal(walk(cases[i].list, cases[i].len, &n_pairs), cases[i].end);
		assert_int_equal(n_pairs, cases[i].n_pairs);
	}
}

/* Psql's list, ended early at every byte: the length word fits, the list never does, except
 * where the cut makes a shorter well-formed one. */
static void test_list_cut_at_every_byte(void **state)
{
	(void)state;
	for (size_t len = 0; len < sizeof(psql) - 8; len++) {
		int n_pairs;

		assert_int_equal(walk(psql + 8, len, &n_pairs), WIRE_READ_BAD);
		assert_in_range(n_pairs, 0, COUNT_OF(psql_pairs));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_psql),
		cmocka_unit_test(test_cut_at_every_byte),
		cmocka_unit_test(test_bytes_behind_it),
		cmocka_unit_test(test_lengths),
		cmocka_unit_test(test_special_codes),
		cmocka_unit_test(test_cancel_keys),
		cmocka_unit_test(test_malformed_lists),
		cmocka_unit_test(test_list_cut_at_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
