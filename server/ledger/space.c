/* ledger/space.c - how much may still be written.  Ledger's loop thread; the store is asked only
 * while the writer is idle, in between what was written is subtracted.
 *
 * Below retention.reserved_space groups with messages are refused, so that deletes, offset commits
 * and RETAIN go on.  If even so an append finds no space, what it held is refused and its
 * entries, whose indexes are given away already, become empty ones; until those are written
 * ("held") everything is refused. */
#include <stdio.h>

#include "ledger/ledger.h"

#define LOW_WATER (64ull << 20) /* above the reserve: ask more often */
#define ASK_EVERY (1ull << 20)

static uint64_t
available(const struct ledger *l)
{
	return l->space.available > l->space_spent ? l->space.available - l->space_spent : 0;
}

static void
set_full(struct ledger *l, uint32_t full)
{
	char left[32], reserve[32];

	format_size(available(l), left, sizeof left);
	format_size(l->core->reserved_space, reserve, sizeof reserve);
	if (full)
		snprintf(l->full_text, sizeof l->full_text, "disk full: %.12s left, %.12s reserved in %.38s",
		    left, reserve, l->log_dir);
	if (full && !l->disk_full)
		log_warn("disk full: %s left for the log in %s, %s of it reserved "
		    "(retention.reserved_space); publishes are refused until there is more", left,
		    l->log_dir, reserve);
	if (!full && l->disk_full)
		log_notice("disk space is back: %s for the log in %s; publishes are taken again", left,
		    l->log_dir);
	l->disk_full = full;
	atomic_store_explicit(&l->page->disk_full, full, memory_order_relaxed);
}

static void
judge(struct ledger *l)
{
	const uint64_t floor = l->core->reserved_space;
	const uint64_t batch = l->batch[0].cap;

	if (available(l) < floor)
		set_full(l, 1);
	else if (l->disk_full && !l->held && available(l) >= floor + batch)
		set_full(l, 0);
}

void
space_refresh(struct ledger *l)
{
	struct alm_space s = {0};

	l->space_due = 0;
	if (l->store_ops->space(l->store, &s) != ALM_OK) {
		log_warn("could not ask for the space of %s: %s", l->log_dir, err_text());
		return;
	}
	l->space = s;
	l->space_spent = 0;
	atomic_store_explicit(&l->page->space_used, s.used, memory_order_relaxed);
	atomic_store_explicit(&l->page->space_available, s.available, memory_order_relaxed);
	judge(l);
}

void
space_spend(struct ledger *l, uint64_t bytes)
{
	l->space_spent += bytes;
	l->unprepared += bytes;
	if (l->unprepared >= l->space.segment / 8) {
		l->unprepared = 0;
		helper_kick(&l->prepare);
	}
	if (l->space_spent >= ASK_EVERY && available(l) < l->core->reserved_space + LOW_WATER)
		l->space_due = 1;
	judge(l);
}

/* Keep the entry's index and term, drop what it held. */
static void
make_empty(struct ledger *l, struct batch *b, uint64_t position)
{
	const uint64_t index = b->index, term = b->term, epoch = b->epoch;
	int status;

	results_fail(l->results, &b->strict, ALM_EFULL, l->full_text);
	results_fail(l->results, &b->relaxed, ALM_EFULL, l->full_text);
	if (b->has_retain)
		l->retain_pending = 0;
	batch_open(b, ++l->stamp, position, b->log_time, b->opened_at);
	status = batch_control(b, ALM_REC_NOOP, NULL, 0);
	INVARIANT(status == ALM_OK);
	b->index = index;
	b->term = term;
	b->epoch = epoch;
}

void
space_exhausted(struct ledger *l)
{
	struct batch *first = l->fifo[l->n_durable];

	l->space.available = 0;
	set_full(l, 1);
	l->held = l->rebuild = 1;
	l->n_writing = 0;
	gather_abort(l, ALM_EFULL, l->full_text);
	l->next_position = first->position;
	l->last_crc = l->n_durable > 0 ? batch_header(l->fifo[l->n_durable - 1])->header_crc
	                               : l->durable_crc;
	for (uint32_t i = l->n_durable; i < l->n_fifo; i++) {
		struct alm_slice s;

		make_empty(l, l->fifo[i], l->next_position);
		s = batch_close(l->fifo[i], l->commit_index, (uint32_t)l->node, l->last_crc);
		l->last_crc = batch_header(l->fifo[i])->header_crc;
		l->next_position += s.len;
	}
	snapshot_drop(l);
	commit_deliver(l);
}
