/* Compares what an actor got with what the script says, byte for byte, and prints the
 * difference so that it can be read:
 *
 *	test_query.c:31: server 0 got something else
 *	  = Bind "\0pgu_5f0c_2\0..."
 *	  - Query "select 1\0"        (the script)
 *	  + Query "select 2\0"        (what came)
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "replay_int.h"

#define TEXT_MAX 400
#define PREFIX_LEN 20 /* pgu_ and 16 hexadecimal digits */

void replay_fail(const char *file, int line, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	print_error("%s:%d: %s\n", file, line, text);
	_fail(file, line);
	abort(); /* _fail does not return, but does not say so */
}

/* ---- printing --------------------------------------------------------------------------- */

static const char *type_name(uint8_t type, bool from_client)
{
	static const char *const backend[128] = {
		['1'] = "ParseComplete",
		['2'] = "BindComplete",
		['3'] = "CloseComplete",
		['A'] = "Notification",
		['C'] = "CommandComplete",
		['D'] = "DataRow",
		['E'] = "ErrorResponse",
		['G'] = "CopyInResponse",
		['H'] = "CopyOutResponse",
		['I'] = "EmptyQuery",
		['K'] = "BackendKeyData",
		['N'] = "Notice",
		['R'] = "Authentication",
		['S'] = "ParameterStatus",
		['T'] = "RowDescription",
		['Z'] = "ReadyForQuery",
		['c'] = "CopyDone",
		['d'] = "CopyData",
		['n'] = "NoData",
		['s'] = "PortalSuspended",
		['t'] = "ParameterDescription",
		['v'] = "NegotiateProtocolVersion",
	};
	static const char *const frontend[128] = {
		['B'] = "Bind",      ['C'] = "Close",    ['D'] = "Describe", ['E'] = "Execute",
		['H'] = "Flush",     ['P'] = "Parse",    ['Q'] = "Query",    ['S'] = "Sync",
		['X'] = "Terminate", ['c'] = "CopyDone", ['d'] = "CopyData", ['f'] = "CopyFail",
	};
	const char *name = type < 128 ? (from_client ? frontend : backend)[type] : NULL;

	return name != NULL ? name : "(no message)";
}

static void print_line(const char *sign, bool from_client, const uint8_t *p, size_t n)
{
	char text[TEXT_MAX + 8];
	size_t len = 0;
	bool is_framed = n >= WIRE_HEADER_BYTES && be32_get(p + 1) + 1 == n;
	size_t at = is_framed ? WIRE_HEADER_BYTES : 0;

	for (; at < n && len < TEXT_MAX; at++) {
		if (isprint(p[at]) && p[at] != '\\')
			text[len++] = (char)p[at];
		else
			len += (size_t)snprintf(text + len, 5, p[at] == 0 ? "\\0" : "\\x%02x",
			                        p[at]);
	}
	text[len] = '\0';
	print_error("  %s %s \"%s\"%s\n", sign, is_framed ? type_name(p[0], from_client) : "bytes",
	            text, at < n ? "..." : "");
}

static void print_expected(const struct msg *m, const struct actor *a)
{
	struct buf b = {0};

	if (m->severity != NULL) {
		print_error("  - ErrorResponse %s %s with \"%s\"\n", m->severity, m->sqlstate,
		            m->text);
		return;
	}
	message_render(m, a, &b);
	print_line("-", a->is_server, b.data, b.len);
	buf_fini(&b);
}

/* ---- comparing -------------------------------------------------------------------------- */

/* How long the message at p is; the rest where it is not whole. */
static size_t frame_len(const uint8_t *p, size_t n)
{
	size_t len = n < WIRE_HEADER_BYTES ? n : (size_t)be32_get(p + 1) + 1;

	return len > n ? n : len;
}

/* The random prefixes, from the Parse that first uses them, or from a Bind that is meant to fail.
 * They may change; the numbers of PgUsher's own statements are below ten. */
static void learn_prefix(struct actor *a, const uint8_t *p, size_t n)
{
	bool is_bind = n > WIRE_HEADER_BYTES && p[0] == 'B' && p[WIRE_HEADER_BYTES] == '\0';
	const char *name = (const char *)p + WIRE_HEADER_BYTES + is_bind;
	bool is_ours;

	if (!a->is_server || n < WIRE_HEADER_BYTES + PREFIX_LEN + 4 || (p[0] != 'P' && !is_bind) ||
	    memcmp(name, "pgu_", 4) != 0 || name[PREFIX_LEN] != '_' ||
	    strspn(name + 4, "0123456789abcdef") != PREFIX_LEN - 4)
		return;
	is_ours = name[PREFIX_LEN + 2] == '\0';
	if (is_bind && (!is_ours || name[PREFIX_LEN + 1] != '0'))
		return;
	snprintf(is_ours ? a->ours : a->theirs, sizeof(a->ours), "%.*s", PREFIX_LEN, name);
}

static bool field_is(const uint8_t *p, size_t n, char field, const char *text, bool is_part)
{
	struct wire_cursor cur = {p + WIRE_HEADER_BYTES, p + n};

	while (cur.at < cur.end && *cur.at != '\0') {
		bool is_it = *cur.at++ == field;
		const char *value = wire_cursor_cstr(&cur);

		if (value == NULL)
			return false;
		if (is_it)
			return is_part ? strstr(value, text) != NULL : strcmp(value, text) == 0;
	}
	return false;
}

static bool is_like(const struct msg *m, const uint8_t *p, size_t n)
{
	return n > WIRE_HEADER_BYTES && p[0] == 'E' && field_is(p, n, 'S', m->severity, false) &&
	       field_is(p, n, 'V', m->severity, false) && field_is(p, n, 'C', m->sqlstate, false) &&
	       field_is(p, n, 'M', m->text, true);
}

/* The length of the message at p if it is m, else 0. */
static size_t matches(struct actor *a, const struct msg *m, const uint8_t *p, size_t n)
{
	size_t len = frame_len(p, n);
	struct buf b = {0};

	if (m->severity != NULL)
		return is_like(m, p, len) ? len : 0;
	learn_prefix(a, p, len);
	message_render(m, a, &b);
	len = b.len <= n && memcmp(b.data, p, b.len) == 0 ? b.len : 0;
	buf_fini(&b);
	return len;
}

/* Is the rest just the beginning of the message, or nothing of it? */
static bool is_cut(struct actor *a, const struct msg *m, const uint8_t *p, size_t n)
{
	struct buf b = {0};
	bool is;

	if (m->severity != NULL)
		return n == 0 || (p[0] == 'E' && frame_len(p, n) == n);
	message_render(m, a, &b);
	is = n < b.len && memcmp(b.data, p, n) == 0;
	buf_fini(&b);
	return is;
}

static void print_difference(struct actor *a, struct msg *const *msgs)
{
	size_t at = 0, len = 1;

	print_error("%s got something else:\n", a->name);
	for (; *msgs != NULL && len > 0; msgs += len > 0) {
		len = matches(a, *msgs, a->in.data + at, a->in.len - at);
		if (len > 0)
			print_line("=", a->is_server, a->in.data + at, len);
		at += len;
	}
	for (; *msgs != NULL; msgs++)
		print_expected(*msgs, a);
	for (; at < a->in.len; at += len) {
		len = frame_len(a->in.data + at, a->in.len - at);
		print_line("+", a->is_server, a->in.data + at, len);
	}
}

bool compare_messages(struct actor *a, struct msg *const *msgs, bool may_be_cut)
{
	struct msg *const *m = msgs;
	size_t at = 0;

	for (; *m != NULL; m++) {
		size_t len = matches(a, *m, a->in.data + at, a->in.len - at);

		if (len == 0)
			break;
		at += len;
	}
	if (at == a->in.len && *m == NULL)
		return true;
	if (may_be_cut && *m != NULL && is_cut(a, *m, a->in.data + at, a->in.len - at))
		return true;
	print_difference(a, msgs);
	return false;
}
