/* manager/check.h - judge a configuration together with its plugins, in a process of its own, so that the
 * manager never runs plugin code. */
#ifndef ALM_MANAGER_CHECK_H
#define ALM_MANAGER_CHECK_H

#include "config/config.h"

/* Manager: run the check. ALM_OK and the bytes of shared memory that the storage plugin wants (0: none),
 * or ALM_ECONFIG with the one line to print. Blocks for at most 10 s. */
int check_run(const struct config *, uint64_t *arena);

/* The check process: exit code. Descriptors: configuration snapshot, pipe for the answer. */
int check_main(int conf_fd, int out_fd);

#endif
