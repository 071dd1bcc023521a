/* ledger/results.c - answers to workers.  Ledger's loop thread.
 *
 * Pools are mapped once and touched only as far as they were ever used: a free list of returned
 * entries, and a mark up to which entries were handed out at all.  Invariant: an entry is in
 * exactly one place: free, in a batch's list, in a ready list, or just allocated. */
#include "ledger/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct chunk {
	uint32_t next, reserved;
	union {
		uint64_t offset[CHUNK_OFFSETS];
		char text[CHUNK_OFFSETS * 8];
	} u;
};

struct share { /* one worker's */
	struct result_list ready;
	uint32_t used, chunks_used;
	uint16_t incarnation;
};

struct results {
	struct result *pool;
	struct chunk *chunk;
	uint32_t pool_size, pool_mark, pool_free;
	uint32_t chunk_size, chunk_mark, chunk_free;
	struct share share[WORKERS_MAX + 1]; /* by slot */
};

static const struct result_list empty = {RESULT_NONE, RESULT_NONE, 0};

struct results *
results_new(uint32_t workers)
{
	struct results *rs = calloc(1, sizeof *rs);

	if (rs == NULL)
		return NULL;
	rs->pool_size = workers * RESULTS_PER_WORKER;
	rs->chunk_size = workers * CHUNKS_PER_WORKER;
	rs->pool_free = rs->chunk_free = RESULT_NONE;
	rs->pool = calloc(rs->pool_size, sizeof *rs->pool);
	rs->chunk = calloc(rs->chunk_size, sizeof *rs->chunk);
	for (uint32_t i = 0; i <= WORKERS_MAX; i++)
		rs->share[i].ready = empty;
	if (rs->pool == NULL || rs->chunk == NULL) {
		results_free(rs);
		return NULL;
	}
	return rs;
}

void
results_free(struct results *rs)
{
	if (rs == NULL)
		return;
	free(rs->pool);
	free(rs->chunk);
	free(rs);
}

uint32_t
results_left(const struct results *rs, uint32_t worker)
{
	return RESULTS_PER_WORKER - rs->share[worker].used;
}

uint32_t
results_room(const struct results *rs, uint32_t worker)
{
	return (CHUNKS_PER_WORKER - rs->share[worker].chunks_used) * CHUNK_OFFSETS;
}

struct result *
results_alloc(struct results *rs, uint32_t worker)
{
	struct share *sh = &rs->share[worker];
	uint32_t at = rs->pool_free;
	struct result *r;

	if (sh->used == RESULTS_PER_WORKER)
		return NULL;
	if (at != RESULT_NONE) {
		rs->pool_free = rs->pool[at].next;
	} else {
		INVARIANT(rs->pool_mark < rs->pool_size);
		at = rs->pool_mark++;
	}
	sh->used++;
	r = &rs->pool[at];
	*r = (struct result){.next = RESULT_NONE, .chunk = RESULT_NONE, .worker = (uint16_t)worker,
	    .incarnation = sh->incarnation};
	return r;
}

static uint32_t
chunk_alloc(struct results *rs, uint32_t worker)
{
	uint32_t at = rs->chunk_free;

	if (rs->share[worker].chunks_used == CHUNKS_PER_WORKER)
		return RESULT_NONE;
	if (at != RESULT_NONE) {
		rs->chunk_free = rs->chunk[at].next;
	} else {
		INVARIANT(rs->chunk_mark < rs->chunk_size);
		at = rs->chunk_mark++;
	}
	rs->share[worker].chunks_used++;
	rs->chunk[at].next = RESULT_NONE;
	return at;
}

static void
drop_chunks(struct results *rs, struct result *r)
{
	while (r->chunk != RESULT_NONE) {
		uint32_t at = r->chunk;

		r->chunk = rs->chunk[at].next;
		rs->chunk[at].next = rs->chunk_free;
		rs->chunk_free = at;
		rs->share[r->worker].chunks_used--;
	}
	r->n_offsets = 0;
}

static void
release(struct results *rs, struct result *r)
{
	drop_chunks(rs, r);
	rs->share[r->worker].used--;
	r->next = rs->pool_free;
	rs->pool_free = (uint32_t)(r - rs->pool);
}

void
results_offsets(struct results *rs, struct result *r, const uint64_t *offsets, uint32_t n)
{
	uint32_t *link = &r->chunk;

	r->n_offsets = n;
	for (uint32_t i = 0; i < n; i += CHUNK_OFFSETS) {
		uint32_t at = chunk_alloc(rs, r->worker);

		INVARIANT(at != RESULT_NONE);
		memcpy(rs->chunk[at].u.offset, offsets + i,
		    (n - i < CHUNK_OFFSETS ? n - i : CHUNK_OFFSETS) * sizeof *offsets);
		*link = at;
		link = &rs->chunk[at].next;
	}
}

void
results_detail(struct results *rs, struct result *r, const char *text)
{
	if (r->n_offsets > 0 || text[0] == '\0')
		return;
	if (r->chunk == RESULT_NONE)
		r->chunk = chunk_alloc(rs, r->worker);
	if (r->chunk != RESULT_NONE)
		snprintf(rs->chunk[r->chunk].u.text, sizeof rs->chunk[0].u.text, "%s", text);
}

void
results_append(struct results *rs, struct result_list *l, struct result *r)
{
	uint32_t at = (uint32_t)(r - rs->pool);

	r->next = RESULT_NONE;
	if (l->first == RESULT_NONE)
		l->first = at;
	else
		rs->pool[l->last].next = at;
	l->last = at;
	l->n++;
}

static struct result *
take(struct results *rs, struct result_list *l)
{
	struct result *r;

	if (l->first == RESULT_NONE)
		return NULL;
	r = &rs->pool[l->first];
	l->first = r->next;
	l->n--;
	return r;
}

/* To its worker's ready list, unless that incarnation is gone. */
static void
make_ready(struct results *rs, struct result *r)
{
	struct share *sh = &rs->share[r->worker];

	if (r->incarnation != sh->incarnation)
		release(rs, r);
	else
		results_append(rs, &sh->ready, r);
}

void
results_ready(struct results *rs, struct result_list *l, uint64_t index, uint64_t end)
{
	struct result *r;

	while ((r = take(rs, l)) != NULL) {
		r->index = index;
		r->end = end;
		make_ready(rs, r);
	}
	*l = empty;
}

/* Offsets that were attached go back; the text takes their place. */
void
results_fail(struct results *rs, struct result_list *l, int status, const char *text)
{
	struct result *r;

	while ((r = take(rs, l)) != NULL) {
		drop_chunks(rs, r);
		r->status = status;
		r->position = r->first_offset = 0;
		results_detail(rs, r, text);
		make_ready(rs, r);
	}
	*l = empty;
}

static void
fill(const struct results *rs, const struct result *r, struct msg_result *m)
{
	uint64_t *offsets = (uint64_t *)(void *)(m + 1);
	uint32_t chunk = r->chunk;

	m->tag = r->tag;
	m->status = r->status;
	m->flags = r->flags;
	m->index = r->index;
	m->position = r->position;
	m->end = r->end;
	m->first_offset = r->first_offset;
	m->n_offsets = r->n_offsets;
	m->reserved = 0;
	m->detail[0] = '\0';
	if (r->n_offsets == 0 && chunk != RESULT_NONE)
		snprintf(m->detail, sizeof m->detail, "%.*s", (int)sizeof m->detail - 1,
		    rs->chunk[chunk].u.text);
	for (uint32_t i = 0; i < r->n_offsets; i += CHUNK_OFFSETS) {
		uint32_t n = r->n_offsets - i < CHUNK_OFFSETS ? r->n_offsets - i : CHUNK_OFFSETS;

		memcpy(offsets + i, rs->chunk[chunk].u.offset, n * sizeof *offsets);
		chunk = rs->chunk[chunk].next;
	}
}

uint32_t
results_send(struct results *rs, uint32_t worker, struct link *link)
{
	struct result_list *l = &rs->share[worker].ready;
	uint32_t n = 0;

	while (l->first != RESULT_NONE) {
		struct result *r = &rs->pool[l->first];
		uint32_t len = (uint32_t)(sizeof(struct msg_result) + r->n_offsets * sizeof(uint64_t));
		struct msg_result *m = link_reserve(link, MSG_RESULT, len);

		if (m == NULL)
			break;
		fill(rs, r, m);
		link_commit(link, len);
		release(rs, take(rs, l));
		n++;
	}
	return n;
}

uint32_t
results_waiting(const struct results *rs, uint32_t worker)
{
	return rs->share[worker].ready.n;
}

void
results_forget(struct results *rs, uint32_t worker)
{
	struct share *sh = &rs->share[worker];
	struct result *r;

	while ((r = take(rs, &sh->ready)) != NULL)
		release(rs, r);
	sh->ready = empty;
	sh->incarnation++;
}
