/* ipc/message.h - what travels in the rings between worker, ledger and indexer.
 * Everything a worker writes is untrusted at the other end. */
#ifndef ALM_IPC_MESSAGE_H
#define ALM_IPC_MESSAGE_H

#include "base/base.h"

#include <almadia/log.h>
#include <almadia/indexer.h>

/* worker -> ledger */
#define MSG_APPEND 1u
#define MSG_NOTIFY 2u /* also ledger -> worker */

/* A group: n_conditions conditions, then n_records records as in almadia/log.h, 8-byte aligned,
 * `bytes` in all (conditions and records, without this header).  A record's length, magic, kind, pad, flags, attrs_len, tag_hash, topic, queue,
 * sequence, born and producer are filled; the ledger fills crc, batch_offset and offset.
 * The whole group has one producer and consecutive sequences, or producer 0. */
struct msg_append {
	uint64_t tag;
	uint32_t n_records, n_conditions;
	uint32_t bytes;
	uint32_t flags;
};

struct msg_condition {
	struct hash128 key;   /* state_key_hash(ns, key) */
	uint64_t version;     /* what it must be, 0: absent */
};

/* ledger -> worker */
#define MSG_RESULT 3u

#define RESULT_DUPLICATE 1u

struct msg_result {
	uint64_t tag;
	int32_t status;
	uint32_t flags;
	uint64_t index;
	uint64_t position;     /* of the group's first record: its version as state, its id as message */
	uint64_t end;          /* end position of the batch: visible once visible >= end */
	uint64_t first_offset; /* of the first message; UINT64_MAX: a duplicate too old to know */
	uint32_t n_offsets;    /* offsets that follow, when they are not consecutive in one queue */
	uint32_t reserved;
	char detail[96];       /* why not, for people; "" if ok */
};

struct msg_notify {
	uint64_t conn;         /* bits: 16 node, 8 worker slot, 40 number */
	uint64_t reserved;
};

/* worker -> indexer */
#define MSG_QUERY 4u
/* indexer -> worker */
#define MSG_ANSWER 5u

/* what: ALM_Q_* (almadia/indexer.h) or one of these. */
#define Q_STATE_GET 1000u  /* in: u16 ns_len, u16 key_len, ns, key; out: u64 version, value */
#define Q_STATE_SCAN 1001u /* in: struct q_scan, ns, prefix, after; out: rows as alm_broker.state_scan */

struct q_scan {
	uint16_t ns_len, prefix_len, after_len, reserved;
	uint32_t limit, max_bytes;
};

struct msg_query {
	uint64_t tag;
	uint64_t min_applied;  /* held until the log is applied up to here */
	uint32_t what;
	uint32_t max_bytes;    /* of the answer */
};

struct msg_answer {
	uint64_t tag;
	int32_t status;
	uint32_t len;
	uint64_t applied;      /* position the answer reflects */
};

#endif
