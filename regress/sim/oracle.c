/* oracle.c - what must hold: the numbered invariants are listed in README.md. */
#include "sim.h"

static const struct conf *
active(const struct node *n)
{
	return conf_active((const struct raft *)n->state);
}

const struct conf *
conf_active(const struct raft *r)
{
	return &r->conf[r->n_confs - 1];
}

static int
holds(const struct sim *s, uint64_t id, uint64_t index, uint64_t hash)
{
	const struct node *n = &s->node[id];

	return id < NODES_MAX && n->stable >= index && n->log[index].hash == hash;
}

/* S8: a majority of each part of the leader's configuration has the entry on stable storage. */
static int
majority_holds(const struct sim *s, const struct conf *c, uint32_t flag, uint64_t index, uint64_t hash)
{
	uint32_t members = 0, have = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		if (!(c->m[i].flags & flag))
			continue;
		members++;
		have += (uint32_t)holds(s, c->m[i].id, index, hash);
	}
	return members > 0 && have > members / 2;
}

static void
check_commit(struct sim *s, struct node *n, uint64_t upto)
{
	const struct raft *r = n->state;

	if (upto > n->last)
		sim_fail(s, "S11: node %lu commits %lu, its log ends at %lu", n->id, upto, n->last);
	if (upto < n->commit)
		sim_fail(s, "node %lu's commit goes back from %lu to %lu", n->id, n->commit, upto);
	for (uint64_t i = n->commit + 1; i <= upto; i++) {
		if (i > s->n_committed) {
			if (r->term < TERMS_MAX && s->voted[n->id][r->term] == n->id) { /* it stood for election */
				const struct conf *c = active(n);

				if (i == upto && n->log[i].term != r->term)
					sim_fail(s, "S9: leader %lu commits %lu of term %lu by counting", n->id, i,
					    n->log[i].term);
				if (!majority_holds(s, c, CONF_NEW, i, n->log[i].hash) ||
				    (c->joint && !majority_holds(s, c, CONF_OLD, i, n->log[i].hash)))
					sim_fail(s, "S8: leader %lu commits %lu, not durable on a majority", n->id, i);
			} else {
				sim_fail(s, "S11: follower %lu commits %lu before any leader did", n->id, i);
			}
			s->committed[i] = n->log[i];
			s->n_committed = i;
			s->acked += n->log[i].id != 0;
		} else if (s->committed[i].hash != n->log[i].hash) {
			sim_fail(s, "S7: node %lu commits another entry %lu than the group did", n->id, i);
		}
	}
}

static void
check_leader(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	if (o->b >= TERMS_MAX)
		sim_fail(s, "term %lu: a storm of elections", o->b);
	if (s->leader_of[o->b] != 0 && s->leader_of[o->b] != n->id)
		sim_fail(s, "S1: two leaders in term %lu: %lu and %lu", o->b, s->leader_of[o->b], n->id);
	s->leader_of[o->b] = n->id;
	s->elections++;
	for (uint64_t i = 1; i <= s->n_committed; i++)
		if (i > n->last || n->log[i].hash != s->committed[i].hash)
			sim_fail(s, "S6: leader %lu of term %lu lacks committed entry %lu", n->id, o->b, i);
}

static void
check_vote(struct sim *s, struct node *n, const struct raft_msg *m, uint64_t to)
{
	if (m->term >= TERMS_MAX)
		sim_fail(s, "term %lu: a storm of elections", m->term);
	if (n->term != m->term || n->vote != to)
		sim_fail(s, "S2: node %lu grants its vote of term %lu to %lu, its disk says %lu for %lu", n->id,
		    m->term, to, n->term, n->vote);
	if (s->voted[n->id][m->term] != 0 && s->voted[n->id][m->term] != to)
		sim_fail(s, "S2: node %lu votes twice in term %lu", n->id, m->term);
	s->voted[n->id][m->term] = to;
}

static void
check_ack(struct sim *s, struct node *n, const struct raft_msg *m)
{
	uint64_t leader = m->term < TERMS_MAX ? s->leader_of[m->term] : 0;
	const struct node *l = &s->node[leader < NODES_MAX ? leader : 0];

	if (m->last_index > n->stable)
		sim_fail(s, "S10: node %lu acks %lu, its disk has %lu", n->id, m->last_index, n->stable);
	if (leader != 0 && l->up && l->role_term == m->term && l->role == ALM_CNS_LEADER && m->last_index > 0 &&
	    (m->last_index > l->last || l->log[m->last_index].hash != n->log[m->last_index].hash))
		sim_fail(s, "S10: node %lu acks %lu to leader %lu, but their logs differ", n->id, m->last_index,
		    leader);
}

void
check_output(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	const struct raft_wire *w = o->data.data;

	switch (o->kind) {
	case ALM_OUT_META:
		if (o->b < n->term || (o->b == n->term && n->vote != 0 && o->c != n->vote))
			sim_fail(s, "S3: node %lu saves term %lu vote %lu over term %lu vote %lu", n->id, o->b, o->c,
			    n->term, n->vote);
		if (o->a <= n->meta_seq)
			sim_fail(s, "node %lu saves metadata %lu again", n->id, o->a);
		if (o->c == n->id && o->b < TERMS_MAX)
			s->voted[n->id][o->b] = n->id;
		break;
	case ALM_OUT_COMMIT:
		check_commit(s, n, o->a);
		break;
	case ALM_OUT_ROLE:
		if (o->a == ALM_CNS_LEADER)
			check_leader(s, n, o);
		break;
	case ALM_OUT_TRUNCATE:
		if (((const struct raft *)n->state)->role == ALM_CNS_LEADER)
			sim_fail(s, "S5: leader %lu truncates its own log", n->id);
		break;
	case ALM_OUT_SEND:
		if (w->head.term > n->term && w->head.type != MSG_PREVOTE && w->head.type != MSG_PREVOTE_REPLY)
			sim_fail(s, "S3: node %lu speaks of term %lu, its disk says %lu", n->id, w->head.term, n->term);
		if (w->head.type == MSG_VOTE_REPLY && (w->head.flags & MSGF_OK))
			check_vote(s, n, &w->head, o->a);
		if (w->head.type == MSG_VOTE)
			check_vote(s, n, &w->head, n->id);
		if (w->head.type == MSG_APPEND_REPLY && (w->head.flags & MSGF_OK))
			check_ack(s, n, &w->head);
		break;
	default:
		break;
	}
}

void
check_step(struct sim *s, struct node *n)
{
	const char *why;
	struct alm_cns_status st = {.size = sizeof st};
	const struct raft *r = n->state;

	if (s->ops->check(n->state, &why) != ALM_OK)
		sim_fail(s, "node %lu: %s", n->id, why);
	s->ops->status(n->state, &st);
	if (st.last_index != n->last)
		sim_fail(s, "node %lu believes its log ends at %lu, it ends at %lu", n->id, st.last_index, n->last);
	if (st.durable_index > n->stable)
		sim_fail(s, "S13: node %lu believes %lu durable, its disk has %lu", n->id, st.durable_index, n->stable);
	if (st.term != n->term)
		sim_fail(s, "S3: node %lu is in term %lu, its disk says %lu", n->id, st.term, n->term);
	if (st.commit != n->commit)
		sim_fail(s, "node %lu commits %lu silently, said %lu", n->id, st.commit, n->commit);
	if (r->epoch != n->epoch)
		sim_fail(s, "node %lu: epoch %lu, the store's is %lu", n->id, r->epoch, n->epoch);
	for (uint32_t i = 0; i < r->n_peers && r->role == ALM_CNS_LEADER; i++) {
		const struct peer *p = &r->peer[i];

		if (s->node[p->id].term > r->term)
			continue; /* deposed without knowing: its view may be out of date */
		if (p->match > 0 && (p->match > n->last || !holds(s, p->id, p->match, n->log[p->match].hash)))
			sim_fail(s, "S14: leader %lu believes node %lu has %lu durable", n->id, p->id, p->match);
	}
}

void
check_boot(struct sim *s, struct node *n)
{
	struct alm_cns_status st = {.size = sizeof st};

	s->ops->status(n->state, &st);
	if (st.term != n->term || st.last_index != n->last)
		sim_fail(s, "S23: node %lu forgot term or log at its start", n->id);
}

static void
trace_node(struct sim *s, uint32_t i)
{
	const struct raft *r = s->node[i].state;
	const struct conf *c = conf_active(r);

	sim_trace(s, "node %u: up %u role %u term %lu last %lu commit %lu conf %lu joint %u", i, s->node[i].up,
	    r->role, r->term, r->last, r->commit, c->index, c->joint);
	for (uint32_t k = 0; k < c->n; k++)
		sim_trace(s, "    member %lu flags %u", c->m[k].id, c->m[k].flags);
}

static int
is_voter_of(const struct conf *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->m[i].id == id)
			return (c->m[i].flags & CONF_NEW) != 0;
	return 0;
}

/* After the healthy time: a leader, everything alike, and commits going on (L1-L3). */
void
check_end(struct sim *s)
{
	const struct node *leader = NULL;

	for (uint32_t i = 1; i <= s->n_nodes; i++)
		trace_node(s, i);
	for (uint32_t i = 1; i <= s->n_nodes; i++)
		if (s->node[i].up && s->node[i].role == ALM_CNS_LEADER &&
		    (leader == NULL || s->node[i].role_term > leader->role_term))
			leader = &s->node[i];
	if (leader == NULL)
		sim_fail(s, "L1: no leader after the faults ended");
	if (s->committed[s->n_committed].term != leader->role_term || leader->last - leader->commit > 16)
		sim_fail(s, "L2: leader %lu commits nothing new", leader->id);
	if (active(leader)->joint || !is_voter_of(active(leader), leader->id))
		sim_fail(s, "L6: a change of members never ended, or leader %lu does not belong", leader->id);
	for (uint32_t i = 0; i < active(leader)->n; i++) {
		const struct node *n = &s->node[active(leader)->m[i].id];

		if (n->commit + 32 < leader->commit)
			sim_fail(s, "L3: node %lu has committed %lu of %lu", n->id, n->commit, leader->commit);
	}
}
