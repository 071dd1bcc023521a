/* ledger/sequencer.h - the one place of validation: what may be appended, and what it becomes.
 *
 * A function of the log: queues' next offsets, the catalogue, versions of all state keys, the last
 * sequences of producers.  No I/O, no clock; the ledger's loop thread only.  The same fold serves
 * recovery (whole batches) and live appends (record by record), so both cannot drift apart.
 * Invariant: sequencer_check() changes nothing but the caller's copy of the group; only
 * sequencer_fold*() changes the sequencer.
 */
#ifndef ALM_LEDGER_SEQUENCER_H
#define ALM_LEDGER_SEQUENCER_H

#include "base/base.h"
#include "ipc/message.h"
#include "state/catalogue.h"
#include "state/checkpoint.h"

#define SEQ_PRODUCERS_MAX 65536u /* the least recent go first */
#define SEQ_RANGES_MAX 131072u   /* remembered runs of sequences, of all producers together */
#define SEQ_CATALOGUE_OPS_MAX 64u /* topics and groups that one append may change */
#define SEQ_NS_MAX 64u           /* bytes of a namespace's name */
#define SEQ_KEY_MAX 1024u        /* bytes of a state key */

/* Node settings that the rules use. */
struct seq_limits {
	uint64_t max_message; /* bytes of body */
	uint32_t topic_queues; /* of a new topic that names none */
};

struct sequencer;

struct seq_queue {
	uint64_t next;  /* offset */
	uint64_t stamp; /* number of the last batch that holds the queue: batch.c's */
	uint32_t slot;  /* and the queue's directory entry there */
};

struct seq_topic {
	uint32_t id, queues, durability, max_message;
	struct seq_queue *queue;
};

#define GROUP_DUPLICATE 1u /* stored before: first_offset and position are the original's */
#define GROUP_CATALOGUE 2u /* changes a topic or group */
#define GROUP_STATE 4u     /* holds a state record */
#define GROUP_RELAXED 8u   /* all its messages go to topics that need no sync before the ack */

/* One append, copied out of the ring. */
struct seq_group {
	uint8_t *records;  /* ours; values may be completed in place */
	uint32_t bytes, n_records;
	const struct msg_condition *conditions;
	uint32_t n_conditions;
	uint32_t disk_full; /* 1: refuse messages */
	const char *full_text; /* why, for people */
	uint64_t log_time;
	/* Filled by sequencer_check(). */
	uint32_t n_messages, flags;
	uint64_t producer;       /* of the records that have one, 0: none */
	uint32_t sequence, n_sequences; /* first one and how many */
	uint32_t first_message;  /* sequences before the first message's */
	uint64_t first_offset;   /* duplicate: of the first message, UINT64_MAX: too old to know */
	uint64_t position;       /* duplicate: 0 unknown, else of a record of the batch at or before it */
	uint32_t position_exact; /* duplicate: 1 if position is that of the first record */
	char detail[96];   /* why not */
};

struct sequencer *sequencer_new(const struct seq_limits *);
void sequencer_free(struct sequencer *);
/* New limits (a reload). */
void sequencer_limit(struct sequencer *, const struct seq_limits *);

/* May the group be appended?  ALM_OK, or the status and g->detail.  Completes topic and group
 * values in g->records (id, creation time, defaults). */
int sequencer_check(struct sequencer *, struct seq_group *g);
/* Fold one complete record at its position; batch is its batch's position. */
int sequencer_fold(struct sequencer *, const struct alm_record *, uint64_t position, uint64_t batch,
    uint64_t log_time);
/* Fold a whole batch (recovery, followers). */
int sequencer_fold_batch(struct sequencer *, const struct alm_batch *);

const struct seq_topic *sequencer_topic(struct sequencer *, uint32_t id);
/* Offsets of n stored sequences from first on; UINT64_MAX for those too old to know. */
void sequencer_offsets(const struct sequencer *, uint64_t producer, uint32_t first, uint32_t n,
    uint64_t *out);
const struct catalogue *sequencer_catalogue(const struct sequencer *);
uint64_t sequencer_version(const struct sequencer *, struct hash128 key);

/* All of it as a checkpoint image whose head is filled but for position, index, term and log_time;
 * and back (the sequencer must be new). */
int sequencer_save(const struct sequencer *, struct buf *image);
int sequencer_load(struct sequencer *, const struct checkpoint *);

#endif
