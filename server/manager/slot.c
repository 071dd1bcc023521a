/* manager/slot.c - one role over its incarnations: start, end, back-off, heartbeat.
 *
 * Manager's thread.  Each incarnation gets a fresh region with the next generation; its read-only
 * descriptor goes to every running peer.  The old region is closed only
 * when the next one is made, so that last words can be read after the end.
 */
#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "main/control.h"
#include "manager/internal.h"

#define LISTENER_OFF_AFTER UINT64_C(1000000) /* microseconds of back-off */
#define STILL_ABORT 10u                      /* ticks of one second without a heartbeat */
#define STILL_KILL 15u

static void on_timer(evutil_socket_t, short, void *);

int
slot_init(struct manager *m, struct slot *s, uint32_t peer)
{
	*s = (struct slot){.m = m, .peer = peer, .region_fd = -1, .region_ro = -1, .control = -1};
	s->role = peer == PEER_LEDGER ? ALM_ROLE_LEDGER
	    : peer == PEER_INDEXER ? ALM_ROLE_INDEXER : ALM_ROLE_WORKER;
	s->number = s->role == ALM_ROLE_WORKER ? peer - 1 : 0;
	role_name(s->role, s->number, s->name, sizeof s->name);
	s->bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	s->timer = evtimer_new(m->base, on_timer, s);
	if (s->bell < 0 || !s->timer)
		return err_set(ALM_EIO, "could not make an eventfd: %s", strerror(errno));
	return ALM_OK;
}

static void
region_drop(struct slot *s)
{
	region_unmap(&s->watch);
	if (s->region_fd >= 0)
		close(s->region_fd);
	if (s->region_ro >= 0)
		close(s->region_ro);
	s->region_fd = s->region_ro = -1;
}

static void
control_drop(struct slot *s)
{
	if (s->control_event)
		event_free(s->control_event);
	s->control_event = NULL;
	if (s->control >= 0)
		close(s->control);
	s->control = -1;
}

void
slot_free(struct slot *s)
{
	control_drop(s);
	region_drop(s);
	if (s->timer)
		event_free(s->timer);
	if (s->bell >= 0)
		close(s->bell);
}

int
slot_prepare(struct slot *s)
{
	region_drop(s);
	s->generation++;
	s->region_fd = region_create(s->peer, s->m->n_slots - 2, s->generation);
	if (s->region_fd < 0)
		return s->region_fd;
	s->region_ro = region_readonly_fd(s->region_fd);
	if (s->region_ro < 0)
		return s->region_ro;
	return region_map(s->region_ro, 0, &s->watch);
}

/* Tell everybody of s's new region; workers too want each other's, for the node's counters. */
static void
introduce(struct slot *s)
{
	struct control c = {.type = CTL_PEER, .arg = s->peer};

	for (uint32_t i = 0; i < s->m->n_slots; i++) {
		struct slot *other = &s->m->slots[i];

		if (other != s && other->running &&
		    control_send(other->control, &c, s->region_ro) != ALM_OK)
			log_warn("%s could not be told of the new %s", other->name, s->name);
	}
}

static void
on_message(struct slot *s, const struct control *c)
{
	if (c->type == CTL_READY) {
		s->ready = 1;
		s->still = 0;
		if (s->m->announced)
			log_notice("%s is ready again%s%s", s->name, c->text[0] ? ": " : "", c->text);
		else
			log_info("%s is ready%s%s", s->name, c->text[0] ? ": " : "", c->text);
		manager_on_ready(s->m);
	} else if (c->type == CTL_EXIT) {
		slot_ended(s, (int)c->arg, 0);
	}
}

static void
on_control(evutil_socket_t sock, short what, void *arg)
{
	struct slot *s = arg;
	struct control c;
	int fd, status;

	(void)what;
	while (s->control == (int)sock && (status = control_recv((int)sock, &c, &fd)) != ALM_EAGAIN) {
		if (fd >= 0)
			close(fd);
		if (status != ALM_OK) {
			/* SIGCHLD tells how a process ended. */
			event_del(s->control_event);
			return;
		}
		on_message(s, &c);
	}
}

int
slot_start(struct slot *s)
{
	struct manager *m = s->m;
	int pair[2], status = control_pair(pair);

	if (status != ALM_OK)
		return status;
	s->control = pair[0];
	s->control_event = event_new(m->base, s->control, EV_READ | EV_PERSIST, on_control, s);
	if (!s->control_event || event_add(s->control_event, NULL) != 0) {
		close(pair[1]);
		control_drop(s);
		return err_set(ALM_ENOMEM, "out of memory");
	}
	if (s->role == ALM_ROLE_WORKER)
		listen_slot_on(&m->listen, s->number);
	s->ready = 0;
	s->still = 0;
	s->running = 1;
	s->gone = 0;
	status = m->mode == MODE_PROCESSES ? launch_process(s, pair[1])
	    : m->mode == MODE_THREADS ? launch_thread(s, pair[1]) : launch_fused(s, pair[1]);
	if (status != ALM_OK) {
		s->running = 0;
		control_drop(s);
	}
	return status;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct slot *s = arg;

	(void)fd, (void)what;
	if (s->m->stage != STAGE_RUN || s->running)
		return;
	int status = slot_prepare(s);
	if (status == ALM_OK)
		status = slot_start(s);
	if (status == ALM_OK) {
		introduce(s);
	} else {
		log_error("could not start the %s: %s", s->name, err_text());
		manager_stop(s->m, EXIT_TRANSIENT);
	}
}

void
slot_ask_stop(struct slot *s)
{
	struct control c = {.type = CTL_STOP};

	evtimer_del(s->timer);
	if (s->running && control_send(s->control, &c, -1) != ALM_OK)
		slot_kill(s, SIGTERM);
}

void
slot_kill(struct slot *s, int sig)
{
	if (s->running && s->pid > 0)
		kill(s->pid, sig);
}

void
slot_reload(struct slot *s)
{
	struct control c = {.type = CTL_RELOAD};

	if (s->running && control_send(s->control, &c, s->m->conf_fd) != ALM_OK)
		log_warn("%s could not be told of the new configuration", s->name);
}

/* Counting our own ticks rather than reading the clock: a machine that slept kills nobody. */
void
slot_tick(struct slot *s)
{
	if (!s->running || !s->ready || s->m->mode == MODE_FUSED)
		return;
	uint64_t beat = atomic_load_explicit(&s->watch.head->heartbeat, memory_order_relaxed);
	if (beat != s->last_beat) {
		s->last_beat = beat;
		s->still = 0;
		return;
	}
	s->still++;
	if (s->still == STILL_ABORT) {
		log_error("%s (pid %d) shows no life for %u s, aborting it", s->name, (int)s->pid, s->still);
		if (s->m->mode == MODE_THREADS)
			abort();
		slot_kill(s, SIGABRT);
	} else if (s->still == STILL_KILL) {
		log_error("%s (pid %d) did not abort, killing it", s->name, (int)s->pid);
		slot_kill(s, SIGKILL);
	}
}

void
slot_reap(struct slot *s)
{
	int code;

	if (s->running && s->pid > 0 && waitpid(s->pid, &code, WNOHANG) == s->pid)
		slot_ended(s, code, 1);
}

static void
describe_end(const struct slot *s, int code, int is_wait, char *out, uint32_t cap)
{
	if (!is_wait)
		snprintf(out, cap, "%s ended with exit code %d", s->name, code);
	else if (WIFSIGNALED(code))
		snprintf(out, cap, "%s (pid %d) was killed by signal %d (%s)", s->name, (int)s->pid,
		    WTERMSIG(code), strsignal(WTERMSIG(code)));
	else
		snprintf(out, cap, "%s (pid %d) ended with exit code %d", s->name, (int)s->pid,
		    WEXITSTATUS(code));
}

static void
log_obituary(const struct slot *s)
{
	char text[sizeof s->watch.head->obituary];

	/* Its owner may have written anything; the copy is ours and ends. */
	memcpy(text, s->watch.head->obituary, sizeof text);
	text[sizeof text - 1] = 0;
	if (text[0])
		log_error("last words of the %s: %s", s->name, text);
}

/* Wait, then start again; or give up. */
static void
back_off(struct slot *s, const char *how)
{
	const struct core_settings *core = config_core(s->m->conf);
	int is_ledger = s->role == ALM_ROLE_LEDGER;
	uint32_t limit = is_ledger ? core->ledger_restarts : core->worker_restarts;
	uint64_t delay = restart_delay(&s->restart, clock_mono(), limit, is_ledger);
	char text[32];

	if (delay == RESTART_NEVER) {
		snprintf(s->m->last_words, sizeof s->m->last_words, "stopped: %s, the %uth time within 10 "
		    "minutes (server.ledger_restarts)", how, limit);
		manager_stop(s->m, EXIT_TRANSIENT);
		return;
	}
	log_warn("%s; starting it again in %s", how, format_duration(delay, text, sizeof text));
	if (s->role == ALM_ROLE_WORKER && delay > LISTENER_OFF_AFTER)
		listen_slot_off(&s->m->listen, s->number);
	struct timeval tv = {(time_t)(delay / 1000000), (suseconds_t)(delay % 1000000)};
	evtimer_add(s->timer, &tv);
}

static void
final(struct slot *s, const char *how, int code)
{
	snprintf(s->m->last_words, sizeof s->m->last_words, "stopped: %s, %s; it is not restarted by itself",
	    how, code == EXIT_DATA ? "a disk or data fault" : "a matter of configuration");
	manager_stop(s->m, code);
}

void
slot_ended(struct slot *s, int code, int is_wait)
{
	struct manager *m = s->m;
	char how[200];
	int left = !is_wait ? code : WIFEXITED(code) ? WEXITSTATUS(code) : EXIT_TRANSIENT;

	describe_end(s, code, is_wait, how, sizeof how);
	s->running = 0;
	s->gone = 1;
	s->pid = 0;
	control_drop(s);
	launch_collect(s);
	log_obituary(s);
	if (m->stage != STAGE_RUN) {
		if (left != EXIT_ASKED)
			log_warn("%s while stopping", how);
		/* A worker killed while it stopped loses nothing. */
		if (left > m->exit_code && (left > EXIT_TRANSIENT || s->role == ALM_ROLE_LEDGER))
			m->exit_code = left;
		manager_advance(m);
	} else if (left == EXIT_BADCONFIG || left == EXIT_DATA) {
		final(s, how, left);
	} else if (m->mode != MODE_PROCESSES) {
		snprintf(m->last_words, sizeof m->last_words, "stopped: %s", how);
		manager_stop(m, left);
	} else {
		back_off(s, how);
	}
}
