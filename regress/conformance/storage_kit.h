/* regress/conformance/storage_kit.h - what every storage provider must do.
 *
 * Functions over a table of operations and a fake host, so that the kit runs against any .so, ours or a
 * third party's.  Each test works in an empty directory of its own (and an arena of its own if the
 * provider wants one) and prints one line of TAP.
 *
 *	struct skit kit = {.provider = p, .dir = "/tmp/x"};
 *	return skit_run(&kit) == 0 ? 0 : 1;
 */
#ifndef ALM_REGRESS_STORAGE_KIT_H
#define ALM_REGRESS_STORAGE_KIT_H

#include <almadia/storage.h>

#include "regress/lib/fakehost.h"
#include "regress/lib/mkbatch.h"

#define SKIT_SETTINGS 16u

struct skit {
	/* given */
	const struct alm_provider *provider;
	const char *dir;              /* exists; the kit makes and removes directories in it */
	const char *set[SKIT_SETTINGS][2]; /* settings: name, value */
	uint32_t n_set;
	const struct alm_storage_ops_v0 *ops; /* complete */
	uint64_t arena;               /* bytes, if the provider wants one */
	uint64_t seed;

	/* the running test's */
	struct fakehost *fh;
	char path[512];
	struct mkbatch mk;
	struct buf log;               /* what the store should hold, from base on */
	uint64_t base;                /* position of the first byte of log */
	uint32_t failed;
};

/* Run all tests. Returns how many failed. */
uint32_t skit_run(struct skit *);

/* ---- for the files of the kit ---- */

typedef void (*skit_test_fn)(struct skit *);

#define SKIT_FILES 1u /* a store in files, not in an arena */
#define SKIT_TRUNCATE 2u
#define SKIT_RESEED 4u
#define SKIT_FIND 8u
#define SKIT_VERIFY 16u

struct skit_test {
	const char *name;
	skit_test_fn fn;
	uint32_t needs; /* SKIT_*: skipped for providers without it */
};

extern const struct skit_test skit_basic[], skit_change[], skit_fault[]; /* end with name NULL */

/* Fail the test unless cond; the test goes on to its end only with SKIT_OK. */
int skit_check(struct skit *, int cond, const char *text, const char *file, int line);
#define SKIT_OK(kit, cond)                                                                         \
	do {                                                                                       \
		if (!skit_check((kit), (cond), #cond, __FILE__, __LINE__))                         \
			return;                                                                    \
	} while (0)

/* Open for writing; boot may be NULL. NULL if it fails, the test is failed then. */
struct alm_store *skit_open(struct skit *, uint32_t flags, struct alm_boot *boot);
/* Build one batch of n messages, append it to store and to kit->log: status. */
int skit_append(struct skit *, struct alm_store *, uint32_t n, uint32_t max_body);
/* Append until at least bytes more are in the log, syncing now and then. */
int skit_fill(struct skit *, struct alm_store *, uint64_t bytes, uint32_t max_body);
/* End position of kit->log. */
uint64_t skit_end(const struct skit *);
/* Cut kit->log and the builder back to before the batch with index. */
void skit_cut(struct skit *, uint64_t index);
/* The batch of kit->log at position. */
const struct alm_batch *skit_batch(const struct skit *, uint64_t position);
/* A new reader sees exactly kit->log from position on: 1, or 0 with a diagnostic. */
int skit_reads_back(struct skit *, uint64_t from);
/* Run fn in a child that then dies without closing anything. 1 if fn returned 1. */
int skit_in_dying_child(struct skit *, int (*fn)(struct skit *));

#endif
