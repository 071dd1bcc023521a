/* publish.c - PUBLISH: one frame is one all-or-nothing group of messages and gets one answer.
 *
 * The worker's thread.  The attributes travel as log.h stores them, so a message costs a bounds
 * check, a walk over its attributes and one struct alm_message that points into the frame.
 */
#include "native.h"

/* What a client may set: its own bits and the body's codec. The origin (bits 20-23) is ours: 0. */
#define FLAGS_ALLOWED (ALM_RF_USER_MASK | 0xfu << ALM_RF_CODEC_SHIFT)

static int
messages_reserve(struct alm_proto *p, uint32_t n)
{
	struct alm_message *m;
	uint32_t cap = p->n_messages ? p->n_messages : 64;

	if (n <= p->n_messages)
		return ALM_OK;
	while (cap < n)
		cap *= 2;
	m = p->host->alloc(p->host, (uint64_t)cap * sizeof *m);
	if (!m)
		return ALM_ENOMEM;
	p->host->free(p->host, p->messages);
	p->messages = m;
	p->n_messages = cap;
	return ALM_OK;
}

/* The frame's messages into p->messages; *keyed tells whether they go to different queues. */
static int
decode(struct alm_session *s, struct wire_in *in, const struct wire_publish *w,
    const struct alm_topic *topic, uint32_t *queue, uint32_t *keyed)
{
	struct alm_proto *p = s->proto;
	struct wire_message m;
	uint32_t i;

	*queue = w->queue;
	*keyed = 0;
	for (i = 0; i < w->n; i++) {
		struct alm_message *a = &p->messages[i];

		if (wire_message_get(in, &m) != ALM_OK)
			return hostile(s, "a PUBLISH frame holds a broken message");
		a->topic = topic->id;
		a->queue = w->queue;
		if (w->queue == WIRE_QUEUE_ANY && m.key.len) {
			a->queue = p->broker->route(s->conn, topic->id, topic->queues, m.key);
			*keyed = 1;
		} else if (w->queue == WIRE_QUEUE_ANY) {
			/* One turn a frame: a batch that stays together is cheap to read. */
			if (*queue == WIRE_QUEUE_ANY)
				*queue = p->broker->route(s->conn, topic->id, topic->queues,
				    (struct alm_slice){NULL, 0});
			a->queue = *queue;
		}
		a->flags = m.flags & FLAGS_ALLOWED;
		a->sequence = w->sequence + i;
		a->producer = w->producer;
		a->born = w->born ? w->born + m.born_delta : 0;
		a->attrs = m.attrs;
		a->body = m.body;
	}
	return ALM_OK;
}

/* Which queue each message went to, kept for the answer. */
static int
remember_queues(struct alm_session *s, struct request *r)
{
	const struct alm_host *host = s->proto->host;
	uint32_t i;

	r->queues = host->alloc(host, (uint64_t)r->n * sizeof *r->queues);
	if (!r->queues)
		return ALM_ENOMEM;
	for (i = 0; i < r->n; i++)
		r->queues[i] = s->proto->messages[i].queue;
	return ALM_OK;
}

int
on_publish(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	struct alm_append a = {.size = sizeof a};
	struct alm_topic_info info;
	struct wire_publish w;
	struct request *r;
	uint32_t slot, queue, keyed;
	int st;

	if (wire_publish_get(in, &w) != ALM_OK)
		return hostile(s, "a PUBLISH frame is malformed");
	if (!queue_find(s, h->correlation, w.topic, w.name, w.queue, &info))
		return ALM_OK;
	if (messages_reserve(s->proto, w.n) != ALM_OK)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	st = decode(s, in, &w, &info.topic, &queue, &keyed);
	if (st != ALM_OK)
		return st;
	slot = request_new(s, WIRE_PUBLISH, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	r = &s->requests[slot];
	r->topic = info.topic.id;
	r->queue = queue;
	r->n = w.n;
	r->routed = w.queue == WIRE_QUEUE_ANY;
	if (keyed && (st = remember_queues(s, r)) != ALM_OK)
		return request_made(s, slot, st);
	a.n_messages = w.n;
	a.messages = s->proto->messages;
	return request_made(s, slot, s->proto->broker->append(s->conn, slot, &a));
}

/* Reply: u32 topic, queue, n, duplicate; u64 position, index, first offset; with WIRE_F_SCATTER a list. */
void
publish_done(struct alm_session *s, const struct request *r, const struct alm_done *d)
{
	/* Of a duplicate that the server routed, only the first attempt knows the queue. */
	uint32_t scatter = (r->queues || d->offsets) && !d->duplicate;
	struct wire_out *o = reply_begin(s, WIRE_PUBLISH | WIRE_REPLY,
	    scatter ? WIRE_F_SCATTER : 0, r->correlation);
	uint32_t i;

	wire_put32(o, r->topic);
	wire_put32(o, r->queues || (d->duplicate && r->routed) ? WIRE_QUEUE_ANY : r->queue);
	wire_put32(o, r->n);
	wire_put32(o, d->duplicate);
	wire_put64(o, d->position);
	wire_put64(o, d->index);
	wire_put64(o, d->first_offset);
	for (i = 0; scatter && i < r->n; i++) {
		wire_put32(o, r->queues ? r->queues[i] : r->queue);
		wire_put32(o, 0);
		wire_put64(o, d->offsets ? d->offsets[i] : d->first_offset + i);
	}
	reply_send(s, 0);
}
