/* worker/conn.c - connections: accepted, read, fed to their provider, closed.
 *
 * Reads go into one buffer of the worker; only the rest of an incomplete frame is kept with the
 * connection, so an idle one has no buffers.  A provider's call never frees a connection: close()
 * and conn_dead() change its state, conns_reap() frees it at the end of the turn.
 *
 *   OPEN -- close() --> DRAINING -- all has left --> LINGER (if asked for) --> DEAD
 *   any of them -- error, end of the peer, deadline of the drain --> DEAD */
#include "worker/worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_BURST 64
#define COPIED_REST (64u << 10)  /* a longer rest is read into where it lies */
#define DRAIN_US 10000000u       /* what was written has this long to leave after close() */

/* ---- input ------------------------------------------------------------------------------ */

void
conn_reading(struct alm_conn *c)
{
	int want = (c->state == CONN_OPEN && !c->paused && !c->choked && !c->eof) ||
	    c->state == CONN_LINGER;

	if (want == c->reading)
		return;
	if (want ? event_add(&c->rd, NULL) : event_del(&c->rd))
		conn_dead(c, ALM_ENOMEM);
	else
		c->reading = (uint8_t)want;
}

static void
rest_free(struct alm_conn *c)
{
	free(c->in);
	c->in = NULL;
	c->in_len = c->in_cap = 0;
}

static int
rest_reserve(struct alm_conn *c, uint64_t cap)
{
	uint8_t *p;

	if (cap <= c->in_cap)
		return ALM_OK;
	p = realloc(c->in, cap);
	if (!p)
		return ALM_ENOMEM;
	c->in = p;
	c->in_cap = cap;
	return ALM_OK;
}

/* Keep what the provider did not use. data is the worker's buffer or lies in c->in. */
static int
rest_keep(struct alm_conn *c, const uint8_t *data, uint64_t len)
{
	if (!len) {
		rest_free(c);
		return ALM_OK;
	}
	if (!c->in || data < c->in || data >= c->in + c->in_cap) {
		if (rest_reserve(c, len))
			return ALM_ENOMEM;
	}
	memmove(c->in, data, len);
	c->in_len = len;
	return ALM_OK;
}

/* Offer bytes to the provider until it wants no more. */
static void
feed(struct alm_conn *c, const uint8_t *data, uint64_t len)
{
	const struct alm_protocol_ops_v0 *ops = c->from->protocol->ops;
	uint64_t limit;
	int64_t used = 0;

	while (len && c->state == CONN_OPEN && !c->paused) {
		used = ops->input(c->session, data, len);
		if (used < 0 || (uint64_t)used > len) {
			count(c->w, COUNT_CONNS_FAILED, 1);
			conn_close(c, used < 0 ? (int)used : ALM_EINTERNAL, 0);
			return;
		}
		data += used;
		len -= (uint64_t)used;
		if (!used)
			break;
	}
	if (c->state != CONN_OPEN)
		return;
	limit = ops->frame_limit(c->session);
	if (len > limit && !used && !c->paused) {
		log_info("%s: closing: a frame is longer than %llu bytes", c->peer,
		    (unsigned long long)limit);
		count(c->w, COUNT_CONNS_FAILED, 1);
		conn_close(c, ALM_ETOOBIG, 0);
	} else if (rest_keep(c, data, len)) {
		conn_dead(c, ALM_ENOMEM);
	}
}

static void
peer_ended(struct alm_conn *c)
{
	c->eof = 1;
	conn_reading(c);
	if (c->state == CONN_LINGER) {
		conn_dead(c, c->status);
		return;
	}
	fetch_cancel_all(c);
	conn_maybe_over(c);
}

static void
receive(struct alm_conn *c)
{
	struct worker *w = c->w;
	uint8_t *base = w->input;
	uint64_t have = c->in_len, room = INPUT_BYTES - have;
	ssize_t n;

	if (have > COPIED_REST) {
		if (rest_reserve(c, have + (have < 2 * INPUT_BYTES ? INPUT_BYTES : have / 2))) {
			conn_dead(c, ALM_ENOMEM);
			return;
		}
		base = c->in;
		room = c->in_cap - have;
	}
	n = recv(c->fd, base + have, room, MSG_DONTWAIT);
	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			conn_dead(c, ALM_ECLOSED);
		return;
	}
	if (n == 0) {
		peer_ended(c);
		return;
	}
	count(w, COUNT_BYTES_IN, (uint64_t)n);
	if (c->state != CONN_OPEN) /* lingering: what still comes is not looked at */
		return;
	if (base != c->in && have)
		memcpy(base, c->in, have);
	feed(c, base, have + (uint64_t)n);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct alm_conn *c = arg;

	(void)fd;
	(void)what;
	worker_wake(c->w);
	receive(c);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct alm_conn *c = arg;

	(void)fd;
	(void)what;
	worker_wake(c->w);
	list_add(&c->w->dirty, &c->dirty);
}

void
conn_pause(struct alm_conn *c, uint32_t paused)
{
	if (c->state != CONN_OPEN)
		return;
	c->paused = paused != 0;
	conn_reading(c);
	if (!paused && c->in_len) {
		list_add(&c->w->resumed, &c->resumed);
		worker_wake(c->w);
	}
}

void
conns_resume(struct worker *w)
{
	struct node now;

	list_init(&now);
	list_splice(&now, &w->resumed);
	while (!list_empty(&now)) {
		struct alm_conn *c = container_of(now.next, struct alm_conn, resumed);

		list_del(&c->resumed);
		if (c->state == CONN_OPEN && c->in_len)
			feed(c, c->in, c->in_len);
		conn_maybe_over(c);
	}
}

/* ---- the end ----------------------------------------------------------------------------- */

static void
drop_requests(struct alm_conn *c)
{
	while (!list_empty(&c->requests))
		request_drop(container_of(c->requests.next, struct request, of_conn));
	list_del(&c->starved);
	list_del(&c->resumed);
}

void
conn_dead(struct alm_conn *c, int status)
{
	if (c->state == CONN_DEAD)
		return;
	if (c->state == CONN_OPEN)
		c->status = status;
	c->state = CONN_DEAD;
	timer_clear(c->w, &c->timer);
	list_add(&c->w->dead, &c->all);
	worker_wake(c->w);
}

void
conn_close(struct alm_conn *c, int status, uint32_t linger_ms)
{
	struct worker *w = c->w;

	if (c->state != CONN_OPEN)
		return;
	c->status = status;
	c->state = CONN_DRAINING;
	c->linger_ms = linger_ms < 60000 ? linger_ms : 60000;
	drop_requests(c); /* but not c->in: the provider may be reading it in input() */
	conn_reading(c);
	if (timer_set(w, &c->timer, w->now + DRAIN_US))
		conn_dead(c, status);
	list_add(&w->dirty, &c->dirty);
	worker_wake(w);
}

/* What was written before close() has left. */
static void
drain_over(struct alm_conn *c)
{
	if (!c->linger_ms || c->eof || shutdown(c->fd, SHUT_WR) ||
	    timer_set(c->w, &c->timer, c->w->now + (uint64_t)c->linger_ms * 1000)) {
		conn_dead(c, c->status);
		return;
	}
	c->state = CONN_LINGER;
	conn_reading(c);
}

void
conn_maybe_over(struct alm_conn *c)
{
	if (c->state == CONN_OPEN && c->eof && list_empty(&c->requests) && !c->out &&
	    !(c->paused && c->in_len))
		conn_dead(c, ALM_ECLOSED);
}

static void
on_deadline(struct worker *w, struct timer *t)
{
	struct alm_conn *c = container_of(t, struct alm_conn, timer);

	(void)w;
	if (c->state == CONN_OPEN)
		c->from->protocol->ops->timer(c->session);
	else
		conn_dead(c, c->status);
}

void
conn_deadline(struct alm_conn *c, uint64_t at)
{
	if (c->state != CONN_OPEN)
		return;
	if (!at)
		timer_clear(c->w, &c->timer);
	else if (timer_set(c->w, &c->timer, at))
		conn_dead(c, ALM_ENOMEM);
	worker_wake(c->w);
}

void
conn_starve(struct alm_conn *c)
{
	list_add(&c->w->starved, &c->starved);
}

static void
conn_free(struct alm_conn *c)
{
	struct worker *w = c->w;

	drop_requests(c);
	readahead_drop(c);
	output_drop(c);
	rest_free(c);
	list_del(&c->dirty);
	list_del(&c->all);
	timer_clear(w, &c->timer);
	event_del(&c->rd);
	event_del(&c->wr);
	hmap_del(w->by_id, c->id);
	close(c->fd);
	c->magic = 0;
	free(c);
	count_set(w, COUNT_CONNS_OPEN, --w->n_conns);
}

void
conns_reap(struct worker *w)
{
	while (!list_empty(&w->dead)) {
		struct alm_conn *c = container_of(w->dead.next, struct alm_conn, all);

		c->from->protocol->ops->closed(c->session, c->status);
		conn_free(c);
	}
}

/* ---- once a turn --------------------------------------------------------------------------- */

void
conns_flush(struct worker *w)
{
	struct node now;

	list_init(&now);
	list_splice(&now, &w->dirty);
	while (!list_empty(&now)) {
		struct alm_conn *c = container_of(now.next, struct alm_conn, dirty);

		list_del(&c->dirty);
		if (c->state == CONN_DEAD)
			continue;
		if (c->out)
			conn_send(c);
		if (c->state == CONN_DRAINING && !c->out)
			drain_over(c);
		else
			conn_maybe_over(c);
	}
}

void
conns_starved(struct worker *w)
{
	struct node now;

	/* Not for every few bytes of room: most providers would find too little again. */
	if (list_empty(&w->starved) || (link_up(&w->ledger) &&
	    !link_reserve(&w->ledger, MSG_APPEND, link_max(&w->ledger) / 4)))
		return;
	list_init(&now);
	list_splice(&now, &w->starved);
	while (!list_empty(&now)) {
		struct alm_conn *c = container_of(now.next, struct alm_conn, starved);

		list_del(&c->starved);
		if (c->state == CONN_OPEN)
			c->from->protocol->ops->writable(c->session);
	}
}

void
conns_shutdown(struct worker *w)
{
	struct node *n, *next;

	for (n = w->conns.next; n != &w->conns; n = next) {
		struct alm_conn *c = container_of(n, struct alm_conn, all);

		next = n->next;
		if (c->state != CONN_OPEN)
			continue;
		fetch_cancel_all(c);
		c->from->protocol->ops->shutdown(c->session);
	}
}

void
conns_close_idle(struct worker *w)
{
	struct node *n, *next;

	for (n = w->conns.next; n != &w->conns; n = next) {
		struct alm_conn *c = container_of(n, struct alm_conn, all);

		next = n->next;
		if (c->state == CONN_OPEN && list_empty(&c->requests))
			conn_close(c, ALM_ECLOSED, 0);
	}
}

struct alm_conn *
conn_by_id(struct worker *w, uint64_t id)
{
	uint64_t *slot = hmap_get(w->by_id, id);

	return slot ? (struct alm_conn *)(uintptr_t)*slot : NULL;
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* Address and text of the peer. */
static void
describe(struct alm_conn *c, const struct sockaddr_storage *ss, struct alm_conn_info *info)
{
	struct ucred cred = {0};
	socklen_t len = sizeof cred;
	char text[INET6_ADDRSTRLEN] = "";

	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *a = (const void *)ss;

		info->addr_len = 4;
		memcpy(info->addr, &a->sin_addr, 4);
		info->port = ntohs(a->sin_port);
		inet_ntop(AF_INET, &a->sin_addr, text, sizeof text);
		snprintf(c->peer, sizeof c->peer, "%s:%u", text, info->port);
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *a = (const void *)ss;

		info->addr_len = 16;
		memcpy(info->addr, &a->sin6_addr, 16);
		info->port = ntohs(a->sin6_port);
		inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof text);
		snprintf(c->peer, sizeof c->peer, "[%s]:%u", text, info->port);
	} else {
		info->is_unix = 1;
		getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len);
		snprintf(c->peer, sizeof c->peer, "unix:uid=%u,pid=%d", cred.uid, cred.pid);
	}
}

static struct alm_conn *
conn_new(struct acceptor *a, int fd)
{
	struct worker *w = a->w;
	struct alm_conn *c = calloc(1, sizeof *c);

	if (!c)
		return NULL;
	c->magic = CONN_MAGIC;
	c->state = CONN_OPEN;
	c->w = w;
	c->from = a;
	c->fd = fd;
	c->timer.fire = on_deadline;
	list_init(&c->all);
	list_init(&c->dirty);
	list_init(&c->starved);
	list_init(&c->resumed);
	list_init(&c->requests);
	/* 16 bits node, 8 worker slot, 12 generation, 28 number. */
	c->id = (w->core->node_id & 0xffff) << 48 | (uint64_t)(w->env->slot & 0xff) << 40 |
	    (w->env->generation & 0xfff) << 28 | (w->next_id++ & 0xfffffff);
	event_assign(&c->rd, w->env->base, fd, EV_READ | EV_PERSIST, on_readable, c);
	event_assign(&c->wr, w->env->base, fd, EV_WRITE | EV_PERSIST, on_writable, c);
	return c;
}

static void
set_options(int fd, int is_unix)
{
	int one = 1, idle = 60;

	if (is_unix)
		return;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
}

/* Open the provider's session: ALM_OK, or an error and the caller frees. */
static int
open_session(struct alm_conn *c, const struct sockaddr_storage *ss)
{
	struct worker *w = c->w;
	struct alm_conn_info info = {.size = sizeof info, .id = c->id, .peer = c->peer,
	    .listener = c->from->conf->name};
	struct protocol *p = c->from->protocol;
	uint64_t *slot;
	int st;

	describe(c, ss, &info);
	set_options(c->fd, (int)info.is_unix);
	slot = hmap_put(w->by_id, c->id);
	if (!slot)
		return ALM_ENOMEM;
	*slot = (uintptr_t)c;
	st = hooks_call(c, ALM_HOOK_CONNECT, slice("", 0), slice("", 0));
	if (!st)
		st = p->ops->open(p->proto, c, &info, &c->session);
	if (st)
		return st;
	list_add(&w->conns, &c->all);
	conn_reading(c);
	return ALM_OK;
}

static void
refused(struct worker *w, const char *why)
{
	count(w, COUNT_CONNS_REFUSED, 1);
	if (w->now - w->refused_logged < 1000000)
		return;
	w->refused_logged = w->now;
	log_warn("refused a connection: %s", why);
}

/* Open connections of all workers: each counts its own in its region. */
static uint64_t
node_connections(struct worker *w)
{
	uint64_t n = w->n_conns;
	uint32_t peer;

	for (peer = PEER_WORKER(1); peer < PEERS_MAX; peer++)
		if (w->peer[peer].head)
			n += atomic_load_explicit(&w->peer[peer].head->counter[COUNT_CONNS_OPEN],
			    memory_order_relaxed);
	return n;
}

static void
admit(struct acceptor *a, int fd, const struct sockaddr_storage *ss)
{
	struct worker *w = a->w;
	struct alm_conn *c;
	char why[128];
	int st;

	if (node_connections(w) >= w->core->max_connections) {
		snprintf(why, sizeof why, "server.max_connections = %llu are open",
		    (unsigned long long)w->core->max_connections);
		refused(w, why);
		close(fd);
		return;
	}
	c = conn_new(a, fd);
	if (!c) {
		refused(w, "out of memory");
		close(fd);
		return;
	}
	w->n_conns++;
	err_clear();
	st = open_session(c, ss);
	if (st) {
		refused(w, *err_text() ? err_text() : status_text(st));
		conn_free(c);
		return;
	}
	count(w, COUNT_CONNS_ACCEPTED, 1);
	count_set(w, COUNT_CONNS_OPEN, w->n_conns);
}

static void
on_accept(evutil_socket_t listen_fd, short what, void *arg)
{
	struct acceptor *a = arg;
	struct worker *w = a->w;
	struct sockaddr_storage ss;
	socklen_t len;
	int fd, i;

	(void)what;
	worker_wake(w);
	for (i = 0; i < ACCEPT_BURST; i++) {
		len = sizeof ss;
		memset(&ss, 0, sizeof ss);
		fd = accept4(listen_fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			admit(a, fd, &ss);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_warn("listener %s: accepting pauses for a second: %s", a->conf->name,
			    strerror(errno));
			conns_listen(w, 0);
		}
		return;
	}
}

/* on: 1 accept, 0 pause. Called again by the heartbeat after a pause. */
void
conns_listen(struct worker *w, int on)
{
	uint32_t i;

	for (i = 0; i < w->n_acceptors; i++) {
		struct acceptor *a = &w->acceptor[i];

		if (a->fd < 0 || a->on == (uint32_t)on)
			continue;
		if (on ? event_add(&a->ev, NULL) : event_del(&a->ev))
			log_error("listener %s: could not change its event", a->conf->name);
		else
			a->on = (uint32_t)on;
	}
}

static struct protocol *
protocol_named(struct worker *w, const char *name)
{
	uint32_t i;

	for (i = 0; i < w->n_protocols; i++)
		if (!strcmp(w->protocol[i].name, name))
			return &w->protocol[i];
	return NULL;
}

int
conns_init(struct worker *w)
{
	uint32_t i;

	list_init(&w->conns);
	list_init(&w->dirty);
	list_init(&w->dead);
	list_init(&w->starved);
	list_init(&w->resumed);
	w->by_id = hmap_new();
	w->input = malloc(INPUT_BYTES);
	if (!w->by_id || !w->input)
		return err_set(ALM_ENOMEM, "out of memory for connections");
	for (i = 0; i < w->core->n_listeners && i < LISTENERS_MAX; i++) {
		struct acceptor *a = &w->acceptor[w->n_acceptors++];

		a->w = w;
		a->conf = &w->core->listener[i];
		a->fd = w->env->listen_fd[i];
		a->protocol = protocol_named(w, a->conf->protocol);
		if (a->fd < 0)
			continue;
		fcntl(a->fd, F_SETFL, fcntl(a->fd, F_GETFL) | O_NONBLOCK);
		event_assign(&a->ev, w->env->base, a->fd, EV_READ | EV_PERSIST, on_accept, a);
	}
	return ALM_OK;
}

void
conns_end(struct worker *w)
{
	if (!w->by_id)
		return;
	conns_listen(w, 0);
	while (!list_empty(&w->conns))
		conn_dead(container_of(w->conns.next, struct alm_conn, all), ALM_ECLOSED);
	conns_reap(w);
	output_end(w);
	hmap_free(w->by_id);
	w->by_id = NULL;
	free(w->input);
	w->input = NULL;
}
