/* A statement of the console's to a command. PgBouncer's grammar, one statement a string:
 *
 *   word [argument] [;]        SET word = | TO value        EXPLAIN ROUTE statement
 *
 * A word is letters, digits and underscores, or anything in double quotes. An argument may also be
 * in single quotes, and have the characters of identifiers in it (dots, dashes, colons). Pure. */
#include <string.h>
#include <strings.h>

#include "console_int.h"

#define SPACE " \t\r\n"
#define WORD_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

enum argument { ARGUMENT_NONE, ARGUMENT_OPTIONAL, ARGUMENT_REQUIRED, ARGUMENT_STATEMENT };
enum access { ACCESS_STATS, ACCESS_ADMIN };

static const struct {
	const char *verb, *object;
	enum argument argument;
	enum access access;
} commands[] = {
#define CONSOLE_COMMAND(name, verb, object, argument, access)                                      \
	{verb, object, ARGUMENT_##argument, ACCESS_##access},
#include "tbl/console_commands.h"
#undef CONSOLE_COMMAND
};

/* Some drivers set these whether it is wanted or not, and ask for them. */
static const struct {
	const char *name, *value;
} params[] = {
	{"application_name", ""},
	{"client_encoding", "UTF8"},
	{"client_min_messages", "notice"},
	{"datestyle", "ISO"},
	{"default_transaction_isolation", "read committed"},
	{"extra_float_digits", "2"},
	{"standard_conforming_strings", "on"},
	{"timezone", "UTC"},
};

static bool take_quoted(const char **at, char quote, char *out, size_t size)
{
	const char *p = *at + 1;
	size_t n = 0;

	for (;; p++) {
		if (*p == '\0')
			return false;
		if (*p == quote && *++p != quote)
			break;
		if (n + 1 >= size)
			return false;
		out[n++] = *p;
	}
	out[n] = '\0';
	*at = p;
	return n > 0;
}

/* A word at *at, into CONSOLE_ARG_MAX bytes. */
static bool take_word(const char **at, const char *chars, bool single_quotes, char *out)
{
	size_t n;

	if (**at == '"' || (single_quotes && **at == '\''))
		return take_quoted(at, **at, out, CONSOLE_ARG_MAX);
	n = strspn(*at, chars);
	if (n == 0 || n >= CONSOLE_ARG_MAX)
		return false;
	memcpy(out, *at, n);
	out[n] = '\0';
	*at += n;
	return true;
}

/* Nothing but the end of the statement. */
static bool is_end(const char *at)
{
	at += strspn(at, SPACE);
	if (*at == ';')
		at++;
	return at[strspn(at, SPACE)] == '\0';
}

static bool find_param(const char *name, struct command *out)
{
	for (size_t i = 0; i < COUNT_OF(params); i++) {
		if (strcasecmp(params[i].name, name) != 0)
			continue;
		out->param = params[i].name;
		out->value = params[i].value;
		return true;
	}
	return false;
}

/* In single quotes, or up to the end of the statement. It may be empty. */
static bool take_value(const char **at, char *out)
{
	size_t n = 0;

	if (**at == '\'' && (*at)[1] == '\'') {
		*at += 2;
		return true;
	}
	if (**at == '\'')
		return take_quoted(at, '\'', out, CONSOLE_VALUE_MAX);
	while ((*at)[n] != '\0' && (*at)[n] != ';')
		n++;
	if (n >= CONSOLE_VALUE_MAX)
		return false;
	memcpy(out, *at, n);
	*at += n;
	while (n > 0 && strchr(SPACE, out[n - 1]) != NULL)
		n--;
	out[n] = '\0';
	return n > 0;
}

/* A driver's parameter may be set to anything on which this is no longer one statement's end. */
static enum parse parse_set(const char *at, struct command *out)
{
	out->id = COMMAND_SET;
	if (strncasecmp(at, "session ", 8) == 0)
		at += 8;
	if (!take_word(&at, WORD_CHARS, false, out->arg))
		return PARSE_BAD;
	at += strspn(at, SPACE);
	if (*at != '=' && strncasecmp(at, "to", 2) != 0)
		return PARSE_BAD;
	if (find_param(out->arg, out)) {
		out->arg[0] = '\0';
		at += strcspn(at, ";");
		return is_end(at) ? PARSE_OK : PARSE_BAD;
	}
	out->id = COMMAND_SET_OPTION;
	out->is_admins = true;
	at += *at == '=' ? 1 : 2;
	at += strspn(at, SPACE);
	return take_value(&at, out->setting) && is_end(at) ? PARSE_OK : PARSE_BAD;
}

/* What follows is SQL's to read, to its last comment. */
static enum parse parse_explain(const char *at, struct command *out)
{
	char object[CONSOLE_ARG_MAX];

	if (!take_word(&at, WORD_CHARS, false, object) ||
	    strcasecmp(object, commands[COMMAND_EXPLAIN_ROUTE].object) != 0)
		return PARSE_BAD;
	at += strspn(at, SPACE);
	if (is_end(at))
		return PARSE_BAD;
	out->id = COMMAND_EXPLAIN_ROUTE;
	out->statement = at;
	return PARSE_OK;
}

static bool is_command(size_t i, const char *verb, const char *arg, bool has_arg)
{
	if (strcasecmp(commands[i].verb, verb) != 0 || commands[i].argument == ARGUMENT_STATEMENT)
		return false;
	if (commands[i].object[0] != '\0')
		return strcasecmp(commands[i].object, arg) == 0;
	return commands[i].argument == ARGUMENT_OPTIONAL ||
	       has_arg == (commands[i].argument == ARGUMENT_REQUIRED);
}

static enum parse find_command(const char *verb, bool has_arg, struct command *out)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (!is_command(i, verb, out->arg, has_arg))
			continue;
		out->id = (enum console_command)i;
		out->is_admins = commands[i].access == ACCESS_ADMIN;
		return PARSE_OK;
	}
	out->id = COMMAND_PARAM;
	return strcasecmp(verb, "show") == 0 && find_param(out->arg, out) ? PARSE_OK : PARSE_BAD;
}

enum parse console_parse(const char *text, struct command *out)
{
	char verb[CONSOLE_ARG_MAX];
	const char *at = text + strspn(text, SPACE);
	size_t gap;
	bool has_arg;

	memset(out, 0, sizeof(*out));
	if (is_end(at))
		return PARSE_EMPTY;
	if (!take_word(&at, WORD_CHARS, false, verb))
		return PARSE_BAD;
	gap = strspn(at, SPACE);
	at += gap;
	if (gap > 0 && strcasecmp(verb, "set") == 0)
		return parse_set(at, out);
	if (gap > 0 && strcasecmp(verb, commands[COMMAND_EXPLAIN_ROUTE].verb) == 0)
		return parse_explain(at, out);
	has_arg = gap > 0 && !is_end(at);
	if (has_arg && !take_word(&at, WORD_CHARS ".:-$@", true, out->arg))
		return PARSE_BAD;
	return is_end(at) ? find_command(verb, has_arg, out) : PARSE_BAD;
}
