/* admin.c - topics, groups, offsets, state and node: blocking calls, one request each; lists are
 * fetched page by page. */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- a reply's bytes --------------------------------------------------------------------------- */

struct numbers {
	uint64_t *a, *b, *c;
};

static void
numbers_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct numbers *n = arg;

	(void)c;
	if (n->a)
		*n->a = wire_u64(&reply->in);
	if (n->b)
		*n->b = wire_u64(&reply->in);
	if (n->c)
		*n->c = wire_u64(&reply->in);
}

/* STATE_GET, STATE_SCAN, ADMIN: the bytes with a zero behind them. */
struct blob {
	char *data;
	uint64_t len, version;
};

static void
blob_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct blob *b = arg;
	struct alm_slice s;
	uint32_t len;

	b->version = wire_u64(&reply->in);
	len = wire_u32(&reply->in);
	(void)wire_u32(&reply->in);
	s = wire_bytes(&reply->in, len);
	if (reply->in.bad)
		return;
	b->data = malloc(s.len + 1);
	if (!b->data) {
		reply->status = client_fail(c, ALM_ENOMEM, "out of memory");
		return;
	}
	if (s.len)
		memcpy(b->data, s.data, s.len);
	b->data[s.len] = 0;
	b->len = s.len;
}

static int
named_run(struct alm_client *c, uint32_t type, uint32_t repeat, const char *what,
    const char *name)
{
	struct request *r;
	int st = name_check(c, what, name);

	if (st != ALM_OK)
		return st;
	r = request_new(c, type, repeat);
	if (!r)
		return ALM_ENOMEM;
	put_named(&r->frame, 0, name);
	return request_run(c, r, NULL, NULL, client_deadline(c));
}

/* ---- topics -------------------------------------------------------------------------------------- */

static int
topic_put(struct alm_client *c, const char *name, const struct alm_topic *t, uint32_t create)
{
	struct request *r;
	int st = name_check(c, "topic", name);

	if (st != ALM_OK)
		return st;
	r = request_new(c, WIRE_TOPIC_PUT, !create);
	if (!r)
		return ALM_ENOMEM;
	wire_put32(&r->frame, create);
	wire_put16(&r->frame, (uint32_t)strlen(name));
	wire_put16(&r->frame, 0);
	wire_put(&r->frame, t, sizeof *t);
	wire_put(&r->frame, name, strlen(name));
	return request_run(c, r, NULL, NULL, client_deadline(c));
}

int
alm_topic_create(struct alm_client *c, const char *topic, const struct alm_topic *t)
{
	return topic_put(c, topic, t, 1);
}

int
alm_topic_alter(struct alm_client *c, const char *topic, const struct alm_topic *t)
{
	return topic_put(c, topic, t, 0);
}

int
alm_topic_delete(struct alm_client *c, const char *topic)
{
	return named_run(c, WIRE_TOPIC_DELETE, 0, "topic", topic);
}

static int
row_get(struct wire_in *in, const uint8_t *base, struct alm_topic *t, char *name)
{
	uint16_t len = wire_u16(in);
	struct alm_slice s;

	(void)wire_bytes(in, 14); /* u16 0, u32 0, u64 version */
	s = wire_bytes(in, sizeof *t);
	if (s.len)
		memcpy(t, s.data, sizeof *t);
	s = wire_bytes(in, len);
	wire_align(in, base);
	if (in->bad || len > ALM_NAME_MAX) {
		in->bad = 1;
		return ALM_EPROTO;
	}
	if (len)
		memcpy(name, s.data, len);
	name[len] = 0;
	return ALM_OK;
}

static void
topic_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	char name[ALM_NAME_MAX + 1];

	(void)c;
	(void)row_get(&reply->in, reply->in.p, arg, name);
}

int
alm_topic_get(struct alm_client *c, const char *topic, struct alm_topic *out)
{
	struct request *r;
	int st = name_check(c, "topic", topic);

	if (st != ALM_OK)
		return st;
	r = request_new(c, WIRE_TOPIC_GET, 1);
	if (!r)
		return ALM_ENOMEM;
	put_named(&r->frame, 0, topic);
	return request_run(c, r, topic_reply, out, client_deadline(c));
}

struct topic_page {
	struct {
		struct alm_topic topic;
		char name[ALM_NAME_MAX + 1];
	} *rows;
	uint32_t n, more;
};

static void
page_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct topic_page *p = arg;
	const uint8_t *base = reply->in.p;
	uint32_t i, n = wire_u32(&reply->in);

	p->more = wire_u32(&reply->in);
	if ((uint64_t)n * sizeof(struct alm_topic) > (uint64_t)(reply->in.end - reply->in.p)) {
		reply->in.bad = 1;
		return;
	}
	p->rows = calloc(n ? n : 1, sizeof *p->rows);
	if (!p->rows) {
		reply->status = client_fail(c, ALM_ENOMEM, "out of memory");
		return;
	}
	for (i = 0; i < n; i++)
		if (row_get(&reply->in, base, &p->rows[i].topic, p->rows[i].name) != ALM_OK)
			return;
	p->n = n;
}

int
alm_topic_list(struct alm_client *c, int (*each)(void *, const char *, const struct alm_topic *),
    void *arg)
{
	char after[ALM_NAME_MAX + 1] = "";
	struct topic_page p = {.more = 1};
	struct request *r;
	uint32_t i;
	int st = ALM_OK;

	while (st == ALM_OK && p.more) {
		memset(&p, 0, sizeof p);
		r = request_new(c, WIRE_TOPIC_LIST, 1);
		if (!r)
			return ALM_ENOMEM;
		put_named(&r->frame, 0, after);
		st = request_run(c, r, page_reply, &p, client_deadline(c));
		for (i = 0; st == ALM_OK && i < p.n; i++) {
			snprintf(after, sizeof after, "%s", p.rows[i].name);
			st = each(arg, p.rows[i].name, &p.rows[i].topic);
		}
		free(p.rows);
		if (p.n == 0)
			break;
	}
	return st;
}

/* ---- state ------------------------------------------------------------------------------------------ */

static struct request *
state_request(struct alm_client *c, uint32_t type, const char *ns, struct alm_slice key,
    struct alm_slice after)
{
	struct request *r;

	if (name_check(c, "namespace", ns) != ALM_OK)
		return NULL;
	if (key.len > WIRE_KEY_MAX || after.len > WIRE_KEY_MAX) {
		client_fail(c, ALM_EINVAL, "a key has at most %u bytes", WIRE_KEY_MAX);
		return NULL;
	}
	r = request_new(c, type, 1);
	if (!r)
		return NULL;
	wire_put16(&r->frame, (uint32_t)strlen(ns));
	wire_put16(&r->frame, (uint32_t)key.len);
	wire_put16(&r->frame, (uint32_t)after.len);
	wire_put16(&r->frame, 0);
	wire_put32(&r->frame, 0);
	wire_put32(&r->frame, 0);
	wire_put(&r->frame, ns, strlen(ns));
	wire_put_slice(&r->frame, key);
	wire_put_slice(&r->frame, after);
	return r;
}

int
alm_state_get(struct alm_client *c, const char *ns, struct alm_slice key, void **out,
    uint64_t *len, uint64_t *version)
{
	struct blob b = {0};
	struct request *r = state_request(c, WIRE_STATE_GET, ns, key, (struct alm_slice){NULL, 0});
	int st;

	*out = NULL;
	if (!r)
		return ALM_EINVAL;
	st = request_run(c, r, blob_reply, &b, client_deadline(c));
	*out = b.data;
	if (len)
		*len = b.len;
	if (version)
		*version = b.version;
	return st;
}

/* Packed rows: u16 key length, u16 0, u32 value length, u64 version, key, value. */
static int
rows_walk(struct alm_client *c, const struct blob *b, char *after, uint64_t *after_len,
    int (*each)(void *, struct alm_slice, struct alm_slice, uint64_t), void *arg)
{
	const uint8_t *p = (const uint8_t *)b->data;
	struct wire_in in = {p, p + b->len, 0};
	struct alm_slice key, value;
	uint64_t version;
	uint16_t key_len;
	uint32_t val_len;
	int st = ALM_OK;

	while (st == ALM_OK && in.p < in.end) {
		key_len = wire_u16(&in);
		(void)wire_u16(&in);
		val_len = wire_u32(&in);
		version = wire_u64(&in);
		key = wire_bytes(&in, key_len);
		value = wire_bytes(&in, val_len);
		if (in.bad || key_len > WIRE_KEY_MAX)
			return client_fail(c, ALM_EPROTO, "the server's rows are malformed");
		if (key_len)
			memcpy(after, key.data, key_len);
		*after_len = key_len;
		st = each(arg, key, value, version);
	}
	return st;
}

int
alm_state_scan(struct alm_client *c, const char *ns, struct alm_slice prefix,
    int (*each)(void *, struct alm_slice, struct alm_slice, uint64_t), void *arg)
{
	char after[WIRE_KEY_MAX];
	uint64_t after_len = 0;
	struct request *r;
	int st = ALM_OK;

	while (st == ALM_OK) {
		struct blob b = {0};

		r = state_request(c, WIRE_STATE_SCAN, ns, prefix, (struct alm_slice){after, after_len});
		if (!r)
			return ALM_EINVAL;
		st = request_run(c, r, blob_reply, &b, client_deadline(c));
		if (st == ALM_OK && b.len == 0) {
			free(b.data);
			break; /* an empty page is the end */
		}
		if (st == ALM_OK)
			st = rows_walk(c, &b, after, &after_len, each, arg);
		free(b.data);
	}
	return st;
}

int
alm_admin(struct alm_client *c, const char *what, char **out)
{
	struct blob b = {0};
	struct request *r;
	int st = name_check(c, "report", what);

	*out = NULL;
	if (st != ALM_OK)
		return st;
	if (strlen(what) > 31)
		return client_fail(c, ALM_EINVAL, "there is no report \"%s\"", what);
	r = request_new(c, WIRE_ADMIN, 1);
	if (!r)
		return ALM_ENOMEM;
	put_named(&r->frame, 0, what);
	st = request_run(c, r, blob_reply, &b, client_deadline(c));
	*out = b.data;
	return st;
}

int
alm_ping(struct alm_client *c, uint64_t *us)
{
	struct request *r = request_new(c, WIRE_PING, 1);
	uint64_t start = mono_us();
	int st;

	if (!r)
		return ALM_ENOMEM;
	st = request_run(c, r, NULL, NULL, client_deadline(c));
	if (us)
		*us = mono_us() - start;
	return st;
}

/* ---- offsets ------------------------------------------------------------------------------------------ */

static struct request *
queue_request(struct alm_client *c, uint32_t type, const char *topic, uint32_t queue,
    const uint64_t *time)
{
	struct request *r;

	if (name_check(c, "topic", topic) != ALM_OK)
		return NULL;
	if (queue == ALM_QUEUE_ANY) {
		client_fail(c, ALM_EINVAL, "name one queue");
		return NULL;
	}
	r = request_new(c, type, 1);
	if (!r)
		return NULL;
	wire_put32(&r->frame, 0);
	wire_put32(&r->frame, queue);
	if (time)
		wire_put64(&r->frame, *time);
	wire_put16(&r->frame, (uint32_t)strlen(topic));
	wire_put16(&r->frame, 0);
	wire_put32(&r->frame, 0);
	wire_put(&r->frame, topic, strlen(topic));
	return r;
}

int
alm_bounds(struct alm_client *c, const char *topic, uint32_t queue, uint64_t *begin, uint64_t *end)
{
	uint64_t b = 0, e = 0;
	struct numbers n = {.a = &b, .b = &e};
	struct request *r = queue_request(c, WIRE_BOUNDS, topic, queue, NULL);
	int st;

	if (!r)
		return ALM_EINVAL;
	st = request_run(c, r, numbers_reply, &n, client_deadline(c));
	if (begin)
		*begin = b;
	if (end)
		*end = e;
	return st;
}

int
alm_offset_at(struct alm_client *c, const char *topic, uint32_t queue, uint64_t time,
    uint64_t *offset)
{
	uint64_t begin, end;
	struct numbers n = {.a = &begin, .b = &end, .c = offset};
	struct request *r = queue_request(c, WIRE_OFFSET_AT, topic, queue, &time);

	if (!r)
		return ALM_EINVAL;
	return request_run(c, r, numbers_reply, &n, client_deadline(c));
}

static struct request *
commit_request(struct alm_client *c, const char *group, const char *topic, uint32_t queue,
    uint64_t offset)
{
	struct request *r;

	if (name_check(c, "group", group) != ALM_OK || name_check(c, "topic", topic) != ALM_OK)
		return NULL;
	if (queue == ALM_QUEUE_ANY) {
		client_fail(c, ALM_EINVAL, "a commit names one queue");
		return NULL;
	}
	r = request_new(c, WIRE_COMMIT, 1);
	if (!r)
		return NULL;
	wire_put32(&r->frame, queue);
	wire_put16(&r->frame, (uint32_t)strlen(group));
	wire_put16(&r->frame, (uint32_t)strlen(topic));
	wire_put64(&r->frame, offset);
	wire_put(&r->frame, group, strlen(group));
	wire_put(&r->frame, topic, strlen(topic));
	return r;
}

int
alm_commit(struct alm_client *c, const char *group, const char *topic, uint32_t queue,
    uint64_t offset)
{
	struct request *r = commit_request(c, group, topic, queue, offset);

	return r ? request_run(c, r, NULL, NULL, client_deadline(c)) : ALM_EINVAL;
}

struct commit_async {
	alm_status_fn cb;
	void *arg;
};

static void
commit_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct commit_async *a = arg;

	(void)c;
	if (a->cb)
		a->cb(a->arg, reply->status, reply->detail);
	free(a);
}

int
alm_commit_async(struct alm_client *c, const char *group, const char *topic, uint32_t queue,
    uint64_t offset, alm_status_fn cb, void *arg)
{
	struct commit_async *a = calloc(1, sizeof *a);
	struct request *r;
	int st;

	if (!a)
		return client_fail(c, ALM_ENOMEM, "out of memory");
	a->cb = cb;
	a->arg = arg;
	r = commit_request(c, group, topic, queue, offset);
	st = r ? request_send(c, r, commit_reply, a, client_deadline(c)) : ALM_EINVAL;
	if (st != ALM_OK)
		free(a);
	return st;
}

/* Key of a committed offset: group, 0, topic, 0, queue as 4 bytes big-endian (almadia/log.h). */
int
alm_committed(struct alm_client *c, const char *group, const char *topic, uint32_t queue,
    uint64_t *offset)
{
	uint8_t key[2 * (ALM_NAME_MAX + 1) + 4], big[4];
	uint64_t len = 0, n;
	struct alm_offset value;
	void *data;
	int st;

	if (name_check(c, "group", group) != ALM_OK || name_check(c, "topic", topic) != ALM_OK)
		return ALM_EINVAL;
	big[0] = (uint8_t)(queue >> 24);
	big[1] = (uint8_t)(queue >> 16);
	big[2] = (uint8_t)(queue >> 8);
	big[3] = (uint8_t)queue;
	memcpy(key, group, strlen(group) + 1);
	len = strlen(group) + 1;
	memcpy(key + len, topic, strlen(topic) + 1);
	len += strlen(topic) + 1;
	memcpy(key + len, big, sizeof big);
	len += sizeof big;
	st = alm_state_get(c, ALM_NS_OFFSET, (struct alm_slice){key, len}, &data, &n, NULL);
	if (st == ALM_OK && n < sizeof value.offset)
		st = client_fail(c, ALM_EPROTO, "the stored offset has %llu bytes",
		    (unsigned long long)n);
	if (st == ALM_OK)
		memcpy(offset, data, sizeof *offset);
	free(data);
	return st;
}

/* ---- groups ---------------------------------------------------------------------------------------------- */

int
alm_group_create(struct alm_client *c, const char *group)
{
	return named_run(c, WIRE_GROUP_CREATE, 0, "group", group);
}

int
alm_group_delete(struct alm_client *c, const char *group)
{
	return named_run(c, WIRE_GROUP_DELETE, 0, "group", group);
}

struct group_walk {
	int (*group)(void *, const char *, const struct alm_group *);
	int (*offset)(void *, const char *, uint32_t, const struct alm_offset *);
	void *arg;
	uint64_t prefix;
};

static int
group_row(void *arg, struct alm_slice key, struct alm_slice value, uint64_t version)
{
	struct group_walk *w = arg;
	struct alm_group g = {0};
	char name[ALM_NAME_MAX + 1];

	(void)version;
	if (key.len > ALM_NAME_MAX)
		return ALM_EPROTO;
	if (key.len)
		memcpy(name, key.data, key.len);
	name[key.len] = 0;
	if (value.len)
		memcpy(&g, value.data, value.len < sizeof g ? value.len : sizeof g);
	return w->group(w->arg, name, &g);
}

int
alm_group_list(struct alm_client *c, int (*each)(void *, const char *, const struct alm_group *),
    void *arg)
{
	struct group_walk w = {.group = each, .arg = arg};

	return alm_state_scan(c, ALM_NS_GROUP, (struct alm_slice){NULL, 0}, group_row, &w);
}

static int
offset_row(void *arg, struct alm_slice key, struct alm_slice value, uint64_t version)
{
	struct group_walk *w = arg;
	const uint8_t *p = (const uint8_t *)key.data + w->prefix;
	uint64_t len = key.len - w->prefix;
	struct alm_offset o = {0};
	char topic[ALM_NAME_MAX + 1];

	(void)version;
	if (key.len < w->prefix || len < 5 || len - 5 > ALM_NAME_MAX || p[len - 5] != 0)
		return ALM_EPROTO;
	memcpy(topic, p, len - 4);
	p += len - 4;
	if (value.len)
		memcpy(&o, value.data, value.len < sizeof o ? value.len : sizeof o);
	return w->offset(w->arg, topic,
	    (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3], &o);
}

int
alm_group_offsets(struct alm_client *c, const char *group,
    int (*each)(void *, const char *, uint32_t, const struct alm_offset *), void *arg)
{
	struct group_walk w = {.offset = each, .arg = arg};
	int st = name_check(c, "group", group);

	if (st != ALM_OK)
		return st;
	w.prefix = strlen(group) + 1;
	return alm_state_scan(c, ALM_NS_OFFSET, (struct alm_slice){group, w.prefix}, offset_row, &w);
}
