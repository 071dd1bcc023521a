/* test_client.c - libalmadia against the native plugin on the fake node: what it does when everything
 * works, and that nothing is lost, doubled or reordered when it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "regress/lib/fakenode.h"

#define MESSAGES 2000u

struct fixture {
	struct fakenode *node;
	struct alm_options o;
	struct alm_client *c;
	uint32_t acked, failed, duplicates, disorder, next;
	int last_status;
};

static struct fixture *
start(void)
{
	struct fixture *f = calloc(1, sizeof *f);

	assert_non_null(f);
	f->node = fakenode_new();
	fakenode_topic(f->node, "orders", 4);
	alm_options_init(&f->o);
	f->o.dial = fakenode_dial;
	f->o.arg = f->node;
	f->o.name = "test";
	f->o.backoff_min_ms = 1;
	f->o.backoff_max_ms = 20;
	f->o.timeout_ms = 20000;
	f->o.batch_messages = 10;
	return f;
}

static void
join(struct fixture *f)
{
	assert_int_equal(alm_connect(&f->o, &f->c), ALM_OK);
}

static void
stop(struct fixture *f)
{
	alm_close(f->c);
	assert_int_equal(fakenode_free(f->node), 0);
	free(f);
}

struct numbered {
	struct fixture *f;
	uint32_t number;
};

static void
on_ack(void *arg, const struct alm_ack *ack)
{
	struct numbered *n = arg;
	struct fixture *f = n->f;

	if (n->number != f->next++)
		f->disorder++;
	if (ack->status == ALM_OK)
		f->acked++;
	else
		f->failed++;
	f->duplicates += ack->duplicate;
	f->last_status = ack->status;
	free(n);
}

static struct alm_pub
message(const char *topic, uint32_t queue, const char *body)
{
	return (struct alm_pub){.size = sizeof(struct alm_pub), .topic = topic, .queue = queue,
	    .body = {body, strlen(body)}};
}

static void
publish_to(struct fixture *f, const char *topic, uint32_t from, uint32_t n)
{
	char body[32];
	uint32_t i;
	int st;

	for (i = from; i < from + n; i++) {
		struct numbered *num = malloc(sizeof *num);
		struct alm_pub m;

		assert_non_null(num);
		*num = (struct numbered){f, i};
		snprintf(body, sizeof body, "message %u", i);
		m = message(topic, 1, body);
		while ((st = alm_publish_async(f->c, &m, on_ack, num)) == ALM_EAGAIN)
			assert_int_equal(alm_poll(f->c, 100), ALM_OK);
		assert_int_equal(st, ALM_OK);
		if (i % 50 == 0)
			assert_int_equal(alm_process(f->c), ALM_OK);
	}
}

static void
publish(struct fixture *f, uint32_t from, uint32_t n)
{
	publish_to(f, "orders", from, n);
}

/* The store holds messages [0, n) once each, in order, at offsets 0.. */
static void
assert_stored(struct fixture *f, uint32_t n)
{
	struct fakenode_message m;
	char want[32];
	uint32_t i;

	assert_int_equal(fakenode_stored(f->node), n);
	for (i = 0; i < n; i++) {
		assert_int_equal(fakenode_message(f->node, i, &m), ALM_OK);
		snprintf(want, sizeof want, "message %u", i);
		assert_string_equal(m.body, want);
		assert_int_equal(m.offset, i);
	}
}

static void
assert_all_well(struct fixture *f, uint32_t n)
{
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(f->acked, n);
	assert_int_equal(f->failed, 0);
	assert_int_equal(f->disorder, 0);
	assert_stored(f, n);
}

/* ---- everything works ------------------------------------------------------------------------ */

static void
test_a_publish_is_acknowledged_with_its_place(void **state)
{
	struct fixture *f = start();
	struct alm_pub m = message("orders", 2, "hello");
	struct alm_ack ack = {0};

	(void)state;
	join(f);
	assert_int_equal(alm_publish(f->c, &m, &ack), ALM_OK);
	assert_int_equal(ack.queue, 2);
	assert_int_equal(ack.offset, 0);
	assert_int_equal(alm_publish(f->c, &m, &ack), ALM_OK);
	assert_int_equal(ack.offset, 1);
	stop(f);
}

static void
test_callbacks_come_once_each_and_in_order(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	publish(f, 0, MESSAGES);
	assert_all_well(f, MESSAGES);
	stop(f);
}

static void
test_messages_that_linger_are_sent_in_one_batch(void **state)
{
	struct fixture *f = start();

	(void)state;
	f->o.batch_messages = 1000;
	f->o.linger_us = 100000;
	join(f);
	publish(f, 0, 100);
	assert_all_well(f, 100);
	assert_int_equal(fakenode_appends(f->node), 1);
	stop(f);
}

static void
test_a_message_keeps_key_tag_and_properties(void **state)
{
	struct fixture *f = start();
	struct alm_property p[2] = {{{"colour", 6}, {"red", 3}}, {{"size", 4}, {"", 0}}}, got;
	struct alm_pub m = message("orders", 0, "body");
	struct alm_fetch_opts o = {.size = sizeof o, .topic = "orders"};
	struct alm_batch_view *v;
	struct alm_msg msg;
	uint32_t at = 0;

	(void)state;
	join(f);
	m.key = (struct alm_slice){"k1", 2};
	m.tag = (struct alm_slice){"blue", 4};
	m.properties = p;
	m.n_properties = 2;
	m.flags = 7;
	m.born = 123456;
	assert_int_equal(alm_publish(f->c, &m, NULL), ALM_OK);
	assert_int_equal(alm_fetch(f->c, &o, &v), ALM_OK);
	assert_int_equal(alm_batch_view_next(v, &msg), 1);
	assert_int_equal(alm_msg_key(&msg).len, 2);
	assert_memory_equal(alm_msg_tag(&msg).data, "blue", 4);
	assert_memory_equal(alm_msg_property(&msg, "colour").data, "red", 3);
	assert_int_equal(alm_msg_property_next(&msg, &at, &got), 1);
	assert_int_equal(alm_msg_property_next(&msg, &at, &got), 1);
	assert_int_equal(got.value.len, 0);
	assert_int_equal(alm_msg_property_next(&msg, &at, &got), 0);
	assert_int_equal(alm_msg_flags(&msg), 7);
	assert_int_equal(alm_msg_born(&msg), 123456);
	assert_int_equal(msg.position, 96);
	assert_memory_equal(alm_msg_body(&msg).data, "body", 4);
	assert_int_equal(alm_batch_view_next(v, &msg), 0);
	alm_batch_free(v);
	stop(f);
}

static void
on_scatter(void *arg, const struct alm_ack *ack)
{
	struct alm_ack *out = arg;

	*out = *ack;
}

static void
test_keyed_messages_of_one_batch_go_to_their_queues(void **state)
{
	struct fixture *f = start();
	struct alm_pub m = message("orders", ALM_QUEUE_ANY, "x");
	struct fakenode_message got;
	struct alm_ack ack[8];
	char key[8];
	uint32_t i;

	(void)state;
	join(f);
	for (i = 0; i < 8; i++) {
		snprintf(key, sizeof key, "k%u", i);
		m.key = (struct alm_slice){key, strlen(key)};
		assert_int_equal(alm_publish_async(f->c, &m, on_scatter, &ack[i]), ALM_OK);
	}
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(fakenode_appends(f->node), 1);
	for (i = 0; i < 8; i++) {
		assert_int_equal(ack[i].status, ALM_OK);
		assert_int_equal(fakenode_message(f->node, i, &got), ALM_OK);
		assert_int_equal(got.queue, ack[i].queue);
		assert_int_equal(got.offset, ack[i].offset);
	}
	stop(f);
}

static void
test_what_the_server_would_not_take_is_refused_at_once(void **state)
{
	struct fixture *f = start();
	struct alm_pub m = message("orders", 0, "x");
	static char big[ALM_MESSAGE_MAX];

	(void)state;
	join(f);
	m.body = (struct alm_slice){big, sizeof big};
	assert_int_equal(alm_publish(f->c, &m, NULL), ALM_ETOOBIG);
	m = message("nowhere", 0, "x");
	assert_int_equal(alm_publish(f->c, &m, NULL), ALM_ENOTFOUND);
	assert_non_null(strstr(alm_error(f->c), "nowhere"));
	m = message("orders", 99, "x");
	assert_int_equal(alm_publish(f->c, &m, NULL), ALM_EINVAL);
	m = message("orders", 0, "fine");
	assert_int_equal(alm_publish(f->c, &m, NULL), ALM_OK);
	stop(f);
}

static void
test_a_full_buffer_says_so(void **state)
{
	struct fixture *f = start();
	struct alm_pub m = message("orders", 0, "0123456789");
	int st = ALM_OK, n;

	(void)state;
	f->o.max_buffered = 4096;
	join(f);
	fakenode_hold(f->node, 1);
	for (n = 0; n < 1000 && st == ALM_OK; n++)
		st = alm_publish_async(f->c, &m, NULL, NULL);
	assert_int_equal(st, ALM_EAGAIN);
	fakenode_hold(f->node, 0);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(alm_publish_async(f->c, &m, NULL, NULL), ALM_OK);
	stop(f);
}

/* ---- faults -------------------------------------------------------------------------------------- */

static void
test_partial_reads_and_writes_change_nothing(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	fakenode_trickle(f->node, 7);
	publish(f, 0, 200);
	assert_all_well(f, 200);
	stop(f);
}

static void
test_a_connection_that_drops_mid_frame_loses_nothing(void **state)
{
	struct fixture *f = start();
	uint32_t i;

	(void)state;
	join(f);
	for (i = 0; i < 20; i++) {
		if (i % 2)
			fakenode_cut_in(f->node, 100 + 37 * i);
		else
			fakenode_cut_out(f->node, 50 + 13 * i);
		publish(f, i * 100, 100);
		assert_int_equal(alm_flush(f->c), ALM_OK);
	}
	assert_all_well(f, MESSAGES);
	assert_in_range(fakenode_connections(f->node), 15, 1000);
	stop(f);
}

static void
test_lost_acks_are_answered_as_duplicates(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	publish(f, 0, 100);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	fakenode_lose_acks(f->node, 3);
	publish(f, 100, 100);
	assert_all_well(f, 200);
	assert_in_range(f->duplicates, 10, 100);
	stop(f);
}

static void
test_a_refused_batch_takes_the_later_ones_with_it(void **state)
{
	static const int statuses[] = {ALM_EUNAVAILABLE, ALM_EAGAIN, ALM_ETIMEOUT, ALM_ESTALE};
	struct fixture *f = start();
	uint32_t i;

	(void)state;
	join(f);
	for (i = 0; i < 4; i++) {
		fakenode_refuse(f->node, 3, statuses[i], NULL);
		publish(f, 500 * i, 500);
		assert_int_equal(alm_flush(f->c), ALM_OK);
	}
	assert_all_well(f, MESSAGES);
	stop(f);
}

static void
test_the_first_batch_of_a_producer_travels_alone(void **state)
{
	struct fixture *f = start();

	/* Were the second batch under way, a server that does not know the producer would take it and
	 * then call the first one a duplicate. */
	(void)state;
	join(f);
	fakenode_refuse(f->node, 1, ALM_EUNAVAILABLE, NULL);
	publish(f, 0, 500);
	assert_all_well(f, 500);
	assert_int_equal(f->duplicates, 0);
	stop(f);
}

static void
test_a_batch_given_up_does_not_block_the_next(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	publish(f, 0, 10);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	fakenode_refuse(f->node, 1, ALM_EFULL, NULL);
	publish(f, 10, 100);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(f->failed, 10);
	assert_int_equal(f->acked, 100);
	assert_int_equal(f->disorder, 0);
	assert_int_equal(fakenode_stored(f->node), 100);
	stop(f);
}

static void
test_answers_out_of_order_call_back_in_order(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	publish(f, 0, 10);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	fakenode_reverse(f->node, 20);
	publish(f, 10, 200);
	assert_all_well(f, 210);
	stop(f);
}

static void
test_a_second_answer_is_ignored(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	fakenode_twice(f->node, 1);
	publish(f, 0, 500);
	assert_all_well(f, 500);
	stop(f);
}

static void
test_a_full_ring_parks_and_goes_on(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	fakenode_full(f->node, (uint32_t)-ALM_EAGAIN);
	publish(f, 0, 300);
	assert_int_equal(alm_poll(f->c, 20), ALM_OK);
	assert_int_equal(fakenode_stored(f->node), 0);
	fakenode_full(f->node, 0);
	assert_all_well(f, 300);
	stop(f);
}

static void
on_event(void *arg, uint32_t event, const char *detail)
{
	(void)arg;
	if (event == ALM_EVENT_REDIRECTED)
		assert_string_equal(detail, "10.0.0.2:7450");
}

static void
test_a_redirect_is_followed_and_nothing_is_lost(void **state)
{
	struct fixture *f = start();
	struct alm_client_stats st = {.size = sizeof st};

	(void)state;
	f->o.event = on_event;
	join(f);
	publish(f, 0, 100);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	fakenode_refuse(f->node, 1, ALM_ENOTLEADER, "10.0.0.2:7450");
	publish(f, 100, 400);
	assert_all_well(f, 500);
	assert_int_equal(alm_stats(f->c, &st), ALM_OK);
	assert_string_equal(st.server, "10.0.0.2:7450");
	stop(f);
}

static void
test_goaway_moves_to_another_connection(void **state)
{
	struct fixture *f = start();
	uint32_t i;

	(void)state;
	join(f);
	for (i = 0; i < 5; i++) {
		publish(f, i * 100, 100);
		fakenode_shutdown(f->node);
	}
	assert_all_well(f, 500);
	stop(f);
}

static void
test_a_silent_server_is_left(void **state)
{
	struct fixture *f = start();
	struct alm_client_stats st = {.size = sizeof st};

	(void)state;
	f->o.keepalive_ms = 50;
	join(f);
	fakenode_trickle(f->node, 1); /* nothing of a PING's answer within its time */
	fakenode_hold(f->node, 1);
	publish(f, 0, 10);
	assert_int_equal(alm_push(f->c), ALM_OK);
	fakenode_hold(f->node, 0);
	fakenode_trickle(f->node, 0);
	assert_all_well(f, 10);
	assert_int_equal(alm_stats(f->c, &st), ALM_OK);
	stop(f);
}

static void
test_closing_fails_what_is_unacknowledged_in_order(void **state)
{
	struct fixture *f = start();

	(void)state;
	join(f);
	fakenode_hold(f->node, 1);
	publish(f, 0, 105);
	alm_close(f->c);
	f->c = NULL;
	assert_int_equal(f->failed, 105);
	assert_int_equal(f->last_status, ALM_ECLOSED);
	assert_int_equal(f->disorder, 0);
	stop(f);
}

static void
test_the_delivery_timeout_gives_up(void **state)
{
	struct fixture *f = start();

	(void)state;
	f->o.delivery_timeout_ms = 50;
	join(f);
	fakenode_hold(f->node, 1);
	publish(f, 0, 30);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(f->failed, 30);
	assert_int_equal(f->last_status, ALM_ETIMEOUT);
	fakenode_hold(f->node, 0);
	publish(f, 30, 30);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(f->acked, 30);
	assert_int_equal(f->disorder, 0);
	stop(f);
}

/* Many faults at random; the seed is in the output of a failure. */
static void
test_random_faults_lose_double_and_reorder_nothing(void **state)
{
	uint32_t seed, i, n = 0;

	(void)state;
	for (seed = 1; seed <= 8; seed++) {
		struct fixture *f = start();

		srandom(seed);
		join(f);
		for (i = 0, n = 0; i < 40; i++) {
			switch (random() % 8) {
			case 0:
				fakenode_cut_in(f->node, 1 + (uint64_t)random() % 3000);
				break;
			case 1:
				fakenode_cut_out(f->node, 1 + (uint64_t)random() % 500);
				break;
			case 2:
				fakenode_lose_acks(f->node, 1 + (uint32_t)random() % 3);
				break;
			case 3:
				fakenode_refuse(f->node, 1 + (uint32_t)random() % 4, ALM_EUNAVAILABLE, NULL);
				break;
			case 4:
				fakenode_shutdown(f->node);
				break;
			case 5:
				fakenode_trickle(f->node, (uint32_t)random() % 200);
				break;
			case 6:
				fakenode_twice(f->node, (uint32_t)random() % 2);
				break;
			default:
				break;
			}
			publish(f, n, 40);
			n += 40;
			if (random() % 3 == 0)
				assert_int_equal(alm_poll(f->c, 2), ALM_OK);
		}
		fakenode_cut_in(f->node, 0);
		fakenode_cut_out(f->node, 0);
		fakenode_trickle(f->node, 0);
		assert_all_well(f, n);
		stop(f);
	}
}

/* ---- subscriptions ---------------------------------------------------------------------------------- */

static struct alm_sub_opts
sub_opts(uint32_t queue)
{
	return (struct alm_sub_opts){.size = sizeof(struct alm_sub_opts), .topic = "orders",
	    .queue = queue};
}

static void
assert_next_are(struct alm_sub *s, uint32_t from, uint32_t n)
{
	struct alm_msg m;
	char want[32];
	uint32_t i;

	for (i = from; i < from + n; i++) {
		assert_int_equal(alm_next(s, &m, 10000), ALM_OK);
		snprintf(want, sizeof want, "message %u", i);
		assert_int_equal(alm_msg_body(&m).len, strlen(want));
		assert_memory_equal(alm_msg_body(&m).data, want, strlen(want));
		assert_int_equal(alm_msg_offset(&m), i);
		assert_string_equal(m.topic, "orders");
	}
}

static void
test_a_subscription_gives_each_message_once_and_in_order(void **state)
{
	struct fixture *f = start();
	struct alm_sub_opts o = sub_opts(1);
	struct alm_msg m;
	struct alm_sub *s;

	(void)state;
	o.window = 4096; /* many rounds of credit */
	join(f);
	publish(f, 0, 500);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	assert_next_are(s, 0, 500);
	assert_int_equal(alm_next(s, &m, 20), ALM_ETIMEOUT);
	publish(f, 500, 20);
	assert_next_are(s, 500, 20);
	alm_unsubscribe(s);
	stop(f);
}

static void
test_a_subscription_survives_reconnects(void **state)
{
	struct fixture *f = start();
	struct alm_sub_opts o = sub_opts(1);
	struct alm_sub *s;
	uint32_t i;

	(void)state;
	o.window = 4096;
	join(f);
	publish(f, 0, 1000);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	for (i = 0; i < 10; i++) {
		fakenode_cut_out(f->node, 3000 + 77 * i);
		assert_next_are(s, i * 100, 100);
	}
	stop(f);
}

static void
test_a_subscription_counts_what_retention_removed(void **state)
{
	struct fixture *f = start();
	struct alm_sub_opts o = sub_opts(1);
	struct alm_sub *s;

	(void)state;
	join(f);
	publish(f, 0, 100);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	fakenode_retain(f->node, 60);
	o.start = ALM_START_OFFSET;
	o.start_value = 10;
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	assert_next_are(s, 60, 40);
	assert_int_equal(alm_sub_gap(s), 50);
	stop(f);
}

static void
test_a_group_goes_on_where_it_committed(void **state)
{
	struct fixture *f = start();
	struct alm_sub_opts o = sub_opts(1);
	struct alm_sub *s;
	uint64_t offset = 0;

	(void)state;
	join(f);
	publish(f, 0, 100);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	o.group = "billing";
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	assert_next_are(s, 0, 40);
	assert_int_equal(alm_sub_commit(s), ALM_OK);
	alm_unsubscribe(s);
	assert_int_equal(alm_committed(f->c, "billing", "orders", 1, &offset), ALM_OK);
	assert_int_equal(offset, 40);
	assert_int_equal(alm_committed(f->c, "billing", "orders", 0, &offset), ALM_ENOTFOUND);
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	assert_next_are(s, 40, 60);
	stop(f);
}

struct counter {
	uint32_t n, stop_at;
};

static void
on_message(void *arg, struct alm_sub *s, const struct alm_msg *m)
{
	struct counter *k = arg;

	(void)m;
	if (++k->n == k->stop_at)
		alm_unsubscribe(s);
}

static void
test_a_callback_may_end_its_own_subscription(void **state)
{
	struct fixture *f = start();
	struct alm_sub_opts o = sub_opts(ALM_QUEUE_ANY);
	struct counter k = {.stop_at = 30};
	struct alm_sub *s;
	uint32_t i;

	(void)state;
	join(f);
	publish(f, 0, 100);
	assert_int_equal(alm_flush(f->c), ALM_OK);
	o.cb = on_message;
	o.arg = &k;
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	for (i = 0; i < 20; i++)
		assert_int_equal(alm_poll(f->c, 5), ALM_OK);
	assert_int_equal(k.n, 30);
	stop(f);
}

static void
test_only_wanted_tags_come(void **state)
{
	struct fixture *f = start();
	struct alm_sub_opts o = sub_opts(0);
	const char *const tags[] = {"red", "green"};
	const char *const all[] = {"red", "blue", "green", "blue", "red"};
	struct alm_pub m = message("orders", 0, "x");
	struct alm_msg got;
	struct alm_sub *s;
	uint32_t i;

	(void)state;
	join(f);
	for (i = 0; i < 5; i++) {
		m.tag = (struct alm_slice){all[i], strlen(all[i])};
		assert_int_equal(alm_publish(f->c, &m, NULL), ALM_OK);
	}
	o.tags = tags;
	o.n_tags = 2;
	assert_int_equal(alm_subscribe(f->c, &o, &s), ALM_OK);
	for (i = 0; i < 5; i += 2) {
		assert_int_equal(alm_next(s, &got, 1000), ALM_OK);
		assert_int_equal(alm_msg_offset(&got), i);
	}
	assert_int_equal(alm_next(s, &got, 10), ALM_ETIMEOUT);
	stop(f);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static int
count_topics(void *arg, const char *name, const struct alm_topic *t)
{
	uint32_t *n = arg;

	(void)name;
	(void)t;
	++*n;
	return 0;
}

static int
one_offset(void *arg, const char *topic, uint32_t queue, const struct alm_offset *o)
{
	uint64_t *out = arg;

	assert_string_equal(topic, "orders");
	assert_int_equal(queue, 3);
	*out = o->offset;
	return 0;
}

static void
test_requests_are_answered(void **state)
{
	struct fixture *f = start();
	struct alm_topic t = {.queues = 8}, got;
	uint64_t begin, end, us, offset = 0;
	uint32_t n = 0;
	char *json;

	(void)state;
	join(f);
	assert_int_equal(alm_topic_create(f->c, "new", &t), ALM_OK);
	assert_int_equal(alm_topic_create(f->c, "new", &t), ALM_EEXIST);
	assert_int_equal(alm_topic_get(f->c, "new", &got), ALM_OK);
	assert_int_equal(got.queues, 8);
	assert_int_equal(alm_topic_get(f->c, "none", &got), ALM_ENOTFOUND);
	assert_int_equal(alm_topic_list(f->c, count_topics, &n), ALM_OK);
	assert_int_equal(n, 2);
	assert_int_equal(alm_bounds(f->c, "orders", 0, &begin, &end), ALM_OK);
	assert_int_equal(end, 0);
	assert_int_equal(alm_commit(f->c, "g", "orders", 3, 77), ALM_OK);
	assert_int_equal(alm_group_offsets(f->c, "g", one_offset, &offset), ALM_OK);
	assert_int_equal(offset, 77);
	assert_int_equal(alm_admin(f->c, "info", &json), ALM_OK);
	assert_string_equal(json, "{}");
	free(json);
	assert_int_equal(alm_ping(f->c, &us), ALM_OK);
	stop(f);
}

static void
test_a_request_ends_at_its_deadline(void **state)
{
	struct fixture *f = start();
	uint64_t begin, end;

	(void)state;
	join(f);
	alm_set_timeout(f->c, 30);
	fakenode_hold(f->node, 1);
	assert_int_equal(alm_bounds(f->c, "orders", 0, &begin, &end), ALM_ETIMEOUT);
	fakenode_hold(f->node, 0);
	alm_set_timeout(f->c, 10000);
	assert_int_equal(alm_bounds(f->c, "orders", 0, &begin, &end), ALM_OK);
	stop(f);
}

static int
no_dial(void *arg, const char *server)
{
	(void)arg;
	(void)server;
	return -1;
}

static void
test_no_server_is_a_clear_error(void **state)
{
	struct alm_options o;
	struct alm_client *c;

	(void)state;
	alm_options_init(&o);
	o.dial = no_dial;
	o.timeout_ms = 50;
	assert_int_equal(alm_connect(&o, &c), ALM_EUNAVAILABLE);
	assert_null(c);
	assert_non_null(strstr(alm_error(NULL), "127.0.0.1:7450"));
	o.servers = "";
	assert_int_equal(alm_connect(&o, &c), ALM_EINVAL);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a_publish_is_acknowledged_with_its_place),
	    cmocka_unit_test(test_callbacks_come_once_each_and_in_order),
	    cmocka_unit_test(test_messages_that_linger_are_sent_in_one_batch),
	    cmocka_unit_test(test_a_message_keeps_key_tag_and_properties),
	    cmocka_unit_test(test_keyed_messages_of_one_batch_go_to_their_queues),
	    cmocka_unit_test(test_what_the_server_would_not_take_is_refused_at_once),
	    cmocka_unit_test(test_a_full_buffer_says_so),
	    cmocka_unit_test(test_partial_reads_and_writes_change_nothing),
	    cmocka_unit_test(test_a_connection_that_drops_mid_frame_loses_nothing),
	    cmocka_unit_test(test_lost_acks_are_answered_as_duplicates),
	    cmocka_unit_test(test_a_refused_batch_takes_the_later_ones_with_it),
	    cmocka_unit_test(test_the_first_batch_of_a_producer_travels_alone),
	    cmocka_unit_test(test_a_batch_given_up_does_not_block_the_next),
	    cmocka_unit_test(test_answers_out_of_order_call_back_in_order),
	    cmocka_unit_test(test_a_second_answer_is_ignored),
	    cmocka_unit_test(test_a_full_ring_parks_and_goes_on),
	    cmocka_unit_test(test_a_redirect_is_followed_and_nothing_is_lost),
	    cmocka_unit_test(test_goaway_moves_to_another_connection),
	    cmocka_unit_test(test_a_silent_server_is_left),
	    cmocka_unit_test(test_closing_fails_what_is_unacknowledged_in_order),
	    cmocka_unit_test(test_the_delivery_timeout_gives_up),
	    cmocka_unit_test(test_random_faults_lose_double_and_reorder_nothing),
	    cmocka_unit_test(test_a_subscription_gives_each_message_once_and_in_order),
	    cmocka_unit_test(test_a_subscription_survives_reconnects),
	    cmocka_unit_test(test_a_subscription_counts_what_retention_removed),
	    cmocka_unit_test(test_a_group_goes_on_where_it_committed),
	    cmocka_unit_test(test_a_callback_may_end_its_own_subscription),
	    cmocka_unit_test(test_only_wanted_tags_come),
	    cmocka_unit_test(test_requests_are_answered),
	    cmocka_unit_test(test_a_request_ends_at_its_deadline),
	    cmocka_unit_test(test_no_server_is_a_clear_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
