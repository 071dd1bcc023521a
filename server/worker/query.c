/* worker/query.c - questions to the indexer.  A question is kept with its request until it is
 * answered: a restarted indexer is asked again, and while there is none (or its ring is full)
 * questions wait in w->unsent.  Nobody is told "gone" because an index is behind. */
#include "worker/worker.h"

#include <stdlib.h>

const uint8_t *
query_input(const struct request *r)
{
	return r->query.big ? r->query.big : r->query.small;
}

/* It is answered or given up; its input stays until the next question or the request's end. */
static void
settle(struct request *r)
{
	r->query.what = r->query.sent = 0;
	timer_clear(r->conn->w, &r->timer);
	list_del(&r->node);
}

/* 1 if it went into the ring. */
static int
send_query(struct worker *w, struct request *r)
{
	struct query *q = &r->query;
	struct msg_query *msg;
	uint32_t len = (uint32_t)sizeof *msg + q->in_len;

	if (!link_up(&w->indexer))
		return 0;
	msg = link_reserve(&w->indexer, MSG_QUERY, len);
	if (!msg)
		return 0;
	*msg = (struct msg_query){.tag = slab_id(r), .min_applied = q->min_applied,
	    .what = q->what, .max_bytes = q->max_bytes};
	memcpy(msg + 1, query_input(r), q->in_len);
	link_commit(&w->indexer, len);
	q->sent = 1;
	list_add(&w->queries, &r->node);
	count(w, COUNT_QUERIES, 1);
	return 1;
}

static void
on_expired(struct worker *w, struct timer *t)
{
	struct request *r = container_of(t, struct request, timer);

	(void)w;
	settle(r);
	request_fail(r, ALM_EUNAVAILABLE, "the index did not answer in time; try again");
}

static int
keep_input(struct query *q, const struct alm_slice *parts, uint32_t n)
{
	uint64_t len = 0;
	uint8_t *to;
	uint32_t i;

	for (i = 0; i < n; i++)
		len += parts[i].len;
	if (len > UINT32_MAX / 2)
		return err_set(ALM_ETOOBIG, "a question of %llu bytes", (unsigned long long)len);
	to = q->small;
	if (len > sizeof q->small) {
		to = q->big = malloc(len);
		if (!to)
			return err_set(ALM_ENOMEM, "out of memory for a question");
	}
	for (i = 0; i < n; i++) {
		if (parts[i].len)
			memcpy(to, parts[i].data, parts[i].len);
		to += parts[i].len;
	}
	q->in_len = (uint32_t)len;
	return ALM_OK;
}

int
query_ask(struct request *r, uint32_t what, const struct alm_slice *parts, uint32_t n,
    uint32_t max_bytes, uint64_t min_applied, uint64_t by)
{
	struct worker *w = r->conn->w;
	struct query *q = &r->query;
	int st;

	query_release(r);
	st = keep_input(q, parts, n);
	if (st)
		return st;
	if (sizeof(struct msg_query) + q->in_len > link_max(&w->indexer) && link_up(&w->indexer))
		return err_set(ALM_ETOOBIG, "a question of %u bytes does not fit", q->in_len);
	q->what = q->last = what;
	q->max_bytes = max_bytes;
	q->min_applied = min_applied;
	q->asked = w->now;
	r->timer.fire = on_expired;
	st = timer_set(w, &r->timer, by);
	if (st)
		return st;
	if (!list_empty(&w->unsent) || !send_query(w, r))
		list_add(&w->unsent, &r->node);
	worker_wake(w);
	return ALM_OK;
}

void
query_release(struct request *r)
{
	if (r->query.what)
		settle(r);
	free(r->query.big);
	r->query.big = NULL;
}

void
query_answer(struct worker *w, const void *payload, uint32_t len)
{
	const uint8_t *data = (const uint8_t *)payload + sizeof(struct msg_answer);
	struct msg_answer a;
	struct request *r;

	if (len < sizeof a)
		return;
	memcpy(&a, payload, sizeof a);
	if (a.len > len - sizeof a)
		return;
	r = slab_get(&w->requests, a.tag);
	if (!r || !r->query.sent)
		return; /* its connection has gone, or it waited too long */
	hist_add(&w->self->hist[HIST_QUERY], w->now - r->query.asked);
	settle(r);
	switch (r->kind) {
	case REQ_FETCH:
		fetch_answer(r, &a, data);
		break;
	case REQ_PURGE:
		services_answer(r, &a, data);
		break;
	default:
		lookup_answer(r, &a, data);
		break;
	}
}

void
query_run(struct worker *w)
{
	while (!list_empty(&w->unsent))
		if (!send_query(w, container_of(w->unsent.next, struct request, node)))
			return;
}

void
query_indexer_new(struct worker *w)
{
	struct node *n, again;

	list_init(&again);
	list_splice(&again, &w->queries);
	list_splice(&again, &w->unsent);
	for (n = again.next; n != &again; n = n->next) {
		struct query *q = &container_of(n, struct request, node)->query;

		count(w, COUNT_QUERIES_RESENT, q->sent);
		q->sent = 0;
	}
	list_splice(&w->unsent, &again);
}
