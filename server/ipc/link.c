/* ipc/link.c - the two rings between a role and one of its peers.
 *
 * Each side runs on its role's one thread.  Our ring (data and tail) lies in our region, where only
 * we write; how much of it the peer has consumed (head) lies in the peer's region, and the same the
 * other way round.  Positions count bytes and never wrap; a record lies at position % size, aligned
 * to 8, in one piece: where it would cross the end, a padding record fills the rest of the ring.
 *
 * Generations.  A side attaches to an incarnation of the peer: it sets its own head and tail for
 * that peer to 0 and then, with release, names the peer's generation.  Neither head nor tail of the
 * peer is looked at before the peer has named our generation (acquire): then they are counted from
 * that attachment on, whatever the peer did with an earlier incarnation of ours.  A peer names us
 * only once, since it refuses a region it has attached before; the incarnation before is gone by
 * the time a new region exists.  So the two zeros always meet, in whatever order both sides attach.
 *
 * Everything in the peer's region is untrusted: each value is loaded once, checked, and the checked
 * copy used.
 */
#include "ipc/region.h"

#include <string.h>
#include <sys/stat.h>

#include "ipc/fence.h"

#define REC_HEAD ((uint64_t)sizeof(struct link_rec))

/* A producer that finds its ring empty goes back to the begin, so that a lightly used ring stays in
 * the cache; only behind this point, so that at least so much room is left until the consumer has
 * passed the padding. */
#define REWIND_MIN (256u << 10)

_Static_assert(sizeof(struct link_rec) == 8, "records are aligned to 8");

static uint64_t
record_bytes(uint64_t len)
{
	return REC_HEAD + (len + 7) / 8 * 8;
}

static uint64_t
rewind_point(const struct link *l)
{
	return l->out_size / 16 > REWIND_MIN ? l->out_size / 16 : REWIND_MIN;
}

static struct region_ring *
own_ring(const struct link *l)
{
	return &l->self->ring[l->peer_id];
}

static const struct region_ring *
peer_ring(const struct link *l)
{
	return &l->peer->ring[l->self_id];
}

void
link_init(struct link *l, struct region *self, uint32_t peer_id, int peer_bell)
{
	const struct region_ring *r = &self->head->ring[peer_id];

	INVARIANT(self->writable && peer_id < PEERS_MAX);
	memset(l, 0, sizeof *l);
	l->self = self->head;
	l->self_id = self->head->peer;
	l->peer_id = peer_id;
	l->peer_bell = peer_bell;
	l->out_size = r->size;
	l->out = r->size ? (uint8_t *)self->head + r->data : NULL;
}

/* The peer's ring to us, if its place is within the region (the peer could have changed it). */
static int
map_input(struct link *l)
{
	const struct region_ring *r = &l->map.head->ring[l->self_id];
	uint64_t data = __atomic_load_n(&r->data, __ATOMIC_RELAXED);
	uint64_t size = __atomic_load_n(&r->size, __ATOMIC_RELAXED);

	l->in = NULL;
	l->in_size = 0;
	if (size == 0)
		return ALM_OK;
	if ((size & (size - 1)) != 0 || size < 64 || data % 8 != 0 || data > l->map.size ||
	    size > l->map.size - data)
		return ALM_EINVAL;
	l->in = (const uint8_t *)l->map.head + data;
	l->in_size = size;
	return ALM_OK;
}

int
link_news(const struct link *l, int fd)
{
	struct stat st;

	return fstat(fd, &st) != 0 || l->map_ino != (uint64_t)st.st_ino ||
	    l->map_dev != (uint64_t)st.st_dev;
}

int
link_attach(struct link *l, int fd)
{
	struct region_ring *own = own_ring(l);
	struct stat st;
	int rc;

	if (fstat(fd, &st) != 0)
		return err_set(ALM_EIO, "could not stat the region of peer %u", l->peer_id);
	if (l->map_ino == (uint64_t)st.st_ino && l->map_dev == (uint64_t)st.st_dev)
		return l->peer ? ALM_OK
			       : err_set(ALM_ESTALE,
				     "the incarnation of peer %u was detached before", l->peer_id);
	link_detach(l);
	rc = region_map(fd, 0, &l->map);
	if (rc != ALM_OK)
		return rc;
	l->peer_generation = __atomic_load_n(&l->map.head->generation, __ATOMIC_RELAXED);
	if (l->map.head->peer != l->peer_id || l->peer_generation == 0 || map_input(l) != ALM_OK) {
		region_unmap(&l->map);
		return err_set(
		    ALM_EINVAL, "the region for peer %u is not its own or is broken", l->peer_id);
	}
	l->map_dev = (uint64_t)st.st_dev;
	l->map_ino = (uint64_t)st.st_ino;
	l->peer = l->map.head;
	l->rang = l->head = l->tail = l->published = l->out_head = l->in_tail = 0;
	l->peeked = l->waiting = l->rang_room = l->broken = l->up = 0;
	l->reserved = 0;
	atomic_store_explicit(&own->head, 0, memory_order_relaxed);
	atomic_store_explicit(&own->tail, 0, memory_order_relaxed);
	atomic_store_explicit(&own->want_room, 0, memory_order_relaxed);
	atomic_store_explicit(&own->peer_generation, l->peer_generation, memory_order_release);
	bell_ring(l->peer, l->peer_bell, &l->rang);
	return ALM_OK;
}

void
link_detach(struct link *l)
{
	if (l->peer == NULL)
		return;
	atomic_store_explicit(&own_ring(l)->peer_generation, 0, memory_order_release);
	region_unmap(&l->map);
	l->peer = NULL;
	l->in = NULL;
	l->up = l->peeked = l->waiting = 0;
	l->reserved = 0;
}

int
link_up(struct link *l)
{
	l->up = l->peer != NULL && !l->broken &&
		atomic_load_explicit(&peer_ring(l)->peer_generation, memory_order_acquire) ==
		    l->self->generation;
	return (int)l->up;
}

/* The peer's numbers make no sense.  Not its fault if it has just let go of us. */
static void
found_broken(struct link *l, const char *what, uint64_t value, uint64_t limit)
{
	if (!link_up(l))
		return;
	l->broken = 1;
	l->up = 0;
	log_error("peer %u wrote a broken ring: %s %llu, limit %llu; the link is closed",
	    l->peer_id, what, (unsigned long long)value, (unsigned long long)limit);
}

/* ---- producing ---- */

uint32_t
link_max(const struct link *l)
{
	return l->out_size ? (uint32_t)(l->out_size / 2 - REC_HEAD) : 0;
}

/* Look how far the peer has consumed; 0 if what it says is impossible. */
static int
refresh_head(struct link *l)
{
	uint64_t head = atomic_load_explicit(&peer_ring(l)->head, memory_order_acquire);

	if (head - l->out_head > l->published - l->out_head || head % 8 != 0) {
		found_broken(l, "head", head, l->published);
		return 0;
	}
	l->out_head = head;
	return 1;
}

/* Bytes that the padding before a record of need bytes takes at the present tail. */
static uint64_t
padding_for(const struct link *l, uint64_t need)
{
	uint64_t rest = l->out_size - (l->tail & (l->out_size - 1));

	return rest < need ? rest : 0;
}

static int
fits(const struct link *l, uint64_t need)
{
	return l->tail + padding_for(l, need) + need - l->out_head <= l->out_size;
}

static void
put_head(struct link *l, uint32_t type, uint64_t len)
{
	struct link_rec rec = {(uint32_t)len, type};

	memcpy(l->out + (l->tail & (l->out_size - 1)), &rec, sizeof rec);
}

/* Fill the ring up to its end. */
static void
pad_to_end(struct link *l)
{
	uint64_t rest = l->out_size - (l->tail & (l->out_size - 1));

	put_head(l, 0, rest - REC_HEAD);
	l->tail += rest;
}

/* An empty ring is used from its begin again, if the record fits into what is free there. */
static void
maybe_rewind(struct link *l, uint64_t need)
{
	uint64_t offset = l->tail & (l->out_size - 1);

	if (l->tail != l->published || offset < rewind_point(l) || need > offset)
		return;
	if (refresh_head(l) && l->out_head == l->tail)
		pad_to_end(l);
}

/* No room as far as we knew: look again, and if there is none, ask the peer to ring.  The second
 * look comes after the flag is visible, as in bell.c. */
static int
find_room(struct link *l, uint64_t need)
{
	if (!refresh_head(l))
		return 0;
	if (fits(l, need))
		return 1;
	l->waiting = 1;
	atomic_store_explicit(&own_ring(l)->want_room, ++l->wants, memory_order_release);
	full_fence();
	if (!refresh_head(l) || !fits(l, need))
		return 0;
	return 1;
}

void *
link_reserve(struct link *l, uint32_t type, uint32_t len)
{
	uint64_t need = record_bytes(len);

	INVARIANT(type != 0);
	l->reserved = 0;
	if ((!l->up && !link_up(l)) || len > link_max(l))
		return NULL;
	maybe_rewind(l, need);
	if (!fits(l, need) && !find_room(l, need))
		return NULL;
	if (l->broken)
		return NULL;
	if (l->waiting) {
		l->waiting = 0;
		atomic_store_explicit(&own_ring(l)->want_room, 0, memory_order_release);
	}
	if (padding_for(l, need))
		pad_to_end(l);
	l->reserved = (uint32_t)need;
	l->reserved_type = type;
	return l->out + (l->tail & (l->out_size - 1)) + REC_HEAD;
}

void
link_commit(struct link *l, uint32_t len)
{
	uint64_t bytes = record_bytes(len);

	INVARIANT(l->reserved != 0 && bytes <= l->reserved);
	put_head(l, l->reserved_type, len);
	l->tail += bytes;
	l->reserved = 0;
}

void
link_flush(struct link *l)
{
	if (l->peer == NULL || l->tail == l->published)
		return;
	l->published = l->tail;
	atomic_store_explicit(&own_ring(l)->tail, l->tail, memory_order_release);
	bell_ring(l->peer, l->peer_bell, &l->rang);
	link_up(l); /* notice a peer that let go of us */
}

/* ---- consuming ---- */

/* Look how far the peer has published. 1 if there is something. */
static int
refresh_tail(struct link *l)
{
	uint64_t tail;

	if (l->in == NULL || !link_up(l))
		return 0;
	tail = atomic_load_explicit(&peer_ring(l)->tail, memory_order_acquire);
	if (tail - l->head > l->in_size || tail % 8 != 0) {
		found_broken(l, "tail", tail, l->head + l->in_size);
		return 0;
	}
	l->in_tail = tail;
	return tail != l->head;
}

const void *
link_peek(struct link *l, uint32_t *type, uint32_t *len)
{
	while (l->head != l->in_tail || refresh_tail(l)) {
		uint64_t offset = l->head & (l->in_size - 1), rest = l->in_size - offset;
		uint64_t avail = l->in_tail - l->head, bytes, raw;
		struct link_rec rec;

		if (l->broken)
			return NULL;
		/* One load, so that the peer cannot change what was checked. */
		raw = __atomic_load_n(
		    (const uint64_t *)(const void *)(l->in + offset), __ATOMIC_RELAXED);
		memcpy(&rec, &raw, sizeof rec);
		bytes = record_bytes(rec.len);
		if (bytes > rest || bytes > avail || (rec.type == 0 && bytes != rest)) {
			found_broken(l, "record length", rec.len, rest < avail ? rest : avail);
			return NULL;
		}
		if (rec.type != 0) {
			*type = rec.type;
			*len = rec.len;
			l->peeked = bytes;
			return l->in + offset + REC_HEAD;
		}
		l->head += bytes;
	}
	return NULL;
}

void
link_consume(struct link *l)
{
	INVARIANT(l->peeked != 0);
	l->head += l->peeked;
	l->peeked = 0;
}

/* A producer that waits for room may be awake and about to sleep without looking for room again,
 * so it is rung in any case; once for each time it asks. */
void
link_release(struct link *l)
{
	uint64_t want;

	if (l->peer == NULL ||
	    atomic_load_explicit(&own_ring(l)->head, memory_order_relaxed) == l->head)
		return;
	atomic_store_explicit(&own_ring(l)->head, l->head, memory_order_release);
	full_fence();
	want = atomic_load_explicit(&peer_ring(l)->want_room, memory_order_acquire);
	if (want == 0 || want == l->rang_room)
		return;
	l->rang_room = want;
	bell_ring_always(l->peer_bell);
}

int
link_readable(struct link *l)
{
	uint32_t type, len;

	return link_peek(l, &type, &len) != NULL;
}
