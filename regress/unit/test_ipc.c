/* Tests of server/ipc: regions, bells and links, each side played by the test itself.  The stress
 * tests with threads and processes are in test_ipc_stress.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ipc/region.h"

#define SLOT1 PEER_WORKER(1)

/* One incarnation of a role. */
struct side {
	int fd, ro, bell;
	struct region self;
	struct link link;
};

static void
side_start(
    struct side *s, uint32_t peer, uint64_t generation, uint32_t other, int bell, int other_bell)
{
	s->bell = bell;
	s->fd = region_create(peer, 1, generation);
	assert_true(s->fd >= 0);
	s->ro = region_readonly_fd(s->fd);
	assert_true(s->ro >= 0);
	assert_int_equal(region_map(s->fd, 1, &s->self), ALM_OK);
	link_init(&s->link, &s->self, other, other_bell);
}

static void
side_end(struct side *s)
{
	link_detach(&s->link);
	region_unmap(&s->self);
	close(s->fd);
	close(s->ro);
}

struct pair {
	struct side worker, ledger;
	int worker_bell, ledger_bell;
};

static void
pair_start(struct pair *p)
{
	p->worker_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	p->ledger_bell = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	side_start(&p->worker, SLOT1, 1, PEER_LEDGER, p->worker_bell, p->ledger_bell);
	side_start(&p->ledger, PEER_LEDGER, 1, SLOT1, p->ledger_bell, p->worker_bell);
	assert_int_equal(link_attach(&p->worker.link, p->ledger.ro), ALM_OK);
	assert_int_equal(link_attach(&p->ledger.link, p->worker.ro), ALM_OK);
}

static void
pair_end(struct pair *p)
{
	side_end(&p->worker);
	side_end(&p->ledger);
	close(p->worker_bell);
	close(p->ledger_bell);
}

static int
send(struct link *l, uint32_t type, const void *data, uint32_t len)
{
	void *p = link_reserve(l, type, len);

	if (p == NULL)
		return 0;
	memcpy(p, data, len);
	link_commit(l, len);
	return 1;
}

static void
expect(struct link *l, uint32_t want_type, const void *data, uint32_t want_len)
{
	uint32_t type = 0, len = 0;
	const void *p = link_peek(l, &type, &len);

	assert_non_null(p);
	assert_int_equal(type, want_type);
	assert_int_equal(len, want_len);
	assert_memory_equal(p, data, len);
	link_consume(l);
}

static void
expect_nothing(struct link *l)
{
	uint32_t type, len;

	assert_null(link_peek(l, &type, &len));
	assert_false(link_readable(l));
}

/* ---- regions ---- */

static void
a_plan_has_only_the_rings_that_the_roles_use(void **state)
{
	uint64_t size[PEERS_MAX], total;

	(void)state;
	total = region_plan(PEER_LEDGER, 2, size);
	assert_int_equal(size[PEER_WORKER(1)], 4 << 20);
	assert_int_equal(size[PEER_WORKER(2)], 4 << 20);
	assert_int_equal(size[PEER_WORKER(3)] + size[PEER_INDEXER] + size[PEER_LEDGER], 0);
	assert_in_range(total, 8 << 20, (8 << 20) + (128 << 10));
	region_plan(PEER_INDEXER, 2, size);
	assert_int_equal(size[PEER_WORKER(1)], 2 << 20);
	assert_int_equal(size[PEER_LEDGER], 0);
	region_plan(PEER_WORKER(2), 2, size);
	assert_int_equal(size[PEER_LEDGER], 16 << 20);
	assert_int_equal(size[PEER_INDEXER], 256 << 10);
	assert_int_equal(size[PEER_WORKER(1)], 0);
}

static void
a_region_cannot_shrink_grow_or_be_written_by_others(void **state)
{
	int fd = region_create(SLOT1, 1, 7), ro = region_readonly_fd(fd);
	struct region r;

	(void)state;
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 1 << 30), -1);
	assert_int_equal(region_map(ro, 1, &r), ALM_EIO); /* mmap refuses PROT_WRITE */
	assert_int_equal(region_map(ro, 0, &r), ALM_OK);
	assert_int_equal(r.head->generation, 7);
	assert_int_equal(r.head->peer, SLOT1);
	assert_int_equal(r.head->slot, 1);
	assert_true(atomic_load(&r.head->pin) == UINT64_MAX);
	region_unmap(&r);
	close(ro);
	close(fd);
}

static void
what_is_not_a_region_is_refused(void **state)
{
	int fd = memfd_create("x", MFD_ALLOW_SEALING);
	struct region r;

	(void)state;
	assert_int_equal(ftruncate(fd, 1 << 20), 0);
	assert_int_equal(region_map(fd, 0, &r), ALM_EINVAL); /* could be cut under us */
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(region_map(fd, 0, &r), ALM_EINVAL); /* no magic */
	close(fd);
	assert_int_equal(region_map(fd, 0, &r), ALM_EIO);
}

/* ---- rings ---- */

static void
records_arrive_in_order_and_only_after_flush(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p);
	assert_true(send(&p.worker.link, 1, "one", 3));
	assert_true(send(&p.worker.link, 2, "", 0));
	expect_nothing(&p.ledger.link);
	link_flush(&p.worker.link);
	assert_true(link_readable(&p.ledger.link));
	expect(&p.ledger.link, 1, "one", 3);
	expect(&p.ledger.link, 2, "", 0);
	expect_nothing(&p.ledger.link);
	assert_true(send(&p.ledger.link, 3, "answer", 6));
	link_flush(&p.ledger.link);
	expect(&p.worker.link, 3, "answer", 6);
	pair_end(&p);
}

static void
a_record_may_shrink_at_commit(void **state)
{
	struct pair p;
	char *room;

	(void)state;
	pair_start(&p);
	room = link_reserve(&p.worker.link, 1, 1000);
	memcpy(room, "short", 5);
	link_commit(&p.worker.link, 5);
	assert_true(send(&p.worker.link, 2, "next", 4));
	link_flush(&p.worker.link);
	expect(&p.ledger.link, 1, "short", 5);
	expect(&p.ledger.link, 2, "next", 4);
	pair_end(&p);
}

static void
a_reservation_not_committed_leaves_nothing(void **state)
{
	struct pair p;

	(void)state;
	pair_start(&p);
	assert_non_null(link_reserve(&p.worker.link, 1, 1000));
	assert_true(send(&p.worker.link, 2, "x", 1));
	link_flush(&p.worker.link);
	expect(&p.ledger.link, 2, "x", 1);
	expect_nothing(&p.ledger.link);
	pair_end(&p);
}

/* Many laps with sizes that never divide the ring, checked byte for byte. */
static void
records_wrap_without_being_cut(void **state)
{
	static uint8_t data[40000];
	struct pair p;
	uint32_t sent = 0, got = 0, i, type, len;

	(void)state;
	for (i = 0; i < sizeof data; i++)
		data[i] = (uint8_t)(i * 7);
	pair_start(&p);
	/* The ring to the worker has 4 MiB: 60 MB are 15 laps. */
	while (got < 3000) {
		while (sent < 3000 && send(&p.ledger.link, 1 + sent, data, sent * 13 % 40000))
			sent++;
		link_flush(&p.ledger.link);
		for (i = 0; i < 50; i++) {
			const void *d = link_peek(&p.worker.link, &type, &len);

			if (d == NULL)
				break;
			assert_int_equal(type, 1 + got);
			assert_int_equal(len, got * 13 % 40000);
			assert_memory_equal(d, data, len);
			link_consume(&p.worker.link);
			got++;
		}
		link_release(&p.worker.link);
	}
	pair_end(&p);
}

static void
the_largest_record_fits_at_every_place_of_an_empty_ring(void **state)
{
	static uint8_t data[4 << 20];
	struct pair p;
	uint32_t i, max;

	(void)state;
	pair_start(&p);
	max = link_max(&p.ledger.link);
	assert_int_equal(max, (2 << 20) - 8);
	assert_null(link_reserve(&p.ledger.link, 1, max + 1));
	for (i = 0; i < 40; i++) {
		assert_true(send(&p.ledger.link, 1, data, 100000 + i * 8));
		link_flush(&p.ledger.link);
		expect(&p.worker.link, 1, data, 100000 + i * 8);
		link_release(&p.worker.link);
		assert_true(send(&p.ledger.link, 2, data, max));
		link_flush(&p.ledger.link);
		expect(&p.worker.link, 2, data, max);
		link_release(&p.worker.link);
	}
	pair_end(&p);
}

static void
a_full_ring_refuses_and_the_release_is_announced(void **state)
{
	static uint8_t data[60000];
	struct pair p;
	struct bell b;
	uint64_t count;

	(void)state;
	pair_start(&p);
	b = (struct bell){p.ledger.self.head, p.ledger_bell};
	while (send(&p.ledger.link, 1, data, sizeof data))
		;
	link_flush(&p.ledger.link);
	bell_disarm(&b); /* awake, as between the refusal and going to sleep */
	expect(&p.worker.link, 1, data, sizeof data);
	assert_null(link_reserve(&p.ledger.link, 1, sizeof data)); /* not released yet */
	link_release(&p.worker.link);
	expect(&p.worker.link, 1, data, sizeof data);
	link_release(&p.worker.link);
	assert_int_equal(read(p.ledger_bell, &count, sizeof count), 8);
	assert_int_equal(count, 1); /* rung once for one refusal */
	assert_true(send(&p.ledger.link, 1, data, sizeof data));
	expect(&p.worker.link, 1, data, sizeof data);
	link_release(&p.worker.link);
	assert_int_equal(read(p.ledger_bell, &count, sizeof count), -1); /* nobody waits */
	pair_end(&p);
}

static void
an_empty_ring_starts_again_at_its_begin(void **state)
{
	static uint8_t data[10000];
	struct pair p;
	uint64_t furthest = 0;
	uint32_t i;

	(void)state;
	pair_start(&p);
	for (i = 0; i < 3000; i++) { /* 30 MB one by one */
		assert_true(send(&p.worker.link, 1, data, sizeof data));
		link_flush(&p.worker.link);
		expect(&p.ledger.link, 1, data, sizeof data);
		link_release(&p.ledger.link);
		if ((p.worker.link.tail & ((16 << 20) - 1)) > furthest)
			furthest = p.worker.link.tail & ((16 << 20) - 1);
	}
	assert_true(furthest <= (1 << 20) + sizeof data + 8);
	pair_end(&p);
}

/* ---- an untrusted peer ---- */

/* The worker's region as the worker may scribble on it. */
static struct region_ring *
scribble(struct pair *p)
{
	return &p->worker.self.head->ring[PEER_LEDGER];
}

static void
set_record(struct pair *p, uint64_t at, uint32_t len, uint32_t type)
{
	struct link_rec rec = {len, type};

	memcpy((uint8_t *)p->worker.self.head + scribble(p)->data + at, &rec, sizeof rec);
}

static void
expect_broken(struct pair *p)
{
	uint32_t type, len;

	assert_null(link_peek(&p->ledger.link, &type, &len));
	assert_int_equal(p->ledger.link.broken, 1);
	assert_false(link_up(&p->ledger.link));
	assert_null(link_reserve(&p->ledger.link, 1, 8));
	pair_end(p);
}

static void
impossible_tails_break_the_link(void **state)
{
	static const uint64_t tails[] = {
	    (16 << 20) + 8, 12, UINT64_MAX, UINT64_MAX - 7, 1ull << 63};
	struct pair p;
	uint32_t i;

	(void)state;
	for (i = 0; i < sizeof tails / sizeof tails[0]; i++) {
		pair_start(&p);
		atomic_store(&scribble(&p)->tail, tails[i]);
		expect_broken(&p);
	}
}

static void
impossible_records_break_the_link(void **state)
{
	static const struct {
		uint32_t len, type;
	} records[] = {
	    {57, 1}, {UINT32_MAX, 1}, {UINT32_MAX - 7, 7}, {16 << 20, 1}, {48, 0}, {0, 0}};
	struct pair p;
	uint32_t i;

	(void)state;
	for (i = 0; i < sizeof records / sizeof records[0]; i++) {
		pair_start(&p);
		set_record(&p, 0, records[i].len, records[i].type);
		atomic_store(&scribble(&p)->tail, 64);
		expect_broken(&p);
	}
}

static void
a_record_over_the_end_of_the_ring_breaks_the_link(void **state)
{
	static uint8_t data[4 << 20];
	struct pair p;
	uint32_t i;

	(void)state;
	pair_start(&p);
	for (i = 0; i < 4; i++) {
		assert_true(send(&p.worker.link, 1, data, (4 << 20) - (i == 3 ? 24 : 8)));
		link_flush(&p.worker.link);
	}
	for (i = 0; i < 4; i++)
		expect(&p.ledger.link, 1, data, (4 << 20) - (i == 3 ? 24 : 8));
	link_release(&p.ledger.link);
	set_record(&p, (16 << 20) - 16, 9, 1);
	atomic_store(&scribble(&p)->tail, (16 << 20) + 64);
	expect_broken(&p);
}

static void
impossible_heads_break_the_link(void **state)
{
	static const uint64_t heads[] = {24, 4, UINT64_MAX - 7};
	static uint8_t data[1 << 20];
	struct pair p;
	uint32_t i;

	(void)state;
	for (i = 0; i < sizeof heads / sizeof heads[0]; i++) {
		pair_start(&p);
		assert_true(send(&p.ledger.link, 1, data, 8));
		link_flush(&p.ledger.link);
		atomic_store(&scribble(&p)->head, heads[i]);
		while (send(&p.ledger.link, 1, data, sizeof data))
			;
		assert_int_equal(p.ledger.link.broken, 1);
		pair_end(&p);
	}
}

/* Random headers near the ring's end, so that records, padding and garbage meet there. */
static void
garbage_never_gives_a_record_outside_the_ring(void **state)
{
	const uint64_t size = 16 << 20, start = size - 512;
	uint64_t rnd = 99, given = 0;
	struct pair p;
	uint32_t round, i;

	(void)state;
	pair_start(&p);
	for (round = 0; round < 20000; round++) {
		struct link *l = &p.ledger.link;
		uint32_t type, len;
		const uint8_t *d;

		for (i = 0; i < 128; i++) {
			rnd = rnd * 6364136223846793005u + 1442695040888963407u;
			set_record(&p, (start + i * 8) % size,
			    (uint32_t)(rnd >> 60 ? (rnd >> 40) % 96 : rnd >> 32),
			    (uint32_t)(rnd >> 20) % 3);
		}
		l->head = l->in_tail = start;
		l->broken = 0;
		atomic_store(&scribble(&p)->tail, start + (rnd >> 50) % 1024 / 8 * 8);
		while ((d = link_peek(l, &type, &len)) != NULL) {
			assert_true(type != 0 && d >= l->in && len <= l->in_size &&
				    d + len <= l->in + l->in_size);
			link_consume(l);
			given++;
		}
		assert_true(l->head <= l->in_tail && l->in_tail - l->head <= l->in_size);
	}
	assert_true(given > 1000);
	pair_end(&p);
}

static void
a_ring_outside_its_region_is_not_attached(void **state)
{
	static const struct {
		uint64_t data, size;
	} places[] = {{1 << 20, 1ull << 40}, {UINT64_MAX - 8, 4096}, {4, 4096}, {4096, 4097},
	    {4096, 8}, {1ull << 40, 64}};
	struct side worker, ledger;
	uint32_t i;

	(void)state;
	for (i = 0; i < sizeof places / sizeof places[0]; i++) {
		side_start(&worker, SLOT1, 1, PEER_LEDGER, -1, -1);
		side_start(&ledger, PEER_LEDGER, 1, SLOT1, -1, -1);
		worker.self.head->ring[PEER_LEDGER].data = places[i].data;
		worker.self.head->ring[PEER_LEDGER].size = places[i].size;
		assert_int_equal(link_attach(&ledger.link, worker.ro), ALM_EINVAL);
		assert_null(ledger.link.peer);
		side_end(&worker);
		side_end(&ledger);
	}
}

static void
the_region_of_another_role_is_not_attached(void **state)
{
	struct side worker, ledger;

	(void)state;
	side_start(&worker, SLOT1, 1, PEER_LEDGER, -1, -1);
	side_start(&ledger, PEER_LEDGER, 1, SLOT1, -1, -1);
	assert_int_equal(link_attach(&worker.link, worker.ro), ALM_EINVAL);
	assert_int_equal(link_attach(&worker.link, ledger.ro), ALM_OK);
	side_end(&worker);
	side_end(&ledger);
}

/* ---- generations ---- */

static void
a_link_is_up_once_both_sides_are_attached_in_either_order(void **state)
{
	struct side worker, ledger;

	(void)state;
	side_start(&worker, SLOT1, 1, PEER_LEDGER, -1, -1);
	side_start(&ledger, PEER_LEDGER, 1, SLOT1, -1, -1);
	assert_false(link_up(&worker.link));
	assert_int_equal(link_attach(&worker.link, ledger.ro), ALM_OK);
	assert_false(link_up(&worker.link));
	assert_null(link_reserve(&worker.link, 1, 8));
	assert_int_equal(link_attach(&ledger.link, worker.ro), ALM_OK);
	assert_true(link_up(&worker.link));
	assert_true(link_up(&ledger.link));
	assert_int_equal(link_attach(&ledger.link, worker.ro), ALM_OK); /* again: nothing changes */
	assert_true(link_up(&worker.link));
	link_detach(&ledger.link);
	assert_false(link_up(&worker.link));
	assert_int_equal(link_attach(&ledger.link, worker.ro), ALM_ESTALE);
	side_end(&worker);
	side_end(&ledger);
}

/* Both rings in use, then one side restarts; the other has old positions and old unread records. */
static void
restart(uint32_t who, int survivor_first)
{
	struct pair p;
	struct side *dead, *alive, fresh;
	int round;

	pair_start(&p);
	dead = who == PEER_LEDGER ? &p.ledger : &p.worker;
	alive = who == PEER_LEDGER ? &p.worker : &p.ledger;
	for (round = 0; round < 100; round++) {
		assert_true(send(&alive->link, 1, "to the old one", 14));
		assert_true(send(&dead->link, 1, "from the old one", 16));
		link_flush(&alive->link);
		link_flush(&dead->link);
		if (round < 50) {
			expect(&alive->link, 1, "from the old one", 16);
			expect(&dead->link, 1, "to the old one", 14);
			link_release(&alive->link);
			link_release(&dead->link);
		}
	}
	region_unmap(&dead->self); /* killed: it lets go of nothing by itself */
	expect(&alive->link, 1, "from the old one", 16); /* what it published is still there */

	side_start(&fresh, who, 2, alive->self.head->peer, dead->bell, alive->bell);
	if (survivor_first)
		assert_int_equal(link_attach(&alive->link, fresh.ro), ALM_OK);
	assert_int_equal(link_attach(&fresh.link, alive->ro), ALM_OK);
	if (!survivor_first) {
		/* The survivor still serves the old one: its positions mean nothing to the new one.
		 */
		assert_false(link_up(&fresh.link));
		expect_nothing(&fresh.link);
		assert_null(link_reserve(&fresh.link, 1, 8));
		assert_int_equal(link_attach(&alive->link, fresh.ro), ALM_OK);
	}
	assert_true(link_up(&fresh.link) && link_up(&alive->link));
	expect_nothing(&fresh.link);
	expect_nothing(&alive->link);
	assert_true(send(&alive->link, 2, "hello", 5));
	assert_true(send(&fresh.link, 3, "hi", 2));
	link_flush(&alive->link);
	link_flush(&fresh.link);
	expect(&fresh.link, 2, "hello", 5);
	expect(&alive->link, 3, "hi", 2);
	assert_int_equal(alive->link.broken + fresh.link.broken, 0);

	region_unmap(&fresh.link.map);
	region_unmap(&fresh.self);
	close(fresh.fd);
	close(fresh.ro);
	dead->link.peer = NULL;
	region_unmap(&dead->link.map);
	pair_end(&p);
}

static void
a_restarted_worker_starts_with_empty_rings(void **state)
{
	(void)state;
	restart(SLOT1, 0);
	restart(SLOT1, 1);
}

static void
a_restarted_ledger_starts_with_empty_rings(void **state)
{
	(void)state;
	restart(PEER_LEDGER, 0);
	restart(PEER_LEDGER, 1);
}

/* ---- bells ---- */

static int
rung(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void
only_a_sleeper_is_rung_and_once_a_sleep(void **state)
{
	struct pair p;
	struct bell b;
	uint64_t count;

	(void)state;
	pair_start(&p);
	b = (struct bell){p.ledger.self.head, p.ledger_bell};
	send(&p.worker.link, 1, "a", 1);
	link_flush(&p.worker.link);
	assert_false(rung(p.ledger_bell)); /* awake */
	bell_arm(&b);
	bell_arm(&b);
	send(&p.worker.link, 1, "b", 1);
	link_flush(&p.worker.link);
	send(&p.worker.link, 1, "c", 1);
	link_flush(&p.worker.link);
	link_flush(&p.worker.link);
	assert_int_equal(read(p.ledger_bell, &count, sizeof count), 8);
	assert_int_equal(count, 1);
	bell_disarm(&b);
	bell_disarm(&b);
	bell_arm(&b);
	send(&p.worker.link, 1, "d", 1);
	link_flush(&p.worker.link);
	assert_true(rung(p.ledger_bell));
	bell_disarm(&b);
	assert_false(rung(p.ledger_bell)); /* drained */
	pair_end(&p);
}

static void
attaching_wakes_the_peer(void **state)
{
	struct side worker, ledger;
	int bell = eventfd(0, EFD_NONBLOCK);
	struct bell b;

	(void)state;
	side_start(&worker, SLOT1, 1, PEER_LEDGER, bell, -1);
	side_start(&ledger, PEER_LEDGER, 1, SLOT1, -1, bell);
	b = (struct bell){worker.self.head, bell};
	bell_arm(&b);
	assert_int_equal(link_attach(&ledger.link, worker.ro), ALM_OK);
	assert_true(rung(bell));
	side_end(&worker);
	side_end(&ledger);
	close(bell);
}

static int activated;

static void
note_activation(int fd)
{
	activated = fd;
}

static void
a_local_bell_makes_no_system_call(void **state)
{
	struct pair p;
	struct bell b;

	(void)state;
	pair_start(&p);
	bell_use_local(note_activation);
	b = (struct bell){p.ledger.self.head, p.ledger_bell};
	bell_arm(&b);
	send(&p.worker.link, 1, "a", 1);
	link_flush(&p.worker.link);
	assert_int_equal(activated, p.ledger_bell);
	assert_false(rung(p.ledger_bell));
	bell_use_local(NULL);
	pair_end(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_plan_has_only_the_rings_that_the_roles_use),
	    cmocka_unit_test(a_region_cannot_shrink_grow_or_be_written_by_others),
	    cmocka_unit_test(what_is_not_a_region_is_refused),
	    cmocka_unit_test(records_arrive_in_order_and_only_after_flush),
	    cmocka_unit_test(a_record_may_shrink_at_commit),
	    cmocka_unit_test(a_reservation_not_committed_leaves_nothing),
	    cmocka_unit_test(records_wrap_without_being_cut),
	    cmocka_unit_test(the_largest_record_fits_at_every_place_of_an_empty_ring),
	    cmocka_unit_test(a_full_ring_refuses_and_the_release_is_announced),
	    cmocka_unit_test(an_empty_ring_starts_again_at_its_begin),
	    cmocka_unit_test(impossible_tails_break_the_link),
	    cmocka_unit_test(impossible_records_break_the_link),
	    cmocka_unit_test(a_record_over_the_end_of_the_ring_breaks_the_link),
	    cmocka_unit_test(impossible_heads_break_the_link),
	    cmocka_unit_test(garbage_never_gives_a_record_outside_the_ring),
	    cmocka_unit_test(a_ring_outside_its_region_is_not_attached),
	    cmocka_unit_test(the_region_of_another_role_is_not_attached),
	    cmocka_unit_test(a_link_is_up_once_both_sides_are_attached_in_either_order),
	    cmocka_unit_test(a_restarted_worker_starts_with_empty_rings),
	    cmocka_unit_test(a_restarted_ledger_starts_with_empty_rings),
	    cmocka_unit_test(only_a_sleeper_is_rung_and_once_a_sleep),
	    cmocka_unit_test(attaching_wakes_the_peer),
	    cmocka_unit_test(a_local_bell_makes_no_system_call),
	};

	log_init("test", 6, 0); /* broken links are expected here */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
