/* worker/admin.c - what broker->admin() answers: JSON text of "info", "config", "plugins", "stats".
 * Counters come straight from the regions of the roles: what another role counts, under the names of
 * its own table. */
#include <config.h>

#include "indexer/counters.h"
#include "ledger/counters.h"
#include "worker/worker.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

struct named {
	const char *name;
};

#define X(id_, name_, unit_, doc_) {name_},
static const struct named counters[] = {WORKER_COUNTERS(X)};
static const struct named hists[] = {WORKER_HISTS(X)};
#undef X
#define X(id_, name_, doc_) {name_},
static const struct named ledger_counters[] = {LEDGER_COUNTERS(X)};
static const struct named ledger_hists[] = {LEDGER_HISTS(X)};
static const struct named indexer_counters[] = {INDEXER_COUNTERS(X)};
static const struct named indexer_hists[] = {INDEXER_HISTS(X)};
#undef X

static json_int_t
number(const _Atomic uint64_t *v)
{
	return (json_int_t)atomic_load_explicit(v, memory_order_relaxed);
}

static void
put(json_t *o, const char *name, json_int_t v)
{
	json_object_set_new(o, name, json_integer(v));
}

/* ---- info ---- */

static const char *
role_text(json_int_t role)
{
	switch (role) {
	case ALM_CNS_FOLLOWER:
		return "follower";
	case ALM_CNS_CANDIDATE:
		return "candidate";
	case ALM_CNS_LEADER:
		return "leader";
	case ALM_CNS_LEARNER:
		return "learner";
	default:
		return "starting";
	}
}

static json_t *
log_info_json(const struct control_page *p)
{
	json_t *o = json_object();

	json_object_set_new(o, "ready", json_boolean(number(&p->ready)));
	json_object_set_new(o, "role", json_string(role_text(number(&p->role))));
	put(o, "term", number(&p->term));
	put(o, "leader", number(&p->leader));
	put(o, "first", number(&p->first));
	put(o, "visible", number(&p->visible));
	put(o, "committed", number(&p->committed));
	put(o, "durable", number(&p->durable));
	put(o, "commit_index", number(&p->commit_index));
	put(o, "log_time", number(&p->log_time));
	put(o, "space_used", number(&p->space_used));
	put(o, "space_available", number(&p->space_available));
	json_object_set_new(o, "disk_full", json_boolean(number(&p->disk_full)));
	return o;
}

static json_t *
index_info(const struct index_page *p)
{
	json_t *o = json_object();

	json_object_set_new(o, "ready", json_boolean(number(&p->ready)));
	put(o, "applied", number(&p->applied));
	put(o, "synced", number(&p->synced));
	return o;
}

static json_t *
info(struct worker *w)
{
	static const char *const modes[] = {"?", "processes", "threads", "fused"};
	json_t *o = json_object();

	json_object_set_new(o, "version", json_string(PACKAGE_VERSION));
	put(o, "node", (json_int_t)w->core->node_id);
	json_object_set_new(o, "data_dir", json_string(w->core->data_dir));
	json_object_set_new(o, "storage", json_string(w->core->storage));
	json_object_set_new(o, "consensus", json_string(w->core->consensus));
	json_object_set_new(o, "mode", json_string(modes[w->core->mode & 3]));
	put(o, "workers", w->env->workers);
	put(o, "worker", w->env->slot);
	put(o, "topics", (json_int_t)catalogue_topic_count(w->catalogue));
	if (w->ledger.peer)
		json_object_set_new(o, "log", log_info_json(&w->ledger.peer->page.control));
	if (w->indexer.peer)
		json_object_set_new(o, "index", index_info(&w->indexer.peer->page.index));
	return o;
}

/* ---- stats ---- */

static json_t *
hist_json(const struct hist *h)
{
	json_t *o = json_object();

	put(o, "count", (json_int_t)__atomic_load_n(&h->count, __ATOMIC_RELAXED));
	put(o, "p50", (json_int_t)hist_at(h, 50));
	put(o, "p99", (json_int_t)hist_at(h, 99));
	put(o, "p999", (json_int_t)hist_at(h, 99.9));
	put(o, "max", (json_int_t)__atomic_load_n(&h->max, __ATOMIC_RELAXED));
	return o;
}

static json_t *
role_stats(const struct region_head *head, const struct named *names, uint32_t n,
    const struct named *hnames, uint32_t n_hists)
{
	json_t *o = json_object();
	char name[32];
	uint32_t i;

	put(o, "generation", (json_int_t)head->generation);
	put(o, "pid", number(&head->pid));
	for (i = 0; i < COUNTERS_MAX; i++) {
		if (i >= n && !number(&head->counter[i]))
			continue;
		snprintf(name, sizeof name, "counter_%u", i);
		put(o, i < n ? names[i].name : name, number(&head->counter[i]));
	}
	for (i = 0; i < HISTS_MAX; i++) {
		if (i >= n_hists && !__atomic_load_n(&head->hist[i].count, __ATOMIC_RELAXED))
			continue;
		snprintf(name, sizeof name, "hist_%u", i);
		json_object_set_new(o, i < n_hists ? hnames[i].name : name,
		    hist_json(&head->hist[i]));
	}
	return o;
}

static json_t *
worker_stats(const struct region_head *head)
{
	return role_stats(head, counters, COUNT_N, hists, HIST_N);
}

static json_t *
stats(struct worker *w)
{
	json_t *o = json_object(), *workers = json_array();
	uint32_t slot;

	if (w->ledger.peer)
		json_object_set_new(o, "ledger", role_stats(w->ledger.peer, ledger_counters,
		    LC_COUNT, ledger_hists, LH_COUNT));
	if (w->indexer.peer)
		json_object_set_new(o, "indexer", role_stats(w->indexer.peer, indexer_counters,
		    IC_COUNT, indexer_hists, IH_COUNT));
	for (slot = 1; slot <= w->env->workers && slot <= WORKERS_MAX; slot++) {
		const struct region_head *head = slot == w->env->slot ?
		    w->self : w->peer[PEER_WORKER(slot)].head;

		if (head)
			json_array_append_new(workers, worker_stats(head));
	}
	json_object_set_new(o, "workers", workers);
	return o;
}

/* ---- the request ---- */

static int
config_text(struct worker *w, const char *what, struct buf *out)
{
	if (!strcmp(what, "config"))
		return config_dump_json(w->env->conf, out);
	if (!strcmp(what, "plugins"))
		return module_list_json(w->env->conf, out);
	return err_set(ALM_ENOTFOUND, "no such text: info, config, plugins or stats");
}

static int
json_text(struct worker *w, const char *what, struct buf *out)
{
	json_t *o = !strcmp(what, "info") ? info(w) : stats(w);
	char *text = json_dumps(o, JSON_COMPACT);
	int st = text ? buf_put(out, text, strlen(text)) : ALM_ENOMEM;

	free(text);
	json_decref(o);
	return st;
}

int
admin_request(struct alm_conn *c, uint64_t tag, const char *what)
{
	struct request *r = request_new(c, tag, REQ_ADMIN);

	if (!r)
		return c->state != CONN_OPEN ? ALM_ECLOSED : ALM_ENOMEM;
	snprintf(r->u.what, sizeof r->u.what, "%s", what);
	request_ready(r);
	return ALM_OK;
}

void
admin_run(struct request *r)
{
	struct worker *w = r->conn->w;
	const char *what = r->u.what;
	struct buf text = {0};
	struct alm_done d = {0};
	int own = !strcmp(what, "info") || !strcmp(what, "stats");

	err_clear();
	fold_run(w);
	d.status = own ? json_text(w, what, &text) : config_text(w, what, &text);
	if (d.status)
		d.detail = *err_text() ? err_text() : status_text(d.status);
	else
		d.data = slice(text.data, text.len);
	request_done(r, &d);
	buf_free(&text);
}
