/* subscribe.c - push: SUBSCRIBE, CREDIT, UNSUBSCRIBE, DELIVER.  The worker's thread.
 *
 * A subscription is a loop of long-poll fetches: at most one under way, and the next one only while
 * the client has granted credit and the output is below output_limit.  So a slow client costs no
 * memory and no other client's share of the worker.
 *
 * Invariant: subs[i]->tag names the request slot of its one fetch, or NONE.
 */
#include "native.h"

#define POLL_MS 60000u     /* of one long poll; only re-arms it */
#define RETRY_US 50000u    /* after ALM_EUNAVAILABLE and the like */
#define DELIVER_MAX (1u << 20)

static int
subs_grow(struct alm_session *s)
{
	const struct alm_host *host = s->proto->host;
	uint32_t n = s->n_subs ? s->n_subs * 2 : 8, i;
	struct sub **v;

	v = host->alloc(host, n * sizeof(struct sub *));
	if (!v)
		return ALM_ENOMEM;
	if (s->n_subs)
		memcpy(v, s->subs, s->n_subs * sizeof(struct sub *));
	for (i = s->n_subs; i < n; i++) {
		v[i] = host->alloc(host, sizeof(struct sub));
		if (!v[i])
			break;
		v[i]->next_free = s->free_sub;
		s->free_sub = i;
	}
	host->free(host, s->subs);
	s->subs = v;
	s->n_subs = i;
	return s->free_sub == NONE ? ALM_ENOMEM : ALM_OK;
}

void
subs_free(struct alm_session *s)
{
	const struct alm_host *host = s->proto->host;
	uint32_t i;

	for (i = 0; i < s->n_subs; i++) {
		host->free(host, s->subs[i]->tags);
		host->free(host, s->subs[i]);
	}
	host->free(host, s->subs);
}

static void
sub_release(struct alm_session *s, uint32_t i)
{
	struct sub *sub = s->subs[i];

	s->proto->host->free(s->proto->host, sub->tags);
	memset(sub, 0, sizeof *sub);
	sub->next_free = s->free_sub;
	s->free_sub = i;
}

/* Answer the UNSUBSCRIBE that waited for the fetch, and forget the subscription. */
static void
sub_finish(struct alm_session *s, uint32_t i)
{
	uint64_t correlation = s->subs[i]->end_correlation;
	uint32_t asked = s->subs[i]->ending;

	sub_release(s, i);
	if (!asked)
		return;
	(void)reply_begin(s, WIRE_UNSUBSCRIBE | WIRE_REPLY, 0, correlation);
	reply_send(s, 0);
}

static int
sub_fetch(struct alm_session *s, uint32_t i)
{
	struct sub *sub = s->subs[i];
	struct alm_fetch f = {.size = sizeof f, .topic = sub->topic, .queue = sub->queue,
	    .wait_ms = POLL_MS, .offset = sub->offset, .tags = {sub->tags, sub->tags_len}};
	uint32_t slot = request_new(s, WIRE_DELIVER, sub->correlation);
	int st;

	if (slot == NONE)
		return ALM_EAGAIN;
	s->requests[slot].sub = i;
	f.max_bytes = sub->credit < sub->max_bytes ? (uint32_t)sub->credit : sub->max_bytes;
	sub->tag = slot;
	st = s->proto->broker->fetch(s->conn, slot, &f);
	if (st != ALM_OK) {
		sub->tag = NONE;
		request_end(s, slot);
	}
	return st;
}

/* Tell the client that the subscription is over, and why. */
static void
sub_fail(struct alm_session *s, uint32_t i, const struct alm_done *d)
{
	struct sub *sub = s->subs[i];
	struct alm_done end = {.status = d->status, .begin = d->begin, .end = d->end,
	    .next_offset = sub->offset};

	(void)records_send(s, WIRE_DELIVER, sub->correlation, sub->topic, sub->queue, &end);
	sub_finish(s, i);
}

/* Fetch again for as long as it may.  The broker may answer before fetch() returns: the loop here
 * takes the place of a recursion through sub_done(). */
static void
sub_pump(struct alm_session *s, uint32_t i)
{
	struct sub *sub = s->subs[i];
	struct alm_done d = {0};
	int st;

	if (sub->pumping)
		return;
	sub->pumping = 1;
	while (sub->used && !sub->ending && sub->tag == NONE && sub->credit > 0 &&
	    !sub->retry_at && !s->closing) {
		if (output_over(s)) {
			sub->waiting = 1;
			break;
		}
		st = sub_fetch(s, i);
		if (st == ALM_EAGAIN) {
			sub->waiting = 1;
			sub->retry_at = s->proto->host->now(s->proto->host) + RETRY_US;
			session_arm(s);
		} else if (st != ALM_OK) {
			d.status = st;
			sub_fail(s, i, &d);
		}
	}
	sub->pumping = 0;
}

void
sub_done(struct alm_session *s, uint32_t i, const struct alm_done *d)
{
	struct sub *sub = s->subs[i];
	uint64_t bytes = 0;
	uint32_t k;

	sub->tag = NONE;
	if (d->status == ALM_EAGAIN || d->status == ALM_EUNAVAILABLE || d->status == ALM_ETIMEOUT) {
		sub->retry_at = s->proto->host->now(s->proto->host) + RETRY_US;
		session_arm(s);
	} else if (d->status != ALM_OK) {
		sub_fail(s, i, d);
		return;
	} else {
		for (k = 0; k < d->n_chunks; k++)
			bytes += d->chunks[k].len;
		if (d->next_offset > sub->offset)
			sub->offset = d->next_offset;
		sub->credit -= (int64_t)bytes;
		if (bytes && records_send(s, WIRE_DELIVER, sub->correlation, sub->topic,
		    sub->queue, d) != ALM_OK) {
			struct alm_done e = {.status = ALM_EINTERNAL};

			sub_fail(s, i, &e);
			return;
		}
	}
	if (sub->ending) {
		sub_finish(s, i);
		return;
	}
	sub_pump(s, i);
}

void
subs_resume(struct alm_session *s, uint64_t now)
{
	uint32_t i;

	for (i = 0; i < s->n_subs && !s->closing; i++) {
		struct sub *sub = s->subs[i];

		if (!sub->used || (!sub->waiting && (!sub->retry_at || sub->retry_at > now)))
			continue;
		sub->waiting = 0;
		sub->retry_at = 0;
		sub_pump(s, i);
	}
}

uint64_t
subs_deadline(const struct alm_session *s)
{
	uint64_t at = 0;
	uint32_t i;

	for (i = 0; i < s->n_subs; i++)
		if (s->subs[i]->used && s->subs[i]->retry_at && (!at || s->subs[i]->retry_at < at))
			at = s->subs[i]->retry_at;
	return at;
}

/* ---- frames ------------------------------------------------------------------------------ */

static int
sub_new(struct alm_session *s, uint32_t *out, struct alm_slice tags)
{
	const struct alm_host *host = s->proto->host;
	struct sub *sub;

	if (s->free_sub == NONE && s->n_subs >= s->proto->max_subs)
		return ALM_EBUSY;
	if (s->free_sub == NONE && subs_grow(s) != ALM_OK)
		return ALM_ENOMEM;
	*out = s->free_sub;
	sub = s->subs[*out];
	if (tags.len) {
		sub->tags = host->alloc(host, tags.len);
		if (!sub->tags)
			return ALM_ENOMEM;
		memcpy(sub->tags, tags.data, tags.len);
		sub->tags_len = (uint32_t)tags.len;
	}
	s->free_sub = sub->next_free;
	sub->used = 1;
	sub->tag = NONE;
	return ALM_OK;
}

/* How much credit a subscription can hold: enough for any window, and no overflow. */
static int64_t
credit_cap(int64_t have, uint64_t more)
{
	const int64_t most = (int64_t)1 << 40;

	return more > (uint64_t)(most - (have > 0 ? have : 0)) ? most : have + (int64_t)more;
}

int
on_subscribe(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	uint32_t topic = wire_u32(in), queue = wire_u32(in), i = 0;
	uint64_t offset = wire_u64(in), credit = wire_u64(in);
	uint32_t max_bytes = wire_u32(in);
	uint16_t name_len = wire_u16(in), tags_len = wire_u16(in);
	struct alm_slice name = wire_bytes(in, name_len), tags = wire_bytes(in, tags_len);
	struct alm_topic_info info;
	struct wire_out *o;
	struct sub *sub;
	int st;

	if (in->bad || name_len > ALM_NAME_MAX || tags_len > WIRE_TAGS_MAX ||
	    queue == WIRE_QUEUE_ANY)
		return hostile(s, "a SUBSCRIBE frame is malformed");
	if (!queue_find(s, h->correlation, topic, name, queue, &info))
		return ALM_OK;
	st = sub_new(s, &i, tags);
	if (st != ALM_OK)
		return reply_errorf(s, h->correlation, st,
		    "no further subscription on this connection; the limit is "
		    "max_subscriptions = %u", s->proto->max_subs);
	sub = s->subs[i];
	sub->correlation = h->correlation;
	sub->topic = info.topic.id;
	sub->queue = queue;
	sub->offset = offset;
	sub->credit = credit_cap(0, credit);
	sub->max_bytes = max_bytes && max_bytes < DELIVER_MAX ? max_bytes : DELIVER_MAX;
	o = reply_begin(s, WIRE_SUBSCRIBE | WIRE_REPLY, 0, h->correlation);
	wire_put32(o, i);
	wire_put32(o, info.topic.id);
	wire_put32(o, info.topic.queues);
	wire_put32(o, 0);
	reply_send(s, 0);
	sub_pump(s, i);
	return ALM_OK;
}

/* A subscription may have ended while the client's frame was under way: then it means nothing. */
static struct sub *
sub_of(struct alm_session *s, uint32_t i, uint64_t correlation)
{
	if (i >= s->n_subs || !s->subs[i]->used || s->subs[i]->correlation != correlation)
		return NULL;
	return s->subs[i];
}

int
on_credit(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	uint32_t i = wire_u32(in);
	struct sub *sub;
	uint64_t more;

	(void)wire_u32(in);
	more = wire_u64(in);
	if (in->bad)
		return hostile(s, "a CREDIT frame is malformed");
	sub = sub_of(s, i, h->correlation);
	if (!sub)
		return ALM_OK;
	sub->credit = credit_cap(sub->credit, more);
	sub_pump(s, i);
	return ALM_OK;
}

int
on_unsubscribe(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	uint32_t i = wire_u32(in);
	uint64_t correlation;
	struct sub *sub;

	(void)wire_u32(in);
	correlation = wire_u64(in);
	if (in->bad)
		return hostile(s, "an UNSUBSCRIBE frame is malformed");
	sub = sub_of(s, i, correlation);
	if (!sub || sub->ending)
		return reply_error(s, h->correlation, ALM_ENOTFOUND, "there is no such subscription");
	sub->ending = 1;
	sub->end_correlation = h->correlation;
	if (sub->tag == NONE)
		sub_finish(s, i);
	else
		s->proto->broker->fetch_cancel(s->conn, sub->tag);
	return ALM_OK;
}
