/* ledger/writer.h - append + sync of closed batches, on the loop or on the log-writer thread.
 *
 * At most one job is under way, so storage sees one user of the tail at any time: the thread while
 * writer_busy(), the loop otherwise.  The rule which of the two does a job is in drain.c.
 */
#ifndef ALM_LEDGER_WRITER_H
#define ALM_LEDGER_WRITER_H

#include <almadia/storage.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"

#define WRITER_SLICES 8u

struct write_job {
	struct alm_slice slice[WRITER_SLICES];
	uint32_t n;
	uint32_t tell_appended; /* 1: wake the loop after the append, too */
	int status;             /* of append or sync */
	uint32_t in_sync;       /* 1: it was the sync that failed */
	struct alm_durable durable;
	uint64_t append_us, sync_us;
	char detail[256];       /* why it failed */
};

struct writer {
	const struct alm_storage_ops_v0 *ops;
	struct alm_store *store;
	struct write_job job;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t request, stop;    /* under lock */
	_Atomic uint32_t appended, done;
	uint32_t busy, started;    /* loop's: a job is with the thread */
	int event_fd;              /* rung at appended and done */
};

/* Starts the thread (asleep). */
int writer_init(struct writer *, const struct alm_storage_ops_v0 *, struct alm_store *);
/* Waits for a job under way, then ends the thread. */
void writer_fini(struct writer *);
/* The job to fill in; only while not busy. */
struct write_job *writer_job(struct writer *);
/* Do the first half or the second half of the job here and now. */
int writer_append(struct writer *);
int writer_sync(struct writer *);
/* Hand the whole job to the thread. */
void writer_submit(struct writer *);
static inline int
writer_busy(const struct writer *w)
{
	return w->busy != 0;
}
/* 1 once after the thread has appended, with tell_appended. */
int writer_appended(struct writer *);
/* 1 once when the job is done; then the writer is no longer busy. */
int writer_done(struct writer *);
/* Block until the job is done (stop, rare work); then writer_done() is 1. */
void writer_wait(struct writer *);

#endif
