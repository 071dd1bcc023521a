/* election.c - pre-vote, vote, stickiness, check of the quorum, transfer.
 *
 * A grant leaves this node only when the vote is durable (META_DURABLE); a candidate counts its own
 * vote under the same rule.  A campaign begins with a round of pre-votes, which change nothing
 * anywhere; only one ordered by the leader (transfer) skips it. */
#include "raft.h"

static void
emit_role(struct step *s, uint32_t role)
{
	struct alm_cns_out *o = emit(s, ALM_OUT_ROLE);

	o->a = role;
	o->b = s->r->term;
	o->c = s->r->leader;
}

/* A new timeout between one and two election times from now. */
void
election_reset(struct raft *r)
{
	r->timeout_at = r->now + r->election + rng_next(r) % r->election;
}

/* Follow leader (0: unknown) in term, which is at least the present one. */
void
become_follower(struct step *s, uint64_t term, uint64_t leader)
{
	struct raft *r = s->r;
	uint32_t was = r->role;
	uint64_t old_term = r->term, old_leader = r->leader;

	if (term > r->term) {
		r->term = term;
		r->vote = 0;
		r->vote_pending = 0;
		save_meta(s);
	}
	if (was == ALM_CNS_LEADER) {
		reads_fail(s, ALM_ENOTLEADER);
		r->term_start = 0;
		r->announced = 0;
		r->transfer_to = 0;
	}
	r->role = is_voter(r, r->self) ? ALM_CNS_FOLLOWER : ALM_CNS_LEARNER;
	r->leader = leader;
	r->prevoting = 0;
	r->transfer_campaign = 0;
	if (term > old_term || leader != old_leader) {
		r->proven = r->commit; /* what is committed is in every later leader's log */
		r->ack_pending = 0;
	}
	if (was == ALM_CNS_LEADER || term > old_term)
		election_reset(r);
	if (was != r->role || term != old_term || leader != old_leader)
		emit_role(s, r->role);
}

static int
log_is_current(const struct raft *r, const struct raft_msg *m)
{
	uint64_t mine = term_at(r, r->last);

	return m->prev_term > mine || (m->prev_term == mine && m->prev_index >= r->last);
}

static int
leader_is_live(const struct raft *r)
{
	return r->role == ALM_CNS_LEADER ||
	    (r->leader != 0 && r->heard_leader != 0 && r->now < r->heard_leader + r->election);
}

static void
ask_votes(struct step *s, uint32_t type, uint64_t term, uint32_t flags)
{
	struct raft *r = s->r;

	for (uint32_t i = 0; i < r->n_peers; i++) {
		struct raft_wire *w;

		r->peer[i].prevote = r->peer[i].vote = 0;
		if (!is_voter(r, r->peer[i].id))
			continue;
		w = emit_send(s, r->peer[i].id, type);
		if (w == NULL)
			continue;
		w->head.term = term;
		w->head.flags = flags;
		w->head.prev_index = r->last;
		w->head.prev_term = term_at(r, r->last);
	}
}

static int
gave_prevote(const struct raft *r, const struct peer *p)
{
	(void)r;
	return p->prevote == 1;
}

static int
gave_vote(const struct raft *r, const struct peer *p)
{
	(void)r;
	return p->vote == 1;
}

static void
count_votes(struct step *s)
{
	struct raft *r = s->r;

	if (r->role == ALM_CNS_CANDIDATE && !r->prevoting && r->vote == r->self &&
	    quorum(r, gave_vote, r->meta_durable >= r->meta_seq))
		leader_start(s);
}

/* Pre-votes suffice, or the leader ordered it: a real election in a new term. */
static void
start_vote(struct step *s)
{
	struct raft *r = s->r;

	r->prevoting = 0;
	r->role = ALM_CNS_CANDIDATE;
	r->term++;
	r->vote = r->self;
	r->leader = 0;
	r->vote_pending = 0;
	r->ack_pending = 0;
	r->proven = r->commit;
	r->elections++;
	election_reset(r);
	save_meta(s);
	emit_role(s, ALM_CNS_CANDIDATE);
	ask_votes(s, MSG_VOTE, r->term, r->transfer_campaign ? MSGF_TRANSFER : 0);
	count_votes(s);
}

static void
count_prevotes(struct step *s)
{
	struct raft *r = s->r;

	if (r->prevoting && quorum(r, gave_prevote, 1))
		start_vote(s);
}

/* A voter; or a member that a configuration not yet committed leaves out: it may hold entries that
 * the others need (Ongaro 4.2.2), and leaves once the change is committed. */
static int
may_campaign(const struct raft *r)
{
	return (is_voter(r, r->self) || conf_active(r)->index > r->commit) && r->damaged_from == 0 &&
	    !r->fatal && r->role != ALM_CNS_LEADER;
}

void
campaign_start(struct step *s, uint32_t transfer)
{
	struct raft *r = s->r;

	election_reset(r);
	if (!may_campaign(r))
		return;
	r->transfer_campaign = transfer;
	if (transfer) {
		start_vote(s);
		return;
	}
	r->prevoting = 1;
	ask_votes(s, MSG_PREVOTE, r->term + 1, 0);
	count_prevotes(s);
}

void
election_tick(struct step *s)
{
	if (s->r->now >= s->r->timeout_at)
		campaign_start(s, 0);
}

void
on_prevote(struct step *s, const struct raft_msg *m)
{
	struct raft *r = s->r;
	int grant = m->term > r->term && log_is_current(r, m) && !leader_is_live(r) && !r->fatal;
	struct raft_wire *w = emit_send(s, m->from, MSG_PREVOTE_REPLY);

	if (w == NULL)
		return;
	w->head.session = m->session;
	if (grant) {
		w->head.flags = MSGF_OK;
		w->head.term = m->term;
	}
}

static void
send_grant(struct step *s)
{
	struct raft *r = s->r;
	struct raft_wire *w;

	if (!r->vote_pending || r->meta_durable < r->vote_reply_seq)
		return;
	r->vote_pending = 0;
	w = emit_send(s, r->vote_reply_to, MSG_VOTE_REPLY);
	if (w == NULL)
		return;
	w->head.flags = MSGF_OK;
	w->head.session = r->vote_reply_session;
}

void
on_vote(struct step *s, const struct raft_msg *m)
{
	struct raft *r = s->r;
	struct raft_wire *w;

	/* A member with damage may vote: its index and term come from the second copy. */
	if (!r->fatal && (r->vote == 0 || r->vote == m->from) && r->role != ALM_CNS_LEADER &&
	    log_is_current(r, m)) {
		if (r->vote == 0) {
			r->vote = m->from;
			save_meta(s);
		}
		r->vote_pending = 1;
		r->vote_reply_to = m->from;
		r->vote_reply_session = m->session;
		r->vote_reply_seq = r->meta_seq;
		election_reset(r);
		send_grant(s);
		return;
	}
	w = emit_send(s, m->from, MSG_VOTE_REPLY);
	if (w != NULL)
		w->head.session = m->session;
}

void
on_vote_reply(struct step *s, const struct raft_msg *m)
{
	struct raft *r = s->r;
	struct peer *p = peer_find(r, m->from);
	uint32_t answer = m->flags & MSGF_OK ? 1 : 2;

	if (p == NULL || m->session != p->session)
		return;
	if (m->type == MSG_PREVOTE_REPLY) {
		if (r->prevoting && (answer == 2 || m->term == r->term + 1))
			p->prevote = answer;
		count_prevotes(s);
		return;
	}
	if (r->role != ALM_CNS_CANDIDATE || r->prevoting || m->term != r->term)
		return;
	p->vote = answer;
	count_votes(s);
}

void
on_meta_durable(struct step *s, uint64_t seq)
{
	struct raft *r = s->r;

	if (seq > r->meta_durable && seq <= r->meta_seq)
		r->meta_durable = seq;
	send_grant(s);
	count_votes(s);
}

/* The connection to a peer broke.  If it led, nobody need wait for the timeout: ask for pre-votes
 * soon, each follower after a delay of its own. */
void
on_peer_lost(struct step *s, uint64_t peer)
{
	struct raft *r = s->r;
	struct peer *p = peer_find(r, peer);

	if (p != NULL)
		p->lost = 1;
	if (r->role == ALM_CNS_LEADER) {
		if (p != NULL && p->state == REPLICATE) {
			p->state = PROBE;
			p->waiting = 0;
			p->next = p->match + 1;
			p->n_inflight = 0;
			p->inflight_bytes = 0;
		}
		return;
	}
	if (peer != r->leader)
		return;
	r->heard_leader = 0;
	if (r->timeout_at > r->now + r->heartbeat)
		r->timeout_at = r->now + rng_next(r) % (r->heartbeat / 2 + 1);
}

/* Leader: hand over to peer, or to the voter that is furthest (0). */
void
on_transfer(struct step *s, uint64_t peer)
{
	struct raft *r = s->r;
	const struct peer *best = NULL;

	if (r->role != ALM_CNS_LEADER || !r->announced)
		return;
	for (uint32_t i = 0; i < r->n_peers; i++) {
		const struct peer *p = &r->peer[i];

		if (!is_voter(r, p->id) || p->lost || (peer != 0 && p->id != peer))
			continue;
		if (best == NULL || p->match > best->match)
			best = p;
	}
	if (best == NULL)
		return;
	r->transfer_to = best->id;
	r->transfer_until = r->now + r->election;
}
