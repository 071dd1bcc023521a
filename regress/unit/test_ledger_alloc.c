/* The ledger's path of a message allocates nothing after start: malloc is counted while 100,000
 * messages go through, on the loop and on the log-writer thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "regress/unit/ledgerrig.h"

/* A sanitizer has an allocator of its own, which this one would tear apart. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OTHER_ALLOCATOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define OTHER_ALLOCATOR 1
#endif
#endif

#ifdef OTHER_ALLOCATOR
int
main(void)
{
	puts("1..0 # SKIP counting allocations needs the plain allocator");
	return 0;
}
#else

static _Atomic uint64_t calls;
static _Atomic int counting;

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

/* Every caller of libc in this process comes through here, plugins included. */
ALM_EXPORT void *
malloc(size_t n)
{
	calls += (uint64_t)counting;
	return __libc_malloc(n);
}

ALM_EXPORT void *
calloc(size_t n, size_t size)
{
	calls += (uint64_t)counting;
	return __libc_calloc(n, size);
}

ALM_EXPORT void *
realloc(void *p, size_t n)
{
	calls += (uint64_t)counting;
	return __libc_realloc(p, n);
}

static struct rig rig;
static struct rig_group group;

static void
run(uint32_t n, uint32_t body, uint32_t in_flight)
{
	static char bytes[4096];
	uint32_t sent = 0, got = 0, sequence = (uint32_t)rig.tag;
	struct msg_result r;

	while (got < n) {
		while (sent < n && sent - got < in_flight) {
			struct alm_record *rec;

			rig_group_begin(&rig, &group);
			rec = rig_message(&group, 1, sent % 8, bytes, body);
			rec->producer = 77;
			rec->sequence = ++sequence;
			rig_send(&rig, 1, &group);
			sent++;
		}
		assert_true(rig_result(&rig, 1, &r, NULL));
		assert_int_equal(r.status, ALM_OK);
		got++;
	}
}

static void
allocates_nothing_for_a_message(void **state)
{
	int code;

	(void)state;
	rig_init(&rig);
	counting = 1;
	assert_int_equal(rig_start(&rig, NULL, &code), ALM_OK);
	counting = 0;
	assert_true(calls > 10); /* so the counter sees them */
	calls = 0;
	assert_int_equal(rig_topic(&rig, "t", 8, ALM_DURABLE_STRICT), ALM_OK);
	run(2000, 100, 64);
	counting = 1;
	run(1000, 10, 1);
	run(99000, 100, 2000);
	counting = 0;
	assert_int_equal(calls, 0);
	rig_stop(&rig);
	rig_fini(&rig);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(allocates_nothing_for_a_message)};

	log_init("test", ALM_LOG_WARN, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
#endif
