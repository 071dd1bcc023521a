/* ledger/recover.c - from the data directory to a ledger that may serve.  Loop thread, at start;
 * the sequencer's part also later, to undo what the log does not hold.
 *
 * Open the store, refuse damage unless the operator accepts the loss; checkpoint file plus the
 * batches behind it give the sequencer; a checkpoint that is damaged or ahead of the log is ignored
 * if the log still has its begin.  Then consensus gets the terms of the log. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "ledger/ledger.h"

/* Say what is damaged, what would go, and the option. */
static int
refuse_damage(const struct ledger *l)
{
	const struct alm_boot *b = &l->boot;
	const struct alm_damage *d = &b->damage[0];

	for (uint32_t i = 0; i < b->n_damage && i < ALM_DAMAGE_MAX; i++)
		if (b->damage[i].position < d->position)
			d = &b->damage[i];
	return err_set(ALM_ECORRUPT, "the log in %s is damaged in %u place%s, first at positions "
	    "%llu-%llu (index %llu, term %llu); it was not changed: restore a copy, or start with "
	    "--accept-data-loss, which drops all from there on: positions %llu-%llu, indexes %llu-%llu",
	    l->log_dir, b->n_damage, b->n_damage == 1 ? "" : "s", (unsigned long long)d->position,
	    (unsigned long long)(d->position + d->length), (unsigned long long)d->index,
	    (unsigned long long)d->term, (unsigned long long)d->position,
	    (unsigned long long)(b->next_position > d->position + d->length ? b->next_position
	                                                          : d->position + d->length),
	    (unsigned long long)d->index, (unsigned long long)b->last_index);
}

static void
adopt_boot(struct ledger *l)
{
	const struct alm_boot *b = &l->boot;

	l->next_position = l->durable = b->next_position;
	l->first = b->first_position;
	l->first_index = b->first_index;
	l->last_index = l->durable_index = b->last_index;
	l->last_term = b->last_term;
	l->last_crc = l->durable_crc = b->last_crc;
	l->last_log_time = b->last_log_time;
	l->meta = b->meta;
	atomic_store_explicit(&l->page->first, l->first, memory_order_release);
	if (b->cut_bytes > 0)
		log_notice("dropped %llu unsynced bytes behind position %llu, as after any crash",
		    (unsigned long long)b->cut_bytes, (unsigned long long)b->next_position);
	if (l->core->accept_data_loss)
		log_warn("started with --accept-data-loss: the log in %s ends at position %llu, index "
		    "%llu", l->log_dir, (unsigned long long)b->next_position,
		    (unsigned long long)b->last_index);
}

int
recover_open(struct ledger *l, int *exit_code)
{
	int status;

	l->boot.size = sizeof l->boot;
	status = l->store_ops->open(l->store_host, l->log_dir,
	    l->core->accept_data_loss ? ALM_OPEN_ACCEPT_LOSS : 0, &l->boot, &l->store);
	if (status != ALM_OK) {
		*exit_code = status == ALM_ECONFIG ? EXIT_BADCONFIG
		    : status == ALM_ENOMEM || status == ALM_EBUSY || status == ALM_EFULL ? EXIT_TRANSIENT : EXIT_DATA;
		return status;
	}
	*exit_code = EXIT_DATA;
	if (l->boot.n_damage > 0 && !l->core->accept_data_loss)
		return refuse_damage(l);
	status = l->store_ops->reader_open(l->store_host, l->log_dir, &l->reader);
	if (status != ALM_OK)
		return status;
	adopt_boot(l);
	return ALM_OK;
}

/* Load the checkpoint into *s if it is usable; *position: fold the log from here. */
static int
load_checkpoint(struct ledger *l, struct sequencer *s, uint64_t *position)
{
	struct checkpoint c;
	int status = checkpoint_read(l->core->data_dir, &c);

	if (status != ALM_OK) {
		if (status != ALM_ENOTFOUND)
			log_warn("checkpoint ignored: %s", err_text());
		return status;
	}
	if (c.head->position > l->next_position || c.head->index > l->last_index ||
	    c.head->position < l->first) {
		log_warn("checkpoint ignored: it is of position %llu, the log holds %llu-%llu",
		    (unsigned long long)c.head->position, (unsigned long long)l->first,
		    (unsigned long long)l->next_position);
		status = ALM_ESTALE;
	} else {
		*position = c.head->position;
		status = sequencer_load(s, &c);
		if (status != ALM_OK)
			log_warn("checkpoint ignored: %s", err_text());
	}
	checkpoint_free(&c);
	return status;
}

static int
fold_log(struct ledger *l, struct sequencer *s, uint64_t position)
{
	while (position < l->next_position) {
		struct alm_view v;
		int status = l->store_ops->reader_get(l->reader, position, l->next_position, &v);

		if (status != ALM_OK)
			return err_set(status, "could not read the batch at position %llu of the log in %s: "
			    "%s", (unsigned long long)position, l->log_dir, err_text());
		status = sequencer_fold_batch(s, v.batch);
		if (status != ALM_OK)
			return status;
		if (v.batch->flags & ALM_BATCH_CATALOGUE)
			l->catalogue_end = v.next;
		position = v.next;
	}
	return ALM_OK;
}

int
recover_sequencer(struct ledger *l)
{
	const struct seq_limits limits = {l->core->max_message, l->core->topic_queues};
	struct sequencer *s = sequencer_new(&limits);
	uint64_t from = 0;
	int status;

	if (s == NULL)
		return err_set(ALM_ENOMEM, "no memory for the sequencer");
	status = load_checkpoint(l, s, &from);
	if (status != ALM_OK) {
		sequencer_free(s);
		s = sequencer_new(&limits);
		if (s == NULL)
			return err_set(ALM_ENOMEM, "no memory for the sequencer");
		from = 0;
		if (l->first > 0) {
			sequencer_free(s);
			return err_set(ALM_ECORRUPT, "no usable %s/" CKPT_FILE ", and the log in %s begins "
			    "at position %llu: topics and offsets before it are unknown; restore the file",
			    l->core->data_dir, l->log_dir, (unsigned long long)l->first);
		}
	}
	l->snapshot.durable = status == ALM_OK ? from : 0;
	l->snapshot.wanted = status != ALM_OK && status != ALM_ENOTFOUND; /* replace what is damaged */
	l->catalogue_end = from;
	status = fold_log(l, s, from);
	if (status != ALM_OK) {
		sequencer_free(s);
		return status;
	}
	sequencer_free(l->seq);
	l->seq = s;
	return ALM_OK;
}

/* ---- consensus ---- */

/* First index whose batch has at least this term, in (from, last]. */
static int
term_begins(struct ledger *l, uint64_t from, uint64_t last, uint64_t term, uint64_t *out)
{
	struct alm_view v;

	while (from < last) {
		const uint64_t mid = from + (last - from) / 2;
		int status = l->store_ops->reader_find(l->reader, mid, l->next_position, &v);

		if (status != ALM_OK)
			return err_set(status, "could not find index %llu in the log in %s: %s",
			    (unsigned long long)mid, l->log_dir, err_text());
		if (v.batch->term >= term)
			last = mid;
		else
			from = mid + 1;
	}
	*out = last;
	return ALM_OK;
}

#define RUNS_MAX 1024u

/* Where the log as consensus sees it begins: after the first batch held, whose index and term are
 * known, unless that is the very first one of all. */
static int
find_base(struct ledger *l, struct alm_cns_boot *boot)
{
	const uint64_t first = l->boot.first_index;
	struct alm_view v;
	int status;

	if (l->last_index < first) {
		boot->base_index = l->last_index;
		boot->base_term = l->last_term;
		return ALM_OK;
	}
	if (first <= 1)
		return ALM_OK;
	status = l->store_ops->reader_find(l->reader, first, l->next_position, &v);
	if (status != ALM_OK)
		return err_set(status, "could not find index %llu in the log in %s: %s",
		    (unsigned long long)first, l->log_dir, err_text());
	boot->base_index = first;
	boot->base_term = v.batch->term;
	return ALM_OK;
}

/* Runs of terms behind the base, newest first into the end of runs[].  If there are more than fit,
 * the base moves up. */
static int
collect_runs(struct ledger *l, struct alm_cns_run *runs, struct alm_cns_boot *boot)
{
	uint64_t last = l->last_index, term = l->last_term;
	uint32_t n = 0;
	struct alm_view v;
	int status = find_base(l, boot);

	while (status == ALM_OK && last > boot->base_index && n < RUNS_MAX) {
		uint64_t first = last;

		status = term_begins(l, boot->base_index + 1, last, term, &first);
		n++;
		runs[RUNS_MAX - n] = (struct alm_cns_run){first, term};
		last = first - 1;
		if (status != ALM_OK || last <= boot->base_index)
			break;
		status = l->store_ops->reader_find(l->reader, last, l->next_position, &v);
		if (status == ALM_OK)
			term = v.batch->term;
	}
	if (status == ALM_OK && last > boot->base_index) {
		boot->base_index = last;
		boot->base_term = term;
	}
	boot->n_runs = n;
	boot->runs = &runs[RUNS_MAX - n];
	return status;
}

int
recover_consensus(struct ledger *l)
{
	static const struct alm_cns_event tick = {.kind = ALM_EV_TICK};
	struct alm_cns_run runs[RUNS_MAX];
	struct alm_cns_config cfg = {.size = sizeof cfg, .self = l->node, .heartbeat_us = 50000,
	    .election_us = 500000, .max_inflight_bytes = 16u << 20};
	struct alm_cns_boot boot = {.size = sizeof boot, .term = l->meta.term, .vote = l->meta.vote,
	    .meta_seq = l->meta.seq, .last_index = l->last_index, .last_term = l->last_term,
	    .epoch = l->boot.epoch, .frontier = l->boot.frontier};
	uint64_t bytes;
	int status;

	if (getrandom(&cfg.seed, sizeof cfg.seed, 0) != (ssize_t)sizeof cfg.seed)
		cfg.seed = clock_wall();
	status = collect_runs(l, runs, &boot);
	if (status != ALM_OK)
		return status;
	bytes = l->cns_ops->state_size(&cfg);
	l->cns = calloc(1, bytes);
	if (l->cns == NULL)
		return err_set(ALM_ENOMEM, "no memory for the consensus state (%llu bytes)",
		    (unsigned long long)bytes);
	status = l->cns_ops->init(l->cns, bytes, &cfg);
	if (status == ALM_OK)
		status = l->cns_ops->boot(l->cns, &boot);
	if (status != ALM_OK)
		return err_set(status, "the consensus provider \"%s\" does not start (%s)",
		    l->core->consensus, status_text(status));
	return cns_feed(l, &tick, 1);
}
