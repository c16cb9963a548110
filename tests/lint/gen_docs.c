/* Writes what is generated from the option table to standard output: `gen_docs ini` is
 * etc/pgusher.ini, `gen_docs manual` is docs/configuration.md. `make lint` compares. */
#include <stdio.h>
#include <string.h>

#include "conf.h"

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "ini") == 0) {
		conf_print_sample_ini(stdout);
	} else if (argc == 2 && strcmp(argv[1], "manual") == 0) {
		conf_print_manual(stdout);
	} else {
		fprintf(stderr, "usage: gen_docs ini|manual\n");
		return 2;
	}
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : 1;
}
