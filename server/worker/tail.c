/* worker/tail.c - recent rows of the queues that are being read, taken from new batches.
 *
 * A queue is tracked from its first fetch until it has not been fetched for some seconds.  Rows
 * (which batch holds which offsets) are complete from the position tracked->from on; the newest 64
 * are kept.  begin and end come once from the index, asked with min_applied = from, so nothing is
 * missed between index and rows; from then on rows move the end.  The scanner reads header and directory of
 * each batch only, and only while something is tracked. */
#include "worker/worker.h"

#include <inttypes.h>
#include <stdlib.h>

#define IDLE_US 5000000u        /* a queue without fetches for so long is forgotten */
#define SCAN_BATCHES 256        /* in one turn */
#define SKIP_BYTES (64u << 20)  /* further behind than this with nobody waiting: start anew */

static uint64_t
queue_key(uint32_t topic, uint32_t queue)
{
	return (uint64_t)topic << 32 | queue;
}

const struct row *
tail_row(const struct tracked *t, uint32_t i)
{
	return &t->row[(t->first + i) % RECENT_ROWS];
}

int
tail_waiting(struct worker *w)
{
	return w->waiting || !list_empty(&w->fold_wait);
}

static void
row_add(struct tracked *t, const struct alm_batch *b, const struct alm_dir *d)
{
	struct row *row;

	if (t->n == RECENT_ROWS) {
		t->first = (t->first + 1) % RECENT_ROWS;
		t->n--;
		t->from = tail_row(t, 0)->q.batch;
	}
	row = &t->row[(t->first + t->n++) % RECENT_ROWS];
	row->q = (struct alm_q_row){.first_offset = d->first_offset, .batch = b->position,
	    .log_time = b->log_time, .first_byte = d->first_byte, .end_byte = d->end_byte,
	    .count = d->count};
	row->bloom = d->tag_bloom;
	if (d->first_offset + d->count > t->end)
		t->end = d->first_offset + d->count;
}

/* Fetches that waited for this queue go on in this turn. */
static void
wake_waiting(struct worker *w, struct tracked *t)
{
	while (!list_empty(&t->waiting)) {
		struct request *r = container_of(t->waiting.next, struct request, node);

		r->u.fetch.parked = 0;
		w->waiting--;
		request_ready(r);
	}
}

static void
scan_batch(struct worker *w, const struct alm_batch *b)
{
	const struct alm_dir *d = alm_batch_dir(b);
	uint64_t *slot;
	uint32_t i;

	count(w, COUNT_TAIL_BATCHES, 1);
	for (i = 0; i < b->dir_count; i++, d++) {
		struct tracked *t;

		slot = hmap_get(w->tracked, queue_key(d->topic, d->queue));
		if (!slot)
			continue;
		t = (struct tracked *)(uintptr_t)*slot;
		row_add(t, b, d);
		wake_waiting(w, t);
	}
}

/* What is known about tracked queues ends here: begin again at visible. */
static void
start_anew(struct worker *w)
{
	struct node *n;

	w->scan = log_visible(w);
	for (n = w->tracked_all.next; n != &w->tracked_all; n = n->next) {
		struct tracked *t = container_of(n, struct tracked, all);

		t->from = w->scan;
		t->first = t->n = 0;
		t->known = 0;
		t->begin = t->end = 0;
		wake_waiting(w, t);
	}
}

void
tail_scan(struct worker *w)
{
	uint64_t visible = log_visible(w);
	struct alm_view v;
	int i, st = ALM_OK;

	if (list_empty(&w->tracked_all)) {
		w->scan = visible;
		return;
	}
	if (visible - w->scan > SKIP_BYTES && !w->waiting) {
		start_anew(w);
		return;
	}
	for (i = 0; w->scan < visible && i < SCAN_BATCHES; i++) {
		st = pin_scan(w, w->scan);
		if (!st)
			st = w->store->reader_get(w->reader, w->scan, visible, &v);
		if (st)
			break;
		if (v.batch->dir_count)
			scan_batch(w, v.batch);
		w->scan = v.next;
	}
	if (st) {
		if (st != ALM_EOFFSET)
			log_error("tail: could not read the log at position %" PRIu64 ": %s", w->scan,
			    *err_text() ? err_text() : status_text(st));
		start_anew(w);
	}
	if (w->scan < visible)
		worker_wake(w);
}

struct tracked *
tail_track(struct worker *w, uint32_t topic, uint32_t queue)
{
	uint64_t key = queue_key(topic, queue);
	uint64_t *slot = hmap_get(w->tracked, key);
	struct tracked *t;

	if (slot) {
		t = (struct tracked *)(uintptr_t)*slot;
		t->used = w->now;
		return t;
	}
	t = calloc(1, sizeof *t);
	slot = t ? hmap_put(w->tracked, key) : NULL;
	if (!slot) {
		free(t);
		err_set(ALM_ENOMEM, "out of memory for a queue's recent rows");
		return NULL;
	}
	*slot = (uintptr_t)t;
	t->key = key;
	list_init(&t->all);
	list_init(&t->waiting);
	if (list_empty(&w->tracked_all))
		w->scan = log_visible(w);
	t->from = w->scan;
	t->used = w->now;
	list_add(&w->tracked_all, &t->all);
	count_set(w, COUNT_QUEUES_TRACKED, hmap_count(w->tracked));
	return t;
}

static void
forget(struct worker *w, struct tracked *t)
{
	list_del(&t->all);
	hmap_del(w->tracked, t->key);
	free(t);
	count_set(w, COUNT_QUEUES_TRACKED, hmap_count(w->tracked));
}

void
tail_sweep(struct worker *w)
{
	struct node *n, *next;

	for (n = w->tracked_all.next; n != &w->tracked_all; n = next) {
		struct tracked *t = container_of(n, struct tracked, all);

		next = n->next;
		if (!t->users && w->now - t->used > IDLE_US)
			forget(w, t);
	}
}

/* Waiting fetches look at the catalogue again: the topic may have gone. */
void
tail_topics_changed(struct worker *w)
{
	struct node *n;

	for (n = w->tracked_all.next; n != &w->tracked_all; n = n->next) {
		struct tracked *t = container_of(n, struct tracked, all);

		if (!list_empty(&t->waiting) &&
		    !catalogue_topic_id(w->catalogue, (uint32_t)(t->key >> 32)))
			wake_waiting(w, t);
	}
}

int
tail_init(struct worker *w)
{
	list_init(&w->tracked_all);
	w->tracked = hmap_new();
	return w->tracked ? ALM_OK : err_set(ALM_ENOMEM, "out of memory for the tail scanner");
}

void
tail_end(struct worker *w)
{
	if (!w->tracked)
		return;
	while (!list_empty(&w->tracked_all))
		forget(w, container_of(w->tracked_all.next, struct tracked, all));
	hmap_free(w->tracked);
	w->tracked = NULL;
}
