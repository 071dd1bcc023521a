/* base/hist.c - log-linear histogram in shared memory.
 *
 * One writer, any number of readers in other processes or threads.  Fields are read and written as
 * relaxed atomics: a reader sees each of them whole, and together approximately.
 *
 * Values below 64 have a slot each; above, each power of two is cut into 32 slots, so a value is
 * known to 1/32.
 */
#include "base/base.h"

#define LOAD(p) __atomic_load_n(&(p), __ATOMIC_RELAXED)
#define STORE(p, v) __atomic_store_n(&(p), (v), __ATOMIC_RELAXED)

static uint32_t
slot_of(uint64_t value)
{
	uint32_t shift = value < 64 ? 0 : 58 - (uint32_t)__builtin_clzll(value);

	return shift * 32 + (uint32_t)(value >> shift);
}

/* Highest value that falls into the slot. */
static uint64_t
slot_top(uint32_t slot)
{
	uint32_t shift = slot < 64 ? 0 : slot / 32 - 1;

	return (((uint64_t)slot - (uint64_t)shift * 32 + 1) << shift) - 1;
}

void
hist_add(struct hist *h, uint64_t value)
{
	uint32_t slot = slot_of(value);

	STORE(h->count, h->count + 1);
	STORE(h->sum, h->sum + value);
	STORE(h->slot[slot], h->slot[slot] + 1);
	if (value > h->max)
		STORE(h->max, value);
}

uint64_t
hist_at(const struct hist *h, double percentile)
{
	uint64_t total = 0, seen = 0, want, max = LOAD(h->max);
	uint32_t i;

	/* The slots' own sum, since count may be ahead of them while the writer works. */
	for (i = 0; i < HIST_SLOTS; i++)
		total += LOAD(h->slot[i]);
	if (total == 0)
		return 0;
	want = percentile <= 0 ? 1 : (uint64_t)(percentile / 100 * (double)total + 0.9999999);
	if (want == 0)
		want = 1;
	for (i = 0; i < HIST_SLOTS; i++) {
		seen += LOAD(h->slot[i]);
		if (seen >= want)
			return slot_top(i) < max ? slot_top(i) : max;
	}
	return max;
}

void
hist_merge(struct hist *into, const struct hist *from)
{
	uint64_t max = LOAD(from->max);
	uint32_t i;

	STORE(into->count, into->count + LOAD(from->count));
	STORE(into->sum, into->sum + LOAD(from->sum));
	if (max > into->max)
		STORE(into->max, max);
	for (i = 0; i < HIST_SLOTS; i++)
		STORE(into->slot[i], into->slot[i] + LOAD(from->slot[i]));
}
