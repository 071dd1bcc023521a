/* ledger/results.h - answers on their way to the workers.
 *
 * Preallocated: RESULTS_PER_WORKER answers and CHUNKS_PER_WORKER side chunks (offsets of a group
 * with several queues, or the text of a refusal) for each worker.  An answer waits in the list of
 * the batch it depends on, then in its worker's ready list until the ring has room, so a full ring
 * delays but never loses one.  A worker that has used up its share is not drained.  Loop thread.
 */
#ifndef ALM_LEDGER_RESULTS_H
#define ALM_LEDGER_RESULTS_H

#include "ipc/message.h"
#include "ipc/region.h"

#define RESULTS_PER_WORKER 32768u
#define CHUNKS_PER_WORKER 2048u
#define CHUNK_OFFSETS 15u
#define RESULT_NONE UINT32_MAX
/* Messages of one group that may lie in several queues. */
#define RESULT_OFFSETS_MAX (CHUNKS_PER_WORKER * CHUNK_OFFSETS)

struct result_list {
	uint32_t first, last, n;
};

struct result { /* 64 bytes */
	uint32_t next, chunk; /* chunk: offsets or text, RESULT_NONE: neither */
	uint16_t worker, incarnation;
	uint32_t flags;       /* RESULT_* of ipc/message.h */
	int32_t status;
	uint32_t n_offsets;
	uint64_t tag, index, position, end, first_offset;
};

struct results;

struct results *results_new(uint32_t workers);
void results_free(struct results *);
/* A blank answer for a worker, or NULL if its share is used up. */
struct result *results_alloc(struct results *, uint32_t worker);
/* How many offsets may still be attached for this worker. */
uint32_t results_room(const struct results *, uint32_t worker);
uint32_t results_left(const struct results *, uint32_t worker);
/* Attach offsets (n <= results_room) or a text (dropped if there is no room). */
void results_offsets(struct results *, struct result *, const uint64_t *offsets, uint32_t n);
void results_detail(struct results *, struct result *, const char *text);
void results_append(struct results *, struct result_list *, struct result *);
/* Move all of a list to the workers' ready lists, with what is known now. */
void results_ready(struct results *, struct result_list *, uint64_t index, uint64_t end);
/* The same with a refusal instead. */
void results_fail(struct results *, struct result_list *, int status, const char *text);
/* Write ready answers of a worker into its ring until it is full; returns how many. Not flushed. */
uint32_t results_send(struct results *, uint32_t worker, struct link *);
uint32_t results_waiting(const struct results *, uint32_t worker); /* ready, not yet in the ring */
/* The worker has a new incarnation: nobody waits for the old one's answers. */
void results_forget(struct results *, uint32_t worker);

#endif
