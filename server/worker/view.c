/* worker/view.c - reading the log: which batches this worker holds, and the pin that says so.
 *
 * region_head.pin is the lowest position that this worker may touch.  Rules:
 *  - before a batch below the published pin is read, the pin is stored, then (sequentially
 *    consistent) the begin of the log is looked at again: either the ledger sees the pin before
 *    it gives space back, or we see that the log begins later and answer ALM_EOFFSET;
 *  - the pin rises only in pins_publish(), at the end of a turn, so what was scanned in a turn
 *    stays valid in it without being held;
 *  - a held batch (struct view, one for each batch, counted) is in the heap until its last holder
 *    lets go: a fetch that is being answered, or a piece of output that has not left. */
#include "worker/worker.h"

#include <stdlib.h>

/* ---- the ledger's control page ---- */

static const struct control_page *
control(const struct worker *w)
{
	return w->ledger.peer ? &w->ledger.peer->page.control : NULL;
}

uint64_t
log_visible(struct worker *w)
{
	const struct control_page *c = control(w);
	uint64_t v;

	if (c) {
		v = atomic_load_explicit(&c->visible, memory_order_acquire);
		if (v > w->visible)
			w->visible = v;
	}
	return w->visible;
}

uint64_t
log_first(struct worker *w)
{
	const struct control_page *c = control(w);

	return c ? atomic_load(&c->first) : 0;
}

/* ---- heap of held positions ---- */

static void
place(struct pins *p, uint32_t slot, struct view *v)
{
	p->heap[slot] = v;
	v->slot = slot;
}

static void
sift_up(struct pins *p, struct view *v, uint32_t slot)
{
	while (slot > 1 && p->heap[slot / 2]->position > v->position) {
		place(p, slot, p->heap[slot / 2]);
		slot /= 2;
	}
	place(p, slot, v);
}

static void
sift_down(struct pins *p, struct view *v, uint32_t slot)
{
	uint32_t child;

	while ((child = slot * 2) <= p->n) {
		if (child < p->n && p->heap[child + 1]->position < p->heap[child]->position)
			child++;
		if (p->heap[child]->position >= v->position)
			break;
		place(p, slot, p->heap[child]);
		slot = child;
	}
	place(p, slot, v);
}

static int
heap_add(struct pins *p, struct view *v)
{
	struct view **heap;
	uint32_t cap;

	if (p->n + 2 > p->cap) {
		cap = p->cap ? p->cap * 2 : 64;
		heap = realloc(p->heap, cap * sizeof *heap);
		if (!heap)
			return err_set(ALM_ENOMEM, "out of memory for %u held batches", cap);
		p->heap = heap;
		p->cap = cap;
	}
	sift_up(p, v, ++p->n);
	return ALM_OK;
}

static void
heap_del(struct pins *p, struct view *v)
{
	struct view *last = p->heap[p->n--];
	uint32_t slot = v->slot;

	if (last == v)
		return;
	if (slot > 1 && p->heap[slot / 2]->position > last->position)
		sift_up(p, last, slot);
	else
		sift_down(p, last, slot);
}

/* ---- pins ---- */

int
pin_scan(struct worker *w, uint64_t position)
{
	if (position < w->pins.published) {
		atomic_store(&w->self->pin, position);
		atomic_thread_fence(memory_order_seq_cst);
		w->pins.published = position;
	}
	if (position < log_first(w))
		return err_set(ALM_EOFFSET, "position %llu is before the begin of the log",
		    (unsigned long long)position);
	return ALM_OK;
}

void
pins_publish(struct worker *w)
{
	uint64_t lowest = w->pins.n ? w->pins.heap[1]->position : UINT64_MAX;

	if (lowest <= w->pins.published)
		return;
	w->pins.published = lowest;
	atomic_store_explicit(&w->self->pin, lowest, memory_order_release);
}

static int
view_add(struct worker *w, const struct alm_view *v, struct view **out)
{
	struct pins *p = &w->pins;
	uint64_t *slot = hmap_put(p->by_position, v->batch->position + 1);
	struct view *view;

	if (!slot)
		return err_set(ALM_ENOMEM, "out of memory for a held batch");
	if (*slot) {
		*out = (struct view *)(uintptr_t)*slot;
		(*out)->refs++;
		return ALM_OK;
	}
	view = slab_new(&p->views);
	if (!view)
		goto fail;
	view->position = v->batch->position;
	view->v = *v;
	view->refs = 1;
	if (heap_add(p, view)) {
		slab_free(&p->views, view);
		goto fail;
	}
	*slot = (uintptr_t)view;
	count_set(w, COUNT_VIEWS_HELD, p->n);
	*out = view;
	return ALM_OK;
fail:
	hmap_del(p->by_position, v->batch->position + 1);
	return ALM_ENOMEM;
}

int
view_at(struct worker *w, uint64_t position, struct view **out)
{
	uint64_t *held = hmap_get(w->pins.by_position, position + 1);
	struct alm_view v;
	int st;

	if (held) {
		*out = (struct view *)(uintptr_t)*held;
		(*out)->refs++;
		return ALM_OK;
	}
	st = pin_scan(w, position);
	if (!st)
		st = w->store->reader_get(w->reader, position, log_visible(w), &v);
	if (st)
		return st;
	if (v.batch->position != position)
		return err_set(ALM_ECORRUPT, "the batch at position %llu says it is at %llu",
		    (unsigned long long)position, (unsigned long long)v.batch->position);
	return view_add(w, &v, out);
}

int
view_seek(struct worker *w, uint64_t position, struct view **out)
{
	uint64_t start = position > ALM_BATCH_MAX ? position - ALM_BATCH_MAX : 0;
	uint64_t first = log_first(w);
	struct alm_view v;
	int st;

	if (position < first)
		return err_set(ALM_ENOTFOUND, "position %llu is before the begin of the log, %llu",
		    (unsigned long long)position, (unsigned long long)first);
	/* The batch that holds position begins at most a batch before it. */
	st = pin_scan(w, start > first ? start : first);
	if (!st)
		st = w->store->reader_seek(w->reader, position, log_visible(w), &v);
	return st ? st : view_add(w, &v, out);
}

void
view_ref(struct view *v)
{
	v->refs++;
}

void
view_unref(struct worker *w, struct view *v)
{
	if (--v->refs)
		return;
	heap_del(&w->pins, v);
	hmap_del(w->pins.by_position, v->position + 1);
	slab_free(&w->pins.views, v);
	count_set(w, COUNT_VIEWS_HELD, w->pins.n);
}

int
pins_init(struct worker *w)
{
	slab_init(&w->pins.views, sizeof(struct view));
	w->pins.published = UINT64_MAX;
	atomic_store(&w->self->pin, UINT64_MAX);
	w->pins.by_position = hmap_new();
	return w->pins.by_position ? ALM_OK : err_set(ALM_ENOMEM, "out of memory for pins");
}

void
pins_end(struct worker *w)
{
	if (w->pins.by_position)
		hmap_free(w->pins.by_position);
	w->pins.by_position = NULL;
	slab_end(&w->pins.views);
	free(w->pins.heap);
	w->pins.heap = NULL;
	w->pins.n = 0;
}
