/* raft.h - the Raft core: one flat block of state, no pointers, no I/O.
 *
 * Files: raft.c (step, boot, dispatch), election.c (votes, leadership), replicate.c (appends, acks,
 * commit), member.c (configurations), runs.c (terms of the log), plugin.c (the ABI).
 * Runs on the ledger's main thread.  Invariants that check() tests are at the end of this file.
 *
 * Source of the algorithms: Ongaro, "Consensus: Bridging Theory and Practice" (2014): sections 3
 * (election, replication, commit), 3.10 (transfer), 4.3 (joint membership), 6.4 (ReadIndex), 9.6
 * (pre-vote).
 */
#ifndef ALM_RAFT_H
#define ALM_RAFT_H

#include <almadia/consensus.h>
#include <almadia/log.h>
#include <string.h>

#define RAFT_MAGIC 0x54464152u
#define RUNS_MAX 1024u     /* terms that the log may span before the oldest are forgotten */
#define SIZES_MAX 4096u    /* newest entries whose size is known; older count as unknown_size */
#define INFLIGHT_MAX 64u   /* unanswered appends a peer */
#define READS_MAX 64u      /* ReadIndex requests under way */
#define CONFS_MAX 8u       /* configurations remembered for rollback */
#define MSGS_MAX 80u       /* messages that one step may emit */
#define MSG_RUNS_MAX 8u    /* term runs in one append */
#define PEERS_MAX ALM_PEERS_MAX

/* ---- messages ---- */

#define MSG_PREVOTE 1u
#define MSG_PREVOTE_REPLY 2u
#define MSG_VOTE 3u
#define MSG_VOTE_REPLY 4u
#define MSG_APPEND 5u       /* also the heartbeat, with no entries */
#define MSG_APPEND_REPLY 6u
#define MSG_TIMEOUT_NOW 7u  /* transfer: campaign at once */

#define MSGF_OK 1u          /* reply: granted, accepted */
#define MSGF_TRANSFER 2u    /* vote: asked for by the leader, ignores stickiness */
#define MSGF_FULL 4u        /* append reply: this disk takes only reserved work */
#define MSGF_RESEED 8u      /* append reply: the entries before are missing and unknown */

/* Little-endian on the wire; a message is this and n_runs runs. */
struct raft_msg {
	uint32_t type, flags;
	uint64_t group, from, term;
	uint64_t session;      /* of the receiver in the sender's configuration; echoed in replies */
	uint64_t prev_index, prev_term; /* append: before the first entry; votes: the candidate's last */
	uint64_t last_index;   /* append: last entry attached; reply: match, or hint when refused */
	uint64_t commit;       /* append */
	uint64_t token;        /* append and reply: read round */
	uint64_t hint_term;    /* refused append: term of the entry at last_index */
	uint32_t n_runs, reserved;
};

struct raft_wire {
	struct raft_msg head;
	struct alm_cns_run run[MSG_RUNS_MAX]; /* terms of the entries attached */
};

/* ---- state ---- */

#define CONF_OLD 1u     /* votes in the outgoing configuration */
#define CONF_NEW 2u     /* votes in the incoming (or only) configuration */
#define CONF_LEARNER 4u

struct conf_member {
	uint64_t id;
	uint64_t session;  /* index of the entry that added it: tells a re-added node from its former self */
	uint32_t flags, priority;
};

/* A configuration.  joint: OLD and NEW majorities are both needed. */
struct conf {
	uint64_t index;    /* of its entry, 0: the initial one */
	uint32_t n, joint;
	struct conf_member m[PEERS_MAX];
};

#define PROBE 1u       /* find where the logs agree: one append at a time */
#define REPLICATE 2u   /* pipelined */
#define RESEED 3u      /* needs entries that are gone */

struct inflight {
	uint64_t last, bytes;
};

struct peer {
	uint64_t id, session;
	uint64_t match, next;
	uint64_t token;          /* newest read round that it answered */
	uint64_t heard;          /* time of its last message in this term */
	uint64_t sent;           /* time of our last append */
	uint64_t inflight_bytes;
	uint32_t state, waiting; /* waiting: a probe is unanswered */
	uint32_t n_inflight, first_inflight;
	uint32_t prevote, vote;  /* in this campaign: 1 granted, 2 refused */
	uint32_t full, lost;     /* lost: its connection is down */
	struct inflight inflight[INFLIGHT_MAX];
};

struct read_req {
	uint64_t ticket, index, token;
};

struct raft {
	uint32_t magic, role;    /* role: ALM_CNS_* */
	uint64_t group, self, rng;
	uint64_t heartbeat, election, max_inflight_bytes;

	uint64_t term, vote, meta_seq, meta_durable;
	uint64_t leader;         /* known leader of this term, 0: none */
	uint64_t first, base_term; /* log holds entries first..last; base_term is that of first - 1 */
	uint64_t last, durable, commit, epoch;
	uint64_t proven;         /* follower: log equals this leader's up to here */
	uint64_t damaged_from;   /* lowest damaged entry, 0: none */
	uint64_t term_start;     /* leader: index of its no-op */
	uint64_t announced;      /* leader: 1 once ROLE leader went out */

	uint64_t now, timeout_at, heartbeat_at, heard_leader, quorum_at;
	uint64_t transfer_to, transfer_until;
	uint64_t read_token, commit_told;
	uint64_t elections;
	uint32_t disk_full, fatal;
	uint32_t prevoting, n_reads;
	uint32_t vote_pending, reserved; /* 1: a grant waits for META_DURABLE */
	uint64_t vote_reply_to, vote_reply_session, vote_reply_seq;
	uint64_t ack_to, ack_upto, ack_session, ack_token; /* follower: what to answer once durable */
	uint32_t ack_pending, transfer_campaign;

	uint32_t n_runs, n_confs, n_peers, sizes_known;
	struct alm_cns_run run[RUNS_MAX];
	struct conf conf[CONFS_MAX];  /* by index; the last one is active */
	struct peer peer[PEERS_MAX];  /* of the active configuration, without self */
	struct read_req read[READS_MAX];
	uint32_t size_of[SIZES_MAX];  /* bytes of entry i at i % SIZES_MAX, for the newest */

	uint32_t n_msgs, reserved2;
	struct raft_wire msg[MSGS_MAX]; /* what the outputs of the last step point to */
	struct conf conf_out;           /* bytes of a CONFIG entry to append */
};

/* One step under way: the state and where outputs go. */
struct step {
	struct raft *r;
	struct alm_cns_out *out;
	uint32_t n, cap;
};

/* raft.c */
struct alm_cns_out *emit(struct step *, uint32_t kind);
void emit_reject(struct step *, uint64_t ticket, int status);
struct raft_wire *emit_send(struct step *, uint64_t to, uint32_t type);
void save_meta(struct step *);
uint64_t rng_next(struct raft *);
void fatal(struct step *, uint64_t reason);

int raft_step(struct raft *, uint64_t now, const struct alm_cns_event *, uint32_t n, struct alm_cns_out *,
    uint32_t cap, uint64_t *deadline);

/* runs.c */
uint64_t term_at(const struct raft *, uint64_t index); /* 0: unknown */
void runs_append(struct raft *, uint64_t index, uint64_t term);
void runs_truncate(struct raft *, uint64_t from);
void runs_release(struct raft *, uint64_t first);
uint64_t size_at(const struct raft *, uint64_t index);

/* election.c */
void become_follower(struct step *, uint64_t term, uint64_t leader);
void election_tick(struct step *);
void campaign_start(struct step *, uint32_t transfer);
void on_prevote(struct step *, const struct raft_msg *);
void on_vote(struct step *, const struct raft_msg *);
void on_vote_reply(struct step *, const struct raft_msg *);
void on_meta_durable(struct step *, uint64_t seq);
void on_peer_lost(struct step *, uint64_t peer);
void on_transfer(struct step *, uint64_t peer);
void election_reset(struct raft *);

/* replicate.c */
void leader_start(struct step *);
void leader_tick(struct step *);
void leader_send(struct step *);       /* what each peer may be sent now */
void leader_commit(struct step *);
void on_propose(struct step *, uint64_t bytes, uint64_t ticket);
void on_append(struct step *, const struct raft_wire *, uint64_t n_runs);
void on_append_reply(struct step *, const struct raft_msg *);
void on_durable(struct step *, uint64_t epoch, uint64_t index, uint64_t term);
void follower_ack(struct step *);      /* answer the leader if something is durable */
void on_read(struct step *, uint64_t ticket);
void reads_fail(struct step *, int status);
uint64_t append_own(struct step *, uint64_t bytes, uint64_t ticket, uint32_t kind);

/* member.c */
const struct conf *conf_active(const struct raft *);
void conf_push(struct raft *, const struct conf *);
void conf_rollback(struct raft *, uint64_t from);
void conf_settle(struct raft *);       /* peers[] of the active configuration */
int conf_decode(struct alm_slice, struct conf *out);
int quorum(const struct raft *, int (*yes)(const struct raft *, const struct peer *), int self_yes);
uint64_t quorum_index(const struct raft *, uint64_t (*of)(const struct peer *), uint64_t self);
int is_voter(const struct raft *, uint64_t id);
void on_conf(struct step *, struct alm_slice change, uint64_t ticket);
void conf_committed(struct step *);
struct peer *peer_find(struct raft *, uint64_t id);

#endif
