/* ctl/offline.c - see offline.h.  Runs the same plugin through the same loader as the server. */
#include <config.h>

#include "contrib/ctl/offline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/base.h"
#include "config/config.h"
#include "contrib/ctl/opts.h"
#include "module/module.h"

static int
is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int
find_dirs(const struct call *c, const char *dir, struct offline *o)
{
	if (!is_dir(dir))
		return fail(c, RC_NOTFOUND, "%s is not a directory: %s", dir,
		    errno != 0 ? strerror(errno) : "give the data directory or its log directory");
	(void)snprintf(o->log_dir, sizeof o->log_dir, "%s/log", dir);
	if (is_dir(o->log_dir))
		(void)snprintf(o->data_dir, sizeof o->data_dir, "%s", dir);
	else
		(void)snprintf(o->log_dir, sizeof o->log_dir, "%s", dir);
	return RC_OK;
}

static int
load_config(const struct call *c, const char *dir, struct offline *o)
{
	char path[1200], storage[64], data[1200], *absolute = realpath(dir, NULL);
	const char *over[3], *plugins = opt_text(c, "plugin-path"), *env = getenv("ALMADIA_PLUGIN_PATH");
	uint32_t n = 0;
	int status;

	if (plugins == NULL)
		plugins = env;
	if (plugins != NULL) {
		(void)snprintf(path, sizeof path, "server.plugin_path=%s", plugins);
		over[n++] = path;
	}
	if (opt_given(c, "storage")) {
		(void)snprintf(storage, sizeof storage, "storage.plugin=%s", opt_text(c, "storage"));
		over[n++] = storage;
	}
	if (absolute != NULL) {
		(void)snprintf(data, sizeof data, "server.data_dir=%s", absolute);
		over[n++] = data;
	}
	status = config_load(opt_text(c, "config"), over, n, &o->conf);
	free(absolute);
	return status == ALM_OK ? RC_OK : fail_status(c, status, "%s", err_text());
}

int
offline_open(const struct call *c, const char *dir, struct offline *o)
{
	struct provider *p;
	int status, rc;

	memset(o, 0, sizeof *o);
	if (!c->verbose)
		log_level_set(ALM_LOG_ERROR + 1); /* what matters is in the result */
	errno = 0;
	rc = find_dirs(c, dir, o);
	if (rc == RC_OK)
		rc = load_config(c, dir, o);
	if (rc != RC_OK)
		return rc;
	status = module_load(o->conf, ALM_KIND_STORAGE, config_core(o->conf)->storage, &p);
	if (status != ALM_OK)
		return fail_status(c, status, "%s", err_text());
	o->ops = provider_ops(p);
	o->host = provider_host(p, o->conf, ALM_ROLE_TOOL, -1);
	return o->host != NULL ? RC_OK : fail_status(c, ALM_ENOMEM, "out of memory");
}

void
offline_close(struct offline *o)
{
	config_free(o->conf);
}

/* ---- walking the log ---------------------------------------------------------------------------- */

int
walk_open(struct walker *w, const char *dir)
{
	struct alm_store *store = NULL;
	int status, rc = offline_open(w->c, dir, &w->o);

	if (rc != RC_OK)
		return rc;
	err_clear();
	w->boot.size = sizeof w->boot;
	status = w->o.ops->open(w->o.host, w->o.log_dir, ALM_OPEN_READONLY, &w->boot, &store);
	if (status == ALM_OK) {
		w->o.ops->close(store);
		status = w->o.ops->reader_open(w->o.host, w->o.log_dir, &w->reader);
	}
	return status == ALM_OK ? RC_OK
				: fail_status(w->c, status, "%s: %s", w->o.log_dir,
				      err_text()[0] != 0 ? err_text() : status_text(status));
}

void
walk_close(struct walker *w)
{
	if (w->reader != NULL)
		w->o.ops->reader_close(w->reader);
	offline_close(&w->o);
}

int
walk_next(struct walker *w, uint64_t *position, const struct alm_batch **out)
{
	struct alm_view v;
	int status;

	if (*position >= w->boot.next_position)
		return 0;
	status = w->o.ops->reader_get(w->reader, *position, w->boot.next_position, &v);
	if (status == ALM_EAGAIN)
		return 0;
	if (status != ALM_OK)
		return status;
	*position = v.next;
	*out = v.batch;
	return 1;
}
