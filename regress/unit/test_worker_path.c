/* The worker's main path: connections in, groups to the ledger, results and fetches back. */
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

static int
setup(void **state)
{
	struct rig *r = rig_new(NULL);

	rig_topic(r, "orders", 1, 4);
	rig_run(r);
	*state = r;
	return 0;
}

static int
teardown(void **state)
{
	rig_free(*state);
	return 0;
}

static int
publish(struct rig *r, struct alm_session *s, uint64_t tag, uint32_t topic, const char *body)
{
	struct alm_message m = {.topic = topic, .queue = 1, .body = {body, strlen(body)},
	    .producer = 9, .sequence = 3};
	struct alm_append a = {.size = sizeof a, .n_messages = 1, .messages = &m};

	return r->broker->append(s->conn, tag, &a);
}

static void
fetch(struct rig *r, struct alm_session *s, uint64_t tag, uint32_t queue, uint64_t offset,
    uint32_t wait_ms)
{
	struct alm_fetch f = {.size = sizeof f, .topic = 1, .queue = queue, .offset = offset,
	    .wait_ms = wait_ms};

	assert_int_equal(r->broker->fetch(s->conn, tag, &f), ALM_OK);
}

static void
an_append_goes_to_the_ledger_and_its_result_back(void **state)
{
	struct rig *r = *state;
	struct alm_session *s;
	int fd = rig_connect(r, &s);
	const struct alm_record *rec;

	assert_int_equal(publish(r, s, 77, 1, "hello"), ALM_OK);
	assert_int_equal(s->n_done, 0);
	rig_run(r);

	assert_int_equal(r->n_append, 1);
	assert_int_equal(r->append[0].head.n_records, 1);
	rec = (const void *)r->append[0].bytes.data;
	assert_int_equal(rec->length, r->append[0].bytes.len);
	assert_int_equal(rec->kind, ALM_REC_MESSAGE);
	assert_int_equal(rec->producer, 9);
	assert_int_equal(rec->sequence, 3);
	assert_true(rec->born > 0);
	assert_memory_equal(alm_record_body(rec).data, "hello", 5);
	assert_int_equal(alm_record_body(rec).len, 5);

	rig_result(r, 0, ALM_OK, 42, 0);
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	assert_int_equal(rig_last(s)->d.tag, 77);
	assert_int_equal(rig_last(s)->d.which, ALM_DONE_APPEND);
	assert_int_equal(rig_last(s)->d.first_offset, 42);
	assert_int_equal(rig_last(s)->d.n_messages, 1);
	close(fd);
}

static void
a_fetch_reads_the_backlog_through_the_index(void **state)
{
	struct rig *r = *state;
	struct alm_session *s;
	const struct alm_batch *b = rig_messages(r, 1, 1, 5, NULL, 100);
	int fd;

	rig_messages(r, 1, 1, 5, NULL, 100);
	fd = rig_connect(r, &s);
	fetch(r, s, 1, 1, 2, 0);
	rig_run(r);

	assert_int_equal(s->n_done, 1);
	assert_int_equal(rig_last(s)->d.status, ALM_OK);
	assert_int_equal(rig_last(s)->d.n_chunks, 2);
	assert_int_equal(rig_last(s)->d.next_offset, 10);
	assert_int_equal(rig_last(s)->d.begin, 0);
	assert_int_equal(rig_last(s)->d.end, 10);
	assert_int_equal(rig_last(s)->d.n_messages, 8);
	assert_int_equal(rig_last(s)->chunk_len[1], b->dir_offset - sizeof *b);
	assert_int_equal(((const struct alm_record *)(const void *)rig_last(s)->bytes.data)->offset,
	    2);
	close(fd);
}

static void
a_long_poll_is_answered_when_a_message_comes(void **state)
{
	struct rig *r = *state;
	struct alm_session *s;
	uint64_t turns;
	int fd = rig_connect(r, &s);

	fetch(r, s, 5, 2, 0, 60000);
	rig_run(r);
	assert_int_equal(s->n_done, 0);
	assert_int_equal(atomic_load(&r->env.self.head->want_tail), 1);
	turns = atomic_load(&r->env.self.head->counter[COUNT_TURNS]);
	rig_run(r);
	rig_run(r);
	assert_int_equal(atomic_load(&r->env.self.head->counter[COUNT_TURNS]), turns); /* it sleeps */

	rig_messages(r, 1, 3, 1, NULL, 10); /* another queue */
	rig_run(r);
	assert_int_equal(s->n_done, 0);

	rig_messages(r, 1, 2, 3, NULL, 10);
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	assert_int_equal(rig_last(s)->d.n_chunks, 1);
	assert_int_equal(rig_last(s)->d.next_offset, 3);
	assert_int_equal(rig_last(s)->d.end, 3);
	assert_int_equal(atomic_load(&r->env.self.head->want_tail), 0);
	close(fd);
}

static void
chunks_are_sent_from_the_log_and_then_let_go(void **state)
{
	struct rig *r = *state;
	struct alm_session *s;
	uint8_t got[8192];
	uint64_t total = 0;
	ssize_t n;
	int fd = rig_connect(r, &s);

	rig_messages(r, 1, 1, 2, NULL, 3000);
	s->echo = 1;
	fetch(r, s, 5, 1, 0, 0);
	rig_run(r);
	assert_int_equal(s->n_done, 1);
	while (total < rig_last(s)->bytes.len) {
		n = recv(fd, got + total, sizeof got - total, 0);
		assert_true(n > 0);
		total += (uint64_t)n;
	}
	assert_memory_equal(got, rig_last(s)->bytes.data, total);
	assert_true(atomic_load(&r->env.self.head->pin) == UINT64_MAX);
	close(fd);
}

static void
a_frame_in_pieces_is_put_together(void **state)
{
	struct rig *r = *state;
	struct alm_session *s;
	uint32_t len = 300000;
	uint8_t *big = calloc(1, len);
	int fd = rig_connect(r, &s);

	rig_send(r, fd, "abc", 3);
	assert_int_equal(s->frames, 1);
	rig_send(r, fd, big, len);
	assert_int_equal(s->frames, 2);
	assert_int_equal(s->frame_bytes, len);
	assert_int_equal(s->conn->in_cap, 0); /* nothing is kept when nothing is incomplete */
	free(big);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(an_append_goes_to_the_ledger_and_its_result_back, setup,
	        teardown),
	    cmocka_unit_test_setup_teardown(a_fetch_reads_the_backlog_through_the_index, setup,
	        teardown),
	    cmocka_unit_test_setup_teardown(a_long_poll_is_answered_when_a_message_comes, setup,
	        teardown),
	    cmocka_unit_test_setup_teardown(chunks_are_sent_from_the_log_and_then_let_go, setup,
	        teardown),
	    cmocka_unit_test_setup_teardown(a_frame_in_pieces_is_put_together, setup, teardown),
	};

	log_init("test", ALM_LOG_WARN, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
