/* ctl/cmd_sub.c - consume: sub and tail.
 *
 * In a group, what was consumed is committed only after the output was written and flushed: if
 * the reader of the output or this process fails, the next run begins where the output ended.
 */
#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "contrib/ctl/cmds.h"
#include "contrib/ctl/opts.h"
#include "contrib/ctl/session.h"

#define COMMIT_MESSAGES 1000u
#define COMMIT_EVERY_US 200000u
#define WAIT_MS 200 /* how soon ^C is noticed */

struct consumer {
	struct call *c;
	struct alm_client *client;
	struct alm_sub *sub;
	const char *format;
	uint64_t count, limit;  /* written; stop after, 0: never */
	uint64_t idle_us, last; /* stop after silence; monotonic time of the last message */
	int commits;            /* this is a group and it commits */
	uint64_t pending, committed_at;
	uint64_t *skip_below;   /* tail: offsets shown already, one for each queue */
	uint32_t n_skip;
};

/* Write out, then commit.  RC_*; the reader of stdout having gone ends the command quietly. */
static int
settle(struct consumer *s)
{
	int e = out_flush(s->c->out), status;

	if (e != 0)
		return e == EPIPE ? RC_OK : RC_FAILED; /* main() reports it */
	if (!s->commits || s->pending == 0)
		return RC_OK;
	status = alm_sub_commit(s->sub);
	if (status != ALM_OK)
		return session_fail(s->c, s->client, status, "offsets of the group were not committed");
	s->pending = 0;
	s->committed_at = clock_mono();
	return RC_OK;
}

static void
show(struct consumer *s, const struct alm_msg *m)
{
	struct message_view v;
	uint32_t q = alm_msg_queue(m);

	s->last = clock_mono();
	s->pending++;
	if (q < s->n_skip && alm_msg_offset(m) < s->skip_below[q])
		return;
	message_of(m, s->c->args[0], &v);
	put_message(s->c, s->format, &v);
	s->count++;
}

static int
finished(const struct consumer *s)
{
	return session_stop || (s->limit > 0 && s->count >= s->limit) ||
	    (s->idle_us > 0 && clock_mono() - s->last >= s->idle_us);
}

static int
wait_ms(const struct consumer *s)
{
	uint64_t spent, left;

	if (s->idle_us == 0)
		return WAIT_MS;
	spent = clock_mono() - s->last;
	left = spent < s->idle_us ? (s->idle_us - spent + 999) / 1000 : 0;
	return left < WAIT_MS ? (int)left : WAIT_MS;
}

static int
consume(struct consumer *s)
{
	struct alm_msg m = {.size = sizeof m};
	int status, rc = RC_OK;

	s->last = s->committed_at = clock_mono();
	while (rc == RC_OK && !finished(s)) {
		status = alm_next(s->sub, &m, 0);
		if (status == ALM_ETIMEOUT) { /* about to wait: let the reader see what there is */
			rc = settle(s);
			if (rc != RC_OK || out_flush(s->c->out) != 0)
				return rc;
			status = alm_next(s->sub, &m, wait_ms(s));
		}
		if (status == ALM_OK) {
			show(s, &m);
			if (s->pending >= COMMIT_MESSAGES ||
			    (s->commits && clock_mono() - s->committed_at > COMMIT_EVERY_US))
				rc = settle(s);
			if (out_error(s->c->out) != 0)
				return rc;
		} else if (status != ALM_ETIMEOUT) {
			rc = session_fail(s->c, s->client, status, "the subscription ended");
		}
	}
	return rc == RC_OK ? settle(s) : rc;
}

/* ---- sub --------------------------------------------------------------------------------------- */

static int
set_queues(const struct call *c, struct alm_sub_opts *o, uint32_t **queues)
{
	uint32_t n = opt_count(c, "queue");
	int rc = RC_OK;

	o->queue = ALM_QUEUE_ANY;
	if (n == 0)
		return RC_OK;
	*queues = calloc(n, sizeof **queues);
	if (*queues == NULL)
		return fail(c, RC_FAILED, "out of memory");
	for (uint32_t i = 0; rc == RC_OK && i < n; i++)
		rc = queue_number(c, opt_nth(c, "queue", i), &(*queues)[i]);
	if (n == 1) {
		o->queue = (*queues)[0];
	} else {
		o->queues = *queues;
		o->n_queues = n;
	}
	return rc;
}

/* An offset means something in one queue only. */
static int
check_topic(const struct call *c, struct alm_client *client, struct alm_sub_opts *o)
{
	struct alm_topic t;
	int rc = need_topic(c, client, o->topic, &t);

	if (rc != RC_OK)
		return rc;
	for (uint32_t i = 0; i < opt_count(c, "queue"); i++)
		if (strtoul(opt_nth(c, "queue", i), NULL, 10) >= t.queues)
			return fail(c, RC_USAGE, "topic %s has no queue %s: it has %u", o->topic,
			    opt_nth(c, "queue", i), t.queues);
	if (o->start != ALM_START_OFFSET || o->queue != ALM_QUEUE_ANY)
		return RC_OK;
	if (t.queues != 1)
		return fail(c, RC_USAGE, "--from offset:N needs one --queue: topic %s has %u", o->topic,
		    t.queues);
	o->queue = 0;
	return RC_OK;
}

static int
run_sub(struct consumer *s, struct alm_sub_opts *o)
{
	struct call *c = s->c;
	int status, rc = session_open(c, &s->client);

	if (rc == RC_OK)
		rc = check_topic(c, s->client, o);
	if (rc != RC_OK)
		return rc;
	status = alm_subscribe(s->client, o, &s->sub);
	if (status != ALM_OK)
		return session_fail(c, s->client, status, "topic \"%s\"", o->topic);
	begin_messages(c);
	rc = consume(s);
	end_messages(c);
	if (alm_sub_gap(s->sub) > 0)
		note(c, "%" PRIu64 " messages were removed by retention before they could be read",
		    alm_sub_gap(s->sub));
	return rc;
}

int
cmd_sub(struct call *c)
{
	struct consumer s = {.c = c, .format = opt_text(c, "format"), .limit = (uint64_t)opt_num(c, "count"),
	    .idle_us = (uint64_t)opt_num(c, "idle")};
	struct alm_sub_opts o = {.size = sizeof o, .topic = c->args[0], .group = opt_text(c, "group")};
	const char *from = opt_text(c, "from"), **tags = NULL;
	uint32_t *queues = NULL;
	struct place place;
	int rc;

	s.commits = o.group != NULL && !opt_given(c, "no-commit");
	rc = check_format(c, s.format);
	if (rc == RC_OK)
		rc = parse_place(c, "from", from != NULL ? from : o.group != NULL ? "start" : "end", &place);
	if (rc == RC_OK) {
		o.start = place.start;
		o.start_value = place.value;
		rc = set_queues(c, &o, &queues);
	}
	o.n_tags = opt_count(c, "tag");
	if (rc == RC_OK && o.n_tags > 0) {
		tags = calloc(o.n_tags, sizeof *tags);
		for (uint32_t i = 0; tags != NULL && i < o.n_tags; i++)
			tags[i] = opt_nth(c, "tag", i);
		rc = tags != NULL ? RC_OK : fail(c, RC_FAILED, "out of memory");
		o.tags = tags;
	}
	if (rc == RC_OK) {
		session_catch_signals();
		rc = run_sub(&s, &o);
	}
	alm_close(s.client);
	free(queues);
	free(tags);
	return rc;
}

/* ---- tail -------------------------------------------------------------------------------------- */

struct recent {
	struct alm_batch_view **views; /* keep the messages alive */
	uint32_t n_views, cap_views;
	struct alm_msg *msgs;
	uint32_t n, cap;
};

static int
keep_view(struct recent *r, struct alm_batch_view *v)
{
	struct alm_msg m = {.size = sizeof m};
	void *more;

	if (r->n_views == r->cap_views) {
		r->cap_views = r->cap_views * 2 + 16;
		more = realloc(r->views, r->cap_views * sizeof(struct alm_batch_view *));
		if (more == NULL)
			return ALM_ENOMEM;
		r->views = more;
	}
	r->views[r->n_views++] = v;
	while (alm_batch_view_next(v, &m) == 1) {
		if (r->n == r->cap) {
			r->cap = r->cap * 2 + 64;
			more = realloc(r->msgs, r->cap * sizeof *r->msgs);
			if (more == NULL)
				return ALM_ENOMEM;
			r->msgs = more;
		}
		r->msgs[r->n++] = m;
	}
	return ALM_OK;
}

/* The last n messages of a queue; *end is its end then. */
static int
fetch_last(struct alm_client *client, const char *topic, uint32_t queue, uint64_t n, struct recent *r,
    uint64_t *end)
{
	struct alm_fetch_opts f = {.size = sizeof f, .topic = topic, .queue = queue};
	struct alm_batch_view *v;
	uint64_t begin;
	int status = alm_bounds(client, topic, queue, &begin, end);

	f.offset = *end - begin > n ? *end - n : begin;
	while (status == ALM_OK && f.offset < *end) {
		uint64_t left = *end - f.offset;

		f.max_messages = left > 10000 ? 10000u : (uint32_t)left;
		status = alm_fetch(client, &f, &v);
		if (status != ALM_OK)
			break;
		status = keep_view(r, v);
		if (v->next_offset <= f.offset)
			break;
		f.offset = v->next_offset;
	}
	return status;
}

static int
by_position(const void *a, const void *b)
{
	const struct alm_msg *x = a, *y = b;

	return x->position < y->position ? -1 : x->position > y->position;
}

static int
show_recent(struct consumer *s, uint32_t queues)
{
	uint64_t n = (uint64_t)opt_num(s->c, "last");
	struct recent r = {0};
	struct message_view v;
	int status = ALM_OK;

	for (uint32_t q = 0; status == ALM_OK && q < queues; q++)
		status = fetch_last(s->client, s->c->args[0], q, n, &r, &s->skip_below[q]);
	if (status == ALM_OK && r.n > 0)
		qsort(r.msgs, r.n, sizeof r.msgs[0], by_position);
	for (uint32_t i = r.n > n ? r.n - (uint32_t)n : 0; status == ALM_OK && i < r.n; i++) {
		message_of(&r.msgs[i], s->c->args[0], &v);
		put_message(s->c, s->format, &v);
	}
	for (uint32_t i = 0; i < r.n_views; i++)
		alm_batch_free(r.views[i]);
	free(r.views);
	free(r.msgs);
	return status == ALM_OK ? RC_OK : session_fail(s->c, s->client, status, "topic \"%s\"", s->c->args[0]);
}

int
cmd_tail(struct call *c)
{
	struct alm_sub_opts o = {.size = sizeof o, .topic = c->args[0], .queue = ALM_QUEUE_ANY,
	    .start = ALM_START_END};
	struct consumer s = {.c = c, .format = opt_text(c, "format")};
	struct alm_topic t;
	int status, rc = check_format(c, s.format);

	if (rc == RC_OK)
		rc = session_open(c, &s.client);
	if (rc == RC_OK)
		rc = need_topic(c, s.client, o.topic, &t);
	if (rc == RC_OK && (s.skip_below = calloc(t.queues, sizeof *s.skip_below)) == NULL)
		rc = fail(c, RC_FAILED, "out of memory");
	if (rc == RC_OK && opt_given(c, "follow")) { /* first, so that nothing falls between */
		session_catch_signals();
		status = alm_subscribe(s.client, &o, &s.sub);
		if (status != ALM_OK)
			rc = session_fail(c, s.client, status, "topic \"%s\"", o.topic);
	}
	if (rc == RC_OK) {
		s.n_skip = t.queues;
		begin_messages(c);
		rc = show_recent(&s, t.queues);
		if (rc == RC_OK && s.sub != NULL)
			rc = consume(&s);
		end_messages(c);
	}
	free(s.skip_below);
	alm_close(s.client);
	return rc;
}
