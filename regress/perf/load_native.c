/* regress/perf/load_native.c - drives the native protocol: one PUBLISH frame holds what the window
 * allows at that moment, at most batch= messages (batch=1: a frame a message).
 *
 * Options: queues=1 batch=1024 producer=1 (0: no duplicate check) credit=8m (bytes, drain). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plugins/protocol/native/wire.h"
#include "regress/perf/load.h"

/* c->a: flag of roundtrips.  c->text holds this: */
struct native {
	uint64_t producer;
	uint64_t frame;    /* start of the open frame in out + 1; 0: none */
	uint32_t open;     /* messages in it */
	uint32_t sequence; /* of the last message in closed frames */
};

static uint32_t handles[1024]; /* of the subscriptions, by queue */

static struct native *
native_of(struct load_conn *c)
{
	return (struct native *)(void *)c->text;
}

static struct alm_slice
topic(void)
{
	const char *name = load_option("topic", "bench");

	return (struct alm_slice){name, strlen(name)};
}

static void
put_frame(struct load_conn *c, struct wire_out *o)
{
	wire_end(o, 0);
	load_put(c, o->data, o->len);
	wire_out_free(o);
}

static int
native_open(struct load_conn *c)
{
	struct wire_out o = {0};

	native_of(c)->producer = ((uint64_t)getpid() << 32 | c->id << 1 | 1) *
	    UINT64_C(0x9e3779b97f4a7c15);
	wire_begin(&o, WIRE_HELLO, 0, 0);
	wire_put32(&o, WIRE_MAGIC);
	wire_put16(&o, WIRE_VERSION_MIN);
	wire_put16(&o, WIRE_VERSION_MAX);
	wire_put32(&o, WIRE_FRAME_MOST);
	wire_put32(&o, 0);
	wire_put16(&o, 4);
	wire_put16(&o, 0);
	wire_put32(&o, 0);
	wire_put(&o, "load", 4);
	put_frame(c, &o);
	c->a = 0;
	return load_roundtrip(c, &c->a);
}

static int
native_setup(struct load_conn *c)
{
	struct alm_topic t = {.version = 1, .queues = (uint32_t)load_number("queues", 1)};
	struct wire_out o = {0};

	wire_begin(&o, WIRE_TOPIC_PUT, 0, 1);
	wire_put32(&o, 1);
	wire_put16(&o, (uint32_t)topic().len);
	wire_put16(&o, 0);
	wire_put(&o, &t, sizeof t);
	wire_put_slice(&o, topic());
	put_frame(c, &o);
	c->a = 0;
	return load_roundtrip(c, &c->a);
}

static int
native_subscribe(struct load_conn *c)
{
	uint32_t queues = (uint32_t)load_number("queues", 1), q;

	if (queues > sizeof handles / sizeof handles[0])
		load_die("too many queues");
	for (q = 0; q < queues; q++) {
		struct wire_out o = {0};

		wire_begin(&o, WIRE_SUBSCRIBE, 0, q);
		wire_put32(&o, 0);
		wire_put32(&o, q);
		wire_put64(&o, 0);
		wire_put64(&o, load_number("credit", 8 << 20));
		wire_put32(&o, 1 << 20);
		wire_put16(&o, (uint32_t)topic().len);
		wire_put16(&o, 0);
		wire_put_slice(&o, topic());
		put_frame(c, &o);
		c->a = 0;
		if (load_roundtrip(c, &c->a) != 0)
			return -1;
	}
	return 0;
}

static void
native_flush(struct load_conn *c)
{
	struct native *n = native_of(c);
	uint64_t start = n->frame - 1;
	uint32_t length, pad;
	uint8_t *f;

	if (!n->frame)
		return;
	pad = (uint32_t)(start - c->out.len) & 7;
	memset(load_room(c, pad), 0, pad);
	f = c->out.data + start;
	length = (uint32_t)(c->out.len - start - 4);
	memcpy(f, &length, sizeof length);
	memcpy(f + WIRE_PUBLISH_SEQUENCE_AT + 4, &n->open, sizeof n->open);
	n->sequence += n->open;
	n->open = 0;
	n->frame = 0;
}

static void
frame_begin(struct load_conn *c)
{
	static uint32_t checked = 2;
	struct native *n = native_of(c);
	struct wire_publish w = {.queue = WIRE_QUEUE_ANY, .sequence = n->sequence + 1, .n = 1,
	    .name = topic()};
	struct wire_out o = {0};

	if (checked == 2)
		checked = load_number("producer", 1) != 0;
	if (checked)
		w.producer = n->producer;
	wire_begin(&o, WIRE_PUBLISH, 0, w.sequence);
	wire_publish_put(&o, &w);
	n->frame = c->out.len + 1;
	load_put(c, o.data, o.len);
	wire_out_free(&o);
}

static void
native_publish(struct load_conn *c, const uint8_t *data, uint32_t len)
{
	static uint32_t batch;
	uint32_t head[4] = {0, len, 0, 0};
	uint8_t *p;

	if (!batch)
		batch = (uint32_t)load_number("batch", 1024);
	if (!native_of(c)->frame)
		frame_begin(c);
	p = load_room(c, sizeof head + len);
	memcpy(p, head, sizeof head);
	memcpy(p + sizeof head, data, len);
	if (++native_of(c)->open == batch)
		native_flush(c);
}

static void
records(struct load_conn *c, const uint8_t *frame, const struct wire_head *h)
{
	struct wire_in in = wire_payload(frame, h);
	const struct alm_record *r;
	struct wire_records w;
	struct wire_out o = {0};
	struct alm_slice b;
	const uint8_t *data;
	uint64_t at = 0;

	if (wire_records_get(&in, &w) != ALM_OK || w.status != ALM_OK)
		load_die("the subscription ended with status %d", w.status);
	data = in.p + w.n_chunks * sizeof(struct wire_chunk);
	while ((r = wire_record_next(data, w.bytes, &at))) {
		b = alm_record_body(r);
		load_delivered(c, b.data, b.len);
	}
	wire_begin(&o, WIRE_CREDIT, 0, h->correlation);
	wire_put32(&o, handles[h->correlation]);
	wire_put32(&o, 0);
	wire_put64(&o, w.bytes);
	put_frame(c, &o);
}

static uint64_t
native_parse(struct load_conn *c, const uint8_t *p, uint64_t len)
{
	struct wire_error e;
	struct wire_head h;
	struct wire_in in;
	uint32_t v[3];
	int st = wire_head_get(p, len, WIRE_FRAME_MOST, &h);

	if (st < 0)
		load_die("the server sends no frames of this protocol");
	if (st == 0 || len < h.length)
		return 0;
	in = wire_payload(p, &h);
	switch (h.type) {
	case WIRE_PUBLISH | WIRE_REPLY:
		memcpy(v, in.p, sizeof v);
		load_acked(c, v[2]);
		break;
	case WIRE_DELIVER:
		records(c, p, &h);
		break;
	case WIRE_SUBSCRIBE | WIRE_REPLY:
		handles[h.correlation] = wire_u32(&in);
		c->a = 1;
		break;
	case WIRE_ERROR:
		if (wire_error_get(&in, &e) != ALM_OK)
			load_die("broken ERROR frame");
		if (e.status != ALM_EEXIST)
			load_die("status %d: %.*s", e.status, (int)e.detail.len,
			    (const char *)e.detail.data);
		c->a = 1;
		break;
	default:
		c->a = 1;
	}
	return h.length;
}

int
main(int argc, char **argv)
{
	static const struct load_driver native = {"native", native_open, native_setup,
	    native_subscribe, native_publish, native_flush, native_parse};

	return load_main(argc, argv, &native);
}
