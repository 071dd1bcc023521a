/* module/load.c - one plugin file: judged from outside, then loaded, then judged from inside.
 *
 * Order matters: what can be refused without running the file's code (owner, mode, ELF note) is
 * refused before dlopen, since constructors run there.  The first dlopen is ours, with RTLD_NOW, because
 * libltdl binds lazily and calls every failure "file not found"; libltdl then finds the same
 * object and is kept for built-in plugins, where no file exists.  Nothing is ever unloaded.
 */
#include <config.h>

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ltdl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "module/elfnote.h"
#include "module/kinds.h"
#include "module/provider.h"

/* Prefix the error of this thread with the file. */
static int
refuse(int status, const char *path)
{
	char why[600];

	snprintf(why, sizeof why, "%s", err_text());
	return err_set(status, "%s: %s", path, why);
}

static int
check_owner(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_set(ALM_EIO, "could not be examined: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return err_set(ALM_EDENIED, "not a regular file");
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(ALM_EDENIED, "belongs to user %u (must be root or user %u, who runs almadiad)",
		    (unsigned)st.st_uid, (unsigned)geteuid());
	/* Root's own 0775 is as bad as anybody's; our own group-writable file is a developer's umask. */
	if ((st.st_mode & 002) || ((st.st_mode & 020) && (st.st_uid != geteuid() || st.st_uid == 0)))
		return err_set(ALM_EDENIED, "writable by others, mode %04o (chmod go-w)",
		    (unsigned)(st.st_mode & 07777));
	return ALM_OK;
}

static int
check_version(const struct kind *k, uint32_t major, uint32_t minor_built, uint32_t minor_needed)
{
	if (major == k->major && major == 0 && minor_built != k->minor)
		return err_set(ALM_EVERSION, "wants %s ABI %u.%u, almadiad offers %u.%u and major 0 must match "
		    "exactly (rebuild it against almadia %s)", k->name, major, minor_built, k->major, k->minor,
		    PACKAGE_VERSION);
	if (major != k->major || minor_needed > k->minor)
		return err_set(ALM_EVERSION, "wants %s ABI %u.%u, almadiad offers %u.%u (%s)", k->name, major,
		    minor_needed, k->major, k->minor, major > k->major || (major == k->major)
		    ? "update almadia" : "rebuild it against almadia " PACKAGE_VERSION);
	return ALM_OK;
}

/* What can be judged without running its code. */
static int
judge_outside(const char *path, const struct kind *k)
{
	struct alm_note_entry note[NOTE_ENTRIES_MAX];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0)
		return err_set(errno == ENOENT ? ALM_ENOTFOUND : ALM_EIO, "could not open: %s",
		    strerror(errno));
	int status = check_owner(fd);
	int n = status == ALM_OK ? elfnote_read(fd, note) : status;
	close(fd);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		if (note[i].kind == k->number)
			return check_version(k, note[i].major, note[i].minor_built, note[i].minor_needed);
	return err_set(ALM_EVERSION, "offers kind %s, wanted %s", kind_name(note[0].kind), k->name);
}

/* libltdl's handle of a file that is already in memory, or of a built-in plugin. */
static int
open_symbol(const char *path, alm_module_fn *out)
{
	lt_dladvise advise;
	lt_dlhandle h = NULL;

	if (path[0] == '/' && !dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE))
		return err_set(ALM_EVERSION, "could not be loaded: %s", dlerror());
	if (lt_dladvise_init(&advise) == 0) {
		lt_dladvise_local(&advise);
		lt_dladvise_resident(&advise);
		if (path[0] != '/')
			lt_dladvise_preload(&advise);
		h = lt_dlopenadvise(path, advise);
		lt_dladvise_destroy(&advise);
	}
	if (!h)
		return err_set(path[0] == '/' ? ALM_EVERSION : ALM_ENOTFOUND, "could not be loaded: %s", lt_dlerror());
	void *sym = lt_dlsym(h, "alm_module_v1");
	if (!sym)
		return err_set(ALM_EVERSION, "does not export alm_module_v1 (use ALM_MODULE)");
	memcpy(out, &sym, sizeof sym);
	return ALM_OK;
}

static int
check_manifest(const struct alm_module *m)
{
	if (!m || m->magic != ALM_MODULE_MAGIC)
		return err_set(ALM_EVERSION, "its manifest is not one of Almadia (magic 0x%08x, wanted 0x%08x)",
		    m ? m->magic : 0, ALM_MODULE_MAGIC);
	if (m->size != sizeof *m || !m->name || !m->version || (m->n_providers && !m->providers))
		return err_set(ALM_EVERSION, "its manifest is malformed (%u bytes, wanted %zu)", m->size,
		    sizeof *m);
	return ALM_OK;
}

static const struct alm_provider *
pick(const struct alm_module *m, uint32_t kind, const char *name)
{
	for (uint32_t i = 0; i < m->n_providers; i++) {
		const struct alm_provider *p = &m->providers[i];

		if (p->size == sizeof *p && p->kind == kind && p->name && strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

static int
check_settings(const struct alm_provider *p)
{
	if (p->n_settings && !p->settings)
		return err_set(ALM_EVERSION, "declares %u settings and gives none", p->n_settings);
	for (uint32_t i = 0; i < p->n_settings; i++) {
		const struct alm_setting *s = &p->settings[i];

		if (!s->name || !s->doc || s->type < ALM_SET_STRING || s->type > ALM_SET_CHOICE ||
		    (s->type == ALM_SET_CHOICE && !s->choices))
			return err_set(ALM_EVERSION, "declares setting %u (%s) wrongly", i,
			    s->name ? s->name : "no name");
	}
	return ALM_OK;
}

static int
judge_inside(const struct alm_module *m, const struct kind *k, const char *name, const char *path,
    struct provider **out)
{
	int status = check_manifest(m);
	const struct alm_provider *p = status == ALM_OK ? pick(m, k->number, name) : NULL;

	if (status != ALM_OK)
		return status;
	if (!p)
		return err_set(ALM_EVERSION, "offers no %s provider named %s", k->name, name);
	status = check_version(k, p->major, p->minor_built, p->minor_needed);
	if (status == ALM_OK && !p->ops)
		status = err_set(ALM_EVERSION, "has no table of operations");
	if (status == ALM_OK)
		status = check_settings(p);
	if (status != ALM_OK)
		return status;
	struct provider *mine = calloc(1, sizeof *mine);
	void *ops = ops_complete(k, p->ops, p->ops_size);
	char *file = strdup(path[0] == '/' ? path : "built in");
	if (!mine || !ops || !file) {
		free(mine);
		free(ops);
		free(file);
		return ops ? err_set(ALM_ENOMEM, "out of memory") : ALM_EVERSION;
	}
	*mine = (struct provider){
	    .kind = k->number,
	    .major = p->major,
	    .minor_built = p->minor_built,
	    .minor_needed = p->minor_needed,
	    .name = p->name,
	    .doc = p->doc ? p->doc : "",
	    .version = m->version,
	    .settings = p->settings,
	    .n_settings = p->n_settings,
	    .ops = ops,
	    .file = file,
	};
	*out = mine;
	return ALM_OK;
}

int
provider_load(const char *path, uint32_t kind, const char *name, struct provider **out)
{
	const struct kind *k = kind_find(kind);
	alm_module_fn module = NULL;
	int status = ALM_OK;

	if (!k)
		return err_set(ALM_EINVAL, "%s: kind %u does not exist", path, kind);
	if (path[0] == '/')
		status = judge_outside(path, k);
	if (status == ALM_OK)
		status = open_symbol(path, &module);
	if (status == ALM_OK)
		status = judge_inside(module(), k, name, path, out);
	return status == ALM_OK ? ALM_OK : refuse(status, path);
}
