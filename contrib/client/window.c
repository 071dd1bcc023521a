/* window.c - sealed batches until their callbacks have been called.
 *
 * The server stores a producer's messages only in sequence and refuses a gap (ALM_EORDER).  So if one
 * batch is refused, all later ones are too, and the window goes back: it holds, waits until every
 * batch under way is answered, then sends again from the first that is not stored, in order, with
 * the same numbers; what the server had stored after all it answers as a duplicate.
 *
 * Two more rules make that safe:
 * - While the server does not know the producer it accepts any sequence.  So the first batch of a
 *   producer travels alone (window_next): a later one that got in before it would make it look like
 *   a duplicate, and it would be lost.
 * - A batch at the head that is refused with ALM_EORDER follows a batch that was given up.  Then nothing
 *   from it on is stored: the rest is numbered anew under another producer.
 *
 * Answers may come out of order; callbacks are made only from the head, so exactly once and in order.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

/* After so long without an ack the server may have forgotten the producer among many. */
#define KNOWN_US 60000000u

void
window_add(struct alm_client *c, struct batch *b)
{
	*(c->tail ? &c->tail->next : &c->head) = b;
	c->tail = b;
	if (!c->unsent)
		c->unsent = b;
}

/* ---- sending ---------------------------------------------------------------------------- */

struct batch *
window_next(struct alm_client *c, struct batch *after, uint32_t ahead)
{
	struct batch *b = after ? after->next : c->unsent;

	if (c->hold || c->inflight + ahead >= c->o.max_inflight)
		return NULL;
	while (b && (b->sent || b->answered))
		b = b->next;
	if (!b)
		return NULL;
	if (b == c->head && c->known && mono_us() - c->last_ack > KNOWN_US)
		c->known = 0;
	if (b->producer != c->known && b != c->head)
		return NULL;
	return b;
}

void
window_sent(struct alm_client *c, struct batch *b)
{
	if (b->tries++)
		c->st.resent++;
	b->sent = 1;
	c->inflight++;
	c->st.batches++;
	c->unsent = b->next;
}

/* Everything from the head on that is not definitely answered is to be sent (again). */
static void
rewind_all(struct alm_client *c)
{
	struct batch *b;

	c->unsent = NULL;
	c->inflight = 0;
	for (b = c->head; b; b = b->next) {
		b->sent = 0;
		if (b->answered && (b->status == ALM_EORDER || status_retriable(b->status)))
			b->answered = 0;
		if (!b->answered && !c->unsent)
			c->unsent = b;
	}
}

static void
renumber(struct alm_client *c)
{
	struct batch *b;

	c->producer = random64(c) | 1;
	c->sequence = 1;
	for (b = c->head; b; b = b->next) {
		if (b->answered)
			continue;
		batch_number(b, c->producer, c->sequence);
		c->sequence += b->n;
	}
}

/* ---- answers ---------------------------------------------------------------------------- */

static int
answer_take(struct batch *b, const struct wire_head *h, struct wire_in *in)
{
	struct alm_slice list;
	uint32_t n;

	b->topic_id = wire_u32(in);
	b->ack_queue = wire_u32(in);
	n = wire_u32(in);
	b->duplicate = wire_u32(in);
	b->position = wire_u64(in);
	(void)wire_u64(in); /* index */
	b->first_offset = wire_u64(in);
	if (n != b->n)
		in->bad = 1;
	if (in->bad || !(h->flags & WIRE_F_SCATTER))
		return in->bad ? ALM_EPROTO : ALM_OK;
	list = wire_bytes(in, (uint64_t)n * 16);
	if (in->bad)
		return ALM_EPROTO;
	b->scatter = malloc(list.len);
	if (b->scatter)
		memcpy(b->scatter, list.data, list.len);
	else
		b->ack_queue = ALM_QUEUE_ANY; /* stored all the same: only its place stays unknown */
	return ALM_OK;
}

/* One batch is answered for good: call back for each message. It is out of every list. */
static void
finish(struct alm_client *c, struct batch *b)
{
	struct alm_ack ack = {.size = sizeof ack, .status = b->status, .topic_id = b->topic_id,
	    .queue = b->ack_queue, .position = b->position, .duplicate = b->duplicate,
	    .detail = b->detail ? b->detail : ""};
	uint32_t i;

	c->st.buffered -= b->frame.len;
	if (b->status == ALM_OK)
		c->st.acked += b->n;
	else
		c->st.failed += b->n;
	c->st.duplicates += b->duplicate ? b->n : 0;
	c->progress++;
	c->in_callback++;
	for (i = 0; i < b->n; i++) {
		if (!b->waiters[i].cb)
			continue;
		ack.offset = b->first_offset == UINT64_MAX ? UINT64_MAX : b->first_offset + i;
		if (b->scatter) {
			memcpy(&ack.queue, b->scatter + 16u * i, sizeof ack.queue);
			memcpy(&ack.offset, b->scatter + 16u * i + 8, sizeof ack.offset);
		} else if (b->ack_queue == ALM_QUEUE_ANY && b->n > 1) {
			ack.offset = UINT64_MAX;
		}
		b->waiters[i].cb(b->waiters[i].arg, &ack);
	}
	c->in_callback--;
	batch_recycle(c, b);
}

static void
pop(struct alm_client *c)
{
	struct batch *b = c->head;

	c->head = b->next;
	if (!c->head)
		c->tail = NULL;
	if (c->unsent == b)
		c->unsent = b->next;
	if (b == c->sending)
		c->sending = NULL; /* only after its connection was given up */
	b->next = NULL;
	finish(c, b);
}

/* Hold the window and come back to it: at once if the server gave no reason to wait. */
static void
go_back(struct alm_client *c, uint32_t retry_ms)
{
	uint64_t ms = c->o.backoff_min_ms;
	uint32_t i;

	for (i = 0; i < c->hold_tries && ms < 1000; i++)
		ms *= 2;
	if (ms < retry_ms)
		ms = retry_ms;
	if (!c->hold)
		c->hold_tries++;
	c->hold = 1;
	c->hold_until = mono_us() + ms * 500 + random64(c) % (ms * 1000);
}

/* Call back for what is answered, from the head. */
static void
advance(struct alm_client *c, uint32_t retry_ms)
{
	struct batch *b;

	while ((b = c->head) && b->answered && !c->hold) {
		if (b->status == ALM_EORDER) {
			c->rotate = 1;
			go_back(c, 0);
			if (c->hold_tries == 1)
				c->hold_until = 0; /* the first time there is nothing to wait for */
			return;
		}
		if (status_retriable(b->status)) {
			go_back(c, retry_ms);
			return;
		}
		if (b->status == ALM_OK) {
			c->known = b->producer;
			c->last_ack = mono_us();
			c->hold_tries = 0;
		}
		pop(c);
	}
}

void
window_reply(struct alm_client *c, uint64_t serial, int status, const char *detail,
    uint32_t retry_ms, const struct wire_head *h, struct wire_in *in)
{
	struct batch *b;

	for (b = c->head; b && b->serial != serial; b = b->next)
		;
	/* Unknown: of a batch that was given up.  Not under way: a second answer. */
	if (!b || !b->sent || b->answered)
		return;
	if (status == ALM_OK && answer_take(b, h, in) != ALM_OK)
		return;
	b->answered = 1;
	b->status = status;
	b->sent = 0;
	c->inflight--;
	if (status != ALM_OK) {
		b->first_offset = UINT64_MAX;
		b->ack_queue = ALM_QUEUE_ANY;
		free(b->detail);
		b->detail = strdup(detail);
	}
	advance(c, retry_ms);
}

void
window_lost(struct alm_client *c)
{
	rewind_all(c);
	if (c->rotate)
		renumber(c);
	c->hold = c->rotate = 0;
}

/* ---- time --------------------------------------------------------------------------------- */

static uint64_t
give_up_at(const struct alm_client *c)
{
	return c->head->since + (uint64_t)c->o.delivery_timeout_ms * 1000;
}

/* The head has been tried for long enough. Its answer, should it come, finds nobody. */
static void
give_up(struct alm_client *c)
{
	struct batch *b = c->head;

	if (b == c->sending) {
		conn_lost(c, "a batch did not leave within delivery_timeout");
		return; /* now it is whole again: next time */
	}
	if (b->sent)
		c->inflight--;
	b->sent = 0;
	b->answered = 1;
	if (!b->detail)
		b->detail = strdup(c->st.connected ? "no answer within delivery_timeout"
		                                   : c->error);
	b->status = ALM_ETIMEOUT;
	b->first_offset = UINT64_MAX;
	b->ack_queue = ALM_QUEUE_ANY;
	pop(c);
}

void
window_step(struct alm_client *c, uint64_t now)
{
	while (c->head && now >= give_up_at(c) && !c->closing) {
		uint64_t had = c->head->serial;

		give_up(c);
		if (c->head && c->head->serial == had)
			break;
	}
	if (c->hold && c->inflight == 0 && now >= c->hold_until) {
		rewind_all(c);
		if (c->rotate)
			renumber(c);
		c->hold = c->rotate = 0;
	}
	advance(c, 0);
}

uint64_t
window_timer(const struct alm_client *c)
{
	uint64_t at = c->head ? give_up_at(c) : FOREVER;

	if (c->hold && c->inflight == 0 && c->hold_until < at)
		at = c->hold_until;
	return at;
}

/* The client closes: everything unanswered fails, in order. */
void
window_abort(struct alm_client *c, int status, const char *detail)
{
	struct batch *b;

	batch_seal_due(c, FOREVER);
	while ((b = c->head)) {
		if (!b->answered || b->status == ALM_EORDER || status_retriable(b->status)) {
			b->answered = 1;
			b->status = status;
			b->first_offset = UINT64_MAX;
			b->ack_queue = ALM_QUEUE_ANY;
			free(b->detail);
			b->detail = strdup(detail);
		}
		pop(c);
	}
}

/* ---- blocking forms ------------------------------------------------------------------------- */

struct publish_wait {
	struct alm_ack ack;
	uint32_t done, abandoned;
	char text[256];
};

static void
publish_acked(void *arg, const struct alm_ack *ack)
{
	struct publish_wait *w = arg;

	if (w->abandoned) {
		free(w);
		return;
	}
	w->ack = *ack;
	w->ack.detail = "";
	snprintf(w->text, sizeof w->text, "%s",
	    ack->detail[0] ? ack->detail : alm_status_text(ack->status));
	w->done = 1;
}

int
alm_publish(struct alm_client *c, const struct alm_pub *m, struct alm_ack *ack)
{
	uint64_t deadline = client_deadline(c);
	struct publish_wait *w;
	int st;

	if (c->in_callback)
		return client_fail(c, ALM_EBUSY, "alm_publish inside a callback");
	w = calloc(1, sizeof *w);
	if (!w)
		return client_fail(c, ALM_ENOMEM, "out of memory");
	while ((st = alm_publish_async(c, m, publish_acked, w)) == ALM_EAGAIN &&
	    mono_us() < deadline)
		(void)alm_poll(c, 10);
	if (st != ALM_OK) {
		free(w);
		return st;
	}
	batch_seal_due(c, FOREVER);
	st = client_wait(c, &w->done, deadline);
	if (st != ALM_OK) {
		w->abandoned = 1; /* freed by its callback, which comes in any case */
		return client_fail(c, st, "no acknowledgement within %u ms; the message may still "
		    "be stored", c->o.timeout_ms);
	}
	st = w->ack.status;
	if (ack)
		*ack = w->ack;
	if (st != ALM_OK)
		client_fail(c, st, "%s", w->text);
	free(w);
	return st;
}

int
alm_flush(struct alm_client *c)
{
	uint64_t deadline = client_deadline(c), now;
	int st = ALM_OK;

	while (st == ALM_OK && (c->head || c->open_first)) {
		batch_seal_due(c, FOREVER);
		now = mono_us();
		if (now >= deadline)
			return client_fail(c, ALM_ETIMEOUT, "%llu bytes are still unacknowledged",
			    (unsigned long long)c->st.buffered);
		now = (deadline - now + 999) / 1000;
		st = alm_poll(c, now < 1000 ? (int)now : 1000);
	}
	return st;
}
