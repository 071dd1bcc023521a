/* storage_change.c - truncate, reseed, release, space, and readers meanwhile. */
#include "regress/conformance/storage_kit.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void
truncate_drops_a_suffix_for_good(struct skit *k)
{
	struct alm_boot boot;
	struct alm_durable d;
	struct alm_store *st = skit_open(k, 0, &boot);
	uint64_t epoch, from;

	SKIT_OK(k, st != NULL);
	epoch = boot.epoch;
	for (int round = 0; round < 12; round++) {
		SKIT_OK(k, skit_fill(k, st, 400000, 3000) == ALM_OK);
		from = k->mk.index - k->seed % 60;
		if (round == 5)
			from = k->mk.index - 1; /* the last batch only */
		SKIT_OK(k, k->ops->truncate(st, from, &d) == ALM_OK);
		skit_cut(k, from);
		k->mk.term++;
		SKIT_OK(k, d.epoch > epoch && d.index == from - 1 && d.position == skit_end(k));
		epoch = d.epoch;
		SKIT_OK(k, skit_reads_back(k, 0));
		if (round % 3 == 2) {
			k->ops->close(st);
			SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
			SKIT_OK(k, boot.next_position == skit_end(k) && boot.epoch >= epoch);
			SKIT_OK(k, boot.last_index == from - 1 && boot.n_damage == 0);
		}
	}
	k->ops->close(st);
	SKIT_OK(k, skit_reads_back(k, 0));
}

static void
truncate_may_empty_the_log(struct skit *k)
{
	struct alm_boot boot;
	struct alm_durable d;
	struct alm_store *st = skit_open(k, 0, NULL);

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 3 << 20, 3000) == ALM_OK);
	SKIT_OK(k, k->ops->truncate(st, 1, &d) == ALM_OK);
	SKIT_OK(k, d.index == 0 && d.position == 0);
	skit_cut(k, 1);
	SKIT_OK(k, skit_fill(k, st, 100000, 3000) == ALM_OK);
	k->ops->close(st);
	SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
	SKIT_OK(k, boot.next_position == skit_end(k) && boot.first_index == 1);
	SKIT_OK(k, skit_reads_back(k, 0));
	SKIT_OK(k, k->ops->truncate(st, k->mk.index + 1, &d) == ALM_EINVAL);
	k->ops->close(st);
}

static void
release_moves_the_beginning(struct skit *k)
{
	struct alm_boot boot;
	struct alm_reader *r = NULL;
	struct alm_view v;
	struct alm_store *st = skit_open(k, 0, NULL);
	uint64_t first = 0;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 5 << 20, 3000) == ALM_OK);
	while (first < skit_end(k) / 2)
		first += skit_batch(k, first)->length;
	SKIT_OK(k, k->ops->release(st, first + 8, first) == ALM_EINVAL);
	SKIT_OK(k, k->ops->release(st, first, first) == ALM_OK);
	SKIT_OK(k, skit_reads_back(k, first));
	SKIT_OK(k, k->ops->reader_open(fh_host(k->fh), k->path, &r) == ALM_OK);
	SKIT_OK(k, k->ops->reader_get(r, 0, skit_end(k), &v) == ALM_EOFFSET);
	SKIT_OK(k, k->ops->reader_seek(r, 0, skit_end(k), &v) == ALM_OK);
	SKIT_OK(k, v.batch->position == first);
	SKIT_OK(k, k->ops->reader_find(r, 1, skit_end(k), &v) == ALM_EOFFSET);
	k->ops->reader_trim(r, first);
	SKIT_OK(k, k->ops->reader_get(r, first, skit_end(k), &v) == ALM_OK);
	k->ops->reader_close(r);
	k->ops->close(st);
	SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
	SKIT_OK(k, boot.first_position == first);
	SKIT_OK(k, boot.first_index == skit_batch(k, first)->index);
	SKIT_OK(k, boot.next_position == skit_end(k));
	k->ops->close(st);
}

static void
everything_may_be_released(struct skit *k)
{
	struct alm_boot boot;
	struct alm_store *st = skit_open(k, 0, NULL);
	uint64_t first;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 3 << 20, 3000) == ALM_OK);
	first = skit_end(k);
	SKIT_OK(k, k->ops->release(st, first, first) == ALM_OK);
	k->ops->close(st);
	SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
	SKIT_OK(k, boot.first_position == first && boot.next_position == first);
	SKIT_OK(k, boot.last_index == k->mk.index - 1 && boot.last_crc == k->mk.prev_crc);
	SKIT_OK(k, boot.first_index == k->mk.index && boot.last_term == 1);
	SKIT_OK(k, skit_fill(k, st, 100000, 3000) == ALM_OK);
	SKIT_OK(k, skit_reads_back(k, first));
	k->ops->close(st);
}

/* Many times the store's reserve goes through it; the space used stays bounded. */
static void
released_space_comes_back(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_reader *r = NULL;
	struct alm_view v;
	struct alm_space sp;
	uint64_t first = 0, most = 0;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, k->ops->reader_open(fh_host(k->fh), k->path, &r) == ALM_OK);
	for (int round = 0; round < 40; round++) {
		SKIT_OK(k, skit_fill(k, st, 1 << 20, 8000) == ALM_OK);
		while (k->ops->prepare(st) == 1)
			;
		while (first + (2 << 20) < skit_end(k)) {
			SKIT_OK(k, k->ops->reader_get(r, first, skit_end(k), &v) == ALM_OK);
			SKIT_OK(k, v.batch->header_crc == skit_batch(k, first)->header_crc);
			first = v.next;
		}
		SKIT_OK(k, k->ops->release(st, first, first) == ALM_OK);
		k->ops->reader_trim(r, first);
		SKIT_OK(k, k->ops->space(st, &sp) == ALM_OK);
		SKIT_OK(k, sp.segment > 0 && sp.recycled <= sp.used);
		if (round == 15)
			most = sp.used;
		SKIT_OK(k, round < 15 || sp.used <= most + 2 * sp.segment);
	}
	k->ops->reader_close(r);
	SKIT_OK(k, skit_reads_back(k, first));
	k->ops->close(st);
	SKIT_OK(k, (st = skit_open(k, 0, NULL)) != NULL);
	SKIT_OK(k, skit_reads_back(k, first));
	k->ops->close(st);
}

/* What a reader has pinned stays as it is while the log moves on far beyond it. */
static void
a_pinned_view_stays_valid(struct skit *k)
{
	struct alm_store *st = skit_open(k, 0, NULL);
	struct alm_reader *r = NULL;
	struct alm_view v;
	uint64_t first = 0;

	SKIT_OK(k, st != NULL);
	SKIT_OK(k, skit_fill(k, st, 2 << 20, 3000) == ALM_OK);
	SKIT_OK(k, k->ops->reader_open(fh_host(k->fh), k->path, &r) == ALM_OK);
	SKIT_OK(k, k->ops->reader_get(r, 0, skit_end(k), &v) == ALM_OK);
	for (int round = 0; round < 8; round++) {
		if (k->ops->flags() & ALM_STORAGE_ARENA && round > 2)
			break; /* space that is pinned cannot be used */
		SKIT_OK(k, skit_fill(k, st, 1 << 20, 8000) == ALM_OK);
		while (first + (1 << 20) < skit_end(k))
			first += skit_batch(k, first)->length;
		SKIT_OK(k, k->ops->release(st, first, 0) == ALM_OK);
		SKIT_OK(k, memcmp(v.batch, skit_batch(k, 0), skit_batch(k, 0)->length) == 0);
	}
	k->ops->reader_close(r);
	k->ops->close(st);
}

static void
reseed_begins_anew_at_a_position(struct skit *k)
{
	struct alm_boot boot;
	struct alm_durable d;
	struct alm_store *st = skit_open(k, 0, &boot);
	uint64_t epoch = boot.epoch;

	SKIT_OK(k, st != NULL);
	for (uint64_t round = 1; round < 5; round++) {
		uint64_t position = round % 2 ? 100 * 8 * round : 1ull << 40, index = 1000 * round;

		SKIT_OK(k, skit_fill(k, st, 3 << 20, 3000) == ALM_OK);
		SKIT_OK(k, k->ops->reseed(st, index, 7, position, 0x1234, &d) == ALM_OK);
		SKIT_OK(k, d.index == index && d.term == 7 && d.position == position);
		SKIT_OK(k, d.epoch > epoch);
		epoch = d.epoch;
		k->log.len = 0;
		k->base = k->mk.position = position;
		k->mk.index = index + 1;
		k->mk.commit = index;
		k->mk.term = 8;
		k->mk.prev_crc = 0x1234;
		if (round == 3) {
			k->ops->close(st);
			SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
			SKIT_OK(k, boot.first_position == position && boot.last_index == index);
			SKIT_OK(k, boot.last_term == 7 && boot.last_crc == 0x1234);
			SKIT_OK(k, boot.first_index == index + 1 && boot.epoch >= epoch);
		}
		SKIT_OK(k, skit_fill(k, st, 100000, 3000) == ALM_OK);
		SKIT_OK(k, skit_reads_back(k, position));
	}
	k->ops->close(st);
	SKIT_OK(k, (st = skit_open(k, 0, &boot)) != NULL);
	SKIT_OK(k, boot.next_position == skit_end(k) && boot.n_damage == 0);
	SKIT_OK(k, skit_reads_back(k, k->base));
	k->ops->close(st);
}

/* A full store refuses without harm and goes on once space is released. */
static void
a_full_store_refuses_and_recovers(struct skit *k)
{
	struct alm_store *st;
	struct alm_space sp;
	uint64_t first = 0, end;
	int rc;

	if (!(k->ops->flags() & ALM_STORAGE_ARENA))
		return; /* a disk is filled by the fault tests */
	SKIT_OK(k, (st = skit_open(k, 0, NULL)) != NULL);
	for (int round = 0; round < 3; round++) {
		uint64_t index = k->mk.index;
		uint32_t crc = k->mk.prev_crc;

		do {
			index = k->mk.index;
			crc = k->mk.prev_crc;
			rc = skit_append(k, st, 4, 20000);
		} while (rc == ALM_OK);
		SKIT_OK(k, rc == ALM_EFULL);
		skit_cut(k, index);
		SKIT_OK(k, k->mk.prev_crc == crc);
		end = skit_end(k);
		SKIT_OK(k, k->ops->sync(st, NULL) == ALM_OK);
		SKIT_OK(k, skit_reads_back(k, first));
		SKIT_OK(k, k->ops->space(st, &sp) == ALM_OK);
		while (first < end - sp.used / 2)
			first += skit_batch(k, first)->length;
		SKIT_OK(k, k->ops->release(st, first, first) == ALM_OK);
		SKIT_OK(k, skit_append(k, st, 4, 20000) == ALM_OK);
		SKIT_OK(k, skit_reads_back(k, first));
	}
	k->ops->close(st);
}

/* What the ledger and a reader share: how far may be read, from where, and what the reader holds. */
struct race {
	struct skit *k;
	struct alm_store *ready;
	_Atomic uint64_t visible, first, pin, done, read;
	_Atomic uint32_t bad;
};

static int
sound(const struct race *c, const struct alm_view *v, uint64_t at)
{
	uint64_t bad_at;

	return v->batch->position == at && v->next == at + v->batch->length &&
	    fh_host(c->k->fh)->batch_check(v->batch, v->batch->length, &bad_at) == ALM_OK;
}

/* Follows the log, now and then from a random place, as the core's readers do: pin, then look. */
static void *
follow(void *arg)
{
	struct race *c = arg;
	const struct alm_storage_ops_v0 *o = c->k->ops;
	struct alm_reader *r = NULL;
	struct alm_view v;
	uint64_t at = 0, seed = 99;

	if (o->reader_open(fh_host(c->k->fh), c->k->path, &r) != ALM_OK) {
		atomic_store(&c->bad, 1);
		return NULL;
	}
	while (!atomic_load(&c->bad)) {
		uint64_t limit = atomic_load(&c->visible), first;
		int rc;

		atomic_store(&c->pin, at);
		first = atomic_load(&c->first);
		if (at < first) { /* too late: what lies there may go */
			at = first;
			o->reader_trim(r, first);
			continue;
		}
		if (at == limit) {
			if (atomic_load(&c->done))
				break;
			continue;
		}
		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (seed >> 60 == 0) {
			rc = o->reader_seek(r, at + (seed >> 8) % (limit - at), limit, &v);
			at = rc == ALM_OK ? v.batch->position : at;
		} else {
			rc = o->reader_get(r, at, limit, &v);
		}
		if (rc != ALM_OK || !sound(c, &v, at)) {
			printf("# reader at %llu of %llu: %s\n", (unsigned long long)at,
			    (unsigned long long)limit, status_name(rc));
			atomic_store(&c->bad, 1);
		}
		at = v.next;
		atomic_fetch_add(&c->read, 1);
	}
	atomic_store(&c->pin, UINT64_MAX);
	o->reader_close(r);
	return NULL;
}

/* The helper thread of the ledger. */
static void *
prepare_all_the_time(void *arg)
{
	struct race *c = arg;

	while (!atomic_load(&c->done))
		if (c->k->ops->prepare(c->ready) != 1)
			nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
	return NULL;
}

static int
write_and_release(struct race *c, struct alm_store *st)
{
	struct skit *k = c->k;
	uint64_t first = 0;
	int rc = ALM_OK;

	for (int round = 0; round < 60 && rc == ALM_OK && !atomic_load(&c->bad); round++) {
		uint64_t pin;

		rc = skit_fill(k, st, 300000, 4000);
		if (rc != ALM_OK)
			break;
		atomic_store(&c->visible, skit_end(k));
		while (first + (2 << 20) < skit_end(k))
			first += skit_batch(k, first)->length;
		atomic_store(&c->first, first);
		pin = atomic_load(&c->pin);
		rc = k->ops->release(st, first, pin);
		/* A store in memory cannot go beyond what a reader holds. */
		while (pin + (8 << 20) < skit_end(k) && !atomic_load(&c->bad))
			pin = atomic_load(&c->pin);
	}
	return rc;
}

static void
a_reader_follows_a_writer_that_recycles(struct skit *k)
{
	struct race c = {.k = k};
	pthread_t reader, helper;
	int rc;

	SKIT_OK(k, (c.ready = skit_open(k, 0, NULL)) != NULL);
	SKIT_OK(k, pthread_create(&reader, NULL, follow, &c) == 0);
	SKIT_OK(k, pthread_create(&helper, NULL, prepare_all_the_time, &c) == 0);
	rc = write_and_release(&c, c.ready);
	atomic_store(&c.done, 1);
	pthread_join(reader, NULL);
	pthread_join(helper, NULL);
	SKIT_OK(k, rc == ALM_OK);
	SKIT_OK(k, atomic_load(&c.bad) == 0 && atomic_load(&c.read) > 100);
	k->ops->close(c.ready);
}

const struct skit_test skit_change[] = {
    {"truncate drops a suffix for good", truncate_drops_a_suffix_for_good, SKIT_TRUNCATE},
    {"truncate may empty the log", truncate_may_empty_the_log, SKIT_TRUNCATE},
    {"release moves the beginning", release_moves_the_beginning, SKIT_FIND},
    {"everything may be released", everything_may_be_released, 0},
    {"released space comes back", released_space_comes_back, 0},
    {"a pinned view stays valid", a_pinned_view_stays_valid, 0},
    {"a reader follows a writer that recycles", a_reader_follows_a_writer_that_recycles, 0},
    {"reseed begins anew at a position", reseed_begins_anew_at_a_position, SKIT_RESEED},
    {"a full store refuses and recovers", a_full_store_refuses_and_recovers, 0},
    {NULL, NULL, 0},
};
