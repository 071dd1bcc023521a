/* worker/fold.c - the worker's own catalogue: topics and groups, loaded from the ledger's checkpoint
 * and then folded from the committed log.  w->folded is the position up to which it reflects
 * the log; control_page.catalogue says whether a batch after it matters, so in the ordinary case
 * nothing is read at all.  Each lookup catches up first: what another worker's client was told
 * is true here too. */
#include "worker/worker.h"

#include <inttypes.h>

#define BAD_LOG_US 10000000u /* say once in so long that the log cannot be folded */

/* What the checkpoint says, if it is there and sound and not of a longer log than this one; in all
 * other cases the log alone has to do, which needs its begin.  ALM_OK and *position, from where to
 * fold, or why neither is possible. */
static int
load_checkpoint(struct worker *w, struct catalogue **c, uint64_t *position)
{
	int st = catalogue_load(*c, w->core->data_dir, position);

	if (st == ALM_OK && *position > log_visible(w))
		st = err_set(ALM_ESTALE, "it is of position %" PRIu64 ", the log ends at %" PRIu64,
		    *position, log_visible(w));
	if (st == ALM_OK || st == ALM_ENOTFOUND)
		return ALM_OK;
	if (log_first(w) > 0)
		return st;
	log_warn("checkpoint ignored, folding the catalogue from the log: %s", err_text());
	catalogue_free(*c);
	*position = 0;
	*c = catalogue_new();
	return *c ? ALM_OK : err_set(ALM_ENOMEM, "out of memory for the catalogue");
}

int
fold_load(struct worker *w)
{
	struct catalogue *c = catalogue_new();
	uint64_t position = 0;
	int st;

	if (!c)
		return err_set(ALM_ENOMEM, "out of memory for the catalogue");
	st = load_checkpoint(w, &c, &position);
	if (st) {
		if (c)
			catalogue_free(c);
		return st;
	}
	if (position < log_first(w))
		position = log_first(w);
	if (w->catalogue)
		catalogue_free(w->catalogue);
	w->catalogue = c;
	w->folded = position;
	return ALM_OK;
}

/* One batch; 1 if it changed the catalogue, 0 if not, or an error. */
static int
fold_batch(struct worker *w, uint64_t visible)
{
	struct alm_view v;
	int st, changed;

	st = pin_scan(w, w->folded);
	if (!st)
		st = w->store->reader_get(w->reader, w->folded, visible, &v);
	if (st)
		return st;
	changed = (v.batch->flags & ALM_BATCH_CATALOGUE) != 0;
	if (changed)
		st = catalogue_apply(w->catalogue, v.batch);
	if (!st)
		w->folded = v.next;
	return st ? st : changed;
}

static void
complain(struct worker *w, int st)
{
	w->fold_stuck = 1;
	if (w->now - w->fold_complained < BAD_LOG_US && w->fold_complained)
		return;
	w->fold_complained = w->now;
	log_error("catalogue: could not follow the log at position %" PRIu64 ": %s", w->folded,
	    *err_text() ? err_text() : status_text(st));
}

int
fold_run(struct worker *w)
{
	uint64_t visible = log_visible(w), newest;
	int st, changed = 0;

	if (!w->catalogue || !w->ledger.peer || w->folded >= visible)
		return 0;
	/* The ledger stores catalogue before visible. */
	newest = atomic_load_explicit(&w->ledger.peer->page.control.catalogue, memory_order_acquire);
	while (w->folded < newest && w->folded < visible) {
		err_clear();
		st = fold_batch(w, visible);
		if (st == ALM_EOFFSET) /* retention passed us: a newer checkpoint covers it */
			st = fold_load(w) ? ALM_EOFFSET : ALM_OK;
		if (st < 0) {
			complain(w, st);
			return changed;
		}
		changed |= st;
	}
	if (w->folded < visible)
		w->folded = visible;
	w->fold_stuck = 0;
	if (changed)
		tail_topics_changed(w);
	return changed;
}

const struct topic_entry *
fold_topic(struct worker *w, struct alm_slice name)
{
	fold_run(w);
	return catalogue_topic(w->catalogue, name);
}

const struct topic_entry *
fold_topic_id(struct worker *w, uint32_t id)
{
	fold_run(w);
	return catalogue_topic_id(w->catalogue, id);
}

const struct group_entry *
fold_group(struct worker *w, struct alm_slice name)
{
	fold_run(w);
	return catalogue_group(w->catalogue, name);
}
