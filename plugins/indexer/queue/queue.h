/* plugins/indexer/queue/queue.h - inside the queue index.
 *
 * One LMDB environment for all queues.  Rows, one for each (queue, batch), are grouped into runs
 * in the order of the log: a run takes rows until it holds run_rows of them, then the next one
 * begins.  Within a run rows are sorted by topic, queue and offset.  So inserts touch only the
 * few megabytes of the newest run even with 100,000 busy queues, and retention drops whole runs.
 *
 * Keys (integers big-endian, so byte order is number order):
 *	'm'                               struct meta
 *	'd' topic                         struct dead: a deleted topic that still has rows
 *	'q' topic queue                   struct qrec: end of the queue and where its rows lie
 *	'r' run                           struct run
 *	'w' run topic queue first_offset  struct row
 * Every value is sealed with a CRC32C (lmenv.h).
 *
 * Invariants:
 * - rows of a queue are contiguous in offset, except where the log itself began anew (a gap in
 *   position): what lies before such a gap is released;
 * - batch position and log time rise with the offset within a queue;
 * - everything before `released` is invisible at once and deleted later, in bounded work;
 * - the cache of queue records is written back before each commit; after a lost transaction it
 *   is thrown away and everything is loaded again.
 */
#ifndef ALM_QUEUE_H
#define ALM_QUEUE_H

#include <almadia/indexer.h>

#include "../lib/lmenv.h"

#define FORMAT 1u
#define CACHE_SETS 8192u
#define CACHE_WAYS 2u

struct meta {
	uint32_t format, first_run; /* runs first_run .. cur_run exist */
	uint32_t cur_run, n_dead;
	uint64_t applied, released;
	uint64_t swept; /* highest drop position of a topic whose rows are going */
};

struct run {
	uint64_t rows;
	uint64_t first_batch, last_batch; /* positions */
	uint64_t first_time, last_time;   /* log time */
};

struct qrec {
	uint64_t end;                /* next offset */
	uint64_t first;              /* of the first message that was ever indexed */
	uint32_t first_run, last_run; /* rows lie between; first_run may be gone */
};

struct row { /* value; first_offset is in the key */
	uint64_t batch, log_time;
	uint32_t first_byte, end_byte, count, reserved;
};

struct dead {
	uint64_t position; /* applied when it was dropped */
	uint32_t next_run, reserved;
};

struct cached {
	uint32_t topic, queue;
	struct qrec q;
	uint64_t used; /* stamp, 0: free */
	uint32_t dirty, reserved;
};

struct alm_index {
	const struct alm_host *host;
	struct lmenv env;
	struct meta m;
	struct run *runs;    /* runs[i]: run m.first_run + i */
	uint32_t n_runs, cap_runs;
	struct cached *cache;
	uint64_t stamp, n_dirty;
	uint32_t *order;     /* scratch: directory entries sorted by queue */
	uint32_t order_cap;
	uint32_t changed;    /* 1: something to commit */
	uint64_t run_rows;
	uint64_t synced;
	uint64_t lost;       /* env.lost that the content in memory knows */
};

#define ROW_KEY 21u
#define Q_KEY 9u

/* store.c */
void key_row(uint8_t out[ROW_KEY], uint32_t run, uint32_t topic, uint32_t queue, uint64_t offset);
void key_queue(uint8_t out[Q_KEY], uint32_t topic, uint32_t queue);
void key_run(uint8_t out[5], uint32_t run);
void key_dead(uint8_t out[5], uint32_t topic);
uint64_t key_offset(const void *row_key);
int store_load(struct alm_index *);
int store_save(struct alm_index *);         /* cache, runs and meta into the transaction */
int store_wipe(struct alm_index *);         /* as new */
int store_done(struct alm_index *, int status); /* end of an operation: report, reload if lost */
struct run *run_at(struct alm_index *, uint32_t run); /* NULL: not there */
int run_push(struct alm_index *);           /* begin the next run */
/* The cached record of a queue.  make: add it if it is new.  ALM_ENOTFOUND. */
int queue_get(struct alm_index *, uint32_t topic, uint32_t queue, int make, struct cached **out);

/* query.c */
int64_t index_query(struct alm_index *, uint32_t what, const void *in, uint32_t in_len, void *out,
    uint32_t cap);

/* drop.c */
int index_release(struct alm_index *, uint64_t position);
int index_revert(struct alm_index *, uint64_t position);
int index_drop_topic(struct alm_index *, uint32_t topic);
/* Delete up to budget rows that are no longer wanted. */
int index_sweep(struct alm_index *, uint64_t budget);

#endif
