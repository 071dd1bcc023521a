/* consensus_kit.c - see consensus_kit.h. */
#include "regress/conformance/consensus_kit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static void
broken(struct ckit_world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->broken[0] != '\0')
		return;
	va_start(ap, fmt);
	vsnprintf(w->broken, sizeof w->broken, fmt, ap);
	va_end(ap);
}

static void
make_block(struct ckit_world *w)
{
	w->block = malloc(w->bytes + 2 * CKIT_CANARY + 4096);
	if (w->block == NULL)
		abort();
	memset(w->block, 0xa5, w->bytes + 2 * CKIT_CANARY);
	w->state = w->block + CKIT_CANARY;
}

static void
check_canaries(struct ckit_world *w)
{
	for (uint32_t i = 0; i < CKIT_CANARY; i++)
		if (w->block[i] != 0xa5 || w->state[w->bytes + i] != 0xa5)
			broken(w, "it writes outside of its state_size() bytes");
}

void
ckit_init(struct ckit_world *w, const struct alm_consensus_ops_v0 *ops, uint64_t seed)
{
	memset(w, 0, sizeof *w);
	w->ops = ops;
	w->cfg = (struct alm_cns_config){.size = sizeof w->cfg, .self = 1, .seed = seed,
	    .heartbeat_us = 50000, .election_us = 500000, .max_inflight_bytes = 1 << 20};
	w->bytes = ops->state_size(&w->cfg);
	w->first = 1;
	w->now = 1000000;
	make_block(w);
}

void
ckit_free(struct ckit_world *w)
{
	free(w->block);
}

void
ckit_clone(const struct ckit_world *from, struct ckit_world *out)
{
	*out = *from;
	make_block(out);
	memcpy(out->state, from->state, from->bytes);
}

int
ckit_same_state(const struct ckit_world *a, const struct ckit_world *b)
{
	return memcmp(a->state, b->state, a->bytes) == 0;
}

static uint32_t
collect_runs(const struct ckit_world *w, struct alm_cns_run *runs)
{
	uint32_t n = 0;

	for (uint64_t i = w->first > 1 ? w->first + 1 : 1; i <= w->last; i++)
		if (n == 0 || runs[n - 1].term != w->term_of[i])
			runs[n++] = (struct alm_cns_run){i, w->term_of[i]};
	return n;
}

void
ckit_boot(struct ckit_world *w, uint64_t keep)
{
	static struct alm_cns_run runs[CKIT_LOG_MAX];
	struct alm_cns_boot b = {.size = sizeof b};
	int status;

	w->last = w->durable = keep;
	w->want_seq = w->meta_seq;
	w->role = 0;
	w->deadline = 0;
	b.term = w->term;
	b.vote = w->vote;
	b.meta_seq = w->meta_seq;
	b.base_index = w->first > 1 ? w->first : 0;
	b.base_term = w->first > 1 ? w->term_of[w->first] : 0;
	b.last_index = w->last;
	b.last_term = w->last > 0 ? w->term_of[w->last] : 0;
	b.epoch = w->epoch;
	b.frontier = w->commit = w->committed;
	b.damaged_from = w->damaged_from;
	b.n_runs = collect_runs(w, runs);
	b.runs = runs;
	memset(w->state, 0x5a, w->bytes);
	status = w->ops->init(w->state, w->bytes, &w->cfg);
	if (status != ALM_OK)
		broken(w, "init fails with %s", status_name(status));
	status = w->ops->boot(w->state, &b);
	if (status != ALM_OK)
		broken(w, "boot fails with %s", status_name(status));
	check_canaries(w);
}

/* ---- outputs ---- */

static void
on_append(struct ckit_world *w, const struct alm_cns_out *o)
{
	if (o->a != w->last + 1)
		broken(w, "APPEND of index %llu after %llu", (unsigned long long)o->a,
		    (unsigned long long)w->last);
	if (o->b != w->term)
		broken(w, "APPEND in term %llu, saved is %llu", (unsigned long long)o->b,
		    (unsigned long long)w->term);
	if (o->b < w->term_of[w->last] && w->last > 0)
		broken(w, "terms in the log go back");
	if (o->c != w->epoch)
		broken(w, "APPEND names epoch %llu, it is %llu", (unsigned long long)o->c,
		    (unsigned long long)w->epoch);
	if (w->last + 2 >= CKIT_LOG_MAX)
		abort();
	w->term_of[++w->last] = o->b;
	if (o->d == 0)
		return;
	if (++w->tickets_appended + w->tickets_rejected > w->tickets_asked)
		broken(w, "ticket %llu is answered twice", (unsigned long long)o->d);
}

static void
on_commit(struct ckit_world *w, const struct alm_cns_out *o)
{
	if (o->a > w->durable)
		broken(w, "COMMIT of index %llu, durable is %llu", (unsigned long long)o->a,
		    (unsigned long long)w->durable);
	if (o->a < w->commit)
		broken(w, "COMMIT goes back from %llu to %llu", (unsigned long long)w->commit,
		    (unsigned long long)o->a);
	for (uint64_t i = 1; i <= o->a && i < CKIT_LOG_MAX; i++) {
		if (i <= w->committed && w->committed_term[i] != w->term_of[i])
			broken(w, "committed entry %llu changed its term", (unsigned long long)i);
		w->committed_term[i] = w->term_of[i];
	}
	w->commit = o->a;
	if (w->committed < o->a)
		w->committed = o->a;
}

static void
on_role(struct ckit_world *w, const struct alm_cns_out *o)
{
	w->role = (uint32_t)o->a;
	w->role_term = o->b;
	if (o->a != ALM_CNS_LEADER)
		return;
	if (o->b != w->term)
		broken(w, "leads in term %llu, saved is %llu", (unsigned long long)o->b,
		    (unsigned long long)w->term);
	if (w->commit == 0 || w->term_of[w->commit] != o->b)
		broken(w, "leads before an entry of its term is committed");
	if (w->damaged_from != 0)
		broken(w, "leads with damage");
}

static void
on_meta(struct ckit_world *w, const struct alm_cns_out *o)
{
	if (o->a <= w->want_seq)
		broken(w, "META seq %llu after %llu", (unsigned long long)o->a,
		    (unsigned long long)w->want_seq);
	if (o->b < w->term || (o->b == w->term && w->vote != 0 && o->c != w->vote))
		broken(w, "META takes back a term or a vote");
	w->want_seq = o->a;
	w->want_term = o->b;
	w->want_vote = o->c;
}

static void
carry_out(struct ckit_world *w, const struct alm_cns_out *o)
{
	w->hash = hash64(&(uint64_t[8]){w->hash, o->kind, o->a, o->b, o->c, o->d, o->e, o->data.len},
	    64);
	switch (o->kind) {
	case ALM_OUT_APPEND:
		on_append(w, o);
		break;
	case ALM_OUT_REJECT:
		if (w->tickets_appended + ++w->tickets_rejected > w->tickets_asked)
			broken(w, "ticket %llu is answered twice", (unsigned long long)o->a);
		break;
	case ALM_OUT_META:
		on_meta(w, o);
		break;
	case ALM_OUT_COMMIT:
		on_commit(w, o);
		break;
	case ALM_OUT_ROLE:
		on_role(w, o);
		break;
	case ALM_OUT_READ_OK:
		w->reads_ok++;
		w->read_index = o->b;
		if (w->role != ALM_CNS_LEADER || o->b < w->commit)
			broken(w, "READ_OK without leading, or of an index below the commit");
		break;
	case ALM_OUT_READ_FAIL:
		w->reads_failed++;
		break;
	default:
		broken(w, "output %u in a group of one", o->kind);
	}
}

void
ckit_step(struct ckit_world *w, const struct alm_cns_event *ev, uint32_t n)
{
	const uint32_t cap = ALM_CNS_OUT_MIN + n;
	const char *why = "";
	int got;

	for (uint32_t i = 0; i < n; i++)
		w->tickets_asked += ev[i].kind == ALM_EV_PROPOSE;
	if (cap > CKIT_OUTS_MAX)
		abort();
	memset(&w->outs[cap], 0xa5, sizeof w->outs[0]);
	w->deadline = 0;
	got = w->ops->step(w->state, w->now, ev, n, w->outs, cap, &w->deadline);
	check_canaries(w);
	for (uint32_t i = 0; i < sizeof w->outs[0]; i++)
		if (((const uint8_t *)&w->outs[cap])[i] != 0xa5)
			broken(w, "it writes more outputs than it may");
	if (got < 0 || (uint32_t)got > cap) {
		broken(w, "step answers %d with room for %u outputs", got, cap);
		return;
	}
	w->n_outs = (uint32_t)got;
	for (uint32_t i = 0; i < w->n_outs; i++)
		carry_out(w, &w->outs[i]);
	if (w->ops->check(w->state, &why) != ALM_OK)
		broken(w, "check: %s", why);
	if (w->tickets_appended + w->tickets_rejected != w->tickets_asked)
		broken(w, "a proposal is not answered in the same step");
}

void
ckit_event(struct ckit_world *w, uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
	const struct alm_cns_event e = {.kind = kind, .a = a, .b = b, .c = c};

	ckit_step(w, &e, 1);
}

void
ckit_meta_done(struct ckit_world *w)
{
	if (w->want_seq == w->meta_seq)
		return;
	w->meta_seq = w->want_seq;
	w->term = w->want_term;
	w->vote = w->want_vote;
	ckit_event(w, ALM_EV_META_DURABLE, w->meta_seq, 0, 0);
}

void
ckit_log_done(struct ckit_world *w, uint64_t index)
{
	if (index <= w->durable || index > w->last)
		return;
	w->durable = index;
	ckit_event(w, ALM_EV_LOG_DURABLE, w->epoch, index, w->term_of[index]);
}

int
ckit_lead(struct ckit_world *w)
{
	const uint64_t until = w->now + 10000000;

	while (w->role != ALM_CNS_LEADER && w->now < until && w->broken[0] == '\0') {
		ckit_event(w, ALM_EV_TICK, 0, 0, 0);
		ckit_meta_done(w);
		ckit_log_done(w, w->last);
		w->now += 10000;
	}
	return w->role == ALM_CNS_LEADER;
}
