/* regress/unit/test_store.c - the state store folds the log: rows, long keys, scans, deletions that
 * carry offsets along, crashes and damage. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "regress/lib/mkbatch.h"
#include "state/store.h"

struct fixture {
	char dir[64], path[128];
	struct store *s;
	struct mkbatch m;
	uint32_t dropped[8], n_dropped;
};

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	strcpy(f->dir, "/tmp/almadia-store-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof f->path, "%s/state.1", f->dir);
	assert_int_equal(store_open(f->path, 0, &f->s), ALM_OK);
	mkb_init(&f->m, 0, 1, 1);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	store_close(f->s);
	assert_int_equal(store_remove(f->path), ALM_OK);
	assert_int_equal(rmdir(f->dir), 0);
	mkb_free(&f->m);
	free(f);
	return 0;
}

static void
on_drop(void *arg, uint32_t topic)
{
	struct fixture *f = arg;

	assert_true(f->n_dropped < 8);
	f->dropped[f->n_dropped++] = topic;
}

static uint64_t
end(struct fixture *f)
{
	const struct alm_batch *b = mkb_end(&f->m);

	assert_int_equal(store_apply(f->s, b, on_drop, f), ALM_OK);
	return b->position + sizeof *b; /* of the first record */
}

/* One batch with one change; returns its version. */
static uint64_t
change(struct fixture *f, const char *ns, const void *key, uint64_t key_len, const char *value)
{
	struct mkb_op op = {key, key_len, value, value ? strlen(value) : 0};

	mkb_begin(&f->m);
	mkb_state(&f->m, ns, &op, 1);
	return end(f);
}

static struct alm_slice
str(const char *s)
{
	return (struct alm_slice){s, strlen(s)};
}

static void
expect(struct fixture *f, const char *ns, struct alm_slice key, const char *want, uint64_t version)
{
	struct alm_slice v;
	uint64_t got;
	int status = store_get(f->s, str(ns), key, &got, &v);

	if (!want) {
		assert_int_equal(status, ALM_ENOTFOUND);
		assert_int_equal(got, 0);
		return;
	}
	assert_int_equal(status, ALM_OK);
	assert_int_equal(v.len, strlen(want));
	assert_memory_equal(v.data, want, v.len);
	if (version != UINT64_MAX)
		assert_int_equal(got, version);
}

static void
put_get_delete(void **state)
{
	struct fixture *f = *state;
	uint64_t v1 = change(f, "app", "a", 1, "one"), v2;

	expect(f, "app", str("a"), "one", v1);
	expect(f, "other", str("a"), NULL, 0);
	v2 = change(f, "app", "a", 1, "two");
	assert_true(v2 > v1);
	expect(f, "app", str("a"), "two", v2);
	change(f, "app", "a", 1, NULL);
	expect(f, "app", str("a"), NULL, 0);
	assert_int_equal(store_applied(f->s), f->m.position);
}

static void
the_next_batch_only(void **state)
{
	struct fixture *f = *state;
	const struct alm_batch *b;

	mkb_begin(&f->m);
	mkb_message(&f->m, 1, 0, NULL, NULL, "x", 1);
	b = mkb_end(&f->m);
	assert_int_equal(store_apply(f->s, b, NULL, NULL), ALM_OK);
	assert_int_equal(store_apply(f->s, b, NULL, NULL), ALM_EINVAL);
	assert_int_equal(store_last_crc(f->s), b->header_crc);
}

static void
long_keys_keep_all_their_bytes(void **state)
{
	struct fixture *f = *state;
	char key[2000];
	const uint64_t lens[] = {505, 506, 507, 508, 509, 510, 511, 512, 600, 1999};

	/* "s" "app" 0 key: the border lies at 511 bytes in all. */
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		memset(key, 'k', sizeof key);
		for (char last = 'a'; last < 'd'; last++) {
			char value[32];
			snprintf(value, sizeof value, "%zu%c", i, last);
			key[lens[i] - 1] = last;
			change(f, "app", key, lens[i], value);
		}
	}
	for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
		memset(key, 'k', sizeof key);
		for (char last = 'a'; last < 'd'; last++) {
			char value[32];
			snprintf(value, sizeof value, "%zu%c", i, last);
			key[lens[i] - 1] = last;
			expect(f, "app", (struct alm_slice){key, lens[i]}, value, UINT64_MAX);
		}
	}
	key[598] = 'z';
	key[599] = 'a';
	expect(f, "app", (struct alm_slice){key, 600}, NULL, 0);
}

/* Page through a scan; returns rows, checks that keys are as expected if sorted. */
static uint32_t
page(struct fixture *f, const char *ns, struct alm_slice prefix, uint32_t limit, uint32_t cap)
{
	struct { uint16_t key_len, zero; uint32_t val_len; uint64_t version; } h;
	char after[2048], *out = malloc(cap);
	uint64_t after_len = 0;
	uint32_t rows = 0;

	for (;;) {
		int64_t n = store_scan(f->s, str(ns), prefix, (struct alm_slice){after, after_len}, limit,
		    out, cap), at = 0;
		assert_true(n >= 0);
		if (n == 0)
			break;
		while (at < n) {
			memcpy(&h, out + at, sizeof h);
			at += (int64_t)sizeof h;
			assert_true(h.key_len >= prefix.len);
			assert_memory_equal(out + at, prefix.data, prefix.len);
			assert_true(h.key_len <= sizeof after);
			memcpy(after, out + at, h.key_len);
			after_len = h.key_len;
			at += h.key_len + h.val_len;
			rows++;
		}
		assert_int_equal(at, n);
	}
	free(out);
	return rows;
}

static void
scans_page_without_gap_or_repeat(void **state)
{
	struct fixture *f = *state;
	char key[700];

	for (int i = 0; i < 300; i++) {
		int n = snprintf(key, sizeof key, "%s/%03d", i % 3 ? "left" : "right", i);
		change(f, "app", key, (uint64_t)n, "v");
	}
	memset(key, 'q', sizeof key);
	for (int i = 0; i < 50; i++) { /* long ones share their head */
		snprintf(key + 600, 20, "%03d", i);
		change(f, "app", key, 603, "long");
	}
	change(f, "apq", "left/000", 8, "not mine");
	assert_int_equal(page(f, "app", str(""), 7, 4096), 350);
	assert_int_equal(page(f, "app", str("left/"), 0, 100), 200);
	assert_int_equal(page(f, "app", str("right/"), 1, 4096), 100);
	assert_int_equal(page(f, "app", str("qqq"), 3, 65536), 50);
	snprintf(key + 600, 20, "01");
	assert_int_equal(page(f, "app", (struct alm_slice){key, 602}, 3, 65536), 10);
	assert_int_equal(page(f, "app", str("none"), 0, 4096), 0);
	assert_int_equal(page(f, "apq", str(""), 0, 4096), 1);
}

static void
a_row_that_does_not_fit_is_said(void **state)
{
	struct fixture *f = *state;
	char out[20];

	change(f, "app", "a", 1, "a value of some size");
	assert_int_equal(store_scan(f->s, str("app"), str(""), str(""), 0, out, sizeof out),
	    ALM_ETOOBIG);
}

static uint64_t
offset_key(char *out, const char *group, const char *topic, uint32_t queue)
{
	uint64_t n = strlen(group) + 1;
	uint32_t be = __builtin_bswap32(queue);

	memcpy(out, group, n);
	memcpy(out + n, topic, strlen(topic) + 1);
	n += strlen(topic) + 1;
	memcpy(out + n, &be, 4);
	return n + 4;
}

static void
commit_offset(struct fixture *f, const char *group, const char *topic, uint32_t queue)
{
	char key[600];
	uint64_t n = offset_key(key, group, topic, queue);

	change(f, ALM_NS_OFFSET, key, n, "an offset");
}

static int
has_offset(struct fixture *f, const char *group, const char *topic, uint32_t queue)
{
	char key[600];
	uint64_t n = offset_key(key, group, topic, queue), version;
	struct alm_slice v;

	return store_get(f->s, str(ALM_NS_OFFSET), (struct alm_slice){key, n}, &version, &v) == ALM_OK;
}

static void
deletion_takes_offsets_along(void **state)
{
	struct fixture *f = *state;
	char longest[256];
	uint64_t rows;

	memset(longest, 'n', 255);
	longest[255] = 0;
	mkb_begin(&f->m);
	mkb_topic(&f->m, "t", 7, 4);
	mkb_topic(&f->m, "t2", 8, 4);
	mkb_topic(&f->m, longest, 9, 4);
	end(f);
	rows = store_rows(f->s);
	for (uint32_t q = 0; q < 3; q++) {
		commit_offset(f, "g", "t", q);
		commit_offset(f, "g", "t2", q);
		commit_offset(f, "g2", "t", q);
		commit_offset(f, longest, longest, q); /* too long for LMDB */
		commit_offset(f, longest, "t2", q);
		commit_offset(f, "g2", longest, q);
	}
	change(f, ALM_NS_TOPIC, "t", 1, NULL);
	assert_int_equal(f->n_dropped, 1);
	assert_int_equal(f->dropped[0], 7);
	change(f, ALM_NS_TOPIC, longest, 255, NULL);
	for (uint32_t q = 0; q < 3; q++) {
		assert_false(has_offset(f, "g", "t", q));
		assert_false(has_offset(f, "g2", "t", q));
		assert_true(has_offset(f, "g", "t2", q));
		assert_false(has_offset(f, longest, longest, q));
		assert_false(has_offset(f, "g2", longest, q));
		assert_true(has_offset(f, longest, "t2", q));
	}
	change(f, ALM_NS_GROUP, longest, 255, NULL);
	change(f, ALM_NS_GROUP, "g", 1, NULL);
	for (uint32_t q = 0; q < 3; q++) {
		assert_false(has_offset(f, "g", "t2", q));
		assert_false(has_offset(f, longest, "t2", q));
	}
	/* No row is left behind: two topics fewer, and the offsets of both kinds are gone. */
	assert_int_equal(store_rows(f->s), rows - 2);
	assert_int_equal(f->n_dropped, 2);
}

static void
bad_operations_are_skipped(void **state)
{
	struct fixture *f = *state;

	change(f, "", "a", 1, "v");
	assert_int_equal(store_skipped(f->s), 1);
	expect(f, "", str("a"), NULL, 0);
}

static void
rot_in_the_log_is_refused(void **state)
{
	struct fixture *f = *state;
	struct mkb_op op = {"a", 1, "value", 5};
	struct alm_batch *b;

	mkb_begin(&f->m);
	mkb_state(&f->m, "app", &op, 1);
	b = (struct alm_batch *)(uintptr_t)mkb_end(&f->m);
	((char *)b)[b->dir_offset - 4] ^= 1;
	assert_int_equal(store_apply(f->s, b, NULL, NULL), ALM_EIO);
	assert_int_equal(store_applied(f->s), 0);
	((char *)b)[b->dir_offset - 4] ^= 1;
	assert_int_equal(store_apply(f->s, b, NULL, NULL), ALM_OK);
}

/* A child applies and dies; what was synced is there, the rest is applied again. */
static void
a_crash_loses_only_what_was_not_synced(void **state)
{
	struct fixture *f = *state;
	uint64_t synced_to;
	int status;
	pid_t pid;

	store_close(f->s);
	f->s = NULL;
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (store_open(f->path, 0, &f->s))
			_exit(1);
		change(f, "app", "a", 1, "one");
		if (store_sync(f->s))
			_exit(2);
		change(f, "app", "a", 1, "two");
		change(f, "app", "b", 1, "three");
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(store_open(f->path, 0, &f->s), ALM_OK);
	synced_to = store_applied(f->s);
	assert_true(synced_to > 0);
	expect(f, "app", str("a"), "one", UINT64_MAX);
	expect(f, "app", str("b"), NULL, 0);
	/* The same log again, from where it stands. */
	mkb_begin(&f->m);
	mkb_state(&f->m, "app", &(struct mkb_op){"a", 1, "one", 3}, 1);
	assert_int_equal(mkb_end(&f->m)->length, synced_to);
	change(f, "app", "a", 1, "two");
	expect(f, "app", str("a"), "two", UINT64_MAX);
}

static void
damage_is_found(void **state)
{
	struct fixture *f = *state;
	char file[160], *bytes, *at = NULL;
	struct alm_slice v;
	uint64_t version;
	long size;
	FILE *fp;

	change(f, "app", "key", 3, "a value that is easy to find");
	assert_int_equal(store_sync(f->s), ALM_OK);
	store_close(f->s);
	snprintf(file, sizeof file, "%s/data.mdb", f->path);
	fp = fopen(file, "r+");
	assert_non_null(fp);
	fseek(fp, 0, SEEK_END);
	size = ftell(fp);
	bytes = malloc((size_t)size);
	rewind(fp);
	assert_int_equal(fread(bytes, 1, (size_t)size, fp), size);
	while ((at = memmem(at ? at + 1 : bytes, (size_t)(size - (at ? at + 1 - bytes : 0)), "easy", 4))) {
		fseek(fp, at - bytes, SEEK_SET);
		fputc('E', fp);
	}
	free(bytes);
	fclose(fp);
	assert_int_equal(store_open(f->path, 0, &f->s), ALM_OK);
	assert_int_equal(store_get(f->s, str("app"), str("key"), &version, &v), ALM_ECORRUPT);
	store_close(f->s);
	assert_int_equal(truncate(file, 4096 * 2), 0); /* nothing but the meta pages */
	if (store_open(f->path, 0, &f->s) == ALM_OK) {
		assert_int_equal(store_get(f->s, str("app"), str("key"), &version, &v), ALM_ECORRUPT);
		store_close(f->s);
	}
	assert_int_equal(truncate(file, 100), 0); /* no meta page */
	assert_true(store_open(f->path, 0, &f->s) < 0);
	assert_int_equal(store_remove(f->path), ALM_OK);
	assert_int_equal(store_open(f->path, 0, &f->s), ALM_OK);
	assert_int_equal(store_applied(f->s), 0);
}

static void
a_full_map_grows(void **state)
{
	struct fixture *f = *state;
	char value[1000], key[16];
	uint32_t again = 0;

	store_close(f->s);
	assert_int_equal(store_open(f->path, 256 << 10, &f->s), ALM_OK);
	memset(value, 'v', sizeof value - 1);
	value[sizeof value - 1] = 0;
	for (int i = 0; i < 1000; i++) {
		struct mkb_op op = {key, 0, value, sizeof value - 1};
		const struct alm_batch *b;
		int status;

		op.key_len = (uint64_t)snprintf(key, sizeof key, "%d", i);
		mkb_begin(&f->m);
		mkb_state(&f->m, "app", &op, 1);
		b = mkb_end(&f->m);
		while ((status = store_apply(f->s, b, NULL, NULL)) == ALM_EAGAIN ||
		    (status = store_sync(f->s)) == ALM_EAGAIN) {
			assert_int_equal(store_applied(f->s), store_synced(f->s));
			again++;
		}
		assert_int_equal(status, ALM_OK);
	}
	assert_true(again > 0);
	for (int i = 0; i < 1000; i++) {
		snprintf(key, sizeof key, "%d", i);
		expect(f, "app", str(key), value, UINT64_MAX);
	}
}

static void
verify_compares_with_a_refold(void **state)
{
	struct fixture *f = *state;
	struct store *other;
	char path[160];
	struct mkbatch again;

	snprintf(path, sizeof path, "%s/state.2", f->dir);
	assert_int_equal(store_open(path, 0, &other), ALM_OK);
	change(f, "app", "a", 1, "one");
	mkb_init(&again, 0, 1, 1);
	mkb_begin(&again);
	mkb_state(&again, "app", &(struct mkb_op){"a", 1, "one", 3}, 1);
	assert_int_equal(store_apply(other, mkb_end(&again), NULL, NULL), ALM_OK);
	assert_int_equal(store_verify(f->s, other), ALM_OK);
	change(f, "app", "b", 1, "one");
	mkb_begin(&again);
	mkb_state(&again, "app", &(struct mkb_op){"b", 1, "two", 3}, 1);
	assert_int_equal(store_apply(other, mkb_end(&again), NULL, NULL), ALM_OK);
	assert_int_equal(store_verify(f->s, other), ALM_ECORRUPT);
	mkb_free(&again);
	store_close(other);
	assert_int_equal(store_remove(path), ALM_OK);
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(put_get_delete),
	    T(the_next_batch_only),
	    T(long_keys_keep_all_their_bytes),
	    T(scans_page_without_gap_or_repeat),
	    T(a_row_that_does_not_fit_is_said),
	    T(deletion_takes_offsets_along),
	    T(bad_operations_are_skipped),
	    T(rot_in_the_log_is_refused),
	    T(a_crash_loses_only_what_was_not_synced),
	    T(damage_is_found),
	    T(a_full_map_grows),
	    T(verify_compares_with_a_refold),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
