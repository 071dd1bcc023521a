/* indexer/consumers.c - the state store and the indexer providers, as one group: open, apply,
 * sync, and what to do when one of them is damaged.  Indexer process, its only thread. */
#include "indexer/guard.h"
#include "indexer/indexer.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- directories ---- */

static int
remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int
remove_tree(const char *dir)
{
	if (nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
		return err_set(ALM_EIO, "could not delete %s: %s", dir, strerror(errno));
	return ALM_OK;
}

/* Highest generation of state.<gen> in the data directory, 0: none. */
static uint32_t
newest_generation(const char *data_dir)
{
	DIR *d = opendir(data_dir);
	struct dirent *e;
	uint32_t newest = 0;

	if (!d)
		return 0;
	while ((e = readdir(d)) != NULL) {
		unsigned gen;
		char end;
		if (sscanf(e->d_name, "state.%u%c", &gen, &end) == 1 && gen > newest)
			newest = gen;
	}
	closedir(d);
	return newest;
}

/* ---- the state store ---- */

static void
state_name(struct indexer *ix, uint32_t gen)
{
	snprintf(ix->state_dir, sizeof ix->state_dir, "%s/state.%u", ix->core->data_dir, gen);
	snprintf(ix->state_marker, sizeof ix->state_marker, "%s/state.%u.damaged", ix->core->data_dir,
	    gen);
}

static int
state_open(struct indexer *ix)
{
	int status;

	guard_enter(ix->state_marker);
	status = store_open(ix->state_dir, 0, &ix->store);
	guard_leave();
	return status;
}

/* Close the store, delete it, begin the next generation empty. */
static int
store_rebuild(struct indexer *ix, const char *why)
{
	int status;

	if (indexer_first(ix) > 0 && !ix->core->accept_data_loss)
		return err_set(ALM_ECORRUPT,
		    "the state store %s cannot be used (%s) and cannot be rebuilt, since the log begins at "
		    "%" PRIu64 ", not at 0: put back a copy of it, or start once with --accept-data-loss to "
		    "go on without the state from before that", ix->state_dir, why, indexer_first(ix));
	if (ix->store_rebuilt++ >= 2)
		return err_set(ALM_ECORRUPT, "the state store %s was rebuilt twice and fails again: %s",
		    ix->state_dir, why);
	log_warn("state store %s is rebuilt from the log: %s", ix->state_dir, why);
	indexer_count(ix, IC_REBUILDS, 1);
	store_close(ix->store);
	ix->store = NULL;
	if ((status = remove_tree(ix->state_dir)))
		return status;
	state_name(ix, ++ix->state_gen);
	ix->store_damaged = 0;
	return state_open(ix);
}

/* Delete generations before the present one. */
static void
trim_generations(struct indexer *ix)
{
	char dir[640];

	for (uint32_t gen = ix->state_gen; gen-- > 1;) {
		snprintf(dir, sizeof dir, "%s/state.%u", ix->core->data_dir, gen);
		if (access(dir, F_OK) != 0)
			return;
		log_notice("%s is deleted: %s takes its place", dir, ix->state_dir);
		if (remove_tree(dir))
			log_warn("%s", err_text());
	}
}

static int
unusable(int status)
{
	return status == ALM_ECORRUPT || status == ALM_EVERSION;
}

static int
store_start(struct indexer *ix)
{
	char why[256];
	int status;

	ix->state_gen = newest_generation(ix->core->data_dir);
	if (ix->state_gen == 0)
		ix->state_gen = 1;
	state_name(ix, ix->state_gen);
	if (guard_marked(ix->state_marker))
		status = err_set(ALM_ECORRUPT, "state store %s: the indexer died while it worked on it",
		    ix->state_dir);
	else
		status = state_open(ix);
	if (!unusable(status))
		return status;
	/* The ledger is not known yet, so whether the log allows a rebuild shows later: keep the old
	 * generation aside until then. */
	snprintf(why, sizeof why, "%s", err_text());
	log_error("%s", why);
	state_name(ix, ++ix->state_gen);
	return state_open(ix);
}

static void
store_topic_gone(void *arg, uint32_t topic)
{
	struct indexer *ix = arg;

	for (uint32_t i = 0; i < ix->n_consumers; i++) {
		struct consumer *c = &ix->consumer[i];
		int status;

		guard_enter(c->marker);
		status = c->ops->drop_topic(c->x, topic);
		guard_enter(ix->state_marker); /* in store_apply */
		/* Only space is at stake; the rows go with retention. */
		if (status && status != ALM_ENOTSUP)
			log_warn("indexer %s: topic %u was not dropped: %s", c->name, topic,
			    status_text(status));
	}
}

/* ---- providers ---- */

static int
provider_fault(struct consumer *c, int status, const char *doing)
{
	/* host->fail has set the text, if the provider gave one. */
	char why[512];

	snprintf(why, sizeof why, "%s", err_text()[0] ? err_text() : status_text(status));
	return err_set(status, "indexer %s: %s: %s", c->name, doing, why);
}

static int
provider_open(struct consumer *c)
{
	int status;

	err_clear();
	guard_enter(c->marker);
	status = c->ops->open(c->host, c->dir, &c->x);
	guard_leave();
	if (status) {
		c->x = NULL;
		return provider_fault(c, status, "open");
	}
	c->applied = c->ops->applied(c->x);
	c->damaged = 0;
	return ALM_OK;
}

/* Delete what the provider has and let it begin anew. */
static int
provider_rebuild(struct indexer *ix, struct consumer *c)
{
	char why[512];
	int status;

	snprintf(why, sizeof why, "%s", err_text());
	if (c->rebuilt++ >= 2)
		return err_set(ALM_ECORRUPT, "indexer %s was rebuilt twice and fails again: %s", c->name,
		    why);
	log_warn("indexer %s is rebuilt from the log: %s", c->name, why);
	indexer_count(ix, IC_REBUILDS, 1);
	if (c->x)
		c->ops->close(c->x);
	c->x = NULL;
	if ((status = remove_tree(c->dir)))
		return status;
	if (mkdir(c->dir, 0750) != 0)
		return err_set(ALM_EIO, "could not make %s: %s", c->dir, strerror(errno));
	return provider_open(c);
}

static int
provider_start(struct indexer *ix, const char *name)
{
	struct consumer *c = &ix->consumer[ix->n_consumers];
	int status;

	if (ix->n_consumers == PROVIDERS_MAX)
		return err_set(ALM_ECONFIG, "indexers.plugins: more than %u names", PROVIDERS_MAX);
	snprintf(c->name, sizeof c->name, "%s", name);
	snprintf(c->dir, sizeof c->dir, "%s/%s", ix->index_dir, name);
	snprintf(c->marker, sizeof c->marker, "%s/index/%s.damaged", ix->core->data_dir, name);
	status = module_load(ix->env->conf, ALM_KIND_INDEXER, name, &c->provider);
	if (status)
		return err_set(ALM_ECONFIG, "%s", err_text());
	c->ops = provider_ops(c->provider);
	c->host = provider_host(c->provider, ix->env->conf, ALM_ROLE_INDEXER, ix->env->arena_fd);
	if (!c->host)
		return err_set(ALM_ENOMEM, "indexer %s: out of memory", name);
	if (mkdir(c->dir, 0750) != 0 && errno != EEXIST)
		return err_set(ALM_EIO, "could not make %s: %s", c->dir, strerror(errno));
	if (guard_marked(c->marker))
		status = err_set(ALM_ECORRUPT, "the indexer died while it worked on it");
	else
		status = provider_open(c);
	if (unusable(status))
		status = provider_rebuild(ix, c);
	if (!status)
		ix->n_consumers++;
	return status;
}

/* ---- the group ---- */

int
consumers_open(struct indexer *ix, int *exit_code)
{
	char names[sizeof ix->core->indexers], *save = NULL;
	int status = store_start(ix);

	*exit_code = EXIT_DATA;
	if (status)
		return status;
	snprintf(names, sizeof names, "%s", ix->core->indexers);
	for (char *n = strtok_r(names, ", \t", &save); n && !status; n = strtok_r(NULL, ", \t", &save))
		status = provider_start(ix, n);
	if (status == ALM_ECONFIG)
		*exit_code = EXIT_BADCONFIG;
	else if (status == ALM_EFULL || status == ALM_ENOMEM)
		*exit_code = EXIT_TRANSIENT;
	return status;
}

void
consumers_close(struct indexer *ix)
{
	for (uint32_t i = 0; i < ix->n_consumers; i++)
		if (ix->consumer[i].x)
			ix->consumer[i].ops->close(ix->consumer[i].x);
	ix->n_consumers = 0;
	store_close(ix->store);
	ix->store = NULL;
}

uint64_t
consumers_applied(const struct indexer *ix)
{
	uint64_t low = store_applied(ix->store);

	for (uint32_t i = 0; i < ix->n_consumers; i++)
		if (ix->consumer[i].applied < low)
			low = ix->consumer[i].applied;
	return low;
}

uint64_t
consumers_synced(const struct indexer *ix)
{
	uint64_t low = store_synced(ix->store), at;

	for (uint32_t i = 0; i < ix->n_consumers; i++)
		if ((at = ix->consumer[i].ops->synced(ix->consumer[i].x)) < low)
			low = at;
	return low;
}

static void
disk_full(struct indexer *ix, const char *text)
{
	if (ix->retry_at == 0)
		log_warn("%s: retried once a second, reads go on, retention waits", text);
	ix->retry_at = clock_mono() + RETRY_US;
	indexer_count(ix, IC_SYNCS_FULL, 1);
}

/* One place for every failure of a provider: ALM_EAGAIN (go on from what is applied now),
 * ALM_EFULL, or the role leaves. */
static int
provider_trouble(struct indexer *ix, struct consumer *c, int status, const char *doing)
{
	provider_fault(c, status, doing);
	c->applied = c->ops->applied(c->x);
	if (status == ALM_EAGAIN && c->again++ < 64)
		return ALM_EAGAIN;
	if (status == ALM_EFULL) {
		disk_full(ix, err_text());
		return ALM_EFULL;
	}
	if (status == ALM_EIO || status == ALM_ENOMEM || provider_rebuild(ix, c))
		return indexer_fail(ix, status, status == ALM_ENOMEM ? EXIT_TRANSIENT : EXIT_DATA);
	return ALM_EAGAIN;
}

static int
store_trouble(struct indexer *ix, int status)
{
	char why[256];

	snprintf(why, sizeof why, "%s", err_text());
	if (status == ALM_EAGAIN && ix->store_again++ < 64)
		return ALM_EAGAIN;
	if (status == ALM_EFULL) {
		disk_full(ix, why);
		return ALM_EFULL;
	}
	if (!unusable(status) || store_rebuild(ix, why))
		return indexer_fail(ix, status, status == ALM_ENOMEM ? EXIT_TRANSIENT : EXIT_DATA);
	return ALM_EAGAIN;
}

static int
provider_apply(struct consumer *c, const struct alm_batch *b)
{
	int status;

	guard_enter(c->marker);
	status = c->ops->apply(c->x, b);
	guard_leave();
	return status;
}

int
consumers_apply(struct indexer *ix, const struct alm_batch *b)
{
	int status;

	for (uint32_t i = 0; i < ix->n_consumers; i++) {
		struct consumer *c = &ix->consumer[i];
		if (c->applied >= b->position + b->length)
			continue;
		err_clear();
		/* Between two batches of this log is where it must stand. */
		if (c->applied > b->position)
			status = err_set(ALM_ECORRUPT, "it stands inside a batch of the log");
		else
			status = provider_apply(c, b);
		if (status)
			return provider_trouble(ix, c, status, "apply");
		c->again = 0;
		c->applied = c->ops->applied(c->x);
	}
	if (store_applied(ix->store) > b->position)
		return ALM_OK;
	/* Last, so that a topic's deletion reaches providers that have all of its rows. */
	guard_enter(ix->state_marker);
	status = store_apply(ix->store, b, store_topic_gone, ix);
	guard_leave();
	if (status)
		return store_trouble(ix, status);
	ix->store_again = 0;
	return ALM_OK;
}

/* What a commit leaves behind: numbers for people, and how far retention may go. */
static void
synced(struct indexer *ix, uint64_t began)
{
	struct region_head *head = ix->env->self.head;

	if (ix->retry_at)
		log_notice("the indexes are written again");
	ix->retry_at = 0;
	if (ix->since_sync > 0) {
		indexer_count(ix, IC_SYNCS, 1);
		hist_add(&head->hist[IH_SYNC], clock_mono() - began);
		atomic_store_explicit(&head->counter[IC_STATE_ROWS], store_rows(ix->store),
		    memory_order_relaxed);
		atomic_store_explicit(&head->counter[IC_STATE_SKIPPED], store_skipped(ix->store),
		    memory_order_relaxed);
	}
	ix->since_sync = 0;
	atomic_store_explicit(&head->page.index.synced, consumers_synced(ix), memory_order_release);
}

int
consumers_sync(struct indexer *ix)
{
	uint64_t began = clock_mono();
	int status;

	for (uint32_t i = 0; i < ix->n_consumers; i++) {
		struct consumer *c = &ix->consumer[i];
		err_clear();
		guard_enter(c->marker);
		status = c->ops->sync(c->x);
		guard_leave();
		if (status)
			return provider_trouble(ix, c, status, "sync");
	}
	guard_enter(ix->state_marker);
	status = store_sync(ix->store);
	guard_leave();
	if (status)
		return store_trouble(ix, status);
	synced(ix, began);
	return ALM_OK;
}

void
consumers_release(struct indexer *ix, uint64_t first)
{
	for (uint32_t i = 0; i < ix->n_consumers; i++) {
		struct consumer *c = &ix->consumer[i];
		int status;

		guard_enter(c->marker);
		status = c->ops->release(c->x, first);
		guard_leave();
		if (status && status != ALM_ENOTSUP)
			(void)provider_trouble(ix, c, status, "release");
	}
	ix->released = first;
}

static int
provider_revert(struct indexer *ix, struct consumer *c, uint64_t position)
{
	int status;

	err_clear();
	guard_enter(c->marker);
	status = c->ops->revert(c->x, position);
	guard_leave();
	c->applied = c->ops->applied(c->x);
	if (status == ALM_OK && c->applied <= position)
		return ALM_OK;
	provider_fault(c, status ? status : ALM_EINTERNAL, "revert");
	return provider_rebuild(ix, c) ? indexer_fail(ix, ALM_ECORRUPT, EXIT_DATA) : ALM_OK;
}

int
consumers_reset(struct indexer *ix)
{
	int status;

	if (store_rebuild(ix, "the log has lost what it was built from"))
		return indexer_fail(ix, ALM_ECORRUPT, EXIT_DATA);
	for (uint32_t i = 0; i < ix->n_consumers; i++)
		if ((status = provider_revert(ix, &ix->consumer[i], 0)))
			return status;
	return ALM_OK;
}

int
consumers_align(struct indexer *ix)
{
	uint64_t first = indexer_first(ix), at = store_applied(ix->store);
	int status;

	if (at < first) {
		if (!ix->core->accept_data_loss) {
			err_set(ALM_ECORRUPT,
			    "the state store %s ends at %" PRIu64 ", but the log begins at %" PRIu64
			    ": put back a copy of the state store, or start once with --accept-data-loss to go on "
			    "without the state from before that", ix->state_dir, at, first);
			return indexer_fail(ix, ALM_ECORRUPT, EXIT_DATA);
		}
		log_warn("state store %s: state from before position %" PRIu64 " is lost, as the operator "
			 "accepted", ix->state_dir, first);
		store_jump(ix->store, first);
		at = first;
	}
	trim_generations(ix);
	/* A store that begins anew says nothing about the providers: those stay. */
	for (uint32_t i = 0; i < ix->n_consumers && at > 0; i++)
		if (ix->consumer[i].applied > at &&
		    (status = provider_revert(ix, &ix->consumer[i], at)))
			return status;
	return ALM_OK;
}

int
consumers_mend(struct indexer *ix)
{
	if (!ix->mend)
		return ALM_OK;
	ix->mend = 0;
	for (uint32_t i = 0; i < ix->n_consumers; i++) {
		struct consumer *c = &ix->consumer[i];
		if (!c->damaged)
			continue;
		err_set(ALM_ECORRUPT, "a query found damage");
		if (provider_rebuild(ix, c))
			return indexer_fail(ix, ALM_ECORRUPT, EXIT_DATA);
	}
	if (ix->store_damaged && store_rebuild(ix, "a query found damage"))
		return indexer_fail(ix, ALM_ECORRUPT, EXIT_DATA);
	return ALM_OK;
}
