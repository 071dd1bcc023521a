/* sim.c - the event loop of the simulated world: one seed, one order of things. */
#include "sim.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

uint64_t
rnd(struct sim *s, uint64_t n)
{
	uint64_t z = (s->rng += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	z ^= z >> 31;
	return n == 0 ? 0 : z % n;
}

int
chance(struct sim *s, uint32_t millionths)
{
	return s->faults_on && rnd(s, 1000000) < millionths;
}

void
sim_fail(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(s->why, sizeof s->why, fmt, ap);
	va_end(ap);
	longjmp(s->failed, 1);
}

void
sim_trace(struct sim *s, const char *fmt, ...)
{
	va_list ap;

	if (!s->trace)
		return;
	va_start(ap, fmt);
	printf("%10.3f ms  ", (double)s->now / 1000);
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

/* ---- what happens when: a binary heap by time, then by order of scheduling ---- */

static int
before(const struct happening *a, const struct happening *b)
{
	return a->at < b->at || (a->at == b->at && a->order < b->order);
}

void
schedule(struct sim *s, uint64_t at, uint32_t kind, uint32_t node, uint64_t a, uint64_t b, uint64_t c,
    struct packet *packet)
{
	struct happening h = {at, s->order++, kind, node, node ? s->node[node].incarnation : 0, a, b, c, packet};
	uint32_t i = s->n_heap;

	if (s->n_heap == EVENTS_MAX) { /* a storm: lose messages, nothing else */
		free(packet);
		if (kind == AT_DELIVER)
			return;
		sim_fail(s, "too many things scheduled");
	}
	s->n_heap++;
	while (i > 0 && before(&h, &s->heap[(i - 1) / 2])) {
		s->heap[i] = s->heap[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	s->heap[i] = h;
}

static struct happening
next_happening(struct sim *s)
{
	struct happening top = s->heap[0], last = s->heap[--s->n_heap];
	uint32_t i = 0;

	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= s->n_heap)
			break;
		if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child]))
			child++;
		if (!before(&s->heap[child], &last))
			break;
		s->heap[i] = s->heap[child];
		i = child;
	}
	s->heap[i] = last;
	return top;
}

/* ---- one step of a node ---- */

static void
do_meta(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	n->meta_seq = o->a;
	n->term = o->b;
	n->vote = o->c;
	schedule(s, s->now + 1 + rnd(s, s->sync_mean), AT_META, (uint32_t)n->id, o->a, 0, 0, NULL);
}

static void
do_append(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	uint32_t conf = 0, kind = o->e ? (uint32_t)o->e : ALM_REC_MESSAGE;

	if (kind == ALM_REC_CONFIG) {
		conf = s->n_conf++ % 256;
		memcpy(&s->conf[conf], o->data.data, sizeof s->conf[0]);
	}
	if (o->a != n->last + 1)
		sim_fail(s, "node %lu appends %lu after %lu", n->id, o->a, n->last);
	disk_append(s, n, o->b, kind, o->d, conf);
	disk_sync(s, n);
}

static void
do_output(struct sim *s, struct node *n, const struct alm_cns_out *o)
{
	check_output(s, n, o);
	switch (o->kind) {
	case ALM_OUT_APPEND:
		do_append(s, n, o);
		break;
	case ALM_OUT_META:
		do_meta(s, n, o);
		break;
	case ALM_OUT_COMMIT:
		n->commit = o->a;
		break;
	case ALM_OUT_ROLE:
		n->role = o->a;
		n->role_term = o->b;
		sim_trace(s, "node %lu role %lu term %lu leader %lu", n->id, o->a, o->b, o->c);
		break;
	case ALM_OUT_SEND:
		net_send(s, n, o);
		break;
	case ALM_OUT_TRUNCATE:
		disk_truncate(s, n, o->a);
		break;
	case ALM_OUT_ACCEPT:
		disk_accept(s, n, o);
		break;
	case ALM_OUT_FATAL:
		sim_fail(s, "node %lu gives up, reason %lu", n->id, o->a);
	case ALM_OUT_RESEED:
		sim_fail(s, "node %lu wants a re-seed of %lu, but no log was released", n->id, o->a);
	default:
		break;
	}
}

void
step_node(struct sim *s, struct node *n, const struct alm_cns_event *ev, uint32_t n_ev)
{
	struct alm_cns_out out[ALM_CNS_OUT_MIN + 64];
	uint64_t incarnation = n->incarnation;
	int count;

	if (!n->up || n->paused)
		return;
	s->steps++;
	n->n_conf_seen = 0;
	count = s->ops->step(n->state, s->now + n->now_skew, ev, n_ev, out, ALM_CNS_OUT_MIN + 64, &n->deadline);
	if (count < 0)
		sim_fail(s, "node %lu: step fails with %d", n->id, count);
	for (int i = 0; i < count; i++) {
		if (chance(s, s->crash_in_step)) { /* between two outputs */
			node_crash(s, n);
			return;
		}
		do_output(s, n, &out[i]);
	}
	check_step(s, n);
	for (uint32_t i = 0; i < n->n_conf_seen; i++) {
		struct alm_cns_event seen = {.kind = ALM_EV_CONF,
		    .data = {&s->conf[n->conf_seen[i]], sizeof s->conf[0]}};
		uint32_t rest = n->n_conf_seen;

		step_node(s, n, &seen, 1);
		n->n_conf_seen = rest;
		if (!n->up || n->incarnation != incarnation)
			return;
	}
	n->n_conf_seen = 0;
	if (n->deadline != UINT64_MAX) {
		uint64_t at = n->deadline > n->now_skew ? n->deadline - n->now_skew : 0;

		schedule(s, at > s->now ? at : s->now + 1, AT_STEP, (uint32_t)n->id, n->deadline, 0, 0, NULL);
	}
}

/* ---- clients ---- */

static void
propose(struct sim *s)
{
	for (uint32_t i = 1; i <= s->n_nodes; i++) {
		struct alm_cns_event ev = {.kind = ALM_EV_PROPOSE, .a = 100 + rnd(s, 5000)};
		uint32_t burst = 1 + (uint32_t)rnd(s, 3);

		if (!s->node[i].up || s->node[i].role != ALM_CNS_LEADER)
			continue;
		while (burst--) {
			ev.b = ++s->next_id;
			step_node(s, &s->node[i], &ev, 1);
		}
	}
	schedule(s, s->now + 1 + rnd(s, 40000), AT_PROPOSE, 0, 0, 0, 0, NULL);
}

/* ---- faults ---- */

static void
cut_network(struct sim *s)
{
	uint32_t side = 1u + (uint32_t)rnd(s, (1u << s->n_nodes) - 1), one_way = (uint32_t)rnd(s, 3);

	memset(s->cut, 0, sizeof s->cut);
	if (rnd(s, 3) == 0)
		return; /* healed */
	for (uint32_t a = 1; a <= s->n_nodes; a++)
		for (uint32_t b = 1; b <= s->n_nodes; b++)
			if (((side >> (a - 1)) & 1) != ((side >> (b - 1)) & 1) &&
			    (one_way != 0 || ((side >> (a - 1)) & 1)))
				s->cut[a][b] = 1;
	sim_trace(s, "network cut, side %x%s", side, one_way ? "" : ", one way");
}

static void
change_members(struct sim *s)
{
	struct conf want = {0};
	uint32_t mask = 1u + (uint32_t)rnd(s, (1u << s->n_nodes) - 1);
	struct alm_cns_event ev = {.kind = ALM_EV_CONF, .b = ~0ull, .data = {&want, sizeof want}};

	for (uint32_t i = 1; i <= s->n_nodes; i++)
		if ((mask >> (i - 1)) & 1) {
			want.m[want.n].id = i;
			want.m[want.n++].flags = rnd(s, 4) ? CONF_NEW : CONF_LEARNER;
		}
	for (uint32_t i = 1; i <= s->n_nodes; i++)
		if (s->node[i].up && s->node[i].role == ALM_CNS_LEADER)
			step_node(s, &s->node[i], &ev, 1);
}

static void
fault(struct sim *s)
{
	struct node *n = &s->node[1 + rnd(s, s->n_nodes)];
	struct alm_cns_event ev = {.kind = ALM_EV_TRANSFER};

	schedule(s, s->now + 1 + rnd(s, 600000), AT_FAULT, 0, 0, 0, 0, NULL);
	if (!s->faults_on)
		return;
	switch (rnd(s, 9)) {
	case 0:
	case 1:
		if (n->up)
			node_crash(s, n);
		break;
	case 2:
		if (n->up && !n->paused) {
			n->paused = 1;
			schedule(s, s->now + 1 + rnd(s, 1500000), AT_RESUME, (uint32_t)n->id, 0, 0, 0, NULL);
		}
		break;
	case 3:
	case 4:
		cut_network(s);
		break;
	case 5:
		s->delay_mean = 50u << rnd(s, 10);
		s->drop = (uint32_t)rnd(s, 2) * (uint32_t)rnd(s, 300000);
		break;
	case 6:
		step_node(s, n, &ev, 1);
		break;
	case 7: /* its disk is full, or has room again */
		ev.kind = ALM_EV_CAPACITY;
		ev.a = rnd(s, 2);
		step_node(s, n, &ev, 1);
		break;
	default:
		if (s->n_members > 2 && rnd(s, 2) == 0) /* often a second while the first is open */
			for (uint64_t times = 1 + rnd(s, 3); times > 0; times--)
				change_members(s);
		else
			s->sync_mean = 50u << rnd(s, 12);
		break;
	}
}

static void
make_room(struct sim *s)
{
	struct alm_cns_event ev = {.kind = ALM_EV_CAPACITY};

	for (uint32_t i = 1; i <= s->n_nodes; i++)
		step_node(s, &s->node[i], &ev, 1);
}

static void
happen(struct sim *s, const struct happening *h)
{
	struct node *n = &s->node[h->node];
	struct alm_cns_event ev = {0};
	int stale = h->node && h->incarnation != n->incarnation;

	switch (h->kind) {
	case AT_STEP:
		if (!stale && h->a == n->deadline)
			step_node(s, n, NULL, 0);
		break;
	case AT_DELIVER:
		if (n->up && !n->paused)
			net_deliver(s, n, h->packet);
		break;
	case AT_SYNCED:
		if (stale)
			break;
		if (n->paused) { /* the disk goes on, its report waits */
			schedule(s, s->now + 10000, AT_SYNCED, h->node, h->a, h->b, h->c, NULL);
			break;
		}
		if (h->a == n->epoch && h->b > n->stable)
			n->stable = h->b;
		ev.kind = ALM_EV_LOG_DURABLE;
		ev.a = h->a;
		ev.b = h->b;
		ev.c = h->c;
		step_node(s, n, &ev, 1);
		break;
	case AT_META:
		if (stale)
			break;
		if (n->paused) {
			schedule(s, s->now + 10000, AT_META, h->node, h->a, 0, 0, NULL);
			break;
		}
		ev.kind = ALM_EV_META_DURABLE;
		ev.a = h->a;
		step_node(s, n, &ev, 1);
		break;
	case AT_LOST:
		ev.kind = ALM_EV_PEER_LOST;
		ev.a = h->a;
		step_node(s, n, &ev, 1);
		break;
	case AT_PROPOSE:
		propose(s);
		break;
	case AT_FAULT:
		fault(s);
		break;
	case AT_RESTART:
		if (!n->up)
			node_boot(s, n);
		break;
	case AT_RESUME:
		n->paused = 0;
		step_node(s, n, NULL, 0);
		break;
	default:
		break;
	}
	free(h->packet);
}

static void
world_new(struct sim *s, uint64_t seed)
{
	const struct alm_consensus_ops_v0 *ops = s->ops;
	uint32_t trace = s->trace;

	s->ops = ops;
	s->trace = trace;
	s->seed = seed;
	s->rng = seed * 0x2545f4914f6cdd1dull + 1;
	s->now = 1000000;
	s->order = s->steps = s->events = s->next_id = 0;
	s->n_heap = s->n_conf = 0;
	s->n_committed = s->elections = s->acked = s->crashes = s->truncations = 0;
	s->n_members = 1 + 2 * (uint32_t)rnd(s, 3); /* 1, 3, 5 */
	s->n_nodes = s->n_members + (s->n_members > 1 ? (uint32_t)rnd(s, 2) : 0);
	s->drop = rnd(s, 2) ? (uint32_t)rnd(s, 100000) : 0;
	s->duplicate = rnd(s, 2) ? (uint32_t)rnd(s, 100000) : 0;
	s->crash_in_step = rnd(s, 2) ? (uint32_t)rnd(s, 300) : 0;
	s->delay_mean = 50u << rnd(s, 9);
	s->sync_mean = 50u << rnd(s, 9);
	s->faults_on = 1;
	memset(s->cut, 0, sizeof s->cut);
	memset(s->leader_of, 0, TERMS_MAX * sizeof s->leader_of[0]);
	for (uint32_t i = 1; i < NODES_MAX; i++) {
		struct node *n = &s->node[i];
		struct entry *log = n->log;
		void *state = n->state;

		memset(n, 0, sizeof *n);
		memset(s->voted[i], 0, TERMS_MAX * sizeof s->voted[i][0]);
		n->log = log;
		n->state = state;
		n->id = i;
		n->now_skew = rnd(s, 1u << 30);
	}
}

/* One world from one seed: faults for a while, then a healthy time in which it must recover. */
int
sim_run(struct sim *s, uint64_t seed, uint64_t max_events)
{
	uint64_t heal_at, end_at;

	world_new(s, seed);
	if (setjmp(s->failed)) {
		while (s->n_heap > 0)
			free(s->heap[--s->n_heap].packet);
		return 1;
	}
	for (uint32_t i = 1; i <= s->n_nodes; i++)
		node_boot(s, &s->node[i]);
	schedule(s, s->now + 1, AT_PROPOSE, 0, 0, 0, 0, NULL);
	schedule(s, s->now + 1 + rnd(s, 1000000), AT_FAULT, 0, 0, 0, 0, NULL);
	heal_at = s->now + 20000000;
	end_at = heal_at + 8000000;
	while (s->n_heap > 0) {
		struct happening h = next_happening(s);

		s->now = h.at;
		s->events++;
		if (s->faults_on && (s->now >= heal_at || s->events > max_events)) {
			s->faults_on = 0;
			end_at = s->now + 8000000;
			memset(s->cut, 0, sizeof s->cut);
			s->delay_mean = s->sync_mean = 200;
			make_room(s);
			sim_trace(s, "healed");
		}
		if (s->now > end_at) {
			free(h.packet);
			break;
		}
		happen(s, &h);
	}
	check_end(s);
	while (s->n_heap > 0)
		free(s->heap[--s->n_heap].packet);
	return 0;
}
