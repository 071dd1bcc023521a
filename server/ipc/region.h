/* ipc/region.h - shared memory between roles, with one writer for each byte.
 *
 * Every incarnation of a role (ledger, indexer, worker 1..N) has one region, a sealed memfd made
 * by the manager.  The role maps it writable; all others map it read-only.  It holds the role's
 * doorbell state, heartbeat, reader pins, counters, the heads of the rings it consumes, the
 * tails of the rings it produces, and the data of the rings it produces.  So no lock is shared and
 * a role that dies mid-way leaves nothing half-visible.
 *
 * A restarted role gets a new region with the next generation.  A ring between two roles works
 * while each side's region names the generation of the other that it has attached to.
 *
 * Peers are numbered: 0 ledger, 1 indexer, 2.. workers (slot + 1, slots count from 1).
 */
#ifndef ALM_IPC_REGION_H
#define ALM_IPC_REGION_H

#include <stdatomic.h>
#include <stdint.h>

#include "base/base.h"

#define PEER_LEDGER 0u
#define PEER_INDEXER 1u
#define PEER_WORKER(slot) ((slot) + 1u) /* slot 1.. */
#define WORKERS_MAX 62u
#define PEERS_MAX (WORKERS_MAX + 2u)

#define REGION_MAGIC 0x52474c41u
#define COUNTERS_MAX 64u
#define HISTS_MAX 8u

/* Written by the ledger in its own region; positions and indexes as in almadia/log.h.
 * visible = end of what may be read by anybody, on any path. */
struct control_page {
	_Atomic uint64_t ready;      /* 1: recovered, requests are taken */
	_Atomic uint64_t role;       /* ALM_CNS_* */
	_Atomic uint64_t term, leader;
	_Atomic uint64_t durable;    /* position */
	_Atomic uint64_t committed;  /* position */
	_Atomic uint64_t visible;    /* position */
	_Atomic uint64_t first;      /* position: the log begins here */
	_Atomic uint64_t catalogue;  /* end of the newest visible batch with ALM_BATCH_CATALOGUE */
	_Atomic uint64_t log_time;   /* of the newest visible batch */
	_Atomic uint64_t commit_index;
	_Atomic uint64_t disk_full;  /* 1: publishes are refused */
	_Atomic uint64_t space_used, space_available;
};

/* Written by the indexer in its own region. */
struct index_page {
	_Atomic uint64_t ready;
	_Atomic uint64_t applied;    /* position: every query sees the log up to here */
	_Atomic uint64_t synced;     /* position: survives a crash; RETAIN may not pass it */
	_Atomic uint64_t incarnation;
};

struct region_ring { /* one per peer in the owner's region */
	_Atomic uint64_t peer_generation; /* of the peer's region that the owner has attached */
	_Atomic uint64_t head;            /* bytes consumed from the peer's ring to the owner */
	_Atomic uint64_t tail;            /* bytes published in the owner's ring to the peer */
	_Atomic uint64_t want_room;       /* not 0: the owner's ring is full, it waits for room */
	uint64_t data;                    /* offset of the ring's data in this region, 0: none */
	uint64_t size;                    /* power of two */
	uint64_t pad[2];
};

struct region_head {
	uint32_t magic, version;
	uint32_t peer, slot;
	uint64_t generation, size;
	_Atomic uint64_t sleep_seq;  /* odd: the owner is about to sleep or asleep; see bell_* */
	_Atomic uint64_t want_tail;  /* workers: 1 if woken for every move of visible */
	_Atomic uint64_t heartbeat;  /* monotonic microseconds, at least once a second */
	_Atomic uint64_t pin;        /* lowest log position the owner reads, UINT64_MAX: none */
	_Atomic uint64_t pid;
	char obituary[256];          /* last words of a panic */
	union {
		struct control_page control;
		struct index_page index;
		uint64_t pad[64];
	} page;
	_Atomic uint64_t counter[COUNTERS_MAX];
	struct hist hist[HISTS_MAX];
	_Alignas(64) struct region_ring ring[PEERS_MAX];
};

struct region { /* a mapping */
	struct region_head *head;
	uint64_t size;
	int writable;
};

/* Which rings a role produces and how large: fills size per peer, returns bytes of the region. */
uint64_t region_plan(uint32_t peer, uint32_t workers, uint64_t ring_size[PEERS_MAX]);
/* Manager: make a sealed memfd for one incarnation, after the one before is gone. generation is 1
 * or more and differs from that of every other incarnation of the role. Returns the descriptor
 * (close-on-exec) or an error. */
int region_create(uint32_t peer, uint32_t workers, uint64_t generation);
/* Descriptor for read-only mapping by others, or an error. */
int region_readonly_fd(int fd);
/* Map and check: ALM_OK, or ALM_EINVAL, ALM_EIO with err_text(). The mapping outlives fd. */
int region_map(int fd, int writable, struct region *out);
void region_unmap(struct region *);

/* ---- doorbells ---------------------------------------------------------------------------
 * One eventfd a role slot, made by the manager and kept over restarts.  No wake-up is sent to a
 * role that is awake.  In --fused mode the bell is local: rung by activating an event. */

struct bell { /* the sleeping side */
	struct region_head *head;
	int fd; /* non-blocking */
};

/* The rule for every role, or wake-ups are lost:
 *
 *	on wake-up:   bell_disarm()
 *	              drain links and pages, do the work, link_release and link_flush
 *	at the end:   bell_arm()
 *	              look once more: link_readable() of each link, pages that matter
 *	              something there? again from bell_disarm(); else return to the loop (sleep)
 *
 * Both may be called in either state. */
void bell_arm(struct bell *);
void bell_disarm(struct bell *); /* awake; drains the eventfd */

/* Ring a peer's bell if it sleeps; the caller has stored what the peer shall see. last: the
 * caller's memory of the sleep it already rang for, 0 at first. One system call for each sleep at
 * most. */
void bell_ring(const struct region_head *peer, int fd, uint64_t *last);

/* Ring a peer's bell whether it sleeps or not: its next return to the loop is a wake-up. */
void bell_ring_always(int fd);

/* In --fused mode, before anything else: call activate(fd) instead of writing to the eventfd. */
void bell_use_local(void (*activate)(int fd));

/* ---- links: the two rings between this role and one peer ---------------------------------- */

struct link {
	struct region_head *self;       /* writable */
	const struct region_head *peer; /* NULL: not attached */
	uint32_t self_id, peer_id;
	int peer_bell;
	uint64_t rang;                  /* for bell_ring */
	uint64_t head, tail;            /* local copies; tail includes unpublished records */
	uint64_t published;
	uint8_t *out;                   /* data of our ring */
	const uint8_t *in;              /* data of the peer's ring */
	uint64_t out_size, in_size;
	struct region map;              /* the peer's */
	uint64_t broken;                /* 1: the peer wrote nonsense; have it ended */
	uint64_t up;                    /* last answer of link_up */
	uint64_t peer_generation;
	uint64_t map_dev, map_ino;      /* identity of the newest region attached */
	uint64_t out_head;              /* peer's head as last seen */
	uint64_t in_tail;               /* peer's tail as last seen */
	uint64_t peeked;                /* bytes of the record peeked, header included */
	uint32_t reserved, reserved_type;
	uint64_t wants;                 /* how often there was no room; names each time */
	uint64_t waiting;               /* 1: want_room is set */
	uint64_t rang_room;             /* the peer's want_room that we last rang for */
};

/* Records: length and type, then the payload, 8-byte aligned. */
struct link_rec {
	uint32_t len; /* payload bytes */
	uint32_t type; /* 0 is padding */
};

/* self outlives the link. peer_bell: the eventfd of the peer's slot. */
void link_init(struct link *, struct region *self, uint32_t peer_id, int peer_bell);
/* Attach to an incarnation of the peer (maps fd; the caller keeps or closes it). Both rings start
 * empty: what the incarnation before left in its ring is to be drained first. Attaching the
 * incarnation that is attached already changes nothing; one that was detached does not come back
 * (ALM_ESTALE). Rings the peer's bell, so that it notices. */
int link_attach(struct link *, int fd);
/* 1: fd is another incarnation than the one attached last. */
int link_news(const struct link *, int fd);
/* Forget the peer; it sees the link go down. */
void link_detach(struct link *);
/* 1 if both sides are attached to each other's present incarnation and the peer is not broken. */
int link_up(struct link *);
/* Room for one record of len payload bytes, aligned to 8; NULL if there is none now or the link is
 * not up. After NULL for want of room the peer rings our bell, awake or not, when it has made some.
 * The reservation ends with link_commit or the next link_reserve. type is not 0. */
void *link_reserve(struct link *, uint32_t type, uint32_t len);
/* Largest payload that can ever fit. */
uint32_t link_max(const struct link *);
void link_commit(struct link *, uint32_t len); /* len <= reserved; not yet visible */
/* Publish everything committed and wake the peer if it sleeps. */
void link_flush(struct link *);
/* Next record: payload, aligned to 8, or NULL if there is none (or broken: see broken). Content is
 * untrusted: length and bounds are checked, nothing else; the peer may change it while it is read,
 * so copy a field before checking it. Valid until link_release, link_attach or link_detach. */
const void *link_peek(struct link *, uint32_t *type, uint32_t *len);
void link_consume(struct link *); /* the record peeked; its space returns at link_release */
/* Publish the head, so that the producer gets the room; wakes it if it waits for room. */
void link_release(struct link *);
/* 1 if link_peek would give a record. */
int link_readable(struct link *);

#endif
