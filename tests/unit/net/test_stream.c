/* Streams over real sockets, TCP and unix. */
#include "net_test.h"

static struct event_base *base;
/* Every test runs over both kinds of sockets. */
static const int domains[] = {AF_INET, AF_UNIX};

static int set_up(void **state)
{
	(void)state;
	base = event_base_new();
	return base == NULL;
}

static int tear_down(void **state)
{
	(void)state;
	event_base_free(base);
	return 0;
}

static void open_owner(struct owner *o, int domain, int *peer)
{
	int fd[2];

	memset(o, 0, sizeof(*o));
	o->cap = 4096;
	make_pair(domain, fd);
	*peer = fd[1];
	stream_init(&o->stream, base, fd[0], &owner_events, o);
	settle(base);
	o->readable = 0;
}

static void close_owner(struct owner *o, int peer)
{
	stream_fini(&o->stream);
	buf_fini(&o->in);
	if (peer >= 0)
		close(peer);
}

static void put(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void reset_connection(int fd)
{
	struct linger now = {1, 0};

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
	close(fd);
}

/* ---- reading ------------------------------------------------------------------------ */

static void short_read_means_drained(int domain)
{
	static struct owner o;
	char got[100];
	int peer;

	open_owner(&o, domain, &peer);
	o.paused = true;
	put(peer, "hello");
	TURN_UNTIL(base, o.readable == 1);
	assert_true(stream_is_readable(&o.stream));
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 5);
	assert_false(stream_is_readable(&o.stream));

	/* More has come, but no edge was told: the stream must not ask the kernel. */
	put(peer, "again");
	wait_for(o.stream.fd, POLLIN);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), STREAM_WAIT);
	TURN_UNTIL(base, o.readable == 2);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 5);
	assert_memory_equal(got, "again", 5);
	close_owner(&o, peer);
}

static void full_read_means_more(int domain)
{
	static struct owner o;
	char got[5];
	int peer;

	open_owner(&o, domain, &peer);
	o.paused = true;
	put(peer, "0123456789");
	wait_for(o.stream.fd, POLLIN);
	assert_int_equal(stream_read(&o.stream, got, 5), 5);
	assert_true(stream_is_readable(&o.stream));
	assert_int_equal(stream_read(&o.stream, got, 5), 5);
	assert_memory_equal(got, "56789", 5);
	assert_true(stream_is_readable(&o.stream));
	assert_int_equal(stream_read(&o.stream, got, 5), STREAM_WAIT);
	assert_false(stream_is_readable(&o.stream));
	close_owner(&o, peer);
}

/* The first read may come before the loop has turned. */
static void reads_before_any_event(int domain)
{
	struct owner o = {.cap = 100};
	char got[100];
	int fd[2];

	make_pair(domain, fd);
	put(fd[1], "early");
	wait_for(fd[0], POLLIN);
	stream_init(&o.stream, base, fd[0], &owner_events, &o);
	assert_true(stream_is_readable(&o.stream));
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 5);
	close_owner(&o, fd[1]);
}

static void fin_with_the_data_is_seen(int domain)
{
	static struct owner o;
	char got[100];
	int peer;

	open_owner(&o, domain, &peer);
	o.paused = true;
	put(peer, "bye");
	shutdown(peer, SHUT_WR);
	wait_for(o.stream.fd, POLLIN | POLLRDHUP);
	TURN_UNTIL(base, o.readable > 0);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 3);
	assert_true(stream_is_readable(&o.stream));
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), STREAM_EOF);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), STREAM_EOF);

	/* Half closed: the reply still goes out. */
	assert_true(owner_send(&o, "reply", 5));
	wait_for(peer, POLLIN);
	assert_int_equal(recv(peer, got, sizeof(got), 0), 5);
	close_owner(&o, peer);
}

static void fin_behind_the_read_is_seen(int domain)
{
	static struct owner o;
	int peer;

	open_owner(&o, domain, &peer);
	put(peer, "bye");
	TURN_UNTIL(base, o.in.len == 3);
	assert_int_equal(o.end, 0);
	close(peer);
	TURN_UNTIL(base, o.end != 0);
	assert_int_equal(o.end, STREAM_EOF);
	close_owner(&o, -1);
}

static void fin_between_event_and_read_is_seen(int domain)
{
	static struct owner o;
	char got[100];
	int peer;

	open_owner(&o, domain, &peer);
	o.paused = true;
	put(peer, "bye");
	TURN_UNTIL(base, o.readable > 0);
	close(peer);
	wait_for(o.stream.fd, POLLIN | POLLRDHUP);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 3);
	o.paused = false;
	TURN_UNTIL(base, o.end != 0);
	assert_int_equal(o.end, STREAM_EOF);
	close_owner(&o, -1);
}

static void reset_with_the_data_is_seen_on_recheck(int domain)
{
	static struct owner o;
	char got[100];
	int peer;
	ssize_t n;

	open_owner(&o, domain, &peer);
	o.paused = true;
	/* A peer that closes with our bytes unread resets, on both kinds of sockets. */
	assert_true(owner_send(&o, "unread", 6));
	wait_for(peer, POLLIN);
	put(peer, "half a mess");
	if (domain == AF_INET)
		reset_connection(peer);
	else
		close(peer);
	wait_for(o.stream.fd, POLLIN | POLLERR);
	TURN_UNTIL(base, o.readable > 0);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 11);
	stream_recheck(&o.stream);
	assert_true(stream_is_readable(&o.stream));
	n = stream_read(&o.stream, got, sizeof(got));
	assert_int_equal(n, STREAM_ERROR);
	close_owner(&o, -1);
}

static void recheck_of_a_sound_stream_waits(int domain)
{
	static struct owner o;
	char got[100];
	int peer;

	open_owner(&o, domain, &peer);
	o.paused = true;
	put(peer, "half");
	wait_for(o.stream.fd, POLLIN);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), 4);
	stream_recheck(&o.stream);
	assert_int_equal(stream_read(&o.stream, got, sizeof(got)), STREAM_WAIT);
	assert_false(stream_is_readable(&o.stream));
	close_owner(&o, peer);
}

/* ---- writing ------------------------------------------------------------------------ */

static void small_write_goes_at_once(int domain)
{
	char one[] = "one ", two[] = "two", got[100];
	struct iovec iov[] = {{one, 4}, {NULL, 0}, {two, 3}};
	static struct owner o;
	int peer;

	open_owner(&o, domain, &peer);
	assert_true(stream_writev(&o.stream, iov, 3));
	assert_true(stream_writev(&o.stream, iov, 0));
	assert_int_equal(stream_backlog_bytes(&o.stream), 0);
	assert_null(o.stream.write_event);
	wait_for(peer, POLLIN);
	assert_int_equal(recv(peer, got, sizeof(got), 0), 7);
	assert_memory_equal(got, "one two", 7);
	/* Nobody waits for room, so nobody hears of it. */
	settle(base);
	assert_int_equal(o.writable, 0);
	assert_int_equal(o.readable, 0);
	close_owner(&o, peer);
}

static size_t take(int peer, uint8_t *to, size_t len, size_t cap)
{
	ssize_t n;

	while ((n = recv(peer, to + len, cap - len, 0)) > 0)
		len += (size_t)n;
	return len;
}

static void backlog_goes_out_in_order(int domain)
{
	static uint8_t sent[1 << 20], got[1 << 20];
	struct iovec iov[PIECES];
	static struct owner o;
	size_t total, len = 0;
	int peer, tiny = 1;

	open_owner(&o, domain, &peer);
	setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
	total = cut_pattern(sent, sizeof(sent), iov, 7);
	assert_true(stream_writev(&o.stream, iov, 100));
	assert_true(stream_backlog_bytes(&o.stream) > 0);
	assert_non_null(o.stream.write_event);
	assert_true(stream_writev(&o.stream, iov + 100, PIECES - 100));
	/* What is kept is a copy. */
	memset(sent, 0, sizeof(sent));
	for (int i = 0; i < TURNS_MAX && len < total; i++) {
		turn(base, i);
		len = take(peer, got, len, sizeof(got));
	}
	assert_int_equal(len, total);
	assert_pattern(got, len);
	TURN_UNTIL(base, o.writable == 1);
	assert_int_equal(stream_backlog_bytes(&o.stream), 0);
	assert_null(o.stream.out.data);
	assert_null(o.stream.write_event);
	close_owner(&o, peer);
}

static void broken_write_leaves_the_last_words(int domain)
{
	static struct owner o;
	int peer;

	open_owner(&o, domain, &peer);
	owner_read(&o);
	assert_false(stream_is_readable(&o.stream));
	put(peer, "bye");
	wait_for(o.stream.fd, POLLIN);
	close(peer);
	o.paused = true;
	/* TCP learns only from the answer to the first write. */
	for (int i = 0; i < 5000 && owner_send(&o, "x", 1); i++)
		sleep_ms(1);
	assert_false(owner_send(&o, "x", 1));
	assert_int_equal(stream_backlog_bytes(&o.stream), 0);
	owner_read(&o);
	assert_int_equal(o.in.len, 3);
	assert_memory_equal(o.in.data, "bye", 3);
	assert_true(o.end < 0);
	close_owner(&o, -1);
}

static void break_under_a_backlog_is_told(int domain)
{
	static const uint8_t much[4 << 20];
	static struct owner o;
	int peer, tiny = 1;

	open_owner(&o, domain, &peer);
	/* The kernel would let it grow to 4 MB, on a machine that is slow enough. */
	setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
	o.cap = 1;
	assert_true(owner_send(&o, much, sizeof(much)));
	assert_true(stream_backlog_bytes(&o.stream) > 0);
	close(peer);
	TURN_UNTIL(base, o.end < 0);
	assert_true(o.readable > 0);
	assert_int_equal(o.writable, 0);
	assert_int_equal(stream_backlog_bytes(&o.stream), 0);
	assert_false(owner_send(&o, "x", 1));
	close_owner(&o, -1);
}

static void fini_tries_the_backlog(int domain)
{
	static uint8_t sent[2 << 20], got[2 << 20];
	static struct owner o;
	size_t before, len;
	int peer, size = 1 << 20;

	open_owner(&o, domain, &peer);
	setsockopt(peer, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	size = 1 << 17;
	setsockopt(o.stream.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = pattern(i);
	/* More and more, until just a little is kept. */
	for (len = 0; stream_backlog_bytes(&o.stream) == 0; len += 4096) {
		assert_true(len + 4096 <= sizeof(sent));
		assert_true(owner_send(&o, sent + len, 4096));
	}
	/* Now there is room, but the loop does not turn. */
	wait_for(peer, POLLIN);
	for (before = 0; before < len - stream_backlog_bytes(&o.stream);)
		before = take(peer, got, before, sizeof(got));
	assert_int_equal(before, len - stream_backlog_bytes(&o.stream));
	wait_for(o.stream.fd, POLLOUT);
	close_owner(&o, -1);
	wait_for(peer, POLLIN | POLLRDHUP);
	assert_int_equal(take(peer, got, before, sizeof(got)), len);
	assert_pattern(got, len);
	close(peer);
}

/* ---- ends in callbacks -------------------------------------------------------------- */

/* Freed with its stream in a callback: a touch afterwards is a use after free. */
struct mortal {
	struct stream stream;
	int *calls;
};

static void mortal_end(void *arg)
{
	struct mortal *m = arg;

	(*m->calls)++;
	stream_fini(&m->stream);
	memset(&m->stream, 0xdb, sizeof(m->stream));
	mem_free(m);
}

static void mortal_not_reached(void *arg)
{
	(void)arg;
	fail_msg("called after the end");
}

static void end_in_on_readable(int domain)
{
	static const struct stream_events events = {mortal_end, mortal_not_reached};
	struct mortal *m = mem_zalloc(sizeof(*m));
	int fd[2], calls = 0;

	m->calls = &calls;
	make_pair(domain, fd);
	stream_init(&m->stream, base, fd[0], &events, m);
	put(fd[1], "x");
	TURN_UNTIL(base, calls == 1);
	close(fd[1]);
}

static void end_in_on_writable(int domain)
{
	static const struct stream_events events = {mortal_not_reached, mortal_end};
	static uint8_t much[1 << 20], got[1 << 20];
	struct mortal *m = mem_zalloc(sizeof(*m));
	struct iovec iov = {much, sizeof(much)};
	int fd[2], calls = 0, tiny = 1;
	size_t len = 0;

	m->calls = &calls;
	make_pair(domain, fd);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
	stream_init(&m->stream, base, fd[0], &events, m);
	assert_true(stream_writev(&m->stream, &iov, 1));
	assert_non_null(m->stream.write_event);
	for (int i = 0; i < TURNS_MAX && calls == 0; i++) {
		len = take(fd[1], got, len, sizeof(got));
		turn(base, i);
	}
	assert_int_equal(calls, 1);
	settle(base);
	close(fd[1]);
}

/* ---- moving ------------------------------------------------------------------------- */

static void moves_with_backlog_and_unread_bytes(int domain)
{
	static uint8_t sent[1 << 20], got[1 << 20];
	struct event_base *other = event_base_new();
	struct owner o = {.cap = 4096}, next = {.cap = 4096};
	int fd[2], tiny = 1;
	size_t len = 0;

	for (size_t i = 0; i < sizeof(sent); i++)
		sent[i] = pattern(i);
	make_pair(domain, fd);
	setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &tiny, sizeof(tiny));
	stream_init_borrowed(&o.stream, base, fd[0], NULL, &owner_events, &next);
	assert_true(owner_send(&o, sent, sizeof(sent)));
	put(fd[1], "unread");
	wait_for(fd[0], POLLIN);
	stream_detach(&o.stream);
	/* Gone from here: neither bytes nor room are told. */
	len = take(fd[1], got, len, sizeof(got));
	settle(base);
	assert_int_equal(next.readable + next.writable, 0);

	stream_attach(&o.stream, other, &o);
	for (int i = 0; i < TURNS_MAX && len < sizeof(got); i++) {
		turn(other, i);
		len = take(fd[1], got, len, sizeof(got));
	}
	assert_int_equal(len, sizeof(sent));
	assert_pattern(got, len);
	TURN_UNTIL(other, o.writable == 1 && o.in.len == 6);

	/* And once more with nothing to read. */
	assert_true(owner_send(&o, sent, sizeof(sent)));
	stream_detach(&o.stream);
	stream_attach(&o.stream, base, &o);
	len = 0;
	for (int i = 0; i < TURNS_MAX && len < sizeof(got); i++) {
		turn(base, i);
		len = take(fd[1], got, len, sizeof(got));
	}
	assert_int_equal(len, sizeof(sent));
	TURN_UNTIL(base, o.writable == 2);

	/* Borrowed: the descriptor outlives the stream. */
	stream_detach(&o.stream);
	stream_fini(&o.stream);
	put(fd[0], "open");
	buf_fini(&o.in);
	close(fd[0]);
	close(fd[1]);
	event_base_free(other);
}

static void detach_on_readable(void *arg)
{
	struct owner *o = arg;

	o->readable++;
	stream_detach(&o->stream);
	/* As if another thread had it now. */
	memset(&o->stream, 0xdb, sizeof(o->stream));
}

static void detaches_in_a_callback(int domain)
{
	static const struct stream_events events = {detach_on_readable, mortal_not_reached};
	struct owner o = {.cap = 1}, untouched;
	int fd[2];

	make_pair(domain, fd);
	stream_init_borrowed(&o.stream, base, fd[0], NULL, &events, &o);
	put(fd[1], "x");
	TURN_UNTIL(base, o.readable == 1);
	settle(base);
	memset(&untouched.stream, 0xdb, sizeof(untouched.stream));
	assert_memory_equal(&o.stream, &untouched.stream, sizeof(o.stream));
	close(fd[0]);
	close(fd[1]);
}

static void fini_closes_the_descriptor(int domain)
{
	static struct owner o;
	int peer, fd;

	open_owner(&o, domain, &peer);
	fd = o.stream.fd;
	close_owner(&o, -1);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(errno, EBADF);
	close(peer);
}

static void test_all_sockets(void **state)
{
	static const struct {
		const char *name;
		void (*run)(int domain);
	} cases[] = {
#define CASE(name) {#name, name}
		CASE(short_read_means_drained),
		CASE(full_read_means_more),
		CASE(reads_before_any_event),
		CASE(fin_with_the_data_is_seen),
		CASE(fin_behind_the_read_is_seen),
		CASE(fin_between_event_and_read_is_seen),
		CASE(reset_with_the_data_is_seen_on_recheck),
		CASE(recheck_of_a_sound_stream_waits),
		CASE(small_write_goes_at_once),
		CASE(backlog_goes_out_in_order),
		CASE(broken_write_leaves_the_last_words),
		CASE(break_under_a_backlog_is_told),
		CASE(fini_tries_the_backlog),
		CASE(end_in_on_readable),
		CASE(end_in_on_writable),
		CASE(moves_with_backlog_and_unread_bytes),
		CASE(detaches_in_a_callback),
		CASE(fini_closes_the_descriptor),
#undef CASE
	};

	(void)state;
	for (size_t d = 0; d < COUNT_OF(domains); d++) {
		for (size_t i = 0; i < COUNT_OF(cases); i++) {
			print_message("  %s: %s\n", domains[d] == AF_INET ? "tcp" : "unix",
			              cases[i].name);
			cases[i].run(domains[d]);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_all_sockets, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
