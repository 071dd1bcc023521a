/* ledger/cns.c - drive the consensus provider: events in, outputs carried out in order.
 * Ledger's loop thread.  Saving term and vote blocks here, once per term. */
#include "ledger/ledger.h"

#include <string.h>

static int
save_meta(struct ledger *l, const struct alm_cns_out *o)
{
	int status;

	/* Only between writes: save_meta belongs to the main thread while nothing is appended. */
	writer_wait(&l->writer);
	l->meta = (struct alm_meta){.seq = o->a, .term = o->b, .vote = o->c,
	    .commit_hint = l->commit_index};
	status = l->store_ops->save_meta(l->store, &l->meta);
	if (status != ALM_OK)
		return status;
	INVARIANT(l->n_again < CNS_EVENTS_MAX);
	l->again[l->n_again++] = (struct alm_cns_event){.kind = ALM_EV_META_DURABLE, .a = o->a};
	return ALM_OK;
}

static int
take_index(struct ledger *l, const struct alm_cns_out *o)
{
	if (o->d == 0)
		return batch_own(l, (uint32_t)o->e, o->a, o->b, o->c);
	if (l->gather == NULL || l->gather->ticket != o->d)
		return err_set(ALM_EINTERNAL, "consensus appends ticket %llu, which was not proposed",
		    (unsigned long long)o->d);
	batch_enter(l, l->gather, o->a, o->b, o->c);
	return ALM_OK;
}

static void
rejected(struct ledger *l, const struct alm_cns_out *o)
{
	if (l->gather != NULL && l->gather->ticket == o->a)
		gather_abort(l, o->b > 0 && o->b <= (uint64_t)-ALM_STATUS_LAST ? -(int)o->b
		                                                               : ALM_EUNAVAILABLE,
		    "consensus did not take the batch");
}

static void
new_role(struct ledger *l, const struct alm_cns_out *o)
{
	l->role = (uint32_t)o->a;
	atomic_store_explicit(&l->page->term, o->b, memory_order_relaxed);
	atomic_store_explicit(&l->page->leader, o->c, memory_order_relaxed);
	atomic_store_explicit(&l->page->role, o->a, memory_order_release);
	atomic_store_explicit(&l->page->ready, l->role == ALM_CNS_LEADER, memory_order_release);
	if (l->role == ALM_CNS_LEADER)
		ledger_serves(l);
}

static int
carry_out(struct ledger *l, const struct alm_cns_out *o)
{
	switch (o->kind) {
	case ALM_OUT_APPEND:
		return take_index(l, o);
	case ALM_OUT_REJECT:
		rejected(l, o);
		return ALM_OK;
	case ALM_OUT_META:
		return save_meta(l, o);
	case ALM_OUT_COMMIT:
		commit_to(l, o->a);
		return ALM_OK;
	case ALM_OUT_ROLE:
		new_role(l, o);
		return ALM_OK;
	case ALM_OUT_FATAL:
		return err_set(ALM_EINTERNAL, "consensus gave up with reason %llu",
		    (unsigned long long)o->a);
	default:
		return err_set(ALM_EINTERNAL, "consensus wants output %u, which a group of one never has",
		    o->kind);
	}
}

static int
one_step(struct ledger *l, const struct alm_cns_event *ev, uint32_t n)
{
	uint64_t deadline = UINT64_MAX, now = clock_mono();
	const char *why = "";
	int got = l->cns_ops->step(l->cns, now, ev, n, l->outs, CNS_OUTS, &deadline);

	if (got < 0 || got > (int)CNS_OUTS)
		return err_set(ALM_EINTERNAL, "the consensus provider failed its step (%d)", got);
	if (l->cns_ops->check(l->cns, &why) != ALM_OK)
		return err_set(ALM_EINTERNAL, "the consensus provider is inconsistent: %s", why);
	for (int i = 0; i < got; i++) {
		int status = carry_out(l, &l->outs[i]);

		if (status != ALM_OK)
			return status;
	}
	if (deadline != UINT64_MAX)
		ledger_arm(l->cns_timer, deadline > now ? deadline - now : 1);
	return ALM_OK;
}

int
cns_feed(struct ledger *l, const struct alm_cns_event *ev, uint32_t n)
{
	struct alm_cns_event batch[CNS_EVENTS_MAX];
	int status = one_step(l, ev, n);

	while (status == ALM_OK && l->n_again > 0) {
		n = l->n_again;
		memcpy(batch, l->again, n * sizeof *batch);
		l->n_again = 0;
		status = one_step(l, batch, n);
	}
	if (status != ALM_OK) {
		log_error("%s", err_text());
		ledger_fail(l, EXIT_DATA);
	}
	return status;
}
