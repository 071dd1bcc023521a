/* main/handover.c - the handover memfd.  handover_fds runs between fork and exec: no allocation. */
#include <config.h>

#include "main/handover.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int
handover_write(const struct handover *h)
{
	int fd = memfd_create("almadia-handover", MFD_CLOEXEC);

	if (fd < 0 || pwrite(fd, h, sizeof *h, 0) != (ssize_t)sizeof *h) {
		err_set(ALM_EIO, "could not make a handover: %s", strerror(errno));
		if (fd >= 0)
			close(fd);
		return ALM_EIO;
	}
	return fd;
}

int
handover_read(int fd, struct handover *out)
{
	if (pread(fd, out, sizeof *out, 0) != (ssize_t)sizeof *out || out->magic != HANDOVER_MAGIC ||
	    out->size != sizeof *out || out->peer >= PEERS_MAX)
		return err_set(ALM_EINTERNAL, "--role is for almadiad's own use (no handover in descriptor %d)",
		    fd);
	return ALM_OK;
}

static void
one(int fd, void (*each)(int fd))
{
	if (fd >= 0)
		each(fd);
}

void
handover_fds(const struct handover *h, void (*each)(int fd))
{
	one(h->conf_fd, each);
	one(h->self_fd, each);
	one(h->arena_fd, each);
	one(h->manager_fd, each);
	for (uint32_t i = 0; i < PEERS_MAX; i++) {
		one(h->bell[i], each);
		one(h->region_fd[i], each);
	}
	for (uint32_t i = 0; i < LISTENERS_MAX; i++)
		one(h->listen_fd[i], each);
}
