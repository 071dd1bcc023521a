/* regress/lib/mkbatch.h - builds valid batches of almadia/log.h for tests.
 *
 *	struct mkbatch m;
 *	mkb_init(&m, 0, 1, 1);                     (position, index, term of the first batch)
 *	mkb_begin(&m);
 *	mkb_message(&m, 1, 0, "tag", "key", "hello", 5)->producer = 7;
 *	b = mkb_end(&m);                           (b->length bytes)
 *	... the next mkb_begin goes on: position, index, offsets and CRC chain follow ...
 *	mkb_free(&m);
 *
 * The public fields may be changed between batches (a new term, a later log time).  Out of memory
 * ends the test program.  One thread.
 */
#ifndef ALM_REGRESS_MKBATCH_H
#define ALM_REGRESS_MKBATCH_H

#include <almadia/log.h>

#include "base/base.h"

struct mkbatch {
	uint64_t position, index, term; /* of the batch being built, or the next one */
	uint64_t log_time;              /* microseconds; a batch adds 1000 */
	uint64_t commit;                /* index - 1 unless set before mkb_end */
	uint32_t prev_crc;              /* header_crc of the batch before */
	uint32_t member;                /* 1 */
	struct hmap *next_offset;       /* topic << 32 | queue -> next offset */
	struct buf out;                 /* the batch */
	uint32_t records, flags;
};

/* One change for mkb_state; value NULL deletes. */
struct mkb_op {
	const void *key;
	uint64_t key_len;
	const void *value;
	uint64_t value_len;
};

void mkb_init(struct mkbatch *, uint64_t position, uint64_t index, uint64_t term);
void mkb_free(struct mkbatch *);
void mkb_begin(struct mkbatch *);
/* Add a record; tag and key may be NULL. What is returned may be changed until the next call. */
struct alm_record *mkb_message(struct mkbatch *, uint32_t topic, uint32_t queue, const char *tag,
    const char *key, const void *body, uint64_t len);
struct alm_record *mkb_state(struct mkbatch *, const char *ns, const struct mkb_op *, uint32_t n);
struct alm_record *mkb_control(struct mkbatch *, uint8_t kind, const void *body, uint64_t len);
/* A record of any kind with ready attributes; sets no offset. */
struct alm_record *mkb_record(struct mkbatch *, uint8_t kind, const void *attrs, uint64_t attrs_len,
    const void *body, uint64_t len);
/* A topic in the catalogue. */
struct alm_record *mkb_topic(struct mkbatch *, const char *name, uint32_t id, uint32_t queues);
/* Offsets, CRCs, directory, chain. The batch is valid until the next mkb_begin or mkb_free. */
const struct alm_batch *mkb_end(struct mkbatch *);
/* After a change of the bytes of a finished batch: make its checksums good again. */
void mkb_reseal(struct mkbatch *);
/* begin, n messages of random size below max over queues of topic 1, end; *seed moves on. */
const struct alm_batch *mkb_random(struct mkbatch *, uint64_t *seed, uint32_t n, uint32_t queues,
    uint32_t max);

#endif
