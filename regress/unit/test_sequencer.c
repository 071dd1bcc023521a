/* Tests of the sequencer, batches and the checkpoint file: the ledger's parts without a disk. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/batch.h"
#include "ledger/versions.h"

#define CAP (1u << 20)

struct world {
	struct sequencer *seq;
	struct batch batch;
	uint64_t position, index, log_time;
	uint32_t prev_crc;
	struct msg_condition conditions[8];
	struct seq_group g;
	uint64_t first;
};

static const struct seq_limits limits = {.max_message = 4096, .topic_queues = 3};

static int
setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	*state = w;
	w->seq = sequencer_new(&limits);
	w->log_time = 1000;
	w->index = 1;
	if (w->seq == NULL || batch_init(&w->batch, CAP) != ALM_OK)
		return -1;
	batch_open(&w->batch, 1, 0, w->log_time, 0);
	return 0;
}

static int
teardown(void **state)
{
	struct world *w = *state;

	sequencer_free(w->seq);
	batch_free(&w->batch);
	free(w);
	return 0;
}

/* ---- groups ---- */

static void
group_begin(struct world *w)
{
	memset(&w->g, 0, sizeof w->g);
	w->g.records = batch_room(&w->batch, 1 << 16, 64);
	assert_non_null(w->g.records);
	w->g.conditions = w->conditions;
	w->g.log_time = w->log_time;
	w->g.full_text = "disk full";
}

static struct alm_record *
add(struct world *w, uint32_t kind, const void *body, uint32_t len)
{
	const uint32_t pad = (8 - len % 8) % 8;
	struct alm_record *r = (void *)(w->g.records + w->g.bytes);

	memset(r, 0, sizeof *r + len + pad);
	r->length = (uint32_t)sizeof *r + len + pad;
	r->magic = ALM_RECORD_MAGIC;
	r->kind = (uint8_t)kind;
	r->pad = (uint8_t)pad;
	if (len > 0)
		memcpy(r + 1, body, len);
	w->g.bytes += r->length;
	w->g.n_records++;
	return r;
}

static struct alm_record *
message(struct world *w, uint32_t topic, uint32_t queue, uint64_t producer, uint32_t sequence)
{
	struct alm_record *r = add(w, ALM_REC_MESSAGE, "hello", 5);

	r->topic = topic;
	r->queue = queue;
	r->producer = producer;
	r->sequence = sequence;
	return r;
}

static struct alm_record *
change(struct world *w, const char *ns, uint32_t op, const char *key, const void *val, uint32_t len)
{
	uint8_t body[512];
	const struct alm_state_txn t = {(uint16_t)strlen(ns), 1, 0};
	const struct alm_state_op o = {(uint8_t)op, 0, (uint16_t)strlen(key), len};
	uint32_t n = 0;

	memcpy(body, &t, sizeof t);
	n += (uint32_t)sizeof t;
	memcpy(body + n, ns, t.ns_len);
	n += t.ns_len;
	memcpy(body + n, &o, sizeof o);
	n += (uint32_t)sizeof o;
	memcpy(body + n, key, o.key_len);
	n += o.key_len;
	if (len > 0)
		memcpy(body + n, val, len);
	return add(w, ALM_REC_STATE, body, n + len);
}

static void
condition(struct world *w, const char *ns, const char *key, uint64_t version)
{
	w->conditions[w->g.n_conditions++] = (struct msg_condition){
	    state_key_hash((struct alm_slice){ns, strlen(ns)}, (struct alm_slice){key, strlen(key)}),
	    version};
}

static int
check(struct world *w)
{
	return sequencer_check(w->seq, &w->g);
}

static int
append(struct world *w)
{
	int status = check(w);

	if (status == ALM_OK && !(w->g.flags & GROUP_DUPLICATE))
		assert_int_equal(batch_take(&w->batch, w->seq, &w->g, &w->first, NULL), ALM_OK);
	return status;
}

static struct alm_slice
next_batch(struct world *w)
{
	struct alm_slice s;

	w->batch.index = w->index++;
	w->batch.term = 1;
	s = batch_close(&w->batch, 0, 1, w->prev_crc);
	w->prev_crc = batch_header(&w->batch)->header_crc;
	w->position += s.len;
	return s;
}

static void
open_next(struct world *w)
{
	batch_open(&w->batch, w->index + 1, w->position, ++w->log_time, 0);
}

static int
topic_put(struct world *w, const char *name, struct alm_topic t)
{
	group_begin(w);
	change(w, ALM_NS_TOPIC, ALM_STATE_PUT, name, &t, sizeof t);
	return append(w);
}

static const struct alm_topic *
topic(struct world *w, const char *name)
{
	const struct topic_entry *e = catalogue_topic(sequencer_catalogue(w->seq),
	    (struct alm_slice){name, strlen(name)});

	return e != NULL ? &e->topic : NULL;
}

static int
topic_delete(struct world *w, const char *name)
{
	group_begin(w);
	change(w, ALM_NS_TOPIC, ALM_STATE_DELETE, name, NULL, 0);
	return append(w);
}

static int
publish(struct world *w, uint32_t id, uint32_t queue, uint64_t producer, uint32_t sequence)
{
	group_begin(w);
	message(w, id, queue, producer, sequence);
	return append(w);
}

/* Offset of group a, topic b: the key holds zero bytes, so it is built by hand. */
static int
offset_put(struct world *w, uint64_t version)
{
	static const char key[] = {'g', 0, 't', 0, 'q'};
	const struct alm_slice ns = {ALM_NS_OFFSET, strlen(ALM_NS_OFFSET)};
	const struct alm_state_txn t = {(uint16_t)ns.len, 1, 0};
	const struct alm_state_op o = {ALM_STATE_PUT, 0, sizeof key,
	    sizeof(struct alm_offset)};
	uint8_t body[128];
	uint32_t n = 0;

	memcpy(body, &t, sizeof t);
	n += (uint32_t)sizeof t;
	memcpy(body + n, ns.data, ns.len);
	n += (uint32_t)ns.len;
	memcpy(body + n, &o, sizeof o);
	n += (uint32_t)sizeof o;
	memcpy(body + n, key, sizeof key);
	n += (uint32_t)sizeof key;
	memset(body + n, 0, sizeof(struct alm_offset));
	n += (uint32_t)sizeof(struct alm_offset);
	group_begin(w);
	w->conditions[w->g.n_conditions++] = (struct msg_condition){
	    state_key_hash(ns, (struct alm_slice){key, sizeof key}), version};
	add(w, ALM_REC_STATE, body, n);
	return append(w);
}

/* ---- topics ---- */

static void
gives_new_topics_the_next_id_and_the_defaults(void **state)
{
	struct world *w = *state;

	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1}), ALM_OK);
	assert_int_equal(topic_put(w, "b", (struct alm_topic){.version = 1, .queues = 7}), ALM_OK);
	assert_int_equal(topic(w, "a")->id, 1);
	assert_int_equal(topic(w, "a")->queues, limits.topic_queues);
	assert_int_equal(topic(w, "a")->created, w->log_time);
	assert_int_equal(topic(w, "b")->id, 2);
	assert_int_equal(topic(w, "b")->queues, 7);
}

static void
drops_the_offsets_of_a_deleted_topic_or_group(void **state)
{
	struct world *w = *state;

	topic_put(w, "t", (struct alm_topic){.version = 1});
	assert_int_equal(offset_put(w, 0), ALM_OK);
	assert_int_equal(offset_put(w, 0), ALM_EEXIST);
	assert_int_equal(topic_delete(w, "t"), ALM_OK);
	assert_int_equal(offset_put(w, 0), ALM_OK);
	group_begin(w);
	change(w, ALM_NS_GROUP, ALM_STATE_PUT, "g", &(struct alm_group){.version = 1},
	    sizeof(struct alm_group));
	assert_int_equal(append(w), ALM_OK);
	group_begin(w);
	change(w, ALM_NS_GROUP, ALM_STATE_DELETE, "g", NULL, 0);
	assert_int_equal(append(w), ALM_OK);
	assert_int_equal(offset_put(w, 0), ALM_OK);
}

static void
never_gives_an_id_twice(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	assert_int_equal(topic_delete(w, "a"), ALM_OK);
	assert_int_equal(publish(w, 1, 0, 0, 0), ALM_ENOTFOUND);
	topic_put(w, "a", (struct alm_topic){.version = 1});
	assert_int_equal(topic(w, "a")->id, 2);
	assert_int_equal(publish(w, 2, 0, 0, 0), ALM_OK);
	assert_int_equal(w->first, 0);
}

static void
lets_queues_grow_but_not_shrink(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1, .queues = 4});
	publish(w, 1, 3, 0, 0);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1, .queues = 3}), ALM_EINVAL);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1, .id = 1, .queues = 9}),
	    ALM_OK);
	assert_int_equal(publish(w, 1, 8, 0, 0), ALM_OK);
	assert_int_equal(publish(w, 1, 3, 0, 0), ALM_OK);
	assert_int_equal(w->first, 1);
}

static void
refuses_bad_topics(void **state)
{
	struct world *w = *state;
	const struct alm_topic t = {.version = 1};

	assert_int_equal(topic_put(w, "a b", t), ALM_EINVAL);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 2}), ALM_EVERSION);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1, .id = 5}), ALM_ENOTFOUND);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1, .queues = 65537}),
	    ALM_EINVAL);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1, .durability = 2}),
	    ALM_EINVAL);
	assert_int_equal(topic_put(w, "a", (struct alm_topic){.version = 1, .max_message = 5000}),
	    ALM_EINVAL);
	assert_int_equal(topic_delete(w, "a"), ALM_ENOTFOUND);
	group_begin(w);
	change(w, ALM_NS_TOPIC, ALM_STATE_PUT, "a", &t, sizeof t);
	change(w, ALM_NS_TOPIC, ALM_STATE_PUT, "a", &t, sizeof t);
	assert_int_equal(append(w), ALM_EINVAL);
	assert_null(topic(w, "a"));
	assert_int_equal(topic_put(w, "a", t), ALM_OK);
	assert_int_equal(topic(w, "a")->id, 1);
}

static void
obeys_the_topics_message_limit(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1, .max_message = 4});
	assert_int_equal(publish(w, 1, 0, 0, 0), ALM_ETOOBIG);
	assert_non_null(strstr(w->g.detail, "at most 4"));
}

/* ---- producers and conditions ---- */

static void
knows_duplicates_and_gaps(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	assert_int_equal(publish(w, 1, 0, 7, 100), ALM_OK);
	publish(w, 1, 0, 0, 0);
	assert_int_equal(publish(w, 1, 0, 7, 101), ALM_OK);
	assert_int_equal(publish(w, 1, 0, 7, 103), ALM_EORDER);
	assert_int_equal(publish(w, 1, 0, 7, 101), ALM_OK);
	assert_true(w->g.flags & GROUP_DUPLICATE);
	assert_int_equal(w->g.first_offset, 2);
	assert_int_equal(publish(w, 1, 0, 7, 99), ALM_OK);
	assert_true(w->g.flags & GROUP_DUPLICATE);
	assert_int_equal(w->g.first_offset, UINT64_MAX);
	group_begin(w);
	message(w, 1, 0, 7, 101);
	message(w, 1, 0, 7, 102);
	assert_int_equal(append(w), ALM_EORDER); /* half of it is stored */
	assert_int_equal(publish(w, 1, 0, 7, 102), ALM_OK);
	assert_int_equal(w->first, 3);
}

static void
takes_sequences_across_their_wrap(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	assert_int_equal(publish(w, 1, 0, 7, UINT32_MAX), ALM_OK);
	assert_int_equal(publish(w, 1, 0, 7, 0), ALM_OK);
	assert_false(w->g.flags & GROUP_DUPLICATE);
	assert_int_equal(publish(w, 1, 0, 7, UINT32_MAX), ALM_OK);
	assert_true(w->g.flags & GROUP_DUPLICATE);
}

static void
refuses_mixed_producers(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	group_begin(w);
	message(w, 1, 0, 7, 1);
	message(w, 1, 0, 8, 2);
	assert_int_equal(append(w), ALM_EINVAL);
	group_begin(w);
	message(w, 1, 0, 7, 1);
	message(w, 1, 0, 0, 0);
	assert_int_equal(append(w), ALM_EINVAL);
	group_begin(w);
	message(w, 1, 0, 7, 1);
	message(w, 1, 0, 7, 3);
	assert_int_equal(append(w), ALM_EINVAL);
	assert_int_equal(publish(w, 1, 0, 7, 50), ALM_OK); /* still unknown: any sequence */
}

static void
compares_versions(void **state)
{
	struct world *w = *state;
	struct hash128 key = state_key_hash((struct alm_slice){"x", 1}, (struct alm_slice){"k", 1});
	uint64_t version;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	group_begin(w);
	condition(w, "x", "k", 0);
	change(w, "x", ALM_STATE_PUT, "k", "v", 1);
	assert_int_equal(append(w), ALM_OK);
	version = sequencer_version(w->seq, key);
	assert_true(version > 0);
	group_begin(w);
	condition(w, "x", "k", 0);
	message(w, 1, 0, 0, 0);
	assert_int_equal(append(w), ALM_EEXIST);
	group_begin(w);
	condition(w, "x", "k", version);
	change(w, "x", ALM_STATE_DELETE, "k", NULL, 0);
	assert_int_equal(append(w), ALM_OK);
	assert_int_equal(sequencer_version(w->seq, key), 0);
	group_begin(w);
	condition(w, "x", "k", version);
	message(w, 1, 0, 0, 0);
	assert_int_equal(append(w), ALM_EEXIST);
}

static void
refuses_messages_but_not_state_when_the_disk_is_full(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	group_begin(w);
	message(w, 1, 0, 0, 0);
	w->g.disk_full = 1;
	assert_int_equal(append(w), ALM_EFULL);
	assert_string_equal(w->g.detail, "disk full");
	group_begin(w);
	change(w, "x", ALM_STATE_PUT, "k", "v", 1);
	w->g.disk_full = 1;
	assert_int_equal(append(w), ALM_OK);
}

/* ---- batches ---- */

static void
builds_batches_that_pass_the_check(void **state)
{
	struct world *w = *state;
	const struct alm_batch *b;
	const struct alm_dir *d;
	struct alm_slice s;
	uint64_t at = 0;

	topic_put(w, "a", (struct alm_topic){.version = 1, .queues = 2});
	publish(w, 1, 1, 0, 0);
	group_begin(w);
	message(w, 1, 0, 0, 0)->tag_hash = 5;
	message(w, 1, 1, 0, 0)->tag_hash = 64 + 9;
	assert_int_equal(append(w), ALM_OK);
	s = next_batch(w);
	assert_int_equal(batch_check(s.data, s.len, &at), ALM_OK);
	b = s.data;
	assert_int_equal(b->records, 4);
	assert_int_equal(b->flags, ALM_BATCH_STATE | ALM_BATCH_CATALOGUE);
	assert_int_equal(b->dir_count, 2);
	d = alm_batch_dir(b);
	assert_int_equal(d[0].queue, 1);
	assert_int_equal(d[0].count, 2);
	assert_int_equal(d[0].first_offset, 0);
	assert_int_equal(d[0].end_byte, b->dir_offset);
	assert_int_equal(d[0].tag_bloom, 1 | 1ull << 9);
	assert_int_equal(d[1].queue, 0);
	assert_int_equal(d[1].count, 1);
	assert_int_equal(d[1].end_byte - d[1].first_byte, 72);
	assert_int_equal(d[1].tag_bloom, 1ull << 5);
	open_next(w);
	publish(w, 1, 1, 0, 0);
	s = next_batch(w);
	assert_int_equal(batch_check(s.data, s.len, &at), ALM_OK);
	assert_int_equal(alm_batch_dir(s.data)->first_offset, 2);
}

static void
says_when_a_batch_is_full(void **state)
{
	struct world *w = *state;
	uint32_t n = 0;
	uint64_t at;
	struct alm_slice s;

	topic_put(w, "a", (struct alm_topic){.version = 1, .queues = 60000});
	while (batch_room(&w->batch, 72, 1) != NULL) {
		memset(&w->g, 0, sizeof w->g);
		w->g.records = batch_room(&w->batch, 72, 1);
		message(w, 1, n++, 0, 0);
		assert_int_equal(append(w), ALM_OK);
	}
	s = next_batch(w);
	assert_true(s.len <= CAP && s.len > CAP - 4096);
	assert_int_equal(batch_check(s.data, s.len, &at), ALM_OK);
}

/* ---- malformed groups ---- */

static void
survives_random_bytes(void **state)
{
	struct world *w = *state;
	uint64_t d = 7;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	for (uint32_t i = 0; i < 20000; i++) {
		group_begin(w);
		message(w, 1, 0, 0, 0);
		change(w, "x", ALM_STATE_PUT, "k", "value", 5);
		change(w, ALM_NS_TOPIC, ALM_STATE_PUT, "b", &(struct alm_topic){.version = 1}, 64);
		for (uint32_t k = 0; k < 1 + i % 4; k++) {
			d = d * 6364136223846793005ull + 1442695040888963407ull;
			w->g.records[(d >> 33) % w->g.bytes] ^= (uint8_t)(1u << (d >> 61));
		}
		check(w); /* any status; sanitizers watch */
	}
	assert_int_equal(publish(w, 1, 0, 0, 0), ALM_OK);
	assert_int_equal(w->first, 0);
}

/* ---- fold, checkpoint ---- */

static uint64_t
roll(uint64_t *d, uint64_t n)
{
	*d = *d * 6364136223846793005ull + 1442695040888963407ull;
	return (*d >> 33) % n;
}

static void
random_act(struct world *w, uint64_t *d)
{
	char name[16], key[16];
	uint64_t value = roll(d, 1000);

	snprintf(name, sizeof name, "t%llu", (unsigned long long)roll(d, 6));
	snprintf(key, sizeof key, "k%llu", (unsigned long long)roll(d, 50));
	switch (roll(d, 6)) {
	case 0:
		topic_put(w, name, (struct alm_topic){.version = 1, .queues = 1 + (uint32_t)roll(d, 9)});
		break;
	case 1:
		if (roll(d, 4) == 0)
			topic_delete(w, name);
		break;
	case 2:
		group_begin(w);
		change(w, "x", roll(d, 3) > 0 ? ALM_STATE_PUT : ALM_STATE_DELETE, key, &value, 8);
		append(w);
		break;
	case 3:
		group_begin(w);
		change(w, ALM_NS_GROUP, ALM_STATE_PUT, key, &(struct alm_group){.version = 1}, 32);
		append(w);
		break;
	default:
		publish(w, 1 + (uint32_t)roll(d, 8), (uint32_t)roll(d, 9), roll(d, 4),
		    (uint32_t)roll(d, 40));
	}
}

static void
same_image(const struct sequencer *a, const struct sequencer *b)
{
	struct buf x = {0}, y = {0};

	assert_int_equal(sequencer_save(a, &x), ALM_OK);
	assert_int_equal(sequencer_save(b, &y), ALM_OK);
	assert_int_equal(x.len, y.len);
	/* Topics, groups and producers have an order of their own; the rest is compared by size. */
	assert_memory_equal(x.data, y.data, sizeof(struct ckpt_head) +
	    ((struct ckpt_head *)(void *)x.data)->bytes[CKPT_TOPICS] +
	    ((struct ckpt_head *)(void *)x.data)->bytes[CKPT_GROUPS]);
	buf_free(&x);
	buf_free(&y);
}

static void
folds_batches_to_what_it_was_when_they_were_built(void **state)
{
	struct world *w = *state;
	struct sequencer *again = sequencer_new(&limits);
	uint64_t d = 3, at;

	for (uint32_t i = 0; i < 200; i++) {
		struct alm_slice s;

		for (uint32_t k = 0; k < 20; k++)
			random_act(w, &d);
		if (w->batch.n_records == 0)
			continue;
		s = next_batch(w);
		assert_int_equal(batch_check(s.data, s.len, &at), ALM_OK);
		assert_int_equal(sequencer_fold_batch(again, s.data), ALM_OK);
		same_image(w->seq, again);
		open_next(w);
	}
	sequencer_free(again);
}

static void
reads_back_what_it_wrote_and_refuses_flipped_bits(void **state)
{
	struct world *w = *state;
	char dir[] = "/tmp/almadia-ckpt-XXXXXX", path[64];
	struct sequencer *again = sequencer_new(&limits);
	struct checkpoint c;
	struct buf image = {0};
	uint64_t d = 11;
	int fd;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/" CKPT_FILE, dir);
	assert_int_equal(checkpoint_read(dir, &c), ALM_ENOTFOUND);
	for (uint32_t i = 0; i < 2000; i++)
		random_act(w, &d);
	assert_int_equal(sequencer_save(w->seq, &image), ALM_OK);
	((struct ckpt_head *)(void *)image.data)->position = 4096;
	assert_int_equal(checkpoint_write(dir, &image), ALM_OK);
	assert_int_equal(checkpoint_read(dir, &c), ALM_OK);
	assert_int_equal(c.head->position, 4096);
	assert_int_equal(sequencer_load(again, &c), ALM_OK);
	checkpoint_free(&c);
	same_image(w->seq, again);
	fd = open(path, O_RDWR);
	for (uint32_t i = 0; i < 500; i++) {
		off_t at = (off_t)(i < 160 ? i : roll(&d, image.len));
		uint8_t byte = image.data[at] ^ (uint8_t)(1u << roll(&d, 8));

		assert_int_equal(pwrite(fd, &byte, 1, at), 1);
		assert_int_equal(checkpoint_read(dir, &c), ALM_ECORRUPT);
		assert_int_equal(pwrite(fd, &image.data[at], 1, at), 1);
	}
	assert_int_equal(ftruncate(fd, (off_t)image.len - 8), 0);
	assert_int_equal(checkpoint_read(dir, &c), ALM_ECORRUPT);
	close(fd);
	unlink(path);
	rmdir(dir);
	buf_free(&image);
	sequencer_free(again);
}

static void
keeps_versions_through_deletions(void **state)
{
	struct versions v;
	static uint64_t model[4096];
	uint64_t d = 5;

	(void)state;
	assert_int_equal(versions_init(&v), ALM_OK);
	for (uint32_t i = 0; i < 200000; i++) {
		uint64_t k = roll(&d, 4096);
		/* Few home slots: long probes. */
		struct hash128 key = {k % 64 * 977, k};

		if (roll(&d, 3) > 0) {
			model[k] = i + 1;
			assert_int_equal(versions_put(&v, key, i + 1, (struct version_owner){0, 0}), ALM_OK);
		} else {
			model[k] = 0;
			versions_del(&v, key);
		}
		k = roll(&d, 4096);
		assert_int_equal(versions_get(&v, (struct hash128){k % 64 * 977, k}), model[k]);
	}
	versions_free(&v);
}

static void
forgets_the_least_recent_producers(void **state)
{
	struct world *w = *state;

	topic_put(w, "a", (struct alm_topic){.version = 1});
	for (uint64_t p = 1; p <= SEQ_PRODUCERS_MAX + 10; p++) {
		if (batch_room(&w->batch, 1 << 16, 64) == NULL) {
			next_batch(w);
			open_next(w);
		}
		assert_int_equal(publish(w, 1, 0, p, 5), ALM_OK);
		assert_false(w->g.flags & GROUP_DUPLICATE);
	}
	if (batch_room(&w->batch, 1 << 18, 64) == NULL) {
		next_batch(w);
		open_next(w);
	}
	publish(w, 1, 0, 11, 5);
	assert_true(w->g.flags & GROUP_DUPLICATE);
	assert_int_equal(w->g.first_offset, 10);
	publish(w, 1, 0, 10, 5);
	assert_false(w->g.flags & GROUP_DUPLICATE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	    T(gives_new_topics_the_next_id_and_the_defaults),
	    T(drops_the_offsets_of_a_deleted_topic_or_group),
	    T(never_gives_an_id_twice),
	    T(lets_queues_grow_but_not_shrink),
	    T(refuses_bad_topics),
	    T(obeys_the_topics_message_limit),
	    T(knows_duplicates_and_gaps),
	    T(takes_sequences_across_their_wrap),
	    T(refuses_mixed_producers),
	    T(compares_versions),
	    T(refuses_messages_but_not_state_when_the_disk_is_full),
	    T(builds_batches_that_pass_the_check),
	    T(says_when_a_batch_is_full),
	    T(survives_random_bytes),
	    T(folds_batches_to_what_it_was_when_they_were_built),
	    T(reads_back_what_it_wrote_and_refuses_flipped_bits),
	    T(keeps_versions_through_deletions),
	    T(forgets_the_least_recent_producers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
