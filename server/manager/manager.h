/* manager/manager.h - the parent of all roles.
 *
 * It runs no plugin code, maps only the heads of regions and takes no lock, so that nothing a role
 * does can stop it.  One thread, one loop.
 */
#ifndef ALM_MANAGER_MANAGER_H
#define ALM_MANAGER_MANAGER_H

#include "main/roles.h"

struct manager_options {
	const char *config_path;      /* as config_load, for reloads */
	const char *const *overrides;
	uint32_t n_overrides;
	const struct role_table *roles;
};

/* Check, start and watch the node until it ends; takes the config. The exit code of almadiad. */
int manager_run(struct config *, const struct manager_options *);

#endif
