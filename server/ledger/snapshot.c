/* ledger/snapshot.c - the checkpoint file, from a snapshot of the sequencer.
 *
 * Every CHECKPOINT_EVERY bytes of log the loop copies the sequencer into memory at a batch boundary,
 * waits until that position is visible (so that the file never holds what is not committed), and has
 * a helper thread write it.  At a clean stop the last one is written on the loop. */
#include <stdio.h>
#include <string.h>

#include "ledger/ledger.h"

#define WORKING 1 /* the helper has the image */
#define RETRY_US 10000000u

static void
write_file(void *arg)
{
	struct ledger *l = arg;
	int status = checkpoint_write(l->core->data_dir, &l->snapshot.image);

	if (status != ALM_OK)
		snprintf(l->snapshot.detail, sizeof l->snapshot.detail, "%s", err_text());
	atomic_store_explicit(&l->snapshot.status, status, memory_order_release);
}

int
snapshot_init(struct ledger *l)
{
	return helper_init(&l->snapshot.helper, "ledger checkpoint", write_file, l);
}

void
snapshot_fini(struct ledger *l)
{
	helper_fini(&l->snapshot.helper);
	buf_free(&l->snapshot.image);
}

static int
take(struct ledger *l)
{
	struct snapshot *s = &l->snapshot;
	struct ckpt_head *head;
	int status = sequencer_save(l->seq, &s->image);

	if (status != ALM_OK)
		return status;
	head = (struct ckpt_head *)(void *)s->image.data;
	head->position = s->position = l->next_position;
	head->index = l->last_index;
	head->term = l->last_term;
	head->log_time = l->last_log_time;
	return ALM_OK;
}

void
snapshot_maybe(struct ledger *l)
{
	struct snapshot *s = &l->snapshot;

	if (s->state != SNAPSHOT_NONE || l->rebuild || l->next_position == s->durable ||
	    (!s->wanted && l->next_position - s->durable < CHECKPOINT_EVERY) ||
	    clock_mono() < s->not_before)
		return;
	s->wanted = 0;
	if (take(l) == ALM_OK) {
		s->state = SNAPSHOT_TAKEN;
		snapshot_visible(l);
		return;
	}
	log_warn("no memory for a checkpoint; trying again later");
	s->not_before = clock_mono() + RETRY_US;
}

void
snapshot_visible(struct ledger *l)
{
	struct snapshot *s = &l->snapshot;

	if (s->state != SNAPSHOT_TAKEN || l->visible < s->position)
		return;
	s->state = SNAPSHOT_WRITING;
	atomic_store_explicit(&s->status, WORKING, memory_order_relaxed);
	helper_kick(&s->helper);
}

void
snapshot_reap(struct ledger *l)
{
	struct snapshot *s = &l->snapshot;
	int32_t status;

	if (s->state != SNAPSHOT_WRITING)
		return;
	status = atomic_load_explicit(&s->status, memory_order_acquire);
	if (status == WORKING)
		return;
	s->state = SNAPSHOT_NONE;
	if (status == ALM_OK) {
		s->durable = s->position;
		count(l, LC_CHECKPOINTS, 1);
		return;
	}
	log_warn("checkpoint not written: %s; trying again later", s->detail);
	s->not_before = clock_mono() + RETRY_US;
}

/* The sequencer went back: an image that is not visible yet may hold what never will be. */
void
snapshot_drop(struct ledger *l)
{
	if (l->snapshot.state == SNAPSHOT_TAKEN)
		l->snapshot.state = SNAPSHOT_NONE;
}

void
snapshot_final(struct ledger *l)
{
	struct snapshot *s = &l->snapshot;

	helper_wait(&s->helper);
	snapshot_reap(l);
	if (l->failed || l->rebuild || l->visible != l->next_position ||
	    s->durable == l->next_position || l->role != ALM_CNS_LEADER)
		return;
	if (take(l) != ALM_OK || checkpoint_write(l->core->data_dir, &s->image) != ALM_OK)
		log_warn("checkpoint not written at stop: %s; the next start scans the log", err_text());
	else
		s->durable = s->position;
}
