/* worker/worker.c - the worker role: start, the turn of its loop, its peers, stop.
 *
 * Everything of a worker happens on its one thread in turns.  A wake-up (socket, bell, timer) only
 * collects: providers' calls commit into the rings.  At the end of the pass the turn publishes
 * the rings with one bell each, takes in results and answers, follows the log, runs what became
 * ready, sends what was written, frees what is dead, and lets the pin rise.  Then it announces
 * sleep and looks once more. */
#include "worker/worker.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define ROUNDS_MAX 4            /* of one turn, before sockets get their chance */
#define STARTING_US 5000u       /* how often a starting worker looks for a ready ledger */
#define STOP_US 2000000u        /* what is under way has this long to finish */
#define AHEAD_IDLE_US 10000000u /* read-ahead of a queue not fetched for so long is freed */
#define TRIM_EVERY 8u           /* heartbeats between trims of the reader */

/* ---- a page of the log that cannot be read ---------------------------------------------------- */

static _Thread_local struct region_head *own_head;

/* The disk failed under a mapped page.  Only what is safe in a signal handler. */
static void
on_sigbus(int sig)
{
	static const char words[] = "a page of the log could not be read (SIGBUS): disk error?";
	static const char line[] = "worker: a page of the log could not be read (SIGBUS)\n";

	(void)sig;
	if (own_head)
		memcpy(own_head->obituary, words, sizeof words);
	if (write(STDERR_FILENO, line, sizeof line - 1) < 0)
		_exit(EXIT_TRANSIENT);
	_exit(EXIT_TRANSIENT);
}

static void
catch_sigbus(struct worker *w)
{
	struct sigaction sa = {.sa_handler = on_sigbus};

	own_head = w->self;
	sigemptyset(&sa.sa_mask);
	sigaction(SIGBUS, &sa, NULL);
}

/* ---- the turn ------------------------------------------------------------------------------------ */

void
worker_wake(struct worker *w)
{
	if (w->asleep) {
		w->asleep = 0;
		bell_disarm(&w->bell);
		w->now = clock_mono();
	}
	if (w->awaited)
		return;
	w->awaited = 1;
	event_active(&w->turn_ev, EV_TIMEOUT, 0);
}

static void
drain_ledger(struct worker *w)
{
	uint32_t type, len;
	const void *p;

	while ((p = link_peek(&w->ledger, &type, &len))) {
		if (type == MSG_RESULT)
			append_result(w, p, len);
		else if (type == MSG_NOTIFY)
			note_arrived(w, p, len);
		link_consume(&w->ledger);
	}
	link_release(&w->ledger);
}

static void
drain_indexer(struct worker *w)
{
	uint32_t type, len;
	const void *p;

	while ((p = link_peek(&w->indexer, &type, &len))) {
		if (type == MSG_ANSWER)
			query_answer(w, p, len);
		link_consume(&w->indexer);
	}
	link_release(&w->indexer);
}

static void
flush_links(struct worker *w)
{
	link_flush(&w->ledger);
	link_flush(&w->indexer);
}

static void serve(struct worker *w);

static void
one_round(struct worker *w)
{
	flush_links(w);
	drain_ledger(w);
	drain_indexer(w);
	if (!w->serving)
		serve(w);
	if (w->serving) {
		if (fold_run(w) || !list_empty(&w->fold_wait))
			append_folded(w);
		if (!list_empty(&w->tracked_all) && (w->waiting || !list_empty(&w->ready)))
			tail_scan(w);
	}
	conns_starved(w);
	conns_resume(w);
	notes_run(w);
	requests_run(w);
	query_run(w);
	flush_links(w);
	conns_flush(w);
	conns_reap(w);
	pins_publish(w);
}

static int
work_left(struct worker *w)
{
	return !list_empty(&w->ready) || !list_empty(&w->dirty) || !list_empty(&w->resumed) ||
	    !list_empty(&w->dead) || w->notes || link_readable(&w->ledger) ||
	    link_readable(&w->indexer) || (w->waiting && w->scan < log_visible(w)) ||
	    (!list_empty(&w->fold_wait) && !w->fold_stuck && w->folded < log_visible(w));
}

/* [server] spin: results come soon, and waking up costs more than looking. */
static int
spin(struct worker *w)
{
	uint64_t until;

	if (!w->core->spin_us || w->env->fused || !w->appends_n)
		return 0;
	until = clock_mono() + w->core->spin_us;
	while (clock_mono() < until)
		if (link_readable(&w->ledger))
			return 1;
	return 0;
}

/* Another turn after the sockets have had their chance: an event made active now would run before
 * the loop looks at them. */
static void
turn_again(struct worker *w)
{
	struct timeval now = {0, 0};

	w->awaited = event_add(&w->turn_ev, &now) == 0;
}

static void
go_to_sleep(struct worker *w)
{
	uint64_t want = (uint64_t)tail_waiting(w);

	if (atomic_load_explicit(&w->self->want_tail, memory_order_relaxed) != want)
		atomic_store(&w->self->want_tail, want);
	w->asleep = 1;
	bell_arm(&w->bell);
	if (!work_left(w))
		return;
	w->asleep = 0;
	bell_disarm(&w->bell);
	turn_again(w);
}

static void
check_stopped(struct worker *w)
{
	if (!w->stopping || w->left)
		return;
	conns_close_idle(w);
	if (w->n_conns && w->now < w->stop_by)
		return;
	w->left = 1;
	role_exit(w->env, EXIT_ASKED);
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	int round = 0;

	(void)fd;
	(void)what;
	w->awaited = 1; /* a wake during the turn means another round, not another event */
	count(w, COUNT_TURNS, 1);
	do {
		w->now = clock_mono();
		one_round(w);
	} while (++round < ROUNDS_MAX && (work_left(w) || spin(w)));
	check_stopped(w);
	timers_arm(w);
	w->awaited = 0;
	if (work_left(w))
		turn_again(w);
	else
		go_to_sleep(w);
}

static void
on_bell(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	worker_wake(arg);
}

/* Once a second. */
static void
on_beat(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct node *n;

	(void)fd;
	(void)what;
	worker_wake(w);
	w->now = clock_mono();
	atomic_store_explicit(&w->self->heartbeat, w->now, memory_order_relaxed);
	if (!w->serving)
		return;
	tail_sweep(w);
	for (n = w->conns.next; n != &w->conns; n = n->next) {
		struct alm_conn *c = container_of(n, struct alm_conn, all);

		if (c->ahead && w->now > AHEAD_IDLE_US)
			readahead_sweep(c, w->now - AHEAD_IDLE_US);
	}
	if (++w->beats % TRIM_EVERY == 0) /* pinned mappings stay: release is the ledger's business */
		w->store->reader_trim(w->reader, w->pins.n && w->pins.heap[1]->position < log_first(w)
		    ? w->pins.heap[1]->position : log_first(w));
	if (!w->stopping)
		conns_listen(w, 1);
}

/* ---- beginning to serve ---------------------------------------------------------------------------- */

static int
open_log(struct worker *w)
{
	char dir[sizeof w->core->data_dir + 8];
	int st;

	snprintf(dir, sizeof dir, "%s/log", w->core->data_dir);
	st = w->store->reader_open(w->store_host, dir, &w->reader);
	if (st)
		return st;
	st = fold_load(w);
	if (st)
		return st;
	fold_run(w);
	return w->folded >= log_visible(w) ? ALM_OK : ALM_EIO;
}

static void
say_ready(struct worker *w)
{
	char status[512];
	int used = snprintf(status, sizeof status, "serving %" PRIu64 " topics on",
	    catalogue_topic_count(w->catalogue));
	uint32_t i;

	for (i = 0; i < w->n_acceptors && used > 0 && (size_t)used < sizeof status; i++)
		if (w->acceptor[i].fd >= 0)
			used += snprintf(status + used, sizeof status - (size_t)used, "%s %s",
			    i ? "," : "", w->acceptor[i].conf->bind);
	role_ready(w->env, status);
}

/* Once the ledger has recovered: open the log, fold the catalogue, accept. */
static void
serve(struct worker *w)
{
	struct timeval soon = {0, STARTING_US};
	int st;

	if (w->stopping || w->left)
		return;
	if (!w->ledger.peer || !atomic_load(&w->ledger.peer->page.control.ready)) {
		event_add(&w->start_ev, &soon);
		return;
	}
	err_clear();
	st = open_log(w);
	if (st) {
		log_error("could not open the log for reading: %s",
		    *err_text() ? err_text() : status_text(st));
		w->left = 1;
		role_exit(w->env, st == ALM_ECORRUPT ? EXIT_DATA : EXIT_TRANSIENT);
		return;
	}
	w->scan = log_visible(w);
	w->serving = 1;
	conns_listen(w, 1);
	say_ready(w);
}

/* ---- peers -------------------------------------------------------------------------------------------- */

static void
ledger_new(struct worker *w, int fd)
{
	drain_ledger(w); /* what the last one said still counts */
	append_ledger_gone(w);
	if (w->ledger.peer)
		count(w, COUNT_LEDGER_RESTARTS, 1);
	if (fd < 0 ? (link_detach(&w->ledger), 0) : link_attach(&w->ledger, fd))
		log_error("could not attach to the ledger: %s", err_text());
}

static void
indexer_new(struct worker *w, int fd)
{
	drain_indexer(w);
	if (fd < 0 ? (link_detach(&w->indexer), 0) : link_attach(&w->indexer, fd))
		log_error("could not attach to the indexer: %s", err_text());
	query_indexer_new(w);
}

static void
worker_new(struct worker *w, uint32_t peer, int fd)
{
	region_unmap(&w->peer[peer]);
	w->peer[peer] = (struct region){0};
	if (fd >= 0 && region_map(fd, 0, &w->peer[peer]))
		log_warn("could not map the region of peer %u: %s", peer, err_text());
}

static void
on_peer(struct role_env *env, uint32_t peer, int fd)
{
	struct worker *w = env->state;

	worker_wake(w);
	if (peer == PEER_LEDGER)
		ledger_new(w, fd);
	else if (peer == PEER_INDEXER)
		indexer_new(w, fd);
	else if (peer < PEERS_MAX && peer != env->peer)
		worker_new(w, peer, fd);
}

static void
on_reload(struct role_env *env, const struct config *conf)
{
	struct worker *w = env->state;

	env->conf = conf;
	w->core = config_core(conf);
	worker_wake(w);
}

static void
on_stop(struct role_env *env)
{
	struct worker *w = env->state;

	if (w->stopping)
		return;
	worker_wake(w);
	w->stopping = 1;
	w->stop_by = w->now + STOP_US;
	conns_listen(w, 0);
	conns_shutdown(w);
	timer_set(w, &w->stop_timer, w->stop_by);
}

static void
on_stop_timer(struct worker *w, struct timer *t)
{
	(void)t;
	worker_wake(w);
}

/* ---- start and end --------------------------------------------------------------------------------------- */

static void
fill_broker(struct alm_broker *b)
{
	*b = (struct alm_broker){.size = sizeof *b, .write = conn_write,
	    .write_pinned = conn_write_pinned, .pending = conn_pending, .close = conn_close,
	    .pause = conn_pause, .deadline = conn_deadline, .append = append_request,
	    .fetch = fetch_request, .fetch_cancel = fetch_cancel, .bounds = lookup_bounds,
	    .offset_at = lookup_time, .lookup_position = lookup_position,
	    .lookup_key = lookup_key, .state_get = lookup_state_get,
	    .state_scan = lookup_state_scan, .admin = admin_request};
	services_table(b);
}

static int
load_protocol(struct worker *w, const char *name)
{
	const struct config *conf = w->env->conf;
	struct protocol *p;
	struct provider *provider;
	uint32_t i;
	int st;

	for (i = 0; i < w->n_protocols; i++)
		if (!strcmp(w->protocol[i].name, name))
			return ALM_OK;
	st = module_load(conf, ALM_KIND_PROTOCOL, name, &provider);
	if (st)
		return st;
	p = &w->protocol[w->n_protocols];
	snprintf(p->name, sizeof p->name, "%s", name);
	p->ops = provider_ops(provider);
	st = p->ops->init(provider_host(provider, conf, ALM_ROLE_WORKER, w->env->arena_fd),
	    &w->broker, &p->proto);
	if (st)
		return err_set(st, "protocol %s: %s", name,
		    *err_text() ? err_text() : status_text(st));
	w->n_protocols++;
	return ALM_OK;
}

static int
load_providers(struct worker *w)
{
	struct provider *store;
	uint32_t i;
	int st = module_load(w->env->conf, ALM_KIND_STORAGE, w->core->storage, &store);

	if (st)
		return st;
	w->store = provider_ops(store);
	w->store_host = provider_host(store, w->env->conf, ALM_ROLE_WORKER, w->env->arena_fd);
	for (i = 0; i < w->core->n_listeners && !st; i++)
		st = load_protocol(w, w->core->listener[i].protocol);
	return st ? st : hooks_load(w);
}

static int
attach_peers(struct worker *w)
{
	struct role_env *env = w->env;
	uint32_t peer;
	int st = ALM_OK;

	link_init(&w->ledger, &env->self, PEER_LEDGER, env->bell[PEER_LEDGER]);
	link_init(&w->indexer, &env->self, PEER_INDEXER, env->bell[PEER_INDEXER]);
	if (env->region_fd[PEER_LEDGER] >= 0)
		st = link_attach(&w->ledger, env->region_fd[PEER_LEDGER]);
	if (!st && env->region_fd[PEER_INDEXER] >= 0)
		st = link_attach(&w->indexer, env->region_fd[PEER_INDEXER]);
	for (peer = PEER_WORKER(1); peer < PEERS_MAX; peer++)
		if (peer != env->peer && env->region_fd[peer] >= 0)
			worker_new(w, peer, env->region_fd[peer]);
	return st;
}

static void
on_start_poll(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	worker_wake(arg);
}

static int
set_events(struct worker *w)
{
	struct event_base *base = w->env->base;
	struct timeval second = {1, 0};

	w->bell = (struct bell){.head = w->self, .fd = w->env->bell[w->env->peer]};
	if (event_assign(&w->turn_ev, base, -1, EV_TIMEOUT, on_turn, w) ||
	    event_assign(&w->start_ev, base, -1, 0, on_start_poll, w) ||
	    event_assign(&w->beat_ev, base, -1, EV_PERSIST, on_beat, w) ||
	    event_assign(&w->bell_ev, base, w->bell.fd, EV_READ | EV_PERSIST, on_bell, w) ||
	    event_add(&w->beat_ev, &second) || event_add(&w->bell_ev, NULL))
		return err_set(ALM_ENOMEM, "could not set up the events of a worker");
	return timers_init(w);
}

static void
init_lists(struct worker *w)
{
	list_init(&w->ready);
	list_init(&w->appends);
	list_init(&w->queries);
	list_init(&w->unsent);
	list_init(&w->fold_wait);
	list_init(&w->tracked_all);
	list_init(&w->conns);
	slab_init(&w->requests, sizeof(struct request));
	w->stop_timer.fire = on_stop_timer;
}

int
worker_start(struct role_env *env, int *exit_code)
{
	struct worker *w = calloc(1, sizeof *w);
	int st;

	*exit_code = EXIT_TRANSIENT;
	if (!w)
		return err_set(ALM_ENOMEM, "out of memory for a worker");
	w->env = env;
	env->state = w;
	w->core = config_core(env->conf);
	w->self = env->self.head;
	w->now = clock_mono();
	init_lists(w);
	fill_broker(&w->broker);
	catch_sigbus(w);
	w->turns = hmap_new();
	st = w->turns ? set_events(w) : err_set(ALM_ENOMEM, "out of memory for a worker");
	if (!st)
		st = pins_init(w);
	if (!st)
		st = tail_init(w);
	if (!st) {
		*exit_code = EXIT_BADCONFIG;
		st = load_providers(w);
	}
	if (!st) {
		*exit_code = EXIT_TRANSIENT;
		st = attach_peers(w);
	}
	if (!st)
		st = conns_init(w);
	if (st)
		return st;
	env->on_peer = on_peer;
	env->on_reload = on_reload;
	env->on_stop = on_stop;
	atomic_store(&w->self->heartbeat, w->now);
	worker_wake(w);
	return ALM_OK;
}

static void
end_events(struct worker *w)
{
	struct event *ev[] = {&w->turn_ev, &w->start_ev, &w->beat_ev, &w->bell_ev};
	uint32_t i;

	for (i = 0; i < sizeof ev / sizeof ev[0]; i++)
		if (event_initialized(ev[i]))
			event_del(ev[i]);
}

void
worker_end(struct role_env *env)
{
	struct worker *w = env->state;
	uint32_t peer;

	if (!w)
		return;
	conns_end(w);
	while (w->n_protocols) {
		w->n_protocols--;
		w->protocol[w->n_protocols].ops->fini(w->protocol[w->n_protocols].proto);
	}
	hooks_end(w);
	notes_end(w);
	tail_end(w);
	if (w->catalogue)
		catalogue_free(w->catalogue);
	if (w->reader)
		w->store->reader_close(w->reader);
	atomic_store(&w->self->pin, UINT64_MAX);
	pins_end(w);
	timers_end(w);
	end_events(w);
	slab_end(&w->requests);
	if (w->turns)
		hmap_free(w->turns);
	for (peer = 0; peer < PEERS_MAX; peer++)
		region_unmap(&w->peer[peer]);
	region_unmap(&w->ledger.map);
	region_unmap(&w->indexer.map);
	own_head = NULL;
	free(w);
	env->state = NULL;
}
