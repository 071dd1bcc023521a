/* almadia/consensus.h - who leads, what is committed.
 *
 * A provider is a pure state machine in one flat block of memory without pointers: the core
 * allocates state_size() bytes, which may be copied, hashed and compared.  step() takes the time
 * and a batch of events and fills outputs; it does no I/O, allocates nothing, reads no clock and
 * has no randomness but the seed.  It never sees payload.  One thread, the ledger's main thread;
 * never blocks.
 *
 * Every output may be carried out at once and in order.  A provider holds back a vote until
 * META_DURABLE, an acknowledgement of entries until LOG_DURABLE.  A completion names what is
 * durable as (epoch, index, term); one of an older epoch changes nothing.
 *
 * An entry is one batch of the log.  The core announces a batch with PROPOSE; the answer, in the
 * same step, is APPEND with its index and term (then the core completes the header and writes
 * it), or REJECT.
 */
#ifndef ALMADIA_CONSENSUS_H
#define ALMADIA_CONSENSUS_H

#include <almadia/host.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ALM_PEERS_MAX 16u

struct alm_cns_config { /* append only */
	uint32_t size;
	uint32_t n_peers;       /* initial members besides self, 0 for a group of one */
	uint64_t group;
	uint64_t self;          /* node id, 1 or higher */
	uint64_t seed;
	uint64_t peers[ALM_PEERS_MAX];
	uint64_t heartbeat_us, election_us;
	uint64_t max_inflight_bytes;
};

/* A run of entries of one term: from index first until the next run. */
struct alm_cns_run {
	uint64_t first, term;
};

struct alm_cns_boot { /* append only: what survived, from the store */
	uint32_t size, n_runs;
	uint64_t term, vote, meta_seq;
	uint64_t base_index, base_term; /* the log begins after these */
	uint64_t last_index, last_term;
	uint64_t epoch;
	uint64_t frontier;              /* index known committed */
	uint64_t damaged_from;          /* lowest damaged index, 0: none */
	const struct alm_cns_run *runs;
	struct alm_slice config;        /* bytes of the newest CONFIG records, oldest first: the last
	                                 * committed one and all after it, since a truncation may bring
	                                 * an earlier one back */
};

/* Events. Fields a..d by kind. */
#define ALM_EV_TICK 1u         /* only time passes */
#define ALM_EV_PROPOSE 2u      /* a: bytes, b: the core's ticket */
#define ALM_EV_LOG_DURABLE 3u  /* a: epoch, b: index, c: term */
#define ALM_EV_META_DURABLE 4u /* a: meta seq */
#define ALM_EV_RECV 5u         /* a: peer, data: message */
#define ALM_EV_PEER_UP 6u      /* a: peer */
#define ALM_EV_PEER_LOST 7u    /* a: peer */
#define ALM_EV_READ 8u         /* a: ticket; answered by READ_OK or READ_FAIL */
#define ALM_EV_CONF 9u         /* data: change, b: ticket */
#define ALM_EV_TRANSFER 10u    /* a: peer, 0: best */
#define ALM_EV_CAPACITY 11u    /* a: 1 the disk accepts only reserved work, 0 normal */
#define ALM_EV_RETAIN 12u      /* a: first index of the log now */
#define ALM_EV_RESEEDED 13u    /* a: index, b: term, c: epoch */
#define ALM_EV_DAMAGE 14u      /* a: lowest damaged index, 0: repaired */

struct alm_cns_event { /* frozen */
	uint32_t kind, reserved;
	uint64_t a, b, c, d;
	struct alm_slice data;
};

/* Outputs. */
#define ALM_OUT_APPEND 1u   /* a: index, b: term, c: epoch, d: ticket (0: provider's own entry) ; e: kind of own entry */
#define ALM_OUT_REJECT 2u   /* a: ticket, b: status as positive number, c: leader or 0 */
#define ALM_OUT_META 3u     /* a: seq, b: term, c: vote: save before the next output */
#define ALM_OUT_COMMIT 4u   /* a: index committed */
#define ALM_OUT_ROLE 5u     /* a: ALM_CNS_*, b: term, c: leader or 0 */
#define ALM_OUT_SEND 6u     /* a: peer, data in the message area; b: from index, c: to index, d: epoch (entries to attach) */
#define ALM_OUT_TRUNCATE 7u /* a: from index */
#define ALM_OUT_READ_OK 8u  /* a: ticket, b: index to wait for */
#define ALM_OUT_READ_FAIL 9u /* a: ticket, b: status as positive number */
#define ALM_OUT_RESEED 10u  /* a: peer that needs it or 0: self must */
#define ALM_OUT_FATAL 11u   /* a: reason code; the core stops the ledger */
#define ALM_OUT_ACCEPT 12u  /* follower: write the entries of the received message; a: first index, b: last, c: epoch */

#define ALM_CNS_FOLLOWER 1u
#define ALM_CNS_CANDIDATE 2u
#define ALM_CNS_LEADER 3u   /* announced only once the term's first entry is committed */
#define ALM_CNS_LEARNER 4u

struct alm_cns_out { /* frozen */
	uint32_t kind, reserved;
	uint64_t a, b, c, d, e;
	struct alm_slice data; /* points into the caller's message area or the state block */
};

struct alm_cns_status { /* append only; the core sets size */
	uint32_t size, role;
	uint64_t term, leader, commit, last_index, durable_index;
	uint64_t elections;
};

struct alm_consensus_ops_v0 { /* append only */
	uint64_t (*state_size)(const struct alm_cns_config *);
	int (*init)(void *state, uint64_t bytes, const struct alm_cns_config *);
	int (*boot)(void *state, const struct alm_cns_boot *);
	/* Returns the number of outputs, <= cap, or an error. *deadline: monotonic microseconds of the
	 * next TICK wanted, UINT64_MAX for never. cap is at least ALM_CNS_OUT_MIN + n. */
	int (*step)(void *state, uint64_t now, const struct alm_cns_event *, uint32_t n,
	    struct alm_cns_out *outs, uint32_t cap, uint64_t *deadline);
	/* Always-on invariants: ALM_OK, or ALM_EINTERNAL with a reason. */
	int (*check)(const void *state, const char **why);
	void (*status)(const void *state, struct alm_cns_status *);
};

#define ALM_CNS_OUT_MIN 64u

#ifdef __cplusplus
}
#endif
#endif
