/* Searches texts of code for names, where parsing them is not possible or not worth it. Pure.
 *
 * Errs on the side of finding: white space, double quotes, comments and character escapes
 * between the parts of a name or within it do not hide it. */
#include <string.h>

#include "base/mem.h"
#include "sql_int.h"

struct sql_text {
	struct buf lower;    /* the text in lower case */
	struct buf squeezed; /* that without white space and double quotes */
	bool has_comment;    /* may have one: names may be taken apart by it */
	bool has_escape;     /* a name may be spelled by character codes */
};

static bool buf_has(const struct buf *b, const char *needle, size_t len)
{
	return b->len >= len && memmem(b->data, b->len, needle, len) != NULL;
}

/* U&'..' and U&"..", and E'..' with a code in it. */
static bool text_has_escape(const struct buf *lower)
{
	const uint8_t *at = lower->data, *end = lower->data + lower->len;

	if (buf_has(lower, "u&'", 3) || buf_has(lower, "u&\"", 3))
		return true;
	if (!buf_has(lower, "e'", 2))
		return false;
	while ((at = memchr(at, '\\', (size_t)(end - at))) != NULL && ++at < end)
		if (*at == 'x' || *at == 'u' || (*at >= '0' && *at <= '7'))
			return true;
	return false;
}

struct sql_text *sql_text_new(const char *text, size_t len)
{
	struct sql_text *t = mem_zalloc(sizeof(*t));
	uint8_t *lower = buf_reserve(&t->lower, len + 1);
	uint8_t *squeezed = buf_reserve(&t->squeezed, len + 1);

	for (size_t i = 0; i < len; i++) {
		uint8_t c = (uint8_t)text[i];

		if (c >= 'A' && c <= 'Z')
			c |= 0x20;
		lower[t->lower.len++] = c;
		if (c > ' ' && c != '"')
			squeezed[t->squeezed.len++] = c;
	}
	t->has_comment = buf_has(&t->lower, "--", 2) || buf_has(&t->lower, "/*", 2);
	t->has_escape = text_has_escape(&t->lower);
	return t;
}

void sql_text_free(struct sql_text **text)
{
	buf_fini(&(*text)->lower);
	buf_fini(&(*text)->squeezed);
	MEM_FREE(text);
}

/* Every part of the dotted name is somewhere in the text. */
static bool text_has_parts(const struct sql_text *text, const char *name)
{
	for (;;) {
		size_t len = strcspn(name, ".");

		if (!buf_has(&text->squeezed, name, len))
			return false;
		if (name[len] == '\0')
			return true;
		name += len + 1;
	}
}

bool sql_text_may_set(const struct sql_text *text, const char *const *names)
{
	if (text->has_escape || buf_has(&text->squeezed, "set_config", 10))
		return true;
	for (; *names != NULL; names++) {
		if (buf_has(&text->squeezed, *names, strlen(*names)))
			return true;
		if (text->has_comment && text_has_parts(text, *names))
			return true;
	}
	return false;
}

bool sql_text_has(const struct sql_text *text, const char *part)
{
	return buf_has(&text->squeezed, part, strlen(part));
}

bool sql_text_may_hide_words(const struct sql_text *text)
{
	return text->has_comment;
}

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c >= 0x80;
}

bool sql_text_has_word(const struct sql_text *text, const char *word)
{
	size_t len = strlen(word);
	const uint8_t *start = text->lower.data, *end = start + text->lower.len;

	for (const uint8_t *at = start; (at = memmem(at, (size_t)(end - at), word, len)) != NULL;
	     at++)
		if ((at == start || !is_name_byte(at[-1])) &&
		    (at + len == end || !is_name_byte(at[len])))
			return true;
	return false;
}

static bool text_has_name(const char *name, const void *text)
{
	return sql_text_has(text, name);
}

bool sql_text_runs_sql(const struct sql_text *text)
{
	return sql_any_runs_sql(text_has_name, text);
}
