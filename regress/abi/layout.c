/* regress/abi/layout.c - the layout of every frozen struct, as numbers.
 *
 * Compiles or does not; nothing runs.  A failure here means that plugins built before, or bytes on
 * disk, no longer fit: undo the change, or raise the kind's major (abi.h) or the version of the
 * format (log.h) and change the numbers with it.  Append-only structs are guarded by their size
 * fields and are not listed.  Structs with pointers have these offsets where pointers have 8 bytes.
 */
#include <almadia/consensus.h>
#include <almadia/extension.h>
#include <almadia/host.h>
#include <almadia/indexer.h>
#include <almadia/log.h>
#include <almadia/protocol.h>
#include <almadia/storage.h>

#define SIZE(type, size) _Static_assert(sizeof(struct type) == (size), "size of " #type)
#define FIELD(type, field, offset, size)                                                           \
	_Static_assert(offsetof(struct type, field) == (offset) &&                                 \
			   sizeof(((struct type *)0)->field) == (size),                            \
	    "place of " #type "." #field)

_Static_assert(sizeof(void *) == 8, "the numbers below are those of 64-bit machines");

/* almadia/abi.h */
SIZE(alm_slice, 16);
FIELD(alm_slice, data, 0, 8);
FIELD(alm_slice, len, 8, 8);
SIZE(alm_setting, 56);
FIELD(alm_setting, name, 0, 8);
FIELD(alm_setting, def, 8, 8);
FIELD(alm_setting, choices, 16, 8);
FIELD(alm_setting, doc, 24, 8);
FIELD(alm_setting, min, 32, 8);
FIELD(alm_setting, max, 40, 8);
FIELD(alm_setting, type, 48, 4);
FIELD(alm_setting, scope, 52, 4);
SIZE(alm_provider, 96);
FIELD(alm_provider, size, 0, 4);
FIELD(alm_provider, kind, 4, 4);
FIELD(alm_provider, major, 8, 4);
FIELD(alm_provider, minor_built, 12, 4);
FIELD(alm_provider, minor_needed, 16, 4);
FIELD(alm_provider, ops_size, 20, 4);
FIELD(alm_provider, name, 24, 8);
FIELD(alm_provider, doc, 32, 8);
FIELD(alm_provider, ops, 40, 8);
FIELD(alm_provider, settings, 48, 8);
FIELD(alm_provider, n_settings, 56, 4);
FIELD(alm_provider, reserved0, 60, 4);
FIELD(alm_provider, reserved, 64, 32);
SIZE(alm_module, 72);
FIELD(alm_module, magic, 0, 4);
FIELD(alm_module, size, 4, 4);
FIELD(alm_module, name, 8, 8);
FIELD(alm_module, version, 16, 8);
FIELD(alm_module, providers, 24, 8);
FIELD(alm_module, n_providers, 32, 4);
FIELD(alm_module, reserved0, 36, 4);
FIELD(alm_module, reserved, 40, 32);
SIZE(alm_note_entry, 16);
FIELD(alm_note_entry, kind, 0, 4);
FIELD(alm_note_entry, major, 4, 4);
FIELD(alm_note_entry, minor_built, 8, 4);
FIELD(alm_note_entry, minor_needed, 12, 4);

/* almadia/log.h */
SIZE(alm_batch, 96);
FIELD(alm_batch, magic, 0, 4);
FIELD(alm_batch, version, 4, 2);
FIELD(alm_batch, flags, 6, 2);
FIELD(alm_batch, length, 8, 4);
FIELD(alm_batch, header_crc, 12, 4);
FIELD(alm_batch, body_crc, 16, 4);
FIELD(alm_batch, prev_crc, 20, 4);
FIELD(alm_batch, group, 24, 8);
FIELD(alm_batch, index, 32, 8);
FIELD(alm_batch, term, 40, 8);
FIELD(alm_batch, position, 48, 8);
FIELD(alm_batch, log_time, 56, 8);
FIELD(alm_batch, commit, 64, 8);
FIELD(alm_batch, records, 72, 4);
FIELD(alm_batch, dir_offset, 76, 4);
FIELD(alm_batch, dir_count, 80, 4);
FIELD(alm_batch, member, 84, 4);
FIELD(alm_batch, reserved, 88, 8);
SIZE(alm_record, 64);
FIELD(alm_record, length, 0, 4);
FIELD(alm_record, crc, 4, 4);
FIELD(alm_record, magic, 8, 2);
FIELD(alm_record, kind, 10, 1);
FIELD(alm_record, pad, 11, 1);
FIELD(alm_record, flags, 12, 4);
FIELD(alm_record, batch_offset, 16, 4);
FIELD(alm_record, attrs_len, 20, 4);
FIELD(alm_record, tag_hash, 24, 4);
FIELD(alm_record, topic, 28, 4);
FIELD(alm_record, queue, 32, 4);
FIELD(alm_record, sequence, 36, 4);
FIELD(alm_record, offset, 40, 8);
FIELD(alm_record, born, 48, 8);
FIELD(alm_record, producer, 56, 8);
SIZE(alm_attr, 8);
FIELD(alm_attr, type, 0, 2);
FIELD(alm_attr, reserved, 2, 2);
FIELD(alm_attr, len, 4, 4);
SIZE(alm_ref, 8);
FIELD(alm_ref, position, 0, 8);
SIZE(alm_retain, 16);
FIELD(alm_retain, first_position, 0, 8);
FIELD(alm_retain, first_index, 8, 8);
SIZE(alm_dir, 40);
FIELD(alm_dir, topic, 0, 4);
FIELD(alm_dir, queue, 4, 4);
FIELD(alm_dir, first_offset, 8, 8);
FIELD(alm_dir, count, 16, 4);
FIELD(alm_dir, first_byte, 20, 4);
FIELD(alm_dir, end_byte, 24, 4);
FIELD(alm_dir, reserved, 28, 4);
FIELD(alm_dir, tag_bloom, 32, 8);
SIZE(alm_state_txn, 8);
FIELD(alm_state_txn, ns_len, 0, 2);
FIELD(alm_state_txn, n_ops, 2, 2);
FIELD(alm_state_txn, reserved, 4, 4);
SIZE(alm_state_op, 8);
FIELD(alm_state_op, op, 0, 1);
FIELD(alm_state_op, reserved, 1, 1);
FIELD(alm_state_op, key_len, 2, 2);
FIELD(alm_state_op, val_len, 4, 4);
SIZE(alm_topic, 64);
FIELD(alm_topic, version, 0, 4);
FIELD(alm_topic, id, 4, 4);
FIELD(alm_topic, queues, 8, 4);
FIELD(alm_topic, durability, 12, 4);
FIELD(alm_topic, retention_bytes, 16, 8);
FIELD(alm_topic, retention_time, 24, 8);
FIELD(alm_topic, max_message, 32, 4);
FIELD(alm_topic, flags, 36, 4);
FIELD(alm_topic, created, 40, 8);
FIELD(alm_topic, reserved, 48, 16);
SIZE(alm_group, 32);
FIELD(alm_group, version, 0, 4);
FIELD(alm_group, flags, 4, 4);
FIELD(alm_group, created, 8, 8);
FIELD(alm_group, reserved, 16, 16);
SIZE(alm_offset, 24);
FIELD(alm_offset, offset, 0, 8);
FIELD(alm_offset, committed_at, 8, 8);
FIELD(alm_offset, reserved, 16, 8);

/* almadia/storage.h */
SIZE(alm_durable, 32);
FIELD(alm_durable, epoch, 0, 8);
FIELD(alm_durable, index, 8, 8);
FIELD(alm_durable, term, 16, 8);
FIELD(alm_durable, position, 24, 8);

/* almadia/protocol.h */
SIZE(alm_change, 64);
FIELD(alm_change, ns, 0, 16);
FIELD(alm_change, key, 16, 16);
FIELD(alm_change, value, 32, 16);
FIELD(alm_change, op, 48, 4);
FIELD(alm_change, has_version, 52, 4);
FIELD(alm_change, version, 56, 8);
SIZE(alm_chunk, 32);
FIELD(alm_chunk, data, 0, 8);
FIELD(alm_chunk, len, 8, 8);
FIELD(alm_chunk, pin, 16, 8);
FIELD(alm_chunk, position, 24, 8);

/* almadia/consensus.h */
SIZE(alm_cns_event, 56);
FIELD(alm_cns_event, kind, 0, 4);
FIELD(alm_cns_event, reserved, 4, 4);
FIELD(alm_cns_event, a, 8, 8);
FIELD(alm_cns_event, b, 16, 8);
FIELD(alm_cns_event, c, 24, 8);
FIELD(alm_cns_event, d, 32, 8);
FIELD(alm_cns_event, data, 40, 16);
SIZE(alm_cns_out, 64);
FIELD(alm_cns_out, kind, 0, 4);
FIELD(alm_cns_out, reserved, 4, 4);
FIELD(alm_cns_out, a, 8, 8);
FIELD(alm_cns_out, b, 16, 8);
FIELD(alm_cns_out, c, 24, 8);
FIELD(alm_cns_out, d, 32, 8);
FIELD(alm_cns_out, e, 40, 8);
FIELD(alm_cns_out, data, 48, 16);

/* almadia/indexer.h */
SIZE(alm_q_row, 40);
FIELD(alm_q_row, first_offset, 0, 8);
FIELD(alm_q_row, batch, 8, 8);
FIELD(alm_q_row, log_time, 16, 8);
FIELD(alm_q_row, first_byte, 24, 4);
FIELD(alm_q_row, end_byte, 28, 4);
FIELD(alm_q_row, count, 32, 4);
FIELD(alm_q_row, reserved, 36, 4);
SIZE(alm_q_queue, 8);
FIELD(alm_q_queue, topic, 0, 4);
FIELD(alm_q_queue, queue, 4, 4);
SIZE(alm_q_offset, 16);
FIELD(alm_q_offset, topic, 0, 4);
FIELD(alm_q_offset, queue, 4, 4);
FIELD(alm_q_offset, offset, 8, 8);
SIZE(alm_q_time, 16);
FIELD(alm_q_time, topic, 0, 4);
FIELD(alm_q_time, queue, 4, 4);
FIELD(alm_q_time, time, 8, 8);
SIZE(alm_q_bounds, 16);
FIELD(alm_q_bounds, begin, 0, 8);
FIELD(alm_q_bounds, end, 8, 8);
SIZE(alm_q_key, 32);
FIELD(alm_q_key, topic, 0, 4);
FIELD(alm_q_key, limit, 4, 4);
FIELD(alm_q_key, since, 8, 8);
FIELD(alm_q_key, until, 16, 8);
FIELD(alm_q_key, key_len, 24, 4);
FIELD(alm_q_key, reserved, 28, 4);

/* Numbers that travel. */
_Static_assert(
    ALM_EINVAL == -1 && ALM_ENOMEM == -2 && ALM_EIO == -3 && ALM_EAGAIN == -4 &&
	ALM_ENOTSUP == -5 && ALM_ENOTFOUND == -6 && ALM_EEXIST == -7 && ALM_EDENIED == -8 &&
	ALM_EFULL == -9 && ALM_ETOOBIG == -10 && ALM_ECORRUPT == -11 && ALM_EVERSION == -12 &&
	ALM_EUNAVAILABLE == -13 && ALM_ENOTLEADER == -14 && ALM_EORDER == -15 &&
	ALM_EOFFSET == -16 && ALM_ETIMEOUT == -17 && ALM_ECLOSED == -18 && ALM_ECONFIG == -19 &&
	ALM_EPROTO == -20 && ALM_EBUSY == -21 && ALM_EINTERNAL == -22 && ALM_ESTALE == -23,
    "status numbers never change");
_Static_assert(ALM_KIND_CONSENSUS == 1 && ALM_KIND_STORAGE == 2 && ALM_KIND_PROTOCOL == 3 &&
		   ALM_KIND_INDEXER == 4 && ALM_KIND_EXTENSION == 5,
    "kinds never change");
_Static_assert(ALM_REC_MESSAGE == 1 && ALM_REC_REF == 2 && ALM_REC_STATE == 3 &&
		   ALM_REC_NOOP == 4 && ALM_REC_CONFIG == 5 && ALM_REC_RETAIN == 6,
    "kinds of record never change");
_Static_assert(ALM_ATTR_TAG == 1 && ALM_ATTR_KEY == 2 && ALM_ATTR_PROPERTY == 3 &&
		   ALM_ATTR_BORN_HOST == 4 && ALM_ATTR_EXPIRY == 5 && ALM_ATTR_ROUTE == 6 &&
		   ALM_ATTR_BODY_CRC32 == 7 && ALM_ATTR_RECONSUME == 8 && ALM_ATTR_PREPARED == 9,
    "types of attribute never change");
_Static_assert(ALM_STATE_PUT == 1 && ALM_STATE_DELETE == 2, "state operations never change");
