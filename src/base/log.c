/* The log. A line is formatted on the caller's stack and written with one write(2), so that
 * lines of several threads do not mix and no lock is needed. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE_MAX 1024

static _Atomic int log_fd = STDERR_FILENO;
static _Atomic int log_level = LOG_LEVEL_INFO;

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

bool log_is_on(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level, memory_order_relaxed);
}

bool log_open(const char *path)
{
	int fd = STDERR_FILENO, current = atomic_load(&log_fd);

	if (path != NULL)
		fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0)
		return false;
	/* A thread may be writing to the old descriptor: the new file takes its number. */
	if (current != STDERR_FILENO && fd != STDERR_FILENO) {
		(void)dup3(fd, current, O_CLOEXEC);
		close(fd);
		return true;
	}
	atomic_store(&log_fd, fd);
	return true;
}

bool log_has_token(const char *s)
{
	const char *at = strstr(s, "eyJ");
	const char *dot = at != NULL ? strchr(at, '.') : NULL;

	return dot != NULL && strchr(dot + 1, '.') != NULL;
}

const char *log_quote(struct log_quoted *to, const char *s)
{
	static const char hex[] = "0123456789abcdef";
	char *at = to->text;

	if (s == NULL)
		s = "";
	if (log_has_token(s))
		return "(a token?)";
	*at++ = '"';
	for (size_t i = 0; i < LOG_QUOTED_BYTES && s[i] != '\0'; i++) {
		unsigned char byte = (unsigned char)s[i];

		if (byte >= ' ' && byte < 127 && byte != '"' && byte != '\\') {
			*at++ = (char)byte;
			continue;
		}
		*at++ = '\\';
		*at++ = 'x';
		*at++ = hex[byte >> 4];
		*at++ = hex[byte & 15];
	}
	*at++ = '"';
	*at = '\0';
	return to->text;
}

void log_write(enum log_level level, const char *fmt, ...)
{
	static const char *const names[] = {"ERROR", "WARNING", "INFO", "DEBUG"};
	char line[LOG_LINE_MAX];
	struct timespec ts;
	struct tm tm;
	va_list ap;
	size_t len;
	int n;

	if (!log_is_on(level))
		return;
	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = strftime(line, sizeof(line), "%Y-%m-%d %H:%M:%S", &tm);
	n = snprintf(line + len, sizeof(line) - len, ".%03ld UTC [%d] %s ", ts.tv_nsec / 1000000,
	             (int)getpid(), names[level]);
	len += (size_t)n;
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len - 1, fmt, ap);
	va_end(ap);
	len += (size_t)n < sizeof(line) - len - 1 ? (size_t)n : sizeof(line) - len - 2;
	/* One event, one line: what a peer sent must not forge another. */
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			line[i] = ' ';
	}
	line[len++] = '\n';
	while (write(atomic_load(&log_fd), line, len) < 0 && errno == EINTR)
		;
}
