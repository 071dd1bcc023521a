/* file.c - segment files: begun in a spare, named, opened, dropped.
 * Tail owner (append rotates) and main thread (recovery, truncate, reseed).
 *
 * Order of a new segment: index file with its header, synced; header into the spare, synced;
 * rename; directory synced.  So a file named .seg always had a whole header. */
#include "seg.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int
seg_fatal(struct alm_store *st, const char *what, const char *name, int err)
{
	st->failed = st->host->fail(st->host, ALM_EIO, "could not %s %s: %s; the log is closed for "
	    "writing until a restart", what, name, strerror(err));
	return st->failed;
}

int
seg_no_space(int rc)
{
	return rc == -ENOSPC || rc == -EDQUOT;
}

void
seg_found(struct alm_store *st, uint32_t level, uint64_t position, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (st->find_fn != NULL)
		st->find_fn(st->find_arg, level, position, text);
	else
		st->host->log(st->host, level, "log position %llu: %s",
		    (unsigned long long)position, text);
}

uint64_t
seg_capacity(uint64_t file_size)
{
	return file_size - SEG_BLOCK;
}

int
seg_push(struct alm_store *st, const struct seg *s)
{
	if (st->n_segs == st->cap_segs) {
		uint32_t cap = st->cap_segs ? st->cap_segs * 2 : 1024;
		struct seg *bigger = st->host->alloc(st->host, (uint64_t)cap * sizeof *bigger);

		if (bigger == NULL)
			return st->host->fail(st->host, ALM_ENOMEM,
			    "no memory for a list of %u segments", cap);
		if (st->n_segs > 0)
			memcpy(bigger, st->segs, st->n_segs * sizeof *bigger);
		st->host->free(st->host, st->segs);
		st->segs = bigger;
		st->cap_segs = cap;
	}
	st->segs[st->n_segs++] = *s;
	return ALM_OK;
}

int
seg_open_last(struct alm_store *st)
{
	char name[SEG_NAME_MAX];

	seg_name(name, seg_last(st)->first, "seg");
	st->fd = seg_io->open(st->dir, name, IO_WRITE);
	if (st->fd < 0)
		return seg_fatal(st, "open", name, -st->fd);
	seg_name(name, seg_last(st)->first, "idx");
	st->idx_fd = seg_io->open(st->dir, name, IO_WRITE);
	if (st->idx_fd == -ENOENT) { /* the disk was full when the segment began */
		st->idx_fd = -1;
		st->idx_stalled = 1;
	}
	return st->idx_fd < -1 ? seg_fatal(st, "open", name, -st->idx_fd) : ALM_OK;
}

void
seg_close_last(struct alm_store *st)
{
	if (st->fd >= 0)
		seg_io->close(st->fd);
	if (st->idx_fd >= 0)
		seg_io->close(st->idx_fd);
	st->fd = st->idx_fd = -1;
}

int
seg_unlink(struct alm_store *st, uint64_t first)
{
	char name[SEG_NAME_MAX];
	int rc;

	seg_name(name, first, "idx");
	rc = seg_io->unlink(st->dir, name);
	if (rc < 0 && rc != -ENOENT)
		return seg_fatal(st, "remove", name, -rc);
	seg_name(name, first, "seg");
	rc = seg_io->unlink(st->dir, name);
	if (rc < 0 && rc != -ENOENT)
		return seg_fatal(st, "remove", name, -rc);
	return ALM_OK;
}

static void
head_fill(const struct alm_host *host, const struct seg *s, uint64_t magic, struct seg_head *h)
{
	memset(h, 0, sizeof *h);
	h->magic = magic;
	h->version = SEG_VERSION;
	h->first = s->first;
	h->first_index = s->prev.index + 1;
	h->prev_term = s->prev.term;
	h->prev_time = s->prev.time;
	h->prev_crc = s->prev.crc;
	h->size = s->size;
	seg_head_seal(host, h);
}

int
seg_idx_make(struct alm_store *st, const struct seg *s)
{
	char name[SEG_NAME_MAX];
	struct seg_head h;
	int fd, rc;

	head_fill(st->host, s, SEG_IDX_MAGIC, &h);
	seg_name(name, s->first, "idx");
	fd = seg_io->open(st->dir, name, IO_CREATE);
	rc = fd < 0 ? fd : io_write(fd, &h, sizeof h, 0);
	if (rc == 0)
		rc = seg_io->sync(fd);
	if (rc == 0)
		return fd;
	if (fd >= 0)
		seg_io->close(fd);
	if (!seg_no_space(rc))
		return seg_fatal(st, "create", name, -rc);
	seg_io->unlink(st->dir, name);
	return st->host->fail(st->host, ALM_EFULL, "no space for %s", name);
}

int
seg_head_rewrite(struct alm_store *st, const struct seg *s)
{
	char name[SEG_NAME_MAX];
	struct seg_head h;
	int fd, rc;

	head_fill(st->host, s, SEG_MAGIC, &h);
	seg_name(name, s->first, "seg");
	fd = seg_io->open(st->dir, name, IO_WRITE);
	rc = fd < 0 ? fd : io_write(fd, &h, sizeof h, 0);
	if (rc == 0)
		rc = seg_io->sync(fd);
	if (fd >= 0)
		seg_io->close(fd);
	return rc < 0 ? seg_fatal(st, "write the header of", name, -rc) : ALM_OK;
}

int
seg_begin(struct alm_store *st, uint64_t need)
{
	struct seg s = {.first = st->end.position, .prev = st->end};
	char from[SEG_NAME_MAX], name[SEG_NAME_MAX];
	struct seg_spare spare;
	struct seg_head h;
	int fd = -1, idx_fd, rc;

	rc = seg_reserve(st, 1, need);
	if (rc != ALM_OK)
		return rc;
	if (!seg_pool_take(st, need, &spare))
		return st->host->fail(st->host, ALM_EINTERNAL, "the pool of spares is empty");
	s.size = spare.size;
	/* With no space for an index file the log goes on without. */
	idx_fd = seg_idx_make(st, &s);
	if (idx_fd < 0 && idx_fd != ALM_EFULL)
		return idx_fd;
	seg_spare_name(from, spare.id, "spare");
	seg_name(name, s.first, "seg");
	head_fill(st->host, &s, SEG_MAGIC, &h);
	fd = seg_io->open(st->dir, from, IO_WRITE);
	rc = fd < 0 ? fd : io_write(fd, &h, sizeof h, 0);
	if (rc == 0)
		rc = seg_io->sync(fd);
	if (rc == 0)
		rc = seg_io->rename(st->dir, from, name);
	if (rc == 0)
		rc = seg_io->dir_sync(st->dir);
	if (rc < 0) {
		if (fd >= 0)
			seg_io->close(fd);
		if (idx_fd >= 0)
			seg_io->close(idx_fd);
		return seg_fatal(st, "begin", name, -rc);
	}
	seg_close_last(st);
	st->fd = fd;
	st->idx_fd = idx_fd < 0 ? -1 : idx_fd;
	st->idx_stalled = idx_fd < 0;
	st->idx_rows = 0;
	st->idx_position = s.first;
	return seg_push(st, &s);
}
