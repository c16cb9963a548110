/* libFuzzer: any bytes as SQL text for the classifier and its cache. What must hold, beyond not
 * crashing:
 * - the class from the cache, whatever was there before, is the class of the text parsed alone
 *   and as it is: normalising never merges two texts whose classes differ;
 * - a second look gives the same answer;
 * - statements lie in the text, in order. */
#include "sql_input.h"

static struct sql_cache *cache;
static struct sql_rules *rules;
static struct sql_class alone;

static bool classes_equal(const struct sql_info *info)
{
	if (info->n_stmts != alone.n_stmts || (info->refusal == NULL) != (alone.refusal == NULL) ||
	    (info->refusal != NULL && strcmp(info->refusal->rule, alone.refusal->rule) != 0))
		return false;
	for (unsigned i = 0; i < alone.n_stmts; i++)
		if (info->stmts[i].kind != alone.stmts[i].kind ||
		    info->stmts[i].bits != alone.stmts[i].bits ||
		    info->stmts[i].start_bytes != alone.stmts[i].start_bytes ||
		    info->stmts[i].len_bytes != alone.stmts[i].len_bytes)
			return false;
	return true;
}

static void check_places(const struct sql_info *info, const char *text, size_t size)
{
	size_t at = 0;

	for (unsigned i = 0; info->n_stmts > 1 && i < info->n_stmts; i++) {
		const struct sql_stmt *stmt = &info->stmts[i];

		if (stmt->start_bytes < at || stmt->start_bytes + stmt->len_bytes > size ||
		    stmt->len_bytes == 0)
			fuzz_die("place", text);
		at = stmt->start_bytes + stmt->len_bytes;
	}
}

static void check_class(const char *text, size_t size)
{
	for (int i = 0; i < 2; i++) {
		const struct sql_info *info = sql_classify(cache, text, size);

		check_places(info, text, size);
		if (alone.is_parse_error && may_continue_past_comment(text))
			continue;
		if (!classes_equal(info))
			fuzz_die(i == 0 ? "class" : "class again", text);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size > FUZZ_TEXT_MAX)
		return 0;
	if (cache == NULL) {
		/* Strict has all the rules; a refusal is the first one that is found. */
		cache = sql_cache_new(fuzz_names, 2000);
		sql_cache_set_guard(cache, &(struct sql_guard){.mode = SQL_GUARD_STRICT});
		rules = sql_rules_new(fuzz_names);
		rules->mode = SQL_GUARD_STRICT;
	}
	text = mem_strndup((const char *)data, size);
	sql_class_read(&alone, rules, text, size);
	check_class(text, size);
	mem_free(text);
	return 0;
}
