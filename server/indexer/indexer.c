/* indexer/indexer.c - the indexer role: start, the turn of its loop, stop.
 *
 * A turn applies a slice of the log, answers queries, and then either comes again at once (there
 * is more), naps for a millisecond (the log is busy: one wake-up for many batches), or sleeps until
 * its bell rings.  A tick a second beats the heart and commits what is not synced. */
#include "indexer/guard.h"
#include "indexer/indexer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int
indexer_fail(struct indexer *ix, int status, int exit_code)
{
	if (!ix->failed) {
		ix->failed = 1;
		log_error("%s", err_text());
		snprintf(ix->env->self.head->obituary, sizeof ix->env->self.head->obituary, "%s", err_text());
		role_exit(ix->env, exit_code);
	}
	return status;
}

void
indexer_count(struct indexer *ix, uint32_t counter, uint64_t n)
{
	_Atomic uint64_t *c = &ix->env->self.head->counter[counter];

	/* One writer: no need for an atomic addition. */
	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

static void
again_in(struct indexer *ix, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

	evtimer_add(ix->ev_again, &tv);
}

static void
turn(struct indexer *ix)
{
	uint32_t did = 0, answered;
	int more;

	if (ix->failed || ix->stopping)
		return;
	bell_disarm(&ix->bell);
	indexer_count(ix, IC_TURNS, 1);
	more = follow(ix, &did);
	answered = answer_all(ix);
	if (ix->failed)
		return;
	if (more || (ix->mend && ix->checked)) {
		again_in(ix, 0);
		return;
	}
	/* The log moves and nobody asks: let batches gather instead of waking for each one. */
	if (did > 0 && answered == 0) {
		again_in(ix, NAP_US);
		return;
	}
	/* A ledger that is starting rings for commits only. */
	if (ix->ctl && !ix->checked)
		again_in(ix, START_US);
	bell_arm(&ix->bell);
	if (follow_moved(ix) || answer_waiting(ix)) {
		bell_disarm(&ix->bell);
		again_in(ix, 0);
	}
}

static void
on_bell(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	turn(arg);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct indexer *ix = arg;
	uint64_t now = clock_mono();

	(void)fd;
	(void)what;
	atomic_store_explicit(&ix->env->self.head->heartbeat, now, memory_order_relaxed);
	if (ix->failed || ix->stopping)
		return;
	/* Nothing to do is the usual case, and costs no wake-up of the disk. */
	if (ix->checked && now >= ix->retry_at)
		(void)consumers_sync(ix);
	if (follow_behind(ix))
		turn(ix);
}

static void
on_peer(struct role_env *env, uint32_t peer, int fd)
{
	struct indexer *ix = env->state;

	if (peer == PEER_LEDGER) {
		follow_ledger(ix, fd);
	} else if (peer >= PEER_WORKER(1) && peer <= PEER_WORKER(env->workers)) {
		struct peer *p = &ix->peer[peer - PEER_WORKER(0)];
		if (link_attach(&p->link, fd))
			log_warn("worker %u: %s", peer - PEER_WORKER(0), err_text());
		p->held = HELD_NO;
	}
	turn(ix);
}

static void
on_reload(struct role_env *env, const struct config *conf)
{
	struct indexer *ix = env->state;

	env->conf = conf;
	ix->core = config_core(conf);
}

static void
on_stop(struct role_env *env)
{
	struct indexer *ix = env->state;

	if (ix->stopping)
		return;
	ix->stopping = 1;
	if (!ix->failed && ix->checked)
		(void)consumers_sync(ix);
	if (!ix->failed)
		role_exit(env, EXIT_ASKED);
}

/* ---- start and end ---- */

/* One indexer at a time, whatever became of its manager: LMDB runs without locks here. */
static int
lock_dir(struct indexer *ix)
{
	if (mkdir(ix->index_dir, 0750) != 0 && errno != EEXIST)
		return err_set(ALM_EIO, "could not make %s: %s", ix->index_dir, strerror(errno));
	ix->lock_fd = open(ix->index_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (ix->lock_fd < 0)
		return err_set(ALM_EIO, "could not open %s: %s", ix->index_dir, strerror(errno));
	if (flock(ix->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(ALM_EBUSY, "%s is in use by another indexer", ix->index_dir);
	return ALM_OK;
}

static int
load_storage(struct indexer *ix)
{
	struct provider *p;
	int status = module_load(ix->env->conf, ALM_KIND_STORAGE, ix->core->storage, &p);

	if (status)
		return status;
	ix->storage = provider_ops(p);
	ix->storage_host = provider_host(p, ix->env->conf, ALM_ROLE_INDEXER, ix->env->arena_fd);
	return ix->storage_host ? ALM_OK : err_set(ALM_ENOMEM, "storage: out of memory");
}

static int
make_events(struct indexer *ix)
{
	const struct timeval second = {1, 0};
	struct role_env *env = ix->env;

	ix->bell.head = env->self.head;
	ix->bell.fd = env->bell[env->peer];
	ix->ev_bell = event_new(env->base, ix->bell.fd, EV_READ | EV_PERSIST, on_bell, ix);
	ix->ev_again = evtimer_new(env->base, on_bell, ix);
	ix->ev_tick = event_new(env->base, -1, EV_PERSIST, on_tick, ix);
	if (!ix->ev_bell || !ix->ev_again || !ix->ev_tick || event_add(ix->ev_bell, NULL) ||
	    event_add(ix->ev_tick, &second))
		return err_set(ALM_ENOMEM, "could not make the indexer's events");
	return ALM_OK;
}

static void
attach_peers(struct indexer *ix)
{
	struct role_env *env = ix->env;

	for (uint32_t slot = 1; slot <= env->workers; slot++) {
		uint32_t peer = PEER_WORKER(slot);
		link_init(&ix->peer[slot].link, &env->self, peer, env->bell[peer]);
		if (env->region_fd[peer] >= 0 &&
		    link_attach(&ix->peer[slot].link, env->region_fd[peer]))
			log_warn("worker %u: %s", slot, err_text());
	}
	if (env->region_fd[PEER_LEDGER] >= 0)
		follow_ledger(ix, env->region_fd[PEER_LEDGER]);
}

static void
publish_start(struct indexer *ix)
{
	struct region_head *head = ix->env->self.head;

	atomic_store_explicit(&head->pin, UINT64_MAX, memory_order_relaxed);
	atomic_store_explicit(&head->heartbeat, clock_mono(), memory_order_relaxed);
	atomic_store_explicit(&head->page.index.incarnation, ix->env->generation, memory_order_relaxed);
	atomic_store_explicit(&head->page.index.applied, 0, memory_order_relaxed);
	/* Nothing may be released until it is known that the log is the one we know. */
	atomic_store_explicit(&head->page.index.synced, 0, memory_order_release);
}

int
indexer_start(struct role_env *env, int *exit_code)
{
	struct indexer *ix = calloc(1, sizeof *ix);
	char status_line[128];
	int status;

	*exit_code = EXIT_TRANSIENT;
	if (!ix)
		return err_set(ALM_ENOMEM, "indexer: out of memory");
	env->state = ix;
	ix->env = env;
	ix->core = config_core(env->conf);
	ix->lock_fd = -1;
	snprintf(ix->index_dir, sizeof ix->index_dir, "%s/index", ix->core->data_dir);
	snprintf(ix->log_dir, sizeof ix->log_dir, "%s/log", ix->core->data_dir);
	publish_start(ix);
	guard_init();
	if ((status = lock_dir(ix)))
		goto fail;
	if ((status = load_storage(ix))) {
		*exit_code = EXIT_BADCONFIG;
		goto fail;
	}
	if ((status = consumers_open(ix, exit_code)) || (status = make_events(ix)))
		goto fail;
	attach_peers(ix);
	env->on_peer = on_peer;
	env->on_reload = on_reload;
	env->on_stop = on_stop;
	again_in(ix, 0);
	snprintf(status_line, sizeof status_line, "%u indexers, applied to %llu", ix->n_consumers,
	    (unsigned long long)consumers_applied(ix));
	role_ready(env, status_line);
	return ALM_OK;
fail:
	indexer_end(env);
	return status;
}

void
indexer_end(struct role_env *env)
{
	struct indexer *ix = env->state;

	if (!ix)
		return;
	env->state = NULL;
	if (ix->ev_bell)
		event_free(ix->ev_bell);
	if (ix->ev_again)
		event_free(ix->ev_again);
	if (ix->ev_tick)
		event_free(ix->ev_tick);
	follow_end(ix);
	for (uint32_t slot = 1; slot <= env->workers; slot++)
		if (ix->peer[slot].link.self)
			link_detach(&ix->peer[slot].link);
	consumers_close(ix);
	if (ix->lock_fd >= 0)
		close(ix->lock_fd);
	buf_free(&ix->in);
	free(ix);
}
