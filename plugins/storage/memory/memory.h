/* memory.h - what both halves of the memory store see of the arena.
 *
 *	[0, 8 KiB)     two copies of struct mem_state, written alternately
 *	[8 KiB, ring)  table of marks: for each 64 KiB of the ring the position of the first batch
 *	               that begins in it
 *	[ring, end)    the ring: the byte of position p lies at p modulo its size
 *
 * The ring is mapped twice in a row, so every batch is contiguous in memory although it may wrap.
 * One writer (the ledger); readers in other processes never trust what they read. */
#ifndef MEMORY_MEMORY_H
#define MEMORY_MEMORY_H

#include <almadia/storage.h>

#define MEM_PAGE 4096u
#define MEM_CHUNK 65536u
#define MEM_MAGIC 0x31474f4c4d454dull /* "MEMLOG1" */
#define MEM_VERSION 1u
#define MEM_NO_MARK UINT64_MAX

struct mem_state { /* one page; crc covers it with crc zero */
	uint64_t magic;
	uint32_t version, crc;
	uint64_t write;          /* number of this write; copy = write % 2 */
	uint64_t ring;           /* bytes */
	uint64_t first, first_index;
	uint64_t keep;           /* bytes from here on must not be overwritten; <= first */
	uint64_t next;
	uint64_t last_index, last_term, last_time;
	uint64_t base_index, base_term; /* of the batch before first */
	uint32_t last_crc, base_crc;
	uint64_t epoch, frontier;
	struct alm_meta meta;
};

struct mem_map {
	uint8_t *base;           /* head and marks; read-only in a reader */
	uint8_t *ring;           /* mapped twice */
	uint64_t head_bytes, ring_bytes;
	_Atomic uint64_t *marks; /* ring_bytes / MEM_CHUNK of them */
};

/* Map the host's arena; writable for the writer. Fills head_bytes and ring_bytes from its size. */
int mem_map_open(const struct alm_host *, int writable, struct mem_map *out);
void mem_map_close(struct mem_map *);
/* The newest whole copy: ALM_OK, ALM_ENOTFOUND if there never was one, ALM_ECORRUPT. */
int mem_state_load(const struct alm_host *, const struct mem_map *, struct mem_state *out);
uint32_t mem_state_crc(const struct alm_host *, const struct mem_state *);
/* The batch at position if its header is whole and it ends at or before end, else NULL. */
const struct alm_batch *mem_batch(const struct alm_host *, const struct mem_map *, uint64_t position,
    uint64_t end);
/* The mark of the chunk that holds position. */
_Atomic uint64_t *mem_mark(const struct mem_map *, uint64_t position);

/* memory_read.c */
int memr_open(const struct alm_host *, const char *dir, struct alm_reader **out);
void memr_close(struct alm_reader *);
int memr_get(struct alm_reader *, uint64_t position, uint64_t limit, struct alm_view *out);
int memr_seek(struct alm_reader *, uint64_t position, uint64_t limit, struct alm_view *out);
int memr_find(struct alm_reader *, uint64_t index, uint64_t limit, struct alm_view *out);
void memr_trim(struct alm_reader *, uint64_t first_position);
int memr_verify(const struct alm_host *, const char *dir, alm_verify_fn fn, void *arg,
    struct alm_verify_stats *out);

#endif
