/* recover.h - parts of recovery that verify shares. */
#ifndef SEGMENT_RECOVER_H
#define SEGMENT_RECOVER_H

#include "scan.h"
#include "store.h"

/* List the directory: st->segs sorted by position, spares into the pool, half-made files removed
 * (unless read-only). */
int seg_list(struct alm_store *);
/* Listing and meta; a new log is created. */
int recover_load(struct alm_store *, struct alm_boot *);

/* Header block of a segment, from its second copy in the index file or its first batch if need be;
 * then it is written anew (unless read-only). */
int recover_head(struct alm_store *, struct seg *);

/* A walk over the segments.  The caller sets st and boot, and scan.on_batch if it wants. */
struct walk {
	struct alm_store *st;
	struct alm_boot *boot;    /* collects damage */
	struct seg_end first_bad; /* the log before the first damage */
	uint64_t batches, records, bytes, rows_missing, rows_torn; /* counted by verify */
	struct seg_scan scan;
};

void walk_init(struct walk *); /* reports segments missing at the front */
int walk_segment(struct walk *, uint32_t i, uint64_t known_end, uint32_t sealed);

/* recover_idx.c: what the index file of the last segment tells and how whole it is */
/* Raises scan->frontier and scan->known_end by the rows. */
void recover_idx_facts(struct alm_store *, const struct seg *, const struct idx_view *,
    struct seg_scan *);
/* 1 if the file has exactly the rows of the batches found, all good. */
int recover_idx_whole(struct alm_store *, const struct seg *, const struct idx_view *,
    const struct seg_scan *);
/* Make the file if it is missing or its header is damaged; then it holds no rows. */
int recover_idx_present(struct alm_store *, const struct seg *);

#endif
