/* wire.h - the bytes of the native protocol, shared by the server's plugin and libalmadia.
 *
 * A frame is a 16-byte head and a payload, little-endian, padded with zeros so that the whole is
 * a multiple of 8 bytes; records of the log in it are then aligned in a receive buffer that is.
 * contrib/doc/protocol-native.md describes every frame.  Pure functions, no state, any thread.
 * Nothing here trusts a length: readers latch an error instead of running past the end.
 */
#ifndef ALM_NATIVE_WIRE_H
#define ALM_NATIVE_WIRE_H

#include <almadia/log.h>

#define WIRE_MAGIC 0x314e4c41u /* "ALN1", first word of HELLO and WELCOME */
#define WIRE_VERSION_MIN 1u
#define WIRE_VERSION_MAX 1u
#define WIRE_HEAD 16u
/* Whatever max frame a peer announces, it takes one message of any size. */
#define WIRE_FRAME_LEAST (ALM_MESSAGE_MAX + 65536u)
#define WIRE_FRAME_MOST (64u << 20)
#define WIRE_PUBLISH_MOST 65536u /* messages in one PUBLISH frame */
#define WIRE_QUEUE_ANY 0xffffffffu
#define WIRE_TAGS_MAX 1024u      /* bytes of a tag filter */
#define WIRE_KEY_MAX 4096u       /* bytes of a key, of a state key, prefix or cursor */

/* Types.  A reply has the type of its request with WIRE_REPLY set. */
#define WIRE_REPLY 0x80u
#define WIRE_HELLO 0x01u
#define WIRE_PING 0x02u
#define WIRE_PUBLISH 0x10u
#define WIRE_FETCH 0x11u
#define WIRE_SUBSCRIBE 0x12u
#define WIRE_CREDIT 0x13u /* has no reply */
#define WIRE_UNSUBSCRIBE 0x14u
#define WIRE_COMMIT 0x15u
#define WIRE_BOUNDS 0x16u
#define WIRE_OFFSET_AT 0x17u
#define WIRE_LOOKUP_POSITION 0x18u
#define WIRE_LOOKUP_KEY 0x19u
#define WIRE_TOPIC_PUT 0x20u
#define WIRE_TOPIC_DELETE 0x21u
#define WIRE_TOPIC_LIST 0x22u
#define WIRE_TOPIC_GET 0x23u
#define WIRE_GROUP_CREATE 0x24u
#define WIRE_GROUP_DELETE 0x25u
#define WIRE_STATE_GET 0x26u
#define WIRE_STATE_SCAN 0x27u
#define WIRE_ADMIN 0x28u
/* From the server without a request. */
#define WIRE_DELIVER 0xc0u /* correlation: the SUBSCRIBE's */
#define WIRE_GOAWAY 0xc1u
#define WIRE_ERROR 0xffu   /* correlation: the request's; 0: the connection ends */

/* Flags of a PUBLISH reply: a list {u32 queue, u32 0, u64 offset} a message follows. */
#define WIRE_F_SCATTER 1u

struct wire_head {
	uint32_t length; /* of the whole frame, as this code uses it */
	uint8_t type, flags;
	uint64_t correlation;
};

/* ---- reading -------------------------------------------------------------------------- */

struct wire_in {
	const uint8_t *p, *end;
	int bad; /* latched: something did not fit, all later results are 0 */
};

/* Head of the frame at p.  1: filled; 0: fewer than WIRE_HEAD bytes; ALM_EPROTO: no frame starts
 * like this; ALM_ETOOBIG: larger than limit.  The payload need not be there yet. */
int wire_head_get(const uint8_t *p, uint64_t len, uint64_t limit, struct wire_head *out);
struct wire_in wire_payload(const uint8_t *frame, const struct wire_head *);

uint16_t wire_u16(struct wire_in *);
uint32_t wire_u32(struct wire_in *);
uint64_t wire_u64(struct wire_in *);
struct alm_slice wire_bytes(struct wire_in *, uint64_t len);
/* Skip to the next multiple of 8 from base. */
void wire_align(struct wire_in *, const uint8_t *base);

/* ---- writing -------------------------------------------------------------------------- */

/* A growable frame buffer.  data is from malloc; a failed allocation latches bad. */
struct wire_out {
	uint8_t *data;
	uint64_t len, cap;
	uint64_t start; /* of the frame under construction */
	int bad;
};

void wire_begin(struct wire_out *, uint32_t type, uint32_t flags, uint64_t correlation);
/* Completes the head; extra bytes (a multiple of 8) follow by other means. */
void wire_end(struct wire_out *, uint64_t extra);
void wire_put(struct wire_out *, const void *, uint64_t len);
void wire_put16(struct wire_out *, uint32_t);
void wire_put32(struct wire_out *, uint32_t);
void wire_put64(struct wire_out *, uint64_t);
void wire_put_slice(struct wire_out *, struct alm_slice);
void wire_pad(struct wire_out *); /* zeros up to a multiple of 8 of the frame */
/* Room for len bytes at the end, which the caller fills; NULL if out of memory. */
uint8_t *wire_room(struct wire_out *, uint64_t len);
void wire_reset(struct wire_out *);
void wire_out_free(struct wire_out *);

/* ---- PUBLISH -------------------------------------------------------------------------- */

/* Head of the payload, then the topic's name padded to 8 bytes, then n messages. */
struct wire_publish {
	uint32_t topic;    /* id; 0: by name */
	uint32_t queue;    /* WIRE_QUEUE_ANY: by key or as the server likes */
	uint64_t producer; /* 0: no duplicate check */
	uint64_t born;     /* microseconds, 0: now */
	uint32_t sequence; /* of the first message */
	uint32_t n;
	struct alm_slice name;
};

#define WIRE_PUBLISH_SEQUENCE_AT (WIRE_HEAD + 24u) /* byte of the frame, for resending */
#define WIRE_PUBLISH_PRODUCER_AT (WIRE_HEAD + 8u)
#define WIRE_MESSAGE_HEAD 16u

struct wire_message {
	uint32_t flags;
	uint32_t born_delta;
	struct alm_slice attrs, body;
	struct alm_slice key; /* the first one; len 0: none */
};

void wire_publish_put(struct wire_out *, const struct wire_publish *);
/* ALM_OK or ALM_EPROTO; leaves the reader at the first message. */
int wire_publish_get(struct wire_in *, struct wire_publish *);
/* ALM_OK or ALM_EPROTO; attributes are checked by wire_attrs_check. */
int wire_message_get(struct wire_in *, struct wire_message *);
/* Attributes as log.h wants them: each fits, properties are well formed, keys and tags within limits,
 * no more than one tag.  ALM_OK or ALM_EPROTO; *key is the first key. */
int wire_attrs_check(const void *attrs, uint64_t len, struct alm_slice *key);

/* ---- records -------------------------------------------------------------------------- */

/* Head of the payload of a FETCH reply, LOOKUP reply and DELIVER: then n_chunks of
 * struct wire_chunk, then the records. */
struct wire_records {
	int32_t status; /* DELIVER: not ALM_OK: the subscription ends */
	uint32_t topic, queue, n_chunks;
	uint64_t begin, end, next_offset;
	uint64_t bytes; /* of records */
};

struct wire_chunk {
	uint64_t position, len;
};

#define WIRE_RECORDS_HEAD 48u

void wire_records_put(struct wire_out *, const struct wire_records *);
/* Checks that n_chunks and bytes fit; leaves the reader at the chunks. */
int wire_records_get(struct wire_in *, struct wire_records *);
/* Next record of bytes [*at, len); NULL at the end or if it does not fit (*at < len then).
 * data is 8-byte aligned. */
const struct alm_record *wire_record_next(const uint8_t *data, uint64_t len, uint64_t *at);

/* ---- ERROR ---------------------------------------------------------------------------- */

struct wire_error {
	int32_t status;
	uint32_t retry_ms; /* hint; 0: none */
	struct alm_slice detail, address; /* of the leader, with ALM_ENOTLEADER */
};

void wire_error_put(struct wire_out *, uint64_t correlation, const struct wire_error *);
int wire_error_get(struct wire_in *, struct wire_error *);

#endif
