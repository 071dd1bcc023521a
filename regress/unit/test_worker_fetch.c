/* The worker's reading side: index and recent rows, filters, chunks, limits, long poll, pins. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "regress/lib/workerrig.h"

static struct alm_session *s;
static int fd;

static int
setup(void **state)
{
	struct rig *r = rig_new(NULL);

	rig_topic(r, "orders", 1, 4);
	fd = rig_connect(r, &s);
	*state = r;
	return 0;
}

static int
teardown(void **state)
{
	close(fd);
	rig_free(*state);
	return 0;
}

/* Ask and run; NULL if it is not answered yet. */
static struct rig_done *
ask(struct rig *r, struct alm_fetch f)
{
	uint32_t before = s->n_done;

	f.size = sizeof f;
	if (!f.topic)
		f.topic = 1;
	assert_int_equal(r->broker->fetch(s->conn, 1, &f), ALM_OK);
	assert_int_equal(s->n_done, before); /* never answered inside the call */
	rig_run(r);
	return s->n_done == before ? NULL : rig_last(s);
}

static uint64_t
first_offset(const struct rig_done *d)
{
	return ((const struct alm_record *)(const void *)d->bytes.data)->offset;
}

/* ---- where the rows come from ---- */

static void
the_tail_is_read_without_asking_the_index(void **state)
{
	struct rig *r = *state;
	uint32_t asked;

	rig_messages(r, 1, 0, 1, NULL, 10);
	assert_int_equal(ask(r, (struct alm_fetch){.offset = 0})->d.next_offset, 1);
	asked = r->questions;
	for (uint64_t i = 1; i < 20; i++) {
		rig_messages(r, 1, 0, 1, NULL, 10);
		assert_int_equal(ask(r, (struct alm_fetch){.offset = i})->d.next_offset, i + 1);
	}
	assert_int_equal(r->questions, asked);
}

static void
catching_up_asks_once_for_many_batches(void **state)
{
	struct rig *r = *state;
	uint64_t at = 0;

	for (int i = 0; i < 200; i++)
		rig_messages(r, 1, 0, 3, NULL, 10);
	while (at < 600) {
		struct rig_done *d = ask(r, (struct alm_fetch){.offset = at, .max_messages = 2});

		assert_int_equal(first_offset(d), at);
		assert_int_equal(d->d.n_messages, at % 600 == 599 ? 1 : 2);
		at = d->d.next_offset;
	}
	assert_int_equal(at, 600);
	assert_int_equal(r->questions, 2); /* bounds, rows */
}

static void
nothing_is_missed_between_a_lagging_index_and_recent_rows(void **state)
{
	struct rig *r = *state;
	struct rig_done *d;

	rig_messages(r, 1, 0, 5, NULL, 10);
	r->applied = r->log[0].length; /* has the topic only */
	assert_null(ask(r, (struct alm_fetch){.offset = 0, .wait_ms = 50}));
	rig_messages(r, 1, 0, 5, NULL, 10);
	rig_run(r);
	assert_int_equal(s->n_done, 0); /* held, not answered "gone" or "empty" */
	r->applied = r->log[1].position + r->log[1].length;
	rig_run(r);
	d = rig_last(s);
	assert_int_equal(d->d.status, ALM_OK);
	assert_int_equal(first_offset(d), 0);
	assert_int_equal(d->d.end, 10);
	d = ask(r, (struct alm_fetch){.offset = 5}); /* the index has not seen it */
	assert_int_equal(first_offset(d), 5);
	assert_int_equal(d->d.next_offset, 10);
}

static void
rows_pushed_out_of_the_recent_ones_come_from_the_index(void **state)
{
	struct rig *r = *state;

	assert_int_equal(ask(r, (struct alm_fetch){.offset = 0})->d.n_chunks, 0);
	for (int i = 0; i < 100; i++)
		rig_messages(r, 1, 0, 1, NULL, 10);
	assert_int_equal(first_offset(ask(r, (struct alm_fetch){.offset = 99})), 99);
	assert_int_equal(first_offset(ask(r, (struct alm_fetch){.offset = 3})), 3);
}

static void
a_restarted_indexer_is_asked_again(void **state)
{
	struct rig *r = *state;

	rig_messages(r, 1, 0, 5, NULL, 10);
	r->index_off = 1;
	assert_null(ask(r, (struct alm_fetch){.offset = 0}));
	rig_indexer_restart(r);
	rig_run(r);
	assert_int_equal(s->n_done, 0);
	r->index_off = 0;
	rig_run(r);
	assert_int_equal(rig_last(s)->d.n_messages, 5);
}

static void
without_an_index_a_fetch_is_unavailable_in_the_end(void **state)
{
	struct rig *r = *state;
	struct request *q;

	rig_messages(r, 1, 0, 5, NULL, 10);
	r->index_off = 1;
	assert_null(ask(r, (struct alm_fetch){.offset = 0}));
	q = container_of(s->conn->requests.next, struct request, of_conn);
	assert_true(q->timer.at >= rig_worker(r)->now + 4000000);
	timer_set(rig_worker(r), &q->timer, clock_mono());
	timers_arm(rig_worker(r));
	usleep(2000);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_EUNAVAILABLE);
	r->index_off = 0;
	rig_run(r); /* the late answer finds nobody */
	assert_int_equal(s->n_done, 1);
}

/* ---- what is handed out ---- */

static void
adjacent_records_of_a_queue_are_one_chunk(void **state)
{
	struct rig *r = *state;
	const struct alm_batch *b;
	struct rig_done *d;

	rig_begin(r);
	mkb_message(&r->mk, 1, 0, NULL, NULL, "a", 1);
	mkb_message(&r->mk, 1, 0, NULL, NULL, "b", 1);
	mkb_message(&r->mk, 1, 1, NULL, NULL, "other", 5);
	mkb_message(&r->mk, 1, 0, NULL, NULL, "c", 1);
	b = rig_batch(r);
	d = ask(r, (struct alm_fetch){.queue = 0});
	assert_int_equal(d->d.n_chunks, 2);
	assert_int_equal(d->d.n_messages, 3);
	assert_int_equal(d->chunk_len[0], 2 * d->chunk_len[1]);
	assert_int_equal(d->chunk_position[0], b->position + sizeof *b);
	d = ask(r, (struct alm_fetch){.queue = 1});
	assert_int_equal(d->d.n_chunks, 1);
	assert_int_equal(first_offset(d), 0);
}

static void
limits_stop_it_but_one_message_always_comes(void **state)
{
	struct rig *r = *state;
	struct rig_done *d;

	rig_messages(r, 1, 0, 10, NULL, 1000);
	d = ask(r, (struct alm_fetch){.max_bytes = 1});
	assert_int_equal(d->d.n_messages, 1);
	assert_int_equal(d->d.next_offset, 1);
	d = ask(r, (struct alm_fetch){.max_bytes = 3500});
	assert_int_equal(d->d.n_messages, 3);
	d = ask(r, (struct alm_fetch){.max_messages = 7, .offset = 1});
	assert_int_equal(d->d.n_messages, 7);
	assert_int_equal(d->d.next_offset, 8);
}

static void
a_tag_filter_skips_and_says_how_far(void **state)
{
	struct rig *r = *state;
	struct rig_done *d;

	rig_begin(r);
	mkb_message(&r->mk, 1, 0, "red", NULL, "1", 1);
	mkb_message(&r->mk, 1, 0, "blue", NULL, "2", 1);
	mkb_message(&r->mk, 1, 0, NULL, NULL, "3", 1);
	mkb_message(&r->mk, 1, 0, "green", NULL, "4", 1);
	rig_batch(r);
	rig_messages(r, 1, 0, 50, "blue", 10);

	d = ask(r, (struct alm_fetch){.tags = {"red\0green", 9}});
	assert_int_equal(d->d.n_messages, 2);
	assert_int_equal(d->d.n_chunks, 2);
	d = ask(r, (struct alm_fetch){.tags = {"red", 3}, .offset = 1});
	assert_int_equal(d->d.status, ALM_OK);
	assert_int_equal(d->d.n_messages, 0);
	assert_int_equal(d->d.next_offset, 54);
}

static void
a_filtered_long_poll_waits_for_its_tag(void **state)
{
	struct rig *r = *state;
	struct rig_done *d;

	assert_null(ask(r, (struct alm_fetch){.tags = {"red", 3}, .wait_ms = 60000}));
	rig_messages(r, 1, 0, 5, "blue", 10);
	rig_run(r);
	assert_int_equal(s->n_done, 0);
	rig_messages(r, 1, 0, 1, "red", 10);
	rig_run(r);
	d = rig_last(s);
	assert_int_equal(d->d.n_messages, 1);
	assert_int_equal(first_offset(d), 5);
}

/* ---- ends ---- */

static void
offsets_out_of_range_say_where_the_queue_is(void **state)
{
	struct rig *r = *state;
	struct rig_done *d;

	rig_messages(r, 1, 0, 5, NULL, 10);
	rig_messages(r, 1, 0, 5, NULL, 10);
	d = ask(r, (struct alm_fetch){.offset = 11});
	assert_int_equal(d->d.status, ALM_EOFFSET);
	assert_int_equal(d->d.end, 10);
	assert_int_equal(ask(r, (struct alm_fetch){.offset = 1})->d.status, ALM_OK);

	/* Retention takes the first batch of the queue. */
	atomic_store(&r->ledger.head->page.control.first, r->log[2].position);
	d = ask(r, (struct alm_fetch){.offset = 1});
	assert_int_equal(d->d.status, ALM_EOFFSET);
	assert_int_equal(d->d.begin, 5);
	assert_int_equal(d->d.end, 10);
	assert_int_equal(first_offset(ask(r, (struct alm_fetch){.offset = 5})), 5);
}

static void
unknown_topics_and_queues_are_not_found(void **state)
{
	struct rig *r = *state;

	assert_int_equal(ask(r, (struct alm_fetch){.topic = 9})->d.status, ALM_ENOTFOUND);
	assert_int_equal(ask(r, (struct alm_fetch){.queue = 4})->d.status, ALM_ENOTFOUND);
}

static void
a_poll_on_a_deleted_topic_is_not_found(void **state)
{
	struct rig *r = *state;
	struct mkb_op gone = {"orders", 6, NULL, 0};

	assert_null(ask(r, (struct alm_fetch){.wait_ms = 60000}));
	rig_begin(r);
	mkb_state(&r->mk, ALM_NS_TOPIC, &gone, 1);
	rig_batch(r);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_ENOTFOUND);
}

static void
a_poll_ends_at_its_deadline_or_when_cancelled(void **state)
{
	struct rig *r = *state;

	rig_messages(r, 1, 0, 2, NULL, 10);
	assert_null(ask(r, (struct alm_fetch){.offset = 2, .wait_ms = 20}));
	usleep(25000);
	rig_run(r);
	assert_int_equal(rig_last(s)->d.status, ALM_OK);
	assert_int_equal(rig_last(s)->d.n_chunks, 0);
	assert_int_equal(rig_last(s)->d.end, 2);
	assert_int_equal(rig_last(s)->d.next_offset, 2);

	assert_null(ask(r, (struct alm_fetch){.offset = 2, .wait_ms = 60000}));
	r->broker->fetch_cancel(s->conn, 1);
	rig_run(r);
	assert_int_equal(s->n_done, 2);
	assert_int_equal(rig_worker(r)->waiting, 0);
}

static void
a_broken_record_is_an_error_behind_what_is_good(void **state)
{
	struct rig *r = *state;
	const struct alm_batch *b;
	struct alm_record *rec;
	struct rig_done *d;

	rig_begin(r);
	for (int i = 0; i < 3; i++)
		mkb_message(&r->mk, 1, i == 1, NULL, NULL, "x", 1);
	mkb_message(&r->mk, 1, 0, NULL, NULL, "y", 1);
	b = rig_batch(r);
	rec = (void *)((uint8_t *)(uintptr_t)b + sizeof *b + 2 * 72);
	rec->magic = 0;
	d = ask(r, (struct alm_fetch){.offset = 0});
	assert_int_equal(d->d.status, ALM_OK);
	assert_int_equal(d->d.n_messages, 1);
	d = ask(r, (struct alm_fetch){.offset = d->d.next_offset});
	assert_int_equal(d->d.status, ALM_ECORRUPT);
}

/* ---- pins and output ---- */

static void
a_slow_reader_pins_its_batches_until_it_has_read(void **state)
{
	struct rig *r = *state;
	struct alm_session *slow;
	uint8_t buf[65536];
	int small = 4096, sock, fetched = 0;
	ssize_t n;

	sock = rig_connect(r, &slow);
	setsockopt(slow->conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	slow->echo = 1;
	for (int i = 0; i < 20; i++)
		rig_messages(r, 1, 0, 10, NULL, 100000);
	while (r->broker->pending(slow->conn) == 0 && fetched < 20) {
		struct alm_fetch f = {.size = sizeof f, .topic = 1, .max_bytes = 1000000,
		    .offset = (uint64_t)fetched++ * 10};

		r->broker->fetch(slow->conn, 1, &f);
		rig_run(r);
	}
	assert_true(r->broker->pending(slow->conn) > 0);
	assert_true(atomic_load(&r->env.self.head->pin) < UINT64_MAX);
	assert_int_equal(slow->writables, 0);

	while (r->broker->pending(slow->conn) && (n = recv(sock, buf, sizeof buf, 0)) > 0)
		rig_turn(r);
	rig_run(r);
	assert_true(atomic_load(&r->env.self.head->pin) == UINT64_MAX);
	assert_true(slow->writables > 0);
	assert_int_equal(rig_worker(r)->pins.n, 0);
	close(sock);
}

static void
closing_a_connection_lets_its_batches_go(void **state)
{
	struct rig *r = *state;
	struct alm_session *slow;
	int small = 4096, sock = rig_connect(r, &slow);

	setsockopt(slow->conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	slow->echo = 1;
	rig_messages(r, 1, 0, 40, NULL, 100000);
	for (int i = 0; i < 4; i++) {
		struct alm_fetch f = {.size = sizeof f, .topic = 1, .max_bytes = 8 << 20};

		r->broker->fetch(slow->conn, 1, &f);
		rig_run(r);
	}
	assert_true(rig_worker(r)->pins.n > 0);
	close(sock);
	rig_run(r);
	if (r->n_closed == 0) { /* the FIN alone does not say that nobody reads */
		usleep(20000);
		rig_run(r);
	}
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(rig_worker(r)->pins.n, 0);
	assert_true(atomic_load(&r->env.self.head->pin) == UINT64_MAX);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(the_tail_is_read_without_asking_the_index),
	    T(catching_up_asks_once_for_many_batches),
	    T(nothing_is_missed_between_a_lagging_index_and_recent_rows),
	    T(rows_pushed_out_of_the_recent_ones_come_from_the_index),
	    T(a_restarted_indexer_is_asked_again),
	    T(without_an_index_a_fetch_is_unavailable_in_the_end),
	    T(adjacent_records_of_a_queue_are_one_chunk),
	    T(limits_stop_it_but_one_message_always_comes),
	    T(a_tag_filter_skips_and_says_how_far),
	    T(a_filtered_long_poll_waits_for_its_tag),
	    T(offsets_out_of_range_say_where_the_queue_is),
	    T(unknown_topics_and_queues_are_not_found),
	    T(a_poll_on_a_deleted_topic_is_not_found),
	    T(a_poll_ends_at_its_deadline_or_when_cancelled),
	    T(a_broken_record_is_an_error_behind_what_is_good),
	    T(a_slow_reader_pins_its_batches_until_it_has_read),
	    T(closing_a_connection_lets_its_batches_go),
	};

	log_init("test", ALM_LOG_WARN, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
