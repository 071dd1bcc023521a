/* store.h - the writer half's path and recovery; as in almadia/storage.h. */
#ifndef SEGMENT_STORE_H
#define SEGMENT_STORE_H

#include "change.h"

int seg_open(const struct alm_host *, const char *dir, uint32_t flags, struct alm_boot *boot,
    struct alm_store **out);
void seg_close(struct alm_store *);
int seg_append(struct alm_store *, const struct alm_slice *batches, uint32_t n);
int seg_sync(struct alm_store *, struct alm_durable *out);
int seg_save_meta(struct alm_store *, const struct alm_meta *);
int seg_verify(const struct alm_host *, const char *dir, alm_verify_fn fn, void *arg,
    struct alm_verify_stats *out);

/* An empty store object for a directory; seg_discard frees it without writing anything. */
int seg_new(const struct alm_host *, const char *dir, uint32_t flags, struct alm_store **out);
void seg_discard(struct alm_store *);

/* recover.c: find the log's end, fill boot, leave the store ready to append. */
int seg_recover(struct alm_store *, struct alm_boot *boot);

#endif
