/* change.h - operations on the whole log; as in almadia/storage.h. */
#ifndef SEGMENT_CHANGE_H
#define SEGMENT_CHANGE_H

#include "seg.h"

int seg_truncate(struct alm_store *, uint64_t from, struct alm_durable *out);
int seg_reseed(struct alm_store *, uint64_t index, uint64_t term, uint64_t position,
    uint32_t prev_crc, struct alm_durable *out);
int seg_release(struct alm_store *, uint64_t first_position, uint64_t pin);
int seg_space(struct alm_store *, struct alm_space *out);
int seg_prepare(struct alm_store *);
/* Save in meta that everything from cut on goes: [cut->position, old_end). */
int seg_set_cut(struct alm_store *, const struct seg_end *cut, uint64_t old_end);
/* Fails with ALM_ECORRUPT and a text. */
int seg_refuse_damaged(struct alm_store *);

#endif
