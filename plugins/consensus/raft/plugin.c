/* plugin.c - the Raft core behind almadia/consensus.h. */
#include "raft.h"

static uint64_t
raft_state_size(const struct alm_cns_config *c)
{
	(void)c;
	return sizeof(struct raft);
}

static int
raft_init(void *state, uint64_t bytes, const struct alm_cns_config *c)
{
	struct raft *r = state;
	struct conf first = {0};

	if (bytes < sizeof *r || c->self == 0 || c->n_peers >= PEERS_MAX || c->heartbeat_us == 0 ||
	    c->election_us < 2 * c->heartbeat_us || c->max_inflight_bytes == 0)
		return ALM_EINVAL;
	memset(r, 0, sizeof *r);
	r->magic = RAFT_MAGIC;
	r->group = c->group;
	r->self = c->self;
	r->rng = c->seed ^ (c->self * 0x9e3779b97f4a7c15ull);
	r->heartbeat = c->heartbeat_us;
	r->election = c->election_us;
	r->max_inflight_bytes = c->max_inflight_bytes;
	r->first = 1;
	r->role = ALM_CNS_FOLLOWER;
	first.n = 1 + c->n_peers;
	for (uint32_t i = 0; i < first.n; i++) {
		first.m[i].id = i == 0 ? c->self : c->peers[i - 1];
		first.m[i].flags = CONF_NEW;
	}
	r->conf[0] = first;
	r->n_confs = 1;
	conf_settle(r);
	return ALM_OK;
}

static int
raft_boot(void *state, const struct alm_cns_boot *b)
{
	struct raft *r = state;
	struct conf c;

	if (r->magic != RAFT_MAGIC || b->last_index < b->base_index || b->n_runs > RUNS_MAX)
		return ALM_EINVAL;
	r->term = b->term;
	r->vote = b->vote;
	r->meta_seq = r->meta_durable = b->meta_seq;
	r->first = b->base_index + 1;
	r->base_term = b->base_term;
	r->last = r->durable = b->last_index;
	r->epoch = b->epoch;
	r->commit = b->frontier < b->last_index ? b->frontier : b->last_index;
	if (r->commit < b->base_index)
		r->commit = b->base_index;
	r->proven = r->commit;
	r->damaged_from = b->damaged_from;
	if (b->n_runs > 0)
		memcpy(r->run, b->runs, b->n_runs * sizeof r->run[0]);
	r->n_runs = b->n_runs;
	if (r->last >= r->first && term_at(r, r->last) != b->last_term)
		return ALM_ECORRUPT;
	for (uint64_t at = 0; at < b->config.len; at += sizeof c) {
		struct alm_slice one = {(const char *)b->config.data + at, sizeof c};

		if (b->config.len - at < sizeof c || conf_decode(one, &c) != ALM_OK)
			return ALM_ECORRUPT;
		conf_push(r, &c);
	}
	r->n_peers = 0;
	conf_settle(r);
	if (r->n_peers == 0 && is_voter(r, r->self))
		r->timeout_at = 0; /* alone: nobody to wait for */
	return ALM_OK;
}

static int
raft_plugin_step(void *state, uint64_t now, const struct alm_cns_event *ev, uint32_t n,
    struct alm_cns_out *outs, uint32_t cap, uint64_t *deadline)
{
	struct raft *r = state;

	if (r->magic != RAFT_MAGIC || cap < ALM_CNS_OUT_MIN + n)
		return ALM_EINVAL;
	if (r->now == 0 && now > 0) {
		r->now = now;
		if (r->n_peers > 0)
			election_reset(r);
	}
	return raft_step(r, now, ev, n, outs, cap, deadline);
}

static int
raft_check(const void *state, const char **why)
{
	const struct raft *r = state;

	*why = NULL;
	if (r->magic != RAFT_MAGIC)
		*why = "not a raft state";
	else if (r->commit > r->last)
		*why = "commit beyond the last entry";
	else if (r->durable > r->last)
		*why = "durable beyond the last entry";
	else if (r->first > r->last + 1 || r->first > r->commit + 1)
		*why = "log begins beyond what is committed";
	else if (r->role != ALM_CNS_LEADER && r->proven > r->last && r->leader != 0)
		*why = "proven beyond the last entry";
	else if (r->role == ALM_CNS_LEADER && r->leader != r->self)
		*why = "a leader that follows another";
	else if (r->meta_durable > r->meta_seq)
		*why = "metadata durable before it was saved";
	for (uint32_t i = 0; i < r->n_peers && *why == NULL && r->role == ALM_CNS_LEADER; i++) {
		const struct peer *p = &r->peer[i];
		uint64_t bytes = 0;

		for (uint32_t k = 0; k < p->n_inflight; k++)
			bytes += p->inflight[(p->first_inflight + k) % INFLIGHT_MAX].bytes;
		if (p->match > r->last || p->next <= p->match || p->next > r->last + 1)
			*why = "a peer's progress does not fit the log";
		else if (bytes != p->inflight_bytes || p->n_inflight > INFLIGHT_MAX)
			*why = "bytes in flight do not add up";
	}
	return *why == NULL ? ALM_OK : ALM_EINTERNAL;
}

static void
raft_status(const void *state, struct alm_cns_status *out)
{
	const struct raft *r = state;
	struct alm_cns_status st = {.size = out->size, .term = r->term, .leader = r->leader,
	    .commit = r->commit, .last_index = r->last, .durable_index = r->durable,
	    .elections = r->elections};

	st.role = r->role == ALM_CNS_LEADER && !r->announced ? ALM_CNS_CANDIDATE : r->role;
	/* A core older than this provider knows fewer fields. */
	memcpy(out, &st, out->size < sizeof st ? out->size : sizeof st);
}

static const struct alm_consensus_ops_v0 ops = {
    .state_size = raft_state_size,
    .init = raft_init,
    .boot = raft_boot,
    .step = raft_plugin_step,
    .check = raft_check,
    .status = raft_status,
};

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = ALM_KIND_CONSENSUS,
    .major = ALM_CONSENSUS_MAJOR,
    .minor_built = ALM_CONSENSUS_MINOR,
    .minor_needed = ALM_CONSENSUS_MINOR,
    .ops_size = sizeof ops,
    .name = "raft",
    .doc = "Raft consensus of up to seven voters",
    .ops = &ops,
}};

ALM_MODULE("consensus_raft", "0.1.0", providers)
ALM_MODULE_NOTE(ALM_KIND_CONSENSUS, ALM_CONSENSUS_MAJOR, ALM_CONSENSUS_MINOR, ALM_CONSENSUS_MINOR);
