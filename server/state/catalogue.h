/* state/catalogue.h - topics and groups, as a fold over the log.
 *
 * The ledger keeps one as part of its sequencer, every worker keeps one of its own, from the
 * ledger's newest checkpoint file and then the committed log.  One thread each.  Invariant: the
 * content is a function of the log up to the position applied, nothing else.
 */
#ifndef ALM_STATE_CATALOGUE_H
#define ALM_STATE_CATALOGUE_H

#include <almadia/log.h>

#include "base/base.h"

struct catalogue;

struct topic_entry {
	struct alm_topic topic;
	uint64_t version;          /* position of the STATE record that set it */
	uint32_t name_len;
	char name[ALM_NAME_MAX + 1];
};

struct group_entry {
	struct alm_group group;
	uint64_t version;
	uint32_t name_len;
	char name[ALM_NAME_MAX + 1];
};

struct catalogue *catalogue_new(void);
void catalogue_free(struct catalogue *);

/* Fold one operation; position is the record's.  Namespaces other than topic and group are
 * ignored.  A value that cannot be decoded is ALM_ECORRUPT. */
int catalogue_apply_op(struct catalogue *, struct alm_slice ns, const struct alm_state_op *,
    struct alm_slice key, struct alm_slice val, uint64_t position);
/* Fold all STATE records of a batch. */
int catalogue_apply(struct catalogue *, const struct alm_batch *);

const struct topic_entry *catalogue_topic(const struct catalogue *, struct alm_slice name);
const struct topic_entry *catalogue_topic_id(const struct catalogue *, uint32_t id);
const struct group_entry *catalogue_group(const struct catalogue *, struct alm_slice name);
/* In order of name; a non-zero result of each ends the walk and is returned. */
int catalogue_topics(const struct catalogue *, int (*each)(void *, const struct topic_entry *),
    void *arg);
int catalogue_groups(const struct catalogue *, int (*each)(void *, const struct group_entry *),
    void *arg);
uint64_t catalogue_topic_count(const struct catalogue *);
uint32_t catalogue_next_topic_id(const struct catalogue *);

/* Key of a state entry for versions and conditions: hash128 of ns, a zero byte, key. */
struct hash128 state_key_hash(struct alm_slice ns, struct alm_slice key);

/* Load topics and groups from the ledger's checkpoint file in the data directory (state/checkpoint.h
 * says what else is in it). *position: fold the log from here. ALM_ENOTFOUND: no checkpoint yet, fold
 * from the begin of the log. */
int catalogue_load(struct catalogue *, const char *data_dir, uint64_t *position);
/* The same from a checkpoint that was read and checked already. */
struct checkpoint;
int catalogue_fold_checkpoint(struct catalogue *, const struct checkpoint *);

#endif
