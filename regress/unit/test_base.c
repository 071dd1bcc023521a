/* Tests of server/base: each name states the behaviour. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <almadia/log.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/base.h"

static void
crc32c_is_the_iscsi_one_and_chains(void **state)
{
	uint8_t zeros[32] = {0};

	(void)state;
	assert_int_equal(crc32c(0, "123456789", 9), 0xE3069283u);
	assert_int_equal(crc32c(crc32c(0, "1234", 4), "56789", 5), 0xE3069283u);
	assert_int_equal(crc32c(0, zeros, 32), 0x8a9136aau); /* RFC 3720, B.4 */
	assert_int_equal(crc32c(0, "", 0), 0);
	assert_int_equal(crc32c(7, "", 0), 7);
}

static void
hashes_are_xxh3(void **state)
{
	struct hash128 h = hash128("", 0);

	(void)state;
	assert_true(hash64("", 0) == 0x2d06800538d394c2ull);
	assert_true(h.lo == 0x6001c324468d497full && h.hi == 0x99aa06d3014798d8ull);
}

/* ---- batches ---- */

#define SMALL_RECORDS 3u

/* Three messages of one queue with attributes and padding. */
static uint32_t
small_batch(uint8_t *mem)
{
	struct alm_batch *b = (struct alm_batch *)(void *)mem;
	struct alm_dir *d;
	uint32_t i, at = sizeof *b;

	memset(mem, 0, 4096);
	*b = (struct alm_batch){.magic = ALM_BATCH_MAGIC,
	    .version = ALM_BATCH_VERSION,
	    .index = 7,
	    .term = 2,
	    .position = 4096,
	    .log_time = 99,
	    .records = SMALL_RECORDS,
	    .dir_count = 1};
	for (i = 0; i < SMALL_RECORDS; i++) {
		struct alm_record *r = (struct alm_record *)(void *)(mem + at);

		*r = (struct alm_record){.length = sizeof *r + 16,
		    .magic = ALM_RECORD_MAGIC,
		    .kind = ALM_REC_MESSAGE,
		    .pad = (uint8_t)i,
		    .batch_offset = at,
		    .topic = 1,
		    .offset = i};
		memset(r + 1, 'a', 16 - i);
		r->crc = crc32c(0, (uint8_t *)r + 8, r->length - 8);
		at += r->length;
	}
	b->dir_offset = at;
	d = (struct alm_dir *)(void *)(mem + at);
	*d = (struct alm_dir){
	    .topic = 1, .count = SMALL_RECORDS, .first_byte = sizeof *b, .end_byte = at};
	b->length = at + (uint32_t)sizeof *d;
	b->body_crc = batch_body_crc(b);
	b->header_crc = batch_header_crc(b);
	return b->length;
}

static void
a_good_batch_passes(void **state)
{
	_Alignas(8) uint8_t mem[4096];
	uint64_t at = 1;
	uint32_t len = small_batch(mem);

	(void)state;
	assert_int_equal(batch_check(mem, len, &at), ALM_OK);
	assert_int_equal(batch_check(mem, sizeof mem, NULL), ALM_OK);
}

static void
every_flipped_bit_of_a_batch_is_found(void **state)
{
	_Alignas(8) uint8_t mem[4096];
	uint32_t len = small_batch(mem), i, bit;

	(void)state;
	for (i = 0; i < len; i++)
		for (bit = 0; bit < 8; bit++) {
			uint64_t at = UINT64_MAX;

			mem[i] ^= (uint8_t)(1u << bit);
			assert_int_equal(batch_check(mem, len, &at), ALM_ECORRUPT);
			assert_true(at < len);
			mem[i] ^= (uint8_t)(1u << bit);
		}
	assert_int_equal(batch_check(mem, len, NULL), ALM_OK);
}

static void
a_short_batch_is_refused_without_reading_past_its_end(void **state)
{
	_Alignas(8) uint8_t mem[4096];
	uint32_t len = small_batch(mem), n;
	uint64_t at;

	(void)state;
	for (n = 0; n < len; n++) {
		uint8_t *exact = malloc(n ? n : 1); /* the sanitizer watches its end */

		memcpy(exact, mem, n);
		assert_int_equal(batch_check(exact, n, &at), ALM_ECORRUPT);
		free(exact);
	}
}

static void
wrong_counts_and_places_are_found_behind_good_checksums(void **state)
{
	_Alignas(8) uint8_t mem[4096];
	struct alm_batch *b = (struct alm_batch *)(void *)mem;
	struct alm_dir *d;
	uint32_t len = small_batch(mem);
	uint64_t at;

	(void)state;
	b->records++;
	b->header_crc = batch_header_crc(b);
	assert_int_equal(batch_check(mem, len, &at), ALM_ECORRUPT);
	assert_int_equal(at, offsetof(struct alm_batch, records));

	small_batch(mem);
	d = (struct alm_dir *)(void *)(mem + b->dir_offset);
	d->end_byte += 8;
	b->body_crc = batch_body_crc(b);
	b->header_crc = batch_header_crc(b);
	assert_int_equal(batch_check(mem, len, &at), ALM_ECORRUPT);
	assert_int_equal(at, b->dir_offset);
}

/* ---- errors, buffer, map, histogram ---- */

static void
an_error_keeps_its_text_and_may_wrap_the_one_before(void **state)
{
	(void)state;
	assert_int_equal(err_set(ALM_EIO, "disk %d", 3), ALM_EIO);
	assert_int_equal(err_set(ALM_EFULL, "store: %s", err_text()), ALM_EFULL);
	assert_string_equal(err_text(), "store: disk 3");
	err_clear();
	assert_string_equal(err_text(), "");
	assert_string_equal(status_name(ALM_ENOTFOUND), "ALM_ENOTFOUND");
	assert_string_equal(status_text(ALM_ENOTFOUND), "not found");
	assert_string_equal(status_name(ALM_STATUS_LAST), "ALM_ESTALE");
	assert_string_equal(status_text(1), "unknown status");
	assert_string_equal(status_text(-1000), "unknown status");
}

static void
a_buffer_grows_drops_from_the_front_and_formats(void **state)
{
	struct buf b = {0};
	int i;

	(void)state;
	for (i = 0; i < 1000; i++)
		assert_int_equal(buf_putf(&b, "%03d,", i), ALM_OK);
	assert_int_equal(b.len, 4000);
	buf_drop(&b, 3996);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.data, "999,", 4);
	assert_int_equal(buf_put(&b, "x", 1), ALM_OK);
	assert_memory_equal(b.data, "999,x", 5);
	buf_drop(&b, 100);
	assert_int_equal(b.len, 0);
	assert_int_equal(buf_reserve(&b, UINT64_MAX - 1), ALM_ENOMEM);
	buf_free(&b);
	assert_null(b.data);
}

#define MODEL_KEYS 512u

/* 200,000 random operations on few keys, so that cells collide and wrap, against an array. */
static void
the_map_agrees_with_a_model_over_random_operations(void **state)
{
	struct hmap *m = hmap_new();
	uint64_t model[MODEL_KEYS] = {0}, count = 0, rnd = 42, i, at, key, value;
	uint8_t present[MODEL_KEYS] = {0}, seen[MODEL_KEYS];

	(void)state;
	for (i = 0; i < 200000; i++) {
		uint64_t *slot, k;

		rnd = rnd * 6364136223846793005u + 1442695040888963407u;
		k = (rnd >> 33) % MODEL_KEYS;
		if ((rnd >> 60) < 8) {
			slot = hmap_put(m, k * k * k);
			assert_non_null(slot);
			assert_true(*slot == (present[k] ? model[k] : 0));
			count += !present[k];
			present[k] = 1;
			*slot = model[k] = rnd;
		} else {
			assert_int_equal(hmap_del(m, k * k * k), present[k]);
			count -= present[k];
			present[k] = 0;
		}
		assert_int_equal(hmap_count(m), count);
		k = (rnd >> 20) % MODEL_KEYS;
		slot = hmap_get(m, k * k * k);
		assert_int_equal(slot != NULL, present[k]);
		assert_true(slot == NULL || *slot == model[k]);
		if (i % 5000 != 0)
			continue;
		memset(seen, 0, sizeof seen);
		for (at = 0, k = 0; hmap_next(m, &at, &key, &value); k++) {
			uint64_t root = 0;

			while (root * root * root < key)
				root++;
			assert_true(present[root] && !seen[root] && value == model[root]);
			seen[root] = 1;
		}
		assert_int_equal(k, count);
	}
	hmap_free(m);
	hmap_free(NULL);
}

static void
percentiles_are_within_a_thirty_second(void **state)
{
	static struct hist h, sum;
	uint64_t v;
	double p;

	(void)state;
	for (v = 1; v <= 100000; v++)
		hist_add(&h, v);
	for (p = 1; p <= 100; p += 0.5) {
		double exact = p * 1000, got = (double)hist_at(&h, p);

		assert_true(got >= exact - 1 && got <= exact * (1 + 1.0 / 32) + 1);
	}
	assert_int_equal(hist_at(&h, 100), 100000);
	assert_int_equal(hist_at(&h, 0), 1);
	hist_merge(&sum, &h);
	hist_merge(&sum, &h);
	assert_int_equal(sum.count, 200000);
	assert_int_equal(hist_at(&sum, 50), hist_at(&h, 50));
}

static void
the_histogram_takes_every_magnitude(void **state)
{
	uint32_t bit;

	(void)state;
	for (bit = 0; bit < 64; bit++) {
		struct hist *h = calloc(1, sizeof *h);
		uint64_t v = 1ull << bit;

		hist_add(h, v);
		hist_add(h, v - 1);
		hist_add(h, UINT64_MAX);
		assert_true(hist_at(h, 60) >= v && hist_at(h, 60) - v <= v / 32);
		assert_true(hist_at(h, 100) == UINT64_MAX);
		free(h);
	}
}

/* ---- text ---- */

static void
sizes_durations_booleans_and_numbers_parse(void **state)
{
	static const struct {
		int (*parse)(const char *, int64_t *);
		const char *text;
		int64_t want;
	} good[] = {
	    {parse_size, "0", 0},
	    {parse_size, "4096", 4096},
	    {parse_size, "64k", 65536},
	    {parse_size, "64KiB", 65536},
	    {parse_size, "1g", 1 << 30},
	    {parse_size, "2T", 2LL << 40},
	    {parse_duration, "100us", 100},
	    {parse_duration, "5ms", 5000},
	    {parse_duration, "2s", 2000000},
	    {parse_duration, "30m", 1800000000},
	    {parse_duration, "12h", 43200000000},
	    {parse_duration, "7d", 604800000000},
	    {parse_duration, "0", 0},
	    {parse_bool, "yes", 1},
	    {parse_bool, "Off", 0},
	    {parse_bool, "true", 1},
	    {parse_int, "-12", -12},
	    {parse_int, "9223372036854775807", INT64_MAX},
	};
	static const struct {
		int (*parse)(const char *, int64_t *);
		const char *text;
	} bad[] = {
	    {parse_size, ""},
	    {parse_size, "-1"},
	    {parse_size, "1.5g"},
	    {parse_size, "7x"},
	    {parse_size, " 1k"},
	    {parse_size, "9999999999t"},
	    {parse_size, "99999999999999999999"},
	    {parse_duration, "7x"},
	    {parse_duration, "5"},
	    {parse_duration, "ms"},
	    {parse_duration, "5 ms"},
	    {parse_bool, "maybe"},
	    {parse_bool, "1"},
	    {parse_int, "1k"},
	    {parse_int, "+1"},
	    {parse_int, ""},
	    {parse_int, "--1"},
	    {parse_int, "9223372036854775808"},
	};
	int64_t got;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof good / sizeof good[0]; i++) {
		got = -77;
		assert_int_equal(good[i].parse(good[i].text, &got), ALM_OK);
		assert_true(got == good[i].want);
	}
	for (i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(bad[i].parse(bad[i].text, &got), ALM_EINVAL);
	parse_duration("7x", &got);
	assert_string_equal(
	    err_text(), "\"7x\" is not a duration (use 100us, 5ms, 2s, 30m, 12h, 7d)");
}

static void
sizes_and_durations_read_well(void **state)
{
	char out[32];

	(void)state;
	assert_string_equal(format_size(0, out, sizeof out), "0 B");
	assert_string_equal(format_size(1023, out, sizeof out), "1023 B");
	assert_string_equal(format_size(3ull << 29, out, sizeof out), "1.5 GiB");
	assert_string_equal(format_size(UINT64_MAX, out, sizeof out), "15.9 EiB");
	assert_string_equal(format_duration(0, out, sizeof out), "0 us");
	assert_string_equal(format_duration(3000, out, sizeof out), "3 ms");
	assert_string_equal(format_duration(1500000, out, sizeof out), "1.5 s");
	assert_string_equal(format_duration(5400000000, out, sizeof out), "1.5 h");
	assert_string_equal(format_size(1536, out, 4), "1.5");
}

static void
names_are_checked(void **state)
{
	char longest[256];

	(void)state;
	memset(longest, 'a', sizeof longest);
	assert_true(name_valid("a", 1));
	assert_true(name_valid("%RETRY%orders.eu-1/x:y_Z9", 25));
	assert_true(name_valid("...", 3));
	assert_true(name_valid(longest, 255));
	assert_false(name_valid(longest, 256));
	assert_false(name_valid("", 0));
	assert_false(name_valid(".", 1));
	assert_false(name_valid("..", 2));
	assert_false(name_valid("a b", 3));
	assert_false(name_valid("a\0b", 3));
	assert_false(name_valid("\xc3\xa9", 2));
}

/* ---- log and last words ---- */

/* What log_line writes to stderr. */
static void
logged(char *out, uint32_t cap, uint32_t json, const char *text)
{
	int saved = dup(STDERR_FILENO), fd = memfd_create("log", 0);
	ssize_t n;

	dup2(fd, STDERR_FILENO);
	log_init("ledger", 2, json);
	log_warn("%s", text);
	log_debug("not shown");
	dup2(saved, STDERR_FILENO);
	n = pread(fd, out, cap - 1, 0);
	out[n > 0 ? n : 0] = '\0';
	close(fd);
	close(saved);
}

static void
a_log_line_is_one_line_whatever_it_says(void **state)
{
	char line[4096], want[64], *message;

	(void)state;
	logged(line, sizeof line, 0, "a\nb\x01\xc3\xa9");
	snprintf(want, sizeof want, " warn ledger[%d]: ", (int)getpid());
	message = strstr(line, want);
	assert_non_null(message);
	assert_string_equal(message + strlen(want), "a\\x0ab\\x01\xc3\xa9\n");
}

static void
a_json_log_line_parses_whatever_it_says(void **state)
{
	char line[4096];
	json_t *doc;

	(void)state;
	logged(line, sizeof line, 1, "say \"hi\"\\ \n \xff \xc3\xa9 \xed\xa0\x80");
	doc = json_loads(line, 0, NULL);
	assert_non_null(doc);
	assert_string_equal(json_string_value(json_object_get(doc, "level")), "warn");
	assert_string_equal(json_string_value(json_object_get(doc, "text")),
	    "say \"hi\"\\ \n \xc3\xbf \xc3\xa9 \xc3\xad\xc2\xa0\xc2\x80");
	json_decref(doc);
}

static void
a_broken_invariant_leaves_last_words_and_aborts(void **state)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0, quiet;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		quiet = open("/dev/null", O_WRONLY);
		dup2(quiet, STDERR_FILENO);
		signal(SIGABRT, SIG_DFL);
		check_obituary(page, 256);
		INVARIANT(1 + 1 == 3);
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(page, "1 + 1 == 3"));
	munmap(page, 4096);
}

#ifdef ALM_FAULT_POINTS
static void
a_fault_point_hits_the_passage_asked_for(void **state)
{
	(void)state;
	setenv("ALMADIA_FAULT", "sync:2=eio,append:2+=enospc", 1);
	assert_int_equal(FAULT_POINT("sync"), 0);
	assert_int_equal(FAULT_POINT("sync"), EIO);
	assert_int_equal(FAULT_POINT("sync"), 0);
	assert_int_equal(FAULT_POINT("append"), 0);
	assert_int_equal(FAULT_POINT("append"), ENOSPC);
	assert_int_equal(FAULT_POINT("append"), ENOSPC);
	assert_int_equal(FAULT_POINT("other"), 0);
}
#endif

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crc32c_is_the_iscsi_one_and_chains),
	    cmocka_unit_test(hashes_are_xxh3),
	    cmocka_unit_test(a_good_batch_passes),
	    cmocka_unit_test(every_flipped_bit_of_a_batch_is_found),
	    cmocka_unit_test(a_short_batch_is_refused_without_reading_past_its_end),
	    cmocka_unit_test(wrong_counts_and_places_are_found_behind_good_checksums),
	    cmocka_unit_test(an_error_keeps_its_text_and_may_wrap_the_one_before),
	    cmocka_unit_test(a_buffer_grows_drops_from_the_front_and_formats),
	    cmocka_unit_test(the_map_agrees_with_a_model_over_random_operations),
	    cmocka_unit_test(percentiles_are_within_a_thirty_second),
	    cmocka_unit_test(the_histogram_takes_every_magnitude),
	    cmocka_unit_test(sizes_durations_booleans_and_numbers_parse),
	    cmocka_unit_test(sizes_and_durations_read_well),
	    cmocka_unit_test(names_are_checked),
	    cmocka_unit_test(a_log_line_is_one_line_whatever_it_says),
	    cmocka_unit_test(a_json_log_line_parses_whatever_it_says),
	    cmocka_unit_test(a_broken_invariant_leaves_last_words_and_aborts),
#ifdef ALM_FAULT_POINTS
	    cmocka_unit_test(a_fault_point_hits_the_passage_asked_for),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
