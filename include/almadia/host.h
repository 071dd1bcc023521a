/* almadia/host.h - services of the core that a provider of any kind may use.
 *
 * The core passes one struct alm_host to a provider's open or init operation; it stays valid
 * until the provider's close returns.  Every function takes the host first.  Functions may be
 * called from the thread that the provider's own operation runs on; log, fail, alloc, free, the
 * clocks and the checksums from any thread.
 */
#ifndef ALMADIA_HOST_H
#define ALMADIA_HOST_H

#include <almadia/abi.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ALM_LOG_DEBUG 1u
#define ALM_LOG_INFO 2u
#define ALM_LOG_NOTICE 3u
#define ALM_LOG_WARN 4u
#define ALM_LOG_ERROR 5u

struct alm_batch;

struct alm_host { /* append only */
	uint32_t size;
	uint32_t role;  /* which role this process or thread is: ALM_ROLE_* */
	void *ctx;      /* the core's own */

	/* Memory.  alloc returns zeroed memory or NULL. */
	void *(*alloc)(const struct alm_host *, uint64_t bytes);
	void (*free)(const struct alm_host *, void *);

	/* One line into the server's log.  Lower case, no final period, no newline. */
	void (*log)(const struct alm_host *, uint32_t level, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));
	/* Remember why an operation fails; returns status, so: return host->fail(host, ALM_EIO, ...).
	 * The core adds it to the message that the operator or client sees. */
	int (*fail)(const struct alm_host *, int status, const char *fmt, ...)
	    __attribute__((format(printf, 3, 4)));
	/* The memory or files of this process can no longer be trusted.  Does not return. */
	void (*panic)(const struct alm_host *, const char *fmt, ...)
	    __attribute__((format(printf, 2, 3)));

	/* Microseconds: monotonic, and wall clock since the epoch. */
	uint64_t (*now)(const struct alm_host *);
	uint64_t (*wall)(const struct alm_host *);

	/* CRC32C (Castagnoli, as iSCSI uses it); start with crc 0, feed the result back to continue. */
	uint32_t (*crc32c)(uint32_t crc, const void *, uint64_t len);
	/* 64-bit hash (XXH3). */
	uint64_t (*hash64)(const void *, uint64_t len);

	/* The provider's settings, declared in its manifest.  Numbers, sizes (bytes), durations
	 * (microseconds) and booleans (0, 1) by int; strings and choices by str. */
	int64_t (*setting_int)(const struct alm_host *, const char *name);
	const char *(*setting_str)(const struct alm_host *, const char *name);

	/* A descriptor of anonymous shared memory that the manager keeps open for as long as it
	 * lives and every role inherits; for stores that are not files.  -1 if this node's storage
	 * provider did not ask for one (ALM_STORAGE_ARENA). The writer half may write to it. */
	int (*arena_fd)(const struct alm_host *);

	/* Whole-batch check as in log.h: structure, header CRC, body CRC, every record's CRC.
	 * Returns ALM_OK, or ALM_ECORRUPT with the byte offset of the first fault in *at. */
	int (*batch_check)(const void *batch, uint64_t len, uint64_t *at);
};

#define ALM_ROLE_MANAGER 1u
#define ALM_ROLE_LEDGER 2u
#define ALM_ROLE_WORKER 3u
#define ALM_ROLE_INDEXER 4u
#define ALM_ROLE_TOOL 5u

/* True if the host is new enough to have a function. */
#define ALM_HAS(host, fn)                                                                          \
	((host)->size >= offsetof(struct alm_host, fn) + sizeof((host)->fn) && (host)->fn)

#ifdef __cplusplus
}
#endif
#endif
