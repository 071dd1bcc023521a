/* indexer/answer.c - queries of workers.  Indexer process, its only thread.
 *
 * A worker's queries are answered in the order in which they came.  One that must wait, for the
 * log to be applied or for room in the ring, stays in the worker's own ring with those behind it: so
 * what waits is bounded, and costs nothing.  Everything read from the ring is untrusted. */
#include "indexer/guard.h"
#include "indexer/indexer.h"

#include <string.h>

#define HOLD 1 /* not a status: the answer has to wait */

/* Take len bytes off the front of in. */
static int
take(struct alm_slice *in, uint64_t len, struct alm_slice *out)
{
	if (len > in->len)
		return ALM_EINVAL;
	out->data = in->data;
	out->len = len;
	in->data = (const char *)in->data + len;
	in->len -= len;
	return ALM_OK;
}

static int64_t
state_get(struct indexer *ix, struct alm_slice in, uint8_t *out, uint32_t cap)
{
	struct alm_slice head, ns, key, value;
	uint16_t len[2];
	uint64_t version;
	int status;

	if (take(&in, sizeof len, &head))
		return ALM_EINVAL;
	memcpy(len, head.data, sizeof len);
	if (take(&in, len[0], &ns) || take(&in, len[1], &key) || in.len != 0)
		return ALM_EINVAL;
	if ((status = store_get(ix->store, ns, key, &version, &value)))
		return status;
	if (cap < sizeof version || value.len > cap - sizeof version)
		return ALM_ETOOBIG;
	memcpy(out, &version, sizeof version);
	memcpy(out + sizeof version, value.data, value.len);
	return (int64_t)(sizeof version + value.len);
}

static int64_t
state_scan(struct indexer *ix, struct alm_slice in, uint8_t *out, uint32_t cap)
{
	struct alm_slice head, ns, prefix, after;
	struct q_scan q;

	if (take(&in, sizeof q, &head))
		return ALM_EINVAL;
	memcpy(&q, head.data, sizeof q);
	if (take(&in, q.ns_len, &ns) || take(&in, q.prefix_len, &prefix) ||
	    take(&in, q.after_len, &after) || in.len != 0)
		return ALM_EINVAL;
	if (q.max_bytes < cap)
		cap = q.max_bytes;
	return store_scan(ix->store, ns, prefix, after, q.limit, out, cap);
}

/* The state store's answer. A damaged row is mended if the log allows it. */
static int64_t
ask_store(struct indexer *ix, const struct msg_query *q, struct alm_slice in, uint8_t *out,
    uint32_t cap, uint64_t *applied)
{
	int64_t n;

	*applied = store_applied(ix->store);
	if (*applied < q->min_applied)
		return HOLD;
	guard_enter(ix->state_marker);
	n = q->what == Q_STATE_GET ? state_get(ix, in, out, cap) : state_scan(ix, in, out, cap);
	guard_leave();
	if (n != ALM_ECORRUPT)
		return n;
	log_error("%s: %s", ix->state_dir, err_text());
	if (indexer_first(ix) > 0 || !ix->ctl || ix->store_rebuilt > 0)
		return n;
	ix->store_damaged = ix->mend = 1;
	return HOLD;
}

/* The first provider that knows the question answers. */
static int64_t
ask_providers(struct indexer *ix, const struct msg_query *q, struct alm_slice in, uint8_t *out,
    uint32_t cap, uint64_t *applied)
{
	for (uint32_t i = 0; i < ix->n_consumers; i++) {
		struct consumer *c = &ix->consumer[i];
		int64_t n;

		guard_enter(c->marker);
		n = c->ops->query(c->x, q->what, in.data, (uint32_t)in.len, out, cap);
		guard_leave();
		if (n == ALM_ENOTSUP)
			continue;
		c->applied = c->ops->applied(c->x); /* an error may have thrown it back */
		*applied = c->applied;
		if (n == ALM_ECORRUPT && c->rebuilt == 0)
			c->damaged = ix->mend = 1;
		if (c->applied < q->min_applied || c->damaged || n == ALM_EAGAIN)
			return HOLD;
		if (n > (int64_t)cap) {
			log_error("indexer %s: wrote %lld bytes into %u", c->name, (long long)n, cap);
			return ALM_EINTERNAL;
		}
		return n;
	}
	return ALM_ENOTSUP;
}

static int64_t
ask(struct indexer *ix, const struct msg_query *q, struct alm_slice in, uint8_t *out, uint32_t cap,
    uint64_t *applied)
{
	if (q->what == Q_STATE_GET || q->what == Q_STATE_SCAN)
		return ask_store(ix, q, in, out, cap, applied);
	return ask_providers(ix, q, in, out, cap, applied);
}

/* Answer one query whose bytes are in ix->in. 1 if it is done, 0 if it has to wait. */
static int
answer(struct indexer *ix, struct peer *p)
{
	struct msg_answer a = {0};
	struct alm_slice in;
	struct msg_query q;
	uint64_t applied = 0, began;
	uint32_t cap;
	uint8_t *out;
	int64_t n;

	memcpy(&q, ix->in.data, sizeof q);
	in.data = ix->in.data + sizeof q;
	in.len = ix->in.len - sizeof q;
	cap = link_max(&p->link);
	cap = cap > sizeof a ? cap - (uint32_t)sizeof a : 0;
	if (q.max_bytes < cap)
		cap = q.max_bytes;
	p->need = (uint32_t)sizeof a + cap;
	out = link_reserve(&p->link, MSG_ANSWER, p->need);
	if (!out) {
		p->held = HELD_ROOM;
		indexer_count(ix, IC_HELD, 1);
		return 0;
	}
	began = clock_mono();
	n = ask(ix, &q, in, out + sizeof a, cap, &applied);
	if (n == HOLD) {
		p->held = HELD_APPLIED;
		indexer_count(ix, IC_HELD, 1);
		return 0;
	}
	hist_add(&ix->env->self.head->hist[IH_QUERY], clock_mono() - began);
	indexer_count(ix, n < 0 ? IC_QUERIES_FAILED : IC_QUERIES, 1);
	a.tag = q.tag;
	a.status = n < 0 ? (int32_t)n : ALM_OK;
	a.len = n < 0 ? 0 : (uint32_t)n;
	a.applied = applied;
	memcpy(out, &a, sizeof a);
	link_commit(&p->link, (uint32_t)sizeof a + a.len);
	return 1;
}

/* Answer what this worker has asked, a bounded number, so that all get their turn. */
static uint32_t
answer_peer(struct indexer *ix, struct peer *p)
{
	uint32_t done = 0, type, len;
	const void *msg;

	p->held = HELD_NO;
	while (done < 64 && (msg = link_peek(&p->link, &type, &len)) != NULL) {
		buf_reset(&ix->in);
		if (buf_put(&ix->in, msg, len))
			break;
		/* Of the wrong type or too short: a worker that is broken gets no answer. */
		if (type == MSG_QUERY && len >= sizeof(struct msg_query) && !answer(ix, p))
			break;
		link_consume(&p->link);
		done++;
	}
	if (done) {
		link_release(&p->link);
		link_flush(&p->link);
	}
	return done;
}

uint32_t
answer_all(struct indexer *ix)
{
	uint32_t done = 0;

	for (uint32_t slot = 1; slot <= ix->env->workers; slot++)
		done += answer_peer(ix, &ix->peer[slot]);
	return done;
}

int
answer_waiting(struct indexer *ix)
{
	for (uint32_t slot = 1; slot <= ix->env->workers; slot++) {
		struct peer *p = &ix->peer[slot];
		if (p->held == HELD_NO && link_readable(&p->link))
			return 1;
		if (p->held == HELD_ROOM && link_reserve(&p->link, MSG_ANSWER, p->need))
			return 1;
	}
	return 0;
}
