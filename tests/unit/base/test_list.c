/* base/list.h: order, removal, and what a foreach may do while it walks. */
#include "base/list.h"

#include "unit/base/cm.h"

struct item {
	int value;
	struct list link;
};

static void items_init(struct item *items, int n, struct list *list)
{
	list_init(list);
	for (int i = 0; i < n; i++) {
		items[i].value = i + 1;
		list_push_back(list, &items[i].link);
	}
}

/* The values in order, as decimal digits; the same backwards, or -1. */
static int list_digits(struct list *list)
{
	int forth = 0, back = 0, place = 1;

	LIST_FOREACH(link, list) {
		forth = forth * 10 + LIST_MEMBER(link, struct item, link)->value;
	}
	for (struct list *link = list->prev; link != list; link = link->prev) {
		back += place * LIST_MEMBER(link, struct item, link)->value;
		place *= 10;
	}
	return forth == back ? forth : -1;
}

static void test_pushes_at_both_ends(void **state)
{
	struct item items[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
	struct list list;

	(void)state;
	list_init(&list);
	assert_true(list_is_empty(&list));
	assert_null(LIST_FIRST(&list, struct item, link));
	list_push_back(&list, &items[1].link);
	list_push_back(&list, &items[2].link);
	list_push_front(&list, &items[0].link);
	assert_false(list_is_empty(&list));
	assert_int_equal(list_digits(&list), 123);
	assert_ptr_equal(LIST_FIRST(&list, struct item, link), &items[0]);
}

static void test_pops_in_order_until_empty(void **state)
{
	struct item items[3];
	struct list list;

	(void)state;
	items_init(items, 3, &list);
	for (int i = 0; i < 3; i++) {
		struct list *link = list_pop_front(&list);

		assert_ptr_equal(link, &items[i].link);
		assert_true(list_is_empty(link));
	}
	assert_null(list_pop_front(&list));
	assert_true(list_is_empty(&list));
}

static void test_removes_first_middle_last(void **state)
{
	struct item items[5];
	struct list list;

	(void)state;
	items_init(items, 5, &list);
	list_remove(&items[2].link);
	assert_int_equal(list_digits(&list), 1245);
	list_remove(&items[0].link);
	assert_int_equal(list_digits(&list), 245);
	list_remove(&items[4].link);
	assert_int_equal(list_digits(&list), 24);
}

static void test_removing_twice_is_harmless(void **state)
{
	struct item items[3];
	struct list list;

	(void)state;
	items_init(items, 3, &list);
	list_remove(&items[1].link);
	list_remove(&items[1].link);
	assert_int_equal(list_digits(&list), 13);
	list_push_front(&list, &items[1].link);
	assert_int_equal(list_digits(&list), 213);
}

static void test_foreach_survives_removal_of_the_current(void **state)
{
	struct item items[4];
	struct list list;
	int seen = 0;

	(void)state;
	items_init(items, 4, &list);
	LIST_FOREACH(link, &list) {
		seen = seen * 10 + LIST_MEMBER(link, struct item, link)->value;
		if (LIST_MEMBER(link, struct item, link)->value % 2 == 1)
			list_remove(link);
	}
	assert_int_equal(seen, 1234);
	assert_int_equal(list_digits(&list), 24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pushes_at_both_ends),
		cmocka_unit_test(test_pops_in_order_until_empty),
		cmocka_unit_test(test_removes_first_middle_last),
		cmocka_unit_test(test_removing_twice_is_harmless),
		cmocka_unit_test(test_foreach_survives_removal_of_the_current),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
