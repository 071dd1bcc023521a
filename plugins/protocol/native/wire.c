/* wire.c - see wire.h.  Every read goes through take(), the one place that compares a length with
 * what is left. */
#include "wire.h"

#include <stdlib.h>

/* The ABI and the wire are little-endian; so is every machine this builds for. */
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the native protocol's codec needs a little-endian machine"
#endif

/* ---- reading -------------------------------------------------------------------------- */

static const uint8_t *
take(struct wire_in *in, uint64_t len)
{
	const uint8_t *p = in->p;

	if (in->bad || len > (uint64_t)(in->end - p)) {
		in->bad = 1;
		return NULL;
	}
	in->p += len;
	return p;
}

int
wire_head_get(const uint8_t *p, uint64_t len, uint64_t limit, struct wire_head *out)
{
	uint32_t length;
	uint16_t reserved;

	if (len < WIRE_HEAD)
		return 0;
	memcpy(&length, p, sizeof length);
	memcpy(&reserved, p + 6, sizeof reserved);
	if (length < WIRE_HEAD - 4 || (length + 4) % 8 != 0 || reserved != 0)
		return ALM_EPROTO;
	if ((uint64_t)length + 4 > limit)
		return ALM_ETOOBIG;
	out->length = length + 4;
	out->type = p[4];
	out->flags = p[5];
	memcpy(&out->correlation, p + 8, sizeof out->correlation);
	return 1;
}

struct wire_in
wire_payload(const uint8_t *frame, const struct wire_head *h)
{
	struct wire_in in = {frame + WIRE_HEAD, frame + h->length, 0};

	return in;
}

uint16_t
wire_u16(struct wire_in *in)
{
	const uint8_t *p = take(in, 2);
	uint16_t v = 0;

	if (p)
		memcpy(&v, p, sizeof v);
	return v;
}

uint32_t
wire_u32(struct wire_in *in)
{
	const uint8_t *p = take(in, 4);
	uint32_t v = 0;

	if (p)
		memcpy(&v, p, sizeof v);
	return v;
}

uint64_t
wire_u64(struct wire_in *in)
{
	const uint8_t *p = take(in, 8);
	uint64_t v = 0;

	if (p)
		memcpy(&v, p, sizeof v);
	return v;
}

struct alm_slice
wire_bytes(struct wire_in *in, uint64_t len)
{
	const uint8_t *p = take(in, len);
	struct alm_slice s = {p, p ? len : 0};

	return s;
}

void
wire_align(struct wire_in *in, const uint8_t *base)
{
	(void)take(in, (uint64_t)(base - in->p) & 7);
}

/* ---- writing -------------------------------------------------------------------------- */

uint8_t *
wire_room(struct wire_out *o, uint64_t len)
{
	uint64_t cap = o->cap ? o->cap : 256;
	uint8_t *p;

	if (o->bad)
		return NULL;
	if (len > o->cap - o->len) {
		while (cap - o->len < len)
			cap *= 2;
		p = realloc(o->data, cap);
		if (!p) {
			o->bad = 1;
			return NULL;
		}
		o->data = p;
		o->cap = cap;
	}
	p = o->data + o->len;
	o->len += len;
	return p;
}

void
wire_put(struct wire_out *o, const void *data, uint64_t len)
{
	uint8_t *p = wire_room(o, len);

	if (p && len)
		memcpy(p, data, len);
}

void
wire_put16(struct wire_out *o, uint32_t v)
{
	uint16_t x = (uint16_t)v;

	wire_put(o, &x, sizeof x);
}

void
wire_put32(struct wire_out *o, uint32_t v)
{
	wire_put(o, &v, sizeof v);
}

void
wire_put64(struct wire_out *o, uint64_t v)
{
	wire_put(o, &v, sizeof v);
}

void
wire_put_slice(struct wire_out *o, struct alm_slice s)
{
	wire_put(o, s.data, s.len);
}

void
wire_pad(struct wire_out *o)
{
	static const uint8_t zero[8];

	wire_put(o, zero, (o->start - o->len) & 7);
}

void
wire_begin(struct wire_out *o, uint32_t type, uint32_t flags, uint64_t correlation)
{
	o->start = o->len;
	wire_put32(o, 0);
	wire_put16(o, (type & 0xff) | (flags & 0xff) << 8);
	wire_put16(o, 0);
	wire_put64(o, correlation);
}

void
wire_end(struct wire_out *o, uint64_t extra)
{
	uint32_t length;

	wire_pad(o);
	if (o->bad)
		return;
	length = (uint32_t)(o->len - o->start + extra - 4);
	memcpy(o->data + o->start, &length, sizeof length);
}

void
wire_reset(struct wire_out *o)
{
	o->len = o->start = 0;
	o->bad = 0;
}

void
wire_out_free(struct wire_out *o)
{
	free(o->data);
	memset(o, 0, sizeof *o);
}

/* ---- PUBLISH -------------------------------------------------------------------------- */

void
wire_publish_put(struct wire_out *o, const struct wire_publish *w)
{
	wire_put32(o, w->topic);
	wire_put32(o, w->queue);
	wire_put64(o, w->producer);
	wire_put64(o, w->born);
	wire_put32(o, w->sequence);
	wire_put32(o, w->n);
	wire_put16(o, (uint32_t)w->name.len);
	wire_put16(o, 0);
	wire_put32(o, 0);
	wire_put_slice(o, w->name);
	wire_pad(o);
}

int
wire_publish_get(struct wire_in *in, struct wire_publish *w)
{
	const uint8_t *base = in->p;
	uint16_t name_len;

	w->topic = wire_u32(in);
	w->queue = wire_u32(in);
	w->producer = wire_u64(in);
	w->born = wire_u64(in);
	w->sequence = wire_u32(in);
	w->n = wire_u32(in);
	name_len = wire_u16(in);
	(void)wire_u16(in);
	(void)wire_u32(in);
	w->name = wire_bytes(in, name_len);
	wire_align(in, base);
	if (in->bad || w->n == 0 || w->n > WIRE_PUBLISH_MOST ||
	    (uint64_t)w->n * WIRE_MESSAGE_HEAD > (uint64_t)(in->end - in->p) ||
	    (w->topic == 0) != (name_len != 0) || name_len > ALM_NAME_MAX)
		return ALM_EPROTO;
	return ALM_OK;
}

int
wire_message_get(struct wire_in *in, struct wire_message *m)
{
	const uint8_t *p = take(in, WIRE_MESSAGE_HEAD);
	uint32_t v[4];

	if (!p)
		return ALM_EPROTO;
	memcpy(v, p, sizeof v);
	m->flags = v[2];
	m->born_delta = v[3];
	m->attrs = wire_bytes(in, v[0]);
	m->body = wire_bytes(in, v[1]);
	m->key.data = NULL;
	m->key.len = 0;
	if (in->bad)
		return ALM_EPROTO;
	return v[0] ? wire_attrs_check(m->attrs.data, v[0], &m->key) : ALM_OK;
}

/* One attribute's value by its type. */
static int
attr_check(uint32_t type, const uint8_t *value, uint64_t len, int *tags, struct alm_slice *key)
{
	uint16_t name_len;

	switch (type) {
	case ALM_ATTR_TAG:
		return (*tags)++ == 0 && len > 0 && len <= ALM_NAME_MAX && !memchr(value, 0, len);
	case ALM_ATTR_KEY:
		if (!key->data) {
			key->data = value;
			key->len = len;
		}
		return len > 0 && len <= WIRE_KEY_MAX;
	case ALM_ATTR_PROPERTY:
		if (len < sizeof name_len)
			return 0;
		memcpy(&name_len, value, sizeof name_len);
		return name_len > 0 && name_len <= len - sizeof name_len;
	case ALM_ATTR_BORN_HOST:
		return len == 6 || len == 18;
	case ALM_ATTR_EXPIRY:
	case ALM_ATTR_PREPARED:
		return len == 8;
	case ALM_ATTR_BODY_CRC32:
	case ALM_ATTR_RECONSUME:
		return len == 4;
	default:
		return 1;
	}
}

int
wire_attrs_check(const void *attrs, uint64_t len, struct alm_slice *key)
{
	const uint8_t *p = attrs;
	struct alm_attr a;
	int tags = 0;

	key->data = NULL;
	key->len = 0;
	while (len) {
		if (len < sizeof a)
			return ALM_EPROTO;
		memcpy(&a, p, sizeof a);
		if (a.reserved || a.len > len - sizeof a ||
		    !attr_check(a.type, p + sizeof a, a.len, &tags, key))
			return ALM_EPROTO;
		p += sizeof a + a.len;
		len -= sizeof a + a.len;
	}
	return ALM_OK;
}

/* ---- records -------------------------------------------------------------------------- */

void
wire_records_put(struct wire_out *o, const struct wire_records *r)
{
	wire_put32(o, (uint32_t)r->status);
	wire_put32(o, r->topic);
	wire_put32(o, r->queue);
	wire_put32(o, r->n_chunks);
	wire_put64(o, r->begin);
	wire_put64(o, r->end);
	wire_put64(o, r->next_offset);
	wire_put64(o, r->bytes);
}

int
wire_records_get(struct wire_in *in, struct wire_records *r)
{
	r->status = (int32_t)wire_u32(in);
	r->topic = wire_u32(in);
	r->queue = wire_u32(in);
	r->n_chunks = wire_u32(in);
	r->begin = wire_u64(in);
	r->end = wire_u64(in);
	r->next_offset = wire_u64(in);
	r->bytes = wire_u64(in);
	if (in->bad || r->bytes > (uint64_t)(in->end - in->p) ||
	    (uint64_t)r->n_chunks * sizeof(struct wire_chunk) >
	    (uint64_t)(in->end - in->p) - r->bytes)
		return ALM_EPROTO;
	return ALM_OK;
}

const struct alm_record *
wire_record_next(const uint8_t *data, uint64_t len, uint64_t *at)
{
	const struct alm_record *r;

	if (*at > len || len - *at < sizeof *r)
		return NULL;
	r = (const struct alm_record *)(const void *)(data + *at);
	if (r->length < sizeof *r || r->length % 8 != 0 || r->length > len - *at ||
	    r->magic != ALM_RECORD_MAGIC || r->pad > 7 ||
	    (uint64_t)r->attrs_len + r->pad > r->length - sizeof *r)
		return NULL;
	*at += r->length;
	return r;
}

/* ---- ERROR ---------------------------------------------------------------------------- */

void
wire_error_put(struct wire_out *o, uint64_t correlation, const struct wire_error *e)
{
	uint64_t detail = e->detail.len < 1024 ? e->detail.len : 1024;
	uint64_t address = e->address.len < 256 ? e->address.len : 0;

	wire_begin(o, WIRE_ERROR, 0, correlation);
	wire_put32(o, (uint32_t)e->status);
	wire_put32(o, e->retry_ms);
	wire_put16(o, (uint32_t)detail);
	wire_put16(o, (uint32_t)address);
	wire_put32(o, 0);
	wire_put(o, e->detail.data, detail);
	wire_put(o, e->address.data, address);
	wire_end(o, 0);
}

int
wire_error_get(struct wire_in *in, struct wire_error *e)
{
	uint16_t detail, address;

	e->status = (int32_t)wire_u32(in);
	e->retry_ms = wire_u32(in);
	detail = wire_u16(in);
	address = wire_u16(in);
	(void)wire_u32(in);
	e->detail = wire_bytes(in, detail);
	e->address = wire_bytes(in, address);
	/* A status that is no error would be taken for success. */
	if (in->bad || e->status >= 0)
		return ALM_EPROTO;
	return ALM_OK;
}
