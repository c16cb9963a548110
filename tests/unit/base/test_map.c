/* base/map.h: finding, removing, growing; of equal hashes the newest comes first, and stays
 * there when the map grows. */
#include "base/map.h"

#include <stdlib.h>

#include "base/mem.h"
#include "unit/base/cm.h"

struct item {
	struct map_node node;
	int value;
};

static int item_value(struct map_node *node)
{
	assert_non_null(node);
	return CONTAINER_OF(node, struct item, node)->value;
}

static void test_empty_map_has_nothing(void **state)
{
	struct map map;

	(void)state;
	map_init(&map);
	assert_null(map_find(&map, 0));
	assert_null(map_find(&map, 42));
	assert_null(map.buckets);
	map_fini(&map);
}

static void test_finds_what_was_inserted(void **state)
{
	enum { N = 1000 };
	struct item *items = mem_zalloc(N * sizeof(items[0]));
	struct map map;

	(void)state;
	map_init(&map);
	for (int i = 0; i < N; i++) {
		items[i].value = i;
		map_insert(&map, &items[i].node, (uint64_t)i * UINT64_C(0x9e3779b97f4a7c15));
	}
	assert_int_equal(map.count, N);
	assert_true(map.n_buckets >= N);
	for (int i = 0; i < N; i++) {
		struct map_node *node = map_find(&map, items[i].node.hash);

		assert_int_equal(item_value(node), i);
		assert_null(map_find_next(node));
	}
	assert_null(map_find(&map, 1));
	map_fini(&map);
	mem_free(items);
}

static void test_hashes_that_share_a_bucket_are_told_apart(void **state)
{
	struct item a = {.value = 1}, b = {.value = 2};
	struct map map;

	(void)state;
	map_init(&map);
	map_insert(&map, &a.node, 5);
	map_insert(&map, &b.node, 5 + (UINT64_C(1) << 40));
	assert_int_equal(item_value(map_find(&map, 5)), 1);
	assert_int_equal(item_value(map_find(&map, 5 + (UINT64_C(1) << 40))), 2);
	assert_null(map_find_next(map_find(&map, 5)));
	assert_null(map_find(&map, 5 + (UINT64_C(1) << 41)));
	map_fini(&map);
}

/* Expects the values n, n-1, ..., 1 under the hash. */
static void assert_newest_first(const struct map *map, uint64_t hash, int n)
{
	struct map_node *node = map_find(map, hash);

	for (; n > 0; n--, node = map_find_next(node))
		assert_int_equal(item_value(node), n);
	assert_null(node);
}

static void test_newest_of_equal_hashes_stays_first_when_it_grows(void **state)
{
	enum { N_EQUAL = 5, N_OTHER = 300 };
	struct item equal[N_EQUAL], others[N_OTHER];
	struct map map;
	uint32_t n_buckets = 0;
	int times_grown = 0;

	(void)state;
	map_init(&map);
	for (int i = 0; i < N_EQUAL; i++) {
		equal[i].value = i + 1;
		map_insert(&map, &equal[i].node, 7);
	}
	for (int i = 0; i < N_OTHER; i++) {
		others[i].value = -1;
		/* Every one begins in the bucket of 7 and leaves it at some doubling. */
		map_insert(&map, &others[i].node, 7 + ((uint64_t)(i + 1) << 4));
		times_grown += map.n_buckets != n_buckets;
		n_buckets = map.n_buckets;
		assert_newest_first(&map, 7, N_EQUAL);
	}
	assert_true(times_grown >= 5);
	map_fini(&map);
}

static void test_removes_only_the_given_member(void **state)
{
	struct item items[3];
	struct map map;

	(void)state;
	map_init(&map);
	for (int i = 0; i < 3; i++) {
		items[i].value = i + 1;
		map_insert(&map, &items[i].node, 9);
	}
	map_remove(&map, &items[1].node);
	assert_int_equal(map.count, 2);
	assert_int_equal(item_value(map_find(&map, 9)), 3);
	assert_int_equal(item_value(map_find_next(map_find(&map, 9))), 1);
	map_remove(&map, &items[2].node);
	map_remove(&map, &items[0].node);
	assert_int_equal(map.count, 0);
	assert_null(map_find(&map, 9));
	map_insert(&map, &items[1].node, 9);
	assert_int_equal(item_value(map_find(&map, 9)), 2);
	map_fini(&map);
}

static void sum_and_free(struct map_node *node, void *arg)
{
	*(int *)arg += item_value(node);
	mem_free(CONTAINER_OF(node, struct item, node));
}

static void test_each_visits_all_and_may_free_them(void **state)
{
	struct map map;
	int sum = 0;

	(void)state;
	map_init(&map);
	map_each(&map, sum_and_free, &sum);
	assert_int_equal(sum, 0);
	for (int i = 1; i <= 100; i++) {
		struct item *item = mem_alloc(sizeof(*item));

		item->value = i;
		map_insert(&map, &item->node, (uint64_t)i / 3);
	}
	map_each(&map, sum_and_free, &sum);
	assert_int_equal(sum, 5050);
	map_fini(&map);
	assert_int_equal(map.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty_map_has_nothing),
		cmocka_unit_test(test_finds_what_was_inserted),
		cmocka_unit_test(test_hashes_that_share_a_bucket_are_told_apart),
		cmocka_unit_test(test_newest_of_equal_hashes_stays_first_when_it_grows),
		cmocka_unit_test(test_removes_only_the_given_member),
		cmocka_unit_test(test_each_visits_all_and_may_free_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
