/* meta.c - term and vote, epoch, log start, known durable end, and the step under way.
 * Ledger's main thread; every save is durable on return.
 *
 * Invariant: the slot that is being written is never the newest good one. */
#include "seg.h"

#include <errno.h>
#include <stdio.h>

static uint32_t
meta_crc(const struct alm_host *host, const struct seg_meta *m)
{
	struct seg_meta copy = *m;

	copy.crc = 0;
	return host->crc32c(0, &copy, sizeof copy);
}

static int
write_slot(struct alm_store *st, int fd)
{
	static const uint8_t zero[SEG_BLOCK];
	uint8_t block[SEG_BLOCK];

	st->meta.magic = SEG_META_MAGIC;
	st->meta.version = SEG_VERSION;
	st->meta.crc = meta_crc(st->host, &st->meta);
	memcpy(block, zero, sizeof block);
	memcpy(block, &st->meta, sizeof st->meta);
	memcpy(block + SEG_META_COPY_AT, &st->meta, sizeof st->meta);
	return io_write(fd, block, sizeof block, st->meta.write % 2 * SEG_BLOCK);
}

int
meta_create(struct alm_store *st)
{
	int fd, rc;

	fd = seg_io->open(st->dir, "meta.tmp", IO_CREATE);
	if (fd < 0)
		return seg_fatal(st, "create", "meta.tmp", -fd);
	for (st->meta.write = 0; st->meta.write < 2; st->meta.write++) {
		rc = write_slot(st, fd);
		if (rc < 0)
			goto out;
	}
	st->meta.write = 1;
	rc = seg_io->sync(fd);
	if (rc == 0)
		rc = seg_io->rename(st->dir, "meta.tmp", "meta");
	if (rc == 0)
		rc = seg_io->dir_sync(st->dir);
out:
	if (rc < 0) {
		seg_io->close(fd);
		return seg_fatal(st, "write", "meta", -rc);
	}
	st->meta_fd = fd;
	return ALM_OK;
}

int
meta_save(struct alm_store *st)
{
	int rc;

	if (st->failed)
		return st->failed;
	st->meta.write++;
	rc = write_slot(st, st->meta_fd);
	if (rc == 0)
		rc = seg_io->sync(st->meta_fd);
	if (rc < 0)
		return seg_fatal(st, "write", "meta", -rc);
	return ALM_OK;
}

void
meta_note_synced(struct alm_store *st)
{
	struct alm_durable d;

	pthread_mutex_lock(&st->lock);
	d = st->durable;
	pthread_mutex_unlock(&st->lock);
	st->meta.synced = d.position;
	st->meta.synced_index = d.index;
	st->meta.synced_term = d.term;
	st->meta.synced_crc = d.position == st->end.position ? st->end.crc : 0;
	st->meta.indexed = st->idx_synced;
}

static int
copy_good(const struct alm_host *host, const struct seg_meta *m, uint32_t slot)
{
	return m->magic == SEG_META_MAGIC && m->crc == meta_crc(host, m) && m->write % 2 == slot;
}

int
meta_load(const struct alm_host *host, int fd, struct seg_meta *out, uint32_t *spoiled, int accept)
{
	uint32_t good_slots = 0;
	int found = 0;

	*spoiled = 0;
	for (uint32_t slot = 0; slot < 2; slot++) {
		uint32_t good = 0;

		for (uint32_t copy = 0; copy < 2; copy++) {
			struct seg_meta m;
			int rc = io_read(fd, &m, sizeof m, slot * SEG_BLOCK + copy * SEG_META_COPY_AT);

			if (rc < 0 && rc != -EIO)
				return host->fail(host, ALM_EIO, "could not read meta: %s",
				    strerror(-rc));
			if (rc < 0 || !copy_good(host, &m, slot)) {
				++*spoiled;
				continue;
			}
			good = 1;
			if (!found || m.write > out->write)
				*out = m;
			found = 1;
		}
		good_slots += good;
	}
	if (found && out->version != SEG_VERSION)
		return host->fail(host, ALM_EVERSION, "meta has format %u, this release reads %u",
		    out->version, SEG_VERSION);
	if (!found)
		return host->fail(host, ALM_ECORRUPT,
		    "meta: both slots are damaged, so term and vote are unknown; restore the file or "
		    "re-create this member");
	if (good_slots < 2 && !accept)
		return host->fail(host, ALM_ECORRUPT,
		    "meta: slot %u is damaged and may have held a newer term or vote than %llu; "
		    "restore the file, or accept the loss explicitly",
		    (unsigned)(1 - out->write % 2), (unsigned long long)out->meta.term);
	return ALM_OK;
}
