/* almadia/client.h - libalmadia, the client library.
 *
 * A client object is a connection to a broker group that repairs itself: it finds a server, batches
 * and pipelines what is published, reconnects with jittered backoff, sends again whatever was not
 * acknowledged (in order, under the same producer and sequence, so that the server stores it once),
 * and resumes its subscriptions where they stopped.
 *
 * Threads: one client object belongs to one thread at a time; the library starts no thread and
 * keeps no global state but the calling thread's last connect error.  Callbacks run inside calls
 * on their own client, never at other times.  In a callback only alm_publish_async, alm_commit_async,
 * alm_fetch_async and reading functions may be called; a blocking call there fails with ALM_EBUSY.
 *
 * Blocking calls end at the client's timeout (alm_set_timeout) with ALM_ETIMEOUT.  Every function
 * that returns int returns ALM_OK or a negative ALM_E* status unless it says more; alm_error() has
 * the text.  Strings that are passed in are copied; slices are borrowed until the call returns.
 */
#ifndef ALMADIA_CLIENT_H
#define ALMADIA_CLIENT_H

#include <almadia/abi.h>
#include <almadia/log.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ALM_CLIENT_API ALM_EXPORT

struct alm_client;
struct alm_sub;

#define ALM_QUEUE_ANY 0xffffffffu /* publish: by key, else as the server likes; subscribe: all */
#define ALM_DEFAULT_SERVER "127.0.0.1:7450"

/* ---- connection ---- */

#define ALM_EVENT_CONNECTED 1u    /* detail: the server's address */
#define ALM_EVENT_DISCONNECTED 2u /* detail: why */
#define ALM_EVENT_REDIRECTED 3u   /* detail: the leader's address */

struct alm_options { /* append only; alm_options_init sets size and the defaults given here */
	uint32_t size;
	uint32_t batch_messages;     /* 1024: a batch is sent when it has as many messages */
	const char *servers;         /* "host:port,[v6]:port,unix:/path": tried in turn */
	const char *name;            /* shown by the server; "" */
	uint32_t connect_timeout_ms; /* 3000: for one server */
	uint32_t timeout_ms;         /* 30000: of blocking calls, see alm_set_timeout */
	uint32_t delivery_timeout_ms; /* 120000: a message unacknowledged for so long fails */
	uint32_t linger_us;          /* 1000: a batch that is not full waits so long for more; 0: only
	                              * until the next alm_process, alm_poll, alm_push or alm_flush */
	uint32_t batch_bytes;        /* 262144: a batch is sent at this size */
	uint32_t max_inflight;       /* 64: batches sent and not yet acknowledged */
	uint64_t max_buffered;       /* 32 MiB unacknowledged; then alm_publish_async is ALM_EAGAIN */
	uint32_t backoff_min_ms;     /* 20: before reconnecting; doubles, plus or minus a half */
	uint32_t backoff_max_ms;     /* 2000 */
	uint32_t keepalive_ms;       /* 10000: silence after which the server is pinged; twice that: lost */
	uint32_t reserved;
	/* Connection changes, for logs. May be NULL. */
	void (*event)(void *arg, uint32_t event, const char *detail);
	/* Make a connected stream socket to a server in another way (tunnel, test). NULL: the library does.
	 * Returns a descriptor, which the library then owns, or -1. May block. */
	int (*dial)(void *arg, const char *server);
	void *arg;
};

ALM_CLIENT_API void alm_options_init(struct alm_options *);

/* Connect; returns once a server has said WELCOME, or with the last error when each server was tried
 * once or timeout_ms is over.  On failure *out is NULL and alm_error(NULL) has the text. */
ALM_CLIENT_API int alm_connect(const struct alm_options *, struct alm_client **out);
/* Close.  Does not wait: whatever is unacknowledged gets its callback with ALM_ECLOSED (flush first).
 * Frees subscriptions too.  NULL is fine. Not from a callback. */
ALM_CLIENT_API void alm_close(struct alm_client *);
/* Text of the last error of this client, or of this thread's last failed alm_connect (NULL).  Valid
 * until the next call. */
ALM_CLIENT_API const char *alm_error(const struct alm_client *);
/* Fixed text of a status: "not found"; and its symbol: "ALM_ENOTFOUND". */
ALM_CLIENT_API const char *alm_status_text(int status);
ALM_CLIENT_API const char *alm_status_name(int status);
ALM_CLIENT_API const char *alm_version(void);
/* Deadline of each blocking call from now on. */
ALM_CLIENT_API void alm_set_timeout(struct alm_client *, uint32_t ms);

struct alm_client_stats { /* append only; size set by the caller */
	uint32_t size;
	uint32_t connected;         /* 1: a server has said WELCOME */
	uint64_t published, acked, failed, duplicates; /* messages */
	uint64_t batches, resent;   /* PUBLISH frames sent; of these, again */
	uint64_t delivered;         /* messages of subscriptions */
	uint64_t bytes_in, bytes_out;
	uint64_t reconnects;
	uint64_t buffered;          /* bytes unacknowledged */
	uint64_t connection_id;     /* as the server names it */
	const char *server;         /* address of the current or last one */
	const char *server_version; /* "" before the first WELCOME */
};

ALM_CLIENT_API int alm_stats(const struct alm_client *, struct alm_client_stats *);

/* ---- in an event loop of your own ---- */

/* A descriptor that becomes readable when alm_process has work; the same for the client's life. */
ALM_CLIENT_API int alm_fd(const struct alm_client *);
/* Milliseconds after which alm_process must be called even if the descriptor is silent (linger,
 * reconnect, keepalive); -1: none. */
ALM_CLIENT_API int alm_timeout_ms(const struct alm_client *);
/* Read, write, call back; never blocks but for name resolution and dial() at a reconnect.  ALM_OK also
 * while disconnected: the client goes on trying. */
ALM_CLIENT_API int alm_process(struct alm_client *);
/* Wait at most wait_ms (-1: for ever) for something to happen, then process it. */
ALM_CLIENT_API int alm_poll(struct alm_client *, int wait_ms);

/* ---- publish ---- */

struct alm_property {
	struct alm_slice name, value;
};

struct alm_pub { /* append only; size set by the caller */
	uint32_t size;
	uint32_t queue;           /* number or ALM_QUEUE_ANY */
	const char *topic;
	struct alm_slice body, key, tag; /* key, tag: len 0: none */
	const struct alm_property *properties;
	uint32_t n_properties;
	uint32_t flags;           /* ALM_RF_USER_MASK and body codec */
	uint64_t born;            /* microseconds since the epoch; 0: now */
};

struct alm_ack { /* append only */
	uint32_t size;
	int32_t status;           /* ALM_OK: durable on a majority, at queue and offset */
	uint32_t topic_id;
	uint32_t queue;           /* ALM_QUEUE_ANY: unknown, of a duplicate that the server had routed */
	uint64_t offset;          /* UINT64_MAX: unknown, of an old duplicate */
	uint64_t position;        /* of the batch in the log */
	uint32_t duplicate;       /* 1: the server had stored it at an earlier attempt */
	uint32_t reserved;
	const char *detail;       /* why it failed; "" */
};

typedef void (*alm_ack_fn)(void *arg, const struct alm_ack *);

/* Add a message to the batch of its topic and queue.  cb (may be NULL) is called exactly once, in
 * the order of publishing within a topic and queue.  ALM_EAGAIN: max_buffered is reached, nothing
 * happened: alm_poll and try again. */
ALM_CLIENT_API int alm_publish_async(struct alm_client *, const struct alm_pub *, alm_ack_fn cb,
    void *arg);
/* Publish one message now and wait; *ack may be NULL.  Returns the message's status. On ALM_ETIMEOUT the
 * message may still arrive. */
ALM_CLIENT_API int alm_publish(struct alm_client *, const struct alm_pub *, struct alm_ack *ack);
/* Send what lingers, without waiting. */
ALM_CLIENT_API int alm_push(struct alm_client *);
/* Send what lingers and wait until nothing is unacknowledged.  ALM_OK even if messages failed:
 * their callbacks know. */
ALM_CLIENT_API int alm_flush(struct alm_client *);

/* ---- messages that were read: views of the log's own records ---- */

struct alm_msg { /* append only; valid as the giving function says */
	uint32_t size, reserved;
	const struct alm_record *record;
	uint64_t position; /* physical id: alm_get_position finds it again */
	const char *topic; /* "" when looked up by position */
};

static inline struct alm_slice
alm_msg_body(const struct alm_msg *m)
{
	return alm_record_body(m->record);
}

static inline uint64_t
alm_msg_offset(const struct alm_msg *m)
{
	return m->record->offset;
}

static inline uint32_t
alm_msg_queue(const struct alm_msg *m)
{
	return m->record->queue;
}

/* Microseconds since the epoch, as the publisher or its server said. */
static inline uint64_t
alm_msg_born(const struct alm_msg *m)
{
	return m->record->born;
}

/* The user's bits and the body codec. */
static inline uint32_t
alm_msg_flags(const struct alm_msg *m)
{
	return m->record->flags;
}

/* len 0: none. */
static inline struct alm_slice
alm_msg_tag(const struct alm_msg *m)
{
	return alm_record_find(m->record, ALM_ATTR_TAG);
}

/* The first key; len 0: none. */
static inline struct alm_slice
alm_msg_key(const struct alm_msg *m)
{
	return alm_record_find(m->record, ALM_ATTR_KEY);
}

/* Step through the properties in order: *at starts as 0; 1 with one, 0 at the end. */
static inline int
alm_msg_property_next(const struct alm_msg *m, uint32_t *at, struct alm_property *out)
{
	struct alm_slice v;
	uint32_t type = 0;
	uint16_t len;

	while (alm_record_attr(m->record, at, &type, &v)) {
		if (type != ALM_ATTR_PROPERTY || v.len < sizeof len)
			continue;
		memcpy(&len, v.data, sizeof len);
		if (len > v.len - sizeof len)
			continue;
		out->name.data = (const char *)v.data + sizeof len;
		out->name.len = len;
		out->value.data = (const char *)v.data + sizeof len + len;
		out->value.len = v.len - sizeof len - len;
		return 1;
	}
	return 0;
}

/* Value of the first property with a name; data NULL: none. */
static inline struct alm_slice
alm_msg_property(const struct alm_msg *m, const char *name)
{
	struct alm_slice none = {NULL, 0};
	struct alm_property p;
	uint32_t at = 0;
	size_t len = strlen(name);

	while (alm_msg_property_next(m, &at, &p))
		if (p.name.len == len && memcmp(p.name.data, name, len) == 0)
			return p.value;
	return none;
}

/* ---- fetch: pull from one queue ---- */

struct alm_fetch_opts { /* append only; size set by the caller */
	uint32_t size;
	uint32_t queue;
	const char *topic;
	uint64_t offset;
	uint32_t max_bytes;    /* 0: 1 MiB; at least one message comes even if larger */
	uint32_t max_messages; /* 0: no limit */
	uint32_t wait_ms;      /* long poll */
	uint32_t n_tags;       /* 0: all messages */
	const char *const *tags;
};

/* Messages in memory of their own. */
struct alm_batch_view { /* append only */
	uint32_t size, queue;
	uint32_t topic_id, reserved;
	int32_t status;        /* for the callback; data is empty unless ALM_OK */
	uint32_t reserved2;
	uint64_t begin, end;   /* of the queue */
	uint64_t next_offset;  /* where to fetch next */
	const char *detail;
	const char *topic;
	const void *priv;      /* the library's */
	uint64_t at, chunk, chunk_at; /* of the iteration; all 0: from the start */
};

/* Next message of a batch view: 1 and *out, 0 at the end, ALM_EPROTO if the server's bytes do not fit. */
ALM_CLIENT_API int alm_batch_view_next(struct alm_batch_view *, struct alm_msg *out);

typedef void (*alm_fetch_fn)(void *arg, struct alm_batch_view *);

/* Blocking; *out is filled on ALM_OK and valid until alm_batch_free. Waits wait_ms + the timeout at most. */
ALM_CLIENT_API int alm_fetch(struct alm_client *, const struct alm_fetch_opts *,
    struct alm_batch_view **out);
ALM_CLIENT_API void alm_batch_free(struct alm_batch_view *);
/* The view is valid inside cb only. cb is called exactly once unless an error is returned. */
ALM_CLIENT_API int alm_fetch_async(struct alm_client *, const struct alm_fetch_opts *,
    alm_fetch_fn cb, void *arg);

/* The message at a physical position; free with alm_batch_free. ALM_ENOTFOUND. */
ALM_CLIENT_API int alm_get_position(struct alm_client *, uint64_t position,
    struct alm_batch_view **out);
/* Messages of a topic with a key, newest limit (0: 32) of those born in [since, until] (0: open). */
ALM_CLIENT_API int alm_find_key(struct alm_client *, const char *topic, struct alm_slice key,
    uint32_t limit, uint64_t since, uint64_t until, struct alm_batch_view **out);

/* ---- subscribe: the server pushes ---- */

#define ALM_START_BEGIN 1u  /* the oldest message kept */
#define ALM_START_END 2u    /* only what is published from now on */
#define ALM_START_OFFSET 3u /* start_value: offset; needs one queue */
#define ALM_START_TIME 4u   /* start_value: microseconds since the epoch */

typedef void (*alm_msg_fn)(void *arg, struct alm_sub *, const struct alm_msg *);

struct alm_sub_opts { /* append only; size set by the caller */
	uint32_t size;
	uint32_t queue;          /* number or ALM_QUEUE_ANY: all queues */
	const char *topic;
	const char *group;       /* NULL: none; else start where the group has committed */
	uint32_t start;          /* ALM_START_*; for a group: of queues it has not committed. 0: BEGIN */
	uint32_t window;         /* bytes that may be under way a queue; 0: 1 MiB */
	uint64_t start_value;
	uint32_t n_tags;         /* 0: all messages */
	uint32_t reserved;
	const char *const *tags;
	const uint32_t *queues;  /* these queues only, instead of queue */
	uint32_t n_queues;
	uint32_t reserved2;
	alm_msg_fn cb;           /* NULL: use alm_next. The message is valid inside cb */
	void *arg;
};

/* Blocking.  Messages of one queue come in order and once. A queue whose next offset was
 * removed by retention goes on at its begin; alm_sub_gap counts what was missed. */
ALM_CLIENT_API int alm_subscribe(struct alm_client *, const struct alm_sub_opts *,
    struct alm_sub **out);
/* Next message: waits at most wait_ms (-1: for ever). ALM_ETIMEOUT: none came. ALM_ECLOSED: the
 * subscription ended, alm_error says why (topic deleted). *out is valid until the next alm_next of this
 * subscription or its end. */
ALM_CLIENT_API int alm_next(struct alm_sub *, struct alm_msg *out, int wait_ms);
/* Blocking: commit, for the subscription's group, behind the last message given out of each queue. */
ALM_CLIENT_API int alm_sub_commit(struct alm_sub *);
/* Messages that retention removed before they were delivered. */
ALM_CLIENT_API uint64_t alm_sub_gap(const struct alm_sub *);
/* ALM_OK, or the status that ended it. */
ALM_CLIENT_API int alm_sub_status(const struct alm_sub *);
/* End it; messages not given out are dropped. Does not block. In its own callback: allowed. */
ALM_CLIENT_API void alm_unsubscribe(struct alm_sub *);

/* ---- offsets and groups ---- */

typedef void (*alm_status_fn)(void *arg, int status, const char *detail);

/* offset: of the next message to consume. */
ALM_CLIENT_API int alm_commit(struct alm_client *, const char *group, const char *topic,
    uint32_t queue, uint64_t offset);
ALM_CLIENT_API int alm_commit_async(struct alm_client *, const char *group, const char *topic,
    uint32_t queue, uint64_t offset, alm_status_fn cb, void *arg);
/* Committed offset. ALM_ENOTFOUND: none. */
ALM_CLIENT_API int alm_committed(struct alm_client *, const char *group, const char *topic,
    uint32_t queue, uint64_t *offset);
ALM_CLIENT_API int alm_bounds(struct alm_client *, const char *topic, uint32_t queue,
    uint64_t *begin, uint64_t *end);
/* Offset of the first message stored at or after a time (microseconds since the epoch). */
ALM_CLIENT_API int alm_offset_at(struct alm_client *, const char *topic, uint32_t queue,
    uint64_t time, uint64_t *offset);

ALM_CLIENT_API int alm_group_create(struct alm_client *, const char *group);
ALM_CLIENT_API int alm_group_delete(struct alm_client *, const char *group);
/* Calls each for every group in order of name; a non-zero result ends the walk and is returned. */
ALM_CLIENT_API int alm_group_list(struct alm_client *,
    int (*each)(void *, const char *group, const struct alm_group *), void *arg);
/* Calls each for every committed offset of a group. */
ALM_CLIENT_API int alm_group_offsets(struct alm_client *, const char *group,
    int (*each)(void *, const char *topic, uint32_t queue, const struct alm_offset *), void *arg);

/* ---- topics ---- */

/* Create: ALM_EEXIST if there is one. A value with queues 0 takes the server's defaults. */
ALM_CLIENT_API int alm_topic_create(struct alm_client *, const char *topic,
    const struct alm_topic *);
ALM_CLIENT_API int alm_topic_alter(struct alm_client *, const char *topic,
    const struct alm_topic *);
ALM_CLIENT_API int alm_topic_delete(struct alm_client *, const char *topic);
ALM_CLIENT_API int alm_topic_get(struct alm_client *, const char *topic, struct alm_topic *out);
ALM_CLIENT_API int alm_topic_list(struct alm_client *,
    int (*each)(void *, const char *topic, const struct alm_topic *), void *arg);

/* ---- state and node ---- */

/* A value of the state store; *out is from malloc, with a zero byte behind *len. */
ALM_CLIENT_API int alm_state_get(struct alm_client *, const char *ns, struct alm_slice key,
    void **out, uint64_t *len, uint64_t *version);
ALM_CLIENT_API int alm_state_scan(struct alm_client *, const char *ns, struct alm_slice prefix,
    int (*each)(void *, struct alm_slice key, struct alm_slice value, uint64_t version), void *arg);
/* JSON about the node: what is "info", "config", "plugins" or "stats"; *out is from malloc. */
ALM_CLIENT_API int alm_admin(struct alm_client *, const char *what, char **out);
/* Round trip in microseconds. */
ALM_CLIENT_API int alm_ping(struct alm_client *, uint64_t *us);

#ifdef __cplusplus
}
#endif
#endif
