/* main.c - run seeds: sim FILE.so [seed=N] [count=N] [events=N] [secs=N] [trace=1]
 * Prints one line a failure and a summary; exit 1 if any seed failed. */
#include "sim.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t
arg_of(int argc, char **argv, const char *key, uint64_t def)
{
	size_t len = strlen(key);

	for (int i = 2; i < argc; i++)
		if (strncmp(argv[i], key, len) == 0 && argv[i][len] == '=')
			return strtoull(argv[i] + len + 1, NULL, 10);
	return def;
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static struct sim *
sim_new(const struct alm_consensus_ops_v0 *ops)
{
	struct alm_cns_config c = {.size = sizeof c, .self = 1};
	struct sim *s = calloc(1, sizeof *s);

	s->ops = ops;
	s->committed = calloc(LOG_MAX, sizeof s->committed[0]);
	s->leader_of = calloc(TERMS_MAX, sizeof s->leader_of[0]);
	for (uint32_t i = 0; i < NODES_MAX; i++) {
		s->node[i].log = calloc(LOG_MAX, sizeof(struct entry));
		s->node[i].state = calloc(1, ops->state_size(&c));
		s->voted[i] = calloc(TERMS_MAX, sizeof s->voted[i][0]);
	}
	return s;
}

int
main(int argc, char **argv)
{
	alm_module_fn module = NULL;
	void *dl = argc > 1 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL;
	uint64_t first, count, events, failed = 0, steps = 0, elections = 0, acked = 0, crashes = 0, happenings = 0;
	double began = seconds(), limit;
	struct sim *s;

	if (dl != NULL)
		*(void **)&module = dlsym(dl, "alm_module_v1");
	if (module == NULL) {
		fprintf(stderr, "usage: sim FILE.so [seed=N] [count=N] [events=N] [secs=N] [trace=1]\n%s\n",
		    argc > 1 ? dlerror() : "");
		return 2;
	}
	first = arg_of(argc, argv, "seed", 1);
	count = arg_of(argc, argv, "count", 100);
	events = arg_of(argc, argv, "events", 200000);
	limit = (double)arg_of(argc, argv, "secs", 1000000);
	s = sim_new(module()->providers[0].ops);
	s->trace = (uint32_t)arg_of(argc, argv, "trace", 0);
	for (uint64_t seed = first; seed < first + count && seconds() - began < limit; seed++) {
		if (sim_run(s, seed, events) != 0) {
			failed++;
			printf("seed %lu: %s (after %lu events, %.3f ms)\n", seed, s->why, s->events, (double)s->now / 1000);
			if (failed >= arg_of(argc, argv, "fails", 10))
				break;
		}
		happenings += s->events;
		steps += s->steps;
		elections += s->elections;
		acked += s->acked;
		crashes += s->crashes;
	}
	printf("%lu seeds failed; %lu events, %lu steps, %lu leaders, %lu acked, %lu crashes; %.0f events/s\n", failed,
	    happenings, steps, elections, acked, crashes, (double)happenings / (seconds() - began));
	return failed != 0;
}
