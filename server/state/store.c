/* state/store.c - rows of the state store: open, read, write, scan.  Indexer, one thread. */
#include "state/store_key.h"

#include <stdlib.h>
#include <string.h>

#define META_MAGIC 0x534d4c41u /* "ALMS" */
#define META_FORMAT 1u

static struct alm_slice
slice(const void *data, uint64_t len)
{
	struct alm_slice s = {data, len};

	return s;
}

/* ---- keys and rows ---- */

int
skey_make(struct skey *k, char type, const struct alm_slice *part, uint32_t n)
{
	struct hash128 h;

	buf_reset(&k->full);
	if (buf_put(&k->full, &type, 1))
		return ALM_ENOMEM;
	for (uint32_t i = 0; i < n; i++)
		if ((i > 0 && buf_put(&k->full, "", 1)) ||
		    buf_put(&k->full, part[i].data, part[i].len))
			return ALM_ENOMEM;
	k->cut = k->full.len >= SKEY_MAX;
	if (!k->cut) {
		memcpy(k->data, k->full.data, k->full.len);
		k->len = (uint32_t)k->full.len;
		return ALM_OK;
	}
	h = hash128(k->full.data, k->full.len);
	memcpy(k->data, k->full.data, SKEY_HEAD);
	memcpy(k->data + SKEY_HEAD, &h, sizeof h);
	k->len = SKEY_MAX;
	return ALM_OK;
}

static uint32_t
row_crc(struct alm_slice full, uint64_t version, struct alm_slice value)
{
	uint32_t crc = crc32c(0, full.data, full.len);

	crc = crc32c(crc, &version, sizeof version);
	return crc32c(crc, value.data, value.len);
}

int
row_decode(const MDB_val *k, const MDB_val *v, struct alm_slice *full, uint64_t *version,
    struct alm_slice *value)
{
	const uint8_t *p = v->mv_data;
	struct row_head h;

	if (v->mv_size < sizeof h)
		return err_set(ALM_ECORRUPT, "a state row is cut short");
	memcpy(&h, p, sizeof h);
	if (h.full_len > v->mv_size - sizeof h)
		return err_set(ALM_ECORRUPT, "a state row has a key of %u bytes in a row of %zu",
		    h.full_len, v->mv_size);
	*full = h.full_len ? slice(p + sizeof h, h.full_len) : slice(k->mv_data, k->mv_size);
	*value = slice(p + sizeof h + h.full_len, v->mv_size - sizeof h - h.full_len);
	*version = h.version;
	if (row_crc(*full, h.version, *value) != h.crc)
		return err_set(ALM_ECORRUPT, "the state row of version %llu fails its checksum",
		    (unsigned long long)h.version);
	return ALM_OK;
}

/* ---- open, meta, sync ---- */

static uint32_t
meta_crc(struct store_meta m)
{
	m.crc = 0;
	return crc32c(0, &m, sizeof m);
}

static int
meta_load(struct store *s)
{
	MDB_val v;
	int status = lmenv_get(&s->env, "m", 1, &v);

	s->lost = s->env.lost;
	s->env.why[0] = 0;
	s->changed = 0;
	memset(&s->meta, 0, sizeof s->meta);
	s->meta.magic = META_MAGIC;
	s->meta.format = META_FORMAT;
	if (status == ALM_OK) {
		if (v.mv_size != sizeof s->meta)
			return err_set(ALM_ECORRUPT, "the state store's meta row has %zu bytes", v.mv_size);
		memcpy(&s->meta, v.mv_data, sizeof s->meta);
		if (s->meta.magic != META_MAGIC || s->meta.crc != meta_crc(s->meta))
			return err_set(ALM_ECORRUPT, "the state store's meta row fails its checksum");
		if (s->meta.format != META_FORMAT)
			return err_set(ALM_EVERSION, "the state store has format %u, this server knows %u",
			    s->meta.format, META_FORMAT);
	} else if (status != ALM_ENOTFOUND) {
		return err_set(status, "state store: could not read its meta row");
	}
	s->synced = s->meta.applied;
	return ALM_OK;
}

int
store_done(struct store *s, int status, const char *doing)
{
	int again;

	if (s->env.lost == s->lost)
		return status;
	if (s->env.why[0])
		err_set(status, "state store: %s: %s", doing, s->env.why);
	again = meta_load(s);
	return again ? again : status;
}

int
store_open(const char *dir, uint64_t map, struct store **out)
{
	struct store *s = calloc(1, sizeof *s);
	int status;

	if (!s)
		return err_set(ALM_ENOMEM, "state store: out of memory");
	status = lmenv_open(&s->env, dir, map ? map : LMENV_MAP_DEFAULT);
	if (status)
		err_set(status, "state store: %s", s->env.why);
	else
		status = meta_load(s);
	if (status) {
		store_close(s);
		return status;
	}
	*out = s;
	return ALM_OK;
}

void
store_close(struct store *s)
{
	if (!s)
		return;
	lmenv_close(&s->env);
	buf_free(&s->key.full);
	buf_free(&s->key2.full);
	buf_free(&s->row);
	free(s);
}

uint64_t
store_applied(const struct store *s)
{
	return s->meta.applied;
}

uint64_t
store_synced(const struct store *s)
{
	return s->synced;
}

uint32_t
store_last_crc(const struct store *s)
{
	return s->meta.last_crc;
}

uint64_t
store_last_index(const struct store *s)
{
	return s->meta.index;
}

uint32_t
store_dirty(const struct store *s)
{
	return s->env.dirty;
}

uint64_t
store_skipped(const struct store *s)
{
	return s->meta.skipped;
}

int
store_sync(struct store *s)
{
	int status;

	if (!s->changed) {
		status = lmenv_trim(&s->env);
		return status ? store_done(s, status, "sync") : ALM_OK;
	}
	s->meta.crc = meta_crc(s->meta);
	status = lmenv_put(&s->env, "m", 1, &s->meta, sizeof s->meta);
	if (!status)
		status = lmenv_commit(&s->env);
	if (status)
		return store_done(s, status, "sync");
	s->synced = s->meta.applied;
	s->changed = 0;
	return ALM_OK;
}

void
store_jump(struct store *s, uint64_t position)
{
	s->meta.applied = position;
	s->meta.last_crc = 0;
	s->changed = 1;
}

int
store_remove(const char *dir)
{
	int status = lmenv_remove(dir);

	return status ? err_set(status, "could not delete the state store in %s", dir) : ALM_OK;
}

/* ---- rows ---- */

int
store_put(struct store *s, struct alm_slice ns, struct alm_slice key, uint64_t version,
    struct alm_slice value)
{
	const struct alm_slice part[2] = {ns, key};
	struct row_head h = {version, 0, 0};

	if (skey_make(&s->key, 's', part, 2))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	h.crc = row_crc(slice(s->key.full.data, s->key.full.len), version, value);
	h.full_len = s->key.cut ? (uint32_t)s->key.full.len : 0;
	buf_reset(&s->row);
	if (buf_put(&s->row, &h, sizeof h) || buf_put(&s->row, s->key.full.data, h.full_len) ||
	    buf_put(&s->row, value.data, value.len))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	return lmenv_put(&s->env, s->key.data, s->key.len, s->row.data, s->row.len);
}

int
store_del(struct store *s, struct alm_slice ns, struct alm_slice key)
{
	const struct alm_slice part[2] = {ns, key};

	if (skey_make(&s->key, 's', part, 2))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	return lmenv_del(&s->env, s->key.data, s->key.len);
}

int
store_get(struct store *s, struct alm_slice ns, struct alm_slice key, uint64_t *version,
    struct alm_slice *value)
{
	const struct alm_slice part[2] = {ns, key};
	struct alm_slice full;
	MDB_val k, v;
	int status;

	*version = 0;
	*value = slice("", 0);
	if (skey_make(&s->key, 's', part, 2))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	status = lmenv_get(&s->env, s->key.data, s->key.len, &v);
	if (status == ALM_ENOTFOUND)
		return status;
	if (status)
		return store_done(s, status, "get");
	k.mv_data = s->key.data;
	k.mv_size = s->key.len;
	status = row_decode(&k, &v, &full, version, value);
	if (!status && (full.len != s->key.full.len ||
	    memcmp(full.data, s->key.full.data, full.len) != 0))
		return ALM_ENOTFOUND; /* another long key with the same hash */
	return status;
}

uint64_t
store_rows(struct store *s)
{
	MDB_stat st;

	if (lmenv_begin(&s->env) || mdb_stat(s->env.txn, s->env.dbi, &st))
		return 0;
	return st.ms_entries;
}

/* ---- scan ---- */

struct scan {
	struct alm_slice want; /* 's' ns 0 prefix */
	uint32_t skip;         /* bytes of the full key before the user's key */
	uint32_t limit;
	uint8_t *out;
	uint64_t len, cap;
	uint32_t rows;
};

static int
scan_emit(struct scan *sc, struct alm_slice full, uint64_t version, struct alm_slice value)
{
	struct {
		uint16_t key_len, zero;
		uint32_t val_len;
		uint64_t version;
	} h = {(uint16_t)(full.len - sc->skip), 0, (uint32_t)value.len, version};
	uint64_t need = sizeof h + h.key_len + value.len;

	if (need > sc->cap - sc->len)
		return sc->rows ? 0 : ALM_ETOOBIG;
	memcpy(sc->out + sc->len, &h, sizeof h);
	memcpy(sc->out + sc->len + sizeof h, (const uint8_t *)full.data + sc->skip, h.key_len);
	memcpy(sc->out + sc->len + sizeof h + h.key_len, value.data, value.len);
	sc->len += need;
	sc->rows++;
	return 1;
}

/* Walk from the cursor's row on. ALM_OK at the end or when full. */
static int
scan_walk(struct store *s, MDB_cursor *c, struct scan *sc, MDB_val k, MDB_val v)
{
	uint64_t head = sc->want.len < SKEY_HEAD ? sc->want.len : SKEY_HEAD;
	struct alm_slice full, value;
	uint64_t version;
	int rc = 0, status;

	while (rc == 0 && k.mv_size >= head && memcmp(k.mv_data, sc->want.data, head) == 0) {
		if ((status = row_decode(&k, &v, &full, &version, &value)))
			return status;
		if (full.len >= sc->want.len && full.len - sc->skip <= UINT16_MAX &&
		    memcmp(full.data, sc->want.data, sc->want.len) == 0) {
			if ((status = scan_emit(sc, full, version, value)) <= 0)
				return status;
			if (sc->limit && sc->rows == sc->limit)
				return ALM_OK;
		}
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	}
	return rc && rc != MDB_NOTFOUND ? lmenv_status(&s->env, rc, "scan") : ALM_OK;
}

/* Stored keys begin at `after` if it lies in the prefix's range, exclusively, else at prefix. */
static int
scan_start(struct store *s, struct alm_slice ns, struct alm_slice prefix, struct alm_slice after,
    int *exclusive)
{
	const struct alm_slice from[2] = {ns, prefix}, behind[2] = {ns, after};

	*exclusive = 0;
	if (skey_make(&s->key, 's', from, 2) || skey_make(&s->key2, 's', behind, 2))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	if (s->key.cut) /* the rows of a long prefix lie anywhere behind its head */
		s->key.len = SKEY_HEAD;
	if (after.len == 0 ||
	    lmenv_cmp(s->key2.data, s->key2.len, s->key.data, s->key.len) < 0)
		return ALM_OK;
	memcpy(s->key.data, s->key2.data, s->key2.len);
	s->key.len = s->key2.len;
	*exclusive = 1;
	return ALM_OK;
}

int64_t
store_scan(struct store *s, struct alm_slice ns, struct alm_slice prefix, struct alm_slice after,
    uint32_t limit, void *out, uint32_t cap)
{
	struct scan sc = {.limit = limit, .out = out, .cap = cap, .skip = (uint32_t)ns.len + 2};
	MDB_cursor *c;
	MDB_val k, v;
	int rc, exclusive, status = scan_start(s, ns, prefix, after, &exclusive);

	if (status)
		return status;
	sc.want = slice(s->key.full.data, s->key.full.len);
	if ((status = lmenv_begin(&s->env)) ||
	    (status = lmenv_status(&s->env, mdb_cursor_open(s->env.txn, s->env.dbi, &c), "scan")))
		return store_done(s, status, "scan");
	k.mv_data = s->key.data;
	k.mv_size = s->key.len;
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && exclusive && lmenv_cmp(k.mv_data, k.mv_size, s->key.data, s->key.len) == 0)
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	if (rc == 0)
		status = scan_walk(s, c, &sc, k, v);
	if (s->env.txn)
		mdb_cursor_close(c);
	if (rc && rc != MDB_NOTFOUND)
		status = lmenv_status(&s->env, rc, "scan");
	if (status < 0)
		return store_done(s, status, "scan");
	return (int64_t)sc.len;
}

/* ---- verify ---- */

static int
verify_pair(MDB_val ka, MDB_val va, MDB_val kb, MDB_val vb)
{
	struct alm_slice full, value;
	uint64_t version;
	int status = row_decode(&ka, &va, &full, &version, &value);

	if (status)
		return status;
	if (lmenv_cmp(ka.mv_data, ka.mv_size, kb.mv_data, kb.mv_size) == 0 &&
	    lmenv_cmp(va.mv_data, va.mv_size, vb.mv_data, vb.mv_size) == 0)
		return ALM_OK;
	return err_set(ALM_ECORRUPT, "state store: the row of version %llu differs from the log",
	    (unsigned long long)version);
}

static int
verify_walk(MDB_cursor *a, MDB_cursor *b)
{
	const unsigned range = MDB_SET_RANGE;
	MDB_val ka = {1, (void *)(uintptr_t) "s"}, kb = ka, va, vb;
	int ra = mdb_cursor_get(a, &ka, &va, range), rb = mdb_cursor_get(b, &kb, &vb, range);
	int status;

	while (ra == 0 && rb == 0) {
		if ((status = verify_pair(ka, va, kb, vb)))
			return status;
		ra = mdb_cursor_get(a, &ka, &va, MDB_NEXT);
		rb = mdb_cursor_get(b, &kb, &vb, MDB_NEXT);
	}
	if (ra == MDB_NOTFOUND && rb == MDB_NOTFOUND)
		return ALM_OK;
	return err_set(ALM_ECORRUPT, "state store: it has %s rows than the log gives",
	    ra == 0 ? "more" : "fewer");
}

int
store_verify(struct store *s, struct store *refold)
{
	MDB_cursor *a, *b;
	int status;

	if (s->meta.applied != refold->meta.applied)
		return err_set(ALM_EINVAL, "state store: applied up to %llu, the other up to %llu",
		    (unsigned long long)s->meta.applied, (unsigned long long)refold->meta.applied);
	if ((status = lmenv_begin(&s->env)) || (status = lmenv_begin(&refold->env)))
		return status;
	if (mdb_cursor_open(s->env.txn, s->env.dbi, &a))
		return err_set(ALM_ENOMEM, "state store: out of memory");
	if (mdb_cursor_open(refold->env.txn, refold->env.dbi, &b)) {
		mdb_cursor_close(a);
		return err_set(ALM_ENOMEM, "state store: out of memory");
	}
	status = verify_walk(a, b);
	mdb_cursor_close(a);
	mdb_cursor_close(b);
	return status;
}
