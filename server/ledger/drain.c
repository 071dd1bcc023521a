/* ledger/drain.c - from the workers' rings into the batch being filled.  Ledger's loop thread.
 *
 * Ring content is untrusted and may change under us: a group is copied once, into the batch buffer,
 * and only the copy is read.  A group either joins the batch or is refused with a result; one
 * that has no room yet (batch full, results back up) stays in its ring.  Fair: rounds over the
 * workers with a bounded share each, starting one further each time. */
#include <string.h>

#include "ledger/ledger.h"

#define SHARE (128u << 10) /* bytes that one worker may add in a round */

#define TAKE_DONE 0  /* the record is used up */
#define TAKE_FULL 1  /* the batch has no room: leave it in the ring */
#define TAKE_STALL 2 /* the worker has too many results under way: leave it */
#define TAKE_BROKEN 3 /* nonsense: cut the worker off */

static uint32_t
refusal_counter(int status)
{
	switch (status) {
	case ALM_EINVAL:
	case ALM_EVERSION:
		return LC_REFUSED_INVALID;
	case ALM_ENOTFOUND:
		return LC_REFUSED_TOPIC;
	case ALM_EEXIST:
		return LC_REFUSED_CONDITION;
	case ALM_ETOOBIG:
		return LC_REFUSED_SIZE;
	case ALM_EORDER:
		return LC_REFUSED_ORDER;
	case ALM_EFULL:
		return LC_REFUSED_FULL;
	default:
		return LC_REFUSED_OTHER;
	}
}

/* A refusal depends on nothing that is still to come: answer at once. */
static int
refuse(struct ledger *l, uint32_t worker, uint64_t tag, int status, const char *text)
{
	struct result *r = results_alloc(l->results, worker);
	struct result_list one = {RESULT_NONE, RESULT_NONE, 0};

	INVARIANT(r != NULL); /* take_append looked */
	r->tag = tag;
	r->status = status;
	results_detail(l->results, r, text);
	results_append(l->results, &one, r);
	results_ready(l->results, &one, 0, 0);
	count(l, refusal_counter(status), 1);
	return TAKE_DONE;
}

/* 1 if the messages' offsets cannot be told from the first one: they lie in several queues. */
static int
several_queues(const struct seq_group *g)
{
	const struct alm_record *first = NULL;

	for (uint32_t at = 0; at < g->bytes;) {
		const struct alm_record *r = (const void *)(g->records + at);

		at += r->length;
		if (r->kind != ALM_REC_MESSAGE)
			continue;
		if (first == NULL)
			first = r;
		else if (r->topic != first->topic || r->queue != first->queue)
			return 1;
	}
	return 0;
}

/* The closed or gathering batch that holds a position; an unknown position is in the newest. NULL:
 * committed before all of them. */
static struct batch *
batch_under_way(struct ledger *l, uint64_t position)
{
	if (l->gather != NULL && l->gather->n_records > 0 &&
	    (position == 0 || position >= l->gather->position))
		return l->gather;
	for (uint32_t i = l->n_fifo; i > 0; i--)
		if (position == 0 || position >= l->fifo[i - 1]->position)
			return l->fifo[i - 1];
	return NULL;
}

/* Position of a producer's sequence in the batch b, looked for from the record at `from` on. */
static uint64_t
find_sequence(const struct alm_batch *b, uint32_t end, uint64_t from, const struct seq_group *g)
{
	uint64_t at = from - b->position;

	while (at + sizeof(struct alm_record) <= end) {
		const struct alm_record *r = (const void *)((const uint8_t *)b + at);

		if (r->length < sizeof *r || r->length > end - at)
			break;
		if (r->producer == g->producer && r->sequence == g->sequence)
			return b->position + at;
		at += r->length;
	}
	return 0;
}

/* A duplicate's position is known up to its range's first record: find the record itself. */
static uint64_t
exact_position(struct ledger *l, const struct seq_group *g, const struct batch *b)
{
	struct alm_view v;

	if (g->position == 0 || g->position_exact)
		return g->position;
	if (b != NULL && b == l->gather) {
		/* The header is not written yet: give the search one that says where it begins. */
		((struct alm_batch *)(void *)b->data)->position = b->position;
		return find_sequence(batch_header(b), b->len, g->position, g);
	}
	if (b != NULL)
		return find_sequence(batch_header(b), b->len, g->position, g);
	if (l->store_ops->reader_seek(l->reader, g->position, l->visible, &v) != ALM_OK ||
	    g->position < v.batch->position)
		return 0;
	return find_sequence(v.batch, v.batch->dir_offset, g->position, g);
}

/* Offsets of a duplicate's messages; 1 if they are consecutive. */
static int
duplicate_offsets(struct ledger *l, const struct seq_group *g)
{
	sequencer_offsets(l->seq, g->producer, g->sequence + g->first_message, g->n_messages,
	    l->offsets);
	for (uint32_t i = 1; i < g->n_messages; i++)
		if (l->offsets[i] != l->offsets[0] + i)
			return 0;
	return 1;
}

/* Answered like the original, once the original is committed. */
static int
take_duplicate(struct ledger *l, uint32_t worker, uint64_t tag, const struct seq_group *g)
{
	struct batch *b = batch_under_way(l, g->position);
	struct result_list now = {RESULT_NONE, RESULT_NONE, 0};
	const uint32_t known = g->n_messages <= RESULT_OFFSETS_MAX;
	const int several = known && g->n_messages > 1 && several_queues(g);
	struct result *r;

	if (several && g->n_messages > results_room(l->results, worker))
		return TAKE_STALL;
	r = results_alloc(l->results, worker);
	r->tag = tag;
	r->flags = RESULT_DUPLICATE;
	r->first_offset = g->first_offset;
	r->position = exact_position(l, g, b);
	if (several && !duplicate_offsets(l, g))
		results_offsets(l->results, r, l->offsets, g->n_messages);
	results_append(l->results, b != NULL ? &b->strict : &now, r);
	if (b == NULL)
		results_ready(l->results, &now, l->commit_index, l->visible);
	count(l, LC_DUPLICATES, 1);
	return TAKE_DONE;
}

/* Store a group that passed all checks. */
static int
store_group(struct ledger *l, uint32_t worker, uint64_t tag, const struct seq_group *g)
{
	struct batch *b = l->gather;
	const int several = g->n_messages > 1 && several_queues(g);
	struct result *r;

	if (several && (g->n_messages > RESULT_OFFSETS_MAX || sizeof(struct msg_result) +
	    g->n_messages * sizeof(uint64_t) > link_max(&l->link[PEER_WORKER(worker)])))
		return refuse(l, worker, tag, ALM_ETOOBIG, "too many messages to several queues at once");
	if (several && g->n_messages > results_room(l->results, worker))
		return TAKE_STALL;
	r = results_alloc(l->results, worker);
	r->tag = tag;
	r->position = b->position + b->len;
	if (batch_take(b, l->seq, g, &r->first_offset, several ? l->offsets : NULL) != ALM_OK) {
		log_error("the sequencer contradicts itself: %s", err_text());
		ledger_fail(l, EXIT_TRANSIENT);
		return TAKE_FULL;
	}
	if (several)
		results_offsets(l->results, r, l->offsets, g->n_messages);
	results_append(l->results, (g->flags & GROUP_RELAXED) ? &b->relaxed : &b->strict, r);
	return TAKE_DONE;
}

/* Copy the group to the end of the batch and fill *g; a status, or TAKE_* as a positive number. */
static int
copy_group(struct ledger *l, const uint8_t *payload, const struct msg_append *m, struct seq_group *g)
{
	const uint32_t conditions = m->n_conditions * (uint32_t)sizeof *l->conditions;
	const uint32_t bytes = m->bytes - conditions;
	uint8_t *to;

	if (gather_begin(l) == NULL)
		return TAKE_FULL;
	if (bytes > batch_group_max(l->gather))
		return ALM_ETOOBIG;
	to = batch_room(l->gather, bytes, m->n_records);
	if (to == NULL)
		return TAKE_FULL;
	memcpy(l->conditions, payload + sizeof *m, conditions);
	memcpy(to, payload + sizeof *m + conditions, bytes);
	*g = (struct seq_group){.records = to, .bytes = bytes, .n_records = m->n_records,
	    .conditions = l->conditions, .n_conditions = m->n_conditions,
	    .disk_full = l->disk_full, .full_text = l->full_text, .log_time = l->gather->log_time};
	return ALM_OK;
}

/* Do the lengths that a group states agree with each other and with its ring record? */
static int
lengths_agree(const struct msg_append *m, uint32_t len)
{
	return m->bytes % 8 == 0 && sizeof *m + (uint64_t)m->bytes == len &&
	    (uint64_t)m->n_conditions * sizeof(struct msg_condition) <= m->bytes;
}

static int
take_append(struct ledger *l, uint32_t worker, const uint8_t *payload, uint32_t len)
{
	struct msg_append m;
	struct seq_group g;
	int status;

	if (len < sizeof m)
		return TAKE_BROKEN;
	if (results_left(l->results, worker) == 0)
		return TAKE_STALL;
	memcpy(&m, payload, sizeof m);
	if (l->held)
		return refuse(l, worker, m.tag, ALM_EFULL, l->full_text);
	if (m.n_conditions > CONDITIONS_MAX)
		return refuse(l, worker, m.tag, ALM_EINVAL, "more than 1024 conditions");
	if (!lengths_agree(&m, len))
		return refuse(l, worker, m.tag, ALM_EINVAL, "the group's lengths do not add up");
	status = copy_group(l, payload, &m, &g);
	if (status == ALM_ETOOBIG)
		return refuse(l, worker, m.tag, status, "the group is over the node's limits.max_batch");
	if (status != ALM_OK)
		return status;
	status = sequencer_check(l->seq, &g);
	if (status != ALM_OK)
		return refuse(l, worker, m.tag, status, g.detail);
	if (g.flags & GROUP_DUPLICATE)
		return take_duplicate(l, worker, m.tag, &g);
	return store_group(l, worker, m.tag, &g);
}

/* To the worker whose slot stands in the connection's id; lost if that is gone or has no room. */
static int
take_notify(struct ledger *l, const uint8_t *payload, uint32_t len)
{
	struct msg_notify m;
	struct link *to;
	uint32_t slot;
	void *out = NULL;

	if (len < sizeof m)
		return TAKE_BROKEN;
	memcpy(&m, payload, sizeof m);
	slot = (uint32_t)(m.conn >> 40) & 0xff;
	to = slot >= 1 && slot <= l->env->workers ? &l->link[PEER_WORKER(slot)] : NULL;
	if (to != NULL && len <= link_max(to))
		out = link_reserve(to, MSG_NOTIFY, len);
	if (out == NULL) {
		count(l, LC_NOTIFIES_LOST, 1);
		return TAKE_DONE;
	}
	memcpy(out, payload, len);
	memcpy(out, &m, sizeof m);
	link_commit(to, len);
	link_flush(to);
	count(l, LC_NOTIFIES, 1);
	return TAKE_DONE;
}

static void
cut_off(struct ledger *l, uint32_t worker)
{
	struct link *link = &l->link[PEER_WORKER(worker)];

	log_error("worker %u wrote nonsense into its ring: cut off until it is restarted", worker);
	count(l, LC_BROKEN_PEERS, 1);
	link_detach(link);
	results_forget(l->results, worker);
}

/* Take a worker's share; returns records taken. */
static uint32_t
drain_worker(struct ledger *l, uint32_t worker)
{
	struct link *link = &l->link[PEER_WORKER(worker)];
	uint32_t type, len, taken = 0;
	uint64_t bytes = 0;
	const void *payload;

	while (bytes < SHARE && !l->gather_full && (payload = link_peek(link, &type, &len)) != NULL) {
		int verdict = type == MSG_APPEND ? take_append(l, worker, payload, len)
		            : type == MSG_NOTIFY ? take_notify(l, payload, len) : TAKE_BROKEN;

		if (verdict == TAKE_BROKEN) {
			cut_off(l, worker);
			return taken;
		}
		if (verdict == TAKE_FULL)
			l->gather_full = 1;
		if (verdict == TAKE_STALL)
			count(l, LC_RESULT_STALLS, 1);
		if (verdict != TAKE_DONE)
			break;
		link_consume(link);
		bytes += len;
		taken++;
	}
	if (link->broken)
		cut_off(l, worker);
	else if (taken > 0)
		link_release(link);
	return taken;
}

static int
may_drain(const struct ledger *l)
{
	/* While entries are held all groups are refused, which needs no sequencer. */
	return l->role == ALM_CNS_LEADER && (!l->rebuild || l->held) && !l->stopping &&
	    !l->failed && !l->gather_full;
}

uint32_t
drain_all(struct ledger *l)
{
	uint32_t total = 0, round = 1;

	while (round > 0 && may_drain(l)) {
		round = 0;
		for (uint32_t i = 0; i < l->env->workers; i++) {
			uint32_t worker = 1 + (l->next_worker + i) % l->env->workers;

			if (l->link[PEER_WORKER(worker)].peer != NULL)
				round += drain_worker(l, worker);
		}
		l->next_worker = (l->next_worker + 1) % l->env->workers;
		total += round;
	}
	return total;
}

void
drain_last(struct ledger *l, uint32_t worker)
{
	const struct link *link = &l->link[PEER_WORKER(worker)];

	/* Its answers have nobody to go to; written out first, neither they nor full batches stop it. */
	do {
		write_finish(l);
		results_forget(l->results, worker);
	} while (link->peer != NULL && may_drain(l) && drain_worker(l, worker) > 0);
	results_forget(l->results, worker);
}

int
drain_more(struct ledger *l)
{
	if (!may_drain(l))
		return 0;
	for (uint32_t worker = 1; worker <= l->env->workers; worker++) {
		struct link *link = &l->link[PEER_WORKER(worker)];

		if (link->peer != NULL && results_left(l->results, worker) > 0 && link_readable(link))
			return 1;
	}
	return 0;
}
