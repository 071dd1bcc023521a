/* regress/lib/fakestore.c - the fake node's sequencer and store: answers what the plugin asks. */
#include "regress/lib/fakestore.h"

#include <stdlib.h>

/* ---- the sequencer ------------------------------------------------------------------------- */

static uint32_t *
last_of(struct fakenode *n, uint64_t producer, int make)
{
	uint32_t i;

	for (i = 0; i < n->n_producers; i++)
		if (n->producers[i].id == producer)
			return &n->producers[i].last;
	if (!make)
		return NULL;
	if (i == PRODUCERS_MAX)
		abort();
	n->n_producers++;
	n->producers[i].id = producer;
	n->producers[i].last = 0;
	return &n->producers[i].last;
}

static uint64_t
end_of(struct fakenode *n, uint32_t topic, uint32_t queue)
{
	uint64_t end = n->begin;
	uint32_t i;

	for (i = 0; i < n->n_stored; i++)
		if (n->stored[i].topic == topic && n->stored[i].queue == queue &&
		    n->stored[i].offset >= end)
			end = n->stored[i].offset + 1;
	return end;
}

static void
store(struct fakenode *n, const struct alm_message *m)
{
	struct stored *s;

	if (n->n_stored == n->cap) {
		n->cap = n->cap ? n->cap * 2 : 64;
		n->stored = realloc(n->stored, n->cap * sizeof *n->stored);
		if (!n->stored)
			abort();
	}
	s = &n->stored[n->n_stored];
	*s = (struct stored){.attrs_len = (uint32_t)m->attrs.len, .body_len = (uint32_t)m->body.len,
	    .topic = m->topic, .queue = m->queue, .flags = m->flags, .sequence = m->sequence,
	    .producer = m->producer, .born = m->born, .offset = end_of(n, m->topic, m->queue)};
	s->bytes = malloc(m->attrs.len + m->body.len + 1);
	if (!s->bytes)
		abort();
	memcpy(s->bytes, m->attrs.data, m->attrs.len);
	memcpy(s->bytes + m->attrs.len, m->body.data, m->body.len);
	n->n_stored++;
}

static uint64_t
offset_of(struct fakenode *n, uint64_t producer, uint32_t sequence)
{
	uint32_t i;

	for (i = 0; i < n->n_stored; i++)
		if (n->stored[i].producer == producer && n->stored[i].sequence == sequence)
			return n->stored[i].offset;
	return UINT64_MAX;
}

/* Judge one group; *d is the answer, offsets has room for its messages. */
static void
sequence(struct fakenode *n, const struct alm_append *a, struct alm_done *d, uint64_t *offsets)
{
	const struct alm_message *m = a->messages;
	uint32_t *last = m->producer ? last_of(n, m->producer, 0) : NULL, i;

	n->appends++;
	d->n_messages = a->n_messages;
	d->position = 96;
	if (n->refuse) {
		n->refuse--;
		d->status = n->refuse_status;
		d->detail = "refused by the test";
		if (d->status == ALM_ENOTLEADER && n->address)
			d->data = (struct alm_slice){n->address, strlen(n->address)};
		return;
	}
	if (last && m->sequence > *last + 1) {
		d->status = ALM_EORDER;
		return;
	}
	if (last && m->sequence <= *last) {
		d->duplicate = 1;
		d->first_offset = offset_of(n, m->producer, m->sequence);
		return;
	}
	for (i = 0; i < a->n_messages; i++) {
		store(n, &m[i]);
		offsets[i] = n->stored[n->n_stored - 1].offset;
	}
	if (m->producer)
		*last_of(n, m->producer, 1) = m[a->n_messages - 1].sequence;
	d->first_offset = offsets[0];
	d->offsets = offsets;
}

/* A verdict on its way: the sequencer has spoken, the plugin has not heard. */
struct verdict {
	struct fb_request *r;
	struct alm_done done;
	uint64_t *offsets;
};

static void
judge(struct fakenode *n, struct fb_request *r, struct verdict *v)
{
	memset(v, 0, sizeof *v);
	v->r = r;
	v->offsets = calloc(r->append.n_messages, sizeof *v->offsets);
	if (!v->offsets)
		abort();
	sequence(n, &r->append, &v->done, v->offsets);
}

static void
deliver(struct fakenode *n, struct verdict *v)
{
	struct alm_conn *conn = v->r->conn;
	uint64_t before = conn->out.len;
	uint32_t i;

	if (n->lose && v->done.status == ALM_OK) {
		n->lose--;
		for (i = 0; i < n->n_links; i++)
			if (n->links[i].conn == conn)
				n->links[i].doomed = 1;
		/* Stored, but the answer is silence: the request dies with its connection. */
		v->r->cancelled = 1;
	} else {
		fb_answer(v->r, &v->done);
		if (n->twice && (buf_reserve(&conn->out, conn->out.len) ||
		    buf_put(&conn->out, conn->out.data + before, conn->out.len - before)))
			abort();
	}
	free(v->offsets);
}

static void
answer_append(struct fakenode *n, struct fb_request *r)
{
	struct verdict v;

	judge(n, r, &v);
	deliver(n, &v);
}

/* Judge all that wait in order, tell the results the other way round. */
static void
answer_reversed(struct fakenode *n)
{
	struct verdict v[64];
	struct fb_request *r;
	uint32_t k = 0;

	for (r = n->fb->first; r; r = r->next)
		if (r->kind == FB_APPEND && !r->cancelled && k < 64)
			judge(n, r, &v[k++]);
	while (k)
		deliver(n, &v[--k]);
}

/* ---- reading ---------------------------------------------------------------------------------- */

static void
record_put(struct buf *b, const struct stored *s)
{
	static const uint8_t zero[8];
	struct alm_record rec = {.magic = ALM_RECORD_MAGIC, .kind = ALM_REC_MESSAGE,
	    .flags = s->flags, .attrs_len = s->attrs_len, .topic = s->topic, .queue = s->queue,
	    .sequence = s->sequence, .offset = s->offset, .born = s->born, .producer = s->producer};
	uint64_t raw = sizeof rec + s->attrs_len + s->body_len;

	rec.pad = (uint8_t)(-raw & 7);
	rec.length = (uint32_t)(raw + rec.pad);
	if (buf_put(b, &rec, sizeof rec) || buf_put(b, s->bytes, raw - sizeof rec) ||
	    buf_put(b, zero, rec.pad))
		abort();
}

static int
tag_wanted(const struct stored *s, struct alm_slice tags)
{
	const char *p = tags.data, *end = p + tags.len;
	struct alm_attr a;

	if (!tags.len)
		return 1;
	if (s->attrs_len < sizeof a)
		return 0;
	memcpy(&a, s->bytes, sizeof a); /* libalmadia puts the tag first */
	for (; p < end; p += strnlen(p, (size_t)(end - p)) + 1)
		if (a.type == ALM_ATTR_TAG && strnlen(p, (size_t)(end - p)) == a.len &&
		    memcmp(p, s->bytes + sizeof a, a.len) == 0)
			return 1;
	return 0;
}

/* 1: answered. A long poll at the end of its queue stays. */
static int
answer_fetch(struct fakenode *n, struct fb_request *r)
{
	struct alm_chunk k = {.pin = 1, .position = 96};
	struct alm_done d = {.begin = n->begin, .next_offset = r->fetch.offset};
	struct buf recs = {0};
	uint32_t i, count = 0;

	d.end = end_of(n, r->topic, r->queue);
	if (r->fetch.offset < d.begin || r->fetch.offset > d.end) {
		d.status = ALM_EOFFSET;
		fb_answer(r, &d);
		return 1;
	}
	for (i = 0; i < n->n_stored; i++) {
		const struct stored *s = &n->stored[i];

		if (s->topic != r->topic || s->queue != r->queue || s->offset < d.next_offset)
			continue;
		if ((recs.len && recs.len + s->body_len > r->fetch.max_bytes) ||
		    (r->fetch.max_messages && count == r->fetch.max_messages))
			break;
		if (tag_wanted(s, r->fetch.tags)) {
			record_put(&recs, s);
			count++;
		}
		d.next_offset = s->offset + 1;
	}
	if (d.next_offset == r->fetch.offset && r->fetch.wait_ms)
		return 0;
	k.data = recs.data;
	k.len = recs.len;
	d.chunks = &k;
	d.n_chunks = recs.len != 0;
	fb_answer(r, &d);
	buf_free(&recs);
	return 1;
}

/* ---- state ------------------------------------------------------------------------------------- */

static uint32_t
commit_key(char *key, const struct fb_request *r)
{
	uint32_t len = 0;

	memcpy(key, r->group.data, r->group.len);
	len += (uint32_t)r->group.len;
	key[len++] = 0;
	memcpy(key + len, r->name.data, r->name.len);
	len += (uint32_t)r->name.len;
	key[len++] = 0;
	key[len++] = (char)(r->queue >> 24);
	key[len++] = (char)(r->queue >> 16);
	key[len++] = (char)(r->queue >> 8);
	key[len++] = (char)r->queue;
	return len;
}

static void
answer_commit(struct fakenode *n, struct fb_request *r)
{
	char key[600];
	uint32_t len = commit_key(key, r), i;

	for (i = 0; i < n->n_commits; i++)
		if (n->commits[i].len == len && !memcmp(n->commits[i].key, key, len))
			break;
	if (i == sizeof n->commits / sizeof n->commits[0])
		abort();
	if (i == n->n_commits)
		n->n_commits++;
	memcpy(n->commits[i].key, key, len);
	n->commits[i].len = len;
	n->commits[i].value = r->offset;
	fb_answer_status(r, ALM_OK, "");
}

static void
answer_get(struct fakenode *n, struct fb_request *r)
{
	struct alm_offset value = {0};
	uint32_t i;

	for (i = 0; i < n->n_commits; i++)
		if (n->commits[i].len == r->key.len &&
		    !memcmp(n->commits[i].key, r->key.data, r->key.len))
			break;
	if (i == n->n_commits) {
		fb_answer_status(r, ALM_ENOTFOUND, "no such key");
		return;
	}
	value.offset = n->commits[i].value;
	fb_answer_data(r, &value, sizeof value, 8);
}

static void
answer_scan(struct fakenode *n, struct fb_request *r)
{
	struct buf rows = {0};
	uint32_t i;

	for (i = 0; i < n->n_commits && !r->after.len; i++) {
		struct alm_offset value = {.offset = n->commits[i].value};
		uint16_t key_len = (uint16_t)n->commits[i].len, zero = 0;
		uint32_t val_len = sizeof value;
		uint64_t version = 8;

		if (key_len < r->prefix.len || memcmp(n->commits[i].key, r->prefix.data, r->prefix.len))
			continue;
		if (buf_put(&rows, &key_len, 2) || buf_put(&rows, &zero, 2) ||
		    buf_put(&rows, &val_len, 4) || buf_put(&rows, &version, 8) ||
		    buf_put(&rows, n->commits[i].key, key_len) ||
		    buf_put(&rows, &value, sizeof value))
			abort();
	}
	fb_answer_data(r, rows.data, rows.len, 0);
	buf_free(&rows);
}

static void
answer_bounds(struct fakenode *n, struct fb_request *r)
{
	struct alm_done d = {.begin = n->begin, .end = end_of(n, r->topic, r->queue)};

	d.next_offset = d.begin;
	fb_answer(r, &d);
}

static void
answer_topic(struct fakenode *n, struct fb_request *r)
{
	char name[ALM_NAME_MAX + 1] = {0};
	struct alm_topic_info info;

	memcpy(name, r->name.data, r->name.len);
	if (r->create && n->fb->broker.topic(r->conn, r->name, &info) == ALM_OK) {
		fb_answer_status(r, ALM_EEXIST, "the topic exists");
		return;
	}
	if (r->create)
		fb_topic_add(n->fb, name, r->value.queues ? r->value.queues : 4);
	fb_answer_status(r, ALM_OK, "");
}

/* ---- all of it ----------------------------------------------------------------------------------- */

static int
answer(struct fakenode *n, struct fb_request *r)
{
	switch (r->kind) {
	case FB_APPEND:
		answer_append(n, r);
		return 1;
	case FB_FETCH:
		return answer_fetch(n, r);
	case FB_OFFSET_COMMIT:
		answer_commit(n, r);
		return 1;
	case FB_STATE_GET:
		answer_get(n, r);
		return 1;
	case FB_STATE_SCAN:
		answer_scan(n, r);
		return 1;
	case FB_BOUNDS:
	case FB_OFFSET_AT:
		answer_bounds(n, r);
		return 1;
	case FB_TOPIC_PUT:
		answer_topic(n, r);
		return 1;
	case FB_ADMIN:
		fb_answer_data(r, "{}", 2, 0);
		return 1;
	default:
		fb_answer_status(r, ALM_OK, "");
		return 1;
	}
}

static uint32_t
appends_waiting(struct fakenode *n)
{
	struct fb_request *r;
	uint32_t count = 0;

	for (r = n->fb->first; r; r = r->next)
		count += r->kind == FB_APPEND && !r->cancelled;
	return count;
}

void
store_answer(struct fakenode *n)
{
	struct fb_request *r;
	int moved = 1;

	if (n->hold)
		return;
	if (n->reverse) {
		if (appends_waiting(n) < n->reverse)
			return;
		n->reverse = 0;
		answer_reversed(n);
	}
	while (moved) {
		moved = 0;
		for (r = n->fb->first; r; r = r->next)
			if (!r->cancelled && (moved = answer(n, r)))
				break; /* r is gone, and the list may have grown */
	}
}

void
store_free(struct fakenode *n)
{
	uint32_t i;

	for (i = 0; i < n->n_stored; i++)
		free(n->stored[i].bytes);
	free(n->stored);
}
