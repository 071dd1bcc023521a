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

/* The log batch by batch.  Set c before walk_open. */
struct walker {
	const struct call *c;
	struct offline o;
	struct alm_boot boot;       /* bounds of the log */
	struct alm_reader *reader;
};

int walk_open(struct walker *, const char *dir); /* RC_* */
void walk_close(struct walker *);
/* Batch at *position, which then moves behind it: 1, 0 at the end, or a status. */
int walk_next(struct walker *, uint64_t *position, const struct alm_batch **out);

#endif
