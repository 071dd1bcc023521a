/* worker/timers.c - all deadlines of a worker in one binary heap with one libevent timer behind it,
 * which is armed for the earliest and only moved when that comes to be earlier: a deadline that
 * is set and cleared again costs at most one early wake-up. */
#include "worker/worker.h"

#include <stdlib.h>

static void
place(struct timers *t, uint32_t slot, struct timer *timer)
{
	t->heap[slot] = timer;
	timer->slot = slot;
}

static void
sift_up(struct timers *t, struct timer *timer, uint32_t slot)
{
	while (slot > 1 && t->heap[slot / 2]->at > timer->at) {
		place(t, slot, t->heap[slot / 2]);
		slot /= 2;
	}
	place(t, slot, timer);
}

static void
sift_down(struct timers *t, struct timer *timer, uint32_t slot)
{
	uint32_t child;

	while ((child = slot * 2) <= t->n) {
		if (child < t->n && t->heap[child + 1]->at < t->heap[child]->at)
			child++;
		if (t->heap[child]->at >= timer->at)
			break;
		place(t, slot, t->heap[child]);
		slot = child;
	}
	place(t, slot, timer);
}

void
timer_clear(struct worker *w, struct timer *timer)
{
	struct timers *t = &w->timers;
	struct timer *last;
	uint32_t slot = timer->slot;

	if (!slot)
		return;
	timer->slot = 0;
	last = t->heap[t->n--];
	if (last == timer)
		return;
	if (slot > 1 && t->heap[slot / 2]->at > last->at)
		sift_up(t, last, slot);
	else
		sift_down(t, last, slot);
}

int
timer_set(struct worker *w, struct timer *timer, uint64_t at)
{
	struct timers *t = &w->timers;
	struct timer **heap;
	uint32_t cap;

	timer_clear(w, timer);
	if (t->n + 2 > t->cap) {
		cap = t->cap ? t->cap * 2 : 64;
		heap = realloc(t->heap, cap * sizeof *heap);
		if (!heap)
			return err_set(ALM_ENOMEM, "out of memory for %u timers", cap);
		t->heap = heap;
		t->cap = cap;
	}
	timer->at = at;
	sift_up(t, timer, ++t->n);
	return ALM_OK;
}

void
timers_arm(struct worker *w)
{
	struct timers *t = &w->timers;
	struct timeval tv;
	uint64_t at, now;

	if (!t->n || t->heap[1]->at >= t->armed)
		return;
	at = t->heap[1]->at;
	now = clock_mono();
	now = at > now ? at - now : 0;
	tv.tv_sec = (time_t)(now / 1000000);
	tv.tv_usec = (suseconds_t)(now % 1000000);
	if (event_add(&t->ev, &tv) == 0)
		t->armed = at;
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct worker *w = arg;
	struct timers *t = &w->timers;
	struct timer *timer;

	(void)fd;
	(void)what;
	worker_wake(w);
	t->armed = UINT64_MAX;
	w->now = clock_mono();
	while (t->n && t->heap[1]->at <= w->now) {
		timer = t->heap[1];
		timer_clear(w, timer);
		count(w, COUNT_TIMERS, 1);
		timer->fire(w, timer);
	}
}

int
timers_init(struct worker *w)
{
	w->timers.armed = UINT64_MAX;
	if (event_assign(&w->timers.ev, w->env->base, -1, 0, on_timer, w))
		return err_set(ALM_ENOMEM, "could not set up the timer of a worker");
	return ALM_OK;
}

void
timers_end(struct worker *w)
{
	if (event_initialized(&w->timers.ev))
		event_del(&w->timers.ev);
	free(w->timers.heap);
	w->timers.heap = NULL;
}
