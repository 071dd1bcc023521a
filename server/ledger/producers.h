/* ledger/producers.h - last sequences of producers, so that a retried append is stored once.
 *
 * Bounded: SEQ_PRODUCERS_MAX producers, the least recent by log order goes first, and one ring of
 * the last SEQ_RANGES_MAX ranges of all producers.  A range is a run of records of one producer in
 * one batch and one queue with consecutive sequences and offsets.  Loop thread only.
 */
#ifndef ALM_LEDGER_PRODUCERS_H
#define ALM_LEDGER_PRODUCERS_H

#include "base/base.h"
#include "state/checkpoint.h"

#define PRODUCER_NEXT 0      /* the sequence is the next one, or the producer is unknown */
#define PRODUCER_DUPLICATE 1 /* at or below the last */
#define PRODUCER_GAP 2       /* beyond the next */

struct producers;

struct producers *producers_new(void);
void producers_free(struct producers *);
/* PRODUCER_*; *last is the last sequence if the producer is known. */
int producers_judge(const struct producers *, uint64_t id, uint32_t sequence, uint32_t *last);
/* The remembered range that holds a sequence, or NULL if it is too old to know. */
const struct ckpt_range *producers_find(const struct producers *, uint64_t id, uint32_t sequence);
/* Offsets of n sequences from first on; UINT64_MAX for those too old to know. */
void producers_offsets(const struct producers *, uint64_t id, uint32_t first, uint32_t n,
    uint64_t *out);
/* Note a stored record; batch is its batch's position. ALM_OK or ALM_ENOMEM. */
int producers_note(struct producers *, const struct ckpt_range *one, uint64_t batch,
    uint64_t log_time);
/* Append both sections' rows to a checkpoint image; and back, in the same order. */
int producers_save(const struct producers *, struct buf *image, struct ckpt_head *head);
int producers_load(struct producers *, const struct checkpoint *);

#endif
