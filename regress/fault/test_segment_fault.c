/* test_segment_fault.c - the segment store with failing calls, short writes, a full disk, bit rot; and
 * the rules that tell damage from an unsynced tail, one test each. */
#include "history.h"

#include <errno.h>
#include <stdatomic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void
must(struct history *h, int ok)
{
	if (!ok) {
		printf("# %s (host: %s)\n", h->why, fh_fail_text(h->fh));
		fail();
	}
}

/* ---- calls that fail ---- */

/* Each call of a history fails once. After a failed write or sync the store refuses everything; a
 * restart (the page cache is still there) brings all of it back. */
static void
one_failed_call_is_final_and_loses_nothing(void **state)
{
	(void)state;
	for (uint64_t call = 1; call < 140; call++) {
		struct history h;
		struct alm_durable d;
		int rc;

		hist_init(&h, 77, 1);
		sim_use(h.disk);
		sim_fail_at(h.disk, call, EIO);
		rc = hist_run(&h, 40);
		if (rc != ALM_OK && h.st != NULL) {
			assert_int_equal(rc, ALM_EIO);
			assert_int_equal(seg_sync(h.st, &d), ALM_EIO);
			assert_int_equal(hist_append(&h), ALM_EIO);
		}
		hist_drop(&h);
		sim_power_loss(h.disk, SIM_KEEP_ALL, 1);
		must(&h, hist_reopen(&h, 0));
		hist_free(&h);
	}
}

static void
short_writes_are_finished(void **state)
{
	struct history h;

	(void)state;
	hist_init(&h, 5, 1);
	sim_use(h.disk);
	sim_short_writes(h.disk, 1);
	assert_int_equal(hist_run(&h, 200), ALM_OK);
	must(&h, hist_reopen(&h, 0));
	must(&h, hist_verify(&h));
	hist_free(&h);
}

/* The disk fills in the middle of work: append says so and changes nothing; with room it goes on. */
static void
a_full_disk_refuses_and_recovers(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 30; seed++) {
		struct history h;
		struct alm_space before, after;
		uint32_t refused = 0;
		int rc;

		hist_init(&h, seed, 1);
		sim_use(h.disk);
		sim_capacity(h.disk, 150000 + seed * 3000);
		assert_int_equal(hist_run(&h, 0), ALM_OK);
		for (int i = 0; i < 400; i++) {
			uint64_t end = h.base + h.log.len;

			assert_int_equal(seg_space(h.st, &before), ALM_OK);
			rc = hist_append(&h);
			if (rc == ALM_EFULL) {
				refused++;
				assert_int_equal(h.base + h.log.len, end);
				assert_int_equal(seg_space(h.st, &after), ALM_OK);
				assert_true(after.available <= before.available);
				assert_non_null(strstr(fh_fail_text(h.fh), "no space"));
				break;
			}
			assert_int_equal(rc, ALM_OK);
			assert_int_equal(seg_sync(h.st, NULL), ALM_OK);
		}
		assert_int_equal(refused, 1);
		/* Meta and sync work on a full disk; more space brings append back. */
		assert_int_equal(seg_sync(h.st, NULL), ALM_OK);
		assert_int_equal(seg_save_meta(h.st, &(struct alm_meta){.seq = 1, .term = 1}), ALM_OK);
		h.meta[0] = h.meta[1] = (struct alm_meta){.seq = 1, .term = 1};
		sim_capacity(h.disk, 0);
		for (int i = 0; i < 30; i++)
			assert_int_equal(hist_append(&h), ALM_OK);
		seg_close(h.st);
		h.st = NULL;
		must(&h, hist_reopen(&h, 0));
		seg_close(h.st);
		h.st = NULL;
		must(&h, hist_verify(&h));
		hist_free(&h);
	}
}

/* ---- bit rot ---- */

/* After a clean stop every flipped bit of the log, its index files and meta is found: opening for
 * writing reports it or refuses, or verify names it. Never a shorter log and silence. */
static void
a_flipped_bit_is_found(void **state)
{
	uint64_t r = 4, found_at_open = 0, found_by_verify = 0, unused = 0;

	(void)state;
	for (int round = 0; round < 1500; round++) {
		static struct history h;
		struct history c;
		struct alm_boot boot = {.size = sizeof boot};
		const char *name;
		uint64_t size = 0, bit;
		uint32_t names = 0;
		uint8_t *bytes;
		int rc, seen;

		if (round % 300 == 0) {
			if (round > 0)
				hist_free(&h);
			hist_init(&h, 1000 + (uint64_t)round, 1);
			assert_int_equal(hist_run(&h, 70), ALM_OK);
			seg_close(h.st);
			h.st = NULL;
			h.synced = h.base + h.log.len;
		}
		hist_copy(&c, &h);
		sim_use(c.disk);
		while (sim_name(c.disk, names) != NULL)
			names++;
		name = sim_name(c.disk, (uint32_t)(hist_rnd(&r) % names));
		bytes = sim_bytes(c.disk, name, &size);
		bit = hist_rnd(&r) % (size * 8);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		sim_settle(c.disk, name);
		seen = !hist_verify(&c);
		found_by_verify += (uint64_t)seen;
		rc = seg_open(fh_host(c.fh), "sim", 0, &boot, &c.st);
		if (rc != ALM_OK || boot.n_damage > 0)
			found_at_open++;
		else {
			hist_drop(&c);
			unused += !seen;
			if (!seen && !hist_reopen(&c, 1)) {
				printf("# %s, bit %llu: %s\n", name, (unsigned long long)bit, c.why);
				fail();
			}
			/* Opening may repair second copies; it never shortens the log. */
			if (boot.next_position != h.synced || boot.cut_bytes != 0) {
				printf("# %s, bit %llu: log cut to %llu of %llu\n", name,
				    (unsigned long long)bit, (unsigned long long)boot.next_position,
				    (unsigned long long)h.synced);
				fail();
			}
		}
		if (boot.n_damage > 0)
			assert_true(seen && boot.damage[0].position < h.synced);
		hist_free(&c);
		if (round == 1499)
			hist_free(&h);
	}
	printf("# 1500 flipped bits: %llu refused or reported at open, %llu found by verify, %llu in "
	       "unused space\n", (unsigned long long)found_at_open,
	    (unsigned long long)found_by_verify, (unsigned long long)unused);
	assert_true(found_at_open > 100);
}

/* ---- damage or tail ---- */

struct scene {
	struct history h;
	uint64_t at[128];   /* positions of the batches */
	uint32_t n;
	struct alm_boot boot;
};

/* n batches of one message with the same commit value; after the first `synced` there is a sync. The
 * clock stands still, so that no index rows are written, and W is 4 KiB. */
static void
scene_build(struct scene *s, uint32_t n, uint32_t synced, uint64_t commit, uint32_t body)
{
	static uint8_t text[4096];

	memset(s, 0, sizeof *s);
	hist_init(&s->h, 9, 1);
	fh_set(s->h.fh, "max_unsynced", "4k");
	atomic_store(&s->h.fh->now, 1);
	s->n = n;
	assert_int_equal(hist_run(&s->h, 0), ALM_OK);
	for (uint32_t i = 0; i < n; i++) {
		const struct alm_batch *b;
		struct alm_slice sl;

		mkb_begin(&s->h.mk);
		mkb_message(&s->h.mk, 1, 0, NULL, NULL, text, body);
		s->h.mk.commit = commit < s->h.mk.index ? commit : 0;
		b = mkb_end(&s->h.mk);
		s->at[i] = b->position;
		sl.data = b;
		sl.len = b->length;
		assert_int_equal(buf_put(&s->h.log, b, b->length), ALM_OK);
		assert_int_equal(seg_append(s->h.st, &sl, 1), ALM_OK);
		if (i + 1 == synced)
			assert_int_equal(seg_sync(s->h.st, NULL), ALM_OK);
	}
	hist_drop(&s->h);
	sim_power_loss(s->h.disk, SIM_KEEP_ALL, 1);
}

static void
scene_spoil(struct scene *s, uint32_t i, uint32_t byte)
{
	uint64_t size;
	uint8_t *bytes = sim_bytes(s->h.disk, "0000000000000000.seg", &size);

	assert_non_null(bytes);
	bytes[SEG_BLOCK + s->at[i] + byte] ^= 0x10;
	sim_settle(s->h.disk, "0000000000000000.seg");
}

static int
scene_open(struct scene *s, uint32_t flags)
{
	sim_use(s->h.disk);
	memset(&s->boot, 0, sizeof s->boot);
	s->boot.size = sizeof s->boot;
	return seg_open(fh_host(s->h.fh), "sim", flags, &s->boot, &s->h.st);
}

static void
a_bad_batch_below_the_frontier_is_damage(void **state)
{
	struct scene s;

	(void)state;
	for (uint32_t byte = 8; byte < 200; byte += 60) { /* in the header and in the body */
		scene_build(&s, 8, 0, 3, 200);
		scene_spoil(&s, 2, byte); /* index 3; batches from index 4 on carry commit 3 */
		assert_int_equal(scene_open(&s, 0), ALM_OK);
		assert_int_equal(s.boot.n_damage, 1);
		assert_int_equal(s.boot.damage[0].position, s.at[2]);
		assert_int_equal(s.boot.damage[0].length, s.at[3] - s.at[2]);
		assert_int_equal(s.boot.damage[0].index, 3);
		assert_int_equal(s.boot.last_index, 8);
		assert_int_equal(s.boot.cut_bytes, 0);
		assert_int_equal(hist_append(&s.h), ALM_ECORRUPT);
		hist_free(&s.h);
	}
}

static void
a_bad_batch_above_everything_known_is_the_tail(void **state)
{
	struct scene s;

	(void)state;
	scene_build(&s, 8, 0, 0, 200);
	scene_spoil(&s, 5, 100);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 0);
	assert_int_equal(s.boot.next_position, s.at[5]);
	assert_int_equal(s.boot.last_index, 5);
	assert_true(s.boot.cut_bytes > s.at[7] - s.at[5]);
	hist_free(&s.h);
}

/* The index row proves that the batch was synced, whatever the commit values say. */
static void
a_bad_batch_with_an_index_row_is_damage(void **state)
{
	struct scene s;

	(void)state;
	scene_build(&s, 8, 0, 0, 200);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	hist_drop(&s.h); /* recovery wrote the rows of all eight */
	scene_spoil(&s, 7, 100);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 1);
	assert_int_equal(s.boot.damage[0].position, s.at[7]);
	assert_int_equal(s.boot.damage[0].index, 8);
	assert_int_equal(s.boot.damage[0].term, 1);
	hist_free(&s.h);
}

static void
a_bad_batch_further_than_w_from_the_end_is_damage(void **state)
{
	struct scene s;

	(void)state;
	/* Batches of about 900 bytes, W 4 KiB: the last one begins 7 batches behind the first. */
	scene_build(&s, 8, 0, 0, 700);
	assert_true(s.at[7] - s.at[2] > 4096 && s.at[7] - s.at[4] < 4096);
	scene_spoil(&s, 4, 100);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 0);
	assert_int_equal(s.boot.next_position, s.at[4]);
	hist_free(&s.h);
	scene_build(&s, 8, 0, 0, 700);
	scene_spoil(&s, 2, 100);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 1);
	assert_int_equal(s.boot.damage[0].position, s.at[2]);
	hist_free(&s.h);
	/* What counts is the W that the log was written with, if that was larger. */
	scene_build(&s, 8, 0, 0, 700);
	scene_spoil(&s, 4, 100);
	fh_set(s.h.fh, "max_unsynced", "1k");
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 0);
	hist_free(&s.h);
}

static void
accepting_the_loss_cuts_there_once(void **state)
{
	struct scene s;

	(void)state;
	scene_build(&s, 8, 8, 5, 200);
	scene_spoil(&s, 3, 100);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 1);
	hist_drop(&s.h);
	assert_int_equal(scene_open(&s, ALM_OPEN_ACCEPT_LOSS), ALM_OK);
	assert_int_equal(s.boot.n_damage, 0);
	assert_int_equal(s.boot.last_index, 3);
	assert_int_equal(s.boot.next_position, s.at[3]);
	assert_true(fh_logged(s.h.fh, "accepting the loss"));
	hist_drop(&s.h);
	assert_int_equal(scene_open(&s, 0), ALM_OK); /* and it is not damage again */
	assert_int_equal(s.boot.n_damage, 0);
	assert_int_equal(s.boot.last_index, 3);
	hist_free(&s.h);
}

/* Behind a cut lie whole old batches. New batches of the same length put a boundary exactly where an
 * old one begins: it must not be taken for the continuation. Here even the zeroing is undone. */
static void
an_old_batch_behind_the_cut_does_not_continue_the_log(void **state)
{
	struct scene s;
	uint64_t size;
	uint8_t *bytes, old[16384];
	struct alm_durable d;
	struct alm_slice sl;
	const struct alm_batch *b;
	static uint8_t text[200];

	(void)state;
	scene_build(&s, 8, 8, 0, 200);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	bytes = sim_bytes(s.h.disk, "0000000000000000.seg", &size);
	memcpy(old, bytes + SEG_BLOCK, sizeof old);
	assert_int_equal(seg_truncate(s.h.st, 4, &d), ALM_OK);
	assert_int_equal(d.position, s.at[3]);
	for (uint64_t i = s.at[3]; i < s.at[7]; i++)
		assert_int_equal(bytes[SEG_BLOCK + i], 0);
	memcpy(bytes + SEG_BLOCK + s.at[3], old + s.at[3], sizeof old - s.at[3]);
	/* The new batch 4: same length, same term, other content. Only the chain tells. */
	text[0] = 'n';
	s.h.mk.position = s.at[3];
	s.h.mk.index = 4;
	s.h.mk.prev_crc = ((const struct alm_batch *)(const void *)(old + s.at[2]))->header_crc;
	mkb_begin(&s.h.mk);
	mkb_message(&s.h.mk, 1, 0, NULL, NULL, text, sizeof text);
	s.h.mk.commit = 0;
	b = mkb_end(&s.h.mk);
	assert_int_equal(b->length, s.at[4] - s.at[3]);
	sl.data = b;
	sl.len = b->length;
	assert_int_equal(seg_append(s.h.st, &sl, 1), ALM_OK);
	assert_int_equal(seg_sync(s.h.st, &d), ALM_OK);
	hist_drop(&s.h);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 0);
	assert_int_equal(s.boot.last_index, 4);
	assert_int_equal(s.boot.next_position, s.at[4]);
	hist_free(&s.h);
}

/* A whole segment is dropped and the log grows again to the very same position: nothing of the
 * dropped one may be in the new file, or it would look like a tail longer than can be. */
static void
a_dropped_segment_is_not_reused_at_its_own_position(void **state)
{
	static uint8_t text[1500];
	struct scene s;
	struct alm_durable d;
	struct alm_slice sl;
	const struct alm_batch *b;
	uint64_t first, from;

	(void)state;
	scene_build(&s, 55, 55, 0, sizeof text);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	first = seg_last(s.h.st)->first;
	assert_true(s.h.st->end.position - first > 12288);
	from = seg_last(s.h.st)->prev.index; /* the last batch of the segment before */
	assert_int_equal(seg_truncate(s.h.st, from, &d), ALM_OK);
	s.h.mk.position = d.position;
	s.h.mk.index = from;
	s.h.mk.term = 2;
	s.h.mk.prev_crc = s.h.st->end.crc;
	for (int i = 0; i < 2; i++) {
		mkb_begin(&s.h.mk);
		mkb_message(&s.h.mk, 1, 0, NULL, NULL, text, sizeof text);
		s.h.mk.commit = 0;
		b = mkb_end(&s.h.mk);
		sl.data = b;
		sl.len = b->length;
		assert_int_equal(seg_append(s.h.st, &sl, 1), ALM_OK);
	}
	assert_int_equal(seg_last(s.h.st)->first, first);
	hist_drop(&s.h);
	sim_power_loss(s.h.disk, SIM_KEEP_NONE, 1);
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	assert_int_equal(s.boot.n_damage, 0);
	assert_int_equal(s.boot.last_index, from);
	assert_int_equal(s.boot.cut_bytes, 0);
	hist_free(&s.h);
}

static void
a_lost_meta_slot_is_refused_until_accepted(void **state)
{
	struct scene s;
	uint64_t size;

	(void)state;
	scene_build(&s, 4, 4, 0, 200);
	for (int copy = 0; copy < 2; copy++) {
		uint8_t *meta = sim_bytes(s.h.disk, "meta", &size);

		meta[40 + copy * 2048] ^= 1; /* slot 0, term */
		sim_settle(s.h.disk, "meta");
		if (copy == 0) {
			assert_int_equal(scene_open(&s, 0), ALM_OK); /* the second copy serves */
			assert_true(fh_logged(s.h.fh, "meta: 1 of 4 copies"));
			hist_drop(&s.h);
		}
	}
	assert_int_equal(scene_open(&s, 0), ALM_ECORRUPT);
	assert_int_equal(scene_open(&s, ALM_OPEN_ACCEPT_LOSS), ALM_OK);
	assert_int_equal(s.boot.last_index, 4);
	hist_free(&s.h);
}

/* A segment file that is gone is damage with its place, never the end of the log. */
static void
a_missing_segment_is_damage(void **state)
{
	struct history h;
	struct alm_boot boot = {.size = sizeof boot};
	struct alm_store *st;
	char name[SEG_NAME_MAX];

	(void)state;
	for (uint32_t which = 0; which < 3; which++) {
		uint64_t first;

		hist_init(&h, 3, 1);
		assert_int_equal(hist_run(&h, 0), ALM_OK);
		while (h.st->n_segs < 4)
			assert_int_equal(hist_append(&h), ALM_OK);
		first = h.st->segs[which == 2 ? 3 : which].first;
		seg_close(h.st);
		h.st = NULL;
		seg_name(name, first, "seg");
		assert_int_equal(sim_ops.unlink(0, name), 0);
		assert_int_equal(seg_open(fh_host(h.fh), "sim", 0, &boot, &st), ALM_OK);
		assert_true(boot.n_damage >= 1);
		assert_int_equal(boot.damage[0].position, first);
		seg_discard(st);
		assert_int_equal(seg_open(fh_host(h.fh), "sim", ALM_OPEN_ACCEPT_LOSS, &boot, &st), ALM_OK);
		assert_int_equal(boot.n_damage, 0);
		assert_int_equal(boot.next_position, first);
		seg_discard(st);
		hist_free(&h);
	}
}

/* A reader tells a damaged batch from a position where none begins. */
static void
a_reader_says_what_is_wrong(void **state)
{
	struct alm_reader *r = NULL;
	struct alm_view v;
	struct scene s;
	uint64_t end;

	(void)state;
	scene_build(&s, 8, 8, 0, 200);
	end = s.h.base + s.h.log.len;
	assert_int_equal(scene_open(&s, 0), ALM_OK);
	hist_drop(&s.h);
	scene_spoil(&s, 4, 40); /* in the header */
	scene_spoil(&s, 0, 0);  /* in the first magic */
	assert_int_equal(segr_open(fh_host(s.h.fh), "sim", &r), ALM_OK);
	assert_int_equal(segr_get(r, s.at[3], end, &v), ALM_OK);
	assert_int_equal(segr_get(r, s.at[4], end, &v), ALM_ECORRUPT);
	assert_int_equal(segr_get(r, 0, end, &v), ALM_ECORRUPT);
	assert_int_equal(segr_get(r, s.at[3] + 8, end, &v), ALM_EINVAL);
	assert_int_equal(segr_get(r, s.at[3] + 1, end, &v), ALM_EINVAL);
	assert_int_equal(segr_get(r, end, end, &v), ALM_EAGAIN);
	assert_int_equal(segr_seek(r, s.at[4] + 8, end, &v), ALM_ECORRUPT);
	assert_int_equal(segr_seek(r, s.at[5] + 8, end, &v), ALM_OK); /* behind it, by the rows */
	segr_close(r);
	hist_free(&s.h);
}

static void
damaged_second_copies_are_made_again(void **state)
{
	struct history h;
	char name[SEG_NAME_MAX];
	uint64_t size;
	uint8_t *bytes;

	(void)state;
	hist_init(&h, 3, 1);
	assert_int_equal(hist_run(&h, 0), ALM_OK);
	while (h.st->n_segs < 3)
		assert_int_equal(hist_append(&h), ALM_OK);
	seg_name(name, h.st->segs[1].first, "idx");
	seg_close(h.st);
	h.st = NULL;
	h.synced = h.base + h.log.len;
	bytes = sim_bytes(h.disk, name, &size);
	bytes[size - 5] ^= 4; /* the last row of a sealed segment */
	bytes = sim_bytes(h.disk, "0000000000000000.seg", &size);
	bytes[50] ^= 1; /* a header block */
	assert_false(hist_verify(&h));
	must(&h, hist_reopen(&h, 1));
	assert_true(fh_logged(h.fh, "header block of 0000000000000000.seg is damaged"));
	assert_true(fh_logged(h.fh, "index file of a finished segment"));
	seg_close(h.st);
	h.st = NULL;
	must(&h, hist_verify(&h));
	hist_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_failed_call_is_final_and_loses_nothing),
	    cmocka_unit_test(short_writes_are_finished),
	    cmocka_unit_test(a_full_disk_refuses_and_recovers),
	    cmocka_unit_test(a_flipped_bit_is_found),
	    cmocka_unit_test(a_bad_batch_below_the_frontier_is_damage),
	    cmocka_unit_test(a_bad_batch_above_everything_known_is_the_tail),
	    cmocka_unit_test(a_bad_batch_with_an_index_row_is_damage),
	    cmocka_unit_test(a_bad_batch_further_than_w_from_the_end_is_damage),
	    cmocka_unit_test(accepting_the_loss_cuts_there_once),
	    cmocka_unit_test(an_old_batch_behind_the_cut_does_not_continue_the_log),
	    cmocka_unit_test(a_dropped_segment_is_not_reused_at_its_own_position),
	    cmocka_unit_test(a_lost_meta_slot_is_refused_until_accepted),
	    cmocka_unit_test(a_missing_segment_is_damage),
	    cmocka_unit_test(a_reader_says_what_is_wrong),
	    cmocka_unit_test(damaged_second_copies_are_made_again),
	};

	seg_io = &sim_ops;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
