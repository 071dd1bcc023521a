/* almadia/protocol.h - wire protocols.
 *
 * A provider runs in a worker, on its one thread, and never blocks.  It gets bytes and
 * completions and returns bytes; it never sees a socket, a file or an event loop.  The core owns
 * connections, buffers, limits and deadlines.  All it offers is in struct alm_broker; every
 * request there is answered exactly once, by a call of ops->done() with the request's tag, either
 * before the call returns or later, unless the call itself returned an error.  When a connection
 * ends the core calls closed(); requests still under way are then dropped without done().
 */
#ifndef ALMADIA_PROTOCOL_H
#define ALMADIA_PROTOCOL_H

#include <almadia/host.h>
#include <almadia/log.h>

#ifdef __cplusplus
extern "C" {
#endif

struct alm_proto;   /* the provider in one worker */
struct alm_session; /* the provider's side of a connection */
struct alm_conn;    /* the core's side of a connection */

/* How a connection came in. */
struct alm_conn_info { /* append only */
	uint32_t size;
	uint32_t is_unix;      /* 1: Unix socket */
	uint64_t id;           /* unique in this cluster: node, worker, generation, number */
	const char *listener;  /* name of its section */
	const char *peer;      /* "127.0.0.1:5123" or "unix:uid=0,pid=17" */
	uint8_t addr[16];      /* peer address, v4 in the first 4 bytes */
	uint32_t addr_len;     /* 4, 16 or 0 */
	uint32_t port;
};

/* One message to publish.  Borrowed until the call returns. */
struct alm_message { /* append only, array stride is sizeof of the caller's version: fixed at 0.1 */
	uint32_t topic, queue;
	uint32_t flags;        /* ALM_RF_* */
	uint32_t sequence;
	uint64_t producer;     /* 0: no duplicate check */
	uint64_t born;         /* microseconds, 0: now */
	struct alm_slice attrs; /* ready attribute bytes as in log.h; TAG sets tag_hash */
	struct alm_slice body;
};

/* A change of state in the same group. */
struct alm_change { /* frozen */
	struct alm_slice ns, key, value;
	uint32_t op;           /* ALM_STATE_PUT or ALM_STATE_DELETE */
	uint32_t has_version;  /* 1: only if the key's version is version */
	uint64_t version;      /* 0: the key must not exist */
};

/* n messages and m changes: all or nothing, one result. */
struct alm_append { /* append only */
	uint32_t size;
	uint32_t n_messages, n_changes, flags;
	const struct alm_message *messages;
	const struct alm_change *changes;
};

/* Results. which is the request's kind; fields that a kind does not name are 0. */
#define ALM_DONE_APPEND 1u  /* position, index, n offsets */
#define ALM_DONE_FETCH 2u   /* chunks of records, begin, end, next_offset */
#define ALM_DONE_STATE 3u   /* get: value, version; scan: data is packed rows; data */
#define ALM_DONE_BOUNDS 4u  /* begin, end; by-time: next_offset */
#define ALM_DONE_LOOKUP 5u  /* chunks of records */
#define ALM_DONE_ADMIN 6u   /* data: JSON text */
#define ALM_DONE_TIMER 7u

/* Bytes of the log, whole records back to back, all from one batch. pin keeps them valid: give it
 * to write_pinned, or it ends with the call of done(). */
struct alm_chunk { /* frozen */
	const void *data;
	uint64_t len;
	uint64_t pin;
	uint64_t position; /* of the first byte in the log: a message's physical id */
};

struct alm_done { /* append only */
	uint32_t size, which;
	uint64_t tag;
	int32_t status;
	uint32_t duplicate;        /* append: stored before, these are its offsets (UINT64_MAX: unknown) */
	uint64_t position, index;
	uint64_t first_offset;     /* append: of the first message */
	const uint64_t *offsets;   /* append: of each message, when they are not consecutive; or NULL */
	uint32_t n_messages;
	uint32_t n_chunks;
	const struct alm_chunk *chunks;
	uint64_t begin, end, next_offset;
	uint64_t version;
	struct alm_slice data;     /* value, rows or text */
	const char *detail;        /* what went wrong, for people; never NULL */
};

struct alm_fetch { /* append only */
	uint32_t size;
	uint32_t topic, queue;
	uint32_t max_bytes;        /* at least one message is returned even if larger */
	uint32_t max_messages;     /* 0: no limit */
	uint32_t wait_ms;          /* long poll; 0: answer at once */
	uint64_t offset;
	struct alm_slice tags;     /* only these tags: names separated by 0 bytes; empty: all */
};

struct alm_topic_info {
	uint32_t size;
	struct alm_topic topic;
	uint64_t version;
};

struct alm_broker { /* append only */
	uint32_t size, reserved;

	/* -- bytes out.  Copied. Returns ALM_OK, or ALM_ECLOSED. Never blocks; see writable(). -- */
	int (*write)(struct alm_conn *, const void *, uint64_t len);
	/* Log bytes without a copy; the pin passes to the core. */
	int (*write_pinned)(struct alm_conn *, const struct alm_chunk *);
	/* Bytes waiting to leave. A provider stops delivering above the limit and goes on at
	 * ops->writable(). */
	uint64_t (*pending)(struct alm_conn *);
	/* Close after what was written has left. linger_ms: wait for the peer's FIN. */
	void (*close)(struct alm_conn *, int status, uint32_t linger_ms);
	/* Stop or go on reading from the connection. */
	void (*pause)(struct alm_conn *, uint32_t paused);
	/* One deadline a connection: ops->timer() is called at monotonic time at (us), 0 clears it. */
	void (*deadline)(struct alm_conn *, uint64_t at);

	/* -- log. ALM_EAGAIN: the ring is full, nothing happened; ops->writable() says when. -- */
	int (*append)(struct alm_conn *, uint64_t tag, const struct alm_append *);
	int (*fetch)(struct alm_conn *, uint64_t tag, const struct alm_fetch *);
	/* Cancel a waiting fetch: it is answered now with what there is. */
	void (*fetch_cancel)(struct alm_conn *, uint64_t tag);
	int (*bounds)(struct alm_conn *, uint64_t tag, uint32_t topic, uint32_t queue);
	int (*offset_at)(struct alm_conn *, uint64_t tag, uint32_t topic, uint32_t queue, uint64_t time);
	int (*lookup_position)(struct alm_conn *, uint64_t tag, uint64_t position);
	int (*lookup_key)(struct alm_conn *, uint64_t tag, uint32_t topic, struct alm_slice key,
	    uint32_t limit, uint64_t since, uint64_t until);

	/* -- catalogue: this worker's own fold, answered at once -- */
	int (*topic)(struct alm_conn *, struct alm_slice name, struct alm_topic_info *out);
	int (*topic_by_id)(struct alm_conn *, uint32_t id, struct alm_slice *name,
	    struct alm_topic_info *out);
	/* Calls each() for every topic in order of name; a non-zero result ends the walk and is
	 * returned. */
	int (*topics)(struct alm_conn *, int (*each)(void *, struct alm_slice name,
	    const struct alm_topic_info *), void *arg);
	/* Create (fails with ALM_EEXIST), alter or delete; done(ALM_DONE_APPEND) comes once this worker
	 * sees the change.  A value with queues 0 takes the node's defaults. */
	int (*topic_put)(struct alm_conn *, uint64_t tag, struct alm_slice name,
	    const struct alm_topic *, uint32_t create);
	int (*topic_delete)(struct alm_conn *, uint64_t tag, struct alm_slice name);
	/* Next queue of a topic for a message: by hash of key, or round robin if it is empty. */
	uint32_t (*route)(struct alm_conn *, uint32_t topic, uint32_t queues, struct alm_slice key);

	/* -- groups -- */
	int (*group_put)(struct alm_conn *, uint64_t tag, struct alm_slice name, uint32_t create);
	int (*group_delete)(struct alm_conn *, uint64_t tag, struct alm_slice name);
	int (*offset_commit)(struct alm_conn *, uint64_t tag, struct alm_slice group,
	    struct alm_slice topic, uint32_t queue, uint64_t offset);

	/* -- state store (asked of the indexer; sees every change acked before the call) -- */
	int (*state_get)(struct alm_conn *, uint64_t tag, struct alm_slice ns, struct alm_slice key);
	/* Rows with key > after and key starting with prefix: data is packed
	 * {u16 key_len, u16 0, u32 val_len, u64 version, key, value}. */
	int (*state_scan)(struct alm_conn *, uint64_t tag, struct alm_slice ns, struct alm_slice prefix,
	    struct alm_slice after, uint32_t limit);

	/* -- node: JSON text: "info", "config", "plugins", "stats" -- */
	int (*admin)(struct alm_conn *, uint64_t tag, const char *what);

	/* Deliver bytes to ops->notified() of the connection with that id, wherever it is. No result;
	 * lost if the connection is gone. */
	int (*notify)(struct alm_conn *, uint64_t conn_id, const void *, uint32_t len);
};

struct alm_protocol_ops_v0 { /* append only */
	int (*init)(const struct alm_host *, const struct alm_broker *, struct alm_proto **out);
	void (*fini)(struct alm_proto *);
	int (*open)(struct alm_proto *, struct alm_conn *, const struct alm_conn_info *,
	    struct alm_session **out);
	/* Bytes from the peer.  Returns how many were used; the rest comes again with more behind it.
	 * An error closes the connection with that status. */
	int64_t (*input)(struct alm_session *, const uint8_t *, uint64_t len);
	void (*done)(struct alm_session *, const struct alm_done *);
	/* Output has drained below half the limit, or the ring has room again. */
	void (*writable)(struct alm_session *);
	void (*timer)(struct alm_session *);
	void (*notified)(struct alm_session *, const void *, uint32_t len);
	/* The server stops: say good-bye. The core closes the connection soon after. */
	void (*shutdown)(struct alm_session *);
	/* The connection is gone; free the session. No write is possible any more. */
	void (*closed)(struct alm_session *, int status);
	/* Most bytes that one frame may have, from this session's settings: the core buffers at most
	 * this much for a frame that is incomplete. */
	uint64_t (*frame_limit)(struct alm_session *);
};

#ifdef __cplusplus
}
#endif
#endif
