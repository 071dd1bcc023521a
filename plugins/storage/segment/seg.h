/* seg.h - the writer half's state, shared by the files of this directory only.
 *
 * Threads: the ledger's tail owner (append, sync, space), its main thread (open, close, truncate,
 * reseed, release, save_meta) and a helper (prepare).  The pool of spare files is the one thing
 * that they share at the same moment; `lock` guards it.  Everything else follows the rule of
 * storage.h: nothing is appended while the main thread changes the log.
 *
 * Invariants:
 *  - all segments but the last are wholly durable, their index files too;
 *  - at most max_unsynced bytes of the last segment are not durable;
 *  - a row of an index file exists only if its batch is durable;
 *  - behind the end of the log in the last segment there is no batch that has its own position
 *    in its header (recycled space holds other positions, cut space is zeroed).
 */
#ifndef SEGMENT_SEG_H
#define SEGMENT_SEG_H

#include "format.h"
#include "io.h"

#include <pthread.h>

#define SEG_POOL_MAX 64u
#define SEG_ROWS_MAX 4096u       /* rows that wait for the index file */
#define SEG_IDX_EVERY (256u << 10) /* bytes of log between two writes of rows */
#define SEG_IDX_TIME 1000000u    /* microseconds, likewise */

/* The end of the log, or of any prefix of it. */
struct seg_end {
	uint64_t position;
	uint64_t index, term, time;
	uint32_t crc;
};

struct seg {
	uint64_t first;      /* position */
	uint64_t size;       /* of the file */
	struct seg_end prev; /* the log before its first batch; prev.position == first */
};

struct seg_spare {
	uint64_t id;
	uint64_t size;
};

struct alm_store {
	const struct alm_host *host;
	int dir;
	uint32_t flags;  /* of open */
	int failed;      /* sticky status after a failed write or sync; 0: none */
	uint32_t damaged; /* damage was found and not accepted: nothing may be written */

	/* recovery and verify */
	uint64_t scan_unsynced; /* W of the run before or of this one, the larger */
	uint32_t idx_whole;     /* 1: the last index file has all rows */
	uint32_t findings;      /* damaged second copies and headers */
	/* Where findings go: verify's function; NULL: the host's log. */
	alm_verify_fn find_fn;
	void *find_arg;

	/* settings */
	uint64_t segment_size, first_size, max_unsynced, keep_free;
	uint32_t spares_wanted, spares_max;

	/* log */
	struct seg *segs;
	uint32_t n_segs, cap_segs;
	struct seg_end end;
	struct alm_durable durable;
	int fd, idx_fd;         /* of the last segment; -1 when read-only */

	/* rows on their way to the index file: [0, rows_durable) may be written */
	struct seg_row *rows;
	uint32_t n_rows, rows_durable;
	uint64_t idx_rows;      /* rows in the file */
	uint64_t idx_position;  /* end of the last batch with a row in the file */
	uint64_t idx_synced;    /* rows up to this position are durable */
	uint64_t idx_time;      /* when rows were last written */
	uint32_t idx_stalled;   /* 1: rows were left out, no space; rebuilt at the next chance */

	struct seg_meta meta;
	int meta_fd;

	pthread_mutex_t lock;   /* pool, doomed, next_spare, next_size; durable */
	struct seg_spare pool[SEG_POOL_MAX];
	uint32_t n_pool;
	uint64_t doomed[SEG_POOL_MAX]; /* numbers of .tmp files to remove */
	uint32_t n_doomed;
	uint64_t next_spare;    /* number of the next spare file */
	uint64_t next_size;     /* size of the next new file */

	/* prepare's own: the file being zeroed */
	int making_fd;
	uint64_t making_id, making_size, making_done;
};

static inline struct seg *
seg_last(struct alm_store *st)
{
	return &st->segs[st->n_segs - 1];
}

/* errno as text with the file's name; remembers it and makes the store fail for good. */
int seg_fatal(struct alm_store *, const char *what, const char *name, int err);

/* One finding about the log at a position. */
void seg_found(struct alm_store *, uint32_t level, uint64_t position, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* meta.c */
int meta_create(struct alm_store *);
/* Read the newest slot. ALM_ENOTFOUND: no file. *spoiled: copies that fail their checksum. */
int meta_load(const struct alm_host *, int fd, struct seg_meta *out, uint32_t *spoiled, int accept);
int meta_save(struct alm_store *); /* st->meta, to the other slot, synced */
/* Note the durable end in st->meta; the caller saves it. */
void meta_note_synced(struct alm_store *);

/* file.c: make, open and drop segment files */
int seg_push(struct alm_store *, const struct seg *);
/* Open the last segment and its index file for writing. */
int seg_open_last(struct alm_store *);
void seg_close_last(struct alm_store *);
/* Begin a new segment behind the log's end that holds at least need bytes; uses the pool. */
int seg_begin(struct alm_store *, uint64_t need);
/* pool.c: make one spare file of at least need bytes at once; its space is zeroed, or only reserved,
 * which is faster now and dearer at each sync into it. */
int seg_pool_add(struct alm_store *, uint64_t need, int zeroed);
/* pool.c: put files into the pool until it has `count` that hold need bytes. ALM_EFULL leaves the
 * log as it is. */
int seg_reserve(struct alm_store *, uint32_t count, uint64_t need);
/* Make the index file of s, empty but for its header, synced.  Returns its descriptor or an error. */
int seg_idx_make(struct alm_store *, const struct seg *);
/* Write the header block of s anew, synced. */
int seg_head_rewrite(struct alm_store *, const struct seg *);
int seg_unlink(struct alm_store *, uint64_t first);
uint64_t seg_capacity(uint64_t file_size);
int seg_no_space(int rc); /* a negative errno that means a full disk or quota */

/* pool.c */
void seg_spare_name(char out[SEG_NAME_MAX], uint64_t id, const char *suffix);
void seg_pool_put(struct alm_store *, const struct seg_spare *);
/* Take a spare that holds need bytes: 1 and the spare, or 0. */
int seg_pool_take(struct alm_store *, uint64_t need, struct seg_spare *out);
int seg_pool_clear(struct alm_store *); /* remove them all */
/* A released segment becomes a spare if it is reusable and wanted, else it is removed. */
int seg_give_back(struct alm_store *, const struct seg *, int reusable);
/* Remove one file that release left: 1, or 0 if there is none. */
int seg_bury_one(struct alm_store *);

/* idx.c */
/* Write the durable rows that wait. */
int idx_flush(struct alm_store *);
/* Write the open index file anew from the log: rows for the batches of [s->first, end). */
int idx_rebuild(struct alm_store *, const struct seg *s, uint64_t end);
/* Keep this many rows, which end at a position; synced. */
int idx_truncate(struct alm_store *, uint64_t rows, uint64_t end);
/* The last segment is durable: give all of it rows, synced. A full disk may leave some out. */
int idx_complete(struct alm_store *);
int idx_sync(struct alm_store *);

/* A view of an index file: rows mapped, none if missing. */
struct idx_view {
	const struct seg_head *head; /* NULL: no usable mapping */
	const struct seg_row *rows;
	uint64_t n;
	uint64_t size;
	int head_good;
};

int idx_open_view(const struct alm_host *, int dir, uint64_t first, struct idx_view *out);
void idx_close_view(struct idx_view *);
/* Row k if it is there and passes its checksum, else NULL. */
const struct seg_row *idx_row(const struct alm_host *, const struct idx_view *, uint64_t k);

/* change.c */
/* Carry out (again) what st->meta.pending says; st->segs is loaded, nothing is open. */
int seg_redo(struct alm_store *);

#endif
