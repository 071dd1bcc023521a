/* The worker's connections: reading, limits, slow readers, every way to end, many idle ones. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <setjmp.h>
#include <errno.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "regress/lib/workerrig.h"

static struct alm_session *s;
static int fd;

static int
setup(void **state)
{
	static const char *const small[] = {"limits.max_output=64k", "server.max_connections=3",
	    NULL};
	struct rig *r = rig_new(small);

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

/* 1: the peer's end has closed; what came before is dropped. */
static int
ended(int sock)
{
	char buf[65536];
	ssize_t n;

	while ((n = recv(sock, buf, sizeof buf, MSG_DONTWAIT)) > 0)
		;
	return n == 0 || errno == ECONNRESET;
}

static void
bytes_arrive_and_leave(void **state)
{
	struct rig *r = *state;
	char got[16];

	rig_send(r, fd, "hello", 5);
	assert_int_equal(s->frames, 1);
	assert_int_equal(r->broker->write(s->conn, "abc", 3), ALM_OK);
	assert_int_equal(r->broker->write(s->conn, "def", 3), ALM_OK);
	assert_int_equal(r->broker->pending(s->conn), 6);
	rig_run(r);
	assert_int_equal(recv(fd, got, sizeof got, 0), 6); /* one send */
	assert_memory_equal(got, "abcdef", 6);
	assert_int_equal(r->broker->pending(s->conn), 0);
}

static void
the_peer_is_named(void **state)
{
	struct rig *r = *state;
	struct alm_session *u;
	char want[80];
	int sock = rig_connect_unix(r, &u);

	assert_memory_equal(s->peer, "127.0.0.1:", 10);
	snprintf(want, sizeof want, "unix:uid=%u,pid=%d", getuid(), getpid());
	assert_string_equal(u->peer, want);
	assert_int_not_equal(u->id, s->id);
	assert_int_equal(u->id >> 48, 1);
	assert_int_equal(u->id >> 40 & 0xff, 1);
	close(sock);
}

static void
a_frame_over_the_limit_closes(void **state)
{
	struct rig *r = *state;
	uint32_t len = 100000;
	uint8_t *big = calloc(1, len + 4);

	r->frame_limit = 50000;
	memcpy(big, &len, 4);
	assert_int_equal(send(fd, big, 60000, 0), 60000);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(r->closed_status, ALM_ETOOBIG);
	assert_true(ended(fd));
	free(big);
}

static void
hostile_bytes_close_with_the_providers_status(void **state)
{
	struct rig *r = *state;
	struct alm_session *other;
	int sock = rig_connect(r, &other);

	assert_int_equal(send(fd, "\xff\xff\xff\xff", 4, 0), 4);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(r->closed_status, ALM_EPROTO);
	rig_send(r, sock, "x", 1);
	assert_int_equal(other->frames, 1); /* nobody else notices */
	close(sock);
}

static void
a_paused_connection_keeps_its_bytes(void **state)
{
	struct rig *r = *state;

	r->broker->pause(s->conn, 1);
	assert_int_equal(send(fd, "\1\0\0\0a\1\0\0\0b", 10, 0), 10);
	rig_run(r);
	assert_int_equal(s->frames, 0);
	r->broker->pause(s->conn, 0);
	rig_run(r);
	assert_int_equal(s->frames, 2);
}

static void
a_provider_may_close_while_it_reads(void **state)
{
	struct rig *r = *state;

	s->close_in_input = 1;
	assert_int_equal(send(fd, "\1\0\0\0a\1\0\0\0b\2\0\0\0", 14, 0), 14);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(r->closed_status, ALM_OK);
}

static void
close_sends_what_was_written(void **state)
{
	struct rig *r = *state;
	char got[8];

	r->broker->write(s->conn, "bye", 3);
	r->broker->close(s->conn, ALM_ECLOSED, 0);
	assert_int_equal(r->broker->write(s->conn, "x", 1), ALM_ECLOSED);
	rig_run(r);
	assert_int_equal(recv(fd, got, sizeof got, 0), 3);
	assert_int_equal(recv(fd, got, sizeof got, 0), 0);
	assert_int_equal(r->n_closed, 1);
}

static void
a_lingering_close_waits_for_the_peers_end(void **state)
{
	struct rig *r = *state;
	char got[8];

	r->broker->write(s->conn, "bye", 3);
	r->broker->close(s->conn, ALM_ECLOSED, 30000);
	rig_run(r);
	assert_int_equal(recv(fd, got, sizeof got, 0), 3);
	assert_int_equal(recv(fd, got, sizeof got, 0), 0);
	assert_int_equal(r->n_closed, 0);
	assert_int_equal(send(fd, "late", 4, MSG_NOSIGNAL), 4);
	rig_run(r);
	assert_int_equal(r->n_closed, 0);
	shutdown(fd, SHUT_WR);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
}

static void
a_half_closed_peer_still_gets_its_answers(void **state)
{
	struct rig *r = *state;
	struct alm_message m = {.topic = 1, .body = {"x", 1}};
	struct alm_append a = {.size = sizeof a, .n_messages = 1, .messages = &m};

	r->broker->append(s->conn, 1, &a);
	shutdown(fd, SHUT_WR);
	rig_run(r);
	assert_int_equal(r->n_closed, 0);
	rig_result(r, 0, ALM_OK, 0, 0);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
	assert_true(ended(fd));
}

static void
the_end_of_the_peer_ends_its_polls(void **state)
{
	struct rig *r = *state;
	struct alm_fetch f = {.size = sizeof f, .topic = 1, .wait_ms = 60000};

	r->broker->fetch(s->conn, 1, &f);
	rig_run(r);
	assert_int_equal(rig_worker(r)->waiting, 1);
	shutdown(fd, SHUT_RDWR);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(rig_worker(r)->waiting, 0);
}

static void
a_slow_reader_is_not_read_from_until_it_reads(void **state)
{
	struct rig *r = *state;
	static char block[32768], sink[65536];
	int small = 4096;

	setsockopt(s->conn->fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
	while (r->broker->pending(s->conn) <= 65536) {
		assert_int_equal(r->broker->write(s->conn, block, sizeof block), ALM_OK);
		rig_run(r);
	}
	rig_send(r, fd, "more", 4);
	assert_int_equal(s->frames, 0);
	assert_int_equal(s->writables, 0);
	while (s->frames == 0 && recv(fd, sink, sizeof sink, 0) > 0)
		rig_run(r);
	assert_int_equal(s->frames, 1);
	assert_true(s->writables > 0);
	assert_true(r->broker->pending(s->conn) <= 32768);
}

static void
endless_output_closes_the_connection(void **state)
{
	struct rig *r = *state;
	static char block[1 << 20];
	int i;

	for (i = 0; i < 100 && r->broker->write(s->conn, block, sizeof block) == ALM_OK; i++)
		;
	assert_true(i < 100);
	rig_run(r);
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(r->closed_status, ALM_ETOOBIG);
}

static void
a_deadline_fires_once_and_can_be_cleared(void **state)
{
	struct rig *r = *state;

	r->broker->deadline(s->conn, clock_mono() + 1000);
	r->broker->deadline(s->conn, clock_mono() + 2000);
	usleep(5000);
	rig_run(r);
	assert_int_equal(s->timers, 1);
	r->broker->deadline(s->conn, clock_mono() + 1000);
	r->broker->deadline(s->conn, 0);
	usleep(3000);
	rig_run(r);
	assert_int_equal(s->timers, 1);
}

static void
connections_over_the_limit_are_refused(void **state)
{
	struct rig *r = *state;
	int sock[3];

	for (int i = 0; i < 3; i++)
		sock[i] = rig_connect(r, NULL);
	assert_false(ended(sock[1]));
	assert_true(ended(sock[2]));
	assert_int_equal(rig_worker(r)->n_conns, 3);
	close(sock[0]);
	rig_run(r);
	close(sock[2]);
	sock[2] = rig_connect(r, NULL);
	assert_false(ended(sock[2]));
	close(sock[1]);
	close(sock[2]);
}

static void
a_provider_may_refuse_a_connection(void **state)
{
	struct rig *r = *state;
	int sock;

	r->refuse_open = ALM_EDENIED;
	sock = rig_connect(r, NULL);
	assert_true(ended(sock));
	assert_int_equal(rig_worker(r)->n_conns, 1);
	close(sock);
}

static void
notices_reach_a_connection_by_its_number(void **state)
{
	struct rig *r = *state;
	struct alm_session *other;
	int sock = rig_connect(r, &other);

	assert_int_equal(r->broker->notify(s->conn, other->id, "psst", 4), ALM_OK);
	assert_int_equal(other->notices, 0); /* not inside the call */
	rig_run(r);
	assert_int_equal(other->notices, 1);
	assert_memory_equal(other->notice, "psst", 4);
	close(sock);
}

static void
stopping_says_good_bye_and_finishes_what_is_under_way(void **state)
{
	struct rig *r = *state;
	struct alm_message m = {.topic = 1, .body = {"x", 1}};
	struct alm_append a = {.size = sizeof a, .n_messages = 1, .messages = &m};
	char got[8];

	r->broker->append(s->conn, 1, &a);
	rig_run(r);
	r->env.on_stop(&r->env);
	rig_run(r);
	assert_int_equal(s->shutdowns, 1);
	assert_int_equal(r->exit_code, -1);
	rig_result(r, 0, ALM_OK, 0, 0);
	rig_run(r);
	assert_int_equal(r->exit_code, EXIT_ASKED);
	assert_int_equal(r->n_closed, 1);
	assert_int_equal(recv(fd, got, sizeof got, 0), 3);
	assert_memory_equal(got, "bye", 3);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(bytes_arrive_and_leave),
	    T(the_peer_is_named),
	    T(a_frame_over_the_limit_closes),
	    T(hostile_bytes_close_with_the_providers_status),
	    T(a_paused_connection_keeps_its_bytes),
	    T(a_provider_may_close_while_it_reads),
	    T(close_sends_what_was_written),
	    T(a_lingering_close_waits_for_the_peers_end),
	    T(a_half_closed_peer_still_gets_its_answers),
	    T(the_end_of_the_peer_ends_its_polls),
	    T(a_slow_reader_is_not_read_from_until_it_reads),
	    T(endless_output_closes_the_connection),
	    T(a_deadline_fires_once_and_can_be_cleared),
	    T(connections_over_the_limit_are_refused),
	    T(a_provider_may_refuse_a_connection),
	    T(notices_reach_a_connection_by_its_number),
	    T(stopping_says_good_bye_and_finishes_what_is_under_way),
	};

	log_init("test", ALM_LOG_ERROR, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
