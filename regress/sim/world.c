/* world.c - the disk and the network of a simulated node.
 *
 * Disk: appended entries are stable once a sync that began after them has finished; a crash keeps
 * the stable ones and a random part of the rest, cut at the first that is missing (the chain of
 * checksums sees to that in the real store).  Truncation and metadata are stable when the call
 * returns, as storage.h says.  Network: delay, loss, duplication, reordering, cuts. */
#include "sim.h"
#include <stdlib.h>

uint64_t
entry_hash(uint64_t before, const struct entry *e)
{
	uint64_t z = before ^ (e->term * 0x9e3779b97f4a7c15ull) ^ (e->id << 20) ^ e->kind;

	z = (z ^ (z >> 31)) * 0xbf58476d1ce4e5b9ull;
	return z ^ (z >> 29);
}

void
disk_append(struct sim *s, struct node *n, uint64_t term, uint32_t kind, uint64_t id, uint32_t conf)
{
	struct entry *e = &n->log[n->last + 1];

	if (n->last + 2 >= LOG_MAX)
		sim_fail(s, "the simulated log is full");
	e->term = term;
	e->kind = kind;
	e->id = id;
	e->conf = conf;
	e->hash = entry_hash(n->last ? n->log[n->last].hash : 1, e);
	n->last++;
}

/* Begin a sync of what is written now; the disk reports later, in order. */
void
disk_sync(struct sim *s, struct node *n)
{
	uint64_t at = s->now + 1 + rnd(s, 2 * s->sync_mean);

	if (at <= n->sync_done_at)
		at = n->sync_done_at + 1;
	n->sync_done_at = at;
	schedule(s, at, AT_SYNCED, (uint32_t)n->id, n->epoch, n->last, n->log[n->last].term, NULL);
}

void
disk_truncate(struct sim *s, struct node *n, uint64_t from)
{
	if (from <= n->commit)
		sim_fail(s, "S12: node %lu truncates from %lu, committed %lu", n->id, from, n->commit);
	if (from > n->last)
		sim_fail(s, "node %lu truncates from %lu beyond its end %lu", n->id, from, n->last);
	n->last = from - 1;
	if (n->stable > n->last)
		n->stable = n->last;
	n->epoch++;
	s->truncations++;
}

void
node_crash(struct sim *s, struct node *n)
{
	uint64_t keep = n->stable;

	while (keep < n->last && rnd(s, 2))
		keep++;
	n->last = n->stable = keep;
	n->up = n->paused = 0;
	n->role = 0;
	n->incarnation++;
	s->crashes++;
	sim_trace(s, "node %lu crashes, keeps %lu", n->id, keep);
	schedule(s, s->now + 1000 + rnd(s, rnd(s, 2) ? 20000 : 2000000), AT_RESTART, (uint32_t)n->id, 0, 0, 0, NULL);
	for (uint32_t i = 1; i <= s->n_nodes; i++)
		if (i != n->id)
			schedule(s, s->now + 1 + rnd(s, 2000), AT_LOST, i, n->id, 0, 0, NULL);
}

/* Start, or start again, from what is on the disk. */
void
node_boot(struct sim *s, struct node *n)
{
	struct alm_cns_config c = {.size = sizeof c, .group = 7, .self = n->id,
	    .seed = s->seed * 31 + n->incarnation, .heartbeat_us = 50000, .election_us = 250000,
	    .max_inflight_bytes = 4096u << rnd(s, 10)};
	struct alm_cns_boot b = {.size = sizeof b};
	static struct alm_cns_run runs[RUNS_MAX];
	static struct conf confs[CONFS_MAX - 1];
	uint32_t n_confs = 0;
	int rc;

	for (uint32_t i = 1; i <= s->n_members; i++)
		if (i != n->id)
			c.peers[c.n_peers++] = i;
	for (uint64_t i = 1; i <= n->last; i++) {
		if (i == 1 || n->log[i].term != n->log[i - 1].term) {
			runs[b.n_runs].first = i;
			runs[b.n_runs++].term = n->log[i].term;
		}
		if (n->log[i].kind != ALM_REC_CONFIG)
			continue;
		if (n_confs == CONFS_MAX - 1)
			memmove(confs, confs + 1, --n_confs * sizeof confs[0]);
		confs[n_confs++] = s->conf[n->log[i].conf];
	}
	b.runs = runs;
	b.term = n->term;
	b.vote = n->vote;
	b.meta_seq = n->meta_seq;
	b.last_index = n->last;
	b.last_term = n->last ? n->log[n->last].term : 0;
	b.epoch = n->epoch;
	b.config.data = confs;
	b.config.len = n_confs * sizeof confs[0];
	n->commit = 0;
	n->up = 1;
	rc = s->ops->init(n->state, s->ops->state_size(&c), &c);
	if (rc == ALM_OK)
		rc = s->ops->boot(n->state, &b);
	if (rc != ALM_OK)
		sim_fail(s, "node %lu does not boot: %d", n->id, rc);
	sim_trace(s, "node %lu boots: term %lu vote %lu last %lu", n->id, n->term, n->vote, n->last);
	check_boot(s, n);
	step_node(s, n, NULL, 0);
}

static void
net_schedule(struct sim *s, const struct packet *p, uint64_t bytes, uint64_t late)
{
	struct packet *copy = malloc(bytes);

	memcpy(copy, p, bytes);
	schedule(s, s->now + 20 + rnd(s, 2 * s->delay_mean) + late, AT_DELIVER, (uint32_t)p->to, 0, 0, 0, copy);
}

/* A SEND output: attach the entries it names as they are now and put it on the wire. */
void
net_send(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	uint64_t n_entries = o->b != 0 ? o->c - o->b + 1 : 0;
	uint64_t bytes = sizeof(struct packet) + n_entries * sizeof(struct entry);
	struct packet *p;

	if (o->a == 0 || o->a > s->n_nodes || o->a == n->id || o->data.len > sizeof p->wire)
		sim_fail(s, "node %lu sends to %lu, %lu bytes", n->id, o->a, o->data.len);
	if (o->d != n->epoch)
		return; /* the range may have been overwritten since */
	if (n_entries > 0 && o->c > n->last)
		sim_fail(s, "node %lu sends entries to %lu, its log ends at %lu", n->id, o->c, n->last);
	if (s->cut[n->id][o->a] || chance(s, s->drop))
		return;
	p = calloc(1, bytes);
	p->from = n->id;
	p->to = o->a;
	p->first = o->b;
	p->n_entries = (uint32_t)n_entries;
	p->len = (uint32_t)o->data.len;
	memcpy(&p->wire, o->data.data, o->data.len);
	if (n_entries)
		memcpy(p->entry, &n->log[o->b], n_entries * sizeof p->entry[0]);
	net_schedule(s, p, bytes, 0);
	if (chance(s, s->duplicate)) /* again at once, or when the world has moved on */
		net_schedule(s, p, bytes, rnd(s, 2) ? 0 : rnd(s, 4000000));
	free(p);
}

/* Entries of a packet from index first to last go to the log of the node that accepted them. */
static void
take(struct sim *s, struct node *n, const struct packet *p, const struct alm_cns_out *o)
{
	for (uint64_t i = o->a; i <= o->b; i++) {
		const struct entry *e;

		if (p == NULL || i < p->first || i >= p->first + p->n_entries || i != n->last + 1)
			sim_fail(s, "node %lu accepts entry %lu that it was not sent", n->id, i);
		e = &p->entry[i - p->first];
		disk_append(s, n, e->term, e->kind, e->id, e->conf);
		if (n->log[i].hash != e->hash)
			sim_fail(s, "S4: node %lu's log differs from the sender's before %lu", n->id, i);
		if (e->kind == ALM_REC_CONFIG && n->n_conf_seen < CONFS_MAX)
			n->conf_seen[n->n_conf_seen++] = e->conf;
	}
	disk_sync(s, n);
}

static const struct packet *in_hand;

void
net_deliver(struct sim *s, struct node *n, struct packet *p)
{
	struct alm_cns_event ev = {.kind = ALM_EV_RECV, .a = p->from, .data = {&p->wire, p->len}};

	if (s->cut[p->from][n->id])
		return;
	in_hand = p;
	step_node(s, n, &ev, 1);
	in_hand = NULL;
}


void
disk_accept(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	take(s, n, in_hand, o);
}
