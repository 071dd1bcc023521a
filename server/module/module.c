/* module/module.c - find plugins by kind and name, keep what is loaded.
 *
 * A provider is loaded once in a process, whoever asks first; in --threads mode several roles may
 * ask at the same time, so a mutex guards the list and libltdl, which is not thread-safe.
 */
#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <ltdl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/suggest.h"
#include "module/provider.h"

#ifdef ALM_BUILTIN_PLUGINS
/* libtool makes it for programs that preload; a test does not. */
extern const lt_dlsymlist lt__PROGRAM__LTX_preloaded_symbols[] __attribute__((weak));
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct provider *loaded;
static int ltdl_ready;

const void *
provider_ops(const struct provider *p)
{
	return p->ops;
}

const char *
provider_name(const struct provider *p)
{
	return p->name;
}

int
plugin_file_name(const char *file, uint32_t *kind, char name[50])
{
	char kind_text[16];
	const char *bar = strchr(file, '_');
	uint64_t n = strlen(file);

	if (!bar || (uint64_t)(bar - file) >= sizeof kind_text || n < 5 ||
	    strcmp(file + n - 3, ".so") != 0 || file + n - 3 <= bar + 1)
		return 0;
	uint64_t name_len = (uint64_t)(file + n - 3 - bar - 1);
	memcpy(kind_text, file, (uint64_t)(bar - file));
	kind_text[bar - file] = 0;
	*kind = kind_number(kind_text);
	if (*kind == 0 || name_len >= 50)
		return 0;
	memcpy(name, bar + 1, name_len);
	name[name_len] = 0;
	return 1;
}

/* Next directory of a colon-separated list into out; NULL at the end. */
static const char *
next_dir(const char *at, char *out, uint64_t cap)
{
	uint64_t n = strcspn(at, ":");

	if (n == 0)
		return NULL;
	snprintf(out, cap, "%.*s", (int)n, at);
	return at + n + (at[n] == ':');
}

struct seen {
	struct buf names; /* "storage_segment.so\0..." */
};

static int
seen_before(struct seen *s, const char *file)
{
	for (uint64_t at = 0; at < s->names.len; at += strlen((char *)s->names.data + at) + 1)
		if (strcmp((char *)s->names.data + at, file) == 0)
			return 1;
	return 0;
}

static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
walk_dir(const char *dir, struct seen *seen,
    int (*each)(void *, const char *, uint32_t, const char *), void *arg)
{
	struct dirent **files;
	int status = ALM_OK, n = scandir(dir, &files, NULL, by_name);
	char path[1400], name[50];
	uint32_t kind;

	for (int i = 0; i < n; i++) {
		const char *file = files[i]->d_name;

		if (status == ALM_OK && plugin_file_name(file, &kind, name) && !seen_before(seen, file)) {
			snprintf(path, sizeof path, "%s/%s", dir, file);
			status = buf_put(&seen->names, file, strlen(file) + 1);
			if (status == ALM_OK)
				status = each(arg, path, kind, name);
		}
		free(files[i]);
	}
	if (n >= 0)
		free(files);
	return status;
}

#ifdef ALM_BUILTIN_PLUGINS
/* libltdl's list names each module, "storage_segment.a", with address 0. */
static int
walk_builtin(struct seen *seen, int (*each)(void *, const char *, uint32_t, const char *), void *arg)
{
	char file[80], name[50];
	uint32_t kind;
	int status = ALM_OK;

	for (const lt_dlsymlist *s = lt__PROGRAM__LTX_preloaded_symbols;
	    s && s->name && status == ALM_OK; s++) {
		uint64_t n = strlen(s->name);

		if (s->address || n < 3 || strcmp(s->name + n - 2, ".a") != 0)
			continue;
		snprintf(file, sizeof file, "%.*s.so", (int)n - 2, s->name);
		if (plugin_file_name(file, &kind, name) && !seen_before(seen, file))
			status = each(arg, "built in", kind, name);
	}
	return status;
}
#endif

int
plugins_walk(const struct config *conf, int (*each)(void *, const char *, uint32_t, const char *),
    void *arg)
{
	struct seen seen = {0};
	char dir[1024];
	int status = ALM_OK;

	for (const char *at = config_core(conf)->plugin_path;
	    status == ALM_OK && (at = next_dir(at, dir, sizeof dir));)
		status = walk_dir(dir, &seen, each, arg);
#ifdef ALM_BUILTIN_PLUGINS
	if (status == ALM_OK)
		status = walk_builtin(&seen, each, arg);
#endif
	buf_free(&seen.names);
	return status;
}

struct hint {
	struct suggest suggest;
	uint32_t kind;
	char best[50];
};

static int
offer(void *arg, const char *path, uint32_t kind, const char *name)
{
	struct hint *h = arg;
	const char *before = h->suggest.best;

	(void)path;
	if (kind != h->kind)
		return ALM_OK;
	suggest_offer(&h->suggest, name);
	if (h->suggest.best != before) {
		snprintf(h->best, sizeof h->best, "%s", name);
		h->suggest.best = h->best;
	}
	return ALM_OK;
}

static int
not_found(const struct config *conf, uint32_t kind, const char *name)
{
	struct hint h = {.suggest = {.word = name}, .kind = kind};
	char text[100];

	plugins_walk(conf, offer, &h);
	return err_set(ALM_ENOTFOUND, "no %s plugin named %s: %s_%s.so is not in %s%s", kind_name(kind),
	    name, kind_name(kind), name, config_core(conf)->plugin_path,
	    suggest_text(&h.suggest, text, sizeof text));
}

static int
ltdl_init(void)
{
	if (ltdl_ready)
		return ALM_OK;
#ifdef ALM_BUILTIN_PLUGINS
	if (lt__PROGRAM__LTX_preloaded_symbols)
		lt_dlpreload_default(lt__PROGRAM__LTX_preloaded_symbols);
#endif
	if (lt_dlinit() != 0)
		return err_set(ALM_EINTERNAL, "libltdl: %s", lt_dlerror());
	ltdl_ready = 1;
	return ALM_OK;
}

static int
find_and_load(const struct config *conf, uint32_t kind, const char *name, struct provider **out)
{
	char dir[1024], path[1200];

	for (const char *at = config_core(conf)->plugin_path; (at = next_dir(at, dir, sizeof dir));) {
		snprintf(path, sizeof path, "%s/%s_%s.so", dir, kind_name(kind), name);
		if (access(path, F_OK) == 0)
			return provider_load(path, kind, name, out);
	}
#ifdef ALM_BUILTIN_PLUGINS
	snprintf(path, sizeof path, "%s_%s.a", kind_name(kind), name);
	int status = provider_load(path, kind, name, out);
	if (status != ALM_ENOTFOUND)
		return status;
#endif
	return not_found(conf, kind, name);
}

/* Under the lock. */
static int
load_once(const struct config *conf, uint32_t kind, const char *name, struct provider **out)
{
	for (struct provider *p = loaded; p; p = p->next) {
		if (p->kind == kind && strcmp(p->name, name) == 0) {
			*out = p;
			return ALM_OK;
		}
	}
	int status = ltdl_init();
	if (status == ALM_OK)
		status = find_and_load(conf, kind, name, out);
	if (status != ALM_OK)
		return status;
	(*out)->next = loaded;
	loaded = *out;
	log_debug("plugin %s/%s %s, ABI %u.%u, %s", kind_name(kind), name, (*out)->version, (*out)->major,
	    (*out)->minor_built, (*out)->file);
	return ALM_OK;
}

int
module_load(const struct config *conf, uint32_t kind, const char *name, struct provider **out)
{
	pthread_mutex_lock(&lock);
	int status = load_once(conf, kind, name, out);
	pthread_mutex_unlock(&lock);
	if (status != ALM_OK)
		return status;
	return config_check_settings(conf, kind_name(kind), name, (*out)->settings, (*out)->n_settings);
}

/* Put where the name was set before the reason. */
static int
with_origin(const struct config *conf, const char *section, const char *key, int status)
{
	char why[700];
	const char *origin = NULL;

	if (status == ALM_OK || status == ALM_ECONFIG)
		return status;
	snprintf(why, sizeof why, "%s", err_text());
	config_get(conf, section, key, &origin);
	return strcmp(origin, "default") == 0
	    ? err_set(status, "%s.%s: %s", section, key, why)
	    : err_set(status, "%s: %s.%s: %s", origin, section, key, why);
}

static int
check_list(const struct config *conf, uint32_t kind, const char *list, const char *section)
{
	struct provider *p;
	char name[50];
	int status = ALM_OK;

	for (const char *at = list; status == ALM_OK && *at;) {
		uint64_t n = strcspn(at, ",");

		snprintf(name, sizeof name, "%.*s", (int)n, at);
		at += n + (at[n] == ',');
		status = with_origin(conf, section, "plugins", module_load(conf, kind, name, &p));
	}
	return status;
}

/* Sections of plugins that nothing names: a mistyped section must not be ignored. */
static int
check_sections(const struct config *conf)
{
	const char *section, *origin, *space;
	char kind[16], why[700];
	struct provider *p;

	for (uint32_t i = 0; (section = config_section(conf, i, &origin)); i++) {
		space = strchr(section, ' ');
		if (!space || (uint64_t)(space - section) >= sizeof kind)
			continue;
		snprintf(kind, sizeof kind, "%.*s", (int)(space - section), section);
		if (kind_number(kind) == 0)
			continue;
		int status = module_load(conf, kind_number(kind), space + 1, &p);
		if (status == ALM_OK || status == ALM_ECONFIG) {
			if (status != ALM_OK)
				return status;
			continue;
		}
		snprintf(why, sizeof why, "%s", err_text());
		return err_set(status, "%s: [%s]: %s", origin, section, why);
	}
	return ALM_OK;
}

int
module_check_all(const struct config *conf)
{
	const struct core_settings *core = config_core(conf);
	struct provider *p;
	char section[64];
	int status;

	status = with_origin(conf, "storage", "plugin",
	    module_load(conf, ALM_KIND_STORAGE, core->storage, &p));
	if (status == ALM_OK)
		status = with_origin(conf, "consensus", "plugin",
		    module_load(conf, ALM_KIND_CONSENSUS, core->consensus, &p));
	if (status == ALM_OK)
		status = check_list(conf, ALM_KIND_INDEXER, core->indexers, "indexers");
	if (status == ALM_OK)
		status = check_list(conf, ALM_KIND_EXTENSION, core->extensions, "extensions");
	for (uint32_t i = 0; status == ALM_OK && i < core->n_listeners; i++) {
		snprintf(section, sizeof section, "listener %s", core->listener[i].name);
		status = with_origin(conf, section, "protocol",
		    module_load(conf, ALM_KIND_PROTOCOL, core->listener[i].protocol, &p));
	}
	return status == ALM_OK ? check_sections(conf) : status;
}
