/* almadia/indexer.h - derived data from the committed log.
 *
 * A provider runs in the indexer process on one thread and may block on the disk.  It gets every
 * committed batch in order through apply() and answers query().  All it keeps lives in its own
 * directory and may be deleted at any time: the core then applies the log from its begin.
 *
 * applied() is the position up to which the provider's state includes the log, including what is
 * not synced yet; after a crash it restarts from what sync() made durable and the core applies
 * the rest again.  If the log ends before what was synced (only after the operator accepted a
 * loss), the core calls revert() first.
 *
 * Core state (namespaces, log.h) is not an indexer's business: the core folds it itself.
 */
#ifndef ALMADIA_INDEXER_H
#define ALMADIA_INDEXER_H

#include <almadia/host.h>
#include <almadia/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct alm_index;

/* Queries.  The numbers below 100 have one meaning for every provider; a provider answers those
 * it serves and ALM_ENOTSUP to the rest.  The core asks the loaded providers in their order. */
#define ALM_Q_OFFSET 1u /* in: struct alm_q_offset; out: struct alm_q_row[]: rows from the one holding offset on */
#define ALM_Q_TIME 2u   /* in: struct alm_q_time; out: one struct alm_q_row: first batch of the queue with log_time >= time */
#define ALM_Q_BOUNDS 3u /* in: struct alm_q_queue; out: struct alm_q_bounds */
#define ALM_Q_KEY 4u    /* in: struct alm_q_key then the key; out: uint64_t positions[], newest first */

/* Messages of one queue in one batch. */
struct alm_q_row { /* 40 bytes */
	uint64_t first_offset;
	uint64_t batch;      /* position of the batch */
	uint64_t log_time;   /* of the batch */
	uint32_t first_byte, end_byte; /* in the batch: the queue's records lie between */
	uint32_t count;
	uint32_t reserved;
};

struct alm_q_queue {
	uint32_t topic, queue;
};

struct alm_q_offset {
	uint32_t topic, queue;
	uint64_t offset;
};

struct alm_q_time {
	uint32_t topic, queue;
	uint64_t time; /* microseconds since the epoch */
};

struct alm_q_bounds {
	uint64_t begin, end; /* first offset held, next offset */
};

struct alm_q_key {
	uint32_t topic; /* 0: any */
	uint32_t limit; /* positions at most */
	uint64_t since, until; /* log time, 0: no bound */
	uint32_t key_len, reserved;
};

struct alm_indexer_ops_v0 { /* append only */
	int (*open)(const struct alm_host *, const char *dir, struct alm_index **out);
	void (*close)(struct alm_index *); /* syncs */
	/* Position of the end of the last batch in the index; 0 for an empty index. */
	uint64_t (*applied)(struct alm_index *);
	/* Position up to which everything survives a crash. */
	uint64_t (*synced)(struct alm_index *);
	/* Next batch; its position is applied(), or the begin of the log if that is higher. */
	int (*apply)(struct alm_index *, const struct alm_batch *);
	int (*sync)(struct alm_index *);
	/* Drop everything that came from position or after it. */
	int (*revert)(struct alm_index *, uint64_t position);
	/* The log begins at position now: older rows may go. */
	int (*release)(struct alm_index *, uint64_t position);
	/* A topic was deleted: its rows may go, at leisure. */
	int (*drop_topic)(struct alm_index *, uint32_t topic);
	/* Returns bytes written to out, at most cap, or an error: ALM_EOFFSET if the offset is before
	 * the begin or at or past the end. */
	int64_t (*query)(struct alm_index *, uint32_t what, const void *in, uint32_t in_len, void *out,
	    uint32_t cap);
	/* Compare with the log from its begin; what differs goes to host->log. Offline. */
	int (*verify)(struct alm_index *, const struct alm_batch *);
};

#ifdef __cplusplus
}
#endif
#endif
