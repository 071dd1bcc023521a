/* test_native.c - the native plugin on the fake broker: sessions, back pressure, push, hostility. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "plugins/protocol/native/wire.h"
#include "regress/lib/fakebroker.h"

const struct alm_module *alm_module_v1(void);

static struct wire_out frame; /* under construction */

static struct fakebroker *
start(void)
{
	const struct alm_provider *p = alm_module_v1()->providers;
	struct fakebroker *fb = fb_new();

	fb->settings = p->settings;
	fb->n_settings = p->n_settings;
	fb_topic_add(fb, "orders", 4);
	assert_int_equal(fb_load(fb, p->ops), ALM_OK);
	return fb;
}

static void
stop(struct fakebroker *fb)
{
	assert_int_equal(fb_free(fb), 0);
	wire_out_free(&frame);
}

static void
begin(uint32_t type, uint64_t correlation)
{
	wire_reset(&frame);
	wire_begin(&frame, type, 0, correlation);
}

static int64_t
feed(struct alm_conn *c)
{
	wire_end(&frame, 0);
	return fb_feed(c, frame.data, frame.len);
}

/* The oldest frame written: taken out of c->out. */
static struct wire_in
reply(struct alm_conn *c, struct wire_head *h)
{
	static uint8_t kept[1 << 20];

	assert_int_equal(wire_head_get(c->out.data, c->out.len, UINT64_MAX, h), 1);
	assert_in_range(h->length, WIRE_HEAD, c->out.len);
	assert_in_range(h->length, WIRE_HEAD, sizeof kept);
	memcpy(kept, c->out.data, h->length);
	buf_drop(&c->out, h->length);
	return wire_payload(kept, h);
}

static int
reply_status(struct alm_conn *c, uint64_t *correlation)
{
	struct wire_error e = {0};
	struct wire_head h;
	struct wire_in in = reply(c, &h);

	*correlation = h.correlation;
	if (h.type != WIRE_ERROR)
		return ALM_OK;
	assert_int_equal(wire_error_get(&in, &e), ALM_OK);
	return e.status;
}

static void
hello_put(uint32_t magic, uint32_t low, uint32_t high)
{
	begin(WIRE_HELLO, 1);
	wire_put32(&frame, magic);
	wire_put16(&frame, low);
	wire_put16(&frame, high);
	wire_put32(&frame, 16 << 20);
	wire_put32(&frame, 0);
	wire_put16(&frame, 4);
	wire_put16(&frame, 0);
	wire_put32(&frame, 0);
	wire_put(&frame, "test", 4);
}

static struct alm_conn *
greeted(struct fakebroker *fb)
{
	struct alm_conn *c = fb_open(fb);
	struct wire_head h;

	hello_put(WIRE_MAGIC, 1, 1);
	assert_true(feed(c) > 0);
	(void)reply(c, &h);
	assert_int_equal(h.type, WIRE_HELLO | WIRE_REPLY);
	return c;
}

static void
publish_put(uint64_t correlation, uint32_t queue, uint32_t n, const char *key)
{
	struct wire_publish w = {.queue = queue, .producer = 5, .sequence = 1, .n = n,
	    .name = {"orders", 6}};
	struct alm_attr a = {ALM_ATTR_KEY, 0, key ? (uint32_t)strlen(key) : 0};
	uint32_t i;

	begin(WIRE_PUBLISH, correlation);
	wire_publish_put(&frame, &w);
	for (i = 0; i < n; i++) {
		wire_put32(&frame, key ? (uint32_t)sizeof a + a.len : 0);
		wire_put32(&frame, 4);
		wire_put32(&frame, 0xffffffff);
		wire_put32(&frame, 0);
		if (key) {
			wire_put(&frame, &a, sizeof a);
			wire_put(&frame, key, a.len);
		}
		wire_put(&frame, "body", 4);
	}
}

static void
fetch_put(uint64_t correlation, uint32_t wait_ms)
{
	begin(WIRE_FETCH, correlation);
	wire_put32(&frame, 0);
	wire_put32(&frame, 1);
	wire_put64(&frame, 7);
	wire_put32(&frame, 1000);
	wire_put32(&frame, 0);
	wire_put32(&frame, wait_ms);
	wire_put16(&frame, 6);
	wire_put16(&frame, 0);
	wire_put(&frame, "orders", 6);
}

static void
subscribe_put(uint64_t correlation, uint64_t offset, uint64_t credit)
{
	begin(WIRE_SUBSCRIBE, correlation);
	wire_put32(&frame, 0);
	wire_put32(&frame, 1);
	wire_put64(&frame, offset);
	wire_put64(&frame, credit);
	wire_put32(&frame, 1 << 20);
	wire_put16(&frame, 6);
	wire_put16(&frame, 0);
	wire_put(&frame, "orders", 6);
}

static uint32_t
subscribed(struct alm_conn *c, uint64_t correlation, uint64_t offset, uint64_t credit)
{
	struct wire_head h;
	struct wire_in in;

	subscribe_put(correlation, offset, credit);
	assert_true(feed(c) > 0);
	in = reply(c, &h);
	assert_int_equal(h.type, WIRE_SUBSCRIBE | WIRE_REPLY);
	return wire_u32(&in);
}

/* ---- greeting ---------------------------------------------------------------------------------- */

static void
test_the_first_frame_must_be_hello(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = fb_open(fb);
	uint64_t corr;

	(void)state;
	begin(WIRE_PING, 1);
	feed(c);
	assert_int_equal(reply_status(c, &corr), ALM_EPROTO);
	assert_int_equal(corr, 0);
	assert_int_equal(c->closing, 1);
	stop(fb);
}

static void
test_an_unknown_version_is_named(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = fb_open(fb);
	uint64_t corr;

	(void)state;
	hello_put(WIRE_MAGIC, 2, 9);
	feed(c);
	assert_int_equal(reply_status(c, &corr), ALM_EVERSION);
	assert_int_equal(c->close_status, ALM_EVERSION);
	stop(fb);
}

static void
test_who_says_no_hello_is_closed(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = fb_open(fb), *good = greeted(fb);

	(void)state;
	fb_clock(fb, fb->clock + 11000000);
	assert_int_equal(c->close_status, ALM_ETIMEOUT);
	assert_int_equal(good->closing, 0);
	stop(fb);
}

static void
test_a_stranger_may_not_make_us_buffer_much(void **state)
{
	struct fakebroker *fb = start();
	const struct alm_protocol_ops_v0 *ops = fb->ops;
	struct alm_conn *c = fb_open(fb);

	(void)state;
	assert_in_range(ops->frame_limit(c->session), 64, 4096);
	assert_in_range(ops->frame_limit(greeted(fb)->session), WIRE_FRAME_LEAST, WIRE_FRAME_MOST);
	stop(fb);
}

/* ---- publish ------------------------------------------------------------------------------------- */

static void
test_one_frame_is_one_group(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	const struct alm_message *m;
	struct fb_request *r;
	struct wire_head h;
	struct wire_in in;

	(void)state;
	publish_put(9, 2, 3, NULL);
	feed(c);
	r = fb_next(fb, FB_APPEND);
	assert_non_null(r);
	assert_int_equal(r->append.n_messages, 3);
	m = r->append.messages;
	assert_int_equal(m[2].queue, 2);
	assert_int_equal(m[2].sequence, 3);
	assert_int_equal(m[0].flags & ~(ALM_RF_USER_MASK | 0xf0000u), 0); /* not the origin's bits */
	assert_int_equal(fb_next(fb, FB_ANY) == r && r->next == NULL, 1);
	fb_answer_append(r, ALM_OK, 40);
	in = reply(c, &h);
	assert_int_equal(h.type, WIRE_PUBLISH | WIRE_REPLY);
	assert_int_equal(h.correlation, 9);
	assert_int_equal(wire_u32(&in), 1);
	assert_int_equal(wire_u32(&in), 2);
	assert_int_equal(wire_u32(&in), 3);
	stop(fb);
}

static void
test_without_keys_a_frame_stays_in_one_queue(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct fb_request *r;
	uint32_t first, i;

	(void)state;
	publish_put(1, WIRE_QUEUE_ANY, 5, NULL);
	feed(c);
	r = fb_next(fb, FB_APPEND);
	first = r->append.messages[0].queue;
	for (i = 1; i < 5; i++)
		assert_int_equal(r->append.messages[i].queue, first);
	fb_answer_append(r, ALM_OK, 0);
	publish_put(2, WIRE_QUEUE_ANY, 5, NULL);
	feed(c);
	assert_int_not_equal(fb_next(fb, FB_APPEND)->append.messages[0].queue, first);
	stop(fb);
}

static void
test_the_queue_of_a_routed_duplicate_is_not_invented(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct alm_done d = {.duplicate = 1, .first_offset = 4, .n_messages = 2};
	struct wire_head h;
	struct wire_in in;

	(void)state;
	publish_put(1, WIRE_QUEUE_ANY, 2, NULL);
	feed(c);
	fb_answer(fb_next(fb, FB_APPEND), &d);
	in = reply(c, &h);
	(void)wire_u32(&in);
	assert_int_equal(wire_u32(&in), WIRE_QUEUE_ANY);
	stop(fb);
}

static void
test_a_broken_message_ends_the_connection_and_stores_nothing(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb), *other = greeted(fb);
	uint64_t corr;

	(void)state;
	publish_put(1, 0, 2, "key");
	frame.data[frame.len - 4 - 3 - 4] = 0xff; /* length of the last key */
	feed(c);
	assert_int_equal(reply_status(c, &corr), ALM_EPROTO);
	assert_int_equal(c->closing, 1);
	assert_int_equal(fb_waiting(fb), 0);
	publish_put(1, 0, 2, "key");
	feed(other); /* nobody else notices */
	assert_int_equal(fb_waiting(fb), 1);
	stop(fb);
}

static void
test_a_wrong_topic_or_queue_costs_only_the_request(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	uint64_t corr;

	(void)state;
	publish_put(7, 4, 1, NULL);
	feed(c);
	assert_int_equal(reply_status(c, &corr), ALM_EINVAL);
	assert_int_equal(corr, 7);
	publish_put(8, 0, 1, NULL);
	memcpy(frame.data + WIRE_HEAD + 40, "nowher", 6);
	feed(c);
	assert_int_equal(reply_status(c, &corr), ALM_ENOTFOUND);
	assert_int_equal(c->closing, 0);
	stop(fb);
}

/* ---- back pressure --------------------------------------------------------------------------------- */

static void
test_a_full_ring_parks_the_frame_and_stops_reading(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);

	(void)state;
	fb->refuse = (uint32_t)-ALM_EAGAIN;
	publish_put(1, 0, 1, NULL);
	feed(c);
	assert_int_equal(c->paused, 1);
	publish_put(2, 1, 1, NULL);
	feed(c);
	assert_int_equal(fb_waiting(fb), 0);
	fb->refuse = 0;
	fb_drain(c, 0); /* writable */
	assert_int_equal(c->paused, 0);
	fb_feed(c, "", 0);
	assert_int_equal(fb_waiting(fb), 2);
	assert_int_equal(fb_next(fb, FB_APPEND)->append.messages[0].queue, 0); /* in order */
	stop(fb);
}

static void
test_a_parked_frame_is_refused_in_the_end(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	uint64_t corr;

	(void)state;
	fb->refuse = (uint32_t)-ALM_EAGAIN;
	publish_put(3, 0, 1, NULL);
	feed(c);
	fb_clock(fb, fb->clock + 2500000);
	assert_int_equal(reply_status(c, &corr), ALM_EAGAIN);
	assert_int_equal(corr, 3);
	assert_int_equal(c->paused, 0);
	stop(fb);
}

static void
test_output_that_does_not_leave_stops_reading(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);

	(void)state;
	c->pending = 2 << 20;
	publish_put(1, 0, 1, NULL);
	feed(c);
	assert_int_equal(c->paused, 1);
	assert_int_equal(fb_waiting(fb), 0);
	c->pending = 0;
	fb_drain(c, 0);
	fb_feed(c, "", 0);
	assert_int_equal(fb_waiting(fb), 1);
	stop(fb);
}

static void
test_a_full_window_stops_reading_until_half_is_answered(void **state)
{
	struct fakebroker *fb = fb_new();
	const struct alm_provider *p = alm_module_v1()->providers;
	struct alm_conn *c;
	uint32_t i;

	(void)state;
	fb->settings = p->settings;
	fb->n_settings = p->n_settings;
	fb_set(fb, "max_inflight", "16");
	fb_topic_add(fb, "orders", 4);
	assert_int_equal(fb_load(fb, p->ops), ALM_OK);
	c = greeted(fb);
	for (i = 0; i < 20; i++) {
		publish_put(i, 0, 1, NULL);
		feed(c);
	}
	assert_int_equal(fb_waiting(fb), 16);
	assert_int_equal(c->paused, 1);
	for (i = 0; i < 8; i++)
		fb_answer_append(fb_next(fb, FB_APPEND), ALM_OK, i);
	assert_int_equal(c->paused, 0);
	fb_feed(c, "", 0);
	assert_int_equal(fb_waiting(fb), 12);
	stop(fb);
}

static void
test_fetches_have_a_limit_of_their_own(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	uint64_t corr;
	uint32_t i;

	(void)state;
	for (i = 0; i < 257; i++) {
		fetch_put(i + 1, 1000);
		feed(c);
	}
	assert_int_equal(fb_waiting(fb), 256);
	assert_int_equal(reply_status(c, &corr), ALM_EAGAIN);
	assert_int_equal(corr, 257);
	stop(fb);
}

/* ---- reading ------------------------------------------------------------------------------------------ */

static void
test_a_fetch_brings_records_as_they_lie_in_the_log(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct wire_records w;
	struct buf recs = {0};
	struct wire_head h;
	struct wire_in in;

	(void)state;
	fetch_put(5, 0);
	feed(c);
	fb_record(&recs, 1, 1, 7, "red", "hello", 5);
	fb_record(&recs, 1, 1, 8, NULL, "you", 3);
	fb_answer_records(fb_next(fb, FB_FETCH), &recs, 2, 9);
	in = reply(c, &h);
	assert_int_equal(h.type, WIRE_FETCH | WIRE_REPLY);
	assert_int_equal(wire_records_get(&in, &w), ALM_OK);
	assert_int_equal(w.n_chunks, 1);
	assert_int_equal(w.begin, 2);
	assert_int_equal(w.next_offset, 9);
	assert_int_equal(w.bytes, recs.len);
	assert_int_equal(wire_u64(&in), 96);
	assert_int_equal(wire_u64(&in), recs.len);
	assert_memory_equal(in.p, recs.data, recs.len);
	buf_free(&recs);
	stop(fb);
}

static void
test_push_stops_without_credit(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct buf recs = {0};
	struct wire_head h;
	struct fb_request *r;
	uint32_t handle = subscribed(c, 77, 7, 100);

	(void)state;
	fb_record(&recs, 1, 1, 7, NULL, "0123456789012345678901234567890123456789", 40);
	r = fb_next(fb, FB_FETCH);
	assert_int_equal(r->fetch.max_bytes, 100);
	assert_int_equal(r->fetch.offset, 7);
	fb_answer_records(r, &recs, 0, 8); /* 104 bytes: credit is below zero now */
	(void)reply(c, &h);
	assert_int_equal(h.type, WIRE_DELIVER);
	assert_int_equal(h.correlation, 77);
	assert_null(fb_next(fb, FB_FETCH));
	begin(WIRE_CREDIT, 77);
	wire_put32(&frame, handle);
	wire_put32(&frame, 0);
	wire_put64(&frame, 1000);
	feed(c);
	r = fb_next(fb, FB_FETCH);
	assert_non_null(r);
	assert_int_equal(r->fetch.offset, 8);
	assert_int_equal(r->fetch.max_bytes, 996);
	assert_null(r->next); /* one fetch a subscription */
	buf_free(&recs);
	stop(fb);
}

static void
test_push_waits_for_slow_output(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct buf recs = {0};

	(void)state;
	subscribed(c, 1, 0, 1 << 30);
	fb_record(&recs, 1, 1, 0, NULL, "x", 1);
	c->pending = 2 << 20;
	fb_answer_records(fb_next(fb, FB_FETCH), &recs, 0, 1);
	assert_null(fb_next(fb, FB_FETCH));
	c->pending = 0;
	fb_drain(c, 0);
	assert_non_null(fb_next(fb, FB_FETCH));
	buf_free(&recs);
	stop(fb);
}

static void
test_push_goes_on_after_an_outage(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);

	(void)state;
	subscribed(c, 1, 0, 1 << 20);
	fb_answer_status(fb_next(fb, FB_FETCH), ALM_EUNAVAILABLE, "away");
	assert_null(fb_next(fb, FB_FETCH));
	fb_clock(fb, fb->clock + 100000);
	assert_non_null(fb_next(fb, FB_FETCH));
	assert_int_equal(c->out.len, 0);
	stop(fb);
}

static void
test_an_end_of_push_says_why(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct alm_done d = {.status = ALM_EOFFSET, .begin = 50, .end = 60};
	struct wire_records w;
	struct wire_head h;
	struct wire_in in;

	(void)state;
	subscribed(c, 4, 10, 1 << 20);
	fb_answer(fb_next(fb, FB_FETCH), &d);
	in = reply(c, &h);
	assert_int_equal(h.type, WIRE_DELIVER);
	assert_int_equal(wire_records_get(&in, &w), ALM_OK);
	assert_int_equal(w.status, ALM_EOFFSET);
	assert_int_equal(w.begin, 50);
	assert_null(fb_next(fb, FB_FETCH));
	stop(fb);
}

static void
test_unsubscribe_ends_the_fetch_and_then_answers(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	uint32_t handle = subscribed(c, 6, 0, 1 << 20);
	uint64_t corr;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		begin(WIRE_UNSUBSCRIBE, 10);
		wire_put32(&frame, handle);
		wire_put32(&frame, 0);
		wire_put64(&frame, 6);
		feed(c);
		assert_int_equal(reply_status(c, &corr), i == 0 ? ALM_OK : ALM_ENOTFOUND);
		assert_int_equal(corr, 10);
	}
	assert_int_equal(fb_waiting(fb), 0);
	stop(fb);
}

/* ---- the end --------------------------------------------------------------------------------------------- */

static void
test_a_redirect_carries_the_leaders_address(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct alm_done d = {.status = ALM_ENOTLEADER, .data = {"10.0.0.2:7450", 13}};
	struct wire_error e;
	struct wire_head h;
	struct wire_in in;

	(void)state;
	publish_put(1, 0, 1, NULL);
	feed(c);
	fb_answer(fb_next(fb, FB_APPEND), &d);
	in = reply(c, &h);
	assert_int_equal(wire_error_get(&in, &e), ALM_OK);
	assert_int_equal(e.address.len, 13);
	stop(fb);
}

static void
test_shutdown_says_goaway_and_still_answers(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	struct wire_head h;

	(void)state;
	publish_put(1, 0, 1, NULL);
	feed(c);
	fb->ops->shutdown(c->session);
	(void)reply(c, &h);
	assert_int_equal(h.type, WIRE_GOAWAY);
	fb_answer_append(fb_next(fb, FB_APPEND), ALM_OK, 0);
	(void)reply(c, &h);
	assert_int_equal(h.type, WIRE_PUBLISH | WIRE_REPLY);
	stop(fb);
}

static void
test_an_unknown_request_is_refused_alone(void **state)
{
	struct fakebroker *fb = start();
	struct alm_conn *c = greeted(fb);
	uint64_t corr;

	(void)state;
	begin(0x7e, 12);
	feed(c);
	assert_int_equal(reply_status(c, &corr), ALM_ENOTSUP);
	assert_int_equal(corr, 12);
	assert_int_equal(c->closing, 0);
	stop(fb);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_the_first_frame_must_be_hello),
	    cmocka_unit_test(test_an_unknown_version_is_named),
	    cmocka_unit_test(test_who_says_no_hello_is_closed),
	    cmocka_unit_test(test_a_stranger_may_not_make_us_buffer_much),
	    cmocka_unit_test(test_one_frame_is_one_group),
	    cmocka_unit_test(test_without_keys_a_frame_stays_in_one_queue),
	    cmocka_unit_test(test_the_queue_of_a_routed_duplicate_is_not_invented),
	    cmocka_unit_test(test_a_broken_message_ends_the_connection_and_stores_nothing),
	    cmocka_unit_test(test_a_wrong_topic_or_queue_costs_only_the_request),
	    cmocka_unit_test(test_a_full_ring_parks_the_frame_and_stops_reading),
	    cmocka_unit_test(test_a_parked_frame_is_refused_in_the_end),
	    cmocka_unit_test(test_output_that_does_not_leave_stops_reading),
	    cmocka_unit_test(test_a_full_window_stops_reading_until_half_is_answered),
	    cmocka_unit_test(test_fetches_have_a_limit_of_their_own),
	    cmocka_unit_test(test_a_fetch_brings_records_as_they_lie_in_the_log),
	    cmocka_unit_test(test_push_stops_without_credit),
	    cmocka_unit_test(test_push_waits_for_slow_output),
	    cmocka_unit_test(test_push_goes_on_after_an_outage),
	    cmocka_unit_test(test_an_end_of_push_says_why),
	    cmocka_unit_test(test_unsubscribe_ends_the_fetch_and_then_answers),
	    cmocka_unit_test(test_a_redirect_carries_the_leaders_address),
	    cmocka_unit_test(test_shutdown_says_goaway_and_still_answers),
	    cmocka_unit_test(test_an_unknown_request_is_refused_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
