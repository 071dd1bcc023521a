/* memory_read.c - mapping the arena, the reader half and verify of the memory store.
 *
 * Any process; each reader belongs to one thread.  A batch is believed only if its header has this
 * very position and a right checksum, so space that was overwritten gives nothing false. */
#include "memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct alm_reader {
	const struct alm_host *host;
	struct mem_map map;
	uint64_t first; /* the log begins here, as far as known */
};

/* ---- the arena ---- */

/* Head and ring from the arena's size: marks for every chunk of a ring as large as fits. */
static int
plan(const struct alm_host *host, uint64_t size, struct mem_map *m)
{
	uint64_t chunks = size > 4 * MEM_PAGE ? (size - 2 * MEM_PAGE) / (MEM_CHUNK + 8) : 0;
	uint64_t marks;

	if (chunks > 0)
		chunks--; /* what rounding up to pages may take */
	marks = (chunks * 8 + MEM_PAGE - 1) / MEM_PAGE * MEM_PAGE;
	m->head_bytes = 2 * MEM_PAGE + marks;
	m->ring_bytes = chunks * MEM_CHUNK;
	if (m->ring_bytes < ALM_BATCH_MAX)
		return host->fail(host, ALM_ECONFIG,
		    "arena of %llu bytes is too small for a batch of %u; make it 32m or more",
		    (unsigned long long)size, ALM_BATCH_MAX);
	return ALM_OK;
}

int
mem_map_open(const struct alm_host *host, int writable, struct mem_map *m)
{
	int fd = ALM_HAS(host, arena_fd) ? host->arena_fd(host) : -1;
	int prot = writable ? PROT_READ | PROT_WRITE : PROT_READ, rc;
	struct stat st;
	void *p;

	memset(m, 0, sizeof *m);
	if (fd < 0)
		return host->fail(host, ALM_ENOTSUP,
		    "the memory store lives in a running server's arena; there is none here");
	if (fstat(fd, &st) < 0)
		return host->fail(host, ALM_EIO, "could not ask for the arena's size: %s",
		    strerror(errno));
	rc = plan(host, (uint64_t)st.st_size, m);
	if (rc != ALM_OK)
		return rc;
	p = mmap(NULL, m->head_bytes, prot, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return host->fail(host, ALM_ENOMEM, "could not map the arena: %s", strerror(errno));
	m->base = p;
	p = mmap(NULL, 2 * m->ring_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p != MAP_FAILED) {
		m->ring = p;
		for (uint64_t half = 0; half < 2 && p != MAP_FAILED; half++)
			p = mmap(m->ring + half * m->ring_bytes, m->ring_bytes, prot,
			    MAP_SHARED | MAP_FIXED, fd, (off_t)m->head_bytes);
	}
	if (p == MAP_FAILED) {
		mem_map_close(m);
		return host->fail(host, ALM_ENOMEM, "could not map the arena: %s", strerror(errno));
	}
	m->marks = (_Atomic uint64_t *)(void *)(m->base + 2 * MEM_PAGE);
	return ALM_OK;
}

void
mem_map_close(struct mem_map *m)
{
	if (m->ring != NULL)
		munmap(m->ring, 2 * m->ring_bytes);
	if (m->base != NULL)
		munmap(m->base, m->head_bytes);
	memset(m, 0, sizeof *m);
}

uint32_t
mem_state_crc(const struct alm_host *host, const struct mem_state *s)
{
	struct mem_state copy = *s;

	copy.crc = 0;
	return host->crc32c(0, &copy, sizeof copy);
}

int
mem_state_load(const struct alm_host *host, const struct mem_map *m, struct mem_state *out)
{
	int found = 0, written = 0;

	memset(out, 0, sizeof *out);
	for (uint32_t copy = 0; copy < 2; copy++) {
		struct mem_state s;

		memcpy(&s, m->base + copy * MEM_PAGE, sizeof s);
		written += s.magic != 0;
		if (s.magic != MEM_MAGIC || s.crc != mem_state_crc(host, &s) ||
		    s.ring != m->ring_bytes || (found && s.write < out->write))
			continue;
		*out = s;
		found = 1;
	}
	if (found && out->version != MEM_VERSION)
		return host->fail(host, ALM_EVERSION, "arena has format %u, this release reads %u",
		    out->version, MEM_VERSION);
	if (found)
		return ALM_OK;
	return written ? host->fail(host, ALM_ECORRUPT, "arena: no copy of the state is whole")
		       : ALM_ENOTFOUND;
}

const struct alm_batch *
mem_batch(const struct alm_host *host, const struct mem_map *m, uint64_t position, uint64_t end)
{
	const struct alm_batch *b;
	struct alm_batch h;
	uint32_t crc;

	if (position % 8 != 0 || position >= end || end - position < sizeof h)
		return NULL;
	b = (const void *)(m->ring + position % m->ring_bytes);
	h = *b; /* the writer may overwrite what was released while we look */
	if (h.position != position || !alm_batch_plausible(&h, m->ring_bytes) ||
	    h.length > end - position)
		return NULL;
	crc = h.header_crc;
	h.header_crc = 0;
	return host->crc32c(0, &h, sizeof h) == crc ? b : NULL;
}

_Atomic uint64_t *
mem_mark(const struct mem_map *m, uint64_t position)
{
	return &m->marks[position % m->ring_bytes / MEM_CHUNK];
}

/* ---- reader ---- */

static void
refresh(struct alm_reader *r)
{
	struct mem_state s;

	if (mem_state_load(r->host, &r->map, &s) == ALM_OK && s.first > r->first)
		r->first = s.first;
}

int
memr_open(const struct alm_host *host, const char *dir, struct alm_reader **out)
{
	struct alm_reader *r = host->alloc(host, sizeof *r);
	int rc;

	(void)dir;
	if (r == NULL)
		return host->fail(host, ALM_ENOMEM, "no memory for a reader");
	r->host = host;
	rc = mem_map_open(host, 0, &r->map);
	if (rc != ALM_OK) {
		host->free(host, r);
		return rc;
	}
	refresh(r);
	*out = r;
	return ALM_OK;
}

void
memr_close(struct alm_reader *r)
{
	mem_map_close(&r->map);
	r->host->free(r->host, r);
}

static int
give(const struct alm_batch *b, struct alm_view *out)
{
	out->batch = b;
	out->next = b->position + b->length;
	return ALM_OK;
}

int
memr_get(struct alm_reader *r, uint64_t position, uint64_t limit, struct alm_view *out)
{
	const struct alm_batch *b;

	if (position >= limit)
		return ALM_EAGAIN;
	if (position < r->first)
		return ALM_EOFFSET;
	b = mem_batch(r->host, &r->map, position, limit);
	if (b != NULL)
		return give(b, out);
	refresh(r);
	if (position < r->first)
		return ALM_EOFFSET;
	return r->host->fail(r->host, ALM_EINVAL, "no batch begins at position %llu",
	    (unsigned long long)position);
}

/* Walk from the last mark at or before position to the batch that contains it. */
static const struct alm_batch *
locate(struct alm_reader *r, uint64_t position, uint64_t limit)
{
	uint64_t chunk = position / MEM_CHUNK, at = r->first;
	const struct alm_batch *b;

	for (; chunk > r->first / MEM_CHUNK; chunk--) {
		uint64_t mark = atomic_load(mem_mark(&r->map, chunk * MEM_CHUNK));

		if (mark / MEM_CHUNK == chunk && mark <= position && mark > r->first) {
			at = mark;
			break;
		}
	}
	while ((b = mem_batch(r->host, &r->map, at, limit)) != NULL && at + b->length <= position)
		at += b->length;
	return b;
}

int
memr_seek(struct alm_reader *r, uint64_t position, uint64_t limit, struct alm_view *out)
{
	const struct alm_batch *b;

	if (position >= limit)
		return ALM_EAGAIN;
	refresh(r);
	if (position < r->first)
		position = r->first;
	if (position >= limit)
		return ALM_EAGAIN;
	b = locate(r, position, limit);
	if (b == NULL)
		return r->host->fail(r->host, ALM_ECORRUPT, "no sound batch holds position %llu",
		    (unsigned long long)position);
	return give(b, out);
}

int
memr_find(struct alm_reader *r, uint64_t index, uint64_t limit, struct alm_view *out)
{
	uint64_t lo, hi = limit;

	refresh(r);
	lo = r->first;
	if (lo >= limit)
		return ALM_EAGAIN;
	while (lo < hi) {
		const struct alm_batch *b = locate(r, lo + (hi - lo) / 2, limit);

		if (b == NULL)
			return r->host->fail(r->host, ALM_ECORRUPT,
			    "no sound batch near position %llu",
			    (unsigned long long)(lo + (hi - lo) / 2));
		if (b->index == index)
			return give(b, out);
		if (b->index < index)
			lo = b->position + b->length;
		else
			hi = b->position;
	}
	return lo >= limit ? ALM_EAGAIN : ALM_EOFFSET;
}

void
memr_trim(struct alm_reader *r, uint64_t first_position)
{
	if (first_position > r->first)
		r->first = first_position;
}

/* ---- verify ---- */

int
memr_verify(const struct alm_host *host, const char *dir, alm_verify_fn fn, void *arg,
    struct alm_verify_stats *out)
{
	struct mem_map m;
	struct mem_state s;
	uint64_t at, bad_at = 0;
	uint32_t crc;
	int rc;

	(void)dir;
	memset(out, 0, sizeof *out);
	rc = mem_map_open(host, 0, &m);
	if (rc != ALM_OK)
		return rc;
	rc = mem_state_load(host, &m, &s);
	if (rc != ALM_OK)
		goto out;
	out->first_position = at = s.first;
	crc = s.base_crc;
	while (at < s.next) {
		const struct alm_batch *b = mem_batch(host, &m, at, s.next);

		if (b == NULL || b->prev_crc != crc ||
		    host->batch_check(b, b->length, &bad_at) != ALM_OK) {
			fn(arg, ALM_LOG_ERROR, at + (b != NULL ? bad_at : 0),
			    "batch fails its checks");
			out->damaged++;
			rc = host->fail(host, ALM_ECORRUPT, "batch at position %llu is damaged",
			    (unsigned long long)at);
			break;
		}
		out->batches++;
		out->records += b->records;
		out->bytes += b->length;
		out->last_index = b->index;
		crc = b->header_crc;
		at += b->length;
	}
	out->next_position = at;
out:
	mem_map_close(&m);
	return rc;
}
