/* batch.c - alm_publish_async: messages gather in one open batch for each topic and queue.
 *
 * An open batch is a PUBLISH frame under construction; sealing completes it and gives it to the
 * window.  Open batches are listed by age, so that linger looks at the first one only.
 */
#include "internal.h"

#include <stdlib.h>

#define SPARE_MAX 64u
#define RENUMBER_AT 0xf0000000u /* sequences are 32 bits: change the producer long before they wrap */

/* ---- finding ---------------------------------------------------------------------------- */

static uint32_t
bucket_of(const char *topic, uint64_t len, uint32_t queue)
{
	uint32_t h = 2166136261u ^ queue;
	uint64_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (uint8_t)topic[i]) * 16777619u;
	return (h ^ h >> 16) % BUCKETS;
}

static struct batch *
batch_find(struct alm_client *c, const char *topic, uint64_t len, uint32_t queue)
{
	struct batch *b;

	for (b = c->bucket[bucket_of(topic, len, queue)]; b; b = b->chain)
		if (b->queue == queue && b->topic_len == len && memcmp(b->topic, topic, len) == 0)
			return b;
	return NULL;
}

/* ---- life --------------------------------------------------------------------------------- */

void
batch_free(struct batch *b)
{
	wire_out_free(&b->frame);
	free(b->waiters);
	free(b->scatter);
	free(b->detail);
	free(b);
}

/* Keep a few with their memory: first touch of fresh pages costs more than filling them. */
void
batch_recycle(struct alm_client *c, struct batch *b)
{
	struct wire_out frame = b->frame;
	struct waiter *waiters = b->waiters;
	uint32_t cap = b->cap;

	if (c->n_spare >= SPARE_MAX || frame.cap > 4u * c->o.batch_bytes + 65536u) {
		batch_free(b);
		return;
	}
	free(b->scatter);
	free(b->detail);
	memset(b, 0, sizeof *b);
	wire_reset(&frame);
	b->frame = frame;
	b->waiters = waiters;
	b->cap = cap;
	b->next = c->spare;
	c->spare = b;
	c->n_spare++;
}

static struct batch *
batch_open(struct alm_client *c, const struct alm_pub *m, uint64_t len, uint64_t born)
{
	struct wire_publish w = {.queue = m->queue, .born = born, .name = {m->topic, len}};
	uint32_t bucket = bucket_of(m->topic, len, m->queue);
	struct batch *b = c->spare;

	if (b) {
		c->spare = b->next;
		c->n_spare--;
	} else {
		b = calloc(1, sizeof *b);
		if (!b)
			return NULL;
	}
	memcpy(b->topic, m->topic, len);
	b->topic_len = (uint32_t)len;
	b->queue = m->queue;
	b->wall = born;
	b->since = mono_us();
	wire_begin(&b->frame, WIRE_PUBLISH, 0, 0);
	wire_publish_put(&b->frame, &w);
	b->next = NULL;
	b->prev = c->open_last;
	*(c->open_last ? &c->open_last->next : &c->open_first) = b;
	c->open_last = b;
	b->chain = c->bucket[bucket];
	c->bucket[bucket] = b;
	c->st.buffered += b->frame.len;
	return b;
}

static void
batch_unlink(struct alm_client *c, struct batch *b)
{
	struct batch **at = &c->bucket[bucket_of(b->topic, b->topic_len, b->queue)];

	*(b->prev ? &b->prev->next : &c->open_first) = b->next;
	*(b->next ? &b->next->prev : &c->open_last) = b->prev;
	while (*at != b)
		at = &(*at)->chain;
	*at = b->chain;
	b->next = b->prev = b->chain = NULL;
}

void
batch_number(struct batch *b, uint64_t producer, uint32_t sequence)
{
	b->producer = producer;
	b->sequence = sequence;
	memcpy(b->frame.data + WIRE_PUBLISH_PRODUCER_AT, &producer, sizeof producer);
	memcpy(b->frame.data + WIRE_PUBLISH_SEQUENCE_AT, &sequence, sizeof sequence);
}

void
batch_seal(struct alm_client *c, struct batch *b)
{
	uint64_t correlation = CORR(CORR_PUBLISH, ++c->serial), before = b->frame.len;

	batch_unlink(c, b);
	wire_end(&b->frame, 0); /* room for the padding was reserved with each message */
	c->st.buffered += b->frame.len - before;
	b->serial = correlation;
	memcpy(b->frame.data + 8, &correlation, sizeof correlation);
	memcpy(b->frame.data + WIRE_PUBLISH_SEQUENCE_AT + 4, &b->n, sizeof b->n);
	if (c->sequence >= RENUMBER_AT) {
		c->producer = random64(c) | 1;
		c->sequence = 1;
	}
	batch_number(b, c->producer, c->sequence);
	c->sequence += b->n;
	window_add(c, b);
}

void
batch_seal_due(struct alm_client *c, uint64_t now)
{
	struct batch *b;

	while ((b = c->open_first) && (now == FOREVER || b->since + c->o.linger_us <= now))
		batch_seal(c, b);
}

uint64_t
batch_timer(const struct alm_client *c)
{
	return c->open_first ? c->open_first->since + c->o.linger_us : FOREVER;
}

/* ---- messages -------------------------------------------------------------------------------- */

static uint64_t
attrs_size(const struct alm_pub *m)
{
	const uint64_t head = sizeof(struct alm_attr);
	uint64_t size = 0;
	uint32_t i;

	if (m->tag.len)
		size += head + m->tag.len;
	if (m->key.len)
		size += head + m->key.len;
	for (i = 0; i < m->n_properties; i++)
		size += head + 2 + m->properties[i].name.len + m->properties[i].value.len;
	return size;
}

static uint8_t *
attr_put(uint8_t *p, uint32_t type, uint64_t len)
{
	struct alm_attr a = {.type = (uint16_t)type, .len = (uint32_t)len};

	memcpy(p, &a, sizeof a);
	return p + sizeof a;
}

static uint8_t *
slice_put(uint8_t *p, struct alm_slice s)
{
	if (s.len)
		memcpy(p, s.data, s.len);
	return p + s.len;
}

static void
message_put(uint8_t *p, const struct alm_pub *m, uint32_t attrs, uint32_t delta)
{
	uint32_t head[4] = {attrs, (uint32_t)m->body.len, m->flags, delta}, i;

	memcpy(p, head, sizeof head);
	p += sizeof head;
	if (m->tag.len)
		p = slice_put(attr_put(p, ALM_ATTR_TAG, m->tag.len), m->tag);
	if (m->key.len)
		p = slice_put(attr_put(p, ALM_ATTR_KEY, m->key.len), m->key);
	for (i = 0; i < m->n_properties; i++) {
		const struct alm_property *q = &m->properties[i];
		uint16_t len = (uint16_t)q->name.len;

		p = attr_put(p, ALM_ATTR_PROPERTY, 2 + q->name.len + q->value.len);
		memcpy(p, &len, sizeof len);
		p = slice_put(slice_put(p + 2, q->name), q->value);
	}
	(void)slice_put(p, m->body);
}

/* What the server would refuse with the loss of the whole connection is refused here. */
static int
message_check(struct alm_client *c, const struct alm_pub *m, uint64_t *size)
{
	uint64_t total = m->body.len;
	uint32_t i;

	if (m->size != sizeof *m)
		return client_fail(c, ALM_EINVAL, "alm_pub.size is %u, not %zu", m->size, sizeof *m);
	if (m->tag.len > ALM_NAME_MAX || (m->tag.len && memchr(m->tag.data, 0, m->tag.len)))
		return client_fail(c, ALM_EINVAL,
		    "a tag has at most %u bytes and no zero byte", ALM_NAME_MAX);
	if (m->key.len > WIRE_KEY_MAX)
		return client_fail(c, ALM_EINVAL, "the key has %llu bytes; the limit is %u",
		    (unsigned long long)m->key.len, WIRE_KEY_MAX);
	for (i = 0; i < m->n_properties; i++) {
		if (!m->properties[i].name.len || m->properties[i].name.len > UINT16_MAX)
			return client_fail(c, ALM_EINVAL,
			    "a property's name has 1 to 65535 bytes");
		if (m->properties[i].value.len > ALM_MESSAGE_MAX)
			total = UINT64_MAX / 2;
	}
	if (total <= ALM_MESSAGE_MAX)
		total += attrs_size(m);
	if (total > ALM_MESSAGE_MAX - sizeof(struct alm_record))
		return client_fail(c, ALM_ETOOBIG, "the message is larger than %u bytes",
		    ALM_MESSAGE_MAX);
	*size = total + WIRE_MESSAGE_HEAD;
	return ALM_OK;
}

static int
waiter_put(struct batch *b, alm_ack_fn cb, void *arg)
{
	if (b->n == b->cap) {
		uint32_t cap = b->cap ? b->cap * 2 : 64;
		struct waiter *w = realloc(b->waiters, cap * sizeof *w);

		if (!w)
			return ALM_ENOMEM;
		b->waiters = w;
		b->cap = cap;
	}
	b->waiters[b->n++] = (struct waiter){cb, arg};
	return ALM_OK;
}

/* An open batch with room for the message. */
static struct batch *
batch_for(struct alm_client *c, const struct alm_pub *m, uint64_t len, uint64_t size,
    uint64_t born)
{
	struct batch *b = batch_find(c, m->topic, len, m->queue);

	if (b && (b->frame.len + size > c->o.batch_bytes || born < b->wall ||
	    born - b->wall > UINT32_MAX)) {
		batch_seal(c, b);
		b = NULL;
	}
	return b ? b : batch_open(c, m, len, born);
}

int
alm_publish_async(struct alm_client *c, const struct alm_pub *m, alm_ack_fn cb, void *arg)
{
	uint64_t size = 0, len = m->topic ? strlen(m->topic) : 0;
	uint64_t born = m->born ? m->born : wall_us();
	struct batch *b;
	uint8_t *p;
	int st = message_check(c, m, &size);

	if (st != ALM_OK)
		return st;
	if (!len || len > ALM_NAME_MAX)
		return client_fail(c, ALM_EINVAL, "a topic's name has 1 to %u bytes", ALM_NAME_MAX);
	if (c->st.buffered && c->st.buffered + size > c->o.max_buffered)
		return client_fail(c, ALM_EAGAIN,
		    "max_buffered: %llu bytes are unacknowledged", (unsigned long long)c->st.buffered);
	b = batch_for(c, m, len, size, born);
	/* Room for the frame's padding too, so that sealing cannot fail. */
	p = b ? wire_room(&b->frame, size + 8) : NULL;
	if (!p || waiter_put(b, cb, arg) != ALM_OK) {
		if (p)
			b->frame.len -= size + 8;
		if (b)
			b->frame.bad = 0;
		return client_fail(c, ALM_ENOMEM, "out of memory");
	}
	b->frame.len -= 8;
	message_put(p, m, (uint32_t)(size - WIRE_MESSAGE_HEAD - m->body.len),
	    (uint32_t)(born - b->wall));
	c->st.buffered += size;
	c->st.published++;
	if (b->n >= c->o.batch_messages || b->frame.len >= c->o.batch_bytes) {
		batch_seal(c, b);
		if (!c->in_callback)
			conn_write(c);
	}
	return ALM_OK;
}

int
alm_push(struct alm_client *c)
{
	batch_seal_due(c, FOREVER);
	if (!c->in_callback)
		conn_write(c);
	return ALM_OK;
}
