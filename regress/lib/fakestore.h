/* regress/lib/fakestore.h - inside of the fake node: its state, shared by fakenode.c and fakestore.c.
 * Everything under n->lock. */
#ifndef ALM_REGRESS_FAKESTORE_H
#define ALM_REGRESS_FAKESTORE_H

#include <pthread.h>

#include "regress/lib/fakebroker.h"
#include "regress/lib/fakenode.h"

#define LINKS_MAX 64u
#define PRODUCERS_MAX 64u

struct link {
	int fd;
	uint32_t doomed; /* close at the end of the turn */
	struct alm_conn *conn;
};

struct stored {
	uint8_t *bytes; /* attributes, body */
	uint32_t attrs_len, body_len;
	uint32_t topic, queue, flags, sequence;
	uint64_t offset, producer, born;
};

struct fakenode {
	struct fakebroker *fb;
	pthread_mutex_t lock;
	pthread_t thread;
	uint32_t stop;
	struct link links[LINKS_MAX];
	uint32_t n_links, connections, appends;

	/* script */
	uint32_t refuse, lose, reverse, twice, trickle, full, hold;
	int refuse_status;
	const char *address;
	uint64_t cut_in, cut_out, begin;

	/* store */
	struct stored *stored;
	uint32_t n_stored, cap;
	struct {
		uint64_t id;
		uint32_t last;
	} producers[PRODUCERS_MAX];
	uint32_t n_producers;
	struct {
		char key[600];
		uint32_t len;
		uint64_t value;
	} commits[64];
	uint32_t n_commits;
};

void store_answer(struct fakenode *);
void store_free(struct fakenode *);

#endif
