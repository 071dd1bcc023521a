/* plugins/indexer/queue/queue.c - the queue index: where in the log the messages of a queue are.
 * See queue.h for the layout.  Indexer process, one thread; blocks on the disk in sync only. */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

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
	.doc = "rows in one run: more means fewer look-ups for a seek, fewer means less memory",
	.min = 16,
	.max = 1 << 24,
	.type = ALM_SET_INT,
	.scope = ALM_SCOPE_BOOT},
};

static void
index_close(struct alm_index *x)
{
	if (x->env.env && x->changed && store_save(x) == ALM_OK)
		(void)lmenv_commit(&x->env);
	lmenv_close(&x->env);
	free(x->runs);
	free(x->order);
	x->host->free(x->host, x->cache);
	x->host->free(x->host, x);
}

static int
index_open(const struct alm_host *host, const char *dir, struct alm_index **out)
{
	struct alm_index *x = host->alloc(host, sizeof *x);
	int status;

	if (!x)
		return host->fail(host, ALM_ENOMEM, "queue index: out of memory");
	x->host = host;
	x->run_rows = (uint64_t)host->setting_int(host, "run_rows");
	x->cache = host->alloc(host, sizeof *x->cache * CACHE_SETS * CACHE_WAYS);
	if (!x->cache) {
		host->free(host, x);
		return host->fail(host, ALM_ENOMEM, "queue index: out of memory");
	}
	status = lmenv_open(&x->env, dir, (uint64_t)host->setting_int(host, "map_size"));
	x->env.crc32c = host->crc32c;
	if (!status)
		status = store_load(x);
	if (status) {
		host->fail(host, status, "queue index in %s: %s", dir,
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

/* ---- apply ---- */

static const struct alm_dir *sort_dir; /* of the batch being sorted; one thread */

static int
dir_cmp(const struct alm_dir *a, const struct alm_dir *b)
{
	if (a->topic != b->topic)
		return a->topic < b->topic ? -1 : 1;
	return (a->queue > b->queue) - (a->queue < b->queue);
}

static int
order_cmp(const void *a, const void *b)
{
	return dir_cmp(&sort_dir[*(const uint32_t *)a], &sort_dir[*(const uint32_t *)b]);
}

/* x->order: entries by queue, so that neighbours share pages. */
static int
order_dir(struct alm_index *x, const struct alm_dir *dir, uint32_t n)
{
	int sorted = 1;

	if (n > x->order_cap) {
		uint32_t *p = realloc(x->order, (n + n / 2) * sizeof *p);
		if (!p)
			return ALM_ENOMEM;
		x->order = p;
		x->order_cap = n + n / 2;
	}
	for (uint32_t i = 0; i < n; i++) {
		x->order[i] = i;
		if (i > 0 && dir_cmp(&dir[i - 1], &dir[i]) >= 0)
			sorted = 0;
	}
	sort_dir = dir;
	if (!sorted)
		qsort(x->order, n, sizeof *x->order, order_cmp);
	return ALM_OK;
}

/* One row and its queue's record. */
static int
apply_row(struct alm_index *x, MDB_cursor *c, const struct alm_batch *b, const struct alm_dir *d)
{
	struct {
		struct row row;
		uint8_t seal[LMENV_SEAL];
	} val = {{b->position, b->log_time, d->first_byte, d->end_byte, d->count, 0}, {0}};
	uint8_t key[ROW_KEY];
	MDB_val k = {sizeof key, key}, v = {sizeof val.row + LMENV_SEAL, &val};
	struct cached *q;
	int status;

	if (d->count == 0 || d->first_byte < sizeof *b || d->end_byte <= d->first_byte ||
	    d->end_byte > b->dir_offset || d->first_offset > UINT64_MAX - d->count)
		return ALM_ECORRUPT;
	if ((status = queue_get(x, d->topic, d->queue, 1, &q)))
		return status;
	if (d->first_offset < q->q.end)
		return ALM_ECORRUPT;
	if (q->q.end == 0)
		q->q.first = d->first_offset;
	q->q.end = d->first_offset + d->count;
	q->q.last_run = x->m.cur_run;
	if (q->q.first_run - x->m.first_run >= x->n_runs)
		q->q.first_run = x->m.first_run;
	x->n_dirty += !q->dirty;
	q->dirty = 1;
	key_row(key, x->m.cur_run, d->topic, d->queue, d->first_offset);
	lmenv_seal(&x->env, key, sizeof key, &val, sizeof val.row);
	x->env.dirty++;
	return lmenv_status(&x->env, mdb_cursor_put(c, &k, &v, 0), "row");
}

static int
apply_rows(struct alm_index *x, const struct alm_batch *b)
{
	const struct alm_dir *dir = alm_batch_dir(b);
	MDB_cursor *c;
	int status = order_dir(x, dir, b->dir_count);

	if (status || (status = lmenv_begin(&x->env)) ||
	    (status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &c), "cursor")))
		return status;
	for (uint32_t i = 0; !status && i < b->dir_count; i++)
		status = apply_row(x, c, b, &dir[x->order[i]]);
	if (x->env.txn) /* an error that ended it has freed the cursor too */
		mdb_cursor_close(c);
	return status;
}

/* The newest run, or a new one if that is full, with this batch's place and time. */
static int
apply_run(struct alm_index *x, const struct alm_batch *b)
{
	struct run *r = run_at(x, x->m.cur_run);
	int status;

	if (r->rows >= x->run_rows) {
		if ((status = run_push(x)))
			return status;
		r = run_at(x, x->m.cur_run);
	}
	if (r->rows == 0) {
		r->first_batch = b->position;
		r->first_time = b->log_time;
	}
	r->rows += b->dir_count;
	r->last_batch = b->position;
	r->last_time = b->log_time;
	return ALM_OK;
}

static int
index_apply(struct alm_index *x, const struct alm_batch *b)
{
	int status = ALM_OK;

	if (b->position < x->m.applied)
		return x->host->fail(x->host, ALM_EINVAL,
		    "queue index: batch at %llu is before %llu, which is applied",
		    (unsigned long long)b->position, (unsigned long long)x->m.applied);
	if (b->position > x->m.applied && b->position > x->m.released)
		x->m.released = b->position; /* the log begins here */
	if (b->dir_count > 0) {
		status = apply_run(x, b);
		if (!status)
			status = apply_rows(x, b);
		/* Retention must not fall behind: twice as much as comes in may go. */
		if (!status)
			status = index_sweep(x, 16 + 2 * (uint64_t)b->dir_count);
	}
	if (status) {
		/* The batch is half applied; only a reload makes that undone. */
		lmenv_abort(&x->env);
		x->env.lost++;
		return store_done(x, status);
	}
	x->m.applied = b->position + b->length;
	x->changed = 1;
	return ALM_OK;
}

static int
index_sync(struct alm_index *x)
{
	int status = index_sweep(x, 4096);

	if (!status && !x->changed) {
		status = lmenv_trim(&x->env);
		return status ? store_done(x, status) : ALM_OK;
	}
	if (!status)
		status = store_save(x);
	if (!status)
		status = lmenv_commit(&x->env);
	if (status)
		return store_done(x, status);
	x->synced = x->m.applied;
	x->changed = 0;
	return ALM_OK;
}

/* ---- verify ---- */

static int
verify_row(struct alm_index *x, const struct alm_batch *b, const struct alm_dir *d)
{
	struct alm_q_offset q = {d->topic, d->queue, d->first_offset};
	struct alm_q_row row;
	struct cached *known;
	int64_t len = index_query(x, ALM_Q_OFFSET, &q, sizeof q, &row, sizeof row);

	if (len < 0 && b->position < x->m.swept &&
	    queue_get(x, d->topic, d->queue, 0, &known) == ALM_ENOTFOUND)
		return ALM_OK; /* the topic was deleted later and all of it is swept */
	if (len == (int64_t)sizeof row && row.batch == b->position &&
	    row.first_offset == d->first_offset && row.count == d->count &&
	    row.first_byte == d->first_byte && row.end_byte == d->end_byte &&
	    row.log_time == b->log_time)
		return ALM_OK;
	x->host->log(x->host, ALM_LOG_ERROR,
	    "queue index: topic %u queue %u offset %llu: row for the batch at %llu is %s", d->topic,
	    d->queue, (unsigned long long)d->first_offset, (unsigned long long)b->position,
	    len < 0 ? "missing" : "wrong");
	return ALM_ECORRUPT;
}

static int
index_verify(struct alm_index *x, const struct alm_batch *b)
{
	const struct alm_dir *dir = alm_batch_dir(b);
	uint8_t key[5];
	MDB_val v;
	int status = ALM_OK, one;

	if (b->position < x->m.released || b->position >= x->m.applied)
		return ALM_OK;
	for (uint32_t i = 0; i < b->dir_count; i++) {
		if (x->m.n_dead > 0) {
			key_dead(key, dir[i].topic);
			if (lmenv_get(&x->env, key, sizeof key, &v) == ALM_OK)
				continue;
		}
		if ((one = verify_row(x, b, &dir[i])))
			status = one;
	}
	return status;
}

static const struct alm_indexer_ops_v0 ops = {
    .open = index_open,
    .close = index_close,
    .applied = index_applied,
    .synced = index_synced,
    .apply = index_apply,
    .sync = index_sync,
    .revert = index_revert,
    .release = index_release,
    .drop_topic = index_drop_topic,
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
    .name = "queue",
    .doc = "finds messages by queue and offset or time",
    .ops = &ops,
    .settings = settings,
    .n_settings = sizeof settings / sizeof settings[0],
}};

ALM_MODULE("indexer_queue", "0.1.0", providers)
ALM_MODULE_NOTE(ALM_KIND_INDEXER, ALM_INDEXER_MAJOR, ALM_INDEXER_MINOR, ALM_INDEXER_MINOR);
