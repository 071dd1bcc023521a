/* config/config.c - load, check whole, hand out.
 *
 * Everything is collected into a draft first; only a draft without any error becomes a config,
 * which never changes afterwards (threads share it without locks).  A snapshot is the draft in
 * a sealed memfd, resolved again by the child, so parent and child cannot disagree.
 */
#include <config.h>

#include "config/draft.h"

#include <dirent.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/settings.h"
#include "config/suggest.h"

static const char *const provider_kinds[] = {"storage", "consensus", "indexer", "protocol",
    "extension"};

int
section_split(const char *section, const char *kind, const char **name)
{
	uint64_t n = strlen(kind);

	if (strncmp(section, kind, n) != 0 || section[n] != ' ')
		return 0;
	*name = section + n + 1;
	return 1;
}

static int
section_name_ok(const char *name)
{
	uint64_t n = strlen(name);

	return n > 0 && n <= 40 && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == n;
}

static int
section_unknown(const char *name, const char *origin)
{
	char hint[100];
	struct suggest s = {.word = name};

	for (uint32_t i = 0; i < n_core_settings; i++)
		suggest_offer(&s, core_settings_table[i].section);
	return err_set(ALM_ECONFIG, "%s: unknown section [%s]%s", origin, name,
	    suggest_text(&s, hint, sizeof hint));
}

static int
section_check(const char *name, const char *origin)
{
	const char *rest;
	int fits = section_split(name, "listener", &rest);

	if (core_section_known(name))
		return ALM_OK;
	for (uint32_t i = 0; !fits && i < sizeof provider_kinds / sizeof provider_kinds[0]; i++)
		fits = section_split(name, provider_kinds[i], &rest);
	if (!fits)
		return section_unknown(name, origin);
	if (!section_name_ok(rest))
		return err_set(ALM_ECONFIG, "%s: [%s]: \"%s\" is not a name (1 to 40 of a-z, 0-9, _ and -)",
		    origin, name, rest);
	return ALM_OK;
}

int
draft_section(struct config *c, const char *name, const char *origin)
{
	int status = section_check(name, origin);

	if (status != ALM_OK)
		return status;
	for (uint32_t i = 0; i < c->n_sections; i++)
		if (strcmp(c->sections[i].name, name) == 0)
			return ALM_OK;
	struct section *grown = realloc(c->sections, (c->n_sections + 1) * sizeof *grown);
	if (!grown)
		return err_set(ALM_ENOMEM, "out of memory");
	c->sections = grown;
	grown[c->n_sections] = (struct section){strdup(name), strdup(origin)};
	struct section *s = &grown[c->n_sections++];
	return s->name && s->origin ? ALM_OK : err_set(ALM_ENOMEM, "out of memory");
}

const struct entry *
draft_find(const struct config *c, const char *section, const char *key)
{
	for (uint32_t i = 0; i < c->n_entries; i++) {
		const struct entry *e = &c->entries[i];

		if (strcmp(e->key, key) == 0 && strcmp(e->section, section) == 0)
			return e;
	}
	return NULL;
}

static int
key_unknown(const char *section, const char *key, const char *origin)
{
	char hint[100];
	struct suggest s = {.word = key};

	for (uint32_t i = 0; i < n_core_settings; i++)
		if (strcmp(core_settings_table[i].section, section) == 0)
			suggest_offer(&s, core_settings_table[i].s.name);
	if (strncmp(section, "listener ", 9) == 0) {
		suggest_offer(&s, "bind");
		suggest_offer(&s, "protocol");
	}
	return err_set(ALM_ECONFIG, "%s: %s.%s: unknown setting%s", origin, section, key,
	    suggest_text(&s, hint, sizeof hint));
}

/* Judge a value of a core section now, so that the first error is the first in the file. Provider
 * sections wait until the provider's declarations are known. */
static int
entry_check(const char *section, const char *key, const char *value, const char *origin)
{
	const struct core_setting *cs = core_setting_find(section, key);
	struct core_settings scratch;
	char why[512];

	if (!cs) {
		if (core_section_known(section) || (strncmp(section, "listener ", 9) == 0 &&
		    strcmp(key, "bind") != 0 && strcmp(key, "protocol") != 0))
			return key_unknown(section, key, origin);
		return ALM_OK;
	}
	int status = core_setting_store(cs, value, &scratch);
	if (status == ALM_OK)
		return ALM_OK;
	snprintf(why, sizeof why, "%s", err_text());
	return err_set(status, "%s: %s.%s: %s", origin, section, key, why);
}

int
draft_entry(struct config *c, const char *section, const char *key, const char *value,
    const char *origin, int replace)
{
	const struct entry *old = draft_find(c, section, key);
	int status = old && !replace
	    ? err_set(ALM_ECONFIG, "%s: %s.%s: set already at %s", origin, section, key, old->origin)
	    : entry_check(section, key, value, origin);

	if (status != ALM_OK)
		return status;
	struct entry e = {strdup(section), strdup(key), strdup(value), strdup(origin)};
	struct entry *at = NULL;
	if (old) {
		at = &c->entries[old - c->entries];
		free(at->section);
		free(at->key);
		free(at->value);
		free(at->origin);
	} else {
		struct entry *grown = realloc(c->entries, (c->n_entries + 1) * sizeof *grown);

		if (grown) {
			c->entries = grown;
			at = &grown[c->n_entries++];
		}
	}
	if (!at) {
		free(e.section);
		free(e.key);
		free(e.value);
		free(e.origin);
		return err_set(ALM_ENOMEM, "out of memory");
	}
	*at = e;
	return e.section && e.key && e.value && e.origin ? ALM_OK : err_set(ALM_ENOMEM, "out of memory");
}

/* "section.key=value"; the section may hold a space, the key holds no dot. */
static int
draft_override(struct config *c, const char *text)
{
	char section[64], key[64];
	const char *eq = strchr(text, '='), *dot = NULL;

	for (const char *p = text; eq && p < eq; p++)
		if (*p == '.')
			dot = p;
	if (!dot || dot == text || eq == dot + 1 || (uint64_t)(dot - text) >= sizeof section ||
	    (uint64_t)(eq - dot - 1) >= sizeof key)
		return err_set(ALM_ECONFIG, "command line: \"%s\" is not section.key=value", text);
	memcpy(section, text, (uint64_t)(dot - text));
	section[dot - text] = 0;
	memcpy(key, dot + 1, (uint64_t)(eq - dot - 1));
	key[eq - dot - 1] = 0;
	int status = draft_section(c, section, "command line");
	return status == ALM_OK ? draft_entry(c, section, key, eq + 1, "command line", 1) : status;
}

static int
is_dropin(const struct dirent *d)
{
	uint64_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".conf") == 0;
}

/* Bytewise, so that the order does not hang on the locale. */
static int
by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int
load_dropins(struct config *c, const char *path)
{
	const char *slash = strrchr(path, '/');
	int dir_len = slash ? (int)(slash - path) + 1 : 0;
	struct dirent **names;
	char dir[4096], file[4400], label[300];
	int status = ALM_OK;

	if (snprintf(dir, sizeof dir, "%.*sconf.d", dir_len, path) >= (int)sizeof dir)
		return err_set(ALM_ECONFIG, "path of the configuration is too long");
	int n = scandir(dir, &names, is_dropin, by_name);
	if (n < 0)
		return access(dir, F_OK) != 0 ? ALM_OK
		    : err_set(ALM_ECONFIG, "could not read %s", dir);
	for (int i = 0; i < n; i++) {
		snprintf(file, sizeof file, "%s/%s", dir, names[i]->d_name);
		snprintf(label, sizeof label, "conf.d/%s", names[i]->d_name);
		if (status == ALM_OK)
			status = draft_file(c, file, label);
		free(names[i]);
	}
	free(names);
	return status;
}

static uint32_t
auto_workers(const struct core_settings *core)
{
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;

	if (core->mode == MODE_FUSED || cpus <= 3)
		return 1;
	return cpus - 2 > (int)WORKERS_MAX ? WORKERS_MAX : (uint32_t)cpus - 2;
}

/* Rules between settings. */
static int
resolve_cross(struct config *c)
{
	struct core_settings *core = &c->core;
	const char *origin;
	char a[32], b[32];

	if (core->workers == 0)
		core->workers = auto_workers(core);
	if (core->runtime_dir[0] == 0)
		memcpy(core->runtime_dir, core->data_dir, sizeof core->runtime_dir);
	if (core->max_message > core->max_batch) {
		const char *max = config_get(c, "limits", "max_message", &origin);

		if (strcmp(origin, "default") == 0)
			config_get(c, "limits", "max_batch", &origin);
		return err_set(ALM_ECONFIG, "%s: limits.max_message: \"%s\" does not fit into one batch "
		    "(max_batch is %s; raise it or set max_message to at most %s)", origin, max,
		    setting_format(ALM_SET_SIZE, (int64_t)core->max_batch, a, sizeof a),
		    setting_format(ALM_SET_SIZE, (int64_t)core->max_batch, b, sizeof b));
	}
	return ALM_OK;
}

int
draft_resolve(struct config *c)
{
	for (uint32_t i = 0; i < n_core_settings; i++) {
		const struct core_setting *cs = &core_settings_table[i];
		const struct entry *e = draft_find(c, cs->section, cs->s.name);
		int status = core_setting_store(cs, e ? e->value : cs->s.def, &c->core);

		if (status != ALM_OK)
			return status;
	}
	int status = resolve_cross(c);
	return status == ALM_OK ? draft_listeners(c) : status;
}

int
config_load(const char *path, const char *const *overrides, uint32_t n, struct config **out)
{
	struct config *c = calloc(1, sizeof *c);
	const char *slash = path ? strrchr(path, '/') : NULL;
	int status = c ? ALM_OK : err_set(ALM_ENOMEM, "out of memory");

	if (status == ALM_OK && path)
		status = draft_file(c, path, slash ? slash + 1 : path);
	if (status == ALM_OK && path)
		status = load_dropins(c, path);
	for (uint32_t i = 0; status == ALM_OK && i < n; i++)
		status = draft_override(c, overrides[i]);
	if (status == ALM_OK)
		status = draft_resolve(c);
	if (status != ALM_OK) {
		config_free(c);
		return status;
	}
	*out = c;
	return ALM_OK;
}

void
config_free(struct config *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; i < c->n_entries; i++) {
		free(c->entries[i].section);
		free(c->entries[i].key);
		free(c->entries[i].value);
		free(c->entries[i].origin);
	}
	for (uint32_t i = 0; i < c->n_sections; i++) {
		free(c->sections[i].name);
		free(c->sections[i].origin);
	}
	free(c->entries);
	free(c->sections);
	free(c);
}

void
config_accept_data_loss(struct config *c, uint32_t accept)
{
	c->core.accept_data_loss = accept;
}

const struct core_settings *
config_core(const struct config *c)
{
	return &c->core;
}

const char *
config_section(const struct config *c, uint32_t i, const char **origin)
{
	if (i >= c->n_sections)
		return NULL;
	if (origin)
		*origin = c->sections[i].origin;
	return c->sections[i].name;
}

const char *
config_get(const struct config *c, const char *section, const char *key, const char **origin)
{
	const struct entry *e = draft_find(c, section, key);
	const struct core_setting *cs = e ? NULL : core_setting_find(section, key);

	if (origin)
		*origin = e ? e->origin : "default";
	return e ? e->value : cs ? cs->s.def : NULL;
}

void
config_needs_restart(const struct config *a, const struct config *b,
    void (*each)(void *arg, const char *setting), void *arg)
{
	char name[128];

	for (uint32_t i = 0; i < n_core_settings; i++) {
		const struct core_setting *cs = &core_settings_table[i];

		if (cs->s.scope != ALM_SCOPE_BOOT || memcmp((const char *)&a->core + cs->offset,
		    (const char *)&b->core + cs->offset, cs->width) == 0)
			continue;
		snprintf(name, sizeof name, "%s.%s", cs->section, cs->s.name);
		each(arg, name);
	}
	if (a->core.n_listeners != b->core.n_listeners) {
		each(arg, "listener");
		return;
	}
	for (uint32_t i = 0; i < a->core.n_listeners; i++) {
		const struct listener *x = &a->core.listener[i], *y = &b->core.listener[i];

		if (strcmp(x->name, y->name) == 0 && strcmp(x->bind, y->bind) == 0 &&
		    strcmp(x->protocol, y->protocol) == 0)
			continue;
		snprintf(name, sizeof name, "listener %s", y->name);
		each(arg, name);
	}
}
