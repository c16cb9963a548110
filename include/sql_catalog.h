/* The function catalogue: what is known of the functions of all databases, by schema and name, and
 * of what calls them without naming them: operators, relations, types. Immutable, counted, shared
 * between threads. */
#ifndef PGUSHER_SQL_CATALOG_H
#define PGUSHER_SQL_CATALOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sql_guard.h"

enum sql_thing { SQL_THING_FUNCTION, SQL_THING_OPERATOR, SQL_THING_RELATION, SQL_THING_TYPE };

/* All functions of one name in one schema. Or one function that is behind the operators, relations
 * or types of this name: an operator's own, what a view calls, a trigger ... */
struct sql_catalog_row {
	const char *schema, *name;
	uint32_t facts; /* enum sql_function_facts, of the function */
	enum sql_thing thing;
	const char *via_schema, *via; /* the function behind; NULL where it is the row itself */
};

struct sql_catalog;
/* In any order; copied. */
struct sql_catalog *sql_catalog_new(const struct sql_catalog_row *rows, size_t n);
/* Of several databases, whose functions of the same schema and name are taken together. is_whole:
 * none is missing; else users' functions do not count as known. */
struct sql_catalog *sql_catalog_join(struct sql_catalog *const *parts, size_t n, bool is_whole);
struct sql_catalog *sql_catalog_get(struct sql_catalog *catalog);
/* NULL is fine. */
void sql_catalog_put(struct sql_catalog **cp);
bool sql_catalog_equals(const struct sql_catalog *a, const struct sql_catalog *b);
/* How many rows of such things have all of these facts. */
size_t sql_catalog_count(const struct sql_catalog *catalog, enum sql_thing thing, uint32_t facts);
/* Something has been made or changed in a database: it is to be read soon. From any thread. */
void sql_catalog_ask(struct sql_catalog *catalog);
/* Whether that, or an unknown function was asked for, since the last time; from any thread. */
bool sql_catalog_take_miss(struct sql_catalog *catalog);

/* As sql_functions.find: of a catalogue; of nothing but PostgreSQL's own (snapshot: NULL). */
unsigned sql_catalog_find(const void *catalog, const char *schema, const char *name);
const struct sql_catalog_row *sql_catalog_next(const void *catalog, const char *name,
                                               const struct sql_catalog_row *row);
unsigned sql_builtin_find(const void *nothing, const char *schema, const char *name);

#endif
