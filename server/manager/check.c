/* manager/check.c - both ends of the check process.
 *
 * The child loads every plugin that the configuration names and writes one line: "ok ARENA" or the
 * refusal.  A plugin that crashes or hangs while it is loaded costs this child only.
 */
#include <config.h>

#include "manager/check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "main/role.h"
#include "module/module.h"

#define CHECK_TIMEOUT_MS 10000

static int
arena_size(const struct config *conf, uint64_t *out)
{
	struct provider *p;
	int status = module_load(conf, ALM_KIND_STORAGE, config_core(conf)->storage, &p);

	*out = 0;
	if (status != ALM_OK)
		return status;
	const struct alm_storage_ops_v0 *ops = provider_ops(p);
	if (!(ops->flags() & ALM_STORAGE_ARENA))
		return ALM_OK;
	struct alm_host *h = provider_host(p, conf, ALM_ROLE_TOOL, -1);
	int64_t size = h ? h->setting_int(h, "arena") : 0;
	if (size <= 0)
		return err_set(ALM_ECONFIG, "storage %s.arena: must be more than 0", provider_name(p));
	*out = (uint64_t)size;
	return ALM_OK;
}

int
check_main(int conf_fd, int out_fd)
{
	struct config *conf = NULL;
	uint64_t arena = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	int status = config_from_snapshot(conf_fd, &conf);
	if (status == ALM_OK)
		status = module_check_all(conf);
	if (status == ALM_OK)
		status = arena_size(conf, &arena);
	if (status == ALM_OK)
		dprintf(out_fd, "ok %llu", (unsigned long long)arena);
	else
		dprintf(out_fd, "%s", err_text());
	config_free(conf);
	return status == ALM_OK ? EXIT_ASKED : EXIT_BADCONFIG;
}

/* Read the child's line until it closes the pipe. 1, or 0 if it took too long. */
static int
read_answer(int fd, char *out, uint64_t cap)
{
	uint64_t used = 0, end = clock_mono() + CHECK_TIMEOUT_MS * UINT64_C(1000);

	while (used + 1 < cap) {
		struct pollfd p = {fd, POLLIN, 0};
		uint64_t now = clock_mono();
		int n = now < end ? poll(&p, 1, (int)((end - now) / 1000) + 1) : 0;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return 0;
		ssize_t got = read(fd, out + used, cap - 1 - used);
		if (got <= 0)
			break;
		used += (uint64_t)got;
	}
	out[used] = 0;
	return 1;
}

/* Between fork and exec: only calls that are safe in a process that had threads. */
static void
child(int conf_fd, int out_fd, char *arg)
{
	char *argv[] = {(char[]){"almadiad: check"}, arg, NULL};

	fcntl(conf_fd, F_SETFD, 0);
	fcntl(out_fd, F_SETFD, 0);
	execv("/proc/self/exe", argv);
	_exit(EXIT_TRANSIENT);
}

static int
judge_answer(int in_time, const char *answer, int code, uint64_t *arena)
{
	if (!in_time)
		return err_set(ALM_ECONFIG, "a plugin did not finish loading within 10 s");
	if (WIFSIGNALED(code))
		return err_set(ALM_ECONFIG, "a plugin crashed while it was loaded (signal %d)", WTERMSIG(code));
	if (strncmp(answer, "ok ", 3) == 0 && WEXITSTATUS(code) == 0) {
		*arena = strtoull(answer + 3, NULL, 10);
		return ALM_OK;
	}
	return err_set(ALM_ECONFIG, "%s", answer[0] ? answer : "the check process gave no answer");
}

int
check_run(const struct config *conf, uint64_t *arena)
{
	char answer[1024], arg[64];
	int pipes[2], code = 0, conf_fd = config_snapshot(conf);

	if (conf_fd < 0)
		return conf_fd;
	if (pipe2(pipes, O_CLOEXEC) != 0) {
		close(conf_fd);
		return err_set(ALM_EIO, "could not make a pipe: %s", strerror(errno));
	}
	snprintf(arg, sizeof arg, "--role=check,%d,%d", conf_fd, pipes[1]);
	pid_t pid = fork();
	if (pid == 0)
		child(conf_fd, pipes[1], arg);
	close(pipes[1]);
	close(conf_fd);
	if (pid < 0) {
		close(pipes[0]);
		return err_set(ALM_EIO, "could not start a process: %s", strerror(errno));
	}
	int in_time = read_answer(pipes[0], answer, sizeof answer);
	if (!in_time)
		kill(pid, SIGKILL);
	close(pipes[0]);
	while (waitpid(pid, &code, 0) < 0 && errno == EINTR)
		;
	return judge_answer(in_time, answer, code, arena);
}
