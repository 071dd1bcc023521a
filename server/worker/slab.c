/* worker/slab.c - objects by number.  Chunks of 64 objects are allocated as the need grows and
 * never given back before slab_end, so a steady state allocates nothing.  A slot's generation
 * rises with each free: a number kept by somebody else (a result in a ring, a pin at a protocol
 * provider) then finds nothing instead of the wrong object. */
#include "worker/worker.h"

#include <stdlib.h>

#define CHUNK 64u

void
slab_init(struct slab *s, uint32_t object)
{
	*s = (struct slab){.object = object};
}

void
slab_end(struct slab *s)
{
	uint32_t i;

	for (i = 0; i < s->n_chunks; i++)
		free(s->chunk[i]);
	free(s->chunk);
	*s = (struct slab){.object = s->object};
}

static struct slab_head *
at(const struct slab *s, uint32_t index)
{
	return (void *)(s->chunk[index / CHUNK] + (uint64_t)(index % CHUNK) * s->object);
}

static int
grow(struct slab *s)
{
	uint8_t **chunk = realloc(s->chunk, (s->n_chunks + 1) * sizeof *chunk);
	struct slab_head *h;
	uint32_t i, base = s->n_chunks * CHUNK;

	if (!chunk)
		return err_set(ALM_ENOMEM, "out of memory for %u more objects of a worker", CHUNK);
	s->chunk = chunk;
	s->chunk[s->n_chunks] = calloc(CHUNK, s->object);
	if (!s->chunk[s->n_chunks])
		return err_set(ALM_ENOMEM, "out of memory for %u more objects of a worker", CHUNK);
	s->n_chunks++;
	for (i = CHUNK; i-- > 0;) {
		h = at(s, base + i);
		h->index = base + i;
		h->generation = 1;
		h->next_free = s->free;
		s->free = base + i + 1;
	}
	return ALM_OK;
}

void *
slab_new(struct slab *s)
{
	struct slab_head *h;

	if (!s->free && grow(s))
		return NULL;
	h = at(s, s->free - 1);
	s->free = h->next_free;
	h->live = 1;
	s->live++;
	memset(h + 1, 0, s->object - sizeof *h);
	return h;
}

void
slab_free(struct slab *s, void *object)
{
	struct slab_head *h = object;

	h->live = 0;
	h->generation = (h->generation + 1) & 0x7fffffffu;
	h->next_free = s->free;
	s->free = h->index + 1;
	s->live--;
}

void *
slab_get(const struct slab *s, uint64_t id)
{
	uint32_t index = (uint32_t)id;
	struct slab_head *h;

	if (!index || index > s->n_chunks * CHUNK)
		return NULL;
	h = at(s, index - 1);
	return h->live && h->generation == id >> 32 ? h : NULL;
}
