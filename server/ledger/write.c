/* ledger/write.c - closed batches into the store.  Ledger's loop thread.
 *
 * The rule: with the writer idle, everything closed becomes one job.  If its bytes are few
 * (INLINE_MAX) and the rings are empty the loop appends and syncs itself, which saves two wake-ups;
 * otherwise the thread does, and the loop gathers the next batch meanwhile.  With the writer busy the
 * open batch just grows, and is closed only when it is full.  So batches grow with the load. */
#include "ledger/ledger.h"

#define INLINE_MAX (48u << 10)

static void
write_failed(struct ledger *l)
{
	const struct write_job *j = &l->writer.job;

	if (j->status == ALM_EFULL && !j->in_sync) {
		space_exhausted(l);
		return;
	}
	log_error("could not %s the log in %s: %s; nothing more is acknowledged, not retried",
	    j->in_sync ? "sync" : "append to", l->log_dir, j->detail[0] ? j->detail :
	    status_text(j->status));
	ledger_fail(l, EXIT_DATA);
}

/* The job ended well: count, and tell what is durable now. */
static void
write_done(struct ledger *l, uint32_t on_loop)
{
	const struct write_job *j = &l->writer.job;

	count(l, LC_APPENDS, 1);
	count(l, LC_SYNCS, 1);
	count(l, LC_SYNCS_INLINE, on_loop);
	hist_add(&l->head->hist[LH_APPEND], j->append_us);
	hist_add(&l->head->hist[LH_SYNC], j->sync_us);
	commit_durable(l);
}

int
write_reap(struct ledger *l)
{
	int moved = 0;

	if (!writer_busy(&l->writer))
		return 0;
	if (writer_appended(&l->writer)) {
		commit_relaxed(l);
		moved = 1;
	}
	if (writer_done(&l->writer)) {
		if (l->writer.job.status != ALM_OK)
			write_failed(l);
		else
			write_done(l, 0);
		moved = 1;
	}
	return moved;
}

/* What only the main thread may do while nothing is being appended. */
static void
between_writes(struct ledger *l)
{
	if (l->release_due)
		retain_release(l);
	if (l->space_due)
		space_refresh(l);
	if (l->rebuild && !l->held && l->n_fifo == l->n_durable) {
		if (recover_sequencer(l) != ALM_OK) {
			log_error("could not rebuild the sequencer: %s", err_text());
			ledger_fail(l, EXIT_DATA);
			return;
		}
		l->rebuild = 0;
		snapshot_drop(l);
		count(l, LC_REBUILDS, 1);
	}
}

/* Put all closed batches into the job; returns their bytes. */
static uint64_t
fill_job(struct ledger *l, struct write_job *j)
{
	uint64_t bytes = 0;

	for (uint32_t i = l->n_durable; i < l->n_fifo && j->n < WRITER_SLICES; i++) {
		const struct batch *b = l->fifo[i];

		j->slice[j->n++] = (struct alm_slice){b->data, batch_header(b)->length};
		j->tell_appended |= b->relaxed.n > 0;
		bytes += batch_header(b)->length;
	}
	l->n_writing = j->n;
	return bytes;
}

static void
write_here(struct ledger *l)
{
	if (writer_append(&l->writer) != ALM_OK) {
		write_failed(l);
		return;
	}
	if (l->writer.job.tell_appended)
		commit_relaxed(l);
	if (writer_sync(&l->writer) != ALM_OK)
		write_failed(l);
	else
		write_done(l, 1);
}

/* The writer is busy: close a full batch so that gathering can go on in the next buffer. */
static int
close_full(struct ledger *l)
{
	if (!l->gather_full)
		return 0;
	if (l->gather == NULL) { /* no buffer was free */
		l->gather_full = l->n_free == 0;
		return !l->gather_full;
	}
	if (l->n_free == 0 || l->gather->n_records == 0)
		return 0;
	gather_close(l);
	return 1;
}

int
write_out(struct ledger *l)
{
	struct write_job *j;
	uint64_t bytes;

	if (l->failed || l->held)
		return 0;
	if (writer_busy(&l->writer))
		return close_full(l);
	between_writes(l);
	if (l->failed)
		return 0;
	if (l->gather != NULL && l->gather->n_records > 0) {
		gather_close(l);
		snapshot_maybe(l);
	}
	l->gather_full = 0;
	if (l->failed || l->n_fifo == l->n_durable)
		return 0;
	j = writer_job(&l->writer);
	bytes = fill_job(l, j);
	space_spend(l, bytes);
	if (bytes <= INLINE_MAX && (l->env->fused || !drain_more(l)))
		write_here(l);
	else
		writer_submit(&l->writer);
	return 1;
}

/* Once a second: try again to write the empty entries that stand for what found no space. */
void
write_held(struct ledger *l)
{
	INVARIANT(!writer_busy(&l->writer));
	fill_job(l, writer_job(&l->writer));
	l->held = 0;
	l->space_due = 1;
	write_here(l);
}

void
write_finish(struct ledger *l)
{
	for (;;) {
		writer_wait(&l->writer);
		write_reap(l);
		if (l->failed || l->held || (l->n_fifo == l->n_durable &&
		    (l->gather == NULL || l->gather->n_records == 0)))
			return;
		write_out(l);
	}
}
