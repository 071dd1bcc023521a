/* request.c - requests with one reply.
 *
 * A request keeps its frame until it is answered, so that one that may be repeated survives a lost
 * connection.  Its callback is called exactly once, unless the caller gives up first: a blocking call
 * whose deadline passes cancels its request, and the late answer finds nobody.
 */
#include "internal.h"

#include <stdio.h>
#include <stdlib.h>

struct request *
request_new(struct alm_client *c, uint32_t type, uint32_t repeat)
{
	struct request *r = calloc(1, sizeof *r);

	if (!r) {
		client_fail(c, ALM_ENOMEM, "out of memory");
		return NULL;
	}
	r->type = type;
	r->repeat = repeat;
	r->correlation = CORR(CORR_REQUEST, ++c->next_request);
	wire_begin(&r->frame, type, 0, r->correlation);
	return r;
}

static void
request_free(struct request *r)
{
	wire_out_free(&r->frame);
	free(r);
}

static void
unlink_request(struct alm_client *c, struct request **at)
{
	struct request *r = *at;

	*at = r->next;
	if (c->req_last == &r->next)
		c->req_last = at;
}

static struct request **
find(struct alm_client *c, uint64_t correlation)
{
	struct request **at;

	for (at = &c->req_first; *at; at = &(*at)->next)
		if ((*at)->correlation == correlation)
			return at;
	return NULL;
}

/* Out of the list, then the callback: it may make new requests. */
static void
answer(struct alm_client *c, struct request **at, struct reply *reply)
{
	struct request *r = *at;

	unlink_request(c, at);
	c->progress++;
	c->in_callback++;
	if (r->cb)
		r->cb(c, r->arg, reply);
	c->in_callback--;
	request_free(r);
}

static void
answer_status(struct alm_client *c, struct request **at, int status, const char *detail)
{
	struct reply reply = {.status = status, .detail = detail};

	answer(c, at, &reply);
}

static void
transmit(struct alm_client *c, struct request *r)
{
	if (c->state != CONN_UP || r->sent)
		return;
	wire_put(&c->out, r->frame.data, r->frame.len);
	r->sent = 1;
	r->not_before = 0;
}

int
request_send(struct alm_client *c, struct request *r, reply_fn cb, void *arg, uint64_t deadline)
{
	wire_end(&r->frame, 0);
	if (r->frame.bad) {
		request_free(r);
		return client_fail(c, ALM_ENOMEM, "out of memory");
	}
	r->cb = cb;
	r->arg = arg;
	r->deadline = deadline;
	*c->req_last = r;
	c->req_last = &r->next;
	transmit(c, r);
	return ALM_OK;
}

struct run {
	reply_fn cb;
	void *arg;
	uint32_t done;
	int status;
};

static void
run_reply(struct alm_client *c, void *arg, struct reply *reply)
{
	struct run *run = arg;

	run->done = 1;
	run->status = reply->status;
	if (reply->status != ALM_OK) {
		client_fail(c, reply->status, "%s",
		    reply->detail[0] ? reply->detail : alm_status_text(reply->status));
		return;
	}
	if (run->cb)
		run->cb(c, run->arg, reply);
	if (reply->in.bad)
		run->status = client_fail(c, ALM_EPROTO, "the server's answer is malformed");
	else
		run->status = reply->status; /* the callback may have set one */
}

int
request_run(struct alm_client *c, struct request *r, reply_fn cb, void *arg, uint64_t deadline)
{
	struct run run = {.cb = cb, .arg = arg};
	uint64_t correlation = r->correlation;
	struct request **at;
	int st;

	if (c->in_callback) {
		request_free(r);
		return client_fail(c, ALM_EBUSY, "a blocking call inside a callback");
	}
	st = request_send(c, r, run_reply, &run, FOREVER);
	if (st != ALM_OK)
		return st;
	st = client_wait(c, &run.done, deadline);
	if (st == ALM_OK)
		return run.status;
	at = find(c, correlation);
	if (at) {
		r = *at;
		unlink_request(c, at);
		request_free(r);
	}
	if (!c->st.connected) /* say why rather than how long */
		return ALM_ETIMEOUT;
	return client_fail(c, st, "no answer within the timeout");
}

void
request_reply(struct alm_client *c, uint64_t correlation, struct reply *reply)
{
	struct request **at = find(c, correlation);

	if (at)
		answer(c, at, reply);
}

void
request_error(struct alm_client *c, uint64_t correlation, int status, const char *detail,
    uint32_t retry_ms)
{
	struct request **at = find(c, correlation);
	/* These two say that nothing happened; the others leave that open. */
	int nothing = status == ALM_EAGAIN || status == ALM_ENOTLEADER;

	if (!at)
		return;
	if (nothing || ((*at)->repeat && status == ALM_EUNAVAILABLE)) {
		(*at)->sent = 0;
		(*at)->not_before = mono_us() + (retry_ms ? retry_ms : 20) * UINT64_C(1000);
		snprintf(c->error, sizeof c->error, "%s", detail);
		return;
	}
	answer_status(c, at, status, detail);
}

void
requests_up(struct alm_client *c)
{
	struct request *r;

	for (r = c->req_first; r; r = r->next)
		transmit(c, r);
}

void
requests_lost(struct alm_client *c)
{
	struct request **at = &c->req_first;

	while (*at) {
		if ((*at)->sent && !(*at)->repeat) {
			answer_status(c, at, ALM_EUNAVAILABLE,
			    "the connection was lost; the request may have been carried out");
			at = &c->req_first; /* the callback may have changed the list */
			continue;
		}
		(*at)->sent = 0;
		(*at)->not_before = 0;
		at = &(*at)->next;
	}
}

void
requests_step(struct alm_client *c, uint64_t now)
{
	struct request **at = &c->req_first;

	while (*at) {
		struct request *r = *at;

		if (now >= r->deadline) {
			answer_status(c, at, ALM_ETIMEOUT, "no answer within the timeout");
			at = &c->req_first;
			continue;
		}
		if (!r->sent && now >= r->not_before)
			transmit(c, r);
		at = &r->next;
	}
}

void
requests_abort(struct alm_client *c, int status, const char *detail)
{
	while (c->req_first)
		answer_status(c, &c->req_first, status, detail);
}

uint64_t
requests_timer(const struct alm_client *c)
{
	const struct request *r;
	uint64_t at = FOREVER;

	for (r = c->req_first; r; r = r->next) {
		if (r->deadline < at)
			at = r->deadline;
		if (!r->sent && r->not_before && r->not_before < at)
			at = r->not_before;
	}
	if (c->resubscribe_at && c->resubscribe_at < at)
		at = c->resubscribe_at;
	return at;
}

/* ---- what several requests share ------------------------------------------------------------ */

int
name_check(struct alm_client *c, const char *what, const char *name)
{
	size_t len = name ? strlen(name) : 0;

	if (!len || len > ALM_NAME_MAX)
		return client_fail(c, ALM_EINVAL, "the name of a %s has 1 to %u bytes, not %zu", what,
		    ALM_NAME_MAX, len);
	return ALM_OK;
}

void
put_named(struct wire_out *o, uint32_t arg, const char *name)
{
	struct alm_slice s = {name, strlen(name)};

	wire_put32(o, arg);
	wire_put16(o, (uint32_t)s.len);
	wire_put16(o, 0);
	wire_put_slice(o, s);
}
