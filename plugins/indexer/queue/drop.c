/* plugins/indexer/queue/drop.c - what leaves the queue index: released and deleted rows, and a
 * tail that the log has lost.  Indexer process, one thread. */
#include "queue.h"

#include <string.h>

/* Delete up to *budget rows of the oldest run if all of it is released; *budget shrinks. */
static int
sweep_run(struct alm_index *x, uint64_t *budget)
{
	uint8_t from[ROW_KEY], to[ROW_KEY], key[5];
	uint64_t done;
	int status;

	while (*budget > 0 && x->n_runs > 1 && x->runs[0].last_batch < x->m.released) {
		key_row(from, x->m.first_run, 0, 0, 0);
		key_row(to, x->m.first_run + 1, 0, 0, 0);
		status = lmenv_del_range(&x->env, from, sizeof from, to, sizeof to, *budget, &done);
		if (status)
			return status;
		x->changed = 1;
		if (done == *budget) {
			*budget = 0;
			break;
		}
		*budget -= done + 1;
		key_run(key, x->m.first_run);
		if ((status = lmenv_del(&x->env, key, sizeof key)))
			return status;
		memmove(x->runs, x->runs + 1, --x->n_runs * sizeof *x->runs);
		x->m.first_run++;
	}
	return ALM_OK;
}

/* Forget cached records of a topic, or of all. */
static void
cache_drop(struct alm_index *x, uint32_t topic)
{
	for (uint32_t i = 0; x->stamp > 0 && i < CACHE_SETS * CACHE_WAYS; i++) {
		struct cached *c = &x->cache[i];
		if (!c->used || c->topic != topic)
			continue;
		x->n_dirty -= c->dirty;
		memset(c, 0, sizeof *c);
	}
}

/* Rows of one deleted topic, run by run, then its queue records, then the mark. */
static int
sweep_dead(struct alm_index *x, const uint8_t key[5], uint32_t topic, struct dead d,
    uint64_t *budget)
{
	uint8_t from[ROW_KEY], to[ROW_KEY];
	uint64_t done = 0;
	int status;

	if (d.next_run - x->m.first_run >= x->n_runs)
		d.next_run = x->m.first_run;
	if (x->m.swept < d.position)
		x->m.swept = d.position;
	x->changed = 1;
	for (; *budget > 0 && d.next_run - x->m.first_run < x->n_runs; d.next_run++) {
		key_row(from, d.next_run, topic, 0, 0);
		key_row(to, d.next_run, topic, UINT32_MAX, UINT64_MAX);
		status = lmenv_del_range(&x->env, from, sizeof from, to, sizeof to, *budget, &done);
		if (status)
			return status;
		if (done == *budget) {
			*budget = 0;
			break;
		}
		*budget -= done + 1;
	}
	if (*budget > 0) {
		cache_drop(x, topic);
		key_queue(from, topic, 0);
		key_queue(to, topic, UINT32_MAX);
		status = lmenv_del_range(&x->env, from, Q_KEY, to, Q_KEY, *budget, &done);
		if (status)
			return status;
		*budget -= done;
	}
	if (*budget == 0) /* more to do: remember where */
		return lmenv_put_sealed(&x->env, key, 5, &d, sizeof d);
	x->m.n_dead--;
	return lmenv_del(&x->env, key, 5);
}

/* The first deleted topic whose deletion is synced: after a crash the log after it is still
 * applied upon rows that are there. */
static int
sweep_topics(struct alm_index *x, uint64_t *budget)
{
	uint8_t key[5];
	uint32_t topic;
	struct dead d;
	MDB_cursor *c;
	MDB_val k = {1, (void *)(uintptr_t) "d"}, v;
	int rc, status;

	if (x->m.n_dead == 0 || *budget == 0)
		return ALM_OK;
	if ((status = lmenv_begin(&x->env)) ||
	    (status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &c), "cursor")))
		return status;
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && k.mv_size == sizeof key)
		memcpy(key, k.mv_data, sizeof key);
	status = rc == 0 ? lmenv_unseal(&x->env, &k, &v, &d, sizeof d) : ALM_ECORRUPT;
	mdb_cursor_close(c);
	if (rc || status || k.mv_size != sizeof key || key[0] != 'd')
		return rc && rc != MDB_NOTFOUND ? lmenv_status(&x->env, rc, "seek") : ALM_ECORRUPT;
	if (d.position > x->synced)
		return ALM_OK;
	memcpy(&topic, key + 1, sizeof topic);
	return sweep_dead(x, key, __builtin_bswap32(topic), d, budget);
}

int
index_sweep(struct alm_index *x, uint64_t budget)
{
	int status = sweep_run(x, &budget);

	return status ? status : sweep_topics(x, &budget);
}

int
index_release(struct alm_index *x, uint64_t position)
{
	if (position <= x->m.released)
		return ALM_OK;
	x->m.released = position;
	x->changed = 1;
	return store_done(x, index_sweep(x, 4096));
}

int
index_drop_topic(struct alm_index *x, uint32_t topic)
{
	struct dead d = {x->m.applied, x->m.first_run, 0};
	uint8_t key[5];
	MDB_val v;
	int status;

	key_dead(key, topic);
	status = lmenv_get(&x->env, key, sizeof key, &v);
	if (status != ALM_ENOTFOUND)
		return status ? store_done(x, status) : ALM_OK;
	if ((status = lmenv_put_sealed(&x->env, key, sizeof key, &d, sizeof d)))
		return store_done(x, status);
	x->m.n_dead++;
	x->changed = 1;
	return ALM_OK;
}

/* ---- revert ---- */

/* A row goes: its queue ends before it. */
static int
revert_queue(struct alm_index *x, const uint8_t *row_key)
{
	struct cached *q;
	uint32_t topic, queue;
	int status;

	memcpy(&topic, row_key + 5, sizeof topic);
	memcpy(&queue, row_key + 9, sizeof queue);
	status = queue_get(x, __builtin_bswap32(topic), __builtin_bswap32(queue), 0, &q);
	if (status)
		return status == ALM_ENOTFOUND ? ALM_ECORRUPT : status;
	if (q->q.end <= key_offset(row_key))
		return ALM_OK;
	q->q.end = key_offset(row_key);
	x->n_dirty += !q->dirty;
	q->dirty = 1;
	return ALM_OK;
}

/* The next row key of the run after key, into key; its batch and time. ALM_ENOTFOUND at the end. */
static int
next_row(struct alm_index *x, uint8_t key[ROW_KEY], struct row *row)
{
	MDB_val k = {ROW_KEY, key}, v;
	MDB_cursor *c;
	uint8_t run[5];
	int rc, status = lmenv_begin(&x->env);

	if (status ||
	    (status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &c), "cursor")))
		return status;
	memcpy(run, key, sizeof run);
	rc = mdb_cursor_get(c, &k, &v, MDB_SET_RANGE);
	if (rc == 0 && (k.mv_size != ROW_KEY || memcmp(run, k.mv_data, sizeof run) != 0))
		rc = MDB_NOTFOUND;
	status = rc == 0 ? lmenv_unseal(&x->env, &k, &v, row, sizeof *row) : ALM_OK;
	if (rc == 0)
		memcpy(key, k.mv_data, ROW_KEY);
	mdb_cursor_close(c);
	return status ? status : lmenv_status(&x->env, rc, "seek");
}

/* Delete the rows of the newest run that come from position or after it. */
static int
revert_run(struct alm_index *x, uint64_t position)
{
	struct run *r = run_at(x, x->m.cur_run);
	uint8_t key[ROW_KEY];
	struct row row;
	int status;

	r->rows = 0;
	r->last_batch = r->last_time = 0;
	key_row(key, x->m.cur_run, 0, 0, 0);
	while ((status = next_row(x, key, &row)) == ALM_OK) {
		if (row.batch >= position) {
			if ((status = revert_queue(x, key)) ||
			    (status = lmenv_del(&x->env, key, sizeof key)))
				return status;
		} else {
			r->rows++;
			r->last_batch = row.batch > r->last_batch ? row.batch : r->last_batch;
			r->last_time = row.log_time > r->last_time ? row.log_time : r->last_time;
		}
		/* The successor of this key in byte order; offsets stay below UINT64_MAX. */
		uint64_t next = __builtin_bswap64(key_offset(key) + 1);
		memcpy(key + 13, &next, sizeof next);
	}
	return status == ALM_ENOTFOUND ? ALM_OK : status;
}

int
index_revert(struct alm_index *x, uint64_t position)
{
	uint8_t key[5];
	int status;

	if (position >= x->m.applied)
		return ALM_OK;
	/* What a deleted topic or retention took away cannot be brought back: begin anew. */
	if (position < x->m.released || position < x->m.swept || position == 0)
		return store_done(x, store_wipe(x));
	while ((status = revert_run(x, position)) == ALM_OK && x->n_runs > 1 &&
	    run_at(x, x->m.cur_run)->rows == 0) {
		key_run(key, x->m.cur_run);
		if ((status = lmenv_del(&x->env, key, sizeof key)))
			break;
		x->n_runs--;
		x->m.cur_run--;
	}
	if (status)
		return store_done(x, status);
	if (run_at(x, x->m.cur_run)->rows == 0)
		memset(run_at(x, x->m.cur_run), 0, sizeof(struct run));
	x->m.applied = position;
	x->changed = 1;
	return ALM_OK;
}
