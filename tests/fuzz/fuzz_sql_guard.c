/* libFuzzer: any bytes as SQL text for the guard, in its three modes. What must hold:
 * - a mode refuses whatever the weaker one does, and by no rule of a stricter one;
 * - what two modes let through is the same statements to both;
 * - the place that a refusal tells lies in the text;
 * - the search in texts that nobody parses finds a protected name that stands there as it is. */
#include "sql_input.h"

#define N_MODES (SQL_GUARD_STRICT + 1)

static struct sql_rules *rules[N_MODES];
static struct sql_class classes[N_MODES];

static void check_refusal(const struct sql_refusal *refusal, unsigned mode, const char *text,
                          size_t size)
{
	if (refusal == NULL)
		return;
	if (refusal->position > size + 1)
		fuzz_die("a place behind the text", text);
	if (refusal->id != SQL_RULE_NONE && sql_rule_info(refusal->id)->mode > mode)
		fuzz_die("a rule of a stricter mode", text);
}

static void check_modes(const struct sql_class *weak, const struct sql_class *strict,
                        const char *text)
{
	if (strict->refusal != NULL)
		return;
	if (weak->refusal != NULL)
		fuzz_die("refused in the weaker mode only", text);
	if (weak->n_stmts != strict->n_stmts)
		fuzz_die("other statements", text);
	for (unsigned i = 0; i < weak->n_stmts; i++) {
		if (weak->stmts[i].kind != strict->stmts[i].kind ||
		    weak->stmts[i].bits != strict->stmts[i].bits)
			fuzz_die("another class", text);
	}
}

static void check_search(const char *text, size_t size)
{
	struct sql_text *searched = sql_text_new(text, size);
	bool is_named = false;

	for (unsigned i = 0; fuzz_names[i] != NULL; i++)
		is_named = is_named || memmem(text, size, fuzz_names[i], strlen(fuzz_names[i]));
	if (is_named && !sql_text_may_set(searched, fuzz_names))
		fuzz_die("a name not found", text);
	sql_text_free(&searched);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text;

	if (size > FUZZ_TEXT_MAX)
		return 0;
	text = mem_strndup((const char *)data, size);
	for (unsigned mode = 0; mode < N_MODES; mode++) {
		if (rules[mode] == NULL) {
			rules[mode] = sql_rules_new(fuzz_names);
			rules[mode]->mode = (enum sql_guard_mode)mode;
		}
		sql_class_read(&classes[mode], rules[mode], text, size);
		check_refusal(classes[mode].refusal, mode, text, size);
		if (mode > 0)
			check_modes(&classes[mode - 1], &classes[mode], text);
	}
	check_search(text, size);
	mem_free(text);
	return 0;
}
