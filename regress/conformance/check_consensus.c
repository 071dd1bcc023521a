/* check_consensus.c - what every consensus provider must do, in a group of one.
 *
 *	check_consensus FILE.so [SEED=N]
 *
 * Output is TAP; exit 0 if all tests passed, 1 if not, 2 for wrong usage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regress/conformance/consensus_kit.h"
#include "regress/conformance/kit.h"

static const struct alm_consensus_ops_v0 *ops;
static uint64_t seed = 1;
static char failed[320];

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond) && failed[0] == '\0')                                                  \
			snprintf(failed, sizeof failed, "line %d: %s", __LINE__, #cond);           \
	} while (0)

static void
world_ends(struct ckit_world *w)
{
	if (w->broken[0] != '\0' && failed[0] == '\0')
		snprintf(failed, sizeof failed, "%s", w->broken);
	ckit_free(w);
}

static uint64_t
dice(uint64_t *state, uint64_t n)
{
	*state = *state * 6364136223846793005ull + 1442695040888963407ull;
	return (*state >> 33) % n;
}

static struct ckit_world w, v; /* large: not on the stack */

static void
leader(struct ckit_world *at)
{
	ckit_init(at, ops, seed);
	ckit_boot(at, 0);
	CHECK(ckit_lead(at));
}

static void
state_has_one_size(void)
{
	ckit_init(&w, ops, seed);
	CHECK(w.bytes > 0 && w.bytes <= 16u << 20);
	CHECK(ops->state_size(&w.cfg) == w.bytes);
	CHECK(ops->init(w.state, w.bytes - 1, &w.cfg) < 0);
	world_ends(&w);
}

static void
leads_alone(void)
{
	leader(&w);
	CHECK(w.last >= 1 && w.commit == w.last);
	world_ends(&w);
}

static void
appends_nothing_before_its_term_is_saved(void)
{
	ckit_init(&w, ops, seed);
	ckit_boot(&w, 0);
	for (int i = 0; i < 1000; i++, w.now += 10000) {
		ckit_event(&w, ALM_EV_TICK, 0, 0, 0);
		ckit_event(&w, ALM_EV_META_DURABLE, 0, 0, 0); /* of an older save */
	}
	CHECK(w.want_seq > w.meta_seq && w.last == 0 && w.role != ALM_CNS_LEADER);
	world_ends(&w);
}

static void
commits_what_is_durable_and_no_more(void)
{
	uint64_t before;

	leader(&w);
	before = w.last;
	for (uint64_t i = 1; i <= 10; i++)
		ckit_event(&w, ALM_EV_PROPOSE, 100, i, 0);
	CHECK(w.last == before + 10 && w.commit == before);
	ckit_log_done(&w, before + 5);
	CHECK(w.commit == before + 5);
	ckit_log_done(&w, before + 10);
	CHECK(w.commit == before + 10);
	world_ends(&w);
}

/* An event that must change nothing: the state is the same as after a mere TICK. */
static void
changes_nothing(struct ckit_world *at, struct alm_cns_event e)
{
	struct alm_cns_event tick = {.kind = ALM_EV_TICK};

	ckit_clone(at, &v);
	ckit_step(&v, &tick, 1);
	ckit_step(at, &e, 1);
	CHECK(at->n_outs == v.n_outs);
	CHECK(ckit_same_state(at, &v));
	world_ends(&v);
}

static void
ignores_stale_completions(void)
{
	ckit_init(&w, ops, seed);
	w.epoch = 7;
	ckit_boot(&w, 0);
	CHECK(ckit_lead(&w));
	for (uint64_t i = 1; i <= 3; i++)
		ckit_event(&w, ALM_EV_PROPOSE, 100, i, 0);
	changes_nothing(&w, (struct alm_cns_event){.kind = ALM_EV_LOG_DURABLE, .a = 6, .b = w.last,
	    .c = w.term});
	changes_nothing(&w, (struct alm_cns_event){.kind = ALM_EV_LOG_DURABLE, .a = 7, .b = w.last,
	    .c = w.term - 1});
	changes_nothing(&w, (struct alm_cns_event){.kind = ALM_EV_LOG_DURABLE, .a = 7,
	    .b = w.last + 1, .c = w.term});
	changes_nothing(&w, (struct alm_cns_event){.kind = ALM_EV_LOG_DURABLE, .a = 7,
	    .b = w.durable, .c = w.term});
	changes_nothing(&w, (struct alm_cns_event){.kind = ALM_EV_META_DURABLE, .a = w.meta_seq - 1});
	CHECK(w.commit == w.durable && w.last == w.commit + 3);
	world_ends(&w);
}

static void
ignores_unknown_events(void)
{
	leader(&w);
	changes_nothing(&w, (struct alm_cns_event){.kind = 9999, .a = 1, .b = 2, .c = 3});
	world_ends(&w);
}

static void
answers_each_proposal_once(void)
{
	struct alm_cns_event ev[500];

	ckit_init(&w, ops, seed);
	ckit_boot(&w, 0);
	for (uint64_t i = 1; i <= 5; i++)
		ckit_event(&w, ALM_EV_PROPOSE, 100, i, 0);
	CHECK(w.tickets_rejected == 5);
	CHECK(ckit_lead(&w));
	for (uint32_t i = 0; i < 500; i++)
		ev[i] = (struct alm_cns_event){.kind = ALM_EV_PROPOSE, .a = 100, .b = 10 + i};
	ckit_step(&w, ev, 500);
	CHECK(w.tickets_appended == 500);
	world_ends(&w);
}

static void
refuses_too_little_room(void)
{
	struct alm_cns_event ev = {.kind = ALM_EV_PROPOSE, .a = 100, .b = 1};
	uint64_t deadline;

	leader(&w);
	memset(w.outs, 0xa5, sizeof w.outs[0]);
	CHECK(ops->step(w.state, w.now, &ev, 1, w.outs, 0, &deadline) < 0);
	CHECK(((const uint8_t *)w.outs)[0] == 0xa5);
	world_ends(&w);
}

static void
takes_a_batch_like_single_events(void)
{
	struct alm_cns_event ev[12];

	leader(&w);
	for (uint32_t i = 0; i < 12; i++)
		ev[i] = (struct alm_cns_event){.kind = ALM_EV_PROPOSE, .a = 100, .b = 1 + i};
	ckit_clone(&w, &v);
	ckit_step(&w, ev, 12);
	for (uint32_t i = 0; i < 12; i++)
		ckit_step(&v, &ev[i], 1);
	CHECK(w.last == v.last && memcmp(w.term_of, v.term_of, sizeof w.term_of) == 0);
	for (uint32_t i = 0; i < 3; i++)
		ev[i] = (struct alm_cns_event){.kind = ALM_EV_LOG_DURABLE, .a = w.epoch,
		    .b = w.last - 8 + 4 * i, .c = w.term};
	w.durable = v.durable = w.last;
	ckit_step(&w, ev, 3);
	for (uint32_t i = 0; i < 3; i++)
		ckit_step(&v, &ev[i], 1);
	CHECK(w.commit == v.commit && w.commit == w.last);
	CHECK(ckit_same_state(&w, &v));
	world_ends(&w);
	world_ends(&v);
}

/* One random act on a world; all worlds with the same dice do the same. */
static void
act(struct ckit_world *at, uint64_t *d, uint64_t *ticket)
{
	struct alm_cns_event ev[8];
	uint32_t n;

	switch (dice(d, 9)) {
	case 0:
		ckit_meta_done(at);
		break;
	case 1:
	case 2:
		if (at->last > at->durable)
			ckit_log_done(at, at->durable + 1 + dice(d, at->last - at->durable));
		break;
	case 3:
	case 4:
		n = 1 + (uint32_t)dice(d, 8);
		for (uint32_t i = 0; i < n; i++)
			ev[i] = (struct alm_cns_event){.kind = ALM_EV_PROPOSE, .a = 64, .b = ++*ticket};
		if (at->last + 100 < CKIT_LOG_MAX)
			ckit_step(at, ev, n);
		break;
	case 5:
		ckit_event(at, ALM_EV_LOG_DURABLE, at->epoch, dice(d, at->durable + 1),
		    dice(d, at->term + 1));
		break;
	case 6:
		ckit_event(at, ALM_EV_READ, ++*ticket, 0, 0);
		break;
	case 7:
		if (dice(d, 8) == 0) /* a crash: some of what was not synced may have survived */
			ckit_boot(at, at->durable + dice(d, at->last - at->durable + 1));
		break;
	default:
		at->now += dice(d, 300000);
		ckit_event(at, ALM_EV_TICK, 0, 0, 0);
	}
}

static void
keeps_its_promises_over_random_crashes(void)
{
	for (uint64_t run = 0; run < 200 && failed[0] == '\0'; run++) {
		uint64_t d = seed + run, ticket = 0;

		ckit_init(&w, ops, d);
		ckit_boot(&w, 0);
		for (uint32_t i = 0; i < 400 && w.broken[0] == '\0'; i++)
			act(&w, &d, &ticket);
		CHECK(ckit_lead(&w));
		CHECK(w.committed >= w.durable);
		if (w.broken[0] != '\0')
			printf("# SEED=%llu\n", (unsigned long long)(seed + run));
		world_ends(&w);
	}
}

static void
is_deterministic_wherever_its_state_lies(void)
{
	for (uint64_t run = 0; run < 50 && failed[0] == '\0'; run++) {
		uint64_t d1 = seed + run, d2 = d1, t1 = 0, t2 = 0;

		ckit_init(&w, ops, 99);
		ckit_init(&v, ops, 99);
		ckit_boot(&w, 0);
		ckit_boot(&v, 0);
		for (uint32_t i = 0; i < 300 && failed[0] == '\0'; i++) {
			act(&w, &d1, &t1);
			act(&v, &d2, &t2);
			CHECK(w.hash == v.hash && w.deadline == v.deadline);
			CHECK(ckit_same_state(&w, &v));
			if (i == 150) { /* go on in a copy at another address */
				ckit_free(&v);
				ckit_clone(&w, &v);
			}
		}
		world_ends(&w);
		world_ends(&v);
	}
}

static void
takes_a_new_term_at_each_start(void)
{
	uint64_t term, last;

	leader(&w);
	for (int i = 0; i < 20; i++) {
		term = w.term;
		last = w.last;
		ckit_boot(&w, w.last);
		CHECK(ckit_lead(&w));
		CHECK(w.term > term && w.commit > last);
	}
	world_ends(&w);
}

static void
goes_on_behind_a_released_begin(void)
{
	leader(&w);
	for (uint64_t i = 1; i <= 20; i++)
		ckit_event(&w, ALM_EV_PROPOSE, 100, i, 0);
	ckit_log_done(&w, w.last);
	ckit_event(&w, ALM_EV_RETAIN, 10, 0, 0);
	w.first = 10;
	ckit_event(&w, ALM_EV_PROPOSE, 100, 21, 0);
	ckit_log_done(&w, w.last);
	CHECK(w.commit == w.last);
	ckit_boot(&w, w.last);
	CHECK(ckit_lead(&w));
	world_ends(&w);
}

static void
does_not_campaign_with_damage(void)
{
	leader(&w);
	ckit_event(&w, ALM_EV_PROPOSE, 100, 1, 0);
	ckit_log_done(&w, w.last);
	w.damaged_from = 1;
	ckit_boot(&w, w.last);
	CHECK(!ckit_lead(&w));
	CHECK(w.want_seq == w.meta_seq && w.role != ALM_CNS_LEADER);
	w.damaged_from = 0;
	ckit_event(&w, ALM_EV_DAMAGE, 0, 0, 0);
	CHECK(ckit_lead(&w));
	world_ends(&w);
}

static void
answers_reads_only_while_it_leads(void)
{
	ckit_init(&w, ops, seed);
	ckit_boot(&w, 0);
	ckit_event(&w, ALM_EV_READ, 1, 0, 0);
	CHECK(w.reads_ok == 0);
	CHECK(ckit_lead(&w));
	w.reads_ok = 0;
	ckit_event(&w, ALM_EV_READ, 2, 0, 0);
	CHECK(w.reads_ok == 1 && w.read_index >= w.commit);
	world_ends(&w);
}

static void
reports_its_status(void)
{
	struct alm_cns_status st = {.size = sizeof st};
	struct {
		uint32_t size, role;
		uint64_t term, guard;
	} small = {.size = offsetof(struct alm_cns_status, leader), .guard = 0x1234};

	leader(&w);
	ops->status(w.state, &st);
	CHECK(st.role == ALM_CNS_LEADER && st.term == w.term && st.leader == 1);
	CHECK(st.commit == w.commit && st.last_index == w.last && st.durable_index == w.durable);
	ops->status(w.state, (struct alm_cns_status *)(void *)&small);
	CHECK(small.term == w.term && small.guard == 0x1234);
	world_ends(&w);
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
#define T(f) {#f, f}
    T(state_has_one_size),
    T(leads_alone),
    T(appends_nothing_before_its_term_is_saved),
    T(commits_what_is_durable_and_no_more),
    T(ignores_stale_completions),
    T(ignores_unknown_events),
    T(answers_each_proposal_once),
    T(refuses_too_little_room),
    T(takes_a_batch_like_single_events),
    T(takes_a_new_term_at_each_start),
    T(goes_on_behind_a_released_begin),
    T(does_not_campaign_with_damage),
    T(answers_reads_only_while_it_leads),
    T(reports_its_status),
    T(is_deterministic_wherever_its_state_lies),
    T(keeps_its_promises_over_random_crashes),
#undef T
};

int
main(int argc, char **argv)
{
	const uint32_t n = sizeof tests / sizeof tests[0];
	const void *table;
	uint32_t bad = 0;

	if (argc < 2 || argc > 3 || (argc == 3 && strncmp(argv[2], "SEED=", 5) != 0)) {
		fprintf(stderr, "usage: check_consensus FILE.so [SEED=N]\n");
		return 2;
	}
	if (argc == 3)
		seed = strtoull(argv[2] + 5, NULL, 10);
	if (kit_load(argv[1], ALM_KIND_CONSENSUS, &table) == NULL)
		return 2;
	ops = table;
	printf("1..%u\n", n);
	for (uint32_t i = 0; i < n; i++) {
		failed[0] = '\0';
		tests[i].run();
		printf("%sok %u - %s\n", failed[0] ? "not " : "", i + 1, tests[i].name);
		if (failed[0])
			printf("# %s\n", failed);
		bad += failed[0] != '\0';
	}
	return bad > 0;
}
