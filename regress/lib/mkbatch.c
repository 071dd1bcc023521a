/* regress/lib/mkbatch.c - see mkbatch.h.  Offsets are given when the batch ends, so that a test may
 * still change topic and queue of the record it was given. */
#include "regress/lib/mkbatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
need(int ok)
{
	if (!ok) {
		fputs("# mkbatch: out of memory\n", stderr);
		abort();
	}
}

static struct alm_batch *
head(struct mkbatch *m)
{
	return (struct alm_batch *)(void *)m->out.data;
}

static void
put(struct mkbatch *m, const void *data, uint64_t len)
{
	need(buf_put(&m->out, data, len) == ALM_OK);
}

void
mkb_init(struct mkbatch *m, uint64_t position, uint64_t index, uint64_t term)
{
	memset(m, 0, sizeof *m);
	m->position = position;
	m->index = index;
	m->term = term;
	m->commit = index - 1;
	m->log_time = 1700000000000000;
	m->member = 1;
	m->next_offset = hmap_new();
	need(m->next_offset != NULL);
}

void
mkb_free(struct mkbatch *m)
{
	hmap_free(m->next_offset);
	buf_free(&m->out);
	m->next_offset = NULL;
}

void
mkb_begin(struct mkbatch *m)
{
	struct alm_batch b = {.magic = ALM_BATCH_MAGIC, .version = ALM_BATCH_VERSION};

	buf_reset(&m->out);
	put(m, &b, sizeof b);
	m->records = 0;
	m->flags = 0;
}

struct alm_record *
mkb_record(struct mkbatch *m, uint8_t kind, const void *attrs, uint64_t attrs_len, const void *body,
    uint64_t len)
{
	static const uint8_t zeros[8];
	uint64_t at = m->out.len, bytes = sizeof(struct alm_record) + attrs_len + len;
	struct alm_record r = {.magic = ALM_RECORD_MAGIC,
	    .kind = kind,
	    .pad = (uint8_t)(-bytes & 7),
	    .batch_offset = (uint32_t)at,
	    .attrs_len = (uint32_t)attrs_len,
	    .born = m->log_time};

	r.length = (uint32_t)(bytes + r.pad);
	put(m, &r, sizeof r);
	put(m, attrs, attrs_len);
	put(m, body, len);
	put(m, zeros, r.pad);
	m->records++;
	return (struct alm_record *)(void *)(m->out.data + at);
}

static void
put_attr(struct buf *b, uint16_t type, const char *text)
{
	struct alm_attr a = {.type = type};

	if (text == NULL)
		return;
	a.len = (uint32_t)strlen(text);
	need(buf_put(b, &a, sizeof a) == ALM_OK && buf_put(b, text, a.len) == ALM_OK);
}

struct alm_record *
mkb_message(struct mkbatch *m, uint32_t topic, uint32_t queue, const char *tag, const char *key,
    const void *body, uint64_t len)
{
	struct buf attrs = {0};
	struct alm_record *r;

	put_attr(&attrs, ALM_ATTR_TAG, tag);
	put_attr(&attrs, ALM_ATTR_KEY, key);
	r = mkb_record(m, ALM_REC_MESSAGE, attrs.data, attrs.len, body, len);
	r->topic = topic;
	r->queue = queue;
	r->tag_hash = tag ? (uint32_t)hash64(tag, strlen(tag)) : 0;
	buf_free(&attrs);
	return r;
}

struct alm_record *
mkb_state(struct mkbatch *m, const char *ns, const struct mkb_op *ops, uint32_t n)
{
	struct alm_state_txn txn = {.ns_len = (uint16_t)strlen(ns), .n_ops = (uint16_t)n};
	struct buf body = {0};
	struct alm_record *r;
	uint32_t i;

	need(
	    buf_put(&body, &txn, sizeof txn) == ALM_OK && buf_put(&body, ns, txn.ns_len) == ALM_OK);
	for (i = 0; i < n; i++) {
		struct alm_state_op op = {.op = ops[i].value ? ALM_STATE_PUT : ALM_STATE_DELETE,
		    .key_len = (uint16_t)ops[i].key_len,
		    .val_len = ops[i].value ? (uint32_t)ops[i].value_len : 0};

		need(buf_put(&body, &op, sizeof op) == ALM_OK &&
		     buf_put(&body, ops[i].key, op.key_len) == ALM_OK &&
		     buf_put(&body, ops[i].value, op.val_len) == ALM_OK);
	}
	r = mkb_record(m, ALM_REC_STATE, NULL, 0, body.data, body.len);
	m->flags |= ALM_BATCH_STATE;
	if (strcmp(ns, ALM_NS_TOPIC) == 0 || strcmp(ns, ALM_NS_GROUP) == 0)
		m->flags |= ALM_BATCH_CATALOGUE;
	buf_free(&body);
	return r;
}

struct alm_record *
mkb_topic(struct mkbatch *m, const char *name, uint32_t id, uint32_t queues)
{
	struct alm_topic t = {.version = 1, .id = id, .queues = queues, .created = m->log_time};
	struct mkb_op op = {name, strlen(name), &t, sizeof t};

	return mkb_state(m, ALM_NS_TOPIC, &op, 1);
}

struct alm_record *
mkb_control(struct mkbatch *m, uint8_t kind, const void *body, uint64_t len)
{
	m->flags |= ALM_BATCH_CONTROL;
	return mkb_record(m, kind, NULL, 0, body, len);
}

/* The directory entry of a queue behind dir_offset, made if it is not there. */
static struct alm_dir *
dir_entry(struct mkbatch *m, uint32_t dir_offset, const struct alm_record *r)
{
	struct alm_dir fresh = {.topic = r->topic,
	    .queue = r->queue,
	    .first_offset = r->offset,
	    .first_byte = r->batch_offset};
	struct alm_dir *d;
	uint64_t at;

	for (at = dir_offset; at < m->out.len; at += sizeof *d) {
		d = (struct alm_dir *)(void *)(m->out.data + at);
		if (d->topic == r->topic && d->queue == r->queue)
			return d;
	}
	put(m, &fresh, sizeof fresh);
	return (struct alm_dir *)(void *)(m->out.data + at);
}

/* Give a message its offset and enter it into the directory. */
static void
place(struct mkbatch *m, uint32_t dir_offset, uint32_t at)
{
	/* The record moves with the buffer when the directory grows. */
	struct alm_record *r = (struct alm_record *)(void *)(m->out.data + at), copy;
	uint64_t *next = hmap_put(m->next_offset, (uint64_t)r->topic << 32 | r->queue);
	struct alm_dir *d;

	need(next != NULL);
	r->offset = (*next)++;
	copy = *r;
	d = dir_entry(m, dir_offset, &copy);
	d->count++;
	d->end_byte = at + copy.length;
	d->tag_bloom |= 1ull << (copy.tag_hash & 63);
}

const struct alm_batch *
mkb_end(struct mkbatch *m)
{
	uint32_t dir_offset = (uint32_t)m->out.len, at = sizeof(struct alm_batch);
	struct alm_batch *b;

	while (at < dir_offset) {
		struct alm_record *r = (struct alm_record *)(void *)(m->out.data + at);
		uint32_t length = r->length;

		if (r->kind == ALM_REC_MESSAGE || r->kind == ALM_REC_REF)
			place(m, dir_offset, at);
		at += length;
	}
	b = head(m);
	b->flags = (uint16_t)m->flags;
	b->length = (uint32_t)m->out.len;
	b->prev_crc = m->prev_crc;
	b->index = m->index;
	b->term = m->term;
	b->position = m->position;
	b->log_time = m->log_time;
	b->commit = m->commit;
	b->records = m->records;
	b->dir_offset = dir_offset;
	b->dir_count = (uint32_t)((m->out.len - dir_offset) / sizeof(struct alm_dir));
	b->member = m->member;
	m->position += b->length;
	m->commit = m->index++;
	m->log_time += 1000;
	mkb_reseal(m);
	return b;
}

void
mkb_reseal(struct mkbatch *m)
{
	struct alm_batch *b = head(m);
	uint32_t at = sizeof *b;

	while (at < b->dir_offset) {
		struct alm_record *r = (struct alm_record *)(void *)(m->out.data + at);

		r->crc = crc32c(0, (uint8_t *)r + 8, r->length - 8);
		at += r->length;
	}
	b->body_crc = batch_body_crc(b);
	b->header_crc = batch_header_crc(b);
	m->prev_crc = b->header_crc;
}

static uint32_t
draw(uint64_t *seed, uint32_t below)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)((*seed >> 33) % (below ? below : 1));
}

const struct alm_batch *
mkb_random(struct mkbatch *m, uint64_t *seed, uint32_t n, uint32_t queues, uint32_t max)
{
	static const char *const tags[] = {NULL, "red", "green", "blue"};
	uint8_t *body = malloc(max ? max : 1);
	uint32_t i, j;

	need(body != NULL);
	mkb_begin(m);
	for (i = 0; i < n; i++) {
		uint32_t len = draw(seed, max);
		const char *tag;
		char key[16];

		for (j = 0; j < len; j++)
			body[j] = (uint8_t)draw(seed, 256);
		snprintf(key, sizeof key, "k%u", draw(seed, 100));
		/* One after the other: compilers differ in the order of arguments. */
		tag = tags[draw(seed, 4)];
		mkb_message(m, 1, draw(seed, queues), tag, key, body, len);
	}
	free(body);
	return mkb_end(m);
}
