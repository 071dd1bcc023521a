/* regress/conformance/check_protocol.c - does a protocol provider keep its contract?
 *
 *	check_protocol FILE.so [CORPUS [SEED]]
 *
 * CORPUS has a conversation a line: the bytes of one client, in hexadecimal, as a real client sent
 * them.  The kit feeds them whole, split, cut short and changed to the provider on the fake broker,
 * and answers its requests in time, late, wrongly or never.  Whatever happens, the provider must
 * use no more than it was given, behave alike however bytes are split, make no request after the
 * end, free all memory, and not crash (build with --enable-sanitize to see more).  A provider
 * without a corpus is fed random bytes only.  Output is TAP.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regress/conformance/kit.h"
#include "regress/lib/fakebroker.h"

#define CONVERSATIONS_MAX 64u
#define ROUNDS 400u /* of changed conversations */

static const struct alm_provider *provider;
static struct alm_protocol_ops_v0 ops; /* as the core completes it */
static struct buf talk[CONVERSATIONS_MAX];
static uint32_t n_talks;
static uint64_t seed = 1;

static uint64_t
rnd(uint64_t below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (seed >> 33) % below;
}

/* ---- fixture ---- */

static struct fakebroker *
loaded(void)
{
	struct fakebroker *fb = fb_new();

	fb->settings = provider->settings;
	fb->n_settings = provider->n_settings;
	fb_topic_add(fb, "orders", 3);
	assert_int_equal(fb_load(fb, &ops), ALM_OK);
	return fb;
}

static int
setup(void **state)
{
	*state = loaded();
	return 0;
}

static int
teardown(void **state)
{
	assert_int_equal(fb_free(*state), 0);
	return 0;
}

/* The only connection of this broker, or NULL once the provider has ended it. */
static struct alm_conn *
still_there(struct fakebroker *fb)
{
	return fb->conns;
}

/* Feed in pieces of at most `most` bytes; stops when the provider ends it. */
static void
feed_pieces(struct fakebroker *fb, const struct buf *b, uint64_t len, uint64_t most)
{
	uint64_t at = 0, n;

	while (at < len && still_there(fb)) {
		n = most == 1 ? 1 : 1 + rnd(most);
		n = n < len - at ? n : len - at;
		fb_feed(still_there(fb), b->data + at, n);
		at += n;
	}
}

/* ---- what must hold ---- */

static void
the_manifest_is_of_this_version(void **state)
{
	(void)state;
	assert_true(provider->size >= sizeof *provider);
	assert_int_equal(provider->major, ALM_PROTOCOL_MAJOR);
}

static void
many_connections_come_and_go(void **state)
{
	struct fakebroker *fb = *state;
	struct alm_conn *c[50];

	for (int i = 0; i < 50; i++) {
		c[i] = fb_open(fb);
		assert_non_null(c[i]);
		assert_true(ops.frame_limit(c[i]->session) >= 64);
		assert_int_equal(fb_feed(c[i], "", 0), 0);
	}
	for (int i = 0; i < 50; i += 2)
		fb_close(c[i], ALM_ECLOSED);
	for (int i = 1; i < 50; i += 2)
		ops.shutdown(c[i]->session);
}

/* What a conversation leads to: bytes written and requests made, answered only at its end. */
static void
outcome(const struct buf *b, uint64_t most, struct buf *out, uint32_t *requests)
{
	struct fakebroker *fb = loaded();
	struct alm_conn *c = fb_open(fb);

	feed_pieces(fb, b, b->len, most);
	assert_ptr_equal(still_there(fb), c); /* a real client's bytes are welcome */
	for (int i = 0; i < 10 && fb_waiting(fb); i++)
		fb_answer_all(fb, 42);
	*requests = fb->n_requests;
	buf_put(out, c->out.data, c->out.len);
	assert_int_equal(fb_free(fb), 0);
}

static void
splits_change_nothing(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < n_talks; i++) {
		struct buf whole = {0}, bytes = {0}, pieces = {0};
		uint32_t n_whole, n_bytes, n_pieces;

		outcome(&talk[i], talk[i].len, &whole, &n_whole);
		outcome(&talk[i], 1, &bytes, &n_bytes);
		outcome(&talk[i], 37, &pieces, &n_pieces);
		assert_true(whole.len > 0 || n_whole > 0);
		assert_int_equal(n_whole, n_bytes);
		assert_int_equal(n_whole, n_pieces);
		assert_int_equal(whole.len, bytes.len);
		assert_int_equal(whole.len, pieces.len);
		assert_memory_equal(whole.data, bytes.data, whole.len);
		assert_memory_equal(whole.data, pieces.data, whole.len);
		buf_free(&whole);
		buf_free(&bytes);
		buf_free(&pieces);
	}
}

static void
a_peer_may_leave_at_any_byte(void **state)
{
	struct fakebroker *fb = *state;

	for (uint32_t i = 0; i < n_talks; i++)
		for (uint64_t len = 0; len < talk[i].len; len += 1 + len / 16) {
			struct alm_conn *c = fb_open(fb);

			fb_feed(c, talk[i].data, len);
			if (still_there(fb))
				fb_close(c, ALM_ECLOSED);
			assert_int_equal(fb_waiting(fb), 0);
		}
}

/* Every request fails with st: the session goes on or ends in order. */
static void
answered_with(struct fakebroker *fb, int st)
{
	for (uint32_t i = 0; i < n_talks; i++) {
		struct alm_conn *c = fb_open(fb);

		fb_feed(c, talk[i].data, talk[i].len);
		for (int k = 0; k < 200 && fb_next(fb, FB_ANY); k++)
			fb_answer_status(fb_next(fb, FB_ANY), st, "for the test");
		if (still_there(fb))
			fb_close(c, ALM_ECLOSED);
	}
}

static void
every_error_is_borne(void **state)
{
	for (int st = -1; st >= ALM_STATUS_LAST; st--)
		answered_with(*state, st);
}

static void
back_pressure_is_borne(void **state)
{
	static const int refusals[] = {ALM_EAGAIN, ALM_ECLOSED, ALM_ENOMEM};
	struct fakebroker *fb = *state;

	for (uint32_t i = 0; i < 3 * n_talks; i++) {
		struct alm_conn *c = fb_open(fb);
		const struct buf *b = &talk[i / 3];

		fb->refuse = (uint32_t)-refusals[i % 3];
		fb_feed(c, b->data, b->len);
		fb->refuse = 0;
		if (still_there(fb))
			fb_drain(c, 0); /* there is room again */
		if (still_there(fb))
			fb_feed(c, "", 0);
		for (int k = 0; k < 10 && fb_waiting(fb); k++)
			fb_answer_all(fb, 7);
		if (still_there(fb))
			fb_close(c, ALM_ECLOSED);
	}
}

static void
a_full_output_is_borne(void **state)
{
	struct fakebroker *fb = *state;

	for (uint32_t i = 0; i < n_talks; i++) {
		struct alm_conn *c = fb_open(fb);

		c->pending = UINT64_MAX / 2;
		fb_feed(c, talk[i].data, talk[i].len);
		for (int k = 0; k < 10 && fb_waiting(fb); k++)
			fb_answer_all(fb, 7);
		if (still_there(fb)) {
			c->pending = 0;
			fb_drain(c, c->out.len);
		}
		for (int k = 0; k < 10 && fb_waiting(fb); k++)
			fb_answer_all(fb, 7);
		if (still_there(fb))
			fb_close(c, ALM_ECLOSED);
	}
}

static void
deadlines_pass_in_peace(void **state)
{
	struct fakebroker *fb = *state;

	for (uint32_t i = 0; i < n_talks; i++) {
		struct alm_conn *c = fb_open(fb);

		fb_feed(c, talk[i].data, talk[i].len);
		for (int k = 0; k < 20 && still_there(fb); k++) {
			fb_clock(fb, fb->clock + 60000000);
			if (fb_waiting(fb))
				fb_answer_all(fb, (uint64_t)k);
		}
		if (still_there(fb))
			fb_close(c, ALM_ECLOSED);
	}
}

/* Flip, insert, delete or repeat some bytes. */
static void
change(struct buf *b)
{
	for (uint64_t n = 1 + rnd(4); n > 0 && b->len; n--) {
		uint64_t at = rnd(b->len), len = 1 + rnd(8);

		len = len < b->len - at ? len : b->len - at;
		switch (rnd(4)) {
		case 0:
			b->data[at] ^= (uint8_t)(1u << rnd(8));
			break;
		case 1:
			memset(b->data + at, rnd(2) ? 0xff : 0, len);
			break;
		case 2:
			memmove(b->data + at, b->data + at + len, b->len - at - len);
			b->len -= len;
			break;
		default:
			if (buf_reserve(b, len))
				abort();
			memmove(b->data + at + len, b->data + at, b->len - at);
			b->len += len;
			break;
		}
	}
}

static void
changed_conversations_do_no_harm(void **state)
{
	struct fakebroker *fb = *state;
	struct buf b = {0};

	for (uint32_t i = 0; n_talks && i < ROUNDS * n_talks; i++) {
		const struct buf *from = &talk[i % n_talks];

		fb_open(fb);
		buf_reset(&b);
		buf_put(&b, from->data, from->len);
		change(&b);
		feed_pieces(fb, &b, b.len / 2, 64);
		if (rnd(2))
			fb_answer_all(fb, rnd(1000));
		if (still_there(fb) && b.len > b.len / 2)
			fb_feed(still_there(fb), b.data + b.len / 2, b.len - b.len / 2);
		for (int k = 0; k < 5 && rnd(4) && fb_waiting(fb); k++)
			fb_answer_all(fb, rnd(1000));
		if (still_there(fb))
			fb_close(still_there(fb), ALM_ECLOSED);
		assert_int_equal(fb_waiting(fb), 0);
	}
	buf_free(&b);
}

static void
random_bytes_do_no_harm(void **state)
{
	struct fakebroker *fb = *state;
	uint8_t noise[512];
	struct buf b = {noise, sizeof noise, sizeof noise};

	for (int i = 0; i < 2000; i++) {
		for (uint32_t k = 0; k < sizeof noise; k++)
			noise[k] = (uint8_t)rnd(i % 3 ? 256 : 4);
		fb_open(fb);
		feed_pieces(fb, &b, b.len, 128);
		if (still_there(fb)) {
			assert_true(still_there(fb)->in.len <=
			    ops.frame_limit(still_there(fb)->session) + sizeof noise);
			fb_close(still_there(fb), ALM_ECLOSED);
		}
	}
}

/* ---- start ---- */

static int
digit(int ch)
{
	return ch >= '0' && ch <= '9' ? ch - '0' : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

static int
read_corpus(const char *path)
{
	FILE *f = fopen(path, "r");
	int ch, high = -1;

	if (!f)
		return -1;
	while ((ch = fgetc(f)) != EOF && n_talks < CONVERSATIONS_MAX) {
		uint8_t byte;

		if (ch == '\n' && talk[n_talks].len) {
			n_talks++;
			high = -1;
		}
		if (digit(ch) < 0)
			continue;
		if (high < 0) {
			high = digit(ch);
			continue;
		}
		byte = (uint8_t)(high << 4 | digit(ch));
		high = -1;
		buf_put(&talk[n_talks], &byte, 1);
	}
	fclose(f);
	return 0;
}

int
main(int argc, char **argv)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
	    T(the_manifest_is_of_this_version),
	    T(many_connections_come_and_go),
	    cmocka_unit_test(splits_change_nothing),
	    T(a_peer_may_leave_at_any_byte),
	    T(every_error_is_borne),
	    T(back_pressure_is_borne),
	    T(a_full_output_is_borne),
	    T(deadlines_pass_in_peace),
	    T(changed_conversations_do_no_harm),
	    T(random_bytes_do_no_harm),
	};
	const void *table;
	int failed;

	if (argc < 2 || argc > 4) {
		fprintf(stderr, "usage: check_protocol FILE.so [CORPUS [SEED]]\n");
		return 2;
	}
	if (argc > 2 && read_corpus(argv[2])) {
		perror(argv[2]);
		return 2;
	}
	if (argc > 3)
		seed = strtoull(argv[3], NULL, 10);
	if ((provider = kit_load(argv[1], ALM_KIND_PROTOCOL, &table)) == NULL)
		return 2;
	memcpy(&ops, table, sizeof ops);
	printf("# %s: protocol %s, %u conversations, seed %llu\n", argv[1], provider->name, n_talks,
	    (unsigned long long)seed);
	cmocka_set_message_output(CM_OUTPUT_TAP);
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	for (uint32_t i = 0; i < CONVERSATIONS_MAX; i++)
		buf_free(&talk[i]);
	return failed != 0;
}
