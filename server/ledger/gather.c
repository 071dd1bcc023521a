/* ledger/gather.c - open, close and recycle batches.  Ledger's loop thread.
 *
 * A batch gets its position when it opens and its index when it closes, so between the two no other
 * batch may be closed: an entry of consensus' own that comes in between drops the open one. */
#include "ledger/ledger.h"

static uint64_t
log_time_now(const struct ledger *l)
{
	const uint64_t wall = clock_wall();

	return wall > l->last_log_time ? wall : l->last_log_time;
}

/* An empty open batch is opened anew, so that its time is fresh. */
struct batch *
gather_begin(struct ledger *l)
{
	if (l->gather != NULL && l->gather->n_records > 0)
		return l->gather;
	if (l->gather == NULL) {
		if (l->n_free == 0)
			return NULL;
		l->gather = l->free[--l->n_free];
	}
	batch_open(l->gather, ++l->stamp, l->next_position, log_time_now(l), clock_mono());
	return l->gather;
}

void
batch_recycle(struct ledger *l, struct batch *b)
{
	INVARIANT(l->n_free < BATCHES);
	l->free[l->n_free++] = b;
}

void
gather_close(struct ledger *l)
{
	struct batch *b = l->gather;
	struct alm_cns_event propose = {.kind = ALM_EV_PROPOSE, .a = b->len, .b = b->stamp};

	INVARIANT(b->n_records > 0);
	b->ticket = b->stamp;
	l->gather_full = 0;
	if (cns_feed(l, &propose, 1) == ALM_OK && l->gather == b && b->n_records > 0)
		gather_abort(l, ALM_EUNAVAILABLE, "consensus did not answer the proposal");
}

/* What was gathered will not be stored, but the sequencer has folded it already. */
void
gather_abort(struct ledger *l, int status, const char *text)
{
	struct batch *b = l->gather;

	if (b == NULL)
		return;
	l->gather = NULL;
	l->gather_full = 0;
	if (b->n_records > 0) {
		l->rebuild = 1;
		if (b->has_retain)
			l->retain_pending = 0;
	}
	results_fail(l->results, &b->strict, status, text);
	results_fail(l->results, &b->relaxed, status, text);
	batch_recycle(l, b);
}

void
batch_enter(struct ledger *l, struct batch *b, uint64_t index, uint64_t term, uint64_t epoch)
{
	struct alm_slice s;

	INVARIANT(b->position == l->next_position && index == l->last_index + 1);
	INVARIANT(l->n_fifo < BATCHES);
	b->index = index;
	b->term = term;
	b->epoch = epoch;
	s = batch_close(b, l->commit_index, (uint32_t)l->node, l->last_crc);
	l->last_crc = batch_header(b)->header_crc;
	l->last_index = index;
	l->last_term = term;
	l->last_log_time = b->log_time;
	l->next_position += s.len;
	l->fifo[l->n_fifo++] = b;
	if (b == l->gather)
		l->gather = NULL;
	count(l, LC_BATCHES, 1);
	count(l, LC_BYTES, s.len);
	count(l, LC_GROUPS, b->n_groups);
	count(l, LC_MESSAGES, b->n_messages);
	hist_add(&l->head->hist[LH_BATCH], s.len);
}

int
batch_own(struct ledger *l, uint32_t kind, uint64_t index, uint64_t term, uint64_t epoch)
{
	struct batch *b;

	gather_abort(l, ALM_EUNAVAILABLE, "the leader changed");
	b = gather_begin(l);
	if (b == NULL)
		return err_set(ALM_EINTERNAL, "no batch buffer for an entry of consensus");
	if (batch_control(b, kind, NULL, 0) != ALM_OK)
		return err_set(ALM_EINTERNAL, "an entry of consensus does not fit");
	batch_enter(l, b, index, term, epoch);
	return ALM_OK;
}
