/* config/config.h - almadia.conf: read, checked whole, then handed out as an immutable snapshot.
 *
 * INI.  Core sections are [server], [log], [limits], [retention], [topics], [storage] and
 * [consensus] (key "plugin"), [indexers] (key "plugins"), and [listener NAME].  A section
 * [KIND NAME] (storage segment, consensus single, indexer queue, protocol native, extension X)
 * holds that provider's declared settings.  Any unknown section or key, bad value, repeated key
 * or over-long line is one error line with file and line number; nothing is applied.
 */
#ifndef ALM_CONFIG_CONFIG_H
#define ALM_CONFIG_CONFIG_H

#include <almadia/abi.h>

#include "base/base.h"

struct config;

#define MODE_PROCESSES 1u
#define MODE_THREADS 2u
#define MODE_FUSED 3u

struct listener {
	char name[50];
	char protocol[50];
	char bind[256];       /* "127.0.0.1:7450", "[::1]:7450", "unix:/path" */
	uint32_t line;
};
#define LISTENERS_MAX 16u

/* Core settings, typed. Sizes in bytes, times in microseconds. */
struct core_settings {
	char data_dir[512], runtime_dir[512];
	char plugin_path[1024];         /* colon-separated absolute directories */
	char storage[50], consensus[50];
	char indexers[256];             /* comma-separated names, in order of asking */
	char extensions[256];
	uint32_t mode, workers;         /* workers: resolved from auto */
	uint32_t ledger_restarts, worker_restarts; /* crashes that stop the node, that pause the role */
	uint32_t log_level, log_json;
	uint64_t node_id;
	uint64_t max_message, max_connections, max_output, max_batch;
	uint64_t retention_bytes, retention_time;
	uint32_t topic_queues;          /* default of new topics */
	uint32_t auto_create_topics;
	uint64_t reserved_space;        /* bytes kept for deletes and offset commits */
	uint64_t spin_us;
	uint32_t allow_remote;          /* listeners may bind other than loopback addresses */
	uint32_t accept_data_loss;      /* from the command line only */
	struct listener listener[LISTENERS_MAX];
	uint32_t n_listeners;
};

/* Load path (NULL: built-in defaults only) and its conf.d/, then overrides "section.key=value".
 * On error: ALM_ECONFIG and err_text() is the one line to print. */
int config_load(const char *path, const char *const *overrides, uint32_t n, struct config **out);
void config_free(struct config *);
/* The operator accepts losing damaged data at the ledger's next start (--accept-data-loss). Before
 * the configuration is handed out. */
void config_accept_data_loss(struct config *, uint32_t accept);
const struct core_settings *config_core(const struct config *);
/* Raw value of a key in a section or NULL; origin ("almadia.conf:14", "command line", "default"). */
const char *config_get(const struct config *, const char *section, const char *key,
    const char **origin);
/* The i-th section of the files and overrides, in order, or NULL past the last. */
const char *config_section(const struct config *, uint32_t i, const char **origin);
/* Boot-scope core settings in which two configurations differ: each(arg, "server.workers"). */
void config_needs_restart(const struct config *, const struct config *,
    void (*each)(void *arg, const char *setting), void *arg);
/* Check section [kind name] against declared settings: unknown keys, types, ranges. */
int config_check_settings(const struct config *, const char *kind, const char *name,
    const struct alm_setting *, uint32_t n);
/* Value of one declared setting (checked before). */
int64_t config_setting_int(const struct config *, const char *kind, const char *name,
    const struct alm_setting *);
const char *config_setting_str(const struct config *, const char *kind, const char *name,
    const struct alm_setting *);
/* Snapshot for children: a sealed memfd, and back. */
int config_snapshot(const struct config *);
int config_from_snapshot(int fd, struct config **out);
/* Every core setting with type, default, range and sentence; for --describe-config and docs. */
void config_describe(int json, void (*emit)(void *, const char *text), void *arg);
/* Each resolved value with origin, for -t and `almadia node config`. JSON text appended. */
int config_dump_json(const struct config *, struct buf *out);
/* The same for people: one line each. */
int config_dump_text(const struct config *, struct buf *out);

#endif
