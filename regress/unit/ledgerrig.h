/* regress/unit/ledgerrig.h - a ledger in this process, with the real plugins, one or more fake workers
 * and a fake indexer: what test_ledger.c and test_ledger_alloc.c stand on.  One thread plays all. */
#ifndef ALM_REGRESS_LEDGERRIG_H
#define ALM_REGRESS_LEDGERRIG_H

#include "ipc/message.h"
#include "main/role.h"
#include "state/catalogue.h"

#define RIG_WORKERS 2u

struct rig_side { /* one fake peer of the ledger */
	int fd;
	struct region self;
	struct link link;
};

struct rig {
	char dir[128];
	struct role_env env;
	struct config *conf;
	struct event *alarm; /* ends rig_run */
	int ledger_fd;
	struct rig_side worker[RIG_WORKERS + 1]; /* by slot */
	struct rig_side indexer;
	uint64_t generation;
	uint64_t tag;
	int exit_code; /* -1: running */
	uint32_t accept_loss; /* start with --accept-data-loss */
	int ready;
};

struct rig_group { /* a group being built */
	uint8_t data[1 << 18];
	uint32_t len;
	struct msg_append head;
};

/* Make a data directory. */
void rig_init(struct rig *);
void rig_fini(struct rig *); /* removes the directory */
/* Start the ledger; returns ledger_start's status. overrides: "section.key=value", NULL at the end. */
int rig_start(struct rig *, const char *const *overrides, int *exit_code);
void rig_stop(struct rig *); /* asked to stop, finishes */
void rig_kill(struct rig *); /* no good-bye: as after kill -9 of the process */
/* One turn of everybody's loop, for at most ms. */
void rig_run(struct rig *, int ms);
/* Turns for the whole time. */
void rig_wait(struct rig *, int ms);
struct control_page *rig_page(struct rig *);

void rig_group_begin(struct rig *, struct rig_group *);
void rig_condition(struct rig_group *, const char *ns, const char *key, uint64_t version);
struct alm_record *rig_message(struct rig_group *, uint32_t topic, uint32_t queue,
    const char *body, uint32_t len);
struct alm_record *rig_state(struct rig_group *, const char *ns, uint32_t op, const char *key,
    const void *val, uint32_t len);
/* Send; returns the tag. */
uint64_t rig_send(struct rig *, uint32_t slot, struct rig_group *);
/* Wait for the next result of a worker; 0 if none came within a second.  offsets may be NULL. */
int rig_result(struct rig *, uint32_t slot, struct msg_result *out, uint64_t *offsets);
/* Send and wait. */
int rig_ask(struct rig *, uint32_t slot, struct rig_group *, struct msg_result *out);
/* Create a topic, returns its result's status. */
int rig_topic(struct rig *, const char *name, uint32_t queues, uint32_t durability);

#endif
