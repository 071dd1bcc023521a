/* ledger/retain.c - let go of the oldest part of the log.  Ledger's loop thread.
 *
 * Once a second, and whenever a quarter of a segment has been written, so that on a busy node space
 * comes back as fast as it is used and is written again while it is warm: if the log exceeds
 * retention.bytes or its oldest segment is older than retention.time, a RETAIN record joins the next
 * batch.  It moves by whole segments, so that not every look writes one, and never past the newest
 * checkpoint file, what the indexer has synced, or visible.  The begin moves when RETAIN is committed; space is given back between two writes. */
#include <stdatomic.h>

#include "ledger/ledger.h"

#define STEPS_MAX 256u /* segments looked at in one second */

/* Highest position that may become the begin; 0: nothing may go now. */
static uint64_t
ceiling(const struct ledger *l)
{
	const struct region_head *indexer = l->link[PEER_INDEXER].peer;
	uint64_t limit, synced;

	if (indexer == NULL || !atomic_load_explicit(&indexer->page.index.ready, memory_order_acquire))
		return 0;
	synced = atomic_load_explicit(&indexer->page.index.synced, memory_order_acquire);
	limit = l->visible < synced ? l->visible : synced;
	return limit < l->snapshot.durable ? limit : l->snapshot.durable;
}

static uint64_t
by_size(const struct ledger *l, uint64_t segment)
{
	const uint64_t used = l->visible - l->first;

	if (l->core->retention_bytes == 0 || used <= l->core->retention_bytes)
		return l->first;
	return l->first + (used - l->core->retention_bytes) / segment * segment;
}

/* One segment further as long as the batch that begins the next one is too old. */
static uint64_t
by_time(struct ledger *l, uint64_t segment)
{
	const uint64_t wall = clock_wall();
	uint64_t at = l->first;
	struct alm_view v;

	if (l->core->retention_time == 0 || wall < l->core->retention_time)
		return at;
	for (uint32_t i = 0; i < STEPS_MAX && at + segment < l->visible; i++) {
		if (l->store_ops->reader_seek(l->reader, at + segment, l->visible, &v) != ALM_OK ||
		    v.batch->log_time >= wall - l->core->retention_time)
			break;
		at += segment;
	}
	return at;
}

static void
propose(struct ledger *l, uint64_t target)
{
	struct alm_retain r;
	struct alm_view v;
	struct batch *b;

	if (l->store_ops->reader_seek(l->reader, target, l->visible, &v) != ALM_OK)
		return;
	r = (struct alm_retain){v.batch->position, v.batch->index};
	if (r.first_position <= l->first)
		return;
	b = gather_begin(l);
	if (b != NULL && batch_control(b, ALM_REC_RETAIN, &r, sizeof r) == ALM_OK)
		l->retain_pending = r.first_position;
}

void
retain_tick(struct ledger *l)
{
	const uint64_t segment = l->space.segment > 0 ? l->space.segment : 1;
	uint64_t target, size, limit;

	l->retain_looked = l->visible;
	if (l->role != ALM_CNS_LEADER || l->retain_pending != 0 || l->rebuild || l->stopping)
		return;
	target = by_time(l, segment);
	size = by_size(l, segment);
	if (size > target)
		target = size;
	if (target < l->first + segment)
		return;
	if (target > l->snapshot.durable)
		l->snapshot.wanted = 1;
	limit = ceiling(l);
	if (target > limit)
		target = limit;
	if (target >= l->first + segment)
		propose(l, target);
}

void
retain_look(struct ledger *l)
{
	if (l->visible - l->retain_looked >= l->space.segment / 4)
		retain_tick(l);
}

void
retain_committed(struct ledger *l, const struct alm_retain *r)
{
	l->retain_pending = 0;
	if (r->first_position <= l->first)
		return;
	l->first = r->first_position;
	l->first_index = r->first_index;
	l->release_due = 1;
	INVARIANT(l->n_again < CNS_EVENTS_MAX);
	l->again[l->n_again++] = (struct alm_cns_event){.kind = ALM_EV_RETAIN, .a = r->first_index};
	count(l, LC_RETAINS, 1);
}

/* Lowest position that any reader holds.  A peer that is not attached may hold what we cannot see. */
static uint64_t
lowest_pin(struct ledger *l)
{
	uint64_t low = UINT64_MAX;

	for (uint32_t p = PEER_INDEXER; p <= last_peer(l); p++) {
		const struct region_head *peer = l->link[p].peer;
		uint64_t pin = peer != NULL && link_up(&l->link[p])
		    ? atomic_load_explicit(&peer->pin, memory_order_acquire) : 0;

		if (pin < low)
			low = pin;
	}
	return low;
}

void
retain_release(struct ledger *l)
{
	int status;

	l->release_due = 0;
	/* Readers pin, fence, then look at first again; we store first, fence, then look at pins. */
	atomic_store_explicit(&l->page->first, l->first, memory_order_release);
	atomic_thread_fence(memory_order_seq_cst);
	status = l->store_ops->release(l->store, l->first, lowest_pin(l));
	if (status != ALM_OK)
		log_warn("could not give back space before position %llu in %s: %s",
		    (unsigned long long)l->first, l->log_dir, err_text());
	l->store_ops->reader_trim(l->reader, l->first);
	helper_kick(&l->prepare); /* what is not reused is removed there */
	l->space_due = 1;
}
