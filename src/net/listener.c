/* Listening sockets. Each worker has listeners of its own, on its own thread: for TCP a socket
 * each on the same port (SO_REUSEPORT, the kernel deals the connections out), for a unix socket
 * a duplicate of one descriptor, so that another worker may have been quicker: EAGAIN is
 * normal. */
#include "net.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#define LISTENER_MAGIC 0x115e7e55u
/* Connections taken at one wake-up; clients that are there already come next. */
#define LISTENER_ACCEPTS_MAX 64
#define LISTENER_PAUSE_MS 100
#define DIR_LOCK_TRIES 50
#define DIR_LOCK_PAUSE_MS 100

struct listener {
	uint32_t magic;
	int fd;
	listener_fn *on_accept;
	void *arg;
	struct event accept_event;
	struct event pause_event;
	int64_t logged_us; /* when a failure to accept was last logged; 0: never */
	/* on_accept may free the listener; its memory goes when the accept loop has ended. */
	bool is_accepting, is_freed;
};

/* ---- binding ------------------------------------------------------------------------ */

static int bind_failed(int fd, const char *what, const char *why, char *err, size_t err_size)
{
	snprintf(err, err_size, "cannot listen on %s: %s", what, why);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Accepted sockets inherit TCP_NODELAY and SO_KEEPALIVE from this one: two system calls fewer
 * a login. */
static bool set_tcp_options(int fd, int family)
{
	int on = 1, off = 0;

	if (family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) != 0)
		return false;
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0 &&
	       setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0;
}

/* The listening descriptor, or -1 with errno. */
static int bind_address(const struct addrinfo *ai)
{
	int saved, fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (set_tcp_options(fd, ai->ai_family) && bind(fd, ai->ai_addr, ai->ai_addrlen) == 0 &&
	    listen(fd, SOMAXCONN) == 0)
		return fd;
	saved = errno;
	close(fd);
	errno = saved;
	return -1;
}

static int bind_family(const struct addrinfo *list, int family)
{
	int fd = -1;

	for (const struct addrinfo *ai = list; ai != NULL && fd < 0; ai = ai->ai_next) {
		if (ai->ai_family == family)
			fd = bind_address(ai);
	}
	return fd;
}

int listener_bind_tcp(const char *host, uint16_t port, char *err, size_t err_size)
{
	struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV,
	                         .ai_socktype = SOCK_STREAM};
	bool any = strcmp(host, "*") == 0;
	/* Any: one IPv6 socket takes both families. A name: localhost means 127.0.0.1 to more
	 * programs than ::1. */
	int first = any ? AF_INET6 : AF_INET, second = any ? AF_INET : AF_INET6;
	struct addrinfo *list = NULL;
	char service[8], what[300];
	int rc, fd;

	snprintf(what, sizeof(what), "%s, port %u", host, (unsigned)port);
	snprintf(service, sizeof(service), "%u", (unsigned)port);
	rc = getaddrinfo(any ? NULL : host, service, &hints, &list);
	if (rc != 0)
		return bind_failed(-1, what, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc),
		                   err, err_size);
	errno = EADDRNOTAVAIL;
	fd = bind_family(list, first);
	/* Any, but the IPv6 port is taken: listening on half of it would hide that. */
	if (fd < 0 && !(any && errno == EADDRINUSE))
		fd = bind_family(list, second);
	rc = errno;
	freeaddrinfo(list);
	return fd >= 0 ? fd : bind_failed(-1, what, strerror(rc), err, err_size);
}

/* True when the path is free, after removing a socket that nobody answers on; otherwise why
 * not. */
static bool clear_unix_path(const struct sockaddr_un *addr, const char **why)
{
	struct stat st;
	int fd, rc;

	if (lstat(addr->sun_path, &st) != 0) {
		*why = strerror(errno);
		return errno == ENOENT;
	}
	*why = "the file is there and is no socket";
	if (!S_ISSOCK(st.st_mode))
		return false;
	*why = "another process answers there (it gives the socket up on SIGTERM)";
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	MUST_SYS(fd >= 0 || errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
	         errno == ENOMEM);
	if (fd < 0) {
		*why = strerror(errno);
		return false;
	}
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) == 0 ? 0 : errno;
	close(fd);
	if (rc != ECONNREFUSED) {
		if (rc != 0 && rc != EAGAIN)
			*why = strerror(rc);
		return rc == ENOENT;
	}
	rc = unlink(addr->sun_path);
	*why = strerror(errno);
	return rc == 0 || errno == ENOENT;
}

/* Between bind and listen a socket looks like one that nobody answers on, and so it does between
 * the look and the removal of one that is stale: two processes that start at once would take away
 * each other's. So they take turns, by a lock on the directory. -1: it cannot be had, and errno. */
static int lock_directory(const char *path)
{
	static const struct timespec pause = {.tv_nsec = DIR_LOCK_PAUSE_MS * 1000000};
	const char *slash = strrchr(path, '/');
	char dir[sizeof(((struct sockaddr_un *)0)->sun_path)] = ".";
	int saved, fd;

	if (slash != NULL)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash - path) + 1, path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < DIR_LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return fd;
		nanosleep(&pause, NULL);
	}
	saved = errno;
	if (fd >= 0)
		close(fd);
	errno = saved;
	return -1;
}

static int bind_unix_locked(const struct sockaddr_un *addr, char *err, size_t err_size)
{
	const char *path = addr->sun_path, *why = NULL;
	int fd;

	if (!clear_unix_path(addr, &why))
		return bind_failed(-1, path, why, err, err_size);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) != 0)
		return bind_failed(fd, path, strerror(errno), err, err_size);
	/* Who may log in is the token's affair, not the file's. */
	if (chmod(path, 0777) != 0 || listen(fd, SOMAXCONN) != 0) {
		bind_failed(fd, path, strerror(errno), err, err_size);
		unlink(path);
		return -1;
	}
	return fd;
}

int listener_bind_unix(const char *path, char *err, size_t err_size)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int lock, fd;

	if (strlen(path) >= sizeof(addr.sun_path))
		return bind_failed(-1, path, "the path is too long for a unix socket", err,
		                   err_size);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	lock = lock_directory(path);
	if (lock < 0)
		return bind_failed(-1, path,
		                   errno == EWOULDBLOCK ? "its directory is locked"
		                                        : strerror(errno),
		                   err, err_size);
	fd = bind_unix_locked(&addr, err, err_size);
	close(lock);
	return fd;
}

/* ---- the peer ----------------------------------------------------------------------- */

union address {
	struct sockaddr any;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
	struct sockaddr_storage storage;
};

/* A client of IPv4 at a socket for both families is shown as what it is. */
static void unmap_v4(union address *a)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};

	if (a->any.sa_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr))
		return;
	v4.sin_port = a->v6.sin6_port;
	memcpy(&v4.sin_addr, &a->v6.sin6_addr.s6_addr[12], sizeof(v4.sin_addr));
	a->v4 = v4;
}

static void describe_unix_peer(struct peer *peer, int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	peer->is_unix = true;
	snprintf(peer->text, sizeof(peer->text), "unix");
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0)
		peer->uid = cred.uid;
}

static void describe_peer(struct peer *peer, int fd, union address *a)
{
	/* Numeric: an IPv6 address with its scope's name is the longest. */
	char host[INET6_ADDRSTRLEN + 17] = "?", port[8] = "?";
	bool is_v6;

	memset(peer, 0, sizeof(*peer));
	peer->uid = -1;
	if (a->any.sa_family == AF_UNIX) {
		describe_unix_peer(peer, fd);
		return;
	}
	unmap_v4(a);
	is_v6 = a->any.sa_family == AF_INET6;
	peer->is_loopback = is_v6 ? IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr)
	                          : ntohl(a->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	(void)getnameinfo(&a->any, is_v6 ? sizeof(a->v6) : sizeof(a->v4), host, sizeof(host), port,
	                  sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV);
	/* Cut off where a link-local scope makes it too long. */
	if (snprintf(peer->text, sizeof(peer->text), is_v6 ? "[%s]:%s" : "%s:%s", host, port) < 0)
		peer->text[0] = '\0';
}

/* ---- accepting ---------------------------------------------------------------------- */

static void listener_pause(struct listener *l, int code)
{
	static const struct timeval pause = {0, LISTENER_PAUSE_MS * 1000};
	int64_t now_us = clock_mono_us();

	if (l->logged_us == 0 || now_us - l->logged_us >= US_PER_S) {
		l->logged_us = now_us;
		log_warning("cannot accept connections: %s; trying again every %d ms",
		            strerror(code), LISTENER_PAUSE_MS);
	}
	MUST_SYS(event_del(&l->accept_event) == 0);
	MUST_SYS(event_add(&l->pause_event, &pause) == 0);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd, (void)what;
	OBJ_CHECK(l, LISTENER_MAGIC);
	MUST_SYS(event_add(&l->accept_event, NULL) == 0);
}

/* accept(2) reports what happened to a connection in the queue, too: those are that
 * connection's errors, and the next one may be well. */
static bool is_of_connection(int code)
{
	switch (code) {
	case EINTR:
	case ECONNABORTED:
	case EPROTO:
	case EPERM:
	case ENETDOWN:
	case ENOPROTOOPT:
	case EHOSTDOWN:
	case ENONET:
	case EHOSTUNREACH:
	case EOPNOTSUPP:
	case ENETUNREACH:
		return true;
	default:
		return false;
	}
}

/* False: no more for now. */
static bool accept_one(struct listener *l)
{
	union address a;
	socklen_t len = sizeof(a);
	struct peer peer;
	int fd;

	memset(&a, 0, sizeof(a));
	fd = accept4(l->fd, &a.any, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		describe_peer(&peer, fd, &a);
		l->on_accept(l->arg, fd, &peer);
		return true;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return false;
	if (is_of_connection(errno))
		return true;
	listener_pause(l, errno);
	return false;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd, (void)what;
	OBJ_CHECK(l, LISTENER_MAGIC);
	l->is_accepting = true;
	for (int i = 0; i < LISTENER_ACCEPTS_MAX && accept_one(l) && !l->is_freed; i++)
		;
	l->is_accepting = false;
	if (l->is_freed)
		mem_free(l);
}

struct listener *listener_new(struct event_base *base, int fd, listener_fn *on_accept, void *arg)
{
	struct listener *l = mem_zalloc(sizeof(*l));

	OBJ_INIT(l, LISTENER_MAGIC);
	l->fd = fd;
	l->on_accept = on_accept;
	l->arg = arg;
	MUST(event_assign(&l->accept_event, base, fd, EV_READ | EV_PERSIST, on_acceptable, l) == 0);
	MUST(evtimer_assign(&l->pause_event, base, on_pause_over, l) == 0);
	MUST_SYS(event_add(&l->accept_event, NULL) == 0);
	return l;
}

void listener_free(struct listener **lp)
{
	struct listener *l = *lp;

	*lp = NULL;
	OBJ_CHECK(l, LISTENER_MAGIC);
	MUST_SYS(event_del(&l->accept_event) == 0);
	MUST_SYS(event_del(&l->pause_event) == 0);
	close(l->fd);
	OBJ_FINI(l, LISTENER_MAGIC);
	l->is_freed = true;
	if (!l->is_accepting)
		mem_free(l);
}
