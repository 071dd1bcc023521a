/* worker/append.c - groups on their way to the ledger, and their results.
 *
 * A group is built in the ring, straight from the provider's bytes: conditions, message records,
 * one STATE record for each run of changes in one namespace.  What the ledger fills in (crc,
 * batch_offset, offset) is zero.  Checks here spare the ledger work and give better texts; the
 * ledger makes its own.  When the ledger is gone, every group without a result is answered
 * ALM_EUNAVAILABLE: it may or may not be in the log, and a retry with the same producer and
 * sequence finds out. */
#include "worker/worker.h"

#include <inttypes.h>
#include <stdio.h>

#define GONE "the ledger restarted; safe to retry with the same producer and sequence"

struct layout {
	uint64_t bytes; /* conditions and records */
	uint32_t conditions, records;
};

static uint64_t
record_bytes(uint64_t attrs, uint64_t body)
{
	return (sizeof(struct alm_record) + attrs + body + 7) & ~(uint64_t)7;
}

static int
same_ns(const struct alm_change *a, const struct alm_change *b)
{
	return a->ns.len == b->ns.len && !memcmp(a->ns.data, b->ns.data, a->ns.len);
}

/* ---- checks and sizes ---------------------------------------------------------------------- */

static int
check_message(struct worker *w, const struct alm_message *m, const struct topic_entry *t)
{
	uint64_t limit = w->core->max_message;

	if (m->body.len > limit || m->attrs.len > limit - m->body.len)
		return err_set(ALM_ETOOBIG, "message of %" PRIu64 " bytes and %" PRIu64 " of "
		    "attributes; limits.max_message is %" PRIu64, m->body.len, m->attrs.len, limit);
	if (t->topic.max_message && m->body.len > t->topic.max_message)
		return err_set(ALM_ETOOBIG, "message of %" PRIu64 " bytes; topic %s takes at most %u",
		    m->body.len, t->name, t->topic.max_message);
	if (m->queue >= t->topic.queues)
		return err_set(ALM_EINVAL, "topic %s has queues 0 to %u, not %u", t->name,
		    t->topic.queues - 1, m->queue);
	if (record_bytes(m->attrs.len, m->body.len) > ALM_MESSAGE_MAX)
		return err_set(ALM_ETOOBIG, "the record would take more than %u bytes",
		    ALM_MESSAGE_MAX);
	return ALM_OK;
}

static int
plan_messages(struct request *r, const struct alm_append *a, struct layout *l)
{
	struct worker *w = r->conn->w;
	const struct topic_entry *t = NULL;
	uint32_t i;
	int st;

	for (i = 0; i < a->n_messages; i++) {
		const struct alm_message *m = &a->messages[i];

		if (!t || t->topic.id != m->topic) {
			t = fold_topic_id(w, m->topic);
			if (!t)
				return err_set(ALM_ENOTFOUND, "no topic with id %u", m->topic);
			st = hooks_call(r->conn, ALM_HOOK_PUBLISH, slice(t->name, t->name_len),
			    slice("", 0));
			if (st)
				return st;
		}
		st = check_message(w, m, t);
		if (st)
			return st;
		l->bytes += record_bytes(m->attrs.len, m->body.len);
	}
	l->records += a->n_messages;
	return ALM_OK;
}

static int
check_change(const struct alm_change *g)
{
	if (g->op != ALM_STATE_PUT && g->op != ALM_STATE_DELETE)
		return err_set(ALM_EINVAL, "operation %u is neither put nor delete", g->op);
	if (!g->ns.len || g->ns.len > ALM_NAME_MAX || !g->key.len || g->key.len > UINT16_MAX)
		return err_set(ALM_EINVAL, "a namespace has 1 to %u bytes, a key 1 to %u",
		    ALM_NAME_MAX, UINT16_MAX);
	if (g->value.len > ALM_MESSAGE_MAX / 2)
		return err_set(ALM_ETOOBIG, "a value has at most %u bytes", ALM_MESSAGE_MAX / 2);
	return ALM_OK;
}

/* Length of the run of changes from i on that go into one record, and its body's bytes. */
static uint32_t
run_length(const struct alm_append *a, uint32_t i, uint64_t *body)
{
	const struct alm_change *first = &a->changes[i];
	uint64_t more;
	uint32_t n;

	*body = sizeof(struct alm_state_txn) + first->ns.len;
	for (n = 0; i + n < a->n_changes && n < UINT16_MAX; n++) {
		const struct alm_change *g = first + n;

		more = sizeof(struct alm_state_op) + g->key.len + g->value.len;
		if (n && (!same_ns(first, g) || *body + more > ALM_MESSAGE_MAX / 2))
			break;
		*body += more;
	}
	return n;
}

static int
plan_changes(const struct alm_append *a, struct layout *l)
{
	uint64_t body;
	uint32_t i, n;
	int st;

	for (i = 0; i < a->n_changes; i++) {
		st = check_change(&a->changes[i]);
		if (st)
			return st;
		l->conditions += a->changes[i].has_version != 0;
	}
	for (i = 0; i < a->n_changes; i += n) {
		n = run_length(a, i, &body);
		l->bytes += record_bytes(0, body);
		l->records++;
	}
	l->bytes += (uint64_t)l->conditions * sizeof(struct msg_condition);
	return ALM_OK;
}

/* ---- building ------------------------------------------------------------------------------- */

static void *
put_conditions(uint8_t *at, const struct alm_append *a)
{
	struct msg_condition cond;
	uint32_t i;

	for (i = 0; i < a->n_changes; i++) {
		const struct alm_change *g = &a->changes[i];

		if (!g->has_version)
			continue;
		cond.key = state_key_hash(g->ns, g->key);
		cond.version = g->version;
		memcpy(at, &cond, sizeof cond);
		at += sizeof cond;
	}
	return at;
}

static uint8_t *
put_bytes(uint8_t *at, struct alm_slice s)
{
	if (s.len)
		memcpy(at, s.data, s.len);
	return at + s.len;
}

/* End of a record: zero the padding, set the lengths. */
static uint8_t *
finish_record(struct alm_record *rec, uint8_t *end)
{
	uint64_t used = (uint64_t)(end - (uint8_t *)rec), length = (used + 7) & ~(uint64_t)7;

	memset(end, 0, length - used);
	rec->length = (uint32_t)length;
	rec->pad = (uint8_t)(length - used);
	return (uint8_t *)rec + length;
}

/* The attributes must be whole; the first TAG gives tag_hash. */
static int
read_attrs(struct alm_record *rec)
{
	struct alm_slice v;
	uint32_t at = 0, type = 0;

	while (alm_record_attr(rec, &at, &type, &v))
		if (type == ALM_ATTR_TAG && !rec->tag_hash)
			rec->tag_hash = (uint32_t)hash64(v.data, v.len);
	if (at != rec->attrs_len)
		return err_set(ALM_EINVAL, "attributes end inside an attribute at byte %u of %u", at,
		    rec->attrs_len);
	return ALM_OK;
}

static int
put_message(uint8_t **at, const struct alm_message *m, uint64_t now)
{
	struct alm_record *rec = (void *)*at;
	uint8_t *p = (uint8_t *)(rec + 1);
	int st;

	*rec = (struct alm_record){.magic = ALM_RECORD_MAGIC, .kind = ALM_REC_MESSAGE,
	    .flags = m->flags, .attrs_len = (uint32_t)m->attrs.len, .topic = m->topic,
	    .queue = m->queue, .sequence = m->sequence, .producer = m->producer,
	    .born = m->born ? m->born : now};
	p = put_bytes(p, m->attrs);
	p = put_bytes(p, m->body);
	*at = finish_record(rec, p);
	st = m->attrs.len ? read_attrs(rec) : ALM_OK;
	return st;
}

static uint8_t *
put_state(uint8_t *at, const struct alm_append *a, uint32_t i, uint32_t n, uint64_t now)
{
	struct alm_record *rec = (void *)at;
	const struct alm_change *g = &a->changes[i];
	struct alm_state_txn txn = {.ns_len = (uint16_t)g->ns.len, .n_ops = (uint16_t)n};
	struct alm_state_op op = {0};
	uint8_t *p = (uint8_t *)(rec + 1);

	*rec = (struct alm_record){.magic = ALM_RECORD_MAGIC, .kind = ALM_REC_STATE, .born = now};
	p = put_bytes(p, slice(&txn, sizeof txn));
	p = put_bytes(p, g->ns);
	for (; n; n--, g++) {
		op.op = (uint8_t)g->op;
		op.key_len = (uint16_t)g->key.len;
		op.val_len = (uint32_t)g->value.len;
		p = put_bytes(p, slice(&op, sizeof op));
		p = put_bytes(p, g->key);
		p = put_bytes(p, g->value);
	}
	return finish_record(rec, p);
}

static int
put_group(uint8_t *at, const struct alm_append *a)
{
	uint64_t now = clock_wall(), body;
	uint32_t i, n;
	int st;

	at = put_conditions(at, a);
	for (i = 0; i < a->n_messages; i++) {
		st = put_message(&at, &a->messages[i], now);
		if (st)
			return st;
	}
	for (i = 0; i < a->n_changes; i += n) {
		n = run_length(a, i, &body);
		at = put_state(at, a, i, n, now);
	}
	return ALM_OK;
}

static int
ledger_ready(struct worker *w)
{
	return link_up(&w->ledger) && atomic_load(&w->ledger.peer->page.control.ready);
}

int
append_send(struct request *r, const struct alm_append *a)
{
	struct worker *w = r->conn->w;
	struct layout l = {0};
	struct msg_append *msg;
	uint64_t len;
	int st;

	if (!a->n_messages && !a->n_changes)
		return err_set(ALM_EINVAL, "a group has at least one message or change");
	if (!ledger_ready(w))
		return err_set(ALM_EUNAVAILABLE, "the ledger is not ready; try again");
	st = plan_messages(r, a, &l);
	if (!st)
		st = plan_changes(a, &l);
	if (st)
		return st;
	len = sizeof *msg + l.bytes;
	if (len > link_max(&w->ledger))
		return err_set(ALM_ETOOBIG, "group of %" PRIu64 " bytes; at most %u fit", l.bytes,
		    link_max(&w->ledger));
	msg = link_reserve(&w->ledger, MSG_APPEND, (uint32_t)len);
	if (!msg)
		return ALM_EAGAIN;
	*msg = (struct msg_append){.tag = slab_id(r), .n_records = l.records,
	    .n_conditions = l.conditions, .bytes = (uint32_t)l.bytes};
	st = put_group((uint8_t *)(msg + 1), a);
	if (st)
		return st; /* reserved only: the ledger sees nothing */
	link_commit(&w->ledger, (uint32_t)len);
	r->u.append.n_messages = a->n_messages;
	r->u.append.began = w->now;
	r->flags |= RF_IN_LEDGER;
	list_add(&w->appends, &r->node);
	count(w, COUNT_APPENDS, 1);
	count(w, COUNT_APPEND_MESSAGES, a->n_messages);
	count(w, COUNT_APPEND_BYTES, l.bytes);
	count_set(w, COUNT_APPENDS_UNDER_WAY, ++w->appends_n);
	return ALM_OK;
}

int
append_submit(struct alm_conn *c, uint64_t tag, const struct alm_append *a, uint32_t wait_fold)
{
	struct request *r = request_new(c, tag, REQ_APPEND);
	int st;

	if (!r)
		return c->state != CONN_OPEN ? ALM_ECLOSED : ALM_ENOMEM;
	worker_wake(c->w);
	r->u.append.wait_fold = wait_fold;
	err_clear();
	st = append_send(r, a);
	if (st == ALM_EAGAIN) {
		count(c->w, COUNT_APPEND_BUSY, 1);
		conn_starve(c);
		request_drop(r);
		return st;
	}
	if (st)
		request_fail(r, st, "%s", *err_text() ? err_text() : status_text(st));
	return ALM_OK;
}

int
append_request(struct alm_conn *c, uint64_t tag, const struct alm_append *a)
{
	return append_submit(c, tag, a, 0);
}

/* ---- results --------------------------------------------------------------------------------- */

static void
finish(struct request *r, struct alm_done *d)
{
	struct worker *w = r->conn->w;

	if (d->status)
		count(w, COUNT_APPEND_FAILED, 1);
	hist_add(&w->self->hist[HIST_APPEND], w->now - r->u.append.began);
	request_done(r, d);
}

static void
left_ledger(struct request *r)
{
	struct worker *w = r->conn->w;

	r->flags &= ~RF_IN_LEDGER;
	list_del(&r->node);
	count_set(w, COUNT_APPENDS_UNDER_WAY, --w->appends_n);
}

/* 1 if the own catalogue shows it; otherwise the result is kept until it does. */
static int
has_folded(struct request *r, const struct alm_done *d, uint64_t end)
{
	struct worker *w = r->conn->w;

	fold_run(w);
	if (w->folded >= end)
		return 1;
	r->u.append.result = *d;
	r->u.append.result.offsets = NULL; /* lies in the ring */
	r->u.append.result.detail = NULL;
	r->u.append.fold_end = end;
	list_add(&w->fold_wait, &r->node);
	return 0;
}

void
append_result(struct worker *w, const void *payload, uint32_t len)
{
	struct alm_done d = {0};
	struct msg_result res;
	struct request *r;

	if (len < sizeof res)
		return;
	memcpy(&res, payload, sizeof res);
	res.detail[sizeof res.detail - 1] = '\0';
	r = slab_get(&w->requests, res.tag);
	if (!r || !(r->flags & RF_IN_LEDGER))
		return; /* its connection has gone */
	left_ledger(r);
	d.status = res.status;
	d.duplicate = res.flags & RESULT_DUPLICATE ? 1 : 0;
	d.position = d.version = res.position;
	d.index = res.index;
	d.first_offset = res.first_offset;
	d.n_messages = r->u.append.n_messages;
	if (res.n_offsets && res.n_offsets <= (len - sizeof res) / 8 &&
	    res.n_offsets == d.n_messages)
		d.offsets = (const void *)((const uint8_t *)payload + sizeof res);
	d.detail = res.detail;
	if (!res.status && r->u.append.wait_fold && !has_folded(r, &d, res.end))
		return;
	if (r->chain && services_result(r, &d))
		return;
	finish(r, &d);
}

void
append_folded(struct worker *w)
{
	struct node *n, *next;
	struct node ripe;

	list_init(&ripe);
	for (n = w->fold_wait.next; n != &w->fold_wait; n = next) {
		struct request *r = container_of(n, struct request, node);

		next = n->next;
		if (r->u.append.fold_end <= w->folded)
			list_add(&ripe, n);
	}
	while (!list_empty(&ripe)) {
		struct request *r = container_of(ripe.next, struct request, node);
		struct alm_done d = r->u.append.result;

		list_del(&r->node);
		if (!r->chain || !services_result(r, &d))
			finish(r, &d);
	}
}

void
append_ledger_gone(struct worker *w)
{
	while (!list_empty(&w->appends)) {
		struct request *r = container_of(w->appends.next, struct request, node);

		left_ledger(r);
		request_fail(r, ALM_EUNAVAILABLE, GONE);
	}
}
