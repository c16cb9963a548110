/* The console's commands, written down once: the parser, who may, and how they are carried out.
 *
 * CONSOLE_COMMAND(NAME, "verb", "object", ARGUMENT, ACCESS)
 *
 * object: what SHOW shows. ARGUMENT: NONE, OPTIONAL or REQUIRED. ACCESS: STATS (stats_users may) or
 * ADMIN.
 *
 * No include guard: whoever includes this defines the macro first. */
CONSOLE_COMMAND(SHOW_CLIENTS, "show", "clients", NONE, STATS)
CONSOLE_COMMAND(SHOW_CONFIG, "show", "config", NONE, STATS)
CONSOLE_COMMAND(SHOW_DATABASES, "show", "databases", NONE, STATS)
CONSOLE_COMMAND(SHOW_HELP, "show", "help", NONE, STATS)
CONSOLE_COMMAND(SHOW_KEYS, "show", "keys", NONE, STATS)
CONSOLE_COMMAND(SHOW_LISTS, "show", "lists", NONE, STATS)
CONSOLE_COMMAND(SHOW_MEM, "show", "mem", NONE, STATS)
CONSOLE_COMMAND(SHOW_POOLS, "show", "pools", NONE, STATS)
CONSOLE_COMMAND(SHOW_SERVERS, "show", "servers", NONE, STATS)
CONSOLE_COMMAND(SHOW_STATE, "show", "state", NONE, STATS)
CONSOLE_COMMAND(SHOW_STATS, "show", "stats", NONE, STATS)
CONSOLE_COMMAND(SHOW_STATS_AVERAGES, "show", "stats_averages", NONE, STATS)
CONSOLE_COMMAND(SHOW_STATS_TOTALS, "show", "stats_totals", NONE, STATS)
CONSOLE_COMMAND(SHOW_TOTALS, "show", "totals", NONE, STATS)
CONSOLE_COMMAND(SHOW_USERS, "show", "users", NONE, STATS)
CONSOLE_COMMAND(SHOW_VERSION, "show", "version", NONE, STATS)
CONSOLE_COMMAND(SHOW_WORKERS, "show", "workers", NONE, STATS)
CONSOLE_COMMAND(KILL, "kill", "", OPTIONAL, ADMIN)
CONSOLE_COMMAND(KILL_CLIENT, "kill_client", "", REQUIRED, ADMIN)
CONSOLE_COMMAND(PAUSE, "pause", "", OPTIONAL, ADMIN)
CONSOLE_COMMAND(RECONNECT, "reconnect", "", OPTIONAL, ADMIN)
CONSOLE_COMMAND(RELOAD, "reload", "", NONE, ADMIN)
CONSOLE_COMMAND(RESUME, "resume", "", OPTIONAL, ADMIN)
CONSOLE_COMMAND(REVOKE, "revoke", "", REQUIRED, ADMIN)
CONSOLE_COMMAND(SHUTDOWN, "shutdown", "", OPTIONAL, ADMIN)
