/* memory.c - a log in shared memory that the manager keeps: it survives the death of any process
 * of the server but the manager, and no restart of the machine.  For tests, for caches, for nodes
 * without a disk worth the name.
 *
 * Writer half, in the ledger.  Everything appended is "durable" at once.  State changes are written to
 * the older of two copies and count once its checksum is right, so dying at any instruction leaves the
 * state before or after. */
#include "memory.h"

#include <stdatomic.h>

struct alm_store {
	const struct alm_host *host;
	struct mem_map map;
	struct mem_state s;
	uint32_t flags, damaged;
};

static uint32_t
mem_flags(void)
{
	return ALM_STORAGE_ARENA;
}

static void
publish(struct alm_store *st)
{
	st->s.write++;
	st->s.crc = mem_state_crc(st->host, &st->s);
	memcpy(st->map.base + st->s.write % 2 * MEM_PAGE, &st->s, sizeof st->s);
	atomic_thread_fence(memory_order_release);
}

static void
durable(const struct alm_store *st, struct alm_durable *out)
{
	if (out == NULL)
		return;
	out->epoch = st->s.epoch;
	out->index = st->s.last_index;
	out->term = st->s.last_term;
	out->position = st->s.next;
}

static int
writable(struct alm_store *st)
{
	if (st->flags & ALM_OPEN_READONLY)
		return st->host->fail(st->host, ALM_EDENIED, "the store is open read-only");
	if (st->damaged)
		return st->host->fail(st->host, ALM_ECORRUPT,
		    "the log is damaged; repair it, or open it accepting the loss");
	return ALM_OK;
}

static void
end_at(struct mem_state *s, const struct alm_batch *b)
{
	s->next = b->position + b->length;
	s->last_index = b->index;
	s->last_term = b->term;
	s->last_time = b->log_time;
	s->last_crc = b->header_crc;
	if (b->commit < b->index && b->commit > s->frontier)
		s->frontier = b->commit;
}

/* The end of the log becomes its beginning: it holds nothing. */
static void
end_at_base(struct mem_state *s)
{
	s->next = s->first;
	s->last_index = s->base_index;
	s->last_term = s->base_term;
	s->last_crc = s->base_crc;
	s->last_time = 0;
}

static void
marks_clear_from(struct alm_store *st, uint64_t position)
{
	uint64_t n = st->map.ring_bytes / MEM_CHUNK;

	for (uint64_t i = 0; i < n; i++)
		if (atomic_load(&st->map.marks[i]) >= position)
			atomic_store(&st->map.marks[i], MEM_NO_MARK);
}

/* Header walk from the log's beginning; *end becomes the state before the batch with index. */
static void
state_before(struct alm_store *st, uint64_t index, struct mem_state *end)
{
	const struct alm_batch *b;

	*end = st->s;
	end_at_base(end);
	while ((b = mem_batch(st->host, &st->map, end->next, st->s.next)) != NULL &&
	    b->index < index)
		end_at(end, b);
}

/* Check the whole log; what does not pass is damage from there to the end. */
static void
check_all(struct alm_store *st, struct alm_boot *boot)
{
	struct mem_state end = st->s;
	uint64_t bad_at;

	end_at_base(&end);
	while (end.next < st->s.next) {
		const struct alm_batch *b = mem_batch(st->host, &st->map, end.next, st->s.next);

		if (b == NULL || b->prev_crc != end.last_crc || b->index != end.last_index + 1 ||
		    st->host->batch_check(b, b->length, &bad_at) != ALM_OK)
			break;
		end_at(&end, b);
	}
	boot->scanned_bytes = end.next - end.first;
	if (end.next == st->s.next)
		return;
	st->host->log(st->host, ALM_LOG_ERROR, "log position %llu: batch fails its checks%s",
	    (unsigned long long)end.next,
	    st->flags & ALM_OPEN_ACCEPT_LOSS ? "; the log is cut there, as asked" : "");
	if (st->flags & ALM_OPEN_ACCEPT_LOSS) {
		boot->cut_bytes = st->s.next - end.next;
		end.frontier = end.last_index;
		end.epoch++;
		st->s = end;
		marks_clear_from(st, st->s.next);
		publish(st);
		return;
	}
	st->damaged = 1;
	boot->n_damage = 1;
	boot->damage[0].position = end.next;
	boot->damage[0].length = st->s.next - end.next;
	boot->damage[0].index = end.last_index + 1;
}

static int
mem_open(const struct alm_host *host, const char *dir, uint32_t flags, struct alm_boot *boot,
    struct alm_store **out)
{
	struct alm_store *st = host->alloc(host, sizeof *st);
	uint32_t size = boot->size;
	int rc;

	(void)dir;
	if (st == NULL)
		return host->fail(host, ALM_ENOMEM, "no memory for the store");
	st->host = host;
	st->flags = flags;
	memset(boot, 0, sizeof *boot);
	boot->size = size;
	rc = mem_map_open(host, !(flags & ALM_OPEN_READONLY), &st->map);
	if (rc == ALM_OK)
		rc = mem_state_load(host, &st->map, &st->s);
	if (rc == ALM_ENOTFOUND && !(flags & ALM_OPEN_READONLY)) {
		st->s = (struct mem_state){.magic = MEM_MAGIC, .version = MEM_VERSION,
		    .ring = st->map.ring_bytes, .first_index = 1};
		boot->is_new = 1;
		marks_clear_from(st, 0);
		publish(st);
		rc = ALM_OK;
	}
	if (rc != ALM_OK) {
		mem_map_close(&st->map);
		host->free(host, st);
		return rc;
	}
	if (!(flags & ALM_OPEN_READONLY))
		marks_clear_from(st, st->s.next); /* of an append that died half-way */
	check_all(st, boot);
	boot->first_position = st->s.first;
	boot->first_index = st->s.first_index;
	boot->next_position = st->damaged ? boot->damage[0].position : st->s.next;
	boot->last_index = st->damaged ? boot->damage[0].index - 1 : st->s.last_index;
	boot->last_term = st->s.last_term;
	boot->last_crc = st->s.last_crc;
	boot->last_log_time = st->s.last_time;
	boot->epoch = st->s.epoch;
	boot->frontier = st->s.frontier > st->s.meta.commit_hint ? st->s.frontier :
								   st->s.meta.commit_hint;
	boot->meta = st->s.meta;
	*out = st;
	return ALM_OK;
}

static void
mem_close(struct alm_store *st)
{
	const struct alm_host *host = st->host;

	mem_map_close(&st->map);
	host->free(host, st);
}

/* Each batch continues the log, and there is room for all of them. */
static int
append_check(struct alm_store *st, const struct alm_slice *batches, uint32_t n)
{
	const struct alm_host *host = st->host;
	struct mem_state at = st->s;

	for (uint32_t i = 0; i < n; i++) {
		const struct alm_batch *b = batches[i].data;

		if (batches[i].len < sizeof *b || b->length != batches[i].len ||
		    !alm_batch_plausible(b, b->length) || b->position != at.next ||
		    b->index != at.last_index + 1 || b->prev_crc != at.last_crc)
			return host->fail(host, ALM_EINVAL,
			    "batch does not continue the log: position %llu, index %llu is next",
			    (unsigned long long)at.next, (unsigned long long)(at.last_index + 1));
		end_at(&at, b);
	}
	if (at.next - st->s.keep > st->map.ring_bytes)
		return host->fail(host, ALM_EFULL,
		    "the arena of %llu bytes is full; make it larger or lower retention.bytes",
		    (unsigned long long)st->map.ring_bytes);
	return ALM_OK;
}

static int
mem_append(struct alm_store *st, const struct alm_slice *batches, uint32_t n)
{
	int rc = writable(st);

	if (rc == ALM_OK)
		rc = append_check(st, batches, n);
	if (rc != ALM_OK)
		return rc;
	for (uint32_t i = 0; i < n; i++) {
		const struct alm_batch *b = batches[i].data;
		_Atomic uint64_t *mark = mem_mark(&st->map, b->position);

		memcpy(st->map.ring + b->position % st->map.ring_bytes, b, b->length);
		if (atomic_load(mark) / MEM_CHUNK != b->position / MEM_CHUNK)
			atomic_store(mark, b->position);
		end_at(&st->s, b);
	}
	if (n > 0)
		publish(st);
	return ALM_OK;
}

static int
mem_sync(struct alm_store *st, struct alm_durable *out)
{
	int rc = writable(st);

	if (rc == ALM_OK)
		durable(st, out);
	return rc;
}

static int
mem_truncate(struct alm_store *st, uint64_t from, struct alm_durable *out)
{
	struct mem_state end;
	int rc = writable(st);

	if (rc != ALM_OK)
		return rc;
	if (from < st->s.first_index || from > st->s.last_index + 1)
		return st->host->fail(st->host, ALM_EINVAL,
		    "cannot truncate from index %llu: the log holds %llu to %llu",
		    (unsigned long long)from, (unsigned long long)st->s.first_index,
		    (unsigned long long)st->s.last_index);
	state_before(st, from, &end);
	if (end.last_index + 1 != from)
		return st->host->fail(st->host, ALM_ECORRUPT, "no batch with index %llu",
		    (unsigned long long)from);
	st->s = end;
	st->s.epoch++;
	if (st->s.frontier > st->s.last_index)
		st->s.frontier = st->s.last_index;
	marks_clear_from(st, st->s.next); /* first: a mark must never point into a later batch */
	publish(st);
	durable(st, out);
	return ALM_OK;
}

static int
mem_reseed(struct alm_store *st, uint64_t index, uint64_t term, uint64_t position, uint32_t prev_crc,
    struct alm_durable *out)
{
	if (st->flags & ALM_OPEN_READONLY)
		return writable(st);
	st->damaged = 0;
	st->s.epoch++;
	st->s.first = st->s.keep = position;
	st->s.first_index = index + 1;
	st->s.base_index = index;
	st->s.base_term = term;
	st->s.base_crc = prev_crc;
	end_at_base(&st->s);
	marks_clear_from(st, 0);
	publish(st);
	durable(st, out);
	return ALM_OK;
}

static int
mem_release(struct alm_store *st, uint64_t first, uint64_t pin)
{
	const struct alm_batch *b;
	struct mem_state end;
	uint64_t index;
	int rc = writable(st);

	if (rc != ALM_OK)
		return rc;
	b = mem_batch(st->host, &st->map, first, st->s.next);
	if (first < st->s.first || first > st->s.next || (b == NULL && first != st->s.next))
		return st->host->fail(st->host, ALM_EINVAL,
		    "cannot release up to position %llu: no batch of [%llu, %llu) begins there",
		    (unsigned long long)first, (unsigned long long)st->s.first,
		    (unsigned long long)st->s.next);
	index = b != NULL ? b->index : st->s.last_index + 1;
	state_before(st, index, &end);
	st->s.base_index = end.last_index;
	st->s.base_term = end.last_term;
	st->s.base_crc = end.last_crc;
	st->s.first = first;
	st->s.first_index = index;
	if (pin > first)
		pin = first;
	if (pin > st->s.keep)
		st->s.keep = pin;
	publish(st);
	return ALM_OK;
}

static int
mem_save_meta(struct alm_store *st, const struct alm_meta *m)
{
	int rc = writable(st);

	if (rc != ALM_OK)
		return rc;
	st->s.meta = *m;
	if (st->s.meta.commit_hint > st->s.last_index)
		st->s.meta.commit_hint = st->s.last_index;
	publish(st);
	return ALM_OK;
}

static int
mem_space(struct alm_store *st, struct alm_space *out)
{
	memset(out, 0, sizeof *out);
	out->used = st->s.next - st->s.keep;
	out->available = st->map.ring_bytes - out->used;
	out->segment = MEM_PAGE;
	return ALM_OK;
}

static int
mem_prepare(struct alm_store *st)
{
	(void)st;
	return 0;
}

static const struct alm_setting settings[] = {
    {.name = "arena", .def = "256m", .type = ALM_SET_SIZE, .scope = ALM_SCOPE_BOOT,
	.min = 32 << 20, .max = 1ll << 40,
	.doc = "bytes of memory for the whole log"},
};

static const struct alm_storage_ops_v0 ops = {
    .flags = mem_flags,
    .open = mem_open,
    .close = mem_close,
    .append = mem_append,
    .sync = mem_sync,
    .truncate = mem_truncate,
    .reseed = mem_reseed,
    .release = mem_release,
    .save_meta = mem_save_meta,
    .space = mem_space,
    .prepare = mem_prepare,
    .reader_open = memr_open,
    .reader_close = memr_close,
    .reader_get = memr_get,
    .reader_seek = memr_seek,
    .reader_find = memr_find,
    .reader_trim = memr_trim,
    .verify = memr_verify,
};

static const struct alm_provider providers[] = {{
    .size = sizeof(struct alm_provider),
    .kind = ALM_KIND_STORAGE,
    .major = ALM_STORAGE_MAJOR,
    .minor_built = ALM_STORAGE_MINOR,
    .minor_needed = ALM_STORAGE_MINOR,
    .ops_size = sizeof ops,
    .name = "memory",
    .doc = "the log in memory; survives the death of a process but not of the server",
    .ops = &ops,
    .settings = settings,
    .n_settings = sizeof settings / sizeof settings[0],
}};

ALM_MODULE_NOTE(ALM_KIND_STORAGE, ALM_STORAGE_MAJOR, ALM_STORAGE_MINOR, ALM_STORAGE_MINOR);
ALM_MODULE("storage_memory", "0.1.0", providers)
