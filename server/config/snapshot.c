/* config/snapshot.c - a configuration in a sealed memfd, for children.
 *
 * The manager writes it once; children map nothing, they read it and resolve it again.  Content:
 * NUL-terminated strings, "S" name origin for a section and "E" section key value origin for an
 * entry, behind a short header.  A child trusts its manager but checks bounds all the same.
 */
#include <config.h>

#include "config/draft.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/settings.h"

#define SNAPSHOT_MAGIC 0x474e4f43u
#define SNAPSHOT_MAX (1 << 20)

struct snapshot_head {
	uint32_t magic, accept_data_loss;
};

static int
put_strings(struct buf *b, const char *const *strings, uint32_t n)
{
	int status = ALM_OK;

	for (uint32_t i = 0; i < n && status == ALM_OK; i++)
		status = buf_put(b, strings[i], strlen(strings[i]) + 1);
	return status;
}

static int
serialize(const struct config *c, struct buf *b)
{
	struct snapshot_head head = {SNAPSHOT_MAGIC, c->core.accept_data_loss};
	int status = buf_put(b, &head, sizeof head);

	for (uint32_t i = 0; i < c->n_sections && status == ALM_OK; i++) {
		const char *s[] = {"S", c->sections[i].name, c->sections[i].origin};
		status = put_strings(b, s, 3);
	}
	for (uint32_t i = 0; i < c->n_entries && status == ALM_OK; i++) {
		const struct entry *e = &c->entries[i];
		const char *s[] = {"E", e->section, e->key, e->value, e->origin};

		status = put_strings(b, s, 5);
	}
	return status;
}

static int
write_all(int fd, const uint8_t *data, uint64_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ALM_EIO;
		data += n;
		len -= (uint64_t)n;
	}
	return ALM_OK;
}

int
config_snapshot(const struct config *c)
{
	struct buf b = {0};
	int fd = -1, status = serialize(c, &b);

	if (status != ALM_OK)
		goto out;
	fd = memfd_create("almadia-config", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || write_all(fd, b.data, b.len) != ALM_OK ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0) {
		status = err_set(ALM_EIO, "could not make a configuration snapshot: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
	}
out:
	buf_free(&b);
	return status == ALM_OK ? fd : status;
}

/* Next string, or NULL past the end. */
static const char *
next_string(const char **at, const char *end)
{
	const char *s = *at;
	uint64_t n = s < end ? strnlen(s, (uint64_t)(end - s)) : 0;

	if (s >= end || s + n >= end)
		return NULL;
	*at = s + n + 1;
	return s;
}

static int
deserialize(struct config *c, const char *at, const char *end)
{
	const char *what, *f[4];
	int status = ALM_OK;

	while (status == ALM_OK && (what = next_string(&at, end))) {
		uint32_t n = what[0] == 'E' ? 4 : 2;

		for (uint32_t i = 0; i < n; i++)
			if (!(f[i] = next_string(&at, end)))
				return err_set(ALM_EINTERNAL, "configuration snapshot is cut off");
		status = n == 4 ? draft_entry(c, f[0], f[1], f[2], f[3], 0) : draft_section(c, f[0], f[1]);
	}
	return status;
}

int
config_from_snapshot(int fd, struct config **out)
{
	struct snapshot_head head;
	struct stat st;
	struct config *c = NULL;
	char *data = NULL;
	int status;

	if (fstat(fd, &st) != 0 || st.st_size < (off_t)sizeof head || st.st_size > SNAPSHOT_MAX)
		return err_set(ALM_EINTERNAL, "descriptor %d is no configuration snapshot", fd);
	uint64_t size = (uint64_t)st.st_size;
	data = malloc(size);
	c = calloc(1, sizeof *c);
	if (!data || !c) {
		status = err_set(ALM_ENOMEM, "out of memory");
		goto out;
	}
	if (pread(fd, data, size, 0) != (ssize_t)size) {
		status = err_set(ALM_EIO, "could not read the configuration snapshot");
		goto out;
	}
	memcpy(&head, data, sizeof head);
	status = head.magic == SNAPSHOT_MAGIC
	    ? deserialize(c, data + sizeof head, data + size)
	    : err_set(ALM_EINTERNAL, "descriptor %d is no configuration snapshot", fd);
	if (status == ALM_OK)
		status = draft_resolve(c);
	c->core.accept_data_loss = head.accept_data_loss;
out:
	free(data);
	if (status != ALM_OK)
		config_free(c);
	else
		*out = c;
	return status;
}
