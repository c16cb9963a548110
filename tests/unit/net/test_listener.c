/* Listeners on loopback and in a folder of their own. */
#include "net_test.h"

#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/log.h"

#define CLIENTS_MAX 300

static struct event_base *base;
static char folder[] = "/tmp/pgusher-listener-XXXXXX";
static char path[108];

/* What on_accept was given. */
static struct {
	int n;
	int fd[CLIENTS_MAX];
	struct peer peer[CLIENTS_MAX];
	struct listener **free_this;
} taken;

static void on_accept(void *arg, int fd, const struct peer *peer)
{
	assert_ptr_equal(arg, &taken);
	assert_true(taken.n < CLIENTS_MAX);
	taken.fd[taken.n] = fd;
	taken.peer[taken.n++] = *peer;
	if (taken.free_this != NULL)
		listener_free(taken.free_this);
}

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	memset(&taken, 0, sizeof(taken));
	return base == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	for (int i = 0; i < taken.n; i++)
		close(taken.fd[i]);
	event_base_free(base);
	unlink(path);
	return 0;
}

static struct listener *listen_on(int fd)
{
	return listener_new(base, fd, on_accept, &taken);
}

static int bind_tcp(const char *host, uint16_t port)
{
	char err[300] = "";
	int fd = listener_bind_tcp(host, port, err, sizeof(err));

	if (fd < 0)
		fail_msg("%s", err);
	return fd;
}

static int bind_unix(void)
{
	char err[300] = "";
	int fd = listener_bind_unix(path, err, sizeof(err));

	if (fd < 0)
		fail_msg("%s", err);
	return fd;
}

static uint16_t port_of(int fd)
{
	struct sockaddr_in6 addr = {0};
	socklen_t len = sizeof(addr);

	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	return ntohs(addr.sin6_port); /* where IPv4 has it, too */
}

static int dial_v4(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int dial_unix(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	memcpy(to.sun_path, path, strlen(path) + 1);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static int option_of(int fd, int level, int name)
{
	int value = -1;
	socklen_t len = sizeof(value);

	assert_int_equal(getsockopt(fd, level, name, &value, &len), 0);
	return value;
}

static void assert_flags(int fd)
{
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

/* ---- TCP ---------------------------------------------------------------------------- */

static void test_tcp(void **state)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	char expected[64];
	int fd = bind_tcp("127.0.0.1", 0), client;
	struct listener *l;

	(void)state;
	assert_flags(fd);
	l = listen_on(fd);
	client = dial_v4(port_of(fd));
	TURN_UNTIL(base, taken.n == 1);
	assert_flags(taken.fd[0]);
	assert_int_equal(option_of(taken.fd[0], IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option_of(taken.fd[0], SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_false(taken.peer[0].is_unix);
	assert_true(taken.peer[0].is_loopback);
	assert_int_equal(taken.peer[0].uid, -1);
	getsockname(client, (struct sockaddr *)&from, &len);
	snprintf(expected, sizeof(expected), "127.0.0.1:%u", ntohs(from.sin_port));
	assert_string_equal(taken.peer[0].text, expected);
	close(client);
	listener_free(&l);
	assert_null(l);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void test_any_takes_both_families(void **state)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = bind_tcp("*", 0), v4, v6 = socket(AF_INET6, SOCK_STREAM, 0);
	struct listener *l = listen_on(fd);

	(void)state;
	v4 = dial_v4(port_of(fd));
	TURN_UNTIL(base, taken.n == 1);
	assert_memory_equal(taken.peer[0].text, "127.0.0.1:", 10);
	assert_true(taken.peer[0].is_loopback);
	to.sin6_port = htons(port_of(fd));
	/* A machine without IPv6 has shown all it can. */
	if (v6 >= 0 && connect(v6, (struct sockaddr *)&to, sizeof(to)) == 0) {
		TURN_UNTIL(base, taken.n == 2);
		assert_memory_equal(taken.peer[1].text, "[::1]:", 6);
		assert_true(taken.peer[1].is_loopback);
	}
	close(v4);
	close(v6);
	listener_free(&l);
}

static void test_port_is_shared_among_workers(void **state)
{
	int first = bind_tcp("127.0.0.1", 0);
	int second = bind_tcp("127.0.0.1", port_of(first));

	(void)state;
	assert_int_equal(port_of(first), port_of(second));
	close(first);
	close(second);
}

static void test_localhost_is_v4(void **state)
{
	int fd = bind_tcp("localhost", 0), client = dial_v4(port_of(fd));

	(void)state;
	close(client);
	close(fd);
}

static void test_tcp_errors(void **state)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};
	int other = socket(AF_INET, SOCK_STREAM, 0);
	char err[300], port[8];

	(void)state;
	assert_int_equal(listener_bind_tcp("no.such.host.invalid", 6432, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "no.such.host.invalid"));
	/* Somebody else's address. */
	assert_int_equal(listener_bind_tcp("192.0.2.1", 6432, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "192.0.2.1, port 6432: "));
	assert_non_null(strstr(err, strerror(EADDRNOTAVAIL)));
	/* A port of a program that does not share. */
	assert_int_equal(bind(other, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(listen(other, 1), 0);
	snprintf(port, sizeof(port), "%u", port_of(other));
	assert_int_equal(listener_bind_tcp("127.0.0.1", port_of(other), err, sizeof(err)), -1);
	assert_non_null(strstr(err, port));
	assert_non_null(strstr(err, strerror(EADDRINUSE)));
	assert_int_equal(listener_bind_tcp("*", port_of(other), err, sizeof(err)), -1);
	assert_non_null(strstr(err, strerror(EADDRINUSE)));
	close(other);
}

/* ---- unix sockets ------------------------------------------------------------------- */

static void test_unix(void **state)
{
	struct stat st;
	int client;
	struct listener *l;

	(void)state;
	l = listen_on(bind_unix());
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0777);
	client = dial_unix();
	TURN_UNTIL(base, taken.n == 1);
	assert_flags(taken.fd[0]);
	assert_true(taken.peer[0].is_unix);
	assert_false(taken.peer[0].is_loopback);
	assert_int_equal(taken.peer[0].uid, getuid());
	assert_string_equal(taken.peer[0].text, "unix");
	close(client);
	listener_free(&l);
}

static void test_stale_socket_is_replaced(void **state)
{
	int fd = bind_unix(), again;
	char err[300];

	(void)state;
	/* While somebody answers, the path is taken. */
	assert_int_equal(listener_bind_unix(path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, path));
	assert_non_null(strstr(err, "answers"));
	assert_int_equal(close(dial_unix()), 0);
	close(fd);
	again = bind_unix();
	assert_int_equal(close(dial_unix()), 0);
	close(again);
}

static void test_other_files_are_left_alone(void **state)
{
	char err[300], long_path[300];
	FILE *f = fopen(path, "w");

	(void)state;
	assert_non_null(f);
	fclose(f);
	assert_int_equal(listener_bind_unix(path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "no socket"));
	assert_int_equal(access(path, F_OK), 0);

	snprintf(long_path, sizeof(long_path), "%s/%0150d", folder, 0);
	assert_int_equal(listener_bind_unix(long_path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, "too long"));

	snprintf(long_path, sizeof(long_path), "%s/none/.s.PGSQL.1", folder);
	assert_int_equal(listener_bind_unix(long_path, err, sizeof(err)), -1);
	assert_non_null(strstr(err, strerror(ENOENT)));
}

/* Two workers listen on one socket; who comes too late finds nothing. */
static void test_shared_descriptor(void **state)
{
	int fd = bind_unix(), clients[20];
	struct listener *l[2];

	(void)state;
	l[0] = listen_on(fd);
	l[1] = listen_on(dup(fd));
	for (int i = 0; i < 20; i++)
		clients[i] = dial_unix();
	TURN_UNTIL(base, taken.n == 20);
	/* One of them goes, the other goes on. */
	listener_free(&l[0]);
	for (int i = 0; i < 20; i++)
		close(clients[i]);
	clients[0] = dial_unix();
	TURN_UNTIL(base, taken.n == 21);
	close(clients[0]);
	listener_free(&l[1]);
}

/* ---- accepting ---------------------------------------------------------------------- */

static void test_a_wake_up_takes_a_bounded_number(void **state)
{
	struct listener *l = listen_on(bind_unix());
	int clients[200];

	(void)state;
	for (int i = 0; i < 200; i++)
		clients[i] = dial_unix();
	event_base_loop(base, EVLOOP_ONCE);
	assert_int_equal(taken.n, 64);
	TURN_UNTIL(base, taken.n == 200);
	for (int i = 0; i < 200; i++)
		close(clients[i]);
	listener_free(&l);
}

static int count_in_file(const char *name, const char *text)
{
	char line[2000];
	FILE *f = fopen(name, "r");
	int n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, text) != NULL;
	fclose(f);
	return n;
}

static void test_freed_by_on_accept(void **state)
{
	struct listener *l = listen_on(bind_unix());
	char log_path[200];
	int clients[3];

	(void)state;
	for (int i = 0; i < 3; i++)
		clients[i] = dial_unix();
	taken.free_this = &l;
	snprintf(log_path, sizeof(log_path), "%s/log", folder);
	assert_true(log_open(log_path));
	settle(base);
	assert_true(log_open(NULL));
	assert_int_equal(taken.n, 1);
	assert_null(l);
	/* Nor was the closed descriptor asked for more. */
	assert_int_equal(count_in_file(log_path, "cannot accept"), 0);
	unlink(log_path);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
}

static void test_out_of_descriptors(void **state)
{
	struct listener *l = listen_on(bind_unix());
	struct rlimit old, low;
	char log_path[200];
	int client = dial_unix(), spare;

	(void)state;
	snprintf(log_path, sizeof(log_path), "%s/log", folder);
	assert_true(log_open(log_path));
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	spare = dup(client);
	low = old;
	low.rlim_cur = (rlim_t)spare;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	/* Several pauses, one line. */
	for (int i = 0; i < 35; i++) {
		sleep_ms(10);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_int_equal(taken.n, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(count_in_file(log_path, "cannot accept connections"), 1);
	TURN_UNTIL(base, taken.n == 1);
	assert_true(log_open(NULL));
	unlink(log_path);
	close(spare);
	close(client);
	listener_free(&l);
}

static int make_folder(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
		return 1;
	snprintf(path, sizeof(path), "%s/.s.PGSQL.6432", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define ON_LOOP(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
		ON_LOOP(test_tcp),
		ON_LOOP(test_any_takes_both_families),
		ON_LOOP(test_port_is_shared_among_workers),
		ON_LOOP(test_localhost_is_v4),
		ON_LOOP(test_tcp_errors),
		ON_LOOP(test_unix),
		ON_LOOP(test_stale_socket_is_replaced),
		ON_LOOP(test_other_files_are_left_alone),
		ON_LOOP(test_shared_descriptor),
		ON_LOOP(test_a_wake_up_takes_a_bounded_number),
		ON_LOOP(test_freed_by_on_accept),
		ON_LOOP(test_out_of_descriptors),
#undef ON_LOOP
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
