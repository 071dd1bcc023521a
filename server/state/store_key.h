/* state/store_key.h - how the state store lays out its keys and rows; inside the store only.
 *
 * Keys: 'm' the meta row; 's' ns 0 key; 'o' topic 0 group 0 queue: one empty row for each
 * offset, so that a topic's offsets are found without a walk over all groups.  A key that is too
 * long for LMDB is cut after SKEY_HEAD bytes and ends with a 128-bit hash of the whole; the row then
 * begins with the whole key.  Such a key has exactly SKEY_MAX bytes, others have fewer. */
#ifndef ALM_STATE_STORE_KEY_H
#define ALM_STATE_STORE_KEY_H

#include "state/store.h"

#include "../plugins/indexer/lib/lmenv.h"

#define SKEY_MAX 511u
#define SKEY_HEAD (SKEY_MAX - 16u)

struct skey {
	uint8_t data[SKEY_MAX];
	uint32_t len;
	uint32_t cut;    /* 1: long; full is needed */
	struct buf full; /* the whole key, type byte included */
};

struct row_head { /* of each row; then the whole key if full_len > 0, then the value */
	uint64_t version;
	uint32_t crc; /* over full key, version, value */
	uint32_t full_len;
};

struct store {
	struct lmenv env;
	struct store_meta {
		uint32_t magic, format;
		uint64_t applied, index;
		uint32_t last_crc, crc; /* crc of this struct with crc 0 */
		uint64_t skipped;
	} meta;
	uint64_t synced, lost;
	uint32_t changed, reserved;
	struct skey key, key2; /* scratch */
	struct buf row;        /* scratch */
};

/* Build type, then the n parts with a zero byte between them (none after the last). */
int skey_make(struct skey *, char type, const struct alm_slice *part, uint32_t n);
/* Decode and check a row found under a stored key: full key (type byte included), version, value. */
int row_decode(const MDB_val *k, const MDB_val *v, struct alm_slice *full, uint64_t *version,
    struct alm_slice *value);

int store_put(struct store *, struct alm_slice ns, struct alm_slice key, uint64_t version,
    struct alm_slice value);
int store_del(struct store *, struct alm_slice ns, struct alm_slice key);
/* Translate the result of an operation; reload the meta row if the transaction was lost. */
int store_done(struct store *, int status, const char *doing);

#endif
