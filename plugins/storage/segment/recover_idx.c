/* recover_idx.c - the index file of the last segment as a witness.
 *
 * A row exists only if its batch was durable, so the rows tell how far the log must reach and
 * what had been committed.  Rows beyond a missing or damaged row count too. */
#include "recover.h"

#include <errno.h>

void
recover_idx_facts(struct alm_store *st, const struct seg *s, const struct idx_view *idx,
    struct seg_scan *scan)
{
	uint64_t bad = 0;

	for (uint64_t k = 0; k < idx->n; k++) {
		const struct seg_row *r = idx_row(st->host, idx, k);

		if (r == NULL || r->index != s->prev.index + 1 + k || r->position < s->first) {
			bad++;
			continue;
		}
		if (r->commit < r->index && r->commit > scan->frontier)
			scan->frontier = r->commit;
		if (r->position + r->length > scan->known_end)
			scan->known_end = r->position + r->length;
	}
	/* verify looks at each row; here they are made again anyway. */
	if (bad > 0 && st->find_fn == NULL)
		seg_found(st, ALM_LOG_NOTICE, s->first,
		    "%llu rows of the index file are not whole and are made again",
		    (unsigned long long)bad);
}

int
recover_idx_whole(struct alm_store *st, const struct seg *s, const struct idx_view *idx,
    const struct seg_scan *scan)
{
	uint64_t at = s->first;

	if (!idx->head_good || idx->n != scan->end.index - s->prev.index)
		return 0;
	for (uint64_t k = 0; k < idx->n; k++) {
		const struct seg_row *r = idx_row(st->host, idx, k);

		if (r == NULL || r->position != at)
			return 0;
		at += r->length;
	}
	return at == scan->end.position;
}

int
recover_idx_present(struct alm_store *st, const struct seg *s)
{
	struct idx_view idx;
	int rc, good;

	rc = idx_open_view(st->host, st->dir, s->first, &idx);
	good = rc == ALM_OK && idx.head_good;
	idx_close_view(&idx);
	if (good)
		return ALM_OK;
	if (rc != ALM_OK && rc != ALM_ENOTFOUND)
		return rc;
	st->idx_whole = 0;
	seg_found(st, ALM_LOG_WARN, s->first, "index file is missing or damaged; it is made again");
	rc = seg_idx_make(st, s);
	if (rc >= 0)
		seg_io->close(rc);
	return rc >= 0 || rc == ALM_EFULL ? ALM_OK : rc;
}
