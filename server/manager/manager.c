/* manager/manager.c - start, watch, stop.
 *
 * Order of a start: data directory, plugins (in a check process), listeners, shared memory, then
 * ledger, indexer and workers, which wait for each other through their regions.  Order of a
 * stop: workers (nothing new comes in), indexer, ledger (which syncs last).
 */
#include <config.h>

#include "manager/manager.h"

#include <errno.h>
#include <event2/thread.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "main/datadir.h"
#include "manager/check.h"
#include "manager/internal.h"
#include "manager/notify.h"

#define STAGE_SECONDS 10
#define LOCK_WAIT_US 1000000 /* an old ledger may still be syncing */
#define LOCK_STEP_US 50000

/* ---- stop ---- */

static int
stage_of(const struct slot *s)
{
	return s->role == ALM_ROLE_WORKER ? STAGE_WORKERS
	    : s->role == ALM_ROLE_INDEXER ? STAGE_INDEXER : STAGE_LEDGER;
}

static int
stage_running(const struct manager *m)
{
	for (uint32_t i = 0; i < m->n_slots; i++)
		if (m->slots[i].running && stage_of(&m->slots[i]) == m->stage)
			return 1;
	return 0;
}

void
manager_advance(struct manager *m)
{
	while (m->stage != STAGE_DONE && !stage_running(m)) {
		m->stage++;
		m->stage_deadline = clock_mono() + STAGE_SECONDS * UINT64_C(1000000);
		for (uint32_t i = 0; i < m->n_slots; i++)
			if (stage_of(&m->slots[i]) == m->stage)
				slot_ask_stop(&m->slots[i]);
	}
	if (m->stage == STAGE_DONE)
		event_base_loopbreak(m->base);
}

void
manager_stop(struct manager *m, int exit_code)
{
	if (exit_code > m->exit_code)
		m->exit_code = exit_code;
	if (m->stage != STAGE_RUN)
		return;
	notify_send("STOPPING=1\nSTATUS=%s", m->last_words[0] ? m->last_words : "stopping");
	m->stage = STAGE_WORKERS;
	m->stage_deadline = clock_mono() + STAGE_SECONDS * UINT64_C(1000000);
	for (uint32_t i = 0; i < m->n_slots; i++) {
		evtimer_del(m->slots[i].timer);
		if (stage_of(&m->slots[i]) == STAGE_WORKERS)
			slot_ask_stop(&m->slots[i]);
	}
	manager_advance(m);
}

static void
stage_overdue(struct manager *m)
{
	if (m->mode != MODE_PROCESSES) {
		log_error("a role did not stop within %d s, leaving without it", STAGE_SECONDS);
		_exit(EXIT_TRANSIENT);
	}
	for (uint32_t i = 0; i < m->n_slots; i++) {
		struct slot *s = &m->slots[i];

		if (!s->running || stage_of(s) != m->stage)
			continue;
		log_error("%s (pid %d) did not stop within %d s, killing it", s->name, (int)s->pid,
		    STAGE_SECONDS);
		slot_kill(s, SIGKILL);
	}
	m->stage_deadline = clock_mono() + STAGE_SECONDS * UINT64_C(1000000);
}

/* ---- ready ---- */

void
manager_on_ready(struct manager *m)
{
	static const char *const modes[] = {"", "processes", "threads", "one loop"};
	struct buf b = {0};

	if (m->announced || m->stage != STAGE_RUN)
		return;
	for (uint32_t i = 0; i < m->n_slots; i++)
		if (!m->slots[i].ready)
			return;
	m->announced = 1;
	listen_describe(&m->listen, m->boot, &b);
	uint32_t workers = m->n_slots - 2;
	log_notice("almadiad ready: %.*s; %u worker%s, %s, data in %s", (int)b.len, (const char *)b.data,
	    workers, workers == 1 ? "" : "s", modes[m->mode], config_core(m->boot)->data_dir);
	notify_send("READY=1\nMAINPID=%d\nSTATUS=ready: %.*s", (int)getpid(), (int)b.len,
	    (const char *)b.data);
	buf_free(&b);
	/* The operator accepted losing what was damaged at this start, not at a later one. */
	if (config_core(m->conf)->accept_data_loss && m->mode == MODE_PROCESSES) {
		config_accept_data_loss(m->conf, 0);
		int fd = config_snapshot(m->conf);
		if (fd >= 0) {
			close(m->conf_fd);
			m->conf_fd = fd;
		}
	}
}

/* ---- signals ---- */

static void
tell_restart(void *arg, const char *setting)
{
	(void)arg;
	log_warn("%s has changed and takes effect at the next start", setting);
}

/* Parse and check all of it; any error keeps what is. */
static void
reload(struct manager *m)
{
	struct config *fresh;
	uint64_t arena;
	int fd;

	int status = config_load(m->opt->config_path, m->opt->overrides, m->opt->n_overrides, &fresh);
	if (status != ALM_OK) {
		log_error("reload refused, nothing has changed: %s", err_text());
		return;
	}
	status = check_run(fresh, &arena);
	fd = status == ALM_OK ? config_snapshot(fresh) : status;
	if (fd < 0) {
		log_error("reload refused, nothing has changed: %s", err_text());
		config_free(fresh);
		return;
	}
	config_needs_restart(m->boot, fresh, tell_restart, NULL);
	close(m->conf_fd);
	m->conf_fd = fd;
	if (m->conf != m->boot)
		config_free(m->conf);
	m->conf = fresh;
	log_level_set(config_core(fresh)->log_level);
	for (uint32_t i = 0; i < m->n_slots; i++)
		slot_reload(&m->slots[i]);
	log_notice("configuration reloaded");
}

static void
on_hup(struct manager *m)
{
	struct timespec ts;

	if (m->stage != STAGE_RUN)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	notify_send("RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)ts.tv_sec * 1000000 + ts.tv_nsec / 1000);
	reload(m);
	notify_send("READY=1");
}

static void
on_quit(struct manager *m)
{
	log_notice("leaving at once");
	m->exit_code = EXIT_ASKED;
	if (m->mode != MODE_PROCESSES)
		_exit(EXIT_ASKED);
	m->stage = STAGE_DONE;
	for (uint32_t i = 0; i < m->n_slots; i++)
		slot_kill(&m->slots[i], SIGKILL);
	for (uint32_t i = 0; i < m->n_slots; i++)
		if (m->slots[i].running)
			waitpid(m->slots[i].pid, NULL, 0);
	event_base_loopbreak(m->base);
}

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct manager *m = arg;

	(void)what;
	if (sig == SIGCHLD) {
		for (uint32_t i = 0; i < m->n_slots; i++)
			slot_reap(&m->slots[i]);
	} else if (sig == SIGHUP) {
		on_hup(m);
	} else if (sig == SIGQUIT) {
		on_quit(m);
	} else if (sig == SIGTERM || sig == SIGINT) {
		if (m->stage == STAGE_RUN)
			log_notice("stopping");
		manager_stop(m, EXIT_ASKED);
	}
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct manager *m = arg;

	(void)fd, (void)what;
	if (m->stage != STAGE_RUN) {
		if (m->stage != STAGE_DONE && clock_mono() > m->stage_deadline)
			stage_overdue(m);
		return;
	}
	for (uint32_t i = 0; i < m->n_slots; i++)
		slot_tick(&m->slots[i]);
}

static int
watch(struct manager *m)
{
	static const int signals[] = {SIGCHLD, SIGHUP, SIGQUIT, SIGTERM, SIGINT, SIGUSR1};
	struct timeval tv = {1, 0};

	signal(SIGPIPE, SIG_IGN);
	for (uint32_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
		m->signal[i] = evsignal_new(m->base, signals[i], on_signal, m);
		if (!m->signal[i] || evsignal_add(m->signal[i], NULL) != 0)
			return err_set(ALM_ENOMEM, "out of memory");
	}
	m->tick = event_new(m->base, -1, EV_PERSIST, on_tick, m);
	if (!m->tick || event_add(m->tick, &tv) != 0)
		return err_set(ALM_ENOMEM, "out of memory");
	return ALM_OK;
}

/* ---- start ---- */

/* Refuse a directory that another daemon uses; but wait a moment for one that is just ending. */
static int
wait_for_lock(const char *dir)
{
	int status;

	for (uint32_t waited = 0; (status = datadir_probe(dir)) == ALM_EBUSY && waited < LOCK_WAIT_US;
	    waited += LOCK_STEP_US)
		usleep(LOCK_STEP_US);
	return status;
}

/* "almadia.conf:3: server.data_dir", or without the place if it is the default. */
static const char *
name_setting(const struct config *conf, const char *key, char *out, uint32_t cap)
{
	const char *origin;

	config_get(conf, "server", key, &origin);
	if (strcmp(origin, "default") == 0)
		snprintf(out, cap, "server.%s", key);
	else
		snprintf(out, cap, "%s: server.%s", origin, key);
	return out;
}

static int
check_runtime_dir(const char *dir, const char *what)
{
	struct stat st;

	if (mkdir(dir, 0755) != 0 && errno != EEXIST)
		return err_set(ALM_ECONFIG, "%s: could not create %s: %s", what, dir, strerror(errno));
	if (stat(dir, &st) != 0 || !S_ISDIR(st.st_mode) ||
	    faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0)
		return err_set(ALM_ECONFIG, "%s: %s is not a directory that user %u may write", what, dir,
		    (unsigned)geteuid());
	return ALM_OK;
}

static int
check_directories(const struct config *conf)
{
	const struct core_settings *core = config_core(conf);
	char what[400];
	int status = datadir_open(core->data_dir, name_setting(conf, "data_dir", what, sizeof what));

	if (status == ALM_OK && strcmp(core->runtime_dir, core->data_dir) != 0)
		status = check_runtime_dir(core->runtime_dir,
		    name_setting(conf, "runtime_dir", what, sizeof what));
	return status == ALM_OK ? wait_for_lock(core->data_dir) : status;
}

static int
make_arena(struct manager *m, uint64_t size)
{
	m->arena_fd = -1;
	if (size == 0)
		return ALM_OK;
	m->arena_fd = memfd_create("almadia-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->arena_fd < 0 || ftruncate(m->arena_fd, (off_t)size) != 0 ||
	    fcntl(m->arena_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		return err_set(ALM_EIO, "could not make an arena of %llu bytes: %s",
		    (unsigned long long)size, strerror(errno));
	return ALM_OK;
}

static void
raise_file_limit(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
		rl.rlim_cur = rl.rlim_max;
		setrlimit(RLIMIT_NOFILE, &rl);
	}
}

static void
pid_file(const struct manager *m, int create)
{
	char path[600];

	snprintf(path, sizeof path, "%s/almadiad.pid", config_core(m->boot)->runtime_dir);
	if (!create) {
		unlink(path);
		return;
	}
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || dprintf(fd, "%d\n", (int)getpid()) < 0)
		log_warn("could not write %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int
prepare(struct manager *m)
{
	uint64_t arena;
	int status = check_directories(m->conf);

	if (status == ALM_OK)
		status = check_run(m->conf, &arena);
	if (status == ALM_OK)
		status = listen_open(&m->listen, m->conf);
	if (status != ALM_OK)
		return status;
	raise_file_limit();
	if (m->mode == MODE_THREADS && evthread_use_pthreads() != 0)
		return err_set(ALM_EINTERNAL, "libevent has no threads");
	m->conf_fd = config_snapshot(m->conf);
	if (m->conf_fd < 0)
		return m->conf_fd;
	m->base = event_base_new();
	if (!m->base)
		return err_set(ALM_ENOMEM, "could not make an event loop");
	status = make_arena(m, arena);
	m->n_slots = config_core(m->conf)->workers + 2;
	for (uint32_t i = 0; i < m->n_slots && status == ALM_OK; i++)
		status = slot_init(m, &m->slots[i], i);
	return status == ALM_OK ? watch(m) : status;
}

static int
start_roles(struct manager *m)
{
	int status = ALM_OK;

	/* All regions first, so that each role finds every other one's from the start. */
	for (uint32_t i = 0; i < m->n_slots && status == ALM_OK; i++)
		status = slot_prepare(&m->slots[i]);
	for (uint32_t i = 0; i < m->n_slots && status == ALM_OK && m->stage == STAGE_RUN; i++)
		status = slot_start(&m->slots[i]);
	return status;
}

static void
release(struct manager *m)
{
	for (uint32_t i = 0; i < m->n_slots; i++)
		slot_free(&m->slots[i]);
	for (uint32_t i = 0; i < sizeof m->signal / sizeof m->signal[0]; i++)
		if (m->signal[i])
			event_free(m->signal[i]);
	if (m->tick)
		event_free(m->tick);
	if (m->base)
		event_base_free(m->base);
	listen_close(&m->listen);
	if (m->conf_fd >= 0)
		close(m->conf_fd);
	if (m->arena_fd >= 0)
		close(m->arena_fd);
	if (m->conf != m->boot)
		config_free(m->conf);
	config_free(m->boot);
}

int
manager_run(struct config *conf, const struct manager_options *opt)
{
	static struct manager manager;
	struct manager *m = &manager;

	*m = (struct manager){.opt = opt, .conf = conf, .boot = conf, .arena_fd = -1, .conf_fd = -1,
	    .mode = config_core(conf)->mode};
	log_init("manager", config_core(conf)->log_level, config_core(conf)->log_json);
	int status = prepare(m);
	if (status != ALM_OK) {
		fprintf(stderr, "almadiad: %s\n", err_text());
		release(m);
		return status == ALM_EIO || status == ALM_ENOMEM ? EXIT_TRANSIENT : EXIT_BADCONFIG;
	}
	pid_file(m, 1);
	if (start_roles(m) != ALM_OK) {
		log_error("could not start: %s", err_text());
		manager_stop(m, EXIT_TRANSIENT);
	}
	if (m->stage != STAGE_DONE)
		event_base_dispatch(m->base);
	pid_file(m, 0);
	int code = m->exit_code;
	if (m->last_words[0])
		log_error("%s", m->last_words);
	else
		log_notice("stopped");
	release(m);
	return code;
}
