/* plugins/indexer/queue/store.c - keys, queue records and runs of the queue index, in memory and
 * in LMDB.  Indexer process, one thread. */
#include "queue.h"

#include <stdlib.h>
#include <string.h>

static void
put32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof v);
}

static void
put64(uint8_t *p, uint64_t v)
{
	v = __builtin_bswap64(v);
	memcpy(p, &v, sizeof v);
}

void
key_row(uint8_t out[ROW_KEY], uint32_t run, uint32_t topic, uint32_t queue, uint64_t offset)
{
	out[0] = 'w';
	put32(out + 1, run);
	put32(out + 5, topic);
	put32(out + 9, queue);
	put64(out + 13, offset);
}

void
key_queue(uint8_t out[Q_KEY], uint32_t topic, uint32_t queue)
{
	out[0] = 'q';
	put32(out + 1, topic);
	put32(out + 5, queue);
}

void
key_run(uint8_t out[5], uint32_t run)
{
	out[0] = 'r';
	put32(out + 1, run);
}

void
key_dead(uint8_t out[5], uint32_t topic)
{
	out[0] = 'd';
	put32(out + 1, topic);
}

uint64_t
key_offset(const void *row_key)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)row_key + 13, sizeof v);
	return __builtin_bswap64(v);
}

/* ---- runs ---- */

struct run *
run_at(struct alm_index *x, uint32_t run)
{
	return run - x->m.first_run < x->n_runs ? &x->runs[run - x->m.first_run] : NULL;
}

static int
run_room(struct alm_index *x, uint32_t n)
{
	struct run *p;
	uint32_t cap = n + n / 2 + 16;

	if (n <= x->cap_runs)
		return ALM_OK;
	p = realloc(x->runs, cap * sizeof *p);
	if (!p)
		return ALM_ENOMEM;
	x->runs = p;
	x->cap_runs = cap;
	return ALM_OK;
}

static int
run_write(struct alm_index *x, uint32_t run)
{
	uint8_t key[5];

	key_run(key, run);
	return lmenv_put_sealed(&x->env, key, sizeof key, run_at(x, run), sizeof(struct run));
}

int
run_push(struct alm_index *x)
{
	int status = run_room(x, x->n_runs + 1);

	if (!status && x->n_runs > 0)
		status = run_write(x, x->m.cur_run); /* its last change */
	if (status)
		return status;
	if (x->n_runs > 0)
		x->m.cur_run++;
	else
		x->m.first_run = x->m.cur_run;
	memset(&x->runs[x->n_runs++], 0, sizeof *x->runs);
	return ALM_OK;
}

/* ---- queue records ---- */

static int
queue_write(struct alm_index *x, struct cached *c)
{
	uint8_t key[Q_KEY];
	int status;

	key_queue(key, c->topic, c->queue);
	status = lmenv_put_sealed(&x->env, key, sizeof key, &c->q, sizeof c->q);
	if (!status) {
		c->dirty = 0;
		x->n_dirty--;
	}
	return status;
}

/* Free a way of the set for a queue that is not cached. */
static int
queue_evict(struct alm_index *x, struct cached *set, struct cached **out)
{
	struct cached *victim = set;

	for (uint32_t i = 1; i < CACHE_WAYS; i++)
		if (set[i].used < victim->used)
			victim = &set[i];
	*out = victim;
	return victim->dirty ? queue_write(x, victim) : ALM_OK;
}

int
queue_get(struct alm_index *x, uint32_t topic, uint32_t queue, int make, struct cached **out)
{
	uint64_t h = ((uint64_t)topic << 32 | queue) * 0x9e3779b97f4a7c15ull;
	struct cached *set = &x->cache[(h >> 51) % CACHE_SETS * CACHE_WAYS], *c;
	uint8_t key[Q_KEY];
	struct qrec q = {0};
	int status;

	for (uint32_t i = 0; i < CACHE_WAYS; i++) {
		if (set[i].used && set[i].topic == topic && set[i].queue == queue) {
			set[i].used = ++x->stamp;
			*out = &set[i];
			return ALM_OK;
		}
	}
	if ((status = queue_evict(x, set, &c)))
		return status;
	key_queue(key, topic, queue);
	status = lmenv_get_sealed(&x->env, key, sizeof key, &q, sizeof q);
	if (status && (status != ALM_ENOTFOUND || !make))
		return status;
	memset(c, 0, sizeof *c);
	c->q = q;
	if (status == ALM_ENOTFOUND)
		c->q.first_run = c->q.last_run = x->m.cur_run;
	c->topic = topic;
	c->queue = queue;
	c->used = ++x->stamp;
	*out = c;
	return ALM_OK;
}

/* ---- all of it ---- */

static void
forget(struct alm_index *x)
{
	if (x->stamp > 0) /* else untouched: do not make it resident */
		memset(x->cache, 0, sizeof *x->cache * CACHE_SETS * CACHE_WAYS);
	x->stamp = 0;
	memset(&x->m, 0, sizeof x->m);
	x->m.format = FORMAT;
	x->n_runs = 0;
	x->n_dirty = 0;
	x->changed = 0;
}

static int
load_runs(struct alm_index *x)
{
	uint8_t key[5];
	int status;

	if (x->m.cur_run - x->m.first_run > (1u << 26))
		return ALM_ECORRUPT;
	for (uint32_t run = x->m.first_run;; run++) {
		if ((status = run_room(x, x->n_runs + 1)))
			return status;
		key_run(key, run);
		status = lmenv_get_sealed(&x->env, key, sizeof key, &x->runs[x->n_runs],
		    sizeof *x->runs);
		if (status)
			return status == ALM_ENOTFOUND ? ALM_ECORRUPT : status;
		x->n_runs++;
		if (run == x->m.cur_run)
			return ALM_OK;
	}
}

int
store_load(struct alm_index *x)
{
	int status;

	forget(x);
	x->lost = x->env.lost;
	x->env.why[0] = 0;
	status = lmenv_get_sealed(&x->env, "m", 1, &x->m, sizeof x->m);
	if (status == ALM_ENOTFOUND) {
		x->synced = 0;
		return run_push(x);
	}
	if (status)
		return status;
	if (x->m.format != FORMAT)
		return ALM_EVERSION;
	x->synced = x->m.applied;
	return load_runs(x);
}

int
store_save(struct alm_index *x)
{
	int status;

	for (uint32_t i = 0; x->n_dirty > 0 && i < CACHE_SETS * CACHE_WAYS; i++)
		if (x->cache[i].dirty && (status = queue_write(x, &x->cache[i])))
			return status;
	if ((status = run_write(x, x->m.cur_run)))
		return status;
	return lmenv_put_sealed(&x->env, "m", 1, &x->m, sizeof x->m);
}

int
store_wipe(struct alm_index *x)
{
	int status = lmenv_clear(&x->env);

	if (status)
		return status;
	forget(x);
	x->changed = 1;
	return run_push(x);
}

int
store_done(struct alm_index *x, int status)
{
	int again;

	if (status == ALM_OK || status == ALM_EOFFSET)
		return status;
	if (x->env.why[0])
		x->host->fail(x->host, status, "queue index: %s", x->env.why);
	else
		x->host->fail(x->host, status, "queue index: damaged or out of memory");
	if (x->env.lost != x->lost && (again = store_load(x)))
		return again;
	return status;
}
