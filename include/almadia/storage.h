/* almadia/storage.h - the replicated log on disk (or wherever it lives).
 *
 * A provider has two halves.  The writer half runs only in the ledger: append, sync and space
 * from whichever of the ledger's two threads owns the tail at that moment (never both at once),
 * prepare from a helper thread at any time, everything else from the main thread while nothing
 * is being appended.  It may block on the disk and on nothing else.  The reader half runs in any
 * process, also while a writer works, and must tolerate it; each reader object belongs to one
 * thread.
 *
 * The unit is the batch of log.h: the store gets whole batches with complete headers, in order,
 * and gives whole batches back as one piece of contiguous memory.  It maps positions to bytes as
 * it likes.  Batches never change once appended; truncate drops a suffix, release a prefix.
 *
 * A failed append or sync is final: the core stops the ledger (exit 3) and never retries, since
 * the kernel may have dropped the dirty pages.  ALM_EFULL from append is different: nothing was
 * written and the store is as before.
 */
#ifndef ALMADIA_STORAGE_H
#define ALMADIA_STORAGE_H

#include <almadia/host.h>
#include <almadia/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct alm_store;  /* writer half */
struct alm_reader; /* reader half */

/* What is durable.  Frozen. */
struct alm_durable {
	uint64_t epoch;    /* rises with each truncate or reseed */
	uint64_t index, term;
	uint64_t position; /* end of that batch */
};

/* Term and vote.  Written to alternating checked slots; durable when save_meta returns. */
struct alm_meta {
	uint64_t seq;  /* rises with each save */
	uint64_t term;
	uint64_t vote; /* 0: none */
	uint64_t commit_hint; /* highest commit index known */
};

/* A damaged stretch found at open.  Its index and term come from the second copy of the header. */
struct alm_damage {
	uint64_t position, length; /* bytes */
	uint64_t index, term;      /* first batch; 0 if unknown */
};

#define ALM_DAMAGE_MAX 64u

/* What survived, as the store judges it. */
struct alm_boot { /* append only; the core sets size */
	uint32_t size;
	uint32_t n_damage;         /* entries in damage[]; there may be more than fit */
	uint64_t first_position, first_index; /* log begins here (index of the first batch) */
	uint64_t next_position;    /* end of the last good batch */
	uint64_t last_index, last_term;
	uint32_t last_crc;         /* header_crc of the last batch: the next one's prev_crc */
	uint32_t is_new;           /* 1: the directory was empty */
	uint64_t last_log_time;
	uint64_t epoch;
	uint64_t frontier;         /* highest index known to have been committed */
	uint64_t cut_bytes;        /* unsynced tail that was cut */
	uint64_t scanned_bytes;    /* read to find the tail */
	struct alm_meta meta;
	struct alm_damage damage[ALM_DAMAGE_MAX];
};

/* Space of the store, in bytes. */
struct alm_space {
	uint64_t used;      /* by the log, recycled and zeroed segments included */
	uint64_t available; /* that append may still use without ALM_EFULL */
	uint64_t segment;   /* grain in which release gives space back */
	uint64_t recycled;  /* bytes in segments that wait for reuse */
};

#define ALM_OPEN_ACCEPT_LOSS 1u /* the operator accepts losing what is damaged: cut there */
#define ALM_OPEN_READONLY 2u    /* offline tools: change nothing */

/* From a reader: one whole batch. */
struct alm_view {
	const struct alm_batch *batch;
	uint64_t next; /* position after it */
};

/* Called by verify for each finding; level as in host.h.  text is one line. */
typedef void (*alm_verify_fn)(void *arg, uint32_t level, uint64_t position, const char *text);

struct alm_verify_stats {
	uint64_t batches, records, bytes;
	uint64_t first_position, next_position, last_index;
	uint64_t damaged; /* batches that fail */
};

#define ALM_STORAGE_ARENA 1u /* flags(): wants the manager's shared-memory arena, size setting "arena" */

struct alm_storage_ops_v0 { /* append only */
	/* ALM_STORAGE_*; may be NULL for 0. Any process. */
	uint32_t (*flags)(void);

	/* -- writer half -- */

	/* Open or create in dir (exists, is owned and locked by the core). Recovers: fills *boot.
	 * Damage is reported in boot, not an error, unless nothing can be opened (ALM_ECORRUPT). */
	int (*open)(const struct alm_host *, const char *dir, uint32_t flags, struct alm_boot *boot,
	    struct alm_store **out);
	void (*close)(struct alm_store *);
	/* Append whole batches, each one contiguous.  Header complete, position equal to the end of
	 * the log.  Readers may see them after return; durable only after sync. */
	int (*append)(struct alm_store *, const struct alm_slice *batches, uint32_t n);
	/* Make everything appended durable.  May run while the main thread does other things. */
	int (*sync)(struct alm_store *, struct alm_durable *out);
	/* Drop batches with index >= from. Recorded and durable on return; the epoch rises. */
	int (*truncate)(struct alm_store *, uint64_t from, struct alm_durable *out);
	/* Drop everything; the log then begins after index/term at position, empty. */
	int (*reseed)(struct alm_store *, uint64_t index, uint64_t term, uint64_t position,
	    uint32_t prev_crc, struct alm_durable *out);
	/* The log now begins at first_position (a batch boundary). Space whose bytes all lie before it
	 * comes back: reused if also before pin, the lowest position that any reader holds or peer
	 * still needs, otherwise dropped in a way that keeps what readers hold valid. */
	int (*release)(struct alm_store *, uint64_t first_position, uint64_t pin);
	int (*save_meta)(struct alm_store *, const struct alm_meta *);
	int (*space)(struct alm_store *, struct alm_space *out);
	/* Background work: ready the next segment and the like. Returns 1 if there may be more to do,
	 * 0 if not. Helper thread, concurrent with everything but open and close. */
	int (*prepare)(struct alm_store *);

	/* -- reader half -- */

	int (*reader_open)(const struct alm_host *, const char *dir, struct alm_reader **out);
	void (*reader_close)(struct alm_reader *);
	/* The batch that begins at position. limit is the end of what may be read ("visible"). Returns
	 * ALM_OK; 0 is not possible past limit: ALM_EAGAIN at limit; ALM_EOFFSET before the begin of
	 * the log; ALM_EINVAL if no batch begins there; ALM_ECORRUPT. The bytes stay valid while the
	 * core's pin for this reader is at or below position, or until reader_close. */
	int (*reader_get)(struct alm_reader *, uint64_t position, uint64_t limit, struct alm_view *out);
	/* The batch that contains position (a record's or any byte), or the first one if position is
	 * before the log's begin. */
	int (*reader_seek)(struct alm_reader *, uint64_t position, uint64_t limit, struct alm_view *out);
	/* The batch with a Raft index. */
	int (*reader_find)(struct alm_reader *, uint64_t index, uint64_t limit, struct alm_view *out);
	/* Forget mappings of what was released below first_position (call now and then). */
	void (*reader_trim)(struct alm_reader *, uint64_t first_position);

	/* -- offline -- */

	/* Check every checksum, chain and second copy. Changes nothing. Returns ALM_OK if clean,
	 * ALM_ECORRUPT if damage was found, or another error. */
	int (*verify)(const struct alm_host *, const char *dir, alm_verify_fn fn, void *arg,
	    struct alm_verify_stats *out);
};

#ifdef __cplusplus
}
#endif
#endif
