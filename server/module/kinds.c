/* module/kinds.c - the five kinds and their operations.
 *
 * A plugin built against an older minor has a shorter table.  The core always works on a table of
 * its own full size without NULLs, so that no call needs a check.  Each stub has the type of the
 * operation it stands for.  Most answer ALM_ENOTSUP; where an operation has no status, the stub
 * gives the value that means "nothing special".
 */
#include <config.h>

#include "module/kinds.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "module/module.h"

#define REQUIRED(table, op_) {#op_, offsetof(struct table, op_), NULL}
#define OPTIONAL(table, op_, stub_) {#op_, offsetof(struct table, op_), (any_op)(stub_)}

/* ---- consensus ---- */

static int
consensus_check_stub(const void *state, const char **why)
{
	(void)state;
	*why = "";
	return ALM_OK;
}

static const struct op consensus_ops[] = {
	REQUIRED(alm_consensus_ops_v0, state_size),
	REQUIRED(alm_consensus_ops_v0, init),
	REQUIRED(alm_consensus_ops_v0, boot),
	REQUIRED(alm_consensus_ops_v0, step),
	OPTIONAL(alm_consensus_ops_v0, check, consensus_check_stub),
	REQUIRED(alm_consensus_ops_v0, status),
};

/* ---- storage ---- */

static uint32_t
storage_flags_stub(void)
{
	return 0;
}

static int
storage_truncate_stub(struct alm_store *s, uint64_t from, struct alm_durable *out)
{
	(void)s, (void)from, (void)out;
	return ALM_ENOTSUP;
}

static int
storage_reseed_stub(struct alm_store *s, uint64_t index, uint64_t term, uint64_t position,
    uint32_t prev_crc, struct alm_durable *out)
{
	(void)s, (void)index, (void)term, (void)position, (void)prev_crc, (void)out;
	return ALM_ENOTSUP;
}

static int
storage_prepare_stub(struct alm_store *s)
{
	(void)s;
	return 0;
}

static int
storage_reader_find_stub(struct alm_reader *r, uint64_t index, uint64_t limit, struct alm_view *out)
{
	(void)r, (void)index, (void)limit, (void)out;
	return ALM_ENOTSUP;
}

static void
storage_reader_trim_stub(struct alm_reader *r, uint64_t first_position)
{
	(void)r, (void)first_position;
}

static int
storage_verify_stub(const struct alm_host *h, const char *dir, alm_verify_fn fn, void *arg,
    struct alm_verify_stats *out)
{
	(void)h, (void)dir, (void)fn, (void)arg, (void)out;
	return ALM_ENOTSUP;
}

static const struct op storage_ops[] = {
	OPTIONAL(alm_storage_ops_v0, flags, storage_flags_stub),
	REQUIRED(alm_storage_ops_v0, open),
	REQUIRED(alm_storage_ops_v0, close),
	REQUIRED(alm_storage_ops_v0, append),
	REQUIRED(alm_storage_ops_v0, sync),
	OPTIONAL(alm_storage_ops_v0, truncate, storage_truncate_stub),
	OPTIONAL(alm_storage_ops_v0, reseed, storage_reseed_stub),
	REQUIRED(alm_storage_ops_v0, release),
	REQUIRED(alm_storage_ops_v0, save_meta),
	REQUIRED(alm_storage_ops_v0, space),
	OPTIONAL(alm_storage_ops_v0, prepare, storage_prepare_stub),
	REQUIRED(alm_storage_ops_v0, reader_open),
	REQUIRED(alm_storage_ops_v0, reader_close),
	REQUIRED(alm_storage_ops_v0, reader_get),
	REQUIRED(alm_storage_ops_v0, reader_seek),
	OPTIONAL(alm_storage_ops_v0, reader_find, storage_reader_find_stub),
	OPTIONAL(alm_storage_ops_v0, reader_trim, storage_reader_trim_stub),
	OPTIONAL(alm_storage_ops_v0, verify, storage_verify_stub),
};

/* ---- protocol ---- */

static void
protocol_fini_stub(struct alm_proto *p)
{
	(void)p;
}

static void
protocol_session_stub(struct alm_session *s)
{
	(void)s;
}

static void
protocol_notified_stub(struct alm_session *s, const void *data, uint32_t len)
{
	(void)s, (void)data, (void)len;
}

static uint64_t
protocol_frame_limit_stub(struct alm_session *s)
{
	(void)s;
	return UINT64_C(1) << 20;
}

static const struct op protocol_ops[] = {
	REQUIRED(alm_protocol_ops_v0, init),
	OPTIONAL(alm_protocol_ops_v0, fini, protocol_fini_stub),
	REQUIRED(alm_protocol_ops_v0, open),
	REQUIRED(alm_protocol_ops_v0, input),
	REQUIRED(alm_protocol_ops_v0, done),
	OPTIONAL(alm_protocol_ops_v0, writable, protocol_session_stub),
	OPTIONAL(alm_protocol_ops_v0, timer, protocol_session_stub),
	OPTIONAL(alm_protocol_ops_v0, notified, protocol_notified_stub),
	OPTIONAL(alm_protocol_ops_v0, shutdown, protocol_session_stub),
	REQUIRED(alm_protocol_ops_v0, closed),
	OPTIONAL(alm_protocol_ops_v0, frame_limit, protocol_frame_limit_stub),
};

/* ---- indexer ---- */

static int
indexer_release_stub(struct alm_index *x, uint64_t position)
{
	(void)x, (void)position;
	return ALM_ENOTSUP;
}

static int
indexer_drop_topic_stub(struct alm_index *x, uint32_t topic)
{
	(void)x, (void)topic;
	return ALM_ENOTSUP;
}

static int
indexer_verify_stub(struct alm_index *x, const struct alm_batch *b)
{
	(void)x, (void)b;
	return ALM_ENOTSUP;
}

static const struct op indexer_ops[] = {
	REQUIRED(alm_indexer_ops_v0, open),
	REQUIRED(alm_indexer_ops_v0, close),
	REQUIRED(alm_indexer_ops_v0, applied),
	REQUIRED(alm_indexer_ops_v0, synced),
	REQUIRED(alm_indexer_ops_v0, apply),
	REQUIRED(alm_indexer_ops_v0, sync),
	REQUIRED(alm_indexer_ops_v0, revert),
	OPTIONAL(alm_indexer_ops_v0, release, indexer_release_stub),
	OPTIONAL(alm_indexer_ops_v0, drop_topic, indexer_drop_topic_stub),
	REQUIRED(alm_indexer_ops_v0, query),
	OPTIONAL(alm_indexer_ops_v0, verify, indexer_verify_stub),
};

/* ---- extension ---- */

static void
extension_unload_stub(struct alm_ext *e)
{
	(void)e;
}

static const struct op extension_ops[] = {
	REQUIRED(alm_extension_ops_v0, load),
	OPTIONAL(alm_extension_ops_v0, unload, extension_unload_stub),
	REQUIRED(alm_extension_ops_v0, hook),
};

#define KIND(name_, NAME, table, ops_)                                                             \
	{name_, ALM_KIND_##NAME, ALM_##NAME##_MAJOR, ALM_##NAME##_MINOR, sizeof(struct table),         \
	    sizeof(ops_) / sizeof((ops_)[0]), ops_}

static const struct kind kinds[] = {
	KIND("consensus", CONSENSUS, alm_consensus_ops_v0, consensus_ops),
	KIND("storage", STORAGE, alm_storage_ops_v0, storage_ops),
	KIND("protocol", PROTOCOL, alm_protocol_ops_v0, protocol_ops),
	KIND("indexer", INDEXER, alm_indexer_ops_v0, indexer_ops),
	KIND("extension", EXTENSION, alm_extension_ops_v0, extension_ops),
};

/* An operation that is not in its list would stay NULL. */
#define COVERED(table, ops_)                                                                       \
	_Static_assert(sizeof(struct table) == sizeof(any_op) * (sizeof(ops_) / sizeof((ops_)[0])),    \
	    "every operation of " #table " is listed")
COVERED(alm_consensus_ops_v0, consensus_ops);
COVERED(alm_storage_ops_v0, storage_ops);
COVERED(alm_protocol_ops_v0, protocol_ops);
COVERED(alm_indexer_ops_v0, indexer_ops);
COVERED(alm_extension_ops_v0, extension_ops);

const struct kind *
kind_find(uint32_t number)
{
	for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (kinds[i].number == number)
			return &kinds[i];
	return NULL;
}

const char *
kind_name(uint32_t kind)
{
	const struct kind *k = kind_find(kind);

	return k ? k->name : "unknown kind";
}

uint32_t
kind_number(const char *name)
{
	for (uint32_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return kinds[i].number;
	return 0;
}

void *
ops_complete(const struct kind *k, const void *ops, uint32_t offered)
{
	uint8_t *mine = calloc(1, k->ops_size);

	if (!mine) {
		err_set(ALM_ENOMEM, "out of memory");
		return NULL;
	}
	memcpy(mine, ops, offered < k->ops_size ? offered : k->ops_size);
	for (uint32_t i = 0; i < k->n_ops; i++) {
		any_op have;

		memcpy(&have, mine + k->ops[i].offset, sizeof have);
		if (have)
			continue;
		if (!k->ops[i].stub) {
			err_set(ALM_EVERSION, "lacks the required operation %s of kind %s", k->ops[i].name,
			    k->name);
			free(mine);
			return NULL;
		}
		memcpy(mine + k->ops[i].offset, &k->ops[i].stub, sizeof have);
	}
	return mine;
}
