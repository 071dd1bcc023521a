/* regress/fault/history.h - random histories of a segment store on a simulated disk, with an
 * oracle that knows what must have survived. */
#ifndef ALM_REGRESS_HISTORY_H
#define ALM_REGRESS_HISTORY_H

#include "simdisk.h"
#include "store.h"
#include "reader.h"

#include "regress/lib/fakehost.h"
#include "regress/lib/mkbatch.h"

/* Settings small enough that a history of a minute's reading rotates, recycles and truncates. */
#define HIST_SEGMENT "32k"
#define HIST_UNSYNCED "12k"

struct history {
	struct fakehost *fh;
	struct simdisk *disk;
	struct alm_store *st;
	struct mkbatch mk;
	uint64_t seed;
	uint32_t honest;        /* 1: commit values never exceed what is durable, as on a single node */

	/* what the store was told */
	struct buf log;         /* bytes of [base, ...): everything that append was called with */
	uint64_t base;
	uint64_t synced;        /* end that a sync or truncate has confirmed */
	uint64_t synced_index;
	uint64_t start[2];      /* log start: before and after the step that may be under way */
	uint64_t cut;           /* a truncate to here may be under way, UINT64_MAX: none */
	uint64_t epoch;
	struct alm_meta meta[2]; /* confirmed, and the save that may be under way */
	char why[512];          /* what is wrong, when a function returns 0 */
};

void hist_init(struct history *, uint64_t seed, uint32_t honest);
void hist_free(struct history *);
/* Steps until the disk crashes, a call fails or n steps are done. Returns the last status. */
int hist_run(struct history *, uint32_t n);
/* One append of a few batches; status. */
int hist_append(struct history *);
/* Drop the store without a word to the disk. */
void hist_drop(struct history *);
/* Open again and compare with what must be there, and go on from what was found. may_damage: damage
 * reported is acceptable. 1, or 0 with why. */
int hist_reopen(struct history *, uint32_t may_damage);
/* Verify finds nothing wrong: 1 or 0. */
int hist_verify(struct history *);
uint64_t hist_rnd(uint64_t *seed);
/* Take over the disk of another history with all that is known about it. */
void hist_copy(struct history *to, const struct history *from);

#endif
