/* Tests of the ledger role as a whole: real storage and consensus plugins, fake workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <almadia/consensus.h>

#include "regress/unit/ledgerrig.h"
#include "state/checkpoint.h"

static struct rig rig;
static struct rig_group group;

static int
setup(void **state)
{
	int code = 0;

	(void)state;
	rig_init(&rig);
	if (rig_start(&rig, NULL, &code) != ALM_OK) {
		fprintf(stderr, "ledger_start: %s (exit %d)\n", err_text(), code);
		return -1;
	}
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	rig_stop(&rig);
	rig_fini(&rig);
	return 0;
}

static void
restart(void)
{
	int code = 0, status = rig_start(&rig, NULL, &code);

	if (status != ALM_OK)
		fprintf(stderr, "restart: %s (exit %d)\n", err_text(), code);
	assert_int_equal(status, ALM_OK);
}

static struct msg_result
publish(uint32_t slot, uint32_t topic, uint32_t queue, uint64_t producer, uint32_t sequence)
{
	struct msg_result r = {.status = ALM_ETIMEOUT};
	struct alm_record *rec;

	rig_group_begin(&rig, &group);
	rec = rig_message(&group, topic, queue, "hello", 5);
	rec->producer = producer;
	rec->sequence = sequence;
	assert_true(rig_ask(&rig, slot, &group, &r));
	return r;
}

static void
leads_with_an_empty_log(void **state)
{
	(void)state;
	assert_int_equal(rig.ready, 1);
	assert_int_equal(rig_page(&rig)->ready, 1);
	assert_int_equal(rig_page(&rig)->role, ALM_CNS_LEADER);
	assert_true(rig_page(&rig)->visible > 0);
}

static void
publishes_with_dense_offsets(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 4, ALM_DURABLE_STRICT), ALM_OK);
	for (uint64_t i = 0; i < 20; i++) {
		r = publish(1 + i % 2, 1, 2, 0, 0);
		assert_int_equal(r.status, ALM_OK);
		assert_int_equal(r.first_offset, i);
		assert_true(rig_page(&rig)->visible >= r.end && r.position < r.end && r.index > 1);
	}
}

static void
refuses_and_leaves_no_trace(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 4, ALM_DURABLE_STRICT), ALM_OK);
	r = publish(1, 7, 0, 0, 0);
	assert_int_equal(r.status, ALM_ENOTFOUND);
	assert_string_equal(r.detail, "no topic with id 7");
	assert_int_equal(publish(1, 1, 4, 0, 0).status, ALM_ENOTFOUND);
	assert_int_equal(rig_topic(&rig, "t", 4, ALM_DURABLE_STRICT), ALM_EEXIST);
	/* Second message bad: the first is not stored either. */
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1);
	rig_message(&group, 1, 9, "b", 1);
	assert_true(rig_ask(&rig, 1, &group, &r));
	assert_int_equal(r.status, ALM_ENOTFOUND);
	assert_int_equal(publish(1, 1, 0, 0, 0).first_offset, 0);
}

static void
answers_malformed_groups(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1)->length = 24;
	assert_true(rig_ask(&rig, 1, &group, &r));
	assert_int_equal(r.status, ALM_EINVAL);
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1)->kind = ALM_REC_RETAIN;
	assert_true(rig_ask(&rig, 1, &group, &r));
	assert_int_equal(r.status, ALM_EINVAL);
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1);
	group.head.n_conditions = UINT32_MAX;
	assert_true(rig_ask(&rig, 1, &group, &r));
	assert_int_equal(r.status, ALM_EINVAL);
	assert_int_equal(publish(1, 1, 0, 0, 0).first_offset, 0);
}

static void
cuts_off_a_worker_that_writes_nonsense(void **state)
{
	void *p = link_reserve(&rig.worker[2].link, 77, 8);

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	memset(p, 0, 8);
	link_commit(&rig.worker[2].link, 8);
	link_flush(&rig.worker[2].link);
	rig_run(&rig, 10);
	assert_false(link_up(&rig.worker[2].link));
	assert_int_equal(publish(1, 1, 0, 0, 0).status, ALM_OK);
}

static void
stores_a_retried_publish_once(void **state)
{
	struct msg_result a, b;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	a = publish(1, 1, 0, 42, 10);
	publish(1, 1, 0, 0, 0);
	assert_int_equal(publish(1, 1, 0, 42, 11).first_offset, 2);
	b = publish(2, 1, 0, 42, 10);
	assert_int_equal(b.status, ALM_OK);
	assert_int_equal(b.flags, RESULT_DUPLICATE);
	assert_int_equal(b.first_offset, a.first_offset);
	assert_int_equal(b.position, a.position);
	assert_int_equal(publish(1, 1, 0, 42, 13).status, ALM_EORDER);
	assert_int_equal(publish(1, 1, 0, 42, 12).first_offset, 3);
}

static void
answers_a_duplicate_of_an_uncommitted_original_after_it(void **state)
{
	struct msg_result a, b;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 2, ALM_DURABLE_STRICT), ALM_OK);
	rig_group_begin(&rig, &group);
	for (uint32_t i = 0; i < 3; i++) {
		struct alm_record *r = rig_message(&group, 1, i % 2, "x", 1);

		r->producer = 5;
		r->sequence = 1 + i;
	}
	/* Both in the ring before the ledger looks. */
	rig_send(&rig, 1, &group);
	rig_send(&rig, 1, &group);
	assert_true(rig_result(&rig, 1, &a, NULL) && rig_result(&rig, 1, &b, NULL));
	assert_int_equal(a.status, ALM_OK);
	assert_int_equal(a.n_offsets, 3);
	assert_int_equal(b.flags, RESULT_DUPLICATE);
	assert_int_equal(b.n_offsets, 3);
	assert_int_equal(b.position, a.position);
	assert_int_equal(b.end, a.end);
}

static void
gives_each_offset_of_a_group_over_several_queues(void **state)
{
	uint64_t offsets[8];
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 2, ALM_DURABLE_STRICT), ALM_OK);
	publish(1, 1, 1, 0, 0);
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1);
	rig_message(&group, 1, 1, "b", 1);
	rig_message(&group, 1, 0, "c", 1);
	rig_send(&rig, 1, &group);
	assert_true(rig_result(&rig, 1, &r, offsets));
	assert_int_equal(r.n_offsets, 3);
	assert_int_equal(offsets[0], 0);
	assert_int_equal(offsets[1], 1);
	assert_int_equal(offsets[2], 1);
}

static void
recovers_after_a_kill(void **state)
{
	struct msg_result a, b;
	uint64_t visible;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	publish(1, 1, 0, 42, 1);
	a = publish(1, 1, 0, 42, 2);
	visible = rig_page(&rig)->visible;
	rig_kill(&rig);
	restart();
	assert_true(rig_page(&rig)->visible > visible);
	assert_int_equal(rig_page(&rig)->term, 2);
	b = publish(1, 1, 0, 42, 2);
	assert_int_equal(b.flags, RESULT_DUPLICATE);
	assert_int_equal(b.position, a.position);
	assert_int_equal(b.first_offset, 1);
	assert_int_equal(publish(1, 1, 0, 42, 3).first_offset, 2);
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_EEXIST);
}

static void
starts_from_the_checkpoint_of_a_clean_stop(void **state)
{
	struct catalogue *c = catalogue_new();
	uint64_t position = 0;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 3, ALM_DURABLE_STRICT), ALM_OK);
	publish(1, 1, 2, 9, 1);
	rig_stop(&rig);
	assert_int_equal(rig.exit_code, EXIT_ASKED);
	assert_int_equal(catalogue_load(c, rig.dir, &position), ALM_OK);
	assert_non_null(catalogue_topic(c, (struct alm_slice){"t", 1}));
	assert_true(position > 0);
	catalogue_free(c);
	restart();
	assert_int_equal(publish(1, 1, 2, 9, 1).flags, RESULT_DUPLICATE);
	assert_int_equal(publish(1, 1, 2, 9, 2).first_offset, 1);
}

static void
ignores_a_damaged_checkpoint_while_the_log_has_its_begin(void **state)
{
	char path[200];
	FILE *f;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	publish(1, 1, 0, 0, 0);
	rig_stop(&rig);
	snprintf(path, sizeof path, "%s/" CKPT_FILE, rig.dir);
	f = fopen(path, "r+");
	assert_non_null(f);
	fseek(f, 170, SEEK_SET);
	fputc(0xee, f);
	fclose(f);
	restart();
	assert_int_equal(publish(1, 1, 0, 0, 0).first_offset, 1);
}

static void
acks_relaxed_topics_and_commits_them(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "r", 1, ALM_DURABLE_RELAXED), ALM_OK);
	r = publish(1, 1, 0, 0, 0);
	assert_int_equal(r.status, ALM_OK);
	while (rig_page(&rig)->visible < r.end)
		rig_run(&rig, 10);
}

static void
commits_what_a_dead_worker_published_and_forgets_its_results(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1);
	rig_send(&rig, 2, &group);
	region_unmap(&rig.worker[2].link.map);
	region_unmap(&rig.worker[2].self);
	close(rig.worker[2].fd);
	rig.worker[2].fd = region_create(PEER_WORKER(2), RIG_WORKERS, 100);
	assert_int_equal(region_map(rig.worker[2].fd, 1, &rig.worker[2].self), ALM_OK);
	link_init(&rig.worker[2].link, &rig.worker[2].self, PEER_LEDGER, rig.env.bell[PEER_LEDGER]);
	assert_int_equal(link_attach(&rig.worker[2].link, rig.ledger_fd), ALM_OK);
	rig.env.on_peer(&rig.env, PEER_WORKER(2), rig.worker[2].fd);
	rig.env.on_peer(&rig.env, PEER_WORKER(2), rig.worker[2].fd); /* again: changes nothing */
	r = publish(2, 1, 0, 0, 0);
	assert_int_equal(r.status, ALM_OK);
	assert_int_equal(r.first_offset, 1);
}

static void
passes_notifications_on(void **state)
{
	struct { struct msg_notify n; char text[8]; } m = {{.conn = 2ull << 40 | 77}, "hi"};
	uint32_t type, len;
	const void *p;

	(void)state;
	memcpy(link_reserve(&rig.worker[1].link, MSG_NOTIFY, sizeof m), &m, sizeof m);
	link_commit(&rig.worker[1].link, sizeof m);
	link_flush(&rig.worker[1].link);
	for (int i = 0; i < 50 && (p = link_peek(&rig.worker[2].link, &type, &len)) == NULL; i++)
		rig_run(&rig, 10);
	assert_non_null(p);
	assert_int_equal(type, MSG_NOTIFY);
	assert_memory_equal(p, &m, sizeof m);
}

/* Far more groups than fit into the result ring: none is lost, none is twice. */
static void
loses_no_result_when_the_ring_is_full(void **state)
{
	const uint32_t n = 60000;
	uint32_t sent = 0, got = 0;
	uint64_t next = 0;
	struct msg_result r;

	(void)state;
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "a", 1);
	while (got < n) {
		while (sent < n && link_reserve(&rig.worker[1].link, MSG_APPEND,
		    (uint32_t)sizeof group.head + group.len) != NULL) {
			rig_send(&rig, 1, &group);
			sent++;
		}
		if (got == 0) /* let everything back up that can */
			for (int i = 0; i < 100; i++)
				rig_run(&rig, 1);
		if (!rig_result(&rig, 1, &r, NULL))
			break;
		assert_int_equal(r.status, ALM_OK);
		assert_int_equal(r.first_offset, next++);
		got++;
	}
	assert_int_equal(got, n);
}

static void
moves_the_begin_of_the_log_by_size(void **state)
{
	static const char *const keep[] = {"storage segment.segment_size=1m", "storage segment.first_segment_size=1m",
	    "retention.bytes=4m",
	    NULL};
	static char body[60000];
	char path[200], aside[220];
	int code;

	(void)state;
	rig_stop(&rig);
	assert_int_equal(rig_start(&rig, keep, &code), ALM_OK);
	assert_int_equal(rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT), ALM_OK);
	for (uint32_t i = 0; i < 3000 && rig_page(&rig)->first == 0; i++) {
		struct msg_result r;

		rig_group_begin(&rig, &group);
		rig_message(&group, 1, 0, body, sizeof body);
		assert_true(rig_ask(&rig, 1, &group, &r));
		assert_int_equal(r.status, ALM_OK);
		atomic_store(&rig.indexer.self.head->page.index.ready, 1);
		atomic_store(&rig.indexer.self.head->page.index.synced, rig_page(&rig)->visible);
		if (i % 100 == 99)
			rig_wait(&rig, 1100);
	}
	assert_true(rig_page(&rig)->first > 0);
	assert_true(rig_page(&rig)->visible - rig_page(&rig)->first >= (4u << 20));
	rig_kill(&rig);
	assert_int_equal(rig_start(&rig, keep, &code), ALM_OK);
	assert_true(rig_page(&rig)->first > 0);
	assert_int_equal(publish(1, 1, 0, 0, 0).status, ALM_OK);
	/* Without the checkpoint nobody knows the topics of the part that is gone. */
	rig_stop(&rig);
	snprintf(path, sizeof path, "%s/" CKPT_FILE, rig.dir);
	snprintf(aside, sizeof aside, "%s.aside", path);
	assert_int_equal(rename(path, aside), 0);
	assert_int_not_equal(rig_start(&rig, keep, &code), ALM_OK);
	assert_int_equal(code, EXIT_DATA);
	assert_non_null(strstr(err_text(), CKPT_FILE));
	rig_kill(&rig);
	assert_int_equal(rename(aside, path), 0);
	assert_int_equal(rig_start(&rig, keep, &code), ALM_OK);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    T(leads_with_an_empty_log),
	    T(publishes_with_dense_offsets),
	    T(refuses_and_leaves_no_trace),
	    T(answers_malformed_groups),
	    T(cuts_off_a_worker_that_writes_nonsense),
	    T(stores_a_retried_publish_once),
	    T(answers_a_duplicate_of_an_uncommitted_original_after_it),
	    T(gives_each_offset_of_a_group_over_several_queues),
	    T(recovers_after_a_kill),
	    T(starts_from_the_checkpoint_of_a_clean_stop),
	    T(ignores_a_damaged_checkpoint_while_the_log_has_its_begin),
	    T(acks_relaxed_topics_and_commits_them),
	    T(commits_what_a_dead_worker_published_and_forgets_its_results),
	    T(passes_notifications_on),
	    T(loses_no_result_when_the_ring_is_full),
	    T(moves_the_begin_of_the_log_by_size),
	};

	log_init("test", ALM_LOG_WARN, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
