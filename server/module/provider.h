/* module/provider.h - a loaded provider, and how a file is judged.  Private to module/. */
#ifndef ALM_MODULE_PROVIDER_H
#define ALM_MODULE_PROVIDER_H

#include "module/module.h"

/* Everything is copied out of the plugin's manifest but strings and settings, which stay valid
 * because nothing is ever unloaded. */
struct provider {
	uint32_t kind, major, minor_built, minor_needed;
	const char *name, *doc, *version;
	const struct alm_setting *settings;
	uint32_t n_settings;
	void *ops;      /* full size, no NULLs */
	char *file;     /* "built in" or a path */
	struct provider *next;
};

/* Load KIND_NAME from one file: path policy, note, dlopen, manifest, versions, operations.  ALM_OK
 * or an error whose text begins with the path. */
int provider_load(const char *path, uint32_t kind, const char *name, struct provider **out);

/* Walk plugin_path: each(arg, path, kind, name) for every file KIND_NAME.so; the same name in a
 * later directory is skipped. A non-zero result ends the walk and is returned. */
int plugins_walk(const struct config *, int (*each)(void *arg, const char *path, uint32_t kind,
    const char *name), void *arg);
/* Split "storage_segment.so"; 1 if it is of that form. */
int plugin_file_name(const char *file, uint32_t *kind, char name[50]);

#endif
