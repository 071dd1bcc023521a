/* fuzz_recovery.c - arbitrary bytes as a segment store's files: open, verify and read them.
 *
 * Input: a sequence of patches {u8 file, u24 offset, u16 length, bytes} applied to a sound log of
 * three segments (file: 0 meta, 1-3 .seg, 4-6 .idx; an offset of 0xffffff cuts the file at length
 * instead).  No outcome is wrong but a crash, a sanitizer's report, or a reader that leaves the log.
 *
 * With clang and --enable-fuzzers a libFuzzer target; otherwise a program that replays the files it
 * is given, or without arguments runs FUZZ_RUNS (default 3000) random inputs. */
#include "reader.h"
#include "simdisk.h"
#include "store.h"

#include "regress/lib/fakehost.h"
#include "regress/lib/mkbatch.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct alm_setting settings[] = {
    {.name = "segment_size", .def = "16k", .type = ALM_SET_SIZE},
    {.name = "first_segment_size", .def = "16k", .type = ALM_SET_SIZE},
    {.name = "spare_segments", .def = "0", .type = ALM_SET_INT},
    {.name = "recycle_max", .def = "2", .type = ALM_SET_INT},
    {.name = "max_unsynced", .def = "8k", .type = ALM_SET_SIZE},
    {.name = "keep_free", .def = "0", .type = ALM_SET_SIZE},
};

static struct simdisk *sound;
static char files[7][SEG_NAME_MAX];

static struct fakehost *
new_host(void)
{
	struct fakehost *fh = fh_new(ALM_ROLE_LEDGER);

	fh_settings(fh, settings, sizeof settings / sizeof settings[0]);
	return fh;
}

/* A log of three segments, closed cleanly. */
static void
make_sound(void)
{
	struct fakehost *fh = new_host();
	struct alm_boot boot = {.size = sizeof boot};
	struct alm_store *st = NULL;
	struct mkbatch m;
	uint64_t seed = 1;

	seg_io = &sim_ops;
	sound = sim_new(1);
	sim_use(sound);
	mkb_init(&m, 0, 1, 1);
	if (seg_open(fh_host(fh), "sim", 0, &boot, &st) != ALM_OK)
		abort();
	while (st->n_segs < 3 || st->end.position - seg_last(st)->first < 4000) {
		const struct alm_batch *b = mkb_random(&m, &seed, 3, 2, 300);
		struct alm_slice s = {b, b->length};

		if (seg_append(st, &s, 1) != ALM_OK || seg_sync(st, NULL) != ALM_OK)
			abort();
	}
	snprintf(files[0], sizeof files[0], "meta");
	for (uint32_t i = 0; i < 3; i++) {
		seg_name(files[1 + i], st->segs[i].first, "seg");
		seg_name(files[4 + i], st->segs[i].first, "idx");
	}
	seg_close(st);
	mkb_free(&m);
	fh_free(fh);
}

static void
patch(struct simdisk *d, const uint8_t *data, size_t size)
{
	while (size >= 6) {
		uint32_t at = (uint32_t)data[1] | (uint32_t)data[2] << 8 | (uint32_t)data[3] << 16;
		uint32_t len = (uint32_t)data[4] | (uint32_t)data[5] << 8;
		const char *name = files[data[0] % 7];
		uint64_t have = 0;
		uint8_t *bytes = sim_bytes(d, name, &have);

		data += 6;
		size -= 6;
		if (at == 0xffffff && bytes != NULL) {
			int fd = sim_ops.open(0, name, IO_WRITE);

			if (fd >= 0 && len < have)
				sim_ops.truncate(fd, len);
			sim_ops.close(fd);
			continue;
		}
		if (len > size)
			len = (uint32_t)size;
		if (bytes != NULL && at < have)
			memcpy(bytes + at, data, len < have - at ? len : have - at);
		data += len;
		size -= len;
	}
}

static void
ignore(void *arg, uint32_t level, uint64_t position, const char *text)
{
	(void)arg;
	(void)level;
	(void)position;
	if (text[0] == '\0')
		abort();
}

/* A reader goes forward and stays inside, whatever the files hold. */
static void
read_all(struct fakehost *fh, const struct alm_boot *boot)
{
	struct alm_reader *r = NULL;
	struct alm_view v;
	uint64_t at = boot->first_position, bad;

	if (segr_open(fh_host(fh), "sim", &r) != ALM_OK)
		return;
	while (segr_get(r, at, boot->next_position, &v) == ALM_OK) {
		if (v.next <= at || v.next > boot->next_position)
			abort();
		(void)fh_host(fh)->batch_check(v.batch, v.batch->length, &bad);
		at = v.next;
	}
	for (uint64_t i = 0; i < 8; i++) {
		(void)segr_seek(r, boot->next_position / 8 * i + i, boot->next_position, &v);
		(void)segr_find(r, boot->last_index / 8 * i + i, boot->next_position, &v);
	}
	segr_close(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint32_t flags[] = {ALM_OPEN_READONLY, 0, ALM_OPEN_ACCEPT_LOSS, 0};
	struct simdisk *d;

	if (sound == NULL)
		make_sound();
	d = sim_clone(sound);
	sim_use(d);
	patch(d, data, size);
	for (uint32_t i = 0; i < 4; i++) {
		struct fakehost *fh = new_host();
		struct alm_boot boot = {.size = sizeof boot};
		struct alm_verify_stats stats;
		struct alm_store *st = NULL;

		(void)seg_verify(fh_host(fh), "sim", ignore, NULL, &stats);
		if (seg_open(fh_host(fh), "sim", flags[i], &boot, &st) == ALM_OK) {
			read_all(fh, &boot);
			seg_close(st);
		}
		if (fh_free(fh) != 0)
			abort();
	}
	sim_free(d);
	return 0;
}

#ifndef ALM_LIBFUZZER
static uint64_t
rnd(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static void
replay(const char *path)
{
	static uint8_t buf[1 << 20];
	FILE *f = fopen(path, "rb");
	size_t n;

	if (f == NULL) {
		perror(path);
		exit(2);
	}
	n = fread(buf, 1, sizeof buf, f);
	fclose(f);
	LLVMFuzzerTestOneInput(buf, n);
}

int
main(int argc, char **argv)
{
	const char *text = getenv("FUZZ_RUNS");
	uint64_t runs = text != NULL ? strtoull(text, NULL, 10) : 3000, seed = 7;

	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	for (uint64_t i = 0; argc < 2 && i < runs; i++) {
		uint8_t buf[256];
		uint32_t n = 0, patches = 1 + (uint32_t)(rnd(&seed) % 4);

		while (patches-- > 0 && n < 200) {
			uint32_t len = 1 + (uint32_t)(rnd(&seed) % 12);
			uint64_t at = rnd(&seed) % 20000;

			buf[n] = (uint8_t)rnd(&seed);
			if (rnd(&seed) % 3 == 0)
				at %= 4400; /* headers */
			if (rnd(&seed) % 20 == 0)
				at = 0xffffff;
			buf[n + 1] = (uint8_t)at;
			buf[n + 2] = (uint8_t)(at >> 8);
			buf[n + 3] = (uint8_t)(at >> 16);
			buf[n + 4] = at == 0xffffff ? (uint8_t)rnd(&seed) : (uint8_t)len;
			buf[n + 5] = at == 0xffffff ? (uint8_t)(rnd(&seed) % 32) : 0;
			n += 6;
			while (at != 0xffffff && len-- > 0)
				buf[n++] = (uint8_t)(rnd(&seed) % 3 ? rnd(&seed) : 0);
		}
		LLVMFuzzerTestOneInput(buf, n);
	}
	if (sound != NULL)
		sim_free(sound);
	printf("ok 1 - no input breaks recovery, verify or the reader (%llu inputs)\n1..1\n",
	    argc < 2 ? (unsigned long long)runs : (unsigned long long)(argc - 1));
	return 0;
}
#endif
