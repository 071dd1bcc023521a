/* regress/unit/misfit.c - plugins that are wrong in one way each, for test_module.c.  Compiled once
 * for each MISFIT_x.  The constructor writes the file named by ALMADIA_CTOR_FILE, so that a test
 * can tell whether any code of a refused plugin ran. */
#include <almadia/storage.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void __attribute__((constructor))
leave_a_trace(void)
{
	const char *path = getenv("ALMADIA_CTOR_FILE");
	int fd = path ? open(path, O_CREAT | O_WRONLY, 0600) : -1;

	if (fd >= 0)
		close(fd);
}

#ifdef MISFIT_unresolved
int symbol_that_nobody_has(struct alm_store *);
#endif

static int
store_open(const struct alm_host *h, const char *dir, uint32_t flags, struct alm_boot *boot,
    struct alm_store **out)
{
	(void)dir, (void)flags, (void)boot, (void)out;
	return h->fail(h, ALM_EIO, "segment is %lld", (long long)h->setting_int(h, "segment"));
}

static void
store_close(struct alm_store *s)
{
	(void)s;
}

#ifndef MISFIT_missing
static int
store_append(struct alm_store *s, const struct alm_slice *b, uint32_t n)
{
	(void)s, (void)b, (void)n;
	return ALM_OK;
}
#endif

static int
store_sync(struct alm_store *s, struct alm_durable *out)
{
	(void)s, (void)out;
#ifdef MISFIT_unresolved
	return symbol_that_nobody_has(s);
#else
	return ALM_OK;
#endif
}

static int
store_release(struct alm_store *s, uint64_t first, uint64_t pin)
{
	(void)s, (void)first, (void)pin;
	return ALM_OK;
}

static int
store_save_meta(struct alm_store *s, const struct alm_meta *m)
{
	(void)s, (void)m;
	return ALM_OK;
}

static int
store_space(struct alm_store *s, struct alm_space *out)
{
	(void)s, (void)out;
	return ALM_OK;
}

static int
read_open(const struct alm_host *h, const char *dir, struct alm_reader **out)
{
	(void)h, (void)dir, (void)out;
	return ALM_OK;
}

static void
read_close(struct alm_reader *r)
{
	(void)r;
}

static int
read_get(struct alm_reader *r, uint64_t position, uint64_t limit, struct alm_view *out)
{
	(void)r, (void)position, (void)limit, (void)out;
	return ALM_EAGAIN;
}

static const struct alm_storage_ops_v0 ops = {
#ifndef MISFIT_missing
	.append = store_append,
#endif
	.open = store_open,
	.close = store_close,
	.sync = store_sync,
	.release = store_release,
	.save_meta = store_save_meta,
	.space = store_space,
	.reader_open = read_open,
	.reader_close = read_close,
	.reader_get = read_get,
	.reader_seek = read_get,
};

static const struct alm_setting settings[] = {
	{"segment", "64m", NULL, "size of a segment", 1 << 20, 1 << 30, ALM_SET_SIZE, ALM_SCOPE_BOOT},
};

#ifdef MISFIT_lying
#define MANIFEST_MAJOR 9u
#else
#define MANIFEST_MAJOR ALM_STORAGE_MAJOR
#endif

#ifdef MISFIT_othername
#define NAME "somebody"
#elif defined MISFIT_lying
#define NAME "lying"
#elif defined MISFIT_missing
#define NAME "missing"
#elif defined MISFIT_short
#define NAME "short"
#else
#define NAME "good"
#endif

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = ALM_KIND_STORAGE,
    .major = MANIFEST_MAJOR,
    .minor_built = ALM_STORAGE_MINOR,
    .minor_needed = ALM_STORAGE_MINOR,
#ifdef MISFIT_short
    .ops_size = offsetof(struct alm_storage_ops_v0, reader_find),
#else
    .ops_size = sizeof ops,
#endif
    .name = NAME,
    .doc = "for tests",
    .ops = &ops,
    .settings = settings,
    .n_settings = 1,
}};

#ifndef MISFIT_nosymbol
ALM_MODULE("misfit", "1.0", providers)
#else
ALM_EXPORT const void *unused_providers(void);
const void *
unused_providers(void)
{
	return providers;
}
#endif

#if defined MISFIT_newabi
ALM_MODULE_NOTE(ALM_KIND_STORAGE, 7u, 3u, 2u);
#elif defined MISFIT_newminor
ALM_MODULE_NOTE(ALM_KIND_STORAGE, ALM_STORAGE_MAJOR, ALM_STORAGE_MINOR + 1u, 0u);
#elif defined MISFIT_otherkind
ALM_MODULE_NOTE(ALM_KIND_PROTOCOL, ALM_PROTOCOL_MAJOR, ALM_PROTOCOL_MINOR, ALM_PROTOCOL_MINOR);
#elif !defined MISFIT_nonote
ALM_MODULE_NOTE(ALM_KIND_STORAGE, ALM_STORAGE_MAJOR, ALM_STORAGE_MINOR, ALM_STORAGE_MINOR);
#endif
