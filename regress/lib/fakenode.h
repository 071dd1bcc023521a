/* regress/lib/fakenode.h - a node without a server: the native plugin on the fake broker, a
 * sequencer and a store in memory, and a thread that moves bytes between sockets and the plugin.  For
 * tests of libalmadia: what goes wrong is scripted, what was stored can be looked at.
 *
 * One thread of its own; every function here takes its lock, so a test calls them at any time.
 * The store obeys the sequencer's rules (server/README.md): a producer's messages in sequence, a
 * duplicate answered with its first offsets, a gap refused with ALM_EORDER, any sequence taken from a
 * producer that is not known.
 */
#ifndef ALM_REGRESS_FAKENODE_H
#define ALM_REGRESS_FAKENODE_H

#include <almadia/client.h>

struct fakenode;

struct fakenode *fakenode_new(void);
/* Returns leaks and misuse as fb_free does. */
uint64_t fakenode_free(struct fakenode *);
void fakenode_topic(struct fakenode *, const char *name, uint32_t queues);
/* For alm_options.dial, with the node as arg: one end of a socket pair. */
int fakenode_dial(void *node, const char *server);

/* ---- faults ---- */

/* Answer the next n appends with a status instead of storing them. */
void fakenode_refuse(struct fakenode *, uint32_t n, int status, const char *address);
/* Close the connection after so many more bytes in a direction; 0: no more faults. */
void fakenode_cut_in(struct fakenode *, uint64_t bytes);
void fakenode_cut_out(struct fakenode *, uint64_t bytes);
/* Store the next n appends, then close the connection instead of answering. */
void fakenode_lose_acks(struct fakenode *, uint32_t n);
/* Gather appends until there are n, then answer them in reverse order. */
void fakenode_reverse(struct fakenode *, uint32_t n);
/* Answer each append twice. */
void fakenode_twice(struct fakenode *, uint32_t on);
/* Move at most so many bytes a turn in each direction; 0: no limit. */
void fakenode_trickle(struct fakenode *, uint32_t bytes);
/* The broker refuses every request with -status (ALM_EAGAIN: the plugin parks); 0: no more. */
void fakenode_full(struct fakenode *, uint32_t status);
/* Answer nothing while it is on. */
void fakenode_hold(struct fakenode *, uint32_t on);
/* Forget all producers, as a node that bounds their number may. */
void fakenode_forget(struct fakenode *);
/* Say GOAWAY on all connections. */
void fakenode_shutdown(struct fakenode *);
/* Records below this offset are gone in every queue. */
void fakenode_retain(struct fakenode *, uint64_t begin);

/* ---- what happened ---- */

struct fakenode_message {
	uint32_t topic, queue;
	uint64_t offset, producer;
	uint32_t sequence;
	uint32_t len;
	char body[64]; /* the first bytes, with a zero behind */
};

uint32_t fakenode_stored(struct fakenode *);
int fakenode_message(struct fakenode *, uint32_t i, struct fakenode_message *out);
uint32_t fakenode_connections(struct fakenode *); /* ever */
uint32_t fakenode_appends(struct fakenode *);     /* groups that reached the sequencer */

#endif
