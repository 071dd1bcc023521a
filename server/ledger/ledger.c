/* ledger/ledger.c - the ledger role: start, one turn of its loop, timers, stop.
 *
 * The only writer of the log.  Runs on env->base's thread, with three helpers: the log writer, the
 * preparer of segments, the checkpoint writer (writer.h, helper.h).  A turn goes on until nothing
 * moves any more, then arms the doorbell and sleeps; idle, only a timer of one second runs. */
#include "ledger/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "main/datadir.h"

#define PASSES_MAX 64u /* of one turn, then other events of the loop get their chance */

void
ledger_arm(struct event *ev, uint64_t us)
{
	const struct timeval tv = {(time_t)(us / 1000000), (suseconds_t)(us % 1000000)};

	evtimer_add(ev, &tv);
}

void
ledger_fail(struct ledger *l, int exit_code)
{
	if (l->failed)
		return;
	l->failed = 1;
	atomic_store_explicit(&l->page->ready, 0, memory_order_release);
	role_exit(l->env, exit_code);
}

void
ledger_serves(struct ledger *l)
{
	char status[160];

	if (l->announced)
		return;
	l->announced = 1;
	snprintf(status, sizeof status, "log positions %llu-%llu, %llu topics",
	    (unsigned long long)l->first, (unsigned long long)l->next_position,
	    (unsigned long long)catalogue_topic_count(sequencer_catalogue(l->seq)));
	role_ready(l->env, status);
	for (uint32_t p = PEER_INDEXER; p <= last_peer(l); p++)
		if (l->link[p].peer != NULL)
			bell_ring(l->link[p].peer, l->link[p].peer_bell, &l->link[p].rang);
}

/* ---- the loop ---- */

/* One pass over all there is to do; 1 if something moved. */
static int
pass(struct ledger *l)
{
	int moved = write_reap(l);

	moved |= drain_all(l) > 0;
	moved |= write_out(l);
	commit_deliver(l);
	return moved && !l->failed;
}

/* Look for work for a while before sleeping, where that pays ([server] spin). */
static int
spin(struct ledger *l)
{
	uint64_t until;

	if (l->core->spin_us == 0 || l->env->fused)
		return 0;
	until = clock_mono() + l->core->spin_us;
	do {
		if (drain_more(l) || atomic_load_explicit(&l->writer.done, memory_order_acquire))
			return 1;
	} while (clock_mono() < until);
	return 0;
}

void
ledger_turn(struct ledger *l)
{
	if (l->failed || l->stopping)
		return;
	bell_disarm(&l->bell);
	count(l, LC_TURNS, 1);
	retain_look(l);
	for (uint32_t i = 0; i < PASSES_MAX; i++) {
		if (pass(l) || spin(l))
			continue;
		if (l->failed)
			return;
		bell_arm(&l->bell);
		if (!drain_more(l))
			return;
		bell_disarm(&l->bell);
	}
	event_active(l->bell_event, 0, 0);
}

static void
on_bell(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	ledger_turn(arg);
}

static void
on_writer(evutil_socket_t fd, short what, void *arg)
{
	uint64_t n;

	(void)what;
	if (read(fd, &n, sizeof n) < 0 && errno != EAGAIN)
		log_warn("could not read the log writer's eventfd: %s", strerror(errno));
	ledger_turn(arg);
}

static void
on_cns_timer(evutil_socket_t fd, short what, void *arg)
{
	static const struct alm_cns_event tick = {.kind = ALM_EV_TICK};

	(void)fd;
	(void)what;
	if (cns_feed(arg, &tick, 1) == ALM_OK)
		ledger_turn(arg);
}

static void
on_second(evutil_socket_t fd, short what, void *arg)
{
	struct ledger *l = arg;

	(void)fd;
	(void)what;
	atomic_store_explicit(&l->head->heartbeat, clock_mono(), memory_order_relaxed);
	if (l->failed || l->stopping)
		return;
	snapshot_reap(l);
	if (l->space_spent > 0 || l->disk_full)
		l->space_due = 1;
	if (l->unprepared > 0) {
		l->unprepared = 0;
		helper_kick(&l->prepare);
	}
	if (l->held)
		write_held(l);
	retain_tick(l);
	ledger_turn(l);
	if (l->snapshot.wanted && l->gather == NULL && !l->failed)
		snapshot_maybe(l);
}

static void
run_prepare(void *arg)
{
	struct ledger *l = arg;

	while (l->store_ops->prepare(l->store) == 1)
		continue;
}

/* ---- calls of the manager's side ---- */

static void
on_peer(struct role_env *env, uint32_t peer, int fd)
{
	struct ledger *l = env->state;

	if (peer == PEER_LEDGER || peer > last_peer(l))
		return;
	if (peer != PEER_INDEXER && link_news(&l->link[peer], fd))
		drain_last(l, peer - PEER_WORKER(0));
	if (link_attach(&l->link[peer], fd) != ALM_OK)
		log_error("could not attach to %s %u: %s", peer == PEER_INDEXER ? "indexer" : "worker",
		    peer == PEER_INDEXER ? 0 : peer - PEER_WORKER(0), err_text());
	ledger_turn(l);
}

static void
on_reload(struct role_env *env, const struct config *conf)
{
	struct ledger *l = env->state;
	struct seq_limits limits;

	l->core = config_core(conf);
	limits = (struct seq_limits){l->core->max_message, l->core->topic_queues};
	sequencer_limit(l->seq, &limits);
	l->space_due = 1;
	ledger_turn(l);
}

/* What was taken from the rings is finished; what still lies there is safe to send again. */
static void
on_stop(struct role_env *env)
{
	struct ledger *l = env->state;

	if (l->failed || l->stopping)
		return;
	l->stopping = 1;
	write_finish(l);
	if (l->failed)
		return;
	commit_deliver(l);
	snapshot_final(l);
	atomic_store_explicit(&l->page->ready, 0, memory_order_release);
	role_exit(env, EXIT_ASKED);
}

/* ---- start and end ---- */

static int
load_providers(struct ledger *l)
{
	const struct config *conf = l->env->conf;
	struct provider *store, *cns;
	int status = module_load(conf, ALM_KIND_STORAGE, l->core->storage, &store);

	if (status == ALM_OK)
		status = module_load(conf, ALM_KIND_CONSENSUS, l->core->consensus, &cns);
	if (status != ALM_OK)
		return status;
	l->store_ops = provider_ops(store);
	l->cns_ops = provider_ops(cns);
	l->store_host = provider_host(store, conf, ALM_ROLE_LEDGER, l->env->arena_fd);
	return l->store_host != NULL ? ALM_OK : err_set(ALM_ENOMEM, "no memory for a host table");
}

static int
take_directory(struct ledger *l)
{
	int fd = datadir_lock(l->core->data_dir);

	if (fd < 0)
		return fd;
	l->lock_fd = fd;
	snprintf(l->log_dir, sizeof l->log_dir, "%s/log", l->core->data_dir);
	if (mkdir(l->log_dir, 0700) != 0 && errno != EEXIST)
		return err_set(ALM_EIO, "could not make %s: %s", l->log_dir, strerror(errno));
	return ALM_OK;
}

/* Room for the largest message beside its record and attributes. */
static uint64_t
batch_capacity(const struct core_settings *c)
{
	const uint64_t want = c->max_batch + (64u << 10);

	return want < ALM_BATCH_MAX ? want & ~7ull : ALM_BATCH_MAX;
}

static int
make_pools(struct ledger *l)
{
	l->results = results_new(l->env->workers);
	if (l->results == NULL)
		return err_set(ALM_ENOMEM, "no memory for the results of %u workers", l->env->workers);
	for (uint32_t i = 0; i < BATCHES; i++) {
		int status = batch_init(&l->batch[i], batch_capacity(l->core));

		if (status != ALM_OK)
			return status;
		batch_recycle(l, &l->batch[i]);
	}
	return ALM_OK;
}

static int
attach_peers(struct ledger *l)
{
	l->bell = (struct bell){l->head, l->env->bell[l->env->peer]};
	for (uint32_t p = PEER_INDEXER; p <= last_peer(l); p++) {
		link_init(&l->link[p], &l->env->self, p, l->env->bell[p]);
		if (l->env->region_fd[p] >= 0 && link_attach(&l->link[p], l->env->region_fd[p]) != ALM_OK)
			return ALM_EIO;
	}
	return ALM_OK;
}

static int
make_events(struct ledger *l)
{
	struct event_base *base = l->env->base;
	const struct timeval second = {1, 0};

	l->bell_event = event_new(base, l->bell.fd, EV_READ | EV_PERSIST, on_bell, l);
	l->writer_event = event_new(base, l->writer.event_fd, EV_READ | EV_PERSIST, on_writer, l);
	l->second = event_new(base, -1, EV_PERSIST, on_second, l);
	l->retry = evtimer_new(base, on_bell, l);
	l->cns_timer = evtimer_new(base, on_cns_timer, l);
	if (l->bell_event == NULL || l->writer_event == NULL || l->second == NULL ||
	    l->retry == NULL || l->cns_timer == NULL || event_add(l->bell_event, NULL) != 0 ||
	    event_add(l->writer_event, NULL) != 0 || event_add(l->second, &second) != 0)
		return err_set(ALM_ENOMEM, "no memory for events");
	return ALM_OK;
}

/* Everything up to the first entry of this term. */
static int
begin(struct ledger *l)
{
	int status = recover_sequencer(l);

	if (status == ALM_OK)
		status = writer_init(&l->writer, l->store_ops, l->store);
	if (status == ALM_OK)
		status = helper_init(&l->prepare, "ledger prepare", run_prepare, l);
	if (status == ALM_OK)
		status = snapshot_init(l);
	if (status == ALM_OK)
		status = make_events(l);
	if (status != ALM_OK)
		return status;
	space_refresh(l);
	status = recover_consensus(l);
	if (status != ALM_OK || l->failed)
		return status != ALM_OK ? status : ALM_EIO;
	helper_kick(&l->prepare);
	atomic_store_explicit(&l->head->heartbeat, clock_mono(), memory_order_relaxed);
	event_active(l->bell_event, 0, 0);
	return ALM_OK;
}

int
ledger_start(struct role_env *env, int *exit_code)
{
	struct ledger *l = calloc(1, sizeof *l);
	int status;

	*exit_code = EXIT_TRANSIENT;
	if (l == NULL)
		return err_set(ALM_ENOMEM, "no memory for the ledger");
	env->state = l;
	l->env = env;
	l->core = config_core(env->conf);
	l->head = env->self.head;
	l->page = &l->head->page.control;
	l->lock_fd = -1;
	l->node = l->core->node_id != 0 ? l->core->node_id : 1;
	atomic_store_explicit(&l->head->pid, (uint64_t)getpid(), memory_order_relaxed);
	status = load_providers(l);
	if (status != ALM_OK) {
		*exit_code = EXIT_BADCONFIG;
		return status;
	}
	status = take_directory(l);
	if (status == ALM_OK)
		status = make_pools(l);
	if (status == ALM_OK)
		status = attach_peers(l);
	if (status == ALM_OK)
		status = recover_open(l, exit_code);
	if (status == ALM_OK) {
		*exit_code = EXIT_DATA;
		status = begin(l);
	}
	if (status == ALM_ENOMEM || status == ALM_EBUSY)
		*exit_code = EXIT_TRANSIENT;
	if (status != ALM_OK)
		return status;
	env->on_peer = on_peer;
	env->on_reload = on_reload;
	env->on_stop = on_stop;
	return ALM_OK;
}

static void
free_event(struct event *ev)
{
	if (ev != NULL)
		event_free(ev);
}

/* Reverse order of the start; also after a start that failed half-way. */
void
ledger_end(struct role_env *env)
{
	struct ledger *l = env->state;

	if (l == NULL)
		return;
	free_event(l->cns_timer);
	free_event(l->retry);
	free_event(l->second);
	free_event(l->writer_event);
	free_event(l->bell_event);
	snapshot_fini(l);
	helper_fini(&l->prepare);
	writer_fini(&l->writer);
	if (l->reader != NULL)
		l->store_ops->reader_close(l->reader);
	if (l->store != NULL)
		l->store_ops->close(l->store);
	sequencer_free(l->seq);
	results_free(l->results);
	for (uint32_t i = 0; i < BATCHES; i++)
		batch_free(&l->batch[i]);
	for (uint32_t p = PEER_INDEXER; p <= last_peer(l); p++)
		if (l->link[p].self != NULL)
			link_detach(&l->link[p]);
	free(l->cns);
	if (l->lock_fd >= 0)
		close(l->lock_fd);
	free(l);
	env->state = NULL;
}
