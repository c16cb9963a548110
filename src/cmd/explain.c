/* `pgusher explain -c FILE SQL...`: what the statements would be taken for, what the guard says
 * and where they would go. Connects nowhere: what only the server knows (users' functions) is not
 * asked. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "cmd.h"
#include "conf.h"
#include "sql.h"
#include "sql_catalog.h"

#define CACHE_ENTRIES 16

static int usage(FILE *out, int status)
{
	fputs("usage: pgusher explain -c FILE [--role ROLE] SQL...\n"
	      "Says of each statement what it is, whether the guard lets it pass and where it "
	      "would\n"
	      "be sent, without a server. SQL is one string of statements, as a client sends it;\n"
	      "- reads it from standard input. Functions that are not PostgreSQL's own count as\n"
	      "unknown here, as they do to a PgUsher without a function catalogue.\n\n"
	      "  -c, --config FILE  the ini file; its [guard] and [context] hold\n"
	      "  -r, --role ROLE    as this [role] would send it; without it, as a tenant\n\n"
	      "Exits 0 when all would pass, 1 when one is refused, 2 for wrong usage.\n",
	      out);
	return status;
}

struct explain {
	struct sql_cache *cache;
	unsigned n_refused, n_explained;
};

static void print_text(const char *label, const char *text, size_t len)
{
	printf("  %-12s", label);
	for (size_t i = 0; i < len; i++)
		putchar((unsigned char)text[i] < ' ' || text[i] == 0x7f ? ' ' : text[i]);
	putchar('\n');
}

static const char *mode_name(enum sql_guard_mode mode)
{
	return mode == SQL_GUARD_STRICT     ? "in strict"
	       : mode == SQL_GUARD_STANDARD ? "in standard and strict"
	                                    : "always";
}

static void print_guard(struct explain *x, const struct sql_refusal *refusal)
{
	if (refusal == NULL) {
		printf("  %-12s%s\n", "guard", "passes");
		return;
	}
	x->n_refused++;
	if (refusal->id == SQL_RULE_NONE) {
		printf("  %-12srefused: syntax error (%s): %s\n", "guard", refusal->sqlstate,
		       refusal->message);
		return;
	}
	printf("  %-12srefused by rule %s, %s: %s\n", "guard", refusal->rule, refusal->sqlstate,
	       refusal->message);
	printf("  %-12sisolation row %s; looks for: %s; holds %s\n", "",
	       sql_rule_info(refusal->id)->rows, sql_rule_info(refusal->id)->looks_for,
	       mode_name(sql_rule_info(refusal->id)->mode));
	if (refusal->hint != NULL)
		printf("  %-12s%s\n", "hint", refusal->hint);
}

/* As far as it hangs on the statement; EXPLAIN ROUTE in the console knows how late nodes are. */
static void print_route(const struct sql_stmt *stmt, bool is_refused)
{
	const char *route = "primary";

	if (is_refused)
		route = "nowhere: refused";
	else if (stmt->kind == SQL_OWN)
		route = "nowhere: answered by PgUsher";
	else if (stmt->kind == SQL_BEGIN && (stmt->bits & SQL_BARE))
		route = "primary, with the transaction's next statement";
	else if (stmt->bits & (SQL_READ_ONLY | SQL_BEGINS_READ_ONLY))
		route = "a node that is fresh enough (usher.consistency), else the primary";
	printf("  %-12s%s\n", "route", route);
}

static void print_reads(struct explain *x, const struct sql_stmt *stmt, const char *text,
                        size_t len)
{
	struct sql_why why;

	if (stmt->kind == SQL_OWN || stmt->kind == SQL_EMPTY)
		return;
	if ((stmt->bits & SQL_READ_ONLY) != 0) {
		printf("  %-12syes\n", "reads only");
		return;
	}
	sql_why_not_read_only(x->cache, text, len, &why);
	printf("  %-12sno: it %s%s%s\n", "reads only", why.what != NULL ? why.what : "may not",
	       why.name[0] != '\0' ? ": " : "", why.name);
}

/* fingerprint: as in the audit log; 0: it has none. */
static void print_statement(struct explain *x, const struct sql_stmt *stmt, const char *text,
                            size_t len, const struct sql_refusal *refusal, uint64_t fingerprint)
{
	const char *label = "";
	struct buf normal = {0};

	printf("statement %u\n", ++x->n_explained);
	if (stmt->kind != SQL_OWN) { /* which has a token in it */
		print_text("text", text, len);
		sql_normal_text(text, len, &normal);
		print_text("normalised", (const char *)normal.data, normal.len - 1);
		buf_fini(&normal);
	}
	if (fingerprint != 0)
		printf("  %-12s%016" PRIx64 "\n", "fingerprint", fingerprint);
	printf("  %-12s%s\n", "kind", sql_kind_words(stmt->kind));
	for (uint32_t bits = stmt->bits; bits != 0; bits &= bits - 1) {
		const char *words = sql_bit_words(bits);

		if (words == NULL)
			continue;
		printf("  %-12s%s\n", label[0] == '\0' ? "it" : "", words);
		label = "it";
	}
	print_reads(x, stmt, text, len);
	print_guard(x, refusal);
	print_route(stmt, refusal != NULL);
}

/* Each statement by itself: the refusal of a string is that of its first bad one. */
static void explain(struct explain *x, const char *text, size_t len)
{
	static const struct sql_stmt own_stmt = {.kind = SQL_OWN}, empty = {.kind = SQL_EMPTY};
	const struct sql_info *info;
	struct sql_stmt *stmts;
	struct sql_own own;
	unsigned n;

	if (sql_read_own(text, len, &own)) {
		print_statement(x, &own_stmt, text, len, NULL, 0);
		return;
	}
	info = sql_classify(x->cache, text, len);
	n = info->n_stmts;
	if (n <= 1) {
		print_statement(x, n == 1 ? &info->stmts[0] : &empty, text, len, info->refusal,
		                info->fingerprint);
		return;
	}
	/* The next sql_classify takes the answer away. */
	stmts = mem_dup(info->stmts, n * sizeof(stmts[0]));
	for (unsigned i = 0; i < n; i++) {
		const char *at = text + stmts[i].start_bytes;

		info = sql_classify(x->cache, at, stmts[i].len_bytes);
		print_statement(x, &stmts[i], at, stmts[i].len_bytes, info->refusal,
		                info->fingerprint);
	}
	mem_free(stmts);
}

static bool explain_input(struct explain *x)
{
	struct buf text = {0};
	char chunk[4096];
	size_t n;

	while ((n = fread(chunk, 1, sizeof(chunk), stdin)) > 0 && text.len + n <= SQL_TEXT_MAX)
		buf_put(&text, chunk, n);
	if (n > 0 || ferror(stdin)) {
		fprintf(stderr, "pgusher explain: standard input: %s\n",
		        n > 0 ? "too long" : strerror(errno));
		buf_fini(&text);
		return false;
	}
	explain(x, text.len > 0 ? (const char *)text.data : "", text.len);
	buf_fini(&text);
	return true;
}

static struct sql_cache *cache_for(const struct conf *conf, const struct conf_role *role)
{
	const char *settings[] = {conf->context.setting, conf->context.proof_setting, NULL};
	struct sql_guard guard = {conf->guard.mode, conf->guard.allow_functions,
	                          conf->guard.deny_functions, conf->guard.trusted_functions};
	/* As a server that has no function catalogue (session_set_catalog). */
	const struct sql_functions functions = {.find = sql_builtin_find};
	struct sql_cache *cache = sql_cache_new(settings, CACHE_ENTRIES);

	if (role != NULL && role->tenant == CONF_TENANT_NONE)
		guard = (struct sql_guard){.mode = SQL_GUARD_OFF};
	sql_cache_set_guard(cache, &guard);
	sql_cache_set_functions(cache, &functions);
	return cache;
}

static int run(const struct conf *conf, const char *role_name, char **texts)
{
	const struct conf_role *role = role_name != NULL ? conf_find_role(conf, role_name) : NULL;
	struct explain x = {0};
	bool ok = true;

	if (role_name != NULL && role == NULL) {
		fprintf(stderr, "pgusher explain: there is no [role %s] in %s\n", role_name,
		        conf->path);
		return 1;
	}
	x.cache = cache_for(conf, role);
	for (; *texts != NULL && ok; texts++) {
		if (strcmp(*texts, "-") == 0)
			ok = explain_input(&x);
		else if (strlen(*texts) <= SQL_TEXT_MAX)
			explain(&x, *texts, strlen(*texts));
	}
	sql_cache_free(&x.cache);
	return ok && x.n_refused == 0 ? 0 : 1;
}

int cmd_explain(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
	                                        {"role", required_argument, NULL, 'r'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {0}};
	const char *path = NULL, *role = NULL;
	struct conf_error err;
	struct conf *conf;
	int opt, status;

	while ((opt = getopt_long(argc, argv, "c:r:h", options, NULL)) != -1) {
		if (opt == 'h')
			return usage(stdout, 0);
		if (opt == 'c')
			path = optarg;
		else if (opt == 'r')
			role = optarg;
		else
			return usage(stderr, 2);
	}
	if (path == NULL || optind == argc)
		return usage(stderr, 2);
	conf = conf_load(path, &err);
	if (conf == NULL) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	status = run(conf, role, argv + optind);
	conf_put(&conf);
	return status;
}
