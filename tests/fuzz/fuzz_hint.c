/* libFuzzer: any bytes as a statement with hints in its comments. */
#include "sql_hint.h"
#include "sql_input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sql_hints hints;
	char *text;
	bool found;

	if (size > FUZZ_TEXT_MAX)
		return 0;
	text = mem_alloc(size > 0 ? size : 1);
	memcpy(text, data, size); /* no NUL behind it */
	found = sql_hints_read(text, size, &hints);
	if (found && !sql_may_have_hints(text, size))
		fuzz_die("the quick look misses a hint", "");
	for (int i = 0; i < SQL_HINT_COUNT; i++)
		if (memchr(hints.value[i], 0, SQL_HINT_VALUE_MAX) == NULL)
			fuzz_die("a value without an end", "");
	mem_free(text);
	return 0;
}
