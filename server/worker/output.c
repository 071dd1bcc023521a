/* worker/output.c - bytes on their way to a peer.
 *
 * The queue of a connection is a list of pieces.  A piece lies in a block of copied bytes (which
 * several pieces share, so a small header between two log slices costs no block of its own) or in
 * the log, then it holds the batch's view.  Whole connections are sent once a turn with sendmsg of
 * up to 64 pieces.  Blocks and pieces are recycled by the worker; an idle connection has none. */
#include "worker/worker.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define IOV_MAX_ 64
#define SENDS_MAX 8         /* sendmsg calls for a connection in one turn */
#define TURN_BYTES (256u << 10) /* sent to one connection in one turn: a reader of a long backlog must
                                 * not keep publishers waiting */
#define BLOCKS_KEPT 256u    /* free blocks that a worker keeps */
#define COPY_BELOW 1024u    /* log slices below this are copied: cheaper than a piece and a pin */

static struct block *
block_get(struct worker *w)
{
	struct block *b = w->free_blocks;

	if (b) {
		w->free_blocks = b->next;
		w->n_free_blocks--;
	} else {
		b = malloc(sizeof *b);
		if (!b)
			return NULL;
	}
	b->refs = 1;
	b->used = 0;
	return b;
}

static void
block_unref(struct worker *w, struct block *b)
{
	if (--b->refs)
		return;
	if (w->n_free_blocks >= BLOCKS_KEPT) {
		free(b);
		return;
	}
	b->next = w->free_blocks;
	w->free_blocks = b;
	w->n_free_blocks++;
}

static struct piece *
piece_add(struct alm_conn *c)
{
	struct worker *w = c->w;
	struct piece *p = w->free_pieces;

	if (p)
		w->free_pieces = p->next;
	else
		p = malloc(sizeof *p);
	if (!p)
		return NULL;
	*p = (struct piece){0};
	if (c->out_tail)
		c->out_tail->next = p;
	else
		c->out = p;
	c->out_tail = p;
	return p;
}

static void
piece_drop(struct alm_conn *c)
{
	struct worker *w = c->w;
	struct piece *p = c->out;

	c->out = p->next;
	if (!c->out)
		c->out_tail = NULL;
	if (p->block)
		block_unref(w, p->block);
	if (p->view)
		view_unref(w, p->view);
	p->next = w->free_pieces;
	w->free_pieces = p;
}

void
output_drop(struct alm_conn *c)
{
	while (c->out)
		piece_drop(c);
	if (c->block)
		block_unref(c->w, c->block);
	c->block = NULL;
	c->out_bytes = 0;
}

/* A connection with that much waiting has a provider that does not look at pending(). */
static int
over_cap(struct alm_conn *c, uint64_t more)
{
	uint64_t cap = 4 * c->w->core->max_output + 4 * (uint64_t)ALM_MESSAGE_MAX;

	if (c->out_bytes + more <= cap)
		return 0;
	log_warn("%s: closing: more than %llu bytes of output wait for the peer", c->peer,
	    (unsigned long long)cap);
	conn_dead(c, ALM_ETOOBIG);
	return 1;
}

static void
queued(struct alm_conn *c, uint64_t len)
{
	c->out_bytes += len;
	if (list_empty(&c->dirty) && !c->writing) {
		list_add(&c->w->dirty, &c->dirty);
		worker_wake(c->w);
	}
	if (!c->choked && c->out_bytes > c->w->core->max_output) {
		c->choked = 1;
		conn_reading(c);
	}
}

/* Copy what fits into the current block; bytes taken, 0: out of memory. */
static uint64_t
copy_some(struct alm_conn *c, const uint8_t *data, uint64_t len)
{
	struct block *b = c->block;
	struct piece *p = c->out_tail;
	uint64_t n;

	if (b && b->used == BLOCK_BYTES) {
		block_unref(c->w, b);
		b = NULL;
	}
	if (!b)
		b = c->block = block_get(c->w);
	if (!b)
		return 0;
	n = BLOCK_BYTES - b->used < len ? BLOCK_BYTES - b->used : len;
	if (!p || p->block != b || p->data + p->len != b->data + b->used) {
		p = piece_add(c);
		if (!p)
			return 0;
		p->block = b;
		p->data = b->data + b->used;
		b->refs++;
	}
	memcpy(b->data + b->used, data, n);
	b->used += (uint32_t)n;
	p->len += n;
	return n;
}

int
conn_write(struct alm_conn *c, const void *data, uint64_t len)
{
	const uint8_t *p = data;
	uint64_t n, left = len;

	if (c->state != CONN_OPEN || over_cap(c, len))
		return ALM_ECLOSED;
	while (left) {
		n = copy_some(c, p, left);
		if (!n) {
			conn_dead(c, ALM_ENOMEM); /* half a frame must not leave */
			return ALM_ECLOSED;
		}
		p += n;
		left -= n;
	}
	queued(c, len);
	return ALM_OK;
}

int
conn_write_pinned(struct alm_conn *c, const struct alm_chunk *k)
{
	struct view *v = slab_get(&c->w->pins.views, k->pin);
	const uint8_t *from, *data = k->data;
	struct piece *p;

	if (!v || k->len < COPY_BELOW)
		return conn_write(c, k->data, k->len);
	from = (const void *)v->v.batch;
	if (data < from || k->len > v->v.batch->length ||
	    (uint64_t)(data - from) > v->v.batch->length - k->len)
		return err_set(ALM_EINVAL, "the chunk does not lie in the batch that its pin names");
	if (c->state != CONN_OPEN || over_cap(c, k->len))
		return ALM_ECLOSED;
	p = piece_add(c);
	if (!p) {
		conn_dead(c, ALM_ENOMEM);
		return ALM_ECLOSED;
	}
	view_ref(v);
	p->view = v;
	p->data = data;
	p->len = k->len;
	queued(c, k->len);
	return ALM_OK;
}

uint64_t
conn_pending(struct alm_conn *c)
{
	if (c->out_bytes)
		c->told = 1;
	return c->out_bytes;
}

static void
sent(struct alm_conn *c, uint64_t n)
{
	c->out_bytes -= n;
	while (n) {
		struct piece *p = c->out;

		if (n < p->len) {
			p->data += n;
			p->len -= n;
			return;
		}
		n -= p->len;
		piece_drop(c);
	}
}

/* One sendmsg of about *budget bytes: 1 all of what was gathered left, 0 the socket is full, or an
 * error. */
static int
send_some(struct alm_conn *c, uint64_t *budget)
{
	struct iovec iov[IOV_MAX_];
	struct msghdr msg = {.msg_iov = iov};
	struct piece *p;
	uint64_t total = 0;
	ssize_t n;

	for (p = c->out; p && msg.msg_iovlen < IOV_MAX_ && total < *budget; p = p->next) {
		iov[msg.msg_iovlen].iov_base = (void *)(uintptr_t)p->data;
		iov[msg.msg_iovlen].iov_len = p->len < *budget - total ? p->len : *budget - total;
		total += iov[msg.msg_iovlen++].iov_len;
	}
	n = sendmsg(c->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : ALM_ECLOSED;
	count(c->w, COUNT_BYTES_OUT, (uint64_t)n);
	sent(c, (uint64_t)n);
	*budget -= (uint64_t)n;
	return (uint64_t)n == total;
}

static void
want_writable(struct alm_conn *c, int on)
{
	if (on == c->writing)
		return;
	if (on ? event_add(&c->wr, NULL) : event_del(&c->wr))
		conn_dead(c, ALM_ENOMEM);
	else
		c->writing = (uint8_t)on;
}

static void
drained(struct alm_conn *c)
{
	uint64_t half = c->w->core->max_output / 2;

	if (c->out_bytes <= half && c->choked) {
		c->choked = 0;
		conn_reading(c);
	} else if (c->out_bytes) {
		return;
	}
	if (c->told && c->state == CONN_OPEN) {
		c->told = 0;
		c->from->protocol->ops->writable(c->session);
	}
}

void
conn_send(struct alm_conn *c)
{
	uint64_t budget = TURN_BYTES;
	int st = 1, i;

	for (i = 0; c->out && st == 1 && budget > 0 && i < SENDS_MAX; i++)
		st = send_some(c, &budget);
	if (st < 0) {
		conn_dead(c, st);
		return;
	}
	if (!c->out && c->block) { /* nothing waits: an idle connection has no buffers */
		block_unref(c->w, c->block);
		c->block = NULL;
	}
	want_writable(c, c->out != NULL);
	drained(c);
}

void
output_end(struct worker *w)
{
	struct block *b;
	struct piece *p;

	while ((b = w->free_blocks)) {
		w->free_blocks = b->next;
		free(b);
	}
	while ((p = w->free_pieces)) {
		w->free_pieces = p->next;
		free(p);
	}
}
