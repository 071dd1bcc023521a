/* storage_basic.c - append, sync, read, reopen. */
#include "regress/conformance/storage_kit.h"

#include <stdlib.h>
#include <string.h>

static void
an_empty_directory_is_a_new_log(struct skit *k)
{
	struct alm_boot boot;
	struct alm_store *st = skit_open(k, 0, &boot);

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, boot.is_new == 1 && boot.n_damage == 0 && boot.cut_bytes == 0);
	SKIT_OK(k, boot.first_position == 0 && boot.first_index == 1);
	SKIT_OK(k, boot.next_position == 0 && boot.last_index == 0 && boot.last_crc == 0);
	SKIT_OK(k, boot.meta.term == 0 && boot.meta.vote == 0);
	k->ops->close(st);
	st = skit_open(k, 0, &boot);
	SKIT_OK(k, st != NULL);
	SKIT_OK(k, boot.is_new == 0 && boot.next_position == 0 && boot.last_index == 0);
	k->ops->close(st);
}

static void
what_is_appended_is_read_back(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_durable d;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 3 << 20, 3000) == ALM_OK);
	SKIT_OK(k, k->ops->sync(st, &d) == ALM_OK);
	SKIT_OK(k, d.position == skit_end(k) && d.index == k->mk.index - 1 && d.term == 1);
	SKIT_OK(k, skit_reads_back(k, 0));
	k->ops->close(st);
	SKIT_OK(k, skit_reads_back(k, 0));
}

static void
several_batches_go_in_one_append(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_slice s[200];
	uint64_t at = 0;
	uint32_t n = 0;

	SKIT_OK(k, st != NULL);
	while (n < 200) {
		const struct alm_batch *b = mkb_random(&k->mk, &k->seed, 2, 3, 4000);

		if (buf_put(&k->log, b, b->length) != ALM_OK)
			abort();
		n++;
	}
	for (n = 0; n < 200; n++) {
		s[n].data = skit_batch(k, at);
		s[n].len = skit_batch(k, at)->length;
		at += s[n].len;
	}
	SKIT_OK(k, k->ops->append(st, s, 200) == ALM_OK);
	SKIT_OK(k, k->ops->sync(st, NULL) == ALM_OK);
	SKIT_OK(k, skit_reads_back(k, 0));
	k->ops->close(st);
}

static void
the_largest_batch_fits(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	char *body = calloc(1, 4 << 20);
	const struct alm_batch *b;
	struct alm_slice s;

	SKIT_OK(k, st != NULL && body != NULL);
	SKIT_OK(k, skit_append(k, st, 3, 100) == ALM_OK);
	mkb_begin(&k->mk);
	for (int i = 0; i < 3; i++)
		mkb_message(&k->mk, 1, 0, NULL, NULL, body, 4 << 20);
	mkb_message(&k->mk, 1, 0, NULL, NULL, body, (4 << 20) - 4096);
	b = mkb_end(&k->mk);
	free(body);
	s.data = b;
	s.len = b->length;
	if (buf_put(&k->log, b, b->length) != ALM_OK)
		abort();
	SKIT_OK(k, k->ops->append(st, &s, 1) == ALM_OK);
	SKIT_OK(k, skit_append(k, st, 3, 100) == ALM_OK);
	SKIT_OK(k, k->ops->sync(st, NULL) == ALM_OK);
	SKIT_OK(k, skit_reads_back(k, 0));
	k->ops->close(st);
	SKIT_OK(k, (st = skit_open(k, 0, NULL)) != NULL);
	SKIT_OK(k, skit_reads_back(k, 0));
	k->ops->close(st);
}

static void
a_batch_that_does_not_continue_the_log_is_refused(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_slice s;
	struct mkbatch other;
	const struct alm_batch *b;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_append(k, st, 2, 100) == ALM_OK);
	for (int how = 0; how < 4; how++) {
		mkb_init(&other, k->mk.position, k->mk.index, 1);
		other.prev_crc = k->mk.prev_crc;
		if (how == 0)
			other.position += 8;
		else if (how == 1)
			other.index++;
		else if (how == 2)
			other.prev_crc ^= 1;
		b = mkb_random(&other, &k->seed, 2, 1, 100);
		s.data = b;
		s.len = how == 3 ? b->length - 8 : b->length;
		SKIT_OK(k, k->ops->append(st, &s, 1) == ALM_EINVAL);
		mkb_free(&other);
	}
	SKIT_OK(k, skit_append(k, st, 2, 100) == ALM_OK);
	SKIT_OK(k, k->ops->sync(st, NULL) == ALM_OK);
	SKIT_OK(k, skit_reads_back(k, 0));
	k->ops->close(st);
}

static void
reopening_gives_the_same_log(struct skit *k)
{
	struct alm_boot boot;
	struct alm_store *st = skit_open(k, 0, NULL);
	uint64_t last;

	SKIT_OK(k, st != NULL);
	for (int round = 0; round < 4; round++) {
		SKIT_OK(k, skit_fill(k, st, 700000, 2000) == ALM_OK);
		k->ops->close(st);
		SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
		last = k->mk.index - 1;
		SKIT_OK(k, boot.n_damage == 0 && boot.cut_bytes == 0);
		SKIT_OK(k, boot.next_position == skit_end(k) && boot.last_index == last);
		SKIT_OK(k, boot.last_term == 1 && boot.last_crc == k->mk.prev_crc);
		SKIT_OK(k, boot.last_log_time > 0 && boot.frontier >= last - 1);
		SKIT_OK(k, skit_reads_back(k, 0));
	}
	k->ops->close(st);
}

static int
append_and_die(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);

	return st != NULL && skit_fill(k, st, 900000, 2000) == ALM_OK;
}

static void
what_was_synced_survives_the_death_of_the_process(struct skit *k)
{
	struct alm_boot boot;
	struct alm_store *st;

	for (uint64_t round = 0; round < 3; round++) {
		/* The child writes what the parent then builds again from the same seed. */
		uint64_t seed = k->seed, end = skit_end(k) + 900000;

		SKIT_OK(k, skit_in_dying_child(k, append_and_die));
		k->seed = seed;
		while (skit_end(k) < end) {
			const struct alm_batch *b =
			    mkb_random(&k->mk, &k->seed, 1 + (uint32_t)(k->seed % 5), 3, 2000);

			if (buf_put(&k->log, b, b->length) != ALM_OK)
				abort();
		}
		SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
		SKIT_OK(k, boot.n_damage == 0 && boot.next_position == skit_end(k));
		SKIT_OK(k, skit_reads_back(k, 0));
		k->ops->close(st);
	}
}

static void
any_byte_and_any_index_lead_to_their_batch(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_reader *r = NULL;
	struct alm_view v;
	uint64_t end;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 3 << 20, 4000) == ALM_OK);
	end = skit_end(k);
	SKIT_OK(k, k->ops->reader_open(fh_host(k->fh), k->path, &r) == ALM_OK);
	for (uint64_t at = 0; at < end; at += skit_batch(k, at)->length) {
		const struct alm_batch *b = skit_batch(k, at);
		uint64_t inside = at + k->seed % b->length;

		k->seed = k->seed * 6364136223846793005u + 1442695040888963407u;
		SKIT_OK(k, k->ops->reader_seek(r, inside, end, &v) == ALM_OK);
		SKIT_OK(k, v.batch->position == at && v.next == at + b->length);
		SKIT_OK(k, k->ops->reader_find(r, b->index, end, &v) == ALM_OK);
		SKIT_OK(k, v.batch->index == b->index && v.batch->position == at);
		SKIT_OK(k, k->ops->reader_get(r, at + 8, end, &v) != ALM_OK || b->length == 8);
	}
	SKIT_OK(k, k->ops->reader_seek(r, end, end, &v) == ALM_EAGAIN);
	SKIT_OK(k, k->ops->reader_find(r, k->mk.index, end, &v) == ALM_EAGAIN);
	SKIT_OK(k, k->ops->reader_find(r, 0, end, &v) == ALM_EOFFSET);
	k->ops->reader_close(r);
	k->ops->close(st);
}

static void
nothing_past_the_limit_is_given(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_reader *r = NULL;
	struct alm_view v;
	uint64_t limit;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, k->ops->reader_open(fh_host(k->fh), k->path, &r) == ALM_OK);
	SKIT_OK(k, k->ops->reader_get(r, 0, 0, &v) == ALM_EAGAIN);
	SKIT_OK(k, k->ops->reader_seek(r, 0, 0, &v) == ALM_EAGAIN);
	for (int i = 0; i < 50; i++) {
		limit = skit_end(k);
		SKIT_OK(k, skit_append(k, st, 3, 500) == ALM_OK);
		SKIT_OK(k, k->ops->reader_get(r, limit, limit, &v) == ALM_EAGAIN);
		SKIT_OK(k, k->ops->reader_find(r, k->mk.index - 1, limit, &v) == ALM_EAGAIN);
		SKIT_OK(k, k->ops->reader_get(r, limit, skit_end(k), &v) == ALM_OK);
		SKIT_OK(k, v.next == skit_end(k));
	}
	k->ops->reader_close(r);
	k->ops->close(st);
}

static void
meta_survives_and_the_newest_wins(struct skit *k)
{
	struct alm_boot boot;
	struct alm_store *st = skit_open(k, 0, NULL);

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 20000, 300) == ALM_OK);
	for (uint64_t i = 1; i <= 5; i++) {
		struct alm_meta m = {.seq = i, .term = 10 + i, .vote = i % 3, .commit_hint = i};

		SKIT_OK(k, k->ops->save_meta(st, &m) == ALM_OK);
		k->ops->close(st);
		SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
		SKIT_OK(k, boot.meta.seq == i && boot.meta.term == 10 + i);
		SKIT_OK(k, boot.meta.vote == i % 3 && boot.frontier >= i);
	}
	k->ops->close(st);
}

static void
append_and_sync_allocate_nothing(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_durable d;
	int64_t before;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_append(k, st, 3, 500) == ALM_OK);
	before = atomic_load(&k->fh->allocs);
	for (int i = 0; i < 500; i++) {
		SKIT_OK(k, skit_append(k, st, 3, 500) == ALM_OK);
		SKIT_OK(k, k->ops->sync(st, &d) == ALM_OK);
	}
	SKIT_OK(k, atomic_load(&k->fh->allocs) == before);
	k->ops->close(st);
}

static void
no_memory_is_an_error_and_no_leak(struct skit *k)
{
	for (int64_t n = 1; n < 40; n++) {
		struct alm_boot boot = {.size = sizeof boot};
		struct alm_store *st = NULL;
		struct alm_reader *r = NULL;
		int rc;

		atomic_store(&k->fh->fail_alloc_at, atomic_load(&k->fh->allocs) + n);
		rc = k->ops->open(fh_host(k->fh), k->path, 0, &boot, &st);
		if (rc == ALM_OK) {
			rc = k->ops->reader_open(fh_host(k->fh), k->path, &r);
			if (rc == ALM_OK)
				k->ops->reader_close(r);
			k->ops->close(st);
		}
		SKIT_OK(k, rc == ALM_OK || rc == ALM_ENOMEM);
		if (atomic_load(&k->fh->allocs) < atomic_load(&k->fh->fail_alloc_at))
			break; /* all of them have failed once */
		SKIT_OK(k, atomic_load(&k->fh->live) == 0);
	}
	atomic_store(&k->fh->fail_alloc_at, 0);
	SKIT_OK(k, atomic_load(&k->fh->live) == 0);
}

const struct skit_test skit_basic[] = {
    {"an empty directory is a new log", an_empty_directory_is_a_new_log, 0},
    {"what is appended is read back", what_is_appended_is_read_back, 0},
    {"several batches go in one append", several_batches_go_in_one_append, 0},
    {"the largest batch fits", the_largest_batch_fits, 0},
    {"a batch that does not continue the log is refused",
	a_batch_that_does_not_continue_the_log_is_refused, 0},
    {"reopening gives the same log", reopening_gives_the_same_log, 0},
    {"what was synced survives the death of the process",
	what_was_synced_survives_the_death_of_the_process, 0},
    {"any byte and any index lead to their batch", any_byte_and_any_index_lead_to_their_batch, SKIT_FIND},
    {"nothing past the limit is given", nothing_past_the_limit_is_given, SKIT_FIND},
    {"meta survives and the newest wins", meta_survives_and_the_newest_wins, 0},
    {"append and sync allocate nothing", append_and_sync_allocate_nothing, 0},
    {"no memory is an error and no leak", no_memory_is_an_error_and_no_leak, 0},
    {NULL, NULL, 0},
};
