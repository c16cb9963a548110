/* The ini file as sections of keys and texts, split by inih.
 *
 * inih calls reader_next for each line and on_pair for each `key = value`. Debian's build of it
 * gives no line numbers, cuts long lines and section names silently, hides sections without
 * keys, and takes an indented line for the rest of the value above. So the reader, which sees
 * every line first, counts lines, refuses what inih would cut, keeps track of sections itself
 * and hands lines on without their indentation.
 *
 * The first error ends it: the reader then reports the end of the file. */
#include <ctype.h>
#include <ini.h>
#include <string.h>

#include "base/mem.h"
#include "conf_int.h"

struct reader {
	struct conf_doc *doc;
	struct conf_error *err;
	const char *text, *end;
	int line;
	bool failed;
};

static bool reader_fail(struct reader *r, const char *key, const char *what)
{
	r->failed = true;
	return conf_fail(r->err, r->doc->file, r->line, key, "%s", what);
}

/* ---- sections --------------------------------------------------------------------------- */

static void trim(const char **p, size_t *len)
{
	while (*len > 0 && isspace((unsigned char)**p)) {
		(*p)++;
		(*len)--;
	}
	while (*len > 0 && isspace((unsigned char)(*p)[*len - 1]))
		(*len)--;
}

/* A node's name stands in comma lists, so it has no commas or blanks. */
static bool node_name_is_valid(const char *name)
{
	return name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                         "0123456789_.-")] == '\0';
}

/* The new section's kind and name against the table and the sections before it. */
static bool section_check(struct reader *r, const char *label, const char *word,
                          const struct conf_doc_section *section)
{
	const struct conf_section_def *def = &conf_sections[section->id];

	if (section->id == CONF_N_SECTIONS) {
		r->failed = true;
		return conf_fail(r->err, r->doc->file, r->line, label, "unknown section%s",
		                 conf_section_hint(word));
	}
	if (def->is_named && section->name[0] == '\0')
		return reader_fail(r, label, "the section needs a name behind its kind");
	if (!def->takes_name && section->name[0] != '\0')
		return reader_fail(r, label, "this section takes no name");
	if (section->id == CONF_SECTION_node && !node_name_is_valid(section->name))
		return reader_fail(r, label,
		                   "a node's name has letters, digits, '_', '.' and '-' only");
	for (size_t i = 0; i < r->doc->n_sections; i++) {
		const struct conf_doc_section *other = &r->doc->sections[i];

		if (other->id != section->id || strcmp(other->name, section->name) != 0)
			continue;
		r->failed = true;
		return conf_fail(r->err, r->doc->file, r->line, label,
		                 "the section is there twice, first in line %d", other->line);
	}
	return true;
}

static void section_push(struct conf_doc *doc, const struct conf_doc_section *section)
{
	doc->sections =
		mem_realloc(doc->sections, (doc->n_sections + 1) * sizeof(doc->sections[0]));
	doc->sections[doc->n_sections++] = *section;
}

/* inner: what stands between the brackets, trimmed. */
static bool section_open(struct reader *r, const char *inner, size_t len)
{
	struct conf_doc_section section = {.line = r->line, .first = r->doc->n_entries};
	char label[CONF_MAX_NAME_BYTES + 64], word[32];
	size_t word_len = 0, name_len;

	while (word_len < len && !isspace((unsigned char)inner[word_len]))
		word_len++;
	snprintf(label, sizeof(label), "[%.*s]", (int)(len < 90 ? len : 90), inner);
	snprintf(word, sizeof(word), "%.*s", (int)word_len, inner);
	inner += word_len;
	name_len = len - word_len;
	trim(&inner, &name_len);
	if (name_len > CONF_MAX_NAME_BYTES)
		return reader_fail(r, label, "the name is longer than 63 bytes");
	if (r->doc->n_sections >= CONF_MAX_SECTIONS)
		return reader_fail(r, label, "more than 4096 sections");
	/* A kind that was cut by its buffer is longer than any in the table. */
	section.id = conf_section_find(word);
	memcpy(section.name, inner, name_len);
	if (!section_check(r, label, word, &section))
		return false;
	section_push(r->doc, &section);
	return true;
}

/* `[kind name]`, and nothing behind it but a comment: inih would ignore the rest. */
static bool section_line(struct reader *r, const char *line, size_t len)
{
	const char *close = memchr(line, ']', len), *inner = line + 1, *rest;
	size_t inner_len, rest_len;

	if (!close)
		return reader_fail(r, "", "']' is missing");
	inner_len = (size_t)(close - inner);
	rest = close + 1;
	rest_len = len - inner_len - 2;
	trim(&inner, &inner_len);
	trim(&rest, &rest_len);
	if (rest_len > 0 && *rest != ';' && *rest != '#')
		return reader_fail(r, "", "there is more behind ']'");
	return section_open(r, inner, inner_len);
}

/* ---- lines ------------------------------------------------------------------------------ */

/* The next line, trimmed; false at the end of the text. */
static bool line_next(struct reader *r, const char **line, size_t *len)
{
	const char *newline;

	if (r->text == r->end)
		return false;
	newline = memchr(r->text, '\n', (size_t)(r->end - r->text));
	*line = r->text;
	*len = (size_t)((newline ? newline : r->end) - r->text);
	r->text = newline ? newline + 1 : r->end;
	r->line++;
	trim(line, len);
	return true;
}

static bool line_has_control(const char *line, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (iscntrl((unsigned char)line[i]) && line[i] != '\t')
			return true;
	}
	return false;
}

/* Whether inih may have the line, which fits its buffer if it has `room` bytes. */
static bool line_check(struct reader *r, const char *line, size_t len, size_t room)
{
	if (line_has_control(line, len))
		return reader_fail(r, "", "there is a control character in the line");
	if (len > room) {
		r->failed = true;
		return conf_fail(r->err, r->doc->file, r->line, "",
		                 "the line is longer than %zu bytes", room);
	}
	return len == 0 || line[0] != '[' || section_line(r, line, len);
}

/* inih's fgets: the line goes to `to` without its newline. */
static char *reader_next(char *to, int size, void *stream)
{
	struct reader *r = stream;
	const char *line;
	size_t len;

	if (r->failed || !line_next(r, &line, &len))
		return NULL;
	/* A comment may be of any length. */
	if (len > 0 && (line[0] == ';' || line[0] == '#'))
		len = 0;
	/* inih takes a buffer full to its last byte for a line that was cut. */
	if (!line_check(r, line, len, (size_t)size - 3))
		return NULL;
	memcpy(to, line, len);
	to[len] = '\0';
	return to;
}

static bool entry_is_set(const struct conf_doc *doc, const struct conf_doc_section *section,
                         const struct conf_option_def *option, int *line)
{
	for (size_t i = section->first; i < section->first + section->n; i++) {
		*line = doc->entries[i].line;
		if (doc->entries[i].option == option)
			return true;
	}
	return false;
}

static void entry_push(struct conf_doc *doc, const struct conf_option_def *option,
                       const char *value, int line)
{
	doc->entries = mem_realloc(doc->entries, (doc->n_entries + 1) * sizeof(doc->entries[0]));
	doc->entries[doc->n_entries++] = (struct conf_doc_entry){
		.option = option,
		.text = conf_memory_strndup(doc->conf, value, strlen(value)),
		.line = line,
	};
	doc->sections[doc->n_sections - 1].n++;
}

/* inih's handler; what it says of the section is not used, see above. */
static int on_pair(void *arg, const char *section_word, const char *key, const char *value)
{
	struct reader *r = arg;
	struct conf_doc *doc = r->doc;
	const struct conf_doc_section *section;
	const struct conf_option_def *option;
	int line;

	(void)section_word;
	if (doc->n_sections == 0)
		return reader_fail(r, key, "the key is not in any [section]");
	section = &doc->sections[doc->n_sections - 1];
	option = conf_option_find(section->id, key);
	if (!option) {
		r->failed = true;
		return conf_fail(r->err, doc->file, r->line, key, "unknown key%s",
		                 conf_option_hint(section->id, key));
	}
	if (entry_is_set(doc, section, option, &line)) {
		r->failed = true;
		return conf_fail(r->err, doc->file, r->line, key,
		                 "the key is set twice, first in line %d", line);
	}
	entry_push(doc, option, value, r->line);
	return 1;
}

bool conf_doc_read(struct conf_doc *doc, const char *text, size_t len, struct conf_error *err)
{
	struct reader r = {.doc = doc, .err = err, .text = text, .end = text + len};
	int bad_line;

	/* A byte order mark, which some editors write. */
	if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r.text += 3;
	/* The line of inih's first error, or of ours: inih goes on after one of its own. */
	bad_line = ini_parse_stream(reader_next, &r, on_pair, &r);
	if (bad_line > 0 && (!r.failed || bad_line < err->line))
		return conf_fail(err, doc->file, bad_line, "",
		                 "neither a [section] nor key = value");
	if (bad_line < 0)
		return conf_fail(err, doc->file, 0, "", "inih is out of memory");
	return !r.failed;
}

void conf_doc_fini(struct conf_doc *doc)
{
	MEM_FREE(&doc->sections);
	MEM_FREE(&doc->entries);
	doc->n_sections = doc->n_entries = 0;
}

int conf_doc_line(const struct conf_doc *doc, enum conf_section_id section, size_t i,
                  const char *key)
{
	for (size_t s = 0; s < doc->n_sections; s++) {
		const struct conf_doc_section *sec = &doc->sections[s];

		if (sec->id != section || i-- > 0)
			continue;
		for (size_t e = sec->first; e < sec->first + sec->n; e++) {
			if (strcmp(doc->entries[e].option->key, key) == 0)
				return doc->entries[e].line;
		}
		return sec->line;
	}
	return 0;
}
