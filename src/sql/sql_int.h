/* What the files of the module share; nobody else includes it.
 *
 * lexer.c      tokens, exactly as PostgreSQL's scan.l cuts them
 * own.c        statements about usher.*
 * hint.c       what comments ask for
 * personal.c   texts that mean something else to each session
 * deallocate.c the name in a DEALLOCATE, by the lexer
 * depth.c      bounds how deep a parse tree may get, before libpg_query walks it
 * fold.c       a letter that some servers take for an i
 * normalise.c  text -> cache key, key -> the text that is parsed
 * json.c       reads the tree that libpg_query returns
 * classify.c   parsed text -> struct sql_info (kinds, bits)
 * walk.c       facts hidden deep in a statement: functions, temp tables, texts of code
 * reads.c      what may stand in a statement that only reads
 * behind.c     users' code that runs without its name in the statement
 * guard.c      the table of rules, modes, lists of guarded functions and views
 * rules.c      the guard rules about settings: which, in which spelling, are refused
 * code.c       the guard rules about code that comes as text
 * text.c       the search for a name in a text that we do not parse
 * outline.c    what such a text does, as far as its words tell
 * tree.c       constants in the tree
 * names.c      tables of names
 * fingerprint.c what a text is called in the audit log
 * cache.c      the cache: sql_classify itself */
#ifndef PGUSHER_SQL_INT_H
#define PGUSHER_SQL_INT_H

#include "base/buf.h"
#include "sql.h"

/* ---- lexer.c */

enum sql_token_kind {
	TOKEN_END,
	TOKEN_IDENT,   /* unquoted, keywords too */
	TOKEN_QUOTED,  /* "x" */
	TOKEN_UQUOTED, /* U&"x" */
	TOKEN_STRING,  /* 'x', $$x$$, E'x' without a backslash */
	TOKEN_ESCAPED, /* E'x' with a backslash in it */
	TOKEN_USTRING, /* U&'x' */
	TOKEN_BITS,    /* B'0' */
	TOKEN_HEX,     /* X'0' */
	TOKEN_INTEGER, /* fits 32 bits */
	TOKEN_NUMBER,  /* any other number */
	TOKEN_PARAM,   /* $1 */
	TOKEN_OP,      /* operators, and :: := .. => and the like */
	TOKEN_SELF,    /* one character that stands for itself */
	TOKEN_BAD,     /* unterminated or not SQL: from here to the end of the text */
};

struct sql_token {
	enum sql_token_kind kind;
	uint32_t start, end;
	bool has_gap;      /* white space or a comment lies before it */
	bool is_continued; /* a literal of several pieces, each on a line of its own */
	bool is_split;     /* and a comment lies between two of them */
};

struct sql_lexer {
	const uint8_t *text;
	uint32_t len, pos;
};

/* The text must be shorter than SQL_TEXT_MAX. */
void sql_lexer_init(struct sql_lexer *lexer, const char *text, size_t len);
void sql_lexer_next(struct sql_lexer *lexer, struct sql_token *token);
/* An unquoted word (given in lower case), a character that is a token of its own. */
bool sql_token_is(const char *text, const struct sql_token *t, const char *word);
bool sql_token_is_char(const char *text, const struct sql_token *t, char c);

/* True where an operator, or a run of signs, is longer than any operator may be. */
bool sql_has_operator_run(const char *text, size_t len);
/* The text with blanks for its comments, and a NUL, into out: every byte else stays in its place.
 * */
void sql_blank_comments(const char *text, size_t len, struct buf *out);

/* ---- depth.c */

/* True where the parse tree of the text might nest deeper than libpg_query's recursion may
 * go: its tree printer has no stack check, and 100,000 levels end the process (measured). */
bool sql_text_is_deep(const char *text, size_t len);

/* ---- normalise.c */

/* The cache key of a text. Either normalised: literals are placeholder bytes, comments and
 * white space one space; then the class is a function of the key alone, because the key is
 * what is parsed (sql_key_render). Or exact: the text itself, byte for byte. */
struct sql_key {
	const char *bytes; /* into scratch, or the text itself */
	size_t len;
	bool is_exact;
};

void sql_normalise(struct buf *scratch, const char *text, size_t len, struct sql_key *key);
/* The text to parse for a key, with a NUL behind it, into out: a normalised key gets a dummy
 * literal for each placeholder. */
void sql_key_render(const struct sql_key *key, struct buf *out);

/* ---- fingerprint.c */

uint64_t sql_fingerprint(const struct sql_key *key);

/* ---- names.c */

#define SQL_NAME_IS(p, len, lit) ((len) == sizeof(lit) - 1 && memcmp(p, lit, sizeof(lit) - 1) == 0)

enum sql_function_bits {
	SQL_FUNC_SET_CONFIG = 1u << 0,
	SQL_FUNC_RUNS_SQL = 1u << 1, /* its first argument is SQL text */
	SQL_FUNC_STATE = 1u << 2,    /* session advisory locks and the like */
	SQL_FUNC_OPAQUE = 1u << 3,
	SQL_FUNC_SECOND = 1u << 4, /* with RUNS_SQL: its second argument is */
	SQL_FUNC_LOCK = 1u << 5,   /* with STATE: it is an advisory lock */
	SQL_FUNC_UNLOCK = 1u << 6,
};
/* What is special about a function of this name (lower case), 0 for nothing. */
unsigned sql_function_bits(const char *name, size_t len);
/* True where the literals in a statement with this identifier must stay: its class may hang
 * on them. Any case. */
bool sql_name_keeps_literals(const char *name, size_t len);
/* True where normalising is meant for a statement that starts with this word. Any case. */
bool sql_word_is_plain_start(const char *word, size_t len);

/* True where match says so of the name of a function that runs SQL text. */
bool sql_any_runs_sql(bool (*match)(const char *name, const void *arg), const void *arg);

/* ---- text.c */

/* A text of code that we do not parse (a DO block, a function body, a statement newer than
 * the parser): may it name one of these things? Errs on the side of yes: white space, quotes,
 * comments and escapes between or within the names do not hide them. */
struct sql_text;
struct sql_text *sql_text_new(const char *text, size_t len);
void sql_text_free(struct sql_text **text);
bool sql_text_may_set(const struct sql_text *text, const char *const *names);
/* white space and double quotes do not count */
bool sql_text_has(const struct sql_text *text, const char *part);
bool sql_text_has_word(const struct sql_text *text, const char *word);
/* A comment may stand between words that belong together. */
bool sql_text_may_hide_words(const struct sql_text *text);
bool sql_text_runs_sql(const struct sql_text *text);

/* ---- outline.c */

/* True where every statement of a text that is not parsed starts with a word that makes nothing
 * and runs no code: such a text is safe to send once its names have been searched. */
bool sql_text_starts_plain(const char *text, size_t len);
/* True where libpg_query takes for two literals what the server takes for one: white space with a
 * -- comment and a newline lies between them. */
bool sql_text_splits_literals(const char *text, size_t len);

enum sql_code_fault {
	SQL_CODE_FINE,
	SQL_CODE_HIDDEN, /* spelled so that a search for names may miss one */
	SQL_CODE_NESTED, /* makes or runs code of its own */
	SQL_CODE_ROLES,  /* GRANT and REVOKE of roles, DROP OWNED, REASSIGN OWNED */
};
/* The first fault of a DO block or of a function's body, SQL or PL/pgSQL. */
enum sql_code_fault sql_code_check(const char *text, size_t len);

/* ---- json.c: values are pointers into the text that libpg_query wrote */

/* One member of an object or the next element of an array. */
struct sql_json_string {
	const char *p; /* still escaped */
	size_t len;
	bool has_escapes;
};

/* The value behind this key of the object, NULL where there is none. */
const char *sql_json_get(const char *object, const char *key);
/* The first element or member value, NULL where it is empty; and the one after value. */
const char *sql_json_first(const char *container);
const char *sql_json_next(const char *value);
/* One past the value. */
const char *sql_json_end(const char *value);
/* False where the value is no string. */
bool sql_json_string(const char *value, struct sql_json_string *out);
bool sql_json_is(const char *value, const char *text);
bool sql_json_is_true(const char *value);
long sql_json_int(const char *value, long otherwise);
/* The string with its escapes undone and a NUL, appended to out. */
void sql_json_decode(const struct sql_json_string *s, struct buf *out);
/* The next member "key":value in the flat text between p and end, however deep it is
 * nested: returns its value and sets key; NULL at the end. */
const char *sql_json_scan(const char *p, const char *end, struct sql_json_string *key);

/* ---- tree.c */

/* The constant's text with a NUL, appended to out; false where the node is no constant, or
 * one that a cast changes. */
bool sql_read_constant(const char *node, struct buf *out);
/* The first argument of a FuncCall; NULL where there are none, or they are VARIADIC. */
const char *sql_call_args(const char *call);

/* ---- rules.c */

/* The settings that no client may change. */
struct sql_rules {
	char **names; /* NULL-terminated; lower case, for the search in texts */
	enum sql_guard_mode mode;
	char *allow, *deny, *trusted; /* NULL: none */
	struct sql_functions functions;
};

struct sql_rules *sql_rules_new(const char *const *protected_settings);
void sql_rules_free(struct sql_rules **rules);
bool sql_rules_protect(const struct sql_rules *rules, const char *name);
/* NULL: allowed. set is a VariableSetStmt. */
const struct sql_refusal *sql_rules_check_set(const struct sql_rules *rules, const char *set);
/* call is a FuncCall of set_config. */
const struct sql_refusal *sql_rules_check_set_config(const struct sql_rules *rules,
                                                     const char *call);
/* True where the set_config call ends with the transaction for certain. */
bool sql_set_config_is_local(const char *call);
/* sql_setting_alters of the setting that the VariableSetStmt, or the call, names. */
bool sql_set_alters(const char *set);
bool sql_set_config_alters(const char *call);
/* Appends the names of the settings ("name\0") that it sets; false where knowing them is not enough
 * to set them elsewhere. */
bool sql_set_names(const char *set, struct buf *names);
bool sql_set_config_names(const char *call, struct buf *names);
/* True where a search path might name the temporary schema. value: the VariableSetStmt, or
 * the set_config call. */
bool sql_set_may_name_temp(const char *set);
bool sql_set_config_may_name_temp(const char *call);

/* ---- guard.c */

/* The rule's refusal, NULL where it does not hold in this mode. */
const struct sql_refusal *sql_rules_refuse(const struct sql_rules *rules, enum sql_rule id);

struct sql_function_name {
	const char *name, *schema; /* schema: NULL where there is none */
	size_t len, schema_len;
};
/* NULL: allowed, as far as names tell. */
const struct sql_refusal *sql_guard_function(const struct sql_rules *rules,
                                             const struct sql_function_name *f);
const struct sql_refusal *sql_guard_relation(const struct sql_rules *rules, const char *name,
                                             size_t len);
/* Of a call, what the function catalogue says: enum sql_function_facts; PostgreSQL's own where
 * there is none. */
unsigned sql_guard_facts(const struct sql_rules *rules, const struct sql_function_name *f);
/* The operator's word that the function leaves nothing in the session. */
bool sql_guard_trusts(const struct sql_rules *rules, const char *schema, const char *name);
/* What these facts make of the statement: bits, and perhaps a refusal. */
uint32_t sql_guard_known(const struct sql_rules *rules, const struct sql_function_name *f,
                         unsigned facts, const struct sql_refusal **refusal);
/* A body of code: names, commands. */
const struct sql_refusal *sql_guard_code_names(const struct sql_rules *rules,
                                               const struct sql_text *text);
const struct sql_refusal *sql_guard_code_commands(const struct sql_rules *rules, const char *text,
                                                  size_t len);
/* A text of statements that the parser does not read. */
const struct sql_refusal *sql_guard_unparsed(const struct sql_rules *rules, const char *text,
                                             size_t len);

/* ---- reads.c */

/* Why a statement with this in it does not only read, behind "it "; NULL: it may. */
const char *sql_function_fault(const struct sql_function_name *f, unsigned facts);
const char *sql_relation_fault(const char *name, size_t len);
/* Of a node of the tree whose key ends in Stmt; is_top: it is the statement itself. */
const char *sql_statement_fault(const struct sql_json_string *key, const char *value, bool is_top);

/* ---- behind.c */

/* What a type's values run when they are read, by its number: enum sql_function_facts. */
unsigned sql_behind_type(const struct sql_rules *rules, uint32_t type);

struct sql_walk;
/* What may be behind a name that is no called function's: of things whose bit (1 << enum sql_thing)
 * is set; of functions, those that a row can call. What the lists trust leaves nothing. */
void sql_walk_behind(struct sql_walk *walk, unsigned things, const struct sql_json_string *s);
/* A TypeName; a node in which = is meant and not written; the kind of an A_Expr. */
void sql_walk_type(struct sql_walk *walk, const char *type);
void sql_walk_equals(struct sql_walk *walk, const char *value);
void sql_walk_kind(struct sql_walk *walk, const char *kind);
/* It does not only read: what, behind "it "; name: of what, NULL: nothing that has one. */
void sql_walk_note(struct sql_walk *walk, const char *what, const struct sql_json_string *name);

/* ---- code.c */

/* call is a FuncCall of a function that runs an argument as SQL; second: its second one. */
const struct sql_refusal *sql_rules_check_runs_sql(const struct sql_rules *rules, const char *call,
                                                   bool second);
/* do_stmt is a DoStmt. */
const struct sql_refusal *sql_rules_check_do(const struct sql_rules *rules, const char *do_stmt);
/* create is a CreateFunctionStmt. */
const struct sql_refusal *sql_rules_check_function(const struct sql_rules *rules,
                                                   const char *create);
/* The text of a statement that the parser does not know. */
const struct sql_refusal *sql_rules_check_unparsed(const struct sql_rules *rules, const char *text,
                                                   size_t len);

/* ---- walk.c */

struct sql_walk {
	const struct sql_rules *rules;
	uint32_t bits;
	const struct sql_refusal *refusal; /* the first one found */
	struct buf *settings;              /* names of settings are appended */
	struct sql_why why;                /* what is not only reading: the first one found */
	struct buf *calls;                 /* struct sql_call; NULL: not wanted */
	/* Private to walk.c: ends of the stretches of tree that are already judged. */
	const char *judged_name_end;
	const char *dropped_temp_end;
	const char *view_end;
	bool is_explain, may_write;
	uint32_t write_bits; /* they count where it may write */
	size_t budget_bytes; /* what handlers may still read of the tree */
};

/* Looks at every node of one statement, however deep. The work is bounded: a statement whose
 * special calls are nested in each other too often is refused. */
void sql_walk_statement(struct sql_walk *walk, const char *stmt);

/* ---- classify.c */

struct sql_class {
	struct sql_stmt *stmts; /* grows: kept from call to call */
	unsigned n_stmts, cap;
	const struct sql_refusal *refusal;
	uint64_t fingerprint; /* cache.c's */
	struct buf blanked;   /* kept from call to call */
	bool is_parse_error;
	/* Where refusal is &syntax: the parser's own words. */
	struct sql_refusal syntax;
	struct buf syntax_message;
	struct buf settings; /* sql_info.settings */
	struct sql_why why;  /* of the first statement that does not only read */
	struct buf *calls;   /* where sql_calls wants them; NULL: nobody does */
};

/* fold.c: a letter that some servers take for an i; and the text with an i in its place. */
bool sql_has_dotted_i(const char *text, size_t len);
void sql_fold_dotted_i(const char *text, size_t len, struct buf *out);

/* Parses and classifies; text has a NUL at text[len] and may hold others before it. */
void sql_class_read(struct sql_class *class, const struct sql_rules *rules, const char *text,
                    size_t len);
void sql_class_fini(struct sql_class *class);

#endif
