/* worker/request.c - requests of protocol providers: made, run, answered, dropped.  See worker.h for
 * their life.  Slots are recycled with the memory they grew (tags of a fetch, text), so that the
 * common ones allocate nothing. */
#include "worker/worker.h"

#include <stdio.h>
#include <stdlib.h>

static const uint32_t which_of[] = {
    [REQ_APPEND] = ALM_DONE_APPEND,
    [REQ_FETCH] = ALM_DONE_FETCH,
    [REQ_STATE] = ALM_DONE_STATE,
    [REQ_BOUNDS] = ALM_DONE_BOUNDS,
    [REQ_TIME] = ALM_DONE_BOUNDS,
    [REQ_POSITION] = ALM_DONE_LOOKUP,
    [REQ_KEY] = ALM_DONE_LOOKUP,
    [REQ_ADMIN] = ALM_DONE_ADMIN,
    [REQ_COMMIT] = ALM_DONE_APPEND,
    [REQ_PURGE] = ALM_DONE_APPEND,
};

struct request *
request_new(struct alm_conn *c, uint64_t tag, uint32_t kind)
{
	struct request *r;

	if (c->state != CONN_OPEN) {
		err_set(ALM_ECLOSED, "the connection is closing");
		return NULL;
	}
	r = slab_new(&c->w->requests);
	if (!r)
		return NULL;
	r->conn = c;
	r->tag = tag;
	r->kind = kind;
	r->which = which_of[kind];
	list_init(&r->of_conn);
	list_init(&r->node);
	list_add(&c->requests, &r->of_conn);
	return r;
}

void
request_ready(struct request *r)
{
	list_add(&r->conn->w->ready, &r->node);
	worker_wake(r->conn->w);
}

__attribute__((format(printf, 2, 0))) static void
set_detail(struct request *r, const char *fmt, va_list ap)
{
	free(r->detail);
	if (vasprintf(&r->detail, fmt, ap) < 0)
		r->detail = NULL;
}

void
request_fail(struct request *r, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set_detail(r, fmt, ap);
	va_end(ap);
	r->status = status;
	request_ready(r);
}

int
refuse(struct alm_conn *c, uint64_t tag, uint32_t kind, int status, const char *fmt, ...)
{
	struct request *r = request_new(c, tag, kind);
	va_list ap;

	if (!r)
		return c->state != CONN_OPEN ? ALM_ECLOSED : ALM_ENOMEM;
	va_start(ap, fmt);
	set_detail(r, fmt, ap);
	va_end(ap);
	r->status = status;
	request_ready(r);
	return ALM_OK;
}

void
request_drop(struct request *r)
{
	struct worker *w = r->conn->w;

	if (r->kind == REQ_FETCH)
		fetch_release(r);
	query_release(r);
	if (r->flags & RF_IN_LEDGER)
		count_set(w, COUNT_APPENDS_UNDER_WAY, --w->appends_n);
	timer_clear(w, &r->timer);
	list_del(&r->node);
	list_del(&r->of_conn);
	free(r->detail);
	free(r->chain);
	slab_free(&w->requests, r);
}

void
request_done(struct request *r, struct alm_done *d)
{
	struct alm_conn *c = r->conn;
	char *detail = r->detail;

	d->size = sizeof *d;
	d->which = r->which;
	d->tag = r->tag;
	if (!d->detail)
		d->detail = "";
	r->detail = NULL;
	request_drop(r);
	c->from->protocol->ops->done(c->session, d);
	free(detail);
	conn_maybe_over(c);
}

void
request_done_status(struct request *r, int status, const char *detail)
{
	struct alm_done d = {.status = status, .detail = detail, .begin = r->begin, .end = r->end,
	    .next_offset = r->next_offset};

	request_done(r, &d);
}

static void
run(struct request *r)
{
	if (r->status) {
		if (r->which == ALM_DONE_APPEND)
			count(r->conn->w, COUNT_APPEND_FAILED, 1);
		request_done_status(r, r->status, r->detail ? r->detail : status_text(r->status));
		return;
	}
	switch (r->kind) {
	case REQ_FETCH:
		fetch_run(r);
		break;
	case REQ_ADMIN:
		admin_run(r);
		break;
	default:
		lookup_run(r);
		break;
	}
}

void
requests_run(struct worker *w)
{
	struct node now;

	list_init(&now);
	list_splice(&now, &w->ready);
	while (!list_empty(&now)) {
		struct request *r = container_of(now.next, struct request, node);

		list_del(&r->node);
		run(r);
	}
}
