/* consensus_kit.h - a ledger of the consensus kit's own: a log in memory that carries out what a
 * provider says, breaks the rules of almadia/consensus.h to nobody, and notices when the provider
 * does.  A group of one.  One thread. */
#ifndef ALM_REGRESS_CONSENSUS_KIT_H
#define ALM_REGRESS_CONSENSUS_KIT_H

#include <almadia/consensus.h>

#include "base/base.h"

#define CKIT_LOG_MAX 4096u
#define CKIT_OUTS_MAX 2048u
#define CKIT_CANARY 64u

struct ckit_world {
	const struct alm_consensus_ops_v0 *ops;
	struct alm_cns_config cfg;
	uint8_t *block;   /* state with canaries on both sides */
	uint8_t *state;
	uint64_t bytes;

	/* What a crash leaves: the log up to a point at or beyond durable, and the saved meta. */
	uint64_t term_of[CKIT_LOG_MAX]; /* by index */
	uint64_t last, durable, epoch, first; /* first: index that the log begins with */
	uint64_t meta_seq, term, vote;
	uint64_t damaged_from;

	/* Asked for, not yet done. */
	uint64_t want_seq, want_term, want_vote; /* META under way: want_seq > meta_seq */

	uint64_t now, deadline, commit;
	uint32_t role;
	uint64_t role_term;
	uint64_t tickets_asked, tickets_appended, tickets_rejected;
	uint64_t committed_term[CKIT_LOG_MAX]; /* what was ever committed, over all boots */
	uint64_t committed;
	uint64_t reads_ok, reads_failed, read_index;

	struct alm_cns_out outs[CKIT_OUTS_MAX + 1]; /* of the last step */
	uint32_t n_outs;
	uint64_t hash;    /* of all outputs so far */
	char broken[256]; /* first broken rule; "" if none */
};

void ckit_init(struct ckit_world *, const struct alm_consensus_ops_v0 *, uint64_t seed);
void ckit_free(struct ckit_world *);
/* Forget the provider's state and boot it from what a crash leaves, `keep` entries in all. */
void ckit_boot(struct ckit_world *, uint64_t keep);
/* Copy of the whole world, its state at another address. */
void ckit_clone(const struct ckit_world *, struct ckit_world *out);
/* One step with events; outputs are checked and carried out (meta and log stay under way). */
void ckit_step(struct ckit_world *, const struct alm_cns_event *, uint32_t n);
void ckit_event(struct ckit_world *, uint32_t kind, uint64_t a, uint64_t b, uint64_t c);
/* Finish what is under way: save the meta; make the log durable up to an index. */
void ckit_meta_done(struct ckit_world *);
void ckit_log_done(struct ckit_world *, uint64_t index);
/* Let time pass and disks work until it leads, for at most ten seconds of its time. */
int ckit_lead(struct ckit_world *);
int ckit_same_state(const struct ckit_world *, const struct ckit_world *);

#endif
