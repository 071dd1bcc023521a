/* ctl/offline.h - a node's files opened without a server: configuration, storage plugin, host. */
#ifndef CTL_OFFLINE_H
#define CTL_OFFLINE_H

#include <almadia/storage.h>

struct call;
struct config;

struct offline {
	struct config *conf;
	const struct alm_storage_ops_v0 *ops;
	struct alm_host *host;
	char data_dir[1024]; /* "" if the argument was a log directory itself */
	char log_dir[1100];
};

/* Load configuration (--config) and storage plugin (--storage, --plugin-path) for DIR. RC_*. */
int offline_open(const struct call *, const char *dir, struct offline *out);
void offline_close(struct offline *);

#endif
