/* The commands of the binary. Each gets its own name in argv[0] and its arguments behind it, and
 * returns the exit status: 0 fine, 1 refused or failed (one line on stderr), 2 wrong usage. */
#ifndef PGUSHER_CMD_H
#define PGUSHER_CMD_H

/* `pgusher serve`: run. */
int cmd_serve(int argc, char **argv);
/* `pgusher check`: read the configuration and everything that it names. */
int cmd_check(int argc, char **argv);
/* `pgusher token`: print a signed token, a new key, or the public half of one. */
int cmd_token(int argc, char **argv);

#endif
