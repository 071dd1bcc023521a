/* storage_fault.c - read-only opening, verify, bit rot. */
#include "regress/conformance/storage_kit.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct findings {
	uint32_t n, bad;
};

static void
count_finding(void *arg, uint32_t level, uint64_t position, const char *text)
{
	struct findings *f = arg;

	(void)position;
	f->n++;
	f->bad += level >= ALM_LOG_WARN && text[0] != '\0';
}

static void
verify_passes_a_sound_log(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_verify_stats s;
	struct findings f = {0};
	uint64_t first = 0;
	int rc;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 4 << 20, 3000) == ALM_OK);
	while (first < (1 << 20))
		first += skit_batch(k, first)->length;
	SKIT_OK(k, k->ops->release(st, first, first) == ALM_OK);
	k->ops->close(st);
	rc = k->ops->verify(fh_host(k->fh), k->path, count_finding, &f, &s);
	SKIT_OK(k, rc == ALM_OK && f.bad == 0 && s.damaged == 0);
	SKIT_OK(k, s.next_position == skit_end(k) && s.last_index == k->mk.index - 1);
	SKIT_OK(k, s.batches > 0 && s.records >= s.batches && s.bytes > 0);
}

/* One number for everything in the directory. */
static uint64_t
dir_sum(const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;
	uint64_t sum = 0;

	if (d == NULL)
		return 0;
	while ((e = readdir(d)) != NULL) {
		static char buf[1 << 16];
		int fd = openat(dirfd(d), e->d_name, O_RDONLY);
		uint64_t one = hash64(e->d_name, strlen(e->d_name));
		ssize_t n;

		while (fd >= 0 && (n = read(fd, buf, sizeof buf)) > 0)
			one = one * 31 + hash64(buf, (uint64_t)n);
		if (fd >= 0)
			close(fd);
		if (e->d_name[0] != '.')
			sum += one;
	}
	closedir(d);
	return sum;
}

static void
read_only_changes_nothing(struct skit *k)
{
	struct alm_boot boot = {.size = sizeof boot};
	struct alm_store *st;
	struct alm_verify_stats s;
	struct findings f = {0};
	struct alm_slice none = {0};
	uint64_t sum;

	SKIT_OK(k, k->ops->open(fh_host(k->fh), k->path, ALM_OPEN_READONLY, &boot, &st) < 0);
	SKIT_OK(k, (st = skit_open(k, 0, NULL)) != NULL);
	SKIT_OK(k, skit_fill(k, st, 3 << 20, 3000) == ALM_OK);
	k->ops->close(st);
	sum = dir_sum(k->path);
	SKIT_OK(k, (st = skit_open(k, ALM_OPEN_READONLY, &boot)) != NULL);
	SKIT_OK(k, boot.next_position == skit_end(k) && boot.last_index == k->mk.index - 1);
	SKIT_OK(k, skit_append(k, st, 1, 100) < 0);
	SKIT_OK(k, k->ops->append(st, &none, 0) < 0);
	k->ops->close(st);
	SKIT_OK(k, k->ops->verify(fh_host(k->fh), k->path, count_finding, &f, &s) == ALM_OK);
	SKIT_OK(k, dir_sum(k->path) == sum);
}

static int
flip(const char *path, const char *name, uint64_t bit)
{
	char file[1024];
	uint8_t byte;
	struct stat st;
	int fd, ok;

	snprintf(file, sizeof file, "%s/%s", path, name);
	fd = open(file, O_RDWR);
	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	bit %= (uint64_t)st.st_size * 8;
	ok = pread(fd, &byte, 1, (off_t)(bit / 8)) == 1;
	byte ^= (uint8_t)(1u << bit % 8);
	ok = ok && pwrite(fd, &byte, 1, (off_t)(bit / 8)) == 1;
	close(fd);
	return ok;
}

/* With one bit flipped somewhere: either the log reads as before to its very end, or opening or
 * verify says that something is wrong.  Never a shorter log and silence. */
static int
never_silent(struct skit *k, const char *name, uint64_t bit)
{
	struct alm_boot boot = {.size = sizeof boot};
	struct alm_verify_stats s;
	struct findings f = {0};
	struct alm_store *st = NULL;
	int verified, opened, ok, said;

	verified = k->ops->verify(fh_host(k->fh), k->path, count_finding, &f, &s);
	opened = k->ops->open(fh_host(k->fh), k->path, ALM_OPEN_READONLY, &boot, &st);
	said = verified != ALM_OK && (f.bad > 0 || fh_fail_text(k->fh)[0] != '\0');
	ok = said || opened != ALM_OK || boot.n_damage > 0 ||
	    (boot.next_position == skit_end(k) && skit_reads_back(k, 0));
	if (opened == ALM_OK)
		k->ops->close(st);
	if (!ok)
		printf("# %s, bit %llu: silent\n", name, (unsigned long long)bit);
	return ok;
}

static void
a_flipped_bit_is_never_silent(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	char names[64][64];
	uint32_t n = 0;
	struct dirent *e;
	DIR *d;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 3 << 20, 3000) == ALM_OK);
	k->ops->close(st);
	d = opendir(k->path);
	SKIT_OK(k, d != NULL);
	while ((e = readdir(d)) != NULL && n < 64)
		if (e->d_name[0] != '.')
			snprintf(names[n++], sizeof names[0], "%.60s", e->d_name);
	closedir(d);
	for (uint32_t i = 0; i < n; i++)
		for (int t = 0; t < 40; t++) {
			uint64_t bit = (k->seed >> 16);

			k->seed = k->seed * 6364136223846793005u + 1442695040888963407u;
			if (t < 8)
				bit %= 4096 * 8; /* headers */
			if (!flip(k->path, names[i], bit))
				continue;
			SKIT_OK(k, never_silent(k, names[i], bit));
			SKIT_OK(k, flip(k->path, names[i], bit));
		}
	SKIT_OK(k, (st = skit_open(k, 0, NULL)) != NULL);
	SKIT_OK(k, skit_reads_back(k, 0));
	k->ops->close(st);
}

const struct skit_test skit_fault[] = {
    {"verify passes a sound log", verify_passes_a_sound_log, SKIT_VERIFY},
    {"read-only changes nothing", read_only_changes_nothing, SKIT_FILES | SKIT_VERIFY},
    {"a flipped bit is never silent", a_flipped_bit_is_never_silent, SKIT_FILES | SKIT_VERIFY},
    {NULL, NULL, 0},
};
