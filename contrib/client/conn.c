/* conn.c - the connection: dialling, greeting, reconnecting, frames in and out.
 *
 * Invariant: c->fd is registered with c->epfd while it is open; c->out and the half-sent batch never
 * interleave within a frame.
 */
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_ROOM (256u << 10)
#define IOV_MAX_USED 64

/* ---- state -------------------------------------------------------------------------------- */

static void
watch(struct alm_client *c, uint32_t want_write)
{
	struct epoll_event ev = {.events = EPOLLIN | (want_write ? (uint32_t)EPOLLOUT : 0)};

	if (c->registered && c->want_write == want_write)
		return;
	(void)epoll_ctl(c->epfd, c->registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, c->fd, &ev);
	c->registered = 1;
	c->want_write = want_write;
}

void
conn_close(struct alm_client *c)
{
	if (c->fd >= 0)
		close(c->fd); /* also leaves the epoll set: nobody else holds a copy */
	c->fd = -1;
	c->registered = c->want_write = 0;
	c->state = CONN_DOWN;
	c->st.connected = 0;
	c->in_len = 0;
	wire_reset(&c->out);
	c->out_at = 0;
	c->sending = NULL;
	c->sending_at = 0;
}

static void
event(struct alm_client *c, uint32_t what, const char *detail)
{
	if (!c->o.event)
		return;
	c->in_callback++;
	c->o.event(c->o.arg, what, detail);
	c->in_callback--;
}

/* Backoff doubles with each failed attempt; jitter of half of it keeps a crowd from coming back
 * together. The first attempt after a good connection goes out almost at once. */
static uint64_t
backoff_us(struct alm_client *c)
{
	uint64_t ms = c->o.backoff_min_ms;
	uint32_t i;

	for (i = 1; i < c->attempts && ms < c->o.backoff_max_ms; i++)
		ms *= 2;
	if (ms > c->o.backoff_max_ms)
		ms = c->o.backoff_max_ms;
	return ms * 500 + random64(c) % (ms * 1000);
}

void
conn_lost(struct alm_client *c, const char *fmt, ...)
{
	uint32_t was_up = c->state == CONN_UP;
	char text[sizeof c->error];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	client_fail(c, ALM_EUNAVAILABLE, "%s: %s", c->address, text);
	conn_close(c);
	c->attempts++;
	c->server_at = (c->server_at + 1) % c->n_servers;
	c->retry_at = mono_us() + backoff_us(c);
	if (!was_up)
		return;
	c->st.reconnects++;
	window_lost(c);
	requests_lost(c);
	subs_lost(c);
	event(c, ALM_EVENT_DISCONNECTED, text);
}

uint64_t
conn_timer(const struct alm_client *c)
{
	uint64_t silence = (uint64_t)c->o.keepalive_ms * 1000;

	switch (c->state) {
	case CONN_DOWN:
		return c->retry_at;
	case CONN_UP:
		return (c->pinged_at ? c->pinged_at : c->last_in) + silence;
	default:
		return c->since + (uint64_t)c->o.connect_timeout_ms * 1000;
	}
}

/* ---- dialling -------------------------------------------------------------------------------- */

static int
dial_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof a.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(a.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* "host:port" or "[v6]:port" into its parts, which point into text. */
static int
split_address(char *text, char **host, char **port)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		return -1;
	*colon = 0;
	*port = colon + 1;
	*host = text;
	if (text[0] == '[' && colon > text + 1 && colon[-1] == ']') {
		colon[-1] = 0;
		*host = text + 1;
	}
	return 0;
}

/* A socket that connects in the background; NULL text or why not. */
static const char *
dial_tcp(const char *address, int *out)
{
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *list, *a;
	char text[256], *host, *port;
	int one = 1, fd = -1, rc;

	snprintf(text, sizeof text, "%s", address);
	if (split_address(text, &host, &port) != 0)
		return "is not HOST:PORT, [V6]:PORT or unix:/PATH";
	rc = getaddrinfo(host, port, &hints, &list);
	if (rc != 0)
		return gai_strerror(rc);
	for (a = list; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		if (connect(fd, a->ai_addr, a->ai_addrlen) != 0 && errno != EINPROGRESS) {
			rc = errno;
			close(fd);
			errno = rc;
			fd = -1;
		}
	}
	rc = errno;
	freeaddrinfo(list);
	errno = rc;
	*out = fd;
	return fd < 0 ? strerror(errno) : NULL;
}

static void
hello(struct alm_client *c)
{
	struct wire_out *o = &c->out;
	uint64_t len = strlen(c->name);

	wire_begin(o, WIRE_HELLO, 0, 0);
	wire_put32(o, WIRE_MAGIC);
	wire_put16(o, WIRE_VERSION_MIN);
	wire_put16(o, WIRE_VERSION_MAX);
	wire_put32(o, WIRE_FRAME_MOST);
	wire_put32(o, 0);
	wire_put16(o, (uint32_t)len);
	wire_put16(o, 0);
	wire_put32(o, 0);
	wire_put(o, c->name, len);
	wire_end(o, 0);
	c->state = CONN_GREETING;
	watch(c, 1);
}

static void
dial(struct alm_client *c)
{
	const char *why = NULL;

	snprintf(c->address, sizeof c->address, "%s",
	    c->redirect[0] ? c->redirect : c->server[c->server_at]);
	c->redirect[0] = 0;
	c->since = mono_us();
	if (c->o.dial) {
		c->in_callback++;
		c->fd = c->o.dial(c->o.arg, c->address);
		c->in_callback--;
		why = "the dial function gave no connection";
	} else if (strncmp(c->address, "unix:", 5) == 0) {
		c->fd = dial_unix(c->address + 5);
		why = strerror(errno);
	} else {
		why = dial_tcp(c->address, &c->fd);
	}
	if (c->fd < 0) {
		conn_lost(c, "%s", why);
		return;
	}
	(void)fcntl(c->fd, F_SETFL, O_NONBLOCK);
	c->state = CONN_DIALLING;
	watch(c, 1);
}

/* Connected? Then greet. */
static void
dialled(struct alm_client *c)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof peer, elen = sizeof(int);
	int err = 0;

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &elen) == 0 && err != 0) {
		conn_lost(c, "%s", strerror(err));
		return;
	}
	if (getpeername(c->fd, (struct sockaddr *)&peer, &len) == 0)
		hello(c);
}

/* ---- frames in ---------------------------------------------------------------------------- */

static int
welcome(struct alm_client *c, struct wire_in *in)
{
	uint32_t magic = wire_u32(in);
	uint16_t version = wire_u16(in), len;
	struct alm_slice name;

	(void)wire_u16(in);
	c->max_frame = wire_u32(in);
	(void)wire_bytes(in, 12);
	c->connection_id = wire_u64(in);
	len = wire_u16(in);
	(void)wire_bytes(in, 6);
	name = wire_bytes(in, len);
	if (in->bad || magic != WIRE_MAGIC || version < WIRE_VERSION_MIN ||
	    version > WIRE_VERSION_MAX || c->max_frame < WIRE_FRAME_LEAST)
		return ALM_EPROTO;
	snprintf(c->version, sizeof c->version, "%.*s", (int)(len < 63 ? len : 63),
	    len ? (const char *)name.data : "");
	c->state = CONN_UP;
	c->st.connected = 1;
	c->attempts = 0;
	c->pinged_at = 0;
	requests_up(c);
	subs_up(c);
	event(c, ALM_EVENT_CONNECTED, c->address);
	return ALM_OK;
}

/* Another member leads: go there. The address comes from the server that we trust. */
static void
redirect(struct alm_client *c, struct alm_slice address)
{
	char to[sizeof c->redirect];

	if (!address.len || address.len >= sizeof to || c->redirect[0])
		return;
	memcpy(to, address.data, address.len);
	to[address.len] = 0;
	event(c, ALM_EVENT_REDIRECTED, to);
	conn_lost(c, "redirected to %s", to);
	memcpy(c->redirect, to, sizeof to);
	/* At once, unless members send us in circles. */
	if (c->attempts <= 2)
		c->retry_at = mono_us();
}

static int
error_frame(struct alm_client *c, const struct wire_head *h, struct wire_in *in)
{
	struct wire_error e;
	char text[512];

	if (wire_error_get(in, &e) != ALM_OK)
		return ALM_EPROTO;
	snprintf(text, sizeof text, "%.*s", (int)(e.detail.len < 500 ? e.detail.len : 500),
	    e.detail.len ? (const char *)e.detail.data : alm_status_text(e.status));
	if (h->correlation == 0) {
		conn_lost(c, "the server ends the connection: %s", text);
		return ALM_OK;
	}
	switch (CORR_KIND(h->correlation)) {
	case CORR_PUBLISH:
		window_reply(c, h->correlation, e.status, text, e.retry_ms, h, in);
		break;
	case CORR_REQUEST:
		request_error(c, h->correlation, e.status, text, e.retry_ms);
		break;
	case CORR_SUB:
		subs_error(c, h->correlation, e.status, text);
		break;
	default:
		return ALM_EPROTO;
	}
	if (e.status == ALM_ENOTLEADER && c->state == CONN_UP)
		redirect(c, e.address);
	return ALM_OK;
}

static int
frame(struct alm_client *c, const uint8_t *p, const struct wire_head *h)
{
	struct reply reply = {.status = ALM_OK, .detail = "", .in = wire_payload(p, h)};
	struct wire_in *in = &reply.in;

	if (h->type == WIRE_ERROR)
		return error_frame(c, h, in);
	if (c->state == CONN_GREETING)
		return h->type == (WIRE_HELLO | WIRE_REPLY) ? welcome(c, in) : ALM_EPROTO;
	switch (h->type) {
	case WIRE_PUBLISH | WIRE_REPLY:
		window_reply(c, h->correlation, ALM_OK, "", 0, h, in);
		return in->bad ? ALM_EPROTO : ALM_OK;
	case WIRE_DELIVER:
		subs_deliver(c, h->correlation, in);
		return in->bad ? ALM_EPROTO : ALM_OK;
	case WIRE_SUBSCRIBE | WIRE_REPLY:
		subs_reply(c, h->correlation, in);
		return in->bad ? ALM_EPROTO : ALM_OK;
	case WIRE_GOAWAY:
		conn_lost(c, "the server is stopping");
		return ALM_OK;
	default:
		if (CORR_KIND(h->correlation) == CORR_REQUEST)
			request_reply(c, h->correlation, &reply);
		return ALM_OK; /* a push of a later version: not for us */
	}
}

static void
parse(struct alm_client *c)
{
	uint64_t at = 0;
	struct wire_head h;
	int st = 0;

	while (c->state >= CONN_GREETING) {
		st = wire_head_get(c->in + at, c->in_len - at, WIRE_FRAME_MOST, &h);
		if (st < 0)
			break;
		if (st == 0 || c->in_len - at < h.length) {
			st = st == 0 ? 0 : 1;
			break;
		}
		c->progress++;
		st = frame(c, c->in + at, &h);
		if (st != ALM_OK)
			break;
		at += h.length;
	}
	if (c->state < CONN_GREETING)
		return; /* the connection ended inside a frame's handling: nothing is left to keep */
	if (st < 0) {
		conn_lost(c, "the server sent bytes that are no frame of this protocol");
		return;
	}
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
	/* A frame larger than the buffer: make room for all of it. */
	if (st == 1 && h.length > c->in_cap) {
		uint8_t *p = realloc(c->in, h.length + READ_ROOM);

		if (!p) {
			conn_lost(c, "out of memory");
			return;
		}
		c->in = p;
		c->in_cap = h.length + READ_ROOM;
	}
}

/* Read what is there: some rounds, then let others work. */
static void
conn_read(struct alm_client *c)
{
	int rounds;

	if (!c->in) {
		c->in = malloc(READ_ROOM);
		c->in_cap = c->in ? READ_ROOM : 0;
		if (!c->in) {
			conn_lost(c, "out of memory");
			return;
		}
	}
	for (rounds = 0; rounds < 4 && c->state >= CONN_GREETING; rounds++) {
		uint64_t room = c->in_cap - c->in_len;
		ssize_t n = recv(c->fd, c->in + c->in_len, room, 0);

		if (n == 0) {
			conn_lost(c, "the server closed the connection");
			return;
		}
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				conn_lost(c, "%s", strerror(errno));
			return;
		}
		c->last_in = mono_us();
		c->pinged_at = 0;
		c->st.bytes_in += (uint64_t)n;
		c->in_len += (uint64_t)n;
		parse(c);
		if ((uint64_t)n < room)
			return;
	}
}

static void
keepalive(struct alm_client *c, uint64_t now)
{
	if (now < conn_timer(c))
		return;
	if (c->pinged_at) {
		conn_lost(c, "the server has been silent for %u ms", 2 * c->o.keepalive_ms);
		return;
	}
	c->pinged_at = now;
	wire_begin(&c->out, WIRE_PING, 0, CORR(CORR_REQUEST, 0));
	wire_end(&c->out, 0);
}

void
conn_step(struct alm_client *c)
{
	uint64_t now = mono_us();

	if (c->state == CONN_DOWN && now >= c->retry_at && !c->closing)
		dial(c);
	if (c->state == CONN_DIALLING)
		dialled(c);
	if (c->state >= CONN_GREETING)
		conn_read(c);
	if (c->state == CONN_UP)
		keepalive(c, now);
	else if (c->state != CONN_DOWN && now >= conn_timer(c))
		conn_lost(c, "no answer within connect_timeout of %u ms", c->o.connect_timeout_ms);
}

/* ---- frames out --------------------------------------------------------------------------- */

/* What is to be sent, in order: the rest of a half-sent batch, control frames, further batches. */
static int
gather(struct alm_client *c, struct iovec *iov, struct batch **of)
{
	struct batch *b = c->sending;
	uint32_t ahead = 0;
	int n = 0;

	if (b) {
		iov[n] = (struct iovec){b->frame.data + c->sending_at, b->frame.len - c->sending_at};
		of[n++] = b;
	}
	if (c->out.len > c->out_at) {
		iov[n] = (struct iovec){c->out.data + c->out_at, c->out.len - c->out_at};
		of[n++] = NULL;
	}
	if (c->state != CONN_UP)
		return n;
	for (b = window_next(c, NULL, 0); b && n < IOV_MAX_USED; b = window_next(c, b, ++ahead)) {
		iov[n] = (struct iovec){b->frame.data, b->frame.len};
		of[n++] = b;
	}
	return n;
}

static void
advance(struct alm_client *c, struct iovec *iov, struct batch **of, int n, uint64_t sent)
{
	int i;

	for (i = 0; i < n && sent > 0; i++) {
		uint64_t part = sent < iov[i].iov_len ? sent : iov[i].iov_len;

		sent -= part;
		if (!of[i]) {
			c->out_at += part;
			continue;
		}
		if (of[i] != c->sending) {
			window_sent(c, of[i]);
			c->sending = of[i];
			c->sending_at = 0;
		}
		c->sending_at += part;
		if (part == iov[i].iov_len)
			c->sending = NULL;
	}
	if (c->out_at == c->out.len) {
		wire_reset(&c->out);
		c->out_at = 0;
	}
}

void
conn_write(struct alm_client *c)
{
	struct batch *of[IOV_MAX_USED];
	struct iovec iov[IOV_MAX_USED];
	struct msghdr m = {.msg_iov = iov};
	uint64_t total;
	ssize_t sent;
	int n, i;

	while (c->state >= CONN_GREETING) {
		if (c->out.bad) {
			conn_lost(c, "out of memory");
			return;
		}
		n = gather(c, iov, of);
		if (n == 0) {
			watch(c, 0);
			return;
		}
		for (total = 0, i = 0; i < n; i++)
			total += iov[i].iov_len;
		m.msg_iovlen = (size_t)n;
		sent = sendmsg(c->fd, &m, MSG_NOSIGNAL);
		if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
			watch(c, 1);
			return;
		}
		if (sent < 0) {
			conn_lost(c, "%s", strerror(errno));
			return;
		}
		c->st.bytes_out += (uint64_t)sent;
		advance(c, iov, of, n, (uint64_t)sent);
		if ((uint64_t)sent < total) {
			watch(c, 1);
			return;
		}
	}
}
