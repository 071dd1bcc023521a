/* regress/lib/fakebroker.c - see fakebroker.h.  Here: the broker table, connections and
 * answers; fakebroker_host.c has the host table.  Copies of a request live in its chain of blocks. */
#include "regress/lib/fakebroker.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct fb_block {
	struct fb_block *next;
};

/* ---- requests ------------------------------------------------------------------------- */

static void *
block_new(struct fb_request *r, uint64_t len)
{
	struct fb_block *b = calloc(1, sizeof *b + len + 1);

	if (!b)
		abort();
	b->next = r->blocks;
	r->blocks = b;
	return b + 1;
}

static struct alm_slice
copy(struct fb_request *r, struct alm_slice s)
{
	struct alm_slice out = {block_new(r, s.len), s.len};

	if (s.len)
		memcpy((void *)(uintptr_t)out.data, s.data, s.len);
	return out;
}

static struct fb_request *
request_new(struct alm_conn *c, uint64_t tag, uint32_t kind)
{
	struct fakebroker *fb = c->fb;
	struct fb_request *r = calloc(1, sizeof *r);

	if (!r)
		abort();
	r->conn = c;
	r->tag = tag;
	r->kind = kind;
	*fb->last = r;
	fb->last = &r->next;
	fb->n_requests++;
	return r;
}

static void
request_free(struct fb_request *r)
{
	struct fakebroker *fb = r->conn->fb;
	struct fb_request **at;
	struct fb_block *b;

	for (at = &fb->first; *at != r; at = &(*at)->next)
		;
	*at = r->next;
	if (fb->last == &r->next)
		fb->last = at;
	while ((b = r->blocks)) {
		r->blocks = b->next;
		free(b);
	}
	free(r);
}

static int
refused(struct alm_conn *c)
{
	return -(int)c->fb->refuse;
}

static int
do_append(struct alm_conn *c, uint64_t tag, const struct alm_append *a)
{
	struct fb_request *r;
	struct alm_message *m;
	struct alm_change *g;
	uint32_t i;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_APPEND);
	r->append = *a;
	m = block_new(r, a->n_messages * sizeof *m);
	g = block_new(r, a->n_changes * sizeof *g);
	for (i = 0; i < a->n_messages; i++) {
		m[i] = a->messages[i];
		m[i].attrs = copy(r, m[i].attrs);
		m[i].body = copy(r, m[i].body);
	}
	for (i = 0; i < a->n_changes; i++) {
		g[i] = a->changes[i];
		g[i].ns = copy(r, g[i].ns);
		g[i].key = copy(r, g[i].key);
		g[i].value = copy(r, g[i].value);
	}
	r->append.messages = m;
	r->append.changes = g;
	return ALM_OK;
}

static int
do_fetch(struct alm_conn *c, uint64_t tag, const struct alm_fetch *f)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_FETCH);
	r->fetch = *f;
	r->fetch.tags = copy(r, f->tags);
	r->topic = f->topic;
	r->queue = f->queue;
	return ALM_OK;
}

static void
do_fetch_cancel(struct alm_conn *c, uint64_t tag)
{
	struct fb_request *r;

	for (r = c->fb->first; r; r = r->next) {
		if (r->conn != c || r->tag != tag || r->kind != FB_FETCH)
			continue;
		r->cancelled = 1;
		fb_answer_status(r, ALM_OK, "");
		return;
	}
}

static int
do_bounds(struct alm_conn *c, uint64_t tag, uint32_t topic, uint32_t queue)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_BOUNDS);
	r->topic = topic;
	r->queue = queue;
	return ALM_OK;
}

static int
do_offset_at(struct alm_conn *c, uint64_t tag, uint32_t topic, uint32_t queue, uint64_t time)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_OFFSET_AT);
	r->topic = topic;
	r->queue = queue;
	r->time = time;
	return ALM_OK;
}

static int
do_lookup_position(struct alm_conn *c, uint64_t tag, uint64_t position)
{
	if (refused(c))
		return refused(c);
	request_new(c, tag, FB_LOOKUP_POSITION)->position = position;
	return ALM_OK;
}

static int
do_lookup_key(struct alm_conn *c, uint64_t tag, uint32_t topic, struct alm_slice key,
    uint32_t limit, uint64_t since, uint64_t until)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_LOOKUP_KEY);
	r->topic = topic;
	r->key = copy(r, key);
	r->limit = limit;
	r->since = since;
	r->until = until;
	return ALM_OK;
}

/* ---- catalogue ------------------------------------------------------------------------- */

static struct fb_topic *
topic_named(struct fakebroker *fb, struct alm_slice name)
{
	struct fb_topic *t;

	for (t = fb->topics; t; t = t->next)
		if (t->name_len == name.len && !memcmp(t->name, name.data, name.len))
			return t;
	return NULL;
}

static int
do_topic(struct alm_conn *c, struct alm_slice name, struct alm_topic_info *out)
{
	struct fb_topic *t = topic_named(c->fb, name);

	if (!t)
		return ALM_ENOTFOUND;
	*out = t->info;
	return ALM_OK;
}

static int
do_topic_by_id(struct alm_conn *c, uint32_t id, struct alm_slice *name,
    struct alm_topic_info *out)
{
	struct fb_topic *t;

	for (t = c->fb->topics; t; t = t->next) {
		if (t->info.topic.id != id)
			continue;
		name->data = t->name;
		name->len = t->name_len;
		*out = t->info;
		return ALM_OK;
	}
	return ALM_ENOTFOUND;
}

static int
do_topics(struct alm_conn *c,
    int (*each)(void *, struct alm_slice name, const struct alm_topic_info *), void *arg)
{
	struct fb_topic *t;
	int st = ALM_OK;

	for (t = c->fb->topics; t && !st; t = t->next)
		st = each(arg, (struct alm_slice){t->name, t->name_len}, &t->info);
	return st;
}

static int
do_topic_put(struct alm_conn *c, uint64_t tag, struct alm_slice name,
    const struct alm_topic *value, uint32_t create)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_TOPIC_PUT);
	r->name = copy(r, name);
	r->value = *value;
	r->create = create;
	return ALM_OK;
}

static int
named_request(struct alm_conn *c, uint64_t tag, uint32_t kind, struct alm_slice name,
    uint32_t create)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, kind);
	r->name = copy(r, name);
	r->create = create;
	return ALM_OK;
}

static int
do_topic_delete(struct alm_conn *c, uint64_t tag, struct alm_slice name)
{
	return named_request(c, tag, FB_TOPIC_DELETE, name, 0);
}

static uint32_t
do_route(struct alm_conn *c, uint32_t topic, uint32_t queues, struct alm_slice key)
{
	struct fb_topic *t;

	if (!queues)
		return 0;
	if (key.len)
		return (uint32_t)(hash64(key.data, key.len) % queues);
	for (t = c->fb->topics; t; t = t->next)
		if (t->info.topic.id == topic)
			return t->turn++ % queues;
	return 0;
}

static int
do_group_put(struct alm_conn *c, uint64_t tag, struct alm_slice name, uint32_t create)
{
	return named_request(c, tag, FB_GROUP_PUT, name, create);
}

static int
do_group_delete(struct alm_conn *c, uint64_t tag, struct alm_slice name)
{
	return named_request(c, tag, FB_GROUP_DELETE, name, 0);
}

static int
do_offset_commit(struct alm_conn *c, uint64_t tag, struct alm_slice group,
    struct alm_slice topic, uint32_t queue, uint64_t offset)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_OFFSET_COMMIT);
	r->group = copy(r, group);
	r->name = copy(r, topic);
	r->queue = queue;
	r->offset = offset;
	return ALM_OK;
}

static int
do_state_get(struct alm_conn *c, uint64_t tag, struct alm_slice ns, struct alm_slice key)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_STATE_GET);
	r->ns = copy(r, ns);
	r->key = copy(r, key);
	return ALM_OK;
}

static int
do_state_scan(struct alm_conn *c, uint64_t tag, struct alm_slice ns, struct alm_slice prefix,
    struct alm_slice after, uint32_t limit)
{
	struct fb_request *r;

	if (refused(c))
		return refused(c);
	r = request_new(c, tag, FB_STATE_SCAN);
	r->ns = copy(r, ns);
	r->prefix = copy(r, prefix);
	r->after = copy(r, after);
	r->limit = limit;
	return ALM_OK;
}

static int
do_admin(struct alm_conn *c, uint64_t tag, const char *what)
{
	return named_request(c, tag, FB_ADMIN, (struct alm_slice){what, strlen(what)}, 0);
}

/* ---- connections ----------------------------------------------------------------------- */

static int
do_write(struct alm_conn *c, const void *data, uint64_t len)
{
	if (c->closing)
		return ALM_ECLOSED;
	if (buf_put(&c->out, data, len))
		abort();
	c->written += len;
	return ALM_OK;
}

static int
do_write_pinned(struct alm_conn *c, const struct alm_chunk *k)
{
	return do_write(c, k->data, k->len);
}

static uint64_t
do_pending(struct alm_conn *c)
{
	return c->pending ? c->pending : c->out.len;
}

static void
do_close(struct alm_conn *c, int status, uint32_t linger_ms)
{
	if (c->closing)
		return;
	c->closing = 1;
	c->close_status = status;
	c->linger_ms = linger_ms;
}

static void
do_pause(struct alm_conn *c, uint32_t paused)
{
	c->paused = paused;
}

static void
do_deadline(struct alm_conn *c, uint64_t at)
{
	c->at = at;
}

static int
do_notify(struct alm_conn *c, uint64_t id, const void *data, uint32_t len)
{
	struct alm_conn *to;

	for (to = c->fb->conns; to; to = to->next) {
		if (to->info.id != id)
			continue;
		to->notified++;
		if (c->fb->ops->notified)
			c->fb->ops->notified(to->session, data, len);
		return ALM_OK;
	}
	return ALM_OK;
}

struct alm_conn *
fb_open(struct fakebroker *fb)
{
	struct alm_conn *c = calloc(1, sizeof *c);

	if (!c)
		abort();
	c->fb = fb;
	c->info = (struct alm_conn_info){.size = sizeof c->info, .id = ++fb->ids,
	    .listener = "test", .peer = "127.0.0.1:5123", .addr = {127, 0, 0, 1}, .addr_len = 4,
	    .port = 5123};
	c->next = fb->conns;
	fb->conns = c;
	if (fb->ops->open(fb->proto, c, &c->info, &c->session) == ALM_OK)
		return c;
	fb->conns = c->next;
	buf_free(&c->out);
	free(c);
	return NULL;
}

void
fb_close(struct alm_conn *c, int status)
{
	struct fakebroker *fb = c->fb;
	struct fb_request *r, *next;
	struct alm_conn **at;

	for (r = fb->first; r; r = next) {
		next = r->next;
		if (r->conn == c)
			request_free(r);
	}
	c->closing = 1;
	fb->ops->closed(c->session, status);
	for (r = fb->first; r; r = r->next)
		if (r->conn == c)
			fb->misuse++; /* a request was made by closed() */
	for (at = &fb->conns; *at != c; at = &(*at)->next)
		;
	*at = c->next;
	buf_free(&c->in);
	buf_free(&c->out);
	free(c);
}

int64_t
fb_feed(struct alm_conn *c, const void *data, uint64_t len)
{
	int64_t used, total = 0;

	if (c->closing)
		return 0;
	if (buf_put(&c->in, data, len))
		abort();
	while (c->in.len && !c->closing && !c->paused) {
		c->busy = 1;
		used = c->fb->ops->input(c->session, c->in.data, c->in.len);
		c->busy = 0;
		if (used < 0 || (uint64_t)used > c->in.len) {
			if (used >= 0)
				c->fb->misuse++;
			fb_close(c, used < 0 ? (int)used : ALM_EINTERNAL);
			return used;
		}
		if (used == 0)
			break;
		buf_drop(&c->in, (uint64_t)used);
		total += used;
	}
	return total;
}

int64_t
fb_feed_slowly(struct alm_conn *c, const void *data, uint64_t len)
{
	const uint8_t *p = data;
	int64_t used, total = 0;
	uint64_t i;

	for (i = 0; i < len; i++) {
		used = fb_feed(c, p + i, 1);
		if (used < 0)
			return used;
		total += used;
	}
	return total;
}

void
fb_drain(struct alm_conn *c, uint64_t n)
{
	buf_drop(&c->out, n < c->out.len ? n : c->out.len);
	if (!c->closing && c->fb->ops->writable)
		c->fb->ops->writable(c->session);
}

void
fb_clock(struct fakebroker *fb, uint64_t now)
{
	struct alm_conn *c, *next;

	fb->clock = now;
	for (c = fb->conns; c; c = next) {
		next = c->next;
		if (!c->at || c->at > now)
			continue;
		c->at = 0;
		fb->ops->timer(c->session);
	}
}

/* ---- answers ---------------------------------------------------------------------------- */

struct fb_request *
fb_next(struct fakebroker *fb, uint32_t kind)
{
	struct fb_request *r;

	for (r = fb->first; r; r = r->next)
		if (kind == FB_ANY || r->kind == kind)
			return r;
	return NULL;
}

uint32_t
fb_waiting(struct fakebroker *fb)
{
	struct fb_request *r;
	uint32_t n = 0;

	for (r = fb->first; r; r = r->next)
		n++;
	return n;
}

static uint32_t
which_of(uint32_t kind)
{
	switch (kind) {
	case FB_FETCH:
		return ALM_DONE_FETCH;
	case FB_BOUNDS:
	case FB_OFFSET_AT:
		return ALM_DONE_BOUNDS;
	case FB_LOOKUP_POSITION:
	case FB_LOOKUP_KEY:
		return ALM_DONE_LOOKUP;
	case FB_STATE_GET:
	case FB_STATE_SCAN:
		return ALM_DONE_STATE;
	case FB_ADMIN:
		return ALM_DONE_ADMIN;
	default:
		return ALM_DONE_APPEND;
	}
}

void
fb_answer(struct fb_request *r, struct alm_done *d)
{
	struct alm_conn *c = r->conn;

	d->size = sizeof *d;
	d->which = which_of(r->kind);
	d->tag = r->tag;
	if (!d->detail)
		d->detail = "";
	request_free(r);
	c->fb->ops->done(c->session, d);
}

void
fb_answer_status(struct fb_request *r, int status, const char *detail)
{
	struct alm_done d = {.status = status, .detail = detail};

	fb_answer(r, &d);
}

void
fb_answer_append(struct fb_request *r, int status, uint64_t first_offset)
{
	struct alm_done d = {.status = status, .first_offset = first_offset, .position = 4096,
	    .index = 1, .n_messages = r->append.n_messages};

	fb_answer(r, &d);
}

void
fb_answer_records(struct fb_request *r, const struct buf *records, uint64_t begin, uint64_t end)
{
	struct alm_chunk k = {
	    .data = records->data, .len = records->len, .pin = 1, .position = 96};
	struct alm_done d = {.begin = begin, .end = end, .chunks = &k,
	    .n_chunks = records->len ? 1 : 0, .next_offset = r->fetch.offset};
	const struct alm_record *rec;
	uint64_t at;

	for (at = 0; at < records->len; at += rec->length) {
		rec = (const void *)(records->data + at);
		d.next_offset = rec->offset + 1;
	}
	fb_answer(r, &d);
}

void
fb_answer_data(struct fb_request *r, const void *data, uint64_t len, uint64_t version)
{
	struct alm_done d = {.data = {data, len}, .version = version};

	fb_answer(r, &d);
}

void
fb_answer_all(struct fakebroker *fb, uint64_t seed)
{
	struct buf recs = {0};
	struct fb_request *r;
	uint64_t value = 7;

	while ((r = fb_next(fb, FB_ANY))) {
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (seed >> 60 == 0) {
			fb_answer_status(r, -(int)(1 + (seed >> 40) % 23), "for the test");
		} else if (r->kind == FB_FETCH) {
			buf_reset(&recs);
			fb_record(&recs, r->topic, r->queue, r->fetch.offset, "t", "body", 4);
			fb_answer_records(r, &recs, 0, r->fetch.offset + 1);
		} else if (r->kind == FB_STATE_GET) {
			fb_answer_data(r, &value, sizeof value, 42);
		} else if (r->kind == FB_ADMIN) {
			fb_answer_data(r, "{}", 2, 0);
		} else {
			fb_answer_append(r, ALM_OK, seed >> 32);
		}
	}
	buf_free(&recs);
}

int
fb_record(struct buf *b, uint32_t topic, uint32_t queue, uint64_t offset, const char *tag,
    const void *body, uint64_t len)
{
	static const uint8_t zero[8];
	struct alm_attr attr = {ALM_ATTR_TAG, 0, tag ? (uint32_t)strlen(tag) : 0};
	uint32_t attrs = tag ? (uint32_t)sizeof attr + attr.len : 0;
	struct alm_record rec = {.magic = ALM_RECORD_MAGIC, .kind = ALM_REC_MESSAGE,
	    .attrs_len = attrs, .topic = topic, .queue = queue, .offset = offset, .born = 1};
	uint64_t at = b->len, raw = sizeof rec + attrs + len;

	rec.pad = (uint8_t)(-raw & 7);
	rec.length = (uint32_t)(raw + rec.pad);
	rec.tag_hash = tag ? (uint32_t)hash64(tag, attr.len) : 0;
	if (buf_put(b, &rec, sizeof rec) || (tag && buf_put(b, &attr, sizeof attr)) ||
	    (tag && buf_put(b, tag, attr.len)) || buf_put(b, body, len) || buf_put(b, zero, rec.pad))
		return ALM_ENOMEM;
	rec.crc = crc32c(0, b->data + at + 8, rec.length - 8);
	memcpy(b->data + at + offsetof(struct alm_record, crc), &rec.crc, sizeof rec.crc);
	return ALM_OK;
}

/* ---- life -------------------------------------------------------------------------------- */

struct fakebroker *
fb_new(void)
{
	struct fakebroker *fb = calloc(1, sizeof *fb);

	if (!fb)
		abort();
	fb->last = &fb->first;
	fb->clock = 1000000;
	fb->broker = (struct alm_broker){.size = sizeof fb->broker, .write = do_write,
	    .write_pinned = do_write_pinned, .pending = do_pending, .close = do_close,
	    .pause = do_pause, .deadline = do_deadline, .append = do_append, .fetch = do_fetch,
	    .fetch_cancel = do_fetch_cancel, .bounds = do_bounds, .offset_at = do_offset_at,
	    .lookup_position = do_lookup_position, .lookup_key = do_lookup_key,
	    .topic = do_topic, .topic_by_id = do_topic_by_id, .topics = do_topics,
	    .topic_put = do_topic_put, .topic_delete = do_topic_delete, .route = do_route,
	    .group_put = do_group_put, .group_delete = do_group_delete,
	    .offset_commit = do_offset_commit, .state_get = do_state_get,
	    .state_scan = do_state_scan, .admin = do_admin, .notify = do_notify};
	fb_host_init(fb);
	return fb;
}

int
fb_load(struct fakebroker *fb, const struct alm_protocol_ops_v0 *ops)
{
	fb->ops = ops;
	return ops->init(&fb->host, &fb->broker, &fb->proto);
}

uint32_t
fb_topic_add(struct fakebroker *fb, const char *name, uint32_t queues)
{
	struct fb_topic *t = calloc(1, sizeof *t), **at;
	uint32_t id = 1;

	if (!t || strlen(name) > ALM_NAME_MAX)
		abort();
	for (at = &fb->topics; *at; at = &(*at)->next)
		id = (*at)->info.topic.id >= id ? (*at)->info.topic.id + 1 : id;
	for (at = &fb->topics; *at && strcmp((*at)->name, name) < 0; at = &(*at)->next)
		;
	t->next = *at;
	*at = t;
	t->name_len = (uint32_t)strlen(name);
	memcpy(t->name, name, t->name_len);
	t->info = (struct alm_topic_info){.size = sizeof t->info, .version = 8 * id,
	    .topic = {.version = 1, .id = id, .queues = queues, .created = 1}};
	return id;
}

uint64_t
fb_free(struct fakebroker *fb)
{
	struct fb_topic *t;
	uint64_t bad;

	while (fb->conns)
		fb_close(fb->conns, ALM_ECLOSED);
	if (fb->proto && fb->ops->fini)
		fb->ops->fini(fb->proto);
	while ((t = fb->topics)) {
		fb->topics = t->next;
		free(t);
	}
	bad = fb->live + fb->misuse;
	if (bad)
		fprintf(stderr, "fakebroker: %" PRIu64 " allocations leaked, %u misuses\n",
		    fb->live, fb->misuse);
	free(fb);
	return bad;
}
