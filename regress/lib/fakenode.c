/* regress/lib/fakenode.c - see fakenode.h.  The thread is here, the sequencer and the store are in
 * fakestore.c. */
#include "regress/lib/fakestore.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

const struct alm_module *alm_module_v1(void);

/* ---- sockets ------------------------------------------------------------------------------- */

static uint64_t
allowed(struct fakenode *n, uint64_t want, uint64_t cut)
{
	if (n->trickle && want > n->trickle)
		want = n->trickle;
	return cut && want > cut ? cut : want;
}

static void
link_close(struct link *l)
{
	if (l->conn)
		fb_close(l->conn, ALM_ECLOSED);
	l->conn = NULL;
	close(l->fd);
	l->fd = -1;
}

static void
link_read(struct fakenode *n, struct link *l)
{
	uint8_t buf[65536];
	ssize_t got = recv(l->fd, buf, allowed(n, sizeof buf, n->cut_in), MSG_DONTWAIT);

	if (got == 0 || (got < 0 && errno != EAGAIN)) {
		link_close(l);
		return;
	}
	if (got < 0)
		return;
	if (fb_feed(l->conn, buf, (uint64_t)got) < 0) {
		l->conn = NULL; /* freed by fb_feed */
		link_close(l);
		return;
	}
	if (n->cut_in && !(n->cut_in -= (uint64_t)got))
		link_close(l);
}

static void
link_write(struct fakenode *n, struct link *l)
{
	ssize_t sent;

	if (!l->conn->out.len) {
		if (l->conn->closing)
			link_close(l);
		return;
	}
	sent = send(l->fd, l->conn->out.data, allowed(n, l->conn->out.len, n->cut_out),
	    MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		link_close(l);
		return;
	}
	if (sent < 0)
		return;
	fb_drain(l->conn, (uint64_t)sent);
	if (n->cut_out && !(n->cut_out -= (uint64_t)sent))
		link_close(l);
}

/* One turn with the lock held; 1 if something moved. */
static void
turn(struct fakenode *n)
{
	uint32_t i;

	fb_clock(n->fb, n->fb->clock + 1000);
	for (i = 0; i < n->n_links; i++)
		if (n->links[i].fd >= 0)
			link_read(n, &n->links[i]);
	if (!n->full) {
		/* The ring has room again: the worker says so once a turn, and reading goes on. */
		for (i = 0; i < n->n_links; i++) {
			if (n->links[i].fd < 0)
				continue;
			fb_drain(n->links[i].conn, 0);
			if (fb_feed(n->links[i].conn, "", 0) < 0) {
				n->links[i].conn = NULL;
				link_close(&n->links[i]);
			}
		}
	}
	store_answer(n);
	for (i = 0; i < n->n_links; i++) {
		if (n->links[i].fd >= 0 && n->links[i].doomed)
			link_close(&n->links[i]);
		if (n->links[i].fd >= 0)
			link_write(n, &n->links[i]);
	}
}

static void *
run(void *arg)
{
	struct fakenode *n = arg;
	struct pollfd p[LINKS_MAX];
	uint32_t i, k;

	for (;;) {
		pthread_mutex_lock(&n->lock);
		if (n->stop) {
			pthread_mutex_unlock(&n->lock);
			return NULL;
		}
		turn(n);
		for (i = k = 0; i < n->n_links; i++)
			if (n->links[i].fd >= 0)
				p[k++] = (struct pollfd){.fd = n->links[i].fd, .events = POLLIN};
		pthread_mutex_unlock(&n->lock);
		(void)poll(p, k, 1);
	}
}

int
fakenode_dial(void *node, const char *server)
{
	struct fakenode *n = node;
	int pair[2];
	uint32_t i;

	(void)server;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	pthread_mutex_lock(&n->lock);
	for (i = 0; i < n->n_links && n->links[i].fd >= 0; i++)
		;
	if (i == LINKS_MAX)
		abort();
	if (i == n->n_links)
		n->n_links++;
	n->links[i] = (struct link){.fd = pair[1], .conn = fb_open(n->fb)};
	n->connections++;
	pthread_mutex_unlock(&n->lock);
	return pair[0];
}

/* ---- life ------------------------------------------------------------------------------------ */

struct fakenode *
fakenode_new(void)
{
	const struct alm_provider *p = alm_module_v1()->providers;
	struct fakenode *n = calloc(1, sizeof *n);

	if (!n)
		abort();
	n->fb = fb_new();
	n->fb->settings = p->settings;
	n->fb->n_settings = p->n_settings;
	pthread_mutex_init(&n->lock, NULL);
	if (fb_load(n->fb, p->ops) != ALM_OK || pthread_create(&n->thread, NULL, run, n) != 0)
		abort();
	return n;
}

uint64_t
fakenode_free(struct fakenode *n)
{
	uint64_t bad;
	uint32_t i;

	pthread_mutex_lock(&n->lock);
	n->stop = 1;
	pthread_mutex_unlock(&n->lock);
	pthread_join(n->thread, NULL);
	for (i = 0; i < n->n_links; i++)
		if (n->links[i].fd >= 0)
			link_close(&n->links[i]);
	bad = fb_free(n->fb);
	store_free(n);
	pthread_mutex_destroy(&n->lock);
	free(n);
	return bad;
}

/* ---- script ------------------------------------------------------------------------------------ */

#define LOCKED(n, statement)                                                                       \
	do {                                                                                       \
		pthread_mutex_lock(&(n)->lock);                                                    \
		statement;                                                                         \
		pthread_mutex_unlock(&(n)->lock);                                                  \
	} while (0)

void
fakenode_topic(struct fakenode *n, const char *name, uint32_t queues)
{
	LOCKED(n, fb_topic_add(n->fb, name, queues));
}

void
fakenode_refuse(struct fakenode *n, uint32_t count, int status, const char *address)
{
	LOCKED(n, n->refuse = count; n->refuse_status = status; n->address = address);
}

void
fakenode_cut_in(struct fakenode *n, uint64_t bytes)
{
	LOCKED(n, n->cut_in = bytes);
}

void
fakenode_cut_out(struct fakenode *n, uint64_t bytes)
{
	LOCKED(n, n->cut_out = bytes);
}

void
fakenode_lose_acks(struct fakenode *n, uint32_t count)
{
	LOCKED(n, n->lose = count);
}

void
fakenode_reverse(struct fakenode *n, uint32_t count)
{
	LOCKED(n, n->reverse = count);
}

void
fakenode_twice(struct fakenode *n, uint32_t on)
{
	LOCKED(n, n->twice = on);
}

void
fakenode_trickle(struct fakenode *n, uint32_t bytes)
{
	LOCKED(n, n->trickle = bytes);
}

void
fakenode_full(struct fakenode *n, uint32_t status)
{
	LOCKED(n, n->full = n->fb->refuse = status);
}

void
fakenode_hold(struct fakenode *n, uint32_t on)
{
	LOCKED(n, n->hold = on);
}

void
fakenode_forget(struct fakenode *n)
{
	LOCKED(n, n->n_producers = 0);
}

void
fakenode_retain(struct fakenode *n, uint64_t begin)
{
	LOCKED(n, n->begin = begin);
}

void
fakenode_shutdown(struct fakenode *n)
{
	uint32_t i;

	pthread_mutex_lock(&n->lock);
	for (i = 0; i < n->n_links; i++)
		if (n->links[i].fd >= 0)
			n->fb->ops->shutdown(n->links[i].conn->session);
	pthread_mutex_unlock(&n->lock);
}

uint32_t
fakenode_stored(struct fakenode *n)
{
	uint32_t v;

	LOCKED(n, v = n->n_stored);
	return v;
}

uint32_t
fakenode_connections(struct fakenode *n)
{
	uint32_t v;

	LOCKED(n, v = n->connections);
	return v;
}

uint32_t
fakenode_appends(struct fakenode *n)
{
	uint32_t v;

	LOCKED(n, v = n->appends);
	return v;
}

int
fakenode_message(struct fakenode *n, uint32_t i, struct fakenode_message *out)
{
	int st = ALM_ENOTFOUND;

	pthread_mutex_lock(&n->lock);
	if (i < n->n_stored) {
		const struct stored *m = &n->stored[i];

		memset(out, 0, sizeof *out);
		out->topic = m->topic;
		out->queue = m->queue;
		out->offset = m->offset;
		out->producer = m->producer;
		out->sequence = m->sequence;
		out->len = m->body_len;
		memcpy(out->body, m->bytes + m->attrs_len,
		    m->body_len < sizeof out->body ? m->body_len : sizeof out->body - 1);
		st = ALM_OK;
	}
	pthread_mutex_unlock(&n->lock);
	return st;
}
