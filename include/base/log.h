/* The log: one line an event, to stderr or a file, from any thread. No secret is ever an
 * argument: tokens, passwords and literals of statements stay out. */
#ifndef PGUSHER_BASE_LOG_H
#define PGUSHER_BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

/* Lines above this level are dropped; LOG_LEVEL_INFO at start. */
void log_set_level(enum log_level level);
bool log_is_on(enum log_level level);
/* Appends to path from now on, NULL: stderr. False with errno, and nothing changed, when it
 * cannot be opened. Called again with the same path it reopens the file (rotation). */
bool log_open(const char *path);
void log_write(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)                                                                             \
	do {                                                                                       \
		if (log_is_on(LOG_LEVEL_DEBUG))                                                    \
			log_write(LOG_LEVEL_DEBUG, __VA_ARGS__);                                   \
	} while (0)

#endif
