/* manager/launch.c - three ways to carry a role: a process, a thread, or callbacks on our own loop.
 *
 * All three hand over the same things: the role's region, its peers' regions and bells, its
 * listeners, the arena, a configuration and one end of a control socket.  A process gets
 * descriptors by number over exec, with close-on-exec cleared for exactly those; the others get
 * their role_env ready made.
 */
#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "main/control.h"
#include "main/handover.h"
#include "manager/internal.h"

/* What each peer sees of the others. */
static void
fill_peers(const struct slot *s, int bell[PEERS_MAX], int region_fd[PEERS_MAX])
{
	const struct manager *m = s->m;

	for (uint32_t i = 0; i < PEERS_MAX; i++) {
		const struct slot *other = i < m->n_slots ? &m->slots[i] : NULL;

		bell[i] = other ? other->bell : -1;
		region_fd[i] = other && other != s && !other->gone ? other->region_ro : -1;
	}
}

static void
fill_listeners(const struct slot *s, int listen_fd[LISTENERS_MAX])
{
	const struct listen_set *set = &s->m->listen;

	for (uint32_t i = 0; i < LISTENERS_MAX; i++)
		listen_fd[i] = s->role == ALM_ROLE_WORKER && i < set->n ? set->socket[i].fd[s->number] : -1;
}

/* ---- process ---- */

static void
keep_over_exec(int fd)
{
	fcntl(fd, F_SETFD, 0);
}

/* Between fork and exec. */
static _Noreturn void
child(const struct handover *h, int handover_fd, char *title, char *arg)
{
	char *argv[] = {title, arg, NULL};
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	handover_fds(h, keep_over_exec);
	keep_over_exec(handover_fd);
	execv("/proc/self/exe", argv);
	_exit(EXIT_TRANSIENT);
}

int
launch_process(struct slot *s, int theirs)
{
	char title[64], arg[64];
	struct handover h = {
	    .magic = HANDOVER_MAGIC,
	    .size = sizeof h,
	    .role = s->role,
	    .peer = s->peer,
	    .slot = s->number,
	    .workers = s->m->n_slots - 2,
	    .generation = s->generation,
	    .manager_pid = getpid(),
	    .conf_fd = s->m->conf_fd,
	    .self_fd = s->region_fd,
	    .arena_fd = s->m->arena_fd,
	    .manager_fd = theirs,
	};
	int status = ALM_OK;

	fill_peers(s, h.bell, h.region_fd);
	fill_listeners(s, h.listen_fd);
	int fd = handover_write(&h);
	if (fd < 0) {
		close(theirs);
		return fd;
	}
	snprintf(title, sizeof title, "almadiad: %s", s->name);
	snprintf(arg, sizeof arg, "--role=run,%d", fd);
	s->pid = fork();
	if (s->pid == 0)
		child(&h, fd, title, arg);
	if (s->pid < 0)
		status = err_set(ALM_EIO, "could not start a process: %s", strerror(errno));
	close(fd);
	close(theirs);
	return status;
}

/* ---- threads and fused ---- */

static int
fill_env(struct slot *s, int theirs)
{
	struct role_env *env = &s->env;

	*env = (struct role_env){
	    .conf = s->m->conf,
	    .role = s->role,
	    .peer = s->peer,
	    .slot = s->number,
	    .workers = s->m->n_slots - 2,
	    .fused = s->m->mode == MODE_FUSED,
	    .generation = s->generation,
	    .arena_fd = s->m->arena_fd,
	    .manager_fd = theirs,
	};
	fill_peers(s, env->bell, env->region_fd);
	fill_listeners(s, env->listen_fd);
	return region_map(s->region_fd, 1, &env->self);
}

static void *
thread_main(void *arg)
{
	struct slot *s = arg;
	struct role_env *env = &s->env;
	struct control c = {.type = CTL_EXIT};
	int code = EXIT_TRANSIENT;

	log_thread_role(s->name);
	env->base = event_base_new();
	if (env->base && role_begin(env, s->m->opt->roles, &code) == ALM_OK) {
		event_base_dispatch(env->base);
		code = role_exit_code(env);
	} else {
		log_error("%s", env->base ? err_text() : "could not make an event loop");
	}
	role_finish(env);
	if (env->base)
		event_base_free(env->base);
	c.arg = (uint32_t)code;
	control_send(env->manager_fd, &c, -1);
	return NULL;
}

int
launch_thread(struct slot *s, int theirs)
{
	sigset_t all, before;
	int status = fill_env(s, theirs);

	if (status != ALM_OK) {
		close(theirs);
		return status;
	}
	/* Signals are the manager's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int error = pthread_create(&s->thread, NULL, thread_main, s);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error != 0) {
		close(theirs);
		return err_set(ALM_EIO, "could not start a thread: %s", strerror(error));
	}
	s->has_thread = 1;
	return ALM_OK;
}

static struct event_base *fused_base;

static void
activate(int fd)
{
	event_base_active_by_fd(fused_base, fd, EV_READ);
}

int
launch_fused(struct slot *s, int theirs)
{
	struct control c = {.type = CTL_EXIT};
	int code = EXIT_TRANSIENT, status = fill_env(s, theirs);

	if (status != ALM_OK) {
		close(theirs);
		return status;
	}
	if (!fused_base)
		bell_use_local(activate);
	fused_base = s->env.base = s->m->base;
	if (role_begin(&s->env, s->m->opt->roles, &code) == ALM_OK)
		return ALM_OK;
	log_error("%s: %s", s->name, err_text());
	c.arg = (uint32_t)code;
	control_send(theirs, &c, -1);
	return ALM_OK;
}

void
launch_collect(struct slot *s)
{
	if (s->m->mode == MODE_PROCESSES)
		return;
	if (s->has_thread)
		pthread_join(s->thread, NULL);
	else
		role_finish(&s->env);
	s->has_thread = 0;
	region_unmap(&s->env.self);
	close(s->env.manager_fd);
}
