/* manager/restart.h - when a role that ended is started again.  A pure state machine. */
#ifndef ALM_MANAGER_RESTART_H
#define ALM_MANAGER_RESTART_H

#include <stdint.h>

#define RESTART_FIRST UINT64_C(100000)        /* microseconds */
#define RESTART_MOST UINT64_C(10000000)
#define RESTART_PAUSE UINT64_C(60000000)
#define RESTART_WINDOW UINT64_C(60000000)     /* workers, indexer */
#define RESTART_WINDOW_LEDGER UINT64_C(600000000)
#define RESTART_NEVER UINT64_MAX

struct restart {
	uint64_t begin;    /* of the window that is being counted */
	uint64_t last;     /* the end before this one */
	uint64_t delay;
	uint32_t count;    /* ends in the window */
};

/* The role ended at now (monotonic microseconds). How long to wait before it starts again: 0.1 s, twice that
 * after each further end within a minute, 10 s at most; more than limit ends in 60 s: a pause of 60 s.  The
 * ledger: RESTART_NEVER at the limit-th end in 10 minutes. */
uint64_t restart_delay(struct restart *, uint64_t now, uint32_t limit, int is_ledger);

#endif
