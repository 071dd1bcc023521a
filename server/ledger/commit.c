/* ledger/commit.c - what is durable, committed and visible, and whom to tell.  Loop thread.
 *
 * Order matters to readers in other processes: what describes the visible log (first, catalogue,
 * log_time, commit_index) is stored before durable, committed and visible, these with release;
 * results leave only after that. */
#include "ledger/ledger.h"

#include "ipc/fence.h"

static uint64_t
end_of(const struct batch *b)
{
	return b->position + batch_header(b)->length;
}

/* Wake those who follow the log.  Nobody who is awake is rung. */
static void
wake_readers(struct ledger *l, uint32_t catalogue)
{
	/* A worker sets want_tail, then looks at visible; so visible is stored before this looks at
	 * want_tail, or both could miss each other. */
	full_fence();
	for (uint32_t p = PEER_INDEXER; p <= last_peer(l); p++) {
		struct link *k = &l->link[p];

		if (k->peer != NULL && (p == PEER_INDEXER || catalogue ||
		    atomic_load_explicit(&k->peer->want_tail, memory_order_relaxed)))
			bell_ring(k->peer, k->peer_bell, &k->rang);
	}
}

static void
store_page(struct ledger *l)
{
	struct control_page *p = l->page;

	atomic_store_explicit(&p->first, l->first, memory_order_relaxed);
	atomic_store_explicit(&p->catalogue, l->catalogue_end, memory_order_relaxed);
	atomic_store_explicit(&p->log_time, l->visible_time, memory_order_relaxed);
	atomic_store_explicit(&p->commit_index, l->commit_index, memory_order_relaxed);
	atomic_store_explicit(&p->durable, l->durable, memory_order_release);
	atomic_store_explicit(&p->committed, l->committed, memory_order_release);
	atomic_store_explicit(&p->visible, l->visible, memory_order_release);
}

/* The oldest closed batch is durable and committed. */
static uint32_t
make_visible(struct ledger *l)
{
	struct batch *b = l->fifo[0];
	const uint32_t flags = b->flags;

	l->visible = end_of(b);
	l->visible_time = b->log_time;
	if (flags & ALM_BATCH_CATALOGUE)
		l->catalogue_end = l->visible;
	results_ready(l->results, &b->relaxed, b->index, l->visible);
	results_ready(l->results, &b->strict, b->index, l->visible);
	hist_add(&l->head->hist[LH_COMMIT], clock_mono() - b->opened_at);
	if (b->has_retain)
		retain_committed(l, &b->retain);
	for (uint32_t i = 1; i < l->n_fifo; i++)
		l->fifo[i - 1] = l->fifo[i];
	l->n_fifo--;
	l->n_durable--;
	batch_recycle(l, b);
	return flags;
}

void
commit_publish(struct ledger *l)
{
	uint32_t flags = 0;
	const uint64_t before = l->visible;

	for (uint32_t i = 0; i < l->n_fifo && l->fifo[i]->index <= l->commit_index; i++)
		l->committed = end_of(l->fifo[i]);
	while (l->n_durable > 0 && l->fifo[0]->index <= l->commit_index)
		flags |= make_visible(l);
	store_page(l);
	commit_deliver(l);
	if (l->visible != before)
		wake_readers(l, flags & ALM_BATCH_CATALOGUE);
	snapshot_visible(l);
}

void
commit_deliver(struct ledger *l)
{
	uint32_t waiting = 0;

	for (uint32_t worker = 1; worker <= l->env->workers; worker++) {
		struct link *k = &l->link[PEER_WORKER(worker)];

		if (results_waiting(l->results, worker) == 0)
			continue;
		if (k->peer != NULL && results_send(l->results, worker, k) > 0)
			link_flush(k);
		waiting += k->peer != NULL && results_waiting(l->results, worker) > 0;
	}
	if (waiting > 0)
		ledger_arm(l->retry, 1000);
}

void
commit_relaxed(struct ledger *l)
{
	for (uint32_t i = l->n_durable; i < l->n_durable + l->n_writing; i++)
		results_ready(l->results, &l->fifo[i]->relaxed, l->fifo[i]->index, end_of(l->fifo[i]));
	commit_deliver(l);
}

void
commit_durable(struct ledger *l)
{
	const struct alm_durable *d = &l->writer.job.durable;
	const struct batch *last = l->fifo[l->n_durable + l->n_writing - 1];
	struct alm_cns_event e = {.kind = ALM_EV_LOG_DURABLE, .a = d->epoch, .b = d->index,
	    .c = d->term};

	if (d->index != last->index || d->position != end_of(last)) {
		log_error("the store in %s says index %llu is durable after a sync of index %llu",
		    l->log_dir, (unsigned long long)d->index, (unsigned long long)last->index);
		ledger_fail(l, EXIT_DATA);
		return;
	}
	l->n_durable += l->n_writing;
	l->n_writing = 0;
	l->durable = d->position;
	l->durable_index = d->index;
	l->durable_crc = batch_header(last)->header_crc;
	cns_feed(l, &e, 1);
}

void
commit_to(struct ledger *l, uint64_t index)
{
	INVARIANT(index >= l->commit_index);
	l->commit_index = index;
	commit_publish(l);
}
