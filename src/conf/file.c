/* Reading the files that a configuration names. They must be regular ones: opening a named pipe
 * or a terminal would block RELOAD, which runs beside live traffic. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf_int.h"

#define READ_BYTES 4096

/* Without O_NONBLOCK the open itself waits on a pipe that nobody writes to. */
static const char *file_open(const char *path, int *fd, struct stat *st)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (*fd < 0)
		return strerror(errno);
	if (fstat(*fd, st) == 0 && S_ISREG(st->st_mode))
		return NULL;
	close(*fd);
	return "not a regular file";
}

static const char *file_read_fd(int fd, size_t max, struct buf *out)
{
	size_t start = out->len;

	for (;;) {
		size_t room = max + 1 - (out->len - start);
		size_t step = room < READ_BYTES ? room : READ_BYTES;
		ssize_t n;

		if (room == 0)
			return "too large";
		n = read(fd, buf_reserve(out, step), step);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return strerror(errno);
		if (n == 0)
			return NULL;
		out->len += (size_t)n;
	}
}

const char *conf_file_read(const char *path, size_t max, unsigned forbidden, struct buf *out)
{
	struct stat st = {0};
	int fd;
	const char *why = file_open(path, &fd, &st);

	if (why)
		return why;
	if (st.st_mode & forbidden)
		why = "open to other users (chmod o= it)";
	else
		why = file_read_fd(fd, max, out);
	close(fd);
	return why;
}

const char *conf_secret_read(const char *path, size_t max, struct buf *out)
{
	return conf_file_read(path, max, 0007, out);
}

const char *conf_file_check(const char *path)
{
	struct stat st = {0};
	int fd;
	const char *why = file_open(path, &fd, &st);

	if (!why)
		close(fd);
	return why;
}

const char *conf_dir_check(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return strerror(errno);
	return S_ISDIR(st.st_mode) ? NULL : "not a directory";
}
