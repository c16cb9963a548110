/* The hash chain: each line begins with the SHA-256 of the line before it, newline included (what
 * `sha256sum` says of it). Pure but for reading the stream.
 *
 * A line that a crash has torn stays in the file: the next start ends it with a newline, and writes
 * a record "torn" whose prev is the torn line's digest and whose "after" is that of the whole line
 * before, so that the chain goes round the torn one and holds it all the same. */
#include <stdarg.h>
#include <string.h>

#include "audit_int.h"
#include "base/mem.h"

#define HEX (AUDIT_DIGEST_HEX - 1)

static bool is_hex(const char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
			return false;
	return true;
}

bool audit_is_digest(const char *text)
{
	return strlen(text) == HEX && is_hex(text, HEX);
}

/* The digest behind `head`, which begins at p. */
static const char *digest_behind(const char *p, size_t len, const char *head)
{
	size_t n = strlen(head);

	if (len < n + HEX + 1 || memcmp(p, head, n) != 0 || !is_hex(p + n, HEX) ||
	    p[n + HEX] != '"')
		return NULL;
	return p + n;
}

const char *audit_line_prev(const char *line, size_t len)
{
	return digest_behind(line, len, "{\"prev\":\"");
}

/* Strings are escaped, so no string of a client's can hold the quotes looked for. */
const char *audit_line_after(const char *line, size_t len)
{
	static const char torn[] = "\"event\":\"audit\",\"reason\":\"torn\",",
			  after[] = "\"after\":\"";
	const char *p;

	if (memmem(line, len, torn, sizeof(torn) - 1) == NULL)
		return NULL;
	p = memmem(line, len, after, sizeof(after) - 1);
	return p != NULL ? digest_behind(p, len - (size_t)(p - line), after) : NULL;
}

/* ---- verifying ------------------------------------------------------------------------------- */

struct walk {
	struct audit_verdict *v;
	const char *wanted;           /* the next line must carry it; NULL: any */
	char whole[AUDIT_DIGEST_HEX]; /* the digest of the last whole line */
	char torn[AUDIT_DIGEST_HEX];  /* of the line behind it that is none; "" */
	uint64_t torn_line;
};

static void __attribute__((format(printf, 3, 4)))
blame(struct walk *w, uint64_t line, const char *fmt, ...)
{
	va_list ap;

	w->v->is_whole = false;
	w->v->bad_line = line;
	va_start(ap, fmt);
	(void)vsnprintf(w->v->what, sizeof(w->v->what), fmt, ap);
	va_end(ap);
}

/* A line that is not one of ours is torn, if the next one says so. */
static bool take_torn(struct walk *w, const char *hex)
{
	if (w->torn_line != 0) {
		blame(w, w->torn_line, "not a line of an audit log");
		return false;
	}
	memcpy(w->torn, hex, AUDIT_DIGEST_HEX);
	w->torn_line = w->v->n_lines;
	return true;
}

static bool take_behind_torn(struct walk *w, const char *line, size_t len, const char *prev)
{
	const char *after = audit_line_after(line, len);

	if (after == NULL || memcmp(prev, w->torn, HEX) != 0) {
		blame(w, w->torn_line, "changed, or not a line of an audit log");
		return false;
	}
	if (w->wanted != NULL && memcmp(after, w->wanted, HEX) != 0) {
		blame(w, w->torn_line, "a line was changed, removed or inserted before this one");
		return false;
	}
	w->torn_line = 0;
	return true;
}

/* A whole line is an object in printable ASCII, and a newline. */
static bool is_whole_line(const char *line, size_t len)
{
	for (size_t i = 0; i + 1 < len; i++)
		if (line[i] < ' ' || line[i] > '~')
			return false;
	return len >= 2 && line[len - 2] == '}' && audit_line_prev(line, len) != NULL;
}

static bool take_line(struct walk *w, const char *line, size_t len)
{
	uint8_t digest[SHA256_BYTES];
	char hex[AUDIT_DIGEST_HEX];
	const char *prev = audit_line_prev(line, len);

	w->v->n_lines++;
	hash_sha256(line, len, digest);
	audit_hex(hex, digest);
	if (!is_whole_line(line, len))
		return take_torn(w, hex);
	if (w->v->first[0] == '\0')
		memcpy(w->v->first, prev, HEX);
	if (w->torn_line != 0) {
		if (!take_behind_torn(w, line, len, prev))
			return false;
	} else if (w->wanted != NULL && memcmp(prev, w->wanted, HEX) != 0) {
		blame(w, w->v->n_lines,
		      w->v->n_lines == 1
		              ? "the first line does not follow the digest given"
		              : "does not follow the line before it: one of them was changed, or "
		                "lines were removed, inserted or reordered");
		return false;
	}
	memcpy(w->whole, hex, AUDIT_DIGEST_HEX);
	memcpy(w->v->last, hex, AUDIT_DIGEST_HEX);
	w->wanted = w->whole;
	return true;
}

/* A line with its newline; its length, 0: the end, or (*is_cut) a line without an end or too long
 * for one of ours. */
static size_t read_line(FILE *in, char *line, bool *is_cut)
{
	size_t len = 0;
	int byte = 0;

	while (len < AUDIT_LINE_MAX && byte != '\n' && (byte = getc_unlocked(in)) != EOF)
		line[len++] = (char)byte;
	*is_cut = len > 0 && byte != '\n';
	return *is_cut ? 0 : len;
}

void audit_verify(FILE *in, const char *after, struct audit_verdict *out)
{
	struct walk w = {.v = out, .wanted = after};
	char *line = mem_alloc(AUDIT_LINE_MAX);
	bool is_cut = false, ok = true;
	size_t len;

	*out = (struct audit_verdict){.is_whole = true};
	while (ok && (len = read_line(in, line, &is_cut)) > 0)
		ok = take_line(&w, line, len);
	if (ok && ferror(in))
		blame(&w, out->n_lines + 1, "cannot be read");
	else if (ok && is_cut)
		blame(&w, out->n_lines + 1,
		      "torn: no newline at its end (a crash, a full disk, or being written)");
	else if (ok && w.torn_line != 0)
		blame(&w, w.torn_line, "not a line of an audit log");
	mem_free(line);
}
