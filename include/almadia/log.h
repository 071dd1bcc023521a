/* almadia/log.h - the bytes of the log.
 *
 * The log is a sequence of batches.  One batch is one Raft entry.  A batch is a header, then
 * records, then a directory; all little-endian and 8-byte aligned, and the very same bytes on
 * every member.  The directory comes last, so that the leader builds a batch in one pass and
 * writes it with one call; the header says where it begins.
 *
 *   position   of a byte in the log: dense, the sum of the sizes of all batches before it
 *   index      Raft index of a batch
 *   offset     number of a message in its queue
 *
 * Checksums.  A record's crc covers its bytes [8, length).  A batch's body_crc covers the first
 * 16 bytes of each record in order (which hold its length and crc) and then the directory, so a
 * message's bytes are summed once, not twice.  header_crc covers the header with that field
 * zero, body_crc included; prev_crc is the header_crc of the batch before (0 for the first), so
 * the batches form a chain.
 *
 * Readers must not trust lengths: use the functions at the end, which check bounds.
 */
#ifndef ALMADIA_LOG_H
#define ALMADIA_LOG_H

#include <almadia/abi.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ALM_BATCH_MAGIC 0x424d4c41u /* "ALMB" */
#define ALM_BATCH_VERSION 1u
#define ALM_BATCH_MAX (16u << 20)   /* bytes, whole batch */
#define ALM_MESSAGE_MAX (8u << 20)  /* bytes, whole record; the hard limit */

#define ALM_BATCH_STATE 1u     /* holds at least one ALM_REC_STATE record */
#define ALM_BATCH_CATALOGUE 2u /* holds a change of a topic or group: workers fold it */
#define ALM_BATCH_CONTROL 4u   /* holds NOOP, CONFIG or RETAIN */

struct alm_batch { /* 96 bytes */
	uint32_t magic;
	uint16_t version, flags;
	uint32_t length;     /* whole batch in bytes, multiple of 8 */
	uint32_t header_crc;
	uint32_t body_crc;
	uint32_t prev_crc;
	uint64_t group;      /* Raft group, 0 for now */
	uint64_t index, term;
	uint64_t position;
	uint64_t log_time;   /* microseconds since the epoch, never goes back */
	uint64_t commit;     /* the leader's commit index when it built the batch */
	uint32_t records;    /* number of records */
	uint32_t dir_offset; /* byte offset of the directory; records end here */
	uint32_t dir_count;  /* entries */
	uint32_t member;     /* node that stored it first */
	uint64_t reserved;
};

/* Kinds of record. */
#define ALM_REC_MESSAGE 1u
#define ALM_REC_REF 2u    /* a message whose body is at another position: body is struct alm_ref */
#define ALM_REC_STATE 3u  /* STATE_TXN: changes of one namespace */
#define ALM_REC_NOOP 4u
#define ALM_REC_CONFIG 5u /* membership; the consensus provider's bytes */
#define ALM_REC_RETAIN 6u /* body is struct alm_retain */

#define ALM_RECORD_MAGIC 0x4d52u /* "RM" */

/* flags of a record */
#define ALM_RF_USER_MASK 0x0000ffffu /* free for protocol providers, stored and returned */
#define ALM_RF_CODEC_SHIFT 16        /* body codec: 0 none, 1 zlib, 2 lz4, 3 zstd */
#define ALM_RF_ORIGIN_SHIFT 20       /* protocol of origin: 0 native, 1 mqtt, 2 rocketmq */
#define ALM_RF_QOS_SHIFT 24
#define ALM_RF_RETAIN 0x04000000u

struct alm_record { /* 64 bytes, then attributes, then body, then zeros up to length */
	uint32_t length;       /* whole record, multiple of 8 */
	uint32_t crc;          /* CRC32C of bytes [8, length) */
	uint16_t magic;
	uint8_t kind;
	uint8_t pad;           /* zero bytes at the end, 0-7 */
	uint32_t flags;
	uint32_t batch_offset; /* of this record in its batch, so that a reader finds the header */
	uint32_t attrs_len;    /* bytes of attributes */
	uint32_t tag_hash;     /* low 32 bits of hash64(tag), 0: no tag */
	uint32_t topic;        /* topic id, 0 for control records */
	uint32_t queue;
	uint32_t sequence;     /* of the producer */
	uint64_t offset;       /* in the queue */
	uint64_t born;         /* microseconds since the epoch, as the client or worker says */
	uint64_t producer;     /* 0: none, no duplicate check */
};

/* Attributes: {type, len} then len bytes, packed without padding. An unknown type is skipped. */
struct alm_attr {
	uint16_t type, reserved;
	uint32_t len;
};

#define ALM_ATTR_TAG 1u
#define ALM_ATTR_KEY 2u       /* may repeat */
#define ALM_ATTR_PROPERTY 3u  /* u16 name length, name, value; may repeat, order kept */
#define ALM_ATTR_BORN_HOST 4u /* 4 or 16 address bytes, then u16 port */
#define ALM_ATTR_EXPIRY 5u    /* u64 log time */
#define ALM_ATTR_ROUTE 6u     /* routing name, such as the MQTT topic */
#define ALM_ATTR_BODY_CRC32 7u /* u32, zlib's CRC-32 of the body */
#define ALM_ATTR_RECONSUME 8u /* u32 */
#define ALM_ATTR_PREPARED 9u  /* u64 position */

struct alm_ref {
	uint64_t position; /* of the record that holds the body */
};

struct alm_retain {
	uint64_t first_position, first_index; /* the log starts here from now on */
};

/* Directory: one entry for each queue that has messages in the batch. */
struct alm_dir { /* 40 bytes */
	uint32_t topic, queue;
	uint64_t first_offset;
	uint32_t count;
	uint32_t first_byte, end_byte; /* byte range in the batch that holds all of them */
	uint32_t reserved;
	uint64_t tag_bloom; /* bit (tag_hash & 63) of each tagged message; bit 0 too for untagged */
};

/* Body of ALM_REC_STATE: this header, the namespace, then n operations. */
struct alm_state_txn {
	uint16_t ns_len;
	uint16_t n_ops;
	uint32_t reserved;
};

struct alm_state_op { /* then the key, then the value; packed */
	uint8_t op;
	uint8_t reserved;
	uint16_t key_len;
	uint32_t val_len;
};

#define ALM_STATE_PUT 1u
#define ALM_STATE_DELETE 2u

/* ---- reading, with bounds checks ------------------------------------------------------- */

/* Plausible header of a batch of at most max bytes: magic, version, sizes.  No checksums. */
static inline int
alm_batch_plausible(const struct alm_batch *b, uint64_t max)
{
	return b->magic == ALM_BATCH_MAGIC && b->version == ALM_BATCH_VERSION &&
	    b->length >= sizeof *b && b->length <= ALM_BATCH_MAX && b->length <= max &&
	    b->length % 8 == 0 && b->dir_offset >= sizeof *b && b->dir_offset % 8 == 0 &&
	    b->dir_offset <= b->length &&
	    (uint64_t)b->dir_count * sizeof(struct alm_dir) == b->length - b->dir_offset;
}

/* Step through the records: *at starts as sizeof(struct alm_batch).  NULL at the end or if a
 * record does not fit (then *at < b->dir_offset). */
static inline const struct alm_record *
alm_batch_next(const struct alm_batch *b, uint32_t *at)
{
	const struct alm_record *r;

	if (*at > b->dir_offset || b->dir_offset - *at < sizeof *r)
		return NULL;
	r = (const struct alm_record *)(const void *)((const char *)b + *at);
	if (r->length < sizeof *r || r->length % 8 != 0 || r->length > b->dir_offset - *at ||
	    r->magic != ALM_RECORD_MAGIC || r->pad > 7 ||
	    (uint64_t)r->attrs_len + r->pad > r->length - sizeof *r)
		return NULL;
	*at += r->length;
	return r;
}

static inline const struct alm_dir *
alm_batch_dir(const struct alm_batch *b)
{
	return (const struct alm_dir *)(const void *)((const char *)b + b->dir_offset);
}

static inline struct alm_slice
alm_record_body(const struct alm_record *r)
{
	struct alm_slice s = {(const char *)(r + 1) + r->attrs_len,
	    r->length - sizeof *r - r->attrs_len - r->pad};
	return s;
}

/* Step through the attributes: *at starts as 0.  Returns 1 and fills type and value, 0 at the
 * end or at a broken attribute. */
static inline int
alm_record_attr(const struct alm_record *r, uint32_t *at, uint32_t *type, struct alm_slice *val)
{
	struct alm_attr a;
	const char *p = (const char *)(r + 1) + *at;

	if (*at > r->attrs_len || r->attrs_len - *at < sizeof a)
		return 0;
	memcpy(&a, p, sizeof a);
	if (a.len > r->attrs_len - *at - sizeof a)
		return 0;
	*type = a.type;
	val->data = p + sizeof a;
	val->len = a.len;
	*at += (uint32_t)sizeof a + a.len;
	return 1;
}

/* First attribute of a type; len 0 and data NULL if there is none. */
static inline struct alm_slice
alm_record_find(const struct alm_record *r, uint32_t want)
{
	struct alm_slice v = {NULL, 0};
	uint32_t at = 0, type = 0;

	while (alm_record_attr(r, &at, &type, &v))
		if (type == want)
			return v;
	v.data = NULL;
	v.len = 0;
	return v;
}

/* Step through a STATE body: *at starts as 0.  Returns 1 with one operation, 0 at the end,
 * ALM_ECORRUPT if the bytes do not fit.  ns is filled at each step. */
static inline int
alm_state_next(struct alm_slice body, uint64_t *at, struct alm_slice *ns, struct alm_state_op *op,
    struct alm_slice *key, struct alm_slice *val)
{
	const char *p = (const char *)body.data;
	struct alm_state_txn t;

	if (body.len < sizeof t)
		return ALM_ECORRUPT;
	memcpy(&t, p, sizeof t);
	if (t.ns_len > body.len - sizeof t)
		return ALM_ECORRUPT;
	ns->data = p + sizeof t;
	ns->len = t.ns_len;
	if (*at == 0)
		*at = sizeof t + t.ns_len;
	if (*at == body.len)
		return 0;
	if (body.len - *at < sizeof *op)
		return ALM_ECORRUPT;
	memcpy(op, p + *at, sizeof *op);
	if ((uint64_t)op->key_len + op->val_len > body.len - *at - sizeof *op)
		return ALM_ECORRUPT;
	key->data = p + *at + sizeof *op;
	key->len = op->key_len;
	val->data = p + *at + sizeof *op + op->key_len;
	val->len = op->val_len;
	*at += sizeof *op + op->key_len + op->val_len;
	return 1;
}

/* ---- core namespaces ------------------------------------------------------------------- */

#define ALM_NS_TOPIC "topic"   /* key: topic name; value: struct alm_topic */
#define ALM_NS_GROUP "group"   /* key: group name; value: struct alm_group */
#define ALM_NS_OFFSET "offset" /* key: group, 0, topic name, 0, queue as 4 bytes big-endian; value: struct alm_offset */

#define ALM_NAME_MAX 255u /* bytes of a topic or group name: [A-Za-z0-9._%-], see catalogue */
#define ALM_QUEUES_MAX 65536u

/* Durability class of a topic. */
#define ALM_DURABLE_STRICT 0u  /* ack = synced on a majority */
#define ALM_DURABLE_RELAXED 1u /* ack = written on a majority, synced within 100 ms */

struct alm_topic { /* 64 bytes */
	uint32_t version;          /* of this struct: 1 */
	uint32_t id;               /* 0 in a request: the ledger assigns the next */
	uint32_t queues;
	uint32_t durability;
	uint64_t retention_bytes;  /* 0: no limit. Both are recorded, not applied yet: see [retention] */
	uint64_t retention_time;   /* microseconds, 0: no limit */
	uint32_t max_message;      /* bytes of body, 0: the node's limit */
	uint32_t flags;
	uint64_t created;          /* log time */
	uint64_t reserved[2];
};

struct alm_group { /* 32 bytes */
	uint32_t version; /* 1 */
	uint32_t flags;
	uint64_t created;
	uint64_t reserved[2];
};

struct alm_offset { /* 24 bytes */
	uint64_t offset; /* next message to consume */
	uint64_t committed_at; /* wall time of the commit */
	uint64_t reserved;
};

#ifdef __cplusplus
}
#endif
#endif
