/* base/hmap.c - hash map from 64-bit keys to 64-bit values.  Belongs to one thread.
 *
 * Open addressing with linear probing; at most 3/4 full.  A deletion moves the entries behind it
 * back (Knuth, volume 3, 6.4, algorithm R), so there are no tombstones and lookups never slow down.
 * Key 0 marks a free cell and is kept beside the table.  Keys come from clients (producer ids), so
 * the hash has a random seed of the process: nobody can choose keys that collide.
 */
#include "base/base.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>

struct cell {
	uint64_t key, value;
};

struct hmap {
	struct cell *cells;
	uint64_t mask, count; /* count without key 0 */
	uint64_t zero_value;
	int has_zero;
};

#define FIRST_CELLS 16u

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void
seed_init(void)
{
	/* Without randomness the map still works, only without the defence. */
	if (getrandom(seed, sizeof seed, 0) != (ssize_t)sizeof seed)
		seed[0] = clock_wall();
}

/* Two rounds of folded 64x64 multiplication. */
static uint64_t
mix(uint64_t key)
{
	unsigned __int128 m = (unsigned __int128)(key ^ seed[0]) * 0x9e3779b97f4a7c15u;
	uint64_t h = (uint64_t)m ^ (uint64_t)(m >> 64);

	m = (unsigned __int128)(h ^ seed[1]) * 0xd6e8feb86659fd93u;
	return (uint64_t)m ^ (uint64_t)(m >> 64);
}

struct hmap *
hmap_new(void)
{
	struct hmap *m = calloc(1, sizeof *m);

	pthread_once(&seed_once, seed_init);
	if (m == NULL)
		return NULL;
	m->cells = calloc(FIRST_CELLS, sizeof *m->cells);
	if (m->cells == NULL) {
		free(m);
		return NULL;
	}
	m->mask = FIRST_CELLS - 1;
	return m;
}

void
hmap_free(struct hmap *m)
{
	if (m == NULL)
		return;
	free(m->cells);
	free(m);
}

uint64_t
hmap_count(const struct hmap *m)
{
	return m->count + (uint64_t)m->has_zero;
}

/* The cell that holds key (not 0), or the free one where it belongs. */
static struct cell *
find(const struct hmap *m, uint64_t key)
{
	uint64_t i = mix(key) & m->mask;

	while (m->cells[i].key != 0 && m->cells[i].key != key)
		i = (i + 1) & m->mask;
	return &m->cells[i];
}

uint64_t *
hmap_get(const struct hmap *m, uint64_t key)
{
	struct cell *c;

	if (key == 0)
		return m->has_zero ? (uint64_t *)(uintptr_t)&m->zero_value : NULL;
	c = find(m, key);
	return c->key ? &c->value : NULL;
}

static int
grow(struct hmap *m)
{
	struct hmap bigger = *m;
	uint64_t i;

	bigger.mask = m->mask * 2 + 1;
	bigger.cells = calloc(bigger.mask + 1, sizeof *bigger.cells);
	if (bigger.cells == NULL)
		return ALM_ENOMEM;
	for (i = 0; i <= m->mask; i++)
		if (m->cells[i].key != 0)
			*find(&bigger, m->cells[i].key) = m->cells[i];
	free(m->cells);
	*m = bigger;
	return ALM_OK;
}

uint64_t *
hmap_put(struct hmap *m, uint64_t key)
{
	struct cell *c;

	if (key == 0) {
		if (!m->has_zero)
			m->zero_value = 0;
		m->has_zero = 1;
		return &m->zero_value;
	}
	c = find(m, key);
	if (c->key != 0)
		return &c->value;
	if ((m->count + 1) * 4 > (m->mask + 1) * 3) {
		if (grow(m) != ALM_OK)
			return NULL;
		c = find(m, key);
	}
	m->count++;
	c->key = key;
	c->value = 0;
	return &c->value;
}

int
hmap_del(struct hmap *m, uint64_t key)
{
	uint64_t hole, i;

	if (key == 0) {
		int had = m->has_zero;

		m->has_zero = 0;
		return had;
	}
	hole = (uint64_t)(find(m, key) - m->cells);
	if (m->cells[hole].key == 0)
		return 0;
	m->count--;
	for (i = (hole + 1) & m->mask; m->cells[i].key != 0; i = (i + 1) & m->mask) {
		uint64_t home = mix(m->cells[i].key) & m->mask;

		/* It may move only if its home does not lie behind the hole. */
		if (((i - home) & m->mask) >= ((i - hole) & m->mask)) {
			m->cells[hole] = m->cells[i];
			hole = i;
		}
	}
	m->cells[hole].key = 0;
	return 1;
}

/* *at: 0 for key 0, then the number of the next cell plus 1. */
int
hmap_next(const struct hmap *m, uint64_t *at, uint64_t *key, uint64_t *value)
{
	if (*at == 0) {
		*at = 1;
		if (m->has_zero) {
			*key = 0;
			*value = m->zero_value;
			return 1;
		}
	}
	while (*at <= m->mask + 1) {
		const struct cell *c = &m->cells[(*at)++ - 1];

		if (c->key != 0) {
			*key = c->key;
			*value = c->value;
			return 1;
		}
	}
	return 0;
}
