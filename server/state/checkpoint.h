/* state/checkpoint.h - the file catalogue.ckpt in the data directory: all that the ledger's
 * sequencer knows, as of one position of the log.
 *
 * Written by the ledger alone (temporary name, fdatasync, rename, directory fsync, so a reader
 * finds the old file or the new one, never a mixture).  Read by the ledger at start and by every
 * worker for its catalogue.  Invariants: position is a batch boundary at or below "visible" when
 * the file was written; RETAIN never passes it.
 *
 * Layout, little-endian, everything 8-byte aligned: struct ckpt_head, then CKPT_SECTIONS sections
 * in the order of their numbers, back to back.  head_crc covers the head with that field zero,
 * body_crc everything behind the head.
 */
#ifndef ALM_STATE_CHECKPOINT_H
#define ALM_STATE_CHECKPOINT_H

#include <almadia/log.h>

#include "base/base.h"

#define CKPT_FILE "catalogue.ckpt"
#define CKPT_MAGIC 0x3154504b434d4c41ull /* "ALMCKPT1" */
#define CKPT_VERSION 2u

#define CKPT_TOPICS 0u    /* struct ckpt_topic, then the name padded to 8 */
#define CKPT_GROUPS 1u    /* struct ckpt_group, then the name padded to 8 */
#define CKPT_QUEUES 2u    /* struct ckpt_queue: next offset, where it is not 0 */
#define CKPT_VERSIONS 3u  /* struct ckpt_version: of every state key */
#define CKPT_PRODUCERS 4u /* struct ckpt_producer, least recent first */
#define CKPT_RANGES 5u    /* struct ckpt_range, oldest first */
#define CKPT_SECTIONS 6u

struct ckpt_head { /* 160 bytes */
	uint64_t magic;
	uint32_t version, head_crc;
	uint32_t body_crc, next_topic_id;
	uint64_t position;   /* the log from here on is not in the file */
	uint64_t index;      /* of the last batch that is */
	uint64_t term;
	uint64_t log_time;
	uint64_t reserved;
	uint64_t bytes[CKPT_SECTIONS];
	uint64_t count[CKPT_SECTIONS];
};

struct ckpt_topic {
	struct alm_topic topic;
	uint64_t version;
	uint32_t name_len, reserved;
};

struct ckpt_group {
	struct alm_group group;
	uint64_t version;
	uint32_t name_len, reserved;
};

struct ckpt_queue {
	uint32_t topic, queue;
	uint64_t next_offset;
};

struct ckpt_version {
	struct hash128 key;
	uint64_t version;
	uint64_t topic, group; /* of an offset: hash64 of the names; else 0 */
};

struct ckpt_producer {
	uint64_t id, log_time;
	uint32_t last, reserved;
};

struct ckpt_range {
	uint64_t producer;
	uint32_t sequence, count;
	uint32_t topic, queue;
	uint64_t offset, position;
};

/* A file read whole and checked. */
struct checkpoint {
	struct ckpt_head *head; /* owned; the sections follow it in memory */
	const uint8_t *section[CKPT_SECTIONS];
};

/* Read and check data_dir's checkpoint.  ALM_ENOTFOUND: none; ALM_ECORRUPT, ALM_EVERSION, ALM_EIO
 * with err_text().  Sizes and counts of sections agree and every name fits after ALM_OK. */
int checkpoint_read(const char *data_dir, struct checkpoint *out);
void checkpoint_free(struct checkpoint *);

/* Walk the topics or groups of a checked file: *at starts as 0.  NULL at the end. */
const struct ckpt_topic *checkpoint_topic(const struct checkpoint *, uint64_t *at,
    struct alm_slice *name);
const struct ckpt_group *checkpoint_group(const struct checkpoint *, uint64_t *at,
    struct alm_slice *name);

/* Complete image (a ckpt_head with magic and CRCs still unset, then the sections) and write it.
 * Blocks on the disk; any thread, one at a time. */
int checkpoint_write(const char *data_dir, struct buf *image);

#endif
