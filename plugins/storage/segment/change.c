/* change.c - truncate, reseed, release, space, prepare.
 *
 * Ledger's main thread while nothing is appended, but space (tail owner) and prepare (helper).
 *
 * Truncate and reseed touch several files, so what is to be done is first saved in meta; open does it
 * again until meta says that it is finished.  Cut space is zeroed and whole segments behind the
 * cut are removed, never recycled: so no batch of the dropped part can ever be met at its own
 * position again. */
#include "change.h"
#include "scan.h"
#include "store.h"

#include <errno.h>
#include <stdio.h>

static void
durable_is_end(struct alm_store *st)
{
	st->durable.epoch = st->meta.epoch;
	st->durable.index = st->end.index;
	st->durable.term = st->end.term;
	st->durable.position = st->end.position;
}

static int
redo_truncate(struct alm_store *st)
{
	const struct seg_pending *p = &st->meta.pending;
	uint64_t rows, have, end;
	int64_t size;
	int rc;

	seg_close_last(st);
	while (st->n_segs > 1 && seg_last(st)->first > p->position) {
		rc = seg_unlink(st, seg_last(st)->first);
		if (rc != ALM_OK)
			return rc;
		st->n_segs--;
	}
	rc = seg_io->dir_sync(st->dir);
	if (rc < 0)
		return seg_fatal(st, "sync", "the log directory", -rc);
	rc = seg_open_last(st);
	if (rc != ALM_OK)
		return rc;
	end = seg_last(st)->first + seg_capacity(seg_last(st)->size);
	if (p->end < end)
		end = p->end;
	if (end > p->position) {
		rc = io_zero(st->fd, SEG_BLOCK + (p->position - seg_last(st)->first),
		    end - p->position);
		if (rc < 0)
			return seg_fatal(st, "zero", "the cut part of the log", -rc);
	}
	rc = seg_io->sync(st->fd);
	if (rc < 0)
		return seg_fatal(st, "sync", "the cut segment", -rc);
	size = st->idx_fd < 0 ? 0 : seg_io->size(st->idx_fd);
	have = size > (int64_t)SEG_BLOCK ? ((uint64_t)size - SEG_BLOCK) / sizeof(struct seg_row) : 0;
	rows = p->index > seg_last(st)->prev.index ? p->index - seg_last(st)->prev.index - 1 : 0;
	rc = idx_truncate(st, rows < have ? rows : have, p->position);
	st->idx_stalled = rows > have; /* the caller writes what is missing */
	return rc;
}

static int
redo_reseed(struct alm_store *st)
{
	const struct seg_pending *p = &st->meta.pending;
	int rc;

	seg_close_last(st);
	for (; st->n_segs > 0; st->n_segs--) {
		rc = seg_unlink(st, seg_last(st)->first);
		if (rc != ALM_OK)
			return rc;
	}
	rc = seg_pool_clear(st);
	if (rc != ALM_OK)
		return rc;
	st->n_rows = st->rows_durable = 0;
	st->end.position = p->position;
	st->end.index = p->index;
	st->end.term = p->term;
	st->end.time = 0;
	st->end.crc = (uint32_t)p->prev_crc;
	return seg_begin(st, 0);
}

int
seg_redo(struct alm_store *st)
{
	int rc = ALM_OK;

	if (st->meta.pending.what == SEG_PENDING_TRUNCATE)
		rc = redo_truncate(st);
	else if (st->meta.pending.what == SEG_PENDING_RESEED)
		rc = redo_reseed(st);
	if (rc != ALM_OK)
		return rc;
	memset(&st->meta.pending, 0, sizeof st->meta.pending);
	st->meta.flags |= SEG_META_CREATED;
	return meta_save(st);
}

int
seg_set_cut(struct alm_store *st, const struct seg_end *cut, uint64_t old_end)
{
	st->meta.epoch++;
	st->meta.pending.what = SEG_PENDING_TRUNCATE;
	st->meta.pending.position = cut->position;
	st->meta.pending.end = old_end;
	st->meta.pending.index = cut->index + 1;
	st->meta.pending.term = cut->term;
	st->meta.pending.prev_crc = cut->crc;
	if (st->meta.meta.commit_hint > cut->index)
		st->meta.meta.commit_hint = cut->index;
	if (st->meta.indexed > cut->position)
		st->meta.indexed = cut->position;
	if (st->meta.synced > cut->position) {
		st->meta.synced = cut->position;
		st->meta.synced_index = cut->index;
		st->meta.synced_term = cut->term;
		st->meta.synced_crc = cut->crc;
	}
	return meta_save(st);
}

/* The log's end just before the batch with an index. */
static int
end_before(struct alm_store *st, uint64_t from, struct seg_end *out)
{
	char name[SEG_NAME_MAX];
	const struct seg *s;
	uint32_t i = st->n_segs - 1;
	void *base;
	int fd;

	while (i > 0 && st->segs[i].prev.index >= from)
		i--;
	s = &st->segs[i];
	seg_name(name, s->first, "seg");
	fd = seg_io->open(st->dir, name, IO_READ);
	if (fd < 0)
		return seg_fatal(st, "open", name, -fd);
	base = seg_io->map(fd, s->size);
	seg_io->close(fd);
	if (base == NULL)
		return st->host->fail(st->host, ALM_ENOMEM, "could not map %s", name);
	seg_header_walk(st->host, s, base, s->size, from, out);
	seg_io->unmap(base, s->size);
	if (out->index + 1 != from)
		return st->host->fail(st->host, ALM_ECORRUPT,
		    "no batch with index %llu in %s, its headers end at index %llu",
		    (unsigned long long)from, name, (unsigned long long)out->index);
	return ALM_OK;
}

int
seg_truncate(struct alm_store *st, uint64_t from, struct alm_durable *out)
{
	uint64_t old_end = st->end.position;
	struct seg_end cut = st->end;
	int rc;

	if (st->failed)
		return st->failed;
	if (st->damaged)
		return seg_refuse_damaged(st);
	if (from > st->end.index + 1 || from < st->meta.start_index)
		return st->host->fail(st->host, ALM_EINVAL,
		    "cannot truncate from index %llu: the log holds %llu to %llu",
		    (unsigned long long)from, (unsigned long long)st->meta.start_index,
		    (unsigned long long)st->end.index);
	if (from <= st->end.index) {
		rc = end_before(st, from, &cut);
		if (rc != ALM_OK)
			return rc;
	}
	/* What stays must be durable before the cut is recorded. */
	rc = seg_sync(st, NULL);
	if (rc == ALM_OK)
		rc = idx_flush(st);
	if (rc == ALM_OK)
		rc = seg_set_cut(st, &cut, old_end);
	if (rc == ALM_OK)
		rc = seg_redo(st);
	if (rc == ALM_OK && st->idx_stalled)
		rc = idx_rebuild(st, seg_last(st), cut.position);
	if (rc != ALM_OK)
		return rc;
	st->end = cut;
	durable_is_end(st);
	if (out != NULL)
		*out = st->durable;
	return ALM_OK;
}

int
seg_reseed(struct alm_store *st, uint64_t index, uint64_t term, uint64_t position, uint32_t prev_crc,
    struct alm_durable *out)
{
	int rc;

	if (st->failed)
		return st->failed;
	if (st->flags & ALM_OPEN_READONLY)
		return st->host->fail(st->host, ALM_EDENIED, "the store is open read-only");
	st->meta.epoch++;
	st->meta.start = position;
	st->meta.start_index = index + 1;
	st->meta.synced = position;
	st->meta.synced_index = index;
	st->meta.synced_term = term;
	st->meta.synced_crc = prev_crc;
	st->meta.indexed = st->idx_synced = position;
	st->meta.pending.what = SEG_PENDING_RESEED;
	st->meta.pending.position = st->meta.pending.end = position;
	st->meta.pending.index = index;
	st->meta.pending.term = term;
	st->meta.pending.prev_crc = prev_crc;
	rc = meta_save(st);
	if (rc == ALM_OK)
		rc = seg_redo(st);
	if (rc != ALM_OK)
		return rc;
	st->damaged = 0;
	durable_is_end(st);
	if (out != NULL)
		*out = st->durable;
	return ALM_OK;
}

/* Index of the batch that begins at position; 0: none does. */
static uint64_t
index_at(struct alm_store *st, uint64_t position)
{
	char name[SEG_NAME_MAX];
	const struct seg *s;
	struct seg_head head;
	struct alm_batch b;
	uint32_t i = st->n_segs - 1;
	int fd, rc;

	if (position == st->end.position)
		return st->end.index + 1;
	while (i > 0 && st->segs[i].first > position)
		i--;
	s = &st->segs[i];
	if (position < s->first || position - s->first + sizeof b > seg_capacity(s->size))
		return 0;
	seg_name(name, s->first, "seg");
	fd = seg_io->open(st->dir, name, IO_READ);
	if (fd < 0)
		return 0;
	rc = io_read(fd, &head, sizeof head, 0);
	if (rc == 0)
		rc = io_read(fd, &b, sizeof b, SEG_BLOCK + (position - s->first));
	seg_io->close(fd);
	if (rc < 0 || !seg_batch_header_good(st->host, &b, position,
		seg_capacity(s->size) - (position - s->first)))
		return 0;
	return b.index;
}

int
seg_release(struct alm_store *st, uint64_t first, uint64_t pin)
{
	uint64_t index;
	uint32_t gone = 0;
	int rc;

	if (st->failed)
		return st->failed;
	if (st->damaged)
		return seg_refuse_damaged(st);
	if (first < st->meta.start || first > st->end.position)
		return st->host->fail(st->host, ALM_EINVAL,
		    "cannot release up to position %llu: the log is [%llu, %llu)",
		    (unsigned long long)first, (unsigned long long)st->meta.start,
		    (unsigned long long)st->end.position);
	index = index_at(st, first);
	if (index == 0)
		return st->host->fail(st->host, ALM_EINVAL,
		    "cannot release up to position %llu: no batch begins there",
		    (unsigned long long)first);
	if (first > st->meta.start) {
		st->meta.start = first;
		st->meta.start_index = index;
		meta_note_synced(st);
		rc = meta_save(st);
		if (rc != ALM_OK)
			return rc;
	}
	while (gone + 1 < st->n_segs && st->segs[gone + 1].first <= first) {
		const struct seg *s = &st->segs[gone];

		rc = seg_give_back(st, s, st->segs[gone + 1].first <= pin);
		if (rc != ALM_OK)
			return rc;
		gone++;
	}
	if (gone == 0)
		return ALM_OK;
	st->n_segs -= gone;
	memmove(st->segs, st->segs + gone, st->n_segs * sizeof *st->segs);
	rc = seg_io->dir_sync(st->dir);
	return rc < 0 ? seg_fatal(st, "sync", "the log directory", -rc) : ALM_OK;
}

int
seg_space(struct alm_store *st, struct alm_space *out)
{
	uint64_t avail = 0;
	int rc;

	memset(out, 0, sizeof *out);
	rc = seg_io->free_bytes(st->dir, &avail);
	if (rc < 0)
		return st->host->fail(st->host, ALM_EIO, "could not ask for free space: %s",
		    strerror(-rc));
	for (uint32_t i = 0; i < st->n_segs; i++)
		out->used += st->segs[i].size;
	pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; i < st->n_pool; i++)
		out->recycled += st->pool[i].size;
	pthread_mutex_unlock(&st->lock);
	out->used += out->recycled;
	out->segment = st->segment_size;
	out->available = avail > st->keep_free ? avail - st->keep_free : 0;
	out->available += out->recycled;
	if (st->n_segs > 0)
		out->available += seg_capacity(seg_last(st)->size) -
		    (st->end.position - seg_last(st)->first);
	return ALM_OK;
}
