/* main/role.c - what surrounds a role: its control socket and exit, and the start of a
 * role process from inherited descriptors.
 *
 * Everything here runs on the role's own loop and thread.  A role learns of the world only
 * through its env; whether that world is a process, a thread or one shared loop shows in three places:
 * role_exit (leave the loop, or tell the manager), signals (processes only) and end of file on the
 * control socket (the manager is gone; stop).
 */
#include <config.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "main/control.h"
#include "main/handover.h"
#include "main/roles.h"
#include "manager/check.h"

struct role_priv {
	const struct role_ops *ops;
	struct event *control, *term;
	int exit_code, exited, started, stopping;
	struct config **reloaded; /* snapshots handed to the role stay valid until it ends */
	uint32_t n_reloaded;
};

const char *
role_name(uint32_t role, uint32_t slot, char *out, uint32_t cap)
{
	if (role == ALM_ROLE_WORKER)
		snprintf(out, cap, "worker %u", slot);
	else
		snprintf(out, cap, "%s", role == ALM_ROLE_LEDGER ? "ledger" : "indexer");
	return out;
}

int
role_exit_code(const struct role_env *env)
{
	const struct role_priv *p = env->priv;
	return p ? p->exit_code : EXIT_TRANSIENT;
}

void
role_exit(struct role_env *env, int code)
{
	struct role_priv *p = env->priv;
	struct control c = {.type = CTL_EXIT, .arg = (uint32_t)code};

	if (p->exited)
		return;
	p->exited = 1;
	p->exit_code = code;
	if (env->fused)
		control_send(env->manager_fd, &c, -1);
	else
		event_base_loopbreak(env->base);
}

void
role_ready(struct role_env *env, const char *status)
{
	struct control c = {.type = CTL_READY};

	snprintf(c.text, sizeof c.text, "%s", status ? status : "");
	control_send(env->manager_fd, &c, -1);
}

static void
stop(struct role_env *env)
{
	struct role_priv *p = env->priv;

	if (p->stopping || p->exited)
		return;
	p->stopping = 1;
	if (env->on_stop)
		env->on_stop(env);
	else
		role_exit(env, EXIT_ASKED);
}

static void
reload(struct role_env *env, int fd)
{
	struct role_priv *p = env->priv;
	struct config *conf;

	struct config **grown = realloc(p->reloaded, (p->n_reloaded + 1) * sizeof(struct config *));
	if (!grown) {
		log_error("reload ignored: out of memory");
		return;
	}
	p->reloaded = grown;
	if (config_from_snapshot(fd, &conf) != ALM_OK) {
		log_error("reload ignored: %s", err_text());
		return;
	}
	p->reloaded[p->n_reloaded++] = conf;
	log_level_set(config_core(conf)->log_level);
	env->conf = conf;
	if (env->on_reload)
		env->on_reload(env, conf);
}

static void
on_control(evutil_socket_t sock, short what, void *arg)
{
	struct role_env *env = arg;
	struct role_priv *p = env->priv;
	struct control c;
	int fd, status;

	(void)what;
	while (!p->exited && (status = control_recv((int)sock, &c, &fd)) != ALM_EAGAIN) {
		if (status != ALM_OK) {
			log_warn("manager is gone, stopping");
			event_del(p->control);
			stop(env);
			return;
		}
		if (c.type == CTL_STOP)
			stop(env);
		else if (c.type == CTL_PEER && env->on_peer && fd >= 0)
			env->on_peer(env, c.arg, fd);
		else if (c.type == CTL_RELOAD && fd >= 0)
			reload(env, fd);
		/* The role has mapped what it wanted from fd. */
		if (fd >= 0)
			close(fd);
	}
}

static void
on_term(evutil_socket_t sig, short what, void *arg)
{
	(void)sig, (void)what;
	stop(arg);
}

static int
attach(struct role_env *env, struct role_priv *p)
{
	p->control = event_new(env->base, env->manager_fd, EV_READ | EV_PERSIST, on_control, env);
	if (!p->control || event_add(p->control, NULL) != 0)
		return err_set(ALM_ENOMEM, "out of memory");
	if (!env->fused)
		check_obituary(env->self.head->obituary, sizeof env->self.head->obituary);
	atomic_store(&env->self.head->pid, (uint64_t)getpid());
	return ALM_OK;
}

int
role_begin(struct role_env *env, const struct role_table *table, int *exit_code)
{
	struct role_priv *p = calloc(1, sizeof *p);

	*exit_code = EXIT_TRANSIENT;
	if (!p)
		return err_set(ALM_ENOMEM, "out of memory");
	p->ops = env->role == ALM_ROLE_LEDGER ? &table->ledger
	    : env->role == ALM_ROLE_WORKER ? &table->worker : &table->indexer;
	p->exit_code = EXIT_TRANSIENT;
	env->priv = p;
	int status = attach(env, p);
	if (status == ALM_OK)
		status = p->ops->start(env, exit_code);
	p->started = status == ALM_OK;
	if (status != ALM_OK)
		p->exit_code = *exit_code;
	return status;
}

void
role_finish(struct role_env *env)
{
	struct role_priv *p = env->priv;

	if (!p)
		return;
	if (p->started)
		p->ops->end(env);
	if (p->control)
		event_free(p->control);
	if (p->term)
		event_free(p->term);
	for (uint32_t i = 0; i < p->n_reloaded; i++)
		config_free(p->reloaded[i]);
	free(p->reloaded);
	free(p);
	env->priv = NULL;
}

/* ---- a role as a process ---- */

/* The manager has the terminal's signals; a role hears of them through it.  TERM comes too when
 * the manager dies. */
static int
process_signals(int manager_pid)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0 || getppid() != manager_pid)
		return err_set(ALM_ECLOSED, "the manager is gone");
	return ALM_OK;
}

static void
env_fill(struct role_env *env, const struct handover *h)
{
	env->role = h->role;
	env->peer = h->peer;
	env->slot = h->slot;
	env->workers = h->workers;
	env->generation = h->generation;
	env->arena_fd = h->arena_fd;
	env->manager_fd = h->manager_fd;
	memcpy(env->bell, h->bell, sizeof env->bell);
	memcpy(env->region_fd, h->region_fd, sizeof env->region_fd);
	memcpy(env->listen_fd, h->listen_fd, sizeof env->listen_fd);
}

static void
set_cloexec(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static int
process_run(const struct handover *h, const struct role_table *table)
{
	static char name[32];
	struct role_env env = {0};
	struct config *conf = NULL;
	int code = EXIT_TRANSIENT;

	role_name(h->role, h->slot, name, sizeof name);
	log_init(name, ALM_LOG_INFO, 0);
	if (process_signals(h->manager_pid) != ALM_OK || config_from_snapshot(h->conf_fd, &conf) != ALM_OK) {
		log_error("%s", err_text());
		return EXIT_TRANSIENT;
	}
	log_init(name, config_core(conf)->log_level, config_core(conf)->log_json);
	env_fill(&env, h);
	env.conf = conf;
	env.base = event_base_new();
	if (!env.base || region_map(h->self_fd, 1, &env.self) != ALM_OK) {
		log_error("%s", env.base ? err_text() : "could not make an event loop");
		goto out;
	}
	if (role_begin(&env, table, &code) == ALM_OK) {
		struct role_priv *p = env.priv;

		p->term = evsignal_new(env.base, SIGTERM, on_term, &env);
		if (p->term)
			evsignal_add(p->term, NULL);
		if (!p->exited)
			event_base_dispatch(env.base);
		code = p->exit_code;
	} else {
		log_error("%s", err_text());
	}
	role_finish(&env);
out:
	region_unmap(&env.self);
	if (env.base)
		event_base_free(env.base);
	config_free(conf);
	return code;
}

int
role_main(int argc, char **argv, const struct role_table *table)
{
	struct handover h;
	int a, b;

	if (argc < 2 || strncmp(argv[1], "--role=", 7) != 0)
		return -1;
	prctl(PR_SET_NAME, "almadiad");
	if (sscanf(argv[1], "--role=check,%d,%d", &a, &b) == 2)
		return check_main(a, b);
	if (sscanf(argv[1], "--role=run,%d", &a) != 1 || handover_read(a, &h) != ALM_OK) {
		fprintf(stderr, "almadiad: --role is for almadiad's own use\n");
		return EXIT_BADCONFIG;
	}
	close(a);
	handover_fds(&h, set_cloexec);
	return process_run(&h, table);
}
