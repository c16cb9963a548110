/* The option table in memory, made from tbl/options.h, and look-ups in it. Constant data. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/mem.h"
#include "conf_int.h"

#define IS_NAMED_ONCE false
#define IS_NAMED_NAMED true
#define IS_NAMED_OPTIONAL true
#define IS_NAMED_BOTH false
#define TAKES_NAME_ONCE false
#define TAKES_NAME_NAMED true
#define TAKES_NAME_OPTIONAL true
#define TAKES_NAME_BOTH true
#define IS_REQUIRED_ONCE false
#define IS_REQUIRED_NAMED true
#define IS_REQUIRED_OPTIONAL false
#define IS_REQUIRED_BOTH false
#define IS_LIVE_RESTART false
#define IS_LIVE_LIVE true
/* Each is two initialisers: .def and .example. */
#define DEFAULT(text) (text), NULL
#define EXAMPLE(text) "", (text)
#define REQUIRED(text) NULL, (text)

const struct conf_section_def conf_sections[CONF_N_SECTIONS] = {
#define SECTION(section, repeat, example_, doc_)                                                   \
	[CONF_SECTION_##section] = {#section,                                                      \
	                            IS_NAMED_##repeat,                                             \
	                            TAKES_NAME_##repeat,                                           \
	                            IS_REQUIRED_##repeat,                                          \
	                            (example_),                                                    \
	                            (doc_)},
#define OPTION(section, key, type, def, reload, doc)
#define SECTION_END(section)
#include "tbl/options.h"
#undef SECTION
#undef OPTION
#undef SECTION_END
};

const struct conf_option_def conf_options[] = {
#define SECTION(section, repeat, example, doc)
#define OPTION(section_, key_, type_, def_, reload, doc_)                                          \
	{CONF_SECTION_##section_,                                                                  \
	 #key_,                                                                                    \
	 &conf_types[CONF_TYPE_##type_],                                                           \
	 offsetof(struct conf_##section_, key_),                                                   \
	 def_,                                                                                     \
	 IS_LIVE_##reload,                                                                         \
	 (doc_)},
#define SECTION_END(section)
#include "tbl/options.h"
#undef SECTION
#undef OPTION
#undef SECTION_END
};

const size_t conf_n_options = COUNT_OF(conf_options);

const struct conf_option_def *conf_option_find(enum conf_section_id section, const char *key)
{
	for (size_t i = 0; i < conf_n_options; i++) {
		if (conf_options[i].section == section && strcmp(conf_options[i].key, key) == 0)
			return &conf_options[i];
	}
	return NULL;
}

enum conf_section_id conf_section_find(const char *word)
{
	int id = 0;

	while (id < CONF_N_SECTIONS && strcmp(conf_sections[id].word, word) != 0)
		id++;
	return (enum conf_section_id)id;
}

/* ---- hints ---------------------------------------------------------------------------- */

#define HINT_WORD_MAX 32 /* bytes; longer words are far from all in the table */
#define HINT_FAR 99

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t ab = a < b ? a : b;

	return ab < c ? ab : c;
}

static bool same_letter(char a, char b)
{
	return tolower((unsigned char)a) == tolower((unsigned char)b);
}

/* Levenshtein's distance, by rows of its matrix; capitals count as small letters. */
static size_t edit_distance(const char *a, const char *b)
{
	size_t row[HINT_WORD_MAX + 1], n = strlen(b);

	if (n > HINT_WORD_MAX || strlen(a) > HINT_WORD_MAX)
		return HINT_FAR;
	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 0; a[i]; i++) {
		size_t diagonal = row[0];

		row[0] = i + 1;
		for (size_t j = 0; j < n; j++) {
			size_t above = row[j + 1];

			diagonal += !same_letter(a[i], b[j]);
			row[j + 1] = min3(above + 1, row[j] + 1, diagonal);
			diagonal = above;
		}
	}
	return row[n];
}

/* Close enough to be a slip of the finger rather than another word. */
static bool is_close(size_t distance, const char *word)
{
	return distance <= (strlen(word) < 6 ? 1 : 1 + strlen(word) / 5);
}

const char *conf_option_hint(enum conf_section_id section, const char *key)
{
	static _Thread_local char hint[96];
	const struct conf_option_def *best = NULL;
	size_t best_distance = HINT_FAR;

	for (size_t i = 0; i < conf_n_options; i++) {
		const struct conf_option_def *o = &conf_options[i];
		size_t distance = edit_distance(key, o->key);

		/* The same distance in another section is the worse guess. */
		distance = distance * 2 + (o->section != section);
		if (distance < best_distance) {
			best = o;
			best_distance = distance;
		}
	}
	if (!best || !is_close(best_distance / 2, key))
		return "";
	if (best->section == section)
		snprintf(hint, sizeof(hint), " (did you mean %s?)", best->key);
	else
		snprintf(hint, sizeof(hint), " (did you mean %s of section [%s%s]?)", best->key,
		         conf_sections[best->section].word,
		         conf_sections[best->section].is_named ? " NAME" : "");
	return hint;
}

const char *conf_section_hint(const char *word)
{
	static _Thread_local char hint[96];
	size_t best = 0, best_distance = HINT_FAR;

	for (size_t i = 0; i < CONF_N_SECTIONS; i++) {
		size_t distance = edit_distance(word, conf_sections[i].word);

		if (distance < best_distance) {
			best = i;
			best_distance = distance;
		}
	}
	if (!is_close(best_distance, word))
		return "";
	snprintf(hint, sizeof(hint), " (did you mean [%s%s]?)", conf_sections[best].word,
	         conf_sections[best].is_named ? " NAME" : "");
	return hint;
}

/* ---- the structs behind the sections ------------------------------------------------- */

size_t conf_section_count(const struct conf *conf, enum conf_section_id section)
{
	switch (section) {
	case CONF_SECTION_jwt:
		return conf->n_jwts;
	case CONF_SECTION_node:
		return conf->n_nodes;
	case CONF_SECTION_database:
		return conf->n_databases;
	case CONF_SECTION_role:
		return conf->n_roles;
	case CONF_SECTION_tenant:
		return conf->n_tenant;
	case CONF_SECTION_peer:
		return conf->n_peers;
	default:
		return 1;
	}
}

void *conf_section_at(struct conf *conf, enum conf_section_id section, size_t i)
{
	MUST(i < conf_section_count(conf, section));
	switch (section) {
	case CONF_SECTION_pgusher:
		return &conf->pgusher;
	case CONF_SECTION_jwt:
		return &conf->jwts[i];
	case CONF_SECTION_oauth:
		return &conf->oauth;
	case CONF_SECTION_context:
		return &conf->context;
	case CONF_SECTION_audit:
		return &conf->audit;
	case CONF_SECTION_guard:
		return &conf->guard;
	case CONF_SECTION_node:
		return &conf->nodes[i];
	case CONF_SECTION_database:
		return &conf->databases[i];
	case CONF_SECTION_role:
		return &conf->roles[i];
	case CONF_SECTION_tenants:
		return &conf->tenants;
	case CONF_SECTION_tenant:
		return &conf->tenant[i];
	case CONF_SECTION_freshness:
		return &conf->freshness;
	case CONF_SECTION_peer:
		return &conf->peers[i];
	case CONF_N_SECTIONS:
		break;
	}
	MUST_NOT_REACH();
}

const char *conf_section_name(const struct conf *conf, enum conf_section_id section, size_t i)
{
	switch (section) {
	case CONF_SECTION_jwt:
		return conf->jwts[i].name;
	case CONF_SECTION_node:
		return conf->nodes[i].name;
	case CONF_SECTION_database:
		return conf->databases[i].name;
	case CONF_SECTION_role:
		return conf->roles[i].name;
	case CONF_SECTION_tenant:
		return conf->tenant[i].name;
	case CONF_SECTION_peer:
		return conf->peers[i].name;
	default:
		return "";
	}
}
