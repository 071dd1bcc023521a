/* member.c - who votes.
 *
 * A configuration is active from the moment its entry is in the log, and is undone if that entry
 * is truncated (Ongaro 4.1).  A change of the set of voters goes through a joint configuration
 * (4.3): OLD and NEW majorities both decide until it is committed; then the leader appends the
 * final one.  At most one change is under way, and none before the leader's term has a committed
 * entry. */
#include "raft.h"

const struct conf *
conf_active(const struct raft *r)
{
	return &r->conf[r->n_confs - 1];
}

static const struct conf_member *
member_find(const struct conf *c, uint64_t id)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (c->m[i].id == id)
			return &c->m[i];
	return NULL;
}

int
is_voter(const struct raft *r, uint64_t id)
{
	const struct conf_member *m = member_find(conf_active(r), id);

	return m != NULL && (m->flags & (CONF_OLD | CONF_NEW)) != 0;
}

struct peer *
peer_find(struct raft *r, uint64_t id)
{
	for (uint32_t i = 0; i < r->n_peers; i++)
		if (r->peer[i].id == id)
			return &r->peer[i];
	return NULL;
}

/* One of the two majorities: do more than half of the members with flag say yes? */
static int
majority(const struct raft *r, uint32_t flag, int (*yes)(const struct raft *, const struct peer *), int self_yes)
{
	const struct conf *c = conf_active(r);
	uint32_t members = 0, agree = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct peer *p;

		if (!(c->m[i].flags & flag))
			continue;
		members++;
		p = peer_find((struct raft *)(uintptr_t)r, c->m[i].id);
		if (c->m[i].id == r->self ? self_yes : (p != NULL && yes(r, p)))
			agree++;
	}
	return agree > members / 2;
}

int
quorum(const struct raft *r, int (*yes)(const struct raft *, const struct peer *), int self_yes)
{
	return majority(r, CONF_NEW, yes, self_yes) &&
	    (!conf_active(r)->joint || majority(r, CONF_OLD, yes, self_yes));
}

/* Highest value that a majority of the members with flag have reached. */
static uint64_t
majority_index(const struct raft *r, uint32_t flag, uint64_t (*of)(const struct peer *), uint64_t self)
{
	const struct conf *c = conf_active(r);
	uint64_t v[PEERS_MAX];
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct peer *p;
		uint64_t x;
		uint32_t j;

		if (!(c->m[i].flags & flag))
			continue;
		p = peer_find((struct raft *)(uintptr_t)r, c->m[i].id);
		x = c->m[i].id == r->self ? self : p != NULL ? of(p) : 0;
		for (j = n++; j > 0 && v[j - 1] < x; j--) /* keep v falling */
			v[j] = v[j - 1];
		v[j] = x;
	}
	return n == 0 ? 0 : v[n / 2];
}

uint64_t
quorum_index(const struct raft *r, uint64_t (*of)(const struct peer *), uint64_t self)
{
	uint64_t a = majority_index(r, CONF_NEW, of, self), b;

	if (!conf_active(r)->joint)
		return a;
	b = majority_index(r, CONF_OLD, of, self);
	return a < b ? a : b;
}

/* Bring peers[] in line with the active configuration, keeping what is known of those that stay. */
void
conf_settle(struct raft *r)
{
	const struct conf *c = conf_active(r);
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_peers; i++) { /* who left, or came back as another, goes */
		const struct conf_member *m = member_find(c, r->peer[i].id);

		if (m == NULL || m->session != r->peer[i].session)
			continue;
		if (n != i)
			r->peer[n] = r->peer[i];
		n++;
	}
	r->n_peers = n;
	for (uint32_t i = 0; i < c->n; i++) {
		struct peer *p;

		if (c->m[i].id == r->self || peer_find(r, c->m[i].id) != NULL)
			continue;
		p = &r->peer[r->n_peers++];
		memset(p, 0, sizeof *p);
		p->id = c->m[i].id;
		p->session = c->m[i].session;
		p->state = PROBE;
		p->next = r->last + 1;
		p->heard = r->now;
	}
	if (r->role == ALM_CNS_FOLLOWER || r->role == ALM_CNS_LEARNER)
		r->role = is_voter(r, r->self) ? ALM_CNS_FOLLOWER : ALM_CNS_LEARNER;
}

void
conf_push(struct raft *r, const struct conf *c)
{
	if (r->n_confs == CONFS_MAX) { /* the oldest is long committed */
		memmove(r->conf, r->conf + 1, (CONFS_MAX - 1) * sizeof r->conf[0]);
		r->n_confs--;
	}
	r->conf[r->n_confs++] = *c;
	conf_settle(r);
}

/* Entries from index on were truncated. */
void
conf_rollback(struct raft *r, uint64_t from)
{
	uint32_t n = r->n_confs;

	while (n > 1 && r->conf[n - 1].index >= from)
		n--;
	if (n == r->n_confs)
		return;
	r->n_confs = n;
	conf_settle(r);
}

int
conf_decode(struct alm_slice bytes, struct conf *out)
{
	if (bytes.len != sizeof *out)
		return ALM_EINVAL;
	memcpy(out, bytes.data, sizeof *out);
	if (out->n == 0 || out->n > PEERS_MAX || out->joint > 1)
		return ALM_EINVAL;
	for (uint32_t i = 0; i < out->n; i++) {
		if (out->m[i].id == 0 || (out->m[i].flags & ~(CONF_OLD | CONF_NEW | CONF_LEARNER)) != 0)
			return ALM_EINVAL;
		for (uint32_t j = 0; j < i; j++)
			if (out->m[j].id == out->m[i].id)
				return ALM_EINVAL;
	}
	return ALM_OK;
}

static uint32_t
voters(const struct conf *c, uint32_t flag)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < c->n; i++)
		n += (c->m[i].flags & flag) != 0;
	return n;
}

/* From where we are to what is wanted: joint if the set of voters differs. */
static void
conf_towards(const struct conf *now, const struct conf *want, uint64_t index, struct conf *out)
{
	memset(out, 0, sizeof *out);
	out->index = index;
	for (uint32_t i = 0; i < want->n; i++) {
		const struct conf_member *old = member_find(now, want->m[i].id);
		struct conf_member *m = &out->m[out->n++];

		*m = want->m[i];
		m->flags &= CONF_NEW | CONF_LEARNER;
		m->session = old != NULL ? old->session : index;
		if (old != NULL && (old->flags & CONF_NEW))
			m->flags |= CONF_OLD;
	}
	for (uint32_t i = 0; i < now->n && out->n < PEERS_MAX; i++) {
		if (member_find(out, now->m[i].id) != NULL || !(now->m[i].flags & CONF_NEW))
			continue;
		out->m[out->n] = now->m[i];
		out->m[out->n++].flags = CONF_OLD;
	}
	for (uint32_t i = 0; i < out->n; i++)
		if (((out->m[i].flags & CONF_OLD) != 0) != ((out->m[i].flags & CONF_NEW) != 0))
			out->joint = 1;
	for (uint32_t i = 0; i < out->n && !out->joint; i++)
		out->m[i].flags &= ~CONF_OLD;
}

static void
conf_append(struct step *s, const struct conf *c, uint64_t ticket)
{
	struct raft *r = s->r;
	struct alm_cns_out *o;

	r->conf_out = *c;
	append_own(s, sizeof *c + 256, ticket, ALM_REC_CONFIG);
	o = &s->out[s->n - 1];
	o->data.data = &r->conf_out;
	o->data.len = sizeof r->conf_out;
	conf_push(r, c);
}

/* A request to change (its bytes are a struct conf with NEW and LEARNER flags), or, with an index in
 * the bytes, a CONFIG entry that was accepted from the leader. */
void
on_conf(struct step *s, struct alm_slice bytes, uint64_t ticket)
{
	struct raft *r = s->r;
	struct conf want, next;

	if (conf_decode(bytes, &want) != ALM_OK || voters(&want, CONF_NEW) == 0) {
		emit_reject(s, ticket, ALM_EINVAL);
		return;
	}
	if (want.index != 0) {
		if (want.index > conf_active(r)->index && want.index <= r->last)
			conf_push(r, &want);
		return;
	}
	if (r->role != ALM_CNS_LEADER || !r->announced) {
		emit_reject(s, ticket, ALM_ENOTLEADER);
	} else if (conf_active(r)->joint || conf_active(r)->index > r->commit || r->transfer_to != 0) {
		emit_reject(s, ticket, ALM_EBUSY);
	} else {
		conf_towards(conf_active(r), &want, r->last + 1, &next);
		conf_append(s, &next, ticket);
	}
}

/* Leader: the commit index moved. */
void
conf_committed(struct step *s)
{
	struct raft *r = s->r;
	const struct conf *c = conf_active(r);
	struct conf final;

	if (c->index > r->commit || !r->announced)
		return;
	if (!c->joint) {
		if (c->index != 0 && !is_voter(r, r->self))
			become_follower(s, r->term, 0); /* it led its own departure to the end */
		return;
	}
	memset(&final, 0, sizeof final);
	final.index = r->last + 1;
	for (uint32_t i = 0; i < c->n; i++) {
		if (!(c->m[i].flags & (CONF_NEW | CONF_LEARNER)))
			continue;
		final.m[final.n] = c->m[i];
		final.m[final.n++].flags &= ~CONF_OLD;
	}
	conf_append(s, &final, 0);
}
