/* test_wire.c - the native protocol's codec: what is written is read back, and nothing that does not fit
 * is believed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "plugins/protocol/native/wire.h"

static struct wire_in
payload_of(const struct wire_out *o)
{
	struct wire_head h;

	assert_int_equal(wire_head_get(o->data, o->len, WIRE_FRAME_MOST, &h), 1);
	assert_int_equal(h.length, o->len);
	return wire_payload(o->data, &h);
}

static void
test_a_frame_is_a_multiple_of_8_and_keeps_its_head(void **state)
{
	struct wire_out o = {0};
	struct wire_head h;
	uint32_t i;

	(void)state;
	for (i = 0; i < 20; i++) {
		wire_reset(&o);
		wire_begin(&o, WIRE_FETCH, 3, 0x0123456789abcdef);
		wire_put(&o, "xxxxxxxxxxxxxxxxxxxx", i);
		wire_end(&o, 16);
		assert_int_equal(o.len % 8, 0);
		assert_int_equal(wire_head_get(o.data, o.len, UINT64_MAX, &h), 1);
		assert_int_equal(h.length, o.len + 16);
		assert_int_equal(h.type, WIRE_FETCH);
		assert_int_equal(h.flags, 3);
		assert_int_equal(h.correlation, 0x0123456789abcdef);
	}
	wire_out_free(&o);
}

static void
test_broken_heads_are_refused(void **state)
{
	uint8_t head[WIRE_HEAD] = {12};
	struct wire_head h;
	uint32_t length;

	(void)state;
	assert_int_equal(wire_head_get(head, 15, 1024, &h), 0);
	assert_int_equal(wire_head_get(head, 16, 1024, &h), 1);
	head[6] = 1; /* reserved */
	assert_int_equal(wire_head_get(head, 16, 1024, &h), ALM_EPROTO);
	head[6] = 0;
	for (length = 0; length < 12; length++) {
		memcpy(head, &length, 4);
		assert_int_equal(wire_head_get(head, 16, 1024, &h), ALM_EPROTO);
	}
	length = 13; /* not a multiple of 8 */
	memcpy(head, &length, 4);
	assert_int_equal(wire_head_get(head, 16, 1024, &h), ALM_EPROTO);
	length = 1024 + 4;
	memcpy(head, &length, 4);
	assert_int_equal(wire_head_get(head, 16, 1024, &h), ALM_ETOOBIG);
	length = 0xfffffffc; /* length + 4 wraps in 32 bits */
	memcpy(head, &length, 4);
	assert_int_equal(wire_head_get(head, 16, UINT32_MAX, &h), ALM_ETOOBIG);
}

static void
test_a_reader_latches_its_first_overrun(void **state)
{
	uint8_t bytes[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	struct wire_in in = {bytes, bytes + sizeof bytes, 0};

	(void)state;
	assert_int_equal(wire_u32(&in), 0x04030201);
	assert_int_equal(wire_u64(&in), 0);
	assert_true(in.bad);
	assert_int_equal(wire_u16(&in), 0);
	assert_null(wire_bytes(&in, UINT64_MAX).data);
}

/* ---- PUBLISH ------------------------------------------------------------------------------- */

static void
message_put(struct wire_out *o, const void *attrs, uint32_t attrs_len, const char *body)
{
	wire_put32(o, attrs_len);
	wire_put32(o, (uint32_t)strlen(body));
	wire_put32(o, 7);
	wire_put32(o, 9);
	wire_put(o, attrs, attrs_len);
	wire_put(o, body, strlen(body));
}

static void
publish_put(struct wire_out *o, uint32_t n)
{
	struct wire_publish w = {.queue = 3, .producer = 11, .born = 22, .sequence = 33, .n = n,
	    .name = {"orders", 6}};

	wire_begin(o, WIRE_PUBLISH, 0, 1);
	wire_publish_put(o, &w);
}

static uint32_t
attr_put(uint8_t *p, uint32_t type, const void *value, uint32_t len)
{
	struct alm_attr a = {(uint16_t)type, 0, len};

	memcpy(p, &a, sizeof a);
	memcpy(p + sizeof a, value, len);
	return (uint32_t)sizeof a + len;
}

static void
test_publish_is_read_as_it_was_written(void **state)
{
	uint8_t attrs[64];
	uint32_t len = attr_put(attrs, ALM_ATTR_TAG, "red", 3);
	struct wire_out o = {0};
	struct wire_publish w;
	struct wire_message m;
	struct wire_in in;

	(void)state;
	len += attr_put(attrs + len, ALM_ATTR_KEY, "k1", 2);
	len += attr_put(attrs + len, ALM_ATTR_KEY, "k2", 2);
	publish_put(&o, 2);
	message_put(&o, attrs, len, "first");
	message_put(&o, NULL, 0, "");
	wire_end(&o, 0);
	in = payload_of(&o);
	assert_int_equal(wire_publish_get(&in, &w), ALM_OK);
	assert_int_equal(w.queue, 3);
	assert_int_equal(w.producer, 11);
	assert_int_equal(w.born, 22);
	assert_int_equal(w.sequence, 33);
	assert_int_equal(w.n, 2);
	assert_memory_equal(w.name.data, "orders", 6);
	assert_int_equal(wire_message_get(&in, &m), ALM_OK);
	assert_int_equal(m.flags, 7);
	assert_int_equal(m.born_delta, 9);
	assert_int_equal(m.attrs.len, len);
	assert_memory_equal(m.body.data, "first", 5);
	assert_memory_equal(m.key.data, "k1", 2);
	assert_int_equal(wire_message_get(&in, &m), ALM_OK);
	assert_int_equal(m.body.len, 0);
	assert_int_equal(m.key.len, 0);
	assert_int_equal(wire_message_get(&in, &m), ALM_EPROTO);
	wire_out_free(&o);
}

static void
test_the_places_for_renumbering_are_right(void **state)
{
	struct wire_out o = {0};
	uint64_t producer;
	uint32_t sequence;

	(void)state;
	publish_put(&o, 1);
	memcpy(&producer, o.data + WIRE_PUBLISH_PRODUCER_AT, sizeof producer);
	memcpy(&sequence, o.data + WIRE_PUBLISH_SEQUENCE_AT, sizeof sequence);
	assert_int_equal(producer, 11);
	assert_int_equal(sequence, 33);
	wire_out_free(&o);
}

static void
test_a_publish_that_claims_too_much_is_refused(void **state)
{
	static const uint32_t counts[] = {0, 2, WIRE_PUBLISH_MOST + 1, UINT32_MAX};
	struct wire_out o = {0};
	struct wire_publish w;
	struct wire_in in;
	uint32_t i;

	(void)state;
	for (i = 0; i < 4; i++) {
		wire_reset(&o);
		publish_put(&o, counts[i]);
		message_put(&o, NULL, 0, "x");
		wire_end(&o, 0);
		in = payload_of(&o);
		assert_int_equal(wire_publish_get(&in, &w), ALM_EPROTO);
	}
	wire_out_free(&o);
}

static void
test_every_cut_of_a_publish_is_refused(void **state)
{
	struct wire_out o = {0};
	struct wire_publish w;
	struct wire_message m;
	uint64_t cut;
	uint8_t *copy;

	(void)state;
	publish_put(&o, 1);
	message_put(&o, NULL, 0, "body");
	for (cut = WIRE_HEAD; cut < o.len; cut++) {
		/* A block of just that size: a sanitizer sees one byte too many. */
		struct wire_in in;

		copy = malloc(cut);
		assert_non_null(copy);
		memcpy(copy, o.data, cut);
		in = (struct wire_in){copy + WIRE_HEAD, copy + cut, 0};
		assert_true(wire_publish_get(&in, &w) != ALM_OK ||
		    wire_message_get(&in, &m) != ALM_OK);
		free(copy);
	}
	wire_out_free(&o);
}

static int
check_one(uint32_t type, const void *value, uint32_t len)
{
	static uint8_t attrs[8192];
	struct alm_slice key;

	return wire_attrs_check(attrs, attr_put(attrs, type, value, len), &key);
}

static void
test_attributes_are_checked_by_their_type(void **state)
{
	static const char big[WIRE_KEY_MAX + 1];
	uint8_t attrs[64];
	struct alm_slice key;
	uint32_t len;

	(void)state;
	assert_int_equal(check_one(ALM_ATTR_TAG, "red", 3), ALM_OK);
	assert_int_equal(check_one(ALM_ATTR_TAG, "", 0), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_TAG, "a\0b", 3), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_TAG, big, ALM_NAME_MAX + 1), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_KEY, big, WIRE_KEY_MAX), ALM_OK);
	assert_int_equal(check_one(ALM_ATTR_KEY, big, WIRE_KEY_MAX + 1), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_PROPERTY, "\1\0n", 3), ALM_OK);
	assert_int_equal(check_one(ALM_ATTR_PROPERTY, "\2\0n", 3), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_PROPERTY, "\0\0v", 3), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_PROPERTY, "\1", 1), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_BORN_HOST, big, 6), ALM_OK);
	assert_int_equal(check_one(ALM_ATTR_BORN_HOST, big, 7), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_EXPIRY, big, 4), ALM_EPROTO);
	assert_int_equal(check_one(ALM_ATTR_RECONSUME, big, 4), ALM_OK);
	assert_int_equal(check_one(999, big, 5), ALM_OK); /* of a later version */
	len = attr_put(attrs, ALM_ATTR_TAG, "a", 1);
	len += attr_put(attrs + len, ALM_ATTR_TAG, "b", 1);
	assert_int_equal(wire_attrs_check(attrs, len, &key), ALM_EPROTO);
	assert_int_equal(wire_attrs_check(attrs, 9, &key), ALM_OK);
	assert_int_equal(wire_attrs_check(attrs, 8, &key), ALM_EPROTO);
	assert_int_equal(wire_attrs_check(attrs, 5, &key), ALM_EPROTO);
}

/* ---- the rest ---------------------------------------------------------------------------------- */

static void
test_records_heads_that_do_not_fit_are_refused(void **state)
{
	struct wire_records w = {.n_chunks = 1, .bytes = 8, .begin = 1, .end = 2, .next_offset = 3};
	struct wire_out o = {0};
	struct wire_records r;
	struct wire_in in;

	(void)state;
	wire_begin(&o, WIRE_DELIVER, 0, 1);
	wire_records_put(&o, &w);
	assert_int_equal(o.len, WIRE_HEAD + WIRE_RECORDS_HEAD);
	wire_put64(&o, 96);
	wire_put64(&o, 8);
	wire_put64(&o, 0);
	wire_end(&o, 0);
	in = payload_of(&o);
	assert_int_equal(wire_records_get(&in, &r), ALM_OK);
	assert_int_equal(r.next_offset, 3);
	o.data[WIRE_HEAD + 12] = 2; /* chunks */
	in = payload_of(&o);
	assert_int_equal(wire_records_get(&in, &r), ALM_EPROTO);
	o.data[WIRE_HEAD + 12] = 1;
	o.data[WIRE_HEAD + 40] = 16; /* bytes */
	in = payload_of(&o);
	assert_int_equal(wire_records_get(&in, &r), ALM_EPROTO);
	memset(o.data + WIRE_HEAD + 40, 0xff, 8);
	in = payload_of(&o);
	assert_int_equal(wire_records_get(&in, &r), ALM_EPROTO);
	wire_out_free(&o);
}

static void
test_records_that_do_not_fit_end_the_walk(void **state)
{
	struct alm_record r[2] = {{.length = 64, .magic = ALM_RECORD_MAGIC},
	    {.length = 64, .magic = ALM_RECORD_MAGIC}};
	const uint8_t *p = (const uint8_t *)r;
	uint64_t at = 0;

	(void)state;
	assert_ptr_equal(wire_record_next(p, sizeof r, &at), &r[0]);
	assert_ptr_equal(wire_record_next(p, sizeof r, &at), &r[1]);
	assert_null(wire_record_next(p, sizeof r, &at));
	assert_int_equal(at, sizeof r);
	r[1].length = 72;
	at = 64;
	assert_null(wire_record_next(p, sizeof r, &at));
	r[1].length = 56;
	assert_null(wire_record_next(p, sizeof r, &at));
	r[1].length = 64;
	r[1].attrs_len = 1;
	assert_null(wire_record_next(p, sizeof r, &at));
	r[1].attrs_len = 0;
	r[1].pad = 8;
	assert_null(wire_record_next(p, sizeof r, &at));
	at = UINT64_MAX;
	assert_null(wire_record_next(p, sizeof r, &at));
}

static void
test_an_error_frame_is_an_error(void **state)
{
	struct wire_error e = {ALM_ENOTLEADER, 50, {"not here", 8}, {"10.0.0.2:7450", 13}}, got;
	struct wire_out o = {0};
	struct wire_in in;

	(void)state;
	wire_error_put(&o, 5, &e);
	in = payload_of(&o);
	assert_int_equal(wire_error_get(&in, &got), ALM_OK);
	assert_int_equal(got.status, ALM_ENOTLEADER);
	assert_int_equal(got.retry_ms, 50);
	assert_memory_equal(got.detail.data, "not here", 8);
	assert_memory_equal(got.address.data, "10.0.0.2:7450", 13);
	memset(o.data + WIRE_HEAD, 0, 4); /* status 0 would look like success */
	in = payload_of(&o);
	assert_int_equal(wire_error_get(&in, &got), ALM_EPROTO);
	wire_out_free(&o);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_frame_is_a_multiple_of_8_and_keeps_its_head),
	    cmocka_unit_test(test_broken_heads_are_refused),
	    cmocka_unit_test(test_a_reader_latches_its_first_overrun),
	    cmocka_unit_test(test_publish_is_read_as_it_was_written),
	    cmocka_unit_test(test_the_places_for_renumbering_are_right),
	    cmocka_unit_test(test_a_publish_that_claims_too_much_is_refused),
	    cmocka_unit_test(test_every_cut_of_a_publish_is_refused),
	    cmocka_unit_test(test_attributes_are_checked_by_their_type),
	    cmocka_unit_test(test_records_heads_that_do_not_fit_are_refused),
	    cmocka_unit_test(test_records_that_do_not_fit_end_the_walk),
	    cmocka_unit_test(test_an_error_frame_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
