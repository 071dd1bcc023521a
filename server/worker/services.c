/* worker/services.c - topics, groups and consumer offsets, as groups of changes; notify.
 *
 * A change is one append; topics and groups are answered once this worker's own catalogue shows
 * them.  Two services take several steps and keep a struct chain:
 *  - REQ_COMMIT, an offset commit that creates its group: group and offset in one append; if somebody
 *    else created the group meanwhile, the offset alone;
 *  - REQ_PURGE, a delete: first the topic or group itself, then page by page the offsets that hang
 *    on it, each under the condition that it has not changed since it was read, so that offsets
 *    of a new topic of that name survive. */
#include "worker/worker.h"

#include <arpa/inet.h>
#include <stdlib.h>

#define PAGE_ROWS 256u
#define PAGE_BYTES (64u << 10)
#define TRIES_MAX 8u
#define OFFSET_KEY_MAX (2 * ALM_NAME_MAX + 6)

static struct alm_slice
text(const char *s)
{
	return slice(s, strlen(s));
}

static int
submit(struct alm_conn *c, uint64_t tag, const struct alm_change *g, uint32_t n,
    uint32_t wait_fold)
{
	struct alm_append a = {.size = sizeof a, .n_changes = n, .changes = g};

	return append_submit(c, tag, &a, wait_fold);
}

/* ---- catalogue, answered at once ---------------------------------------------------------------- */

static void
info_of(const struct topic_entry *t, struct alm_topic_info *out)
{
	*out = (struct alm_topic_info){.size = sizeof *out, .topic = t->topic,
	    .version = t->version};
}

static int
do_topic(struct alm_conn *c, struct alm_slice name, struct alm_topic_info *out)
{
	const struct topic_entry *t = fold_topic(c->w, name);

	if (!t)
		return ALM_ENOTFOUND;
	info_of(t, out);
	return ALM_OK;
}

static int
do_topic_by_id(struct alm_conn *c, uint32_t id, struct alm_slice *name,
    struct alm_topic_info *out)
{
	const struct topic_entry *t = fold_topic_id(c->w, id);

	if (!t)
		return ALM_ENOTFOUND;
	*name = slice(t->name, t->name_len);
	info_of(t, out);
	return ALM_OK;
}

struct walk {
	int (*each)(void *, struct alm_slice, const struct alm_topic_info *);
	void *arg;
};

static int
walk_one(void *arg, const struct topic_entry *t)
{
	struct walk *walk = arg;
	struct alm_topic_info info;

	info_of(t, &info);
	return walk->each(walk->arg, slice(t->name, t->name_len), &info);
}

static int
do_topics(struct alm_conn *c,
    int (*each)(void *, struct alm_slice name, const struct alm_topic_info *), void *arg)
{
	struct walk walk = {each, arg};

	fold_run(c->w);
	return catalogue_topics(c->w->catalogue, walk_one, &walk);
}

static uint32_t
do_route(struct alm_conn *c, uint32_t topic, uint32_t queues, struct alm_slice key)
{
	uint64_t *turn;

	if (queues < 2)
		return 0;
	if (key.len)
		return (uint32_t)(hash64(key.data, key.len) % queues);
	turn = hmap_put(c->w->turns, topic);
	return turn ? (uint32_t)((*turn)++ % queues) : 0;
}

/* ---- topics ---------------------------------------------------------------------------------------- */

/* The value to store, from what was asked and what there is. */
static int
topic_value(struct worker *w, const struct topic_entry *old, const struct alm_topic *in,
    struct alm_topic *out)
{
	*out = *in;
	out->version = 1;
	out->id = old ? old->topic.id : 0;
	out->created = old ? old->topic.created : clock_wall();
	if (!out->queues)
		out->queues = old ? old->topic.queues : w->core->topic_queues;
	if (out->queues > ALM_QUEUES_MAX)
		return err_set(ALM_EINVAL, "%u queues; a topic has at most %u", out->queues,
		    ALM_QUEUES_MAX);
	if (old && out->queues < old->topic.queues)
		return err_set(ALM_EINVAL, "topic %s has %u queues; they can grow, not shrink to %u",
		    old->name, old->topic.queues, out->queues);
	if (out->durability > ALM_DURABLE_RELAXED)
		return err_set(ALM_EINVAL, "durability %u is unknown", out->durability);
	return ALM_OK;
}

static int
do_topic_put(struct alm_conn *c, uint64_t tag, struct alm_slice name, const struct alm_topic *in,
    uint32_t create)
{
	const struct topic_entry *old = fold_topic(c->w, name);
	struct alm_change g = {.ns = text(ALM_NS_TOPIC), .key = name, .op = ALM_STATE_PUT,
	    .has_version = 1, .version = old ? old->version : 0};
	struct alm_topic value;
	int st;

	if (!name_valid(name.data, name.len))
		return refuse(c, tag, REQ_APPEND, ALM_EINVAL, "a topic name has 1 to %u of "
		    "A-Z a-z 0-9 . _ %% - / :", ALM_NAME_MAX);
	st = hooks_call(c, ALM_HOOK_ADMIN, name, slice("", 0));
	if (st)
		return refuse(c, tag, REQ_APPEND, st, "%s", err_text());
	if (create && old)
		return refuse(c, tag, REQ_APPEND, ALM_EEXIST, "topic %s exists", old->name);
	if (!create && !old)
		return refuse(c, tag, REQ_APPEND, ALM_ENOTFOUND, "no such topic");
	st = topic_value(c->w, old, in, &value);
	if (st)
		return refuse(c, tag, REQ_APPEND, st, "%s", err_text());
	g.value = slice(&value, sizeof value);
	return submit(c, tag, &g, 1, 1);
}

/* ---- deletes ------------------------------------------------------------------------------------- */

/* Send a group for a request that exists; no room or an error comes back through the ready list. */
static int
step_send(struct request *r, const struct alm_change *g, uint32_t n)
{
	struct alm_append a = {.size = sizeof a, .n_changes = n, .changes = g};
	int st;

	err_clear();
	st = append_send(r, &a);
	if (st && st != ALM_EAGAIN)
		request_fail(r, st, "%s", *err_text() ? err_text() : status_text(st));
	return st;
}

static struct request *
chain_new(struct alm_conn *c, uint64_t tag, uint32_t kind, struct alm_slice group,
    struct alm_slice topic)
{
	struct request *r = request_new(c, tag, kind);

	if (!r)
		return NULL;
	r->chain = calloc(1, sizeof *r->chain);
	if (!r->chain) {
		request_drop(r);
		return NULL;
	}
	r->chain->group_len = (uint32_t)group.len;
	r->chain->topic_len = (uint32_t)topic.len;
	if (group.len)
		memcpy(r->chain->group, group.data, group.len);
	if (topic.len)
		memcpy(r->chain->topic, topic.data, topic.len);
	worker_wake(c->w);
	return r;
}

static int
no_request(struct alm_conn *c)
{
	return c->state != CONN_OPEN ? ALM_ECLOSED : ALM_ENOMEM;
}

static void
purge_begin(struct request *r)
{
	struct chain *k = r->chain;
	struct alm_change g = {.op = ALM_STATE_DELETE};

	g.ns = text(k->is_topic ? ALM_NS_TOPIC : ALM_NS_GROUP);
	g.key = k->is_topic ? slice(k->topic, k->topic_len) : slice(k->group, k->group_len);
	r->u.append.wait_fold = 1;
	if (step_send(r, &g, 1) == ALM_EAGAIN)
		request_ready(r);
}

/* Ask for the next page of offsets: of the group, or for a topic of all groups. */
static void
purge_ask(struct request *r)
{
	struct worker *w = r->conn->w;
	struct chain *k = r->chain;
	uint8_t prefix[ALM_NAME_MAX + 1];
	struct q_scan in = {.ns_len = sizeof ALM_NS_OFFSET - 1, .limit = PAGE_ROWS,
	    .max_bytes = PAGE_BYTES, .after_len = (uint16_t)k->after_len};
	struct alm_slice parts[4] = {slice(&in, sizeof in), text(ALM_NS_OFFSET), slice(prefix, 0),
	    slice(k->after, k->after_len)};

	if (!k->is_topic) {
		memcpy(prefix, k->group, k->group_len);
		prefix[k->group_len] = 0;
		in.prefix_len = (uint16_t)(k->group_len + 1);
		parts[2].len = in.prefix_len;
	}
	if (query_ask(r, Q_STATE_SCAN, parts, 4, PAGE_BYTES, log_visible(w), w->now + 10000000))
		request_fail(r, ALM_ENOMEM, "%s", err_text());
}

/* The topic or group is gone, and its offsets as far as they go. */
static void
purge_done(struct request *r)
{
	struct alm_done d = r->chain->deleted;

	request_done(r, &d);
}

/* Is the key of the deleted topic? Key: group, 0, topic, 0, queue. */
static int
of_topic(const struct chain *k, const uint8_t *key, uint32_t len)
{
	const uint8_t *zero = memchr(key, 0, len);
	uint64_t rest;

	if (!zero)
		return 0;
	rest = len - (uint64_t)(zero + 1 - key);
	return rest == k->topic_len + 5u && !memcmp(zero + 1, k->topic, k->topic_len) &&
	    zero[1 + k->topic_len] == 0;
}

struct scan_row { /* as alm_broker.state_scan packs them */
	uint16_t key_len, reserved;
	uint32_t val_len;
	uint64_t version;
};

/* Read a page of rows: changes to delete those that belong to it. */
static uint32_t
purge_page(struct chain *k, const uint8_t *data, uint32_t len, struct alm_change *g)
{
	struct scan_row row;
	uint32_t at = 0, n = 0, rows = 0;

	while (len - at >= sizeof row && n < PAGE_ROWS) {
		const uint8_t *key = data + at + sizeof row;

		memcpy(&row, data + at, sizeof row);
		if ((uint64_t)row.key_len + row.val_len > len - at - sizeof row ||
		    row.key_len > sizeof k->after)
			break;
		at += (uint32_t)sizeof row + row.key_len + row.val_len;
		rows++;
		memcpy(k->after, key, row.key_len);
		k->after_len = row.key_len;
		if (k->is_topic && !of_topic(k, key, row.key_len))
			continue;
		g[n++] = (struct alm_change){.ns = {ALM_NS_OFFSET, sizeof ALM_NS_OFFSET - 1},
		    .key = {key, row.key_len}, .op = ALM_STATE_DELETE, .has_version = 1,
		    .version = row.version};
	}
	k->more = rows > 0;
	return n;
}

/* A page has come: delete what is in it and go on. */
void
services_answer(struct request *r, const struct msg_answer *a, const uint8_t *data)
{
	struct chain *k = r->chain;
	struct alm_change g[PAGE_ROWS];
	uint8_t before[sizeof k->after];
	uint32_t n, before_len = k->after_len;
	int st;

	if (a->status) {
		purge_done(r);
		return;
	}
	memcpy(before, k->after, before_len);
	n = purge_page(k, data, a->len, g);
	if (!n && k->more) {
		request_ready(r);
	} else if (!n) {
		purge_done(r);
	} else {
		r->u.append.wait_fold = 0;
		st = step_send(r, g, n);
		if (st == ALM_EAGAIN) { /* no room: the same page again */
			memcpy(k->after, before, before_len);
			k->after_len = before_len;
			request_ready(r);
		}
	}
}

static int
purge(struct alm_conn *c, uint64_t tag, uint32_t is_topic, struct alm_slice name)
{
	struct alm_slice none = slice("", 0);
	struct request *r;

	r = chain_new(c, tag, REQ_PURGE, is_topic ? none : name, is_topic ? name : none);
	if (!r)
		return no_request(c);
	r->chain->is_topic = is_topic;
	request_ready(r);
	return ALM_OK;
}

static int
do_topic_delete(struct alm_conn *c, uint64_t tag, struct alm_slice name)
{
	int st;

	if (!fold_topic(c->w, name))
		return refuse(c, tag, REQ_APPEND, ALM_ENOTFOUND, "no such topic");
	st = hooks_call(c, ALM_HOOK_ADMIN, name, slice("", 0));
	if (st)
		return refuse(c, tag, REQ_APPEND, st, "%s", err_text());
	return purge(c, tag, 1, name);
}

/* ---- groups ----------------------------------------------------------------------------------------- */

static int
do_group_put(struct alm_conn *c, uint64_t tag, struct alm_slice name, uint32_t create)
{
	struct alm_group value = {.version = 1, .created = clock_wall()};
	struct alm_change g = {.ns = text(ALM_NS_GROUP), .key = name, .op = ALM_STATE_PUT,
	    .value = slice(&value, sizeof value), .has_version = create != 0};
	int st;

	if (!name_valid(name.data, name.len))
		return refuse(c, tag, REQ_APPEND, ALM_EINVAL, "a group name has 1 to %u of "
		    "A-Z a-z 0-9 . _ %% - / :", ALM_NAME_MAX);
	if (create && fold_group(c->w, name))
		return refuse(c, tag, REQ_APPEND, ALM_EEXIST, "the group exists");
	st = hooks_call(c, ALM_HOOK_ADMIN, slice("", 0), name);
	if (st)
		return refuse(c, tag, REQ_APPEND, st, "%s", err_text());
	return submit(c, tag, &g, 1, 1);
}

static int
do_group_delete(struct alm_conn *c, uint64_t tag, struct alm_slice name)
{
	int st;

	if (!fold_group(c->w, name))
		return refuse(c, tag, REQ_APPEND, ALM_ENOTFOUND, "no such group");
	st = hooks_call(c, ALM_HOOK_ADMIN, slice("", 0), name);
	if (st)
		return refuse(c, tag, REQ_APPEND, st, "%s", err_text());
	return purge(c, tag, 0, name);
}

/* ---- offsets ---------------------------------------------------------------------------------------- */

static uint32_t
offset_key(uint8_t *out, struct alm_slice group, struct alm_slice topic, uint32_t queue)
{
	uint32_t big_endian = htonl(queue);
	uint8_t *p = out;

	memcpy(p, group.data, group.len);
	p += group.len;
	*p++ = 0;
	memcpy(p, topic.data, topic.len);
	p += topic.len;
	*p++ = 0;
	memcpy(p, &big_endian, sizeof big_endian);
	return (uint32_t)(p - out) + 4;
}

/* Group (if it is to be made) and offset, in one append. */
static void
commit_send(struct request *r)
{
	struct chain *k = r->chain;
	struct alm_slice group = slice(k->group, k->group_len);
	struct alm_group made = {.version = 1, .created = clock_wall()};
	struct alm_offset value = {.offset = k->offset, .committed_at = clock_wall()};
	uint8_t key[OFFSET_KEY_MAX];
	struct alm_change g[2] = {
	    {.ns = text(ALM_NS_GROUP), .key = group, .value = slice(&made, sizeof made),
	        .op = ALM_STATE_PUT, .has_version = 1},
	    {.ns = text(ALM_NS_OFFSET), .value = slice(&value, sizeof value),
	        .op = ALM_STATE_PUT}};
	int has = fold_group(r->conn->w, group) != NULL;

	g[1].key = slice(key, offset_key(key, group, slice(k->topic, k->topic_len), k->queue));
	r->u.append.wait_fold = !has;
	if (step_send(r, has ? g + 1 : g, has ? 1 : 2) == ALM_EAGAIN)
		request_ready(r);
}

static int
do_offset_commit(struct alm_conn *c, uint64_t tag, struct alm_slice group,
    struct alm_slice topic, uint32_t queue, uint64_t offset)
{
	const struct topic_entry *t = fold_topic(c->w, topic);
	struct alm_offset value = {.offset = offset, .committed_at = clock_wall()};
	uint8_t key[OFFSET_KEY_MAX];
	struct alm_change g = {.ns = text(ALM_NS_OFFSET), .value = slice(&value, sizeof value),
	    .op = ALM_STATE_PUT};
	struct request *r;

	if (!name_valid(group.data, group.len))
		return refuse(c, tag, REQ_APPEND, ALM_EINVAL, "a group name has 1 to %u of "
		    "A-Z a-z 0-9 . _ %% - / :", ALM_NAME_MAX);
	if (!t || queue >= t->topic.queues)
		return refuse(c, tag, REQ_APPEND, ALM_ENOTFOUND, t ? "the topic has no such queue" :
		    "no such topic");
	if (fold_group(c->w, group)) {
		g.key = slice(key, offset_key(key, group, topic, queue));
		return submit(c, tag, &g, 1, 0);
	}
	r = chain_new(c, tag, REQ_COMMIT, group, topic);
	if (!r)
		return no_request(c);
	r->chain->queue = queue;
	r->chain->offset = offset;
	request_ready(r);
	return ALM_OK;
}

/* ---- steps of chains --------------------------------------------------------------------------------- */

void
services_run(struct request *r)
{
	if (r->kind == REQ_COMMIT)
		commit_send(r);
	else if (r->chain->step == 0)
		purge_begin(r);
	else
		purge_ask(r);
}

int
services_result(struct request *r, struct alm_done *d)
{
	struct chain *k = r->chain;

	if (r->kind == REQ_COMMIT) {
		if (d->status != ALM_EEXIST || ++k->tries > TRIES_MAX)
			return 0;
		request_ready(r); /* somebody else has made the group */
		return 1;
	}
	if (k->step == 0) {
		if (d->status)
			return 0;
		k->step = 1;
		k->deleted = *d;
		k->deleted.detail = "";
		request_ready(r);
		return 1;
	}
	if (d->status || !k->more) { /* changed meanwhile: what is there now is not ours */
		*d = k->deleted;
		return 0;
	}
	request_ready(r);
	return 1;
}

/* ---- notify --------------------------------------------------------------------------------------------- */

struct note {
	struct note *next;
	uint64_t conn;
	uint32_t len, reserved;
	uint8_t data[];
};

static int
note_here(struct worker *w, uint64_t id, const void *data, uint32_t len)
{
	struct note *n = malloc(sizeof *n + len), **at;

	if (!n)
		return ALM_ENOMEM;
	n->next = NULL;
	n->conn = id;
	n->len = len;
	if (len)
		memcpy(n->data, data, len);
	for (at = &w->notes; *at; at = &(*at)->next)
		;
	*at = n;
	worker_wake(w);
	return ALM_OK;
}

static int
do_notify(struct alm_conn *c, uint64_t id, const void *data, uint32_t len)
{
	struct worker *w = c->w;
	struct msg_notify *m;

	if (conn_by_id(w, id))
		return note_here(w, id, data, len);
	if (len > 64 * 1024)
		return err_set(ALM_ETOOBIG, "a notice of %u bytes; at most 65536", len);
	m = link_reserve(&w->ledger, MSG_NOTIFY, (uint32_t)sizeof *m + len);
	if (!m)
		return link_up(&w->ledger) ? ALM_EAGAIN : ALM_EUNAVAILABLE;
	*m = (struct msg_notify){.conn = id};
	if (len)
		memcpy(m + 1, data, len);
	link_commit(&w->ledger, (uint32_t)sizeof *m + len);
	worker_wake(w);
	return ALM_OK;
}

static void
deliver(struct worker *w, uint64_t id, const void *data, uint32_t len)
{
	struct alm_conn *c = conn_by_id(w, id);

	if (c && c->state == CONN_OPEN)
		c->from->protocol->ops->notified(c->session, data, len);
}

void
notes_run(struct worker *w)
{
	struct note *n, *list = w->notes;

	w->notes = NULL;
	while ((n = list)) {
		list = n->next;
		deliver(w, n->conn, n->data, n->len);
		free(n);
	}
}

void
notes_end(struct worker *w)
{
	struct note *n;

	while ((n = w->notes)) {
		w->notes = n->next;
		free(n);
	}
}

void
note_arrived(struct worker *w, const void *payload, uint32_t len)
{
	struct msg_notify m;

	if (len < sizeof m)
		return;
	memcpy(&m, payload, sizeof m);
	deliver(w, m.conn, (const uint8_t *)payload + sizeof m, len - (uint32_t)sizeof m);
}

void
services_table(struct alm_broker *b)
{
	b->topic = do_topic;
	b->topic_by_id = do_topic_by_id;
	b->topics = do_topics;
	b->topic_put = do_topic_put;
	b->topic_delete = do_topic_delete;
	b->route = do_route;
	b->group_put = do_group_put;
	b->group_delete = do_group_delete;
	b->offset_commit = do_offset_commit;
	b->notify = do_notify;
}
