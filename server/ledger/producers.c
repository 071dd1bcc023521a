/* ledger/producers.c - the producer table.  Ledger's loop thread.
 *
 * Slots and ranges are preallocated and touched only when used; nothing is allocated for a
 * message.  Slots form a doubly linked list by recency of log order.  Ranges live in one ring,
 * numbered from 1; each knows the number of its producer's range before it, so that a lookup walks
 * back through one producer's ranges only.  Invariant: a range's number is alive while it is
 * greater than newest - SEQ_RANGES_MAX. */
#include "ledger/producers.h"

#include <stdlib.h>
#include <string.h>

#include "ledger/sequencer.h"

#define NONE UINT32_MAX
#define WALK_MAX 16384u /* ranges looked at for one duplicate */

struct slot {
	uint64_t id, log_time;
	uint64_t range; /* number of the newest range, 0: none */
	uint32_t last;
	uint32_t newer, older; /* slots */
};

struct ring_range {
	struct ckpt_range r;
	uint64_t before; /* number of the producer's range before, 0: none */
};

struct producers {
	struct hmap *by_id; /* id -> slot number */
	struct slot *slot;
	struct ring_range *ring;
	uint64_t newest; /* number of the newest range */
	uint32_t used, head, tail; /* slots in use; most and least recent */
};

struct producers *
producers_new(void)
{
	struct producers *p = calloc(1, sizeof *p);

	if (p == NULL)
		return NULL;
	p->by_id = hmap_new();
	p->slot = calloc(SEQ_PRODUCERS_MAX, sizeof *p->slot);
	p->ring = calloc(SEQ_RANGES_MAX, sizeof *p->ring);
	p->head = p->tail = NONE;
	if (p->by_id == NULL || p->slot == NULL || p->ring == NULL) {
		producers_free(p);
		return NULL;
	}
	return p;
}

void
producers_free(struct producers *p)
{
	if (p == NULL)
		return;
	if (p->by_id != NULL)
		hmap_free(p->by_id);
	free(p->slot);
	free(p->ring);
	free(p);
}

static const struct slot *
find_slot(const struct producers *p, uint64_t id)
{
	const uint64_t *at;

	if (p->head != NONE && p->slot[p->head].id == id)
		return &p->slot[p->head];
	at = hmap_get(p->by_id, id);
	return at != NULL ? &p->slot[*at] : NULL;
}

static struct ring_range *
range_at(const struct producers *p, uint64_t number)
{
	if (number == 0 || number + SEQ_RANGES_MAX <= p->newest)
		return NULL;
	return &p->ring[number % SEQ_RANGES_MAX];
}

int
producers_judge(const struct producers *p, uint64_t id, uint32_t sequence, uint32_t *last)
{
	const struct slot *s = find_slot(p, id);
	int32_t ahead;

	if (s == NULL)
		return PRODUCER_NEXT;
	*last = s->last;
	ahead = (int32_t)(sequence - s->last); /* sequences wrap */
	return ahead == 1 ? PRODUCER_NEXT : ahead <= 0 ? PRODUCER_DUPLICATE : PRODUCER_GAP;
}

const struct ckpt_range *
producers_find(const struct producers *p, uint64_t id, uint32_t sequence)
{
	const struct slot *s = find_slot(p, id);
	const struct ring_range *r = s != NULL ? range_at(p, s->range) : NULL;

	for (uint32_t steps = 0; r != NULL && steps < WALK_MAX; steps++) {
		if (sequence - r->r.sequence < r->r.count)
			return &r->r;
		r = range_at(p, r->before);
	}
	return NULL;
}

/* From the newest sequence down, in one walk over the producer's ranges. */
void
producers_offsets(const struct producers *p, uint64_t id, uint32_t first, uint32_t n, uint64_t *out)
{
	const struct slot *s = find_slot(p, id);
	const struct ring_range *r = s != NULL ? range_at(p, s->range) : NULL;
	uint32_t steps = 0;

	while (n-- > 0) {
		while (r != NULL && first + n - r->r.sequence >= r->r.count && steps++ < WALK_MAX)
			r = range_at(p, r->before);
		out[n] = r != NULL && first + n - r->r.sequence < r->r.count
		    ? r->r.offset + (first + n - r->r.sequence) : UINT64_MAX;
	}
}

static void
unlink_slot(struct producers *p, uint32_t at)
{
	struct slot *s = &p->slot[at];

	if (s->newer != NONE)
		p->slot[s->newer].older = s->older;
	else
		p->head = s->older;
	if (s->older != NONE)
		p->slot[s->older].newer = s->newer;
	else
		p->tail = s->newer;
}

static void
link_newest(struct producers *p, uint32_t at)
{
	struct slot *s = &p->slot[at];

	s->newer = NONE;
	s->older = p->head;
	if (p->head != NONE)
		p->slot[p->head].newer = at;
	else
		p->tail = at;
	p->head = at;
}

/* Slot of the producer, made if new, moved to the recent end. NULL if out of memory. */
static struct slot *
touch_slot(struct producers *p, uint64_t id)
{
	uint64_t *found;
	uint32_t at;

	if (p->head != NONE && p->slot[p->head].id == id)
		return &p->slot[p->head];
	found = hmap_get(p->by_id, id);
	if (found != NULL) {
		at = (uint32_t)*found;
		if (p->head != at) {
			unlink_slot(p, at);
			link_newest(p, at);
		}
		return &p->slot[at];
	}
	if (p->used < SEQ_PRODUCERS_MAX) {
		at = p->used;
	} else {
		at = p->tail;
		unlink_slot(p, at);
		hmap_del(p->by_id, p->slot[at].id);
		p->used--;
	}
	found = hmap_put(p->by_id, id);
	if (found == NULL)
		return NULL;
	*found = at;
	p->used++;
	memset(&p->slot[at], 0, sizeof p->slot[at]);
	p->slot[at].id = id;
	link_newest(p, at);
	return &p->slot[at];
}

int
producers_note(struct producers *p, const struct ckpt_range *one, uint64_t batch, uint64_t log_time)
{
	struct slot *s = touch_slot(p, one->producer);
	struct ring_range *r;

	if (s == NULL)
		return ALM_ENOMEM;
	r = range_at(p, s->range);
	s->last = one->sequence + one->count - 1;
	s->log_time = log_time;
	if (r != NULL && r->r.position >= batch && r->r.topic == one->topic &&
	    r->r.queue == one->queue && r->r.sequence + r->r.count == one->sequence &&
	    r->r.offset + r->r.count == one->offset) {
		r->r.count += one->count;
		return ALM_OK;
	}
	r = &p->ring[++p->newest % SEQ_RANGES_MAX];
	r->r = *one;
	r->before = s->range;
	s->range = p->newest;
	return ALM_OK;
}

int
producers_save(const struct producers *p, struct buf *image, struct ckpt_head *head)
{
	uint64_t oldest = p->newest >= SEQ_RANGES_MAX ? p->newest - SEQ_RANGES_MAX + 1 : 1;

	for (uint32_t at = p->tail; at != NONE; at = p->slot[at].newer) {
		struct ckpt_producer row = {p->slot[at].id, p->slot[at].log_time, p->slot[at].last, 0};

		if (buf_put(image, &row, sizeof row) != ALM_OK)
			return ALM_ENOMEM;
		head->count[CKPT_PRODUCERS]++;
	}
	for (uint64_t n = oldest; n <= p->newest; n++) {
		const struct ring_range *r = range_at(p, n);

		if (find_slot(p, r->r.producer) == NULL)
			continue;
		if (buf_put(image, &r->r, sizeof r->r) != ALM_OK)
			return ALM_ENOMEM;
		head->count[CKPT_RANGES]++;
	}
	head->bytes[CKPT_PRODUCERS] = head->count[CKPT_PRODUCERS] * sizeof(struct ckpt_producer);
	head->bytes[CKPT_RANGES] = head->count[CKPT_RANGES] * sizeof(struct ckpt_range);
	return ALM_OK;
}

int
producers_load(struct producers *p, const struct checkpoint *c)
{
	const struct ckpt_producer *row = (const void *)c->section[CKPT_PRODUCERS];
	const struct ckpt_range *range = (const void *)c->section[CKPT_RANGES];

	for (uint64_t i = 0; i < c->head->count[CKPT_PRODUCERS]; i++) {
		struct slot *s = touch_slot(p, row[i].id);

		if (s == NULL)
			return ALM_ENOMEM;
		s->last = row[i].last;
		s->log_time = row[i].log_time;
	}
	for (uint64_t i = 0; i < c->head->count[CKPT_RANGES]; i++) {
		struct slot *s = (struct slot *)(uintptr_t)find_slot(p, range[i].producer);
		struct ring_range *r;

		if (s == NULL)
			continue;
		r = &p->ring[++p->newest % SEQ_RANGES_MAX];
		r->r = range[i];
		r->before = s->range;
		s->range = p->newest;
	}
	return ALM_OK;
}
