/* The function catalogue as one sorted array, and the names of PostgreSQL's own functions for who
 * has none. Read by every worker, changed by none but for the flag that asks for a newer one. */
#include "sql_catalog.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/mem.h"

#define CATALOG_MAGIC 0xca7a1095u

struct sql_catalog {
	uint32_t magic;
	atomic_uint refs;
	atomic_bool is_missed;
	bool is_whole;
	char *texts; /* the names in the rows */
	size_t n;
	struct sql_catalog_row rows[]; /* by name, then as compare() says */
};

static int compare_via(const char *a, const char *b)
{
	if (a == NULL || b == NULL)
		return (a != NULL) - (b != NULL);
	return strcmp(a, b);
}

static int compare(const void *a, const void *b)
{
	const struct sql_catalog_row *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	if (order == 0)
		order = (int)x->thing - (int)y->thing;
	if (order == 0)
		order = strcmp(x->schema, y->schema);
	if (order == 0)
		order = compare_via(x->via, y->via);
	return order != 0 ? order : compare_via(x->via_schema, y->via_schema);
}

/* Rows of the same thing and function become one. */
static void fold(struct sql_catalog *c)
{
	size_t n = 0;

	for (size_t i = 0; i < c->n; i++) {
		if (n > 0 && compare(&c->rows[n - 1], &c->rows[i]) == 0)
			c->rows[n - 1].facts |= c->rows[i].facts;
		else
			c->rows[n++] = c->rows[i];
	}
	c->n = n;
}

static size_t text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

static void copy_texts(struct sql_catalog *c)
{
	size_t size = 0;
	char *at;

	for (size_t i = 0; i < c->n; i++)
		size += text_size(c->rows[i].schema) + text_size(c->rows[i].name) +
		        text_size(c->rows[i].via_schema) + text_size(c->rows[i].via);
	c->texts = at = mem_alloc(size + 1);
	for (size_t i = 0; i < c->n; i++) {
		const char **names[] = {&c->rows[i].schema, &c->rows[i].name,
		                        &c->rows[i].via_schema, &c->rows[i].via};

		for (size_t k = 0; k < COUNT_OF(names); k++) {
			size_t len = text_size(*names[k]);

			if (len == 0)
				continue;
			memcpy(at, *names[k], len);
			*names[k] = at;
			at += len;
		}
	}
}

struct sql_catalog *sql_catalog_new(const struct sql_catalog_row *rows, size_t n)
{
	struct sql_catalog *c = mem_zalloc(sizeof(*c) + n * sizeof(rows[0]));

	OBJ_INIT(c, CATALOG_MAGIC);
	atomic_init(&c->refs, 1);
	c->is_whole = true;
	c->n = n;
	if (n > 0)
		memcpy(c->rows, rows, n * sizeof(rows[0]));
	qsort(c->rows, c->n, sizeof(c->rows[0]), compare);
	fold(c);
	copy_texts(c);
	return c;
}

struct sql_catalog *sql_catalog_join(struct sql_catalog *const *parts, size_t n, bool is_whole)
{
	struct sql_catalog *c;
	struct buf rows = {0};

	for (size_t i = 0; i < n; i++) {
		if (parts[i] != NULL && parts[i]->n > 0)
			buf_put(&rows, parts[i]->rows, parts[i]->n * sizeof(parts[i]->rows[0]));
	}
	c = sql_catalog_new((const struct sql_catalog_row *)(const void *)rows.data,
	                    rows.len / sizeof(c->rows[0]));
	c->is_whole = is_whole;
	buf_fini(&rows);
	return c;
}

struct sql_catalog *sql_catalog_get(struct sql_catalog *c)
{
	OBJ_CHECK(c, CATALOG_MAGIC);
	atomic_fetch_add(&c->refs, 1);
	return c;
}

void sql_catalog_put(struct sql_catalog **cp)
{
	struct sql_catalog *c = *cp;

	*cp = NULL;
	if (c == NULL)
		return;
	OBJ_CHECK(c, CATALOG_MAGIC);
	if (atomic_fetch_sub(&c->refs, 1) > 1)
		return;
	mem_free(c->texts);
	OBJ_FINI(c, CATALOG_MAGIC);
	mem_free(c);
}

bool sql_catalog_equals(const struct sql_catalog *a, const struct sql_catalog *b)
{
	OBJ_CHECK(a, CATALOG_MAGIC);
	OBJ_CHECK(b, CATALOG_MAGIC);
	if (a->n != b->n || a->is_whole != b->is_whole)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (a->rows[i].facts != b->rows[i].facts || compare(&a->rows[i], &b->rows[i]) != 0)
			return false;
	return true;
}

size_t sql_catalog_count(const struct sql_catalog *c, enum sql_thing thing, uint32_t facts)
{
	size_t n = 0;

	OBJ_CHECK(c, CATALOG_MAGIC);
	for (size_t i = 0; i < c->n; i++)
		n += c->rows[i].thing == thing && (c->rows[i].facts & facts) == facts;
	return n;
}

void sql_catalog_ask(struct sql_catalog *c)
{
	OBJ_CHECK(c, CATALOG_MAGIC);
	atomic_store_explicit(&c->is_missed, true, memory_order_relaxed);
}

bool sql_catalog_take_miss(struct sql_catalog *c)
{
	OBJ_CHECK(c, CATALOG_MAGIC);
	return atomic_exchange(&c->is_missed, false);
}

/* The first row of this name, or where it would be. */
static size_t first_of(const struct sql_catalog *c, const char *name)
{
	size_t from = 0, to = c->n;

	while (from < to) {
		size_t middle = from + (to - from) / 2;

		if (strcmp(c->rows[middle].name, name) < 0)
			from = middle + 1;
		else
			to = middle;
	}
	return from;
}

unsigned sql_catalog_find(const void *catalog, const char *schema, const char *name)
{
	/* Its flag is all that changes. */
	struct sql_catalog *c = (struct sql_catalog *)(uintptr_t)catalog;
	unsigned facts = 0;

	OBJ_CHECK(c, CATALOG_MAGIC);
	for (size_t i = first_of(c, name); i < c->n && strcmp(c->rows[i].name, name) == 0; i++)
		if (c->rows[i].thing == SQL_THING_FUNCTION &&
		    (schema == NULL || strcmp(c->rows[i].schema, schema) == 0))
			facts |= c->rows[i].facts;
	if ((facts & SQL_FUNCTION_USER) != 0 && !c->is_whole)
		facts &= ~(unsigned)SQL_FUNCTION_KNOWN;
	if (facts == 0)
		sql_catalog_ask(c);
	return facts;
}

const struct sql_catalog_row *sql_catalog_next(const void *catalog, const char *name,
                                               const struct sql_catalog_row *row)
{
	const struct sql_catalog *c = catalog;
	const struct sql_catalog_row *next = row != NULL ? row + 1 : &c->rows[first_of(c, name)];

	OBJ_CHECK(c, CATALOG_MAGIC);
	return next < c->rows + c->n && strcmp(next->name, name) == 0 ? next : NULL;
}

/* ---- without a catalogue -------------------------------------------------------------------- */

struct builtin {
	const char *name;
	unsigned facts;
};

static const struct builtin builtins[] = {
#define OF_PG(name) {#name, SQL_FUNCTION_KNOWN},
#define VOLATILE_PG(name) {#name, SQL_FUNCTION_KNOWN | SQL_FUNCTION_VOLATILE},
#include "tbl/builtin_functions.h"
#undef OF_PG
#undef VOLATILE_PG
};

static int compare_name(const void *name, const void *entry)
{
	return strcmp(name, ((const struct builtin *)entry)->name);
}

unsigned sql_builtin_find(const void *nothing, const char *schema, const char *name)
{
	const struct builtin *found;

	(void)nothing;
	if (schema != NULL && strcmp(schema, "pg_catalog") != 0)
		return 0;
	found = bsearch(name, builtins, COUNT_OF(builtins), sizeof(builtins[0]), compare_name);
	return found != NULL ? found->facts : 0;
}
