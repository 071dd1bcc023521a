/* raft.c - one step: events in, outputs out; what all parts share. */
#include "raft.h"

struct alm_cns_out *
emit(struct step *s, uint32_t kind)
{
	struct alm_cns_out *o;

	if (s->n == s->cap) { /* the caller broke the contract on cap: stop rather than lose an output */
		s->r->fatal = 1;
		s->out[s->cap - 1].kind = ALM_OUT_FATAL;
		s->out[s->cap - 1].a = 1;
		return &s->out[s->cap - 1];
	}
	o = &s->out[s->n++];
	memset(o, 0, sizeof *o);
	o->kind = kind;
	return o;
}

void
emit_reject(struct step *s, uint64_t ticket, int status)
{
	struct alm_cns_out *o = emit(s, ALM_OUT_REJECT);

	o->a = ticket;
	o->b = (uint64_t)-(int64_t)status;
	o->c = s->r->leader;
}

/* A message to a peer, its common fields filled; NULL when this step has emitted enough: what is
 * left out goes with the next step, as if the network had lost it. */
struct raft_wire *
emit_send(struct step *s, uint64_t to, uint32_t type)
{
	struct raft *r = s->r;
	struct alm_cns_out *o;
	struct raft_wire *w;
	const struct peer *p;

	if (r->n_msgs == MSGS_MAX || s->n + 8 > s->cap)
		return NULL;
	w = &r->msg[r->n_msgs++];
	memset(w, 0, sizeof *w);
	w->head.type = type;
	w->head.group = r->group;
	w->head.from = r->self;
	w->head.term = r->term;
	p = peer_find(r, to);
	w->head.session = p ? p->session : 0;
	o = emit(s, ALM_OUT_SEND);
	o->a = to;
	o->d = r->epoch;
	o->data.data = w;
	o->data.len = sizeof w->head; /* an append with runs makes it longer */
	return w;
}

/* Term and vote as they are now go to disk before any later output. */
void
save_meta(struct step *s)
{
	struct alm_cns_out *o = emit(s, ALM_OUT_META);

	o->a = ++s->r->meta_seq;
	o->b = s->r->term;
	o->c = s->r->vote;
}

uint64_t
rng_next(struct raft *r)
{
	uint64_t z = (r->rng += 0x9e3779b97f4a7c15ull); /* splitmix64 */

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

void
fatal(struct step *s, uint64_t reason)
{
	if (s->r->fatal)
		return;
	s->r->fatal = 1;
	emit(s, ALM_OUT_FATAL)->a = reason;
}

static int
receive(struct step *s, const struct alm_cns_event *e, struct raft_wire *w)
{
	memset(w, 0, sizeof *w);
	if (e->data.len < sizeof w->head || e->data.len > sizeof *w)
		return ALM_EPROTO;
	memcpy(w, e->data.data, e->data.len);
	if (w->head.n_runs > MSG_RUNS_MAX ||
	    e->data.len != sizeof w->head + w->head.n_runs * sizeof w->run[0])
		return ALM_EPROTO;
	if (w->head.group != s->r->group || w->head.from != e->a || w->head.from == s->r->self)
		return ALM_EPROTO;
	return ALM_OK;
}

/* Rules on the term of a message that all types share (Ongaro 3.3, and 9.6 for pre-votes).
 * Returns 1 if the message goes on to its handler. */
static int
admit(struct step *s, const struct raft_msg *m)
{
	struct raft *r = s->r;

	if (m->term > r->term) {
		if (m->type == MSG_PREVOTE || (m->type == MSG_PREVOTE_REPLY && (m->flags & MSGF_OK)))
			return 1; /* speaks of a term that may never begin */
		if (m->type == MSG_VOTE && !(m->flags & MSGF_TRANSFER) && r->leader != 0 &&
		    r->now < r->heard_leader + r->election)
			return 0; /* stickiness: a live leader is not disturbed */
		become_follower(s, m->term, m->type == MSG_APPEND ? m->from : 0);
		return 1;
	}
	if (m->term < r->term) {
		struct raft_wire *w;

		/* tell a deposed leader or stale candidate about the term */
		if (m->type == MSG_APPEND && (w = emit_send(s, m->from, MSG_APPEND_REPLY)) != NULL)
			w->head.session = m->session;
		else if (m->type == MSG_PREVOTE && (w = emit_send(s, m->from, MSG_PREVOTE_REPLY)) != NULL)
			w->head.session = m->session;
		return 0;
	}
	return 1;
}

static void
on_message(struct step *s, const struct alm_cns_event *e)
{
	struct raft_wire w;

	if (receive(s, e, &w) != ALM_OK || !admit(s, &w.head))
		return;
	switch (w.head.type) {
	case MSG_PREVOTE:
		on_prevote(s, &w.head);
		break;
	case MSG_VOTE:
		on_vote(s, &w.head);
		break;
	case MSG_PREVOTE_REPLY:
	case MSG_VOTE_REPLY:
		on_vote_reply(s, &w.head);
		break;
	case MSG_APPEND:
		on_append(s, &w, w.head.n_runs);
		break;
	case MSG_APPEND_REPLY:
		on_append_reply(s, &w.head);
		break;
	case MSG_TIMEOUT_NOW:
		if (s->r->role == ALM_CNS_FOLLOWER && w.head.from == s->r->leader)
			campaign_start(s, 1);
		break;
	default: /* a later version's */
		break;
	}
}

static void
on_event(struct step *s, const struct alm_cns_event *e)
{
	struct raft *r = s->r;
	struct peer *p;

	switch (e->kind) {
	case ALM_EV_PROPOSE:
		on_propose(s, e->a, e->b);
		break;
	case ALM_EV_LOG_DURABLE:
		on_durable(s, e->a, e->b, e->c);
		break;
	case ALM_EV_META_DURABLE:
		on_meta_durable(s, e->a);
		break;
	case ALM_EV_RECV:
		on_message(s, e);
		break;
	case ALM_EV_PEER_UP:
		if ((p = peer_find(r, e->a)) != NULL)
			p->lost = 0;
		break;
	case ALM_EV_PEER_LOST:
		on_peer_lost(s, e->a);
		break;
	case ALM_EV_READ:
		on_read(s, e->a);
		break;
	case ALM_EV_CONF:
		on_conf(s, e->data, e->b);
		break;
	case ALM_EV_TRANSFER:
		on_transfer(s, e->a);
		break;
	case ALM_EV_CAPACITY:
		r->disk_full = e->a != 0;
		break;
	case ALM_EV_RETAIN:
		runs_release(r, e->a);
		break;
	case ALM_EV_DAMAGE:
		r->damaged_from = e->a;
		break;
	default: /* TICK */
		break;
	}
}

static uint64_t
next_deadline(const struct raft *r)
{
	uint64_t at = r->timeout_at;

	if (r->role == ALM_CNS_LEADER) {
		at = r->heartbeat_at < r->quorum_at ? r->heartbeat_at : r->quorum_at;
		if (r->transfer_to != 0 && r->transfer_until < at)
			at = r->transfer_until;
	}
	return r->fatal ? UINT64_MAX : at;
}

/* Take a batch of events; outputs are merged: at most one append a peer, one commit. */
int
raft_step(struct raft *r, uint64_t now, const struct alm_cns_event *ev, uint32_t n,
    struct alm_cns_out *outs, uint32_t cap, uint64_t *deadline)
{
	struct step s = {r, outs, 0, cap};

	r->n_msgs = 0;
	if (now > r->now)
		r->now = now;
	for (uint32_t i = 0; i < n && !r->fatal; i++)
		on_event(&s, &ev[i]);
	if (!r->fatal) {
		if (r->role == ALM_CNS_LEADER) {
			leader_tick(&s);
			leader_commit(&s);
			leader_send(&s);
		} else {
			election_tick(&s);
			follower_ack(&s);
		}
	}
	*deadline = next_deadline(r);
	return (int)s.n;
}
