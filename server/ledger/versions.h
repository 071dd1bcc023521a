/* ledger/versions.h - version of every state key: 128-bit hash of the key -> log position.
 * Open addressing, linear probing, deletion by shifting back.  Loop thread only. */
#ifndef ALM_LEDGER_VERSIONS_H
#define ALM_LEDGER_VERSIONS_H

#include "base/base.h"

struct version_owner { /* of an offset: hash64 of its topic's and group's names; else 0 */
	uint64_t topic, group;
};

struct versions {
	struct version_row {
		struct hash128 key;
		uint64_t version; /* 0: free */
		struct version_owner owner;
	} *row;
	uint64_t cap, count;
};

int versions_init(struct versions *); /* ALM_OK or ALM_ENOMEM */
void versions_free(struct versions *);
uint64_t versions_get(const struct versions *, struct hash128 key); /* 0: absent */
/* version is not 0. ALM_ENOMEM if the table cannot grow. */
int versions_put(struct versions *, struct hash128 key, uint64_t version, struct version_owner);
void versions_del(struct versions *, struct hash128 key);
/* Delete the offsets of a topic or of a group, whichever is not 0. A walk over the table. */
void versions_del_owned(struct versions *, struct version_owner);

#endif
