/* plugins/indexer/key/key.c - the key index: which messages carry a key.  Indexer process, one
 * thread; blocks on the disk in sync only.
 *
 * A row for each key attribute of each message: 64-bit hash of the key, position of the message,
 * its topic and log time.  The hash may collide: whoever reads the message compares the key.
 * A lookup by message id needs no index, since the id is the position.
 *
 * Rows are grouped into runs in the order of the log, as in the queue index: hashes are random, so
 * without runs each insert would touch another page of the whole index.  A look-up asks run after
 * run from the newest one and stops when it has enough.  Retention drops whole runs.
 *
 * Keys (integers big-endian): 'm' struct meta; 'r' run: struct run; 'w' run hash position: struct row.
 * Every value is sealed with a CRC32C (lmenv.h).
 *
 * Invariants: positions and log times rise from run to run; what lies before `released` is not
 * seen and goes later, in bounded work; after a lost transaction everything is loaded again.
 */
#include <almadia/indexer.h>

#include <stdlib.h>
#include <string.h>

#include "../lib/lmenv.h"

#define FORMAT 1u
#define ROW_KEY 21u
#define KEY_MAX 65535u

struct meta {
	uint32_t format, first_run, cur_run, reserved;
	uint64_t applied, released;
};

struct run {
	uint64_t rows;
	uint64_t first_batch, last_batch; /* positions */
	uint64_t first_time, last_time;   /* log time */
};

struct row {
	uint64_t log_time;
	uint32_t topic, reserved;
};

struct alm_index {
	const struct alm_host *host;
	struct lmenv env;
	struct meta m;
	struct run *runs; /* runs[i]: run m.first_run + i */
	uint32_t n_runs, cap_runs;
	uint32_t changed, reserved;
	uint64_t run_rows, synced, lost;
};

static const struct alm_setting settings[] = {
    {.name = "map_size",
	.def = "64g",
	.doc = "address space of the index; it grows by itself, the file takes only what it needs",
	.min = 1 << 20,
	.max = (int64_t)1 << 46,
	.type = ALM_SET_SIZE,
	.scope = ALM_SCOPE_BOOT},
    {.name = "run_rows",
	.def = "262144",
	.doc = "rows in one run: more means faster look-ups, fewer means less memory",
	.min = 16,
	.max = 1 << 24,
	.type = ALM_SET_INT,
	.scope = ALM_SCOPE_BOOT},
};

/* ---- keys and runs ---- */

static void
key_row(uint8_t out[ROW_KEY], uint32_t run, uint64_t hash, uint64_t position)
{
	run = __builtin_bswap32(run);
	hash = __builtin_bswap64(hash);
	position = __builtin_bswap64(position);
	out[0] = 'w';
	memcpy(out + 1, &run, sizeof run);
	memcpy(out + 5, &hash, sizeof hash);
	memcpy(out + 13, &position, sizeof position);
}

static void
key_run(uint8_t out[5], uint32_t run)
{
	run = __builtin_bswap32(run);
	out[0] = 'r';
	memcpy(out + 1, &run, sizeof run);
}

static uint64_t
key_position(const void *row_key)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)row_key + 13, sizeof v);
	return __builtin_bswap64(v);
}

static struct run *
cur(struct alm_index *x)
{
	return &x->runs[x->n_runs - 1];
}

static int
run_room(struct alm_index *x)
{
	uint32_t cap = x->n_runs + x->n_runs / 2 + 16;
	struct run *p;

	if (x->n_runs < x->cap_runs)
		return ALM_OK;
	p = realloc(x->runs, cap * sizeof *p);
	if (!p)
		return ALM_ENOMEM;
	x->runs = p;
	x->cap_runs = cap;
	return ALM_OK;
}

static int
run_write(struct alm_index *x)
{
	uint8_t key[5];

	key_run(key, x->m.cur_run);
	return lmenv_put_sealed(&x->env, key, sizeof key, cur(x), sizeof(struct run));
}

static int
run_push(struct alm_index *x)
{
	int status = run_room(x);

	if (!status && x->n_runs > 0)
		status = run_write(x); /* its last change */
	if (status)
		return status;
	if (x->n_runs > 0)
		x->m.cur_run++;
	else
		x->m.first_run = x->m.cur_run;
	memset(&x->runs[x->n_runs++], 0, sizeof *x->runs);
	return ALM_OK;
}

/* ---- load, save ---- */

static void
forget(struct alm_index *x)
{
	memset(&x->m, 0, sizeof x->m);
	x->m.format = FORMAT;
	x->n_runs = 0;
	x->changed = 0;
}

static int
load(struct alm_index *x)
{
	uint8_t key[5];
	int status;

	forget(x);
	x->lost = x->env.lost;
	x->env.why[0] = 0;
	x->synced = 0;
	status = lmenv_get_sealed(&x->env, "m", 1, &x->m, sizeof x->m);
	if (status == ALM_ENOTFOUND)
		return run_push(x);
	if (status)
		return status;
	if (x->m.format != FORMAT)
		return ALM_EVERSION;
	x->synced = x->m.applied;
	for (uint32_t run = x->m.first_run;; run++) {
		if ((status = run_room(x)))
			return status;
		key_run(key, run);
		status = lmenv_get_sealed(&x->env, key, sizeof key, &x->runs[x->n_runs], sizeof *x->runs);
		if (status)
			return status == ALM_ENOTFOUND ? ALM_ECORRUPT : status;
		x->n_runs++;
		if (run == x->m.cur_run)
			return ALM_OK;
	}
}

static int
save(struct alm_index *x)
{
	int status = run_write(x);

	return status ? status : lmenv_put_sealed(&x->env, "m", 1, &x->m, sizeof x->m);
}

/* End of an operation that failed: report, load again what the transaction took along. */
static int
failed(struct alm_index *x, int status)
{
	int again;

	x->host->fail(x->host, status, "key index: %s",
	    x->env.why[0] ? x->env.why : "damaged or out of memory");
	if (x->env.lost != x->lost && (again = load(x)))
		return again;
	return status;
}

static void
index_close(struct alm_index *x)
{
	if (x->env.env && x->changed && save(x) == ALM_OK)
		(void)lmenv_commit(&x->env);
	lmenv_close(&x->env);
	free(x->runs);
	x->host->free(x->host, x);
}

static int
index_open(const struct alm_host *host, const char *dir, struct alm_index **out)
{
	struct alm_index *x = host->alloc(host, sizeof *x);
	int status;

	if (!x)
		return host->fail(host, ALM_ENOMEM, "key index: out of memory");
	x->host = host;
	x->run_rows = (uint64_t)host->setting_int(host, "run_rows");
	status = lmenv_open(&x->env, dir, (uint64_t)host->setting_int(host, "map_size"));
	x->env.crc32c = host->crc32c;
	if (!status)
		status = load(x);
	if (status) {
		host->fail(host, status, "key index in %s: %s", dir,
		    x->env.why[0] ? x->env.why : "contents are damaged or of another version");
		x->changed = 0;
		index_close(x);
		return status;
	}
	*out = x;
	return ALM_OK;
}

static uint64_t
index_applied(struct alm_index *x)
{
	return x->m.applied;
}

static uint64_t
index_synced(struct alm_index *x)
{
	return x->synced;
}

/* ---- release ---- */

static int
sweep(struct alm_index *x, uint64_t budget)
{
	uint8_t from[ROW_KEY], to[ROW_KEY], key[5];
	uint64_t done;
	int status;

	while (budget > 0 && x->n_runs > 1 && x->runs[0].last_batch < x->m.released) {
		key_row(from, x->m.first_run, 0, 0);
		key_row(to, x->m.first_run + 1, 0, 0);
		status = lmenv_del_range(&x->env, from, sizeof from, to, sizeof to, budget, &done);
		if (status)
			return status;
		x->changed = 1;
		if (done == budget)
			break;
		budget -= done;
		key_run(key, x->m.first_run);
		if ((status = lmenv_del(&x->env, key, sizeof key)))
			return status;
		memmove(x->runs, x->runs + 1, --x->n_runs * sizeof *x->runs);
		x->m.first_run++;
	}
	return ALM_OK;
}

static int
index_release(struct alm_index *x, uint64_t position)
{
	int status;

	if (position <= x->m.released)
		return ALM_OK;
	x->m.released = position;
	x->changed = 1;
	status = sweep(x, 4096);
	return status ? failed(x, status) : ALM_OK;
}

/* ---- apply ---- */

static int
apply_keys(struct alm_index *x, MDB_cursor *c, const struct alm_batch *b,
    const struct alm_record *r, uint64_t position)
{
	struct {
		struct row row;
		uint8_t seal[LMENV_SEAL];
	} row = {{b->log_time, r->topic, 0}, {0}};
	uint8_t key[ROW_KEY];
	MDB_val k = {sizeof key, key}, v = {sizeof row.row + LMENV_SEAL, &row};
	uint32_t at = 0, type;
	struct alm_slice val;
	int status = ALM_OK;

	while (!status && alm_record_attr(r, &at, &type, &val)) {
		if (type != ALM_ATTR_KEY)
			continue;
		key_row(key, x->m.cur_run, x->host->hash64(val.data, val.len), position);
		lmenv_seal(&x->env, key, sizeof key, &row, sizeof row.row);
		status = lmenv_status(&x->env, mdb_cursor_put(c, &k, &v, 0), "row");
		x->env.dirty++;
		cur(x)->rows++;
	}
	return status;
}

static int
apply_records(struct alm_index *x, const struct alm_batch *b)
{
	uint32_t at = sizeof *b, begin = at;
	const struct alm_record *r;
	MDB_cursor *c;
	int status = lmenv_begin(&x->env);

	if (status ||
	    (status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &c), "cursor")))
		return status;
	for (; !status && (r = alm_batch_next(b, &at)) != NULL; begin = at)
		if (r->attrs_len > 0 && (r->kind == ALM_REC_MESSAGE || r->kind == ALM_REC_REF))
			status = apply_keys(x, c, b, r, b->position + begin);
	if (x->env.txn) /* an error that ended it has freed the cursor too */
		mdb_cursor_close(c);
	return !status && at < b->dir_offset ? ALM_ECORRUPT : status;
}

static int
apply_run(struct alm_index *x, const struct alm_batch *b)
{
	int status;

	if (cur(x)->rows >= x->run_rows && (status = run_push(x)))
		return status;
	if (cur(x)->rows == 0) {
		cur(x)->first_batch = b->position;
		cur(x)->first_time = b->log_time;
	}
	cur(x)->last_batch = b->position;
	cur(x)->last_time = b->log_time;
	return ALM_OK;
}

static int
index_apply(struct alm_index *x, const struct alm_batch *b)
{
	int status = ALM_OK;

	if (b->position < x->m.applied)
		return x->host->fail(x->host, ALM_EINVAL,
		    "key index: batch at %llu is before %llu, which is applied",
		    (unsigned long long)b->position, (unsigned long long)x->m.applied);
	if (b->position > x->m.applied && b->position > x->m.released)
		x->m.released = b->position; /* the log begins here */
	if (b->dir_count > 0) {
		uint64_t rows;
		status = apply_run(x, b);
		rows = cur(x)->rows;
		if (!status)
			status = apply_records(x, b);
		if (!status) /* retention must not fall behind */
			status = sweep(x, 16 + 2 * (cur(x)->rows - rows));
	}
	if (status) {
		/* The batch is half applied; only a reload makes that undone. */
		lmenv_abort(&x->env);
		x->env.lost++;
		return failed(x, status);
	}
	x->m.applied = b->position + b->length;
	x->changed = 1;
	return ALM_OK;
}

static int
index_sync(struct alm_index *x)
{
	int status = sweep(x, 4096);

	if (!status && !x->changed) {
		status = lmenv_trim(&x->env);
		return status ? failed(x, status) : ALM_OK;
	}
	if (!status)
		status = save(x);
	if (!status)
		status = lmenv_commit(&x->env);
	if (status)
		return failed(x, status);
	x->synced = x->m.applied;
	x->changed = 0;
	return ALM_OK;
}

/* ---- revert ---- */

/* Delete the rows of the newest run at or after position; the run then holds the rest. */
static int
revert_run(struct alm_index *x, uint64_t position)
{
	uint8_t from[ROW_KEY];
	MDB_val k = {sizeof from, from}, v;
	MDB_cursor *c;
	struct row row;
	int rc, status = lmenv_begin(&x->env);

	if (status ||
	    (status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &c), "cursor")))
		return status;
	cur(x)->rows = cur(x)->last_batch = cur(x)->last_time = 0;
	key_row(from, x->m.cur_run, 0, 0);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	while (rc == 0 && k.mv_size == ROW_KEY && memcmp(k.mv_data, from, 5) == 0) {
		uint64_t at = key_position(k.mv_data);
		if ((status = lmenv_unseal(&x->env, &k, &v, &row, sizeof row)))
			break;
		if (at >= position) {
			if ((rc = mdb_cursor_del(c, 0)) != 0)
				break;
		} else {
			cur(x)->rows++;
			if (at > cur(x)->last_batch) /* of a row in it, which is as good */
				cur(x)->last_batch = at;
			if (row.log_time > cur(x)->last_time)
				cur(x)->last_time = row.log_time;
		}
		rc = mdb_cursor_get(c, &k, &v, MDB_NEXT);
	}
	mdb_cursor_close(c);
	if (status)
		return status;
	return rc == MDB_NOTFOUND ? ALM_OK : lmenv_status(&x->env, rc, "revert");
}

static int
wipe(struct alm_index *x)
{
	int status = lmenv_clear(&x->env);

	if (status)
		return status;
	forget(x);
	x->changed = 1;
	return run_push(x);
}

static int
index_revert(struct alm_index *x, uint64_t position)
{
	uint8_t key[5];
	int status;

	if (position >= x->m.applied)
		return ALM_OK;
	if (position < x->m.released || position == 0) {
		status = wipe(x);
		return status ? failed(x, status) : ALM_OK;
	}
	while ((status = revert_run(x, position)) == ALM_OK && x->n_runs > 1 && cur(x)->rows == 0) {
		key_run(key, x->m.cur_run);
		if ((status = lmenv_del(&x->env, key, sizeof key)))
			break;
		x->n_runs--;
		x->m.cur_run--;
	}
	if (status)
		return failed(x, status);
	if (cur(x)->rows == 0)
		memset(cur(x), 0, sizeof(struct run));
	x->m.applied = position;
	x->changed = 1;
	return ALM_OK;
}

/* ---- query ---- */

struct ask {
	struct alm_q_key q;
	uint64_t hash;
	uint8_t *out;
	uint64_t len, cap; /* bytes */
};

/* Add the run's positions, newest first. 1: enough; 0: go on; or an error. */
static int
ask_run(struct alm_index *x, MDB_cursor *c, uint32_t run, struct ask *a)
{
	uint8_t key[ROW_KEY];
	MDB_val k = {sizeof key, key}, v;
	struct row row;
	uint64_t at;
	int rc;

	/* One past the last row of this hash, then backwards. */
	key_row(key, run, a->hash, UINT64_MAX);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return lmenv_status(&x->env, rc, "seek");
	while ((rc = mdb_cursor_get(c, &k, &v, MDB_PREV)) == 0) {
		if (k.mv_size != ROW_KEY || memcmp(k.mv_data, key, ROW_KEY - 8) != 0)
			return 0;
		if (lmenv_unseal(&x->env, &k, &v, &row, sizeof row))
			return ALM_ECORRUPT;
		at = key_position(k.mv_data);
		if (at < x->m.released || row.log_time < a->q.since)
			return 1; /* all that follows is older still */
		if ((a->q.topic && a->q.topic != row.topic) ||
		    (a->q.until && row.log_time > a->q.until))
			continue;
		if (a->len / sizeof at == a->q.limit || a->cap - a->len < sizeof at)
			return 1;
		memcpy(a->out + a->len, &at, sizeof at);
		a->len += sizeof at;
	}
	return rc == MDB_NOTFOUND ? 0 : lmenv_status(&x->env, rc, "previous");
}

static int64_t
index_query(struct alm_index *x, uint32_t what, const void *in, uint32_t in_len, void *out,
    uint32_t cap)
{
	struct ask a = {.out = out, .cap = cap};
	MDB_cursor *c;
	int status, got = 0;

	if (what != ALM_Q_KEY)
		return ALM_ENOTSUP;
	if (in_len < sizeof a.q)
		return ALM_EINVAL;
	memcpy(&a.q, in, sizeof a.q);
	if (a.q.key_len != in_len - sizeof a.q || a.q.key_len > KEY_MAX)
		return ALM_EINVAL;
	a.hash = x->host->hash64((const uint8_t *)in + sizeof a.q, a.q.key_len);
	if ((status = lmenv_begin(&x->env)) ||
	    (status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &c), "cursor")))
		return failed(x, status);
	for (uint32_t i = x->n_runs; i-- > 0 && got == 0;) {
		const struct run *r = &x->runs[i];
		if (r->rows == 0 || (a.q.until && r->first_time > a.q.until))
			continue;
		/* A run's last_batch may be a record of that batch after a revert, never less. */
		if (r->last_batch < x->m.released || r->last_time < a.q.since)
			break;
		got = ask_run(x, c, x->m.first_run + i, &a);
	}
	if (x->env.txn)
		mdb_cursor_close(c);
	return got < 0 ? failed(x, got) : (int64_t)a.len;
}

/* ---- verify ---- */

static int
verify_key(struct alm_index *x, const struct alm_record *r, uint64_t position, struct alm_slice val)
{
	uint8_t key[ROW_KEY];
	struct row row;

	for (uint32_t i = 0; i < x->n_runs; i++) {
		key_row(key, x->m.first_run + i, x->host->hash64(val.data, val.len), position);
		if (lmenv_get_sealed(&x->env, key, sizeof key, &row, sizeof row) == ALM_OK &&
		    row.topic == r->topic)
			return ALM_OK;
	}
	x->host->log(x->host, ALM_LOG_ERROR, "key index: no row for the message at %llu",
	    (unsigned long long)position);
	return ALM_ECORRUPT;
}

static int
index_verify(struct alm_index *x, const struct alm_batch *b)
{
	uint32_t at = sizeof *b, begin = at, attr, type;
	const struct alm_record *r;
	struct alm_slice val;
	int status = ALM_OK, one;

	if (b->position < x->m.released || b->position >= x->m.applied)
		return ALM_OK;
	for (; (r = alm_batch_next(b, &at)) != NULL; begin = at) {
		if (r->kind != ALM_REC_MESSAGE && r->kind != ALM_REC_REF)
			continue;
		for (attr = 0; alm_record_attr(r, &attr, &type, &val);)
			if (type == ALM_ATTR_KEY &&
			    (one = verify_key(x, r, b->position + begin, val)))
				status = one;
	}
	return status;
}

/* ---- manifest ---- */

static const struct alm_indexer_ops_v0 ops = {
    .open = index_open,
    .close = index_close,
    .applied = index_applied,
    .synced = index_synced,
    .apply = index_apply,
    .sync = index_sync,
    .revert = index_revert,
    .release = index_release,
    .query = index_query,
    .verify = index_verify,
};

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = ALM_KIND_INDEXER,
    .major = ALM_INDEXER_MAJOR,
    .minor_built = ALM_INDEXER_MINOR,
    .minor_needed = ALM_INDEXER_MINOR,
    .ops_size = sizeof ops,
    .name = "key",
    .doc = "finds messages by key",
    .ops = &ops,
    .settings = settings,
    .n_settings = sizeof settings / sizeof settings[0],
}};

ALM_MODULE("indexer_key", "0.1.0", providers)
ALM_MODULE_NOTE(ALM_KIND_INDEXER, ALM_INDEXER_MAJOR, ALM_INDEXER_MINOR, ALM_INDEXER_MINOR);
