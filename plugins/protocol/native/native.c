/* native.c - the native protocol: module, session, frame loop.
 *
 * A worker's one thread.  A frame is decoded where it lies in the core's buffer and its slices go
 * straight into the broker's call.  If the broker has no room (ALM_EAGAIN) the frame is parked:
 * copied aside, reading stops, and it is tried again at writable() until park_timeout, when the
 * client gets ALM_EAGAIN.  Hostile bytes: an ERROR frame with correlation 0, then the connection ends.
 */
#include "native.h"

#include <stdarg.h>
#include <stdio.h>

#define HELLO_FRAME_MAX 1024u /* nobody needs more before it is known */

/* ---- replies -------------------------------------------------------------------------- */

struct wire_out *
reply_begin(struct alm_session *s, uint32_t type, uint32_t flags, uint64_t correlation)
{
	struct wire_out *o = &s->proto->out;

	wire_reset(o);
	wire_begin(o, type, flags, correlation);
	return o;
}

void
reply_send(struct alm_session *s, uint64_t extra)
{
	struct wire_out *o = &s->proto->out;

	wire_end(o, extra);
	if (!o->bad) {
		(void)s->proto->broker->write(s->conn, o->data, o->len);
		return;
	}
	/* A lost reply must not look like a slow one. */
	s->closing = 1;
	s->proto->broker->close(s->conn, ALM_ENOMEM, 0);
}

static uint32_t
retry_hint(int status)
{
	switch (status) {
	case ALM_EAGAIN:
		return 20;
	case ALM_EUNAVAILABLE:
	case ALM_ENOTLEADER:
		return 50;
	case ALM_EFULL:
		return 1000;
	default:
		return 0;
	}
}

static int
error_write(struct alm_session *s, uint64_t correlation, int status, const char *detail,
    struct alm_slice address)
{
	struct wire_out *o = &s->proto->out;
	struct wire_error e = {.status = status, .retry_ms = retry_hint(status),
	    .detail = {detail, strlen(detail)}, .address = address};

	wire_reset(o);
	wire_error_put(o, correlation, &e);
	reply_send(s, 0);
	return ALM_OK;
}

int
reply_error(struct alm_session *s, uint64_t correlation, int status, const char *detail)
{
	return error_write(s, correlation, status, detail, (struct alm_slice){NULL, 0});
}

int
reply_errorf(struct alm_session *s, uint64_t correlation, int status, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	return reply_error(s, correlation, status, text);
}

int
hostile(struct alm_session *s, const char *why)
{
	s->why = why;
	return ALM_EPROTO;
}

/* Say why, then close once it has left. */
static void
break_off(struct alm_session *s, int status, const char *why)
{
	if (s->closing)
		return;
	(void)reply_error(s, 0, status, why);
	s->closing = 1;
	s->proto->broker->close(s->conn, status, 1000);
}

/* ---- request slots --------------------------------------------------------------------- */

static int
requests_grow(struct alm_session *s)
{
	const struct alm_host *host = s->proto->host;
	uint32_t n = s->n_requests ? s->n_requests * 2 : 16, i;
	struct request *r = host->alloc(host, (uint64_t)n * sizeof *r);

	if (!r)
		return ALM_ENOMEM;
	if (s->n_requests)
		memcpy(r, s->requests, s->n_requests * sizeof *r);
	for (i = s->n_requests; i < n; i++)
		r[i].next_free = i + 1 < n ? i + 1 : NONE;
	host->free(host, s->requests);
	s->requests = r;
	s->free_request = s->n_requests;
	s->n_requests = n;
	return ALM_OK;
}

uint32_t
request_new(struct alm_session *s, uint32_t type, uint64_t correlation)
{
	struct request *r;
	uint32_t slot;

	if (s->free_request == NONE && requests_grow(s) != ALM_OK)
		return NONE;
	slot = s->free_request;
	r = &s->requests[slot];
	s->free_request = r->next_free;
	memset(r, 0, sizeof *r);
	r->type = type;
	r->correlation = correlation;
	s->inflight++;
	if (type == WIRE_FETCH)
		s->fetches++;
	return slot;
}

void
request_end(struct alm_session *s, uint32_t slot)
{
	struct request *r = &s->requests[slot];
	const struct alm_host *host = s->proto->host;

	host->free(host, r->queues);
	if (r->type == WIRE_FETCH)
		s->fetches--;
	memset(r, 0, sizeof *r);
	r->next_free = s->free_request;
	s->free_request = slot;
	s->inflight--;
}

int
request_made(struct alm_session *s, uint32_t slot, int status)
{
	uint64_t correlation;

	if (status == ALM_OK)
		return ALM_OK; /* done() may have come already: the slot is not ours to look at */
	correlation = s->requests[slot].correlation;
	request_end(s, slot);
	if (status == ALM_EAGAIN)
		return ALM_EAGAIN;
	return reply_error(s, correlation, status, "the broker refused the request");
}

/* ---- topics ---------------------------------------------------------------------------- */

int
topic_find(struct alm_session *s, uint32_t id, struct alm_slice name, struct alm_topic_info *info)
{
	memset(info, 0, sizeof *info);
	info->size = sizeof *info;
	if (id)
		return s->proto->broker->topic_by_id(s->conn, id, &name, info);
	return s->proto->broker->topic(s->conn, name, info);
}

int
queue_find(struct alm_session *s, uint64_t correlation, uint32_t id, struct alm_slice name,
    uint32_t queue, struct alm_topic_info *info)
{
	int st = topic_find(s, id, name, info);

	if (st != ALM_OK && id)
		reply_errorf(s, correlation, st, "there is no topic with id %u", id);
	else if (st != ALM_OK)
		reply_errorf(s, correlation, st, "there is no topic \"%.*s\"", (int)name.len,
		    name.len ? (const char *)name.data : "");
	else if (queue != WIRE_QUEUE_ANY && queue >= info->topic.queues)
		reply_errorf(s, correlation, ALM_EINVAL,
		    "queue %u of topic %u: it has %u queues, counted from 0", queue,
		    info->topic.id, info->topic.queues);
	else
		return 1;
	return 0;
}

/* ---- HELLO ----------------------------------------------------------------------------- */

static int
on_hello(struct alm_session *s, const struct wire_head *h, struct wire_in *in)
{
	struct alm_proto *p = s->proto;
	uint32_t magic = wire_u32(in);
	uint16_t low = wire_u16(in), high = wire_u16(in), name_len;
	uint64_t max_frame = wire_u32(in);
	struct wire_out *o;

	(void)wire_u32(in);
	name_len = wire_u16(in);
	(void)wire_u16(in);
	(void)wire_u32(in);
	(void)wire_bytes(in, name_len);
	if (in->bad || magic != WIRE_MAGIC || name_len > ALM_NAME_MAX)
		return hostile(s, "this is not a HELLO frame of the native protocol");
	if (low > WIRE_VERSION_MAX || high < WIRE_VERSION_MIN) {
		break_off(s, ALM_EVERSION,
		    "no common version: this server speaks version 1 of the native protocol");
		return ALM_OK;
	}
	s->greeted = 1;
	s->hello_until = 0;
	session_arm(s);
	s->max_frame = max_frame > WIRE_FRAME_LEAST ? max_frame : WIRE_FRAME_LEAST;
	o = reply_begin(s, WIRE_HELLO | WIRE_REPLY, 0, h->correlation);
	wire_put32(o, WIRE_MAGIC);
	wire_put16(o, WIRE_VERSION_MAX);
	wire_put16(o, 0);
	wire_put32(o, (uint32_t)p->max_frame);
	wire_put32(o, WIRE_PUBLISH_MOST);
	wire_put32(o, p->max_inflight);
	wire_put32(o, p->max_subs);
	wire_put64(o, s->id);
	wire_put16(o, sizeof NATIVE_VERSION - 1);
	wire_put16(o, 0);
	wire_put32(o, 0);
	wire_put(o, NATIVE_VERSION, sizeof NATIVE_VERSION - 1);
	reply_send(s, 0);
	return ALM_OK;
}

static int
on_ping(struct alm_session *s, const struct wire_head *h)
{
	(void)reply_begin(s, WIRE_PING | WIRE_REPLY, 0, h->correlation);
	reply_send(s, 0);
	return ALM_OK;
}

/* ---- the frame loop --------------------------------------------------------------------- */

static int
on_frame(struct alm_session *s, const uint8_t *frame, const struct wire_head *h)
{
	struct wire_in in = wire_payload(frame, h);

	if (!s->greeted)
		return h->type == WIRE_HELLO ? on_hello(s, h, &in)
		                             : hostile(s, "the first frame must be HELLO");
	switch (h->type) {
	case WIRE_PUBLISH:
		return on_publish(s, h, &in);
	case WIRE_FETCH:
		return on_fetch(s, h, &in);
	case WIRE_SUBSCRIBE:
		return on_subscribe(s, h, &in);
	case WIRE_CREDIT:
		return on_credit(s, h, &in);
	case WIRE_UNSUBSCRIBE:
		return on_unsubscribe(s, h, &in);
	case WIRE_COMMIT:
		return on_commit(s, h, &in);
	case WIRE_BOUNDS:
	case WIRE_OFFSET_AT:
		return on_bounds(s, h, &in);
	case WIRE_LOOKUP_POSITION:
	case WIRE_LOOKUP_KEY:
		return on_lookup(s, h, &in);
	case WIRE_TOPIC_PUT:
	case WIRE_TOPIC_DELETE:
	case WIRE_TOPIC_LIST:
	case WIRE_TOPIC_GET:
		return on_topic(s, h, &in);
	case WIRE_GROUP_CREATE:
	case WIRE_GROUP_DELETE:
		return on_group(s, h, &in);
	case WIRE_STATE_GET:
	case WIRE_STATE_SCAN:
		return on_state(s, h, &in);
	case WIRE_ADMIN:
		return on_admin(s, h, &in);
	case WIRE_PING:
		return on_ping(s, h);
	case WIRE_HELLO:
		return hostile(s, "HELLO came twice");
	default:
		/* A request of a later version: refuse it, keep the connection. */
		if (h->type < WIRE_REPLY)
			return reply_errorf(s, h->correlation, ALM_ENOTSUP,
			    "this server does not know frame type 0x%02x", h->type);
		return hostile(s, "a client does not send frames of this type");
	}
}

int
output_over(struct alm_session *s)
{
	return s->proto->broker->pending(s->conn) > s->proto->output_limit;
}

/* Tell the core whether to read, by what blocks us. */
static void
reading(struct alm_session *s)
{
	uint32_t want = s->parked.len || s->window_full || s->output_full;

	if (want == s->paused || s->closing)
		return;
	s->paused = want;
	s->proto->broker->pause(s->conn, want);
}

static int
blocked(struct alm_session *s)
{
	if (s->inflight >= s->proto->max_inflight)
		s->window_full = 1;
	if (output_over(s))
		s->output_full = 1;
	return s->parked.len || s->window_full || s->output_full;
}

static void
park(struct alm_session *s, const uint8_t *frame, const struct wire_head *h)
{
	wire_reset(&s->parked);
	wire_put(&s->parked, frame, h->length);
	if (s->parked.bad) {
		wire_reset(&s->parked);
		(void)reply_error(s, h->correlation, ALM_EAGAIN, "the broker is busy");
		return;
	}
	s->park_until = s->proto->host->now(s->proto->host) + s->proto->park_us;
	session_arm(s);
}

static uint64_t
native_frame_limit(struct alm_session *s)
{
	return s->greeted ? s->proto->max_frame : HELLO_FRAME_MAX;
}

static int64_t
native_input(struct alm_session *s, const uint8_t *data, uint64_t len)
{
	struct wire_head h;
	uint64_t used = 0;
	int st;

	while (!s->closing && !blocked(s)) {
		st = wire_head_get(data + used, len - used, native_frame_limit(s), &h);
		if (st < 0) {
			break_off(s, st, st == ALM_ETOOBIG ? "the frame is larger than max_frame"
			                                   : "broken frame head");
			break;
		}
		if (st == 0 || len - used < h.length)
			break;
		st = on_frame(s, data + used, &h);
		if (st == ALM_EAGAIN)
			park(s, data + used, &h);
		else if (st != ALM_OK)
			break_off(s, st, s->why);
		used += h.length;
	}
	if (s->closing)
		return (int64_t)len;
	reading(s);
	return (int64_t)used;
}

static void
unpark(struct alm_session *s)
{
	struct wire_head h;
	int st;

	if (!s->parked.len || s->closing)
		return;
	if (wire_head_get(s->parked.data, s->parked.len, UINT64_MAX, &h) != 1)
		return;
	st = on_frame(s, s->parked.data, &h);
	if (st == ALM_EAGAIN)
		return;
	if (st != ALM_OK)
		break_off(s, st, s->why);
	wire_out_free(&s->parked);
	s->park_until = 0;
	session_arm(s);
}

/* ---- completions ------------------------------------------------------------------------ */

static void
done_error(struct alm_session *s, uint64_t correlation, const struct alm_done *d)
{
	struct alm_slice address = {NULL, 0};

	if (d->status == ALM_ENOTLEADER)
		address = d->data;
	error_write(s, correlation, d->status, d->detail ? d->detail : "", address);
}

static void
native_done(struct alm_session *s, const struct alm_done *d)
{
	struct request r;

	if (d->tag >= s->n_requests || !s->requests[d->tag].type)
		return;
	r = s->requests[d->tag];
	s->requests[d->tag].queues = NULL;
	request_end(s, (uint32_t)d->tag);
	if (s->closing) {
		/* nobody reads the answer */
	} else if (r.type == WIRE_DELIVER) {
		sub_done(s, r.sub, d);
	} else if (d->status != ALM_OK) {
		done_error(s, r.correlation, d);
	} else {
		switch (r.type) {
		case WIRE_PUBLISH:
			publish_done(s, &r, d);
			break;
		case WIRE_FETCH:
		case WIRE_LOOKUP_KEY:
		case WIRE_LOOKUP_POSITION:
			records_done(s, &r, d);
			break;
		case WIRE_BOUNDS:
		case WIRE_OFFSET_AT:
			bounds_done(s, &r, d);
			break;
		default:
			data_done(s, &r, d);
		}
	}
	s->proto->host->free(s->proto->host, r.queues);
	if (s->window_full && s->inflight <= s->proto->max_inflight / 2) {
		s->window_full = 0;
		reading(s);
	}
}

/* ---- events ------------------------------------------------------------------------------ */

void
session_arm(struct alm_session *s)
{
	uint64_t at = subs_deadline(s);

	if (s->hello_until && (!at || s->hello_until < at))
		at = s->hello_until;
	if (s->park_until && (!at || s->park_until < at))
		at = s->park_until;
	s->proto->broker->deadline(s->conn, at);
}

static void
native_writable(struct alm_session *s)
{
	if (s->closing)
		return;
	s->output_full = s->output_full && output_over(s);
	unpark(s);
	subs_resume(s, s->proto->host->now(s->proto->host));
	reading(s);
}

static void
native_timer(struct alm_session *s)
{
	uint64_t now = s->proto->host->now(s->proto->host);
	struct wire_head h;

	if (s->closing)
		return;
	if (s->hello_until && now >= s->hello_until) {
		s->hello_until = 0;
		break_off(s, ALM_ETIMEOUT, "no HELLO within hello_timeout");
		return;
	}
	unpark(s);
	if (s->parked.len && now >= s->park_until) {
		if (wire_head_get(s->parked.data, s->parked.len, UINT64_MAX, &h) == 1)
			(void)reply_error(s, h.correlation, ALM_EAGAIN,
			    "the broker had no room for this request within park_timeout");
		wire_out_free(&s->parked);
		s->park_until = 0;
	}
	subs_resume(s, now);
	session_arm(s);
	reading(s);
}

static void
native_notified(struct alm_session *s, const void *data, uint32_t len)
{
	/* Notices between connections have no frame in this version of the protocol. */
	(void)s;
	(void)data;
	(void)len;
}

static void
native_shutdown(struct alm_session *s)
{
	if (s->closing)
		return;
	(void)reply_begin(s, WIRE_GOAWAY, 0, 0);
	reply_send(s, 0);
}

static int
native_open(struct alm_proto *p, struct alm_conn *conn, const struct alm_conn_info *info,
    struct alm_session **out)
{
	struct alm_session *s = p->host->alloc(p->host, sizeof *s);

	if (!s)
		return ALM_ENOMEM;
	s->proto = p;
	s->conn = conn;
	s->id = info->id;
	s->free_request = NONE;
	s->free_sub = NONE;
	s->hello_until = p->host->now(p->host) + p->hello_us;
	session_arm(s);
	*out = s;
	return ALM_OK;
}

static void
native_closed(struct alm_session *s, int status)
{
	const struct alm_host *host = s->proto->host;
	uint32_t i;

	(void)status;
	for (i = 0; i < s->n_requests; i++)
		if (s->requests[i].type)
			host->free(host, s->requests[i].queues);
	subs_free(s);
	wire_out_free(&s->parked);
	host->free(host, s->requests);
	host->free(host, s);
}

/* ---- module ------------------------------------------------------------------------------ */

static int
native_init(const struct alm_host *host, const struct alm_broker *broker, struct alm_proto **out)
{
	struct alm_proto *p = host->alloc(host, sizeof *p);

	if (!p)
		return host->fail(host, ALM_ENOMEM, "out of memory");
	p->host = host;
	p->broker = broker;
	p->max_frame = (uint64_t)host->setting_int(host, "max_frame");
	p->output_limit = (uint64_t)host->setting_int(host, "output_limit");
	p->park_us = (uint64_t)host->setting_int(host, "park_timeout");
	p->hello_us = (uint64_t)host->setting_int(host, "hello_timeout");
	p->max_inflight = (uint32_t)host->setting_int(host, "max_inflight");
	p->max_fetches = (uint32_t)host->setting_int(host, "max_fetches");
	p->max_subs = (uint32_t)host->setting_int(host, "max_subscriptions");
	*out = p;
	return ALM_OK;
}

static void
native_fini(struct alm_proto *p)
{
	const struct alm_host *host = p->host;

	wire_out_free(&p->out);
	host->free(host, p->messages);
	host->free(host, p);
}

static const struct alm_setting settings[] = {
    {.name = "max_frame", .def = "9m", .min = WIRE_FRAME_LEAST, .max = WIRE_FRAME_MOST,
     .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
     .doc = "largest frame that a client may send"},
    {.name = "output_limit", .def = "1m", .min = 64 << 10, .max = 64 << 20,
     .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
     .doc = "bytes waiting to leave to one client, where reading and delivery pause"},
    {.name = "max_inflight", .def = "65536", .min = 16, .max = 1 << 20, .type = ALM_SET_INT,
     .scope = ALM_SCOPE_BOOT, .doc = "unanswered requests of one connection, where reading pauses"},
    {.name = "max_fetches", .def = "256", .min = 1, .max = 65536, .type = ALM_SET_INT,
     .scope = ALM_SCOPE_BOOT, .doc = "unanswered FETCH requests that one connection may have"},
    {.name = "max_subscriptions", .def = "4096", .min = 1, .max = 65536, .type = ALM_SET_INT,
     .scope = ALM_SCOPE_BOOT, .doc = "subscriptions that one connection may have"},
    {.name = "park_timeout", .def = "2s", .min = 1000, .max = 60000000,
     .type = ALM_SET_DURATION, .scope = ALM_SCOPE_BOOT,
     .doc = "how long a request waits for room in the broker before the client is told to retry"},
    {.name = "hello_timeout", .def = "10s", .min = 100000, .max = 600000000,
     .type = ALM_SET_DURATION, .scope = ALM_SCOPE_BOOT,
     .doc = "how long a new connection may take to send its HELLO"},
};

static const struct alm_protocol_ops_v0 ops = {
    .init = native_init,
    .fini = native_fini,
    .open = native_open,
    .input = native_input,
    .done = native_done,
    .writable = native_writable,
    .timer = native_timer,
    .notified = native_notified,
    .shutdown = native_shutdown,
    .closed = native_closed,
    .frame_limit = native_frame_limit,
};

static const struct alm_provider providers[] = {
    {.size = sizeof(struct alm_provider), .kind = ALM_KIND_PROTOCOL,
     .major = ALM_PROTOCOL_MAJOR, .minor_built = ALM_PROTOCOL_MINOR,
     .minor_needed = ALM_PROTOCOL_MINOR, .ops_size = sizeof ops, .name = "native",
     .doc = "Almadia's own protocol: pipelined binary frames, batches, push with credit",
     .ops = &ops, .settings = settings, .n_settings = sizeof settings / sizeof settings[0]},
};

ALM_MODULE("native", NATIVE_VERSION, providers)
ALM_MODULE_NOTE(ALM_KIND_PROTOCOL, ALM_PROTOCOL_MAJOR, ALM_PROTOCOL_MINOR, ALM_PROTOCOL_MINOR);
