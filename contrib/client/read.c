/* read.c - fetch and lookup: messages as views of records.
 *
 * In a callback a view points into the receive buffer; a blocking call copies it once.  Records are
 * 8-byte aligned in both, since frames are.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

#define FETCH_BYTES (1u << 20)

/* ---- views ----------------------------------------------------------------------------------- */

int
view_init(struct view *w, struct wire_in in, const char *topic)
{
	struct wire_records r;

	memset(w, 0, sizeof *w);
	if (wire_records_get(&in, &r) != ALM_OK)
		return ALM_EPROTO;
	w->n_chunks = r.n_chunks;
	w->chunks = in.p;
	w->data = in.p + (uint64_t)r.n_chunks * sizeof(struct wire_chunk);
	w->len = r.bytes;
	snprintf(w->topic, sizeof w->topic, "%s", topic);
	w->v = (struct alm_batch_view){.size = sizeof w->v, .queue = r.queue, .topic_id = r.topic,
	    .status = r.status, .begin = r.begin, .end = r.end, .next_offset = r.next_offset,
	    .detail = "", .priv = w};
	w->v.topic = w->topic;
	return ALM_OK;
}

int
alm_batch_view_next(struct alm_batch_view *v, struct alm_msg *out)
{
	const struct view *w = v->priv;
	uint64_t before = v->at, rest;
	struct wire_chunk k = {0, 0};

	out->size = sizeof *out;
	out->record = wire_record_next(w->data, w->len, &v->at);
	if (!out->record)
		return v->at == w->len ? 0 : ALM_EPROTO;
	for (; v->chunk < w->n_chunks; v->chunk++) {
		memcpy(&k, w->chunks + v->chunk * sizeof k, sizeof k);
		rest = before - v->chunk_at;
		if (rest < k.len)
			break;
		v->chunk_at += k.len;
	}
	out->position = v->chunk < w->n_chunks && k.position ? k.position + before - v->chunk_at : 0;
	out->topic = w->topic;
	return 1;
}

static struct alm_batch_view *
view_copy(const struct view *from)
{
	uint64_t table = (uint64_t)from->n_chunks * sizeof(struct wire_chunk);
	struct view *w = malloc(sizeof *w);
	uint8_t *p = malloc(table + from->len + 1);

	if (!w || !p) {
		free(w);
		free(p);
		return NULL;
	}
	*w = *from;
	memcpy(p, from->chunks, table);
	memcpy(p + table, from->data, from->len);
	w->owned = p;
	w->chunks = p;
	w->data = p + table;
	w->v.priv = w;
	w->v.topic = w->topic;
	return &w->v;
}

void
alm_batch_free(struct alm_batch_view *v)
{
	struct view *w = (struct view *)v; /* v is its first member */

	if (!w)
		return;
	free(w->owned);
	free(w);
}

/* ---- fetch ------------------------------------------------------------------------------------ */

int
tags_pack(struct alm_client *c, const char *const *tags, uint32_t n, char *out, uint32_t *len)
{
	uint32_t i;

	*len = 0;
	for (i = 0; i < n; i++) {
		size_t one = strlen(tags[i]);

		if (!one || *len + one + 1 > WIRE_TAGS_MAX)
			return client_fail(c, ALM_EINVAL,
			    "tags: each has at least one byte, all together at most %u",
			    WIRE_TAGS_MAX);
		if (i)
			out[(*len)++] = 0;
		memcpy(out + *len, tags[i], one);
		*len += (uint32_t)one;
	}
	return ALM_OK;
}

static struct request *
fetch_request(struct alm_client *c, const struct alm_fetch_opts *o, int *st)
{
	struct alm_slice name = {o->topic, o->topic ? strlen(o->topic) : 0};
	char tags[WIRE_TAGS_MAX];
	struct request *r;
	uint32_t tags_len;

	*st = ALM_EINVAL;
	if (o->size != sizeof *o) {
		client_fail(c, ALM_EINVAL, "alm_fetch_opts.size is %u, not %zu", o->size, sizeof *o);
		return NULL;
	}
	if (o->queue == ALM_QUEUE_ANY) {
		client_fail(c, ALM_EINVAL, "a fetch reads one queue");
		return NULL;
	}
	*st = name_check(c, "topic", o->topic);
	if (*st == ALM_OK)
		*st = tags_pack(c, o->tags, o->n_tags, tags, &tags_len);
	if (*st != ALM_OK)
		return NULL;
	r = request_new(c, WIRE_FETCH, 1);
	*st = r ? ALM_OK : ALM_ENOMEM;
	if (!r)
		return NULL;
	wire_put32(&r->frame, 0);
	wire_put32(&r->frame, o->queue);
	wire_put64(&r->frame, o->offset);
	wire_put32(&r->frame, o->max_bytes ? o->max_bytes : FETCH_BYTES);
	wire_put32(&r->frame, o->max_messages);
	wire_put32(&r->frame, o->wait_ms);
	wire_put16(&r->frame, (uint32_t)name.len);
	wire_put16(&r->frame, tags_len);
	wire_put_slice(&r->frame, name);
	wire_put(&r->frame, tags, tags_len);
	return r;
}

struct fetch_wait {
	const char *topic;
	struct alm_batch_view *out;
};

static void
records_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct fetch_wait *f = arg;
	struct view w;

	if (view_init(&w, reply->in, f->topic) != ALM_OK) {
		reply->in.bad = 1;
		return;
	}
	f->out = view_copy(&w);
	if (!f->out)
		reply->status = client_fail(c, ALM_ENOMEM, "out of memory");
}

int
alm_fetch(struct alm_client *c, const struct alm_fetch_opts *o, struct alm_batch_view **out)
{
	struct fetch_wait f = {.topic = o->topic};
	struct request *r;
	int st;

	*out = NULL;
	r = fetch_request(c, o, &st);
	if (!r)
		return st;
	st = request_run(c, r, records_reply, &f, client_deadline(c) + o->wait_ms * UINT64_C(1000));
	*out = f.out;
	return st;
}

struct fetch_async {
	alm_fetch_fn cb;
	void *arg;
	char topic[ALM_NAME_MAX + 1];
};

static void
fetch_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct fetch_async *f = arg;
	struct view w = {0};

	(void)c;
	if (reply->status != ALM_OK || view_init(&w, reply->in, f->topic) != ALM_OK) {
		memset(&w, 0, sizeof w);
		w.v.size = sizeof w.v;
		w.v.status = reply->status != ALM_OK ? reply->status : ALM_EPROTO;
		w.v.detail = reply->detail;
		w.v.topic = f->topic;
		w.v.priv = &w;
	}
	f->cb(f->arg, &w.v);
	free(f);
}

int
alm_fetch_async(struct alm_client *c, const struct alm_fetch_opts *o, alm_fetch_fn cb, void *arg)
{
	struct fetch_async *f;
	struct request *r;
	int st;

	r = fetch_request(c, o, &st);
	if (!r)
		return st;
	f = calloc(1, sizeof *f);
	if (!f) {
		wire_out_free(&r->frame);
		free(r);
		return client_fail(c, ALM_ENOMEM, "out of memory");
	}
	f->cb = cb;
	f->arg = arg;
	snprintf(f->topic, sizeof f->topic, "%s", o->topic);
	st = request_send(c, r, fetch_reply, f,
	    client_deadline(c) + o->wait_ms * UINT64_C(1000));
	if (st != ALM_OK)
		free(f);
	return st;
}

/* ---- lookup ----------------------------------------------------------------------------------- */

int
alm_get_position(struct alm_client *c, uint64_t position, struct alm_batch_view **out)
{
	struct fetch_wait f = {.topic = ""};
	struct request *r = request_new(c, WIRE_LOOKUP_POSITION, 1);
	int st;

	*out = NULL;
	if (!r)
		return ALM_ENOMEM;
	wire_put64(&r->frame, position);
	st = request_run(c, r, records_reply, &f, client_deadline(c));
	*out = f.out;
	return st;
}

int
alm_find_key(struct alm_client *c, const char *topic, struct alm_slice key, uint32_t limit,
    uint64_t since, uint64_t until, struct alm_batch_view **out)
{
	struct fetch_wait f = {.topic = topic};
	struct request *r;
	int st = name_check(c, "topic", topic);

	*out = NULL;
	if (st != ALM_OK)
		return st;
	if (key.len > WIRE_KEY_MAX)
		return client_fail(c, ALM_EINVAL, "a key has at most %u bytes", WIRE_KEY_MAX);
	r = request_new(c, WIRE_LOOKUP_KEY, 1);
	if (!r)
		return ALM_ENOMEM;
	wire_put32(&r->frame, 0);
	wire_put32(&r->frame, limit);
	wire_put64(&r->frame, since);
	wire_put64(&r->frame, until ? until : UINT64_MAX);
	wire_put16(&r->frame, (uint32_t)strlen(topic));
	wire_put16(&r->frame, (uint32_t)key.len);
	wire_put32(&r->frame, 0);
	wire_put(&r->frame, topic, strlen(topic));
	wire_put_slice(&r->frame, key);
	st = request_run(c, r, records_reply, &f, client_deadline(c));
	*out = f.out;
	return st;
}
