/* etc/pgusher.ini and docs/configuration.md, printed from the option table, so that neither can
 * name a key that is not there or forget one. tests/lint/gen_docs.c writes them. */
#include <stdio.h>
#include <string.h>

#include "conf_int.h"

#define WIDTH 92

/* text, broken between words; the first line begins with `prefix`, the others with `indent`. */
static void print_wrapped(FILE *out, const char *prefix, const char *indent, const char *text)
{
	const char *before = prefix;
	size_t column = 0;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (column > 0 && column + 1 + len > WIDTH) {
			fputc('\n', out);
			column = 0;
			before = indent;
		}
		column += (size_t)fprintf(out, "%s%.*s", column > 0 ? " " : before, (int)len, text);
		text += len + (text[len] == ' ');
	}
	fputc('\n', out);
}

/* What the option takes: "yes, no", "file". */
static void print_values(FILE *out, const struct conf_type *type)
{
	const char *comma = "";

	if (type->doc) {
		fputs(type->doc, out);
		return;
	}
	for (const struct conf_word *w = type->words; w->word; w++) {
		if (w->refusal)
			continue;
		fprintf(out, "%s%s", comma, w->word);
		comma = ", ";
	}
}

/* "[node primary-a]", or with a placeholder instead of the example: "[node NAME]". */
static void print_heading(FILE *out, const struct conf_section_def *section, bool with_example)
{
	fprintf(out, "[%s", section->word);
	if (section->is_named)
		fprintf(out, " %s", with_example ? section->example : "NAME");
	fputc(']', out);
}

/* ---- the sample ------------------------------------------------------------------------ */

static const char *const sample_head[] = {
	"PgUsher's configuration; the manual is docs/configuration.md.",
	"",
	"A line that begins with \"# \" explains the setting below it. A line that begins with "
	"\";\" is a setting: take the \";\" away to use it. It shows the default, or an "
	"example where it says so.",
	"",
	"To start: put the keys that sign your tokens into jwks_file, then uncomment the "
	"sections [node ...], [database ...] and [role ...] at the end, which are a minimal "
	"working example, and fit their values. `pgusher check -c FILE` says whether all is "
	"well, without connecting to anything.",
	"",
	"This file is generated from include/tbl/options.h.",
};

static void sample_option(FILE *out, const struct conf_option_def *o)
{
	const char *value = o->example ? o->example : o->def;

	fputc('\n', out);
	print_wrapped(out, "# ", "# ", o->doc);
	fputs("# Values: ", out);
	print_values(out, o->type);
	if (!o->def)
		fputs(". Required; this is an example", out);
	else if (o->example)
		fputs(". Default: empty; this is an example", out);
	fputs(".\n", out);
	fprintf(out, ";%s =%s%s\n", o->key, value[0] ? " " : "", value);
}

/* Sections that stand once are open, so that uncommenting one line is enough; those with names
 * are a commented example. */
static void sample_section(FILE *out, int id)
{
	const struct conf_section_def *section = &conf_sections[id];

	fputs("\n\n", out);
	print_wrapped(out, "# ", "# ", section->doc);
	fputs(section->is_named ? ";" : "", out);
	print_heading(out, section, true);
	fputc('\n', out);
	for (size_t o = 0; o < conf_n_options; o++) {
		if ((int)conf_options[o].section == id)
			sample_option(out, &conf_options[o]);
	}
}

void conf_print_sample_ini(FILE *out)
{
	for (size_t i = 0; i < sizeof(sample_head) / sizeof(sample_head[0]); i++) {
		if (sample_head[i][0])
			print_wrapped(out, "# ", "# ", sample_head[i]);
		else
			fputs("#\n", out);
	}
	for (int id = 0; id < CONF_N_SECTIONS; id++)
		sample_section(out, id);
}

/* ---- the manual ------------------------------------------------------------------------ */

static const char *const manual_head[] = {
	"# Configuration",
	"",
	"<!-- Generated from include/tbl/options.h; change that, then regenerate. -->",
	"",
	"PgUsher reads one ini file: `pgusher serve -c FILE`. `etc/pgusher.ini` is a sample "
	"with every key. `pgusher check -c FILE` reads it and every file that it names, "
	"connects nowhere, and says `file:line: key: what is wrong` where something is. An "
	"unknown key or section, a key or section that is there twice, a bad value and a file "
	"that cannot be read are errors.",
	"",
	"## The file",
	"",
	"- `[section]` or `[section NAME]` opens a section, `key = value` sets a key.",
	"- A line that begins with `;` or `#` is a comment. Behind a value, a blank and `;` "
	"begin one (`#` does not).",
	"- Blanks around keys and values do not count, nor does indentation; a value cannot go "
	"on in the next line. Quotes are part of the value.",
	"- A line, its comment included, has at most 197 bytes; a comment of its own line may "
	"be longer.",
	"- Times are numbers of seconds, or carry a unit: `us`, `ms`, `s`, `min`, `h`. "
	"Fractions are allowed (`15.0`, `0.5h`). The longest is 365 days.",
	"- `yes` may also be `on`, `true` or `1`, and `no` `off`, `false` or `0`. Words may be "
	"written in any case, but for names of algorithms.",
	"- Files must be regular files. Paths that do not begin with `/` are relative to where "
	"PgUsher was started: better give whole ones.",
	"- Names of databases, roles and nodes have at most 63 bytes; a node's has only "
	"letters, digits, `_`, `.` and `-`.",
	"",
	"## Changes",
	"",
	"RELOAD in the console and SIGHUP read the file again, with all that it names. It is taken "
	"whole: sections that are new work at once, and so does every option but those that say "
	"that they take a restart; these stay as they were, and RELOAD names them. A file with an "
	"error changes nothing, and RELOAD and the log say `file:line: key: what is wrong`. "
	"`SET key = 'value'` in the console changes one option of [pgusher] until the next RELOAD. "
	"See operations.md, \"Changing the configuration\". Key files are also read when they "
	"change; files of server_tls for each new connection.",
	"",
	"## The least that works",
	"",
	"With the keys in `/etc/pgusher/jwks.json`:",
};

static const char *const manual_checks[] = {
	"",
	"## What must fit together",
	"",
	"- There is at least one `[node NAME]`, one `[database NAME]` and one `[role NAME]`.",
	"- `nodes` of a database names sections that exist, each once, and at least one with "
	"`role = auto`.",
	"- Every `[jwt]` section has a `jwks_file` or a `jwks_url`, and an `issuer` of its own; "
	"one "
	"of them may have none.",
	"- `client_tls_sslmode` other than `disable` needs `client_tls_key_file` and "
	"`client_tls_cert_file`.",
	"- `client_tls_sslmode = verify-ca` and `verify-full` need `client_tls_ca_file`; "
	"`client_tls_ecdhcurve = none` needs `client_tls_protocols` without `tlsv1.3`.",
	"- `server_tls_protocols` has no gap (`tlsv1.1, tlsv1.3` would have one).",
	"- `server_tls_sslmode = verify-ca` and `verify-full` need `server_tls_ca_file`; "
	"`server_tls_key_file` and `server_tls_cert_file` need each other.",
	"- A `password_file` gives no permission to other users (`chmod o= FILE`) and holds "
	"one line of up to 1024 bytes.",
	"- `listen_addr` and `unix_socket_dir` are not both empty.",
	"- N of a `[peer N]` is a number from 1 to 127. Peers are ignored while `peer_id` is 0.",
};

static void print_lines(FILE *out, const char *const *lines, size_t n)
{
	for (size_t i = 0; i < n; i++)
		print_wrapped(out, "", lines[i][0] == '-' ? "  " : "", lines[i]);
}

static void manual_example(FILE *out)
{
	fputs("\n```ini\n", out);
	for (size_t o = 0; o < conf_n_options; o++) {
		const struct conf_option_def *option = &conf_options[o];
		const struct conf_section_def *section = &conf_sections[option->section];

		if (!section->is_required)
			continue;
		if (o == 0 || conf_options[o - 1].section != option->section) {
			print_heading(out, section, true);
			fputc('\n', out);
		}
		if (option->example)
			fprintf(out, "%s = %s\n", option->key, option->example);
	}
	fputs("```\n", out);
}

static void manual_option(FILE *out, const struct conf_option_def *o)
{
	fprintf(out, "| `%s` | ", o->key);
	print_values(out, o->type);
	if (!o->def)
		fputs(" | required", out);
	else if (o->def[0])
		fprintf(out, " | `%s`", o->def);
	else
		fputs(" | empty", out);
	fprintf(out, " | %s", o->doc);
	if (!o->is_live)
		fputs(" A change takes a restart.", out);
	if (o->example)
		fprintf(out, " Example: `%s`.", o->example);
	fputs(" |\n", out);
}

static void manual_section(FILE *out, int id)
{
	fputs("\n## `", out);
	print_heading(out, &conf_sections[id], false);
	fputs("`\n\n", out);
	print_wrapped(out, "", "", conf_sections[id].doc);
	fputs("\n| key | values | default | meaning |\n|---|---|---|---|\n", out);
	for (size_t o = 0; o < conf_n_options; o++) {
		if ((int)conf_options[o].section == id)
			manual_option(out, &conf_options[o]);
	}
}

void conf_print_manual(FILE *out)
{
	print_lines(out, manual_head, sizeof(manual_head) / sizeof(manual_head[0]));
	manual_example(out);
	for (int id = 0; id < CONF_N_SECTIONS; id++)
		manual_section(out, id);
	print_lines(out, manual_checks, sizeof(manual_checks) / sizeof(manual_checks[0]));
}
