/* ledger/batch.c - build a batch.  Ledger's loop thread; the invariants are in batch.h. */
#include "ledger/batch.h"

#include <string.h>
#include <sys/mman.h>

#define HEAD ((uint32_t)sizeof(struct alm_batch))

static void *
map(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED ? p : NULL;
}

int
batch_init(struct batch *b, uint64_t cap)
{
	memset(b, 0, sizeof *b);
	b->cap = cap;
	b->dir_cap = cap / (sizeof(struct alm_record) + sizeof(struct alm_dir)) + 1;
	b->data = map(cap);
	b->dir = map(b->dir_cap * sizeof *b->dir);
	if (b->data != NULL && b->dir != NULL)
		return ALM_OK;
	batch_free(b);
	return err_set(ALM_ENOMEM, "no memory for a batch buffer of %llu bytes (limits.max_batch)",
	    (unsigned long long)cap);
}

void
batch_free(struct batch *b)
{
	if (b->data != NULL)
		munmap(b->data, b->cap);
	if (b->dir != NULL)
		munmap(b->dir, b->dir_cap * sizeof *b->dir);
	memset(b, 0, sizeof *b);
}

void
batch_open(struct batch *b, uint64_t stamp, uint64_t position, uint64_t log_time, uint64_t now)
{
	b->stamp = stamp;
	b->position = position;
	b->log_time = log_time;
	b->opened_at = now;
	b->index = b->term = b->epoch = b->ticket = 0;
	b->len = HEAD;
	b->n_records = b->n_dir = b->n_groups = b->n_messages = b->flags = b->body_crc = 0;
	b->has_retain = 0;
	b->strict = b->relaxed = (struct result_list){RESULT_NONE, RESULT_NONE, 0};
}

uint64_t
batch_group_max(const struct batch *b)
{
	return b->cap - HEAD - sizeof(struct alm_dir);
}

uint8_t *
batch_room(struct batch *b, uint64_t bytes, uint64_t messages)
{
	/* No group has more messages than its bytes can hold, whatever it says. */
	if (messages > bytes / sizeof(struct alm_record))
		messages = bytes / sizeof(struct alm_record);
	if (b->n_groups == BATCH_GROUPS_MAX || b->n_dir + messages > b->dir_cap ||
	    b->len + bytes + (b->n_dir + messages) * sizeof(struct alm_dir) > b->cap)
		return NULL;
	return b->data + b->len;
}

/* Count a message in its queue's directory row, made if this is the queue's first one here. */
static void
note_in_directory(struct batch *b, const struct alm_record *r, struct seq_queue *q)
{
	const uint64_t bloom = r->tag_hash != 0 ? 1ull << (r->tag_hash & 63) : 1;
	struct alm_dir *d;

	if (q->stamp != b->stamp) {
		INVARIANT(b->n_dir < b->dir_cap);
		q->stamp = b->stamp;
		q->slot = b->n_dir++;
		b->dir[q->slot] = (struct alm_dir){.topic = r->topic, .queue = r->queue,
		    .first_offset = r->offset, .first_byte = r->batch_offset};
	}
	d = &b->dir[q->slot];
	d->count++;
	d->end_byte = r->batch_offset + r->length;
	d->tag_bloom |= bloom;
}

/* Fill in what only the ledger knows, seal the record, count it. */
static void
seal(struct batch *b, struct alm_record *r, uint64_t offset)
{
	r->batch_offset = b->len;
	r->offset = offset;
	r->crc = crc32c(0, (const uint8_t *)r + 8, r->length - 8);
	b->body_crc = crc32c(b->body_crc, r, 16);
	b->len += r->length;
	b->n_records++;
}

int
batch_take(struct batch *b, struct sequencer *s, const struct seq_group *g,
    uint64_t *first_offset, uint64_t *offsets)
{
	const uint32_t end = b->len + g->bytes;
	uint32_t n = 0;

	INVARIANT(g->records == b->data + b->len);
	*first_offset = 0;
	while (b->len < end) {
		struct alm_record *r = (struct alm_record *)(void *)(b->data + b->len);
		const uint64_t position = b->position + b->len;
		int status;

		if (r->kind == ALM_REC_MESSAGE) {
			struct seq_queue *q = &sequencer_topic(s, r->topic)->queue[r->queue];

			seal(b, r, q->next);
			note_in_directory(b, r, q);
			if (n == 0)
				*first_offset = r->offset;
			if (offsets != NULL)
				offsets[n] = r->offset;
			n++;
		} else {
			seal(b, r, 0);
		}
		status = sequencer_fold(s, r, position, b->position, b->log_time);
		if (status != ALM_OK)
			return status;
	}
	INVARIANT(b->len == end);
	b->n_groups++;
	b->n_messages += n;
	if (g->flags & GROUP_STATE)
		b->flags |= ALM_BATCH_STATE;
	if (g->flags & GROUP_CATALOGUE)
		b->flags |= ALM_BATCH_CATALOGUE;
	return ALM_OK;
}

int
batch_control(struct batch *b, uint32_t kind, const void *body, uint32_t len)
{
	const uint32_t pad = (8u - len % 8u) % 8u;
	const uint32_t length = (uint32_t)sizeof(struct alm_record) + len + pad;
	struct alm_record *r = (void *)batch_room(b, length, 0);

	if (r == NULL)
		return ALM_ETOOBIG;
	memset(r, 0, length);
	r->length = length;
	r->magic = ALM_RECORD_MAGIC;
	r->kind = (uint8_t)kind;
	r->pad = (uint8_t)pad;
	r->born = b->log_time;
	if (len > 0)
		memcpy(r + 1, body, len);
	seal(b, r, 0);
	b->flags |= ALM_BATCH_CONTROL;
	if (kind == ALM_REC_RETAIN) {
		INVARIANT(len == sizeof b->retain);
		memcpy(&b->retain, body, len);
		b->has_retain = 1;
	}
	return ALM_OK;
}

struct alm_slice
batch_close(struct batch *b, uint64_t commit, uint32_t member, uint32_t prev_crc)
{
	struct alm_batch *h = (struct alm_batch *)(void *)b->data;
	const uint32_t dir_bytes = b->n_dir * (uint32_t)sizeof(struct alm_dir);

	INVARIANT(b->len + (uint64_t)dir_bytes <= b->cap && b->n_records > 0);
	memcpy(b->data + b->len, b->dir, dir_bytes);
	*h = (struct alm_batch){.magic = ALM_BATCH_MAGIC, .version = ALM_BATCH_VERSION,
	    .flags = (uint16_t)b->flags, .length = b->len + dir_bytes, .prev_crc = prev_crc,
	    .index = b->index, .term = b->term, .position = b->position, .log_time = b->log_time,
	    .commit = commit, .records = b->n_records, .dir_offset = b->len, .dir_count = b->n_dir,
	    .member = member};
	h->body_crc = crc32c(b->body_crc, b->data + b->len, dir_bytes);
	h->header_crc = batch_header_crc(h);
	return (struct alm_slice){b->data, h->length};
}
