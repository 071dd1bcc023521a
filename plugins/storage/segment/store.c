/* store.c - open, append, sync, close: the writer half's path.
 *
 * append and sync run on whichever ledger thread owns the tail; they allocate nothing.  A batch
 * never spans segments, the caller's batches that are adjacent in the file go out in one write.
 * At most max_unsynced bytes are ever not durable: append syncs by itself before it would pass
 * that, since recovery relies on it. */
#include "store.h"

#include <errno.h>

#define APPEND_IOV 64

int
seg_refuse_damaged(struct alm_store *st)
{
	if (st->flags & ALM_OPEN_READONLY)
		return st->host->fail(st->host, ALM_EDENIED, "the store is open read-only");
	return st->host->fail(st->host, ALM_ECORRUPT,
	    "the log is damaged; repair it, or open it accepting the loss");
}

static void
read_settings(struct alm_store *st)
{
	const struct alm_host *h = st->host;

	st->segment_size = (uint64_t)h->setting_int(h, "segment_size") / SEG_BLOCK * SEG_BLOCK;
	st->first_size = (uint64_t)h->setting_int(h, "first_segment_size") / SEG_BLOCK * SEG_BLOCK;
	st->max_unsynced = (uint64_t)h->setting_int(h, "max_unsynced");
	st->keep_free = (uint64_t)h->setting_int(h, "keep_free");
	st->spares_wanted = (uint32_t)h->setting_int(h, "spare_segments");
	st->spares_max = (uint32_t)h->setting_int(h, "recycle_max");
	if (st->first_size > st->segment_size)
		st->first_size = st->segment_size;
}

static void
store_free(struct alm_store *st)
{
	const struct alm_host *host = st->host;
	char name[SEG_NAME_MAX];

	seg_close_last(st);
	if (st->making_fd >= 0) {
		seg_io->close(st->making_fd);
		seg_spare_name(name, st->making_id, "tmp");
		seg_io->unlink(st->dir, name);
	}
	while (seg_bury_one(st))
		continue;
	if (st->meta_fd >= 0)
		seg_io->close(st->meta_fd);
	if (st->dir >= 0)
		seg_io->close(st->dir);
	pthread_mutex_destroy(&st->lock);
	host->free(host, st->segs);
	host->free(host, st->rows);
	host->free(host, st);
}

int
seg_new(const struct alm_host *host, const char *dir, uint32_t flags, struct alm_store **out)
{
	struct alm_store *st = host->alloc(host, sizeof *st);

	if (st == NULL)
		return host->fail(host, ALM_ENOMEM, "no memory for the store");
	st->host = host;
	st->flags = flags;
	st->fd = st->idx_fd = st->meta_fd = st->making_fd = -1;
	pthread_mutex_init(&st->lock, NULL);
	read_settings(st);
	st->next_size = st->first_size;
	st->rows = host->alloc(host, SEG_ROWS_MAX * sizeof *st->rows);
	st->dir = seg_io->dir_open(dir);
	if (st->rows == NULL || st->dir < 0) {
		int err = st->dir;

		store_free(st);
		if (err >= 0)
			return host->fail(host, ALM_ENOMEM, "no memory for the store");
		return host->fail(host, ALM_EIO, "could not open %s: %s", dir, strerror(-err));
	}
	*out = st;
	return ALM_OK;
}

int
seg_open(const struct alm_host *host, const char *dir, uint32_t flags, struct alm_boot *boot,
    struct alm_store **out)
{
	struct alm_store *st;
	int rc = seg_new(host, dir, flags, &st);

	if (rc != ALM_OK)
		return rc;
	rc = seg_recover(st, boot);
	if (rc != ALM_OK) {
		store_free(st);
		return rc;
	}
	*out = st;
	return ALM_OK;
}

/* Leave everything durable and the index file complete, so that the next open trusts it. */
static int
close_clean(struct alm_store *st)
{
	int rc = seg_sync(st, NULL);

	if (rc == ALM_OK)
		rc = idx_complete(st);
	if (rc != ALM_OK)
		return rc;
	meta_note_synced(st);
	return meta_save(st);
}

void
seg_close(struct alm_store *st)
{
	if (!st->failed && !st->damaged && !(st->flags & ALM_OPEN_READONLY) &&
	    close_clean(st) != ALM_OK)
		st->host->log(st->host, ALM_LOG_WARN, "the log was not closed cleanly");
	store_free(st);
}

void
seg_discard(struct alm_store *st)
{
	store_free(st);
}

/* ---- append ---- */

/* A batch that the core hands over must continue the log exactly; otherwise both sides disagree. */
static int
check_batch(struct alm_store *st, const struct alm_slice *s, const struct seg_end *at)
{
	const struct alm_batch *b = s->data;

	if (s->len < sizeof *b || b->length != s->len ||
	    !seg_batch_header_good(st->host, b, at->position, s->len) ||
	    b->index != at->index + 1 || b->prev_crc != at->crc)
		return st->host->fail(st->host, ALM_EINVAL,
		    "batch does not continue the log: length %llu, position %llu, index %llu where "
		    "position %llu, index %llu is next",
		    (unsigned long long)s->len,
		    s->len < sizeof *b ? 0ull : (unsigned long long)b->position,
		    s->len < sizeof *b ? 0ull : (unsigned long long)b->index,
		    (unsigned long long)at->position, (unsigned long long)(at->index + 1));
	return ALM_OK;
}

static void
end_move(struct seg_end *end, const struct alm_batch *b)
{
	end->position += b->length;
	end->index = b->index;
	end->term = b->term;
	end->time = b->log_time;
	end->crc = b->header_crc;
}

static uint64_t
room_left(struct alm_store *st)
{
	return seg_capacity(seg_last(st)->size) - (st->end.position - seg_last(st)->first);
}

/* Check all batches and make sure that segments for them exist, before anything is written. */
static int
append_plan(struct alm_store *st, const struct alm_slice *batches, uint32_t n)
{
	struct seg_end at = st->end;
	uint64_t room = room_left(st), largest = 0;
	uint32_t segments = 0;
	int rc;

	for (uint32_t i = 0; i < n; i++) {
		rc = check_batch(st, &batches[i], &at);
		if (rc != ALM_OK)
			return rc;
		end_move(&at, batches[i].data);
		if (batches[i].len > largest)
			largest = batches[i].len;
		if (batches[i].len > room) {
			segments++;
			/* The smallest file that the pool may give. */
			room = batches[i].len > seg_capacity(st->first_size)
			    ? batches[i].len
			    : seg_capacity(st->first_size);
		}
		room -= batches[i].len;
	}
	return segments > 0 ? seg_reserve(st, segments, largest) : ALM_OK;
}

/* Everything in the last segment is durable and so is its index file: begin the next one. */
static int
rotate(struct alm_store *st, uint64_t need)
{
	int rc = seg_sync(st, NULL);

	if (rc == ALM_OK)
		rc = idx_complete(st);
	return rc == ALM_OK ? seg_begin(st, need) : rc;
}

/* One write of batches that are neighbours in the file. */
static int
write_run(struct alm_store *st, const struct alm_slice *batches, uint32_t n)
{
	struct iovec iov[APPEND_IOV];
	uint64_t at = SEG_BLOCK + (st->end.position - seg_last(st)->first);
	int rc;

	for (uint32_t i = 0; i < n; i++) {
		memcpy(&iov[i].iov_base, &batches[i].data, sizeof batches[i].data);
		iov[i].iov_len = batches[i].len;
	}
	rc = io_writev(st->fd, iov, (int)n, at);
	if (rc < 0)
		return seg_fatal(st, "write to", "the log", -rc);
	for (uint32_t i = 0; i < n; i++) {
		const struct alm_batch *b = batches[i].data;

		if (!st->idx_stalled)
			seg_row_make(st->host, b, &st->rows[st->n_rows++]);
		end_move(&st->end, b);
	}
	return ALM_OK;
}

int
seg_append(struct alm_store *st, const struct alm_slice *batches, uint32_t n)
{
	uint32_t written = 0;
	int rc;

	if (st->failed)
		return st->failed;
	if (st->damaged || st->flags & ALM_OPEN_READONLY)
		return seg_refuse_damaged(st);
	rc = append_plan(st, batches, n);
	if (rc != ALM_OK)
		return rc;
	while (n > 0) {
		uint64_t unsynced = st->end.position - st->durable.position, bytes = 0;
		uint32_t run = 0;

		while (run < n && run < APPEND_IOV && bytes + batches[run].len <= room_left(st) &&
		    (unsynced + bytes == 0 ||
			unsynced + bytes + batches[run].len <= st->max_unsynced) &&
		    st->n_rows + run < SEG_ROWS_MAX)
			bytes += batches[run++].len;
		if (run == 0 && batches[0].len > room_left(st))
			rc = rotate(st, batches[0].len);
		else if (run == 0)
			rc = seg_sync(st, NULL);
		else
			rc = write_run(st, batches, run);
		if (rc != ALM_OK) {
			/* Part of the group is in the log: the core and the store disagree. */
			if (written > 0)
				st->failed = ALM_EIO;
			return st->failed ? st->failed : rc;
		}
		batches += run;
		n -= run;
		written += run;
	}
	return ALM_OK;
}

/* ---- sync ---- */

/* Write the rows that have become durable, now and then. */
static int
rows_due(struct alm_store *st)
{
	uint64_t now;

	if (st->rows_durable == 0)
		return 0;
	if (st->durable.position - st->idx_position >= SEG_IDX_EVERY ||
	    st->rows_durable > SEG_ROWS_MAX / 2)
		return 1;
	now = st->host->now(st->host);
	return now - st->idx_time >= SEG_IDX_TIME;
}

int
seg_sync(struct alm_store *st, struct alm_durable *out)
{
	int rc;

	if (st->failed)
		return st->failed;
	if (st->damaged || st->flags & ALM_OPEN_READONLY)
		return seg_refuse_damaged(st);
	if (st->durable.position != st->end.position) {
		rc = seg_io->sync(st->fd);
		if (rc < 0)
			return seg_fatal(st, "sync", "the log", -rc);
		pthread_mutex_lock(&st->lock);
		st->durable.epoch = st->meta.epoch;
		st->durable.index = st->end.index;
		st->durable.term = st->end.term;
		st->durable.position = st->end.position;
		pthread_mutex_unlock(&st->lock);
		st->rows_durable = st->n_rows;
	}
	if (out != NULL)
		*out = st->durable;
	return rows_due(st) ? idx_flush(st) : ALM_OK;
}

int
seg_save_meta(struct alm_store *st, const struct alm_meta *m)
{
	uint64_t hint;

	if (st->failed)
		return st->failed;
	if (st->damaged || st->flags & ALM_OPEN_READONLY)
		return seg_refuse_damaged(st);
	meta_note_synced(st);
	hint = m->commit_hint > st->meta.meta.commit_hint ? m->commit_hint :
							    st->meta.meta.commit_hint;
	st->meta.meta = *m;
	/* A commit index beyond what is durable here proves nothing about this disk. */
	st->meta.meta.commit_hint = hint < st->meta.synced_index ? hint : st->meta.synced_index;
	return meta_save(st);
}
