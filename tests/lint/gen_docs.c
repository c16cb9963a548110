/* Writes what is generated from the tables in include/tbl to standard output: `gen_docs ini` is
 * etc/pgusher.ini, `gen_docs manual` is docs/configuration.md, `gen_docs guard` is docs/guard.md.
 * `make lint` compares. */
#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "sql_guard.h"

static void print_rule(enum sql_rule id)
{
	const struct sql_rule_info *info = sql_rule_info(id);

	printf("| `%s` | %s | %s | %s | %s | %s |\n", info->refusal.rule,
	       info->mode <= SQL_GUARD_STRICT ? "x" : "",
	       info->mode <= SQL_GUARD_STANDARD ? "x" : "", info->mode <= SQL_GUARD_OFF ? "x" : "",
	       info->looks_for, info->refusal.hint);
}

static void print_guard_rules(void)
{
	puts("# The guard's rules\n\n"
	     "Generated from `include/tbl/guard_rules.h` by `make docs`.\n\n"
	     "`mode` in `[guard]` chooses among them; `allow_functions` and `deny_functions` "
	     "change them\n"
	     "for single functions. A refusal is an ordinary error that names the rule: SQLSTATE "
	     "42501,\n"
	     "for `usher_setting` 42704, for `too_complex` 54001. `SHOW GUARD` counts them, and\n"
	     "`pgusher explain` says which one a statement meets.\n\n"
	     "| rule | strict | standard | off | what it looks for | instead |\n"
	     "|---|---|---|---|---|---|");
	for (int id = SQL_RULE_NONE + 1; id < SQL_N_RULES; id++)
		print_rule((enum sql_rule)id);
}

int main(int argc, char **argv)
{
	const char *which = argc == 2 ? argv[1] : "";

	if (strcmp(which, "ini") == 0) {
		conf_print_sample_ini(stdout);
	} else if (strcmp(which, "manual") == 0) {
		conf_print_manual(stdout);
	} else if (strcmp(which, "guard") == 0) {
		print_guard_rules();
	} else {
		fprintf(stderr, "usage: gen_docs ini|manual|guard\n");
		return 2;
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
