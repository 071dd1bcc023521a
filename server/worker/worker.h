/* worker/worker.h - what the files of this directory share.  One struct worker a role, one
 * thread, no locks; nothing outside this directory sees these structs.
 *
 * Life of a request: a call of struct alm_broker makes a struct request, which is on its
 * connection's list until it is answered or the connection ends, and on at most one of the lists
 * of what it waits for (ready, appends, queries, a tracked queue, the catalogue).  The provider's
 * done() is only ever called from requests_run() or from draining a ring, so never inside another
 * call of the provider.  A connection is only ever freed by conns_reap() between such calls.
 */
#ifndef ALM_WORKER_WORKER_H
#define ALM_WORKER_WORKER_H

#include <event2/event.h>
#include <event2/event_struct.h>

#include "base/base.h"
#include "ipc/message.h"
#include "main/role.h"
#include "module/module.h"
#include "state/catalogue.h"
#include "worker/counters.h"

struct worker;
struct alm_conn;
struct tracked;

/* ---- lists: intrusive, circular; a node that is on no list points to itself ---------------- */

struct node {
	struct node *prev, *next;
};

static inline void
list_init(struct node *n)
{
	n->prev = n->next = n;
}

static inline int
list_empty(const struct node *n)
{
	return n->next == n;
}

static inline void
list_del(struct node *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}

static inline void
list_add(struct node *list, struct node *n) /* at the end; leaves the list it was on */
{
	list_del(n);
	n->prev = list->prev;
	n->next = list;
	list->prev->next = n;
	list->prev = n;
}

static inline void
list_splice(struct node *to, struct node *from) /* all of from to the end of to */
{
	if (list_empty(from))
		return;
	from->next->prev = to->prev;
	to->prev->next = from->next;
	from->prev->next = to;
	to->prev = from->prev;
	list_init(from);
}

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* ---- slab: objects by number, with a generation so that an old number finds nothing ---------- */

struct slab_head { /* first member of each object */
	uint32_t index, generation;
	uint32_t next_free, live;
};

struct slab {
	uint8_t **chunk;
	uint32_t n_chunks, object; /* bytes an object */
	uint32_t free;             /* index + 1 of the first free object, 0: none */
	uint32_t live;
};

void slab_init(struct slab *, uint32_t object);
void slab_end(struct slab *);
void *slab_new(struct slab *); /* zeroed but for the head; NULL: out of memory */
void slab_free(struct slab *, void *);
void *slab_get(const struct slab *, uint64_t id); /* NULL: no such object any more */
static inline uint64_t
slab_id(const void *object)
{
	const struct slab_head *h = object;

	return (uint64_t)h->generation << 32 | (h->index + 1);
}

/* ---- timers: one heap, one libevent timer ---------------------------------------------------- */

struct timer {
	uint64_t at;   /* monotonic microseconds */
	uint32_t slot; /* in the heap, from 1; 0: not set */
	uint32_t reserved;
	void (*fire)(struct worker *, struct timer *);
};

struct timers {
	struct timer **heap; /* heap[1] is the earliest */
	uint32_t n, cap;
	uint64_t armed;      /* when the libevent timer fires, UINT64_MAX: not */
	struct event ev;
};

int timers_init(struct worker *);
void timers_end(struct worker *);
int timer_set(struct worker *, struct timer *, uint64_t at); /* ALM_OK, ALM_ENOMEM */
void timer_clear(struct worker *, struct timer *);
void timers_arm(struct worker *); /* once a turn */

/* ---- the log, as this worker reads it ---------------------------------------------------------- */

/* One batch that somebody holds. */
struct view {
	struct slab_head slab;
	uint64_t position;
	struct alm_view v;
	uint32_t refs;
	uint32_t slot; /* in the heap of held positions, from 1 */
};

struct pins {
	struct slab views;
	struct hmap *by_position; /* position + 1 -> struct view * */
	struct view **heap;       /* heap[1] has the lowest position */
	uint32_t n, cap;
	uint64_t published;       /* region_head.pin */
};

int pins_init(struct worker *);
void pins_end(struct worker *);
/* Make sure that position and all after it stay valid until the end of this turn.
 * ALM_EOFFSET: the log begins later. */
int pin_scan(struct worker *, uint64_t position);
/* Hold the batch that begins at position (view_at) or contains it (view_seek). */
int view_at(struct worker *, uint64_t position, struct view **out);
int view_seek(struct worker *, uint64_t position, struct view **out);
void view_ref(struct view *);
void view_unref(struct worker *, struct view *);
void pins_publish(struct worker *); /* once a turn: raise the published pin */
uint64_t log_visible(struct worker *); /* end of what may be read; never goes back */
uint64_t log_first(struct worker *);

/* ---- requests ---------------------------------------------------------------------------------- */

#define REQ_APPEND 1u
#define REQ_FETCH 2u
#define REQ_STATE 3u
#define REQ_BOUNDS 4u
#define REQ_TIME 5u
#define REQ_POSITION 6u
#define REQ_KEY 7u
#define REQ_ADMIN 8u
#define REQ_COMMIT 9u /* offset commit that creates its group */
#define REQ_PURGE 10u /* delete of a topic or group, with the offsets that hang on it */

struct fetch {
	uint32_t topic, queue, max_bytes, max_messages;
	uint64_t offset;    /* next to look at: moves on over what a filter skips */
	uint64_t deadline;  /* end of the long poll, 0: none */
	uint64_t began;
	uint64_t scanned;   /* bytes that a filter has looked at */
	char *tags;         /* owned, separated by 0 bytes; NULL: all */
	uint32_t tags_len;
	uint32_t parked;    /* on tracked->waiting */
	uint32_t cancelled;
	uint32_t questions; /* to the index since it got on */
	struct tracked *tracked; /* counted in its users */
};

struct query { /* a question to the indexer, kept to be asked again; what 0: none */
	uint32_t what, in_len, max_bytes, sent;
	uint32_t last, reserved; /* what was asked last: it stays when the answer has come */
	uint64_t min_applied, asked;
	uint8_t small[64];
	uint8_t *big;       /* if it does not fit small: owned */
};

struct append_state {
	uint32_t n_messages;
	uint32_t wait_fold; /* answer only once the own catalogue has the change */
	uint64_t began;
	uint64_t fold_end;  /* position that the fold must have passed */
	struct alm_done result; /* while it waits for that */
};

struct chain { /* a service that takes several steps; copies of what it needs */
	uint32_t step, tries;
	uint32_t is_topic, more;       /* purge: of a topic or a group; more pages may follow */
	uint32_t queue, after_len;
	uint64_t offset;
	uint32_t group_len, topic_len;
	char group[ALM_NAME_MAX], topic[ALM_NAME_MAX];
	uint8_t after[2 * ALM_NAME_MAX + 8]; /* purge: last key seen */
	struct alm_done deleted;       /* purge: what the delete itself was answered */
};

struct request {
	struct slab_head slab;
	struct alm_conn *conn;
	uint64_t tag;
	uint32_t kind, which;
	struct node of_conn, node;
	struct timer timer;
	int32_t status;     /* fail with this when run, 0: go on */
	uint32_t flags;
	char *detail;       /* of that failure: owned or NULL */
	struct chain *chain;/* owned or NULL */
	uint64_t begin, end, next_offset; /* bounds, time: what is known so far */
	union {
		struct append_state append;
		struct fetch fetch;
		struct {
			uint64_t position;
			uint32_t topic, queue;
		} where;
		char what[16];
	} u;
	struct query query;
};

#define RF_IN_LEDGER 1u /* in request.flags: without a result yet */

struct request *request_new(struct alm_conn *, uint64_t tag, uint32_t kind);
/* Run it in requests_run(). */
void request_ready(struct request *);
/* Answer with an error, later in this turn. */
void request_fail(struct request *, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* For broker calls: make a request that only fails; returns ALM_OK (the answer comes). */
int refuse(struct alm_conn *, uint64_t tag, uint32_t kind, int status, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));
void request_done(struct request *, struct alm_done *); /* calls done(), frees */
void request_done_status(struct request *, int status, const char *detail);
void request_drop(struct request *);                    /* frees without done() */
void requests_run(struct worker *);

/* ---- connections ---------------------------------------------------------------------------------- */

#define BLOCK_BYTES 16352u

struct block { /* of copied output */
	struct block *next;
	uint32_t refs, used;
	uint8_t data[BLOCK_BYTES];
};

struct piece { /* of the output queue */
	struct piece *next;
	const uint8_t *data;
	uint64_t len;
	struct block *block;
	struct view *view;
};

#define CONN_MAGIC 0x4e4e4f43u
#define CONN_OPEN 1u
#define CONN_DRAINING 2u /* close() was called: what was written leaves */
#define CONN_LINGER 3u   /* FIN sent, waiting for the peer's */
#define CONN_DEAD 4u     /* on the list of conns_reap() */

struct readahead;

struct alm_conn {
	uint32_t magic, state;
	struct worker *w;
	struct acceptor *from;
	struct alm_session *session;
	uint64_t id;
	int fd, status;
	struct node all, dirty, starved, resumed;
	struct node requests;
	struct event rd, wr;
	uint8_t reading, writing; /* events added */
	uint8_t paused;           /* by the provider */
	uint8_t choked;           /* output above the limit: not read from */
	uint8_t told;             /* pending() said that it is above the limit */
	uint8_t eof;
	uint32_t linger_ms;
	struct timer timer;       /* deadline() or linger */
	uint8_t *in;              /* an incomplete frame */
	uint64_t in_len, in_cap;
	struct piece *out, *out_tail;
	struct block *block;      /* being filled */
	uint64_t out_bytes;
	struct readahead *ahead;  /* index rows by queue */
	char peer[80];
};

struct acceptor { /* a listener */
	struct worker *w;
	const struct listener *conf;
	int fd, is_unix;
	struct event ev;
	uint32_t on;
	struct protocol *protocol;
};

struct protocol { /* a loaded provider */
	char name[50];
	const struct alm_protocol_ops_v0 *ops;
	struct alm_proto *proto;
};

int conns_init(struct worker *);
void conns_listen(struct worker *, int on);
void conns_flush(struct worker *);  /* send what dirty connections have */
void conns_reap(struct worker *);   /* free dead ones */
void conns_starved(struct worker *); /* the ring to the ledger has room again */
void conns_resume(struct worker *); /* feed what was kept while a connection was paused */
void conns_shutdown(struct worker *);
void conns_close_idle(struct worker *); /* while stopping */
void conns_end(struct worker *);
struct alm_conn *conn_by_id(struct worker *, uint64_t id);
void conn_dead(struct alm_conn *, int status);
void conn_close(struct alm_conn *, int status, uint32_t linger_ms);
void conn_pause(struct alm_conn *, uint32_t paused);
void conn_deadline(struct alm_conn *, uint64_t at);
void conn_starve(struct alm_conn *); /* call writable() when the ring has room */
void conn_reading(struct alm_conn *); /* add or remove the read event as its state wants */
void conn_maybe_over(struct alm_conn *); /* end it if the peer is gone and all is answered */

/* output.c */
int conn_write(struct alm_conn *, const void *, uint64_t len);
int conn_write_pinned(struct alm_conn *, const struct alm_chunk *);
uint64_t conn_pending(struct alm_conn *);
void conn_send(struct alm_conn *);
void output_drop(struct alm_conn *);
void output_end(struct worker *);

/* ---- the rest ---------------------------------------------------------------------------------------- */

/* append.c */
int append_request(struct alm_conn *, uint64_t tag, const struct alm_append *);
/* As append_request, for the core's own groups. wait_fold: done() once the own catalogue shows it. */
int append_submit(struct alm_conn *, uint64_t tag, const struct alm_append *, uint32_t wait_fold);
/* The same for a request made already. ALM_EAGAIN: no room; errors leave the request as it was. */
int append_send(struct request *, const struct alm_append *);
void append_result(struct worker *, const void *payload, uint32_t len);
void append_folded(struct worker *); /* answer what waited for the catalogue */
void append_ledger_gone(struct worker *);

/* fold.c: the catalogue */
int fold_load(struct worker *);
int fold_run(struct worker *); /* fold up to visible; 1 if something changed */
const struct topic_entry *fold_topic(struct worker *, struct alm_slice name);
const struct topic_entry *fold_topic_id(struct worker *, uint32_t id);
const struct group_entry *fold_group(struct worker *, struct alm_slice name);

/* tail.c: recent rows of the queues that are being read */
#define RECENT_ROWS 64u

struct row {
	struct alm_q_row q;
	uint64_t bloom;
};

struct tracked {
	uint64_t key;
	struct node all, waiting; /* waiting: fetches at the end of the queue */
	uint32_t users, known;    /* known: begin and end are */
	uint64_t from;            /* position from which the rows are complete */
	uint64_t begin, end;
	uint64_t used;            /* monotonic, of the last fetch */
	struct row row[RECENT_ROWS];
	uint32_t first, n;        /* ring */
};

int tail_init(struct worker *);
void tail_end(struct worker *);
struct tracked *tail_track(struct worker *, uint32_t topic, uint32_t queue);
void tail_scan(struct worker *);
void tail_sweep(struct worker *);        /* once a second: forget idle queues */
void tail_topics_changed(struct worker *); /* answer waiters of deleted topics */
int tail_waiting(struct worker *);       /* 1 if moves of visible matter */
const struct row *tail_row(const struct tracked *, uint32_t i);

/* fetch.c */
int fetch_request(struct alm_conn *, uint64_t tag, const struct alm_fetch *);
void fetch_cancel(struct alm_conn *, uint64_t tag);
void fetch_cancel_all(struct alm_conn *);
void fetch_run(struct request *);
void fetch_answer(struct request *, const struct msg_answer *, const uint8_t *data);
void fetch_release(struct request *);
void readahead_drop(struct alm_conn *);
void readahead_sweep(struct alm_conn *, uint64_t before);

/* query.c */
/* Ask the indexer: input is n parts back to back. It is held until the log is applied up to
 * min_applied; without an answer by time by (monotonic) the request fails ALM_EUNAVAILABLE. */
int query_ask(struct request *, uint32_t what, const struct alm_slice *parts, uint32_t n,
    uint32_t max_bytes, uint64_t min_applied, uint64_t by);
void query_answer(struct worker *, const void *payload, uint32_t len);
void query_run(struct worker *);          /* send what could not be sent */
void query_indexer_new(struct worker *);  /* ask everything again */
void query_release(struct request *);     /* give it up and free its input */
const uint8_t *query_input(const struct request *);

/* lookup.c: bounds, by time, by position, by key, state */
int lookup_bounds(struct alm_conn *, uint64_t tag, uint32_t topic, uint32_t queue);
int lookup_time(struct alm_conn *, uint64_t tag, uint32_t topic, uint32_t queue, uint64_t time);
int lookup_position(struct alm_conn *, uint64_t tag, uint64_t position);
int lookup_key(struct alm_conn *, uint64_t tag, uint32_t topic, struct alm_slice key,
    uint32_t limit, uint64_t since, uint64_t until);
int lookup_state_get(struct alm_conn *, uint64_t tag, struct alm_slice ns, struct alm_slice key);
int lookup_state_scan(struct alm_conn *, uint64_t tag, struct alm_slice ns,
    struct alm_slice prefix, struct alm_slice after, uint32_t limit);
void lookup_run(struct request *);
void lookup_answer(struct request *, const struct msg_answer *, const uint8_t *data);

/* services.c: topics, groups, offsets, notify */
void services_table(struct alm_broker *); /* fills their calls */
void services_run(struct request *);
void services_answer(struct request *, const struct msg_answer *, const uint8_t *data);
/* The result of a step of a chain: 1 if the request goes on, 0 to answer it with *d. */
int services_result(struct request *, struct alm_done *d);
void notes_run(struct worker *);
void notes_end(struct worker *);
void note_arrived(struct worker *, const void *payload, uint32_t len);

/* admin.c */
int admin_request(struct alm_conn *, uint64_t tag, const char *what);
void admin_run(struct request *);

/* hooks.c */
int hooks_load(struct worker *);
void hooks_end(struct worker *);
int hooks_call(struct alm_conn *, uint32_t hook, struct alm_slice topic, struct alm_slice group);

#define EXTENSIONS_MAX 16u
#define CHUNKS_MAX 512u
#define INPUT_BYTES (256u << 10)

struct worker {
	struct role_env *env;
	const struct core_settings *core;
	struct alm_broker broker;
	struct region_head *self;
	struct bell bell;
	struct link ledger, indexer;
	struct region peer[PEERS_MAX]; /* of other workers, for admin */
	struct event bell_ev, turn_ev, beat_ev, start_ev;
	struct timers timers;
	uint64_t now;                  /* monotonic, of this turn */
	uint32_t asleep;               /* announced; worker_wake takes it back */
	uint32_t awaited;              /* the turn is coming or running */
	uint32_t serving, stopping, left, beats;
	uint64_t stop_by;
	struct timer stop_timer;

	const struct alm_storage_ops_v0 *store;
	const struct alm_host *store_host;
	struct alm_reader *reader;
	struct pins pins;
	uint64_t visible;              /* highest seen */

	struct catalogue *catalogue;
	uint64_t folded;               /* position up to which it reflects the log */
	uint64_t fold_complained;      /* monotonic, of the last error line */
	uint32_t fold_stuck;           /* the log could not be read there: the heartbeat tries again */
	struct node fold_wait;         /* results that wait for it */
	struct note *notes;            /* notify() to connections of this worker */

	struct slab requests;
	struct node ready, appends;
	struct node queries, unsent;   /* asked of the indexer; still to be asked */
	uint32_t appends_n;

	struct hmap *tracked;
	struct node tracked_all;
	uint64_t scan;                 /* the tail scanner's position */
	uint32_t waiting;              /* fetches parked at the end of a queue */

	struct protocol protocol[LISTENERS_MAX];
	uint32_t n_protocols;
	struct acceptor acceptor[LISTENERS_MAX];
	uint32_t n_acceptors;
	struct hmap *by_id;
	struct node conns, dirty, dead, starved, resumed;
	uint32_t n_conns;
	uint64_t next_id, refused_logged;
	uint8_t *input;                /* shared read buffer */
	struct block *free_blocks;
	struct piece *free_pieces;
	uint32_t n_free_blocks;
	struct hmap *turns;            /* round robin by topic */
	struct alm_chunk chunk[CHUNKS_MAX];

	struct {
		const struct alm_extension_ops_v0 *ops;
		struct alm_ext *ext;
		const char *name;
	} ext[EXTENSIONS_MAX];
	uint32_t n_ext;
};

/* Something happened: the turn runs at the end of this pass over the loop. */
void worker_wake(struct worker *);

static inline void
count(struct worker *w, uint32_t id, uint64_t n)
{
	_Atomic uint64_t *c = &w->self->counter[id];

	atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
	    memory_order_relaxed);
}

static inline void
count_set(struct worker *w, uint32_t id, uint64_t n)
{
	atomic_store_explicit(&w->self->counter[id], n, memory_order_relaxed);
}

static inline struct alm_slice
slice(const void *data, uint64_t len)
{
	return (struct alm_slice){data, len};
}

#endif
