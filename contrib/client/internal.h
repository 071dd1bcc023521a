/* internal.h - inside of libalmadia.
 *
 *	client.c     options, life, errors, the step that everything hangs on, blocking waits
 *	conn.c       socket, dialling, reconnect, frames in and out
 *	batch.c      building batches: open ones by topic and queue, sealing
 *	window.c     sealed batches: sending, answers, go-back-N, callbacks
 *	request.c    requests with one reply
 *	read.c       fetch, lookup, views
 *	subscribe.c  subscriptions
 *	admin.c      topics, groups, offsets, state
 *
 * One thread.  Invariants: callbacks run only from client_step() or alm_close(); a batch is in exactly
 * one list (open, window, spare); a request is in the list until its callback has been called or it
 * is cancelled.
 */
#ifndef ALM_CLIENT_INTERNAL_H
#define ALM_CLIENT_INTERNAL_H

#include <almadia/client.h>

#include "plugins/protocol/native/wire.h"

#define FOREVER UINT64_MAX
#define SERVERS_MAX 32u
#define BUCKETS 64u

/* What a correlation id names: high byte. */
#define CORR_PUBLISH 1u
#define CORR_REQUEST 2u
#define CORR_SUB 3u
#define CORR_KIND(c) ((uint32_t)((c) >> 56))
#define CORR(kind, n) ((uint64_t)(kind) << 56 | (n))

struct waiter {
	alm_ack_fn cb;
	void *arg;
};

struct batch {
	struct batch *next, *prev;   /* open list; window and spare use next only */
	struct batch *chain;         /* bucket of open batches */
	struct wire_out frame;
	struct waiter *waiters;      /* one a message */
	uint32_t n, cap;
	uint32_t queue, topic_len;
	char topic[ALM_NAME_MAX + 1];
	uint64_t wall;               /* born of the frame */
	uint64_t since;              /* monotonic: first message was added */
	/* once sealed */
	uint64_t serial, producer;
	uint32_t sequence;
	uint32_t sent, answered;     /* sent: on the present connection, whole or begun */
	uint32_t tries;
	int32_t status;
	uint32_t topic_id, ack_queue, duplicate;
	uint64_t position, first_offset;
	uint8_t *scatter;            /* n of {u32 queue, u32 0, u64 offset} */
	char *detail;
};

struct reply {
	int status;
	const char *detail;
	struct wire_in in;           /* payload, if status is ALM_OK */
};

typedef void (*reply_fn)(struct alm_client *, void *arg, struct reply *);

struct request {
	struct request *next;
	uint64_t correlation;
	uint64_t deadline;
	struct wire_out frame;
	reply_fn cb;
	void *arg;
	uint32_t type;
	uint32_t repeat;             /* 1: may be sent again after a lost connection or ALM_EAGAIN */
	uint32_t sent;
	uint64_t not_before;         /* of sending again */
};

#define CONN_DOWN 0u
#define CONN_DIALLING 1u
#define CONN_GREETING 2u
#define CONN_UP 3u

struct alm_client {
	struct alm_options o;
	char *servers;
	char *server[SERVERS_MAX];
	uint32_t n_servers, server_at;
	char address[256];           /* of the present or last server */
	char redirect[256];          /* go here next; "" */
	char version[64];
	char name[ALM_NAME_MAX + 1];

	/* connection */
	int fd, epfd;
	uint32_t state, want_write, registered;
	uint32_t attempts;           /* since the last WELCOME */
	uint64_t since;              /* of the present state */
	uint64_t retry_at;           /* CONN_DOWN: dial then */
	uint64_t last_in, pinged_at;
	uint64_t max_frame;          /* of the server */
	uint64_t connection_id;
	uint8_t *in;
	uint64_t in_len, in_cap;
	struct wire_out out;         /* control frames, sent up to out_at */
	uint64_t out_at;
	struct batch *sending;       /* half sent */
	uint64_t sending_at;

	/* publishing */
	struct batch *open_first, *open_last, *bucket[BUCKETS];
	struct batch *head, *tail, *unsent; /* window: sealed, oldest first; first not sent */
	struct batch *spare;
	uint32_t n_spare, inflight;
	uint64_t serial, producer, known; /* known: the producer the server has acknowledged */
	uint32_t sequence;           /* next */
	uint32_t hold;               /* go back: send nothing until all is answered and hold_until */
	uint32_t rotate;             /* then: number anew under another producer */
	uint64_t hold_until, last_ack;
	uint32_t hold_tries;

	/* requests and subscriptions */
	struct request *req_first, **req_last;
	uint64_t next_request;
	struct alm_sub **subs;
	uint32_t n_subs, sub_generation;
	uint64_t resubscribe_at;     /* 0: no need */

	uint32_t in_callback, closing;
	uint64_t progress;           /* frames received and callbacks made */
	uint64_t rng;
	struct alm_client_stats st;
	char error[512];
};

/* ---- client.c ---- */

uint64_t mono_us(void);
uint64_t wall_us(void);
uint64_t random64(struct alm_client *);
int client_fail(struct alm_client *, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* One round: read, timers, write. */
void client_step(struct alm_client *);
/* Step and wait until *flag is not 0.  ALM_OK; ALM_ETIMEOUT; ALM_EBUSY inside a callback. */
int client_wait(struct alm_client *, const uint32_t *flag, uint64_t deadline);
uint64_t client_deadline(const struct alm_client *);
uint64_t client_next_timer(const struct alm_client *);
int status_retriable(int status);

/* ---- conn.c ---- */

void conn_step(struct alm_client *);    /* dial, greet, read */
void conn_write(struct alm_client *);
void conn_lost(struct alm_client *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void conn_close(struct alm_client *);
uint64_t conn_timer(const struct alm_client *);

/* ---- batch.c, window.c ---- */

void batch_seal(struct alm_client *, struct batch *);
/* Write producer and sequence into the frame. */
void batch_number(struct batch *, uint64_t producer, uint32_t sequence);
void batch_seal_due(struct alm_client *, uint64_t now); /* FOREVER: all */
void batch_recycle(struct alm_client *, struct batch *);
void batch_free(struct batch *);
uint64_t batch_timer(const struct alm_client *);
void window_add(struct alm_client *, struct batch *);
/* Next batch that may be sent now, given that ahead others are about to be; NULL: none. */
struct batch *window_next(struct alm_client *, struct batch *after, uint32_t ahead);
void window_sent(struct alm_client *, struct batch *);
void window_reply(struct alm_client *, uint64_t serial, int status, const char *detail,
    uint32_t retry_ms, const struct wire_head *, struct wire_in *);
void window_lost(struct alm_client *);  /* the connection: everything unanswered is unsent */
void window_step(struct alm_client *, uint64_t now);
void window_abort(struct alm_client *, int status, const char *detail);
uint64_t window_timer(const struct alm_client *);

/* ---- request.c ---- */

/* A new request: fill r->frame, then request_send or request_run. NULL: out of memory. */
struct request *request_new(struct alm_client *, uint32_t type, uint32_t repeat);
int request_send(struct alm_client *, struct request *, reply_fn, void *arg, uint64_t deadline);
/* Send and wait; cb is called before it returns, or never. */
int request_run(struct alm_client *, struct request *, reply_fn, void *arg, uint64_t deadline);
void request_reply(struct alm_client *, uint64_t correlation, struct reply *);
/* An ERROR reply: repeat or give it to the callback. */
void request_error(struct alm_client *, uint64_t correlation, int status, const char *detail,
    uint32_t retry_ms);
void requests_up(struct alm_client *);
void requests_lost(struct alm_client *);
void requests_step(struct alm_client *, uint64_t now);
void requests_abort(struct alm_client *, int status, const char *detail);
uint64_t requests_timer(const struct alm_client *);
/* A name of at most ALM_NAME_MAX bytes, else ALM_EINVAL with a text. */
int name_check(struct alm_client *, const char *what, const char *name);
void put_named(struct wire_out *, uint32_t arg, const char *name);

/* ---- read.c ---- */

struct view {
	struct alm_batch_view v;
	const uint8_t *chunks, *data;
	uint64_t len;
	uint32_t n_chunks;
	void *owned;
	char topic[ALM_NAME_MAX + 1];
};

int view_init(struct view *, struct wire_in, const char *topic);
/* Tags as the wire wants them: names separated by zero bytes. */
int tags_pack(struct alm_client *, const char *const *tags, uint32_t n, char *out, uint32_t *len);

/* ---- subscribe.c ---- */

void subs_deliver(struct alm_client *, uint64_t correlation, struct wire_in *);
void subs_reply(struct alm_client *, uint64_t correlation, struct wire_in *);
void subs_error(struct alm_client *, uint64_t correlation, int status, const char *detail);
void subs_up(struct alm_client *);
void subs_lost(struct alm_client *);
void subs_step(struct alm_client *, uint64_t now);
void subs_free(struct alm_client *);

#endif
