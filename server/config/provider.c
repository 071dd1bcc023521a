/* config/provider.c - settings that providers declare, in sections [KIND NAME]. */
#include <config.h>

#include "config/draft.h"

#include <stdio.h>
#include <string.h>

#include "config/settings.h"
#include "config/suggest.h"

static const struct alm_setting *
declared(const struct alm_setting *s, uint32_t n, const char *name)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(s[i].name, name) == 0)
			return &s[i];
	return NULL;
}

static int
check_entry(const struct entry *e, const struct alm_setting *set, uint32_t n)
{
	const struct alm_setting *s = declared(set, n, e->key);
	char text[400];
	int64_t value;

	if (!s) {
		struct suggest hint = {.word = e->key};

		for (uint32_t i = 0; i < n; i++)
			suggest_offer(&hint, set[i].name);
		return err_set(ALM_ECONFIG, "%s: %s.%s: unknown setting%s", e->origin, e->section, e->key,
		    suggest_text(&hint, text, sizeof text));
	}
	int status = setting_parse(s, e->value, &value);
	if (status == ALM_OK)
		return ALM_OK;
	snprintf(text, sizeof text, "%s", err_text());
	return err_set(ALM_ECONFIG, "%s: %s.%s: %s", e->origin, e->section, e->key, text);
}

int
config_check_settings(const struct config *c, const char *kind, const char *name,
    const struct alm_setting *set, uint32_t n)
{
	char section[100], text[400];
	int64_t value;

	snprintf(section, sizeof section, "%s %s", kind, name);
	for (uint32_t i = 0; i < c->n_entries; i++) {
		if (strcmp(c->entries[i].section, section) != 0)
			continue;
		int status = check_entry(&c->entries[i], set, n);
		if (status != ALM_OK)
			return status;
	}
	for (uint32_t i = 0; i < n; i++) {
		if (draft_find(c, section, set[i].name))
			continue;
		if (!set[i].def)
			return err_set(ALM_ECONFIG, "%s.%s: must be set (%s), and is not", section, set[i].name,
			    set[i].doc);
		if (setting_parse(&set[i], set[i].def, &value) != ALM_OK) {
			snprintf(text, sizeof text, "%s", err_text());
			return err_set(ALM_ECONFIG, "%s.%s: the plugin's own default is wrong: %s", section,
			    set[i].name, text);
		}
	}
	return ALM_OK;
}

const char *
config_setting_str(const struct config *c, const char *kind, const char *name,
    const struct alm_setting *s)
{
	char section[100];

	snprintf(section, sizeof section, "%s %s", kind, name);
	const struct entry *e = draft_find(c, section, s->name);
	return e ? e->value : s->def ? s->def : "";
}

int64_t
config_setting_int(const struct config *c, const char *kind, const char *name,
    const struct alm_setting *s)
{
	int64_t value = 0;

	if (setting_parse(s, config_setting_str(c, kind, name, s), &value) != ALM_OK)
		return 0;
	return value;
}
