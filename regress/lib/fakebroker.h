/* regress/lib/fakebroker.h - a struct alm_broker without a server, for tests of wire protocols.
 *
 * It records what a provider writes and asks, and the test answers the requests when and how it
 * likes: late, with errors, or not at all.  A connection is a byte buffer each way; fb_feed()
 * keeps what the provider left unused and offers it again, as the worker does, so a frame may
 * be fed in any pieces (fb_feed(c, "", 0) goes on after a pause).  One thread.  Nothing here checks the provider: tests do, except that
 * fb_free() reports leaked memory and misuse that the fake can see (fb->misuse).
 *
 *	struct fakebroker *fb = fb_new();
 *	assert_int_equal(fb_load(fb, ops), ALM_OK);
 *	struct alm_conn *c = fb_open(fb);
 *	fb_feed(c, bytes, len);
 *	struct fb_request *r = fb_next(fb, FB_APPEND);
 *	fb_answer_append(r, ALM_OK, 7);
 *	... look at c->out.data, c->out.len; fb_drain(c, n) ...
 *	assert_int_equal(fb_free(fb), 0);
 */
#ifndef ALM_REGRESS_FAKEBROKER_H
#define ALM_REGRESS_FAKEBROKER_H

#include <almadia/protocol.h>

#include "base/base.h"

/* Kinds of request, one for each call of struct alm_broker that is answered by done(). */
#define FB_ANY 0u
#define FB_APPEND 1u
#define FB_FETCH 2u
#define FB_BOUNDS 3u
#define FB_OFFSET_AT 4u
#define FB_LOOKUP_POSITION 5u
#define FB_LOOKUP_KEY 6u
#define FB_TOPIC_PUT 7u
#define FB_TOPIC_DELETE 8u
#define FB_GROUP_PUT 9u
#define FB_GROUP_DELETE 10u
#define FB_OFFSET_COMMIT 11u
#define FB_STATE_GET 12u
#define FB_STATE_SCAN 13u
#define FB_ADMIN 14u

struct fb_block;

/* A request as the provider made it; everything borrowed is copied and lives until it is
 * answered or its connection is closed. */
struct fb_request {
	struct fb_request *next;
	struct alm_conn *conn;
	uint64_t tag;
	uint32_t kind;             /* FB_* */
	uint32_t cancelled;        /* fetch: fetch_cancel was called */
	struct alm_append append;
	struct alm_fetch fetch;
	uint32_t topic, queue;     /* bounds, offset_at, lookup_key, offset_commit (queue) */
	uint32_t limit, create;
	uint64_t position;         /* lookup_position */
	uint64_t time;             /* offset_at */
	uint64_t since, until;     /* lookup_key */
	uint64_t offset;           /* offset_commit */
	struct alm_topic value;    /* topic_put */
	struct alm_slice name;     /* topic or group; offset_commit: topic; admin: what */
	struct alm_slice group;    /* offset_commit */
	struct alm_slice ns, key, prefix, after;
	struct fb_block *blocks;   /* the copies */
};

/* The core's side of a connection. */
struct alm_conn {
	struct alm_conn *next;
	struct fakebroker *fb;
	struct alm_session *session;
	struct alm_conn_info info;
	struct buf in;             /* not used by the provider yet */
	struct buf out;            /* written, not drained */
	uint64_t written;          /* bytes ever written */
	uint64_t at;               /* deadline, 0: none */
	uint64_t pending;          /* what pending() answers, if not 0; else out.len */
	uint32_t paused;
	uint32_t closing;          /* close() was called */
	uint32_t linger_ms;
	int close_status;          /* as given to close(), or the error of input() */
	uint32_t busy;             /* inside input() */
	uint32_t notified;         /* notify() calls that came here */
};

struct fb_topic {
	struct fb_topic *next;
	struct alm_topic_info info;
	uint32_t name_len;
	char name[ALM_NAME_MAX + 1];
	uint32_t turn;             /* round robin */
};

struct fakebroker {
	struct alm_broker broker;  /* hand &fb->broker to the provider */
	struct alm_host host;
	const struct alm_protocol_ops_v0 *ops;
	const struct alm_setting *settings; /* declared ones, for defaults: set before fb_load */
	uint32_t n_settings;
	struct alm_proto *proto;
	struct alm_conn *conns;
	struct fb_request *first, **last; /* unanswered, oldest first */
	struct fb_topic *topics;
	uint64_t clock;            /* what host->now answers: tests move it */
	uint64_t live;             /* host allocations not freed */
	uint32_t refuse;           /* requests are refused with -refuse while it is set */
	uint32_t n_requests;       /* ever */
	uint32_t misuse;           /* calls that break the contract: write after closed and the like */
	uint64_t ids;
	struct {
		const char *name, *text;
	} set[32];                 /* fb_set */
	uint32_t n_set;
};

struct fakebroker *fb_new(void);
/* Close what is open, end the provider.  Returns leaked allocations + misuse. */
uint64_t fb_free(struct fakebroker *);
/* A setting's text as in almadia.conf; static strings; before fb_load. */
void fb_set(struct fakebroker *, const char *name, const char *text);
void fb_host_init(struct fakebroker *); /* fakebroker_host.c: fills fb->host; called by fb_new */
int fb_load(struct fakebroker *, const struct alm_protocol_ops_v0 *);
/* A topic that topic() finds; returns its id. */
uint32_t fb_topic_add(struct fakebroker *, const char *name, uint32_t queues);

/* A new connection; NULL if the provider refused it. */
struct alm_conn *fb_open(struct fakebroker *);
/* Bytes from the peer.  Returns bytes used in all, or the provider's error, after which the
 * connection is closed (c is freed).  Feeding a closing connection uses nothing. */
int64_t fb_feed(struct alm_conn *, const void *, uint64_t len);
/* The same, one byte a call: every split of a frame. */
int64_t fb_feed_slowly(struct alm_conn *, const void *, uint64_t len);
/* Bytes leave: drop n from the front of out (n is cut to what is there); calls writable(). */
void fb_drain(struct alm_conn *, uint64_t n);
/* The peer goes away; c is freed. */
void fb_close(struct alm_conn *, int status);
/* Move the clock and call timer() of each connection whose deadline has passed. */
void fb_clock(struct fakebroker *, uint64_t now);

/* Oldest unanswered request of a kind (FB_ANY: of any); NULL: none.  It stays in the queue. */
struct fb_request *fb_next(struct fakebroker *, uint32_t kind);
uint32_t fb_waiting(struct fakebroker *); /* how many are unanswered */

/* Answer: fills tag and which, calls done(), frees the request. */
void fb_answer(struct fb_request *, struct alm_done *);
void fb_answer_status(struct fb_request *, int status, const char *detail);
void fb_answer_append(struct fb_request *, int status, uint64_t first_offset);
/* One chunk of records; next_offset is the last record's offset + 1. */
void fb_answer_records(struct fb_request *, const struct buf *records, uint64_t begin,
    uint64_t end);
void fb_answer_data(struct fb_request *, const void *, uint64_t len, uint64_t version);
/* Answer everything in some way drawn from seed, for fuzzing. */
void fb_answer_all(struct fakebroker *, uint64_t seed);

/* Append one well-formed message record with its CRC to a buffer. tag may be NULL. */
int fb_record(struct buf *, uint32_t topic, uint32_t queue, uint64_t offset, const char *tag,
    const void *body, uint64_t len);

#endif
