/* worker/hooks.c - extensions: loaded once a worker, asked in their order before a connection, a
 * publish, a fetch or an administrative change goes on.  The first refusal counts. */
#include "worker/worker.h"

#include <stdlib.h>

static int
load_one(struct worker *w, const char *name)
{
	const struct config *conf = w->env->conf;
	struct provider *p;
	int st = module_load(conf, ALM_KIND_EXTENSION, name, &p);
	uint32_t i = w->n_ext;

	if (st)
		return st;
	if (i == EXTENSIONS_MAX)
		return err_set(ALM_ECONFIG, "more than %u extensions", EXTENSIONS_MAX);
	w->ext[i].ops = provider_ops(p);
	w->ext[i].name = provider_name(p);
	st = w->ext[i].ops->load(provider_host(p, conf, ALM_ROLE_WORKER, w->env->arena_fd),
	    &w->ext[i].ext);
	if (st)
		return err_set(st, "extension %s: %s", name,
		    *err_text() ? err_text() : status_text(st));
	w->n_ext++;
	return ALM_OK;
}

int
hooks_load(struct worker *w)
{
	char names[sizeof w->core->extensions], *save = NULL, *name;
	int st = ALM_OK;

	memcpy(names, w->core->extensions, sizeof names);
	names[sizeof names - 1] = '\0';
	for (name = strtok_r(names, ", ", &save); name && !st; name = strtok_r(NULL, ", ", &save))
		st = load_one(w, name);
	return st;
}

void
hooks_end(struct worker *w)
{
	while (w->n_ext) {
		w->n_ext--;
		w->ext[w->n_ext].ops->unload(w->ext[w->n_ext].ext);
	}
}

int
hooks_call(struct alm_conn *c, uint32_t hook, struct alm_slice topic, struct alm_slice group)
{
	struct worker *w = c->w;
	struct alm_hook_event ev = {.size = sizeof ev, .hook = hook, .conn = c->id,
	    .protocol = c->from->protocol->name, .peer = c->peer, .user = {"", 0},
	    .topic = topic, .group = group};
	uint32_t i;
	int st;

	for (i = 0; i < w->n_ext; i++) {
		err_clear();
		st = w->ext[i].ops->hook(w->ext[i].ext, &ev);
		if (st)
			return *err_text() ? st : err_set(st, "refused by extension %s",
			    w->ext[i].name);
	}
	return ALM_OK;
}
