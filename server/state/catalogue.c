/* state/catalogue.c - topics and groups, folded from the log.
 *
 * One instance in the ledger and one in each worker, each used by one thread.  Entries are owned
 * by the catalogue; a pointer to one is valid until the next apply.  Names live in libc's balanced
 * trees (ordered walks), topic ids in a hash map.  Invariant: every topic is in both. */
#include "state/catalogue.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "state/checkpoint.h"

struct catalogue {
	void *topics, *groups; /* tsearch roots of struct topic_entry, struct group_entry */
	struct hmap *by_id;    /* topic id -> struct topic_entry */
	uint64_t n_topics;
	uint32_t next_id;
};

static int
name_order(const char *a, uint32_t a_len, const char *b, uint32_t b_len)
{
	int c = memcmp(a, b, a_len < b_len ? a_len : b_len);

	return c != 0 ? c : (a_len > b_len) - (a_len < b_len);
}

static int
topic_order(const void *a, const void *b)
{
	const struct topic_entry *x = a, *y = b;

	return name_order(x->name, x->name_len, y->name, y->name_len);
}

static int
group_order(const void *a, const void *b)
{
	const struct group_entry *x = a, *y = b;

	return name_order(x->name, x->name_len, y->name, y->name_len);
}

struct catalogue *
catalogue_new(void)
{
	struct catalogue *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->next_id = 1;
	c->by_id = hmap_new();
	if (c->by_id == NULL) {
		free(c);
		return NULL;
	}
	return c;
}

void
catalogue_free(struct catalogue *c)
{
	if (c == NULL)
		return;
	tdestroy(c->topics, free);
	tdestroy(c->groups, free);
	hmap_free(c->by_id);
	free(c);
}

const struct topic_entry *
catalogue_topic(const struct catalogue *c, struct alm_slice name)
{
	struct topic_entry key;
	void *const *at;

	if (name.len > ALM_NAME_MAX)
		return NULL;
	key.name_len = (uint32_t)name.len;
	memcpy(key.name, name.data, name.len);
	at = tfind(&key, &c->topics, topic_order);
	return at != NULL ? *at : NULL;
}

const struct topic_entry *
catalogue_topic_id(const struct catalogue *c, uint32_t id)
{
	const uint64_t *at = hmap_get(c->by_id, id);

	return at != NULL ? (const struct topic_entry *)(uintptr_t)*at : NULL;
}

const struct group_entry *
catalogue_group(const struct catalogue *c, struct alm_slice name)
{
	struct group_entry key;
	void *const *at;

	if (name.len > ALM_NAME_MAX)
		return NULL;
	key.name_len = (uint32_t)name.len;
	memcpy(key.name, name.data, name.len);
	at = tfind(&key, &c->groups, group_order);
	return at != NULL ? *at : NULL;
}

uint64_t
catalogue_topic_count(const struct catalogue *c)
{
	return c->n_topics;
}

uint32_t
catalogue_next_topic_id(const struct catalogue *c)
{
	return c->next_id;
}

static int
topic_delete(struct catalogue *c, struct alm_slice name)
{
	struct topic_entry *e = (struct topic_entry *)(uintptr_t)catalogue_topic(c, name);

	if (e == NULL)
		return ALM_OK;
	tdelete(e, &c->topics, topic_order);
	hmap_del(c->by_id, e->topic.id);
	free(e);
	c->n_topics--;
	return ALM_OK;
}

static int
topic_put(struct catalogue *c, struct alm_slice name, const struct alm_topic *t, uint64_t position)
{
	struct topic_entry *e = (struct topic_entry *)(uintptr_t)catalogue_topic(c, name);
	uint64_t *slot;

	if (t->version != 1 || t->id == 0 || t->queues == 0 || t->queues > ALM_QUEUES_MAX ||
	    name.len == 0 || name.len > ALM_NAME_MAX)
		return err_set(ALM_ECORRUPT, "a topic entry (id %u) cannot be decoded", t->id);
	if (e != NULL && e->topic.id != t->id) {
		topic_delete(c, name);
		e = NULL;
	}
	if (e == NULL) {
		if (catalogue_topic_id(c, t->id) != NULL)
			return err_set(ALM_ECORRUPT, "topic id %u is given twice", t->id);
		e = calloc(1, sizeof *e);
		slot = e != NULL ? hmap_put(c->by_id, t->id) : NULL;
		if (slot == NULL) {
			free(e);
			return err_set(ALM_ENOMEM, "no memory for a topic");
		}
		e->name_len = (uint32_t)name.len;
		memcpy(e->name, name.data, name.len);
		if (tsearch(e, &c->topics, topic_order) == NULL) {
			hmap_del(c->by_id, t->id);
			free(e);
			return err_set(ALM_ENOMEM, "no memory for a topic");
		}
		*slot = (uint64_t)(uintptr_t)e;
		c->n_topics++;
	}
	e->topic = *t;
	e->version = position;
	if (t->id >= c->next_id)
		c->next_id = t->id + 1;
	return ALM_OK;
}

static int
group_delete(struct catalogue *c, struct alm_slice name)
{
	struct group_entry *e = (struct group_entry *)(uintptr_t)catalogue_group(c, name);

	if (e != NULL) {
		tdelete(e, &c->groups, group_order);
		free(e);
	}
	return ALM_OK;
}

static int
group_put(struct catalogue *c, struct alm_slice name, const struct alm_group *g, uint64_t position)
{
	struct group_entry *e = (struct group_entry *)(uintptr_t)catalogue_group(c, name);

	if (g->version != 1 || name.len == 0 || name.len > ALM_NAME_MAX)
		return err_set(ALM_ECORRUPT, "a group entry cannot be decoded");
	if (e == NULL) {
		e = calloc(1, sizeof *e);
		if (e == NULL)
			return err_set(ALM_ENOMEM, "no memory for a group");
		e->name_len = (uint32_t)name.len;
		memcpy(e->name, name.data, name.len);
		if (tsearch(e, &c->groups, group_order) == NULL) {
			free(e);
			return err_set(ALM_ENOMEM, "no memory for a group");
		}
	}
	e->group = *g;
	e->version = position;
	return ALM_OK;
}

static int
slice_is(struct alm_slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

int
catalogue_apply_op(struct catalogue *c, struct alm_slice ns, const struct alm_state_op *op,
    struct alm_slice key, struct alm_slice val, uint64_t position)
{
	struct alm_topic t;
	struct alm_group g;
	int is_topic = slice_is(ns, ALM_NS_TOPIC);

	if (!is_topic && !slice_is(ns, ALM_NS_GROUP))
		return ALM_OK;
	if (op->op == ALM_STATE_DELETE)
		return is_topic ? topic_delete(c, key) : group_delete(c, key);
	if (op->op != ALM_STATE_PUT || val.len != (is_topic ? sizeof t : sizeof g))
		return err_set(ALM_ECORRUPT, "a catalogue change at %llu cannot be decoded",
		    (unsigned long long)position);
	if (is_topic) {
		memcpy(&t, val.data, sizeof t);
		return topic_put(c, key, &t, position);
	}
	memcpy(&g, val.data, sizeof g);
	return group_put(c, key, &g, position);
}

int
catalogue_apply(struct catalogue *c, const struct alm_batch *b)
{
	const struct alm_record *r;
	uint32_t at = sizeof *b, begin = at;

	for (; (r = alm_batch_next(b, &at)) != NULL; begin = at) {
		struct alm_slice ns, key, val;
		struct alm_state_op op;
		uint64_t in = 0;
		int more, status;

		if (r->kind != ALM_REC_STATE)
			continue;
		while ((more = alm_state_next(alm_record_body(r), &in, &ns, &op, &key, &val)) == 1) {
			status = catalogue_apply_op(c, ns, &op, key, val, b->position + begin);
			if (status != ALM_OK)
				return status;
		}
		if (more < 0)
			return err_set(ALM_ECORRUPT, "the state record at %llu cannot be decoded",
			    (unsigned long long)(b->position + begin));
	}
	return ALM_OK;
}

/* libc's walk visits a node up to three times and cannot stop: act on the in-order visit only and
 * remember the first non-zero result. */
struct walk {
	int (*topic)(void *, const struct topic_entry *);
	int (*group)(void *, const struct group_entry *);
	void *arg;
	int result;
};

static void
walk_node(const void *node, VISIT visit, void *closure)
{
	struct walk *w = closure;
	const void *entry = *(const void *const *)node;

	if ((visit != postorder && visit != leaf) || w->result != 0)
		return;
	w->result = w->topic != NULL ? w->topic(w->arg, entry) : w->group(w->arg, entry);
}

int
catalogue_topics(const struct catalogue *c, int (*each)(void *, const struct topic_entry *),
    void *arg)
{
	struct walk w = {.topic = each, .arg = arg};

	twalk_r(c->topics, walk_node, &w);
	return w.result;
}

int
catalogue_groups(const struct catalogue *c, int (*each)(void *, const struct group_entry *),
    void *arg)
{
	struct walk w = {.group = each, .arg = arg};

	twalk_r(c->groups, walk_node, &w);
	return w.result;
}

/* Keys that fit are hashed as one string; longer ones, which no core namespace has, through the
 * hashes of both parts. */
struct hash128
state_key_hash(struct alm_slice ns, struct alm_slice key)
{
	uint8_t joined[1024];
	const uint64_t len = ns.len + 1 + key.len;

	if (len > sizeof joined) {
		struct hash128 parts[2] = {hash128(ns.data, ns.len), hash128(key.data, key.len)};

		return hash128(parts, sizeof parts);
	}
	if (ns.len > 0)
		memcpy(joined, ns.data, ns.len);
	joined[ns.len] = 0;
	if (key.len > 0)
		memcpy(joined + ns.len + 1, key.data, key.len);
	return hash128(joined, len);
}

int
catalogue_fold_checkpoint(struct catalogue *c, const struct checkpoint *ck)
{
	const struct ckpt_topic *t;
	const struct ckpt_group *g;
	struct alm_slice name;
	uint64_t at = 0;
	int status = ALM_OK;

	while (status == ALM_OK && (t = checkpoint_topic(ck, &at, &name)) != NULL)
		status = topic_put(c, name, &t->topic, t->version);
	for (at = 0; status == ALM_OK && (g = checkpoint_group(ck, &at, &name)) != NULL;)
		status = group_put(c, name, &g->group, g->version);
	if (ck->head->next_topic_id > c->next_id)
		c->next_id = ck->head->next_topic_id;
	return status;
}

int
catalogue_load(struct catalogue *c, const char *data_dir, uint64_t *position)
{
	struct checkpoint ck;
	int status = checkpoint_read(data_dir, &ck);

	if (status != ALM_OK)
		return status;
	status = catalogue_fold_checkpoint(c, &ck);
	*position = ck.head->position;
	checkpoint_free(&ck);
	return status;
}
