/* Into the background, for `serve -d`: the parent stays until the child has said that it is ready,
 * so that what fails at the start is seen by who started it, as a message and as exit status. Runs
 * before there are threads. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cmd.h"

/* Replaces a standard descriptor. */
static void redirect(int fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return;
	(void)dup2(null, fd);
	close(null);
}

/* The child closes its end without a word when it fails: it has said why on stderr. */
static int wait_for(pid_t child, int fd)
{
	ssize_t n;
	char word;
	int status;

	do
		n = read(fd, &word, 1);
	while (n < 0 && errno == EINTR);
	close(fd);
	if (n == 1)
		return EXIT_SUCCESS;
	if (waitpid(child, &status, 0) == child && WIFSIGNALED(status))
		fprintf(stderr, "pgusher: the background process was ended by signal %d\n",
		        WTERMSIG(status));
	return EXIT_FAILURE;
}

enum daemon_part daemon_start(int *ready_fd, int *status)
{
	sigset_t none;
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) != 0)
		return DAEMON_FAILED;
	child = fork();
	if (child < 0) {
		close(fds[0]);
		close(fds[1]);
		return DAEMON_FAILED;
	}
	if (child > 0) {
		close(fds[1]);
		/* The child's to hold back; this one just waits. */
		sigemptyset(&none);
		(void)sigprocmask(SIG_SETMASK, &none, NULL);
		*status = wait_for(child, fds[0]);
		return DAEMON_PARENT;
	}
	close(fds[0]);
	*ready_fd = fds[1];
	(void)setsid();
	redirect(STDIN_FILENO);
	return DAEMON_CHILD;
}

void daemon_ready(int ready_fd)
{
	redirect(STDOUT_FILENO);
	redirect(STDERR_FILENO);
	while (write(ready_fd, "", 1) < 0 && errno == EINTR)
		;
	close(ready_fd);
}
