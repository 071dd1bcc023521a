/* config/dump.c - what can be set, and what is set: --describe-config, -t, `almadia node config`. */
#include <config.h>

#include "config/draft.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/settings.h"

/* ---- what can be set ---- */

static void
range_text(const struct alm_setting *s, char *out, uint32_t cap)
{
	char lo[32], hi[32];

	out[0] = 0;
	if (s->type == ALM_SET_CHOICE)
		snprintf(out, cap, ": %s", s->choices);
	else if (s->max == INT64_MAX || (s->min == 0 && s->max == 0))
		return;
	else
		snprintf(out, cap, ", %s to %s", setting_format(s->type, s->min, lo, sizeof lo),
		    setting_format(s->type, s->max, hi, sizeof hi));
}

static void
describe_text(void (*emit)(void *, const char *), void *arg)
{
	char line[1024], range[128];
	const char *section = "";

	for (uint32_t i = 0; i < n_core_settings; i++) {
		const struct core_setting *cs = &core_settings_table[i];

		if (strcmp(section, cs->section) != 0) {
			snprintf(line, sizeof line, "%s[%s]\n", *section ? "\n" : "", cs->section);
			emit(arg, line);
			section = cs->section;
		}
		range_text(&cs->s, range, sizeof range);
		snprintf(line, sizeof line, "# %s (%s%s; %s).\n# %s = %s\n", cs->s.doc,
		    setting_type_name(cs->s.type), range,
		    cs->s.scope == ALM_SCOPE_BOOT ? "at start" : "reload", cs->s.name, cs->s.def);
		emit(arg, line);
	}
	emit(arg, "\n# One section for each listener; without any: native on 127.0.0.1:7450 and on\n"
	    "# unix:RUNTIME_DIR/almadia.sock.\n# [listener NAME]\n"
	    "# Protocol plugin (string; at start).\n# protocol = native\n"
	    "# Address (127.0.0.1:7450, [::1]:7450 or unix:/path; at start).\n# bind = 127.0.0.1:7450\n"
	    "\n# Sections [storage NAME], [consensus NAME], [indexer NAME], [protocol NAME] and\n"
	    "# [extension NAME] hold what that plugin declares: almadiad --list-plugins\n");
}

static json_t *
describe_one(const struct core_setting *cs)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "section", cs->section, "key", cs->s.name,
	    "type", setting_type_name(cs->s.type), "default", cs->s.def, "scope",
	    cs->s.scope == ALM_SCOPE_BOOT ? "boot" : "reload", "doc", cs->s.doc);

	if (o && cs->s.choices)
		json_object_set_new(o, "choices", json_string(cs->s.choices));
	if (o && (cs->s.min != 0 || cs->s.max != 0)) {
		json_object_set_new(o, "min", json_integer(cs->s.min));
		json_object_set_new(o, "max", json_integer(cs->s.max));
	}
	return o;
}

void
config_describe(int json, void (*emit)(void *, const char *text), void *arg)
{
	if (!json) {
		describe_text(emit, arg);
		return;
	}
	json_t *all = json_array();
	for (uint32_t i = 0; i < n_core_settings; i++)
		json_array_append_new(all, describe_one(&core_settings_table[i]));
	json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "section", "listener NAME",
	    "key", "protocol", "type", "string", "default", "native", "scope", "boot", "doc",
	    "Protocol plugin"));
	json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:n, s:s, s:s}", "section", "listener NAME",
	    "key", "bind", "type", "address", "default", "scope", "boot", "doc",
	    "127.0.0.1:7450, [::1]:7450 or unix:/path"));
	char *text = json_dumps(all, JSON_INDENT(2));
	if (text) {
		emit(arg, text);
		emit(arg, "\n");
	}
	free(text);
	json_decref(all);
}

/* ---- what is set ---- */

/* The value in force, as text. */
static const char *
value_text(const struct config *c, const struct core_setting *cs, char *out, uint32_t cap)
{
	if (cs->s.type == ALM_SET_STRING) {
		snprintf(out, cap, "%s", (const char *)&c->core + cs->offset);
		return out;
	}
	if (cs->s.type == SET_AUTO_INT) {
		uint32_t v;
		memcpy(&v, (const char *)&c->core + cs->offset, sizeof v);
		snprintf(out, cap, "%u", v);
		return out;
	}
	return config_get(c, cs->section, cs->s.name, NULL);
}

/* Calls each for every value in force. */
static void
walk(const struct config *c, void (*each)(void *, const char *section, const char *key,
    const char *value, const char *origin), void *arg)
{
	char text[1100];
	const char *origin;

	for (uint32_t i = 0; i < n_core_settings; i++) {
		const struct core_setting *cs = &core_settings_table[i];

		config_get(c, cs->section, cs->s.name, &origin);
		each(arg, cs->section, cs->s.name, value_text(c, cs, text, sizeof text), origin);
	}
	for (uint32_t i = 0; i < c->core.n_listeners; i++) {
		const struct listener *l = &c->core.listener[i];
		char section[64];

		snprintf(section, sizeof section, "listener %s", l->name);
		config_get(c, section, "protocol", &origin);
		each(arg, section, "protocol", l->protocol, origin);
		config_get(c, section, "bind", &origin);
		each(arg, section, "bind", l->bind, origin);
	}
	for (uint32_t i = 0; i < c->n_entries; i++) {
		const struct entry *e = &c->entries[i];

		if (!core_section_known(e->section) && strncmp(e->section, "listener ", 9) != 0)
			each(arg, e->section, e->key, e->value, e->origin);
	}
}

static void
each_json(void *arg, const char *section, const char *key, const char *value, const char *origin)
{
	json_array_append_new(arg, json_pack("{s:s, s:s, s:s, s:s}", "section", section, "key", key,
	    "value", value, "origin", origin));
}

int
config_dump_json(const struct config *c, struct buf *out)
{
	json_t *all = json_array();
	char *text = NULL;
	int status = ALM_ENOMEM;

	if (all) {
		walk(c, each_json, all);
		text = json_dumps(all, JSON_INDENT(2));
	}
	if (text)
		status = buf_put(out, text, strlen(text));
	free(text);
	json_decref(all);
	return status;
}

static void
each_text(void *arg, const char *section, const char *key, const char *value, const char *origin)
{
	buf_putf(arg, "%s.%s = %s%s(%s)\n", section, key, value, *value ? " " : "", origin);
}

int
config_dump_text(const struct config *c, struct buf *out)
{
	walk(c, each_text, out);
	return ALM_OK;
}
