/* storage_kit.c - the runner of the storage kit and the tools of its tests. */
#include "regress/conformance/storage_kit.h"

#include "regress/conformance/kit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

int
skit_check(struct skit *k, int cond, const char *text, const char *file, int line)
{
	if (!cond) {
		printf("# %s:%d: not true: %s (host: %s)\n", file, line, text,
		    fh_fail_text(k->fh));
		k->failed = 1;
	}
	return cond;
}

struct alm_store *
skit_open(struct skit *k, uint32_t flags, struct alm_boot *boot)
{
	struct alm_boot own;
	struct alm_store *st = NULL;
	int rc;

	if (boot == NULL)
		boot = &own;
	memset(boot, 0xa5, sizeof *boot); /* the provider fills all of it */
	boot->size = sizeof *boot;
	rc = k->ops->open(fh_host(k->fh), k->path, flags, boot, &st);
	if (rc != ALM_OK) {
		printf("# open: %s: %s\n", status_name(rc), fh_fail_text(k->fh));
		k->failed = 1;
		return NULL;
	}
	return st;
}

int
skit_append(struct skit *k, struct alm_store *st, uint32_t n, uint32_t max_body)
{
	const struct alm_batch *b = mkb_random(&k->mk, &k->seed, n, 3, max_body);
	struct alm_slice s = {b, b->length};
	int rc = k->ops->append(st, &s, 1);

	if (rc == ALM_OK && buf_put(&k->log, b, b->length) != ALM_OK)
		abort();
	return rc;
}

int
skit_fill(struct skit *k, struct alm_store *st, uint64_t bytes, uint32_t max_body)
{
	uint64_t end = skit_end(k) + bytes;
	int rc = ALM_OK;

	while (rc == ALM_OK && skit_end(k) < end) {
		rc = skit_append(k, st, 1 + (uint32_t)(k->seed % 5), max_body);
		if (rc == ALM_OK && k->seed % 7 == 0)
			rc = k->ops->sync(st, NULL);
	}
	return rc == ALM_OK ? k->ops->sync(st, NULL) : rc;
}

uint64_t
skit_end(const struct skit *k)
{
	return k->base + k->log.len;
}

const struct alm_batch *
skit_batch(const struct skit *k, uint64_t position)
{
	return (const void *)(k->log.data + (position - k->base));
}

void
skit_cut(struct skit *k, uint64_t index)
{
	const struct alm_batch *b = NULL;
	uint64_t at = k->base;

	k->mk.prev_crc = 0;
	while (at < skit_end(k)) {
		b = skit_batch(k, at);
		if (b->index >= index)
			break;
		k->mk.prev_crc = b->header_crc;
		k->mk.log_time = b->log_time + 500;
		at += b->length;
	}
	k->log.len = at - k->base;
	k->mk.position = at;
	k->mk.index = index;
	k->mk.commit = index - 1;
}

int
skit_reads_back(struct skit *k, uint64_t from)
{
	struct alm_reader *r = NULL;
	struct alm_view v = {0};
	uint64_t at = from, end = skit_end(k);
	int rc = k->ops->reader_open(fh_host(k->fh), k->path, &r), ok = 1;

	if (rc != ALM_OK)
		return skit_check(k, 0, "reader_open succeeds", __FILE__, __LINE__);
	while (ok && at < end) {
		rc = k->ops->reader_get(r, at, end, &v);
		ok = rc == ALM_OK && v.next == at + skit_batch(k, at)->length &&
		    memcmp(v.batch, skit_batch(k, at), v.next - at) == 0;
		if (!ok)
			printf("# position %llu of [%llu, %llu): %s\n", (unsigned long long)at,
			    (unsigned long long)from, (unsigned long long)end, status_name(rc));
		at = v.next;
	}
	if (ok)
		ok = k->ops->reader_get(r, end, end, &v) == ALM_EAGAIN;
	k->ops->reader_close(r);
	return ok;
}

int
skit_in_dying_child(struct skit *k, int (*fn)(struct skit *))
{
	int status = 0;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(fn(k) == 1 ? 0 : 1);
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		abort();
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* ---- running ---- */

static void
empty_dir(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL)
		unlinkat(dirfd(d), e->d_name, 0);
	closedir(d);
}

static void
begin(struct skit *k)
{
	snprintf(k->path, sizeof k->path, "%s/log", k->dir);
	mkdir(k->path, 0700);
	empty_dir(k->path);
	k->fh = fh_new(ALM_ROLE_LEDGER);
	fh_settings(k->fh, k->provider->settings, k->provider->n_settings);
	for (uint32_t i = 0; i < k->n_set; i++)
		fh_set(k->fh, k->set[i][0], k->set[i][1]);
	if (k->ops->flags() & ALM_STORAGE_ARENA)
		fh_arena(k->fh, k->arena);
	mkb_init(&k->mk, 0, 1, 1);
	k->base = 0;
	k->failed = 0;
}

static void
end(struct skit *k)
{
	int64_t leaked;

	if (k->failed)
		printf("# log of the store:\n# %.*s\n", (int)(k->fh->log.len < 2000 ? k->fh->log.len : 2000),
		    k->fh->log.data ? (const char *)k->fh->log.data : "");
	leaked = fh_free(k->fh);
	if (leaked != 0 && !k->failed) {
		printf("# %lld blocks were not freed\n", (long long)leaked);
		k->failed = 1;
	}
	mkb_free(&k->mk);
	buf_free(&k->log);
	empty_dir(k->path);
	rmdir(k->path);
}

/* Why a test does not apply to this provider, or NULL. */
static const char *
reason_to_skip(const struct skit *k, uint32_t needs)
{
#define LACKS(flag, op)                                                                            \
	(needs & (flag) && !kit_has(k->provider, offsetof(struct alm_storage_ops_v0, op)))
	if (needs & SKIT_FILES && k->ops->flags() & ALM_STORAGE_ARENA)
		return "not for stores in memory";
	if (LACKS(SKIT_TRUNCATE, truncate))
		return "the provider has no truncate";
	if (LACKS(SKIT_RESEED, reseed))
		return "the provider has no reseed";
	if (LACKS(SKIT_FIND, reader_find))
		return "the provider has no reader_find";
	if (LACKS(SKIT_VERIFY, verify))
		return "the provider has no verify";
#undef LACKS
	return NULL;
}

static uint32_t
run_list(struct skit *k, const struct skit_test *t, uint32_t *number)
{
	uint32_t bad = 0;

	for (; t->name != NULL; t++) {
		const char *reason = reason_to_skip(k, t->needs);

		++*number;
		if (reason != NULL) {
			printf("ok %u - %s # SKIP %s\n", *number, t->name, reason);
			continue;
		}
		begin(k);
		t->fn(k);
		end(k);
		printf("%sok %u - %s\n", k->failed ? "not " : "", *number, t->name);
		fflush(stdout);
		bad += k->failed;
	}
	return bad;
}

uint32_t
skit_run(struct skit *k)
{
	uint32_t number = 0, bad = 0;

	printf("# storage provider \"%s\", seed %llu\n", k->provider->name,
	    (unsigned long long)k->seed);
	bad += run_list(k, skit_basic, &number);
	bad += run_list(k, skit_change, &number);
	bad += run_list(k, skit_fault, &number);
	printf("1..%u\n", number);
	return bad;
}
