/* ctl/bench_send.c - senders.
 *
 * With a rate, message k of a sender is due at start + k / rate, whatever happened before, and its
 * latency counts from then: a stall of the server delays all messages due meanwhile and shows in
 * every one of them (no coordinated omission).  How late messages left is reported beside it.
 */
#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "contrib/ctl/bench.h"
#include "contrib/ctl/opts.h"

#define DRAIN_US 10000000u /* how long to wait for the last acks without any progress */

static void
on_ack(void *arg, const struct alm_ack *a)
{
	struct slot *slot = arg;
	struct sender *s = slot->owner;
	uint64_t now = clock_mono();

	s->last_answer = now;
	s->in_flight--;
	slot->next = s->free_slots;
	s->free_slots = slot;
	if (a->status != ALM_OK) {
		if (s->failed++ == 0)
			(void)snprintf(s->why, sizeof s->why, "%s", a->detail);
		return;
	}
	s->acked++;
	s->duplicates += a->duplicate;
	atomic_fetch_add_explicit(&s->b->acked_now, 1, memory_order_relaxed);
	hist_add(&s->latency, now > slot->due ? now - slot->due : 0);
}

/* When the next message is due; 0: at once. */
static uint64_t
due_time(const struct sender *s)
{
	const struct bench *b = s->b;

	if (b->rate == 0)
		return 0;
	/* The senders' schedules interleave. */
	return b->started +
	    (uint64_t)((unsigned __int128)(s->sent * b->connections + s->id) * 1000000 / b->rate);
}

static int
wait_due(struct sender *s, uint64_t due)
{
	uint64_t now;

	while ((now = clock_mono()) < due) {
		int status = alm_poll(s->client, due - now > 2000 ? (int)((due - now) / 1000) : 0);

		if (status != ALM_OK)
			return status;
	}
	return ALM_OK;
}

static int
send_one(struct sender *s, struct alm_pub *pub, struct bench_head *head, uint64_t due)
{
	struct slot *slot = s->free_slots;
	uint64_t now = clock_mono();
	int status;

	if (due == 0)
		due = now;
	head->number = s->sent;
	head->due = due;
	memcpy((void *)(uintptr_t)pub->body.data, head,
	    pub->body.len < sizeof *head ? pub->body.len : sizeof *head);
	pub->queue = (uint32_t)((s->sent + s->id) % s->b->queues);
	slot->due = due;
	status = alm_publish_async(s->client, pub, on_ack, slot);
	if (status != ALM_OK)
		return status;
	if (s->in_flight++ == 0)
		s->last_answer = now;
	s->free_slots = slot->next;
	s->sent++;
	hist_add(&s->delay, now - due);
	return ALM_OK;
}

/* Let answers come while more than most messages wait. */
static int
drain(struct sender *s, uint64_t most)
{
	while (s->in_flight > most) {
		int status = alm_poll(s->client, 100);

		if (status != ALM_OK)
			return status;
		if (s->in_flight > most && clock_mono() - s->last_answer > DRAIN_US)
			return ALM_ETIMEOUT;
	}
	return ALM_OK;
}

static int
over(const struct sender *s, uint64_t due)
{
	const struct bench *b = s->b;
	uint64_t share = b->limit / b->connections + (s->id < b->limit % b->connections);

	return atomic_load(&s->b->stop) || (b->limit > 0 && s->sent >= share) ||
	    (due > 0 ? due : clock_mono()) >= b->until;
}

static int
run(struct sender *s, struct alm_pub *pub, struct bench_head *head)
{
	int status = ALM_OK;

	while (status == ALM_OK) {
		uint64_t due = due_time(s);

		if (over(s, due))
			break;
		if (due > 0)
			status = wait_due(s, due);
		if (status == ALM_OK && s->in_flight >= s->b->in_flight)
			status = drain(s, s->b->in_flight - 1);
		if (status == ALM_OK)
			status = send_one(s, pub, head, due);
		if (status == ALM_EAGAIN)
			status = drain(s, s->in_flight > 0 ? s->in_flight - 1 : 0);
		else if (status == ALM_OK && s->in_flight == s->b->in_flight)
			status = alm_push(s->client);
	}
	if (status == ALM_OK)
		status = alm_push(s->client);
	return status == ALM_OK ? drain(s, 0) : status;
}

static void *
sender_main(void *arg)
{
	struct sender *s = arg;
	struct bench_head head = {.magic = BENCH_MAGIC, .run = s->b->run, .sender = s->id};
	struct alm_pub pub = {.size = sizeof pub, .topic = s->b->topic};
	char *body = calloc(1, s->b->size + 1);

	if (body == NULL) {
		s->status = ALM_ENOMEM;
		return NULL;
	}
	memset(body, 'x', s->b->size);
	pub.body.data = body;
	pub.body.len = s->b->size;
	s->status = run(s, &pub, &head);
	s->finished = clock_mono();
	if (s->status != ALM_OK && s->why[0] == 0)
		(void)snprintf(s->why, sizeof s->why, "%s", alm_error(s->client));
	free(body);
	return NULL;
}

static int
sender_init(struct bench *b, struct sender *s, uint32_t id)
{
	s->b = b;
	s->id = id;
	s->slots = calloc(b->in_flight, sizeof *s->slots);
	if (s->slots == NULL)
		return ALM_ENOMEM;
	for (uint64_t i = 0; i < b->in_flight; i++) {
		s->slots[i].owner = s;
		s->slots[i].next = s->free_slots;
		s->free_slots = &s->slots[i];
	}
	return bench_connect(b, b->linger_us, &s->client, s->why, sizeof s->why);
}

int
senders_start(struct bench *b, struct sender *all)
{
	uint64_t span = (uint64_t)opt_num(b->c, "duration");

	for (uint32_t i = 0; i < b->connections; i++) {
		int status = sender_init(b, &all[i], i);

		if (status != ALM_OK)
			return fail_status(b->c, status, "connection %u: %s", i, all[i].why);
	}
	b->started = clock_mono();
	b->until = b->limit > 0 && !opt_given(b->c, "duration") ? UINT64_MAX : b->started + span;
	for (uint32_t i = 0; i < b->connections; i++)
		if (pthread_create(&all[i].thread, NULL, sender_main, &all[i]) != 0) {
			all[i].thread = 0;
			return fail(b->c, RC_FAILED, "could not start thread %u", i);
		}
	return RC_OK;
}

void
senders_join(struct bench *b, struct sender *all)
{
	for (uint32_t i = 0; i < b->connections; i++) {
		if (all[i].thread != 0)
			(void)pthread_join(all[i].thread, NULL);
		alm_close(all[i].client);
		all[i].client = NULL;
		free(all[i].slots);
		all[i].slots = NULL;
	}
}
