/* ledger/ledger.h - the ledger role's state, shared by the files of this directory only.
 *
 * One thread, the loop's, owns all of it, but for the storage tail while writer_busy(), the
 * checkpoint image while the checkpoint helper works, and storage->prepare on its helper.
 *
 * Batches: free -> gather (being filled) -> fifo.  fifo[] holds closed batches in log order: the
 * first n_durable are synced and await their commit, the next n_writing are the writer's job, the
 * rest wait for it.  Invariants: next_position is the end of the last closed batch, and where
 * gather begins; only closing a batch moves it; visible <= committed, visible <= durable.
 */
#ifndef ALM_LEDGER_LEDGER_H
#define ALM_LEDGER_LEDGER_H

#include "ledger/batch.h"
#include "ledger/counters.h"
#include "ledger/helper.h"
#include "ledger/results.h"
#include "ledger/sequencer.h"
#include "ledger/writer.h"
#include "main/role.h"
#include "module/module.h"

#define BATCHES 5u               /* one gathers, four wait or are written */
#define CONDITIONS_MAX 1024u     /* of one group */
#define CHECKPOINT_EVERY (256ull << 20) /* bytes of log */
#define CNS_EVENTS_MAX 16u
#define CNS_OUTS (ALM_CNS_OUT_MIN + CNS_EVENTS_MAX)

enum snapshot_state { SNAPSHOT_NONE, SNAPSHOT_TAKEN, SNAPSHOT_WRITING };

struct snapshot { /* checkpoint.c here: snapshot.c */
	enum snapshot_state state;
	struct buf image;
	uint64_t position;      /* of the image */
	uint64_t durable;       /* position of the newest file, 0: none */
	uint64_t not_before;    /* after a failure: monotonic us */
	uint32_t wanted;
	_Atomic int32_t status; /* of the helper: 1 working, else the result */
	char detail[256];
	struct helper helper;
};

struct ledger {
	struct role_env *env;
	const struct core_settings *core;
	struct region_head *head;
	struct control_page *page;
	int lock_fd;
	char log_dir[600];

	/* providers */
	const struct alm_storage_ops_v0 *store_ops;
	const struct alm_consensus_ops_v0 *cns_ops;
	struct alm_host *store_host;
	struct alm_store *store;
	struct alm_reader *reader;
	void *cns;
	struct alm_cns_out outs[CNS_OUTS];
	struct alm_cns_event again[CNS_EVENTS_MAX]; /* events that outputs led to */
	uint32_t n_again;
	struct alm_boot boot;
	struct alm_meta meta;
	uint64_t node;

	/* peers */
	struct link link[PEERS_MAX];
	struct bell bell;
	uint32_t next_worker;   /* whom to drain first */
	struct results *results;

	/* building */
	struct sequencer *seq;
	struct batch batch[BATCHES];
	struct batch *free[BATCHES];
	uint32_t n_free;
	struct batch *gather;
	struct batch *fifo[BATCHES];
	uint32_t n_fifo, n_durable, n_writing;
	uint32_t gather_full;   /* a group waits that did not fit */
	uint64_t stamp;
	struct msg_condition conditions[CONDITIONS_MAX];
	uint64_t offsets[RESULT_OFFSETS_MAX]; /* scratch, of one group */
	struct writer writer;
	struct helper prepare;
	uint64_t unprepared;    /* bytes appended since prepare was kicked */

	/* the log */
	uint64_t next_position, last_index, last_term, last_log_time;
	uint32_t last_crc;
	uint64_t durable_index, commit_index;
	uint32_t durable_crc; /* header_crc of the last durable batch */
	uint64_t durable, committed, visible, first, first_index, catalogue_end;
	uint64_t visible_time;   /* log time of the newest visible batch */
	uint64_t retain_pending; /* position proposed, 0: none */
	uint64_t retain_looked;  /* visible at the last look */
	uint32_t release_due;    /* `first` moved: give space back when the writer is idle */

	/* space */
	struct alm_space space;
	uint64_t space_spent;    /* bytes appended since space was asked */
	uint32_t space_due, disk_full;
	char full_text[96];

	struct snapshot snapshot;

	uint32_t role, announced; /* ALM_CNS_*; announced: the manager knows that we serve */
	uint32_t rebuild;     /* the sequencer holds what the log does not: rebuild it */
	uint32_t held;        /* closed batches could not be written for want of space */
	uint32_t stopping, failed;

	struct event *bell_event, *writer_event, *second, *cns_timer, *retry;
};

static inline void
count(struct ledger *l, uint32_t id, uint64_t n)
{
	atomic_store_explicit(&l->head->counter[id],
	    atomic_load_explicit(&l->head->counter[id], memory_order_relaxed) + n,
	    memory_order_relaxed);
}

static inline uint32_t
last_peer(const struct ledger *l)
{
	return PEER_WORKER(l->env->workers);
}

/* ledger.c */
void ledger_turn(struct ledger *);
/* Leave: nothing more is acked, the loop ends with this code. */
void ledger_fail(struct ledger *, int exit_code);
void ledger_arm(struct event *, uint64_t us);
void ledger_serves(struct ledger *); /* we lead: tell the manager and the peers */

/* recover.c: open the store and judge it; rebuild the sequencer from checkpoint and log. */
int recover_open(struct ledger *, int *exit_code);
int recover_sequencer(struct ledger *);
int recover_consensus(struct ledger *);

/* cns.c: feed events, carry out what comes of them. ALM_OK or the ledger has failed. */
int cns_feed(struct ledger *, const struct alm_cns_event *, uint32_t n);

/* gather.c: the batch being filled, and closed ones. */
struct batch *gather_begin(struct ledger *); /* NULL: no buffer is free */
void gather_close(struct ledger *);          /* propose it; afterwards gather is NULL */
void gather_abort(struct ledger *, int status, const char *text);
/* Consensus gave index and term: complete the batch and queue it for the writer. */
void batch_enter(struct ledger *, struct batch *, uint64_t index, uint64_t term, uint64_t epoch);
/* An entry of consensus' own. */
int batch_own(struct ledger *, uint32_t kind, uint64_t index, uint64_t term, uint64_t epoch);
void batch_recycle(struct ledger *, struct batch *);

/* drain.c: rings -> gather. Returns how many records were taken from rings. */
uint32_t drain_all(struct ledger *);
/* Take what a worker that is gone left in its ring, before its successor is attached. */
void drain_last(struct ledger *, uint32_t worker);
int drain_more(struct ledger *); /* 1 if a ring holds something that could be taken now */

/* write.c: closed batches -> store. Returns 1 if something moved. */
int write_reap(struct ledger *);
int write_out(struct ledger *);
void write_held(struct ledger *);
void write_finish(struct ledger *); /* block until all that was gathered is durable */

/* space.c */
void space_refresh(struct ledger *); /* writer idle */
void space_spend(struct ledger *, uint64_t bytes);
void space_exhausted(struct ledger *); /* append said ALM_EFULL */

/* commit.c */
void commit_to(struct ledger *, uint64_t index);
void commit_durable(struct ledger *); /* what the writer's job made durable */
void commit_relaxed(struct ledger *); /* the job's batches are written, not yet synced */
void commit_deliver(struct ledger *);        /* ready results into the rings */
void commit_publish(struct ledger *);

/* retain.c */
void retain_tick(struct ledger *);
void retain_look(struct ledger *); /* the same, if enough was written since the last time */
void retain_committed(struct ledger *, const struct alm_retain *);
void retain_release(struct ledger *); /* writer idle */

/* snapshot.c */
void snapshot_maybe(struct ledger *); /* gather is empty */
void snapshot_visible(struct ledger *);
void snapshot_reap(struct ledger *);
void snapshot_drop(struct ledger *);
void snapshot_final(struct ledger *);
int snapshot_init(struct ledger *);
void snapshot_fini(struct ledger *);

#endif
