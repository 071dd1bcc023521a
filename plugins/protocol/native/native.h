/* native.h - inside of the native protocol plugin.
 *
 * native.c is the session: HELLO, the frame loop, parking, deadlines, replies.  publish.c, read.c,
 * subscribe.c and admin.c each take the frames of their kind.  All of it runs on the worker's one
 * thread.
 *
 * Invariants: a request slot is in use from before the call of the broker until its done();
 * a session that is blocked has told the core to stop reading and knows what will end it.
 */
#ifndef ALM_NATIVE_NATIVE_H
#define ALM_NATIVE_NATIVE_H

#include <almadia/protocol.h>

#include "wire.h"

#define NONE UINT32_MAX

struct alm_proto { /* one a worker */
	const struct alm_host *host;
	const struct alm_broker *broker;
	uint64_t max_frame;
	uint64_t output_limit;       /* bytes waiting to leave, where reading and delivery stop */
	uint64_t park_us, hello_us;
	uint32_t max_inflight, max_fetches, max_subs;
	struct wire_out out;         /* the frame being written; never live across a broker request */
	struct alm_message *messages; /* of the PUBLISH being decoded, grown on demand */
	uint32_t n_messages;
};

struct request {
	uint64_t correlation;
	uint32_t type;      /* WIRE_*; 0: free */
	uint32_t topic, queue;
	uint32_t n;         /* PUBLISH: messages */
	uint32_t routed;    /* PUBLISH: the queue was chosen here */
	uint32_t *queues;   /* PUBLISH over several queues: of each message */
	uint32_t sub;       /* DELIVER: index of the subscription */
	uint32_t next_free;
};

struct sub {
	uint64_t correlation; /* of the SUBSCRIBE */
	uint64_t offset;      /* of the next fetch */
	int64_t credit;       /* bytes that may still be sent; below 0 after a large message */
	uint64_t end_correlation; /* of the UNSUBSCRIBE */
	uint64_t retry_at;    /* monotonic; the last fetch was refused; 0: none */
	char *tags;           /* after this struct's own allocation; NULL: all */
	uint32_t tags_len;
	uint32_t topic, queue, max_bytes;
	uint32_t tag;         /* request slot of the fetch under way; NONE */
	uint32_t used, pumping, ending, waiting; /* waiting: for writable() */
	uint32_t next_free;
};

struct alm_session {
	struct alm_proto *proto;
	struct alm_conn *conn;
	uint64_t id;
	struct request *requests;
	uint32_t n_requests, free_request, inflight, fetches;
	struct sub **subs;
	uint32_t n_subs, free_sub;
	uint32_t greeted;     /* HELLO was answered */
	uint32_t closing;     /* an ERROR for the whole connection was written */
	uint32_t paused;
	uint32_t window_full; /* blocked until requests are answered */
	uint32_t output_full; /* blocked until output has left */
	uint64_t max_frame;   /* that the client takes */
	uint64_t hello_until, park_until;
	struct wire_out parked; /* one frame that the broker refused with ALM_EAGAIN; len 0: none */
	const char *why;      /* static text for the ERROR that ends the connection */
};

/* ---- native.c ---- */

/* A request slot, or NONE (out of memory; the caller answers ALM_ENOMEM). */
uint32_t request_new(struct alm_session *, uint32_t type, uint64_t correlation);
void request_end(struct alm_session *, uint32_t slot);
/* Answer a request with an ERROR frame; returns ALM_OK, the frame is dealt with. */
int reply_error(struct alm_session *, uint64_t correlation, int status, const char *detail);
int reply_errorf(struct alm_session *, uint64_t correlation, int status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* The result of calling the broker for a slot: ALM_OK goes on, ALM_EAGAIN parks the frame, anything else
 * is answered; the slot is freed unless ALM_OK. */
int request_made(struct alm_session *, uint32_t slot, int status);
/* Break off the connection: status of the ERROR frame and a static text. Returns status. */
int hostile(struct alm_session *, const char *why);
struct wire_out *reply_begin(struct alm_session *, uint32_t type, uint32_t flags,
    uint64_t correlation);
/* Complete and write the frame begun; extra bytes follow through write_pinned. */
void reply_send(struct alm_session *, uint64_t extra);
/* Topic by id or, if id is 0, by name. */
int topic_find(struct alm_session *, uint32_t id, struct alm_slice name,
    struct alm_topic_info *);
/* The same and a check of the queue; answers an ERROR itself: 1 found, 0 answered. */
int queue_find(struct alm_session *, uint64_t correlation, uint32_t id, struct alm_slice name,
    uint32_t queue, struct alm_topic_info *);
void session_arm(struct alm_session *); /* set the core's deadline to the nearest of ours */
int output_over(struct alm_session *);

/* ---- frames: each returns ALM_OK (dealt with), ALM_EAGAIN (park) or ALM_EPROTO (hostile()) ---- */

int on_publish(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_fetch(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_commit(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_bounds(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_lookup(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_subscribe(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_credit(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_unsubscribe(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_topic(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_group(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_state(struct alm_session *, const struct wire_head *, struct wire_in *);
int on_admin(struct alm_session *, const struct wire_head *, struct wire_in *);

/* ---- completions ---- */

void publish_done(struct alm_session *, const struct request *, const struct alm_done *);
void records_done(struct alm_session *, const struct request *, const struct alm_done *);
void bounds_done(struct alm_session *, const struct request *, const struct alm_done *);
void data_done(struct alm_session *, const struct request *, const struct alm_done *);
void sub_done(struct alm_session *, uint32_t sub, const struct alm_done *);
/* A frame of records; its chunks pass to the core. ALM_EINTERNAL if they make no frame. */
int records_send(struct alm_session *, uint32_t type, uint64_t correlation, uint32_t topic,
    uint32_t queue, const struct alm_done *);
void subs_resume(struct alm_session *, uint64_t now);
uint64_t subs_deadline(const struct alm_session *);
void subs_free(struct alm_session *);

#endif
