/* indexer/indexer.h - inside the indexer role.  One loop, one thread.
 *
 * Consumers of the committed log: the state store and each indexer provider of the
 * configuration.  Each has its own applied position and skips what it has.
 *
 * Invariants:
 * - nothing is read past the ledger's `visible`;
 * - on disk no provider is behind the state store (providers sync first), so that what the fold
 *   tells them (a topic is deleted) is told again after a crash;
 * - `synced` in the index page is the lowest of all that is synced: RETAIN may not pass it;
 * - an error of a provider is a status: it is rebuilt from the log once, then the role gives up.
 */
#ifndef ALM_INDEXER_INDEXER_H
#define ALM_INDEXER_INDEXER_H

#include "indexer/counters.h"
#include "ipc/message.h"
#include "main/role.h"
#include "module/module.h"
#include "state/store.h"

#define PROVIDERS_MAX 8u
#define SLICE_US 2000u                /* of applying, before queries get their turn */
#define NAP_US 1000u                  /* between two looks at a busy log */
#define SYNC_BYTES (256ull << 20)     /* of log in one transaction */
#define SYNC_ROWS 8192u               /* of the state store in one transaction: bounds its memory */
#define RETRY_US 1000000u
#define START_US 10000u               /* between two looks at a ledger that is not ready */

/* What a consumer does about trouble. */
struct consumer {
	char name[50];
	char dir[640];
	char marker[660];
	struct provider *provider;
	const struct alm_indexer_ops_v0 *ops;
	struct alm_host *host;
	struct alm_index *x;
	uint64_t applied;
	uint32_t rebuilt; /* times, by this process */
	uint32_t again;   /* ALM_EAGAIN in a row */
	uint32_t damaged; /* found by a query: rebuild at the next turn */
};

#define HELD_NO 0u
#define HELD_APPLIED 1u /* its first query waits for the log */
#define HELD_ROOM 2u    /* its first answer waits for room */

struct peer {
	struct link link;
	uint32_t held, need;
};

struct indexer {
	struct role_env *env;
	const struct core_settings *core;
	char index_dir[600], log_dir[600], state_dir[600], state_marker[620];
	int lock_fd;

	const struct alm_storage_ops_v0 *storage;
	struct alm_host *storage_host;
	struct alm_reader *reader;

	struct store *store;
	uint32_t state_gen, store_damaged, store_rebuilt, store_again;
	struct consumer consumer[PROVIDERS_MAX];
	uint32_t n_consumers;

	struct region ledger;
	const struct control_page *ctl; /* NULL: no ledger */
	uint32_t checked;               /* 1: this ledger's log agrees with what is applied */
	uint32_t caught_up;             /* 1: has been at `visible` once */
	uint64_t seen;                  /* `visible` at the last look */
	uint64_t released;
	uint64_t since_sync;            /* bytes of log applied */
	uint64_t retry_at;              /* monotonic; 0: the disk takes commits */
	uint64_t complained_at;         /* monotonic, of the last complaint about the log */
	uint32_t stopping, failed;
	uint32_t mend;                  /* 1: a query found damage, see consumers_mend */

	struct peer peer[WORKERS_MAX + 1]; /* by worker slot */
	struct buf in;
	struct bell bell;
	struct event *ev_bell, *ev_again, *ev_tick;
};

/* consumers.c: the state store and the providers as a group */
int consumers_open(struct indexer *, int *exit_code);
void consumers_close(struct indexer *);
/* Lowest position applied (synced) by all. */
uint64_t consumers_applied(const struct indexer *);
uint64_t consumers_synced(const struct indexer *);
/* Apply one batch to whoever has not got it. ALM_OK; ALM_EAGAIN: somebody went back, begin again
 * from consumers_applied(). Otherwise the role is failing. */
int consumers_apply(struct indexer *, const struct alm_batch *);
/* Commit all. ALM_OK, ALM_EFULL (a retry is due later), ALM_EAGAIN as above, or failing. */
int consumers_sync(struct indexer *);
void consumers_release(struct indexer *, uint64_t first);
/* The log lost what was applied: all begin anew. */
int consumers_reset(struct indexer *);
/* No provider may be ahead of the state store when a log begins to be followed. */
int consumers_align(struct indexer *);
/* Rebuild what a query found damaged. */
int consumers_mend(struct indexer *);

/* follow.c: the committed log */
/* Apply for up to SLICE_US. Returns 1 if there is more, 0 if not. *did: batches applied. */
int follow(struct indexer *, uint32_t *did);
/* 1 if the log has something that is not applied. */
int follow_behind(const struct indexer *);
/* 1 if `visible` has moved since the last follow(). */
int follow_moved(const struct indexer *);
void follow_ledger(struct indexer *, int fd); /* a new incarnation */
void follow_end(struct indexer *);

/* answer.c: queries. Returns how many were answered. */
uint32_t answer_all(struct indexer *);
/* 1 if a query could be answered now. */
int answer_waiting(struct indexer *);

/* indexer.c: count */
void indexer_count(struct indexer *, uint32_t counter, uint64_t n);

/* indexer.c: leave, with err_text() as the reason. Returns status. */
int indexer_fail(struct indexer *, int status, int exit_code);
uint64_t indexer_first(const struct indexer *); /* begin of the log, 0 if there is no ledger */

#endif
