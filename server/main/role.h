/* main/role.h - how a role runs.  Role code does not know whether it is a process or a thread.
 *
 * The manager prepares a struct role_env for each role: a process started by fork and exec
 * rebuilds it from inherited descriptors, a thread gets it directly, and in fused mode all roles
 * share one event loop.  A role has a start and a stop function and otherwise lives in callbacks
 * of its loop.
 */
#ifndef ALM_MAIN_ROLE_H
#define ALM_MAIN_ROLE_H

#include <almadia/host.h>
#include <event2/event.h>

#include "config/config.h"
#include "ipc/region.h"

/* Exit codes of a role and of almadiad. */
#define EXIT_ASKED 0     /* asked to stop */
#define EXIT_TRANSIENT 1 /* restart with back-off */
#define EXIT_BADCONFIG 2 /* never restarted */
#define EXIT_DATA 3      /* disk or data fault: never restarted automatically */

struct role_env {
	const struct config *conf;
	struct event_base *base;
	uint32_t role;                 /* ALM_ROLE_* */
	uint32_t peer;                 /* own peer number */
	uint32_t slot;                 /* workers: 1.. */
	uint32_t workers;              /* how many there are */
	uint32_t fused;                /* 1: one loop for all; do not sleep or spin */
	uint64_t generation;
	struct region self;            /* writable */
	int bell[PEERS_MAX];           /* eventfd of each peer, own included; -1: none */
	int region_fd[PEERS_MAX];      /* read-only, present incarnations at start; -1: not up yet */
	int arena_fd;                  /* -1: none */
	int listen_fd[LISTENERS_MAX];  /* workers: this slot's, in order of config; -1: none */
	int manager_fd;                /* control socket to the manager */
	void *priv;                    /* main/role.c's */

	/* Filled by the role's start function; called on its loop. */
	void (*on_peer)(struct role_env *, uint32_t peer, int fd); /* new incarnation; fd is closed on return */
	void (*on_reload)(struct role_env *, const struct config *); /* new snapshot; the old stays valid */
	void (*on_stop)(struct role_env *); /* finish, then call role_exit(env, EXIT_ASKED) */
	void *state;                   /* the role's own */
};

/* Each role's entry: set up on env->base and return ALM_OK, or an error with err_text() (then
 * *exit_code says how to leave). */
int ledger_start(struct role_env *, int *exit_code);
int worker_start(struct role_env *, int *exit_code);
int indexer_start(struct role_env *, int *exit_code);
/* Release everything; the loop no longer runs callbacks of this role. */
void ledger_end(struct role_env *);
void worker_end(struct role_env *);
void indexer_end(struct role_env *);

/* Leave the loop with an exit code (any role, on its loop's thread). */
void role_exit(struct role_env *, int code);
/* Tell the manager that the role serves now, with a status line for people. */
void role_ready(struct role_env *, const char *status);

#endif
