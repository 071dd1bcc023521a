/* segment.c - the manifest of the segment store. */
#include "reader.h"
#include "store.h"

#define MIB (1ll << 20)

static const struct alm_setting settings[] = {
    {.name = "segment_size", .def = "256m", .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
	.min = MIB, .max = 4096 * MIB,
	.doc = "size of a segment file; retention gives space back in this grain"},
    {.name = "first_segment_size", .def = "16m", .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
	.min = MIB, .max = 4096 * MIB,
	.doc = "size of a new log's first segment; the next ones grow up to segment_size"},
    {.name = "spare_segments", .def = "1", .type = ALM_SET_INT, .scope = ALM_SCOPE_BOOT,
	.min = 0, .max = 16,
	.doc = "zeroed segments kept ready ahead of need"},
    {.name = "recycle_max", .def = "8", .type = ALM_SET_INT, .scope = ALM_SCOPE_BOOT,
	.min = 0, .max = 32,
	.doc = "released segments kept for reuse; more are removed"},
    {.name = "max_unsynced", .def = "64m", .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
	.min = 16 * MIB, .max = 1024 * MIB,
	.doc = "bytes of log that may be written but not synced; recovery relies on it"},
    {.name = "keep_free", .def = "64m", .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
	.min = 0, .max = 1ll << 50,
	.doc = "free space of the file system that messages may not use, reserved for deletes and "
	       "offset commits"},
};

static const struct alm_storage_ops_v0 ops = {
    .open = seg_open,
    .close = seg_close,
    .append = seg_append,
    .sync = seg_sync,
    .truncate = seg_truncate,
    .reseed = seg_reseed,
    .release = seg_release,
    .save_meta = seg_save_meta,
    .space = seg_space,
    .prepare = seg_prepare,
    .reader_open = segr_open,
    .reader_close = segr_close,
    .reader_get = segr_get,
    .reader_seek = segr_seek,
    .reader_find = segr_find,
    .reader_trim = segr_trim,
    .verify = seg_verify,
};

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = ALM_KIND_STORAGE,
    .major = ALM_STORAGE_MAJOR,
    .minor_built = ALM_STORAGE_MINOR,
    .minor_needed = ALM_STORAGE_MINOR,
    .ops_size = sizeof ops,
    .name = "segment",
    .doc = "the log in segment files, pre-zeroed or recycled, with a second copy of every header",
    .ops = &ops,
    .settings = settings,
    .n_settings = sizeof settings / sizeof settings[0],
}};

ALM_MODULE_NOTE(ALM_KIND_STORAGE, ALM_STORAGE_MAJOR, ALM_STORAGE_MINOR, ALM_STORAGE_MINOR);
ALM_MODULE("storage_segment", "0.1.0", providers)
