/* `pgusher audit verify`: reads an audit log and checks its hash chain. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "audit.h"
#include "cmd.h"

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher audit verify FILE [--after DIGEST|FILE]\n"
	      "Checks that each line of an audit log carries the SHA-256 of the line before it.\n"
	      "  --after  the first line must follow this digest, or this file's last line:\n"
	      "           the file before it in a rotation\n"
	      "Prints how many lines there are and the last one's digest, and exits 0; or\n"
	      "FILE:LINE: what is wrong, and exits 1. - is the standard input.\n"
	      "\n"
	      "What a whole chain proves: no line in front of the last one was changed, removed,\n"
	      "inserted or moved, unless all lines behind it were written anew. Lines cut off at "
	      "the\n"
	      "end, and a chain forged as a whole, only show against a digest kept elsewhere.\n",
	      out);
	return status;
}

/* 0; or 1, said why. */
static int read_file(const char *path, const char *after, struct audit_verdict *v)
{
	FILE *in = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

	if (in == NULL) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return 1;
	}
	audit_verify(in, after, v);
	if (in != stdin)
		(void)fclose(in);
	return 0;
}

static int verify(const char *path, const char *after)
{
	struct audit_verdict before, v;

	if (after != NULL && !audit_is_digest(after)) {
		if (read_file(after, NULL, &before) != 0)
			return 1;
		if (before.last[0] == '\0') {
			fprintf(stderr, "%s: no line to follow\n", after);
			return 1;
		}
		after = before.last;
	}
	if (read_file(path, after, &v) != 0)
		return 1;
	if (!v.is_whole) {
		fprintf(stderr, "%s:%llu: %s\n", path, (unsigned long long)v.bad_line, v.what);
		return 1;
	}
	if (v.n_lines == 0)
		printf("%s: no lines\n", path);
	else
		printf("%s: %llu lines, chain whole, last digest %s\n", path,
		       (unsigned long long)v.n_lines, v.last);
	return 0;
}

int cmd_audit(int argc, char **argv)
{
	static const struct option options[] = {
		{"after", required_argument, NULL, 'a'}, {"help", no_argument, NULL, 'h'}, {0}};
	const char *after = NULL;
	int opt;

	while ((opt = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (opt == 'h')
			return usage(stdout, 0);
		if (opt != 'a')
			return usage(stderr, 2);
		after = optarg;
	}
	if (argc - optind != 2 || strcmp(argv[optind], "verify") != 0)
		return usage(stderr, 2);
	return verify(argv[optind + 1], after);
}
