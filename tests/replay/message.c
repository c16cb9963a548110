/* Builds the messages of a script, by the documentation's formats (55.7) and not by wire's
 * functions, whose mistakes would then go unseen. Messages live until the test's teardown. */
#include "replay_int.h"

static struct msg *all;

static struct msg *msg_new(uint8_t type)
{
	struct msg *m = mem_zalloc(sizeof(*m));

	m->type = type;
	m->next = all;
	all = m;
	return m;
}

void messages_free(void)
{
	while (all != NULL) {
		struct msg *m = all;

		all = m->next;
		buf_fini(&m->body);
		mem_free(m);
	}
}

struct msg *msg_bytes(uint8_t type, const char *body, size_t len)
{
	struct msg *m = msg_new(type);

	buf_put(&m->body, body, len);
	return m;
}

struct msg *msg_strings(int type, ...)
{
	struct msg *m = msg_new((uint8_t)type);
	const char *s;
	va_list ap;

	va_start(ap, type);
	while ((s = va_arg(ap, const char *)) != NULL)
		buf_put_cstr(&m->body, s);
	va_end(ap);
	return m;
}

struct msg *msg_byte(uint8_t type, char byte)
{
	return msg_bytes(type, &byte, 1);
}

struct msg *msg_u32(uint8_t type, uint32_t value)
{
	struct msg *m = msg_new(type);

	buf_put_be32(&m->body, value);
	return m;
}

struct msg *msg_parse(const char *name, const char *sql)
{
	struct msg *m = msg_strings('P', name, sql, (const char *)NULL);

	buf_put_be16(&m->body, 0); /* parameter types */
	return m;
}

/* Each value with its length; how many is at `at`. */
static void put_values(struct msg *m, const char *first, va_list ap)
{
	size_t at = m->body.len;
	uint16_t n = 0;

	buf_put_be16(&m->body, 0);
	for (const char *s = first; s != NULL; s = va_arg(ap, const char *)) {
		buf_put_be32(&m->body, (uint32_t)strlen(s));
		buf_put(&m->body, s, strlen(s));
		n++;
	}
	m->body.data[at] = (uint8_t)(n >> 8);
	m->body.data[at + 1] = (uint8_t)n;
}

struct msg *msg_bind(const char *portal, const char *statement, ...)
{
	struct msg *m = msg_strings('B', portal, statement, (const char *)NULL);
	va_list ap;

	buf_put_be16(&m->body, 0); /* parameter formats */
	va_start(ap, statement);
	put_values(m, va_arg(ap, const char *), ap);
	va_end(ap);
	buf_put_be16(&m->body, 0); /* result formats */
	return m;
}

struct msg *msg_execute(const char *portal, uint32_t rows)
{
	struct msg *m = msg_strings('E', portal, (const char *)NULL);

	buf_put_be32(&m->body, rows);
	return m;
}

struct msg *msg_row(const char *first, ...)
{
	struct msg *m = msg_new('D');
	va_list ap;

	va_start(ap, first);
	put_values(m, first, ap);
	va_end(ap);
	return m;
}

struct msg *msg_row_description(const char *name)
{
	struct msg *m = msg_new('T');

	buf_put_be16(&m->body, 1);
	buf_put_cstr(&m->body, name);
	buf_put_be32(&m->body, 0);  /* table */
	buf_put_be16(&m->body, 0);  /* column */
	buf_put_be32(&m->body, 25); /* text */
	buf_put_be16(&m->body, UINT16_MAX);
	buf_put_be32(&m->body, UINT32_MAX);
	buf_put_be16(&m->body, 0);
	return m;
}

static void put_field(struct buf *b, char field, const char *text)
{
	buf_put_u8(b, (uint8_t)field);
	buf_put_cstr(b, text);
}

struct msg *msg_error(uint8_t type, const char *severity, const char *sqlstate, const char *text)
{
	struct msg *m = msg_new(type);

	put_field(&m->body, 'S', severity);
	put_field(&m->body, 'V', severity);
	put_field(&m->body, 'C', sqlstate);
	put_field(&m->body, 'M', text);
	buf_put_u8(&m->body, 0);
	return m;
}

struct msg *msg_notification(uint32_t pid, const char *channel)
{
	struct msg *m = msg_new('A');

	buf_put_be32(&m->body, pid);
	buf_put_cstr(&m->body, channel);
	buf_put_cstr(&m->body, "payload");
	return m;
}

struct msg *msg_like(const char *severity, const char *sqlstate, const char *text)
{
	struct msg *m = msg_new('E');

	m->severity = severity;
	m->sqlstate = sqlstate;
	m->text = text;
	return m;
}

struct msg *msg_raw(const char *bytes, size_t len)
{
	struct msg *m = msg_bytes(0, bytes, len);

	m->is_raw = true;
	return m;
}

struct msg *msg_header(uint8_t type, uint32_t length_word)
{
	struct msg *m = msg_new(0);

	m->is_raw = true;
	buf_put_u8(&m->body, type);
	buf_put_be32(&m->body, length_word);
	return m;
}

struct msg *msg_startup(uint32_t code, const char *const *parameters)
{
	struct msg *m = msg_new(0);

	m->is_raw = true;
	buf_put_be32(&m->body, 0);
	buf_put_be32(&m->body, code);
	for (; *parameters != NULL; parameters++)
		buf_put_cstr(&m->body, *parameters);
	buf_put_u8(&m->body, 0);
	be32_set(m->body.data, (uint32_t)m->body.len);
	return m;
}

/* Where the next of the two begins, NULL: nowhere; *len and *by say which it is. */
static const uint8_t *find_placeholder(const struct actor *a, const uint8_t *p, size_t n,
                                       size_t *len, const char **by)
{
	const uint8_t *ours = memmem(p, n, "{ours}", 6);
	const uint8_t *theirs = memmem(p, n, "{theirs}", 8);
	bool is_ours = ours != NULL && (theirs == NULL || ours < theirs);

	*len = is_ours ? 6 : 8;
	*by = is_ours ? a->ours : a->theirs;
	return is_ours ? ours : theirs;
}

static void put_replaced(struct buf *out, const struct buf *body, const struct actor *a)
{
	const uint8_t *at = body->data, *end = at + body->len, *hit;
	const char *by;
	size_t len;

	while (at < end && (hit = find_placeholder(a, at, (size_t)(end - at), &len, &by)) != NULL) {
		buf_put(out, at, (size_t)(hit - at));
		buf_put(out, by, strlen(by));
		at = hit + len;
	}
	buf_put(out, at, (size_t)(end - at));
}

void message_render(const struct msg *m, const struct actor *a, struct buf *out)
{
	size_t at = out->len;

	if (m->is_raw) {
		buf_put(out, m->body.data, m->body.len);
		return;
	}
	buf_put_u8(out, m->type);
	buf_put_be32(out, 0);
	put_replaced(out, &m->body, a);
	be32_set(out->data + at + 1, (uint32_t)(out->len - at - 1));
}
