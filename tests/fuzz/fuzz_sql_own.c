/* libFuzzer: any bytes as a statement about PgUsher's own settings. What must hold of one that is
 * taken, for it is answered without the server:
 * - name and value are what they say, and the value lies in the text;
 * - the token is never a value that could be written without quotes, nor a function's;
 * - PostgreSQL's parser does not see a second statement in it. */
#include "sql_input.h"

static struct sql_rules *rules;
static struct sql_class class;

static void check_value(const struct sql_own *own, const char *text, size_t size)
{
	size_t at;

	if (own->value == NULL)
		return;
	at = (size_t)(own->value - text);
	if (at > size || own->len > size - at)
		fuzz_die("a value that is not in the text", own->name);
	if (own->verb != SQL_OWN_SET && own->verb != SQL_OWN_SET_CONFIG)
		fuzz_die("a value where none is set", own->name);
}

static void check_name(const struct sql_own *own)
{
	size_t len = strnlen(own->name, SQL_OWN_NAME_MAX);

	if (len == 0 || len == SQL_OWN_NAME_MAX)
		fuzz_die("a name without an end", "");
	for (size_t i = 0; i < len; i++)
		if (own->name[i] >= 'A' && own->name[i] <= 'Z')
			fuzz_die("a name that is not folded", own->name);
}

static void check_token(const struct sql_own *own)
{
	if (strcmp(own->name, "token") != 0)
		return;
	if (own->verb == SQL_OWN_CURRENT_SETTING || own->verb == SQL_OWN_SET_CONFIG)
		fuzz_die("the token in a function", "");
	if (own->value != NULL && (own->value[-1] != '\'' || own->value[own->len] != '\''))
		fuzz_die("a token without quotes", "");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct sql_own own;
	char *text;

	/* A message's text is one string. */
	if (size > FUZZ_TEXT_MAX || memchr(data, 0, size) != NULL)
		return 0;
	text = mem_alloc(size > 0 ? size : 1);
	memcpy(text, data, size); /* no NUL behind it */
	if (sql_read_own(text, size, &own)) {
		check_value(&own, text, size);
		check_name(&own);
		check_token(&own);
		if (rules == NULL)
			rules = sql_rules_new(fuzz_names);
		mem_free(text);
		text = mem_strndup((const char *)data, size);
		sql_class_read(&class, rules, text, size);
		if (class.n_stmts > 1)
			fuzz_die("more than one statement", text);
	}
	mem_free(text);
	return 0;
}
