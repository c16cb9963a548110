/* Streams over a fake that takes what it likes. */
#include "net_test.h"

static struct {
	struct buf taken;
	unsigned seed;
	int wait_one_in; /* STREAM_WAIT one time in so many */
	size_t most;     /* bytes a call */
	bool broken;
	int closed;
	ssize_t next_read;
} fake;

static ssize_t fake_read(struct stream *s, void *to, size_t cap)
{
	ssize_t n = fake.next_read;

	(void)s, (void)cap;
	if (n > 0)
		memset(to, 'r', (size_t)n);
	fake.next_read = STREAM_WAIT;
	return n;
}

static ssize_t fake_writev(struct stream *s, const struct iovec *iov, int n)
{
	size_t room, before = fake.taken.len;

	(void)s;
	if (fake.broken)
		return STREAM_ERROR;
	if (rand_r(&fake.seed) % fake.wait_one_in == 0)
		return STREAM_WAIT;
	room = 1 + (size_t)rand_r(&fake.seed) % fake.most;
	for (int i = 0; i < n && room > 0; i++) {
		size_t len = iov[i].iov_len < room ? iov[i].iov_len : room;

		assert_true(iov[i].iov_len > 0);
		buf_put(&fake.taken, iov[i].iov_base, len);
		room -= len;
	}
	return (ssize_t)(fake.taken.len - before);
}

static void fake_close(struct stream *s)
{
	(void)s;
	fake.closed++;
}

static const struct stream_ops fake_ops = {fake_read, fake_writev, fake_close};

static void test_partial_writes_lose_nothing(void **state)
{
	static uint8_t bytes[1 << 20];
	struct iovec iov[PIECES];

	(void)state;
	for (unsigned seed = 1; seed <= 200; seed++) {
		struct owner o = {.cap = 10};
		size_t total = cut_pattern(bytes, sizeof(bytes), iov, seed);
		int at = 0;

		memset(&fake, 0, sizeof(fake));
		fake.seed = seed;
		fake.most = seed % 3 == 0 ? 100000 : 1 + seed * 37;
		fake.wait_one_in = 2 + (int)seed % 40;
		stream_init_fake(&o.stream, &fake_ops, &owner_events, &o);
		while (at < PIECES) {
			int n = 1 + rand_r(&fake.seed) % 120;

			if (n > PIECES - at)
				n = PIECES - at;
			assert_true(stream_writev(&o.stream, iov + at, n));
			at += n;
			stream_fake_event(&o.stream, false, at % 2);
		}
		for (int i = 0; i < TURNS_MAX && stream_backlog_bytes(&o.stream) > 0; i++)
			stream_fake_event(&o.stream, false, true);
		assert_int_equal(fake.taken.len, total);
		assert_pattern(fake.taken.data, total);
		stream_fini(&o.stream);
		assert_int_equal(fake.closed, 1);
		buf_fini(&fake.taken);
	}
}

static void test_fake_events(void **state)
{
	struct owner o = {.cap = 10};

	(void)state;
	memset(&fake, 0, sizeof(fake));
	fake.wait_one_in = 1;
	fake.most = 100;
	stream_init_fake(&o.stream, &fake_ops, &owner_events, &o);
	fake.next_read = 4;
	stream_fake_event(&o.stream, true, false);
	assert_int_equal(o.readable, 1);
	assert_int_equal(o.in.len, 4);
	assert_false(stream_is_readable(&o.stream));

	assert_true(owner_send(&o, "kept", 4));
	assert_int_equal(stream_backlog_bytes(&o.stream), 4);
	stream_fake_event(&o.stream, false, true);
	assert_int_equal(o.writable, 0);
	fake.wait_one_in = 1000000;
	stream_fake_event(&o.stream, false, true);
	assert_int_equal(o.writable, 1);
	/* A write edge without a backlog is nobody's business. */
	stream_fake_event(&o.stream, false, true);
	assert_int_equal(o.writable, 1);
	assert_int_equal(o.readable, 1);

	fake.wait_one_in = 1;
	assert_true(owner_send(&o, "lost", 4));
	fake.broken = true;
	stream_fake_event(&o.stream, false, true);
	assert_int_equal(o.readable, 2);
	assert_int_equal(o.end, STREAM_ERROR);
	assert_false(owner_send(&o, "x", 1));
	stream_fini(&o.stream);
	buf_fini(&o.in);
	buf_fini(&fake.taken);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_partial_writes_lose_nothing),
		cmocka_unit_test(test_fake_events),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
