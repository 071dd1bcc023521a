/* Tests of the ledger when the disk misbehaves: full, failing, damaged.  The real store works below
 * a table of operations that fails where the test says. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ledger/ledger.h"
#include "regress/unit/ledgerrig.h"

static struct rig rig;
static struct rig_group group;
static const struct alm_storage_ops_v0 *real;
static struct alm_storage_ops_v0 faulty;
static _Atomic int append_status, sync_status; /* read by the log writer's thread */
static uint64_t available;

static int
faulty_append(struct alm_store *s, const struct alm_slice *b, uint32_t n)
{
	return append_status != ALM_OK ? err_set(append_status, "the test says so")
	                               : real->append(s, b, n);
}

static int
faulty_sync(struct alm_store *s, struct alm_durable *out)
{
	return sync_status != ALM_OK ? err_set(sync_status, "the test says so") : real->sync(s, out);
}

static int
faulty_space(struct alm_store *s, struct alm_space *out)
{
	int status = real->space(s, out);

	out->available = available;
	return status;
}

static void
start(void)
{
	int code = 0, status = rig_start(&rig, NULL, &code);
	struct ledger *l = rig.env.state;

	if (status != ALM_OK)
		fprintf(stderr, "start: %s\n", err_text());
	assert_int_equal(status, ALM_OK);
	helper_wait(&l->prepare);
	real = l->store_ops;
	faulty = *real;
	faulty.append = faulty_append;
	faulty.sync = faulty_sync;
	faulty.space = faulty_space;
	l->store_ops = l->writer.ops = &faulty;
	append_status = sync_status = ALM_OK;
	available = 1ull << 40;
}

static int
setup(void **state)
{
	(void)state;
	rig_init(&rig);
	start();
	return rig_topic(&rig, "t", 1, ALM_DURABLE_STRICT);
}

static int
teardown(void **state)
{
	(void)state;
	rig_kill(&rig);
	rig_fini(&rig);
	return 0;
}

static struct msg_result
publish(void)
{
	struct msg_result r = {.status = ALM_ETIMEOUT};

	rig_group_begin(&rig, &group);
	rig_message(&group, 1, 0, "hello", 5);
	rig_ask(&rig, 1, &group, &r);
	return r;
}

static struct msg_result
commit_offset(void)
{
	struct msg_result r = {.status = ALM_ETIMEOUT};
	struct alm_offset o = {.offset = 1};

	rig_group_begin(&rig, &group);
	rig_state(&group, ALM_NS_OFFSET, ALM_STATE_PUT, "g", &o, sizeof o);
	rig_ask(&rig, 1, &group, &r);
	return r;
}

static void
leaves_without_an_ack_when_a_sync_fails(void **state)
{
	(void)state;
	sync_status = ALM_EIO;
	assert_int_equal(publish().status, ALM_ETIMEOUT);
	assert_int_equal(rig.exit_code, EXIT_DATA);
	assert_int_equal(rig_page(&rig)->ready, 0);
	sync_status = ALM_OK;
	assert_int_equal(publish().status, ALM_ETIMEOUT); /* not retried, nothing served */
}

static void
leaves_without_an_ack_when_an_append_fails(void **state)
{
	(void)state;
	append_status = ALM_EIO;
	assert_int_equal(publish().status, ALM_ETIMEOUT);
	assert_int_equal(rig.exit_code, EXIT_DATA);
}

static void
keeps_deletes_and_offsets_going_below_the_reserve(void **state)
{
	struct msg_result r;

	(void)state;
	assert_int_equal(publish().status, ALM_OK);
	available = 1 << 20;
	rig_wait(&rig, 1100);
	r = publish();
	assert_int_equal(r.status, ALM_EFULL);
	assert_non_null(strstr(r.detail, "disk full"));
	assert_non_null(strstr(r.detail, rig.dir));
	assert_int_equal(rig_page(&rig)->disk_full, 1);
	assert_int_equal(commit_offset().status, ALM_OK);
	available = 1ull << 40;
	rig_wait(&rig, 1100);
	assert_int_equal(rig_page(&rig)->disk_full, 0);
	r = publish();
	assert_int_equal(r.status, ALM_OK);
	assert_int_equal(r.first_offset, 1);
}

static void
refuses_what_found_no_space_and_recovers(void **state)
{
	struct msg_result r;
	int i;

	(void)state;
	assert_int_equal(publish().status, ALM_OK);
	assert_int_equal(rig_page(&rig)->disk_full, 0);
	append_status = ALM_EFULL;
	assert_int_equal(publish().status, ALM_EFULL);
	assert_int_equal(rig_topic(&rig, "u", 1, ALM_DURABLE_STRICT), ALM_EFULL);
	assert_int_equal(rig.exit_code, -1);
	append_status = ALM_OK;
	for (i = 0; i < 30 && rig_page(&rig)->disk_full; i++)
		rig_wait(&rig, 100);
	r = publish();
	assert_int_equal(r.status, ALM_OK);
	assert_int_equal(r.first_offset, 1); /* what was refused left no trace */
	assert_int_equal(rig_topic(&rig, "u", 1, ALM_DURABLE_STRICT), ALM_OK);
	rig_kill(&rig);
	start();
	assert_int_equal(publish().first_offset, 2);
}

static void
loses_count_of_nothing_when_space_ends_under_load(void **state)
{
	static char body[4000];
	uint64_t stored = 0;
	struct msg_result r;

	(void)state;
	for (uint32_t round = 0; round < 6; round++) {
		const uint32_t n = 3000;

		rig_group_begin(&rig, &group);
		rig_message(&group, 1, 0, body, sizeof body);
		for (uint32_t i = 0; i < n; i++)
			rig_send(&rig, 1, &group);
		for (uint32_t i = 0; i < n; i++) {
			if (i == 100 + round * 37)
				append_status = ALM_EFULL;
			if (i == 2500)
				append_status = ALM_OK;
			assert_true(rig_result(&rig, 1, &r, NULL));
			if (r.status == ALM_OK)
				assert_int_equal(r.first_offset, stored++);
			else
				assert_int_equal(r.status, ALM_EFULL);
		}
		append_status = ALM_OK;
		for (int i = 0; i < 30 && rig_page(&rig)->disk_full; i++)
			rig_wait(&rig, 100);
	}
	assert_int_equal(publish().first_offset, stored);
	rig_kill(&rig);
	start();
	assert_int_equal(publish().first_offset, stored + 1);
}

/* The first segment file of the log. */
static void
segment_path(char *out, size_t cap)
{
	char dir[200], best[256] = "";
	struct dirent *e;
	DIR *d;

	snprintf(dir, sizeof dir, "%s/log", rig.dir);
	d = opendir(dir);
	while ((e = readdir(d)) != NULL)
		if (strstr(e->d_name, ".seg") != NULL && (best[0] == '\0' || strcmp(e->d_name, best) < 0))
			snprintf(best, sizeof best, "%s", e->d_name);
	closedir(d);
	assert_true(best[0] != '\0');
	snprintf(out, cap, "%s/%s", dir, best);
}

static void
refuses_to_start_with_damage_until_told(void **state)
{
	char path[512], where[64];
	uint8_t *p, bytes[65536];
	uint64_t at;
	int code = 0, fd;

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(publish().status, ALM_OK);
	at = publish().position;
	for (int i = 0; i < 10; i++)
		assert_int_equal(publish().status, ALM_OK);
	rig_stop(&rig);
	segment_path(path, sizeof path);
	fd = open(path, O_RDWR);
	assert_true(pread(fd, bytes, sizeof bytes, 0) > 0);
	/* The middle of the 11th "hello". */
	for (p = bytes; (p = memmem(p, (size_t)(bytes + sizeof bytes - p), "hello", 5)) != NULL; p++)
		if (code++ == 10)
			break;
	assert_non_null(p);
	assert_int_equal(pwrite(fd, "j", 1, p - bytes), 1);
	close(fd);
	code = 0;
	assert_int_not_equal(rig_start(&rig, NULL, &code), ALM_OK);
	assert_int_equal(code, EXIT_DATA);
	assert_non_null(strstr(err_text(), "--accept-data-loss"));
	snprintf(where, sizeof where, "%llu", (unsigned long long)(at - sizeof(struct alm_batch)));
	assert_non_null(strstr(err_text(), where));
	rig_kill(&rig);
	rig.accept_loss = 1;
	start();
	assert_int_equal(publish().first_offset, 10);
	rig.accept_loss = 0;
	rig_kill(&rig);
	start();
	assert_int_equal(publish().first_offset, 11);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    T(leaves_without_an_ack_when_a_sync_fails),
	    T(leaves_without_an_ack_when_an_append_fails),
	    T(keeps_deletes_and_offsets_going_below_the_reserve),
	    T(refuses_what_found_no_space_and_recovers),
	    T(loses_count_of_nothing_when_space_ends_under_load),
	    T(refuses_to_start_with_damage_until_told),
	};

	log_init("test", ALM_LOG_ERROR + 1, 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
