/* ctl/bench_recv.c - receivers: read, check order, count duplicates.
 *
 * Each queue belongs to one receiver.  A sender's numbers rise within a queue; a number seen
 * before is a duplicate, one below the highest of its queue that was not seen is out of order.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/ctl/bench.h"
#include "contrib/ctl/opts.h"

static int
mark(struct track *t, uint64_t number)
{
	uint64_t byte = number / 8, need;
	uint8_t bit = (uint8_t)(1u << (number % 8)), *more;

	if (byte >= t->bits) {
		need = byte * 2 + 4096;
		more = realloc(t->seen, need);
		if (more == NULL)
			return 0;
		memset(more + t->bits, 0, need - t->bits);
		t->seen = more;
		t->bits = need;
	}
	if (t->seen[byte] & bit)
		return 1;
	t->seen[byte] |= bit;
	return 0;
}

static void
check(struct receiver *r, const struct alm_msg *m, struct alm_slice body, uint64_t now)
{
	struct bench_head h;
	struct track *t;
	uint32_t q = alm_msg_queue(m);

	if (body.len < sizeof h) {
		r->foreign++;
		return;
	}
	memcpy(&h, body.data, sizeof h);
	if (h.magic != BENCH_MAGIC || h.run != r->b->run || h.sender >= r->b->connections ||
	    h.number > (UINT64_C(1) << 36) || q >= r->b->queues) {
		r->foreign++;
		return;
	}
	t = &r->tracks[h.sender];
	if (mark(t, h.number)) {
		r->duplicates++;
		return;
	}
	if (h.number + 1 < t->last[q])
		r->out_of_order++;
	else
		t->last[q] = h.number + 1;
	r->received++;
	atomic_fetch_add_explicit(&r->b->received_now, 1, memory_order_relaxed);
	hist_add(&r->latency, now > h.due ? now - h.due : 0);
}

static void
take(struct receiver *r, const struct alm_msg *m)
{
	struct alm_slice body = alm_msg_body(m);
	uint64_t now = clock_mono();

	if (r->first == 0)
		r->first = now;
	r->last = now;
	r->bytes += body.len;
	if (r->tracks != NULL) {
		check(r, m, body, now);
		return;
	}
	r->received++;
	atomic_fetch_add_explicit(&r->b->received_now, 1, memory_order_relaxed);
}

static void *
receiver_main(void *arg)
{
	struct receiver *r = arg;
	struct alm_msg m = {.size = sizeof m};

	while (!atomic_load_explicit(&r->b->end, memory_order_relaxed)) {
		int status = alm_next(r->sub, &m, 100);

		if (status == ALM_OK) {
			take(r, &m);
		} else if (status != ALM_ETIMEOUT) {
			r->status = status;
			(void)snprintf(r->why, sizeof r->why, "%s", alm_error(r->client));
			break;
		}
	}
	return NULL;
}

static int
make_tracks(struct receiver *r, uint32_t senders)
{
	r->tracks = calloc(senders, sizeof *r->tracks);
	if (r->tracks == NULL)
		return ALM_ENOMEM;
	for (uint32_t i = 0; i < senders; i++) {
		r->tracks[i].last = calloc(r->b->queues, sizeof *r->tracks[i].last);
		if (r->tracks[i].last == NULL)
			return ALM_ENOMEM;
	}
	return ALM_OK;
}

static int
receiver_init(struct bench *b, struct receiver *r, uint32_t id, uint32_t n, uint32_t start,
    uint32_t senders)
{
	struct alm_sub_opts o = {.size = sizeof o, .topic = b->topic, .queue = ALM_QUEUE_ANY,
	    .start = start};
	int status;

	r->b = b;
	r->id = id;
	r->queues = calloc(b->queues, sizeof *r->queues);
	if (r->queues == NULL || (senders > 0 && make_tracks(r, senders) != ALM_OK))
		return ALM_ENOMEM;
	for (uint32_t q = id; q < b->queues; q += n)
		r->queues[r->n_queues++] = q;
	o.queues = r->queues;
	o.n_queues = r->n_queues;
	status = bench_connect(b, 0, &r->client, r->why, sizeof r->why);
	if (status == ALM_OK) {
		status = alm_subscribe(r->client, &o, &r->sub);
		if (status != ALM_OK)
			(void)snprintf(r->why, sizeof r->why, "%s", alm_error(r->client));
	}
	return status;
}

int
receivers_start(struct bench *b, struct receiver *all, uint32_t n, uint32_t start, uint32_t senders)
{
	for (uint32_t i = 0; i < n; i++) {
		int status = receiver_init(b, &all[i], i, n, start, senders);

		if (status != ALM_OK)
			return fail_status(b->c, status, "receiver %u: %s", i, all[i].why);
	}
	for (uint32_t i = 0; i < n; i++)
		if (pthread_create(&all[i].thread, NULL, receiver_main, &all[i]) != 0) {
			all[i].thread = 0;
			return fail(b->c, RC_FAILED, "could not start thread %u", i);
		}
	return RC_OK;
}

void
receivers_join(struct receiver *all, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (all[i].thread != 0)
			(void)pthread_join(all[i].thread, NULL);
		alm_close(all[i].client);
	}
}

void
receivers_free(struct receiver *all, uint32_t n, uint32_t senders)
{
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t s = 0; all[i].tracks != NULL && s < senders; s++) {
			free(all[i].tracks[s].seen);
			free(all[i].tracks[s].last);
		}
		free(all[i].tracks);
		free(all[i].queues);
	}
}
