/* PgUsher's one binary: finds the command and runs it. */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/cmd.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} commands[] = {
	{"serve", cmd_serve, "run the proxy"},
	{"check", cmd_check, "check a configuration"},
	{"explain", cmd_explain, "say how statements would be classified, guarded and routed"},
	{"token", cmd_token, "print a signed token, for development and tests"},
	{"audit", cmd_audit, "check an audit log's hash chain"},
};

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher COMMAND [OPTION]...\n"
	      "A PostgreSQL tenant proxy: a tenant's token in, its rows out.\n\n",
	      out);
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].what);
	fputs("\n`pgusher COMMAND --help` says more; `pgusher --version` prints the version.\n",
	      out);
	return status;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr, 2);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return usage(stdout, 0);
	if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
		printf("pgusher %s\n", PGUSHER_VERSION);
		return 0;
	}
	for (size_t i = 0; i < COUNT_OF(commands); i++) {
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	}
	fprintf(stderr, "pgusher: unknown command \"%s\" (see pgusher --help)\n", argv[1]);
	return 2;
}
