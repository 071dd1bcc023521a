/* worker/lookup.c - the other ways to find things: bounds of a queue, offset at a time, messages by
 * position and by key, entries of the state store.  All but the position ask the indexer, with
 * min_applied = visible, so an answer contains everything acknowledged before the question. */
#include "worker/worker.h"

#include <inttypes.h>

#define WAIT_US 10000000u       /* for the index */
#define KEY_LIMIT 256u          /* messages of one key lookup */
#define SCAN_LIMIT 1000u        /* rows of one state scan */
#define STATE_BYTES (256u << 10) /* of an answer of the state store */

static int
start(struct alm_conn *c, uint64_t tag, uint32_t kind, struct request **out)
{
	*out = request_new(c, tag, kind);
	if (*out)
		return ALM_OK;
	return c->state != CONN_OPEN ? ALM_ECLOSED : ALM_ENOMEM;
}

/* Ask, or let the request fail. */
static int
ask(struct request *r, uint32_t what, const struct alm_slice *parts, uint32_t n,
    uint32_t max_bytes)
{
	struct worker *w = r->conn->w;

	worker_wake(w);
	if (query_ask(r, what, parts, n, max_bytes, log_visible(w), w->now + WAIT_US))
		request_fail(r, ALM_ENOMEM, "%s", err_text());
	return ALM_OK;
}

static uint32_t
answer_room(struct worker *w, uint64_t want)
{
	uint64_t room = link_up(&w->indexer) ? link_max(&w->indexer) : STATE_BYTES;

	room = room > 2 * sizeof(struct msg_answer) ? room - sizeof(struct msg_answer) : 0;
	return (uint32_t)(want < room ? want : room);
}

/* ---- bounds and time ------------------------------------------------------------------------- */

static int
queue_ok(struct alm_conn *c, uint32_t topic, uint32_t queue)
{
	const struct topic_entry *t = fold_topic_id(c->w, topic);

	return t && queue < t->topic.queues;
}

static int
ask_bounds(struct request *r, uint32_t topic, uint32_t queue)
{
	struct alm_q_queue in = {topic, queue};
	struct alm_slice part = slice(&in, sizeof in);

	return ask(r, ALM_Q_BOUNDS, &part, 1, sizeof(struct alm_q_bounds));
}

int
lookup_bounds(struct alm_conn *c, uint64_t tag, uint32_t topic, uint32_t queue)
{
	struct request *r;
	int st;

	if (!queue_ok(c, topic, queue))
		return refuse(c, tag, REQ_BOUNDS, ALM_ENOTFOUND, "no such topic or queue");
	st = start(c, tag, REQ_BOUNDS, &r);
	return st ? st : ask_bounds(r, topic, queue);
}

int
lookup_time(struct alm_conn *c, uint64_t tag, uint32_t topic, uint32_t queue, uint64_t time)
{
	struct alm_q_time in = {topic, queue, time};
	struct alm_slice part = slice(&in, sizeof in);
	struct request *r;
	int st;

	if (!queue_ok(c, topic, queue))
		return refuse(c, tag, REQ_TIME, ALM_ENOTFOUND, "no such topic or queue");
	st = start(c, tag, REQ_TIME, &r);
	if (st)
		return st;
	r->u.where.topic = topic;
	r->u.where.queue = queue;
	return ask(r, ALM_Q_TIME, &part, 1, sizeof(struct alm_q_row));
}

static int
none_there(int status)
{
	return status == ALM_ENOTFOUND || status == ALM_EOFFSET;
}

static void
time_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct alm_q_row row;

	r->next_offset = UINT64_MAX; /* after all there is, until a row says better */
	if (!a->status && a->len >= sizeof row) {
		memcpy(&row, data, sizeof row);
		r->next_offset = row.first_offset;
	}
	ask_bounds(r, r->u.where.topic, r->u.where.queue);
}

static void
bounds_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct alm_q_bounds b = {0, 0};

	if (!a->status && a->len >= sizeof b)
		memcpy(&b, data, sizeof b);
	r->begin = b.begin;
	r->end = b.end;
	if (r->kind == REQ_TIME) {
		if (r->next_offset > b.end)
			r->next_offset = b.end;
		if (r->next_offset < b.begin)
			r->next_offset = b.begin;
	}
	request_done_status(r, ALM_OK, "");
}

/* ---- messages ------------------------------------------------------------------------------------ */

/* The message record that begins at position: the view that holds it, or an error. */
static int
record_at(struct worker *w, uint64_t position, struct view **view, const struct alm_record **out)
{
	const struct alm_batch *b;
	const struct alm_record *rec;
	uint32_t at = sizeof *b, was;
	int st;

	if (position >= log_visible(w))
		return err_set(ALM_ENOTFOUND, "no message begins at position %" PRIu64, position);
	st = view_seek(w, position, view);
	if (st)
		return st;
	b = (*view)->v.batch;
	while ((was = at, rec = alm_batch_next(b, &at)) && b->position + was < position)
		;
	if (rec && b->position + was == position &&
	    (rec->kind == ALM_REC_MESSAGE || rec->kind == ALM_REC_REF)) {
		*out = rec;
		return ALM_OK;
	}
	view_unref(w, *view);
	return err_set(ALM_ENOTFOUND, "no message begins at position %" PRIu64, position);
}

static void
finish_lookup(struct request *r, struct view **view, uint32_t n)
{
	struct worker *w = r->conn->w;
	struct alm_done d = {.chunks = w->chunk, .n_chunks = n, .n_messages = n};
	uint32_t i;

	if (!n) {
		d.status = ALM_ENOTFOUND;
		d.detail = "no such message";
	}
	request_done(r, &d);
	for (i = 0; i < n; i++)
		view_unref(w, view[i]);
}

static void
take(struct worker *w, uint32_t i, struct view *v, const struct alm_record *rec,
    uint64_t position)
{
	w->chunk[i] = (struct alm_chunk){.data = rec, .len = rec->length, .pin = slab_id(v),
	    .position = position};
}

int
lookup_position(struct alm_conn *c, uint64_t tag, uint64_t position)
{
	struct request *r;
	int st = start(c, tag, REQ_POSITION, &r);

	if (st)
		return st;
	r->u.where.position = position;
	request_ready(r);
	return ALM_OK;
}

static void
position_run(struct request *r)
{
	struct worker *w = r->conn->w;
	const struct alm_record *rec;
	struct view *v;
	int st;

	err_clear();
	st = record_at(w, r->u.where.position, &v, &rec);
	if (st) {
		request_done_status(r, st == ALM_EOFFSET ? ALM_ENOTFOUND : st,
		    *err_text() ? err_text() : status_text(st));
		return;
	}
	take(w, 0, v, rec, r->u.where.position);
	finish_lookup(r, &v, 1);
}

int
lookup_key(struct alm_conn *c, uint64_t tag, uint32_t topic, struct alm_slice key, uint32_t limit,
    uint64_t since, uint64_t until)
{
	struct alm_q_key in = {.topic = topic, .since = since, .until = until,
	    .limit = limit && limit < KEY_LIMIT ? limit : KEY_LIMIT};
	struct alm_slice parts[2] = {slice(&in, sizeof in), key};
	struct request *r;
	int st;

	if (!key.len || key.len > 4096)
		return refuse(c, tag, REQ_KEY, ALM_EINVAL, "a key has 1 to 4096 bytes");
	in.key_len = (uint32_t)key.len;
	st = start(c, tag, REQ_KEY, &r);
	return st ? st : ask(r, ALM_Q_KEY, parts, 2, in.limit * (uint32_t)sizeof(uint64_t));
}

static int
has_key(const struct alm_record *rec, struct alm_slice key)
{
	struct alm_slice v;
	uint32_t at = 0, type = 0;

	while (alm_record_attr(rec, &at, &type, &v))
		if (type == ALM_ATTR_KEY && v.len == key.len && !memcmp(v.data, key.data, v.len))
			return 1;
	return 0;
}

/* The index keeps hashes and may be ahead of retention: each message is looked at. */
static void
key_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct worker *w = r->conn->w;
	const struct alm_record *rec;
	struct view *view[KEY_LIMIT];
	struct alm_q_key asked;
	struct alm_slice key;
	uint64_t position;
	uint32_t i, n = 0;

	memcpy(&asked, query_input(r), sizeof asked);
	key = slice(query_input(r) + sizeof asked, asked.key_len);
	for (i = 0; i < a->len / sizeof position && n < asked.limit; i++) {
		memcpy(&position, data + i * sizeof position, sizeof position);
		if (record_at(w, position, &view[n], &rec))
			continue;
		if (!has_key(rec, key) || (asked.topic && rec->topic != asked.topic)) {
			view_unref(w, view[n]);
			continue;
		}
		take(w, n, view[n], rec, position);
		n++;
	}
	finish_lookup(r, view, n);
}

/* ---- state ---------------------------------------------------------------------------------------- */

int
lookup_state_get(struct alm_conn *c, uint64_t tag, struct alm_slice ns, struct alm_slice key)
{
	uint16_t lens[2] = {(uint16_t)ns.len, (uint16_t)key.len};
	struct alm_slice parts[3] = {slice(lens, sizeof lens), ns, key};
	struct request *r;
	int st;

	if (!ns.len || ns.len > ALM_NAME_MAX || !key.len || key.len > UINT16_MAX)
		return refuse(c, tag, REQ_STATE, ALM_EINVAL, "a namespace has 1 to %u bytes, a "
		    "key 1 to %u", ALM_NAME_MAX, UINT16_MAX);
	st = start(c, tag, REQ_STATE, &r);
	return st ? st : ask(r, Q_STATE_GET, parts, 3, answer_room(c->w, STATE_BYTES));
}

int
lookup_state_scan(struct alm_conn *c, uint64_t tag, struct alm_slice ns, struct alm_slice prefix,
    struct alm_slice after, uint32_t limit)
{
	struct q_scan in = {.ns_len = (uint16_t)ns.len, .prefix_len = (uint16_t)prefix.len,
	    .after_len = (uint16_t)after.len,
	    .limit = limit && limit < SCAN_LIMIT ? limit : SCAN_LIMIT,
	    .max_bytes = answer_room(c->w, STATE_BYTES)};
	struct alm_slice parts[4] = {slice(&in, sizeof in), ns, prefix, after};
	struct request *r;
	int st;

	if (!ns.len || ns.len > ALM_NAME_MAX || prefix.len > UINT16_MAX || after.len > UINT16_MAX)
		return refuse(c, tag, REQ_STATE, ALM_EINVAL, "a namespace has 1 to %u bytes, a "
		    "prefix or key at most %u", ALM_NAME_MAX, UINT16_MAX);
	st = start(c, tag, REQ_STATE, &r);
	return st ? st : ask(r, Q_STATE_SCAN, parts, 4, in.max_bytes);
}

static void
state_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct alm_done d = {.data = {data, a->len}};

	if (r->query.last == Q_STATE_GET) {
		if (a->len < sizeof d.version) {
			request_done_status(r, ALM_EINTERNAL, "the state store's answer is short");
			return;
		}
		memcpy(&d.version, data, sizeof d.version);
		d.data = slice(data + sizeof d.version, a->len - sizeof d.version);
	}
	request_done(r, &d);
}

/* ---- answers ---------------------------------------------------------------------------------------- */

void
lookup_run(struct request *r)
{
	if (r->kind == REQ_POSITION)
		position_run(r);
	else
		services_run(r);
}

void
lookup_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	if (a->status && !(none_there(a->status) && r->which == ALM_DONE_BOUNDS)) {
		request_done_status(r, a->status, status_text(a->status));
		return;
	}
	if (r->kind == REQ_TIME && r->query.last == ALM_Q_TIME)
		time_answer(r, a, data);
	else if (r->which == ALM_DONE_BOUNDS)
		bounds_answer(r, a, data);
	else if (r->kind == REQ_KEY)
		key_answer(r, a, data);
	else
		state_answer(r, a, data);
}
