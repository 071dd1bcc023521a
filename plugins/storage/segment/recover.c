/* recover.c - open: find the end of the log and say what survived.
 *
 * Ledger's main thread, before anything else runs.  Steps:
 *  1. list the directory; load meta and every segment's header block;
 *  2. carry out again a truncate or reseed that a crash interrupted;
 *  3. trust a sealed segment whose index file ends where the next segment begins, walk it whole
 *     otherwise; walk the last segment always (scan.c judges breaks);
 *  4. cut the unsynced tail, or report damage and write nothing, or, if the operator accepted the
 *     loss, cut at the first damage and begin again;
 *  5. make what is left durable, since after kill -9 it may be in the page cache only. */
#include "recover.h"
#include "scan.h"

#include <errno.h>
#include <stdio.h>

/* ---- 1: what is there ---- */

struct listing {
	struct alm_store *st;
	uint32_t spares;
	int rc;
};

static void
list_entry(void *arg, const char *name)
{
	struct listing *l = arg;
	struct alm_store *st = l->st;
	struct seg s = {0};
	uint64_t n;

	if (l->rc != ALM_OK)
		return;
	if (seg_name_parse(name, 16, "seg", &n)) {
		s.first = s.prev.position = n;
		l->rc = seg_push(st, &s);
	} else if (seg_name_parse(name, 8, "spare", &n) || seg_name_parse(name, 8, "tmp", &n)) {
		if (n >= st->next_spare)
			st->next_spare = n + 1;
	}
}

/* Spares join the pool, half-made files go. */
static void
list_spare(void *arg, const char *name)
{
	struct listing *l = arg;
	struct alm_store *st = l->st;
	uint64_t n;
	int64_t size;
	int fd;

	if (seg_name_parse(name, 8, "tmp", &n) || strcmp(name, "meta.tmp") == 0) {
		seg_io->unlink(st->dir, name);
		return;
	}
	if (!seg_name_parse(name, 8, "spare", &n))
		return;
	fd = seg_io->open(st->dir, name, IO_READ);
	size = fd < 0 ? -1 : seg_io->size(fd);
	if (fd >= 0)
		seg_io->close(fd);
	if (size < (int64_t)(2 * SEG_BLOCK) || st->n_pool >= SEG_POOL_MAX - 4) {
		seg_io->unlink(st->dir, name);
		return;
	}
	st->pool[st->n_pool].id = n;
	st->pool[st->n_pool++].size = (uint64_t)size;
}

static void
sort_segs(struct alm_store *st)
{
	for (uint32_t i = 1; i < st->n_segs; i++) {
		struct seg s = st->segs[i];
		uint32_t k = i;

		for (; k > 0 && st->segs[k - 1].first > s.first; k--)
			st->segs[k] = st->segs[k - 1];
		st->segs[k] = s;
	}
}

int
seg_list(struct alm_store *st)
{
	struct listing l = {.st = st};
	int rc;

	rc = seg_io->list(st->dir, list_entry, &l);
	if (rc < 0)
		return st->host->fail(st->host, ALM_EIO, "could not list the log directory: %s",
		    strerror(-rc));
	if (l.rc != ALM_OK)
		return l.rc;
	sort_segs(st);
	if (st->flags & ALM_OPEN_READONLY)
		return ALM_OK;
	rc = seg_io->list(st->dir, list_spare, &l);
	return rc < 0 ? ALM_EIO : ALM_OK;
}

static void
head_to_seg(const struct seg_head *h, struct seg *s)
{
	s->prev.index = h->first_index - 1;
	s->prev.term = h->prev_term;
	s->prev.time = h->prev_time;
	s->prev.crc = h->prev_crc;
}

int
recover_head(struct alm_store *st, struct seg *s)
{
	char name[SEG_NAME_MAX];
	struct idx_view idx;
	struct seg_head h;
	struct alm_batch b;
	int64_t size;
	int fd, rc, known = 1;

	seg_name(name, s->first, "seg");
	fd = seg_io->open(st->dir, name, IO_READ);
	size = fd < 0 ? fd : seg_io->size(fd);
	memset(&h, 0, sizeof h);
	memset(&b, 0, sizeof b);
	rc = size < 0 ? (int)size : io_read(fd, &h, sizeof h, 0);
	if (rc == 0)
		rc = io_read(fd, &b, sizeof b, SEG_BLOCK);
	if (fd >= 0)
		seg_io->close(fd);
	if (rc < 0 && rc != -EIO)
		return st->host->fail(st->host, ALM_EIO, "could not read %s: %s", name,
		    strerror(-rc));
	s->size = size > (int64_t)SEG_BLOCK ? (uint64_t)size : SEG_BLOCK;
	if (seg_head_good(st->host, &h, SEG_MAGIC, s->first)) {
		head_to_seg(&h, s);
		if (h.size != s->size)
			seg_found(st, ALM_LOG_ERROR, s->first, "%s has %llu bytes, its header says %llu",
			    name, (unsigned long long)s->size, (unsigned long long)h.size);
		return ALM_OK;
	}
	st->findings++;
	rc = idx_open_view(st->host, st->dir, s->first, &idx);
	if (rc == ALM_OK && idx.head_good) {
		head_to_seg(idx.head, s);
	} else if (seg_batch_header_good(st->host, &b, s->first, s->size - SEG_BLOCK)) {
		s->prev.index = b.index - 1;
		s->prev.term = b.term;
		s->prev.crc = b.prev_crc;
	} else {
		known = 0;
	}
	idx_close_view(&idx);
	seg_found(st, ALM_LOG_ERROR, s->first, "header block of %s is damaged%s", name,
	    known ? "; its second copy is used" : ", its second copies too");
	if (!known)
		return st->host->fail(st->host, ALM_ECORRUPT,
		    "%s: header block and its second copies are damaged", name);
	return st->flags & ALM_OPEN_READONLY ? ALM_OK : seg_head_rewrite(st, s);
}

static int
load_meta(struct alm_store *st)
{
	uint32_t spoiled;
	int accept = (st->flags & (ALM_OPEN_ACCEPT_LOSS | ALM_OPEN_READONLY)) != 0, rc;

	st->meta_fd =
	    seg_io->open(st->dir, "meta", st->flags & ALM_OPEN_READONLY ? IO_READ : IO_WRITE);
	if (st->meta_fd == -ENOENT)
		return ALM_ENOTFOUND;
	if (st->meta_fd < 0)
		return st->host->fail(st->host, ALM_EIO, "could not open meta: %s",
		    strerror(-st->meta_fd));
	rc = meta_load(st->host, st->meta_fd, &st->meta, &spoiled, accept);
	if (rc != ALM_OK)
		return rc;
	if (spoiled > 0) {
		st->findings++;
		seg_found(st, ALM_LOG_ERROR, 0, "meta: %u of 4 copies are damaged", spoiled);
	}
	if (st->meta.max_unsynced > st->max_unsynced)
		st->scan_unsynced = st->meta.max_unsynced;
	else
		st->scan_unsynced = st->max_unsynced;
	return ALM_OK;
}

static int
create_log(struct alm_store *st)
{
	int rc = ALM_OK;

	if (st->meta_fd < 0) {
		st->meta.start_index = 1;
		st->meta.max_unsynced = st->max_unsynced;
		rc = meta_create(st);
	}
	if (rc == ALM_OK && st->n_segs == 0) {
		st->end.position = st->meta.start;
		st->end.index = st->meta.start_index - 1;
		rc = seg_pool_add(st, 0, 1);
		if (rc == ALM_OK)
			rc = seg_begin(st, 0);
		seg_close_last(st);
	}
	if (rc != ALM_OK)
		return rc;
	st->meta.flags |= SEG_META_CREATED;
	return meta_save(st);
}

/* Segments wholly before the log's start are left-overs of a release. */
static int
drop_released(struct alm_store *st)
{
	uint32_t gone = 0;
	int rc = ALM_OK;

	while (rc == ALM_OK && gone + 1 < st->n_segs && st->segs[gone + 1].first <= st->meta.start) {
		if (!(st->flags & ALM_OPEN_READONLY))
			rc = seg_unlink(st, st->segs[gone].first);
		gone++;
	}
	st->n_segs -= gone;
	memmove(st->segs, st->segs + gone, st->n_segs * sizeof *st->segs);
	return rc;
}

/* ---- 3: walk ---- */

static void
on_damage(void *arg, const struct alm_damage *d, const char *why)
{
	struct walk *w = arg;

	if (w->boot->n_damage == 0) {
		w->first_bad = w->scan.end;
		w->first_bad.position = d->position;
	}
	if (w->boot->n_damage < ALM_DAMAGE_MAX)
		w->boot->damage[w->boot->n_damage] = *d;
	w->boot->n_damage++;
	seg_found(w->st, ALM_LOG_ERROR, d->position,
	    "%s: %llu bytes from index %llu, term %llu", why, (unsigned long long)d->length,
	    (unsigned long long)d->index, (unsigned long long)d->term);
}

int
walk_segment(struct walk *w, uint32_t i, uint64_t known_end, uint32_t sealed)
{
	struct alm_store *st = w->st;
	const struct seg *s = &st->segs[i];
	char name[SEG_NAME_MAX];
	struct idx_view idx;
	void *base;
	int fd, rc;

	seg_name(name, s->first, "seg");
	fd = seg_io->open(st->dir, name, IO_READ);
	if (fd < 0)
		return st->host->fail(st->host, ALM_EIO, "could not open %s: %s", name,
		    strerror(-fd));
	base = seg_io->map(fd, s->size);
	seg_io->close(fd);
	if (base == NULL)
		return st->host->fail(st->host, ALM_ENOMEM, "could not map %s (%llu bytes)", name,
		    (unsigned long long)s->size);
	rc = idx_open_view(st->host, st->dir, s->first, &idx);
	if (rc != ALM_OK && rc != ALM_ENOTFOUND)
		goto out;
	rc = ALM_OK;
	w->scan.base = base;
	w->scan.size = s->size;
	w->scan.seg = s;
	w->scan.idx = &idx;
	w->scan.known_end = known_end;
	w->scan.sealed = sealed;
	if (!sealed)
		recover_idx_facts(st, s, &idx, &w->scan);
	seg_scan(&w->scan);
	w->boot->scanned_bytes += w->scan.scanned;
	if (!sealed)
		st->idx_whole = (uint32_t)recover_idx_whole(st, s, &idx, &w->scan);
out:
	idx_close_view(&idx);
	seg_io->unmap(base, s->size);
	return rc;
}

/* The index file of sealed segment i reaches exactly to the next segment. */
static int
sealed_trusted(struct alm_store *st, uint32_t i, uint64_t *commit)
{
	const struct seg *s = &st->segs[i], *next = &st->segs[i + 1];
	const struct seg_row *last;
	struct idx_view idx;
	int ok;

	if (idx_open_view(st->host, st->dir, s->first, &idx) != ALM_OK)
		return 0;
	ok = idx.head_good && next->prev.index > s->prev.index &&
	    idx.n == next->prev.index - s->prev.index;
	last = ok ? idx_row(st->host, &idx, idx.n - 1) : NULL;
	ok = last != NULL && last->index == next->prev.index &&
	    last->position + last->length == next->first && last->header_crc == next->prev.crc &&
	    next->first - s->first <= seg_capacity(s->size);
	if (ok && last->commit < last->index && last->commit > *commit)
		*commit = last->commit;
	idx_close_view(&idx);
	return ok;
}

/* A sealed segment whose index file is not to be trusted: walk it, then write the file anew. */
static int
walk_sealed(struct walk *w, uint32_t i)
{
	struct alm_store *st = w->st;
	uint32_t before = w->boot->n_damage;
	int rc;

	st->findings++;
	seg_found(st, ALM_LOG_WARN, st->segs[i].first,
	    "index file of a finished segment is incomplete or damaged; the segment is read instead");
	rc = walk_segment(w, i, st->segs[i + 1].first, 1);
	if (rc != ALM_OK || before != w->boot->n_damage || st->flags & ALM_OPEN_READONLY)
		return rc;
	rc = idx_rebuild(st, &st->segs[i], st->segs[i + 1].first);
	seg_close_last(st);
	return rc;
}

void
walk_init(struct walk *w)
{
	struct alm_store *st = w->st;

	w->scan.host = st->host;
	w->scan.max_unsynced = st->scan_unsynced;
	w->scan.arg = w;
	w->scan.on_damage = on_damage;
	w->scan.frontier = st->meta.meta.commit_hint;
	if (st->segs[0].first > st->meta.start) {
		struct alm_damage d = {.position = st->meta.start,
		    .length = st->segs[0].first - st->meta.start,
		    .index = st->meta.start_index};

		w->scan.end = (struct seg_end){.position = st->meta.start,
		    .index = st->meta.start_index - 1};
		on_damage(w, &d, "segments are missing");
	}
}

static int
walk_log(struct walk *w)
{
	struct alm_store *st = w->st;
	uint32_t last = st->n_segs - 1;
	int rc = ALM_OK;

	seg_close_last(st); /* a step done again may have left it open */
	walk_init(w);
	for (uint32_t i = 0; i < last && rc == ALM_OK; i++)
		if (!sealed_trusted(st, i, &w->scan.frontier))
			rc = walk_sealed(w, i);
	if (rc == ALM_OK)
		rc = walk_segment(w, last, st->meta.synced, 0);
	return rc;
}

/* ---- 4: decide ---- */

/* Drop everything from the first damage on, as the operator asked, and say so. */
static int
accept_loss(struct walk *w)
{
	struct alm_store *st = w->st;
	uint64_t old_end = seg_last(st)->first + seg_capacity(seg_last(st)->size);
	const struct seg_end *cut = &w->first_bad;

	st->host->log(st->host, ALM_LOG_ERROR,
	    "accepting the loss of the log from position %llu, index %llu, to position %llu, index "
	    "%llu", (unsigned long long)cut->position, (unsigned long long)(cut->index + 1),
	    (unsigned long long)w->scan.end.position, (unsigned long long)w->scan.end.index);
	if (cut->position < st->segs[0].first)
		return seg_reseed(st, cut->index, 0, cut->position, 0, NULL);
	if (seg_set_cut(st, cut, old_end) != ALM_OK)
		return st->failed;
	return seg_redo(st);
}

/* Make the end found the durable end: cut the tail, sync, complete the index file. */
static int
settle(struct walk *w)
{
	struct alm_store *st = w->st;
	const struct seg *s = seg_last(st);
	int rc;

	seg_close_last(st);
	st->end = w->scan.end;
	rc = recover_idx_present(st, s);
	if (rc == ALM_OK)
		rc = seg_open_last(st);
	if (rc != ALM_OK)
		return rc;
	if (w->scan.stale_end > st->end.position) {
		w->boot->cut_bytes = w->scan.stale_end - st->end.position;
		st->host->log(st->host, ALM_LOG_NOTICE,
		    "cut %llu bytes that had not been synced, from position %llu",
		    (unsigned long long)w->boot->cut_bytes, (unsigned long long)st->end.position);
		rc = io_zero(st->fd, SEG_BLOCK + (st->end.position - s->first),
		    w->boot->cut_bytes);
		if (rc < 0)
			return seg_fatal(st, "zero", "the unsynced tail", -rc);
	}
	rc = seg_io->sync(st->fd);
	if (rc < 0)
		return seg_fatal(st, "sync", "the last segment", -rc);
	if (!st->idx_whole) {
		rc = idx_rebuild(st, s, st->end.position);
	} else {
		st->idx_rows = st->end.index - s->prev.index;
		st->idx_position = st->end.position;
	}
	st->idx_time = st->host->now(st->host);
	if (rc == ALM_OK && st->meta.max_unsynced != st->max_unsynced) {
		st->meta.max_unsynced = st->max_unsynced;
		rc = meta_save(st);
	}
	return rc;
}

static void
fill_boot(struct alm_store *st, const struct walk *w)
{
	struct alm_boot *b = w->boot;

	st->end = w->scan.end;
	st->durable.epoch = st->meta.epoch;
	st->durable.index = st->end.index;
	st->durable.term = st->end.term;
	st->durable.position = st->end.position;
	b->first_position = st->meta.start;
	b->first_index = st->meta.start_index;
	b->next_position = st->end.position;
	b->last_index = st->end.index;
	b->last_term = st->end.term;
	b->last_crc = st->end.crc;
	b->last_log_time = st->end.time;
	b->epoch = st->meta.epoch;
	b->frontier = w->scan.frontier;
	b->meta = st->meta.meta;
}

int
recover_load(struct alm_store *st, struct alm_boot *boot)
{
	uint32_t readonly = st->flags & ALM_OPEN_READONLY;
	int rc = seg_list(st);

	if (rc == ALM_OK)
		rc = load_meta(st);
	if (rc == ALM_ENOTFOUND && st->n_segs > 0)
		return st->host->fail(st->host, ALM_ECORRUPT,
		    "meta is missing beside %u segments, so term and vote are unknown; restore "
		    "the file or re-create this member", st->n_segs);
	if (rc == ALM_ENOTFOUND && readonly)
		return st->host->fail(st->host, ALM_ENOTFOUND, "the directory holds no log");
	if (rc != ALM_OK && rc != ALM_ENOTFOUND)
		return rc;
	if (!(st->meta.flags & SEG_META_CREATED)) {
		boot->is_new = 1;
		if (readonly)
			return st->host->fail(st->host, ALM_ENOTFOUND,
			    "the directory holds no finished log");
		rc = create_log(st);
		if (rc != ALM_OK)
			return rc;
	} else if (st->n_segs > 0 && !readonly) {
		st->next_size = st->segment_size;
	}
	if (st->n_segs == 0 && st->meta.pending.what != SEG_PENDING_RESEED) {
		rc = st->host->fail(st->host, ALM_ECORRUPT,
		    "all segments are missing; the log should reach from position %llu to %llu or "
		    "further", (unsigned long long)st->meta.start,
		    (unsigned long long)st->meta.synced);
		if (!(st->flags & ALM_OPEN_ACCEPT_LOSS) || readonly)
			return rc;
		rc = seg_reseed(st, st->meta.synced_index, st->meta.synced_term, st->meta.synced,
		    (uint32_t)st->meta.synced_crc, NULL);
		if (rc != ALM_OK)
			return rc;
	}
	return ALM_OK;
}

int
seg_recover(struct alm_store *st, struct alm_boot *boot)
{
	struct walk w = {.st = st, .boot = boot};
	uint32_t readonly = st->flags & ALM_OPEN_READONLY;
	uint32_t size = boot->size;
	int rc;

	memset(boot, 0, sizeof *boot);
	boot->size = size;
	rc = recover_load(st, boot);
	for (uint32_t i = 0; i < st->n_segs && rc == ALM_OK; i++)
		rc = recover_head(st, &st->segs[i]);
	if (rc == ALM_OK && st->meta.pending.what != SEG_PENDING_NONE && !readonly)
		rc = seg_redo(st);
	if (rc == ALM_OK)
		rc = drop_released(st);
	if (rc != ALM_OK)
		return rc;
	rc = walk_log(&w);
	if (rc == ALM_OK && boot->n_damage > 0 && st->flags & ALM_OPEN_ACCEPT_LOSS && !readonly) {
		rc = accept_loss(&w);
		boot->n_damage = 0;
		memset(&w.scan, 0, sizeof w.scan);
		if (rc == ALM_OK)
			rc = walk_log(&w);
	}
	if (rc != ALM_OK)
		return rc;
	st->damaged = boot->n_damage > 0;
	if (!readonly && !st->damaged)
		rc = settle(&w);
	fill_boot(st, &w);
	return rc;
}
