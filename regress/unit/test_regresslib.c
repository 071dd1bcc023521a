/* Tests of the helpers in regress/lib: what they build is valid, so that a failure elsewhere is
 * not theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "regress/lib/fakehost.h"
#include "regress/lib/mkbatch.h"

static void
built_batches_are_valid_and_chained(void **state)
{
	struct mkbatch m;
	uint64_t seed = 1, position = 0, at;
	uint32_t prev = 0, i;

	(void)state;
	mkb_init(&m, 0, 1, 3);
	for (i = 0; i < 50; i++) {
		const struct alm_batch *b = mkb_random(&m, &seed, 1 + i, 5, 300);

		assert_int_equal(batch_check(b, b->length, &at), ALM_OK);
		assert_int_equal(b->position, position);
		assert_int_equal(b->index, i + 1);
		assert_int_equal(b->prev_crc, prev);
		assert_int_equal(b->commit, i);
		position += b->length;
		prev = b->header_crc;
	}
	mkb_free(&m);
}

static void
the_directory_names_each_queue_once_with_its_range(void **state)
{
	struct mkbatch m;
	const struct alm_batch *b;
	const struct alm_dir *d;
	const struct alm_record *r;
	uint32_t at = sizeof *b;

	(void)state;
	mkb_init(&m, 0, 1, 1);
	mkb_begin(&m);
	mkb_message(&m, 1, 0, "red", NULL, "a", 1);
	mkb_message(&m, 1, 1, NULL, "key", "bb", 2);
	mkb_message(&m, 1, 0, NULL, NULL, "ccc", 3);
	b = mkb_end(&m);
	d = alm_batch_dir(b);
	assert_int_equal(b->dir_count, 2);
	assert_int_equal(d[0].count, 2);
	assert_int_equal(d[0].first_byte, sizeof *b);
	assert_int_equal(d[0].end_byte, b->dir_offset);
	assert_true(d[0].tag_bloom & 1);
	assert_int_equal(d[1].count, 1);
	assert_int_equal(d[1].tag_bloom, 1);
	r = alm_batch_next(b, &at);
	assert_memory_equal(alm_record_find(r, ALM_ATTR_TAG).data, "red", 3);
	assert_int_equal(alm_record_body(r).len, 1);
	r = alm_batch_next(b, &at);
	assert_memory_equal(alm_record_find(r, ALM_ATTR_KEY).data, "key", 3);
	r = alm_batch_next(b, &at);
	assert_int_equal(r->offset, 1);
	assert_memory_equal(alm_record_body(r).data, "ccc", 3);
	mkb_free(&m);
}

static void
state_records_read_back(void **state)
{
	struct mkb_op ops[] = {{"k1", 2, "v", 1}, {"k2", 2, NULL, 0}};
	struct mkbatch m;
	const struct alm_batch *b;
	struct alm_slice ns, key, val;
	struct alm_state_op op = {0};
	uint64_t at = 0;
	uint32_t rec = sizeof *b;

	(void)state;
	mkb_init(&m, 800, 5, 2);
	mkb_begin(&m);
	mkb_state(&m, "test", ops, 2);
	mkb_topic(&m, "orders", 1, 4);
	mkb_control(&m, ALM_REC_NOOP, NULL, 0);
	b = mkb_end(&m);
	assert_int_equal(batch_check(b, b->length, NULL), ALM_OK);
	assert_int_equal(b->flags, ALM_BATCH_STATE | ALM_BATCH_CATALOGUE | ALM_BATCH_CONTROL);
	assert_int_equal(b->dir_count, 0);
	{
		struct alm_slice body = alm_record_body(alm_batch_next(b, &rec));

		assert_int_equal(alm_state_next(body, &at, &ns, &op, &key, &val), 1);
		assert_int_equal(op.op, ALM_STATE_PUT);
		assert_memory_equal(key.data, "k1", 2);
		assert_int_equal(alm_state_next(body, &at, &ns, &op, &key, &val), 1);
		assert_int_equal(op.op, ALM_STATE_DELETE);
		assert_int_equal(alm_state_next(body, &at, &ns, &op, &key, &val), 0);
	}
	mkb_free(&m);
}

static void
the_fake_host_counts_leaks_and_fails_the_allocation_asked_for(void **state)
{
	struct fakehost *fh = fh_new(ALM_ROLE_TOOL);
	const struct alm_host *h = fh_host(fh);
	void *a, *b;

	(void)state;
	fh->fail_alloc_at = 2;
	a = h->alloc(h, 10);
	b = h->alloc(h, 10);
	assert_non_null(a);
	assert_null(b);
	b = h->alloc(h, 10);
	assert_non_null(b);
	h->free(h, a);
	h->free(h, NULL);
	assert_int_equal(fh->live, 1);
	h->free(h, b);
	assert_int_equal(fh_free(fh), 0);
}

static void
the_fake_host_keeps_log_errors_clock_settings_and_arena(void **state)
{
	static const struct alm_setting declared[] = {
	    {.name = "segment", .def = "64k", .type = ALM_SET_SIZE, .min = 4096, .max = 1 << 30},
	    {.name = "mode", .def = "a", .choices = "a|b", .type = ALM_SET_CHOICE},
	};
	struct fakehost *fh = fh_new(ALM_ROLE_LEDGER);
	const struct alm_host *h = fh_host(fh);

	(void)state;
	fh_settings(fh, declared, 2);
	assert_int_equal(h->setting_int(h, "segment"), 65536);
	fh_set(fh, "segment", "1m");
	fh_set(fh, "mode", "b");
	assert_int_equal(h->setting_int(h, "segment"), 1 << 20);
	assert_string_equal(h->setting_str(h, "mode"), "b");
	h->log(h, ALM_LOG_WARN, "torn tail at %d", 96);
	assert_true(fh_logged(fh, "4 torn tail at 96\n"));
	assert_false(fh_logged(fh, "damage"));
	/* In parentheses, since cmocka has a macro fail(). */
	assert_int_equal((h->fail)(h, ALM_EIO, "disk %s", "gone"), ALM_EIO);
	assert_string_equal(fh_fail_text(fh), "disk gone");
	assert_true(h->now(h) > 0);
	fh->now = 5;
	assert_int_equal(h->now(h), 5);
	assert_int_equal(h->arena_fd(h), -1);
	fh_arena(fh, 1 << 20);
	assert_int_equal(lseek(h->arena_fd(h), 0, SEEK_END), 1 << 20);
	assert_int_equal(fh_free(fh), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(built_batches_are_valid_and_chained),
	    cmocka_unit_test(the_directory_names_each_queue_once_with_its_range),
	    cmocka_unit_test(state_records_read_back),
	    cmocka_unit_test(the_fake_host_counts_leaks_and_fails_the_allocation_asked_for),
	    cmocka_unit_test(the_fake_host_keeps_log_errors_clock_settings_and_arena),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
