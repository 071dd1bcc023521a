/* manager/internal.h - what manager.c, slot.c and launch.c share.  Private to manager/. */
#ifndef ALM_MANAGER_INTERNAL_H
#define ALM_MANAGER_INTERNAL_H

#include <pthread.h>
#include <sys/types.h>

#include "manager/listen.h"
#include "manager/manager.h"
#include "manager/restart.h"

struct manager;

/* One role: a place that incarnations come and go in. */
struct slot {
	struct manager *m;
	uint32_t role, peer, number; /* number: of the worker */
	char name[32];
	int bell;
	uint64_t generation;
	int region_fd, region_ro;    /* of the present or next incarnation; -1 before the first */
	struct region watch;         /* its head, read-only */
	int control;                 /* our end, -1: not running */
	struct event *control_event, *timer;
	pid_t pid;                   /* processes */
	int running, ready, gone;    /* gone: its present region belongs to an incarnation that ended */
	uint32_t still;              /* ticks without a heartbeat */
	uint64_t last_beat;
	struct restart restart;

	/* Threads and fused roles. */
	struct role_env env;
	pthread_t thread;
	int has_thread;
};

/* Order of stopping: workers, indexer, ledger. */
#define STAGE_RUN 0
#define STAGE_WORKERS 1
#define STAGE_INDEXER 2
#define STAGE_LEDGER 3
#define STAGE_DONE 4

struct manager {
	const struct manager_options *opt;
	struct config *conf, *boot;  /* boot: the one the node started with, whose listeners it uses */
	struct event_base *base;
	struct event *signal[6], *tick;
	struct listen_set listen;
	struct slot slots[PEERS_MAX];
	uint32_t n_slots;
	int arena_fd, conf_fd;
	uint32_t mode;
	int stage, announced, exit_code;
	uint64_t stage_deadline;
	char last_words[512];
};

/* manager.c */
void manager_stop(struct manager *, int exit_code);
void manager_advance(struct manager *);  /* after a slot ended */
void manager_on_ready(struct manager *);

/* slot.c */
int slot_init(struct manager *, struct slot *, uint32_t peer);
void slot_free(struct slot *);
int slot_prepare(struct slot *);         /* region of the next incarnation */
int slot_start(struct slot *);
void slot_ask_stop(struct slot *);
void slot_kill(struct slot *, int sig);
void slot_tick(struct slot *);           /* heartbeat watch */
void slot_reap(struct slot *);           /* processes: did it end? */
/* The incarnation ended: code as from wait(2), or an exit code (is_wait 0). */
void slot_ended(struct slot *, int code, int is_wait);
void slot_reload(struct slot *);

/* launch.c: carry an incarnation that slot_start prepared; theirs is the role's end of the control
 * socket. */
int launch_process(struct slot *, int theirs);
int launch_thread(struct slot *, int theirs);
int launch_fused(struct slot *, int theirs);
/* Threads and fused: after CTL_EXIT. */
void launch_collect(struct slot *);

#endif
