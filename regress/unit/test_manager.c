/* regress/unit/test_manager.c - the manager with stand-in roles.
 *
 * This binary is three things: the tests, with "daemon" an almadiad whose roles are the stand-ins
 * below, and with --role= one of those.  The stand-ins write what happens to them into a trace
 * file in the data directory. */
#include <config.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "main/datadir.h"
#include "main/roles.h"
#include "manager/manager.h"
#include "manager/notify.h"
#include "manager/restart.h"

/* ---- stand-in roles ---- */

static void __attribute__((format(printf, 2, 3)))
trace(const struct role_env *env, const char *fmt, ...)
{
	char path[600], line[200], name[32];
	va_list ap;

	role_name(env->role, env->slot, name, sizeof name);
	int n = snprintf(line, sizeof line, "%s: ", name);
	va_start(ap, fmt);
	n += vsnprintf(line + n, sizeof line - (size_t)n - 1, fmt, ap);
	va_end(ap);
	line[n++] = '\n';
	snprintf(path, sizeof path, "%s/trace", config_core(env->conf)->data_dir);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd >= 0 && write(fd, line, (size_t)n) == n)
		close(fd);
}

static void
fake_peer(struct role_env *env, uint32_t peer, int fd)
{
	struct region r;

	if (region_map(fd, 0, &r) != ALM_OK)
		return;
	trace(env, "peer %u generation %llu", peer, (unsigned long long)r.head->generation);
	region_unmap(&r);
}

static void
fake_reload(struct role_env *env, const struct config *conf)
{
	trace(env, "reload queues %u", config_core(conf)->topic_queues);
}

static void
fake_stop(struct role_env *env)
{
	trace(env, "stop");
	role_exit(env, EXIT_ASKED);
}

/* A file exit-ledger (exit-worker, ...) in the data directory holds the code to leave with. */
static int
fake_code(const struct role_env *env)
{
	char path[600];
	int code = -1;

	snprintf(path, sizeof path, "%s/exit-%s", config_core(env->conf)->data_dir,
	    env->role == ALM_ROLE_LEDGER ? "ledger" : env->role == ALM_ROLE_WORKER ? "worker" : "indexer");
	FILE *f = fopen(path, "re");
	if (!f)
		return -1;
	if (fscanf(f, "%d", &code) != 1)
		code = -1;
	fclose(f);
	return code;
}

static void
fake_leave(evutil_socket_t fd, short what, void *arg)
{
	struct role_env *env = arg;

	(void)fd, (void)what;
	if (fake_code(env) >= 0)
		role_exit(env, fake_code(env));
}

static int
fake_start(struct role_env *env, int *exit_code)
{
	struct timeval soon = {0, 1000};

	env->on_peer = fake_peer;
	env->on_reload = fake_reload;
	env->on_stop = fake_stop;
	if (env->role == ALM_ROLE_LEDGER && datadir_lock(config_core(env->conf)->data_dir) < 0) {
		*exit_code = EXIT_BADCONFIG;
		return ALM_EBUSY;
	}
	trace(env, "start generation %llu pid %d loss %u", (unsigned long long)env->generation,
	    (int)getpid(), config_core(env->conf)->accept_data_loss);
	event_base_once(env->base, -1, EV_TIMEOUT, fake_leave, env, &soon);
	role_ready(env, "stand-in");
	return ALM_OK;
}

static void
fake_end(struct role_env *env)
{
	trace(env, "end");
}

static const struct role_table fakes = {
    {fake_start, fake_end}, {fake_start, fake_end}, {fake_start, fake_end}};

/* ---- the daemon ---- */

static int
daemon_main(const char *conf_path, const char *mode)
{
	char text[64];
	const char *over[] = {text};
	struct manager_options opt = {conf_path, over, 1, &fakes};
	struct config *conf;

	snprintf(text, sizeof text, "server.mode=%s", mode);
	if (config_load(conf_path, over, 1, &conf) != ALM_OK) {
		fprintf(stderr, "almadiad: %s\n", err_text());
		return EXIT_BADCONFIG;
	}
	config_accept_data_loss(conf, getenv("ACCEPT") != NULL);
	return manager_run(conf, &opt);
}

static char dir[40], conf_path[64], data_dir[64], log_path[64];

static void __attribute__((format(printf, 2, 3)))
write_file(const char *path, const char *fmt, ...)
{
	va_list ap;
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fclose(f);
}

static void
write_conf(const char *more)
{
	write_file(conf_path, "[server]\ndata_dir = %s\nplugin_path = %s/regress/unit/.libs\nworkers = 2\n"
	    "[storage]\nplugin = dummy\n[consensus]\nplugin = dummy\n[indexers]\nplugins = dummy\n"
	    "[listener tcp]\nprotocol = dummy\nbind = 127.0.0.1:0\n[listener local]\nprotocol = dummy\n"
	    "bind = unix:%s/sock\n%s", data_dir, getenv("ALMADIA_BUILDDIR"), dir, more);
}

/* fd3: becomes descriptor 3 as from a service manager, or -1. */
static pid_t
start_daemon(const char *mode, const char *log, int fd3)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	int fd = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	dup2(fd, 2);
	if (fd3 >= 0) {
		char text[16];
		dup2(fd3, 3);
		fcntl(3, F_SETFD, 0);
		snprintf(text, sizeof text, "%d", (int)getpid());
		setenv("LISTEN_PID", text, 1);
		setenv("LISTEN_FDS", "1", 1);
	}
	execl("/proc/self/exe", "almadiad", "daemon", conf_path, mode, (char *)NULL);
	_exit(99);
}

static char contents[65536];

static const char *
read_file(const char *path)
{
	FILE *f = fopen(path, "r");
	size_t n = f ? fread(contents, 1, sizeof contents - 1, f) : 0;

	if (f)
		fclose(f);
	contents[n] = 0;
	return contents;
}

static int
count(const char *path, const char *text)
{
	int n = 0;

	for (const char *at = read_file(path); (at = strstr(at, text)); at++)
		n++;
	return n;
}

/* Wait at most 10 s until a file holds a text n times. */
static void
await(const char *path, const char *text, int n)
{
	for (int i = 0; i < 1000; i++) {
		if (count(path, text) >= n)
			return;
		usleep(10000);
	}
	fprintf(stderr, "# \"%s\" did not come %d times in %s, log:\n%s", text, n, path,
	    read_file(log_path));
	fail();
}

static void
await_trace(const char *text, int n)
{
	char path[80];

	snprintf(path, sizeof path, "%s/trace", data_dir);
	await(path, text, n);
}

static int
exit_of(pid_t pid)
{
	int code;

	for (int i = 0; i < 2000; i++) {
		if (waitpid(pid, &code, WNOHANG) == pid)
			return WIFEXITED(code) ? WEXITSTATUS(code) : -WTERMSIG(code);
		usleep(10000);
	}
	kill(pid, SIGKILL);
	waitpid(pid, &code, 0);
	return -1000;
}

static pid_t
start_ready(const char *mode)
{
	unlink(log_path);
	pid_t pid = start_daemon(mode, log_path, -1);
	await(log_path, "almadiad ready: dummy on 127.0.0.1:", 1);
	return pid;
}

/* What a file holds, as far as it fits. */
static void
copy_file(const char *path, char *out, size_t cap)
{
	size_t n = strnlen(read_file(path), cap - 1);

	memcpy(out, contents, n);
	out[n] = 0;
}

/* Pid of a role by its title among the children of the manager. */
static pid_t
pid_of(pid_t manager, const char *title)
{
	char path[64], text[128], children[256];

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)manager, (int)manager);
	copy_file(path, children, sizeof children);
	for (char *at = children, *end; *at; at = end) {
		long pid = strtol(at, &end, 10);

		if (end == at)
			break;
		snprintf(path, sizeof path, "/proc/%ld/cmdline", pid);
		copy_file(path, text, sizeof text);
		if (strcmp(text, title) == 0)
			return (pid_t)pid;
		end += strspn(end, " \n");
	}
	return -1;
}

static int
stop_daemon(pid_t pid)
{
	kill(pid, SIGTERM);
	return exit_of(pid);
}

/* ---- tests ---- */

static void
a_node_starts_and_stops_in_order(void **state)
{
	char path[80];

	(void)state;
	pid_t pid = start_ready("processes");
	assert_true(pid_of(pid, "almadiad: ledger") > 0);
	assert_true(pid_of(pid, "almadiad: indexer") > 0);
	assert_true(pid_of(pid, "almadiad: worker 1") > 0);
	assert_true(pid_of(pid, "almadiad: worker 2") > 0);
	snprintf(path, sizeof path, "%s/almadiad.pid", data_dir);
	assert_int_equal(atoi(read_file(path)), pid);
	assert_int_equal(stop_daemon(pid), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	snprintf(path, sizeof path, "%s/trace", data_dir);
	const char *t = read_file(path);
	const char *worker = strstr(t, "worker 2: end"), *indexer = strstr(t, "indexer: stop");
	const char *ledger = strstr(t, "ledger: stop");
	assert_non_null(worker);
	assert_non_null(indexer);
	assert_non_null(ledger);
	assert_true(worker < indexer && indexer < ledger);
	assert_true(strstr(t, "worker 1: end") < indexer);
}

static void
a_killed_worker_comes_back_and_its_peers_are_told(void **state)
{
	(void)state;
	pid_t pid = start_ready("processes");
	kill(pid_of(pid, "almadiad: worker 1"), SIGKILL);
	await_trace("worker 1: start generation 2", 1);
	await_trace("ledger: peer 2 generation 2", 1);
	await_trace("indexer: peer 2 generation 2", 1);
	await(log_path, "was killed by signal 9 (Killed); starting it again in 100", 1);
	kill(pid_of(pid, "almadiad: ledger"), SIGKILL);
	await_trace("ledger: start generation 2", 1);
	await_trace("worker 2: peer 0 generation 2", 1);
	await_trace("worker 1: peer 0 generation 2", 1);
	assert_int_equal(stop_daemon(pid), 0);
}

static void
a_data_fault_of_the_ledger_ends_the_node(void **state)
{
	char path[80];

	(void)state;
	snprintf(path, sizeof path, "%s/exit-ledger", data_dir);
	write_file(path, "3");
	pid_t pid = start_daemon("processes", log_path, -1);
	assert_int_equal(exit_of(pid), EXIT_DATA);
	const char *log = read_file(log_path), *last = strstr(log, "stopped: ledger (pid ");
	assert_non_null(last);
	assert_non_null(strstr(last,
	    "ended with exit code 3, a disk or data fault; it is not restarted by itself\n"));
	assert_null(strchr(strchr(last, '\n') + 1, '\n'));
	unlink(path);
}

static void
a_ledger_that_crashes_too_often_ends_the_node(void **state)
{
	(void)state;
	write_conf("[limits]\n");
	pid_t pid = start_ready("processes");
	for (int i = 2; i <= 5; i++) {
		char text[64];
		kill(pid_of(pid, "almadiad: ledger"), SIGKILL);
		snprintf(text, sizeof text, "ledger: start generation %d", i);
		await_trace(text, 1);
	}
	kill(pid_of(pid, "almadiad: ledger"), SIGKILL);
	assert_int_equal(exit_of(pid), EXIT_TRANSIENT);
	await(log_path, "the 5th time within 10 minutes (server.ledger_restarts)", 1);
}

static void
a_second_daemon_is_refused_with_the_pid(void **state)
{
	char other[80], text[200];

	(void)state;
	pid_t pid = start_ready("processes");
	snprintf(other, sizeof other, "%s/log2", dir);
	pid_t second = start_daemon("processes", other, -1);
	assert_int_equal(exit_of(second), EXIT_BADCONFIG);
	snprintf(text, sizeof text, "almadiad: data directory %s is in use by almadiad, pid %d (stop it, or "
	    "set server.data_dir)\n", data_dir, (int)pid_of(pid, "almadiad: ledger"));
	assert_string_equal(read_file(other), text);
	assert_int_equal(stop_daemon(pid), 0);
	unlink(other);
}

static void
bad_reloads_change_nothing_good_ones_arrive(void **state)
{
	(void)state;
	pid_t pid = start_ready("processes");
	write_conf("[topics]\nqueues = none\n");
	kill(pid, SIGHUP);
	await(log_path, "reload refused, nothing has changed: almadia.conf:18: topics.queues: \"none\" is "
	    "not a number", 1);
	write_conf("[storage nobody]\nx = 1\n");
	kill(pid, SIGHUP);
	await(log_path, "reload refused, nothing has changed: almadia.conf:17: [storage nobody]: no storage "
	    "plugin named nobody", 1);
	write_conf("[topics]\nqueues = 7\n[limits]\nmax_batch = 8m\n");
	kill(pid, SIGHUP);
	await(log_path, "limits.max_batch has changed and takes effect at the next start", 1);
	await_trace("ledger: reload queues 7", 1);
	await_trace("worker 2: reload queues 7", 1);
	await_trace("indexer: reload queues 7", 1);
	assert_int_equal(stop_daemon(pid), 0);
}

static void
other_modes_run_the_same_roles(void **state)
{
	const char *const modes[] = {"threads", "fused"};
	char path[80];

	(void)state;
	for (int i = 0; i < 2; i++) {
		snprintf(path, sizeof path, "%s/trace", data_dir);
		unlink(path);
		write_conf("");
		pid_t pid = start_ready(modes[i]);
		await_trace("worker 2: start", 1);
		write_conf("[topics]\nqueues = 7\n");
		kill(pid, SIGHUP);
		await_trace("ledger: reload queues 7", 1);
		assert_int_equal(stop_daemon(pid), 0);
		const char *t = read_file(path);
		assert_true(strstr(t, "worker 2: end") < strstr(t, "indexer: stop"));
		assert_true(strstr(t, "indexer: end") < strstr(t, "ledger: stop"));
		assert_non_null(strstr(t, "ledger: end"));

		snprintf(path, sizeof path, "%s/exit-worker", data_dir);
		write_file(path, "1");
		pid = start_daemon(modes[i], log_path, -1);
		assert_int_equal(exit_of(pid), EXIT_TRANSIENT);
		unlink(path);
	}
}

static void
roles_end_with_their_manager(void **state)
{
	(void)state;
	pid_t pid = start_ready("processes");
	kill(pid, SIGKILL);
	assert_int_equal(exit_of(pid), -SIGKILL);
	await_trace("ledger: end", 1);
	await_trace("indexer: end", 1);
	await_trace("worker 1: end", 1);
	pid = start_ready("processes");
	assert_int_equal(stop_daemon(pid), 0);
}

static void
quit_leaves_at_once(void **state)
{
	(void)state;
	pid_t pid = start_ready("processes");
	kill(pid, SIGQUIT);
	assert_int_equal(exit_of(pid), 0);
	await_trace("worker 1: stop", 0);
	assert_int_equal(datadir_probe(data_dir), ALM_OK);
}

static void
a_loss_is_accepted_once(void **state)
{
	(void)state;
	setenv("ACCEPT", "1", 1);
	pid_t pid = start_ready("processes");
	unsetenv("ACCEPT");
	await_trace("ledger: start generation 1", 1);
	await_trace(" loss 1\n", 4);
	kill(pid_of(pid, "almadiad: ledger"), SIGKILL);
	await_trace("ledger: start generation 2", 1);
	await_trace(" loss 0\n", 1);
	assert_int_equal(stop_daemon(pid), 0);
}

static void
a_used_port_is_refused(void **state)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof in;
	char more[100];
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)state;
	/* The same user with SO_REUSEPORT: the kernel alone would let two daemons share it. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one);
	assert_int_equal(bind(fd, (struct sockaddr *)&in, len), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&in, &len), 0);
	snprintf(more, sizeof more, "[listener x]\nprotocol = dummy\nbind = 127.0.0.1:%u\n",
	    ntohs(in.sin_port));
	write_conf(more);
	assert_int_equal(exit_of(start_daemon("processes", log_path, -1)), EXIT_BADCONFIG);
	snprintf(more, sizeof more, "almadiad: almadia.conf:19: listener x.bind: could not listen on "
	    "127.0.0.1:%u: Address", ntohs(in.sin_port));
	assert_non_null(strstr(read_file(log_path), more));

	/* Handed over as a service manager does, the same socket is taken. */
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	char text[512] = "";
	snprintf(un.sun_path, sizeof un.sun_path, "%s/notify", dir);
	int notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(notify, (struct sockaddr *)&un, sizeof un), 0);
	struct timeval patience = {10, 0};
	setsockopt(notify, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setenv("NOTIFY_SOCKET", un.sun_path, 1);
	pid_t pid = start_daemon("processes", log_path, fd);
	assert_true(recv(notify, text, sizeof text - 1, 0) > 0);
	unsetenv("NOTIFY_SOCKET");
	assert_memory_equal(text, "READY=1\nMAINPID=", 16);
	assert_int_equal(stop_daemon(pid), 0);
	close(notify);
	unlink(un.sun_path);
	close(fd);
}

static void
a_bad_data_directory_is_refused(void **state)
{
	char text[300];

	(void)state;
	chmod(data_dir, 0777);
	assert_int_equal(exit_of(start_daemon("processes", log_path, -1)), EXIT_BADCONFIG);
	snprintf(text, sizeof text, "almadiad: almadia.conf:2: server.data_dir: %s is writable by others, "
	    "mode 0777 (chmod 0700 %s)\n", data_dir, data_dir);
	assert_string_equal(read_file(log_path), text);
	chmod(data_dir, 0700);
	assert_int_equal(datadir_open("/nonexistent/a", "server.data_dir"), ALM_ECONFIG);
	assert_string_equal(err_text(), "server.data_dir: could not create /nonexistent/a: No such file or "
	    "directory");
	assert_int_equal(datadir_open(conf_path, "server.data_dir"), ALM_ECONFIG);
	snprintf(text, sizeof text, "server.data_dir: %s is not a directory", conf_path);
	assert_string_equal(err_text(), text);
}

static void
back_off_doubles_and_pauses(void **state)
{
	struct restart r = {0}, l = {0};
	uint64_t now = 1000000;

	(void)state;
	assert_int_equal(restart_delay(&r, now, 5, 0), 100000);
	assert_int_equal(restart_delay(&r, now + 1, 5, 0), 200000);
	assert_int_equal(restart_delay(&r, now + 2, 5, 0), 400000);
	assert_int_equal(restart_delay(&r, now + 3, 5, 0), 800000);
	assert_int_equal(restart_delay(&r, now + 4, 5, 0), 1600000);
	assert_int_equal(restart_delay(&r, now + 5, 5, 0), RESTART_PAUSE);
	assert_int_equal(restart_delay(&r, now + 6, 5, 0), 100000);
	assert_int_equal(restart_delay(&r, now + 7 + RESTART_WINDOW, 5, 0), 100000);
	for (uint32_t i = 0; i < 20; i++)
		assert_true(restart_delay(&r, now + i * 9 * UINT64_C(1000000), 1000, 0) <= RESTART_MOST);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_not_equal(restart_delay(&l, now + i * 60000000, 5, 1), RESTART_NEVER);
	assert_int_equal(restart_delay(&l, now + 5 * 60000000, 5, 1), RESTART_NEVER);
	l = (struct restart){0};
	for (uint32_t i = 0; i < 20; i++)
		assert_int_not_equal(restart_delay(&l, now + i * UINT64_C(200000000), 5, 1), RESTART_NEVER);
}

static int
setup(void **state)
{
	char cwd[1024];
	(void)state;
	strcpy(dir, "/tmp/almadia-manager-XXXXXX");
	if (!getenv("ALMADIA_BUILDDIR") && getcwd(cwd, sizeof cwd))
		setenv("ALMADIA_BUILDDIR", cwd, 1);
	if (!mkdtemp(dir))
		return -1;
	snprintf(conf_path, sizeof conf_path, "%s/almadia.conf", dir);
	snprintf(data_dir, sizeof data_dir, "%s/data", dir);
	snprintf(log_path, sizeof log_path, "%s/log", dir);
	mkdir(data_dir, 0700);
	write_conf("");
	return 0;
}

static int
teardown(void **state)
{
	char command[100];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int
main(int argc, char **argv)
{
	int code = role_main(argc, argv, &fakes);

	if (code >= 0)
		return code;
	if (argc == 4 && strcmp(argv[1], "daemon") == 0)
		return daemon_main(argv[2], argv[3]);
	const struct CMUnitTest tests[] = {
		TEST(a_node_starts_and_stops_in_order),
		TEST(a_killed_worker_comes_back_and_its_peers_are_told),
		TEST(a_data_fault_of_the_ledger_ends_the_node),
		TEST(a_ledger_that_crashes_too_often_ends_the_node),
		TEST(a_second_daemon_is_refused_with_the_pid),
		TEST(bad_reloads_change_nothing_good_ones_arrive),
		TEST(other_modes_run_the_same_roles),
		TEST(roles_end_with_their_manager),
		TEST(quit_leaves_at_once),
		TEST(a_loss_is_accepted_once),
		TEST(a_used_port_is_refused),
		TEST(a_bad_data_directory_is_refused),
		cmocka_unit_test(back_off_doubles_and_pauses),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
