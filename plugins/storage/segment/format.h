/* format.h - the bytes of a segment store's directory.  All little-endian; see
 * contrib/doc/format-log.md for the same in words.
 *
 *   meta                   two slots of 4 KiB, written alternately
 *   PPPPPPPPPPPPPPPP.seg   a segment: 4 KiB header, then batches back to back
 *   PPPPPPPPPPPPPPPP.idx   second copy of its batch headers: 4 KiB header, then rows
 *   NNNNNNNN.spare         space that waits to become a segment
 *   NNNNNNNN.tmp           being zeroed; removed at the next start
 *
 * P is the first position in hexadecimal; the byte of position p lies at offset
 * SEG_BLOCK + p - first.
 */
#ifndef SEGMENT_FORMAT_H
#define SEGMENT_FORMAT_H

#include <almadia/host.h>
#include <almadia/storage.h>

#define SEG_BLOCK 4096u
#define SEG_SECTOR 512u
#define SEG_VERSION 1u
#define SEG_MAGIC 0x314745534d4c41ull  /* "ALMSEG1" */
#define SEG_IDX_MAGIC 0x315844494d4c41ull /* "ALMIDX1" */
#define SEG_META_MAGIC 0x314154454d4c41ull /* "ALMETA1" */
#define SEG_NAME_MAX 32u

/* First block of a segment and, with the other magic, of its index file. */
struct seg_head {
	uint64_t magic;
	uint32_t version;
	uint32_t crc;          /* of the whole block with this field zero */
	uint64_t first;        /* position of the first batch */
	uint64_t first_index;  /* its Raft index */
	uint64_t prev_term;    /* of the batch before, 0: none */
	uint64_t prev_time;    /* its log time */
	uint32_t prev_crc;     /* its header_crc */
	uint32_t reserved;
	uint64_t size;         /* of the segment file */
	uint8_t zero[SEG_BLOCK - 64];
};

/* One batch in the index file.  Written only after the batch is durable. */
struct seg_row {
	uint64_t index, term, position;
	uint64_t commit;
	uint32_t length;
	uint32_t header_crc, body_crc;
	uint32_t crc; /* of the 44 bytes before */
};

/* A step that spans several files: carried out again at open until it is cleared. */
#define SEG_PENDING_NONE 0u
#define SEG_PENDING_TRUNCATE 1u /* drop [position, end) */
#define SEG_PENDING_RESEED 2u   /* drop all; begin after index/term at position */

struct seg_pending {
	uint64_t what;
	uint64_t position, end;
	uint64_t index, term;
	uint64_t prev_crc;
};

#define SEG_META_CREATED 1u /* the first segment exists */

/* One copy of a slot.  Fits in a sector, so a crash leaves it old or new, never torn. */
struct seg_meta {
	uint64_t magic;
	uint32_t version;
	uint32_t crc;             /* of the sector with this field zero */
	uint64_t write;           /* number of this write; slot = write % 2 */
	struct alm_meta meta;     /* commit_hint never above what is durable here */
	uint64_t epoch;
	uint64_t flags;           /* SEG_META_* */
	uint64_t start, start_index; /* the log begins here */
	uint64_t synced, synced_index, synced_term; /* known durable up to this end of a batch */
	uint64_t synced_crc;      /* header_crc of the batch that ends there */
	uint64_t max_unsynced;    /* W in force when written */
	struct seg_pending pending;
	uint64_t indexed;         /* index rows are durable up to this position */
	uint8_t zero[SEG_SECTOR - 184];
};

/* A slot holds its copy twice, so that one bad sector is no loss. */
#define SEG_META_COPY_AT 2048u
#define SEG_META_FILE (2u * SEG_BLOCK)

_Static_assert(sizeof(struct seg_head) == SEG_BLOCK, "header block");
_Static_assert(sizeof(struct seg_row) == 48, "row");
_Static_assert(sizeof(struct seg_meta) == SEG_SECTOR, "meta sector");

void seg_name(char out[SEG_NAME_MAX], uint64_t first, const char *suffix);
/* Parse "HEX.suffix" with exactly digits hex digits: 1 and the number, or 0. */
int seg_name_parse(const char *name, uint32_t digits, const char *suffix, uint64_t *out);

void seg_head_seal(const struct alm_host *, struct seg_head *);
int seg_head_good(const struct alm_host *, const struct seg_head *, uint64_t magic, uint64_t first);
void seg_row_make(const struct alm_host *, const struct alm_batch *, struct seg_row *);
int seg_row_good(const struct alm_host *, const struct seg_row *);

/* The batch header is whole: plausible within max bytes, at that position, header CRC right. */
int seg_batch_header_good(const struct alm_host *, const struct alm_batch *, uint64_t position,
    uint64_t max);

#endif
