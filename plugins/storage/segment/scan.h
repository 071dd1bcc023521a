/* scan.h - walk the batches of one segment and judge every break in their chain. */
#ifndef SEGMENT_SCAN_H
#define SEGMENT_SCAN_H

#include "seg.h"

struct seg_scan {
	/* in */
	const struct alm_host *host;
	const void *base;            /* whole segment file, mapped */
	uint64_t size;               /* bytes mapped */
	const struct seg *seg;
	const struct idx_view *idx;  /* may have no rows */
	uint64_t known_end;          /* the log is known to reach this far, durably */
	uint32_t sealed;             /* 1: known_end is exactly its end */
	uint64_t max_unsynced;       /* W */
	void *arg;
	void (*on_batch)(void *arg, const struct alm_batch *); /* may be NULL */
	void (*on_damage)(void *arg, const struct alm_damage *, const char *why);

	/* in and out */
	uint64_t frontier;           /* highest index known to have been committed */

	/* out */
	struct seg_end end;          /* after the last good batch */
	uint64_t stale_end;          /* cut bytes are [end.position, stale_end) */
	uint64_t scanned;
};

/* Walk. Never fails: what is wrong is told through on_damage. */
void seg_scan(struct seg_scan *);

/* Header walk to the batch with an index; no body is read.  NULL if it is not there. */
const struct alm_batch *seg_header_walk(const struct alm_host *, const struct seg *, const void *base,
    uint64_t size, uint64_t index, struct seg_end *before);

#endif
