/* The console's entry: a statement of a client's to a command, a command to a round. Runs on the
 * worker of the client who asks. */
#include "console_int.h"

#include <stdio.h>
#include <string.h>

#define SHOWN_MAX 100 /* bytes of a wrong statement that its error repeats */

const struct action *const console_actions[COMMAND_COUNT] = {
#define CONSOLE_COMMAND(name, verb, object, argument, access) [COMMAND_##name] = &action_##name,
#include "tbl/console_commands.h"
#undef CONSOLE_COMMAND
	[COMMAND_SET] = &action_SET,
	[COMMAND_PARAM] = &action_PARAM,
	[COMMAND_SET_OPTION] = &action_SET_OPTION,
};

/* ---- statements ------------------------------------------------------------------------------ */

static void put_bad(struct buf *out, const char *text)
{
	struct wire_error e = {.severity = "ERROR",
	                       .sqlstate = SQLSTATE_SYNTAX_ERROR,
	                       .hint = "SHOW HELP lists the commands."};
	char shown[SHOWN_MAX + 1], message[SHOWN_MAX + 64];
	size_t n = 0;

	/* Cut and without what could be half a character. */
	for (; n < SHOWN_MAX && text[n] != '\0'; n++)
		shown[n] = (char)(text[n] < ' ' || text[n] > '~' ? '?' : text[n]);
	shown[n] = '\0';
	snprintf(message, sizeof(message), "invalid command '%s', use SHOW HELP;", shown);
	e.message = message;
	wire_put_error(out, &e);
}

static bool describe(void *arg, const char *text, struct buf *out)
{
	struct command command;
	const struct action *action;

	(void)arg;
	switch (console_parse(text, &command)) {
	case PARSE_BAD:
		put_bad(out, text);
		return false;
	case PARSE_EMPTY:
		wire_put_bare(out, 'n');
		return true;
	case PARSE_OK:
		break;
	}
	action = console_actions[command.id];
	if (action->columns != NULL)
		columns_put(out, action->columns, action->n_columns);
	else if (command.id == COMMAND_PARAM)
		columns_put(out, &(struct column){command.param, COLUMN_TEXT}, 1);
	else
		wire_put_bare(out, 'n');
	return true;
}

/* What is not a command never becomes a round. */
static bool answer_here(struct console *console, const struct session_asker *asker,
                        const char *text, enum parse parsed)
{
	struct buf out = {0};

	if (parsed == PARSE_OK)
		return false;
	if (parsed == PARSE_EMPTY)
		wire_put_bare(&out, 'I');
	else
		put_bad(&out, text);
	session_console_answer(console->env.session, asker, &out, parsed == PARSE_BAD);
	buf_fini(&out);
	return true;
}

/* SHOW commands only where they are refused: monitoring asks for them all the time. */
static void report(struct console *console, const struct session_asker *asker, const char *user,
                   const struct command *command, bool is_refused)
{
	struct audit_queue *audit = console->env.session->audit;
	bool is_show = strcmp(console_actions[command->id]->tag, "SHOW") == 0;
	struct audit_record *r;
	struct session_info info;

	if (!is_refused && (is_show || !command->is_admins))
		return;
	r = audit_begin(audit, AUDIT_ADMIN);
	if (r == NULL)
		return;
	r->outcome = is_refused ? "refused" : "accepted";
	r->reason = is_refused ? "not_an_admin" : NULL;
	(void)snprintf(r->action, sizeof(r->action), "%s%s%s", console_actions[command->id]->tag,
	               command->arg[0] != '\0' ? " " : "",
	               log_has_token(command->arg) ? "(a token?)" : command->arg);
	AUDIT_COPY(r->role, user);
	if (session_look(console->env.session, asker->pid, &info)) {
		r->session = info.session_id;
		AUDIT_COPY(r->client, info.peer);
		AUDIT_COPY(r->database, info.database);
	}
	audit_commit(audit);
}

static void query(void *arg, const struct session_asker *asker, const char *user, const char *text,
                  bool with_columns)
{
	struct console *console = arg;
	struct command command;
	struct round *r;

	OBJ_CHECK(console, CONSOLE_MAGIC);
	if (answer_here(console, asker, text, console_parse(text, &command)))
		return;
	r = round_new(console, console_actions[command.id], asker);
	r->command = command;
	report(console, asker, user, &command, command.is_admins && !asker->is_admin);
	if (command.is_admins && !asker->is_admin) {
		round_fail(r, SQLSTATE_INSUFFICIENT_PRIVILEGE, "admin access needed");
	} else {
		if (command.is_admins)
			log_info("console: %s %s by user=%s", r->action->tag,
			         LOG_QUOTE(command.arg), LOG_QUOTE(user));
		if (with_columns && (r->action->columns != NULL || command.id == COMMAND_PARAM))
			(void)describe(NULL, text, &r->rows);
	}
	round_start(r);
}

const struct session_console console_session = {.describe = describe, .query = query};

/* ---- life ------------------------------------------------------------------------------------ */

struct console_shared *console_shared_new(unsigned n_workers, const struct console_main *main)
{
	struct console_shared *shared = mem_zalloc(sizeof(*shared));

	shared->n_workers = n_workers;
	shared->main = *main;
	shared->by_worker = mem_zalloc(n_workers * sizeof(shared->by_worker[0]));
	return shared;
}

void console_shared_free(struct console_shared **sharedp)
{
	struct console_shared *shared = *sharedp;

	*sharedp = NULL;
	mem_free(shared->by_worker);
	mem_free(shared);
}

void console_signal(struct console_shared *shared, bool pause)
{
	round_start(round_new(shared->by_worker[0],
	                      pause ? &action_SIGNAL_PAUSE : &action_SIGNAL_RESUME, NULL));
}

static void on_stats_period(struct timer *timer)
{
	struct console *console = CONTAINER_OF(timer, struct console, stats_timer);

	round_start(round_new(console, &action_MARK_STATS, NULL));
	timer_arm(console->env.timers, timer, console->env.session->conf->pgusher.stats_period);
}

struct console *console_new(const struct console_env *env)
{
	struct console *console = mem_zalloc(sizeof(*console));

	OBJ_INIT(console, CONSOLE_MAGIC);
	console->env = *env;
	console->older_us = console->newer_us = clock_mono_us();
	list_init(&console->pausers);
	list_init(&console->closers);
	timer_init(&console->close_timer, act_poll_closers);
	timer_init(&console->pause_timer, act_poll_pausers);
	timer_init(&console->stats_timer, on_stats_period);
	if (env->worker == 0)
		timer_arm(env->timers, &console->stats_timer,
		          env->session->conf->pgusher.stats_period);
	env->shared->by_worker[env->worker] = console;
	return console;
}

void console_stop(struct console *console)
{
	OBJ_CHECK(console, CONSOLE_MAGIC);
	console->is_stopped = true;
}

void console_free(struct console **consolep)
{
	struct console *console = *consolep;

	*consolep = NULL;
	OBJ_CHECK(console, CONSOLE_MAGIC);
	timer_cancel(console->env.timers, &console->stats_timer);
	timer_cancel(console->env.timers, &console->pause_timer);
	timer_cancel(console->env.timers, &console->close_timer);
	while (!list_is_empty(&console->closers))
		round_finish(LIST_MEMBER(console->closers.next, struct round, waiting));
	while (!list_is_empty(&console->pausers))
		round_finish(LIST_MEMBER(console->pausers.next, struct round, waiting));
	OBJ_FINI(console, CONSOLE_MAGIC);
	mem_free(console);
}
