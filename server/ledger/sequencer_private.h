/* ledger/sequencer_private.h - shared by sequencer.c (the fold) and check.c (the judgement). */
#ifndef ALM_LEDGER_SEQUENCER_PRIVATE_H
#define ALM_LEDGER_SEQUENCER_PRIVATE_H

#include <string.h>

#include "ledger/producers.h"
#include "ledger/sequencer.h"
#include "ledger/versions.h"

struct sequencer {
	struct seq_limits limits;
	struct catalogue *catalogue;
	struct hmap *topics;          /* id -> struct seq_topic */
	struct seq_topic *last_topic; /* of the last lookup */
	struct producers *producers;
	struct versions versions;
};

static inline int
slice_is(struct alm_slice s, const char *text)
{
	return s.len == strlen(text) && memcmp(s.data, text, s.len) == 0;
}

#endif
