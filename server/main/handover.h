/* main/handover.h - what a role process gets from its manager: numbers of inherited descriptors.  Both
 * are the same binary, so the struct travels as it is, in a memfd. */
#ifndef ALM_MAIN_HANDOVER_H
#define ALM_MAIN_HANDOVER_H

#include "main/role.h"

#define HANDOVER_MAGIC 0x564f4841u

struct handover {
	uint32_t magic, size;
	uint32_t role, peer, slot, workers;
	uint64_t generation;
	int32_t manager_pid;
	int conf_fd, self_fd, arena_fd, manager_fd;
	int bell[PEERS_MAX];
	int region_fd[PEERS_MAX];
	int listen_fd[LISTENERS_MAX];
};

/* A memfd with it (close-on-exec), or an error. */
int handover_write(const struct handover *);
/* ALM_OK or ALM_EINTERNAL with err_text(). */
int handover_read(int fd, struct handover *out);
/* Calls each for every descriptor named. */
void handover_fds(const struct handover *, void (*each)(int fd));

#endif
