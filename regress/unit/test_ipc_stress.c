/* Stress of server/ipc: a worker and a ledger as two threads and as two processes.  They sleep on
 * epoll whenever they can, so a lost wake-up shows as a time-out; every byte is checked.
 *
 * With --enable-sanitize=thread both threads use one mapping of each region instead of their own:
 * the sanitizer goes by addresses and would otherwise see no sharing.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/fence.h"
#include "ipc/region.h"

#define SLOT1 PEER_WORKER(1)
#define SLEEP_MAX_MS 20000 /* longer than any stall of a loaded machine */

#ifdef ALM_TSAN
#define ROUNDS 4000u
#else
#define ROUNDS 40000u
#endif

struct role {
	struct region self;
	struct link link;
	struct bell bell;
	int fd, ro, ep;
	uint32_t n, window;
	const char *fault; /* what went wrong, NULL: nothing */
};

static void
role_start(
    struct role *r, uint32_t peer, uint64_t generation, uint32_t other, int bell, int other_bell)
{
	struct epoll_event ev = {.events = EPOLLIN};

	memset(r, 0, sizeof *r);
	r->fd = region_create(peer, 1, generation);
	r->ro = region_readonly_fd(r->fd);
	assert_int_equal(region_map(r->fd, 1, &r->self), ALM_OK);
	link_init(&r->link, &r->self, other, other_bell);
	r->bell = (struct bell){r->self.head, bell};
	r->ep = epoll_create1(EPOLL_CLOEXEC);
	assert_int_equal(epoll_ctl(r->ep, EPOLL_CTL_ADD, bell, &ev), 0);
}

static void
role_end(struct role *r)
{
	link_detach(&r->link);
	region_unmap(&r->self);
	close(r->fd);
	close(r->ro);
	close(r->ep);
}

/* The end of a turn that found nothing to do, by the rule of region.h. */
static int
role_sleep(struct role *r)
{
	struct epoll_event ev;
	int rc = 1;

	bell_arm(&r->bell);
	if (!link_readable(&r->link))
		rc = epoll_wait(r->ep, &ev, 1, SLEEP_MAX_MS);
	bell_disarm(&r->bell);
	if (rc == 0)
		r->fault = "a wake-up was lost";
	return rc != 0;
}

static uint32_t
request_len(uint32_t seq)
{
	return seq * 31 % 3001;
}

static uint32_t
answer_len(uint32_t seq)
{
	return 4 + seq * 17 % 9973;
}

static int
send(struct link *l, uint32_t seq, uint32_t len)
{
	uint8_t *p = link_reserve(l, 1 + seq, len);

	if (p == NULL)
		return 0;
	memset(p, (int)(seq & 255), len);
	link_commit(l, len);
	return 1;
}

/* Take the next record if there is one: it has to be seq, with its length and bytes. */
static int
receive(struct role *r, uint32_t seq, uint32_t want)
{
	uint32_t type, len, i;
	const uint8_t *p = link_peek(&r->link, &type, &len);

	if (p == NULL)
		return 0;
	if (type != 1 + seq || len != want) {
		r->fault = "a record out of order";
		return 0;
	}
	for (i = 0; i < len; i++)
		if (p[i] != (uint8_t)seq) {
			r->fault = "a record with wrong bytes";
			return 0;
		}
	link_consume(&r->link);
	return 1;
}

/* Send n requests, at most window unanswered, and check the answers. */
static void
worker_run(struct role *r)
{
	uint32_t sent = 0, got = 0;

	while (got < r->n && !r->fault && !r->link.broken) {
		uint32_t before = sent + got;

		while (got < sent && receive(r, got, answer_len(got)))
			got++;
		link_release(&r->link);
		while (sent < r->n && sent - got < r->window &&
		       send(&r->link, sent, request_len(sent)))
			sent++;
		link_flush(&r->link);
		if (sent + got == before && !role_sleep(r))
			return;
	}
}

/* Answer every request; answers are larger, so that their ring fills. */
static void
ledger_run(struct role *r)
{
	uint32_t got = 0, answered = 0;

	while (answered < r->n && !r->fault && !r->link.broken) {
		uint32_t before = got + answered;

		while (receive(r, got, request_len(got)))
			got++;
		link_release(&r->link);
		while (answered < got && send(&r->link, answered, answer_len(answered)))
			answered++;
		link_flush(&r->link);
		if (got + answered == before && !role_sleep(r))
			return;
	}
}

struct bells {
	int worker, ledger;
};

static void
start_both(struct role *worker, struct role *ledger, struct bells *b, uint32_t n, uint32_t window)
{
	b->worker = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	b->ledger = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	role_start(worker, SLOT1, 1, PEER_LEDGER, b->worker, b->ledger);
	role_start(ledger, PEER_LEDGER, 1, SLOT1, b->ledger, b->worker);
	worker->n = ledger->n = n;
	worker->window = window;
	assert_int_equal(link_attach(&worker->link, ledger->ro), ALM_OK);
	assert_int_equal(link_attach(&ledger->link, worker->ro), ALM_OK);
}

static void
end_both(struct role *worker, struct role *ledger, const struct bells *b)
{
	role_end(worker);
	role_end(ledger);
	close(b->worker);
	close(b->ledger);
}

#ifdef ALM_TSAN
/* Look at the peer through the peer's own mapping. */
static void
share_mapping(struct role *r, const struct role *peer)
{
	r->link.in =
	    (const uint8_t *)peer->self.head + (r->link.in - (const uint8_t *)r->link.peer);
	r->link.peer = peer->self.head;
}
#endif

static void *
ledger_thread(void *arg)
{
	ledger_run(arg);
	return NULL;
}

static void
two_threads(uint32_t n, uint32_t window)
{
	static struct role worker, ledger;
	struct bells b;
	pthread_t t;

	start_both(&worker, &ledger, &b, n, window);
#ifdef ALM_TSAN
	share_mapping(&worker, &ledger);
	share_mapping(&ledger, &worker);
#endif
	assert_int_equal(pthread_create(&t, NULL, ledger_thread, &ledger), 0);
	worker_run(&worker);
	pthread_join(t, NULL);
	assert_ptr_equal(worker.fault, NULL);
	assert_ptr_equal(ledger.fault, NULL);
	assert_int_equal(worker.link.broken + ledger.link.broken, 0);
	end_both(&worker, &ledger, &b);
}

static void
threads_at_one_in_flight_lose_no_wake_up(void **state)
{
	(void)state;
	two_threads(ROUNDS, 1);
}

static void
threads_with_full_rings_lose_nothing(void **state)
{
	(void)state;
	two_threads(ROUNDS, 4000);
}

#ifndef ALM_TSAN
static void
two_processes(uint32_t n, uint32_t window)
{
	static struct role worker, ledger;
	struct bells b;
	int status = 0;
	pid_t pid;

	start_both(&worker, &ledger, &b, n, window);
	pid = fork();
	if (pid == 0) {
		worker_run(&worker);
		_exit(worker.fault || worker.link.broken ? 1 : 0);
	}
	ledger_run(&ledger);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_ptr_equal(ledger.fault, NULL);
	assert_int_equal(status, 0);
	end_both(&worker, &ledger, &b);
}

static void
processes_at_one_in_flight_lose_no_wake_up(void **state)
{
	(void)state;
	two_processes(ROUNDS, 1);
}

static void
processes_with_full_rings_lose_nothing(void **state)
{
	(void)state;
	two_processes(ROUNDS, 4000);
}

/* The worker process is killed at random moments; the ledger goes on with the next incarnation and
 * must see its requests from 0 on, whole and in order. */
static void
killed_workers_leave_nothing_half_visible(void **state)
{
	static struct role worker, ledger;
	struct bells b;
	uint64_t generation, total = 0;

	(void)state;
	start_both(&worker, &ledger, &b, UINT32_MAX, 500);
	for (generation = 2; generation < 60; generation++) {
		uint32_t got = 0, answered = 0, stop_at = (uint32_t)generation * 7919 % 3000;
		pid_t pid = fork();

		if (pid == 0) {
			worker_run(&worker);
			_exit(1);
		}
		while (got < stop_at) {
			while (receive(&ledger, got, request_len(got)))
				got++;
			link_release(&ledger.link);
			while (answered < got && send(&ledger.link, answered, answer_len(answered)))
				answered++;
			link_flush(&ledger.link);
			assert_ptr_equal(ledger.fault, NULL);
			if (got < stop_at)
				role_sleep(&ledger);
		}
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		/* What it published is whole. */
		while (receive(&ledger, got, request_len(got)))
			got++;
		assert_ptr_equal(ledger.fault, NULL);
		assert_int_equal(ledger.link.broken, 0);
		total += got;

		role_end(&worker);
		role_start(&worker, SLOT1, generation, PEER_LEDGER, b.worker, b.ledger);
		worker.n = UINT32_MAX;
		worker.window = 500;
		assert_int_equal(link_attach(&worker.link, ledger.ro), ALM_OK);
		assert_int_equal(link_attach(&ledger.link, worker.ro), ALM_OK);
	}
	assert_true(total > 10000);
	end_both(&worker, &ledger, &b);
}
#endif

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(threads_at_one_in_flight_lose_no_wake_up),
	    cmocka_unit_test(threads_with_full_rings_lose_nothing),
#ifndef ALM_TSAN
	    cmocka_unit_test(processes_at_one_in_flight_lose_no_wake_up),
	    cmocka_unit_test(processes_with_full_rings_lose_nothing),
	    cmocka_unit_test(killed_workers_leave_nothing_half_visible),
#endif
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
