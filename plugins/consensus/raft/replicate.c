/* replicate.c - the leader's appends, the followers' answers, commit, linearizable reads.
 *
 * Only entries of the leader's own term are committed by counting (Ongaro 3.6.2), and a follower
 * commits no further than what this leader has proven equal in its log.  An answer to an append
 * names what is durable, never what is merely written. */
#include "raft.h"

static void
peer_probe(struct peer *p)
{
	p->state = PROBE;
	p->waiting = 0;
	p->n_inflight = 0;
	p->first_inflight = 0;
	p->inflight_bytes = 0;
	p->next = p->match + 1;
}

static void
inflight_add(struct peer *p, uint64_t last, uint64_t bytes)
{
	struct inflight *f = &p->inflight[(p->first_inflight + p->n_inflight) % INFLIGHT_MAX];

	f->last = last;
	f->bytes = bytes;
	p->n_inflight++;
	p->inflight_bytes += bytes;
}

static void
inflight_free(struct peer *p, uint64_t match)
{
	while (p->n_inflight > 0 && p->inflight[p->first_inflight].last <= match) {
		p->inflight_bytes -= p->inflight[p->first_inflight].bytes;
		p->first_inflight = (p->first_inflight + 1) % INFLIGHT_MAX;
		p->n_inflight--;
	}
}

/* An entry of this leader: proposed (ticket) or its own (kind). Returns its index. */
uint64_t
append_own(struct step *s, uint64_t bytes, uint64_t ticket, uint32_t kind)
{
	struct raft *r = s->r;
	uint64_t index = r->last + 1;
	struct alm_cns_out *o = emit(s, ALM_OUT_APPEND);

	runs_append(r, index, r->term);
	r->size_of[index % SIZES_MAX] = bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)bytes;
	o->a = index;
	o->b = r->term;
	o->c = r->epoch;
	o->d = ticket;
	o->e = kind;
	return index;
}

void
leader_start(struct step *s)
{
	struct raft *r = s->r;

	r->role = ALM_CNS_LEADER;
	r->leader = r->self;
	r->announced = 0;
	r->prevoting = 0;
	r->transfer_to = 0;
	r->n_reads = 0;
	r->heartbeat_at = r->now;
	r->quorum_at = r->now + r->election;
	for (uint32_t i = 0; i < r->n_peers; i++) {
		struct peer *p = &r->peer[i];

		p->match = 0;
		p->heard = r->now;
		p->token = 0;
		p->full = 0;
		peer_probe(p);
		p->next = r->last + 1;
	}
	r->term_start = append_own(s, 256, 0, ALM_REC_NOOP);
}

void
on_propose(struct step *s, uint64_t bytes, uint64_t ticket)
{
	struct raft *r = s->r;

	if (r->role != ALM_CNS_LEADER || !r->announced)
		emit_reject(s, ticket, ALM_ENOTLEADER);
	else if (r->transfer_to != 0)
		emit_reject(s, ticket, ALM_EAGAIN);
	else
		append_own(s, bytes, ticket, 0);
}

/* Entries from next on that fit into one message: by bytes and by runs of terms. */
static uint64_t
fill_entries(const struct raft *r, struct raft_wire *w, uint64_t from, uint64_t max_bytes, uint64_t *bytes)
{
	uint64_t i = from, last_term = 0;

	*bytes = 0;
	for (; i <= r->last; i++) {
		uint64_t size = size_at(r, i), term = term_at(r, i);

		if (i > from && *bytes + size > max_bytes)
			break;
		if (term != last_term) {
			if (w->head.n_runs == MSG_RUNS_MAX)
				break;
			w->run[w->head.n_runs].first = i;
			w->run[w->head.n_runs].term = term;
			w->head.n_runs++;
			last_term = term;
		}
		*bytes += size;
	}
	return i - 1;
}

/* One append to a peer; entries: 0 for a heartbeat. Returns 0 if this step may send no more. */
static int
send_append(struct step *s, struct peer *p, int entries)
{
	struct raft *r = s->r;
	uint64_t bytes = 0, prev = p->next - 1, last = prev;
	struct raft_wire *w;
	struct alm_cns_out *o;

	if (prev + 1 < r->first || term_at(r, prev) == 0) {
		if (prev != 0 || r->first != 1) {
			if (p->state != RESEED)
				emit(s, ALM_OUT_RESEED)->a = p->id;
			p->state = RESEED;
			return 1;
		}
	}
	w = emit_send(s, p->id, MSG_APPEND);
	if (w == NULL)
		return 0;
	o = &s->out[s->n - 1];
	w->head.prev_index = prev;
	w->head.prev_term = term_at(r, prev);
	w->head.commit = r->commit;
	w->head.token = r->read_token;
	if (entries)
		last = fill_entries(r, w, p->next, r->max_inflight_bytes / 4 + 1, &bytes);
	w->head.last_index = last;
	o->data.len = sizeof w->head + w->head.n_runs * sizeof w->run[0];
	o->b = last > prev ? p->next : 0;
	o->c = last > prev ? last : 0;
	p->sent = r->now;
	if (p->state == PROBE) {
		p->waiting = 1;
	} else if (last > prev) {
		inflight_add(p, last, bytes);
		p->next = last + 1;
	}
	return 1;
}

static int
window_open(const struct raft *r, const struct peer *p)
{
	return p->n_inflight < INFLIGHT_MAX && p->inflight_bytes < r->max_inflight_bytes;
}

/* What each peer may be sent now: entries, and a heartbeat when one is due, when the commit index
 * moved, or when a read waits. */
void
leader_send(struct step *s)
{
	struct raft *r = s->r;
	int due = r->now >= r->heartbeat_at, news = r->commit != r->commit_told;

	if (r->role != ALM_CNS_LEADER)
		return;
	for (uint32_t i = 0; i < r->n_peers; i++) {
		struct peer *p = &r->peer[i];
		int sent = 0;

		if (p->state == PROBE && (!p->waiting || due))
			sent = send_append(s, p, !p->full && p->next <= r->last);
		while (p->state == REPLICATE && p->next <= r->last && window_open(r, p))
			if ((sent = send_append(s, p, 1)) == 0)
				break;
		if (p->state != RESEED && !sent && (due || (news && p->state == REPLICATE)))
			send_append(s, p, 0);
	}
	r->commit_told = r->commit;
	if (due)
		r->heartbeat_at = r->now + r->heartbeat;
}

static int
was_heard(const struct raft *r, const struct peer *p)
{
	return r->now < p->heard + r->election;
}

/* A voter of higher priority that has the whole log takes over. */
static void
prefer_leader(struct step *s)
{
	struct raft *r = s->r;
	const struct conf *c = conf_active(r);
	uint32_t mine = 0;
	uint64_t best = 0;

	for (uint32_t i = 0; i < c->n; i++)
		if (c->m[i].id == r->self)
			mine = c->m[i].priority;
	for (uint32_t i = 0; i < c->n; i++) {
		const struct peer *p = peer_find(r, c->m[i].id);

		if (p != NULL && c->m[i].priority > mine && p->match == r->last && !p->lost) {
			mine = c->m[i].priority;
			best = p->id;
		}
	}
	if (best != 0 && r->transfer_to == 0)
		on_transfer(s, best);
}

void
leader_tick(struct step *s)
{
	struct raft *r = s->r;
	struct peer *p;

	if (r->now >= r->quorum_at) {
		r->quorum_at = r->now + r->election;
		if (!quorum(r, was_heard, 1)) {
			become_follower(s, r->term, 0);
			return;
		}
		if (r->announced)
			prefer_leader(s);
	}
	if (r->transfer_to == 0)
		return;
	if (r->now >= r->transfer_until) {
		r->transfer_to = 0;
		return;
	}
	p = peer_find(r, r->transfer_to);
	if (p != NULL && p->match == r->last)
		emit_send(s, p->id, MSG_TIMEOUT_NOW);
}

static uint64_t
match_of(const struct peer *p)
{
	return p->match;
}

static uint64_t
token_of(const struct peer *p)
{
	return p->token;
}

static void
reads_answer(struct step *s)
{
	struct raft *r = s->r;
	uint64_t confirmed = quorum_index(r, token_of, UINT64_MAX);
	uint32_t kept = 0;

	for (uint32_t i = 0; i < r->n_reads; i++) {
		if (r->read[i].token > confirmed) {
			r->read[kept++] = r->read[i];
			continue;
		}
		struct alm_cns_out *o = emit(s, ALM_OUT_READ_OK);

		o->a = r->read[i].ticket;
		o->b = r->read[i].index;
	}
	r->n_reads = kept;
}

void
leader_commit(struct step *s)
{
	struct raft *r = s->r;
	uint64_t upto;

	if (r->role != ALM_CNS_LEADER)
		return;
	upto = quorum_index(r, match_of, r->durable);
	if (upto > r->last)
		upto = r->last;
	if (upto > r->commit && term_at(r, upto) == r->term) {
		r->commit = upto;
		emit(s, ALM_OUT_COMMIT)->a = upto;
		if (!r->announced && upto >= r->term_start) {
			struct alm_cns_out *o = emit(s, ALM_OUT_ROLE);

			r->announced = 1;
			o->a = ALM_CNS_LEADER;
			o->b = r->term;
			o->c = r->self;
		}
		conf_committed(s);
	}
	if (r->role == ALM_CNS_LEADER && r->n_reads > 0)
		reads_answer(s);
}

/* ---- follower ---- */

static void
refuse(struct step *s, const struct raft_msg *m)
{
	struct raft *r = s->r;
	uint64_t hint = m->prev_index < r->last ? m->prev_index : r->last;
	struct raft_wire *w;

	while (hint >= r->first && term_at(r, hint) > m->prev_term)
		hint--;
	w = emit_send(s, m->from, MSG_APPEND_REPLY);
	if (w == NULL)
		return;
	w->head.session = m->session;
	w->head.prev_index = m->prev_index;
	w->head.last_index = hint;
	w->head.hint_term = term_at(r, hint);
	w->head.token = m->token;
	w->head.flags = r->disk_full ? MSGF_FULL : 0;
}

/* Terms of the attached entries are well formed: begin at prev + 1, rise, end at last. */
static int
runs_sound(const struct raft_wire *w, uint64_t n_runs)
{
	const struct raft_msg *m = &w->head;
	uint64_t term = m->prev_term;

	if (m->last_index < m->prev_index || (m->last_index == m->prev_index) != (n_runs == 0) ||
	    m->last_index - m->prev_index > 1u << 20)
		return 0;
	for (uint64_t i = 0; i < n_runs; i++) {
		if (w->run[i].term < term || w->run[i].term > m->term || w->run[i].first > m->last_index ||
		    (i == 0 ? w->run[i].first != m->prev_index + 1 : w->run[i].first <= w->run[i - 1].first))
			return 0;
		term = w->run[i].term;
	}
	return 1;
}

/* Take the entries that are new; drop those that contradict the leader's. */
static void
take_entries(struct step *s, const struct raft_wire *w, uint64_t n_runs)
{
	struct raft *r = s->r;
	uint64_t run = 0, from = 0;

	for (uint64_t i = w->head.prev_index + 1; i <= w->head.last_index; i++) {
		while (run + 1 < n_runs && w->run[run + 1].first <= i)
			run++;
		if (i < r->first)
			continue;
		if (i <= r->last) {
			if (term_at(r, i) == w->run[run].term)
				continue;
			if (i <= r->commit) {
				fatal(s, 2); /* a committed entry would be overwritten */
				return;
			}
			emit(s, ALM_OUT_TRUNCATE)->a = i;
			runs_truncate(r, i);
			conf_rollback(r, i);
			r->epoch++;
			if (r->durable >= i)
				r->durable = i - 1;
		}
		if (from == 0)
			from = i;
		runs_append(r, i, w->run[run].term);
		r->size_of[i % SIZES_MAX] = 0;
	}
	if (from != 0) {
		struct alm_cns_out *o = emit(s, ALM_OUT_ACCEPT);

		o->a = from;
		o->b = w->head.last_index;
		o->c = r->epoch;
	}
}

void
on_append(struct step *s, const struct raft_wire *w, uint64_t n_runs)
{
	struct raft *r = s->r;
	const struct raft_msg *m = &w->head;
	uint64_t commit;

	if (r->role == ALM_CNS_LEADER) {
		fatal(s, 3); /* two leaders in one term */
		return;
	}
	if (!runs_sound(w, n_runs))
		return;
	if (r->leader != m->from || r->role == ALM_CNS_CANDIDATE)
		become_follower(s, r->term, m->from);
	r->heard_leader = r->now;
	r->prevoting = 0;
	election_reset(r);
	if (m->prev_index > r->last ||
	    (m->prev_index + 1 >= r->first && term_at(r, m->prev_index) != m->prev_term)) {
		if (m->prev_index <= r->commit && m->prev_index + 1 >= r->first)
			fatal(s, 4); /* the committed part differs from the leader's */
		else
			refuse(s, m);
		return;
	}
	take_entries(s, w, n_runs);
	if (r->fatal)
		return;
	if (m->last_index > r->proven)
		r->proven = m->last_index;
	commit = m->commit < r->proven ? m->commit : r->proven;
	if (commit > r->commit) {
		r->commit = commit;
		emit(s, ALM_OUT_COMMIT)->a = commit;
	}
	r->ack_pending = 1;
	r->ack_to = m->from;
	r->ack_session = m->session;
	r->ack_token = m->token;
}

void
follower_ack(struct step *s)
{
	struct raft *r = s->r;
	struct raft_wire *w;

	if (!r->ack_pending || r->leader == 0 || r->ack_to != r->leader)
		return;
	w = emit_send(s, r->leader, MSG_APPEND_REPLY);
	if (w == NULL)
		return;
	r->ack_pending = 0;
	w->head.flags = MSGF_OK | (r->disk_full ? MSGF_FULL : 0);
	w->head.session = r->ack_session;
	w->head.token = r->ack_token;
	w->head.last_index = r->durable < r->proven ? r->durable : r->proven;
	if (r->damaged_from != 0 && w->head.last_index >= r->damaged_from)
		w->head.last_index = r->damaged_from - 1;
}

/* ---- leader: answers ---- */

static void
on_refusal(struct step *s, struct peer *p, const struct raft_msg *m)
{
	struct raft *r = s->r;
	uint64_t next = m->last_index < r->last ? m->last_index : r->last;

	if (p->state == RESEED || m->prev_index <= p->match)
		return; /* an old answer */
	if (p->state == REPLICATE) {
		peer_probe(p);
		return;
	}
	if (m->prev_index != p->next - 1)
		return;
	while (next > p->match && next >= r->first && term_at(r, next) > m->hint_term)
		next--;
	p->next = next + 1 > p->match + 1 ? next + 1 : p->match + 1;
	p->waiting = 0;
}

void
on_append_reply(struct step *s, const struct raft_msg *m)
{
	struct raft *r = s->r;
	struct peer *p = peer_find(r, m->from);

	if (r->role != ALM_CNS_LEADER || p == NULL || m->session != p->session)
		return;
	p->heard = r->now;
	p->lost = 0;
	p->full = (m->flags & MSGF_FULL) != 0;
	if (m->token > p->token && m->token <= r->read_token)
		p->token = m->token;
	if (!(m->flags & MSGF_OK)) {
		on_refusal(s, p, m);
		return;
	}
	if (m->last_index > r->last) {
		fatal(s, 5); /* claims entries that this leader never had */
		return;
	}
	if (p->state == RESEED && m->last_index + 1 < r->first)
		return;
	if (m->last_index > p->match)
		p->match = m->last_index;
	inflight_free(p, p->match);
	if (p->next <= p->match)
		p->next = p->match + 1;
	if (p->state != REPLICATE) {
		p->state = REPLICATE;
		p->waiting = 0;
		p->n_inflight = 0;
		p->inflight_bytes = 0;
		p->next = p->match + 1;
	}
}

/* ---- durability ---- */

/* The disk says that the log is durable through (index, term) of an epoch.  A completion of before a
 * truncation names entries that may be gone: it counts only if the epoch is today's and the entry
 * is the one named. */
void
on_durable(struct step *s, uint64_t epoch, uint64_t index, uint64_t term)
{
	struct raft *r = s->r;

	if (epoch != r->epoch || index > r->last || index <= r->durable || term_at(r, index) != term)
		return;
	r->durable = index;
	if (r->role != ALM_CNS_LEADER && r->leader != 0 && r->ack_to == r->leader)
		r->ack_pending = 1;
}

/* ---- linearizable reads ---- */

void
on_read(struct step *s, uint64_t ticket)
{
	struct raft *r = s->r;
	struct alm_cns_out *o;

	if (r->role == ALM_CNS_LEADER && r->announced && r->n_reads < READS_MAX) {
		struct read_req *q = &r->read[r->n_reads++];

		q->ticket = ticket;
		q->index = r->commit;
		q->token = ++r->read_token; /* fresh: an old answer never confirms a new read */
		r->heartbeat_at = r->now;
		return;
	}
	o = emit(s, ALM_OUT_READ_FAIL);
	o->a = ticket;
	o->b = r->role == ALM_CNS_LEADER ? (uint64_t)-ALM_EAGAIN : (uint64_t)-ALM_ENOTLEADER;
}

void
reads_fail(struct step *s, int status)
{
	struct raft *r = s->r;

	for (uint32_t i = 0; i < r->n_reads; i++) {
		struct alm_cns_out *o = emit(s, ALM_OUT_READ_FAIL);

		o->a = r->read[i].ticket;
		o->b = (uint64_t)-(int64_t)status;
	}
	r->n_reads = 0;
}
