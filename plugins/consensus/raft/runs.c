/* runs.c - the terms of the log, as runs of entries of one term; and sizes of the newest entries.
 * All that Raft needs of a log whose payload it never sees. */
#include "raft.h"

/* Term of an entry; of the one before the log's begin too.  0: not known (released or forgotten). */
uint64_t
term_at(const struct raft *r, uint64_t index)
{
	uint32_t lo = 0, hi = r->n_runs;

	if (index + 1 == r->first)
		return r->base_term;
	if (index < r->first || index > r->last)
		return 0;
	while (lo < hi) { /* first run that begins after index */
		uint32_t mid = lo + (hi - lo) / 2;

		if (r->run[mid].first <= index)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo == 0 ? 0 : r->run[lo - 1].term;
}

/* The log grows by one entry. */
void
runs_append(struct raft *r, uint64_t index, uint64_t term)
{
	r->last = index;
	if (r->n_runs > 0 && r->run[r->n_runs - 1].term == term)
		return;
	if (r->n_runs == RUNS_MAX) { /* forget the oldest: a follower that needs it is re-seeded */
		memmove(r->run, r->run + 1, (RUNS_MAX - 1) * sizeof r->run[0]);
		r->n_runs--;
	}
	r->run[r->n_runs].first = index;
	r->run[r->n_runs].term = term;
	r->n_runs++;
}

void
runs_truncate(struct raft *r, uint64_t from)
{
	while (r->n_runs > 0 && r->run[r->n_runs - 1].first >= from)
		r->n_runs--;
	r->last = from - 1;
	if (r->sizes_known > SIZES_MAX)
		r->sizes_known = SIZES_MAX;
}

/* The log now begins at first. */
void
runs_release(struct raft *r, uint64_t first)
{
	uint32_t drop = 0;

	if (first <= r->first || first > r->last + 1)
		return;
	r->base_term = term_at(r, first - 1);
	r->first = first;
	while (drop + 1 < r->n_runs && r->run[drop + 1].first <= first)
		drop++;
	if (drop > 0) {
		memmove(r->run, r->run + drop, (r->n_runs - drop) * sizeof r->run[0]);
		r->n_runs -= drop;
	}
}

/* Bytes of an entry; a cautious guess for old ones. */
uint64_t
size_at(const struct raft *r, uint64_t index)
{
	if (index > r->last || r->last - index >= SIZES_MAX || r->size_of[index % SIZES_MAX] == 0)
		return r->max_inflight_bytes / 16 + 1;
	return r->size_of[index % SIZES_MAX];
}
