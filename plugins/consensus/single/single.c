/* plugins/consensus/single.c - consensus for a group of one: what is locally durable is committed.
 *
 * A pure state machine in one flat block (almadia/consensus.h); ledger's loop thread.  It still has
 * terms: each start takes a new one, saved before anything is appended under it, and leads only
 * once that term's first entry is committed, so that what the log held before is committed by an
 * entry of this term.  With damage it does not campaign.
 *
 * Invariants: base <= commit <= durable <= last; terms of entries are kept as runs, so a completion
 * can be checked; a completion of an older epoch or with a term that is not the entry's is
 * stale and changes nothing. */
#include <almadia/consensus.h>
#include <almadia/log.h>
#include <string.h>

#define MAGIC 0x454c474e49534d41ull /* "AMSINGLE" */

#define PHASE_DOWN 0u     /* before boot, or damaged: does nothing */
#define PHASE_START 1u    /* booted: the next step asks for a new term */
#define PHASE_CAMPAIGN 2u /* waits until the term is saved */
#define PHASE_FIRST 3u    /* waits until the term's first entry is committed */
#define PHASE_LEADER 4u

struct single {
	uint64_t magic;
	uint64_t self, group;
	uint64_t term, vote, meta_seq;
	uint64_t epoch;
	uint64_t base, last, durable, commit;
	uint64_t last_term;
	uint64_t own_first;    /* first index of this term, 0: none yet */
	uint64_t damaged_from; /* 0: none */
	uint64_t elections;
	uint32_t phase, reserved;
};

/* Outputs of one step. */
struct outs {
	struct alm_cns_out *at;
	uint32_t n, cap;
};

static uint64_t
single_state_size(const struct alm_cns_config *cfg)
{
	(void)cfg;
	return sizeof(struct single);
}

static int
single_init(void *state, uint64_t bytes, const struct alm_cns_config *cfg)
{
	struct single *s = state;

	if (bytes < sizeof *s || cfg->self == 0 || cfg->n_peers != 0)
		return ALM_EINVAL;
	memset(s, 0, bytes);
	s->magic = MAGIC;
	s->self = cfg->self;
	s->group = cfg->group;
	return ALM_OK;
}

static int
single_boot(void *state, const struct alm_cns_boot *boot)
{
	struct single *s = state;

	if (s->magic != MAGIC || s->phase != PHASE_DOWN || boot->last_index < boot->base_index)
		return ALM_EINVAL;
	s->term = boot->term > boot->last_term ? boot->term : boot->last_term;
	s->vote = boot->vote;
	s->meta_seq = boot->meta_seq;
	s->epoch = boot->epoch;
	s->base = boot->base_index;
	s->last = boot->last_index;
	s->durable = boot->last_index; /* the store reports only what survived */
	s->last_term = boot->last_term;
	s->commit = boot->frontier < boot->base_index ? boot->base_index
	          : boot->frontier > boot->last_index ? boot->last_index : boot->frontier;
	s->damaged_from = boot->damaged_from;
	s->phase = PHASE_START;
	return ALM_OK;
}

static struct alm_cns_out *
out(struct outs *o, uint32_t kind)
{
	struct alm_cns_out *at;

	if (o->n == o->cap)
		return NULL;
	at = &o->at[o->n++];
	memset(at, 0, sizeof *at);
	at->kind = kind;
	return at;
}

/* An output with its first three fields; 0 if there was no room. */
static int
put(struct outs *o, uint32_t kind, uint64_t a, uint64_t b, uint64_t c)
{
	struct alm_cns_out *at = out(o, kind);

	if (at == NULL)
		return 0;
	at->a = a;
	at->b = b;
	at->c = c;
	return 1;
}

static int
append(struct single *s, struct outs *o, uint64_t ticket, uint64_t own_kind)
{
	struct alm_cns_out *at = out(o, ALM_OUT_APPEND);

	if (at == NULL)
		return 0;
	s->last++;
	s->last_term = s->term;
	if (s->own_first == 0)
		s->own_first = s->last;
	at->a = s->last;
	at->b = s->term;
	at->c = s->epoch;
	at->d = ticket;
	at->e = own_kind;
	return 1;
}

static int
campaign(struct single *s, struct outs *o)
{
	if (s->damaged_from != 0)
		return 1;
	s->term++;
	s->vote = s->self;
	s->meta_seq++;
	s->elections++;
	s->own_first = 0;
	s->phase = PHASE_CAMPAIGN;
	return put(o, ALM_OUT_META, s->meta_seq, s->term, s->vote) &&
	    put(o, ALM_OUT_ROLE, ALM_CNS_CANDIDATE, s->term, 0);
}

static int
meta_durable(struct single *s, struct outs *o, uint64_t seq)
{
	if (s->phase != PHASE_CAMPAIGN || seq != s->meta_seq)
		return 1;
	s->phase = PHASE_FIRST;
	/* Old entries count as committed only through one of this term. */
	return append(s, o, 0, ALM_REC_NOOP);
}

/* Durable means committed, from this term's first entry on. */
static int
log_durable(struct single *s, struct outs *o, const struct alm_cns_event *e)
{
	if (e->a != s->epoch || e->b > s->last || e->b <= s->durable || s->own_first == 0 ||
	    e->b < s->own_first || e->c != s->term)
		return 1;
	s->durable = s->commit = e->b;
	if (!put(o, ALM_OUT_COMMIT, s->commit, 0, 0))
		return 0;
	if (s->phase != PHASE_FIRST)
		return 1;
	s->phase = PHASE_LEADER;
	return put(o, ALM_OUT_ROLE, ALM_CNS_LEADER, s->term, s->self);
}

static int
propose(struct single *s, struct outs *o, const struct alm_cns_event *e)
{
	if (s->phase == PHASE_LEADER)
		return append(s, o, e->b, 0);
	return put(o, ALM_OUT_REJECT, e->b, (uint64_t)-ALM_EUNAVAILABLE, 0);
}

static int
read_index(struct single *s, struct outs *o, uint64_t ticket)
{
	if (s->phase == PHASE_LEADER)
		return put(o, ALM_OUT_READ_OK, ticket, s->commit, 0);
	return put(o, ALM_OUT_READ_FAIL, ticket, (uint64_t)-ALM_EUNAVAILABLE, 0);
}

/* Damage found while leading stops nothing that is committed, but the next start. */
static int
damage(struct single *s, struct outs *o, uint64_t from)
{
	const uint64_t before = s->damaged_from;

	s->damaged_from = from;
	return before != 0 && from == 0 && s->phase == PHASE_START ? campaign(s, o) : 1;
}

static int
handle(struct single *s, struct outs *o, const struct alm_cns_event *e)
{
	switch (e->kind) {
	case ALM_EV_PROPOSE:
		return propose(s, o, e);
	case ALM_EV_LOG_DURABLE:
		return log_durable(s, o, e);
	case ALM_EV_META_DURABLE:
		return meta_durable(s, o, e->a);
	case ALM_EV_READ:
		return read_index(s, o, e->a);
	case ALM_EV_CONF:
		return put(o, ALM_OUT_REJECT, e->b, (uint64_t)-ALM_ENOTSUP, 0);
	case ALM_EV_RETAIN:
		if (e->a > s->base + 1 && e->a <= s->commit)
			s->base = e->a - 1;
		return 1;
	case ALM_EV_DAMAGE:
		return damage(s, o, e->a);
	default: /* time, peers and space mean nothing to a group of one */
		return 1;
	}
}

static int
single_step(void *state, uint64_t now, const struct alm_cns_event *events, uint32_t n,
    struct alm_cns_out *outs, uint32_t cap, uint64_t *deadline)
{
	struct single *s = state;
	struct outs o = {outs, 0, cap};
	int room = 1;

	(void)now;
	*deadline = UINT64_MAX;
	if (s->magic != MAGIC || s->phase == PHASE_DOWN || cap < ALM_CNS_OUT_MIN + n)
		return ALM_EINVAL;
	if (s->phase == PHASE_START)
		room = campaign(s, &o);
	for (uint32_t i = 0; room && i < n; i++)
		room = handle(s, &o, &events[i]);
	return room ? (int)o.n : ALM_EINTERNAL;
}

static int
single_check(const void *state, const char **why)
{
	const struct single *s = state;

	*why = s->magic != MAGIC            ? "the state block is not ours"
	     : s->commit < s->base          ? "commit lies before the log's begin"
	     : s->durable < s->commit       ? "commit is beyond what is durable"
	     : s->last < s->durable         ? "more is durable than was appended"
	     : s->last_term > s->term       ? "an entry is of a later term"
	     : s->own_first > s->last       ? "this term begins beyond the log"
	     : s->phase > PHASE_LEADER      ? "unknown phase"
	     : s->phase == PHASE_LEADER && s->commit < s->own_first ? "leads without an own entry"
	                                    : NULL;
	return *why == NULL ? ALM_OK : ALM_EINTERNAL;
}

static void
single_status(const void *state, struct alm_cns_status *st)
{
	const struct single *s = state;
	struct alm_cns_status full = {.size = sizeof full, .role = s->phase == PHASE_LEADER
	    ? ALM_CNS_LEADER : s->phase >= PHASE_CAMPAIGN ? ALM_CNS_CANDIDATE : ALM_CNS_FOLLOWER,
	    .term = s->term, .leader = s->phase == PHASE_LEADER ? s->self : 0, .commit = s->commit,
	    .last_index = s->last, .durable_index = s->durable, .elections = s->elections};
	const uint32_t size = st->size;

	memcpy(st, &full, size < sizeof full ? size : sizeof full);
	st->size = size;
}

static const struct alm_consensus_ops_v0 ops = {
    .state_size = single_state_size,
    .init = single_init,
    .boot = single_boot,
    .step = single_step,
    .check = single_check,
    .status = single_status,
};

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = ALM_KIND_CONSENSUS,
    .major = ALM_CONSENSUS_MAJOR,
    .minor_built = ALM_CONSENSUS_MINOR,
    .minor_needed = ALM_CONSENSUS_MINOR,
    .ops_size = sizeof ops,
    .name = "single",
    .doc = "A group of one: an entry is committed once it is durable here",
    .ops = &ops,
}};

ALM_MODULE_NOTE(ALM_KIND_CONSENSUS, ALM_CONSENSUS_MAJOR, ALM_CONSENSUS_MINOR,
    ALM_CONSENSUS_MINOR);
ALM_MODULE("consensus_single", "0.1.0", providers)
