/* manager/listen.h - listening sockets: bound before any role runs, kept over restarts. */
#ifndef ALM_MANAGER_LISTEN_H
#define ALM_MANAGER_LISTEN_H

#include "config/address.h"
#include "config/config.h"
#include "ipc/region.h"

struct listen_socket {
	struct address address;     /* with the port that the kernel chose */
	int fd[WORKERS_MAX + 1];    /* by worker slot (1..), -1: none; the same number in all if shared */
	int shared;                 /* Unix sockets, and those handed over by systemd for all */
	int unlink_path;            /* a Unix socket that we made */
	int handed;                 /* by systemd */
};

struct listen_set {
	struct listen_socket socket[LISTENERS_MAX];
	uint32_t n, workers;
};

/* Take over LISTEN_FDS and bind the rest. ALM_OK; ALM_ECONFIG or ALM_EBUSY with the line to print, and
 * nothing left open. */
int listen_open(struct listen_set *, const struct config *);
void listen_close(struct listen_set *);
/* The slot's worker is off for a while: close its own TCP sockets, so that the kernel sends its share of
 * connections to the others; and bind them again. */
void listen_slot_off(struct listen_set *, uint32_t slot);
void listen_slot_on(struct listen_set *, uint32_t slot);
/* "native on 127.0.0.1:7450, native on unix:/..." */
void listen_describe(const struct listen_set *, const struct config *, struct buf *out);

#endif
