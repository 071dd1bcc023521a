/* verify.c - check everything offline: chain, every record's CRC, log against index file and back,
 * header blocks, meta.  Any process while no writer is open; changes nothing. */
#include "recover.h"

static void
check_row(void *arg, const struct alm_batch *b)
{
	struct walk *w = arg;
	const struct idx_view *idx = w->scan.idx;
	uint64_t k = b->index - w->scan.seg->prev.index - 1;
	const struct seg_row *r;

	w->batches++;
	w->records += b->records;
	w->bytes += b->length;
	if (k >= idx->n) {
		if (w->scan.sealed && w->rows_missing++ == 0)
			seg_found(w->st, ALM_LOG_ERROR, b->position,
			    "index file has no row for index %llu", (unsigned long long)b->index);
		return;
	}
	r = idx_row(w->st->host, idx, k);
	if (r != NULL && r->index == b->index && r->term == b->term && r->position == b->position &&
	    r->commit == b->commit && r->length == b->length && r->header_crc == b->header_crc &&
	    r->body_crc == b->body_crc)
		return;
	if (r == NULL && !w->scan.sealed && b->position >= w->st->meta.indexed) {
		w->rows_torn++; /* a crash leaves such rows; the next start writes them anew */
		return;
	}
	w->st->findings++;
	seg_found(w->st, ALM_LOG_ERROR, b->position, "index row of index %llu %s",
	    (unsigned long long)b->index, r == NULL ? "is damaged" : "differs from the batch");
}

static int
verify_segment(struct walk *w, uint32_t i)
{
	struct alm_store *st = w->st;
	uint32_t last = i + 1 == st->n_segs;
	struct idx_view idx;
	int rc;

	w->rows_missing = 0;
	rc = idx_open_view(st->host, st->dir, st->segs[i].first, &idx);
	if (rc != ALM_OK && rc != ALM_ENOTFOUND)
		return rc;
	if (rc == ALM_ENOTFOUND || !idx.head_good) {
		st->findings++;
		seg_found(st, ALM_LOG_ERROR, st->segs[i].first, "index file is %s",
		    rc == ALM_ENOTFOUND ? "missing" : "damaged in its header");
	}
	idx_close_view(&idx);
	rc = walk_segment(w, i, last ? st->meta.synced : st->segs[i + 1].first, !last);
	if (rc == ALM_OK && last && w->scan.stale_end > w->scan.end.position)
		seg_found(st, ALM_LOG_NOTICE, w->scan.end.position,
		    "unsynced tail of %llu bytes; the next start cuts it",
		    (unsigned long long)(w->scan.stale_end - w->scan.end.position));
	if (w->rows_missing > 0)
		st->findings++;
	if (w->rows_torn > 0)
		seg_found(st, ALM_LOG_NOTICE, st->segs[i].first,
		    "%llu rows of the index file had not been synced; the next start writes them",
		    (unsigned long long)w->rows_torn);
	/* The chain must go on in the next segment where it ended here. */
	if (rc == ALM_OK && !last && w->boot->n_damage == 0 &&
	    (w->scan.end.index != st->segs[i + 1].prev.index ||
		w->scan.end.crc != st->segs[i + 1].prev.crc)) {
		st->findings++;
		seg_found(st, ALM_LOG_ERROR, st->segs[i + 1].first,
		    "segment header does not continue the log: index %llu follows %llu",
		    (unsigned long long)(st->segs[i + 1].prev.index + 1),
		    (unsigned long long)w->scan.end.index);
	}
	return rc;
}

int
seg_verify(const struct alm_host *host, const char *dir, alm_verify_fn fn, void *arg,
    struct alm_verify_stats *out)
{
	struct alm_boot boot = {.size = sizeof boot};
	struct walk w = {.boot = &boot};
	struct alm_store *st;
	int rc = seg_new(host, dir, ALM_OPEN_READONLY, &st);

	memset(out, 0, sizeof *out);
	if (rc != ALM_OK)
		return rc;
	w.st = st;
	st->find_fn = fn;
	st->find_arg = arg;
	rc = recover_load(st, &boot);
	for (uint32_t i = 0; i < st->n_segs && rc == ALM_OK; i++)
		rc = recover_head(st, &st->segs[i]);
	if (rc != ALM_OK)
		goto out;
	if (st->meta.pending.what != SEG_PENDING_NONE)
		seg_found(st, ALM_LOG_NOTICE, st->meta.pending.position,
		    "a truncation was interrupted; the next start finishes it");
	if (st->n_segs > 0)
		walk_init(&w);
	w.scan.on_batch = check_row;
	for (uint32_t i = 0; i < st->n_segs && rc == ALM_OK; i++)
		rc = verify_segment(&w, i);
	out->batches = w.batches;
	out->records = w.records;
	out->bytes = w.bytes;
	out->first_position = st->meta.start;
	out->next_position = w.scan.end.position;
	out->last_index = w.scan.end.index;
	out->damaged = boot.n_damage + st->findings;
	if (rc == ALM_OK && out->damaged > 0)
		rc = host->fail(host, ALM_ECORRUPT, "%llu damaged places",
		    (unsigned long long)out->damaged);
out:
	seg_discard(st);
	return rc;
}
