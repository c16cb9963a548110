/* A record as a line of JSON (RFC 8259). Pure. "prev" comes first, so that the chain can be read
 * without a parser; strings are ASCII when they are written: quotes, backslashes and control
 * characters escaped, bytes that are not UTF-8 replaced by U+FFFD. */
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "audit_int.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

static const char digits[] = "0123456789abcdef";

const char *audit_event_word(enum audit_event event)
{
	static const char *const words[] = {
#define AUDIT_EVENT(name, word) [AUDIT_##name] = (word),
		AUDIT_EVENTS(AUDIT_EVENT)
#undef AUDIT_EVENT
	};

	return words[event];
}

void audit_copy(char *to, size_t size, const char *from)
{
	size_t len;

	if (from == NULL)
		from = "";
	if (log_has_token(from))
		from = "(a token?)";
	len = strnlen(from, size - 1);
	memcpy(to, from, len);
	to[len] = '\0';
}

void audit_hex(char out[AUDIT_DIGEST_HEX], const uint8_t digest[SHA256_BYTES])
{
	for (size_t i = 0; i < SHA256_BYTES; i++) {
		out[2 * i] = digits[digest[i] >> 4];
		out[2 * i + 1] = digits[digest[i] & 15];
	}
	out[2 * SHA256_BYTES] = '\0';
}

/* ---- strings -------------------------------------------------------------------------------- */

/* The length of the character at s by RFC 3629, its code in *code; 0: it is not UTF-8. */
static size_t read_utf8(const uint8_t *s, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	*code = s[0] & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0; /* the NUL at the end, too */
		*code = *code << 6 | (s[i] & 0x3f);
	}
	if (*code < least[len] || *code > 0x10ffff || (*code >= 0xd800 && *code <= 0xdfff))
		return 0;
	return len;
}

static void put_unit(struct buf *out, uint32_t unit)
{
	char text[6] = {'\\',
	                'u',
	                digits[unit >> 12 & 15],
	                digits[unit >> 8 & 15],
	                digits[unit >> 4 & 15],
	                digits[unit & 15]};

	buf_put(out, text, sizeof(text));
}

static void put_code(struct buf *out, uint32_t code)
{
	if (code < 0x10000) {
		put_unit(out, code);
		return;
	}
	put_unit(out, 0xd800 + ((code - 0x10000) >> 10));
	put_unit(out, 0xdc00 + ((code - 0x10000) & 0x3ff));
}

static void put_escaped(struct buf *out, const char *text)
{
	for (const uint8_t *s = (const uint8_t *)text; *s != '\0';) {
		uint32_t code = 0xfffd;
		size_t len;

		if (*s >= ' ' && *s < 127 && *s != '"' && *s != '\\') {
			buf_put_u8(out, *s++);
			continue;
		}
		if (*s < 128) {
			put_code(out, *s++);
			continue;
		}
		len = read_utf8(s, &code);
		put_code(out, len > 0 ? code : 0xfffd);
		s += len > 0 ? len : 1;
	}
}

/* ---- members -------------------------------------------------------------------------------- */

static void put_raw(struct buf *out, const char *text)
{
	buf_put(out, text, strlen(text));
}

static void put_key(struct buf *out, const char *key)
{
	put_raw(out, ",\"");
	put_raw(out, key);
	put_raw(out, "\":");
}

static void put_text(struct buf *out, const char *key, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	put_key(out, key);
	buf_put_u8(out, '"');
	put_escaped(out, value);
	buf_put_u8(out, '"');
}

static void put_number(struct buf *out, const char *key, int64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRId64, value);
	put_key(out, key);
	put_raw(out, text);
}

static void put_id(struct buf *out, const char *key, uint64_t id)
{
	char text[20];

	if (id == 0)
		return;
	(void)snprintf(text, sizeof(text), "%016" PRIx64, id);
	put_text(out, key, text);
}

static void put_time(struct buf *out, int64_t wall_us)
{
	time_t s = (time_t)(wall_us / US_PER_S);
	char date[32] = "", text[48];
	struct tm tm;

	if (gmtime_r(&s, &tm) != NULL)
		(void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text, sizeof(text), "%s.%06dZ", date, (int)(wall_us % US_PER_S));
	put_text(out, "time", text);
}

static void put_self(struct buf *out, const struct audit_record *r)
{
	put_text(out, "reason", r->reason);
	if (r->n > 0)
		put_number(out, "n", (int64_t)r->n);
	put_text(out, strcmp(r->reason, "torn") == 0 ? "after" : "events", r->action);
}

static void put_event(struct buf *out, const struct audit_record *r)
{
	put_text(out, "action", r->action);
	put_text(out, "tenant", r->tenant);
	put_text(out, "role", r->role);
	put_text(out, "database", r->database);
	put_text(out, "client", r->client);
	put_id(out, "session", r->session);
	put_text(out, "outcome", r->outcome);
	put_text(out, "reason", r->reason);
	put_text(out, "sqlstate", r->sqlstate);
	put_id(out, "fingerprint", r->fingerprint);
	put_text(out, "kind", r->kind);
	put_text(out, "node", r->node);
	if (r->has_rows)
		put_number(out, "rows", r->rows);
	if (r->event == AUDIT_STATEMENTS)
		put_number(out, "duration_us", r->duration_us);
}

void audit_line_put(struct buf *out, const struct audit_record *r, const uint8_t prev[SHA256_BYTES])
{
	char hex[AUDIT_DIGEST_HEX];

	audit_hex(hex, prev);
	put_raw(out, "{\"prev\":\"");
	put_raw(out, hex);
	buf_put_u8(out, '"');
	put_time(out, r->wall_us);
	put_text(out, "event", audit_event_word(r->event));
	if (r->event == AUDIT_SELF)
		put_self(out, r);
	else
		put_event(out, r);
	put_raw(out, "}\n");
}
