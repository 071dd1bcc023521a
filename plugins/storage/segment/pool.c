/* pool.c - files that wait to become segments: zeroed ahead of need by the helper thread, or given
 * back by release; and those that wait to be removed.  `lock` guards both; whoever takes one owns
 * its file.
 *
 * New files grow from first_segment_size to segment_size, so that a new node starts at once and a
 * small one stays small. */
#include "change.h"

#include <errno.h>
#include <stdio.h>

#define ZERO_STEP (4u << 20) /* bytes zeroed and synced in one call of prepare */

void
seg_spare_name(char out[SEG_NAME_MAX], uint64_t id, const char *suffix)
{
	snprintf(out, SEG_NAME_MAX, "%08llx.%s", (unsigned long long)id, suffix);
}

void
seg_pool_put(struct alm_store *st, const struct seg_spare *s)
{
	pthread_mutex_lock(&st->lock);
	st->pool[st->n_pool++] = *s;
	pthread_mutex_unlock(&st->lock);
}

/* Number and size of the next new file. */
static void
pool_plan(struct alm_store *st, struct seg_spare *s)
{
	pthread_mutex_lock(&st->lock);
	s->id = st->next_spare++;
	s->size = st->next_size;
	if (s->size < st->segment_size)
		st->next_size = s->size * 4 < st->segment_size ? s->size * 4 : st->segment_size;
	pthread_mutex_unlock(&st->lock);
}

/* Take a spare that holds need bytes out of the pool: 1 and the spare, or 0. */
int
seg_pool_take(struct alm_store *st, uint64_t need, struct seg_spare *out)
{
	int found = 0;

	pthread_mutex_lock(&st->lock);
	for (uint32_t i = 0; i < st->n_pool && !found; i++)
		if (seg_capacity(st->pool[i].size) >= need) {
			*out = st->pool[i];
			st->pool[i] = st->pool[--st->n_pool];
			found = 1;
		}
	pthread_mutex_unlock(&st->lock);
	return found;
}

int
seg_pool_add(struct alm_store *st, uint64_t need, int zeroed)
{
	char tmp[SEG_NAME_MAX], name[SEG_NAME_MAX];
	struct seg_spare s;
	int fd, rc;

	pool_plan(st, &s);
	if (seg_capacity(s.size) < need)
		s.size = (SEG_BLOCK + need + SEG_BLOCK - 1) / SEG_BLOCK * SEG_BLOCK;
	seg_spare_name(tmp, s.id, "tmp");
	seg_spare_name(name, s.id, "spare");
	fd = seg_io->open(st->dir, tmp, IO_CREATE);
	rc = fd < 0 ? fd : zeroed ? -EOPNOTSUPP : seg_io->allocate(fd, s.size);
	if (rc == -EOPNOTSUPP)
		rc = io_zero(fd, 0, s.size);
	if (rc == 0)
		rc = seg_io->sync(fd);
	if (fd >= 0)
		seg_io->close(fd);
	if (rc == 0)
		rc = seg_io->rename(st->dir, tmp, name);
	if (rc < 0) {
		seg_io->unlink(st->dir, tmp);
		if (seg_no_space(rc))
			return st->host->fail(st->host, ALM_EFULL,
			    "no space for a segment of %llu bytes; free space or lower "
			    "retention.bytes", (unsigned long long)s.size);
		return seg_fatal(st, "create", tmp, -rc);
	}
	seg_pool_put(st, &s);
	return ALM_OK;
}

int
seg_reserve(struct alm_store *st, uint32_t count, uint64_t need)
{
	int rc = ALM_OK;

	while (rc == ALM_OK) {
		uint32_t have = 0, full;

		pthread_mutex_lock(&st->lock);
		for (uint32_t i = 0; i < st->n_pool; i++)
			have += seg_capacity(st->pool[i].size) >= need;
		full = st->n_pool >= SEG_POOL_MAX - 4; /* room for prepare's and release's */
		pthread_mutex_unlock(&st->lock);
		if (have >= count)
			break;
		if (full)
			return st->host->fail(st->host, ALM_ETOOBIG,
			    "one append needs %u segments of %llu bytes; at most %u are "
			    "made", count, (unsigned long long)need, SEG_POOL_MAX - 4);
		rc = seg_pool_add(st, need, 0);
	}
	return rc;
}

int
seg_pool_clear(struct alm_store *st)
{
	char name[SEG_NAME_MAX];
	int rc;

	pthread_mutex_lock(&st->lock);
	rc = 0;
	for (; st->n_pool > 0 && rc == 0; st->n_pool--) {
		seg_spare_name(name, st->pool[st->n_pool - 1].id, "spare");
		rc = seg_io->unlink(st->dir, name);
	}
	pthread_mutex_unlock(&st->lock);
	return rc < 0 ? seg_fatal(st, "remove", name, -rc) : ALM_OK;
}

/* Take a segment out of the log without the work of freeing it, which takes longer the more of it is
 * cached: under a temporary name it is prepare's to remove, or recovery's. */
static int
doom(struct alm_store *st, const struct seg *s, uint64_t id)
{
	char name[SEG_NAME_MAX], to[SEG_NAME_MAX];
	uint32_t full;
	int rc;

	pthread_mutex_lock(&st->lock);
	full = st->n_doomed == SEG_POOL_MAX;
	pthread_mutex_unlock(&st->lock);
	if (full)
		return seg_unlink(st, s->first);
	seg_name(name, s->first, "idx");
	rc = seg_io->unlink(st->dir, name);
	if (rc < 0 && rc != -ENOENT)
		return seg_fatal(st, "remove", name, -rc);
	seg_name(name, s->first, "seg");
	seg_spare_name(to, id, "tmp");
	rc = seg_io->rename(st->dir, name, to);
	if (rc < 0)
		return seg_fatal(st, "remove", name, -rc);
	pthread_mutex_lock(&st->lock);
	st->doomed[st->n_doomed++] = id;
	pthread_mutex_unlock(&st->lock);
	return ALM_OK;
}

int
seg_bury_one(struct alm_store *st)
{
	char name[SEG_NAME_MAX];
	uint64_t id = 0;
	uint32_t found;

	pthread_mutex_lock(&st->lock);
	found = st->n_doomed > 0;
	if (found)
		id = st->doomed[--st->n_doomed];
	pthread_mutex_unlock(&st->lock);
	if (!found)
		return 0;
	seg_spare_name(name, id, "tmp");
	if (seg_io->unlink(st->dir, name) < 0)
		st->host->log(st->host, ALM_LOG_WARN, "could not remove %s; the next start will", name);
	return 1;
}

int
seg_give_back(struct alm_store *st, const struct seg *s, int reusable)
{
	char name[SEG_NAME_MAX], to[SEG_NAME_MAX];
	struct seg_spare spare = {.size = s->size};
	uint32_t have;
	int rc;

	pthread_mutex_lock(&st->lock);
	have = st->n_pool;
	spare.id = st->next_spare++;
	pthread_mutex_unlock(&st->lock);
	if (!reusable || have >= st->spares_max || s->size < st->segment_size)
		return doom(st, s, spare.id);
	seg_name(name, s->first, "idx");
	rc = seg_io->unlink(st->dir, name);
	if (rc < 0 && rc != -ENOENT)
		return seg_fatal(st, "remove", name, -rc);
	seg_name(name, s->first, "seg");
	seg_spare_name(to, spare.id, "spare");
	rc = seg_io->rename(st->dir, name, to);
	if (rc < 0)
		return seg_fatal(st, "recycle", name, -rc);
	seg_pool_put(st, &spare);
	return ALM_OK;
}

/* Begin to zero one more file if fewer than wanted are ready: 1, or 0 if there is nothing to do. */
static int
making_begin(struct alm_store *st)
{
	struct seg_spare s;
	char name[SEG_NAME_MAX];
	uint64_t avail = 0;
	uint32_t have;

	pthread_mutex_lock(&st->lock);
	have = st->n_pool;
	s.size = st->next_size;
	pthread_mutex_unlock(&st->lock);
	if (have >= st->spares_wanted || seg_io->free_bytes(st->dir, &avail) < 0 ||
	    avail < s.size + st->keep_free)
		return 0;
	pool_plan(st, &s);
	seg_spare_name(name, s.id, "tmp");
	st->making_fd = seg_io->open(st->dir, name, IO_CREATE);
	if (st->making_fd < 0)
		return 0;
	st->making_id = s.id;
	st->making_size = s.size;
	st->making_done = 0;
	return 1;
}

static void
making_drop(struct alm_store *st)
{
	char name[SEG_NAME_MAX];

	seg_io->close(st->making_fd);
	st->making_fd = -1;
	seg_spare_name(name, st->making_id, "tmp");
	seg_io->unlink(st->dir, name);
}

int
seg_prepare(struct alm_store *st)
{
	struct seg_spare s;
	char tmp[SEG_NAME_MAX], name[SEG_NAME_MAX];
	uint64_t part;
	int rc;

	if (st->flags & ALM_OPEN_READONLY || st->damaged)
		return 0;
	if (seg_bury_one(st))
		return 1;
	if (st->making_fd < 0 && !making_begin(st))
		return 0;
	part = st->making_size - st->making_done;
	if (part > ZERO_STEP)
		part = ZERO_STEP;
	rc = io_zero(st->making_fd, st->making_done, part);
	if (rc == 0)
		rc = seg_io->sync(st->making_fd);
	if (rc < 0) {
		/* Only a file that holds nothing: append makes its own if it can. */
		st->host->log(st->host, ALM_LOG_WARN, "could not zero space ahead: %s",
		    strerror(-rc));
		making_drop(st);
		return 0;
	}
	st->making_done += part;
	if (st->making_done < st->making_size)
		return 1;
	s.id = st->making_id;
	s.size = st->making_size;
	seg_spare_name(tmp, s.id, "tmp");
	seg_spare_name(name, s.id, "spare");
	rc = seg_io->rename(st->dir, tmp, name);
	if (rc < 0) {
		making_drop(st);
		return 0;
	}
	seg_io->close(st->making_fd);
	st->making_fd = -1;
	seg_pool_put(st, &s);
	return 1;
}
