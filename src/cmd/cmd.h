/* The commands of the binary. Each gets its own name in argv[0] and its arguments behind it, and
 * returns the exit status: 0 fine, 1 refused or failed (one line on stderr), 2 wrong usage. */
#ifndef PGUSHER_CMD_H
#define PGUSHER_CMD_H

/* `pgusher serve`: run. */
int cmd_serve(int argc, char **argv);
/* `pgusher check`: read the configuration and everything that it names. */
int cmd_check(int argc, char **argv);
/* `pgusher explain`: what statements would be taken for, and whether they would pass. */
int cmd_explain(int argc, char **argv);
/* `pgusher token`: print a signed token, a new key, or the public half of one. */
int cmd_token(int argc, char **argv);
/* `pgusher audit verify`: check an audit log's hash chain. */
int cmd_audit(int argc, char **argv);

/* daemon.c */
enum daemon_part {
	DAEMON_FAILED, /* nothing has changed; errno */
	DAEMON_PARENT, /* the child is ready or has failed: what to exit with is in *status */
	DAEMON_CHILD,  /* the daemon: goes on, and calls daemon_ready(*ready_fd) or exits */
};
/* Forks. Until daemon_ready the child still has its stderr. */
enum daemon_part daemon_start(int *ready_fd, int *status);
void daemon_ready(int ready_fd);

#endif
