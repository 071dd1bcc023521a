/* history.c - see history.h. */
#include "history.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct alm_setting settings[] = {
    {.name = "segment_size", .def = HIST_SEGMENT, .type = ALM_SET_SIZE},
    {.name = "first_segment_size", .def = "16k", .type = ALM_SET_SIZE},
    {.name = "spare_segments", .def = "1", .type = ALM_SET_INT},
    {.name = "recycle_max", .def = "2", .type = ALM_SET_INT},
    {.name = "max_unsynced", .def = HIST_UNSYNCED, .type = ALM_SET_SIZE},
    {.name = "keep_free", .def = "0", .type = ALM_SET_SIZE},
};

uint64_t
hist_rnd(uint64_t *seed)
{
	uint64_t z = *seed += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static int wrong(struct history *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int
wrong(struct history *h, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(h->why, sizeof h->why, fmt, ap);
	va_end(ap);
	return 0;
}

void
hist_init(struct history *h, uint64_t seed, uint32_t honest)
{
	memset(h, 0, sizeof *h);
	h->seed = seed;
	h->honest = honest;
	h->cut = UINT64_MAX;
	h->fh = fh_new(ALM_ROLE_LEDGER);
	fh_settings(h->fh, settings, sizeof settings / sizeof settings[0]);
	h->disk = sim_new(seed);
	mkb_init(&h->mk, 0, 1, 1);
}

void
hist_copy(struct history *to, const struct history *from)
{
	memset(to, 0, sizeof *to);
	to->seed = from->seed;
	to->honest = from->honest;
	to->base = from->base;
	to->synced = from->synced;
	to->synced_index = from->synced_index;
	memcpy(to->start, from->start, sizeof to->start);
	to->cut = from->cut;
	to->epoch = from->epoch;
	memcpy(to->meta, from->meta, sizeof to->meta);
	to->fh = fh_new(ALM_ROLE_LEDGER);
	fh_settings(to->fh, settings, sizeof settings / sizeof settings[0]);
	to->disk = sim_clone(from->disk);
	mkb_init(&to->mk, from->mk.position, from->mk.index, from->mk.term);
	if (buf_put(&to->log, from->log.data, from->log.len) != ALM_OK)
		abort();
}

void
hist_drop(struct history *h)
{
	if (h->st != NULL)
		seg_discard(h->st);
	h->st = NULL;
}

void
hist_free(struct history *h)
{
	sim_use(h->disk);
	hist_drop(h);
	if (fh_free(h->fh) != 0) {
		fprintf(stderr, "# history: the store leaked memory\n");
		abort();
	}
	mkb_free(&h->mk);
	buf_free(&h->log);
	sim_free(h->disk);
}

static const struct alm_batch *
batch(const struct history *h, uint64_t position)
{
	return (const void *)(h->log.data + (position - h->base));
}

static uint64_t
end(const struct history *h)
{
	return h->base + h->log.len;
}

/* Let the builder go on behind the batch that ends at position. */
static void
rewind_to(struct history *h, uint64_t position)
{
	uint64_t at = h->base;

	h->log.len = position - h->base;
	h->mk.prev_crc = 0;
	h->mk.index = 1;
	while (at < position) {
		h->mk.prev_crc = batch(h, at)->header_crc;
		h->mk.index = batch(h, at)->index + 1;
		h->mk.log_time = batch(h, at)->log_time + 1;
		at += batch(h, at)->length;
	}
	h->mk.position = position;
}

/* ---- steps ---- */

int
hist_append(struct history *h)
{
	struct alm_slice s[4];
	uint64_t at = end(h);
	uint32_t n = 1 + (uint32_t)(hist_rnd(&h->seed) % 4);
	int rc;

	for (uint32_t i = 0; i < n; i++) {
		const struct alm_batch *b;

		h->mk.commit = h->honest ? h->synced_index : h->mk.index - 1;
		b = mkb_random(&h->mk, &h->seed, 1 + (uint32_t)(hist_rnd(&h->seed) % 3), 2,
		    hist_rnd(&h->seed) % 5 == 0 ? 2500 : 300);
		if (buf_put(&h->log, b, b->length) != ALM_OK)
			abort();
	}
	for (uint32_t i = 0; i < n; i++) {
		s[i].data = batch(h, at);
		s[i].len = batch(h, at)->length;
		at += s[i].len;
	}
	rc = seg_append(h->st, s, n);
	if (rc == ALM_EFULL)
		rewind_to(h, (uint64_t)((const uint8_t *)s[0].data - h->log.data) + h->base);
	return rc;
}

static int
step_sync(struct history *h)
{
	struct alm_durable d;
	int rc = seg_sync(h->st, &d);

	if (rc == ALM_OK) {
		h->synced = d.position;
		h->synced_index = d.index;
	}
	return rc;
}

static int
step_meta(struct history *h)
{
	struct alm_meta *m = &h->meta[1];
	int rc;

	m->seq = h->meta[0].seq + 1;
	m->term = h->meta[0].term + hist_rnd(&h->seed) % 2;
	m->vote = hist_rnd(&h->seed) % 3;
	m->commit_hint = h->mk.index - 1; /* may be ahead of what is durable here */
	rc = seg_save_meta(h->st, m);
	if (rc == ALM_OK)
		h->meta[0] = *m;
	return rc;
}

static int
step_truncate(struct history *h)
{
	struct alm_durable d;
	uint64_t at = h->start[0], back = hist_rnd(&h->seed) % 20, from;
	int rc;

	from = h->mk.index > back + 1 ? h->mk.index - back : 1;
	while (at < end(h) && batch(h, at)->index < from)
		at += batch(h, at)->length;
	if (at == end(h) || batch(h, at)->index != from)
		return ALM_OK;
	h->cut = at;
	rc = seg_truncate(h->st, from, &d);
	if (rc != ALM_OK)
		return rc;
	rewind_to(h, at);
	h->mk.term++;
	h->cut = UINT64_MAX;
	h->synced = at;
	h->synced_index = from - 1;
	h->epoch = d.epoch;
	return ALM_OK;
}

static int
step_release(struct history *h)
{
	uint64_t to = h->start[0] + (h->synced - h->start[0]) / 2, at = h->start[0];
	int rc;

	while (at < to)
		at += batch(h, at)->length;
	h->start[1] = at;
	rc = seg_release(h->st, at, hist_rnd(&h->seed) % 3 ? at : 0);
	if (rc == ALM_OK)
		h->start[0] = at;
	return rc;
}

static int
step_reopen(struct history *h)
{
	struct alm_boot boot = {.size = sizeof boot};
	int rc;

	seg_close(h->st);
	h->st = NULL;
	if (sim_crashed(h->disk))
		return ALM_EIO;
	h->synced = end(h);
	h->synced_index = h->mk.index - 1;
	rc = seg_open(fh_host(h->fh), "sim", 0, &boot, &h->st);
	if (rc == ALM_OK)
		h->epoch = boot.epoch;
	return rc;
}

static int
step(struct history *h)
{
	uint64_t r = hist_rnd(&h->seed) % 100;

	if (r < 55)
		return hist_append(h);
	if (r < 75)
		return step_sync(h);
	if (r < 82)
		return step_meta(h);
	if (r < 88)
		return step_truncate(h);
	if (r < 93)
		return step_release(h);
	if (r < 97)
		return seg_prepare(h->st) < 0 ? ALM_EIO : ALM_OK;
	return step_reopen(h);
}

int
hist_run(struct history *h, uint32_t n)
{
	struct alm_boot boot = {.size = sizeof boot};
	int rc = ALM_OK;

	sim_use(h->disk);
	if (h->st == NULL)
		rc = seg_open(fh_host(h->fh), "sim", 0, &boot, &h->st);
	while (rc == ALM_OK && n-- > 0)
		rc = step(h);
	return rc;
}

/* ---- the oracle ---- */

static int
content_matches(struct history *h, uint64_t from, uint64_t to)
{
	struct alm_reader *r = NULL;
	struct alm_view v = {0};
	int rc = segr_open(fh_host(h->fh), "sim", &r), ok = 1;

	if (rc != ALM_OK)
		return wrong(h, "reader_open: %s", fh_fail_text(h->fh));
	for (uint64_t at = from; ok && at < to; at = v.next) {
		const struct alm_batch *b = batch(h, at);

		rc = segr_get(r, at, to, &v);
		if (rc != ALM_OK)
			ok = wrong(h, "read at %llu: %s: %s", (unsigned long long)at, status_name(rc),
			    fh_fail_text(h->fh));
		else if (v.batch->length != b->length || memcmp(v.batch, b, b->length) != 0)
			ok = wrong(h, "other bytes at %llu: index %llu term %llu, not %llu %llu",
			    (unsigned long long)at, (unsigned long long)v.batch->index,
			    (unsigned long long)v.batch->term, (unsigned long long)b->index,
			    (unsigned long long)b->term);
	}
	segr_close(r);
	return ok;
}

static int
same_meta(const struct alm_meta *a, const struct alm_meta *b)
{
	return a->seq == b->seq && a->term == b->term && a->vote == b->vote;
}

/* What open may find: nothing confirmed is gone, nothing was invented. */
static int
boot_plausible(struct history *h, const struct alm_boot *b)
{
	uint64_t least = h->cut < h->synced ? h->cut : h->synced, at = h->base;

	if (b->next_position < least)
		return wrong(h, "log ends at %llu, %llu had been confirmed",
		    (unsigned long long)b->next_position, (unsigned long long)least);
	if (b->next_position > end(h))
		return wrong(h, "log ends at %llu, only %llu were ever written",
		    (unsigned long long)b->next_position, (unsigned long long)end(h));
	while (at < b->next_position)
		at += batch(h, at)->length;
	if (at != b->next_position)
		return wrong(h, "log ends at %llu, which is no boundary",
		    (unsigned long long)b->next_position);
	if (b->first_position != h->start[0] && b->first_position != h->start[1])
		return wrong(h, "log begins at %llu, not at %llu or %llu",
		    (unsigned long long)b->first_position, (unsigned long long)h->start[0],
		    (unsigned long long)h->start[1]);
	if (!same_meta(&b->meta, &h->meta[0]) && !same_meta(&b->meta, &h->meta[1]))
		return wrong(h, "meta has seq %llu, saved was %llu", (unsigned long long)b->meta.seq,
		    (unsigned long long)h->meta[0].seq);
	if (b->epoch < h->epoch)
		return wrong(h, "epoch went back");
	return 1;
}

int
hist_reopen(struct history *h, uint32_t may_damage)
{
	struct alm_boot boot = {.size = sizeof boot};
	int rc;

	sim_use(h->disk);
	hist_drop(h);
	rc = seg_open(fh_host(h->fh), "sim", 0, &boot, &h->st);
	if (sim_crashed(h->disk))
		return 1; /* power failed again, inside recovery */
	if (rc != ALM_OK)
		return wrong(h, "open: %s: %s", status_name(rc), fh_fail_text(h->fh));
	if (boot.n_damage > 0)
		return may_damage ? 1
				  : wrong(h, "damage at %llu after a mere crash: %.*s",
					(unsigned long long)boot.damage[0].position,
					(int)(h->fh->log.len < 300 ? h->fh->log.len : 300),
					h->fh->log.data ? (const char *)h->fh->log.data : "");
	if (fh_logged(h->fh, "header block") && !may_damage)
		return wrong(h, "a header block was lost");
	if (!boot_plausible(h, &boot) ||
	    !content_matches(h, boot.first_position, boot.next_position))
		return 0;
	rewind_to(h, boot.next_position);
	h->mk.term += 5;
	h->synced = boot.next_position;
	h->synced_index = boot.last_index;
	h->start[0] = h->start[1] = boot.first_position;
	h->meta[0] = h->meta[1] = boot.meta;
	h->cut = UINT64_MAX;
	h->epoch = boot.epoch;
	if (boot.last_index != h->mk.index - 1 || boot.last_crc != h->mk.prev_crc)
		return wrong(h, "last index %llu, expected %llu", (unsigned long long)boot.last_index,
		    (unsigned long long)(h->mk.index - 1));
	return 1;
}

static void
note_finding(void *arg, uint32_t level, uint64_t position, const char *text)
{
	struct history *h = arg;

	if (level >= ALM_LOG_WARN)
		wrong(h, "verify at %llu: %s", (unsigned long long)position, text);
}

int
hist_verify(struct history *h)
{
	struct alm_verify_stats s;
	int rc;

	sim_use(h->disk);
	h->why[0] = '\0';
	rc = seg_verify(fh_host(h->fh), "sim", note_finding, h, &s);
	if (rc != ALM_OK && h->why[0] == '\0')
		wrong(h, "verify: %s: %s", status_name(rc), fh_fail_text(h->fh));
	return rc == ALM_OK && h->why[0] == '\0';
}
