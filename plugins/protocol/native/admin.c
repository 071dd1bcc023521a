/* admin.c - topics, groups, state, node: the frames that are not about messages.  The worker's
 * thread.  Lists come in pages, so that no answer grows with the catalogue. */
#include "native.h"

#define LIST_MAX 4096u /* rows in one page */
#define PAGE_MAX (1u << 20)

/* The payload that most of these share: u32 argument, u16 length, u16 0, name. */
struct named {
	uint32_t arg;
	struct alm_slice name;
};

static int
named_get(struct wire_in *in, struct named *n)
{
	uint16_t len;

	n->arg = wire_u32(in);
	len = wire_u16(in);
	(void)wire_u16(in);
	n->name = wire_bytes(in, len);
	return in->bad || len > ALM_NAME_MAX ? ALM_EPROTO : ALM_OK;
}

/* Row: u16 name length, u16 0, u32 0, u64 version, struct alm_topic, name, padding to 8. */
static void
row_put(struct wire_out *o, struct alm_slice name, const struct alm_topic_info *info)
{
	wire_put16(o, (uint32_t)name.len);
	wire_put16(o, 0);
	wire_put32(o, 0);
	wire_put64(o, info->version);
	wire_put(o, &info->topic, sizeof info->topic);
	wire_put_slice(o, name);
	wire_pad(o);
}

struct page {
	struct wire_out *out;
	struct alm_slice after;
	uint32_t n, limit, more;
};

static int
page_add(void *arg, struct alm_slice name, const struct alm_topic_info *info)
{
	struct page *p = arg;
	uint64_t least = name.len < p->after.len ? name.len : p->after.len;
	int order = least ? memcmp(name.data, p->after.data, least) : 0;

	if (p->after.len && (order < 0 || (order == 0 && name.len <= p->after.len)))
		return 0;
	if (p->n == p->limit || p->out->len > PAGE_MAX) {
		p->more = 1;
		return 1;
	}
	row_put(p->out, name, info);
	p->n++;
	return 0;
}

static int
topic_list(struct alm_session *s, uint64_t correlation, const struct named *n)
{
	struct page p = {.after = n->name, .limit = n->arg && n->arg < LIST_MAX ? n->arg : LIST_MAX};
	uint32_t counts[2];

	p.out = reply_begin(s, WIRE_TOPIC_LIST | WIRE_REPLY, 0, correlation);
	wire_put64(p.out, 0);
	(void)s->proto->broker->topics(s->conn, page_add, &p);
	counts[0] = p.n;
	counts[1] = p.more;
	if (!p.out->bad)
		memcpy(p.out->data + WIRE_HEAD, counts, sizeof counts);
	reply_send(s, 0);
	return ALM_OK;
}

static int
topic_get(struct alm_session *s, uint64_t correlation, const struct named *n)
{
	struct alm_slice name = n->name;
	struct alm_topic_info info;

	if (!queue_find(s, correlation, n->arg, name, WIRE_QUEUE_ANY, &info))
		return ALM_OK;
	if (n->arg && s->proto->broker->topic_by_id(s->conn, n->arg, &name, &info) != ALM_OK)
		return reply_error(s, correlation, ALM_ENOTFOUND, "the topic has just been deleted");
	row_put(reply_begin(s, WIRE_TOPIC_GET | WIRE_REPLY, 0, correlation), name, &info);
	reply_send(s, 0);
	return ALM_OK;
}

/* u32 create, u16 name length, u16 0, struct alm_topic, name. */
static int
topic_put(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	uint32_t slot, create = wire_u32(in);
	uint16_t len = wire_u16(in);
	struct alm_slice value, name;
	struct alm_topic topic;

	(void)wire_u16(in);
	value = wire_bytes(in, sizeof topic);
	name = wire_bytes(in, len);
	if (in->bad || !len || len > ALM_NAME_MAX)
		return hostile(s, "a TOPIC_PUT frame is malformed");
	memcpy(&topic, value.data, sizeof topic);
	slot = request_new(s, h->type, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	return request_made(s, slot,
	    s->proto->broker->topic_put(s->conn, slot, name, &topic, create != 0));
}

int
on_topic(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	struct named n;
	uint32_t slot;

	if (h->type == WIRE_TOPIC_PUT)
		return topic_put(s, h, in);
	if (named_get(in, &n) != ALM_OK)
		return hostile(s, "a TOPIC frame is malformed");
	if (h->type == WIRE_TOPIC_LIST)
		return topic_list(s, h->correlation, &n);
	if (h->type == WIRE_TOPIC_GET)
		return topic_get(s, h->correlation, &n);
	slot = request_new(s, h->type, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	return request_made(s, slot, s->proto->broker->topic_delete(s->conn, slot, n.name));
}

int
on_group(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	const struct alm_broker *b = s->proto->broker;
	struct named n;
	uint32_t slot;

	if (named_get(in, &n) != ALM_OK || !n.name.len)
		return hostile(s, "a GROUP frame is malformed");
	slot = request_new(s, h->type, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	if (h->type == WIRE_GROUP_CREATE)
		return request_made(s, slot, b->group_put(s->conn, slot, n.name, 1));
	return request_made(s, slot, b->group_delete(s->conn, slot, n.name));
}

int
on_state(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	const struct alm_broker *b = s->proto->broker;
	int scan = h->type == WIRE_STATE_SCAN;
	uint16_t ns_len = wire_u16(in), key_len = wire_u16(in), after_len = wire_u16(in);
	struct alm_slice ns, key, after;
	uint32_t slot, limit;

	(void)wire_u16(in);
	limit = wire_u32(in);
	(void)wire_u32(in);
	ns = wire_bytes(in, ns_len);
	key = wire_bytes(in, key_len);
	after = wire_bytes(in, after_len);
	if (in->bad || !ns_len || ns_len > ALM_NAME_MAX || key_len > WIRE_KEY_MAX ||
	    after_len > WIRE_KEY_MAX)
		return hostile(s, "a STATE frame is malformed");
	slot = request_new(s, h->type, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	if (!scan)
		return request_made(s, slot, b->state_get(s->conn, slot, ns, key));
	if (!limit || limit > LIST_MAX)
		limit = LIST_MAX;
	return request_made(s, slot, b->state_scan(s->conn, slot, ns, key, after, limit));
}

int
on_admin(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	struct named n;
	char what[32];
	uint32_t slot;

	if (named_get(in, &n) != ALM_OK || !n.name.len || n.name.len >= sizeof what ||
	    memchr(n.name.data, 0, n.name.len))
		return hostile(s, "an ADMIN frame is malformed");
	memcpy(what, n.name.data, n.name.len);
	what[n.name.len] = 0;
	slot = request_new(s, WIRE_ADMIN, h->correlation);
	if (slot == NONE)
		return reply_error(s, h->correlation, ALM_ENOMEM, "the worker is out of memory");
	return request_made(s, slot, s->proto->broker->admin(s->conn, slot, what));
}

/* Reply of STATE_GET, STATE_SCAN and ADMIN: u64 version, u32 length, u32 0, bytes.
 * Of TOPIC_PUT, TOPIC_DELETE, GROUP_* and COMMIT: u64 position, u64 index. */
void
data_done(struct alm_session *s, const struct request *r, const struct alm_done *d)
{
	struct wire_out *o;

	if (d->data.len > s->max_frame - 65536) {
		reply_errorf(s, r->correlation, ALM_ETOOBIG,
		    "the answer of %llu bytes is larger than the client's max_frame",
		    (unsigned long long)d->data.len);
		return;
	}
	o = reply_begin(s, r->type | WIRE_REPLY, 0, r->correlation);
	switch (r->type) {
	case WIRE_STATE_GET:
	case WIRE_STATE_SCAN:
	case WIRE_ADMIN:
		wire_put64(o, d->version);
		wire_put32(o, (uint32_t)d->data.len);
		wire_put32(o, 0);
		wire_put_slice(o, d->data);
		break;
	default:
		wire_put64(o, d->position);
		wire_put64(o, d->index);
	}
	reply_send(s, 0);
}
