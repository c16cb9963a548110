/* A snapshot as text, option by option (SHOW CONFIG), and what RELOAD may not change. Any
 * thread may print; conf_reload_check runs on the thread that made the fresh snapshot. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "conf_int.h"

/* A constant snapshot's section; the cast is undone by the const of the result. */
static const char *section_fields(const struct conf *conf, enum conf_section_id id, size_t i)
{
	return conf_section_at((struct conf *)(uintptr_t)conf, id, i);
}

/* NUL-terminated, in place of what out held. */
static const char *field_text(const struct conf_option_def *def, const char *fields,
                              struct buf *out)
{
	out->len = 0;
	def->type->format(def->type, fields + def->offset, out);
	buf_put_u8(out, 0);
	return (const char *)out->data;
}

/* The table says "30s" where SHOW CONFIG, as PgBouncer's, says 30. */
static const char *default_text(const struct conf_option_def *def, struct buf *out)
{
	struct conf_setter setter = {0};
	int64_t us;

	if (def->type != &conf_types[CONF_TYPE_DURATION])
		return def->def;
	MUST(def->type->parse(&setter, def->type, &us, def->def));
	out->len = 0;
	def->type->format(def->type, &us, out);
	buf_put_u8(out, 0);
	return (const char *)out->data;
}

/* Calls visit for one option of the i-th section of its kind. */
static void option_visit(const struct conf *conf, const struct conf_option_def *def, size_t i,
                         conf_visit_fn *visit, void *arg)
{
	const struct conf_section_def *section = &conf_sections[def->section];
	const char *name = conf_section_name(conf, def->section, i);
	char label[CONF_MAX_NAME_BYTES + 32];
	struct buf value = {0}, normal = {0};
	struct conf_option option = {
		.section = label,
		.key = def->key,
		.value = field_text(def, section_fields(conf, def->section, i), &value),
		.def = default_text(def, &normal),
		.is_reloadable = def->is_live,
		.doc = def->doc,
	};

	snprintf(label, sizeof(label), "%s%s%s", section->word, name[0] ? " " : "", name);
	visit(arg, &option);
	buf_fini(&value);
	buf_fini(&normal);
}

static void section_visit(const struct conf *conf, enum conf_section_id id, size_t i,
                          conf_visit_fn *visit, void *arg)
{
	for (size_t o = 0; o < conf_n_options; o++) {
		if (conf_options[o].section == id)
			option_visit(conf, &conf_options[o], i, visit, arg);
	}
}

void conf_each_option(const struct conf *conf, conf_visit_fn *visit, void *arg)
{
	OBJ_CHECK(conf, CONF_MAGIC);
	for (int id = 0; id < CONF_N_SECTIONS; id++) {
		size_t n = conf_section_count(conf, (enum conf_section_id)id);

		for (size_t i = 0; i < n; i++)
			section_visit(conf, (enum conf_section_id)id, i, visit, arg);
	}
}

/* ---- RELOAD ----------------------------------------------------------------------------- */

static bool option_differs(const struct conf_option_def *def, const struct conf *a,
                           const struct conf *b)
{
	struct buf text_a = {0}, text_b = {0};
	bool differs = strcmp(field_text(def, section_fields(a, def->section, 0), &text_a),
	                      field_text(def, section_fields(b, def->section, 0), &text_b)) != 0;

	buf_fini(&text_a);
	buf_fini(&text_b);
	return differs;
}

static void option_keep(const struct conf_option_def *def, const struct conf *old,
                        struct conf *fresh)
{
	const char *from = section_fields(old, def->section, 0) + def->offset;
	char *to = (char *)conf_section_at(fresh, def->section, 0) + def->offset;
	const char *string;

	if (def->type->size > 0) {
		memcpy(to, from, def->type->size);
		return;
	}
	memcpy(&string, from, sizeof(string));
	string = conf_memory_strndup(fresh, string, strlen(string));
	memcpy(to, &string, sizeof(string));
}

size_t conf_reload_check(const struct conf *old, struct conf *fresh, conf_visit_fn *visit,
                         void *arg)
{
	size_t n = 0;

	OBJ_CHECK(old, CONF_MAGIC);
	OBJ_CHECK(fresh, CONF_MAGIC);
	fresh->generation = old->generation + 1;
	for (size_t o = 0; o < conf_n_options; o++) {
		const struct conf_option_def *def = &conf_options[o];

		if (def->is_live)
			continue;
		MUST(!conf_sections[def->section].is_named);
		if (!option_differs(def, old, fresh))
			continue;
		if (visit)
			option_visit(fresh, def, 0, visit, arg);
		option_keep(def, old, fresh);
		n++;
	}
	return n;
}
