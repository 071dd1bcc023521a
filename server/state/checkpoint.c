/* state/checkpoint.c - read, check and write catalogue.ckpt.
 *
 * Reading runs in the ledger at start and in workers; writing in the ledger's checkpoint thread.
 * A file is outside input: nothing in it is used before the two CRCs and the structure hold. */
#include "state/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_BYTES 600
#define FILE_MAX (4ull << 30)

static const uint64_t row_bytes[CKPT_SECTIONS] = {
    sizeof(struct ckpt_topic), sizeof(struct ckpt_group), sizeof(struct ckpt_queue),
    sizeof(struct ckpt_version), sizeof(struct ckpt_producer), sizeof(struct ckpt_range)};

static uint32_t
head_crc(const struct ckpt_head *h)
{
	struct ckpt_head copy = *h;

	copy.head_crc = 0;
	return crc32c(0, &copy, sizeof copy);
}

/* Next topic or group row: both end in {version, name_len, reserved} and are followed by a name. */
static const void *
named_row(const struct checkpoint *c, uint32_t section, uint64_t *at, struct alm_slice *name)
{
	const uint64_t bytes = c->head->bytes[section], fixed = row_bytes[section];
	const uint8_t *row = c->section[section] + *at;
	uint32_t len;

	if (*at >= bytes || bytes - *at < fixed)
		return NULL;
	memcpy(&len, row + fixed - 8, sizeof len);
	if (len == 0 || len > ALM_NAME_MAX || bytes - *at - fixed < ((len + 7u) & ~7u))
		return NULL;
	name->data = row + fixed;
	name->len = len;
	*at += fixed + ((len + 7u) & ~7u);
	return row;
}

const struct ckpt_topic *
checkpoint_topic(const struct checkpoint *c, uint64_t *at, struct alm_slice *name)
{
	return named_row(c, CKPT_TOPICS, at, name);
}

const struct ckpt_group *
checkpoint_group(const struct checkpoint *c, uint64_t *at, struct alm_slice *name)
{
	return named_row(c, CKPT_GROUPS, at, name);
}

/* Lay out the sections and check that rows fill them exactly. */
static int
check_sections(struct checkpoint *c, uint64_t size)
{
	const uint8_t *p = (const uint8_t *)(c->head + 1);
	uint64_t left = size - sizeof *c->head, at, n;
	struct alm_slice name;

	for (uint32_t i = 0; i < CKPT_SECTIONS; i++) {
		if (c->head->bytes[i] > left || c->head->bytes[i] % 8 != 0)
			return ALM_ECORRUPT;
		c->section[i] = p;
		p += c->head->bytes[i];
		left -= c->head->bytes[i];
		if (i > CKPT_GROUPS && (c->head->bytes[i] % row_bytes[i] != 0 ||
		    c->head->bytes[i] / row_bytes[i] != c->head->count[i]))
			return ALM_ECORRUPT;
	}
	if (left != 0)
		return ALM_ECORRUPT;
	for (uint32_t i = CKPT_TOPICS; i <= CKPT_GROUPS; i++) {
		for (at = 0, n = 0; named_row(c, i, &at, &name) != NULL; n++)
			continue;
		if (at != c->head->bytes[i] || n != c->head->count[i])
			return ALM_ECORRUPT;
	}
	return ALM_OK;
}

static int
read_all(int fd, void *data, uint64_t size)
{
	uint8_t *p = data;

	while (size > 0) {
		ssize_t n = read(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ALM_EIO;
		p += n;
		size -= (uint64_t)n;
	}
	return ALM_OK;
}

static int
check_image(struct checkpoint *c, uint64_t size, const char *path)
{
	const struct ckpt_head *h = c->head;

	if (h->magic != CKPT_MAGIC || h->head_crc != head_crc(h))
		return err_set(ALM_ECORRUPT, "%s: the header fails its checksum", path);
	if (h->version != CKPT_VERSION)
		return err_set(ALM_EVERSION, "%s: version %u, this release reads %u", path, h->version,
		    CKPT_VERSION);
	if (h->body_crc != crc32c(0, h + 1, size - sizeof *h))
		return err_set(ALM_ECORRUPT, "%s: the content fails its checksum", path);
	if (check_sections(c, size) != ALM_OK)
		return err_set(ALM_ECORRUPT, "%s: the sections do not fit their counts", path);
	return ALM_OK;
}

int
checkpoint_read(const char *data_dir, struct checkpoint *out)
{
	char path[PATH_BYTES];
	struct stat st;
	int fd, status;

	memset(out, 0, sizeof *out);
	snprintf(path, sizeof path, "%s/" CKPT_FILE, data_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(errno == ENOENT ? ALM_ENOTFOUND : ALM_EIO, "could not open %s: %s", path,
		    strerror(errno));
	if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof *out->head ||
	    (uint64_t)st.st_size > FILE_MAX) {
		status = err_set(ALM_ECORRUPT, "%s: %lld bytes is no possible size", path,
		    (long long)st.st_size);
		goto out;
	}
	out->head = malloc((uint64_t)st.st_size);
	if (out->head == NULL) {
		status = err_set(ALM_ENOMEM, "no memory for %s (%lld bytes)", path,
		    (long long)st.st_size);
		goto out;
	}
	status = read_all(fd, out->head, (uint64_t)st.st_size);
	if (status != ALM_OK)
		err_set(status, "could not read %s: %s", path, strerror(errno));
	else
		status = check_image(out, (uint64_t)st.st_size, path);
out:
	close(fd);
	if (status != ALM_OK)
		checkpoint_free(out);
	return status;
}

void
checkpoint_free(struct checkpoint *c)
{
	free(c->head);
	memset(c, 0, sizeof *c);
}

static int
write_all(int fd, const uint8_t *p, uint64_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ALM_EIO;
		p += n;
		size -= (uint64_t)n;
	}
	return ALM_OK;
}

static int
sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	if (fd < 0)
		return ALM_EIO;
	r = fsync(fd);
	close(fd);
	return r == 0 ? ALM_OK : ALM_EIO;
}

int
checkpoint_write(const char *data_dir, struct buf *image)
{
	char path[PATH_BYTES], tmp[PATH_BYTES + 8];
	struct ckpt_head *h = (struct ckpt_head *)(void *)image->data;
	int fd, status;

	h->magic = CKPT_MAGIC;
	h->version = CKPT_VERSION;
	h->body_crc = crc32c(0, h + 1, image->len - sizeof *h);
	h->head_crc = head_crc(h);
	snprintf(path, sizeof path, "%s/" CKPT_FILE, data_dir);
	snprintf(tmp, sizeof tmp, "%s.tmp", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
	if (fd < 0)
		return err_set(ALM_EIO, "could not create %s: %s", tmp, strerror(errno));
	status = write_all(fd, image->data, image->len);
	if (status == ALM_OK && fdatasync(fd) != 0)
		status = ALM_EIO;
	if (status != ALM_OK)
		err_set(status, "could not write %s: %s", tmp, strerror(errno));
	if (close(fd) != 0 && status == ALM_OK)
		status = err_set(ALM_EIO, "could not close %s: %s", tmp, strerror(errno));
	if (status == ALM_OK && FAULT_POINT("before-checkpoint-rename") != 0)
		status = err_set(ALM_EIO, "fault point before-checkpoint-rename");
	if (status == ALM_OK && (rename(tmp, path) != 0 || sync_dir(data_dir) != ALM_OK))
		status = err_set(ALM_EIO, "could not rename %s: %s", tmp, strerror(errno));
	if (status != ALM_OK)
		unlink(tmp);
	return status;
}
