/* Broken invariants end the process: to test one, a child breaks it. */
#include "unit/base/death.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

bool death_of(void (*f)(void), char *said, size_t size)
{
	struct rlimit no_core = {0, 0};
	size_t len = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	MUST_SYS(pipe(fds) == 0);
	pid = fork();
	MUST_SYS(pid >= 0);
	if (pid == 0) {
		MUST_SYS(setrlimit(RLIMIT_CORE, &no_core) == 0);
		MUST_SYS(dup2(fds[1], STDERR_FILENO) == STDERR_FILENO);
		/* cmocka and the sanitizers may have a handler for it. */
		signal(SIGABRT, SIG_DFL);
		f();
		_exit(0);
	}
	close(fds[1]);
	while (len < size - 1 && (n = read(fds[0], said + len, size - 1 - len)) > 0)
		len += (size_t)n;
	said[len] = '\0';
	close(fds[0]);
	MUST_SYS(waitpid(pid, &status, 0) == pid);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}
