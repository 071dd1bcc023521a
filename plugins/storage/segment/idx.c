/* idx.c - the second copy of the batch headers, one file beside each segment.
 *
 * Rows are written lazily and only once their batch is durable, so a row is proof that its batch
 * was.  The tail owner writes them; recovery and truncate (main thread) rewrite them. */
#include "seg.h"

#include <errno.h>

int
idx_flush(struct alm_store *st)
{
	const struct seg_row *last;
	int rc;

	if (st->rows_durable == 0)
		return ALM_OK;
	rc = io_write(st->idx_fd, st->rows, st->rows_durable * sizeof *st->rows,
	    SEG_BLOCK + st->idx_rows * sizeof *st->rows);
	if (seg_no_space(rc)) {
		/* The log goes on without: rows are a second copy, made again from the log. */
		if (!st->idx_stalled)
			st->host->log(st->host, ALM_LOG_WARN,
			    "no space for index rows; they follow when there is");
		st->idx_stalled = 1;
		st->n_rows = st->rows_durable = 0;
		return ALM_OK;
	}
	if (rc < 0)
		return seg_fatal(st, "write", "index file", -rc);
	last = &st->rows[st->rows_durable - 1];
	st->idx_position = last->position + last->length;
	st->idx_rows += st->rows_durable;
	st->n_rows -= st->rows_durable;
	memmove(st->rows, st->rows + st->rows_durable, st->n_rows * sizeof *st->rows);
	st->rows_durable = 0;
	st->idx_time = st->host->now(st->host);
	return ALM_OK;
}

int
idx_sync(struct alm_store *st)
{
	int rc = st->idx_fd < 0 ? 0 : seg_io->sync(st->idx_fd);

	if (rc < 0)
		return seg_fatal(st, "sync", "index file", -rc);
	st->idx_synced = st->idx_position;
	return ALM_OK;
}

int
idx_truncate(struct alm_store *st, uint64_t rows, uint64_t end)
{
	int rc;

	st->n_rows = 0;
	st->rows_durable = 0;
	st->idx_rows = rows;
	st->idx_position = end;
	st->idx_stalled = st->idx_fd < 0;
	if (st->idx_stalled)
		return ALM_OK;
	rc = seg_io->truncate(st->idx_fd, SEG_BLOCK + rows * sizeof *st->rows);
	if (rc < 0)
		return seg_fatal(st, "cut", "index file", -rc);
	return idx_sync(st);
}

int
idx_rebuild(struct alm_store *st, const struct seg *s, uint64_t end)
{
	char name[SEG_NAME_MAX];
	uint64_t at = s->first;
	const char *base;
	int fd, rc;

	if (st->idx_fd < 0) {
		fd = seg_idx_make(st, s);
		if (fd < 0)
			return fd == ALM_EFULL ? ALM_OK : fd;
		st->idx_fd = fd;
	}
	seg_name(name, s->first, "seg");
	fd = seg_io->open(st->dir, name, IO_READ);
	if (fd < 0)
		return seg_fatal(st, "open", name, -fd);
	base = seg_io->map(fd, s->size);
	seg_io->close(fd);
	if (base == NULL)
		return st->host->fail(st->host, ALM_ENOMEM, "could not map %s", name);
	rc = idx_truncate(st, 0, s->first);
	while (rc == ALM_OK && at < end && !st->idx_stalled) {
		const struct alm_batch *b = (const void *)(base + SEG_BLOCK + (at - s->first));

		if (!seg_batch_header_good(st->host, b, at, s->size - SEG_BLOCK - (at - s->first)))
			rc = st->host->fail(st->host, ALM_ECORRUPT,
			    "%s: no batch at position %llu", name, (unsigned long long)at);
		else {
			seg_row_make(st->host, b, &st->rows[st->n_rows++]);
			at += b->length;
		}
		if (rc == ALM_OK && (st->n_rows == SEG_ROWS_MAX || at == end)) {
			st->rows_durable = st->n_rows;
			rc = idx_flush(st);
		}
	}
	seg_io->unmap((void *)(uintptr_t)base, s->size);
	return rc == ALM_OK ? idx_sync(st) : rc;
}

int
idx_complete(struct alm_store *st)
{
	int rc;

	if (st->idx_stalled)
		return idx_rebuild(st, seg_last(st), st->end.position);
	rc = idx_flush(st);
	return rc == ALM_OK ? idx_sync(st) : rc;
}

int
idx_open_view(const struct alm_host *host, int dir, uint64_t first, struct idx_view *out)
{
	char name[SEG_NAME_MAX];
	int64_t size;
	void *base;
	int fd;

	memset(out, 0, sizeof *out);
	seg_name(name, first, "idx");
	fd = seg_io->open(dir, name, IO_READ);
	if (fd < 0)
		return fd == -ENOENT ? ALM_ENOTFOUND
				     : host->fail(host, ALM_EIO, "could not open %s: %s", name,
					   strerror(-fd));
	size = seg_io->size(fd);
	if (size < (int64_t)SEG_BLOCK) {
		seg_io->close(fd);
		return ALM_ENOTFOUND;
	}
	base = seg_io->map(fd, (uint64_t)size);
	seg_io->close(fd);
	if (base == NULL)
		return host->fail(host, ALM_ENOMEM, "could not map %s (%lld bytes)", name,
		    (long long)size);
	out->head = base;
	out->rows = (const void *)((const char *)base + SEG_BLOCK);
	out->n = ((uint64_t)size - SEG_BLOCK) / sizeof(struct seg_row);
	out->size = (uint64_t)size;
	out->head_good = seg_head_good(host, out->head, SEG_IDX_MAGIC, first);
	return ALM_OK;
}

void
idx_close_view(struct idx_view *v)
{
	if (v->head != NULL) {
		seg_io->unmap((void *)(uintptr_t)v->head, v->size);
	}
	memset(v, 0, sizeof *v);
}

const struct seg_row *
idx_row(const struct alm_host *host, const struct idx_view *v, uint64_t k)
{
	if (k >= v->n || !seg_row_good(host, &v->rows[k]))
		return NULL;
	return &v->rows[k];
}
