/* ledger/sequencer.c - the sequencer's state and its fold.  Ledger's loop thread.
 *
 * check.c judges groups before they are stored; here stored records take effect.  Invariants:
 * every topic of the catalogue has a seq_topic with as many queues; a queue's next offset is one
 * more than the highest stored; what is folded was either checked by check.c or stands in the
 * log, so a contradiction is damage (ALM_ECORRUPT), never an assertion. */
#include "ledger/sequencer_private.h"

#include <stdlib.h>
#include <string.h>

struct sequencer *
sequencer_new(const struct seq_limits *limits)
{
	struct sequencer *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->limits = *limits;
	s->catalogue = catalogue_new();
	s->topics = hmap_new();
	s->producers = producers_new();
	if (s->catalogue == NULL || s->topics == NULL || s->producers == NULL ||
	    versions_init(&s->versions) != ALM_OK) {
		sequencer_free(s);
		return NULL;
	}
	return s;
}

static void
free_topic(struct seq_topic *t)
{
	if (t != NULL)
		free(t->queue);
	free(t);
}

void
sequencer_free(struct sequencer *s)
{
	uint64_t at = 0, id, value;

	if (s == NULL)
		return;
	while (s->topics != NULL && hmap_next(s->topics, &at, &id, &value))
		free_topic((struct seq_topic *)(uintptr_t)value);
	if (s->topics != NULL)
		hmap_free(s->topics);
	catalogue_free(s->catalogue);
	producers_free(s->producers);
	versions_free(&s->versions);
	free(s);
}

void
sequencer_limit(struct sequencer *s, const struct seq_limits *limits)
{
	s->limits = *limits;
}

const struct catalogue *
sequencer_catalogue(const struct sequencer *s)
{
	return s->catalogue;
}

uint64_t
sequencer_version(const struct sequencer *s, struct hash128 key)
{
	return versions_get(&s->versions, key);
}

void
sequencer_offsets(const struct sequencer *s, uint64_t producer, uint32_t first, uint32_t n,
    uint64_t *out)
{
	producers_offsets(s->producers, producer, first, n, out);
}

const struct seq_topic *
sequencer_topic(struct sequencer *s, uint32_t id)
{
	const uint64_t *at;

	if (s->last_topic != NULL && s->last_topic->id == id)
		return s->last_topic;
	at = hmap_get(s->topics, id);
	if (at == NULL)
		return NULL;
	s->last_topic = (struct seq_topic *)(uintptr_t)*at;
	return s->last_topic;
}

static void
drop_topic(struct sequencer *s, uint32_t id)
{
	uint64_t *at = hmap_get(s->topics, id);

	s->last_topic = NULL;
	if (at == NULL)
		return;
	free_topic((struct seq_topic *)(uintptr_t)*at);
	hmap_del(s->topics, id);
}

/* Give a topic of the catalogue its queues, or more of them. */
static int
set_topic(struct sequencer *s, const struct alm_topic *topic)
{
	uint64_t *at = hmap_put(s->topics, topic->id);
	struct seq_topic *t = at != NULL ? (struct seq_topic *)(uintptr_t)*at : NULL;
	struct seq_queue *q;

	if (at == NULL)
		return err_set(ALM_ENOMEM, "no memory for a topic");
	if (t == NULL) {
		t = calloc(1, sizeof *t);
		if (t == NULL)
			return err_set(ALM_ENOMEM, "no memory for a topic");
		*at = (uint64_t)(uintptr_t)t;
		t->id = topic->id;
	}
	if (topic->queues < t->queues)
		return err_set(ALM_ECORRUPT, "topic id %u shrinks from %u to %u queues", topic->id,
		    t->queues, topic->queues);
	if (topic->queues > t->queues) {
		q = calloc(topic->queues, sizeof *q);
		if (q == NULL)
			return err_set(ALM_ENOMEM, "no memory for %u queues", topic->queues);
		if (t->queues > 0)
			memcpy(q, t->queue, t->queues * sizeof *q);
		free(t->queue);
		t->queue = q;
		t->queues = topic->queues;
	}
	t->durability = topic->durability;
	t->max_message = topic->max_message;
	return ALM_OK;
}

/* A topic was put or deleted: follow the catalogue. old_id: the name's id before, 0: none. */
static int
follow_topic(struct sequencer *s, struct alm_slice name, uint32_t old_id)
{
	const struct topic_entry *e = catalogue_topic(s->catalogue, name);

	if (old_id != 0 && (e == NULL || e->topic.id != old_id))
		drop_topic(s, old_id);
	return e != NULL ? set_topic(s, &e->topic) : ALM_OK;
}

/* Whose offset a key of ALM_NS_OFFSET is: group, 0, topic, 0, queue. */
static struct version_owner
offset_owner(struct alm_slice key)
{
	const char *group = key.data, *topic, *end;
	struct version_owner none = {0, 0};

	topic = key.len > 0 ? memchr(group, 0, key.len) : NULL;
	if (topic == NULL)
		return none;
	topic++;
	end = memchr(topic, 0, key.len - (uint64_t)(topic - group));
	if (end == NULL)
		return none;
	return (struct version_owner){hash64(topic, (uint64_t)(end - topic)),
	    hash64(group, (uint64_t)(topic - 1 - group))};
}

/* As the state store does (state/store_fold.c): the offsets of a deleted topic or group go too. */
static void
delete_key(struct sequencer *s, struct alm_slice ns, struct alm_slice key)
{
	if (slice_is(ns, ALM_NS_GROUP))
		versions_del_owned(&s->versions, (struct version_owner){0, hash64(key.data, key.len)});
	else if (slice_is(ns, ALM_NS_TOPIC) && catalogue_topic(s->catalogue, key) != NULL)
		versions_del_owned(&s->versions, (struct version_owner){hash64(key.data, key.len), 0});
	versions_del(&s->versions, state_key_hash(ns, key));
}

static int
fold_op(struct sequencer *s, struct alm_slice ns, const struct alm_state_op *op,
    struct alm_slice key, struct alm_slice val, uint64_t position)
{
	const struct topic_entry *old = NULL;
	uint32_t old_id;
	int status;

	if (op->op == ALM_STATE_PUT) {
		const struct version_owner owner = slice_is(ns, ALM_NS_OFFSET) ? offset_owner(key) :
		    (struct version_owner){0, 0};

		if (versions_put(&s->versions, state_key_hash(ns, key), position, owner) != ALM_OK)
			return err_set(ALM_ENOMEM, "no memory for a state key");
	} else {
		delete_key(s, ns, key);
	}
	if (!slice_is(ns, ALM_NS_TOPIC))
		return catalogue_apply_op(s->catalogue, ns, op, key, val, position);
	old = catalogue_topic(s->catalogue, key);
	old_id = old != NULL ? old->topic.id : 0;
	status = catalogue_apply_op(s->catalogue, ns, op, key, val, position);
	return status == ALM_OK ? follow_topic(s, key, old_id) : status;
}

static int
fold_state(struct sequencer *s, const struct alm_record *r, uint64_t position)
{
	struct alm_slice ns, key, val;
	struct alm_state_op op;
	uint64_t at = 0;
	int more, status;

	while ((more = alm_state_next(alm_record_body(r), &at, &ns, &op, &key, &val)) == 1) {
		status = fold_op(s, ns, &op, key, val, position);
		if (status != ALM_OK)
			return status;
	}
	return more == 0 ? ALM_OK : err_set(ALM_ECORRUPT,
	    "the state record at %llu cannot be decoded", (unsigned long long)position);
}

static int
fold_message(struct sequencer *s, const struct alm_record *r, uint64_t position)
{
	const struct seq_topic *t = sequencer_topic(s, r->topic);

	if (t == NULL || r->queue >= t->queues)
		return err_set(ALM_ECORRUPT, "the message at %llu is for topic id %u queue %u, which "
		    "does not exist there", (unsigned long long)position, r->topic, r->queue);
	if (r->offset != t->queue[r->queue].next && t->queue[r->queue].next != 0)
		return err_set(ALM_ECORRUPT, "the message at %llu has offset %llu of topic id %u queue "
		    "%u, next is %llu", (unsigned long long)position, (unsigned long long)r->offset,
		    r->topic, r->queue, (unsigned long long)t->queue[r->queue].next);
	t->queue[r->queue].next = r->offset + 1;
	return ALM_OK;
}

int
sequencer_fold(struct sequencer *s, const struct alm_record *r, uint64_t position, uint64_t batch,
    uint64_t log_time)
{
	struct ckpt_range one;
	int status = ALM_OK;

	if (r->kind == ALM_REC_MESSAGE || r->kind == ALM_REC_REF)
		status = fold_message(s, r, position);
	else if (r->kind == ALM_REC_STATE)
		status = fold_state(s, r, position);
	if (status != ALM_OK || r->producer == 0)
		return status;
	one = (struct ckpt_range){.producer = r->producer, .sequence = r->sequence, .count = 1,
	    .topic = r->topic, .queue = r->queue, .offset = r->offset, .position = position};
	if (producers_note(s->producers, &one, batch, log_time) != ALM_OK)
		return err_set(ALM_ENOMEM, "no memory for a producer");
	return ALM_OK;
}

int
sequencer_fold_batch(struct sequencer *s, const struct alm_batch *b)
{
	const struct alm_record *r;
	uint32_t at = sizeof *b, begin = at;
	int status;

	for (; (r = alm_batch_next(b, &at)) != NULL; begin = at) {
		status = sequencer_fold(s, r, b->position + begin, b->position, b->log_time);
		if (status != ALM_OK)
			return status;
	}
	if (at != b->dir_offset)
		return err_set(ALM_ECORRUPT, "the batch at %llu holds a broken record",
		    (unsigned long long)b->position);
	return ALM_OK;
}

/* ---- checkpoint ---- */

struct save {
	struct buf *image;
	struct ckpt_head *head;
};

static int
put_name(struct buf *image, const char *name, uint32_t len)
{
	static const uint8_t zeros[8];

	if (buf_put(image, name, len) != ALM_OK)
		return ALM_ENOMEM;
	return buf_put(image, zeros, (8u - len % 8u) % 8u);
}

static int
save_topic(void *arg, const struct topic_entry *e)
{
	struct save *v = arg;
	struct ckpt_topic row = {e->topic, e->version, e->name_len, 0};

	v->head->count[CKPT_TOPICS]++;
	if (buf_put(v->image, &row, sizeof row) != ALM_OK)
		return ALM_ENOMEM;
	return put_name(v->image, e->name, e->name_len);
}

static int
save_group(void *arg, const struct group_entry *e)
{
	struct save *v = arg;
	struct ckpt_group row = {e->group, e->version, e->name_len, 0};

	v->head->count[CKPT_GROUPS]++;
	if (buf_put(v->image, &row, sizeof row) != ALM_OK)
		return ALM_ENOMEM;
	return put_name(v->image, e->name, e->name_len);
}

static int
save_queues(const struct sequencer *s, struct buf *image, struct ckpt_head *head)
{
	uint64_t at = 0, id, value;

	while (hmap_next(s->topics, &at, &id, &value)) {
		const struct seq_topic *t = (const struct seq_topic *)(uintptr_t)value;

		for (uint32_t q = 0; q < t->queues; q++) {
			struct ckpt_queue row = {t->id, q, t->queue[q].next};

			if (row.next_offset == 0)
				continue;
			if (buf_put(image, &row, sizeof row) != ALM_OK)
				return ALM_ENOMEM;
			head->count[CKPT_QUEUES]++;
		}
	}
	head->bytes[CKPT_QUEUES] = head->count[CKPT_QUEUES] * sizeof(struct ckpt_queue);
	return ALM_OK;
}

static int
save_versions(const struct sequencer *s, struct buf *image, struct ckpt_head *head)
{
	for (uint64_t i = 0; i < s->versions.cap; i++) {
		const struct version_row *v = &s->versions.row[i];
		struct ckpt_version row = {v->key, v->version, v->owner.topic, v->owner.group};

		if (row.version != 0 && buf_put(image, &row, sizeof row) != ALM_OK)
			return ALM_ENOMEM;
	}
	head->count[CKPT_VERSIONS] = s->versions.count;
	head->bytes[CKPT_VERSIONS] = s->versions.count * sizeof(struct ckpt_version);
	return ALM_OK;
}

int
sequencer_save(const struct sequencer *s, struct buf *image)
{
	struct ckpt_head head = {.next_topic_id = catalogue_next_topic_id(s->catalogue)};
	struct save v = {image, &head};
	uint64_t begin;
	int status;

	image->len = 0;
	if (buf_put(image, &head, sizeof head) != ALM_OK)
		return ALM_ENOMEM;
	begin = image->len;
	status = catalogue_topics(s->catalogue, save_topic, &v);
	head.bytes[CKPT_TOPICS] = image->len - begin;
	begin = image->len;
	if (status == ALM_OK)
		status = catalogue_groups(s->catalogue, save_group, &v);
	head.bytes[CKPT_GROUPS] = image->len - begin;
	if (status == ALM_OK)
		status = save_queues(s, image, &head);
	if (status == ALM_OK)
		status = save_versions(s, image, &head);
	if (status == ALM_OK)
		status = producers_save(s->producers, image, &head);
	if (status == ALM_OK)
		memcpy(image->data, &head, sizeof head);
	return status;
}

/* Adds a topic of the catalogue to the sequencer's own table. */
static int
adopt_topic(void *arg, const struct topic_entry *e)
{
	return set_topic(arg, &e->topic);
}

int
sequencer_load(struct sequencer *s, const struct checkpoint *c)
{
	const struct ckpt_queue *q = (const void *)c->section[CKPT_QUEUES];
	const struct ckpt_version *v = (const void *)c->section[CKPT_VERSIONS];
	int status = catalogue_fold_checkpoint(s->catalogue, c);

	if (status == ALM_OK)
		status = catalogue_topics(s->catalogue, adopt_topic, s);
	for (uint64_t i = 0; status == ALM_OK && i < c->head->count[CKPT_QUEUES]; i++) {
		const struct seq_topic *t = sequencer_topic(s, q[i].topic);

		if (t == NULL || q[i].queue >= t->queues)
			return err_set(ALM_ECORRUPT, "the checkpoint names queue %u of topic id %u, which "
			    "it does not hold", q[i].queue, q[i].topic);
		t->queue[q[i].queue].next = q[i].next_offset;
	}
	for (uint64_t i = 0; status == ALM_OK && i < c->head->count[CKPT_VERSIONS]; i++) {
		if (v[i].version == 0)
			return err_set(ALM_ECORRUPT, "the checkpoint holds a version 0");
		status = versions_put(&s->versions, v[i].key, v[i].version,
		    (struct version_owner){v[i].topic, v[i].group});
	}
	if (status == ALM_OK)
		status = producers_load(s->producers, c);
	return status;
}
