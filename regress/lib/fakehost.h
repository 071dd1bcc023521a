/* regress/lib/fakehost.h - a struct alm_host without a server, for tests of plugins.
 *
 *	struct fakehost *fh = fh_new(ALM_ROLE_LEDGER);
 *	fh_settings(fh, provider->settings, provider->n_settings);
 *	fh_set(fh, "segment", "1m");
 *	assert_int_equal(ops->open(fh_host(fh), dir, 0, &boot, &store), ALM_OK);
 *	...
 *	assert_int_equal(fh_free(fh), 0);      (the provider leaked nothing)
 *
 * log, fail, alloc, free, clocks and checksums may be called from any thread, as in the server.
 */
#ifndef ALM_REGRESS_FAKEHOST_H
#define ALM_REGRESS_FAKEHOST_H

#include <almadia/host.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/base.h"

#define FH_SETTINGS_MAX 32u

struct fakehost {
	struct alm_host host;          /* first: the plugin's pointer is ours */
	pthread_mutex_t lock;          /* log and fail_text */
	struct buf log;                /* lines, each with "level text\n" */
	char fail_text[1024];          /* of the last fail() */
	_Atomic int64_t live;          /* blocks allocated and not freed */
	_Atomic int64_t allocs;        /* calls of alloc so far */
	_Atomic int64_t fail_alloc_at; /* this call of alloc, from 1, returns NULL; 0: none */
	_Atomic uint64_t now, wall;    /* microseconds; 0: the real clocks */
	int arena;                     /* memfd or -1 */
	const struct alm_setting *declared;
	uint32_t n_declared, n_set;
	struct {
		char name[64], text[256];
	} set[FH_SETTINGS_MAX];
};

struct fakehost *fh_new(uint32_t role); /* never NULL */
/* Returns the number of blocks that the plugin did not free. */
int64_t fh_free(struct fakehost *);
const struct alm_host *fh_host(const struct fakehost *);
/* What the provider declares: gives the defaults, and a question for anything else aborts. */
void fh_settings(struct fakehost *, const struct alm_setting *, uint32_t n);
/* Give a setting a value, as in almadia.conf. */
void fh_set(struct fakehost *, const char *name, const char *text);
/* Make the arena, a memfd of so many bytes; arena_fd is -1 before. */
void fh_arena(struct fakehost *, uint64_t bytes);
/* 1 if some log line holds the text. */
int fh_logged(struct fakehost *, const char *text);
const char *fh_fail_text(const struct fakehost *);

#endif
