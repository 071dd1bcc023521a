/* base/base.h - the small things that every part of the server uses: log, error text, clock,
 * checksums, buffer, hash map, histogram.  No state but the log's destination; any thread. */
#ifndef ALM_BASE_BASE_H
#define ALM_BASE_BASE_H

#include <almadia/abi.h>
#include <stdarg.h>
#include <stdint.h>

#include "base/check.h"

/* ---- log: one line on stderr, with time, level, role and pid.  [log] format text or json ---- */

void log_init(const char *role, uint32_t min_level, uint32_t json); /* role: "ledger", "worker 1" */
void log_line(uint32_t level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_vline(uint32_t level, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Name of the thread's role in --threads mode; overrides log_init's. Static text. */
void log_thread_role(const char *role);
void log_level_set(uint32_t min_level);

#define log_debug(...) log_line(1, __VA_ARGS__)
#define log_info(...) log_line(2, __VA_ARGS__)
#define log_notice(...) log_line(3, __VA_ARGS__)
#define log_warn(...) log_line(4, __VA_ARGS__)
#define log_error(...) log_line(5, __VA_ARGS__)

/* ---- why the last operation of this thread failed ---- */

/* Remember a text, return status: return err_set(ALM_EIO, "could not open %s: %s", ...). */
int err_set(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int err_vset(int status, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));
/* Text of the last err_set of this thread; "" if none. */
const char *err_text(void);
void err_clear(void);
/* Short fixed text of a status: "not found". */
const char *status_text(int status);
/* Symbolic name: "ALM_ENOTFOUND". */
const char *status_name(int status);

/* ---- clock: microseconds ---- */

uint64_t clock_mono(void);
uint64_t clock_wall(void);

/* ---- checksums and hashes ---- */

uint32_t crc32c(uint32_t crc, const void *, uint64_t len);
uint64_t hash64(const void *, uint64_t len);
struct hash128 {
	uint64_t lo, hi;
};
struct hash128 hash128(const void *, uint64_t len);

/* ---- batches: checks of log.h that need CRCs, in base/batch.c ---- */

struct alm_batch;
int batch_check(const void *batch, uint64_t len, uint64_t *at); /* as alm_host.batch_check */
uint32_t batch_header_crc(const struct alm_batch *); /* computes */
uint32_t batch_body_crc(const struct alm_batch *); /* computes; structure must be sound */

/* ---- growable byte buffer ---- */

struct buf {
	uint8_t *data;
	uint64_t len, cap;
};

int buf_reserve(struct buf *, uint64_t more); /* ALM_OK or ALM_ENOMEM */
int buf_put(struct buf *, const void *, uint64_t len);
/* No NUL counted. */
int buf_putf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_drop(struct buf *, uint64_t len); /* from the front */
void buf_reset(struct buf *);              /* keeps memory */
void buf_free(struct buf *);

/* ---- hash map: 64-bit key to pointer or number; open addressing, grows, no deletion cost ---- */

struct hmap;
struct hmap *hmap_new(void);
void hmap_free(struct hmap *);
uint64_t hmap_count(const struct hmap *);
/* Slot of the key or NULL. The slot is valid until the next put or del. */
uint64_t *hmap_get(const struct hmap *, uint64_t key);
/* Slot of the key, made with value 0 if new; NULL if out of memory. */
uint64_t *hmap_put(struct hmap *, uint64_t key);
int hmap_del(struct hmap *, uint64_t key); /* 1 if it was there */
/* Walk: *at starts as 0; returns 1 with key and value until 0.  No put or del during a walk; the
 * order differs from process to process (keys are hashed with a random seed). */
int hmap_next(const struct hmap *, uint64_t *at, uint64_t *key, uint64_t *value);

/* ---- histogram of microseconds (or anything): log-linear, 1/32 relative error, in shared memory.
 * One writer. */

#define HIST_SLOTS 1920u
struct hist {
	uint64_t count, sum, max;
	uint32_t slot[HIST_SLOTS];
};
void hist_add(struct hist *, uint64_t value);
uint64_t hist_at(const struct hist *, double percentile); /* 0..100 */
void hist_merge(struct hist *into, const struct hist *);

/* ---- text ---- */

/* "64k" -> 65536, "5ms" -> 5000, "yes" -> 1. ALM_EINVAL with err_set naming the allowed forms. */
int parse_size(const char *, int64_t *out);
int parse_duration(const char *, int64_t *out); /* microseconds */
int parse_bool(const char *, int64_t *out);
int parse_int(const char *, int64_t *out);
/* "1.5 GiB", "3 ms": into the caller's buffer, returned. */
const char *format_size(uint64_t bytes, char *out, uint32_t cap);
const char *format_duration(uint64_t us, char *out, uint32_t cap);
/* A topic or group name: 1..255 of [A-Za-z0-9._%-/:] , not "." or "..". */
int name_valid(const void *, uint64_t len);

#endif
