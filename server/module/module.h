/* module/module.h - find, check and load plugins; the host table they get.
 *
 * Loading: find NAME.so in plugin_path (path policy), read the ELF note before any of its code
 * runs, dlopen with RTLD_NOW for true errors, then libltdl, symbol, manifest, kind and versions,
 * required operations, settings.  Every refusal is one line with wanted and offered numbers.
 * Called from one thread before others start; nothing is ever unloaded.
 */
#ifndef ALM_MODULE_MODULE_H
#define ALM_MODULE_MODULE_H

#include <almadia/host.h>
#include <almadia/consensus.h>
#include <almadia/extension.h>
#include <almadia/indexer.h>
#include <almadia/protocol.h>
#include <almadia/storage.h>

#include "config/config.h"

struct provider; /* loaded */

/* Load provider NAME of a kind (ALM_KIND_*) and check its settings. ops() has the core's full
 * size: what the plugin lacks is a stub that answers ALM_ENOTSUP. */
int module_load(const struct config *, uint32_t kind, const char *name, struct provider **out);
const void *provider_ops(const struct provider *);
const char *provider_name(const struct provider *);
/* A host table for an instance of it in this role; lives as long as the process. */
struct alm_host *provider_host(const struct provider *, const struct config *, uint32_t role,
    int arena_fd);

/* Each plugin file found in the path: kinds, names, versions, file, settings; refused ones with
 * the reason. JSON text appended. */
int module_list_json(const struct config *, struct buf *out);
/* Load all that the configuration names and check their settings (almadiad -t). */
int module_check_all(const struct config *);

const char *kind_name(uint32_t kind); /* "storage" */
uint32_t kind_number(const char *name); /* 0: no such kind */

#endif
