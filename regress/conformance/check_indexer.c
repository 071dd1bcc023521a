/* regress/conformance/check_indexer.c - does an indexer provider keep its contract?
 *
 *	check_indexer FILE.so [SEED [TEST]]
 *
 * Random logs are applied to the provider and to a naive model that keeps every batch; then each
 * query that the provider serves is asked and compared.  Crashes are real: a child applies, syncs
 * at times and exits at once; the parent opens what is left.  A query that the provider does not
 * serve (ALM_ENOTSUP) is left out.  Output is TAP.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <almadia/indexer.h>

#include "regress/conformance/kit.h"
#include "regress/lib/fakehost.h"
#include "regress/lib/mkbatch.h"

#define TOPICS 3u
#define QUEUES 4u
#define KEYS 12u
#define BATCHES_MAX 4000u

static const struct alm_provider *provider;
static const struct alm_indexer_ops_v0 *ops;
static uint64_t first_seed = 1;

struct fixture {
	char dir[64];
	struct fakehost *fh;
	struct alm_index *x;
	struct mkbatch m;
	uint64_t seed;
	struct alm_batch *batch[BATCHES_MAX]; /* the model: the log itself */
	uint32_t n;
	uint64_t released;
	uint32_t dropped; /* bit for each topic */
};

static uint64_t
rnd(struct fixture *f, uint64_t below)
{
	f->seed = f->seed * 6364136223846793005ull + 1442695040888963407ull;
	return (f->seed >> 33) % below;
}

/* ---- the provider ---- */

static void
open_index(struct fixture *f)
{
	int status = ops->open(fh_host(f->fh), f->dir, &f->x);

	if (status)
		print_message("# open: %s\n", fh_fail_text(f->fh));
	assert_int_equal(status, ALM_OK);
}

static void
new_host(struct fixture *f)
{
	f->fh = fh_new(ALM_ROLE_INDEXER);
	fh_settings(f->fh, provider->settings, provider->n_settings);
	/* Small runs, so that a short log has many, for a provider that has such a thing. */
	for (uint32_t i = 0; i < provider->n_settings; i++)
		if (!strcmp(provider->settings[i].name, "run_rows"))
			fh_set(f->fh, "run_rows", "32");
}

static void
remove_dir(const char *dir)
{
	char path[400];
	struct dirent *e;
	DIR *d = opendir(dir);

	while (d && (e = readdir(d)) != NULL) {
		snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
		if (e->d_name[0] != '.')
			unlink(path);
	}
	if (d)
		closedir(d);
	rmdir(dir);
}

static int
setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);

	f->seed = first_seed;
	strcpy(f->dir, "/tmp/almadia-index-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	new_host(f);
	mkb_init(&f->m, 0, 1, 1);
	open_index(f);
	*state = f;
	return 0;
}

static int
teardown(void **state)
{
	struct fixture *f = *state;

	if (f->x)
		ops->close(f->x);
	assert_int_equal(fh_free(f->fh), 0);
	remove_dir(f->dir);
	for (uint32_t i = 0; i < f->n; i++)
		free(f->batch[i]);
	mkb_free(&f->m);
	free(f);
	return 0;
}

static void
reopen(struct fixture *f)
{
	uint64_t applied = ops->applied(f->x);

	ops->close(f->x);
	f->x = NULL;
	open_index(f);
	assert_int_equal(ops->applied(f->x), applied);
	assert_int_equal(ops->synced(f->x), applied);
}

/* ---- the log ---- */

static void
keep(struct fixture *f)
{
	const struct alm_batch *b = mkb_end(&f->m);
	struct alm_batch *copy = malloc(b->length);

	assert_true(f->n < BATCHES_MAX);
	memcpy(copy, b, b->length);
	f->batch[f->n++] = copy;
}

static void
add_message(struct fixture *f)
{
	uint32_t topic = 1 + (uint32_t)rnd(f, TOPICS), queue = (uint32_t)rnd(f, QUEUES);
	char key[16], body[64] = {0};

	while (f->dropped & 1u << topic)
		topic = topic % TOPICS + 1;
	snprintf(key, sizeof key, "key%u", (unsigned)rnd(f, KEYS));
	mkb_message(&f->m, topic, queue, rnd(f, 2) ? "tag" : NULL, rnd(f, 3) ? key : NULL, body,
	    rnd(f, sizeof body));
}

/* One more batch: mostly messages, at times only state or control. */
static void
grow(struct fixture *f)
{
	mkb_begin(&f->m);
	f->m.log_time += rnd(f, 3) * 1000;
	if (rnd(f, 10) == 0)
		mkb_control(&f->m, ALM_REC_NOOP, NULL, 0);
	else if (rnd(f, 10) == 0)
		mkb_topic(&f->m, "some", 99, 1);
	else
		for (uint64_t n = 1 + rnd(f, 6); n > 0; n--)
			add_message(f);
	keep(f);
}

static uint64_t
log_end(const struct fixture *f)
{
	return f->n ? f->batch[f->n - 1]->position + f->batch[f->n - 1]->length : 0;
}

/* Apply all that the provider has not got. */
static void
catch_up(struct fixture *f)
{
	for (uint32_t i = 0; i < f->n; i++) {
		const struct alm_batch *b = f->batch[i];
		if (b->position < ops->applied(f->x))
			continue;
		assert_int_equal(ops->apply(f->x, b), ALM_OK);
		assert_int_equal(ops->applied(f->x), b->position + b->length);
	}
	assert_int_equal(ops->applied(f->x), log_end(f));
}

static void
grow_and_apply(struct fixture *f, uint32_t batches)
{
	while (batches-- > 0)
		grow(f);
	catch_up(f);
}

/* ---- the model's answers ---- */

/* The n-th visible row of a queue; 0 if there are not so many. */
static int
model_row(const struct fixture *f, uint32_t topic, uint32_t queue, uint32_t nth,
    struct alm_q_row *out)
{
	for (uint32_t i = 0; i < f->n; i++) {
		const struct alm_batch *b = f->batch[i];
		const struct alm_dir *d = alm_batch_dir(b);
		if (b->position < f->released)
			continue;
		for (uint32_t j = 0; j < b->dir_count; j++) {
			if (d[j].topic != topic || d[j].queue != queue || nth-- > 0)
				continue;
			*out = (struct alm_q_row){d[j].first_offset, b->position, b->log_time,
			    d[j].first_byte, d[j].end_byte, d[j].count, 0};
			return 1;
		}
	}
	return 0;
}

static uint64_t
model_end(const struct fixture *f, uint32_t topic, uint32_t queue)
{
	uint64_t end = 0;

	for (uint32_t i = 0; i < f->n; i++) {
		const struct alm_dir *d = alm_batch_dir(f->batch[i]);
		for (uint32_t j = 0; j < f->batch[i]->dir_count; j++)
			if (d[j].topic == topic && d[j].queue == queue)
				end = d[j].first_offset + d[j].count;
	}
	return end;
}

static uint32_t
model_keys(const struct fixture *f, const struct alm_q_key *q, const char *key, uint64_t *out)
{
	uint32_t n = 0;

	for (uint32_t i = f->n; i-- > 0;) {
		const struct alm_batch *b = f->batch[i];
		const struct alm_record *r;
		uint32_t at = sizeof *b, begin = at, from = n;
		if (b->position < f->released || b->log_time < q->since ||
		    (q->until && b->log_time > q->until))
			continue;
		for (; (r = alm_batch_next(b, &at)) != NULL; begin = at) {
			struct alm_slice v = alm_record_find(r, ALM_ATTR_KEY);
			if (r->kind != ALM_REC_MESSAGE || (q->topic && r->topic != q->topic) ||
			    (f->dropped & 1u << r->topic) || v.len != q->key_len ||
			    memcmp(v.data, key, v.len) != 0)
				continue;
			memmove(out + from + 1, out + from, (n - from) * sizeof *out);
			out[from] = b->position + begin;
			n++;
		}
	}
	return n < q->limit ? n : q->limit;
}

/* ---- comparing ---- */

static int64_t
ask(struct fixture *f, uint32_t what, const void *in, uint32_t in_len, void *out, uint32_t cap)
{
	int64_t n = ops->query(f->x, what, in, in_len, out, cap);

	assert_true(n <= (int64_t)cap);
	assert_true(n >= ALM_STATUS_LAST);
	return n;
}

static void
check_offset(struct fixture *f, uint32_t topic, uint32_t queue, uint64_t offset, uint32_t cap_rows)
{
	struct alm_q_offset q = {topic, queue, offset};
	struct alm_q_row got[64], want;
	uint32_t nth = 0;
	int64_t n = ask(f, ALM_Q_OFFSET, &q, sizeof q, got, cap_rows * (uint32_t)sizeof *got);

	if (n == ALM_ENOTSUP)
		return;
	while (model_row(f, topic, queue, nth, &want) && want.first_offset + want.count <= offset)
		nth++;
	if (!model_row(f, topic, queue, nth, &want) || want.first_offset > offset) {
		assert_int_equal(n, ALM_EOFFSET);
		return;
	}
	assert_true(n > 0);
	assert_int_equal(n % (int64_t)sizeof *got, 0);
	for (uint32_t i = 0; i < n / (int64_t)sizeof *got; i++) {
		assert_true(model_row(f, topic, queue, nth + i, &want));
		assert_memory_equal(&got[i], &want, sizeof want);
	}
	/* As many as fit. */
	if (n < (int64_t)(cap_rows * sizeof *got))
		assert_false(model_row(f, topic, queue, nth + (uint32_t)(n / (int64_t)sizeof *got), &want));
}

static void
check_time(struct fixture *f, uint32_t topic, uint32_t queue, uint64_t time)
{
	struct alm_q_time q = {topic, queue, time};
	struct alm_q_row got, want;
	uint32_t nth = 0;
	int64_t n = ask(f, ALM_Q_TIME, &q, sizeof q, &got, sizeof got);

	if (n == ALM_ENOTSUP)
		return;
	while (model_row(f, topic, queue, nth, &want) && want.log_time < time)
		nth++;
	if (!model_row(f, topic, queue, nth, &want)) {
		assert_int_equal(n, 0);
		return;
	}
	assert_int_equal(n, sizeof got);
	assert_memory_equal(&got, &want, sizeof want);
}

static void
check_bounds(struct fixture *f, uint32_t topic, uint32_t queue, struct alm_q_bounds *got)
{
	struct alm_q_queue q = {topic, queue};
	uint64_t end = model_end(f, topic, queue);
	struct alm_q_row row;
	int64_t n = ask(f, ALM_Q_BOUNDS, &q, sizeof q, got, sizeof *got);

	if (n == ALM_ENOTSUP) {
		got->begin = 0;
		got->end = end;
		return;
	}
	assert_int_equal(n, sizeof *got);
	if (f->dropped & 1u << topic)
		return;
	assert_int_equal(got->end, end);
	assert_int_equal(got->begin, model_row(f, topic, queue, 0, &row) ? row.first_offset : end);
}

static void
check_key(struct fixture *f, uint32_t topic, uint32_t limit, uint64_t since, uint64_t until)
{
	static uint64_t want[BATCHES_MAX * 8];
	uint64_t got[512];
	struct {
		struct alm_q_key q;
		char key[16];
	} in;
	uint32_t n;
	int64_t len;

	memset(&in, 0, sizeof in);
	snprintf(in.key, sizeof in.key, "key%u", (unsigned)rnd(f, KEYS + 1));
	in.q = (struct alm_q_key){topic, limit, since, until, (uint32_t)strlen(in.key), 0};
	len = ask(f, ALM_Q_KEY, &in, (uint32_t)sizeof in.q + in.q.key_len, got, sizeof got);
	if (len == ALM_ENOTSUP)
		return;
	n = model_keys(f, &in.q, in.key, want);
	assert_int_equal(len, n * sizeof *got);
	assert_memory_equal(got, want, n * sizeof *got);
}

static void
compare(struct fixture *f)
{
	uint64_t t0 = f->n ? f->batch[0]->log_time : 0;
	uint64_t t1 = f->n ? f->batch[f->n - 1]->log_time + 2 : 1;
	struct alm_q_bounds b;

	for (uint32_t topic = 1; topic <= TOPICS; topic++) {
		for (uint32_t queue = 0; queue <= QUEUES; queue++) {
			check_bounds(f, topic, queue, &b);
			if (f->dropped & 1u << topic)
				continue;
			check_offset(f, topic, queue, b.begin, 64);
			check_offset(f, topic, queue, b.begin - 1, 64);
			check_offset(f, topic, queue, b.end, 64);
			check_offset(f, topic, queue, b.end - 1, 1);
			check_offset(f, topic, queue, UINT64_MAX, 1);
			for (int i = 0; i < 8; i++) {
				check_offset(f, topic, queue, rnd(f, b.end + 2), 1 + (uint32_t)rnd(f, 63));
				check_time(f, topic, queue, t0 + rnd(f, t1 - t0));
			}
			check_time(f, topic, queue, 0);
			check_time(f, topic, queue, UINT64_MAX);
		}
		check_key(f, topic, 500, 0, 0);
		check_key(f, 0, 1 + (uint32_t)rnd(f, 20), 0, 0);
		check_key(f, topic, 500, t0 + rnd(f, t1 - t0), 0);
		check_key(f, topic, 500, 0, t0 + rnd(f, t1 - t0));
	}
}

/* ---- the tests ---- */

static void
an_empty_index_answers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ops->applied(f->x), 0);
	assert_int_equal(ops->synced(f->x), 0);
	compare(f);
	assert_int_equal(ops->sync(f->x), ALM_OK);
	reopen(f);
	compare(f);
}

static void
every_query_agrees_with_the_log(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 12; round++) {
		grow_and_apply(f, 1 + (uint32_t)rnd(f, 40));
		compare(f);
		if (rnd(f, 2))
			assert_int_equal(ops->sync(f->x), ALM_OK);
	}
}

static void
close_syncs_and_open_finds_it(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 4; round++) {
		grow_and_apply(f, 30);
		reopen(f);
		compare(f);
	}
}

/* A child applies and dies at once; what it had synced is there, neither less nor half of more. */
static void
a_crash_leaves_what_was_synced(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 8; round++) {
		int pipefd[2], status;
		uint64_t synced = 0;
		pid_t pid;

		for (uint32_t more = 5 + (uint32_t)rnd(f, 60); more > 0; more--)
			grow(f);
		uint32_t sync_after = (uint32_t)rnd(f, f->n), syncs = (uint32_t)rnd(f, 3);
		ops->close(f->x);
		f->x = NULL;
		fflush(NULL);
		assert_int_equal(pipe(pipefd), 0);
		pid = fork();
		if (pid == 0) {
			if (ops->open(fh_host(f->fh), f->dir, &f->x))
				_exit(1);
			for (uint32_t i = 0; i < f->n; i++) {
				if (f->batch[i]->position < ops->applied(f->x))
					continue;
				if (ops->apply(f->x, f->batch[i]))
					_exit(2);
				if (i >= sync_after && syncs > 0 && syncs--)
					if (ops->sync(f->x))
						_exit(3);
			}
			synced = ops->synced(f->x);
			_exit(write(pipefd[1], &synced, sizeof synced) == sizeof synced ? 0 : 4);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		assert_int_equal(read(pipefd[0], &synced, sizeof synced), sizeof synced);
		close(pipefd[0]);
		close(pipefd[1]);
		open_index(f);
		assert_int_equal(ops->applied(f->x), synced);
		assert_int_equal(ops->synced(f->x), synced);
		catch_up(f);
		compare(f);
	}
}

static void
revert_forgets_a_lost_tail(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 10; round++) {
		grow_and_apply(f, 20 + (uint32_t)rnd(f, 40));
		if (rnd(f, 2))
			assert_int_equal(ops->sync(f->x), ALM_OK);
		uint32_t left = round == 9 ? 0 : (uint32_t)rnd(f, f->n);
		uint64_t at = f->batch[left]->position;
		assert_int_equal(ops->revert(f->x, at), ALM_OK);
		assert_true(ops->applied(f->x) <= at);
		/* The log goes on from there with other batches. */
		struct mkbatch m;
		mkb_init(&m, at, f->batch[left]->index, 1);
		m.log_time = f->batch[left]->log_time;
		for (uint32_t t = 1; t <= TOPICS; t++) {
			for (uint32_t q = 0; q < QUEUES; q++) {
				uint32_t all = f->n;
				f->n = left;
				*hmap_put(m.next_offset, (uint64_t)t << 32 | q) = model_end(f, t, q);
				f->n = all;
			}
		}
		while (f->n > left)
			free(f->batch[--f->n]);
		mkb_free(&f->m);
		f->m = m;
		catch_up(f);
		compare(f);
		grow_and_apply(f, 10);
		compare(f);
		if (rnd(f, 2))
			reopen(f);
	}
}

static void
revert_beyond_the_end_changes_nothing(void **state)
{
	struct fixture *f = *state;

	grow_and_apply(f, 50);
	assert_int_equal(ops->revert(f->x, log_end(f)), ALM_OK);
	assert_int_equal(ops->revert(f->x, log_end(f) + 1000), ALM_OK);
	assert_int_equal(ops->applied(f->x), log_end(f));
	compare(f);
}

static void
what_is_released_is_gone_at_once(void **state)
{
	struct fixture *f = *state;
	uint32_t at = 0;

	for (int round = 0; round < 15; round++) {
		grow_and_apply(f, 30);
		at += (uint32_t)rnd(f, 40);
		if (at >= f->n)
			at = f->n - 1;
		f->released = f->batch[at]->position;
		assert_int_equal(ops->release(f->x, f->released), ALM_OK);
		compare(f);
		/* Going back changes nothing. */
		assert_int_equal(ops->release(f->x, f->released / 2), ALM_OK);
		compare(f);
		if (rnd(f, 2))
			assert_int_equal(ops->sync(f->x), ALM_OK);
		if (rnd(f, 3) == 0)
			reopen(f);
		compare(f);
	}
	f->released = log_end(f);
	assert_int_equal(ops->release(f->x, f->released), ALM_OK);
	compare(f); /* ends are still known */
	reopen(f);
	compare(f);
}

/* Retention that keeps up must not let the directory grow for ever. */
static void
released_space_is_reused(void **state)
{
	struct fixture *f = *state;
	uint64_t size[2] = {0, 0};

	for (int half = 0; half < 2; half++) {
		for (int round = 0; round < 60; round++) {
			grow_and_apply(f, 30);
			f->released = f->batch[f->n - 10]->position;
			assert_int_equal(ops->release(f->x, f->released), ALM_OK);
			assert_int_equal(ops->sync(f->x), ALM_OK);
		}
		DIR *d = opendir(f->dir);
		struct dirent *e;
		while ((e = readdir(d)) != NULL) {
			char path[400];
			struct stat st;
			snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
			if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
				size[half] += (uint64_t)st.st_size;
		}
		closedir(d);
	}
	assert_true(size[1] <= size[0] * 3 / 2);
	compare(f);
}

static void
a_log_may_begin_late(void **state)
{
	struct fixture *f = *state;

	mkb_free(&f->m);
	mkb_init(&f->m, 1 << 20, 100, 3);
	for (uint32_t q = 0; q < QUEUES; q++)
		*hmap_put(f->m.next_offset, 1ull << 32 | q) = 1000 * (q + 1);
	grow(f);
	/* A queue that has nothing in the log is not known to an index that never saw it. */
	for (uint32_t t = 1; t <= TOPICS; t++)
		for (uint32_t q = 0; q < QUEUES; q++) {
			mkb_begin(&f->m);
			mkb_message(&f->m, t, q, NULL, NULL, "x", 1);
			keep(f);
		}
	catch_up(f);
	compare(f);
	reopen(f);
	compare(f);
}

static void
a_gap_releases_what_is_before_it(void **state)
{
	struct fixture *f = *state;

	grow_and_apply(f, 60);
	/* Batches that the provider never sees: the log begins after them when it comes back. */
	uint32_t seen = f->n;
	for (int i = 0; i < 40; i++)
		grow(f);
	for (uint32_t t = 1; t <= TOPICS; t++)
		for (uint32_t q = 0; q < QUEUES; q++) {
			mkb_begin(&f->m);
			mkb_message(&f->m, t, q, NULL, NULL, "x", 1);
			keep(f);
		}
	f->released = f->batch[seen + 40]->position;
	for (uint32_t i = seen + 40; i < f->n; i++)
		assert_int_equal(ops->apply(f->x, f->batch[i]), ALM_OK);
	compare(f);
	reopen(f);
	compare(f);
}

static void
a_dropped_topic_leaves_the_rest_alone(void **state)
{
	struct fixture *f = *state;

	grow_and_apply(f, 200);
	for (int round = 0; round < 2; round++) {
		uint32_t topic = 1 + (uint32_t)round;
		int status = ops->drop_topic(f->x, topic);
		if (status == ALM_ENOTSUP)
			return;
		assert_int_equal(status, ALM_OK);
		assert_int_equal(ops->drop_topic(f->x, topic), ALM_OK); /* told again after a crash */
		f->dropped |= 1u << topic;
		compare(f);
		for (int i = 0; i < 6; i++) {
			grow_and_apply(f, 5);
			assert_int_equal(ops->sync(f->x), ALM_OK);
			compare(f);
		}
		reopen(f);
		compare(f);
	}
}

static void
a_batch_is_not_applied_twice(void **state)
{
	struct fixture *f = *state;

	grow_and_apply(f, 20);
	for (uint32_t i = 0; i < f->n; i++)
		assert_true(ops->apply(f->x, f->batch[i]) < 0);
	assert_int_equal(ops->applied(f->x), log_end(f));
	compare(f);
}

static void
nonsense_is_answered_with_a_status(void **state)
{
	struct fixture *f = *state;
	uint8_t in[256], out[256];

	grow_and_apply(f, 40);
	assert_int_equal(ops->query(f->x, 99999, in, 0, out, sizeof out), ALM_ENOTSUP);
	for (uint32_t i = 0; i < 4000; i++) {
		uint32_t len = (uint32_t)rnd(f, 80), cap = (uint32_t)rnd(f, sizeof out);
		for (uint32_t j = 0; j < sizeof in; j++)
			in[j] = rnd(f, 3) ? 0 : (uint8_t)rnd(f, 256);
		/* Exactly as much memory as is said to be there, for the sanitizer. */
		uint8_t *tight_in = malloc(len ? len : 1), *tight_out = malloc(cap ? cap : 1);
		memcpy(tight_in, in, len);
		ask(f, 1 + i % 6, tight_in, len, tight_out, cap);
		free(tight_in);
		free(tight_out);
	}
	compare(f);
}

static void
a_batch_with_a_broken_directory_changes_nothing(void **state)
{
	struct fixture *f = *state;
	uint64_t applied;

	if (ask(f, ALM_Q_BOUNDS, &(struct alm_q_queue){1, 0}, sizeof(struct alm_q_queue),
	    &(struct alm_q_bounds){0, 0}, sizeof(struct alm_q_bounds)) == ALM_ENOTSUP)
		return; /* does not read the directory */
	grow_and_apply(f, 40);
	assert_int_equal(ops->sync(f->x), ALM_OK);
	applied = ops->applied(f->x);
	mkb_begin(&f->m);
	mkb_message(&f->m, 1, 0, NULL, NULL, "x", 1);
	mkb_message(&f->m, 1, 1, NULL, NULL, "x", 1);
	keep(f);
	struct alm_batch *b = f->batch[f->n - 1];
	struct alm_dir *d = (struct alm_dir *)(void *)((char *)b + b->dir_offset) + 1;
	struct alm_dir good = *d;
	d->count = 0;
	assert_true(ops->apply(f->x, b) < 0);
	*d = good;
	d->end_byte = b->length + 8;
	assert_true(ops->apply(f->x, b) < 0);
	*d = good;
	d->first_byte = 8;
	assert_true(ops->apply(f->x, b) < 0);
	*d = good;
	assert_int_equal(ops->applied(f->x), applied);
	catch_up(f);
	compare(f);
}

static void
memory_that_runs_out_is_a_status(void **state)
{
	struct fixture *f = *state;
	int64_t at;

	grow_and_apply(f, 20);
	ops->close(f->x);
	f->x = NULL;
	for (at = 1; at < 50; at++) {
		atomic_store(&f->fh->allocs, 0);
		atomic_store(&f->fh->fail_alloc_at, at);
		int status = ops->open(fh_host(f->fh), f->dir, &f->x);
		if (status == ALM_OK)
			break;
		assert_int_equal(status, ALM_ENOMEM);
		assert_int_equal(atomic_load(&f->fh->live), 0);
	}
	atomic_store(&f->fh->fail_alloc_at, 0);
	assert_true(at < 50);
	compare(f);
}

static void
a_file_that_is_cut_short_is_a_status(void **state)
{
	struct fixture *f = *state;
	struct dirent *e;
	DIR *d;

	grow_and_apply(f, 400);
	ops->close(f->x);
	f->x = NULL;
	d = opendir(f->dir);
	while ((e = readdir(d)) != NULL) {
		char path[400];
		struct stat st;
		snprintf(path, sizeof path, "%s/%s", f->dir, e->d_name);
		if (stat(path, &st) == 0 && S_ISREG(st.st_mode))
			assert_int_equal(truncate(path, st.st_size / 2), 0);
	}
	closedir(d);
	int status = ops->open(fh_host(f->fh), f->dir, &f->x);
	for (uint32_t i = 0; i < 100 && status == ALM_OK; i++) {
		struct alm_q_offset q = {1 + (uint32_t)rnd(f, TOPICS), (uint32_t)rnd(f, QUEUES), rnd(f, 60)};
		struct alm_q_row row[4];
		int64_t n = ask(f, ALM_Q_OFFSET, &q, sizeof q, row, sizeof row);
		if (n == ALM_ECORRUPT || n == ALM_EVERSION)
			status = (int)n;
		grow(f);
		if (status == ALM_OK && f->batch[f->n - 1]->position == ops->applied(f->x))
			status = ops->apply(f->x, f->batch[f->n - 1]);
	}
	assert_true(status == ALM_OK || status == ALM_ECORRUPT || status == ALM_EVERSION);
	assert_true(status == ALM_OK || fh_fail_text(f->fh)[0] != 0);
	/* What a core does about it: delete, and apply the log again. */
	if (f->x)
		ops->close(f->x);
	remove_dir(f->dir);
	assert_int_equal(mkdir(f->dir, 0700), 0);
	open_index(f);
	catch_up(f);
	compare(f);
}

/* The limit on a file's size stands in for a full disk: both fail the write. */
static void
a_full_disk_is_waited_out(void **state)
{
	struct fixture *f = *state;
	struct rlimit was, tight;
	uint64_t synced;
	int status = ALM_OK;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	grow_and_apply(f, 10);
	assert_int_equal(ops->sync(f->x), ALM_OK);
	synced = ops->synced(f->x);
	tight = was;
	tight.rlim_cur = 64 << 10;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &tight), 0);
	for (int i = 0; i < 60 && status == ALM_OK; i++) {
		synced = ops->synced(f->x);
		for (int j = 0; j < 60; j++)
			grow(f);
		for (uint32_t b = 0; b < f->n && status == ALM_OK; b++)
			if (f->batch[b]->position >= ops->applied(f->x))
				status = ops->apply(f->x, f->batch[b]);
		if (status == ALM_OK)
			status = ops->sync(f->x);
	}
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(status, ALM_EFULL);
	/* Back to what was synced; nothing else is lost, and space makes it go on. */
	assert_int_equal(ops->applied(f->x), synced);
	assert_int_equal(ops->synced(f->x), synced);
	catch_up(f);
	compare(f);
	assert_int_equal(ops->sync(f->x), ALM_OK);
	reopen(f);
	compare(f);
}

static void
verify_agrees_with_its_log(void **state)
{
	struct fixture *f = *state;

	grow_and_apply(f, 150);
	for (uint32_t i = 0; i < f->n; i++) {
		int status = ops->verify(f->x, f->batch[i]);
		assert_true(status == ALM_OK || status == ALM_ENOTSUP);
	}
}

static uint64_t
resident(void)
{
	unsigned long long total = 0, pages = 0, shared = 0;
	FILE *fp = fopen("/proc/self/statm", "r");

	if (!fp || fscanf(fp, "%llu %llu %llu", &total, &pages, &shared) != 3)
		pages = shared = 0;
	if (fp)
		fclose(fp);
	return (pages - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void
a_hundred_thousand_queues_fit(void **state)
{
	struct fixture *f = *state;
	const uint32_t queues = 50000, per_batch = 1000, rounds = 6;
	uint64_t before, rows = 0, t0, us = 0;
	char key[16];

	/* The real size of a run. */
	ops->close(f->x);
	fh_free(f->fh);
	f->fh = fh_new(ALM_ROLE_INDEXER);
	fh_settings(f->fh, provider->settings, provider->n_settings);
	open_index(f);
	before = resident();
	for (uint32_t i = 0; i < 2 * queues / per_batch * rounds; i++) {
		mkb_begin(&f->m);
		for (uint32_t j = 0; j < per_batch; j++) {
			uint32_t n = (uint32_t)((i * per_batch + j) * 7919ull % (2 * queues));
			snprintf(key, sizeof key, "%u", n);
			mkb_message(&f->m, 1 + n / queues, n % queues, NULL, key, "x", 1);
		}
		const struct alm_batch *b = mkb_end(&f->m);
		t0 = clock_mono();
		assert_int_equal(ops->apply(f->x, b), ALM_OK);
		if (i % 100 == 99)
			assert_int_equal(ops->sync(f->x), ALM_OK);
		us += clock_mono() - t0;
		rows += per_batch;
	}
	print_message("# %llu rows in %llu ms: %llu rows/s, %llu KiB resident for it\n",
	    (unsigned long long)rows, (unsigned long long)(us / 1000),
	    (unsigned long long)(rows * 1000000 / (us + 1)),
	    (unsigned long long)((resident() - before) / 1024));
	#ifndef __SANITIZE_ADDRESS__ /* keeps what is freed for a while */
	assert_true(resident() - before < 96ull << 20);
#endif
	for (int i = 0; i < 2000; i++) {
		struct alm_q_queue q = {1 + (uint32_t)rnd(f, 2), (uint32_t)rnd(f, queues)};
		struct alm_q_offset o = {q.topic, q.queue, rnd(f, rounds)};
		struct alm_q_bounds b;
		struct alm_q_row row[8];
		int64_t n = ask(f, ALM_Q_BOUNDS, &q, sizeof q, &b, sizeof b);
		if (n == ALM_ENOTSUP)
			return;
		assert_int_equal(b.begin, 0);
		assert_int_equal(b.end, rounds);
		n = ask(f, ALM_Q_OFFSET, &o, sizeof o, row, sizeof row);
		assert_int_equal(n, (rounds - o.offset) * sizeof *row);
		assert_int_equal(row[0].first_offset, o.offset);
	}
}

/* ---- main ---- */

int
main(int argc, char **argv)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(an_empty_index_answers),
	    T(every_query_agrees_with_the_log),
	    T(close_syncs_and_open_finds_it),
	    T(a_crash_leaves_what_was_synced),
	    T(revert_forgets_a_lost_tail),
	    T(revert_beyond_the_end_changes_nothing),
	    T(what_is_released_is_gone_at_once),
	    T(released_space_is_reused),
	    T(a_log_may_begin_late),
	    T(a_gap_releases_what_is_before_it),
	    T(a_dropped_topic_leaves_the_rest_alone),
	    T(a_batch_is_not_applied_twice),
	    T(nonsense_is_answered_with_a_status),
	    T(a_batch_with_a_broken_directory_changes_nothing),
	    T(memory_that_runs_out_is_a_status),
	    T(a_file_that_is_cut_short_is_a_status),
	    T(a_full_disk_is_waited_out),
	    T(verify_agrees_with_its_log),
	    T(a_hundred_thousand_queues_fit),
	};

	const void *table;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: check_indexer FILE.so [SEED [TEST]]\n");
		return 2;
	}
	if (argc > 3)
		cmocka_set_test_filter(argv[3]);
	if (argc > 2)
		first_seed = strtoull(argv[2], NULL, 10);
	if ((provider = kit_load(argv[1], ALM_KIND_INDEXER, &table)) == NULL)
		return 2;
	ops = table;
	printf("# %s: indexer %s, seed %llu\n", argv[1], provider->name, (unsigned long long)first_seed);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
