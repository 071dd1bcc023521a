/* sim.h - whole clusters in one thread: virtual clock, network and disks around a real consensus
 * plugin, driven by one seed.
 *
 * Files: sim.c (events, running a step, faults), world.c (disk and network of a node), oracle.c
 * (what must hold, after every step), main.c (command line, seeds).
 */
#ifndef ALM_SIM_H
#define ALM_SIM_H

#include <almadia/consensus.h>
#include <almadia/log.h>
#include <setjmp.h>

#include "../../plugins/consensus/raft/raft.h"

#define NODES_MAX 8u       /* ids 1..NODES_MAX - 1 */
#define LOG_MAX 20000u
#define EVENTS_MAX 65536u
#define TERMS_MAX 100000u

struct entry {
	uint64_t term, id;     /* id: of the proposal, 0 for control entries */
	uint64_t hash;         /* of everything up to here */
	uint32_t kind, conf;   /* conf: number of its configuration, for CONFIG */
};

/* Something that happens at a time. */
#define AT_STEP 1u     /* a node's deadline */
#define AT_DELIVER 2u  /* a message arrives */
#define AT_SYNCED 3u   /* a disk reports */
#define AT_META 4u
#define AT_PROPOSE 5u
#define AT_FAULT 6u
#define AT_RESTART 7u
#define AT_RESUME 8u
#define AT_LOST 9u     /* a connection is seen to break */

struct packet {
	uint64_t from, to;
	uint64_t first;        /* entries attached: first.. */
	uint32_t n_entries, len;
	struct raft_wire wire;
	struct entry entry[];
};

struct happening {
	uint64_t at, order;
	uint32_t kind, node;
	uint64_t incarnation, a, b, c;
	struct packet *packet;
};

struct node {
	void *state;
	uint64_t id, incarnation, now_skew;
	uint32_t up, paused;
	uint64_t deadline, resume_at;
	uint64_t epoch, last, stable;  /* log: entries 1..last, the first `stable` survive a crash */
	uint64_t term, vote, meta_seq; /* on disk */
	uint64_t commit, role, role_term;
	uint64_t sync_done_at;         /* disks work in order */
	struct entry *log;             /* [LOG_MAX], index 1.. */
	uint32_t n_conf_seen, conf_seen[CONFS_MAX]; /* CONFIG entries accepted in this step */
};

struct sim {
	const struct alm_consensus_ops_v0 *ops;
	uint64_t seed, rng, now, order, steps, events;
	uint32_t n_nodes, n_members;
	struct node node[NODES_MAX];
	uint8_t cut[NODES_MAX][NODES_MAX]; /* 1: messages from..to are lost */
	struct happening heap[EVENTS_MAX];
	uint32_t n_heap;
	/* fault rates, in millionths unless said */
	uint32_t drop, duplicate, crash_in_step;
	uint64_t delay_mean, sync_mean;
	uint32_t faults_on, trace;
	uint64_t next_id;
	/* oracle */
	struct entry *committed;           /* [LOG_MAX] */
	uint64_t n_committed;
	uint64_t *leader_of;               /* [TERMS_MAX] node id */
	uint64_t *voted[NODES_MAX];        /* [TERMS_MAX] candidate */
	uint64_t elections, acked, crashes, truncations, reads;
	uint64_t read_floor[READS_MAX];    /* highest commit acked when a read began, by ticket % READS_MAX */
	struct conf conf[256];
	uint32_t n_conf;
	uint64_t crash_pending;
	jmp_buf failed;
	char why[256];
};

/* sim.c */
int sim_run(struct sim *, uint64_t seed, uint64_t max_events); /* 0, or 1 with why[] filled */
uint64_t rnd(struct sim *, uint64_t n);                        /* 0..n-1 */
int chance(struct sim *, uint32_t millionths);
void schedule(struct sim *, uint64_t at, uint32_t kind, uint32_t node, uint64_t a, uint64_t b, uint64_t c,
    struct packet *);
void step_node(struct sim *, struct node *, const struct alm_cns_event *, uint32_t n);
_Noreturn void sim_fail(struct sim *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void sim_trace(struct sim *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* world.c */
void node_boot(struct sim *, struct node *);
void node_crash(struct sim *, struct node *);
void disk_append(struct sim *, struct node *, uint64_t term, uint32_t kind, uint64_t id, uint32_t conf);
void disk_sync(struct sim *, struct node *);
void disk_truncate(struct sim *, struct node *, uint64_t from);
/* An ACCEPT output: the entries of the packet under delivery. */
void disk_accept(struct sim *, struct node *, const struct alm_cns_out *);
void net_send(struct sim *, struct node *, const struct alm_cns_out *);
void net_deliver(struct sim *, struct node *, struct packet *);
uint64_t entry_hash(uint64_t before, const struct entry *);

/* oracle.c */
void check_output(struct sim *, struct node *, const struct alm_cns_out *);
void check_step(struct sim *, struct node *);
void check_boot(struct sim *, struct node *);
void check_end(struct sim *);

#endif
