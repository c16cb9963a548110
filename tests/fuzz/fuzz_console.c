/* libFuzzer: any text as a statement of the console's.
 *
 * What must hold, beyond not reading past the end:
 * - what is a command has an argument that fits and, written down plainly in quotes, is read again
 *   as the same command with the same argument;
 * - a statement to be explained is there, and not empty;
 * - a command of stats_users is a SHOW, an EXPLAIN or a SET that is ignored, nothing else. */
#include <stdio.h>
#include <string.h>

#include "console/console_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct command *c, const char *verb)
{
	struct command again;
	char text[3 * CONSOLE_ARG_MAX];
	size_t n = (size_t)snprintf(text, sizeof(text), "%s", verb);

	if (c->arg[0] != '\0') {
		text[n++] = ' ';
		text[n++] = '"';
		for (const char *p = c->arg; *p != '\0'; p++) {
			if (*p == '"')
				text[n++] = '"';
			text[n++] = *p;
		}
		text[n++] = '"';
	}
	text[n] = '\0';
	MUST(console_parse(text, &again) == PARSE_OK);
	MUST(again.id == c->id && again.is_admins == c->is_admins);
	MUST(strcmp(again.arg, c->arg) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const verbs[] = {
#define CONSOLE_COMMAND(name, verb, object, argument, access) verb,
#include "tbl/console_commands.h"
#undef CONSOLE_COMMAND
	};
	struct command c;
	/* To the byte, so that the sanitizer sees every step behind its end. */
	char *text = mem_strndup((const char *)data, size);

	if (console_parse(text, &c) == PARSE_OK) {
		MUST(c.id < COMMAND_COUNT && strlen(c.arg) < CONSOLE_ARG_MAX);
		if (c.id == COMMAND_EXPLAIN_ROUTE) {
			MUST(!c.is_admins && c.arg[0] == '\0');
			MUST(c.statement > text && c.statement[0] != '\0');
		} else if (c.id < COUNT_OF(verbs)) {
			MUST(c.is_admins == (strcmp(verbs[c.id], "show") != 0));
			check_again(&c, verbs[c.id]);
		} else {
			MUST(!c.is_admins && c.param != NULL && c.value != NULL);
		}
	}
	mem_free(text);
	return 0;
}
