/* The log: one line an event, to stderr or a file, from any thread. No secret is ever an
 * argument: tokens, passwords and literals of statements stay out. */
#ifndef PGUSHER_BASE_LOG_H
#define PGUSHER_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped; LOG_LEVEL_INFO at start. */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);
/* Appends to path from now on, NULL: stderr. False with errno, and nothing changed, when it
 * cannot be opened. Called again with the same path it reopens the file (rotation). */
bool log_open(const char *path);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A string that a client chose, for a line of the log: in double quotes, quotes, backslashes and
 * all that is not printable ASCII as \xNN, cut after LOG_QUOTED_BYTES. One that holds what looks
 * like a token (somebody took the wrong field for his password) is not shown: (a token?). NULL is
 * "". */
#define LOG_QUOTED_BYTES 63
struct log_quoted {
	char text[4 * LOG_QUOTED_BYTES + 3];
};
const char *log_quote(struct log_quoted *to, const char *s);
/* The same for one that is used once, until the end of the block it is written in. */
#define LOG_QUOTE(s) log_quote(&(struct log_quoted){.text = ""}, (s))
bool log_has_token(const char *s);

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_is_on(LOG_LEVEL_DEBUG))                                                    \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                   \
	} while (0)

#endif
