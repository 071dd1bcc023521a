/* reader.c - the reader half: whole batches as slices of mapped segments.
 *
 * Any process; each reader belongs to one thread.  The writer may append, truncate, release and
 * recycle meanwhile.  What makes that safe:
 *  - nothing at or above `limit` is looked at, and below it bytes do not change;
 *  - segment files are never cut short while they may be mapped;
 *  - a batch is believed only if its header has this very position and a right checksum: in a file
 *    that was recycled for other positions no batch passes.
 * Bodies are not summed here: each record has its own CRC, checked where the record is used.
 *
 * segr_get makes no system call while the segment is mapped. */
#include "reader.h"
#include "seg.h"

#include <errno.h>

struct rmap {
	uint64_t first;
	const char *base;
	uint64_t size;
};

struct rname {
	uint64_t first;
	uint64_t first_index; /* 0: not read yet */
};

struct alm_reader {
	const struct alm_host *host;
	int dir;
	uint64_t start;       /* the log begins here, as far as known */
	struct rmap *maps;    /* ascending */
	uint32_t n_maps, cap_maps;
	uint32_t hot;         /* the map used last */
	struct rname *names;  /* ascending; segments seen in the directory */
	uint32_t n_names, cap_names;
	int list_status;
};

/* ---- directory ---- */

static int
grow(const struct alm_host *host, void **array, uint32_t *cap, uint32_t n, uint64_t element)
{
	uint32_t more = *cap ? *cap * 2 : 64;
	void *bigger;

	if (n < *cap)
		return ALM_OK;
	bigger = host->alloc(host, more * element);
	if (bigger == NULL)
		return host->fail(host, ALM_ENOMEM, "no memory for %u segments", more);
	if (n > 0)
		memcpy(bigger, *array, n * element);
	host->free(host, *array);
	*array = bigger;
	*cap = more;
	return ALM_OK;
}

static void
list_name(void *arg, const char *name)
{
	struct alm_reader *r = arg;
	uint64_t first;
	uint32_t k;
	int rc;

	if (r->list_status != ALM_OK || !seg_name_parse(name, 16, "seg", &first))
		return;
	rc = grow(r->host, (void **)&r->names, &r->cap_names, r->n_names, sizeof *r->names);
	if (rc != ALM_OK) {
		r->list_status = rc;
		return;
	}
	for (k = r->n_names; k > 0 && r->names[k - 1].first > first; k--)
		r->names[k] = r->names[k - 1];
	r->names[k].first = first;
	r->names[k].first_index = 0;
	r->n_names++;
}

/* Look again at which segments there are and where the log begins. */
static int
refresh(struct alm_reader *r)
{
	struct seg_meta m;
	uint32_t spoiled;
	int fd, rc;

	r->n_names = 0;
	r->list_status = ALM_OK;
	rc = seg_io->list(r->dir, list_name, r);
	if (rc < 0)
		return r->host->fail(r->host, ALM_EIO, "could not list the log directory: %s",
		    strerror(-rc));
	if (r->list_status != ALM_OK)
		return r->list_status;
	fd = seg_io->open(r->dir, "meta", IO_READ);
	if (fd >= 0) {
		if (meta_load(r->host, fd, &m, &spoiled, 1) == ALM_OK && m.start > r->start)
			r->start = m.start;
		seg_io->close(fd);
	}
	if (r->n_names > 0 && r->names[0].first > r->start)
		r->start = r->names[0].first;
	return ALM_OK;
}

/* Number of the last segment that begins at or before position; n_names if none does. */
static uint32_t
name_for(const struct alm_reader *r, uint64_t position)
{
	uint32_t lo = 0, hi = r->n_names;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (r->names[mid].first <= position)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 ? lo - 1 : r->n_names;
}

/* ---- maps ---- */

/* The last map that begins at or before position, or NULL. */
static struct rmap *
map_for(struct alm_reader *r, uint64_t position)
{
	uint32_t lo = 0, hi = r->n_maps;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (r->maps[mid].first <= position)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 ? &r->maps[lo - 1] : NULL;
}

static void
map_drop(struct alm_reader *r, uint32_t k)
{
	seg_io->unmap((void *)(uintptr_t)r->maps[k].base, r->maps[k].size);
	r->n_maps--;
	memmove(&r->maps[k], &r->maps[k + 1], (r->n_maps - k) * sizeof *r->maps);
	r->hot = 0;
}

/* Map the segment of that name: its map, or NULL with *status ALM_ENOTFOUND or an error. A map whose
 * file was recycled meanwhile is replaced. */
static struct rmap *
map_open(struct alm_reader *r, uint64_t first, int *status)
{
	char name[SEG_NAME_MAX];
	struct rmap *m = map_for(r, first), fresh = {.first = first};
	int64_t size;
	uint32_t k;
	int fd;

	if (m != NULL && m->first == first) {
		const struct seg_head *h = (const void *)m->base;

		if (h->first == first)
			return m;
		map_drop(r, (uint32_t)(m - r->maps));
	}
	*status = grow(r->host, (void **)&r->maps, &r->cap_maps, r->n_maps, sizeof *r->maps);
	if (*status != ALM_OK)
		return NULL;
	seg_name(name, first, "seg");
	fd = seg_io->open(r->dir, name, IO_READ);
	if (fd < 0) {
		*status = fd == -ENOENT ? ALM_ENOTFOUND
					: r->host->fail(r->host, ALM_EIO, "could not open %s: %s",
					      name, strerror(-fd));
		return NULL;
	}
	size = seg_io->size(fd);
	if (size > (int64_t)SEG_BLOCK)
		fresh.base = seg_io->map(fd, (uint64_t)size);
	seg_io->close(fd);
	if (fresh.base == NULL) {
		*status = r->host->fail(r->host, ALM_EIO, "could not map %s (%lld bytes)", name,
		    (long long)size);
		return NULL;
	}
	fresh.size = (uint64_t)size;
	for (k = r->n_maps; k > 0 && r->maps[k - 1].first > first; k--)
		r->maps[k] = r->maps[k - 1];
	r->maps[k] = fresh;
	r->n_maps++;
	return &r->maps[k];
}

static const struct alm_batch *
batch_in(const struct alm_reader *r, const struct rmap *m, uint64_t position)
{
	uint64_t at = position - m->first;
	const struct alm_batch *b;

	if (position % 8 != 0 || at >= m->size - SEG_BLOCK)
		return NULL;
	b = (const void *)(m->base + SEG_BLOCK + at);
	return seg_batch_header_good(r->host, b, position, m->size - SEG_BLOCK - at) ? b : NULL;
}

static int
give(const struct alm_batch *b, uint64_t limit, struct alm_view *out)
{
	if (b->position + b->length > limit)
		return ALM_EAGAIN;
	out->batch = b;
	out->next = b->position + b->length;
	return ALM_OK;
}

/* ---- get ---- */

/* Position of the last good index row at or before what is wanted; the segment's first if none. */
static uint64_t
row_before(struct alm_reader *r, const struct rmap *m, uint64_t position, uint64_t index)
{
	struct idx_view idx;
	const struct seg_row *row = NULL;
	uint64_t lo = 0, hi, at = m->first;

	if (idx_open_view(r->host, r->dir, m->first, &idx) != ALM_OK)
		return at;
	hi = idx.n;
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		row = idx_row(r->host, &idx, mid);
		if (row == NULL || row->position < m->first)
			break; /* damaged: walk from the best found so far */
		if (row->position <= position && row->index <= index) {
			at = row->position;
			lo = mid + 1;
		} else {
			hi = mid;
		}
	}
	idx_close_view(&idx);
	return at;
}

/* No batch passes at position. Say whether one should be there. */
static int
missing(struct alm_reader *r, uint64_t position)
{
	const struct rmap *m = map_for(r, position);
	const struct alm_batch *b;
	int there;

	if (position < r->start)
		return ALM_EOFFSET;
	if (m == NULL || position - m->first >= m->size - SEG_BLOCK - sizeof *b || position % 8 != 0)
		return ALM_EINVAL;
	b = (const void *)(m->base + SEG_BLOCK + (position - m->first));
	there = (b->magic == ALM_BATCH_MAGIC && b->position == position) || position == m->first ||
	    row_before(r, m, position, UINT64_MAX) == position;
	if (!there)
		return r->host->fail(r->host, ALM_EINVAL, "no batch begins at position %llu",
		    (unsigned long long)position);
	return r->host->fail(r->host, ALM_ECORRUPT, "batch at position %llu is damaged",
	    (unsigned long long)position);
}

static int
get_slow(struct alm_reader *r, uint64_t position, uint64_t limit, struct alm_view *out)
{
	const struct alm_batch *b = NULL;
	struct rmap *m = map_for(r, position);
	int rc = ALM_OK;
	uint32_t k;

	if (m != NULL)
		b = batch_in(r, m, position);
	if (b == NULL && (m = map_open(r, position, &rc)) != NULL)
		b = batch_in(r, m, position); /* the first batch of a segment, as is usual */
	if (b == NULL) {
		rc = refresh(r);
		if (rc != ALM_OK)
			return rc;
		k = name_for(r, position);
		if (k < r->n_names)
			m = map_open(r, r->names[k].first, &rc);
		if (m != NULL && k < r->n_names)
			b = batch_in(r, m, position);
	}
	if (b == NULL)
		return rc == ALM_EIO || rc == ALM_ENOMEM ? rc : missing(r, position);
	r->hot = (uint32_t)(m - r->maps);
	return give(b, limit, out);
}

int
segr_get(struct alm_reader *r, uint64_t position, uint64_t limit, struct alm_view *out)
{
	if (position >= limit)
		return ALM_EAGAIN;
	if (position < r->start)
		return ALM_EOFFSET;
	if (r->hot < r->n_maps && r->maps[r->hot].first <= position) {
		const struct alm_batch *b = batch_in(r, &r->maps[r->hot], position);

		if (b != NULL)
			return give(b, limit, out);
	}
	return get_slow(r, position, limit, out);
}

/* ---- seek and find ---- */

/* Walk headers from the batch at `from` to the one that contains position or has index (the other
 * is UINT64_MAX). ALM_ENOTFOUND: the segment ends before. */
static int
walk_to(struct alm_reader *r, const struct rmap *m, uint64_t from, uint64_t position, uint64_t index,
    uint64_t limit, struct alm_view *out)
{
	while (from < limit) {
		const struct alm_batch *b = batch_in(r, m, from);

		if (b == NULL)
			return ALM_ENOTFOUND;
		if (b->position + b->length > position || b->index >= index)
			return give(b, limit, out);
		from += b->length;
	}
	return ALM_EAGAIN;
}

static int
walk_segment_to(struct alm_reader *r, uint32_t k, uint64_t position, uint64_t index, uint64_t limit,
    struct alm_view *out)
{
	uint64_t from;
	struct rmap *m;
	int rc = ALM_OK;

	m = map_open(r, r->names[k].first, &rc);
	if (m == NULL)
		return rc;
	from = row_before(r, m, position, index);
	rc = walk_to(r, m, from, position, index, limit, out);
	if (rc == ALM_OK)
		r->hot = (uint32_t)(m - r->maps);
	return rc;
}

int
segr_seek(struct alm_reader *r, uint64_t position, uint64_t limit, struct alm_view *out)
{
	int rc = ALM_OK;

	if (position >= limit)
		return ALM_EAGAIN;
	for (uint32_t fresh = 0; fresh < 2; fresh++) {
		uint64_t want;
		uint32_t k;

		if (fresh || r->n_names == 0 || position < r->start) {
			rc = refresh(r);
			if (rc != ALM_OK)
				return rc;
		}
		want = position < r->start ? r->start : position;
		k = name_for(r, want);
		if (k == r->n_names)
			return ALM_EAGAIN;
		rc = walk_segment_to(r, k, want, UINT64_MAX, limit, out);
		if (rc != ALM_ENOTFOUND)
			return rc;
	}
	return r->host->fail(r->host, ALM_ECORRUPT, "no sound batch holds position %llu",
	    (unsigned long long)position);
}

/* Index of a segment's first batch, from its header block or its second copy; 0 if neither is
 * whole. */
static uint64_t
first_index(struct alm_reader *r, uint32_t k)
{
	char name[SEG_NAME_MAX];
	struct seg_head h;
	struct idx_view idx;
	int fd, rc;

	if (r->names[k].first_index != 0)
		return r->names[k].first_index;
	seg_name(name, r->names[k].first, "seg");
	fd = seg_io->open(r->dir, name, IO_READ);
	if (fd < 0)
		return 0;
	rc = io_read(fd, &h, sizeof h, 0);
	seg_io->close(fd);
	if (rc == 0 && seg_head_good(r->host, &h, SEG_MAGIC, r->names[k].first))
		r->names[k].first_index = h.first_index;
	else if (idx_open_view(r->host, r->dir, r->names[k].first, &idx) == ALM_OK) {
		if (idx.head_good)
			r->names[k].first_index = idx.head->first_index;
		idx_close_view(&idx);
	}
	return r->names[k].first_index;
}

int
segr_find(struct alm_reader *r, uint64_t index, uint64_t limit, struct alm_view *out)
{
	int rc = ALM_OK;

	for (uint32_t fresh = 0; fresh < 2; fresh++) {
		uint32_t k;

		if (fresh || r->n_names == 0) {
			rc = refresh(r);
			if (rc != ALM_OK)
				return rc;
		}
		for (k = r->n_names; k > 0; k--) {
			uint64_t first = first_index(r, k - 1);

			if (first != 0 && first <= index)
				break;
		}
		if (k == 0) {
			rc = ALM_EOFFSET;
			continue;
		}
		rc = walk_segment_to(r, k - 1, UINT64_MAX, index, limit, out);
		if (rc == ALM_OK && out->batch->index != index)
			rc = ALM_ECORRUPT;
		if (rc == ALM_OK && out->batch->position < r->start)
			return ALM_EOFFSET;
		if (rc == ALM_OK || (fresh && rc != ALM_ENOTFOUND))
			return rc;
	}
	return rc == ALM_ENOTFOUND ? ALM_EAGAIN : rc;
}

/* ---- life ---- */

void
segr_trim(struct alm_reader *r, uint64_t first_position)
{
	if (first_position > r->start)
		r->start = first_position;
	while (r->n_maps > 0) {
		const struct rmap *m = &r->maps[0];
		uint64_t end = m->first + (m->size - SEG_BLOCK);

		if (r->n_maps > 1 && r->maps[1].first < end)
			end = r->maps[1].first;
		if (end > first_position)
			break;
		map_drop(r, 0);
	}
}

int
segr_open(const struct alm_host *host, const char *dir, struct alm_reader **out)
{
	struct alm_reader *r = host->alloc(host, sizeof *r);
	int rc;

	if (r == NULL)
		return host->fail(host, ALM_ENOMEM, "no memory for a reader");
	r->host = host;
	r->dir = seg_io->dir_open(dir);
	if (r->dir < 0) {
		rc = host->fail(host, ALM_EIO, "could not open %s: %s", dir, strerror(-r->dir));
		host->free(host, r);
		return rc;
	}
	rc = refresh(r);
	if (rc != ALM_OK) {
		segr_close(r);
		return rc;
	}
	*out = r;
	return ALM_OK;
}

void
segr_close(struct alm_reader *r)
{
	const struct alm_host *host = r->host;

	while (r->n_maps > 0)
		map_drop(r, r->n_maps - 1);
	seg_io->close(r->dir);
	host->free(host, r->maps);
	host->free(host, r->names);
	host->free(host, r);
}
