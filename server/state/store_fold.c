/* state/store_fold.c - the fold: STATE records of the committed log into the state store.
 * Indexer, one thread.  What it does is a function of the log alone (rules in store.h). */
#include "state/store_key.h"

#include <string.h>

struct fold {
	struct store *s;
	uint64_t version; /* position of the record */
	store_topic_fn deleted;
	void *arg;
};

static int
ns_is(struct alm_slice ns, const char *name)
{
	return ns.len == strlen(name) && memcmp(ns.data, name, ns.len) == 0;
}

static int
ns_valid(struct alm_slice ns)
{
	return ns.len > 0 && ns.len <= STORE_NS_MAX && !memchr(ns.data, 0, ns.len);
}

/* Split an offset's key into group, topic and queue. */
static int
offset_parts(struct alm_slice key, struct alm_slice part[3])
{
	const char *p = key.data, *z;
	uint64_t left = key.len;

	for (int i = 0; i < 2; i++) {
		if (!(z = memchr(p, 0, left)))
			return 0;
		part[i].data = p;
		part[i].len = (uint64_t)(z - p);
		left -= part[i].len + 1;
		p = z + 1;
	}
	part[2].data = p;
	part[2].len = left;
	return 1;
}

/* Keep the row that finds an offset by its topic. */
static int
offset_link(struct store *s, struct alm_slice key, int put)
{
	struct alm_slice part[3], by_topic[3];
	struct row_head h = {0, 0, 0};

	if (!offset_parts(key, part))
		return ALM_OK;
	by_topic[0] = part[1];
	by_topic[1] = part[0];
	by_topic[2] = part[2];
	if (skey_make(&s->key, 'o', by_topic, 3))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	if (!put)
		return lmenv_del(&s->env, s->key.data, s->key.len);
	/* The row holds the key of the offset, so that nothing has to be put together again. */
	h.full_len = (uint32_t)key.len;
	buf_reset(&s->row);
	if (buf_put(&s->row, &h, sizeof h) || buf_put(&s->row, key.data, key.len))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	return lmenv_put(&s->env, s->key.data, s->key.len, s->row.data, s->row.len);
}

/* First row at or after the stored key `from` that begins with its bytes: *k, *v. */
static int
first_under(struct store *s, const struct skey *from, MDB_val *k, MDB_val *v)
{
	uint64_t head = from->len;
	MDB_cursor *c;
	int rc, status = lmenv_begin(&s->env);

	if (status ||
	    (status = lmenv_status(&s->env, mdb_cursor_open(s->env.txn, s->env.dbi, &c), "seek")))
		return status;
	k->mv_data = (void *)(uintptr_t)from->data;
	k->mv_size = from->len;
	rc = mdb_cursor_get(c, k, v, MDB_SET_RANGE);
	mdb_cursor_close(c);
	if (rc == 0 && (k->mv_size < head || memcmp(k->mv_data, from->data, head) != 0))
		rc = MDB_NOTFOUND;
	return lmenv_status(&s->env, rc, "seek");
}

/* Delete one offset with both its rows. */
static int
offset_delete(struct store *s, struct alm_slice ns, struct alm_slice key)
{
	int status = offset_link(s, key, 0);

	return status ? status : store_del(s, ns, key);
}

/* Delete all offsets whose stored key begins with type, a, zero and, for 's', b, zero. */
static int
offsets_under(struct store *s, char type, const struct alm_slice *part, uint32_t n)
{
	const struct alm_slice ns = {ALM_NS_OFFSET, sizeof ALM_NS_OFFSET - 1};
	struct buf key = {NULL, 0, 0};
	uint8_t stored[SKEY_MAX];
	uint32_t stored_len;
	struct alm_slice full, value;
	const size_t head = sizeof(struct row_head);
	uint64_t version;
	MDB_val k, v;
	int status;

	while ((status = skey_make(&s->key2, type, part, n)) == ALM_OK &&
	    (status = first_under(s, &s->key2, &k, &v)) == ALM_OK) {
		if (type == 's') {
			if ((status = row_decode(&k, &v, &full, &version, &value)))
				break;
			full.data = (const char *)full.data + ns.len + 2;
			full.len -= ns.len + 2;
		} else if (v.mv_size >= head) {
			full.data = (const char *)v.mv_data + head;
			full.len = v.mv_size - head;
		} else {
			status = err_set(ALM_ECORRUPT, "state store: a row that finds an offset is short");
			break;
		}
		memcpy(stored, k.mv_data, k.mv_size);
		stored_len = (uint32_t)k.mv_size;
		buf_reset(&key);
		/* The row found goes by its own key too: a damaged one must not be found for ever. */
		if ((status = buf_put(&key, full.data, full.len)) ||
		    (status = offset_delete(s, ns, (struct alm_slice){key.data, key.len})) ||
		    (status = lmenv_del(&s->env, stored, stored_len)))
			break;
	}
	buf_free(&key);
	return status == ALM_ENOTFOUND ? ALM_OK : status;
}

static int
topic_deleted(struct fold *f, struct alm_slice name)
{
	const struct alm_slice ns = {ALM_NS_TOPIC, sizeof ALM_NS_TOPIC - 1};
	const struct alm_slice part[2] = {name, {"", 0}};
	struct alm_topic topic;
	struct alm_slice value;
	uint64_t version;
	int status = store_get(f->s, ns, name, &version, &value);

	if (status)
		return status == ALM_ENOTFOUND ? ALM_OK : status;
	if (value.len >= sizeof topic) {
		memcpy(&topic, value.data, sizeof topic);
		if (f->deleted)
			f->deleted(f->arg, topic.id);
	}
	return offsets_under(f->s, 'o', part, 2);
}

static int
group_deleted(struct fold *f, struct alm_slice name)
{
	const struct alm_slice part[3] = {{ALM_NS_OFFSET, sizeof ALM_NS_OFFSET - 1}, name, {"", 0}};

	return offsets_under(f->s, 's', part, 3);
}

static int
fold_put(struct fold *f, struct alm_slice ns, struct alm_slice key, struct alm_slice value)
{
	const struct alm_slice part[2] = {ns, key};
	MDB_val v;
	int status;

	if (ns_is(ns, ALM_NS_OFFSET)) {
		if (skey_make(&f->s->key, 's', part, 2))
			return err_set(ALM_ENOMEM, "state store: out of memory");
		status = lmenv_get(&f->s->env, f->s->key.data, f->s->key.len, &v);
		if (status == ALM_ENOTFOUND)
			status = offset_link(f->s, key, 1);
		if (status)
			return status;
	}
	return store_put(f->s, ns, key, f->version, value);
}

static int
fold_delete(struct fold *f, struct alm_slice ns, struct alm_slice key)
{
	int status = ALM_OK;

	if (ns_is(ns, ALM_NS_OFFSET))
		return offset_delete(f->s, ns, key);
	if (ns_is(ns, ALM_NS_TOPIC))
		status = topic_deleted(f, key);
	else if (ns_is(ns, ALM_NS_GROUP))
		status = group_deleted(f, key);
	return status ? status : store_del(f->s, ns, key);
}

static int
fold_record(struct fold *f, const struct alm_record *r)
{
	struct alm_slice body = alm_record_body(r), ns = {0}, key = {0}, value = {0};
	struct alm_state_op op = {0};
	uint64_t at = 0;
	int got, status = ALM_OK;

	/* Rot in the log is the log's to repair: stop, rather than fold it. */
	if (crc32c(0, (const char *)r + 8, r->length - 8) != r->crc)
		return err_set(ALM_EIO, "the STATE record at %llu fails its checksum",
		    (unsigned long long)f->version);
	while ((got = alm_state_next(body, &at, &ns, &op, &key, &value)) == 1 && !status) {
		if (!ns_valid(ns) || (op.op != ALM_STATE_PUT && op.op != ALM_STATE_DELETE))
			f->s->meta.skipped++;
		else if (op.op == ALM_STATE_PUT)
			status = fold_put(f, ns, key, value);
		else
			status = fold_delete(f, ns, key);
	}
	if (got == ALM_ECORRUPT) /* what came before it is folded, on every member alike */
		f->s->meta.skipped++;
	return status;
}

int
store_apply(struct store *s, const struct alm_batch *b, store_topic_fn deleted, void *arg)
{
	struct fold f = {s, 0, deleted, arg};
	uint32_t at = sizeof *b, begin = at;
	const struct alm_record *r;
	int status = ALM_OK;

	if (b->position != s->meta.applied)
		return err_set(ALM_EINVAL, "state store: batch at %llu, but the next one is at %llu",
		    (unsigned long long)b->position, (unsigned long long)s->meta.applied);
	while ((b->flags & ALM_BATCH_STATE) && !status && (r = alm_batch_next(b, &at)) != NULL) {
		if (r->kind == ALM_REC_STATE) {
			f.version = b->position + begin;
			status = fold_record(&f, r);
		}
		begin = at;
	}
	if (status) {
		/* Half a batch must not stay. */
		if (s->env.lost == s->lost) {
			lmenv_abort(&s->env);
			s->env.lost++;
		}
		return store_done(s, status, "apply");
	}
	s->meta.applied = b->position + b->length;
	s->meta.index = b->index;
	s->meta.last_crc = b->header_crc;
	s->changed = 1;
	return ALM_OK;
}
