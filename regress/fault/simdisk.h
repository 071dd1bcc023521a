/* regress/fault/simdisk.h - a disk in memory that can lose power, for the segment store's io.h.
 *
 * Files have a volatile and a durable content; sync copies the sectors that were written.  A loss
 * of power keeps any subset of the 512-byte sectors that were not synced (a sector is never torn),
 * any prefix of the directory changes that were not synced, and of a file's size either the old
 * or the new.  One disk at a time, one thread.
 */
#ifndef ALM_REGRESS_SIMDISK_H
#define ALM_REGRESS_SIMDISK_H

#include <stdint.h>

#include "io.h"

#define SIM_KEEP_NONE 0u   /* of what was not synced */
#define SIM_KEEP_ALL 1u    /* as after kill -9 */
#define SIM_KEEP_HALF 2u   /* each sector with one half's chance */
#define SIM_KEEP_MOST 3u   /* seven of eight */
#define SIM_KEEP_FEW 4u    /* one of eight */
#define SIM_KEEP_LATE 5u   /* what was written last is kept rather than what came first */
#define SIM_KEEP_MODES 6u

struct simdisk;

extern const struct io_ops sim_ops;

struct simdisk *sim_new(uint64_t seed);
void sim_free(struct simdisk *);
struct simdisk *sim_clone(const struct simdisk *); /* no file may be open */
void sim_use(struct simdisk *);                    /* the one that sim_ops works on */

/* Calls that change something or sync, so far. */
uint64_t sim_calls(const struct simdisk *);
/* From the call with this number (from 1) on nothing happens any more and every call fails; a write
 * at that call may reach the disk in part. 0: never. */
void sim_crash_at(struct simdisk *, uint64_t call);
int sim_crashed(const struct simdisk *);
/* The call with this number fails once with err (positive errno). 0: none. */
void sim_fail_at(struct simdisk *, uint64_t call, int err);
void sim_short_writes(struct simdisk *, int on);
/* Bytes that all files together may have; 0: no limit. */
void sim_capacity(struct simdisk *, uint64_t bytes);
/* Power fails and comes back: what was not synced is kept as mode says; all files are closed. */
void sim_power_loss(struct simdisk *, uint32_t mode, uint64_t seed);

/* Names in the directory, sorted by creation: the k-th, or NULL. */
const char *sim_name(const struct simdisk *, uint32_t k);
/* Content of a file, volatile and durable alike after a change through this; NULL if there is none. */
uint8_t *sim_bytes(struct simdisk *, const char *name, uint64_t *size);
/* Copy [at, at + len) of the volatile content to the durable one. */
void sim_settle(struct simdisk *, const char *name);

#endif
