/* module/list.c - what plugins there are, for people: `almadiad --list-plugins`, `almadia plugin`.
 * Every file that is accepted gets loaded, so this runs in commands and the check process. */
#include <config.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "module/provider.h"

static const char *
type_name(uint32_t type)
{
	static const char *const names[] = {"", "string", "bool", "int", "size", "duration", "choice"};

	return type < sizeof names / sizeof names[0] ? names[type] : "";
}

static json_t *
setting_json(const struct alm_setting *s)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "name", s->name, "type", type_name(s->type), "doc",
	    s->doc, "scope", s->scope == ALM_SCOPE_RELOAD ? "reload" : "boot");

	json_object_set_new(o, "default", s->def ? json_string(s->def) : json_null());
	if (s->type == ALM_SET_CHOICE)
		json_object_set_new(o, "choices", json_string(s->choices));
	if (s->min != 0 || s->max != 0) {
		json_object_set_new(o, "min", json_integer(s->min));
		json_object_set_new(o, "max", json_integer(s->max));
	}
	return o;
}

static json_t *
provider_json(const struct provider *p)
{
	char abi[32];
	json_t *settings = json_array();

	snprintf(abi, sizeof abi, "%u.%u", p->major, p->minor_built);
	for (uint32_t i = 0; i < p->n_settings; i++)
		json_array_append_new(settings, setting_json(&p->settings[i]));
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "kind", kind_name(p->kind), "name",
	    p->name, "version", p->version, "abi", abi, "file", p->file, "doc", p->doc, "settings",
	    settings);
}

struct list {
	const struct config *conf;
	json_t *all;
};

static int
add(void *arg, const char *path, uint32_t kind, const char *name)
{
	struct list *l = arg;
	struct provider *p;
	int status = module_load(l->conf, kind, name, &p);

	json_array_append_new(l->all, status == ALM_OK || status == ALM_ECONFIG
	    ? provider_json(p)
	    : json_pack("{s:s, s:s, s:s, s:s}", "kind", kind_name(kind), "name", name, "file", path,
	        "refused", err_text()));
	return ALM_OK;
}

int
module_list_json(const struct config *conf, struct buf *out)
{
	struct list l = {conf, json_array()};
	char *text = NULL;
	int status = l.all ? plugins_walk(conf, add, &l) : ALM_ENOMEM;

	if (status == ALM_OK)
		text = json_dumps(l.all, JSON_INDENT(2));
	if (text)
		status = buf_put(out, text, strlen(text));
	else if (status == ALM_OK)
		status = ALM_ENOMEM;
	free(text);
	json_decref(l.all);
	return status;
}
