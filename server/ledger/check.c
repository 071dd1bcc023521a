/* ledger/check.c - judge one group before it is stored.  Ledger's loop thread.
 *
 * The group comes from a worker and is not trusted: every length is checked against what is left,
 * and only our copy of it is read.  Order: structure of all records, then the producer's sequence
 * (a duplicate is answered whatever else changed meanwhile), then conditions, then topics and
 * state rules.  Nothing of the sequencer changes here, so a refused group leaves no trace. */
#include "ledger/sequencer_private.h"

#include <stdarg.h>
#include <stdio.h>

/* Names of topics and groups that this group changes already, and ids it was given. */
struct names {
	uint64_t hash[SEQ_CATALOGUE_OPS_MAX];
	uint32_t n, new_topics;
};

__attribute__((format(printf, 3, 4))) static int
refuse(struct seq_group *g, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(g->detail, sizeof g->detail, fmt, ap);
	va_end(ap);
	return status;
}

/* ---- structure ---- */

static int
attributes_sound(const struct alm_record *r)
{
	struct alm_slice val;
	uint32_t at = 0, type;

	while (alm_record_attr(r, &at, &type, &val))
		continue;
	return at == r->attrs_len;
}

/* The record at g->records + at, or NULL if it does not fit or is no record of a worker's. */
static struct alm_record *
sound_record(struct seq_group *g, uint32_t at)
{
	struct alm_record *r = (struct alm_record *)(void *)(g->records + at);
	const uint32_t left = g->bytes - at;

	if (left < sizeof *r || r->length < sizeof *r || r->length % 8 != 0 || r->length > left ||
	    r->length > ALM_MESSAGE_MAX || r->magic != ALM_RECORD_MAGIC || r->pad > 7 ||
	    (uint64_t)r->attrs_len + r->pad > r->length - sizeof *r ||
	    (r->kind != ALM_REC_MESSAGE && r->kind != ALM_REC_STATE) || !attributes_sound(r))
		return NULL;
	return r;
}

static int
check_structure(struct seq_group *g)
{
	uint32_t at = 0, n = 0, states = 0;

	while (at < g->bytes) {
		struct alm_record *r = sound_record(g, at);

		if (r == NULL)
			return refuse(g, ALM_EINVAL, "record %u of the group is malformed", n);
		at += r->length;
		memset(g->records + at - r->pad, 0, r->pad);
		states += r->kind == ALM_REC_STATE;
		n++;
	}
	if (n != g->n_records || n == 0)
		return refuse(g, ALM_EINVAL, "the group holds %u records but says %u", n, g->n_records);
	g->n_messages = n - states;
	g->flags = states > 0 ? GROUP_STATE : 0;
	return ALM_OK;
}

/* ---- producer ---- */

/* Messages have one producer and consecutive sequences, or none; a state record may go without.
 * Fills producer, sequence and number of the records that have one. */
static int
check_sequences(struct seq_group *g)
{
	const struct alm_record *r;

	g->producer = 0;
	g->n_sequences = 0;
	g->first_message = UINT32_MAX;
	for (uint32_t at = 0, n = 0, plain = 0; at < g->bytes; at += r->length, n++) {
		r = (const void *)(g->records + at);
		plain += r->producer == 0 && r->kind == ALM_REC_MESSAGE;
		if (r->kind == ALM_REC_MESSAGE && g->first_message == UINT32_MAX)
			g->first_message = g->n_sequences;
		if (r->producer != 0 && g->n_sequences++ == 0) {
			g->producer = r->producer;
			g->sequence = r->sequence;
		}
		if (r->producer != 0 && (r->producer != g->producer ||
		    r->sequence != g->sequence + g->n_sequences - 1))
			return refuse(g, ALM_EINVAL,
			    "the group's records have several producers or sequences with gaps");
		if (plain > 0 && g->n_sequences > 0)
			return refuse(g, ALM_EINVAL, "the group mixes messages with and without producer");
	}
	return ALM_OK;
}

/* The group was stored before: where? */
static void
find_original(const struct sequencer *s, struct seq_group *g)
{
	const struct ckpt_range *r = producers_find(s->producers, g->producer, g->sequence);

	g->flags |= GROUP_DUPLICATE;
	g->position = r != NULL ? r->position : 0;
	g->position_exact = r != NULL && r->sequence == g->sequence;
	g->first_offset = 0;
	if (g->n_messages > 0)
		producers_offsets(s->producers, g->producer, g->sequence + g->first_message, 1,
		    &g->first_offset);
}

static int
check_producer(struct sequencer *s, struct seq_group *g)
{
	uint32_t last = 0;
	int verdict, status = check_sequences(g);

	if (status != ALM_OK || g->producer == 0)
		return status;
	verdict = producers_judge(s->producers, g->producer, g->sequence, &last);
	if (verdict == PRODUCER_NEXT)
		return ALM_OK;
	if (verdict == PRODUCER_GAP)
		return refuse(g, ALM_EORDER, "sequence %u of producer %llx, next is %u", g->sequence,
		    (unsigned long long)g->producer, last + 1);
	if ((int32_t)(g->sequence + g->n_sequences - 1 - last) > 0)
		return refuse(g, ALM_EORDER, "sequences %u-%u of producer %llx are stored only up to %u",
		    g->sequence, g->sequence + g->n_sequences - 1, (unsigned long long)g->producer,
		    last);
	find_original(s, g);
	return ALM_OK;
}

/* ---- conditions ---- */

static int
check_conditions(const struct sequencer *s, struct seq_group *g)
{
	for (uint32_t i = 0; i < g->n_conditions; i++) {
		uint64_t version = versions_get(&s->versions, g->conditions[i].key);

		if (version == g->conditions[i].version)
			continue;
		if (g->conditions[i].version == 0)
			return refuse(g, ALM_EEXIST, "exists already, since position %llu",
			    (unsigned long long)version);
		if (version == 0)
			return refuse(g, ALM_EEXIST, "does not exist any more");
		return refuse(g, ALM_EEXIST, "changed at position %llu, expected version %llu",
		    (unsigned long long)version, (unsigned long long)g->conditions[i].version);
	}
	return ALM_OK;
}

/* ---- messages ---- */

static int
check_message(struct sequencer *s, struct seq_group *g, const struct alm_record *r)
{
	const struct seq_topic *t = sequencer_topic(s, r->topic);
	const uint64_t body = alm_record_body(r).len;
	const uint64_t limit = s->limits.max_message;

	if (t == NULL)
		return refuse(g, ALM_ENOTFOUND, "no topic with id %u", r->topic);
	if (r->queue >= t->queues)
		return refuse(g, ALM_ENOTFOUND, "queue %u of a topic with %u queues", r->queue,
		    t->queues);
	if (body + r->attrs_len > limit)
		return refuse(g, ALM_ETOOBIG, "body and attributes of %llu bytes, limits.max_message is %llu",
		    (unsigned long long)(body + r->attrs_len), (unsigned long long)limit);
	if (t->max_message != 0 && body > t->max_message)
		return refuse(g, ALM_ETOOBIG, "body of %llu bytes, the topic takes at most %u",
		    (unsigned long long)body, t->max_message);
	if (t->durability != ALM_DURABLE_RELAXED)
		g->flags &= ~GROUP_RELAXED;
	return ALM_OK;
}

/* ---- state ---- */

/* A group may change a topic or group once, so that its records can be judged one by one. */
static int
note_name(struct seq_group *g, struct names *names, struct alm_slice ns, struct alm_slice key)
{
	uint64_t h = hash64(key.data, key.len) ^ ns.len * 0x9e3779b97f4a7c15u ^
	    (slice_is(ns, ALM_NS_TOPIC) ? 1u : 2u);

	if (!name_valid(key.data, key.len))
		return refuse(g, ALM_EINVAL, "a name is 1 to 255 of A-Z a-z 0-9 . _ %% - / :");
	if (names->n == SEQ_CATALOGUE_OPS_MAX)
		return refuse(g, ALM_EINVAL, "more than %u topics and groups changed at once",
		    SEQ_CATALOGUE_OPS_MAX);
	for (uint32_t i = 0; i < names->n; i++)
		if (names->hash[i] == h)
			return refuse(g, ALM_EINVAL, "the same topic or group is changed twice at once");
	names->hash[names->n++] = h;
	g->flags |= GROUP_CATALOGUE;
	return ALM_OK;
}

static int
check_topic_values(const struct sequencer *s, struct seq_group *g, const struct alm_topic *t)
{
	if (t->version != 1)
		return refuse(g, ALM_EVERSION, "topic settings of version %u, this node knows 1",
		    t->version);
	if (t->queues == 0 || t->queues > ALM_QUEUES_MAX)
		return refuse(g, ALM_EINVAL, "%u queues, a topic may have 1 to %u", t->queues,
		    ALM_QUEUES_MAX);
	if (t->durability > ALM_DURABLE_RELAXED)
		return refuse(g, ALM_EINVAL, "durability class %u is unknown", t->durability);
	if (t->max_message > s->limits.max_message)
		return refuse(g, ALM_EINVAL, "max_message %u is over the node's limit %llu "
		    "(limits.max_message)", t->max_message, (unsigned long long)s->limits.max_message);
	return ALM_OK;
}

/* A topic put: complete the value with what the ledger decides, judge the result, store it back. */
static int
check_topic_put(struct sequencer *s, struct seq_group *g, struct names *names,
    struct alm_slice key, struct alm_slice val)
{
	const struct topic_entry *old = catalogue_topic(s->catalogue, key);
	struct alm_topic t;
	int status;

	if (val.len != sizeof t)
		return refuse(g, ALM_EINVAL, "a topic's value has %llu bytes, expected %zu",
		    (unsigned long long)val.len, sizeof t);
	memcpy(&t, val.data, sizeof t);
	if (t.id != 0 && (old == NULL || old->topic.id != t.id))
		return refuse(g, ALM_ENOTFOUND, "the topic with id %u is gone", t.id);
	if (t.queues == 0)
		t.queues = old != NULL ? old->topic.queues : s->limits.topic_queues;
	if (old != NULL && t.queues < old->topic.queues)
		return refuse(g, ALM_EINVAL, "a topic's queues may grow, not shrink from %u to %u",
		    old->topic.queues, t.queues);
	status = check_topic_values(s, g, &t);
	if (status != ALM_OK)
		return status;
	if (old != NULL) {
		t.id = old->topic.id;
		t.created = old->topic.created;
	} else {
		t.id = catalogue_next_topic_id(s->catalogue) + names->new_topics++;
		t.created = g->log_time;
	}
	memcpy((void *)(uintptr_t)val.data, &t, sizeof t);
	return ALM_OK;
}

static int
check_group_put(struct sequencer *s, struct seq_group *g, struct alm_slice key, struct alm_slice val)
{
	const struct group_entry *old = catalogue_group(s->catalogue, key);
	struct alm_group v;

	if (val.len != sizeof v)
		return refuse(g, ALM_EINVAL, "a group's value has %llu bytes, expected %zu",
		    (unsigned long long)val.len, sizeof v);
	memcpy(&v, val.data, sizeof v);
	if (v.version != 1)
		return refuse(g, ALM_EVERSION, "group settings of version %u, this node knows 1",
		    v.version);
	v.created = old != NULL ? old->group.created : g->log_time;
	memcpy((void *)(uintptr_t)val.data, &v, sizeof v);
	return ALM_OK;
}

static int
check_op(struct sequencer *s, struct seq_group *g, struct names *names, struct alm_slice ns,
    const struct alm_state_op *op, struct alm_slice key, struct alm_slice val)
{
	const int topic = slice_is(ns, ALM_NS_TOPIC);
	int status;

	if (op->op != ALM_STATE_PUT && op->op != ALM_STATE_DELETE)
		return refuse(g, ALM_EINVAL, "state operation %u is unknown", op->op);
	if (key.len == 0 || key.len > SEQ_KEY_MAX)
		return refuse(g, ALM_EINVAL, "a state key of %llu bytes, 1 to %u are allowed",
		    (unsigned long long)key.len, SEQ_KEY_MAX);
	if (op->op == ALM_STATE_PUT && slice_is(ns, ALM_NS_OFFSET) &&
	    val.len != sizeof(struct alm_offset))
		return refuse(g, ALM_EINVAL, "a consumer offset's value has %llu bytes, expected %zu",
		    (unsigned long long)val.len, sizeof(struct alm_offset));
	if (!topic && !slice_is(ns, ALM_NS_GROUP))
		return ALM_OK;
	status = note_name(g, names, ns, key);
	if (status != ALM_OK)
		return status;
	if (op->op == ALM_STATE_PUT)
		return topic ? check_topic_put(s, g, names, key, val) : check_group_put(s, g, key, val);
	if (topic ? catalogue_topic(s->catalogue, key) == NULL
	          : catalogue_group(s->catalogue, key) == NULL)
		return refuse(g, ALM_ENOTFOUND, "no such %s", topic ? "topic" : "group");
	if (topic && g->n_messages > 0)
		return refuse(g, ALM_EINVAL, "a topic is deleted together with messages");
	return ALM_OK;
}

static int
check_state(struct sequencer *s, struct seq_group *g, struct names *names,
    const struct alm_record *r)
{
	const struct alm_slice body = alm_record_body(r);
	struct alm_slice ns = {NULL, 0}, key, val;
	struct alm_state_txn head = {0, 0, 0};
	struct alm_state_op op;
	uint64_t at = 0;
	uint32_t n = 0;
	int more, status;

	if (r->topic != 0 || r->queue != 0)
		return refuse(g, ALM_EINVAL, "a state record names a topic or queue");
	while ((more = alm_state_next(body, &at, &ns, &op, &key, &val)) == 1) {
		if (ns.len == 0 || ns.len > SEQ_NS_MAX || memchr(ns.data, 0, ns.len) != NULL)
			return refuse(g, ALM_EINVAL, "a namespace has 1 to %u bytes, none of them zero",
			    SEQ_NS_MAX);
		status = check_op(s, g, names, ns, &op, key, val);
		if (status != ALM_OK)
			return status;
		n++;
	}
	memcpy(&head, body.data, body.len < sizeof head ? body.len : sizeof head);
	if (more < 0 || n == 0 || n != head.n_ops)
		return refuse(g, ALM_EINVAL, "a state record cannot be decoded");
	return ALM_OK;
}

int
sequencer_check(struct sequencer *s, struct seq_group *g)
{
	struct names names = {.n = 0, .new_topics = 0};
	int status;

	g->detail[0] = '\0';
	status = check_structure(g);
	if (status == ALM_OK)
		status = check_producer(s, g);
	if (status != ALM_OK || (g->flags & GROUP_DUPLICATE))
		return status;
	if (g->disk_full && g->n_messages > 0)
		return refuse(g, ALM_EFULL, "%s", g->full_text);
	status = check_conditions(s, g);
	if (g->n_messages > 0)
		g->flags |= GROUP_RELAXED;
	for (uint32_t at = 0; status == ALM_OK && at < g->bytes;) {
		const struct alm_record *r = (const void *)(g->records + at);

		at += r->length;
		status = r->kind == ALM_REC_MESSAGE ? check_message(s, g, r)
		                                    : check_state(s, g, &names, r);
	}
	if (g->flags & GROUP_STATE)
		g->flags &= ~GROUP_RELAXED;
	return status;
}
