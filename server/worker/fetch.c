/* worker/fetch.c - reading a queue by offset, with long poll.
 *
 * Where the offset's batch is comes from the recent rows of tail.c, else from the connection's
 * read-ahead (rows of an earlier answer of the index), else from the index: 256 rows a question, so
 * that catching up asks seldom.  Records are handed out where they lie in the log: adjacent
 * records of the queue in one batch are one chunk.  A fetch is answered in fetch_run(), or there
 * it is parked at the end of the queue or waits for the index; each of them brings it back
 * there.  Nothing at or past visible is touched: rows come from batches below it. */
#include "worker/worker.h"

#include <inttypes.h>
#include <stdlib.h>

#define AHEAD_ROWS 256u
#define HOLD_US 5000000u           /* beyond its own deadline a fetch waits so long for the index */
#define BYTES_DEFAULT (1u << 20)
#define BYTES_MAX (32u << 20)
#define FILTER_TURN (8u << 20)     /* bytes that a filter looks at in one turn */
#define FILTER_TOTAL (256u << 20)  /* and in all, for a fetch that does not wait */
#define TAGS_MAX 64u
#define QUESTIONS_MAX 8u           /* to the index without getting on */

/* Rows of one queue that the index gave to one connection. */
struct readahead {
	struct readahead *next;
	uint64_t queue, used; /* tracked->key; monotonic */
	uint32_t n, reserved;
	struct alm_q_row row[AHEAD_ROWS];
};

/* ---- gathering records --------------------------------------------------------------------- */

struct gather { /* on the stack: set by gather_init, arrays up to their counts */
	struct request *r;
	struct worker *w;
	struct fetch *f;
	uint32_t n_tags;
	uint32_t tag_hash[TAGS_MAX];
	struct alm_slice tag[TAGS_MAX];
	struct view *view[CHUNKS_MAX];
	uint32_t n_chunks;
	uint64_t bytes, messages, scanned;
	int full;
};

static void
gather_init(struct gather *g, struct request *r)
{
	const char *p, *end, *zero;

	g->r = r;
	g->w = r->conn->w;
	g->f = &r->u.fetch;
	g->n_tags = g->n_chunks = 0;
	g->bytes = g->messages = g->scanned = 0;
	g->full = 0;
	p = g->f->tags;
	end = p ? p + g->f->tags_len : NULL;
	while (p && p < end && g->n_tags < TAGS_MAX) {
		zero = memchr(p, 0, (size_t)(end - p));
		if (!zero)
			zero = end;
		g->tag[g->n_tags] = slice(p, (uint64_t)(zero - p));
		g->tag_hash[g->n_tags++] = (uint32_t)hash64(p, (uint64_t)(zero - p));
		p = zero + 1;
	}
}

static int
tag_wanted(const struct gather *g, const struct alm_record *rec)
{
	struct alm_slice v;
	uint32_t i;

	if (!g->n_tags)
		return 1;
	for (i = 0; i < g->n_tags; i++) {
		if (rec->tag_hash != g->tag_hash[i])
			continue;
		v = alm_record_find(rec, ALM_ATTR_TAG);
		if (v.data && v.len == g->tag[i].len && !memcmp(v.data, g->tag[i].data, v.len))
			return 1;
	}
	return 0;
}

/* 0: the batch's directory says that no message of the queue has a wanted tag. */
static int
bloom_wanted(const struct gather *g, const struct alm_batch *b)
{
	const struct alm_dir *d = alm_batch_dir(b);
	uint32_t i, k;

	if (!g->n_tags || b->dir_count > 64)
		return 1;
	for (i = 0; i < b->dir_count; i++) {
		if (d[i].topic != g->f->topic || d[i].queue != g->f->queue)
			continue;
		for (k = 0; k < g->n_tags; k++)
			if (d[i].tag_bloom >> (g->tag_hash[k] & 63) & 1)
				return 1;
		return 0;
	}
	return 1;
}

/* Add bytes of the batch to the answer, joined to the chunk before if they follow it. */
static void
gather_add(struct gather *g, struct view *v, const void *data, uint64_t len)
{
	const struct alm_batch *b = v->v.batch;
	struct alm_chunk *k = g->n_chunks ? &g->w->chunk[g->n_chunks - 1] : NULL;

	g->bytes += len;
	if (k && g->view[g->n_chunks - 1] == v && (const uint8_t *)k->data + k->len == data) {
		k->len += len;
		return;
	}
	view_ref(v);
	g->view[g->n_chunks] = v;
	g->w->chunk[g->n_chunks++] = (struct alm_chunk){.data = data, .len = len,
	    .pin = slab_id(v),
	    .position = b->position + (uint64_t)((const uint8_t *)data - (const uint8_t *)b)};
}

static int
take_record(struct gather *g, struct view *v, const struct alm_record *rec)
{
	struct fetch *f = g->f;

	if ((rec->kind != ALM_REC_MESSAGE && rec->kind != ALM_REC_REF) || rec->topic != f->topic ||
	    rec->queue != f->queue || rec->offset < f->offset)
		return 0;
	g->scanned += rec->length;
	count(g->w, COUNT_FETCH_MESSAGES, 1);
	if (tag_wanted(g, rec)) {
		if (g->n_chunks == CHUNKS_MAX ||
		    (g->messages && g->bytes + rec->length > f->max_bytes))
			return 1;
		gather_add(g, v, rec, rec->length);
		g->messages++;
	}
	f->offset = rec->offset + 1;
	return f->max_messages && g->messages == f->max_messages;
}

/* The whole row is one chunk: nothing to filter and the batch has nothing else. */
static int
take_whole(struct gather *g, const struct alm_q_row *row, struct view *v)
{
	const struct alm_batch *b = v->v.batch;
	struct fetch *f = g->f;
	uint64_t len = row->end_byte - row->first_byte;

	if (g->n_tags || f->offset != row->first_offset || b->dir_count != 1 ||
	    b->records != row->count || g->bytes + len > f->max_bytes ||
	    (f->max_messages && g->messages + row->count > f->max_messages) ||
	    g->n_chunks == CHUNKS_MAX)
		return 0;
	gather_add(g, v, (const uint8_t *)b + row->first_byte, len);
	g->messages += row->count;
	f->offset += row->count;
	return 1;
}

static int
gather_row(struct gather *g, const struct alm_q_row *row, struct view *v)
{
	const struct alm_batch *b = v->v.batch;
	const struct alm_record *rec;
	uint32_t at = row->first_byte;

	if (at < sizeof *b || at % 8 || row->end_byte > b->dir_offset || at >= row->end_byte)
		return err_set(ALM_ECORRUPT, "the index is wrong about the batch at position %"
		    PRIu64, b->position);
	if (take_whole(g, row, v))
		return ALM_OK;
	while (at < row->end_byte && !g->full && bloom_wanted(g, b)) {
		rec = alm_batch_next(b, &at);
		if (!rec)
			return err_set(ALM_ECORRUPT, "broken record at position %" PRIu64,
			    b->position + at);
		g->full = take_record(g, v, rec);
	}
	if (!g->full && g->f->offset < row->first_offset + row->count)
		g->f->offset = row->first_offset + row->count;
	if (g->bytes >= g->f->max_bytes || g->scanned >= FILTER_TURN)
		g->full = 1;
	return ALM_OK;
}

/* One row, if the wanted offset lies in it. */
static int
gather_from(struct gather *g, const struct alm_q_row *row)
{
	struct view *v;
	int st;

	if (g->f->offset < row->first_offset || g->f->offset - row->first_offset >= row->count)
		return ALM_OK;
	st = view_at(g->w, row->batch, &v);
	if (st)
		return st;
	st = gather_row(g, row, v);
	view_unref(g->w, v);
	return st;
}

/* ---- answers --------------------------------------------------------------------------------- */

static void
answer(struct gather *g, int status, const char *detail)
{
	struct worker *w = g->w;
	struct fetch *f = g->f;
	uint32_t n = g->n_chunks, i;
	struct alm_done d = {.status = status, .detail = detail, .chunks = w->chunk,
	    .n_chunks = n, .n_messages = (uint32_t)g->messages, .next_offset = f->offset};

	if (f->tracked) {
		d.begin = f->tracked->begin;
		d.end = f->tracked->end;
	}
	count(w, COUNT_FETCHES, 1);
	count(w, COUNT_FETCH_BYTES, g->bytes);
	if (f->began)
		hist_add(&w->self->hist[HIST_FETCH], w->now - f->began);
	request_done(g->r, &d);
	for (i = 0; i < n; i++)
		view_unref(w, g->view[i]);
}

static void
fail(struct gather *g, int status, const char *detail)
{
	uint32_t i;

	for (i = 0; i < g->n_chunks; i++)
		view_unref(g->w, g->view[i]);
	g->n_chunks = 0;
	g->messages = g->bytes = 0;
	answer(g, status, detail);
}

static int
over(const struct gather *g)
{
	return g->f->cancelled || !g->f->deadline || g->w->now >= g->f->deadline;
}

static void
on_poll_over(struct worker *w, struct timer *t)
{
	struct request *r = container_of(t, struct request, timer);

	if (r->u.fetch.parked) {
		r->u.fetch.parked = 0;
		w->waiting--;
	}
	request_ready(r);
}

/* At the end of the queue: wait there, or say so. */
static void
park(struct gather *g)
{
	struct request *r = g->r;
	struct fetch *f = g->f;
	struct worker *w = g->w;

	r->timer.fire = on_poll_over;
	if (over(g) || timer_set(w, &r->timer, f->deadline)) {
		answer(g, ALM_OK, "");
		return;
	}
	f->parked = 1;
	f->began = 0; /* what it waits is no latency of ours */
	w->waiting++;
	list_add(&f->tracked->waiting, &r->node);
	count(w, COUNT_FETCH_PARKED, 1);
}

/* ---- read-ahead --------------------------------------------------------------------------------- */

static struct readahead *
ahead_of(struct alm_conn *c, uint64_t queue)
{
	struct readahead *a;

	for (a = c->ahead; a; a = a->next)
		if (a->queue == queue)
			return a;
	return NULL;
}

static struct readahead *
ahead_new(struct alm_conn *c, uint64_t queue)
{
	struct readahead *a = ahead_of(c, queue);

	if (a)
		return a;
	a = malloc(sizeof *a);
	if (!a)
		return NULL;
	a->queue = queue;
	a->n = 0;
	a->next = c->ahead;
	c->ahead = a;
	return a;
}

void
readahead_sweep(struct alm_conn *c, uint64_t before)
{
	struct readahead **at = &c->ahead, *a;

	while ((a = *at)) {
		if (a->used >= before) {
			at = &a->next;
			continue;
		}
		*at = a->next;
		free(a);
	}
}

void
readahead_drop(struct alm_conn *c)
{
	readahead_sweep(c, UINT64_MAX);
}

/* First row that ends after offset. */
static uint32_t
ahead_find(const struct readahead *a, uint64_t offset)
{
	uint32_t lo = 0, hi = a->n, mid;

	while (lo < hi) {
		mid = (lo + hi) / 2;
		if (a->row[mid].first_offset + a->row[mid].count <= offset)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* ---- one fetch ------------------------------------------------------------------------------------ */

static int
ask_bounds(struct gather *g)
{
	struct fetch *f = g->f;
	struct alm_q_queue in = {f->topic, f->queue};
	struct alm_slice part = slice(&in, sizeof in);
	uint64_t by = (f->deadline > g->w->now ? f->deadline : g->w->now) + HOLD_US;

	return query_ask(g->r, ALM_Q_BOUNDS, &part, 1, sizeof(struct alm_q_bounds),
	    f->tracked->from, by);
}

static int
ask_rows(struct gather *g)
{
	struct fetch *f = g->f;
	struct alm_q_offset in = {f->topic, f->queue, f->offset};
	struct alm_slice part = slice(&in, sizeof in);
	uint64_t by = (f->deadline > g->w->now ? f->deadline : g->w->now) + HOLD_US;

	return query_ask(g->r, ALM_Q_OFFSET, &part, 1, AHEAD_ROWS * sizeof(struct alm_q_row),
	    f->tracked->from, by);
}

/* From recent rows or read-ahead. ALM_EAGAIN: neither has the offset. */
static int
gather_known(struct gather *g)
{
	struct tracked *t = g->f->tracked;
	struct readahead *a;
	uint64_t before = g->f->offset;
	uint32_t i;
	int st = ALM_OK;

	if (t->n && g->f->offset >= tail_row(t, 0)->q.first_offset) {
		for (i = 0; i < t->n && !g->full && !st; i++)
			st = gather_from(g, &tail_row(t, i)->q);
	} else if ((a = ahead_of(g->r->conn, t->key))) {
		a->used = g->w->now;
		for (i = ahead_find(a, before); i < a->n && !g->full && !st; i++)
			st = gather_from(g, &a->row[i]);
	}
	if (st)
		return g->messages ? ALM_OK : st; /* first hand out what is good */
	if (g->f->offset == before)
		return ALM_EAGAIN;
	g->f->questions = 0;
	return ALM_OK;
}

/* The rows led to a place that the log no longer has, or the index has no such rows: find out
 * where the queue begins now. */
static void
look_again(struct gather *g)
{
	struct fetch *f = g->f;
	struct readahead *a = ahead_of(g->r->conn, f->tracked->key);

	if (a)
		a->n = 0;
	if (f->questions > QUESTIONS_MAX)
		fail(g, ALM_ECORRUPT, "the index and the log contradict each other");
	else if (ask_bounds(g))
		fail(g, ALM_ENOMEM, err_text());
}

static void
not_here(struct gather *g)
{
	struct tracked *t = g->f->tracked;
	int st;

	if (g->f->offset < t->begin) {
		fail(g, ALM_EOFFSET, "the offset is before the begin of the queue");
	} else if (g->f->offset == t->end) {
		park(g);
	} else if (g->f->offset > t->end) {
		if (g->w->scan < log_visible(g->w))
			request_ready(g->r); /* the scanner is behind: look again next turn */
		else
			fail(g, ALM_EOFFSET, "the offset is past the end of the queue");
	} else if (g->f->cancelled) {
		answer(g, ALM_OK, "");
	} else {
		st = ask_rows(g);
		if (st)
			fail(g, st, err_text());
	}
}

static void
serve(struct gather *g)
{
	struct fetch *f = g->f;
	int st = gather_known(g);

	if (st == ALM_EAGAIN)
		not_here(g);
	else if (st == ALM_EOFFSET)
		look_again(g);
	else if (st)
		fail(g, st, *err_text() ? err_text() : status_text(st));
	else if (g->messages)
		answer(g, ALM_OK, "");
	else if ((f->scanned += g->scanned) > FILTER_TOTAL && over(g))
		answer(g, ALM_OK, "");
	else
		request_ready(g->r); /* all of it was filtered: on in the next turn */
}

void
fetch_run(struct request *r)
{
	struct gather g;
	struct fetch *f = &r->u.fetch;
	const struct topic_entry *t;

	gather_init(&g, r);
	timer_clear(g.w, &r->timer);
	t = fold_topic_id(g.w, f->topic);
	if (!t || f->queue >= t->topic.queues) {
		fail(&g, ALM_ENOTFOUND, t ? "the topic has no such queue" : "no topic with that id");
		return;
	}
	if (!f->tracked) {
		f->tracked = tail_track(g.w, f->topic, f->queue);
		if (!f->tracked) {
			fail(&g, ALM_ENOMEM, err_text());
			return;
		}
		f->tracked->users++;
	}
	f->tracked->used = g.w->now;
	if (f->tracked->known)
		serve(&g);
	else if (f->cancelled)
		answer(&g, ALM_OK, "");
	else if (ask_bounds(&g))
		fail(&g, ALM_ENOMEM, err_text());
}

/* ---- what the index says ----------------------------------------------------------------------- */

static void
bounds_known(struct tracked *t, const struct msg_answer *a, const uint8_t *data)
{
	struct alm_q_bounds b = {0, 0};

	if (a->status == ALM_OK && a->len >= sizeof b)
		memcpy(&b, data, sizeof b);
	if (a->applied < t->from)
		return; /* about a time before what the rows know: asked again */
	t->begin = b.begin;
	if (b.end > t->end)
		t->end = b.end;
	if (t->begin > t->end)
		t->begin = t->end;
	t->known = 1;
}

static void
keep_rows(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct readahead *ahead = ahead_new(r->conn, r->u.fetch.tracked->key);
	uint32_t n = a->len / sizeof(struct alm_q_row), i;

	if (!ahead)
		return;
	ahead->used = r->conn->w->now;
	ahead->n = 0;
	for (i = 0; i < n && i < AHEAD_ROWS; i++) {
		struct alm_q_row *row = &ahead->row[i];

		memcpy(row, data + i * sizeof *row, sizeof *row);
		if (!row->count || (i && row->first_offset != row[-1].first_offset + row[-1].count))
			break;
		ahead->n++;
	}
}

void
fetch_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct gather g;
	struct fetch *f = &r->u.fetch;

	gather_init(&g, r);
	if (a->status && a->status != ALM_EOFFSET && a->status != ALM_ENOTFOUND) {
		fail(&g, a->status, "the index could not answer");
		return;
	}
	if (r->query.last == ALM_Q_BOUNDS) {
		bounds_known(f->tracked, a, data);
	} else if (a->status) {
		look_again(&g);
		return;
	} else {
		keep_rows(r, a, data);
	}
	if (f->questions++ > QUESTIONS_MAX)
		fail(&g, ALM_ECORRUPT, "the index and the log contradict each other");
	else
		request_ready(r);
}

/* ---- calls of the broker ------------------------------------------------------------------------ */

int
fetch_request(struct alm_conn *c, uint64_t tag, const struct alm_fetch *in)
{
	struct worker *w = c->w;
	const struct topic_entry *t;
	struct request *r;
	struct fetch *f;
	int st;

	/* A peer that has ended its side waits for no news: a subscription would go on for ever. */
	if (c->eof && in->wait_ms)
		return ALM_ECLOSED;
	r = request_new(c, tag, REQ_FETCH);
	if (!r)
		return c->state != CONN_OPEN ? ALM_ECLOSED : ALM_ENOMEM;
	worker_wake(w);
	f = &r->u.fetch;
	*f = (struct fetch){.topic = in->topic, .queue = in->queue, .offset = in->offset,
	    .max_messages = in->max_messages, .began = w->now,
	    .max_bytes = in->max_bytes ? in->max_bytes : BYTES_DEFAULT,
	    .deadline = in->wait_ms ? w->now + (uint64_t)in->wait_ms * 1000 : 0};
	if (f->max_bytes > BYTES_MAX)
		f->max_bytes = BYTES_MAX;
	if (in->tags.len) {
		f->tags = malloc(in->tags.len);
		if (!f->tags || in->tags.len > 64 * 1024) {
			request_fail(r, ALM_ETOOBIG, "a tag filter has at most 65536 bytes");
			return ALM_OK;
		}
		memcpy(f->tags, in->tags.data, in->tags.len);
		f->tags_len = (uint32_t)in->tags.len;
	}
	if (w->n_ext && (t = fold_topic_id(w, f->topic))) {
		st = hooks_call(c, ALM_HOOK_FETCH, slice(t->name, t->name_len), slice("", 0));
		if (st) {
			request_fail(r, st, "%s", err_text());
			return ALM_OK;
		}
	}
	request_ready(r);
	return ALM_OK;
}

void
fetch_release(struct request *r)
{
	struct fetch *f = &r->u.fetch;

	if (f->parked)
		r->conn->w->waiting--;
	if (f->tracked)
		f->tracked->users--;
	free(f->tags);
	f->tags = NULL;
	f->tracked = NULL;
	f->parked = 0;
}

static void
cancel(struct request *r)
{
	struct fetch *f = &r->u.fetch;

	f->cancelled = 1;
	query_release(r);
	if (f->parked) {
		f->parked = 0;
		r->conn->w->waiting--;
	}
	request_ready(r);
}

void
fetch_cancel(struct alm_conn *c, uint64_t tag)
{
	struct node *n;

	for (n = c->requests.prev; n != &c->requests; n = n->prev) {
		struct request *r = container_of(n, struct request, of_conn);

		if (r->kind == REQ_FETCH && r->tag == tag) {
			cancel(r);
			return;
		}
	}
}

void
fetch_cancel_all(struct alm_conn *c)
{
	struct node *n;

	for (n = c->requests.next; n != &c->requests; n = n->next) {
		struct request *r = container_of(n, struct request, of_conn);

		if (r->kind == REQ_FETCH)
			cancel(r);
	}
}
