/* read.c - FETCH, LOOKUP, BOUNDS, OFFSET_AT, COMMIT.  The worker's thread.
 *
 * Records leave as pinned slices of the log: the frame's head says how many bytes follow, then the
 * core sends them from where they lie.
 */
#include "native.h"

int
on_fetch(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	struct alm_fetch f = {.size = sizeof f};
	uint64_t room = s->max_frame - 65536;
	struct alm_topic_info info;
	struct alm_slice name;
	uint16_t name_len, tags_len;
	uint32_t slot, topic = wire_u32(in);

	f.queue = wire_u32(in);
	f.offset = wire_u64(in);
	f.max_bytes = wire_u32(in);
	f.max_messages = wire_u32(in);
	f.wait_ms = wire_u32(in);
	name_len = wire_u16(in);
	tags_len = wire_u16(in);
	name = wire_bytes(in, name_len);
	f.tags = wire_bytes(in, tags_len);
	if (in->bad || name_len > ALM_NAME_MAX || tags_len > WIRE_TAGS_MAX ||
	    f.queue == WIRE_QUEUE_ANY)
		return hostile(s, "a FETCH frame is malformed");
	if (s->fetches >= s->proto->max_fetches)
		return reply_errorf(s, h->correlation, ALM_EAGAIN,
		    "%u fetches are under way on this connection; the limit is max_fetches = %u",
		    s->fetches, s->proto->max_fetches);
	if (!queue_find(s, h->correlation, topic, name, f.queue, &info))
		return ALM_OK;
	f.topic = info.topic.id;
	if (f.max_bytes > room)
		f.max_bytes = (uint32_t)room;
	slot = request_new(s, WIRE_FETCH, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	s->requests[slot].topic = f.topic;
	s->requests[slot].queue = f.queue;
	return request_made(s, slot, s->proto->broker->fetch(s->conn, slot, &f));
}

int
records_send(struct alm_session *s, uint32_t type, uint64_t correlation, uint32_t topic,
    uint32_t queue, const struct alm_done *d)
{
	struct wire_records w = {.status = d->status, .topic = topic, .queue = queue,
	    .n_chunks = d->n_chunks, .begin = d->begin, .end = d->end,
	    .next_offset = d->next_offset};
	struct wire_out *o;
	uint32_t i;

	for (i = 0; i < d->n_chunks; i++)
		w.bytes += d->chunks[i].len;
	if (w.bytes % 8 != 0 || w.bytes > UINT32_MAX - 65536 ||
	    d->n_chunks > UINT32_MAX / 2 / sizeof(struct wire_chunk))
		return ALM_EINTERNAL;
	o = reply_begin(s, type, 0, correlation);
	wire_records_put(o, &w);
	for (i = 0; i < d->n_chunks; i++) {
		wire_put64(o, d->chunks[i].position);
		wire_put64(o, d->chunks[i].len);
	}
	reply_send(s, w.bytes);
	for (i = 0; i < d->n_chunks && !s->closing; i++)
		(void)s->proto->broker->write_pinned(s->conn, &d->chunks[i]);
	return ALM_OK;
}

void
records_done(struct alm_session *s, const struct request *r, const struct alm_done *d)
{
	if (records_send(s, r->type | WIRE_REPLY, r->correlation, r->topic, r->queue, d) != ALM_OK)
		reply_error(s, r->correlation, ALM_EINTERNAL, "the broker's records make no frame");
}

int
on_lookup(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	const struct alm_broker *b = s->proto->broker;
	struct alm_topic_info info = {0};
	struct alm_slice name, key = {NULL, 0};
	uint64_t since = 0, until = 0, position = 0;
	uint32_t slot, topic = 0, limit = 0;
	uint16_t name_len, key_len;

	if (h->type == WIRE_LOOKUP_POSITION) {
		position = wire_u64(in);
	} else {
		topic = wire_u32(in);
		limit = wire_u32(in);
		since = wire_u64(in);
		until = wire_u64(in);
		name_len = wire_u16(in);
		key_len = wire_u16(in);
		(void)wire_u32(in);
		name = wire_bytes(in, name_len);
		key = wire_bytes(in, key_len);
		if (name_len > ALM_NAME_MAX || key_len > WIRE_KEY_MAX)
			in->bad = 1;
		if (!in->bad && !queue_find(s, h->correlation, topic, name, WIRE_QUEUE_ANY, &info))
			return ALM_OK;
	}
	if (in->bad)
		return hostile(s, "a LOOKUP frame is malformed");
	slot = request_new(s, h->type, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	s->requests[slot].topic = info.topic.id;
	if (h->type == WIRE_LOOKUP_POSITION)
		return request_made(s, slot, b->lookup_position(s->conn, slot, position));
	return request_made(s, slot, b->lookup_key(s->conn, slot, info.topic.id, key,
	    limit ? limit : 32, since, until));
}

int
on_bounds(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	const struct alm_broker *b = s->proto->broker;
	struct alm_topic_info info;
	struct alm_slice name;
	uint32_t slot, topic = wire_u32(in), queue = wire_u32(in);
	uint64_t time = h->type == WIRE_OFFSET_AT ? wire_u64(in) : 0;
	uint16_t name_len = wire_u16(in);

	(void)wire_u16(in);
	(void)wire_u32(in);
	name = wire_bytes(in, name_len);
	if (in->bad || name_len > ALM_NAME_MAX || queue == WIRE_QUEUE_ANY)
		return hostile(s, "a BOUNDS or OFFSET_AT frame is malformed");
	if (!queue_find(s, h->correlation, topic, name, queue, &info))
		return ALM_OK;
	slot = request_new(s, h->type, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	if (h->type == WIRE_BOUNDS)
		return request_made(s, slot, b->bounds(s->conn, slot, info.topic.id, queue));
	return request_made(s, slot, b->offset_at(s->conn, slot, info.topic.id, queue, time));
}

void
bounds_done(struct alm_session *s, const struct request *r, const struct alm_done *d)
{
	struct wire_out *o = reply_begin(s, r->type | WIRE_REPLY, 0, r->correlation);

	wire_put64(o, d->begin);
	wire_put64(o, d->end);
	if (r->type == WIRE_OFFSET_AT)
		wire_put64(o, d->next_offset);
	reply_send(s, 0);
}

int
on_commit(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	struct alm_slice group, topic;
	uint32_t slot, queue = wire_u32(in);
	uint16_t group_len = wire_u16(in), topic_len = wire_u16(in);
	uint64_t offset = wire_u64(in);
	struct alm_topic_info info;

	group = wire_bytes(in, group_len);
	topic = wire_bytes(in, topic_len);
	if (in->bad || !group_len || group_len > ALM_NAME_MAX || topic_len > ALM_NAME_MAX ||
	    queue == WIRE_QUEUE_ANY)
		return hostile(s, "a COMMIT frame is malformed");
	if (!queue_find(s, h->correlation, 0, topic, queue, &info))
		return ALM_OK;
	slot = request_new(s, WIRE_COMMIT, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	return request_made(s, slot,
	    s->proto->broker->offset_commit(s->conn, slot, group, topic, queue, offset));
}
