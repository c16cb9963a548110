/* Where lines go: a file, stdout, or syslog's socket. On the writer's thread, but for the first
 * opening.
 *
 * Nothing here blocks for long: a file that is a pipe is opened non-blocking, for reading too, so
 * that it needs no reader; stdout keeps its mode, which others share, and is written in pieces that
 * a pipe with any room takes. A file belongs to one process, for two would break each other's
 * chains: it is locked, and who comes second waits (a restart beside the old process). */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "audit_int.h"
#include "base/assert.h"
#include "base/mem.h"

#define SYSLOG_PREFIX "syslog:"
#define SYSLOG_SOCKET "/dev/log"
#define SYSLOG_PRIORITY (10 * 8 + 6) /* authpriv.info, RFC 5424 */
/* As much as is looked at for the last line of a file. */
#define TAIL_BYTES (2 * AUDIT_LINE_MAX)

void sink_init(struct sink *sink, const char *file)
{
	*sink = (struct sink){.kind = SINK_FILE, .path = file, .fd = -1};
	if (file[0] == '\0') {
		sink->kind = SINK_NONE;
	} else if (strcmp(file, "stdout") == 0) {
		sink->kind = SINK_STDOUT;
	} else if (strncmp(file, SYSLOG_PREFIX, strlen(SYSLOG_PREFIX)) == 0) {
		sink->kind = SINK_SYSLOG;
		sink->path = file + strlen(SYSLOG_PREFIX);
		if (sink->path[0] == '\0')
			sink->path = SYSLOG_SOCKET;
	}
}

void sink_close(struct sink *sink)
{
	if (sink->fd >= 0 && sink->kind != SINK_STDOUT)
		close(sink->fd);
	sink->fd = -1;
}

/* ---- a file's end ---------------------------------------------------------------------------- */

static size_t last_newline(const char *p, size_t len)
{
	const char *nl = len > 0 ? memrchr(p, '\n', len) : NULL;

	return nl != NULL ? (size_t)(nl - p) + 1 : 0;
}

/* What the chain goes on from, by the file's last bytes; is_all: they are the whole file. False:
 * this is no audit log. */
static bool learn_tail(struct sink *sink, const char *p, size_t len, bool is_all)
{
	static const uint8_t newline = '\n';
	size_t end = last_newline(p, len), start = end > 0 ? last_newline(p, end - 1) : 0;
	struct buf torn = {0};

	memset(sink->digest, 0, sizeof(sink->digest));
	sink->torn_bytes = len - end;
	if ((end == 0 || start == 0) && !is_all)
		return false;
	if (end > 0)
		hash_sha256(p + start, end - start, sink->digest);
	memcpy(sink->whole, sink->digest, sizeof(sink->whole));
	if (sink->torn_bytes == 0)
		return true;
	buf_put(&torn, p + end, sink->torn_bytes);
	buf_put(&torn, &newline, 1);
	hash_sha256(torn.data, torn.len, sink->digest);
	buf_fini(&torn);
	return sink->torn_bytes < AUDIT_LINE_MAX;
}

static bool read_tail(struct sink *sink, int fd, off_t size, char *err, size_t err_size)
{
	size_t want = size < TAIL_BYTES ? (size_t)size : TAIL_BYTES;
	char *tail = mem_alloc(want);
	ssize_t n = pread(fd, tail, want, size - (off_t)want);
	bool ok = n == (ssize_t)want && learn_tail(sink, tail, want, (off_t)want == size);

	if (n < 0)
		snprintf(err, err_size, "%s: %s", sink->path, strerror(errno));
	else if (!ok)
		snprintf(err, err_size, "%s does not end like an audit log: name another file",
		         sink->path);
	mem_free(tail);
	return ok;
}

/* ---- opening --------------------------------------------------------------------------------- */

static enum sink_open take_file(struct sink *sink, int fd, char *err, size_t err_size)
{
	struct sink fresh = *sink;
	struct stat st;

	if (fstat(fd, &st) != 0) {
		snprintf(err, err_size, "%s: %s", sink->path, strerror(errno));
		return SINK_FAILED;
	}
	if (S_ISREG(st.st_mode) && flock(fd, LOCK_EX | LOCK_NB) != 0) {
		snprintf(err, err_size, "%s: another process writes to it", sink->path);
		return SINK_LOCKED;
	}
	/* Behind the lock: now nobody else writes. */
	if (fstat(fd, &st) != 0 || (S_ISREG(st.st_mode) && st.st_size > 0 &&
	                            !read_tail(&fresh, fd, st.st_size, err, err_size)))
		return SINK_FAILED;
	fresh.has_tail = S_ISREG(st.st_mode) && st.st_size > 0;
	sink_close(sink);
	*sink = fresh;
	sink->fd = fd;
	return SINK_OPENED;
}

static enum sink_open open_file(struct sink *sink, char *err, size_t err_size)
{
	int fd = open(sink->path, O_RDWR | O_APPEND | O_CREAT | O_NONBLOCK | O_CLOEXEC | O_NOCTTY,
	              0640);
	struct stat ours, there;
	enum sink_open done;

	if (fd < 0) {
		snprintf(err, err_size, "%s: %s", sink->path, strerror(errno));
		return SINK_FAILED;
	}
	/* Opened anew without having been moved: the lock and the chain are ours already. */
	if (sink->fd >= 0 && fstat(sink->fd, &ours) == 0 && fstat(fd, &there) == 0 &&
	    ours.st_dev == there.st_dev && ours.st_ino == there.st_ino) {
		close(fd);
		sink->is_same = true;
		return SINK_OPENED;
	}
	done = take_file(sink, fd, err, err_size);
	if (done != SINK_OPENED)
		close(fd);
	return done;
}

static enum sink_open open_syslog(struct sink *sink, char *err, size_t err_size)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	MUST_SYS(fd >= 0);
	if (strlen(sink->path) >= sizeof(to.sun_path)) {
		snprintf(err, err_size, "%s: the path is too long for a socket", sink->path);
		close(fd);
		return SINK_FAILED;
	}
	memcpy(to.sun_path, sink->path, strlen(sink->path) + 1);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		snprintf(err, err_size, "syslog at %s: %s", sink->path, strerror(errno));
		close(fd);
		return SINK_FAILED;
	}
	sink_close(sink);
	sink->fd = fd;
	return SINK_OPENED;
}

enum sink_open sink_open(struct sink *sink, char *err, size_t err_size)
{
	sink->torn_bytes = 0;
	sink->is_same = false;
	sink->has_tail = false;
	switch (sink->kind) {
	case SINK_NONE:
		return SINK_OPENED;
	case SINK_STDOUT:
		sink->fd = STDOUT_FILENO;
		return SINK_OPENED;
	case SINK_SYSLOG:
		return open_syslog(sink, err, err_size);
	case SINK_FILE:
		break;
	}
	return open_file(sink, err, err_size);
}

/* ---- checking -------------------------------------------------------------------------------- */

static bool is_socket(const char *path, char *err, size_t err_size)
{
	struct stat st;

	if (stat(path, &st) != 0)
		snprintf(err, err_size, "syslog at %s: %s", path, strerror(errno));
	else if (!S_ISSOCK(st.st_mode))
		snprintf(err, err_size, "syslog at %s: this is no socket", path);
	else
		return true;
	return false;
}

static bool is_folder_writable(const char *path, char *err, size_t err_size)
{
	const char *slash = strrchr(path, '/');
	char *folder = slash == NULL   ? mem_strdup(".")
	               : slash == path ? mem_strdup("/")
	                               : mem_strndup(path, (size_t)(slash - path));
	struct stat st;
	bool ok = false;

	if (stat(folder, &st) != 0)
		snprintf(err, err_size, "%s: the directory %s: %s", path, folder, strerror(errno));
	else if (!S_ISDIR(st.st_mode))
		snprintf(err, err_size, "%s: %s is no directory", path, folder);
	else if (access(folder, W_OK | X_OK) != 0)
		snprintf(err, err_size, "%s: the directory %s: %s", path, folder, strerror(errno));
	else
		ok = true;
	mem_free(folder);
	return ok;
}

static bool is_good_file(const struct sink *sink, char *err, size_t err_size)
{
	int fd = open(sink->path, O_RDWR | O_APPEND | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	struct sink scratch = *sink;
	struct stat st;
	bool ok;

	if (fd < 0 && errno == ENOENT)
		return is_folder_writable(sink->path, err, err_size);
	if (fd < 0) {
		snprintf(err, err_size, "%s: %s", sink->path, strerror(errno));
		return false;
	}
	ok = fstat(fd, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size == 0 ||
	                             read_tail(&scratch, fd, st.st_size, err, err_size));
	close(fd);
	return ok;
}

bool sink_check(const struct sink *sink, char *err, size_t err_size)
{
	if (sink->kind == SINK_SYSLOG)
		return is_socket(sink->path, err, err_size);
	return sink->kind != SINK_FILE || is_good_file(sink, err, err_size);
}

/* ---- writing --------------------------------------------------------------------------------- */

static bool is_refused_for_now(int error)
{
	return error == EAGAIN || error == EWOULDBLOCK || error == EINTR;
}

/* One line, one datagram: the newline stays here. */
static ssize_t send_line(struct sink *sink, const char *p, size_t len)
{
	size_t line = (size_t)((const char *)memchr(p, '\n', len) - p);
	char head[48];
	int n = snprintf(head, sizeof(head), "<%d>pgusher[%d]: ", SYSLOG_PRIORITY, (int)getpid());
	struct iovec iov[] = {{head, (size_t)n}, {(void *)p, line}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = 2};

	if (sendmsg(sink->fd, &msg, MSG_NOSIGNAL) < 0)
		return -1;
	return (ssize_t)line + 1;
}

ssize_t sink_write(struct sink *sink, const void *p, size_t len)
{
	struct pollfd room = {.fd = sink->fd, .events = POLLOUT};
	ssize_t n;

	if (sink->kind == SINK_NONE)
		return (ssize_t)len;
	if (sink->fd < 0) {
		errno = EBADF;
		return -1;
	}
	if (sink->kind == SINK_STDOUT) {
		if (poll(&room, 1, 0) == 0)
			return 0;
		len = len < PIPE_BUF ? len : PIPE_BUF;
	}
	n = sink->kind == SINK_SYSLOG ? send_line(sink, p, len) : write(sink->fd, p, len);
	return n < 0 && is_refused_for_now(errno) ? 0 : n;
}
