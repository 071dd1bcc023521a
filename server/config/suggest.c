/* config/suggest.c - the closest known word to a mistyped one.  Pure; any thread. */
#include <config.h>

#include "config/suggest.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 63u

static uint32_t
min3(uint32_t a, uint32_t b, uint32_t c)
{
	uint32_t m = a < b ? a : b;
	return m < c ? m : c;
}

/* Optimal string alignment: Levenshtein's table with one more row for swapped neighbours. */
uint32_t
edit_distance(const char *a, const char *b)
{
	uint64_t la = strlen(a), lb = strlen(b);
	uint8_t row[3][WORD_MAX + 1];

	if (la > WORD_MAX || lb > WORD_MAX)
		return UINT32_MAX;
	for (uint64_t j = 0; j <= lb; j++)
		row[0][j] = (uint8_t)j;
	for (uint64_t i = 1; i <= la; i++) {
		uint8_t *now = row[i % 3], *above = row[(i + 2) % 3], *above2 = row[(i + 1) % 3];

		now[0] = (uint8_t)i;
		for (uint64_t j = 1; j <= lb; j++) {
			uint32_t d = min3(now[j - 1] + 1u, above[j] + 1u,
			    above[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u));

			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    above2[j - 2] + 1u < d)
				d = above2[j - 2] + 1u;
			now[j] = (uint8_t)d;
		}
	}
	return row[la % 3][lb];
}

void
suggest_offer(struct suggest *s, const char *candidate)
{
	uint32_t d = edit_distance(s->word, candidate);

	/* More than two edits, or more than a third of the word, is another word. */
	if (d > 2 || d * 3 > strlen(candidate) + 1)
		return;
	if (!s->best || d < s->distance) {
		s->best = candidate;
		s->distance = d;
	}
}

const char *
suggest_text(const struct suggest *s, char *out, uint32_t cap)
{
	if (s->best)
		snprintf(out, cap, " (did you mean %s?)", s->best);
	else
		out[0] = 0;
	return out;
}
