/* state/store.h - the state store: all namespaces of the cluster, folded from the committed log.
 *
 * Indexer process only, one thread.  One LMDB environment in data_dir/state.<gen>/; everything
 * is read and written through its one open transaction, so reads see all that is applied.  After
 * an error the store may have gone back to what was synced: ask store_applied() again.
 *
 * The content is a function of the log up to store_applied():
 * - PUT and DELETE of a key in its namespace; version = position of the STATE record;
 * - DELETE of a topic also deletes the offsets of that topic in all groups, DELETE of a group
 *   all offsets of that group, so none survives a re-creation under the same name;
 * - an operation that cannot be stored (a namespace that is empty, longer than STORE_NS_MAX or
 *   holds a zero byte; an unknown op) is skipped and counted, on every member alike.
 *
 * A row is checked with CRC32C over key, version and value whenever it is read.
 *
 * Order of a scan: byte order of the key, except that keys of one namespace whose first
 * STORE_HEAD bytes (namespace and a zero byte included) are equal and that are longer than LMDB
 * can hold come in the order of a hash.  Paging by `after` is exact for both.
 */
#ifndef ALM_STATE_STORE_H
#define ALM_STATE_STORE_H

#include <almadia/log.h>

#include "base/base.h"

struct store;

#define STORE_NS_MAX 255u
#define STORE_HEAD 494u

/* Called during store_apply for each topic that is deleted. */
typedef void (*store_topic_fn)(void *arg, uint32_t topic);

/* Open or create in dir. map: address space in bytes, 0 for the default. ALM_ECORRUPT and
 * ALM_EVERSION: unreadable, delete the directory and fold again. */
int store_open(const char *dir, uint64_t map, struct store **out);
void store_close(struct store *); /* without a sync */

uint64_t store_applied(const struct store *); /* position */
uint64_t store_synced(const struct store *);  /* position */
/* header_crc and Raft index of the last batch applied; 0 for an empty store. */
uint32_t store_last_crc(const struct store *);
uint64_t store_last_index(const struct store *);
/* Rows written since the last sync: the caller bounds the memory of the open transaction. */
uint32_t store_dirty(const struct store *);
uint64_t store_skipped(const struct store *);
uint64_t store_rows(struct store *); /* keys held */

/* Fold the next batch. Its position is store_applied(). */
int store_apply(struct store *, const struct alm_batch *, store_topic_fn, void *arg);
int store_sync(struct store *);
/* Go on at a later position, where the log begins: the operator accepted the loss in between. */
void store_jump(struct store *, uint64_t position);

/* Value of a key, valid until the next call; *version 0 and ALM_ENOTFOUND if it is not there;
 * ALM_ECORRUPT if it fails its checksum. */
int store_get(struct store *, struct alm_slice ns, struct alm_slice key, uint64_t *version,
    struct alm_slice *value);

/* Rows with key beginning with prefix and after `after` (empty: from the first), packed into out as
 * {u16 key_len, u16 0, u32 val_len, u64 version, key, value}. Stops at limit rows (0: no limit)
 * or when the next row does not fit. Returns bytes, or ALM_ETOOBIG if not even one row fits. */
int64_t store_scan(struct store *, struct alm_slice ns, struct alm_slice prefix,
    struct alm_slice after, uint32_t limit, void *out, uint32_t cap);

/* Compare with another store, folded from the log anew: ALM_OK, or ALM_ECORRUPT with err_text()
 * naming the first difference. Both must have applied the same. */
int store_verify(struct store *, struct store *refold);

/* Delete a store's files. */
int store_remove(const char *dir);

#endif
