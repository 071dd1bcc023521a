/* config/suggest.h - "did you mean". */
#ifndef ALM_CONFIG_SUGGEST_H
#define ALM_CONFIG_SUGGEST_H

#include <stdint.h>

/* How many single-letter edits (insert, delete, replace, swap of neighbours) lead from a to b; words
 * of more than 63 bytes count as far apart. */
uint32_t edit_distance(const char *a, const char *b);

/* Keeps the closest candidate to word: start with best NULL, offer each, then read best. */
struct suggest {
	const char *word, *best;
	uint32_t distance;
};
void suggest_offer(struct suggest *, const char *candidate);
/* " (did you mean X?)" or "", in the caller's buffer, returned. */
const char *suggest_text(const struct suggest *, char *out, uint32_t cap);

#endif
