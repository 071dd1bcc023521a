/* ledger/helper.h - a thread that does one kind of background work when kicked: prepare segments,
 * write a checkpoint.  Kicks while it works are remembered as one. */
#ifndef ALM_LEDGER_HELPER_H
#define ALM_LEDGER_HELPER_H

#include <pthread.h>
#include <stdint.h>

struct helper {
	void (*work)(void *);
	void *arg;
	const char *name;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	uint32_t kicked, working, stop, started; /* under lock but for started */
};

/* name: for log lines. work(arg) runs on the thread. */
int helper_init(struct helper *, const char *name, void (*work)(void *), void *arg);
/* Ends the thread after the work under way. */
void helper_fini(struct helper *);
void helper_kick(struct helper *);
/* Block until no work is asked for or under way. */
void helper_wait(struct helper *);

#endif
