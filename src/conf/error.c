/* The one way in which a configuration is refused: a line for people and its parts. */
#include <stdarg.h>
#include <stdio.h>

#include "conf_int.h"

bool conf_fail(struct conf_error *err, const char *file, int line, const char *key, const char *fmt,
               ...)
{
	char at[16] = "";
	va_list args;

	if (line > 0)
		snprintf(at, sizeof(at), ":%d", line);
	snprintf(err->file, sizeof(err->file), "%s", file);
	snprintf(err->key, sizeof(err->key), "%s", key);
	err->line = line;
	va_start(args, fmt);
	vsnprintf(err->what, sizeof(err->what), fmt, args);
	va_end(args);
	snprintf(err->text, sizeof(err->text), "%s%s: %s%s%s", err->file, at, err->key,
	         err->key[0] ? ": " : "", err->what);
	return false;
}
