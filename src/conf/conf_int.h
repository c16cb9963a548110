/* What the files of conf share: the option table in memory, the value types, and the document,
 * which is the ini file after inih and before types. */
#ifndef PGUSHER_CONF_INT_H
#define PGUSHER_CONF_INT_H

#include "base/buf.h"
#include "conf.h"

#define CONF_MAGIC 0xc0f1c0f1u

#define CONF_MAX_FILE_BYTES (1 << 20)
#define CONF_MAX_SECTIONS 4096
#define CONF_MAX_PASSWORD_BYTES 1024
/* PostgreSQL's NAMEDATALEN less its NUL: no database, role or setting has a longer name. */
#define CONF_MAX_NAME_BYTES 63

/* An option that conf_set changed; the latest stands first. */
struct conf_override {
	const struct conf_override *next;
	const struct conf_option_def *option;
	const char *text;
};

/* ---- memory.c: what lives as long as the snapshot ------------------------------------- */

/* Zeroed; given back, and erased first, by conf_memory_free. */
void *conf_memory_alloc(struct conf *conf, size_t size);
const char *conf_memory_strndup(struct conf *conf, const char *s, size_t len);
void conf_memory_free(struct conf *conf);

/* ---- error.c -------------------------------------------------------------------------- */

/* Fills err; file, line 0 and key "" may each be unknown. Always false, so that callers can
 * return it. */
bool conf_fail(struct conf_error *err, const char *file, int line, const char *key, const char *fmt,
               ...) __attribute__((format(printf, 5, 6)));

/* ---- file.c --------------------------------------------------------------------------- */

/* The whole of a regular file, up to max bytes, appended to out; permissions that the file must
 * not have in `forbidden` (0: any). NULL, or why not: a static or errno's text. */
const char *conf_file_read(const char *path, size_t max, unsigned forbidden, struct buf *out);
/* NULL, or why it cannot be read. */
const char *conf_file_check(const char *path);
const char *conf_dir_check(const char *path);

/* ---- type.c: value types ---------------------------------------------------------------- */

/* What a value is parsed into, and where to say why it cannot be. */
struct conf_setter {
	struct conf *conf; /* strings go to its memory; its nodes are there already */
	char why[256];
};

struct conf_word {
	const char *word;
	int value;
	const char *refusal; /* not NULL: a known word that is an error, and why */
};

struct conf_type {
	const char *doc; /* the values, for the manual */
	size_t size;     /* bytes of the field that may be copied from one snapshot to another; 0:
	                    a string */
	bool (*parse)(struct conf_setter *s, const struct conf_type *type, void *field,
	              const char *text);
	void (*format)(const struct conf_type *type, const void *field, struct buf *out);
	const struct conf_word *words; /* enums and lists of words, ends with a NULL word */
	int min, max;                  /* numbers */
};

#define CONF_TYPES(TYPE)                                                                           \
	TYPE(BOOL)                                                                                 \
	TYPE(INT)                                                                                  \
	TYPE(COUNT)                                                                                \
	TYPE(PORT)                                                                                 \
	TYPE(WORKERS)                                                                              \
	TYPE(PEER_ID)                                                                              \
	TYPE(DURATION)                                                                             \
	TYPE(INHERIT_INT)                                                                          \
	TYPE(INHERIT_COUNT)                                                                        \
	TYPE(INHERIT_DURATION)                                                                     \
	TYPE(STRING)                                                                               \
	TYPE(FILE)                                                                                 \
	TYPE(DIR)                                                                                  \
	TYPE(URL)                                                                                  \
	TYPE(GUC)                                                                                  \
	TYPE(TABLE)                                                                                \
	TYPE(POOL_MODE)                                                                            \
	TYPE(DATABASE_POOL_MODE)                                                                   \
	TYPE(AUTH_TYPE)                                                                            \
	TYPE(TLS_CLIENT_MODE)                                                                      \
	TYPE(TLS_SERVER_MODE)                                                                      \
	TYPE(TLS_PROTOCOLS)                                                                        \
	TYPE(TLS_CIPHERS)                                                                          \
	TYPE(TLS_SUITES)                                                                           \
	TYPE(TLS_CURVE)                                                                            \
	TYPE(TLS_DHE)                                                                              \
	TYPE(NODE_ROLE)                                                                            \
	TYPE(CONSISTENCY)                                                                          \
	TYPE(TENANT_MODE)                                                                          \
	TYPE(CONTEXT_MODE)                                                                         \
	TYPE(GUARD_MODE)                                                                           \
	TYPE(READ_YOUR_WRITES)                                                                     \
	TYPE(ANALYTICS_FALLBACK)                                                                   \
	TYPE(ALGS)                                                                                 \
	TYPE(AUDIT_EVENTS)                                                                         \
	TYPE(NODE_LIST)

enum conf_type_id {
#define TYPE(name) CONF_TYPE_##name,
	CONF_TYPES(TYPE)
#undef TYPE
		CONF_N_TYPES
};

extern const struct conf_type conf_types[CONF_N_TYPES];

typedef bool conf_parse_fn(struct conf_setter *s, const struct conf_type *type, void *field,
                           const char *text);
typedef void conf_format_fn(const struct conf_type *type, const void *field, struct buf *out);

/* ---- tls.c: value types of TLS ---------------------------------------------------------- */

conf_parse_fn conf_protocols_parse, conf_ciphers_parse, conf_suites_parse, conf_curve_parse;
conf_format_fn conf_protocols_format;

/* ---- number.c: value types of numbers and times ---------------------------------------- */

conf_parse_fn conf_int_parse, conf_port_parse, conf_workers_parse, conf_duration_parse;
conf_parse_fn conf_inherit_int_parse, conf_inherit_duration_parse;
conf_format_fn conf_int_format, conf_port_format, conf_duration_format;
conf_format_fn conf_inherit_int_format, conf_inherit_duration_format;

/* Appends text, without a NUL. */
void conf_put_text(struct buf *out, const char *text);

/* ---- url.c ------------------------------------------------------------------------------ */

conf_parse_fn conf_url_parse;

/* ---- option.c: the table ----------------------------------------------------------------- */

enum conf_section_id {
#define SECTION(section, repeat, example, doc) CONF_SECTION_##section,
#define OPTION(section, key, type, def, reload, doc)
#define SECTION_END(section)
#include "tbl/options.h"
#undef SECTION
#undef OPTION
#undef SECTION_END
	CONF_N_SECTIONS
};

struct conf_section_def {
	const char *word;    /* what stands in the brackets, before the name if it has one */
	bool is_named;       /* needs a name */
	bool takes_name;     /* may have one */
	bool is_required;    /* with a name: there must be one */
	const char *example; /* name */
	const char *doc;
};

struct conf_option_def {
	enum conf_section_id section;
	const char *key;
	const struct conf_type *type;
	size_t offset;       /* in the section's struct */
	const char *def;     /* NULL: required */
	const char *example; /* NULL: the default is a good one */
	bool is_live;
	const char *doc;
};

extern const struct conf_section_def conf_sections[CONF_N_SECTIONS];
extern const struct conf_option_def conf_options[];
extern const size_t conf_n_options;

/* NULL: no such key. */
const struct conf_option_def *conf_option_find(enum conf_section_id section, const char *key);
/* CONF_N_SECTIONS: no such section. */
enum conf_section_id conf_section_find(const char *word);
/* Ends of an error message for a word that is not known: "" or a hint. Static per thread. */
const char *conf_option_hint(enum conf_section_id section, const char *key);
const char *conf_section_hint(const char *word);
/* The section structs of a snapshot. */
size_t conf_section_count(const struct conf *conf, enum conf_section_id section);
void *conf_section_at(struct conf *conf, enum conf_section_id section, size_t i);
const char *conf_section_name(const struct conf *conf, enum conf_section_id section, size_t i);

/* ---- read.c: the ini file as sections of keys and texts -------------------------------- */

struct conf_doc_entry {
	const struct conf_option_def *option;
	const char *text;
	int line;
};

struct conf_doc_section {
	enum conf_section_id id;
	char name[CONF_MAX_NAME_BYTES + 1]; /* "" where it has none */
	int line;
	size_t first, n; /* its entries */
};

struct conf_doc {
	const char *file;
	struct conf_doc_section *sections;
	size_t n_sections;
	struct conf_doc_entry *entries;
	size_t n_entries;
	struct conf *conf; /* the texts are in its memory */
};

/* Splits text with inih. Zeroed memory but for file and conf is an empty document; fini frees
 * what read allocated, whether it failed or not. */
bool conf_doc_read(struct conf_doc *doc, const char *text, size_t len, struct conf_error *err);
void conf_doc_fini(struct conf_doc *doc);
/* Where the key was set in the i-th section of this kind; the section's line where it was not;
 * 0 where there is no such section. */
int conf_doc_line(const struct conf_doc *doc, enum conf_section_id section, size_t i,
                  const char *key);

/* ---- check.c: what concerns more than one key ----------------------------------------------- */

bool conf_check(const struct conf_doc *doc, const struct conf *conf, struct conf_error *err);

#endif
