/* ledger/versions.c - the table of state versions.  Ledger's loop thread.
 *
 * Invariants: at most 3/4 full, so a probe ends; a row's key is reachable from its home slot
 * without a gap (deletion shifts later rows back instead of leaving tombstones). */
#include "ledger/versions.h"

#include <stdlib.h>

#define FIRST_CAP 1024u

int
versions_init(struct versions *v)
{
	v->count = 0;
	v->cap = FIRST_CAP;
	v->row = calloc(v->cap, sizeof *v->row);
	return v->row != NULL ? ALM_OK : ALM_ENOMEM;
}

void
versions_free(struct versions *v)
{
	free(v->row);
	v->row = NULL;
	v->cap = v->count = 0;
}

static uint64_t
find(const struct versions *v, struct hash128 key)
{
	uint64_t at = key.lo & (v->cap - 1);

	while (v->row[at].version != 0 &&
	    (v->row[at].key.lo != key.lo || v->row[at].key.hi != key.hi))
		at = (at + 1) & (v->cap - 1);
	return at;
}

uint64_t
versions_get(const struct versions *v, struct hash128 key)
{
	return v->row[find(v, key)].version;
}

static int
grow(struct versions *v)
{
	struct versions old = *v;

	v->row = calloc(old.cap * 2, sizeof *v->row);
	if (v->row == NULL) {
		*v = old;
		return ALM_ENOMEM;
	}
	v->cap = old.cap * 2;
	for (uint64_t i = 0; i < old.cap; i++)
		if (old.row[i].version != 0)
			v->row[find(v, old.row[i].key)] = old.row[i];
	free(old.row);
	return ALM_OK;
}

int
versions_put(struct versions *v, struct hash128 key, uint64_t version, struct version_owner owner)
{
	uint64_t at = find(v, key);

	INVARIANT(version != 0);
	if (v->row[at].version == 0) {
		if ((v->count + 1) * 4 > v->cap * 3) {
			if (grow(v) != ALM_OK)
				return ALM_ENOMEM;
			at = find(v, key);
		}
		v->row[at].key = key;
		v->row[at].owner = owner;
		v->count++;
	}
	v->row[at].version = version;
	return ALM_OK;
}

void
versions_del(struct versions *v, struct hash128 key)
{
	uint64_t hole = find(v, key), at = hole;

	if (v->row[hole].version == 0)
		return;
	v->count--;
	for (;;) {
		uint64_t home;

		v->row[hole].version = 0;
		do {
			at = (at + 1) & (v->cap - 1);
			if (v->row[at].version == 0)
				return;
			home = v->row[at].key.lo & (v->cap - 1);
			/* Rows whose home lies behind the hole, up to at, must stay. */
		} while (hole <= at ? (hole < home && home <= at) : (hole < home || home <= at));
		v->row[hole] = v->row[at];
		hole = at;
	}
}

void
versions_del_owned(struct versions *v, struct version_owner owner)
{
	/* A deletion may shift a later row into this place: look at it again. What it shifts across
	 * the table's end was looked at before. */
	for (uint64_t i = 0; i < v->cap; i++)
		while (v->row[i].version != 0 &&
		    ((owner.topic != 0 && v->row[i].owner.topic == owner.topic) ||
		    (owner.group != 0 && v->row[i].owner.group == owner.group)))
			versions_del(v, v->row[i].key);
}
