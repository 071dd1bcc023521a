/* indexer/guard.c - see guard.h.  The handler does only what is async-signal-safe. */
#include "indexer/guard.h"

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

static _Thread_local const char *volatile current;

static void
on_fault(int sig)
{
	const char *marker = current;
	int fd;

	if (marker) {
		fd = open(marker, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
		if (fd >= 0)
			close(fd);
	}
	/* The default action was put back by SA_RESETHAND: die of it as without us. */
	raise(sig);
}

void
guard_init(void)
{
	static const int sigs[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	struct sigaction sa, old;

	memset(&sa, 0, sizeof sa);
	sa.sa_handler = on_fault;
	sa.sa_flags = (int)SA_RESETHAND | SA_NODEFER;
	for (size_t i = 0; i < sizeof sigs / sizeof sigs[0]; i++)
		if (sigaction(sigs[i], NULL, &old) == 0 && old.sa_handler == SIG_DFL)
			sigaction(sigs[i], &sa, NULL);
}

void
guard_enter(const char *marker)
{
	current = marker;
}

void
guard_leave(void)
{
	current = NULL;
}

int
guard_marked(const char *marker)
{
	return unlink(marker) == 0;
}
