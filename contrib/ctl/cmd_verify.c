/* ctl/cmd_verify.c - log verify: every checksum of a log on disk, then what is derived from it.
 *
 * The storage plugin checks the log; the ledger's checkpoint is checked, each indexer plugin compares
 * its directory with the log, and the state is folded anew and compared.  Nothing that belongs to the node is changed.  One thread.
 */
#include <config.h>

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <almadia/indexer.h>

#include "base/base.h"
#include "config/config.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/format.h"
#include "contrib/ctl/offline.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/out.h"
#include "contrib/ctl/progress.h"
#include "main/datadir.h"
#include "module/module.h"
#include "state/checkpoint.h"
#include "state/store.h"

static const struct col finding_cols[] = {{"level", "LEVEL", COL_TEXT}, {"part", "PART", COL_TEXT},
    {"position", "POSITION", COL_NUM}, {"text", "FINDING", COL_TEXT}};

static const struct col verify_cols[] = {{"directory", "LOG", COL_TEXT}, {"batches", "BATCHES", COL_NUM},
    {"records", "RECORDS", COL_NUM}, {"bytes", "BYTES", COL_SIZE},
    {"first_position", "FIRST POSITION", COL_NUM}, {"next_position", "NEXT POSITION", COL_NUM},
    {"last_index", "LAST INDEX", COL_NUM}, {"damaged", "DAMAGED BATCHES", COL_NUM},
    {"derived", "ALSO CHECKED", COL_TEXT}, {"verdict", "VERDICT", COL_TEXT}};

struct verifier {
	const struct call *c;
	json_t *findings;
	uint32_t errors;
	struct progress progress;
};

static void
add_finding(struct verifier *v, const char *part, uint32_t level, uint64_t position, const char *text)
{
	static const char *const levels[] = {"?", "debug", "info", "notice", "warning", "error"};

	if (level >= ALM_LOG_ERROR)
		v->errors++;
	json_array_append_new(v->findings,
	    json_pack("{s:s,s:s,s:I,s:o}", "level", level <= ALM_LOG_ERROR ? levels[level] : "?", "part",
		part, "position", (json_int_t)position, "text", json_bytes(text, strlen(text))));
}

static void
on_finding(void *arg, uint32_t level, uint64_t position, const char *text)
{
	struct verifier *v = arg;

	if (level >= ALM_LOG_WARN || v->c->verbose)
		add_finding(v, "log", level, position, text);
	progress_set(&v->progress, position);
}

/* Feed the log to one index's verify. 1 if it was checked. */
static int
verify_index(struct verifier *v, struct walker *w, const char *name)
{
	const struct alm_indexer_ops_v0 *ops;
	const struct alm_batch *b;
	struct provider *p;
	struct alm_index *ix;
	char dir[1200];
	struct stat st;
	uint64_t position = w->boot.first_position;
	int status;

	(void)snprintf(dir, sizeof dir, "%s/index/%s", w->o.data_dir, name);
	if (stat(dir, &st) != 0)
		return 0;
	err_clear();
	status = module_load(w->o.conf, ALM_KIND_INDEXER, name, &p);
	if (status != ALM_OK) {
		add_finding(v, name, ALM_LOG_WARN, 0, err_text());
		return 0;
	}
	ops = provider_ops(p);
	status = ops->open(provider_host(p, w->o.conf, ALM_ROLE_TOOL, -1), dir, &ix);
	if (status != ALM_OK) {
		add_finding(v, name, ALM_LOG_ERROR, 0, err_text());
		return 1;
	}
	while (status == ALM_OK && position < ops->applied(ix) && walk_next(w, &position, &b) == 1) {
		status = ops->verify(ix, b);
		progress_set(&v->progress, position);
	}
	if (status != ALM_OK && status != ALM_ENOTSUP)
		add_finding(v, name, ALM_LOG_ERROR, position,
		    err_text()[0] != 0 ? err_text() : status_text(status));
	ops->close(ix);
	return status != ALM_ENOTSUP;
}

/* The newest state.<gen> of a data directory: 1 and its path, or 0. */
static int
state_dir(const char *data_dir, char *out, uint32_t cap)
{
	long best = -1;
	struct dirent *e;
	DIR *d = opendir(data_dir);

	while (d != NULL && (e = readdir(d)) != NULL) {
		char *end;
		long gen = strncmp(e->d_name, "state.", 6) == 0 ? strtol(e->d_name + 6, &end, 10) : -1;

		if (gen > best && *end == 0) {
			best = gen;
			(void)snprintf(out, cap, "%s/state.%ld", data_dir, best);
		}
	}
	if (d != NULL)
		(void)closedir(d);
	return best >= 0;
}

/* Fold the log anew into a store of its own, as far as the node's has come, and compare. */
static int
refold(struct verifier *v, struct walker *w, struct store *theirs, const char *dir)
{
	uint64_t position = w->boot.first_position;
	const struct alm_batch *b;
	struct store *ours;
	int status = store_open(dir, 0, &ours);

	if (status != ALM_OK)
		return status;
	while (status == ALM_OK && position < store_applied(theirs) && walk_next(w, &position, &b) == 1) {
		status = store_apply(ours, b, NULL, NULL);
		progress_set(&v->progress, position);
	}
	if (status == ALM_OK)
		status = store_verify(theirs, ours);
	store_close(ours);
	return status;
}

/* Topics, groups and offsets against the log.  Needs the whole log: 1 if it was checked. */
static int
verify_state(struct verifier *v, struct walker *w)
{
	char dir[1200], tmp[] = "/tmp/almadia-verify-XXXXXX";
	struct store *theirs;
	int status;

	if (w->boot.first_position != 0 || !state_dir(w->o.data_dir, dir, sizeof dir))
		return 0;
	err_clear();
	status = store_open(dir, 0, &theirs);
	if (status == ALM_OK && mkdtemp(tmp) == NULL)
		status = ALM_EIO;
	if (status == ALM_OK) {
		status = refold(v, w, theirs, tmp);
		(void)store_remove(tmp);
		(void)rmdir(tmp);
		store_close(theirs);
	}
	if (status != ALM_OK)
		add_finding(v, "state", ALM_LOG_ERROR, w->boot.first_position,
		    err_text()[0] != 0 ? err_text() : status_text(status));
	return 1;
}

/* The ledger's checkpoint: sound, and of no longer a log than there is.  1 if it was checked. */
static int
verify_checkpoint(struct verifier *v, const struct walker *w)
{
	struct checkpoint ck;
	int status;

	err_clear();
	status = checkpoint_read(w->o.data_dir, &ck);
	if (status == ALM_ENOTFOUND)
		return 0;
	if (status != ALM_OK) {
		add_finding(v, "checkpoint", ALM_LOG_ERROR, 0,
		    err_text()[0] != 0 ? err_text() : status_text(status));
		return 1;
	}
	if (ck.head->position > w->boot.next_position)
		add_finding(v, "checkpoint", ALM_LOG_ERROR, ck.head->position,
		    CKPT_FILE " is of a position behind the log's end");
	checkpoint_free(&ck);
	return 1;
}

/* What is derived from the log, if DIR is a data directory that no node uses now. */
static void
verify_derived(struct verifier *v, struct walker *w, char *done, uint32_t cap)
{
	char names[256], *save = NULL;
	uint32_t at = 0;

	done[0] = 0;
	if (w->o.data_dir[0] == 0 || opt_given(v->c, "no-index"))
		return;
	if (datadir_probe(w->o.data_dir) == ALM_EBUSY) {
		note(v->c, "a node uses %s: its indexes and state were not checked", w->o.data_dir);
		return;
	}
	if (verify_checkpoint(v, w))
		at = (uint32_t)snprintf(done, cap, "checkpoint");
	if (verify_state(v, w))
		at += (uint32_t)snprintf(done + at, cap - at, "%sstate", at > 0 ? "," : "");
	(void)snprintf(names, sizeof names, "%s", config_core(w->o.conf)->indexers);
	for (char *n = strtok_r(names, ", ", &save); n != NULL; n = strtok_r(NULL, ", ", &save))
		if (verify_index(v, w, n) && at < cap)
			at += (uint32_t)snprintf(done + at, cap - at, "%s%s", at > 0 ? "," : "", n);
}

static int
verify(struct verifier *v, struct walker *w)
{
	struct alm_verify_stats st = {0};
	char derived[256];
	int status, damaged;

	err_clear();
	progress_begin(&v->progress, v->c, "verify", "B", w->boot.next_position);
	status = w->o.ops->verify(w->o.host, w->o.log_dir, on_finding, v, &st);
	if (status != ALM_OK && status != ALM_ECORRUPT) {
		progress_end(&v->progress);
		return fail_status(v->c, status, "%s: %s", w->o.log_dir,
		    err_text()[0] != 0 ? err_text() : status_text(status));
	}
	verify_derived(v, w, derived, sizeof derived);
	progress_end(&v->progress);
	damaged = status == ALM_ECORRUPT || st.damaged > 0 || v->errors > 0;
	out_object(v->c->out, verify_cols, sizeof verify_cols / sizeof verify_cols[0],
	    json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:s,s:s,s:O}", "directory", w->o.log_dir, "batches",
		(json_int_t)st.batches, "records", (json_int_t)st.records, "bytes", (json_int_t)st.bytes,
		"first_position", (json_int_t)st.first_position, "next_position",
		(json_int_t)st.next_position, "last_index", (json_int_t)st.last_index, "damaged",
		(json_int_t)st.damaged, "derived", derived, "verdict", damaged ? "damaged" : "clean",
		"findings", v->findings),
	    json_array_size(v->findings) > 0 ? "findings" : NULL, finding_cols, 4);
	return damaged ? RC_FAILED : RC_OK;
}

int
cmd_log_verify(struct call *c)
{
	struct walker w = {.c = c};
	struct verifier v = {.c = c, .findings = json_array()};
	int rc = walk_open(&w, c->args[0]);

	if (rc == RC_OK)
		rc = verify(&v, &w);
	json_decref(v.findings);
	walk_close(&w);
	return rc;
}
