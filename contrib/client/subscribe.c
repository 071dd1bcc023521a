/* subscribe.c - subscriptions: what the server pushes, by callback or through alm_next.
 *
 * One alm_sub covers some queues of a topic; each queue is a subscription of its own on the wire.
 * After a reconnect each queue resumes at `next`, the offset behind the last message received, so
 * nothing comes twice.  Credit goes back as messages are given out, so a consumer that stops
 * taking stops the server too.
 *
 * Correlation of a queue: slot of the subscription, its generation (a late frame must not reach a
 * successor in the slot), index of the queue.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define WINDOW (1u << 20)
#define SUBS_MAX 65535u
#define RETRY_US 200000u

struct block { /* received and not given out: for alm_next */
	struct block *next;
	struct view view; /* owned */
	uint32_t q;
};

struct squeue {
	uint64_t next;   /* offset of the next message to receive */
	uint64_t given;  /* behind the last message given out */
	uint64_t committed; /* what alm_sub_commit last said */
	uint64_t credit; /* bytes given out and not granted again */
	uint64_t held;   /* bytes in blocks */
	uint32_t queue, handle;
	uint32_t up;     /* 0: to be subscribed, 1: SUBSCRIBE sent, 2: handle known */
};

struct alm_sub {
	struct alm_client *client;
	struct squeue *q;
	uint32_t n_q, slot, generation;
	uint32_t dead;   /* unsubscribed from its own callback */
	uint32_t busy;   /* delivering */
	uint32_t ready;  /* for client_wait: a block or the end */
	uint32_t window, tags_len;
	int status;
	uint64_t gap;
	alm_msg_fn cb;
	void *arg;
	struct block *first, **last;
	char topic[ALM_NAME_MAX + 1], group[ALM_NAME_MAX + 1];
	char tags[WIRE_TAGS_MAX];
	char detail[256];
};

/* ---- names on the wire ---------------------------------------------------------------------- */

static uint64_t
correlation_of(const struct alm_sub *s, uint32_t q)
{
	return CORR(CORR_SUB,
	    (uint64_t)(s->generation & 0xffffff) << 32 | (uint64_t)s->slot << 16 | q);
}

static struct alm_sub *
sub_of(struct alm_client *c, uint64_t correlation, uint32_t *q)
{
	uint32_t slot = (uint32_t)(correlation >> 16) & 0xffff;
	struct alm_sub *s = slot < c->n_subs ? c->subs[slot] : NULL;

	*q = (uint32_t)correlation & 0xffff;
	if (!s || s->dead || *q >= s->n_q || correlation_of(s, *q) != correlation)
		return NULL;
	return s;
}

static void
subscribe_send(struct alm_sub *s, uint32_t i)
{
	struct alm_client *c = s->client;
	struct squeue *q = &s->q[i];
	struct wire_out *o = &c->out;
	uint64_t len = strlen(s->topic), credit = s->window > q->held ? s->window - q->held : 0;

	if (c->state != CONN_UP || q->up || s->status != ALM_OK)
		return;
	wire_begin(o, WIRE_SUBSCRIBE, 0, correlation_of(s, i));
	wire_put32(o, 0);
	wire_put32(o, q->queue);
	wire_put64(o, q->next);
	wire_put64(o, credit);
	wire_put32(o, s->window);
	wire_put16(o, (uint32_t)len);
	wire_put16(o, s->tags_len);
	wire_put(o, s->topic, len);
	wire_put(o, s->tags, s->tags_len);
	wire_end(o, 0);
	q->up = 1;
	q->credit = 0;
}

static void
credit_send(struct alm_sub *s, uint32_t i)
{
	struct squeue *q = &s->q[i];
	struct wire_out *o = &s->client->out;

	if (q->credit < s->window / 2 || q->up != 2)
		return;
	wire_begin(o, WIRE_CREDIT, 0, correlation_of(s, i));
	wire_put32(o, q->handle);
	wire_put32(o, 0);
	wire_put64(o, q->credit);
	wire_end(o, 0);
	q->credit = 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void
block_free(struct block *b)
{
	free(b->view.owned);
	free(b);
}

static void
sub_free(struct alm_sub *s)
{
	struct block *b;

	while ((b = s->first)) {
		s->first = b->next;
		block_free(b);
	}
	free(s->q);
	free(s);
}

static int
slot_take(struct alm_client *c, struct alm_sub *s)
{
	uint32_t i, n = c->n_subs ? c->n_subs * 2 : 8;
	struct alm_sub **v;

	for (i = 0; i < c->n_subs && c->subs[i]; i++)
		;
	if (i == c->n_subs) {
		if (n > SUBS_MAX)
			return client_fail(c, ALM_EBUSY, "too many subscriptions");
		v = realloc(c->subs, n * sizeof(struct alm_sub *));
		if (!v)
			return client_fail(c, ALM_ENOMEM, "out of memory");
		memset(v + c->n_subs, 0, (n - c->n_subs) * sizeof(struct alm_sub *));
		c->subs = v;
		c->n_subs = n;
	}
	s->slot = i;
	s->generation = ++c->sub_generation;
	c->subs[i] = s;
	return ALM_OK;
}

void
subs_free(struct alm_client *c)
{
	uint32_t i;

	for (i = 0; i < c->n_subs; i++)
		if (c->subs[i])
			sub_free(c->subs[i]);
	free(c->subs);
	c->subs = NULL;
	c->n_subs = 0;
}

static void
sub_end(struct alm_sub *s, int status, const char *detail)
{
	s->status = status;
	snprintf(s->detail, sizeof s->detail, "%s", detail);
	s->ready = 1;
	s->client->progress++;
}

void
alm_unsubscribe(struct alm_sub *s)
{
	struct alm_client *c;
	uint32_t i;

	if (!s || s->dead)
		return;
	c = s->client;
	for (i = 0; i < s->n_q && c->state == CONN_UP; i++) {
		if (s->q[i].up != 2)
			continue;
		wire_begin(&c->out, WIRE_UNSUBSCRIBE, 0, CORR(CORR_REQUEST, 0));
		wire_put32(&c->out, s->q[i].handle);
		wire_put32(&c->out, 0);
		wire_put64(&c->out, correlation_of(s, i));
		wire_end(&c->out, 0);
	}
	c->subs[s->slot] = NULL;
	s->dead = 1;
	if (!s->busy)
		sub_free(s);
}

/* ---- frames ------------------------------------------------------------------------------------ */

void
subs_reply(struct alm_client *c, uint64_t correlation, struct wire_in *in)
{
	uint32_t i, handle = wire_u32(in);
	struct alm_sub *s = sub_of(c, correlation, &i);

	if (in->bad)
		return;
	if (s) {
		s->q[i].handle = handle;
		s->q[i].up = 2;
		credit_send(s, i);
		return;
	}
	/* Unsubscribed before the server's answer. */
	wire_begin(&c->out, WIRE_UNSUBSCRIBE, 0, CORR(CORR_REQUEST, 0));
	wire_put32(&c->out, handle);
	wire_put32(&c->out, 0);
	wire_put64(&c->out, correlation);
	wire_end(&c->out, 0);
}

void
subs_error(struct alm_client *c, uint64_t correlation, int status, const char *detail)
{
	uint32_t i;
	struct alm_sub *s = sub_of(c, correlation, &i);

	if (!s)
		return;
	s->q[i].up = 0;
	if (status_retriable(status))
		c->resubscribe_at = mono_us() + RETRY_US;
	else
		sub_end(s, status, detail);
}

/* The server ended the queue's subscription. Retention having passed us is no end. */
static void
queue_ended(struct alm_sub *s, uint32_t i, const struct wire_records *r)
{
	struct squeue *q = &s->q[i];

	q->up = 0;
	if (r->status == ALM_EOFFSET && q->next < r->begin) {
		s->gap += r->begin - q->next;
		q->next = r->begin;
		subscribe_send(s, i);
	} else if (r->status == ALM_EOFFSET || status_retriable(r->status)) {
		s->client->resubscribe_at = mono_us() + RETRY_US;
	} else {
		sub_end(s, r->status, alm_status_text(r->status));
	}
}

static void
deliver_cb(struct alm_sub *s, uint32_t i, struct view *w)
{
	struct alm_client *c = s->client;
	struct alm_msg m;

	s->busy = 1;
	c->in_callback++;
	while (!s->dead && alm_batch_view_next(&w->v, &m) == 1) {
		s->q[i].given = m.record->offset + 1;
		c->st.delivered++;
		s->cb(s->arg, s, &m);
	}
	c->in_callback--;
	s->busy = 0;
	if (s->dead) {
		sub_free(s);
		return;
	}
	s->q[i].credit += w->len;
	credit_send(s, i);
}

static void
deliver_block(struct alm_sub *s, uint32_t i, const struct view *w)
{
	uint64_t table = (uint64_t)w->n_chunks * sizeof(struct wire_chunk);
	struct block *b = calloc(1, sizeof *b);
	uint8_t *p = malloc(table + w->len);

	if (!b || !p) {
		free(b);
		free(p);
		sub_end(s, ALM_ENOMEM, "out of memory");
		return;
	}
	memcpy(p, w->chunks, table);
	memcpy(p + table, w->data, w->len);
	b->view = *w;
	b->view.owned = p;
	b->view.chunks = p;
	b->view.data = p + table;
	b->view.v.priv = &b->view;
	b->view.v.topic = s->topic;
	b->q = i;
	*s->last = b;
	s->last = &b->next;
	s->q[i].held += w->len;
	s->ready = 1;
}

void
subs_deliver(struct alm_client *c, uint64_t correlation, struct wire_in *in)
{
	struct wire_in head = *in;
	struct wire_records r;
	struct alm_sub *s;
	struct view w;
	uint32_t i;

	if (wire_records_get(&head, &r) != ALM_OK || view_init(&w, *in, "") != ALM_OK) {
		in->bad = 1;
		return;
	}
	s = sub_of(c, correlation, &i);
	if (!s || s->status != ALM_OK)
		return;
	if (r.status != ALM_OK) {
		queue_ended(s, i, &r);
		return;
	}
	if (r.next_offset > s->q[i].next)
		s->q[i].next = r.next_offset;
	if (!s->cb) {
		deliver_block(s, i, &w);
		return;
	}
	snprintf(w.topic, sizeof w.topic, "%s", s->topic);
	deliver_cb(s, i, &w);
}

/* ---- the connection comes and goes ------------------------------------------------------------- */

void
subs_up(struct alm_client *c)
{
	uint32_t i, k;

	c->resubscribe_at = 0;
	for (i = 0; i < c->n_subs; i++)
		for (k = 0; c->subs[i] && k < c->subs[i]->n_q; k++)
			subscribe_send(c->subs[i], k);
}

void
subs_lost(struct alm_client *c)
{
	uint32_t i, k;

	c->resubscribe_at = 0;
	for (i = 0; i < c->n_subs; i++)
		for (k = 0; c->subs[i] && k < c->subs[i]->n_q; k++)
			c->subs[i]->q[k].up = 0;
}

void
subs_step(struct alm_client *c, uint64_t now)
{
	if (c->resubscribe_at && now >= c->resubscribe_at)
		subs_up(c);
}

/* ---- alm_subscribe ------------------------------------------------------------------------------ */

static int
options_check(struct alm_client *c, const struct alm_sub_opts *o, struct alm_sub *s)
{
	int st;

	if (o->size != sizeof *o)
		return client_fail(c, ALM_EINVAL, "alm_sub_opts.size is %u, not %zu", o->size,
		    sizeof *o);
	st = name_check(c, "topic", o->topic);
	if (st == ALM_OK && o->group)
		st = name_check(c, "group", o->group);
	if (st == ALM_OK)
		st = tags_pack(c, o->tags, o->n_tags, s->tags, &s->tags_len);
	if (st != ALM_OK)
		return st;
	if (o->start > ALM_START_TIME)
		return client_fail(c, ALM_EINVAL, "start: %u is not ALM_START_*", o->start);
	if (o->start == ALM_START_OFFSET && o->n_queues != 1 &&
	    (o->n_queues || o->queue == ALM_QUEUE_ANY))
		return client_fail(c, ALM_EINVAL, "to start at an offset, name one queue");
	snprintf(s->topic, sizeof s->topic, "%s", o->topic);
	snprintf(s->group, sizeof s->group, "%s", o->group ? o->group : "");
	s->window = o->window ? o->window : WINDOW;
	if (s->window < 4096)
		s->window = 4096;
	s->cb = o->cb;
	s->arg = o->arg;
	return ALM_OK;
}

static int
queues_take(struct alm_client *c, const struct alm_sub_opts *o, struct alm_sub *s)
{
	struct alm_topic topic;
	uint32_t i;
	int st = alm_topic_get(c, o->topic, &topic);

	if (st != ALM_OK)
		return st;
	s->n_q = o->n_queues ? o->n_queues : o->queue == ALM_QUEUE_ANY ? topic.queues : 1;
	if (!s->n_q || s->n_q > ALM_QUEUES_MAX)
		return client_fail(c, ALM_EINVAL, "%u queues", s->n_q);
	s->q = calloc(s->n_q, sizeof *s->q);
	if (!s->q)
		return client_fail(c, ALM_ENOMEM, "out of memory");
	for (i = 0; i < s->n_q; i++) {
		uint32_t q = o->n_queues ? o->queues[i] : o->queue == ALM_QUEUE_ANY ? i : o->queue;

		if (q >= topic.queues)
			return client_fail(c, ALM_EINVAL,
			    "queue %u of topic %s: it has %u, counted from 0", q, o->topic,
			    topic.queues);
		s->q[i].queue = q;
	}
	return ALM_OK;
}

/* Where a queue starts. */
static int
start_find(struct alm_client *c, const struct alm_sub_opts *o, struct squeue *q)
{
	uint64_t begin, end;
	int st;

	if (o->group) {
		st = alm_committed(c, o->group, o->topic, q->queue, &q->next);
		if (st != ALM_ENOTFOUND)
			return st;
	}
	switch (o->start) {
	case ALM_START_OFFSET:
		q->next = o->start_value;
		return ALM_OK;
	case ALM_START_TIME:
		return alm_offset_at(c, o->topic, q->queue, o->start_value, &q->next);
	default:
		st = alm_bounds(c, o->topic, q->queue, &begin, &end);
		q->next = o->start == ALM_START_END ? end : begin;
		return st;
	}
}

int
alm_subscribe(struct alm_client *c, const struct alm_sub_opts *o, struct alm_sub **out)
{
	struct alm_sub *s = calloc(1, sizeof *s);
	uint32_t i;
	int st;

	*out = NULL;
	if (!s)
		return client_fail(c, ALM_ENOMEM, "out of memory");
	s->client = c;
	s->last = &s->first;
	st = options_check(c, o, s);
	if (st == ALM_OK)
		st = queues_take(c, o, s);
	for (i = 0; st == ALM_OK && i < s->n_q; i++) {
		st = start_find(c, o, &s->q[i]);
		s->q[i].given = s->q[i].committed = s->q[i].next;
	}
	if (st == ALM_OK)
		st = slot_take(c, s);
	if (st != ALM_OK) {
		sub_free(s);
		return st;
	}
	for (i = 0; i < s->n_q; i++)
		subscribe_send(s, i);
	conn_write(c);
	*out = s;
	return ALM_OK;
}

/* ---- taking ---------------------------------------------------------------------------------------- */

static int
block_next(struct alm_sub *s, struct alm_msg *out)
{
	struct block *b;

	while ((b = s->first)) {
		struct squeue *q = &s->q[b->q];

		if (alm_batch_view_next(&b->view.v, out) == 1) {
			out->topic = s->topic;
			q->given = out->record->offset + 1;
			s->client->st.delivered++;
			return 1;
		}
		/* Its last message was given out by the call before: now nobody looks at it. */
		s->first = b->next;
		if (!s->first)
			s->last = &s->first;
		q->held -= b->view.len;
		q->credit += b->view.len;
		credit_send(s, b->q);
		block_free(b);
	}
	return 0;
}

int
alm_next(struct alm_sub *s, struct alm_msg *out, int wait_ms)
{
	struct alm_client *c = s->client;
	uint64_t deadline = wait_ms < 0 ? FOREVER : mono_us() + (uint64_t)wait_ms * 1000;
	int st;

	if (s->cb)
		return client_fail(c, ALM_EINVAL, "this subscription gives its messages to a callback");
	for (;;) {
		if (block_next(s, out))
			return ALM_OK;
		if (s->status != ALM_OK)
			return client_fail(c, ALM_ECLOSED, "the subscription ended: %s", s->detail);
		s->ready = 0;
		st = client_wait(c, &s->ready, deadline);
		if (st != ALM_OK)
			return st;
	}
}

int
alm_sub_commit(struct alm_sub *s)
{
	uint32_t i;
	int st = ALM_OK;

	if (!s->group[0])
		return client_fail(s->client, ALM_EINVAL, "the subscription has no group");
	for (i = 0; i < s->n_q && st == ALM_OK; i++) {
		struct squeue *q = &s->q[i];
		uint64_t given = q->given;

		if (given == q->committed)
			continue;
		st = alm_commit(s->client, s->group, s->topic, q->queue, given);
		if (st == ALM_OK)
			q->committed = given;
	}
	return st;
}

uint64_t
alm_sub_gap(const struct alm_sub *s)
{
	return s->gap;
}

int
alm_sub_status(const struct alm_sub *s)
{
	return s->status;
}
