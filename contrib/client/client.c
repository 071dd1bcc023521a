/* client.c - life of a client, its error text, the step and the waiting of blocking calls. */
#include "internal.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static _Thread_local char connect_error[512];

/* ---- small things ------------------------------------------------------------------------ */

static uint64_t
clock_us(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

uint64_t
mono_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

uint64_t
wall_us(void)
{
	return clock_us(CLOCK_REALTIME);
}

/* splitmix64, seeded from the kernel: producer ids and jitter. */
uint64_t
random64(struct alm_client *c)
{
	uint64_t z = c->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

int
client_fail(struct alm_client *c, int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->error, sizeof c->error, fmt, ap);
	va_end(ap);
	return status;
}

const char *
alm_error(const struct alm_client *c)
{
	return c ? c->error : connect_error;
}

const char *
alm_version(void)
{
	return ALMADIA_VERSION;
}

static const struct {
	const char *name, *text;
} statuses[] = {
    {"ALM_OK", "ok"},
    {"ALM_EINVAL", "malformed request or argument"},
    {"ALM_ENOMEM", "out of memory"},
    {"ALM_EIO", "disk or file error"},
    {"ALM_EAGAIN", "busy, try again"},
    {"ALM_ENOTSUP", "not supported"},
    {"ALM_ENOTFOUND", "not found"},
    {"ALM_EEXIST", "exists already"},
    {"ALM_EDENIED", "not allowed"},
    {"ALM_EFULL", "no disk space"},
    {"ALM_ETOOBIG", "too large"},
    {"ALM_ECORRUPT", "stored data is damaged"},
    {"ALM_EVERSION", "version does not fit"},
    {"ALM_EUNAVAILABLE", "unavailable, safe to retry"},
    {"ALM_ENOTLEADER", "another member leads"},
    {"ALM_EORDER", "out of sequence"},
    {"ALM_EOFFSET", "offset out of range"},
    {"ALM_ETIMEOUT", "timed out"},
    {"ALM_ECLOSED", "closed"},
    {"ALM_ECONFIG", "wrong setting"},
    {"ALM_EPROTO", "protocol error"},
    {"ALM_EBUSY", "busy or locked"},
    {"ALM_EINTERNAL", "internal error, please report"},
    {"ALM_ESTALE", "overtaken by a newer epoch"},
};

const char *
alm_status_text(int status)
{
	if (status > 0 || status < ALM_STATUS_LAST)
		return "unknown status";
	return statuses[-status].text;
}

const char *
alm_status_name(int status)
{
	if (status > 0 || status < ALM_STATUS_LAST)
		return "ALM_E?";
	return statuses[-status].name;
}

/* The same request may be sent again and can then succeed. */
int
status_retriable(int status)
{
	return status == ALM_EAGAIN || status == ALM_EUNAVAILABLE || status == ALM_ENOTLEADER ||
	    status == ALM_ETIMEOUT || status == ALM_EBUSY || status == ALM_ESTALE ||
	    status == ALM_ECLOSED;
}

/* ---- options -------------------------------------------------------------------------------- */

void
alm_options_init(struct alm_options *o)
{
	memset(o, 0, sizeof *o);
	o->size = sizeof *o;
	o->servers = ALM_DEFAULT_SERVER;
	o->name = "";
	o->batch_messages = 1024;
	o->connect_timeout_ms = 3000;
	o->timeout_ms = 30000;
	o->delivery_timeout_ms = 120000;
	o->linger_us = 1000;
	o->batch_bytes = 256 << 10;
	o->max_inflight = 64;
	o->max_buffered = 32 << 20;
	o->backoff_min_ms = 20;
	o->backoff_max_ms = 2000;
	o->keepalive_ms = 10000;
}

/* Options of the size that the caller was built with; what it does not know keeps its default. */
static int
options_take(struct alm_client *c, const struct alm_options *o)
{
	alm_options_init(&c->o);
	if (o) {
		if (o->size < offsetof(struct alm_options, name))
			return client_fail(c, ALM_EINVAL,
			    "the options have size %u: call alm_options_init first", o->size);
		memcpy(&c->o, o, o->size < sizeof c->o ? o->size : sizeof c->o);
		c->o.size = sizeof c->o;
	}
	if (!c->o.batch_messages || c->o.batch_messages > WIRE_PUBLISH_MOST)
		return client_fail(c, ALM_EINVAL, "batch_messages: %u is not within 1 and %u",
		    c->o.batch_messages, WIRE_PUBLISH_MOST);
	if (!c->o.batch_bytes || c->o.batch_bytes > ALM_MESSAGE_MAX)
		return client_fail(c, ALM_EINVAL, "batch_bytes: %u is not within 1 and %u",
		    c->o.batch_bytes, ALM_MESSAGE_MAX);
	if (!c->o.max_inflight || !c->o.max_buffered || !c->o.backoff_min_ms ||
	    c->o.backoff_max_ms < c->o.backoff_min_ms || !c->o.connect_timeout_ms ||
	    !c->o.delivery_timeout_ms || !c->o.keepalive_ms)
		return client_fail(c, ALM_EINVAL, "max_inflight, max_buffered, the backoffs and the "
		    "timeouts must be above 0, backoff_max_ms at least backoff_min_ms");
	return ALM_OK;
}

static int
servers_take(struct alm_client *c, const char *text)
{
	char *p, *save = NULL;

	c->servers = strdup(text ? text : ALM_DEFAULT_SERVER);
	if (!c->servers)
		return client_fail(c, ALM_ENOMEM, "out of memory");
	for (p = strtok_r(c->servers, ", ", &save); p; p = strtok_r(NULL, ", ", &save)) {
		if (c->n_servers == SERVERS_MAX)
			return client_fail(c, ALM_EINVAL, "more than %u servers", SERVERS_MAX);
		if (strlen(p) >= sizeof c->address)
			return client_fail(c, ALM_EINVAL, "a server's address is too long");
		c->server[c->n_servers++] = p;
	}
	if (!c->n_servers)
		return client_fail(c, ALM_EINVAL, "no server was named");
	return ALM_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int
client_new(const struct alm_options *o, struct alm_client *c)
{
	int st;

	c->fd = c->epfd = -1;
	c->req_last = &c->req_first;
	st = options_take(c, o);
	if (st == ALM_OK)
		st = servers_take(c, c->o.servers);
	if (st != ALM_OK)
		return st;
	snprintf(c->name, sizeof c->name, "%s", c->o.name ? c->o.name : "");
	if (getrandom(&c->rng, sizeof c->rng, 0) != (ssize_t)sizeof c->rng)
		c->rng = wall_us() ^ (uint64_t)getpid() << 40;
	c->producer = random64(c) | 1;
	c->sequence = 1;
	c->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (c->epfd < 0)
		return client_fail(c, ALM_EIO, "epoll_create1: %s", strerror(errno));
	return ALM_OK;
}

static void
client_free(struct alm_client *c)
{
	struct batch *b;

	conn_close(c);
	while ((b = c->spare)) {
		c->spare = b->next;
		batch_free(b);
	}
	if (c->epfd >= 0)
		close(c->epfd);
	wire_out_free(&c->out);
	free(c->in);
	free(c->servers);
	free(c);
}

int
alm_connect(const struct alm_options *o, struct alm_client **out)
{
	struct alm_client *c = calloc(1, sizeof *c);
	uint64_t deadline;
	int st;

	*out = NULL;
	if (!c) {
		snprintf(connect_error, sizeof connect_error, "out of memory");
		return ALM_ENOMEM;
	}
	st = client_new(o, c);
	deadline = client_deadline(c);
	while (st == ALM_OK && !c->st.connected) {
		st = client_wait(c, &c->st.connected,
		    deadline < mono_us() + 100000 ? deadline : mono_us() + 100000);
		if (st == ALM_ETIMEOUT && mono_us() < deadline && c->attempts < c->n_servers)
			st = ALM_OK;
	}
	if (st != ALM_OK) {
		if (st == ALM_ETIMEOUT)
			st = ALM_EUNAVAILABLE;
		snprintf(connect_error, sizeof connect_error, "%s",
		    c->error[0] ? c->error : alm_status_text(st));
		client_free(c);
		return st;
	}
	c->error[0] = 0;
	*out = c;
	return ALM_OK;
}

void
alm_close(struct alm_client *c)
{
	if (!c || c->in_callback)
		return;
	c->closing = 1;
	conn_close(c);
	window_abort(c, ALM_ECLOSED, "the client was closed");
	requests_abort(c, ALM_ECLOSED, "the client was closed");
	subs_free(c);
	client_free(c);
}

void
alm_set_timeout(struct alm_client *c, uint32_t ms)
{
	c->o.timeout_ms = ms;
}

int
alm_stats(const struct alm_client *c, struct alm_client_stats *out)
{
	struct alm_client_stats st = c->st;
	uint32_t size = out->size;

	st.server = c->address;
	st.server_version = c->version;
	st.connection_id = c->connection_id;
	if (size > sizeof st)
		size = sizeof st;
	st.size = size;
	memcpy(out, &st, size);
	return ALM_OK;
}

/* ---- the step --------------------------------------------------------------------------------- */

void
client_step(struct alm_client *c)
{
	uint64_t now;

	conn_step(c);
	now = mono_us();
	batch_seal_due(c, now);
	window_step(c, now);
	requests_step(c, now);
	subs_step(c, now);
	conn_write(c);
}

static uint64_t
least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

uint64_t
client_next_timer(const struct alm_client *c)
{
	return least(least(conn_timer(c), batch_timer(c)),
	    least(window_timer(c), requests_timer(c)));
}

uint64_t
client_deadline(const struct alm_client *c)
{
	return mono_us() + (uint64_t)c->o.timeout_ms * 1000;
}

/* Sleep until the descriptor speaks, a timer is due, or the deadline. */
static void
client_sleep(struct alm_client *c, uint64_t deadline)
{
	uint64_t at = least(deadline, client_next_timer(c)), now = mono_us();
	struct pollfd p = {.fd = c->epfd, .events = POLLIN};
	struct timespec ts, *wait = NULL;

	if (at <= now)
		at = now;
	if (at != FOREVER) {
		ts.tv_sec = (time_t)((at - now) / 1000000);
		ts.tv_nsec = (long)((at - now) % 1000000) * 1000;
		wait = &ts;
	}
	(void)ppoll(&p, 1, wait, NULL);
}

int
client_wait(struct alm_client *c, const uint32_t *flag, uint64_t deadline)
{
	if (c->in_callback)
		return client_fail(c, ALM_EBUSY, "a blocking call inside a callback");
	for (;;) {
		client_step(c);
		if (*flag)
			return ALM_OK;
		if (mono_us() >= deadline)
			return ALM_ETIMEOUT;
		client_sleep(c, deadline);
	}
}

int
alm_fd(const struct alm_client *c)
{
	return c->epfd;
}

int
alm_timeout_ms(const struct alm_client *c)
{
	uint64_t at = client_next_timer(c), now = mono_us();

	if (at == FOREVER)
		return -1;
	if (at <= now)
		return 0;
	at = (at - now + 999) / 1000;
	return at > 3600000 ? 3600000 : (int)at;
}

int
alm_process(struct alm_client *c)
{
	if (c->in_callback)
		return client_fail(c, ALM_EBUSY, "alm_process inside a callback");
	if (!c->o.linger_us)
		batch_seal_due(c, FOREVER);
	client_step(c);
	return ALM_OK;
}

int
alm_poll(struct alm_client *c, int wait_ms)
{
	uint64_t deadline = wait_ms < 0 ? FOREVER : mono_us() + (uint64_t)wait_ms * 1000;
	uint64_t before = c->progress;
	int st = alm_process(c);

	/* Who waits for the last acknowledgement must not sleep after it came. */
	if (st != ALM_OK || wait_ms == 0 || c->progress != before)
		return st;
	client_sleep(c, deadline);
	return alm_process(c);
}
