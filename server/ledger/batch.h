/* ledger/batch.h - a batch of the log while it is built, written and awaits its commit.
 *
 * Buffers are mapped once and recycled; nothing is allocated for a message.  Loop thread only,
 * but for the bytes of a closed batch, which the log writer reads.  Invariants: records lie back
 * to back behind the header; body_crc covers them; dir[] names every queue that has messages, once
 * (seq_queue.stamp and slot find the row in O(1)); header + records + directory fit into cap.
 */
#ifndef ALM_LEDGER_BATCH_H
#define ALM_LEDGER_BATCH_H

#include "base/base.h"
#include "ledger/results.h"
#include "ledger/sequencer.h"

#define BATCH_GROUPS_MAX 16384u

struct batch {
	uint8_t *data; /* header, records, directory */
	uint64_t cap;  /* most bytes of a whole batch */
	struct alm_dir *dir;
	uint64_t dir_cap;
	uint64_t stamp;       /* number of this use of a buffer */
	uint64_t position, log_time;
	uint64_t index, term, epoch, ticket; /* from consensus */
	uint32_t len;         /* end of the records */
	uint32_t n_records, n_dir, n_groups, n_messages, flags, body_crc;
	uint32_t has_retain;  /* holds a RETAIN record */
	struct alm_retain retain;
	uint64_t opened_at;   /* monotonic us */
	struct result_list strict, relaxed; /* results that wait for it */
};

/* Map a buffer for batches of at most cap bytes. */
int batch_init(struct batch *, uint64_t cap);
void batch_free(struct batch *);
/* Begin a batch at a position. */
void batch_open(struct batch *, uint64_t stamp, uint64_t position, uint64_t log_time, uint64_t now);
/* Where to copy a group of bytes with at most messages messages to, or NULL if it does not fit. */
uint8_t *batch_room(struct batch *, uint64_t bytes, uint64_t messages);
/* Most bytes that a group may have in an empty batch of this capacity. */
uint64_t batch_group_max(const struct batch *);
/* Take over a checked group that lies at batch_room(): completes its records, folds them into the
 * sequencer.  *first_offset: of its first message; offsets, if not NULL, gets that of each. */
int batch_take(struct batch *, struct sequencer *, const struct seq_group *,
    uint64_t *first_offset, uint64_t *offsets);
/* Add a control record of our own (NOOP, RETAIN). ALM_ETOOBIG if it does not fit. */
int batch_control(struct batch *, uint32_t kind, const void *body, uint32_t len);
/* Complete directory and header; index and term are set.  Returns the bytes to write. */
struct alm_slice batch_close(struct batch *, uint64_t commit, uint32_t member, uint32_t prev_crc);
static inline const struct alm_batch *
batch_header(const struct batch *b)
{
	return (const struct alm_batch *)(const void *)b->data;
}

#endif
