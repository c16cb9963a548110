/* What the three fuzz targets of src/sql share: the text, the rules, and how one dies. */
#ifndef PGUSHER_TESTS_FUZZ_SQL_INPUT_H
#define PGUSHER_TESTS_FUZZ_SQL_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "sql/sql_int.h"

#define FUZZ_TEXT_MAX 7900u /* below the depth at which texts are not parsed */

static const char *const fuzz_names[] = {"app.current_tenant_id", "app.tenant_proof", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline void fuzz_die(const char *what, const char *text)
{
	fprintf(stderr, "%s: %s\n", what, text);
	abort();
}

/* The server goes on with a string behind white space with -- comments and a newline in it;
 * libpg_query does not, and finds a syntax error. */
static inline bool may_continue_past_comment(const char *text)
{
	return strstr(text, "--") != NULL && strchr(text, '\'') != NULL;
}

#endif
