/* scan.c - walk the batches of one segment; tell damage from the unsynced tail of a crash.
 *
 * Any process.  Writes nothing.  The bytes are outside input: every length is checked before it
 * is used.  The rules, from which nothing may be taken away:
 *
 *  1. A break in the chain at or below the frontier (highest commit value anywhere) is damage.
 *  2. So is one below an end that is known to be durable, or whose batch has a row in the index file.
 *  3. So is one more than W bytes before the last batch with a whole header: no more than W
 *     bytes are ever unsynced.
 *  4. Anything else is the unsynced tail, even with whole batches behind it, since writes persist in
 *     any order. */
#include "scan.h"

#include <stdio.h>

static const struct alm_batch *
batch_at(const struct seg_scan *s, uint64_t position, uint64_t *room)
{
	uint64_t at = SEG_BLOCK + (position - s->seg->first);

	*room = at < s->size ? s->size - at : 0;
	if (*room < sizeof(struct alm_batch))
		return NULL;
	return (const void *)((const char *)s->base + at);
}

static const struct alm_batch *
header_at(const struct seg_scan *s, uint64_t position)
{
	uint64_t room;
	const struct alm_batch *b = batch_at(s, position, &room);

	if (b == NULL || !seg_batch_header_good(s->host, b, position, room))
		return NULL;
	return b;
}

/* Row of the batch that should begin at position, if the index file has it. */
static const struct seg_row *
row_for(const struct seg_scan *s, uint64_t position, uint64_t index)
{
	const struct seg_row *r = NULL;

	if (s->idx != NULL && index > s->seg->prev.index)
		r = idx_row(s->host, s->idx, index - s->seg->prev.index - 1);
	return r != NULL && r->position == position && r->index == index ? r : NULL;
}

/* Whole batches behind a break. */
struct ahead {
	uint64_t first;    /* position, 0: none */
	uint64_t last;     /* position of the last one */
	uint64_t last_end;
	uint64_t commit;
};

static void
look_ahead(const struct seg_scan *s, uint64_t from, uint64_t above_index, struct ahead *out)
{
	uint64_t end = s->seg->first + seg_capacity(s->size), at = from;
	uint64_t room;

	memset(out, 0, sizeof *out);
	while (at + sizeof(struct alm_batch) <= end) {
		const struct alm_batch *b = batch_at(s, at, &room);

		if (b == NULL)
			break;
		if (b->magic != ALM_BATCH_MAGIC || b->position != at || b->index <= above_index ||
		    !seg_batch_header_good(s->host, b, at, room)) {
			at += 8;
			continue;
		}
		if (out->first == 0)
			out->first = at;
		out->last = at;
		out->last_end = at + b->length;
		if (b->commit < b->index && b->commit > out->commit)
			out->commit = b->commit;
		at += b->length;
	}
}

/* What a break at s->end is. NULL: not damage. */
static const char *
judge(const struct seg_scan *s, const struct ahead *a, const struct seg_row *row)
{
	if (s->end.position < s->known_end)
		return row != NULL ? "batch fails its checks" :
				     "log is broken below its durable end";
	if (row != NULL)
		return "batch fails its checks, its index row shows that it was durable";
	if (s->end.index + 1 <= s->frontier)
		return "batch fails its checks, it is below the commit frontier";
	if (a->first != 0 && a->last - s->end.position > s->max_unsynced)
		return "batch fails its checks further from the end than can be unsynced";
	return NULL;
}

/* The chain breaks at s->end. Returns 1 if the walk goes on behind damage, 0 if it ends here. */
static int
broken(struct seg_scan *s, uint32_t *loose)
{
	uint64_t position = s->end.position, index = s->end.index + 1;
	const struct seg_row *row = row_for(s, position, index);
	const struct alm_batch *b = header_at(s, position);
	struct alm_damage d = {.position = position, .index = index};
	const char *why;
	struct ahead a;
	uint64_t after;

	after = b != NULL ? b->length : row != NULL ? row->length : 8;
	look_ahead(s, position + after, s->end.index, &a);
	s->scanned += seg_capacity(s->size) - (position - s->seg->first);
	if (a.commit > s->frontier)
		s->frontier = a.commit;
	why = judge(s, &a, row);
	if (why == NULL) {
		s->stale_end = a.first != 0 ? a.last_end : b != NULL ? position + b->length : 0;
		return 0;
	}
	d.term = row != NULL ? row->term : b != NULL ? b->term : 0;
	if (a.first != 0)
		d.length = a.first - position;
	else if (s->known_end > position)
		d.length = s->known_end - position;
	else
		d.length = after;
	s->on_damage(s->arg, &d, why);
	if (a.first == 0 || (s->sealed && a.first >= s->known_end))
		return 0;
	b = header_at(s, a.first);
	s->end.position = a.first;
	s->end.index = b->index - 1;
	s->end.crc = b->prev_crc;
	*loose = 1;
	return 1;
}

/* The batch at the end of the good part, if it is whole and continues the chain. */
static const struct alm_batch *
next_good(const struct seg_scan *s, uint32_t loose)
{
	const struct alm_batch *b = header_at(s, s->end.position);
	uint64_t bad_at;

	if (b == NULL || b->prev_crc != s->end.crc || b->index != s->end.index + 1 ||
	    (!loose && b->term < s->end.term))
		return NULL;
	if (s->sealed && b->position + b->length > s->known_end)
		return NULL;
	return s->host->batch_check(b, b->length, &bad_at) == ALM_OK ? b : NULL;
}

void
seg_scan(struct seg_scan *s)
{
	uint32_t loose = 0;

	s->end = s->seg->prev;
	s->stale_end = 0;
	s->scanned = 0;
	for (;;) {
		const struct alm_batch *b;

		if (s->sealed && s->end.position == s->known_end)
			return;
		b = next_good(s, loose);
		if (b == NULL) {
			if (!broken(s, &loose))
				return;
			continue;
		}
		loose = 0;
		if (s->on_batch != NULL)
			s->on_batch(s->arg, b);
		s->end.position += b->length;
		s->end.index = b->index;
		s->end.term = b->term;
		s->end.time = b->log_time;
		s->end.crc = b->header_crc;
		s->scanned += b->length;
		if (b->commit < b->index && b->commit > s->frontier)
			s->frontier = b->commit;
	}
}

const struct alm_batch *
seg_header_walk(const struct alm_host *host, const struct seg *seg, const void *base, uint64_t size,
    uint64_t index, struct seg_end *before)
{
	const struct alm_batch *b = NULL;
	struct seg_end end = seg->prev;

	while (end.position - seg->first < seg_capacity(size)) {
		uint64_t at = SEG_BLOCK + (end.position - seg->first);

		b = (const void *)((const char *)base + at);
		if (!seg_batch_header_good(host, b, end.position, size - at))
			b = NULL;
		if (b == NULL || b->index >= index)
			break;
		end.position += b->length;
		end.index = b->index;
		end.term = b->term;
		end.time = b->log_time;
		end.crc = b->header_crc;
		b = NULL;
	}
	if (before != NULL)
		*before = end;
	return b != NULL && b->index == index ? b : NULL;
}
