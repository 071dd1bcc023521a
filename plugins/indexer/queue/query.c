/* plugins/indexer/queue/query.c - answers of the queue index.  Indexer process, one thread, reads
 * the open write transaction.
 *
 * A queue's rows may lie in any run between its first and last one.  The run is found by
 * bisection over the runs (a run without rows of the queue is stepped over), the row within the
 * run by bisection over offsets, since everything in a row rises with the offset. */
#include "queue.h"

#include <string.h>

/* A queue's rows, walked with one cursor. */
struct walk {
	struct alm_index *x;
	MDB_cursor *c;
	uint32_t topic, queue;
	uint32_t lo, hi;   /* runs that may hold visible rows */
	uint32_t run;      /* of the present row */
	uint32_t reserved;
	struct alm_q_row row;
};

/* Take over the row under the cursor. 1, or 0 if it is of another queue or run, or an error. */
static int
walk_take(struct walk *w, uint32_t run, const MDB_val *k, const MDB_val *v)
{
	uint8_t want[ROW_KEY];
	struct row r;

	key_row(want, run, w->topic, w->queue, 0);
	if (k->mv_size != ROW_KEY || memcmp(k->mv_data, want, ROW_KEY - 8) != 0)
		return 0;
	if (lmenv_unseal(&w->x->env, k, v, &r, sizeof r))
		return ALM_ECORRUPT;
	w->run = run;
	w->row = (struct alm_q_row){.first_offset = key_offset(k->mv_data), .batch = r.batch,
	    .log_time = r.log_time, .first_byte = r.first_byte, .end_byte = r.end_byte,
	    .count = r.count};
	return 1;
}

/* First row of the run with first_offset >= offset: 1, 0 if none, or an error. */
static int
walk_from(struct walk *w, uint32_t run, uint64_t offset)
{
	uint8_t key[ROW_KEY];
	MDB_val k = {sizeof key, key}, v;
	int rc;

	key_row(key, run, w->topic, w->queue, offset);
	rc = mdb_cursor_get(w->c, &k, &v, MDB_SET_RANGE);
	if (rc == MDB_NOTFOUND)
		return 0;
	return rc ? lmenv_status(&w->x->env, rc, "seek") : walk_take(w, run, &k, &v);
}

/* Last row of the run with first_offset <= offset: 1, 0 if none, or an error. */
static int
walk_upto(struct walk *w, uint32_t run, uint64_t offset)
{
	MDB_val k, v;
	int rc, got = walk_from(w, run, offset);

	if (got < 0 || (got == 1 && w->row.first_offset == offset))
		return got;
	/* The cursor stands on the next greater key of any kind, or past the last one. */
	rc = mdb_cursor_get(w->c, &k, &v, MDB_PREV);
	if (rc == MDB_NOTFOUND)
		return 0;
	return rc ? lmenv_status(&w->x->env, rc, "seek") : walk_take(w, run, &k, &v);
}

/* First row in the runs run .. hi: 1, 0 if there is none, or an error. */
static int
walk_first(struct walk *w, uint32_t run, uint32_t hi)
{
	int got = 0;

	for (; got == 0 && run - w->lo <= hi - w->lo; run++)
		got = walk_from(w, run, 0);
	return got;
}

/* Next row of the queue, in this run or a later one: 1, 0 at the end, or an error. */
static int
walk_next(struct walk *w)
{
	MDB_val k, v;
	int rc = mdb_cursor_get(w->c, &k, &v, MDB_NEXT), got;

	if (rc && rc != MDB_NOTFOUND)
		return lmenv_status(&w->x->env, rc, "next");
	got = rc ? 0 : walk_take(w, w->run, &k, &v);
	return got ? got : walk_first(w, w->run + 1, w->hi);
}

#define BY_BATCH 0
#define BY_TIME 1

static uint64_t
row_at(const struct alm_q_row *row, int by)
{
	return by == BY_BATCH ? row->batch : row->log_time;
}

/* First row of the run whose batch position or log time is >= at: 1, 0 if none, or an error. */
static int
run_search(struct walk *w, uint32_t run, int by, uint64_t at)
{
	uint64_t lo, hi, mid;
	int got = walk_from(w, run, 0);

	if (got <= 0 || row_at(&w->row, by) >= at)
		return got;
	lo = w->row.first_offset; /* of a row that is too early */
	if ((got = walk_upto(w, run, UINT64_MAX)) <= 0)
		return got;
	if (row_at(&w->row, by) < at)
		return 0;
	hi = w->row.first_offset; /* of a row that will do */
	while (hi > lo) {
		mid = lo + (hi - lo) / 2;
		if ((got = walk_upto(w, run, mid)) <= 0)
			break;
		if (row_at(&w->row, by) >= at) {
			hi = w->row.first_offset;
			continue;
		}
		if ((got = walk_from(w, run, mid + 1)) <= 0)
			break;
		if (row_at(&w->row, by) >= at)
			return 1; /* and the row before it is too early */
		lo = w->row.first_offset;
	}
	return got < 0 ? got : ALM_ECORRUPT; /* rows out of order */
}

/* First row of the queue with position or time >= at, in run or later. */
static int
walk_search(struct walk *w, uint32_t run, int by, uint64_t at)
{
	int got = 0;

	for (; got == 0 && run - w->lo <= w->hi - w->lo; run++) {
		const struct run *r = run_at(w->x, run);
		if (r && (by == BY_BATCH ? r->last_batch : r->last_time) >= at)
			got = run_search(w, run, by, at);
	}
	return got;
}

/* Set up: ALM_ENOTFOUND if the queue is not known, else the runs where visible rows may be. */
static int
walk_open(struct walk *w, struct alm_index *x, uint32_t topic, uint32_t queue, struct cached **q)
{
	uint8_t key[5];
	MDB_val v;
	uint32_t oldest;
	int status;

	memset(w, 0, sizeof *w);
	if (x->m.n_dead > 0) {
		key_dead(key, topic);
		status = lmenv_get(&x->env, key, sizeof key, &v);
		if (status != ALM_ENOTFOUND)
			return status ? status : ALM_ENOTFOUND;
	}
	if ((status = queue_get(x, topic, queue, 0, q)) || (status = lmenv_begin(&x->env)))
		return status;
	status = lmenv_status(&x->env, mdb_cursor_open(x->env.txn, x->env.dbi, &w->c), "cursor");
	if (status)
		return status;
	w->x = x;
	w->topic = topic;
	w->queue = queue;
	for (oldest = x->m.first_run; oldest != x->m.cur_run; oldest++)
		if (run_at(x, oldest)->last_batch >= x->m.released)
			break;
	w->lo = (*q)->q.first_run - x->m.first_run < x->n_runs ? (*q)->q.first_run : oldest;
	if (w->lo - x->m.first_run < oldest - x->m.first_run)
		w->lo = oldest;
	w->hi = (*q)->q.last_run - w->lo < x->n_runs ? (*q)->q.last_run : x->m.cur_run;
	return ALM_OK;
}

static void
walk_close(struct walk *w)
{
	if (w->c && w->x->env.txn)
		mdb_cursor_close(w->c);
}

/* Stand on the first visible row: 1, 0 if there is none, or an error. */
static int
walk_begin(struct walk *w, struct cached *q)
{
	int got = walk_search(w, w->lo, BY_BATCH, w->x->m.released);

	if (got == 1)
		q->q.first_run = w->run; /* a hint; the next walk begins here */
	/* Nothing was ever released: then all rows must be there. */
	if (w->x->m.released == 0 && got >= 0 && q->q.end > q->q.first &&
	    (got == 0 || w->row.first_offset != q->q.first))
		return ALM_ECORRUPT;
	return got;
}

/* Stand on the row that holds the offset, at or after the present row's run. */
static int
walk_offset(struct walk *w, uint64_t offset)
{
	uint32_t lo = w->run, hi = w->hi, mid;
	int got;

	while (lo != hi) {
		mid = lo + (hi - lo) / 2 + 1;
		if ((got = walk_first(w, mid, hi)) < 0)
			return got;
		if (got == 1 && w->row.first_offset <= offset)
			lo = w->run;
		else
			hi = mid - 1;
	}
	got = walk_upto(w, lo, offset);
	/* Between the first visible row and the end of the queue there is no gap. */
	if (got >= 0 && (got == 0 || offset - w->row.first_offset >= w->row.count))
		return ALM_ECORRUPT;
	return got;
}

static int64_t
answer_offset(struct walk *w, struct cached *q, uint64_t offset, void *out, uint32_t cap)
{
	uint64_t next;
	int64_t len = 0;
	int got;

	if (offset >= q->q.end || cap < sizeof w->row)
		return offset >= q->q.end ? ALM_EOFFSET : ALM_ETOOBIG;
	if ((got = walk_begin(w, q)) <= 0)
		return got ? got : ALM_EOFFSET;
	if (offset < w->row.first_offset)
		return ALM_EOFFSET;
	got = walk_offset(w, offset);
	while (got == 1) {
		memcpy((char *)out + len, &w->row, sizeof w->row);
		len += (int64_t)sizeof w->row;
		next = w->row.first_offset + w->row.count;
		if ((uint64_t)len + sizeof w->row > cap)
			return len;
		got = walk_next(w);
		if (got >= 0 && (got == 0 ? next != q->q.end : next != w->row.first_offset))
			return ALM_ECORRUPT; /* a row is missing */
	}
	return got < 0 ? got : len;
}

static int64_t
answer_time(struct walk *w, struct cached *q, uint64_t time, void *out, uint32_t cap)
{
	int got;

	if (cap < sizeof w->row)
		return ALM_ETOOBIG;
	if ((got = walk_begin(w, q)) <= 0)
		return got;
	if (w->row.log_time < time && (got = walk_search(w, w->run, BY_TIME, time)) <= 0)
		return got;
	memcpy(out, &w->row, sizeof w->row);
	return (int64_t)sizeof w->row;
}

static int64_t
answer_bounds(struct walk *w, struct cached *q, void *out, uint32_t cap)
{
	struct alm_q_bounds b = {0, 0};
	int got = 0;

	if (cap < sizeof b)
		return ALM_ETOOBIG;
	if (q) {
		if ((got = walk_begin(w, q)) < 0)
			return got;
		b.end = q->q.end;
		b.begin = got == 1 ? w->row.first_offset : b.end;
	}
	memcpy(out, &b, sizeof b);
	return (int64_t)sizeof b;
}

int64_t
index_query(struct alm_index *x, uint32_t what, const void *in, uint32_t in_len, void *out,
    uint32_t cap)
{
	struct alm_q_offset q = {0, 0, 0};
	struct cached *rec = NULL;
	struct walk w;
	int64_t len;
	int status;

	if (what != ALM_Q_OFFSET && what != ALM_Q_TIME && what != ALM_Q_BOUNDS)
		return ALM_ENOTSUP;
	/* struct alm_q_time has the same layout, struct alm_q_queue is its beginning. */
	if (in_len != (what == ALM_Q_BOUNDS ? sizeof(struct alm_q_queue) : sizeof q))
		return ALM_EINVAL;
	memcpy(&q, in, in_len);
	status = walk_open(&w, x, q.topic, q.queue, &rec);
	if (status == ALM_ENOTFOUND) {
		if (what == ALM_Q_BOUNDS)
			return answer_bounds(&w, NULL, out, cap);
		return what == ALM_Q_TIME ? 0 : ALM_EOFFSET;
	}
	if (status)
		return store_done(x, status);
	if (what == ALM_Q_OFFSET)
		len = answer_offset(&w, rec, q.offset, out, cap);
	else if (what == ALM_Q_TIME)
		len = answer_time(&w, rec, q.offset, out, cap);
	else
		len = answer_bounds(&w, rec, out, cap);
	walk_close(&w);
	return len < 0 && len != ALM_ETOOBIG ? store_done(x, (int)len) : len;
}
