/* regress/lib/workerrig_private.h - between the files of the rig. */
#ifndef ALM_REGRESS_WORKERRIG_PRIVATE_H
#define ALM_REGRESS_WORKERRIG_PRIVATE_H

#include "regress/lib/workerrig.h"

extern struct rig *rig_current; /* for tables of functions that carry no context */

int rig_indexer_run(struct rig *); /* questions answered */

#endif
