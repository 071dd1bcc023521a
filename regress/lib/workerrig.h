/* regress/lib/workerrig.h - a worker between fakes, in one thread, for unit tests.
 *
 * The worker is the real one; the ledger, the indexer, the store and the protocol provider are the
 * rig's.  The rig stands in for main/role.c and module/ (it defines their functions), holds the
 * peers' regions, and turns the worker's event loop by hand, so every order of events can be
 * made.  Sockets are real: loopback TCP and a Unix socket.
 */
#ifndef ALM_REGRESS_WORKERRIG_H
#define ALM_REGRESS_WORKERRIG_H

#include "regress/lib/fakehost.h"
#include "regress/lib/mkbatch.h"
#include "worker/worker.h"

#define RIG_DONES 64u
#define RIG_CHUNKS 64u

struct rig_done { /* a copy of a struct alm_done and of what it points to */
	struct alm_done d;
	char detail[160];
	struct buf bytes;               /* all chunks back to back */
	struct buf data;
	uint64_t chunk_len[RIG_CHUNKS]; /* and their lengths */
	uint64_t chunk_position[RIG_CHUNKS];
	uint64_t offsets[16];
};

struct alm_session { /* of the rig's protocol: frames are u32 length, then that many bytes */
	struct alm_session *next;
	struct rig *rig;
	struct alm_conn *conn;
	uint64_t id;
	char peer[80];
	struct rig_done done[RIG_DONES];
	uint32_t n_done, frames, writables, timers, notices, shutdowns;
	uint64_t frame_bytes, offered; /* of the last frame; most bytes input() was offered */
	uint8_t notice[64];
	uint32_t echo;      /* write fetched chunks to the connection, pinned */
	uint32_t close_in_input;
};

struct rig_append { /* a group that the ledger got */
	struct msg_append head;
	struct buf bytes;   /* conditions and records */
};

struct rig {
	struct role_env env;
	struct config *conf;
	struct event_base *base;
	const struct alm_broker *broker;
	char dir[64];
	int region[PEERS_MAX];
	struct region ledger, indexer;
	struct link to_ledger, to_indexer; /* the peers' sides of their links to the worker */
	uint64_t generation;               /* of the newest ledger or indexer */
	struct fakehost *host;
	uint16_t port;

	struct mkbatch mk;                 /* builds the log */
	struct {
		uint64_t position, length;
		struct alm_batch *batch;
	} log[4096];
	uint32_t n_log;
	uint32_t opens;                    /* views given out: reader_get and reader_seek */

	struct rig_append append[64];
	uint32_t n_append;
	uint32_t index_off;                /* 1: the indexer reads no questions */
	uint32_t questions;                /* that it has answered */
	uint64_t applied;                  /* 0: as far as visible */
	int answer_status;                 /* for keys and state: status and bytes of the answer */
	struct buf answer;
	struct buf question;               /* the last one's input */

	struct alm_session *sessions;      /* newest first */
	uint32_t n_closed;
	int closed_status;                 /* of the last one closed */
	uint64_t frame_limit;
	int refuse_open, hook_status;
	int exit_code;                     /* of role_exit, -1 before */
	char ready[512];                   /* role_ready's text */
};

/* Start a worker. overrides: "section.key=value" beyond the usual, ended by NULL; may be NULL. */
struct rig *rig_new(const char *const *overrides);
void rig_free(struct rig *);
struct worker *rig_worker(struct rig *);
/* Let worker, ledger and indexer run until nothing happens any more. */
void rig_run(struct rig *);
/* Only the worker's loop, once, without blocking. */
void rig_turn(struct rig *);

/* The log: rig_batch() publishes what was added to rig->mk since the last one. */
void rig_begin(struct rig *);
const struct alm_batch *rig_batch(struct rig *);
/* n messages of size bytes to one queue, in one batch, then published. */
const struct alm_batch *rig_messages(struct rig *, uint32_t topic, uint32_t queue, uint32_t n,
    const char *tag, uint32_t size);
/* A topic in the catalogue, committed. */
void rig_topic(struct rig *, const char *name, uint32_t id, uint32_t queues);

/* The result of append i; the others' fields are 0. */
void rig_result(struct rig *, uint32_t i, int status, uint64_t first_offset, uint64_t end);
void rig_ledger_restart(struct rig *);
void rig_indexer_restart(struct rig *);

/* A client: a connected socket (blocking for at most 2 s), and its session in *s. */
int rig_connect(struct rig *, struct alm_session **s);
int rig_connect_unix(struct rig *, struct alm_session **s);
/* Send a frame of len bytes and run. */
void rig_send(struct rig *, int fd, const void *, uint32_t len);
/* The last done() of a session, which must be the only new one. */
struct rig_done *rig_last(struct alm_session *);

#endif
