/* indexer/follow.c - the committed log, from what is applied up to `visible`.  Indexer process,
 * its only thread.
 *
 * The ledger may come and go; each incarnation is checked once before anything of it is applied:
 * its log must still hold what the consumers were built from.  It does not only when an operator
 * accepted a loss; then all begin anew. */
#include "indexer/indexer.h"

#include <inttypes.h>
#include <stdio.h>

uint64_t
indexer_first(const struct indexer *ix)
{
	return ix->ctl ? atomic_load_explicit(&ix->ctl->first, memory_order_acquire) : 0;
}

static uint64_t
visible_now(const struct indexer *ix)
{
	return atomic_load_explicit(&ix->ctl->visible, memory_order_acquire);
}

static void
set_pin(struct indexer *ix, uint64_t position)
{
	atomic_store_explicit(&ix->env->self.head->pin, position, memory_order_seq_cst);
}

static void
publish_applied(struct indexer *ix)
{
	struct index_page *page = &ix->env->self.head->page.index;

	atomic_store_explicit(&page->applied, consumers_applied(ix), memory_order_release);
}

void
follow_end(struct indexer *ix)
{
	if (ix->reader)
		ix->storage->reader_close(ix->reader);
	ix->reader = NULL;
	if (ix->ctl)
		region_unmap(&ix->ledger);
	ix->ctl = NULL;
	ix->checked = 0;
	set_pin(ix, UINT64_MAX);
}

void
follow_ledger(struct indexer *ix, int fd)
{
	follow_end(ix);
	if (region_map(fd, 0, &ix->ledger) != ALM_OK) {
		log_error("could not map the ledger's region: %s", err_text());
		return;
	}
	ix->ctl = &ix->ledger.head->page.control;
	/* There is no ring between us, but the ledger must see whose pin it reads: without that it
	 * takes every position for held and never recycles a segment. */
	atomic_store_explicit(&ix->env->self.head->ring[PEER_LEDGER].peer_generation,
	    ix->ledger.head->generation, memory_order_release);
}

/* Say once a second what keeps the log from being followed. */
static void
complain(struct indexer *ix, int status, uint64_t position)
{
	uint64_t now = clock_mono();

	if (now - ix->complained_at < RETRY_US)
		return;
	ix->complained_at = now;
	log_error("the log at position %" PRIu64 " cannot be read: %s%s%s", position,
	    status_text(status), err_text()[0] ? ": " : "", err_text());
}

/* 1: the batch that ends where the store stands is the one that it applied last. 0: it is not. */
static int
same_log(struct indexer *ix, uint64_t visible)
{
	uint64_t at = store_applied(ix->store);
	struct alm_view view;
	int status;

	if (at <= indexer_first(ix) || store_last_crc(ix->store) == 0)
		return 1;
	set_pin(ix, indexer_first(ix));
	status = ix->storage->reader_seek(ix->reader, at - 1, visible, &view);
	if (status)
		complain(ix, status, at - 1);
	else
		status = view.next == at && view.batch->header_crc == store_last_crc(ix->store);
	set_pin(ix, UINT64_MAX);
	return status;
}

/* Is this ledger's log the one that the consumers know? 1 yes, 0 not known yet, or failing. */
static int
check_log(struct indexer *ix)
{
	uint64_t durable = atomic_load_explicit(&ix->ctl->durable, memory_order_acquire);
	uint64_t visible = visible_now(ix), end = durable > visible ? durable : visible;
	uint64_t at = store_applied(ix->store);
	int status;

	if (!ix->reader) {
		err_clear();
		status = ix->storage->reader_open(ix->storage_host, ix->log_dir, &ix->reader);
		if (status) {
			ix->reader = NULL;
			complain(ix, status, at);
			return 0;
		}
	}
	if (visible < at && end >= at)
		return 0; /* it will commit what we have seen committed before */
	status = end < at ? 0 : same_log(ix, visible);
	if (status < 0)
		return 0;
	if (status == 0) {
		log_error("the log (end %" PRIu64 ") has lost what was applied (up to %" PRIu64
			  "): all indexes begin anew", end, at);
		if ((status = consumers_reset(ix)))
			return status;
	}
	if ((status = consumers_align(ix)))
		return status;
	ix->checked = 1;
	publish_applied(ix);
	atomic_store_explicit(&ix->env->self.head->page.index.synced, consumers_synced(ix),
	    memory_order_release);
	return 1;
}

int
follow_behind(const struct indexer *ix)
{
	if (!ix->ctl || ix->failed || !atomic_load_explicit(&ix->ctl->ready, memory_order_acquire))
		return 0;
	return !ix->checked || visible_now(ix) > consumers_applied(ix);
}

int
follow_moved(const struct indexer *ix)
{
	return ix->checked && visible_now(ix) != ix->seen;
}

/* Apply one batch; *pos moves on. ALM_OK, or why to stop for now. */
static int
step(struct indexer *ix, uint64_t *pos, uint64_t visible)
{
	struct alm_view view = {NULL, 0};
	int status;

	err_clear();
	status = ix->storage->reader_get(ix->reader, *pos, visible, &view);
	if (status == ALM_EAGAIN)
		return status;
	if (!status && (!alm_batch_plausible(view.batch, visible - *pos) ||
	    view.batch->position != *pos || batch_header_crc(view.batch) != view.batch->header_crc ||
	    batch_body_crc(view.batch) != view.batch->body_crc))
		status = ALM_ECORRUPT;
	if (status) {
		/* The ledger repairs or reports it; what is applied stays in service. */
		complain(ix, status, *pos);
		return ALM_EIO;
	}
	status = consumers_apply(ix, view.batch);
	if (status == ALM_OK) {
		ix->since_sync += view.next - *pos;
		indexer_count(ix, IC_BATCHES, 1);
		indexer_count(ix, IC_BYTES, view.next - *pos);
		*pos = view.next;
	}
	return status;
}

/* Commit when the open transactions have grown large. ALM_OK, or why to stop. */
static int
bound_work(struct indexer *ix)
{
	int full = ix->since_sync >= SYNC_BYTES || store_dirty(ix->store) >= SYNC_ROWS;

	if (!full)
		return ALM_OK;
	if (ix->retry_at && clock_mono() < ix->retry_at)
		return ALM_EFULL;
	return consumers_sync(ix);
}

static int
run_slice(struct indexer *ix, uint64_t visible, uint32_t *did)
{
	uint64_t until = clock_mono() + SLICE_US, pos = consumers_applied(ix), first;
	int status = ALM_OK;

	first = indexer_first(ix);
	if (pos < first)
		pos = first;
	set_pin(ix, pos);
	/* The pin counts only if the log still began at or before it when it was set. */
	if (indexer_first(ix) > pos)
		return ALM_EAGAIN;
	while (pos < visible && !status) {
		if ((status = bound_work(ix)) || (status = step(ix, &pos, visible)))
			break;
		(*did)++;
		if (clock_mono() >= until)
			break;
	}
	return status;
}

int
follow(struct indexer *ix, uint32_t *did)
{
	uint64_t visible, first;
	int status;

	*did = 0;
	if (!ix->ctl || ix->failed || !atomic_load_explicit(&ix->ctl->ready, memory_order_acquire))
		return 0;
	if (!ix->checked && check_log(ix) != 1)
		return 0;
	if (consumers_mend(ix))
		return 0;
	first = indexer_first(ix);
	if (first > ix->released) {
		consumers_release(ix, first);
		ix->storage->reader_trim(ix->reader, first);
	}
	visible = ix->seen = visible_now(ix);
	status = run_slice(ix, visible, did);
	set_pin(ix, UINT64_MAX);
	publish_applied(ix);
	if (consumers_applied(ix) >= visible && !ix->caught_up) {
		ix->caught_up = 1;
		atomic_store_explicit(&ix->env->self.head->page.index.ready, 1, memory_order_release);
	}
	/* After ALM_EFULL or a bad batch the tick tries again. */
	return (status == ALM_OK || status == ALM_EAGAIN) && !ix->failed && follow_behind(ix);
}
